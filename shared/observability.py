"""Powertools, and the variables that rule it: a wrong one is reported, and never fails an invocation.

Powertools reads them itself, some while it is imported, and raises for what it does not know, an empty flag included.
So they are corrected before that import, and nothing else that is deployed imports Powertools.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, NamedTuple

from shared.redaction import redacted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, MutableMapping

_SHOWN: Final = 100
_LONGEST_NAMESPACE: Final = 255


class WrongVariable(NamedTuple):
    """A variable whose value cannot be used, as it is reported; `used`: what counts instead."""

    name: str
    value: str
    used: str


def _level(value: str) -> str | None:
    # Not NOTSET: it would leave the level to the root logger, which is at WARNING, and lose each outcome's line.
    levels = {"DEBUG", "INFO", "WARN", "WARNING", "ERROR", "FATAL", "CRITICAL"}
    return value.upper() if value.upper() in levels else None


def _lambda_level(value: str) -> str | None:
    # Powertools takes TRACE for NOTSET. Python has no lower level than DEBUG, and Lambda's own runtime takes it so too.
    return "DEBUG" if value == "TRACE" else value


def _rate(value: str) -> str | None:
    try:
        return value if 0 <= float(value) <= 1 else None
    except ValueError:
        return None


def _flag(value: str) -> str | None:
    flags = {"1", "y", "yes", "t", "true", "on", "0", "n", "no", "f", "false", "off"}
    return value.lower() if value.lower() in flags else None


def _namespace(value: str) -> str | None:
    # As CloudWatch takes it: https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricData.html
    is_valid = len(value) <= _LONGEST_NAMESPACE and value.isascii() and value.isprintable()
    return value if is_valid and not value.startswith((":", "AWS/")) else None


class _Rule(NamedTuple):
    """`read` returns a value as Powertools knows it, or `None`; then `otherwise` counts, or the variable is removed."""

    read: Callable[[str], str | None]
    otherwise: str | None
    in_words: str


_FLAG: Final = _Rule(_flag, None, "false")

_RULES: Final[Mapping[str, _Rule]] = {
    "POWERTOOLS_LOG_LEVEL": _Rule(_level, "INFO", "INFO"),
    "LOG_LEVEL": _Rule(_level, "INFO", "INFO"),
    "AWS_LAMBDA_LOG_LEVEL": _Rule(_lambda_level, None, ""),
    "POWERTOOLS_LOGGER_SAMPLE_RATE": _Rule(_rate, None, "no sampling"),
    "POWERTOOLS_LOGGER_LOG_EVENT": _FLAG,
    "POWERTOOLS_LOG_DEDUPLICATION_DISABLED": _FLAG,
    "POWERTOOLS_METRICS_DISABLED": _FLAG,
    "POWERTOOLS_DEV": _FLAG,
    "POWERTOOLS_DEBUG": _FLAG,
    "METRICS_NAMESPACE": _Rule(_namespace, None, "Stopline"),
}


def correct(environment: MutableMapping[str, str]) -> list[WrongVariable]:
    """Make each variable one that Powertools knows, and return those whose value cannot be used.

    Blanks around a value do not count, and a blank value is none.
    """
    wrong: list[WrongVariable] = []
    for name, rule in _RULES.items():
        if name not in environment:
            continue
        value = environment[name].strip()
        known = rule.read(value) if value else None
        if value and known is None:
            wrong.append(WrongVariable(name, ascii(redacted(value)[:_SHOWN]), rule.in_words))
            known = rule.otherwise
        if known is None:
            del environment[name]
        else:
            environment[name] = known
    return wrong


WRONG: Final = correct(os.environ)
"""What was wrong with the environment of this process."""

from aws_lambda_powertools import Logger  # noqa: E402 - see above
from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit  # noqa: E402 - see above

__all__ = ["WRONG", "EphemeralMetrics", "Logger", "MetricUnit", "WrongVariable", "correct"]

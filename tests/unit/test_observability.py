"""The variables that rule logs and metrics: none of their values fails an invocation, and a wrong one is reported."""

from __future__ import annotations

import ast
import json
import logging
import os
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from unittest import mock

import pytest
from aws_lambda_powertools.shared import constants
from awslambdaric.lambda_runtime_log_utils import _get_log_level_from_env_var

from shared.observability import correct
from shared.redaction import redacted
from shared.telemetry import SERVICE, Telemetry, new_logger

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT: Final = Path(__file__).parent.parent.parent

NAMES: Final = sorted(
    {
        value
        for name, value in vars(constants).items()
        if isinstance(value, str) and name.endswith(("_ENV", "_RATE")) and value.isupper()
    }
    - {constants.XRAY_TRACE_ID_ENV}
    | {"METRICS_NAMESPACE", "TZ", constants.LAMBDA_INITIALIZATION_TYPE}
)
"""Each variable that Powertools knows, but the one that Lambda sets for each invocation; ours; and the clock's."""

ODD: Final = (
    "",
    " ",
    "trace",
    "verbose",
    " Debug ",
    "info",
    "NOTSET",
    "10",
    "10%",
    "-1",
    "nan",
    "1e400",
    "true",
    "maybe",
    "Mars/Phobos",
    ":",
    "AWS/Lambda",
    "x" * 5000,
    "\udcff",
    "{}",
)


@dataclass
class Told:
    """What an invocation wrote: the lines of its log, the lines of metrics, and what went to standard error."""

    log: list[dict[str, str]]
    metrics: list[dict[str, object]]
    err: str

    @property
    def warnings(self) -> list[str]:
        return [each["message"] for each in self.log if each["level"] == "WARNING"]

    @property
    def messages(self) -> set[str]:
        return {each["message"] for each in self.log} & {"info", "error", "critical", "debug"}


@pytest.fixture(autouse=True)
def _a_plain_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    yield
    _forget()


def _forget() -> None:
    """Let the logger be configured anew: all of its name share what the first was given."""
    shared = logging.getLogger(SERVICE)
    shared.handlers.clear()
    for name in ("init", "powertools_handler", "powertools_buffer_config", "powertools_buffer_cache"):
        shared.__dict__.pop(name, None)


def invoke(output: pytest.CaptureFixture[str], **variables: str) -> Told:
    """Start as a handler does, under these variables, and log and count something."""
    _forget()
    # Powertools warns that a developer's mode is on, and that Lambda drops lines below its own level.
    with mock.patch.dict(os.environ, variables), warnings.catch_warnings(action="ignore"):
        logger = new_logger(correct(os.environ))
        telemetry = Telemetry(logger, namespace=os.environ.get("METRICS_NAMESPACE") or "Stopline")
        with telemetry.invocation("stop_task", "r-1"):
            logger.debug("debug")
            logger.info("info")
            logger.error("error")
            logger.critical("critical")
            telemetry.asked(calls=2, throttles=0)
    written = output.readouterr()
    lines = [json.loads(line) for line in _objects(written.out)]
    return Told(
        log=[each for each in lines if "_aws" not in each],
        metrics=[each for each in lines if "_aws" in each],
        err=written.err,
    )


def _objects(text: str) -> list[str]:
    """Cut the output into its objects; `POWERTOOLS_DEV` spreads one over several lines."""
    return text.replace("\n}\n", "\n}\0").split("\0")[:-1] if "\n    " in text else text.splitlines()


def test_the_names_are_all_that_powertools_reads() -> None:
    """A name that a new version reads is walked by the tests below, and one that it no longer reads is noticed."""
    assert {
        "POWERTOOLS_LOG_LEVEL",
        "LOG_LEVEL",
        "AWS_LAMBDA_LOG_LEVEL",
        "POWERTOOLS_LOGGER_SAMPLE_RATE",
        "POWERTOOLS_LOGGER_LOG_EVENT",
        "POWERTOOLS_LOG_DEDUPLICATION_DISABLED",
        "POWERTOOLS_SERVICE_NAME",
        "POWERTOOLS_DEV",
        "POWERTOOLS_DEBUG",
        "POWERTOOLS_METRICS_NAMESPACE",
        "POWERTOOLS_METRICS_DISABLED",
        "POWERTOOLS_METRICS_FUNCTION_NAME",
        "AWS_LAMBDA_INITIALIZATION_TYPE",
    } <= set(NAMES)


def test_only_one_module_imports_powertools() -> None:
    """Else an import might come before the correction."""
    importers = {
        str(path.relative_to(ROOT))
        for room in ("functions", "shared")
        for path in (ROOT / room).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom) and "aws_lambda_powertools" in ast.unparse(node)
    }
    assert importers == {"shared/observability.py"}


@pytest.mark.parametrize("value", ODD, ids=lambda value: ascii(value)[:20])
@pytest.mark.parametrize("lambda_level", [None, "DEBUG"])
def test_no_value_fails_an_invocation_or_loses_what_it_tells(
    capsys: pytest.CaptureFixture[str], value: str, lambda_level: str | None
) -> None:
    for name in NAMES:
        if name == "AWS_LAMBDA_LOG_LEVEL" and lambda_level:
            continue
        given = {"AWS_LAMBDA_LOG_LEVEL": lambda_level} if lambda_level else {}
        told = invoke(capsys, **given | {name: value})
        assert {"info", "error", "critical"} <= told.messages, (name, value)
        switched_off = value == "true" and name in {"POWERTOOLS_METRICS_DISABLED", "POWERTOOLS_DEV"}
        assert [each["Calls"] for each in told.metrics] == ([] if switched_off else [[2]]), (name, value)
        assert "Traceback" not in told.err
        assert len(told.warnings) <= 1


@pytest.mark.parametrize(
    ("name", "value", "warning"),
    [
        ("POWERTOOLS_LOG_LEVEL", "trace", "POWERTOOLS_LOG_LEVEL is 'trace', which cannot be used: INFO is used"),
        ("POWERTOOLS_LOG_LEVEL", "verbose", "POWERTOOLS_LOG_LEVEL is 'verbose', which cannot be used: INFO is used"),
        ("POWERTOOLS_LOG_LEVEL", "NOTSET", "POWERTOOLS_LOG_LEVEL is 'NOTSET', which cannot be used: INFO is used"),
        ("POWERTOOLS_LOG_LEVEL", "10", "POWERTOOLS_LOG_LEVEL is '10', which cannot be used: INFO is used"),
        ("POWERTOOLS_LOG_LEVEL", "\udcff", r"POWERTOOLS_LOG_LEVEL is '\udcff', which cannot be used: INFO is used"),
        ("LOG_LEVEL", "trace", "LOG_LEVEL is 'trace', which cannot be used: INFO is used"),
        *(
            (
                "POWERTOOLS_LOGGER_SAMPLE_RATE",
                rate,
                f"POWERTOOLS_LOGGER_SAMPLE_RATE is '{rate}', which cannot be used: no sampling is used",
            )
            for rate in ("10%", "-1", "2", "nan", "inf", "often")
        ),
        ("POWERTOOLS_DEV", "https://u:s@h", "POWERTOOLS_DEV is 'https://***', which cannot be used: false is used"),
        ("POWERTOOLS_DEV", "maybe", "POWERTOOLS_DEV is 'maybe', which cannot be used: false is used"),
        ("POWERTOOLS_DEBUG", "2", "POWERTOOLS_DEBUG is '2', which cannot be used: false is used"),
        *(
            (
                "METRICS_NAMESPACE",
                name,
                f"METRICS_NAMESPACE is {redacted(name)[:100]!r}, which cannot be used: Stopline is used",
            )
            for name in (":a", "AWS/Lambda", "a\tb", "x" * 256)
        ),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_a_wrong_value_is_reported_once_and_the_default_is_used(
    capsys: pytest.CaptureFixture[str], name: str, value: str, warning: str
) -> None:
    told = invoke(capsys, **{name: value})
    assert told.warnings == [warning]
    assert told.messages == {"info", "error", "critical"}
    assert [each["Calls"] for each in told.metrics] == [[2]]


def test_each_wrong_variable_has_a_warning_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    told = invoke(capsys, POWERTOOLS_LOG_LEVEL="trace", LOG_LEVEL="error", POWERTOOLS_LOGGER_SAMPLE_RATE="10%")
    assert [each.split()[0] for each in told.warnings] == ["POWERTOOLS_LOG_LEVEL", "POWERTOOLS_LOGGER_SAMPLE_RATE"]
    assert told.messages == {"info", "error", "critical"}


@pytest.mark.parametrize(
    ("name", "value", "corrected"),
    [
        ("POWERTOOLS_LOG_LEVEL", "debug", "DEBUG"),
        ("POWERTOOLS_LOG_LEVEL", " Warn\n", "WARN"),
        ("LOG_LEVEL", "critical", "CRITICAL"),
        ("POWERTOOLS_LOG_LEVEL", "", None),
        ("POWERTOOLS_LOG_LEVEL", "  ", None),
        ("POWERTOOLS_LOGGER_SAMPLE_RATE", "0", "0"),
        ("POWERTOOLS_LOGGER_SAMPLE_RATE", " 1e-1", "1e-1"),
        ("POWERTOOLS_LOGGER_SAMPLE_RATE", "1", "1"),
        ("POWERTOOLS_METRICS_DISABLED", "", None),
        ("POWERTOOLS_METRICS_DISABLED", "TRUE", "true"),
        ("METRICS_NAMESPACE", "Stopline/stopline-prod", "Stopline/stopline-prod"),
        ("METRICS_NAMESPACE", " ", None),
        ("POWERTOOLS_SERVICE_NAME", " as it is ", " as it is "),
    ],
)
def test_a_value_that_can_be_used_is_kept_without_a_word(name: str, value: str, corrected: str | None) -> None:
    environment = {name: value}
    assert correct(environment) == []
    assert environment.get(name) == corrected


LAMBDA_LEVELS: Final[Mapping[str, set[str]]] = {
    "TRACE": {"debug", "info", "error", "critical"},
    "DEBUG": {"debug", "info", "error", "critical"},
    "INFO": {"info", "error", "critical"},
    "WARN": {"error", "critical"},
    "ERROR": {"error", "critical"},
    "FATAL": {"critical"},
}


@pytest.mark.parametrize("level", LAMBDA_LEVELS)
@pytest.mark.parametrize("own", [None, "info", "trace", "ERROR"])
def test_each_of_lambda_s_levels_lets_through_what_it_says(
    capsys: pytest.CaptureFixture[str], level: str, own: str | None
) -> None:
    told = invoke(capsys, AWS_LAMBDA_LOG_LEVEL=level, **({"POWERTOOLS_LOG_LEVEL": own} if own else {}))
    assert told.messages == LAMBDA_LEVELS[level]
    assert [each["Calls"] for each in told.metrics] == [[2]], "Lambda itself drops them above INFO"


def test_lambda_s_own_runtime_takes_trace_for_debug_too() -> None:
    environment = {"AWS_LAMBDA_LOG_LEVEL": "TRACE"}
    correct(environment)
    assert environment["AWS_LAMBDA_LOG_LEVEL"] == _get_log_level_from_env_var("TRACE") == "DEBUG"


HANDLER: Final = """
from importlib import import_module
from types import SimpleNamespace

context = SimpleNamespace(aws_request_id="r-1", get_remaining_time_in_millis=lambda: 9000)
try:
    import_module("functions.stop_task").handler({"Records": []}, context)
except Exception as error:
    print(type(error).__name__)
"""


@pytest.mark.parametrize("value", ["", " ", "trace", "10%", "maybe", "info", "Mars/Phobos"])
def test_a_handler_starts_in_a_process_where_all_of_them_are_odd(value: str) -> None:
    """Some are read while Powertools is imported."""
    rules = {"LAMBDA_TASK_ROOT", "AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_METADATA_API", "AWS_LAMBDA_METADATA_TOKEN"}
    odd = dict.fromkeys((name for name in NAMES if name not in rules), value)
    done = subprocess.run(
        [sys.executable, "-c", HANDLER], cwd=ROOT, env=os.environ | odd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    *log, metrics, raised = done.stdout.splitlines()
    assert raised == "DeploymentFault", "of the settings, of which there are none"
    assert json.loads(metrics)["DeploymentFaults"] == [1]
    assert [each["message"] for each in map(json.loads, log) if each["level"] == "ERROR"] == ["deployment fault"]

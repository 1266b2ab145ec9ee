"""W3C trace context, https://www.w3.org/TR/trace-context/: the sender's trace, carried on and never changed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple, Protocol

from pydantic import AfterValidator

from shared.field_errors import complaint

if TYPE_CHECKING:
    from collections.abc import Mapping

TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"
"""What both are called everywhere: fields of commands and outcomes, message attributes, keys of log lines."""

# Version 00 has 55 characters, a later one may have more, after a dash (section 4.3). No more than 512 of them are
# carried, since there is no limit for them.
TRACEPARENT_PATTERN: Final = (
    "^(?!ff)(?!00.{54})[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-[!-~]{0,456})?$"
)
# As many characters as everybody who carries it should carry (section 3.3.1.5).
TRACESTATE_PATTERN: Final = "^[ -~]{1,512}$"

_TRACEPARENT: Final = re.compile(TRACEPARENT_PATTERN)
_TRACESTATE: Final = re.compile(TRACESTATE_PATTERN)


def _checked_traceparent(value: str) -> str:
    if not _TRACEPARENT.fullmatch(value):
        raise complaint("should be a W3C traceparent, e.g. 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    return value


def _checked_tracestate(value: str) -> str:
    if not _TRACESTATE.fullmatch(value):
        raise complaint("should be 1 to 512 printable ASCII characters")
    return value


# Checked here, since pydantic's own patterns know no look-ahead.
type TraceParent = Annotated[str, AfterValidator(_checked_traceparent)]
type TraceState = Annotated[str, AfterValidator(_checked_tracestate)]


class Trace(NamedTuple):
    """Where a command belongs in its sender's trace. A `tracestate` comes only with its own `traceparent`."""

    traceparent: str | None = None
    tracestate: str | None = None

    @property
    def parts(self) -> dict[str, str]:
        """Return what there is of it, by name."""
        return {name: value for name, value in zip(self._fields, self, strict=True) if value is not None}


NO_TRACE: Final = Trace()


class Traced(Protocol):
    """A command, an outcome, or what is known of a command."""

    @property
    def traceparent(self) -> str | None:
        """Its `traceparent`, if it has one."""

    @property
    def tracestate(self) -> str | None:
        """Its `tracestate`, if it has one."""


def trace_of(traced: Traced) -> Trace:
    """Return the trace that something belongs to."""
    return Trace(traced.traceparent, traced.tracestate)


def valid_part(trace: Mapping[str, object]) -> tuple[Trace, dict[str, object]]:
    """Return the valid part of a trace, by name, and what had to be left out of it.

    A `tracestate` is left out too if its `traceparent` is.
    """
    traceparent, tracestate = trace.get(TRACEPARENT), trace.get(TRACESTATE)
    if not (isinstance(traceparent, str) and _TRACEPARENT.fullmatch(traceparent)):
        return NO_TRACE, {name: trace[name] for name in Trace._fields if name in trace}
    if not (isinstance(tracestate, str) and _TRACESTATE.fullmatch(tracestate)):
        return Trace(traceparent), {TRACESTATE: tracestate} if TRACESTATE in trace else {}
    return Trace(traceparent, tracestate), {}

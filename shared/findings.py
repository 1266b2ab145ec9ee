"""Findings: what Huawei's answers, and the states read back, say of one target."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import TYPE_CHECKING, Final, assert_never

from shared.outcomes import ERROR_MESSAGE_LENGTH, shorten

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from shared.deadline import Deadline
    from shared.errors import DeploymentFault
    from shared.planning import Task

ERROR_CODE_LENGTH: Final = 64
"""Characters kept of Huawei's error codes and request ids; real ones have 11 to 32."""


class Verdict(Enum):
    """What is known of a target."""

    TAKEN = auto()
    """Huawei took the stop for it."""
    RUNS = auto()
    """Read: it runs or waits to run."""
    STOPPING = auto()
    """Read: a stop was taken before, and works."""
    STOPPED = auto()
    """Read: it was stopped."""
    ENDED = auto()
    """Read, or answered: it ended by itself, or never began."""
    NOT_FOUND = auto()
    """Huawei does not know it."""
    REFUSED = auto()
    """Huawei knows it and says no."""
    DENIED = auto()
    """Huawei says no with a code that no page explains, and it runs; or a stop is on its way, and not yet to be seen.
    Never leaves the execution."""
    UNFINISHED = auto()
    """A passing fault, or never tried for lack of time: to be tried again."""
    UNCLEAR = auto()
    """The answer does not say; the state must be read back. Never leaves the execution."""
    IN_DOUBT = auto()
    """The stop may have been taken, though its answer is lost, or another request changes the work now: the state must
    be read before the stop is sent again, and what still runs is tried again. Never leaves the execution."""
    CALL_REFUSED = auto()
    """Huawei refused a call with several targets as a whole, which says nothing about each of them. Never leaves the
    execution."""


TO_BE_READ: Final = frozenset({Verdict.UNCLEAR, Verdict.IN_DOUBT, Verdict.CALL_REFUSED})
"""What the state that is read back decides."""


class Trust(Enum):
    """What is known of the key in one project and instance."""

    UNKNOWN = auto()
    ACCEPTED = auto()
    """The last answer was no refusal, whatever else it was."""
    REFUSED = auto()


@dataclass(frozen=True, slots=True)
class Finding:
    """A verdict with Huawei's own words. One finding may stand for many targets, so it does not name them.

    `retry_after`: seconds for which Huawei asked us to wait, with `UNFINISHED`.
    `throttled`: whether Huawei asked us to slow down. `was_asked`: false of what there was no turn to ask for.
    `was_answered`: false where no answer came.
    """

    verdict: Verdict
    error_code: str | None = None
    error_msg: str | None = None
    request_id: str | None = None
    retry_after: float | None = None
    throttled: bool = False
    was_asked: bool = True
    was_answered: bool = True

    def __post_init__(self) -> None:
        """Cut and clean Huawei's words, whoever quotes them, to what an event can carry."""
        for name in ("error_code", "error_msg", "request_id"):
            text = getattr(self, name)
            if text is not None:
                cut = shorten(text, ERROR_MESSAGE_LENGTH) if name == "error_msg" else text[:ERROR_CODE_LENGTH]
                object.__setattr__(self, name, _printable(cut))


def _printable(text: str) -> str:
    # A lone surrogate, which JSON may hold, cannot be written as UTF-8: one such word would keep every outcome of a
    # delivery from the bus. A control character would take six bytes in JSON.
    return text if text.isprintable() else "".join(each if each.isprintable() else "?" for each in text)


def resolve(unclear: Finding, state: Finding) -> Finding:
    """Settle an answer to a stop that is `TO_BE_READ` by the state that was read back afterwards.

    `TAKEN` never comes out of it: that is said only when Huawei said it. What still runs was denied if Huawei gave an
    error code for it and for nothing else, and is otherwise tried again.
    """
    match state.verdict:
        case Verdict.STOPPING | Verdict.STOPPED | Verdict.ENDED | Verdict.NOT_FOUND:
            return state
        case Verdict.UNFINISHED:
            # A stop that was sent counts as tried, whatever kept its state from being read.
            return replace(state, was_asked=state.was_asked or unclear.was_asked)
        case Verdict.RUNS:
            is_denied = unclear.verdict is Verdict.UNCLEAR and unclear.error_code is not None
            return replace(unclear, verdict=Verdict.DENIED if is_denied else Verdict.UNFINISHED)
        case Verdict.REFUSED if unclear.verdict is not Verdict.UNCLEAR:  # nobody refused to stop this target
            return replace(unclear, verdict=Verdict.UNFINISHED)
        case Verdict.REFUSED:  # neither the stop nor the read was let through
            return replace(unclear if unclear.error_code else state, verdict=Verdict.REFUSED)
        case Verdict.TAKEN | Verdict.DENIED | Verdict.UNCLEAR | Verdict.IN_DOUBT | Verdict.CALL_REFUSED:
            raise ValueError(f"a read cannot say {state.verdict}")
    assert_never(state.verdict)


def believe(denied: Finding, later: Finding | None) -> Finding:
    """Settle a no by the state that was read some time later, `None` if there was no time to.

    Stops are asynchronous: one whose answer was lost, or which another command sent, may be on its way while the target
    is still listed as running. Only what then still runs was refused.
    """
    if later is None:
        return replace(denied, verdict=Verdict.UNFINISHED)
    if later.verdict is Verdict.RUNS:
        return replace(denied, verdict=Verdict.REFUSED)
    return resolve(denied, later)


@dataclass(frozen=True, slots=True)
class Reading:
    """States read back, by target, and the reads that the others still take; those may run side by side.

    `pause`: the longest pause in seconds before `more`, of which a random part is waited; `None` is no pause.
    """

    findings: Mapping[str, Finding]
    more: tuple[Callable[[Deadline], Reading], ...] = ()
    pause: float | None = None


@dataclass(frozen=True, slots=True)
class Findings:
    """All that one execution found out, by task and target.

    A target that is missing was not settled because of one of `faults`, or of one of our own `errors`: its commands are
    not acknowledged. `whole` answers "stop all" calls: `"*"` and the targets that Huawei listed.

    `faults`: of the deployment, one for each project and instance that it kept from being asked.

    `calls`: the questions put to Huawei, reads too, and each time again. `throttles`: those of them whose answer slowed
    us down.
    """

    named: Mapping[Task, Mapping[str, Finding]] = field(default_factory=dict)
    whole: Mapping[Task, Mapping[str, Finding]] = field(default_factory=dict)
    read: Mapping[Task, Mapping[str, Finding]] = field(default_factory=dict)
    faults: tuple[DeploymentFault, ...] = ()
    errors: tuple[Exception, ...] = ()
    calls: int = 0
    throttles: int = 0

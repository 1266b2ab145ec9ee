"""Findings → outcomes and remainders. Pure: time and randomness are arguments.

Every target of a command gets exactly one terminal result over all its attempts, and the command one final
event. What is terminal is told at once; what is unfinished goes on as one remainder, or, when the attempts are
used up, ends as `gave_up` or `still_running`.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Final, NamedTuple, overload

from shared.commands import ALL_TARGETS, Command, Known, known_of
from shared.findings import Finding, Findings, Verdict
from shared.outcomes import (
    RESULTS_PER_EVENT,
    FieldError,
    Outcome,
    Result,
    Status,
    Tally,
    TargetResult,
)
from shared.planning import task_of, to_read

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

FIRST_DELAY: Final = 5.0
"""Seconds that the first remainder waits at most; each later one twice as long."""

MAX_DELAY: Final = 900
"""Seconds that SQS can delay a message at most."""


EVENTS_KEPT: Final = 100
"""Most events of a command that are made at once; of more, each is made when published, and again when told of."""


class Unfinished(Enum):
    """Why a target has no terminal result yet."""

    TO_STOP = auto()
    """A passing fault: it is to be stopped, or in a dry run read, again."""
    AWAITING = auto()
    """Its stop was taken and is to be confirmed: it is only read again."""
    UNKNOWN = auto()
    """Nothing was found out, for a fault that is not Huawei's."""


@dataclass(frozen=True, slots=True)
class Done:
    """The command is over; its last outcome is final."""

    outcomes: Sequence[Outcome]


@dataclass(frozen=True, slots=True)
class GoesOn:
    """`remainder` goes to the function's own queue and comes back after `delay_seconds` (0 to 900)."""

    outcomes: Sequence[Outcome]
    remainder: Command
    delay_seconds: int


@dataclass(frozen=True, slots=True)
class Undone:
    """The command is over, but `left` of it was not done and goes to the dead-letter queue for `failure_reason`."""

    outcomes: Sequence[Outcome]
    left: Command
    failure_reason: str


@dataclass(frozen=True, slots=True)
class LeftOpen:
    """Not the command's fault: what is known is told, and whoever sent it is to send it again, as SQS does."""

    outcomes: Sequence[Outcome]


type Settlement = Done | GoesOn | Undone | LeftOpen

type _End = tuple[Result, Finding | None]
type _Unfinished = Mapping[str, tuple[Unfinished, Finding | None]]


class _Ends(NamedTuple):
    """How each target ended, `None` for one that has not. In two columns: there may be 100 000."""

    targets: Sequence[str]
    ends: Sequence[_End | None]


def settle(
    command: Command, findings: Findings, *, now: datetime, max_attempts: int, jitter: float, is_repeat: bool = False
) -> Settlement:
    """Settle one command of a delivery by what was found out in the delivery.

    `jitter`: a random number from 0 to 1 that spreads the delay of a remainder. `is_repeat`: an earlier delivery may
    have sent it, so what is left of it is no first attempt, even if it only waited for its turn.
    """
    found = _findings_on(command, findings)
    awaiting = frozenset(command.awaiting)
    ends, unfinished = _parted(
        (target, _ends_as(command, each, is_awaited=target in awaiting), each) for target, each in found
    )
    if not unfinished:
        return Done(_tell(command, ends, now=now, final=True))
    if any(why is Unfinished.UNKNOWN for why, _ in unfinished.values()):
        return LeftOpen(_tell(command, ends, now=now, final=False))
    # Confirmation has its own count: a stop that was taken at the last attempt is read before it is given up.
    begins_to_wait = all(why is Unfinished.AWAITING for why, _ in unfinished.values()) and any(
        finding is not None and finding.verdict is Verdict.TAKEN for _, finding in unfinished.values()
    )
    is_in_turn = _waits_its_turn(ends, unfinished)
    if command.attempt >= max_attempts and not begins_to_wait and not is_in_turn:
        return _give_up(command, ends, unfinished, now=now, failure_reason="gave_up")
    outcomes = _tell(command, ends, now=now, final=False)
    remainder = command.left(
        to_stop=tuple(target for target, (why, _) in unfinished.items() if why is Unfinished.TO_STOP),
        awaiting=tuple(target for target, (why, _) in unfinished.items() if why is Unfinished.AWAITING),
        attempt=2 if begins_to_wait else max(command.attempt + (not is_in_turn), 1 + is_repeat),
        tally=outcomes[-1].tally if outcomes else command.tally,
    )
    asked_to_wait = max(
        (finding.retry_after or 0.0 for _, finding in unfinished.values() if finding is not None), default=0.0
    )
    delay = delay_before(command.attempt + 1, asked_to_wait=asked_to_wait, jitter=jitter)
    return GoesOn(outcomes, remainder, delay)


def _parted(judged: Iterable[tuple[str, Result | Unfinished, Finding | None]]) -> tuple[_Ends, _Unfinished]:
    """Part the targets into those with a terminal result and those without."""
    targets: list[str] = []
    ends: list[_End | None] = []
    unfinished: dict[str, tuple[Unfinished, Finding | None]] = {}
    # Neighbours mostly end alike and share a finding: then they share the pair, too, of which there may be 100 000.
    end: _End | None = None
    for target, judgement, finding in judged:
        targets.append(target)
        match judgement:
            case Result() as result:
                if end is None or end[0] is not result or end[1] is not finding:
                    end = (result, finding)
                ends.append(end)
            case Unfinished() as why:
                ends.append(None)
                unfinished[target] = (why, finding)
    return _Ends(targets, ends), unfinished


def _waits_its_turn(ends: _Ends, unfinished: _Unfinished) -> bool:
    """Say whether all that is unfinished only waits until Huawei lets more calls through.

    That is no attempt that failed: under a quota of one call a second we would else give up on what we never asked for.
    It ends all the same, since either something was done or, at the latest, the command expires.
    """
    findings = [finding for _, finding in unfinished.values() if finding is not None]
    only_waits = all(finding.throttled or not finding.was_asked for finding in findings)
    return only_waits and (any(ends.ends) or not any(finding.was_asked for finding in findings))


def delay_before(attempt: int, *, asked_to_wait: float, jitter: float) -> int:
    """Seconds (whole, 0 to 900) that the remainder of this attempt waits in the queue.

    Grows twofold with each attempt; half of it is random, so that remainders neither come all at once nor at once.
    """
    doubled = math.ldexp(FIRST_DELAY, min(attempt - 2, 16))
    spread = doubled / 2 + jitter * doubled / 2
    return min(MAX_DELAY, math.ceil(max(spread, asked_to_wait + jitter * FIRST_DELAY)))


def expire(command: Command, *, now: datetime) -> Settlement:
    """Settle a command that is past `expires_at` and may no longer be sent.

    If nothing was sent yet it is `expired`, and the outcome says everything. A remainder ends as `failed`.
    """
    if command.was_begun:
        awaiting = frozenset(command.awaiting)
        unfinished = {
            target: (Unfinished.AWAITING if target in awaiting else Unfinished.TO_STOP, None)
            for target in command.asked
        }
        nothing = _Ends(command.asked, [None] * len(command.asked))
        return _give_up(command, nothing, unfinished, now=now, failure_reason="expired")
    known = known_of(command)
    return Done((_outcome(known, Status.EXPIRED, command.asked, now=now, confirmed=_unconfirmed(known)),))


def settle_late(command: Command, findings: Findings, *, now: datetime) -> Settlement:
    """Settle a repeated delivery that came past `expires_at`, by the states read and nothing else.

    An earlier delivery may have stopped some of it: what has ended is `already_ended`. What runs is given up, or with
    `confirm` still running if its stop was taken.
    """
    states = findings.read.get(task_of(command), {})
    if not all(target in states and states[target].was_asked for target in command.asked):
        return LeftOpen(())
    return _settle_by_states(command, states, now=now)


def settle_late_call(command: Command, findings: Findings, *, now: datetime) -> Settlement:
    """Settle a direct call past `expires_at` by the states read: nobody knows whether it is a repeat.

    It is `expired` only if no earlier call can have stopped any of it: nothing is known to have been begun, and each
    target was read to run. That a task runs as a whole does not say so of its targets. Else it is settled as a repeat
    is, and what could not be read is given up.
    """
    states = findings.read.get(task_of(command), {})
    if not all(target in states for target in command.asked):
        return LeftOpen(())
    may_be_stopped_in_part = command.asked == (ALL_TARGETS,) and not command.dry_run
    all_run = all(states[target].verdict is Verdict.RUNS for target in command.asked)
    if all_run and not command.was_begun and not may_be_stopped_in_part:
        return expire(command, now=now)
    return _settle_by_states(command, states, now=now)


def _settle_by_states(command: Command, states: Mapping[str, Finding], *, now: datetime) -> Done | Undone:
    awaiting = frozenset(command.awaiting)
    found = ((target, states[target]) for target in command.asked)
    ends, unfinished = _parted(
        (target, _ends_late_as(command, each, is_awaited=target in awaiting), each) for target, each in found
    )
    if not unfinished:
        return Done(_tell(command, ends, now=now, final=True))
    return _give_up(command, ends, unfinished, now=now, failure_reason="expired")


def reject(known: Known, errors: tuple[FieldError, ...], *, body: str, now: datetime) -> Outcome:
    """Return the outcome of a message that is no valid command, or that a guard forbids. `body`: as it came.

    Of a remainder it keeps the tally: earlier attempts may have stopped something.
    """
    return _outcome(
        known,
        Status.REJECTED,
        (body,),
        now=now,
        tally=known.tally,
        confirmed=_unconfirmed(known),
        errors=errors,
    )


def _unconfirmed(known: Known) -> bool | None:
    """Return the `confirmed` of a final event that no state was read for."""
    return False if known.confirm else None


def _findings_on(command: Command, findings: Findings) -> Iterable[tuple[str, Finding | None]]:
    """Give what was found out about each target of the command, `None` where nothing was."""
    task = task_of(command)
    stops = findings.named.get(task, {})
    reads = findings.read.get(task, {})
    if command.asked == (ALL_TARGETS,) and not to_read(command):
        return _findings_on_all(command, findings.whole.get(task, {})).items()
    reading = frozenset(to_read(command))
    return ((target, (reads if target in reading else stops).get(target)) for target in command.asked)


def _findings_on_all(command: Command, whole: Mapping[str, Finding]) -> Mapping[str, Finding | None]:
    """Give the finding on the one target asked for, `"*"`, and on those that Huawei listed of its own."""
    everything = whole.get(ALL_TARGETS)
    listed = {target: finding for target, finding in whole.items() if target != ALL_TARGETS}
    if not command.confirm:
        return {ALL_TARGETS: everything, **listed}
    # What was taken is confirmed by reading the task as a whole; and until all was taken, all is asked for again.
    if unfinished := next((each for each in listed.values() if each.verdict is Verdict.UNFINISHED), None):
        return {ALL_TARGETS: unfinished}
    terminal = {Verdict.NOT_FOUND, Verdict.REFUSED}
    return {ALL_TARGETS: everything} | {each: found for each, found in listed.items() if found.verdict in terminal}


_OF_A_STOP: Final[Mapping[Verdict, Result | Unfinished]] = {
    Verdict.TAKEN: Result.STOPPED,
    Verdict.STOPPING: Result.ALREADY_ENDED,
    Verdict.STOPPED: Result.ALREADY_ENDED,
    Verdict.ENDED: Result.ALREADY_ENDED,
    Verdict.NOT_FOUND: Result.NOT_FOUND,
    Verdict.REFUSED: Result.REFUSED,
    Verdict.UNFINISHED: Unfinished.TO_STOP,
}
_OF_A_STOP_TO_CONFIRM: Final[Mapping[Verdict, Result | Unfinished]] = {
    **_OF_A_STOP,
    Verdict.TAKEN: Unfinished.AWAITING,
    Verdict.STOPPING: Unfinished.AWAITING,
}
_OF_A_CONFIRMATION: Final[Mapping[Verdict, Result | Unfinished]] = {
    Verdict.RUNS: Unfinished.AWAITING,
    Verdict.STOPPING: Unfinished.AWAITING,
    Verdict.STOPPED: Result.STOPPED,
    Verdict.ENDED: Result.ALREADY_ENDED,
    Verdict.NOT_FOUND: Result.NOT_FOUND,
    Verdict.REFUSED: Unfinished.AWAITING,  # the read was refused, not the stop
    Verdict.UNFINISHED: Unfinished.AWAITING,
}
_OF_A_DRY_RUN: Final[Mapping[Verdict, Result | Unfinished]] = {
    **_OF_A_STOP,
    Verdict.RUNS: Result.WOULD_STOP,
}
_OF_A_LATE_REPEAT: Final[Mapping[Verdict, Result | Unfinished]] = {
    **_OF_A_STOP,
    Verdict.RUNS: Unfinished.TO_STOP,
    Verdict.REFUSED: Unfinished.TO_STOP,  # the read was refused, not the stop
}
_OF_A_LATE_REPEAT_TO_CONFIRM: Final[Mapping[Verdict, Result | Unfinished]] = {
    **_OF_A_LATE_REPEAT,
    Verdict.STOPPING: Unfinished.AWAITING,
}


def _ends_as(command: Command, finding: Finding | None, *, is_awaited: bool) -> Result | Unfinished:
    """Say as what a finding ends a target of this command, or why it does not.

    Raises `KeyError` for a verdict that the execution must not let through.
    """
    if finding is None:
        return Unfinished.UNKNOWN
    if command.dry_run:
        return _OF_A_DRY_RUN[finding.verdict]
    if is_awaited:
        return _OF_A_CONFIRMATION[finding.verdict]
    return (_OF_A_STOP_TO_CONFIRM if command.confirm else _OF_A_STOP)[finding.verdict]


def _ends_late_as(command: Command, state: Finding, *, is_awaited: bool) -> Result | Unfinished:
    """Return as what the state ends a target of a command that may only be read, or why it does not."""
    if command.dry_run:
        return _OF_A_DRY_RUN[state.verdict]
    if is_awaited:
        return _OF_A_CONFIRMATION[state.verdict]
    return (_OF_A_LATE_REPEAT_TO_CONFIRM if command.confirm else _OF_A_LATE_REPEAT)[state.verdict]


def _give_up(
    command: Command, ends: _Ends, unfinished: _Unfinished, *, now: datetime, failure_reason: str
) -> Done | Undone:
    """End a command with what it did not reach."""
    undone = (None if end else unfinished[target] for target, end in zip(ends.targets, ends.ends, strict=True))
    ended = [end if why is None else (_undone_as(*why), why[1]) for end, why in zip(ends.ends, undone, strict=True)]
    outcomes = _tell(command, _Ends(ends.targets, ended), now=now, final=True)
    if command.dry_run:  # nothing was to be done, so nothing is undone
        return Done(outcomes)
    left = command.left(
        to_stop=tuple(target for target, (why, _) in unfinished.items() if why is Unfinished.TO_STOP),
        awaiting=tuple(target for target, (why, _) in unfinished.items() if why is Unfinished.AWAITING),
        attempt=1,  # whoever sends it again from the dead-letter queue means all the attempts
        tally=command.tally,
    )
    return Undone(outcomes, left, failure_reason)


def _undone_as(why: Unfinished, finding: Finding | None) -> Result:
    """Say how a target ends that was not reached.

    A stop that was taken and could not be read since is given up: nobody knows that it still runs.
    """
    is_read_to_run = finding is not None and finding.verdict in {Verdict.RUNS, Verdict.STOPPING}
    return Result.STILL_RUNNING if why is Unfinished.AWAITING and is_read_to_run else Result.GAVE_UP


def _tell(command: Command, ends: _Ends, *, now: datetime, final: bool) -> Sequence[Outcome]:
    """Cut terminal results into events, the last of them final if the command is."""
    events = _Events(command, ends, now=now, final=final)
    return events if len(events) > EVENTS_KEPT else tuple(events)


class _Events(Sequence[Outcome]):
    """The events of one command, each made anew when it is asked for.

    100 000 targets are 1 000 events with 100 results each: all of them at once would take more memory than the rest.

    Cut by a target's place in the command, not among the results: a repeat that finds more or fewer results then still
    cuts the same parts, with the same `outcome_id`.
    """

    def __init__(self, command: Command, ends: _Ends, *, now: datetime, final: bool) -> None:
        self._command = command
        self._known = known_of(command)
        self._now = now
        self._final = final
        if command.asked == (ALL_TARGETS,):  # no places were asked for
            ended = [(target, end) for target, end in zip(ends.targets, ends.ends, strict=True) if end]
            ends = _Ends([target for target, _ in ended], [end for _, end in ended])
        self._ends = ends
        self._parts: list[tuple[slice, Tally]] = []
        tally = command.tally
        for start in range(0, len(ends.targets), RESULTS_PER_EVENT):
            part = slice(start, start + RESULTS_PER_EVENT)
            if results := Counter(end[0] for end in ends.ends[part] if end):
                tally = tally.plus(results)
                self._parts.append((part, tally))

    def __len__(self) -> int:
        return len(self._parts)

    @overload
    def __getitem__(self, index: int) -> Outcome: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Outcome]: ...
    def __getitem__(self, index: int | slice) -> Outcome | Sequence[Outcome]:
        if isinstance(index, slice):
            return tuple(self[each] for each in range(*index.indices(len(self))))
        part, tally = self._parts[index]
        is_last = self._final and part == self._parts[-1][0]
        named = zip(self._ends.targets[part], self._ends.ends[part], strict=True)
        results = tuple(_result(target, *end) for target, end in named if end)
        return _outcome(
            self._known,
            _final_status(self._command, tally) if is_last else Status.IN_PROGRESS,
            tuple(f"{each.target} {_truth_of(each.result)}" for each in results),
            now=self._now,
            results=results,
            tally=tally,
            confirmed=tally.all_ended and not self._command.dry_run if is_last and self._command.confirm else None,
        )


_WITH_WORDS: Final = frozenset({Result.NOT_FOUND, Result.REFUSED, Result.GAVE_UP, Result.STILL_RUNNING})


def _result(target: str, result: Result, finding: Finding | None) -> TargetResult:
    if finding is None or result not in _WITH_WORDS:
        return TargetResult(target=target, result=result)
    return TargetResult(
        target=target,
        result=result,
        error_code=finding.error_code,
        error_msg=finding.error_msg,
        request_id=finding.request_id,
    )


def _final_status(command: Command, tally: Tally) -> Status:
    if command.dry_run:
        return Status.DRY_RUN
    return Status.SUCCEEDED if tally.all_ended else Status.FAILED


def _outcome(
    known: Known,
    status: Status,
    part: tuple[str, ...],
    *,
    now: datetime,
    results: tuple[TargetResult, ...] = (),
    tally: Tally | None = None,
    confirmed: bool | None = None,
    errors: tuple[FieldError, ...] = (),
) -> Outcome:
    return Outcome(
        outcome_id=_outcome_id(known, status, part),
        command_id=known.command_id,
        command=known.command,
        status=status,
        attempt=known.attempt,
        task_id=known.task_id,
        project_id=known.project_id,
        instance_id=known.instance_id,
        requested_at=known.requested_at,
        requested_by=known.requested_by,
        reason=known.reason,
        traceparent=known.traceparent,
        tracestate=known.tracestate,
        occurred_at=now,
        results=results,
        tally=tally or Tally(),
        confirmed=confirmed,
        errors=errors,
    )


def _truth_of(result: Result) -> str:
    """Say as what a result counts in the name of a part: what was stopped comes back as `already_ended`."""
    return "ended" if result in {Result.STOPPED, Result.ALREADY_ENDED} else result


def _outcome_id(known: Known, status: Status, part: tuple[str, ...]) -> str:
    """Name a part of a command by what it is about and what it says, not by when or at which attempt.

    A consumer that drops repeats must not drop news. So the status counts, or a final event could be dropped for an
    `in_progress` one; and so does the truth about each target, or the success of what was once given up could be.
    """
    names = (known.command_id, known.command, known.project_id, known.instance_id, known.task_id, status, *part)
    text = "\0".join(name or "" for name in names)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:32]

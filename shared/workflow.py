"""One command called directly, from end to end: carried out here and now, and answered with what became of it.

The steps are those of a delivery, in rounds: what a queue would bring back later is waited for in the same invocation
while there is time, and then handed back to the caller, who calls again with it. Nothing goes to a queue.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from heapq import nsmallest
from itertools import chain
from math import ceil
from typing import TYPE_CHECKING, Any, Final, assert_never

from shared.commands import InvalidCommand, StopTask, known_of, read_command
from shared.errors import CommandRejected, HuaweiUnavailable, PublishingFailed
from shared.execution import DOUBT, execute
from shared.field_errors import field_error, joined
from shared.findings import Finding, Verdict
from shared.outcomes import RESULTS_PER_EVENT, FieldError, Result, shorten
from shared.planning import plan, task_of
from shared.publishing import Parcel, before_publishing
from shared.settlement import Done, GoesOn, LeftOpen, Undone, reject, settle, settle_late_call
from shared.traces import trace_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from shared.commands import Command
    from shared.deadline import Deadline
    from shared.execution import Service
    from shared.findings import Findings
    from shared.outcomes import Outcome, Tally, TargetResult
    from shared.pace import Pace
    from shared.patience import Patience
    from shared.publishing import Publisher
    from shared.settings import StopInWorkflowSettings
    from shared.settlement import Settlement
    from shared.telemetry import Telemetry

LEAST_ROUND: Final = 30.0
"""Seconds below which no further round is begun: it calls, tries again, may wait out a doubt, and publishes."""

READ_FOR: Final = timedelta(hours=1)
"""How long after `expires_at` the caller is asked to try again while nothing can be read. Then the command is given up,
so that it has a final event. The retries of `StopWorkflow` outlast the longest `COMMAND_TTL_SECONDS` and this."""

LEAST_READ: Final = 5.0
"""The same of a round that only reads."""

LONGEST_CALL: Final = timedelta(minutes=15)
"""How long after `expires_at` a stop that was sent before it may still be on its way: as long as Lambda runs
(https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html)."""

LARGEST_STATE: Final = 262_144
"""Bytes that the state of a state machine holds
(https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html)."""

LARGEST_RESPONSE: Final = 6_291_556
"""Bytes of an answer to a direct call
(https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html: 6 MB each for request and response)."""

BESIDE_THE_NAMES: Final = 10_240
"""Bytes that are kept of either for all that is not a target's name: the rest of a command, with the longest `reason`
and trace, and what Step Functions writes around an answer."""

LONGEST_REASON: Final = 1000
"""Characters of the text that says why a command was rejected; its outcome says all of it."""


@dataclass(frozen=True, slots=True)
class PacedService:
    """One of Huawei's services, with the pace at which it is asked: each has its own quota."""

    service: Service
    pace: Pace


class Workflow:
    """Carries out commands of both kinds; made once a warm process. `new_id` names commands that have no name."""

    def __init__(
        self,
        *,
        settings: StopInWorkflowSettings,
        check_tasks: PacedService,
        batch_tasks: PacedService,
        publisher: Publisher,
        patience: Patience,
        telemetry: Telemetry,
        new_id: Callable[[], str],
    ) -> None:
        self._settings = settings
        self._check_tasks = check_tasks
        self._batch_tasks = batch_tasks
        self._publisher = publisher
        self._patience = patience
        self._telemetry = telemetry
        self._new_id = new_id

    def handle(self, event: Any, *, deadline: Deadline) -> dict[str, Any]:
        """Carry out the command that `event` is, until it is over or the time nearly is.

        Answers with the final outcome as it is on the bus, but that `results` holds what this invocation found other
        than `stopped`, the worst 100 of it, worst first (`tally` counts all); or, for want of time, with exactly
        `{"status": "unfinished", "remainder": {command}}`, and `remainder` is the event of a later call. Attempts are
        counted on in it, so that a loop of such calls ends.

        What it raises:
        - `CommandRejected`: no valid command, or a guard forbids it, or what may be left of it would not fit into an
          answer (a state of Step Functions, if the command itself fits). The `rejected` outcome is on the bus, and
          nothing was sent.
        - `HuaweiUnavailable`: time or attempts are used up, and the command has nothing to show: no target has a
          result, and no stop was taken that is to be confirmed; in a dry run, nothing could be read. Nothing was
          published, and the same input may be sent again; its attempts then begin anew where the input says. How often
          is for the caller to bound, or for `expires_at`: within an hour after it (`READ_FOR`) the command ends with an
          outcome. A remainder from here always has something to show, so its attempts run out and it ends as `failed`.
        - `PublishingFailed`: not all outcomes got onto the bus, and nothing is answered as done that is not there.
        - `DeploymentFault`, or an error of our own: what was found out before is on the bus.

        Whoever calls again with the same input repeats the command: what was stopped is then `already_ended`. Events
        that say the same have the same `outcome_id` only if the input names a `command_id`, since without one each
        call has a new one.

        That a call is a repeat cannot be known here. So past `expires_at` nothing is sent, and the state is read
        before anything is said, `DOUBT` seconds after the last stop that may have been sent. What has ended is
        `already_ended`. The command is `expired` only if each of its targets was read to run and nothing was begun;
        else what runs is `gave_up`. What cannot be read is `gave_up` too if there is something to show, or after
        `READ_FOR`; else it is `HuaweiUnavailable`.
        """
        now = self._patience.now()
        try:
            command = read_command(event, defaults=self._settings.defaults(command_id=self._new_id(), requested_at=now))
            self._telemetry.hide([command])
            self._settings.guard(command)
            _guard_size(command)
        except InvalidCommand as invalid:
            self._telemetry.hide_rejected(event, invalid.errors)
            rejection = reject(invalid.known, invalid.errors, body=json.dumps(event, sort_keys=True), now=now)
            with self._telling(rejection):
                self._publish((rejection,), deadline)
                said = [FieldError(**self._telemetry.said_of(each)) for each in invalid.errors]
                raise CommandRejected(shorten(joined(said, whole="message"), LONGEST_REASON)) from None
        with self._telling(command):
            return self._carry_out(command, deadline)

    @contextmanager
    def _telling(self, of: Command | Outcome) -> Iterator[None]:
        """Log whatever a call raises under the `command_id` and the trace of its command."""
        try:
            yield
        except Exception as error:
            self._telemetry.not_carried_out(of.command_id, error, trace=trace_of(of))
            raise

    def _carry_out(self, command: Command, deadline: Deadline) -> dict[str, Any]:
        asked = command.asked
        shown: tuple[TargetResult, ...] = ()
        delay: float = 0
        why = "a stop that was sent before the command expired may not show yet"
        may_be_on_its_way = not command.dry_run and not command.has_expired(self._patience.now() - LONGEST_CALL)
        while True:
            is_late = command.has_expired(self._patience.now() + timedelta(seconds=delay))
            if is_late:  # it is never sent again, only read, once every stop must show
                until_then = (command.expires_at - self._patience.now()).total_seconds()
                delay = max(0, until_then, DOUBT if may_be_on_its_way else 0)
            if delay and not self._wait(delay, command, deadline, why, least=LEAST_READ if is_late else LEAST_ROUND):
                return _unfinished(command)
            findings = self._execute(command, deadline, only_read=is_late)
            settlement = self._settle(command, findings, is_late=is_late)
            why = _what_came_between(findings)
            if self._is_to_be_called_again(command, settlement, findings, is_late=is_late):
                raise _unavailable(why)
            self._publish(settlement.outcomes, deadline)
            shown = _shown(shown, settlement.outcomes, asked)
            match settlement:
                case Done(outcomes) | Undone(outcomes):
                    return _answer(outcomes[-1], shown)
                case LeftOpen() | GoesOn() if findings.faults:
                    raise findings.faults[0]
                case LeftOpen():
                    raise findings.errors[0]  # what else keeps a target from being found out about
                case GoesOn(_, remainder, delay_seconds):
                    command, delay = remainder, delay_seconds
                case _:
                    assert_never(settlement)

    def _wait(self, delay: float, command: Command, deadline: Deadline, why: str, *, least: float) -> bool:
        """Pause before a round, which takes `least` seconds, and return whether there is time for both.

        Raises `HuaweiUnavailable` if there is not, and the command has nothing to show.
        """
        if deadline.remaining() < delay + least:
            if _has_nothing_to_show(command.tally, command.awaiting):
                raise _unavailable(why)
            self._telemetry.remainder_sent(command, ceil(delay))
            return False
        self._patience.sleep(delay)
        return True

    def _settle(self, command: Command, findings: Findings, *, is_late: bool) -> Settlement:
        now = self._patience.now()
        if is_late:
            return settle_late_call(command, findings, now=now)
        jitter = self._patience.uniform(0.0, 1.0)
        return settle(command, findings, now=now, max_attempts=self._settings.max_attempts, jitter=jitter)

    def _is_to_be_called_again(
        self, command: Command, settlement: Settlement, findings: Findings, *, is_late: bool
    ) -> bool:
        """Whether a command would end with nothing to show, and another call with the same input may find out more."""
        match settlement:
            case Done(outcomes):
                has_nothing = _has_nothing_to_show(outcomes[-1].tally, ())
            case Undone(outcomes, left):
                has_nothing = _has_nothing_to_show(outcomes[-1].tally, left.awaiting)
            case _:
                return False
        if not is_late:
            return has_nothing
        states = findings.read[task_of(command)].values()
        is_unread = any(each.verdict is Verdict.UNFINISHED for each in states)
        return has_nothing and is_unread and not command.has_expired(self._patience.now() - READ_FOR)

    def _execute(self, command: Command, deadline: Deadline, *, only_read: bool) -> Findings:
        paced = self._check_tasks if isinstance(command, StopTask) else self._batch_tasks
        planned = command.model_copy(update={"dry_run": True}) if only_read else command
        findings = execute(
            plan((), repeats=(planned,)),  # the caller may call again with the same input, and nothing tells
            service=paced.service,
            pace=paced.pace,
            deadline=before_publishing(deadline, targets=len(command.asked)),
            patience=self._patience,
        )
        self._telemetry.hide((), listed=findings.whole.values())
        self._telemetry.asked(calls=findings.calls, throttles=findings.throttles)
        self._telemetry.defects(findings.errors)
        for fault in findings.faults:
            self._telemetry.deployment_fault(fault)
        return findings

    def _publish(self, outcomes: Sequence[Outcome], deadline: Deadline) -> None:
        """Put outcomes onto the bus; raises `PublishingFailed` or `DeploymentFault` unless all are there."""
        if not outcomes:
            return
        parcel = Parcel(outcomes[0].command_id, outcomes, send=None, withheld=None)
        published = self._publisher.publish((parcel,), deadline=deadline)
        if published.fault is not None:
            self._telemetry.deployment_fault(published.fault)
            raise published.fault
        if published.failed:
            raise PublishingFailed(f"not all outcomes are on the bus: {published.failed[parcel.message_id]}")
        self._telemetry.outcomes_published(outcomes)


def _guard_size(command: Command) -> None:
    """Refuse that of which more may be left than can be handed back; raises `InvalidCommand`.

    With `confirm` a remainder names most targets twice: those that are left, and those of them that are only to be
    read. It would be too late to find that out when it is handed back. Names that are larger than a state by themselves
    did not come from a state machine. A remainder is let through: it was handed back, and what follows is no larger
    than what was allowed for the whole.
    """
    if command.was_begun:
        return
    asked = command.asked
    names = sum(map(len, asked))
    limit = LARGEST_STATE if names + len(asked) * len('"",') <= LARGEST_STATE else LARGEST_RESPONSE
    times = 2 if command.confirm and not command.dry_run else 1
    if times * (names + len(asked) * len('"", ')) > limit - BESIDE_THE_NAMES:  # with the blank of Lambda's runtime
        said = f"what may be left of so many does not fit into an answer of {limit} bytes; name fewer, or use the queue"
        raise InvalidCommand((field_error("targets", said),), known_of(command))


def _unfinished(remainder: Command) -> dict[str, Any]:
    return {"status": "unfinished", "remainder": json.loads(remainder.to_message())}


def _has_nothing_to_show(tally: Tally, awaiting: Sequence[str]) -> bool:
    """Whether a command, in all its attempts, has no result but `gave_up` and no stop taken to be confirmed."""
    return tally.total == tally.gave_up and not awaiting


def _unavailable(why: str) -> HuaweiUnavailable:
    return HuaweiUnavailable(f"not one target has a result, try again: {why}")


def _what_came_between(findings: Findings) -> str:
    """Return Huawei's error code, or our words where no answer came: those of an answer may name a target."""
    states = chain.from_iterable(each.values() for each in (findings.named, findings.whole, findings.read))
    passing = (each for found in states for each in found.values() if each.verdict is Verdict.UNFINISHED)
    first = next(passing, Finding(Verdict.UNFINISHED))
    is_ours = not (first.was_asked and first.was_answered)
    return first.error_code or (is_ours and first.error_msg) or "Huawei Cloud gave transient errors only"


WORST_FIRST: Final = (
    Result.REFUSED,
    Result.NOT_FOUND,
    Result.GAVE_UP,
    Result.STILL_RUNNING,
    Result.ALREADY_ENDED,
    Result.WOULD_STOP,
)
"""The results that an answer shows, all but `stopped`, by what a person has to look into first."""


def _shown(
    before: Iterable[TargetResult], outcomes: Iterable[Outcome], asked: Sequence[str]
) -> tuple[TargetResult, ...]:
    """Return the results that an answer shows: the worst of `before` and `outcomes`, those alike in the order `asked`.

    They are as many as fit into one event, and so into a state of Step Functions. Both hold 256 KiB
    (https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html). No more are held at once: a command
    has up to 100 000. What Huawei lists of its own, for `all_targets`, comes after what was asked for.
    """
    place = {target: number for number, target in enumerate(asked)}
    found = (each for outcome in outcomes for each in outcome.results if each.result in WORST_FIRST)
    return tuple(
        nsmallest(
            RESULTS_PER_EVENT,
            chain(before, found),
            key=lambda each: (WORST_FIRST.index(each.result), place.get(each.target, len(place))),
        )
    )


def _answer(final: Outcome, shown: tuple[TargetResult, ...]) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(final.model_copy(update={"results": shown}).to_json())
    return answer

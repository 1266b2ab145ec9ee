"""One sweep from end to end: find what runs and since when, choose, send commands for what is stale, report.

The stopping is done by the queue functions, so a sweep has every guarantee that a person's command has. A sweep that
cannot see the whole list sends nothing: it raises, and whoever invoked it tries again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from shared.aws import AwsRefused, AwsUnavailable, BusEvent, Message
from shared.batch_sweep import BatchSweep
from shared.check_sweep import CheckSweep
from shared.errors import DeploymentFault, HuaweiUnavailable, PublishingFailed, SweepRejected
from shared.inquiry import Inquiry
from shared.outcomes import SOURCE, shorten
from shared.redaction import redacted
from shared.staleness import choose_stale
from shared.sweeps import (
    DETAIL_TYPE,
    TASKS_PER_REPORT,
    Commands,
    StaleTask,
    SweepBatchTasks,
    SweepCheckTasks,
    SweepReport,
    read_sweep,
    time_to_live,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from shared.deadline import Deadline
    from shared.huawei.task_lists import BatchTaskLists, CheckTaskLists
    from shared.pace import Pace
    from shared.patience import Patience
    from shared.publishing import EventBus, Queues
    from shared.settings import SweepStaleTasksSettings
    from shared.sightings import Memory
    from shared.staleness import Age, Found, RunningTask
    from shared.sweeps import Claimed, Sweep, SweepCommand
    from shared.telemetry import Telemetry

SENDING_SHARE: Final = 0.1
"""Part of the invocation's time that is kept for sending and for the report."""

LONGEST_SENDING: Final = 60.0
"""Seconds that are enough for it."""


LONGEST_ERROR: Final = 4_000
"""Characters of the error of a sweep."""


class Kind(Protocol):
    """One of the two kinds of sweep, made for one sweep. All of it may raise `DeploymentFault`."""

    def find(self) -> Found:
        """Find what runs, and since when. Raises `HuaweiUnavailable`, `AwsUnavailable`."""

    def commands(self, stale: Iterable[tuple[RunningTask, Age]]) -> Commands:
        """Return the commands that stop what by a last look still runs of these; of a dry run only how much that is.

        Raises `HuaweiUnavailable`, `AwsUnavailable`.
        """

    def claim(self, commands: Sequence[SweepCommand]) -> Claimed:
        """Claim the right to send these, and return which of them this sweep has it for."""

    def release(self, commands: Iterable[SweepCommand], *, deadline: Deadline) -> None:
        """Note that these surely were not sent after all. Raises `AwsUnavailable`."""


class Sweeper:
    """Carries out sweeps; made once a warm process."""

    def __init__(
        self,
        *,
        settings: SweepStaleTasksSettings,
        check_lists: CheckTaskLists,
        batch_lists: BatchTaskLists,
        memory: Memory,
        bus: EventBus,
        queues: Queues,
        check_pace: Pace,
        batch_pace: Pace,
        patience: Patience,
        telemetry: Telemetry,
        new_version: Callable[[], str],
    ) -> None:
        self._settings = settings
        self._check_lists = check_lists
        self._batch_lists = batch_lists
        self._memory = memory
        self._bus = bus
        self._queues = queues
        self._check_pace = check_pace
        self._batch_pace = batch_pace
        self._patience = patience
        self._telemetry = telemetry
        self._new_version = new_version

    def handle(self, event: Any, *, deadline: Deadline) -> dict[str, Any]:
        """Carry out the sweep that `event` is, and return its report; log why, if it fails.

        Raises `SweepRejected` for what is no sweep. Raises `HuaweiUnavailable` or `AwsUnavailable` if it could not be
        found out what is stale; then nothing was sent. After that, the commands are sent and the report is published as
        far as possible, and then the first that applies is raised, which says how many commands were sent:
        `DeploymentFault`; `PublishingFailed` if not all commands, or not the report, could be sent;
        `HuaweiUnavailable` if of some of the tasks it could not be found out what still runs.
        """
        try:
            return self._carry_out(event, deadline)
        except (AwsUnavailable, HuaweiUnavailable, PublishingFailed, SweepRejected) as error:
            self._telemetry.not_carried_out(None, error)
            raise

    def _carry_out(self, event: Any, deadline: Deadline) -> dict[str, Any]:
        settings = self._settings
        sweep = read_sweep(event, project_id=settings.project_id, instance_id=settings.instance_id)
        now = self._patience.now()
        # A quarter for each step (claim, send, report, put back), so that one that hangs leaves the others their time.
        kept = min(LONGEST_SENDING, SENDING_SHARE * deadline.remaining())
        until = deadline.less(kept)
        pace = self._check_pace if isinstance(sweep, SweepCheckTasks) else self._batch_pace
        inquiry = Inquiry(pace=pace, patience=self._patience, deadline=until)
        kind, queue_url = self._kind_of(sweep, inquiry, until, writes_until=deadline.less(0.75 * kept))
        try:
            found = kind.find()
            choice = choose_stale(found.running, now=now, older_than=sweep.older_than, protect=sweep.protect)
            is_refused = len(choice.stale) > sweep.limit
            made = kind.commands(() if is_refused else choice.stale)
        finally:
            self._telemetry.asked(calls=inquiry.calls, throttles=inquiry.throttles)
        self._telemetry.hide(made.to_send)
        claimed = kind.claim(made.to_send)
        sending = self._send(queue_url, claimed.commands, deadline.less(0.5 * kept))
        self._telemetry.commands_sent(sending.sent)
        stale = [(task, age) for task, age in choice.stale if task.task_id not in made.protected]
        targets = _targets(made, sending)
        known = [targets[task.task_id] for task, _ in stale if task.task_id in targets]
        report = SweepReport(
            sweep=sweep.sweep,
            dry_run=sweep.dry_run,
            scanned=found.listed,
            stale=len(stale),
            protected=len(choice.protected) + len(made.protected),
            unknown_age=len(choice.unknown_age) + found.unreadable,
            missed=found.missed + made.missed + made.cut,
            refused=is_refused,
            sent=len(sending.sent),
            targets=sum(known) if known or not stale else None,
            tasks=tuple(StaleTask.of(task, age, targets.get(task.task_id)) for task, age in stale[:TASKS_PER_REPORT]),
        )
        failures = [*claimed.failures, *sending.failures]
        failures += self._publish(report, deadline.less(0.25 * kept))
        failures += self._release(kind, made.to_send, sending, deadline)
        failures += made.failures
        if failures:
            perhaps = f" ({len(sending.in_doubt)} more perhaps)" if sending.in_doubt else ""
            said = f"{len(sending.sent)} of {len(made.to_send)} commands were sent{perhaps}; "
            raise _summary(failures, "dry run: " if sweep.dry_run else said)
        return report.model_dump(mode="json")

    def _kind_of(self, sweep: Sweep, inquiry: Inquiry, until: Deadline, *, writes_until: Deadline) -> tuple[Kind, str]:
        """Give what carries out the sweep, and the queue for its commands."""
        settings = self._settings
        valid_for = min(time_to_live(sweep), settings.time_to_live)
        match sweep:
            case SweepCheckTasks():
                check_sweep = CheckSweep(
                    sweep,
                    region=settings.region,
                    valid_for=valid_for,
                    lists=self._check_lists,
                    memory=self._memory,
                    new_version=self._new_version,
                    inquiry=inquiry,
                    patience=self._patience,
                    until=until,
                    writes_until=writes_until,
                )
                return check_sweep, settings.stop_task_queue_url
            case SweepBatchTasks():
                batch_sweep = BatchSweep(
                    sweep,
                    region=settings.region,
                    valid_for=valid_for,
                    lists=self._batch_lists,
                    inquiry=inquiry,
                    patience=self._patience,
                )
                return batch_sweep, settings.stop_targets_queue_url

    def _send(self, queue_url: str, commands: Sequence[SweepCommand], deadline: Deadline) -> _Sending:
        """Send commands, as far as that is possible."""
        messages = [Message(body=command.body, attributes={}, delay_seconds=0) for command in commands]
        try:
            unsent = self._queues.send_messages(queue_url, messages, deadline=deadline)
        except AwsRefused as error:
            return _Sending(sent=(), in_doubt=(), failures=(DeploymentFault(f"{redacted(queue_url)}: {error}"),))
        reasons = {position: str(failure) for position, failure in unsent.items()}
        failed = PublishingFailed(f"{len(unsent)} of {len(commands)} commands could not be sent: {reasons}"[:500])
        return _Sending(
            sent=tuple(each for position, each in enumerate(commands) if position not in unsent),
            in_doubt=tuple(commands[position] for position, failure in unsent.items() if failure.in_doubt),
            failures=(failed,) if unsent else (),
        )

    def _release(
        self, kind: Kind, commands: Iterable[SweepCommand], sending: _Sending, deadline: Deadline
    ) -> list[Exception]:
        """Leave the evidence for what surely was not sent as it was; return why that failed, if it did."""
        perhaps_sent = {command.command_id for command in (*sending.sent, *sending.in_doubt)}
        try:
            kind.release([each for each in commands if each.command_id not in perhaps_sent], deadline=deadline)
        except (AwsUnavailable, DeploymentFault) as error:
            return [error]
        return []

    def _publish(self, report: SweepReport, deadline: Deadline) -> list[Exception]:
        """Publish the report, and log it in any case; return why it could not be published, if so."""
        event = BusEvent(source=SOURCE, detail_type=DETAIL_TYPE, detail=report.model_dump_json(), resources=())
        failure: Exception | None = None
        try:
            unpublished = self._bus.put_events(self._settings.outcome_bus_name, [event], deadline=deadline)
            if unpublished:
                failure = PublishingFailed(f"the report could not be published: {unpublished[0]}")
        except AwsUnavailable as error:
            failure = PublishingFailed(f"the report could not be published: {error}")
        except AwsRefused as error:
            failure = DeploymentFault(f"OUTCOME_BUS_NAME: {error}")
        self._telemetry.sweep_completed(report, is_published=failure is None)
        return [] if failure is None else [failure]


class _Sending(NamedTuple):
    """Which commands were sent, which perhaps were, and why the others were not."""

    sent: tuple[SweepCommand, ...]
    in_doubt: tuple[SweepCommand, ...]
    failures: tuple[Exception, ...]


def _targets(made: Commands, sending: _Sending) -> dict[str, int]:
    """Return by task how many targets the commands sent name, or would name in a dry run; without what is not known."""
    named = dict(made.targets)
    sent = {command.command_id for command in sending.sent}
    for command in made.to_send:
        if command.command_id not in sent:
            named[command.task_id] -= len(command.asked)
    in_doubt = {command.task_id for command in sending.in_doubt}
    return {task_id: count for task_id, count in named.items() if task_id not in in_doubt}


def _summary(failures: Sequence[Exception], said: str) -> Exception:
    """Return the error that a sweep ends with: of the worst kind, with the words of all, each once."""
    words = shorten(said + "; ".join(dict.fromkeys(map(str, failures))), LONGEST_ERROR)
    if any(isinstance(failure, DeploymentFault) for failure in failures):
        return DeploymentFault(words)
    if all(isinstance(failure, HuaweiUnavailable) for failure in failures):
        return HuaweiUnavailable(words)
    return PublishingFailed(words)

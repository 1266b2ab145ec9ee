"""Commands → calls: fold, then chunk by 100. Pure: no clock, no I/O.

All the commands of one delivery are planned together. Targets of the same project, instance and task are folded
whoever asked for them, so 1 000 one-target messages of one batch cost 10 calls.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import batched, chain
from typing import TYPE_CHECKING, Final, NamedTuple

from shared.commands import ALL_TARGETS, Command, StopTask

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable
    from datetime import datetime

TARGETS_PER_CALL: Final = 100
"""Most targets that Huawei takes in one call ("Stop a Batch Task": Max: 100 targets)."""


@dataclass(frozen=True, slots=True)
class CheckTask:
    """A CodeArts Check task."""

    task_id: str

    @property
    def scope(self) -> Scope | None:
        """Where a refused key concerns this task: all checks are asked for in the configured project."""
        return None

    @property
    def whole(self) -> str:
        """The target whose state is that of the task as a whole."""
        return self.task_id

    @property
    def outlives_its_run(self) -> bool:
        """Whether the same id and target name the next run as well: each check of a task has the task's id."""
        return True


@dataclass(frozen=True, slots=True)
class BatchTask:
    """An IoTDA batch task, where it lives."""

    project_id: str
    instance_id: str | None
    task_id: str

    @property
    def scope(self) -> Scope | None:
        """Where a refused key concerns this task: in this project and instance, and in no other."""
        return Scope(self.project_id, self.instance_id)

    @property
    def whole(self) -> str:
        """The target whose state is that of the task as a whole."""
        return ALL_TARGETS

    @property
    def outlives_its_run(self) -> bool:
        """Whether the same id and target name the next run as well: a batch task upgrades a device once.

        Unless somebody retries the device by hand ("Retry a Batch Task"), which is documented as a limit.
        """
        return False


class Scope(NamedTuple):
    """A project and an instance of IoTDA, to which a key may have access or not."""

    project_id: str
    instance_id: str | None


type Task = CheckTask | BatchTask


@dataclass(frozen=True, slots=True)
class Stop:
    """One call that stops 1 to 100 distinct named targets.

    `expiries`: for each target the moment from which it must not be sent, in the order of `targets`.
    `look_first`: the stop may have been sent before, and the state must be read before it is sent again.
    """

    task: Task
    targets: tuple[str, ...]
    expiries: tuple[datetime, ...]
    look_first: bool = False

    def __post_init__(self) -> None:
        """Refuse what Huawei might read as "stop everything", however it was made."""
        if not 1 <= len(self.targets) <= TARGETS_PER_CALL or ALL_TARGETS in self.targets:
            raise ValueError(f"a stop names 1 to {TARGETS_PER_CALL} targets, not {len(self.targets)}")
        if len(self.expiries) != len(self.targets):
            raise ValueError(f"{len(self.targets)} targets with {len(self.expiries)} expiries")

    @property
    def expires_at(self) -> datetime:
        """The moment at which the first of the targets expires."""
        return min(self.expiries)

    def only(self, targets: Container[str]) -> Stop | None:
        """Return the call for those of its targets that are in `targets`; `None` if there are none."""
        return self._where(lambda target, _: target in targets)

    def valid_at(self, now: datetime) -> Stop | None:
        """Return the call for those of its targets that have not expired; `None` if there are none."""
        return self._where(lambda _, expires_at: now < expires_at)

    def _where(self, is_kept: Callable[[str, datetime], bool]) -> Stop | None:
        kept = [each for each in zip(self.targets, self.expiries, strict=True) if is_kept(*each)]
        targets, expiries = tuple(target for target, _ in kept), tuple(expires_at for _, expires_at in kept)
        return replace(self, targets=targets, expiries=expiries) if kept else None

    def halves(self) -> tuple[Stop, Stop]:
        """Return two calls with half of the targets each; the call must have two at least."""
        middle = len(self.targets) // 2
        return (
            replace(self, targets=self.targets[:middle], expiries=self.expiries[:middle]),
            replace(self, targets=self.targets[middle:], expiries=self.expiries[middle:]),
        )


@dataclass(frozen=True, slots=True)
class StopAll:
    """One call that stops every running target of the task; only a command with `all_targets` leads to it."""

    task: BatchTask
    expires_at: datetime


type Call = Stop | StopAll


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send and what only to read. `reads` holds distinct targets by task; `"*"` is the task as a whole."""

    calls: tuple[Call, ...]
    reads: dict[Task, tuple[str, ...]]


def task_of(command: Command) -> Task:
    """Give the task that a command is about."""
    if isinstance(command, StopTask):
        return CheckTask(command.task_id)
    return BatchTask(command.project_id, command.instance_id, command.task_id)


def to_stop(command: Command) -> tuple[str, ...]:
    """Targets to be stopped now: those asked for, but for those whose stop was taken before."""
    if command.dry_run:
        return ()
    awaiting = frozenset(command.awaiting)
    return tuple(target for target in command.asked if target not in awaiting) if awaiting else command.asked


def to_read(command: Command) -> tuple[str, ...]:
    """Targets whose state is read and that are not to be stopped by this command now."""
    return command.asked if command.dry_run else command.awaiting


def plan(commands: Iterable[Command], repeats: Iterable[Command] = ()) -> Plan:
    """Fold the commands of one delivery into as few calls as possible.

    `repeats`: commands that an earlier delivery may have sent already; an `attempt` above 1 says the same.
    Order is kept: tasks as they first come, targets as first asked for.
    """
    named: dict[Task, dict[str, datetime]] = {}
    everything: dict[BatchTask, datetime] = {}
    reads: dict[Task, dict[str, None]] = {}
    repeated = tuple(repeats)
    sent_before = {task_of(command) for command in repeated}
    for command in chain(commands, repeated):
        task = task_of(command)
        if command.attempt > 1:
            sent_before.add(task)
        for target in to_stop(command):
            if target == ALL_TARGETS and isinstance(task, BatchTask):
                everything[task] = max(command.expires_at, everything.get(task, command.expires_at))
                continue
            wanted = named.setdefault(task, {})
            wanted[target] = max(command.expires_at, wanted.get(target, command.expires_at))
        if reading := to_read(command):
            reads.setdefault(task, {}).update(dict.fromkeys(reading))
    stops = (
        Stop(task, chunk, tuple(wanted[target] for target in chunk), task.outlives_its_run and task in sent_before)
        for task, wanted in named.items()
        for chunk in batched(wanted, TARGETS_PER_CALL, strict=False)
    )
    stop_alls = (StopAll(task, expires_at) for task, expires_at in everything.items())
    return Plan(
        calls=(*stops, *stop_alls),
        reads={task: tuple(targets) for task, targets in reads.items()},
    )

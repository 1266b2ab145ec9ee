"""Commands → calls: fold, then chunk by 100. Pure: no clock, no I/O.

All the commands of one delivery are planned together. Targets of the same project, instance and task are folded
whoever asked for them, so 1 000 one-target messages of one batch cost 10 calls.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import batched
from typing import TYPE_CHECKING, Final

from shared.commands import ALL_TARGETS, Command, StopTask

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

TARGETS_PER_CALL: Final = 100
"""Most targets that Huawei takes in one call ("Stop a Batch Task": Max: 100 targets)."""


@dataclass(frozen=True, slots=True)
class CheckTask:
    """A CodeArts Check task."""

    task_id: str


@dataclass(frozen=True, slots=True)
class BatchTask:
    """An IoTDA batch task, where it lives."""

    project_id: str
    instance_id: str | None
    task_id: str


type Task = CheckTask | BatchTask


@dataclass(frozen=True, slots=True)
class Stop:
    """One call that stops 1 to 100 distinct named targets. Not to be sent from `expires_at` on."""

    task: Task
    targets: tuple[str, ...]
    expires_at: datetime

    def __post_init__(self) -> None:
        """Refuse what Huawei might read as "stop everything", whoever made it."""
        if not 1 <= len(self.targets) <= TARGETS_PER_CALL or ALL_TARGETS in self.targets:
            raise ValueError(f"a stop names 1 to {TARGETS_PER_CALL} targets, not {len(self.targets)}")


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


def plan(commands: Iterable[Command]) -> Plan:
    """Fold the commands of one delivery into as few calls as possible.

    Order is kept: tasks as they first come, targets as first asked for.
    """
    named: dict[Task, dict[str, datetime]] = {}
    everything: dict[BatchTask, datetime] = {}
    reads: dict[Task, dict[str, None]] = {}
    for command in commands:
        task = task_of(command)
        for target in to_stop(command):
            if target == ALL_TARGETS and isinstance(task, BatchTask):
                everything[task] = max(command.expires_at, everything.get(task, command.expires_at))
                continue
            wanted = named.setdefault(task, {})
            wanted[target] = max(command.expires_at, wanted.get(target, command.expires_at))
        if reading := to_read(command):
            reads.setdefault(task, {}).update(dict.fromkeys(reading))
    stops = (
        Stop(task, chunk, expires_at=min(wanted[target] for target in chunk))
        for task, wanted in named.items()
        for chunk in batched(wanted, TARGETS_PER_CALL, strict=False)
    )
    stop_alls = (StopAll(task, expires_at) for task, expires_at in everything.items())
    return Plan(
        calls=(*stops, *stop_alls),
        reads={task: tuple(targets) for task, targets in reads.items()},
    )

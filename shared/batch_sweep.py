"""A sweep of IoTDA batch tasks: what is listed in a state that can be stopped, how old it is, and what of it runs."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from shared.errors import ForeignAnswer, HuaweiUnavailable
from shared.planning import BatchTask
from shared.staleness import Age, Found, RunningTask, is_protected, read_huawei_time
from shared.sweeps import Claimed, Commands, SweepBatchTasks, SweepCommand, stop_running_targets

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime, timedelta

    from shared.deadline import Deadline
    from shared.huawei.task_lists import BatchTaskLists, ListedBatchTask, RunningTargets
    from shared.inquiry import Inquiry
    from shared.patience import Patience

STOPPABLE: Final = ("Initializing", "Waitting", "Processing")
"""The states in which a batch task can be stopped, in the order in which it goes through them: a task that moves on
between two lists is found by the later one."""


class BatchSweep:
    """One sweep of the batch tasks of a project and instance."""

    def __init__(
        self,
        sweep: SweepBatchTasks,
        *,
        region: str,
        valid_for: timedelta,
        lists: BatchTaskLists,
        inquiry: Inquiry,
        patience: Patience,
    ) -> None:
        self._sweep = sweep
        self._region = region
        self._valid_for = valid_for
        self._lists = lists
        self._inquiry = inquiry
        self._patience = patience

    def find(self) -> Found:
        """List the tasks that can be stopped, with their ages. Raises `HuaweiUnavailable`, `DeploymentFault`."""
        sweep = self._sweep
        found: dict[str, ListedBatchTask] = {}
        unreadable = 0
        for task_type in dict.fromkeys(sweep.task_types):
            for status in STOPPABLE:
                listing = self._lists.tasks(sweep.project_id, sweep.instance_id, task_type, status, self._inquiry.ask)
                found |= {task.task_id: task for task in listing.entries}
                unreadable += listing.skipped
        return Found(
            running=tuple(RunningTask(task.task_id, task.task_name, self._age(task)) for task in found.values()),
            listed=len(found) + unreadable,
            unreadable=unreadable,
            missed=0,
        )

    def commands(self, stale: Iterable[tuple[RunningTask, Age]]) -> Commands:
        """Return the commands that stop what runs of these by a last look.

        What a long list keeps us from reading today must not keep the others from being stopped. Raises
        `DeploymentFault`.
        """
        aged = list(stale)
        foreign: list[ForeignAnswer] = []
        looks = self._inquiry.each(partial(self._look, foreign), [task for task, _ in aged])
        now = self._patience.now()
        running = [
            (replace(task, task_name=targets.task_name), age, targets, at + self._valid_for)
            for (task, age), (at, targets) in zip(aged, looks, strict=True)
            # A command that comes too late as it is would stop nothing.
            if targets is not None and (targets.targets or targets.skipped) and now < at + self._valid_for
        ]
        ended = sum(targets is not None and not (targets.targets or targets.skipped) for _, targets in looks)
        protected = frozenset(task.task_id for task, *_ in running if is_protected(task, self._sweep.protect))
        return Commands(
            to_send=tuple(
                command
                for task, age, targets, expires_at in running
                # A name that cannot be read may be one that is protected.
                if task.task_name is not None and task.task_id not in protected
                for command in stop_running_targets(self._sweep, task, age, targets.targets, expires_at=expires_at)
            ),
            missed=len(aged) - len(running) - ended,
            cut=sum(targets.skipped > 0 or task.task_name is None for task, _, targets, _ in running),
            protected=protected,
            fault=foreign[0] if foreign and len(foreign) == len(aged) else None,
        )

    def claim(self, commands: Sequence[SweepCommand]) -> Claimed:
        """Return all of these: a target that two sweeps stop at once is stopped once."""
        return Claimed(tuple(commands), failures=())

    def release(self, commands: Iterable[SweepCommand], *, deadline: Deadline) -> None:
        """Nothing is kept of these."""

    def _look(self, foreign: list[ForeignAnswer], task: RunningTask) -> tuple[datetime, RunningTargets | None]:
        """Return when a task was looked at, and what of it runs; `None` if that could not be found out."""
        where = BatchTask(self._sweep.project_id, self._sweep.instance_id, task.task_id)
        at = self._patience.now()
        try:
            return at, self._lists.running_targets(where, self._inquiry.ask)
        except HuaweiUnavailable:
            return at, None
        except ForeignAnswer as answer:
            foreign.append(answer)
            return at, None

    def _age(self, task: ListedBatchTask) -> Age | None:
        """Return the age by the later of creation and schedule; a task that is scheduled for later has not begun."""
        created = read_huawei_time(task.create_time, region=self._region)
        if created is None or task.moment is None:
            return None
        if task.schedule_time is None:
            return Age(created, "create_time", task.moment.behind)
        scheduled = read_huawei_time(task.schedule_time, region=self._region)
        if scheduled is None:
            return None
        evidence = "schedule_time" if scheduled > created else "create_time"
        return Age(max(scheduled, created), evidence, task.moment.behind)

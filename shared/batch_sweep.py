"""A sweep of IoTDA batch tasks: what is listed in a state that can be stopped, how old it is, and what of it runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final

from shared.errors import ForeignAnswer, HuaweiUnavailable
from shared.planning import BatchTask
from shared.staleness import Age, Found, Protection, RunningTask, read_huawei_time
from shared.sweeps import Claimed, Commands, SweepBatchTasks, SweepCommand, missed, stop_running_targets

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime, timedelta

    from shared.deadline import Deadline
    from shared.huawei.task_lists import BatchTaskLists, ListedBatchTask
    from shared.inquiry import Inquiry
    from shared.patience import Patience

STOPPABLE: Final = ("Initializing", "Waitting", "Processing")
"""The states in which a batch task can be stopped, in the order in which it goes through them: a task that moves on
between two lists is found by the later one."""


@dataclass(frozen=True, slots=True)
class _Look:
    """What of a task runs by a look `at` that time: so many `targets`, and `skipped` entries that could not be read.

    `names`: of the targets; none in a dry run, in which thousands of tasks may have millions. The task has its newest
    name.
    """

    task: RunningTask
    age: Age
    at: datetime
    names: tuple[str, ...]
    targets: int
    skipped: int


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
        """Return the commands that stop what runs of these by a last look; in a dry run only what they would name.

        What a long list keeps us from reading today must not keep the others from being stopped. Raises
        `DeploymentFault`.
        """
        aged = list(stale)
        causes: list[Exception] = []
        looks = self._inquiry.each(partial(self._look, causes), aged)
        now = self._patience.now()
        read = [look for look in looks if look is not None]
        ended = [look for look in read if not look.targets and not look.skipped]
        # A command that comes too late as it is would stop nothing.
        running = [look for look in read if (look.targets or look.skipped) and now < look.at + self._valid_for]
        protection = Protection(self._sweep.protect)
        protected = frozenset(look.task.task_id for look in running if protection.covers(look.task))
        late = len(read) - len(ended) - len(running)
        # A name that cannot be read may be one that is protected.
        named = [look for look in running if look.task.task_name is not None and look.task.task_id not in protected]
        return Commands(
            to_send=tuple(
                command
                for look in named
                for command in stop_running_targets(
                    self._sweep, look.task, look.age, look.names, expires_at=look.at + self._valid_for
                )
            ),
            targets={look.task.task_id: look.targets for look in (*ended, *named) if look.targets or not look.skipped},
            missed=len(causes) + late,
            cut=sum(look.skipped > 0 or look.task.task_name is None for look in running),
            protected=protected,
            failures=tuple(
                missed(unread=len(causes), causes=causes, late=late, valid_for=self._valid_for, of=len(aged))
            ),
        )

    def claim(self, commands: Sequence[SweepCommand]) -> Claimed:
        """Return all of these: a target that two sweeps stop at once is stopped once."""
        return Claimed(tuple(commands), failures=())

    def release(self, commands: Iterable[SweepCommand], *, deadline: Deadline) -> None:
        """Nothing is kept of these."""

    def _look(self, causes: list[Exception], stale: tuple[RunningTask, Age]) -> _Look | None:
        """Return what of a task runs; `None` if that could not be found out, which is then one of `causes`."""
        task, age = stale
        where = BatchTask(self._sweep.project_id, self._sweep.instance_id, task.task_id)
        at = self._patience.now()
        try:
            running = self._lists.running_targets(where, self._inquiry.ask)
        except (HuaweiUnavailable, ForeignAnswer) as cause:
            causes.append(cause)
            return None
        names = () if self._sweep.dry_run else running.targets
        newest = replace(task, task_name=running.task_name)
        return _Look(newest, age, at, names, len(running.targets), running.skipped)

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

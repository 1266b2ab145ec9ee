"""A sweep of CodeArts Check tasks: what is listed, which of it runs, and since when.

The list does not say what runs, so the state of every task is read. It does not say since when either; the sources for
that are, best first, the running jobs of the task (`job`), a record of a check that has begun and not ended
(`check_record`), and when a sweep first saw the run (`sighting`).
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from shared.errors import HuaweiUnavailable
from shared.findings import Finding, Verdict
from shared.planning import CheckTask
from shared.sightings import Sighting
from shared.staleness import Age, Found, RunningTask, read_huawei_time
from shared.sweeps import SweepCheckTasks, SweepCommand, stop_check

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shared.deadline import Deadline
    from shared.execution import Patience, Service
    from shared.huawei.task_lists import CheckTaskLists, ListedCheckTask
    from shared.inquiry import Inquiry
    from shared.sightings import Memory


class CheckSweep:
    """One sweep of the check tasks of a CodeArts project, as far as `until`."""

    def __init__(
        self,
        sweep: SweepCheckTasks,
        *,
        region: str,
        lists: CheckTaskLists,
        progress: Service,
        memory: Memory,
        inquiry: Inquiry,
        patience: Patience,
        until: Deadline,
    ) -> None:
        self._sweep = sweep
        self._region = region
        self._lists = lists
        self._progress = progress
        self._memory = memory
        self._inquiry = inquiry
        self._patience = patience
        self._until = until
        self._seen: dict[str, Sighting] = {}
        self._last_checks: dict[str, str] = {}

    def find(self) -> Found:
        """List the tasks, and find out which run and since when.

        Raises `HuaweiUnavailable`, `AwsUnavailable`, `DeploymentFault`.
        """
        listing = self._lists.tasks(self._sweep.project_id, self._inquiry.ask)
        self._seen = self._memory.of_project(self._sweep.project_id, deadline=self._until)
        states = self._inquiry.each(self._state, listing.entries)
        if states and set(states) == {Verdict.UNFINISHED}:
            raise HuaweiUnavailable("CodeArts Check told the state of not one task")
        running = []
        for task, state in zip(listing.entries, states, strict=True):
            if state in _MAY_RUN:
                running.append((task, state))
            else:
                self._forget(task.task_id)
        if running:
            # What was read to run may have begun after its `last_check_time` was listed, and even be another run than
            # the one listed. If the list still says the same now, no run began or ended before that read.
            again = self._lists.tasks(self._sweep.project_id, self._inquiry.ask)
            self._last_checks = {task.task_id: _run_of(task) for task in again.entries}
        return Found(
            running=tuple(self._inquiry.each(self._running_task, running)),
            listed=len(listing.entries) + listing.skipped,
            unreadable=listing.skipped,
        )

    def commands(self, stale: Iterable[tuple[RunningTask, Age]]) -> tuple[list[SweepCommand], int]:
        """Give the commands that stop these; none is ever missed."""
        return [stop_check(self._sweep, task, age) for task, age in stale], 0

    def before_sending(self, commands: Iterable[SweepCommand]) -> None:
        """Forget when these were first seen.

        Should somebody start one again once it is stopped, and `last_check_time` not tell the two runs apart, then the
        new run must not be taken for the old one. Before, and not after: what may go wrong in between then only means
        that we wait longer.
        """
        for command in commands:
            self._forget(command.task_id)

    def not_sent(self, commands: Iterable[SweepCommand]) -> None:
        """Remember again when these were first seen."""
        for command in commands:
            if sighting := self._seen.get(command.task_id):
                self._memory.remember(self._sweep.project_id, command.task_id, sighting, deadline=self._until)

    def _state(self, task: ListedCheckTask) -> Verdict:
        """Read what a task does; `UNFINISHED` if it cannot be found out of this one."""

        def question(deadline: Deadline) -> Finding:
            return self._progress.read(CheckTask(task.task_id), (task.task_id,), deadline).findings[task.task_id]

        try:
            return self._inquiry.ask(question).verdict
        except HuaweiUnavailable:
            if not self._until.remaining():
                raise
            return Verdict.UNFINISHED

    def _running_task(self, read: tuple[ListedCheckTask, Verdict]) -> RunningTask:
        task, state = read
        # What could not be read may run: it is told of as of unknown age, and left alone.
        age = self._age(task) if state is Verdict.RUNS else None
        return RunningTask(task.task_id, task.task_name, age)

    def _age(self, task: ListedCheckTask) -> Age | None:
        project_id, ask = self._sweep.project_id, self._inquiry.ask
        if since := read_huawei_time(self._lists.running_since(task.task_id, ask), region=self._region):
            return Age(since, "job")
        record = read_huawei_time(self._lists.unended_record(project_id, task.task_id, ask), region=self._region)
        # A run that was cut short may leave a record without an end, and the list of records may not show what runs
        # now: a record is this run's only if the task says that its latest check began then.
        run = _run_of(task)
        is_same = self._last_checks.get(task.task_id) == run
        if is_same and record is not None and record == read_huawei_time(run, region=self._region):
            return Age(record, "check_record")
        seen = self._seen.get(task.task_id)
        if seen is not None and seen.run == run:
            return Age(seen.first_seen, "sighting") if is_same else None
        # By the clock as it is after the read, and to the next full second: it may have begun just before.
        first = Sighting(run, self._patience.now().replace(microsecond=0) + timedelta(seconds=1))
        self._memory.remember(project_id, task.task_id, first, deadline=self._until)
        return None

    def _forget(self, task_id: str) -> None:
        if sighting := self._seen.get(task_id):
            self._memory.forget(self._sweep.project_id, task_id, sighting, deadline=self._until)


def _run_of(task: ListedCheckTask) -> str:
    return task.last_check_time or ""


_MAY_RUN: Final = {Verdict.RUNS, Verdict.UNFINISHED, Verdict.REFUSED}
"""All but these say that a task does not run."""

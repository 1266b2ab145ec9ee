"""A sweep of CodeArts Check tasks: what is listed, which of it runs, and since when.

The list does not say what runs, so the state of every task is read. It does not say since when either; the sources for
that are, best first, the running jobs of the task (`job`), a record of a check that has begun and not ended
(`check_record`), and when a sweep first saw the run (`sighting`; `shared.sightings` states the rule).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from shared.aws import AwsUnavailable
from shared.errors import DeploymentFault, HuaweiUnavailable
from shared.findings import Finding, Verdict
from shared.huawei.codearts_check import Progress
from shared.sightings import Item, Sighting
from shared.staleness import Age, Found, RunningTask, is_protected, read_huawei_time
from shared.sweeps import Claimed, Commands, SweepCheckTasks, SweepCommand, stop_check

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from shared.deadline import Deadline
    from shared.huawei.task_lists import CheckTaskLists, ListedCheckTask
    from shared.inquiry import Inquiry
    from shared.patience import Patience
    from shared.sightings import Memory
    from shared.staleness import Moment

ROUNDS: Final = 5
"""How often a sweep looks at a task anew because another sweep has written its item meanwhile."""

LONGEST_STOP: Final = timedelta(minutes=1)
"""How long a stop may still act that was sent to Huawei just before its command expired."""


class CheckSweep:
    """One sweep of the check tasks of a CodeArts project, as far as `until`."""

    def __init__(
        self,
        sweep: SweepCheckTasks,
        *,
        region: str,
        valid_for: timedelta,
        lists: CheckTaskLists,
        memory: Memory,
        new_version: Callable[[], str],
        inquiry: Inquiry,
        patience: Patience,
        until: Deadline,
    ) -> None:
        self._sweep = sweep
        self._region = region
        self._valid_for = valid_for
        self._lists = lists
        self._memory = memory
        self._new_version = new_version
        self._inquiry = inquiry
        self._patience = patience
        self._until = until
        self._listed: dict[str, ListedCheckTask] = {}
        self._listed_again: dict[str, ListedCheckTask] = {}
        self._items: dict[str, Item] = {}
        self._percents: dict[str, int] = {}
        self._claims: dict[str, Item] = {}

    def find(self) -> Found:
        """List the tasks, and find out which run and since when.

        Raises `HuaweiUnavailable`, `AwsUnavailable`, `DeploymentFault`.
        """
        listing = self._lists.tasks(self._sweep.project_id, self._inquiry.ask)
        self._listed = {task.task_id: task for task in listing.entries}
        self._read_items()
        states = self._inquiry.each(self._state, listing.entries)
        if states and all(state.finding.verdict is Verdict.UNFINISHED for state in states):
            raise HuaweiUnavailable("CodeArts Check told the state of not one task")
        # The versions are read after the states, so what another sweep has written meanwhile is contradicted as well.
        self._read_items()
        read = list(zip(listing.entries, states, strict=True))
        self._refute_all(task.task_id for task, state in read if not _may_run(state))
        may_run = [(task, state) for task, state in read if _may_run(state)]
        if may_run:
            # What was read to run may have begun after its `last_check_time` was listed, and even be another run than
            # the one listed. If the list still says the same now, no run began or ended before that read.
            self._list_again()
        running = self._inquiry.each(self._running_task, may_run)
        missed = sum(is_missed for _, is_missed in running)
        if missed and not self._until.remaining():
            raise HuaweiUnavailable(f"no time was left to find out since when {missed} checks run")
        return Found(
            running=tuple(task for task, _ in running),
            listed=len(listing.entries) + listing.skipped,
            unreadable=listing.skipped,
            missed=missed,
        )

    def commands(self, stale: Iterable[tuple[RunningTask, Age]]) -> Commands:
        """Return the commands that stop those of these whose run, by a last look, is still old enough.

        Minutes may have passed since a task was read, in which its run may have ended and the next one begun, or its
        name may have become one that a pattern protects. Raises `HuaweiUnavailable` if the list cannot be read again,
        `AwsUnavailable` if the table cannot, and `DeploymentFault`.
        """
        expires_at = self._patience.now() + self._valid_for
        tasks = [self._listed[task.task_id] for task, _ in stale]
        states = self._inquiry.each(self._state, tasks)
        running = [
            (task, state) for task, state in zip(tasks, states, strict=True) if state.finding.verdict is Verdict.RUNS
        ]
        if running:
            self._list_again()
            self._read_items()
        looks = self._inquiry.each(self._running_task, running)
        now = self._patience.now()
        # The name of a task that is not listed again, or not in a way that can be read, may be one that is protected.
        named = [task for task, _ in looks if task.task_id in self._listed_again]
        protected = frozenset(task.task_id for task in named if is_protected(task, self._sweep.protect))
        return Commands(
            to_send=tuple(
                stop_check(self._sweep, task, task.age, expires_at=expires_at)
                for task in named
                if task.task_id not in protected
                and task.age is not None
                and now - task.age.latest_start >= self._sweep.older_than
            ),
            missed=sum(state.finding.verdict is Verdict.UNFINISHED for state in states)
            + sum(is_missed for _, is_missed in looks),
            cut=len(looks) - len(named),
            protected=protected,
        )

    def claim(self, commands: Sequence[SweepCommand]) -> Claimed:
        """Claim the items of these, and return which this sweep may send: no other sweep has been there since the look.

        The claim comes before the stop is sent, and holds until it has expired. Should somebody start the task again
        once it is stopped, the new run must not be taken for the old one; and what may go wrong in between only means
        that the sweep after it waits longer.
        """
        answers = self._inquiry.each(self._claim, commands)
        return Claimed(
            commands=tuple(command for command, answer in zip(commands, answers, strict=True) if answer is True),
            failures=tuple(answer for answer in answers if isinstance(answer, Exception)),
        )

    def release(self, commands: Iterable[SweepCommand], *, deadline: Deadline) -> None:
        """Put back the sightings of these, which surely were not sent; raises `AwsUnavailable`, `DeploymentFault`."""

        def put_back(task_id: str) -> None:
            claim = self._claims[task_id]
            before = None if claim.sighting is None else Item(self._new_version(), claim.sighting)
            # Refused if another look has contradicted the sighting since, or if the claim never got there.
            self._memory.swap(self._sweep.project_id, task_id, claim, before, deadline=deadline)

        self._all_of(put_back, [command.task_id for command in commands if command.task_id in self._claims])

    def _claim(self, command: SweepCommand) -> bool | AwsUnavailable | DeploymentFault:
        held = self._items.get(command.task_id)
        if held is not None and held.is_claimed(self._patience.now()):
            return False
        sighting = None if held is None else held.evidence
        claim = Item(self._new_version(), sighting, claimed_until=command.expires_at + LONGEST_STOP)
        self._claims[command.task_id] = claim
        try:
            return self._swap(command.task_id, held, claim)
        except (AwsUnavailable, DeploymentFault) as error:
            return error

    def _list_again(self) -> None:
        again = self._lists.tasks(self._sweep.project_id, self._inquiry.ask)
        self._listed_again = {task.task_id: task for task in again.entries}

    def _state(self, task: ListedCheckTask) -> Progress:
        """Read what a task does; `UNFINISHED` if that cannot be found out of this one."""
        try:
            return self._progress(task.task_id)
        except HuaweiUnavailable as error:
            if not self._until.remaining():
                raise
            return Progress(Finding(Verdict.UNFINISHED, error_msg=str(error)), percent=None, moment=None)

    def _progress(self, task_id: str) -> Progress:
        """Read what a task does, and take its sighting away if that shows that the run seen then is over."""
        progress = self._lists.progress(task_id, self._inquiry.ask)
        if _may_run(progress) and progress.finding.verdict is not Verdict.RUNS:
            return progress  # it says nothing
        item = self._items.get(task_id)
        farthest = max(self._percents.pop(task_id, 0), item.evidence.percent if item and item.evidence else 0)
        if progress.percent is None or progress.percent < farthest:
            self._refute(task_id)
        if progress.percent is not None:
            self._percents[task_id] = progress.percent
        return progress

    def _running_task(self, read: tuple[ListedCheckTask, Progress]) -> tuple[RunningTask, bool]:
        """Return a task that was read to run, or that may, and whether CodeArts could not be asked about it."""
        task, state = read
        newest = self._listed_again.get(task.task_id, task)
        # What could not be read may run: it counts as of unknown age, and is left alone.
        age, is_missed = None, state.finding.verdict is Verdict.UNFINISHED
        if state.finding.verdict is Verdict.RUNS:
            try:
                age = self._age(task)
            except HuaweiUnavailable:
                is_missed = True
        return RunningTask(task.task_id, newest.task_name, age), is_missed

    def _age(self, task: ListedCheckTask) -> Age | None:
        started = self._lists.running_since(task.task_id, self._inquiry.ask)
        age = None if started is None else self._age_by(started.at, started.moment, "job")
        if age is None:
            records = self._lists.records(self._sweep.project_id, task.task_id, self._inquiry.ask)
            last_check = task.last_check_time
            again = self._listed_again.get(task.task_id)
            if not last_check or again is None or again.last_check_time != last_check:
                self._refute(task.task_id)
                return None
            # A run that was cut short may leave a record without an end, and the list of records may not show what runs
            # now: a record is this run's only if the task says that its latest check began then.
            age = self._age_by(records.unended, records.moment, "check_record")
            if age is None or age.running_since != read_huawei_time(last_check, region=self._region):
                return self._age_by_sighting(task.task_id, f"{last_check} {records.mark}".rstrip())
        item = self._items.get(task.task_id)
        if item and item.evidence and age.latest_start > item.evidence.first_seen:
            self._refute(task.task_id)
        return age

    def _age_by(self, text: str | None, moment: Moment | None, evidence: str) -> Age | None:
        since = read_huawei_time(text, region=self._region)
        return None if since is None or moment is None else Age(since, evidence, moment.behind)

    def _age_by_sighting(self, task_id: str, run: str) -> Age | None:
        """Look at a run whose start CodeArts does not tell, and note that it was seen; return its age if it was before.

        The item must not change between the read of its version and the write: what another sweep writes meanwhile
        may come of a look that contradicts this one.
        """
        for _ in range(ROUNDS):
            item = self._items.get(task_id)
            if item is None:
                self._swap(task_id, None, Item(self._new_version()))
                continue
            progress = self._progress(task_id)
            moment = progress.moment
            if progress.percent is None or moment is None or item.is_claimed(moment.earliest):
                return None
            if self._items.get(task_id) != item:
                continue  # it was contradicted, or another sweep was first
            if item.evidence and item.evidence.run != run:
                self._refute(task_id)
                continue
            if item.evidence:
                seen = replace(item.evidence, percent=progress.percent)
                age = Age(seen.first_seen, "sighting", moment.behind)
            else:
                seen, age = Sighting(run, moment.latest, progress.percent), None
            if seen == item.evidence or self._swap(task_id, item, Item(self._new_version(), seen)):
                return age
        return None

    def _refute_all(self, task_ids: Iterable[str]) -> None:
        self._all_of(self._refute, [each for each in task_ids if each in self._items])

    def _refute(self, task_id: str) -> None:
        """Take away what sweeps have seen of a task, or are about to note. A claim stays, without its sighting."""
        for _ in range(ROUNDS):
            item = self._items.get(task_id)
            if item is None or (item.claimed_until and not item.sighting):
                return
            claim = Item(self._new_version(), None, item.claimed_until) if item.claimed_until else None
            if self._swap(task_id, item, claim):
                return
        raise AwsUnavailable(
            service="DynamoDB", operation="PutItem", code="Contended", message=f"the item of {task_id} keeps changing"
        )

    def _swap(self, task_id: str, held: Item | None, new: Item | None) -> bool:
        """Write an item; if another sweep was first, read what it wrote."""
        is_written = self._memory.swap(self._sweep.project_id, task_id, held, new, deadline=self._until)
        there = new if is_written else self._memory.read(self._sweep.project_id, task_id, deadline=self._until)
        if there is None:
            self._items.pop(task_id, None)
        else:
            self._items[task_id] = there
        return is_written

    def _read_items(self) -> None:
        self._items = self._memory.of_project(self._sweep.project_id, deadline=self._until)

    def _all_of[X](self, work: Callable[[X], None], items: Sequence[X]) -> None:
        """Do `work` for each item, and only then raise what one of them raised."""

        def tried(item: X) -> AwsUnavailable | DeploymentFault | None:
            try:
                work(item)
            except (AwsUnavailable, DeploymentFault) as error:
                return error
            return None

        if errors := [error for error in self._inquiry.each(tried, items) if error]:
            raise errors[0]


def _may_run(state: Progress) -> bool:
    """Return whether a task runs or may run; all other states say that it does not."""
    return state.finding.verdict in {Verdict.RUNS, Verdict.UNFINISHED, Verdict.REFUSED}

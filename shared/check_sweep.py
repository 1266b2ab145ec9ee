"""A sweep of CodeArts Check tasks: what is listed, which of it runs, and since when.

The list does not say what runs, so the state of every task is read. It does not say since when either; the sources for
that are the running jobs of the task (`job`), and when a sweep first saw the run (`sighting`; `shared.sightings` states
the rule). A record of a check without an end is none: a check that was cut short may leave one, and the run after it
would have its age.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from shared.aws import AwsUnavailable
from shared.errors import DeploymentFault, ForeignAnswer, HuaweiUnavailable
from shared.findings import Finding, Verdict
from shared.huawei.codearts_check import Progress
from shared.sightings import Item, Sighting
from shared.staleness import Age, Found, Protection, RunningTask, read_huawei_time
from shared.sweeps import Claimed, Commands, SweepCheckTasks, SweepCommand, missed, stop_check, unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from shared.deadline import Deadline
    from shared.huawei.task_lists import CheckTaskLists, ListedCheckTask
    from shared.inquiry import Inquiry
    from shared.patience import Patience
    from shared.sightings import Memory

ROUNDS: Final = 5
"""How often a sweep looks at a task anew because another sweep has written its item meanwhile."""

LONGEST_STOP: Final = timedelta(minutes=1)
"""How long a stop may still act that was sent to Huawei just before its command expired."""


class _Look(NamedTuple):
    """A task that runs or may run, as it was from `at` on. `is_missed`: whether anything about it could not be read."""

    task: RunningTask
    at: datetime
    state: Verdict
    is_missed: bool


class CheckSweep:
    """One sweep of the check tasks of a CodeArts project: Huawei is asked `until`, and the table `writes_until`."""

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
        writes_until: Deadline,
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
        self._states_until = self._ages_until = until
        self._failures: tuple[Exception, ...] = ()
        self._writes_until = writes_until
        self._listed: dict[str, ListedCheckTask] = {}
        self._listed_again: dict[str, ListedCheckTask] = {}
        self._items: dict[str, Item] = {}
        self._percents: dict[str, int] = {}
        self._ages: dict[str, Age] = {}
        self._claims: dict[str, Item] = {}
        self._causes: list[Exception] = []

    def find(self) -> Found:
        """List the tasks, and find out which run and since when.

        Raises `HuaweiUnavailable`, `AwsUnavailable`, `DeploymentFault`.
        """
        listing = self._lists.tasks(self._sweep.project_id, self._inquiry.ask)
        self._listed = {task.task_id: task for task in listing.entries}
        self._read_items()
        # One task whose question is throttled for ever must not take the time of the last look at all others.
        looks = self._look_at(listing.entries, kept=0.5)
        unread = sum(look.is_missed for look in looks)
        unread_states = sum(look.state is Verdict.UNFINISHED for look in looks)
        if unread_states and unread_states == len(listing.entries):
            foreign = [cause for cause in self._causes if isinstance(cause, ForeignAnswer)]
            words = "the state of not one task could be read from CodeArts Check"
            raise foreign[0] if foreign else unavailable(words, self._causes)
        if unread and not self._ages_until.remaining():
            words = f"no time was left to find out since when {unread} checks run"
            self._failures = (unavailable(words, self._causes),)
        return Found(
            running=tuple(look.task for look in looks),
            listed=len(listing.entries) + listing.skipped,
            unreadable=listing.skipped,
            missed=unread,
        )

    def commands(self, stale: Iterable[tuple[RunningTask, Age]]) -> Commands:
        """Return the commands that stop those of these whose run, by a last look, is still old enough.

        Minutes may have passed since a task was read, in which its run may have ended and the next one begun, or its
        name may have become one that a pattern protects. Raises `HuaweiUnavailable` if the list cannot be read again,
        `AwsUnavailable` if the table cannot, and `DeploymentFault`.

        A dry run needs no last look: each task is one target.
        """
        tasks = [task for task, _ in stale]
        if self._sweep.dry_run:
            targets = {task.task_id: 1 for task in tasks}
            return Commands(
                to_send=(), targets=targets, missed=0, cut=0, protected=frozenset(), failures=self._failures
            )
        self._causes = []
        # The state is one of three or four questions about each, and what was asked of many in vain is sent for nobody.
        self._states_until = self._until.less(0.75 * self._until.remaining())
        looks = self._look_at([self._listed[task.task_id] for task in tasks], kept=0.0)
        now = self._patience.now()
        # A command that comes too late as it is would stop nothing, and its claim would cost the evidence.
        expires_at = {look.task.task_id: look.at + self._valid_for for look in looks}
        read = [look.task for look in looks if not look.is_missed and now < expires_at[look.task.task_id]]
        refused = sum(look.state is Verdict.REFUSED for look in looks)
        unread = sum(look.is_missed for look in looks) - refused
        late = len(looks) - len(read) - unread - refused
        # The name of a task that is not listed again, or not in a way that can be read, may be one that is protected.
        named = [task for task in read if task.task_id in self._listed_again]
        protection = Protection(self._sweep.protect)
        protected = frozenset(task.task_id for task in named if protection.covers(task))
        old = [
            (task, task.age)
            for task in named
            if task.age is not None and self._is_stale(task.age) and task.task_id not in protected
        ]
        self._ages = {task.task_id: age for task, age in old}
        # What has ended by now is not among the looks.
        undecided = {look.task.task_id for look in looks}.difference(task.task_id for task in named)
        return Commands(
            to_send=tuple(stop_check(self._sweep, task, age, expires_at=expires_at[task.task_id]) for task, age in old),
            targets={task.task_id: int(task.task_id in self._ages) for task in tasks if task.task_id not in undecided},
            missed=unread + late,
            cut=len(read) - len(named) + refused,
            protected=protected,
            failures=(
                *self._failures,
                *missed(unread=unread, causes=self._causes, late=late, valid_for=self._valid_for, of=len(looks)),
            ),
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

    def _claim(self, command: SweepCommand) -> bool | Exception:
        try:
            return self._is_claimed(command)
        except ForeignAnswer as error:
            return HuaweiUnavailable(str(error))  # it concerns this task alone
        except (AwsUnavailable, DeploymentFault, HuaweiUnavailable) as error:
            return error

    def _is_claimed(self, command: SweepCommand) -> bool:
        """Claim an item; if another sweep has written it since the look, look again. Return whether it is claimed."""
        task_id = command.task_id
        for round_ in range(ROUNDS):
            held, now = self._items.get(task_id), self._patience.now()
            if held is not None and held.is_claimed(now - self._ages[task_id].behind):
                return False
            if round_:  # another sweep has written the item, and not claimed it
                again = self._age(self._listed[task_id])
                if again is None or not self._is_stale(again):
                    return False
                self._ages[task_id], held = again, self._items.get(task_id)
            sighting = None if held is None else held.evidence
            claim = Item(self._new_version(), sighting, claimed_until=command.expires_at + LONGEST_STOP)
            self._claims[task_id] = claim  # it may be there though no answer comes
            if self._swap(task_id, held, claim):
                return True
            del self._claims[task_id]
        return False

    def _look_at(self, tasks: Sequence[ListedCheckTask], *, kept: float) -> list[_Look]:
        """Find out which of these run or may run, and since when. `kept`: the part of the time the latter leaves."""
        if not tasks:
            return []
        states = list(zip(tasks, self._inquiry.each(self._state, tasks), strict=True))
        # The versions are read after the states, so what another sweep has written meanwhile is contradicted as well.
        self._read_items()
        self._refute_all(task.task_id for task, state in states if not _may_run(state))
        may_run = [(task, state) for task, state in states if _may_run(state)]
        if may_run:
            # What was read to run may have begun after its `last_check_time` was listed, and even be another run than
            # the one listed. If the list still says the same now, no run began or ended before that read.
            self._list_again()
        self._ages_until = self._inquiry.deadline = self._until.less(kept * self._until.remaining())
        looks = self._inquiry.each(self._look, may_run)
        self._inquiry.deadline = self._until
        self._refute_by_jobs([look.task for look in looks if look.task.age and look.task.age.evidence == "job"])
        return looks

    def _refute_by_jobs(self, tasks: Sequence[RunningTask]) -> None:
        """Take away the sightings of runs before those that began then, whichever sweep has made them by now."""
        if tasks:
            items = self._memory.of_project(self._sweep.project_id, deadline=self._writes_until)
            later = [task.task_id for task in tasks if _is_refuted(items.get(task.task_id), task.age)]
            self._items |= {task_id: items[task_id] for task_id in later}
            self._refute_all(later)

    def _list_again(self) -> None:
        again = self._lists.tasks(self._sweep.project_id, self._inquiry.ask)
        self._listed_again = {task.task_id: task for task in again.entries}

    def _state(self, task: ListedCheckTask) -> Progress:
        """Read what a task does; `UNFINISHED` if that cannot be found out of this one."""
        error: Exception = HuaweiUnavailable("no time left to ask")
        try:
            if self._states_until.remaining():
                return self._progress(task.task_id)
        except (ForeignAnswer, HuaweiUnavailable) as cause:
            error = cause
        self._causes.append(error)
        return Progress(Finding(Verdict.UNFINISHED, error_msg=str(error)), percent=None, moment=None)

    def _progress(self, task_id: str) -> Progress:
        """Read what a task does, and take its sighting away if that shows that the run seen then is over."""
        progress = self._lists.progress(task_id, self._inquiry.ask)
        if _may_run(progress) and progress.finding.verdict is not Verdict.RUNS:
            return progress  # it says nothing
        item = self._items.get(task_id)
        farthest = max(self._percents.pop(task_id, 0), item.sighting.percent if item and item.sighting else 0)
        if progress.percent is None or progress.percent < farthest:
            self._refute(task_id)
        if progress.percent is not None:
            self._percents[task_id] = progress.percent
        return progress

    def _look(self, read: tuple[ListedCheckTask, Progress]) -> _Look:
        task, state = read
        newest = self._listed_again.get(task.task_id, task)
        # What could not be read may run: it counts as of unknown age, and is left alone.
        age, is_missed = None, state.finding.verdict is not Verdict.RUNS
        at = self._patience.now()
        if state.finding.verdict is Verdict.RUNS:
            try:
                age = self._age(task)
            except (HuaweiUnavailable, ForeignAnswer) as cause:
                self._causes.append(cause)
                is_missed = True
            if age is None or age.evidence != "sighting":
                self._move_on(task.task_id)
        return _Look(RunningTask(task.task_id, newest.task_name, age), at, state.finding.verdict, is_missed)

    def _move_on(self, task_id: str) -> None:
        """Note how far a run has come of which no age by a sighting was found; if another sweep was first, it did."""
        item, percent = self._items.get(task_id), self._percents.get(task_id)
        if item and item.evidence and percent is not None and percent > item.evidence.percent:
            self._swap(task_id, item, Item(self._new_version(), replace(item.evidence, percent=percent)))

    def _age(self, task: ListedCheckTask) -> Age | None:
        started = self._lists.running_since(task.task_id, self._inquiry.ask)
        since = None if started is None else read_huawei_time(started.at, region=self._region)
        if started is not None and since is not None:
            return Age(since, "job", started.moment.behind)
        mark = self._lists.mark_of_records(self._sweep.project_id, task.task_id, self._inquiry.ask)
        again = self._listed_again.get(task.task_id)
        if not task.last_check_time or again is None or again.last_check_time != task.last_check_time:
            self._refute(task.task_id)
            return None
        return self._age_by_sighting(task.task_id, f"{task.last_check_time} {mark}".rstrip())

    def _is_stale(self, age: Age) -> bool:
        return self._patience.now() - age.latest_start >= self._sweep.older_than

    def _age_by_sighting(self, task_id: str, run: str) -> Age | None:
        """Look at a run whose start CodeArts does not tell, and note that it was seen; return its age if it was before.

        The item must not change between the read of its version and the write: what another sweep writes meanwhile
        may come of a look that contradicts this one.
        """
        if task_id not in self._percents:
            return None  # its progress is not readable, so there is nothing to note
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
        is_written = self._memory.swap(self._sweep.project_id, task_id, held, new, deadline=self._writes_until)
        there = new if is_written else self._memory.read(self._sweep.project_id, task_id, deadline=self._writes_until)
        if there is None:
            self._items.pop(task_id, None)
        else:
            self._items[task_id] = there
        return is_written

    def _read_items(self) -> None:
        self._items = self._memory.of_project(self._sweep.project_id, deadline=self._writes_until)

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


def _is_refuted(item: Item | None, age: Age | None) -> bool:
    """Return whether a run that began then is another than the one that was seen."""
    return bool(item and item.sighting and age and age.latest_start > item.sighting.first_seen)


def _may_run(state: Progress) -> bool:
    """Return whether a task runs or may run; all other states say that it does not."""
    return state.finding.verdict in {Verdict.RUNS, Verdict.UNFINISHED, Verdict.REFUSED}

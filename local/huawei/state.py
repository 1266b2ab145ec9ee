"""The tasks of both services and what a stop does to them: no clock, no I/O. Times are arguments, in seconds."""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, get_args

from local.huawei.scenario import CHECK_PROJECT_ID, CheckRun, SubtaskStatus

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from local.huawei.scenario import BatchStatus, BatchTask, CheckStatus, CheckTask, RunStatus

STOPPABLE_TYPES: Final = frozenset({"firmwareUpgrade", "softwareUpgrade"})
"""The only task types that can be stopped (iotda StopBatchTask)."""

RUNNING: Final[tuple[SubtaskStatus, ...]] = ("Processing", "Waitting", "FailWaitRetry")
"""What a stop of everything stops (iotda StopBatchTask)."""

TARGET_NOT_IN_TASK: Final = ("IOTDA.014219", "Invalid input. The target is not in the task")

# The codes of these are nowhere published: invented here, so that nobody comes to lean on a guess.
TARGET_NOT_RUNNING: Final = ("IOTDA.014220", "Invalid operation. The target is not running")
TASK_NOT_RUNNING: Final = ("IOTDA.014221", "Invalid operation. The task has ended or is being stopped")
TASK_TYPE_NOT_STOPPABLE: Final = ("IOTDA.014222", "Invalid operation. The task type does not support this")
TASK_NOT_FOUND: Final = ("IOTDA.014223", "The batch task does not exist")

CHECK_PROJECT_NOT_FOUND: Final = ("CC.00050013", "The project does not exist.")
CHECK_TASK_NOT_FOUND: Final = ("CC.00050014", "getTaskBasicInfo failed.")
"""Published, but UNVERIFIED that it is what a read of an unknown task gets."""

_LAST_MARKER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFF


class Rejected(Exception):
    """The service says no: an HTTP status, and what goes into `error_code` and `error_msg`."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Lag:
    """How long an accepted stop does not show: until `seconds` have passed and `reads` reads were answered."""

    seconds: float
    reads: int


@dataclass(slots=True)
class _Stopping:
    indexes: Sequence[int]
    due: float
    reads_left: int

    def is_over(self, now: float) -> bool:
        return self.reads_left <= 0 and now >= self.due


@dataclass(frozen=True, slots=True)
class TargetResult:
    """What a stop did to one target: `failure` is `(error_code, error_msg)`, or None if it was taken."""

    target: str
    failure: tuple[str, str] | None


@dataclass(frozen=True, slots=True)
class SubtaskPage:
    """Some `(target, status)` in descending record ids, how many there are in all, and where the page ends."""

    subtasks: tuple[tuple[str, SubtaskStatus], ...]
    count: int
    marker: str | None


class CheckTaskState:
    """One CodeArts Check task and its runs."""

    def __init__(self, told: CheckTask) -> None:
        self.told = told
        self.status: CheckStatus = told.status
        self._running_since = told.running_since
        self._ended = list(told.records)
        self._stopping: _Stopping | None = None

    def runs(self) -> tuple[CheckRun, ...]:
        """Give the runs of which is known when they began, the oldest first, with the one that is not over."""
        if self.status != "checking" or self._running_since is None:
            return tuple(self._ended)
        return (*self._ended, CheckRun(check_time=self._running_since, status="checking"))

    def set_status(self, status: CheckStatus, *, running_since: str | None, now: float) -> None:
        """Let the task move by itself; `checking` begins a new run, to which no earlier stop applies."""
        self.settle(now)
        self._stopping = None
        match status:
            case "checking" | "never_checked":
                self.status = status
                self._running_since = running_since
            case _:
                self._end(status, now)

    def stop(self, *, lag: Lag, now: float) -> bool:
        """Stop the check; False if there is none to stop, or a stop is already under way."""
        if self.status != "checking" or self._stopping is not None:
            return False
        self._stopping = _Stopping((), now + lag.seconds, lag.reads)
        self.settle(now)
        return True

    def settle(self, now: float) -> None:
        """Let an accepted stop take effect if its time has come."""
        if self._stopping is not None and self._stopping.is_over(now):
            self._end("stopped", now)
            self._stopping = None

    def _end(self, status: RunStatus, now: float) -> None:
        if self.status == "checking" and self._running_since is not None:
            end = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            self._ended.append(CheckRun(check_time=self._running_since, check_end_time=end, status=status))
        self.status = status

    def read(self, now: float) -> CheckStatus:
        """Give the status to a reader; counts as one read for the lag of a stop."""
        self.settle(now)
        if self._stopping is not None:
            self._stopping.reads_left -= 1
        return self.status


class BatchTaskState:
    """One IoTDA batch task with its subtasks, built so that a page costs the same at 10 and at 30 000.

    A subtask's record id is the task's `number` followed by its index; pages run downwards, as documented.
    """

    def __init__(self, told: BatchTask, *, number: int) -> None:
        subtasks: dict[str, SubtaskStatus] = dict.fromkeys(told.targets, "Processing")
        subtasks |= told.subtasks
        self.told = told
        self._first_record = number << 32
        self._targets = tuple(subtasks)
        self._index = {target: index for index, target in enumerate(subtasks)}
        self._statuses = list(subtasks.values())
        self._by_status: dict[SubtaskStatus, list[int]] = {status: [] for status in get_args(SubtaskStatus)}
        for index, status in enumerate(self._statuses):
            self._by_status[status].append(index)
        self._told_status = told.status
        self._stops: list[_Stopping] = []
        self._stopping: set[int] = set()
        self._all_asked = False

    def status(self) -> BatchStatus:
        """Give the task's status as it follows from its subtasks.

        UNVERIFIED how Huawei sums up a task of which some were stopped and some ended: here a stop of
        everything, or stopped subtasks without a single success, make it Stopped.
        """
        if self._told_status is not None:
            return self._told_status
        running = {status for status in RUNNING if self._by_status[status]}
        if not running:
            return self._ended_status()
        if self._all_asked:
            return "Stopping"
        return "Waitting" if running == {"Waitting"} else "Processing"

    def _ended_status(self) -> BatchStatus:
        ended = {status for status in ("Success", "Fail", "Stopped") if self._by_status[status]}
        if "Stopped" in ended and (self._all_asked or "Success" not in ended):
            return "Stopped"
        if "Success" in ended:
            return "Success" if ended == {"Success"} else "PartialSuccess"
        return "Fail" if ended else "Initializing"

    def progress(self) -> dict[str, int]:
        """Count the subtasks, in the words of `task_progress`."""
        return {
            "total": len(self._targets),
            "processing": len(self._by_status["Processing"]),
            "success": len(self._by_status["Success"]),
            "fail": len(self._by_status["Fail"]),
            "waitting": len(self._by_status["Waitting"]),
            "fail_wait_retry": len(self._by_status["FailWaitRetry"]),
            "stopped": len(self._by_status["Stopped"]),
            "removed": len(self._by_status["Removed"]),
        }

    def subtasks(self) -> dict[str, SubtaskStatus]:
        """Give every target with its status."""
        return dict(zip(self._targets, self._statuses, strict=True))

    def set_subtask(self, target: str, status: SubtaskStatus) -> None:
        """Let one subtask move by itself, as when a device finishes. Raises KeyError for an unknown target."""
        self._move(self._index[target], status)

    def stop_targets(
        self,
        targets: Sequence[str],
        *,
        lag: Lag,
        now: float,
        failing: Mapping[str, tuple[str, str]] = MappingProxyType({}),
    ) -> tuple[TargetResult, ...]:
        """Stop these, each for itself, and answer in the order asked. Raises `Rejected` for the whole task.

        `failing`: targets whose stop goes wrong inside the service, with what it says about it.
        """
        self._must_be_stoppable()
        results: list[TargetResult] = []
        taken: list[int] = []
        for target in targets:
            index = self._index.get(target)
            if target in failing:
                results.append(TargetResult(target, failing[target]))
            elif index is None:
                results.append(TargetResult(target, TARGET_NOT_IN_TASK))
            elif index in self._stopping or self._statuses[index] not in RUNNING:
                results.append(TargetResult(target, TARGET_NOT_RUNNING))
            else:
                self._stopping.add(index)
                taken.append(index)
                results.append(TargetResult(target, None))
        self._begin(taken, lag=lag, now=now)
        return tuple(results)

    def stop_all(self, *, lag: Lag, now: float) -> tuple[str, ...]:
        """Stop every running subtask and name those. Raises `Rejected` if the task cannot be stopped."""
        self._must_be_stoppable()
        taken = sorted(index for status in RUNNING for index in self._by_status[status] if index not in self._stopping)
        self._stopping.update(taken)
        self._all_asked = True
        self._begin(taken, lag=lag, now=now)
        return tuple(self._targets[index] for index in taken)

    def settle(self, now: float) -> None:
        """Let accepted stops take effect whose time has come."""
        if not self._stops:
            return
        over = [stop for stop in self._stops if stop.is_over(now)]
        self._stops = [stop for stop in self._stops if not stop.is_over(now)]
        for stop in over:
            self._stopping.difference_update(stop.indexes)
            for index in stop.indexes:
                if self._statuses[index] in RUNNING:  # else it ended by itself before the stop reached it
                    self._move(index, "Stopped")

    def count_read(self) -> None:
        """Count one read for the lag of the stops that are under way."""
        for stop in self._stops:
            stop.reads_left -= 1

    def page(
        self,
        *,
        status: SubtaskStatus | None,
        target: str | None,
        limit: int,
        marker: int = _LAST_MARKER,
        offset: int = 0,
    ) -> SubtaskPage:
        """Give the records below `marker`, after skipping `offset`; `count` is of all that match the filters."""
        chosen = self._matching(status, target)
        below = marker - self._first_record
        end = bisect_left(chosen, below) - offset
        indexes = chosen[max(0, end - limit) : max(0, end)]
        return SubtaskPage(
            subtasks=tuple((self._targets[index], self._statuses[index]) for index in reversed(indexes)),
            count=len(chosen),
            marker=f"{self._first_record + indexes[0]:024x}" if indexes else None,
        )

    def _matching(self, status: SubtaskStatus | None, target: str | None) -> Sequence[int]:
        if target is not None:
            index = self._index.get(target)
            if index is None or status not in {None, self._statuses[index]}:
                return ()
            return (index,)
        return range(len(self._targets)) if status is None else self._by_status[status]

    def _must_be_stoppable(self) -> None:
        if self.told.task_type not in STOPPABLE_TYPES:
            raise Rejected(400, *TASK_TYPE_NOT_STOPPABLE)
        if self.status() in {"Success", "Fail", "PartialSuccess", "Stopped", "Stopping"}:
            raise Rejected(400, *TASK_NOT_RUNNING)
        self._told_status = None

    def _begin(self, indexes: Sequence[int], *, lag: Lag, now: float) -> None:
        if indexes:
            self._stops.append(_Stopping(indexes, now + lag.seconds, lag.reads))
        self.settle(now)

    def _move(self, index: int, status: SubtaskStatus) -> None:
        before = self._by_status[self._statuses[index]]
        del before[bisect_left(before, index)]
        insort(self._by_status[status], index)
        self._statuses[index] = status


class World:
    """All tasks of both services."""

    def __init__(self) -> None:
        self.check_tasks: dict[str, CheckTaskState] = {}
        self.batch_tasks: dict[str, BatchTaskState] = {}
        self._numbers = 0
        self._check_projects = {CHECK_PROJECT_ID}

    def add_check_task(self, told: CheckTask) -> None:
        """Add a check task, or put one in the place of the same id."""
        self.check_tasks[told.task_id] = CheckTaskState(told)
        self._check_projects.add(told.project_id)

    def add_batch_task(self, told: BatchTask) -> None:
        """Add a batch task, or put one in the place of the same id."""
        self._numbers += 1
        self.batch_tasks[told.task_id] = BatchTaskState(told, number=self._numbers)

    def remove(self, task_id: str) -> None:
        """Delete the tasks of this id, whatever they are doing. Raises KeyError if there is none."""
        removed = (self.check_tasks.pop(task_id, None), self.batch_tasks.pop(task_id, None))
        if removed == (None, None):
            raise KeyError(task_id)

    def settle(self, now: float) -> None:
        """Let all accepted stops take effect whose time has come."""
        for check_task in self.check_tasks.values():
            check_task.settle(now)
        for batch_task in self.batch_tasks.values():
            batch_task.settle(now)

    def batch_task(self, task_id: str, *, project_id: str, instance_id: str | None, now: float) -> BatchTaskState:
        """Find a batch task, settled. One of another project or another named instance does not exist."""
        task = self.batch_tasks.get(task_id)
        if task is None or not _is_visible(task.told, project_id, instance_id):
            raise Rejected(404, *TASK_NOT_FOUND)
        task.settle(now)
        return task

    def batch_tasks_of(
        self, project_id: str, instance_id: str | None, *, now: float
    ) -> list[tuple[int, BatchTaskState]]:
        """Give the batch tasks that this caller sees, settled, with their ids as numbers, the highest first."""
        found = [
            (int(task_id, 16), task)
            for task_id, task in self.batch_tasks.items()
            if _is_visible(task.told, project_id, instance_id)
        ]
        for _, task in found:
            task.settle(now)
        return sorted(found, key=lambda numbered: numbered[0], reverse=True)

    def check_task(self, task_id: str, *, project_id: str | None = None, now: float) -> CheckTaskState:
        """Find a check task, settled; with a `project_id` only in that project."""
        task = self.check_tasks.get(task_id)
        if task is None or project_id not in {None, task.told.project_id}:
            raise Rejected(400, *CHECK_TASK_NOT_FOUND)
        task.settle(now)
        return task

    def check_tasks_of(self, project_id: str) -> list[CheckTask]:
        """Give the check tasks of one CodeArts project, in the order they were added.

        A project exists once it has had a task; `CHECK_PROJECT_ID` is there from the start.
        """
        if project_id not in self._check_projects:
            raise Rejected(400, *CHECK_PROJECT_NOT_FOUND)
        return [task.told for task in self.check_tasks.values() if task.told.project_id == project_id]


def _is_visible(told: BatchTask, project_id: str, instance_id: str | None) -> bool:
    return told.project_id == project_id and told.instance_id in {None, instance_id}

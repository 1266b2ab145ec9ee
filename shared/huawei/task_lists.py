"""What a sweep asks: which tasks there are, since when a check runs, which targets of a batch task still run.

A list is read to its end or not at all: what cannot be read so raises. Every question is one request; pace, retries
and time are `Ask`'s business. Sources, beside those of the two services' other modules: "Querying the Task List"
(ShowTaskListByProjectId), "Querying Historical Records" (CheckRecord), "Querying the Task Progress"
(ShowProgressDetailV2) and getJobsInfo, https://support.huaweicloud.com/intl/en-us/api-codecheck/; "Query the Batch Task
List" (ListBatchTasks), https://support.huaweicloud.com/intl/en-us/api-iothub/
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple, Protocol

from pydantic import BaseModel, BeforeValidator, ConfigDict, StringConstraints, TypeAdapter, ValidationError

from shared.commands import BatchTaskId, CheckTaskId, DeviceId, ProjectId
from shared.errors import DeploymentFault, ForeignAnswer, HuaweiUnavailable, SweepRejected
from shared.findings import Finding, Verdict
from shared.http import NoAnswer
from shared.huawei.client import NoSuchApi, unanswered
from shared.huawei.codearts_check import CodeArtsCheck, Progress
from shared.planning import Scope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import timedelta

    from shared.deadline import Deadline
    from shared.huawei.client import HuaweiClient, Reply
    from shared.planning import BatchTask
    from shared.staleness import Moment

CHECK_TASKS_PER_PAGE: Final = 100
"""Most check tasks that one page holds (ShowTaskListByProjectId, `limit`)."""

LEAST_CHECK_TASKS_PER_PAGE: Final = 50
"""Fewest that are asked for; pages differ in size so that they overlap."""

OVERLAP: Final = 10
"""Rows, at least, that a page of check tasks repeats of those before it: fewer than these may be deleted, between two
requests, before the list must be read anew."""

PER_PAGE: Final = 50
"""Batch tasks or subtasks that one page holds (`limit` of ListBatchTasks and ShowBatchTask)."""

RECORDS_PER_PAGE: Final = 1_000
"""Most records of past checks that one page holds (CheckRecord, `limit`)."""

JOBS_PER_PAGE: Final = 200
"""Most jobs that one page holds (getJobsInfo, `page_size`)."""

MOST_PAGES: Final = 2_000
"""Most requests that one list may take. The most that a tenant can have, 50 000 check tasks, take 632."""

MOST_PASSES: Final = 10
"""Most times that a list of check tasks is begun before it is given up."""

# Of a target that retries go from the third back to the first or second, so the first is read twice: whichever one
# move a target makes, the list that it leaves is read before, or the list that it enters is read whole afterwards.
_RUNNING: Final = ("FailWaitRetry", "Waitting", "Processing", "FailWaitRetry")

_UNKNOWN_PROJECT: Final = "CC.00050013"
_PROJECT_ID: Final[TypeAdapter[str]] = TypeAdapter(ProjectId)
# `statuses` of getJobsInfo; "quering" is Huawei's spelling, and what a job is at first. How several are named in one
# question no page shows, so each is a question of its own, in the order in which a job goes through them: one that
# moves on between the two is in the second.
_RUNNING_JOBS: Final = ("quering", "running")
_ENDED_JOBS: Final = ("success", "failed", "aborted")
# The two forms of CodeArts Check's pages. Texts of one form are in the order of the moments that they mean.
_TIME: Final = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(\.\d{1,9})?Z?", re.ASCII)


type Query = dict[str, str | int]


class Ask(Protocol):
    """Asks a question until there is an answer; `shared.inquiry.Inquiry.ask` is one."""

    def __call__[T](self, question: Callable[[Deadline], T | Finding], /) -> T | Finding:
        """Give the answer, or a finding other than `UNFINISHED`. Raises `HuaweiUnavailable` if there is none."""


# Half a surrogate pair, which JSON may hold, cannot be written as UTF-8, so a report could not name the task: with a
# pattern pydantic refuses it.
type _Name = Annotated[str, StringConstraints(pattern="")]


def _text(value: object) -> object:
    return value if isinstance(value, str) and value.isascii() else None


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class ListedCheckTask(_Answer):
    """A check task as its project lists it: which tasks run is not told.

    `last_check_time`: as Huawei wrote it; the latest check of the task and of all its branches.
    """

    task_id: CheckTaskId
    task_name: _Name
    last_check_time: Annotated[str | None, BeforeValidator(_text)] = None


@dataclass(frozen=True, slots=True)
class ListedBatchTask:
    """A batch task as its project lists it, in Huawei's own words; times as Huawei wrote them.

    `moment`: when the list was read, `None` if an answer does not say.
    """

    task_id: str
    task_name: str
    task_type: str
    status: str
    create_time: str | None
    schedule_time: str | None
    moment: Moment | None


@dataclass(frozen=True, slots=True)
class Listing[T]:
    """A list read to its end, each entry once.

    `skipped`: how many entries could not be read, or have an id that no command could name. They are left out rather
    than raised, since one odd entry must not keep all others from being stopped; and an entry whose name cannot be
    read is one of them, since the name may be what protects it.
    """

    entries: tuple[T, ...]
    skipped: int


@dataclass(frozen=True, slots=True)
class Started:
    """When a run began, as Huawei wrote it, and when that was read."""

    at: str
    moment: Moment


@dataclass(frozen=True, slots=True)
class RunningTargets:
    """The targets of a batch task that run, and its name now; `None` if the name cannot be read, or the task is gone.

    `skipped`: how many entries could not be read, or have an id that no command could name.
    """

    targets: tuple[str, ...]
    skipped: int
    task_name: str | None


class CheckTaskLists:
    """Lists check tasks, and finds out since when one runs. May be used from several threads.

    It remembers, as long as the process is warm, that the list of jobs does not exist at this endpoint.
    """

    def __init__(self, client: HuaweiClient) -> None:
        self._client = client
        self._checks = CodeArtsCheck(client)
        self._has_jobs = True

    def tasks(self, project_id: str, ask: Ask) -> Listing[ListedCheckTask]:
        """List the tasks of a CodeArts project (which is no IAM project), whatever `offset` turns out to count.

        Whatever is created or deleted meanwhile, each task that exists from the first request to the last is in the
        list, if the order of those that exist does not change. One that changes its place, as it might when a check
        of it begins or ends, may be missed; then it is for the next sweep. Created or deleted tasks may be in or not.

        Raises `SweepRejected` for an unknown project, `DeploymentFault`, and `HuaweiUnavailable` if the list has no
        end or changes faster than it can be read; ValueError for what is no project id.
        """
        _PROJECT_ID.validate_python(project_id)
        scroll = _Scroll()
        found: dict[str, ListedCheckTask] = {}
        skipped: set[str] = set()
        for _ in range(MOST_PAGES):
            offset, limit = scroll.following()
            page = ask(partial(self._tasks, project_id, offset, limit))
            if isinstance(page, Finding):
                raise _not_listed(page, f"the check tasks of project {project_id}")
            tasks = [_read_as(ListedCheckTask, row) for row in page.rows]
            skipped |= {repr(row) for row, task in zip(page.rows, tasks, strict=True) if task is None}
            found |= {task.task_id: task for task in tasks if task is not None}
            if scroll.take([None if task is None else task.task_id for task in tasks], total=page.count):
                return Listing(tuple(found.values()), len(skipped))
            if scroll.passes > MOST_PASSES:
                break
        raise HuaweiUnavailable(
            f"the check tasks of project {project_id} cannot be listed to their end; {len(found)} were found"
        )

    def running_since(self, task_id: str, ask: Ask) -> Started | None:
        """Return when the run of a task began, by its jobs that did not end; of several, the latest.

        No answer of getJobsInfo was ever seen, so only what can have one meaning is read, and all else is `None`; so is
        a list that does not hold all that it says there is, since the latest may be what it left out. Raises
        `HuaweiUnavailable`, `DeploymentFault`.
        """
        jobs: list[Mapping[Any, Any]] = []
        moments: list[Moment] = []
        for status in _RUNNING_JOBS:
            some = ask(partial(self._jobs, task_id, status)) if self._has_jobs else None
            if some is None or isinstance(some, Finding) or some.moment is None:
                return None
            jobs += some.rows
            moments.append(some.moment)
        at = _latest_start(jobs)
        return None if at is None else Started(at, max(moments, key=_behind))

    def mark_of_records(self, project_id: str, task_id: str, ask: Ask) -> str:
        """Return a short text that is another once a record of the task's checks was added, taken away or ended.

        Without records it is `""`, and where they are refused, or no list. A record without an end says nothing of what
        runs: a check that was cut short may have left it. Raises `HuaweiUnavailable`, `DeploymentFault`; ValueError for
        what is no project id.
        """
        _PROJECT_ID.validate_python(project_id)
        mark = ask(partial(self._mark_of_records, project_id, task_id))
        return "" if isinstance(mark, Finding) else mark

    def progress(self, task_id: str, ask: Ask) -> Progress:
        """Read what the latest run of a task does. Raises `HuaweiUnavailable`, `DeploymentFault`."""

        def question(deadline: Deadline) -> Progress | Finding:
            progress = self._checks.progress(task_id, deadline)
            finding = progress.finding
            if finding.verdict is not Verdict.UNFINISHED:
                return progress
            return replace(finding, error_msg="the progress cannot be read") if finding.was_answered else finding

        answer = ask(question)
        return Progress(answer, percent=None, moment=None) if isinstance(answer, Finding) else answer

    # `X-Project-Id` stays the IAM project of the key, as with the official client; only the path names the other kind.

    def _tasks(self, project_id: str, offset: int, limit: int, deadline: Deadline) -> _Page | Finding:
        query = {"offset": offset, "limit": limit}
        reply = self._client.request("GET", f"/v2/{project_id}/tasks", deadline=deadline, query=query)
        answer = _answered(reply, "CODEARTS_CHECK_ENDPOINT")
        if isinstance(answer, Finding):
            return answer
        match answer.json:
            case {"tasks": list(rows), **others}:
                return _Page(tuple(rows), _count(others.get("total")), None, answer.moment)
            case {"tasks": None, "total": 0}:
                return _Page((), 0, None, answer.moment)
            case {"tasks": _}:
                pass
            case {**fields} if fields:
                # An older page's example: {"result": [{"projectId": …, "lastCheckTime": …, "projectStatus": "2"}]}.
                raise DeploymentFault(
                    "CODEARTS_CHECK_ENDPOINT answers without `tasks`: is it the address of this version of the API?"
                )
            case _:
                pass
        return Finding(Verdict.UNFINISHED, error_msg="the answer carries no list of tasks")

    def _jobs(self, task_id: str, status: str, deadline: Deadline) -> _Page | Finding | None:
        query: Query = {"statuses": status, "page": 1, "page_size": JOBS_PER_PAGE}
        try:
            reply = self._client.request("GET", f"/v4/tasks/{task_id}/jobs", deadline=deadline, query=query)
        except NoSuchApi:
            self._has_jobs = False
            return None
        answer = _answered(reply, None)
        if isinstance(answer, Finding):
            return answer
        jobs = _jobs_in(answer.json)
        return None if jobs is None else _Page(tuple(jobs), len(jobs), None, answer.moment)

    def _mark_of_records(self, project_id: str, task_id: str, deadline: Deadline) -> str | Finding:
        query = {"offset": 0, "limit": RECORDS_PER_PAGE}
        path = f"/v2/{project_id}/tasks/{task_id}/checkrecord"
        try:
            reply = self._client.request("GET", path, deadline=deadline, query=query)
        except NoSuchApi:
            return ""
        answer = _answered(reply, None)
        return answer if isinstance(answer, Finding) else _mark_of(answer.json)


class BatchTaskLists:
    """Lists batch tasks, and those of their targets that still run. May be used from several threads."""

    def __init__(self, client: HuaweiClient) -> None:
        self._client = client

    def tasks(
        self, project_id: str, instance_id: str | None, task_type: str, status: str, ask: Ask
    ) -> Listing[ListedBatchTask]:
        """List the batch tasks of one type and status. Each that keeps its status while the list is read is in it.

        Raises `SweepRejected` for an unknown project, `DeploymentFault`, and `HuaweiUnavailable` if the list has no
        end.
        """
        what = f"the {task_type} tasks of project {project_id}"
        query: Query = {"task_type": task_type, "status": status, "limit": PER_PAGE}
        rows = _rows_by_marker(partial(self._tasks, project_id, instance_id, query), ask, what)
        if isinstance(rows, Finding):
            raise _not_listed(rows, what)
        tasks = [_read_as(_Task, row) for row in rows.rows]
        skipped = {repr(row) for row, task in zip(rows.rows, tasks, strict=True) if task is None}
        listed = {task.task_id: task.listed(rows.moment) for task in tasks if task is not None}
        return Listing(tuple(listed.values()), len(skipped))

    def running_targets(self, task: BatchTask, ask: Ask) -> RunningTargets:
        """Name the targets of a task that are Processing, Waitting or FailWaitRetry; none if the task is gone.

        Each that runs while the lists are read, and moves at most once from one of these states to another, is named.
        Raises `DeploymentFault` (`ForeignAnswer` if only this task is concerned), and `HuaweiUnavailable` if a list has
        no end.
        """
        what = f"the running targets of task {task.task_id}"
        targets: dict[str, None] = {}
        skipped: set[str] = set()
        name: str | None = None
        for status in _RUNNING:
            query: Query = {"task_detail_status": status, "limit": PER_PAGE}
            rows = _rows_by_marker(partial(self._targets, task, query), ask, what)
            if isinstance(rows, Finding):
                if rows.verdict is Verdict.NOT_FOUND:
                    return RunningTargets((), 0, task_name=None)
                raise ForeignAnswer(str(_not_listed(rows, what)))
            name = rows.task_name
            for row in rows.rows:
                if row.unreadable is not None:
                    skipped.add(row.unreadable)
                elif row.target is not None:
                    targets[row.target] = None
        return RunningTargets(tuple(targets), len(skipped), name)

    def _tasks(
        self, project_id: str, instance_id: str | None, query: Query, marker: Query, deadline: Deadline
    ) -> _Page | Finding:
        answer = self._get(project_id, instance_id, "", {**query, **marker}, deadline)
        if isinstance(answer, Finding):
            return answer
        match answer.json:
            case {"batchtasks": list() | None as rows, **others}:
                return _marked_page(rows, others, answer.moment)
        return Finding(Verdict.UNFINISHED, error_msg="the answer carries no batch tasks")

    def _targets(self, task: BatchTask, query: Query, marker: Query, deadline: Deadline) -> _Page | Finding:
        answer = self._get(task.project_id, task.instance_id, f"/{task.task_id}", {**query, **marker}, deadline)
        if isinstance(answer, Finding):
            return answer
        match answer.json:
            case {"batchtask": dict(task_now), **others} if isinstance(rows := others.get("task_details"), list | None):
                named = _read_as(_Named, task_now)
                page = _marked_page(rows, others, answer.moment)
                # A list may have 100 000 rows, and several are read at a time: no more of each is kept than is used.
                kept = tuple(map(_Kept.of, page.rows))
                return replace(page, rows=kept, task_name=None if named is None else named.task_name)
        return Finding(Verdict.UNFINISHED, error_msg="the answer carries no batch task")

    def _get(
        self, project_id: str, instance_id: str | None, path: str, query: Query, deadline: Deadline
    ) -> Reply | Finding:
        reply = self._client.request(
            "GET",
            f"/v5/iot/{project_id}/batchtasks{path}",
            deadline=deadline,
            scope=Scope(project_id, instance_id),
            query=query,
        )
        return _answered(reply, "IOTDA_ENDPOINT")


@dataclass(frozen=True, slots=True)
class _Page:
    """Entries as they came, how many the whole list has, and from where it goes on, if the answer says so.

    `moment`: when it was read, if the answer says so. `task_name`: of the batch task whose targets these are.
    """

    rows: tuple[Any, ...]
    count: int | None
    marker: str | None
    moment: Moment | None
    task_name: str | None = None


class _Policy(_Answer):
    schedule_time: str | None = None


class _Task(_Answer):
    # A schedule that cannot be read makes the entry unreadable, since without it the task would seem older than it is.
    task_id: BatchTaskId
    task_name: _Name
    task_type: str
    status: str
    create_time: Annotated[str | None, BeforeValidator(_text)] = None
    task_policy: _Policy | None = None

    def listed(self, moment: Moment | None) -> ListedBatchTask:
        return ListedBatchTask(
            self.task_id,
            self.task_name,
            self.task_type,
            self.status,
            self.create_time,
            None if self.task_policy is None else self.task_policy.schedule_time,
            moment,
        )


class _Named(_Answer):
    task_name: _Name


class _Detail(_Answer):
    target: DeviceId
    status: str


class _Kept(NamedTuple):
    """What is kept of a subtask: its target if it runs, or the whole entry if that cannot be read."""

    target: str | None
    unreadable: str | None

    @classmethod
    def of(cls, row: object) -> _Kept:
        detail = _read_as(_Detail, row)
        if detail is None:
            return cls(None, repr(row))
        return cls(detail.target if detail.status in _RUNNING else None, None)


class _Scroll:
    """How to read a list whose `offset` may count rows or pages (from 1, with 0 as 1): the SDK and the docs disagree.

    Every page asked for begins at a row that is a multiple of its size, so that either can name it, and repeats rows
    of those before it. The second page, `offset=2`, tells which it is: by its first row, which is the third row of the
    list if rows are counted.

    Nothing is lost, whichever it is. A page is taken if it is the head of the list or begins with a row that is known
    from one that was taken. What was there all the time, and is not yet known, is behind all the known ones, so it is
    not before such a page: it is in it or behind it. A page with fewer rows than were asked for has nothing behind it.
    Any other page, as it comes when many tasks are created or deleted between two requests, begins a new pass.
    """

    def __init__(self) -> None:
        self.passes = 0
        self._begin()

    def _begin(self) -> None:
        self.passes += 1
        self._reached = 0
        self._places: dict[str, int] = {}
        self._counts_rows: bool | None = None

    def following(self) -> tuple[int, int]:
        """Give the `offset` and `limit` of the page to ask for."""
        row, limit = self._window()
        if row == 0 or self._counts_rows:
            return row, limit
        return row // limit + 1, limit

    def _window(self) -> tuple[int, int]:
        """Give the page that reaches farthest of those that repeat enough rows: its first row and its size."""
        first = max(0, self._reached - OVERLAP)
        limit = max(
            range(LEAST_CHECK_TASKS_PER_PAGE, CHECK_TASKS_PER_PAGE + 1), key=lambda size: (first // size + 1) * size
        )
        return first // limit * limit, limit

    def take(self, ids: Sequence[str | None], *, total: int | None) -> bool:
        """Take the answer, `None` for each row without a readable id; say whether the list has been read to its end."""
        row, limit = self._window()
        begins, place = row, self._place(ids) if row else 0
        if row and place is not None and self._counts_rows is None:
            self._counts_rows = place < row // 2
            if self._counts_rows:
                begins = row // limit + 1  # what was meant as the number of a page was taken as a row's
        self._reached = begins + len(ids)
        is_last = len(ids) < limit or len(ids) == total
        # Nor is it a page to go on from if `offset` seems to lead elsewhere, or if it holds fewer rows than there are.
        is_odd = place is None or place < begins - LEAST_CHECK_TASKS_PER_PAGE
        if is_odd or (is_last and self._reached < (total or 0)):
            self._begin()
            return False
        self._places |= {each: begins + number for number, each in enumerate(ids) if each is not None}
        return is_last

    def _place(self, ids: Sequence[str | None]) -> int | None:
        """Give the place of the first row that has an id, if it is known."""
        first = next((each for each in ids if each is not None), None)
        return None if first is None else self._places.get(first)


def _rows_by_marker(question: Callable[[Query, Deadline], _Page | Finding], ask: Ask, what: str) -> _Page | Finding:
    """Read a list by its markers to the end, never by `offset`, which ends at 500, and return it as one page.

    Ids descend and a page holds those below its marker, so nothing moves from one page to another. Not a page's size
    alone tells the end but its count, a missing marker, or an empty page. The `moment` is that of the page by which
    Huawei's clock is farthest behind; the name is the last page's.
    """
    rows: list[Any] = []
    moments: list[Moment | None] = []
    marker: str | None = None
    markers: set[str] = set()
    while len(markers) < MOST_PAGES:
        page = ask(partial(question, {} if marker is None else {"marker": marker}))
        if isinstance(page, Finding):
            return page
        rows += page.rows
        moments.append(page.moment)
        marker = page.marker
        is_short = len(page.rows) < PER_PAGE
        is_whole = page.count is not None and len(rows) >= page.count
        if not page.rows or (is_short and is_whole) or (marker is None and (is_short or is_whole)):
            known = [moment for moment in moments if moment is not None]
            moment = max(known, key=_behind) if len(known) == len(moments) else None
            return replace(page, rows=tuple(rows), moment=moment)
        if marker is None or marker in markers:
            break
        markers.add(marker)
    raise HuaweiUnavailable(f"{what} cannot be listed to their end: {len(rows)} came in {len(markers) + 1} pages")


def _behind(moment: Moment) -> timedelta:
    return moment.behind


def _marked_page(rows: list[Any] | None, answer: Mapping[Any, Any], moment: Moment | None) -> _Page:
    match answer.get("page"):
        case {"marker": str(marker), **others} if re.fullmatch(r"[!-~]+", marker):
            return _Page(tuple(rows or ()), _count(others.get("count")), marker, moment)
        case {"count": count}:
            return _Page(tuple(rows or ()), _count(count), None, moment)
    return _Page(tuple(rows or ()), None, None, moment)


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _read_as[T: _Answer](model: type[T], row: object) -> T | None:
    try:
        return model.model_validate(row)
    except ValidationError:
        return None


def _answered(reply: Reply | NoAnswer, endpoint: str | None) -> Reply | Finding:
    """Return the answer if it is one, else what is wrong; never `UNCLEAR`.

    What is wrong has Huawei's error code, but not its words: they may name a target, and a sweep has yet to learn which
    targets there are. `endpoint`: the setting to blame when somebody else than the service answers; `None` blames
    nobody.
    """
    if isinstance(reply, NoAnswer):
        return unanswered(reply)
    if reply.fault is None:
        return reply
    reply = reply._replace(error_msg=f"status {reply.status}")
    finding = reply.finding_by_table()
    if finding.verdict is not Verdict.UNCLEAR:
        return finding
    code = reply.error_code or ""
    is_services_own = code.startswith(("CC.", "IOTDA."))
    if endpoint is not None and (not code or (reply.status == HTTPStatus.NOT_FOUND and not is_services_own)):
        raise ForeignAnswer(f"{endpoint} answered {reply.status} without an error of the service; is it its address?")
    is_unknown = code.startswith(_UNKNOWN_PROJECT) or reply.status == HTTPStatus.NOT_FOUND
    return reply.finding(Verdict.NOT_FOUND if is_unknown else Verdict.REFUSED)


def _not_listed(finding: Finding, what: str) -> SweepRejected | DeploymentFault:
    said = f"{finding.error_code}: {finding.error_msg}"
    if finding.verdict is Verdict.NOT_FOUND:
        return SweepRejected(f"Huawei Cloud does not know {what} ({said})")
    return DeploymentFault(f"Huawei Cloud does not list {what} ({said}); check the permissions of the key")


def _jobs_in(answer: object) -> Sequence[Mapping[Any, Any]] | None:
    """Read an answer of getJobsInfo, of which only the question is documented; `None` if it can be read in two ways."""
    lists, totals = list(_lists_in(answer)), list(_totals_in(answer))
    filled = [rows for rows in lists if rows]
    says_how_many = bool(lists or totals)
    if not says_how_many or len(filled) > 1:
        return None
    jobs = filled[0] if filled else []
    is_whole = len(jobs) < JOBS_PER_PAGE and max(totals, default=0) <= len(jobs)
    return jobs if is_whole and all(isinstance(job, dict) for job in jobs) else None


def _latest_start(jobs: Sequence[Mapping[Any, Any]]) -> str | None:
    if not all(job.get("status") in (*_RUNNING_JOBS, *_ENDED_JOBS) for job in jobs):
        return None
    running = [job for job in jobs if job["status"] in _RUNNING_JOBS]
    return _latest([job.get("start_time", job.get("startTime")) for job in running]) if running else None


def _lists_in(answer: object) -> Iterable[list[Any]]:
    """Give the lists at the top, and those one level down."""
    if isinstance(answer, list):
        yield answer
    elif isinstance(answer, dict):
        for value in answer.values():
            yield from (
                each for each in (value.values() if isinstance(value, dict) else [value]) if isinstance(each, list)
            )


def _totals_in(answer: object) -> Iterable[int]:
    """Give the numbers that may say how many entries there are, at the top and one level down, whatever their names."""
    places = [answer, *answer.values()] if isinstance(answer, dict) else []
    for place in places:
        if isinstance(place, dict):
            yield from (
                count
                for name, value in place.items()
                if re.search(r"total|count", name, re.IGNORECASE) and (count := _count(value)) is not None
            )


def _mark_of(answer: object) -> str:
    """Give a short text of the times of the records in an answer, whatever they are and in whatever order."""
    match answer:
        case {"data": list(records), **others} if records:
            times = sorted(
                repr((record.get("check_time"), record.get("check_end_time")) if isinstance(record, dict) else record)
                for record in records
            )
            return hashlib.sha256(repr((times, others.get("total"))).encode(errors="replace")).hexdigest()[:16]
    return ""


def _latest(times: Sequence[Any]) -> str | None:
    """Give the latest of these times; `None` if one is no time, or they are not all written alike."""
    if not all(isinstance(time, str) and _TIME.fullmatch(time) for time in times):
        return None
    forms = {re.sub(r"\d", "0", time) for time in times}
    return max(times) if len(forms) == 1 else None

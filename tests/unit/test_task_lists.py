"""Lists read to their ends, whatever `offset` means and whatever happens to them meanwhile, and the ages of checks."""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import dataclass, field
from datetime import timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from local.huawei import CHECK_PROJECT_ID, PROJECT_ID, AccessKey, Cloud
from local.huawei import BatchTask as CloudBatchTask
from local.huawei import CheckTask as CloudCheckTask
from local.huawei.scenario import Scenario
from shared.errors import DeploymentFault, HuaweiUnavailable, SweepRejected
from shared.findings import Finding, Verdict
from shared.http import NoAnswer, Response
from shared.huawei.client import HuaweiClient
from shared.huawei.credentials import Credentials, FixedCredentials
from shared.huawei.task_lists import (
    LEAST_CHECK_TASKS_PER_PAGE,
    MOST_PAGES,
    MOST_PASSES,
    OVERLAP,
    BatchTaskLists,
    CheckTaskLists,
    ListedBatchTask,
    ListedCheckTask,
    Started,
)
from shared.planning import BatchTask
from shared.staleness import Moment
from tests.fakes import BATCH, DATE, NOW, Clock, FakeHttp, client_over, response
from tests.simulation import CloudHttp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from shared.deadline import Deadline
    from shared.huawei.client import HttpSender

PROJECT = "codearts-1"
MODES = ("rows", "pages", "ignored")


def ask[T](question: Callable[[Deadline], T | Finding]) -> T | Finding:
    """Ask twice, and give up."""
    for _ in range(2):
        answer = question(Clock().deadline())
        if not isinstance(answer, Finding) or answer.verdict is not Verdict.UNFINISHED:
            return answer
    raise HuaweiUnavailable(str(answer))


def error(code: str, status: int) -> Response:
    return response({"error_code": code, "error_msg": "m"}, status)


def cloud_with(**scenario: Any) -> tuple[Cloud, HuaweiClient]:
    clock, key = Clock(), AccessKey()
    cloud = Cloud(Scenario.model_validate(scenario), clock=lambda: clock.now().timestamp())
    client = HuaweiClient(
        http=CloudHttp(cloud, clock, lambda _: None),
        endpoint="https://huawei.example",
        project_id=PROJECT_ID,
        credentials=FixedCredentials(Credentials(key.ak, key.sk)),
        derived=None,
        now=clock.now,
    )
    return cloud, client


def queries(http: FakeHttp) -> list[dict[str, str]]:
    return [dict(parse_qsl(urlsplit(sent.url).query)) for sent in http.sent]


@dataclass
class Project:
    """The tasks of a CodeArts project as HTTP; `change` is told the list before each request but the first."""

    rows: list[Any]
    mode: str
    total: bool = True
    change: Callable[[int, list[Any]], None] = lambda _, __: None
    windows: list[tuple[int, int]] = field(default_factory=list)

    def send(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes | None, timeout: float
    ) -> Response:
        assert (method, body) == ("GET", None)
        assert timeout > 0
        assert headers["X-Project-Id"] == "project-1", "the header names the IAM project of the key"
        parts = urlsplit(url)
        assert parts.path == f"/v2/{PROJECT}/tasks"
        query = dict(parse_qsl(parts.query))
        if self.windows:
            self.change(len(self.windows), self.rows)
        offset, limit = int(query.pop("offset")), int(query.pop("limit"))
        assert not query
        assert 0 <= offset <= 999_999
        assert LEAST_CHECK_TASKS_PER_PAGE <= limit <= 100
        start = {"rows": offset, "pages": max(0, offset - 1) * limit, "ignored": 0}[self.mode]
        self.windows.append((start, limit))
        rows = [row if isinstance(row, dict) else check(row) for row in self.rows[start : start + limit]]
        return response({"tasks": rows} | ({"total": len(self.rows)} if self.total else {}))


def check(task_id: Any, **changed: Any) -> dict[str, Any]:
    return {"task_id": task_id, "task_name": f"name of {task_id}", "creator_id": "c"} | changed


def listed(http: HttpSender) -> list[str]:
    return [task.task_id for task in CheckTaskLists(client_over(http)).tasks(PROJECT, ask).entries]


def ids(count: int, prefix: str = "t") -> list[Any]:
    return [f"{prefix}-{number}" for number in range(count)]


LENGTHS = st.one_of(st.integers(0, 450), st.sampled_from([0, 1, 99, 100, 101, 179, 180, 181, 199, 200, 201]))


# What the pages of a list are.


@given(count=LENGTHS, mode=st.sampled_from(["rows", "pages"]), total=st.booleans())
def test_every_task_is_listed_once_and_in_order_whether_offset_counts_rows_or_pages(
    count: int, *, mode: str, total: bool
) -> None:
    project = Project(ids(count), mode, total=total)
    assert listed(project) == ids(count)
    assert len(project.windows) <= 3 + count // 80


@given(count=LENGTHS, total=st.booleans())
def test_a_list_whose_offset_is_ignored_is_one_page_or_an_error(count: int, *, total: bool) -> None:
    project = Project(ids(count), "ignored", total=total)
    if count < 100 + total:
        assert listed(project) == ids(count)
        assert len(project.windows) == 1
    else:
        with pytest.raises(HuaweiUnavailable, match="cannot be listed to their end; 100 were found"):
            listed(project)
        assert len(project.windows) <= 3 * MOST_PASSES


@pytest.mark.parametrize(("mode", "requests"), [("pages", 631), ("rows", 632)])
def test_all_the_tasks_that_a_tenant_can_have_are_listed(mode: str, requests: int) -> None:
    project = Project(ids(50_000), mode)
    assert len(listed(project)) == 50_000
    assert len(project.windows) == requests < MOST_PAGES


@pytest.mark.parametrize("settings", [{"check_offset": mode} for mode in ("row", "page")], ids=str)
def test_the_stand_in_s_tasks_are_listed(settings: dict[str, str]) -> None:
    tasks = [CloudCheckTask(task_id=each, last_check_time="2026-11-23 06:00:00") for each in ids(500)]
    _, client = cloud_with(check_tasks=tasks, settings=settings)
    lists = CheckTaskLists(client)
    listing = lists.tasks(CHECK_PROJECT_ID, ask)
    assert [task.task_id for task in listing.entries] == ids(500)
    assert listing.entries[0] == ListedCheckTask(
        task_id="t-0", task_name="check", last_check_time="2026-11-23 06:00:00"
    )


# What happens to a list while it is read.

CHANGES = st.lists(
    st.tuples(st.sampled_from(["delete", "insert"]), st.floats(0, 1), st.integers(1, 150)), min_size=1, max_size=8
)
type Change = tuple[str, float, int]


def changing(count: int, mode: str, changes: Sequence[Change], *, total: bool = True) -> tuple[Project, set[str]]:
    """Give a project that is changed between its first requests, and the set to which all that ever was is added."""
    ever = set(ids(count))

    def change(number: int, rows: list[Any]) -> None:
        if number > len(changes):
            return
        kind, where, size = changes[number - 1]
        start = int(where * len(rows))
        if kind == "delete":
            del rows[start : start + size]
        else:
            new = ids(size, f"new-{number}")
            rows[start:start] = new
            ever.update(new)

    return Project(ids(count), mode, total=total, change=change), ever


@given(count=st.integers(0, 450), mode=st.sampled_from(MODES), changes=CHANGES, total=st.booleans())
@example(count=250, mode="rows", changes=[("delete", 0.0, 90)], total=True)
@example(count=300, mode="pages", changes=[("delete", 0.0, 60), ("delete", 0.0, 60), ("insert", 0.0, 3)], total=True)
@example(count=286, mode="pages", changes=[("insert", 0.0, 26), ("delete", 0.5, 25)], total=True)
# After these two, pages of 100 without an overlap would have shown only known tasks in a second pass.
@example(count=301, mode="rows", changes=[("delete", 0.0, 50), ("delete", 0.0, 50)], total=False)
def test_what_was_there_all_the_time_is_listed_whatever_came_or_went(
    count: int, *, mode: str, changes: list[Change], total: bool
) -> None:
    project, ever = changing(count, mode, changes, total=total)
    try:
        found = listed(project)
    except HuaweiUnavailable:
        # Never for a list that can be read on and comes to rest.
        assert mode == "ignored"
        return
    assert len(found) == len(set(found))
    assert set(found) <= ever
    assert set(project.rows) & set(ids(count)) <= set(found)


@given(data=st.data(), mode=st.sampled_from(MODES))
def test_a_list_that_never_rests_is_listed_whole_or_not_at_all(data: st.DataObject, mode: str) -> None:
    project = Project(ids(300), mode)
    kept = set(ids(300))

    def change(number: int, rows: list[Any]) -> None:
        start = data.draw(st.integers(0, len(rows)))
        kept.difference_update(rows[start : start + 40])
        rows[start : start + 40] = ids(data.draw(st.integers(0, 60)), f"new-{number}")

    project.change = change
    try:
        found = listed(project)
    except HuaweiUnavailable:
        return
    assert kept <= set(found)


@given(
    count=st.integers(100, 450),
    mode=st.sampled_from(["rows", "pages"]),
    places=st.lists(st.tuples(st.floats(0, 1), st.integers(0, OVERLAP - 1)), max_size=8),
)
@example(count=150, mode="rows", places=[(0.0, OVERLAP - 1), (0.0, OVERLAP - 1)])
def test_a_few_deletions_cost_no_request_twice(count: int, mode: str, places: list[tuple[float, int]]) -> None:
    project, _ = changing(count, mode, [("delete", where, size) for where, size in places])
    found = listed(project)
    assert set(project.rows) <= set(found)
    assert len(project.windows) <= 3 + count // 80


# What cannot be read.

ODD = st.sampled_from(
    [
        {},
        {"task_id": None, "task_name": "n"},
        {"task_id": "../x", "task_name": "n"},
        {"task_id": "x" * 33, "task_name": "n"},
        {"task_id": 7, "task_name": "n"},
        {"task_id": "nameless"},
        {"task_id": "nameless", "task_name": None},
        {"task_id": "nameless", "task_name": "\ud800"},
    ]
)


@given(
    count=st.integers(0, 300),
    mode=st.sampled_from(["rows", "pages"]),
    odd=st.lists(st.tuples(st.integers(0, 300), ODD), max_size=OVERLAP - 1),
)
def test_an_entry_that_cannot_be_read_loses_no_other(count: int, mode: str, odd: list[tuple[int, Any]]) -> None:
    rows = ids(count)
    for place, row in odd:
        rows.insert(place, row)
    listing = CheckTaskLists(client_over(Project(rows, mode))).tasks(PROJECT, ask)
    assert [task.task_id for task in listing.entries] == ids(count)
    assert listing.skipped == len({json.dumps(row) for _, row in odd})


def test_a_task_that_a_page_names_twice_is_one() -> None:
    page = response({"tasks": [check("t-0"), check("t-0"), check("t-1")], "total": 3})
    assert listed(FakeHttp(page)) == ["t-0", "t-1"]


@pytest.mark.parametrize("row", [None, 7, "t-9", []])
def test_an_entry_that_is_no_object_loses_no_other(row: Any) -> None:
    http = FakeHttp(response({"tasks": [check("t-0"), row, check("t-1")], "total": 3}))
    listing = CheckTaskLists(client_over(http)).tasks(PROJECT, ask)
    assert ([task.task_id for task in listing.entries], listing.skipped) == (["t-0", "t-1"], 1)


@pytest.mark.parametrize("time", [None, 1700000000000, {}, "\ud800"])
def test_a_time_that_cannot_be_one_is_none(time: Any) -> None:
    http = FakeHttp(response({"tasks": [check("t-0", last_check_time=time)]}))
    (task,) = CheckTaskLists(client_over(http)).tasks(PROJECT, ask).entries
    assert task.last_check_time is None


@pytest.mark.parametrize("total", [None, "3", True, -1, 2.0, 0])
def test_a_total_that_says_nothing_is_no_reason_to_doubt(total: Any) -> None:
    assert listed(FakeHttp(response({"tasks": [check("t-0"), check("t-1")], "total": total}))) == ["t-0", "t-1"]


def test_a_page_that_holds_fewer_than_there_are_is_never_the_end() -> None:
    http = FakeHttp(response({"tasks": [check("t-0"), check("t-1")], "total": 3}))
    with pytest.raises(HuaweiUnavailable, match=f"project {PROJECT} cannot be listed to their end; 2 were found"):
        listed(http)


def test_a_server_that_gives_more_than_was_asked_for_has_given_all() -> None:
    http = FakeHttp(response({"tasks": [check(each) for each in ids(250)], "total": 250}))
    assert listed(http) == ids(250)
    assert len(http.sent) == 1


@pytest.mark.parametrize("body", [{"tasks": None, "total": 0}, {"tasks": [], "total": 0}, {"tasks": []}], ids=str)
def test_a_project_without_tasks_has_none(body: Any) -> None:
    assert listed(FakeHttp(response(body))) == []


@pytest.mark.parametrize("project_id", ["", "a/b", "a" * 65, "a?b", None])
def test_what_is_no_project_is_never_asked_for(project_id: Any) -> None:
    http = FakeHttp(response({"tasks": []}))
    lists = CheckTaskLists(client_over(http))
    with pytest.raises(ValueError, match="validation error"):
        lists.tasks(project_id, ask)
    with pytest.raises(ValueError, match="validation error"):
        lists.mark_of_records(project_id, "t-0", ask)
    assert http.sent == []


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (response({"result": [{"projectId": "p", "lastCheckTime": "2020-02-20", "projectStatus": "2"}]}), "`tasks`"),
        (error("APIGW.0101", 404), "does not exist|check the endpoint"),
        (response(b"<html>", 404), "CODEARTS_CHECK_ENDPOINT answered 404"),
        (error("APIGW.9999", 404), "CODEARTS_CHECK_ENDPOINT answered 404"),
        (response({"detail": "no"}, 403), "CODEARTS_CHECK_ENDPOINT answered 403"),
        (response(b"", 302, location="http://127.0.0.1:1/"), "CODEARTS_CHECK_ENDPOINT answered 302"),
        (error("CC.00050010", 403), "check the permissions"),
        (error("CC.00050099", 400), "check the permissions"),
        (error("APIGW.0301", 401), "refused the credentials"),
    ],
)
def test_a_list_that_huawei_refuses_is_the_deployment_s_fault(answer: Response, error: str) -> None:
    http = FakeHttp(answer)
    with pytest.raises(DeploymentFault, match=error):
        listed(http)
    assert len(http.sent) == 1


@pytest.mark.parametrize(
    "answer", [error("CC.00050013", 400), error("CC.00050013.400", 200), error("CC.00059999", 404)]
)
def test_a_project_that_huawei_does_not_know_is_the_sweep_s_fault(answer: Response) -> None:
    with pytest.raises(SweepRejected, match=f"does not know the check tasks of project {PROJECT} \\(CC"):
        listed(FakeHttp(answer))


@pytest.mark.parametrize(
    "answer",
    [
        NoAnswer("cut"),
        error("CC.00050001", 200),
        error("APIGW.0308", 429),
        response(b"<html>", 502),
        response(b"<html>"),
        response(b'{"tasks": [{"task_id": "t-'),
        response(),
        response([]),
        response({}),
        response({"tasks": "t-0"}),
        response({"tasks": None}),
        response({"tasks": None, "total": 5}),
    ],
)
def test_a_page_that_did_not_come_is_asked_for_again(answer: Response | Exception) -> None:
    assert listed(FakeHttp(answer, response({"tasks": [check("t-0")]}))) == ["t-0"]
    with pytest.raises(HuaweiUnavailable):
        listed(FakeHttp(answer))


# Since when a check runs, by its jobs.

READ_AT = Moment(ours=NOW, huaweis=NOW.replace(microsecond=0))
EARLY, LATE = "2026-11-23T06:55:41Z", "2026-11-23T08:00:00Z"


def job(status: Any = "running", **fields: Any) -> dict[str, Any]:
    return {"status": status, **(fields or {"start_time": EARLY})}


NO_JOBS = response({"jobs": [], "total": 0})


def running_since(*answers: Response | Exception, queued: Response | Exception = NO_JOBS) -> str | None:
    http = FakeHttp(queued, *answers)
    since = CheckTaskLists(client_over(http)).running_since("t-0", ask)
    assert {sent.url.partition("?")[0] for sent in http.sent} == {"https://huawei.example/v4/tasks/t-0/jobs"}
    asked = queries(http)
    assert all((each["page"], each["page_size"]) == ("1", "200") for each in asked)
    # In this order: a job that begins to run between the two is in the second.
    statuses = [each["statuses"] for each in asked]
    assert statuses == sorted(statuses)
    assert statuses[0] == "quering"
    assert since is None or since.moment == READ_AT
    return None if since is None else since.at


@pytest.mark.parametrize(
    ("body", "since"),
    [
        ([job()], EARLY),
        ({"jobs": [job()], "total": 1}, EARLY),
        ({"info": [job(startTime=EARLY)], "errors": []}, EARLY),
        ({"result": {"total": 1, "jobs": [job()]}, "status": "success"}, EARLY),
        ({"jobs": [job("quering")]}, EARLY),
        ({"jobs": [job(start_time=LATE), job(start_time=EARLY)]}, LATE),
        ({"jobs": [job(start_time=EARLY), job("quering", start_time=LATE)]}, LATE),
        ({"jobs": [job("success", start_time=LATE), job("aborted"), job("failed", x=1), job()]}, EARLY),
        ({"jobs": [job(start_time="2026-11-23 06:55:41")]}, "2026-11-23 06:55:41"),
        ({"jobs": [job() for _ in range(199)]}, EARLY),
    ],
)
def test_a_run_began_with_the_latest_of_its_running_jobs(body: Any, since: str) -> None:
    assert running_since(response(body)) == since


@pytest.mark.parametrize(
    "body",
    [
        None,
        {},
        [],
        {"jobs": []},
        {"jobs": None},
        {"jobs": ["running"]},
        {"jobs": [job(), "running"]},
        {"jobs": {"a": job()}},
        {"a": {"b": {"c": [job()]}}},
        {"jobs": [job()], "others": [job()]},
        {"jobs": [job()], "result": {"others": [{"id": 1}]}},
        {"jobs": [job("success")]},
        {"jobs": [job(), {"start_time": LATE}]},
        {"jobs": [job(), job("RUNNING", start_time=LATE)]},
        {"jobs": [job(), job(["running"])]},
        {"jobs": [job(), job(None)]},
        {"jobs": [job(), job(x=1)]},
        {"jobs": [job(), job(start_time=None)]},
        {"jobs": [job(start_time=1763880941000)]},
        {"jobs": [job(start_time="yesterday")]},
        {"jobs": [job(start_time=EARLY + "\n")]},
        {"jobs": [job(start_time="2026-11-23T06:55:41+08:00")]},
        {"jobs": [job(), job(start_time="2026-11-23 08:00:00")]},
        {"jobs": [job() for _ in range(200)]},
        {"result": "success"},
        {"total": "1"},
        # The latest may be what the page left out.
        {"jobs": [job()], "total": 2},
        {"jobs": [job(), job("success")], "totalCount": 3},
        {"result": {"total_count": 2, "jobs": [job()]}},
        {"result": {"jobs": [job()]}, "count": 2},
        {"jobs": [], "total": 1},
    ],
)
def test_jobs_that_could_be_read_in_two_ways_tell_nothing(body: Any) -> None:
    assert running_since(response(body)) is None


@pytest.mark.parametrize(
    ("queued", "since"),
    [
        ([job("quering", start_time=LATE)], LATE),
        ([job("quering", start_time=LATE), job("running")], LATE),
        ([job("running", start_time=LATE)], LATE),
        ([], EARLY),
        ({"jobs": None, "total": 0}, EARLY),
        ({"result": {"jobs": [], "total": 0}}, EARLY),
        # One that waits, and nobody says since when, may be what is told to run.
        ([job("quering", start_time=None)], None),
        ([job("quering", create_time=LATE)], None),
        ({"jobs": [], "total": 1}, None),
        ({"jobs": None}, None),
        ({}, None),
        (None, None),
    ],
)
def test_a_job_that_has_only_just_begun_is_asked_for_too(queued: Any, since: str | None) -> None:
    assert running_since(response([job()]), queued=response(queued)) == since


@pytest.mark.parametrize(
    "answer",
    [
        error("CC.00050014", 400),
        error("CC.00050010", 403),
        error("CC.00059999", 404),
        response(b"<html>", 404),
        response({"detail": "no"}, 403),
        response(b"<html>"),
        response(b"", 302, location="http://127.0.0.1:1/"),
    ],
)
def test_a_refusal_to_list_jobs_is_no_fault_and_tells_nothing(answer: Response) -> None:
    assert running_since(answer) is None
    assert running_since(response([job()]), queued=answer) is None
    lists = CheckTaskLists(client_over(FakeHttp(answer, NO_JOBS, response([job()]))))
    assert [lists.running_since("t-0", ask) for _ in range(2)] == [None, Started(EARLY, READ_AT)]


def test_an_api_that_does_not_exist_is_asked_once() -> None:
    http = FakeHttp(error("APIGW.0101", 404))
    lists = CheckTaskLists(client_over(http))
    assert [lists.running_since(each, ask) for each in ids(500)] == [None] * 500
    assert len(http.sent) == 1


def test_a_passing_fault_is_no_answer_on_jobs() -> None:
    assert running_since(NoAnswer("cut"), response([job()])) == EARLY
    with pytest.raises(HuaweiUnavailable):
        running_since(error("APIGW.0308", 429))


@pytest.mark.parametrize("answer", [error("APIGW.0301", 401), error("APIGW.0401", 403)])
def test_refused_credentials_are_no_answer_on_jobs(answer: Response) -> None:
    with pytest.raises(DeploymentFault):
        running_since(answer)


# What the records of a check say.


def record(check_time: Any, end: Any = None) -> dict[str, Any]:
    return {"check_time": check_time, "check_end_time": end, "issue_counts": {"critical": 0}}


def mark(*answers: Response | Exception) -> str:
    http = FakeHttp(*answers)
    found = CheckTaskLists(client_over(http)).mark_of_records(PROJECT, "t-0", ask)
    assert {sent.url.partition("?")[0] for sent in http.sent} == {
        f"https://huawei.example/v2/{PROJECT}/tasks/t-0/checkrecord"
    }
    assert queries(http)[0] == {"offset": "0", "limit": "1000"}
    return found


@pytest.mark.parametrize("answer", [error("CC.00050014", 400), error("CC.00050010", 403), response(b"<html>", 404)])
def test_a_refusal_to_list_records_is_no_mark(answer: Response) -> None:
    assert mark(answer) == ""


def test_a_passing_fault_is_no_answer_on_records() -> None:
    assert mark(error("CC.00050004", 200), response(RECORDED)) == mark(response(RECORDED)) != ""
    with pytest.raises(HuaweiUnavailable):
        mark(error("CC.00050004", 200))


RECORDED = {"data": [record(EARLY, LATE), record(LATE)], "total": 2}


@pytest.mark.parametrize(
    "body",
    [
        {"data": [record(EARLY, LATE), record(LATE, LATE)], "total": 2},
        {"data": [record(EARLY, LATE), record(LATE), record(LATE)], "total": 2},
        {"data": [record(EARLY, LATE)], "total": 2},
        {"data": [record(EARLY, LATE), record(EARLY)], "total": 2},
        {"data": [record(EARLY, LATE), record(LATE)], "total": 3},
        {"data": [record(EARLY, LATE), "x"], "total": 2},
        {"data": [], "total": 0},
        {},
    ],
)
def test_the_mark_of_the_records_is_another_when_anything_was_begun_or_ended(body: Any) -> None:
    assert mark(response(body)) != mark(response(RECORDED)) != ""


def test_the_mark_of_the_records_stays_while_nothing_is_begun_or_ended() -> None:
    same = {"data": [record(LATE) | {"issue_counts": {"critical": 7}}, record(EARLY, LATE)], "total": 2}
    assert mark(response(same)) == mark(response(RECORDED))


@pytest.mark.parametrize("body", [{}, {"data": []}, {"data": [], "total": 0}, {"data": None}, [], None])
def test_without_records_there_is_no_mark(body: Any) -> None:
    assert mark(response(body)) == ""


# How far a check has come.


def percent(*answers: Response | Exception) -> int | None:
    http = FakeHttp(*answers)
    found = CheckTaskLists(client_over(http)).progress("t-0", ask)
    assert {sent.url for sent in http.sent} == {"https://huawei.example/v2/tasks/t-0/progress"}
    assert found.percent is None or (found.finding.verdict, found.moment) == (Verdict.RUNS, READ_AT)
    return found.percent


@pytest.mark.parametrize(("ratio", "number"), [("0%", 0), ("7%", 7), ("50%", 50), ("100%", 100)])
def test_a_run_has_come_as_far_as_its_progress_says(ratio: str, number: int) -> None:
    assert percent(response({"task_status": 0, "progress": {"ratio": ratio, "info": "running"}})) == number


@pytest.mark.parametrize(
    "body",
    [
        {"task_status": 0},
        {"task_status": 0, "progress": None},
        {"task_status": 0, "progress": {"ratio": None}},
        *(
            {"task_status": 0, "progress": {"ratio": each}}
            for each in ("", "101%", "50", "5.5%", "-1%", "\N{ARABIC-INDIC DIGIT FIVE}%", 50)
        ),
        *({"task_status": each, "progress": {"ratio": "100%"}} for each in (1, 2, 3, None)),
    ],
)
def test_progress_that_is_not_a_running_task_s_percentage_tells_nothing(body: Any) -> None:
    assert percent(response(body)) is None


NO_PROGRESS: tuple[Any, ...] = (None, [], {}, {"task_status": "0"})


def test_faults_in_reading_the_progress_are_those_of_every_question() -> None:
    assert percent(error("CC.00050014", 400)) is None
    assert percent(NoAnswer("cut"), response({"task_status": 0, "progress": {"ratio": "3%"}})) == 3
    with pytest.raises(HuaweiUnavailable):
        percent(NoAnswer("cut"))
    for body in NO_PROGRESS:
        with pytest.raises(HuaweiUnavailable):
            percent(response(body))
    with pytest.raises(DeploymentFault):
        percent(error("APIGW.0301", 401))


def test_the_stand_in_tells_since_when_a_check_runs() -> None:
    task = CloudCheckTask(task_id="t-0", running_since=EARLY)
    _, client = cloud_with(check_tasks=[task], settings={"check_jobs": "listed"})
    started = CheckTaskLists(client).running_since("t-0", ask)
    assert started is not None
    assert started.at == EARLY


# Batch tasks.


def dated(page: int, date: str | None) -> Response:
    """Return a full page of batch tasks, or the last one, whose answer has this date."""
    rows = [batch(f"{9 - page}{number:02x}") for number in range(50 if page < 3 else 1)]
    return response({"batchtasks": rows, "page": {"count": 101, "marker": rows[-1]["task_id"]}}, Date=date or "")


@pytest.mark.parametrize("order", [(0, 60, 5), (60, 0, 5), (5, 0, 60)])
def test_a_list_in_pages_is_as_old_as_the_page_whose_clock_is_farthest_behind(order: tuple[int, ...]) -> None:
    dates = [format_datetime(NOW - timedelta(seconds=behind), usegmt=True) for behind in order]
    http = FakeHttp(*(dated(page, date) for page, date in enumerate(dates, 1)))
    listing = BatchTaskLists(client_over(http)).tasks(BATCH.project_id, None, "firmwareUpgrade", "Waitting", ask)
    worst = Moment(ours=NOW, huaweis=NOW.replace(microsecond=0) - timedelta(seconds=60))
    assert (len(listing.entries), {task.moment for task in listing.entries}) == (101, {worst})


@pytest.mark.parametrize("page", [1, 2, 3])
def test_a_list_of_which_a_page_has_no_date_has_none(page: int) -> None:
    http = FakeHttp(*(dated(number, None if number == page else DATE) for number in (1, 2, 3)))
    listing = BatchTaskLists(client_over(http)).tasks(BATCH.project_id, None, "firmwareUpgrade", "Waitting", ask)
    assert {task.moment for task in listing.entries} == {None}


@dataclass
class Marked:
    """A list of IoTDA as HTTP: rows by descending id, filtered by a status; `change` may change them."""

    rows: dict[str, str]
    field: str
    marker_at_end: bool = True
    counts: bool = True
    change: Callable[[int], None] = lambda _: None
    asked: int = 0

    def send(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes | None, timeout: float
    ) -> Response:
        assert (method, body) == ("GET", None)
        assert timeout > 0
        assert headers["X-Project-Id"] == BATCH.project_id
        query = dict(parse_qsl(urlsplit(url).query))
        assert "offset" not in query
        assert query["limit"] == "50"
        self.change(self.asked)
        self.asked += 1
        status = query["status" if self.field == "batchtasks" else "task_detail_status"]
        matching = sorted((each for each, its in self.rows.items() if its == status), reverse=True)
        page = [each for each in matching if each < query.get("marker", "g")][:50]
        rows = [self._row(each) for each in page]
        is_end = len(page) < 50
        marker = {"marker": page[-1] if page and (self.marker_at_end or not is_end) else None}
        count = {"count": len(matching)} if self.counts else {}
        return response({"batchtask": {"status": "Processing"}, self.field: rows, "page": marker | count})

    def _row(self, each: str) -> dict[str, Any]:
        if self.field == "task_details":
            return {"target": each, "status": self.rows[each], "error": {}}
        return batch(each, status=self.rows[each])


def batch(task_id: Any, **changed: Any) -> dict[str, Any]:
    return {
        "task_id": task_id,
        "task_name": "n",
        "task_type": "firmwareUpgrade",
        "status": "Waitting",
        "create_time": "20261123T060000Z",
        "targets": ["d"],
    } | changed


def batch_tasks(http: HttpSender) -> tuple[list[str], int]:
    lists = BatchTaskLists(client_over(http))
    listing = lists.tasks(BATCH.project_id, None, "firmwareUpgrade", "Waitting", ask)
    return [task.task_id for task in listing.entries], listing.skipped


def running_targets(http: HttpSender) -> tuple[set[str], int]:
    listing = BatchTaskLists(client_over(http)).running_targets(BATCH, ask)
    assert len(listing.targets) == len(set(listing.targets))
    return set(listing.targets), listing.skipped


def hexes(numbers: Iterable[int]) -> list[str]:
    return [f"{number:024x}" for number in numbers]


@given(count=st.integers(0, 160), marker_at_end=st.booleans(), counts=st.booleans())
@example(count=50, marker_at_end=True, counts=False)
@example(count=100, marker_at_end=False, counts=True)
def test_every_batch_task_is_listed_once(count: int, *, marker_at_end: bool, counts: bool) -> None:
    tasks = hexes(range(count))
    http = Marked(dict.fromkeys(tasks, "Waitting"), "batchtasks", marker_at_end=marker_at_end, counts=counts)
    assert batch_tasks(http) == (tasks[::-1], 0)
    assert http.asked <= 2 + count // 50


@given(data=st.data(), count=st.integers(0, 160), counts=st.booleans())
def test_a_batch_task_that_keeps_its_status_is_listed_whatever_the_others_do(
    data: st.DataObject, count: int, *, counts: bool
) -> None:
    rows = dict.fromkeys(hexes(range(count)), "Waitting")
    kept = set(rows)

    def change(number: int) -> None:
        if number:
            for each in data.draw(st.sets(st.sampled_from(sorted(rows) or [""]), max_size=40)):
                rows.pop(each, None)
                kept.discard(each)
            rows.update(
                dict.fromkeys(hexes(range(1_000 * number, 1_000 * number + data.draw(st.integers(0, 60)))), "Waitting")
            )

    found, _ = batch_tasks(Marked(rows, "batchtasks", counts=counts, change=change))
    assert kept <= set(found)


def test_a_count_that_sinks_ends_no_list_while_pages_are_full() -> None:
    tasks = hexes(range(150))
    rows = dict.fromkeys(tasks, "Waitting")

    def change(number: int) -> None:
        if number == 1:  # all of the first page move on
            rows.update(dict.fromkeys(tasks[100:], "Processing"))

    found, _ = batch_tasks(Marked(rows, "batchtasks", change=change))
    assert set(found) == set(tasks)


def test_a_batch_task_is_given_in_huawei_s_own_words() -> None:
    rows = [
        batch("5f", task_policy={"schedule_time": "20261124T000000Z", "retry_count": 1}),
        batch("5e", task_policy=None, create_time=7),
        batch("5d", task_policy={}),
    ]
    http = FakeHttp(response({"batchtasks": rows, "page": {"count": 3, "marker": "5d"}}))
    lists = BatchTaskLists(client_over(http))
    listing = lists.tasks(BATCH.project_id, "instance-1", "firmwareUpgrade", "Waitting", ask)
    created = "20261123T060000Z"
    assert listing.entries == (
        ListedBatchTask("5f", "n", "firmwareUpgrade", "Waitting", created, "20261124T000000Z", READ_AT),
        ListedBatchTask("5e", "n", "firmwareUpgrade", "Waitting", None, None, READ_AT),
        ListedBatchTask("5d", "n", "firmwareUpgrade", "Waitting", created, None, READ_AT),
    )
    assert http.sent[0].headers["Instance-Id"] == "instance-1"


@pytest.mark.parametrize(
    "row",
    [
        None,
        7,
        {},
        batch("../5f"),
        batch("5F"),
        batch("a" * 25),
        batch(None),
        batch("5e", task_name=None),
        batch("5e", task_name="\ud800"),
        batch("5e", status=None),
        batch("5e", task_type=1),
        # Without its schedule it would seem older than it is.
        batch("5e", task_policy={"schedule_time": 7}),
        batch("5e", task_policy="x"),
    ],
)
def test_a_batch_task_that_cannot_be_read_loses_no_other(row: Any) -> None:
    assert batch_tasks(FakeHttp(response({"batchtasks": [batch("5f"), row, batch("5d")]}))) == (["5f", "5d"], 1)


FULL = [batch(each) for each in hexes(range(50))]


@pytest.mark.parametrize(
    "page",
    [
        {"batchtasks": FULL, "page": {"marker": "5f"}},
        {"batchtasks": FULL[:1], "page": {"marker": "5f"}},
        {"batchtasks": FULL},
        {"batchtasks": FULL, "page": {"count": 51}},
        {"batchtasks": FULL, "page": {"count": 51, "marker": ""}},
        {"batchtasks": FULL, "page": {"count": 51, "marker": "a b"}},
        {"batchtasks": FULL, "page": {"count": 51, "marker": 7}},
        {"batchtasks": FULL, "page": [7]},
    ],
    ids=lambda page: str(page.get("page")),
)
def test_a_list_whose_marker_leads_nowhere_is_an_error_and_not_cut_short(page: Any) -> None:
    http = FakeHttp(response(page))
    with pytest.raises(HuaweiUnavailable, match="the firmwareUpgrade tasks of project project-1 cannot be listed"):
        batch_tasks(http)
    assert len(http.sent) <= 2


def test_a_list_without_an_end_is_an_error() -> None:
    pages = [response({"batchtasks": FULL, "page": {"marker": each}}) for each in hexes(range(MOST_PAGES + 1))]
    http = FakeHttp(*pages)
    with pytest.raises(HuaweiUnavailable, match="cannot be listed to their end"):
        batch_tasks(http)
    assert len(http.sent) == MOST_PAGES


@pytest.mark.parametrize("page", [{"batchtasks": []}, {"batchtasks": None, "page": {"count": 0}}], ids=str)
def test_a_list_of_no_batch_tasks_is_empty(page: Any) -> None:
    assert batch_tasks(FakeHttp(response(page))) == ([], 0)


@pytest.mark.parametrize(
    "answer",
    [
        NoAnswer("cut"),
        error("IOTDA.000001", 500),
        error("IOTDA.021101", 403),
        response(b"<html>"),
        response(),
        response([]),
        response({}),
        response({"batchtasks": "x"}),
        response({"page": {"count": 0}}),
    ],
)
def test_a_page_of_batch_tasks_that_did_not_come_is_asked_for_again(answer: Response | Exception) -> None:
    assert batch_tasks(FakeHttp(answer, response({"batchtasks": [batch("5f")]}))) == (["5f"], 0)
    with pytest.raises(HuaweiUnavailable):
        batch_tasks(FakeHttp(answer))


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (error("IOTDA.001000", 403), "check the permissions"),
        (error("IOTDA.000021", 403), "check IOTDA_ENDPOINT"),
        (error("APIGW.0101", 404), "check the endpoint"),
        (response(b"<html>", 404), "IOTDA_ENDPOINT answered 404"),
        (response(b"", 302), "IOTDA_ENDPOINT answered 302"),
    ],
)
def test_batch_tasks_that_huawei_refuses_are_the_deployment_s_fault(answer: Response, error: str) -> None:
    for read in (batch_tasks, running_targets):
        with pytest.raises(DeploymentFault, match=error):
            read(FakeHttp(answer))


def test_a_project_that_iotda_does_not_know_is_the_sweep_s_fault() -> None:
    with pytest.raises(SweepRejected, match="does not know the firmwareUpgrade tasks of project project-1"):
        batch_tasks(FakeHttp(error("IOTDA.001006", 404)))


# Targets that still run.

RUNNING = ("Waitting", "Processing", "FailWaitRetry")
MOVES = {"Waitting": ["Processing"], "Processing": ["FailWaitRetry"], "FailWaitRetry": ["Processing", "Waitting"]}


@given(data=st.data(), count=st.integers(1, 130), counts=st.booleans(), marker_at_end=st.booleans())
def test_a_target_that_runs_and_moves_once_while_the_lists_are_read_is_named(
    data: st.DataObject, count: int, *, counts: bool, marker_at_end: bool
) -> None:
    targets = hexes(range(count))
    states = st.lists(st.sampled_from([*RUNNING, "Success"]), min_size=count, max_size=count)
    rows = dict(zip(targets, data.draw(states), strict=True))
    running = {each for each, status in rows.items() if status in RUNNING}
    moving = data.draw(st.lists(st.tuples(st.sampled_from(targets), st.integers(0, 12)), max_size=20))
    moves = {each: when for each, when in moving if each in running}

    def change(number: int) -> None:
        for each, when in moves.items():
            if when == number:
                rows[each] = data.draw(st.sampled_from(MOVES[rows[each]]))

    http = Marked(rows, "task_details", counts=counts, marker_at_end=marker_at_end, change=change)
    assert running_targets(http) == (running, 0)


@pytest.mark.parametrize("before", RUNNING)
@pytest.mark.parametrize("when", range(5))
def test_each_move_between_any_two_lists_is_followed(before: str, when: int) -> None:
    for after in MOVES[before]:
        rows = {"d": before}

        def change(number: int, rows: dict[str, str] = rows, after: str = after) -> None:
            if number == when:
                rows["d"] = after

        assert running_targets(Marked(rows, "task_details", change=change)) == ({"d"}, 0)


@pytest.mark.parametrize("row", [None, {}, {"target": "d 9", "status": "Processing"}, {"target": "d9", "status": None}])
def test_a_target_that_no_command_could_name_is_left_out_and_told_of(row: Any) -> None:
    rows = [{"target": "d1", "status": "Processing"}, row, {"target": "d2", "status": "Waitting"}]
    http = FakeHttp(response({"batchtask": {"status": "Processing"}, "task_details": rows}))
    assert running_targets(http) == ({"d1", "d2"}, 1)


def test_a_target_is_judged_by_its_own_status_and_not_by_what_was_asked_for() -> None:
    rows = [{"target": f"d-{status}", "status": status} for status in ("Success", "Removed", "Odd", "FailWaitRetry")]
    http = FakeHttp(response({"batchtask": {}, "task_details": rows}))
    assert running_targets(http) == ({"d-FailWaitRetry"}, 0)


@pytest.mark.parametrize("rows", [{}, {"task_details": None}, {"task_details": [], "page": {"count": 0}}], ids=str)
def test_a_task_without_running_targets_has_none(rows: dict[str, Any]) -> None:
    assert running_targets(FakeHttp(response({"batchtask": {"status": "Stopped"}, **rows}))) == (set(), 0)


def test_of_a_long_list_no_more_is_kept_than_is_used() -> None:
    """Eight lists of 100 000 targets, read at a time, must fit into the memory of the function beside all else."""
    count = 6_000
    targets = [f"{number:036}" for number in range(count, 0, -1)]
    rows = dict.fromkeys(targets, "Processing")
    http = Marked(rows, "task_details", change=lambda _: None)
    tracemalloc.start()
    try:
        assert len(running_targets(http)[0]) == count
        assert tracemalloc.get_traced_memory()[1] / count < 350  # bytes a target: 280 MB for those
    finally:
        tracemalloc.stop()


def test_a_task_that_is_gone_has_no_running_targets() -> None:
    page = {"batchtask": {}, "task_details": [{"target": "d1", "status": "FailWaitRetry"}]}
    assert running_targets(FakeHttp(response(page), error("IOTDA.014201", 404))) == (set(), 0)


@pytest.mark.parametrize(
    "answer", [response({}), response({"task_details": []}), response({"batchtask": {}, "task_details": "x"})]
)
def test_a_page_without_the_task_is_asked_for_again(answer: Response) -> None:
    with pytest.raises(HuaweiUnavailable):
        running_targets(FakeHttp(answer))


def test_the_stand_in_s_batch_tasks_and_their_targets_are_listed() -> None:
    devices = tuple(f"d{number}" for number in range(120))
    tasks = [CloudBatchTask(task_id=f"{number:x}", targets=("d",), create_time=EARLY) for number in range(120)]
    subtasks = {"w": "Waitting", "f": "FailWaitRetry", "s": "Stopped", "e": "Success"}
    large = CloudBatchTask.model_validate({"task_id": "f0", "targets": devices, "subtasks": subtasks})
    cloud, client = cloud_with(batch_tasks=[*tasks, large], settings={"iotda_signing": "plain"})
    lists = BatchTaskLists(client)
    found = {
        status: {task.task_id for task in lists.tasks(PROJECT_ID, None, "firmwareUpgrade", status, ask).entries}
        for status in ("Waitting", "Processing", "Stopped")
    }
    assert found == {"Waitting": set(), "Processing": {task.task_id for task in (*tasks, large)}, "Stopped": set()}
    named = lists.running_targets(BatchTask(PROJECT_ID, None, "f0"), ask)
    assert set(named.targets) == {*devices, "w", "f"}
    assert not cloud.summary().violations

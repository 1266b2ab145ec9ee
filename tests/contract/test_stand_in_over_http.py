"""The stand-in on the wire: every fault kind, quotas, the control API and its life as a process."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing
from datetime import UTC, datetime
from http.client import HTTPConnection, RemoteDisconnected
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import pytest
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcore.sdk_request import SdkRequest
from huaweicloudsdkcore.signer.signer import DerivationAKSKSigner, Signer
from pydantic import ValidationError

from local.huawei import (
    CHECK_PROJECT_ID,
    PROJECT_ID,
    AccessKey,
    BatchTask,
    CheckRun,
    CheckTask,
    Fault,
    HuaweiStandIn,
    Quota,
    Scenario,
    Settings,
    StandInClient,
)
from local.huawei.scenario import FaultKind

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
BATCH = f"/v5/iot/{PROJECT_ID}/batchtasks/b1"
STOP_BATCH = f"{BATCH}/stop"
STOP_CHECK = "/v2/tasks/c1/stop"
LIST_BATCHES = f"/v5/iot/{PROJECT_ID}/batchtasks?task_type=firmwareUpgrade"
LIST_CHECKS = f"/v2/{CHECK_PROJECT_ID}/tasks"
RECORDS = f"/v2/{CHECK_PROJECT_ID}/tasks/c1/checkrecord"
JOBS = "/v4/tasks/c1/jobs"
WITH_RUNS = CheckTask(
    task_id="c1",
    running_since="2026-11-23 08:00:00",
    records=(
        CheckRun(check_time="2026-11-21T08:00:00Z", check_end_time="2026-11-21T09:00:00Z"),
        CheckRun(check_time="2026-11-22T08:00:00Z", status="stopped"),
    ),
)
SCENARIO = Scenario(
    check_tasks=(CheckTask(task_id="c1"),), batch_tasks=(BatchTask(task_id="b1", targets=("d1", "d2", "d3")),)
)


class Answer:
    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    def json(self) -> Any:
        return json.loads(self.body)


class Caller:
    """One kept connection that signs what it sends, with the SDK's signer."""

    def __init__(self, endpoint: str, key: AccessKey) -> None:
        self._host = endpoint.removeprefix("http://")
        self._credentials = BasicCredentials(key.ak, key.sk)
        self.connection = HTTPConnection(self._host, timeout=10)

    def signed(self, method: str, path: str, body: bytes) -> SdkRequest:
        path, _, query = path.partition("?")
        request = SdkRequest(
            method=method,
            schema="http",
            host=self._host,
            resource_path=path,
            query_params=[tuple(part.split("=")) for part in query.split("&") if query],
            header_params={"X-Sdk-Date": datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")},
            body=body,
        )
        if path.startswith("/v5/iot/"):
            DerivationAKSKSigner(self._credentials).sign(request, "iotdm", "cn-north-4")
        else:
            Signer(self._credentials).sign(request)
        return request

    def send(self, method: str, path: str, body: object = None) -> Answer:
        request = self.signed(method, path, b"" if body is None else json.dumps(body).encode())
        self.connection.request(method, request.uri, body=request.body, headers=request.header_params)
        return Answer(self.connection.getresponse())

    def stop(self, *targets: str) -> Answer:
        return self.send("POST", STOP_BATCH, {"targets": list(targets)})


@pytest.fixture
def huawei() -> Iterator[HuaweiStandIn]:
    with HuaweiStandIn(SCENARIO) as stand_in:
        yield stand_in


@pytest.fixture
def caller(huawei: HuaweiStandIn) -> Iterator[Caller]:
    caller = Caller(huawei.endpoint, AccessKey())
    with closing(caller.connection):
        yield caller


REPLACED: list[tuple[FaultKind, dict[str, Any], int, bytes]] = [
    ("answer", {"status": 418, "body": {"a": 1}}, 418, b'{"a":1}'),
    ("answer", {"status": 418, "body": "as it is"}, 418, b"as it is"),
    ("throttle_429", {}, 429, b'"error_code":"APIGW.0308"'),
    ("throttle_403", {}, 403, b'"error_code":"IOTDA.021101"'),
    ("throttle_400", {}, 400, b'"error_code":"CC.00050012"'),
    ("error_json", {}, 500, b'"error_code":"IOTDA.000001"'),
    ("error_json", {"status": 503, "error_code": "APIGW.0705"}, 503, b'"error_code":"APIGW.0705"'),
    ("error_html", {}, 502, b"<html>"),
    ("unauthorized", {}, 401, b'"error_code":"IOTDA.000002"'),
    ("redirect", {}, 302, b""),
    ("error_in_200", {}, 200, b'"error_code":"IOTDA.000001"'),
    ("legacy_200", {"handled": False}, 200, b'{"result":"success"}'),
    ("junk_200", {"handled": False}, 200, b"<html>"),
    ("null_200", {"handled": False}, 200, b"null"),
]
DELIVERED_BADLY = {
    "slow",
    "drip",
    "drip_head",
    "cut_before",
    "cut_after",
    "cut_midway",
    "target_failure",
    "target_missing",
    "wrong_content_type",
}


def test_every_kind_of_fault_is_tried_here() -> None:
    assert {kind for kind, *_ in REPLACED} | DELIVERED_BADLY == set(get_args(FaultKind))


@pytest.mark.parametrize(("kind", "rule", "status", "body"), REPLACED)
def test_an_answer_is_replaced_and_nothing_stops(  # noqa: PLR0917 - an example a row
    huawei: HuaweiStandIn, caller: Caller, kind: FaultKind, rule: dict[str, Any], status: int, body: bytes
) -> None:
    huawei.set_faults(Fault(kind=kind, times=1, **rule))
    answer = caller.stop("d1")
    assert (answer.status, body in answer.body) == (status, True)
    record = huawei.log()[0]
    assert (record.status, record.fault, record.effect) == (status, kind, ())
    assert huawei.subtasks("b1")["d1"] == "Processing"
    assert caller.stop("d1").json() == {"targets": [{"target": "d1", "status": "success"}]}


@pytest.mark.parametrize("kind", ["error_json", "error_html", "throttle_429", "redirect", "error_in_200"])
def test_a_replaced_answer_can_hide_that_the_stop_was_taken(
    huawei: HuaweiStandIn, caller: Caller, kind: FaultKind
) -> None:
    huawei.set_faults(Fault(kind=kind, handled=True))
    caller.stop("d1")
    assert huawei.subtasks("b1")["d1"] == "Stopped"
    assert huawei.log()[0].effect == ("d1",)


def test_replaced_answers_speak_the_words_of_code_check(huawei: HuaweiStandIn, caller: Caller) -> None:
    huawei.add(CheckTask(task_id="c2", status="success"))
    seen = []
    for kind in ("unauthorized", "error_json", "legacy_200"):
        huawei.set_faults(Fault(kind=kind, service="check", handled=False))
        seen.append(caller.send("POST", STOP_CHECK).json())
    huawei.set_faults(Fault(kind="legacy_200"))
    seen.append(caller.send("GET", f"/v2/{CHECK_PROJECT_ID}/tasks").json())
    assert [answer.get("error_code") for answer in seen] == ["CC.00000003", "CC.00050006", None, None]
    assert seen[2]["status"] == "error"
    assert "tasks" not in seen[3]
    assert huawei.state().check_tasks["c1"] == "checking"


@pytest.mark.parametrize(("retry_after", "header"), [(None, None), (3, "3")])
def test_a_throttle_says_when_to_come_back_only_if_told(
    huawei: HuaweiStandIn, caller: Caller, retry_after: int | None, header: str | None
) -> None:
    huawei.set_faults(Fault(kind="throttle_429", retry_after=retry_after, times=1))
    huawei.set_quota(Quota(service="check", per_second=0.001, retry_after=retry_after))
    assert caller.stop("d1").headers["Retry-After"] == header
    assert caller.send("GET", "/v2/tasks/c1/progress").status == 200
    assert caller.send("GET", "/v2/tasks/c1/progress").headers["Retry-After"] == header


def test_a_cut_before_leaves_no_trace_but_in_the_log(huawei: HuaweiStandIn, caller: Caller) -> None:
    huawei.set_faults(Fault(kind="cut_before"))
    with pytest.raises((RemoteDisconnected, ConnectionResetError)):
        caller.stop("d1")
    assert huawei.subtasks("b1")["d1"] == "Processing"
    assert [(record.status, record.effect) for record in huawei.log()] == [(0, ())]


def test_a_cut_after_loses_the_answer_but_not_the_stop(huawei: HuaweiStandIn, caller: Caller) -> None:
    huawei.set_faults(Fault(kind="cut_after"))
    with pytest.raises((RemoteDisconnected, ConnectionResetError)):
        caller.stop("d1")
    assert huawei.subtasks("b1")["d1"] == "Stopped"
    assert [(record.status, record.effect) for record in huawei.log()] == [(0, ("d1",))]


def test_a_cut_midway_leaves_half_an_answer(huawei: HuaweiStandIn, caller: Caller) -> None:
    huawei.set_faults(Fault(kind="cut_midway"))
    with pytest.raises(http.client.IncompleteRead):
        caller.stop(*(f"d{number}" for number in range(100)))
    assert huawei.subtasks("b1")["d1"] == "Stopped"


def test_a_slow_answer_comes_after_the_stop_took_effect(huawei: HuaweiStandIn, caller: Caller) -> None:
    huawei.set_faults(Fault(kind="slow", seconds=60, times=1))
    caller.connection.timeout = 0.05
    with pytest.raises(TimeoutError):
        caller.stop("d1")
    assert huawei.subtasks("b1")["d1"] == "Stopped"


def test_a_slow_answer_is_whole_and_keeps_the_connection(huawei: HuaweiStandIn, caller: Caller) -> None:
    huawei.set_faults(Fault(kind="slow", seconds=0.01, times=1))
    assert caller.stop("d1").status == 200
    kept = caller.connection.sock
    assert caller.stop("d2").status == 200
    assert caller.connection.sock is kept


def test_latency_holds_back_every_answer(huawei: HuaweiStandIn, caller: Caller) -> None:
    huawei.change_settings(latency_seconds=60)
    caller.connection.timeout = 0.05
    with pytest.raises(TimeoutError):
        caller.send("GET", BATCH)


@pytest.mark.parametrize("kind", ["drip", "drip_head"])
def test_a_dripped_answer_is_whole_and_keeps_the_connection(
    huawei: HuaweiStandIn, caller: Caller, kind: FaultKind
) -> None:
    huawei.set_faults(Fault(kind=kind, seconds=0.0001, times=1))
    assert caller.stop("d1").json() == {"targets": [{"target": "d1", "status": "success"}]}
    kept = caller.connection.sock
    assert caller.stop("d2").status == 200
    assert caller.connection.sock is kept


@pytest.mark.parametrize(("kind", "at_once"), [("drip", b"\r\n\r\n{"), ("drip_head", b"H")])
def test_a_drip_begins_with_the_body_or_with_the_head(
    huawei: HuaweiStandIn, caller: Caller, kind: FaultKind, at_once: bytes
) -> None:
    huawei.set_faults(Fault(kind=kind, seconds=60))
    request = caller.signed("POST", STOP_BATCH, b'{"targets": ["d1"]}')
    caller.connection.request("POST", request.uri, body=request.body, headers=request.header_params)
    assert _read_until(caller.connection.sock, at_once).endswith(at_once)
    caller.connection.sock.settimeout(0.05)
    with pytest.raises(TimeoutError):
        caller.connection.sock.recv(1)


def test_a_target_can_be_missing_from_the_answer_although_it_was_stopped(huawei: HuaweiStandIn, caller: Caller) -> None:
    huawei.set_faults(Fault(kind="target_missing", target="d1", times=1), Fault(kind="target_missing"))
    assert caller.stop("d1", "d2").json() == {"targets": [{"target": "d2", "status": "success"}]}
    assert caller.stop("d3").json() == {"targets": []}
    assert set(huawei.subtasks("b1").values()) == {"Stopped"}


def test_a_target_missing_leaves_an_error_as_it_is(huawei: HuaweiStandIn, caller: Caller) -> None:
    caller.send("POST", STOP_BATCH, {})
    huawei.set_faults(Fault(kind="target_missing"))
    assert caller.stop("d1").json()["error_code"] == "IOTDA.014221"


def test_a_target_can_fail_by_itself_and_go_on_running(huawei: HuaweiStandIn, caller: Caller) -> None:
    huawei.set_faults(Fault(kind="target_failure", target="d1", error_code="IOTDA.000001"))
    results = caller.stop("d1", "d2").json()["targets"]
    assert [(result["target"], result["status"]) for result in results] == [
        ("d1", "failure"),
        ("d2", "success"),
    ]
    assert results[0]["error_code"] == "IOTDA.000001"
    assert huawei.subtasks("b1") == {"d1": "Processing", "d2": "Stopped", "d3": "Processing"}


def test_a_right_answer_can_come_under_the_wrong_content_type(huawei: HuaweiStandIn, caller: Caller) -> None:
    right = caller.send("GET", BATCH)
    huawei.set_faults(Fault(kind="wrong_content_type"))
    wrong = caller.send("GET", BATCH)
    assert wrong.json() == right.json()
    assert (right.headers["Content-Type"], wrong.headers["Content-Type"]) == ("application/json", "text/html")


@pytest.mark.parametrize(
    ("answer", "status", "code"),
    [("429", 429, "APIGW.0308"), ("403", 403, "IOTDA.021101"), ("400", 400, "CC.00050012")],
)
def test_a_used_up_quota_refuses_and_stops_nothing(
    huawei: HuaweiStandIn, caller: Caller, answer: Any, status: int, code: str
) -> None:
    huawei.set_quota(Quota(service="iotda", per_second=0.001, burst=2, answer=answer))
    statuses = [caller.stop(f"d{number}").status for number in (1, 2, 3)]
    assert statuses == [200, 200, status]
    assert huawei.log()[2].error_code == code
    assert huawei.subtasks("b1")["d3"] == "Processing"
    assert caller.send("GET", "/v2/tasks/c1/progress").status == 200  # the other service has a quota of its own
    huawei.set_quota(Quota(service="iotda", per_second=0))
    assert caller.stop("d3").status == 200


@pytest.mark.parametrize(
    ("body", "status", "violation"),
    [
        ({}, 200, None),
        ({"targets": None}, 200, "an empty list of targets may stop everything"),
        ({"target": ["d1"]}, 200, "unknown fields are ignored, and the rest may stop everything"),
        ({"targets": ["d1", "d1"]}, 200, "a target is named twice"),
        ({"targets": ["d1"] + [f"x{number}" for number in range(99)]}, 200, None),
        ({"targets": ["d1"] + [f"x{number}" for number in range(100)]}, 400, "more than 100 targets"),
        ({"targets": "d1"}, 400, "targets is no list of strings"),
        ({"targets": [1]}, 400, "targets is no list of strings"),
        ([], 400, "the body is no JSON object"),
    ],
)
def test_what_a_stop_may_hold(
    huawei: HuaweiStandIn, caller: Caller, body: object, status: int, violation: str | None
) -> None:
    assert caller.send("POST", STOP_BATCH, body).status == status
    record = huawei.log()[0]
    assert record.violations == (() if violation is None else (violation,))
    assert bool(record.effect) is (status == 200)
    assert huawei.summary().violations == ({} if violation is None else {violation: 1})


@pytest.mark.parametrize("listed", [True, False])
def test_a_stop_of_everything_names_what_it_stopped_unless_told_otherwise(
    huawei: HuaweiStandIn,
    caller: Caller,
    listed: bool,  # noqa: FBT001 - an example
) -> None:
    huawei.change_settings(stop_all_lists_targets=listed)
    named = [result["target"] for result in caller.send("POST", STOP_BATCH, {}).json()["targets"]]
    assert named == (["d1", "d2", "d3"] if listed else [])
    assert huawei.log()[0].effect == ("d1", "d2", "d3")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", f"{BATCH}?limit=51", 400, "IOTDA.000006"),
        ("GET", f"{BATCH}?limit=0", 400, "IOTDA.000006"),
        ("GET", f"{BATCH}?offset=501", 400, "IOTDA.000006"),
        ("GET", f"{BATCH}?marker=b1", 400, "IOTDA.000006"),
        ("GET", f"{BATCH}?task_detail_status=Running", 400, "IOTDA.000006"),
        ("GET", f"{LIST_BATCHES}&status=Running", 400, "IOTDA.000006"),
        ("GET", f"{LIST_BATCHES}&limit=0", 400, "IOTDA.000006"),
        ("GET", f"{LIST_BATCHES}&limit=51", 400, "IOTDA.000006"),
        ("GET", f"{LIST_BATCHES}&offset=501", 400, "IOTDA.000006"),
        ("GET", f"/v5/iot/{PROJECT_ID}/batchtasks", 400, "IOTDA.000006"),
        ("GET", f"/v5/iot/{PROJECT_ID}/batchtasks?task_type=reboot", 400, "IOTDA.000006"),
        ("GET", f"/v5/iot/{PROJECT_ID}/batchtasks/b2", 404, "IOTDA.014223"),
        ("POST", f"/v5/iot/{PROJECT_ID}/batchtasks/B1/stop", 400, "IOTDA.000006"),
        ("GET", "/v5/iot/another/batchtasks/b1", 403, "APIGW.0302"),
        ("POST", "/v2/tasks/nobody/stop", 400, "CC.00059902.400"),
        ("GET", "/v2/tasks/nobody/progress", 400, "CC.00050014"),
        ("GET", f"/v2/{CHECK_PROJECT_ID}/tasks?limit=101", 400, "CC.00050000"),
        ("GET", "/v2/another/tasks", 400, "CC.00050013"),
        ("GET", "/v2/another/tasks/c1/checkrecord", 400, "CC.00050014"),
        ("GET", f"/v2/{CHECK_PROJECT_ID}/tasks/nobody/checkrecord", 400, "CC.00050014"),
        ("GET", f"{RECORDS}?limit=1001", 400, "CC.00050000"),
        ("GET", f"{RECORDS}?start_time=yesterday", 400, "CC.00050000"),
        ("GET", JOBS, 404, "APIGW.0101"),
        ("DELETE", "/v2/tasks/c1", 404, "APIGW.0101"),
    ],
)
def test_what_is_not_there_or_not_allowed_is_refused(  # noqa: PLR0917 - an example a row
    huawei: HuaweiStandIn, caller: Caller, method: str, path: str, status: int, code: str
) -> None:
    answer = caller.send(method, path)
    assert (answer.status, answer.json()["error_code"]) == (status, code)
    assert huawei.log()[0].error_code == code


@pytest.mark.parametrize(("code", "status"), [("CC.00050000", 400), (None, 200)])
def test_a_stop_of_a_check_that_has_ended_answers_as_told(
    huawei: HuaweiStandIn, caller: Caller, code: str | None, status: int
) -> None:
    huawei.add(CheckTask(task_id="c1", status="success"))
    huawei.change_settings(check_not_running_code=code)
    assert caller.send("POST", STOP_CHECK).status == status
    assert (huawei.log()[0].effect, huawei.state().check_tasks) == ((), {"c1": "success"})


@pytest.mark.parametrize(
    ("meaning", "offset", "found"),
    [
        ("row", 3, ["c4", "c5"]),
        ("page", 0, ["c1", "c2"]),
        ("page", 1, ["c1", "c2"]),
        ("page", 2, ["c3", "c4"]),
        ("ignored", 3, ["c1", "c2"]),
    ],
)
def test_an_offset_of_a_list_of_checks_is_a_row_or_a_page_or_nothing(
    huawei: HuaweiStandIn, caller: Caller, meaning: str, offset: int, found: list[str]
) -> None:
    huawei.add(*(CheckTask(task_id=f"c{number}") for number in range(2, 6)))
    huawei.change_settings(check_offset=meaning)
    answer = caller.send("GET", f"{LIST_CHECKS}?offset={offset}&limit=2").json()
    assert ([task["task_id"] for task in answer["tasks"]], answer["total"]) == (found, 5)


def test_a_list_of_checks_moves_under_who_reads_it(huawei: HuaweiStandIn, caller: Caller) -> None:
    huawei.add(*(CheckTask(task_id=f"c{number}") for number in range(2, 5)))
    first = caller.send("GET", f"{LIST_CHECKS}?offset=1&limit=2").json()
    huawei.remove("c1")
    huawei.add(CheckTask(task_id="c5"))
    second = caller.send("GET", f"{LIST_CHECKS}?offset=2&limit=2").json()
    assert [[task["task_id"] for task in page["tasks"]] for page in (first, second)] == [["c1", "c2"], ["c4", "c5"]]
    assert caller.send("GET", "/v2/tasks/c1/progress").json()["error_code"] == "CC.00050014"


def test_a_project_whose_last_check_was_deleted_lists_none(huawei: HuaweiStandIn, caller: Caller) -> None:
    huawei.remove("c1")
    assert caller.send("GET", LIST_CHECKS).json() == {"tasks": [], "total": 0}


def test_a_check_that_moves_by_itself_is_read_as_it_is(huawei: HuaweiStandIn, caller: Caller) -> None:
    huawei.add(CheckTask(task_id="c1", ratio="97%"))
    seen = [caller.send("GET", "/v2/tasks/c1/progress").json()]
    huawei.set_check_status("c1", "failed")
    seen.append(caller.send("GET", "/v2/tasks/c1/progress").json())
    assert [(answer["task_status"], answer["progress"]["ratio"]) for answer in seen] == [(0, "97%"), (1, None)]


@pytest.mark.parametrize(
    ("query", "began"),
    [
        ("", ["2026-11-21T08:00:00Z", "2026-11-22T08:00:00Z", "2026-11-23 08:00:00"]),
        ("?limit=2", ["2026-11-21T08:00:00Z", "2026-11-22T08:00:00Z"]),
        ("?limit=2&offset=2", ["2026-11-23 08:00:00"]),
        ("?start_time=2026-11-22T08:00:00Z", ["2026-11-22T08:00:00Z", "2026-11-23 08:00:00"]),
        ("?end_time=2026-11-22T08:00:00Z", ["2026-11-21T08:00:00Z", "2026-11-22T08:00:00Z"]),
        ("?start_time=2026-11-23T08:00:01Z", []),
    ],
)
def test_records_of_a_check_are_paged_and_chosen_by_their_begin(
    huawei: HuaweiStandIn, caller: Caller, query: str, began: list[str]
) -> None:
    huawei.add(WITH_RUNS)
    huawei.change_settings(check_records_show_running=True)
    answer = caller.send("GET", RECORDS + query).json()
    assert [record["check_time"] for record in answer["data"]] == began


def test_a_running_check_is_among_its_records_only_if_told(huawei: HuaweiStandIn, caller: Caller) -> None:
    huawei.add(WITH_RUNS)
    ended = caller.send("GET", RECORDS).json()
    huawei.change_settings(check_records_show_running=True)
    all_of_them = caller.send("GET", RECORDS).json()
    assert (ended["total"], all_of_them["total"], all_of_them["data"][:2]) == (2, 3, ended["data"])
    # The second was cut short: it is over, although nothing says when.
    assert ["check_end_time" in record for record in all_of_them["data"]] == [True, False, False]


@pytest.mark.parametrize(
    ("mode", "query", "statuses"),
    [
        ("listed", "", ["success", "aborted", "running"]),
        ("listed", "?statuses=running", ["running"]),
        ("listed", "?statuses=running&statuses=aborted", ["aborted", "running"]),
        ("listed", "?statuses=running,success", ["success", "running"]),
        ("listed", "?statuses=quering", []),
        ("listed", "?page=2&page_size=2", ["running"]),
        ("listed", "?begin_start_time=2026-11-22T00:00:00Z&end_start_time=2026-11-23T00:00:00Z", ["aborted"]),
        ("all", "?statuses=running", ["success", "aborted", "running"]),
    ],
)
def test_jobs_of_a_check_are_listed_as_told(
    huawei: HuaweiStandIn, caller: Caller, mode: str, query: str, statuses: list[str]
) -> None:
    huawei.add(WITH_RUNS)
    huawei.change_settings(check_jobs=mode)
    answer = caller.send("GET", JOBS + query).json()
    assert [job["status"] for job in answer["jobs"]] == statuses
    began = {"success": "2026-11-21T08:00:00Z", "aborted": "2026-11-22T08:00:00Z", "running": "2026-11-23 08:00:00"}
    assert [job["start_time"] for job in answer["jobs"]] == [began[status] for status in statuses]
    assert answer["total"] == (3 if "page=2" in query else len(statuses))


@pytest.mark.parametrize(
    "query", ["statuses=stopped", "page=0", "page_size=0", "page_size=201", "begin_start_time=now"]
)
def test_jobs_are_not_listed_for_what_is_not_allowed(huawei: HuaweiStandIn, caller: Caller, query: str) -> None:
    huawei.change_settings(check_jobs="listed")
    assert caller.send("GET", f"{JOBS}?{query}").json()["error_code"] == "CC.00050000"
    assert caller.send("GET", "/v4/tasks/nobody/jobs").json()["error_code"] == "CC.00050014"


def test_a_job_runs_until_its_stop_shows_and_its_reads_are_none_of_the_progress(
    huawei: HuaweiStandIn, caller: Caller
) -> None:
    huawei.add(WITH_RUNS.model_copy(update={"stop_reads": 1}))
    huawei.change_settings(check_jobs="listed")
    assert caller.send("POST", STOP_CHECK).status == 200
    reads = (JOBS, JOBS, RECORDS, "/v2/tasks/c1/progress", JOBS)
    answers = [caller.send("GET", read).json() for read in reads]
    assert [answer["jobs"][-1]["status"] for answer in answers if "jobs" in answer] == ["running", "running", "aborted"]


def test_requests_for_jobs_that_are_not_published_are_no_fault_of_the_client(
    huawei: HuaweiStandIn, caller: Caller
) -> None:
    caller.send("GET", f"{JOBS}?statuses=running")
    record = huawei.log()[0]
    assert (record.operation, record.task_id, record.violations) == ("list_check_jobs", "c1", ())


def test_batch_tasks_are_listed_by_app_type_and_status(huawei: HuaweiStandIn, caller: Caller) -> None:
    huawei.add(
        BatchTask(task_id="b2", targets=("d",), app_id="an-app"),
        BatchTask(task_id="b3", targets=("d",), task_type="createCommands"),
        BatchTask(task_id="b4", subtasks={"d": "Success"}, schedule_time="20261124T000000Z"),
    )
    for query, found in (
        ("task_type=firmwareUpgrade", ["b4", "b2", "b1"]),
        ("task_type=firmwareUpgrade&offset=1&limit=2", ["b2", "b1"]),
        ("task_type=firmwareUpgrade&app_id=an-app", ["b2"]),
        ("task_type=createCommands", ["b3"]),
        ("task_type=firmwareUpgrade&status=Success", ["b4"]),
    ):
        answer = caller.send("GET", f"/v5/iot/{PROJECT_ID}/batchtasks?{query}").json()
        assert [task["task_id"] for task in answer["batchtasks"]] == found
    assert answer["batchtasks"][0]["task_policy"] == {"schedule_time": "20261124T000000Z"}


def test_five_hundred_batch_tasks_are_listed_while_some_end_and_some_are_new(
    huawei: HuaweiStandIn, caller: Caller
) -> None:
    targets = tuple(f"d{number}" for number in range(100))
    ids = [f"5f1ac5c3e4b0{number:012x}" for number in range(500)]
    huawei.remove("b1")
    huawei.add(*(BatchTask(task_id=task_id, targets=targets) for task_id in ids))
    steady = set(ids)
    seen: list[str] = []
    marker = "f" * 24
    for number in range(11):
        page = caller.send("GET", f"{LIST_BATCHES}&status=Processing&limit=50&marker={marker}").json()
        if not page["batchtasks"]:
            break
        seen += [task["task_id"] for task in page["batchtasks"]]
        marker = page["page"]["marker"]
        ended, deleted = ids[number], ids[-1 - number]
        caller.send("POST", f"/v5/iot/{PROJECT_ID}/batchtasks/{ended}/stop", {})
        huawei.remove(deleted)
        huawei.add(BatchTask(task_id=f"6{number:023x}", targets=targets))
        steady -= {ended, deleted}
    assert page["page"]["marker"] is None
    assert seen == sorted(set(seen), reverse=True)
    assert steady <= set(seen)


def test_a_list_of_batch_tasks_has_ten_on_a_page_unless_told(huawei: HuaweiStandIn, caller: Caller) -> None:
    huawei.add(*(BatchTask(task_id=f"a{number}", targets=("d",)) for number in range(11)))
    answer = caller.send("GET", LIST_BATCHES).json()
    assert (len(answer["batchtasks"]), answer["page"]["count"]) == (10, 12)


def test_a_body_on_a_stop_of_a_check_is_noted(huawei: HuaweiStandIn, caller: Caller) -> None:
    assert caller.send("POST", STOP_CHECK, {}).status == 200
    assert huawei.log()[0].violations == ("a stop of a check task has no body",)


def test_one_target_can_be_looked_up(huawei: HuaweiStandIn, caller: Caller) -> None:
    assert huawei.subtasks("b1")["d2"] == "Processing"
    for query, found in (
        ("target=d2", ["d2"]),
        ("target=x", []),
        ("target=d2&task_detail_status=Stopped", []),
    ):
        answer = caller.send("GET", f"{BATCH}?{query}").json()
        assert [detail["target"] for detail in answer["task_details"]] == found
        assert answer["page"]["count"] == len(found)


def test_stops_of_a_batch_task_show_after_the_reads_that_were_set(huawei: HuaweiStandIn, caller: Caller) -> None:
    huawei.change_settings(stop_reads=1)
    caller.stop("d1")
    progress = [caller.send("GET", BATCH).json()["batchtask"]["task_progress"]["stopped"] for _ in range(2)]
    assert progress == [0, 1]


def test_every_task_may_be_as_slow_to_stop_as_it_likes(huawei: HuaweiStandIn, caller: Caller) -> None:
    huawei.change_settings(stop_reads=1)
    huawei.add(
        BatchTask(task_id="b2", targets=("d1",), stop_reads=10**9),
        BatchTask(task_id="b3", targets=("d1",), stop_reads=0),
        CheckTask(task_id="c2", stop_reads=3),
        CheckTask(task_id="c3", stop_reads=0, stop_seconds=1e9),
    )
    stopped = {}
    for task_id in ("b1", "b2", "b3"):
        path = f"/v5/iot/{PROJECT_ID}/batchtasks/{task_id}"
        assert caller.send("POST", f"{path}/stop", {"targets": ["d1"]}).status == 200
        answers = [caller.send("GET", path).json()["batchtask"] for _ in range(4)]
        stopped[task_id] = [answer["task_progress"]["stopped"] for answer in answers]
    for task_id in ("c1", "c2", "c3"):
        assert caller.send("POST", f"/v2/tasks/{task_id}/stop").status == 200
        progress = [caller.send("GET", f"/v2/tasks/{task_id}/progress").json() for _ in range(4)]
        stopped[task_id] = [int(answer["task_status"] == 3) for answer in progress]
    assert stopped == {
        "b1": [0, 1, 1, 1],
        "b2": [0, 0, 0, 0],
        "b3": [1, 1, 1, 1],
        "c1": [0, 1, 1, 1],
        "c2": [0, 0, 0, 1],
        "c3": [0, 0, 0, 0],
    }


def test_pages_of_running_targets_keep_one_whose_stop_does_not_show(huawei: HuaweiStandIn, caller: Caller) -> None:
    huawei.add(BatchTask(task_id="b1", targets=("d1", "d2", "d3"), stop_reads=3))
    caller.stop("d2")
    seen = []
    for _ in range(2):
        marker = "f" * 24
        while True:
            page = caller.send("GET", f"{BATCH}?task_detail_status=Processing&limit=1&marker={marker}").json()
            if not page["task_details"]:
                break
            seen.append(page["task_details"][0]["target"])
            marker = page["page"]["marker"]
    assert seen == ["d3", "d2", "d1", "d3", "d1"]
    assert page["batchtask"]["task_progress"]["stopped"] == 1


def test_a_page_of_a_task_of_thirty_thousand_touches_only_its_own_records(
    huawei: HuaweiStandIn, caller: Caller
) -> None:
    huawei.add(BatchTask(task_id="b1", targets=tuple(f"d{number}" for number in range(30_000))))
    answer = caller.send("GET", f"{BATCH}?limit=50&task_detail_status=Processing").json()
    assert (len(answer["task_details"]), answer["page"]["count"]) == (50, 30_000)
    assert "targets" not in answer["batchtask"]


def test_sixteen_kept_connections_are_served_at_once(huawei: HuaweiStandIn) -> None:
    huawei.change_settings(latency_seconds=0.01)
    callers = [Caller(huawei.endpoint, AccessKey()) for _ in range(16)]
    for _ in range(2):
        for caller in callers:
            request = caller.signed("GET", BATCH, b"")
            caller.connection.request("GET", request.uri, headers=request.header_params)
        assert {Answer(caller.connection.getresponse()).status for caller in callers} == {200}
    for caller in callers:
        caller.connection.close()
    assert huawei.summary().statuses == {"show_batch_task 200": 32}


def test_requests_in_one_packet_and_requests_in_pieces_are_answered_in_order(
    huawei: HuaweiStandIn, caller: Caller
) -> None:
    wire = b""
    for target in ("d1", "d2"):
        request = caller.signed("POST", STOP_BATCH, json.dumps({"targets": [target]}).encode())
        lines = [f"POST {request.uri} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in request.header_params.items()]
        lines += [f"Content-Length: {len(request.body)}", "", ""]
        wire += "\r\n".join(lines).encode() + request.body
    host, port = huawei.endpoint.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(wire)
        _read_until(connection, b'"d2","status":"success"}]}')
        for byte in wire:
            connection.sendall(bytes([byte]))
        _read_until(connection, b'"target":"d2","status":"failure"')
    assert [record.targets for record in huawei.log()] == [("d1",), ("d2",)] * 2


def _read_until(connection: socket.socket, end: bytes) -> bytes:
    received = b""
    while end not in received:
        part = connection.recv(65_536)
        assert part, received
        received += part
    return received


@pytest.mark.parametrize(
    ("wire", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.0\r\n\r\n", 400),
        (b"GET http://elsewhere/ HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
        (b"POST / HTTP/1.1\r\nContent-Length: 12582913\r\n\r\n", 413),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 65_536, 431),
    ],
)
def test_what_is_no_request_is_refused_and_the_connection_closed(
    huawei: HuaweiStandIn, wire: bytes, status: int
) -> None:
    host, port = huawei.endpoint.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(wire)
        received = connection.makefile("rb").read()
    assert received.startswith(f"HTTP/1.1 {status} ".encode())
    assert huawei.log() == ()


def test_an_unsigned_request_is_refused_and_logged(huawei: HuaweiStandIn, caller: Caller) -> None:
    caller.connection.request("POST", STOP_CHECK, headers={"Connection": "close"})
    answer = Answer(caller.connection.getresponse())
    assert (answer.status, answer.json()["error_code"]) == (401, "APIGW.0301")
    record = huawei.log()[0]
    assert answer.headers["X-Request-Id"] == answer.json()["request_id"] == record.request_id
    assert (record.signing, record.effect, huawei.summary().authentication_failures) == (None, (), 1)


def test_another_process_can_tell_and_ask_all_the_same_things(huawei: HuaweiStandIn, caller: Caller) -> None:
    with closing(StandInClient(huawei.endpoint)) as client:
        client.reset(Scenario(settings=Settings(stop_reads=1)))
        key = AccessKey(ak="AK2", sk="SK2")
        client.add(key, CheckTask(task_id="c9"), BatchTask(task_id="b1", targets=("d1", "d2")))
        client.set_faults(Fault(kind="null_200", times=1))
        client.set_quota(Quota(service="check", per_second=0.001))
        client.change_settings(stop_reads=0)
        client.set_subtask("b1", "d2", "Fail")
        client.add(CheckTask(task_id="c7"), CheckTask(task_id="c8", status="success"))
        client.remove("c7")
        client.set_check_status("c8", "checking", running_since="2026-11-23T08:00:00Z")
        assert caller.stop("d1").json() is None
        by_its_key = Caller(huawei.endpoint, key)
        with closing(by_its_key.connection):
            assert by_its_key.send("POST", "/v2/tasks/c9/stop").status == 200
        assert caller.send("POST", "/v2/tasks/c9/stop").status == 429
        assert client.subtasks("b1") == {"d1": "Stopped", "d2": "Fail"} == huawei.subtasks("b1")
        assert client.state() == huawei.state()
        assert client.state().check_tasks == {"c8": "checking", "c9": "stopped"}
        assert client.summary() == huawei.summary()
        assert client.log() == huawei.log()
        assert client.log(after=2) == huawei.log()[2:]
        assert [record.effect for record in client.log()] == [("d1",), ("c9",), ()]


def test_what_the_control_api_does_not_understand_is_refused(huawei: HuaweiStandIn) -> None:
    with closing(StandInClient(huawei.endpoint)) as client:
        with pytest.raises(ValueError, match="stop_second"):
            client.change_settings(stop_second=1)
        with pytest.raises(KeyError, match="b9"):
            client.subtasks("b9")
        with pytest.raises(KeyError, match="d9"):
            client.set_subtask("b1", "d9", "Fail")
        with pytest.raises(KeyError, match="c9"):
            client.remove("c9")
        with pytest.raises(KeyError, match="c9"):
            client.set_check_status("c9", "success")
        with pytest.raises(ValueError, match="yesterday"):
            client.set_check_status("c1", "checking", running_since="yesterday")
    with pytest.raises(ValidationError):
        huawei.change_settings(stop_second=1)
    connection = HTTPConnection(huawei.endpoint.removeprefix("http://"), timeout=10)
    with closing(connection):
        for method in ("GET", "POST"):
            connection.request(method, "/_stand_in/nothing", body=b"{}")
            assert Answer(connection.getresponse()).status == 404
        connection.request("POST", "/_stand_in/faults", body=b"no JSON")
        assert Answer(connection.getresponse()).status == 400


def test_the_log_keeps_the_last_and_the_summary_counts_all(huawei: HuaweiStandIn, caller: Caller) -> None:
    huawei.change_settings(log_limit=2)
    for target in ("d1", "d2", "d3"):
        caller.stop(target)
    assert [record.targets for record in huawei.log()] == [("d2",), ("d3",)]
    assert (huawei.summary().requests, huawei.summary().targets_stopped) == (3, 3)


def test_the_same_seed_gives_the_same_misfortunes(huawei: HuaweiStandIn, caller: Caller) -> None:
    def run(seed: int) -> list[int]:
        rule = Fault(kind="error_json", probability=0.5)
        huawei.reset(Scenario(faults=(rule,), settings=Settings(seed=seed)))
        return [caller.send("GET", LIST_BATCHES).status for _ in range(30)]

    assert run(1) == run(1) != run(2)


def test_the_endpoint_is_only_there_while_it_is_served() -> None:
    stand_in = HuaweiStandIn()
    for _ in range(2):  # and it can be entered again
        with pytest.raises(RuntimeError):
            _ = stand_in.endpoint
        with stand_in, closing(StandInClient(stand_in.endpoint)) as client:
            assert client.state() == stand_in.state()


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_it_runs_as_a_process_and_ends_cleanly_even_with_a_client_connected(
    tmp_path: Path, ending: signal.Signals
) -> None:
    scenario = tmp_path / "scenario.json"
    scenario.write_text(SCENARIO.model_dump_json())
    command = [sys.executable, "-W", "error", "-m", "local.huawei", "--scenario", str(scenario)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            endpoint = process.stdout.readline().strip()
            caller = Caller(endpoint, AccessKey())
            with closing(caller.connection), closing(StandInClient(endpoint)) as client:
                assert caller.stop("d1").status == 200
                client.set_faults(Fault(kind="slow", seconds=60))
                request = caller.signed("GET", BATCH, b"")
                caller.connection.request("GET", request.uri, headers=request.header_params)
                while client.summary().requests < 2:
                    time.sleep(0.01)
                assert client.subtasks("b1")["d1"] == "Stopped"
                process.send_signal(ending)
                assert process.wait(timeout=10) == 0
            assert process.stderr is not None
            assert process.stderr.read() == ""
        finally:
            process.kill()

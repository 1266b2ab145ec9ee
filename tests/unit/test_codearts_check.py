"""CodeArts Check: every answer, documented or hostile, and what it says of the one task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import DeploymentFault
from shared.findings import Finding, Verdict, resolve
from shared.http import NoAnswer, Response
from shared.huawei.codearts_check import CodeArtsCheck
from shared.planning import StopAll
from tests.fakes import BATCH, CHECK, NOW, Clock, FakeHttp, client_over, response, stop_of

if TYPE_CHECKING:
    from shared.planning import Call, Task

V = Verdict


def stop(*answers: Response | Exception) -> Finding:
    """Give what a stop finds out; one request is one answer."""
    http = FakeHttp(*answers)
    found = CodeArtsCheck(client_over(http)).stop(stop_of(CHECK, (CHECK.task_id,)), Clock().deadline())
    assert list(found) == [CHECK.task_id]
    (sent,) = http.sent
    assert (sent.method, sent.url, sent.body) == ("POST", "https://huawei.example/v2/tasks/2b31ed52/stop", b"")
    return found[CHECK.task_id]


def read(*answers: Response | Exception) -> Finding:
    http = FakeHttp(*answers)
    reading = CodeArtsCheck(client_over(http)).read(CHECK, (CHECK.task_id,), Clock().deadline())
    assert list(reading.findings) == [CHECK.task_id]
    assert reading.more == ()
    (sent,) = http.sent
    assert (sent.method, sent.url, sent.body) == ("GET", "https://huawei.example/v2/tasks/2b31ed52/progress", None)
    return reading.findings[CHECK.task_id]


def error(code: str, status: int, **headers: str) -> Response:
    return response({"error_code": code, "error_msg": "m"}, status, **headers)


@pytest.mark.parametrize("body", [b"null", b"", b" \n"], ids=["null", "empty", "blank"])
def test_a_stop_is_taken_when_huawei_says_200_and_nothing_else(body: bytes) -> None:
    assert stop(response(body)).verdict is V.TAKEN


@pytest.mark.parametrize(
    "answer",
    [
        response({}),
        response([]),
        response(False),  # noqa: FBT003 - a JSON value
        response(0),
        response(""),
        response({"httpStatus": "OK", "result": "", "status": "error"}),
        response({"httpStatus": "OK", "result": "", "status": "success"}),
        response(b"<html>OK</html>"),
        response(b"nul"),
        response({"error_code": "CC.00050099", "error_msg": "m"}),
        response(b"", 202),
        response(b"", 204),
        response(b"", 302, location="http://127.0.0.1:1/"),
        error("CC.00059901.400", 400),
        error("CC.00050014", 400),
        error("CC.00050014.400", 400),
        response({"detail": "no"}, 403),
        response(b"not found", 404),
    ],
)
def test_a_stop_is_unclear_when_the_answer_is_any_other(answer: Response) -> None:
    assert stop(answer).verdict is V.UNCLEAR


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        # The stop may have been taken: the state must be read before it is sent again.
        (NoAnswer("read timed out"), V.IN_DOUBT),
        (error("CC.00000000.400", 400), V.IN_DOUBT),
        (error("CC.00050006", 200), V.IN_DOUBT),
        (response(b"<html>", 502), V.IN_DOUBT),
        (error("APIGW.0201", 502), V.IN_DOUBT),
        (error("APIC.0201", 504), V.IN_DOUBT),
        (error("CC.00050010.500", 403), V.IN_DOUBT),
        (error("CC.12345678", 409), V.IN_DOUBT),
        (error("CC.12345678", 423), V.IN_DOUBT),
        # It was not:
        (NoAnswer("connection refused", was_sent=False), V.UNFINISHED),
        (error("CC.00050012", 400), V.UNFINISHED),
        (error("APIGW.0308", 429), V.UNFINISHED),
        (error("CC.00050010", 403), V.REFUSED),
        (error("APIGW.0201", 413), V.REFUSED),
    ],
)
def test_an_error_of_the_table_settles_a_stop(answer: Response | Exception, verdict: Verdict) -> None:
    assert stop(answer).verdict is verdict


def test_a_throttle_s_words_and_wait_are_kept() -> None:
    found = stop(error("APIGW.0308", 429, retry_after="5", x_request_id="r-1"))
    assert found == Finding(V.UNFINISHED, "APIGW.0308", "m", "r-1", retry_after=5.0, throttled=True)


@pytest.mark.parametrize(
    ("state", "verdict"), [(0, V.RUNS), (1, V.ENDED), (2, V.ENDED), (3, V.STOPPED), (None, V.ENDED)]
)
@pytest.mark.parametrize("progress", [None, {"ratio": "50%", "info": "running"}, "anything"])
def test_each_documented_state_is_read(state: int | None, verdict: Verdict, progress: Any) -> None:
    assert read(response({"task_status": state, "progress": progress})).verdict is verdict


@pytest.mark.parametrize("state", [4, -1, 10**4000, True, False, "0", "", 0.0, 1.5, [], {}, [0]])
def test_a_state_that_is_not_documented_is_read_again(state: object) -> None:
    assert read(response({"task_status": state})).verdict is V.UNFINISHED


@pytest.mark.parametrize(
    "answer",
    [
        response(),
        response(b""),
        response({}),
        response([0]),
        response(b"<html>"),
        response(b'{"task_status": NaN}'),
        response({"progress": {"task_status": 0}}),
        NoAnswer("cut"),
        response(b"", 503),
        error("APIGW.0308", 429),
        error("CC.00050002", 200),
    ],
)
def test_an_answer_without_a_state_is_read_again(answer: Response | Exception) -> None:
    assert read(answer).verdict is V.UNFINISHED


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (error("CC.00050014", 400), V.NOT_FOUND),
        (error("CC.00050014.400", 200), V.NOT_FOUND),
        (error("CC.12345678", 404), V.NOT_FOUND),
        (error("CC.00050010", 403), V.REFUSED),
        (error("CC.12345678.400", 400), V.REFUSED),
    ],
)
def test_a_read_that_is_refused_ends_in_a_result(answer: Response, verdict: Verdict) -> None:
    assert read(answer).verdict is verdict


@pytest.mark.parametrize(
    "answer",
    [
        response(b"not found", 404),
        response({"code": 404, "message": "Not Found"}, 404),
        response(b"", 204),
        response(b"", 302),
        response(b"<html>", 403),
    ],
)
def test_a_read_answered_by_somebody_else_is_the_deployment_s_fault(answer: Response) -> None:
    with pytest.raises(DeploymentFault, match=r"CODEARTS_CHECK_ENDPOINT answered \d+ without an error of CodeArts"):
        read(answer)


@pytest.mark.parametrize(
    ("call", "task"), [(StopAll(BATCH, NOW), BATCH), (stop_of(BATCH, ("d1",)), CHECK)], ids=["all", "a batch task"]
)
def test_what_is_no_check_task_is_never_sent(call: Call, task: Task) -> None:
    http = FakeHttp(response())
    check = CodeArtsCheck(client_over(http))
    with pytest.raises(TypeError):
        check.stop(call, Clock().deadline())
    with pytest.raises(TypeError):
        check.read(task, ("another",), Clock().deadline())
    assert http.sent == []


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda j: st.lists(j) | st.dictionaries(st.text(), j)
)


@given(st.sampled_from([200, 201, 204, 302, 400, 403, 404, 409, 418]), _JSON)
def test_taken_is_said_of_no_answer_but_200_null(status: int, body: object) -> None:
    verdict = stop(response(body, status)).verdict
    assert (verdict is V.TAKEN) is (status == 200 and body is None)


@pytest.mark.parametrize("state", [V.STOPPING, V.STOPPED, V.ENDED, V.NOT_FOUND, V.UNFINISHED])
@pytest.mark.parametrize("code", [None, "CC.00059901.400"])
def test_an_unclear_stop_is_settled_by_the_state_read_afterwards(state: Verdict, code: str | None) -> None:
    assert resolve(Finding(V.UNCLEAR, code), Finding(state)).verdict is state


def test_what_still_runs_was_denied_if_huawei_gave_a_code_and_is_else_tried_again() -> None:
    runs = Finding(V.RUNS)
    assert resolve(Finding(V.UNCLEAR, "CC.1", "m", "r"), runs) == Finding(V.DENIED, "CC.1", "m", "r")
    assert resolve(Finding(V.UNCLEAR), runs).verdict is V.UNFINISHED


@pytest.mark.parametrize("code", [None, "CC.1"])
def test_when_neither_the_stop_nor_the_read_is_let_through_the_better_words_are_kept(code: str | None) -> None:
    found = resolve(Finding(V.UNCLEAR, code), Finding(V.REFUSED, "CC.00050010"))
    assert (found.verdict, found.error_code) == (V.REFUSED, code or "CC.00050010")


@pytest.mark.parametrize("said", [V.TAKEN, V.UNCLEAR])
def test_a_read_says_neither_taken_nor_unclear(said: Verdict) -> None:
    with pytest.raises(ValueError, match="a read cannot say"):
        resolve(Finding(V.UNCLEAR), Finding(said))

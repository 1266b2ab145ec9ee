"""IoTDA batch tasks: every answer, documented or hostile, and what it says of each target."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.huawei import PROJECT_ID, AccessKey, HuaweiStandIn, Scenario
from local.huawei import BatchTask as ToldTask
from shared.errors import DeploymentFault
from shared.findings import Finding, Verdict
from shared.http import Http, NoAnswer, Response
from shared.huawei.client import HuaweiClient, signing_for
from shared.huawei.credentials import Credentials, FixedCredentials
from shared.huawei.iotda import TARGETS_PER_PAGE, IoTDA
from shared.outcomes import Outcome, Result, Status, Tally, TargetResult
from shared.planning import BatchTask, StopAll
from tests.fakes import BATCH, CHECK, NOW, Clock, FakeHttp, client_over, response, stop_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from shared.findings import Reading

V = Verdict


def said(target: str, status: str = "success", code: object = None, message: object = None) -> dict[str, object]:
    told = {"target": target, "status": status, "error_code": code, "error_msg": message}
    return {name: value for name, value in told.items() if value is not None}


def stop(answer: Response | Exception, *targets: str) -> dict[str, Finding]:
    """Give what one stop finds out; all of the task without `targets`."""
    http = FakeHttp(answer)
    call = stop_of(BATCH, targets) if targets else StopAll(BATCH, NOW)
    found = IoTDA(client_over(http)).stop(call, Clock().deadline())
    (sent,) = http.sent
    assert json.loads(sent.body or b"") == ({"targets": list(targets)} if targets else {})
    return found


def verdicts(found: Mapping[str, Finding]) -> dict[str, Verdict]:
    return {target: finding.verdict for target, finding in found.items()}


# --- stops


def test_each_target_has_its_own_answer() -> None:
    answer = [said("d1"), said("d2", "failure", "IOTDA.014219", "not in the task")]
    found = stop(response({"targets": answer}, x_request_id="r-1"), "d1", "d2")
    assert found["d1"] == Finding(V.TAKEN)
    assert found["d2"] == Finding(V.NOT_FOUND, "IOTDA.014219", "not in the task", "r-1")


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        ("IOTDA.014219", V.NOT_FOUND),
        ("CC.00050010", V.REFUSED),
        ("IOTDA.000001", V.UNFINISHED),
        ("IOTDA.021101", V.UNFINISHED),
        ("APIGW.0308", V.UNFINISHED),
        # What the state decides: unknown codes, none, and what no target's answer could settle.
        ("IOTDA.014220", V.UNCLEAR),
        (14220, V.UNCLEAR),
        ("", V.UNCLEAR),
        (None, V.UNCLEAR),
        ("IOTDA.000002", V.UNCLEAR),
        ("IOTDA.000021", V.UNCLEAR),
    ],
)
def test_a_failure_of_one_target_means_what_its_code_says(code: object, verdict: Verdict) -> None:
    found = stop(response({"targets": [said("d1", "failure", code), said("d2")]}), "d1", "d2")
    assert verdicts(found) == {"d1": verdict, "d2": V.TAKEN}


@pytest.mark.parametrize(
    "answers",
    [
        [],
        [said("d2")],
        [said("d1", "Success")],
        [said("d1", "")],
        [said("d1", "done")],
        [said("d1", "failure")],
        [said("d1", "success", "IOTDA.014219")],
        [said("d1"), said("d1", "failure", "IOTDA.014219")],
        [said("d1", "failure", "IOTDA.014219"), said("d1")],
        [said("d1"), said("d1", "failure"), said("d1")],
    ],
    ids=json.dumps,
)
def test_a_target_without_one_clear_answer_is_unclear(answers: list[object]) -> None:
    assert verdicts(stop(response({"targets": answers}), "d1")) == {"d1": V.UNCLEAR}


def test_a_target_answered_twice_alike_is_answered() -> None:
    assert verdicts(stop(response({"targets": [said("d1"), said("d1")]}), "d1")) == {"d1": V.TAKEN}


@pytest.mark.parametrize("extra", [said("d9"), said("*"), said("\ud800"), said("")], ids=json.dumps)
def test_a_target_that_was_not_asked_for_is_not_told_of(extra: object) -> None:
    assert set(stop(response({"targets": [said("d1"), extra]}), "d1")) == {"d1"}


NO_ANSWER_ON_TARGETS = [
    response(),
    response(b""),
    response({}),
    response([]),
    response(b"<html>OK</html>"),
    response(b'{"targets": [{"target": "d1", "status": "succ'),
    response({"targets": None}),
    response({"targets": "d1"}),
    response({"targets": ["d1"]}),
    response({"targets": [{"target": "d1"}]}),
    response({"targets": [{"status": "success"}]}),
    response({"targets": [{"target": None, "status": "success"}]}),
    response({"targets": [{"target": "d1", "status": 1}]}),
    response({"targets": [{"target": "d1", "status": None}]}),
    response({"targets": [said("no device id")]}),
    response(b"", 204),
    response(b"", 302, location="http://127.0.0.1:1/"),
]
REFUSALS_OF_THE_CALL = [
    (response({"error_code": "IOTDA.099999", "error_msg": "m"}), V.UNCLEAR),
    (response({"error_code": "IOTDA.014221", "error_msg": "ended"}, 400), V.UNCLEAR),
    (response({"error_code": "IOTDA.014219", "error_msg": "The target is not in the task"}, 400), V.UNCLEAR),
    (response({"error_code": "IOTDA.001000"}, 403), V.UNCLEAR),
    (response(b"<html>", 404), V.UNCLEAR),
    (response({"error_code": "IOTDA.014223"}, 404), V.NOT_FOUND),
    (response({"error_code": "APIGW.0201"}, 400), V.REFUSED),
]


@pytest.mark.parametrize("answer", NO_ANSWER_ON_TARGETS)
def test_an_answer_that_is_none_leaves_every_target_unclear(answer: Response) -> None:
    assert verdicts(stop(answer, "d1", "d2")) == {"d1": V.UNCLEAR, "d2": V.UNCLEAR}
    assert verdicts(stop(answer)) == {"*": V.UNCLEAR}


@pytest.mark.parametrize(("answer", "alone"), REFUSALS_OF_THE_CALL)
def test_a_refusal_of_a_call_with_several_targets_says_nothing_about_each_of_them(
    answer: Response, alone: Verdict
) -> None:
    assert verdicts(stop(answer, "d1", "d2")) == {"d1": V.CALL_REFUSED, "d2": V.CALL_REFUSED}
    assert verdicts(stop(answer, "d1")) == {"d1": alone}
    assert verdicts(stop(answer)) == {"*": alone}


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (NoAnswer("read timed out"), V.UNFINISHED),
        (response({"error_code": "IOTDA.000001"}, 500), V.UNFINISHED),
        (response({"error_code": "IOTDA.000001", "targets": [said("d1")]}), V.UNFINISHED),
        (response({"error_code": "IOTDA.021102"}, 403), V.UNFINISHED),
        (response({"error_code": "IOTDA.014219"}, 500), V.UNFINISHED),
        (response({"error_code": "IOTDA.014219"}, 429), V.UNFINISHED),
        (response(b"<html>", 502), V.UNFINISHED),
        (response({"error_code": "APIGW.0201", "error_msg": "Backend unavailable"}, 502), V.UNFINISHED),
        (response({"error_code": "IOTDA.014299", "error_msg": "being changed by another request"}, 409), V.IN_DOUBT),
        (response({"error_code": "IOTDA.014299", "error_msg": "being changed by another request"}, 423), V.IN_DOUBT),
    ],
)
def test_an_error_of_the_table_settles_every_target(answer: Response | Exception, verdict: Verdict) -> None:
    assert verdicts(stop(answer, "d1", "d2")) == {"d1": verdict, "d2": verdict}
    assert verdicts(stop(answer)) == {"*": verdict}


def test_a_stop_of_all_tells_of_the_task_and_of_what_huawei_lists() -> None:
    listed = [said("d1"), said("d2", "failure", "IOTDA.000001")]
    assert verdicts(stop(response({"targets": listed}))) == {"*": V.TAKEN, "d1": V.TAKEN, "d2": V.UNFINISHED}
    assert verdicts(stop(response({"targets": []}))) == {"*": V.TAKEN}


@pytest.mark.parametrize("target", ["*", "no device id", "\ud800", "", "d" * 257], ids=ascii)
def test_a_stop_of_all_that_lists_what_is_no_device_is_unclear(target: str) -> None:
    """Else it could stand for the whole task, or come back in a remainder that nobody would take."""
    assert verdicts(stop(response({"targets": [said(target, "failure")]}))) == {"*": V.UNCLEAR}


_WORDS = st.none() | st.integers() | st.sampled_from(["success", "failure", "IOTDA.014219", "IOTDA.000001", "x", ""])
_ENTRY = st.fixed_dictionaries(
    {"target": st.sampled_from(["d1", "d2", "d3"])},
    optional={"status": _WORDS, "error_code": _WORDS, "error_msg": _WORDS},
)


@given(st.sampled_from([200, 201, 302, 400, 403, 404]), st.lists(_ENTRY, max_size=5))
def test_taken_is_said_only_where_huawei_said_success_and_nothing_else(status: int, entries: list[Any]) -> None:
    for target, finding in stop(response({"targets": entries}, status), "d1", "d2").items():
        own = [entry for entry in entries if entry["target"] == target]
        is_said = bool(own) and all(
            entry.get("status") == "success" and entry.get("error_code") in {None, ""} for entry in own
        )
        assert finding.verdict is not V.TAKEN or (status == 200 and is_said)


@pytest.mark.parametrize("character", ["😀", '"', "\\", "\0", "\ud800", "\u2028"], ids=ascii)
def test_the_longest_words_about_a_hundred_targets_fit_into_an_event(character: str) -> None:
    words = character * 9_000
    finding = Finding(V.REFUSED, words, words, words)
    result = TargetResult(
        target="t" * 256,
        result=Result.REFUSED,
        error_code=finding.error_code,
        error_msg=finding.error_msg,
        request_id=finding.request_id,
    )
    outcome = Outcome(
        outcome_id="0" * 32,
        command_id="c" * 64,
        command="stop_targets",
        status=Status.IN_PROGRESS,
        attempt=1,
        task_id="f" * 24,
        project_id="p" * 64,
        instance_id="i" * 36,
        requested_at=NOW,
        requested_by="☂" * 128,
        reason="\0" * 512,
        traceparent=None,
        tracestate=None,
        occurred_at=NOW,
        results=(result,) * 100,
        tally=Tally(),
        confirmed=None,
        errors=(),
    )
    assert len(outcome.to_json().encode()) < 256 * 1024


def test_a_check_task_is_never_sent_here() -> None:
    http = FakeHttp(response({"targets": []}))
    iotda = IoTDA(client_over(http))
    with pytest.raises(TypeError):
        iotda.stop(stop_of(CHECK, (CHECK.task_id,)), Clock().deadline())
    with pytest.raises(TypeError):
        iotda.read(CHECK, (CHECK.task_id,), Clock().deadline())
    assert http.sent == []


# --- reads


def page(
    *details: tuple[str, str],
    status: str = "Processing",
    total: object = None,
    count: object = None,
    marker: object = None,
) -> Response:
    return response(
        {
            "batchtask": {"status": status, "task_progress": {"total": total}},
            "task_details": [{"target": target, "status": state} for target, state in details],
            "page": {"count": count, "marker": marker},
        }
    )


def whole(iotda: IoTDA, task: BatchTask, targets: tuple[str, ...]) -> dict[str, Finding]:
    """Read to the end, as the execution does."""
    found: dict[str, Finding] = {}
    deadline = Clock().deadline()
    readings: list[Reading] = [iotda.read(task, targets, deadline)]
    while readings:
        reading = readings.pop()
        # Only what a page in trouble left unfinished is told again.
        assert all(found[each].verdict is Verdict.UNFINISHED for each in found.keys() & reading.findings.keys())
        found |= reading.findings
        readings += [more(deadline) for more in reading.more]
    assert found.keys() == set(targets)
    return found


def read(targets: tuple[str, ...], *answers: Response | Exception) -> tuple[dict[str, Verdict], list[str]]:
    """Give what a read finds out, and the queries that it took."""
    http = FakeHttp(*answers)
    found = whole(IoTDA(client_over(http)), BATCH, targets)
    assert {(sent.method, sent.url.partition("?")[0]) for sent in http.sent} == {
        ("GET", "https://huawei.example/v5/iot/project-1/batchtasks/5f1ac5c3e4b0")
    }
    return verdicts(found), [sent.url.partition("?")[2] for sent in http.sent]


@pytest.mark.parametrize(
    ("task", "target", "verdict"),
    [
        ("Processing", "Processing", V.RUNS),
        ("Processing", "Waitting", V.RUNS),
        ("Processing", "FailWaitRetry", V.RUNS),
        ("Processing", "Stopped", V.STOPPED),
        ("Processing", "Success", V.ENDED),
        ("Processing", "Fail", V.ENDED),
        ("Processing", "Removed", V.ENDED),
        ("Stopping", "Processing", V.STOPPING),
        ("Stopping", "Stopped", V.STOPPED),
        ("Stopped", "Processing", V.STOPPED),
        ("Waitting", "Waitting", V.RUNS),
        ("Initializing", "Waitting", V.RUNS),
        # Not documented: read again.
        ("Processing", "Waiting", V.UNFINISHED),
        ("Processing", "", V.UNFINISHED),
        ("Paused", "Processing", V.UNFINISHED),
        ("Paused", "Success", V.ENDED),
    ],
)
def test_each_state_of_a_target_is_read(task: str, target: str, verdict: Verdict) -> None:
    assert read(("d1",), page(("d1", target), status=task)) == ({"d1": verdict}, ["limit=1&target=d1"])


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        ("Initializing", V.RUNS),
        ("Waitting", V.RUNS),
        ("Processing", V.RUNS),
        ("Stopping", V.STOPPING),
        ("Stopped", V.STOPPED),
        ("Success", V.ENDED),
        ("Fail", V.ENDED),
        ("PartialSuccess", V.ENDED),
        ("Waiting", V.UNFINISHED),
        ("\ud800", V.UNFINISHED),
    ],
)
def test_each_state_of_a_task_is_read(status: str, verdict: Verdict) -> None:
    assert read(("*",), page(("*", "Success"), status=status)) == ({"*": verdict}, ["limit=1"])


def test_a_target_and_its_task_are_one_read() -> None:
    found, queries = read(("*", "d:1"), page(("d:1", "Success"), status="Processing"))
    assert found == {"*": V.RUNS, "d:1": V.ENDED}
    assert queries == ["limit=1&target=d%3A1"]


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (page(total=500), V.NOT_FOUND),
        (response({"batchtask": {"status": "Processing"}}), V.NOT_FOUND),
        (response({"batchtask": {"status": "Processing"}, "task_details": None, "page": None}), V.NOT_FOUND),
        # No answer on this target: it gets its targets only now, or the filter was not heeded.
        (page(status="Initializing"), V.UNFINISHED),
        (page(("d2", "Processing")), V.UNFINISHED),
        (page(("d1", "Stopped"), ("d1", "Processing")), V.UNFINISHED),
        (response(), V.UNFINISHED),
        (response({"task_details": []}), V.UNFINISHED),
        (response({"batchtask": {"status": None}}), V.UNFINISHED),
        (page(("d1", "Success"), total=-1), V.UNFINISHED),
        (page(("d1", "Success"), marker="\ud800"), V.UNFINISHED),
        (NoAnswer("cut"), V.UNFINISHED),
        (response({"error_code": "IOTDA.021101"}, 403), V.UNFINISHED),
        (response({"error_code": "IOTDA.014223"}, 404), V.NOT_FOUND),
        (response({"error_code": "IOTDA.014219"}, 400), V.NOT_FOUND),
        (response({"error_code": "IOTDA.000006"}, 400), V.REFUSED),
        (response({"error_code": "IOTDA.014299"}, 409), V.UNFINISHED),
    ],
)
def test_a_read_without_the_target_says_no_more_than_it_knows(answer: Response | Exception, verdict: Verdict) -> None:
    assert read(("d1",), answer)[0] == {"d1": verdict}


@pytest.mark.parametrize(
    "answer",
    [response(b"", 204), response(b"", 302), response(b"<html>", 404), response({"code": 404, "message": "m"}, 404)],
)
def test_a_read_answered_by_somebody_else_is_the_deployment_s_fault(answer: Response) -> None:
    with pytest.raises(DeploymentFault, match=r"IOTDA_ENDPOINT answered \d+ without an error of IoTDA"):
        read(("d1",), answer)


RUN = "Processing"


@pytest.mark.parametrize(
    ("answers", "queries", "missing"),
    [
        # All that is counted was seen: whoever was not among it is not in the task.
        ([page(("d1", RUN), total=1)], ["limit=50"], V.NOT_FOUND),
        ([page(("d1", RUN), count=2, marker="b"), page(("d3", RUN), count=2, marker="a")],
         ["limit=50", "limit=50&marker=b"], V.NOT_FOUND),
        # The list shrinks while it is read.
        ([page(("d1", RUN), total=60, marker="b"), page(("d3", RUN), total=2, marker="a")],
         ["limit=50", "limit=50&marker=b"], V.NOT_FOUND),
        # It ends before: what is left is asked for by name.
        ([page(("d1", RUN), total=60), page(("d2", RUN))], ["limit=50", "limit=1&target=d2"], V.RUNS),
        ([page(("d1", RUN), total=60, marker=""), page(("d2", RUN))], ["limit=50", "limit=1&target=d2"], V.RUNS),
        ([page(("d1", RUN)), page()], ["limit=50", "limit=1&target=d2"], V.NOT_FOUND),
        ([page(("d1", RUN), total=60, marker="b"), page(total=60, marker="a"), page(("d2", RUN))],
         ["limit=50", "limit=50&marker=b", "limit=1&target=d2"], V.RUNS),
        ([page(("d1", RUN), total=60, marker="b"), page(("d3", RUN), total=60, marker="b"), page(("d2", RUN))],
         ["limit=50", "limit=50&marker=b", "limit=1&target=d2"], V.RUNS),
        # Of two counts that differ, the lower one ends nothing.
        ([page(("d1", RUN), total=0, count=60, marker="b"), page(("d2", RUN), total=0, count=60)],
         ["limit=50", "limit=50&marker=b"], V.RUNS),
        # A page in trouble is asked for again, and not those before it.
        ([page(("d1", RUN), total=60, marker="b"), NoAnswer("cut"), page(("d2", RUN))],
         ["limit=50", "limit=50&marker=b", "limit=50&marker=b"], V.RUNS),
        ([page(("d1", RUN), total=60, marker="b"), NoAnswer("cut")],
         ["limit=50"] + ["limit=50&marker=b"] * 4, V.UNFINISHED),
        ([page(("d1", RUN), total=1, status="Initializing")], ["limit=50"], V.UNFINISHED),
    ],
)  # fmt: skip
def test_paging_ends_and_a_list_cut_short_makes_nothing_not_found(
    answers: list[Response | Exception], queries: list[str], missing: Verdict
) -> None:
    assert read(("d1", "d2"), *answers) == ({"d1": V.RUNS, "d2": missing}, queries)


def pauses_of(*answers: Response | Exception) -> list[float | None]:
    """The pauses before each further page of a list whose first page names one of two targets."""
    iotda = IoTDA(client_over(FakeHttp(page(("d1", RUN), total=60, marker="b"), *answers)))
    reading = iotda.read(BATCH, ("d1", "d2"), Clock().deadline())
    pauses = []
    while reading.more:
        pauses.append(reading.pause)
        assert not any(found.throttled for found in reading.findings.values() if reading.pause is not None)
        reading = reading.more[0](Clock().deadline())
    return pauses


@pytest.mark.parametrize("trouble", [response(b"<html>", 502), response({"error_code": "APIGW.0201"}, 504)])
def test_a_page_in_trouble_is_asked_for_again_after_a_pause_and_is_no_throttle(trouble: Response) -> None:
    assert pauses_of(trouble, trouble, page(("d2", RUN))) == [None, 0.5, 1.0]
    assert pauses_of(trouble) == [None, 0.5, 1.0, 2.0]


def test_a_page_that_was_throttled_leaves_the_pause_to_the_pace() -> None:
    assert pauses_of(response({"error_code": "APIGW.0308"}, 429), page(("d2", RUN))) == [None, None]


def test_an_absurd_count_makes_no_pages_of_it() -> None:
    found, queries = read(("d1", "d2"), page(("d1", RUN), total=10**400, marker="b"), page(("d2", RUN)))
    assert (found["d2"], queries) == (V.RUNS, ["limit=50", "limit=1&target=d2"])


# --- reads from the stand-in, counted


@pytest.fixture(scope="module")
def huawei() -> Iterator[HuaweiStandIn]:
    with HuaweiStandIn() as stand_in:
        yield stand_in


@pytest.mark.enable_socket  # loop-back only
@pytest.mark.parametrize("n", [1, 49, 50, 51, 101, 300])
@pytest.mark.parametrize("k", [1, 2, 3, 5, 60, 300])
def test_targets_are_read_by_whichever_takes_fewer_calls(n: int, k: int, huawei: HuaweiStandIn) -> None:
    devices = tuple(f"d:{number}" for number in range(n))
    huawei.reset(Scenario(batch_tasks=(ToldTask(task_id="5f1a", targets=devices),)))
    key = AccessKey()
    client = HuaweiClient(
        http=Http(connections=1),
        endpoint=huawei.endpoint,
        project_id=PROJECT_ID,
        credentials=FixedCredentials(Credentials(key.ak, key.sk)),
        derived=signing_for(huawei.endpoint, region="cn-north-4", service="iotdm"),
        now=lambda: datetime.now(UTC),
    )
    # The list shows the youngest first, so these are the last to be met.
    asked = devices[:k]
    found = whole(IoTDA(client), BatchTask(PROJECT_ID, None, "5f1a"), asked)
    assert verdicts(found) == dict.fromkeys(asked, V.RUNS)
    pages = math.ceil(n / TARGETS_PER_PAGE)
    on_first_page = max(0, len(asked) - max(0, n - TARGETS_PER_PAGE))
    left = len(asked) - on_first_page
    assert len(huawei.log()) == (1 if len(asked) == 1 else 1 + min(left, pages - 1))

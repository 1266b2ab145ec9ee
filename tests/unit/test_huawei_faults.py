"""The error table, row by row, and every published code that is left out of it on purpose."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import DeploymentFault, HuaweiUnavailable
from shared.findings import Finding, Verdict
from shared.huawei.codearts_check import CodeArtsCheck
from shared.huawei.faults import TABLE, Fault, Row, fault_of, fault_of_target, fix_of
from shared.huawei.iotda import IoTDA
from shared.huawei.task_lists import CheckTaskLists
from shared.inquiry import Inquiry
from tests.fakes import BATCH, CHECK, Clock, FakeHttp, client_over, response, stop_of

F = Fault

# What each published row must mean, and the status that the documentation gives with it. Written down a second time,
# so that a change of the table is a change of mind and not a slip. CodeArts lists 200 for most of its codes.
PUBLISHED = [
    (404, ".0101", F.DEPLOYMENT),
    (404, ".0103", F.DEPLOYMENT),
    (500, ".0103", F.PASSING),
    (400, ".0104", F.DEPLOYMENT),
    (500, ".0104", F.PASSING),
    (400, ".0105", F.DEPLOYMENT),
    (500, ".0105", F.PASSING),
    (400, ".0106", F.DEPLOYMENT),
    (500, ".0107", F.PASSING),
    (404, ".0108", F.DEPLOYMENT),
    (400, ".0201", F.REFUSED),
    (413, ".0201", F.REFUSED),
    (414, ".0201", F.REFUSED),
    (494, ".0201", F.REFUSED),
    (500, ".0201", F.PASSING),
    (502, ".0201", F.PASSING),
    (504, ".0201", F.PASSING),
    (502, ".0202", F.PASSING),
    (504, ".0203", F.PASSING),
    (400, ".0204", F.DEPLOYMENT),
    (401, ".0301", F.CREDENTIALS),
    (403, ".0302", F.DEPLOYMENT),
    (401, ".0303", F.CREDENTIALS),
    (403, ".0304", F.DEPLOYMENT),
    (401, ".0305", F.CREDENTIALS),
    (403, ".0306", F.DEPLOYMENT),
    (401, ".0307", F.CREDENTIALS),
    (429, ".0308", F.THROTTLED),
    (403, ".0310", F.DEPLOYMENT),
    (403, ".0401", F.DEPLOYMENT),
    (403, ".0402", F.DEPLOYMENT),
    (405, ".0502", F.DEPLOYMENT),
    (500, ".0705", F.PASSING),
    (403, ".0801", F.DEPLOYMENT),
    (403, ".0802", F.DEPLOYMENT),
    (400, "CC.00000000", F.PASSING),
    (401, "CC.00000003", F.CREDENTIALS),
    (200, "CC.00050001", F.PASSING),
    (200, "CC.00050002", F.PASSING),
    (200, "CC.00050003", F.PASSING),
    (200, "CC.00050004", F.PASSING),
    (200, "CC.00050006", F.PASSING),
    (200, "CC.00050007", F.DEPLOYMENT),
    (200, "CC.00050010", F.REFUSED),
    (200, "CC.00050011", F.DEPLOYMENT),
    (200, "CC.00050012", F.THROTTLED),
    (200, "CC.00050014", F.UNCLEAR),
    (500, "IOTDA.000001", F.PASSING),
    (401, "IOTDA.000002", F.CREDENTIALS),
    (403, "IOTDA.000004", F.CREDENTIALS),
    (500, "IOTDA.000020", F.PASSING),
    (403, "IOTDA.000021", F.DEPLOYMENT),
    (403, "IOTDA.021101", F.THROTTLED),
    (403, "IOTDA.021102", F.THROTTLED),
]

# Published, and not in the table: the status decides, or the state that is read back.
LEFT_OUT = [
    (503, None, F.PASSING, "IAM is unavailable"),
    (200, "CC.00050000", F.UNCLEAR, "parameters not valid; our ids are checked, so the read decides"),
    (200, "CC.00050005", F.UNCLEAR, "creating a task failed, which is not asked for"),
    (200, "CC.00050013", F.UNCLEAR, "the project does not exist; no project is named in a stop"),
    (200, "CC.00050015", F.UNCLEAR, "the task is running, of a start"),
    (200, "CC.00050016", F.UNCLEAR, "creating a task failed"),
    (200, "CC.00070400.500", F.PASSING, "too many issues; a server fault by its suffix"),
    (400, "IOTDA.000006", F.UNCLEAR, "invalid input"),
    (400, "IOTDA.000008", F.UNCLEAR, "invalid input"),
    (400, "IOTDA.000009", F.UNCLEAR, "invalid input"),
    (400, "IOTDA.000010", F.UNCLEAR, "invalid input"),
    (400, "IOTDA.000017", F.UNCLEAR, "invalid input"),
    (400, "IOTDA.000018", F.UNCLEAR, "invalid input"),
    (403, "IOTDA.001000", F.UNCLEAR, "the app does not exist; no app is named"),
    (403, "IOTDA.001002", F.UNCLEAR, "the app is not authorized"),
    (400, "IOTDA.001005", F.UNCLEAR, "no app named, of lists only"),
    (404, "IOTDA.001006", F.NOT_FOUND, "an app not found, with IoTDA's own 404"),
    (403, "IOTDA.001007", F.UNCLEAR, "the app belongs to another"),
    (403, "IOTDA.014016", F.UNCLEAR, "the device is offline; its task may be stopped all the same"),
    (200, "IOTDA.014111", F.UNCLEAR, "a synchronous command timed out"),
    (403, "IOTDA.014112", F.UNCLEAR, "the device has not subscribed"),
    (400, "IOTDA.014307", F.UNCLEAR, "certificate not verified"),
    (400, "IOTDA.000029", F.UNCLEAR, "third parties only"),
    (404, "IOTDA.014000", F.NOT_FOUND, "third parties only; IoTDA's own 404"),
    (400, "IOTDA.014115", F.UNCLEAR, "third parties only"),
    (400, "IOTDA.014204", F.UNCLEAR, "third parties only"),
]


def whole(code: str) -> list[str]:
    return [f"{prefix}{code}" for prefix in ("APIGW", "APIG", "APIC")] if code.startswith(".") else [code]


@pytest.mark.parametrize(
    ("status", "code", "fault"),
    [(status, code, fault) for status, short, fault in PUBLISHED for code in whole(short)],
)
def test_a_published_error_means_what_its_page_says(status: int, code: str, fault: Fault) -> None:
    assert fault_of(status, code) is fault


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.code)
def test_every_row_of_the_table_is_published_and_says_from_where(row: Row) -> None:
    published = {fault for status, code, fault in PUBLISHED if code == row.code and (status < 500 or len(row.code) > 5)}
    always_500 = row.code in {".0107", ".0202", ".0203", ".0705"}
    assert published == (set() if always_500 or row.of_target else {row.fault})
    assert row.source in {"Check", "Stop a check", "IoTDA", "Stop a batch", "Gateway"}
    assert row.meaning
    assert bool(row.fix) is (row.fault is F.DEPLOYMENT)


def test_the_table_has_one_row_a_code() -> None:
    assert len({row.code for row in TABLE}) == len(TABLE)


@pytest.mark.parametrize(("status", "code", "fault", "why"), LEFT_OUT)
def test_a_published_error_that_is_left_out_is_judged_by_its_status_or_by_the_state(
    status: int, code: str | None, fault: Fault, why: str
) -> None:
    assert fault_of(status, code) is fault, why
    assert code not in {row.code for row in TABLE}


@pytest.mark.parametrize(
    ("status", "fault"),
    [
        (401, F.CREDENTIALS),
        (408, F.PASSING),
        (429, F.THROTTLED),
        (500, F.PASSING),
        (502, F.PASSING),
        (504, F.PASSING),
        (505, F.PASSING),
        (200, F.UNCLEAR),
        (204, F.UNCLEAR),
        (302, F.UNCLEAR),
        (400, F.UNCLEAR),
        (403, F.UNCLEAR),
        (404, F.UNCLEAR),
        (405, F.UNCLEAR),
        (409, F.CONFLICT),
        (423, F.CONFLICT),
        (425, F.PASSING),
    ],
)
@pytest.mark.parametrize("code", [None, "XYZ.1", "CC.99999999", "APIGW.9999", "CC.xxxxxxxx.400"])
def test_an_unknown_code_leaves_it_to_the_status(status: int, fault: Fault, code: str | None) -> None:
    assert fault_of(status, code) is fault


@pytest.mark.parametrize(
    ("status", "code", "fault"),
    [
        (400, "CC.00000000.400", F.PASSING),
        (401, "CC.00000003.401", F.CREDENTIALS),
        (200, "CC.00050012.200", F.THROTTLED),
        (200, "CC.12345678.500", F.PASSING),
        (400, "CC.12345678.500", F.PASSING),
        (200, "CC.12345678.400", F.UNCLEAR),
        (500, "CC.12345678.400", F.PASSING),
    ],
)
def test_the_status_behind_a_code_of_codearts_counts_if_it_is_worse(status: int, code: str, fault: Fault) -> None:
    assert fault_of(status, code) is fault


def test_a_404_is_not_found_only_in_iotda_s_own_words() -> None:
    assert fault_of(404, "IOTDA.014223") is F.NOT_FOUND
    assert {fault_of(404, code) for code in (None, "404", "CC.12345678")} == {F.UNCLEAR}


# --- the status decides first


CODES = st.sampled_from([code for row in TABLE for code in whole(row.code)]).flatmap(
    lambda code: (
        st.just(code) | st.integers(200, 599).map(lambda suffix: f"{code}.{suffix}")
        if code.startswith("CC.")
        else st.just(code)
    )
)


@given(st.integers(200, 599), CODES | st.none() | st.text(max_size=20))
def test_a_server_error_is_transient_and_429_a_throttle_whatever_the_code(status: int, code: str | None) -> None:
    fault = fault_of(status, code)
    if status >= 500:
        assert fault in {F.PASSING, F.THROTTLED}
    if status == 429:
        assert fault is F.THROTTLED
    if fault is F.NOT_FOUND:
        assert (status, str(code)[:6]) == (404, "IOTDA.")
    if fault is F.CONFLICT:
        assert status in {409, 423}


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.code)
def test_every_row_at_every_status_leaves_open_what_a_server_error_left_open(row: Row) -> None:
    """Through each of the readers of answers: of a stop, of a state, and of a list."""
    for code in whole(row.code):
        for status in (*range(200, 209), *range(300, 309), *range(400, 600)):
            http = FakeHttp(response({"error_code": code, "error_msg": "said"}, status))
            if status < 500 and status != 429:
                with suppress(DeploymentFault):  # must have a meaning, whatever it is
                    findings_of(http)
                continue
            found = findings_of(http)
            assert {each.verdict for each in found} <= {Verdict.UNFINISHED, Verdict.IN_DOUBT}, status
            assert status != 429 or all(each.throttled for each in found)
            with pytest.raises(HuaweiUnavailable):
                list_check_tasks(http)


def findings_of(http: FakeHttp) -> list[Finding]:
    """What both services make of an answer to a stop and to a read."""
    deadline = Clock().deadline()
    check, iotda = CodeArtsCheck(client_over(http)), IoTDA(client_over(http))
    return [
        *check.stop(stop_of(CHECK, (CHECK.task_id,)), deadline).values(),
        *check.read(CHECK, (CHECK.task_id,), deadline).findings.values(),
        *iotda.stop(stop_of(BATCH, ("d1", "d2")), deadline).values(),
        *iotda.read(BATCH, ("d1", "d2"), deadline).findings.values(),
    ]


def list_check_tasks(http: FakeHttp) -> None:
    clock = Clock()
    ask = Inquiry(pace=clock.pace(), patience=clock.patience(), deadline=clock.deadline(20)).ask
    CheckTaskLists(client_over(http)).tasks("project-1", ask)


def test_a_code_about_one_target_counts_in_the_list_of_targets_alone() -> None:
    assert fault_of_target("IOTDA.014219") is F.NOT_FOUND
    assert {fault_of(status, "IOTDA.014219") for status in (200, 400, 403)} == {F.UNCLEAR}


@given(st.text(max_size=20) | CODES)
def test_a_code_beside_a_target_means_the_same_as_an_answer_with_status_200(code: str) -> None:
    if code != "IOTDA.014219":
        assert fault_of_target(code) is fault_of(200, code)


def test_a_fault_of_the_deployment_says_how_to_fix_it() -> None:
    assert fix_of("APIG.0502") == "top up the account's balance, or unfreeze it"
    assert fix_of("APIGW.0308") == fix_of("XYZ.1") == fix_of(None) == ""


@given(st.integers(100, 599), st.none() | st.text(max_size=20) | st.from_regex(r"CC\.\d{8}(\.\d{3})?"))
def test_no_status_and_code_are_without_a_meaning(status: int, code: str | None) -> None:
    assert isinstance(fault_of(status, code), Fault)

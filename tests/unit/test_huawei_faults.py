"""The error table, row by row, and every published code that is left out of it on purpose."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.huawei.faults import TABLE, Fault, Row, fault_of

F = Fault

# What each published row must mean, and the status that the documentation gives with it. Written down a second time,
# so that a change of the table is a change of mind and not a slip. CodeArts lists 200 for most of its codes.
PUBLISHED = [
    (404, ".0101", F.DEPLOYMENT),
    (404, ".0103", F.DEPLOYMENT),
    (400, ".0201", F.REFUSED),
    (413, ".0201", F.REFUSED),
    (401, ".0301", F.CREDENTIALS),
    (429, ".0308", F.THROTTLED),
    (403, ".0401", F.DEPLOYMENT),
    (403, ".0402", F.DEPLOYMENT),
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
    (200, "IOTDA.014219", F.NOT_FOUND),
    (403, "IOTDA.021101", F.THROTTLED),
    (403, "IOTDA.021102", F.THROTTLED),
]

# Published, and not in the table: the status decides, or the state that is read back.
LEFT_OUT = [
    (400, "APIGW.0104", F.UNCLEAR, "no back end could be routed to; the read meets the same"),
    (400, "APIGW.0105", F.UNCLEAR, "same"),
    (400, "APIGW.0106", F.UNCLEAR, "same"),
    (500, "APIGW.0705", F.PASSING, "signing toward the back end failed: any 5xx passes"),
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
    assert {(code, fault) for _, code, fault in PUBLISHED if code == row.code} == {(row.code, row.fault)}
    assert row.source in {"Check", "Stop a check", "IoTDA", "Stop a batch", "Gateway"}
    assert row.meaning


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
        (409, F.UNCLEAR),
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


@given(st.integers(100, 599), st.none() | st.text(max_size=20) | st.from_regex(r"CC\.\d{8}(\.\d{3})?"))
def test_no_status_and_code_are_without_a_meaning(status: int, code: str | None) -> None:
    assert isinstance(fault_of(status, code), Fault)

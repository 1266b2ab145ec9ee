"""The official SDK works against the stand-in unchanged: what the SDK takes for Huawei Cloud, Stopline may too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from huaweicloudsdkcodeartscheck.v2 import (
    CheckRecordRequest,
    CodeArtsCheckClient,
    ShowProgressDetailRequest,
    ShowTaskListByProjectIdRequest,
    StopTaskByIdRequest,
)
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcore.exceptions.exceptions import ClientRequestException
from huaweicloudsdkcore.http.http_config import HttpConfig
from huaweicloudsdkcore.region.region import Region
from huaweicloudsdkiotda.v5 import (
    BatchTargets,
    IoTDAClient,
    ListBatchTasksRequest,
    ShowBatchTaskRequest,
    StopBatchTaskRequest,
)

from local.huawei import (
    CHECK_PROJECT_ID,
    PROJECT_ID,
    AccessKey,
    BatchTask,
    CheckRun,
    CheckTask,
    HuaweiStandIn,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# The SDK's signer calls datetime.utcnow() for every request (huaweicloudsdkcore/signer/signer.py).
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")

KEY = AccessKey()
TEMPORARY_KEY = AccessKey(ak="AKTEMPORARY", sk="SKTEMPORARY", security_token="a-long-token")


@pytest.fixture(autouse=True)
def _no_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # The SDK reads ~/.huaweicloud/credentials and writes ~/.huaweicloud/application_id.
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def huawei() -> Iterator[HuaweiStandIn]:
    with HuaweiStandIn() as stand_in:
        yield stand_in


def check_client(huawei: HuaweiStandIn, key: AccessKey = KEY) -> Any:
    return (
        CodeArtsCheckClient.new_builder()
        .with_credentials(_credentials(key))
        .with_endpoint(huawei.endpoint)
        .with_http_config(_config())
        .build()
    )


def iotda_client(
    huawei: HuaweiStandIn, key: AccessKey = KEY, *, derived: bool = True, region: str = "cn-north-4"
) -> Any:
    credentials = _credentials(key)
    if derived:
        credentials = credentials.with_derived_predicate(BasicCredentials.get_default_derived_predicate())
    return (
        IoTDAClient.new_builder()
        .with_credentials(credentials)
        .with_region(Region(region, huawei.endpoint))
        .with_http_config(_config())
        .build()
    )


def _credentials(key: AccessKey) -> Any:
    credentials = BasicCredentials(key.ak, key.sk, PROJECT_ID)
    return credentials if key.security_token is None else credentials.with_security_token(key.security_token)


def _config() -> Any:
    config = HttpConfig.get_default_config()
    config.user_agent = "stopline-tests"
    return config


def test_a_running_check_is_stopped(huawei: HuaweiStandIn) -> None:
    huawei.add(CheckTask(task_id="c1"), CheckTask(task_id="c2"))
    client = check_client(huawei)
    assert client.show_progress_detail(ShowProgressDetailRequest(task_id="c1")).task_status == 0
    client.stop_task_by_id(StopTaskByIdRequest(task_id="c1"))
    assert client.show_progress_detail(ShowProgressDetailRequest(task_id="c1")).task_status == 3
    assert huawei.state().check_tasks == {"c1": "stopped", "c2": "checking"}
    assert [record.effect for record in huawei.log()] == [(), ("c1",), ()]
    assert {record.signing for record in huawei.log()} == {"plain"}
    assert huawei.summary().violations == {}


@pytest.mark.parametrize(
    ("status", "number", "ratio", "info"),
    [
        ("checking", 0, "50%", "running"),
        ("failed", 1, None, None),
        ("success", 2, "100%", "success"),
        ("stopped", 3, None, None),
        ("never_checked", None, None, None),
    ],
)
def test_progress_has_the_documented_numbers(
    huawei: HuaweiStandIn, status: Any, number: int | None, ratio: str | None, info: str | None
) -> None:
    huawei.add(CheckTask(task_id="c1", status=status))
    answer = check_client(huawei).show_progress_detail(ShowProgressDetailRequest(task_id="c1"))
    assert (answer.task_status, answer.progress.ratio, answer.progress.info) == (number, ratio, info)


def test_checks_of_a_project_are_listed_page_by_page(huawei: HuaweiStandIn) -> None:
    huawei.add(*(CheckTask(task_id=f"c{number}") for number in range(5)))
    huawei.add(CheckTask(task_id="elsewhere", project_id="another"))
    client = check_client(huawei)
    pages = [
        client.show_task_list_by_project_id(
            ShowTaskListByProjectIdRequest(project_id=CHECK_PROJECT_ID, offset=page, limit=2)
        )
        for page in range(5)
    ]
    assert [[task.task_id for task in page.tasks] for page in pages] == [
        ["c0", "c1"],
        ["c0", "c1"],
        ["c2", "c3"],
        ["c4"],
        [],
    ]
    assert {page.total for page in pages} == {5}


def test_records_of_a_check_are_read_with_the_one_that_is_not_over(huawei: HuaweiStandIn) -> None:
    over = CheckRun(check_time="2026-11-22T08:00:00Z", check_end_time="2026-11-22T09:00:00Z")
    huawei.add(CheckTask(task_id="c1", running_since="2026-11-23T08:00:00Z", records=(over,)))
    huawei.change_settings(check_records_show_running=True)
    answer = check_client(huawei).check_record(
        CheckRecordRequest(project_id=CHECK_PROJECT_ID, task_id="c1", offset=1, limit=10)
    )
    assert answer.total == 2
    assert [(record.check_time, record.check_end_time) for record in answer.data] == [
        ("2026-11-22T08:00:00Z", "2026-11-22T09:00:00Z"),
        ("2026-11-23T08:00:00Z", None),
    ]
    assert answer.data[0].issue_counts.critical == 0
    assert huawei.log()[0].operation == "list_check_records"


def test_the_sdk_asks_for_the_iam_project_when_none_is_given(huawei: HuaweiStandIn) -> None:
    huawei.add(CheckTask(task_id="c1"))
    with pytest.raises(ClientRequestException) as refused:
        check_client(huawei).show_task_list_by_project_id(ShowTaskListByProjectIdRequest())
    assert refused.value.error_code == "CC.00050013"
    assert huawei.log()[0].project_id == PROJECT_ID


def test_targets_of_a_batch_task_are_stopped_one_by_one(huawei: HuaweiStandIn) -> None:
    huawei.add(BatchTask(task_id="b1", targets=("d1", "d2"), subtasks={"d3": "Success", "d4": "FailWaitRetry"}))
    client = iotda_client(huawei)
    answer = client.stop_batch_task(
        StopBatchTaskRequest(task_id="b1", body=BatchTargets(targets=["d4", "nobody", "d3", "d1"]))
    )
    assert [(result.target, result.status, result.error_code) for result in answer.targets] == [
        ("d4", "success", None),
        ("nobody", "failure", "IOTDA.014219"),
        ("d3", "failure", "IOTDA.014220"),
        ("d1", "success", None),
    ]
    assert huawei.subtasks("b1") == {"d1": "Stopped", "d2": "Processing", "d3": "Success", "d4": "Stopped"}
    record = huawei.log()[0]
    assert (record.signing, record.targets, record.effect) == (
        "derived",
        ("d4", "nobody", "d3", "d1"),
        ("d4", "d1"),
    )
    assert record.violations == ()


def test_a_batch_task_is_shown_page_by_page(huawei: HuaweiStandIn) -> None:
    targets = tuple(f"d{number}" for number in range(7))
    huawei.add(BatchTask(task_id="b1", targets=targets, subtasks={"ended": "Success"}))
    client = iotda_client(huawei)
    seen: list[str] = []
    marker = None
    for expected in (3, 3, 1, 0):
        answer = client.show_batch_task(
            ShowBatchTaskRequest(task_id="b1", task_detail_status="Processing", limit=3, marker=marker)
        )
        assert (answer.page.count, len(answer.task_details)) == (7, expected)
        seen += [detail.target for detail in answer.task_details]
        marker = answer.page.marker
    assert marker is None
    assert sorted(seen) == sorted(targets)
    assert (answer.batchtask.status, answer.batchtask.task_progress.total) == ("Processing", 8)
    assert answer.batchtask.create_time.endswith("Z")


def test_batch_tasks_are_listed_page_by_page_with_descending_ids(huawei: HuaweiStandIn) -> None:
    ids = [f"5f1ac5c3e4b0{number:012x}" for number in range(5)]
    huawei.add(*(BatchTask(task_id=task_id, targets=("d",)) for task_id in ids))
    huawei.add(BatchTask(task_id="e" * 24, subtasks={"d": "Success"}))
    client = iotda_client(huawei)
    first = client.list_batch_tasks(ListBatchTasksRequest(task_type="firmwareUpgrade", status="Processing", limit=3))
    second = client.list_batch_tasks(
        ListBatchTasksRequest(task_type="firmwareUpgrade", status="Processing", limit=3, marker=first.page.marker)
    )
    assert [task.task_id for task in first.batchtasks + second.batchtasks] == ids[::-1]
    assert (first.page.count, second.page.count) == (5, 5)


def test_a_signature_with_a_security_token_is_accepted_by_both_services(huawei: HuaweiStandIn) -> None:
    huawei.add(TEMPORARY_KEY, CheckTask(task_id="c1"), BatchTask(task_id="b1", targets=("d1",)))
    check_client(huawei, TEMPORARY_KEY).stop_task_by_id(StopTaskByIdRequest(task_id="c1"))
    iotda_client(huawei, TEMPORARY_KEY).stop_batch_task(StopBatchTaskRequest(task_id="b1", body=BatchTargets()))
    assert [record.effect for record in huawei.log()] == [("c1",), ("d1",)]


def test_a_plain_signature_is_accepted_where_the_address_is_the_regions() -> None:
    with HuaweiStandIn() as huawei:
        huawei.change_settings(iotda_signing="plain")
        huawei.add(BatchTask(task_id="b1", targets=("d1",)))
        iotda_client(huawei, derived=False).show_batch_task(ShowBatchTaskRequest(task_id="b1"))
        assert huawei.log()[0].signing == "plain"


@pytest.mark.parametrize(("code", "status"), [("IOTDA.000002", 401), ("IOTDA.000021", 403)])
def test_a_plain_signature_is_refused_where_a_derived_one_is_demanded(
    huawei: HuaweiStandIn, code: str, status: int
) -> None:
    huawei.change_settings(iotda_wrong_signing_code=code)
    with pytest.raises(ClientRequestException) as refused:
        iotda_client(huawei, derived=False).show_batch_task(ShowBatchTaskRequest(task_id="b1"))
    assert (refused.value.status_code, refused.value.error_code) == (status, code)


@pytest.mark.parametrize(
    "key",
    [
        AccessKey(sk="not the secret"),
        AccessKey(ak="NOBODY"),
        AccessKey(security_token="of another key"),
        TEMPORARY_KEY.model_copy(update={"security_token": None}),
        TEMPORARY_KEY.model_copy(update={"security_token": "an old one"}),
    ],
    ids=["wrong secret", "unknown key", "token too much", "token missing", "wrong token"],
)
def test_wrong_credentials_are_refused_by_both_services(huawei: HuaweiStandIn, key: AccessKey) -> None:
    huawei.add(TEMPORARY_KEY, CheckTask(task_id="c1"), BatchTask(task_id="b1", targets=("d1",)))
    with pytest.raises(ClientRequestException) as refused_check:
        check_client(huawei, key).stop_task_by_id(StopTaskByIdRequest(task_id="c1"))
    with pytest.raises(ClientRequestException) as refused_iotda:
        iotda_client(huawei, key).stop_batch_task(StopBatchTaskRequest(task_id="b1", body=BatchTargets()))
    for refused in (refused_check.value, refused_iotda.value):
        assert (refused.status_code, refused.error_code) == (401, "APIGW.0301")
        assert refused.error_msg.startswith("Incorrect IAM authentication information: ")
    assert huawei.summary().authentication_failures == 2
    assert huawei.summary().targets_stopped == 0


def test_a_derived_signature_for_another_region_is_refused(huawei: HuaweiStandIn) -> None:
    huawei.add(BatchTask(task_id="b1", targets=("d1",)))
    with pytest.raises(ClientRequestException) as refused:
        iotda_client(huawei, region="cn-south-1").show_batch_task(ShowBatchTaskRequest(task_id="b1"))
    assert (refused.value.status_code, refused.value.error_code) == (401, "APIGW.0301")


def test_a_project_that_is_not_the_keys_is_refused(huawei: HuaweiStandIn) -> None:
    stranger = AccessKey(ak="AKSTRANGER", sk="SKSTRANGER", projects=("another",))
    huawei.add(stranger, BatchTask(task_id="b1", targets=("d1",)))
    with pytest.raises(ClientRequestException) as refused:
        iotda_client(huawei, stranger).show_batch_task(ShowBatchTaskRequest(task_id="b1"))
    assert refused.value.status_code == 403


def test_the_trap_of_no_body_is_seen_and_stops_everything(huawei: HuaweiStandIn) -> None:
    huawei.add(BatchTask(task_id="b1", targets=("d1", "d2")))
    iotda_client(huawei).stop_batch_task(StopBatchTaskRequest(task_id="b1"))
    assert huawei.log()[0].body == ""
    assert huawei.log()[0].violations == ("an empty body may stop everything",)
    assert set(huawei.subtasks("b1").values()) == {"Stopped"}


def test_the_trap_of_an_empty_list_is_seen_and_stops_everything(huawei: HuaweiStandIn) -> None:
    huawei.add(BatchTask(task_id="b1", targets=("d1", "d2")))
    iotda_client(huawei).stop_batch_task(StopBatchTaskRequest(task_id="b1", body=BatchTargets(targets=[])))
    assert huawei.log()[0].body == '{"targets": []}'
    assert huawei.log()[0].violations == ("an empty list of targets may stop everything",)
    assert set(huawei.subtasks("b1").values()) == {"Stopped"}


def test_a_task_of_a_named_instance_is_only_found_through_that_instance(huawei: HuaweiStandIn) -> None:
    huawei.add(BatchTask(task_id="b1", targets=("d1",), instance_id="mine"))
    client = iotda_client(huawei)
    for instance_id in (None, "another"):
        with pytest.raises(ClientRequestException) as unknown:
            client.show_batch_task(ShowBatchTaskRequest(task_id="b1", instance_id=instance_id))
        assert unknown.value.status_code == 404
        assert unknown.value.error_code.startswith("IOTDA.")
    found = client.show_batch_task(ShowBatchTaskRequest(task_id="b1", instance_id="mine"))
    assert found.batchtask.task_id == "b1"


def test_more_than_five_wrong_signatures_lock_the_key_for_everyone(huawei: HuaweiStandIn) -> None:
    huawei.add(CheckTask(task_id="c1"))
    wrong = check_client(huawei, AccessKey(sk="not the secret"))
    for _ in range(6):
        with pytest.raises(ClientRequestException):
            wrong.show_progress_detail(ShowProgressDetailRequest(task_id="c1"))
    with pytest.raises(ClientRequestException) as locked:
        check_client(huawei).show_progress_detail(ShowProgressDetailRequest(task_id="c1"))
    assert locked.value.status_code == 401
    assert locked.value.error_msg.endswith("AK access failed to reach the limit, forbidden")


def test_an_accepted_stop_shows_only_after_the_reads_that_were_set(huawei: HuaweiStandIn) -> None:
    huawei.change_settings(stop_reads=2)
    huawei.add(CheckTask(task_id="c1"))
    client = check_client(huawei)
    client.stop_task_by_id(StopTaskByIdRequest(task_id="c1"))
    read = [client.show_progress_detail(ShowProgressDetailRequest(task_id="c1")).task_status for _ in range(3)]
    assert read == [0, 0, 3]

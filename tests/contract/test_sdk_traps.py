"""Each trap of the official SDK, measured in 3.1.219, and that Stopline does not fall into it.

Where it can be shown, the SDK is seen to fall into the trap first: a trap that is mended there is no reason here.
The first line of each test says which fact it is about.
"""

from __future__ import annotations

import importlib
import json
import logging
import re
import subprocess
import sys
import threading
import warnings
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcore.exceptions import exceptions as sdk_exceptions
from huaweicloudsdkcore.exceptions.exception_handler import DefaultExceptionHandler
from huaweicloudsdkcore.http.http_config import HttpConfig
from huaweicloudsdkcore.region.region import Region
from huaweicloudsdkcore.signer.signer import DerivationAKSKSigner
from huaweicloudsdkiotda.v5 import BatchTargets, IoTDAClient, ShowBatchTaskRequest, StopBatchTaskRequest
from hypothesis import example, given
from hypothesis import strategies as st

from local.huawei import PROJECT_ID, AccessKey, Fault, HuaweiStandIn, Scenario
from local.huawei import BatchTask as ToldTask
from local.huawei import CheckTask as ToldCheck
from shared import http as our_http
from shared.errors import DeploymentFault
from shared.findings import Finding, Verdict
from shared.http import Http, NoAnswer
from shared.huawei.client import DerivedSigning, HuaweiClient, read_reply, signing_for
from shared.huawei.codearts_check import CodeArtsCheck
from shared.huawei.credentials import Credentials, FixedCredentials
from shared.huawei.iotda import IoTDA
from shared.planning import BatchTask, CheckTask, StopAll
from tests.fakes import BATCH, NOW, Clock, FakeHttp, client_over, response, stop_of

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.enable_socket,  # loop-back only
    # The SDK's own: huaweicloudsdkcore/signer/signer.py. Ours are told apart in a test of their own below.
    pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning"),
]

TASK = BatchTask(PROJECT_ID, None, "5f1a")
CHECK = CheckTask("c1")
ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The SDK writes below it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def huawei() -> Iterator[HuaweiStandIn]:
    told = Scenario(
        batch_tasks=(ToldTask(task_id="5f1a", targets=("d1", "d2")),), check_tasks=(ToldCheck(task_id="c1"),)
    )
    with HuaweiStandIn(told) as stand_in:
        yield stand_in


def ours(huawei: HuaweiStandIn, *, derived: bool) -> HuaweiClient:
    key = AccessKey()
    signing = signing_for(huawei.endpoint, region="cn-north-4", service="iotdm")
    return HuaweiClient(
        http=Http(connections=2),
        endpoint=huawei.endpoint,
        project_id=PROJECT_ID,
        credentials=FixedCredentials(Credentials(key.ak, key.sk)),
        derived=signing if derived else None,
        now=lambda: datetime.now(UTC),
    )


def theirs(huawei: HuaweiStandIn) -> Any:
    key = AccessKey()
    credentials = BasicCredentials(key.ak, key.sk, PROJECT_ID).with_derived_predicate(
        BasicCredentials.get_default_derived_predicate()
    )
    builder = IoTDAClient.new_builder().with_credentials(credentials).with_region(Region("cn-north-4", huawei.endpoint))
    return builder.with_http_config(HttpConfig.get_default_config()).build()


def stop(huawei: HuaweiStandIn, *targets: str, seconds: float = 20.0) -> dict[str, Verdict]:
    call = stop_of(TASK, targets) if targets else StopAll(TASK, NOW)
    found = IoTDA(ours(huawei, derived=True)).stop(call, Clock().deadline(seconds))
    return {target: finding.verdict for target, finding in found.items()}


def bodies(huawei: HuaweiStandIn) -> list[str]:
    return [record.body for record in huawei.log() if record.operation == "stop_batch_task"]


# --- 2.1, the stop of a batch task


def test_body_none_sends_an_empty_body_and_not_an_empty_object(huawei: HuaweiStandIn) -> None:
    """Fact 2.1: `StopBatchTaskRequest(body=None)` sends Content-Length 0."""
    theirs(huawei).stop_batch_task(StopBatchTaskRequest(task_id="5f1a"))
    huawei.reset(Scenario(batch_tasks=(ToldTask(task_id="5f1a", targets=("d1", "d2")),)))
    assert stop(huawei)["*"] is Verdict.TAKEN
    assert bodies(huawei) == ["{}"]
    assert huawei.summary().violations == {}


def test_an_empty_list_of_targets_is_sent_as_one_and_might_stop_everything(huawei: HuaweiStandIn) -> None:
    """Fact 2.1: `BatchTargets(targets=[])` sends `{"targets": []}`, whose meaning is not documented."""
    theirs(huawei).stop_batch_task(StopBatchTaskRequest(task_id="5f1a", body=BatchTargets(targets=[])))
    assert bodies(huawei) == ['{"targets": []}']
    with pytest.raises(ValueError, match="a stop names 1 to 100 targets, not 0"):
        stop_of(TASK, ())


def test_an_empty_object_stops_everything_so_a_stop_of_targets_is_never_one(huawei: HuaweiStandIn) -> None:
    """Fact 2.1: `{}` stops all subtasks that are Processing, Waitting or FailWaitRetry."""
    assert stop(huawei, "d1") == {"d1": Verdict.TAKEN}
    assert bodies(huawei) == ['{"targets": ["d1"]}']
    assert huawei.subtasks("5f1a") == {"d1": "Stopped", "d2": "Processing"}


def test_more_than_a_hundred_targets_are_refused_before_huawei_could() -> None:
    """Fact 2.1: a call takes 100 targets at most."""
    with pytest.raises(ValueError, match="a stop names 1 to 100 targets, not 101"):
        stop_of(TASK, tuple(f"d{n}" for n in range(101)))


def test_a_200_can_hold_failures_of_single_targets(huawei: HuaweiStandIn) -> None:
    """Fact 2.1: a 200 may say `IOTDA.014219` of a target."""
    assert stop(huawei, "d1", "d9") == {"d1": Verdict.TAKEN, "d9": Verdict.NOT_FOUND}


# --- 2.5, endpoints and derived signing

HOSTS = [
    "iotda.cn-north-4.myhuaweicloud.com",
    "codearts-check.cn-north-4.myhuaweicloud.cn",
    "iotda-app.cn-north-4.myhuaweicloud.com",
    "9bc34xxxxx.st1.iotda-app.ap-southeast-1.myhuaweicloud.com",
    "abc.iotda-app.cn-north-4.myhuaweicloud.com",
    "127.0.0.1",
    "127.0.0.1:8080",
    "localhost",
    "iotda.eu-west-101.myhuaweicloud.eu",
    "iotda.myhuaweicloud.com",
    "iotda.cn-north-4.myhuaweicloud.com:443",
    "iotda.cn-north-4.myhwclouds.com",
    "iotda.cn-north-4.huaweicloud.com.cn",
    "iotda.cn-north-4.myhuaweicloud.com.evil.example",
    "iotda.cn-north-4xmyhuaweicloud.com",
    "IOTDA.cn-north-4.myhuaweicloud.com",
    "9iotda.cn-north-4.myhuaweicloud.com",
    "i.cn-north-4.myhuaweicloud.com",
    "iotda.cn-north-444.myhuaweicloud.com",
    "[::1]",
]


def sdk_derives(host: str) -> bool:
    return bool(BasicCredentials.get_default_derived_predicate()(SimpleNamespace(host=host)))


@pytest.mark.parametrize("host", HOSTS)
def test_derived_signing_is_chosen_as_the_sdk_s_default_predicate_would(host: str) -> None:
    """Fact 2.5: derived for each host but those of `^[a-z][a-z0-9-]+(\\.region)?\\.(my)?(huaweicloud|myhwclouds)…`."""
    chosen = signing_for(f"https://{host}", region="cn-north-4", service="iotdm")
    assert (chosen is not None) is sdk_derives(host)
    assert chosen in {None, DerivedSigning("cn-north-4", "iotdm")}


def test_both_kinds_of_signing_are_among_the_hosts() -> None:
    """Fact 2.5: else the comparison above could not fail."""
    assert {sdk_derives(host) for host in HOSTS} == {True, False}


_LABEL = st.from_regex(r"[a-z0-9][a-z0-9-]{0,8}", fullmatch=True)
_LIKE_HUAWEI = st.tuples(
    _LABEL,
    st.sampled_from(["", ".cn-north-4", ".eu-west-101", ".st1.iotda-app.cn-north-4", ".CN-north-4"]),
    st.sampled_from([".", "x", "-"]),
    st.sampled_from(["myhuaweicloud", "huaweicloud", "myhwclouds", "hwclouds", "youhuaweicloud"]),
    st.sampled_from([".", "-", ""]),
    st.sampled_from(["com", "cn", "eu", "com.cn", "com:8443"]),
).map("".join)


@given(st.lists(_LABEL, min_size=1, max_size=5).map(".".join) | _LIKE_HUAWEI)
@example("a.myhuaweicloud.com")
def test_derived_signing_is_chosen_as_the_sdk_would_for_any_host(host: str) -> None:
    """Fact 2.5: the same over hosts that resemble Huawei's."""
    chosen = signing_for(f"https://{host}", region="cn-north-4", service="iotdm")
    assert (chosen is not None) is sdk_derives(host)


def test_the_sdk_never_derives_unless_told() -> None:
    """Fact 2.5: `_derived_predicate` is None by default, so a dedicated instance answers 401 or 403."""
    key = AccessKey()
    with HuaweiStandIn() as stand_in:
        client = (
            IoTDAClient.new_builder()
            .with_credentials(BasicCredentials(key.ak, key.sk, PROJECT_ID))
            .with_region(Region("cn-north-4", stand_in.endpoint))
            .build()
        )
        with pytest.raises(sdk_exceptions.ClientRequestException):
            client.stop_batch_task(StopBatchTaskRequest(task_id="5f1a", body=BatchTargets()))
        assert [(each.signing, each.error_code) for each in stand_in.log()] == [("plain", "IOTDA.000002")]
        stand_in.add(ToldTask(task_id="5f1a", targets=("d1",)))
        assert stop(stand_in, "d1") == {"d1": Verdict.TAKEN}


@pytest.mark.parametrize("code", ["IOTDA.000002", "IOTDA.000021"])
def test_the_wrong_kind_of_signing_is_named_as_the_deployment_s_fault(code: str, huawei: HuaweiStandIn) -> None:
    """Fact 2.5: what the wrong choice looks like, on an instance's host and on the region's."""
    huawei.change_settings(iotda_wrong_signing_code=code)
    iotda = IoTDA(ours(huawei, derived=False))
    with pytest.raises(DeploymentFault, match=code):
        iotda.stop(stop_of(TASK, ("d1",)), Clock().deadline())
    assert len(huawei.log()) == 1


def test_iotda_credentials_cannot_be_imported_and_are_not_needed() -> None:
    """Fact 2.5: `huaweicloudsdkiotda.v5.auth.IoTDACredentials` is broken in 3.1.219."""
    with pytest.raises(ModuleNotFoundError, match=r"huaweicloudsdkcore\.auth\.cache"):
        importlib.import_module("huaweicloudsdkiotda.v5.auth.iotda_credentials")
    assert [path for path in (ROOT / "shared").rglob("*.py") if "IoTDACredentials" in path.read_text("utf-8")] == []


# --- 4.2, what happens to answers


@pytest.mark.parametrize("kind", ["error_in_200", "legacy_200", "junk_200", "null_200"])
def test_a_200_with_an_error_in_its_body_is_no_success(kind: Any, huawei: HuaweiStandIn) -> None:
    """Fact 4.2: the SDK gives a success object with empty fields."""
    huawei.set_faults(Fault(kind=kind, operation="stop_batch_task"))
    if kind == "error_in_200":
        assert theirs(huawei).stop_batch_task(StopBatchTaskRequest(task_id="5f1a", body=BatchTargets())).targets is None
    assert Verdict.TAKEN not in stop(huawei, "d1").values()
    assert Verdict.TAKEN not in stop(huawei).values()


def test_a_200_null_of_a_check_is_fine_and_an_error_in_it_is_not(huawei: HuaweiStandIn) -> None:
    """Fact 4.2: `null` and nothing are the documented success of a check's stop."""
    check = CodeArtsCheck(ours(huawei, derived=False))
    call = stop_of(CHECK, ("c1",))
    assert check.stop(call, Clock().deadline())["c1"].verdict is Verdict.TAKEN
    for kind in ("error_in_200", "legacy_200", "junk_200"):
        huawei.set_faults(Fault(kind=kind, operation="stop_check_task"))
        assert check.stop(call, Clock().deadline())["c1"].verdict is not Verdict.TAKEN


def test_a_302_is_no_success_and_nobody_follows_it(huawei: HuaweiStandIn) -> None:
    """Fact 4.2: the SDK calls a 302 a success."""
    huawei.set_faults(Fault(kind="redirect", operation="stop_batch_task"))
    answer = theirs(huawei).stop_batch_task(StopBatchTaskRequest(task_id="5f1a", body=BatchTargets()))
    assert answer.status_code == 302
    assert stop(huawei, "d1") == {"d1": Verdict.UNCLEAR}
    assert [record.status for record in huawei.log()] == [302, 302]
    huawei.set_faults(Fault(kind="redirect", operation="stop_check_task"))
    found = CodeArtsCheck(ours(huawei, derived=False)).stop(stop_of(CHECK, ("c1",)), Clock().deadline())
    assert found["c1"].verdict is Verdict.UNCLEAR


def test_a_429_of_a_read_keeps_its_body_and_its_retry_after(huawei: HuaweiStandIn) -> None:
    """Fact 4.2: with the SDK's defaults both are lost for a GET, and the code is "429"."""
    huawei.set_faults(Fault(kind="throttle_429", operation="show_batch_task", retry_after=7))
    with pytest.raises(sdk_exceptions.ClientRequestException) as lost:
        theirs(huawei).show_batch_task(ShowBatchTaskRequest(task_id="5f1a"))
    assert (lost.value.error_code, lost.value.request_id) == ("429", "")
    found = IoTDA(ours(huawei, derived=True)).read(TASK, ("d1",), Clock().deadline()).findings["d1"]
    assert (found.verdict, found.error_code, found.retry_after) == (Verdict.UNFINISHED, "APIGW.0308", 7.0)
    assert found.throttled
    assert "throttling threshold" in str(found.error_msg)
    assert found.request_id


@pytest.mark.parametrize("kind", ["slow", "cut_after", "cut_before", "cut_midway"])
def test_a_post_without_an_answer_is_one_own_error_and_not_sent_twice(kind: Any, huawei: HuaweiStandIn) -> None:
    """Fact 4.2: a read timeout of a POST is a raw `requests.exceptions.ReadTimeout`, and a hook may send it twice."""
    huawei.set_faults(Fault(kind=kind, operation="stop_batch_task", seconds=3.0))
    assert stop(huawei, "d1", seconds=1.5) == {"d1": Verdict.UNFINISHED}
    assert len(huawei.log()) == 1


def test_a_refused_connection_is_the_same_own_error() -> None:
    """Fact 4.2: refused is a ConnectionException, a timeout another family; here both are `NoAnswer`."""
    with HuaweiStandIn() as gone:
        endpoint = gone.endpoint
    client = client_over(Http(connections=1), endpoint=endpoint)
    assert isinstance(client.request("POST", "/v2/tasks/t/stop", deadline=Clock().deadline()), NoAnswer)


def test_a_field_of_the_wrong_type_raises_nothing() -> None:
    """Fact 4.2: the SDK raises a raw ValueError for `int("abc")`."""
    answer = response({"batchtask": {"status": "Processing", "task_progress": {"total": "abc"}}})
    found = IoTDA(client_over(FakeHttp(answer))).read(BATCH, ("d1",), Clock().deadline())
    assert found.findings["d1"].verdict is Verdict.UNFINISHED


def test_an_error_code_may_be_a_number() -> None:
    """Fact 4.1: the SDK hands out `{"code": 403}` as an int."""
    body = json.dumps({"code": 403, "message": "no"})
    with pytest.raises(sdk_exceptions.ClientRequestException) as raised:
        DefaultExceptionHandler().handle_exception(None, SimpleNamespace(status_code=403, headers={}, text=body))
    assert raised.value.error_code == 403
    assert read_reply(response(body.encode(), 403), now=NOW).error_code == "403"


# --- 4.3, defaults


def test_no_call_waits_for_sixty_or_a_hundred_and_twenty_seconds() -> None:
    """Fact 4.3: `HttpConfig.timeout` is (60, 120)."""
    assert HttpConfig.get_default_config().timeout == (60, 120)
    assert (our_http.CONNECT_TIMEOUT, our_http.READ_TIMEOUT) == (3.0, 10.0)
    http = FakeHttp(response())
    client_over(http).request("POST", "/v2/tasks/t/stop", deadline=Clock().deadline(4.0))
    assert [sent.timeout for sent in http.sent] == [4.0]


def test_nothing_is_signed_on_a_thread_of_its_own(huawei: HuaweiStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fact 4.3: each client keeps an executor of eight threads, which its `close` leaves running, and signs on it."""
    signed_by: list[int] = []
    sign = DerivationAKSKSigner.sign

    def note(*request: Any) -> Any:
        signed_by.append(threading.get_ident())
        return sign(*request)

    monkeypatch.setattr(DerivationAKSKSigner, "sign", note)
    before = threading.active_count()
    stop(huawei, "d1")
    assert signed_by == [threading.get_ident()]
    assert threading.active_count() == before
    theirs(huawei).show_batch_task(ShowBatchTaskRequest(task_id="5f1a"))
    assert signed_by[1] != threading.get_ident()


def test_nothing_is_tried_again_below_our_own_loop(huawei: HuaweiStandIn) -> None:
    """Fact 4.3: the SDK's retries start at 10 ms and ignore Retry-After; ours are in one layer, the execution."""
    huawei.set_faults(Fault(kind="error_json", status=503))
    assert stop(huawei, "d1") == {"d1": Verdict.UNFINISHED}
    assert len(huawei.log()) == 1


def test_a_project_is_never_discovered_by_a_call(huawei: HuaweiStandIn) -> None:
    """Facts 3.4 and 4.3: without one the SDK asks IAM, or puts `%7Bproject_id%7D` into the path."""
    stop(huawei, "d1")
    assert [(record.operation, record.project_id) for record in huawei.log()] == [("stop_batch_task", PROJECT_ID)]


# --- 4.4, logging and side effects


def call_both(endpoint: str) -> None:
    """Stop and read once by each client, as a deployed function does."""
    key = AccessKey()
    for service, call in ((IoTDA, stop_of(TASK, ("d1",))), (CodeArtsCheck, stop_of(CHECK, ("c1",)))):
        derived = DerivedSigning("cn-north-4", "iotdm") if service is IoTDA else None
        client = HuaweiClient(
            http=Http(connections=1),
            endpoint=endpoint,
            project_id=PROJECT_ID,
            credentials=FixedCredentials(Credentials(key.ak, key.sk)),
            derived=derived,
            now=lambda: datetime.now(UTC),
        )
        found: dict[str, Finding] = service(client).stop(call, Clock().deadline())
        assert {finding.verdict for finding in found.values()} == {Verdict.TAKEN}


def test_nothing_is_written_to_the_home_directory_by_our_calls(home: Path, huawei: HuaweiStandIn) -> None:
    """Fact 4.4: importing and using the SDK's client writes ~/.huaweicloud/application_id."""
    call_both(huawei.endpoint)
    assert list(home.iterdir()) == []


def test_our_calls_make_no_logger_of_the_sdk(huawei: HuaweiStandIn) -> None:
    """Fact 4.4: each SDK client makes a logger that does not propagate; its warnings go to stderr unformatted."""
    before = set(logging.root.manager.loggerDict)
    call_both(huawei.endpoint)
    assert {name for name in set(logging.root.manager.loggerDict) - before if "huawei" in name.lower()} == set()
    theirs(huawei).show_batch_task(ShowBatchTaskRequest(task_id="5f1a"))
    made = {name for name in set(logging.root.manager.loggerDict) - before if "huawei" in name.lower()}
    assert made <= {"HuaweiCloud-SDK-IoTDAClient"}


def test_our_calls_warn_of_nothing(huawei: HuaweiStandIn) -> None:
    """Fact 4.4: the SDK's signer asks `datetime.utcnow`, which is deprecated since Python 3.12."""
    with pytest.warns(DeprecationWarning, match="utcnow"):
        theirs(huawei).show_batch_task(ShowBatchTaskRequest(task_id="5f1a"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        call_both(huawei.endpoint)


def test_no_charset_is_guessed() -> None:
    """Fact 4.4: `response.text` guesses where the server names no charset; JSON is UTF-8."""
    body = '{"error_code": "C", "error_msg": "任务不存在"}'.encode()
    assert read_reply(response(body, 400), now=NOW).error_msg == "任务不存在"


_DEPLOYED = """
import sys
import functions.stop_in_workflow, functions.stop_targets, functions.stop_task, functions.sweep_stale_tasks
heavy = {"requests", "bson", "pymongo", "simplejson", "yaml", "huaweicloudsdkiotda", "huaweicloudsdkcodeartscheck",
         "huaweicloudsdkcore.client", "huaweicloudsdkcore.http.http_client", "huaweicloudsdkcore.auth.credentials"}
print(*sorted(heavy & sys.modules.keys()))
"""


def test_only_the_signers_are_imported_of_the_sdk() -> None:
    """Fact 4.5: the rest brings bson, requests and 549 model modules, and 0.25 s of import."""
    done = subprocess.run([sys.executable, "-B", "-c", _DEPLOYED], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_the_facts_are_about_the_version_that_is_deployed() -> None:
    """Fact 0: measured in 3.1.219; another version is another list of traps."""
    pinned = re.findall(r"^huaweicloudsdkcore==([\d.]+)", (ROOT / "requirements.txt").read_text("utf-8"), re.MULTILINE)
    assert pinned == ["3.1.219"]

"""Our requests equal those of the official clients on the wire, byte for byte.

Left out of the comparison is only what must differ: the date, the signature made of it, and the user agent. Both
sides talk to the same raw socket, so nothing between us and the wire can hide a difference.
"""

from __future__ import annotations

import json
import re
import socket
import threading
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
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

from shared.errors import SweepRejected
from shared.http import Http
from shared.huawei.client import HuaweiClient, signing_for
from shared.huawei.codearts_check import CodeArtsCheck
from shared.huawei.credentials import Credentials, FixedCredentials
from shared.huawei.iotda import IoTDA
from shared.huawei.task_lists import BatchTaskLists, CheckTaskLists
from shared.planning import BatchTask, CheckTask, Stop, StopAll
from shared.wiring.clouds import IOTDA_SIGNING_NAME
from tests.fakes import NOW, Clock, stop_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from shared.deadline import Deadline
    from shared.findings import Finding

pytestmark = [
    pytest.mark.enable_socket,  # loop-back only
    # The SDK's signer calls datetime.utcnow() for every request (huaweicloudsdkcore/signer/signer.py).
    pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning"),
]

REGION = "cn-north-4"
PROJECT = "0605768a3300d5762f3dc0145e9e3f00"
TASK = "5f1ac5c3e4b0"
CHECK_PROJECT = "41a3bf0ba9b94a5da1a1a4b1c2d3e4f5"
CHECK_TASK = "2b31ed520a1b4c5d8e9fedb6e57a0b1c"
NEXT = "0123456789abcdef01234567"


class Wire:
    """Keeps the bytes of every request. Answers a page of a list first, and then, of any kind, `404`."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads: list[threading.Thread] = [threading.Thread(target=self._accept)]
        self._open: list[socket.socket] = []
        self._threads[0].start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._open.append(connection)
                self._threads.append(threading.Thread(target=self._talk, args=(connection,)))
                self._threads[-1].start()

    def _talk(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as received:
            while head := received.readline():
                while (line := received.readline()).strip():
                    head += line
                length = re.search(rb"(?i)^content-length: *(\d+)", head, re.MULTILINE)
                self.requests.append(head + b"\r\n" + received.read(int(length[1]) if length else 0))
                page = next((page for limit, page in _PAGES if limit in head and len(self.requests) == 1), None)
                status, body = (b"404 Not Found", _NO_TASK) if page is None else (b"200 OK", page)
                connection.sendall(
                    b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
                    % (status, len(body), body)
                )


# By a part of the request's head; the last answers both a list of batch tasks and a show of one.
_PAGES = (
    (
        b"limit=100&",
        json.dumps({"tasks": [{"task_id": f"check-{n}", "task_name": "n"} for n in range(100)], "total": 101}).encode(),
    ),
    (
        b"limit=50",
        b'{"batchtask": {"status": "Processing"}, "task_details": [{"target": "d0", "status": "Processing"}],'
        b' "batchtasks": [{"task_id": "5f"}], "page": {"count": 51, "marker": "%s"}}' % NEXT.encode(),
    ),
)
_NO_TASK = b'{"error_code": "IOTDA.014223", "error_msg": "no such task"}'


@dataclass(frozen=True)
class Ours:
    iotda: IoTDA
    check: CodeArtsCheck
    batch_lists: BatchTaskLists
    check_lists: CheckTaskLists


@dataclass(frozen=True)
class Case:
    """The same requests, made by each side. `theirs` is given both official clients."""

    name: str
    ours: Callable[[Ours], object]
    theirs: Callable[[Any, Any], object]


def stop(targets: tuple[str, ...], instance_id: str | None = None) -> Stop:
    return stop_of(BatchTask(PROJECT, instance_id, TASK), targets)


def deadline() -> Any:
    return Clock().deadline()


def ask[T](question: Callable[[Deadline], T | Finding]) -> T | Finding:
    return question(deadline())


WAITING = {"task_type": "firmwareUpgrade", "status": "Waitting"}
ODD = "dev.ice_1:2-3"  # every character but letters and digits that an id may hold; ":" must be quoted in a query
MANY = tuple(f"e495cf17-ff79-4294-8f64-{n:012d}" for n in range(100))
CASES = [
    Case(
        "a stop of one target",
        lambda ours: ours.iotda.stop(stop((ODD,)), deadline()),
        lambda iotda, _: iotda.stop_batch_task(StopBatchTaskRequest(task_id=TASK, body=BatchTargets([ODD]))),
    ),
    Case(
        "a stop of a hundred targets",
        lambda ours: ours.iotda.stop(stop(MANY), deadline()),
        lambda iotda, _: iotda.stop_batch_task(StopBatchTaskRequest(task_id=TASK, body=BatchTargets(list(MANY)))),
    ),
    Case(
        "a stop of targets of an instance",
        lambda ours: ours.iotda.stop(stop(("d1", "d2"), "instance-1"), deadline()),
        lambda iotda, _: iotda.stop_batch_task(
            StopBatchTaskRequest(task_id=TASK, instance_id="instance-1", body=BatchTargets(["d1", "d2"]))
        ),
    ),
    Case(
        "a stop of all",
        lambda ours: ours.iotda.stop(StopAll(BatchTask(PROJECT, None, TASK), NOW), deadline()),
        lambda iotda, _: iotda.stop_batch_task(StopBatchTaskRequest(task_id=TASK, body=BatchTargets())),
    ),
    Case(
        "a stop of all of an instance",
        lambda ours: ours.iotda.stop(StopAll(BatchTask(PROJECT, "instance-1", TASK), NOW), deadline()),
        lambda iotda, _: iotda.stop_batch_task(
            StopBatchTaskRequest(task_id=TASK, instance_id="instance-1", body=BatchTargets())
        ),
    ),
    Case(
        "a show of one target",
        lambda ours: ours.iotda.read(BatchTask(PROJECT, None, TASK), (ODD,), deadline()),
        lambda iotda, _: iotda.show_batch_task(ShowBatchTaskRequest(task_id=TASK, target=ODD, limit=1)),
    ),
    Case(
        "a show page by page of an instance",
        lambda ours: [
            more(deadline())
            for more in ours.iotda.read(BatchTask(PROJECT, "instance-1", TASK), ("d0", "d1", "d2"), deadline()).more
        ],
        lambda iotda, _: [
            iotda.show_batch_task(ShowBatchTaskRequest(task_id=TASK, instance_id="instance-1", limit=50)),
            iotda.show_batch_task(ShowBatchTaskRequest(task_id=TASK, instance_id="instance-1", limit=50, marker=NEXT)),
        ],
    ),
    Case(
        "a stop of a check",
        lambda ours: ours.check.stop(stop_of(CheckTask(CHECK_TASK), (CHECK_TASK,)), deadline()),
        lambda _, check: check.stop_task_by_id(StopTaskByIdRequest(task_id=CHECK_TASK)),
    ),
    Case(
        "a read of a check's progress",
        lambda ours: ours.check.read(CheckTask(CHECK_TASK), (CHECK_TASK,), deadline()),
        lambda _, check: check.show_progress_detail(ShowProgressDetailRequest(task_id=CHECK_TASK)),
    ),
    Case(
        "a list of a project's checks page by page",
        lambda ours: ours.check_lists.tasks(CHECK_PROJECT, ask),
        lambda _, check: [
            check.show_task_list_by_project_id(ShowTaskListByProjectIdRequest(CHECK_PROJECT, offset=0, limit=100)),
            check.show_task_list_by_project_id(ShowTaskListByProjectIdRequest(CHECK_PROJECT, offset=2, limit=90)),
        ],
    ),
    Case(
        "a list of a check's records",
        lambda ours: ours.check_lists.mark_of_records(CHECK_PROJECT, CHECK_TASK, ask),
        lambda _, check: check.check_record(CheckRecordRequest(CHECK_PROJECT, CHECK_TASK, offset=0, limit=1000)),
    ),
    Case(
        "a list of batch tasks page by page",
        lambda ours: ours.batch_lists.tasks(PROJECT, None, "firmwareUpgrade", "Waitting", ask),
        lambda iotda, _: [
            iotda.list_batch_tasks(ListBatchTasksRequest(**WAITING, limit=50)),
            iotda.list_batch_tasks(ListBatchTasksRequest(**WAITING, limit=50, marker=NEXT)),
        ],
    ),
    Case(
        "a list of batch tasks of an instance page by page",
        lambda ours: ours.batch_lists.tasks(PROJECT, "instance-1", "firmwareUpgrade", "Waitting", ask),
        lambda iotda, _: [
            iotda.list_batch_tasks(ListBatchTasksRequest("instance-1", **WAITING, limit=50)),
            iotda.list_batch_tasks(ListBatchTasksRequest("instance-1", **WAITING, limit=50, marker=NEXT)),
        ],
    ),
    Case(
        "a list of the targets in one state page by page",
        lambda ours: ours.batch_lists.running_targets(BatchTask(PROJECT, "instance-1", TASK), ask),
        lambda iotda, _: [
            iotda.show_batch_task(ShowBatchTaskRequest("instance-1", TASK, "FailWaitRetry", limit=50)),
            iotda.show_batch_task(ShowBatchTaskRequest("instance-1", TASK, "FailWaitRetry", limit=50, marker=NEXT)),
        ],
    ),
]


@pytest.fixture
def wires() -> Iterator[tuple[Wire, Wire]]:
    """Ours and theirs."""
    with closing(Wire()) as ours, closing(Wire()) as theirs:
        yield ours, theirs


@pytest.fixture(autouse=True)
def _no_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # the SDK would write ~/.huaweicloud/application_id


@pytest.mark.parametrize("token", [None, "a-temporary-token"], ids=["fixed keys", "temporary keys"])
@pytest.mark.parametrize("derived", [False, True], ids=["plain", "derived"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_our_request_is_the_official_client_s_to_the_byte(
    case: Case, *, derived: bool, token: str | None, wires: tuple[Wire, Wire]
) -> None:
    ours, theirs = wires
    with suppress(ClientRequestException):
        case.theirs(*official_clients(theirs.url, derived=derived, token=token))
    with suppress(SweepRejected):  # what the second answer makes of a list
        case.ours(our_services(ours.url, derived=derived, token=token))
    assert [comparable(request, ours.url) for request in ours.requests] == [
        comparable(request, theirs.url) for request in theirs.requests
    ]
    assert len(ours.requests) == (2 if "page by page" in case.name else 1)
    assert all((b"V11-HMAC-SHA256" in request) is derived for request in ours.requests)
    assert all((b"X-Security-Token" in request) is (token is not None) for request in ours.requests)


def our_services(url: str, *, derived: bool, token: str | None) -> Ours:
    client = HuaweiClient(
        http=Http(connections=1),
        endpoint=url,
        project_id=PROJECT,
        credentials=FixedCredentials(Credentials("AK-1", "SK-1", token)),
        derived=signing_for(url, region=REGION, service=IOTDA_SIGNING_NAME) if derived else None,
        now=lambda: datetime.now(UTC),
    )
    return Ours(IoTDA(client), CodeArtsCheck(client), BatchTaskLists(client), CheckTaskLists(client))


def official_clients(url: str, *, derived: bool, token: str | None) -> tuple[Any, Any]:
    config = HttpConfig.get_default_config()
    config.user_agent = "official"
    credentials = BasicCredentials("AK-1", "SK-1", PROJECT)
    if token:
        credentials = credentials.with_security_token(token)
    if derived:
        credentials = credentials.with_derived_predicate(BasicCredentials.get_default_derived_predicate())
    iotda, check = (
        builder.with_credentials(credentials).with_region(Region(REGION, url)).with_http_config(config).build()
        for builder in (IoTDAClient.new_builder(), CodeArtsCheckClient.new_builder())
    )
    return iotda, check


def comparable(request: bytes, url: str) -> list[bytes]:
    """Give a request line by line, without what must differ."""
    for pattern in (rb"(?<=X-Sdk-Date: )\d{8}T\d{6}Z", rb"(?<=Signature=)[0-9a-f]{64}", rb"(?<=User-Agent: )[^\r]+"):
        request, found = re.subn(pattern, b"*", request)
        assert found == 1
    request = re.sub(rb"(?<=Credential=AK-1/)\d{8}", b"*", request)
    host = url.removeprefix("http://").encode()
    assert host in request
    return request.replace(host, b"host").splitlines(keepends=True)

"""The least that could do the work: `http.client` with kept-alive connections, no validation, no retries, no logs.

`prepare` signs the calls to Huawei Cloud beforehand, so signing costs nothing here; AWS's stand-in wants no signature.
It is no way to stop anything: it measures what the sockets and the stand-ins themselves cost.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPConnection
from itertools import batched
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcore.sdk_request import SdkRequest
from huaweicloudsdkcore.signer.signer import DerivationAKSKSigner, Signer

if TYPE_CHECKING:
    from collections.abc import Sequence

_PROJECT: Final = os.environ["HUAWEICLOUD_SDK_PROJECT_ID"]
_HUAWEI: Final = urlsplit(os.environ["IOTDA_ENDPOINT"]).netloc
_CREDENTIALS: Final = BasicCredentials(os.environ["HUAWEICLOUD_SDK_AK"], os.environ["HUAWEICLOUD_SDK_SK"], _PROJECT)
_AWS_HEADERS: Final = {
    "Content-Type": "application/x-amz-json-1.1",
    "X-Amz-Target": "AWSEvents.PutEvents",
    "Authorization": "none",
}
_huawei: Final = HTTPConnection(_HUAWEI)
_aws: Final = HTTPConnection(urlsplit(os.environ["AWS_ENDPOINT_URL"]).netloc)


@dataclass(frozen=True, slots=True)
class Call:
    """One signed request."""

    path: str
    headers: dict[str, str]
    body: bytes | None


_prepared: Final[dict[str, list[Call]]] = {}


def prepare(event: dict[str, Any]) -> None:
    """Sign the calls of a delivery."""
    _prepared.update(sign(event))


def sign(event: dict[str, Any]) -> dict[str, list[Call]]:
    """Give the calls of a delivery, signed, by the id of the message."""
    calls: dict[str, list[Call]] = {}
    for record in event["Records"]:
        command = json.loads(record["body"])
        if command["command"] == "stop_task":
            calls[record["messageId"]] = [_signed(f"/v2/tasks/{command['task_id']}/stop", None)]
            continue
        path = f"/v5/iot/{_PROJECT}/batchtasks/{command['task_id']}/stop"
        calls[record["messageId"]] = [
            _signed(path, json.dumps({"targets": chunk}).encode())
            for chunk in batched(command["targets"], 100, strict=False)
        ]
    return calls


def _signed(path: str, body: bytes | None) -> Call:
    headers = {"Content-Type": "application/json", "X-Project-Id": _PROJECT}
    headers["X-Sdk-Date"] = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    request = SdkRequest("POST", "http", _HUAWEI, path, path, [], headers, body)
    if body is None:
        signed = Signer(_CREDENTIALS).sign(request)
    else:
        signed = DerivationAKSKSigner(_CREDENTIALS).sign(request, "iotdm", os.environ["HUAWEICLOUD_REGION"])
    return Call(signed.uri, signed.header_params, body)


def put_events(entries: Sequence[dict[str, str]]) -> Call:
    """Give the call that publishes events."""
    return Call("/", _AWS_HEADERS, json.dumps({"Entries": entries}).encode())


def handler(event: dict[str, Any], _context: object) -> dict[str, list[dict[str, str]]]:
    """Send what was prepared, one call after another, and one event a message, ten a call."""
    told = []
    for record in event["Records"]:
        for call in _prepared.pop(record["messageId"]):
            answer = _ask(_huawei, call)
        told.append({"Source": "stopline", "DetailType": "Stop Outcome", "Detail": json.dumps(answer)})
    for entries in batched(told, 10, strict=False):
        _ask(_aws, put_events(entries))
    return {"batchItemFailures": []}


def _ask(connection: HTTPConnection, call: Call) -> Any:
    connection.request("POST", call.path, body=call.body, headers=call.headers)
    return json.loads(connection.getresponse().read())

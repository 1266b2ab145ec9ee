"""The stand-ins' own time: the floor's requests as bytes made beforehand, over plain sockets, answers not looked at."""

from __future__ import annotations

import json
import os
import socket
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from bench.peers import floor

if TYPE_CHECKING:
    from bench.peers.floor import Call

_LENGTH: Final = b"Content-Length: "


def _connect(variable: str) -> socket.socket:
    address = urlsplit(os.environ[variable])
    return socket.create_connection((address.hostname, address.port))


_huawei: Final = _connect("IOTDA_ENDPOINT")
_aws: Final = _connect("AWS_ENDPOINT_URL")
_requests: Final[dict[str, list[bytes]]] = {}
_EVENT: Final = {"Source": "stopline", "DetailType": "Stop Outcome", "Detail": json.dumps({"targets": []})}


def prepare(event: dict[str, Any]) -> None:
    """Write the requests of a delivery."""
    for message_id, calls in floor.sign(event).items():
        _requests[message_id] = [_written(call) for call in calls]


def _written(call: Call) -> bytes:
    body = call.body or b""
    headers = {"Host": "127.0.0.1", **call.headers, "Content-Length": str(len(body))}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST {call.path} HTTP/1.1\r\n{head}\r\n".encode() + body


_PUBLISH: Final = _written(floor.put_events([_EVENT]))


def handler(event: dict[str, Any], _context: object) -> dict[str, list[dict[str, str]]]:
    """Send what was prepared, and one event a message."""
    for record in event["Records"]:
        for request in _requests.pop(record["messageId"]):
            _ask(_huawei, request)
        _ask(_aws, _PUBLISH)
    return {"batchItemFailures": []}


def _ask(connection: socket.socket, request: bytes) -> None:
    connection.sendall(request)
    received = b""
    while (end := received.find(b"\r\n\r\n")) < 0:
        received += connection.recv(65_536)
    at = received.index(_LENGTH) + len(_LENGTH)
    left = end + 4 + int(received[at : received.index(b"\r\n", at)]) - len(received)
    while left > 0:
        left -= len(connection.recv(65_536))

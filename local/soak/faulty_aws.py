"""A proxy before SQS and EventBridge that fails, throttles and cuts calls, and hastens what is delayed."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections import Counter
from http import HTTPStatus
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import urlsplit

from local.soak.bodies import id_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from random import Random

_FAULTY_CALLS: Final = 0.03
_OF_ONE_HOP: Final = frozenset({"host", "content-length", "connection", "accept-encoding"})


class FaultyAws:
    """A proxy before SQS and EventBridge, for the functions only; within a `with` block.

    `delay_divisor`: by how much it shortens the delays of messages. `memory`: seconds for which what went through a
    connection may be repeated when the connection ends.
    """

    def __init__(self, upstream: str, *, dice: Random, delay_divisor: int, memory: float) -> None:
        self._upstream = urlsplit(upstream).netloc
        self._dice = dice
        self._delay_divisor = delay_divisor
        self._memory = memory
        self._lock = threading.Lock()
        self._out_until = 0.0
        self._may_repeat: set[str] = set()
        self.faults: Counter[str] = Counter()
        """How often each kind of fault was injected."""
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def be_out(self, seconds: float) -> None:
        """Answer nothing but 503 for so long."""
        with self._lock:
            self._out_until = time.monotonic() + seconds

    def may_repeat(self) -> frozenset[str]:
        """Give the commands (for those without an id, the bodies) that may rightly be repeated."""
        with self._lock:
            return frozenset(self._may_repeat)

    def fate(self, ids: Sequence[str]) -> str | None:
        """Throw the dice for one call that carries these commands."""
        with self._lock:
            fate = "outage" if time.monotonic() < self._out_until else None
            if fate is None and self._dice.random() < _FAULTY_CALLS:
                fate = self._dice.choice(("entry", "entry", "error", "throttle", "cut_before", "cut_after"))
            if fate is not None:
                self.faults[f"aws {fate}"] += 1
                self._may_repeat.update(ids)
            return fate

    def connection_ended(self, carried: Iterable[tuple[float, str]]) -> None:
        """Remember what had gone through a connection: pairs of a monotonic time and a command."""
        since = time.monotonic() - self._memory
        with self._lock:
            self._may_repeat.update(command_id for at, command_id in carried if at >= since)

    def connect(self) -> HTTPConnection:
        """Open a connection to the services themselves."""
        return HTTPConnection(self._upstream, timeout=30)

    def shortened(self, entry: Mapping[str, Any]) -> Mapping[str, Any]:
        """Give an entry of a call with its delay divided."""
        return dict(entry) | {"DelaySeconds": round(entry.get("DelaySeconds", 0) / self._delay_divisor)}


class _Server(ThreadingHTTPServer):
    daemon_threads = True  # a connection that is kept alive holds a thread

    def __init__(self, aws: FaultyAws) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.aws = aws


class _Connection(BaseHTTPRequestHandler):
    """One connection of a function process, and one of its own to the services."""

    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        super().setup()
        self._aws = self.server.aws
        self._carried: list[tuple[float, str]] = []
        self._services = self._aws.connect()

    def finish(self) -> None:
        self._aws.connection_ended(self._carried)
        self._services.close()
        with contextlib.suppress(OSError):
            super().finish()

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        body = self.rfile.read(length)
        if len(body) < length:  # the process was killed while it sent this
            self.close_connection = True
            return
        payload = json.loads(body)
        operation = self.headers["X-Amz-Target"].rpartition(".")[2]
        entries = payload["Entries"]
        ids: list[str] = []  # of a change of visibility: what is given back may be repeated without it
        if operation == "PutEvents":
            ids = [json.loads(entry["Detail"])["command_id"] for entry in entries]
        elif operation == "SendMessageBatch":
            ids = [id_in(entry["MessageBody"]) for entry in entries]
            payload["Entries"] = entries = [self._aws.shortened(entry) for entry in entries]
        self._carried += ((time.monotonic(), each) for each in ids)
        fate = self._aws.fate(ids)
        match fate:
            case "cut_before":
                self.close_connection = True
            case "error" | "outage":
                self._answer(503, b'{"__type":"ServiceUnavailable","message":"soak"}')
            case "throttle":
                self._answer(400, b'{"__type":"ThrottlingException","message":"soak"}')
            case "entry":
                self._all_but_the_last(operation, payload)
            case _:
                status, answer = self._forward(payload)
                if fate == "cut_after":
                    self.close_connection = True
                else:
                    self._answer(status, answer)

    def _all_but_the_last(self, operation: str, payload: dict[str, Any]) -> None:
        *others, last = payload["Entries"]
        answer: dict[str, Any] = {}
        if others:
            status, body = self._forward(payload | {"Entries": others})
            answer = json.loads(body)
            if status != HTTPStatus.OK:
                self._answer(status, body)
                return
        if operation == "PutEvents":
            answer.setdefault("Entries", []).append({"ErrorCode": "InternalFailure", "ErrorMessage": "soak"})
            answer["FailedEntryCount"] = answer.get("FailedEntryCount", 0) + 1
        else:
            failed = {"Id": last["Id"], "Code": "InternalError", "SenderFault": False, "Message": "soak"}
            answer.setdefault("Failed", []).append(failed)
        self._answer(200, json.dumps(answer).encode())

    def _forward(self, payload: Mapping[str, Any]) -> tuple[int, bytes]:
        body = json.dumps(payload).encode()
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _OF_ONE_HOP}
        self._services.request("POST", self.path, body=body, headers=headers)
        response = self._services.getresponse()
        return response.status, response.read()

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def handle(self) -> None:
        with contextlib.suppress(OSError):  # the process at the other end was killed
            super().handle()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 — the name is the base class's
        pass

"""The Lambda Runtime API, for one function process at a time.

The four calls of https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html that `awslambdaric` makes: next,
response, error and init error. Time limits are the caller's: `invoke` waits no longer than it is told.
"""

from __future__ import annotations

import json
import queue
import threading
import time
import uuid
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from types import TracebackType

_VERSION: Final = "2018-06-01"
_FUNCTION_ARN: Final = "arn:aws:lambda:eu-west-1:000000000000:function:local"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the runtime reported: `kind` is `response`, `error` or `init_error`, `body` the JSON that came with it."""

    kind: str
    body: Any


class RuntimeApi:
    """A Runtime API on a free loop-back port, within a `with` block.

    Start the function process with `AWS_LAMBDA_RUNTIME_API` set to `address`.
    """

    def __init__(self) -> None:
        self._events: queue.Queue[tuple[str, float, bytes]] = queue.Queue()
        self._answers: queue.Queue[Answer] = queue.Queue()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(self._events, self._answers))
        self._server.daemon_threads = True  # a runtime that waits for the next event holds a thread for ever
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self.address = f"127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def invoke(self, event: object, *, within: float) -> Answer:
        """Hand `event` to the function and wait `within` seconds for what it reports, or raise `TimeoutError`.

        A process that fails to initialise reports that first, and it is what is returned.
        """
        self._events.put((str(uuid.uuid4()), time.time() + within, json.dumps(event).encode()))
        try:
            return self._answers.get(timeout=within)
        except queue.Empty:
            raise TimeoutError(f"no answer within {within:g} s") from None


def _handler_of(
    events: queue.Queue[tuple[str, float, bytes]], answers: queue.Queue[Answer]
) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            request_id, deadline, body = events.get()
            self.send_response(200)
            self.send_header("Lambda-Runtime-Aws-Request-Id", request_id)
            self.send_header("Lambda-Runtime-Deadline-Ms", str(int(deadline * 1000)))
            self.send_header("Lambda-Runtime-Invoked-Function-Arn", _FUNCTION_ARN)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            body = json.loads(self._read_body() or b"null")
            match self.path.removeprefix(f"/{_VERSION}/runtime/").split("/"):
                case ["init", "error"]:
                    answers.put(Answer("init_error", body))
                case ["invocation", _, ("response" | "error") as kind]:
                    answers.put(Answer(kind, body))
                case _:
                    self.send_error(404)
                    return
            self.send_response(202)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _read_body(self) -> bytes:
            if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", "0")))
            chunks = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(chunks)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 — the name is the base class's
            pass  # the answers say it

    return Handler

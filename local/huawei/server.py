"""HTTP/1.1 with keep-alive around `Cloud`, on the loop-back address, in a thread or as a process."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import Future
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Self

from local.huawei.cloud import Cloud, Reply
from local.huawei.control import PREFIX, control
from local.huawei.signatures import Request

if TYPE_CHECKING:
    from collections.abc import Callable

    from local.huawei.scenario import Scenario

MAX_HEAD_BYTES: Final = 64 * 1024
MAX_BODY_BYTES: Final = 12 * 1024 * 1024
"""The gateway's own limit (devg-apisign, api-sign-0001)."""

MAX_CONTROL_BYTES: Final = 64 * 1024 * 1024
"""A scenario may hold many tasks of 30 000 targets."""

_ADDRESS: Final = "127.0.0.1"
_PHRASES: Final = {status.value: status.phrase for status in HTTPStatus}


class _Malformed(Exception):
    """What came is no request that can be answered; the connection is closed after `status`."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class HuaweiStandIn(Cloud):
    """The stand-in on a port of 127.0.0.1, served by a thread of this process while the `with` block runs.

    `scenario`: what it begins with, else one default key and no tasks. `clock`: seconds since 1970, for the
    tests. All methods of `Cloud` may be called meanwhile.
    """

    def __init__(self, scenario: Scenario | None = None, *, clock: Callable[[], float] = time.time) -> None:
        super().__init__(scenario, clock=clock)
        self._endpoint: str | None = None

    @property
    def endpoint(self) -> str:
        """The address of both services, such as `http://127.0.0.1:40123`. RuntimeError outside the `with` block."""
        if self._endpoint is None:
            raise RuntimeError("the stand-in is only served inside its `with` block")
        return self._endpoint

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        port: Future[int] = Future()
        self._thread = threading.Thread(target=self._run, args=(port,), name="huawei-stand-in", daemon=True)
        self._thread.start()
        self._endpoint = f"http://{_ADDRESS}:{port.result()}"
        return self

    def __exit__(self, *_: object) -> None:
        self._endpoint = None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self, port: Future[int]) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            try:
                runner.run(serve(self, port=0, ready=port.set_result, stop=self._stop))
            except OSError as error:
                port.set_exception(error)


async def serve(cloud: Cloud, *, port: int, ready: Callable[[int], None], stop: asyncio.Event) -> None:
    """Serve `cloud` on 127.0.0.1 until `stop` is set; `ready` is told the port. Raises OSError if it is taken."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(cloud, loop), _ADDRESS, port, backlog=512)
    ready(server.sockets[0].getsockname()[1])
    await stop.wait()
    server.close()
    server.abort_clients()
    await server.wait_closed()


class _Connection(asyncio.Protocol):
    """One client: reads requests, one after the other, and answers each before the next is read."""

    def __init__(self, cloud: Cloud, loop: asyncio.AbstractEventLoop) -> None:
        self._cloud = cloud
        self._loop = loop
        self._received = bytearray()
        self._answering = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - what create_server makes
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        self._serve_received()

    def _serve_received(self) -> None:
        while not self._answering and not self._transport.is_closing():
            try:
                request = _take_request(self._received)
            except _Malformed as malformed:
                self._transport.write(_head(Reply(malformed.status, b"")))
                self._transport.close()
                return
            if request is None:
                return
            self._answer(request)

    def _answer(self, request: Request) -> None:
        handled_by = control if request.target.startswith(PREFIX) else Cloud.handle
        reply = handled_by(self._cloud, request)
        wants_close = request.headers.get("connection", "").lower() == "close"
        if reply.delay:
            self._answering = True
            self._loop.call_later(reply.delay, self._deliver_late, reply, wants_close)
        else:
            self._deliver(reply, close=wants_close)

    def _deliver_late(self, reply: Reply, close: bool) -> None:  # noqa: FBT001 - call_later has no keywords
        self._answering = False
        if not self._transport.is_closing():
            self._deliver(reply, close=close)
            self._serve_received()

    def _deliver(self, reply: Reply, *, close: bool) -> None:
        if reply.cut == "all":
            self._transport.abort()
            return
        head = _head(reply)
        if reply.drip is not None:
            self._answering = True
            at_once = b"" if reply.drip_head else head
            self._transport.write(at_once)
            self._drip((head + reply.body)[len(at_once) :], reply.drip, close)
            return
        wire = head + reply.body
        self._transport.write(wire[: len(wire) // 2] if reply.cut == "half" else wire)
        if close or reply.cut == "half":
            self._transport.close()

    def _drip(self, wire: bytes, seconds: float, close: bool) -> None:  # noqa: FBT001 - call_later
        if self._transport.is_closing():
            return
        self._transport.write(wire[:1])
        if len(wire) > 1:
            self._loop.call_later(seconds, self._drip, wire[1:], seconds, close)
            return
        self._answering = False
        if close:
            self._transport.close()
        self._serve_received()


def _take_request(received: bytearray) -> Request | None:
    """Cut the first request off `received`; None if it is not all there yet. Raises `_Malformed`."""
    end = received.find(b"\r\n\r\n")
    if end < 0:
        if len(received) > MAX_HEAD_BYTES:
            raise _Malformed(431)
        return None
    first, *lines = received[:end].decode("latin-1").split("\r\n")
    parts = first.split(" ")
    if len(parts) != 3 or parts[2] != "HTTP/1.1" or not parts[1].startswith("/"):  # noqa: PLR2004 - a request line
        raise _Malformed(400)
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        name = name.lower()
        if not colon or name in headers or name != name.strip():
            raise _Malformed(400)
        headers[name] = value.strip()
    if "transfer-encoding" in headers:
        raise _Malformed(411)
    length = headers.get("content-length", "0")
    if not length.isascii() or not length.isdigit():
        raise _Malformed(400)
    whole = end + 4 + int(length)
    if int(length) > (MAX_CONTROL_BYTES if parts[1].startswith(PREFIX) else MAX_BODY_BYTES):
        raise _Malformed(413)
    if len(received) < whole:
        return None
    body = bytes(received[end + 4 : whole])
    del received[:whole]
    return Request(method=parts[0], target=parts[1], headers=headers, body=body)


def _head(reply: Reply) -> bytes:
    lines = [
        f"HTTP/1.1 {reply.status} {_PHRASES.get(reply.status, 'Unknown')}",
        f"Content-Length: {len(reply.body)}",
        *(f"{name}: {value}" for name, value in ({"Content-Type": "application/json"} | dict(reply.headers)).items()),
        "\r\n",
    ]
    return "\r\n".join(lines).encode("latin-1")

"""EventBridge and SQS for the bench, in a process of their own: they take what they are sent at once, and count.

`python -m bench.aws` prints its endpoint when it is ready and ends on SIGTERM. Signatures are not looked at.

| call | answers |
|---|---|
| `PutEvents`, `SendMessageBatch` | a yes for every entry |
| `GET /calls` | how often each was called, and the `events` that came |
| `GET /messages` | what was sent to queues since it was last asked: pairs of body and delay in seconds |
| `POST /reset` | `{}`; all counts are 0 again |
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections import Counter
from typing import Any, Final

# As it stands in the request; inside `Detail`, a string of JSON, the quotes are escaped.
_ONE_EVENT: Final = b'"DetailType"'


class Aws:
    """Both services, and what they were asked."""

    def __init__(self) -> None:
        self._calls: Counter[str] = Counter()
        self._messages: list[tuple[str, int]] = []

    def answer(self, path: str, operation: str, body: bytes) -> Any:
        """Answer one request; `operation` is its `X-Amz-Target`. Raises `ValueError` for any other."""
        match path, operation:
            case "/calls", _:
                return dict(self._calls)
            case "/messages", _:
                taken, self._messages = self._messages, []
                return taken
            case "/reset", _:
                self._calls.clear()
                self._messages.clear()
                return {}
            case _, "AWSEvents.PutEvents":
                events = body.count(_ONE_EVENT)
                self._calls.update({"PutEvents": 1, "events": events})
                return {"FailedEntryCount": 0, "Entries": [{"EventId": "e"}] * events}
            case _, "AmazonSQS.SendMessageBatch":
                entries = json.loads(body)["Entries"]
                self._calls["SendMessageBatch"] += 1
                self._messages += [(each["MessageBody"], each.get("DelaySeconds", 0)) for each in entries]
                return {"Successful": [{"Id": each["Id"], "MessageId": "m"} for each in entries], "Failed": []}
            case _:
                raise ValueError(f"{path} {operation}")


class _Connection(asyncio.Protocol):
    def __init__(self, aws: Aws) -> None:
        self._aws = aws
        self._received = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - what create_server makes
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            first, *lines = self._received[:end].decode("latin-1").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            whole = end + 4 + int(headers.get("content-length", "0"))
            if len(self._received) < whole:
                return
            body = bytes(self._received[end + 4 : whole])
            del self._received[:whole]
            answer = self._aws.answer(first.split(" ")[1], headers.get("x-amz-target", ""), body)
            written = json.dumps(answer, separators=(",", ":")).encode()
            self._transport.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.1\r\nContent-Length: %d\r\n\r\n%s"
                % (len(written), written)
            )


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    aws = Aws()
    server = await loop.create_server(lambda: _Connection(aws), "127.0.0.1", 0)
    sys.stdout.write(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await stop.wait()
    server.close()
    server.abort_clients()
    await server.wait_closed()


if __name__ == "__main__":
    asyncio.run(_serve())

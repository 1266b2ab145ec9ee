"""The one HTTP stack, for AWS and for Huawei Cloud: whole requests out of memory, whole answers into memory.

No redirects, which would carry a signature to a host it was not made for, and no retries, which belong to one layer
only. It is small because little is asked of it. In return a request takes a third of the CPU that urllib3 takes for
it, and no answer outlasts its time, however slowly it drips.

This is also the only place that knows the exceptions of sockets and TLS: callers see `Response`, `NoAnswer` or
`NoSuchHost` and nothing else.
"""

from __future__ import annotations

import io
import re
import select
import socket
import ssl
import time
import weakref
from collections import deque
from contextlib import contextmanager, suppress
from datetime import UTC
from threading import Semaphore
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from shared.http_answers import MAX_BODY_BYTES, BrokenAnswer, read_answer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

CONNECT_TIMEOUT: Final = 3.0
"""Seconds to wait for a TCP connection, and again for TLS; the SDK's own default is 60."""

READ_TIMEOUT: Final = 10.0
"""Seconds to wait for the whole answer once the request is out; the SDK's own default is 120."""

_MAX_BYTES_AROUND: Final = 1024 * 1024
"""Of all that is no body: headers, what comes before them, the sizes of chunks, trailers."""

_URL: Final = re.compile(
    r"""(?P<scheme>https?)://
        (?P<host>[A-Z0-9_-]{1,63}(?:\.[A-Z0-9_-]{1,63})*|\[[0-9A-F:.]+])
        (?P<port>:[0-9]{1,5})?
        (?P<target>/[!-~]*)?""",
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
_PORTS: Final = {"http": 80, "https": 443}
_LAST_PORT: Final = 65_535
_HEADER_VALUE: Final = re.compile(r"[\t -~]*")


class Response(NamedTuple):
    """A whole HTTP answer, whatever its status. `headers`: by names in lower case, repeated ones joined by commas."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class NoAnswer(Exception):
    """No whole answer came: refused, cut or timed out; try again.

    `was_sent` is False only where it is certain that no byte of the request reached the server.
    """

    def __init__(self, message: str, *, was_sent: bool = True) -> None:
        super().__init__(message)
        self.was_sent = was_sent


class NoSuchHost(Exception):
    """The address itself is wrong (unknown name, foreign certificate, no URL): trying again cannot help."""


class Http:
    """Connections kept alive and shared by all threads of one warm process.

    `connections`: how many to keep open to one host; a caller above it waits for a free one.
    """

    def __init__(self, *, connections: int) -> None:
        self._most = connections
        # One for all connections: to parse the trusted certificates takes 20 ms.
        self._trust = ssl.create_default_context()
        self._by_origin: dict[_Origin, _Connections] = {}

    def send(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes | None, timeout: float
    ) -> Response:
        """Send one request and read the whole answer, decoded, within `timeout` seconds.

        A kept connection that the server has closed meanwhile, as it does while a Lambda process is frozen, is
        replaced before anything is sent on it. Raises `NoAnswer` or `NoSuchHost`; never ssl's or the socket's own
        exceptions. A header that no HTTP message may hold is a `ValueError`.
        """
        must_end = time.monotonic() + timeout
        origin, target = _address(url)
        request = _request(method, target, origin, headers, body)
        connections = self._by_origin.get(origin) or self._by_origin.setdefault(
            origin, _Connections(origin, self._trust, self._most)
        )
        was_sent = False
        try:
            with connections.one(must_end) as connection:
                was_sent = True
                connection.settimeout(_left(must_end))
                connection.sendall(request)
                return _answer(connection, min(must_end, time.monotonic() + READ_TIMEOUT))
        except (BrokenAnswer, OSError) as error:
            raise translate(error, was_sent=was_sent) from error


def signing_time(at: datetime) -> str:
    """Write a moment as the signatures of both clouds want it: `20261123T084905Z`."""
    return at.astimezone(UTC).isoformat(timespec="seconds").translate(_NO_SEPARATORS)[:15] + "Z"  # not strftime: slow


_NO_SEPARATORS: Final = str.maketrans("", "", "-:")


def translate(error: Exception, *, was_sent: bool) -> NoAnswer | NoSuchHost:
    """Map what the reader of answers, ssl and the socket below it can raise to our two words."""
    message = str(error) or type(error).__name__
    match error:
        case socket.gaierror(errno=socket.EAI_NONAME) | ssl.SSLCertVerificationError():
            # "Name or service not known" is a wrong setting; "temporary failure" is a transient one.
            return NoSuchHost(message)
        case _:
            return NoAnswer(message, was_sent=was_sent)


class _Origin(NamedTuple):
    """Where connections lead. `name` is the `Host` header: the port is in it, unless it is the scheme's own."""

    scheme: str
    host: str
    port: int
    name: str


def _address(url: str) -> tuple[_Origin, str]:
    """Part a URL into its origin and the target of the request there."""
    parts = _URL.fullmatch(url)
    if parts is None:
        # Only what is behind an @: before it stand a name and a password.
        raise NoSuchHost(f"{url.rpartition('@')[2]!r} is not the URL of a host by https://")
    scheme, host = parts["scheme"].lower(), parts["host"].lower()
    port = int(parts["port"][1:]) if parts["port"] else _PORTS[scheme]
    if port > _LAST_PORT:
        raise NoSuchHost(f"{url!r} names a port that cannot be")
    name = host if port == _PORTS[scheme] else f"{host}:{port}"
    return _Origin(scheme, host.strip("[]"), port, name), parts["target"] or "/"


def _request(method: str, target: str, origin: _Origin, headers: Mapping[str, str], body: bytes | None) -> bytes:
    """Write the whole request, which then leaves in one piece."""
    if not _HEADER_VALUE.fullmatch("".join(headers.values())):
        wrong = next(name for name, value in headers.items() if not _HEADER_VALUE.fullmatch(value))
        # The value is not printed: it may be a secret.
        raise ValueError(f"the value of the header {wrong} holds a character that no header may hold")
    given = {name.lower() for name in headers}
    lines = [f"{method} {target} HTTP/1.1"]
    if "host" not in given:
        lines.append(f"Host: {origin.name}")
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if body is not None and "content-length" not in given:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join((*lines, "", "")).encode("ascii") + (body or b"")


class _Connections:
    """The connections to one origin: so many at most, the one that was used last taken first."""

    def __init__(self, origin: _Origin, trust: ssl.SSLContext, most: int) -> None:
        self._origin = origin
        self._trust = trust
        self._free = Semaphore(most)
        self._idle: deque[socket.socket] = deque()
        weakref.finalize(self, _close_all, self._idle)

    @contextmanager
    def one(self, must_end: float) -> Iterator[socket.socket]:
        """Lend a connection; whoever could not read the answer to its end closes it, and it is not lent again."""
        if not self._free.acquire(timeout=_left(must_end)):
            raise TimeoutError("no connection became free in time")
        try:
            connection = self._kept() or self._opened(must_end)
            try:
                yield connection
            except BaseException:
                connection.close()
                raise
            if connection.fileno() >= 0:
                self._idle.append(connection)
        finally:
            self._free.release()

    def _kept(self) -> socket.socket | None:
        while self._idle:
            connection = self._idle.pop()
            look = select.poll()
            look.register(connection, select.POLLIN)
            if not look.poll(0):
                return connection
            connection.close()  # the server has hung up, or says what nobody asked for
        return None

    def _opened(self, must_end: float) -> socket.socket:
        origin = self._origin
        plain = _reached(origin, must_end)
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if origin.scheme == "http":
                return plain
            plain.settimeout(min(CONNECT_TIMEOUT, _left(must_end)))
            # Whoever sits on the line can cut it, but not by TLS's own word: only where it ends so may a body end, too.
            return self._trust.wrap_socket(plain, server_hostname=origin.host, suppress_ragged_eofs=False)
        except BaseException:
            plain.close()
            raise


def _reached(origin: _Origin, must_end: float) -> socket.socket:
    """Connect to the first address of a host that can be reached.

    `socket.create_connection` would give each of them all of the time.
    """
    found = socket.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
    *others, last = [cast("tuple[str, int]", address[:2]) for *_, address in found]
    for address in others:
        with suppress(OSError):
            return socket.create_connection(address, timeout=min(CONNECT_TIMEOUT, _left(must_end)))
    return socket.create_connection(last, timeout=min(CONNECT_TIMEOUT, _left(must_end)))


def _close_all(idle: deque[socket.socket]) -> None:
    while idle:
        idle.pop().close()


class _InTime(io.RawIOBase):
    """What comes out of a connection, as long as there is time, and no more than an answer can be.

    A socket's own timeout bounds one receive: a server that drips bytes would hold us far beyond it.
    """

    def __init__(self, connection: socket.socket, must_end: float) -> None:
        super().__init__()
        self._connection = connection
        self._must_end = must_end
        self._left = MAX_BODY_BYTES + _MAX_BYTES_AROUND
        self.is_over = False
        """Whether the answer has been read: then nothing more is waited for."""

    def readable(self) -> bool:
        """Say yes, as BufferedReader asks."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override] # of a wider type there
        """Receive once."""
        if self.is_over:
            return 0
        self._connection.settimeout(_left(self._must_end))
        received = self._connection.recv_into(buffer)
        self._left -= received
        if self._left < 0:
            raise BrokenAnswer(f"answer longer than {MAX_BODY_BYTES} bytes")
        return received


def _answer(connection: socket.socket, must_end: float) -> Response:
    """Read one answer to its end; close the connection unless the next answer can only begin right there."""
    source = _InTime(connection, must_end)
    incoming = io.BufferedReader(source, 65_536)
    answer = read_answer(incoming)
    source.is_over = True
    # What came beyond the answer is the beginning of something that nobody asked for, and the next request would be
    # answered by the rest of it.
    if answer.is_last or incoming.peek(1):
        connection.close()
    return Response(answer.status, answer.headers, answer.body)


def _left(must_end: float) -> float:
    left = must_end - time.monotonic()
    if left <= 0:
        raise TimeoutError("answer not complete within its time")
    return left

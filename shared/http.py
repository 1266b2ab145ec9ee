"""The one HTTP stack, for AWS and for Huawei Cloud: whole requests out of memory, whole answers into memory.

urllib3 speaks HTTP, keeps the connections and knows proxies. What it leaves to its caller is here: one deadline for a
whole exchange, the size limit of an answer, when a kept connection is trusted, and whether a request was sent at all.
No redirects, which would carry a signature to a host it was not made for, and no retries, which belong to one layer.

This is also the only place that knows the exceptions of urllib3, sockets and TLS: callers see `Response`, `NoAnswer` or
`NoSuchHost` and nothing else.
"""

from __future__ import annotations

import io
import re
import socket
import ssl
import threading
import time
from base64 import b64encode
from contextlib import suppress
from datetime import UTC
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import urllib3
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager, ProxyManager, exceptions
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util import SKIP_HEADER
from urllib3.util.ssltransport import SSLTransport

from shared.proxies import DIRECT
from shared.redaction import redacted

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from urllib3 import BaseHTTPResponse

    from shared.proxies import Proxies, Proxy

CONNECT_TIMEOUT: Final = 3.0
"""Seconds to wait for a TCP connection, again for a proxy's answer, and again for TLS; the SDK's own default is 60."""

READ_TIMEOUT: Final = 10.0
"""Seconds to wait for the whole answer once the request is out; the SDK's own default is 120."""

MOST_IDLE: Final = 60.0
"""Seconds after which a kept connection is not used again: a NAT gateway forgets one after 350, others sooner.

https://docs.aws.amazon.com/vpc/latest/userguide/nat-gateway-troubleshooting.html#nat-gateway-troubleshooting-timeout
"""

MAX_BODY_BYTES: Final = 16 * 1024 * 1024
"""No answer that Stopline asks for comes near this, compressed or not; a longer one is a wrong host."""

_MAX_BYTES_AROUND: Final = 1024 * 1024
"""Of all that is no body: headers, what comes before them, the sizes of chunks, trailers."""

_BUFFER: Final = 65_536
_DIGITS: Final = 18
"""Of a length that can be a number of bytes at all."""

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
_ENCODINGS: Final = frozenset({"identity", "gzip", "x-gzip", "deflate"})
"""What urllib3 undoes without a further library; it would hand on any other as it came."""
_BODILESS: Final = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})


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
    """The address itself is wrong (unknown name, foreign certificate, no URL), or a proxy does not let us through.

    Trying again cannot help; a setting must be fixed.
    """


class Http:
    """Connections kept alive and shared by all threads of one warm process.

    `connections`: how many to keep open to one host; a caller above it waits for a free one. `ca_bundle`: a PEM file
    with the authorities to trust, in place of the system's (`SSL_CERT_FILE` is OpenSSL's own way to name those); raises
    `OSError` if it cannot be read or holds no certificate.
    """

    def __init__(self, *, connections: int, proxies: Proxies = DIRECT, ca_bundle: str | None = None) -> None:
        self._connections = connections
        self._proxies = proxies
        # One for all connections: to parse the trusted certificates takes 20 ms.
        self._trust = ssl.create_default_context(cafile=ca_bundle)
        self._hosts: dict[_Origin, _Host] = {}

    def send(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes | None, timeout: float
    ) -> Response:
        """Send one request and read the whole answer, decoded, within `timeout` seconds.

        Only the resolver may take longer, since getaddrinfo has no timeout but its own, and an `https://` proxy behind
        which the host's TLS handshake drips, since urllib3 then bounds each receive alone.

        A kept connection that the server has closed meanwhile, as it does while a Lambda process is frozen, is
        replaced before anything is sent on it. If one fails while it is used, none that was opened before is used
        again: what cut one off, such as a NAT gateway, has cut off all. Raises `NoAnswer` or `NoSuchHost`; never
        the exceptions of urllib3, ssl or sockets. A header that no HTTP message may hold is a `ValueError`.
        """
        origin, target = address(url)
        host = self._hosts.get(origin) or self._hosts.setdefault(origin, self._host(origin))
        exchange = _Exchange(host, time.monotonic() + timeout)
        _CURRENT.exchange = exchange
        try:
            response = host.pool.urlopen(
                method,
                host.prefix + target,
                body=body,
                headers=_checked(headers),
                retries=False,
                redirect=False,
                timeout=urllib3.Timeout(connect=min(CONNECT_TIMEOUT, exchange.left()), read=exchange.left()),
                pool_timeout=exchange.left(),  # type: ignore[arg-type] # any number will do
                preload_content=False,
                assert_same_host=not host.prefix,
            )
            return _read(response)
        except (exceptions.HTTPError, HTTPException, OSError) as error:
            if exchange.is_reused:
                host.distrusted += 1
            raise translate(error, was_sent=exchange.was_sent) from error
        finally:
            del _CURRENT.exchange

    def _host(self, origin: _Origin) -> _Host:
        proxy = self._proxies.of(origin.scheme, origin.host, origin.port)
        manager = self._manager(proxy)
        manager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
        is_forwarded = proxy is not None and origin.scheme == "http"
        try:
            pool = manager.connection_from_host(origin.host, origin.port, origin.scheme)
        except exceptions.LocationValueError as error:
            raise NoSuchHost(str(error)) from error
        return _Host(pool, prefix=f"http://{origin.name}" if is_forwarded else "")

    def _manager(self, proxy: Proxy | None) -> PoolManager:
        if proxy is None:
            return PoolManager(maxsize=self._connections, block=True, ssl_context=self._trust)
        # Not urllib3's make_headers, which fails for a password beyond Latin-1.
        login = {"Proxy-Authorization": f"Basic {b64encode(proxy.login.encode()).decode()}"} if proxy.login else None
        return ProxyManager(
            proxy.url,
            proxy_headers=login,
            proxy_ssl_context=self._trust,
            maxsize=self._connections,
            block=True,
            ssl_context=self._trust,
        )


def signing_time(at: datetime) -> str:
    """Write a moment as the signatures of both clouds want it: `20261123T084905Z`."""
    return at.astimezone(UTC).isoformat(timespec="seconds").translate(_NO_SEPARATORS)[:15] + "Z"  # not strftime: slow


_NO_SEPARATORS: Final = str.maketrans("", "", "-:")


def translate(error: Exception, *, was_sent: bool) -> NoAnswer | NoSuchHost:
    """Map what urllib3 and, below it, http.client, ssl and sockets can raise to our two words."""
    cause, where = error, ""
    while True:
        match cause:
            case exceptions.ProxyError(original_error=Exception() as below):
                cause, where = below, "the proxy: "
            case exceptions.SSLError(args=(Exception() as below,)):
                cause = below
            case exceptions.ProtocolError(args=(_, Exception() as below)):
                cause = below
            case exceptions.NameResolutionError(__cause__=Exception() as below):
                cause = below
            case _:
                break
    message = where + (str(cause) or type(cause).__name__)
    match cause:
        case (
            socket.gaierror(errno=socket.EAI_NONAME) | ssl.SSLCertVerificationError() | exceptions.LocationValueError()
        ):
            # "Name or service not known" is a wrong setting; "temporary failure" is a transient one.
            return NoSuchHost(message)
        case OSError(args=(str(said),)) if _REFUSED_TUNNEL.match(said):
            return NoSuchHost(f"the proxy: {said}")
        case exceptions.EmptyPoolError():
            return NoAnswer("no connection became free in time", was_sent=was_sent)
        case exceptions.TimeoutError() if was_sent:
            return NoAnswer(_TOO_LATE)
        case _:
            return NoAnswer(message, was_sent=was_sent)


# http.client's words. A proxy that has no time (408, 429) or gets no answer itself (5xx) may be asked again.
_REFUSED_TUNNEL: Final = re.compile(r"Tunnel connection failed: 4(?!08|29)\d\d\b")
_TOO_LATE: Final = "answer not complete within its time"


class _Origin(NamedTuple):
    """Where connections lead. `name` is the `Host` header: the port is in it, unless it is the scheme's own."""

    scheme: str
    host: str
    port: int
    name: str


def address(url: str) -> tuple[_Origin, str]:
    """Return the origin of a URL and the target of a request there; raises `NoSuchHost` for what is no URL."""
    parts = _URL.fullmatch(url)
    if parts is None:
        raise NoSuchHost(f"{redacted(url)!r} is not the URL of a host by https://")
    scheme, host = parts["scheme"].lower(), parts["host"].lower()
    port = int(parts["port"][1:]) if parts["port"] else _PORTS[scheme]
    if port > _LAST_PORT:
        raise NoSuchHost(f"{redacted(url)!r} names a port that cannot be")
    name = host if port == _PORTS[scheme] else f"{host}:{port}"
    return _Origin(scheme, host.strip("[]"), port, name), parts["target"] or "/"


def _checked(headers: Mapping[str, str]) -> dict[str, str]:
    if not _HEADER_VALUE.fullmatch("".join(headers.values())):
        wrong = next(name for name, value in headers.items() if not _HEADER_VALUE.fullmatch(value))
        # The value is not printed: it may be a secret.
        raise ValueError(f"the value of the header {wrong} holds a character that no header may hold")
    return {"User-Agent": SKIP_HEADER, **headers}


def _read(response: BaseHTTPResponse) -> Response:
    """Read an answer to its end; close the connection if it has no clear one."""
    try:
        return _whole(response)
    except BaseException:
        response.close()
        raise
    finally:
        response.release_conn()


def _whole(response: BaseHTTPResponse) -> Response:
    # http.client skips 100 only, and would leave the answer proper to the next request.
    if response.status < HTTPStatus.OK:
        raise exceptions.ProtocolError(f"status {response.status}, and no answer to what was asked")
    headers = {name.lower(): value for name, value in response.headers.itermerged()}
    encoding = (headers.get("content-encoding") or "identity").lower()
    if encoding not in _ENCODINGS:
        raise exceptions.DecodeError(f"answer in the unknown encoding {encoding[:40]!r}")
    length = headers.get("content-length", "")
    if length.isdecimal() and (len(length) > _DIGITS or int(length) > MAX_BODY_BYTES):
        raise _too_long()
    try:
        # What comes is bounded by the stream itself; what it is inflated to, here.
        body = response.read(None if encoding == "identity" else MAX_BODY_BYTES + 1)
    except (ValueError, OverflowError, MemoryError) as error:  # http.client, of a chunk of negative or absurd size
        raise exceptions.ProtocolError("no chunk") from error
    if len(body) > MAX_BODY_BYTES:
        raise _too_long()
    ends_somewhere = headers.keys() & {"content-length", "transfer-encoding"} or response.status in _BODILESS
    if not body and not ends_somewhere:
        raise exceptions.ProtocolError("answer without a body, and without a word that there is none")
    return Response(response.status, headers, body)


def _too_long() -> exceptions.ProtocolError:
    return exceptions.ProtocolError(f"answer longer than {MAX_BODY_BYTES} bytes")


class _Host:
    """The pool of connections to one host.

    One that was opened before the last time the host was `distrusted` is not used again. `prefix` makes the target of a
    request absolute, as a proxy wants it that forwards.
    """

    def __init__(self, pool: HTTPConnectionPool, *, prefix: str) -> None:
        self.pool = pool
        self.prefix = prefix
        self.distrusted = 0


class _Exchange:
    """What a connection must know of the request that it carries, and finds out about it."""

    def __init__(self, host: _Host, must_end: float) -> None:
        self.host = host
        self.must_end = must_end
        self.is_reused = False
        self.was_sent = False
        """Whether it had a connection, so that some of it may have been sent."""

    def left(self) -> float:
        """Return the seconds that are left; raises `TimeoutError` if there are none."""
        left = self.must_end - time.monotonic()
        if left <= 0:
            raise TimeoutError(_TOO_LATE)
        return left


class _Current(threading.local):
    """The exchange of each thread: urllib3 chooses the connection itself, and lends it to one thread at a time."""

    exchange: _Exchange


_CURRENT: Final = _Current()


def _time_to_connect() -> float:
    return min(CONNECT_TIMEOUT, _CURRENT.exchange.left())


class _Connection(HTTPConnection):
    """A connection of urllib3 that keeps to the deadline of the current exchange and knows when it is used up."""

    has_surplus = False
    """Whether something was said beyond the last answer."""
    _distrusted = 0
    _used_at = 0.0

    @property
    def is_connected(self) -> bool:
        """Whether this kept connection may carry another request; urllib3 closes and reopens it if not."""
        # The wall clock: the other may stand still while Lambda keeps the process frozen.
        idle = time.time() - self._used_at
        exchange = _CURRENT.exchange
        exchange.is_reused = exchange.was_sent = (
            super().is_connected
            and not self.has_surplus
            and not self._is_tls_in_tls
            and 0 <= idle <= MOST_IDLE
            and self._distrusted == exchange.host.distrusted
        )
        return exchange.is_reused

    @property
    def _is_tls_in_tls(self) -> bool:
        # What came beyond an answer may lie in urllib3's buffer between the two, where nothing shows it.
        return isinstance(self.sock, SSLTransport)

    def connect(self) -> None:
        """Connect, through a proxy if need be, and by TLS."""
        self.has_surplus = False
        self._distrusted = _CURRENT.exchange.host.distrusted
        super().connect()
        _CURRENT.exchange.was_sent = True

    def _tunnel(self) -> None:
        exchange = _CURRENT.exchange
        must_end = exchange.must_end
        exchange.must_end = min(must_end, time.monotonic() + CONNECT_TIMEOUT)
        try:
            super()._tunnel()
        finally:
            exchange.must_end = must_end
        self.sock.settimeout(_time_to_connect())  # for TLS

    def _new_conn(self) -> socket.socket:
        """Connect to the first address that can be reached; urllib3 would give each of them all of the time."""
        found = socket.getaddrinfo(self._dns_host, self.port, type=socket.SOCK_STREAM)
        *others, last = [cast("tuple[str, int]", address[:2]) for *_, address in found]
        for address in others:
            with suppress(OSError):
                return self._reached(address)
        return self._reached(last)

    def _reached(self, address: tuple[str, int]) -> socket.socket:
        reached = socket.create_connection(address, timeout=_time_to_connect())
        try:
            reached.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            reached.settimeout(_time_to_connect())  # for TLS, or for what a proxy is asked
        except BaseException:
            reached.close()
            raise
        return reached

    def request(self, *args: Any, **named: Any) -> None:
        """Send a request. What an earlier one left of its time is not the limit of this one."""
        if self.sock is not None:
            self.sock.settimeout(_CURRENT.exchange.left())
        super().request(*args, **named)

    def response_class(  # type: ignore[override] # to http.client a class, to be called like this
        self, sock: socket.socket, *_: object, method: str | None = None
    ) -> HTTPResponse:
        """Make http.client's reader of an answer, over a stream that ends in time."""
        return HTTPResponse(cast("socket.socket", _Incoming(self, sock)), method=method)

    def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override] # as in urllib3
        """Wait for an answer and read its headers."""
        exchange = _CURRENT.exchange
        exchange.must_end = min(exchange.must_end, time.monotonic() + READ_TIMEOUT)
        response = super().getresponse()
        self._used_at = time.time()
        return response


class _TlsConnection(_Connection, HTTPSConnection):
    """The same by TLS."""

    def connect(self) -> None:
        """Connect, and demand that the server ends what it says."""
        super().connect()
        # Somebody between could cut the line, but not by TLS's own word: only where it ends so may a body end, too.
        self.sock.suppress_ragged_eofs = False  # type: ignore[union-attr] # of SSLSocket and of urllib3's SSLTransport


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


class _InTime(io.RawIOBase):
    """What comes out of a connection, as long as there is time, and no more than an answer can be.

    A socket's own timeout bounds one receive: a server that drips bytes would hold us far beyond it.
    """

    def __init__(self, sock: socket.socket) -> None:
        super().__init__()
        self._socket = sock
        # A connection that ends with its answer is closed before that is read; this file keeps its socket open.
        self._file = sock.makefile("rb", buffering=0)
        self._most = MAX_BODY_BYTES + _MAX_BYTES_AROUND
        self.is_over = False
        """Whether the answer has been read: then nothing more is waited for."""

    def readable(self) -> bool:
        """Return True, as BufferedReader asks."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override] # of a wider type there
        """Receive once."""
        if self.is_over:
            return 0
        self._socket.settimeout(_CURRENT.exchange.left())
        received = self._socket.recv_into(buffer)
        self._most -= received
        if self._most < 0:
            raise _too_long()
        return received

    def close(self) -> None:
        """Let go of the socket."""
        self._file.close()
        super().close()


class _Incoming(io.BufferedReader):
    """One answer, as http.client reads it from the file that it makes of a socket."""

    def __init__(self, connection: _Connection, sock: socket.socket) -> None:
        self._source = _InTime(sock)
        self._connection = connection
        super().__init__(self._source, _BUFFER)

    def makefile(self, _mode: str) -> _Incoming:
        """Return itself: this is what http.client takes for a socket."""
        return self

    def close(self) -> None:
        """End the answer. What came beyond it, the next request would be answered by the rest of."""
        if not self.closed:
            self._source.is_over = True
            self._connection.has_surplus = bool(self.peek(1))
        super().close()

"""The one HTTP stack, for AWS and for Huawei Cloud: urllib3 without redirects and without retries of its own.

Retries belong to one layer only, and a redirect would carry a signature to a host it was not made for, so
both are off here. This is also the only place that knows urllib3's exceptions: callers see `Response`,
`NoAnswer` or `NoSuchHost` and nothing else.
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import urllib3
from urllib3 import exceptions as urllib3_errors
from urllib3.connection import HTTPConnection
from urllib3.util.ssl_ import create_urllib3_context

if TYPE_CHECKING:
    from collections.abc import Mapping

CONNECT_TIMEOUT: Final = 3.0
"""Seconds to wait for a TCP and TLS connection; the SDK's own default is 60."""

READ_TIMEOUT: Final = 10.0
"""Seconds to wait for the whole answer; the SDK's own default is 120."""

MAX_BODY_BYTES: Final = 16 * 1024 * 1024
"""No answer that Stopline asks for comes near this; a longer one is a wrong host."""

_READ_BYTES: Final = 65_536

_HEADER_VALUE: Final = re.compile(r"[\t -~]*")


@dataclass(frozen=True, slots=True)
class Response:
    """A whole HTTP answer, whatever its status. `headers` are looked up without regard to case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class NoAnswer(Exception):
    """No whole answer came: refused, cut or timed out. The request may or may not have arrived; try again."""


class NoSuchHost(Exception):
    """The address itself is wrong (unknown name, foreign certificate, no URL): trying again cannot help."""


class Http:
    """Connections kept alive and shared by all threads of one warm process.

    `connections`: how many to keep open to one host; a caller above it waits for a free one.
    """

    def __init__(self, *, connections: int) -> None:
        # One for all connections: left to itself, urllib3 parses the trusted certificates, 20 ms, for each.
        trust = create_urllib3_context()
        trust.load_default_certs()
        self._pool = urllib3.PoolManager(num_pools=8, maxsize=connections, block=True, retries=False, ssl_context=trust)

    def send(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes | None, timeout: float
    ) -> Response:
        """Send one request and read the whole answer, decoded, within `timeout` seconds.

        A kept connection that the server has closed meanwhile, as it does while a Lambda process is frozen, is
        replaced before anything is sent on it. Raises `NoAnswer` or `NoSuchHost`; never urllib3's, http.client's
        or ssl's own exceptions. A header that no HTTP message may hold is a `ValueError`.
        """
        for name, value in headers.items():
            if not _HEADER_VALUE.fullmatch(value):  # http.client would refuse it, too, and print a secret doing so
                raise ValueError(f"the value of the header {name} holds a character that no header may hold")
        if not url.lower().startswith(("https://", "http://")):  # urllib3 would guess http
            raise NoSuchHost(f"{url!r} does not begin with https://")
        must_end = time.monotonic() + timeout
        try:
            response = self._pool.request(
                method,
                url,
                headers=headers,
                body=body,
                timeout=urllib3.Timeout(
                    connect=min(CONNECT_TIMEOUT, timeout), read=min(READ_TIMEOUT, timeout), total=timeout
                ),
                pool_timeout=timeout,
                redirect=False,
                preload_content=False,
            )
            try:
                return Response(
                    status=response.status,
                    headers=response.headers,
                    body=_read_whole(response, must_end),
                )
            except BaseException:
                response.close()  # half-read: the connection must not go back to the pool
                raise
            finally:
                response.release_conn()
        except (
            urllib3_errors.HTTPError,
            urllib3_errors.ProxySchemeUnsupported,
            http.client.HTTPException,
            OSError,
        ) as error:
            raise translate(error) from error


def translate(error: Exception) -> NoAnswer | NoSuchHost:
    """Map what urllib3, and http.client, ssl and the socket below it, can raise to our two words."""
    word = NoSuchHost if any(map(_is_wrong_address, (error, error.__cause__, *error.args))) else NoAnswer
    return word(str(error) or type(error).__name__)


def _is_wrong_address(part: object) -> bool:
    """Tell whether `part`, an error or what it wraps, says that the address itself is at fault."""
    match part:
        case socket.gaierror():
            # "Name or service not known" is a wrong setting; "temporary failure" is a passing one.
            return part.errno == socket.EAI_NONAME
        case (
            ssl.SSLCertVerificationError()
            | http.client.InvalidURL()
            | urllib3_errors.LocationValueError()
            | urllib3_errors.ProxySchemeUnsupported()
            | urllib3_errors.InvalidHeader()
        ):
            return True
        case _:
            return False


def _read_whole(response: urllib3.BaseHTTPResponse, must_end: float) -> bytes:
    # A read timeout bounds one recv, not the answer: a server that drips bytes would hold us past the deadline.
    parts: list[bytes] = []
    size = 0
    while part := _read_part(response, must_end):
        parts.append(part)
        size += len(part)
        if size > MAX_BODY_BYTES:
            raise urllib3_errors.ProtocolError(f"answer longer than {MAX_BODY_BYTES} bytes")
    if not parts and not _says_it_is_empty(response):
        # http.client takes a connection cut amid the headers for their end, and what follows for an empty answer.
        raise urllib3_errors.ProtocolError("answer without a body, and without a word that there is none")
    return b"".join(parts)


def _says_it_is_empty(response: urllib3.BaseHTTPResponse) -> bool:
    bodiless = {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}
    return response.status in bodiless or not {"content-length", "transfer-encoding"}.isdisjoint(
        name.lower() for name in response.headers
    )


def _read_part(response: urllib3.BaseHTTPResponse, must_end: float) -> bytes:
    left = must_end - time.monotonic()
    if left <= 0:
        raise urllib3_errors.ProtocolError("answer not complete within its time")
    # Gone already when the server has said "Connection: close"; then the read timeout bounds the last recv.
    if isinstance(response.connection, HTTPConnection) and response.connection.sock:
        response.connection.sock.settimeout(left)
    return response.read1(_READ_BYTES)

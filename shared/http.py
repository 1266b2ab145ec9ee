"""The one HTTP stack, for AWS and for Huawei Cloud: urllib3 without redirects and without retries of its own.

Retries belong to one layer only, and a redirect would carry a signature to a host it was not made for, so
both are off here. This is also the only place that knows urllib3's exceptions: callers see `Response`,
`NoAnswer` or `NoSuchHost` and nothing else.
"""

from __future__ import annotations

import socket
import ssl
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import urllib3
from urllib3 import exceptions as urllib3_errors

if TYPE_CHECKING:
    from collections.abc import Mapping

CONNECT_TIMEOUT: Final = 3.0
"""Seconds to wait for a TCP and TLS connection; the SDK's own default is 60."""

READ_TIMEOUT: Final = 10.0
"""Seconds to wait for the whole answer; the SDK's own default is 120."""

MAX_BODY_BYTES: Final = 16 * 1024 * 1024
"""No answer that Stopline asks for comes near this; a longer one is a wrong host."""

_READ_BYTES: Final = 65_536


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
        self._pool = urllib3.PoolManager(num_pools=8, maxsize=connections, block=True, retries=False)

    def send(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes | None, timeout: float
    ) -> Response:
        """Send one request and read the whole answer within `timeout` seconds.

        Raises `NoAnswer` or `NoSuchHost`; never urllib3's, http.client's or ssl's own exceptions.
        """
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
        except (urllib3_errors.HTTPError, urllib3_errors.ProxySchemeUnsupported, OSError) as error:
            raise translate(error) from error


def translate(error: Exception) -> NoAnswer | NoSuchHost:
    """Map what urllib3 (and the socket below it) can raise to our two words."""
    match error:
        case urllib3_errors.NameResolutionError():
            cause = error.__cause__
            # "Name or service not known" is a wrong setting; "temporary failure" is a passing one.
            if isinstance(cause, socket.gaierror) and cause.errno == socket.EAI_NONAME:
                return NoSuchHost(str(error))
            return NoAnswer(str(error))
        case urllib3_errors.SSLError():
            if any(isinstance(part, ssl.SSLCertVerificationError) for part in (*error.args, error.__cause__)):
                return NoSuchHost(str(error))
            return NoAnswer(str(error))
        case (
            urllib3_errors.LocationValueError()
            | urllib3_errors.ProxySchemeUnsupported()
            | urllib3_errors.InvalidHeader()
        ):
            return NoSuchHost(str(error))
        case _:
            return NoAnswer(str(error) or type(error).__name__)


def _read_whole(response: urllib3.BaseHTTPResponse, must_end: float) -> bytes:
    # A read timeout bounds one recv, not the answer: a server that drips bytes would hold us past the deadline.
    parts: list[bytes] = []
    size = 0
    while part := response.read1(_READ_BYTES):
        parts.append(part)
        size += len(part)
        if size > MAX_BODY_BYTES:
            raise urllib3_errors.ProtocolError(f"answer longer than {MAX_BODY_BYTES} bytes")
        if time.monotonic() > must_end:
            raise urllib3_errors.ProtocolError("answer not complete within its time")
    return b"".join(parts)

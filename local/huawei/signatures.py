"""Who signed a request, found out from the bytes that arrived and without the SDK that signed it.

The algorithm is Huawei's "AK/SK signing and verification" (devg-apisign, api-sign-algorithm); the derived kind
is the same with another first line and a key from HKDF (RFC 5869, one block) over `date/region/service`.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local.huawei.scenario import AccessKey, Signing

MAX_SKEW_SECONDS: Final = 15 * 60
"""How far X-Sdk-Date may be from now (devg-apisign, api-sign-0001)."""

FAILURES_BEFORE_LOCK: Final = 5
"""More consecutive failures than this lock the key (apig-faq-0003)."""

LOCK_SECONDS: Final = 5 * 60

DERIVED_SERVICE: Final = "iotdm"

# The texts of APIGW.0301 (devg-apisign, api-sign-errorcode).
NOT_VERIFIED: Final = "verify aksk signature fail"
LOCKED: Final = "AK access failed to reach the limit, forbidden"
UNKNOWN_KEY: Final = "Get secretKey failed, ak not exist"
NO_TOKEN: Final = "x-auth-token not found"
BAD_TOKEN: Final = "decrypt token fail"

_AUTHORIZATION: Final = re.compile(
    r"(?:SDK-HMAC-SHA256 Access=(?P<plain_ak>[^,/\s]+)"
    r"|V11-HMAC-SHA256 Credential=(?P<derived_ak>[^,/\s]+)/(?P<scope>\d{8}/[^,/\s]+/[^,/\s]+))"
    r",\s*SignedHeaders=(?P<headers>[a-z0-9;-]+),\s*Signature=(?P<signature>[0-9a-f]{64})"
)
_EMPTY_SHA256: Final = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request as it arrived: `target` undecoded, header names in lower case, text as latin-1."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Accepted:
    """The request is signed by this key."""

    key: AccessKey
    signing: Signing


@dataclass(frozen=True, slots=True)
class Refused:
    """The request is not let in; `wrong_signing` if only the kind of signature is to blame."""

    reason: str
    ak: str | None
    signing: Signing | None
    wrong_signing: bool = False


@dataclass(frozen=True, slots=True)
class _Authorization:
    ak: str
    scope: str | None
    signed_headers: str
    signature: str

    @property
    def signing(self) -> Signing:
        return "plain" if self.scope is None else "derived"


class Authenticator:
    """The keys that exist, and the count of consecutive failures that locks one."""

    def __init__(self) -> None:
        self._keys: dict[str, AccessKey] = {}
        self._failures: dict[str, int] = {}
        self._locked_until: dict[str, float] = {}
        self.refusals = 0

    def add(self, key: AccessKey) -> None:
        """Let `key` sign; one of the same AK is replaced, as when a temporary key is renewed."""
        self._keys[key.ak] = key

    def authenticate(self, request: Request, *, demanded: Signing, region: str, now: float) -> Accepted | Refused:
        """Say whose request it is. `now` is in seconds since 1970."""
        outcome = self._judge(request, demanded=demanded, region=region, now=now)
        if isinstance(outcome, Accepted):
            self._failures.pop(outcome.key.ak, None)
            return outcome
        self.refusals += 1
        if outcome.ak is not None and outcome.reason != LOCKED:
            failures = self._failures.get(outcome.ak, 0) + 1
            self._failures[outcome.ak] = failures
            if failures > FAILURES_BEFORE_LOCK:
                self._locked_until[outcome.ak] = now + LOCK_SECONDS
                del self._failures[outcome.ak]
        return outcome

    def _judge(self, request: Request, *, demanded: Signing, region: str, now: float) -> Accepted | Refused:
        headers = request.headers
        authorization = _read(headers.get("authorization", ""))
        if authorization is None:
            # IAM tokens are not played: whoever sends one must not believe that it was checked.
            return Refused(BAD_TOKEN if "x-auth-token" in headers else NO_TOKEN, None, None)
        ak, signing = authorization.ak, authorization.signing
        if self._locked_until.get(ak, now) > now:
            return Refused(LOCKED, ak, signing)
        key = self._keys.get(ak)
        if key is None:
            return Refused(UNKNOWN_KEY, ak, signing)
        if signing != demanded:
            return Refused(NOT_VERIFIED, ak, signing, wrong_signing=True)
        if not (
            _is_fresh(headers.get("x-sdk-date", ""), now)
            and (key.expires_at is None or now < key.expires_at)
            and _is_covered(authorization, headers, region)
            and _has_token(authorization, headers, key)
            and hmac.compare_digest(authorization.signature, _signature(request, authorization, key.sk))
        ):
            # UNVERIFIED that an old date or key or a wrong token has no text of its own: the least helpful is chosen.
            return Refused(NOT_VERIFIED, ak, signing)
        return Accepted(key, signing)


def _read(header: str) -> _Authorization | None:
    found = _AUTHORIZATION.fullmatch(header)
    if found is None:
        return None
    return _Authorization(
        ak=found["plain_ak"] or found["derived_ak"],
        scope=found["scope"],
        signed_headers=found["headers"],
        signature=found["signature"],
    )


def _is_fresh(date: str, now: float) -> bool:
    try:
        signed_at = datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return False
    return abs(now - signed_at) <= MAX_SKEW_SECONDS


def _is_covered(authorization: _Authorization, headers: Mapping[str, str], region: str) -> bool:
    signed = authorization.signed_headers.split(";")
    if signed != sorted(set(signed)) or not {"host", "x-sdk-date"} <= set(signed) <= set(headers):
        return False
    if authorization.scope is None:
        return True
    return authorization.scope == f"{headers['x-sdk-date'][:8]}/{region}/{DERIVED_SERVICE}"


def _has_token(authorization: _Authorization, headers: Mapping[str, str], key: AccessKey) -> bool:
    if key.security_token is None:
        return "x-security-token" not in headers  # a token of another key: UNVERIFIED, refused
    return headers.get(
        "x-security-token"
    ) == key.security_token and "x-security-token" in authorization.signed_headers.split(";")


def _signature(request: Request, authorization: _Authorization, sk: str) -> str:
    date = request.headers["x-sdk-date"]
    digest = hashlib.sha256(_canonical(request, authorization.signed_headers)).hexdigest()
    if authorization.scope is None:
        return _hmac(sk.encode(), f"SDK-HMAC-SHA256\n{date}\n{digest}".encode()).hex()
    extracted = _hmac(authorization.ak.encode(), sk.encode())
    derived = _hmac(extracted, authorization.scope.encode() + b"\x01").hex()
    return _hmac(derived.encode(), f"V11-HMAC-SHA256\n{date}\n{authorization.scope}\n{digest}".encode()).hex()


def _canonical(request: Request, signed_headers: str) -> bytes:
    path, _, query = request.target.partition("?")
    canonical_path = quote(unquote(path), safe="/~")
    if not canonical_path.endswith("/"):
        canonical_path += "/"
    headers = "".join(f"{name}:{request.headers[name]}\n" for name in signed_headers.split(";"))
    return "\n".join(
        (
            request.method,
            canonical_path,
            _canonical_query(query),
            headers,
            signed_headers,
            _payload_hash(request),
        )
    ).encode("latin-1")


def _canonical_query(query: str) -> str:
    if not query:
        return ""
    pairs = sorted(
        (unquote(name), unquote(value)) for name, _, value in (part.partition("=") for part in query.split("&"))
    )
    return "&".join(f"{quote(name, safe='~')}={quote(value, safe='~')}" for name, value in pairs)


def _payload_hash(request: Request) -> str:
    if not request.body:
        return _EMPTY_SHA256
    if request.headers.get("x-sdk-content-sha256") == "UNSIGNED-PAYLOAD":
        return "UNSIGNED-PAYLOAD"
    return hashlib.sha256(request.body).hexdigest()


def _hmac(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")

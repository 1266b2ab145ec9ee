"""Keys for Huawei Cloud without a stored secret: AWS says who we are, and Huawei's STS believes it for an hour.

AWS STS signs a token that names the function's role (`GetWebIdentityToken`); Huawei's STS checks it against the OIDC
provider and the agency's trust policy, and gives temporary keys for it
(https://support.huaweicloud.com/intl/en-us/api-iam5/AssumeAgencyWithOIDC.html). How to set up both clouds is said in
docs/keyless.md. Neither the token nor the keys appear in a repr, a log or an error.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Protocol

from shared.aws import AwsRefused, AwsUnavailable
from shared.errors import DeploymentFault
from shared.fetch_once import FetchOnce
from shared.http import NoAnswer, NoSuchHost
from shared.huawei.client import USER_AGENT, HttpSender, Reply, read_reply
from shared.huawei.credentials import Credentials
from shared.outcomes import ERROR_MESSAGE_LENGTH, shorten
from shared.patience import pauses

if TYPE_CHECKING:
    from shared.deadline import Deadline
    from shared.patience import Patience

SESSION_SECONDS: Final = 3600
"""How long the keys shall be good: the longest that every agency allows, and Huawei's own default."""

TOKEN_SECONDS: Final = 300
"""How long AWS's token is good. It is used at once; the rest is for clocks that differ. The roles allow no more."""

RENEWED_BEFORE: Final = 1 / 6
"""The part of their time for which keys are left when they are renewed: ten minutes of an hour, as AWS's SDKs do."""

_KEYS: Final = ("access_key_id", "secret_access_key", "security_token")
"""Where they stand under `credentials` in the answer."""

_REQUEST_TIMEOUT: Final = 10.0
"""Seconds for one request; less when the deadline is nearer."""

_WHAT_TO_CHECK: Final[dict[int, str]] = {
    HTTPStatus.BAD_REQUEST: (
        "check that HUAWEICLOUD_OIDC_PROVIDER_URN and _AGENCY_URN are right and of one account, and that the "
        "provider's issuer URL is the IssuerIdentifier of this AWS account"
    ),
    HTTPStatus.UNAUTHORIZED: (
        "check the OIDC provider: its URL must be the IssuerIdentifier of this AWS account, and its client ids must "
        "hold HUAWEICLOUD_OIDC_PROVIDER_URN, which is the token's audience"
    ),
    HTTPStatus.FORBIDDEN: (
        "check the agency's trust policy: action sts:agencies:assumeWithOIDC, the provider as Federated principal, "
        "oidc:aud = HUAWEICLOUD_OIDC_PROVIDER_URN, oidc:sub = the ARN of this function's role, oidc:iss = the "
        "IssuerIdentifier of this AWS account"
    ),
    HTTPStatus.NOT_FOUND: (
        "check HUAWEICLOUD_OIDC_PROVIDER_URN and _AGENCY_URN, and that HUAWEICLOUD_SDK_STS_ENDPOINT is an address of "
        "Huawei's STS"
    ),
}


class TokenIssuer(Protocol):
    """The part of AWS STS that is used here."""

    def web_identity_token(self, *, audience: str, seconds: int, deadline: Deadline) -> str:
        """Give a JWT that says to `audience` which role this is; raises `AwsUnavailable` or `AwsRefused`."""


class _Passing(Exception):
    """Huawei's STS could not answer now."""


@dataclass(frozen=True, slots=True)
class _Session:
    """Keys with their times; replaced as a whole, so that no thread sees the halves of two."""

    credentials: Credentials
    renew_at: datetime
    expires_at: datetime


class KeylessCredentials:
    """Temporary keys, had by an exchange and renewed before they expire: one exchange, however many threads ask.

    `endpoint`: of Huawei's STS, `https://host`. `provider_urn` is the token's audience, too. `session_name`, 2 to 128
    characters, is what Huawei's audit log (CTS) shows. `patience.now` is wall time: it is asked at each use, so keys
    that lay in a frozen process or in a snapshot are as old as they are.
    """

    def __init__(
        self,
        *,
        tokens: TokenIssuer,
        http: HttpSender,
        endpoint: str,
        provider_urn: str,
        agency_urn: str,
        session_name: str,
        patience: Patience,
    ) -> None:
        self._tokens = tokens
        self._http = http
        self._url = f"{endpoint}/v5/agencies/assume-with-oidc"
        self._provider_urn = provider_urn
        self._agency_urn = agency_urn
        self._session_name = session_name
        self._patience = patience
        self._session: _Session | None = None
        self._once = FetchOnce(
            "the keys for Huawei Cloud",
            now=patience.now,
            timed_out=DeploymentFault,
            faults=(DeploymentFault,),
            is_transient=lambda fault: isinstance(fault.__cause__, AwsUnavailable | _Passing),
        )

    def current(self, deadline: Deadline) -> Credentials:
        """Return keys that are good for now. Raises `DeploymentFault`.

        While some are still good, one thread renews them and the others go on with those; if that fails, so does it.
        """
        session, now = self._session, self._patience.now()
        if session and now < session.renew_at:
            return session.credentials
        still_good = session if session and now < session.expires_at else None
        return self._once.get(self._fresh, self._exchange, deadline, spare=still_good).credentials

    def renewed(self, refused: Credentials, deadline: Deadline) -> Credentials | None:
        """Return others in place of keys that Huawei refused: by one exchange, unless another thread has made it.

        `None` if Huawei refuses what an exchange gave a short time ago: then the agency is refused, not the keys.
        Raises `DeploymentFault`.
        """

        def other() -> _Session | None:
            session = self._fresh()
            return None if session and session.credentials == refused else session

        def exchange(deadline: Deadline) -> _Session:
            self._session = None  # nobody shall use them again, whatever becomes of the exchange
            return self._exchange(deadline)

        session = self._once.renew(other, exchange, deadline)
        return None if session is None else session.credentials

    def _fresh(self) -> _Session | None:
        session = self._session
        return session if session and self._patience.now() < session.renew_at else None

    def _exchange(self, deadline: Deadline) -> _Session:
        token = self._token(deadline)
        begun = self._patience.now()
        reply = self._ask(token, deadline)
        if reply.status != HTTPStatus.OK:
            raise DeploymentFault(self._refusal(reply, token))
        given = reply.json.get("credentials") if isinstance(reply.json, dict) else None
        given = given if isinstance(given, dict) else {}
        keys = [given.get(name) for name in _KEYS]
        match keys:
            case [str(ak), str(sk), str(security_token)]:
                credentials = Credentials(ak, sk, security_token)
            case _:
                wrong = ", ".join(name for name, key in zip(_KEYS, keys, strict=True) if not isinstance(key, str))
                raise DeploymentFault(f"{self._url} answered 200 without keys; missing or no text: {wrong}")
        # Never longer than asked for: a time without a zone may be another than UTC, and one that cannot be read
        # shall not stop what would work.
        longest = begun + timedelta(seconds=SESSION_SECONDS)
        expires_at = min(read_expiration(given.get("expiration")) or longest, longest)
        lasts = expires_at - begun
        if lasts <= timedelta(0):
            raise DeploymentFault(f"{self._url} gave keys that had expired by {expires_at:%FT%TZ}; check the clock")
        self._session = _Session(credentials, renew_at=expires_at - lasts * RENEWED_BEFORE, expires_at=expires_at)
        return self._session

    def _token(self, deadline: Deadline) -> str:
        try:
            return self._tokens.web_identity_token(
                audience=self._provider_urn, seconds=TOKEN_SECONDS, deadline=deadline
            )
        except (AwsRefused, AwsUnavailable) as error:
            raise DeploymentFault(f"AWS gave no token to show to Huawei Cloud: {error}") from error

    def _ask(self, token: str, deadline: Deadline) -> Reply:
        """Send the token until it is answered. Sent twice it gives two sessions, of which one is never used."""
        waits = pauses()
        while True:
            try:
                return self._send(token, deadline)
            except _Passing as passing:
                if not self._patience.wait(next(waits), deadline):
                    raise DeploymentFault(
                        f"{self._url} gave no keys, and it passes: {passing}; there is nothing to mend unless it stays"
                    ) from passing

    def _send(self, token: str, deadline: Deadline) -> Reply:
        timeout = min(_REQUEST_TIMEOUT, deadline.remaining())
        if not timeout:
            raise _Passing("no time left")
        asked = {
            "provider_urn": self._provider_urn,
            "agency_urn": self._agency_urn,
            "agency_session_name": self._session_name,
            "id_token": token,
            "duration_seconds": SESSION_SECONDS,
        }
        headers = {
            "User-Agent": USER_AGENT,
            "Accept": "application/json",
            "Content-Type": "application/json;charset=UTF-8",
        }
        try:
            response = self._http.send(
                "POST", self._url, headers=headers, body=json.dumps(asked).encode(), timeout=timeout
            )
        except NoAnswer as error:
            raise _Passing(str(error)) from error
        except NoSuchHost as error:
            raise DeploymentFault(
                f"{self._url} cannot be reached: {error}; check HUAWEICLOUD_REGION, or set "
                "HUAWEICLOUD_SDK_STS_ENDPOINT if Huawei's STS has no address of its own in this region"
            ) from error
        reply = read_reply(response, now=self._patience.now())
        if reply.status >= HTTPStatus.INTERNAL_SERVER_ERROR or reply.status == HTTPStatus.TOO_MANY_REQUESTS:
            raise _Passing(_said(reply, token))
        return reply

    def _refusal(self, reply: Reply, token: str) -> str:
        mend = _WHAT_TO_CHECK.get(reply.status, "check that HUAWEICLOUD_SDK_STS_ENDPOINT is an address of Huawei's STS")
        return f"{self._url} answered {_said(reply, token)}; {mend}"


def _said(reply: Reply, token: str) -> str:
    """Give Huawei's words, without the token that an error may repeat."""
    words = f"{reply.status} {reply.error_code or ''}: {reply.error_msg or ''}".replace(token, "***")
    return shorten(words, ERROR_MESSAGE_LENGTH)


def read_expiration(value: object) -> datetime | None:
    """Read when keys expire, in each form that may be meant; `None` for what is none of them.

    Huawei's pages give no example of STS's; IAM's is `2026-11-23T08:49:05.123456Z`. Taken is ISO 8601 with any
    fraction or none, a time without a zone as UTC, and seconds or milliseconds since 1970.
    """
    try:
        if isinstance(value, str) and not value.strip().isdecimal():
            read = datetime.fromisoformat(value.strip())
            return read.astimezone(UTC) if read.tzinfo else read.replace(tzinfo=UTC)
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            seconds = float(value)
            return datetime.fromtimestamp(seconds / 1000 if seconds > _MILLISECONDS else seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return None


_MILLISECONDS: Final = 100_000_000_000.0
"""Above it a number counts milliseconds: as seconds it would be the year 5138."""

"""Where AWS credentials come from inside Lambda: the environment, or the container endpoint.

A function without SnapStart gets keys in its environment; one with SnapStart gets a loop-back endpoint
instead, because keys frozen into a snapshot would be stale after every restore
(https://docs.aws.amazon.com/lambda/latest/dg/snapstart-activate.html). Both are read at use, never at start.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http import HTTPStatus
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from shared.fetch_once import FetchOnce
from shared.http import Http, NoAnswer, NoSuchHost

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from shared.deadline import Deadline

RENEW_BEFORE: Final = timedelta(minutes=10)
"""How long before they expire container credentials are fetched anew; botocore's mandatory refresh window."""

_FETCH_TIMEOUT: Final = 2.0
"""Seconds; botocore's `ContainerMetadataFetcher.TIMEOUT_SECONDS`."""

_LINK_LOCAL_HOST: Final = "169.254.170.2"
_PLAIN_HTTP_HOSTS: Final = frozenset({_LINK_LOCAL_HOST, "169.254.170.23", "fd00:ec2::23", "localhost"})
"""Besides loop-back addresses; botocore's `ContainerMetadataFetcher._ALLOWED_HOSTS`."""

_VISIBLE_ASCII: Final = re.compile(r"[!-~]+")


class CredentialsUnavailable(Exception):
    """The container endpoint gave no answer, or asked to come back later; try again."""


class CredentialsRefused(Exception):
    """There are no usable credentials, and trying again cannot help; the message says what to mend."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """A key pair to sign with; `expires_at` is known of container credentials only. Safe to print."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(repr=False)
    expires_at: datetime | None

    def __post_init__(self) -> None:
        values = {"access_key_id": self.access_key_id, "secret_access_key": self.secret_access_key}
        if self.session_token is not None:
            values["session_token"] = self.session_token
        for name, value in values.items():
            # A pasted line break would end in a signature that AWS refuses, or in a header that prints the token.
            if not _VISIBLE_ASCII.fullmatch(value):
                raise CredentialsRefused(f"the AWS {name} is empty or holds a blank, a line break or the like")


class CredentialSource:
    """The current credentials, shared by all threads of a process.

    Environment keys win over the container endpoint, as in the AWS SDKs.
    """

    def __init__(self, *, http: Http, environment: Mapping[str, str], now: Callable[[], datetime]) -> None:
        self._http = http
        self._environment = environment
        self._now = now
        self._fetched: Credentials | None = None
        self._expired: Credentials | None = None
        self._once = FetchOnce(
            "the AWS credentials",
            now=now,
            timed_out=CredentialsUnavailable,
            faults=(CredentialsUnavailable, CredentialsRefused),
            is_transient=lambda fault: isinstance(fault, CredentialsUnavailable),
            transient_for=timedelta(0),  # what is sent with the credentials is tried again anyway
        )

    def current(self, *, deadline: Deadline) -> Credentials:
        """Return credentials that are good for now, fetching them if need be: once, however many threads ask.

        Renewing early is a courtesy: if it fails, those that are still good are used. Raises `CredentialsUnavailable`
        or `CredentialsRefused`.
        """
        if keys := self._environment_keys():
            return keys
        return self._lasting(RENEW_BEFORE) or self._once.get(
            lambda: self._lasting(RENEW_BEFORE), self._fetch, deadline, spare=self._lasting(timedelta(0))
        )

    def forget(self, expired: Credentials) -> bool:
        """Never return credentials again that AWS calls expired; say whether others can be fetched in their place."""
        if expired.expires_at is None:
            return False
        # No lock: another thread may be fetching, and if two forget different ones, the older are no longer used.
        self._expired = expired
        return True

    def _lasting(self, span: timedelta) -> Credentials | None:
        """Return what was fetched, if it is good for so long."""
        fetched = self._fetched
        if fetched is None or fetched.expires_at is None or fetched is self._expired:
            return None
        return fetched if self._now() + span < fetched.expires_at else None

    def _environment_keys(self) -> Credentials | None:
        key = self._environment.get("AWS_ACCESS_KEY_ID", "")
        secret = self._environment.get("AWS_SECRET_ACCESS_KEY", "")
        if key and not secret:
            raise CredentialsRefused("AWS_ACCESS_KEY_ID is set and AWS_SECRET_ACCESS_KEY is not; set both")
        if not key:
            return None
        return Credentials(key, secret, self._environment.get("AWS_SESSION_TOKEN") or None, expires_at=None)

    def _fetch(self, deadline: Deadline) -> Credentials:
        url = self._container_url()
        timeout = min(_FETCH_TIMEOUT, deadline.remaining())
        if not timeout:
            raise CredentialsUnavailable("no time left to fetch credentials")
        try:
            response = self._http.send("GET", url, headers=self._headers(), body=None, timeout=timeout)
        except NoAnswer as error:
            raise CredentialsUnavailable(f"the container credentials endpoint gave no answer: {error}") from error
        except NoSuchHost as error:
            raise CredentialsRefused(f"the container credentials endpoint cannot be reached: {error}") from error
        if response.status >= HTTPStatus.INTERNAL_SERVER_ERROR or response.status == HTTPStatus.TOO_MANY_REQUESTS:
            raise CredentialsUnavailable(f"the container credentials endpoint answered {response.status}")
        if response.status != HTTPStatus.OK:
            raise CredentialsRefused(
                f"the container credentials endpoint answered {response.status}: "
                "check AWS_CONTAINER_AUTHORIZATION_TOKEN or _TOKEN_FILE, and the role"
            )
        self._fetched = fetched = _read(response.body)
        return fetched

    def _container_url(self) -> str:
        relative = self._environment.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
        if relative:
            if not relative.startswith("/"):  # ".example.com" would make another host of ours
                raise CredentialsRefused("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI does not begin with /")
            return f"http://{_LINK_LOCAL_HOST}{relative}"
        url = self._environment.get("AWS_CONTAINER_CREDENTIALS_FULL_URI")
        if not url:
            raise CredentialsRefused(
                "no AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN), "
                "or AWS_CONTAINER_CREDENTIALS_FULL_URI or _RELATIVE_URI; inside Lambda the service sets them"
            )
        if not _may_see_the_token(url):
            raise CredentialsRefused(
                "AWS_CONTAINER_CREDENTIALS_FULL_URI must be https, a loop-back address or one of "
                + ", ".join(sorted(_PLAIN_HTTP_HOSTS))
            )
        return url

    def _headers(self) -> dict[str, str]:
        token = self._environment.get("AWS_CONTAINER_AUTHORIZATION_TOKEN")
        if path := self._environment.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"):
            try:  # read every time: the token in the file is rotated
                token = Path(path).read_text(encoding="utf-8")
            except (OSError, ValueError) as error:
                raise CredentialsRefused(
                    f"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE cannot be read: {type(error).__name__}"
                ) from error
        if not token:
            return {"Accept": "application/json"}
        if not token.isascii() or not token.isprintable():
            raise CredentialsRefused("the container authorization token is no header value; has it a line break?")
        return {"Accept": "application/json", "Authorization": token}


def _may_see_the_token(url: str) -> bool:
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    if "@" in parts.netloc or "\\" in url:  # parsers disagree about which host is meant
        return False
    if parts.scheme != "http":
        return parts.scheme == "https"
    try:
        return ip_address(host).is_loopback or host in _PLAIN_HTTP_HOSTS
    except ValueError:
        return host in _PLAIN_HTTP_HOSTS


def _read(body: bytes) -> Credentials:
    try:
        answer: dict[str, Any] = json.loads(body)
        expires_at = datetime.fromisoformat(answer["Expiration"])
        if expires_at.tzinfo is None:
            raise ValueError("Expiration without a zone")  # noqa: TRY301 - the same fault as the others here
        credentials = Credentials(answer["AccessKeyId"], answer["SecretAccessKey"], answer.get("Token"), expires_at)
    except (ValueError, KeyError, TypeError) as error:
        # `from None` and no detail: the text at fault holds the keys.
        raise CredentialsRefused(
            f"the container credentials endpoint gave no AWS credentials ({type(error).__name__})"
        ) from None
    return credentials

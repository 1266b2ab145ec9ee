"""One signed request to Huawei Cloud: the SDK's signers over the one HTTP stack.

Only the signers of `huaweicloudsdkcore` are used. Its `Client` would bring timeouts of 60 and 120 seconds, errors of
four families, project ids discovered by a call, loggers of its own, a file in the home directory, and 60 ms of import.

Requests equal those of the official clients on the wire but for date, signature and user agent; a test compares them.
"""

from __future__ import annotations

import json
import re
import threading
from dataclasses import replace
from datetime import UTC, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol
from urllib.parse import urlsplit

from huaweicloudsdkcore.exceptions.exceptions import SdkException
from huaweicloudsdkcore.sdk_request import SdkRequest
from huaweicloudsdkcore.signer.signer import DerivationAKSKSigner, Signer

from shared.errors import DeploymentFault
from shared.findings import ERROR_CODE_LENGTH, Finding, Trust, Verdict
from shared.http import NoAnswer, NoSuchHost, Response, signing_time
from shared.huawei.faults import Fault, fault_of, fix_of
from shared.outcomes import ERROR_MESSAGE_LENGTH, shorten
from shared.planning import Scope
from shared.staleness import Moment

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from shared.deadline import Deadline
    from shared.huawei.credentials import Credentials, CredentialSource

USER_AGENT: Final = "stopline/0.1"

LONGEST_RETRY_AFTER: Final = 900.0
"""Seconds of a `Retry-After` that are taken at its word: no remainder waits longer in its queue."""

SHORTEST_CALL: Final = 1.0
"""Seconds that must be left for a call to start: one that cannot end would only leave its outcome unknown."""

# huaweicloudsdkcore.auth.credentials.DEFAULT_ENDPOINT_REG: hosts of a region take plain signatures, all others (the
# access address of a dedicated IoTDA instance) derived ones. Importing it would import all of the SDK; a test
# compares the two.
_REGION_HOST: Final = re.compile(
    r"^[a-z][a-z0-9-]+(\.[a-z]{2,}-[a-z]+-\d{1,2})?\.(my)?(huaweicloud|myhwclouds).(com|cn)"
)


# "The API does not exist or has not been published in the environment", or is not open to the key, whatever the prefix
# (APIGW, APIG, APIC).
_NO_SUCH_API: Final = (".0101", ".0302", ".0304", ".0306")

MOST_SKEW: Final = timedelta(minutes=15)
"""How far Huawei's clock may be away from ours. The gateway refuses a request whose signature is further away
(https://support.huaweicloud.com/intl/en-us/devg-apisign/api-sign-0001.html), so a `Date` that is was not written by it.
"""

MOST_SCOPES: Final = 1_000
"""Projects and instances of which a client remembers whether they accepted the key."""


class NoSuchApi(DeploymentFault):
    """The gateway at this host has no such API for this key; of an API that need not be there, that is an answer."""


class NoTimeLeft(NoAnswer):
    """Nothing was sent, because too little time was left for an answer."""


class HttpSender(Protocol):
    """The part of `shared.http.Http` that is used here."""

    def send(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes | None, timeout: float
    ) -> Response:
        """Send one request; raises `NoAnswer` or `NoSuchHost`."""


class DerivedSigning(NamedTuple):
    """What the key of a derived signature (V11-HMAC-SHA256) is bound to."""

    region: str
    service: str


def signing_for(endpoint: str, *, region: str, service: str) -> DerivedSigning | None:
    """Choose how to sign for a host: derived for dedicated instances, `None` is plain (SDK-HMAC-SHA256)."""
    host = urlsplit(endpoint).netloc
    return None if _REGION_HOST.match(host) else DerivedSigning(region=region, service=service)


class Reply(NamedTuple):
    """Huawei's answer. `json` is `None` for an empty body, `null`, and what is no JSON (`is_json` tells).

    `moment`: when it came; `None` if it has no `Date`.
    """

    status: int
    json: Any
    is_json: bool
    error_code: str | None
    error_msg: str | None
    request_id: str | None
    retry_after: float | None
    moment: Moment | None

    @property
    def fault(self) -> Fault | None:
        """What is wrong with the answer by the error table; `None` for a 200 without an error in its body."""
        if self.status == HTTPStatus.OK and self.error_code is None:
            return None
        return fault_of(self.status, self.error_code)

    def finding(self, verdict: Verdict) -> Finding:
        """Give a verdict with Huawei's own words."""
        return Finding(verdict, self.error_code, self.error_msg, self.request_id)

    def finding_by_table(self) -> Finding:
        """Give what the error table makes of the answer; only for one with a `fault`."""
        match self.fault:
            case Fault.PASSING | Fault.THROTTLED | Fault.CONFLICT:
                return replace(
                    self.finding(Verdict.UNFINISHED),
                    retry_after=self.retry_after,
                    throttled=self.fault is Fault.THROTTLED,
                )
            case Fault.REFUSED:
                return self.finding(Verdict.REFUSED)
            case Fault.NOT_FOUND:
                return self.finding(Verdict.NOT_FOUND)
            case Fault.UNCLEAR:
                return self.finding(Verdict.UNCLEAR)
            case Fault.CREDENTIALS | Fault.DEPLOYMENT | None:
                raise ValueError(f"{self.fault} says nothing about a target")


def unanswered(error: NoAnswer) -> Finding:
    """Return the finding on what was asked for by a request that got no answer."""
    was_asked = not isinstance(error, NoTimeLeft)
    return Finding(Verdict.UNFINISHED, error_msg=str(error), was_asked=was_asked, was_answered=False)


class HuaweiClient:
    """Signs and sends to one endpoint; shared by all threads of a warm process.

    `endpoint`: `https://host[:port]` (http only to a loop-back address). `derived`: `None` signs plainly.
    """

    def __init__(
        self,
        *,
        http: HttpSender,
        endpoint: str,
        project_id: str,
        credentials: CredentialSource,
        derived: DerivedSigning | None,
        now: Callable[[], datetime],
    ) -> None:
        self._http = http
        self._endpoint = endpoint.rstrip("/")
        self._host = urlsplit(endpoint).netloc
        self._project_id = project_id
        self._credentials = credentials
        self._derived = derived
        self._now = now
        self._renewing = threading.Lock()
        self._tried: dict[Scope, _Tried] = {}
        self._trust: dict[Scope, Trust] = {}

    def trust(self, scope: Scope | None) -> Trust:
        """Return whether the credentials were accepted in a project and instance, `None` for the configured project.

        While they were not, send one request before many: refusals lock a key.
        """
        return self._trust.get(scope or Scope(self._project_id, None), Trust.UNKNOWN)

    def request(
        self,
        method: str,
        path: str,
        *,
        deadline: Deadline,
        scope: Scope | None = None,
        query: Mapping[str, str | int] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Reply | NoAnswer:
        """Send one request and return the answer, or `NoAnswer` when none came.

        `path` holds ids that were checked before; `scope` is the configured project without an instance unless given.
        Raises `DeploymentFault` for refused credentials (after one try with fresh ones, if the source has them) and
        for a wrong host, account or project (`NoSuchApi` where the gateway says so).
        """
        request = _Request(method, path, scope or Scope(self._project_id, None), tuple((query or {}).items()), body)
        credentials = self._credentials.current(deadline)
        reply = self._send(request, credentials, deadline)
        if _is_refusal(reply):
            reply = self._send_renewed(request, credentials, deadline, refusal=reply)
        if isinstance(reply, Reply) and reply.fault is Fault.DEPLOYMENT:
            fault = NoSuchApi if (reply.error_code or "").endswith(_NO_SUCH_API) else DeploymentFault
            fix = fix_of(reply.error_code) or "check the endpoint, the region, the instance and the account"
            raise fault(
                f"{self._host} answered {reply.status} {reply.error_code}: {reply.error_msg} "
                f"({_named(request.scope)}); {fix}"
            )
        return reply

    def _send_renewed(
        self, request: _Request, refused: Credentials, deadline: Deadline, *, refusal: Reply | NoAnswer
    ) -> Reply | NoAnswer:
        # More than five refusals in a row lock a key for five minutes (Huawei's FAQs on SIS and APIG): fresh
        # credentials are tried by one thread, once, and what was refused to one is not tried by the others.
        if not self._renewing.acquire(timeout=deadline.remaining()):
            fault = self._credentials_refused(request.scope, refusal)
            raise DeploymentFault(f"{fault}; no time left to wait for the fresh ones that another thread is trying")
        try:
            renewed = self._credentials.renewed(refused, deadline)
            tried = self._tried.get(request.scope)
            if renewed is None or tried == (renewed, False):
                raise self._credentials_refused(request.scope, refusal)
            if tried != (renewed, True):
                return self._try(request, renewed, deadline)
        finally:
            self._renewing.release()
        # Accepted when another thread tried them: no thread needs to wait for this call.
        return self._try(request, renewed, deadline)

    def _try(self, request: _Request, renewed: Credentials, deadline: Deadline) -> Reply | NoAnswer:
        """Send with fresh credentials, and remember whether they were accepted."""
        reply = self._send(request, renewed, deadline)
        if isinstance(reply, Reply):
            if len(self._tried) >= MOST_SCOPES:
                self._tried = {}
            self._tried[request.scope] = _Tried(renewed, was_accepted=not _is_refusal(reply))
        if _is_refusal(reply):
            raise self._credentials_refused(request.scope, reply)
        return reply

    def _credentials_refused(self, scope: Scope, refusal: Reply | NoAnswer) -> DeploymentFault:
        said = f"{refusal.status} {refusal.error_code}: {refusal.error_msg}" if isinstance(refusal, Reply) else ""
        kind = "derived" if self._derived else "plain"
        return DeploymentFault(
            f"{self._host} refused the credentials ({said}); check that the key is active, that it may use "
            f"{_named(scope)}, and that {kind} signing is right for this endpoint"
        )

    def _send(self, request: _Request, credentials: Credentials, deadline: Deadline) -> Reply | NoAnswer:
        if deadline.remaining() < SHORTEST_CALL:
            return NoTimeLeft("no time left for a call", was_sent=False)
        content = b"" if request.body is None else json.dumps(request.body).encode()
        signed = self._sign(request, credentials, content)
        body = None if request.method == "GET" else content
        try:
            response = self._http.send(
                request.method,
                f"{self._endpoint}{signed.uri}",
                headers=_on_the_wire(signed.header_params, body),
                body=body,
                timeout=deadline.remaining(),
            )
        except NoAnswer as error:
            # Without the frames that it passed: they hold the whole delivery.
            return NoAnswer(str(error), was_sent=error.was_sent)
        except NoSuchHost as error:
            raise DeploymentFault(f"{self._host} cannot be reached; check the endpoint: {error}") from error
        reply = _without(credentials, read_reply(response, now=self._now()))
        is_refused = reply.fault in {Fault.CREDENTIALS, Fault.DEPLOYMENT}
        self._note(request.scope, Trust.REFUSED if is_refused else Trust.ACCEPTED)
        return reply

    def _note(self, scope: Scope, trust: Trust) -> None:
        """Remember whether the credentials were accepted."""
        before = self._trust.get(scope, Trust.UNKNOWN)
        if before is trust:
            return
        if before is Trust.ACCEPTED or len(self._trust) >= MOST_SCOPES:
            # Refused where it was accepted: something happened to the key itself, and not only to one project of it.
            self._trust = {}
        self._trust[scope] = trust

    def _sign(self, request: _Request, credentials: Credentials, body: bytes) -> SdkRequest:
        headers = {"User-Agent": USER_AGENT}
        if request.scope.instance_id is not None:
            headers["Instance-Id"] = request.scope.instance_id
        headers["Content-Type"] = "application/json"
        headers["X-Project-Id"] = request.scope.project_id
        if credentials.security_token:
            headers["X-Security-Token"] = credentials.security_token
        # The signer would ask `datetime.utcnow`, which warns since Python 3.12.
        headers["X-Sdk-Date"] = signing_time(self._now())
        unsigned = SdkRequest(
            method=request.method,
            schema=urlsplit(self._endpoint).scheme,
            host=self._host,
            resource_path=request.path,
            query_params=list(request.query),
            header_params=headers,
            body=body,
        )
        try:
            if self._derived is None:
                return Signer(credentials).sign(unsigned)
            return DerivationAKSKSigner(credentials).sign(unsigned, self._derived.service, self._derived.region)
        except (SdkException, ValueError, TypeError, KeyError) as error:
            # `from None`: nothing of the key may reach a log by way of the signer's own text.
            raise DeploymentFault(
                f"a request to {self._host} could not be signed ({type(error).__name__}); check the keys"
            ) from None


class _Tried(NamedTuple):
    """Fresh credentials, and what became of the first call with them."""

    credentials: Credentials
    was_accepted: bool


class _Request(NamedTuple):
    method: str
    path: str
    scope: Scope
    query: tuple[tuple[str, str | int], ...]
    body: Mapping[str, Any] | None


def _named(scope: Scope) -> str:
    return f"project {scope.project_id}" + (f", instance {scope.instance_id}" if scope.instance_id else "")


def _on_the_wire(signed: Mapping[str, str], body: bytes | None) -> dict[str, str]:
    """Add the unsigned headers of the official clients, where they have them."""
    headers = dict(signed)
    if body is not None:
        headers["Content-Length"] = str(len(body))
    return {
        "User-Agent": headers.pop("User-Agent"),
        "Accept-Encoding": "gzip, deflate",
        "Accept": "*/*",
        "Connection": "keep-alive",
        **headers,
    }


def _without(credentials: Credentials, reply: Reply) -> Reply:
    """Take out of Huawei's words what must not reach a log: a gateway may explain a refusal by the whole request."""
    code, message = reply.error_code, reply.error_msg
    for secret in (credentials.sk, credentials.security_token):
        if secret:
            code, message = code and code.replace(secret, "***"), message and message.replace(secret, "***")
    return reply._replace(
        error_code=code and code[:ERROR_CODE_LENGTH],
        error_msg=message and shorten(message, ERROR_MESSAGE_LENGTH),
    )


def _is_refusal(reply: Reply | NoAnswer) -> bool:
    return isinstance(reply, Reply) and reply.fault is Fault.CREDENTIALS


def read_reply(response: Response, *, now: datetime) -> Reply:
    """Read an answer as far as it can be read; the error shapes are those that the SDK knows, and no answer raises."""
    try:
        parsed = json.loads(response.body) if response.body.strip() else None
        is_json = True
    except (ValueError, RecursionError):
        parsed, is_json = None, False
    code, message = _error_in(parsed, succeeded=response.status == HTTPStatus.OK)
    if code is None and response.status != HTTPStatus.OK and not is_json:
        message = response.body.decode(errors="replace")  # cut to size once it is clean
    return Reply(
        status=response.status,
        json=parsed,
        is_json=is_json,
        error_code=code,
        error_msg=message,
        request_id=response.headers.get("x-request-id"),
        retry_after=_retry_after(response.headers.get("retry-after"), now=now),
        moment=_moment(response.headers.get("date"), now=now),
    )


_ERROR_FIELDS: Final = (("error_code", "error_msg"), ("errorCode", "errorMsg"), ("code", "message"))


def _error_in(parsed: Any, *, succeeded: bool) -> tuple[str | None, str | None]:
    """Find the error in a body, at its top or one level down, as the SDK's exception handler does.

    In a 200, only Huawei's own two spellings at the top are an error; "code" may be anything there.
    """
    if not isinstance(parsed, dict):
        return None, None
    places = [parsed] if succeeded else [parsed, *(value for value in parsed.values() if isinstance(value, dict))]
    for place in places:
        for code_field, message_field in _ERROR_FIELDS[:2] if succeeded else _ERROR_FIELDS:
            code = place.get(code_field)
            if isinstance(code, str | int) and not isinstance(code, bool) and code != "":
                message = place.get(message_field)
                return str(code), message if isinstance(message, str) else None
    return None, None


def _moment(date: str | None, *, now: datetime) -> Moment | None:
    """Return when an answer came; `date` is its header (RFC 9110 section 6.6.1)."""
    try:
        huaweis = parsedate_to_datetime(date or "")
        if huaweis.tzinfo is None or abs(huaweis - now) > MOST_SKEW:
            return None
        return Moment(ours=now, huaweis=huaweis.astimezone(UTC))
    except (ValueError, TypeError, OverflowError):
        return None


def _retry_after(value: str | None, *, now: datetime) -> float | None:
    """Seconds to wait, out of either form of RFC 9110 section 10.2.3."""
    if value is None:
        return None
    try:
        seconds = float(value) if value.strip().isdecimal() else (parsedate_to_datetime(value) - now).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(0.0, seconds), LONGEST_RETRY_AFTER)

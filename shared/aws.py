"""AWS without boto3: the few calls that Stopline makes, signed by AWS's own stand-alone signer.

boto3 would be a second HTTP stack with retries of its own, and 27 MB, for three operations. What is taken from
it instead is what it knows: how a service is addressed (`service-2.json`), which errors pass
(`retries/standard.py`), how endpoints are configured. Tests compare each of these with botocore, so none can drift.

Retries happen here and nowhere below, in one layer. A passing fault ends as `AwsUnavailable` or, of a batch,
as a reported entry; AWS's final no is `AwsRefused`.
"""

from __future__ import annotations

import json
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from shared import aws_query
from shared.aws_credentials import (
    Credentials,
    CredentialSource,
    CredentialsRefused,
    CredentialsUnavailable,
)
from shared.aws_signing import sign
from shared.errors import DeploymentFault
from shared.http import Http, NoAnswer, NoSuchHost, Response, address
from shared.patience import pauses
from shared.redaction import HIDDEN, redacted
from shared.threads import Threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from shared.deadline import Deadline
    from shared.patience import Patience

REQUEST_TIMEOUT: Final = 10.0
"""Seconds for one request; less when the deadline is nearer."""

ENTRIES_PER_BATCH: Final = 10
"""The limit of PutEvents and of the batch requests of SQS."""

EVENTS_BYTES_PER_BATCH: Final = 262_144
"""PutEvents, one event and all of a call. It is 1 MB by now, but still 256 KB in China, and ten events need no more.

https://docs.amazonaws.cn/en_us/eventbridge/latest/userguide/eb-putevent-size.html
"""

MESSAGES_BYTES_PER_BATCH: Final = 1_048_576
"""SendMessageBatch, and one message: 1 MiB, attributes included.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html
"""

PASSING_CODES: Final = frozenset(
    {
        # botocore/retries/standard.py, TransientRetryableChecker and ThrottledRetryableChecker
        "BandwidthLimitExceeded",
        "EC2ThrottledException",
        "LimitExceededException",
        "PriorRequestNotComplete",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "RequestTimeout",
        "RequestTimeoutException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "TransactionInProgressException",
        # Server faults that can stand in one entry of an answer with status 200, where no 5xx tells:
        # PutEventsResultEntry names InternalFailure; the others are the services' own words for the same.
        "InternalException",
        "InternalFailure",
        "InternalServiceError",
        "ServiceUnavailable",
        "ServiceUnavailableException",
        # SQS, of an encrypted queue: modelled as KmsThrottled, spelled the other way by the older protocol
        "KMS.ThrottlingException",
        "KmsThrottled",
    }
)

_EXPIRED_CODES: Final = frozenset({"ExpiredToken", "ExpiredTokenException"})
_DENIED_CODES: Final = frozenset({"AccessDenied", "AccessDeniedException", "KmsAccessDenied"})
_MISSING_CODES: Final = frozenset({"QueueDoesNotExist", "ResourceNotFoundException"})
_FEDERATION_IS_OFF: Final = frozenset(
    {"OutboundWebIdentityFederationDisabled", "OutboundWebIdentityFederationDisabledException"}
)
_CREDENTIAL_CODES: Final = _EXPIRED_CODES | {
    "IncompleteSignature",
    "IncompleteSignatureException",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "MissingAuthenticationToken",
    "MissingAuthenticationTokenException",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}


class Service(NamedTuple):
    """An AWS service that speaks JSON, in the words of botocore's `service-2.json`.

    `endpoint_prefix` is the name to sign for, too.
    """

    service_id: str
    endpoint_prefix: str
    target_prefix: str
    json_version: str


class QueryService(NamedTuple):
    """An AWS service that takes a form and answers in XML, in the same words."""

    service_id: str
    endpoint_prefix: str
    api_version: str


EVENTBRIDGE: Final = Service("EventBridge", "events", "AWSEvents", "1.1")
SQS: Final = Service("SQS", "sqs", "AmazonSQS", "1.0")
SECRETS_MANAGER: Final = Service("Secrets Manager", "secretsmanager", "secretsmanager", "1.1")
DYNAMODB: Final = Service("DynamoDB", "dynamodb", "DynamoDB_20120810", "1.0")
STS: Final = QueryService("STS", "sts", "2011-06-15")


_DNS_SUFFIXES: Final = {
    "cn": ("amazonaws.com.cn", "api.amazonwebservices.com.cn"),
    "eusc": ("amazonaws.eu", "api.amazonwebservices.eu"),
}
"""And that of dual stack, by the first word of the region's name; the isolated partitions need `AWS_ENDPOINT_URL`."""

_FIPS: Final = "AWS_USE_FIPS_ENDPOINT"
_DUAL_STACK: Final = "AWS_USE_DUALSTACK_ENDPOINT"


class BusEvent(NamedTuple):
    """One EventBridge event; `detail` is the text of a JSON object."""

    source: str
    detail_type: str
    detail: str
    resources: tuple[str, ...]


class Message(NamedTuple):
    """One SQS message with string attributes; `delay_seconds` is 0 to 900."""

    body: str
    attributes: Mapping[str, str]
    delay_seconds: int


class AwsUnavailable(Exception):
    """Only transient errors (throttles, 5xx, no answer) until the tries or the time ran out; try again later.

    `in_doubt`: whether the last request may have been carried out all the same.
    """

    def __init__(self, *, service: str, operation: str, code: str, message: str, in_doubt: bool = False) -> None:
        super().__init__(f"{service} {operation}: {code}: {message}")
        self.service = service
        self.operation = operation
        self.code = code
        self.message = message
        self.in_doubt = in_doubt


class AwsRefused(Exception):
    """AWS's final no, or a setting that keeps us from asking; `str()` says what to mend, and holds no secret."""

    def __init__(self, *, service: str, operation: str, code: str, message: str, mend: str) -> None:
        super().__init__(f"{service} {operation}: {code}: {message}" + (f"; {mend}" if mend else ""))
        self.service = service
        self.operation = operation
        self.code = code
        self.message = message


class Failure(NamedTuple):
    """Why one entry of a batch was not taken; a `passing` one is sent again.

    `in_doubt`: it may have been taken all the same, since an answer to it was lost.
    """

    code: str
    message: str
    passing: bool
    in_doubt: bool = False

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class Aws:
    """The AWS calls of Stopline; several threads may use one. Nothing is read or sent before the first call.

    `environment` is read at each call, because Lambda exchanges it when it restores a snapshot. `requests_at_once`: of
    many entries, how many batches are sent side by side at most.
    """

    def __init__(
        self,
        *,
        http: Http,
        environment: Mapping[str, str],
        patience: Patience,
        requests_at_once: int,
    ) -> None:
        self._http = http
        self._threads = Threads(requests_at_once)
        self._environment = environment
        self._patience = patience
        self._credentials = CredentialSource(http=http, environment=environment, now=patience.now)

    def put_events(self, bus: str, events: Sequence[BusEvent], *, deadline: Deadline) -> Mapping[int, str]:
        """Publish `events` to `bus` (a name or an ARN), in as few requests as may be.

        Gives the position of each event that could not be published, with "code: message"; `{}` when all are
        on the bus. Raises `AwsRefused`. Beware: EventBridge takes events for a bus that does not exist and
        drops them without a word (https://github.com/aws/aws-cli/issues/9186).
        """

        def send(batch: Sequence[int]) -> Mapping[int, Failure]:
            entries = [
                {
                    "EventBusName": bus,
                    "Source": events[position].source,
                    "DetailType": events[position].detail_type,
                    "Detail": events[position].detail,
                    "Resources": list(events[position].resources),
                }
                for position in batch
            ]
            return failed_events(batch, self._once(EVENTBRIDGE, "PutEvents", {"Entries": entries}, deadline))

        failed = self._deliver([event_size(event) for event in events], EVENTS_BYTES_PER_BATCH, send, deadline)
        return {position: str(failure) for position, failure in failed.items()}

    def send_messages(
        self, queue_url: str, messages: Sequence[Message], *, deadline: Deadline
    ) -> Mapping[int, Failure]:
        """Send `messages` to a queue of this region, in as few requests as may be.

        Return the position of each message that could not be sent, with the reason; `{}` when all are on the queue.
        Raises `AwsRefused` if none was sent, nor may have been.
        """

        def send(batch: Sequence[int]) -> Mapping[int, Failure]:
            entries = [
                {
                    "Id": str(position),
                    "MessageBody": messages[position].body,
                    "DelaySeconds": messages[position].delay_seconds,
                    "MessageAttributes": {
                        name: {"DataType": "String", "StringValue": value}
                        for name, value in messages[position].attributes.items()
                    },
                }
                for position in batch
            ]
            payload = {"QueueUrl": queue_url, "Entries": entries}
            return failed_messages(batch, self._once(SQS, "SendMessageBatch", payload, deadline))

        sizes = [message_size(message) for message in messages]
        return self._deliver(sizes, MESSAGES_BYTES_PER_BATCH, send, deadline)

    def change_visibility(
        self, queue_url: str, timeouts: Sequence[tuple[str, int]], *, deadline: Deadline
    ) -> Mapping[int, str]:
        """Hide received messages, each named by its receipt handle, for so many seconds from now.

        Return the position of each message whose time-out stays as it was, with "code: message". Raises `AwsRefused`.
        """

        def send(batch: Sequence[int]) -> Mapping[int, Failure]:
            entries = [
                {
                    "Id": str(position),
                    "ReceiptHandle": timeouts[position][0],
                    "VisibilityTimeout": timeouts[position][1],
                }
                for position in batch
            ]
            payload = {"QueueUrl": queue_url, "Entries": entries}
            return failed_messages(batch, self._once(SQS, "ChangeMessageVisibilityBatch", payload, deadline))

        failed = self._deliver([0] * len(timeouts), MESSAGES_BYTES_PER_BATCH, send, deadline)
        return {position: str(failure) for position, failure in failed.items()}

    def secret_string(self, secret_id: str, *, deadline: Deadline) -> str:
        """Give the text of the Secrets Manager secret `secret_id` (a name or an ARN).

        Raises `AwsUnavailable` or `AwsRefused`.
        """
        answer = self.call(SECRETS_MANAGER, "GetSecretValue", {"SecretId": secret_id}, deadline=deadline)
        text = answer.get("SecretString")
        if not isinstance(text, str):
            raise AwsRefused(
                service=SECRETS_MANAGER.service_id,
                operation="GetSecretValue",
                code="NoSecretString",
                message=f"{redacted(secret_id)} holds no text",
                mend="store it as a string, not as binary",
            )
        return text

    def web_identity_token(self, *, audience: str, seconds: int, deadline: Deadline) -> str:
        """Give a token (JWT, RS256) by which `audience` can tell which role this is; good for `seconds`, 60 to 3600.

        https://docs.aws.amazon.com/STS/latest/APIReference/API_GetWebIdentityToken.html. Raises `AwsUnavailable` or
        `AwsRefused`.
        """
        operation = "GetWebIdentityToken"
        parameters = {"Audience": [audience], "DurationSeconds": seconds, "SigningAlgorithm": "RS256"}
        token = self.call(STS, operation, parameters, deadline=deadline).get("WebIdentityToken")
        if not token:
            raise _refused(STS, operation, "NotAws", "the answer holds no token")
        return str(token)

    def call(
        self, service: Service | QueryService, operation: str, payload: Mapping[str, object], *, deadline: Deadline
    ) -> dict[str, Any]:
        """Call one operation and give its whole answer; passing faults are tried again until `deadline`.

        Raises `AwsUnavailable` or `AwsRefused`.
        """
        waits = pauses()
        while True:
            try:
                return self._once(service, operation, payload, deadline)
            except AwsUnavailable:
                if not self._patience.wait(next(waits), deadline):
                    raise

    def _deliver(
        self,
        sizes: Sequence[int],
        limit: int,
        send: Callable[[Sequence[int]], Mapping[int, Failure]],
        deadline: Deadline,
    ) -> dict[int, Failure]:
        """Send the entries in batches, some at a time, until each is taken, refused for good, or out of tries or time.

        One try is one pass over all that waits, so that a batch in trouble does not hold up the others and
        what is left of several batches is packed together. Raises `AwsRefused` if none was taken, nor may have been:
        of a refusal in between, the caller still has to know what was sent.
        """
        failed = {
            position: Failure("TooLarge", f"{size} bytes where {limit} are allowed", passing=False)
            for position, size in enumerate(sizes)
            if size > limit
        }
        waiting = {position: _NOT_SENT for position in range(len(sizes)) if position not in failed}
        refusals: list[AwsRefused] = []

        def send_all_that_waits() -> None:
            batches = list(pack(sorted(waiting), sizes, limit))
            for answers in self._threads.each(partial(_in_time, send, deadline, refusals), batches):
                for position, failure in answers.items():
                    before = waiting.pop(position)
                    if failure:
                        rest = waiting if failure.passing else failed
                        rest[position] = failure._replace(in_doubt=failure.in_doubt or before.in_doubt)

        for longest in pauses():
            send_all_that_waits()
            if not waiting or not self._patience.wait(longest, deadline):
                break
        failed |= waiting
        if refusals and len(failed) == len(sizes) and not any(failure.in_doubt for failure in failed.values()):
            raise refusals[0]
        return dict(sorted(failed.items()))

    def _once(
        self, service: Service | QueryService, operation: str, payload: Mapping[str, Any], deadline: Deadline
    ) -> dict[str, Any]:
        """Send one request; of an expired session a second one, with fresh credentials."""
        body = _body(service, operation, payload)
        try:
            credentials = self._credentials.current(deadline=deadline)
            response = self._post(service, operation, body, credentials, deadline)
            if _error(service, response)[0] in _EXPIRED_CODES and self._credentials.forget(credentials):
                credentials = self._credentials.current(deadline=deadline)
                response = self._post(service, operation, body, credentials, deadline)
        except CredentialsUnavailable as error:
            raise _unavailable(service, operation, "NoCredentialsYet", str(error)) from error
        except CredentialsRefused as error:
            raise _refused(service, operation, "NoCredentials", str(error)) from error
        return _answer(service, operation, response, credentials, payload)

    def _post(
        self, service: Service | QueryService, operation: str, body: bytes, credentials: Credentials, deadline: Deadline
    ) -> Response:
        region = self._environment.get("AWS_REGION") or self._environment.get("AWS_DEFAULT_REGION")
        if not region:
            raise _refused(service, operation, "NoRegion", "set AWS_REGION; inside Lambda the service does")
        url = endpoint(service, region, self._environment)
        try:
            headers = sign(
                "POST",
                url,
                _headers(service, operation),
                body,
                credentials=credentials,
                region=region,
                signing_name=service.endpoint_prefix,
                at=self._patience.now(),
            )
        except ValueError as error:
            raise _refused(service, operation, "NoSuchHost", "the configured endpoint is no URL") from error
        timeout = min(REQUEST_TIMEOUT, deadline.remaining())
        if not timeout:
            raise _unavailable(service, operation, "NoTimeLeft", "not sent")
        try:
            return self._http.send("POST", url, headers=headers, body=body, timeout=timeout)
        except NoAnswer as error:
            raise _unavailable(service, operation, "NoAnswer", str(error), in_doubt=error.was_sent) from error
        except NoSuchHost as error:
            raise _refused(service, operation, "NoSuchHost", str(error)) from error


def _in_time(
    send: Callable[[Sequence[int]], Mapping[int, Failure]],
    deadline: Deadline,
    refusals: list[AwsRefused],
    batch: Sequence[int],
) -> Mapping[int, Failure | None]:
    """Send a batch and return what became of each entry; of none when there is no time left.

    A refusal is added to `refusals`, and ends what has not been sent.
    """
    if not deadline.remaining():
        return {}
    if not refusals:
        try:
            failures = send(batch)
        except AwsUnavailable as error:
            return dict.fromkeys(batch, Failure(error.code, error.message, passing=True, in_doubt=error.in_doubt))
        except AwsRefused as refusal:
            refusals.append(refusal)
        else:
            return {position: failures.get(position) for position in batch}
    return dict.fromkeys(batch, Failure(refusals[0].code, refusals[0].message, passing=False))


def pack(positions: Sequence[int], sizes: Sequence[int], limit: int) -> Iterator[list[int]]:
    """Cut `positions` into batches, in order: at most ten each, their `sizes` together at most `limit` bytes.

    None of them may be larger than `limit` by itself.
    """
    batch: list[int] = []
    total = 0
    for position in positions:
        if batch and (len(batch) == ENTRIES_PER_BATCH or total + sizes[position] > limit):
            yield batch
            batch, total = [], 0
        batch.append(position)
        total += sizes[position]
    if batch:
        yield batch


def event_size(event: BusEvent) -> int:
    """Bytes of one PutEvents entry as EventBridge counts them.

    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-putevents.html#eb-putevent-size
    """
    return sum(map(_utf8_size, (event.source, event.detail_type, event.detail, *event.resources)))


def message_size(message: Message) -> int:
    """Bytes of one message as SQS counts them: the body, and each attribute's name, type and value.

    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-message-metadata.html
    """
    return _utf8_size(message.body) + sum(
        _utf8_size(name) + len("String") + _utf8_size(value) for name, value in message.attributes.items()
    )


def _utf8_size(text: str) -> int:
    return len(text.encode(errors="surrogatepass"))  # half a surrogate pair is AWS's to refuse, not ours to crash on


def failed_events(batch: Sequence[int], answer: Mapping[str, Any]) -> dict[int, Failure]:
    """Read a PutEvents answer, whose entries stand in the order of the request.

    Only an `EventId` counts as a yes; `FailedEntryCount` says nothing that the entries do not.
    """
    results = _dicts(answer.get("Entries"))
    failures: dict[int, Failure] = {}
    for place, position in enumerate(batch):
        result = results[place] if place < len(results) else {}
        code = result.get("ErrorCode")
        if code:
            message = str(result.get("ErrorMessage", ""))
            failures[position] = Failure(str(code), message, passing=code in PASSING_CODES)
        elif not result.get("EventId"):
            failures[position] = _UNANSWERED
    return failures


def failed_messages(batch: Sequence[int], answer: Mapping[str, Any]) -> dict[int, Failure]:
    """Read the answer to a batch request of SQS, whose entries carry their position as `Id`.

    `SenderFault` means that sending the same again is of no use, save for a throttle, which is ours too.
    """
    taken = {result.get("Id") for result in _dicts(answer.get("Successful"))}
    refused = {result.get("Id"): result for result in _dicts(answer.get("Failed"))}
    failures: dict[int, Failure] = {}
    for position in batch:
        if str(position) in taken:
            continue
        if result := refused.get(str(position)):
            code = str(result.get("Code", "Unknown"))
            passing = not result.get("SenderFault") or code in PASSING_CODES
            failures[position] = Failure(code, str(result.get("Message", "")), passing=passing)
        else:
            failures[position] = _UNANSWERED
    return failures


_UNANSWERED: Final = Failure("NoResult", "the answer says nothing about this entry", passing=True, in_doubt=True)
_NOT_SENT: Final = Failure("NoTimeLeft", "not sent", passing=True)


def _dicts(value: object) -> list[dict[str, Any]]:
    # A place must not be lost, or PutEvents' results would slide to the wrong events.
    return [item if isinstance(item, dict) else {} for item in value] if isinstance(value, list) else []


def _headers(service: Service | QueryService, operation: str) -> dict[str, str]:
    match service:
        case Service():
            return {
                "Content-Type": f"application/x-amz-json-{service.json_version}",
                "X-Amz-Target": f"{service.target_prefix}.{operation}",
            }
        case QueryService():
            return {"Content-Type": aws_query.CONTENT_TYPE}


def _body(service: Service | QueryService, operation: str, payload: Mapping[str, Any]) -> bytes:
    match service:
        case Service():
            return json.dumps(payload, separators=(",", ":")).encode()
        case QueryService():
            return aws_query.form(operation, service.api_version, payload)


def _parsed(service: Service | QueryService, body: bytes) -> dict[str, Any] | None:
    try:
        parsed = json.loads(body or b"{}") if isinstance(service, Service) else aws_query.texts(body)
    except ValueError:
        return None
    return parsed if isinstance(parsed, dict) else None


def endpoint(service: Service | QueryService, region: str, environment: Mapping[str, str]) -> str:
    """Return the URL of `service`: the configured one, by the AWS SDKs' own variables, or the region's.

    https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html
    https://docs.aws.amazon.com/sdkref/latest/guide/feature-endpoints.html
    """
    configured = environment.get(_variable(service)) or environment.get("AWS_ENDPOINT_URL")
    if configured and environment.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() != "true":
        return configured.rstrip("/") + "/"
    fips, dual_stack = _is_on(_FIPS, environment), _is_on(_DUAL_STACK, environment)
    plain, dual = _DNS_SUFFIXES.get(region.partition("-")[0], ("amazonaws.com", "api.aws"))
    if region.startswith("us-gov-") and service is not SECRETS_MANAGER and not (dual_stack and service != EVENTBRIDGE):
        fips = False  # there the usual endpoint is the one of FIPS
    if service is SECRETS_MANAGER and (dual == "api.aws" or (plain == "amazonaws.com.cn" and not fips)):
        dual = plain  # which answers by IPv6, too
    return f"https://{service.endpoint_prefix}{'-fips' * fips}.{region}.{dual if dual_stack else plain}/"


def check_endpoint_settings(environment: Mapping[str, str]) -> None:
    """Raise `DeploymentFault` if a configured endpoint is no URL, or the kinds that are asked for cannot be had."""
    wanted = [variable for variable in (_FIPS, _DUAL_STACK) if _is_on(variable, environment)]
    if environment.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() == "true":
        return
    services: tuple[Service | QueryService, ...] = (EVENTBRIDGE, SQS, SECRETS_MANAGER, DYNAMODB, STS)
    for variable in ("AWS_ENDPOINT_URL", *map(_variable, services)):
        value = environment.get(variable)
        if not value:
            continue
        if wanted:
            raise DeploymentFault(
                f"{wanted[0]} is true and {variable} is {redacted(value)!r}: a configured endpoint has no such "
                "variant; unset one of the two"
            )
        try:
            address(value)
        except NoSuchHost as error:
            raise DeploymentFault(f"{variable}: {error}") from None


def _is_on(variable: str, environment: Mapping[str, str]) -> bool:
    match environment.get(variable, "").lower():
        case "" | "false":
            return False
        case "true":
            return True
        case _:
            raise DeploymentFault(f"{variable} is {redacted(environment[variable])!r}, and should be true or false")


def _variable(service: Service | QueryService) -> str:
    return "AWS_ENDPOINT_URL_" + service.service_id.upper().replace(" ", "_")


def _answer(
    service: Service | QueryService,
    operation: str,
    response: Response,
    credentials: Credentials,
    payload: Mapping[str, Any],
) -> dict[str, Any]:
    if response.status == HTTPStatus.OK:
        answer = _parsed(service, response.body)
        if answer is None:
            raise _refused(service, operation, "NotAws", "the answer is not one of AWS")
        return answer
    code, message = _error(service, response)
    # AWS explains a wrong signature by the whole canonical request, session token included.
    for secret in (credentials.session_token, credentials.secret_access_key):
        message = message.replace(secret, HIDDEN) if secret else message
    # And it repeats the name or the URL that a setting has.
    for named in _names(payload):
        message = message.replace(named, redacted(named))
    message = message.partition("\n")[0]
    if (
        code in PASSING_CODES
        or response.status == HTTPStatus.TOO_MANY_REQUESTS
        or response.status >= HTTPStatus.INTERNAL_SERVER_ERROR
    ):
        is_server_error = response.status >= HTTPStatus.INTERNAL_SERVER_ERROR
        raise _unavailable(service, operation, code, message, in_doubt=is_server_error)
    raise _refused(service, operation, code, message)


def _names(payload: Mapping[str, Any]) -> set[str]:
    """Return the settings in a request: the queue, the table or the secret, and of events the bus."""
    named = [payload.get(name) for name in ("QueueUrl", "TableName", "SecretId")]
    named += [each.get("EventBusName") for each in _dicts(payload.get("Entries"))]
    return {each for each in named if isinstance(each, str) and each}


def _error(service: Service | QueryService, response: Response) -> tuple[str, str]:
    """Read code and message as botocore's parsers do; ("", "") of a success."""
    if response.status == HTTPStatus.OK:
        return "", ""
    body = _parsed(service, response.body) or {}
    kind = body.get("__type") or body.get("Code") or response.headers.get("x-amzn-errortype")
    code = str(kind or f"HTTP{response.status}").partition(":")[0].rpartition("#")[2]
    return code, str(body.get("message") or body.get("Message") or f"status {response.status}")


def _unavailable(
    service: Service | QueryService, operation: str, code: str, message: str, *, in_doubt: bool = False
) -> AwsUnavailable:
    return AwsUnavailable(
        service=service.service_id, operation=operation, code=code, message=message, in_doubt=in_doubt
    )


def _refused(service: Service | QueryService, operation: str, code: str, message: str) -> AwsRefused:
    mend = ""
    if code in _DENIED_CODES:
        action = f"{service.endpoint_prefix}:{operation.removesuffix('Batch')}"
        mend = f"allow {action} in the function's role, and the key if it is encrypted"
        if service is STS:
            mend = f"allow {action} in the function's role for this audience, RS256 and this duration"
    elif code in _FEDERATION_IS_OFF:
        mend = "enable outbound web identity federation in this account (iam:EnableOutboundWebIdentityFederation)"
    elif code == "SessionDurationEscalationException":
        mend = "the session of these AWS credentials ends before the token would; take ones that last longer"
    elif code in _MISSING_CODES:
        mend = "check the name, the region and the account of what the setting points to"
    elif code in _CREDENTIAL_CODES:
        mend = "check the AWS credentials: the function's role, or AWS_ACCESS_KEY_ID and what belongs to it"
    elif code in {"NoSuchHost", "NotAws"} or code.startswith("HTTP"):
        mend = f"check AWS_REGION, {_variable(service)} and AWS_ENDPOINT_URL"
        if code == "NoSuchHost":
            mend += f"; and {_FIPS} and {_DUAL_STACK}: not every region has such endpoints"
    return AwsRefused(service=service.service_id, operation=operation, code=code, message=message, mend=mend)

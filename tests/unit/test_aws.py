from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Never

import boto3
import pytest
import requests
from botocore.configprovider import ConfiguredEndpointProvider
from botocore.endpoint_provider import EndpointProvider
from botocore.loaders import Loader
from botocore.regions import EndpointResolver
from botocore.retries.standard import ThrottledRetryableChecker, TransientRetryableChecker
from moto import mock_aws

from shared.aws import (
    DYNAMODB,
    EVENTBRIDGE,
    EVENTS_BYTES_PER_BATCH,
    MESSAGES_BYTES_PER_BATCH,
    PASSING_CODES,
    SECRETS_MANAGER,
    SQS,
    STS,
    Aws,
    AwsRefused,
    AwsUnavailable,
    BusEvent,
    Failure,
    Message,
    Service,
    check_endpoint_settings,
    endpoint,
)
from shared.errors import DeploymentFault
from shared.http import Http, NoAnswer, NoSuchHost, Response
from shared.patience import TRIES
from tests.fakes import NOW, Clock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

KEYS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "s3cr3t", "AWS_SESSION_TOKEN": "t0k3n"}
HERE = KEYS | {"AWS_REGION": "eu-central-1"}
CONTAINER = {"AWS_REGION": "eu-central-1", "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1/credentials"}
QUEUE = "https://sqs.eu-central-1.amazonaws.com/123456789012/commands"

Answer = Response | Exception


@dataclass(frozen=True)
class Asked:
    url: str
    headers: Mapping[str, str]
    body: dict[str, Any]
    timeout: float

    @property
    def texts(self) -> list[str]:
        return [entry.get("Detail") or entry["MessageBody"] for entry in self.body["Entries"]]


class FakeAmazon(Http):
    """Takes everything, save where the next of `answers` says otherwise; hands out numbered container keys."""

    def __init__(self, *answers: Answer | Callable[[Asked], Answer]) -> None:
        self._answers = list(answers)
        self.asked: list[Asked] = []
        self.keys_given = 0
        self.keys_lost = 0

    def send(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes | None, timeout: float
    ) -> Response:
        if method == "GET" and self.keys_lost:
            self.keys_lost -= 1
            raise NoAnswer("cut")
        if method == "GET":
            self.keys_given += 1
            expiration = (NOW + timedelta(hours=6)).isoformat()
            keys = {"SecretAccessKey": "s3cr3t", "Token": "t0k3n", "Expiration": expiration}
            return ok(keys | {"AccessKeyId": f"K{self.keys_given}"})
        asked = Asked(url, headers, json.loads(body or b""), timeout)
        self.asked.append(asked)
        answer = self._answers.pop(0) if self._answers else take_all(asked)
        if callable(answer):
            answer = answer(asked)
        if isinstance(answer, Exception):
            raise answer
        return answer


def ok(body: object) -> Response:
    return Response(status=200, headers={}, body=json.dumps(body).encode())


def no(status: int, code: str, message: str = "said AWS") -> Response:
    return Response(status=status, headers={}, body=json.dumps({"__type": code, "message": message}).encode())


def take_all(asked: Asked) -> Response:
    entries = asked.body.get("Entries", [])
    if asked.headers["X-Amz-Target"].startswith("AmazonSQS."):
        return ok({"Successful": [{"Id": entry["Id"], "MessageId": "m"} for entry in entries]})
    return ok({"FailedEntryCount": 0, "Entries": [{"EventId": "e"} for _ in entries], "SecretString": "open sesame"})


def aws(amazon: Http, clock: Clock, environment: Mapping[str, str] = HERE, *, requests_at_once: int = 1) -> Aws:
    return Aws(
        http=amazon,
        environment=environment,
        patience=clock.patience(),
        requests_at_once=requests_at_once,
    )


def event(detail: str = "{}") -> BusEvent:
    return BusEvent(source="stopline", detail_type="Stop Outcome", detail=detail, resources=())


def message(body: str = "b") -> Message:
    return Message(body=body, attributes={}, delay_seconds=0)


def put(amazon: FakeAmazon, events: Sequence[BusEvent], clock: Clock | None = None) -> Mapping[int, str]:
    clock = clock or Clock()
    return aws(amazon, clock).put_events("outcomes", events, deadline=clock.deadline())


def send(amazon: FakeAmazon, messages: Sequence[Message], clock: Clock | None = None) -> Mapping[int, str]:
    clock = clock or Clock()
    failures = aws(amazon, clock).send_messages(QUEUE, messages, deadline=clock.deadline())
    return {position: str(failure) for position, failure in failures.items()}


# What is sent


def test_an_event_is_put_as_the_api_reference_has_it() -> None:
    amazon = FakeAmazon()
    outcome = BusEvent(source="stopline", detail_type="Stop Outcome", detail='{"a": "ü"}', resources=("r:1", "r:2"))
    assert put(amazon, [outcome]) == {}
    entry = {
        "EventBusName": "outcomes",
        "Source": "stopline",
        "DetailType": "Stop Outcome",
        "Detail": '{"a": "ü"}',
        "Resources": ["r:1", "r:2"],
    }
    assert amazon.asked[0].body == {"Entries": [entry]}
    assert amazon.asked[0].url == "https://events.eu-central-1.amazonaws.com/"
    assert amazon.asked[0].headers["X-Amz-Target"] == "AWSEvents.PutEvents"
    assert amazon.asked[0].headers["Content-Type"] == "application/x-amz-json-1.1"


def test_a_message_is_sent_as_the_api_reference_has_it() -> None:
    amazon = FakeAmazon()
    assert send(amazon, [Message(body="body", attributes={"failure_reason": "gave_up"}, delay_seconds=30)]) == {}
    entry = {
        "Id": "0",
        "MessageBody": "body",
        "DelaySeconds": 30,
        "MessageAttributes": {"failure_reason": {"DataType": "String", "StringValue": "gave_up"}},
    }
    assert amazon.asked[0].body == {"QueueUrl": QUEUE, "Entries": [entry]}
    assert amazon.asked[0].headers["X-Amz-Target"] == "AmazonSQS.SendMessageBatch"
    assert amazon.asked[0].headers["Content-Type"] == "application/x-amz-json-1.0"


def test_a_secret_is_read_by_its_id() -> None:
    amazon, clock = FakeAmazon(), Clock()
    assert aws(amazon, clock).secret_string("huawei", deadline=clock.deadline()) == "open sesame"
    assert amazon.asked[0].body == {"SecretId": "huawei"}
    assert amazon.asked[0].headers["X-Amz-Target"] == "secretsmanager.GetSecretValue"


def test_a_binary_secret_is_refused() -> None:
    clock = Clock()
    with pytest.raises(AwsRefused, match="huawei holds no text; store it as a string"):
        aws(FakeAmazon(ok({"SecretBinary": "AAAA"})), clock).secret_string("huawei", deadline=clock.deadline())


def test_nothing_to_send_is_no_call() -> None:
    amazon = FakeAmazon()
    assert put(amazon, []) == {}
    assert send(amazon, []) == {}
    assert amazon.asked == []


def test_batches_hold_ten_entries_in_order() -> None:
    amazon = FakeAmazon()
    details = [f'{{"n": {number}}}' for number in range(23)]
    put(amazon, [event(detail) for detail in details])
    assert [len(asked.texts) for asked in amazon.asked] == [10, 10, 3]
    assert [text for asked in amazon.asked for text in asked.texts] == details


def test_a_batch_of_messages_holds_a_mebibyte_and_ids_are_positions() -> None:
    amazon = FakeAmazon()
    half = MESSAGES_BYTES_PER_BATCH // 2
    send(amazon, [message("ü" * (half // 2)), message("b" * half), message("c")])
    assert [[entry["Id"] for entry in asked.body["Entries"]] for asked in amazon.asked] == [["0", "1"], ["2"]]


def test_an_event_too_large_by_itself_is_reported_and_holds_up_no_other() -> None:
    amazon = FakeAmazon()
    fits = EVENTS_BYTES_PER_BATCH - len("stoplineStop Outcome")
    reported = put(amazon, [event("a"), event("ü" * (fits // 2) + "aaa"), event("z" * fits)])
    assert list(reported) == [1]
    assert reported[1].startswith("TooLarge: 2621")
    assert [text[0] for asked in amazon.asked for text in asked.texts] == ["a", "z"]


def test_a_message_too_large_by_its_attributes_is_reported() -> None:
    amazon = FakeAmazon()
    body = "b" * (MESSAGES_BYTES_PER_BATCH - len("nameStringvalue") + 1)
    reported = send(amazon, [Message(body=body, attributes={"name": "value"}, delay_seconds=0)])
    assert reported == {0: "TooLarge: 1048577 bytes where 1048576 are allowed"}
    assert amazon.asked == []


def test_half_a_surrogate_pair_is_left_to_aws_to_judge() -> None:
    amazon = FakeAmazon()
    assert send(amazon, [message("\ud83d")]) == {}
    assert amazon.asked[0].texts == ["\ud83d"]


# What is taken, refused, tried again


def test_only_the_events_that_may_yet_pass_are_sent_again_and_together() -> None:
    def refuse_the_last_two(asked: Asked) -> Response:
        results = [{"EventId": "e"} for _ in asked.texts[2:]]
        throttled = {"ErrorCode": "ThrottlingException", "ErrorMessage": "slow"}
        malformed = {"ErrorCode": "MalformedDetail", "ErrorMessage": "not valid JSON"}
        return ok({"FailedEntryCount": 2, "Entries": [*results, throttled, malformed]})

    amazon = FakeAmazon(refuse_the_last_two, refuse_the_last_two)
    reported = put(amazon, [event(str(number)) for number in range(20)])
    assert reported == {9: "MalformedDetail: not valid JSON", 19: "MalformedDetail: not valid JSON"}
    assert [len(asked.texts) for asked in amazon.asked] == [10, 10, 2]
    assert amazon.asked[2].texts == ["8", "18"]


def test_an_event_without_a_result_is_sent_again() -> None:
    amazon = FakeAmazon(ok({"FailedEntryCount": 0, "Entries": [{"EventId": "e"}]}))
    assert put(amazon, [event("1"), event("2"), event("3")]) == {}
    assert [asked.texts for asked in amazon.asked] == [["1", "2", "3"], ["2", "3"]]


@pytest.mark.parametrize("body", [{}, {"Entries": None}, {"Entries": "all fine"}, {"Entries": [None]}, {"Entries": []}])
def test_an_answer_that_says_nothing_is_no_success(body: object) -> None:
    assert put(FakeAmazon(*[ok(body)] * TRIES), [event()]) == {0: "NoResult: the answer says nothing about this entry"}


def test_a_message_refused_for_the_senders_fault_is_final_and_another_is_sent_again() -> None:
    failed = [
        {"Id": "0", "SenderFault": True, "Code": "InvalidMessageContents", "Message": "a bell"},
        {"Id": "2", "SenderFault": False, "Code": "InternalError", "Message": "oops"},
        {"Id": "3", "SenderFault": True, "Code": "KmsThrottled", "Message": "slow"},
    ]
    amazon = FakeAmazon(ok({"Successful": [{"Id": "1"}], "Failed": failed}))
    reported = send(amazon, [message(str(number)) for number in range(5)])
    assert reported == {0: "InvalidMessageContents: a bell"}
    assert [asked.texts for asked in amazon.asked] == [["0", "1", "2", "3", "4"], ["2", "3", "4"]]


def test_an_entry_is_given_up_after_its_tries_with_the_last_reason() -> None:
    answers = [ok({"Failed": [{"Id": "0", "SenderFault": False, "Code": f"C{n}", "Message": "m"}]}) for n in range(9)]
    amazon = FakeAmazon(*answers)
    assert send(amazon, [message()]) == {0: f"C{TRIES - 1}: m"}
    assert len(amazon.asked) == TRIES


def test_a_batch_in_trouble_does_not_hold_up_the_others() -> None:
    def refuse_zero(asked: Asked) -> Response:
        return no(503, "ServiceUnavailable") if "0" in asked.texts else take_all(asked)

    amazon = FakeAmazon(*[refuse_zero] * 9)
    reported = put(amazon, [event(str(number)) for number in range(15)])
    assert set(reported) == set(range(10))
    assert set(reported.values()) == {"ServiceUnavailable: said AWS"}
    assert [asked.texts[0] for asked in amazon.asked] == ["0", "10", "0", "0", "0"]


def test_a_refusal_is_raised_at_once() -> None:
    amazon = FakeAmazon(no(400, "AccessDeniedException"))
    with pytest.raises(AwsRefused):
        put(amazon, [event()])
    assert len(amazon.asked) == 1


@pytest.mark.parametrize(
    "fault",
    [
        NoAnswer("cut"),
        no(500, "InternalFailure"),
        no(503, "AnythingAtAll"),
        no(400, "ThrottlingException"),
        no(400, "com.amazonaws.sqs#RequestThrottled"),
        no(429, "Unheard"),
        Response(status=502, headers={}, body=b"<html>Bad Gateway</html>"),
        Response(status=400, headers={"x-amzn-errortype": "SlowDown:http://internal.amazon.com/"}, body=b""),
    ],
    ids=repr,
)
def test_a_passing_fault_is_tried_again_and_told_when_it_does_not_pass(fault: Answer) -> None:
    clock, amazon = Clock(), FakeAmazon(fault)
    assert aws(amazon, clock).secret_string("s", deadline=clock.deadline()) == "open sesame"
    assert len(amazon.asked) == 2
    amazon = FakeAmazon(*[fault] * 9)
    with pytest.raises(AwsUnavailable, match="Secrets Manager GetSecretValue: "):
        aws(amazon, clock).secret_string("s", deadline=clock.deadline())
    assert len(amazon.asked) == TRIES


def test_waits_between_tries_grow() -> None:
    clock = Clock()
    put(FakeAmazon(*[NoAnswer("cut")] * 9), [event()], clock)
    assert clock.slept == [0.5, 1.0, 2.0]


# Time


@pytest.mark.parametrize(("left", "timeout"), [(60.0, 10.0), (3.0, 3.0)])
def test_a_request_is_given_ten_seconds_or_what_is_left(left: float, timeout: float) -> None:
    clock, amazon = Clock(), FakeAmazon()
    aws(amazon, clock).put_events("outcomes", [event()], deadline=clock.deadline(left))
    assert amazon.asked[0].timeout == timeout


def test_nothing_is_sent_past_the_deadline() -> None:
    clock, amazon = Clock(), FakeAmazon()
    late = clock.deadline(0)
    assert aws(amazon, clock).put_events("b", [event()] * 11, deadline=late) == dict.fromkeys(
        range(11), "NoTimeLeft: not sent"
    )
    assert aws(amazon, clock).send_messages("q", [message()], deadline=late) == {
        0: Failure("NoTimeLeft", "not sent", passing=True)
    }
    with pytest.raises(AwsUnavailable, match="NoTimeLeft"):
        aws(amazon, clock).secret_string("s", deadline=late)
    assert amazon.asked == []
    assert clock.slept == []


def test_when_time_runs_out_between_two_batches_the_rest_is_reported() -> None:
    clock = Clock()

    def take_all_slowly(asked: Asked) -> Response:
        clock.seconds += 60
        return take_all(asked)

    amazon = FakeAmazon(take_all_slowly)
    assert put(amazon, [event()] * 12, clock) == {10: "NoTimeLeft: not sent", 11: "NoTimeLeft: not sent"}
    assert len(amazon.asked) == 1


def test_when_time_runs_out_the_true_reason_is_kept() -> None:
    clock = Clock()

    def throttle_slowly(_: Asked) -> Response:
        clock.seconds += 59.999
        return no(400, "ThrottlingException", "slow")

    assert put(FakeAmazon(throttle_slowly, throttle_slowly), [event()], clock) == {0: "ThrottlingException: slow"}


def test_when_time_runs_out_amid_the_second_try_the_reason_of_the_first_is_kept() -> None:
    clock = Clock()

    def throttle(_: Asked) -> Response:
        return no(400, "ThrottlingException", "slow")

    def throttle_slowly(asked: Asked) -> Response:
        clock.seconds += 60
        return throttle(asked)

    amazon = FakeAmazon(throttle, throttle, throttle_slowly)
    assert put(amazon, [event()] * 20, clock) == dict.fromkeys(range(20), "ThrottlingException: slow")
    assert len(amazon.asked) == 3


@pytest.mark.parametrize("left", [0.01, 0.3, 1.0, 2.0])
def test_no_wait_reaches_past_the_deadline(left: float) -> None:
    for _ in range(20):
        clock = Clock()
        with pytest.raises(AwsUnavailable):
            aws(FakeAmazon(*[NoAnswer("cut")] * 9), clock).secret_string("s", deadline=clock.deadline(left))
        assert clock.seconds < left


# Credentials


def key_of(asked: Asked) -> str:
    found = re.search(r"Credential=(\w+)/", asked.headers["Authorization"])
    return found[1] if found else ""


@pytest.mark.parametrize("code", ["ExpiredTokenException", "ExpiredToken"])
def test_an_expired_session_is_renewed_once(code: str) -> None:
    clock, amazon = Clock(), FakeAmazon(no(400, code))
    assert aws(amazon, clock, CONTAINER).secret_string("s", deadline=clock.deadline()) == "open sesame"
    assert [key_of(asked) for asked in amazon.asked] == ["K1", "K2"]
    assert clock.slept == []


def test_a_session_that_expires_again_is_refused() -> None:
    clock, amazon = Clock(), FakeAmazon(*[no(400, "ExpiredTokenException")] * 9)
    with pytest.raises(AwsRefused, match=r"ExpiredTokenException.*check the AWS credentials"):
        aws(amazon, clock, CONTAINER).secret_string("s", deadline=clock.deadline())
    assert (len(amazon.asked), amazon.keys_given) == (2, 2)


def test_an_expired_session_of_the_environment_is_refused() -> None:
    clock, amazon = Clock(), FakeAmazon(no(400, "ExpiredTokenException"))
    with pytest.raises(AwsRefused):
        aws(amazon, clock).secret_string("s", deadline=clock.deadline())
    assert len(amazon.asked) == 1


def test_no_credentials_are_refused_by_the_names_of_the_variables() -> None:
    clock, amazon = Clock(), FakeAmazon()
    with pytest.raises(AwsRefused, match=r"NoCredentials: .*AWS_ACCESS_KEY_ID") as refusal:
        aws(amazon, clock, {"AWS_REGION": "eu-central-1"}).put_events("b", [event()], deadline=clock.deadline())
    assert (refusal.value.service, refusal.value.operation) == ("EventBridge", "PutEvents")
    assert amazon.asked == []


def test_container_credentials_that_do_not_come_are_tried_again_in_the_same_tries() -> None:
    clock, amazon = Clock(), FakeAmazon()
    amazon.keys_lost = TRIES - 1
    assert aws(amazon, clock, CONTAINER).secret_string("s", deadline=clock.deadline()) == "open sesame"
    amazon.keys_lost = 9
    with pytest.raises(AwsUnavailable, match="NoCredentialsYet"):
        aws(amazon, clock, CONTAINER).secret_string("s", deadline=clock.deadline())
    assert amazon.keys_lost == 9 - TRIES


def test_the_session_token_travels_and_the_secret_does_not() -> None:
    amazon = FakeAmazon()
    put(amazon, [event()])
    assert amazon.asked[0].headers["X-Amz-Security-Token"] == "t0k3n"
    assert "s3cr3t" not in repr(amazon.asked)


# Refusals


@pytest.mark.parametrize(
    ("answer", "code", "says"),
    [
        (no(400, "AccessDeniedException"), "AccessDeniedException", "allow sqs:SendMessage in the function's role"),
        (no(400, "com.amazonaws.sqs#QueueDoesNotExist"), "QueueDoesNotExist", "check the name, the region"),
        (no(403, "UnrecognizedClientException"), "UnrecognizedClientException", "check the AWS credentials"),
        (no(400, "InvalidSignatureException:http://x/"), "InvalidSignatureException", "check the AWS credentials"),
        (no(400, "ValidationException"), "ValidationException", "SQS SendMessageBatch: ValidationException: said AWS"),
        (NoSuchHost("unknown name"), "NoSuchHost", "check AWS_REGION, AWS_ENDPOINT_URL_SQS and AWS_ENDPOINT_URL"),
        (Response(status=200, headers={}, body=b"<html>Welcome</html>"), "NotAws", "check AWS_REGION"),
        (Response(status=200, headers={}, body=b'["list"]'), "NotAws", "check AWS_REGION"),
        (Response(status=404, headers={}, body=b"<html>Not here</html>"), "HTTP404", "check AWS_REGION"),
        (Response(status=301, headers={"location": "https://x/"}, body=b""), "HTTP301", "check AWS_REGION"),
    ],
    ids=repr,
)
def test_a_refusal_says_what_to_mend(answer: Answer, code: str, says: str) -> None:
    with pytest.raises(AwsRefused) as refusal:
        send(FakeAmazon(answer), [message()])
    assert (refusal.value.service, refusal.value.operation) == ("SQS", "SendMessageBatch")
    assert refusal.value.code == code
    assert says in str(refusal.value)


@pytest.mark.parametrize("status", [403, 503])
def test_no_secret_is_in_an_error_though_aws_repeats_the_signed_request(status: int) -> None:
    told = "The signature does not match t0k3n s3cr3t.\n\nThe Canonical String ...\nx-amz-security-token:t0k3n\n"
    clock, amazon = Clock(), FakeAmazon(*[no(status, "InvalidSignatureException", told)] * 9)
    with pytest.raises((AwsRefused, AwsUnavailable)) as error:
        aws(amazon, clock).secret_string("s", deadline=clock.deadline())
    printed = str(error.value) + repr(error.value) + repr(vars(error.value))
    assert "The signature does not match" in printed
    assert "t0k3n" not in printed
    assert "s3cr3t" not in printed


@pytest.mark.parametrize("status", [400, 503])
@pytest.mark.parametrize("asked", ["queue", "visibility", "bus", "secret", "table"])
def test_no_login_of_a_setting_is_in_an_error_though_aws_repeats_the_setting(status: int, asked: str) -> None:
    value = "https://user:never-shown@sqs.example/1/q"  # pragma: allowlist secret - it opens nothing
    answer = no(status, "InvalidAddress", f"The address {value} is not valid")
    clock, amazon = Clock(), FakeAmazon(*[answer] * 9)
    it, until = aws(amazon, clock), clock.deadline()
    calls: dict[str, Callable[[], object]] = {
        "queue": lambda: it.send_messages(value, [message()], deadline=until),
        "visibility": lambda: it.change_visibility(value, [("handle", 1)], deadline=until),
        "bus": lambda: it.put_events(value, [event()], deadline=until),
        "secret": lambda: it.secret_string(value, deadline=until),
        "table": lambda: it.call(DYNAMODB, "Query", {"TableName": value}, deadline=until),
    }
    try:
        said = repr(calls[asked]())
    except (AwsRefused, AwsUnavailable) as error:
        said = str(error) + repr(error) + repr(vars(error))
    assert "The address https://*** is not valid" in said
    assert "never-shown" not in said


def test_a_secret_without_a_text_is_not_named_by_a_login() -> None:
    clock, amazon = Clock(), FakeAmazon(ok({"SecretBinary": "AA=="}))
    with pytest.raises(AwsRefused, match=r"NoSecretString: [*]{3} holds no text"):
        aws(amazon, clock).secret_string('{"ak": "a", "sk": "never-shown"}', deadline=clock.deadline())


def test_a_missing_region_is_refused_by_the_name_of_the_variable() -> None:
    clock, amazon = Clock(), FakeAmazon()
    with pytest.raises(AwsRefused, match="NoRegion: set AWS_REGION"):
        aws(amazon, clock, KEYS).secret_string("s", deadline=clock.deadline())
    assert amazon.asked == []


@pytest.mark.parametrize("url", ["localhost:4566", "http://", "http://localhost:port", "http://["])
def test_an_endpoint_that_is_no_url_is_refused_by_the_name_of_the_variable(url: str) -> None:
    clock, amazon = Clock(), FakeAmazon()
    with pytest.raises(AwsRefused, match="AWS_ENDPOINT_URL_SECRETS_MANAGER"):
        aws(amazon, clock, HERE | {"AWS_ENDPOINT_URL": url}).secret_string("s", deadline=clock.deadline())
    assert amazon.asked == []


# A warm process


class NothingMayBeRead(Mapping[str, str]):
    def __getitem__(self, key: str) -> Never:
        raise AssertionError(key)

    def __iter__(self) -> Iterator[str]:
        raise AssertionError

    def __len__(self) -> int:
        raise AssertionError


def test_making_it_reads_nothing_and_sends_nothing() -> None:
    amazon, clock = FakeAmazon(), Clock()
    aws(amazon, clock, NothingMayBeRead())
    assert (amazon.asked, amazon.keys_given) == ([], 0)


def test_several_threads_use_one() -> None:
    amazon, clock = FakeAmazon(), Clock()
    shared = aws(amazon, clock, CONTAINER)

    def one(number: int) -> Mapping[int, str]:
        return shared.put_events("outcomes", [event(f"{number}:{n}") for n in range(12)], deadline=clock.deadline())

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(one, range(40))) == [{}] * 40
    sent = [text for asked in amazon.asked for text in asked.texts]
    assert sorted(sent) == sorted(f"{number}:{n}" for number in range(40) for n in range(12))
    assert amazon.keys_given == 1


def test_batches_are_sent_side_by_side_and_each_failure_is_told_of_its_own_entry() -> None:
    together = threading.Barrier(4, timeout=10)

    def answer(asked: Asked) -> Response:
        together.wait()
        entries = [
            {"ErrorCode": "MalformedDetail", "ErrorMessage": text} if text.endswith("7") else {"EventId": "e"}
            for text in asked.texts
        ]
        return ok({"FailedEntryCount": 1, "Entries": entries})

    amazon, clock = FakeAmazon(*[answer] * 8), Clock()
    events = [event(str(number)) for number in range(80)]
    failed = aws(amazon, clock, requests_at_once=4).put_events("outcomes", events, deadline=clock.deadline())
    assert failed == {number: f"MalformedDetail: {number}" for number in range(7, 80, 10)}


def test_a_final_no_ends_what_has_not_been_sent() -> None:
    amazon, clock = FakeAmazon(*[no(403, "AccessDeniedException")] * 50), Clock()
    with pytest.raises(AwsRefused, match="events:PutEvents"):
        aws(amazon, clock, requests_at_once=2).put_events("outcomes", [event()] * 500, deadline=clock.deadline())
    assert len(amazon.asked) < 50


# What botocore knows


@pytest.mark.parametrize(
    ("service", "name", "operation"),
    [
        (EVENTBRIDGE, "events", "PutEvents"),
        (SQS, "sqs", "SendMessageBatch"),
        (SECRETS_MANAGER, "secretsmanager", "GetSecretValue"),
    ],
)
def test_a_service_is_addressed_as_botocores_model_says(service: Service, name: str, operation: str) -> None:
    model = Loader().load_service_model(name, "service-2")
    metadata = model["metadata"]
    assert metadata["protocol"] == "json"
    assert metadata["signatureVersion"] == "v4"
    assert service == Service(
        service_id=metadata["serviceId"],
        endpoint_prefix=metadata.get("signingName", metadata["endpointPrefix"]),
        target_prefix=metadata["targetPrefix"],
        json_version=metadata["jsonVersion"],
    )
    assert metadata["endpointPrefix"] == service.endpoint_prefix
    assert model["operations"][operation]["http"] == {"method": "POST", "requestUri": "/"}


def test_every_code_that_botocore_tries_again_passes() -> None:
    transient = vars(TransientRetryableChecker)["_TRANSIENT_ERROR_CODES"]
    throttled = vars(ThrottledRetryableChecker)["_THROTTLED_ERROR_CODES"]
    assert {*transient, *throttled} - PASSING_CODES == set()


NAMES = [(EVENTBRIDGE, "events"), (SQS, "sqs"), (SECRETS_MANAGER, "secretsmanager")]


@pytest.mark.parametrize(("service", "name"), NAMES)
@pytest.mark.parametrize("partition", ["aws", "aws-cn", "aws-us-gov", "aws-eusc"])
def test_the_endpoint_of_every_region_is_botocores(partition: str, service: Service, name: str) -> None:
    resolver = EndpointResolver(Loader().load_data("endpoints"))
    regions = [region for region in resolver.get_available_endpoints(name, partition) if not region.startswith("fips-")]
    assert regions
    for region in regions:
        theirs = resolver.construct_endpoint(name, region) or {}
        assert endpoint(service, region, {}) == f"https://{theirs['hostname']}/"


@pytest.mark.parametrize(
    ("service", "name"), [*NAMES, (DYNAMODB, "dynamodb"), (STS, "sts")], ids=lambda each: str(each)[:20]
)
@pytest.mark.parametrize("partition", ["aws", "aws-cn", "aws-us-gov", "aws-eusc"])
@pytest.mark.parametrize("fips", [False, True])
@pytest.mark.parametrize("dual_stack", [False, True])
def test_endpoints_of_fips_and_dual_stack_are_botocores_in_every_region(
    partition: str,
    service: Service,
    name: str,
    fips: bool,  # noqa: FBT001
    dual_stack: bool,  # noqa: FBT001
) -> None:
    loader = Loader()
    partitions = loader.load_data("partitions")
    rules = EndpointProvider(loader.load_service_model(name, "endpoint-rule-set-1"), partitions)
    regions = next(each["regions"] for each in partitions["partitions"] if each["id"] == partition)
    environment = {"AWS_USE_FIPS_ENDPOINT": str(fips), "AWS_USE_DUALSTACK_ENDPOINT": str(dual_stack)}
    for region in set(regions) - {f"{partition}-global"}:
        theirs = rules.resolve_endpoint(Region=region, UseFIPS=fips, UseDualStack=dual_stack)
        assert endpoint(service, region, environment) == f"{theirs.url}/"


@pytest.mark.parametrize("variable", ["AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT"])
def test_a_kind_of_endpoint_is_true_or_false_and_nothing_else(variable: str) -> None:
    with pytest.raises(DeploymentFault, match=f"{variable} is 'yes', and should be true or false"):
        check_endpoint_settings({variable: "yes"})
    for value in ("", "false", "False", "true", "TRUE"):
        check_endpoint_settings({variable: value})


@pytest.mark.parametrize("configured", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SQS", "AWS_ENDPOINT_URL_STS"])
@pytest.mark.parametrize("variable", ["AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT"])
def test_a_configured_endpoint_has_no_variant_of_fips_or_dual_stack(variable: str, configured: str) -> None:
    """As botocore's rules say: "FIPS and custom endpoint are not supported"."""
    environment = {variable: "true", configured: "https://me:never-shown@vpce.example"}  # pragma: allowlist secret
    with pytest.raises(DeploymentFault, match=f"{variable} is true and {configured} is 'https://[*]{{3}}'"):
        check_endpoint_settings(environment)
    check_endpoint_settings(environment | {"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"})
    check_endpoint_settings({configured: "https://vpce.example"})
    check_endpoint_settings({variable: "true", "AWS_ENDPOINT_URL_S3": "https://vpce.example"})


@pytest.mark.parametrize(("service", "name"), NAMES)
@pytest.mark.parametrize("of_all", [{}, {"AWS_ENDPOINT_URL": ""}, {"AWS_ENDPOINT_URL": "http://localhost:4566"}])
@pytest.mark.parametrize("own", [None, "", "http://localhost:9/path"])
def test_a_configured_endpoint_is_found_as_botocore_finds_it(
    own: str | None, of_all: Mapping[str, str], service: Service, name: str
) -> None:
    variable = "AWS_ENDPOINT_URL_" + {"events": "EVENTBRIDGE", "sqs": "SQS"}.get(name, "SECRETS_MANAGER")
    environment = dict(of_all) | ({} if own is None else {variable: own})
    found = ConfiguredEndpointProvider(
        full_config={}, scoped_config={}, client_name=name, environ=environment
    ).provide()
    regional = f"https://{service.endpoint_prefix}.eu-central-1.amazonaws.com"
    assert endpoint(service, "eu-central-1", environment) == f"{found or regional}/"


@pytest.mark.parametrize("ignored", ["true", "True", "false", "1", ""])
def test_configured_endpoints_are_ignored_as_botocore_ignores_them(
    ignored: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = {"AWS_ENDPOINT_URL": "http://localhost:4566", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": ignored}
    for name, value in (HERE | environment).items():
        monkeypatch.setenv(name, value)
    theirs = boto3.session.Session().client("sqs", region_name="eu-central-1").meta.endpoint_url
    assert endpoint(SQS, "eu-central-1", environment) == f"{theirs}/"


# The services' own shapes, as moto has them


class Moto(Http):
    """Hands our signed requests to moto, which stands in for AWS in this process."""

    def __init__(self) -> None: ...

    def send(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes | None, timeout: float
    ) -> Response:
        answer = requests.request(method, url, headers=dict(headers), data=body, timeout=timeout)
        return Response(status=answer.status_code, headers=answer.headers, body=answer.content)


@pytest.fixture
def in_moto(monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    for name, value in HERE.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_DEFAULT_REGION", HERE["AWS_REGION"])
    with mock_aws():
        yield aws(Moto(), Clock())


def test_messages_arrive_on_a_queue(in_moto: Aws) -> None:
    sqs = boto3.client("sqs")
    queue = sqs.create_queue(QueueName="commands")["QueueUrl"]
    messages = [Message(body=f"ü{number}", attributes={"why": "钥"}, delay_seconds=0) for number in range(12)]
    assert in_moto.send_messages(queue, messages, deadline=Clock().deadline()) == {}
    arrived: list[tuple[str, str]] = []
    while batch := sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, MessageAttributeNames=["All"]).get(
        "Messages"
    ):
        arrived += [(each["Body"], each["MessageAttributes"]["why"]["StringValue"]) for each in batch]
    assert sorted(arrived) == sorted((each.body, "钥") for each in messages)


def test_a_received_message_is_hidden_for_as_long_as_it_is_asked(in_moto: Aws) -> None:
    sqs = boto3.client("sqs")
    queue = sqs.create_queue(QueueName="commands", Attributes={"VisibilityTimeout": "1800"})["QueueUrl"]
    for number in range(12):
        sqs.send_message(QueueUrl=queue, MessageBody=str(number))
    received = [
        each
        for _ in range(2)
        for each in sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", [])
    ]
    assert len(received) == 12
    # Seconds of 0 show in a told time of none that each message gets its own.
    timeouts = [(each["ReceiptHandle"], 0 if int(each["Body"]) % 2 else 600) for each in received]
    unchanged = in_moto.change_visibility(queue, [*timeouts, ("no handle", 60)], deadline=Clock().deadline())
    assert list(unchanged) == [12]
    assert unchanged[12].startswith("ReceiptHandleIsInvalid")
    again = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", [])
    assert sorted(int(each["Body"]) for each in again) == [1, 3, 5, 7, 9, 11]


def test_a_change_of_visibility_is_sent_ten_at_a_time_as_the_api_reference_has_it() -> None:
    clock, amazon = Clock(), FakeAmazon()
    timeouts = [(f"handle {number}", 60 + number) for number in range(11)]
    assert aws(amazon, clock).change_visibility(QUEUE, timeouts, deadline=clock.deadline()) == {}
    first, second = amazon.asked
    assert first.headers["X-Amz-Target"] == "AmazonSQS.ChangeMessageVisibilityBatch"
    assert first.body["QueueUrl"] == QUEUE
    assert len(first.body["Entries"]) == 10
    assert second.body["Entries"] == [{"Id": "10", "ReceiptHandle": "handle 10", "VisibilityTimeout": 70}]


def test_a_change_of_visibility_that_is_denied_names_the_permission() -> None:
    clock, amazon = Clock(), FakeAmazon(no(400, "AccessDeniedException"))
    with pytest.raises(AwsRefused, match="allow sqs:ChangeMessageVisibility in the function's role"):
        aws(amazon, clock).change_visibility(QUEUE, [("handle", 60)], deadline=clock.deadline())


def test_a_queue_that_does_not_exist_is_refused(in_moto: Aws) -> None:
    with pytest.raises(AwsRefused, match=r"QueueDoesNotExist.*check the name"):
        in_moto.send_messages(QUEUE, [message()], deadline=Clock().deadline())


def test_events_arrive_on_a_bus_and_a_malformed_one_is_reported(in_moto: Aws) -> None:
    events, sqs = boto3.client("events"), boto3.client("sqs")
    queue = sqs.create_queue(QueueName="outcomes")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    events.create_event_bus(Name="outcomes")
    events.put_rule(Name="all", EventBusName="outcomes", EventPattern=json.dumps({"source": ["stopline"]}))
    events.put_targets(Rule="all", EventBusName="outcomes", Targets=[{"Id": "1", "Arn": arn}])
    reported = in_moto.put_events("outcomes", [event('{"n": 1}'), event("{")], deadline=Clock().deadline())
    assert list(reported) == [1]
    assert reported[1].startswith("MalformedDetail: ")
    arrived = json.loads(sqs.receive_message(QueueUrl=queue)["Messages"][0]["Body"])
    assert (arrived["detail-type"], arrived["detail"]) == ("Stop Outcome", {"n": 1})


def test_a_secret_is_read_and_a_missing_one_refused(in_moto: Aws) -> None:
    boto3.client("secretsmanager").create_secret(Name="huawei", SecretString='{"ak": "a", "sk": "b"}')
    assert in_moto.secret_string("huawei", deadline=Clock().deadline()) == '{"ak": "a", "sk": "b"}'
    with pytest.raises(AwsRefused, match=r"ResourceNotFoundException.*check the name"):
        in_moto.secret_string("other", deadline=Clock().deadline())


# What may have been taken all the same


def of_one(code: str, *, sender_fault: bool) -> Response:
    entry = {"Id": "0", "Code": code, "SenderFault": sender_fault}
    return Response(200, {}, json.dumps({"Successful": [], "Failed": [entry]}).encode())


REFUSED = of_one("InvalidMessageContents", sender_fault=True)
THROTTLED = no(400, "ThrottlingException")


@pytest.mark.parametrize(
    ("answers", "in_doubt"),
    [
        ([REFUSED], False),
        ([THROTTLED, REFUSED], False),
        ([THROTTLED], False),
        ([of_one("InternalError", sender_fault=False)], False),
        ([NoAnswer("refused", was_sent=False)], False),
        ([NoAnswer("cut")], True),
        ([NoAnswer("cut"), REFUSED], True),
        ([NoAnswer("cut"), THROTTLED], True),
        ([no(500, "InternalFailure"), REFUSED], True),
        ([Response(200, {}, b"{}"), REFUSED], True),
        ([NoAnswer("cut"), no(403, "AccessDeniedException")], True),
    ],
)
def test_a_message_may_have_been_sent_if_an_answer_to_it_was_lost(answers: list[Any], *, in_doubt: bool) -> None:
    clock = Clock()
    failures = aws(FakeAmazon(*answers, *[answers[-1]] * TRIES), clock).send_messages(
        QUEUE, [message()], deadline=clock.deadline()
    )
    assert {position: failure.in_doubt for position, failure in failures.items()} == {0: in_doubt}


def test_if_one_batch_is_refused_after_another_was_taken_it_is_said_which() -> None:
    def answer(entries: range) -> Response:
        taken = [{"Id": str(number), "MessageId": "m"} for number in entries]
        return Response(200, {}, json.dumps({"Successful": taken, "Failed": []}).encode())

    clock = Clock()
    amazon = FakeAmazon(answer(range(10)), no(403, "AccessDeniedException"))
    failures = aws(amazon, clock, requests_at_once=1).send_messages(QUEUE, [message()] * 25, deadline=clock.deadline())
    assert list(failures) == list(range(10, 25))
    assert {(failure.code, failure.in_doubt) for failure in failures.values()} == {("AccessDeniedException", False)}

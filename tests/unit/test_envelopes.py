"""A command in each of its envelopes, and what is no envelope at all."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.commands import InvalidCommand, StopTask, read_command
from shared.envelopes import Incoming, Opened, open_envelope, read_delivery
from shared.errors import DeploymentFault
from shared.field_errors import show
from tests.fakes import NOW, defaults, delivery

COMMAND = {"command": "stop_task", "command_id": "c-1", "task_id": "2b31"}


def sns(message: object) -> dict[str, object]:
    """Give a notification as SNS puts it into SQS (Developer Guide, sns-message-and-json-formats)."""
    return {
        "Type": "Notification",
        "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
        "TopicArn": "arn:aws:sns:us-west-2:123456789012:MyTopic",
        "Message": message,
        "Timestamp": "2026-11-23T08:49:05.123Z",
        "SignatureVersion": "1",
        "Signature": "EXAMPLE",
        "SigningCertURL": "https://sns.us-west-2.amazonaws.com/SimpleNotificationService.pem",
        "UnsubscribeURL": "https://sns.us-west-2.amazonaws.com/?Action=Unsubscribe",
        "MessageAttributes": {"a": {"Type": "String", "Value": "b"}},
    }


def event(detail: object) -> dict[str, object]:
    """Give an event as a rule sends it to SQS (EventBridge User Guide, eb-events-structure)."""
    return {
        "version": "0",
        "id": "6a7e8feb-b491-4cf7-a9f1-bf3703467718",
        "detail-type": "Stop Requested",
        "source": "my.deployments",
        "account": "111122223333",
        "time": "2026-11-23T08:49:05Z",
        "region": "us-west-1",
        "resources": [],
        "detail": detail,
    }


def opened(body: str | object) -> Opened:
    text = body if isinstance(body, str) else json.dumps(body)
    return open_envelope(Incoming(message_id="m-0", body=text, sent_at=NOW))


def payload(body: str | object) -> object:
    return opened(body).payload


@pytest.mark.parametrize(
    "body",
    [
        json.dumps(COMMAND),
        f"\n {json.dumps(COMMAND, indent=1)} \t",
        json.dumps(sns(json.dumps(COMMAND))),
        json.dumps(event(COMMAND)),
    ],
    ids=["raw", "raw with blanks", "SNS", "EventBridge"],
)
def test_a_command_is_taken_out_of_its_envelope(body: str) -> None:
    command = read_command(payload(body), defaults=defaults())
    assert isinstance(command, StopTask)
    assert (command.command_id, command.task_id) == ("c-1", "2b31")


def test_a_direct_call_needs_no_envelope() -> None:
    assert read_command(COMMAND, defaults=defaults()).command_id == "c-1"


@pytest.mark.parametrize(
    "body",
    [
        {"Type": "Notification", "Message": "{}"},
        {"Type": "SubscriptionConfirmation", "TopicArn": "arn", "Message": "You have chosen to subscribe"},
        {"Type": "Notification", "TopicArn": "arn", "Message": {"command": "stop_task"}},
        {"detail": COMMAND},
        {"detail-type": "Stop Requested", "detail": COMMAND},
        {"detail-type": 1, "source": "a", "detail": COMMAND},
        {"detail-type": "a", "source": "b"},
        event(None),
        event([COMMAND]),
        event(json.dumps(COMMAND)),
        sns(json.dumps(sns(json.dumps(COMMAND)))),
        [COMMAND],
        "[]",
        "null",
        "1",
        '"stop"',
    ],
    ids=str,
)
def test_what_only_resembles_an_envelope_is_no_command(body: object) -> None:
    with pytest.raises(InvalidCommand):
        read_command(payload(body), defaults=defaults())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "should be JSON"),
        ("stop", "should be JSON"),
        ("{'command': 'stop_task'}", "should be JSON"),
        (
            '{"command": "stop_task",}',
            r'^message: ",}" should be JSON: illegal trailing comma .* at line 1, column 24$',
        ),
        ('{"command": "stop_task"} {}', "should be JSON"),
        ("\ufeff{}", "should be JSON"),
        ('{"attempt": NaN}', "NaN is not allowed in JSON"),
        ('{"attempt": Infinity}', "Infinity is not allowed in JSON"),
        ('{"attempt": -Infinity}', "-Infinity is not allowed in JSON"),
        (f'{{"attempt": {"9" * 5000}}}', "should be JSON with numbers of at most 4300 digits"),
        ('{"all_targets": true, "all_targets": true}', 'duplicate key "all_targets"$'),
        ('{"tally": {"refused": 1, "stopped": 1, "stopped": 2}}', 'duplicate key "stopped"$'),
        ('{"targets": ["d1"], "targets": ["d2"]}', 'duplicate key "targets"$'),
        ("[" * 100_000, "should not be nested that deep"),
        ('{"a":' * 100_000, "should not be nested that deep"),
    ],
    ids=lambda text: text[:40],
)
@pytest.mark.parametrize("wrapped", [False, True], ids=["raw", "SNS"])
def test_what_is_no_json_is_refused_in_whichever_envelope(text: str, reason: str, *, wrapped: bool) -> None:
    with pytest.raises(InvalidCommand, match=reason) as invalid:
        payload(json.dumps(sns(text)) if wrapped else text)
    assert [error.loc for error in invalid.value.errors] == [""]
    assert invalid.value.known.command_id == "m-0"
    assert all(len(error.msg) <= 512 for error in invalid.value.errors)


def test_a_delivery_is_read_message_by_message_with_the_body_intact() -> None:
    bodies = ["\tnot json ☂", json.dumps(COMMAND)]
    messages = read_delivery(delivery(*bodies, sent_at=NOW - timedelta(hours=1)), now=NOW)
    assert messages == tuple(
        Incoming(f"m-{n}", body, NOW - timedelta(hours=1), receives=1, receipt_handle=f"receipt of m-{n}")
        for n, body in enumerate(bodies)
    )


@pytest.mark.parametrize("attributes", [{}, {"SentTimestamp": None}])
def test_a_message_that_does_not_say_when_it_was_sent_was_sent_now(attributes: dict[str, Any]) -> None:
    event = delivery("{}")
    event["Records"][0]["attributes"] = attributes
    assert read_delivery(event, now=NOW)[0].sent_at == NOW
    del event["Records"][0]["attributes"]
    assert read_delivery(event, now=NOW)[0].sent_at == NOW


def test_the_moment_of_sending_is_in_milliseconds() -> None:
    event = delivery("{}")
    event["Records"][0]["attributes"]["SentTimestamp"] = "1523232000123"
    assert read_delivery(event, now=NOW)[0].sent_at == datetime(2018, 4, 9, 0, 0, 0, 123000, tzinfo=UTC)


@pytest.mark.parametrize(("count", "receives", "is_repeat"), [("1", 1, False), ("2", 2, True), (None, 1, False)])
def test_a_message_says_how_often_it_was_received(count: str | None, receives: int, *, is_repeat: bool) -> None:
    event = delivery("{}")
    event["Records"][0]["attributes"] = {} if count is None else {"ApproximateReceiveCount": count}
    (message,) = read_delivery(event, now=NOW)
    assert (message.receives, message.is_repeat) == (receives, is_repeat)


def test_a_message_without_a_receipt_handle_is_read_all_the_same() -> None:
    (message,) = read_delivery(_record(receiptHandle=...), now=NOW)
    assert message.receipt_handle is None


def _record(**changed: object) -> dict[str, Any]:
    record = delivery("{}")["Records"][0] | changed
    return {"Records": [{name: value for name, value in record.items() if value is not ...}]}


@pytest.mark.parametrize(
    "event",
    [
        None,
        [],
        {},
        COMMAND,
        {"Records": None},
        {"Records": ["a"]},
        {"Records": [None]},
        _record(eventSource="aws:sns"),
        _record(eventSource=...),
        _record(messageId=...),
        _record(body=...),
        _record(attributes=[]),
        _record(attributes={"SentTimestamp": "soon"}),
        _record(attributes={"SentTimestamp": "9" * 30}),
        _record(attributes={"SentTimestamp": "9" * 400}),
    ],
)
def test_any_other_event_is_a_fault_of_the_deployment(event: Any) -> None:
    with pytest.raises(DeploymentFault, match="check its event source mapping"):
        read_delivery(event, now=NOW)


def test_an_empty_delivery_has_no_messages() -> None:
    assert read_delivery({"Records": []}, now=NOW) == ()


AT = {"sns": "Timestamp", "event": "time"}
ENVELOPES = {"sns": sns(json.dumps(COMMAND)), "event": event(COMMAND)}
BOTH = pytest.mark.parametrize("kind", ENVELOPES)


@BOTH
def test_a_command_is_as_old_as_its_envelope_says(kind: str) -> None:
    old = ENVELOPES[kind] | {AT[kind]: "2026-11-16T08:49:05Z", "replay-name": "replay-of-the-week"}
    assert opened(old) == Opened(COMMAND, datetime(2026, 11, 16, 8, 49, 5, tzinfo=UTC))


@BOTH
def test_an_envelope_never_makes_a_command_younger_than_its_message(kind: str) -> None:
    assert opened(ENVELOPES[kind] | {AT[kind]: "2030-01-01T00:00:00Z"}).sent_at == NOW


@BOTH
def test_an_envelope_without_a_time_says_nothing_of_the_age(kind: str) -> None:
    without = {name: value for name, value in ENVELOPES[kind].items() if name != AT[kind]}
    assert opened(without) == Opened(COMMAND, NOW)


@BOTH
@pytest.mark.parametrize("time", [None, "", 1763887745, "yesterday", "2026-11-23", "2026-11-23T08:49:05", ["now"], {}])
def test_an_envelope_whose_time_cannot_be_read_is_refused_since_its_age_is_not_known(kind: str, time: object) -> None:
    with pytest.raises(InvalidCommand) as invalid:
        opened(ENVELOPES[kind] | {AT[kind]: time})
    (error,) = invalid.value.errors
    assert (error.loc, error.value) == (AT[kind], show(time))
    assert error.msg.startswith(f"{error.value} should be an RFC 3339 time")
    assert invalid.value.known.command_id == "m-0"


def test_a_raw_command_is_as_old_as_its_message() -> None:
    assert opened(COMMAND) == Opened(COMMAND, NOW)
    assert opened(COMMAND | {"time": "2026-11-16T08:49:05Z"}).sent_at == NOW, "that is the command's own, and refused"

"""A command in each of its envelopes, and what is no envelope at all."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.commands import InvalidCommand, StopTask, read_command
from shared.envelopes import Incoming, Opened, Origin, open_envelope, read_delivery
from shared.errors import DeploymentFault
from shared.field_errors import show
from shared.traces import NO_TRACE, Trace
from tests.fakes import NOW, defaults, delivery

if TYPE_CHECKING:
    from collections.abc import Callable

COMMAND = {"command": "stop_task", "command_id": "c-1", "task_id": "2b31"}
SNS_ID = "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324"
EVENT_ID = "6a7e8feb-b491-4cf7-a9f1-bf3703467718"


def sns(message: object) -> dict[str, object]:
    """Give a notification as SNS puts it into SQS (Developer Guide, sns-message-and-json-formats)."""
    return {
        "Type": "Notification",
        "MessageId": SNS_ID,
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
        "id": EVENT_ID,
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
        json.dumps(sns(json.dumps(event(COMMAND)))),
        json.dumps(event(sns(json.dumps(COMMAND)))),
        json.dumps(sns(json.dumps(sns(json.dumps(COMMAND))))),
        json.dumps(event(event(event(COMMAND)))),
    ],
    ids=[
        "raw",
        "raw with blanks",
        "SNS",
        "EventBridge",
        "event in a notification",
        "notification in an event",
        "notification in a notification",
        "event in an event in an event",
    ],
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
        sns(json.dumps({"Type": "Notification", "Message": json.dumps(COMMAND)})),
        sns(json.dumps(event(json.dumps(COMMAND)))),
        event(COMMAND) | COMMAND,
        event(COMMAND) | {"command": None},
        sns(json.dumps(COMMAND)) | COMMAND,
        sns(json.dumps(COMMAND)) | event(COMMAND),
        sns(json.dumps(event(COMMAND) | COMMAND)),
        event(event(COMMAND) | COMMAND),
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
    assert invalid.value.known.command_id == (SNS_ID if wrapped else "m-0")
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
ID = {"sns": "MessageId", "event": "id"}
IDS = {"sns": SNS_ID, "event": EVENT_ID}
ENVELOPES = {"sns": sns(json.dumps(COMMAND)), "event": event(COMMAND)}
BOTH = pytest.mark.parametrize("kind", ENVELOPES)


@BOTH
def test_a_command_is_as_old_as_its_envelope_says(kind: str) -> None:
    old = ENVELOPES[kind] | {AT[kind]: "2026-11-16T08:49:05Z", "replay-name": "replay-of-the-week"}
    assert opened(old) == Opened(COMMAND, datetime(2026, 11, 16, 8, 49, 5, tzinfo=UTC), IDS[kind])


@BOTH
def test_an_envelope_never_makes_a_command_younger_than_its_message(kind: str) -> None:
    assert opened(ENVELOPES[kind] | {AT[kind]: "2030-01-01T00:00:00Z"}).sent_at == NOW


@BOTH
def test_an_envelope_without_a_time_says_nothing_of_the_age(kind: str) -> None:
    without = {name: value for name, value in ENVELOPES[kind].items() if name != AT[kind]}
    assert opened(without) == Opened(COMMAND, NOW, IDS[kind])


@BOTH
@pytest.mark.parametrize("time", [None, "", 1763887745, "yesterday", "2026-11-23", "2026-11-23T08:49:05", ["now"], {}])
def test_an_envelope_whose_time_cannot_be_read_is_refused_since_its_age_is_not_known(kind: str, time: object) -> None:
    with pytest.raises(InvalidCommand) as invalid:
        payload(ENVELOPES[kind] | {AT[kind]: time})
    (error,) = invalid.value.errors
    assert (error.loc, error.value) == (AT[kind], show(time))
    assert error.msg.startswith(f"{error.value} should be an RFC 3339 time")
    assert invalid.value.known.command_id == IDS[kind]


def test_a_raw_command_is_as_old_as_its_message() -> None:
    assert opened(COMMAND) == Opened(COMMAND, NOW, "m-0")
    assert opened(COMMAND | {"time": "2026-11-16T08:49:05Z"}).sent_at == NOW, "that is the command's own, and refused"


# Envelopes in envelopes


@st.composite
def wrapped(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """A body with the command in up to six envelopes, and what it should say."""
    content: Any = COMMAND
    said: dict[str, Any] = {"sent_at": NOW, "command_id": None, "trace": None}
    for number in range(draw(st.integers(0, 6))):
        at = NOW - timedelta(seconds=draw(st.integers(-100, 100)))
        own_id = draw(st.sampled_from([f"id-{number}", "no id", 7, None, ""]))
        if draw(st.booleans()):
            trace = draw(st.sampled_from([None, f"00-{number + 1:032x}-00f067aa0ba902b7-01"]))
            attributes = {} if trace is None else {"traceparent": {"Type": "String", "Value": trace}}
            content = sns(json.dumps(content))
            content |= {"Timestamp": at.isoformat(), "MessageId": own_id, "MessageAttributes": attributes}
            said["trace"] = said["trace"] or trace
        else:
            content = event(content) | {"time": at.isoformat(), "id": own_id}
        said["sent_at"] = min(said["sent_at"], at)
        said["command_id"] = said["command_id"] or (own_id if own_id == f"id-{number}" else None)
    return json.dumps(content), said


@given(wrapped())
def test_all_envelopes_come_off_and_the_earliest_time_and_the_innermost_id_and_trace_count(
    message: tuple[str, dict[str, Any]],
) -> None:
    body, said = message
    assert opened(body) == Opened(
        COMMAND, said["sent_at"], said["command_id"] or "m-0", Trace(said["trace"]) if said["trace"] else NO_TRACE
    )


def test_the_innermost_id_is_the_default() -> None:
    assert opened(sns(json.dumps(event(COMMAND)))).command_id == EVENT_ID
    assert opened(event(sns(json.dumps(COMMAND)))).command_id == SNS_ID


@BOTH
@pytest.mark.parametrize("own_id", [None, "", 7, "a b", "x" * 65, ["a"], {}])
def test_an_id_that_no_command_may_have_is_passed_over(kind: str, own_id: object) -> None:
    bad = ENVELOPES[kind] | {ID[kind]: own_id}
    assert opened(bad).command_id == "m-0"
    assert opened(sns(json.dumps(bad))).command_id == SNS_ID
    del bad[ID[kind]]
    assert opened(bad).command_id == "m-0"


# Traces


PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
OTHER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
STATE = "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7"


def by_sqs(body: object, kind: str = "String", **attributes: object) -> Opened:
    """Open a message with these attributes, as Lambda hands it over."""
    delivered = delivery(json.dumps(body))
    delivered["Records"][0]["messageAttributes"] = {
        name: {"stringValue": value, "stringListValues": [], "binaryListValues": [], "dataType": kind}
        for name, value in attributes.items()
    }
    (message,) = read_delivery(delivered, now=NOW)
    return open_envelope(message)


def by_sns(body: object, kind: str = "String", **attributes: object) -> dict[str, object]:
    """Wrap a command as a notification with these attributes."""
    return sns(json.dumps(body)) | {
        "MessageAttributes": {name: {"Type": kind, "Value": value} for name, value in attributes.items()}
    }


def through_sns(body: object, kind: str = "String", **attributes: object) -> Opened:
    return opened(by_sns(body, kind, **attributes))


WAYS = pytest.mark.parametrize("way", [by_sqs, through_sns])


@WAYS
def test_the_trace_of_message_attributes_is_taken(way: Callable[..., Opened]) -> None:
    assert way(COMMAND, traceparent=PARENT, tracestate=STATE).trace == Trace(PARENT, STATE)
    assert way(COMMAND, traceparent=PARENT).trace == Trace(PARENT)
    assert way(COMMAND, other=PARENT).trace == NO_TRACE


def test_the_innermost_envelope_with_a_valid_trace_decides() -> None:
    assert by_sqs(by_sns(COMMAND, traceparent=OTHER), traceparent=PARENT, tracestate=STATE).trace == Trace(OTHER)
    assert by_sqs(by_sns(COMMAND), traceparent=PARENT).trace == Trace(PARENT)
    assert by_sqs(event(COMMAND), traceparent=PARENT).trace == Trace(PARENT)
    of_the_outer = by_sqs(by_sns(COMMAND, traceparent="nonsense"), traceparent=PARENT)
    assert (of_the_outer.trace, of_the_outer.left_out) == (Trace(PARENT), (("traceparent", "nonsense"),))


@WAYS
@pytest.mark.parametrize(
    "traceparent",
    [
        "nonsense",
        "",
        PARENT.upper(),
        f" {PARENT}",
        f"{PARENT}\n",
        f"{PARENT}-00",
        f"ff{PARENT[2:]}",
        f"ff{PARENT[2:]}-more",
        f"01{PARENT[2:]}.more",
        f"0{PARENT[2:]}",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0g",
        f"01{PARENT[2:]}-{'x' * 457}",
    ],
)
def test_an_attribute_that_is_no_traceparent_is_left_out_and_named(
    way: Callable[..., Opened], traceparent: str
) -> None:
    found = way(COMMAND, traceparent=traceparent, tracestate=STATE)
    assert (found.payload, found.trace) == (COMMAND, NO_TRACE)
    assert found.left_out == (("traceparent", traceparent), ("tracestate", STATE))


@WAYS
@pytest.mark.parametrize("version", ["01", "fe", "cc"])
@pytest.mark.parametrize("more", ["", "-", "-what-the-future-will-be-like", f"-{'x' * 456}"])
def test_a_later_version_may_be_longer(way: Callable[..., Opened], version: str, more: str) -> None:
    later = f"{version}{PARENT[2:]}{more}"
    assert way(COMMAND, traceparent=later).trace == Trace(later)


@WAYS
@pytest.mark.parametrize("tracestate", ["", "☂", "a=1\tb=2", "x" * 513, f"{STATE}\n"])
def test_an_attribute_that_is_no_tracestate_is_left_out_alone(way: Callable[..., Opened], tracestate: str) -> None:
    found = way(COMMAND, traceparent=PARENT, tracestate=tracestate)
    assert (found.trace, found.left_out) == (Trace(PARENT), (("tracestate", tracestate),))


@WAYS
def test_a_tracestate_alone_is_left_out(way: Callable[..., Opened]) -> None:
    found = way(COMMAND, tracestate=STATE)
    assert (found.trace, found.left_out) == (NO_TRACE, (("tracestate", STATE),))


@WAYS
@pytest.mark.parametrize("kind", ["Binary", "Number", "String.Array", ""])
def test_attributes_of_other_types_are_somebody_elses(way: Callable[..., Opened], kind: str) -> None:
    found = way(COMMAND, kind, traceparent=PARENT, tracestate=STATE)
    assert (found.trace, found.left_out) == (NO_TRACE, ())


@pytest.mark.parametrize(
    "attributes", [None, [], "x", {"traceparent": PARENT}, {"traceparent": {"dataType": "String"}}]
)
def test_odd_attributes_are_no_reason_to_fail(attributes: object) -> None:
    delivered = delivery(json.dumps(sns(json.dumps(COMMAND)) | {"MessageAttributes": attributes}))
    delivered["Records"][0]["messageAttributes"] = attributes
    (message,) = read_delivery(delivered, now=NOW)
    assert (open_envelope(message).payload, message.trace, message.left_out) == (COMMAND, NO_TRACE, ())


def test_what_cannot_be_read_keeps_its_trace_and_the_id_that_its_sender_got() -> None:
    found = by_sqs(sns("no JSON"), traceparent=PARENT, tracestate=STATE)
    with pytest.raises(InvalidCommand) as invalid:
        _ = found.payload
    known = invalid.value.known
    assert (known.command_id, known.traceparent, known.tracestate) == (SNS_ID, PARENT, STATE)


# What a dead letter says of its first message


def moved_back(body: object, **attributes: object) -> Opened:
    """Return what is in a message that SQS took an hour after NOW, with these attributes."""
    raw = delivery(json.dumps(body), sent_at=NOW + timedelta(hours=1))
    raw["Records"][0]["messageAttributes"] = {
        name: {"dataType": "String", "stringValue": value} for name, value in attributes.items()
    }
    (message,) = read_delivery(raw, now=NOW)
    assert message.sent_at == NOW + timedelta(hours=1), "that of SQS: by it a repeat was valid in the queue, or not"
    return open_envelope(message)


@pytest.mark.parametrize(
    ("sent_at", "age"),
    [
        ("2026-11-23T08:49:05.123Z", timedelta(hours=1)),
        ("2026-11-23t09:49:05.123+01:00", timedelta(hours=1)),
        ("2026-11-23T08:49:06.123Z", timedelta(hours=1) - timedelta(seconds=1)),
        ("2026-11-23T09:49:05.124Z", timedelta()),
        ("2030-01-01T00:00:00Z", timedelta()),
        ("2026-11-23", timedelta()),
        ("2026-02-30T00:00:00Z", timedelta()),
        ("1795423745123", timedelta()),
        ("yesterday", timedelta()),
        ("", timedelta()),
        (None, timedelta()),
    ],
)
def test_an_attribute_makes_a_command_older_and_never_younger(sent_at: str | None, age: timedelta) -> None:
    assert moved_back(COMMAND, sent_at=sent_at).sent_at == NOW + timedelta(hours=1) - age


def test_the_earliest_of_attribute_and_envelope_counts() -> None:
    in_between = {"time": "2026-11-23T09:00:00Z"}
    assert moved_back(event(COMMAND) | in_between, sent_at="2026-11-23T08:49:05.123Z").sent_at == NOW
    later = moved_back(event(COMMAND) | in_between, sent_at="2026-11-23T09:30:00Z")
    assert later.sent_at == datetime(2026, 11, 23, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("given", "command_id"),
    [
        ("c-9", "c-9"),
        ("x" * 64, "x" * 64),
        ("x" * 65, "m-0"),
        ("a b", "m-0"),
        ("c-9\n", "m-0"),
        ("", "m-0"),
        (None, "m-0"),
    ],
)
def test_an_attribute_names_a_command_that_has_no_other_name(given: str | None, command_id: str) -> None:
    assert moved_back(COMMAND, command_id=given).command_id == command_id
    assert moved_back(event(COMMAND), command_id=given).command_id == EVENT_ID, "the innermost envelope wins"
    assert moved_back(event(COMMAND) | {"id": "a b"}, command_id=given).command_id == command_id
    assert read_command(moved_back(COMMAND, command_id=given).payload, defaults=defaults()).command_id == "c-1"


def test_attributes_that_are_no_texts_name_nothing() -> None:
    raw = delivery("{}")
    raw["Records"][0]["messageAttributes"] = {
        "command_id": {"dataType": "Binary", "binaryValue": "Yy05"},
        "sent_at": {"dataType": "Number", "stringValue": "2026-11-23T08:00:00Z"},
        "other": 1,
    }
    assert read_delivery(raw, now=NOW)[0].origin == Origin()


def test_the_attributes_of_a_notification_name_nothing() -> None:
    found = through_sns(COMMAND, command_id="c-9", sent_at="2026-11-23T08:00:00Z")
    assert (found.command_id, found.sent_at) == (SNS_ID, NOW)

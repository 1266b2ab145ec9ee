"""Envelopes: a command as a raw SQS body, inside an SNS notification, inside an EventBridge event, or called directly.

What is read here is only JSON; whether it is a command is for `shared.commands` to say.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from shared.commands import InvalidCommand, Known, read_instant
from shared.errors import DeploymentFault
from shared.outcomes import FieldError

if TYPE_CHECKING:
    from collections.abc import Mapping


class Incoming(NamedTuple):
    """One message as it came. `body` is what a dead-letter queue must hold, to the byte.

    `sent_at`: when SQS took it, see `Opened` for the sender. `receives`: how often SQS has delivered it, this time
    included. `receipt_handle` names this delivery to SQS.
    """

    message_id: str
    body: str
    sent_at: datetime
    receives: int = 1
    receipt_handle: str | None = None

    @property
    def is_repeat(self) -> bool:
        """Whether SQS delivered it before, so that something of it may have been done."""
        return self.receives > 1


def read_delivery(event: Any, *, now: datetime) -> tuple[Incoming, ...]:
    """Read the messages of one SQS delivery, https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html.

    Raises `DeploymentFault` for any other event: the function is wired to the wrong trigger.
    """
    try:
        return tuple(_incoming(record, now=now) for record in event["Records"])
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError, OSError) as error:
        raise DeploymentFault("this function takes SQS deliveries only; check its event source mapping") from error


def _incoming(record: Mapping[str, Any], *, now: datetime) -> Incoming:
    if record["eventSource"] != "aws:sqs":
        raise ValueError(record["eventSource"])
    attributes = record.get("attributes", {})
    sent = attributes.get("SentTimestamp")
    return Incoming(
        message_id=record["messageId"],
        body=record["body"],
        sent_at=now if sent is None else datetime.fromtimestamp(int(sent) / 1000, tz=UTC),
        receives=int(attributes.get("ApproximateReceiveCount", 1)),
        receipt_handle=record.get("receiptHandle"),
    )


class Opened(NamedTuple):
    """A command, still unread, without its envelope.

    `sent_at`: the earliest time that SQS or the envelope names. SNS may try for hours to hand a notification to SQS,
    and EventBridge replays events of long ago, with their old `time`
    (https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-replay-archived-event.html).
    """

    payload: object
    sent_at: datetime


def open_envelope(message: Incoming) -> Opened:
    """Take the command out of whichever envelope the message has.

    Raises `InvalidCommand` for invalid JSON, and for an envelope whose time cannot be read: its age is not known.
    """
    known = Known(command_id=message.message_id)
    payload: Any = _parse(message.body, known)
    match payload:
        # https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html
        case {"Type": "Notification", "TopicArn": str(), "Message": str(inner)}:
            return Opened(_parse(inner, known), _sent_at(message, payload, "Timestamp", known))
        # https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-events-structure.html
        case {"detail-type": str(), "source": str(), "detail": detail}:
            return Opened(detail, _sent_at(message, payload, "time", known))
        case _:
            return Opened(payload, message.sent_at)


def _sent_at(message: Incoming, envelope: Mapping[str, Any], name: str, known: Known) -> datetime:
    if name not in envelope:
        return message.sent_at
    try:
        return min(message.sent_at, read_instant(envelope[name]))
    except ValueError as error:
        raise InvalidCommand((FieldError(loc=name, msg=str(error)),), known) from None


def _parse(text: str, known: Known) -> object:
    """Parse JSON strictly: which of two equal keys the sender meant cannot be known, and NaN is no JSON."""
    try:
        return json.loads(text, object_pairs_hook=_distinct, parse_constant=_no_constant)
    except RecursionError:
        reason = "should not be nested that deep"
    except ValueError as error:
        reason = f"should be JSON: {error}"
    raise InvalidCommand((FieldError(loc="", msg=reason[:512]),), known)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    parsed = dict(pairs)
    if len(parsed) != len(pairs):
        raise ValueError("a key stands there twice")
    return parsed


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON")

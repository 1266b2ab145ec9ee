"""Envelopes: a command as a raw SQS body, inside an SNS notification, inside an EventBridge event, or called directly.

What is read here is only JSON; whether it is a command is for `shared.commands` to say.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from shared.commands import InvalidCommand, Known
from shared.errors import DeploymentFault
from shared.outcomes import FieldError

if TYPE_CHECKING:
    from collections.abc import Mapping


class Incoming(NamedTuple):
    """One message as it came. `body` is what a dead-letter queue must hold, to the byte.

    `receives`: how often SQS has delivered it, this time included. `receipt_handle` names this delivery to SQS.
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


def payload_of(message: Incoming) -> object:
    """Take the command, still unread, out of whichever envelope the message has.

    Raises `InvalidCommand` for what is no JSON.
    """
    known = Known(command_id=message.message_id)
    payload = _parse(message.body, known)
    match payload:
        # https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html
        case {"Type": "Notification", "TopicArn": str(), "Message": str(inner)}:
            return _parse(inner, known)
        # https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-events-structure.html
        case {"detail-type": str(), "source": str(), "detail": detail}:
            return detail
        case _:
            return payload


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

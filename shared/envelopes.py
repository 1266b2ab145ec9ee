"""Envelopes: a command as a raw SQS body, inside an SNS notification, inside an EventBridge event, or called directly.

What is read here is only JSON; whether it is a command is for `shared.commands` to say.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from shared.commands import InvalidCommand, Known, read_instant
from shared.errors import DeploymentFault
from shared.field_errors import field_error, show
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
        raise InvalidCommand((field_error(name, str(error), value=show(envelope[name])),), known) from None


class _NotAllowed(ValueError):
    """What the parser would take, and we do not."""

    def __init__(self, error: FieldError) -> None:
        super().__init__(error.msg)
        self.error = error


def _parse(text: str, known: Known) -> object:
    """Parse JSON strictly: which of two equal keys the sender meant cannot be known, and NaN is no JSON."""
    try:
        return json.loads(text, object_pairs_hook=_distinct, parse_constant=_no_constant)
    except RecursionError:
        error = field_error("", "should not be nested that deep")
    except _NotAllowed as refused:
        error = refused.error
    except json.JSONDecodeError as wrong:
        there = text[wrong.pos : wrong.pos + _EXCERPT]
        said = wrong.msg.partition(" (")[0].rstrip(": ").removesuffix(" at")  # without what Python would do about it
        reason = f"should be JSON: {said[:1].lower()}{said[1:]} at line {wrong.lineno}, column {wrong.colno}"
        error = field_error("", reason, value=show(there) if there else "")
    except ValueError:
        error = field_error("", f"should be JSON with numbers of at most {sys.get_int_max_str_digits()} digits")
    raise InvalidCommand((error,), known)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    parsed = dict(pairs)
    if len(parsed) != len(pairs):
        ((key, _),) = Counter(key for key, _ in pairs).most_common(1)
        reason, value = "duplicate key", show(key)
        raise _NotAllowed(FieldError(loc="", msg=f"{reason} {value}", value=value, reason=reason))
    return parsed


def _no_constant(name: str) -> object:
    raise _NotAllowed(field_error("", "is not allowed in JSON", value=name))


_EXCERPT: Final = 20
"""Characters that are shown of what is no JSON."""

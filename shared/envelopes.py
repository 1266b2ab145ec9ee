"""Envelopes: a command as a raw SQS body, or inside SNS notifications and EventBridge events, in each other too.

What is read here is only JSON; whether it is a command is for `shared.commands` to say.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from shared.commands import InvalidCommand, is_command_id, read_instant, unread
from shared.errors import DeploymentFault
from shared.field_errors import field_error, show
from shared.outcomes import FieldError
from shared.publishing import COMMAND_ID, SENT_AT
from shared.traces import NO_TRACE, Trace, valid_part

if TYPE_CHECKING:
    from collections.abc import Mapping


class Origin(NamedTuple):
    """What the attributes of a dead letter say of its first message: moved to a queue, it gets a new id and time."""

    command_id: str | None = None
    sent_at: datetime | None = None


class Incoming(NamedTuple):
    """One message as it came. `body` is what a dead-letter queue must hold, to the byte.

    `sent_at`: when SQS took it, see `Opened` for the sender. `receives`: how often SQS has delivered it, this time
    included. `receipt_handle` names this delivery to SQS. `trace`: that of its message attributes; `left_out`: those of
    them, name and value, that are no part of a trace. `origin`: the id and the
    time that the attributes of a dead letter name.
    """

    message_id: str
    body: str
    sent_at: datetime
    receives: int = 1
    receipt_handle: str | None = None
    trace: Trace = NO_TRACE
    left_out: tuple[tuple[str, str], ...] = ()
    origin: Origin = Origin()

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
    texts = attribute_texts(record.get("messageAttributes"), kind="dataType", value="stringValue")
    trace, left_out = read_trace(texts)
    return Incoming(
        message_id=record["messageId"],
        body=record["body"],
        sent_at=now if sent is None else datetime.fromtimestamp(int(sent) / 1000, tz=UTC),
        receives=int(attributes.get("ApproximateReceiveCount", 1)),
        receipt_handle=record.get("receiptHandle"),
        trace=trace,
        left_out=left_out,
        origin=read_origin(texts),
    )


def attribute_texts(attributes: object, *, kind: str, value: str) -> dict[str, str]:
    """Return the message attributes that are texts. `kind` and `value` are the keys of an attribute's type and text."""
    named = attributes if isinstance(attributes, dict) else {}
    texts = {
        name: each.get(value) for name, each in named.items() if isinstance(each, dict) and each.get(kind) == "String"
    }
    return {name: text for name, text in texts.items() if isinstance(text, str)}


def read_trace(texts: Mapping[str, str]) -> tuple[Trace, tuple[tuple[str, str], ...]]:
    """Return the trace in message attributes, and those, name and value, that are no part of one."""
    trace, left_out = valid_part({name: texts[name] for name in Trace._fields if name in texts})
    return trace, tuple((name, str(text)) for name, text in left_out.items())


def read_origin(texts: Mapping[str, str]) -> Origin:
    """Return the id and the time in message attributes; an invalid one is ignored."""
    command_id = texts.get(COMMAND_ID)
    try:
        sent_at = read_instant(texts.get(SENT_AT))
    except ValueError:
        sent_at = None
    return Origin(command_id if is_command_id(command_id) else None, sent_at)


class Unreadable(NamedTuple):
    """What can be no command: a text that is no JSON, or what is in an envelope whose time cannot be read."""

    content: object
    error: FieldError


class Opened(NamedTuple):
    """What is inside all the envelopes of a message, still unread: parsed JSON, or `Unreadable`.

    `sent_at`: the earliest time that SQS, an envelope or the `Origin` names. SNS may try for hours to hand a
    notification to SQS, and EventBridge replays events of long ago, with their old `time`
    (https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-replay-archived-event.html). `command_id`: the id that
    its sender got, for a command that names none: of the innermost envelope, else of the `Origin`, else of SQS.
    `trace` and `left_out`: as of an `Incoming`; the innermost envelope that has a trace decides.
    """

    content: object
    sent_at: datetime
    command_id: str
    trace: Trace = NO_TRACE
    left_out: tuple[tuple[str, str], ...] = ()

    @property
    def payload(self) -> object:
        """What may be a command.

        Raises `InvalidCommand` for invalid JSON, and for an envelope whose time cannot be read: its age is not known.
        """
        if isinstance(self.content, Unreadable):
            raise InvalidCommand((self.content.error,), unread(self.command_id, trace=self.trace))
        return self.content

    @property
    def suspect(self) -> object:
        """What may hold targets, whether or not it can be a command."""
        return self.content.content if isinstance(self.content, Unreadable) else self.content

    def inside(self, content: object, *, envelope: Mapping[str, Any], command_id: str, time: str) -> Self:
        """Return what is inside of `envelope`; `command_id` and `time` are its names for both."""
        trace, left_out = read_trace(attribute_texts(envelope.get("MessageAttributes"), kind="Type", value="Value"))
        sent_at = self.sent_at
        if time in envelope:
            try:
                sent_at = min(sent_at, read_instant(envelope[time]))
            except ValueError as error:
                content = (
                    content
                    if isinstance(content, Unreadable)
                    else Unreadable(content, field_error(time, str(error), value=show(envelope[time])))
                )
        own_id = envelope.get(command_id)
        return self._replace(
            content=content,
            sent_at=sent_at,
            command_id=own_id if is_command_id(own_id) else self.command_id,
            trace=trace if trace.traceparent else self.trace,
            left_out=self.left_out + left_out,
        )


def open_envelope(message: Incoming) -> Opened:
    """Take off the envelopes of a message until there is none; each has less in it."""
    opened = Opened(
        content=_parse(message.body),
        sent_at=min(message.sent_at, message.origin.sent_at or message.sent_at),
        command_id=message.origin.command_id or message.message_id,
        trace=message.trace,
        left_out=message.left_out,
    )
    while True:
        envelope: Any = opened.content
        match envelope:
            # Not an envelope: one of its two commands would vanish silently. It is rejected for its unknown fields.
            case {"command": _} | {"Message": _, "detail": _}:
                return opened
            # https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html
            case {"Type": "Notification", "TopicArn": str(), "Message": str(text)}:
                opened = opened.inside(_parse(text), envelope=envelope, command_id="MessageId", time="Timestamp")
            # https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-events-structure.html
            case {"detail-type": str(), "source": str(), "detail": detail}:
                opened = opened.inside(detail, envelope=envelope, command_id="id", time="time")
            case _:
                return opened


def _parse(text: str) -> object:
    """Parse JSON strictly: which of two equal keys the sender meant cannot be known, and NaN is no JSON.

    Return `Unreadable` for invalid JSON.
    """
    try:
        parsed: object = json.loads(text, object_pairs_hook=_distinct, parse_constant=_no_constant)
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
    else:
        return parsed
    return Unreadable(text, error)


class _NotAllowed(ValueError):
    """What the parser would take, and we do not."""

    def __init__(self, error: FieldError) -> None:
        super().__init__(error.msg)
        self.error = error


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

"""Outcomes → bus, then remainders and dead letters → queues, and only then may a message be acknowledged."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import batched
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from shared.aws import AwsRefused, AwsUnavailable, BusEvent, Message
from shared.errors import DeploymentFault
from shared.outcomes import DETAIL_TYPE, SOURCE, Outcome, Status, to_rfc3339
from shared.redaction import redacted
from shared.traces import NO_TRACE, Trace

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from shared.aws import Failure
    from shared.commands import Command
    from shared.deadline import Deadline

LARGEST_MESSAGE: Final = 1_048_576
"""Bytes of body and attributes that one SQS message holds
(https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html)."""

PUBLISHING_SHARE: Final = 0.25
"""Part of the invocation's time that is kept for publishing at most."""

PUBLISHING_RESERVE: Final = 10.0
"""Seconds that are enough to publish what a usual delivery brings."""

SETTLED_A_SECOND: Final = 10_000
"""Targets that are settled and published in a second, at the least; larger deliveries need more time for it."""

WRITTEN_AT_ONCE: Final = 160
"""Events that are written before they are sent, and held until then: 16 full calls. A delivery may have thousands."""

FAILURE_REASON: Final = "failure_reason"
"""The message attribute that says why a message is in the dead-letter queue."""

SENT_AT: Final = "sent_at"
"""The message attribute that says when a message in the dead-letter queue was first sent, RFC 3339."""

COMMAND_ID: Final = "command_id"
"""The message attribute that names the command of a message in the dead-letter queue whose body may not."""

_LONGEST_REASON: Final = 256
_ANY_TIME: Final = datetime(2000, 1, 1, tzinfo=UTC)  # all are written in as many characters


class EventBus(Protocol):
    """The part of EventBridge that is used here."""

    def put_events(self, bus: str, events: Sequence[BusEvent], *, deadline: Deadline) -> Mapping[int, str]:
        """Publish; give the indexes of those that could not be published, with the reason."""


class Queues(Protocol):
    """The part of SQS that is used here."""

    def send_messages(
        self, queue_url: str, messages: Sequence[Message], *, deadline: Deadline
    ) -> Mapping[int, Failure]:
        """Send; return the indexes of those that could not be sent, with the reason."""

    def change_visibility(
        self, queue_url: str, timeouts: Sequence[tuple[str, int]], *, deadline: Deadline
    ) -> Mapping[int, str]:
        """Hide messages, by receipt handle, for so many seconds; return the indexes of the failed, with the reason."""


def before_publishing(deadline: Deadline, *, targets: int) -> Deadline:
    """Give the deadline of all that comes before: it leaves the time to settle and publish so many targets."""
    reserve = PUBLISHING_RESERVE + targets / SETTLED_A_SECOND
    return deadline.less(min(reserve, PUBLISHING_SHARE * deadline.remaining()))


class Parcel(NamedTuple):
    """All that must be out before one message may be acknowledged.

    `send`: a queue's URL and what goes there; `remainder`: the command that this is, unless it is a dead letter.
    `withheld`: why the message is not acknowledged even then, if so.
    """

    message_id: str
    outcomes: Sequence[Outcome]
    send: tuple[str, Message] | None
    withheld: str | None
    remainder: Command | None = None


class Published(NamedTuple):
    """Which messages' parcels did not all get out, and why; `fault`, if the deployment is to blame."""

    failed: Mapping[str, str]
    fault: DeploymentFault | None


class Publisher:
    """Publishes the parcels of one delivery together, in as few calls as possible."""

    def __init__(self, *, bus: EventBus, queues: Queues, bus_name: str) -> None:
        self._bus = bus
        self._queues = queues
        self._bus_name = bus_name

    def publish(self, parcels: Sequence[Parcel], *, deadline: Deadline) -> Published:
        """Publish every outcome, then send what belongs to those whose outcomes are all on the bus."""
        faults: list[DeploymentFault] = []
        failed = self._put_in_order(parcels, faults, deadline)
        failed |= self._send([parcel for parcel in parcels if parcel.message_id not in failed], faults, deadline)
        return Published(failed, faults[0] if faults else None)

    def _put_in_order(
        self, parcels: Sequence[Parcel], faults: list[DeploymentFault], deadline: Deadline
    ) -> dict[str, str]:
        """Publish every outcome; return the messages of which one could not be published, with the reason.

        The final event of a command is published only after all its other events in this delivery are on the bus. If
        one of them could not be published, the final event is not published either, and the message goes back.

        Several messages may be of one command: SQS delivers a message twice, or a duplicate left a second remainder.
        All of them count, since a consumer knows a command by its `command_id` and not by its messages. What another
        invocation publishes at the same time is not known here.
        """
        failed: dict[str, str] = {}
        incomplete: dict[str, str] = {}
        finals: list[tuple[str, Outcome]] = []  # one a message: those that come before are made, sent and forgotten
        for message_id, outcome, reason in self._put(_all_but(finals, parcels), faults, deadline):
            failed[message_id] = incomplete[outcome.command_id] = reason
        for message_id, final in finals:
            if final.command_id in incomplete:
                reason = f"another event of the command is not on the bus: {incomplete[final.command_id]}"
                failed.setdefault(message_id, reason)
        complete = ((message_id, final) for message_id, final in finals if final.command_id not in incomplete)
        return failed | {message_id: reason for message_id, _, reason in self._put(complete, faults, deadline)}

    def _put(
        self, outcomes: Iterable[tuple[str, Outcome]], faults: list[DeploymentFault], deadline: Deadline
    ) -> Iterator[tuple[str, Outcome, str]]:
        """Publish; yield the outcomes that could not be published, with their message and the reason."""
        for some in batched(outcomes, WRITTEN_AT_ONCE, strict=False):
            events = [_event(outcome) for _, outcome in some]
            try:
                unpublished = self._bus.put_events(self._bus_name, events, deadline=deadline)
            except (AwsRefused, AwsUnavailable) as error:
                unpublished = dict.fromkeys(range(len(events)), str(error))
                faults += [DeploymentFault(f"OUTCOME_BUS_NAME: {error}")] if isinstance(error, AwsRefused) else []
            for index, reason in unpublished.items():
                yield *some[index], reason

    def _send(self, parcels: Iterable[Parcel], faults: list[DeploymentFault], deadline: Deadline) -> dict[str, str]:
        """Send remainders and dead letters; return the messages whose own could not be sent, with the reason."""
        failed: dict[str, str] = {}
        by_queue: dict[str, list[tuple[str, Message]]] = {}
        for parcel in parcels:
            if parcel.send is not None:
                queue_url, message = parcel.send
                by_queue.setdefault(queue_url, []).append((parcel.message_id, message))
        for queue_url, letters in by_queue.items():
            messages = [message for _, message in letters]
            try:
                failures = self._queues.send_messages(queue_url, messages, deadline=deadline)
                unsent = {index: str(failure) for index, failure in failures.items()}
            except (AwsRefused, AwsUnavailable) as error:
                unsent = dict.fromkeys(range(len(messages)), str(error))
                faults += [DeploymentFault(f"{redacted(queue_url)}: {error}")] if isinstance(error, AwsRefused) else []
            failed |= {letters[index][0]: reason for index, reason in unsent.items()}
        return failed


def _all_but(finals: list[tuple[str, Outcome]], parcels: Iterable[Parcel]) -> Iterator[tuple[str, Outcome]]:
    """Yield every outcome with its message, but add the final ones to `finals`: each outcome is made only once."""
    for parcel in parcels:
        for outcome in parcel.outcomes:
            if outcome.status is Status.IN_PROGRESS:
                yield parcel.message_id, outcome
            else:
                finals.append((parcel.message_id, outcome))


def _event(outcome: Outcome) -> BusEvent:
    return BusEvent(source=SOURCE, detail_type=DETAIL_TYPE, detail=outcome.to_json(), resources=outcome.resources)


def remainder_message(body: str, *, delay_seconds: int) -> Message | None:
    """Give the message that brings a remainder back, or `None` when it no longer fits into one.

    It is never split, or the command would have two finals; the message is then left to SQS as it came. A remainder
    must leave room for the attributes of a dead letter, or it could never end as one.
    """
    if dead_letter(body, reason="rejected", sent_at=_ANY_TIME) is None:  # no word for a reason is longer
        return None
    return Message(body=body, attributes={}, delay_seconds=delay_seconds)


def dead_letter(
    body: str, *, reason: str, sent_at: datetime, command_id: str | None = None, trace: Trace = NO_TRACE
) -> Message | None:
    """Return a message for the dead-letter queue, its body intact, or `None` if not even the word for its reason fits.

    `sent_at`, when the message first came, goes along: a command that names no time of its own is as old as that, and
    whoever sends it again must know. What does not fit SQS itself moves there, after `maxReceiveCount` deliveries.
    `command_id` and then `trace` go along too, unless there is no room for them.
    """
    attributes = {SENT_AT: to_rfc3339(sent_at)}
    room = LARGEST_MESSAGE - len(body.encode()) - attributes_size(attributes | {FAILURE_REASON: ""})
    word = len(reason.partition(":")[0])  # redrive looks at it, so it is never cut
    for extra in ({} if command_id is None else {COMMAND_ID: command_id}, trace.parts):
        if attributes_size(extra) + word <= room:
            attributes |= extra
            room -= attributes_size(extra)
    # One byte a character, and nothing that SQS would not take: whole reasons are in the outcome.
    printable = "".join(each if " " <= each <= "~" else "?" for each in reason)
    if room < max(word, 1):
        return None
    reason_attribute = {FAILURE_REASON: printable[: min(room, _LONGEST_REASON)]}
    return Message(body=body, attributes=reason_attribute | attributes, delay_seconds=0)


def attributes_size(attributes: Mapping[str, str]) -> int:
    """Return the bytes of ASCII attributes as SQS counts them: name, type and value of each."""
    return sum(len(name) + len("String") + len(value) for name, value in attributes.items())

"""`python -m local.redrive --queue NAME`: what lies in a dead-letter queue and why; with `--apply`, back it goes.

For whoever operates a deployment: it runs with the AWS profile of the person who calls it (`AWS_PROFILE`,
`AWS_DEFAULT_REGION`, `AWS_ENDPOINT_URL` as for the AWS CLI). Without `--apply` nothing is moved. Looking needs
`sqs:GetQueueUrl`, `sqs:ReceiveMessage` and `sqs:ChangeMessageVisibility`; moving also `sqs:DeleteMessage`,
`sqs:ListDeadLetterSourceQueues` (not with `--to`) and, on the other queue, `sqs:SendMessage`.

*Moving makes nothing young.* A message that is sent anew gets a new `SentTimestamp`, by which a command that names no
time would live again, and ids outlive runs: it would stop new work. So the command is written out with the
`requested_at` and the `command_id` that it had; of an SNS or EventBridge envelope only the command is sent then. A
message that names both already, as every remainder does, is moved to the byte. `expires_at` is never touched; where it
is not given the deployment adds its own `COMMAND_TTL_SECONDS`.

*What has expired is moved only if it is renewed:* `--renew`, or a yes for its task at the terminal. The command is
then requested now, at its first attempt. An `expires_at` of its own moves along, so that it lives as long as
its sender meant: a short life is not made longer, and a remainder's is the deployment's own.

*What was rejected* stays, unless `--rejected` (or `--only rejected`) says that the deployment, or the queue it goes to,
is now another. Time counts for it like for any other. What cannot even be read is as old as its message; it is moved to
the byte, and so its time begins anew.

*Nothing is lost.* A message is deleted only after SQS has taken its copy, so a crash or Ctrl-C in between leaves it in
both queues: the second copy finds its work ended. Message attributes are not carried. What is being looked at is
hidden from others; at the end it is given back at once, and after `HIDDEN` seconds if this process is killed. Only what
lay there at the beginning is moved, or what is rejected again would go round for ever.

The exit status is 0 if all went as asked (what stays by these rules is no failure), 1 if a message could not be moved
or AWS refused, 2 for a wrong command line, 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import batched
from typing import TYPE_CHECKING, Any, Final, Literal, Self, assert_never
from urllib.parse import urlsplit

import boto3
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import TypeAdapter, ValidationError

from shared.aws import pack
from shared.commands import Command, Defaults, InvalidCommand, StopTargets, When, read_command
from shared.envelopes import Incoming, open_envelope
from shared.outcomes import to_rfc3339
from shared.publishing import FAILURE_REASON, LARGEST_MESSAGE, SENT_AT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import TracebackType

    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageTypeDef

HIDDEN: Final = 300
"""Seconds that a message is hidden from others while it is looked at, should it not be given back."""

WAIT: Final = 2
"""Seconds that a receive waits. Any wait makes SQS ask all of its servers, so that empty means empty, save for what
others hide (https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-short-and-long-polling.html).
"""

MOVED_BY_SQS: Final = "moved by SQS"
"""The reason of a message that SQS moved itself, after `maxReceiveCount` deliveries."""

NO_REASON: Final = "no reason given"
"""The reason of a message that came another way: SNS could not deliver it, or somebody sent it."""

_BATCH: Final = 10
_TTL_SECONDS: Final = 3600
_LONGEST_TTL: Final = 1_000_000_000
_BODY_SHOWN: Final = 120
_FAILED: Final = 1
_INTERRUPTED: Final = 130
_WHEN: Final[TypeAdapter[datetime]] = TypeAdapter(When)


# What is to be done with a message: pure.


@dataclass(frozen=True, slots=True)
class Readable:
    """A letter's command: `payload` as its sender wrote it, `command` with what that leaves out."""

    payload: Mapping[str, Any]
    command: Command


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Why a letter holds no valid command, to this version of Stopline."""

    why: str


@dataclass(frozen=True, slots=True)
class Letter:
    """One message of a dead-letter queue.

    `message.sent_at` is when its command was sent first, `set_aside_at` when it came here, if that is known;
    `expires_at` is the command's, or what it would be of what cannot be read. All UTC.
    """

    message: Incoming
    reason: str
    set_aside_at: datetime | None
    content: Readable | Unreadable
    expires_at: datetime

    @property
    def was_rejected(self) -> bool:
        """Whether the function said no; a guard, or another version, may say it to what can be read here."""
        return isinstance(self.content, Unreadable) or self.reason.startswith("rejected")

    @property
    def task(self) -> str:
        """What is asked about when it has expired."""
        match self.content:
            case Readable(_, command):
                return f"{command.command} {command.task_id}"
            case Unreadable():
                return f"unreadable message {self.message.message_id}"


@dataclass(frozen=True, slots=True)
class Move:
    """`body` is to be sent to the other queue."""

    body: str
    renewed: bool


@dataclass(frozen=True, slots=True)
class Ask:
    """It has expired, and nobody has said yet whether it is to be renewed."""


@dataclass(frozen=True, slots=True)
class Stay:
    """It is left where it is."""

    why: str


type Decision = Move | Ask | Stay


def letter_of(received: MessageTypeDef, *, ttl: timedelta) -> Letter:
    """Read a message as SQS gives it, with all its attributes; `ttl` is what the deployment gives a command.

    The command in it is read as by a function that had received it when it was first sent.
    """
    system: Mapping[Any, str] = received.get("Attributes", {})
    attributes: Mapping[str, Any] = received.get("MessageAttributes", {})
    # Without a time it counts as old: that can only keep it from being moved unasked.
    stamped = datetime.fromtimestamp(int(system.get("SentTimestamp", "0")) / 1000, tz=UTC)
    moved_by_sqs = "DeadLetterQueueSourceArn" in system
    message = Incoming(
        message_id=received["MessageId"],
        body=received["Body"],
        # When SQS itself moves a message, its time stays as it was:
        # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/setting-up-dead-letter-queue-retention.html
        sent_at=min(stamped, _moment(attributes.get(SENT_AT, {}).get("StringValue"), otherwise=stamped)),
    )
    content: Readable | Unreadable
    try:
        payload: Any
        payload, sent_at = open_envelope(message)
        message = message._replace(sent_at=sent_at)
        defaults = Defaults(
            command_id=message.message_id,
            requested_at=sent_at,
            time_to_live=ttl,
            project_id="of-the-deployment",  # neither is known here: they are neither shown nor sent
            instance_id=None,
            confirm=False,
        )
        content = Readable(payload, read_command(payload, defaults=defaults))
        expires_at = content.command.expires_at
    except InvalidCommand as invalid:
        content, expires_at = Unreadable(str(invalid)), message.sent_at + ttl
    return Letter(
        message=message,
        reason=attributes.get(FAILURE_REASON, {}).get("StringValue") or (MOVED_BY_SQS if moved_by_sqs else NO_REASON),
        set_aside_at=None if moved_by_sqs else stamped,
        content=content,
        expires_at=expires_at,
    )


def _moment(text: str | None, *, otherwise: datetime) -> datetime:
    try:
        return _WHEN.validate_python(text)
    except ValidationError:  # not there, or not written by us
        return otherwise


def decide(letter: Letter, *, now: datetime, rejected: bool, renew: bool | None) -> Decision:
    """Say what is to be done with a letter.

    `rejected`: whether what was rejected is to be moved too; `renew`: whether it is, should it have expired, `None` if
    nobody has said.
    """
    if letter.was_rejected and not rejected:
        return Stay("it is no command, or was rejected (--rejected moves it)")
    expired = letter.expires_at <= now
    if expired and renew is None:
        return Ask()
    if expired and not renew:
        return Stay("it has expired (--renew renews and moves it)")
    match letter.content:
        case Unreadable():
            return Move(letter.message.body, renewed=expired)
        case Readable() as content:
            body = _renewed(content, now=now) if expired else _as_old_as_it_is(content, letter.message.body)
    if len(body.encode()) > LARGEST_MESSAGE:
        return Stay("with its time written out it would not fit into a message")
    return Move(body, renewed=expired)


def _as_old_as_it_is(content: Readable, body: str) -> str:
    # Of a message that SQS moved, the `messageId` is the id under which its outcomes are known.
    own = {"command_id": content.command.command_id, "requested_at": to_rfc3339(content.command.requested_at)}
    return body if own.keys() <= content.payload.keys() else _json(own | dict(content.payload))


def _renewed(content: Readable, *, now: datetime) -> str:
    command = content.command
    kept = {name: value for name, value in content.payload.items() if name != "expires_at"}
    if "attempt" in kept:  # it stays there: by it the service knows that it wrote the command
        kept["attempt"] = 1
    renewed = kept | {"command_id": command.command_id, "requested_at": to_rfc3339(now)}
    life = command.expires_at - command.requested_at
    if "expires_at" in content.payload and life > timedelta():  # or it would be over before it begins
        renewed["expires_at"] = to_rfc3339(now + life)
    return _json(renewed)


def _json(payload: Mapping[str, Any]) -> str:
    # In ASCII, since JSON may hold characters that SQS does not take, U+FFFF for one.
    return json.dumps(payload, separators=(",", ":"))


# What is shown.


class Done(StrEnum):
    """What became of a message, or would."""

    WOULD_MOVE = "would move"
    WOULD_RENEW = "would renew and move"
    WOULD_ASK = "would ask: it has expired"
    MOVED = "moved"
    RENEWED = "renewed and moved"
    STAYS = "stays"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class Entry:
    """One message as it is shown. Times are RFC 3339; what cannot be known is `None`.

    `attempt`: the one with which the command goes on (a remainder that gave up begins at 1 again); `errors` and `body`
    (its beginning): of what cannot be read.
    """

    message_id: str
    reason: str
    task: str
    sent_at: str
    set_aside_at: str | None
    command: str | None
    command_id: str | None
    task_id: str | None
    targets: int | Literal["all"] | None
    attempt: int | None
    expires_at: str
    expired: bool
    errors: str | None
    body: str | None
    done: Done
    why: str | None

    def failed(self, why: str) -> Entry:
        """Give the same message, which could not be moved."""
        return dataclasses.replace(self, done=Done.FAILED, why=why)


def entry(letter: Letter, decision: Decision, *, now: datetime, applied: bool) -> Entry:
    """Give what is shown of a letter. `applied`: whether the decision is carried out, not only shown."""
    done, why = _done(decision, applied=applied)
    known: dict[str, Any] = dict.fromkeys(("command", "command_id", "task_id", "targets", "attempt", "errors", "body"))
    match letter.content:
        case Unreadable(errors):
            known |= {"errors": errors, "body": letter.message.body[:_BODY_SHOWN]}
        case Readable(_, command):
            known |= {name: getattr(command, name) for name in ("command", "command_id", "task_id", "attempt")}
            everything = isinstance(command, StopTargets) and command.all_targets
            known["targets"] = "all" if everything else len(command.asked)
    return Entry(
        message_id=letter.message.message_id,
        reason=letter.reason,
        task=letter.task,
        sent_at=to_rfc3339(letter.message.sent_at),
        set_aside_at=None if letter.set_aside_at is None else to_rfc3339(letter.set_aside_at),
        expires_at=to_rfc3339(letter.expires_at),
        expired=letter.expires_at <= now,
        done=done,
        why=why,
        **known,
    )


def _done(decision: Decision, *, applied: bool) -> tuple[Done, str | None]:
    match decision:
        case Move(_, renewed=False):
            return Done.MOVED if applied else Done.WOULD_MOVE, None
        case Move():
            return Done.RENEWED if applied else Done.WOULD_RENEW, None
        case Ask():
            return Done.WOULD_ASK, None
        case Stay(why):
            return Done.STAYS, why
    assert_never(decision)


def lines_of(shown: Entry) -> Iterator[str]:
    """Write a message for people; nothing in it can steer a terminal."""
    lines = [f"{shown.message_id}  {shown.reason}"]
    if shown.command is None:
        lines += [f"    no command: {shown.errors}", f"    body: {shown.body}"]
    else:
        targets = "1 target" if shown.targets == 1 else f"{shown.targets} targets"
        lines.append(f"    {shown.task}, {targets}, command {shown.command_id}, attempt {shown.attempt}")
    arrived = "" if shown.set_aside_at is None else f", set aside {shown.set_aside_at}"
    lines.append(f"    sent {shown.sent_at}{arrived}, {'expired' if shown.expired else 'expires'} {shown.expires_at}")
    lines.append(f"    -> {shown.done}{'' if shown.why is None else f': {shown.why}'}")
    return (_printable(line) for line in lines)


def _printable(text: str) -> str:
    return "".join(each if each.isprintable() else "?" for each in text)


# What is done.


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the command line asks for; `only` is the beginning of the reasons that count, `limit` counts messages."""

    ttl: timedelta
    rejected: bool
    renew: bool
    only: str
    limit: int


class DeadLetterQueue:
    """A queue, within a `with` block: what was received in it and not deleted is given back at its end."""

    def __init__(self, sqs: SQSClient, url: str, *, note: Callable[[str], None]) -> None:
        self._sqs = sqs
        self._url = url
        self._note = note
        self._held: dict[str, str] = {}
        self._deleted: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            for some in batched(self._held.values(), _BATCH, strict=False):
                entries = [
                    {"Id": str(number), "ReceiptHandle": handle, "VisibilityTimeout": 0}
                    for number, handle in enumerate(some)
                ]
                answer = self._sqs.change_message_visibility_batch(QueueUrl=self._url, Entries=entries)  # type: ignore[arg-type]  # of plain dicts
                for failed in answer.get("Failed", []):
                    self._note(f"a message stays hidden for {HIDDEN} s at most: {_reason(failed)}")
        except (BotoCoreError, ClientError) as refusal:  # must not take the place of what ended the block
            self._note(f"messages stay hidden for {HIDDEN} s at most: {refusal}")

    def letters(self, *, ttl: timedelta, wanted: Callable[[Letter], bool], most: int) -> Iterator[list[Letter]]:
        """Give each wanted message once, up to ten at a time, until `most` were given or none comes that is new."""
        seen: set[str] = set()
        given = 0
        while given < most:
            messages = self._sqs.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=_BATCH,
                VisibilityTimeout=HIDDEN,
                WaitTimeSeconds=WAIT,
                MessageSystemAttributeNames=["All"],
                MessageAttributeNames=["All"],
            ).get("Messages", [])
            self._held |= {message["MessageId"]: message["ReceiptHandle"] for message in messages}
            if again := [message["MessageId"] for message in messages if message["MessageId"] in self._deleted]:
                self.delete(again)  # SQS may deliver what was deleted: it was moved, and once is enough
            fresh = {message["MessageId"]: message for message in messages if message["MessageId"] not in seen}
            # What is seen again only comes round when `HIDDEN` is over, so a queue that long still has an end.
            if not fresh:
                return
            seen |= fresh.keys()
            received = (letter_of(message, ttl=ttl) for message in fresh.values())
            letters = [letter for letter in received if wanted(letter)][: most - given]
            given += len(letters)
            yield letters

    def delete(self, message_ids: Sequence[str]) -> dict[str, str]:
        """Delete at most ten messages; give the ids of those that SQS did not, with the reason."""
        answer = self._sqs.delete_message_batch(
            QueueUrl=self._url,
            Entries=[{"Id": str(number), "ReceiptHandle": self._held[each]} for number, each in enumerate(message_ids)],
        )
        failures = _failures(len(message_ids), answer)
        for number, each in enumerate(message_ids):
            if number not in failures:
                self._held.pop(each)
                self._deleted.add(each)
        return {message_ids[number]: why for number, why in failures.items()}


def look(queue: DeadLetterQueue, *, wishes: Wishes, now: Callable[[], datetime]) -> Iterator[Entry]:
    """Show what lies in the queue and what would be done with it."""

    def is_of_the_reason(letter: Letter) -> bool:
        return letter.reason.startswith(wishes.only)

    for letters in queue.letters(ttl=wishes.ttl, wanted=is_of_the_reason, most=wishes.limit):
        for letter in letters:
            at = now()
            decision = decide(letter, now=at, rejected=wishes.rejected, renew=wishes.renew or None)
            yield entry(letter, decision, now=at, applied=False)


def move(
    queue: DeadLetterQueue,
    *,
    sqs: SQSClient,
    to: str,
    wishes: Wishes,
    message_ids: frozenset[str],
    renewed_tasks: frozenset[str],
    now: Callable[[], datetime],
) -> Iterator[Entry]:
    """Move what is to be moved to the queue `to` (a URL), and show each message with what became of it.

    `message_ids`: those that are meant. What is rejected anew is back within a second, and would go round for ever.
    `renewed_tasks`: the `Letter.task` of those that are renewed even without the wish to renew all. Whatever AWS raises
    is raised on, after the messages that it concerned were shown as failed.
    """

    def is_meant(letter: Letter) -> bool:
        return letter.message.message_id in message_ids

    for letters in queue.letters(ttl=wishes.ttl, wanted=is_meant, most=len(message_ids)):
        moves: list[tuple[Entry, str]] = []
        at = now()
        for letter in letters:
            renew = wishes.renew or letter.task in renewed_tasks
            decision = decide(letter, now=at, rejected=wishes.rejected, renew=renew)
            shown = entry(letter, decision, now=at, applied=True)
            if isinstance(decision, Move):
                moves.append((shown, decision.body))
            else:
                yield shown
        for batch in pack(range(len(moves)), [len(body.encode()) for _, body in moves], LARGEST_MESSAGE):
            yield from _move_batch(queue, [moves[place] for place in batch], sqs=sqs, to=to)


def _move_batch(
    queue: DeadLetterQueue, batch: Sequence[tuple[Entry, str]], *, sqs: SQSClient, to: str
) -> Iterator[Entry]:
    try:
        answer = sqs.send_message_batch(
            QueueUrl=to,
            Entries=[{"Id": str(number), "MessageBody": body} for number, (_, body) in enumerate(batch)],
        )
    except (BotoCoreError, ClientError):
        yield from (shown.failed("it is not known to have been sent") for shown, _ in batch)
        raise
    unsent = _failures(len(batch), answer)
    yield from (batch[number][0].failed(f"not sent: {why}") for number, why in unsent.items())
    sent = {shown.message_id: shown for number, (shown, _) in enumerate(batch) if number not in unsent}
    if not sent:
        return
    try:
        undeleted = queue.delete(list(sent))
    except (BotoCoreError, ClientError):
        yield from (shown.failed("sent, and it may be here as well") for shown in sent.values())
        raise
    for message_id, shown in sent.items():
        why = undeleted.get(message_id)
        yield shown if why is None else shown.failed(f"sent, but it is here as well: {why}")


def _failures(entries: int, answer: Any) -> dict[int, str]:
    """Give the places that the answer to a batch call does not name as done, with the reason."""
    done = {each["Id"] for each in answer.get("Successful", [])}
    reasons = {each["Id"]: _reason(each) for each in answer.get("Failed", [])}
    places = [place for place in range(entries) if str(place) not in done]
    return {place: reasons.get(str(place), "the answer of SQS does not say") for place in places}


def _reason(failed: Any) -> str:
    return f"{failed.get('Code')}: {failed.get('Message', '')}"


# The command.


class RedriveFailed(Exception):
    """What keeps the whole command from being carried out, for the person who called it."""


class _Run:
    """One call of the command. `shown` is what was said so far, also if it ends before its time."""

    def __init__(self, asked: argparse.Namespace) -> None:
        self._asked = asked
        self._wishes = Wishes(
            ttl=timedelta(seconds=asked.ttl),
            rejected=asked.rejected or asked.only.startswith("rejected"),
            renew=asked.renew,
            only=asked.only,
            limit=asked.limit,
        )
        self.shown: list[Entry] = []

    def carry_out(self) -> None:
        """Look or move. Raises `RedriveFailed`, or whatever boto3 raises."""
        sqs = boto3.client("sqs")
        url = _url(sqs, self._asked.queue)
        if not self._asked.apply:
            with DeadLetterQueue(sqs, url, note=_note) as queue:
                self._show(look(queue, wishes=self._wishes, now=_now))
            return
        to = _url(sqs, self._asked.to) if self._asked.to else _source_of(sqs, url)
        if urlsplit(to).path == urlsplit(url).path:
            raise RedriveFailed("--to is the dead-letter queue itself")
        # A look of its own comes first, so that nothing is hidden while a person thinks.
        with DeadLetterQueue(sqs, url, note=_note) as queue:
            there = list(look(queue, wishes=self._wishes, now=_now))
        renewed_tasks = _ask([shown for shown in there if shown.done is Done.WOULD_ASK])
        _note(f"moving to {to}")
        with DeadLetterQueue(sqs, url, note=_note) as queue:
            self._show(
                move(
                    queue,
                    sqs=sqs,
                    to=to,
                    wishes=self._wishes,
                    message_ids=frozenset(shown.message_id for shown in there),
                    renewed_tasks=renewed_tasks,
                    now=_now,
                )
            )
        if missing := len(there) - len(self.shown):
            raise RedriveFailed(f"{missing} of the messages did not come again: others hold them, or SQS was slow")

    def _show(self, entries: Iterator[Entry]) -> None:
        for shown in entries:
            self.shown.append(shown)
            if not self._asked.json:
                print(*lines_of(shown), sep="\n", flush=True)


def _ask(expired: Sequence[Entry]) -> frozenset[str]:
    """Ask about each task once; give those that are to be renewed."""
    # There is no `sys.stdin` at all when whoever started this closed it.
    if expired and not (sys.stdin and sys.stdin.isatty()):
        _note("no terminal to ask at: what has expired stays, unless --renew is given")
        return frozenset()
    by_task: dict[str, list[Entry]] = {}
    for shown in expired:
        by_task.setdefault(shown.task, []).append(shown)
    return frozenset(task for task, entries in by_task.items() if _says_yes(task, entries))


def _says_yes(task: str, entries: Sequence[Entry]) -> bool:
    named = sum(each.targets for each in entries if isinstance(each.targets, int))
    targets = "ALL targets" if any(each.targets == "all" for each in entries) else f"{named} targets"
    oldest = min(each.sent_at for each in entries)
    _note(f"{task}: {len(entries)} expired, the oldest sent {oldest}; {targets}.")
    print("  Renewed, it stops what runs there now. Renew? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def _url(sqs: SQSClient, queue: str) -> str:
    return queue if "://" in queue else sqs.get_queue_url(QueueName=queue)["QueueUrl"]


def _source_of(sqs: SQSClient, url: str) -> str:
    pages = sqs.get_paginator("list_dead_letter_source_queues").paginate(QueueUrl=url)
    sources = [source for page in pages for source in page.get("queueUrls", [])]
    if len(sources) != 1:
        found = ", ".join(sources) or "none"
        raise RedriveFailed(f"--to must say which queue: those that name this one as their dead-letter queue: {found}")
    return sources[0]


def _now() -> datetime:
    return datetime.now(UTC)


def _note(text: str) -> None:
    print(_printable(text), file=sys.stderr, flush=True)


def _say(error: BotoCoreError | ClientError) -> str:
    if not isinstance(error, ClientError):
        return str(error)  # no credentials, no region, no answer: botocore's sentences say so
    code = str(error.response.get("Error", {}).get("Code", ""))
    if code.endswith(("NonExistentQueue", "QueueDoesNotExist")):
        return "there is no such queue in this account and region (AWS_PROFILE, AWS_DEFAULT_REGION)"
    return f"sqs:{error.operation_name} was refused: {error}"


def _count(text: str, most: int = sys.maxsize) -> int:
    if 1 <= int(text) <= most:
        return int(text)
    raise ValueError(text)


def _seconds(text: str) -> int:
    return _count(text, _LONGEST_TTL)


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m local.redrive",
        description="Show what lies in a dead-letter queue and why; with --apply, move it back.",
    )
    parser.add_argument("--queue", required=True, help="the dead-letter queue, its name or URL")
    parser.add_argument("--to", help="where to (name or URL); default: the one queue that the dead-letter queue serves")
    parser.add_argument("--apply", action="store_true", help="move; without it nothing is moved")
    parser.add_argument("--renew", action="store_true", help="renew what has expired, without asking")
    parser.add_argument("--rejected", action="store_true", help="move what was rejected too")
    parser.add_argument("--only", default="", metavar="REASON", help="only those whose reason begins so")
    parser.add_argument("--limit", type=_count, default=sys.maxsize, metavar="N", help="at most so many messages")
    parser.add_argument(
        "--ttl",
        type=_seconds,
        default=os.environ.get("COMMAND_TTL_SECONDS", str(_TTL_SECONDS)),  # a text, so it is checked like an argument
        metavar="SECONDS",
        help="COMMAND_TTL_SECONDS of the deployment; default: the variable of that name, else 3600",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON, all else on standard error")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Look or move as the command line says; give the exit status."""
    asked = _arguments(arguments)
    run = _Run(asked)
    error: str | None = None
    status = 0
    try:
        run.carry_out()
    except (BotoCoreError, ClientError) as refusal:
        error, status = _say(refusal), _FAILED
    except RedriveFailed as failure:
        error, status = str(failure), _FAILED
    except KeyboardInterrupt:
        error, status = "interrupted; what was being moved just now may be in both queues", _INTERRUPTED
    counts = Counter(each.done for each in run.shown)
    if not status and counts[Done.FAILED]:
        status = _FAILED
    if asked.json:
        messages = [dataclasses.asdict(each) for each in run.shown]
        print(json.dumps({"applied": asked.apply, "messages": messages, "error": error}, indent=2))
    _note(f"{len(run.shown)} messages: {', '.join(f'{count} {done}' for done, count in counts.items()) or 'none'}")
    if not asked.apply:
        _note("nothing was moved (--apply moves)")
    if error:
        _note(error)
    return status


if __name__ == "__main__":
    sys.exit(main())

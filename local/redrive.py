"""`python -m local.redrive --queue NAME`: what lies in a dead-letter queue and why; with `--apply`, back it goes.

For the operator of a deployment: it runs with the caller's AWS profile. How it is used, what it reports, its exit
statuses and the permissions that it needs: docs/operations.md, "stop-task-dead-letters".

*Moving makes nothing young.* A message that is sent anew gets a new `SentTimestamp`, by which a command that names no
time would live again, and ids outlive runs: it would stop new work. So the command is written out with the
`requested_at` and the `command_id` that it had; of an SNS or EventBridge envelope only the command is sent then. A
message that names both already, as every remainder does, is moved to the byte. `expires_at` is never touched; where it
is not given the deployment adds its own `COMMAND_TTL_SECONDS`. What cannot be read is moved to the byte: its id and its
time go along as message attributes.

*A renewed command* is requested now, at its first attempt, and keeps its length of life. What cannot even be read is
moved without its time.

*Nothing is lost.* A message is deleted only after SQS has taken its copy. Of the message attributes, `command_id`,
`sent_at`, `traceparent` and `tracestate` go along, the last two those of an SNS envelope too.
"""

from __future__ import annotations

import os
import signal
import sys

if __name__ == "__main__":
    # The imports below take a while. A Ctrl-C in them would be a traceback, or be lost where an import catches errors.
    def _end(number: int, _: object) -> None:
        try:
            if sys.stderr:
                os.write(sys.stderr.fileno(), b"interrupted; nothing was under way\n")
        finally:
            os._exit(128 + number)

    for _each in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(_each) != signal.SIG_IGN:
            signal.signal(_each, _end)

import argparse
import dataclasses
import json
import re
import traceback
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import batched
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, NoReturn, Self, TextIO, assert_never
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ConnectionError, HTTPClientError  # noqa: A004 - not Python's

from shared.aws import pack
from shared.commands import Command, Defaults, InvalidCommand, StopTargets, for_sqs, read_command
from shared.envelopes import Incoming, attribute_texts, open_envelope, read_origin, read_trace
from shared.outcomes import to_rfc3339
from shared.publishing import COMMAND_ID, FAILURE_REASON, LARGEST_MESSAGE, SENT_AT, attributes_size
from shared.redaction import redacted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import TracebackType

    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageTypeDef, SendMessageBatchRequestEntryTypeDef

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

CONNECT_TIMEOUT: Final = 5
READ_TIMEOUT: Final = WAIT + 8
"""Seconds that a call waits for the network: a first Ctrl-C waits for the call."""

_BATCH: Final = 10
_TTL_SECONDS: Final = 3600
_TTL_VARIABLE: Final = "COMMAND_TTL_SECONDS"
_MOST: Final = 1_000_000_000
_BODY_SHOWN: Final = 120
_FAILED: Final = 1
_BY_SIGNAL: Final = 128
"""What a shell adds to the number of the signal that ended a command."""

_READER_GONE: Final = _BY_SIGNAL + 13
"""As if SIGPIPE, which Windows does not have, had ended it."""

_INTERRUPTED: Final = "interrupted"

CALLER: Final = "REDRIVE_CALLER"
"""The variable by which the Makefile says that it made the call: then texts name options as make has them."""

type Spelling = Callable[[str], str]
"""How the caller writes an option, given the option's name."""


def by_module(name: str) -> str:
    """Return an option as `python -m local.redrive` has it."""
    return f"--{name}"


def by_make(name: str) -> str:
    """Return an option as `make redrive` has it."""
    return f"{name.upper()}={'1' if name in {'apply', 'renew', 'rejected', 'json'} else ''}"


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
    `expires_at` is the command's, or what it would be of what cannot be read. All UTC. `command_id`: the id under which
    its outcomes are known.
    """

    message: Incoming
    command_id: str
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
    """`body` is to be sent to the other queue, with `attributes`, all of them texts."""

    body: str
    renewed: bool
    attributes: Mapping[str, str]


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
    # Without a time it counts as old: that can only keep it from being moved unasked.
    texts = attribute_texts(received.get("MessageAttributes"), kind="DataType", value="StringValue")
    trace, _ = read_trace(texts)
    stamped = datetime.fromtimestamp(int(system.get("SentTimestamp", "0")) / 1000, tz=UTC)
    moved_by_sqs = "DeadLetterQueueSourceArn" in system
    message = Incoming(
        message_id=received["MessageId"],
        body=received["Body"],
        # When SQS itself moves a message, its time stays as it was:
        # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/setting-up-dead-letter-queue-retention.html
        sent_at=stamped,
        trace=trace,
        origin=read_origin(texts),
    )
    content: Readable | Unreadable
    opened = open_envelope(message)
    message = message._replace(sent_at=opened.sent_at, trace=opened.trace)
    try:
        payload: Any = opened.payload
        defaults = Defaults(
            command_id=opened.command_id,
            requested_at=opened.sent_at,
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
        command_id=opened.command_id if isinstance(content, Unreadable) else content.command.command_id,
        reason=texts.get(FAILURE_REASON) or (MOVED_BY_SQS if moved_by_sqs else NO_REASON),
        set_aside_at=None if moved_by_sqs else stamped,
        content=content,
        expires_at=expires_at,
    )


def decide(
    letter: Letter, *, now: datetime, rejected: bool, renew: bool | None, spell: Spelling = by_module
) -> Decision:
    """Say what is to be done with a letter.

    `rejected`: whether what was rejected is to be moved too; `renew`: whether it is, should it have expired, `None` if
    nobody has said.
    """
    if letter.was_rejected and not rejected:
        return Stay(f"it is no command, or was rejected ({spell('rejected')} moves it)")
    expired = letter.expires_at <= now
    if expired and renew is None:
        return Ask()
    if expired and not renew:
        return Stay(f"it has expired ({spell('renew')} renews and moves it)")
    match letter.content:
        case Unreadable():
            body = letter.message.body
        case Readable() as content:
            body = _renewed(content, now=now) if expired else _as_old_as_it_is(content, letter.message.body)
    time = {} if expired else {SENT_AT: to_rfc3339(letter.message.sent_at)}
    attributes = _fitting(body, time, {COMMAND_ID: letter.command_id}, letter.message.trace.parts)
    has_its_time = isinstance(letter.content, Readable) or time.items() <= attributes.items()
    if _size(body) > LARGEST_MESSAGE or not has_its_time:
        return Stay("with its time written out it would not fit into a message")
    return Move(body, renewed=expired, attributes=attributes)


def _fitting(body: str, *wanted: Mapping[str, str]) -> dict[str, str]:
    """Return those of the attributes that fit beside `body`, the first ones first."""
    attributes: dict[str, str] = {}
    for some in wanted:
        if _size(body) + attributes_size(attributes | dict(some)) <= LARGEST_MESSAGE:
            attributes |= some
    return attributes


def _size(body: str) -> int:
    return len(body.encode(errors="surrogatepass"))  # a lone surrogate, which JSON may hold, has no size of its own


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
    return for_sqs(json.dumps(payload, separators=(",", ":"), ensure_ascii=False))


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
    NOT_REACHED = "not reached"
    IN_DOUBT = "IN DOUBT"


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
    command_id: str
    task_id: str | None
    targets: int | Literal["all"] | None
    attempt: int | None
    expires_at: str
    expired: bool
    errors: str | None
    body: str | None
    done: Done
    why: str | None

    def became(self, done: Done, why: str | None = None) -> Entry:
        """Return the same message, of which something else became."""
        return dataclasses.replace(self, done=done, why=why)


_MOVED: Final = (Done.MOVED, Done.RENEWED)
_TOUCHED: Final = (*_MOVED, Done.FAILED, Done.IN_DOUBT)


def entry(letter: Letter, decision: Decision, *, now: datetime, applied: bool) -> Entry:
    """Return what is shown of a letter. `applied`: whether the decision is carried out, not only shown."""
    done, why = _done(decision, applied=applied)
    known: dict[str, Any] = dict.fromkeys(("command", "task_id", "targets", "attempt", "errors", "body"))
    match letter.content:
        case Unreadable(errors):
            known |= {"errors": errors, "body": letter.message.body[:_BODY_SHOWN]}
        case Readable(_, command):
            known |= {name: getattr(command, name) for name in ("command", "task_id", "attempt")}
            everything = isinstance(command, StopTargets) and command.all_targets
            known["targets"] = "all" if everything else len(command.asked)
    return Entry(
        message_id=letter.message.message_id,
        reason=letter.reason,
        task=letter.task,
        command_id=letter.command_id,
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
        case Move(renewed=False):
            return Done.MOVED if applied else Done.WOULD_MOVE, None
        case Move():
            return Done.RENEWED if applied else Done.WOULD_RENEW, None
        case Ask():
            return Done.WOULD_ASK, None
        case Stay(why):
            return Done.STAYS, why
    assert_never(decision)


def lines_of(shown: Entry) -> list[str]:
    """Return a message as lines for people."""
    lines = [f"{shown.message_id}  {shown.reason}"]
    if shown.command is None:
        lines += [f"    no command: {shown.errors}", f"    body: {shown.body}", f"    command {shown.command_id}"]
    else:
        targets = "1 target" if shown.targets == 1 else f"{shown.targets} targets"
        lines.append(f"    {shown.task}, {targets}, command {shown.command_id}, attempt {shown.attempt}")
    arrived = "" if shown.set_aside_at is None else f", set aside {shown.set_aside_at}"
    lines.append(f"    sent {shown.sent_at}{arrived}, {'expired' if shown.expired else 'expires'} {shown.expires_at}")
    lines.append(f"    -> {shown.done}{'' if shown.why is None else f': {shown.why}'}")
    return lines


def escaped(line: str, *, encoding: str) -> str:
    """Return a line in the characters of `encoding`, without those that steer a terminal."""
    printable = "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in line)
    return printable.encode(encoding, "backslashreplace").decode(encoding)


class RedriveFailed(Exception):
    """What keeps the whole command from being carried out, for its caller. `status` is the exit status."""

    status = _FAILED


class OutputLost(RedriveFailed):
    """Standard output takes no more."""

    def __init__(self, error: OSError | ValueError) -> None:
        super().__init__(f"standard output could not be written: {error}")
        self.status = _READER_GONE if isinstance(error, BrokenPipeError) else _FAILED


def _say(*lines: str, escape: bool = True) -> None:
    """Write lines to standard output. Raises `OutputLost`."""
    if not sys.stdout:  # as in `>&-`
        raise OutputLost(ValueError("it was closed from the start"))
    try:
        _write(sys.stdout, *lines, escape=escape)
    except (OSError, ValueError) as error:  # ValueError: it is closed
        raise OutputLost(error) from error


def _note(*lines: str, end: str = "\n") -> None:
    """Write lines to standard error, if it can be."""
    with suppress(OSError, ValueError):  # there is no other place to say so
        _write(sys.stderr, *lines, end=end)


def _write(stream: TextIO | None, *lines: str, end: str = "\n", escape: bool = True) -> None:
    if stream:  # else it was closed before this began
        shown = [escaped(line, encoding=stream.encoding or "utf-8") for line in lines] if escape else lines
        print(*shown, sep="\n", end=end, file=stream, flush=True)


# What is done.


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the command line asks for; `only` is the beginning of the reasons that count, `limit` counts messages.

    `spell`: how the caller writes options.
    """

    ttl: timedelta
    rejected: bool
    renew: bool
    only: str
    limit: int
    spell: Spelling = by_module


@dataclass(frozen=True, slots=True)
class Hidden:
    """What may stay hidden in the dead-letter queue, and until when at the latest (RFC 3339).

    `perhaps_more`: whether SQS may have handed out others too, in a call whose answer was lost.
    """

    message_ids: list[str]
    perhaps_more: bool
    until: str
    why: str | None


class _Receipt(NamedTuple):
    """Of a received message: nobody else can have it before `ours_until`; it is visible at `hidden_until`."""

    handle: str
    ours_until: datetime
    hidden_until: datetime


class DeadLetterQueue:
    """A queue. What was received within a `with` block and not deleted is made visible again at its end.

    `came_round`: messages became visible again before the last of them was received, so there may be others.
    """

    def __init__(self, sqs: SQSClient, url: str, *, now: Callable[[], datetime]) -> None:
        self._sqs = sqs
        self._url = url
        self._now = now
        self._held: dict[str, _Receipt] = {}  # by message id: what is neither deleted nor made visible
        self._is_asking = False  # still true after a call whose answer was lost
        self._refusal: str | None = None
        self.came_round = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, StopAtOnce):
            return
        try:
            for some in batched([each for each in self._held if self.is_ours(each)], _BATCH, strict=False):
                self._make_visible(some)
        except Exception as refusal:  # noqa: BLE001 - must not take the place of what ended the block
            self._refusal = str(refusal)

    def is_ours(self, message_id: str) -> bool:
        """Return whether the message was received, is still here, and nobody else can have received it since."""
        return message_id in self._held and self._now() < self._held[message_id].ours_until

    @property
    def hidden(self) -> Hidden | None:
        """What could not be made visible."""
        now = self._now()
        until = {each: held.hidden_until for each, held in self._held.items() if held.hidden_until > now}
        latest = [*until.values(), *([now + timedelta(seconds=HIDDEN + WAIT)] if self._is_asking else [])]
        if not latest:
            return None
        return Hidden(
            message_ids=list(until),
            perhaps_more=self._is_asking,
            until=to_rfc3339(max(latest)),
            why=self._refusal,
        )

    def _make_visible(self, message_ids: Sequence[str]) -> None:
        entries = [each | {"VisibilityTimeout": 0} for each in self._entries(message_ids)]
        answer = self._sqs.change_message_visibility_batch(QueueUrl=self._url, Entries=entries)
        failures = _failures(len(message_ids), answer)
        for number, each in enumerate(message_ids):
            if number not in failures:
                del self._held[each]
            else:
                self._refusal = failures[number] or "SQS does not say why"

    def _entries(self, message_ids: Sequence[str]) -> list[Any]:
        return [
            {"Id": str(number), "ReceiptHandle": self._held[each].handle} for number, each in enumerate(message_ids)
        ]

    def _receive(self) -> list[MessageTypeDef]:
        hidden = timedelta(seconds=HIDDEN)
        asked_at = self._now()
        self._is_asking = True
        try:
            answer = self._sqs.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=_BATCH,
                VisibilityTimeout=HIDDEN,
                WaitTimeSeconds=WAIT,
                MessageSystemAttributeNames=["All"],
                MessageAttributeNames=["All"],
            )
        except (BotoCoreError, ClientError) as refusal:
            self._is_asking = not _was_not_carried_out(refusal)
            raise
        messages = answer.get("Messages", [])
        for each in messages:
            self._held[each["MessageId"]] = _Receipt(each["ReceiptHandle"], asked_at + hidden, self._now() + hidden)
        self._is_asking = False
        return messages

    def letters(
        self,
        *,
        ttl: timedelta,
        wanted: Callable[[Letter], bool],
        most: int,
        came_again: Callable[[Sequence[str]], None] = lambda _: None,
    ) -> Iterator[list[Letter]]:
        """Yield each wanted message once, up to ten at a time, until `most` were yielded or none comes that is new.

        `came_again` is called with the ids of messages that were received before.
        """
        seen: set[str] = set()
        given = 0
        while given < most:
            messages = self._receive()
            came_again([message["MessageId"] for message in messages if message["MessageId"] in seen])
            fresh = {message["MessageId"]: message for message in messages if message["MessageId"] not in seen}
            if not fresh:
                self.came_round = bool(messages)
                return
            seen |= fresh.keys()
            received = (letter_of(message, ttl=ttl) for message in fresh.values())
            letters = [letter for letter in received if wanted(letter)][: most - given]
            given += len(letters)
            yield letters

    def delete(self, message_ids: Sequence[str]) -> dict[str, str | None]:
        """Delete at most ten messages; return the ids of those that may still be here, with the reason if known."""
        answer = self._sqs.delete_message_batch(QueueUrl=self._url, Entries=self._entries(message_ids))
        failures = _failures(len(message_ids), answer)
        for number, each in enumerate(message_ids):
            if not self.is_ours(each):  # if somebody has received it since, SQS deletes nothing and says that it did
                failures.setdefault(number)
            if number not in failures:
                del self._held[each]
        return {message_ids[number]: why for number, why in failures.items()}


def look(
    queue: DeadLetterQueue, *, wishes: Wishes, ledger: dict[str, Entry], now: Callable[[], datetime]
) -> Iterator[list[str]]:
    """Enter into `ledger`, by message id, what lies in the queue and what would be done with it.

    Each `yield` is a point at which it may end; the ids are those entered since the last.
    """
    received = queue.letters(
        ttl=wishes.ttl, wanted=lambda letter: letter.reason.startswith(wishes.only), most=wishes.limit
    )
    for letters in received:
        for letter in letters:
            at = now()
            decision = decide(letter, now=at, rejected=wishes.rejected, renew=wishes.renew or None, spell=wishes.spell)
            ledger[letter.message.message_id] = entry(letter, decision, now=at, applied=False)
        yield [letter.message.message_id for letter in letters]


def move(
    queue: DeadLetterQueue,
    *,
    sqs: SQSClient,
    to: str,
    wishes: Wishes,
    ledger: dict[str, Entry],
    renewed_tasks: frozenset[str],
    now: Callable[[], datetime],
) -> Iterator[list[str]]:
    """Move what is to be moved to the queue `to` (a URL), and keep in `ledger` what has become of each message.

    Only what is in the ledger at the start is meant. What is rejected anew is back within a second, and would go round
    for ever. `renewed_tasks`: the `Letter.task` of those that are renewed even without the wish to renew all.

    The ledger is true at any moment, so whatever AWS or a signal raises is raised on. Each `yield` is a point at which
    it may end with nothing in doubt; the ids are those whose entries are final since the last.
    """
    ledger |= {each: shown.became(Done.NOT_REACHED) for each, shown in ledger.items()}

    def came_again(message_ids: Sequence[str]) -> None:
        # SQS may deliver what was deleted: it was moved, and once is enough.
        moved = {each: ledger[each] for each in message_ids if each in ledger and ledger[each].done in _MOVED}
        _delete(queue, moved, why="sent, and it came here again", ledger=ledger)

    received = queue.letters(
        ttl=wishes.ttl,
        wanted=lambda letter: letter.message.message_id in ledger,
        most=len(ledger),
        came_again=came_again,
    )
    for letters in received:
        moves: list[tuple[Entry, Move]] = []
        at = now()
        for letter in letters:
            renew = wishes.renew or letter.task in renewed_tasks
            decision = decide(letter, now=at, rejected=wishes.rejected, renew=renew, spell=wishes.spell)
            shown = entry(letter, decision, now=at, applied=True)
            if isinstance(decision, Move):
                moves.append((shown, decision))
            else:
                ledger[shown.message_id] = shown
        yield [each.message.message_id for each in letters if ledger[each.message.message_id].done is Done.STAYS]
        sizes = [_size(each.body) + attributes_size(each.attributes) for _, each in moves]
        for batch in pack(range(len(moves)), sizes, LARGEST_MESSAGE):
            # What became visible before its turn stays "not reached": others may have moved it.
            ours = [moves[place] for place in batch if queue.is_ours(moves[place][0].message_id)]
            _move_batch(queue, ours, sqs=sqs, to=to, ledger=ledger)
            yield [moves[place][0].message_id for place in batch]


def _move_batch(
    queue: DeadLetterQueue, batch: Sequence[tuple[Entry, Move]], *, sqs: SQSClient, to: str, ledger: dict[str, Entry]
) -> None:
    def becomes(done: Done, why: str) -> dict[str, Entry]:
        return {shown.message_id: shown.became(done, why) for shown, _ in batch}

    if not batch:
        return
    ledger |= becomes(Done.IN_DOUBT, "it is not known whether it was sent; it is here as well")
    try:
        answer = sqs.send_message_batch(
            QueueUrl=to,
            Entries=[_entry_of(number, each) for number, (_, each) in enumerate(batch)],
        )
    except (BotoCoreError, ClientError) as refusal:
        if _was_not_carried_out(refusal):
            ledger |= becomes(Done.FAILED, "not sent")
        raise
    unsent = _failures(len(batch), answer)
    sent = {shown.message_id: shown for number, (shown, _) in enumerate(batch) if number not in unsent}
    for number, why in unsent.items():
        if why is not None:  # else SQS does not say, and it stays in doubt
            shown, _ = batch[number]
            ledger[shown.message_id] = shown.became(Done.FAILED, f"not sent: {why}")
    _delete(queue, sent, why="sent, and it may be here as well", ledger=ledger)


def _entry_of(number: int, move: Move) -> SendMessageBatchRequestEntryTypeDef:
    entry: SendMessageBatchRequestEntryTypeDef = {"Id": str(number), "MessageBody": move.body}
    if move.attributes:
        entry["MessageAttributes"] = {
            name: {"DataType": "String", "StringValue": value} for name, value in move.attributes.items()
        }
    return entry


def _delete(queue: DeadLetterQueue, sent: Mapping[str, Entry], *, why: str, ledger: dict[str, Entry]) -> None:
    """Delete what was sent; what is not known to be deleted is in doubt because of `why`."""
    if not sent:
        return
    ledger |= {each: shown.became(Done.IN_DOUBT, why) for each, shown in sent.items()}
    undeleted = queue.delete(list(sent))
    ledger |= {each: shown for each, shown in sent.items() if each not in undeleted}
    for each, refusal in undeleted.items():
        if refusal is not None:
            ledger[each] = sent[each].became(Done.IN_DOUBT, f"sent, but it is here as well: {refusal}")


def _failures(entries: int, answer: Any) -> dict[int, str | None]:
    """Return the places that the answer to a batch call does not name as done, with the reason if it says one."""
    done = {each["Id"] for each in answer.get("Successful", [])}
    reasons = {each["Id"]: f"{each.get('Code')}: {each.get('Message', '')}" for each in answer.get("Failed", [])}
    return {place: reasons.get(str(place)) for place in range(entries) if str(place) not in done}


def _was_not_carried_out(error: BaseException) -> bool:
    """Return whether AWS said no to the call, or was never asked."""
    if isinstance(error, ClientError):
        return 400 <= error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) < 500  # noqa: PLR2004 - 4xx
    return isinstance(error, BotoCoreError) and not isinstance(error, HTTPClientError | ConnectionError)


# What ends it.


class StopAtOnce(KeyboardInterrupt):
    """A second signal came: no further call to AWS may be made."""


class Signals:
    """SIGINT, SIGTERM and SIGHUP, within a `with` block. `first` is the first that came.

    The first raises `KeyboardInterrupt`, but only at a safe point, or when the next one is reached: a call to AWS that
    is under way gets its answer, so that nothing is in doubt. The second raises `StopAtOnce` wherever it comes. Both
    only while they are `heard`. The third ends the process, whatever that hangs in.
    """

    def __init__(self) -> None:
        self.first: signal.Signals | None = None
        self._is_safe = False
        self._raises = False
        self._before: dict[signal.Signals, Any] = {}
        self._hook_before = sys.unraisablehook

    def __enter__(self) -> Self:
        wanted = [each for each in signal.Signals if each.name in {"SIGINT", "SIGTERM", "SIGHUP"}]  # Windows has two
        for each in wanted:
            if signal.getsignal(each) != signal.SIG_IGN:  # as under nohup
                self._before[each] = signal.signal(each, self._came)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for each, before in self._before.items():
            signal.signal(each, before)
        sys.unraisablehook = self._hook_before

    def _came(self, number: int, _: object) -> None:
        again = self.first is not None
        self.first = self.first or signal.Signals(number)
        if again:
            for each in self._before:
                signal.signal(each, signal.SIG_DFL)
        if not self._raises:
            return
        if again or self._is_safe:
            # What is raised within a call may leave a half-made socket, whose end Python would report.
            sys.unraisablehook = lambda _: None
        if again:
            self._raises = False
            raise StopAtOnce
        if self._is_safe:
            raise KeyboardInterrupt
        _alert(b"interrupted: what is under way is finished first; once more ends it at once\n")

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Let signals raise something within this block."""
        try:
            self._raises = True
            yield
        finally:
            self._raises = False

    @contextmanager
    def safe_point(self) -> Iterator[None]:
        """Let a signal cut short what is in this block. Raises `KeyboardInterrupt` if one came before."""
        self._is_safe = True
        try:
            if self.first:
                raise KeyboardInterrupt
            yield
        finally:
            self._is_safe = False


def _alert(text: bytes) -> None:
    """Write to standard error within a signal handler, where `print` might cut short another."""
    with suppress(OSError, ValueError):
        if sys.stderr:
            os.write(sys.stderr.fileno(), text)


# The command.


_NOT_REACHED: Final = "others hold them or have moved them, or they were visible again before their turn"
_CAME_ROUND: Final = "messages came round again before the end of the queue: it may hold others too"


class _Run:
    """One call of the command. Its ledger is true at any moment, so it can be reported on any end."""

    def __init__(self, asked: argparse.Namespace, *, signals: Signals) -> None:
        self._asked = asked
        self._signals = signals
        self._wishes = Wishes(
            ttl=timedelta(seconds=asked.ttl),
            rejected=asked.rejected or asked.only.startswith("rejected"),
            renew=asked.renew,
            only=asked.only,
            limit=asked.limit,
            spell=_spelling(),
        )
        self._written: set[str] = set()
        self._queue: DeadLetterQueue | None = None
        self._ledger: dict[str, Entry] = {}

    def carry_out(self) -> None:
        """Look or move. Raises `RedriveFailed`, `KeyboardInterrupt`, or whatever boto3 raises."""
        sqs = _client()
        url = _url(sqs, self._asked.queue)
        to = None
        if self._asked.apply:
            to = _url(sqs, self._asked.to) if self._asked.to else _source_of(sqs, url, spell=self._wishes.spell)
            if urlsplit(to).path == urlsplit(url).path:
                raise RedriveFailed(f"{self._wishes.spell('to')} is the dead-letter queue itself")
        self._queue = queue = DeadLetterQueue(sqs, url, now=_now)
        # A look of its own comes first, so that nothing is hidden while a person thinks.
        with queue:
            for message_ids in look(queue, wishes=self._wishes, ledger=self._ledger, now=_now):
                self._show([] if to else message_ids)
        problems = [_CAME_ROUND] if queue.came_round else []
        if to:
            self._move(queue, sqs=sqs, to=to)
        if missing := sum(shown.done is Done.NOT_REACHED for shown in self._ledger.values()):
            problems.append(f"{missing} messages were not reached: {_NOT_REACHED}")
        if problems:
            raise RedriveFailed("; ".join(problems))

    def _move(self, queue: DeadLetterQueue, *, sqs: SQSClient, to: str) -> None:
        with self._signals.safe_point():
            expired = [shown for shown in self._ledger.values() if shown.done is Done.WOULD_ASK]
            renewed_tasks = _ask(expired, spell=self._wishes.spell)
        _note(f"moving to {to}")
        with queue:
            for message_ids in move(
                queue,
                sqs=sqs,
                to=to,
                wishes=self._wishes,
                ledger=self._ledger,
                renewed_tasks=renewed_tasks,
                now=_now,
            ):
                self._show(message_ids)

    def _show(self, message_ids: Sequence[str]) -> None:
        """Write what has become of some messages, if it is not to be JSON; the command may end here."""
        with self._signals.safe_point():
            if not self._asked.json and sys.stdout:  # who closed it before it began still wants the messages moved
                self._write_new([self._ledger[each] for each in message_ids], write=_say)

    def _write_new(self, entries: Sequence[Entry], *, write: Callable[..., None]) -> None:
        new = [each for each in entries if each.message_id not in self._written]
        if new:
            write(*(line for each in new for line in lines_of(each)))
            self._written |= {each.message_id for each in new}

    def write_rest(self, *, error: str | None) -> None:
        """Write to standard output what is still owed to it. Raises `OutputLost`, `StopAtOnce`."""
        hidden = self._hidden
        result = {
            "applied": self._asked.apply,
            "messages": [dataclasses.asdict(each) for each in self._ledger.values()],
            "hidden": hidden and dataclasses.asdict(hidden),
            "error": error,
        }
        text = json.dumps(result, indent=2)  # it is whole before a signal can cut it, and ASCII
        owed = self._touched if sys.stdout else [*self._ledger.values()]
        with self._signals.heard():  # the reader may hang
            if self._asked.json:
                _say(text, escape=False)
                self._written |= self._ledger.keys()
            else:
                self._write_new(owed, write=_say)

    def summarise(self, *, error: str | None) -> None:
        """Write the summary to standard error, after what standard output did not take, with the error at its end.

        A look that failed before it saw a message cannot say how many there are: then the error stands first, and
        nothing is counted.
        """
        self._write_new(self._touched, write=_note)
        if error and not self._ledger:
            _note(error, "nothing was moved")
        else:
            self._count()
        if doubtful := [each.message_id for each in self._ledger.values() if each.done is Done.IN_DOUBT]:
            _note(f"in doubt, may be in both queues and so come twice: {', '.join(doubtful)}")
        if hidden := self._hidden:
            more = f", and up to {_BATCH} whose answer was lost," if hidden.perhaps_more else ""
            why = f": {hidden.why}" if hidden.why else ""
            _note(
                f"{len(hidden.message_ids)} messages{more} may stay hidden in the dead-letter queue"
                f" until {hidden.until} at the latest{why}"
            )
        if error and self._ledger:
            _note(error)

    def _count(self) -> None:
        counts = Counter(each.done for each in self._ledger.values())
        said = ", ".join(f"{count} {done}" for done, count in counts.items())
        _note(f"{counts.total()} messages: {said or 'none, but for those that others hold now'}")
        moved, missed, doubted = sum(counts[done] for done in _MOVED), counts[Done.NOT_REACHED], counts[Done.IN_DOUBT]
        left = counts.total() - moved - missed - doubted
        if self._asked.apply:
            _note(f"moved {moved}, left {left}, not reached {missed}, in doubt {doubted}")
        else:
            _note(f"nothing was moved ({self._wishes.spell('apply')} moves)")

    @property
    def has_failures(self) -> bool:
        """Whether a message is not where it should be."""
        return any(each.done in {Done.FAILED, Done.IN_DOUBT} for each in self._ledger.values())

    @property
    def _touched(self) -> list[Entry]:
        return [each for each in self._ledger.values() if each.done in _TOUCHED]

    @property
    def _hidden(self) -> Hidden | None:
        return self._queue.hidden if self._queue else None


def _ask(expired: Sequence[Entry], *, spell: Spelling) -> frozenset[str]:
    """Ask about each task once; return those that are to be renewed."""
    # There is no `sys.stdin` at all when whoever started this closed it.
    if expired and not (sys.stdin and sys.stdin.isatty()):
        _note(f"no terminal to ask at: what has expired stays, unless {spell('renew')} is given")
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
    answer = ""
    try:
        _note("  Renewed, it stops what runs there now. Renew? [y/N] ", end="")
        with suppress(OSError, ValueError):  # the terminal is gone, or a character that is none in its encoding
            answer = sys.stdin.readline()
    finally:
        if not answer.endswith("\n"):  # Ctrl-C or Ctrl-D, which leave the cursor behind the question
            _note("")
    return answer.strip().lower() in {"y", "yes"}


def _client() -> SQSClient:
    # One try a call. If the answer to a first try was lost, a second one sends the messages again or hides others, and
    # nobody would know.
    config = Config(retries={"total_max_attempts": 1}, connect_timeout=CONNECT_TIMEOUT, read_timeout=READ_TIMEOUT)
    try:
        sqs = boto3.client("sqs", config=config)
        _ = urlsplit(sqs.meta.endpoint_url).port  # it must be a number, and botocore looks at it late
    except ValueError as error:
        raise RedriveFailed(f"{error} (AWS_ENDPOINT_URL, AWS_DEFAULT_REGION)") from error
    return sqs


def _url(sqs: SQSClient, queue: str) -> str:
    if "://" in queue:
        return queue
    try:
        return sqs.get_queue_url(QueueName=queue)["QueueUrl"]
    except ClientError as refusal:
        raise RedriveFailed(f"{queue}: {_words_of(refusal)}") from refusal


def _source_of(sqs: SQSClient, url: str, *, spell: Spelling) -> str:
    try:
        pages = sqs.get_paginator("list_dead_letter_source_queues").paginate(QueueUrl=url)
        sources = [source for page in pages for source in page.get("queueUrls", [])]
    except ClientError as refusal:
        raise RedriveFailed(f"{_words_of(refusal)}; {spell('to')} says which queue without asking") from refusal
    if len(sources) != 1:
        found = ", ".join(sources) or "none"
        raise RedriveFailed(
            f"{spell('to')} must say which queue: those that name this one as their dead-letter queue: {found}"
        )
    return sources[0]


def _now() -> datetime:
    return datetime.now(UTC)


def _words_of(error: BotoCoreError | ClientError) -> str:
    if not isinstance(error, ClientError):
        return str(error)  # no credentials, no region, no answer: botocore's sentences say so
    code = str(error.response.get("Error", {}).get("Code", ""))
    if code.endswith(("NonExistentQueue", "QueueDoesNotExist")):
        return "there is no such queue in this account and region (AWS_PROFILE, AWS_DEFAULT_REGION)"
    return f"sqs:{error.operation_name} was refused: {error}"


def _queue(text: str) -> str:
    with suppress(ValueError):
        parts = urlsplit(text)
        if text and ("://" not in text or (parts.hostname and parts.port != 0)):
            return text
    raise argparse.ArgumentTypeError("should be the name or the URL of a queue")


def _count(text: str) -> int:
    with suppress(ValueError):
        if 1 <= int(text) <= _MOST:
            return int(text)
    raise argparse.ArgumentTypeError(f"should be a whole number, 1 or more, at most {_MOST}")


def _spelling() -> Spelling:
    return by_make if os.environ.get(CALLER) == "make" else by_module


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """End with what is wrong with the command line, as the caller wrote it."""
        if _spelling() is by_module:
            super().error(message)
        self.exit(2, re.sub(r"argument --(\w+)", lambda found: by_make(found[1]), message) + "\n")


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = _Parser(
        prog="python -m local.redrive",
        description="Show what lies in a dead-letter queue and why; with --apply, move it back.",
    )
    parser.add_argument("--queue", required=True, type=_queue, help="the dead-letter queue, its name or URL")
    parser.add_argument(
        "--to", type=_queue, help="where to (name or URL); default: the one queue that the dead-letter queue serves"
    )
    parser.add_argument("--apply", action="store_true", help="move; without it nothing is moved")
    parser.add_argument("--renew", action="store_true", help="renew what has expired, without asking")
    parser.add_argument("--rejected", action="store_true", help="move what was rejected too")
    parser.add_argument("--only", default="", metavar="REASON", help="only those whose reason begins so")
    parser.add_argument("--limit", type=_count, default=_MOST, metavar="N", help="at most so many messages")
    parser.add_argument(
        "--ttl",
        type=_count,
        metavar="SECONDS",
        help="COMMAND_TTL_SECONDS of the deployment; default: the variable of that name, else 3600",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON, all else on standard error")
    asked = parser.parse_args(arguments)
    if asked.ttl is None:
        asked.ttl = _ttl_of_environment(parser)
    return asked


def _ttl_of_environment(parser: argparse.ArgumentParser) -> int:
    """Return what counts if no time to live was given: make takes nothing out of the environment."""
    value = os.environ.get(_TTL_VARIABLE) if _spelling() is by_module else None
    if not value:
        return _TTL_SECONDS
    try:
        return _count(value)
    except argparse.ArgumentTypeError as wrong:
        parser.error(f"{_TTL_VARIABLE} is {redacted(value)!r}: {wrong}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Look or move as the command line says; return the exit status."""
    asked = _arguments(arguments)
    with Signals() as signals:
        run = _Run(asked, signals=signals)
        error, status = _carried_out(run, signals=signals)
        if signals.first and error != _INTERRUPTED:
            error = f"{_INTERRUPTED}; {error}" if error else _INTERRUPTED
        try:
            run.write_rest(error=error)
        except OutputLost as lost:
            error, status = error or str(lost), status or lost.status
        except StopAtOnce:
            pass
        run.summarise(error=error)
        if signals.first and not error:  # it came since
            _note(_INTERRUPTED)
        return _BY_SIGNAL + signals.first if signals.first else status


def _carried_out(run: _Run, *, signals: Signals) -> tuple[str | None, int]:
    """Return what went wrong, and the exit status for it."""
    try:
        with signals.heard():
            run.carry_out()
    except (BotoCoreError, ClientError) as refusal:
        return _words_of(refusal), _FAILED
    except RedriveFailed as failure:
        return str(failure), failure.status
    except KeyboardInterrupt:
        return _INTERRUPTED, _BY_SIGNAL + signal.SIGINT
    except Exception as error:  # noqa: BLE001 - a defect, but what was moved must be said
        _note(*traceback.format_exc().splitlines())
        return f"unexpected {type(error).__name__}: {error}", _FAILED
    return None, _FAILED if run.has_failures else 0


if __name__ == "__main__":
    # Each line was flushed. What a stream did not take, Python would try once more at its end, and fail or hang.
    os._exit(main())

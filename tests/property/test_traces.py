"""Whatever trace comes in with a command comes out unchanged in all that becomes of it."""

from __future__ import annotations

import io
import itertools
import json
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from aws_lambda_powertools import Logger
from hypothesis import given, settings
from hypothesis import strategies as st

from local.redrive import Move, decide, letter_of
from shared.deliveries import Deliveries
from shared.findings import Finding, Trust, Verdict
from shared.publishing import Publisher
from shared.telemetry import Telemetry
from shared.traces import NO_TRACE, Trace
from tests.fakes import BATCH, ENVIRONMENT, NOW, Clock, FakeAws, FakeHuawei, delivery, settings_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shared.aws import BusEvent, Message
    from shared.planning import Call, Task

_services = itertools.count()


def not_zero(length: int) -> st.SearchStrategy[str]:
    return st.integers(1, 16**length - 1).map(lambda number: f"{number:0{length}x}")


VERSIONS: Final = st.integers(0, 254).map(lambda number: f"{number:02x}")
PRINTABLE: Final = st.characters(min_codepoint=0x20, max_codepoint=0x7E)


@st.composite
def traceparents(draw: st.DrawFn) -> str:
    version = draw(VERSIONS)
    flags = draw(st.integers(0, 255))
    more = "" if version == "00" else draw(st.sampled_from(["", "-", "-what-will-be", f"-{'~' * 456}"]))
    return f"{version}-{draw(not_zero(32))}-{draw(not_zero(16))}-{flags:02x}{more}"


def parts_of(trace: Trace) -> dict[str, str]:
    return {name: value for name, value in trace._asdict().items() if value is not None}


TRACES: Final = st.one_of(
    st.just(NO_TRACE),
    st.builds(Trace, traceparents(), st.none()),
    st.builds(Trace, traceparents(), st.text(PRINTABLE, min_size=1, max_size=512)),
)


@dataclass(frozen=True)
class Sent:
    """A message as a producer sends it, and the trace that it should have."""

    body: str
    attributes: Mapping[str, str]
    trace: Trace


@st.composite
def messages(draw: st.DrawFn, number: int) -> Sent:
    body: Any = {
        "command": "stop_targets",
        "command_id": f"c-{number}",
        "task_id": BATCH.task_id,
        "targets": draw(st.sampled_from([["d1"], ["d1", "d2", "d4"], ["d3"], [], ["d2", "d3"]])),
        "confirm": draw(st.booleans()),
        "dry_run": not draw(st.integers(0, 5)),
        **draw(st.sampled_from([{}, {}, {}, {"expires_at": "2026-11-23T08:00:00Z"}])),
    }
    field_, inner, outer = draw(TRACES), draw(TRACES), draw(TRACES)
    body |= parts_of(field_)
    if draw(st.booleans()):
        attributes = {name: {"Type": "String", "Value": value} for name, value in parts_of(inner).items()}
        body = {"Type": "Notification", "TopicArn": "arn", "Message": json.dumps(body), "MessageAttributes": attributes}
    else:
        inner = NO_TRACE
    if draw(st.booleans()):
        body = {"detail-type": "Stop", "source": "ci", "detail": body}
    wanted = next((trace for trace in (field_, inner, outer) if trace.traceparent), NO_TRACE)
    return Sent(json.dumps(body), parts_of(outer), wanted)


@dataclass
class World:
    """A queue with its function and its dead-letter queue, out of which each message is moved back, renewed, once."""

    data: st.DataObject
    clock: Clock = field(default_factory=Clock)
    aws: FakeAws = field(default_factory=FakeAws)
    log: io.StringIO = field(default_factory=io.StringIO)
    letters: list[Message] = field(default_factory=list)
    remainders: list[Message] = field(default_factory=list)
    is_calm: bool = False

    def __post_init__(self) -> None:
        self.huawei = FakeHuawei({BATCH: {"d1": Verdict.RUNS, "d2": Verdict.RUNS, "d3": Verdict.ENDED}})
        self.huawei.accepted = Trust.UNKNOWN  # so that calls are made in this thread
        self.huawei.disturb = self._disturb
        self.aws.refuse = self._refuse
        self.deliveries = Deliveries(
            settings=settings_of("stop_targets", MAX_ATTEMPTS="3", COMMAND_TTL_SECONDS="21600"),
            service=self.huawei,
            publisher=Publisher(bus=self.aws, queues=self.aws, bus_name="outcomes"),
            queues=self.aws,
            pace=self.clock.pace(),
            patience=self.clock.patience(),
            telemetry=Telemetry(Logger(service=f"traces-{next(_services)}", stream=self.log)),
        )

    def _disturb(self, _: Call | tuple[Task, tuple[str, ...]]) -> Mapping[str, Finding]:
        if self.is_calm or self.data.draw(st.booleans()):
            return {}
        passing = Finding(Verdict.UNFINISHED, "APIGW.0201", "Backend timeout")
        return dict.fromkeys(self.data.draw(st.sampled_from([("d1",), ("d1", "d2", "d3", "d4")])), passing)

    def _refuse(self, _: BusEvent | Message) -> str | None:
        lost = not self.is_calm and not self.data.draw(st.integers(0, 5))
        return "InternalFailure: lost" if lost else None

    def run(self, sent: list[Sent]) -> None:
        waiting = {f"m-{number}": (each.body, each.attributes) for number, each in enumerate(sent)}
        for round_ in range(30):
            self.is_calm = round_ > 20
            waiting = self._deliver(waiting)
            for message in self._taken("COMMAND_QUEUE_URL"):
                self.remainders.append(message)
                waiting[f"r-{round_}-{len(self.remainders)}"] = (message.body, message.attributes)
            self.letters += self._taken("DEAD_LETTER_QUEUE_URL")
        assert not waiting

    def _deliver(self, waiting: dict[str, tuple[str, Mapping[str, str]]]) -> dict[str, tuple[str, Mapping[str, str]]]:
        if not waiting:
            return {}
        self.clock.seconds += 1
        event = delivery(*(body for body, _ in waiting.values()), ids=list(waiting))
        for record, (_, attributes) in zip(event["Records"], waiting.values(), strict=True):
            record["messageAttributes"] = {
                name: {"dataType": "String", "stringValue": value} for name, value in attributes.items()
            }
        answer = self.deliveries.handle(event, deadline=self.clock.deadline(60))
        failed = {each["itemIdentifier"] for each in answer["batchItemFailures"]}
        return {message_id: message for message_id, message in waiting.items() if message_id in failed}

    def _taken(self, queue: str) -> list[Message]:
        messages = list(self.aws.queues.get(ENVIRONMENT[queue], ()))
        self.aws.queues.pop(ENVIRONMENT[queue], None)
        return messages

    def moved_back(self, letter: Message) -> Sent:
        """Return a dead letter as redrive sends it; it is for the test to say which trace it should have."""
        received: Any = {
            "MessageId": "l-1",
            "Body": letter.body,
            "Attributes": {"SentTimestamp": str(int(NOW.timestamp() * 1000))},
            "MessageAttributes": {
                name: {"DataType": "String", "StringValue": value} for name, value in letter.attributes.items()
            },
        }
        found = letter_of(received, ttl=timedelta(hours=6))
        move = decide(found, now=self.clock.now(), rejected=True, renew=True)
        assert isinstance(move, Move)
        return Sent(move.body, dict(move.attributes), NO_TRACE)

    def said(self) -> list[dict[str, Any]]:
        """All that says which command it is about: outcomes and log lines."""
        lines = [json.loads(line) for line in self.log.getvalue().splitlines()]
        return self.aws.events + [line for line in lines if line.get("command_id")]


@given(st.data())
@settings(deadline=None)
def test_the_trace_of_a_command_is_in_all_that_becomes_of_it_and_never_another(data: st.DataObject) -> None:
    sent = [data.draw(messages(number)) for number in range(data.draw(st.integers(1, 3)))]
    wanted = {f"c-{number}": parts_of(each.trace) for number, each in enumerate(sent)}
    world = World(data)
    world.run(sent)
    letters, world.letters = world.letters, []
    world.run([world.moved_back(each) for each in letters])

    assert {each["command_id"] for each in world.aws.events} == wanted.keys()
    for each in world.said():
        found = {name: each[name] for name in Trace._fields if each.get(name) is not None}
        assert found == wanted[each["command_id"]]
    for event in world.aws.events:
        assert event.keys() >= {*Trace._fields}
    for message in world.remainders:
        body = json.loads(message.body)
        assert {name: body[name] for name in Trace._fields if name in body} == wanted[body["command_id"]]
    for letter in letters + world.letters:
        parts = {name: value for name, value in letter.attributes.items() if name in Trace._fields}
        if not letter.attributes["failure_reason"].startswith("rejected"):
            body = json.loads(letter.body)
            assert parts == {}
            parts = {name: body[name] for name in Trace._fields if name in body}
            assert parts == wanted[body["command_id"]]
        assert parts in wanted.values()

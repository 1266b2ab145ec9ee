"""The sender's trace and the id that the sender got are in all that comes of a command."""

from __future__ import annotations

import io
import itertools
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest
from aws_lambda_powertools import Logger

from local.redrive import Move, decide, letter_of, main
from shared.aws import Message, message_size
from shared.commands import InvalidCommand, read_command
from shared.deliveries import Deliveries
from shared.errors import CommandRejected
from shared.findings import Finding, Trust, Verdict
from shared.outcomes import shorten, to_rfc3339
from shared.planning import BatchTask
from shared.publishing import LARGEST_MESSAGE, Publisher, dead_letter
from shared.settings import StopInWorkflowSettings, read_settings
from shared.telemetry import LONGEST_VALUE, Telemetry
from shared.traces import NO_TRACE, Trace, trace_of
from shared.workflow import PacedService, Workflow
from tests import dead_letters
from tests.fakes import BATCH, ENVIRONMENT, NOW, Clock, FakeAws, FakeHuawei, defaults, delivery, settings_of
from tests.schemas import faults

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shared.planning import Call, Task

PARENT: Final = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
OTHER: Final = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
STATE: Final = "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7"
TRACED: Final[dict[str, Any]] = {"traceparent": PARENT, "tracestate": STATE}
STOP: Final[dict[str, Any]] = {"command": "stop_targets", "task_id": BATCH.task_id, "targets": ["d1", "d2"]}
WHEN: Final = "2026-11-23T08:49:05.123Z"

_services = itertools.count()


def notification(body: object, **attributes: str) -> dict[str, Any]:
    return {
        "Type": "Notification",
        "MessageId": "n-1",
        "TopicArn": "arn:aws:sns:us-west-2:123456789012:MyTopic",
        "Message": body if isinstance(body, str) else json.dumps(body),
        "Timestamp": WHEN,
        "MessageAttributes": {name: {"Type": "String", "Value": value} for name, value in attributes.items()},
    }


def event(detail: object) -> dict[str, Any]:
    return {"id": "e-1", "detail-type": "Stop", "source": "ci", "time": WHEN, "detail": detail}


def with_attributes(delivered: dict[str, Any], **attributes: str) -> dict[str, Any]:
    """Return an SQS delivery whose messages have these attributes."""
    for record in delivered["Records"]:
        record["messageAttributes"] = {
            name: {"stringValue": value, "dataType": "String"} for name, value in attributes.items()
        }
    return delivered


@dataclass
class World:
    """The function of the batch tasks, whose log is kept. Of the task, `d1` and `d2` run."""

    clock: Clock = field(default_factory=Clock)
    aws: FakeAws = field(default_factory=FakeAws)
    log: io.StringIO = field(default_factory=io.StringIO)

    def __post_init__(self) -> None:
        self.huawei = FakeHuawei({BATCH: {"d1": Verdict.RUNS, "d2": Verdict.RUNS, "d3": Verdict.ENDED}})
        self.huawei.accepted = Trust.UNKNOWN
        self.telemetry = Telemetry(Logger(service=f"correlation-{next(_services)}", stream=self.log))
        self.publisher = Publisher(bus=self.aws, queues=self.aws, bus_name="outcomes")
        self.deliveries = Deliveries(
            settings=settings_of("stop_targets", MAX_ATTEMPTS="2"),
            service=self.huawei,
            publisher=self.publisher,
            queues=self.aws,
            pace=self.clock.pace(),
            patience=self.clock.patience(),
            telemetry=self.telemetry,
        )

    def deliver(self, delivered: dict[str, Any]) -> None:
        with self.telemetry.invocation("stop_targets", "r-1"):
            self.deliveries.handle(delivered, deadline=self.clock.deadline())

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.getvalue().splitlines() if '"_aws"' not in line]

    def throttle(self, *targets: str) -> None:
        passing = dict.fromkeys(targets, Finding(Verdict.UNFINISHED, "APIGW.0308", "throttled"))

        def disturb(_: Call | tuple[Task, tuple[str, ...]]) -> Mapping[str, Finding]:
            return passing

        self.huawei.disturb = disturb


def traces(things: list[dict[str, Any]]) -> list[tuple[str | None, str | None]]:
    return [(each.get("traceparent"), each.get("tracestate")) for each in things]


def about_commands(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line for line in lines if "command_id" in line]


EXPIRED: Final = {"expires_at": "2026-11-23T08:00:00Z"}
CASES: Final[dict[str, tuple[dict[str, Any], str]]] = {
    "stopped": (STOP, "succeeded"),
    "unknown": (STOP | {"targets": ["d1", "d4"]}, "failed"),
    "dry run": (STOP | {"dry_run": True}, "dry_run"),
    "expired": (STOP | EXPIRED, "expired"),
    "field is wrong": (STOP | {"targets": []}, "rejected"),
    "no such kind": (STOP | {"command": "stop"}, "rejected"),
    "other kind": ({"command": "stop_task", "task_id": "c1"}, "rejected"),
    "forbidden": ({"command": "stop_targets", "task_id": BATCH.task_id, "all_targets": True}, "rejected"),
    "asked in the future": (STOP | {"requested_at": "2026-11-24T08:49:05Z"}, "rejected"),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("way", ["field", "SQS", "SNS", "SNS in SQS", "event"])
def test_every_outcome_and_every_line_about_a_command_has_its_trace(case: str, way: str) -> None:
    body, status = CASES[case]
    world = World()
    world.deliver({
        "field": lambda: delivery(body | TRACED),
        "SQS": lambda: with_attributes(delivery(body), **TRACED),
        "SNS": lambda: delivery(notification(body, **TRACED)),
        "SNS in SQS": lambda: with_attributes(delivery(notification(body, **TRACED)), traceparent=OTHER),
        "event": lambda: with_attributes(delivery(notification(event(body))), **TRACED),
    }[way]())  # fmt: skip
    assert [each["status"] for each in world.aws.events] == [status]
    assert traces(world.aws.events) == [(PARENT, STATE)]
    about = about_commands(world.lines())
    assert "outcome" in {line["message"] for line in about}
    assert {*traces(about)} == {(PARENT, STATE)}
    letters = world.aws.dead_letters
    assert [dict(letter.attributes) | TRACED for letter in letters] == [dict(letter.attributes) for letter in letters]
    assert bool(letters) is (status == "rejected")


@pytest.mark.parametrize("case", CASES)
def test_without_a_trace_outcomes_say_null_and_lines_have_no_such_key(case: str) -> None:
    world = World()
    world.deliver(delivery(CASES[case][0]))
    assert [(each["traceparent"], each["tracestate"]) for each in world.aws.events] == [(None, None)]
    assert not [line for line in world.lines() if line.keys() & TRACED.keys()]
    assert not [letter for letter in world.aws.dead_letters if letter.attributes.keys() & TRACED.keys()]


def test_what_cannot_be_read_has_the_trace_of_its_attributes_too() -> None:
    world = World()
    world.deliver(with_attributes(delivery("no JSON", notification("nor this"), json.dumps(["d1"])), **TRACED))
    assert traces(world.aws.events) == [(PARENT, STATE)] * 3
    assert world.aws.dead_letters[0].body == "no JSON", "intact"
    assert [letter.attributes["traceparent"] for letter in world.aws.dead_letters] == [PARENT] * 3


def test_remainders_and_what_is_left_carry_the_trace_in_their_bodies() -> None:
    world = World()
    world.throttle("d2")
    world.deliver(with_attributes(delivery(STOP | {"command_id": "c-1"}), **TRACED))
    (again,) = world.aws.remainders
    assert json.loads(again.body).items() >= TRACED.items()
    world.clock.seconds += 30
    world.deliver(delivery(again.body))
    (left,) = world.aws.dead_letters
    assert json.loads(left.body).items() >= TRACED.items()
    assert left.attributes.keys() == {"failure_reason", "sent_at"}
    assert [each["status"] for each in world.aws.events] == ["in_progress", "failed"]
    assert traces(world.aws.events) == [(PARENT, STATE)] * 2
    about = about_commands(world.lines())
    assert {"outcome", "remainder sent", "set aside"} == {line["message"] for line in about}
    assert {*traces(about)} == {(PARENT, STATE)}


@pytest.mark.parametrize(
    "body", [STOP, STOP | {"targets": []}, "no JSON", notification(STOP), STOP | TRACED, STOP | {"traceparent": OTHER}]
)
def test_what_is_not_acknowledged_says_so_with_its_trace(body: str | dict[str, Any]) -> None:
    world = World()
    world.aws.refuse = lambda _: "InternalFailure: lost"
    world.deliver(with_attributes(delivery(body), **TRACED))
    (line,) = [line for line in world.lines() if line["message"] == "not acknowledged"]
    wanted = (OTHER, None) if body == STOP | {"traceparent": OTHER} else (PARENT, STATE)
    assert traces([line]) == [wanted]
    assert line["command_id"] == ("n-1" if body == notification(STOP) else "m-0")


def test_what_breaks_in_our_hands_says_so_with_its_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    monkeypatch.setattr("shared.deliveries.read_command", lambda *_, **__: 1 / 0)
    world.deliver(delivery(notification(STOP, **TRACED)))
    (line,) = [line for line in world.lines() if line["message"] == "not acknowledged"]
    assert (line["command_id"], traces([line])) == ("n-1", [(PARENT, STATE)])


def test_a_defect_that_takes_the_whole_delivery_says_so_with_each_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    monkeypatch.setattr("shared.deliveries.plan", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        world.deliver(with_attributes(delivery(STOP), **TRACED))
    (line,) = [line for line in world.lines() if line["message"] == "not acknowledged"]
    assert traces([line]) == [(PARENT, STATE)]


# Which trace it is


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({}, (PARENT, STATE)),
        ({"traceparent": OTHER}, (OTHER, None)),
        ({"traceparent": OTHER, "tracestate": "a=b"}, (OTHER, "a=b")),
    ],
)
def test_the_field_wins_over_the_attributes_and_a_tracestate_stays_with_its_own(
    fields: dict[str, str], wanted: tuple[str, str | None]
) -> None:
    command = read_command(STOP | fields, defaults=defaults()._replace(trace=Trace(PARENT, STATE)))
    assert trace_of(command) == wanted


BAD_FIELDS: Final = [
    ({"traceparent": "nonsense"}, "traceparent", "should be a W3C traceparent"),
    ({"traceparent": PARENT.upper()}, "traceparent", "should be a W3C traceparent"),
    ({"traceparent": f"ff{PARENT[2:]}"}, "traceparent", "should be a W3C traceparent"),
    ({"traceparent": f"{PARENT}-00"}, "traceparent", "should be a W3C traceparent"),
    ({"traceparent": f"00-{'0' * 32}-00f067aa0ba902b7-01"}, "traceparent", "should be a W3C traceparent"),
    ({"traceparent": ""}, "traceparent", "should be a W3C traceparent"),
    ({"traceparent": None}, "traceparent", "null is not allowed here"),
    ({"traceparent": 7}, "traceparent", "should be a string"),
    ({"tracestate": STATE}, "tracestate", "is allowed only with traceparent"),
    ({"traceparent": PARENT, "tracestate": "☂"}, "tracestate", "should be 1 to 512 printable ASCII"),
    ({"traceparent": PARENT, "tracestate": ""}, "tracestate", "should be 1 to 512 printable ASCII"),
    ({"traceparent": PARENT, "tracestate": "x" * 513}, "tracestate", "should be 1 to 512 printable ASCII"),
    ({"traceparent": PARENT, "tracestate": None}, "tracestate", "null is not allowed here"),
]


@pytest.mark.parametrize(("fields", "loc", "msg"), BAD_FIELDS)
def test_a_field_that_is_not_valid_is_rejected_whatever_the_attributes_are(
    fields: dict[str, Any], loc: str, msg: str
) -> None:
    with pytest.raises(InvalidCommand) as invalid:
        read_command(STOP | fields, defaults=defaults()._replace(trace=Trace(OTHER)))
    (error,) = invalid.value.errors
    assert error.loc == loc
    assert msg in error.msg
    known = invalid.value.known
    assert trace_of(known) == (Trace(PARENT) if fields.get("traceparent") == PARENT else Trace(OTHER))
    assert faults(STOP | fields, "command.json"), "by the schema too"


@pytest.mark.parametrize("version", ["00", "01", "fe"])
@pytest.mark.parametrize("more", ["", "-", "-later", f"-{'x' * 456}"])
def test_a_field_of_a_later_version_may_be_longer(version: str, more: str) -> None:
    body = STOP | {"traceparent": f"{version}{PARENT[2:]}{more}"}
    if version == "00" and more:
        with pytest.raises(InvalidCommand):
            read_command(body, defaults=defaults())
    else:
        assert read_command(body, defaults=defaults()).traceparent == body["traceparent"]
    assert bool(faults(body, "command.json")) is (version == "00" and more != "")


@pytest.mark.parametrize(("fields", "loc", "msg"), BAD_FIELDS)
def test_nothing_is_stopped_for_a_command_whose_field_is_not_valid(fields: dict[str, Any], loc: str, msg: str) -> None:
    world = World()
    world.deliver(delivery(STOP | fields))
    (outcome,) = world.aws.events
    assert outcome["status"] == "rejected"
    assert [(each["loc"], msg in each["msg"]) for each in outcome["errors"]] == [(loc, True)]
    assert world.huawei.calls == []


@pytest.mark.parametrize(
    ("attributes", "left_out"),
    [
        ({"traceparent": "nonsense"}, [("traceparent", "nonsense")]),
        ({"traceparent": "nonsense", "tracestate": STATE}, [("traceparent", "nonsense"), ("tracestate", STATE)]),
        ({"tracestate": STATE}, [("tracestate", STATE)]),
        ({"traceparent": PARENT, "tracestate": "☂ \ud800"}, [("tracestate", "? ?")]),
        ({"traceparent": "x" * 5000}, [("traceparent", "…")]),  # nothing that may be half of a target
        ({"traceparent": "a b " * 2000}, [("traceparent", shorten("a b " * 2000, LONGEST_VALUE))]),
        ({"traceparent": PARENT, "tracestate": STATE}, []),
    ],
)
def test_an_attribute_that_is_not_valid_never_stops_a_stop(
    attributes: dict[str, str], left_out: list[tuple[str, str]]
) -> None:
    world = World()
    world.deliver(with_attributes(delivery(STOP), **attributes))
    assert [each["status"] for each in world.aws.events] == ["succeeded"]
    lines = [line for line in world.lines() if line["message"] == "attribute left out"]
    assert [line["attribute"] for line in lines] == [name for name, _ in left_out]
    for line, (_, value) in zip(lines, left_out, strict=True):
        assert (line["level"], line["command_id"]) == ("WARNING", "m-0")
        assert len(line["value"]) <= LONGEST_VALUE
        assert line["value"] == value
    valid = attributes.get("traceparent") == PARENT
    assert traces(world.aws.events)[0][0] == (PARENT if valid else None)
    assert {line.get("traceparent") for line in lines} <= {PARENT if valid else None}


@pytest.mark.parametrize("body", ["no JSON", STOP | {"targets": []}, STOP | EXPIRED])
def test_the_attributes_of_what_is_not_carried_out_are_looked_at_too(body: str | dict[str, Any]) -> None:
    world = World()
    world.deliver(delivery(notification(body, traceparent="nonsense")))
    (line,) = [line for line in world.lines() if line["message"] == "attribute left out"]
    assert (line["command_id"], line["attribute"], line["value"]) == ("n-1", "traceparent", "nonsense")


# What does not depend on it


def test_commands_of_different_traces_are_folded_and_each_keeps_its_own() -> None:
    world = World()
    world.deliver(delivery(
        STOP | {"targets": ["d1"], "command_id": "c-1", "traceparent": PARENT},
        STOP | {"targets": ["d2"], "command_id": "c-2", "traceparent": OTHER},
        STOP | {"targets": ["d2"], "command_id": "c-3"},
    ))  # fmt: skip
    assert len(world.huawei.calls) == 1
    found = {each["command_id"]: each["traceparent"] for each in world.aws.events}
    assert found == {"c-1": PARENT, "c-2": OTHER, "c-3": None}


@pytest.mark.parametrize("case", CASES)
def test_the_outcome_id_does_not_depend_on_the_trace(case: str) -> None:
    def outcome_ids(**attributes: str) -> list[str]:
        world = World()
        world.deliver(with_attributes(delivery(CASES[case][0]), **attributes))
        return [each["outcome_id"] for each in world.aws.events]

    assert outcome_ids() == outcome_ids(traceparent=PARENT) == outcome_ids(traceparent=OTHER, tracestate=STATE)


# Dead letters


def test_the_reason_of_a_dead_letter_is_shortened_before_the_trace_is_left_out() -> None:
    trace = Trace(PARENT, STATE)
    rest = sum(map(len, ("sent_at", WHEN, "failure_reason", "traceparent", PARENT, "tracestate", STATE))) + 4 * 6
    for spare, reason, traced in [(30, "rejected: no", True), (9, "rejected:", True), (8, "rejected", True)]:
        letter = sized(LARGEST_MESSAGE - rest - spare, trace)
        assert letter.attributes["failure_reason"] == reason
        assert (TRACED.items() <= letter.attributes.items()) is traced
    letter = sized(LARGEST_MESSAGE - rest - 7, trace)
    assert letter.attributes == {"failure_reason": "rejected: no", "sent_at": WHEN}
    assert sized(LARGEST_MESSAGE - rest, NO_TRACE).attributes == letter.attributes


def sized(size: int, trace: Trace) -> Message:
    letter = dead_letter("x" * size, reason="rejected: no", sent_at=NOW, trace=trace)
    assert letter is not None
    attributes = letter.attributes.items()
    assert size + sum(len(name) + len("String") + len(value) for name, value in attributes) <= LARGEST_MESSAGE
    return letter


def test_no_trace_has_a_message_left_to_sqs_that_would_have_gone_without_it() -> None:
    for spare in range(-5, 200):
        size = LARGEST_MESSAGE - spare
        bare = dead_letter("x" * size, reason="r", sent_at=NOW)
        assert (dead_letter("x" * size, reason="r", sent_at=NOW, trace=Trace(PARENT)) is None) is (bare is None)


def test_the_id_of_a_dead_letter_has_its_place_after_the_reason_and_before_the_trace() -> None:
    trace = Trace(PARENT, STATE)
    times = sum(map(len, ("sent_at", WHEN, "failure_reason"))) + 2 * 6
    id_, traced = len("command_id" + "c-1") + 6, sum(map(len, ("traceparent", PARENT, "tracestate", STATE))) + 2 * 6
    for spare, there in [
        (8, set()),
        (id_ + 7, set()),
        (id_ + 8, {"command_id"}),
        (id_ + traced + 7, {"command_id"}),
        (id_ + traced + 8, {"command_id", "traceparent", "tracestate"}),
    ]:
        body = "x" * (LARGEST_MESSAGE - times - spare)
        letter = dead_letter(body, reason="rejected: no", sent_at=NOW, command_id="c-1", trace=trace)
        assert letter is not None
        assert letter.attributes.keys() - {"failure_reason", "sent_at"} == there
        assert message_size(letter) <= LARGEST_MESSAGE
    assert dead_letter("x" * (LARGEST_MESSAGE - times), reason="no", sent_at=NOW, command_id="c-1") is None


# Redrive


def moved(body: str | dict[str, Any], **attributes: Any) -> Move:
    received: Any = dead_letters.received(body, failure_reason="rejected: no", **attributes)
    letter = letter_of(received, ttl=timedelta(hours=1))
    decision = decide(letter, now=NOW, rejected=True, renew=None)
    assert isinstance(decision, Move)
    return decision


def trace_in(move: Move) -> dict[str, str]:
    return {name: value for name, value in move.attributes.items() if name in TRACED}


NAMED: Final = STOP | {"command_id": "c-1", "requested_at": WHEN}


@pytest.mark.parametrize("body", [STOP, NAMED, "no JSON", STOP | {"targets": []}, event(STOP), notification(STOP)])
def test_redrive_sends_the_trace_along_as_attributes(body: str | dict[str, Any]) -> None:
    assert trace_in(moved(body, **TRACED)) == TRACED
    assert trace_in(moved(body)) == {}
    assert trace_in(moved(body, traceparent="nonsense", tracestate=STATE)) == {}


def test_redrive_keeps_the_trace_of_an_envelope_that_it_takes_off() -> None:
    move = moved(notification(event(STOP), **TRACED), traceparent=OTHER)
    assert (json.loads(move.body)["command_id"], trace_in(move)) == ("e-1", TRACED)


def test_redrive_sends_a_command_without_its_trace_rather_than_not_at_all() -> None:
    body = json.dumps(NAMED | {"reason": ""})
    padded = f"{body}{' ' * (LARGEST_MESSAGE - len(body))}"
    assert moved(padded, **TRACED) == Move(padded, renewed=False, attributes={})
    assert moved(padded[:-50], **TRACED).attributes == {"sent_at": WHEN}
    assert moved(padded[:-100], **TRACED).attributes == {"sent_at": WHEN, "command_id": "c-1"}
    assert moved(padded[:-300], **TRACED).attributes == {"sent_at": WHEN, "command_id": "c-1"} | TRACED


def test_redrive_fills_no_call_beyond_what_sqs_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    body = json.dumps(STOP | {"command_id": "c-1", "requested_at": now.isoformat()})
    half = f"{body}{' ' * (LARGEST_MESSAGE // 2 - len(body))}"
    letters = [
        dead_letters.received(half, message_id=f"m-{n}", stamped=now, failure_reason="gave_up", **TRACED)
        for n in range(2)
    ]
    sqs = dead_letters.world(*letters)
    monkeypatch.setattr("boto3.client", lambda *_, **__: sqs)
    assert main(["--queue", dead_letters.DEAD, "--apply"]) == 0
    assert sqs.calls.count("send_message_batch") == 2, "both together with their attributes are too much for one"
    texts = {"sent_at": to_rfc3339(now), "command_id": "c-1"} | TRACED
    attributes = {name: {"DataType": "String", "StringValue": value} for name, value in texts.items()}
    assert sqs.queues[dead_letters.SOURCE] == [{"Body": half, "MessageAttributes": attributes}] * 2


# Ids


@pytest.mark.parametrize(
    ("body", "command_id"),
    [
        (STOP, "m-0"),
        (notification(STOP), "n-1"),
        (event(STOP), "e-1"),
        (notification(event(STOP)), "e-1"),
        (event(notification(STOP)), "n-1"),
        (notification(STOP) | {"MessageId": "not one"}, "m-0"),
        (notification(event(STOP) | {"id": 7}), "n-1"),
        (notification(event(STOP | {"command_id": "c-1"})), "c-1"),
        (notification("no JSON"), "n-1"),
        (notification(event(STOP | {"targets": []})), "e-1"),
        (notification(event(STOP) | {"time": "yesterday"}), "e-1"),
        (event(["d1"]), "e-1"),
    ],
)
def test_an_outcome_has_the_id_that_the_sender_got(body: dict[str, Any], command_id: str) -> None:
    world = World()
    world.deliver(delivery(body))
    assert [each["command_id"] for each in world.aws.events] == [command_id]


def test_an_event_that_comes_by_two_rules_is_one_command_delivered_twice() -> None:
    world = World()
    world.deliver(delivery(event(STOP), ids=["m-1"]))
    world.deliver(delivery(notification(event(STOP)), ids=["m-2"]))
    first, second = world.aws.events
    assert (second["command_id"], second["outcome_id"]) == (first["command_id"], first["outcome_id"])
    assert {each["result"] for each in second["results"]} == {"already_ended"}


# Direct calls


def called(world: World, command: dict[str, Any], *, seconds: float = 900) -> dict[str, Any]:
    paced = PacedService(world.huawei, world.clock.pace())
    workflow = Workflow(
        settings=read_settings(StopInWorkflowSettings, ENVIRONMENT),
        check_tasks=paced,
        batch_tasks=paced,
        publisher=world.publisher,
        patience=world.clock.patience(),
        telemetry=world.telemetry,
        new_id=lambda: "new-1",
    )
    with world.telemetry.invocation("stop_in_workflow", "r-1"):
        return workflow.handle(command, deadline=world.clock.deadline(seconds))


def test_a_direct_call_carries_its_trace_into_its_answer_and_its_remainder() -> None:
    world = World()
    world.throttle("d2")
    unfinished = called(world, STOP | TRACED, seconds=31)
    assert unfinished["remainder"].items() >= TRACED.items()
    world.huawei.disturb = lambda _: {}
    answer = called(world, unfinished["remainder"])
    assert traces([answer, *world.aws.events]) == [(PARENT, STATE)] * 3
    about = about_commands(world.lines())
    assert {line["message"] for line in about} == {"outcome", "remainder sent"}
    assert {*traces(about)} == {(PARENT, STATE)}


def test_a_direct_call_that_is_rejected_has_its_trace_in_its_lines() -> None:
    world = World()
    with pytest.raises(CommandRejected):
        called(world, STOP | TRACED | {"targets": []})
    about = about_commands(world.lines())
    assert {line["message"] for line in about} == {"outcome", "not carried out"}
    assert {*traces([*about, *world.aws.events])} == {(PARENT, STATE)}


def test_the_longest_command_with_the_longest_trace_leaves_a_remainder_that_fits_into_a_state() -> None:
    world = World()
    targets = [f"{number:036}" for number in range(6_400)]
    world.huawei = FakeHuawei({BatchTask("project-1", None, BATCH.task_id): dict.fromkeys(targets, Verdict.RUNS)})
    world.throttle(*targets[1:])
    longest: dict[str, Any] = {
        "targets": targets,
        "reason": "\U0001f600" * 512,
        "requested_by": "\U0001f600" * 128,
        "traceparent": f"01{PARENT[2:]}-{'x' * 456}",
        "tracestate": '"' * 512,
    }
    answer: dict[str, Any] = {}
    while not answer:  # as many as are let through
        try:
            answer = called(world, STOP | longest, seconds=31)
        except CommandRejected:
            del longest["targets"][-10:]
    assert answer["status"] == "unfinished"
    assert len(json.dumps(answer)) <= 262_144

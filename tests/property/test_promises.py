"""The promises of the contract, over the whole life of commands: deliveries, faults, remainders, repeats.

Each test runs the real pipeline against fakes that keep state, and judges by what Huawei and the bus saw.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from hypothesis import given, settings
from hypothesis import strategies as st

from shared.deliveries import Deliveries
from shared.findings import Finding, Trust, Verdict
from shared.planning import Stop
from shared.publishing import Publisher
from tests.fakes import BATCH, ENVIRONMENT, NOW, Clock, FakeAws, FakeHuawei, delivery, settings_of
from tests.quiet import NoDefects

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shared.aws import BusEvent, Message
    from shared.planning import Call, Task

TARGETS: Final = tuple(f"d{number}" for number in range(230))
FINAL: Final = {"succeeded", "failed", "rejected", "expired", "dry_run"}


@dataclass
class World:
    """A queue, the function, Huawei and a bus; every choice of fate comes from `data`."""

    data: st.DataObject | None = None
    passing_faults: bool = False
    lost_publishing: bool = False
    clock: Clock = field(default_factory=Clock)
    aws: FakeAws = field(default_factory=FakeAws)
    acknowledged: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        states = dict.fromkeys(TARGETS[:200], Verdict.RUNS) | dict.fromkeys(TARGETS[200:210], Verdict.ENDED)
        self.huawei = FakeHuawei({BATCH: states})
        self.before = dict(states)
        self.huawei.accepted = (
            Trust.UNKNOWN
        )  # so that calls are made in this thread: hypothesis cannot choose in another
        self.huawei.disturb = self._disturb
        self.aws.refuse = self._refuse
        self.deliveries = Deliveries(
            settings=settings_of("stop_targets", ALLOW_STOP_ALL="true"),
            service=self.huawei,
            publisher=Publisher(bus=self.aws, queues=self.aws, bus_name="outcomes"),
            queues=self.aws,
            pace=self.clock.pace(),
            patience=self.clock.patience(),
            telemetry=NoDefects(),
        )

    def _disturb(self, asked: Call | tuple[Task, tuple[str, ...]]) -> Mapping[str, Finding]:
        if self.data is None or not self.passing_faults or self.data.draw(st.integers(0, 2)):
            return {}
        targets = asked.targets if isinstance(asked, Stop) else asked[1] if isinstance(asked, tuple) else ("*",)
        hit = targets if self.data.draw(st.booleans()) else targets[::3]
        passing = Finding(Verdict.UNFINISHED, "APIGW.0308", "throttled")
        # Half of the time the stop took place and its answer was lost.
        if isinstance(asked, Stop) and self.data.draw(st.booleans()):
            for target in hit:
                if self.huawei.states[asked.task].get(target) is Verdict.RUNS:
                    self.huawei.states[asked.task][target] = Verdict.STOPPED
        return dict.fromkeys(hit, passing)

    def _refuse(self, _: BusEvent | Message) -> str | None:
        lost = self.data is not None and self.lost_publishing and not self.data.draw(st.integers(0, 3))
        return "InternalFailure: lost" if lost else None

    def run(self, *bodies: Any) -> None:
        """Deliver, and deliver again what was not acknowledged, until the queue is empty."""
        waiting = {f"m-{number}": body for number, body in enumerate(bodies)}
        for round_ in range(60):
            if not waiting:
                return
            if round_ > 30:
                self.passing_faults = self.lost_publishing = False
            self.clock.seconds += 1
            event = delivery(*waiting.values(), ids=list(waiting), sent_at=NOW)
            answer = self.deliveries.handle(event, deadline=self.clock.deadline(60))
            failed = {each["itemIdentifier"] for each in answer["batchItemFailures"]}
            assert failed <= set(waiting)
            self.acknowledged += [message_id for message_id in waiting if message_id not in failed]
            waiting = {message_id: body for message_id, body in waiting.items() if message_id in failed}
            queue = self.aws.queues.get(ENVIRONMENT["COMMAND_QUEUE_URL"])
            while queue:
                message = queue.popleft()
                waiting[f"r-{round_}-{len(queue)}"] = message.body
        raise AssertionError(f"still waiting: {waiting}")

    def results(self) -> dict[str, Counter[tuple[str, str]]]:
        told: dict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
        for event in self.aws.events:
            told[event["command_id"]].update((each["target"], each["result"]) for each in event["results"])
        return told

    def finals(self) -> Counter[str]:
        return Counter(event["command_id"] for event in self.aws.events if event["status"] in FINAL)


@st.composite
def asked(draw: st.DrawFn) -> list[dict[str, Any]]:
    """One to four commands that share targets, some of which have ended or are in no task."""
    bodies: list[dict[str, Any]] = []
    for number in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(TARGETS) - 1))
        targets = (TARGETS[start:] + TARGETS[:start])[: draw(st.sampled_from([1, 2, 99, 100, 101, 230]))]
        bodies.append(
            {
                "command": "stop_targets",
                "command_id": f"c-{number}",
                "task_id": BATCH.task_id,
                "targets": targets,
                "confirm": draw(st.booleans()),
                "dry_run": not draw(st.integers(0, 5)),
            }
        )
    return bodies


@given(st.data(), asked())
@settings(deadline=None)
def test_each_target_has_one_result_and_each_command_one_final_event_however_often_huawei_fails(
    data: st.DataObject, bodies: list[dict[str, Any]]
) -> None:
    world = World(data, passing_faults=True)
    world.run(*bodies)
    told = world.results()
    assert world.finals() == Counter(body["command_id"] for body in bodies)
    for body in bodies:
        assert Counter(target for target, _ in told[body["command_id"]].elements()) == Counter(body["targets"])
        final = next(e for e in world.aws.events if e["command_id"] == body["command_id"] and e["status"] in FINAL)
        assert sum(final["tally"].values()) == len(body["targets"])
    assert sorted(world.acknowledged)[: len(bodies)] == [f"m-{number}" for number in range(len(bodies))]


@given(st.data(), asked())
@settings(deadline=None)
def test_stopped_is_said_only_of_what_huawei_took_and_nothing_unnamed_is_touched(
    data: st.DataObject, bodies: list[dict[str, Any]]
) -> None:
    world = World(data, passing_faults=True)
    world.run(*bodies)
    named = {target for body in bodies if not body["dry_run"] for target in body["targets"]}
    for target, state in world.huawei.states[BATCH].items():
        if target not in named:
            assert state is world.before[target]
    confirmed = {body["command_id"] for body in bodies if body["confirm"]}
    for command_id, results in world.results().items():
        for target, result in results:
            if result == "stopped" and command_id not in confirmed:
                assert world.huawei.taken[target] == 1
            if result in {"stopped", "already_ended"}:
                assert world.huawei.states[BATCH][target] is not Verdict.RUNS
            if result == "not_found":
                assert target not in world.before


@given(st.data(), asked())
@settings(deadline=None)
def test_a_target_with_a_result_is_never_sent_to_huawei_again_by_the_same_command(
    data: st.DataObject, bodies: list[dict[str, Any]]
) -> None:
    """One command at a time, so that every call is its own."""
    world = World(data, passing_faults=True)
    world.run(bodies[0])
    terminal: set[str] = set()
    for call, answer in world.huawei.answers:
        assert isinstance(call, Stop)
        assert not terminal & set(call.targets)
        terminal |= {
            target
            for target, finding in answer.items()
            if finding.verdict in {Verdict.TAKEN, Verdict.NOT_FOUND, Verdict.REFUSED}
        }


@given(st.data(), asked())
@settings(deadline=None)
def test_a_message_is_acknowledged_only_when_all_it_said_is_on_the_bus_and_on_the_queues(
    data: st.DataObject, bodies: list[dict[str, Any]]
) -> None:
    world = World(data, passing_faults=True, lost_publishing=True)
    world.run(*bodies)
    assert set(world.finals()) == {body["command_id"] for body in bodies}
    for body in bodies:
        assert {target for target, _ in world.results()[body["command_id"]]} == set(body["targets"])


@given(st.data(), asked())
@settings(deadline=None)
def test_a_repeat_never_contradicts_stopped_and_repeats_the_names(
    data: st.DataObject, bodies: list[dict[str, Any]]
) -> None:
    bodies = [body | {"confirm": False, "dry_run": False} for body in bodies]
    world = World(data)
    world.run(*bodies)
    first = list(world.aws.events)
    world.aws.events.clear()
    world.run(*bodies)
    again = world.aws.events
    assert [event["outcome_id"] for event in again] == [event["outcome_id"] for event in first]
    for before, after in zip(first, again, strict=True):
        for told, repeated in zip(before["results"], after["results"], strict=True):
            assert told["target"] == repeated["target"]
            if told["result"] in {"stopped", "already_ended"}:
                assert repeated["result"] == "already_ended"
            else:
                assert told["result"] == repeated["result"]


@given(st.lists(st.sampled_from(["valid", "junk", "field", "other", "expired"]), min_size=1, max_size=8))
@settings(deadline=None)
def test_a_bad_message_never_harms_its_neighbours(kinds: list[str]) -> None:
    bodies = {
        "valid": {"command": "stop_targets", "task_id": BATCH.task_id, "targets": ["d1"]},
        "junk": "{nonsense",
        "field": {"command": "stop_targets", "task_id": BATCH.task_id, "targets": []},
        "other": {"command": "stop_task", "task_id": "check-1"},
        "expired": {
            "command": "stop_targets",
            "task_id": BATCH.task_id,
            "targets": ["d2"],
            "expires_at": "2026-11-23T08:00:00Z",
        },
    }
    sent = [body if isinstance(body := bodies[kind], str) else json.dumps(body) for kind in kinds]
    world = World()
    world.run(*sent)
    status = {"valid": "succeeded", "expired": "expired"}
    assert [
        next(event["status"] for event in world.aws.events if event["command_id"] == f"m-{number}")
        for number in range(len(kinds))
    ] == [status.get(kind, "rejected") for kind in kinds]
    bad = [body for kind, body in zip(kinds, sent, strict=True) if kind in {"junk", "field", "other"}]
    assert [letter.body for letter in world.aws.dead_letters] == bad
    assert all(letter.attributes["failure_reason"].startswith("rejected: ") for letter in world.aws.dead_letters)
    assert set(world.huawei.taken) <= {"d1"}

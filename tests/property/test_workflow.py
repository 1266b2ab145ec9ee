"""The promises of the contract for direct calls: whatever Huawei answers, and wherever the time of a call cuts in.

The caller does what a state machine does: it calls again with the remainder that it is handed, and with the same input
where it is told to try again.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING, Any, Final, override

from hypothesis import given, settings
from hypothesis import strategies as st

from shared.commands import ALL_TARGETS
from shared.errors import HuaweiUnavailable, PublishingFailed
from shared.execution import DOUBT
from shared.findings import Finding, Reading, Trust, Verdict
from shared.outcomes import to_rfc3339
from shared.planning import Stop, StopAll
from shared.publishing import Publisher
from shared.settings import StopInWorkflowSettings, read_settings
from shared.workflow import PacedService, Workflow
from tests.fakes import BATCH, CHECK, ENVIRONMENT, NOW, Clock, FakeAws, FakeHuawei
from tests.quiet import NoDefects

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shared.aws import BusEvent, Message
    from shared.deadline import Deadline
    from shared.planning import Call, Task

TARGETS: Final = tuple(f"d{number}" for number in range(230))
FINAL: Final = {"succeeded", "failed", "rejected", "expired", "dry_run"}
MOST_CALLS: Final = 120
"""Direct calls after which a command must be over; the world is kind for the second half of them."""


class FickleHuawei(FakeHuawei):
    """Takes time, loses answers, has transient errors, and takes a while to stop what it was told to; all by `data`."""

    accepted = Trust.UNKNOWN  # so that calls are made in this thread: hypothesis cannot choose in another

    def __init__(self, states: Mapping[Task, Mapping[str, Verdict]], clock: Clock, data: st.DataObject) -> None:
        super().__init__(states)
        self._clock = clock
        self._data = data
        self.is_kind = False
        self.heard: list[tuple[Call, dict[str, Finding]]] = []
        self.sent: list[tuple[Call, float]] = []
        self.stopped_at: dict[tuple[Task, str], float] = {}
        self.disturb = self._disturb

    @override
    def stop(self, call: Call, deadline: Deadline) -> dict[str, Finding]:
        self.sent.append((call, self._clock.seconds))
        in_time = self._spend(deadline)
        answer = super().stop(call, deadline.less(-1))  # Huawei knows nothing of our time
        for target, state in self.states[call.task].items():
            if state is Verdict.STOPPED:
                self.stopped_at.setdefault((call.task, target), self._clock.seconds)
        if not in_time:
            answer = dict.fromkeys(_targets(call), Finding(Verdict.UNFINISHED, error_msg="cut"))
        self.heard.append((call, answer))
        return answer

    @override
    def read(self, task: Task, targets: tuple[str, ...], deadline: Deadline) -> Reading:
        in_time = self._spend(deadline)
        reading = super().read(task, targets, deadline)
        return reading if in_time else Reading(dict.fromkeys(targets, Finding(Verdict.UNFINISHED, error_msg="cut")))

    def _spend(self, deadline: Deadline) -> bool:
        seconds = 0.1 if self.is_kind else self._data.draw(st.sampled_from([0.0, 0.5, 6.0]))
        in_time = seconds < deadline.remaining()
        self._clock.seconds += min(seconds, deadline.remaining())
        return in_time

    def _disturb(self, asked: Call | tuple[Task, tuple[str, ...]]) -> Mapping[str, Finding]:
        if self.is_kind or self._data.draw(st.booleans()):
            return {}
        targets = _targets(asked)
        hit = targets if self._data.draw(st.booleans()) else targets[::3]
        if isinstance(asked, tuple):
            if self._data.draw(st.booleans()):
                return dict.fromkeys(hit, Finding(Verdict.UNFINISHED, error_msg="cut"))
            # Stops are asynchronous.
            stopped = [target for target in hit if self.states[asked[0]].get(target) is Verdict.STOPPED]
            unseen = [each for each in stopped if self._clock.seconds - self.stopped_at[asked[0], each] < DOUBT]
            if unseen and self._data.draw(st.sampled_from([True, False])):
                return dict.fromkeys(unseen, Finding(Verdict.RUNS))
            return dict.fromkeys(stopped, Finding(Verdict.STOPPING))
        throttled = self._data.draw(st.booleans())
        # Half of the time the stop took place and its answer was lost.
        if isinstance(asked, Stop) and not throttled and self._data.draw(st.booleans()):
            for target in hit:
                if self.states[asked.task].get(target) is Verdict.RUNS:
                    self.states[asked.task][target] = Verdict.STOPPED
        return dict.fromkeys(hit, Finding(Verdict.UNFINISHED, "APIGW.0308", "passing", throttled=throttled))


def _targets(asked: Call | tuple[Task, tuple[str, ...]]) -> tuple[str, ...]:
    match asked:
        case Stop(targets=targets) | (_, targets):
            return targets
        case StopAll():
            return (ALL_TARGETS,)


WORST_FIRST = ["refused", "not_found", "gave_up", "still_running", "already_ended", "would_stop"]
"""As the contract has it; within a kind, what was asked for first comes first."""


@dataclass
class World:
    """A caller, the function, Huawei and a bus; every choice of fate comes from `data`."""

    data: st.DataObject
    lost_publishing: bool = False
    clock: Clock = field(default_factory=Clock)
    aws: FakeAws = field(default_factory=FakeAws)

    def __post_init__(self) -> None:
        states = dict.fromkeys(TARGETS[:200], Verdict.RUNS) | dict.fromkeys(TARGETS[200:210], Verdict.ENDED)
        self.huawei = FickleHuawei({BATCH: states, CHECK: {CHECK.task_id: Verdict.RUNS}}, self.clock, self.data)
        self.aws.refuse = self._refuse
        paced = PacedService(self.huawei, self.clock.pace())
        numbers = count(1)
        environment = ENVIRONMENT | {
            "ALLOW_STOP_ALL": "true",
            "MAX_ATTEMPTS": str(self.data.draw(st.sampled_from([1, 2, 8]))),
        }
        self.workflow = Workflow(
            settings=read_settings(StopInWorkflowSettings, environment),
            check_tasks=paced,
            batch_tasks=paced,
            publisher=Publisher(bus=self.aws, queues=self.aws, bus_name="outcomes"),
            patience=self.clock.patience(),
            telemetry=NoDefects(),
            new_id=lambda: f"new-{next(numbers)}",
        )

    def _refuse(self, _: BusEvent | Message) -> str | None:
        return "InternalFailure: lost" if self.lost_publishing and not self.data.draw(st.integers(0, 3)) else None

    def run(self, command: dict[str, Any]) -> dict[str, Any]:
        """Call until the command is over; gives the answer that says so."""
        event = command
        for number in range(MOST_CALLS):
            if number > MOST_CALLS / 2:
                self.huawei.is_kind, self.lost_publishing = True, False
            seconds = 45.0 if self.huawei.is_kind else self.data.draw(st.sampled_from([8.0, 45.0, 900.0]))
            deadline = self.clock.deadline(seconds)
            published = len(self.aws.events)
            try:
                answer = self.workflow.handle(event, deadline=deadline)
            except HuaweiUnavailable:
                assert len(self.aws.events) == published
                assert event is command, "a remainder has something to show"
            except PublishingFailed:
                assert self.lost_publishing
            else:
                told = [each for each in self.aws.events[published:] for each in each["results"]]
                if answer["status"] != "unfinished":
                    places = {target: place for place, target in enumerate(command.get("targets", [ALL_TARGETS]))}
                    worst_first = sorted(
                        (each for each in told if each["result"] != "stopped"),
                        key=lambda each: (WORST_FIRST.index(each["result"]), places.get(each["target"], len(places))),
                    )
                    assert answer["results"] == worst_first[:100]
                    return answer
                assert answer.keys() == {"status", "remainder"}
                event = answer["remainder"]
            assert deadline.remaining() > 0, "Lambda would have ended it"
            self.clock.seconds += 5 if self.huawei.is_kind else self.data.draw(st.sampled_from([0, 5, 60]))
        raise AssertionError(f"never over: {event}")

    @property
    def results(self) -> list[tuple[str, str]]:
        return [(each["target"], each["result"]) for event in self.aws.events for each in event["results"]]

    @property
    def finals(self) -> list[dict[str, Any]]:
        return [event for event in self.aws.events if event["status"] in FINAL]


@st.composite
def commands(draw: st.DrawFn, *, tasks: st.SearchStrategy[str]) -> dict[str, Any]:
    """A command about the one batch, part of which has ended or is unknown, or about the one check."""
    given_: dict[str, Any] = {
        "command_id": "c-1",
        "confirm": draw(st.booleans()),
        "dry_run": draw(st.integers(0, 5)) == 5,
    }
    if draw(st.booleans()):
        expires_in = timedelta(seconds=draw(st.sampled_from([3, 60, 100_000])))
        given_["expires_at"] = to_rfc3339(NOW + expires_in)
    match draw(tasks):
        case "check":
            return {"command": "stop_task", "task_id": CHECK.task_id, **given_}
        case "all":
            return {"command": "stop_targets", "task_id": BATCH.task_id, "all_targets": True, **given_}
        case _:
            start = draw(st.integers(0, len(TARGETS) - 1))
            targets = (TARGETS[start:] + TARGETS[:start])[: draw(st.sampled_from([1, 2, 99, 100, 101, 230]))]
            return {"command": "stop_targets", "task_id": BATCH.task_id, "targets": [*targets], **given_}


ANY = commands(tasks=st.sampled_from(["check", "all", "named", "named"]))
NAMED = commands(tasks=st.sampled_from(["check", "named"]))


@given(st.data(), ANY)
@settings(deadline=None)
def test_each_target_has_one_result_and_the_command_one_final_event_which_is_the_answer(
    data: st.DataObject, command: dict[str, Any]
) -> None:
    world = World(data)
    answer = world.run(command)
    (final,) = world.finals
    assert final is world.aws.events[-1]
    assert answer == final | {"results": answer["results"]}
    if answer["status"] == "expired":
        assert world.results == []
        return
    told = Counter(target for target, _ in world.results)
    assert set(told.values()) == {1}
    if "all_targets" in command:
        assert told[ALL_TARGETS] == 1
    else:
        assert told.keys() == set(command.get("targets", [CHECK.task_id]))
    counted = Counter(result for _, result in world.results)
    assert answer["tally"] == {result: counted[result] for result in answer["tally"]}
    assert (answer["confirmed"] is None) is not command["confirm"]


@given(st.data(), ANY)
@settings(deadline=None)
def test_nothing_goes_to_a_queue_and_everything_is_stopped_only_if_that_was_asked(
    data: st.DataObject, command: dict[str, Any]
) -> None:
    world = World(data)
    before = {task: dict(targets) for task, targets in world.huawei.states.items()}
    world.run(command)
    assert world.aws.queues == {}
    named = set(command.get("targets", [CHECK.task_id]))
    for call in world.huawei.calls:
        assert not command["dry_run"]
        if "all_targets" not in command:
            assert isinstance(call, Stop)
            assert len(call.targets) <= 100
            assert set(call.targets) <= named
    for task, states in world.huawei.states.items():
        changed = {target for target, state in states.items() if state is not before[task][target]}
        assert "all_targets" in command or changed <= named


@given(st.data(), NAMED)
@settings(deadline=None)
def test_stopped_is_said_only_of_what_was_taken_and_what_is_over_is_never_sent_again(
    data: st.DataObject, command: dict[str, Any]
) -> None:
    world = World(data)
    world.run(command)
    for target, result in world.results:
        if result == "stopped":
            assert world.huawei.taken[target] == 1 or command["confirm"]
        if result in {"stopped", "already_ended"}:
            assert all(states.get(target) is not Verdict.RUNS for states in world.huawei.states.values())
    over: set[str] = set()
    for call, heard in world.huawei.heard:
        assert not over & set(_targets(call))
        over |= {target for target, found in heard.items() if found.verdict in {Verdict.TAKEN, Verdict.NOT_FOUND}}


@given(st.data(), ANY)
@settings(deadline=None)
def test_nothing_is_answered_that_is_not_on_the_bus_however_often_publishing_fails(
    data: st.DataObject, command: dict[str, Any]
) -> None:
    world = World(data, lost_publishing=True)
    answer = world.run(command)
    assert answer | {"results": []} in [event | {"results": []} for event in world.finals]
    if answer["status"] != "expired" and "all_targets" not in command:
        assert {target for target, _ in world.results} == set(command.get("targets", [CHECK.task_id]))
    assert world.aws.queues == {}


LATE = st.builds(
    lambda command, seconds: command | {"expires_at": to_rfc3339(NOW + timedelta(seconds=seconds))},
    ANY,
    st.sampled_from([0, 3, 10, 60]),
)


@given(st.data(), LATE)
@settings(deadline=None, max_examples=300)
def test_expired_is_never_said_of_what_this_command_stopped(data: st.DataObject, command: dict[str, Any]) -> None:
    """Answers are lost or the bus is down, and the caller calls again with the same input past `expires_at`."""
    world = World(data, lost_publishing=data.draw(st.booleans()))
    before = {task: dict(targets) for task, targets in world.huawei.states.items()}
    answer = world.run(command)
    stopped = [
        target
        for task, states in world.huawei.states.items()
        for target, state in states.items()
        if state is not before[task][target]
    ]
    if "expired" in {answer["status"], *(event["status"] for event in world.aws.events)}:
        assert stopped == []
    for call, seconds in world.huawei.sent:
        assert NOW + timedelta(seconds=seconds) < call.expires_at

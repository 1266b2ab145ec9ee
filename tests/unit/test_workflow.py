"""One direct call on fakes: what is answered, raised and published, in how many rounds."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from shared.aws import AwsRefused, BusEvent, Message
from shared.deadline import Deadline
from shared.errors import CommandRejected, DeploymentFault, HuaweiUnavailable, PublishingFailed
from shared.execution import DOUBT
from shared.findings import Finding, Verdict
from shared.outcomes import Result, to_rfc3339
from shared.planning import BatchTask, Stop, StopAll
from shared.publishing import Publisher
from shared.settings import StopInWorkflowSettings, read_settings
from shared.telemetry import Telemetry
from shared.traces import NO_TRACE, Trace
from shared.workflow import (
    LEAST_READ,
    LEAST_ROUND,
    LONGEST_CALL,
    LONGEST_REASON,
    READ_FOR,
    WORST_FIRST,
    PacedService,
    Workflow,
)
from tests.fakes import BATCH, CHECK, ENVIRONMENT, NOW, Clock, FakeAws, FakeHuawei
from tests.quiet import quiet_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from shared.commands import Command
    from shared.outcomes import Outcome
    from shared.planning import Call, Task

type Disturb = Callable[[Call | tuple[Task, tuple[str, ...]]], Mapping[str, Finding]]

PASSING = Finding(Verdict.UNFINISHED, "APIGW.0308", "throttled", retry_after=3.0)
STATE = 262_144
"""Bytes that the state of a state machine holds."""


class Recorded(Telemetry):
    """Keeps what an operator would be told."""

    def __init__(self) -> None:
        super().__init__(quiet_logger())
        self.told: list[Exception] = []
        self.not_done: list[tuple[str | None, type[Exception]]] = []
        self.published: list[str] = []
        self.calls = 0
        self.remainders = 0

    def asked(self, *, calls: int, throttles: int) -> None:
        assert throttles <= calls
        self.calls += calls

    def remainder_sent(self, command: Command, delay_seconds: int) -> None:
        assert command.attempt > 1
        assert delay_seconds > 0
        self.remainders += 1

    def outcomes_published(self, outcomes: Iterable[Outcome]) -> None:
        self.published += [outcome.status.value for outcome in outcomes]

    def not_carried_out(self, command_id: str | None, error: Exception, *, trace: Trace = NO_TRACE) -> None:
        super().not_carried_out(command_id, error, trace=trace)
        self.not_done.append((command_id, type(error)))

    def deployment_fault(self, fault: Exception) -> None:
        self.told.append(fault)

    def defects(self, errors: Iterable[Exception]) -> None:
        self.told += errors


class Delayed(FakeHuawei):
    """Takes its time over a call, which is answered all the same."""

    delay: Callable[[Deadline], None] = staticmethod(lambda _: None)

    def stop(self, call: Call, deadline: Deadline) -> dict[str, Finding]:
        if deadline.remaining():
            self.delay(deadline)
            deadline = Deadline.after(1, deadline.clock)
        return super().stop(call, deadline)


class World:
    """The function with its bus and both services. `seconds`: what Lambda gives an invocation."""

    def __init__(self, *, targets: int = 0, seconds: float = 900.0, **settings: str) -> None:
        self.seconds = seconds
        self.clock = Clock()
        self.aws = FakeAws()
        self.batches = Delayed({BATCH: {f"d{n}": Verdict.RUNS for n in range(targets)}})
        self.batch_pace = self.clock.pace()
        self.checks = FakeHuawei({CHECK: {CHECK.task_id: Verdict.RUNS}})
        self.telemetry = Recorded()
        numbers = count(1)
        self.workflow = Workflow(
            settings=read_settings(StopInWorkflowSettings, ENVIRONMENT | settings),
            check_tasks=PacedService(self.checks, self.clock.pace()),
            batch_tasks=PacedService(self.batches, self.batch_pace),
            publisher=Publisher(bus=self.aws, queues=self.aws, bus_name="outcomes"),
            patience=self.clock.patience(),
            telemetry=self.telemetry,
            new_id=lambda: f"new-{next(numbers)}",
        )

    def call(self, event: Any) -> dict[str, Any]:
        answer = self.workflow.handle(event, deadline=self.clock.deadline(self.seconds))
        json.dumps(answer, allow_nan=False)
        return answer

    @property
    def statuses(self) -> list[str]:
        return [event["status"] for event in self.aws.events]


CHECK_COMMAND = {"command": "stop_task", "task_id": CHECK.task_id}


def stop(*targets: str, **more: Any) -> dict[str, Any]:
    return {"command": "stop_targets", "command_id": "c-1", "task_id": BATCH.task_id, "targets": list(targets)} | more


def at(seconds: float) -> str:
    return to_rfc3339(NOW + timedelta(seconds=seconds))


def always(finding: Finding) -> Disturb:
    return lambda asked: dict.fromkeys(_targets(asked), finding)


def once(*answers: Mapping[str, Finding]) -> Disturb:
    """Answer so, one after the other, and then by the table."""
    left = list(answers)
    return lambda _: left.pop(0) if left else {}


def _targets(asked: Call | tuple[Task, tuple[str, ...]]) -> tuple[str, ...]:
    match asked:
        case Stop(targets=targets) | (_, targets):
            return targets
        case StopAll():
            return ("*",)


def test_a_running_check_is_stopped_and_the_answer_is_the_final_event() -> None:
    world = World()
    answer = world.call({"command": "stop_task", "task_id": CHECK.task_id, "requested_by": "ci"})
    assert (answer["status"], answer["command_id"], answer["requested_by"]) == ("succeeded", "new-1", "ci")
    assert answer["results"] == []
    (event,) = world.aws.events
    assert event == answer | {"results": [{"target": CHECK.task_id, "result": "stopped"}]}
    assert world.batches.calls == []


def test_the_worst_of_sixty_thousand_targets_come_first() -> None:
    """They are what a person has to look into; 300 that had ended in front of them would hide them all."""
    ended, unknown = [f"ended-{n}" for n in range(300)], [f"unknown-{n}" for n in range(200)]
    running = [f"d{n}" for n in range(59_500)]
    world = World(seconds=300)
    world.batches.states[BATCH] = dict.fromkeys(running, Verdict.RUNS) | dict.fromkeys(ended, Verdict.ENDED)
    answer = world.call(stop(*ended, *running, *unknown))
    assert results(answer) == [(target, "not_found") for target in unknown[:100]]
    tally = {result: number for result, number in answer["tally"].items() if number}
    assert tally == {"stopped": 59_500, "already_ended": 300, "not_found": 200}
    assert len(json.dumps(answer)) < STATE, "it fits into a state, too"


def test_each_kind_of_result_has_its_place_and_those_alike_stand_as_they_were_asked_for() -> None:
    world = World(targets=4, seconds=3600, MAX_ATTEMPTS="2")
    world.batches.states[BATCH] |= {"e1": Verdict.ENDED, "e0": Verdict.ENDED}
    no, runs = Finding(Verdict.REFUSED, "IOTDA.1", "no"), Finding(Verdict.RUNS)

    def disturb(asked: Call | tuple[Task, tuple[str, ...]]) -> Mapping[str, Finding]:
        if not isinstance(asked, Stop):
            return {"d1": runs, "d0": runs, "d3": PASSING, "r1": no, "r0": no}
        return {"d3": PASSING, "r1": no, "r0": no}

    world.batches.disturb = disturb
    answer = world.call(stop("e1", "d2", "d1", "d3", "gone-1", "r1", "e0", "d0", "gone-0", "r0", confirm=True))
    assert results(answer) == [
        ("r1", "refused"), ("r0", "refused"), ("gone-1", "not_found"), ("gone-0", "not_found"), ("d3", "gave_up"),
        ("d1", "still_running"), ("d0", "still_running"), ("e1", "already_ended"), ("e0", "already_ended"),
    ]  # fmt: skip
    assert {each.value for each in WORST_FIRST} == {each.value for each in Result} - {"stopped"}


def test_what_a_later_round_finds_stands_before_what_is_less_bad_and_where_it_was_asked_for() -> None:
    """The first round already has more than an answer shows."""
    world = World(seconds=3600, MAX_ATTEMPTS="2")
    ended = [f"e{n}" for n in range(150)]
    world.batches.states[BATCH] = dict.fromkeys(ended, Verdict.ENDED)
    late = {"gone-0", "refused"}

    def disturb(asked: Call | tuple[Task, tuple[str, ...]]) -> Mapping[str, Finding]:
        hit = [target for target in _targets(asked) if target in late]
        if hit and not world.aws.events:  # in the first round
            return dict.fromkeys(hit, PASSING)
        return {"refused": Finding(Verdict.REFUSED, "IOTDA.1", "no")} if "refused" in hit else {}

    world.batches.disturb = disturb
    answer = world.call(stop("gone-1", "gone-0", *ended, "gone-2", "refused"))
    assert answer["attempt"] == 2
    expected = [
        ("refused", "refused"), ("gone-1", "not_found"), ("gone-0", "not_found"), ("gone-2", "not_found"),
    ]  # fmt: skip
    assert results(answer) == expected + [(target, "already_ended") for target in ended[:96]]


def test_results_are_cut_to_the_first_hundred_that_were_not_stopped_and_the_tally_counts_all() -> None:
    world = World(targets=150)
    answer = world.call(stop(*(f"d{n}" for n in range(450))))
    assert world.statuses == ["in_progress"] * 4 + ["failed"]
    assert [(each["target"], each["result"]) for each in answer["results"]] == [
        (f"d{n}", "not_found") for n in range(150, 250)
    ]
    assert (answer["tally"]["stopped"], answer["tally"]["not_found"]) == (150, 300)
    assert answer == world.aws.events[-1] | {"results": answer["results"]}


def test_results_are_gathered_over_all_rounds_of_the_invocation() -> None:
    world = World(targets=3)
    world.batches.disturb = once({"d0": PASSING}, {"d0": PASSING}, {"d0": PASSING}, {"d0": PASSING})
    answer = world.call(stop("d0", "gone-1", "d1"))
    assert answer["results"] == [
        {
            "target": "gone-1",
            "result": "not_found",
            "error_code": "IOTDA.014219",
            "error_msg": "The target is not in the task",
        }
    ]
    assert (answer["attempt"], answer["tally"]["stopped"], answer["tally"]["not_found"]) == (2, 2, 1)
    assert world.statuses == ["in_progress", "failed"]


def test_the_largest_answer_fits_into_a_state_with_room_for_what_step_functions_adds() -> None:
    world = World()
    wide = "\N{FACE WITH TEARS OF JOY}"  # four bytes in UTF-8, as Lambda's runtime writes an answer
    words = Finding(Verdict.REFUSED, wide * 64, wide * 300, wide * 64)
    world.batches.disturb = always(words)
    targets = [f"{number:x>256}" for number in range(900)]
    answer = world.call(stop(*targets, requested_by="\x01" * 128, reason="\x01" * 512))
    assert len(answer["results"]) == 100
    assert len(json.dumps(answer, ensure_ascii=False).encode()) < STATE * 0.9


def test_a_passing_fault_is_waited_for_in_the_same_invocation_and_only_what_is_left_is_sent_again() -> None:
    world = World(targets=2)
    world.batches.disturb = once(*[{"d0": PASSING}] * 4)
    answer = world.call(stop("d0", "d1"))
    assert (answer["status"], answer["attempt"]) == ("succeeded", 2)
    assert [call.targets for call in world.batches.calls if isinstance(call, Stop)] == [("d0", "d1")] + [("d0",)] * 4
    assert world.clock.slept[-1] == 8, "the attempt's 5 seconds, and the 3 that Huawei asked for"
    assert world.statuses == world.telemetry.published == ["in_progress", "succeeded"]
    assert [event["results"][0]["target"] for event in world.aws.events] == ["d1", "d0"]


def test_when_time_is_nearly_up_the_remainder_is_handed_back_and_goes_on_from_there() -> None:
    world = World(targets=2, seconds=LEAST_ROUND + 2)
    world.batches.disturb = once(*[{"d0": PASSING}] * 4)
    answer = world.call(stop("d0", "d1", reason="why"))
    assert answer == {
        "status": "unfinished",
        "remainder": {
            "command": "stop_targets",
            "command_id": "c-1",
            "task_id": BATCH.task_id,
            "project_id": BATCH.project_id,
            "targets": ["d0"],
            "requested_at": at(0),
            "expires_at": at(3600),
            "reason": "why",
            "confirm": False,
            "attempt": 2,
            "tally": answer["remainder"]["tally"],
        },
    }
    assert world.statuses == ["in_progress"]
    assert (world.telemetry.remainders, world.telemetry.calls) == (1, 4)
    final = world.call(answer["remainder"])
    assert (final["status"], final["attempt"], final["tally"]["stopped"]) == ("succeeded", 2, 2)
    assert (world.telemetry.remainders, world.telemetry.calls) == (1, 5)
    assert world.aws.queues == {}


def test_no_round_is_begun_that_would_have_no_time_to_publish() -> None:
    world = World(targets=300, seconds=100)
    world.batches.disturb = lambda asked: {"d0": PASSING} if "d0" in _targets(asked) else {}
    answer = world.call(stop("d0", "d1"))
    assert answer["status"] == "unfinished"
    assert world.clock.seconds <= world.seconds
    # The pause before the next attempt would not have left enough.
    attempt = answer["remainder"]["attempt"]
    assert attempt > 2
    assert world.seconds - world.clock.seconds < 5 * 2 ** (attempt - 2) + LEAST_ROUND


def test_time_is_kept_to_publish_even_if_huawei_takes_all_it_is_given() -> None:
    world = World(targets=1, seconds=20)
    left: list[float] = []

    def take_all(deadline: Deadline) -> None:
        world.clock.seconds += deadline.remaining()
        left.append(world.seconds - world.clock.seconds)

    world.batches.delay = take_all
    assert world.call(stop("d0"))["status"] == "succeeded"
    assert left == [5.0]


def test_a_confirmed_stop_is_read_until_it_has_ended_and_sent_once() -> None:
    world = World(targets=2)
    stopping = {"d0": Finding(Verdict.STOPPING), "d1": Finding(Verdict.STOPPING)}
    world.batches.disturb = once({}, stopping, stopping)
    answer = world.call(stop("d0", "d1", confirm=True))
    assert (answer["status"], answer["confirmed"], answer["tally"]["stopped"]) == ("succeeded", True, 2)
    assert len(world.batches.calls) == 1
    assert len(world.batches.reads) == 3
    assert world.statuses == ["succeeded"]


def test_a_stop_that_never_ends_is_still_running_in_the_end_and_in_no_queue() -> None:
    world = World(seconds=3600, MAX_ATTEMPTS="3")
    world.checks.disturb = lambda asked: {CHECK.task_id: Finding(Verdict.RUNS)} if isinstance(asked, tuple) else {}
    answer = world.call({"command": "stop_task", "task_id": CHECK.task_id, "confirm": True})
    assert (answer["status"], answer["confirmed"]) == ("failed", False)
    assert answer["results"] == [{"target": CHECK.task_id, "result": "still_running"}]
    assert world.statuses == ["failed"]
    assert world.aws.queues == {}


def test_what_awaits_its_confirmation_is_handed_back_as_such_and_never_raised_for() -> None:
    world = World(targets=1, seconds=20)
    world.batches.disturb = lambda asked: {} if isinstance(asked, Stop) else {"d0": PASSING}
    answer = world.call(stop("d0", confirm=True))
    assert answer["status"] == "unfinished"
    assert answer["remainder"]["awaiting"] == ["d0"]
    again = world.call(answer["remainder"])
    assert again["remainder"]["attempt"] > answer["remainder"]["attempt"]
    assert len(world.batches.calls) == 1


def test_a_stop_that_was_taken_and_could_never_be_read_ends_as_failed_and_is_never_raised_for() -> None:
    world = World(targets=1, seconds=3600, MAX_ATTEMPTS="2")
    world.batches.disturb = lambda asked: {} if isinstance(asked, Stop) else {"d0": PASSING}
    answer = world.call(stop("d0", confirm=True))
    assert answer["status"] == "failed"
    assert [each["result"] for each in answer["results"]] == ["gave_up"]
    assert world.statuses == ["failed"]


def test_confirmation_can_be_this_deployments_default_and_stays_off_in_a_remainder_that_says_so() -> None:
    world = World(targets=1, CONFIRM_BY_DEFAULT="true")
    assert world.call(stop("d0"))["confirmed"] is True
    assert world.call(stop("d0", confirm=False))["confirmed"] is None


def test_huawei_is_unavailable_when_time_is_nearly_up_and_nothing_was_done() -> None:
    world = World(targets=2, seconds=40)
    world.batches.disturb = always(PASSING)
    with pytest.raises(HuaweiUnavailable, match=r"try again: APIGW\.0308$"):
        world.call(stop("d0", "d1"))
    assert world.aws.events == []
    world.batches.disturb = always(Finding(Verdict.UNFINISHED, error_msg="cut", was_answered=False))
    with pytest.raises(HuaweiUnavailable, match="try again: cut"):
        world.call(stop("d0", "d1"))
    world.batches.disturb = once()
    assert world.call(stop("d0", "d1"))["status"] == "succeeded"
    assert world.statuses == ["succeeded"]


def test_words_of_huawei_are_not_in_the_error_since_they_may_name_a_target() -> None:
    world = World(targets=1, seconds=20, ALLOW_STOP_ALL="true")
    world.batches.disturb = always(Finding(Verdict.UNFINISHED, error_msg="Device d-00017 is offline"))
    everything = {"command": "stop_targets", "task_id": BATCH.task_id, "all_targets": True}
    for command in (stop("d-00017"), everything):
        with pytest.raises(HuaweiUnavailable, match=r"try again: Huawei Cloud gave transient errors only$"):
            world.call(command)


def test_huawei_is_unavailable_when_it_never_gave_a_turn() -> None:
    world = World(targets=1, seconds=0)
    with pytest.raises(HuaweiUnavailable, match="try again"):
        world.call(stop("d0"))
    assert world.batches.calls == []


@pytest.mark.parametrize("first_attempt", [1, 2, 3, 4])
def test_huawei_is_unavailable_when_attempts_end_and_nothing_was_done(first_attempt: int) -> None:
    """An input that says it is at its last attempt, or past it, has one all the same, however often it comes."""
    world = World(targets=1, seconds=3600, MAX_ATTEMPTS="3")
    world.batches.disturb = always(PASSING)
    for _ in range(2):
        with pytest.raises(HuaweiUnavailable):
            world.call(stop("d0", attempt=first_attempt, expires_at=at(100_000)))
    assert world.aws.events == []
    world.batches.disturb = once()
    assert world.call(stop("d0", attempt=first_attempt, expires_at=at(100_000)))["status"] == "succeeded"


def test_a_remainder_that_gets_nowhere_counts_its_attempts_and_ends_as_failed() -> None:
    """A command of which events are on the bus must have a final one, so it is not left to the caller's patience."""
    world = World(targets=2, seconds=20, MAX_ATTEMPTS="4")
    world.batches.disturb = lambda asked: {"d0": PASSING} if "d0" in _targets(asked) else {}
    answer = world.call(stop("d0", "d1"))
    attempts = []
    while answer["status"] == "unfinished":
        attempts.append(answer["remainder"]["attempt"])
        answer = world.call(answer["remainder"])
    assert attempts == [2, 3, 4]
    assert answer["status"] == "failed"
    assert [(each["target"], each["result"]) for each in answer["results"]] == [("d0", "gave_up")]
    assert world.statuses == ["in_progress", "failed"]
    assert world.aws.queues == {}


def test_a_dry_run_stops_nothing_and_says_what_it_would_stop() -> None:
    world = World(targets=1)
    answer = world.call(stop("d0", "gone", dry_run=True))
    assert answer["status"] == "dry_run"
    assert [each["result"] for each in answer["results"]] == ["not_found", "would_stop"]
    assert world.batches.calls == []


def test_a_dry_run_that_could_read_nothing_is_huaweis_unavailability() -> None:
    world = World(targets=1, seconds=3600, MAX_ATTEMPTS="2")
    world.batches.disturb = always(PASSING)
    with pytest.raises(HuaweiUnavailable):
        world.call(stop("d0", dry_run=True))
    assert world.aws.events == []


def test_a_dry_run_that_could_read_something_tells_it() -> None:
    world = World(targets=2, seconds=3600, MAX_ATTEMPTS="2")
    world.batches.disturb = lambda asked: {"d0": PASSING} if "d0" in _targets(asked) else {}
    answer = world.call(stop("d0", "d1", dry_run=True))
    assert (answer["status"], answer["tally"]["would_stop"], answer["tally"]["gave_up"]) == ("dry_run", 1, 1)


# --- past `expires_at`

EVERYTHING = {"command": "stop_targets", "task_id": BATCH.task_id, "all_targets": True}
LONG_AGO = -LONGEST_CALL.total_seconds()
TRANSIENT = Finding(Verdict.UNFINISHED, "IOTDA.000001", "internal error")


def results(answer: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(each["target"], each["result"]) for each in answer["results"]]


def test_a_command_past_its_time_whose_targets_all_run_is_expired_and_never_sent() -> None:
    world = World(targets=2)
    answer = world.call(stop("d0", "d1", expires_at=at(LONG_AGO)))
    assert answer == world.aws.events[0]
    assert (answer["status"], answer["results"], answer["tally"]["gave_up"]) == ("expired", [], 0)
    assert world.batches.calls == []
    assert world.batches.reads == [(BATCH, ("d0", "d1"))]
    assert world.clock.slept == [], "nothing that was sent before may still be on its way"


def test_of_a_command_past_its_time_everything_is_told_as_it_is_read() -> None:
    """An earlier call may have stopped it, so it may not be called expired."""
    world = World(targets=3)
    world.batches.states[BATCH] |= {"d1": Verdict.STOPPED, "d2": Verdict.ENDED}
    answer = world.call(stop("d0", "d1", "d2", "gone", expires_at=at(LONG_AGO)))
    assert answer["status"] == "failed"
    assert results(answer) == [
        ("gone", "not_found"), ("d0", "gave_up"), ("d1", "already_ended"), ("d2", "already_ended"),
    ]  # fmt: skip
    assert world.batches.calls == []


@pytest.mark.parametrize("confirm", [True, False])
@pytest.mark.parametrize(
    "command", [stop("d0", "d1"), CHECK_COMMAND | {"command_id": "c-1"}, EVERYTHING], ids=["named", "check", "all"]
)
def test_what_was_stopped_and_could_not_be_published_is_never_called_expired(
    command: dict[str, Any], *, confirm: bool
) -> None:
    """The stop is taken, the bus is down, and Step Functions calls again with the same input past `expires_at`."""
    world = World(targets=2, ALLOW_STOP_ALL="true")
    command = command | {"expires_at": at(60), "confirm": confirm}
    world.aws.refuse = lambda _: "InternalFailure: lost"
    with pytest.raises(PublishingFailed):
        world.call(command)
    world.aws.refuse = lambda _: None
    world.clock.seconds = 61
    answer = world.call(command)
    assert (answer["status"], answer["confirmed"]) == ("succeeded", True if confirm else None)
    assert answer["tally"]["already_ended"] == answer["tally"]["stopped"] + len(answer["results"])
    assert len(world.batches.calls) + len(world.checks.calls) == 1


def test_what_was_stopped_and_of_which_no_answer_came_is_never_called_expired() -> None:
    world = World(targets=1, seconds=40)

    def lose(asked: Call | tuple[Task, tuple[str, ...]]) -> Mapping[str, Finding]:
        if isinstance(asked, Stop):
            world.batches.states[BATCH]["d0"] = Verdict.STOPPED
        return {"d0": Finding(Verdict.UNFINISHED, error_msg="read timed out", was_answered=False)}

    world.batches.disturb = lose
    command = stop("d0", expires_at=at(30))
    for _ in range(3):
        with pytest.raises(HuaweiUnavailable, match=r"read timed out|may not show yet"):
            world.call(command)
        world.clock.seconds += 20
    world.batches.disturb = once()
    answer = world.call(command)
    assert (answer["status"], results(answer)) == ("succeeded", [("d0", "already_ended")])
    assert world.statuses == ["succeeded"]


@pytest.mark.parametrize("seconds_late", [0, 1, 60, -LONG_AGO - 1])
def test_a_stop_that_may_be_on_its_way_is_waited_for_before_a_state_is_believed(seconds_late: float) -> None:
    """Stops are asynchronous, and one that was sent in time may be taken when Lambda ends the call that sent it."""
    world = World(targets=1)

    def show_late(asked: Call | tuple[Task, tuple[str, ...]]) -> Mapping[str, Finding]:
        assert isinstance(asked, tuple)
        return {"d0": Finding(Verdict.RUNS if world.clock.seconds < DOUBT else Verdict.STOPPED)}

    world.batches.disturb = show_late
    answer = world.call(stop("d0", expires_at=at(-seconds_late)))
    assert results(answer) == [("d0", "already_ended")]
    assert world.clock.slept == [DOUBT]


def test_without_the_time_to_wait_for_such_a_stop_nothing_is_said() -> None:
    world = World(targets=1, seconds=DOUBT + LEAST_READ - 1)
    with pytest.raises(HuaweiUnavailable, match="may not show yet"):
        world.call(stop("d0", expires_at=at(0)))
    remainder = {**stop("d0", expires_at=at(0)), "attempt": 2, "tally": {"stopped": 1}}
    answer = world.call(remainder)
    assert answer["status"] == "unfinished"
    assert {name: answer["remainder"][name] for name in ("targets", "attempt")} == {"targets": ["d0"], "attempt": 2}
    assert (world.batches.reads, world.aws.events, world.telemetry.remainders) == ([], [], 1)
    world.seconds += 1
    assert world.call(stop("d0", expires_at=at(0)))["status"] == "expired"
    assert world.call(answer["remainder"])["tally"]["gave_up"] == 1


def test_that_a_task_runs_as_a_whole_does_not_say_that_none_of_its_targets_was_stopped() -> None:
    world = World(targets=2, ALLOW_STOP_ALL="true")
    world.batches.states[BATCH]["d0"] = Verdict.STOPPED  # perhaps by an earlier call, whose events were lost
    answer = world.call(EVERYTHING | {"expires_at": at(LONG_AGO)})
    assert (answer["status"], results(answer)) == ("failed", [("*", "gave_up")])
    assert world.call(EVERYTHING | {"expires_at": at(LONG_AGO), "dry_run": True})["status"] == "expired"
    assert world.batches.calls == []


def test_a_dry_run_past_its_time_tells_what_has_ended() -> None:
    world = World(targets=2)
    dry = {"dry_run": True, "expires_at": at(-1)}
    assert world.call(stop("d0", "d1", **dry))["status"] == "expired"
    world.batches.states[BATCH]["d1"] = Verdict.ENDED
    answer = world.call(stop("d0", "d1", **dry))
    assert (answer["status"], results(answer)) == ("dry_run", [("d1", "already_ended"), ("d0", "would_stop")])
    assert world.clock.slept == [], "a dry run stops nothing that could show late"


@pytest.mark.parametrize(
    ("state", "result"), [(Verdict.STOPPING, "still_running"), (Verdict.STOPPED, "already_ended")], ids=str
)
def test_a_late_call_with_confirm_is_confirmed_only_by_an_end(state: Verdict, result: str) -> None:
    world = World(targets=1)
    world.batches.states[BATCH]["d0"] = state
    answer = world.call(stop("d0", confirm=True, expires_at=at(LONG_AGO)))
    assert (results(answer), answer["confirmed"]) == ([("d0", result)], state is Verdict.STOPPED)


def test_while_nothing_can_be_read_the_caller_is_to_try_again_for_an_hour_and_then_it_is_given_up() -> None:
    world = World(targets=2)
    world.batches.disturb = always(TRANSIENT)
    late = READ_FOR.total_seconds()
    for seconds in (LONG_AGO, -late + 60):
        with pytest.raises(HuaweiUnavailable, match=r"IOTDA\.000001$"):
            world.call(stop("d0", "d1", expires_at=at(seconds)))
    assert world.aws.events == []
    answer = world.call(stop("d0", "d1", expires_at=at(-late)))
    assert (answer["status"], results(answer)) == ("failed", [("d0", "gave_up"), ("d1", "gave_up")])
    assert answer == world.aws.events[0]
    assert world.batches.calls == []


def test_what_runs_beside_what_cannot_be_read_is_not_called_expired() -> None:
    world = World(targets=2)
    world.batches.disturb = lambda _: {"d1": TRANSIENT}
    with pytest.raises(HuaweiUnavailable):
        world.call(stop("d0", "d1", expires_at=at(LONG_AGO)))
    assert world.aws.events == []


def test_a_late_call_that_could_read_something_tells_it_at_once() -> None:
    world = World(targets=2)
    world.batches.states[BATCH]["d0"] = Verdict.STOPPED
    world.batches.disturb = lambda _: {"d1": TRANSIENT}
    answer = world.call(stop("d0", "d1", expires_at=at(LONG_AGO)))
    assert (answer["status"], results(answer)) == ("failed", [("d1", "gave_up"), ("d0", "already_ended")])


def test_a_read_that_is_refused_will_be_refused_again() -> None:
    world = World(targets=1)
    world.batches.disturb = always(Finding(Verdict.REFUSED, "IOTDA.000004", "no"))
    answer = world.call(stop("d0", expires_at=at(LONG_AGO)))
    assert (answer["status"], results(answer)) == ("failed", [("d0", "gave_up")])


def test_a_late_call_for_which_there_was_no_time_to_ask_is_to_be_tried_again() -> None:
    world = World(targets=1, seconds=0)
    with pytest.raises(HuaweiUnavailable):
        world.call(stop("d0", expires_at=at(LONG_AGO)))
    assert world.aws.events == []


@pytest.mark.parametrize("error", [DeploymentFault("the key was refused"), ZeroDivisionError("ours")], ids=repr)
def test_a_late_call_that_cannot_read_for_no_fault_of_huaweis_says_nothing(error: Exception) -> None:
    world = World(targets=1)
    world.batches.disturb = lambda _: _raise(error)
    with pytest.raises(type(error)):
        world.call(stop("d0", expires_at=at(LONG_AGO)))
    assert world.aws.events == []
    assert world.telemetry.told == [error]


@pytest.mark.parametrize(
    ("state", "status", "result"),
    [(Verdict.RUNS, "failed", "gave_up"), (Verdict.STOPPED, "succeeded", "already_ended")],
)
def test_a_remainder_past_its_time_is_read_and_keeps_its_tally(state: Verdict, status: str, result: str) -> None:
    world = World(targets=1)
    world.batches.states[BATCH]["d0"] = state
    answer = world.call(stop("d0", expires_at=at(LONG_AGO), attempt=2, tally={"stopped": 1}))
    assert (answer["status"], results(answer), answer["tally"]["stopped"]) == (status, [("d0", result)], 1)
    assert world.batches.calls == []
    assert world.aws.queues == {}


def test_a_remainder_past_its_time_that_cannot_be_read_has_something_to_show_and_is_given_up() -> None:
    world = World(targets=1)
    world.batches.disturb = always(TRANSIENT)
    answer = world.call(stop("d0", expires_at=at(LONG_AGO), attempt=2, tally={"stopped": 1}))
    assert (answer["status"], answer["tally"]["stopped"], answer["tally"]["gave_up"]) == ("failed", 1, 1)


def test_what_is_awaited_past_its_time_is_confirmed_by_the_state() -> None:
    world = World(targets=2)
    world.batches.states[BATCH]["d0"] = Verdict.STOPPED
    awaited = stop("d0", confirm=True, expires_at=at(LONG_AGO), attempt=2, awaiting=["d0"])
    answer = world.call(awaited)
    assert (answer["status"], answer["confirmed"], answer["tally"]["stopped"]) == ("succeeded", True, 1)
    answer = world.call(awaited | {"targets": ["d1"], "awaiting": ["d1"]})
    assert (answer["status"], answer["confirmed"], results(answer)) == ("failed", False, [("d1", "still_running")])


def test_a_command_that_expires_between_two_rounds_is_read_and_never_sent_again() -> None:
    world = World(targets=1)

    def lose(asked: Call | tuple[Task, tuple[str, ...]]) -> Mapping[str, Finding]:
        if world.clock.seconds > 10:
            return {}
        if isinstance(asked, Stop):
            world.batches.states[BATCH]["d0"] = Verdict.STOPPED
        return {"d0": Finding(Verdict.UNFINISHED, error_msg="cut")}

    world.batches.disturb = lose
    answer = world.call(stop("d0", expires_at=at(10)))
    assert (answer["status"], results(answer)) == ("succeeded", [("d0", "already_ended")])
    assert world.clock.slept[-1] == DOUBT, "waited for what may not be sent"


def test_a_command_that_expires_while_huawei_fails_and_whose_target_runs_is_given_up() -> None:
    world = World(targets=1)
    world.batches.disturb = lambda asked: {"d0": TRANSIENT} if isinstance(asked, Stop) else {}
    answer = world.call(stop("d0", expires_at=at(10)))
    assert (answer["status"], results(answer)) == ("failed", [("d0", "gave_up")])
    assert world.statuses == ["failed"]


def carried_out(world: World, event: Any) -> tuple[dict[str, Any], float]:
    """Call again as a state machine does until there is an outcome; return it, and how many seconds it took."""
    while True:
        try:
            answer = world.call(event)
        except HuaweiUnavailable:
            world.clock.seconds += 60
            continue
        if answer["status"] != "unfinished":
            return answer, world.clock.seconds
        event = answer["remainder"]
        world.clock.seconds += 30


@pytest.mark.parametrize("invocation", [300.0, 900.0])
def test_a_command_is_not_over_before_it_expires(invocation: float) -> None:
    """Huawei asks for a pause that reaches past the expiry."""
    world = World(targets=1, seconds=invocation)
    busy = Finding(Verdict.UNFINISHED, "IOTDA.000004", "busy", retry_after=900.0)
    world.batches.disturb = lambda _: {"d0": busy} if world.clock.seconds < 600 else {}
    answer, seconds = carried_out(world, stop("d0", expires_at=at(600)))
    assert (answer["status"], seconds >= 600) == ("failed", True)
    world = World(targets=1, seconds=invocation)
    world.batches.disturb = once({"d0": busy})
    answer, seconds = carried_out(world, stop("d0", expires_at=at(1200)))
    assert (answer["status"], seconds < 1200) == ("succeeded", True)


@pytest.mark.parametrize(
    # With 300 seconds an invocation, the attempts are used up before.
    ("invocation", "shows_after"),
    [(300.0, 60), (300.0, 200), (900.0, 60), (900.0, 200), (900.0, 400), (900.0, 550)],
)
def test_what_is_awaited_is_read_until_the_command_expires(invocation: float, shows_after: float) -> None:
    world = World(targets=1, seconds=invocation)

    def still_runs(asked: Call | tuple[Task, tuple[str, ...]]) -> Mapping[str, Finding]:
        is_hidden = isinstance(asked, tuple) and world.clock.seconds < shows_after
        return {"d0": Finding(Verdict.RUNS)} if is_hidden else {}

    world.batches.disturb = still_runs
    answer, _ = carried_out(world, stop("d0", confirm=True, expires_at=at(600)))
    assert (answer["status"], answer["tally"]["stopped"]) == ("succeeded", 1)


@pytest.mark.parametrize("name", ["e495cf17-d7fe-44f2", "tally.d1", "17"])
def test_the_text_of_a_rejection_holds_no_name_that_may_be_a_target(name: str) -> None:
    world = World()
    with pytest.raises(CommandRejected) as raised:
        world.call(stop("d0", **{name: True}))
    assert name not in str(raised.value)
    assert name.rpartition(".")[2] in json.dumps(world.aws.events)


def test_a_command_that_expires_before_it_had_a_turn_is_expired() -> None:
    world = World(targets=1)
    throttled = world.batch_pace.begin(world.clock.deadline())
    assert throttled is not None
    world.batch_pace.end(throttled, world.clock.deadline(), throttled=True, retry_after=4.0)
    answer = world.call(stop("d0", expires_at=at(3)))
    assert (answer["status"], world.statuses) == ("expired", ["expired"])
    assert world.batches.calls == []


# --- what cannot be counted on, or handed back


@pytest.mark.parametrize("more", [{}, {"dry_run": True}, {"confirm": True}], ids=str)
@pytest.mark.parametrize("tally", [{"stopped": 999_999}, {"stopped": 500_000, "gave_up": 499_999}, {"refused": 10**6}])
def test_a_tally_that_leaves_no_room_to_count_is_rejected_before_anything_is_sent(
    tally: dict[str, int], more: dict[str, bool]
) -> None:
    world = World(targets=2)
    with pytest.raises(CommandRejected, match="tally: leaves no room to count the targets asked for"):
        world.call(stop("d0", "d1", tally=tally, **more))
    assert (world.batches.calls, world.batches.reads) == ([], [])
    assert world.statuses == ["rejected"]


def test_the_largest_tally_that_is_taken_can_be_counted_on() -> None:
    world = World(targets=2)
    answer = world.call(stop("d0", "d1", tally={"stopped": 999_998}))
    assert (answer["status"], answer["tally"]["stopped"]) == ("succeeded", 1_000_000)
    with pytest.raises(CommandRejected, match="tally"):
        world.call({"command": "stop_task", "task_id": CHECK.task_id, "tally": {"stopped": 10**6}})
    everything = {"command": "stop_targets", "task_id": BATCH.task_id, "all_targets": True}
    with pytest.raises(CommandRejected, match="tally"):
        World(ALLOW_STOP_ALL="true").call(everything | {"tally": {"stopped": 900_001}})


def state_of(count: int, **more: Any) -> dict[str, Any]:
    return stop(*(f"{number:036}" for number in range(count)), requested_by="\x01" * 128, reason="\u00e9" * 512, **more)


def fits(world: World, event: dict[str, Any]) -> bool:
    try:
        world.call(event)
    except CommandRejected as rejected:
        assert "does not fit into an answer of" in str(rejected)  # noqa: PT017 - one of two ends
        assert world.batches.calls == []
        return False
    return True


@pytest.mark.parametrize("confirm", [True, False])
def test_what_is_taken_from_a_state_machine_fits_into_a_state_when_it_is_handed_back(*, confirm: bool) -> None:
    """Of the largest command that is taken, as much is left as can be: all but one, or all and nearly all twice."""
    low, high = 1, 6_550
    assert len(json.dumps(state_of(high), separators=(",", ":")).encode()) <= STATE
    assert not fits(World(), state_of(high, confirm=confirm))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(World(), state_of(middle, confirm=confirm)) else (low, middle)
    assert low > (3_000 if confirm else 6_000)
    world = World(seconds=20)
    first = f"{0:036}"
    taken = Finding(Verdict.TAKEN)
    one, others = (PASSING, taken) if confirm else (taken, PASSING)
    world.batches.disturb = lambda asked: {each: one if each == first else others for each in _targets(asked)}
    answer = world.call(state_of(low, confirm=confirm))
    assert answer["status"] == "unfinished"
    left = answer["remainder"]
    assert (len(left["targets"]), len(left.get("awaiting", ()))) == ((low, low - 1) if confirm else (low - 1, 0))
    assert len(json.dumps(answer, ensure_ascii=False).encode()) <= STATE - 2_048, (
        "with room for what Step Functions adds"
    )


def test_what_is_larger_than_a_state_came_by_a_direct_call_and_may_be_as_large_as_its_answer() -> None:
    assert len(json.dumps(state_of(7_000)).encode()) > STATE
    assert fits(World(), state_of(7_000, confirm=True))
    assert not fits(World(), state_of(100_000, confirm=True))


def test_a_dry_run_never_has_anything_to_confirm() -> None:
    assert not fits(World(), state_of(5_000, confirm=True))
    assert fits(World(), state_of(5_000, confirm=True, dry_run=True))


def test_what_is_no_command_is_rejected_on_the_bus_and_never_to_be_tried_again() -> None:
    world = World()
    event = stop(command_id="c-9", extra=1)
    with pytest.raises(CommandRejected, match=r"targets: .*\*\*\*: ") as raised:
        world.call(event)
    assert len(str(raised.value)) <= LONGEST_REASON
    (outcome,) = world.aws.events
    assert (outcome["status"], outcome["command_id"]) == ("rejected", "c-9")
    assert [each["loc"] for each in outcome["errors"]] == ["targets", "extra"]
    assert world.batches.calls == []
    with pytest.raises(CommandRejected):
        world.call(dict(reversed(event.items())))
    assert world.aws.events[1]["outcome_id"] == outcome["outcome_id"], "the same input is the same outcome"


@pytest.mark.parametrize(
    "event", [None, [], "stop", 1, {}, {"Records": []}, {"detail-type": "a", "source": "b", "detail": CHECK_COMMAND}]
)
def test_whatever_else_is_called_with_is_rejected_under_a_new_name(event: object) -> None:
    world = World()
    with pytest.raises(CommandRejected):
        world.call(event)
    assert [(each["status"], each["command_id"]) for each in world.aws.events] == [("rejected", "new-1")]


def test_the_text_of_a_rejection_is_short_however_much_is_wrong() -> None:
    world = World()
    with pytest.raises(CommandRejected) as raised:
        world.call({"command": "stop_task"} | {f"{number:x>100}": 1 for number in range(500)})
    assert LONGEST_REASON / 2 < len(str(raised.value)) <= LONGEST_REASON


def test_stop_all_is_rejected_unless_this_deployment_lets_it_through() -> None:
    everything = {"command": "stop_targets", "task_id": BATCH.task_id, "all_targets": True}
    guarded = World(targets=2)
    with pytest.raises(CommandRejected, match="all_targets: ALLOW_STOP_ALL is not true"):
        guarded.call(everything)
    assert guarded.statuses == ["rejected"]
    assert guarded.batches.calls == []

    open_world = World(targets=2, ALLOW_STOP_ALL="true")
    assert open_world.call(everything)["tally"]["stopped"] == 3
    assert [type(call) for call in open_world.batches.calls] == [StopAll]


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (
            {"version": "0", "id": "e-1", "detail-type": "Stop", "source": "my.app", "detail": CHECK_COMMAND},
            "this looks like an EventBridge event: pass its detail",
        ),
        (
            {"Records": [{"eventSource": "aws:sqs", "body": json.dumps(CHECK_COMMAND)}]},
            "this looks like an SQS event: pass the body of a record, as an object",
        ),
        (
            {"Records": [{"EventSource": "aws:sns", "Sns": {"Message": json.dumps(CHECK_COMMAND)}}]},
            "this looks like an SNS event: pass the Message of a record, as an object",
        ),
        (
            {"Type": "Notification", "TopicArn": "t", "Message": json.dumps(CHECK_COMMAND)},
            "this looks like an SNS notification: pass its Message, as an object",
        ),
    ],
)
def test_an_event_that_only_holds_a_command_is_rejected_with_what_to_pass(event: dict[str, Any], said: str) -> None:
    text = f"command: is missing; should be stop_task or stop_targets; {said}"
    world = World()
    with pytest.raises(CommandRejected, match=f"^{re.escape(text)}$"):
        world.call(event)
    assert world.aws.events[0]["errors"] == [{"loc": "command", "msg": text.removeprefix("command: ")}]


@pytest.mark.parametrize("records", [[], [1], {}, "aws:sqs", [{}], [{"eventSource": "aws:s3"}], None])
def test_the_records_of_another_service_are_no_known_event(records: object) -> None:
    with pytest.raises(CommandRejected, match=r"^command: is missing; should be stop_task or stop_targets$"):
        World().call({"Records": records})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"targets": None, "all_targets": True}, "all_targets: ALLOW_STOP_ALL is not true in this deployment"),
        (
            {"requested_at": at(301)},
            f"requested_at: {at(301)} is more than 5 minutes after the command was sent, {at(0)}",
        ),
        (
            {"targets": [f"{number:036}" for number in range(5_000)], "confirm": True},
            "targets: what may be left of so many does not fit into an answer of 262144 bytes; name fewer, or use ",
        ),
        ({"task_id": "c35c83cb-27f3", "targets": ["5f1ac5c3e4b0"]}, "task_id: is not allowed: allowed are 1 to 24 of "),
        ({"all_targets": "device-77"}, "all_targets: should be true or false"),
        ({"attempt": 10**7}, "attempt: 10000000 should be at most 1000000"),
    ],
)
def test_a_rejection_says_in_our_words_what_is_wrong_and_shows_no_text_of_the_sender(
    change: dict[str, Any], said: str
) -> None:
    """The texts for people hold all words that we would say, and are not taken for targets."""
    world = World(targets=1)
    words = {
        "requested_by": "5 minutes after it was sent",
        "reason": f"{said}: what is not true may be left",
    }
    event = stop("d0", **words) | change
    if event["targets"] is None:
        del event["targets"]
    with pytest.raises(CommandRejected) as raised:
        world.call(event)
    assert str(raised.value).startswith(said)
    assert not [word for word in ("device-77", "c35c83cb") if word in str(raised.value)]
    assert world.batches.calls == []


def test_what_is_only_awaited_is_read_whatever_the_deployment_lets_through_by_now() -> None:
    everything = {"command": "stop_targets", "task_id": BATCH.task_id, "all_targets": True, "confirm": True}
    allowed = World(targets=2, seconds=20, ALLOW_STOP_ALL="true")
    allowed.batches.disturb = lambda asked: {} if isinstance(asked, StopAll) else {"*": Finding(Verdict.STOPPING)}
    remainder = allowed.call(everything)["remainder"]
    assert remainder["awaiting"] == ["*"]
    guarded = World()
    answer = guarded.call(remainder)
    assert (answer["status"], answer["confirmed"]) == ("succeeded", True)
    assert guarded.batches.calls == []


def test_a_remainder_that_is_rejected_keeps_its_tally() -> None:
    world = World()
    everything = {"command": "stop_targets", "task_id": BATCH.task_id, "all_targets": True}
    for wrong in (everything, stop("d0", surplus=1)):
        with pytest.raises(CommandRejected):
            world.call(wrong | {"attempt": 2, "tally": {"stopped": 4}})
    assert [(event["status"], event["tally"]["stopped"]) for event in world.aws.events] == [("rejected", 4)] * 2


def test_what_was_begun_is_never_refused_for_its_size() -> None:
    """A list larger than a state came by a direct call, though what is left of it may be smaller."""
    world = World(seconds=20)
    world.batches.disturb = lambda asked: dict.fromkeys(
        _targets(asked), Finding(Verdict.TAKEN if isinstance(asked, Stop) else Verdict.UNFINISHED)
    )
    whole = state_of(7_000, confirm=True)
    remainder = world.call(whole)["remainder"]
    assert remainder["awaiting"] == ["*"]
    half = remainder | {"targets": remainder["targets"][:3_500], "tally": {"stopped": 3_500}}
    assert len(json.dumps(half).encode()) < STATE
    assert world.call(half)["status"] == "unfinished"
    assert not fits(World(), state_of(3_500, confirm=True)), "a new one would be"


@pytest.mark.parametrize("requested_at", [at(301), at(4 * 3600), "2030-01-01T00:00:00.000Z"])
def test_a_command_of_the_future_is_rejected_with_both_times(requested_at: str) -> None:
    world = World(targets=1)
    with pytest.raises(CommandRejected, match=f"requested_at: {requested_at}.*{at(0)}"):
        world.call(stop("d0", requested_at=requested_at))
    assert world.statuses == ["rejected"]
    assert world.batches.calls == []
    assert world.call(stop("d0", requested_at=at(300)))["status"] == "succeeded"


@pytest.mark.parametrize(
    ("before", "after"), [(None, "instance-1"), ("instance-1", None), ("instance-1", "instance-2")]
)
def test_a_remainder_stays_where_its_command_was_carried_out(before: str | None, after: str | None) -> None:
    first = World(seconds=20, IOTDA_INSTANCE_ID=before or "")
    first.batches.disturb = lambda asked: dict.fromkeys(
        _targets(asked), Finding(Verdict.TAKEN if isinstance(asked, Stop) else Verdict.UNFINISHED)
    )
    remainder = first.call(stop("d0", confirm=True))["remainder"]
    second = World(IOTDA_INSTANCE_ID=after or "")
    second.batches.disturb = lambda _: {"d0": Finding(Verdict.STOPPED)}
    assert second.call(remainder)["confirmed"] is True
    assert [task for task, _ in second.batches.reads] == [BatchTask("project-1", before, BATCH.task_id)]


def test_a_fault_of_the_deployment_is_raised_once_what_was_found_out_is_on_the_bus() -> None:
    world = World(targets=150)
    fault = DeploymentFault("the key was refused")
    world.batches.disturb = lambda asked: _raise(fault) if "d100" in _targets(asked) else {}
    with pytest.raises(DeploymentFault, match="refused"):
        world.call(stop(*(f"d{n}" for n in range(150))))
    assert [(event["status"], event["tally"]["stopped"]) for event in world.aws.events] == [("in_progress", 100)]
    assert world.telemetry.told == [fault]


def test_a_fault_in_a_later_look_ends_the_invocation_too() -> None:
    """A no that could not be looked at again is unfinished; but there is no sense in a next round."""
    world = World(targets=1)
    fault = DeploymentFault("the key was refused")
    answers: list[Mapping[str, Finding] | None] = [
        {"d0": Finding(Verdict.UNCLEAR, "IOTDA.999999", "no")},
        {"d0": Finding(Verdict.RUNS)},
        None,
    ]
    world.batches.disturb = lambda _: answers.pop(0) or _raise(fault)
    with pytest.raises(DeploymentFault):
        world.call(stop("d0"))
    assert answers == []


def test_an_error_of_our_own_is_logged_and_raised_once_what_was_found_out_is_on_the_bus() -> None:
    world = World(targets=150)
    error = ZeroDivisionError("ours")
    world.batches.disturb = lambda asked: _raise(error) if "d100" in _targets(asked) else {}
    with pytest.raises(ZeroDivisionError):
        world.call(stop(*(f"d{n}" for n in range(150))))
    assert world.statuses == ["in_progress"]
    assert world.telemetry.told == [error]


def test_each_call_that_raises_leaves_one_line_by_its_command_and_one_that_answers_leaves_none() -> None:
    world = World(targets=1, seconds=20)
    raised: list[type[Exception]] = []

    def call(event: Any) -> None:
        with pytest.raises(Exception, match=r".") as caught:
            world.call(event)
        raised.append(caught.type)

    call(stop(command_id="c-2"))
    call({"command": "stop_task"})
    world.batches.disturb = always(PASSING)
    call(stop("d0", command_id="c-3"))
    world.batches.disturb = lambda _: _raise(DeploymentFault("the key was refused"))
    call(stop("d0", command_id="c-4"))
    world.batches.disturb = lambda _: _raise(ZeroDivisionError("ours"))
    call(stop("d0", command_id="c-5"))
    world.batches.disturb = once()
    world.aws.refuse = lambda _: "InternalFailure: lost"
    call(stop("d0", command_id="c-6"))
    call(stop(command_id="c-7"))
    assert [each.__name__ for each in raised] == [
        "CommandRejected", "CommandRejected", "HuaweiUnavailable", "DeploymentFault", "ZeroDivisionError",
        "PublishingFailed", "PublishingFailed",
    ]  # fmt: skip
    names = ["c-2", "new-2", "c-3", "c-4", "c-5", "c-6", "c-7"]
    assert world.telemetry.not_done == list(zip(names, raised, strict=True))
    world.aws.refuse = lambda _: None
    assert world.call(stop("d0"))["status"] == "succeeded"
    assert len(world.telemetry.not_done) == len(names)


def _raise(error: Exception) -> Mapping[str, Finding]:
    raise error


@pytest.mark.parametrize(
    "event", [stop("d0"), stop("d0", expires_at="2020-01-01T00:00:00Z"), stop()], ids=["done", "expired", "rejected"]
)
def test_nothing_is_answered_as_done_that_is_not_on_the_bus(event: dict[str, Any]) -> None:
    world = World(targets=1)
    world.aws.refuse = lambda _: "InternalFailure: lost"
    with pytest.raises(PublishingFailed, match="InternalFailure: lost"):
        world.call(event)
    assert world.telemetry.published == []
    world.aws.error = AwsRefused(
        service="EventBridge", operation="PutEvents", code="AccessDenied", message="no", mend="the role"
    )
    with pytest.raises(DeploymentFault, match="OUTCOME_BUS_NAME"):
        world.call(event)
    assert [type(each) for each in world.telemetry.told] == [DeploymentFault]


def test_a_call_again_after_lost_events_repeats_them_by_the_same_names() -> None:
    world = World(targets=250)
    targets = [f"d{n}" for n in range(250)]
    lost: list[str] = []

    def lose_the_second(event: BusEvent | Message) -> str | None:
        assert isinstance(event, BusEvent)
        if lost or '"tally":{"stopped":200' not in event.detail:
            return None
        lost.append(json.loads(event.detail)["outcome_id"])
        return "InternalFailure: lost"

    world.aws.refuse = lose_the_second
    with pytest.raises(PublishingFailed):
        world.call(stop(*targets))
    assert world.statuses == ["in_progress"], "and no final event without the lost one"
    (first,) = (event["outcome_id"] for event in world.aws.events)
    answer = world.call(stop(*targets))
    assert (answer["status"], answer["tally"]["already_ended"]) == ("succeeded", 250)
    again = [event["outcome_id"] for event in world.aws.events[1:]]
    assert again == [first, *lost, answer["outcome_id"]]


def test_each_service_has_its_own_pace() -> None:
    world = World(targets=1)
    world.checks.disturb = always(Finding(Verdict.UNFINISHED, "APIGW.0308", "throttled", throttled=True))
    with pytest.raises(HuaweiUnavailable):
        world.call({"command": "stop_task", "task_id": CHECK.task_id, "expires_at": at(100_000)})
    before = world.clock.seconds
    assert world.call(stop("d0"))["status"] == "succeeded"
    assert world.clock.seconds == before


def test_a_check_whose_stop_is_in_doubt_is_read_before_a_retry_with_the_same_input_stops_it() -> None:
    """The stop was taken, its answer and all reads are lost; the caller calls again, as it is told to."""
    world = World()
    in_doubt, unread = Finding(Verdict.IN_DOUBT, error_msg="read timed out"), Finding(Verdict.UNFINISHED)
    world.checks.disturb = lambda asked: {CHECK.task_id: unread if isinstance(asked, tuple) else in_doubt}
    world.checks.states[CHECK][CHECK.task_id] = Verdict.RUNS
    with pytest.raises(HuaweiUnavailable):
        world.call(CHECK_COMMAND)
    stops = len(world.checks.calls)
    world.checks.disturb = lambda _: {}
    world.checks.states[CHECK][CHECK.task_id] = Verdict.STOPPED
    assert world.call(CHECK_COMMAND)["tally"]["already_ended"] == 1
    assert len(world.checks.calls) == stops

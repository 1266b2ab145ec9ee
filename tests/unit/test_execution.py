"""Calls → findings: how often, how wide, how long, and what a fault leaves of it."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import DeploymentFault, ForeignAnswer
from shared.execution import execute
from shared.findings import Finding, Findings, Reading, Trust, Verdict
from shared.pace import Pace
from shared.patience import FIRST_WAIT, TRIES
from shared.planning import BatchTask, CheckTask, Plan, Stop, StopAll
from tests.fakes import BATCH, CHECK, NOW, Clock, FakeHuawei, stop_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from shared.deadline import Deadline
    from shared.pace import Turn
    from shared.planning import Call, Task

    type Asked = Call | tuple[Task, tuple[str, ...]]

V = Verdict
LATER = NOW + timedelta(hours=1)
PASSING = Finding(V.UNFINISHED, "IOTDA.000001", "busy")
UNCLEAR = Finding(V.UNCLEAR)


class Huawei(FakeHuawei):
    """Also keeps when it was asked and how many at once; `before` runs in each call, outside of any lock."""

    def __init__(self, targets: int = 10, clock: Clock | None = None) -> None:
        super().__init__({BATCH: {f"d{n}": V.RUNS for n in range(targets)}, CHECK: {CHECK.task_id: V.RUNS}})
        self.clock = clock or Clock()
        self.before: Callable[[Asked], None] = lambda _: None
        self.times: list[float] = []
        self.at_once = 0
        self.most_at_once = 0
        self._counting = threading.Lock()

    def stop(self, call: Call, deadline: Deadline) -> dict[str, Finding]:
        self._count(+1)
        try:
            self.before(call)
            return super().stop(call, deadline)
        finally:
            self._count(-1)

    def read(self, task: Task, targets: tuple[str, ...], deadline: Deadline) -> Reading:
        self._count(+1)
        try:
            self.before((task, targets))
            return super().read(task, targets, deadline)
        finally:
            self._count(-1)

    def _count(self, change: int) -> None:
        with self._counting:
            self.times += [self.clock.seconds] if change > 0 else []
            self.at_once += change
            self.most_at_once = max(self.most_at_once, self.at_once)

    def answer(self, *script: Mapping[str, Finding]) -> None:
        """Disturb the first stops, one mapping each; later ones are answered by the table."""
        left = list(script)
        self.disturb = lambda asked: left.pop(0) if left and not isinstance(asked, tuple) else {}


def run(
    huawei: Huawei,
    *calls: Call,
    reads: dict[Task, tuple[str, ...]] | None = None,
    most: int = 1,
    seconds: float = 60.0,
    uniform: Callable[[float, float], float] = lambda _, longest: longest,
) -> Findings:
    clock = huawei.clock
    return execute(
        Plan(calls, reads or {}),
        service=huawei,
        pace=clock.pace(most),
        deadline=clock.deadline(seconds),
        patience=clock.patience(uniform),
    )


def stop(*targets: str, expires_in: float = 3600.0, task: Task = BATCH) -> Stop:
    return stop_of(task, targets, expires_at=NOW + timedelta(seconds=expires_in))


def verdicts(findings: Mapping[str, Finding]) -> dict[str, Verdict]:
    return {target: finding.verdict for target, finding in findings.items()}


# --- tries and pauses


def test_only_what_is_unfinished_is_sent_again() -> None:
    huawei = Huawei()
    huawei.answer({"d1": PASSING, "d2": PASSING}, {"d2": PASSING})
    found = run(huawei, stop("d0", "d1", "d2"))
    assert [call.targets for call in huawei.calls if isinstance(call, Stop)] == [
        ("d0", "d1", "d2"),
        ("d1", "d2"),
        ("d2",),
    ]
    assert verdicts(found.named[BATCH]) == dict.fromkeys(("d0", "d1", "d2"), V.TAKEN)


@pytest.mark.parametrize(("share", "factor"), [("longest", 1.0), ("half", 0.5), ("none", 0.0)])
def test_pauses_are_of_full_jitter_each_twice_as_long_and_tries_are_bounded(share: str, factor: float) -> None:
    huawei = Huawei()
    huawei.disturb = lambda _: {"d0": PASSING}
    spans: list[tuple[float, float]] = []

    def uniform(shortest: float, longest: float) -> float:
        spans.append((shortest, longest))
        return factor * longest

    found = run(huawei, stop("d0"), uniform=uniform)
    assert len(huawei.calls) == TRIES == 4, share
    assert spans == [(0.0, FIRST_WAIT), (0.0, 2 * FIRST_WAIT), (0.0, 4 * FIRST_WAIT)]
    assert huawei.clock.slept == [factor * longest for _, longest in spans]
    assert found.named[BATCH] == {"d0": PASSING}


def test_a_pause_is_at_least_as_long_as_huawei_asked_for() -> None:
    huawei = Huawei()
    huawei.answer({"d0": Finding(V.UNFINISHED, retry_after=3.0), "d1": Finding(V.UNFINISHED, retry_after=5.0)})
    run(huawei, stop("d0", "d1"), uniform=lambda _, longest: longest / 2)
    assert huawei.clock.slept == [5.0 + FIRST_WAIT / 2]


@pytest.mark.parametrize("retry_after", [59.9, 60.0, 3600.0, float("inf")])
def test_a_pause_that_would_end_after_the_deadline_is_not_begun(retry_after: float) -> None:
    huawei = Huawei()
    passing = Finding(V.UNFINISHED, retry_after=retry_after)
    huawei.disturb = lambda _: {"d0": passing}
    found = run(huawei, stop("d0"), seconds=60.0)
    assert (len(huawei.calls), huawei.clock.slept) == (1, [])
    assert found.named[BATCH] == {"d0": passing}


@given(
    waits=st.lists(st.none() | st.floats(0, 100), min_size=1, max_size=6),
    seconds=st.floats(0, 100),
    jitter=st.floats(0, 1),
    throttled=st.booleans(),
)
def test_nothing_is_sent_after_the_deadline(
    *, waits: list[float | None], seconds: float, jitter: float, throttled: bool
) -> None:
    huawei = Huawei()
    script = iter(waits * TRIES)
    huawei.disturb = lambda _: {"d0": Finding(V.UNFINISHED, retry_after=next(script), throttled=throttled)}
    found = run(huawei, stop("d0"), stop("d0"), seconds=seconds, uniform=lambda _, longest: jitter * longest)
    assert all(time < seconds or time == 0 for time in huawei.times)
    assert huawei.clock.seconds <= seconds
    assert len(huawei.calls) <= 2 * TRIES
    assert verdicts(found.named[BATCH]) == {"d0": V.UNFINISHED}


def test_a_call_is_never_sent_once_it_has_expired() -> None:
    huawei = Huawei()
    found = run(huawei, stop("d0", expires_in=0), stop("d1"))
    assert [call.targets for call in huawei.calls if isinstance(call, Stop)] == [("d1",)]
    assert found.named[BATCH]["d0"].verdict is V.UNFINISHED
    assert "expired" in str(found.named[BATCH]["d0"].error_msg)
    assert huawei.clock.slept == []


def test_a_call_that_expires_between_two_tries_is_not_sent_again_or_waited_for() -> None:
    huawei = Huawei()
    huawei.disturb = lambda _: {"d0": PASSING}
    found = run(huawei, stop("d0", "d1", expires_in=FIRST_WAIT))
    assert [call.targets for call in huawei.calls if isinstance(call, Stop)] == [("d0", "d1")]
    assert verdicts(found.named[BATCH]) == {"d0": V.UNFINISHED, "d1": V.TAKEN}
    assert huawei.clock.slept == [FIRST_WAIT]


def test_what_expires_while_it_waits_for_its_turn_is_dropped_and_the_rest_of_its_call_is_sent() -> None:
    huawei = Huawei()
    huawei.answer({"d9": Finding(V.UNFINISHED, "APIGW.0308", "slow down", retry_after=5.0, throttled=True)})
    call = Stop(BATCH, ("d0", "d1"), (NOW + timedelta(seconds=3), LATER))
    found = run(huawei, stop("d9"), call)
    assert [each.targets for each in huawei.calls if isinstance(each, Stop)] == [("d9",), ("d1",), ("d9",)]
    assert verdicts(found.named[BATCH]) == {"d9": V.TAKEN, "d0": V.UNFINISHED, "d1": V.TAKEN}
    assert found.named[BATCH]["d0"].was_asked is False

    huawei = Huawei()
    pace = huawei.clock.pace(1)
    turn = pace.begin(huawei.clock.deadline())
    assert turn is not None
    pace.end(turn, huawei.clock.deadline(), throttled=True, retry_after=5.0)  # so that all wait
    found = execute(
        Plan((call,), {}),
        service=huawei,
        pace=pace,
        deadline=huawei.clock.deadline(),
        patience=huawei.clock.patience(),
    )
    assert [each.targets for each in huawei.calls if isinstance(each, Stop)] == [("d1",)]


@pytest.mark.parametrize("accepted", Trust)
def test_a_call_that_is_tried_again_waits_behind_the_calls_that_were_not_tried(accepted: Trust) -> None:
    huawei = Huawei()
    huawei.accepted = accepted
    huawei.answer({"d0": PASSING}, {}, {}, {"d0": PASSING})
    found = run(huawei, *(stop(f"d{n}") for n in range(3)))
    assert [call.targets[0] for call in huawei.calls if isinstance(call, Stop)] == ["d0", "d1", "d2", "d0", "d0"]
    assert set(verdicts(found.named[BATCH]).values()) == {V.TAKEN}


def test_a_stop_of_all_is_tried_again_as_a_whole() -> None:
    huawei = Huawei(2)
    huawei.answer({"*": PASSING})
    found = run(huawei, StopAll(BATCH, LATER))
    assert huawei.calls == [StopAll(BATCH, LATER)] * 2
    assert verdicts(found.whole[BATCH]) == dict.fromkeys(("*", "d0", "d1"), V.TAKEN)
    assert found.named == {}


# --- faults


def raise_fault(_: object) -> None:
    raise DeploymentFault("the key is wrong")


def test_a_fault_halts_every_further_call_and_read() -> None:
    huawei = Huawei()
    huawei.before = lambda asked: raise_fault(asked) if isinstance(asked, Stop) and "d1" in asked.targets else None
    found = run(huawei, stop("d0"), stop("d1"), stop("d2"), stop("d3"), reads={BATCH: ("d4",)})
    assert str(found.faults[0]) == "the key is wrong"
    assert verdicts(found.named[BATCH]) == {"d0": V.TAKEN}
    assert (found.read, found.errors) == ({BATCH: {}}, ())
    assert (len(huawei.times), huawei.reads) == (2, [])


@pytest.mark.parametrize("kind", [DeploymentFault, ForeignAnswer])
def test_a_foreign_answer_about_one_task_halts_that_task_alone(kind: type[DeploymentFault]) -> None:
    huawei = Huawei()
    checks = [CheckTask(f"c{n}") for n in range(9)]
    huawei.states |= {check: {check.task_id: V.RUNS} for check in checks}

    def before(asked: Asked) -> None:
        if isinstance(asked, Stop) and asked.task == checks[0]:
            raise kind("CODEARTS_CHECK_ENDPOINT answered 403 without an error of CodeArts Check")

    huawei.before = before
    found = run(huawei, *(stop(check.task_id, task=check) for check in checks))
    stopped = [each for each in checks if found.named.get(each)]
    assert stopped == (checks[1:] if kind is ForeignAnswer else [])
    assert len(found.faults) == 1


def test_a_request_without_an_answer_is_no_sign_that_a_key_is_accepted() -> None:
    """Else a key that project after project refuses would be sent on, while an accepted project is cut off."""
    cut_off, foreign = BATCH, [BatchTask(f"p-{n}", None, "abc") for n in range(20)]
    came = threading.Semaphore(0)
    refused: list[Task] = []

    class Scoped(Huawei):
        def trust(self, task: Task) -> Trust:
            return Trust.ACCEPTED if task == cut_off else Trust.UNKNOWN

    huawei = Scoped(100)
    unanswered = Finding(V.UNFINISHED, error_msg="cut", was_answered=False)
    huawei.disturb = lambda asked: {} if isinstance(asked, tuple) else dict.fromkeys(stopped(asked), unanswered)

    def before(asked: Asked) -> None:
        if isinstance(asked, Stop) and asked.task != cut_off:
            came.acquire(timeout=0.5)
            refused.append(asked.task)
            raise_fault(asked)
        came.release()

    huawei.before = before
    run(huawei, *(stop(f"d{n}") for n in range(40)), *(stop("d0", task=task) for task in foreign), most=2)
    assert len(refused) == 3


def stopped(call: Call) -> tuple[str, ...]:
    return call.targets if isinstance(call, Stop) else ("*",)


class WatchedPace(Pace):
    """Tells of each thread that comes for a turn."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(most=8, sleep=clock.sleep, uniform=lambda shortest, _: shortest)
        self.came = threading.Semaphore(0)

    def begin(self, deadline: Deadline) -> Turn | None:
        self.came.release()
        return super().begin(deadline)


def test_a_fault_halts_those_too_that_wait_for_their_turn() -> None:
    """Else a key that is refused in the midst of a run would be refused to each of them, and be locked."""
    huawei = Huawei()
    clock = huawei.clock
    pace = WatchedPace(clock)
    for _ in range(3):  # throttled down to one call at a time
        turn = pace.begin(clock.deadline())
        assert turn is not None
        pace.end(turn, clock.deadline(), throttled=True, retry_after=None)
    assert pace.allowed == 1

    def fail_when_all_have_come(_: Asked) -> None:
        assert all(pace.came.acquire(timeout=5) for _ in range(3 + 8))
        raise_fault(None)

    huawei.before = fail_when_all_have_come
    found = execute(
        Plan(tuple(stop(f"d{n}") for n in range(8)), {}),
        service=huawei,
        pace=pace,
        deadline=clock.deadline(),
        patience=clock.patience(),
    )
    assert (str(found.faults[0]), found.errors) == ("the key is wrong", ())
    assert len(huawei.times) == 1


def test_an_unexpected_error_in_one_call_leaves_the_findings_of_the_others() -> None:
    huawei = Huawei()
    error = ValueError("a defect of ours")

    def before(asked: Asked) -> None:
        if isinstance(asked, Stop) and asked.targets == ("d1",):
            raise error

    huawei.before = before
    found = run(huawei, stop("d0"), stop("d1"), stop("d2"), most=3)
    assert verdicts(found.named[BATCH]) == {"d0": V.TAKEN, "d2": V.TAKEN}
    assert (found.errors, found.faults) == ((error,), ())


def test_an_unexpected_error_in_one_read_leaves_the_findings_of_the_others() -> None:
    huawei = Huawei()
    error = ValueError("a defect of ours")

    def before(asked: Asked) -> None:
        if asked == (BATCH, ("d0",)):
            raise error

    huawei.before = before
    found = run(huawei, reads={BATCH: ("d0",), CHECK: (CHECK.task_id,)})
    assert (found.read, found.errors) == ({BATCH: {}, CHECK: {CHECK.task_id: Finding(V.RUNS)}}, (error,))


# --- side by side


@pytest.mark.parametrize("most", [1, 2, 5])
def test_as_many_calls_are_in_flight_as_are_allowed_and_never_more(most: int) -> None:
    huawei = Huawei(20)
    together = threading.Barrier(most)

    def before(_: Asked) -> None:
        together.wait(5)

    huawei.before = before
    found = run(huawei, *(stop(f"d{n}") for n in range(10)), most=most)
    assert huawei.most_at_once == most
    assert set(verdicts(found.named[BATCH]).values()) == {V.TAKEN}
    assert len(found.named[BATCH]) == 10


@pytest.mark.parametrize("proven_by", [1, 2, 10])
def test_calls_go_alone_until_huawei_has_accepted_the_credentials(proven_by: int) -> None:
    huawei = Huawei(20)
    huawei.accepted = Trust.UNKNOWN
    counted: list[int] = []

    def before(_: Asked) -> None:
        if huawei.accepted is Trust.UNKNOWN:
            threading.Event().wait(0.05)  # time enough for others to come, if they may
        counted.append(huawei.at_once)
        huawei.accepted = Trust.ACCEPTED if len(counted) >= proven_by else Trust.UNKNOWN

    huawei.before = before
    run(huawei, *(stop(f"d{n}") for n in range(10)), most=4)
    assert counted[:proven_by] == [1] * proven_by
    assert len(counted) == 10


def test_a_wrong_key_is_found_out_by_one_call() -> None:
    huawei = Huawei()
    huawei.accepted = Trust.UNKNOWN

    def before(_: Asked) -> None:
        threading.Event().wait(0.05)  # time enough for others to come, if they may
        raise_fault(None)

    huawei.before = before
    found = run(huawei, *(stop(f"d{n}") for n in range(10)), reads={BATCH: ("d0",)}, most=8)
    assert found.faults
    assert len(huawei.times) == 1


def test_a_wrong_key_is_found_out_by_one_read_where_nothing_is_to_be_stopped() -> None:
    """As of a dry run, or of what is to be confirmed."""
    huawei = Huawei()
    huawei.accepted = Trust.UNKNOWN

    def before(_: Asked) -> None:
        threading.Event().wait(0.05)  # time enough for others to come, if they may
        raise_fault(None)

    huawei.before = before
    tasks: dict[Task, tuple[str, ...]] = {CheckTask(f"task-{n}"): (f"task-{n}",) for n in range(10)}
    found = run(huawei, reads=tasks, most=8)
    assert found.faults
    assert len(huawei.times) == 1


# --- reads


def test_unclear_answers_of_a_task_are_pooled_into_one_read() -> None:
    huawei = Huawei(250)
    huawei.disturb = lambda asked: {} if isinstance(asked, tuple) else {"d0": UNCLEAR, "d100": UNCLEAR, "d101": UNCLEAR}
    calls = [stop(*(f"d{n}" for n in range(start, start + 100))) for start in (0, 100)]
    found = run(huawei, *calls, reads={BATCH: ("d249", "d0")})
    assert huawei.reads == [(BATCH, ("d249", "d0", "d100", "d101"))]
    settled = verdicts(found.named[BATCH])
    # They still run, without a word of Huawei's against it: tried again by whoever comes after.
    assert [settled[target] for target in ("d0", "d1", "d100")] == [V.UNFINISHED, V.TAKEN, V.UNFINISHED]
    assert V.UNCLEAR not in settled.values()


def test_an_unclear_stop_of_all_is_settled_by_the_task_s_own_state() -> None:
    huawei = Huawei(2)
    huawei.disturb = lambda asked: {} if isinstance(asked, tuple) else {"*": UNCLEAR}
    found = run(huawei, StopAll(BATCH, LATER))
    assert huawei.reads == [(BATCH, ("*",))]
    assert verdicts(found.whole[BATCH]) == {"*": V.UNFINISHED}


def test_a_read_is_tried_again_for_what_a_passing_fault_left() -> None:
    huawei = Huawei()
    script = [{"d1": PASSING}, {"d1": PASSING}]
    huawei.disturb = lambda _: script.pop(0) if script else {}
    found = run(huawei, reads={BATCH: ("d0", "d1")})
    assert huawei.reads == [(BATCH, ("d0", "d1")), (BATCH, ("d1",)), (BATCH, ("d1",))]
    assert verdicts(found.read[BATCH]) == {"d0": V.RUNS, "d1": V.RUNS}


def test_reads_are_bounded_like_calls() -> None:
    huawei = Huawei()
    huawei.disturb = lambda _: {"d0": PASSING}
    found = run(huawei, reads={BATCH: ("d0",)})
    assert len(huawei.reads) == TRIES
    assert found.read == {BATCH: {"d0": PASSING}}


def test_what_a_read_still_takes_is_read_too_side_by_side() -> None:
    class OneByOne(Huawei):
        def read(self, task: Task, targets: tuple[str, ...], deadline: Deadline) -> Reading:
            first, *others = targets
            reading = super().read(task, (first,), deadline)
            return Reading(reading.findings, tuple(lambda d, t=t: self.read(task, (t,), d) for t in others))  # type: ignore[misc]

    huawei = OneByOne(20)
    found = run(huawei, reads={BATCH: tuple(f"d{n}" for n in range(9))}, most=3)
    assert len(huawei.reads) == 9
    assert huawei.most_at_once <= 3
    assert verdicts(found.read[BATCH]) == {f"d{n}": V.RUNS for n in range(9)}


class Paged(Huawei):
    """Reads its targets by twos; `trouble` pages of it are answered only after so many tries."""

    def __init__(self, *, trouble: int, finding: Finding, pause: float | None) -> None:
        super().__init__(4)
        self._trouble = trouble
        self._finding = finding
        self._pause = pause

    def read(self, task: Task, targets: tuple[str, ...], deadline: Deadline) -> Reading:
        reading = super().read(task, targets[:2], deadline)
        return Reading(reading.findings, (lambda later: self._more(task, targets[2:], later),))

    def _more(self, task: Task, targets: tuple[str, ...], deadline: Deadline) -> Reading:
        if self._trouble:
            self._trouble -= 1
            again = (lambda later: self._more(task, targets, later),)
            return Reading(dict.fromkeys(targets, self._finding), again, self._pause)
        return super().read(task, targets, deadline)


def test_a_page_in_trouble_makes_a_pause_and_slows_nothing_down() -> None:
    huawei = Paged(trouble=2, finding=replace(PASSING, retry_after=3.0), pause=0.5)
    pace = huawei.clock.pace(8)
    found = execute(
        Plan((), {BATCH: ("d0", "d1", "d2", "d3")}),
        service=huawei,
        pace=pace,
        deadline=huawei.clock.deadline(),
        patience=huawei.clock.patience(),
    )
    assert verdicts(found.read[BATCH]) == {f"d{n}": V.RUNS for n in range(4)}
    assert huawei.clock.slept == [3.5, 3.5]  # as long as Huawei asked for, and the jitter
    assert (found.throttles, pace.allowed) == (0, 8)


def test_a_page_for_which_no_time_is_left_stays_unfinished() -> None:
    huawei = Paged(trouble=1, finding=replace(PASSING, retry_after=100.0), pause=0.5)
    found = run(huawei, reads={BATCH: ("d0", "d1", "d2", "d3")}, seconds=50)
    assert verdicts(found.read[BATCH]) == {"d0": V.RUNS, "d1": V.RUNS, "d2": V.UNFINISHED, "d3": V.UNFINISHED}


def test_what_could_not_be_read_back_has_no_finding() -> None:
    huawei = Huawei()
    huawei.disturb = lambda asked: {} if isinstance(asked, tuple) else {"d0": UNCLEAR}
    huawei.before = lambda asked: raise_fault(asked) if isinstance(asked, tuple) else None
    found = run(huawei, stop("d0", "d1"))
    assert verdicts(found.named[BATCH]) == {"d1": V.TAKEN}
    assert found.faults


def test_tasks_and_kinds_are_kept_apart() -> None:
    other = BatchTask("project-2", None, BATCH.task_id)
    huawei = Huawei(1)
    found = run(huawei, stop("d0"), stop("d0", task=other), stop(CHECK.task_id, task=CHECK), StopAll(BATCH, LATER))
    assert {task: verdicts(each) for task, each in found.named.items()} == {
        BATCH: {"d0": V.TAKEN},
        other: {"d0": V.NOT_FOUND},
        CHECK: {CHECK.task_id: V.TAKEN},
    }
    assert verdicts(found.whole[BATCH]) == {"*": V.TAKEN}


def test_an_empty_plan_asks_nothing() -> None:
    assert run(Huawei()) == Findings()


# --- counts


def counts(found: Findings) -> tuple[int, int]:
    return found.calls, found.throttles


def test_every_question_counts_stops_and_reads_and_each_time_again() -> None:
    huawei = Huawei(20)
    huawei.answer({"d0": PASSING, "d1": UNCLEAR})
    found = run(huawei, *(stop(f"d{n}", f"d{n + 1}") for n in range(0, 20, 2)), reads={CHECK: (CHECK.task_id,)}, most=4)
    assert (len(huawei.calls), len(huawei.reads)) == (11, 2)
    assert counts(found) == (13, 0)


def test_a_throttle_counts_once_a_call_whatever_it_held_and_also_when_it_only_read() -> None:
    huawei = Huawei()
    throttled = Finding(V.UNFINISHED, "APIGW.0308", "slow down", retry_after=1.0, throttled=True)
    script: list[Mapping[str, Finding]] = [{"d0": throttled, "d1": throttled}, {"d0": throttled}, {}, {"d2": throttled}]
    huawei.disturb = lambda _: script.pop(0) if script else {}
    found = run(huawei, stop("d0", "d1"), reads={BATCH: ("d2",)})
    assert counts(found) == (5, 3)


def test_what_had_expired_by_its_turn_does_not_count() -> None:
    huawei = Huawei()
    assert counts(run(huawei, stop("d0", expires_in=0), stop("d1"))) == (len(huawei.times), 0) == (1, 0)


def test_what_got_no_turn_does_not_count() -> None:
    huawei = Huawei()
    huawei.answer({"d0": Finding(V.UNFINISHED, "APIGW.0308", "slow down", retry_after=3600.0, throttled=True)})
    found = run(huawei, stop("d0"), stop("d1"), reads={CHECK: (CHECK.task_id,)})
    assert counts(found) == (len(huawei.times), 1) == (1, 1)


@pytest.mark.parametrize("error", [DeploymentFault("the key is wrong"), ValueError("a defect of ours")])
def test_a_question_counts_whatever_came_of_it_and_what_it_halts_does_not(error: Exception) -> None:
    huawei = Huawei()

    def fail(_: Asked) -> None:
        raise error

    huawei.before = fail
    found = run(huawei, stop("d0"), stop("d1"))
    assert counts(found) == (len(huawei.times), 0) == (1 if found.faults else 2, 0)

"""The soak's judge, on planted violations."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from local.huawei import PROJECT_ID, Record
from local.soak.judge import Evidence, Letter, judge
from local.soak.orders import Order, Task

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from local.huawei.scenario import FaultKind

CARRIED_OUT = frozenset({"succeeded", "failed"})
ENDED = frozenset({"stopped", "already_ended"})
NO_COUNTS = dict.fromkeys(
    ("stopped", "already_ended", "not_found", "refused", "gave_up", "still_running", "would_stop"), 0
)
BATCH = Task("iotda", PROJECT_ID, None, "ab")
DEAF = Task("iotda", PROJECT_ID, None, "cd")
CHECK = Task("check", None, None, "check-1")
GAVE_UP = json.dumps(
    {"command": "stop_targets", "command_id": "g", "task_id": "cd", "targets": ["g-1"], "reason": "soak"}
)
REJECTED = Order("r", "stop, please", "StopTaskQueue", None, {}, frozenset({"rejected"}))


def stop(
    number: int, task: Task, *targets: str, effect: tuple[str, ...] = (), fault: FaultKind | None = None
) -> Record:
    is_check = task.service == "check"
    return Record(
        number=number,
        at=1000.0 + number,
        service="check" if is_check else "iotda",
        operation="stop_check_task" if is_check else "stop_batch_task",
        method="POST",
        path="/",
        project_id=task.project_id,
        instance_id=task.instance_id,
        task_id=task.task_id,
        targets=targets,
        body="",
        ak="ak",
        signing="plain",
        status=200,
        error_code=None,
        fault=fault,
        effect=effect,
        violations=(),
        request_id=f"request-{number}",
    )


def event(command_id: str, status: str, task: Task | None, at: float, **results: str) -> dict[str, Any]:
    tally = NO_COUNTS | Counter(results.values())
    return {
        "outcome_id": f"{command_id} {status} {at}",
        "command_id": command_id,
        "status": status,
        "attempt": 1,
        "task_id": task and task.task_id,
        "project_id": task and task.project_id,
        "instance_id": None,
        "occurred_at": datetime.fromtimestamp(1000.0 + at, tz=UTC).isoformat(),
        "results": [{"target": target.replace("_", "-"), "result": result} for target, result in results.items()],
        "tally": tally,
        "confirmed": None,
    }


def order(command_id: str, task: Task, **more: Any) -> Order:
    return Order(
        **{
            "command_id": command_id,
            "body": json.dumps({"command_id": command_id}),
            "way": "StopTargetsQueue",
            "task": task,
            "statuses": CARRIED_OUT,
            **more,
        }
    )


@pytest.fixture
def evidence() -> Evidence:
    """A run that balances: one command of each sort."""
    return Evidence(
        orders=(
            order("a", BATCH, allowed={"d-1": ENDED, "d-2": ENDED, "x-1": frozenset({"not_found"})}),
            order("twice", BATCH, allowed={"d-3": ENDED}, copies=2),
            order("dry", BATCH, allowed={"d-1": frozenset({"would_stop"})}, statuses=frozenset({"dry_run"})),
            order("late", BATCH, allowed={}, statuses=frozenset({"expired"})),
            order("c", CHECK, allowed={"check-1": ENDED}, confirm=True),
            order("g", DEAF, allowed={"g-1": frozenset({"gave_up"})}),
            REJECTED,
        ),
        events=[
            event("a", "in_progress", BATCH, 2.5, d_1="stopped"),
            event("a", "failed", BATCH, 3.5, d_2="already_ended", x_1="not_found")
            | {"tally": NO_COUNTS | {"stopped": 1, "already_ended": 1, "not_found": 1}},
            event("twice", "succeeded", BATCH, 2.5, d_3="stopped"),
            event("twice", "succeeded", BATCH, 4.5, d_3="already_ended"),
            event("dry", "dry_run", BATCH, 0.5, d_1="would_stop"),
            event("late", "expired", BATCH, 0.5),
            event("c", "succeeded", CHECK, 5.5, check_1="stopped") | {"confirmed": True},
            event("g", "failed", DEAF, 7.5, g_1="gave_up") | {"attempt": 8},
            event("r", "rejected", None, 0.5),
        ],
        records=[
            stop(1, BATCH, "d-1", "d-2", "d-3", "x-1", fault="cut_before"),
            stop(2, BATCH, "d-1", "d-2", "d-3", "x-1", effect=("d-1", "d-3")),
            stop(3, BATCH, "d-2"),
            stop(4, BATCH, "d-3"),
            stop(5, CHECK, effect=("check-1",)),
            stop(6, DEAF, "g-1", fault="error_json"),
        ],
        letters=[Letter(GAVE_UP, "gave_up"), Letter(REJECTED.body, "rejected: no JSON")],
        left={},
        running=frozenset({("iotda", "cd", "g-1")}),
        authentication_failures=0,
        complaints=(),
        may_repeat=frozenset(),
        max_attempts=8,
    )


def test_a_run_that_balances_has_no_violations(evidence: Evidence) -> None:
    judgement = judge(evidence)
    assert judgement.violations == []
    counts = {name: judgement.ledger.get(name, 0) for name in ("asked", *NO_COUNTS)}
    assert counts.pop("asked") == sum(counts.values()) == 7


def change(evidence: Evidence, place: int, **fields: Any) -> Evidence:
    """Change fields of one event."""
    events = list(evidence.events)
    events[place] = {**events[place], **fields}
    return replace(evidence, events=events)


def one_more(evidence: Evidence, name: str, thing: object) -> Evidence:
    fields: dict[str, Any] = {name: [*getattr(evidence, name), thing]}
    return replace(evidence, **fields)


def said_of_d2(result: str, **more: str) -> Callable[[Evidence], Evidence]:
    def plant(evidence: Evidence) -> Evidence:
        results = [{"target": "d-2", "result": result, **more}, {"target": "x-1", "result": "not_found"}]
        tally = NO_COUNTS | Counter(("stopped", result, "not_found"))
        return change(evidence, 1, results=results, tally=tally)

    return plant


PLANTED: Mapping[str, tuple[Callable[[Evidence], Evidence], str]] = {
    "a command without a final event": (
        lambda run: replace(run, events=[each for each in run.events if each["command_id"] != "late"]),
        "late: no final event",
    ),
    "a final event too many": (
        lambda run: one_more(run, "events", {**run.events[4], "outcome_id": "another"}),
        "dry: 2 final events",
    ),
    "an event of a command that nobody sent": (
        lambda run: one_more(run, "events", event("z", "expired", BATCH, 1)),
        "z: no such command was sent",
    ),
    "an event of another task": (lambda run: change(run, 6, task_id="check-2"), "c: an event about another task"),
    "an event that is too long": (
        lambda run: change(run, 2, results=[{"target": "d-3", "result": "stopped"}] * 101),
        "twice: an event with 101 results",
    ),
    "a final of the wrong sort": (lambda run: change(run, 5, status="succeeded"), "late: it ended as succeeded"),
    "a rejection with results": (
        lambda run: change(run, 8, tally=NO_COUNTS | {"stopped": 1}),
        "r: rejected, and its tally counts results",
    ),
    "a tally that is short": (
        lambda run: change(run, 3, tally=NO_COUNTS),
        "twice: its tally counts 0 of 1 targets",
    ),
    "a tally that its events do not bear out": (
        lambda run: change(run, 1, tally=NO_COUNTS | {"stopped": 3}),
        "a: its tally is not that of its events",
    ),
    "a success that is none": (lambda run: change(run, 7, status="succeeded"), "g: succeeded does not follow"),
    "a confirmation that is missing": (lambda run: change(run, 6, confirmed=None), "c: confirmed is None"),
    "a confirmation that nobody asked for": (lambda run: change(run, 2, confirmed=True), "twice: confirmed is True"),
    "a target without a result": (lambda run: change(run, 0, results=[]), "a: d-1 has no result"),
    "a target with two results": (
        lambda run: one_more(run, "events", {**run.events[0], "outcome_id": "another"}),
        "a: d-1 has 2 results",
    ),
    "a result that nobody asked for": (
        lambda run: change(run, 0, results=[*run.events[0]["results"], {"target": "d-9", "result": "stopped"}]),
        "a: d-9 has a result and was not asked for",
    ),
    "a failure after a stop": (
        lambda run: change(run, 3, results=[{"target": "d-3", "result": "not_found"}]),
        "twice: d-3 ended and failed",
    ),
    "a target that runs after it ended": (
        lambda run: change(run, 3, results=[{"target": "d-3", "result": "still_running"}]),
        "twice: d-3 ended and failed",
    ),
    "a target that runs and whose end nobody awaited": (
        lambda run: change(run, 7, results=[{"target": "g-1", "result": "still_running"}]),
        "g: g-1 is still_running, and nobody awaited its end",
    ),
    "a stop said of what Huawei Cloud never stopped": (said_of_d2("stopped"), "a: d-2 is said to be stopped"),
    "a target given up before its last attempt": (said_of_d2("gave_up"), "a: d-2 is gave_up at attempt 1"),
    "a target that was known": (said_of_d2("not_found"), "a: d-2 is not_found, not"),
    "a refusal by nobody": (said_of_d2("refused", request_id="request-3"), "a: d-2 is refused, and nobody refused it"),
    "a refusal of what was taken": (
        lambda run: said_of_d2("refused", request_id="request-3")(
            replace(run, records=[replace(run.records[0], effect=("d-2",)), *run.records[1:]])
        ),
        "a: d-2 is refused by request 3 (no fault), and its stop had been taken by request 1 (cut_before)",
    ),
    "an end of what runs": (
        lambda run: replace(run, running=frozenset({("iotda", "ab", "d-2")})),
        "a: d-2 is said to have ended, and it runs",
    ),
    "a call after a terminal result": (
        lambda run: one_more(run, "records", stop(7, BATCH, "d-1")),
        "a: d-1 was stopped and called 1 times more",
    ),
    "a stop that nobody asked for": (
        lambda run: one_more(run, "records", stop(7, BATCH, "d-7")),
        "d-7 of ab: nobody asked for it",
    ),
    "a stop in another project than asked": (
        lambda run: one_more(run, "records", stop(7, DEAF._replace(project_id="other"), "g-1")),
        "g-1 of cd: nobody asked for it",
    ),
    "a check that nobody asked for": (
        lambda run: one_more(run, "records", stop(7, CHECK._replace(task_id="check-2"))),
        "check-2 of check-2: nobody asked for it",
    ),
    "a stop of everything": (lambda run: one_more(run, "records", stop(7, BATCH)), "a stop of everything"),
    "a call that no client may make": (
        lambda run: one_more(run, "records", replace(stop(7, DEAF, "g-1"), violations=("more than 100 targets",))),
        "request 7: more than 100 targets",
    ),
    "a rejected message that is gone": (
        lambda run: replace(run, letters=run.letters[:1]),
        "r: its message is in the dead-letter queue 0 times",
    ),
    "a rejected message that is there twice": (
        lambda run: one_more(run, "letters", run.letters[1]),
        "r: its message is in the dead-letter queue 2 times",
    ),
    "a rejected message that was changed": (
        lambda run: replace(run, letters=[run.letters[0], Letter("stop,please", "rejected")]),
        "nobody sent 'stop,please'",
    ),
    "a dead letter without a reason": (
        lambda run: replace(run, letters=[Letter(GAVE_UP, None), run.letters[1]]),
        "no failure_reason",
    ),
    "a remainder that is gone": (
        lambda run: replace(run, letters=run.letters[1:]),
        "g: 1 targets were not done, 0 are in dead letters",
    ),
    "a remainder that was changed": (
        lambda run: replace(run, letters=[Letter(GAVE_UP.replace('"cd"', '"ce"'), "gave_up"), run.letters[1]]),
        "g: a remainder that was changed",
    ),
    "a remainder that asks for more": (
        lambda run: replace(run, letters=[Letter(GAVE_UP.replace('"g-1"', '"g-1", "g-2"'), "gave_up"), run.letters[1]]),
        "g: 1 targets were not done, 2 are in dead letters",
    ),
    "a message that is left": (lambda run: replace(run, left={"StopTaskQueue": 1}), "StopTaskQueue: 1 messages"),
    "a wrong signature": (lambda run: replace(run, authentication_failures=1), "1 requests with a wrong signature"),
    "an error in the functions' log": (lambda run: one_more(run, "complaints", "a defect"), "functions: a defect"),
}


@pytest.mark.parametrize(("plant", "violation"), PLANTED.values(), ids=PLANTED.keys())
def test_the_judge_finds(evidence: Evidence, plant: Callable[[Evidence], Evidence], violation: str) -> None:
    found = judge(plant(evidence)).violations
    assert any(violation in each for each in found), found


@pytest.mark.parametrize(
    "name", ["a final event too many", "a target with two results", "a call after a terminal result"]
)
def test_what_a_killed_process_may_repeat_is_no_violation(evidence: Evidence, name: str) -> None:
    repeated = replace(PLANTED[name][0](evidence), may_repeat=frozenset({"a", "dry"}))
    assert judge(repeated).violations == []


def test_that_nobody_knows_contradicts_no_end(evidence: Evidence) -> None:
    given_up = change(evidence, 3, results=[{"target": "d-3", "result": "gave_up"}], attempt=8)
    assert not any("ended and failed" in each for each in judge(given_up).violations)


def test_a_remainder_may_await_all_its_targets_by_one_word(evidence: Evidence) -> None:
    run = change(evidence, 7, results=[{"target": "g-1", "result": "still_running"}])
    awaiting = Letter(json.dumps({**json.loads(GAVE_UP), "confirm": True, "awaiting": ["*"]}), "gave_up")
    violations = judge(replace(run, letters=[awaiting, run.letters[1]])).violations
    assert not any("awaited" in each or "dead letters" in each for each in violations)


def test_the_same_event_twice_is_one(evidence: Evidence) -> None:
    judgement = judge(one_more(evidence, "events", evidence.events[0]))
    assert judgement.violations == []
    assert judgement.ledger["repeated events"] == 1

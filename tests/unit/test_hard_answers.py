"""What Huawei's answers mean, through the whole pipeline: transient errors, refusals of a call, refusals of a key."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest

from local.huawei import PROJECT_ID, AccessKey, BatchTask, CheckTask, Fault, Scenario
from tests.simulation import Boundary, Simulation

TASK = "5f1ac5c3e4b0"
TARGETS = {"command": "stop_targets", "task_id": TASK, "targets": ["d1", "d2"]}
CHECK = {"command": "stop_task", "task_id": "c1"}


def simulation(kind: str, *, batch_tasks: tuple[BatchTask, ...] = (), checks: int = 1, **settings: str) -> Simulation:
    projects = (PROJECT_ID, *{task.project_id for task in batch_tasks})
    scenario = Scenario(
        keys=(AccessKey(projects=projects),),
        batch_tasks=batch_tasks or (BatchTask(task_id=TASK, targets=("d1", "d2")),),
        check_tasks=tuple(CheckTask(task_id=f"c{n}") for n in range(1, checks + 1)),
    )
    return Simulation(kind, scenario=scenario, **settings)


def results(world: Simulation) -> Counter[str]:
    return Counter(result["result"] for event in world.aws.events for result in event["results"])


def stops(world: Simulation) -> list[tuple[str, ...]]:
    return [record.targets for record in world.cloud.log() if record.operation.startswith("stop_")]


def answer(status: int, code: str, message: str = "said", **rule: Any) -> Fault:
    return Fault(kind="answer", status=status, body={"error_code": code, "error_msg": message}, **rule)


# --- a server error is transient, whatever its code


@pytest.mark.parametrize("prefix", ["APIGW", "APIG", "APIC"])
@pytest.mark.parametrize(
    ("status", "words"), [(500, "Unexpected error"), (502, "Backend unavailable"), (504, "Backend timeout")]
)
@pytest.mark.parametrize("body", [TARGETS, CHECK], ids=["targets", "check"])
def test_a_gateway_in_trouble_refuses_nothing(body: dict[str, Any], status: int, words: str, prefix: str) -> None:
    world = simulation(body["command"])
    world.cloud.set_faults(
        answer(status, f"{prefix}.0201", words, times=1, operation=f"stop_{'check' if body is CHECK else 'batch'}_task")
    )
    world.send(body)
    world.run_out()
    assert set(results(world)) == {"stopped"}
    assert world.dead_letters == []


@pytest.mark.parametrize("status", [409, 423])
@pytest.mark.parametrize("body", [TARGETS, CHECK], ids=["targets", "check"])
def test_work_that_another_request_changes_for_twenty_seconds_is_stopped_after_it(
    body: dict[str, Any], status: int
) -> None:
    world = simulation(body["command"])
    operation = "stop_check_task" if body is CHECK else "stop_batch_task"
    conflict = answer(status, "IOTDA.014299", "being changed by another request, try again later", operation=operation)
    world.cloud.set_faults(conflict)
    world.send(body)
    while world.clock.seconds < 20:
        world.clock.seconds = max(world.clock.seconds, world.queue[0].visible_at)
        world.deliver(world.visible[:1])
    assert not results(world)
    world.cloud.set_faults()
    world.run_out()
    assert set(results(world)) == {"stopped"}


def test_a_conflict_over_work_that_has_ended_ends_as_what_it_is() -> None:
    world = simulation("stop_targets", batch_tasks=(BatchTask(task_id=TASK, subtasks={"d1": "Success", "d2": "Fail"}),))
    world.cloud.set_faults(answer(409, "IOTDA.014299", operation="stop_batch_task"))
    world.send(TARGETS)
    world.run_out()
    assert results(world) == {"already_ended": 2}


# --- a fault of the account is no message's fault


@pytest.mark.parametrize(
    ("status", "number"),
    [(403, "0302"), (403, "0304"), (403, "0306"), (403, "0310"), (403, "0801"), (403, "0802"), (405, "0502")],
)
@pytest.mark.parametrize("body", [TARGETS, CHECK], ids=["targets", "check"])
def test_a_refusal_of_the_account_rejects_nothing_and_the_message_goes_back(
    body: dict[str, Any], status: int, number: str
) -> None:
    world = simulation(body["command"])
    world.cloud.set_faults(answer(status, f"APIGW.{number}", times=1))
    world.send(body)
    world.deliver(world.queue[:1])
    assert (world.aws.events, world.dead_letters, world.acknowledged) == ([], [], [])
    world.run_out()
    assert set(results(world)) == {"stopped"}


# --- a refusal of a call is no answer about each of its targets


def devices(count: int, *, without: tuple[str, ...] = ()) -> BatchTask:
    return BatchTask(task_id=TASK, targets=tuple(f"d{n}" for n in range(count) if f"d{n}" not in without))


@pytest.mark.parametrize("code", ["IOTDA.000006", "IOTDA.014219", "APIGW.0201"])
@pytest.mark.parametrize("odd", ["d0", "d57", "d99"])
def test_one_odd_target_does_not_have_the_other_99_refused(odd: str, code: str) -> None:
    """30 senders' messages, folded into one call."""
    world = simulation("stop_targets", batch_tasks=(devices(100, without=(odd,)),))
    world.cloud.set_faults(answer(400, code, operation="stop_batch_task", target=odd))
    for first in range(0, 100, 4):
        world.send(TARGETS | {"targets": [f"d{n}" for n in range(first, first + 4)]})
    world.deliver(world.queue[:25])
    world.run_out()
    said = {result["target"]: result["result"] for event in world.aws.events for result in event["results"]}
    assert said == {f"d{n}": "stopped" for n in range(100)} | {odd: "refused" if code == "APIGW.0201" else "not_found"}
    assert len(stops(world)) <= 2 * 7 + 1  # two for each halving of 100


def test_a_code_about_one_target_that_answers_the_whole_call_ends_no_other_target() -> None:
    world = simulation("stop_targets", batch_tasks=(devices(20),))
    world.cloud.set_faults(answer(400, "IOTDA.014219", operation="stop_batch_task", target="d7", times=1))
    world.send(TARGETS | {"targets": [f"d{n}" for n in range(20)]})
    world.run_out()
    assert results(world) == {"stopped": 20}


def test_what_huawei_refuses_one_by_one_is_refused_after_a_bounded_number_of_calls() -> None:
    world = simulation("stop_targets", batch_tasks=(devices(100),))
    world.cloud.set_faults(answer(400, "IOTDA.000006", operation="stop_batch_task"))
    world.send(TARGETS | {"targets": [f"d{n}" for n in range(100)]})
    world.run_out()
    assert results(world) == {"refused": 100}
    assert len(stops(world)) == 2 * 100 - 1
    assert {f"d{n}" for n in range(100)} <= {asked[0] for asked in stops(world) if len(asked) == 1}


def test_a_call_to_a_task_that_has_ended_is_not_split() -> None:
    ended = BatchTask(task_id=TASK, subtasks={f"d{n}": "Success" for n in range(300)})
    world = simulation("stop_targets", batch_tasks=(ended,))
    world.cloud.set_faults(answer(400, "IOTDA.014221", "the task has ended", operation="stop_batch_task"))
    world.send(TARGETS | {"targets": [f"d{n}" for n in range(300)]})
    world.run_out()
    assert results(world) == {"already_ended": 300}
    assert len(stops(world)) == 3


def test_a_task_that_huawei_does_not_know_is_not_split_either() -> None:
    world = simulation("stop_targets")
    world.send(TARGETS | {"task_id": "abc", "targets": [f"d{n}" for n in range(100)]})
    world.run_out()
    assert results(world) == {"not_found": 100}
    assert len(stops(world)) == 1


# --- a key that is refused in one project works in the others


def in_project(name: str) -> BatchTask:
    number = int(name.partition("-")[2])
    return BatchTask(task_id=f"{number:x}", project_id=name, targets=("d1",))


FOREIGN = [(401, "APIGW.0301"), (403, "IOTDA.000021"), (403, "APIGW.0302")]


@pytest.mark.parametrize("position", [0, 10, 20])
@pytest.mark.parametrize(("status", "code"), FOREIGN)
def test_one_refused_project_does_not_keep_the_others_waiting(status: int, code: str, position: int) -> None:
    good = [TARGETS | {"task_id": "1", "project_id": "p-1", "targets": ["d1"]} for _ in range(20)]
    bad = TARGETS | {"task_id": "2", "project_id": "p-2", "targets": ["d1"]}
    world = simulation("stop_targets", batch_tasks=(in_project("p-1"), in_project("p-2")))
    world.cloud.set_faults(answer(status, code, task_id="2"))
    sent = [world.send(body) for body in (*good[:position], bad, *good[position:])]
    world.deliver(world.queue[:21])
    assert sorted(world.acknowledged) == sorted(name for number, name in enumerate(sent) if number != position)
    assert len([each for each in world.cloud.log() if each.status in {401, 403}]) == 1
    assert [message.body.count('"p-2"') for message in world.queue] == [1]


def test_an_instance_that_refuses_the_key_does_not_keep_the_others_waiting() -> None:
    tasks = (BatchTask(task_id="1", instance_id="i-1", targets=("d1",)), BatchTask(task_id="2", targets=("d1",)))
    world = simulation("stop_targets", batch_tasks=tasks)
    world.cloud.set_faults(answer(403, "IOTDA.000021", task_id="1"))
    world.send(TARGETS | {"task_id": "1", "instance_id": "i-1", "targets": ["d1"]})
    good = world.send(TARGETS | {"task_id": "2", "targets": ["d1"]})
    world.deliver(world.queue[:2])
    assert world.acknowledged == [good]


@pytest.mark.parametrize(("status", "code"), FOREIGN)
def test_a_key_that_all_projects_refuse_is_sent_three_times_a_delivery_at_most(status: int, code: str) -> None:
    """More than five refusals in a row lock a key for five minutes."""
    world = simulation("stop_targets", batch_tasks=tuple(in_project(f"p-{n}") for n in range(1, 22)))
    world.cloud.set_faults(answer(status, code))
    for n in range(1, 22):
        world.send(TARGETS | {"task_id": f"{n:x}", "project_id": f"p-{n}", "targets": ["d1"]})
    for delivery in (1, 2):  # the second by a process that knows
        world.clock.seconds += 60
        world.deliver(world.queue[:21])
        assert len(world.cloud.log()) <= 3 * delivery
    assert world.acknowledged == []
    world.cloud.set_faults()
    world.run_out()
    assert results(world) == {"stopped": 21}


def test_projects_that_refuse_the_key_do_not_keep_away_for_ever_one_that_does_not() -> None:
    world = simulation("stop_targets", batch_tasks=tuple(in_project(f"p-{n}") for n in range(1, 7)))
    world.cloud.set_faults(*(answer(401, "APIGW.0301", task_id=f"{n}") for n in range(1, 6)))
    for n in range(1, 7):
        world.send(TARGETS | {"task_id": f"{n}", "project_id": f"p-{n}", "targets": ["d1"]})
    for _ in range(2):
        world.clock.seconds += 60
        world.deliver(world.queue[:6])
    assert results(world) == {"stopped": 1}


def test_reads_of_projects_that_refuse_the_key_do_not_keep_away_for_ever_one_that_does_not() -> None:
    world = simulation("stop_targets", batch_tasks=tuple(in_project(f"p-{n}") for n in range(1, 7)))
    world.cloud.set_faults(*(answer(401, "APIGW.0301", task_id=f"{n}") for n in range(1, 6)))
    for n in range(1, 7):
        world.send(TARGETS | {"task_id": f"{n}", "project_id": f"p-{n}", "targets": ["d1"], "dry_run": True})
    for _ in range(2):
        world.clock.seconds += 60
        world.deliver(world.queue[:6])
    assert results(world) == {"would_stop": 1}


# --- a back end that hangs


def test_two_checks_that_hang_do_not_take_the_time_of_eight_others() -> None:
    world = simulation("stop_task", checks=10)
    hang = [Fault(kind="slow", seconds=100.0, task_id=task, handled=False) for task in ("c1", "c2")]
    world.cloud.set_faults(*hang)
    for n in range(1, 11):
        world.send({"command": "stop_task", "task_id": f"c{n}"})
    world.deliver(world.queue[:10], seconds=50.0)
    assert results(world)["stopped"] == 8


def test_reads_of_a_project_that_hangs_do_not_take_the_time_of_another() -> None:
    tasks = tuple(BatchTask(task_id=f"{n:x}", project_id="p-1", targets=("d1",)) for n in range(1, 30))
    well = tuple(BatchTask(task_id=f"{n:x}", project_id="p-2", targets=("d1",)) for n in range(101, 112))
    world = simulation("stop_targets", batch_tasks=(*tasks, *well))
    world.cloud.set_faults(*(Fault(kind="slow", seconds=100.0, task_id=task.task_id) for task in tasks))
    for task in (*tasks, *well):
        where = {"task_id": task.task_id, "project_id": task.project_id, "targets": ["d1"]}
        world.send(TARGETS | where | {"dry_run": True})
    world.deliver(world.queue[:40], seconds=300.0)
    assert results(world)["would_stop"] == 11


def test_a_call_that_is_split_in_a_cold_process_does_not_take_the_time_of_the_others() -> None:
    tasks = (devices(100), *(in_project(f"p-{n}") for n in range(1, 9)))
    world = simulation("stop_targets", batch_tasks=tasks)
    world.cloud.change_settings(latency_seconds=1.0)
    world.cloud.set_faults(answer(400, "IOTDA.000006", operation="stop_batch_task", task_id=TASK))
    world.send(TARGETS | {"targets": [f"d{n}" for n in range(100)]})
    for n in range(1, 9):
        world.send(TARGETS | {"task_id": f"{n:x}", "project_id": f"p-{n}", "targets": ["d1"]})
    world.deliver(world.queue[:9], seconds=50.0)
    assert results(world)["stopped"] == 8


def test_two_checks_that_hang_do_not_take_the_time_of_eight_others_in_a_warm_process_either() -> None:
    world = simulation("stop_task", checks=11)
    world.send({"command": "stop_task", "task_id": "c11"})
    world.deliver(world.queue[:1])
    world.cloud.set_faults(*(Fault(kind="slow", seconds=100.0, task_id=task, handled=False) for task in ("c1", "c2")))
    for n in range(1, 11):
        world.send({"command": "stop_task", "task_id": f"c{n}"})
    world.deliver(world.queue[:10], seconds=50.0)
    assert results(world)["stopped"] == 1 + 8


@pytest.mark.parametrize("status", [302, 403, 418])
def test_an_odd_answer_about_one_check_does_not_keep_the_others_waiting(status: int) -> None:
    world = simulation("stop_task", checks=9)
    world.cloud.set_faults(Fault(kind="answer", status=status, body="<html>", task_id="c1"))
    # Remainders, whose state is read first.
    sent = [world.send({"command": "stop_task", "task_id": f"c{n}", "attempt": 2}) for n in range(1, 10)]
    world.deliver(world.queue[:9])
    assert results(world) == {"stopped": 8}
    assert [message.message_id for message in world.queue] == [sent[0]]


# --- what was never sent keeps its attempt


def test_checks_for_which_no_time_was_left_are_not_given_up() -> None:
    world = simulation("stop_task", checks=30, MAX_ATTEMPTS="1", CONCURRENT_CALLS="8")
    world.cloud.change_settings(latency_seconds=2.0)
    for n in range(1, 31):
        world.send({"command": "stop_task", "task_id": f"c{n}"})
    world.deliver(world.queue[:30], seconds=10.0)
    assert world.dead_letters == []
    assert 0 < results(world)["stopped"] < 30
    world.cloud.change_settings(latency_seconds=0.0)
    world.run_out()
    assert results(world) == {"stopped": 30}


def test_remainders_of_checks_for_which_no_time_was_left_are_not_given_up() -> None:
    """Their state would have been read first, and there was no time for that either."""
    world = simulation("stop_task", checks=10, MAX_ATTEMPTS="2")
    world.cloud.set_faults(Fault(kind="error_json", status=503, operation="stop_check_task", times=40))
    for n in range(1, 11):
        world.send({"command": "stop_task", "task_id": f"c{n}"})
    world.deliver(world.queue[:10])
    assert {json.loads(message.body)["attempt"] for message in world.queue} == {2}
    world.cloud.set_faults(*(Fault(kind="slow", seconds=100.0, task_id=f"c{n}") for n in range(1, 6)))
    world.clock.seconds += 60
    world.deliver(world.queue[:10], seconds=60.0)
    asked = {record.task_id for record in world.cloud.log() if record.at > world.clock.now().timestamp() - 60}
    given_up = {json.loads(letter.body)["task_id"] for letter in world.dead_letters}
    assert given_up <= asked
    world.cloud.set_faults()
    world.run_out()
    assert results(world)["stopped"] >= 5


def test_a_command_that_expires_during_a_throttle_does_not_take_its_neighbour_along() -> None:
    world = simulation("stop_targets", MAX_ATTEMPTS="1")
    world.cloud.set_faults(Fault(kind="throttle_429", retry_after=3, times=1))
    soon = world.clock.now().timestamp() + 2
    world.send(TARGETS | {"command_id": "short", "targets": ["d1"], "expires_at": as_time(soon)})
    world.send(TARGETS | {"command_id": "long", "targets": ["d2"]})
    world.deliver(world.queue[:2])
    world.run_out()
    assert [event["status"] for event in world.events_of("long")] == ["succeeded"]
    assert [event["status"] for event in world.events_of("short")] == ["failed"]
    assert stops(world) == [("d1", "d2"), ("d2",)]


def as_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, tz=UTC).isoformat()


# --- a stop of which nobody knows whether it was taken


def test_a_check_that_was_started_again_is_not_stopped_by_a_repeat_of_a_stop_that_was_taken() -> None:
    """The stop takes effect and its answers are lost; then somebody starts the check again."""
    world = simulation("stop_task")
    world.cloud.set_faults(Fault(kind="cut_after", operation="stop_check_task", times=4))
    world.send(CHECK)
    world.deliver(world.queue[:1])
    world.cloud.set_check_status("c1", "checking")
    world.run_out()
    assert results(world) == {"already_ended": 1}
    assert len(stops(world)) == 1
    assert world.cloud.state().check_tasks == {"c1": "checking"}


def test_a_stop_in_doubt_is_never_sent_again_before_the_state_was_read() -> None:
    """Neither in the same delivery nor by the remainder, however many reads are lost."""
    world = simulation("stop_task")
    world.cloud.set_faults(Fault(kind="cut_before"))
    world.send(CHECK)
    for _ in range(3):
        world.clock.seconds = max(world.clock.seconds, world.queue[0].visible_at)
        world.deliver(world.queue[:1])
    assert len(stops(world)) == 1
    world.cloud.set_faults()
    world.run_out()
    assert results(world) == {"stopped": 1}
    operations = [record.operation for record in world.cloud.log()][-2:]
    assert operations == ["show_check_progress", "stop_check_task"]


@pytest.mark.parametrize(
    "trouble",
    [answer(502, "APIGW.0202"), answer(409, "CC.00059903"), Fault(kind="throttle_429")],
    ids=["502", "409", "429"],
)
def test_a_read_that_is_refused_refuses_no_stop_that_was_not(trouble: Fault) -> None:
    world = simulation("stop_task", MAX_ATTEMPTS="3")
    refused_read = answer(403, "CC.00050010", operation="show_check_progress")
    world.cloud.set_faults(trouble.model_copy(update={"operation": "stop_check_task"}), refused_read)
    world.send(CHECK)
    world.run_out()
    assert results(world) == {"gave_up": 1}


def test_a_late_repeat_for_which_no_time_is_left_goes_back_unread() -> None:
    world = simulation("stop_task", checks=6)
    message = world.send(
        {"command": "stop_task", "task_id": "c6", "command_id": "good", "expires_at": later(world, 60)}
    )
    world.kill_at = Boundary.BEFORE_THE_ANSWER
    world.deliver(world.queue[:1])
    world.clock.seconds += 120
    world.cloud.set_faults(*(Fault(kind="slow", seconds=100.0, task_id=f"c{n}") for n in range(1, 6)))
    for n in range(1, 6):
        world.send({"command": "stop_task", "task_id": f"c{n}", "dry_run": True})
    world.deliver([*world.queue[1:], world.queue[0]], seconds=30.0)
    assert {event["status"] for event in world.events_of("good")} == {"succeeded"}
    assert message in {each.message_id for each in world.queue}
    world.cloud.set_faults()
    world.run_out()
    assert {event["status"] for event in world.events_of("good")} == {"succeeded"}
    assert world.dead_letters == []


def test_what_is_left_of_a_repeat_that_got_no_turn_remembers_that_it_may_have_been_sent() -> None:
    tasks = (BatchTask(task_id="1", targets=("d1",)), BatchTask(task_id="2", targets=("d1",)))
    world = simulation("stop_targets", batch_tasks=tasks)
    world.send(TARGETS | {"task_id": "1", "targets": ["d1"], "command_id": "good", "expires_at": later(world, 900)})
    world.kill_at = Boundary.BEFORE_PUBLISHING
    world.deliver(world.queue[:1])
    world.clock.seconds += 60
    world.cloud.set_faults(Fault(kind="throttle_429", retry_after=600, task_id="2"))
    world.send(TARGETS | {"task_id": "2", "targets": ["d1"]})
    world.deliver([world.queue[1], world.queue[0]], seconds=300.0)
    remainder = next(json.loads(each.body) for each in world.queue if '"good"' in each.body)
    assert remainder["attempt"] == 2
    world.cloud.set_faults()
    world.clock.seconds = 1000.0
    world.run_out()
    assert {event["status"] for event in world.events_of("good")} == {"failed"}, "not that nothing was sent"


def later(world: Simulation, seconds: float) -> str:
    return as_time(world.clock.now().timestamp() + seconds)


def test_a_stop_that_never_reached_huawei_is_sent_again_without_a_read() -> None:
    world = simulation("stop_task")
    world.cloud.set_faults(Fault(kind="throttle_429", times=1))
    world.send(CHECK)
    world.run_out()
    assert [record.operation for record in world.cloud.log()] == ["stop_check_task"] * 2

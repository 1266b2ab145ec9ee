"""Confirmed stops: one stop call, then reads that grow rarer, until the work has ended or the attempts have."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from local.huawei import BatchTask, CheckTask, Scenario
from tests.simulation import Simulation

if TYPE_CHECKING:
    from collections.abc import Mapping

TASK = "5f1ac5c3e4b0"
TARGETS = {"command": "stop_targets", "command_id": "c-1", "task_id": TASK, "targets": ["d1", "d2"], "confirm": True}
CHECK = {"command": "stop_task", "command_id": "c-1", "task_id": "c1", "confirm": True}
BOTH = pytest.mark.parametrize("body", [TARGETS, CHECK], ids=["targets", "check"])
NEVER = 10**9


def simulation(body: Mapping[str, Any], *, reads: int, targets: int = 0, **settings: str) -> Simulation:
    """Give a world in which a stop shows only after so many reads."""
    names = tuple(f"d{number}" for number in range(targets)) or ("d1", "d2")
    scenario = Scenario(
        batch_tasks=(BatchTask(task_id=TASK, targets=names, stop_reads=reads),),
        check_tasks=(CheckTask(task_id="c1", stop_reads=reads),),
    )
    return Simulation(body["command"], scenario=scenario, **settings)


def operations(world: Simulation) -> Counter[str]:
    return Counter(record.operation for record in world.cloud.log())


def asked_of(body: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(body.get("targets", [body["task_id"]]))


@BOTH
def test_a_stop_that_takes_three_reads_is_final_after_the_third_and_stopped_once(body: dict[str, Any]) -> None:
    world = simulation(body, reads=2)
    world.send(body)
    world.deliver(world.visible)
    assert world.aws.events == []  # taken, and nothing said of it yet
    world.run_out()
    (event,) = world.events_of("c-1")
    assert (event["status"], event["confirmed"], event["attempt"]) == ("succeeded", True, 4)
    assert event["results"] == [{"target": each, "result": "stopped"} for each in asked_of(body)]
    stops, reads = (
        ("stop_check_task", "show_check_progress") if body is CHECK else ("stop_batch_task", "show_batch_task")
    )
    assert operations(world) == {stops: 1, reads: 3}


@BOTH
def test_the_reads_come_at_growing_distances(body: dict[str, Any]) -> None:
    world = simulation(body, reads=4)
    world.send(body)
    world.run_out()
    times = [record.at for record in world.cloud.log()]
    waits = [later - earlier for earlier, later in pairwise(times)]
    assert len(waits) == 5
    assert all(later > 1.5 * earlier for earlier, later in pairwise(waits))


@BOTH
def test_a_stop_that_never_ends_is_still_running_and_set_aside(body: dict[str, Any]) -> None:
    world = simulation(body, reads=NEVER, MAX_ATTEMPTS="4")
    world.send(body)
    world.run_out()
    (event,) = world.events_of("c-1")
    assert (event["status"], event["confirmed"]) == ("failed", False)
    assert {each["result"] for each in event["results"]} == {"still_running"}
    assert event["tally"]["still_running"] == len(asked_of(body))
    (letter,) = world.dead_letters
    assert letter.attributes["failure_reason"] == "gave_up"
    left = json.loads(letter.body)
    # Whoever sends it again from there confirms, and stops nothing a second time.
    assert left["awaiting"] == (["*"] if body is TARGETS else ["c1"])
    assert sum(operations(world)[stop] for stop in ("stop_check_task", "stop_batch_task")) == 1
    assert sum(operations(world)[read] for read in ("show_check_progress", "show_batch_task")) == 3


@BOTH
def test_what_finished_by_itself_meanwhile_is_already_ended(body: dict[str, Any]) -> None:
    world = simulation(body, reads=NEVER)
    world.send(body)
    world.deliver(world.visible)
    for target in ("d1", "d2"):
        world.cloud.set_subtask(TASK, target, "Success")
    world.cloud.set_check_status("c1", "success")
    world.run_out()
    (event,) = world.events_of("c-1")
    assert (event["status"], event["confirmed"]) == ("succeeded", True)
    assert {each["result"] for each in event["results"]} == {"already_ended"}


@BOTH
def test_a_deployment_may_confirm_what_its_senders_do_not(body: dict[str, Any]) -> None:
    world = simulation(body, reads=2, CONFIRM_BY_DEFAULT="true")
    world.send({name: value for name, value in body.items() if name != "confirm"})
    world.run_out()
    assert [event["confirmed"] for event in world.events_of("c-1")] == [True]


@BOTH
def test_a_sender_may_want_no_confirmation_where_it_is_the_default(body: dict[str, Any]) -> None:
    world = simulation(body, reads=NEVER, CONFIRM_BY_DEFAULT="true")
    world.send(body | {"confirm": False})
    world.run_out()
    assert [(event["status"], event["confirmed"]) for event in world.events_of("c-1")] == [("succeeded", None)]


def test_what_has_ended_is_told_and_only_the_rest_is_read_on() -> None:
    world = simulation(TARGETS, reads=NEVER)
    world.send(TARGETS)
    world.deliver(world.visible)
    world.cloud.set_subtask(TASK, "d1", "Stopped")
    world.clock.seconds += 10
    world.deliver(world.visible)
    (event,) = world.aws.events
    assert (event["status"], event["confirmed"]) == ("in_progress", None)
    assert event["results"] == [{"target": "d1", "result": "stopped"}]
    (remainder,) = world.queue
    assert (json.loads(remainder.body)["targets"], json.loads(remainder.body)["awaiting"]) == (["d2"], ["d2"])


def test_one_read_of_each_page_serves_all_the_commands_of_a_delivery() -> None:
    world = simulation(TARGETS, reads=0, targets=400)
    for number in range(10):
        targets = [f"d{number * 40 + each}" for each in range(40)]
        world.send(TARGETS | {"command_id": f"c-{number}", "targets": targets})
    world.deliver(world.visible)
    assert operations(world) == {"stop_batch_task": 4}
    world.clock.seconds += 10
    world.deliver(world.visible)
    assert operations(world) == {"stop_batch_task": 4, "show_batch_task": 400 // 50}
    assert all([e["confirmed"] for e in world.events_of(f"c-{number}")] == [True] for number in range(10))
    assert world.queue == []


def test_a_few_targets_of_a_large_task_are_read_by_their_names() -> None:
    world = simulation(TARGETS, reads=0, targets=5_000)
    world.send(TARGETS | {"targets": ["d1", "d4000", "d2500"]})
    world.run_out()
    assert [event["confirmed"] for event in world.events_of("c-1")] == [True]
    assert operations(world)["show_batch_task"] <= 4


def test_a_stop_of_everything_is_confirmed_by_the_task_as_a_whole() -> None:
    world = simulation(TARGETS, reads=2, targets=250, ALLOW_STOP_ALL="true")
    world.send({"command": "stop_targets", "command_id": "c-1", "task_id": TASK, "all_targets": True, "confirm": True})
    world.run_out()
    (event,) = world.events_of("c-1")
    assert (event["status"], event["confirmed"]) == ("succeeded", True)
    assert event["results"] == [{"target": "*", "result": "stopped"}]
    assert operations(world) == {"stop_batch_task": 1, "show_batch_task": 3}


@BOTH
def test_a_confirmation_that_expires_ends_and_does_not_say_that_it_still_runs(body: dict[str, Any]) -> None:
    world = simulation(body, reads=NEVER, COMMAND_TTL_SECONDS="60")
    world.send(body)
    world.run_out()
    (event,) = world.events_of("c-1")
    assert (event["status"], event["confirmed"]) == ("failed", False)
    assert {each["result"] for each in event["results"]} == {"gave_up"}
    assert [letter.attributes["failure_reason"] for letter in world.dead_letters] == ["expired"]

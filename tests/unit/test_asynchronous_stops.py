"""Stops are asynchronous: what was taken may run on for a while, and must not be called refused meanwhile."""

from __future__ import annotations

from typing import Any

import pytest

from local.huawei import AccessKey, BatchTask, CheckTask, Fault, Scenario, Settings
from tests.simulation import Simulation

TASK = "5f1ac5c3e4b0"
TARGETS = {"command": "stop_targets", "task_id": TASK, "targets": ["d1", "d2"]}
CHECK = {"command": "stop_task", "task_id": "c1"}


def simulation(body: dict[str, Any], *, lag: float) -> Simulation:
    scenario = Scenario(
        keys=(AccessKey(),),
        batch_tasks=(BatchTask(task_id=TASK, targets=("d1", "d2")),),
        check_tasks=(CheckTask(task_id="c1"),),
        settings=Settings(stop_seconds=lag),
    )
    return Simulation(body["command"], scenario=scenario)


def results(world: Simulation) -> set[str]:
    return {result["result"] for event in world.aws.events for result in event["results"]}


@pytest.mark.parametrize("body", [TARGETS, CHECK])
def test_a_stop_whose_answer_was_lost_is_not_called_refused_while_it_works(body: dict[str, Any]) -> None:
    world = simulation(body, lag=8.0)
    world.cloud.set_faults(Fault(kind="cut_after", times=1))
    world.send(body)
    world.run_out()
    assert results(world) == {"already_ended"}


@pytest.mark.parametrize("body", [TARGETS, CHECK])
def test_a_second_command_right_after_the_first_finds_it_ended(body: dict[str, Any]) -> None:
    world = simulation(body, lag=8.0)
    for _ in range(2):
        world.send(body)
        world.deliver(world.queue[-1:])
    assert [event["status"] for event in world.aws.events] == ["succeeded", "succeeded"]
    assert results(world) == {"stopped", "already_ended"}


def test_what_huawei_denies_and_what_runs_on_is_refused() -> None:
    world = simulation(TARGETS, lag=0.0)
    world.cloud.set_faults(
        Fault(kind="target_failure", operation="stop_batch_task", target="d2", error_code="IOTDA.999999")
    )
    world.send(TARGETS)
    world.run_out()
    assert results(world) == {"stopped", "refused"}
    assert world.clock.seconds >= 10


def test_a_denial_that_there_is_no_time_to_doubt_is_not_believed_yet() -> None:
    world = simulation(TARGETS, lag=0.0)
    world.cloud.set_faults(
        Fault(kind="target_failure", operation="stop_batch_task", target="d2", error_code="IOTDA.999999")
    )
    world.send(TARGETS)
    world.deliver(world.queue[:1], seconds=12.0)
    assert results(world) == {"stopped"}
    assert [message.body.count("d2") for message in world.queue] == [1]

"""How long a command waits after a fault of the deployment was fixed, in told time."""

from __future__ import annotations

from typing import Any

import pytest

from local.huawei import AccessKey, BatchTask, CheckTask, Scenario
from tests.simulation import Boundary, Simulation

COMMANDS: dict[str, dict[str, Any]] = {
    "stop_task": {"command": "stop_task", "command_id": "c-1", "task_id": "c1"},
    "stop_targets": {"command": "stop_targets", "command_id": "c-1", "task_id": "b1", "targets": ["d1"]},
}
TIMEOUTS = {"stop_task": 360, "stop_targets": 1801}
"""Of the queues in template.yaml."""


def refused(kind: str) -> Simulation:
    """Make a world with one command in its queue, in which Huawei Cloud does not know the key."""
    scenario = Scenario(
        keys=(AccessKey(ak="another", sk="another"),),
        check_tasks=(CheckTask(task_id="c1"),),
        batch_tasks=(BatchTask(task_id="b1", targets=("d1",)),),
    )
    simulation = Simulation(
        kind,
        scenario=scenario,
        VISIBILITY_TIMEOUT_SECONDS=str(TIMEOUTS[kind]),
        COMMAND_TTL_SECONDS="21600",  # the most that template.yaml allows
    )
    simulation.send(COMMANDS[kind])
    return simulation


def next_delivery(simulation: Simulation) -> float:
    """Wait until the command is visible, deliver it, and return when that was."""
    (message,) = simulation.queue
    at = simulation.clock.seconds = message.visible_at
    simulation.deliver([message])
    return at


@pytest.mark.parametrize("kind", COMMANDS)
def test_a_delivery_with_a_refused_key_comes_back_after_a_minute(kind: str) -> None:
    simulation = refused(kind)
    next_delivery(simulation)
    assert 48 <= next_delivery(simulation) <= 60
    assert simulation.acknowledged == []


@pytest.mark.parametrize("kind", COMMANDS)
@pytest.mark.parametrize("fixed_after", [3 * 60, 20 * 60, 3 * 60 * 60])
def test_after_the_fix_a_command_waits_as_long_again_at_most_and_a_minute(kind: str, fixed_after: int) -> None:
    simulation = refused(kind)
    at = 0.0
    while simulation.queue:
        if simulation.queue[0].visible_at >= fixed_after:
            simulation.cloud.add(AccessKey())
        at = next_delivery(simulation)
    assert fixed_after <= at <= fixed_after + min(fixed_after + 60, TIMEOUTS[kind])
    assert [event["status"] for event in simulation.events_of("c-1")] == ["succeeded"]


def test_what_a_killed_process_held_waits_for_the_whole_time_out() -> None:
    simulation = refused("stop_task")
    simulation.kill_at = Boundary.BEFORE_CHANGING_VISIBILITY
    next_delivery(simulation)
    assert simulation.kills == 1
    assert next_delivery(simulation) == 360

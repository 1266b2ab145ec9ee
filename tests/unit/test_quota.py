"""Under a quota everything is done in the end, and few calls are wasted on being told so."""

from __future__ import annotations

from typing import Literal

import pytest

from local.huawei import AccessKey, BatchTask, Fault, Quota, Scenario, Settings
from tests.simulation import Simulation

TASK = "5f1ac5c3e4b0"
CALLS = 100
WASTED_AT_MOST = 1.3
"""Calls sent for each one that the quota admits."""


@pytest.mark.parametrize("latency", [0.0, 0.1])
@pytest.mark.parametrize("per_second", [2, 20])
@pytest.mark.parametrize(("answer", "retry_after"), [("429", None), ("429", 2), ("403", None)])
def test_ten_thousand_targets_under_a_quota_are_all_stopped_with_few_calls_too_many(
    latency: float, per_second: int, answer: Literal["429", "403"], retry_after: int | None
) -> None:
    devices = [f"d{number}" for number in range(CALLS * 100)]
    simulation = Simulation(
        scenario=Scenario(
            keys=(AccessKey(),),
            batch_tasks=(BatchTask(task_id=TASK, targets=tuple(devices)),),
            quotas=(Quota(service="iotda", per_second=per_second, answer=answer, retry_after=retry_after),),
            settings=Settings(latency_seconds=latency),
        )
    )
    simulation.send({"command": "stop_targets", "task_id": TASK, "command_id": "c-1", "targets": devices})
    simulation.run_out()
    (final,) = [event for event in simulation.events_of("c-1") if event["status"] != "in_progress"]
    assert (final["status"], final["tally"]["stopped"]) == ("succeeded", len(devices))
    sent = len(simulation.cloud.log())
    assert sent <= CALLS * WASTED_AT_MOST
    # And the quota was used: not ten times as long as it must take.
    assert simulation.clock.seconds <= 3 * CALLS * max(1 / per_second, latency) + 30


@pytest.mark.parametrize("latency", [0.0, 0.1])
def test_a_long_list_is_read_to_its_end_under_a_quota(latency: float) -> None:
    pages = 100
    devices = [f"d{number}" for number in range(pages * 50)]
    simulation = Simulation(
        scenario=Scenario(
            keys=(AccessKey(),),
            batch_tasks=(BatchTask(task_id=TASK, targets=tuple(devices)),),
            quotas=(Quota(service="iotda", per_second=5),),
            settings=Settings(latency_seconds=latency),
        )
    )
    simulation.send(
        {"command": "stop_targets", "task_id": TASK, "command_id": "c-1", "targets": devices, "dry_run": True}
    )
    assert simulation.run_out() == 1
    assert simulation.events_of("c-1")[-1]["tally"]["would_stop"] == len(devices)
    assert len(simulation.cloud.log()) <= pages * WASTED_AT_MOST


def test_after_a_long_pause_that_huawei_asks_for_all_is_stopped_and_nothing_is_given_up() -> None:
    tasks = {TASK: ("d1",), "5f1b": ("d2",)}
    simulation = Simulation(
        scenario=Scenario(
            keys=(AccessKey(),),
            batch_tasks=tuple(BatchTask(task_id=task_id, targets=targets) for task_id, targets in tasks.items()),
            faults=(Fault(kind="throttle_429", retry_after=600, times=1),),
        )
    )
    for task_id, targets in tasks.items():
        simulation.send({"command": "stop_targets", "task_id": task_id, "targets": targets})
        simulation.deliver(simulation.queue[-1:])
    simulation.run_out()
    assert [event["status"] for event in simulation.aws.events] == ["succeeded"] * 2
    assert 600 <= simulation.clock.seconds <= 1000


def test_a_process_that_was_throttled_hard_works_again_when_the_quota_is_lifted() -> None:
    devices = [f"d{number}" for number in range(30_000)]
    simulation = Simulation(
        scenario=Scenario(
            keys=(AccessKey(),),
            batch_tasks=(BatchTask(task_id=TASK, targets=tuple(devices)), BatchTask(task_id="5f1b", targets=("x",))),
            quotas=(Quota(service="iotda", per_second=1),),
        )
    )
    simulation.send({"command": "stop_targets", "task_id": TASK, "command_id": "c-1", "targets": devices})
    simulation.deliver(simulation.visible)
    simulation.cloud.set_quota(Quota(service="iotda", per_second=0))
    simulation.send({"command": "stop_targets", "task_id": "5f1b", "command_id": "c-2", "targets": ["x"]})
    before = simulation.clock.seconds
    simulation.deliver([each for each in simulation.visible if "5f1b" in each.body])
    assert simulation.events_of("c-2")[-1]["status"] == "succeeded"
    assert simulation.clock.seconds - before < 20
    simulation.run_out()
    assert simulation.events_of("c-1")[-1]["tally"]["stopped"] == len(devices)


def test_commands_that_share_a_small_quota_are_all_done_and_none_is_given_up() -> None:
    tasks = [f"5f1{number}" for number in range(4)]
    devices = tuple(f"d{number}" for number in range(20_000))
    simulation = Simulation(
        scenario=Scenario(
            keys=(AccessKey(),),
            batch_tasks=tuple(BatchTask(task_id=task_id, targets=devices) for task_id in tasks),
            quotas=(Quota(service="iotda", per_second=1),),
        )
    )
    for task_id in tasks:
        asked = {"command": "stop_targets", "task_id": task_id, "command_id": task_id, "targets": devices}
        simulation.send(asked)
    simulation.run_out()
    for task_id in tasks:
        final = simulation.events_of(task_id)[-1]
        assert (final["status"], final["tally"]["stopped"]) == ("succeeded", len(devices))

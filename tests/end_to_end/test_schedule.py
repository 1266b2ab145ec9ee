"""Timers on the local stack: schedules fire, sweeps find what is stale, and what they send stops it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from local.huawei import CHECK_PROJECT_ID, BatchTask, CheckTask, Scenario
from local.stack import FunctionFailed
from shared.outcomes import DETAIL_TYPE as OUTCOME
from shared.sweeps import DETAIL_TYPE as REPORT
from tests.end_to_end.world import deployed, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local.huawei.scenario import BatchStatus
    from tests.end_to_end.world import World

TASKS = 500
NOW = datetime.now(UTC)
RUNNING: tuple[BatchStatus, ...] = ("Processing", "Waitting", "Initializing")

STALE = {f"{number:024x}" for number in range(0, TASKS, 42)}
PROTECTED = {f"{number:024x}" for number in (1, 250)}
UNKNOWN = {f"{number:024x}" for number in (2, 251, 499)}
SCHEDULED_LATER = {f"{number:024x}" for number in (3, 400)}
"""Made long ago and begun an hour ago."""

LIMIT_THAT_IS_TOO_LOW = len(STALE) - 1


def huawei_time(ago: timedelta) -> str:
    return f"{NOW - ago:%Y%m%dT%H%M%SZ}"


def batch_task(number: int) -> BatchTask:
    task_id = f"{number:024x}"
    long_ago = STALE | PROTECTED | SCHEDULED_LATER
    created = huawei_time(timedelta(days=2) if task_id in long_ago else timedelta(hours=23))
    return BatchTask(
        task_id=task_id,
        task_name="release-7" if task_id in PROTECTED else "nightly",
        task_type="firmwareUpgrade" if number % 5 else "softwareUpgrade",
        targets=tuple(f"device-{number}-{each}" for each in range(3)),
        status=RUNNING[number % 3],
        create_time="some time ago" if task_id in UNKNOWN else created,
        schedule_time=huawei_time(timedelta(hours=1)) if task_id in SCHEDULED_LATER else None,
    )


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    ended = BatchTask(task_id="e" * 24, subtasks={"d": "Success"}, create_time=huawei_time(timedelta(days=9)))
    other = BatchTask(task_id="f" * 24, targets=("d",), task_type="createCommands", create_time=ended.create_time)
    scenario = Scenario(batch_tasks=(*map(batch_task, range(TASKS)), ended, other))
    with deployed(
        scenario,
        BatchSweepMode="report",
        BatchSweepSchedule=f"at({NOW:%Y-%m-%dT%H:%M:%S})",
        BatchSweepProtect="release-*,never-*",
    ) as world:
        yield world


@pytest.fixture(scope="module")
def reports(world: World) -> dict[str, dict[str, Any]]:
    """What three schedules came to, one after the other: the deployed one, one with a low limit, one that stops."""
    fire_soon(world, "SweepBatchTasksSchedule", dry_run=False, limit=LIMIT_THAT_IS_TOO_LOW)
    wait_until(lambda: len(world.events(REPORT)) == 2)
    fire_soon(world, "SweepBatchTasksSchedule", dry_run=False)
    wait_until(lambda: len(world.events(REPORT)) == 3)
    (deployed_one,) = world.events(REPORT, dry_run=True)
    (refused,) = world.events(REPORT, dry_run=False, refused=True)
    (stopping,) = world.events(REPORT, dry_run=False, refused=False)
    return {"deployed": deployed_one, "refused": refused, "stopping": stopping}


def fire_soon(world: World, schedule: str, **changes: Any) -> None:
    """Make a schedule like a deployed one, which fires once and at the next tick, its sweep changed in some fields."""
    target = world.stack.scheduler.get_schedule(Name=world.stack.resources[schedule])["Target"]
    world.stack.scheduler.create_schedule(
        Name=str(uuid4()),
        ScheduleExpression=f"at({NOW:%Y-%m-%dT%H:%M:%S})",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target={**target, "Input": json.dumps(json.loads(target["Input"]) | changes)},
    )


def test_only_the_schedule_that_was_told_to_run_does(world: World) -> None:
    states = {
        name: world.stack.scheduler.get_schedule(Name=world.stack.resources[name])["State"]
        for name in ("SweepCheckTasksSchedule", "SweepBatchTasksSchedule")
    }
    assert states == {"SweepCheckTasksSchedule": "DISABLED", "SweepBatchTasksSchedule": "ENABLED"}


def test_a_schedule_fires_and_finds_exactly_what_is_stale(reports: dict[str, dict[str, Any]], world: World) -> None:
    report = reports["deployed"]
    assert {task["task_id"] for task in report["tasks"]} == STALE
    assert {task["evidence"] for task in report["tasks"]} == {"create_time"}
    counts = {name: report[name] for name in ("scanned", "stale", "protected", "unknown_age", "refused", "sent")}
    assert counts == {
        "scanned": TASKS,
        "stale": len(STALE),
        "protected": len(PROTECTED),
        "unknown_age": len(UNKNOWN),
        "refused": False,
        "sent": 0,
    }
    # Of each it is told how much a real run would stop.
    assert {task["targets"] for task in report["tasks"]} == {3}
    assert report["targets"] == 3 * len(STALE)
    # 500 tasks of two types in three states, at most 50 a page.
    assert sum(record.operation == "list_batch_tasks" for record in world.huawei.log()) >= TASKS // 50


def test_a_sweep_that_finds_more_than_its_limit_sends_nothing(reports: dict[str, dict[str, Any]]) -> None:
    refused = reports["refused"]
    assert (refused["stale"], refused["refused"], refused["sent"]) == (len(STALE), True, 0)
    assert refused["targets"] is None


def test_what_is_stale_is_stopped_through_the_queue_and_nothing_else_is(
    reports: dict[str, dict[str, Any]], world: World
) -> None:
    assert (reports["stopping"]["stale"], reports["stopping"]["sent"]) == (len(STALE), len(STALE))
    assert reports["stopping"]["targets"] == 3 * len(STALE)
    wait_until(lambda: len(world.events(OUTCOME, status="succeeded")) >= len(STALE))
    outcomes = world.events(OUTCOME)
    assert {(each["task_id"], each["status"], each["requested_by"]) for each in outcomes} == {
        (task_id, "succeeded", "stopline sweep") for task_id in STALE
    }
    assert all(each["command_id"].startswith(f"sweep:{each['task_id']}:") for each in outcomes)
    assert len(outcomes) == len(STALE)
    still = {number for number in range(TASKS) if "Processing" in world.huawei.subtasks(f"{number:024x}").values()}
    assert {f"{number:024x}" for number in range(TASKS) if number not in still} == STALE
    # Not one call names everything, and none came before a sweep was told to stop.
    stops = [record for record in world.huawei.log() if record.operation == "stop_batch_task"]
    assert {record.task_id for record in stops} == STALE
    assert all(len(record.targets) == 3 for record in stops)
    wait_until(lambda: not world.stack.left_in("StopTargetsQueue", "StopTargetsDeadLetterQueue"))
    assert world.huawei.summary().violations == {}


def test_a_check_is_stopped_once_sweeps_have_seen_it_for_long_enough(world: World) -> None:
    world.huawei.add(
        CheckTask(task_id="check-1", last_check_time="2026-11-24T03:00:00Z"),
        CheckTask(task_id="check-2", last_check_time="2026-11-24T03:00:00Z", task_name="release-8"),
        CheckTask(task_id="check-3", status="success"),
    )
    sweep = {
        "sweep": "check_tasks",
        "project_id": CHECK_PROJECT_ID,
        "older_than": "PT2H",
        "dry_run": False,
        "protect": ["release-*"],
    }
    first = world.stack.invoke("SweepStaleTasksFunction", sweep)
    assert (first["scanned"], first["stale"], first["unknown_age"], first["sent"]) == (3, 0, 1, 0)
    remember_as_seen(world, "check-1", NOW - timedelta(hours=3))
    second = world.stack.invoke("SweepStaleTasksFunction", sweep)
    assert [(task["task_id"], task["evidence"]) for task in second["tasks"]] == [("check-1", "sighting")]
    (outcome,) = wait_until(lambda: world.events(OUTCOME, task_id="check-1"))
    assert (outcome["status"], outcome["tally"]["stopped"]) == ("succeeded", 1)
    assert world.huawei.state().check_tasks == {"check-1": "stopped", "check-2": "checking", "check-3": "success"}


def remember_as_seen(world: World, task_id: str, first_seen: datetime) -> None:
    """Put back the clock of a sighting that a sweep has written."""
    key = {"project_id": {"S": CHECK_PROJECT_ID}, "task_id": {"S": task_id}}
    table = world.stack.resources["SightingsTable"]
    assert "Item" in world.stack.dynamodb.get_item(TableName=table, Key=key, ConsistentRead=True)
    world.stack.dynamodb.update_item(
        TableName=table,
        Key=key,
        UpdateExpression="SET first_seen = :seen",
        ExpressionAttributeValues={":seen": {"S": first_seen.isoformat()}},
    )


def test_what_is_no_sweep_is_refused_by_a_name_of_its_own(world: World) -> None:
    with pytest.raises(FunctionFailed, match="older_than") as refused:
        world.stack.invoke("SweepStaleTasksFunction", {"sweep": "batch_tasks", "older_than": "a while"})
    assert refused.value.error_type == "SweepRejected"

"""Sweeps from end to end, on the stand-in of Huawei Cloud in told time."""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local.huawei import PROJECT_ID, CheckTask, Fault, Quota
from local.huawei.scenario import CheckRun
from shared.aws import AwsRefused, AwsUnavailable, BusEvent, Message
from shared.commands import StopTargets, StopTask, read_command
from shared.errors import DeploymentFault, HuaweiUnavailable, PublishingFailed, SweepRejected
from shared.publishing import LARGEST_MESSAGE
from shared.sightings import NoMemory
from tests.fakes import defaults
from tests.one_sweep import BATCHES, CHECKS, COUNTED, STOP, TARGETS_QUEUE, TASK_QUEUE, World, batch, found

if TYPE_CHECKING:
    from local.huawei.cloud import Reply
    from local.huawei.signatures import Request


# Checks: what runs, and since when.


def test_a_run_is_of_unknown_age_when_it_is_first_seen_and_stale_when_it_was_seen_long_enough_ago() -> None:
    world = World()
    world.cloud.add(CheckTask(task_id="t-1", task_name="nightly", last_check_time=world.ago(days=3)))
    first = world.sweep(CHECKS, **STOP)
    assert found(first) == {"scanned": 1, "stale": 0, "protected": 0, "unknown_age": 1, "sent": 0}
    world.pass_by(hours=1.9)
    assert found(world.sweep(CHECKS, **STOP))["stale"] == 0
    world.pass_by(hours=0.2)
    second = world.sweep(CHECKS, **STOP)
    assert found(second) == {"scanned": 1, "stale": 1, "protected": 0, "unknown_age": 0, "sent": 1}
    (task,) = second["tasks"]
    assert (task["task_id"], task["task_name"], task["evidence"]) == ("t-1", "nightly", "sighting")
    assert task["running_since"] == "2026-11-23T08:49:06.000Z"
    (command,) = world.sent(TASK_QUEUE)
    assert command["command_id"] == "sweep:t-1:20261123T084906Z"


def test_a_run_that_began_between_two_sweeps_is_another_run() -> None:
    world = World()
    world.cloud.add(CheckTask(task_id="t-1", last_check_time=world.ago(hours=1)))
    world.sweep(CHECKS, **STOP)
    world.pass_by(hours=3)
    world.cloud.add(CheckTask(task_id="t-1", last_check_time=world.ago(minutes=1)))
    assert found(world.sweep(CHECKS, **STOP)) == {
        "scanned": 1, "stale": 0, "protected": 0, "unknown_age": 1, "sent": 0,
    }  # fmt: skip
    world.pass_by(hours=2.1)
    assert found(world.sweep(CHECKS, **STOP))["stale"] == 1


def test_a_run_that_was_once_seen_not_to_run_is_seen_anew_even_if_its_time_does_not_tell() -> None:
    world = World()
    world.cloud.add(CheckTask(task_id="t-1", last_check_time=COUNTED))
    world.sweep(CHECKS)
    world.pass_by(hours=1)
    world.cloud.set_check_status("t-1", "stopped")
    world.sweep(CHECKS)
    world.pass_by(hours=1.5)
    world.cloud.add(CheckTask(task_id="t-1", last_check_time=COUNTED))
    assert found(world.sweep(CHECKS, **STOP)) == {
        "scanned": 1, "stale": 0, "protected": 0, "unknown_age": 1, "sent": 0,
    }  # fmt: skip


def test_what_is_started_again_after_a_sweep_had_it_stopped_is_not_stopped_at_once() -> None:
    world = World()
    world.cloud.add(CheckTask(task_id="t-1", last_check_time=COUNTED))
    world.sweep(CHECKS)
    world.pass_by(hours=3)
    assert found(world.sweep(CHECKS, **STOP))["sent"] == 1
    # The same last_check_time, and as far: nothing tells the runs apart.
    world.cloud.add(CheckTask(task_id="t-1", last_check_time=COUNTED))
    world.pass_by(minutes=5)
    assert found(world.sweep(CHECKS, **STOP)) == {
        "scanned": 1, "stale": 0, "protected": 0, "unknown_age": 1, "sent": 0,
    }  # fmt: skip


def test_a_run_of_a_task_that_tells_of_no_check_at_all_is_never_stale_by_what_was_seen() -> None:
    world = World()
    world.cloud.add(CheckTask(task_id="t-1"))
    for _ in range(3):
        assert found(world.sweep(CHECKS, **STOP))["unknown_age"] == 1
        assert world.memory.seen == {}
        world.pass_by(days=1)


def seen_again(world: World, *ratios: str, hours: float = 3.0) -> dict[str, int]:
    """Sweep once for each of these ratios of the one task, `hours` apart, and give what the last one found."""
    counts: dict[str, int] = {}
    for ratio in ratios:
        world.cloud.add(CheckTask(task_id="t-1", last_check_time=COUNTED, ratio=ratio))
        counts = found(world.sweep(CHECKS, **STOP))
        world.pass_by(hours=hours)
    return counts


YOUNG = {"scanned": 1, "stale": 0, "protected": 0, "unknown_age": 1, "sent": 0}


@pytest.mark.parametrize("ratios", [("50%", "50%"), ("0%", "0%"), ("0%", "99%"), ("50%", "20%", "20%")])
def test_a_run_that_goes_on_grows_older(ratios: tuple[str, ...]) -> None:
    assert seen_again(World(), *ratios)["sent"] == 1


@pytest.mark.parametrize(
    "ratios",
    [("50%", "49%"), ("1%", "0%"), ("100%", "99%"), ("50%", "?"), ("?", "?"), ("?", "50%"), ("50%", "?", "60%")],
)
def test_a_run_that_goes_back_is_another_run_and_one_whose_progress_is_not_told_may_be(ratios: tuple[str, ...]) -> None:
    world = World()
    assert seen_again(world, *ratios) == YOUNG


def test_a_run_is_known_by_the_farthest_that_it_was_seen_to_have_come() -> None:
    world = World()
    # Young at 10 % and at 80 %; and what is at 20 % then is past 10 %, but no longer the same run.
    assert seen_again(world, "10%", "80%", hours=0.5)["stale"] == 0
    world.pass_by(hours=3)
    assert seen_again(world, "20%") == YOUNG


def test_a_run_that_comes_as_far_as_the_one_before_is_given_away_by_the_records() -> None:
    world = World()
    seen_again(world, "50%")
    cut_short = CheckRun(check_time=world.ago(hours=3), check_end_time=world.ago(minutes=2), status="stopped")
    world.cloud.add(CheckTask(task_id="t-1", last_check_time=COUNTED, records=(cut_short,), ratio="60%"))
    assert found(world.sweep(CHECKS, **STOP)) == YOUNG
    world.pass_by(hours=2.1)
    assert found(world.sweep(CHECKS, **STOP))["sent"] == 1


def test_without_a_table_a_run_whose_start_is_not_told_is_never_stale() -> None:
    world = World(memory=NoMemory())
    world.cloud.add(CheckTask(task_id="t-1", last_check_time=COUNTED))
    for _ in range(3):
        assert found(world.sweep(CHECKS, **STOP))["unknown_age"] == 1
        world.pass_by(days=1)


@pytest.mark.parametrize("form", ["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M:%S"])
def test_a_start_that_is_told_needs_no_sighting(form: str) -> None:
    world = World(check_jobs="listed")
    since = world.clock.now() - timedelta(hours=2)
    young = world.clock.now() - timedelta(hours=1)
    world.cloud.add(
        *(
            CheckTask(task_id=name, running_since=at.strftime(form), last_check_time=at.strftime("%Y-%m-%dT%H:%M:%SZ"))
            for name, at in (("old", since), ("young", young))
        ),
    )
    report = world.sweep(CHECKS, **STOP)
    assert [(task["task_id"], task["evidence"]) for task in report["tasks"]] == [("old", "job")]
    assert [command["task_id"] for command in world.sent(TASK_QUEUE)] == ["old"]
    assert world.sent(TASK_QUEUE)[0]["command_id"] == f"sweep:old:{since:%Y%m%dT%H%M%SZ}"
    assert world.memory.seen == {}


@pytest.mark.parametrize("cut_short", [{"days": 3}, {"hours": 2.5}])
def test_a_record_left_without_an_end_says_nothing_of_what_runs_now(
    cut_short: dict[str, Any],
) -> None:
    world = World()
    left = CheckRun(check_time=world.ago(**cut_short), status="stopped")
    world.cloud.add(CheckTask(task_id="t-1", records=(left,), last_check_time=world.ago(minutes=1)))
    assert found(world.sweep(CHECKS, **STOP)) == {
        "scanned": 1, "stale": 0, "protected": 0, "unknown_age": 1, "sent": 0,
    }  # fmt: skip


def test_a_run_that_takes_the_place_of_another_while_the_sweep_reads_is_not_as_old_as_that() -> None:
    world = World()
    world.cloud.add(CheckTask(task_id="t-1", last_check_time=world.ago(hours=1)))
    world.sweep(CHECKS)
    world.pass_by(hours=3)
    handle, began = world.cloud.handle, list[str]()

    def begin_anew_after_the_list(request: Request) -> Reply:
        reply = handle(request)
        if "/tasks?" in request.target and not began:
            began.append(world.ago())
            world.cloud.add(CheckTask(task_id="t-1", last_check_time=began[0]))
        return reply

    world.cloud.handle = begin_anew_after_the_list  # type: ignore[method-assign]
    assert found(world.sweep(CHECKS, **STOP)) == {
        "scanned": 1, "stale": 0, "protected": 0, "unknown_age": 1, "sent": 0,
    }  # fmt: skip


def test_the_jobs_are_better_evidence_than_a_sighting() -> None:
    world = World(check_jobs="listed")
    world.cloud.add(CheckTask(task_id="t-1", last_check_time=COUNTED))
    world.sweep(CHECKS)
    world.pass_by(hours=3)
    began = world.ago(hours=2.5)
    world.cloud.add(CheckTask(task_id="t-1", last_check_time=COUNTED, running_since=began))
    (task,) = world.sweep(CHECKS)["tasks"]
    assert (task["evidence"], task["running_since"]) == ("job", f"{began[:-1]}.000Z")


def test_a_list_of_jobs_that_does_not_exist_is_asked_for_once() -> None:
    world = World()
    world.cloud.add(*(CheckTask(task_id=f"t-{number}") for number in range(20)))
    world.sweep(CHECKS)
    assert Counter(record.operation for record in world.cloud.log())["list_check_jobs"] == 1


def test_exactly_the_stale_ones_of_500_checks_are_stopped() -> None:
    world = World(check_jobs="listed")
    stale = {f"stale-{number:03}" for number in range(12)}
    world.cloud.add(
        *(CheckTask(task_id=f"ended-{number:03}", status="success") for number in range(300)),
        *(CheckTask(task_id=each, running_since=world.ago(hours=3)) for each in sorted(stale)),
        *(CheckTask(task_id=f"young-{number:03}", running_since=world.ago(hours=1)) for number in range(100)),
        *(CheckTask(task_id=f"unknown-{number:03}") for number in range(85)),
        *(
            CheckTask(task_id=f"safe-{number}", task_name=f"release-{number}", running_since=world.ago(days=3))
            for number in range(3)
        ),
    )
    report = world.sweep(CHECKS, protect=["release-*"], **STOP)
    assert found(report) == {"scanned": 500, "stale": 12, "protected": 3, "unknown_age": 85, "sent": 12}
    assert {task["task_id"] for task in report["tasks"]} == stale
    assert {command["task_id"] for command in world.sent(TASK_QUEUE)} == stale
    assert world.sent(TARGETS_QUEUE) == []
    assert world.cloud.summary().violations == {}
    assert world.cloud.summary().targets_stopped == 0  # a sweep stops nothing itself


def test_what_the_sweep_sends_is_a_command_as_a_person_sends_it() -> None:
    world = World(check_jobs="listed")
    world.cloud.add(CheckTask(task_id="t-1", running_since=world.ago(hours=3)))
    world.sweep(CHECKS, **STOP)
    command = read_command(world.sent(TASK_QUEUE)[0], defaults=defaults())
    assert isinstance(command, StopTask)
    assert (command.task_id, command.requested_by, command.dry_run) == ("t-1", "stopline sweep", False)
    assert command.reason == "runs since 2026-11-23T05:49:05.000Z or longer (job), past 2 hours"


# What a sweep never does.


@pytest.mark.parametrize("more", [{}, {"dry_run": True}])
def test_unless_told_otherwise_nothing_is_sent(more: dict[str, Any]) -> None:
    world = World(check_jobs="listed")
    world.cloud.add(CheckTask(task_id="t-1", running_since=world.ago(hours=3)))
    report = world.sweep(CHECKS | more)
    assert (report["dry_run"], report["stale"], report["sent"]) == (True, 1, 0)
    assert world.sent(TASK_QUEUE) == []


@pytest.mark.parametrize(("limit", "refused"), [(3, False), (2, True)])
@pytest.mark.parametrize("dry_run", [True, False])
def test_more_than_the_limit_is_refused_and_not_cut(limit: int, refused: bool, dry_run: bool) -> None:  # noqa: FBT001 - a table
    world = World(check_jobs="listed")
    world.cloud.add(*(CheckTask(task_id=f"t-{number}", running_since=world.ago(hours=3)) for number in range(3)))
    report = world.sweep(CHECKS, limit=limit, dry_run=dry_run)
    assert (report["refused"], report["stale"], len(report["tasks"])) == (refused, 3, 3)
    assert report["sent"] == len(world.sent(TASK_QUEUE)) == (0 if refused or dry_run else 3)


def test_a_report_names_a_hundred_tasks_and_counts_all() -> None:
    world = World(check_jobs="listed")
    name = "\N{PILE OF POO}" * 300
    world.cloud.add(
        *(CheckTask(task_id=f"t-{n:03}", task_name=name, running_since=world.ago(hours=3 + n)) for n in range(101))
    )
    report = world.sweep(CHECKS, limit=1000)
    assert (report["stale"], len(report["tasks"])) == (101, 100)
    assert report["tasks"][0]["task_id"] == "t-100"
    (entry,) = world.aws.entries
    assert len(entry.detail.encode()) < 240_000


def test_a_check_whose_state_cannot_be_read_is_told_and_left_alone() -> None:
    world = World(check_jobs="listed")
    world.cloud.add(
        CheckTask(task_id="t-1", running_since=world.ago(hours=3)),
        CheckTask(task_id="t-2", running_since=world.ago(hours=3)),
    )
    world.cloud.set_faults(Fault(kind="error_json", operation="show_check_progress", task_id="t-2"))
    report = world.sweep(CHECKS, **STOP)
    assert found(report) == {"scanned": 2, "stale": 1, "protected": 0, "unknown_age": 1, "sent": 1}


# Batch tasks.


def test_a_stale_batch_task_has_its_running_targets_named() -> None:
    world = World()
    world.cloud.add(
        batch("a1", world, days=1, subtasks={"a1-d3": "Success", "a1-d4": "Waitting", "a1-d5": "FailWaitRetry"}),
        batch("a2", world, days=0.9),
        batch("a3", world, days=9, task_type="createCommands"),
    )
    report = world.sweep(BATCHES, **STOP)
    assert found(report) == {"scanned": 2, "stale": 1, "protected": 0, "unknown_age": 0, "sent": 1}
    assert report["tasks"][0]["evidence"] == "create_time"
    (body,) = world.sent(TARGETS_QUEUE)
    command = read_command(body, defaults=defaults())
    assert isinstance(command, StopTargets)
    assert command.command_id.startswith("sweep:a1:20261122T084905Z:")
    assert command.project_id == PROJECT_ID
    assert (command.all_targets, set(command.asked)) == (None, {"a1-d1", "a1-d2", "a1-d4", "a1-d5"})
    assert world.sent(TASK_QUEUE) == []


@pytest.mark.parametrize("status", ["Initializing", "Waitting", "Processing"])
def test_a_task_is_swept_in_every_state_that_can_be_stopped(status: str) -> None:
    world = World()
    world.cloud.add(batch("a1", world, days=2, status=status))
    assert world.sweep(BATCHES)["stale"] == 1


@pytest.mark.parametrize("status", ["Stopping", "Stopped", "Success", "Fail", "PartialSuccess"])
def test_a_task_that_cannot_be_stopped_is_not_even_listed(status: str) -> None:
    world = World()
    world.cloud.add(batch("a1", world, days=2, status=status))
    assert world.sweep(BATCHES)["scanned"] == 0


@pytest.mark.parametrize(
    ("create", "schedule", "stale", "unknown_age"),
    [
        ("20261120T000000Z", None, 1, 0),
        ("20261120T000000Z", "20261121T000000Z", 1, 0),
        ("20261120T000000Z", "20261123T000000Z", 0, 0),
        ("20261120T000000Z", "20261125T000000Z", 0, 0),
        ("20261123T000000Z", "20261101T000000Z", 0, 0),
        ("20261120T000000Z", "soon", 0, 1),
        ("long ago", None, 0, 1),
        ("long ago", "20261120T000000Z", 0, 1),
    ],
)
def test_a_task_is_as_old_as_the_later_of_its_creation_and_its_schedule(
    create: str, schedule: str | None, stale: int, unknown_age: int
) -> None:
    world = World()
    world.cloud.add(batch("a1", world, days=0, create_time=create, schedule_time=schedule))
    report = world.sweep(BATCHES)
    assert (report["scanned"], report["stale"], report["unknown_age"]) == (1, stale, unknown_age)


def test_exactly_the_stale_ones_of_500_batch_tasks_are_stopped() -> None:
    world = World()
    stale = {f"a{number:03}" for number in range(12)}
    world.cloud.add(
        *(batch(f"b{number:03}", world, days=0.5) for number in range(400)),
        *(batch(each, world, days=3, task_type="softwareUpgrade") for each in sorted(stale)),
        *(batch(f"c{number:03}", world, days=3, task_name=f"release-{number}") for number in range(40)),
        *(batch(f"d{number:03}", world, days=3, create_time="?") for number in range(48)),
        *(batch(f"e{number:03}", world, days=3, status="Stopped") for number in range(100)),
    )
    report = world.sweep(BATCHES, protect=["release-*"], **STOP)
    assert found(report) == {"scanned": 500, "stale": 12, "protected": 40, "unknown_age": 48, "sent": 12}
    commands = world.sent(TARGETS_QUEUE)
    assert {command["task_id"] for command in commands} == stale
    assert all(set(each["targets"]) == {f"{each['task_id']}-d1", f"{each['task_id']}-d2"} for each in commands)


def test_only_the_types_asked_for_are_swept() -> None:
    world = World()
    world.cloud.add(batch("a1", world, days=2), batch("a2", world, days=2, task_type="softwareUpgrade"))
    report = world.sweep(BATCHES, task_types=["softwareUpgrade"])
    assert [task["task_id"] for task in report["tasks"]] == ["a2"]


def test_an_instance_is_named_in_the_questions_and_in_the_commands() -> None:
    world = World()
    world.cloud.add(batch("a1", world, days=2, instance_id="i-1"), batch("a2", world, days=2, instance_id="i-2"))
    world.sweep(BATCHES, instance_id="i-1", **STOP)
    (command,) = world.sent(TARGETS_QUEUE)
    assert (command["task_id"], command["instance_id"]) == ("a1", "i-1")
    assert {record.instance_id for record in world.cloud.log()} == {"i-1"}


@pytest.mark.parametrize("instance_id", [None, "i-1"])
def test_a_command_is_carried_out_in_the_instance_that_was_swept_whatever_the_queue_function_has_configured(
    instance_id: str | None,
) -> None:
    world = World()
    world.cloud.add(batch("a1", world, days=2))
    world.sweep(BATCHES | ({} if instance_id is None else {"instance_id": instance_id}), **STOP)
    (body,) = world.sent(TARGETS_QUEUE)
    command = read_command(body, defaults=defaults()._replace(project_id="another", instance_id="i-2"))
    assert isinstance(command, StopTargets)
    assert (command.project_id, command.instance_id, command.attempt) == (PROJECT_ID, instance_id, 1)


def test_a_large_task_is_stopped_by_several_commands_each_of_which_fits_into_a_message() -> None:
    world = World()
    short = tuple(f"d{number}" for number in range(5_001))
    long = tuple(f"{number:0256}" for number in range(2_500))
    world.cloud.add(batch("a1", world, days=2, targets=short), batch("a2", world, days=2, targets=long))
    report = world.sweep(BATCHES, **STOP)
    commands = world.sent(TARGETS_QUEUE)
    assert report["sent"] == len(commands)
    by_task: dict[str, list[dict[str, Any]]] = {}
    for command in commands:
        by_task.setdefault(command["task_id"], []).append(command)
    assert [len(each["targets"]) for each in by_task["a1"]] == [5_000, 1]
    assert len({each["command_id"] for each in commands}) == len(commands)
    for task_id, targets in (("a1", short), ("a2", long)):
        assert Counter(target for each in by_task[task_id] for target in each["targets"]) == Counter(targets)
    for message in world.aws.queues[TARGETS_QUEUE]:
        confirmed = read_command(json.loads(message.body) | {"confirm": True}, defaults=defaults())
        to_stop, awaiting = confirmed.asked[:1], confirmed.asked[1:]
        remainder = confirmed.left(to_stop=to_stop, awaiting=awaiting, attempt=2, tally=confirmed.tally)
        assert len(remainder.to_message()) < LARGEST_MESSAGE


def test_a_stale_task_of_which_nothing_runs_any_more_needs_no_command() -> None:
    world = World()
    world.cloud.add(batch("a1", world, days=2, targets=(), subtasks={"d": "Success"}, status="Processing"))
    report = world.sweep(BATCHES, **STOP)
    assert (report["stale"], report["sent"]) == (1, 0)


def test_two_sweeps_of_the_same_run_are_the_same_command_and_the_second_is_valid_for_longer() -> None:
    world = World()
    world.cloud.add(batch("a1", world, days=2))
    world.sweep(BATCHES, **STOP)
    world.pass_by(minutes=10)
    world.sweep(BATCHES, **STOP)
    first, second = world.sent(TARGETS_QUEUE)
    assert first | {"expires_at": second["expires_at"]} == second
    assert (first["expires_at"], second["expires_at"]) == ("2026-11-23T09:19:05.123Z", "2026-11-23T09:29:05.123Z")


# What a sweep has sent, and what has meanwhile begun.


@pytest.mark.parametrize(
    ("older_than", "valid_for"),
    [("PT2H", timedelta(minutes=30)), ("PT31M", timedelta(minutes=30)), ("PT10M", timedelta(minutes=10))],
)
@pytest.mark.parametrize("asked", [CHECKS, BATCHES], ids=["checks", "batches"])
def test_a_command_is_valid_for_half_an_hour_from_the_last_look_and_never_longer_than_the_age(
    asked: dict[str, Any], older_than: str, valid_for: timedelta
) -> None:
    world = World(check_jobs="listed", latency_seconds=1.0)
    world.cloud.add(CheckTask(task_id="t-1", running_since=world.ago(hours=3)), batch("a1", world, days=2))
    looked: list[datetime] = []
    handle = world.cloud.handle

    def look(request: Request) -> Reply:
        if "quering" in request.target or "task_detail_status=FailWaitRetry" in request.target:
            looked.append(world.clock.now())
        return handle(request)

    world.cloud.handle = look  # type: ignore[method-assign]
    world.sweep(asked, older_than=older_than, **STOP)
    (body,) = world.sent(TASK_QUEUE) or world.sent(TARGETS_QUEUE)
    command = read_command(body, defaults=defaults())
    last_look = looked[1] if asked is CHECKS else looked[0]
    assert command.expires_at == (last_look + valid_for).replace(microsecond=123_000)
    assert not command.has_expired(last_look + valid_for - timedelta(seconds=1))
    assert command.has_expired(last_look + valid_for)


@pytest.mark.parametrize("asked", [CHECKS, BATCHES], ids=["checks", "batches"])
def test_a_command_of_a_sweep_is_never_valid_for_longer_than_any_other(asked: dict[str, Any]) -> None:
    world = World(check_jobs="listed", environment={"COMMAND_TTL_SECONDS": "600"})
    world.cloud.add(CheckTask(task_id="t-1", running_since=world.ago(hours=3)), batch("a1", world, days=2))
    world.sweep(asked, **STOP)
    (body,) = world.sent(TASK_QUEUE) or world.sent(TARGETS_QUEUE)
    assert body["expires_at"] == "2026-11-23T08:59:05.123Z"


TOLD_BY: dict[str, dict[str, Any]] = {
    "job": {"check_jobs": "listed"},
    "sighting": {},
}


def running_for_hours(evidence: str) -> World:
    """Give a world in which `t-1` is stale by this evidence."""
    world = World(**TOLD_BY[evidence])
    since = world.ago(hours=3)
    world.cloud.add(CheckTask(task_id="t-1", running_since=since, last_check_time=since))
    if evidence == "sighting":
        world.sweep(CHECKS)
        world.pass_by(hours=3)
    return world


@pytest.mark.parametrize("evidence", TOLD_BY)
def test_a_run_that_begins_after_the_choice_is_seen_by_the_last_look_and_left_alone(
    evidence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = running_for_hours(evidence)

    def another_begins() -> None:
        world.cloud.add(CheckTask(task_id="t-1", running_since=world.ago(), last_check_time=world.ago()))

    world.meanwhile(monkeypatch, another_begins)
    report = world.sweep(CHECKS, **STOP)
    assert [each["evidence"] for each in report["tasks"]] == [evidence]
    assert (report["stale"], report["missed"], report["sent"]) == (1, 0, 0)
    assert world.sent(TASK_QUEUE) == []


@pytest.mark.parametrize("evidence", TOLD_BY)
def test_a_run_that_goes_on_passes_the_last_look(evidence: str) -> None:
    world = running_for_hours(evidence)
    assert found(world.sweep(CHECKS, **STOP))["sent"] == 1


@pytest.mark.parametrize("evidence", TOLD_BY)
def test_a_run_that_has_ended_by_the_last_look_needs_no_command(evidence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    world = running_for_hours(evidence)
    world.meanwhile(monkeypatch, lambda: world.cloud.set_check_status("t-1", "success"))
    report = world.sweep(CHECKS, **STOP)
    assert (report["stale"], report["missed"], report["sent"]) == (1, 0, 0)


@pytest.mark.parametrize("operation", ["show_check_progress", "list_check_jobs"])
def test_a_check_that_cannot_be_looked_at_again_is_not_stopped_and_the_sweep_says_so(
    operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(check_jobs="listed")
    world.cloud.add(*(CheckTask(task_id=each, running_since=world.ago(hours=3)) for each in ("t-1", "t-2")))
    fault = Fault.model_validate({"kind": "error_json", "operation": operation, "task_id": "t-1"})
    world.meanwhile(monkeypatch, lambda: world.cloud.set_faults(fault))
    with pytest.raises(HuaweiUnavailable, match="of 1 stale tasks"):
        world.sweep(CHECKS, **STOP)
    assert [command["task_id"] for command in world.sent(TASK_QUEUE)] == ["t-2"]
    (report,) = world.aws.events
    assert (report["stale"], report["missed"], report["sent"]) == (2, 1, 1)


def test_the_last_look_is_at_the_stale_ones_only_and_only_if_something_is_to_be_sent() -> None:
    world = World(check_jobs="listed")
    world.cloud.add(
        *(CheckTask(task_id=f"old-{number}", running_since=world.ago(hours=3)) for number in range(3)),
        *(CheckTask(task_id=f"young-{number}", running_since=world.ago(hours=1)) for number in range(40)),
    )

    def looks(**changed: Any) -> int:
        before = len(world.cloud.log())
        world.sweep(CHECKS, **changed)
        return [record.operation for record in world.cloud.log()[before:]].count("show_check_progress")

    assert looks() == looks(limit=2, **STOP) == 43
    assert looks(**STOP) == 43 + 3


# Faults.


@pytest.mark.parametrize("asked", [CHECKS, BATCHES], ids=["checks", "batches"])
def test_a_list_that_cannot_be_read_ends_the_sweep_and_nothing_is_sent(asked: dict[str, Any]) -> None:
    world = World(check_jobs="listed")
    world.cloud.add(CheckTask(task_id="t-1", running_since=world.ago(hours=3)), batch("a1", world, days=2))
    world.cloud.set_faults(
        Fault(kind="error_json", operation="list_check_tasks"), Fault(kind="error_json", operation="list_batch_tasks")
    )
    with pytest.raises(HuaweiUnavailable):
        world.sweep(asked, **STOP)
    assert (world.aws.queues, world.aws.events) == ({}, [])


def test_a_passing_fault_in_between_changes_nothing() -> None:
    world = World(check_jobs="listed")
    world.cloud.add(*(CheckTask(task_id=f"t-{number}", running_since=world.ago(hours=3)) for number in range(5)))
    world.cloud.set_faults(*(Fault(kind="error_html", nth=number) for number in (1, 4, 9, 12)))
    assert found(world.sweep(CHECKS, **STOP))["sent"] == 5


@pytest.mark.parametrize("asked", [CHECKS, BATCHES], ids=["checks", "batches"])
def test_under_a_small_quota_a_sweep_takes_longer_and_finds_the_same(asked: dict[str, Any]) -> None:
    world = World(check_jobs="listed")
    world.cloud.add(*(CheckTask(task_id=f"t-{n}", running_since=world.ago(hours=3)) for n in range(60)))
    world.cloud.add(*(batch(f"a{n}", world, days=2) for n in range(60)))
    world.cloud.set_quota(Quota(service="check", per_second=2))
    world.cloud.set_quota(Quota(service="iotda", per_second=2))
    assert found(world.sweep(asked, limit=60, **STOP))["sent"] == 60


def test_a_sweep_that_has_no_time_says_so_in_time() -> None:
    world = World(check_jobs="listed", latency_seconds=1.0)
    world.cloud.add(*(CheckTask(task_id=f"t-{n}", running_since=world.ago(hours=3)) for n in range(100)))
    with pytest.raises(HuaweiUnavailable):
        world.sweep(CHECKS, seconds=60, **STOP)
    assert world.clock.seconds < 60
    assert world.aws.queues == {}


def test_a_sweep_that_has_no_time_to_find_out_the_ages_says_so() -> None:
    world = World(check_jobs="listed", latency_seconds=1.0)
    world.cloud.add(*(CheckTask(task_id=f"t-{n}", running_since=world.ago(hours=1)) for n in range(20)))
    with pytest.raises(HuaweiUnavailable, match="no time was left to find out since when"):
        world.sweep(CHECKS, seconds=40, **STOP)
    assert world.clock.seconds < 40
    (report,) = world.aws.events
    assert 0 < report["missed"] == report["unknown_age"] < 20


def test_if_the_state_of_no_check_is_told_the_sweep_fails() -> None:
    world = World()
    world.cloud.add(*(CheckTask(task_id=f"t-{n}") for n in range(3)))
    world.cloud.set_faults(Fault(kind="error_json", operation="show_check_progress"))
    with pytest.raises(HuaweiUnavailable, match="not one task"):
        world.sweep(CHECKS, **STOP)


def test_a_check_whose_start_cannot_be_asked_for_is_of_unknown_age_and_keeps_no_other_from_being_stopped() -> None:
    world = World(check_jobs="listed")
    world.cloud.add(*(CheckTask(task_id=each, running_since=world.ago(hours=3)) for each in ("t-1", "t-2")))
    world.cloud.set_faults(Fault(kind="error_json", operation="list_check_jobs", task_id="t-1"))
    report = world.sweep(CHECKS, **STOP)
    assert found(report) == {"scanned": 2, "stale": 1, "protected": 0, "unknown_age": 1, "sent": 1}
    assert report["missed"] == 1
    assert [command["task_id"] for command in world.sent(TASK_QUEUE)] == ["t-2"]


def test_a_list_of_jobs_that_is_down_makes_every_check_one_of_unknown_age() -> None:
    world = World(check_jobs="listed")
    world.cloud.add(*(CheckTask(task_id=f"t-{n}", running_since=world.ago(hours=3)) for n in range(5)))
    world.cloud.set_faults(Fault(kind="error_html", operation="list_check_jobs"))
    report = world.sweep(CHECKS, **STOP)
    assert (report["unknown_age"], report["missed"], report["sent"]) == (5, 5, 0)


def test_a_list_of_jobs_that_refuses_the_key_is_the_deployment_s_fault_all_the_same() -> None:
    world = World(check_jobs="listed")
    world.cloud.add(CheckTask(task_id="t-1", running_since=world.ago(hours=3)))
    world.cloud.set_faults(Fault(kind="unauthorized", operation="list_check_jobs"))
    with pytest.raises(DeploymentFault, match="refused the credentials"):
        world.sweep(CHECKS, **STOP)
    assert (world.aws.queues, world.aws.events) == ({}, [])


def test_a_target_that_no_command_can_name_is_told_of() -> None:
    world = World()
    world.cloud.add(batch("a1", world, days=2, targets=("d 1", "d2")), batch("a2", world, days=2))
    report = world.sweep(BATCHES, **STOP)
    assert (report["stale"], report["missed"], report["sent"]) == (2, 1, 2)
    assert {target for each in world.sent(TARGETS_QUEUE) for target in each["targets"]} == {"d2", "a2-d1", "a2-d2"}


def test_a_task_whose_targets_cannot_be_read_does_not_keep_others_from_being_stopped() -> None:
    world = World()
    world.cloud.add(batch("a1", world, days=2), batch("a2", world, days=2))
    world.cloud.set_faults(Fault(kind="error_json", operation="show_batch_task", task_id="a1"))
    with pytest.raises(HuaweiUnavailable, match="of 1 stale tasks"):
        world.sweep(BATCHES, **STOP)
    assert [command["task_id"] for command in world.sent(TARGETS_QUEUE)] == ["a2"]
    (report,) = world.aws.events
    assert found(report) == {"scanned": 2, "stale": 2, "protected": 0, "unknown_age": 0, "sent": 1}
    assert report["missed"] == 1


def test_commands_that_could_not_be_sent_are_counted_and_the_sweep_fails() -> None:
    world = World()
    world.cloud.add(*(CheckTask(task_id=f"t-{number}", last_check_time=COUNTED) for number in range(3)))
    world.sweep(CHECKS)
    world.aws.events.clear()
    world.pass_by(hours=3)
    refused = {"t-1"}
    world.aws.refuse = lambda each: (
        "InternalError: no" if isinstance(each, Message) and json.loads(each.body)["task_id"] in refused else None
    )
    with pytest.raises(PublishingFailed, match="1 of 3 commands could not be sent"):
        world.sweep(CHECKS, **STOP)
    assert [report["sent"] for report in world.aws.events] == [2]
    assert [command["task_id"] for command in world.sent(TASK_QUEUE)] == ["t-0", "t-2"]
    # The next one still knows how old the run is whose command did not get through.
    refused.clear()
    again = world.sweep(CHECKS, **STOP)
    assert [task["task_id"] for task in again["tasks"]] == ["t-1"]


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (AwsUnavailable(service="EventBridge", operation="PutEvents", code="Throttling", message=""), PublishingFailed),
        (
            AwsRefused(service="EventBridge", operation="PutEvents", code="AccessDenied", message="", mend=""),
            DeploymentFault,
        ),
    ],
)
def test_a_report_that_cannot_be_published_fails_the_sweep(error: Exception, raised: type[Exception]) -> None:
    world = World()
    world.aws.error = error
    with pytest.raises(raised):
        world.sweep(BATCHES)


@pytest.mark.parametrize("evidence", TOLD_BY)
def test_a_sweep_whose_report_is_lost_after_it_has_sent_fails_and_a_repeat_sends_no_other_command(
    evidence: str,
) -> None:
    world = running_for_hours(evidence)
    world.aws.events.clear()
    world.aws.refuse = lambda each: "InternalFailure: no" if isinstance(each, BusEvent) else None
    with pytest.raises(
        PublishingFailed, match="1 of 1 commands were sent; the report could not be published: InternalFailure: no"
    ):
        world.sweep(CHECKS, **STOP)
    world.aws.refuse = lambda _: None
    world.pass_by(minutes=1)
    report = world.sweep(CHECKS, **STOP)
    assert world.aws.events == [report]
    # No second command while the first may still act. Then the run is stale again if CodeArts tells its start; what was
    # only seen ages anew.
    assert report["sent"] == 0
    world.pass_by(minutes=32)
    assert world.sweep(CHECKS, **STOP)["sent"] == (0 if evidence == "sighting" else 1)
    assert len({command["command_id"] for command in world.sent(TASK_QUEUE)}) == 1


def test_a_report_that_the_bus_does_not_take_fails_the_sweep() -> None:
    world = World()
    world.aws.refuse = lambda each: "InternalFailure: no" if isinstance(each, BusEvent) else None
    with pytest.raises(PublishingFailed, match=r"^dry run: the report could not be published: InternalFailure: no"):
        world.sweep(BATCHES)


def test_a_key_that_is_refused_is_the_deployment_s_fault_and_tried_once() -> None:
    world = World()
    world.cloud.add(*(CheckTask(task_id=f"t-{number}") for number in range(9)))
    world.cloud.set_faults(Fault(kind="unauthorized"))
    with pytest.raises(DeploymentFault, match="refused the credentials"):
        world.sweep(CHECKS)
    assert world.cloud.summary().requests == 1


@pytest.mark.parametrize("asked", [{}, CHECKS | {"project_id": PROJECT_ID}, BATCHES | {"task_types": ["x"]}])
def test_what_is_no_sweep_asks_nobody(asked: dict[str, Any]) -> None:
    world = World()
    with pytest.raises(SweepRejected):
        world.sweep(asked)
    assert world.cloud.summary().requests == 0


def test_the_report_is_published_as_it_is_answered() -> None:
    world = World()
    report = world.sweep(BATCHES)
    (entry,) = world.aws.entries
    assert (entry.source, entry.detail_type, entry.resources) == ("stopline", "Sweep Completed", ())
    assert json.loads(entry.detail) == report
    assert report == {
        "sweep": "batch_tasks", "dry_run": True, "scanned": 0, "stale": 0, "protected": 0, "unknown_age": 0,
        "missed": 0, "refused": False, "sent": 0, "targets": 0, "tasks": [],
    }  # fmt: skip


class Runs:
    """Checks that begin, end and begin again; knows when each run really began."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.began: dict[str, datetime] = {}
        self.ended: dict[str, list[CheckRun]] = {}

    def start(self, task_id: str, last_check: str | None) -> None:
        """Begin a run; `last_check`: what the task tells of its latest check if it does not tell of this one."""
        now = self.world.clock.now()
        self.began[task_id] = now
        last_check = f"{now:%Y-%m-%d %H:%M:%S}" if last_check == "told" else last_check
        since = f"{now:%Y-%m-%d %H:%M:%S}"
        self.world.cloud.add(
            CheckTask(
                task_id=task_id,
                last_check_time=last_check,
                running_since=since,
                records=tuple(self.ended.get(task_id, ())),
            )
        )

    def start_anew(self, task_ids: set[str], last_check: str | None) -> None:
        for task_id in task_ids:
            self.end(task_id)
            # Records are dated to the second: of two runs of the same second one cannot be told from the other.
            self.world.pass_by(seconds=1)
            self.start(task_id, last_check)

    def end(self, task_id: str) -> None:
        if began := self.began.pop(task_id, None):
            ended = CheckRun(check_time=f"{began:%Y-%m-%d %H:%M:%S}", check_end_time=self.world.ago(), status="stopped")
            self.ended.setdefault(task_id, []).append(ended)
        if task_id in self.world.cloud.state().check_tasks:
            self.world.cloud.set_check_status(task_id, "success")


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("start"), st.integers(0, 3)),
        st.tuples(st.just("end"), st.integers(0, 3)),
        st.tuples(st.just("wait"), st.integers(1, 200)),
        st.tuples(st.just("sweep"), st.just(-1)),
        st.tuples(st.just("sweep"), st.integers(0, 3)),
    ),
    max_size=30,
)


@given(
    steps=STEPS,
    told=st.sampled_from([{}, {"check_jobs": "listed"}, {"check_jobs": "all"}, {"check_records_show_running": True}]),
    last_check=st.sampled_from(["told", COUNTED, None]),
)
@settings(deadline=None)
def test_no_run_is_ever_stopped_before_it_is_old_enough(
    steps: list[tuple[str, int]], told: dict[str, Any], last_check: str | None
) -> None:
    world = World(**told)
    runs = Runs(world)
    sent_at: dict[str, datetime] = {}
    for step, number in steps:
        match step:
            case "start":
                runs.start_anew({f"t-{number}"}, last_check)
            case "end":
                runs.end(f"t-{number}")
            case "wait":
                world.pass_by(minutes=number)
            case _:
                world.aws.queues.clear()
                begins_anew = {f"t-{number}"} & runs.began.keys()
                with pytest.MonkeyPatch.context() as patched:
                    world.meanwhile(patched, partial(runs.start_anew, begins_anew, last_check))
                    report = world.sweep(CHECKS, **STOP)
                stopped = [command["task_id"] for command in world.sent(TASK_QUEUE)]
                stale = [task["task_id"] for task in report["tasks"]]
                # While a command may still act, no other is sent for the same task.
                valid = {each for each, at in sent_at.items() if world.clock.now() - at < timedelta(minutes=31)}
                assert stopped == [each for each in stale if each not in begins_anew | valid]
                sent_at |= dict.fromkeys(stopped, world.clock.now())
                for task_id in stopped:
                    assert world.clock.now() - runs.began[task_id] >= timedelta(hours=2)
                if told.get("check_jobs"):
                    old = {
                        each
                        for each, at in runs.began.items()
                        if world.clock.now() - at >= timedelta(hours=2, seconds=1)
                    }
                    assert old <= set(stale)

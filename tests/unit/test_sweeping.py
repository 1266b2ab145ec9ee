"""Sweeps from end to end, on the stand-in of Huawei Cloud in told time."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local.huawei import CHECK_PROJECT_ID, PROJECT_ID, AccessKey, BatchTask, CheckTask, Cloud, Fault, Quota, Scenario
from local.huawei.scenario import CheckRun
from shared.aws import AwsRefused, AwsUnavailable, BusEvent, Message
from shared.commands import StopTargets, StopTask, read_command
from shared.errors import DeploymentFault, HuaweiUnavailable, PublishingFailed, SweepRejected
from shared.huawei.client import DerivedSigning, HuaweiClient
from shared.huawei.codearts_check import CodeArtsCheck
from shared.huawei.credentials import Credentials, FixedCredentials
from shared.huawei.task_lists import BatchTaskLists, CheckTaskLists
from shared.publishing import LARGEST_MESSAGE
from shared.settings import SweepStaleTasksSettings, read_settings
from shared.sightings import NoMemory, Sighting
from shared.sweeping import Sweeper
from tests.fakes import ENVIRONMENT, Clock, FakeAws, defaults
from tests.quiet import NoDefects
from tests.simulation import CloudHttp

if TYPE_CHECKING:
    from local.huawei.cloud import Reply
    from local.huawei.signatures import Request
    from shared.deadline import Deadline
    from shared.sightings import Memory

TASK_QUEUE, TARGETS_QUEUE = "https://sqs/stop-task", "https://sqs/stop-targets"
CHECKS = {"sweep": "check_tasks", "project_id": CHECK_PROJECT_ID, "older_than": "PT2H"}
BATCHES = {"sweep": "batch_tasks", "older_than": "P1D"}
STOP = {"dry_run": False}


@dataclass
class DictMemory:
    """`shared.sightings.Sightings` in a dict, with the same conditions."""

    seen: dict[tuple[str, str], Sighting] = field(default_factory=dict)

    def of_project(self, project_id: str, *, deadline: Deadline) -> dict[str, Sighting]:
        assert deadline.remaining() > 0
        return {task: sighting for (project, task), sighting in self.seen.items() if project == project_id}

    def remember(self, project_id: str, task_id: str, sighting: Sighting, *, deadline: Deadline) -> None:
        assert deadline.remaining() > 0
        before = self.seen.get((project_id, task_id))
        if before is None or before.run != sighting.run:
            self.seen[project_id, task_id] = sighting

    def forget(self, project_id: str, task_id: str, sighting: Sighting, *, deadline: Deadline) -> None:
        assert deadline.remaining() > 0
        if self.seen.get((project_id, task_id)) == sighting:
            del self.seen[project_id, task_id]


class World:
    def __init__(self, *, memory: Memory | None = None, **choices: Any) -> None:
        self.clock = Clock()
        self.cloud = Cloud(Scenario.model_validate({"settings": choices}), clock=lambda: self.clock.now().timestamp())
        self.aws = FakeAws()
        self.memory = DictMemory()
        key = AccessKey()
        http = CloudHttp(self.cloud, self.clock, lambda _: None)

        def client(derived: DerivedSigning | None) -> HuaweiClient:
            return HuaweiClient(
                http=http,
                endpoint="https://instance.st1.iotda-app.cn-north-4.myhuaweicloud.com",
                project_id=PROJECT_ID,
                credentials=FixedCredentials(Credentials(key.ak, key.sk)),
                derived=derived,
                now=self.clock.now,
            )

        checks = client(None)
        self.sweeper = Sweeper(
            settings=read_settings(
                SweepStaleTasksSettings,
                ENVIRONMENT
                | {
                    "HUAWEICLOUD_SDK_PROJECT_ID": PROJECT_ID,
                    "STOP_TASK_QUEUE_URL": TASK_QUEUE,
                    "STOP_TARGETS_QUEUE_URL": TARGETS_QUEUE,
                },
            ),
            progress=CodeArtsCheck(checks),
            check_lists=CheckTaskLists(checks),
            batch_lists=BatchTaskLists(client(DerivedSigning("cn-north-4", "iotdm"))),
            memory=memory or self.memory,
            bus=self.aws,
            queues=self.aws,
            check_pace=self.clock.pace(),
            batch_pace=self.clock.pace(),
            patience=self.clock.patience(),
            telemetry=NoDefects(),
        )

    def ago(self, **time: float) -> str:
        return f"{self.clock.now() - timedelta(**time):%Y-%m-%dT%H:%M:%SZ}"

    def sweep(self, asked: dict[str, Any], *, seconds: float = 900.0, **changed: Any) -> dict[str, Any]:
        return self.sweeper.handle(asked | changed, deadline=self.clock.deadline(seconds))

    def pass_by(self, **time: float) -> None:
        self.clock.seconds += timedelta(**time).total_seconds()

    def sent(self, queue_url: str) -> list[dict[str, Any]]:
        return [json.loads(message.body) for message in self.aws.queues.get(queue_url, ())]


def found(report: dict[str, Any]) -> dict[str, int]:
    return {name: report[name] for name in ("scanned", "stale", "protected", "unknown_age", "sent")}


def compact(iso: str) -> str:
    return iso.replace("-", "").replace(":", "")


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
    world.cloud.add(CheckTask(task_id="t-1"))
    world.sweep(CHECKS)
    world.pass_by(hours=1)
    world.cloud.set_check_status("t-1", "stopped")
    world.sweep(CHECKS)
    world.pass_by(hours=1.5)
    world.cloud.add(CheckTask(task_id="t-1"))
    assert found(world.sweep(CHECKS, **STOP)) == {
        "scanned": 1, "stale": 0, "protected": 0, "unknown_age": 1, "sent": 0,
    }  # fmt: skip


def test_what_is_started_again_after_a_sweep_had_it_stopped_is_not_stopped_at_once() -> None:
    world = World()
    world.cloud.add(CheckTask(task_id="t-1"))
    world.sweep(CHECKS)
    world.pass_by(hours=3)
    assert found(world.sweep(CHECKS, **STOP))["sent"] == 1
    world.cloud.add(CheckTask(task_id="t-1"))  # the same last_check_time: nothing tells the runs apart
    world.pass_by(minutes=5)
    assert found(world.sweep(CHECKS, **STOP)) == {
        "scanned": 1, "stale": 0, "protected": 0, "unknown_age": 1, "sent": 0,
    }  # fmt: skip


def test_without_a_table_a_run_whose_start_is_not_told_is_never_stale() -> None:
    world = World(memory=NoMemory())
    world.cloud.add(CheckTask(task_id="t-1"))
    for _ in range(3):
        assert found(world.sweep(CHECKS, **STOP))["unknown_age"] == 1
        world.pass_by(days=1)


@pytest.mark.parametrize(
    ("choices", "evidence"), [({"check_jobs": "listed"}, "job"), ({"check_records_show_running": True}, "check_record")]
)
@pytest.mark.parametrize("form", ["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M:%S"])
def test_a_start_that_is_told_needs_no_sighting(choices: dict[str, Any], evidence: str, form: str) -> None:
    world = World(**choices)
    since = world.clock.now() - timedelta(hours=2)
    young = world.clock.now() - timedelta(hours=1)
    world.cloud.add(
        *(
            CheckTask(task_id=name, running_since=at.strftime(form), last_check_time=at.strftime("%Y-%m-%dT%H:%M:%SZ"))
            for name, at in (("old", since), ("young", young))
        ),
    )
    report = world.sweep(CHECKS, **STOP)
    assert [(task["task_id"], task["evidence"]) for task in report["tasks"]] == [("old", evidence)]
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


def test_what_was_sent_is_reported_even_if_what_was_not_cannot_be_remembered() -> None:
    class Forgetful(DictMemory):
        is_down = False

        def remember(self, project_id: str, task_id: str, sighting: Sighting, *, deadline: Deadline) -> None:
            if self.is_down:
                raise AwsUnavailable(service="DynamoDB", operation="PutItem", code="Throttling", message="")
            super().remember(project_id, task_id, sighting, deadline=deadline)

    memory = Forgetful()
    world = World(memory=memory)
    world.cloud.add(CheckTask(task_id="t-1"), CheckTask(task_id="t-2"))
    world.sweep(CHECKS)
    world.aws.events.clear()
    world.pass_by(hours=3)
    memory.is_down = True
    world.aws.refuse = lambda each: "InternalError: no" if isinstance(each, Message) and "t-1" in each.body else None
    with pytest.raises(AwsUnavailable):
        world.sweep(CHECKS, **STOP)
    assert [(report["stale"], report["sent"]) for report in world.aws.events] == [(2, 1)]


def test_the_jobs_are_better_evidence_than_the_records() -> None:
    world = World(check_jobs="listed", check_records_show_running=True)
    world.cloud.add(CheckTask(task_id="t-1", running_since=world.ago(hours=3)))
    assert world.sweep(CHECKS)["tasks"][0]["evidence"] == "job"


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
    assert command.reason == "runs since 2026-11-23T05:49:05.000Z or longer (job), past 2:00:00"


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


def batch(task_id: str, world: World, *, days: float, **more: Any) -> BatchTask:
    targets = (f"{task_id}-d1", f"{task_id}-d2")
    return BatchTask.model_validate(
        {"task_id": task_id, "targets": targets, "create_time": compact(world.ago(days=days))} | more
    )


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
    assert command.command_id == "sweep:a1:20261122T084905Z:0"
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
    assert [each["command_id"][-2:] for each in by_task["a1"]] == [":0", ":1"]
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


def test_two_sweeps_of_the_same_run_are_the_same_command() -> None:
    world = World()
    world.cloud.add(batch("a1", world, days=2))
    world.sweep(BATCHES, **STOP)
    world.pass_by(minutes=10)
    world.sweep(BATCHES, **STOP)
    first, second = world.sent(TARGETS_QUEUE)
    assert first == second


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


def test_if_the_state_of_no_check_is_told_the_sweep_fails() -> None:
    world = World()
    world.cloud.add(*(CheckTask(task_id=f"t-{n}") for n in range(3)))
    world.cloud.set_faults(Fault(kind="error_json", operation="show_check_progress"))
    with pytest.raises(HuaweiUnavailable, match="not one task"):
        world.sweep(CHECKS, **STOP)


def test_a_task_whose_targets_cannot_be_read_does_not_keep_others_from_being_stopped() -> None:
    world = World()
    world.cloud.add(batch("a1", world, days=2), batch("a2", world, days=2))
    world.cloud.set_faults(Fault(kind="error_json", operation="show_batch_task", task_id="a1"))
    with pytest.raises(HuaweiUnavailable, match="of 1 stale tasks"):
        world.sweep(BATCHES, **STOP)
    assert [command["task_id"] for command in world.sent(TARGETS_QUEUE)] == ["a2"]
    (report,) = world.aws.events
    assert found(report) == {"scanned": 2, "stale": 2, "protected": 0, "unknown_age": 0, "sent": 1}


def test_commands_that_could_not_be_sent_are_counted_and_the_sweep_fails() -> None:
    world = World()
    world.cloud.add(*(CheckTask(task_id=f"t-{number}") for number in range(3)))
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


def test_a_report_that_the_bus_does_not_take_fails_the_sweep() -> None:
    world = World()
    world.aws.refuse = lambda each: "InternalFailure: no" if isinstance(each, BusEvent) else None
    with pytest.raises(PublishingFailed, match="the report could not be published: InternalFailure: no"):
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
        "refused": False, "sent": 0, "tasks": [],
    }  # fmt: skip


class Runs:
    """Checks that begin, end and begin again; knows when each run really began."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.began: dict[str, datetime] = {}

    def start(self, task_id: str, *, tells: bool) -> None:
        now = self.world.clock.now()
        self.began[task_id] = now
        last = f"{now:%Y-%m-%d %H:%M:%S}" if tells else None
        self.world.cloud.add(CheckTask(task_id=task_id, last_check_time=last, running_since=f"{now:%Y-%m-%d %H:%M:%S}"))

    def end(self, task_id: str) -> None:
        self.began.pop(task_id, None)
        if task_id in self.world.cloud.state().check_tasks:
            self.world.cloud.set_check_status(task_id, "success")


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("start"), st.integers(0, 3)),
        st.tuples(st.just("end"), st.integers(0, 3)),
        st.tuples(st.just("wait"), st.integers(1, 200)),
        st.tuples(st.just("sweep"), st.just(0)),
    ),
    max_size=30,
)


@given(
    steps=STEPS,
    told=st.sampled_from([{}, {"check_jobs": "listed"}, {"check_jobs": "all"}, {"check_records_show_running": True}]),
)
@settings(deadline=None)
def test_no_run_is_ever_stopped_before_it_is_old_enough(steps: list[tuple[str, int]], told: dict[str, Any]) -> None:
    world = World(**told)
    runs = Runs(world)
    for step, number in steps:
        match step:
            case "start":
                runs.end(f"t-{number}")
                runs.start(f"t-{number}", tells=True)
            case "end":
                runs.end(f"t-{number}")
            case "wait":
                world.pass_by(minutes=number)
            case _:
                world.aws.queues.clear()
                report = world.sweep(CHECKS, **STOP)
                stopped = [command["task_id"] for command in world.sent(TASK_QUEUE)]
                assert [task["task_id"] for task in report["tasks"]] == stopped
                for task_id in stopped:
                    assert world.clock.now() - runs.began[task_id] >= timedelta(hours=2)
                if told.get("check_jobs") or told.get("check_records_show_running"):
                    old = {
                        each
                        for each, at in runs.began.items()
                        if world.clock.now() - at >= timedelta(hours=2, seconds=1)
                    }
                    assert old <= set(stopped)

"""How many targets a sweep stops, or would stop: of each task and in all, and `None` where that is not known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from local.huawei import CheckTask, Fault
from shared.aws import Message
from shared.errors import DeploymentFault, HuaweiUnavailable, PublishingFailed
from tests.fakes import failure_of
from tests.one_sweep import BATCHES, CHECKS, COUNTED, STOP, TARGETS_QUEUE, TASK_QUEUE, World, batch

if TYPE_CHECKING:
    from shared.aws import Failure


def told(report: dict[str, Any]) -> tuple[int | None, dict[str, int | None]]:
    return report["targets"], {task["task_id"]: task["targets"] for task in report["tasks"]}


def of_the_one_report(world: World) -> tuple[int | None, dict[str, int | None]]:
    (report,) = world.aws.events
    return told(report)


def many(count: int) -> tuple[str, ...]:
    return tuple(f"d{number}" for number in range(count))


def both_ways(world: World, asked: dict[str, Any], **more: Any) -> list[tuple[int | None, dict[str, int | None]]]:
    """Return what a dry run tells, and then what a real run does."""
    return [told(world.sweep(asked, **more)), told(world.sweep(asked, **more, **STOP))]


def test_a_dry_run_of_batch_tasks_tells_how_many_targets_a_real_run_stops() -> None:
    world = World()
    ended = {f"e{number}": "Success" for number in range(7)}
    waiting = {"w1": "Waitting", "w2": "FailWaitRetry"}
    world.cloud.add(
        batch("a1", world, days=3, targets=many(5_001), subtasks=ended),
        batch("a2", world, days=2, targets=(), subtasks=waiting | ended),
        batch("a3", world, days=9, task_name="release-1"),
        batch("a4", world, days=0.5),
    )
    dry, real = both_ways(world, BATCHES, protect=["release-*"])
    assert dry == real == (5_003, {"a1": 5_001, "a2": 2})
    assert sum(len(command["targets"]) for command in world.sent(TARGETS_QUEUE)) == 5_003


def test_a_dry_run_reads_what_a_real_run_reads_and_sends_nothing() -> None:
    world = World()
    world.cloud.add(batch("a1", world, days=2, targets=many(120)), batch("a2", world, days=0.5))

    def asked(**changed: Any) -> list[tuple[str, str | None]]:
        before = len(world.cloud.log())
        world.sweep(BATCHES, **changed)
        return [(record.operation, record.task_id) for record in world.cloud.log()[before:]]

    dry = asked()
    assert world.sent(TARGETS_QUEUE) == []
    assert dry == asked(**STOP)
    assert {task_id for operation, task_id in dry if operation == "show_batch_task"} == {"a1"}


def test_a_stale_check_is_one_target_and_its_dry_run_claims_nothing() -> None:
    world = World()
    world.cloud.add(*(CheckTask(task_id=each, last_check_time=COUNTED) for each in ("t-1", "t-2")))
    world.sweep(CHECKS)
    world.pass_by(hours=3)
    assert told(world.sweep(CHECKS)) == (2, {"t-1": 1, "t-2": 1})
    assert not [item for item in world.memory.items.values() if item.claimed_until]
    assert told(world.sweep(CHECKS, **STOP)) == (2, {"t-1": 1, "t-2": 1})
    assert len(world.sent(TASK_QUEUE)) == 2


@pytest.mark.parametrize("asked", [CHECKS, BATCHES], ids=["checks", "batches"])
def test_where_nothing_is_stale_no_target_is_stopped(asked: dict[str, Any]) -> None:
    world = World()
    assert both_ways(world, asked) == [(0, {}), (0, {})]


def test_of_a_task_of_which_nothing_runs_any_more_no_target_is_stopped() -> None:
    world = World()
    world.cloud.add(
        batch("a1", world, days=3, targets=(), subtasks={"d": "Success"}, status="Processing"),
        batch("a2", world, days=2),
    )
    assert both_ways(world, BATCHES) == [(2, {"a1": 0, "a2": 2})] * 2


def test_a_check_that_ended_or_began_anew_before_the_last_look_is_no_target(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(check_jobs="listed")
    world.cloud.add(*(CheckTask(task_id=each, running_since=world.ago(hours=3)) for each in ("t-1", "t-2", "t-3")))

    def happens() -> None:
        world.cloud.set_check_status("t-1", "success")
        world.cloud.add(CheckTask(task_id="t-2", running_since=world.ago()))

    world.meanwhile(monkeypatch, happens)
    assert told(world.sweep(CHECKS, **STOP)) == (1, {"t-1": 0, "t-2": 0, "t-3": 1})


# What is not known is not 0.


@pytest.mark.parametrize("asked", [CHECKS, BATCHES], ids=["checks", "batches"])
def test_of_a_sweep_that_is_refused_no_number_is_known(asked: dict[str, Any]) -> None:
    world = World(check_jobs="listed")
    world.cloud.add(*(CheckTask(task_id=each, running_since=world.ago(hours=3)) for each in ("a1", "a2")))
    world.cloud.add(*(batch(each, world, days=2) for each in ("a1", "a2")))
    assert both_ways(world, asked, limit=1) == [(None, {"a1": None, "a2": None})] * 2
    assert not [record for record in world.cloud.log() if record.operation == "show_batch_task"]


@pytest.mark.parametrize("more", [{}, STOP], ids=["dry", "real"])
def test_of_a_task_whose_targets_cannot_be_read_no_number_is_known(more: dict[str, Any]) -> None:
    world = World()
    world.cloud.add(batch("a1", world, days=3), batch("a2", world, days=2))
    world.cloud.set_faults(Fault(kind="error_json", operation="show_batch_task", task_id="a1"))
    with pytest.raises(HuaweiUnavailable, match="of 1 stale tasks it could not be found out what still runs"):
        world.sweep(BATCHES, **more)
    assert of_the_one_report(world) == (2, {"a1": None, "a2": 2})
    assert world.aws.events[0]["missed"] == 1


@pytest.mark.parametrize("more", [{}, STOP], ids=["dry", "real"])
def test_if_the_targets_of_no_task_can_be_read_there_is_no_total(more: dict[str, Any]) -> None:
    world = World()
    world.cloud.add(batch("a1", world, days=3), batch("a2", world, days=2))
    world.cloud.set_faults(Fault(kind="error_json", operation="show_batch_task"))
    with pytest.raises(HuaweiUnavailable, match="of 2 stale tasks"):
        world.sweep(BATCHES, **more)
    assert of_the_one_report(world) == (None, {"a1": None, "a2": None})


def test_a_dry_run_that_may_not_read_targets_says_so_before_a_real_run_does() -> None:
    world = World()
    world.cloud.add(batch("a1", world, days=2))
    refused = {"kind": "answer", "operation": "show_batch_task", "status": 403, "body": {"error_code": "IOTDA.000022"}}
    world.cloud.set_faults(Fault.model_validate(refused))
    with pytest.raises(DeploymentFault, match="check the permissions"):
        world.sweep(BATCHES)
    assert of_the_one_report(world) == (None, {"a1": None})


@pytest.mark.parametrize("more", [{}, STOP], ids=["dry", "real"])
def test_targets_that_cannot_be_read_are_not_counted_and_the_task_is_missed(more: dict[str, Any]) -> None:
    world = World()
    world.cloud.add(batch("a1", world, days=3, targets=("d 1",)), batch("a2", world, days=2, targets=("d 1", "d2")))
    report = world.sweep(BATCHES, **more)
    assert told(report) == (1, {"a1": None, "a2": 1})
    assert report["missed"] == 2


@pytest.mark.parametrize("more", [{}, STOP], ids=["dry", "real"])
def test_of_a_task_whose_newest_name_cannot_be_read_no_number_is_known(
    more: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World()
    world.cloud.add(batch("a1", world, days=3), batch("a2", world, days=2))
    unnamed = batch("a1", world, days=3, task_name="\ud83d")
    world.meanwhile(monkeypatch, lambda: world.cloud.add(unnamed))
    report = world.sweep(BATCHES, **more)
    assert told(report) == (2, {"a1": None, "a2": 2})
    assert report["missed"] == 1


@pytest.mark.parametrize("more", [{}, STOP], ids=["dry", "real"])
def test_a_task_that_is_protected_by_its_newest_name_has_no_targets_to_stop(
    more: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World()
    world.cloud.add(batch("a1", world, days=3), batch("a2", world, days=2))
    renamed = batch("a1", world, days=3, task_name="release-1")
    world.meanwhile(monkeypatch, lambda: world.cloud.add(renamed))
    report = world.sweep(BATCHES, protect=["release-*"], **more)
    assert told(report) == (2, {"a2": 2})
    assert (report["stale"], report["protected"]) == (1, 1)


@pytest.mark.parametrize("operation", ["show_check_progress", "list_check_jobs"])
def test_of_a_check_that_cannot_be_looked_at_again_no_number_is_known(
    operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(check_jobs="listed")
    world.cloud.add(*(CheckTask(task_id=each, running_since=world.ago(hours=3)) for each in ("t-1", "t-2")))
    fault = Fault.model_validate({"kind": "error_json", "operation": operation, "task_id": "t-1"})
    world.meanwhile(monkeypatch, lambda: world.cloud.set_faults(fault))
    with pytest.raises(HuaweiUnavailable):
        world.sweep(CHECKS, **STOP)
    assert of_the_one_report(world) == (1, {"t-1": None, "t-2": 1})


def test_of_a_check_whose_newest_name_cannot_be_read_no_number_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(check_jobs="listed")
    since = world.ago(hours=3)
    world.cloud.add(*(CheckTask(task_id=each, running_since=since) for each in ("t-1", "t-2")))
    unnamed = CheckTask(task_id="t-1", running_since=since, task_name="\ud83d")
    world.meanwhile(monkeypatch, lambda: world.cloud.add(unnamed))
    report = world.sweep(CHECKS, **STOP)
    assert told(report) == (1, {"t-1": None, "t-2": 1})
    assert report["missed"] == 1


# What was sent, and what was not.


def test_what_could_not_be_sent_is_not_counted() -> None:
    world = World()
    world.cloud.add(batch("a1", world, days=3, targets=many(5_010)), batch("a2", world, days=2))
    world.aws.refuse = lambda each: (
        "InternalError: no" if isinstance(each, Message) and len(each.body) < 1_000 and '"a1"' in each.body else None
    )
    with pytest.raises(PublishingFailed, match=r"^2 of 3 commands were sent"):
        world.sweep(BATCHES, **STOP)
    assert of_the_one_report(world) == (5_002, {"a1": 5_000, "a2": 2})


@pytest.mark.parametrize(("in_doubt", "count"), [(True, None), (False, 0)])
@pytest.mark.parametrize("asked", [CHECKS, BATCHES], ids=["checks", "batches"])
def test_of_what_was_perhaps_sent_no_number_is_known(
    asked: dict[str, Any],
    in_doubt: bool,  # noqa: FBT001 - a table
    count: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(check_jobs="listed")
    world.cloud.add(CheckTask(task_id="a1", running_since=world.ago(hours=3)), batch("a1", world, days=2))

    def not_sent(*_: Any, **__: Any) -> dict[int, Failure]:
        return {0: failure_of("NoAnswer: cut", in_doubt=in_doubt)}

    monkeypatch.setattr(world.aws, "send_messages", not_sent)
    with pytest.raises(PublishingFailed):
        world.sweep(asked, **STOP)
    assert of_the_one_report(world) == (count, {"a1": count})


def test_what_another_sweep_has_claimed_is_not_counted() -> None:
    world = World(check_jobs="listed")
    world.cloud.add(CheckTask(task_id="t-1", running_since=world.ago(hours=3)))
    assert told(world.sweep(CHECKS, **STOP)) == (1, {"t-1": 1})
    assert told(world.sweep(CHECKS, **STOP)) == (0, {"t-1": 0})


# Many tasks, many targets, and not time enough.


@pytest.mark.parametrize("more", [{}, STOP], ids=["dry", "real"])
def test_if_time_runs_out_the_report_goes_out_with_what_was_read_of_the_oldest(more: dict[str, Any]) -> None:
    world = World(latency_seconds=1.0)
    count = 150
    world.cloud.add(*(batch(f"a{number:03}", world, days=2 + number, targets=many(120)) for number in range(count)))
    with pytest.raises(HuaweiUnavailable, match=r"stale tasks it could not be found out what still runs"):
        world.sweep(BATCHES, seconds=200, limit=1_000, **more)
    assert world.clock.seconds < 200
    (report,) = world.aws.events
    (total, tasks) = told(report)
    assert (report["stale"], len(tasks)) == (count, 100)
    known = [task_id for task_id, targets in tasks.items() if targets is not None]
    # The oldest come first, in the report and in the reading.
    assert known == [f"a{number:03}" for number in range(count - 1, count - 1 - len(known), -1)]
    assert 0 < len(known) < 100
    assert {tasks[task_id] for task_id in known} == {120}
    assert total == 120 * len(known)
    assert report["missed"] == count - len(known)


def test_the_total_counts_the_tasks_that_are_not_shown_as_well() -> None:
    world = World()
    world.cloud.add(*(batch(f"a{number:03}", world, days=2 + number) for number in range(101)))
    dry, real = both_ways(world, BATCHES, limit=1_000)
    assert dry == real
    assert (dry[0], len(dry[1])) == (202, 100)
    assert "a000" not in dry[1]

"""What a sweep takes for evidence: no run is stopped for the age of another, whatever happens between two looks."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from aws_lambda_powertools import Logger

from local.huawei import CHECK_PROJECT_ID, CheckTask, Fault
from local.huawei.scenario import CheckRun
from shared.aws import AwsRefused, AwsUnavailable, BusEvent, Failure, Message
from shared.check_sweep import CheckSweep
from shared.errors import DeploymentFault, HuaweiUnavailable, PublishingFailed
from shared.sightings import Item, Sighting
from shared.sweeping import LONGEST_ERROR
from shared.telemetry import Telemetry
from tests.fakes import failure_of
from tests.one_sweep import (
    BATCHES,
    CHECKS,
    COUNTED,
    STOP,
    TARGETS_QUEUE,
    TASK_QUEUE,
    DictMemory,
    World,
    batch,
    compact,
    found,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from local.huawei.cloud import Reply
    from local.huawei.signatures import Request
    from shared.deadline import Deadline
    from shared.sweeps import Claimed, SweepCommand


def check(world: World, task_id: str = "t-1", **more: Any) -> None:
    """Begin a run of a check that is not counted: nothing but its progress tells it from the one before."""
    world.cloud.add(CheckTask.model_validate({"task_id": task_id, "last_check_time": COUNTED} | more))


def seen(*task_ids: str, ratio: str = "10%", hours: float = 3.0, **environment: str) -> World:
    """Return a world in which a sweep has seen these run, `hours` ago."""
    world = World(environment=environment)
    for task_id in task_ids or ("t-1",):
        check(world, task_id, ratio=ratio)
    world.sweep(CHECKS, **STOP)
    world.pass_by(hours=hours)
    return world


def sent(world: World) -> list[str]:
    return [command["task_id"] for command in world.sent(TASK_QUEUE)]


def throttled() -> AwsUnavailable:
    return AwsUnavailable(service="DynamoDB", operation="PutItem", code="ThrottlingException", message="slow down")


def on_request(world: World, is_it: Callable[[Request], bool], happens: Callable[[], None]) -> None:
    """Let something happen once, right after the answer to the first request that `is_it`."""
    handle, waiting = world.cloud.handle, [happens]

    def handled(request: Request) -> Reply:
        reply = handle(request)
        if waiting and is_it(request):
            waiting.pop()()
        return reply

    world.cloud.handle = handled  # type: ignore[method-assign]


class Nth:
    """Whether this is the request of that number whose target has such an end."""

    def __init__(self, number: int, end: str) -> None:
        self.left = number
        self.end = end

    def __call__(self, request: Request) -> bool:
        self.left -= request.target.partition("?")[0].endswith(self.end)
        return self.left == 0


def young_ever_after(world: World) -> None:
    """Check that the run that began just now is not sent for by any sweep before it is two hours old."""
    world.aws.queues.clear()
    for minutes in (5, 40, 70):
        world.pass_by(minutes=minutes)
        if minutes == 70:
            world.pass_by(minutes=-3)
        world.sweep(CHECKS, **STOP)
        assert sent(world) == []


# An observation that contradicts a sighting removes it, wherever it is made.


@pytest.mark.parametrize("status", ["stopped", "success", "failed"])
def test_what_the_last_look_reads_as_ended_is_not_taken_for_the_run_that_begins_after_it(
    status: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = seen()
    with monkeypatch.context() as patched:
        world.meanwhile(patched, lambda: world.cloud.set_check_status("t-1", status))
        assert found(world.sweep(CHECKS, **STOP))["sent"] == 0
    assert world.memory.seen == {}
    check(world, ratio="60%")
    young_ever_after(world)


def test_what_is_read_to_have_ended_is_removed_before_the_next_task_is_read() -> None:
    world = seen("t-1", "t-2")
    world.cloud.set_check_status("t-1", "stopped")
    left: list[list[str]] = []
    on_request(world, Nth(1, "/t-2/progress"), lambda: left.append(list(world.memory.seen)))
    world.sweep(CHECKS)
    assert left == [["t-2"]]


def test_what_the_last_look_finds_deleted_is_not_taken_for_a_task_that_is_made_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = seen()
    unknown = Fault.model_validate(
        {"kind": "answer", "operation": "show_check_progress", "status": 404, "body": {"error_code": "CC.00050014.404"}}
    )
    with monkeypatch.context() as patched:
        world.meanwhile(patched, lambda: world.cloud.set_faults(unknown))
        assert found(world.sweep(CHECKS, **STOP))["sent"] == 0
    assert world.memory.seen == {}


@pytest.mark.parametrize("reading", range(1, 5))
def test_a_run_that_is_behind_any_reading_of_this_sweep_is_another(reading: int) -> None:
    """Each sweep of a stale check reads its progress four times: the state and the look, and both once more."""
    world = seen(ratio="10%")
    check(world, ratio="80%")

    def begins_anew() -> None:
        check(world, ratio="15%")

    if reading < 4:
        on_request(world, Nth(reading, "/progress"), begins_anew)
    else:
        begins_anew()
        world.sweep(CHECKS | {"dry_run": True})
        begins_anew()
    assert found(world.sweep(CHECKS, **STOP))["sent"] == (1 if reading == 4 else 0)
    if reading < 4:
        young_ever_after(world)


@pytest.mark.parametrize("operation", ["list_check_records", "list_check_jobs"])
def test_a_reading_counts_even_if_nothing_else_could_be_read(operation: str) -> None:
    world = World(check_jobs="listed")
    check(world, ratio="10%")
    world.sweep(CHECKS)
    world.pass_by(hours=3)
    check(world, ratio="60%")
    world.cloud.set_faults(odd(operation, None, {"error_code": "CC.00000000"}, 500))
    assert world.sweep(CHECKS, **STOP)["missed"] == 1
    world.cloud.set_faults()
    check(world, ratio="20%")
    young_ever_after(world)


def test_a_reading_counts_beside_a_list_of_jobs_too() -> None:
    world = World(check_jobs="listed")
    began = world.ago(minutes=1)
    check(world, ratio="10%")
    world.sweep(CHECKS)
    world.pass_by(hours=1.5)
    check(world, ratio="60%", running_since=began)
    world.sweep(CHECKS)
    world.pass_by(hours=1.5)
    check(world, ratio="20%")
    young_ever_after(world)


def test_a_run_that_goes_on_through_all_readings_is_stopped() -> None:
    world = seen(ratio="10%")
    for reading, ratio in ((1, "20%"), (2, "30%"), (3, "40%")):
        on_request(world, Nth(reading, "/progress"), lambda ratio=ratio: check(world, ratio=ratio))  # type: ignore[misc]
    assert found(world.sweep(CHECKS, **STOP))["sent"] == 1


def test_a_sighting_that_a_list_of_jobs_refutes_is_removed() -> None:
    world = World(check_jobs="listed")
    check(world)  # in no list of jobs
    world.sweep(CHECKS, **STOP)
    assert list(world.memory.seen) == ["t-1"]
    world.pass_by(hours=2.9)
    check(world, running_since=world.ago())
    world.sweep(CHECKS, **STOP)
    assert world.memory.seen == {}
    check(world)
    young_ever_after(world)


def seen_by_another(world: World, *, hours_ago: float) -> None:
    """Write what another sweep, for which there is no list of jobs, may have seen."""
    first_seen = world.clock.now().replace(microsecond=0) - timedelta(hours=hours_ago)
    world.memory.items[CHECK_PROJECT_ID, "t-1"] = Item("another's", Sighting(COUNTED, first_seen, 10))


def test_a_last_look_removes_what_another_sweep_has_seen_since(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(check_jobs="listed")
    check(world, running_since=world.ago(hours=3))

    def is_seen_and_ends() -> None:
        seen_by_another(world, hours_ago=2.5)
        world.cloud.set_check_status("t-1", "stopped")

    world.meanwhile(monkeypatch, is_seen_and_ends)
    assert found(world.sweep(CHECKS, **STOP))["sent"] == 0
    assert world.memory.items == {}


def test_a_list_of_jobs_refutes_what_another_sweep_writes_while_it_is_read() -> None:
    world = World(check_jobs="listed")
    check(world, running_since=world.ago(minutes=5))
    on_request(world, Nth(1, "/jobs"), lambda: seen_by_another(world, hours_ago=2.5))
    world.sweep(CHECKS, **STOP)
    assert world.memory.items == {}


@pytest.mark.parametrize("shows_running", [True, False])
def test_a_record_that_a_run_cut_short_has_left_without_an_end_says_nothing_of_the_next(shows_running: bool) -> None:  # noqa: FBT001 - a table
    world = World(check_records_show_running=shows_running)
    began = world.ago()
    check(world, running_since=began, last_check_time=began)
    world.pass_by(hours=2)
    left = CheckRun(check_time=began, status="stopped")
    check(world, status="stopped", last_check_time=began, records=(left,))
    world.sweep(CHECKS, **STOP)
    check(world, last_check_time=began, records=(left,), ratio="1%")
    young_ever_after(world)


@pytest.mark.parametrize("last_check", ["2026-11-23T08:49:00Z", None])
def test_a_sighting_of_a_task_that_the_next_list_counts_anew_is_removed(last_check: str | None) -> None:
    world = seen()
    on_request(world, Nth(1, "/tasks"), lambda: check(world, ratio="60%", last_check_time=last_check))
    world.sweep(CHECKS)
    assert world.memory.seen == {}


def test_a_sighting_that_a_list_of_jobs_confirms_stays() -> None:
    world = World(check_jobs="listed")
    began = world.ago(minutes=1)
    check(world)
    world.sweep(CHECKS, **STOP)
    world.pass_by(hours=1)
    check(world, running_since=began)
    world.sweep(CHECKS, **STOP)
    world.pass_by(hours=1.1)
    check(world)
    assert found(world.sweep(CHECKS, **STOP))["sent"] == 1


def test_what_is_removed_is_removed_whatever_another_sweep_has_written_meanwhile() -> None:
    world = seen()
    written: list[Item] = []

    def another_writes(task_id: str, new: Item | None) -> None:
        if new is None and len(written) < 3:
            key = next(key for key in world.memory.items if key[1] == task_id)
            written.append(world.memory.items[key])
            world.memory.items[key] = replace(written[-1], version=f"other-{len(written)}")

    world.memory.before_swap = another_writes
    world.cloud.set_check_status("t-1", "stopped")
    world.sweep(CHECKS)
    assert (world.memory.items, len(written)) == ({}, 3)


def test_if_what_is_refuted_cannot_be_removed_of_one_task_it_is_still_removed_of_the_others() -> None:
    world = seen("t-1", "t-2", "t-3")
    for task_id in ("t-1", "t-2", "t-3"):
        world.cloud.set_check_status(task_id, "stopped")

    def down(task_id: str, _: Item | None) -> None:
        if task_id == "t-1":
            raise throttled()

    world.memory.before_swap = down
    with pytest.raises(AwsUnavailable):
        world.sweep(CHECKS, **STOP)
    # What was read is removed at once; of the others nothing is known.
    assert "t-1" in world.memory.seen
    assert sent(world) == []


# No update revives an item, and two sweeps send one command.


@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize("reading", [1, 2])
def test_a_sweep_that_reads_while_another_has_the_run_stopped_brings_no_sighting_back(
    reading: int,
    dry_run: bool,  # noqa: FBT001 - a table
) -> None:
    world = seen()

    def another_sweep_has_it_stopped() -> None:
        assert found(world.sweep_beside(CHECKS, **STOP))["sent"] == 1
        world.cloud.set_check_status("t-1", "stopped")
        world.sweep_beside(CHECKS)
        check(world, ratio="90%")

    on_request(world, Nth(reading, "/progress"), another_sweep_has_it_stopped)
    world.sweep(CHECKS, dry_run=dry_run)
    assert len(sent(world)) == 1
    young_ever_after(world)


def test_of_two_sweeps_at_once_the_one_that_claimed_the_run_sends() -> None:
    world = seen()
    others: list[dict[str, Any]] = []

    def another_is_first(_: str, new: Item | None) -> None:
        if new is not None and new.claimed_until and not others:
            others.append({})
            others[0] = world.sweep_beside(CHECKS, **STOP)

    world.memory.before_swap = another_is_first
    mine = world.sweep(CHECKS, **STOP)
    assert (others[0]["sent"], mine["stale"], mine["sent"]) == (1, 1, 0)
    assert sent(world) == ["t-1"]


def test_a_dry_run_beside_it_takes_no_run_away_from_a_sweep_that_sends() -> None:
    world = seen(*FOUR, ratio="10%")
    moved: set[str] = set()

    def goes_on_and_is_seen(task_id: str, new: Item | None) -> None:
        if new is not None and new.claimed_until and task_id not in moved:
            moved.add(task_id)
            check(world, task_id, ratio="50%")
            world.sweep_beside(CHECKS, dry_run=True)

    world.memory.before_swap = goes_on_and_is_seen
    assert found(world.sweep(CHECKS, **STOP))["sent"] == 4
    assert (sorted(sent(world)), moved) == (list(FOUR), set(FOUR))


def test_a_run_that_another_sweep_saw_begin_anew_before_the_claim_is_not_sent_for() -> None:
    world = seen(ratio="10%")

    def begins_anew_and_is_seen(_: str, new: Item | None) -> None:
        if new is not None and new.claimed_until:
            world.memory.before_swap = lambda *_: None
            check(world, ratio="5%")
            world.sweep_beside(CHECKS, dry_run=True)

    world.memory.before_swap = begins_anew_and_is_seen
    assert found(world.sweep(CHECKS, **STOP))["sent"] == 0
    young_ever_after(world)


def test_two_sweeps_at_once_send_one_command_by_jobs_too() -> None:
    world = World(check_jobs="listed")
    since = world.ago(hours=3)
    check(world, running_since=since, last_check_time=since)
    others: list[dict[str, Any]] = []
    on_request(world, Nth(2, "/progress"), lambda: others.append(world.sweep_beside(CHECKS, **STOP)))
    world.sweep(CHECKS, **STOP)
    assert sent(world) == ["t-1"]


def test_a_look_from_before_another_sweep_saw_the_run_ended_is_not_written() -> None:
    """The other sweep has nothing to contradict yet, unless the task was marked before the look."""
    world = World()
    check(world)

    def ends_and_begins_anew(*_: Any) -> None:
        world.memory.before_swap = lambda *_: None
        world.cloud.set_check_status("t-1", "stopped")
        world.sweep_beside(CHECKS)
        world.pass_by(minutes=5)
        check(world, ratio="90%")

    def before_the_next_write() -> None:
        world.memory.before_swap = ends_and_begins_anew

    on_request(world, Nth(2, "/progress"), before_the_next_write)
    world.sweep(CHECKS)
    assert all(sighting.first_seen >= world.clock.now() for sighting in world.memory.seen.values())
    young_ever_after(world)


def test_what_another_sweep_writes_before_this_one_reads_the_run_ended_is_removed() -> None:
    world = World()
    check(world, "t-0")
    check(world, "t-1")

    def is_seen_by_another_and_ends() -> None:
        world.sweep_beside(CHECKS)
        assert "t-1" in world.memory.seen
        world.cloud.set_check_status("t-1", "stopped")

    on_request(world, Nth(1, "/t-0/progress"), is_seen_by_another_and_ends)
    world.sweep(CHECKS)
    assert list(world.memory.seen) == ["t-0"]


def test_while_a_command_may_still_act_its_run_is_not_seen_anew() -> None:
    """A sighting of a run that is about to be stopped would be taken for one of the run that takes its place."""
    world = seen()
    assert found(world.sweep(CHECKS, **STOP))["sent"] == 1
    world.pass_by(minutes=20)
    assert found(world.sweep(CHECKS, **STOP))["unknown_age"] == 1
    assert world.memory.seen == {}
    world.pass_by(minutes=9)  # only now is it stopped, and started again
    check(world, ratio="90%")
    young_ever_after(world)


@pytest.mark.parametrize("minutes", [14, -14])
def test_a_claim_holds_for_a_sweep_whose_clock_is_wrong(minutes: int) -> None:
    world = World(check_jobs="listed")
    check(world, running_since=world.ago(hours=3))
    assert found(world.sweep(CHECKS, **STOP))["sent"] == 1
    world.pass_by(minutes=20)
    assert found(world.sweep_beside(CHECKS, ahead=timedelta(minutes=minutes), **STOP))["sent"] == 0


@pytest.mark.parametrize("ratio", ["?", ""])
def test_a_run_whose_progress_cannot_be_read_is_not_written_down(ratio: str) -> None:
    world = World()
    check(world, ratio=ratio)
    written: list[str] = []
    world.memory.before_swap = lambda task_id, _: written.append(task_id)
    assert found(world.sweep(CHECKS, **STOP))["unknown_age"] == 1
    assert written == []


def test_a_run_that_outlives_its_command_is_seen_anew_and_stopped_two_hours_later() -> None:
    world = seen()
    for _ in range(2):
        assert found(world.sweep(CHECKS, **STOP))["sent"] == 1
        world.pass_by(minutes=32)
        assert found(world.sweep(CHECKS, **STOP))["unknown_age"] == 1
        world.pass_by(hours=2.1)


def test_what_was_seen_to_end_while_its_command_may_still_act_does_not_come_back() -> None:
    """The command is claimed, another sweep sees the run ended, and then the command cannot be sent."""
    world = seen()

    def refuse(each: BusEvent | Message) -> str | None:
        if isinstance(each, BusEvent):
            return None
        world.aws.refuse = lambda _: None
        world.cloud.set_check_status("t-1", "stopped")
        world.sweep_beside(CHECKS)
        check(world, ratio="90%")
        return "InternalError: no"

    world.aws.refuse = refuse
    with pytest.raises(PublishingFailed):
        world.sweep(CHECKS, **STOP)
    assert world.memory.seen == {}
    young_ever_after(world)


def while_a_queue_refuses(world: World, happens: Callable[[], None]) -> None:
    """Sweep, and let something happen between the claim and the answer of SQS, which takes nothing."""

    def refuse(each: BusEvent | Message) -> str | None:
        if isinstance(each, BusEvent):
            return None
        world.aws.refuse = lambda _: None
        happens()
        return "ServiceUnavailable: no"

    world.aws.refuse = refuse
    with pytest.raises(PublishingFailed, match=r"^0 of 1 commands were sent"):
        world.sweep(CHECKS, **STOP)


@pytest.mark.parametrize("dry_run", [True, False])
def test_what_was_seen_to_go_back_while_it_was_claimed_does_not_come_back(dry_run: bool) -> None:  # noqa: FBT001 - a table
    world = seen(ratio="50%")

    def begins_anew_and_is_seen() -> None:
        check(world, ratio="5%")
        world.sweep_beside(CHECKS, dry_run=dry_run)
        check(world, ratio="55%")

    while_a_queue_refuses(world, begins_anew_and_is_seen)
    assert world.memory.seen == {}
    young_ever_after(world)


def test_what_a_job_refutes_while_it_is_claimed_does_not_come_back() -> None:
    world = World(check_jobs="listed")
    check(world)
    world.sweep(CHECKS)
    world.pass_by(hours=3)

    def begins_anew_and_is_seen() -> None:
        check(world, running_since=world.ago())
        world.sweep_beside(CHECKS)
        check(world, ratio="90%")

    while_a_queue_refuses(world, begins_anew_and_is_seen)
    assert world.memory.seen == {}
    young_ever_after(world)


# What sent nothing leaves the evidence as it was.


FOUR = ("t-1", "t-2", "t-3", "t-4")


def test_if_the_queue_refuses_everything_the_next_sweep_sends_everything() -> None:
    world = seen(*FOUR)
    before = world.memory.seen
    world.aws.queue_error = AwsRefused(
        service="SQS", operation="SendMessageBatch", code="AccessDenied", message="no", mend="allow it"
    )
    with pytest.raises(DeploymentFault, match=r"0 of 4 commands were sent; https://sqs/[*]{3}: SQS .*AccessDenied"):
        world.sweep(CHECKS, **STOP)
    assert world.memory.seen == before
    assert world.aws.events[-1]["sent"] == 0
    world.aws.queue_error = None
    assert found(world.sweep(CHECKS, **STOP))["sent"] == 4


def test_a_queue_that_refuses_a_sweep_is_shown_without_a_login() -> None:
    queue = "https://user:never-shown@sqs.example/1/q"  # pragma: allowlist secret - it opens nothing
    world = seen(*FOUR, STOP_TASK_QUEUE_URL=queue)
    world.aws.queue_error = AwsRefused(
        service="SQS", operation="SendMessageBatch", code="AccessDenied", message="no", mend="allow it"
    )
    with pytest.raises(DeploymentFault, match=r"; https://[*]{3}: SQS .*AccessDenied") as fault:
        world.sweep(CHECKS, **STOP)
    assert "never-shown" not in str(fault.value)


def test_if_the_claim_of_one_is_throttled_the_others_are_sent_and_the_next_sweep_sends_that_one() -> None:
    world = seen(*FOUR)

    def down(task_id: str, new: Item | None) -> None:
        if task_id == "t-3" and new is not None and new.claimed_until:
            raise throttled()

    world.memory.before_swap = down
    with pytest.raises(PublishingFailed, match=r"3 of 4 commands were sent; DynamoDB PutItem: ThrottlingException"):
        world.sweep(CHECKS, **STOP)
    assert sorted(sent(world)) == ["t-1", "t-2", "t-4"]
    assert list(world.memory.seen) == ["t-3"]
    world.memory.before_swap = lambda *_: None
    assert found(world.sweep(CHECKS, **STOP))["sent"] == 1
    assert sorted(sent(world)) == list(FOUR)


def test_a_claim_whose_answer_was_lost_is_taken_back() -> None:
    class Lossy(DictMemory):
        def swap(self, project_id: str, task_id: str, held: Any, new: Any, *, deadline: Any) -> bool:
            answer = super().swap(project_id, task_id, held, new, deadline=deadline)
            if new is not None and new.claimed_until:
                raise throttled()
            return answer

    world = World(memory=(memory := Lossy()))
    check(world)
    world.sweep(CHECKS)
    world.pass_by(hours=3)
    with pytest.raises(PublishingFailed, match="0 of 1 commands were sent"):
        world.sweep(CHECKS, **STOP)
    assert list(memory.seen) == ["t-1"]


@pytest.mark.parametrize("in_doubt", [True, False])
def test_only_what_surely_was_not_sent_keeps_its_sighting(
    in_doubt: bool,  # noqa: FBT001 - a table
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = seen()

    def not_sent(*_: Any, **__: Any) -> dict[int, Failure]:
        return {0: failure_of("NoAnswer: cut", in_doubt=in_doubt)}

    with monkeypatch.context() as patched:
        patched.setattr(world.aws, "send_messages", not_sent)
        with pytest.raises(PublishingFailed, match=r"^0 of 1 commands were sent") as raised:
            world.sweep(CHECKS, **STOP)
    assert ("(1 more perhaps)" in str(raised.value)) is in_doubt
    assert list(world.memory.seen) == ([] if in_doubt else ["t-1"])


@pytest.mark.parametrize("evidence", ["job", "sighting"])
def test_a_claim_of_a_sweep_that_died_before_it_sent_ends_with_the_command(evidence: str) -> None:
    world = World(check_jobs="listed")
    check(world, running_since=world.ago() if evidence == "job" else None)
    world.sweep(CHECKS)
    world.pass_by(hours=3)

    class Killed(BaseException):
        pass

    def killed(_: BusEvent | Message) -> str | None:
        raise Killed

    world.aws.refuse = killed
    with pytest.raises(Killed):
        world.sweep(CHECKS, **STOP)
    world.aws.refuse = lambda _: None
    assert found(world.sweep(CHECKS, **STOP))["sent"] == 0
    world.pass_by(minutes=32)
    assert found(world.sweep(CHECKS, **STOP))["sent"] == (1 if evidence == "job" else 0)


# One step or one task that fails keeps no other from its turn.


@pytest.mark.parametrize("latency", [1.12, 1.2, 1.5])
def test_what_the_last_look_had_time_for_is_sent(latency: float) -> None:
    world = World(check_jobs="listed", latency_seconds=latency)
    for number in range(125):
        check(world, f"t-{number:03}", running_since=world.ago(hours=3))

    def takes_time(*_: Any) -> None:
        world.clock.seconds += 0.02

    world.memory.before_swap = takes_time
    with pytest.raises(HuaweiUnavailable, match=r"^(\d+) of \1 commands were sent; of \d+ stale tasks"):
        world.sweep(CHECKS, limit=125, **STOP)
    (report,) = world.aws.events
    assert report["sent"] == len(sent(world)) == 125 - report["missed"] > 20


def test_a_last_look_that_takes_all_its_time_leaves_the_claims_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(check_jobs="listed")
    for number in range(30):
        check(world, f"t-{number:02}", running_since=world.ago(hours=3))
    handle = world.cloud.handle

    def slow(request: Request) -> Reply:
        world.clock.seconds += 60 * ("quering" in request.target)
        return handle(request)

    world.meanwhile(monkeypatch, lambda: setattr(world.cloud, "handle", slow))
    with pytest.raises(HuaweiUnavailable, match=r"^(\d+) of \1 commands were sent; of \d+ stale tasks"):
        world.sweep(CHECKS, **STOP)
    assert world.clock.seconds > 800
    assert len(sent(world)) == world.aws.events[-1]["sent"] > 10


@pytest.mark.parametrize("latency", [1.5, 2.0, 2.5])
def test_a_last_look_that_has_no_time_for_all_sends_for_some(latency: float) -> None:
    world = seen(*(f"t-{number:03}" for number in range(125)))
    handle = world.cloud.handle

    def slow(request: Request) -> Reply:
        world.clock.seconds += latency / 8 if len(world.cloud.log()) < 640 else latency
        return handle(request)

    world.cloud.handle = slow  # type: ignore[method-assign]
    with pytest.raises(HuaweiUnavailable, match=r"^(\d+) of \1 commands were sent; of \d+ stale tasks"):
        world.sweep(CHECKS, limit=125, **STOP)
    assert world.aws.events[-1]["sent"] == len(sent(world)) > 20


@pytest.mark.parametrize(("older_than", "latency"), [("PT2M", 2.0), ("PT1M", 1.0)])
@pytest.mark.parametrize("asked", [CHECKS, BATCHES], ids=["checks", "batches"])
def test_a_command_that_would_come_too_late_is_neither_sent_nor_claimed(
    asked: dict[str, Any], older_than: str, latency: float
) -> None:
    world = World(check_jobs="listed", latency_seconds=latency)
    for number in range(60):
        check(world, f"t-{number:02}", running_since=world.ago(hours=3))
        world.cloud.add(batch(f"a{number:02}", world, days=2))
    with pytest.raises(HuaweiUnavailable) as raised:
        world.sweep(asked, older_than=older_than, limit=60, **STOP)
    missed, valid = world.aws.events[0]["missed"], 60 * int(older_than[2])
    assert str(raised.value) == (
        f"{60 - missed} of {60 - missed} commands were sent; of {missed} stale tasks the commands, valid for {valid} "
        "seconds from the last look, would have come too late: CommandTtlSeconds or older_than is too short"
    )
    commands = world.sent(TASK_QUEUE) or world.sent(TARGETS_QUEUE)
    assert 5 < len(commands) < 60
    assert all(datetime.fromisoformat(command["expires_at"]) > world.clock.now() for command in commands)
    assert len([item for item in world.memory.items.values() if item.claimed_until]) in {0, len(commands)}


@pytest.mark.parametrize("jobs", ["absent", "listed"])
def test_what_another_sweep_has_claimed_needs_no_further_look(jobs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(check_jobs=jobs)
    for task_id in FOUR:
        check(world, task_id, running_since=world.ago(hours=3) if jobs == "listed" else None)
    world.sweep(CHECKS)
    world.pass_by(hours=3)
    asked: list[int] = []
    claim = CheckSweep.claim

    def another_is_first(self: CheckSweep, commands: Sequence[SweepCommand]) -> Claimed:
        monkeypatch.undo()
        assert found(world.sweep_beside(CHECKS, **STOP))["sent"] == 4
        asked.append(len(world.cloud.log()))
        return claim(self, commands)

    monkeypatch.setattr(CheckSweep, "claim", another_is_first)
    assert found(world.sweep(CHECKS, **STOP))["sent"] == 0
    assert asked == [len(world.cloud.log())]


def test_one_task_that_somebody_else_answers_about_at_its_claim_keeps_no_other_from_being_stopped() -> None:
    world = seen("t-1", "t-2")

    def is_written_by_another(task_id: str, new: Item | None) -> None:
        if task_id == "t-1" and new is not None and new.claimed_until:
            world.memory.before_swap = lambda *_: None
            key = CHECK_PROJECT_ID, task_id
            world.memory.items[key] = replace(world.memory.items[key], version="other")
            world.cloud.set_faults(odd("show_check_progress", "t-1", "<html>", 404))

    world.memory.before_swap = is_written_by_another
    with pytest.raises(HuaweiUnavailable, match=r"^1 of 2 commands were sent; .* is it its address"):
        world.sweep(CHECKS, **STOP)
    assert sent(world) == ["t-2"]


@pytest.mark.parametrize("status", [403, 404])
def test_a_last_look_that_is_refused_is_reported(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(check_jobs="listed")
    for task_id in FOUR:
        check(world, task_id, running_since=world.ago(hours=3))
    refused = odd("show_check_progress", "t-1", {"error_code": "CC.00010001", "error_msg": "no"}, status)
    world.meanwhile(monkeypatch, lambda: world.cloud.set_faults(refused))
    report = world.sweep(CHECKS, **STOP)
    assert (report["stale"], report["missed"], report["sent"]) == (4, 1 if status == 403 else 0, 3)


def test_if_somebody_else_answers_every_last_look_it_is_the_deployment_s_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(check_jobs="listed")
    check(world, running_since=world.ago(hours=3))
    world.meanwhile(monkeypatch, lambda: world.cloud.set_faults(odd("show_check_progress", None, "<html>", 404)))
    with pytest.raises(DeploymentFault, match=r"^0 of 0 commands were sent; .* is it its address"):
        world.sweep(CHECKS, **STOP)
    assert [report["missed"] for report in world.aws.events] == [1]


@pytest.mark.parametrize("asked", [{}, {"dry_run": False, "limit": 1}], ids=["dry run", "above the limit"])
def test_a_sweep_that_sends_nothing_needs_the_table_no_more(
    asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(check_jobs="listed")
    for task_id in FOUR:
        check(world, task_id, running_since=world.ago(hours=3))

    def down(*_: Any, **__: Any) -> None:
        raise throttled()

    world.meanwhile(monkeypatch, lambda: monkeypatch.setattr(world.memory, "of_project", down))
    assert world.sweep(CHECKS, **asked)["stale"] == 4


def test_a_queue_that_hangs_costs_neither_the_report_nor_the_sightings(monkeypatch: pytest.MonkeyPatch) -> None:
    world = seen(*(f"t-{number}" for number in range(40)))
    before = world.memory.seen

    def hang(_: str, messages: Sequence[Message], *, deadline: Deadline) -> dict[int, Failure]:
        world.clock.seconds += deadline.remaining()
        return dict.fromkeys(range(len(messages)), failure_of("NoAnswer: no connection"))

    def takes_time(*_: Any) -> None:
        world.clock.seconds += 0.02

    world.memory.before_swap = takes_time
    world.aws.events.clear()
    with monkeypatch.context() as patched:
        patched.setattr(world.aws, "send_messages", hang)
        with pytest.raises(PublishingFailed, match=r"^0 of 40 commands were sent; 40 of 40 commands could"):
            world.sweep(CHECKS, **STOP)
    assert [report["sent"] for report in world.aws.events] == [0]
    assert world.memory.seen == before
    assert found(world.sweep(CHECKS, **STOP))["sent"] == 40


def odd(operation: str, task_id: str | None, body: Any, status: int) -> Fault:
    fault = {"kind": "answer", "operation": operation, "status": status, "body": body}
    return Fault.model_validate(fault | ({} if task_id is None else {"task_id": task_id}))


FOREIGN = [(404, "<html>"), (404, {"error_code": "X.1", "error_msg": "no"}), (403, {"error_code": "IOTDA.000022"})]


@pytest.mark.parametrize(("status", "body"), FOREIGN[:2])
def test_a_check_that_somebody_else_answers_about_keeps_no_other_from_being_stopped(status: int, body: Any) -> None:
    world = World(check_jobs="listed")
    for task_id in FOUR:
        check(world, task_id, running_since=world.ago(hours=3))
    world.cloud.set_faults(odd("show_check_progress", "t-2", body, status))
    report = world.sweep(CHECKS, **STOP)
    assert (report["missed"], report["sent"]) == (1, 3)
    world.cloud.set_faults(odd("show_check_progress", None, body, status))
    with pytest.raises(DeploymentFault, match="is it its address"):
        world.sweep(CHECKS, **STOP)


@pytest.mark.parametrize(("status", "body"), FOREIGN)
def test_a_batch_task_that_is_refused_keeps_no_other_from_being_stopped(status: int, body: Any) -> None:
    world = World()
    for task_id in ("a1", "a2", "a3"):
        world.cloud.add(batch(task_id, world, days=2))
    world.cloud.set_faults(odd("show_batch_task", "a2", body, status))
    with pytest.raises(HuaweiUnavailable, match=r"^2 of 2 commands were sent; of 1 stale tasks"):
        world.sweep(BATCHES, **STOP)
    world.cloud.set_faults(odd("show_batch_task", None, body, status))
    with pytest.raises(DeploymentFault, match=r"is it its address|check the permissions"):
        world.sweep(BATCHES, **STOP)


def test_an_error_is_short_however_many_reasons_it_has() -> None:
    world = seen(*(f"t-{number:03}" for number in range(200)))

    def down(task_id: str, new: Item | None) -> None:
        if new is not None and new.claimed_until:
            raise AwsUnavailable(service="DynamoDB", operation="PutItem", code="X", message=f"of {task_id} " * 9)

    world.memory.before_swap = down
    with pytest.raises(PublishingFailed, match=r"^0 of 200 commands were sent; DynamoDB") as raised:
        world.sweep(CHECKS, limit=200, **STOP)
    assert len(str(raised.value)) <= LONGEST_ERROR


def test_an_error_says_each_reason_once() -> None:
    world = seen(*(f"t-{number:02}" for number in range(30)))

    def down(_: str, new: Item | None) -> None:
        if new is not None and new.claimed_until:
            raise throttled()

    world.memory.before_swap = down
    with pytest.raises(PublishingFailed) as raised:
        world.sweep(CHECKS, **STOP)
    assert str(raised.value) == f"0 of 30 commands were sent; {throttled()}"


# An error says what was sent.


def test_if_the_report_and_the_table_fail_after_commands_were_sent_the_error_says_how_many() -> None:
    world = seen(*(f"t-{number:02}" for number in range(12)))

    def refuse(each: BusEvent | Message) -> str | None:
        if isinstance(each, BusEvent):
            return "InternalFailure: no bus"
        return "InternalError: no queue" if json.loads(each.body)["task_id"] == "t-07" else None

    def down(_: str, new: Item | None) -> None:
        if new is not None and new.sighting and not new.claimed_until and len(sent(world)) == 11:
            raise throttled()

    world.aws.refuse = refuse
    world.memory.before_swap = down
    with pytest.raises(PublishingFailed) as raised:
        world.sweep(CHECKS, **STOP)
    said = str(raised.value)
    assert said.startswith("11 of 12 commands were sent; ")
    for word in ("InternalError: no queue", "InternalFailure: no bus", "DynamoDB PutItem: ThrottlingException"):
        assert word in said


def test_an_error_of_the_bus_and_one_of_a_last_look_are_both_in_the_words(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(check_jobs="listed")
    for task_id in ("t-1", "t-2"):
        check(world, task_id, running_since=world.ago(hours=3))
    fault = Fault(kind="error_json", operation="show_check_progress", task_id="t-1")
    world.meanwhile(monkeypatch, lambda: world.cloud.set_faults(fault))
    world.aws.error = AwsRefused(service="EventBridge", operation="PutEvents", code="No", message="no", mend="")
    with pytest.raises(DeploymentFault, match=r"^1 of 1 commands were sent; OUTCOME_BUS_NAME: .*; of 1 stale tasks"):
        world.sweep(CHECKS, **STOP)
    world.aws.error = None
    world.cloud.set_faults()
    with pytest.raises(HuaweiUnavailable, match=r"^0 of 1 commands were sent; of 1 stale tasks"):
        world.sweep(CHECKS, **STOP)  # the command for t-2 may still act


def test_no_target_of_a_sweep_is_in_what_lambda_logs() -> None:
    log = io.StringIO()
    telemetry = Telemetry(Logger(service="a sweep's log", stream=log))
    world = World(telemetry=telemetry)
    world.cloud.add(batch("a1", world, days=2, targets=("d-secret",)))
    world.aws.refuse = lambda each: "InvalidMessageContents: d-secret" if isinstance(each, Message) else None
    with (
        pytest.raises(
            PublishingFailed, match=r"^0 of 1 commands were sent; .*InvalidMessageContents: \*\*\*"
        ) as raised,
        telemetry.invocation("sweep_stale_tasks", "r-1"),
    ):
        world.sweep(BATCHES, **STOP)
    assert "d-secret" not in str(raised.value) + log.getvalue()
    assert '"message":"sweep"' in log.getvalue()


# The newest name counts.


NIGHTLY, RELEASE = "nightly", "release-1"


class Named:
    """A check and a batch task of one name, both stale."""

    def __init__(self, asked: dict[str, Any], name: str) -> None:
        self.asked = asked
        self.world = World(check_jobs="listed")
        self.since, self.created = self.world.ago(hours=3), compact(self.world.ago(days=2))
        self.call(name)

    def call(self, name: str) -> None:
        check(self.world, task_name=name, running_since=self.since)
        self.world.cloud.add(batch("a1", self.world, days=2, task_name=name, create_time=self.created))

    def swept(self) -> dict[str, int]:
        report = self.world.sweep(self.asked, protect=["release-*"], **STOP)
        commands = self.world.sent(TASK_QUEUE if self.asked is CHECKS else TARGETS_QUEUE)
        assert len(commands) == report["sent"]
        assert len(report["tasks"]) == report["stale"]
        return {name: report[name] for name in ("stale", "protected", "missed", "sent")}


PROTECTED = {"stale": 0, "protected": 1, "missed": 0, "sent": 0}
SENT = {"stale": 1, "protected": 0, "missed": 0, "sent": 1}


@pytest.mark.parametrize("asked", [CHECKS, BATCHES], ids=["checks", "batches"])
def test_a_name_that_is_protected_by_the_last_look_protects(
    asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    named = Named(asked, NIGHTLY)
    named.world.meanwhile(monkeypatch, lambda: named.call(RELEASE))
    assert named.swept() == PROTECTED


@pytest.mark.parametrize(("old", "new", "found"), [(NIGHTLY, RELEASE, PROTECTED), (RELEASE, NIGHTLY, SENT)])
def test_of_two_lists_of_checks_the_later_one_says_the_name(old: str, new: str, found: dict[str, int]) -> None:
    named = Named(CHECKS, old)
    on_request(named.world, Nth(1, "/tasks"), lambda: named.call(new))
    assert named.swept() == found


@pytest.mark.parametrize("asked", [CHECKS, BATCHES], ids=["checks", "batches"])
def test_a_task_whose_newest_name_cannot_be_read_is_not_stopped_and_the_report_says_so(
    asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    named = Named(asked, NIGHTLY)
    named.world.meanwhile(monkeypatch, lambda: named.call("\ud83d"))
    assert named.swept() == {"stale": 1, "protected": 0, "missed": 1, "sent": 0}


# A part of a command is named by its content.


def test_different_targets_of_one_task_are_different_commands_and_the_same_are_one() -> None:
    world = World()
    created = compact(world.ago(days=2))
    ids: dict[str, set[str]] = {}
    for targets in (range(7_000), range(3_000, 7_000), range(6_999, 2_999, -1), range(6_999, -1, -1)):
        named = tuple(f"d{number:05}" for number in targets)
        world.cloud.add(batch("a1", world, days=2, targets=named, create_time=created))
        world.sweep(BATCHES, **STOP)
        for command in world.sent(TARGETS_QUEUE):
            assert ids.setdefault(command["command_id"], set(command["targets"])) == set(command["targets"])
    assert sorted(len(each) for each in ids.values()) == [2_000, 4_000, 5_000]


# No clock is right for certain.


@pytest.mark.parametrize("minutes", [10, 2, -2, -10])
@pytest.mark.parametrize("choices", [{"check_jobs": "listed"}, {}], ids=["job", "sighting"])
def test_a_check_is_never_stopped_too_young_by_a_clock_that_is_wrong(choices: dict[str, Any], minutes: int) -> None:
    behind = timedelta(minutes=minutes)
    world = World(behind=behind, **choices)
    huaweis = f"{world.clock.now() - behind:%Y-%m-%dT%H:%M:%SZ}"
    began = world.clock.now()
    check(world, running_since=huaweis, last_check_time=huaweis)
    sent_after: float | None = None
    while sent_after is None:
        if found(world.sweep(CHECKS, **STOP))["sent"]:
            sent_after = (world.clock.now() - began).total_seconds()
        world.pass_by(seconds=30)
    assert 7_200 <= sent_after <= 7_200 + abs(minutes) * 60 + 60


@pytest.mark.parametrize("minutes", [10, 2, -2, -10])
@pytest.mark.parametrize("evidence", ["create_time", "schedule_time"])
def test_a_batch_task_is_never_stopped_too_young_by_a_clock_that_is_wrong(evidence: str, minutes: int) -> None:
    behind = timedelta(minutes=minutes)
    world = World(behind=behind)
    began = world.clock.now()
    huaweis = compact(f"{began - behind:%Y-%m-%dT%H:%M:%SZ}")
    times = {"create_time": compact(world.ago(days=9)), "schedule_time": huaweis}
    world.cloud.add(batch("a1", world, days=0, **(times if evidence == "schedule_time" else {"create_time": huaweis})))
    world.pass_by(hours=23.5)
    while not found(world.sweep(BATCHES, **STOP))["sent"]:
        world.pass_by(seconds=30)
    assert 86_400 <= (world.clock.now() - began).total_seconds() <= 86_400 + abs(minutes) * 60 + 60


@pytest.mark.parametrize("minutes", [10, -10])
@pytest.mark.parametrize("wrong", ["first", "last"])
def test_a_check_is_never_stopped_too_young_by_one_sweep_whose_clock_is_wrong(wrong: str, minutes: int) -> None:
    world = World()
    ahead = timedelta(minutes=minutes)
    check(world)
    world.sweep_beside(CHECKS, ahead=ahead if wrong == "first" else timedelta())
    world.pass_by(hours=1.99)
    last = ahead if wrong == "last" else timedelta()
    assert found(world.sweep_beside(CHECKS, ahead=last, **STOP))["sent"] == 0
    world.pass_by(minutes=11)
    assert found(world.sweep_beside(CHECKS, ahead=last, **STOP))["sent"] == 1


@pytest.mark.parametrize("date", [None, "yesterday", "Mon, 23 Nov 2026 08:30:00 GMT", "Tue, 24 Nov 2026 08:49:05 GMT"])
@pytest.mark.parametrize("choices", [{"check_jobs": "listed"}, {}], ids=str)
def test_without_the_date_of_an_answer_an_age_is_unknown(date: str | None, choices: dict[str, Any]) -> None:
    world = World(**choices)
    since = world.ago(hours=30)
    check(world, running_since=since, last_check_time=since)
    world.cloud.add(batch("a1", world, days=2))
    handle = world.cloud.handle

    def dated(request: Request) -> Reply:
        reply = handle(request)
        others = {name: value for name, value in reply.headers.items() if name != "Date"}
        return replace(reply, headers=others if date is None else others | {"Date": date})

    world.cloud.handle = dated  # type: ignore[method-assign]
    for asked in (CHECKS, BATCHES):
        for _ in range(2):
            report = found(world.sweep(asked, **STOP))
            assert report == {"scanned": 1, "stale": 0, "protected": 0, "unknown_age": 1, "sent": 0}
            world.pass_by(seconds=1)
    assert world.memory.seen == {}

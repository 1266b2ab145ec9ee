from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.huawei.scenario import CHECK_PROJECT_ID, BatchTask, CheckRun, CheckTask, SubtaskStatus
from local.huawei.state import (
    RUNNING,
    TARGET_NOT_IN_TASK,
    TARGET_NOT_RUNNING,
    BatchTaskState,
    CheckTaskState,
    Lag,
    Rejected,
    World,
)

AT_ONCE = Lag(seconds=0, reads=0)
STATUSES: list[SubtaskStatus] = ["Processing", "Waitting", "FailWaitRetry", "Success", "Fail", "Stopped", "Removed"]

subtasks = st.dictionaries(
    st.text("abcdef0123456789", min_size=1, max_size=6),
    st.sampled_from(STATUSES),
    max_size=40,
)


def batch(**told: Any) -> BatchTaskState:
    return BatchTaskState(BatchTask(task_id="b1", **told), number=3)


def read_all(
    task: BatchTaskState, *, limit: int, status: SubtaskStatus | None = None
) -> list[tuple[str, SubtaskStatus]]:
    seen: list[tuple[str, SubtaskStatus]] = []
    marker = "f" * 24
    while True:
        page = task.page(status=status, target=None, limit=limit, marker=int(marker, 16))
        assert len(page.subtasks) <= limit
        seen += page.subtasks
        if page.marker is None:
            return seen
        assert page.marker < marker
        marker = page.marker


@given(subtasks=subtasks, limit=st.integers(1, 50))
def test_paging_by_marker_yields_every_subtask_exactly_once(subtasks: dict[str, SubtaskStatus], limit: int) -> None:
    seen = read_all(batch(subtasks=subtasks), limit=limit)
    assert len(seen) == len(subtasks)
    assert dict(seen) == subtasks


@given(subtasks=subtasks, limit=st.integers(1, 50), status=st.sampled_from([*RUNNING, "Stopped", "Removed"]))
def test_paging_with_a_status_yields_those_of_the_status_exactly_once(
    subtasks: dict[str, SubtaskStatus], limit: int, status: SubtaskStatus
) -> None:
    seen = read_all(batch(subtasks=subtasks), limit=limit, status=status)
    assert sorted(target for target, _ in seen) == sorted(t for t, s in subtasks.items() if s == status)


@given(data=st.data(), subtasks=subtasks, limit=st.integers(1, 5), status=st.sampled_from(RUNNING))
def test_paging_loses_none_that_keeps_its_status_while_others_move(
    data: st.DataObject, subtasks: dict[str, SubtaskStatus], limit: int, status: SubtaskStatus
) -> None:
    steady = {target for target, before in subtasks.items() if before == status and data.draw(st.booleans())}
    restless = sorted(subtasks.keys() - steady)
    moves = st.dictionaries(st.sampled_from(restless), st.sampled_from(STATUSES)) if restless else st.just({})
    task = batch(subtasks=subtasks)
    seen: list[str] = []
    marker: str | None = "f" * 24
    while marker is not None:
        page = task.page(status=status, target=None, limit=limit, marker=int(marker, 16))
        assert {shown for _, shown in page.subtasks} <= {status}
        seen += [target for target, _ in page.subtasks]
        marker = page.marker
        for target, moved in data.draw(moves).items():
            task.set_subtask(target, moved)
    assert len(seen) == len(set(seen))
    assert steady <= set(seen)


@given(subtasks=subtasks, limit=st.integers(1, 5), reads=st.integers(0, 9))
def test_a_stop_shows_in_all_that_is_said_of_a_target_or_in_nothing(
    subtasks: dict[str, SubtaskStatus], limit: int, reads: int
) -> None:
    task = batch(subtasks=subtasks, targets=("zz",))
    running = sorted(target for target, status in task.subtasks().items() if status in RUNNING)
    asked = running[::2]
    task.stop_targets(asked, lag=Lag(seconds=0, reads=reads), now=0)
    before = {"zz": "Processing"} | subtasks
    for number in range(reads + 2):
        task.settle(0)
        expected = before | dict.fromkeys(asked, "Stopped") if number >= reads else before
        assert task.subtasks() == expected
        assert dict(read_all(task, limit=limit)) == expected
        for status in STATUSES:
            of_it = {target for target, _ in read_all(task, limit=limit, status=status)}
            assert of_it == {target for target, shown in expected.items() if shown == status}
        assert task.progress()["stopped"] == list(expected.values()).count("Stopped")
        task.count_read()


@given(subtasks=subtasks, offset=st.integers(0, 50), limit=st.integers(1, 50))
def test_an_offset_skips_as_many_records(subtasks: dict[str, SubtaskStatus], offset: int, limit: int) -> None:
    task = batch(subtasks=subtasks)
    page = task.page(status=None, target=None, limit=limit, offset=offset)
    assert list(page.subtasks) == read_all(task, limit=50)[offset : offset + limit]
    assert page.count == len(subtasks)


@given(
    subtasks=subtasks,
    asked=st.lists(st.lists(st.text("abcdef0123456789", min_size=1, max_size=1), max_size=5), max_size=5),
    lag=st.builds(Lag, seconds=st.sampled_from([0.0, 5.0]), reads=st.integers(0, 2)),
)
def test_a_target_is_taken_once_at_most_and_only_if_it_runs(
    subtasks: dict[str, SubtaskStatus], asked: list[list[str]], lag: Lag
) -> None:
    task = batch(subtasks=subtasks)
    taken: list[str] = []
    for targets in asked:
        if task.status() in {"Success", "Fail", "PartialSuccess", "Stopped"}:
            break
        results = task.stop_targets(targets, lag=lag, now=0)
        assert [result.target for result in results] == targets
        taken += [result.target for result in results if result.failure is None]
    assert len(taken) == len(set(taken))
    assert {subtasks[target] for target in taken} <= set(RUNNING)
    for _ in range(3):
        task.count_read()
    task.settle(5)
    assert task.subtasks() == subtasks | dict.fromkeys(taken, "Stopped")
    progress = task.progress()
    assert progress.pop("total") == sum(progress.values()) == len(subtasks)


def test_a_target_that_ended_or_is_not_there_fails_by_itself() -> None:
    task = batch(targets=("runs",), subtasks={"ended": "Success", "waits": "Waitting"})
    results = task.stop_targets(("ended", "nobody", "waits", "waits"), lag=AT_ONCE, now=0)
    assert [result.failure for result in results] == [
        TARGET_NOT_RUNNING,
        TARGET_NOT_IN_TASK,
        None,
        TARGET_NOT_RUNNING,
    ]
    assert task.subtasks() == {"runs": "Processing", "ended": "Success", "waits": "Stopped"}


def test_a_stop_of_everything_leaves_what_has_ended() -> None:
    task = batch(targets=("a",), subtasks={"b": "Waitting", "c": "FailWaitRetry", "d": "Fail", "e": "Success"})
    assert task.stop_all(lag=AT_ONCE, now=0) == ("a", "b", "c")
    assert task.subtasks() == {"a": "Stopped", "b": "Stopped", "c": "Stopped", "d": "Fail", "e": "Success"}
    assert task.status() == "Stopped"


def test_a_stop_of_everything_passes_through_stopping() -> None:
    task = batch(targets=("a", "b"))
    task.stop_all(lag=Lag(seconds=2, reads=0), now=10)
    task.settle(11.9)
    assert (task.status(), task.progress()["processing"]) == ("Stopping", 2)
    with pytest.raises(Rejected):
        task.stop_targets(("a",), lag=AT_ONCE, now=11.9)
    task.settle(12)
    assert (task.status(), task.progress()["stopped"]) == ("Stopped", 2)


def test_a_target_that_is_being_stopped_still_shows_as_running_and_cannot_be_stopped_again() -> None:
    task = batch(targets=("a", "b"))
    lag = Lag(seconds=0, reads=1)
    task.stop_targets(("a",), lag=lag, now=0)
    assert task.subtasks()["a"] == "Processing"
    assert task.stop_targets(("a",), lag=lag, now=0)[0].failure == TARGET_NOT_RUNNING
    task.count_read()
    task.settle(0)
    assert task.subtasks()["a"] == "Stopped"


def test_a_target_that_ends_before_its_stop_arrives_keeps_its_end() -> None:
    task = batch(targets=("a",))
    task.stop_targets(("a",), lag=Lag(seconds=1, reads=0), now=0)
    task.set_subtask("a", "Success")
    task.settle(1)
    assert task.subtasks() == {"a": "Success"}


@pytest.mark.parametrize(
    ("subtasks", "status"),
    [
        ({}, "Initializing"),
        ({"a": "Waitting"}, "Waitting"),
        ({"a": "Waitting", "b": "Success"}, "Waitting"),
        ({"a": "Waitting", "b": "Processing"}, "Processing"),
        ({"a": "FailWaitRetry", "b": "Success"}, "Processing"),
        ({"a": "Success", "b": "Removed"}, "Success"),
        ({"a": "Success", "b": "Fail"}, "PartialSuccess"),
        ({"a": "Success", "b": "Stopped"}, "PartialSuccess"),
        ({"a": "Fail"}, "Fail"),
        ({"a": "Fail", "b": "Stopped"}, "Stopped"),
    ],
)
def test_the_status_of_a_batch_task_follows_from_its_subtasks(subtasks: dict[str, SubtaskStatus], status: str) -> None:
    assert batch(subtasks=subtasks).status() == status


@pytest.mark.parametrize(
    "told",
    [
        {"subtasks": {"a": "Success"}},
        {"subtasks": {"a": "Success", "b": "Fail"}},
        {"subtasks": {"a": "Fail"}},
        {"subtasks": {"a": "Stopped"}},
        {"targets": ("a",), "status": "Stopping"},
        {"targets": ("a",), "task_type": "createCommands"},
    ],
    ids=["success", "partial", "fail", "stopped", "stopping", "wrong type"],
)
def test_a_task_that_cannot_be_stopped_is_rejected_as_a_whole(told: dict[str, Any]) -> None:
    task = batch(**told)
    before = task.subtasks()
    with pytest.raises(Rejected) as by_target:
        task.stop_targets(("a",), lag=AT_ONCE, now=0)
    with pytest.raises(Rejected) as all_of_it:
        task.stop_all(lag=AT_ONCE, now=0)
    assert (by_target.value.status, all_of_it.value.status) == (400, 400)
    assert task.subtasks() == before


def test_a_check_is_stopped_once() -> None:
    task = CheckTaskState(CheckTask(task_id="c1"))
    assert task.stop(lag=Lag(seconds=2, reads=1), now=0)
    assert not task.stop(lag=AT_ONCE, now=0)
    assert task.read(1) == "checking"
    assert task.read(2) == "stopped"
    assert not task.stop(lag=AT_ONCE, now=2)


def test_a_check_that_does_not_run_is_not_stopped() -> None:
    for status in ("never_checked", "failed", "success", "stopped"):
        task = CheckTaskState(CheckTask(task_id="c1", status=status))
        assert not task.stop(lag=AT_ONCE, now=0)
        assert task.status == status


def test_a_check_that_ends_leaves_a_record_of_its_run() -> None:
    before = CheckRun(check_time="2026-11-01T00:00:00Z", check_end_time="2026-11-01T00:10:00Z")
    since = "2026-11-23 08:00:00"
    for end in ("by a stop", "by itself"):
        task = CheckTaskState(CheckTask(task_id="c1", running_since=since, records=(before,)))
        assert task.runs() == (before, CheckRun(check_time=since, status="checking"))
        if end == "by a stop":
            task.stop(lag=Lag(seconds=9, reads=0), now=1)
            assert task.runs()[-1].status == "checking"
            task.settle(10)
        else:
            task.set_status("stopped", running_since=None, now=10)
        over = CheckRun(check_time=since, check_end_time="1970-01-01T00:00:10Z", status="stopped")
        assert (task.status, task.runs()) == ("stopped", (before, over))


def test_a_run_of_which_nobody_says_when_it_began_is_in_no_list() -> None:
    task = CheckTaskState(CheckTask(task_id="c1"))
    assert task.runs() == ()
    task.set_status("success", running_since=None, now=0)
    assert (task.status, task.runs()) == ("success", ())


def test_a_new_run_is_not_stopped_by_the_stop_of_the_one_before() -> None:
    task = CheckTaskState(CheckTask(task_id="c1", running_since="2026-11-23T08:00:00Z"))
    task.stop(lag=Lag(seconds=5, reads=0), now=0)
    task.set_status("success", running_since=None, now=1)
    task.set_status("checking", running_since="2026-11-23T09:00:00Z", now=2)
    task.settle(9)
    assert [(run.check_time, run.status) for run in task.runs()] == [
        ("2026-11-23T08:00:00Z", "success"),
        ("2026-11-23T09:00:00Z", "checking"),
    ]
    assert task.stop(lag=AT_ONCE, now=9)


def test_a_task_that_was_deleted_is_gone_and_its_project_stays() -> None:
    world = World()
    world.add_check_task(CheckTask(task_id="a1", project_id="p"))
    world.add_batch_task(BatchTask(task_id="a1"))
    world.remove("a1")
    assert (world.check_tasks, world.batch_tasks) == ({}, {})
    assert world.check_tasks_of("p") == world.check_tasks_of(CHECK_PROJECT_ID) == []
    with pytest.raises(KeyError, match="a1"):
        world.remove("a1")
    with pytest.raises(Rejected):
        world.check_tasks_of("q")


def test_tasks_of_other_projects_and_instances_do_not_exist() -> None:
    world = World()
    world.add_batch_task(BatchTask(task_id="a1", project_id="p"))
    world.add_batch_task(BatchTask(task_id="a2", project_id="p", instance_id="i"))
    assert [task.told.task_id for _, task in world.batch_tasks_of("p", "i", now=0)] == ["a2", "a1"]
    assert [task.told.task_id for _, task in world.batch_tasks_of("p", None, now=0)] == ["a1"]
    for task_id, project_id, instance_id in (("a1", "q", None), ("a2", "p", None), ("a3", "p", None)):
        with pytest.raises(Rejected) as unknown:
            world.batch_task(task_id, project_id=project_id, instance_id=instance_id, now=0)
        assert unknown.value.status == 404


def test_a_task_added_again_begins_anew() -> None:
    world = World()
    for _ in range(2):
        world.add_batch_task(BatchTask(task_id="a1", targets=("d",), project_id="p"))
        task = world.batch_task("a1", project_id="p", instance_id=None, now=0)
        assert task.subtasks() == {"d": "Processing"}
        task.stop_all(lag=AT_ONCE, now=0)

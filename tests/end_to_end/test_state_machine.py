"""The state machine of the template on the local stack: the real function, on the artifact, against the stand-in."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from local.huawei import BatchTask, CheckTask, Fault
from local.stack import REGION, TEMPLATE, load_template
from shared.outcomes import DETAIL_TYPE, to_rfc3339
from shared.patience import TRIES
from tests.end_to_end.world import deployed, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local.stack import Execution
    from tests.end_to_end.world import World

SHORT_OF_TIME = 20
"""Seconds that the function has here: too few for a second round, so what is left goes round through the workflow."""

TOLD = f"arn:aws:states:{REGION}:000000000000:stateMachine:told-of-failures"

ROUND = ["Stop", "WhatBecameOfIt", "WaitForTheRest"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    template = load_template(TEMPLATE)
    template["Resources"]["StopInWorkflowFunction"]["Properties"]["Timeout"] = SHORT_OF_TIME
    path = tmp_path_factory.mktemp("template") / "template.json"
    path.write_text(json.dumps(template))
    with deployed(template=path, FollowUpStateMachineArn=TOLD) as world:
        yield world


def stop(task_id: str, *targets: str, **fields: Any) -> dict[str, Any]:
    return {"command": "stop_targets", "task_id": task_id, "targets": targets, **fields}


def calls(run: Execution) -> list[str]:
    """What became of each call of the function: the name of its error, or nothing."""
    return [
        event.get("taskFailedEventDetails", {}).get("error", "")
        for event in run.history
        if event["type"] in {"TaskSucceeded", "TaskFailed"}
    ]


def requests(world: World, task_id: str) -> list[str]:
    return [record.operation for record in world.huawei.log() if record.task_id == task_id]


def final_events(world: World, command_id: str) -> list[dict[str, Any]]:
    events = wait_until(lambda: world.events(DETAIL_TYPE, command_id=command_id))
    return [each for each in events if each["status"] != "in_progress"]


def test_a_command_that_is_carried_out_at_once_succeeds_with_its_outcome(world: World) -> None:
    world.huawei.add(CheckTask(task_id="check-1"))
    command = {"command": "stop_task", "task_id": "check-1", "confirm": False}
    run = world.stack.run_workflow(command, name="nightly-1")
    assert run.states == ["FillIn", "Stop", "WhatBecameOfIt", "Stopped"]
    assert calls(run) == [""]
    assert (run.status, run.output["status"], run.output["tally"]["stopped"]) == ("SUCCEEDED", "succeeded", 1)
    assert world.huawei.state().check_tasks["check-1"] == "stopped"
    assert final_events(world, "nightly-1") == [{**run.output, "results": [{"target": "check-1", "result": "stopped"}]}]


def test_the_command_is_named_by_the_execution_and_dated_by_its_start(world: World) -> None:
    world.huawei.add(BatchTask(task_id="a1", targets=("d1",)))
    run = world.stack.run_workflow(stop("a1", "d1", dry_run=True), name="by+name " + "x" * 60)
    assert run.output["command_id"] == "by-name-" + "x" * 23 + "-60e0e120025d7557088e2c7c549aa1f8"
    assert run.output["requested_at"] == to_rfc3339(run.history[0]["timestamp"])


def test_what_the_input_says_itself_wins(world: World) -> None:
    world.huawei.add(BatchTask(task_id="a2", targets=("d1",)))
    requested_at = to_rfc3339(datetime.now(UTC) - timedelta(hours=5))
    said = stop("a2", "d1", command_id="mine", requested_at=requested_at, expires_at="2100-01-01T00:00:00Z")
    run = world.stack.run_workflow(said | {"confirm": False})
    assert (run.output["command_id"], run.output["requested_at"]) == ("mine", requested_at)
    assert run.output["confirmed"] is None


def test_a_dry_run_stops_nothing_and_succeeds(world: World) -> None:
    world.huawei.add(BatchTask(task_id="a3", targets=("d1", "d2")))
    run = world.stack.run_workflow(stop("a3", "d1", dry_run=True))
    assert run.states[-1] == "Stopped"
    assert (run.output["status"], run.output["results"]) == ("dry_run", [{"target": "d1", "result": "would_stop"}])
    assert requests(world, "a3") == ["show_batch_task"]


def test_the_workflow_goes_round_until_the_stop_is_confirmed(world: World) -> None:
    world.huawei.add(BatchTask(task_id="b1", targets=("d1", "d2", "d3"), stop_reads=3))
    run = world.stack.run_workflow(stop("b1", "d1", "d2"), name="goes-round")
    rounds = run.states.count("WaitForTheRest")
    assert rounds >= 3
    assert run.states == ["FillIn", *ROUND * rounds, "Stop", "WhatBecameOfIt", "Stopped"]
    assert (run.output["status"], run.output["confirmed"], run.output["tally"]["stopped"]) == ("succeeded", True, 2)
    assert requests(world, "b1").count("stop_batch_task") == 1
    assert world.huawei.subtasks("b1") == {"d1": "Stopped", "d2": "Stopped", "d3": "Processing"}
    assert [each["outcome_id"] for each in final_events(world, "goes-round")] == [run.output["outcome_id"]]


def test_a_stop_that_never_shows_ends_the_workflow_as_failed(world: World) -> None:
    world.huawei.add(BatchTask(task_id="b2", targets=("d1",), stop_reads=10**9))
    run = world.stack.run_workflow(stop("b2", "d1"), name="never-shows")
    assert (run.status, run.error, run.states[-1]) == ("FAILED", "StopFailed", "StopFailed")
    assert json.loads(run.cause or "")["tally"]["still_running"] == 1


def test_huawei_cloud_that_is_away_for_a_while_is_asked_again_with_the_same_input(world: World) -> None:
    world.huawei.add(BatchTask(task_id="c1", targets=("d1",)))
    world.huawei.set_faults(Fault(kind="error_json", status=503, task_id="c1", times=TRIES))
    run = world.stack.run_workflow(stop("c1", "d1", confirm=False), name="is-away")
    assert calls(run) == ["HuaweiUnavailable", ""]
    assert run.states == ["FillIn", "Stop", "WhatBecameOfIt", "Stopped"]
    assert (run.output["status"], run.output["attempt"]) == ("succeeded", 1)
    assert requests(world, "c1") == ["stop_batch_task"] * (TRIES + 1)
    assert len(final_events(world, "is-away")) == 1


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (stop("d1"), "targets: "),
        (stop("d1", "d1", all_targets=True), ""),
        ({"command": "stop_targets", "task_id": "d1", "all_targets": True}, "ALLOW_STOP_ALL"),
        ("stop everything", "JSON object"),
    ],
    ids=["no targets", "targets and all of them", "all of them, which is not allowed", "no command at all"],
)
def test_what_is_no_command_is_rejected_and_never_tried_again(world: World, command: Any, reason: str) -> None:
    world.huawei.add(BatchTask(task_id="d1", targets=("d1",)))
    run = world.stack.run_workflow(command)
    assert run.states == ["FillIn", "Stop", "Rejected"]
    assert calls(run) == ["CommandRejected"]
    assert (run.status, run.error) == ("FAILED", "CommandRejected")
    assert reason in (run.cause or "")
    assert requests(world, "d1") == []


def test_a_rejection_is_told_on_the_bus_under_the_name_of_the_execution(world: World) -> None:
    world.stack.run_workflow(stop("d2"), name="is-rejected")
    assert [each["status"] for each in final_events(world, "is-rejected")] == ["rejected"]


def test_a_failure_carries_the_outcome_as_its_cause(world: World) -> None:
    world.huawei.add(BatchTask(task_id="e1", targets=("d1",)))
    run = world.stack.run_workflow(stop("e1", "d1", "d2", confirm=False))
    assert (run.status, run.error, run.states[-1]) == ("FAILED", "StopFailed", "StopFailed")
    outcome = json.loads(run.cause or "")
    assert outcome["status"] == "failed"
    assert [(each["target"], each["result"]) for each in outcome["results"]] == [("d2", "not_found")]


def test_a_cause_that_would_be_too_long_shows_the_first_results(world: World) -> None:
    world.huawei.add(BatchTask(task_id="e2", targets=("d1",)))
    unknown = [f"{number:0256}" for number in range(100)]
    run = world.stack.run_workflow(stop("e2", *unknown, confirm=False))
    cause = run.cause or ""
    assert len(cause) <= 32_768
    outcome = json.loads(cause)
    assert outcome["tally"]["not_found"] == 100
    assert [each["target"] for each in outcome["results"]] == unknown[:30]


def test_a_command_that_comes_too_late_ends_as_expired(world: World) -> None:
    world.huawei.add(BatchTask(task_id="f1", targets=("d1",)))
    run = world.stack.run_workflow(stop("f1", "d1", expires_at="2026-01-01T00:00:00Z"))
    assert (run.status, run.error, run.states[-1]) == ("FAILED", "StopExpired", "StopExpired")
    assert json.loads(run.cause or "")["status"] == "expired"
    assert requests(world, "f1") == ["show_batch_task"]


def test_a_stop_that_was_taken_before_its_command_expired_does_not_end_as_expired(world: World) -> None:
    """The answers to the stop are lost, and so are all reads until the command has expired."""
    world.huawei.add(BatchTask(task_id="f2", targets=("d1",)))
    world.huawei.set_faults(
        Fault(kind="cut_after", operation="stop_batch_task", task_id="f2"),
        Fault(kind="error_json", status=503, operation="show_batch_task", task_id="f2", times=TRIES),
    )
    expires_at = to_rfc3339(datetime.now(UTC) + timedelta(seconds=3))
    run = world.stack.run_workflow(stop("f2", "d1", expires_at=expires_at, confirm=False), name="expires-midway")
    *before, last = calls(run)
    assert (set(before), last) == ({"HuaweiUnavailable"}, "")
    assert (run.status, run.output["status"], run.output["tally"]["already_ended"]) == ("SUCCEEDED", "succeeded", 1)
    assert world.huawei.subtasks("f2") == {"d1": "Stopped"}
    assert [each["outcome_id"] for each in final_events(world, "expires-midway")] == [run.output["outcome_id"]]


def test_a_failed_outcome_starts_the_workflow_that_follows_up_and_no_other_does(world: World) -> None:
    world.stack.stepfunctions.create_state_machine(
        name="told-of-failures",
        roleArn="arn:aws:iam::000000000000:role/told-of-failures",
        definition=json.dumps({"StartAt": "Told", "States": {"Told": {"Type": "Succeed"}}}),
    )

    def told() -> dict[str, Any]:
        listed = world.stack.stepfunctions.list_executions(stateMachineArn=TOLD)["executions"]
        runs = (world.stack.stepfunctions.describe_execution(executionArn=each["executionArn"]) for each in listed)
        inputs = (json.loads(run["input"]) for run in runs)
        return {outcome["command_id"]: outcome for outcome in inputs}

    world.huawei.add(CheckTask(task_id="check-2"))
    world.stack.run_workflow({"command": "stop_task", "task_id": "check-2", "confirm": False}, name="does-not-fail")
    world.stack.run_workflow({"command": "stop_task", "task_id": "check-3", "confirm": False}, name="does-fail")
    followed_up = wait_until(lambda: told().get("does-fail"))
    assert [followed_up] == final_events(world, "does-fail")
    assert "does-not-fail" not in told()

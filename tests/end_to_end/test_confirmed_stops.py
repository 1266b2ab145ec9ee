"""Confirmed stops on the local stack: real queues with real delays, and a deployment that confirms by default."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from local.huawei import BatchTask, CheckTask, Scenario
from shared.outcomes import DETAIL_TYPE
from tests.end_to_end.world import deployed, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.end_to_end.world import World

pytestmark = pytest.mark.enable_socket

THREE_READS = BatchTask(task_id="3", targets=("d1", "d2"), stop_reads=2)
NEVER_ENDS = CheckTask(task_id="never", stop_reads=10**9)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """Both commands at once, since the reads of each are seconds apart."""
    with deployed(
        Scenario(batch_tasks=(THREE_READS,), check_tasks=(NEVER_ENDS,)), MaxAttempts="4", ConfirmByDefault="true"
    ) as world:
        for queue, command in (
            ("StopTargetsQueue", {"command": "stop_targets", "task_id": "3", "targets": THREE_READS.targets}),
            ("StopTaskQueue", {"command": "stop_task", "task_id": "never"}),
        ):
            body = json.dumps(command | {"command_id": command["task_id"]})
            world.stack.sqs.send_message(QueueUrl=world.stack.resources[queue], MessageBody=body)
        yield world


def final(world: World, command_id: str) -> dict[str, Any]:
    (event,) = wait_until(lambda: world.events(DETAIL_TYPE, command_id=command_id))
    return event


def operations(world: World, task_id: str) -> Counter[str]:
    return Counter(record.operation for record in world.huawei.log() if record.task_id == task_id)


def test_a_stop_that_takes_three_reads_is_told_after_the_third(world: World) -> None:
    event = final(world, "3")
    assert (event["status"], event["confirmed"]) == ("succeeded", True)
    assert event["results"] == [{"target": target, "result": "stopped"} for target in ("d1", "d2")]
    assert operations(world, "3") == {"stop_batch_task": 1, "show_batch_task": 3}


def test_a_stop_that_never_ends_is_still_running_and_its_command_set_aside(world: World) -> None:
    event = final(world, "never")
    assert (event["status"], event["confirmed"]) == ("failed", False)
    assert event["results"] == [{"target": "never", "result": "still_running"}]
    assert operations(world, "never") == {"stop_check_task": 1, "show_check_progress": 3}
    letters = world.stack.sqs.receive_message(
        QueueUrl=world.stack.resources["StopTaskDeadLetterQueue"], MessageAttributeNames=["All"], WaitTimeSeconds=5
    )["Messages"]
    assert [each["MessageAttributes"]["failure_reason"]["StringValue"] for each in letters] == ["gave_up"]
    assert [json.loads(each["Body"])["task_id"] for each in letters] == ["never"]

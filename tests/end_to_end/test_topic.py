"""The topic sorts commands by kind, and what is for nobody is answered and not dropped."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from local.huawei import CheckTask, Scenario
from shared.outcomes import DETAIL_TYPE
from tests.end_to_end.world import deployed, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.end_to_end.world import World

pytestmark = pytest.mark.enable_socket

PUBLISHED: dict[str, dict[str, Any]] = {
    "right": {"command": "stop_task", "task_id": "c1", "command_id": "right"},
    "misspelt": {"command": "stop_tusk", "task_id": "c1", "command_id": "misspelt"},
    "of-no-kind": {"task_id": "c1", "command_id": "of-no-kind"},
    "for-the-other": {"command": "stop_targets", "task_id": "5f1a", "targets": [], "command_id": "for-the-other"},
}


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with deployed(Scenario(check_tasks=(CheckTask(task_id="c1"),))) as world:
        for command in PUBLISHED.values():
            world.stack.sns.publish(TopicArn=world.stack.resources["StopCommandsTopic"], Message=json.dumps(command))
        yield world


@pytest.mark.parametrize(
    ("command_id", "status"),
    [("right", "succeeded"), ("misspelt", "rejected"), ("of-no-kind", "rejected"), ("for-the-other", "rejected")],
)
def test_every_command_gets_one_outcome(world: World, command_id: str, status: str) -> None:
    (event,) = wait_until(lambda: world.events(DETAIL_TYPE, command_id=command_id))
    assert event["status"] == status


def test_what_is_for_nobody_lies_with_the_dead_letters_of_the_checks(world: World) -> None:
    def letters() -> list[str]:
        left = world.stack.left_in("StopTaskDeadLetterQueue", "StopTargetsDeadLetterQueue")
        return [name for name, count in left.items() for _ in range(count)]

    wanted = ["StopTaskDeadLetterQueue", "StopTaskDeadLetterQueue", "StopTargetsDeadLetterQueue"]
    assert wait_until(lambda: letters() if len(letters()) == len(wanted) else []) == wanted

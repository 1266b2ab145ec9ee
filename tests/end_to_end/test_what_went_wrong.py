"""The sample rule of `events/rules` on the local stack: each target that is not stopped arrives at its queue."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from local.huawei import BatchTask, Scenario
from shared.outcomes import DETAIL_TYPE
from tests.end_to_end.world import deployed, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.end_to_end.world import World

pytestmark = pytest.mark.enable_socket

RULE: Final = Path(__file__).parent.parent.parent / "events" / "rules" / "what-went-wrong.json"
FINAL_EVENTS: Final = {"source": ["stopline"], "detail": {"status": ["failed", "rejected", "expired"]}}
"""A rule that looks obvious, and loses what stands in other events than the last."""

KNOWN: Final = tuple(f"device-{number:04}" for number in range(2800))
UNKNOWN: Final = tuple(f"nobody-{number:04}" for number in range(200))
# Spread, as they are in a list that somebody sends.
MANY: Final = [
    target for place, target in enumerate(KNOWN) for target in ((target, UNKNOWN[place // 14])[: 1 + (place % 14 == 0)])
]

COMMANDS: Final[dict[str, dict[str, Any]]] = {
    "many": {"command": "stop_targets", "task_id": "5", "targets": MANY},
    # The one is not found at once; that the other has ended is read only later.
    "confirmed": {"command": "stop_targets", "task_id": "6", "targets": ["nobody", "d1"], "confirm": True},
    "good": {"command": "stop_targets", "task_id": "7", "targets": ["d1"]},
    "forbidden": {"command": "stop_targets", "task_id": "7", "all_targets": True},
    "late": {
        "command": "stop_targets",
        "task_id": "7",
        "targets": ["d1"],
        "requested_at": "2026-01-01T00:00:00Z",
        "expires_at": "2026-01-01T01:00:00Z",
    },
}


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """All commands have ended, while two rules listened: that of the sample, and one for final events only."""
    scenario = Scenario(
        batch_tasks=(
            BatchTask(task_id="5", targets=KNOWN),
            BatchTask(task_id="6", targets=("d1",), stop_reads=1),
            BatchTask(task_id="7", targets=("d1",)),
        )
    )
    with deployed(scenario) as world:
        listen(world, "what-went-wrong", RULE.read_text())
        listen(world, "final-events", json.dumps(FINAL_EVENTS))
        for command_id, command in COMMANDS.items():
            world.stack.sqs.send_message(
                QueueUrl=world.stack.resources["StopTargetsQueue"],
                MessageBody=json.dumps(command | {"command_id": command_id}),
            )
        wait_until(lambda: all(final_of(world, command_id) for command_id in COMMANDS))
        yield world


def listen(world: World, name: str, pattern: str) -> None:
    """Do what the README says: a rule on the bus whose target is a queue."""
    queue = world.stack.sqs.create_queue(QueueName=name)["QueueUrl"]
    attributes = world.stack.sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]
    bus = world.stack.resources["OutcomeBus"]
    world.stack.events.put_rule(EventBusName=bus, Name=name, EventPattern=pattern)
    world.stack.events.put_targets(EventBusName=bus, Rule=name, Targets=[{"Id": "1", "Arn": attributes["QueueArn"]}])


def final_of(world: World, command_id: str) -> list[dict[str, Any]]:
    return [each for each in world.events(DETAIL_TYPE, command_id=command_id) if each["status"] != "in_progress"]


@pytest.fixture(scope="module")
def arrived(world: World) -> dict[str, list[dict[str, Any]]]:
    """What each rule brought to its queue."""
    found: dict[str, list[dict[str, Any]]] = {}
    for name in ("what-went-wrong", "final-events"):
        queue = world.stack.sqs.get_queue_url(QueueName=name)["QueueUrl"]
        found[name] = []
        while messages := world.stack.sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages"):
            found[name] += [json.loads(each["Body"])["detail"] for each in messages]
            for each in messages:
                world.stack.sqs.delete_message(QueueUrl=queue, ReceiptHandle=each["ReceiptHandle"])
    return found


def failures(outcomes: list[dict[str, Any]], command_id: str) -> list[str]:
    return sorted(
        result["target"]
        for each in outcomes
        if each["command_id"] == command_id
        for result in each["results"]
        if result["result"] == "not_found"
    )


@pytest.mark.parametrize(("command_id", "unknown"), [("many", UNKNOWN), ("confirmed", ("nobody",))])
def test_the_rule_of_the_sample_brings_every_failure(
    world: World, arrived: dict[str, list[dict[str, Any]]], command_id: str, unknown: tuple[str, ...]
) -> None:
    (final,) = final_of(world, command_id)
    assert (final["status"], final["tally"]["not_found"]) == ("failed", len(unknown))
    assert failures(arrived["what-went-wrong"], command_id) == sorted(unknown)
    # Or this test would pass with any rule.
    assert len(failures(arrived["final-events"], command_id)) < len(unknown)


def test_it_brings_what_has_no_results_and_nothing_that_went_well(arrived: dict[str, list[dict[str, Any]]]) -> None:
    by_command = {each["command_id"]: each["status"] for each in arrived["what-went-wrong"] if not each["results"]}
    assert by_command["forbidden"] == "rejected"
    assert {each["status"] for each in arrived["what-went-wrong"] if each["command_id"] == "late"} == {"expired"}
    assert "good" not in {each["command_id"] for each in arrived["what-went-wrong"]}

"""An event that a rule publishes to a topic reaches the function of its kind, and keeps the id that PutEvents gave."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from local.huawei import BatchTask, CheckTask, Scenario
from local.stack import REGION
from shared.outcomes import DETAIL_TYPE
from tests.end_to_end.world import deployed, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mypy_boto3_events import EventBridgeClient

    from tests.end_to_end.world import World

pytestmark = pytest.mark.enable_socket  # loop-back only

SOURCE = "example.deployments"
SCENARIO = Scenario(
    check_tasks=(CheckTask(task_id="c1"), CheckTask(task_id="c2")),
    batch_tasks=(BatchTask(task_id="b1", targets=("d1", "d2")), BatchTask(task_id="b2", targets=("d3",))),
)
STOPS: dict[str, dict[str, Any]] = {
    "check": {"command": "stop_task", "task_id": "c1"},
    "batch": {"command": "stop_targets", "task_id": "b1", "targets": ["d1", "d2"]},
}


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with deployed(SCENARIO) as world:
        yield world


@pytest.fixture(scope="module")
def events(world: World) -> EventBridgeClient:
    return boto3.client(
        "events",
        endpoint_url=world.stack.endpoint,
        region_name=REGION,
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )


def lead(events: EventBridgeClient, detail_type: str, *, to: str) -> None:
    """Make a rule that sends events of this type to a target."""
    events.put_rule(Name=detail_type, EventPattern=json.dumps({"source": [SOURCE], "detail-type": [detail_type]}))
    events.put_targets(Rule=detail_type, Targets=[{"Id": "1", "Arn": to}])


def put(events: EventBridgeClient, detail_type: str, detail: Mapping[str, Any]) -> str:
    """Publish an event; return its id."""
    answer = events.put_events(Entries=[{"Source": SOURCE, "DetailType": detail_type, "Detail": json.dumps(detail)}])
    return answer["Entries"][0]["EventId"]


def final_of(world: World, command_id: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = wait_until(lambda: world.events(DETAIL_TYPE, command_id=command_id))
    assert len(found) == 1
    return found[0]


def test_an_event_by_the_topic_is_carried_out_by_the_function_of_its_kind(
    world: World, events: EventBridgeClient
) -> None:
    lead(events, "by-the-topic", to=world.stack.resources["StopCommandsTopic"])
    ids = {kind: put(events, "by-the-topic", stop) for kind, stop in STOPS.items()}
    misspelt = put(events, "by-the-topic", {"command": "stop_tusk"})
    for kind, command_id in ids.items():
        outcome = final_of(world, command_id)
        assert (outcome["command"], outcome["status"]) == (STOPS[kind]["command"], "succeeded")
    assert world.huawei.subtasks("b1") == {"d1": "Stopped", "d2": "Stopped"}
    assert final_of(world, misspelt)["status"] == "rejected"
    assert wait_until(lambda: world.stack.left_in("StopTaskDeadLetterQueue", "StopTargetsDeadLetterQueue")) == {
        "StopTaskDeadLetterQueue": 1
    }


def test_an_event_by_a_topic_of_your_own_is_carried_out(world: World, events: EventBridgeClient) -> None:
    sns, sqs = world.stack.sns, world.stack.sqs
    topic = sns.create_topic(Name="of-your-own")["TopicArn"]
    queue = sqs.get_queue_attributes(QueueUrl=world.stack.resources["StopTargetsQueue"], AttributeNames=["QueueArn"])[
        "Attributes"
    ]["QueueArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue)
    lead(events, "by-a-topic-of-your-own", to=topic)
    command_id = put(events, "by-a-topic-of-your-own", {"command": "stop_targets", "task_id": "b2", "targets": ["d3"]})
    assert final_of(world, command_id)["status"] == "succeeded"
    assert world.huawei.subtasks("b2") == {"d3": "Stopped"}

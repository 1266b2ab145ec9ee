"""A deployment that is paused, goes on, and is deleted: with nothing left, or, if so asked, with queues, bus and log.

The stand-in creates the functions without their reserved concurrency; what that is when paused is checked in the
template alone.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from local.huawei import CheckTask, Scenario
from local.stack import REGION, STACK_NAME
from shared.outcomes import DETAIL_TYPE
from tests.end_to_end.world import deployed, wait_until

if TYPE_CHECKING:
    from tests.end_to_end.world import World

pytestmark = pytest.mark.enable_socket

SCENARIO = Scenario(check_tasks=(CheckTask(task_id="c1"),))
COMMAND = {"command": "stop_task", "task_id": "c1", "command_id": "c"}


def client(world: World, service: str) -> Any:
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    return boto3.client(service, endpoint_url=world.stack.endpoint, region_name=REGION, **keys)  # type: ignore[call-overload]


def change(world: World, **parameters: str) -> None:
    """Change parameters and nothing else, as docs/operations.md says."""
    cloudformation = client(world, "cloudformation")
    (stack,) = cloudformation.describe_stacks(StackName=STACK_NAME)["Stacks"]
    kept = [each["ParameterKey"] for each in stack["Parameters"] if each["ParameterKey"] not in parameters]
    cloudformation.update_stack(
        StackName=STACK_NAME,
        UsePreviousTemplate=True,
        Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
        Parameters=[
            *({"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()),
            *({"ParameterKey": name, "UsePreviousValue": True} for name in kept),
        ],
    )

    def status() -> str:
        (now,) = cloudformation.describe_stacks(StackName=STACK_NAME)["Stacks"]
        return str(now["StackStatus"])

    wait_until(lambda: status().endswith("_COMPLETE"))
    assert status() == "UPDATE_COMPLETE"


def left_after_deletion(world: World) -> dict[str, set[str]]:
    """Delete the stack and give what is still there, by what it is."""
    cloudformation = client(world, "cloudformation")
    cloudformation.delete_stack(StackName=STACK_NAME)
    wait_until(
        lambda: (
            not cloudformation.list_stacks(StackStatusFilter=["CREATE_COMPLETE", "DELETE_IN_PROGRESS"])[
                "StackSummaries"
            ]
        )
    )
    stack = world.stack
    found = {
        "queues": [url.rpartition("/")[2] for url in stack.sqs.list_queues().get("QueueUrls", [])],
        "buses": [bus["Name"] for bus in client(world, "events").list_event_buses()["EventBuses"]],
        "topics": [topic["TopicArn"] for topic in stack.sns.list_topics()["Topics"]],
        "functions": [function["FunctionName"] for function in stack.lambda_.list_functions()["Functions"]],
        "mappings": [each["UUID"] for each in stack.lambda_.list_event_source_mappings()["EventSourceMappings"]],
        "tables": stack.dynamodb.list_tables()["TableNames"],
        "schedules": [schedule["Name"] for schedule in stack.scheduler.list_schedules()["Schedules"]],
        "state machines": [each["name"] for each in stack.stepfunctions.list_state_machines()["stateMachines"]],
        "roles": [role["RoleName"] for role in client(world, "iam").list_roles()["Roles"]],
        "log groups": [each["logGroupName"] for each in client(world, "logs").describe_log_groups()["logGroups"]],
    }
    return {kind: set(names) for kind, names in found.items() if names}


def test_a_command_waits_while_it_is_paused_and_nothing_is_left_when_it_is_deleted() -> None:
    with deployed(SCENARIO, Paused="true", CheckSweepMode="stop", CheckSweepProjectId="p") as world:
        queue = world.stack.resources["StopTaskQueue"]
        world.stack.sqs.send_message(QueueUrl=queue, MessageBody=json.dumps(COMMAND))
        states = [schedule["State"] for schedule in world.stack.scheduler.list_schedules()["Schedules"]]
        assert states == ["DISABLED", "DISABLED"]
        time.sleep(2)  # some rounds of the stand-in's poller
        assert world.stack.left_in("StopTaskQueue") == {"StopTaskQueue": 1}
        assert world.huawei.log() == ()
        change(world, Paused="false")
        (event,) = wait_until(lambda: world.events(DETAIL_TYPE, command_id="c"))
        assert event["status"] == "succeeded"
        assert left_after_deletion(world) == {"buses": {"default"}}


def test_the_queues_the_bus_and_its_log_stay_if_so_asked() -> None:
    with deployed(SCENARIO, OnDeletion="Retain") as world:
        assert left_after_deletion(world) == {
            "buses": {"default", "stopline-outcomes"},
            "log groups": {"/aws/events/stopline-outcomes"},
            "queues": {
                "stopline-outcome-log-dead-letter",
                "stopline-stop-task",
                "stopline-stop-task-dead-letter",
                "stopline-stop-targets",
                "stopline-stop-targets-dead-letter",
                "stopline-sweep-dead-letter",
            },
        }


def test_the_log_of_outcomes_is_turned_off_and_on_again() -> None:
    with deployed(SCENARIO) as world:
        for days, groups in (("0", []), ("7", [7])):
            change(world, OutcomeLogRetentionDays=days)
            found = client(world, "logs").describe_log_groups(logGroupNamePrefix="/aws/events/")["logGroups"]
            assert [each["retentionInDays"] for each in found] == groups
            rules = world.stack.events.list_rules(EventBusName="stopline-outcomes", NamePrefix="stopline-")["Rules"]
            assert ("stopline-outcome-log" in {each["Name"] for each in rules}) == bool(groups)
            policies = client(world, "logs").describe_resource_policies()["resourcePolicies"]
            assert len(policies) == len(groups)
        queue = world.stack.resources["StopTaskQueue"]
        world.stack.sqs.send_message(QueueUrl=queue, MessageBody=json.dumps(COMMAND))
        (event,) = wait_until(lambda: world.events(DETAIL_TYPE, command_id="c"))
        (line,) = world.stack.log_events("/aws/events/stopline-outcomes", '{ $.detail.command_id = "c" }')
        assert json.loads(line)["detail"] == event

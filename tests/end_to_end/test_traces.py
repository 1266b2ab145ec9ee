"""One trace from the producer through remainders, a dead-letter queue and redrive to the consumer, and in the log."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from local import redrive
from local.huawei import BatchTask, Fault, Scenario
from shared.outcomes import DETAIL_TYPE
from tests.end_to_end.world import deployed, redrive_on, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.end_to_end.world import World

pytestmark = pytest.mark.enable_socket  # loop-back only

SCENARIO = Scenario(
    batch_tasks=(BatchTask(task_id="b1", targets=("d1",)), BatchTask(task_id="b2", targets=("d2",))),
)
TRACES = {
    "by-sqs": {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "tracestate": "a=b"},
    "by-sns": {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"},
    "rejected": {"traceparent": "00-11111111111111111111111111111111-2222222222222222-01", "tracestate": "c=d"},
}
STOPS: dict[str, dict[str, Any]] = {
    "by-sqs": {"command": "stop_targets", "command_id": "by-sqs", "task_id": "b1", "targets": ["d1"]},
    "by-sns": {"command": "stop_targets", "command_id": "by-sns", "task_id": "b2", "targets": ["d2"]},
    "rejected": {"command": "stop_targets", "command_id": "rejected", "task_id": "b1", "all_targets": True},
}


@pytest.fixture
def world() -> Iterator[World]:
    with deployed(SCENARIO, MaxAttempts="3") as world:
        yield world


def attributes(trace: Mapping[str, str]) -> dict[str, Any]:
    return {name: {"DataType": "String", "StringValue": value} for name, value in trace.items()}


def traces(things: list[dict[str, Any]]) -> list[dict[str, str]]:
    return [{name: each[name] for name in ("traceparent", "tracestate") if each.get(name)} for each in things]


def wait_for(world: World, command_id: str, status: str) -> None:
    wait_until(lambda: world.events(DETAIL_TYPE, command_id=command_id, status=status))


def test_one_trace_leads_from_the_producer_to_the_last_event_and_through_the_log(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = world.stack
    queue, dead = stack.resources["StopTargetsQueue"], stack.resources["StopTargetsDeadLetterQueue"]
    world.huawei.set_faults(Fault(kind="error_json", operation="stop_batch_task", status=503))
    for name in ("by-sqs", "rejected"):
        stack.sqs.send_message(
            QueueUrl=queue, MessageBody=json.dumps(STOPS[name]), MessageAttributes=attributes(TRACES[name])
        )
    stack.sns.publish(
        TopicArn=stack.resources["StopCommandsTopic"],
        Message=json.dumps(STOPS["by-sns"]),
        MessageAttributes=attributes(TRACES["by-sns"]),
    )
    for name, status in {"by-sqs": "failed", "by-sns": "failed", "rejected": "rejected"}.items():
        wait_for(world, name, status)
    wait_until(lambda: stack.left_in("StopTargetsDeadLetterQueue") == {"StopTargetsDeadLetterQueue": 3})

    world.huawei.set_faults()
    redrive_on(stack, monkeypatch)
    moved = ["--queue", dead.rpartition("/")[2], "--to", queue, "--apply", "--rejected"]
    assert redrive.main(moved) == 0
    for name in ("by-sqs", "by-sns"):
        wait_for(world, name, "succeeded")
    wait_until(lambda: len(world.events(DETAIL_TYPE, command_id="rejected")) == 2)

    for name, trace in TRACES.items():
        events = world.events(DETAIL_TYPE, command_id=name)
        assert traces(events) == [trace] * 2
        lines = [json.loads(line) for line in stack.log_lines("StopTargetsFunction") if f'"{name}"' in line]
        assert traces(lines) == [trace] * len(lines)
        said = [line["message"] for line in lines]
        assert said.count("outcome") == 2
        assert said.count("remainder sent") == (0 if name == "rejected" else 2)
        assert said.count("set aside") == (2 if name == "rejected" else 1)

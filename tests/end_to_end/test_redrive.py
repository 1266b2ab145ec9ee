"""Redrive against the deployed template: dead letters as the functions write them, moved back and carried out."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from local import redrive
from local.build import build
from local.huawei import PROJECT_ID, AccessKey, BatchTask, Fault, HuaweiStandIn
from local.stack import REGION, LocalStack
from shared.publishing import dead_letter
from tests.end_to_end.world import redrive_on

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.enable_socket  # loop-back only

LONG_ENOUGH = 30.0
GIVES_UP = {"command": "stop_targets", "command_id": "gives-up", "task_id": "b1", "targets": ["d1", "d2"]}
EXPIRED = {"command": "stop_targets", "command_id": "expired", "task_id": "b2", "targets": ["d3"]}
UNREADABLE = "no JSON"


@pytest.fixture
def huawei() -> Iterator[HuaweiStandIn]:
    with HuaweiStandIn() as stand_in:
        stand_in.add(BatchTask(task_id="b1", targets=("d1", "d2")), BatchTask(task_id="b2", targets=("d3",)))
        yield stand_in


@pytest.fixture
def stack(huawei: HuaweiStandIn) -> Iterator[LocalStack]:
    with LocalStack() as deployed:
        deployed.deploy(
            build("host"),
            parameters={
                "HuaweiRegion": "cn-north-4",
                "HuaweiProjectId": PROJECT_ID,
                "IotdaEndpoint": huawei.endpoint,
                "MaxAttempts": "1",
            },
            environment={
                "HUAWEICLOUD_SDK_AK": AccessKey().ak,
                "HUAWEICLOUD_SDK_SK": AccessKey().sk,
                "HUAWEICLOUD_KEYS_IN_ENVIRONMENT": "true",
            },
        )
        yield deployed


def test_what_gave_up_goes_back_and_what_expired_only_when_renewed(
    huawei: HuaweiStandIn, stack: LocalStack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    queue, dead = stack.resources["StopTargetsQueue"], stack.resources["StopTargetsDeadLetterQueue"]
    redrive_on(stack, monkeypatch)

    def run(*arguments: str) -> dict[str, str]:
        """What became of each message, by what was in it."""
        assert redrive.main(["--queue", dead.rpartition("/")[2], "--json", *arguments]) == 0
        shown: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["messages"]
        return {each["body"] or each["command_id"]: each["done"] for each in shown}

    huawei.set_faults(Fault(kind="error_json", operation="stop_batch_task", status=503))
    stack.sqs.send_message(QueueUrl=queue, MessageBody=json.dumps(GIVES_UP))
    stack.sqs.send_message(QueueUrl=queue, MessageBody=UNREADABLE)
    assert final_outcomes(stack, 2) >= {("gives-up", "failed")}
    sent_at = datetime.now(UTC) - timedelta(hours=2)
    letter = dead_letter(json.dumps(EXPIRED), reason="gave_up", sent_at=sent_at)
    assert letter is not None
    stack.sqs.send_message(
        QueueUrl=dead,
        MessageBody=letter.body,
        MessageAttributes={
            name: {"DataType": "String", "StringValue": value} for name, value in letter.attributes.items()
        },
    )
    huawei.set_faults()

    # The event of an outcome comes before its letter, so the letters may need a moment.
    wait_for(lambda: len(run()) == 3)
    assert run() == {
        "gives-up": "would move",
        "expired": "would ask: it has expired",
        UNREADABLE: "stays",
    }
    assert run("--to", queue, "--apply") == {"gives-up": "moved", "expired": "stays", UNREADABLE: "stays"}
    assert final_outcomes(stack, 1) == {("gives-up", "succeeded")}
    assert huawei.subtasks("b1") == {"d1": "Stopped", "d2": "Stopped"}
    assert huawei.subtasks("b2") == {"d3": "Processing"}, "nothing expired was sent"

    assert run("--to", queue, "--apply", "--renew") == {"expired": "renewed and moved", UNREADABLE: "stays"}
    assert final_outcomes(stack, 1) == {("expired", "succeeded")}
    assert huawei.subtasks("b2") == {"d3": "Stopped"}
    assert run() == {UNREADABLE: "stays"}


def test_ctrl_c_in_the_long_poll_and_a_closed_pipe_leave_nothing_hidden() -> None:
    """On the stand-in's own queues, which hide messages and make them visible by themselves."""
    keys = {"AWS_DEFAULT_REGION": REGION, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    reader, writer = os.pipe()
    os.close(reader)
    with LocalStack() as stack:
        dead, queue = (stack.sqs.create_queue(QueueName=name)["QueueUrl"] for name in ("dead", "queue"))
        for number in range(12):
            stop = GIVES_UP | {"command_id": f"c-{number}"}
            stack.sqs.send_message(QueueUrl=dead, MessageBody=json.dumps(stop))
        redrive = [sys.executable, "-m", "local.redrive", "--queue", "dead", "--to", "queue"]
        environment = os.environ | keys | {"AWS_ENDPOINT_URL": stack.endpoint}
        root = Path(__file__).parent.parent.parent
        with subprocess.Popen(
            redrive, cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout
            shown = 0
            while shown < 12:
                line = process.stdout.readline()
                assert line
                shown += "would move" in line
            process.send_signal(signal.SIGINT)  # it waits for more
            _, err = process.communicate(timeout=LONG_ENOUGH)
        assert (process.returncode, lying(stack, dead)) == (130, (12, 0))
        assert "12 messages: 12 would move" in err

        done = subprocess.run(
            [*redrive, "--apply"],
            cwd=root,
            env=environment,
            stdout=writer,
            stderr=subprocess.PIPE,
            check=False,
            text=True,
        )
        os.close(writer)
        [moved] = [line for line in done.stderr.splitlines() if line.startswith("moved ")]
        count, left, missed, doubted = map(int, re.findall(r"\d+", moved))
        assert (done.returncode, count + left + missed, doubted) == (141, 12, 0)
        assert (lying(stack, queue), lying(stack, dead)) == ((count, 0), (left + missed, 0))
        assert count > 0


def lying(stack: LocalStack, url: str) -> tuple[int, int]:
    """How many messages of a queue are visible, and how many are hidden."""
    answer = stack.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    return int(answer["ApproximateNumberOfMessages"]), int(answer["ApproximateNumberOfMessagesNotVisible"])


def wait_for(condition: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + LONG_ENOUGH
    while not condition():
        assert time.monotonic() < give_up_at, "it never came true"
        time.sleep(0.05)


def final_outcomes(stack: LocalStack, count: int) -> set[tuple[str, str]]:
    """The next final events of the bus: which command, and what became of it."""
    found: set[tuple[str, str]] = set()
    give_up_at = time.monotonic() + LONG_ENOUGH
    while len(found) < count:
        assert time.monotonic() < give_up_at, f"only {found} came"
        answer = stack.sqs.receive_message(QueueUrl=stack.outcome_queue_url, WaitTimeSeconds=1)
        for message in answer.get("Messages", []):
            outcome = json.loads(message["Body"])["detail"]
            if outcome["status"] != "in_progress":
                found.add((outcome["command_id"], outcome["status"]))
            stack.sqs.delete_message(QueueUrl=stack.outcome_queue_url, ReceiptHandle=message["ReceiptHandle"])
    return found

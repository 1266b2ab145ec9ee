"""Every handler does its work with boto3, botocore, requests and the generated SDKs out of reach.

What is deployed leaves them out, and a test run has them all; so each handler runs in a process of its own in which
they cannot be imported, against the stand-in of Huawei Cloud and a minimal AWS on the loop-back address.
"""

from __future__ import annotations

import json
import os
import pkgutil
import subprocess
import sys
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import functions
from local.huawei import CHECK_PROJECT_ID, PROJECT_ID, AccessKey, BatchTask, CheckTask, HuaweiStandIn, Scenario
from tests.fakes import delivery

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.enable_socket  # loop-back only

ROOT = Path(__file__).resolve().parent.parent.parent
KEY = AccessKey()
COMMANDS, DEAD_LETTERS = "https://sqs.eu-west-1.amazonaws.com/1/commands", "https://sqs.eu-west-1.amazonaws.com/1/dead"
TASKS, TARGETS = "https://sqs.eu-west-1.amazonaws.com/1/task", "https://sqs.eu-west-1.amazonaws.com/1/targets"

# Runs one handler as the runtime would, in a world without the forbidden packages, and tells what it loaded.
RUN = """
import importlib, json, sys

class OutOfReach:
    forbidden = set(sys.argv[2:])

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.forbidden:
            raise ModuleNotFoundError(f"{name} is not deployed", name=name)

class Context:
    function_name = "stopline"
    aws_request_id = "request-1"

    def get_remaining_time_in_millis(self):
        return 30_000

sys.meta_path.insert(0, OutOfReach())
answer = importlib.import_module(sys.argv[1]).handler(json.load(sys.stdin), Context())
loaded = sorted({name.partition(".")[0] for name in sys.modules} & OutOfReach.forbidden)
print(json.dumps({"answer": answer, "loaded": loaded}))
"""
FORBIDDEN = ("boto3", "botocore", "requests", "s3transfer", "huaweicloudsdkiotda", "huaweicloudsdkcodeartscheck")


class Aws:
    """EventBridge, SQS, Secrets Manager and DynamoDB, as far as they take what they are sent. Keeps it by operation."""

    def __init__(self) -> None:
        self.asked: dict[str, list[dict[str, Any]]] = {}
        self.sighted: dict[str, datetime] = {}

    def answer(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        self.asked.setdefault(operation, []).append(request)
        match operation:
            case "AWSEvents.PutEvents":
                return {"FailedEntryCount": 0, "Entries": [{"EventId": "e"} for _ in request["Entries"]]}
            case "AmazonSQS.SendMessageBatch":
                sent = [{"Id": each["Id"], "MessageId": "m", "MD5OfMessageBody": "0"} for each in request["Entries"]]
                return {"Successful": sent, "Failed": []}
            case "secretsmanager.GetSecretValue":
                return {"SecretString": json.dumps({"ak": KEY.ak, "sk": KEY.sk})}
            case "DynamoDB_20120810.Query":
                return {
                    "Items": [
                        {
                            "task_id": {"S": task},
                            "item_version": {"S": "v-1"},
                            "last_check_time": {"S": LAST_CHECK},
                            "first_seen": {"S": at.isoformat()},
                            "percent_done": {"N": "0"},
                        }
                        for task, at in self.sighted.items()
                    ]
                }
            case "DynamoDB_20120810.PutItem" | "DynamoDB_20120810.DeleteItem":
                return {}
            case _:
                raise AssertionError(operation)

    @property
    def outcomes(self) -> list[dict[str, Any]]:
        calls = self.asked.get("AWSEvents.PutEvents", [])
        return [json.loads(entry["Detail"]) for call in calls for entry in call["Entries"]]

    @property
    def messages(self) -> list[tuple[str, str]]:
        calls = self.asked.get("AmazonSQS.SendMessageBatch", [])
        return [(call["QueueUrl"], entry["MessageBody"]) for call in calls for entry in call["Entries"]]


@contextmanager
def served(aws: Aws) -> Iterator[str]:
    """Serve it while the block runs, and give its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            assert self.headers["Authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            body = json.dumps(aws.answer(self.headers["X-Amz-Target"], request)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def run(handler: str, event: object, *, huawei: str, aws: str, home: Path) -> dict[str, Any]:
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": str(home),
        "AWS_LAMBDA_FUNCTION_NAME": "stopline",
        "AWS_REGION": "eu-west-1",
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_ENDPOINT_URL": aws,
        "HUAWEICLOUD_REGION": "cn-north-4",
        "HUAWEICLOUD_SDK_PROJECT_ID": PROJECT_ID,
        "HUAWEICLOUD_SECRET_ID": "huawei",
        "CODEARTS_CHECK_ENDPOINT": huawei,
        "IOTDA_ENDPOINT": huawei,
        "OUTCOME_BUS_NAME": "outcomes",
        "COMMAND_QUEUE_URL": COMMANDS,
        "DEAD_LETTER_QUEUE_URL": DEAD_LETTERS,
        "STOP_TASK_QUEUE_URL": TASKS,
        "STOP_TARGETS_QUEUE_URL": TARGETS,
        "SIGHTINGS_TABLE_NAME": "sightings",
    }
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", RUN, handler, *FORBIDDEN],
        input=json.dumps(event),
        env=environment,
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def test_what_is_out_of_reach_is_there_otherwise() -> None:
    """Else the tests below would show nothing."""
    assert [name for name in FORBIDDEN if pkgutil.resolve_name(name) is None] == []


LAST_CHECK = "2026-11-02T06:55:41Z"
"""By which a sighting knows its run."""

SCENARIO = Scenario(
    batch_tasks=(BatchTask(task_id="5f1a", targets=("d1", "d2", "d3")),),
    check_tasks=(CheckTask(task_id="c1", last_check_time=LAST_CHECK),),
)
COMMANDS_OF: dict[str, dict[str, Any]] = {
    "stop_task": {"command": "stop_task", "task_id": "c1"},
    "stop_targets": {"command": "stop_targets", "task_id": "5f1a", "targets": ["d1", "d2"]},
}


def test_every_handler_is_shown_here() -> None:
    shown = {*COMMANDS_OF, "stop_in_workflow", "sweep_stale_tasks"}
    assert {module.name for module in pkgutil.iter_modules(functions.__path__)} == shown


@pytest.mark.parametrize("handler", COMMANDS_OF)
def test_a_queue_function_does_its_work_without_them(handler: str, tmp_path: Path) -> None:
    aws = Aws()
    event = delivery(COMMANDS_OF[handler], "no JSON", sent_at=datetime.now(UTC))
    with HuaweiStandIn(SCENARIO) as huawei, served(aws) as aws_url:
        result = run(f"functions.{handler}", event, huawei=huawei.endpoint, aws=aws_url, home=tmp_path)
        assert huawei.summary().targets_stopped == (1 if handler == "stop_task" else 2)
        assert huawei.summary().violations == {}
    assert result == {"answer": {"batchItemFailures": []}, "loaded": []}
    assert {(each["command_id"], each["status"]) for each in aws.outcomes} == {
        ("m-0", "succeeded"),
        ("m-1", "rejected"),
    }
    assert aws.messages == [(DEAD_LETTERS, "no JSON")]
    assert [request["SecretId"] for request in aws.asked["secretsmanager.GetSecretValue"]] == ["huawei"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", COMMANDS_OF)
def test_the_workflow_function_does_its_work_without_them(kind: str, tmp_path: Path) -> None:
    aws = Aws()
    with HuaweiStandIn(SCENARIO) as huawei, served(aws) as aws_url:
        command = COMMANDS_OF[kind] | {"command_id": "w-1"}
        result = run("functions.stop_in_workflow", command, huawei=huawei.endpoint, aws=aws_url, home=tmp_path)
        assert huawei.summary().targets_stopped == (1 if kind == "stop_task" else 2)
        assert huawei.summary().violations == {}
    assert result["loaded"] == []
    (outcome,) = aws.outcomes
    assert result["answer"] == outcome | {"results": []}
    assert (outcome["command_id"], outcome["status"]) == ("w-1", "succeeded")
    assert aws.messages == []
    assert list(tmp_path.iterdir()) == []


def test_the_sweep_of_checks_does_its_work_without_them(tmp_path: Path) -> None:
    aws = Aws()
    aws.sighted = {"c1": datetime.now(UTC) - timedelta(hours=3)}
    sweep = {"sweep": "check_tasks", "project_id": CHECK_PROJECT_ID, "older_than": "PT2H", "dry_run": False}
    with HuaweiStandIn(SCENARIO) as huawei, served(aws) as aws_url:
        result = run("functions.sweep_stale_tasks", sweep, huawei=huawei.endpoint, aws=aws_url, home=tmp_path)
        assert huawei.summary().violations == {}
    assert result == {"answer": aws.outcomes[0], "loaded": []}
    assert (result["answer"]["stale"], result["answer"]["sent"]) == (1, 1)
    ((queue_url, body),) = aws.messages
    assert (queue_url, json.loads(body)["task_id"]) == (TASKS, "c1")
    assert {request["TableName"] for request in aws.asked["DynamoDB_20120810.Query"]} == {"sightings"}
    assert "claimed_until" in aws.asked["DynamoDB_20120810.PutItem"][-1]["Item"]
    assert list(tmp_path.iterdir()) == []


def test_the_sweep_of_batch_tasks_does_its_work_without_them(tmp_path: Path) -> None:
    aws = Aws()
    old = BatchTask(task_id="5f1a", targets=("d1", "d2"), create_time="20200101T000000Z")
    sweep = {"sweep": "batch_tasks", "older_than": "P1D", "dry_run": False}
    with HuaweiStandIn(Scenario(batch_tasks=(old,))) as huawei, served(aws) as aws_url:
        result = run("functions.sweep_stale_tasks", sweep, huawei=huawei.endpoint, aws=aws_url, home=tmp_path)
        assert huawei.summary().violations == {}
    assert result == {"answer": aws.outcomes[0], "loaded": []}
    ((queue_url, body),) = aws.messages
    assert (queue_url, set(json.loads(body)["targets"])) == (TARGETS, {"d1", "d2"})
    assert list(tmp_path.iterdir()) == []

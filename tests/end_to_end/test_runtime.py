"""Each handler, out of the built artifact, under AWS's own runtime client."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from local.build import build
from local.huawei import PROJECT_ID, AccessKey, BatchTask, CheckTask, HuaweiStandIn
from local.runtime import bootstrap, install_runtime
from local.runtime_api import Answer, RuntimeApi
from local.stack import TEMPLATE, LocalStack, StackFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

pytestmark = pytest.mark.enable_socket  # loop-back only

LONG_ENOUGH = 30.0
PARAMETERS = {"HuaweiRegion": "cn-north-4", "HuaweiProjectId": PROJECT_ID}
CHECK = {"command": "stop_task", "task_id": "c1"}
TARGETS = {"command": "stop_targets", "task_id": "b1", "targets": ["d1", "d2"]}
FUNCTIONS = {"StopTaskFunction": CHECK, "StopTargetsFunction": TARGETS}


class World:
    """The stand-ins, with the template on them, and the runtime that starts a handler of an artifact."""

    def __init__(self, huawei: HuaweiStandIn, stack: LocalStack, runtime: Path) -> None:
        self.huawei = huawei
        self.stack = stack
        self.runtime = runtime

    def handler(self, function: str) -> tuple[str, dict[str, str]]:
        """The handler and the variables that the deployed function has."""
        settings = self.stack.lambda_.get_function_configuration(FunctionName=self.stack.resources[function])
        variables = settings["Environment"]["Variables"]
        return settings["Handler"], variables | {
            "AWS_LAMBDA_FUNCTION_NAME": function,
            "AWS_ENDPOINT_URL": self.stack.endpoint,
            "AWS_REGION": "eu-west-1",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
        }


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with HuaweiStandIn() as huawei, LocalStack() as stack:
        stack.deploy(
            build("host"),
            parameters=PARAMETERS | {"CodeArtsCheckEndpoint": huawei.endpoint, "IotdaEndpoint": huawei.endpoint},
            environment={
                "HUAWEICLOUD_SDK_AK": AccessKey().ak,
                "HUAWEICLOUD_SDK_SK": AccessKey().sk,
                "HUAWEICLOUD_KEYS_IN_ENVIRONMENT": "true",
            },
        )
        yield World(huawei, stack, install_runtime(tmp_path_factory.mktemp("runtime")))


@pytest.fixture
def invoke(world: World, tmp_path: Path) -> Callable[..., Answer]:
    def invoke(handler: str, environment: Mapping[str, str], event: object, artifact: Path | None = None) -> Answer:
        script = tmp_path / "bootstrap"
        script.write_text(bootstrap(artifact=artifact or build("host"), runtime=world.runtime, pids=tmp_path))
        script.chmod(0o755)
        with (
            RuntimeApi() as api,
            started(script, {"_HANDLER": handler, "AWS_LAMBDA_RUNTIME_API": api.address, **environment}),
        ):
            return api.invoke(event, within=LONG_ENOUGH)

    return invoke


@contextmanager
def started(script: Path, environment: Mapping[str, str]) -> Iterator[None]:
    with subprocess.Popen([script], env={"PATH": os.defpath, **environment}) as process:
        try:
            yield
        finally:
            process.kill()


def delivery(*bodies: str) -> dict[str, Any]:
    return {
        "Records": [
            {
                "messageId": f"m-{number}",
                "receiptHandle": "handle",
                "body": body,
                "attributes": {},
                "messageAttributes": {},
                "eventSource": "aws:sqs",
            }
            for number, body in enumerate(bodies)
        ]
    }


@pytest.mark.parametrize(("function", "command"), FUNCTIONS.items())
def test_a_delivery_is_answered_and_the_work_is_stopped(
    world: World, invoke: Callable[..., Answer], function: str, command: dict[str, Any]
) -> None:
    world.huawei.add(CheckTask(task_id="c1"), BatchTask(task_id="b1", targets=("d1", "d2")))
    answer = invoke(*world.handler(function), delivery(json.dumps(command), "no JSON"))
    assert answer == Answer("response", {"batchItemFailures": []})
    if command is CHECK:
        assert world.huawei.state().check_tasks["c1"] == "stopped"
    else:
        assert world.huawei.subtasks("b1") == {"d1": "Stopped", "d2": "Stopped"}
    assert sorted(outcomes(world.stack, 2)) == [("m-0", "succeeded"), ("m-1", "rejected")]


def outcomes(stack: LocalStack, count: int) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    while len(found) < count:
        received = stack.sqs.receive_message(QueueUrl=stack.outcome_queue_url, WaitTimeSeconds=10)["Messages"]
        for message in received:
            detail = json.loads(message["Body"])["detail"]
            found.append((detail["command_id"], detail["status"]))
            stack.sqs.delete_message(QueueUrl=stack.outcome_queue_url, ReceiptHandle=message["ReceiptHandle"])
    return found


@pytest.mark.parametrize(("function", "command"), FUNCTIONS.items())
def test_a_bus_that_does_not_answer_gives_the_message_back(
    world: World, invoke: Callable[..., Answer], function: str, command: dict[str, Any]
) -> None:
    world.huawei.add(CheckTask(task_id="c1"), BatchTask(task_id="b1", targets=("d1", "d2")))
    handler, environment = world.handler(function)
    environment["AWS_ENDPOINT_URL_EVENTBRIDGE"] = "http://127.0.0.1:1"
    answer = invoke(handler, environment, delivery(json.dumps(command)))
    assert answer == Answer("response", {"batchItemFailures": [{"itemIdentifier": "m-0"}]})


@pytest.mark.parametrize(("function", "command"), FUNCTIONS.items())
def test_what_a_refused_key_gives_back_comes_again_long_before_the_queues_time_out(
    world: World, invoke: Callable[..., Answer], function: str, command: dict[str, Any]
) -> None:
    sqs = world.stack.sqs
    queue = sqs.create_queue(QueueName=f"apart-{function}", Attributes={"VisibilityTimeout": "43200"})["QueueUrl"]
    sqs.send_message(QueueUrl=queue, MessageBody=json.dumps(command))
    (received,) = sqs.receive_message(QueueUrl=queue)["Messages"]
    event = delivery(json.dumps(command))
    event["Records"][0]["receiptHandle"] = received["ReceiptHandle"]
    handler, environment = world.handler(function)
    environment |= {"HUAWEICLOUD_SDK_AK": "ANOTHER", "COMMAND_QUEUE_URL": queue, "VISIBILITY_TIMEOUT_SECONDS": "1"}
    answer = invoke(handler, environment, event)
    assert (answer.kind, answer.body["errorType"]) == ("error", "DeploymentFault")
    (again,) = sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=20)["Messages"]
    assert again["MessageId"] == received["MessageId"]


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("missing", ["OUTCOME_BUS_NAME", "HUAWEICLOUD_REGION", "COMMAND_QUEUE_URL"])
def test_a_missing_variable_is_a_fault_of_the_deployment_that_names_it(
    world: World, invoke: Callable[..., Answer], function: str, missing: str
) -> None:
    handler, environment = world.handler(function)
    del environment[missing]
    answer = invoke(handler, environment, delivery("{}"))
    assert (answer.kind, answer.body["errorType"]) == ("error", "DeploymentFault")
    assert missing in answer.body["errorMessage"]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_an_event_of_another_trigger_is_a_fault_of_the_deployment(
    world: World, invoke: Callable[..., Answer], function: str
) -> None:
    answer = invoke(*world.handler(function), {"detail-type": "Scheduled Event"})
    assert (answer.kind, answer.body["errorType"]) == ("error", "DeploymentFault")


@pytest.mark.parametrize("package", ["boto3", "requests", "pytest"])
def test_a_handler_cannot_import_what_is_only_in_the_virtual_environment(
    invoke: Callable[..., Answer], tmp_path: Path, package: str
) -> None:
    artifact = tmp_path / "artifact"
    artifact.mkdir()
    (artifact / "probe.py").write_text(f"import {package}\n\ndef handler(event, context):\n    return 1\n")
    answer = invoke("probe.handler", {}, {}, artifact)
    assert (answer.kind, answer.body["errorType"]) == ("init_error", "Runtime.ImportModuleError")
    assert package in answer.body["errorMessage"]


def test_a_killed_process_of_a_function_is_found_and_replaced(world: World) -> None:
    def fault() -> str:
        answer = world.stack.lambda_.invoke(FunctionName=world.stack.resources["StopTaskFunction"], Payload=b"{}")
        error: str = json.loads(answer["Payload"].read())["errorType"]
        return error

    assert fault() == "DeploymentFault"
    killed = world.stack.function_processes()
    for process in killed:
        os.kill(process, signal.SIGKILL)
    assert fault() in {"DeploymentFault", "Runtime.ExitError"}  # it may not have been noticed yet
    assert fault() == "DeploymentFault"
    assert not set(world.stack.function_processes()) & set(killed)


def test_a_template_that_is_refused_says_why(tmp_path: Path) -> None:
    template = tmp_path / "template.yaml"
    template.write_text(TEMPLATE.read_text().replace("Type: AWS::SNS::Topic\n", "Type: AWS::SNS::Topyc\n"))
    with LocalStack() as stack, pytest.raises(StackFailed, match="Topyc"):
        stack.deploy(tmp_path, parameters=PARAMETERS, environment={}, template=template)


def test_an_answer_that_does_not_come_in_time_is_a_timeout() -> None:
    with RuntimeApi() as api, pytest.raises(TimeoutError):
        api.invoke({}, within=0.01)

"""AWS on one machine: `template.yaml`, deployed to stand-ins that need no account, no container and no network.

The services are `ministack`'s; `local/emulator.py` fills in what it lacks: rules that write a log, and patterns that
find `command_id` there. The functions run under `awslambdaric`, AWS's own runtime client, on the artifact that is
deployed. Real here: the template and its SAM transform, the queues with redrive, the mappings with partial
batch responses, topic filters, the bus and its rules, timers, the state machine with its retries and catches by name,
the names and types of errors, the life of a warm process.

What this cannot show, because the stand-in does not do it:

* permissions: nothing is ever denied, so the policies of the template are not exercised (that of the outcome log too);
* the batching window: a mapping ignores it and hands over at most ten messages, so less is folded than on AWS;
* an invalid partial-batch response: it counts as success, where AWS takes the whole batch back
  (the handlers' answers are checked by tests instead);
* dead-letter queues of rules, of topic subscriptions and of schedules, and the windows and time zones of schedules;
* how long a workflow waits, which is shortened here, the limits of its history and of what its states pass on;
* filter patterns of CloudWatch Logs other than words and `{ $.a.b = "c" && … }`, which is refused, not guessed;
* the limits of Lambda: memory, payload sizes, the read-only file system, arm64, real cold starts and concurrency;
* metrics: none of queues and functions is written, so the alarms and the dashboard are left out
  (what they watch is held to what is written by `tests/template`);
* the kill switch's reserved concurrency of none, and the traces of X-Ray;
* federation: the token of `sts:GetWebIdentityToken` is not signed as AWS signs it, so the functions get keys here, and
  the rule that demands a secret or a provider is left out (`local/aws_sts.py` plays both sides for the tests).
"""

from __future__ import annotations

import http.client
import io
import json
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self
from uuid import uuid4

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import ClientError
from samtranslator.yaml_helper import yaml_parse

from local import keeper
from local.localise import OUTCOME_WATCH_QUEUE, localise
from local.runtime import bootstrap, install_runtime

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_scheduler import EventBridgeSchedulerClient
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_stepfunctions import SFNClient
    from mypy_boto3_stepfunctions.type_defs import HistoryEventTypeDef

REGION: Final = "eu-west-1"
TEMPLATE: Final = Path(__file__).parent.parent / "template.yaml"
_EMULATOR: Final = Path(__file__).parent / "emulator.py"
_COUNTS: Final = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)
STACK_NAME: Final = "stopline"

_READY_WITHIN: Final = 30.0
_DEPLOYED_WITHIN: Final = 60.0
_WORKFLOW_ENDS_WITHIN: Final = 60.0
_WORKFLOW_PAUSES: Final = 0.02
"""Of the seconds that a workflow waits by its definition: 30 become 0.6."""

_BUCKET: Final = "stopline-artifacts"
_CODE_KEY: Final = "bootstrap.zip"
_TEMPLATE_KEY: Final = "template.json"
_LOG_ENTRY: Final = re.compile(r"^(?=\d{4}-\d{2}-\d{2} )", re.MULTILINE)  # an entry may have more lines than one
_COMPLAINT: Final = re.compile(r"\S+ \S+ (WARNING|ERROR) ")
_CLIENT_CONFIG: Final = Config(
    connect_timeout=2,
    read_timeout=30,
    retries={"total_max_attempts": 1},
    proxies={},  # loop-back, whatever HTTP_PROXY says
)


class StackFailed(Exception):
    """The stand-in did not start or did not take the template; the message says what it said."""


class FunctionFailed(Exception):
    """A function that was invoked directly raised: `error_type` is the name that Step Functions would match."""

    def __init__(self, error_type: str, message: str) -> None:
        super().__init__(f"{error_type}: {message}")
        self.error_type = error_type


@dataclass(frozen=True, slots=True)
class Execution:
    """A run of a state machine that has ended."""

    status: str
    """`SUCCEEDED`, `FAILED`, `TIMED_OUT` or `ABORTED`."""
    output: Any
    """What it gave if it succeeded, else None."""
    error: str | None
    cause: str | None
    history: Sequence[HistoryEventTypeDef]

    @property
    def states(self) -> list[str]:
        """The names of the states that it went through, in order, each as often as it was entered."""
        return [
            event["stateEnteredEventDetails"]["name"] for event in self.history if "stateEnteredEventDetails" in event
        ]


class LocalStack:
    """The services, within a `with` block; `deploy` then puts the template on them.

    At the end of the block, whatever ends it, no process, port or folder of it is left: a keeper process sees to
    that even if this one is killed.
    """

    def __init__(self) -> None:
        self._folder = Path(tempfile.gettempdir()) / f"stopline-{uuid4().hex}"
        self._pids = self._folder / "pids"
        self._log = self._folder / "ministack.log"
        self._port = _free_port()
        self.endpoint = f"http://127.0.0.1:{self._port}"
        self._how: dict[str, Any] = {"endpoint_url": self.endpoint, "config": _CLIENT_CONFIG}
        self._keeper: subprocess.Popen[str] | None = None
        self._group = 0
        self.resources: Mapping[str, str] = {}
        """Physical by logical ids, once deployed: the URL of a queue, the ARN of a topic, the name of a function."""

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def deploy(
        self,
        artifact: Path,
        *,
        parameters: Mapping[str, str],
        environment: Mapping[str, str],
        template: Path = TEMPLATE,
    ) -> None:
        """Create the stack of `template`, its functions running the code in the folder `artifact`.

        `parameters` are the template's; `environment` are variables that only the local world gives to functions.
        Raises `StackFailed`.
        """
        runtime = install_runtime(self._folder / "runtime")
        script = bootstrap(artifact=artifact.resolve(), runtime=runtime, pids=self._pids)
        s3 = self._session.client("s3", **self._how)
        s3.create_bucket(Bucket=_BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        s3.put_object(Bucket=_BUCKET, Key=_CODE_KEY, Body=_zip_of_bootstrap(script))
        as_written = load_template(template)
        as_written.get("Rules", {}).pop("CredentialsAreGiven", None)  # they are in `environment`
        local_template = localise(
            as_written,
            code_uri=f"s3://{_BUCKET}/{_CODE_KEY}",
            environment=environment,
            parameters=parameters,
        )
        s3.put_object(Bucket=_BUCKET, Key=_TEMPLATE_KEY, Body=json.dumps(local_template))
        cloudformation = self._session.client("cloudformation", **self._how)
        try:
            cloudformation.create_stack(
                StackName=STACK_NAME,
                TemplateURL=f"{self.endpoint}/{_BUCKET}/{_TEMPLATE_KEY}",  # as a body it may have 51 200 bytes at most
                Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
                Capabilities=["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"],
            )
        except ClientError as refusal:
            raise StackFailed(str(refusal)) from refusal
        _wait_until_created(cloudformation)
        pages = cloudformation.get_paginator("list_stack_resources").paginate(StackName=STACK_NAME)
        self.resources = {
            resource["LogicalResourceId"]: resource["PhysicalResourceId"]
            for page in pages
            for resource in page["StackResourceSummaries"]
        }

    @property
    def outcome_queue_url(self) -> str:
        """The queue that receives every event of the outcome bus, as EventBridge writes it."""
        return self.resources[OUTCOME_WATCH_QUEUE]

    @cached_property
    def sqs(self) -> SQSClient:
        """A boto3 client of the local SQS."""
        return self._session.client("sqs", **self._how)

    @cached_property
    def sns(self) -> SNSClient:
        """A boto3 client of the local SNS."""
        return self._session.client("sns", **self._how)

    @cached_property
    def events(self) -> EventBridgeClient:
        """A boto3 client of the local EventBridge."""
        return self._session.client("events", **self._how)

    @cached_property
    def lambda_(self) -> LambdaClient:
        """A boto3 client of the local Lambda."""
        return self._session.client("lambda", **self._how)

    @cached_property
    def scheduler(self) -> EventBridgeSchedulerClient:
        """A boto3 client of the local EventBridge Scheduler."""
        return self._session.client("scheduler", **self._how)

    @cached_property
    def stepfunctions(self) -> SFNClient:
        """A boto3 client of the local Step Functions."""
        return self._session.client("stepfunctions", **self._how)

    @cached_property
    def dynamodb(self) -> DynamoDBClient:
        """A boto3 client of the local DynamoDB."""
        return self._session.client("dynamodb", **self._how)

    def invoke(self, function: str, payload: Any) -> Any:
        """Call the function with this logical id with `payload`, as JSON, and give its answer.

        Raises `FunctionFailed` if it raised.
        """
        called = self.lambda_.invoke(FunctionName=self.resources[function], Payload=json.dumps(payload).encode())
        answer = json.loads(called["Payload"].read())
        if called.get("FunctionError"):
            raise FunctionFailed(answer["errorType"], answer["errorMessage"])
        return answer

    def run_workflow(self, command: Any, *, name: str | None = None) -> Execution:
        """Start `StopWorkflow` with a command and wait until it has ended; `name` is the execution's, else a new one.

        Raises `StackFailed` if it does not end.
        """
        arn = self.stepfunctions.start_execution(
            stateMachineArn=self.resources["StopWorkflow"], name=name or str(uuid4()), input=json.dumps(command)
        )["executionArn"]
        give_up_at = time.monotonic() + _WORKFLOW_ENDS_WITHIN
        run = self.stepfunctions.describe_execution(executionArn=arn)
        while run["status"] == "RUNNING":
            if time.monotonic() > give_up_at:
                raise StackFailed(f"the workflow did not end: {arn}")
            time.sleep(0.05)
            run = self.stepfunctions.describe_execution(executionArn=arn)
        pages = self.stepfunctions.get_paginator("get_execution_history").paginate(executionArn=arn)
        return Execution(
            status=run["status"],
            output=json.loads(run["output"]) if run["status"] == "SUCCEEDED" else None,
            error=run.get("error"),
            cause=run.get("cause"),
            history=[event for page in pages for event in page["events"]],
        )

    def listen(self, function: str, *, enabled: bool) -> None:
        """Let the function with this logical id take messages from its queue, or hold it back."""
        for mapping in self._mappings_of(function):
            self.lambda_.update_event_source_mapping(UUID=mapping, Enabled=enabled)

    def log_lines(self, function: str) -> list[str]:
        """Give what the function with this logical id has logged so far, with Lambda's own START, END and REPORT."""
        name = self.resources[function]
        settings = self.lambda_.get_function_configuration(FunctionName=name)
        group = settings.get("LoggingConfig", {}).get("LogGroup") or f"/aws/lambda/{name}"
        return self.log_events(group)

    def log_events(self, group: str, pattern: str = "") -> list[str]:
        """Return the lines of a log group that match a filter pattern; none if there is no such group (yet)."""
        logs = self._session.client("logs", **self._how)
        try:
            pages = list(logs.get_paginator("filter_log_events").paginate(logGroupName=group, filterPattern=pattern))
        except logs.exceptions.ResourceNotFoundException:
            return []
        return [event["message"] for page in pages for event in page["events"]]

    def left_in(self, *queues: str) -> dict[str, int]:
        """Give the queues with these logical ids that are not empty, with what is visible, in flight and delayed."""
        left = {}
        for queue in queues:
            url = self.resources[queue]
            counts = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=_COUNTS)["Attributes"]
            if total := sum(map(int, counts.values())):
                left[queue] = total
        return left

    def complaints(self) -> list[str]:
        """Give what the services themselves logged as warnings and errors: functions that did not start, above all."""
        entries = _LOG_ENTRY.split(self._log.read_text(errors="replace"))
        return [entry.strip() for entry in entries if _COMPLAINT.match(entry) and "[iot_mtls]" not in entry]

    def function_processes(self) -> list[int]:
        """Give the ids of the processes that run functions now; any of them may be killed, as Lambda may."""
        return [pid for pid in (int(path.name) for path in self._pids.iterdir()) if _group_of(pid) == self._group]

    @cached_property
    def _session(self) -> boto3.Session:
        # No profile and no file of the person who runs this may speak to a stand-in, or keep it from starting.
        core = botocore.session.Session(
            session_vars={
                "profile": (None, None, None, None),
                "config_file": (None, None, os.devnull, None),
                "credentials_file": (None, None, os.devnull, None),
            }
        )
        return boto3.Session(
            aws_access_key_id="test", aws_secret_access_key="test", region_name=REGION, botocore_session=core
        )

    def _mappings_of(self, function: str) -> list[str]:
        mappings = self.lambda_.list_event_source_mappings(FunctionName=self.resources[function])
        return [mapping["UUID"] for mapping in mappings["EventSourceMappings"]]

    def _start(self) -> None:
        self._folder.mkdir(mode=0o700)
        self._pids.mkdir()
        with self._log.open("wb") as log_file:
            self._keeper = subprocess.Popen(  # noqa: S603 — our own file and a pinned package
                [
                    *(sys.executable, "-I", keeper.__file__, str(self._folder)),
                    *(sys.executable, "-I", str(_EMULATOR)),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log_file,
                text=True,
                env=self._environment(),
                start_new_session=True,  # Ctrl-C is for us, and we tell it
            )
        assert self._keeper.stdout is not None  # noqa: S101 — for the type checker: it is a pipe
        self._group = int(self._keeper.stdout.readline() or 0)
        give_up_at = time.monotonic() + _READY_WITHIN
        while not _is_ready(self._port):
            if self._keeper.poll() is not None or time.monotonic() > give_up_at:
                raise StackFailed(f"ministack did not start:\n{_tail(self._log)}")
            time.sleep(0.05)

    def _environment(self) -> dict[str, str]:
        # Clean, because the functions inherit it. By default it would listen on every interface, with MQTT too.
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self._folder),
            "TMPDIR": str(self._folder),
            "STATE_DIR": str(self._folder / "state"),
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(self._port),
            "IOT_MTLS_PORT": "0",
            "MINISTACK_HOST": "127.0.0.1",  # in the URLs of queues; "localhost" may mean ::1 first
            "MINISTACK_REGION": REGION,
            "SFN_WAIT_SCALE": str(_WORKFLOW_PAUSES),
            "AWS_ENDPOINT_URL": self.endpoint,
        }

    def _stop(self) -> None:
        if self._keeper is not None:
            self._keeper.communicate()  # closes the pipe, which ends it, and waits
        shutil.rmtree(self._folder, ignore_errors=True)


def load_template(path: Path) -> dict[str, Any]:
    """Read a template, its short intrinsics (`!Ref`) in their long form."""
    template: dict[str, Any] = yaml_parse(path.read_text())
    return template


def _zip_of_bootstrap(script: str) -> bytes:
    entry = zipfile.ZipInfo("bootstrap")
    entry.external_attr = (stat.S_IFREG | 0o755) << 16
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(entry, script)
    return packed.getvalue()


def _wait_until_created(cloudformation: CloudFormationClient) -> None:
    give_up_at = time.monotonic() + _DEPLOYED_WITHIN
    while True:
        status = cloudformation.describe_stacks(StackName=STACK_NAME)["Stacks"][0]["StackStatus"]
        if status == "CREATE_COMPLETE":
            return
        if status != "CREATE_IN_PROGRESS" or time.monotonic() > give_up_at:
            events = cloudformation.describe_stack_events(StackName=STACK_NAME)["StackEvents"]
            reasons = [
                f"{event.get('LogicalResourceId')}: {event['ResourceStatusReason']}"
                for event in events
                if event.get("ResourceStatusReason")
            ]
            raise StackFailed("\n".join([f"the stack is {status}", *reasons]))
        time.sleep(0.05)


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/_ministack/health")
        return connection.getresponse().status == http.HTTPStatus.OK
    except OSError:
        return False
    finally:
        connection.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _group_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-3000:]

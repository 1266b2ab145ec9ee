"""Least privilege, proved: each function does its work under its own role's policy, and needs every bit of it.

The handlers run against an AWS on the loop-back address that answers as AWS does, but asks the function's policy, as
the translated template gives it, before each request. The names in the policy and in the function's variables come
from the same template, so a request is for the resource that the variable names. The evaluator is ours, because moto's
leaves resources and conditions out (moto/iam/access_control.py says so); it knows what the policies here use and stops
at what it does not know.

What a service does with the role without the function's knowing is not seen that way; it is taken from AWS's lists.
"""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, Final
from unittest.mock import patch
from urllib.parse import parse_qsl

import pytest

from local.aws_sts import ISSUER, AwsStsStandIn, Role
from local.huawei import (
    CHECK_PROJECT_ID,
    PROJECT_ID,
    AccessKey,
    Agency,
    BatchTask,
    CheckTask,
    HuaweiStandIn,
    OidcProvider,
    Scenario,
)
from shared.errors import DeploymentFault, PublishingFailed
from shared.wiring.clouds import telemetry
from tests.fakes import delivery
from tests.template.loading import Json, parameters_of, resolved, translated

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

pytestmark = pytest.mark.enable_socket  # loop-back only

SECRET: Final = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:huawei-a1B2c3"
KEY: Final = "arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
PROVIDER: Final = "iam::d78cbac186b744899480f25b:oidcProvider:aws"
AGENCY: Final = "iam::d78cbac186b744899480f25b:agency:stopline"
HUAWEI_KEY: Final = AccessKey()
ANOTHER_KEY: Final = AccessKey(ak="another", sk="another")
OPERATIONS_DOCUMENT: Final = Path(__file__).parent.parent.parent / "docs" / "operations.md"


@dataclass(frozen=True)
class Asked:
    """One thing that is asked of a policy; `context` are the condition keys that AWS fills in, each with its values."""

    action: str
    resource: str
    context: tuple[tuple[str, tuple[str, ...]], ...] = ()


# The evaluator: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html, for policies
# of one account that allow and do not deny.


def allows(statements: Sequence[Json], asked: Asked) -> bool:
    return any(
        statement["Effect"] == "Allow"
        and any(fnmatchcase(asked.action, each) for each in listed(statement["Action"]))
        and any(fnmatchcase(asked.resource, each) for each in listed(statement["Resource"]))
        and all(
            _holds(operator, values, dict(asked.context).get(key, ()))
            for operator, keys in statement.get("Condition", {}).items()
            for key, values in keys.items()
        )
        for statement in statements
    )


def _holds(operator: str, allowed: Any, given: tuple[str, ...]) -> bool:
    match operator:
        case "StringEquals":
            return len(given) == 1 and given[0] in listed(allowed)
        case "ForAllValues:StringEquals":  # true of no values as well
            return set(given) <= set(listed(allowed))
        case "Null":
            return bool(given) is (allowed == "false")
        case "NumericLessThanEquals":
            return len(given) == 1 and given[0].isdecimal() and int(given[0]) <= int(allowed)
        case _:
            raise AssertionError(f"{operator} is not known here")


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


# What the template says


@cache
def body() -> Json:
    return translated()


PARAMETERS: Final = {
    "HuaweiRegion": "cn-north-4",
    "HuaweiProjectId": PROJECT_ID,
    "HuaweiSecretArn": SECRET,
    "HuaweiOidcProviderUrn": PROVIDER,
    "HuaweiOidcAgencyUrn": AGENCY,
    "KmsKeyArn": KEY,
    "Tracing": "on",
}
"""A deployment that uses all that a policy can be for."""


def value_of(template_value: Any, **parameters: str) -> Any:
    pseudo = {"AWS::Region": "eu-west-1", "AWS::URLSuffix": "amazonaws.com"}
    return resolved(template_value, body(), parameters_of(body(), PARAMETERS | parameters) | pseudo)


def properties_of(name: str) -> Json:
    properties: Json = body()["Resources"][name]["Properties"]
    return properties


def policy_of(function: str) -> list[Json]:
    """Give the statements of a function's role; a resource of the template is `the X` in them."""
    role = properties_of(value_of(properties_of(function)["Role"]).removeprefix("the "))
    (policy,) = role["Policies"]
    return [each for each in value_of(policy["PolicyDocument"]["Statement"]) if each is not None]


def without(statements: Sequence[Json], number: int, action: str, resource: str) -> list[Json]:
    """Give the policy without one action on one resource."""
    statement = statements[number]
    rest = [
        statement | {"Sid": "Rest", "Action": action_left, "Resource": resource_left}
        for action_left in listed(statement["Action"])
        for resource_left in listed(statement["Resource"])
        if (action_left, resource_left) != (action, resource)
    ]
    return [*statements[:number], *rest, *statements[number + 1 :]]


def is_encrypted_with_the_key(resource: str) -> bool:
    kind = body()["Resources"].get(resource.removeprefix("the "), {}).get("Type")
    return kind in {"AWS::SQS::Queue", "AWS::DynamoDB::Table"}


# What is asked


def on(action: str, resource: str, **uses_of_the_key: str) -> list[Asked]:
    """Give what a request asks for: its action, and what AWS does in the caller's name with the key of the resource."""
    service = action.partition(":")[0]
    via = (("kms:ViaService", (f"{service}.eu-west-1.amazonaws.com",)),)
    key = [Asked(f"kms:{use}", KEY, via) for use in uses_of_the_key.values() if is_encrypted_with_the_key(resource)]
    return [Asked(action, resource), *key]


# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-key-management.html: who sends needs
# both, who receives only the second.
def sending(queue: str) -> list[Asked]:
    return on("sqs:SendMessage", queue, first="GenerateDataKey", second="Decrypt")


def asked_by(operation: str, request: Json) -> list[Asked]:
    """Give what a request asks of the policy of its caller."""
    match operation:
        case "AWSEvents.PutEvents":
            # https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-use-conditions.html
            sources = ("events:source", tuple(sorted({entry["Source"] for entry in request["Entries"]})))
            return [
                Asked(
                    "events:PutEvents",
                    entry["EventBusName"],
                    (sources, ("events:detail-type", (entry["DetailType"],))),
                )
                for entry in request["Entries"]
            ]
        case "AmazonSQS.SendMessageBatch":
            return sending(request["QueueUrl"])
        case "AmazonSQS.ChangeMessageVisibilityBatch":
            return on("sqs:ChangeMessageVisibility", request["QueueUrl"])
        case "GetWebIdentityToken":
            # https://docs.aws.amazon.com/service-authorization/latest/reference/list_awssecuritytokenservice.html
            conditions = {
                "sts:IdentityTokenAudience": "Audience.member.1",
                "sts:SigningAlgorithm": "SigningAlgorithm",
                "sts:DurationSeconds": "DurationSeconds",
            }
            return [
                Asked("sts:GetWebIdentityToken", "*", tuple((key, (request[of],)) for key, of in conditions.items()))
            ]
        case "secretsmanager.GetSecretValue":
            return on("secretsmanager:GetSecretValue", request["SecretId"])
        case "DynamoDB_20120810.Query" | "DynamoDB_20120810.PutItem" | "DynamoDB_20120810.DeleteItem":
            return on(f"dynamodb:{operation.partition('.')[2]}", request["TableName"], use="Decrypt")
        case _:
            raise AssertionError(operation)


def asked_by_services(function: str) -> dict[Asked, str]:
    """Give what services do with a function's role, each with the page that says so."""
    guide = "https://docs.aws.amazon.com/lambda/latest/dg"
    log = value_of(properties_of(function)["LoggingConfig"]["LogGroup"])
    asked: dict[str, list[Asked]] = {
        # Without CreateLogGroup: the group is there.
        f"{guide}/monitoring-cloudwatchlogs.html": [
            Asked(action, log) for action in ("logs:CreateLogStream", "logs:PutLogEvents")
        ],
        f"{guide}/services-xray.html": [
            Asked(action, "*") for action in ("xray:PutTraceSegments", "xray:PutTelemetryRecords")
        ],
    }
    for resource in body()["Resources"].values():
        properties = resource.get("Properties", {})
        if properties.get("FunctionName") != {"Ref": function}:
            continue
        if resource["Type"] == "AWS::Lambda::EventSourceMapping":
            queue = value_of(properties["EventSourceArn"])
            asked[f"{guide}/services-sqs-configure.html"] = [
                *on("sqs:ReceiveMessage", queue, use="Decrypt"),
                *on("sqs:DeleteMessage", queue),
                *on("sqs:GetQueueAttributes", queue),
            ]
        if resource["Type"] == "AWS::Lambda::EventInvokeConfig":
            queue = value_of(properties["DestinationConfig"]["OnFailure"]["Destination"])
            asked[f"{guide}/invocation-async-retain-records.html"] = sending(queue)
    return {each: page for page, every in asked.items() for each in every}


# The work of each function


@dataclass(frozen=True)
class Work:
    """What a function is given to do, and what must have been published in the end.

    `given`: the event, or what is in the one message of a delivery. `sighted`: how long ago the table says that a check
    was first seen. `keyless`: without it the keys come from the secret. `refused`: Huawei Cloud does not know the key.
    """

    function: str
    given: Any
    published: frozenset[str] = frozenset()
    sighted: tuple[tuple[str, timedelta], ...] = ()
    keyless: bool = False
    refused: bool = False


NEVER_ENDS: Final = 10**9
TARGETS: Final = ("d1", "d2")
ROLE: Final = Role(name="a-role", policy=[])
ISSUER_OF_TOKENS: Final = AwsStsStandIn(roles=[ROLE])


@cache
def standing() -> Scenario:
    """Give Huawei Cloud as each work finds it: four tasks, and trust in the role."""
    return STANDING.model_copy(
        update={
            "oidc_providers": (
                OidcProvider(urn=PROVIDER, url=ISSUER, client_ids=(PROVIDER,), jwks=ISSUER_OF_TOKENS.jwks()),
            ),
            "agencies": (Agency(urn=AGENCY, trust_policy=TRUST),),
        }
    )


TRUST: Final = {
    "Version": "5.0",
    "Statement": [
        {
            "Effect": "Allow",
            "Action": ["sts:agencies:assumeWithOIDC"],
            "Principal": {"Federated": [PROVIDER]},
            "Condition": {"StringEquals": {"oidc:iss": [ISSUER], "oidc:aud": [PROVIDER], "oidc:sub": [ROLE.arn]}},
        }
    ],
}
LAST_CHECK: Final = "2026-11-02T06:55:41Z"
"""By which a sighting knows its run."""

STANDING: Final = Scenario(
    check_tasks=(
        CheckTask(task_id="c1", last_check_time=LAST_CHECK),
        CheckTask(task_id="c2", stop_reads=NEVER_ENDS),
        CheckTask(task_id="c3", last_check_time=LAST_CHECK, status="success"),
    ),
    batch_tasks=(
        BatchTask(task_id="5f1a", targets=TARGETS, create_time="20200101T000000Z"),
        BatchTask(task_id="5f1b", targets=TARGETS, stop_reads=NEVER_ENDS),
    ),
)


def stop_task(task_id: str, **more: Any) -> Json:
    return {"command": "stop_task", "task_id": task_id, **more}


def stop_targets(task_id: str, **more: Any) -> Json:
    return {"command": "stop_targets", "task_id": task_id, "targets": list(TARGETS), **more}


def sweep_of_checks() -> Json:
    return {"sweep": "check_tasks", "project_id": CHECK_PROJECT_ID, "older_than": "PT2H", "dry_run": False}


SUCCEEDED: Final = frozenset({"succeeded"})
REJECTED: Final = frozenset({"rejected"})
SENT: Final = frozenset({"sent 1"})
OLD_BATCHES: Final = {"sweep": "batch_tasks", "older_than": "P999D", "dry_run": False}
WORKS: Final = {
    "a check is stopped": Work("StopTaskFunction", stop_task("c1"), SUCCEEDED),
    "a stop of a check is to be confirmed": Work("StopTaskFunction", stop_task("c2", confirm=True)),
    "a key is refused for a check": Work("StopTaskFunction", stop_task("c1"), refused=True),
    "a message is no stop_task": Work("StopTaskFunction", "no JSON", REJECTED),
    "targets are stopped": Work("StopTargetsFunction", stop_targets("5f1a"), SUCCEEDED),
    "a stop of targets is to be confirmed": Work("StopTargetsFunction", stop_targets("5f1b", confirm=True)),
    "a key is refused for targets": Work("StopTargetsFunction", stop_targets("5f1a"), refused=True),
    "a message is no stop_targets": Work("StopTargetsFunction", "no JSON", REJECTED),
    "checks are first seen": Work("SweepStaleTasksFunction", sweep_of_checks(), frozenset({"sent 0"})),
    "a check seen long ago is stopped": Work(
        "SweepStaleTasksFunction", sweep_of_checks(), SENT, (("c1", timedelta(hours=3)),)
    ),
    "a check seen before has ended": Work(
        "SweepStaleTasksFunction", sweep_of_checks(), frozenset({"sent 0"}), (("c3", timedelta(hours=3)),)
    ),
    "a batch task of long ago is stopped": Work("SweepStaleTasksFunction", OLD_BATCHES, SENT),
    "a workflow stops a check": Work("StopInWorkflowFunction", stop_task("c1"), SUCCEEDED),
    "a workflow stops targets": Work("StopInWorkflowFunction", stop_targets("5f1a"), SUCCEEDED),
    "a check is stopped without a key": Work("StopTaskFunction", stop_task("c1"), SUCCEEDED, keyless=True),
    "targets are stopped without a key": Work("StopTargetsFunction", stop_targets("5f1a"), SUCCEEDED, keyless=True),
    "a batch task is swept without a key": Work("SweepStaleTasksFunction", OLD_BATCHES, SENT, keyless=True),
    "a workflow stops a check without a key": Work("StopInWorkflowFunction", stop_task("c1"), SUCCEEDED, keyless=True),
}
FUNCTIONS: Final = sorted({work.function for work in WORKS.values()})
WITH_A_QUEUE: Final = {"StopTaskFunction", "StopTargetsFunction"}


class GuardedAws:
    """The AWS that a function sees: it answers what the policy allows, and remembers what was asked and what denied."""

    def __init__(self, statements: Sequence[Json], sighted: tuple[tuple[str, timedelta], ...]) -> None:
        self._statements = statements
        self._seen = {task: (datetime.now(UTC) - age).isoformat() for task, age in sighted}
        self.asked: list[Asked] = []
        self.denied: list[Asked] = []
        self.published: set[str] = set()

    def answer(self, operation: str, request: Json) -> tuple[int, Json]:
        asked = asked_by(operation, request)
        denied = [each for each in asked if not allows(self._statements, each)]
        self.asked += asked
        self.denied += denied
        if denied:
            return 400, {"__type": "AccessDeniedException", "message": f"not authorized to perform {denied[0].action}"}
        return 200, self._taken(operation, request)

    def _taken(self, operation: str, request: Json) -> Json:
        match operation:
            case "AWSEvents.PutEvents":
                details = [json.loads(entry["Detail"]) for entry in request["Entries"]]
                self.published |= {each["status"] if "status" in each else f"sent {each['sent']}" for each in details}
                return {"FailedEntryCount": 0, "Entries": [{"EventId": "e"} for _ in details]}
            case "AmazonSQS.SendMessageBatch" | "AmazonSQS.ChangeMessageVisibilityBatch":
                return {"Successful": [{"Id": each["Id"]} for each in request["Entries"]], "Failed": []}
            case "GetWebIdentityToken":
                claims = ISSUER_OF_TOKENS.claims(ROLE, [request["Audience.member.1"]], int(request["DurationSeconds"]))
                return {"WebIdentityToken": ISSUER_OF_TOKENS.token(claims)}
            case "secretsmanager.GetSecretValue":
                return {"SecretString": json.dumps({"ak": HUAWEI_KEY.ak, "sk": HUAWEI_KEY.sk})}
            case "DynamoDB_20120810.Query":
                return {
                    "Items": [
                        {
                            "task_id": {"S": task},
                            "item_version": {"S": "v-1"},
                            "last_check_time": {"S": LAST_CHECK},
                            "first_seen": {"S": at},
                            "percent_done": {"N": "0"},
                        }
                        for task, at in self._seen.items()
                    ]
                }
            case _:
                return {}


@contextmanager
def served(aws: GuardedAws) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            sent = self.rfile.read(int(self.headers["Content-Length"]))
            if operation := self.headers["X-Amz-Target"]:
                status, answer = aws.answer(operation, json.loads(sent))
                content = json.dumps(answer).encode()
            else:  # STS, which takes a form and answers in XML
                form = dict(parse_qsl(sent.decode()))
                status, answer = aws.answer(form["Action"], form)
                answer = {"Code": "AccessDenied"} if "__type" in answer else answer
                content = f"<A>{''.join(f'<{name}>{text}</{name}>' for name, text in answer.items())}</A>".encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Context:
    aws_request_id = "request-1"

    def get_remaining_time_in_millis(self) -> int:
        return 30_000


def carry_out(work: Work, statements: Sequence[Json]) -> GuardedAws:
    """Let a function do its work in this process, with the variables that the template gives it, under a policy."""
    properties = properties_of(work.function)
    event = delivery(work.given, sent_at=datetime.now(UTC)) if work.function in WITH_A_QUEUE else work.given
    aws = GuardedAws(statements, work.sighted)
    of_the_other_way = {} if work.keyless else {"HuaweiOidcProviderUrn": "", "HuaweiOidcAgencyUrn": ""}
    scenario = standing().model_copy(update={"keys": (ANOTHER_KEY,)}) if work.refused else standing()
    with HuaweiStandIn(scenario) as huawei, served(aws) as url:
        variables = value_of(
            properties["Environment"]["Variables"],
            IotdaEndpoint=huawei.endpoint,
            CodeArtsCheckEndpoint=huawei.endpoint,
            HuaweiStsEndpoint=huawei.endpoint if work.keyless else "",
            **of_the_other_way,
        )
        environment = {name: value for name, value in variables.items() if value is not None} | {
            "AWS_LAMBDA_FUNCTION_NAME": "stopline",
            "AWS_REGION": "eu-west-1",
            "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_ENDPOINT_URL": url,
        }
        module, _, handler = properties["Handler"].rpartition(".")
        parts = import_module(f"shared.wiring.{module.rpartition('.')[2]}")
        made = next(each for each in vars(parts).values() if each is not telemetry and hasattr(each, "cache_clear"))
        made.cache_clear()
        try:
            with patch.dict(os.environ, environment, clear=True), suppress(DeploymentFault, PublishingFailed):
                getattr(import_module(module), handler)(event, Context())
        finally:
            made.cache_clear()
    return aws


def denied_under(function: str, statements: Sequence[Json]) -> list[Asked]:
    """Give the first thing that a policy denies its function, or the services that work for it."""
    by_services = [each for each in asked_by_services(function) if not allows(statements, each)]
    if by_services:
        return by_services
    for work in (work for work in WORKS.values() if work.function == function):
        if denied := carry_out(work, statements).denied:
            return denied
    return []


@cache
def asked_of(function: str) -> dict[Asked, str]:
    """Give all that is asked of a function's policy, each with the work or the page that asks it."""
    found = dict(asked_by_services(function))
    for name, work in WORKS.items():
        if work.function == function:
            found |= {each: name for each in carry_out(work, policy_of(function)).asked if each not in found}
    return found


def grants_of(function: str) -> Iterator[tuple[int, str, str]]:
    """Give each action on each resource that a function's policy allows, with the number of the statement."""
    for number, statement in enumerate(policy_of(function)):
        for action in listed(statement["Action"]):
            for resource in listed(statement["Resource"]):
                yield number, action, resource


def test_every_function_is_shown_here() -> None:
    functions = (name for name, each in body()["Resources"].items() if each["Type"] == "AWS::Lambda::Function")
    assert sorted(functions) == FUNCTIONS


@pytest.mark.parametrize("name", WORKS)
def test_a_function_does_its_work_under_its_own_policy(name: str) -> None:
    work = WORKS[name]
    aws = carry_out(work, policy_of(work.function))
    assert aws.denied == []
    assert aws.published == work.published


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_service_does_its_part_under_the_functions_policy(function: str) -> None:
    assert [each for each in asked_by_services(function) if not allows(policy_of(function), each)] == []


@pytest.mark.parametrize("function", FUNCTIONS)
def test_no_grant_can_be_taken_away(function: str) -> None:
    statements = policy_of(function)
    needless = [each for each in grants_of(function) if not denied_under(function, without(statements, *each))]
    assert needless == []


@pytest.mark.parametrize("function", FUNCTIONS)
def test_nothing_is_granted_that_no_work_asks(function: str) -> None:
    granted = {(action, resource) for _, action, resource in grants_of(function)}
    assert granted == {(asked.action, asked.resource) for asked in asked_of(function)}


def not_to_be_asked(function: str) -> list[Asked]:
    """Give what is next to a function's work: its actions on other resources, and in another context."""
    asked = asked_of(function)
    used = {(each.action, each.resource) for each in asked}
    resources = {f"the {name}" for name in body()["Resources"]} | {SECRET, KEY, "another account's"}
    elsewhere = [
        replace(each, resource=resource)
        for each in asked
        for resource in resources
        if each.resource != "*" and (each.action, resource) not in used
    ]
    said_otherwise = [
        replace(each, context=tuple((key, words if key == other else given) for key, given in each.context))
        for each in asked
        for other, _ in each.context
        for words in (("another's",), ())
    ]
    return elsewhere + said_otherwise


@pytest.mark.parametrize("function", FUNCTIONS)
def test_what_is_next_to_its_work_a_function_may_not_do(function: str) -> None:
    assert [each for each in not_to_be_asked(function) if allows(policy_of(function), each)] == []


def widenings(statement: Json) -> Iterator[Json]:
    """Give a statement with every resource, and without each of its conditions."""
    if statement["Resource"] != "*":
        yield statement | {"Resource": "*"}
    conditions = statement.get("Condition", {})
    for operator in conditions:
        yield statement | {"Condition": {name: keys for name, keys in conditions.items() if name != operator}}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_no_statement_can_be_widened(function: str) -> None:
    statements = policy_of(function)
    widened = [
        [*statements[:number], wider, *statements[number + 1 :]]
        for number, statement in enumerate(statements)
        for wider in widenings(statement)
    ]
    assert len(widened) > len(statements)
    unnoticed = [each for each in widened if not any(allows(each, asked) for asked in not_to_be_asked(function))]
    assert unnoticed == []


def test_the_evaluator_knows_no_more_than_it_says() -> None:
    statement = {"Effect": "Allow", "Action": "a:B", "Resource": "r", "Condition": {"ArnLike": {"aws:SourceArn": "x"}}}
    with pytest.raises(AssertionError, match="ArnLike is not known here"):
        allows([statement], Asked("a:B", "r"))
    assert not allows([statement | {"Effect": "Deny", "Condition": {}}], Asked("a:B", "r"))
    assert not allows([statement | {"Condition": {"StringEquals": {"k": "v"}}}], Asked("a:B", "r"))


def table() -> str:
    """Give the list of permissions as docs/operations.md has it."""
    lines = ["| function | may | on | or else this fails |", "|---|---|---|---|"]
    for function in FUNCTIONS:
        rows: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)
        for asked, why in sorted(asked_of(function).items(), key=lambda each: (each[0].action, each[0].resource)):
            on_what = {SECRET: "`HuaweiSecretArn`", KEY: "`KmsKeyArn`", "*": "everything"}.get(
                asked.resource, f"`{asked.resource.removeprefix('the ')}`"
            )
            page = re.fullmatch(r"https://docs\.aws\.amazon\.com/.*/(.*)\.html", why)
            rows[asked.action, on_what][f"[by AWS itself]({why})" if page else f"“{why}”"] = None
        lines += [
            f"| `{function}` | `{action}` | {on_what} | {', '.join(reasons)} |"
            for (action, on_what), reasons in rows.items()
        ]
    return "\n".join(lines)


def test_the_list_in_the_runbook_is_true() -> None:
    assert table() in OPERATIONS_DOCUMENT.read_text(), f"docs/operations.md should have:\n\n{table()}\n"

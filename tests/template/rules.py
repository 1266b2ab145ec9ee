"""The review checklist of the template, for what cfn-lint and the SAM transform let pass.

A rule looks at the translated template and yields a sentence for everything that it objects to. test_rules.py shows
that the template has nothing to object to, and that each rule objects when it should.
"""

from __future__ import annotations

import ast
import json
import re
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from shared import errors
from shared.errors import SweepRejected
from shared.huawei.keyless import TOKEN_SECONDS
from shared.outcomes import DETAIL_TYPE as OUTCOME
from shared.redelivery import seconds_until_redelivery
from shared.settings import (
    FunctionSettings,
    QueueFunctionSettings,
    StopInWorkflowSettings,
    StopTargetsSettings,
    StopTaskSettings,
    SweepStaleTasksSettings,
)
from shared.sweeps import DETAIL_TYPE as REPORT
from shared.sweeps import read_sweep
from shared.telemetry import NAMESPACE_VARIABLE
from shared.wiring.clouds import SAFETY_MARGIN
from tests.template.filters import MOST_KEYS, keys_of, matches
from tests.template.loading import PARAMETERS, ROOT, Json, parameters_of, resolved

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    type Rule = Callable[["Template"], Iterator[str]]

SETTINGS_OF: Final[dict[str, type[FunctionSettings]]] = {
    "functions.stop_task.handler": StopTaskSettings,
    "functions.stop_targets.handler": StopTargetsSettings,
    "functions.sweep_stale_tasks.handler": SweepStaleTasksSettings,
    "functions.stop_in_workflow.handler": StopInWorkflowSettings,
}

NEEDED_FOR: Final = {
    "COMMAND_QUEUE_URL": (
        "sqs:ReceiveMessage",
        "sqs:DeleteMessage",
        "sqs:GetQueueAttributes",
        "sqs:SendMessage",
        "sqs:ChangeMessageVisibility",
    ),
    "DEAD_LETTER_QUEUE_URL": ("sqs:SendMessage",),
    "STOP_TASK_QUEUE_URL": ("sqs:SendMessage",),
    "STOP_TARGETS_QUEUE_URL": ("sqs:SendMessage",),
    "SIGHTINGS_TABLE_NAME": ("dynamodb:Query", "dynamodb:PutItem", "dynamodb:DeleteItem"),
    "OUTCOME_BUS_NAME": ("events:PutEvents",),
    "HUAWEICLOUD_SECRET_ID": ("secretsmanager:GetSecretValue",),
    "HUAWEICLOUD_OIDC_PROVIDER_URN": ("sts:GetWebIdentityToken",),
}
"""What a function does with the resource that a variable names."""

NOT_OF_THIS_TEMPLATE: Final = {"HUAWEICLOUD_SECRET_ID": "HuaweiSecretArn", "HUAWEICLOUD_OIDC_PROVIDER_URN": "*"}
"""What is needed for such a variable is granted on a parameter, or on what has no resource to name."""

BOUND_OTHERWISE: Final = {"sts:GetWebIdentityToken"}
"""What has no resource to name and is bound by its conditions, as a rule of its own demands."""

GRANTED_IF: Final = (
    ("secretsmanager:", "HasSecret"),
    ("sts:", "HasOidcProvider"),
    ("kms:", "HasKey"),
    ("xray:", "Traces"),
)
"""What is granted only under a condition: actions of these services."""

LOG_DELIVERY: Final = {
    "logs:CreateLogDelivery",
    "logs:GetLogDelivery",
    "logs:UpdateLogDelivery",
    "logs:DeleteLogDelivery",
    "logs:ListLogDeliveries",
    "logs:PutResourcePolicy",
    "logs:DescribeResourcePolicies",
    "logs:DescribeLogGroups",
}
"""What a state machine that logs may do, on no resource in particular: there is none to name."""

TRACING_OF_A_FUNCTION: Final = {"xray:PutTraceSegments", "xray:PutTelemetryRecords"}
TRACING: Final = TRACING_OF_A_FUNCTION | {"xray:GetSamplingRules", "xray:GetSamplingTargets"}
"""What is traced may do, and what a state machine needs beside: X-Ray has no resource for any of it.

https://docs.aws.amazon.com/step-functions/latest/dg/concepts-xray-tracing.html
"""

USES_OF_THE_KEY: Final = {"kms:Decrypt", "kms:GenerateDataKey"}
"""What a role does with the key of a queue or a table.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-key-management.html
"""

ERRORS_OF_AWS: Final = {
    "States.ALL",
    "States.Timeout",
    "Lambda.ClientExecutionTimeoutException",
    "Lambda.ServiceException",
    "Lambda.AWSLambdaException",
    "Lambda.SdkClientException",
    "Lambda.TooManyRequestsException",
    "Lambda.Unknown",
    "Runtime.ExitError",
    "Sandbox.Timedout",
}
"""By these names Step Functions and Lambda say what went wrong around a function.

https://docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html
"""

# https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html
SCHEDULE_EXPRESSION: Final = re.compile(
    r"rate\((1 (minute|hour|day)|(?!1 )[1-9][0-9]* (minutes|hours|days))\)"
    r"|cron\((\S+ ){2}(\? \S+ [^ ?]+|[^ ?]+ \S+ \?) [^ )]+\)"
    r"|at\([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\)"
)

NOT_FROM_THE_TEMPLATE: Final = {
    "HUAWEICLOUD_SDK_AK",
    "HUAWEICLOUD_SDK_SK",
    "HUAWEICLOUD_SDK_SECURITY_TOKEN",
    "HUAWEICLOUD_KEYS_IN_ENVIRONMENT",
    "AWS_LAMBDA_FUNCTION_NAME",
}
"""What the settings know beside: keys for local use, and what Lambda sets itself."""

RESOLVER_VARIABLE: Final = "RES_OPTIONS"
"""Read by glibc (https://man7.org/linux/man-pages/man5/resolv.conf.5.html)."""

LOG_GROUP_ARN: Final = re.compile(
    r"arn:\$\{AWS::Partition}:logs:\$\{AWS::Region}:\$\{AWS::AccountId}:log-group:\$\{(\w+)}"
)
"""What EventBridge takes for a log group: with the `:*` of the log group's own ARN it delivers nothing.

https://github.com/aws-samples/serverless-patterns/pull/221
"""

KEY: Final = "arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"

BESIDE_THE_SETTINGS: Final = {NAMESPACE_VARIABLE, RESOLVER_VARIABLE}

DAY: Final = 86_400
MEBIBYTE: Final = 1_048_576

RULES: Final[list[Rule]] = []


def rule(function: Rule) -> Rule:
    """Put a rule on the checklist."""
    RULES.append(function)
    return function


class Template:
    """A translated template, with the questions that the rules ask of it."""

    def __init__(self, body: Json) -> None:
        self.body = body
        self.parameters: Json = body["Parameters"]

    def of_type(self, resource_type: str) -> dict[str, Json]:
        """Give the properties of all resources of a type, by logical id."""
        resources: Json = self.body["Resources"]
        return {name: each["Properties"] for name, each in resources.items() if each["Type"] == resource_type}

    @cached_property
    def functions(self) -> dict[str, Json]:
        return self.of_type("AWS::Lambda::Function")

    @cached_property
    def queues(self) -> dict[str, Json]:
        return self.of_type("AWS::SQS::Queue")

    @cached_property
    def deliveries(self) -> list[tuple[str, Json, str, str]]:
        """Give each event source mapping: its logical id, its properties, its queue, its function."""
        return [
            (name, each, target(each["EventSourceArn"]), target(each["FunctionName"]))
            for name, each in self.of_type("AWS::Lambda::EventSourceMapping").items()
        ]

    @cached_property
    def schedules(self) -> dict[str, Json]:
        return self.of_type("AWS::Scheduler::Schedule")

    @cached_property
    def workflows(self) -> dict[str, Json]:
        """Give the definition of each state machine."""
        machines = self.of_type("AWS::StepFunctions::StateMachine")
        return {name: machine["Definition"] for name, machine in machines.items()}

    @cached_property
    def workflow_tasks(self) -> list[tuple[str, str, Json]]:
        """Give each task of each state machine: the machine's logical id, the state's name, the state."""
        return [
            (name, key, state)
            for name, workflow in self.workflows.items()
            for key, state in workflow["States"].items()
            if state["Type"] == "Task"
        ]

    @cached_property
    def rule_targets(self) -> list[tuple[str, Json]]:
        """Give each target of each EventBridge rule, with the logical id of the rule."""
        rules = self.of_type("AWS::Events::Rule")
        return [(name, each) for name, properties in rules.items() for each in properties["Targets"]]

    @cached_property
    def logging_rules(self) -> dict[str, str]:
        """Return the log group that each EventBridge rule writes, by the logical id of the rule."""
        found = {name: LOG_GROUP_ARN.fullmatch(str(each["Arn"].get("Fn::Sub"))) for name, each in self.rule_targets}
        return {name: each[1] for name, each in found.items() if each}

    def invoked_by(self, name: str) -> str:
        """Give the logical id of what a task of a state machine invokes, or of what a substitution stands for."""
        for machine in self.of_type("AWS::StepFunctions::StateMachine").values():
            for key, value in machine.get("DefinitionSubstitutions", {}).items():
                if name == f"${{{key}}}":
                    return target(value)
        return name

    def failure_queue_of(self, function: str) -> str | None:
        """Give the queue that takes what a function could not do when nobody waited for its answer."""
        for config in self.of_type("AWS::Lambda::EventInvokeConfig").values():
            if target(config["FunctionName"]) == function:
                return target(config.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination"))
        return None

    @cached_property
    def set_aside_in(self) -> set[str]:
        """Give the queues that take what a timer, a rule, a bus or a function that nobody waits for could not do."""
        letters = [each["Target"].get("DeadLetterConfig", {}) for each in self.schedules.values()]
        letters += [each.get("DeadLetterConfig", {}) for _, each in self.rule_targets]
        failed = {self.failure_queue_of(function) for function in self.functions}
        return (
            {target(each.get("Arn")) for each in letters}
            | {queue for queue in failed if queue is not None}
            | set(self.dead_letter_queue_of_bus.values())
        )

    @cached_property
    def dead_letter_queue_of_bus(self) -> dict[str, str]:
        """Give the queue that takes, under a customer's key, what each bus could not encrypt or decrypt."""
        parameters = parameters_of(self.body, PARAMETERS | {"KmsKeyArn": KEY})
        found = {
            name: resolved(bus.get("DeadLetterConfig"), self.body, parameters)
            for name, bus in self.of_type("AWS::Events::EventBus").items()
        }
        return {name: each["Arn"].removeprefix("the ") for name, each in found.items() if each is not None}

    @cached_property
    def dead_letter_queue_of(self) -> dict[str, str]:
        return {
            name: target(queue["RedrivePolicy"]["deadLetterTargetArn"])
            for name, queue in self.queues.items()
            if "RedrivePolicy" in queue
        }

    def number(self, value: Any) -> int:
        """Give a number, or the default of the parameter that it refers to."""
        return int(self.parameters[value["Ref"]]["Default"] if isinstance(value, dict) else value)

    def statements_on(self, kind: str, name: str) -> list[Json]:
        """Give the statements of all policies of that kind (QueuePolicy, TopicPolicy) that are put on a resource."""
        service, listed = {"QueuePolicy": ("SQS", "Queues"), "TopicPolicy": ("SNS", "Topics")}[kind]
        return [
            statement
            for policy in self.of_type(f"AWS::{service}::{kind}").values()
            if name in map(target, policy[listed])
            for each in policy["PolicyDocument"]["Statement"]
            for statement in [each["Fn::If"][1] if "Fn::If" in each else each]  # under a condition too
        ]


def target(value: Any) -> str:
    """Give the logical id that `Ref` or `Fn::GetAtt` names, or the value as text if it names none."""
    match value:
        case {"Ref": name} | {"Fn::GetAtt": [name, *_]}:
            return str(name)
        case _:
            return str(value)


def listed(value: Any) -> list[Any]:
    """Give a list of what may be one or many, as IAM has it."""
    return value if isinstance(value, list) else [value]


def statements_of(role: Json) -> Iterator[Json]:
    """Give the statements of a role's own policies, those under a condition too."""
    for policy in role.get("Policies", []):
        for statement in policy["PolicyDocument"]["Statement"]:
            match statement:
                case {"Fn::If": [_, then, _]}:
                    yield then
                case _:
                    yield statement


# Functions


@rule
def every_handler_exists(template: Template) -> Iterator[str]:
    for name, function in template.functions.items():
        module, _, attribute = function["Handler"].rpartition(".")
        source = ROOT / f"{module.replace('.', '/')}.py"
        defined = ast.parse(source.read_text()).body if source.is_file() else []
        if not any(isinstance(node, ast.FunctionDef) and node.name == attribute for node in defined):
            yield f"{name}: {function['Handler']} is not there"


@rule
def every_function_runs_the_python_that_is_tested_on_arm64_by_default(template: Template) -> Iterator[str]:
    for name, function in template.functions.items():
        if function["Runtime"] != "python3.13":
            yield f"{name}: {function['Runtime']}"
        if function.get("Architectures") != [{"Ref": "Architecture"}]:
            yield f"{name}: its processor is not the parameter Architecture"
    if template.parameters["Architecture"]["Default"] != "arm64":
        yield "Architecture: not arm64 by default"


@rule
def every_function_has_a_log_of_its_own_that_is_not_kept_for_ever(template: Template) -> Iterator[str]:
    groups = template.of_type("AWS::Logs::LogGroup")
    used = [target(function.get("LoggingConfig", {}).get("LogGroup")) for function in template.functions.values()]
    for name, group in zip(template.functions, used, strict=True):
        if group not in groups:
            yield f"{name}: no log group of this template"
        elif used.count(group) > 1:
            yield f"{name}: shares {group}"
        elif "RetentionInDays" not in groups[group]:
            yield f"{group}: kept for ever"
        if template.functions[name].get("LoggingConfig", {}).get("LogFormat") != "JSON":
            yield f"{name}: its log is not JSON"


@rule
def every_function_gets_the_variables_that_its_settings_read(template: Template) -> Iterator[str]:
    for name, function in template.functions.items():
        settings = SETTINGS_OF.get(function["Handler"])
        if settings is None:
            yield f"{name}: no settings are known for {function['Handler']}"
            continue
        given = set(function["Environment"]["Variables"])
        read = {field.alias for field in settings.model_fields.values()} - NOT_FROM_THE_TEMPLATE
        yield from (f"{name}: {variable} is read and not given" for variable in read - given)
        yield from (f"{name}: {variable} is given and not read" for variable in given - read - BESIDE_THE_SETTINGS)


@rule
def no_function_waits_long_for_a_name(template: Template) -> Iterator[str]:
    for name, function in template.functions.items():
        said = function["Environment"]["Variables"].get(RESOLVER_VARIABLE, "")
        bounds = re.fullmatch(r"timeout:([1-9][0-9]*) attempts:([1-9][0-9]*)", said)
        if bounds is None or int(bounds[1]) * int(bounds[2]) > SAFETY_MARGIN:
            yield f"{name}: a name server that does not answer holds it for longer than it keeps for its end"


@rule
def an_empty_parameter_leaves_its_variable_out(template: Template) -> Iterator[str]:
    optional = {name for name, parameter in template.parameters.items() if parameter.get("Default") == ""}
    for name, function in template.functions.items():
        for variable, value in function["Environment"]["Variables"].items():
            match value:
                case {"Fn::If": [condition, {"Ref": parameter}, {"Ref": "AWS::NoValue"}]}:
                    means = template.body["Conditions"].get(condition)
                    if means != {"Fn::Not": [{"Fn::Equals": [{"Ref": parameter}, ""]}]}:
                        yield f"{name}: {variable} hangs on {condition}, which is not whether {parameter} is given"
                case {"Ref": parameter} if parameter in optional:
                    yield f"{name}: {variable} is empty when {parameter} is"
                case _:
                    pass


@rule
def no_secret_is_a_parameter_or_a_variable(template: Template) -> Iterator[str]:
    secret = re.compile(r"secret|password|token|access_?key|(^|_)(ak|sk)$", re.IGNORECASE)
    for name, parameter in template.parameters.items():
        if secret.search(name) and ":secretsmanager:" not in parameter.get("AllowedPattern", ""):
            yield f"{name}: a secret in plain text; take the ARN of one"
    for name, function in template.functions.items():
        for variable in function["Environment"]["Variables"]:
            if secret.search(variable) and variable != "HUAWEICLOUD_SECRET_ID":
                yield f"{name}: {variable} is readable by everyone who may read the function"


# The kill switch, and what is left behind


@rule
def paused_nothing_begins_and_nothing_is_lost(template: Template) -> Iterator[str]:
    mappings = {name: each for name, each, _, _ in template.deliveries}
    switched: list[tuple[str, dict[str, Json], Any, Any]] = [
        ("ReservedConcurrentExecutions", template.functions, None, 0),
        ("Enabled", mappings, True, False),
        ("State", template.schedules, "ENABLED", "DISABLED"),
    ]
    sweeps = PARAMETERS | {"CheckSweepMode": "stop", "BatchSweepMode": "stop"}
    for paused in ("false", "true"):
        parameters = parameters_of(template.body, sweeps | {"Paused": paused})
        for switch, resources, runs, stands in switched:
            wanted = runs if paused == "false" else stands
            for name, resource in resources.items():
                value = resolved(resource.get(switch), template.body, parameters)
                if (type(value), value) != (type(wanted), wanted):
                    yield f"{name}: {switch} is {value} with Paused={paused}"
    if template.parameters["Paused"]["Default"] != "false":
        yield "Paused: by default"


@rule
def what_is_deleted_or_kept_with_the_stack_is_for_the_operator_to_say(template: Template) -> Iterator[str]:
    kept = {"AWS::SQS::Queue", "AWS::Events::EventBus"}
    for name, resource in template.body["Resources"].items():
        policies = [resource.get(each) for each in ("DeletionPolicy", "UpdateReplacePolicy")]
        keeps_results = resource["Type"] in kept or name in template.logging_rules.values()
        wanted = {"Ref": "OnDeletion"} if keeps_results else None
        if policies != [wanted, wanted]:
            yield f"{name}: {policies} when it is deleted, when it is replaced"
    if template.parameters["OnDeletion"].get("AllowedValues") != ["Delete", "Retain"]:
        yield "OnDeletion: CloudFormation takes Delete and Retain"


@rule
def every_parameter_is_explained_and_in_one_group(template: Template) -> Iterator[str]:
    groups = template.body["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    grouped = [name for group in groups for name in group["Parameters"]]
    yield from (f"{name}: in no group or in two" for name in template.parameters if grouped.count(name) != 1)
    yield from (f"{name}: grouped, and no parameter" for name in set(grouped) - template.parameters.keys())
    for name, parameter in template.parameters.items():
        if not parameter.get("Description", "").endswith("."):
            yield f"{name}: no description"
        bounds = {"AllowedPattern", "AllowedValues", "MinValue"} & parameter.keys()
        if not bounds or ("AllowedPattern" in bounds and "ConstraintDescription" not in parameter):
            yield f"{name}: what it may be is not said"


# Deliveries


@rule
def a_delivery_that_fails_in_part_is_repeated_in_part(template: Template) -> Iterator[str]:
    for name, delivery, _, _ in template.deliveries:
        if delivery.get("FunctionResponseTypes") != ["ReportBatchItemFailures"]:
            yield f"{name}: one failed message repeats the whole batch"


@rule
def a_flood_of_messages_cannot_flood_huawei_cloud(template: Template) -> Iterator[str]:
    for name, delivery, _, function in template.deliveries:
        if "MaximumConcurrency" not in delivery.get("ScalingConfig", {}):
            yield f"{name}: as many invocations of {function} as Lambda likes"
    bounds = template.parameters["MaximumConcurrency"]
    if not 2 <= bounds["MinValue"] <= bounds["Default"] <= bounds["MaxValue"] <= 1000:
        yield "MaximumConcurrency: Lambda takes 2 to 1000 for a queue"


@rule
def more_than_ten_messages_have_a_window(template: Template) -> Iterator[str]:
    for name, delivery, _, _ in template.deliveries:
        if delivery["BatchSize"] > 10 and delivery.get("MaximumBatchingWindowInSeconds", 0) < 1:
            yield f"{name}: Lambda refuses a BatchSize above 10 without a window"


@rule
def a_message_stays_hidden_while_it_may_still_be_worked_on(template: Template) -> Iterator[str]:
    # https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
    for _, delivery, queue, function in template.deliveries:
        window = delivery.get("MaximumBatchingWindowInSeconds", 0)
        least = 6 * template.functions[function]["Timeout"] + window
        if template.queues[queue].get("VisibilityTimeout", 30) < least:
            yield f"{queue}: messages show again before {least} s"


# Queues and topics


@rule
def every_queue_has_a_dead_letter_queue_that_outlasts_it(template: Template) -> Iterator[str]:
    longest = template.parameters["CommandTtlSeconds"]["MaxValue"]
    for name, queue in template.queues.items():
        if name in template.dead_letter_queue_of.values():
            continue
        if name in template.set_aside_in:
            if queue.get("MessageRetentionPeriod", 4 * DAY) < 14 * DAY:
                yield f"{name}: what was set aside is kept for less than 14 days"
            continue
        dead = template.queues.get(template.dead_letter_queue_of.get(name, ""))
        if dead is None:
            yield f"{name}: no dead-letter queue"
            continue
        # A fault of the deployment gives messages back; it must not dead-letter what could still be carried out.
        waits = (
            seconds_until_redelivery(receives, visibility_timeout=queue["VisibilityTimeout"], jitter=1.0)
            for receives in range(1, queue["RedrivePolicy"]["maxReceiveCount"] + 1)
        )
        if sum(waits) < longest:
            yield f"{name}: sets messages aside before they expire"
        if dead.get("MessageRetentionPeriod", 4 * DAY) < 14 * DAY:
            yield f"{name}: its dead letters are kept for less than 14 days"
        if dead.get("MessageRetentionPeriod", 4 * DAY) <= queue.get("MessageRetentionPeriod", 4 * DAY):
            yield f"{name}: its dead letters end before its messages"
        allowed = dead.get("RedriveAllowPolicy", {})
        own = {"Fn::Sub": f"arn:${{AWS::Partition}}:sqs:${{AWS::Region}}:${{AWS::AccountId}}:{_name(queue)}"}
        if allowed.get("redrivePermission") != "byQueue" or allowed["sourceQueueArns"] != [own]:
            yield f"{name}: its dead-letter queue takes from other queues, or not from it"


@rule
def what_could_not_be_done_is_kept_apart_from_dead_letters(template: Template) -> Iterator[str]:
    for name in template.set_aside_in & template.queues.keys():
        if template.queues[name].get("RedriveAllowPolicy") != {"redrivePermission": "denyAll"}:
            yield f"{name}: takes the dead letters of queues, too"


def _name(queue: Json) -> Any:
    return queue.get("QueueName", {}).get("Fn::Sub")


@rule
def every_queue_takes_the_longest_message(template: Template) -> Iterator[str]:
    for name, queue in template.queues.items():
        if queue.get("MaximumMessageSize") != MEBIBYTE:
            yield f"{name}: the contract says 1 MiB"


ENCRYPTED: Final[dict[str, tuple[Json, Json]]] = {
    "AWS::SQS::Queue": ({"SqsManagedSseEnabled": True}, {"KmsMasterKeyId": KEY}),
    "AWS::SNS::Topic": ({"KmsMasterKeyId": "alias/aws/sns"}, {"KmsMasterKeyId": KEY}),
    "AWS::DynamoDB::Table": (
        {"SSESpecification": {"SSEEnabled": True, "SSEType": "KMS"}},
        {"SSESpecification": {"SSEEnabled": True, "SSEType": "KMS", "KMSMasterKeyId": KEY}},
    ),
    # These two AWS encrypts with a key of its own unless it is told another.
    "AWS::Events::EventBus": ({}, {"KmsKeyIdentifier": KEY}),
    "AWS::Logs::LogGroup": ({}, {"KmsKeyId": KEY}),
}
"""What keeps data, and what it says of encryption: without a customer's key, and with one."""

KEEPS_DATA: Final = {
    *ENCRYPTED,
    "AWS::S3::Bucket",
    "AWS::Kinesis::Stream",
    "AWS::SecretsManager::Secret",
    "AWS::SSM::Parameter",
}


@rule
def everything_at_rest_is_encrypted_and_with_the_customers_key_if_there_is_one(template: Template) -> Iterator[str]:
    for resource_type, sayings in ENCRYPTED.items():
        properties = {name for saying in sayings for name in saying}
        for key, saying in zip(("", KEY), sayings, strict=True):
            parameters = parameters_of(template.body, PARAMETERS | {"KmsKeyArn": key})
            for name, resource in template.of_type(resource_type).items():
                # What a bus sets aside because the key fails must not be under that key.
                wanted = sayings[0] if name in template.dead_letter_queue_of_bus.values() else saying
                said = resolved({each: resource.get(each) for each in properties}, template.body, parameters)
                if _without_none(said) != wanted:
                    yield f"{name}: says {said} of its encryption"
    kept = {each["Type"] for each in template.body["Resources"].values()} & KEEPS_DATA
    yield from (f"{resource_type}: keeps data, and nobody looks at how" for resource_type in kept - ENCRYPTED.keys())


def _without_none(value: Json) -> Json:
    return {
        name: _without_none(each) if isinstance(each, dict) else each
        for name, each in value.items()
        if each is not None
    }


@rule
def a_bus_under_the_customers_key_keeps_what_that_key_fails_for(template: Template) -> Iterator[str]:
    # https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-encryption-event-bus-dlq.html
    without_a_key = parameters_of(template.body, PARAMETERS)
    for name, bus in template.of_type("AWS::Events::EventBus").items():
        if resolved(bus.get("DeadLetterConfig"), template.body, without_a_key) is not None:
            yield f"{name}: names a dead-letter queue that without a key is not there"
        queue = template.dead_letter_queue_of_bus.get(name)
        if queue not in template.queues:
            yield f"{name}: what it cannot encrypt or decrypt is lost"
            continue
        if template.body["Resources"][queue].get("Condition") != "HasKey":
            yield f"{queue}: is there without a key, or not whenever there is one"
        let_in = [
            each.get("Condition") for each in template.statements_on("QueuePolicy", queue) if each["Effect"] == "Allow"
        ]
        if let_in != [{"ArnEquals": {"aws:SourceArn": {"Fn::GetAtt": [name, "Arn"]}}}]:
            yield f"{queue}: lets in others than {name}, or not {name}"
        if not _lets_in(template, queue, "events.amazonaws.com"):
            yield f"{queue}: does not let EventBridge in"


@rule
def nothing_is_taken_over_plain_http(template: Template) -> Iterator[str]:
    kinds = (
        ("QueuePolicy", template.queues, "sqs:*"),
        ("TopicPolicy", template.of_type("AWS::SNS::Topic"), "sns:Publish"),
    )
    for kind, resources, action in kinds:
        for name in resources:
            if not any(
                statement["Effect"] == "Deny"
                and statement["Principal"] == "*"
                and listed(statement["Action"]) == [action]
                and target(statement["Resource"]) == name
                and statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
                for statement in template.statements_on(kind, name)
            ):
                yield f"{name}: may be used over plain HTTP"


@rule
def a_service_may_send_only_on_behalf_of_this_account(template: Template) -> Iterator[str]:
    rules_of_this_account = "arn:${AWS::Partition}:events:${AWS::Region}:${AWS::AccountId}:rule/*"
    topics = template.of_type("AWS::SNS::Topic")
    senders = template.of_type("AWS::Events::Rule") | template.of_type("AWS::Events::EventBus")
    for name in template.queues:
        for statement in template.statements_on("QueuePolicy", name):
            if statement["Effect"] != "Allow":
                continue
            match statement:
                case {
                    "Principal": {"Service": "sns.amazonaws.com"},
                    "Condition": {"ArnEquals": {"aws:SourceArn": {"Ref": topic}}},
                } if topic in topics:
                    pass
                case {
                    "Principal": {"Service": "events.amazonaws.com"},
                    "Condition": {"ArnLike": {"aws:SourceArn": {"Fn::Sub": source}}},
                } if source == rules_of_this_account:
                    pass
                case {
                    "Principal": {"Service": "events.amazonaws.com"},
                    "Condition": {"ArnEquals": {"aws:SourceArn": {"Fn::GetAtt": [sender, "Arn"]}}},
                } if sender in senders:
                    pass
                case _:
                    yield f"{name}: {statement.get('Sid')} lets in more than what is of this account"


@rule
def every_subscription_reaches_its_queue_and_loses_nothing(template: Template) -> Iterator[str]:
    fed = set()
    for name, subscription in template.of_type("AWS::SNS::Subscription").items():
        queue = target(subscription["Endpoint"])
        dead = target(subscription.get("RedrivePolicy", {}).get("deadLetterTargetArn"))
        fed.add(queue)
        if dead != template.dead_letter_queue_of.get(queue):
            yield f"{name}: what cannot be delivered is lost"
        for allowed in {queue, dead} & template.queues.keys():
            if not _lets_in(template, allowed, "sns.amazonaws.com"):
                yield f"{name}: {allowed} does not let the topic in"
    for _, _, queue, _ in template.deliveries:
        if queue not in fed:
            yield f"{queue}: the topic does not feed it"
        if not _lets_in(template, queue, "events.amazonaws.com"):
            yield f"{queue}: no EventBridge rule can feed it"


def _lets_in(template: Template, queue: str, service: str) -> bool:
    return any(
        statement["Effect"] == "Allow"
        and statement["Principal"] == {"Service": service}
        and listed(statement["Action"]) == ["sqs:SendMessage"]
        and target(statement["Resource"]) == queue
        for statement in template.statements_on("QueuePolicy", queue)
    )


@rule
def who_may_publish_to_the_topic_is_said_by_iam_alone(template: Template) -> Iterator[str]:
    # AWS allows no condition for EventBridge in a topic's policy: a rule publishes with a role instead.
    for name, policy in template.of_type("AWS::SNS::TopicPolicy").items():
        for statement in policy["PolicyDocument"]["Statement"]:
            if statement.get("Effect") != "Deny":
                yield f"{name}: lets somebody in"


FOR_THE_QUEUES: Final[dict[str, list[Json]]] = {
    # Whatever is not the other's: a function has to reject what is for nobody.
    "stop_task": [
        {"command": "stop_task"},
        {"command": "stop_tusk"},
        {"command": ""},
        {"task_id": "c1"},
        {"detail-type": "a", "source": "b", "detail": {"command": "stop_task"}},
        {"detail-type": "a", "source": "b", "detail": {}},
        {"detail-type": "a", "source": "b"},
        {"detail": {"command": "stop_targets"}},
        {"command": "stop_task", "detail-type": "a", "detail": {"command": "stop_targets"}},
    ],
    "stop_targets": [
        {"command": "stop_targets"},
        {"command": "stop_targets", "detail": {"command": "stop_task"}},
        {"detail-type": "a", "source": "b", "detail": {"command": "stop_targets"}},
    ],
}


@rule
def every_command_is_sent_to_the_function_of_its_name(template: Template) -> Iterator[str]:
    handler_of = {queue: template.functions[function]["Handler"] for _, _, queue, function in template.deliveries}
    for name, subscription in template.of_type("AWS::SNS::Subscription").items():
        settings = SETTINGS_OF[handler_of[target(subscription["Endpoint"])]]
        assert issubclass(settings, QueueFunctionSettings)
        if subscription.get("FilterPolicyScope") != "MessageBody":
            yield f"{name}: filters on attributes, which commands do not have"
        policy = subscription.get("FilterPolicy", {})
        if len(keys_of(policy)) > MOST_KEYS:
            yield f"{name}: SNS takes no policy of so many keys"
        for kind, bodies in FOR_THE_QUEUES.items():
            for body in bodies:
                if matches(policy, body) is not (kind == settings.kind):
                    yield f"{name}: takes what is not its own, or not what is: {body}"


# Timers and rules


@rule
def a_timer_does_nothing_until_it_is_told_to(template: Template) -> Iterator[str]:
    parameters = parameters_of(template.body, {})
    for name, schedule in template.schedules.items():
        if resolved(schedule.get("State", "ENABLED"), template.body, parameters) != "DISABLED":
            yield f"{name}: on by default"
        told = {mode: _sweep_of(template, schedule, mode) for mode in ("off", "report", "stop")}
        if [told[mode]["dry_run"] for mode in told] != [True, True, False]:
            yield f"{name}: stops what it was not told to stop, or does not when told"


@rule
def a_timer_asks_for_what_the_sweep_takes(template: Template) -> Iterator[str]:
    given = {
        "CheckSweepProjectId": "a-codearts-project",
        "CheckSweepProtect": "release-*",
        "BatchSweepProtect": "a,b c",
    }
    for name, schedule in template.schedules.items():
        for parameters in ({"CheckSweepProjectId": "a-codearts-project"}, given):
            text = resolved(
                schedule["Target"].get("Input", ""), template.body, parameters_of(template.body, parameters)
            )
            try:
                read_sweep(json.loads(text), project_id="the-iam-project", instance_id=None)
            except (ValueError, SweepRejected) as error:
                yield f"{name}: {error}"


@rule
def a_timer_runs_when_scheduler_understands_its_expression(template: Template) -> Iterator[str]:
    for name, schedule in template.schedules.items():
        expression = resolved(schedule["ScheduleExpression"], template.body, parameters_of(template.body, {}))
        if not SCHEDULE_EXPRESSION.fullmatch(expression):
            yield f"{name}: {expression} is no schedule"


@rule
def a_timer_runs_in_the_zone_that_was_chosen(template: Template) -> Iterator[str]:
    for name, schedule in template.schedules.items():
        for given, expected in ({}, "UTC"), ({"SweepTimezone": "Europe/Berlin"}, "Europe/Berlin"):
            parameters = parameters_of(template.body, given)
            zone = resolved(schedule.get("ScheduleExpressionTimezone"), template.body, parameters)
            if zone != expected:
                yield f"{name}: runs in {zone} and not in {expected}"


@rule
def what_a_timer_or_a_rule_cannot_deliver_is_tried_again_and_kept(template: Template) -> Iterator[str]:
    targets = [(name, schedule["Target"]) for name, schedule in template.schedules.items()]
    for name, each in targets + template.rule_targets:
        retries = each.get("RetryPolicy", {})
        if not (retries.get("MaximumRetryAttempts", 0) and retries.get("MaximumEventAgeInSeconds", 0)):
            yield f"{name}: how often and how long it tries again is not said"
        if target(each.get("DeadLetterConfig", {}).get("Arn")) not in template.queues:
            yield f"{name}: what it cannot deliver is lost"
    for name, each in template.rule_targets:
        # Scheduler asks its role; a rule asks the queue.
        queue = target(each.get("DeadLetterConfig", {}).get("Arn"))
        if queue in template.queues and not _lets_in(template, queue, "events.amazonaws.com"):
            yield f"{name}: {queue} does not let it in"
    for name, schedule in template.schedules.items():
        if schedule["FlexibleTimeWindow"]["Mode"] != "FLEXIBLE":
            yield f"{name}: starts with everybody else's"
        function = target(schedule["Target"]["Arn"])
        if template.failure_queue_of(function) not in template.queues:
            yield f"{function}: nobody waits for its answer, so when it fails the sweep is lost"


def _sweep_of(template: Template, schedule: Json, mode: str) -> Json:
    modes = {name: mode for name in template.parameters if name.endswith("Mode")}
    text = resolved(schedule["Target"].get("Input", ""), template.body, parameters_of(template.body, modes))
    try:
        sweep: Json = json.loads(text)
    except ValueError:
        return {"dry_run": None}
    return sweep


@rule
def every_event_of_a_bus_is_written_to_a_log(template: Template) -> Iterator[str]:
    for bus in template.of_type("AWS::Events::EventBus"):
        rules = {name: template.of_type("AWS::Events::Rule")[name] for name in template.logging_rules}
        if [each["EventPattern"] for each in rules.values() if target(each.get("EventBusName")) == bus] != [
            {"source": [{"prefix": ""}]}
        ]:
            yield f"{bus}: some of its events are in no log"
    resources = template.body["Resources"]
    for name, group in template.logging_rules.items():
        if "RoleArn" in template.of_type("AWS::Events::Rule")[name]["Targets"][0]:
            yield f"{name}: with a role EventBridge may deliver nothing to a log"
        said = resources[group]["Properties"]
        if not said["LogGroupName"]["Fn::Sub"].startswith("/aws/events/${AWS::StackName}-"):
            yield f"{group}: the console of EventBridge does not show it, or it is of another stack"
        parameter = said["RetentionInDays"]["Ref"]
        if 0 not in template.parameters[parameter]["AllowedValues"]:
            yield f"{parameter}: the log cannot be turned off"
        (condition, *others) = {resources[each].get("Condition") for each in (name, group)}
        is_there = [
            resolved(template.body["Conditions"].get(condition), template.body, parameters_of(template.body, given))
            for given in ({}, {parameter: "0"})
        ]
        if others or is_there != [True, False]:
            yield f"{name}: is there when its log is off, or not when it is on"
        yield from _lets_write(template, name, group)


def _lets_write(template: Template, name: str, group: str) -> Iterator[str]:
    """Look at the policy that lets a rule write a log; the rule's ARN is given when it writes, and only then.

    https://github.com/aws-samples/serverless-patterns/pull/618
    """
    log = f"arn:${{AWS::Partition}}:logs:${{AWS::Region}}:${{AWS::AccountId}}:log-group:${{{group}}}:*"
    services = {"Service": ["events.amazonaws.com", "delivery.logs.amazonaws.com"]}
    on_behalf = {"ArnEquals": {"aws:SourceArn": f"${{{name}.Arn}}"}}
    wanted = [("logs:CreateLogStream", services, log, None), ("logs:PutLogEvents", services, log, on_behalf)]
    policies = template.of_type("AWS::Logs::ResourcePolicy").values()
    statements = [each for policy in policies for each in json.loads(policy["PolicyDocument"]["Fn::Sub"])["Statement"]]
    said = [(each["Action"], each["Principal"], each["Resource"], each.get("Condition")) for each in statements]
    if said != wanted or {each["Effect"] for each in statements} != {"Allow"}:
        yield f"{name}: EventBridge may not write {group}, or others may, or it may more"
    if any(policy["PolicyName"] != {"Fn::Sub": "${AWS::StackName}-outcome-log"} for policy in policies):
        yield f"{name}: two stacks would write one policy"


@rule
def a_rule_matches_lists_of_values(template: Template) -> Iterator[str]:
    def leaves(pattern: Any) -> Iterator[Any]:
        if isinstance(pattern, dict):
            for each in pattern.values():
                yield from leaves(each)
        else:
            yield pattern

    for name, properties in template.of_type("AWS::Events::Rule").items():
        if any(not isinstance(leaf, list) for leaf in leaves(properties["EventPattern"])):
            yield f"{name}: EventBridge refuses a pattern with a value that is no list"


# Workflows


def _ways_from(state: Json) -> list[str]:
    """Give the names of the states that may follow."""
    branches = [*state.get("Choices", []), *state.get("Catch", [])]
    ways = [state.get("Next"), state.get("Default"), *(each.get("Next") for each in branches)]
    return [way for way in ways if way is not None]


def _is_an_end(state: Json) -> bool:
    return state["Type"] in {"Succeed", "Fail"} or state.get("End") is True


@rule
def every_way_of_a_workflow_leads_to_a_state(template: Template) -> Iterator[str]:
    for name, workflow in template.workflows.items():
        ways = {"StartAt": [workflow["StartAt"]], **{key: _ways_from(each) for key, each in workflow["States"].items()}}
        for origin, each in ways.items():
            missing = set(each) - workflow["States"].keys()
            yield from (f"{name}: {origin} leads to {way}, which is not there" for way in missing)


@rule
def every_state_of_a_workflow_is_reached_and_comes_to_an_end(template: Template) -> Iterator[str]:
    for name, workflow in template.workflows.items():
        states = workflow["States"]
        reached = _closure({workflow["StartAt"]}, {key: set(_ways_from(state)) for key, state in states.items()})
        yield from (f"{name}: {state} is never reached" for state in states.keys() - reached)
        back: dict[str, set[str]] = {}
        for key, state in states.items():
            for way in _ways_from(state):
                back.setdefault(way, set()).add(key)
        ending = _closure({key for key, state in states.items() if _is_an_end(state)}, back)
        yield from (f"{name}: {state} never comes to an end" for state in states.keys() - ending)
        for key, state in states.items():
            onward = state.get("Next") or state.get("Default")
            if (onward is None) != _is_an_end(state):
                yield f"{name}: {key} has no next state, or has one and is an end"


def _closure(start: set[str], ways: dict[str, set[str]]) -> set[str]:
    found: set[str] = set()
    ahead = set(start)
    while ahead:
        found |= ahead
        ahead = {way for each in ahead for way in ways.get(each, set())} - found
    return found


@rule
def a_workflow_matches_errors_that_exist(template: Template) -> Iterator[str]:
    ours = {name for name, each in vars(errors).items() if isinstance(each, type) and issubclass(each, Exception)}
    for name, workflow in template.workflows.items():
        for key, state in workflow["States"].items():
            for matcher in [*state.get("Retry", []), *state.get("Catch", [])]:
                unknown = set(matcher["ErrorEquals"]) - ours - ERRORS_OF_AWS
                yield from (f"{name}: {key} matches {error}, which nobody raises" for error in unknown)
                if "States.ALL" in matcher["ErrorEquals"] and matcher is not state["Catch"][-1]:
                    yield f"{name}: {key} matches everything before the last"


@rule
def a_workflow_tries_again_what_may_pass_and_nothing_else(template: Template) -> Iterator[str]:
    for name, key, task in template.workflow_tasks:
        tried = {error for retrier in task.get("Retry", []) for error in retrier["ErrorEquals"]}
        if {"HuaweiUnavailable", "PublishingFailed"} - tried:
            yield f"{name}: {key} gives up at once what may pass"
        if tried & {"CommandRejected", "SweepRejected", "States.ALL"}:
            yield f"{name}: {key} tries again what can never succeed"
        caught = [error for catcher in task.get("Catch", []) for error in catcher["ErrorEquals"]]
        if caught != ["CommandRejected", "States.ALL"]:
            yield f"{name}: {key} does not catch rejections by name, and then all else"


@rule
def a_workflow_waits_longer_each_time_and_not_for_ever(template: Template) -> Iterator[str]:
    for name, workflow in template.workflows.items():
        if "TimeoutSeconds" not in workflow:
            yield f"{name}: may run for a year"
    for name, key, task in template.workflow_tasks:
        function = template.functions[template.invoked_by(task["Arguments"]["FunctionName"])]
        if task.get("TimeoutSeconds", 0) <= function["Timeout"]:
            yield f"{name}: {key} has no time limit, or gives up before the function does"
        for retrier in task.get("Retry", []):
            if not retrier.keys() >= {
                "IntervalSeconds",
                "BackoffRate",
                "MaxDelaySeconds",
                "JitterStrategy",
                "MaxAttempts",
            }:
                yield f"{name}: {key} tries {retrier['ErrorEquals']} again without growing, bounded, scattered pauses"


@rule
def a_workflow_logs_its_errors_and_no_data(template: Template) -> Iterator[str]:
    groups = template.of_type("AWS::Logs::LogGroup")
    for name, machine in template.of_type("AWS::StepFunctions::StateMachine").items():
        log = machine.get("LoggingConfiguration", {"Level": "OFF"})
        if (log["Level"], log.get("IncludeExecutionData")) != ("ERROR", False):
            yield f"{name}: logs no errors, or what it works on"
            continue
        group = groups.get(target(log["Destinations"][0]["CloudWatchLogsLogGroup"]["LogGroupArn"]), {})
        if not str(group.get("LogGroupName", {}).get("Fn::Sub")).startswith("/aws/vendedlogs/"):
            yield f"{name}: its log group lengthens the account's one resource policy"
        if "RetentionInDays" not in group:
            yield f"{name}: its log is kept for ever"


# Roles


@rule
def no_role_is_shared_or_reaches_beyond_this_template(template: Template) -> Iterator[str]:
    roles = template.of_type("AWS::IAM::Role")
    used = [target(function["Role"]) for function in template.functions.values()]
    for name, own in zip(template.functions, used, strict=True):
        if own not in roles:
            yield f"{name}: its role is not of this template"
        elif used.count(own) > 1:
            yield f"{name}: shares {own}"
    for name, role in roles.items():
        if role.get("ManagedPolicyArns"):
            yield f"{name}: managed policies reach all queues and all log groups of the account"
        for statement in statements_of(role):
            actions, resources = listed(statement["Action"]), listed(statement["Resource"])
            if resources == ["*"] and any(set(actions) <= each for each in (LOG_DELIVERY, TRACING, BOUND_OTHERWISE)):
                continue
            if any("*" in str(granted) for granted in actions + resources):
                yield f"{name}: {statement['Sid']} has a wildcard"
    for kind in ("AWS::IAM::Policy", "AWS::IAM::ManagedPolicy"):
        yield from (f"{name}: a statement is written where its function is" for name in template.of_type(kind))


@rule
def every_role_grants_what_its_function_needs_and_no_more(template: Template) -> Iterator[str]:
    for name, function in template.functions.items():
        variables = function["Environment"]["Variables"]
        log = target(function["LoggingConfig"]["LogGroup"])
        needed = {(action, log) for action in ("logs:CreateLogStream", "logs:PutLogEvents")}
        for variable in variables.keys() & NEEDED_FOR.keys():
            resource = NOT_OF_THIS_TEMPLATE.get(variable) or target(variables[variable])
            needed |= {(action, resource) for action in NEEDED_FOR[variable]}
        if failed := template.failure_queue_of(name):
            needed.add(("sqs:SendMessage", failed))
        needed |= {(action, "*") for action in TRACING_OF_A_FUNCTION}
        if any(action.startswith(("sqs:", "dynamodb:")) for action, _ in needed):
            needed |= {(action, "KmsKeyArn") for action in USES_OF_THE_KEY}
        yield from _differences(template, name, target(function["Role"]), needed)


@rule
def every_service_may_do_only_what_it_is_there_for(template: Template) -> Iterator[str]:
    for name, schedule in template.schedules.items():
        to = schedule["Target"]
        queue = target(to.get("DeadLetterConfig", {}).get("Arn"))
        needed = {("lambda:InvokeFunction", target(to["Arn"])), ("sqs:SendMessage", queue)}
        needed |= {(action, "KmsKeyArn") for action in USES_OF_THE_KEY}
        yield from _differences(template, name, target(to["RoleArn"]), needed)
    for name, machine in template.of_type("AWS::StepFunctions::StateMachine").items():
        tasks = [task for owner, _, task in template.workflow_tasks if owner == name]
        invoked = {template.invoked_by(task["Arguments"]["FunctionName"]) for task in tasks}
        needed = {("lambda:InvokeFunction", each) for each in invoked} | {
            (action, "*") for action in LOG_DELIVERY | TRACING
        }
        yield from _differences(template, name, target(machine["RoleArn"]), needed)
    for name, to in template.rule_targets:
        if name not in template.logging_rules:
            needed = {("states:StartExecution", target(to["Arn"]))}
            yield from _differences(template, name, target(to.get("RoleArn")), needed)


def _differences(template: Template, name: str, role: str, needed: set[tuple[str, str]]) -> Iterator[str]:
    granted = {
        (action, target(resource))
        for statement in statements_of(template.of_type("AWS::IAM::Role").get(role, {}))
        for action in listed(statement["Action"])
        for resource in listed(statement["Resource"])
    }
    yield from (f"{name}: may not {action} on {resource}" for action, resource in needed - granted)
    yield from (f"{name}: may {action} on {resource} without need" for action, resource in granted - needed)


@rule
def a_function_works_on_the_queue_that_invokes_it(template: Template) -> Iterator[str]:
    for _, _, queue, name in template.deliveries:
        variables = template.functions[name]["Environment"]["Variables"]
        own, dead = (target(variables[variable]) for variable in ("COMMAND_QUEUE_URL", "DEAD_LETTER_QUEUE_URL"))
        if (own, dead) != (queue, template.dead_letter_queue_of.get(queue)):
            yield f"{name}: its variables name other queues than {queue} and its dead-letter queue"
        if variables["VISIBILITY_TIMEOUT_SECONDS"] != str(template.queues[queue]["VisibilityTimeout"]):
            yield f"{name}: hides messages for longer or shorter than {queue}"


@rule
def a_service_takes_its_own_role_for_this_account_only(template: Template) -> Iterator[str]:
    for_this_account = {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}
    taken = [
        *(("lambda", function["Role"]) for function in template.functions.values()),
        *(("scheduler", schedule["Target"]["RoleArn"]) for schedule in template.schedules.values()),
        *(("states", each["RoleArn"]) for each in template.of_type("AWS::StepFunctions::StateMachine").values()),
        *(("events", each["RoleArn"]) for name, each in template.rule_targets if name not in template.logging_rules),
    ]
    services = {target(role): service for service, role in taken}
    for name, role in template.of_type("AWS::IAM::Role").items():
        for statement in role["AssumeRolePolicyDocument"]["Statement"]:
            service = services.get(name)
            if statement["Principal"] != {"Service": f"{service}.amazonaws.com"}:
                yield f"{name}: may be taken by {statement['Principal']}, and {service} needs it"
            # Lambda takes a role only for a function that was given it in this account.
            if service != "lambda" and statement.get("Condition") != for_this_account:
                yield f"{name}: {service} may be made to take it for somebody else"


@rule
def no_role_may_publish_as_someone_else(template: Template) -> Iterator[str]:
    published = {
        target(function["Role"]): REPORT if "STOP_TASK_QUEUE_URL" in function["Environment"]["Variables"] else OUTCOME
        for function in template.functions.values()
    }
    for name, role in template.of_type("AWS::IAM::Role").items():
        ours = {
            "ForAllValues:StringEquals": {"events:source": "stopline"},
            "Null": {"events:source": "false"},
            "StringEquals": {"events:detail-type": published.get(name)},
        }
        for statement in statements_of(role):
            if "events:PutEvents" in listed(statement["Action"]) and statement.get("Condition") != ours:
                yield f"{name}: may publish events of any source or kind"


@rule
def what_hangs_on_a_parameter_is_granted_only_if_it_is_given(template: Template) -> Iterator[str]:
    for name, role in template.of_type("AWS::IAM::Role").items():
        for policy in role.get("Policies", []):
            for statement in policy["PolicyDocument"]["Statement"]:
                text = str(statement)
                for service, condition in GRANTED_IF:
                    if service in text and statement.get("Fn::If", [None])[0] != condition:
                        yield f"{name}: grants {service} always; IAM refuses an empty ARN, and nobody needs the rest"


@rule
def a_role_can_say_who_it_is_to_huawei_cloud_only(template: Template) -> Iterator[str]:
    # https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_outbound_policies.html
    bound = {
        "ForAllValues:StringEquals": {"sts:IdentityTokenAudience": {"Ref": "HuaweiOidcProviderUrn"}},
        "StringEquals": {"sts:SigningAlgorithm": "RS256"},
        "NumericLessThanEquals": {"sts:DurationSeconds": TOKEN_SECONDS},
        "Null": {"sts:IdentityTokenAudience": "false"},
    }
    for name, role in template.of_type("AWS::IAM::Role").items():
        for statement in statements_of(role):
            if "sts:GetWebIdentityToken" in listed(statement["Action"]) and statement.get("Condition") != bound:
                yield f"{name}: may have tokens for others, that last longer, or by another algorithm"


@rule
def the_key_is_used_only_for_what_is_encrypted_with_it(template: Template) -> Iterator[str]:
    parameters = parameters_of(template.body, {}) | {"AWS::Region": "r", "AWS::URLSuffix": "amazonaws.com"}
    for name, role in template.of_type("AWS::IAM::Role").items():
        statements = list(statements_of(role))
        used = {action.partition(":")[0] for each in statements for action in listed(each["Action"])}
        via = {f"{service}.r.amazonaws.com" for service in used & {"sqs", "dynamodb"}}
        for statement in statements:
            if "kms:Decrypt" not in listed(statement["Action"]):
                continue
            match resolved(statement.get("Condition"), template.body, parameters):
                case {"StringEquals": {"kms:ViaService": services}} if set(listed(services)) == via:
                    pass
                case condition:
                    yield f"{name}: may use the key under {condition}, and needs it by way of {via}"

"""The review checklist of the template, for what cfn-lint and the SAM transform let pass.

A rule looks at the translated template and yields a sentence for everything that it objects to. test_rules.py shows
that the template has nothing to object to, and that each rule objects when it should.
"""

from __future__ import annotations

import ast
import re
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from shared.settings import QueueFunctionSettings, StopTargetsSettings, StopTaskSettings
from tests.template.loading import ROOT, Json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    type Rule = Callable[["Template"], Iterator[str]]

SETTINGS_OF: Final[dict[str, type[QueueFunctionSettings]]] = {
    "functions.stop_task.handler": StopTaskSettings,
    "functions.stop_targets.handler": StopTargetsSettings,
}

NOT_FROM_THE_TEMPLATE: Final = {
    "HUAWEICLOUD_SDK_AK",
    "HUAWEICLOUD_SDK_SK",
    "HUAWEICLOUD_SDK_SECURITY_TOKEN",
    "HUAWEICLOUD_KEYS_IN_ENVIRONMENT",
    "AWS_LAMBDA_FUNCTION_NAME",
}
"""What the settings know beside: keys for local use, and what Lambda sets itself."""

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
            for statement in policy["PolicyDocument"]["Statement"]
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
        yield from (f"{name}: {variable} is given and not read" for variable in given - read)


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


# Deliveries


@rule
def a_delivery_that_fails_in_part_is_repeated_in_part(template: Template) -> Iterator[str]:
    for name, delivery, _, _ in template.deliveries:
        if delivery.get("FunctionResponseTypes") != ["ReportBatchItemFailures"]:
            yield f"{name}: one failed message repeats the whole batch"


@rule
def a_flood_of_messages_cannot_flood_huawei_cloud(template: Template) -> Iterator[str]:
    for name, delivery, _, function in template.deliveries:
        if "MaximumConcurrency" not in delivery.get("ScalingConfig", {}) and (
            "ReservedConcurrentExecutions" not in template.functions[function]
        ):
            yield f"{name}: as many invocations as Lambda likes"
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
    ttl = template.number({"Ref": "CommandTtlSeconds"})
    for name, queue in template.queues.items():
        if name in template.dead_letter_queue_of.values():
            continue
        dead = template.queues.get(template.dead_letter_queue_of.get(name, ""))
        if dead is None:
            yield f"{name}: no dead-letter queue"
            continue
        # A fault of the deployment gives messages back; it must not set aside what could still be carried out.
        if queue["RedrivePolicy"]["maxReceiveCount"] * queue["VisibilityTimeout"] < ttl:
            yield f"{name}: sets messages aside before they expire"
        if dead.get("MessageRetentionPeriod", 4 * DAY) < 14 * DAY:
            yield f"{name}: its dead letters are kept for less than 14 days"
        if dead.get("MessageRetentionPeriod", 4 * DAY) <= queue.get("MessageRetentionPeriod", 4 * DAY):
            yield f"{name}: its dead letters end before its messages"
        allowed = dead.get("RedriveAllowPolicy", {})
        own = {"Fn::Sub": f"arn:${{AWS::Partition}}:sqs:${{AWS::Region}}:${{AWS::AccountId}}:{_name(queue)}"}
        if allowed.get("redrivePermission") != "byQueue" or allowed["sourceQueueArns"] != [own]:
            yield f"{name}: its dead-letter queue takes from other queues, or not from it"


def _name(queue: Json) -> Any:
    return queue.get("QueueName", {}).get("Fn::Sub")


@rule
def every_queue_takes_the_longest_message(template: Template) -> Iterator[str]:
    for name, queue in template.queues.items():
        if queue.get("MaximumMessageSize") != MEBIBYTE:
            yield f"{name}: the contract says 1 MiB"


@rule
def everything_at_rest_is_encrypted(template: Template) -> Iterator[str]:
    for name, queue in template.queues.items():
        if queue.get("SqsManagedSseEnabled") is not True and "KmsMasterKeyId" not in queue:
            yield f"{name}: not encrypted"
    for name, topic in template.of_type("AWS::SNS::Topic").items():
        if "KmsMasterKeyId" not in topic:
            yield f"{name}: not encrypted"


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
                case _:
                    yield f"{name}: {statement.get('Sid')} lets in more than the topic and the rules of this account"


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
def every_command_is_sent_to_the_function_of_its_name(template: Template) -> Iterator[str]:
    handler_of = {queue: template.functions[function]["Handler"] for _, _, queue, function in template.deliveries}
    for name, subscription in template.of_type("AWS::SNS::Subscription").items():
        settings = SETTINGS_OF[handler_of[target(subscription["Endpoint"])]]
        if subscription.get("FilterPolicyScope") != "MessageBody":
            yield f"{name}: filters on attributes, which commands do not have"
        if subscription.get("FilterPolicy") != {"command": [settings.kind]}:
            yield f"{name}: lets through {subscription.get('FilterPolicy')}, not {settings.kind}"


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
            if any("*" in str(granted) for granted in listed(statement["Action"]) + listed(statement["Resource"])):
                yield f"{name}: {statement['Sid']} has a wildcard"
    for kind in ("AWS::IAM::Policy", "AWS::IAM::ManagedPolicy"):
        yield from (f"{name}: a statement is written where its function is" for name in template.of_type(kind))


@rule
def every_role_grants_what_its_function_needs_and_no_more(template: Template) -> Iterator[str]:
    for _, _, queue, name in template.deliveries:
        function = template.functions[name]
        variables = function["Environment"]["Variables"]
        own, dead, bus = (
            target(variables[variable])
            for variable in ("COMMAND_QUEUE_URL", "DEAD_LETTER_QUEUE_URL", "OUTCOME_BUS_NAME")
        )
        if (own, dead) != (queue, template.dead_letter_queue_of.get(queue)):
            yield f"{name}: its variables name other queues than {queue} and its dead-letter queue"
        log = target(function["LoggingConfig"]["LogGroup"])
        needed = {
            *((action, own) for action in ("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes")),
            *(("sqs:SendMessage", each) for each in (own, dead)),
            ("events:PutEvents", bus),
            *((action, log) for action in ("logs:CreateLogStream", "logs:PutLogEvents")),
            ("secretsmanager:GetSecretValue", "HuaweiSecretArn"),
        }
        granted = {
            (action, target(resource))
            for statement in statements_of(template.of_type("AWS::IAM::Role")[target(function["Role"])])
            for action in listed(statement["Action"])
            for resource in listed(statement["Resource"])
        }
        yield from (f"{name}: may not {action} on {resource}" for action, resource in needed - granted)
        yield from (f"{name}: may {action} on {resource} without need" for action, resource in granted - needed)


@rule
def no_role_may_publish_as_someone_else(template: Template) -> Iterator[str]:
    ours = {
        "ForAllValues:StringEquals": {"events:source": "stopline"},
        "StringEquals": {"events:detail-type": "Stop Outcome"},
    }
    for name, role in template.of_type("AWS::IAM::Role").items():
        for statement in statements_of(role):
            if "events:PutEvents" in listed(statement["Action"]) and statement.get("Condition") != ours:
                yield f"{name}: may publish events of any source"


@rule
def a_secret_is_readable_only_if_there_is_one(template: Template) -> Iterator[str]:
    for name, role in template.of_type("AWS::IAM::Role").items():
        for policy in role.get("Policies", []):
            for statement in policy["PolicyDocument"]["Statement"]:
                if "secretsmanager" in str(statement) and statement.get("Fn::If", [None])[0] != "HasSecret":
                    yield f"{name}: without a secret its policy names an empty ARN, which IAM refuses"

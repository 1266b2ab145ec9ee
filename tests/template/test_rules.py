"""The template keeps every rule of the checklist, and every rule objects to what it is there for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.template import rules
from tests.template.loading import Json, translated
from tests.template.rules import RULES, Template

if TYPE_CHECKING:
    from tests.template.rules import Rule

GONE: Final = object()
"""A planted defect that takes something away."""

OF_ANOTHER_ACCOUNT: Final = {"Fn::Sub": "arn:${AWS::Partition}:events:${AWS::Region}:*:rule/*"}
READ_SECRET: Final = {"Sid": "S", "Action": "secretsmanager:GetSecretValue", "Resource": {"Ref": "HuaweiSecretArn"}}

# For each rule the defects that it must object to: where (a resource's property, or a path from the top) and what.
DEFECTS: Final[dict[Rule, list[tuple[str, Any]]]] = {
    rules.every_handler_exists: [
        ("StopTaskFunction.Handler", "functions.stop_tusk.handler"),
        ("StopTaskFunction.Handler", "functions.stop_task.handle"),
    ],
    rules.every_function_runs_the_python_that_is_tested_on_arm64_by_default: [
        ("StopTaskFunction.Runtime", "python3.12"),
        ("StopTaskFunction.Architectures", GONE),
        ("/Parameters/Architecture/Default", "x86_64"),
    ],
    rules.every_function_has_a_log_of_its_own_that_is_not_kept_for_ever: [
        ("StopTaskFunction.LoggingConfig", GONE),
        ("StopTaskFunction.LoggingConfig.LogGroup", {"Ref": "StopTargetsLogGroup"}),
        ("StopTaskFunction.LoggingConfig.LogFormat", "Text"),
        ("StopTargetsLogGroup.RetentionInDays", GONE),
    ],
    rules.every_function_gets_the_variables_that_its_settings_read: [
        ("StopTaskFunction.Environment.Variables.MAX_ATTEMPTS", GONE),
        ("StopTaskFunction.Environment.Variables.ALLOW_STOP_ALL", "true"),
        ("StopTaskFunction.Handler", "functions.another.handler"),
    ],
    rules.an_empty_parameter_leaves_its_variable_out: [
        ("StopTargetsFunction.Environment.Variables.IOTDA_INSTANCE_ID", {"Ref": "IotdaInstanceId"}),
        (
            "StopTargetsFunction.Environment.Variables.IOTDA_INSTANCE_ID",
            {"Fn::If": ["HasIotdaEndpoint", {"Ref": "IotdaInstanceId"}, {"Ref": "AWS::NoValue"}]},
        ),
    ],
    rules.no_secret_is_a_parameter_or_a_variable: [
        ("/Parameters/HuaweiAccessKey", {"Type": "String", "NoEcho": True}),
        ("/Parameters/HuaweiSecretArn/AllowedPattern", ".*"),
        ("StopTaskFunction.Environment.Variables.HUAWEICLOUD_SDK_SK", "{{resolve:secretsmanager:huawei}}"),
    ],
    rules.a_delivery_that_fails_in_part_is_repeated_in_part: [
        ("StopTaskFunctionStopTaskQueue.FunctionResponseTypes", GONE),
    ],
    rules.a_flood_of_messages_cannot_flood_huawei_cloud: [
        ("StopTaskFunctionStopTaskQueue.ScalingConfig", GONE),
        ("/Parameters/MaximumConcurrency/MinValue", 1),
    ],
    rules.more_than_ten_messages_have_a_window: [
        ("StopTargetsFunctionStopTargetsQueue.MaximumBatchingWindowInSeconds", GONE),
    ],
    rules.a_message_stays_hidden_while_it_may_still_be_worked_on: [
        ("StopTaskQueue.VisibilityTimeout", 359),
        ("StopTargetsQueue.VisibilityTimeout", 720),
        ("StopTaskQueue.VisibilityTimeout", GONE),
        ("StopTaskFunction.Timeout", 61),
    ],
    rules.every_queue_has_a_dead_letter_queue_that_outlasts_it: [
        ("StopTaskQueue.RedrivePolicy", GONE),
        ("StopTaskQueue.RedrivePolicy.maxReceiveCount", 0),
        ("StopTaskQueue.RedrivePolicy.maxReceiveCount", 9),
        ("StopTaskQueue.RedrivePolicy.deadLetterTargetArn", {"Fn::GetAtt": ["StopTargetsDeadLetterQueue", "Arn"]}),
        ("StopTaskDeadLetterQueue.MessageRetentionPeriod", 345_600),
        ("StopTaskQueue.MessageRetentionPeriod", 1_209_600),
        ("StopTaskDeadLetterQueue.RedriveAllowPolicy", GONE),
        ("StopTaskQueue.QueueName", {"Fn::Sub": "${AWS::StackName}-stop-check"}),
    ],
    rules.every_queue_takes_the_longest_message: [
        ("StopTaskDeadLetterQueue.MaximumMessageSize", 262_144),
    ],
    rules.everything_at_rest_is_encrypted: [
        ("StopTaskDeadLetterQueue.SqsManagedSseEnabled", False),
        ("StopCommandsTopic.KmsMasterKeyId", GONE),
    ],
    rules.nothing_is_taken_over_plain_http: [
        ("StopTaskQueuePolicy.PolicyDocument.Statement.2", GONE),
        ("StopTaskDeadLetterQueuePolicy.Queues", [{"Ref": "StopTaskQueue"}]),
        ("StopCommandsTopicPolicy.PolicyDocument.Statement.0.Condition.Bool.aws:SecureTransport", "true"),
    ],
    rules.a_service_may_send_only_on_behalf_of_this_account: [
        ("StopTaskQueuePolicy.PolicyDocument.Statement.0.Condition", GONE),
        ("StopTaskQueuePolicy.PolicyDocument.Statement.1.Condition.ArnLike.aws:SourceArn", OF_ANOTHER_ACCOUNT),
        ("StopTaskQueuePolicy.PolicyDocument.Statement.0.Principal", "*"),
    ],
    rules.every_subscription_reaches_its_queue_and_loses_nothing: [
        ("StopTaskSubscription.RedrivePolicy", GONE),
        ("StopTaskQueuePolicy.PolicyDocument.Statement.0", GONE),
        ("StopTaskQueuePolicy.PolicyDocument.Statement.1", GONE),
        ("StopTaskDeadLetterQueuePolicy.PolicyDocument.Statement.0", GONE),
        ("/Resources/StopTaskSubscription", GONE),
    ],
    rules.every_command_is_sent_to_the_function_of_its_name: [
        ("StopTaskSubscription.FilterPolicyScope", GONE),
        ("StopTaskSubscription.FilterPolicy", {"command": ["stop_targets"]}),
        ("StopTaskSubscription.FilterPolicy.command", "stop_task"),
    ],
    rules.no_role_is_shared_or_reaches_beyond_this_template: [
        ("StopTaskFunction.Role", {"Fn::GetAtt": ["StopTargetsRole", "Arn"]}),
        ("StopTaskFunction.Role", "arn:aws:iam::1:role/admin"),
        ("StopTaskRole.ManagedPolicyArns", ["arn:aws:iam::aws:policy/service-role/AWSLambdaSQSQueueExecutionRole"]),
        ("StopTaskRole.Policies.0.PolicyDocument.Statement.0.Action", ["sqs:*"]),
        (
            "StopTaskRole.Policies.0.PolicyDocument.Statement.0.Resource",
            {"Fn::Sub": "arn:${AWS::Partition}:sqs:${AWS::Region}:${AWS::AccountId}:*"},
        ),
        ("/Resources/Shared", {"Type": "AWS::IAM::Policy", "Properties": {}}),
    ],
    rules.every_role_grants_what_its_function_needs_and_no_more: [
        ("StopTaskRole.Policies.0.PolicyDocument.Statement.0", GONE),
        ("StopTaskRole.Policies.0.PolicyDocument.Statement.1.Action", ["sqs:SendMessage", "sqs:PurgeQueue"]),
        ("StopTaskRole.Policies.0.PolicyDocument.Statement.1.Resource", {"Fn::GetAtt": ["StopTargetsQueue", "Arn"]}),
        ("StopTaskFunction.Environment.Variables.DEAD_LETTER_QUEUE_URL", {"Ref": "StopTargetsDeadLetterQueue"}),
    ],
    rules.no_role_may_publish_as_someone_else: [
        ("StopTaskRole.Policies.0.PolicyDocument.Statement.2.Condition", GONE),
    ],
    rules.a_secret_is_readable_only_if_there_is_one: [
        ("StopTaskRole.Policies.0.PolicyDocument.Statement.4", READ_SECRET),
    ],
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_template_keeps(rule: Rule) -> None:
    assert list(rule(Template(translated()))) == []


@pytest.mark.parametrize(
    ("rule", "path", "defect"),
    [
        pytest.param(rule, path, defect, id=f"{rule.__name__}: {path} = {'nothing' if defect is GONE else defect}")
        for rule, defects in DEFECTS.items()
        for path, defect in defects
    ],
)
def test_a_planted_defect_is_objected_to(rule: Rule, path: str, defect: Any) -> None:
    template = translated()
    plant(template, path, defect)
    assert list(rule(Template(template))) != []


def test_every_rule_is_shown_to_object() -> None:
    assert set(DEFECTS) == set(RULES)


def plant(template: Json, path: str, defect: Any) -> None:
    """Change one place: `Resource.Property.…`, or `/Parameters/…` from the top."""
    if path.startswith("/"):
        steps = path[1:].split("/")
    else:
        resource, *rest = path.split(".")
        steps = ["Resources", resource, "Properties", *rest]
    *way, last = steps
    place: Any = template
    for step in way:
        place = place[int(step) if isinstance(place, list) else step]
    key = int(last) if isinstance(place, list) else last
    if defect is GONE:
        del place[key]
    else:
        assert not isinstance(place, dict) or place.get(key) != defect, "that is no defect"
        place[key] = defect

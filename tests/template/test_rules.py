"""The template keeps every rule of the checklist, and every rule objects to what it is there for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.template import rules, watching
from tests.template.loading import Json, translated
from tests.template.rules import RULES, Template

if TYPE_CHECKING:
    from tests.template.rules import Rule

GONE: Final = object()
"""A planted defect that takes something away."""

FUNCTIONS: Final = ("StopTaskFunction", "StopTargetsFunction", "SweepStaleTasksFunction", "StopInWorkflowFunction")

OF_ANOTHER_ACCOUNT: Final = {"Fn::Sub": "arn:${AWS::Partition}:events:${AWS::Region}:*:rule/*"}
NOT_OF_THIS_ACCOUNT: Final = {"StringEquals": {"aws:SourceAccount": "*"}}
READ_SECRET: Final = {"Sid": "S", "Action": "secretsmanager:GetSecretValue", "Resource": {"Ref": "HuaweiSecretArn"}}

ANOTHER_DIMENSION: Final = [{"Name": "service", "Value": "stopline"}]
GAVE_UP: Final = "GaveUpAlarm.Metrics.1.MetricStat.Metric"
WIDGETS: Final = "Dashboard.DashboardBody.Fn::Sub.0"
LOG_LETS_IN: Final = "OutcomeLogResourcePolicy.PolicyDocument.Fn::Sub"
LOG_FAILURES: Final = "OutcomeLogAlarm.Metrics.1.MetricStat.Metric"

BUS_LETS_IN: Final = "OutcomeBusDeadLetterQueuePolicy.PolicyDocument.Statement"
UNDER_THE_KEY: Final = {"Fn::If": ["HasKey", {"Ref": "KmsKeyArn"}, {"Ref": "AWS::NoValue"}]}

TOKEN_FOR_HUAWEI: Final = "StopTargetsRole.Policies.0.PolicyDocument.Statement.7"

# For each rule the defects that it must object to: where (a resource's property, or a path from the top) and what (or
# a function that makes it of what is there).
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
    rules.no_function_waits_long_for_a_name: [
        *((f"{function}.Environment.Variables.RES_OPTIONS", GONE) for function in FUNCTIONS),
        ("StopTaskFunction.Environment.Variables.RES_OPTIONS", "timeout:1 attempts:2"),
        ("StopTaskFunction.Environment.Variables.RES_OPTIONS", "timeout:1"),
        ("StopTaskFunction.Environment.Variables.RES_OPTIONS", "timeout=1 attempts=1"),
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
        ("StopTaskQueue.RedrivePolicy.maxReceiveCount", 76),
        ("StopTargetsQueue.RedrivePolicy.maxReceiveCount", 18),
        ("/Parameters/CommandTtlSeconds/MaxValue", 43_200),
        ("StopTaskQueue.RedrivePolicy.deadLetterTargetArn", {"Fn::GetAtt": ["StopTargetsDeadLetterQueue", "Arn"]}),
        ("StopTaskDeadLetterQueue.MessageRetentionPeriod", 345_600),
        ("StopTaskQueue.MessageRetentionPeriod", 1_209_600),
        ("StopTaskDeadLetterQueue.RedriveAllowPolicy", GONE),
        ("StopTaskQueue.QueueName", {"Fn::Sub": "${AWS::StackName}-stop-check"}),
        ("SweepDeadLetterQueue.MessageRetentionPeriod", 345_600),
        ("FollowUpDeadLetterQueue.MessageRetentionPeriod", GONE),
        ("OutcomeBusDeadLetterQueue.MessageRetentionPeriod", 345_600),
        ("OutcomeLogDeadLetterQueue.MessageRetentionPeriod", GONE),
    ],
    rules.what_could_not_be_done_is_kept_apart_from_dead_letters: [
        ("SweepDeadLetterQueue.RedriveAllowPolicy", GONE),
        ("FollowUpDeadLetterQueue.RedriveAllowPolicy", {"redrivePermission": "allowAll"}),
        ("OutcomeBusDeadLetterQueue.RedriveAllowPolicy", GONE),
    ],
    rules.every_queue_takes_the_longest_message: [
        ("StopTaskDeadLetterQueue.MaximumMessageSize", 262_144),
    ],
    rules.everything_at_rest_is_encrypted_and_with_the_customers_key_if_there_is_one: [
        ("StopTaskDeadLetterQueue.SqsManagedSseEnabled", False),
        ("StopTaskDeadLetterQueue.SqsManagedSseEnabled", True),
        ("FollowUpDeadLetterQueue.KmsMasterKeyId", GONE),
        ("StopCommandsTopic.KmsMasterKeyId", GONE),
        ("StopCommandsTopic.KmsMasterKeyId", "alias/aws/sns"),
        ("SightingsTable.SSESpecification", GONE),
        ("SightingsTable.SSESpecification.KMSMasterKeyId", GONE),
        ("OutcomeBus.KmsKeyIdentifier", GONE),
        ("OutcomeBusDeadLetterQueue.SqsManagedSseEnabled", GONE),
        ("OutcomeBusDeadLetterQueue.KmsMasterKeyId", UNDER_THE_KEY),
        ("StopWorkflowLogGroup.KmsKeyId", {"Ref": "KmsKeyArn"}),
        ("OutcomeLogGroup.KmsKeyId", GONE),
        ("/Conditions/HasKey", {"Fn::Equals": [{"Ref": "KmsKeyArn"}, ""]}),
        ("/Resources/Bucket", {"Type": "AWS::S3::Bucket", "Properties": {}}),
    ],
    rules.a_bus_under_the_customers_key_keeps_what_that_key_fails_for: [
        ("OutcomeBus.DeadLetterConfig", GONE),
        ("OutcomeBus.DeadLetterConfig", {"Arn": {"Fn::GetAtt": ["OutcomeBusDeadLetterQueue", "Arn"]}}),
        ("OutcomeBus.DeadLetterConfig.Fn::If.0", "HasFollowUp"),
        ("OutcomeBus.DeadLetterConfig.Fn::If.1.Arn", {"Fn::GetAtt": ["FollowUpDeadLetterQueue", "Arn"]}),
        ("OutcomeBus.DeadLetterConfig.Fn::If.1.Arn", "arn:aws:sqs:eu-central-1:123456789012:another"),
        ("/Resources/OutcomeBusDeadLetterQueue/Condition", GONE),
        ("/Resources/OutcomeBusDeadLetterQueue/Condition", "HasFollowUp"),
        (f"{BUS_LETS_IN}.0", GONE),
        (f"{BUS_LETS_IN}.0.Condition", GONE),
        (f"{BUS_LETS_IN}.0.Condition.ArnEquals.aws:SourceArn", {"Fn::GetAtt": ["FollowUpRule", "Arn"]}),
        (f"{BUS_LETS_IN}.0.Principal", {"Service": "sns.amazonaws.com"}),
    ],
    rules.paused_nothing_begins_and_nothing_is_lost: [
        ("SweepStaleTasksFunction.ReservedConcurrentExecutions", GONE),
        ("StopTaskFunction.ReservedConcurrentExecutions", 0),
        ("StopTaskFunctionStopTaskQueue.Enabled", GONE),
        ("StopTargetsFunctionStopTargetsQueue.Enabled", {"Fn::If": ["Runs", "true", "false"]}),
        ("StopTargetsFunctionStopTargetsQueue.Enabled", {"Fn::If": ["Runs", False, True]}),
        ("/Conditions/SweepsBatches", {"Fn::Not": [{"Fn::Equals": [{"Ref": "BatchSweepMode"}, "off"]}]}),
        ("/Parameters/Paused/Default", "true"),
    ],
    rules.what_is_deleted_or_kept_with_the_stack_is_for_the_operator_to_say: [
        ("/Resources/StopTaskQueue/DeletionPolicy", GONE),
        ("/Resources/OutcomeBus/UpdateReplacePolicy", "Retain"),
        ("/Resources/OutcomeBusDeadLetterQueue/DeletionPolicy", GONE),
        ("/Resources/SightingsTable/DeletionPolicy", "Retain"),
        ("/Resources/OutcomeLogGroup/DeletionPolicy", GONE),
        ("/Resources/OutcomeLogGroup/UpdateReplacePolicy", "Delete"),
        ("/Resources/StopTaskLogGroup/DeletionPolicy", {"Ref": "OnDeletion"}),
        ("/Parameters/OnDeletion/AllowedValues", ["Delete", "Keep"]),
    ],
    rules.every_parameter_is_explained_and_in_one_group: [
        ("/Parameters/Another", {"Type": "String", "Description": "Another.", "AllowedValues": ["a"]}),
        ("/Parameters/MaxAttempts/Description", ""),
        ("/Parameters/HuaweiProjectId/AllowedPattern", GONE),
        ("/Parameters/HuaweiProjectId/ConstraintDescription", GONE),
        ("/Metadata/AWS::CloudFormation::Interface/ParameterGroups/1/Parameters/0", "MaxAttempts"),
        ("/Metadata/AWS::CloudFormation::Interface/ParameterGroups/1/Parameters/0", "CommandTtl"),
    ],
    rules.nothing_is_taken_over_plain_http: [
        ("StopTaskQueuePolicy.PolicyDocument.Statement.2", GONE),
        ("StopTaskDeadLetterQueuePolicy.Queues", [{"Ref": "StopTaskQueue"}]),
        ("StopCommandsTopicPolicy.PolicyDocument.Statement.0.Condition.Bool.aws:SecureTransport", "true"),
        ("SweepDeadLetterQueuePolicy.PolicyDocument.Statement.0", GONE),
        (f"{BUS_LETS_IN}.1", GONE),
    ],
    rules.a_service_may_send_only_on_behalf_of_this_account: [
        ("StopTaskQueuePolicy.PolicyDocument.Statement.0.Condition", GONE),
        ("StopTaskQueuePolicy.PolicyDocument.Statement.1.Condition.ArnLike.aws:SourceArn", OF_ANOTHER_ACCOUNT),
        ("StopTaskQueuePolicy.PolicyDocument.Statement.0.Principal", "*"),
        ("FollowUpDeadLetterQueuePolicy.PolicyDocument.Statement.0.Condition", GONE),
        (f"{BUS_LETS_IN}.0.Condition", {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}),
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
        ("StopTaskSubscription.FilterPolicy.$or.0.command", ["stop_task"]),
        ("StopTaskSubscription.FilterPolicy.$or.1", GONE),
        ("StopTaskSubscription.FilterPolicy.$or.2", GONE),
        ("StopTaskSubscription.FilterPolicy.$or.2.command", GONE),
        ("StopTaskSubscription.FilterPolicy.$or.2.source", [{"exists": True}]),
        ("StopTargetsSubscription.FilterPolicy", {"command": ["stop_targets"]}),
        ("StopTargetsSubscription.FilterPolicy.$or.1.detail.command", ["stop_task"]),
        ("StopTargetsSubscription.FilterPolicy.$or.1.command", GONE),
        ("StopTargetsSubscription.FilterPolicy.$or.1.detail-type", GONE),
    ],
    rules.who_may_publish_to_the_topic_is_said_by_iam_alone: [
        ("StopCommandsTopicPolicy.PolicyDocument.Statement.0.Effect", "Allow"),
        (
            "StopCommandsTopicPolicy.PolicyDocument.Statement",
            [{"Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"}, "Action": "sns:Publish"}],
        ),
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
        (
            "StopWorkflowRole.Policies.0.PolicyDocument.Statement.1.Action",
            ["logs:CreateLogDelivery", "logs:PutLogEvents"],
        ),
        ("SweepScheduleRole.Policies.0.PolicyDocument.Statement.0.Resource", "*"),
        ("StopTaskRole.Policies.0.PolicyDocument.Statement.6.Fn::If.1.Action", ["xray:*"]),
        ("StopTaskRole.Policies.0.PolicyDocument.Statement.5.Fn::If.1.Resource", "*"),
    ],
    rules.every_role_grants_what_its_function_needs_and_no_more: [
        ("StopTaskRole.Policies.0.PolicyDocument.Statement.0", GONE),
        ("StopTaskRole.Policies.0.PolicyDocument.Statement.1.Action", ["sqs:SendMessage", "sqs:PurgeQueue"]),
        ("StopTaskRole.Policies.0.PolicyDocument.Statement.1.Resource", {"Fn::GetAtt": ["StopTargetsQueue", "Arn"]}),
        ("SweepStaleTasksRole.Policies.0.PolicyDocument.Statement.1", GONE),
        ("SweepStaleTasksRole.Policies.0.PolicyDocument.Statement.2.Action", ["dynamodb:PutItem", "dynamodb:Scan"]),
        ("SweepStaleTasksFunction.Environment.Variables.SIGHTINGS_TABLE_NAME", GONE),
        ("StopInWorkflowRole.Policies.0.PolicyDocument.Statement.0.Action", ["events:PutEvents", "sqs:SendMessage"]),
        ("StopTaskRole.Policies.0.PolicyDocument.Statement.5", GONE),
        ("StopInWorkflowRole.Policies.0.PolicyDocument.Statement.3", GONE),
    ],
    rules.every_service_may_do_only_what_it_is_there_for: [
        ("SweepScheduleRole.Policies.0.PolicyDocument.Statement.1", GONE),
        ("SweepCheckTasksSchedule.Target.Arn", {"Fn::GetAtt": ["StopTaskFunction", "Arn"]}),
        ("SweepBatchTasksSchedule.Target.RoleArn", {"Fn::GetAtt": ["SweepStaleTasksRole", "Arn"]}),
        (
            "StopWorkflowRole.Policies.0.PolicyDocument.Statement.0.Resource",
            {"Fn::GetAtt": ["StopTaskFunction", "Arn"]},
        ),
        ("StopWorkflowRole.Policies.0.PolicyDocument.Statement.1", GONE),
        ("FollowUpRole.Policies.0.PolicyDocument.Statement.0.Resource", {"Ref": "StopWorkflow"}),
        ("FollowUpRule.Targets.0.RoleArn", GONE),
    ],
    rules.a_function_works_on_the_queue_that_invokes_it: [
        ("StopTaskFunction.Environment.Variables.DEAD_LETTER_QUEUE_URL", {"Ref": "StopTargetsDeadLetterQueue"}),
        ("StopTaskFunction.Environment.Variables.COMMAND_QUEUE_URL", {"Ref": "StopTargetsQueue"}),
        ("StopTaskFunction.Environment.Variables.VISIBILITY_TIMEOUT_SECONDS", "1801"),
        ("StopTargetsQueue.VisibilityTimeout", 3600),
    ],
    rules.a_service_takes_its_own_role_for_this_account_only: [
        ("SweepScheduleRole.AssumeRolePolicyDocument.Statement.0.Condition", GONE),
        ("StopWorkflowRole.AssumeRolePolicyDocument.Statement.0.Condition", NOT_OF_THIS_ACCOUNT),
        ("FollowUpRole.AssumeRolePolicyDocument.Statement.0.Principal", {"AWS": "*"}),
        ("StopTaskRole.AssumeRolePolicyDocument.Statement.0.Principal", {"Service": "states.amazonaws.com"}),
    ],
    rules.no_role_may_publish_as_someone_else: [
        ("StopTaskRole.Policies.0.PolicyDocument.Statement.2.Condition", GONE),
        ("StopTaskRole.Policies.0.PolicyDocument.Statement.2.Condition.Null", GONE),
        (
            "SweepStaleTasksRole.Policies.0.PolicyDocument.Statement.3.Condition.StringEquals",
            {"events:detail-type": "Stop Outcome"},
        ),
    ],
    rules.a_timer_does_nothing_until_it_is_told_to: [
        ("SweepCheckTasksSchedule.State", "ENABLED"),
        ("SweepBatchTasksSchedule.State", GONE),
        ("/Parameters/BatchSweepMode/Default", "report"),
        ("/Conditions/SweepsChecks", {"Fn::Equals": ["on", "on"]}),
        ("/Conditions/StopsChecks", {"Fn::Not": [{"Fn::Equals": [{"Ref": "CheckSweepMode"}, "report"]}]}),
        ("SweepBatchTasksSchedule.Target.Input.Fn::Sub.1.DryRun", "true"),
    ],
    rules.a_timer_asks_for_what_the_sweep_takes: [
        ("SweepCheckTasksSchedule.Target.Input", GONE),
        ("SweepCheckTasksSchedule.Target.Input", '{"sweep": "check_tasks", "older_than": "PT2H"}'),
        ("SweepBatchTasksSchedule.Target.Input.Fn::Sub.1.Protect", '""'),
        ("SweepBatchTasksSchedule.Target.Input.Fn::Sub.1.TaskTypes", {"Ref": "BatchSweepTaskTypes"}),
        ("/Conditions/ProtectsBatches", {"Fn::Not": [{"Fn::Equals": [{"Ref": "CheckSweepProtect"}, "-"]}]}),
        ("/Parameters/BatchSweepOlderThan/Default", "P1M"),
        ("/Parameters/CheckSweepLimit/Default", 5000),
    ],
    rules.a_timer_runs_when_scheduler_understands_its_expression: [
        ("/Parameters/CheckSweepSchedule/Default", "rate(1 hours)"),
        ("/Parameters/CheckSweepSchedule/Default", "rate(15 minute)"),
        ("/Parameters/BatchSweepSchedule/Default", "cron(0 3 * * *)"),
        ("/Parameters/BatchSweepSchedule/Default", "cron(0 3 * * * *)"),
        ("SweepBatchTasksSchedule.ScheduleExpression", "hourly"),
    ],
    rules.a_timer_runs_in_the_zone_that_was_chosen: [
        ("SweepCheckTasksSchedule.ScheduleExpressionTimezone", GONE),
        ("SweepBatchTasksSchedule.ScheduleExpressionTimezone", "UTC"),
        ("SweepBatchTasksSchedule.ScheduleExpressionTimezone", {"Ref": "BatchSweepSchedule"}),
        ("/Parameters/SweepTimezone/Default", "Asia/Shanghai"),
    ],
    rules.what_a_timer_or_a_rule_cannot_deliver_is_tried_again_and_kept: [
        ("SweepCheckTasksSchedule.Target.RetryPolicy", GONE),
        ("SweepBatchTasksSchedule.Target.RetryPolicy.MaximumRetryAttempts", 0),
        ("SweepBatchTasksSchedule.Target.DeadLetterConfig", GONE),
        ("SweepCheckTasksSchedule.FlexibleTimeWindow.Mode", "OFF"),
        ("SweepStaleTasksFunctionEventInvokeConfig.DestinationConfig", GONE),
        ("FollowUpRule.Targets.0.DeadLetterConfig", GONE),
        ("FollowUpDeadLetterQueuePolicy.PolicyDocument.Statement.0", GONE),
        ("OutcomeLogRule.Targets.0.RetryPolicy", GONE),
        ("OutcomeLogRule.Targets.0.DeadLetterConfig", GONE),
        ("OutcomeLogDeadLetterQueuePolicy.PolicyDocument.Statement.0", GONE),
    ],
    rules.every_event_of_a_bus_is_written_to_a_log: [
        ("/Resources/OutcomeLogRule", GONE),
        ("OutcomeLogRule.EventPattern", {"source": ["stopline"]}),
        ("OutcomeLogRule.EventPattern.detail-type", ["Stop Outcome"]),
        ("OutcomeLogRule.EventBusName", GONE),
        ("OutcomeLogRule.Targets.0.Arn", {"Fn::GetAtt": ["OutcomeLogGroup", "Arn"]}),
        ("OutcomeLogRule.Targets.0.RoleArn", {"Fn::GetAtt": ["FollowUpRole", "Arn"]}),
        ("OutcomeLogGroup.LogGroupName.Fn::Sub", "/aws/events/outcomes"),
        ("OutcomeLogGroup.LogGroupName.Fn::Sub", "/stopline/${AWS::StackName}-outcomes"),
        ("/Parameters/OutcomeLogRetentionDays/AllowedValues/0", GONE),
        ("/Parameters/OutcomeLogRetentionDays/Default", 0),
        ("/Resources/OutcomeLogRule/Condition", "HasKey"),
        ("/Resources/OutcomeLogGroup/Condition", "LetsOutcomesBeLogged"),
        ("/Conditions/LogsOutcomes", {"Fn::Not": [{"Fn::Equals": [{"Ref": "OutcomeLogRetentionDays"}, "1"]}]}),
        ("/Resources/OutcomeLogResourcePolicy", GONE),
        ("OutcomeLogResourcePolicy.PolicyName", "outcome-log"),
        (LOG_LETS_IN, lambda text: text.replace("${OutcomeLogRule.Arn}", "arn:aws:events:*:*:rule/*")),
        (LOG_LETS_IN, lambda text: text.replace(', "delivery.logs.amazonaws.com"', "")),
        (LOG_LETS_IN, lambda text: text.replace("logs:PutLogEvents", "logs:*")),
        (LOG_LETS_IN, lambda text: text.replace("${OutcomeLogGroup}", "/aws/events/*")),
        (LOG_LETS_IN, lambda text: text.replace('"Allow"', '"Deny"')),
    ],
    rules.a_rule_matches_lists_of_values: [
        ("FollowUpRule.EventPattern.source", "stopline"),
        ("FollowUpRule.EventPattern.detail.status", "failed"),
    ],
    rules.every_way_of_a_workflow_leads_to_a_state: [
        ("StopWorkflow.Definition.StartAt", "Nowhere"),
        ("StopWorkflow.Definition.States.Stop.Next", "Nowhere"),
        ("StopWorkflow.Definition.States.Stop.Catch.0.Next", "Nowhere"),
        ("StopWorkflow.Definition.States.WhatBecameOfIt.Default", "Nowhere"),
        ("StopWorkflow.Definition.States.WhatBecameOfIt.Choices.1.Next", "Nowhere"),
    ],
    rules.every_state_of_a_workflow_is_reached_and_comes_to_an_end: [
        ("StopWorkflow.Definition.States.WhatBecameOfIt.Choices.2", GONE),
        ("StopWorkflow.Definition.States.Stop.Next", "Stop"),
        ("StopWorkflow.Definition.States.WaitForTheRest.Next", GONE),
        ("StopWorkflow.Definition.States.StopExpired.Next", "Stopped"),
        ("StopWorkflow.Definition.States.StopExpired", {"Type": "Wait", "Seconds": 1, "Next": "StopExpired"}),
    ],
    rules.a_workflow_matches_errors_that_exist: [
        ("StopWorkflow.Definition.States.Stop.Retry.0.ErrorEquals", ["HuaweiUnavailable", "PublishFailed"]),
        ("StopWorkflow.Definition.States.Stop.Catch.0.ErrorEquals", ["InvalidCommand"]),
        ("StopWorkflow.Definition.States.Stop.Catch.0.ErrorEquals", ["States.ALL"]),
    ],
    rules.a_workflow_tries_again_what_may_pass_and_nothing_else: [
        ("StopWorkflow.Definition.States.Stop.Retry", GONE),
        ("StopWorkflow.Definition.States.Stop.Retry.0.ErrorEquals", ["HuaweiUnavailable"]),
        ("StopWorkflow.Definition.States.Stop.Retry.1.ErrorEquals", ["DeploymentFault", "CommandRejected"]),
        ("StopWorkflow.Definition.States.Stop.Catch.0", GONE),
        ("StopWorkflow.Definition.States.Stop.Catch.1", GONE),
    ],
    rules.a_workflow_waits_longer_each_time_and_not_for_ever: [
        ("StopWorkflow.Definition.TimeoutSeconds", GONE),
        ("StopWorkflow.Definition.States.Stop.TimeoutSeconds", GONE),
        ("StopWorkflow.Definition.States.Stop.TimeoutSeconds", 300),
        ("StopWorkflow.Definition.States.Stop.Retry.0.MaxDelaySeconds", GONE),
        ("StopWorkflow.Definition.States.Stop.Retry.2.JitterStrategy", GONE),
    ],
    rules.a_workflow_logs_its_errors_and_no_data: [
        ("StopWorkflow.LoggingConfiguration", GONE),
        ("StopWorkflow.LoggingConfiguration.IncludeExecutionData", True),
        ("StopWorkflow.LoggingConfiguration.Level", "ALL"),
        ("StopWorkflowLogGroup.LogGroupName", {"Fn::Sub": "/aws/states/${AWS::StackName}-stop-workflow"}),
        ("StopWorkflowLogGroup.RetentionInDays", GONE),
    ],
    rules.what_hangs_on_a_parameter_is_granted_only_if_it_is_given: [
        ("StopTaskRole.Policies.0.PolicyDocument.Statement.4", READ_SECRET),
        ("StopTaskRole.Policies.0.PolicyDocument.Statement.5.Fn::If.0", "HasSecret"),
        ("StopWorkflowRole.Policies.0.PolicyDocument.Statement.2.Fn::If.0", "HasKey"),
    ],
    rules.a_role_can_say_who_it_is_to_huawei_cloud_only: [
        (f"{TOKEN_FOR_HUAWEI}.Fn::If.1.Condition", GONE),
        *(
            (f"{TOKEN_FOR_HUAWEI}.Fn::If.1.Condition.{operator}", GONE)
            for operator in ("ForAllValues:StringEquals", "StringEquals", "NumericLessThanEquals", "Null")
        ),
        (f"{TOKEN_FOR_HUAWEI}.Fn::If.1.Condition.NumericLessThanEquals", {"sts:DurationSeconds": 3600}),
        (f"{TOKEN_FOR_HUAWEI}.Fn::If.1.Condition.StringEquals", {"sts:SigningAlgorithm": ["RS256", "ES384"]}),
    ],
    rules.the_key_is_used_only_for_what_is_encrypted_with_it: [
        ("StopTaskRole.Policies.0.PolicyDocument.Statement.5.Fn::If.1.Condition", GONE),
        (
            "StopTargetsRole.Policies.0.PolicyDocument.Statement.5.Fn::If.1.Condition.StringEquals.kms:ViaService",
            {"Fn::Sub": "s3.${AWS::Region}.${AWS::URLSuffix}"},
        ),
    ],
    watching.every_function_writes_its_metrics_where_the_alarms_look: [
        ("StopTaskFunction.Environment.Variables.METRICS_NAMESPACE", GONE),
        ("StopTaskFunction.Environment.Variables.METRICS_NAMESPACE", "Stopline"),
    ],
    watching.every_alarm_watches_a_metric_that_somebody_writes: [
        (f"{GAVE_UP}.MetricName", "TargetsGivenUp"),
        (f"{GAVE_UP}.Namespace", "Stopline"),
        (f"{GAVE_UP}.Dimensions", ANOTHER_DIMENSION),
        (f"{GAVE_UP}.Dimensions.0.Value", "stop-task"),
        (f"{GAVE_UP}.Dimensions.0.Value", "sweep_stale_tasks"),
        (f"{GAVE_UP}.Dimensions", GONE),
        ("NotAcknowledgedAlarm.Metrics.1.MetricStat.Metric.Dimensions.0.Value", "stop_in_workflow"),
        ("ErrorsAlarm.Metrics.1.MetricStat.Metric.MetricName", "Error"),
        ("StopTaskDeadLettersAlarm.Dimensions.0.Value", {"Ref": "StopTaskDeadLetterQueue"}),
        ("StopTaskDeadLettersAlarm.Dimensions.0.Value", {"Fn::GetAtt": ["StopTaskLogGroup", "QueueName"]}),
        ("WorkflowFailedAlarm.Metrics.1.MetricStat.Metric.Dimensions.0.Name", "StateMachineName"),
        (f"{LOG_FAILURES}.MetricName", "FailedInvocation"),
        (f"{LOG_FAILURES}.Dimensions.1.Value", {"Ref": "OutcomeLogRule"}),
    ],
    watching.every_alarm_adds_up_all_that_it_watches: [
        ("GaveUpAlarm.Metrics.1.ReturnData", True),
        ("GaveUpAlarm.Metrics.0.Expression", "SUM(stop_task)"),
        ("GaveUpAlarm.DatapointsToAlarm", GONE),
        ("GaveUpAlarm.DatapointsToAlarm", 2),
        ("NotAcknowledgedAlarm.EvaluationPeriods", 3),
        ("NotAcknowledgedAlarm.DatapointsToAlarm", GONE),
        ("GaveUpAlarm.EvaluationPeriods", 1),
    ],
    watching.no_alarm_takes_silence_for_trouble: [
        ("StopTaskLateAlarm.TreatMissingData", GONE),
        ("GaveUpAlarm.TreatMissingData", "breaching"),
    ],
    watching.one_is_too_many_of_what_an_alarm_counts: [
        ("StopTaskDeadLettersAlarm.Threshold", 1),
        ("RefusedAlarm.ComparisonOperator", "LessThanThreshold"),
        ("NotAcknowledgedAlarm.Threshold", 1),
    ],
    watching.what_is_given_back_is_seen_when_the_fault_lasts_and_as_long_as_it_does: [
        ("NotAcknowledgedAlarm.DatapointsToAlarm", 2),
        ("NotAcknowledgedAlarm.DatapointsToAlarm", 4),
        ("NotAcknowledgedAlarm.EvaluationPeriods", 90),
        ("NotAcknowledgedAlarm.Metrics.1.MetricStat.Period", 300),
        ("StopTargetsQueue.VisibilityTimeout", 3600),
    ],
    watching.every_alarm_is_sent_to_the_topic_that_the_operator_gives: [
        ("LostAlarm.AlarmActions", GONE),
        ("LostAlarm.OKActions", [{"Ref": "AlarmTopicArn"}]),
    ],
    watching.every_alarm_goes_off_by_its_name_and_says_where_to_read_on: [
        ("LostAlarm.AlarmName", GONE),
        ("LostAlarm.AlarmDescription", "A message is in no queue."),
    ],
    watching.every_queue_is_watched: [
        ("/Resources/SweepDeadLettersAlarm", GONE),
        ("/Resources/StopTargetsLateAlarm", GONE),
        ("/Resources/FollowUpDeadLettersAlarm", GONE),
        ("/Resources/OutcomeBusDeadLettersAlarm", GONE),
        ("OutcomeLogAlarm.Metrics.3", GONE),
        ("LostAlarm.Metrics.2", GONE),
    ],
    watching.every_rule_that_writes_a_log_is_watched: [
        ("OutcomeLogAlarm.Metrics.1", GONE),
        ("OutcomeLogAlarm.Metrics.2", GONE),
        (f"{LOG_FAILURES}.Dimensions.0", GONE),
        ("OutcomeLogRule.Name", GONE),
    ],
    watching.every_function_is_watched: [
        ("GaveUpAlarm.Metrics.3", GONE),
        ("DeploymentFaultsAlarm.Metrics.4", GONE),
        ("/Resources/NotAcknowledgedAlarm", GONE),
        ("NotAcknowledgedAlarm.Metrics.1", GONE),
        ("ErrorsAlarm.Metrics.1", GONE),
        ("LostAlarm.Metrics.3", GONE),
        ("NearTimeoutAlarm.Metrics.2", GONE),
        ("WorkflowFailedAlarm.Metrics.2", GONE),
    ],
    watching.a_command_is_late_at_half_of_its_life: [
        ("StopTaskLateAlarm.Threshold", 100),
        ("StopTaskLateAlarm.Metrics.0.Expression", "age / 36"),
    ],
    watching.a_function_is_near_its_timeout_when_it_has_overrun_the_end_that_it_set_itself: [
        ("StopTaskFunction.Timeout", 59),
        ("NearTimeoutAlarm.Threshold", -3000),
        ("NearTimeoutAlarm.Metrics.1.MetricStat.Stat", "Average"),
    ],
    watching.the_dashboard_shows_what_exists: [
        (WIDGETS, lambda body: body.replace("TargetsGaveUp", "TargetsGivenUp")),
        (WIDGETS, lambda body: body.replace(",Function}", ",service}")),
        (WIDGETS, lambda body: body.replace("${StopTaskQueue.QueueName}", "${StopTaskQueue}s")),
        (WIDGETS, lambda body: body.replace('"Function", "stop_task"', '"Function", "stop-task"')),
    ],
    watching.the_dashboard_shows_everything: [
        (WIDGETS, lambda body: body.replace("TargetsGaveUp", "TargetsRefused")),
        (WIDGETS, lambda body: body.replace("${LostAlarm.Arn}", "${FollowUpDeadLettersAlarm.Arn}")),
        (WIDGETS, lambda body: body.replace("SOURCE '${StopTaskLogGroup}' | ", "")),
        (WIDGETS, lambda body: body.replace("${OutcomeLog}", "")),
        ("Dashboard.DashboardBody.Fn::Sub.1.OutcomeLog", {"Fn::Sub": '"${OutcomeLogAlarm.Arn}",'}),
    ],
    watching.the_dashboard_is_laid_out_without_overlaps: [
        (WIDGETS, lambda body: body.replace('"x": 16', '"x": 15')),
        (WIDGETS, lambda body: body.replace('"x": 16', '"x": 17')),
    ],
}


def _told(defect: Any, number: int) -> str:
    return "nothing" if defect is GONE else f"change {number}" if callable(defect) else str(defect)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_template_keeps(rule: Rule) -> None:
    assert list(rule(Template(translated()))) == []


@pytest.mark.parametrize(
    ("rule", "path", "defect"),
    [
        pytest.param(rule, path, defect, id=f"{rule.__name__}: {path} = {_told(defect, number)}")
        for rule, defects in DEFECTS.items()
        for number, (path, defect) in enumerate(defects)
    ],
)
def test_a_planted_defect_is_objected_to(rule: Rule, path: str, defect: Any) -> None:
    template = translated()
    plant(template, path, defect)
    assert list(rule(Template(template))) != []


def test_every_rule_is_shown_to_object() -> None:
    assert set(DEFECTS) == set(RULES)


def plant(template: Json, path: str, defect: Any) -> None:
    """Change one place: `Resource.Property.…`, or `/Parameters/…` from the top. A function makes the new of the old."""
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
    if callable(defect):
        defect = defect(place[key])
    if defect is GONE:
        del place[key]
    else:
        assert not isinstance(place, dict) or place.get(key) != defect, "that is no defect"
        place[key] = defect

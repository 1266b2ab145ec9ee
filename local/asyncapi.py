"""The AsyncAPI document: which messages go through which queue, topic and bus, as `template.yaml` makes them.

Written in the words of AsyncAPI 3.0.0 (https://www.asyncapi.com/docs/reference/specification/v3.0.0) with the bindings
that it knows: sqs 0.2.0 and sns 0.1.0. There are none for EventBridge. The payloads are the schemas of
`events/schemas`, which keep to what AsyncAPI's own schema format (draft 07 and more) understands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from shared.publishing import COMMAND_ID, FAILURE_REASON, SENT_AT
from shared.traces import TRACEPARENT, TRACESTATE

if TYPE_CHECKING:
    from collections.abc import Mapping

type Json = dict[str, Any]

_STACK: Final = "${AWS::StackName}"
_STACK_PARAMETER: Final[Json] = {"stack": {"$ref": "#/components/parameters/stack"}}
_SQS: Final = {"bindingVersion": "0.2.0"}
_SNS: Final = {"bindingVersion": "0.1.0"}

_ENVELOPES: Final = (
    "As the body itself, as the Message of an SNS notification in the body, or as the detail of an EventBridge event "
    "in the body, one in the other too. A body holds at most 1 MiB. Message attributes traceparent and tracestate, of "
    "type String, are the defaults of the fields."
)
_DEAD_LETTER: Final = (
    "What could not be understood, body intact, or what is left of a command that could not be finished. What SQS "
    "itself moved here, after maxReceiveCount deliveries, has no attributes."
)


def asyncapi(template: Mapping[str, Any], *, version: str) -> Json:
    """Give the document of what `template` (short forms written out) makes. `version`: of Stopline."""
    resources = template["Resources"]
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Stopline",
            "version": version,
            "description": "Stops CodeArts Check tasks and targets of IoTDA batch tasks on Huawei Cloud, and says what "
            "became of each target. Messages come at least once and in any order: drop repeats of an outcome by its "
            "outcome_id. Channels are named as the resources of template.yaml.",
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "sqs": _server("sqs", "sqs", "Queues: commands in, and what could not be done."),
            "sns": _server("sns", "sns", "The topic for commands of both kinds."),
            "eventbridge": _server("events", "eventbridge", "The bus: outcomes, and reports of sweeps."),
        },
        "channels": {
            "StopTaskQueue": _queue(resources, "StopTaskQueue", "stopTask", "Commands to stop a check."),
            "StopTargetsQueue": _queue(
                resources, "StopTargetsQueue", "stopTargets", "Commands to stop targets of a batch task."
            ),
            "StopCommandsTopic": {
                "address": None,
                "description": "Commands of both kinds. Its ARN is an output of the stack.",
                "servers": [{"$ref": "#/servers/sns"}],
                "messages": _messages("stopTask", "stopTargets"),
            },
            "OutcomeBus": {
                "address": _named(resources["OutcomeBus"]["Properties"]["Name"]),
                "description": "Make a rule on it, with the source stopline and one of the detail types.",
                "servers": [{"$ref": "#/servers/eventbridge"}],
                "messages": _messages("stopOutcome", "sweepCompleted"),
                "parameters": _STACK_PARAMETER,
            },
            "StopTaskDeadLetterQueue": _queue(resources, "StopTaskDeadLetterQueue", "deadLetter", _DEAD_LETTER),
            "StopTargetsDeadLetterQueue": _queue(resources, "StopTargetsDeadLetterQueue", "deadLetter", _DEAD_LETTER),
        },
        "operations": {
            "receiveStopTask": _operation("receive", "StopTaskQueue", "Stop a check.", "stopTask"),
            "receiveStopTargets": _operation("receive", "StopTargetsQueue", "Stop targets.", "stopTargets"),
            "receiveByTopic": {
                **_operation(
                    "receive",
                    "StopCommandsTopic",
                    "Pass each command to the queue of its kind.",
                    "stopTask",
                    "stopTargets",
                ),
                "bindings": {
                    "sns": {
                        "consumers": [
                            _subscription(resources, "StopTaskSubscription"),
                            _subscription(resources, "StopTargetsSubscription"),
                        ],
                        **_SNS,
                    }
                },
            },
            "sendOutcome": _operation("send", "OutcomeBus", "Say what became of a command.", "stopOutcome"),
            "sendReport": _operation("send", "OutcomeBus", "Say what a sweep found.", "sweepCompleted"),
            "setAsideStopTask": _operation(
                "send", "StopTaskDeadLetterQueue", "Set aside what cannot be done.", "deadLetter"
            ),
            "setAsideStopTargets": _operation(
                "send", "StopTargetsDeadLetterQueue", "Set aside what cannot be done.", "deadLetter"
            ),
        },
        "components": {
            "parameters": {
                "stack": {"description": "Name of the CloudFormation stack.", "default": "stopline"},
            },
            "messages": {
                "stopTask": _message("StopTask", "stop-task.json", _ENVELOPES),
                "stopTargets": _message("StopTargets", "stop-targets.json", _ENVELOPES),
                "stopOutcome": _message("StopOutcome", "stop-outcome.json", "An event of the bus."),
                "sweepCompleted": _message("SweepCompleted", "sweep-completed.json", "An event of the bus."),
                "deadLetter": {
                    "name": "DeadLetter",
                    "description": _DEAD_LETTER,
                    "headers": {
                        "description": "Message attributes of SQS, all of type String.",
                        "type": "object",
                        "properties": {
                            FAILURE_REASON: {
                                "description": "Why it is here: gave_up, expired, or rejected and what is wrong.",
                                "type": "string",
                            },
                            SENT_AT: {
                                "description": "When it was first sent, for commands that name no time of their own.",
                                "type": "string",
                                "format": "date-time",
                            },
                            COMMAND_ID: {
                                "description": "Of a rejected message: the id under which its outcome is known.",
                                "type": "string",
                            },
                            TRACEPARENT: {"description": "Of a rejected message.", "type": "string"},
                            TRACESTATE: {"description": "Of a rejected message.", "type": "string"},
                        },
                    },
                    "payload": {"description": "A command, or whatever else was sent."},
                },
            },
        },
    }


def _server(host: str, protocol: str, description: str) -> Json:
    return {
        "host": f"{host}.{{region}}.amazonaws.com",
        "protocol": protocol,
        "description": description,
        "variables": {"region": {"description": "AWS region of the stack.", "default": "eu-west-1"}},
    }


def _queue(resources: Mapping[str, Any], logical_id: str, message: str, description: str) -> Json:
    properties = resources[logical_id]["Properties"]
    binding = {"queue": _queue_binding(properties)}
    if redrive := properties.get("RedrivePolicy"):
        dead_letters = _queue_binding(resources[_logical_id(redrive["deadLetterTargetArn"])]["Properties"])
        binding["queue"]["redrivePolicy"] = {
            "deadLetterQueue": {"name": dead_letters["name"]},
            "maxReceiveCount": redrive["maxReceiveCount"],
        }
        binding["deadLetterQueue"] = dead_letters
    return {
        "address": _named(properties["QueueName"]),
        "description": description,
        "servers": [{"$ref": "#/servers/sqs"}],
        "messages": _messages(message),
        "parameters": _STACK_PARAMETER,
        "bindings": {"sqs": {**binding, **_SQS}},
    }


def _queue_binding(properties: Mapping[str, Any]) -> Json:
    words = {"visibilityTimeout": "VisibilityTimeout", "messageRetentionPeriod": "MessageRetentionPeriod"}
    numbers = {word: properties[name] for word, name in words.items() if name in properties}
    return {"name": _named(properties["QueueName"]), "fifoQueue": False, **numbers}


def _subscription(resources: Mapping[str, Any], logical_id: str) -> Json:
    properties = resources[logical_id]["Properties"]

    def queue(arn: Json) -> Json:
        return {"name": _named(resources[_logical_id(arn)]["Properties"]["QueueName"])}

    return {
        "protocol": properties["Protocol"],
        "endpoint": queue(properties["Endpoint"]),
        **_filter(properties["FilterPolicy"]),
        "filterPolicyScope": properties["FilterPolicyScope"],
        "rawMessageDelivery": properties.get("RawMessageDelivery", False),
        "redrivePolicy": {"deadLetterQueue": queue(properties["RedrivePolicy"]["deadLetterTargetArn"])},
    }


def _filter(policy: Mapping[str, Any]) -> Json:
    """Give a filter policy: as an extension where the binding, which knows texts and no patterns, has none for it."""
    is_known = all(isinstance(value, str) for values in policy.values() for value in values)
    return {"filterPolicy" if is_known else "x-filterPolicy": policy}


def _logical_id(arn: Mapping[str, Any]) -> str:
    (logical_id, _) = arn["Fn::GetAtt"]
    return str(logical_id)


def _named(name: Mapping[str, str]) -> str:
    return name["Fn::Sub"].replace(_STACK, "{stack}")


def _messages(*names: str) -> Json:
    return {name: {"$ref": f"#/components/messages/{name}"} for name in names}


def _message(name: str, schema: str, description: str) -> Json:
    return {"name": name, "description": description, "payload": {"$ref": f"schemas/{schema}"}}


def _operation(action: str, channel: str, summary: str, *messages: str) -> Json:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "summary": summary,
        "messages": [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in messages],
    }

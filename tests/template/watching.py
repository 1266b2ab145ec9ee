"""The review checklist of what watches over a deployment: alarms and the dashboard.

CloudWatch takes an alarm on a metric that nobody writes, and it stays quiet for ever. So every name and dimension is
held to where it comes from: Stopline's own to `shared.telemetry`, AWS's to the lists in its documentation.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final, get_args

from shared.redelivery import seconds_until_redelivery
from shared.telemetry import DIMENSION, NAMESPACE, NAMESPACE_VARIABLE, Function, Metric
from shared.wiring.clouds import SAFETY_MARGIN
from tests.template.loading import PARAMETERS, Json, parameters_of, resolved
from tests.template.rules import Template, rule, target

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

METRICS_OF_AWS: Final[dict[str, tuple[str, str, str, set[str]]]] = {
    # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html
    "AWS/SQS": (
        "AWS::SQS::Queue",
        "QueueName",
        "QueueName",
        {"ApproximateNumberOfMessagesVisible", "ApproximateAgeOfOldestMessage"},
    ),
    # https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html
    "AWS/Lambda": (
        "AWS::Lambda::Function",
        "FunctionName",
        "Ref",
        {"Errors", "Throttles", "Duration", "DestinationDeliveryFailures"},
    ),
    # https://docs.aws.amazon.com/sns/latest/dg/sns-monitoring-using-cloudwatch.html
    "AWS/SNS": (
        "AWS::SNS::Topic",
        "TopicName",
        "TopicName",
        {"NumberOfNotificationsFilteredOut-InvalidMessageBody", "NumberOfNotificationsFailedToRedriveToDlq"},
    ),
    # https://docs.aws.amazon.com/step-functions/latest/dg/procedure-cw-metrics.html
    "AWS/States": (
        "AWS::StepFunctions::StateMachine",
        "StateMachineArn",
        "Ref",
        {"ExecutionsStarted", "ExecutionsSucceeded", "ExecutionsFailed", "ExecutionsTimedOut", "ExecutionsAborted"},
    ),
}
"""By namespace: the type of resource, the dimension, what of the resource is its value, and the metrics that we use."""

OF_A_RULE: Final = {"EventBusName": "EventBusName", "RuleName": "Name"}
FAILURES_OF_A_RULE: Final = ("FailedInvocations", "InvocationsFailedToBeSentToDlq")
"""By dimension the property of a rule on a bus of one's own that is its value, and the metrics that we use.

https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-monitoring.html
"""

OWN_NAMESPACE: Final = {"Fn::Sub": f"{NAMESPACE}/${{AWS::StackName}}"}
OWN: Final = f"{NAMESPACE}/the AWS::StackName"
"""The namespace of Stopline's own metrics, which is of each stack its own, as written and as `resolved`."""

FUNCTIONS: Final[tuple[str, ...]] = get_args(Function.__value__)
STOPPING: Final = {function for function in FUNCTIONS if function.startswith("stop")}
SWEEPING: Final = set(FUNCTIONS) - STOPPING

MUST_BE_SEEN: Final = {
    Metric.DEPLOYMENT_FAULTS: set(FUNCTIONS),
    Metric.TARGETS_GAVE_UP: STOPPING,
    Metric.TARGETS_REFUSED: STOPPING,
    Metric.TARGETS_STILL_RUNNING: STOPPING,
    Metric.COMMANDS_EXPIRED: STOPPING,
    Metric.SWEEP_REFUSED: SWEEPING,
}
"""Of Stopline's own metrics, those of which one is too many, and the functions that write them."""

GIVEN_BACK: Final = {"stop_task", "stop_targets"}
"""The functions that write `NotAcknowledged`, of which one is not too many, since SQS delivers it again."""

SEEN_WITHIN: Final = 600
"""Seconds after which an operator knows of a fault by which messages go back again and again."""

ALL_ADDED_UP: Final = "SUM(FILL(METRICS(), 0))"
SEARCHED: Final = re.compile(r"""SUM\(SEARCH\('\{"([^"]+)",(\w+)\} MetricName="(\w+)"', 'Sum', 300\)\)""")

type Watched = tuple[str, str, Any, Any]
"""Namespace, metric, dimension and its value."""


def alarms_of(template: Template) -> dict[str, Json]:
    """Give the alarms by logical id."""
    return template.of_type("AWS::CloudWatch::Alarm")


def name_in_the_runbook(alarm: str) -> str:
    """Give the name under which an alarm goes off and stands in the runbook, by its logical id."""
    return "-".join(re.findall("[A-Z][a-z]+", alarm.removesuffix("Alarm"))).lower()


def watched_by(alarm: Json) -> list[Watched]:
    """Give the metrics of an alarm; one without dimensions gives None for them."""
    stats = [each["MetricStat"]["Metric"] for each in alarm.get("Metrics", []) if "MetricStat" in each]
    found: list[Watched] = []
    for each in stats or [alarm]:
        dimensions = each.get("Dimensions") or [{"Name": None, "Value": None}]
        namespace = OWN if each["Namespace"] == OWN_NAMESPACE else str(each["Namespace"])
        found += [(namespace, each["MetricName"], one["Name"], one["Value"]) for one in dimensions]
    return found


def _writes(function: Any, metric: str) -> bool:
    if function not in FUNCTIONS or metric not in set(Metric):
        return False
    if metric == Metric.NOT_ACKNOWLEDGED:
        return function in GIVEN_BACK
    return metric in {Metric.CALLS, Metric.THROTTLES, Metric.DEPLOYMENT_FAULTS} or (
        metric.startswith("Sweep") == (function in SWEEPING)
    )


def _exists(template: Template, watched: Watched) -> bool:
    namespace, metric, dimension, value = watched
    if namespace == OWN:
        return dimension == DIMENSION and _writes(value, metric)
    if namespace == "AWS/Events":
        rules = template.of_type("AWS::Events::Rule").values()
        return metric in FAILURES_OF_A_RULE and value in [each.get(OF_A_RULE[dimension]) for each in rules]
    if namespace not in METRICS_OF_AWS:
        return False
    resource_type, known_dimension, attribute, metrics = METRICS_OF_AWS[namespace]
    match value:
        case {"Ref": name}:
            given = "Ref"
        case {"Fn::GetAtt": [name, given]}:
            pass
        case _:
            return False
    return (
        (dimension, given) == (known_dimension, attribute)
        and metric in metrics
        and name in template.of_type(resource_type)
    )


@rule
def every_alarm_watches_a_metric_that_somebody_writes(template: Template) -> Iterator[str]:
    for name, alarm in alarms_of(template).items():
        for watched in watched_by(alarm):
            if not _exists(template, watched):
                yield f"{name}: nobody writes {watched}"


@rule
def every_function_writes_its_metrics_where_the_alarms_look(template: Template) -> Iterator[str]:
    for name, function in template.functions.items():
        if function["Environment"]["Variables"].get(NAMESPACE_VARIABLE) != OWN_NAMESPACE:
            yield f"{name}: writes its metrics elsewhere"


@rule
def every_alarm_adds_up_all_that_it_watches(template: Template) -> Iterator[str]:
    for name, alarm in alarms_of(template).items():
        metrics = alarm.get("Metrics")
        if metrics is None:
            continue
        given = [each for each in metrics if each.get("ReturnData", True)]
        if len(given) != 1 or "Expression" not in given[0]:
            yield f"{name}: CloudWatch takes one result, and here it is an expression"
            continue
        expression = str(given[0]["Expression"])
        unused = {
            each["Id"] for each in metrics if each is not given[0] and not re.search(rf"\b{each['Id']}\b", expression)
        }
        if ALL_ADDED_UP not in expression:
            yield from (f"{name}: {each} plays no part" for each in unused)
        # The newest points are filled before their data come in.
        points: int = alarm.get("DatapointsToAlarm") or alarm["EvaluationPeriods"]
        enough = points == 1 or Metric.NOT_ACKNOWLEDGED in {metric for _, metric, _, _ in watched_by(alarm)}
        if "FILL" in expression and not (enough and points < alarm["EvaluationPeriods"]):
            yield f"{name}: looks at points only that are zero for want of data"


@rule
def no_alarm_takes_silence_for_trouble(template: Template) -> Iterator[str]:
    for name, alarm in alarms_of(template).items():
        if alarm.get("TreatMissingData") != "notBreaching":
            yield f"{name}: what is zero is not written, by Stopline as by AWS"


@rule
def one_is_too_many_of_what_an_alarm_counts(template: Template) -> Iterator[str]:
    for name, alarm in alarms_of(template).items():
        expressions = [each["Expression"] for each in alarm.get("Metrics", []) if "Expression" in each]
        if expressions in ([], [ALL_ADDED_UP]) and (alarm["ComparisonOperator"], alarm["Threshold"]) != (
            "GreaterThanThreshold",
            0,
        ):
            yield f"{name}: lets some pass"


@rule
def what_is_given_back_is_seen_when_the_fault_lasts_and_as_long_as_it_does(template: Template) -> Iterator[str]:
    timeouts = [template.queues[queue]["VisibilityTimeout"] for _, _, queue, _ in template.deliveries]
    for name, alarm in alarms_of(template).items():
        if Metric.NOT_ACKNOWLEDGED not in {metric for _, metric, _, _ in watched_by(alarm)}:
            continue
        periods = {each["MetricStat"]["Period"] for each in alarm["Metrics"] if "MetricStat" in each}
        points: int = alarm.get("DatapointsToAlarm") or alarm["EvaluationPeriods"]
        if periods != {60} or points < 3:
            yield f"{name}: goes off for a fault of a minute, which may be on both sides of a boundary"
        for timeout in timeouts:
            # One more than there are points: with jitter, two of them may come in one minute.
            waits = (seconds_until_redelivery(n, visibility_timeout=timeout, jitter=0.0) for n in range(1, points + 1))
            if sum(waits) > SEEN_WITHIN:
                yield f"{name}: goes off late"
            if points * timeout > 60 * alarm["EvaluationPeriods"]:
                yield f"{name}: ends while messages still go back"


@rule
def every_alarm_is_sent_to_the_topic_that_the_operator_gives(template: Template) -> Iterator[str]:
    told = {"Fn::If": ["HasAlarmTopic", [{"Ref": "AlarmTopicArn"}], {"Ref": "AWS::NoValue"}]}
    for name, alarm in alarms_of(template).items():
        if [alarm.get("AlarmActions"), alarm.get("OKActions")] != [told, told]:
            yield f"{name}: goes off, or ends, and nobody hears it"


@rule
def every_alarm_goes_off_by_its_name_and_says_where_to_read_on(template: Template) -> Iterator[str]:
    for name, alarm in alarms_of(template).items():
        known_as = name_in_the_runbook(name)
        if alarm.get("AlarmName") != {"Fn::Sub": f"${{AWS::StackName}}-{known_as}"}:
            yield f"{name}: is called {alarm.get('AlarmName')}"
        if not alarm.get("AlarmDescription", "").endswith(f" See {known_as} in docs/operations.md."):
            yield f"{name}: does not say what to do"


def _seen(template: Template) -> set[tuple[str, str, str]]:
    """Give what some alarm watches: namespace, metric, and the logical id of what it is of, or the function."""
    every = [watched for alarm in alarms_of(template).values() for watched in watched_by(alarm)]
    return {(namespace, metric, target(value)) for namespace, metric, _, value in every}


@rule
def every_queue_is_watched(template: Template) -> Iterator[str]:
    seen = _seen(template)
    set_aside = template.set_aside_in | set(template.dead_letter_queue_of.values())
    for queue in set_aside:
        if ("AWS/SQS", "ApproximateNumberOfMessagesVisible", queue) not in seen:
            yield f"{queue}: what is set aside there nobody sees"
    for _, _, queue, _ in template.deliveries:
        if ("AWS/SQS", "ApproximateAgeOfOldestMessage", queue) not in seen:
            yield f"{queue}: nobody sees how long its messages wait"
    for topic in template.of_type("AWS::SNS::Topic"):
        for metric in METRICS_OF_AWS["AWS/SNS"][3]:
            if ("AWS/SNS", metric, topic) not in seen:
                yield f"{topic}: nobody sees {metric}"


@rule
def every_rule_that_writes_a_log_is_watched(template: Template) -> Iterator[str]:
    stats = [
        each["MetricStat"]["Metric"]
        for alarm in alarms_of(template).values()
        for each in alarm.get("Metrics", [])
        if "MetricStat" in each
    ]
    for name in template.logging_rules:
        of_rule = template.of_type("AWS::Events::Rule")[name]
        dimensions = [{"Name": each, "Value": of_rule.get(key)} for each, key in OF_A_RULE.items()]
        for metric in FAILURES_OF_A_RULE:
            if {"Namespace": "AWS/Events", "MetricName": metric, "Dimensions": dimensions} not in stats:
                yield f"{name}: nobody sees its {metric}"


@rule
def every_function_is_watched(template: Template) -> Iterator[str]:
    seen = _seen(template)
    wanted = {(OWN, str(metric), function) for metric, functions in MUST_BE_SEEN.items() for function in functions}
    wanted |= {(OWN, str(Metric.NOT_ACKNOWLEDGED), function) for function in GIVEN_BACK}
    for name, function in template.functions.items():
        wanted |= {("AWS/Lambda", metric, name) for metric in ("Throttles", "Duration")}
        # What the workflow function raises is an answer to its caller.
        if function["Handler"] != "functions.stop_in_workflow.handler":
            wanted.add(("AWS/Lambda", "Errors", name))
        if template.failure_queue_of(name):
            wanted.add(("AWS/Lambda", "DestinationDeliveryFailures", name))
    for name in template.workflows:
        wanted |= {("AWS/States", metric, name) for metric in ("ExecutionsFailed", "ExecutionsTimedOut")}
    yield from (f"nobody sees {each}" for each in wanted - seen)


@rule
def a_command_is_late_at_half_of_its_life(template: Template) -> Iterator[str]:
    for name, alarm in alarms_of(template).items():
        if "ApproximateAgeOfOldestMessage" not in str(alarm):
            continue
        expression = next(each["Expression"] for each in alarm["Metrics"] if "Expression" in each)
        if (expression, alarm["Threshold"]) != ({"Fn::Sub": "100 * age / ${CommandTtlSeconds}"}, 50):
            yield f"{name}: goes off when {expression} is {alarm['Threshold']}"


@rule
def a_function_is_near_its_timeout_when_it_has_overrun_the_end_that_it_set_itself(template: Template) -> Iterator[str]:
    timeouts = {name: 1000 * function["Timeout"] for name, function in template.functions.items()}
    for name, alarm in alarms_of(template).items():
        stats = {each["Id"]: each["MetricStat"] for each in alarm.get("Metrics", []) if "MetricStat" in each}
        if "Duration" not in {each["Metric"]["MetricName"] for each in stats.values()}:
            continue
        expression = next(each["Expression"] for each in alarm["Metrics"] if "Expression" in each)
        limits = {key: int(limit) for key, limit in re.findall(r"FILL\((\w+), 0\) - (\d+)", expression)}
        of = {key: target(each["Metric"]["Dimensions"][0]["Value"]) for key, each in stats.items()}
        if limits != {key: timeouts[function] for key, function in of.items()} or not expression.startswith("MAX(["):
            yield f"{name}: {expression} does not fit to the timeouts {timeouts}"
        if {each["Stat"] for each in stats.values()} != {"Maximum"} or alarm["Threshold"] != -1000 * SAFETY_MARGIN / 2:
            yield f"{name}: goes off for what is usual, or not at all"


# The dashboard


@rule
def the_dashboard_shows_what_exists(template: Template) -> Iterator[str]:
    for widget in _widgets(template):
        for row in widget["properties"].get("metrics", []):
            for watched in _watched_in(row):
                namespace, metric, dimension, value = watched
                found = re.fullmatch(r"the (\w+)", str(value))
                if found and namespace in METRICS_OF_AWS:
                    attribute = METRICS_OF_AWS[namespace][2]
                    value = {"Ref": found[1]} if attribute == "Ref" else {"Fn::GetAtt": [found[1], attribute]}
                if not _exists(template, (namespace, metric, dimension, value)):
                    yield f"{widget['properties']['title']}: nobody writes {watched}"


@rule
def the_dashboard_shows_everything(template: Template) -> Iterator[str]:
    widgets = _widgets(template)
    rows = [row for widget in widgets for row in widget["properties"].get("metrics", [])]
    shown = {watched[1] for row in rows for watched in _watched_in(row) if watched[0] == OWN}
    yield from (f"{metric} is not shown" for metric in set(Metric) - shown)
    for given in ({}, {"OutcomeLogRetentionDays": "0"}):
        parameters = parameters_of(template.body, PARAMETERS | given)
        alarms = {f"the {name}" for name in alarms_of(template) if _is_there(template, name, parameters)}
        shown_with = _widgets(template, parameters)
        listed = [each for one in shown_with if one["type"] == "alarm" for each in one["properties"]["alarms"]]
        yield from (f"{alarm} is not shown, or is not there" for alarm in alarms ^ set(listed))
    queries = " ".join(widget["properties"]["query"] for widget in widgets if widget["type"] == "log")
    logs = {target(function["LoggingConfig"]["LogGroup"]) for function in template.functions.values()}
    yield from (f"{log} is not read" for log in logs if f"SOURCE 'the {log}'" not in queries)


@rule
def the_dashboard_is_laid_out_without_overlaps(template: Template) -> Iterator[str]:
    taken: set[tuple[int, int]] = set()
    for widget in _widgets(template):
        columns = range(widget["x"], widget["x"] + widget["width"])
        cells = {(x, y) for x in columns for y in range(widget["y"], widget["y"] + widget["height"])}
        if cells & taken or columns.stop > 24:
            yield f"{widget['properties']}: lies over another, or outside"
        taken |= cells


def _is_there(template: Template, name: str, parameters: Mapping[str, str]) -> bool:
    condition = template.body["Resources"][name].get("Condition")
    return condition is None or bool(resolved(template.body["Conditions"][condition], template.body, parameters))


def _widgets(template: Template, parameters: Mapping[str, str] | None = None) -> list[Json]:
    (dashboard,) = template.of_type("AWS::CloudWatch::Dashboard").values()
    parameters = parameters or parameters_of(template.body, PARAMETERS)
    widgets: list[Json] = json.loads(resolved(dashboard["DashboardBody"], template.body, parameters))["widgets"]
    return widgets


def _watched_in(row: list[Any]) -> Iterator[Watched]:
    match row:
        case [{"expression": str(expression)}]:
            found = SEARCHED.fullmatch(expression)
            namespace, dimension, metric = found.groups() if found else ("", "", expression)
            # Whichever functions write it: one that does stands for them.
            writers = [function for function in FUNCTIONS if _writes(function, metric)]
            yield namespace, metric, dimension, next(iter(writers), None)
        case [str(namespace), str(metric), str(dimension), str(value), *_]:
            yield namespace, metric, dimension, value
        case _:
            yield "", str(row), "", None

"""The one difference between the template that AWS gets and the one that the local world gets, as a pure function."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

OUTCOME_WATCH_QUEUE: Final = "OutcomeWatchQueue"
"""Logical id of the queue that receives every event of the outcome bus."""

_RUNTIME: Final = "provided.al2023"
_WATCHING: Final = "AWS::CloudWatch::"


def localise(
    template: Mapping[str, Any], *, code_uri: str, environment: Mapping[str, str], parameters: Mapping[str, str]
) -> dict[str, Any]:
    """Give the template of `template.yaml` as the local stand-in can run it.

    What differs from AWS is this, and nothing else:

    * a function's code is the zip at `code_uri` (`s3://bucket/key`), whose `bootstrap` starts Python 3.13 and the
      runtime client of AWS on the built artifact, so its `Runtime` is `provided.al2023`;
    * a function has the variables of `environment` on top of its own;
    * a mapping has its `MaximumConcurrency` as a number: the stand-in keeps what a `Ref` to a number gives as text;
    * alarms and the dashboard are left out: the stand-in adds up no metrics, and has none of queues to begin with;
    * `OutcomeWatchQueue` and its rule are added, so that people can see what arrives on `OutcomeBus`.

    Names, queues, mappings, filters, schedules, policies and parameters are those of the template.
    """
    local = copy.deepcopy(dict(template))
    local["Resources"] = {
        name: resource for name, resource in local["Resources"].items() if not resource["Type"].startswith(_WATCHING)
    }
    for resource in local["Resources"].values():
        if resource["Type"] != "AWS::Serverless::Function":
            continue
        resource.pop("Metadata", None)  # how to build it, which is done
        properties = resource["Properties"]
        properties |= {"Runtime": _RUNTIME, "CodeUri": code_uri}
        properties.setdefault("Environment", {}).setdefault("Variables", {}).update(environment)
        for event in properties.get("Events", {}).values():
            scaling = event["Properties"].get("ScalingConfig", {})
            match scaling.get("MaximumConcurrency"):
                case {"Ref": name}:
                    default = local["Parameters"][name]["Default"]
                    scaling["MaximumConcurrency"] = int(parameters.get(name, default))
    local["Resources"] |= _outcome_watch()
    return local


def _outcome_watch() -> dict[str, Any]:
    return {
        OUTCOME_WATCH_QUEUE: {
            "Type": "AWS::SQS::Queue",
            "Properties": {"MessageRetentionPeriod": 3600},
        },
        "OutcomeWatchRule": {
            "Type": "AWS::Events::Rule",
            "Properties": {
                "EventBusName": {"Ref": "OutcomeBus"},
                "EventPattern": {"source": ["stopline"]},
                "Targets": [{"Id": "watch", "Arn": {"Fn::GetAtt": [OUTCOME_WATCH_QUEUE, "Arn"]}}],
            },
        },
    }

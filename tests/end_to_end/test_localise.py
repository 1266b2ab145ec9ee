"""What the local world changes in the template, and that it changes nothing else."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from local.localise import OUTCOME_WATCH_QUEUE, localise
from local.stack import TEMPLATE, load_template

ADDED = {OUTCOME_WATCH_QUEUE, "OutcomeWatchRule"}


@pytest.fixture
def template() -> dict[str, Any]:
    return load_template(TEMPLATE)


def localised(template: dict[str, Any], **parameters: str) -> dict[str, Any]:
    return localise(template, code_uri="s3://bucket/key", environment={"ONLY": "here"}, parameters=parameters)


def functions_of(template: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        name: resource["Properties"]
        for name, resource in template["Resources"].items()
        if resource["Type"] == "AWS::Serverless::Function"
    }


def test_the_template_given_is_left_as_it_is(template: dict[str, Any]) -> None:
    before = copy.deepcopy(template)
    localised(template)
    assert template == before


def test_functions_run_the_bootstrap_and_keep_their_handler(template: dict[str, Any]) -> None:
    for name, properties in functions_of(localised(template)).items():
        assert (properties["Runtime"], properties["CodeUri"]) == ("provided.al2023", "s3://bucket/key")
        assert properties["Handler"] == functions_of(template)[name]["Handler"]


def test_functions_get_the_local_variables_on_top_of_their_own(template: dict[str, Any]) -> None:
    for name, properties in functions_of(localised(template)).items():
        own = functions_of(template)[name]["Environment"]["Variables"]
        assert properties["Environment"]["Variables"] == own | {"ONLY": "here"}


def test_a_referenced_concurrency_becomes_the_number_of_the_parameter(template: dict[str, Any]) -> None:
    def concurrencies(of: dict[str, Any]) -> set[int]:
        return {
            event["Properties"]["ScalingConfig"]["MaximumConcurrency"]
            for properties in functions_of(of).values()
            for event in properties.get("Events", {}).values()
        }

    assert concurrencies(localised(template)) == {template["Parameters"]["MaximumConcurrency"]["Default"]}
    assert concurrencies(localised(template, MaximumConcurrency="3")) == {3}


def test_nothing_else_differs(template: dict[str, Any]) -> None:
    local = localised(template)
    for properties in functions_of(local).values():
        del properties["Runtime"], properties["CodeUri"], properties["Environment"]
        properties.pop("Events", None)
    for properties in functions_of(template).values():
        del properties["Environment"]
        properties.pop("Events", None)
    for name, resource in list(template["Resources"].items()):
        if resource["Type"] == "AWS::Serverless::Function":
            del resource["Metadata"]
        if resource["Type"] in {"AWS::CloudWatch::Alarm", "AWS::CloudWatch::Dashboard"}:
            del template["Resources"][name]
    assert local["Resources"].keys() - template["Resources"].keys() == ADDED
    for name in ADDED:
        del local["Resources"][name]
    assert local == template


def test_the_watch_queue_sees_every_outcome_of_the_bus(template: dict[str, Any]) -> None:
    rule = localised(template)["Resources"]["OutcomeWatchRule"]["Properties"]
    assert rule["EventBusName"] == {"Ref": "OutcomeBus"}
    assert rule["EventPattern"] == {"source": ["stopline"]}
    assert [target["Arn"] for target in rule["Targets"]] == [{"Fn::GetAtt": [OUTCOME_WATCH_QUEUE, "Arn"]}]

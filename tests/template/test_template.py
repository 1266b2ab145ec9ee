"""The template is what CloudFormation takes, and what the functions' settings take."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

import pytest
from cfnlint.api import lint
from cfnlint.config import ManualArgs

from shared.settings import read_settings
from tests.template.loading import PARAMETERS, translated, written
from tests.template.rules import SETTINGS_OF

if TYPE_CHECKING:
    from collections.abc import Mapping

REGIONS: Final = ["us-east-1", "eu-central-1", "ap-southeast-1"]

SECRET: Final = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:huawei/stopline-a1B2c3"

EVERY_PARAMETER: Final = PARAMETERS | {
    "HuaweiSecretArn": SECRET,
    "CodeArtsCheckEndpoint": "https://codearts-check.cn-north-4.myhuaweicloud.com",
    "IotdaEndpoint": "https://9bc34.st1.iotda-app.cn-north-4.myhuaweicloud.com",
    "IotdaInstanceId": "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0",
}

FEWEST_PARAMETERS: Final = PARAMETERS | {"HuaweiSecretArn": SECRET}


def test_the_linter_has_nothing_to_say_about_the_translated_template() -> None:
    # Translated, because on the SAM file itself the linter finds a fraction of the same mistakes.
    assert [str(match) for match in lint(json.dumps(translated()), config=ManualArgs(regions=REGIONS))] == []


def test_the_linter_does_object_to_a_defect() -> None:
    template = translated()
    template["Resources"]["StopTaskFunction"]["Properties"]["Timeout"] = 901
    matches = lint(json.dumps(template), config=ManualArgs(regions=REGIONS[:1]))
    assert any("901 is greater than" in str(match) for match in matches)


@pytest.mark.parametrize("given", [EVERY_PARAMETER, FEWEST_PARAMETERS], ids=["every parameter", "fewest parameters"])
@pytest.mark.parametrize("function", ["StopTaskFunction", "StopTargetsFunction"])
@pytest.mark.parametrize("bound", ["Default", "MinValue", "MaxValue"])
def test_the_settings_take_what_the_template_gives(given: Mapping[str, str], function: str, bound: str) -> None:
    template = translated()
    parameters = {
        name: str(given.get(name, parameter.get(bound, parameter.get("Default"))))
        for name, parameter in template["Parameters"].items()
    }
    properties = template["Resources"][function]["Properties"]
    variables = {
        name: value
        for name, source in properties["Environment"]["Variables"].items()
        if (value := resolved(source, parameters)) is not None
    }
    assert "" not in variables.values()
    settings = read_settings(SETTINGS_OF[properties["Handler"]], variables | {"AWS_LAMBDA_FUNCTION_NAME": function})
    assert (settings.region, settings.secret_id) == ("cn-north-4", SECRET)
    endpoints = {getattr(settings, name) for name in ("check_endpoint", "iotda_endpoint") if hasattr(settings, name)}
    assert endpoints <= set(variables.values()) or given is FEWEST_PARAMETERS


def test_the_defaults_are_the_settings_own_so_that_both_keep_the_contract() -> None:
    parameters = translated()["Parameters"]
    for handler, function in (("stop_task", "StopTaskFunction"), ("stop_targets", "StopTargetsFunction")):
        fields = {field.alias: field for field in SETTINGS_OF[f"functions.{handler}.handler"].model_fields.values()}
        variables = translated()["Resources"][function]["Properties"]["Environment"]["Variables"]
        for name, source in variables.items():
            match source:
                case {"Ref": parameter} if "Default" in parameters.get(parameter, {}):
                    assert str(parameters[parameter]["Default"]) == str(fields[name].default).lower(), name
                case _:
                    pass


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("HuaweiRegion", "cn-north-4"),
        ("HuaweiRegion", "ap-southeast-3"),
        ("HuaweiProjectId", "0a1b2c3d4e5f60718293a4b5c6d7e8f9"),
        ("HuaweiSecretArn", ""),
        ("HuaweiSecretArn", SECRET),
        ("HuaweiSecretArn", SECRET.replace("arn:aws:", "arn:aws-cn:")),
        ("IotdaEndpoint", ""),
        ("IotdaEndpoint", "https://9bc34.st1.iotda-app.cn-north-4.myhuaweicloud.com:443"),
        ("IotdaEndpoint", "http://127.0.0.1:8080"),
        ("CodeArtsCheckEndpoint", "http://localhost:8080"),
        ("IotdaInstanceId", ""),
    ],
)
def test_a_right_parameter_is_taken(parameter: str, value: str) -> None:
    assert re.fullmatch(written()["Parameters"][parameter]["AllowedPattern"], value)


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("HuaweiRegion", ""),
        ("HuaweiRegion", "cn-north"),
        ("HuaweiProjectId", ""),
        ("HuaweiProjectId", "{project_id}"),
        ("HuaweiSecretArn", "huawei/stopline"),
        ("HuaweiSecretArn", SECRET.removesuffix("-a1B2c3")),
        ("HuaweiSecretArn", SECRET.replace("huawei/stopline", "*")),
        ("IotdaEndpoint", "9bc34.st1.iotda-app.cn-north-4.myhuaweicloud.com"),
        ("IotdaEndpoint", "http://iotda.cn-north-4.myhuaweicloud.com"),
        ("IotdaEndpoint", "http://127.0.0.1.example.com"),
        ("CodeArtsCheckEndpoint", "https://key@host"),
        ("CodeArtsCheckEndpoint", "https://host/path"),
        ("IotdaInstanceId", "a" * 37),
    ],
)
def test_a_wrong_parameter_is_refused_before_anything_is_created(parameter: str, value: str) -> None:
    assert not re.fullmatch(written()["Parameters"][parameter]["AllowedPattern"], value)


def test_the_outputs_name_what_people_and_other_stacks_need() -> None:
    assert {name: output["Value"] for name, output in written()["Outputs"].items()} == {
        "StopCommandsTopicArn": {"Ref": "StopCommandsTopic"},
        "StopTaskQueueUrl": {"Ref": "StopTaskQueue"},
        "StopTargetsQueueUrl": {"Ref": "StopTargetsQueue"},
        "StopTaskDeadLetterQueueUrl": {"Ref": "StopTaskDeadLetterQueue"},
        "StopTargetsDeadLetterQueueUrl": {"Ref": "StopTargetsDeadLetterQueue"},
        "OutcomeBusName": {"Ref": "OutcomeBus"},
        "StopTaskFunctionName": {"Ref": "StopTaskFunction"},
        "StopTargetsFunctionName": {"Ref": "StopTargetsFunction"},
    }


def resolved(source: Any, parameters: Mapping[str, str]) -> str | None:
    """Give the value of a variable: a parameter's, a resource's name, or None where there is no value."""
    match source:
        case {"Fn::If": [_, then, otherwise]}:
            # All conditions are of the form "this parameter is not empty", which test_rules.py holds them to.
            return resolved(then if parameters[then["Ref"]] else otherwise, parameters)
        case {"Ref": "AWS::NoValue"}:
            return None
        case {"Ref": name}:
            return parameters.get(name, f"the {name}")
        case _:
            raise AssertionError(source)

"""The template is what CloudFormation takes, and what the functions' settings take."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING, Final

import pytest
from cfnlint.api import lint
from cfnlint.config import ManualArgs

from shared.errors import SweepRejected
from shared.settings import read_settings
from shared.sweeps import read_sweep
from tests.template.loading import PARAMETERS, ROOT, parameters_of, resolved, translated, written
from tests.template.rules import SETTINGS_OF

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.template.loading import Json

REGIONS: Final = ["us-east-1", "eu-central-1", "ap-southeast-1"]

SECRET: Final = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:huawei/stopline-a1B2c3"

KEYLESS: Final = {
    "HuaweiOidcProviderUrn": "iam::d78cbac186b744899480f25bd0e7a8c1:oidcProvider:aws",
    "HuaweiOidcAgencyUrn": "iam::d78cbac186b744899480f25bd0e7a8c1:agency:stopline",
    "HuaweiStsEndpoint": "https://sts.cn-north-4.myhuaweicloud.com",
}

EVERY_PARAMETER: Final = (
    PARAMETERS
    | KEYLESS
    | {
        "HuaweiSecretArn": SECRET,
        "CodeArtsCheckEndpoint": "https://codearts-check.cn-north-4.myhuaweicloud.com",
        "IotdaEndpoint": "https://9bc34.st1.iotda-app.cn-north-4.myhuaweicloud.com",
        "IotdaInstanceId": "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0",
    }
)

KEY: Final = "arn:aws:kms:eu-central-1:123456789012:key/mrk-1234abcd12ab34cd56ef1234567890ab"
TOPIC: Final = "arn:aws:sns:eu-central-1:123456789012:on-call"

FEWEST_PARAMETERS: Final = PARAMETERS | {"HuaweiSecretArn": SECRET}

FUNCTIONS: Final = ("StopTaskFunction", "StopTargetsFunction", "SweepStaleTasksFunction", "StopInWorkflowFunction")
BLANKS: Final = (" ", "\xa0", "\u2003", "\u200b", "\u3000", "\ufeff")
ZONES: Final = (
    "UTC",
    "Europe/Berlin",
    "Asia/Shanghai",
    "Etc/GMT+8",
    "America/Port-au-Prince",
    "America/Argentina/ComodRivadavia",
    "America/North_Dakota/New_Salem",
    "Antarctica/DumontDUrville",
)


def test_the_linter_has_nothing_to_say_about_the_translated_template() -> None:
    # Translated, because on the SAM file itself the linter finds a fraction of the same mistakes.
    assert [str(match) for match in lint(json.dumps(translated()), config=ManualArgs(regions=REGIONS))] == []


def test_the_linter_does_object_to_a_defect() -> None:
    template = translated()
    template["Resources"]["StopTaskFunction"]["Properties"]["Timeout"] = 901
    matches = lint(json.dumps(template), config=ManualArgs(regions=REGIONS[:1]))
    assert any("901 is greater than" in str(match) for match in matches)


def test_the_linter_looks_into_the_state_machine() -> None:
    template = translated()
    template["Resources"]["StopWorkflow"]["Properties"]["Definition"]["States"]["Stop"]["Parameters"] = {}
    matches = lint(json.dumps(template), config=ManualArgs(regions=REGIONS[:1]))
    assert any("'Parameters' was unexpected" in str(match) for match in matches)


@pytest.mark.parametrize("given", [EVERY_PARAMETER, FEWEST_PARAMETERS], ids=["every parameter", "fewest parameters"])
@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("bound", ["Default", "MinValue", "MaxValue"])
def test_the_settings_take_what_the_template_gives(given: Mapping[str, str], function: str, bound: str) -> None:
    template = translated()
    bounds = {name: str(each[bound]) for name, each in template["Parameters"].items() if bound in each}
    parameters = parameters_of(template, {**bounds, **given})
    properties = template["Resources"][function]["Properties"]
    variables = {
        name: value
        for name, source in properties["Environment"]["Variables"].items()
        if (value := resolved(source, template, parameters)) is not None
    }
    assert "" not in variables.values()
    settings = read_settings(SETTINGS_OF[properties["Handler"]], variables | {"AWS_LAMBDA_FUNCTION_NAME": function})
    assert (settings.region, settings.secret_id) == ("cn-north-4", SECRET)
    endpoints = {getattr(settings, name) for name in ("check_endpoint", "iotda_endpoint") if hasattr(settings, name)}
    assert endpoints <= set(variables.values()) or given is FEWEST_PARAMETERS


def test_the_defaults_are_the_settings_own_so_that_both_keep_the_contract() -> None:
    parameters = translated()["Parameters"]
    for function in FUNCTIONS:
        properties = translated()["Resources"][function]["Properties"]
        fields = {field.alias: field for field in SETTINGS_OF[properties["Handler"]].model_fields.values()}
        for name, source in properties["Environment"]["Variables"].items():
            match source:
                case {"Ref": parameter} if "Default" in parameters.get(parameter, {}):
                    assert str(parameters[parameter]["Default"]) == str(fields[name].default).lower(), name
                case _:
                    pass


@pytest.mark.parametrize("function", FUNCTIONS)
def test_glibc_takes_the_resolver_options(function: str) -> None:
    options = translated()["Resources"][function]["Properties"]["Environment"]["Variables"]["RES_OPTIONS"]
    # struct __res_state begins with the time-out in seconds (retrans) and the attempts (retry).
    script = """if True:
        import ctypes
        libc = ctypes.CDLL("libc.so.6")
        libc.__res_state.restype = ctypes.POINTER(ctypes.c_int)
        libc.__res_init()
        print(libc.__res_state()[0], libc.__res_state()[1])
    """
    shown = subprocess.run(
        [sys.executable, "-I", "-c", script], env={"RES_OPTIONS": options}, capture_output=True, text=True, check=True
    )
    assert shown.stdout.split() == ["1", "1"]


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("HuaweiRegion", "cn-north-4"),
        ("HuaweiRegion", "ap-southeast-3"),
        ("HuaweiProjectId", "0a1b2c3d4e5f60718293a4b5c6d7e8f9"),
        ("HuaweiSecretArn", ""),
        ("HuaweiSecretArn", SECRET),
        ("HuaweiSecretArn", SECRET.replace("arn:aws:", "arn:aws-cn:")),
        *KEYLESS.items(),
        *dict.fromkeys(KEYLESS, "").items(),
        ("HuaweiOidcProviderUrn", f"iam::{'a' * 64}:oidcProvider:{'n' * 64}"),
        ("IotdaEndpoint", ""),
        ("IotdaEndpoint", "https://9bc34.st1.iotda-app.cn-north-4.myhuaweicloud.com:443"),
        ("IotdaEndpoint", "http://127.0.0.1:8080"),
        ("CodeArtsCheckEndpoint", "http://localhost:8080"),
        ("IotdaInstanceId", ""),
        ("FollowUpStateMachineArn", ""),
        ("FollowUpStateMachineArn", "arn:aws:states:eu-central-1:123456789012:stateMachine:tell-somebody"),
        ("CheckSweepSchedule", "rate(1 hour)"),
        ("CheckSweepSchedule", "rate(15 minutes)"),
        ("BatchSweepSchedule", "cron(0/30 8-18 ? * MON-FRI *)"),
        ("BatchSweepSchedule", "at(2026-11-24T03:00:00)"),
        ("CheckSweepProjectId", "41a3bf0ba9b94a5da1a1a4b1c2d3e4f5"),
        ("CheckSweepOlderThan", "PT90M"),
        ("BatchSweepOlderThan", "P999D"),
        ("BatchSweepTaskTypes", "softwareUpgrade"),
        ("CheckSweepProtect", ""),
        ("CheckSweepProtect", "release-*,nightly of the core,[!a]?"),
        ("BatchSweepProtect", "发布-*"),
        ("BatchSweepProtect", ",".join(["p"] * 100)),
        ("BatchSweepProtect", "a" * 256),
        ("CheckSweepProtect", "[prod] nightly,p"),
        *(("SweepTimezone", zone) for zone in ZONES),
        ("AlarmTopicArn", ""),
        ("AlarmTopicArn", TOPIC),
        ("KmsKeyArn", ""),
        ("KmsKeyArn", KEY),
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
        ("HuaweiOidcProviderUrn", "iam::1:agency:stopline"),
        ("HuaweiOidcProviderUrn", "arn:aws:iam::123456789012:oidc-provider/aws"),
        ("HuaweiOidcProviderUrn", "iam::*:oidcProvider:*"),
        ("HuaweiOidcAgencyUrn", "iam::1:oidcProvider:aws"),
        ("HuaweiOidcAgencyUrn", "stopline"),
        ("HuaweiStsEndpoint", "http://sts.cn-north-4.myhuaweicloud.com"),
        ("IotdaEndpoint", "9bc34.st1.iotda-app.cn-north-4.myhuaweicloud.com"),
        ("IotdaEndpoint", "http://iotda.cn-north-4.myhuaweicloud.com"),
        ("IotdaEndpoint", "http://127.0.0.1.example.com"),
        ("CodeArtsCheckEndpoint", "https://key@host"),
        ("CodeArtsCheckEndpoint", "https://host/path"),
        ("IotdaInstanceId", "a" * 37),
        ("FollowUpStateMachineArn", "arn:aws:states:eu-central-1:123456789012:stateMachine:*"),
        ("FollowUpStateMachineArn", "tell-somebody"),
        ("CheckSweepSchedule", ""),
        ("CheckSweepSchedule", "rate(1 hours)"),
        ("CheckSweepSchedule", "rate(15 minute)"),
        ("CheckSweepSchedule", "rate(0 minutes)"),
        ("BatchSweepSchedule", "cron(0 3 * * *)"),
        ("BatchSweepSchedule", "0 3 * * ? *"),
        ("CheckSweepOlderThan", ""),
        ("CheckSweepOlderThan", "2h"),
        ("CheckSweepOlderThan", "PT0H"),
        ("BatchSweepOlderThan", "P1M"),
        ("BatchSweepTaskTypes", "createCommands"),
        ("CheckSweepProtect", 'a"],"dry_run":false,"x":["'),
        ("CheckSweepProtect", "a\\"),
        ("CheckSweepProtect", "a\nb"),
        ("CheckSweepProtect", "a,,b"),
        ("CheckSweepProtect", "a, b"),
        ("BatchSweepProtect", ","),
        ("BatchSweepProtect", "a" * 257),
        ("CheckSweepProtect", "'release-*','nightly-*'"),
        *(("CheckSweepProtect", f"release-*{separator}nightly-*") for separator in ";\u3001\uff0c\uff1b"),
        *(("BatchSweepProtect", f"\u201crelease-*{end}") for end in ("\u201d", "\u201d,a", "")),
        *(("CheckSweepProtect", f"release-*{blank},nightly-*") for blank in BLANKS),
        *(("BatchSweepProtect", f"release-*,{blank}nightly-*") for blank in BLANKS),
        ("CheckSweepProtect", "release-* "),
        ("BatchSweepProtect", " "),
        ("SweepTimezone", ""),
        ("SweepTimezone", "+08:00"),
        ("SweepTimezone", "GMT+8"),
        ("SweepTimezone", "Europe/Berlin "),
        ("SweepTimezone", "Europe/"),
        ("SweepTimezone", "rate(1 hour)"),
        # A sweep takes 100 of them, and refuses to run with more: nothing would ever be swept.
        ("CheckSweepProtect", ",".join(["p"] * 101)),
        ("AlarmTopicArn", "on-call"),
        ("AlarmTopicArn", f"{TOPIC}.fifo"),
        ("KmsKeyArn", "alias/stopline"),
        ("KmsKeyArn", KEY.replace("key/mrk-1234abcd12ab34cd56ef1234567890ab", "alias/stopline")),
    ],
)
def test_a_wrong_parameter_is_refused_before_anything_is_created(parameter: str, value: str) -> None:
    assert not re.fullmatch(written()["Parameters"][parameter]["AllowedPattern"], value)


def test_the_outputs_name_what_people_and_other_stacks_need() -> None:
    assert {name: output["Value"] for name, output in written()["Outputs"].items()} == {
        "StopCommandsTopicArn": {"Ref": "StopCommandsTopic"},
        "StopTaskQueueUrl": {"Ref": "StopTaskQueue"},
        "StopTargetsQueueUrl": {"Ref": "StopTargetsQueue"},
        "StopTaskQueueArn": {"Fn::GetAtt": ["StopTaskQueue", "Arn"]},
        "StopTargetsQueueArn": {"Fn::GetAtt": ["StopTargetsQueue", "Arn"]},
        "StopTaskDeadLetterQueueUrl": {"Ref": "StopTaskDeadLetterQueue"},
        "StopTargetsDeadLetterQueueUrl": {"Ref": "StopTargetsDeadLetterQueue"},
        "OutcomeBusName": {"Ref": "OutcomeBus"},
        "OutcomeLogGroupName": {"Ref": "OutcomeLogGroup"},
        "StopTaskFunctionName": {"Ref": "StopTaskFunction"},
        "StopTargetsFunctionName": {"Ref": "StopTargetsFunction"},
        "SweepStaleTasksFunctionName": {"Ref": "SweepStaleTasksFunction"},
        "SweepStaleTasksFunctionArn": {"Fn::GetAtt": ["SweepStaleTasksFunction", "Arn"]},
        "SweepScheduleRoleArn": {"Fn::GetAtt": ["SweepScheduleRole", "Arn"]},
        "SweepDeadLetterQueueUrl": {"Ref": "SweepDeadLetterQueue"},
        "SightingsTableName": {"Ref": "SightingsTable"},
        "StopInWorkflowFunctionName": {"Ref": "StopInWorkflowFunction"},
        "StopWorkflowArn": {"Ref": "StopWorkflow"},
    }


def keeps_rules(template: Json, given: Mapping[str, str]) -> bool:
    """Tell whether CloudFormation would take these parameters together."""
    parameters = parameters_of(template, given)
    return all(
        not resolved(rule.get("RuleCondition", True), template, parameters)
        or all(resolved(each["Assert"], template, parameters) for each in rule["Assertions"])
        for rule in template["Rules"].values()
    )


@pytest.mark.parametrize(
    ("given", "is_taken"),
    [({"HuaweiOidcProviderUrn"}, False), ({"HuaweiOidcAgencyUrn"}, False), (set(), True), (set(KEYLESS), True)],
)
def test_a_provider_and_an_agency_come_together_or_not_at_all(given: set[str], *, is_taken: bool) -> None:
    keyless = {name: KEYLESS[name] for name in given}
    assert keeps_rules(translated(), FEWEST_PARAMETERS | keyless) is is_taken


def test_without_credentials_nothing_is_deployed() -> None:
    assert not keeps_rules(translated(), PARAMETERS)
    assert keeps_rules(translated(), PARAMETERS | KEYLESS)
    assert keeps_rules(translated(), FEWEST_PARAMETERS)


def test_keyless_needs_no_secret() -> None:
    template = translated()
    parameters = parameters_of(template, PARAMETERS | KEYLESS)
    for function in FUNCTIONS:
        properties = template["Resources"][function]["Properties"]
        variables = resolved(properties["Environment"]["Variables"], template, parameters)
        given = {name: value for name, value in variables.items() if value is not None}
        settings = read_settings(SETTINGS_OF[properties["Handler"]], given | {"AWS_LAMBDA_FUNCTION_NAME": function})
        assert (settings.provider_urn, settings.secret_id) == (KEYLESS["HuaweiOidcProviderUrn"], None)
        role = resolved(template["Resources"][properties["Role"]["Fn::GetAtt"][0]], template, parameters)
        statements = [
            each for policy in role["Properties"]["Policies"] for each in policy["PolicyDocument"]["Statement"]
        ]
        assert [each["Action"] for each in statements if each and "sts:" in str(each["Action"])] == [
            "sts:GetWebIdentityToken"
        ]
        assert "secretsmanager" not in str(statements)


def test_without_keyless_no_role_may_have_tokens() -> None:
    template = translated()
    assert "GetWebIdentityToken" not in str(
        resolved(template["Resources"], template, parameters_of(template, FEWEST_PARAMETERS))
    )


def test_a_sweep_of_checks_that_is_on_needs_a_project() -> None:
    template = translated()

    def is_taken(mode: str, project_id: str) -> bool:
        given = {"CheckSweepMode": mode, "CheckSweepProjectId": project_id}
        return keeps_rules(template, FEWEST_PARAMETERS | given)

    assert [is_taken(mode, "") for mode in ("off", "report", "stop")] == [True, False, False]
    assert [is_taken(mode, "p") for mode in ("off", "report", "stop")] == [True, True, True]


@pytest.mark.parametrize("parameter", ["CheckSweepProtect", "BatchSweepProtect"])
def test_the_template_the_sweep_and_its_schema_refuse_the_same_patterns(parameter: str) -> None:
    allowed = re.compile(written()["Parameters"][parameter]["AllowedPattern"])
    schema = json.loads((ROOT / "events" / "schemas" / "sweep.json").read_text())
    (pattern,) = {each["properties"]["protect"]["items"]["pattern"] for each in schema["$defs"].values()}
    by_schema = re.compile(pattern)
    sweep = {"sweep": "check_tasks", "project_id": "p", "older_than": "PT2H"}
    separators = {*'",;\u3001\uff0c\uff1b', *map(chr, range(0x20))}
    edges = []
    before, was_taken = "\0", False
    for each in map(chr, (*range(1, 0xD800), *range(0xE000, 0x1_0000), 0x1F600)):
        is_taken = by_schema.search(each) is not None
        forms = (each, f"{each}a", f"a{each}")
        lists = (*forms, *(f"b,{form}" for form in forms), *(f"{form},b" for form in forms))
        assert [by_schema.search(form) is not None for form in forms] == [is_taken] * 3, ascii(each)
        assert {allowed.fullmatch(one) is not None for one in lists} == {is_taken and each not in separators}
        assert (allowed.fullmatch(f"a{each}b") is not None) is (each not in separators - {","} and each != "\\")
        if is_taken is not was_taken:
            edges += [(before, was_taken), (each, is_taken)]
        before, was_taken = each, is_taken
    for each, is_taken in edges:
        for form in (each, f"{each}a", f"a{each}"):
            try:
                read_sweep(sweep | {"protect": [form]}, project_id="iam", instance_id=None)
            except SweepRejected:
                assert not is_taken, ascii(each)
            else:
                assert is_taken, ascii(each)
    assert allowed.fullmatch("a\u2003b,c d,Bob's")


def test_patterns_come_to_the_sweep_one_by_one() -> None:
    template = translated()
    target = template["Resources"]["SweepCheckTasksSchedule"]["Properties"]["Target"]
    given = {"CheckSweepProjectId": "p", "CheckSweepProtect": "release-*,nightly of the core"}
    assert json.loads(resolved(target["Input"], template, parameters_of(template, given))) == {
        "sweep": "check_tasks",
        "project_id": "p",
        "older_than": "PT2H",
        "limit": 50,
        "dry_run": True,
        "protect": ["release-*", "nightly of the core"],
    }


@pytest.mark.parametrize("environment", ["default", "prod"])
def test_sam_is_told_what_the_template_knows(environment: str) -> None:
    told = tomllib.loads((ROOT / "samconfig.toml").read_text())[environment]
    parameters = written()["Parameters"]
    assert told["build"]["parameters"] == {"build_in_source": True}
    deploy = told["deploy"]["parameters"]
    assert (deploy["capabilities"], deploy["resolve_s3"], deploy["confirm_changeset"]) == ("CAPABILITY_IAM", True, True)
    given = deploy.get("parameter_overrides", [])
    # `sam deploy --guided` writes its answers here as one line of text.
    for name, _, value in (each.partition("=") for each in (shlex.split(given) if isinstance(given, str) else given)):
        allowed = parameters[name].get("AllowedValues")
        assert allowed is None or value in map(str, allowed), name


def test_two_deployments_in_one_account_have_two_names() -> None:
    told = tomllib.loads((ROOT / "samconfig.toml").read_text())
    names = {told[environment]["deploy"]["parameters"]["stack_name"] for environment in ("default", "prod")}
    assert len(names) == 2


def test_every_check_that_is_passed_over_has_its_reason() -> None:
    lines = (ROOT / ".checkov.yaml").read_text().splitlines()
    skipped = [number for number, line in enumerate(lines) if line.strip().startswith("- CKV")]
    assert skipped
    assert [lines[number] for number in skipped if not lines[number - 1].strip().startswith("#")] == []
    beside = [
        each["Metadata"]["checkov"]["skip"]
        for each in written()["Resources"].values()
        if "checkov" in each.get("Metadata", {})
    ]
    assert [skip for skips in beside for skip in skips if not skip.get("comment")] == []

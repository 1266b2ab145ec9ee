"""Settings: every variable missing, empty and wrong; what an error names and shows, and what it never shows."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated

import pytest
from huaweicloudsdkcodeartscheck.v2.region.codeartscheck_region import CodeArtsCheckRegion
from huaweicloudsdkcore.auth.endpoint import get_sts_endpoint_by_id
from huaweicloudsdkiotda.v5.region.iotda_region import IoTDARegion
from pydantic import BaseModel, Field, SecretStr, ValidationError

from shared.errors import DeploymentFault
from shared.field_errors import show
from shared.http import Http
from shared.huawei.credentials import FixedCredentials, SecretCredentials
from shared.huawei.keyless import KeylessCredentials
from shared.redaction import redacted
from shared.settings import QueueFunctionSettings, StopTargetsSettings, StopTaskSettings, read_settings
from shared.wiring.clouds import _credentials
from tests.fakes import ENVIRONMENT, Clock, FakeAws

if TYPE_CHECKING:
    from collections.abc import Mapping

KINDS = [StopTaskSettings, StopTargetsSettings]
REQUIRED = [name for name in ENVIRONMENT if name not in {"HUAWEICLOUD_SDK_AK", "HUAWEICLOUD_SDK_SK"}]
AK, SK, TOKEN = (f"HUAWEICLOUD_SDK_{name}" for name in ("AK", "SK", "SECURITY_TOKEN"))
SECRET = "HUAWEICLOUD_SECRET_ID"
PROVIDER, AGENCY = (f"HUAWEICLOUD_OIDC_{name}_URN" for name in ("PROVIDER", "AGENCY"))
KEYLESS = {PROVIDER: "iam::d78cbac186:oidcProvider:aws", AGENCY: "iam::d78cbac186:agency:stopline"}
LAMBDA = "AWS_LAMBDA_FUNCTION_NAME"
SWITCH = "HUAWEICLOUD_KEYS_IN_ENVIRONMENT"
UNSHOWN = "never-shown"
REGION = "is not allowed: allowed are regions such as cn-north-4"
PROJECT_ID = "is not allowed: allowed are 1 to 64 of A-Z a-z 0-9 _ -"
INSTANCE_ID = "is not allowed: allowed are 1 to 36 visible ASCII characters"


def settings(
    changed: Mapping[str, str] = MappingProxyType({}),
    *,
    kind: type[QueueFunctionSettings] = StopTargetsSettings,
    without: tuple[str, ...] = (),
) -> QueueFunctionSettings:
    environment = {**ENVIRONMENT, **changed}
    return read_settings(kind, {name: value for name, value in environment.items() if name not in without})


def endpoint(changed: Mapping[str, str], *, kind: type[QueueFunctionSettings] = StopTargetsSettings) -> str:
    match settings(changed, kind=kind):
        case StopTaskSettings(check_endpoint=host) | StopTargetsSettings(iotda_endpoint=host):
            return host
    raise AssertionError(kind)


def test_the_defaults_are_the_contract_s() -> None:
    read = settings()
    assert (read.command_ttl_seconds, read.max_attempts, read.concurrent_calls) == (3600, 8, 8)
    assert read.visibility_timeout_seconds is None
    assert (read.lets_stop_all, read.default_instance_id, read.confirm_by_default) == (False, None, False)
    assert endpoint({}) == "https://iotda.cn-north-4.myhuaweicloud.com"
    assert endpoint({}, kind=StopTaskSettings) == "https://codearts-check.cn-north-4.myhuaweicloud.com"


def test_what_is_given_is_taken() -> None:
    read = settings(
        given := {
            "IOTDA_ENDPOINT": "https://abc.st1.iotda-app.cn-north-4.myhuaweicloud.com/",
            "IOTDA_INSTANCE_ID": "instance-1",
            "ALLOW_STOP_ALL": "true",
            "COMMAND_TTL_SECONDS": "60",
            "MAX_ATTEMPTS": "15",
            "CONCURRENT_CALLS": "64",
            "CONFIRM_BY_DEFAULT": "true",
        }
    )
    assert endpoint(given) == "https://abc.st1.iotda-app.cn-north-4.myhuaweicloud.com"
    assert (read.default_instance_id, read.lets_stop_all, read.confirm_by_default) == ("instance-1", True, True)
    assert (read.command_ttl_seconds, read.max_attempts, read.concurrent_calls) == (60, 15, 64)


@pytest.mark.parametrize("region", sorted(CodeArtsCheckRegion.static_fields))
def test_a_region_s_own_address_is_the_official_client_s_for_checks(region: str) -> None:
    official = CodeArtsCheckRegion.value_of(region).endpoints
    assert endpoint({"HUAWEICLOUD_REGION": region}, kind=StopTaskSettings) in official


@pytest.mark.parametrize("region", sorted(IoTDARegion.static_fields))
def test_a_region_s_own_address_is_the_official_client_s_for_iotda(region: str) -> None:
    assert endpoint({"HUAWEICLOUD_REGION": region}) in IoTDARegion.value_of(region).endpoints


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", REQUIRED)
def test_a_required_variable_that_is_missing_or_empty_is_named(kind: type[QueueFunctionSettings], name: str) -> None:
    with pytest.raises(DeploymentFault, match=f"^the settings are not right: {name}: is missing$"):
        settings(kind=kind, without=(name,))
    with pytest.raises(DeploymentFault, match=f"^the settings are not right: {name}: is missing$"):
        settings({name: ""}, kind=kind)


def test_all_that_is_missing_is_named_at_once() -> None:
    with pytest.raises(DeploymentFault) as fault:
        read_settings(StopTargetsSettings, {})
    assert [name for name in REQUIRED if f"{name}: is missing" not in str(fault.value)] == []


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("HUAWEICLOUD_REGION", "frankfurt", REGION),
        ("HUAWEICLOUD_REGION", "cn-north-4/x", REGION),
        ("HUAWEICLOUD_REGION", "cn-north-4\n", REGION),
        ("HUAWEICLOUD_REGION", "cn-north-٤", REGION),
        ("HUAWEICLOUD_SDK_PROJECT_ID", "a project", PROJECT_ID),
        ("HUAWEICLOUD_SDK_PROJECT_ID", "p/../q", PROJECT_ID),
        ("HUAWEICLOUD_SDK_PROJECT_ID", "p" * 65, PROJECT_ID),
        ("IOTDA_INSTANCE_ID", "an instance", INSTANCE_ID),
        ("IOTDA_INSTANCE_ID", "i" * 37, INSTANCE_ID),
        *(
            (name, value, reason)
            for name in ("COMMAND_TTL_SECONDS", "MAX_ATTEMPTS", "CONCURRENT_CALLS", "VISIBILITY_TIMEOUT_SECONDS")
            for value, reason in (
                ("many", "should be a whole number"),
                ("0", "should be at least 1"),
                ("-1", "should be at least 1"),
                ("1.5", "should be a whole number"),
                ("1e3", "should be a whole number"),
                ("9" * 400, "should be at most [0-9]+"),
                ("9" * 5000, "should be a whole number of fewer digits"),
                ("nan", "should be a whole number"),
            )
        ),
        ("COMMAND_TTL_SECONDS", "31536001", "should be at most 31536000"),
        ("MAX_ATTEMPTS", "16", "should be at most 15"),
        ("CONCURRENT_CALLS", "65", "should be at most 64"),
        ("VISIBILITY_TIMEOUT_SECONDS", "43201", "should be at most 43200"),
    ],
    ids=lambda value: value[:40],
)
def test_a_wrong_value_is_named_and_shown_with_the_reason(name: str, value: str, reason: str) -> None:
    shown = re.escape(show(value))
    with pytest.raises(DeploymentFault, match=f"^the settings are not right: {name}: {shown} {reason}$") as fault:
        settings({name: value})
    assert fault.value.__cause__ is None


@pytest.mark.parametrize("name", [SK, TOKEN])
def test_no_secret_is_shown_whatever_is_wrong_with_it(name: str) -> None:
    class Short(BaseModel):
        secret: Annotated[SecretStr | None, Field(max_length=5)] = Field(None, alias=name)

    with pytest.raises(
        DeploymentFault, match=rf'^the settings are not right: {name}: "\*\*\*" has 11 items, at most 5 '
    ) as fault:
        read_settings(Short, {name: UNSHOWN})
    assert UNSHOWN not in str(fault.value)


def test_a_text_that_is_no_unicode_can_be_shown() -> None:
    with pytest.raises(DeploymentFault, match=r'HUAWEICLOUD_REGION: "cn\\udcff" should be Unicode'):
        settings({"HUAWEICLOUD_REGION": "cn\udcff"})


ENDPOINTS = [("CODEARTS_CHECK_ENDPOINT", StopTaskSettings), ("IOTDA_ENDPOINT", StopTargetsSettings)]


@pytest.mark.parametrize(
    ("url", "taken"),
    [
        ("https://iotda.cn-north-4.myhuaweicloud.com", None),
        ("https://iotda.cn-north-4.myhuaweicloud.com/", "https://iotda.cn-north-4.myhuaweicloud.com"),
        ("HTTPS://IoTDA.cn-north-4.MyHuaweiCloud.com", "https://iotda.cn-north-4.myhuaweicloud.com"),
        ("https://host:8443", None),
        ("https://[2001:db8::1]:443", None),
        ("http://127.0.0.1:8080", None),
        ("http://127.8.9.1", None),
        ("http://localhost:1", None),
        ("http://[::1]:8080", None),
    ],
)
@pytest.mark.parametrize(("name", "kind"), ENDPOINTS)
def test_an_endpoint_is_a_host_and_nothing_more(
    name: str, kind: type[QueueFunctionSettings], url: str, taken: str | None
) -> None:
    assert endpoint({name: url}, kind=kind) == (taken or url)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://host.example", "should be https"),
        ("http://iotda.cn-north-4.myhuaweicloud.com", "should be https"),
        ("http://169.254.169.254", "should be https"),
        ("http://127.0.0.1.host.example", "should be https"),
        ("http://localhost.host.example", "should be https"),
        ("http://0.0.0.0", "should be https"),
        ("http://127.1", "should be https"),
        ("http://[::]", "should be https"),
        ("http://[::::]", "should be https"),
        *(
            (url, "should be https://host, without a path")
            for url in (
                "host.example",
                "//host.example",
                "ftp://host.example",
                "https://",
                "https:///path",
                "https://host/path",
                "https://host:8443/path",
                "https://host//",
                "https://host?never-shown",
                "https://host?x=1&token=never-shown",
                "https://host#never-shown",
                "https://never-shown@host",
                "https://:never-shown@host",
                "https://user:never-shown@host",  # pragma: allowlist secret - it opens nothing
                "https://user:never/shown#never-shown@host",  # pragma: allowlist secret - it opens nothing
                "https://user:never-shown@host/path@2",  # pragma: allowlist secret - it opens nothing
                "user:never-shown@host",  # pragma: allowlist secret - it opens nothing
                "never-shown@host",
                "host:never-shown",
                "https://user:never-shown\r\n@host",  # pragma: allowlist secret - it opens nothing
                "http://127.0.0.1@host.example",
                "http://127.0.0.1\\@host.example",
                "https://two words",
                "https://host\n",
                "https://host\r\nX-Evil: 1",
                "https://host:",
                "https://host:never-shown",
                "https://host:٤٤٣",
                "https://[::1",
                "https://höst",
                "https://ho℀st.example",
                " https://host",
            )
        ),
    ],
)
@pytest.mark.parametrize(("name", "kind"), ENDPOINTS)
def test_any_other_endpoint_is_named_and_shown_without_a_login(
    name: str, kind: type[QueueFunctionSettings], url: str, reason: str
) -> None:
    with pytest.raises(DeploymentFault, match=f"^the settings are not right: {name}: .*{reason}") as fault:
        settings({name: url}, kind=kind)
    assert UNSHOWN not in str(fault.value)
    assert "user" not in str(fault.value)
    assert f"{name}: {show(redacted(url))} should be" in str(fault.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:never-shown@host:443/path", "https://***"),  # pragma: allowlist secret - it opens nothing
        ("https://host:8443/path", "https://host:8443/***"),
        ("https://host:never-shown", "https://***"),
        ("https://host/path?x=never-shown", "https://host/***"),
    ],
)
def test_of_an_endpoint_is_shown_what_is_no_login(url: str, shown: str) -> None:
    with pytest.raises(DeploymentFault, match=f"IOTDA_ENDPOINT: {re.escape(show(shown))} should be https"):
        settings({"IOTDA_ENDPOINT": url})


@pytest.mark.parametrize("value", ["false", "True", "TRUE", "1", "yes", "on", "t", " true", "never-shown"])
def test_only_true_lets_stop_all_through(value: str) -> None:
    assert not settings({"ALLOW_STOP_ALL": value}).lets_stop_all


def test_a_check_function_never_stops_all() -> None:
    assert not settings({"ALLOW_STOP_ALL": "true"}, kind=StopTaskSettings).lets_stop_all


# --- credentials


@pytest.mark.parametrize("switch", ["", "false", "True", "1", "yes"])
def test_keys_in_the_environment_are_refused_in_lambda_unless_the_switch_says_true(switch: str) -> None:
    with pytest.raises(
        DeploymentFault, match=f"are for local use; in Lambda give {PROVIDER} and {AGENCY}, or {SECRET}.*{SWITCH}=true"
    ):
        settings({LAMBDA: "stop", SWITCH: switch, SECRET: "s"})
    assert settings({LAMBDA: "stop", SWITCH: "true"}).ak == "AK"


@pytest.mark.parametrize(
    "given",
    [{AK: UNSHOWN}, {SK: UNSHOWN}, {AK: UNSHOWN, SK: ""}, {TOKEN: UNSHOWN}, {SK: UNSHOWN, TOKEN: UNSHOWN}],
    ids="+".join,
)
@pytest.mark.parametrize("secret", ["", "s"], ids=["alone", "with a secret"])
def test_half_a_key_is_refused_and_not_shown(given: dict[str, str], secret: str) -> None:
    environment = {name: ENVIRONMENT[name] for name in REQUIRED} | given | {SECRET: secret}
    with pytest.raises(DeploymentFault, match=f"{AK} and {SK} are given both or not at all") as fault:
        read_settings(StopTaskSettings, environment)
    assert UNSHOWN not in str(fault.value)


def test_without_credentials_the_error_names_the_ways_to_give_them() -> None:
    with pytest.raises(DeploymentFault, match=f"no credentials.*{AK} and {SK}.*{PROVIDER} and {AGENCY}.*{SECRET}"):
        settings(without=(AK, SK))


@pytest.mark.parametrize(
    ("given", "keys"),
    [
        ({AK: "AK-1", SK: "SK-1"}, ("AK-1", "SK-1", None)),
        ({AK: "AK-1", SK: "SK-1", TOKEN: "T-1"}, ("AK-1", "SK-1", "T-1")),
        ({AK: "AK-1", SK: "SK-1", SECRET: "s"}, ("AK-1", "SK-1", None)),
        ({AK: "AK-1", SK: "SK-1", **KEYLESS}, ("AK-1", "SK-1", None)),
        ({SECRET: "s"}, ("AK-2", "SK-2", None)),
    ],
    ids=["keys", "temporary keys", "keys before the secret", "keys before keyless", "the secret"],
)
def test_credentials_are_taken_in_the_order_of_the_contract(
    given: dict[str, str], keys: tuple[str, str, str | None]
) -> None:
    environment = {name: ENVIRONMENT[name] for name in REQUIRED} | given
    aws = FakeAws(secrets={"s": ['{"ak": "AK-2", "sk": "SK-2"}']})
    source = _credentials(read_settings(StopTaskSettings, environment), aws, Http(connections=1), Clock().patience())  # type: ignore[arg-type]
    current = source.current(Clock().deadline())
    assert (current.ak, current.sk, current.security_token) == keys
    assert isinstance(source, FixedCredentials if AK in given else SecretCredentials)


@pytest.mark.parametrize("given", [{}, {SECRET: "s"}], ids=["alone", "before the secret"])
def test_keyless_comes_before_the_secret(given: dict[str, str]) -> None:
    environment = {name: ENVIRONMENT[name] for name in REQUIRED} | KEYLESS | given
    aws = FakeAws(secrets={"s": [UNSHOWN]})
    source = _credentials(read_settings(StopTaskSettings, environment), aws, Http(connections=1), Clock().patience())  # type: ignore[arg-type]
    assert isinstance(source, KeylessCredentials)


@pytest.mark.parametrize("name", [PROVIDER, AGENCY])
@pytest.mark.parametrize("secret", ["", "s"], ids=["alone", "with a secret"])
def test_half_of_keyless_is_refused(name: str, secret: str) -> None:
    with pytest.raises(DeploymentFault, match=f"{PROVIDER} and {AGENCY} are given both or not at all"):
        settings({name: KEYLESS[name], SECRET: secret}, without=(AK, SK))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (PROVIDER, "stopline"),
        (PROVIDER, "iam::1:agency:stopline"),
        (PROVIDER, "iam::1:oidcProvider:stopline\n"),
        (AGENCY, "iam::1:oidcProvider:stopline"),
        (AGENCY, "iam::1:agency:stop line"),
        (AGENCY, "arn:aws:iam::123456789012:role/stopline"),
    ],
)
def test_a_urn_of_another_kind_is_named_and_shown_with_one_that_is_allowed(name: str, value: str) -> None:
    with pytest.raises(DeploymentFault, match=f"^the settings are not right: {name}: ") as fault:
        settings(KEYLESS | {name: value})
    kind = "oidcProvider" if name == PROVIDER else "agency"
    assert f"{show(value)} is not allowed: allowed are URNs such as iam::<domain id>:{kind}:<name>" in str(fault.value)


@pytest.mark.parametrize(
    ("name", "value", "most"),
    [(PROVIDER, "iam::1:oidcProvider:" + "a" * 236, 255), (AGENCY, "iam::1:agency:" + "a" * 1487, 1500)],
    ids=["provider", "agency"],
)
def test_a_urn_that_is_too_long_is_named(name: str, value: str, most: int) -> None:
    with pytest.raises(DeploymentFault, match=f"{name}: .* should have at most {most} characters$"):
        settings(KEYLESS | {name: value})


@pytest.mark.parametrize("region", ["cn-north-4", "ap-southeast-3", "af-south-1"])
def test_a_region_s_own_sts_is_the_official_client_s(region: str) -> None:
    assert settings({"HUAWEICLOUD_REGION": region}).sts_endpoint == get_sts_endpoint_by_id(region)


def test_the_sts_that_is_given_is_taken() -> None:
    assert settings({"HUAWEICLOUD_SDK_STS_ENDPOINT": "https://sts.example/"}).sts_endpoint == "https://sts.example"
    with pytest.raises(DeploymentFault, match=r"HUAWEICLOUD_SDK_STS_ENDPOINT: .*should be https"):
        settings({"HUAWEICLOUD_SDK_STS_ENDPOINT": "http://never-shown.example"})


@pytest.mark.parametrize("name", ["", "f", "f" * 64])
def test_the_session_s_name_fits_huawei_s_limits_and_names_the_function(name: str) -> None:
    session = settings({LAMBDA: name, SWITCH: "true"}).session_name
    assert session == f"stopline-{name or 'local'}"
    assert 2 <= len(session) <= 128


def test_not_even_the_validation_s_own_error_shows_a_value() -> None:
    with pytest.raises(ValidationError) as error:
        StopTaskSettings.model_validate({**ENVIRONMENT, SK: UNSHOWN, "MAX_ATTEMPTS": UNSHOWN})
    assert UNSHOWN not in str(error.value)


def test_no_repr_of_the_settings_shows_a_secret() -> None:
    read = settings({SK: UNSHOWN, TOKEN: UNSHOWN})
    assert UNSHOWN not in f"{read!r} {read} {read.model_dump()} {read.model_dump_json()}"

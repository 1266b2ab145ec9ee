"""Settings out of the environment: each function demands exactly its own variables.

An empty variable counts as absent, since templates cannot always leave one out. Errors name the variable and show its
value, but no secret and no login.
"""

from __future__ import annotations

import ipaddress
import re
from abc import ABC
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)

from shared.commands import Defaults, InstanceId, InvalidCommand, ProjectId, StopTargets, known_of
from shared.errors import DeploymentFault
from shared.field_errors import explain, field_error, joined
from shared.redaction import HIDDEN, redacted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shared.commands import Command


_ENDPOINT: Final = re.compile(r"(https?)://([a-z0-9.-]+|\[[0-9a-f:.]+\])(:\d{1,5})?/?", re.ASCII)


def _endpoint(url: str) -> str:
    # In lower case, since the choice of signing is made by the name.
    parts = _ENDPOINT.fullmatch(url.lower())
    if not parts:
        raise ValueError("should be https://host, without a path")
    scheme, host, port = parts.groups(default="")
    if scheme != "https" and not _is_loop_back(host.strip("[]")):
        raise ValueError("should be https (http only to a loop-back address)")
    return f"{scheme}://{host}{port}"


_EUROPEAN: Final = re.compile(r"eu-west-1\d\d", re.ASCII)
"""The regions of Huawei Cloud's European site, which has a domain of its own; `eu-west-0` is not among them
(https://github.com/huaweicloud/terraform-provider-huaweicloud/pull/2239).
"""


def _regional(service: str, region: str) -> str:
    """Return the address of a service in a region, whether or not the region has that service."""
    domain = "myhuaweicloud.eu" if _EUROPEAN.fullmatch(region) else "myhuaweicloud.com"
    return f"https://{service}.{region}.{domain}"


def _is_loop_back(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


type Endpoint = Annotated[str, AfterValidator(_endpoint)]
type Region = Annotated[str, Field(pattern=r"^[a-z]{2,8}(-[a-z]{2,16})+-[0-9]{1,3}$")]
# A provider's name is documented (CreateOIDCProviderV5); the URN is the token's audience, too, and a client id has 255
# characters at most.
type ProviderUrn = Annotated[str, Field(pattern=r"^iam::[A-Za-z0-9_-]+:oidcProvider:[A-Za-z0-9_-]+$", max_length=255)]
type AgencyUrn = Annotated[str, Field(pattern=r"^iam::[A-Za-z0-9_-]+:agency:[A-Za-z0-9_+=,.@/-]+$", max_length=1500)]
# `true` and nothing else: what guards "stop everything" and the keys does not guess what "yes" or "1" means.
type Switch = Annotated[bool, BeforeValidator(lambda value: value == "true")]


class FunctionSettings(BaseModel):
    """What every function needs."""

    # Built when first used: a process reads the settings of one function, and pydantic would build all of them.
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True, defer_build=True)

    region: Region = Field(alias="HUAWEICLOUD_REGION")
    project_id: ProjectId = Field(alias="HUAWEICLOUD_SDK_PROJECT_ID")
    outcome_bus_name: str = Field(alias="OUTCOME_BUS_NAME")
    concurrent_calls: int = Field(8, ge=1, le=64, alias="CONCURRENT_CALLS")

    ak: str | None = Field(None, alias="HUAWEICLOUD_SDK_AK")
    sk: SecretStr | None = Field(None, alias="HUAWEICLOUD_SDK_SK")
    security_token: SecretStr | None = Field(None, alias="HUAWEICLOUD_SDK_SECURITY_TOKEN")
    keys_in_environment: Switch = Field(False, alias="HUAWEICLOUD_KEYS_IN_ENVIRONMENT")
    lambda_function_name: str | None = Field(None, alias="AWS_LAMBDA_FUNCTION_NAME")
    provider_urn: ProviderUrn | None = Field(None, alias="HUAWEICLOUD_OIDC_PROVIDER_URN")
    agency_urn: AgencyUrn | None = Field(None, alias="HUAWEICLOUD_OIDC_AGENCY_URN")
    sts_endpoint_given: Endpoint | None = Field(None, alias="HUAWEICLOUD_SDK_STS_ENDPOINT")
    secret_id: str | None = Field(None, alias="HUAWEICLOUD_SECRET_ID")

    @property
    def sts_endpoint(self) -> str:
        """Huawei's STS: the configured address, or the region's (huaweicloudsdkcore, auth/endpoint.py)."""
        return self.sts_endpoint_given or _regional("sts", self.region)

    @property
    def session_name(self) -> str:
        """What Huawei Cloud's audit log shows of a keyless session: 2 to 128 characters, of which Lambda's are 64."""
        return f"stopline-{self.lambda_function_name or 'local'}"

    @model_validator(mode="after")
    def _credentials_are_configured(self) -> Self:
        if (self.ak is None) != (self.sk is None) or (self.ak is None and self.security_token is not None):
            raise ValueError(
                "HUAWEICLOUD_SDK_AK and HUAWEICLOUD_SDK_SK are given both or not at all, and "
                "HUAWEICLOUD_SDK_SECURITY_TOKEN only with them"
            )
        if self.ak is not None and self.lambda_function_name and not self.keys_in_environment:
            raise ValueError(
                "HUAWEICLOUD_SDK_AK and HUAWEICLOUD_SDK_SK are for local use; in Lambda give "
                "HUAWEICLOUD_OIDC_PROVIDER_URN and HUAWEICLOUD_OIDC_AGENCY_URN, or HUAWEICLOUD_SECRET_ID "
                "(or set HUAWEICLOUD_KEYS_IN_ENVIRONMENT=true)"
            )
        if (self.provider_urn is None) != (self.agency_urn is None):
            raise ValueError(
                "HUAWEICLOUD_OIDC_PROVIDER_URN and HUAWEICLOUD_OIDC_AGENCY_URN are given both or not at all"
            )
        if self.ak is None and self.provider_urn is None and self.secret_id is None:
            raise ValueError(
                "no credentials for Huawei Cloud: give HUAWEICLOUD_SDK_AK and HUAWEICLOUD_SDK_SK (local use), or "
                "HUAWEICLOUD_OIDC_PROVIDER_URN and HUAWEICLOUD_OIDC_AGENCY_URN (keyless), or HUAWEICLOUD_SECRET_ID"
            )
        return self


class _OfCodeArtsCheck(FunctionSettings):
    check_endpoint_given: Endpoint | None = Field(None, alias="CODEARTS_CHECK_ENDPOINT")

    @property
    def check_endpoint(self) -> str:
        """The configured endpoint, or the region's (huaweicloudsdkcodeartscheck, codeartscheck_region.py).

        The European site has another name for it (https://support.huaweicloud.com/eu/api-codecheck/codecheck_03_0003.html).
        """
        service = "check" if _EUROPEAN.fullmatch(self.region) else "codearts-check"
        return self.check_endpoint_given or _regional(service, self.region)


class _OfIoTDA(FunctionSettings):
    iotda_endpoint_given: Endpoint | None = Field(None, alias="IOTDA_ENDPOINT")
    instance_id: InstanceId | None = Field(None, alias="IOTDA_INSTANCE_ID")

    @property
    def iotda_endpoint(self) -> str:
        """The instance's own access address, or the region's (huaweicloudsdkiotda, iotda_region.py)."""
        return self.iotda_endpoint_given or _regional("iotda", self.region)


class _OfCommands(FunctionSettings):
    # A year at most: ids outlive runs, and no sum with it may leave datetime's range.
    command_ttl_seconds: int = Field(3600, ge=1, le=31_536_000, alias="COMMAND_TTL_SECONDS")

    @property
    def time_to_live(self) -> timedelta:
        """How long a command is in force that does not say so itself."""
        return timedelta(seconds=self.command_ttl_seconds)


class CommandSettings(_OfCommands):
    """What every function that carries out commands needs."""

    # Lambda stops a message that went round 16 times (recursion detection), so that must not be reached.
    max_attempts: int = Field(8, ge=1, le=15, alias="MAX_ATTEMPTS")
    confirm_by_default: Switch = Field(False, alias="CONFIRM_BY_DEFAULT")

    @property
    def default_instance_id(self) -> str | None:
        """The IoTDA instance of a command that names none."""
        return None

    @property
    def lets_stop_all(self) -> bool:
        """Whether `all_targets` is let through."""
        return False

    def guard(self, command: Command) -> None:
        """Refuse what this deployment does not let through; raises `InvalidCommand`.

        A stop that was taken is only read, whatever the deployment lets through by now.
        """
        stops_all = isinstance(command, StopTargets) and command.all_targets and not command.awaiting
        if stops_all and not self.lets_stop_all:
            raise _forbidden(command, "all_targets", "ALLOW_STOP_ALL is not true in this deployment")

    def defaults(self, *, command_id: str, requested_at: datetime) -> Defaults:
        """Give what a command means by what it leaves out, if it came with this id and at this time."""
        return Defaults(
            command_id=command_id,
            requested_at=requested_at,
            time_to_live=self.time_to_live,
            project_id=self.project_id,
            instance_id=self.default_instance_id,
            confirm=self.confirm_by_default,
        )


class _OfTargets(_OfIoTDA, CommandSettings):
    allow_stop_all: Switch = Field(False, alias="ALLOW_STOP_ALL")

    @property
    def default_instance_id(self) -> str | None:
        """The configured instance."""
        return self.instance_id

    @property
    def lets_stop_all(self) -> bool:
        """As configured."""
        return self.allow_stop_all


class QueueFunctionSettings(CommandSettings, ABC):
    """What both queue functions need."""

    kind: ClassVar[Literal["stop_task", "stop_targets"]]

    command_queue_url: str = Field(alias="COMMAND_QUEUE_URL")
    dead_letter_queue_url: str = Field(alias="DEAD_LETTER_QUEUE_URL")
    # Of the command queue; 12 hours is the most that SQS takes.
    visibility_timeout_seconds: int | None = Field(None, ge=1, le=43_200, alias="VISIBILITY_TIMEOUT_SECONDS")

    def guard(self, command: Command) -> None:
        """Refuse what this queue or this deployment does not take; raises `InvalidCommand`."""
        if command.command != self.kind:
            raise _forbidden(command, "command", f"this queue takes {self.kind} only")
        super().guard(command)


class StopTaskSettings(_OfCodeArtsCheck, QueueFunctionSettings):
    """What `stop_task` needs."""

    kind = "stop_task"


class StopTargetsSettings(_OfTargets, QueueFunctionSettings):
    """What `stop_targets` needs."""

    kind = "stop_targets"


class StopInWorkflowSettings(_OfCodeArtsCheck, _OfTargets):
    """What `stop_in_workflow` needs: both services, and no queue."""


class SweepStaleTasksSettings(_OfCodeArtsCheck, _OfIoTDA, _OfCommands):
    """What `sweep_stale_tasks` needs: both services, and the queues that a person would send to."""

    stop_task_queue_url: str = Field(alias="STOP_TASK_QUEUE_URL")
    stop_targets_queue_url: str = Field(alias="STOP_TARGETS_QUEUE_URL")
    sightings_table_name: str | None = Field(None, alias="SIGHTINGS_TABLE_NAME")


def _forbidden(command: Command, loc: str, reason: str) -> InvalidCommand:
    return InvalidCommand((field_error(loc, reason),), known_of(command))


_ALLOWED: Final = {
    "HUAWEICLOUD_REGION": "regions such as cn-north-4",
    "HUAWEICLOUD_OIDC_PROVIDER_URN": "URNs such as iam::<domain id>:oidcProvider:<name>",
    "HUAWEICLOUD_OIDC_AGENCY_URN": "URNs such as iam::<domain id>:agency:<name>",
}
"""What the pattern of a variable allows, where the pattern says it to no reader."""


def read_settings[S: BaseModel](model: type[S], environment: Mapping[str, str]) -> S:
    """Read a function's settings; raises `DeploymentFault` that names each wrong variable, its value and why."""
    given = {name: value for name, value in environment.items() if value != ""}
    secrets = {each.alias for each in model.model_fields.values() if "SecretStr" in str(each.annotation)}

    def shown(name: str, value: str) -> str:
        return HIDDEN if name in secrets else redacted(value)

    try:
        return model.model_validate(given)
    except ValidationError as error:
        errors = explain(error, model=model, kind="the settings", payload=given, allowed=_ALLOWED, shown=shown)
        raise DeploymentFault(f"the settings are not right: {joined(errors, whole='credentials')}") from None

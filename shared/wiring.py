"""The composition root: the only place that reads the environment, the clock and chance, and makes the collaborators.

What it makes is kept for the life of a warm process.
"""

from __future__ import annotations

import os
import random
import time
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from pydantic import SecretStr

from shared.aws import Aws
from shared.deadline import Deadline
from shared.deliveries import Deliveries
from shared.errors import DeploymentFault
from shared.execution import Patience
from shared.http import Http
from shared.huawei.client import DerivedSigning, HuaweiClient, signing_for
from shared.huawei.codearts_check import CodeArtsCheck
from shared.huawei.credentials import Credentials, CredentialSource, FixedCredentials, SecretCredentials
from shared.huawei.iotda import IoTDA
from shared.pace import Pace
from shared.publishing import Publisher
from shared.settings import QueueFunctionSettings, StopTargetsSettings, StopTaskSettings, read_settings
from shared.telemetry import Telemetry, new_logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.execution import Service

SAFETY_MARGIN: Final = 1.0
"""Seconds kept back of Lambda's time, for the answer itself."""

IOTDA_SIGNING_NAME: Final = "iotdm"
"""What huaweicloudsdkiotda.v5.iotda_client binds derived keys to."""


def deadline_of(context: Any) -> Deadline:
    """Give the end of this invocation by Lambda's context object."""
    return Deadline.after(context.get_remaining_time_in_millis() / 1000, time.monotonic).less(SAFETY_MARGIN)


@cache
def stop_task() -> Deliveries:
    """Make what `functions.stop_task` calls; raises `DeploymentFault` for settings that are not right."""
    return _deliveries(read_settings(StopTaskSettings, os.environ), CodeArtsCheck, derived=None)


@cache
def stop_targets() -> Deliveries:
    """Make what `functions.stop_targets` calls; raises `DeploymentFault` for settings that are not right."""
    settings = read_settings(StopTargetsSettings, os.environ)
    derived = signing_for(settings.huawei_endpoint, region=settings.region, service=IOTDA_SIGNING_NAME)
    return _deliveries(settings, IoTDA, derived=derived)


def _deliveries(
    settings: QueueFunctionSettings, service: Callable[[HuaweiClient], Service], *, derived: DerivedSigning | None
) -> Deliveries:
    http = Http(connections=settings.concurrent_calls)
    aws = Aws(http=http, environment=os.environ, now=_now, sleep=time.sleep)
    client = HuaweiClient(
        http=http,
        endpoint=settings.huawei_endpoint,
        project_id=settings.project_id,
        credentials=_credentials(settings, aws),
        derived=derived,
        now=_now,
    )
    return Deliveries(
        settings=settings,
        service=service(client),
        publisher=Publisher(bus=aws, queues=aws, bus_name=settings.outcome_bus_name),
        pace=Pace(most=settings.concurrent_calls, sleep=time.sleep, uniform=random.uniform),
        patience=Patience(now=_now, sleep=time.sleep, uniform=random.uniform),
        telemetry=Telemetry(new_logger()),
    )


def _credentials(settings: QueueFunctionSettings, aws: Aws) -> CredentialSource:
    """Choose in the order of the contract: keys of the environment, then the secret."""
    match settings:
        case QueueFunctionSettings(ak=str(ak), sk=SecretStr() as sk, security_token=token):
            return FixedCredentials(Credentials(ak, sk.get_secret_value(), token.get_secret_value() if token else None))
        case QueueFunctionSettings(secret_id=str(secret_id)):
            return SecretCredentials(secrets=aws, secret_id=secret_id)
        case _:
            raise DeploymentFault("no credentials for Huawei Cloud")


def _now() -> datetime:
    return datetime.now(UTC)

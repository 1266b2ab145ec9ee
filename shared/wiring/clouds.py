"""What the wiring of all functions has in common: both clouds, the clock, and what tells of the work."""

from __future__ import annotations

import gc
import os
import random
import time
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final

from pydantic import SecretStr

from shared.aws import Aws, check_endpoint_settings
from shared.deadline import Deadline
from shared.errors import DeploymentFault
from shared.http import Http
from shared.huawei.client import DerivedSigning, HuaweiClient, signing_for
from shared.huawei.credentials import Credentials, CredentialSource, FixedCredentials, SecretCredentials
from shared.huawei.keyless import KeylessCredentials
from shared.pace import Pace
from shared.patience import Patience
from shared.proxies import Proxies, read_proxies
from shared.publishing import Publisher
from shared.redaction import redacted
from shared.settings import FunctionSettings
from shared.telemetry import NAMESPACE, NAMESPACE_VARIABLE, Telemetry, new_logger

SAFETY_MARGIN: Final = 1.0
"""Seconds kept back of Lambda's time, for the answer itself."""

IOTDA_SIGNING_NAME: Final = "iotdm"
"""What huaweicloudsdkiotda.v5.iotda_client binds derived keys to."""

_USUAL_THRESHOLDS: Final = (2_000, 10, 10)
"""Of the garbage collector, as Python 3.13 begins with them."""


def all_is_imported() -> None:
    """Let the garbage collector work as usual from here on, but leave alone what there is already.

    An error keeps the frames that it passed, and a handful of them a delivery's megabytes: at a high threshold a
    function whose calls fail would run out of memory long before anything is collected.
    """
    gc.freeze()
    gc.set_threshold(*_USUAL_THRESHOLDS)


def deadline_of(context: Any) -> Deadline:
    """Give the end of this invocation by Lambda's context object."""
    return Deadline.after(context.get_remaining_time_in_millis() / 1000, time.monotonic).less(SAFETY_MARGIN)


@cache
def telemetry() -> Telemetry:
    """Make what tells of the work: it is there before any setting is read, so that a wrong one is told too."""
    return Telemetry(new_logger(), namespace=os.environ.get(NAMESPACE_VARIABLE) or NAMESPACE)


class Clouds:
    """Both clouds over one HTTP stack, as the settings of a function say; raises `DeploymentFault`."""

    def __init__(self, settings: FunctionSettings) -> None:
        self._settings = settings
        self.patience = Patience(now=_now, sleep=time.sleep, uniform=random.uniform)
        check_endpoint_settings(os.environ)
        proxies = read_proxies(os.environ)
        self._http = _http(settings, proxies, "SSL_CERT_FILE")
        # As in AWS's SDKs, this bundle is for AWS alone.
        has_own = bool(os.environ.get("AWS_CA_BUNDLE"))
        self.aws = Aws(
            http=_http(settings, proxies, "AWS_CA_BUNDLE") if has_own else self._http,
            environment=os.environ,
            patience=self.patience,
            requests_at_once=settings.concurrent_calls,
        )
        self.publisher = Publisher(bus=self.aws, queues=self.aws, bus_name=settings.outcome_bus_name)
        self._credentials = _credentials(settings, self.aws, self._http, self.patience)

    def pace(self) -> Pace:
        """Make the pace of one of Huawei's services, each of which has quotas of its own."""
        return Pace(most=self._settings.concurrent_calls, sleep=time.sleep, uniform=random.uniform)

    def iotda_client(self, endpoint: str) -> HuaweiClient:
        """Make a client that signs as this address of IoTDA demands it."""
        derived = signing_for(endpoint, region=self._settings.region, service=IOTDA_SIGNING_NAME)
        return self.client(endpoint, derived=derived)

    def client(self, endpoint: str, *, derived: DerivedSigning | None = None) -> HuaweiClient:
        """Make a client of one address."""
        return HuaweiClient(
            http=self._http,
            endpoint=endpoint,
            project_id=self._settings.project_id,
            credentials=self._credentials,
            derived=derived,
            now=_now,
        )


def _http(settings: FunctionSettings, proxies: Proxies, bundle_variable: str) -> Http:
    """Make a stack that trusts the authorities in the file that this variable names, or else the system's."""
    bundle = os.environ.get(bundle_variable) or None
    try:
        return Http(connections=settings.concurrent_calls, proxies=proxies, ca_bundle=bundle)
    except OSError as error:
        raise DeploymentFault(
            f"{bundle_variable} is {redacted(bundle or '')!r}, which is no file of certificates: {error}"
        ) from error


def _credentials(settings: FunctionSettings, aws: Aws, http: Http, patience: Patience) -> CredentialSource:
    """Choose in the order of the contract: keys of the environment, keyless, the secret."""
    match settings:
        case FunctionSettings(ak=str(ak), sk=SecretStr() as sk, security_token=token):
            return FixedCredentials(Credentials(ak, sk.get_secret_value(), token.get_secret_value() if token else None))
        case FunctionSettings(provider_urn=str(provider_urn), agency_urn=str(agency_urn)):
            return KeylessCredentials(
                tokens=aws,
                http=http,
                endpoint=settings.sts_endpoint,
                provider_urn=provider_urn,
                agency_urn=agency_urn,
                session_name=settings.session_name,
                patience=patience,
            )
        case FunctionSettings(secret_id=str(secret_id)):
            return SecretCredentials(secrets=aws, secret_id=secret_id, now=patience.now)
        case _:
            raise DeploymentFault("no credentials for Huawei Cloud")


def _now() -> datetime:
    return datetime.now(UTC)

"""No secret and no login of any variable is in the error or in the log of a function that its settings keep from work.

Each function is started, as a cold process starts it, with each variable that it reads holding each form of a secret.
Nothing is sent: a function whose settings are right ends there.
"""

from __future__ import annotations

import logging
import os
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, Final
from unittest import mock

import pytest

from shared.errors import DeploymentFault
from shared.observability import correct
from shared.settings import (
    StopInWorkflowSettings,
    StopTargetsSettings,
    StopTaskSettings,
    SweepStaleTasksSettings,
)
from shared.telemetry import SERVICE, Telemetry, new_logger
from shared.wiring import stop_in_workflow, stop_targets, stop_task, sweep_stale_tasks
from tests.fakes import ENVIRONMENT
from tests.leaks import LEAKS, SECRET

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from shared.telemetry import Function

RIGHT: Final = ENVIRONMENT | {
    "STOP_TASK_QUEUE_URL": "https://sqs/stop-task",
    "STOP_TARGETS_QUEUE_URL": "https://sqs/stop-targets",
    "AWS_REGION": "eu-central-1",
    "AWS_ACCESS_KEY_ID": "a",
    "AWS_SECRET_ACCESS_KEY": "s",
}
STARTS: Final[dict[Function, Callable[[], object]]] = {
    "stop_task": stop_task.deliveries.__wrapped__,
    "stop_targets": stop_targets.deliveries.__wrapped__,
    "stop_in_workflow": stop_in_workflow.workflow.__wrapped__,
    "sweep_stale_tasks": sweep_stale_tasks.sweeper.__wrapped__,
}
MODELS: Final = (StopTaskSettings, StopTargetsSettings, StopInWorkflowSettings, SweepStaleTasksSettings)
OURS: Final = {str(each.alias) for model in MODELS for each in model.model_fields.values()}
PROXIES: Final = {"HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"}
OF_AWS: Final = {
    *("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SQS", "AWS_ENDPOINT_URL_EVENTBRIDGE", "AWS_ENDPOINT_URL_STS"),
    *("AWS_ENDPOINT_URL_SECRETS_MANAGER", "AWS_ENDPOINT_URL_DYNAMODB", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"),
    *("AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT", "AWS_CA_BUNDLE", "SSL_CERT_FILE"),
    *("AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
}
POWERTOOLS: Final = {
    *("POWERTOOLS_LOG_LEVEL", "LOG_LEVEL", "AWS_LAMBDA_LOG_LEVEL", "POWERTOOLS_LOGGER_SAMPLE_RATE"),
    *("POWERTOOLS_METRICS_DISABLED", "METRICS_NAMESPACE"),
}
STRIDE: Final = 97
"""Each variable has other leaks: all of them for each would take minutes."""

VARIABLES: Final = sorted(OURS | PROXIES | {each.lower() for each in PROXIES} | OF_AWS | POWERTOOLS)


@pytest.fixture(autouse=True)
def _a_logger_of_its_own() -> Iterator[None]:
    forget()
    yield
    forget()


def forget() -> None:
    """Let the logger be configured anew: all of its name share what the first was given."""
    shared = logging.getLogger(SERVICE)
    shared.handlers.clear()
    for name in ("init", "powertools_handler", "powertools_buffer_config", "powertools_buffer_cache"):
        shared.__dict__.pop(name, None)


def start(function: Function, environment: dict[str, str]) -> str:
    """Start a function in this environment; return what its error says."""
    said = ""
    with mock.patch.dict(os.environ, environment, clear=True):
        telemetry = Telemetry(new_logger(correct(os.environ)))
        with suppress(DeploymentFault), telemetry.invocation(function, "r-1"):
            try:
                STARTS[function]()
            except DeploymentFault as fault:
                said = "".join(traceback.format_exception(fault))
                raise
    return said


@pytest.mark.parametrize(
    ("variable", "more"),
    [*((each, {}) for each in VARIABLES), ("AWS_ENDPOINT_URL_SQS", {"AWS_USE_FIPS_ENDPOINT": "true"})],
    ids=str,
)
def test_no_variable_shows_a_secret(capfd: pytest.CaptureFixture[str], variable: str, more: dict[str, str]) -> None:
    some = LEAKS[VARIABLES.index(variable) % STRIDE :: STRIDE]
    for number, leak in enumerate(some):
        forget()
        function = list(STARTS)[number % len(STARTS)]
        said = start(function, RIGHT | more | {variable: leak})
        told = capfd.readouterr()
        assert SECRET not in said, leak
        assert SECRET not in told.out + told.err, leak


def test_these_settings_are_right() -> None:
    assert [start(function, dict(RIGHT)) for function in STARTS] == [""] * len(STARTS)

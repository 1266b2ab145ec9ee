"""SQS `StopTargetsQueue` → stop targets of IoTDA batch tasks."""

from __future__ import annotations

from typing import Any

from shared import wiring


def handler(event: Any, context: Any) -> dict[str, list[dict[str, str]]]:
    """Handle one delivery; answers `{"batchItemFailures": [...]}`. Raises `DeploymentFault`."""
    with wiring.telemetry().invocation("stop_targets", context.aws_request_id):
        return wiring.stop_targets().handle(event, deadline=wiring.deadline_of(context))

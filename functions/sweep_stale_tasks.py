"""EventBridge Scheduler → one sweep for tasks that have been running too long."""

from __future__ import annotations

from typing import Any

from shared import wiring


def handler(event: Any, context: Any) -> dict[str, Any]:
    """Carry out the sweep that the event is; answers with its report. Raises `SweepRejected`, `DeploymentFault`."""
    with wiring.telemetry().invocation("sweep_stale_tasks", context.aws_request_id):
        return wiring.sweep_stale_tasks().handle(event, deadline=wiring.deadline_of(context))

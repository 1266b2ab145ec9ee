"""SQS `StopTaskQueue` → stop CodeArts Check tasks."""

from __future__ import annotations

from typing import Any

from shared import wiring


def handler(event: Any, context: Any) -> dict[str, list[dict[str, str]]]:
    """Handle one delivery; answers `{"batchItemFailures": [...]}`. Raises `DeploymentFault`."""
    return wiring.stop_task().handle(event, deadline=wiring.deadline_of(context))

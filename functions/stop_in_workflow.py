"""Step Functions, or a direct call → carry out one command and answer with what became of it."""

from __future__ import annotations

from typing import Any

from shared import wiring


def handler(event: Any, context: Any) -> dict[str, Any]:
    """Carry out one command; answers with its final outcome, or `{"status": "unfinished", "remainder": {command}}`.

    Raises `CommandRejected`, `HuaweiUnavailable`, `PublishingFailed` and `DeploymentFault`.
    """
    with wiring.telemetry().invocation("stop_in_workflow", context.aws_request_id):
        return wiring.stop_in_workflow().handle(event, deadline=wiring.deadline_of(context))

"""One structured line an outcome, and one a fault: `command_id` finds the whole story of a command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aws_lambda_powertools import Logger

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from shared.outcomes import Outcome

SERVICE: Final = "stopline"


class Telemetry:
    """Says what happened, in the words of the contract. Keys, bodies and results of single targets are not logged."""

    def __init__(self, logger: Logger) -> None:
        self._logger = logger

    def outcomes_published(self, outcomes: Iterable[Outcome]) -> None:
        """Tell what became of commands."""
        for outcome in outcomes:
            self._logger.info(
                "outcome",
                extra={
                    "command_id": outcome.command_id,
                    "command": outcome.command,
                    "task_id": outcome.task_id,
                    "status": outcome.status.value,
                    "attempt": outcome.attempt,
                    "outcome_id": outcome.outcome_id,
                    "tally": {name: count for name, count in outcome.tally if count},
                    "errors": [error.model_dump() for error in outcome.errors],
                },
            )

    def not_acknowledged(self, reasons: Mapping[str, str]) -> None:
        """Tell which messages go back to SQS, and why."""
        for message_id, reason in reasons.items():
            self._logger.warning("not acknowledged", extra={"message_id": message_id, "why": reason})

    def deployment_fault(self, fault: Exception) -> None:
        """Tell what an operator has to mend."""
        self._logger.error("deployment fault", extra={"mend": str(fault)})

    def defects(self, errors: Iterable[Exception]) -> None:
        """Tell of errors of our own, with their stack."""
        for error in errors:
            self._logger.error("unexpected error", exc_info=error)


def new_logger() -> Logger:
    """Make the logger; `POWERTOOLS_LOG_LEVEL` or Lambda's own log level rules it."""
    return Logger(service=SERVICE, use_rfc3339=True, utc=True)

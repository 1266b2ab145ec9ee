"""Telemetry for tests: says nothing, and lets no error of our own pass for a fault of the outside."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, override

from aws_lambda_powertools import Logger

from shared.telemetry import Telemetry

if TYPE_CHECKING:
    from collections.abc import Iterable


@cache
def quiet_logger() -> Logger:
    return Logger(service="quiet", level="CRITICAL")


class NoDefects(Telemetry):
    """Raises what the service would have logged as an error of its own and given back to SQS."""

    def __init__(self) -> None:
        super().__init__(quiet_logger())

    @override
    def defects(self, errors: Iterable[Exception]) -> None:
        for error in errors:
            raise AssertionError("an error of our own") from error

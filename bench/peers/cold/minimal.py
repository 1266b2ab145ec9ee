"""The least that a function of Stopline's kind imports: a signer, an HTTP stack, one model and a logger."""

from __future__ import annotations

from typing import Any

import huaweicloudsdkcore.signer.signer
import urllib3
from aws_lambda_powertools import Logger
from pydantic import BaseModel

__all__ = ["handler", "huaweicloudsdkcore", "urllib3"]


class StopTask(BaseModel):
    """One command."""

    task_id: str


logger = Logger(service="minimal")


def handler(event: Any, context: Any) -> None:  # noqa: ARG001  # Lambda's signature
    """Do nothing with it: only its import is measured."""
    logger.info("read", extra={"task_id": StopTask.model_validate(event).task_id})

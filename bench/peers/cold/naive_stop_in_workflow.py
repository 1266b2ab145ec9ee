"""Step Functions → carry out one command, with the official SDKs."""

from __future__ import annotations

import json
import os
from typing import Any, Literal

import boto3
from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.parser import BaseModel, event_parser
from huaweicloudsdkcodeartscheck.v2 import CodeArtsCheckClient, StopTaskByIdRequest
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcore.region.region import Region
from huaweicloudsdkiotda.v5 import BatchTargets, IoTDAClient, StopBatchTaskRequest

TARGETS_PER_CALL = 100


class Command(BaseModel):
    """The command."""

    command: Literal["stop_task", "stop_targets"]
    task_id: str
    targets: tuple[str, ...] = ()


logger = Logger()
events = boto3.client("events")
credentials = BasicCredentials(
    os.environ["HUAWEICLOUD_SDK_AK"], os.environ["HUAWEICLOUD_SDK_SK"], os.environ["HUAWEICLOUD_SDK_PROJECT_ID"]
)
region = os.environ["HUAWEICLOUD_REGION"]
check = (
    CodeArtsCheckClient.new_builder()
    .with_credentials(credentials)
    .with_region(Region(region, os.environ["CODEARTS_CHECK_ENDPOINT"]))
    .build()
)
iotda = (
    IoTDAClient.new_builder()
    .with_credentials(credentials)
    .with_region(Region(region, os.environ["IOTDA_ENDPOINT"]))
    .build()
)


@logger.inject_lambda_context
@event_parser(model=Command)
def handler(event: Command, context: Any) -> dict[str, str]:  # noqa: ARG001  # Lambda's signature
    """Stop the task, or its targets one call after another."""
    if event.command == "stop_task":
        check.stop_task_by_id(StopTaskByIdRequest(task_id=event.task_id))
    for first in range(0, len(event.targets), TARGETS_PER_CALL):
        targets = BatchTargets(targets=list(event.targets[first : first + TARGETS_PER_CALL]))
        iotda.stop_batch_task(StopBatchTaskRequest(task_id=event.task_id, body=targets))
    outcome = {"task_id": event.task_id, "status": "succeeded"}
    events.put_events(
        Entries=[
            {
                "EventBusName": os.environ["OUTCOME_BUS_NAME"],
                "Source": "stopline",
                "DetailType": "Stop Outcome",
                "Detail": json.dumps(outcome),
            }
        ]
    )
    logger.info("stopped", extra=outcome)
    return outcome

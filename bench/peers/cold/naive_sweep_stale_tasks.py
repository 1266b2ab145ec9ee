"""EventBridge Scheduler → find batch tasks that have been running too long and have them stopped."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import boto3
from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.parser import BaseModel, event_parser
from huaweicloudsdkcodeartscheck.v2 import (
    CodeArtsCheckClient,
    ShowProgressDetailRequest,
    ShowTaskListByProjectIdRequest,
)
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcore.region.region import Region
from huaweicloudsdkiotda.v5 import IoTDAClient, ListBatchTasksRequest

CHECKING = 0


class Sweep(BaseModel):
    """What to look for."""

    sweep: Literal["check_tasks", "batch_tasks"]
    older_than: timedelta
    project_id: str = ""
    task_types: tuple[str, ...] = ("firmwareUpgrade", "softwareUpgrade")


logger = Logger()
events = boto3.client("events")
sqs = boto3.client("sqs")
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


def stale_checks(sweep: Sweep, before: datetime) -> list[str]:
    """Give the ids of the check tasks that run and were last checked before that time."""
    tasks = check.show_task_list_by_project_id(ShowTaskListByProjectIdRequest(project_id=sweep.project_id)).tasks
    return [
        task.task_id
        for task in tasks
        if datetime.fromisoformat(task.last_check_time).astimezone(UTC) < before
        and check.show_progress_detail(ShowProgressDetailRequest(task_id=task.task_id)).task_status == CHECKING
    ]


def stale_batches(sweep: Sweep, before: datetime) -> list[str]:
    """Give the ids of the batch tasks that run and were created before that time."""
    return [
        task.task_id
        for task_type in sweep.task_types
        for task in iotda.list_batch_tasks(ListBatchTasksRequest(task_type=task_type, status="Processing")).batchtasks
        if datetime.fromisoformat(task.create_time) < before
    ]


@logger.inject_lambda_context
@event_parser(model=Sweep)
def handler(event: Sweep, context: Any) -> dict[str, int]:  # noqa: ARG001  # Lambda's signature
    """Carry out one sweep."""
    before = datetime.now(UTC) - event.older_than
    stale = stale_checks(event, before) if event.sweep == "check_tasks" else stale_batches(event, before)
    for task_id in stale:
        sqs.send_message(QueueUrl=os.environ["COMMAND_QUEUE_URL"], MessageBody=json.dumps({"task_id": task_id}))
    report = {"stale": len(stale)}
    events.put_events(
        Entries=[
            {
                "EventBusName": os.environ["OUTCOME_BUS_NAME"],
                "Source": "stopline",
                "DetailType": "Sweep Completed",
                "Detail": json.dumps(report),
            }
        ]
    )
    logger.info("sweep", extra=report)
    return report

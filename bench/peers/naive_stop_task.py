"""Stop CodeArts Check tasks as the vendors' documentation teaches it; see `naive_stop_targets`."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import boto3
from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from aws_lambda_powertools.utilities.parser import BaseModel
from aws_lambda_powertools.utilities.parser.models import SqsRecordModel
from huaweicloudsdkcodeartscheck.v2 import CodeArtsCheckClient, StopTaskByIdRequest
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from pydantic import Json  # noqa: TC002 - pydantic reads it

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


class StopTask(BaseModel):
    """The command."""

    command: str
    task_id: str


class Record(SqsRecordModel):
    """An SQS record whose body is the command."""

    body: Json[StopTask]


logger = Logger()
processor = BatchProcessor(event_type=EventType.SQS, model=Record)
events = boto3.client("events")
check = (
    CodeArtsCheckClient.new_builder()
    .with_credentials(
        BasicCredentials(
            os.environ["HUAWEICLOUD_SDK_AK"],
            os.environ["HUAWEICLOUD_SDK_SK"],
            os.environ["HUAWEICLOUD_SDK_PROJECT_ID"],
        )
    )
    .with_endpoint(os.environ["CODEARTS_CHECK_ENDPOINT"])
    .build()
)


def record_handler(record: Record) -> None:
    """Stop the task of one message, and publish that it was."""
    command = record.body
    check.stop_task_by_id(StopTaskByIdRequest(task_id=command.task_id))
    answer = events.put_events(
        Entries=[
            {
                "EventBusName": os.environ["OUTCOME_BUS_NAME"],
                "Source": "stopline",
                "DetailType": "Stop Outcome",
                "Detail": json.dumps({"command_id": record.messageId, "task_id": command.task_id, "stopped": 1}),
            }
        ]
    )
    if answer["FailedEntryCount"]:
        raise RuntimeError(answer["Entries"][0]["ErrorCode"])
    logger.info("stopped", extra={"task_id": command.task_id})


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> Any:
    """Handle one delivery."""
    return process_partial_response(event=event, record_handler=record_handler, processor=processor, context=context)

"""Stop targets of IoTDA batch tasks as the vendors' documentation teaches it: their SDKs, one call after another.

Clients are made once and keep their connections; messages are parsed by a model; a message that fails is given back
alone. It is what one writes in an afternoon: Powertools' batch processor and parser
(https://docs.aws.amazon.com/powertools/python/latest/utilities/batch/#pydantic-integration), Huawei's SDK
(https://support.huaweicloud.com/intl/en-us/sdkreference-iothub/iot_10_1000.html) and boto3.
"""

from __future__ import annotations

import json
import os
from itertools import batched
from typing import TYPE_CHECKING, Any

import boto3
from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from aws_lambda_powertools.utilities.parser import BaseModel
from aws_lambda_powertools.utilities.parser.models import SqsRecordModel
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcore.region.region import Region
from huaweicloudsdkiotda.v5 import BatchTargets, IoTDAClient, StopBatchTaskRequest
from pydantic import Json  # noqa: TC002 - pydantic reads it

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


class StopTargets(BaseModel):
    """The command."""

    command: str
    task_id: str
    targets: list[str]


class Record(SqsRecordModel):
    """An SQS record whose body is the command."""

    body: Json[StopTargets]


logger = Logger()
processor = BatchProcessor(event_type=EventType.SQS, model=Record)
events = boto3.client("events")
iotda = (
    IoTDAClient.new_builder()
    .with_credentials(
        BasicCredentials(
            os.environ["HUAWEICLOUD_SDK_AK"],
            os.environ["HUAWEICLOUD_SDK_SK"],
            os.environ["HUAWEICLOUD_SDK_PROJECT_ID"],
        ).with_derived_predicate(BasicCredentials.get_default_derived_predicate())
    )
    .with_region(Region(os.environ["HUAWEICLOUD_REGION"], os.environ["IOTDA_ENDPOINT"]))
    .build()
)


def record_handler(record: Record) -> None:
    """Stop the targets of one message, 100 a call, and publish what became of them."""
    command = record.body
    stopped, failed = 0, []
    for chunk in batched(command.targets, 100, strict=False):
        request = StopBatchTaskRequest(task_id=command.task_id, body=BatchTargets(targets=list(chunk)))
        for target in iotda.stop_batch_task(request).targets:
            if target.status == "success":
                stopped += 1
            else:
                failed.append({"target": target.target, "error_code": target.error_code})
    outcome = {"command_id": record.messageId, "task_id": command.task_id, "stopped": stopped, "failed": failed}
    answer = events.put_events(
        Entries=[
            {
                "EventBusName": os.environ["OUTCOME_BUS_NAME"],
                "Source": "stopline",
                "DetailType": "Stop Outcome",
                "Detail": json.dumps(outcome),
            }
        ]
    )
    if answer["FailedEntryCount"]:
        raise RuntimeError(answer["Entries"][0]["ErrorCode"])
    logger.info("stopped", extra={"task_id": command.task_id, "stopped": stopped, "failed": len(failed)})


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> Any:
    """Handle one delivery."""
    return process_partial_response(event=event, record_handler=record_handler, processor=processor, context=context)

"""The work that is measured: SQS deliveries, and the tasks at Huawei Cloud that they are about."""

from __future__ import annotations

import json
import time
from itertools import batched, count
from typing import TYPE_CHECKING, Any, Final

from local.huawei import BatchTask, CheckTask

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_NUMBERS: Final = count()
TASK_ID: Final = "5f1ac5c3e4b0"


def device_ids(number: int, *, length: int = 36) -> tuple[str, ...]:
    """Make so many ids: of 36 characters as Huawei makes them, or of another length, 7 at the least."""
    if length == len("e495cf17-ff79-4294-8f64-4d367919d665"):
        return tuple(f"{each:08x}-ff79-4294-8f64-4d367919d665" for each in range(number))
    return tuple(f"{each:0{length}d}" for each in range(number))


def batch_task(targets: Sequence[str], task_id: str = TASK_ID) -> BatchTask:
    """Make a batch task, all of whose targets run."""
    return BatchTask(task_id=task_id, targets=tuple(targets))


def stop_targets(targets: Sequence[str], task_id: str = TASK_ID) -> dict[str, Any]:
    """Make a command."""
    return {"command": "stop_targets", "task_id": task_id, "targets": list(targets)}


def check_tasks(number: int) -> tuple[CheckTask, ...]:
    """Make checks that run."""
    return tuple(CheckTask(task_id=f"{each:032x}") for each in range(number))


def stop_task(task: CheckTask) -> dict[str, Any]:
    """Make a command."""
    return {"command": "stop_task", "task_id": task.task_id}


def delivery(*bodies: dict[str, Any] | str) -> dict[str, Any]:
    """Make one delivery of SQS (https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html)."""
    return {"Records": [_record(body if isinstance(body, str) else json.dumps(body)) for body in bodies]}


def deliveries(bodies: Iterable[dict[str, Any]], *, size: int) -> list[dict[str, Any]]:
    """Make deliveries of so many messages each."""
    return [delivery(*some) for some in batched(bodies, size, strict=False)]


def _record(body: str) -> dict[str, Any]:
    return {
        "messageId": f"059f36b4-87a3-44ab-83d2-{next(_NUMBERS):012x}",
        "receiptHandle": "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a",
        "body": body,
        "attributes": {
            "ApproximateReceiveCount": "1",
            "SentTimestamp": str(time.time_ns() // 1_000_000),
            "SenderId": "AIDAIENQZJOLO23YVJ4VO",
            "ApproximateFirstReceiveTimestamp": str(time.time_ns() // 1_000_000),
        },
        "messageAttributes": {},
        "md5OfBody": "e4e68fb7bd0e697a0ae8f1bb342846b3",
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:eu-west-1:123456789012:commands",
        "awsRegion": "eu-west-1",
    }

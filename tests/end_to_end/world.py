"""The local world with Stopline in it, for tests that look at one deployment from many sides."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from local import redrive
from local.build import build
from local.huawei import PROJECT_ID, AccessKey, HuaweiStandIn
from local.stack import REGION, TEMPLATE, LocalStack
from tests.schemas import complaints

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import pytest

    from local.huawei import Scenario

LONG_ENOUGH: Final = 60.0
"""Seconds within which whatever a test waits for comes true, on a busy machine too."""


def redrive_on(stack: LocalStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let redrive, called in this process, speak to the local world."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", stack.endpoint)
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.setattr(redrive, "WAIT", 1)  # long polling still, and the stand-in is one server


@dataclass(frozen=True, slots=True)
class World:
    """AWS and Huawei Cloud on this machine, the template deployed to the one and pointed at the other."""

    stack: LocalStack
    huawei: HuaweiStandIn
    _seen: list[dict[str, Any]] = field(default_factory=list)

    def events(self, detail_type: str, **fields: Any) -> list[dict[str, Any]]:
        """Give the details of all events of this type so far that have these fields, in the order of their arrival."""
        queue = self.stack.outcome_queue_url
        while messages := self.stack.sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages"):
            came = [json.loads(each["Body"]) for each in messages]
            assert [complaint for event in came for complaint in complaints(event)] == []
            self._seen.extend(came)
            for each in messages:
                self.stack.sqs.delete_message(QueueUrl=queue, ReceiptHandle=each["ReceiptHandle"])
        details = [event["detail"] for event in self._seen if event["detail-type"] == detail_type]
        return [each for each in details if fields.items() <= each.items()]


@contextmanager
def deployed(scenario: Scenario | None = None, *, template: Path = TEMPLATE, **parameters: str) -> Iterator[World]:
    """Give a world in which `template` is deployed with these parameters, and take it down at the end."""
    with HuaweiStandIn(scenario) as huawei, LocalStack() as stack:
        stack.deploy(
            build("host"),
            template=template,
            parameters={
                "HuaweiRegion": "cn-north-4",
                "HuaweiProjectId": PROJECT_ID,
                "CodeArtsCheckEndpoint": huawei.endpoint,
                "IotdaEndpoint": huawei.endpoint,
                **parameters,
            },
            environment={
                "HUAWEICLOUD_SDK_AK": AccessKey().ak,
                "HUAWEICLOUD_SDK_SK": AccessKey().sk,
                "HUAWEICLOUD_KEYS_IN_ENVIRONMENT": "true",
            },
        )
        yield World(stack, huawei)


def wait_until[T](condition: Callable[[], T]) -> T:
    """Give what `condition` gives as soon as it is true."""
    give_up_at = time.monotonic() + LONG_ENOUGH
    while not (found := condition()):
        assert time.monotonic() < give_up_at, "it never came true"
        time.sleep(0.05)
    return found

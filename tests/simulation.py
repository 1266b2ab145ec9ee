"""The whole service in one thread and in told time: the real pipeline over the Huawei stand-in, without a socket.

Whatever lies between two steps is a `Boundary`, at which a test may have the process killed. Time moves only when
somebody waits.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from local.huawei import PROJECT_ID, AccessKey, Cloud, Scenario
from local.huawei.signatures import Request
from shared.deliveries import Deliveries
from shared.errors import DeploymentFault
from shared.http import NoAnswer, Response
from shared.huawei.client import DerivedSigning, HuaweiClient
from shared.huawei.codearts_check import CodeArtsCheck
from shared.huawei.credentials import Credentials, FixedCredentials
from shared.huawei.iotda import IoTDA
from shared.publishing import Publisher
from tests.fakes import ENVIRONMENT, NOW, Clock, failure_of, settings_of
from tests.quiet import NoDefects

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from shared.aws import BusEvent, Failure, Message
    from shared.deadline import Deadline
    from shared.execution import Service
    from shared.huawei.client import HttpSender

FUNCTION_SECONDS: Final = 120.0
FINAL: Final = frozenset({"succeeded", "failed", "rejected", "expired", "dry_run"})


class Killed(BaseException):
    """The process is gone; nothing after this line happened."""


class Boundary(Enum):
    """Between which two steps."""

    BEFORE_A_CALL = "before a call"
    AFTER_A_CALL = "after a call"
    BEFORE_PUBLISHING = "before publishing"
    AFTER_PUBLISHING = "after publishing"
    BEFORE_SENDING = "before a remainder or dead letter is sent"
    AFTER_SENDING = "after a remainder or dead letter is sent"
    BEFORE_CHANGING_VISIBILITY = "before SQS is told when to deliver again"
    BEFORE_THE_ANSWER = "before the answer to Lambda"


class CloudHttp:
    """`shared.http.Http` with the stand-in at the other end and a told clock in between."""

    def __init__(
        self,
        cloud: Cloud,
        clock: Clock,
        reach: Callable[[Boundary], None],
        fail: Callable[[], NoAnswer | None] = lambda: None,
    ) -> None:
        self._cloud = cloud
        self._clock = clock
        self._reach = reach
        self._fail = fail

    def send(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes | None, timeout: float
    ) -> Response:
        assert timeout > 0
        self._reach(Boundary.BEFORE_A_CALL)
        if error := self._fail():
            raise error
        parts = urlsplit(url)
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        reply = self._cloud.handle(
            Request(method, target, {name.lower(): value for name, value in headers.items()}, body or b"")
        )
        taken = min(reply.delay, timeout, 10.0)
        self._clock.seconds += taken
        self._reach(Boundary.AFTER_A_CALL)
        if reply.cut or reply.drip or taken < reply.delay:
            raise NoAnswer("cut")
        return Response(reply.status, {name.lower(): value for name, value in reply.headers.items()}, reply.body)


@dataclass
class SimulatedAws:
    """A bus and queues. `spoil` says of each entry whether it fails, and whether it was taken all the same."""

    reach: Callable[[Boundary], None]
    spoil: Callable[[], str | None]
    events: list[dict[str, Any]] = field(default_factory=list)
    sent: dict[str, list[Message]] = field(default_factory=dict)
    hidden: dict[str, int] = field(default_factory=dict)
    """Seconds by receipt handle."""

    def put_events(self, bus: str, events: Sequence[BusEvent], *, deadline: Deadline) -> Mapping[int, str]:
        assert bus == ENVIRONMENT["OUTCOME_BUS_NAME"]
        assert deadline.remaining() > 0
        self.reach(Boundary.BEFORE_PUBLISHING)
        failed = self._take(events, lambda event: self.events.append(json.loads(event.detail)))
        self.reach(Boundary.AFTER_PUBLISHING)
        return failed

    def send_messages(
        self, queue_url: str, messages: Sequence[Message], *, deadline: Deadline
    ) -> Mapping[int, Failure]:
        assert deadline.remaining() > 0
        self.reach(Boundary.BEFORE_SENDING)
        failed = self._take(messages, self.sent.setdefault(queue_url, []).append)
        self.reach(Boundary.AFTER_SENDING)
        return {number: failure_of(reason, in_doubt=True) for number, reason in failed.items()}

    def change_visibility(
        self, queue_url: str, timeouts: Sequence[tuple[str, int]], *, deadline: Deadline
    ) -> Mapping[int, str]:
        assert queue_url == ENVIRONMENT["COMMAND_QUEUE_URL"]
        if timeouts:
            self.reach(Boundary.BEFORE_CHANGING_VISIBILITY)
        if not deadline.remaining():
            return dict.fromkeys(range(len(timeouts)), "NoTimeLeft: not sent")
        return self._take(timeouts, lambda each: self.hidden.update([each]))

    def _take[T](self, entries: Iterable[T], take: Callable[[T], None]) -> dict[int, str]:
        failed = {}
        for number, entry in enumerate(entries):
            match self.spoil():
                case None:
                    take(entry)
                case "lost":
                    failed[number] = "InternalFailure: lost"
                case "taken, answer lost":
                    take(entry)
                    failed[number] = "NoAnswer: cut"
        return failed


@dataclass
class Waiting:
    """A message in the queue. `sent_at`, `visible_at`: seconds on the clock."""

    message_id: str
    body: str
    sent_at: float
    visible_at: float
    receives: int = 0

    @property
    def receipt_handle(self) -> str:
        return f"{self.message_id}, received {self.receives} times"


class Simulation:
    """One queue function with its queue, its dead-letter queue, the bus and Huawei Cloud."""

    def __init__(self, kind: str = "stop_targets", *, scenario: Scenario | None = None, **settings: str) -> None:
        self.clock = Clock()
        self.cloud = Cloud(scenario, clock=lambda: self.clock.now().timestamp())
        self.kill_at: Boundary | None = None
        self.spoilt: Callable[[], str | None] = lambda: None
        self.connection_fails: Callable[[], NoAnswer | None] = lambda: None
        """Says of each request to Huawei Cloud with which error it never gets there, if so."""
        self.aws = SimulatedAws(self._reach, lambda: self.spoilt())  # noqa: PLW0108 - a test exchanges it
        self.queue: list[Waiting] = []
        self.acknowledged: list[str] = []
        self.repeats_of: Counter[str] = Counter()
        """By `command_id`: how often one of its messages was delivered again."""
        self.kills = 0
        self.kind = kind
        self.settings = {"VISIBILITY_TIMEOUT_SECONDS": "1"} | settings
        self._numbers = iter(range(10**9))
        self._start()

    def _start(self) -> None:
        """Begin a cold process: what a killed one knew is gone."""
        key = AccessKey()
        http: HttpSender = CloudHttp(self.cloud, self.clock, self._reach, lambda: self.connection_fails())  # noqa: PLW0108
        is_iotda = self.kind == "stop_targets"
        client = HuaweiClient(
            http=http,
            endpoint="https://instance.st1.iotda-app.cn-north-4.myhuaweicloud.com",
            project_id=PROJECT_ID,
            credentials=FixedCredentials(Credentials(key.ak, key.sk)),
            derived=DerivedSigning(region="cn-north-4", service="iotdm") if is_iotda else None,
            now=self.clock.now,
        )
        service: Service = IoTDA(client) if is_iotda else CodeArtsCheck(client)
        self._deliveries = Deliveries(
            settings=settings_of(self.kind, HUAWEICLOUD_SDK_PROJECT_ID=PROJECT_ID, **self.settings),
            service=service,
            publisher=Publisher(bus=self.aws, queues=self.aws, bus_name=ENVIRONMENT["OUTCOME_BUS_NAME"]),
            queues=self.aws,
            pace=self.clock.pace(),
            patience=self.clock.patience(),
            telemetry=NoDefects(),
        )

    def _reach(self, boundary: Boundary) -> None:
        if boundary is self.kill_at:
            self.kill_at = None
            self.kills += 1
            raise Killed(boundary.value)

    def send(self, body: str | Mapping[str, Any]) -> str:
        """Put a message into the queue; gives its message id."""
        message_id = f"m-{next(self._numbers)}"
        text = body if isinstance(body, str) else json.dumps(body)
        self.queue.append(Waiting(message_id, text, self.clock.seconds, self.clock.seconds))
        return message_id

    @property
    def visible(self) -> list[Waiting]:
        return [message for message in self.queue if message.visible_at <= self.clock.seconds]

    def deliver(
        self, batch: Sequence[Waiting], *, again: Sequence[Waiting] = (), seconds: float = FUNCTION_SECONDS
    ) -> None:
        """Deliver a batch. What is in `again` stays in the queue even if it is acknowledged: a duplicate to come."""
        for message in batch:
            message.receives += 1
            if message.receives > 1 and message.body.startswith("{"):
                self.repeats_of[json.loads(message.body).get("command_id", message.message_id)] += 1
        event = {
            "Records": [
                {
                    "messageId": message.message_id,
                    "body": message.body,
                    "eventSource": "aws:sqs",
                    "receiptHandle": message.receipt_handle,
                    "attributes": {
                        "SentTimestamp": str(int((NOW.timestamp() + message.sent_at) * 1000)),
                        "ApproximateReceiveCount": str(message.receives),
                    },
                }
                for message in batch
            ]
        }
        before = self.clock.seconds
        failed = {message.message_id for message in batch}
        try:
            answer = self._deliveries.handle(event, deadline=self.clock.deadline(seconds - 1))
            self._reach(Boundary.BEFORE_THE_ANSWER)
            answered = {each["itemIdentifier"] for each in answer["batchItemFailures"]}
            assert answered <= failed
            failed = answered
        except Killed:
            self._start()
        except DeploymentFault:
            pass
        assert self.clock.seconds - before < seconds, "Lambda would have ended it"
        for message in batch:
            if message.message_id in failed or message in again:
                hidden = self.aws.hidden.pop(message.receipt_handle, int(self.settings["VISIBILITY_TIMEOUT_SECONDS"]))
                message.visible_at = self.clock.seconds + hidden
            else:
                self.queue.remove(message)
                self.acknowledged.append(message.message_id)
        remainders = self.aws.sent.get(ENVIRONMENT["COMMAND_QUEUE_URL"], [])
        for remainder in remainders:
            now = self.clock.seconds
            name = f"r-{next(self._numbers)}"
            self.queue.append(Waiting(name, remainder.body, now, now + remainder.delay_seconds))
        remainders.clear()

    def run_out(self, *, most: int = 400) -> int:
        """Deliver until the queue is empty; gives the number of deliveries."""
        for number in range(most):
            if not self.queue:
                return number
            self.clock.seconds = max(self.clock.seconds, min(message.visible_at for message in self.queue))
            self.deliver(self.visible[:10])
        raise AssertionError(f"{len(self.queue)} messages never end: {self.queue[:3]}")

    @property
    def dead_letters(self) -> list[Message]:
        return self.aws.sent.get(ENVIRONMENT["DEAD_LETTER_QUEUE_URL"], [])

    def events_of(self, command_id: str) -> list[dict[str, Any]]:
        """The events of a command as a consumer keeps them: repeats dropped by `outcome_id`."""
        seen: dict[str, dict[str, Any]] = {}
        for event in self.aws.events:
            if event["command_id"] == command_id:
                seen.setdefault(event["outcome_id"], event)
        return list(seen.values())

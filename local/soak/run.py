"""The run: deploy, send, disturb, wait until all is quiet, and collect the evidence."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections import defaultdict
from dataclasses import dataclass, field, replace
from random import Random
from typing import TYPE_CHECKING, Any, Final

from local.build import build
from local.huawei import PROJECT_ID, AccessKey, HuaweiStandIn
from local.soak.faulty_aws import FaultyAws
from local.soak.huawei_faults import NO_QUOTAS, SMALL_QUOTAS
from local.soak.judge import Evidence, Letter, judge
from local.soak.plan import RUNNING
from local.stack import LocalStack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from local.messages import Way
    from local.soak.orders import Order, Plan

_QUEUES: Final = ("StopTaskQueue", "StopTargetsQueue")
_DEAD_LETTER_QUEUES: Final = ("StopTaskDeadLetterQueue", "StopTargetsDeadLetterQueue")
_FUNCTIONS: Final = ("StopTaskFunction", "StopTargetsFunction")
_BATCH_ENTRIES: Final = 10
_BATCH_BYTES: Final = 900_000
_OUTAGE: Final = 4.0


@dataclass(frozen=True, slots=True)
class Tempo:
    """How fast a run goes.

    `function_timeout`, `visibility_timeout`: seconds; the second must be the longer one. `delay_divisor`: of the
    remainders' delays. `max_attempts`: the template's default, which stays but for a quick run. `processes`: of each
    function, at a time. `backlog`: commands under way at a time.
    """

    function_timeout: int = 30
    visibility_timeout: int = 45
    delay_divisor: int = 20
    max_attempts: int = 8
    processes: int = 4
    backlog: int = 400
    outages: int = 2
    time_limit: float = 1800.0


USUAL: Final = Tempo()

QUICK: Final = Tempo(
    function_timeout=8,
    visibility_timeout=9,
    delay_divisor=100,
    max_attempts=3,
    processes=2,
    backlog=60,
    outages=1,
    time_limit=60,
)
"""For a run of some dozens of commands in seconds, as `make test` makes it."""


@dataclass(slots=True)
class Result:
    """What a run came to. `seconds`: of the soak itself, without building and deploying."""

    seed: int
    seconds: float
    ledger: dict[str, int] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)


class Soak:
    """One run."""

    def __init__(self, plan: Plan, *, seed: int, kills: int, tempo: Tempo, say: Callable[[str], None]) -> None:
        self._plan = plan
        self._seed = seed
        self._tempo = tempo
        self._say = say
        self._dice = Random(f"{seed} disturbances")  # noqa: S311 — no secret
        span = len(plan.orders)
        # At how many ended commands; the last tenth is left in peace, so that the run comes to an end.
        self._kills = sorted(self._dice.uniform(0, 0.9) * span for _ in range(kills))
        self._outages = sorted(self._dice.uniform(0.1, 0.8) * span for _ in range(tempo.outages))
        self._quotas = [(span // 3, SMALL_QUOTAS), (span * 2 // 3, NO_QUOTAS)]
        self._killed: set[int] = set()
        self._sent: dict[str, Order] = {}
        self._events: list[Mapping[str, Any]] = []
        self._ended: set[str] = set()

    def run(self) -> Result:
        """Build, deploy, send, disturb, wait and judge. Raises `BuildFailed` or `StackFailed`."""
        artifact = build("host")
        with (
            HuaweiStandIn(self._plan.work) as huawei,
            LocalStack() as stack,
            FaultyAws(
                stack.endpoint,
                dice=Random(f"{self._seed} aws"),  # noqa: S311 — no secret
                delay_divisor=self._tempo.delay_divisor,
                memory=self._tempo.function_timeout,
            ) as aws,
        ):
            stack.deploy(
                artifact,
                parameters={
                    "HuaweiRegion": "cn-north-4",
                    "HuaweiProjectId": PROJECT_ID,
                    "CodeArtsCheckEndpoint": huawei.endpoint,
                    "IotdaEndpoint": huawei.endpoint,
                    "MaximumConcurrency": str(self._tempo.processes),
                    "MaxAttempts": str(self._tempo.max_attempts),
                },
                environment={
                    "HUAWEICLOUD_SDK_AK": AccessKey().ak,
                    "HUAWEICLOUD_SDK_SK": AccessKey().sk,
                    "HUAWEICLOUD_KEYS_IN_ENVIRONMENT": "true",
                    "VISIBILITY_TIMEOUT_SECONDS": str(self._tempo.visibility_timeout),
                    "AWS_ENDPOINT_URL_SQS": aws.endpoint,
                    "AWS_ENDPOINT_URL_EVENTBRIDGE": aws.endpoint,
                },
            )
            self._shorten(stack)
            started = time.monotonic()
            self._work(stack, aws, huawei)
            seconds = time.monotonic() - started
            judgement = judge(self._evidence(stack, huawei, aws))
            ledger = judgement.ledger | {f"fault: {kind}": count for kind, count in aws.faults.items()}
            ledger["kills"] = len(self._killed)
        return Result(self._seed, round(seconds, 1), ledger, judgement.violations)

    def _shorten(self, stack: LocalStack) -> None:
        for function in _FUNCTIONS:
            stack.lambda_.update_function_configuration(
                FunctionName=stack.resources[function], Timeout=self._tempo.function_timeout
            )
        for queue in _QUEUES:
            stack.sqs.set_queue_attributes(
                QueueUrl=stack.resources[queue], Attributes={"VisibilityTimeout": str(self._tempo.visibility_timeout)}
            )

    def _work(self, stack: LocalStack, aws: FaultyAws, huawei: HuaweiStandIn) -> None:
        give_up_at = time.monotonic() + self._tempo.time_limit
        copies = [order for order in self._plan.orders for _ in range(order.copies)]
        self._dice.shuffle(copies)
        waiting = list(_packed(copies))
        say_at = 0.0
        while time.monotonic() < give_up_at:
            while waiting and len(self._sent) - len(self._ended) < self._tempo.backlog:
                self._send(stack, *waiting.pop())
            received = self._receive(stack, wait=1)
            self._disturb(stack, aws)
            self._throttle(huawei)
            if time.monotonic() > say_at:
                self._say(f"{len(self._ended)} of {len(self._plan.orders)} have ended, {len(self._killed)} kills")
                say_at = time.monotonic() + 10
            if not waiting and not received and self._sent.keys() <= self._ended and not stack.left_in(*_QUEUES):
                break
        while self._receive(stack, wait=0):
            pass

    def _send(self, stack: LocalStack, way: Way, orders: Sequence[Order]) -> None:
        bodies = {str(number): order.body for number, order in enumerate(orders)}
        if way == "StopCommandsTopic":
            published = stack.sns.publish_batch(
                TopicArn=stack.resources[way],
                PublishBatchRequestEntries=[{"Id": key, "Message": body} for key, body in bodies.items()],
            )
            ids = {entry["Id"]: entry["MessageId"] for entry in published["Successful"]}
        else:
            sent = stack.sqs.send_message_batch(
                QueueUrl=stack.resources[way],
                Entries=[{"Id": key, "MessageBody": body} for key, body in bodies.items()],
            )
            ids = {entry["Id"]: entry["MessageId"] for entry in sent["Successful"]}
        for number, order in enumerate(orders):
            command_id = order.command_id or ids[str(number)]
            self._sent[command_id] = replace(order, command_id=command_id)

    def _receive(self, stack: LocalStack, *, wait: int) -> int:
        received = stack.sqs.receive_message(
            QueueUrl=stack.outcome_queue_url, MaxNumberOfMessages=10, WaitTimeSeconds=wait
        ).get("Messages", [])
        for message in received:
            event = json.loads(message["Body"])["detail"]
            self._events.append(event)
            if event["status"] != "in_progress":
                self._ended.add(event["command_id"])
        if received:
            stack.sqs.delete_message_batch(
                QueueUrl=stack.outcome_queue_url,
                Entries=[{"Id": each["MessageId"], "ReceiptHandle": each["ReceiptHandle"]} for each in received],
            )
        return len(received)

    def _throttle(self, huawei: HuaweiStandIn) -> None:
        """Give Huawei Cloud small quotas for the middle third of the run."""
        if self._quotas and len(self._ended) >= self._quotas[0][0]:
            for quota in self._quotas.pop(0)[1]:
                huawei.set_quota(quota)

    def _disturb(self, stack: LocalStack, aws: FaultyAws) -> None:
        if self._outages and len(self._ended) >= self._outages[0]:
            self._outages.pop(0)
            aws.be_out(_OUTAGE)
        if self._kills and len(self._ended) >= self._kills[0]:
            alive = sorted(set(stack.function_processes()) - self._killed)
            if alive:
                self._kills.pop(0)
                pid = self._dice.choice(alive)
                with contextlib.suppress(ProcessLookupError):  # it ended by itself just now
                    os.kill(pid, signal.SIGKILL)
                    self._killed.add(pid)

    def _evidence(self, stack: LocalStack, huawei: HuaweiStandIn, aws: FaultyAws) -> Evidence:
        time.sleep(self._plan.work.settings.stop_seconds)  # the last stop, too, has taken effect
        return Evidence(
            orders=tuple(self._sent.values()),
            events=self._events,
            records=huawei.log(),
            letters=_letters(stack),
            left=stack.left_in(*_QUEUES),
            running=_running(huawei),
            authentication_failures=huawei.summary().authentication_failures,
            complaints=_complaints(stack),
            may_repeat=aws.may_repeat(),
            max_attempts=self._tempo.max_attempts,
        )


def _packed(copies: Iterable[Order]) -> Iterator[tuple[Way, list[Order]]]:
    """Pack what goes the same way into batches that SQS and SNS take."""
    open_batches: dict[Way, list[Order]] = defaultdict(list)
    for order in copies:
        batch = open_batches[order.way]
        limit = 250_000 if order.way == "StopCommandsTopic" else _BATCH_BYTES
        size = sum(len(each.body) for each in batch) + len(order.body)
        if batch and (len(batch) == _BATCH_ENTRIES or size > limit):
            yield order.way, batch
            batch = open_batches[order.way] = []
        batch.append(order)
    yield from open_batches.items()


def _letters(stack: LocalStack) -> list[Letter]:
    letters = []
    for queue in _DEAD_LETTER_QUEUES:
        while messages := stack.sqs.receive_message(
            QueueUrl=stack.resources[queue],
            MaxNumberOfMessages=10,
            MessageAttributeNames=["All"],
            VisibilityTimeout=600,
        ).get("Messages"):
            for message in messages:
                reason = message.get("MessageAttributes", {}).get("failure_reason")
                letters.append(Letter(message["Body"], None if reason is None else reason.get("StringValue")))
    return letters


def _running(huawei: HuaweiStandIn) -> frozenset[tuple[str, str, str]]:
    state = huawei.state()
    checks = {("check", task_id, task_id) for task_id, status in state.check_tasks.items() if status == "checking"}
    targets = {
        ("iotda", task_id, target)
        for task_id in state.batch_tasks
        for target, status in huawei.subtasks(task_id).items()
        if status in RUNNING
    }
    return frozenset(checks | targets)


def _complaints(stack: LocalStack) -> list[str]:
    errors = [line for function in _FUNCTIONS for line in stack.log_lines(function) if '"level":"ERROR"' in line]
    return errors + [line for line in stack.complaints() if "Task timed out" in line]

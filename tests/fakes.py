"""Fakes that record state: AWS's two services as lists, Huawei as a table or as raw answers, and a told clock."""

from __future__ import annotations

import json
import threading
from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

from shared.aws import Failure
from shared.commands import ALL_TARGETS, Defaults
from shared.deadline import Deadline
from shared.findings import Finding, Reading, Trust, Verdict
from shared.http import Response
from shared.huawei.client import DerivedSigning, HuaweiClient
from shared.huawei.credentials import Credentials, CredentialSource, FixedCredentials
from shared.pace import Pace
from shared.patience import Patience
from shared.planning import BatchTask, Call, CheckTask, Stop, Task
from shared.settings import QueueFunctionSettings, StopTargetsSettings, StopTaskSettings, read_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from shared.aws import BusEvent, Message
    from shared.huawei.client import HttpSender

NOW = datetime(2026, 11, 23, 8, 49, 5, 123000, tzinfo=UTC)
DATE = format_datetime(NOW, usegmt=True)
ENVIRONMENT = {
    "HUAWEICLOUD_REGION": "cn-north-4",
    "HUAWEICLOUD_SDK_PROJECT_ID": "project-1",
    "HUAWEICLOUD_SDK_AK": "AK",
    "HUAWEICLOUD_SDK_SK": "SK",
    "OUTCOME_BUS_NAME": "outcomes",
    "COMMAND_QUEUE_URL": "https://sqs/commands",
    "DEAD_LETTER_QUEUE_URL": "https://sqs/dead-letters",
}


def settings_of(kind: str, **changed: str) -> QueueFunctionSettings:
    model = StopTaskSettings if kind == "stop_task" else StopTargetsSettings
    return read_settings(model, ENVIRONMENT | changed)


def defaults() -> Defaults:
    return Defaults(
        command_id="m-0",
        requested_at=NOW,
        time_to_live=timedelta(hours=1),
        project_id="project-1",
        instance_id=None,
        confirm=False,
    )


def failure_of(reason: str, *, in_doubt: bool = False) -> Failure:
    """Return the failure whose text is `reason`, "code: message"."""
    code, _, message = reason.partition(": ")
    return Failure(code, message, passing=True, in_doubt=in_doubt)


class Clock:
    """Wall and monotonic time in one, moved by sleeping."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.slept: list[float] = []

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds

    def deadline(self, seconds: float = 60.0) -> Deadline:
        return Deadline.after(seconds, self.monotonic)

    def pace(self, most: int = 1) -> Pace:
        return Pace(most=most, sleep=self.sleep, uniform=lambda _, longest: longest)

    def patience(self, uniform: Callable[[float, float], float] = lambda _, longest: longest) -> Patience:
        return Patience(now=self.now, sleep=self.sleep, uniform=uniform)


@dataclass
class FakeAws:
    """A bus and queues that keep what they are given. `refuse` says why not, of each event or message, or `None`."""

    events: list[dict[str, Any]] = field(default_factory=list)
    entries: list[BusEvent] = field(default_factory=list)
    queues: dict[str, deque[Message]] = field(default_factory=dict)
    refuse: Callable[[BusEvent | Message], str | None] = lambda _: None
    error: Exception | None = None
    queue_error: Exception | None = None
    secrets: dict[str, list[str]] = field(default_factory=dict)
    visibility: list[tuple[str, int]] = field(default_factory=list)
    """Receipt handles and seconds, as they were asked for."""
    visibility_error: Exception | None = None
    unchanged: Mapping[int, str] = field(default_factory=dict)
    """Which of the next change of visibility fail, and why."""

    def put_events(self, bus: str, events: Sequence[BusEvent], *, deadline: Deadline) -> Mapping[int, str]:
        assert bus == "outcomes"
        assert deadline.remaining() > 0
        if self.error is not None:
            raise self.error
        refused = {number: why for number, each in enumerate(events) if (why := self.refuse(each))}
        for number, each in enumerate(events):
            if number not in refused:
                self.entries.append(each)
                self.events.append(json.loads(each.detail))
        return refused

    def send_messages(
        self, queue_url: str, messages: Sequence[Message], *, deadline: Deadline
    ) -> Mapping[int, Failure]:
        assert deadline.remaining() > 0
        if self.queue_error is not None:
            raise self.queue_error
        refused = {number: failure_of(why) for number, each in enumerate(messages) if (why := self.refuse(each))}
        sent = [each for number, each in enumerate(messages) if number not in refused]
        self.queues.setdefault(queue_url, deque()).extend(sent)
        return refused

    def change_visibility(
        self, queue_url: str, timeouts: Sequence[tuple[str, int]], *, deadline: Deadline
    ) -> Mapping[int, str]:
        assert queue_url == ENVIRONMENT["COMMAND_QUEUE_URL"]
        if not deadline.remaining():
            return dict.fromkeys(range(len(timeouts)), "NoTimeLeft: not sent")
        if self.visibility_error is not None:
            raise self.visibility_error
        self.visibility += timeouts
        return self.unchanged

    def secret_string(self, secret_id: str, *, deadline: Deadline) -> str:
        assert deadline.remaining() > 0
        if self.error is not None:
            raise self.error
        versions = self.secrets[secret_id]
        return versions.pop(0) if len(versions) > 1 else versions[0]

    @property
    def dead_letters(self) -> list[Message]:
        return list(self.queues.get(ENVIRONMENT["DEAD_LETTER_QUEUE_URL"], ()))

    @property
    def remainders(self) -> list[Message]:
        return list(self.queues.get(ENVIRONMENT["COMMAND_QUEUE_URL"], ()))


class FakeHuawei:
    """Tasks with their targets' states, as `shared.execution.Service` sees them.

    `disturb` may answer in place of the table, for one call or read; what it gives for a target stands.
    """

    accepted = Trust.ACCEPTED
    """What `trust` says of every task."""

    def __init__(self, tasks: Mapping[Task, Mapping[str, Verdict]], *, lists_all: bool = True) -> None:
        self.states = {task: dict(targets) for task, targets in tasks.items()}
        self.calls: list[Call] = []
        self.answers: list[tuple[Call, dict[str, Finding]]] = []
        self.reads: list[tuple[Task, tuple[str, ...]]] = []
        self.taken: Counter[str] = Counter()
        self.disturb: Callable[[Call | tuple[Task, tuple[str, ...]]], Mapping[str, Finding]] = lambda _: {}
        self._lists_all = lists_all
        self._lock = threading.Lock()

    def trust(self, task: Task) -> Trust:  # noqa: ARG002 - the same of every task
        return self.accepted

    def stop(self, call: Call, deadline: Deadline) -> dict[str, Finding]:
        if not deadline.remaining():
            asked = call.targets if isinstance(call, Stop) else (ALL_TARGETS,)
            return dict.fromkeys(asked, Finding(Verdict.UNFINISHED, error_msg="no time"))
        answer = self._answer(call)
        self.answers.append((call, answer))
        return answer

    def _answer(self, call: Call) -> dict[str, Finding]:
        with self._lock:
            self.calls.append(call)
            disturbed = self.disturb(call)
            targets = self.states.get(call.task)
            asked = call.targets if isinstance(call, Stop) else (ALL_TARGETS,)
            if disturbed:
                return {target: disturbed.get(target) or self._stop(call.task, target) for target in asked}
            if targets is None:
                return dict.fromkeys(asked, Finding(Verdict.NOT_FOUND, "IOTDA.000404", "no such task"))
            if isinstance(call, Stop):
                return {target: self._stop(call.task, target) for target in asked}
            running = [target for target, state in targets.items() if state is Verdict.RUNS]
            listed = {target: self._stop(call.task, target) for target in running}
            return {ALL_TARGETS: Finding(Verdict.TAKEN)} | (listed if self._lists_all else {})

    def _stop(self, task: Task, target: str) -> Finding:
        state = self.states.get(task, {}).get(target)
        if state is None:
            return Finding(Verdict.NOT_FOUND, "IOTDA.014219", "The target is not in the task")
        if state is not Verdict.RUNS:
            return Finding(Verdict.UNCLEAR, "IOTDA.014220", "not running")
        self.taken[target] += 1
        self.states[task][target] = Verdict.STOPPED
        return Finding(Verdict.TAKEN)

    def read(self, task: Task, targets: tuple[str, ...], deadline: Deadline) -> Reading:
        if not deadline.remaining():
            return Reading(dict.fromkeys(targets, Finding(Verdict.UNFINISHED, error_msg="no time")))
        with self._lock:
            self.reads.append((task, targets))
            disturbed = self.disturb((task, targets))
            states = self.states.get(task, {})
            whole = Verdict.RUNS if Verdict.RUNS in states.values() else Verdict.ENDED
            found = {target: states.get(target, Verdict.NOT_FOUND) for target in targets} | (
                {ALL_TARGETS: whole} if ALL_TARGETS in targets else {}
            )
            return Reading({target: Finding(verdict) for target, verdict in found.items()} | dict(disturbed))


@dataclass(frozen=True, slots=True)
class Sent:
    """One request as `shared.http` was given it."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | None
    timeout: float


class FakeHttp:
    """Answers by a script, the last answer for ever, and keeps what it was asked. An exception is raised."""

    def __init__(self, *script: Response | Exception) -> None:
        self._script = deque(script)
        self._lock = threading.Lock()
        self.sent: list[Sent] = []

    def send(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes | None, timeout: float
    ) -> Response:
        with self._lock:
            self.sent.append(Sent(method, url, dict(headers), body, timeout))
            answer = self._script.popleft() if len(self._script) > 1 else self._script[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def response(body: Any = None, status: int = 200, **headers: str) -> Response:
    """Return an answer; `body` as it is if bytes, else as JSON. `Retry_After="3"` is a header; `Date` is `NOW`."""
    named = {name.replace("_", "-").lower(): value for name, value in {"Date": DATE, **headers}.items()}
    return Response(status=status, headers=named, body=body if isinstance(body, bytes) else json.dumps(body).encode())


def stop_of(task: Task, targets: tuple[str, ...], *, expires_at: datetime = NOW, look_first: bool = False) -> Stop:
    """Return a call whose targets all expire at once."""
    return Stop(task, targets, (expires_at,) * len(targets), look_first)


def client_over(
    http: HttpSender,
    *,
    credentials: CredentialSource | None = None,
    derived: DerivedSigning | None = None,
    endpoint: str = "https://huawei.example",
) -> HuaweiClient:
    return HuaweiClient(
        http=http,
        endpoint=endpoint,
        project_id="project-1",
        credentials=credentials or FixedCredentials(KEY),
        derived=derived,
        now=lambda: NOW,
    )


def delivery(
    *bodies: str | Mapping[str, Any], ids: Iterable[str] = (), sent_at: datetime = NOW, receives: int = 1
) -> dict[str, Any]:
    """Return an SQS delivery of these bodies, the `receives`-th of each, with message ids m-0, m-1, …"""
    named = list(ids) or [f"m-{number}" for number in range(len(bodies))]
    return {
        "Records": [
            {
                "messageId": message_id,
                "receiptHandle": f"receipt of {message_id}",
                "body": body if isinstance(body, str) else json.dumps(body),
                "attributes": {
                    "SentTimestamp": str(int(sent_at.timestamp() * 1000)),
                    "ApproximateReceiveCount": str(receives),
                },
                "messageAttributes": {},
                "md5OfBody": "0",
                "eventSource": "aws:sqs",
                "eventSourceARN": "arn:aws:sqs:eu-west-1:123456789012:commands",
                "awsRegion": "eu-west-1",
            }
            for message_id, body in zip(named, bodies, strict=True)
        ]
    }


KEY = Credentials("AK-1", "SK-1-very-secret", "TOKEN-1-very-secret")
BATCH = BatchTask("project-1", None, "5f1ac5c3e4b0")
CHECK = CheckTask("2b31ed52")

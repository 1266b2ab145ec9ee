"""Two sweeps of check tasks at once, in told time, one step at a time, and a judge who knows what really ran.

A sweep is a thread, but only one thread runs at a time: it hands the turn back before every call to Huawei, the table,
SQS or the bus. What happens is a list of steps (data), so that a failing list can be shrunk and written down.
What a sweep is made of stands in `new_sweeper`, and what an item of the table means in `first_seen_of`.
"""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from itertools import count
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple
from urllib.parse import urlsplit

from local.huawei import CHECK_PROJECT_ID, PROJECT_ID, AccessKey, CheckTask, Cloud, Scenario
from local.huawei.scenario import CheckRun
from shared.aws import AwsRefused, AwsUnavailable
from shared.errors import DeploymentFault, HuaweiUnavailable, PublishingFailed
from shared.http import NoAnswer, Response
from shared.huawei.client import HuaweiClient
from shared.huawei.credentials import Credentials, FixedCredentials
from shared.huawei.task_lists import BatchTaskLists, CheckTaskLists
from shared.patience import Patience
from shared.settings import SweepStaleTasksSettings, read_settings
from shared.sightings import Sightings
from shared.sweeping import Sweeper
from tests.fake_tables import FakeTables, Item
from tests.fakes import ENVIRONMENT, NOW, Clock, failure_of
from tests.quiet import NoDefects
from tests.simulation import CloudHttp, Killed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from shared.aws import BusEvent, Failure, Message, Service
    from shared.deadline import Deadline

OLDER_THAN: Final = timedelta(hours=2).total_seconds()
EVENT: Final = {"sweep": "check_tasks", "project_id": CHECK_PROJECT_ID, "older_than": "PT2H"}
LIFE: Final = 900.0
"""Seconds after which Lambda ends a sweep."""

SLACK: Final = 15.0
"""Seconds by which an age may be wrong: clocks that differ by seconds, and times in full seconds."""

SURELY_STALE: Final = OLDER_THAN + 1300
"""Seconds after which a sighting is old enough by every clock."""

_VERSIONS = count()
_COUNTED_BEFORE: Final = "2026-11-20T06:00:00Z"

type Who = Literal["A", "B"]
type Call = Literal["list", "progress", "records", "jobs", "read", "write", "sqs", "bus", "end"]
"""What a sweep is about to do. `read` and `write` are of the table."""


# What may happen.


class Start(NamedTuple):
    """A sweep starts, unless the one of this name still runs, and comes to its first call."""

    who: Who
    armed: bool = True


class Go(NamedTuple):
    """A sweep makes the call that it has come to and goes on, to its next one or to the next of one kind."""

    who: Who
    to: Call | None = None


class Sweep(NamedTuple):
    """A sweep starts and goes on to its end."""

    who: Who
    armed: bool = True


class Kill(NamedTuple):
    """A sweep makes no more calls."""

    who: Who


type Damage = Literal[
    "write not done",
    "write done, answer lost",
    "table unread",
    "sqs denied",
    "sqs refuses all",
    "sqs refuses the first",
    "sqs answer lost",
    "bus down",
    "huawei silent",
]


class Break(NamedTuple):
    """The next call of a sweep that can fail in this way does."""

    who: Who
    damage: Damage


class End(NamedTuple):
    """The run of a task ends by itself or by hand. `counted`: its record and `last_check_time` tell."""

    task: int
    counted: bool = False


class Begin(NamedTuple):
    """A task that does not run begins. `counted`: its record and `last_check_time` tell, where these tell of begins."""

    task: int
    percent: int = 0
    counted: bool = False


class Restart(NamedTuple):
    """A run is cut short and the next begins."""

    task: int
    percent: int = 0
    counted: bool = False


class Reach(NamedTuple):
    """A run goes forward to this percentage."""

    task: int
    percent: int


class Wait(NamedTuple):
    """Time passes. A sweep that is older than Lambda lets it become is ended."""

    seconds: float


class Carry(NamedTuple):
    """The queue function carries out the oldest command, if it has not expired."""

    counted: bool = False


class Jobs(NamedTuple):
    """CodeArts has the list of jobs from now on, or has it no more."""

    listed: bool


type Step = Start | Go | Sweep | Kill | Break | End | Begin | Restart | Reach | Wait | Carry | Jobs


class Clocks(NamedTuple):
    """By how many seconds the clocks of Huawei and of the two sweeps are ahead of the true time."""

    huawei: float = 0.0
    a: float = 0.0
    b: float = 0.0


EXACT: Final = Clocks()


@dataclass(frozen=True)
class Conditions:
    """What stays as it is in one world.

    `records`: which records CodeArts lists. `last_check`: whether `last_check_time` is that of a begin or an end.
    `dated`: whether Huawei's answers carry a `Date`.
    """

    tasks: int = 1
    jobs: bool = False
    records: Literal["none", "ended", "running"] = "ended"
    last_check: Literal["begin", "end"] = "begin"
    clocks: Clocks = EXACT
    dated: bool = True


# What is written down, in the order in which it happened.


@dataclass
class Run:
    """One run of a task. `began`: the true time in seconds, and `seq` its place in all that happened."""

    seq: int
    began: float
    percent: int


@dataclass(eq=False)
class Seen:
    """What CodeArts answered a sweep about one task.

    `value`: of a list `last_check_time`; of the progress a percentage, `None` if nothing runs; of the records all of
    them; of jobs when the latest that runs began, `None` if none does.
    """

    seq: int
    at: float
    sweep: Sweeping
    call: Call
    task: str
    value: Any
    run: Run | None


@dataclass(eq=False)
class Write:
    """A write to the table. `item`: what it left there. `read`: the write whose item this sweep had last read."""

    seq: int
    sweep: Sweeping
    task: str
    outcome: Literal["done", "refused", "not done", "done, answer lost"]
    item: Item | None
    read: Write | None


@dataclass(eq=False)
class Command:
    """A stop command that SQS took."""

    seq: int
    at: float
    sweep: Sweeping
    task: str
    evidence: str
    expires_at: float
    is_carried: bool = False


@dataclass(frozen=True)
class Violation:
    """What must never happen. `tags` say how it came about."""

    kind: Literal["too young", "second command", "evidence lost", "sent by a dry run", "not running", "no sighting"]
    task: str
    tags: frozenset[str]
    text: str


@dataclass(eq=False)
class Sweeping:
    """One sweep in its thread. `ended`: how, `None` while it runs."""

    name: Who
    armed: bool
    began: float
    clock: float
    waits_for: Call = "end"
    ended: Literal["done", "killed", "raised"] | None = None
    ended_seq: int = -1
    error: BaseException | None = None
    breaks: dict[str, int] = field(default_factory=dict)
    damages: list[Damage] = field(default_factory=list)
    killed: bool = False
    read: dict[str, Write] = field(default_factory=dict)
    """What it read of the table, task by task."""
    denied: list[str] = field(default_factory=list)
    """Tasks whose command SQS surely did not take."""
    overlapped: bool = False
    late: bool = False
    """It ran out of time."""

    def __post_init__(self) -> None:
        self.turn, self.turn_back = threading.Lock(), threading.Lock()
        self.turn.acquire()
        self.turn_back.acquire()

    def is_hit(self, damage: Damage) -> bool:
        """Return whether the call that is made now fails in this way."""
        if not self.breaks.get(damage):
            return False
        self.breaks[damage] -= 1
        if damage not in self.damages:
            self.damages.append(damage)
        return True


@cache
def _settings() -> SweepStaleTasksSettings:
    environment = ENVIRONMENT | {
        "HUAWEICLOUD_SDK_PROJECT_ID": PROJECT_ID,
        "STOP_TASK_QUEUE_URL": "https://sqs/stop-task",
        "STOP_TARGETS_QUEUE_URL": "https://sqs/stop-targets",
    }
    return read_settings(SweepStaleTasksSettings, environment)


@cache
def _telemetry() -> NoDefects:
    return NoDefects()


def new_sweeper(world: World, sweep: Sweeping) -> Sweeper:
    """Make what one sweep is made of, in a process of its own, on that process's clock."""

    def now() -> datetime:
        return world.clock.now() + timedelta(seconds=sweep.clock)

    outside = _Outside(world, sweep)
    key = AccessKey()
    client = HuaweiClient(
        http=outside,
        endpoint="https://codecheck-ext.cn-north-4.myhuaweicloud.com",
        project_id=PROJECT_ID,
        credentials=FixedCredentials(Credentials(key.ak, key.sk)),
        derived=None,
        now=now,
    )
    return Sweeper(
        settings=_settings(),
        check_lists=CheckTaskLists(client),
        batch_lists=BatchTaskLists(client),
        memory=Sightings(tables=outside, table_name="sightings", now=now),
        bus=outside,
        queues=outside,
        check_pace=world.clock.pace(),
        batch_pace=world.clock.pace(),
        patience=Patience(now=now, sleep=world.clock.sleep, uniform=lambda _, longest: longest),
        telemetry=_telemetry(),
        new_version=lambda: f"v-{next(_VERSIONS)}",
    )


def first_seen_of(item: Item | None) -> datetime | None:
    """Return since when an item says that its run runs, of a sighting or of what keeps one; else `None`."""
    text = (item or {}).get("first_seen", {}).get("S")
    return None if text is None else datetime.fromisoformat(text)


class _Outside:
    """Huawei, the table, SQS and the bus, as one sweep meets them: before each call it waits for its turn."""

    def __init__(self, world: World, sweep: Sweeping) -> None:
        self._world = world
        self._sweep = sweep
        self._http = CloudHttp(world.cloud, world.clock, lambda _: None)

    def send(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes | None, timeout: float
    ) -> Response:
        call, task = _asked(url)
        ends_at = self._world.clock.seconds + timeout
        self._wait_for_turn(call)
        if self._is_late(ends_at - self._world.clock.seconds) or self._sweep.is_hit("huawei silent"):
            raise NoAnswer("silent")
        response = self._http.send(method, url, headers=headers, body=body, timeout=timeout)
        if response.status == 200:
            self._world.note_seen(self._sweep, call, task, json.loads(response.body))
        if self._world.conditions.dated:
            return response
        return Response(
            response.status, {name: value for name, value in response.headers.items() if name != "date"}, response.body
        )

    def call(
        self, service: Service, operation: str, payload: Mapping[str, Any], *, deadline: Deadline
    ) -> dict[str, Any]:
        is_read = operation in {"Query", "GetItem"}
        self._wait_for_turn("read" if is_read else "write")
        unavailable = AwsUnavailable(service="DynamoDB", operation=operation, code="Throttling", message="")
        tables, sweep = self._world.tables, self._sweep
        if is_read:
            if self._is_late(deadline.remaining()) or sweep.is_hit("table unread"):
                raise unavailable
            answer = tables.call(service, operation, payload, deadline=deadline)
            if task_read := payload["ExpressionAttributeValues"].get(":task"):
                sweep.read.pop(task_read["S"], None)
            elif "ExclusiveStartKey" not in payload:
                sweep.read.clear()
            for item in [*answer.get("Items", ()), *filter(None, [answer.get("Item")])]:
                task = item["task_id"]["S"]
                sweep.read[task] = self._world.written[task]
            return answer
        task = (payload["Item"] if operation == "PutItem" else payload["Key"])["task_id"]["S"]
        if self._is_late(deadline.remaining()) or sweep.is_hit("write not done"):
            self._world.note_write(sweep, task, "not done")
            raise unavailable
        try:
            answer = tables.call(service, operation, payload, deadline=deadline)
        except AwsRefused:
            self._world.note_write(sweep, task, "refused")
            raise
        if sweep.is_hit("write done, answer lost"):
            self._world.note_write(sweep, task, "done, answer lost")
            raise unavailable
        self._world.note_write(sweep, task, "done")
        return answer

    def send_messages(
        self, queue_url: str, messages: Sequence[Message], *, deadline: Deadline
    ) -> Mapping[int, Failure]:
        assert queue_url == "https://sqs/stop-task"
        if not messages:
            return {}
        self._wait_for_turn("sqs")
        sweep = self._sweep
        if self._is_late(deadline.remaining()):
            return dict.fromkeys(range(len(messages)), failure_of("NoTimeLeft: not sent"))
        refused: Iterable[int] = ()
        if (is_denied := sweep.is_hit("sqs denied")) or sweep.is_hit("sqs refuses all"):
            refused = range(len(messages))
        elif sweep.is_hit("sqs refuses the first"):
            refused = range(1)
        for number, message in enumerate(messages):
            body = json.loads(message.body)
            if number in refused:
                sweep.denied.append(body["task_id"])
            else:
                self._world.take(sweep, body)
        if is_denied:
            raise AwsRefused(service="SQS", operation="SendMessageBatch", code="AccessDenied", message="", mend="")
        if sweep.is_hit("sqs answer lost"):
            return dict.fromkeys(range(len(messages)), failure_of("NoAnswer: cut", in_doubt=True))
        return dict.fromkeys(refused, failure_of("InvalidMessageContents: no"))

    def put_events(self, bus: str, events: Sequence[BusEvent], *, deadline: Deadline) -> Mapping[int, str]:
        assert bus == ENVIRONMENT["OUTCOME_BUS_NAME"]
        self._wait_for_turn("bus")
        is_lost = self._is_late(deadline.remaining()) or self._sweep.is_hit("bus down")
        return dict.fromkeys(range(len(events)), "InternalFailure: no") if is_lost else {}

    def change_visibility(
        self, queue_url: str, timeouts: Sequence[tuple[str, int]], *, deadline: Deadline
    ) -> Mapping[int, str]:
        raise NotImplementedError(queue_url, timeouts, deadline)

    def _is_late(self, seconds_left: float) -> bool:
        self._sweep.late = self._sweep.late or seconds_left <= 0
        return seconds_left <= 0

    def _wait_for_turn(self, call: Call) -> None:
        sweep = self._sweep
        if not sweep.killed:
            sweep.waits_for = call
            sweep.turn_back.release()
            sweep.turn.acquire()
        if sweep.killed:
            raise Killed


class World:
    """CodeArts, a table, a queue and up to two sweeps; `violations` is what must not have happened."""

    def __init__(self, conditions: Conditions) -> None:
        self.conditions = conditions
        self.clock = Clock()
        self.cloud = Cloud(
            Scenario.model_validate({"settings": {"check_records_show_running": conditions.records == "running"}}),
            clock=lambda: self.clock.now().timestamp() + conditions.clocks.huawei,
        )
        self.tables = FakeTables()
        self.seen: list[Seen] = []
        self.writes: list[Write] = []
        self.written: dict[str, Write] = {}
        """The write whose item is in the table, by task."""
        self.commands: list[Command] = []
        self.violations: list[Violation] = []
        self.admitted: Counter[str] = Counter()
        self.sweeps: dict[Who, Sweeping] = {}
        self.past: list[Sweeping] = []
        self._owed: dict[str, tuple[Sweeping, Run]] = {}
        self._seq = 0
        self.runs: dict[str, Run | None] = {}
        self._last_check: dict[str, str] = {}
        self._records: dict[str, list[CheckRun]] = {}
        self._shown_since: dict[str, str | None] = {}
        self._set_jobs(listed=conditions.jobs)
        for number in range(conditions.tasks):
            task = f"t-{number}"
            self._last_check[task], self._records[task], self._shown_since[task] = _COUNTED_BEFORE, [], None
            self.runs[task] = None
            self._begin(task, percent=10, counted=False)

    # What happens.

    def run(self, steps: Iterable[Step]) -> None:
        """Take the steps, and let what still runs come to its end. Nothing is left running, whatever is raised."""
        try:
            for step in steps:
                self._take_step(step)
            for who in tuple(self.sweeps):
                self._go(who, "end")
        finally:
            for who in tuple(self.sweeps):
                self._kill(who)

    def _take_step(self, step: Step) -> None:  # noqa: C901, PLR0912 - one case a kind of step
        match step:
            case Start(who, armed):
                self._start(who, armed=armed)
            case Go(who, to):
                self._go(who, to)
            case Sweep(who, armed):
                if who not in self.sweeps:
                    self._start(who, armed=armed)
                    self._go(who, "end")
            case Kill(who):
                self._kill(who)
            case Break(who, damage):
                if (sweep := self.sweeps.get(who)) is not None:
                    # A question is asked four times.
                    sweep.breaks[damage] = 4 if damage == "huawei silent" else 1
            case Wait(seconds):
                self.clock.seconds += seconds
                for who, sweep in tuple(self.sweeps.items()):
                    if self.clock.seconds - sweep.began >= LIFE:
                        self._kill(who)
            case Carry(counted):
                self._carry_out(counted=counted)
            case Jobs(listed):
                self._set_jobs(listed=listed)
                self._owed.clear()
            case End(number, counted):
                self._end(self._task(number), counted=counted)
            case Begin(number, percent, counted):
                if self.runs[task := self._task(number)] is None:
                    self._begin(task, percent=percent, counted=counted)
            case Restart(number, percent, counted):
                if self.runs[task := self._task(number)] is not None:
                    self._end(task, counted=counted)
                    self._begin(task, percent=percent, counted=counted)
            case Reach(number, percent):
                if (run := self.runs[task := self._task(number)]) is not None and run.percent < percent:
                    run.percent = percent
                    self._show(task)

    def _task(self, number: int) -> str:
        return f"t-{number % self.conditions.tasks}"

    def _set_jobs(self, *, listed: bool) -> None:
        self.cloud.change_settings(check_jobs="listed" if listed else "absent")

    def _huawei_time(self) -> str:
        return f"{self.clock.now() + timedelta(seconds=self.conditions.clocks.huawei):%Y-%m-%dT%H:%M:%SZ}"

    def _begin(self, task: str, *, percent: int, counted: bool) -> None:
        self.runs[task] = Run(self._next_seq(), self.clock.seconds, percent)
        began = self._huawei_time()
        # A run that CodeArts does not count is in its jobs, but must not be in its records.
        self._shown_since[task] = began if counted or self.conditions.records != "running" else None
        if counted and self.conditions.last_check == "begin":
            self._last_check[task] = began
        self._show(task)

    def _end(self, task: str, *, counted: bool) -> None:
        run = self.runs[task]
        if run is None:
            return
        if counted:
            end = self._huawei_time()
            began = run.began - self.clock.seconds + self.conditions.clocks.huawei
            check_time = f"{self.clock.now() + timedelta(seconds=began):%Y-%m-%dT%H:%M:%SZ}"
            if self.conditions.records != "none":
                self._records[task].append(CheckRun(check_time=check_time, check_end_time=end, status="stopped"))
            if self.conditions.last_check == "end":
                self._last_check[task] = end
        self.runs[task], self._shown_since[task] = None, None
        self._show(task)

    def _show(self, task: str) -> None:
        run = self.runs[task]
        self.cloud.add(
            CheckTask(
                task_id=task,
                status="stopped" if run is None else "checking",
                last_check_time=self._last_check[task],
                running_since=self._shown_since[task],
                records=tuple(self._records[task]),
                ratio=f"{0 if run is None else run.percent}%",
            )
        )

    def _carry_out(self, *, counted: bool) -> None:
        command = next((each for each in self.commands if not each.is_carried), None)
        if command is not None:
            command.is_carried = True
            if self.clock.seconds < command.expires_at:
                self._end(command.task, counted=counted)

    # The sweeps.

    def _start(self, who: Who, *, armed: bool) -> None:
        if who in self.sweeps:
            return
        clock = self.conditions.clocks.a if who == "A" else self.conditions.clocks.b
        sweep = Sweeping(who, armed, self.clock.seconds, clock)
        for other in self.sweeps.values():
            other.overlapped = sweep.overlapped = True
        self.sweeps[who] = sweep
        threading.Thread(target=self._sweep, args=(sweep,), daemon=True).start()
        self._wait_for(sweep)

    def _sweep(self, sweep: Sweeping) -> None:
        try:
            sweeper = new_sweeper(self, sweep)
            sweeper.handle(EVENT | {"dry_run": not sweep.armed}, deadline=self.clock.deadline(LIFE))
            sweep.ended = "done"
        except Killed:
            sweep.ended = "killed"
        except BaseException as error:  # noqa: BLE001 - it is raised in the test's own thread
            sweep.error = error
            sweep.ended = "raised"
        finally:
            sweep.turn_back.release()

    def _go(self, who: Who, to: Call | None) -> None:
        while (sweep := self.sweeps.get(who)) is not None:
            sweep.turn.release()
            self._wait_for(sweep)
            if to in {None, sweep.waits_for}:
                return

    def _kill(self, who: Who) -> None:
        if (sweep := self.sweeps.get(who)) is not None:
            sweep.killed = True
            sweep.turn.release()
            self._wait_for(sweep)

    def _wait_for(self, sweep: Sweeping) -> None:
        sweep.turn_back.acquire()
        if sweep.ended is None:
            return
        sweep.ended_seq = self._next_seq()
        del self.sweeps[sweep.name]
        self.past.append(sweep)
        known = (HuaweiUnavailable, AwsUnavailable, PublishingFailed, DeploymentFault)
        if sweep.error is not None and not isinstance(sweep.error, known):
            raise sweep.error
        self._settle_debts(sweep)

    # What is written down.

    def _next_seq(self) -> int:
        self._seq += 1
        return self._seq

    def note_seen(self, sweep: Sweeping, call: Call, task: str | None, answer: Any) -> None:
        """Write down what a sweep was answered."""
        for each, value in _answers_in(call, task, answer):
            self.seen.append(Seen(self._next_seq(), self.clock.seconds, sweep, call, each, value, self.runs[each]))

    def note_write(
        self, sweep: Sweeping, task: str, outcome: Literal["done", "refused", "not done", "done, answer lost"]
    ) -> None:
        """Write down what became of a write."""
        item = self.tables.items.get((CHECK_PROJECT_ID, task))
        is_done = outcome in {"done", "done, answer lost"}
        write = Write(self._next_seq(), sweep, task, outcome, item if is_done else None, sweep.read.get(task))
        self.writes.append(write)
        if is_done and item is None:
            self.written.pop(task, None)
        elif is_done:
            self.written[task] = write

    def take(self, sweep: Sweeping, body: Mapping[str, Any]) -> None:
        """Take a command into the queue, and judge it."""
        evidence = re.search(r"\((\w+)\)", body["reason"])
        assert evidence is not None
        expires_at = (datetime.fromisoformat(body["expires_at"]) - NOW).total_seconds()
        command = Command(self._next_seq(), self.clock.seconds, sweep, body["task_id"], evidence[1], expires_at)
        self.violations += judged(self, command)
        self.commands.append(command)

    # What a sweep owes: evidence that was not used must not be lost.

    def _settle_debts(self, sweep: Sweeping) -> None:
        is_undisturbed = sweep.armed and not (sweep.damages or sweep.killed or sweep.overlapped or sweep.late)
        if is_undisturbed:
            for task, (debtor, run) in self._owed.items():
                is_sent = any(command.sweep is sweep and command.task == task for command in self.commands)
                if self.runs[task] is run and not is_sent:
                    tags = frozenset(debtor.damages)
                    text = f"{task} is stale, {debtor.name} could not send for it, and the next sweep does not"
                    self.violations.append(Violation("evidence lost", task, tags, text))
        self._owed = {task: (sweep, run) for task, run in self._debts_of(sweep)}

    def _debts_of(self, sweep: Sweeping) -> Iterator[tuple[str, Run]]:
        """Return what a sweep would have sent, but for one failure by which nothing can have been sent."""
        is_alone = sweep.armed and not (sweep.overlapped or sweep.killed or sweep.late)
        # What Huawei says of the time must be of use, or there may be no age.
        is_timed = self.conditions.dated and abs(self.conditions.clocks.huawei) <= SLACK
        if not is_alone or not is_timed or len(sweep.damages) != 1:
            return
        after = max((each.seq for each in self.seen if each.sweep is sweep and each.call == "list"), default=0)
        tried = [each.task for each in self.writes if each.sweep is sweep and each.seq > after]
        at_stake = {"write not done": tried}.get(sweep.damages[0], sweep.denied)
        for task in dict.fromkeys(at_stake):
            run, item = self.runs[task], sweep.read.get(task)
            first_seen = first_seen_of(item.item) if item is not None else None
            if run is None or item is None or item.item is None or first_seen is None:
                continue
            if "claimed_until" in item.item:
                continue  # what was claimed and not put back may have been sent: its run ages anew
            is_stale = sweep.began - (first_seen - NOW).total_seconds() >= SURELY_STALE
            is_same = (made := root_of(self, item)) is not None and made.run is run
            is_in_question = any(each.task == task and each.expires_at > self.clock.seconds for each in self.commands)
            reads = [each for each in self.seen if each.sweep is sweep and each.task == task]
            is_seen_by_jobs = any(each.call == "jobs" and each.value is not None for each in reads)
            if is_stale and is_same and not is_in_question and not is_seen_by_jobs:
                yield task, run


# The judge.


def root_of(world: World, write: Write) -> Seen | None:
    """Return what was seen when the sighting in this item was made: its writer may only have taken it over."""
    first_seen = first_seen_of(write.item)
    while True:
        own = [
            each
            for each in world.writes
            if each.sweep is write.sweep and each.task == write.task and each.seq < write.seq and each.item
        ]
        parents = [*own[-1:], *([write.read] if write.read is not None else [])]
        parent = next((each for each in parents if first_seen_of(each.item) == first_seen), None)
        if parent is None:
            break
        write = parent
    reads = [
        each
        for each in world.seen
        if each.sweep is write.sweep and each.task == write.task and each.call == "progress" and each.seq < write.seq
    ]
    return reads[-1] if reads else None


def judged(world: World, command: Command) -> Iterator[Violation]:
    """Return what is wrong with a command at the moment at which SQS takes it."""
    sweep, task = command.sweep, command.task
    if not sweep.armed:
        yield Violation("sent by a dry run", task, frozenset(), f"{sweep.name} was to send nothing")
    for earlier in world.commands:
        if earlier.task == task and earlier.expires_at > command.at + SLACK:
            refused = any(
                each.sweep is sweep and each.task == task and each.outcome == "refused" for each in world.writes
            )
            tags = frozenset({command.evidence, *(["its own write was refused"] if refused else [])})
            text = f"one of {earlier.sweep.name} may act for {earlier.expires_at - command.at:g} s more"
            yield Violation("second command", task, tags, text)
            break
    own = [each for each in world.seen if each.sweep is sweep and each.task == task]
    last = next(each for each in reversed(own) if each.call == "progress")
    if last.run is None:
        yield Violation("not running", task, frozenset({command.evidence}), "its last read said that nothing runs")
        return
    age = last.at - last.run.began
    if age >= OLDER_THAN - SLACK:
        return
    text = f"{command.evidence}: {age:g} s old"
    began_after_list = last.run.seq > max(each.seq for each in own if each.call == "list")
    if command.evidence != "sighting":
        if began_after_list:
            world.admitted["began after the last list"] += 1
            return
        yield Violation("too young", task, frozenset({command.evidence}), text)
        return
    yield from _judged_sighting(world, command, last.run, text, began_after_list=began_after_list)


def _judged_sighting(
    world: World, command: Command, run: Run, text: str, *, began_after_list: bool
) -> Iterator[Violation]:
    sweep, task = command.sweep, command.task
    item = sweep.read.get(task)
    made = None if item is None else root_of(world, item)
    first_seen = None if item is None else first_seen_of(item.item)
    if item is None or made is None or first_seen is None:
        yield Violation("no sighting", task, frozenset(), text)
        return
    if made.run is run:
        yield Violation("too young", task, frozenset({"sighting", "by a clock"}), text)
        return
    claims = [
        each.seq
        for each in world.writes
        if each.sweep is sweep and each.task == task and each.outcome.startswith("done")
    ]
    after_last_read = max(each.seq for each in world.seen if each.sweep is sweep and each.task == task)
    decision = max((seq for seq in claims if seq > after_last_read), default=command.seq)
    since = [
        each for each in world.seen if each.task == task and made.seq <= each.seq < max(decision, after_last_read + 1)
    ]
    known = [each for each in since if not excuse_of(world, each, sweep, decision)]
    against = set(contradictions(world, made, known, first_seen, sweep))
    # One that was sent before and could still act when the sighting was made may have stopped that run since.
    if any(each.task == task and each.expires_at > made.at + SLACK for each in world.commands):
        against.add("a stop was sent for it")
    if against:
        if _came_back(world, item):
            against.add("a forgotten sighting came back")
        yield Violation("too young", task, frozenset({"sighting", *against}), f"{text}; {sorted(against)}")
    elif began_after_list:
        world.admitted["began after the last list"] += 1
    elif any(contradictions(world, made, since, first_seen, sweep)):
        excuses = {excuse_of(world, each, sweep, decision) for each in since} - {""}
        world.admitted.update(f"seen in vain: {each}" for each in excuses)
    else:
        world.admitted["nothing gives it away"] += 1


def excuse_of(world: World, seen: Seen, sweep: Sweeping, decision: int) -> str:
    """Return why what another sweep saw could not be known to this one when it decided; `""` if it could."""
    other = seen.sweep
    if other is sweep:
        return ""
    write = next(
        (each for each in world.writes if each.sweep is other and each.task == seen.task and each.seq > seen.seq), None
    )
    if write is not None:
        if write.seq >= decision:
            return "not written yet"
        return "its write failed" if write.outcome == "not done" else ""
    if other.ended is None or other.ended_seq >= decision:
        return "not written yet"
    if other.ended == "killed":
        return "its sweep was killed"
    return "its write failed" if isinstance(other.error, AwsUnavailable) else ""


def contradictions(
    world: World, made: Seen, seen: Sequence[Seen], first_seen: datetime, sweep: Sweeping
) -> Iterator[str]:
    """Return what of this says that the run is another than the one whose sighting was `made`."""
    by_maker: dict[Call, Any] = {}
    for each in world.seen:
        is_makers = each.sweep is made.sweep and each.task == made.task and each.call in {"list", "records"}
        if is_makers and (each.seq < made.seq or each.call not in by_maker):
            by_maker[each.call] = each.value
    farthest = made
    for each in seen:
        who = "by itself" if each.sweep is sweep else "by another"
        match each.call:
            case "progress" if each.value is None:
                yield f"seen ended {who}" + (", in its last look" if _saw_it_run(world, each) else "")
            case "progress":
                if each.value < farthest.value:
                    is_own = each.sweep is farthest.sweep is sweep
                    yield "behind what it read itself" if is_own else "behind the farthest"
                else:
                    farthest = each
            case "list" | "records" if each.value != by_maker.get(each.call, each.value):
                yield f"another {each.call}"
            case "jobs" if each.value is not None and datetime.fromisoformat(each.value) > first_seen:
                yield "its job began later"
            case _:
                pass


def _saw_it_run(world: World, seen: Seen) -> bool:
    return any(
        each.sweep is seen.sweep
        and each.task == seen.task
        and each.call == "progress"
        and each.value is not None
        and each.seq < seen.seq
        for each in world.seen
    )


def _came_back(world: World, item: Write) -> bool:
    """Return whether the sighting in this item had been taken out of the table before."""
    first_seen = first_seen_of(item.item)
    present = False
    for write in world.writes:
        if write.task != item.task or not write.outcome.startswith("done") or write.seq > item.seq:
            continue
        is_it = first_seen_of(write.item) == first_seen
        if present and not is_it:
            return True
        present = present or is_it
    return False


_PATHS: Final[dict[Call, re.Pattern[str]]] = {
    "list": re.compile(r"/v2/[^/]+/tasks()"),
    "progress": re.compile(r"/v2/tasks/([^/]+)/progress"),
    "records": re.compile(r"/v2/[^/]+/tasks/([^/]+)/checkrecord"),
    "jobs": re.compile(r"/v4/tasks/([^/]+)/jobs"),
}


def _asked(url: str) -> tuple[Call, str | None]:
    path = urlsplit(url).path
    for call, pattern in _PATHS.items():
        if (match := pattern.fullmatch(path)) is not None:
            return call, match[1] or None
    raise AssertionError(f"a sweep asks for {path}")


def _answers_in(call: Call, task: str | None, answer: Any) -> Iterator[tuple[str, Any]]:
    match call:
        case "list":
            yield from ((each["task_id"], each["last_check_time"]) for each in answer["tasks"])
        case "progress":
            is_running = answer["task_status"] == 0
            yield str(task), int(answer["progress"]["ratio"].rstrip("%")) if is_running else None
        case "records":
            yield str(task), json.dumps(answer, sort_keys=True)
        case "jobs":
            running = [job["start_time"] for job in answer["jobs"] if job["status"] in {"running", "quering"}]
            yield str(task), max(running, default=None)
        case _:
            raise AssertionError(call)

"""What a seed leads to: the work on the stand-in, and the commands, each with what may be said of it."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from random import Random
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from local.huawei import PROJECT_ID, AccessKey, BatchTask, CheckTask, Fault, Scenario, Settings
from local.soak.huawei_faults import PASSING, usual_faults
from local.soak.orders import CARRIED_OUT, DRY_RUN, EXPIRED, NEVER_REACHED, REJECTED, Order, Plan, Task

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from local.huawei.scenario import CheckStatus, SubtaskStatus
    from local.messages import Way


_RUNS: Final = frozenset({"stopped", "already_ended"})
_HAS_ENDED: Final = frozenset({"already_ended"})
_UNKNOWN: Final = frozenset({"not_found"})
_FORBIDDEN: Final = frozenset({"refused"})
# Its reads lie that it runs; a repeated stop, which says that it does not, is then rightly taken for a refusal.
_SAID_TO_RUN: Final = frozenset({"still_running", "refused"})
_RUNS_DRY: Final = frozenset({"would_stop", "already_ended"})

_OTHER_PROJECT: Final = "1717171717171717171717171717aaaa"
_INSTANCE: Final = "9bc34f00-5a31-4a52-9d02-3a9b6b0a0001"
_TARGETS_A_TASK: Final = 3000
_TARGETS_BY_TOPIC: Final = 1000  # SNS takes 256 KiB
RUNNING: Final[frozenset[SubtaskStatus]] = frozenset({"Processing", "Waitting", "FailWaitRetry"})
_STATUSES: Final[tuple[tuple[SubtaskStatus, int], ...]] = (
    ("Processing", 80),
    ("Waitting", 6),
    ("FailWaitRetry", 3),
    ("Success", 6),
    ("Fail", 2),
    ("Stopped", 2),
    ("Removed", 1),
)
_CHECKS: Final[tuple[tuple[CheckStatus, int], ...]] = (
    ("checking", 75),
    ("success", 10),
    ("failed", 5),
    ("stopped", 5),
    ("never_checked", 5),
)
# Of 100 commands; what is left stops targets of tasks that run.
_SHARES: Final = {
    "check": 22,
    "dry_run": 7,
    "broken": 7,
    "expired": 4,
    "unknown_task": 2,
    "ended_task": 2,
    "forbidden_task": 2,
    "unreachable": 1,
    "expires_soon": 1,
    "said_to_run": 1,
}


def make_plan(seed: int, *, commands: int, targets: int, stop_lag: float, now: datetime) -> Plan:
    """Plan a run of so many commands that ask for at least so many targets, counted for each command that asks.

    `stop_lag`: seconds until a stop that Huawei Cloud took shows in what it says of the target.
    """
    dice = Random(seed)  # noqa: S311 — no secret
    return _Planning(dice, commands=commands, targets=targets, stop_lag=stop_lag, now=now).plan()


class _Planning:
    """One plan while it is made."""

    def __init__(self, dice: Random, *, commands: int, targets: int, stop_lag: float, now: datetime) -> None:
        self._dice = dice
        self._stop_lag = stop_lag
        self._commands = commands
        self._targets = targets
        self._now = now
        self._numbers = 0
        self._asked_of: Counter[str] = Counter()
        self._batches: list[BatchTask] = []
        self._checks: list[CheckTask] = []
        self._faults: list[Fault] = []

    def plan(self) -> Plan:
        per_task = min(_TARGETS_A_TASK, max(50, self._targets // 4))
        working = [
            (self._batch(per_task, project_id=project, instance_id=instance), project, instance)
            for number in range(math.ceil(self._targets / per_task) + 1)
            for project, instance in [self._place(number)]
        ]
        orders: list[Order] = []
        for kind, share in _SHARES.items():
            make: Callable[[], Order] = getattr(self, f"_{kind}")
            orders += [make() for _ in range(max(2, self._commands * share // 100))]
        sizes = self._sizes(self._commands - len(orders), sum(len(order.allowed) for order in orders), per_task)
        orders += [self._working(*self._dice.choice(working), size=size) for size in sizes]
        self._dice.shuffle(orders)
        return Plan(
            work=Scenario(
                keys=(AccessKey(projects=(PROJECT_ID, _OTHER_PROJECT)),),
                check_tasks=tuple(self._checks),
                batch_tasks=tuple(self._batches),
                faults=(*self._faults, *usual_faults()),
                settings=Settings(stop_seconds=self._stop_lag, seed=self._dice.randrange(1 << 30)),
            ),
            orders=tuple(orders),
        )

    # Work.

    @staticmethod
    def _place(number: int) -> tuple[str | None, str | None]:
        places = ((None, None), (None, _INSTANCE), (_OTHER_PROJECT, None), (None, None))
        return places[number % len(places)]

    def _batch(
        self,
        size: int,
        *,
        project_id: str | None = None,
        instance_id: str | None = None,
        status: SubtaskStatus | None = None,
        task_type: str = "firmwareUpgrade",
    ) -> BatchTask:
        task_id = f"{self._dice.getrandbits(80):020x}{len(self._batches):04x}"
        names, weights = zip(*_STATUSES, strict=True)
        statuses = [status] * size if status else self._dice.choices(names, weights, k=size)
        task = BatchTask(
            task_id=task_id,
            subtasks={f"{task_id}-device-{number:05}": each for number, each in enumerate(statuses)},
            project_id=project_id or PROJECT_ID,
            instance_id=instance_id,
            task_type=task_type,
        )
        self._batches.append(task)
        return task

    def _sizes(self, count: int, asked: int, largest: int) -> list[int]:
        """Draw sizes of very unequal commands, one target to thousands, that ask for all that is yet to be asked."""
        weights = [self._dice.lognormvariate(0, 1.8) for _ in range(count)]
        scale = max(0, self._targets - asked) / sum(weights)
        sizes = [min(largest, math.ceil(weight * scale)) for weight in weights]
        short = self._targets - asked - sum(sizes)
        for place in sorted(range(count), key=lambda place: sizes[place]):
            if short <= 0:
                break
            more = min(short, largest // 2)
            sizes[place] += more
            short -= more
        return sizes

    # Commands.

    def _working(self, task: BatchTask, project_id: str | None, instance_id: str | None, *, size: int) -> Order:
        names = list(task.subtasks)
        # Mostly those for whom nobody has asked yet, else whichever: then commands overlap.
        first = self._dice.randrange(len(names)) if self._chance(0.25) else self._asked_of[task.task_id] % len(names)
        self._asked_of[task.task_id] += size
        chosen = (names + names)[first : first + min(size, len(names))]
        chosen += [f"nobody-{self._number()}" for _ in range(self._dice.choice((0, 0, 0, 0, 0, 0, 0, 1, 2)))]
        self._dice.shuffle(chosen)
        return self._order(
            {target: _RUNS if task.subtasks.get(target) in RUNNING else _HAS_ENDED for target in chosen}
            | {target: _UNKNOWN for target in chosen if target not in task.subtasks},
            Task("iotda", project_id or PROJECT_ID, instance_id, task.task_id),
            confirm=self._chance(0.15),
            copies=2 if self._chance(0.06) else 1,
            fields=_given(project_id=project_id, instance_id=instance_id),
        )

    def _check(self) -> Order:
        if self._checks and self._chance(0.15):
            task = self._dice.choice(self._checks)
        else:
            names, weights = zip(*_CHECKS, strict=True)
            task = CheckTask(
                task_id=f"{self._dice.getrandbits(128):032x}", status=self._dice.choices(names, weights)[0]
            )
            if not self._chance(0.05):
                self._checks.append(task)
            else:
                return self._order({task.task_id: _UNKNOWN}, Task("check", None, None, task.task_id))
        return self._order(
            {task.task_id: _RUNS if task.status == "checking" else _HAS_ENDED},
            Task("check", None, None, task.task_id),
            confirm=self._chance(0.2),
            copies=2 if self._chance(0.06) else 1,
        )

    def _dry_run(self) -> Order:
        task = self._dice.choice([each for each in self._batches if each.project_id == PROJECT_ID])
        chosen = self._dice.sample(list(task.subtasks), min(len(task.subtasks), self._dice.choice((1, 1, 3, 40, 120))))
        return self._order(
            {target: _RUNS_DRY if task.subtasks[target] in RUNNING else _HAS_ENDED for target in chosen},
            Task("iotda", PROJECT_ID, task.instance_id, task.task_id),
            statuses=DRY_RUN,
            fields={"dry_run": True} | _given(instance_id=task.instance_id),
        )

    def _expired(self) -> Order:
        late = (
            {"expires_at": _rfc3339(self._now - timedelta(minutes=1))},
            {"requested_at": _rfc3339(self._now - timedelta(days=1))},
        )
        task = self._dice.choice(self._batches)
        targets = dict.fromkeys(list(task.subtasks)[:3], frozenset[str]())
        place = Task("iotda", task.project_id, task.instance_id, task.task_id)
        fields = _given(project_id=task.project_id, instance_id=task.instance_id) | self._dice.choice(late)
        return replace(self._order(targets, place, statuses=EXPIRED, fields=fields), allowed={})

    def _unknown_task(self) -> Order:
        task_id = f"{self._dice.getrandbits(90):024x}"
        return self._order(
            {f"device-{number}": _UNKNOWN for number in range(3)}, Task("iotda", PROJECT_ID, None, task_id)
        )

    def _ended_task(self) -> Order:
        task = self._batch(self._dice.choice((3, 150)), status="Success")
        return self._order(dict.fromkeys(task.subtasks, _HAS_ENDED), Task("iotda", PROJECT_ID, None, task.task_id))

    def _forbidden_task(self) -> Order:
        """Return one of a type that cannot be stopped, or of another instance."""
        if self._chance(0.5):
            task = self._batch(5, status="Processing", task_type="createCommands")
            return self._order(dict.fromkeys(task.subtasks, _FORBIDDEN), Task("iotda", PROJECT_ID, None, task.task_id))
        task = self._batch(5, instance_id=_INSTANCE, status="Processing")
        return self._order(dict.fromkeys(task.subtasks, _UNKNOWN), Task("iotda", PROJECT_ID, None, task.task_id))

    def _unreachable(self) -> Order:
        task = self._batch(self._dice.choice((1, 130)), status="Processing")
        self._faults.append(Fault(kind=self._dice.choice(PASSING), service="iotda", task_id=task.task_id))
        return self._order(
            dict.fromkeys(task.subtasks, NEVER_REACHED),
            Task("iotda", PROJECT_ID, None, task.task_id),
            copies=self._dice.choice((1, 2)),
        )

    def _expires_soon(self) -> Order:
        task = self._batch(3, status="Processing")
        self._faults.append(Fault(kind="error_json", status=503, service="iotda", task_id=task.task_id))
        expires_at = self._now + timedelta(seconds=self._dice.uniform(10, 60))
        order = self._order(
            dict.fromkeys(task.subtasks, NEVER_REACHED),
            Task("iotda", PROJECT_ID, None, task.task_id),
            statuses=frozenset({"failed", "expired"}),
            fields={"expires_at": _rfc3339(expires_at)},
        )
        return replace(order, expires_at=expires_at)

    def _said_to_run(self) -> Order:
        task = self._batch(3, status="Processing")
        said = {
            "batchtask": {"status": "Processing", "task_progress": {"total": 3}},
            "task_details": [{"target": target, "status": "Processing"} for target in task.subtasks],
            "page": {"count": 3, "marker": "1" * 24},
        }
        self._faults += [
            Fault(kind="answer", operation="show_batch_task", task_id=task.task_id, body=said),
            # Nothing else may befall the stop, or it is repeated; see _SAID_TO_RUN.
            Fault(kind="slow", operation="stop_batch_task", task_id=task.task_id, seconds=0.001),
        ]
        place = Task("iotda", PROJECT_ID, None, task.task_id)
        return self._order(dict.fromkeys(task.subtasks, _SAID_TO_RUN), place, confirm=True)

    def _broken(self) -> Order:
        targets = {"command": "stop_targets", "task_id": "5f1ac5c3e4b0", "targets": ["d-1"]}
        mine = {"command_id": self._number()}
        texts: tuple[tuple[str, Way, bool], ...] = (
            ("stop, please", "StopTaskQueue", False),
            ("", "StopTargetsQueue", False),
            ('["stop_task"]', "StopTaskQueue", False),
            ('{"command": "stop_task", "task_id": "a", "task_id": "b"}', "StopTaskQueue", False),
            ('{"command": "stop_targets", "task_id": "ab", "targets": NaN}', "StopTargetsQueue", False),
            (json.dumps(targets | mine | {"targets": []}), "StopTargetsQueue", True),
            (json.dumps(targets | mine | {"targets": None}), "StopTargetsQueue", True),
            (json.dumps(targets | mine | {"force": True}), "StopCommandsTopic", True),
            (json.dumps(targets | mine | {"all_targets": True}), "StopTargetsQueue", True),
            (json.dumps(targets | mine | {"task_id": "NOT-HEX"}), "StopCommandsTopic", True),
            (json.dumps(targets | mine | {"expires_at": "2026-11-23"}), "StopTargetsQueue", True),
            (json.dumps(targets | mine), "StopTaskQueue", True),
            (json.dumps({"command": "stop_task", "task_id": "c"} | mine), "StopTargetsQueue", True),
            (self._stop_all(mine), "StopTargetsQueue", True),
            (self._stop_all(mine), "StopCommandsTopic", True),
            (_in_an_event(json.loads(self._stop_all(mine))), "StopTargetsQueue", True),
        )
        # Without an id of its own it must differ from its like, or nobody could tell their dead letters apart.
        text, way, is_named = self._dice.choice(texts)
        text = text if is_named else text + " " * self._numbers + "\n"
        command_id = mine["command_id"] if is_named else None
        return Order(command_id, text, way, None, {}, REJECTED, copies=2 if is_named and self._chance(0.2) else 1)

    def _stop_all(self, mine: Mapping[str, str]) -> str:
        task = self._dice.choice(self._batches)
        return json.dumps({"command": "stop_targets", "task_id": task.task_id, "all_targets": True, **mine})

    def _order(
        self,
        allowed: Mapping[str, frozenset[str]],
        task: Task,
        *,
        statuses: frozenset[str] = CARRIED_OUT,
        confirm: bool = False,
        copies: int = 1,
        fields: Mapping[str, object] = MappingProxyType({}),
    ) -> Order:
        command_id = self._number()
        command: dict[str, object] = {"command": "stop_task" if task.service == "check" else "stop_targets"}
        command |= {"command_id": command_id, "task_id": task.task_id, "reason": f"soak {command_id}"}
        if task.service == "iotda":
            asked = list(allowed)
            command["targets"] = asked + self._dice.sample(asked, min(len(asked), self._dice.choice((0, 0, 0, 2))))
        command |= {"confirm": True} if confirm else {}
        command |= fields
        by_topic = len(allowed) <= _TARGETS_BY_TOPIC and self._chance(0.25)
        way: Way = "StopCommandsTopic" if by_topic else "StopTaskQueue"
        way = "StopTargetsQueue" if not by_topic and task.service == "iotda" else way
        in_an_event = not by_topic and self._chance(0.2)
        body = _in_an_event(command) if in_an_event else json.dumps(command)
        return Order(command_id, body, way, task, allowed, statuses, confirm=confirm, copies=copies)

    def _chance(self, share: float) -> bool:
        return self._dice.random() < share

    def _number(self) -> str:
        self._numbers += 1
        return f"soak-{self._numbers:05}"


def _given(**values: str | None) -> dict[str, object]:
    return {name: value for name, value in values.items() if value is not None}


def _rfc3339(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _in_an_event(command: Mapping[str, object]) -> str:
    return json.dumps({"version": "0", "detail-type": "Stop Command", "source": "soak", "detail": command})

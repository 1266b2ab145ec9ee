"""A world for sweeps: the real sweeper over the stand-in of Huawei Cloud, in told time, with a table that is a dict."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

from local.huawei import CHECK_PROJECT_ID, PROJECT_ID, AccessKey, BatchTask, Cloud, Scenario
from shared.huawei.client import DerivedSigning, HuaweiClient
from shared.huawei.credentials import Credentials, FixedCredentials
from shared.huawei.task_lists import BatchTaskLists, CheckTaskLists
from shared.settings import SweepStaleTasksSettings, read_settings
from shared.staleness import Choice, choose_stale
from shared.sweeping import Sweeper
from tests.fakes import ENVIRONMENT, Clock, FakeAws
from tests.quiet import NoDefects
from tests.simulation import CloudHttp

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from shared.deadline import Deadline
    from shared.sightings import Item, Memory, Sighting
    from shared.telemetry import Telemetry

TASK_QUEUE, TARGETS_QUEUE = "https://sqs/stop-task", "https://sqs/stop-targets"
CHECKS = {"sweep": "check_tasks", "project_id": CHECK_PROJECT_ID, "older_than": "PT2H"}
BATCHES = {"sweep": "batch_tasks", "older_than": "P1D"}
STOP: dict[str, Any] = {"dry_run": False}


@dataclass
class DictMemory:
    """`shared.sightings.Sightings` in a dict, with the same conditions.

    `before_swap` is called with the task's id and the new item before each write, and may raise.
    """

    items: dict[tuple[str, str], Item] = field(default_factory=dict)
    before_swap: Callable[[str, Item | None], None] = lambda *_: None

    @property
    def seen(self) -> dict[str, Sighting]:
        """The sightings that may be used, by task."""
        return {task_id: item.evidence for (_, task_id), item in self.items.items() if item.evidence}

    def of_project(self, project_id: str, *, deadline: Deadline) -> dict[str, Item]:
        assert deadline.remaining() > 0
        return {task_id: item for (project, task_id), item in self.items.items() if project == project_id}

    def read(self, project_id: str, task_id: str, *, deadline: Deadline) -> Item | None:
        assert deadline.remaining() > 0
        return self.items.get((project_id, task_id))

    def swap(self, project_id: str, task_id: str, held: Item | None, new: Item | None, *, deadline: Deadline) -> bool:
        assert deadline.remaining() > 0
        self.before_swap(task_id, new)
        there = self.items.get((project_id, task_id))
        if (there and there.version) != (held and held.version):
            return False
        if new is None:
            self.items.pop((project_id, task_id), None)
        else:
            self.items[project_id, task_id] = new
        return True


VERSIONS = count()

COUNTED = "2026-11-20T06:00:00Z"
"""A `last_check_time` that stays: of a task whose checks are not counted, or have not ended."""


class World:
    def __init__(
        self,
        *,
        memory: Memory | None = None,
        environment: dict[str, str] | None = None,
        behind: timedelta = timedelta(),
        telemetry: Telemetry | None = None,
        **choices: Any,
    ) -> None:
        """`behind`: how far Huawei's clock is behind ours."""
        self.clock = Clock()
        self.behind = behind
        self.cloud = Cloud(Scenario.model_validate({"settings": choices}), clock=self._huaweis_clock)
        self.aws = FakeAws()
        self.memory = DictMemory()
        self._memory = memory or self.memory
        self._telemetry = telemetry or NoDefects()
        self._environment = environment or {}
        self.sweeper = self._new_sweeper()

    def _huaweis_clock(self) -> float:
        return (self.clock.now() - self.behind).timestamp()

    def _new_sweeper(self, *, ahead: timedelta = timedelta()) -> Sweeper:
        key = AccessKey()

        def now() -> datetime:
            return self.clock.now() + ahead

        http = CloudHttp(self.cloud, self.clock, lambda _: None)

        def client(derived: DerivedSigning | None) -> HuaweiClient:
            return HuaweiClient(
                http=http,
                endpoint="https://instance.st1.iotda-app.cn-north-4.myhuaweicloud.com",
                project_id=PROJECT_ID,
                credentials=FixedCredentials(Credentials(key.ak, key.sk)),
                derived=derived,
                now=now,
            )

        return Sweeper(
            settings=read_settings(
                SweepStaleTasksSettings,
                ENVIRONMENT
                | {
                    "HUAWEICLOUD_SDK_PROJECT_ID": PROJECT_ID,
                    "STOP_TASK_QUEUE_URL": TASK_QUEUE,
                    "STOP_TARGETS_QUEUE_URL": TARGETS_QUEUE,
                }
                | self._environment,
            ),
            check_lists=CheckTaskLists(client(None)),
            batch_lists=BatchTaskLists(client(DerivedSigning("cn-north-4", "iotdm"))),
            memory=self._memory,
            bus=self.aws,
            queues=self.aws,
            check_pace=self.clock.pace(),
            batch_pace=self.clock.pace(),
            patience=self.clock.patience()._replace(now=now),
            telemetry=self._telemetry,
            new_version=lambda: f"v-{next(VERSIONS)}",
        )

    def ago(self, **time: float) -> str:
        return f"{self.clock.now() - timedelta(**time):%Y-%m-%dT%H:%M:%SZ}"

    def sweep(self, asked: dict[str, Any], *, seconds: float = 900.0, **changed: Any) -> dict[str, Any]:
        return self.sweeper.handle(asked | changed, deadline=self.clock.deadline(seconds))

    def sweep_beside(self, asked: dict[str, Any], *, ahead: timedelta = timedelta(), **changed: Any) -> dict[str, Any]:
        """Carry out a sweep in another process, whose clock is `ahead`, perhaps while one goes on in this."""
        return self._new_sweeper(ahead=ahead).handle(asked | changed, deadline=self.clock.deadline(900.0))

    def meanwhile(self, monkeypatch: pytest.MonkeyPatch, happens: Callable[[], None]) -> None:
        """Let something happen between the choice of what is stale and the last look."""

        def chosen(*given: Any, **named: Any) -> Choice:
            choice = choose_stale(*given, **named)
            happens()
            return choice

        monkeypatch.setattr("shared.sweeping.choose_stale", chosen)

    def pass_by(self, **time: float) -> None:
        self.clock.seconds += timedelta(**time).total_seconds()

    def sent(self, queue_url: str) -> list[dict[str, Any]]:
        return [json.loads(message.body) for message in self.aws.queues.get(queue_url, ())]


def found(report: dict[str, Any]) -> dict[str, int]:
    return {name: report[name] for name in ("scanned", "stale", "protected", "unknown_age", "sent")}


def compact(iso: str) -> str:
    return iso.replace("-", "").replace(":", "")


def batch(task_id: str, world: World, *, days: float, **more: Any) -> BatchTask:
    targets = (f"{task_id}-d1", f"{task_id}-d2")
    return BatchTask.model_validate(
        {"task_id": task_id, "targets": targets, "create_time": compact(world.ago(days=days))} | more
    )

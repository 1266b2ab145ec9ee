"""What the demo sends, out of `events/`, and what must become of it by the contract."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal
from uuid import NAMESPACE_URL, uuid5

from local.huawei import BatchTask, CheckTask, Scenario
from shared.sweeps import name_of

if TYPE_CHECKING:
    from collections.abc import Mapping

EVENTS: Final = Path(__file__).parent.parent / "events"
ONE_TARGET_MESSAGES: Final = 40

_NAMED_TARGETS: Final = 250
_BIG_BATCH: Final = "5f1ac5c3e4b0"
_SMALL_BATCH: Final = "5f1ac5c3e4b1"
_STALE_BATCH: Final = "5f1ac5c3e4b2"
_PROTECTED_BATCH: Final = "5f1ac5c3e4b3"
_WORKFLOW_BATCH: Final = "5f1ac5c3e4b4"
_STALE_SINCE: Final = "20261101T000000Z"

type Way = Literal["StopTaskQueue", "StopTargetsQueue", "StopCommandsTopic", "SweepStaleTasksFunction", "StopWorkflow"]
"""Where a message is sent, by logical id: a queue, the topic, a function as a timer invokes it, a state machine."""

SWEEP_FINDS: Final = {"stale": 1, "protected": 1, "unknown_age": 0, "refused": False, "sent": 1, "targets": 3}
"""What the report of the demo's sweep must say; how many tasks are listed depends on what was stopped before."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What a command must come to.

    `tally` leaves out what is 0; `events` counts all its events; `calls` the stop calls to Huawei Cloud that name one
    of its targets; `set_aside` says that its message must be in the dead-letter queue; `confirmed` is what its final
    event says.
    """

    status: str
    tally: Mapping[str, int] = field(default_factory=dict)
    events: int = 1
    calls: int = 0
    set_aside: bool = False
    confirmed: bool | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """One message: its text to the byte, the way it goes, and what must become of it.

    `command_id`, `task_id` and `targets` are the command's own; without an id it is known by its `messageId`.
    """

    title: str
    body: str
    way: Way
    expected: Expected
    command_id: str | None
    task_id: str | None
    targets: frozenset[str]


def device(number: int) -> str:
    """Give the id of the sample device with this number, as the files name it."""
    return str(uuid5(NAMESPACE_URL, f"stopline-sample-device-{number}"))


def folding_messages() -> list[Message]:
    """Give those that are sent together: 250 targets by one message and 40 by one each, all of one batch task."""
    big = _message(
        "250 targets of a batch task",
        "stop-250-targets.json",
        "StopTargetsQueue",
        Expected("succeeded", {"stopped": 250}, events=3, calls=3),
    )
    one = json.loads(_text("commands/stop-one-target.json"))
    ones = [
        _message_of(
            f"{ONE_TARGET_MESSAGES} messages of one target each",
            json.dumps(one | {"command_id": f"batch-one-{number}", "targets": [device(_NAMED_TARGETS + number)]}),
            "StopTargetsQueue",
            Expected("succeeded", {"stopped": 1}, calls=1),
        )
        for number in range(ONE_TARGET_MESSAGES)
    ]
    return [big, *ones]


def other_messages() -> list[Message]:
    """Give one message of every other sort."""
    stopped = Expected("succeeded", {"stopped": 1}, calls=1)
    set_aside = Expected("rejected", set_aside=True)
    return [
        _message("a running check", "stop-task.json", "StopTaskQueue", stopped),
        _message("a check, by the topic", "stop-task-by-topic.json", "StopCommandsTopic", stopped),
        _message(
            "a check that is unknown",
            "unknown-check-task.json",
            "StopTaskQueue",
            Expected("failed", {"not_found": 1}, calls=1),
        ),
        _message(
            "two targets, by the topic",
            "stop-targets-by-topic.json",
            "StopCommandsTopic",
            Expected("succeeded", {"stopped": 2}, calls=1),
        ),
        _message("a target, in an event", "stop-targets-in-an-event.json", "StopTargetsQueue", stopped),
        _message(
            "a batch task that is unknown",
            "unknown-batch-task.json",
            "StopTargetsQueue",
            Expected("failed", {"not_found": 2}, calls=1),
        ),
        _message(
            "a dry run",
            "dry-run.json",
            "StopTargetsQueue",
            Expected("dry_run", {"would_stop": 1, "already_ended": 1}),
        ),
        _message("a command that came too late", "expired.json", "StopTargetsQueue", Expected("expired")),
        _message("a stop of everything", "stop-all.json", "StopTargetsQueue", set_aside),
        _message(
            "a running check, confirmed",
            "stop-and-confirm.json",
            "StopTaskQueue",
            Expected("succeeded", {"stopped": 1}, calls=1, confirmed=True),
        ),
        _message("a field that does not exist", "bad-field.json", "StopTargetsQueue", set_aside),
        _message("no JSON at all", "not-json.txt", "StopTaskQueue", set_aside),
    ]


def sweep_message() -> Message:
    """Give the sweep that finds one stale batch task; its outcome is that of the command which it sends."""
    sweep = json.loads(_text("sweeps/batch-tasks.json"))
    targets = frozenset(device(number) for number in (310, 311, 312))
    return Message(
        title="a sweep: what runs since weeks",
        body=json.dumps(sweep | {"dry_run": False}),
        way="SweepStaleTasksFunction",
        expected=Expected("succeeded", {"stopped": 3}, calls=1),
        command_id=f"sweep:{_STALE_BATCH}:{_STALE_SINCE}:{name_of(targets)}",
        task_id=_STALE_BATCH,
        targets=targets,
    )


def workflow_message() -> Message:
    """Give the command that a state machine carries out, which confirms it unless it says otherwise."""
    return _message_of(
        "two targets, by a workflow",
        _text("workflow/stop-targets.json"),
        "StopWorkflow",
        Expected("succeeded", {"stopped": 2}, calls=1, confirmed=True),
    )


def scenario() -> Scenario:
    """Give the work that runs on Huawei Cloud when the demo begins."""
    running = {device(number): "Processing" for number in (300, 302, 303, 304)}
    return Scenario.model_validate(
        {
            "check_tasks": [
                CheckTask(task_id="2b31ed520a1b4c5d8e9fedb6e57a0b1c"),
                CheckTask(task_id="7c05be8811f24a6b9d3e5a4f0c1b2d3e"),
                # Its stop shows at the second read: the first confirmation comes too early.
                CheckTask(task_id="9d16cf9922a35b7c8e4f6b5a1d2c3e4f", stop_reads=1),
            ],
            "batch_tasks": [
                BatchTask(
                    task_id=_BIG_BATCH,
                    targets=tuple(device(number) for number in range(_NAMED_TARGETS + ONE_TARGET_MESSAGES)),
                ),
                BatchTask.model_validate(
                    {"task_id": _SMALL_BATCH, "subtasks": running | {device(301): "Success"}},
                ),
                BatchTask(
                    task_id=_STALE_BATCH,
                    targets=tuple(device(number) for number in (310, 311, 312)),
                    create_time=_STALE_SINCE,
                ),
                BatchTask(
                    task_id=_PROTECTED_BATCH,
                    task_name="release-42",
                    targets=(device(320),),
                    create_time=_STALE_SINCE,
                ),
                BatchTask(task_id=_WORKFLOW_BATCH, targets=(device(330), device(331))),
            ],
        }
    )


def _message(title: str, file: str, way: Way, expected: Expected) -> Message:
    return _message_of(title, _text(f"commands/{file}"), way, expected)


def _text(file: str) -> str:
    return (EVENTS / file).read_text()


def _message_of(title: str, body: str, way: Way, expected: Expected) -> Message:
    try:
        content: dict[str, Any] = json.loads(body)
    except ValueError:
        content = {}
    command = content.get("detail", content)
    task_id = command.get("task_id")
    targets = [task_id] if command.get("command") == "stop_task" else command.get("targets", [])
    return Message(
        title=title,
        body=body,
        way=way,
        expected=expected,
        command_id=command.get("command_id"),
        task_id=task_id,
        targets=frozenset(targets),
    )

"""Sweeps: what a timer may ask for, the commands that come of it, and the report on what was found.

A sweep is data, so that every schedule is a policy of its own. Unknown fields are refused and types are not coerced,
as in commands; without `dry_run: false` nothing is ever stopped.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    StringConstraints,
    ValidationError,
)

from shared.commands import Given, InstanceId, ProjectId
from shared.errors import ForeignAnswer, HuaweiUnavailable, SweepRejected
from shared.field_errors import complaint, explain, joined, show
from shared.outcomes import Instant, to_rfc3339

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from shared.staleness import Age, RunningTask

DETAIL_TYPE: Final = "Sweep Completed"
"""`DetailType` of a report."""

TASKS_PER_REPORT: Final = 100
"""Most stale tasks that a report names; its counts are of all."""

TARGETS_PER_COMMAND: Final = 5_000
"""Most targets that one command of a sweep names."""

TARGETS_BYTES_PER_COMMAND: Final = 500_000
"""Bytes that these may take, so that the command, and its remainder that names some twice, stays below 1 MiB."""

LONGEST_TIME_TO_LIVE: Final = timedelta(minutes=30)
"""How long a command of a sweep is valid at most, see `time_to_live`."""

NAME_LENGTH: Final = 256
"""Characters kept of a task's name, so that 100 of them always fit into an event of 256 KiB."""

# The part of ISO 8601 durations that has a length of its own: a month or a year has none.
_DURATION: Final = re.compile(
    r"P(?:(?P<weeks>\d{1,3})W|(?=\d|T\d)(?:(?P<days>\d{1,4})D)?"
    r"(?:T(?=\d)(?:(?P<hours>\d{1,6})H)?(?:(?P<minutes>\d{1,6})M)?(?:(?P<seconds>\d{1,8})S)?)?)",
    re.ASCII,
)
_SHORTEST: Final = timedelta(minutes=1)
_LONGEST: Final = timedelta(days=3650)


def _read_duration(value: Any) -> timedelta:
    parts = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if parts is None:
        raise complaint("should be an ISO 8601 duration of weeks, days or times, e.g. PT2H")
    duration = timedelta(**{unit: int(count) for unit, count in parts.groupdict(default="0").items()})
    # Less than a minute would be no age at all beside clocks that differ by seconds.
    if not _SHORTEST <= duration <= _LONGEST:
        raise complaint("should be from PT1M to P3650D")
    return duration


type Duration = Annotated[
    timedelta,
    BeforeValidator(
        _read_duration, json_schema_input_type=Annotated[str, Field(json_schema_extra={"format": "duration"})]
    ),
]

# What a pattern may not begin or end with, since it would protect nothing: white space and other characters that nobody
# sees, and quotes of any kind. Not variation selectors, which belong to the character before, nor what is beyond
# U+FFFF, which not every dialect can name: `shared.staleness` leaves out both. Read by Python and, in the schema, by
# ECMAScript.
_UNSEEN: Final = (
    r"\x00-\x20\x7f-\xa0\xad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180e\u2000-\u200f\u2028-\u202f"
    r"\u205f-\u206f\u2800\u3000\u3164\ufeff\uffa0\ufff0-\uffff"
)
_QUOTES: Final = (
    r""""'`\xab\xb4\xbb\u2018-\u201f\u2032-\u2037\u2039\u203a\u275b-\u2760\u276e\u276f\u2e42\u300c-\u300f\u301d-\u301f"""
    r"\uff02\uff07\uff40\uff62\uff63"
)
_ENDS: Final = r"^(?![{0}])(?![\s\S]*[{0}]$)"
_NOT_IN_GLOBS: Final = {
    _ENDS.format(_UNSEEN): "should not begin or end with a blank or an invisible character",
    _ENDS.format(_QUOTES): "should not begin or end with a quote; use ? for one that a name has",
    r"^[^\\]*$": "should not contain a backslash; use ? for one that a name has",
}
_GLOB: Final = _ENDS.format(_UNSEEN + _QUOTES) + r"[^\\]*$"


def _read_glob(value: str) -> str:
    for allowed, reason in _NOT_IN_GLOBS.items():
        # `'release-*'`, or a blank too many, as in `release-* ,nightly-*`, would protect nothing.
        if not re.search(allowed, value):
            raise complaint(reason)
    return value


type Glob = Annotated[
    str,
    StringConstraints(min_length=1, max_length=256),
    AfterValidator(_read_glob),
    Field(json_schema_extra={"pattern": _GLOB}),
]
type TaskType = Literal["firmwareUpgrade", "softwareUpgrade"]


class _Sweep(BaseModel):
    """What the two kinds have in common. More than `limit` stale tasks are not stopped but reported."""

    # Built when first used: an invocation is one sweep, of one kind.
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", defer_build=True)

    older_than: Duration
    limit: int = Field(50, ge=1, le=1_000)
    dry_run: bool = True
    protect: Annotated[tuple[Glob, ...], Strict(strict=False), Field(max_length=100)] = ()


class SweepCheckTasks(_Sweep):
    """The CodeArts Check tasks of one CodeArts project (its id is another than the IAM project's)."""

    sweep: Literal["check_tasks"]
    project_id: ProjectId


class SweepBatchTasks(_Sweep):
    """The IoTDA batch tasks of one project and instance; only these two types can be stopped."""

    sweep: Literal["batch_tasks"]
    project_id: ProjectId
    instance_id: Given[InstanceId] = None
    task_types: Annotated[tuple[TaskType, ...], Strict(strict=False), Field(min_length=1)] = (
        "firmwareUpgrade",
        "softwareUpgrade",
    )


type Sweep = SweepCheckTasks | SweepBatchTasks


def read_sweep(payload: object, *, project_id: str, instance_id: str | None) -> Sweep:
    """Read a sweep out of parsed JSON; `project_id` (of IAM) and `instance_id` are the deployment's.

    Raises `SweepRejected`, which names every field that is wrong and the reason.
    """
    if not isinstance(payload, dict):
        raise SweepRejected("a sweep should be a JSON object")
    filled = dict(payload)
    model: type[Sweep]
    match payload.get("sweep"):
        case "check_tasks":
            model = SweepCheckTasks
        case "batch_tasks":
            model = SweepBatchTasks
            filled.setdefault("project_id", project_id)
            if instance_id is not None:
                filled.setdefault("instance_id", instance_id)
        case _ if "sweep" in payload:
            raise SweepRejected(f"sweep: {show(payload['sweep'])} should be check_tasks or batch_tasks")
        case _:
            raise SweepRejected("sweep: is missing; should be check_tasks or batch_tasks")
    try:
        sweep = model.model_validate(filled)
    except ValidationError as error:
        errors = explain(error, model=model, kind=payload["sweep"], payload=filled)
        raise SweepRejected(joined(errors, whole="sweep")) from None
    if isinstance(sweep, SweepCheckTasks) and sweep.project_id == project_id:
        # The two kinds of id look alike, and the list of a project that does not exist may be an empty one.
        raise SweepRejected(
            f"project_id: {show(project_id)} is the IAM project; CodeArts Check needs the id of the CodeArts project"
        )
    return sweep


@dataclass(frozen=True, slots=True)
class SweepCommand:
    """A command for one of the queues. `asked`: the targets that it names; of a check the task itself.

    `expires_at`: after that it stops nothing any more.
    """

    command_id: str
    command: Literal["stop_task", "stop_targets"]
    task_id: str
    asked: tuple[str, ...]
    expires_at: datetime
    body: str


@dataclass(frozen=True, slots=True)
class Commands:
    """What is to be sent for the stale tasks; in a dry run only how much that would be.

    `targets`: by task, how many of its targets are to be stopped; a task of which that is not known is left out.
    `missed`: of how many tasks it could not be found out what of them still runs. `cut`: of how many others there may
    be more to stop than is named here, since an entry of their lists, or their name, could not be read. `protected`:
    the ids of those whose newest name a pattern protects. `failures`: why some are `missed`.
    """

    to_send: tuple[SweepCommand, ...]
    targets: Mapping[str, int]
    missed: int
    cut: int
    protected: frozenset[str]
    failures: tuple[Exception, ...]


@dataclass(frozen=True, slots=True)
class Claimed:
    """The commands that this sweep, and no other, may send, and what kept it from claiming others."""

    commands: tuple[SweepCommand, ...]
    failures: tuple[Exception, ...]


def unavailable(words: str, causes: Sequence[Exception]) -> HuaweiUnavailable:
    """Return an error with the first of its causes."""
    return HuaweiUnavailable(": ".join([words, *map(str, causes[:1])]))


def missed(
    *, unread: int, causes: Sequence[Exception], late: int, valid_for: timedelta, of: int
) -> Iterator[Exception]:
    """Yield why stale tasks are missed by the last look at so many of them.

    `unread`: those of which it could not be found out what still runs, because of `causes`. `late`: those that were
    read, but so long before the end that a command would not be valid any more.
    """
    foreign = [cause for cause in causes if isinstance(cause, ForeignAnswer)]
    if foreign and len(foreign) == of:
        yield foreign[0]
    elif unread:
        yield unavailable(f"of {unread} stale tasks it could not be found out what still runs", causes)
    if late:
        yield HuaweiUnavailable(
            f"of {late} stale tasks the commands, valid for {valid_for.total_seconds():g} seconds from the last look, "
            "would have come too late: CommandTtlSeconds or older_than is too short"
        )


def time_to_live(sweep: Sweep) -> timedelta:
    """Return how long a command is valid, counted from the last look at what it stops.

    An id outlives its runs, and a command stops whatever runs under it when its turn comes. What began after the last
    look is younger than `older_than` for as long as that, so within that time another run would be stopped too young,
    and after it the next sweep has had its say: no command needs to be valid longer. All that is in favour of a
    longer time are the queue and the attempts, and a quarter of an hour is enough for eight of these with all their
    pauses; half an hour leaves room for a backlog. A command that comes too late says so on the bus, as `expired`.
    """
    return min(sweep.older_than, LONGEST_TIME_TO_LIVE)


def stop_check(sweep: SweepCheckTasks, task: RunningTask, age: Age, *, expires_at: datetime) -> SweepCommand:
    """Give the command that stops a stale check."""
    return _command(sweep, task, age, expires_at, command="stop_task", part="", asked=(task.task_id,), more={})


def stop_running_targets(
    sweep: SweepBatchTasks, task: RunningTask, age: Age, targets: Sequence[str], *, expires_at: datetime
) -> Iterator[SweepCommand]:
    """Give the commands that stop these targets of a stale batch task: by their names, since no timer stops all."""
    where = {"project_id": sweep.project_id}
    if sweep.instance_id is not None:
        where["instance_id"] = sweep.instance_id
    for part in _parts(sorted(targets)):
        more = {**where, "targets": part}
        name = f":{name_of(part)}"
        yield _command(sweep, task, age, expires_at, command="stop_targets", part=name, asked=part, more=more)


def name_of(targets: Iterable[str]) -> str:
    """Return a name for these targets, whatever their order: 16 hex digits.

    Named by its number, a part of what runs in one sweep would have the name of another part in the next.
    """
    return hashlib.sha256("\n".join(sorted(targets)).encode()).hexdigest()[:16]


def _command(
    sweep: Sweep,
    task: RunningTask,
    age: Age,
    expires_at: datetime,
    *,
    command: Literal["stop_task", "stop_targets"],
    part: str,
    asked: tuple[str, ...],
    more: Mapping[str, object],
) -> SweepCommand:
    # Named by the run, so that two sweeps of it send the same command; the second is only longer in force.
    command_id = f"sweep:{task.task_id}:{age.running_since:%Y%m%dT%H%M%SZ}{part}"
    body = {
        "command": command,
        "command_id": command_id,
        "task_id": task.task_id,
        "attempt": 1,  # without it the queue function would add its own instance where the sweep has none
        "expires_at": to_rfc3339(expires_at),
        "requested_by": "stopline sweep",
        "reason": (
            f"runs since {to_rfc3339(age.shown)} or longer ({age.evidence}), "
            f"past {sweep.older_than / timedelta(hours=1):g} hours"
        ),
        **more,
    }
    return SweepCommand(command_id, command, task.task_id, asked, expires_at, json.dumps(body))


def _parts(targets: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Cut targets so that each command, and all that may come back of it, fits into a message."""
    part: list[str] = []
    size = 0
    for target in targets:
        room = len(target) + len('"", ')
        if part and (len(part) == TARGETS_PER_COMMAND or size + room > TARGETS_BYTES_PER_COMMAND):
            yield tuple(part)
            part, size = [], 0
        part.append(target)
        size += room
    if part:
        yield tuple(part)


class StaleTask(BaseModel):
    """A task that has been running since `running_since` or longer, which `evidence` says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task_id: str
    task_name: str | None
    running_since: Instant
    evidence: str
    targets: int | None

    @classmethod
    def of(cls, task: RunningTask, age: Age, targets: int | None) -> StaleTask:
        """Name a task in a report."""
        return cls(
            task_id=task.task_id,
            task_name=None if task.task_name is None else task.task_name[:NAME_LENGTH],
            running_since=age.shown,
            evidence=age.evidence,
            targets=targets,
        )


class SweepReport(BaseModel):
    """What a sweep found and did; docs/contract.md gives the meaning of each field.

    `missed`: the tasks that could not be looked into to the end, see `Found.missed` and `Commands`. `targets`: how many
    targets the commands sent name, or would name in a dry run; `None` if that is not known.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sweep: Literal["check_tasks", "batch_tasks"]
    dry_run: bool
    scanned: int
    stale: int
    protected: int
    unknown_age: int
    missed: int = 0  # in no report of before it was counted
    refused: bool
    sent: int
    targets: int | None
    tasks: tuple[StaleTask, ...] = Field(max_length=TASKS_PER_REPORT)

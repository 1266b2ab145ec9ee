"""Outcomes: the events in which Stopline says what happened to a command.

One event carries the results of at most `RESULTS_PER_EVENT` targets; every accepted command ends in exactly
one final event. Nothing here is optional when it is made: whoever makes an outcome says all of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, PlainSerializer
from pydantic.json_schema import SkipJsonSchema

if TYPE_CHECKING:
    from collections.abc import Mapping

RESULTS_PER_EVENT: Final = 100
"""Most targets whose results one event carries."""

ERROR_MESSAGE_LENGTH: Final = 300
"""Characters kept of Huawei's message on a target, so that 100 results always fit into 256 KiB, see `shared/aws.py`."""

MOST_COUNTED: Final = 1_000_000
"""What each count of a `Tally` holds at most."""

SOURCE: Final = "stopline"
"""`Source` of every event on the bus."""

DETAIL_TYPE: Final = "Stop Outcome"
"""`DetailType` of an outcome."""


def to_rfc3339(instant: datetime) -> str:
    """Write a moment as `2026-11-23T08:49:05.123Z`: UTC, milliseconds."""
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def shorten(text: str, length: int) -> str:
    """Return a text of at most `length` characters, without a last word that was cut: it may be half of an id."""
    return text if len(text) <= length else re.sub(r"[A-Za-z0-9_.:-]+$", "", text[: length - 1]) + "…"


type Instant = Annotated[AwareDatetime, PlainSerializer(to_rfc3339)]
"""A moment with its zone; written as RFC 3339 in UTC with milliseconds."""


class Result(StrEnum):
    """What became of one target; each is terminal."""

    STOPPED = "stopped"
    ALREADY_ENDED = "already_ended"
    NOT_FOUND = "not_found"
    REFUSED = "refused"
    GAVE_UP = "gave_up"
    STILL_RUNNING = "still_running"
    WOULD_STOP = "would_stop"


class Status(StrEnum):
    """What an event says of its command; all but `IN_PROGRESS` are final."""

    IN_PROGRESS = "in_progress"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REJECTED = "rejected"
    EXPIRED = "expired"
    DRY_RUN = "dry_run"


def _is_none(value: object) -> bool:
    return value is None


# No model of pydantic's, which takes 500 bytes for each of 100 000 targets where this takes 80.
@dataclass(frozen=True, slots=True)
class TargetResult:
    """The terminal result of one target, with Huawei's own words where it said something against it."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    target: str
    result: Result
    error_code: Annotated[str | None, Field(exclude_if=_is_none)] = None
    error_msg: Annotated[str | None, Field(exclude_if=_is_none)] = None
    request_id: Annotated[str | None, Field(exclude_if=_is_none)] = None


class Tally(BaseModel):
    """How many targets of a command have which result, over all its events so far."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    stopped: int = Field(0, ge=0, le=MOST_COUNTED)
    already_ended: int = Field(0, ge=0, le=MOST_COUNTED)
    not_found: int = Field(0, ge=0, le=MOST_COUNTED)
    refused: int = Field(0, ge=0, le=MOST_COUNTED)
    gave_up: int = Field(0, ge=0, le=MOST_COUNTED)
    still_running: int = Field(0, ge=0, le=MOST_COUNTED)
    would_stop: int = Field(0, ge=0, le=MOST_COUNTED)

    def plus(self, results: Mapping[Result, int]) -> Tally:
        """Count so many more of each result."""
        counts = dict(self)
        for result, count in results.items():
            counts[result.value] += count
        return Tally(**counts)

    @property
    def total(self) -> int:
        """All targets that have a result."""
        return sum(value for _, value in self)

    @property
    def all_ended(self) -> bool:
        """Whether every target counted has been stopped or had ended before."""
        return self.total == self.stopped + self.already_ended


class FieldError(BaseModel):
    """Why a message is no valid command: the field (`""` for the message itself) and the reason."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    loc: str
    msg: str
    # The two parts of `msg`, which are not published: the log holds a value only where it can be no target. Without a
    # `reason`, any part of `msg` may be one.
    value: SkipJsonSchema[str] = Field("", exclude=True)
    reason: SkipJsonSchema[str | None] = Field(None, exclude=True)


class Outcome(BaseModel):
    """One event on the bus, `detail` of it; docs/contract.md gives the meaning of each field.

    `outcome_id` is the same whenever the same part of the same command is published again.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    outcome_id: str
    command_id: str
    command: Literal["stop_task", "stop_targets"] | None
    status: Status
    attempt: int
    task_id: str | None
    project_id: str | None
    instance_id: str | None
    requested_at: Instant | None
    requested_by: str | None
    reason: str | None
    traceparent: str | None
    tracestate: str | None
    occurred_at: Instant
    results: tuple[TargetResult, ...] = Field(max_length=RESULTS_PER_EVENT)
    tally: Tally
    confirmed: bool | None
    errors: tuple[FieldError, ...]

    @property
    def resources(self) -> tuple[str, ...]:
        """`Resources` of the event: the task as one name, so that a rule can match on it."""
        match self.command:
            case _ if self.task_id is None:
                return ()
            case "stop_task":
                return (f"huaweicloud:codearts-check:task/{self.task_id}",)
            case "stop_targets":
                return (f"huaweicloud:iotda:batchtask/{self.task_id}",)
            case None:
                return ()

    def to_json(self) -> str:
        """Write the `detail` of the event."""
        return self.model_dump_json()

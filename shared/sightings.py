"""Sightings: since when sweeps have seen a check run, for the runs whose start CodeArts Check does not tell.

The rule, which `shared.check_sweep` follows:

1. The table holds one item a task: a version, at most one sighting, and until when a stop that was sent may still act.
2. A write names the version that was read, sets one that no other write has, and is refused if the item has changed.
3. A sighting is written only after a look that came after its version was read; a task without an item is marked first.
4. A sighting is of the run that was seen, from the latest moment at which that run may have begun.
5. A look at the same run moves the percentage of its sighting on; a run goes forward only.
6. A look that contradicts a sighting (ended, gone back, counted anew, begun later) takes it away at any version.
7. A stop is sent only by the sweep that has claimed the item: after its last look, and at the version of that look.
8. Until the stop that was sent has expired, no other sweep claims the item, and no sighting is made or used.
9. What was claimed and surely not sent gets its sighting back, unless another look has contradicted it since.
10. What was claimed and perhaps sent has no sighting any more: its run is seen anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Protocol

from pydantic import BaseModel, ConfigDict, ValidationError

from shared.aws import DYNAMODB, AwsRefused
from shared.errors import DeploymentFault

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from shared.aws import Service
    from shared.deadline import Deadline

KEPT_FOR: Final = timedelta(days=30)
"""How long an item is kept after it was written. A check runs for 12 hours at most (CodeArts Check, "Constraints and
Limitations")."""

_CONDITION_FAILED: Final = "ConditionalCheckFailedException"


@dataclass(frozen=True, slots=True)
class Sighting:
    """A run was first seen at `first_seen`, full seconds, and had come to `percent` when it was last seen.

    `run`: the task's `last_check_time`, and a mark of its records if it has any. No list and no progress has an id of
    a run. But whichever of start or end `last_check_time` means, it does not change while a run goes on, nor do the
    records; and a run goes forward. A run that was cut short may count neither as a check nor in the records. The next
    one then begins again from 0 %, which gives it away until it has come as far.
    """

    run: str
    first_seen: datetime
    percent: int


@dataclass(frozen=True, slots=True)
class Item:
    """What the table holds of a task; without a sighting or a claim it is the mark of a sweep that is about to look.

    `version`: of one write. `claimed_until`: when the stop expires that a sweep has claimed to send. The sighting
    beside it is what that sweep puts back if the stop cannot be sent, and says nothing else.
    """

    version: str
    sighting: Sighting | None = None
    claimed_until: datetime | None = None

    @property
    def evidence(self) -> Sighting | None:
        """The sighting, if it may be used."""
        return None if self.claimed_until else self.sighting

    def is_claimed(self, now: datetime) -> bool:
        """Return whether the stop that a sweep has claimed to send may still act."""
        return self.claimed_until is not None and now < self.claimed_until


class Tables(Protocol):
    """The part of `shared.aws.Aws` that is used here."""

    def call(
        self, service: Service, operation: str, payload: Mapping[str, object], *, deadline: Deadline
    ) -> dict[str, Any]:
        """Call one operation; raises `AwsRefused` or `AwsUnavailable`."""


class Memory(Protocol):
    """Where sweeps keep what they have seen, one item a task."""

    def of_project(self, project_id: str, *, deadline: Deadline) -> dict[str, Item]:
        """Return all items of a project by task id."""

    def read(self, project_id: str, task_id: str, *, deadline: Deadline) -> Item | None:
        """Return the item of a task."""

    def swap(self, project_id: str, task_id: str, held: Item | None, new: Item | None, *, deadline: Deadline) -> bool:
        """Put `new` (`None`: nothing) in the place of `held`, unless the version has changed; return whether it is."""


class NoMemory:
    """For a deployment without a table: every sighting is the first, and every sweep may claim."""

    def of_project(self, project_id: str, *, deadline: Deadline) -> dict[str, Item]:  # noqa: ARG002 - a Memory
        """Return none."""
        return {}

    def read(self, project_id: str, task_id: str, *, deadline: Deadline) -> Item | None:  # noqa: ARG002 - a Memory
        """Return none."""
        return None

    def swap(
        self,
        project_id: str,  # noqa: ARG002 - a Memory
        task_id: str,  # noqa: ARG002
        held: Item | None,  # noqa: ARG002
        new: Item | None,  # noqa: ARG002
        *,
        deadline: Deadline,  # noqa: ARG002
    ) -> bool:
        """Keep nothing."""
        return True


class _Text(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    S: str


class _Number(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    N: int


class _Seen(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    last_check_time: _Text
    first_seen: _Text
    percent_done: _Number

    def sighting(self) -> Sighting | None:
        first_seen = _moment(self.first_seen.S)
        return None if first_seen is None else Sighting(self.last_check_time.S, first_seen, self.percent_done.N)


class _Versioned(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    item_version: _Text
    claimed_until: _Text | None = None


class Sightings:
    """The table: `project_id` (of CodeArts) and `task_id` are its key, `expires` its time to live.

    Each method raises `AwsUnavailable`, and `DeploymentFault` for a table that is not there or may not be used.
    """

    def __init__(self, *, tables: Tables, table_name: str, now: Callable[[], datetime]) -> None:
        self._tables = tables
        self._table_name = table_name
        self._now = now

    def of_project(self, project_id: str, *, deadline: Deadline) -> dict[str, Item]:
        """Return all items of a project by task id; an item without a version counts as none."""
        return self._query("project_id = :project", {":project": {"S": project_id}}, deadline)

    def read(self, project_id: str, task_id: str, *, deadline: Deadline) -> Item | None:
        """Return the item of a task."""
        values = {":project": {"S": project_id}, ":task": {"S": task_id}}
        return self._query("project_id = :project AND task_id = :task", values, deadline).get(task_id)

    def swap(self, project_id: str, task_id: str, held: Item | None, new: Item | None, *, deadline: Deadline) -> bool:
        """Put `new` in the place of `held`, unless the version has changed; return whether it is there now."""
        key = {"project_id": {"S": project_id}, "task_id": {"S": task_id}}
        if held is None:
            condition: dict[str, object] = {"ConditionExpression": "attribute_not_exists(item_version)"}
        else:
            condition = {
                "ConditionExpression": "item_version = :held",
                "ExpressionAttributeValues": {":held": {"S": held.version}},
            }
        try:
            if new is None:
                self._call("DeleteItem", {"Key": key, **condition}, deadline)
            else:
                self._call("PutItem", {"Item": key | self._attributes_of(new), **condition}, deadline)
        except _Changed:
            # By another sweep, or by us: the answer to a first try may have been lost.
            there = self.read(project_id, task_id, deadline=deadline)
            return (there and there.version) == (new and new.version)
        return True

    def _attributes_of(self, item: Item) -> dict[str, dict[str, str]]:
        attributes = {
            "item_version": {"S": item.version},
            "expires": {"N": str(int((self._now() + KEPT_FOR).timestamp()))},
        }
        if item.claimed_until is not None:
            attributes["claimed_until"] = {"S": item.claimed_until.isoformat()}
        if item.sighting is not None:
            attributes |= {
                _named("last_check_time", item): {"S": item.sighting.run},
                _named("first_seen", item): {"S": item.sighting.first_seen.isoformat()},
                # `percent` itself is a word reserved by DynamoDB.
                _named("percent_done", item): {"N": str(item.sighting.percent)},
            }
        return attributes

    def _query(self, condition: str, values: Mapping[str, object], deadline: Deadline) -> dict[str, Item]:
        found: dict[str, Item] = {}
        query: dict[str, object] = {
            "KeyConditionExpression": condition,
            "ExpressionAttributeValues": values,
            # An older version of an item would cost a write that is refused; an older absence, a sighting.
            "ConsistentRead": True,
        }
        while True:
            answer = self._call("Query", query, deadline)
            for each in answer.get("Items", ()):
                if item := _read_item(each):
                    found[each["task_id"]["S"]] = item
            if not (last := answer.get("LastEvaluatedKey")):
                return found
            query["ExclusiveStartKey"] = last

    def _call(self, operation: str, payload: dict[str, object], deadline: Deadline) -> dict[str, Any]:
        try:
            return self._tables.call(DYNAMODB, operation, {"TableName": self._table_name, **payload}, deadline=deadline)
        except AwsRefused as refusal:
            if refusal.code == _CONDITION_FAILED:
                raise _Changed from refusal
            raise DeploymentFault(f"SIGHTINGS_TABLE_NAME: {refusal}") from refusal


def _named(attribute: str, item: Item) -> str:
    """Return the name of an attribute: of a claimed sighting another, so that no version of this code ever uses it."""
    return attribute if item.claimed_until is None else f"claimed_{attribute}"


class _Changed(Exception):
    """The item has another version than the one that was read."""


def _read_item(attributes: Mapping[str, Any]) -> Item | None:
    """Read an item. A sighting that cannot be read is none; an item of which more cannot be read is left alone."""
    try:
        versioned = _Versioned.model_validate(attributes)
    except ValidationError:
        return None
    until = None if versioned.claimed_until is None else _moment(versioned.claimed_until.S)
    if versioned.claimed_until and until is None:
        return None
    prefix = "claimed_" if until else ""
    seen = {name.removeprefix(prefix): value for name, value in attributes.items() if name.startswith(prefix)}
    try:
        sighting = _Seen.model_validate(seen).sighting()
    except ValidationError:
        sighting = None
    return Item(versioned.item_version.S, sighting, until)


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment.astimezone(UTC) if moment.tzinfo else None

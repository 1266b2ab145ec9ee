"""What is sent: commands, each with what may be said of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from local.huawei import Scenario
    from local.messages import Way


class Task(NamedTuple):
    """A task as a call names it; a check has neither project nor instance."""

    service: str
    project_id: str | None
    instance_id: str | None
    task_id: str


@dataclass(frozen=True, slots=True)
class Order:
    """One command (or what is none), and what may be said of it.

    `command_id`: what outcomes call it; until it is sent `None` for one that will be known by its `messageId`.
    `allowed`: the results that each distinct target may get, beside `gave_up` after the last attempt; empty if none
    may get any. `statuses`: of its final event. `copies`: how many times the same body is sent.
    """

    command_id: str | None
    body: str
    way: Way
    task: Task | None
    allowed: Mapping[str, frozenset[str]]
    statuses: frozenset[str]
    confirm: bool = False
    copies: int = 1
    expires_at: datetime | None = None

    @property
    def may_stop(self) -> bool:
        """Whether it may lead to a call that stops something."""
        return not self.statuses.isdisjoint(CARRIED_OUT)

    @property
    def is_set_aside(self) -> bool:
        """Whether its message must come to lie in the dead-letter queue."""
        return self.statuses == REJECTED


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a seed leads to."""

    work: Scenario
    orders: tuple[Order, ...]


CARRIED_OUT: Final = frozenset({"succeeded", "failed"})
REJECTED: Final = frozenset({"rejected"})
EXPIRED: Final = frozenset({"expired"})
DRY_RUN: Final = frozenset({"dry_run"})

NEVER_REACHED: Final = frozenset({"gave_up"})
"""What any target may get after the last attempt."""

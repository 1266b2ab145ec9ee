"""Which request meets which misbehaviour, and when a quota is used up. No clock and no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from local.huawei.scenario import Fault, FaultKind, Operation, Quota, Service

DELIVERY_FAULTS: frozenset[FaultKind] = frozenset(
    {"slow", "drip", "drip_head", "cut_after", "cut_midway", "target_missing", "wrong_content_type"}
)
"""Faults of the answer's way back: the service has done its work and said so."""

_OF_TARGETS: frozenset[FaultKind] = frozenset({"target_failure", "target_missing"})
"""Faults that only a stop of named targets can meet."""

_HANDLED_BY_DEFAULT: frozenset[FaultKind] = frozenset({"legacy_200", "junk_200", "null_200"})


@dataclass(slots=True)
class _Rule:
    fault: Fault
    matched: int = 0
    fired: int = 0


class Faults:
    """The ordered rules and how often each has matched and fired."""

    def __init__(self, rules: Iterable[Fault] = (), *, seed: int = 0) -> None:
        self._rules = [_Rule(fault) for fault in rules]
        # Dice for misbehaviour, not for secrets; seeded so that a failing run can be repeated.
        self._dice = Random(seed)  # noqa: S311

    def take(
        self, *, service: Service | None, operation: Operation, task_id: str | None, targets: Sequence[str]
    ) -> Fault | None:
        """Count this request for every rule that matches, and give the first rule that fires."""
        fires = None
        for rule in self._rules:
            fault = rule.fault
            if (
                fault.service not in {None, service}
                or fault.operation not in {None, operation}
                or fault.task_id not in {None, task_id}
                or (fault.target is not None and fault.target not in targets)
                or (fault.kind in _OF_TARGETS and not targets)
            ):
                continue
            rule.matched += 1
            if (
                fires is None
                and fault.nth in {None, rule.matched}
                and (fault.times is None or rule.fired < fault.times)
                and (fault.probability >= 1 or self._dice.random() < fault.probability)
            ):
                rule.fired += 1
                fires = fault
        return fires


def takes_effect(fault: Fault) -> bool:
    """Say whether a request whose answer `fault` replaces is carried out all the same."""
    if fault.kind == "cut_before":
        return False
    return fault.kind in _HANDLED_BY_DEFAULT if fault.handled is None else fault.handled


class TokenBucket:
    """A quota of one service. Times are in seconds of any one clock."""

    def __init__(self, quota: Quota, *, now: float) -> None:
        self.quota = quota
        self._tokens = float(quota.size)
        self._filled_at = now

    def take(self, now: float) -> bool:
        """Take one token; False if there is none."""
        filled = self._tokens + (now - self._filled_at) * self.quota.per_second
        self._tokens = min(float(self.quota.size), filled)
        self._filled_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

"""The judge: what was sent, against what was said, what was called, and what is left."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from local.soak.bodies import command_in, id_in, sent_body
from local.soak.huawei_faults import STOPS
from local.soak.orders import CARRIED_OUT, DRY_RUN, NEVER_REACHED, Task
from shared.commands import ALL_TARGETS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from local.huawei import Record
    from local.soak.orders import Order

TARGETS_AN_EVENT: Final = 100
_ENDED: Final = frozenset({"stopped", "already_ended"})
_THROTTLES: Final = frozenset({"APIGW.0308", "IOTDA.021101", "CC.00050012"})
RESULTS: Final = ("stopped", "already_ended", "not_found", "refused", "gave_up", "still_running", "would_stop")


@dataclass(frozen=True, slots=True)
class Letter:
    """A message in a dead-letter queue."""

    body: str
    failure_reason: str | None


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that the judge knows.

    `events`: the details of the outcome events, as they came. `records`: the stand-in's log. `left`: messages in the
    queues at the end. `running`: `(service, task id, target)` that run at the end. `complaints`: what the functions
    logged as errors, and their time limits that ran out. `may_repeat`: see the module's docstring. `max_attempts`: as
    the functions are set.
    """

    orders: Sequence[Order]
    events: Sequence[Mapping[str, Any]]
    records: Sequence[Record]
    letters: Sequence[Letter]
    left: Mapping[str, int]
    running: frozenset[tuple[str, str, str]]
    authentication_failures: int
    complaints: Sequence[str]
    may_repeat: frozenset[str]
    max_attempts: int


@dataclass(frozen=True, slots=True)
class Judgement:
    """The ledger, whose targets are counted once for each command that asks, and what does not balance."""

    ledger: dict[str, int]
    violations: list[str]


def judge(evidence: Evidence) -> Judgement:
    """Judge a run that has come to rest."""
    return _Judge(evidence).judgement()


@dataclass(frozen=True, slots=True)
class _Said:
    """One result of one target, with the event that said it."""

    result: str
    request_id: str | None
    at: float
    attempt: int


class _Judge:
    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence
        self._orders = {order.command_id: order for order in evidence.orders}
        self._ledger: Counter[str] = Counter({"lost": 0, "lost targets": 0, "called again after a terminal result": 0})
        self._violations: list[str] = []
        self._events: dict[str, dict[str, Mapping[str, Any]]] = defaultdict(dict)
        for event in evidence.events:
            known = self._events[event["command_id"]]
            self._ledger["repeated events"] += event["outcome_id"] in known
            known.setdefault(event["outcome_id"], event)
        self._by_request = {record.request_id: record for record in evidence.records}
        # When the stop of a target was first taken, as the number of the record.
        self._taken: dict[tuple[str, str, str], int] = {}
        self._stops: dict[tuple[str, str, str], list[float]] = defaultdict(list)
        for record in evidence.records:
            for target in record.effect:
                self._taken.setdefault((str(record.service), str(record.task_id), target), record.number)
            if record.operation in STOPS:
                for target in record.targets or (str(record.task_id),):
                    self._stops[str(record.service), str(record.task_id), target].append(record.at)
        self._askers: Counter[tuple[str, str, str]] = Counter(
            (order.task.service, order.task.task_id, target)
            for order in evidence.orders
            if order.task and order.may_stop
            for target in order.allowed
        )

    def judgement(self) -> Judgement:
        for order in self._evidence.orders:
            self._judge_order(order)
        for command_id in self._events.keys() - self._orders.keys():
            self._complain(f"{command_id}: no such command was sent")
        self._judge_calls()
        self._judge_letters()
        for queue, count in self._evidence.left.items():
            self._complain(f"{queue}: {count} messages are left")
        if self._evidence.authentication_failures:
            self._complain(f"Huawei Cloud: {self._evidence.authentication_failures} requests with a wrong signature")
        for complaint in self._evidence.complaints:
            self._complain(f"functions: {complaint}")
        return Judgement(dict(self._ledger), self._violations)

    def _complain(self, violation: str) -> None:
        self._violations.append(violation)

    def _is_once(self, order: Order) -> bool:
        """Whether nothing of it may be said twice."""
        return order.copies == 1 and self._evidence.may_repeat.isdisjoint({str(order.command_id), order.body})

    def _judge_order(self, order: Order) -> None:
        self._ledger["commands"] += 1
        self._ledger["deliveries sent"] += order.copies
        self._ledger["proven to be done once"] += self._is_once(order)
        events = list(self._events.get(str(order.command_id), {}).values())
        finals = [event for event in events if event["status"] != "in_progress"]
        if not finals:
            self._ledger["lost"] += 1
            self._complain(f"{order.command_id}: no final event")
        if self._is_once(order) and len(finals) > 1:
            self._complain(f"{order.command_id}: {len(finals)} final events")
        for event in events:
            self._judge_event(order, event)
        said = _said(events)
        carried_out = any(final["status"] not in {"rejected", "expired"} for final in finals)
        for final in finals:
            self._ledger[f"{final['status']} finals"] += 1
            self._judge_final(order, final, said)
        if not carried_out:
            return
        self._ledger["asked"] += len(order.allowed)
        for target in said.keys() - order.allowed.keys():
            self._complain(f"{order.command_id}: {target} has a result and was not asked for")
        for target in order.allowed:
            self._judge_target(order, target, said.get(target, []))

    def _judge_event(self, order: Order, event: Mapping[str, Any]) -> None:
        if len(event["results"]) > TARGETS_AN_EVENT:
            self._complain(f"{order.command_id}: an event with {len(event['results'])} results")
        task = order.task
        if task and (event["task_id"], event["project_id"], event["instance_id"]) != (
            task.task_id,
            task.project_id,
            task.instance_id,
        ):
            self._complain(f"{order.command_id}: an event about another task, {event['task_id']}")

    def _judge_final(self, order: Order, final: Mapping[str, Any], said: Mapping[str, Sequence[_Said]]) -> None:
        status, tally = final["status"], final["tally"]
        if status not in order.statuses:
            self._complain(f"{order.command_id}: it ended as {status}, not as {' or '.join(sorted(order.statuses))}")
            return
        if status in {"rejected", "expired"}:
            if sum(tally.values()):
                self._complain(f"{order.command_id}: {status}, and its tally counts results")
            return
        if sum(tally.values()) != len(order.allowed):
            self._complain(
                f"{order.command_id}: its tally counts {sum(tally.values())} of {len(order.allowed)} targets"
            )
        if self._is_once(order):
            counted = Counter(each.result for results in said.values() for each in results)
            if counted != {result: count for result, count in tally.items() if count}:
                self._complain(f"{order.command_id}: its tally is not that of its events")
        all_ended = sum(tally[result] for result in _ENDED) == sum(tally.values())
        if status in CARRIED_OUT and (status == "succeeded") != all_ended:
            self._complain(f"{order.command_id}: {status} does not follow from its tally")
        if final["confirmed"] is not (all_ended if order.confirm else None):
            self._complain(f"{order.command_id}: confirmed is {final['confirmed']}")

    def _judge_target(self, order: Order, target: str, said: Sequence[_Said]) -> None:
        name = f"{order.command_id}: {target}"
        if not said:
            self._ledger["lost targets"] += 1
            self._complain(f"{name} has no result")
            return
        self._ledger[said[0].result] += 1
        self._ledger["repeated results"] += len(said) - 1
        if self._is_once(order) and len(said) > 1:
            self._complain(f"{name} has {len(said)} results")
        results = {each.result for each in said}
        if _is_contradiction([each.result for each in said]):
            self._complain(f"{name} ended and failed: {', '.join(each.result for each in said)}")
        assert order.task is not None  # noqa: S101 — for the type checker: what is carried out has a task
        place = (order.task.service, order.task.task_id, target)
        for each in said:
            self._judge_result(order, name, place, each)
        if not results.isdisjoint(_ENDED) and place in self._evidence.running:
            self._complain(f"{name} is said to have ended, and it runs")
        if order.may_stop and self._askers[place] == 1 and self._is_once(order):
            again = sum(at > said[0].at + 0.001 for at in self._stops[place])  # events say milliseconds, cut off
            self._ledger["called again after a terminal result"] += again
            if again:
                self._complain(f"{name} was {said[0].result} and called {again} times more")

    def _judge_result(self, order: Order, name: str, place: tuple[str, str, str], said: _Said) -> None:
        taken = self._taken.get(place)
        match said.result:
            case "stopped" if taken is None:
                self._complain(f"{name} is said to be stopped, and Huawei Cloud took no stop for it")
            case "gave_up" | "still_running" if not self._was_its_last_attempt(order, said):
                self._complain(f"{name} is {said.result} at attempt {said.attempt}")
            case "refused":
                self._judge_refusal(order, name, place, said)
                return
            case _:
                pass
        if said.result not in order.allowed[place[2]] | NEVER_REACHED:
            self._complain(f"{name} is {said.result}, not {' or '.join(sorted(order.allowed[place[2]]))}")

    def _judge_refusal(self, order: Order, name: str, place: tuple[str, str, str], said: _Said) -> None:
        if "refused" in order.allowed[place[2]]:
            return
        answer = self._by_request.get(said.request_id or "")
        taken = self._taken.get(place)
        if answer and taken is not None and taken < answer.number:
            self._complain(
                f"{name} is refused by request {answer.number} ({answer.fault or 'no fault'}), and its stop had been "
                f"taken by request {taken} ({self._evidence.records[taken - 1].fault or 'no fault'})"
            )
        elif answer is None or answer.fault != "target_failure":
            self._complain(f"{name} is refused, and nobody refused it")

    def _was_its_last_attempt(self, order: Order, said: _Said) -> bool:
        expired = order.expires_at is not None and said.at >= order.expires_at.timestamp()
        return said.attempt >= self._evidence.max_attempts or expired

    def _judge_calls(self) -> None:
        named: dict[Task, set[str]] = defaultdict(set)
        for order in self._evidence.orders:
            if order.task and order.may_stop:
                named[order.task].update(order.allowed)
        for record in self._evidence.records:
            self._ledger["Huawei calls"] += 1
            if record.fault:
                self._ledger[f"fault: {record.fault}"] += 1
            self._ledger["throttled by the quota"] += record.fault is None and record.error_code in _THROTTLES
            for violation in record.violations:
                self._complain(f"Huawei Cloud, request {record.number}: {violation}")
            if record.operation not in STOPS:
                continue
            self._ledger["Huawei stop calls"] += 1
            task = Task(str(record.service), record.project_id, record.instance_id, str(record.task_id))
            touched = {*record.targets, *record.effect}
            if record.operation == "stop_check_task":
                touched.add(str(record.task_id))
            elif not record.targets:
                self._complain(f"Huawei Cloud, request {record.number}: a stop of everything, for which nobody asked")
            for target in touched - named.get(task, set()):
                self._complain(
                    f"Huawei Cloud, request {record.number}: {target} of {task.task_id}: nobody asked for it"
                )

    def _judge_letters(self) -> None:
        by_id: dict[str, list[Letter]] = defaultdict(list)
        by_body: dict[str, list[Letter]] = defaultdict(list)
        for letter in self._evidence.letters:
            self._ledger["dead letters"] += 1
            if not letter.failure_reason:
                self._complain(f"dead-letter queue: no failure_reason: {letter.body[:80]!r}")
            by_id[id_in(letter.body)].append(letter)
            by_body[sent_body(letter.body)].append(letter)
        for order in self._evidence.orders:
            mine = by_id.pop(str(order.command_id), []) or by_id.pop(order.body, [])
            if order.is_set_aside:
                count = len(by_body[order.body])
                if len(mine) != count or count < 1 or (self._is_once(order) and count != order.copies):
                    self._complain(f"{order.command_id}: its message is in the dead-letter queue {count} times")
            else:
                self._judge_remainders(order, mine)
        for name in by_id:
            self._complain(f"dead-letter queue: nobody sent {name[:80]!r}")

    def _judge_remainders(self, order: Order, letters: Sequence[Letter]) -> None:
        said = _said(self._events.get(str(order.command_id), {}).values())
        undone = {
            target: {each.result for each in results} & {"gave_up", "still_running"} for target, results in said.items()
        }
        undone = {target: results for target, results in undone.items() if results}
        if order.statuses == DRY_RUN:
            undone = {}
        left: set[str] = set()
        awaiting: set[str] = set()
        for letter in letters:
            command = command_in(letter.body) or {}
            if (
                order.task is None
                or command.get("task_id") != order.task.task_id
                or "soak" not in str(command.get("reason"))
            ):
                self._complain(f"{order.command_id}: a remainder that was changed: {letter.body[:80]!r}")
            targets = [str(each) for each in command.get("targets") or [command.get("task_id")]]
            left.update(targets)
            awaited = command.get("awaiting", ())
            awaiting.update(targets if ALL_TARGETS in awaited else awaited)
        if left != undone.keys():
            self._complain(f"{order.command_id}: {len(undone)} targets were not done, {len(left)} are in dead letters")
        for target in (target for target, results in undone.items() if "still_running" in results):
            if target not in awaiting:
                self._complain(f"{order.command_id}: {target} is still_running, and nobody awaited its end")


def _is_contradiction(results: Sequence[str]) -> bool:
    """Say whether what was said of a target, the earliest first, cannot all be true.

    What was refused or still ran may be stopped by a repeat; what has ended runs no more, what is unknown never ends.
    """
    ended = next((place for place, result in enumerate(results) if result in _ENDED), None)
    if ended is None:
        return False
    return "not_found" in results or not {"refused", "still_running"}.isdisjoint(results[ended:])


def _said(events: Iterable[Mapping[str, Any]]) -> dict[str, list[_Said]]:
    """Give what was said of each target, the earliest first."""
    said: dict[str, list[_Said]] = defaultdict(list)
    for event in events:
        at = datetime.fromisoformat(event["occurred_at"]).timestamp()
        for each in event["results"]:
            said[each["target"]].append(_Said(each["result"], each.get("request_id"), at, event["attempt"]))
    for results in said.values():
        results.sort(key=lambda each: each.at)
    return said

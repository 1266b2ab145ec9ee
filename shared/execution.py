"""Calls → findings: the only place that waits on Huawei.

Bounded in width by the calls in flight and in time by the deadline. Transient errors are tried again here and in no
other layer. Answers that do not say what happened are settled by reading the state back, once for all the targets of
a task, whichever calls they were in.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from dataclasses import replace
from enum import Enum, auto
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from shared.commands import ALL_TARGETS
from shared.errors import DeploymentFault, ForeignAnswer
from shared.findings import TO_BE_READ, Finding, Findings, Reading, Trust, Verdict, believe, resolve
from shared.patience import pauses
from shared.planning import Call, Plan, Scope, Stop, StopAll, Task
from shared.threads import at_once

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
    from concurrent.futures import Future

    from shared.deadline import Deadline
    from shared.pace import Pace
    from shared.patience import Patience

DOUBT: Final = 10.0
"""Seconds after which what Huawei denied is read once more: so long may a stop that was taken stay unseen."""

MOST_REFUSED: Final = 3
"""How many projects and instances in a row may refuse the key before no other unknown one is asked: more than five
refusals in a row lock a key for five minutes (Huawei's FAQs on SIS and APIG)."""

type States = dict[Task, dict[str, Finding]]


class Service(Protocol):
    """One of Huawei's services, as far as it stops work."""

    def trust(self, task: Task) -> Trust:
        """Return whether it accepts the key in the project and instance of the task."""

    def stop(self, call: Call, deadline: Deadline) -> dict[str, Finding]:
        """Send one call, once. Raises `DeploymentFault`."""

    def read(self, task: Task, targets: tuple[str, ...], deadline: Deadline) -> Reading:
        """Begin to read states back. Raises `DeploymentFault`.

        Both return `UNFINISHED` for what there is no time for, and send nothing.
        """


def execute(plan: Plan, *, service: Service, pace: Pace, deadline: Deadline, patience: Patience) -> Findings:
    """Send the calls of a plan, as many at a time as the pace allows, and read what must be read.

    Raises nothing: a fault of the deployment ends the calls to the project and instance that it concerns, and comes
    back in the findings.
    """
    return _Execution(service, pace, deadline, patience).run(plan)


class _NotAsked(Enum):
    """Why a question was not put to Huawei, when its turn should have come."""

    NO_TURN = auto()
    EXPIRED = auto()


_EXPIRED: Final = Finding(Verdict.UNFINISHED, error_msg="expired before it could be sent", was_asked=False)
# Of a stop that an earlier delivery may have sent.
_IN_DOUBT: Final = Finding(Verdict.IN_DOUBT, was_asked=False)
_AGAIN: Final = frozenset({Verdict.UNFINISHED, Verdict.IN_DOUBT})

type _Reads = list[tuple[Task, Reading | _NotAsked | None]]
type _Tries = Generator[None, None, dict[str, Finding]]
"""The tries of one call, to be gone through one by one; returns what was found."""


class _Sending:
    """One call on its way; `found` says what came of it once `is_over`."""

    def __init__(self, call: Call, tries: _Tries) -> None:
        self.call = call
        self.found: dict[str, Finding] = {}
        self.is_over = False
        self._tries = tries

    def try_once(self) -> None:
        """Go on to the end of the next try."""
        try:
            next(self._tries)
        except StopIteration as end:
            self.found, self.is_over = end.value, True


class _Execution:
    """One delivery's calls; what they share is the pace, and which faults of the deployment have ended them."""

    def __init__(self, service: Service, pace: Pace, deadline: Deadline, patience: Patience) -> None:
        self._service = service
        self._pace = pace
        self._deadline = deadline
        self._patience = patience
        self._faults: dict[Scope | Task | None, DeploymentFault] = {}
        self._refused_in_a_row = 0
        self._ended: dict[Task, Finding] = {}
        self._errors: list[Exception] = []
        self._lock = threading.Lock()
        self._calls = 0
        self._throttles = 0

    def run(self, plan: Plan) -> Findings:
        named, whole = self._stop_all(plan.calls)
        read = self._read(_together(plan.reads, _all(TO_BE_READ, named), _all(TO_BE_READ, whole)))
        named, whole = _resolved(named, read), _resolved(whole, read)
        if denied := _together(_all(_DENIED, named), _all(_DENIED, whole)):
            later = self._read(denied) if self._patience.rest(DOUBT, self._deadline) else {}
            named, whole = _believed(named, later), _believed(whole, later)
        faults = tuple(self._faults.values())
        return Findings(named, whole, read, faults, tuple(self._errors), self._calls, self._throttles)

    def _stop_all(self, calls: Iterable[Call]) -> tuple[States, States]:
        """Send the calls, some beside each other, and return what was found of named targets, and of whole tasks."""
        named: States = {}
        whole: States = {}

        def take(advanced: Iterable[_Sending]) -> None:
            for each in advanced:
                states = whole if isinstance(each.call, StopAll) else named
                states.setdefault(each.call.task, {}).update(each.found)
                each.found = {}  # there may be 100 000 targets

        waiting = [_Sending(call, self._tries(call)) for call in calls]
        while waiting:
            ready, others = _parted(waiting, lambda one: self._may_go_beside_others(one.call.task))
            probes = self._probes(others, lambda one: one.call.task)
            for advanced in self._advance(ready, probes):
                take(advanced)
            tried = set(probes)
            untried = [one for one in others if one not in tried]
            waiting = [one for one in (*untried, *probes, *ready) if not one.is_over]
        return named, whole

    def _advance(self, ready: Sequence[_Sending], probes: Sequence[_Sending]) -> Iterator[Sequence[_Sending]]:
        """Finish what may go beside others, and beside that try the probes once, one after the other.

        What was tried and goes on waits behind all others: if one back end hangs, the next call may be answered at
        once.
        """
        queue = _Queue((one,) for one in ready)
        if probes:
            queue.appendleft(probes)
        # A single one needs no thread of its own, whose start would cost more than a signature.
        beside = self._pace.threads.as_done if len(queue) > 1 else _one_by_one
        for _, tried in beside(self._try_each, queue):
            yield tried
            if tried is not probes:
                queue += [(one,) for one in tried if not one.is_over and self._may_go_beside_others(one.call.task)]

    @staticmethod
    def _try_each(sendings: Sequence[_Sending]) -> Sequence[_Sending]:
        for each in sendings:
            each.try_once()
        return sendings

    def _may_go_beside_others(self, task: Task) -> bool:
        return self._service.trust(task) is Trust.ACCEPTED or self._is_halted(task)

    def _is_halted(self, task: Task) -> bool:
        """Whether nothing more is asked about a task: it, or its project, was refused, or too many were in a row."""
        if task.scope in self._faults or task in self._faults:
            return True
        return self._refused_in_a_row >= MOST_REFUSED and self._service.trust(task) is not Trust.ACCEPTED

    def _probes[T](self, waiting: Iterable[T], task_of: Callable[[T], Task]) -> list[T]:
        """Return the first for each project and instance, to find out one after the other which accepts the key.

        A wrong key must be found out by one call, not by eight at once: refusals in a row lock it. Where it was refused
        before is asked last, so that refused projects do not keep away the others.
        """
        first: dict[Scope | None, T] = {}
        for each in waiting:
            first.setdefault(task_of(each).scope, each)
        return sorted(first.values(), key=lambda each: self._service.trust(task_of(each)) is Trust.REFUSED)

    def _tries(self, call: Call, *, is_part: bool = False) -> _Tries:
        """Send one call until nothing of it is left to a transient error, or tries or time have run out.

        Yields between two tries, before the pause. `is_part`: it is a part of a call that was refused as a whole.
        """
        findings: dict[str, Finding] = {}
        must_look = isinstance(call, Stop) and call.look_first
        for pause in pauses():
            may_send = self._may_send(call, findings) if must_look else True
            sent = self._send(call, findings) if may_send else call
            if may_send is None or sent is None:
                return findings
            if isinstance(sent, Stop) and findings[sent.targets[0]].verdict is Verdict.CALL_REFUSED:
                return findings | (yield from self._split(sent, is_part=is_part))
            left = self._left(sent, findings)
            if left is None or pause is None:
                break
            yield
            unfinished = [findings[target] for target in _asked(left)]
            if not self._wait(pause, unfinished):
                break
            must_look = not may_send or any(found.verdict is Verdict.IN_DOUBT for found in unfinished)
            call = left
        return findings

    def _may_send(self, call: Call, findings: dict[str, Finding]) -> bool | None:
        """Read the state of the task before a stop is sent again of which nobody knows whether it was taken.

        Return `None` if there is nothing to send any more, and `False` if the state could not be read yet.
        """
        state = self._look(call.task)
        if state is None:
            return None
        if isinstance(state, _NotAsked):
            findings.update(self._late(_asked(call)) | findings)
            return None
        if state.verdict is Verdict.RUNS:
            return True
        if call.task.whole in _asked(call):  # else each target is read on its own, later, for all calls of the task
            findings[call.task.whole] = resolve(findings.get(call.task.whole, _IN_DOUBT), state)
        return False if state.verdict is Verdict.UNFINISHED else None

    def _look(self, task: Task) -> Finding | _NotAsked | None:
        """Read the state of a task as a whole, once."""
        reading = self._ask(task, partial(self._service.read, task, (task.whole,)))
        return reading.findings[task.whole] if isinstance(reading, Reading) else reading

    def _send(self, call: Call, findings: dict[str, Finding]) -> Call | None:
        """Send once what is valid of a call, and note the answers. Return what was sent; `None` if nothing was."""
        while (valid := self._valid(call, findings)) is not None:
            answer = self._ask(call.task, partial(self._service.stop, valid), call=valid)
            if answer is _NotAsked.EXPIRED:  # some of it, while it waited for its turn
                continue
            if answer is _NotAsked.NO_TURN:
                findings.update(self._late(_asked(valid)) | findings)  # what an earlier try was answered stands
            if not isinstance(answer, dict):
                return None
            known = findings.keys()
            findings |= {target: found for target, found in answer.items() if found.was_asked or target not in known}
            return valid
        return None

    def _left(self, call: Call, findings: dict[str, Finding]) -> Call | None:
        """Return what is to be tried again of a call; `None` if there is nothing."""
        again = {target for target in _asked(call) if findings[target].verdict in _AGAIN}
        left = call.only(again) if isinstance(call, Stop) else call
        return self._valid(left, findings) if again and left and not self._is_halted(call.task) else None

    def _valid(self, call: Call, findings: dict[str, Finding]) -> Call | None:
        """Return what has not expired of a call; note the rest, unless an earlier try was answered."""
        now = self._patience.now()
        if now < call.expires_at:
            return call
        left = call.valid_at(now) if isinstance(call, Stop) else None
        kept = frozenset(_asked(left) if left else ())
        findings.update({target: findings.get(target, _EXPIRED) for target in _asked(call) if target not in kept})
        return left

    def _split(self, call: Stop, *, is_part: bool) -> _Tries:
        """Send in halves, down to single targets, a call that Huawei refused as a whole, and return what was found.

        One odd target may be the reason, and the others are to be stopped all the same. A call with n targets becomes
        2n - 1 calls at most, and none if its task has ended: then the state of each target says all.
        """
        if not is_part:
            state = self._ended.get(call.task) or self._look(call.task)
            if not isinstance(state, Finding) or state.verdict is Verdict.UNFINISHED:
                return {}
            if state.verdict not in {Verdict.RUNS, Verdict.REFUSED}:
                self._ended[call.task] = state
                return dict.fromkeys(call.targets, state) if state.verdict is Verdict.NOT_FOUND else {}
        found: dict[str, Finding] = {}
        for half in call.halves():
            yield  # the answer verified the key, so the rest may go beside other calls
            found |= yield from self._tries(half, is_part=True)
        return {target: each if each.was_asked else replace(each, was_asked=True) for target, each in found.items()}

    def _read(self, wanted: dict[Task, tuple[str, ...]]) -> States:
        """Read states back, again what met a transient error, until tries or time have run out."""
        states: States = {task: {} for task in wanted}
        for pause in pauses():
            self._read_once(wanted, states)
            wanted = {
                task: again
                for task, found in states.items()
                if (again := _with(_UNFINISHED, found)) and not self._is_halted(task)
            }
            unfinished = [states[task][target] for task, targets in wanted.items() for target in targets]
            if not wanted or not self._wait(pause, unfinished):
                break
        return states

    def _read_once(self, wanted: dict[Task, tuple[str, ...]], states: States) -> None:
        """Read each task once; where the key is not known to be accepted, one at a time, as `_stop_all` sends calls."""
        waiting = list(wanted)
        pending: set[Future[_Reads]] = set()
        probing: Future[_Reads] | None = None
        while waiting or pending:
            ready, waiting = _parted(waiting, self._may_go_beside_others)
            pending |= {self._begin(task, partial(self._read_each, [task], wanted)) for task in ready}
            if waiting and (probing is None or probing.done()):
                probes = self._probes(waiting, lambda task: task)
                waiting = [task for task in waiting if task not in probes]
                read = partial(self._read_each, probes, wanted)
                probing = self._pace.threads.submit(read) if pending else at_once(read)
                pending.add(probing)
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            for task, reading in (each for future in done for each in future.result()):
                if isinstance(reading, Reading):
                    states[task].update(reading.findings)
                    more = (partial(self._go_on_reading, task, reading, each) for each in reading.more)
                    pending |= {self._begin(task, each) for each in more}
                elif reading is not None:
                    states[task] = self._late(wanted[task]) | states[task]

    def _begin(self, task: Task, read: Callable[[], _Reads]) -> Future[_Reads]:
        return self._pace.threads.submit(read) if self._may_go_beside_others(task) else at_once(read)

    def _read_each(self, tasks: Iterable[Task], wanted: Mapping[Task, tuple[str, ...]]) -> _Reads:
        return [(task, self._ask(task, partial(self._service.read, task, wanted[task]))) for task in tasks]

    def _go_on_reading(self, task: Task, before: Reading, more: Callable[[Deadline], Reading]) -> _Reads:
        if before.pause is not None and not self._wait(before.pause, before.findings.values()):
            return [(task, _NotAsked.NO_TURN)]
        return [(task, self._ask(task, more))]

    def _late(self, targets: Iterable[str]) -> dict[str, Finding]:
        """Say that there was no time to ask; what Huawei still wants to be left alone for goes along."""
        pause = self._pace.pause(self._deadline.clock)
        late = Finding(Verdict.UNFINISHED, error_msg="no time left to ask", retry_after=pause or None, was_asked=False)
        return dict.fromkeys(targets, late)

    def _ask[T: (dict[str, Finding], Reading)](
        self, task: Task, question: Callable[[Deadline], T], *, call: Call | None = None
    ) -> T | _NotAsked | None:
        """Ask Huawei about a task once, in turn; `None` when the deployment is at fault, now or before, or we are.

        `call`: what is sent by it, unless it only reads.
        """
        if self._is_halted(task):
            return None
        turn = self._pace.begin(self._deadline)
        if turn is None:
            return _NotAsked.NO_TURN
        findings: Iterable[Finding] = ()
        try:
            if self._is_halted(task):  # found by another call while this one waited for its turn
                return None
            if call is not None and self._patience.now() >= call.expires_at:  # while it waited for its turn
                return _NotAsked.EXPIRED
            self._count(calls=1)
            answer = question(self._deadline)
            findings = (answer.findings if isinstance(answer, Reading) else answer).values()
        except DeploymentFault as fault:
            self._refused(task, fault)
        except Exception as error:  # noqa: BLE001 - the edge of one call: its targets are left without a finding
            self._errors.append(error)
        else:
            if any(finding.was_answered for finding in findings):
                self._refused_in_a_row = 0
            return answer
        finally:
            throttles = [finding.retry_after or 0.0 for finding in findings if finding.throttled]
            self._count(throttles=bool(throttles))
            self._pace.end(turn, self._deadline, throttled=bool(throttles), retry_after=max(throttles, default=None))
        return None

    def _refused(self, task: Task, fault: DeploymentFault) -> None:
        with self._lock:
            if isinstance(fault, ForeignAnswer):
                self._faults.setdefault(task, fault)
                return
            self._faults.setdefault(task.scope, fault)
            self._refused_in_a_row += 1

    def _count(self, *, calls: int = 0, throttles: int = 0) -> None:
        with self._lock:
            self._calls += calls
            self._throttles += throttles

    def _wait(self, longest: float | None, unfinished: Collection[Finding]) -> bool:
        """Pause with full jitter, for at least as long as Huawei asked; say whether there is a try left to wait for.

        A throttle is waited for by all together, in `Pace`.
        """
        if longest is None:
            return False
        if all(finding.throttled for finding in unfinished):
            return self._deadline.remaining() > 0
        asked = max(finding.retry_after or 0.0 for finding in unfinished)
        return self._patience.wait(longest, self._deadline, asked=asked)


_DENIED: Final = frozenset({Verdict.DENIED})
_UNFINISHED: Final = frozenset({Verdict.UNFINISHED})


def _one_by_one[X, Y](work: Callable[[X], Y], items: Iterable[X]) -> Iterator[tuple[X, Y]]:
    return ((item, work(item)) for item in items)


class _Queue(deque[Sequence[_Sending]]):
    """Work that an iteration takes from the front while more is appended at the end."""

    def __iter__(self) -> Iterator[Sequence[_Sending]]:
        return self

    def __next__(self) -> Sequence[_Sending]:
        if not self:
            raise StopIteration
        return self.popleft()


def _parted[T](items: Iterable[T], condition: Callable[[T], bool]) -> tuple[list[T], list[T]]:
    """Return those items that meet the condition, which is asked once of each, and the others."""
    met: list[T] = []
    others: list[T] = []
    for item in items:
        (met if condition(item) else others).append(item)
    return met, others


def _with(verdicts: frozenset[Verdict], findings: Mapping[str, Finding]) -> tuple[str, ...]:
    return tuple(target for target, finding in findings.items() if finding.verdict in verdicts)


def _all(verdicts: frozenset[Verdict], states: States) -> dict[Task, tuple[str, ...]]:
    return {task: targets for task, found in states.items() if (targets := _with(verdicts, found))}


def _together(*wanted: Mapping[Task, tuple[str, ...]]) -> dict[Task, tuple[str, ...]]:
    """Fold what is to be read, so that each task is read once."""
    folded: dict[Task, dict[str, None]] = {}
    for each in wanted:
        for task, targets in each.items():
            folded.setdefault(task, {}).update(dict.fromkeys(targets))
    return {task: tuple(targets) for task, targets in folded.items()}


def _asked(call: Call) -> tuple[str, ...]:
    return call.targets if isinstance(call, Stop) else (ALL_TARGETS,)


def _resolved(states: States, read: States) -> States:
    """Settle unclear answers by the states read; what could not be read has no finding.

    Of a "stop all" whose list has such a target, the whole has none either: nobody else would miss the target.
    """
    resolved: States = {}
    for task, found in states.items():
        if not _with(TO_BE_READ, found):  # as it is nearly always
            resolved[task] = found
            continue
        clear = {target: finding for target, finding in found.items() if finding.verdict not in TO_BE_READ}
        unclear = found.keys() - clear.keys()
        settled = {target: resolve(found[target], read[task][target]) for target in unclear if target in read[task]}
        if len(settled) < len(unclear):
            clear.pop(ALL_TARGETS, None)
        known = clear | settled
        # In the order of the answers, by which results are told.
        resolved[task] = {target: known[target] for target in found if target in known}
    return resolved


def _believed(states: States, later: States) -> States:
    return {
        task: found
        if not _with(_DENIED, found)
        else {
            target: believe(finding, later.get(task, {}).get(target)) if finding.verdict is Verdict.DENIED else finding
            for target, finding in found.items()
        }
        for task, found in states.items()
    }

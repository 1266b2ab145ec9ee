"""IoTDA batch tasks: stop targets, 100 a call, and read their states, 50 a page.

Sources: "Stop a Batch Task" and "Query Details About a Batch Task",
https://support.huaweicloud.com/intl/en-us/api-iothub/
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.commands import ALL_TARGETS, DeviceId
from shared.errors import ForeignAnswer
from shared.findings import Finding, Reading, Verdict
from shared.http import NoAnswer
from shared.huawei.client import unanswered
from shared.huawei.faults import Fault, fault_of_target
from shared.patience import FIRST_WAIT
from shared.planning import BatchTask, Stop, StopAll, Task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from shared.deadline import Deadline
    from shared.findings import Trust
    from shared.huawei.client import HuaweiClient, Reply

TARGETS_PER_PAGE: Final = 50
"""Most subtasks that one page of a batch task holds."""

TRIES_PER_PAGE: Final = 4
"""Most times that one page is asked for before its list is given up."""

# Huawei's spelling, "Waitting" too.
_TASK_STATES: Final = {
    "Initializing": Verdict.RUNS,
    "Waitting": Verdict.RUNS,
    "Processing": Verdict.RUNS,
    "Stopping": Verdict.STOPPING,
    "Stopped": Verdict.STOPPED,
    "Success": Verdict.ENDED,
    "Fail": Verdict.ENDED,
    "PartialSuccess": Verdict.ENDED,
}
_TARGET_STATES: Final = {
    "Waitting": Verdict.RUNS,
    "Processing": Verdict.RUNS,
    "FailWaitRetry": Verdict.RUNS,
    "Stopped": Verdict.STOPPED,
    "Success": Verdict.ENDED,
    "Fail": Verdict.ENDED,
    "Removed": Verdict.ENDED,
}


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _StoppedTarget(_Answer):
    target: DeviceId
    status: str
    error_code: str | int | None = None
    error_msg: str | None = None


class _StopAnswer(_Answer):
    targets: tuple[_StoppedTarget, ...]


class _Progress(_Answer):
    total: Annotated[int, Field(ge=0)] | None = None


class _Task(_Answer):
    status: str
    task_progress: _Progress | None = None


class _Detail(_Answer):
    target: str
    status: str


class _Page(_Answer):
    count: Annotated[int, Field(ge=0)] | None = None
    marker: Annotated[str, Field(pattern=r"^[!-~]*$")] | None = None


class _ShowAnswer(_Answer):
    batchtask: _Task
    task_details: tuple[_Detail, ...] | None = None
    page: _Page | None = None

    @property
    def total(self) -> int | None:
        """How many subtasks the task has, by the higher of its two counts; `None` if the answer gives none."""
        progress = self.batchtask.task_progress
        counts = (progress.total if progress else None, self.page.count if self.page else None)
        return max((count for count in counts if count is not None), default=None)

    @property
    def on_unlisted(self) -> Finding:
        """What is true of a target that the whole list does not name."""
        return _NOT_TOLD if self.batchtask.status == "Initializing" else _NOT_IN_TASK

    def states(self) -> dict[str, Finding]:
        said: dict[str, Finding] = {}
        known: dict[str, Finding] = {}
        for detail in self.task_details or ():
            state = known.get(detail.status) or known.setdefault(
                detail.status, _state(self.batchtask.status, detail.status)
            )
            if said.setdefault(detail.target, state) != state:
                said[detail.target] = _NOT_TOLD
        return said


class _Paging(NamedTuple):
    """How far a list has been read: what is still looked for, by which marker to go on, what was seen, tries left."""

    left: tuple[str, ...]
    marker: str
    markers: frozenset[str]
    seen: frozenset[str]
    tries: int


class IoTDA:
    """Stops and reads the targets of firmware and software upgrades."""

    def __init__(self, client: HuaweiClient) -> None:
        self._client = client

    def trust(self, task: Task) -> Trust:
        """Return whether Huawei accepts the key where the task is."""
        return self._client.trust(task.scope)

    def stop(self, call: Stop | StopAll, deadline: Deadline) -> dict[str, Finding]:
        """Stop targets, or with `StopAll` (and never else: the body is `{}`) all of them.

        Return a finding for each target that was named; for `StopAll` one for `"*"` and for each that Huawei lists. A
        refusal of the call as a whole is `CALL_REFUSED` of each of several targets, whatever its code: one odd target
        may be the reason, and the others are not to suffer for it. Raises `DeploymentFault`.
        """
        task = _batch_task(call.task)
        named = call.targets if isinstance(call, Stop) else ()
        body: dict[str, Any] = {} if isinstance(call, StopAll) else {"targets": list(named)}
        reply = self._request("POST", task, "/stop", deadline=deadline, body=body)
        asked = named or (ALL_TARGETS,)
        if isinstance(reply, NoAnswer):
            return dict.fromkeys(asked, unanswered(reply))
        if reply.fault is not None:
            return dict.fromkeys(asked, _of_call(reply, len(asked)))
        try:
            answer = _StopAnswer.model_validate(reply.json)
        except ValidationError:
            return dict.fromkeys(asked, reply.finding(Verdict.UNCLEAR))
        said = _by_target(answer.targets, reply.request_id)
        if isinstance(call, StopAll):
            return {ALL_TARGETS: _TAKEN, **said}
        missing = Finding(Verdict.UNCLEAR, request_id=reply.request_id)
        return {target: said.get(target, missing) for target in named}

    def read(self, task: Task, targets: tuple[str, ...], deadline: Deadline) -> Reading:
        """Read the states of targets (`"*"` is the task's own) in as few calls as possible.

        The first read tells how large the task is; what is then left is read by whichever takes fewer calls, pages of
        50 or one read a target, and comes as `more`. Raises `DeploymentFault`.
        """
        batch_task = _batch_task(task)
        wanted = tuple(target for target in targets if target != ALL_TARGETS)
        if len(wanted) == 1:
            answer = self._show(batch_task, {"target": wanted[0], "limit": 1}, deadline)
        else:
            answer = self._show(batch_task, {"limit": TARGETS_PER_PAGE if wanted else 1}, deadline)
        if isinstance(answer, Finding):
            return Reading(dict.fromkeys(targets, answer))
        found = answer.states()
        if len(targets) != len(wanted):
            found[ALL_TARGETS] = _state_of_task(answer.batchtask.status)
        if len(wanted) == 1:
            # An answer that names another target is no answer on this one.
            found.setdefault(wanted[0], _NOT_TOLD if answer.task_details else answer.on_unlisted)
        left = tuple(target for target in wanted if target not in found)
        findings = {target: found[target] for target in targets if target in found}
        if not left:
            return Reading(findings)
        if answer.total is not None and len(left) < (answer.total - 1) // TARGETS_PER_PAGE:
            return Reading(findings, self._one_each(batch_task, left))
        paging = _Paging(left, "", frozenset(), frozenset(), TRIES_PER_PAGE)
        rest = self._page_on(batch_task, paging, answer)
        return Reading({**findings, **rest.findings}, rest.more)

    def _one_each(self, task: BatchTask, targets: Iterable[str]) -> tuple[Callable[[Deadline], Reading], ...]:
        return tuple(partial(self.read, task, (target,)) for target in targets)

    def _page_on(self, task: BatchTask, paging: _Paging, page: _ShowAnswer) -> Reading:
        """Take what a page says, and go on by its marker (`offset` ends at 500) until all are found or the list ends.

        Each page is a read of its own, so that it is paced, and tried again, like every other call. If the list ends
        before all that it counts were seen, what is left is asked for by name.
        """
        states = page.states()
        looked_for = frozenset(paging.left)
        findings = {target: state for target, state in states.items() if target in looked_for}
        left = tuple(target for target in paging.left if target not in findings)
        seen = paging.seen | states.keys()
        marker = page.page.marker if page.page else None
        if not left:
            return Reading(findings)
        if page.total is not None and len(seen) >= page.total:
            return Reading(findings | dict.fromkeys(left, page.on_unlisted))
        if not page.task_details or not marker or marker in paging.markers:
            return Reading(findings, self._one_each(task, left))
        following = _Paging(left, marker, paging.markers | {marker}, seen, TRIES_PER_PAGE)
        return Reading(findings, (partial(self._read_page, task, following),))

    def _read_page(self, task: BatchTask, paging: _Paging, deadline: Deadline) -> Reading:
        answer = self._show(task, {"limit": TARGETS_PER_PAGE, "marker": paging.marker}, deadline)
        if not isinstance(answer, Finding):
            return self._page_on(task, paging, answer)
        if answer.verdict is not Verdict.UNFINISHED or paging.tries == 1 or not deadline.remaining():
            return Reading(dict.fromkeys(paging.left, answer))
        # From this page and not from the first, or a long list under a quota would never be read to its end. A throttle
        # makes its own pause.
        again = paging._replace(tries=paging.tries - 1)
        pause = None if answer.throttled else FIRST_WAIT * 2 ** (TRIES_PER_PAGE - paging.tries)
        return Reading(dict.fromkeys(paging.left, answer), (partial(self._read_page, task, again),), pause)

    def _show(self, task: BatchTask, query: Mapping[str, str | int], deadline: Deadline) -> _ShowAnswer | Finding:
        """Read one page of the task, or give the finding that stands for every target that it should have told."""
        reply = self._request("GET", task, "", deadline=deadline, query=query)
        if isinstance(reply, NoAnswer):
            return unanswered(reply)
        if reply.fault is None:
            try:
                return _ShowAnswer.model_validate(reply.json)
            except ValidationError:
                return Finding(Verdict.UNFINISHED, error_msg="the answer carries no batch task")
        finding = reply.finding_by_table()
        if finding.verdict is not Verdict.UNCLEAR:
            return finding
        if "target" in query and fault_of_target(reply.error_code or "") is Fault.NOT_FOUND:
            return reply.finding(Verdict.NOT_FOUND)  # asked about one target, so the answer is about that one
        if reply.error_code is None or reply.status == HTTPStatus.NOT_FOUND:
            raise ForeignAnswer(
                f"IOTDA_ENDPOINT answered {reply.status} without an error of IoTDA; is it the instance's own address?"
            )
        return reply.finding(Verdict.REFUSED)

    def _request(
        self,
        method: Literal["GET", "POST"],
        task: BatchTask,
        action: str,
        *,
        deadline: Deadline,
        query: Mapping[str, str | int] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Reply | NoAnswer:
        return self._client.request(
            method,
            f"/v5/iot/{task.project_id}/batchtasks/{task.task_id}{action}",
            deadline=deadline,
            scope=task.scope,
            query=query,
            body=body,
        )


def _of_call(reply: Reply, targets: int) -> Finding:
    """Read an error that answers a stop as a whole."""
    finding = reply.finding_by_table()
    if reply.fault is Fault.CONFLICT:
        return replace(finding, verdict=Verdict.IN_DOUBT)
    is_refused = reply.error_code is not None or reply.status >= HTTPStatus.BAD_REQUEST
    if finding.verdict is Verdict.UNFINISHED or targets == 1 or not is_refused:
        return finding
    return replace(finding, verdict=Verdict.CALL_REFUSED)


_TAKEN: Final = Finding(Verdict.TAKEN)
_NOT_IN_TASK: Final = Finding(Verdict.NOT_FOUND, error_msg="the target is not in the task")
_NOT_TOLD: Final = Finding(Verdict.UNFINISHED, error_msg="the answer does not say what the target does")


def _batch_task(task: Task) -> BatchTask:
    if not isinstance(task, BatchTask):
        raise TypeError(f"not a batch task: {task}")
    return task


def _by_target(answers: Iterable[_StoppedTarget], request_id: str | None) -> dict[str, Finding]:
    """Read the answer on each target; one that is answered in two ways is unclear."""
    said: dict[str, Finding] = {}
    # One for all that are answered alike: there may be 100 000.
    known: dict[tuple[object, ...], Finding] = {}
    for answer in answers:
        words = (answer.status, answer.error_code, answer.error_msg)
        finding = known.get(words) or known.setdefault(words, _on_target(answer, request_id))
        if said.setdefault(answer.target, finding) != finding:
            said[answer.target] = Finding(Verdict.UNCLEAR, request_id=request_id)
    return said


def _on_target(answer: _StoppedTarget, request_id: str | None) -> Finding:
    code = None if answer.error_code in {None, ""} else str(answer.error_code)
    if answer.status == "success":
        return _TAKEN if code is None else Finding(Verdict.UNCLEAR, request_id=request_id)
    verdict = Verdict.UNCLEAR
    if answer.status == "failure" and code is not None:
        match fault_of_target(code):
            case Fault.NOT_FOUND:
                verdict = Verdict.NOT_FOUND
            case Fault.REFUSED:
                verdict = Verdict.REFUSED
            case Fault.PASSING | Fault.THROTTLED:
                verdict = Verdict.UNFINISHED
            case _:
                pass  # nothing that one target's answer could settle
    return Finding(verdict, code, answer.error_msg, request_id)


def _state_of_task(status: str) -> Finding:
    verdict = _TASK_STATES.get(status)
    return Finding(verdict) if verdict else Finding(Verdict.UNFINISHED, error_msg=f"unknown task status {status[:40]}")


def _state(task_status: str, target_status: str) -> Finding:
    """Say what a subtask does; while it is listed as running, its task may know better."""
    verdict = _TARGET_STATES.get(target_status)
    if verdict is None:
        return Finding(Verdict.UNFINISHED, error_msg=f"unknown target status {target_status[:40]}")
    return _state_of_task(task_status) if verdict is Verdict.RUNS else Finding(verdict)

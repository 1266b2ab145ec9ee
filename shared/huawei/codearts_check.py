"""CodeArts Check: stop a task, read its progress.

Sources: "Stopping a Check Task" and "Querying the Task Progress" (ShowProgressDetailV2),
https://support.huaweicloud.com/intl/en-us/api-codecheck/
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from shared.errors import ForeignAnswer
from shared.findings import Finding, Reading, Verdict
from shared.http import NoAnswer
from shared.huawei.client import unanswered
from shared.huawei.faults import Fault
from shared.planning import CheckTask, Stop, StopAll, Task

if TYPE_CHECKING:
    from shared.deadline import Deadline
    from shared.findings import Trust
    from shared.huawei.client import HuaweiClient, Reply
    from shared.staleness import Moment

# `task_status` of ShowProgressDetailV2. No state and "never checked" are the same null.
_STATES: Final = {
    None: Verdict.ENDED,
    0: Verdict.RUNS,
    1: Verdict.ENDED,
    2: Verdict.ENDED,
    3: Verdict.STOPPED,
}
# What the read of an unknown task may say; no page says it for certain.
_UNKNOWN_TASK: Final = "CC.00050014"
_RATIO: Final = re.compile(r"(\d{1,2}|100)%", re.ASCII)


@dataclass(frozen=True, slots=True)
class Progress:
    """What the progress of a task says of its latest run.

    `percent`: how far a running one has come, 0 to 100; `None` if that is not told. `moment`: when it was read, `None`
    if the answer does not say.
    """

    finding: Finding
    percent: int | None
    moment: Moment | None


class CodeArtsCheck:
    """Stops and reads check tasks, one a call."""

    def __init__(self, client: HuaweiClient) -> None:
        self._client = client

    def trust(self, task: Task) -> Trust:
        """Return whether Huawei accepts the key where the task is."""
        return self._client.trust(task.scope)

    def stop(self, call: Stop | StopAll, deadline: Deadline) -> dict[str, Finding]:
        """Stop the task; raises `DeploymentFault`.

        Success is a 200 whose body is `null` or empty. It carries no state, and any other body is unclear.
        """
        if not isinstance(call, Stop) or not isinstance(call.task, CheckTask):
            raise TypeError(f"not a stop of one check task: {call}")
        reply = self._client.request("POST", f"/v2/tasks/{call.task.task_id}/stop", deadline=deadline)
        return {call.task.task_id: _of_stop(reply)}

    def read(self, task: Task, targets: tuple[str, ...], deadline: Deadline) -> Reading:
        """Read the state of the task (its one target); raises `DeploymentFault`."""
        if not isinstance(task, CheckTask) or targets != (task.task_id,):
            raise TypeError(f"not one check task: {task}, {targets}")
        return Reading({task.task_id: self.progress(task.task_id, deadline).finding})

    def progress(self, task_id: str, deadline: Deadline) -> Progress:
        """Read the state of a task, and how far its run has come; raises `DeploymentFault`."""
        reply = self._client.request("GET", f"/v2/tasks/{task_id}/progress", deadline=deadline)
        finding = _of_progress(reply)
        if isinstance(reply, NoAnswer):
            return Progress(finding, percent=None, moment=None)
        percent = _percent_in(reply.json) if finding.verdict is Verdict.RUNS else None
        return Progress(finding, percent, reply.moment)


def _of_stop(reply: Reply | NoAnswer) -> Finding:
    """Read the answer to a stop; one that is lost, or of a server in trouble, leaves in doubt whether it was taken."""
    if isinstance(reply, NoAnswer):
        finding = unanswered(reply)
        return replace(finding, verdict=Verdict.IN_DOUBT) if reply.was_sent else finding
    if reply.fault is None:
        return reply.finding(Verdict.TAKEN if reply.is_json and reply.json is None else Verdict.UNCLEAR)
    finding = reply.finding_by_table()
    is_in_doubt = reply.fault in {Fault.PASSING, Fault.CONFLICT}
    return replace(finding, verdict=Verdict.IN_DOUBT) if is_in_doubt else finding


def _of_progress(reply: Reply | NoAnswer) -> Finding:
    if isinstance(reply, NoAnswer):
        return unanswered(reply)
    if reply.fault is None:
        if not isinstance(reply.json, dict) or "task_status" not in reply.json:
            return Finding(Verdict.UNFINISHED, error_msg="the progress carries no task_status")
        state = reply.json["task_status"]
        if isinstance(state, bool) or not isinstance(state, int | None) or state not in _STATES:
            return Finding(Verdict.UNFINISHED, error_msg=f"unknown task_status {state!r}"[:100])
        return Finding(_STATES[state])
    finding = reply.finding_by_table()
    if finding.verdict is not Verdict.UNCLEAR:
        return finding
    code = reply.error_code
    if code is None or (reply.status == HTTPStatus.NOT_FOUND and not code.startswith("CC.")):
        raise ForeignAnswer(
            f"CODEARTS_CHECK_ENDPOINT answered {reply.status} without an error of CodeArts Check; is it its address?"
        )
    is_unknown = code.startswith(_UNKNOWN_TASK) or reply.status == HTTPStatus.NOT_FOUND
    return reply.finding(Verdict.NOT_FOUND if is_unknown else Verdict.REFUSED)


def _percent_in(answer: object) -> int | None:
    match answer:
        case {"progress": {"ratio": str(ratio)}} if number := _RATIO.fullmatch(ratio):
            return int(number[1])
    return None

"""What the gateway and the two services do with one request, and the log of it. No sockets here.

The order is: who signed it, which fault it meets, whether the quota allows it, what the service does.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter, deque
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from threading import RLock
from typing import TYPE_CHECKING, Final, Literal, get_args
from urllib.parse import parse_qsl, unquote

from local.huawei.faults import DELIVERY_FAULTS, Faults, TokenBucket, takes_effect
from local.huawei.scenario import (
    AccessKey,
    Agency,
    BatchStatus,
    BatchTask,
    CheckStatus,
    CheckTask,
    Fault,
    FaultKind,
    OidcProvider,
    Operation,
    Quota,
    RunStatus,
    Scenario,
    Service,
    Settings,
    Signing,
    SubtaskStatus,
    instant,
)
from local.huawei.signatures import Authenticator, Refused, Request
from local.huawei.state import BatchTaskState, Lag, Rejected, TargetResult, World
from local.huawei.sts import SecurityTokens

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from local.huawei.scenario import CheckRun

MAX_TARGETS: Final = 100
"""Targets of one stop (iotda StopBatchTask)."""

_BATCH_TASK_ID: Final = re.compile(r"[a-f0-9]{1,24}")
_SUBTASK_STATUSES: Final[tuple[SubtaskStatus, ...]] = get_args(SubtaskStatus)
_MARKER: Final = re.compile(r"[a-f0-9]{24}")
_CHECK_STATUS: Final[dict[CheckStatus, int | None]] = {
    "checking": 0,
    "failed": 1,
    "success": 2,
    "stopped": 3,
    "never_checked": None,
}
_JOB_STATUS: Final[dict[RunStatus, str]] = {
    "checking": "running",
    "failed": "failed",
    "success": "success",
    "stopped": "aborted",
}
_TASK_TYPES: Final = frozenset(
    {
        "softwareUpgrade",
        "firmwareUpgrade",
        "moduleUpgrade",
        "createDevices",
        "deleteDevices",
        "freezeDevices",
        "unfreezeDevices",
        "createCommands",
        "createAsyncCommands",
        "createMessages",
        "updateDeviceShadows",
        "updateDevices",
        "changeGateway",
    }
)
"""What ListBatchTasks may be asked for; it must be asked for one of them (iot_06_v5_0028)."""
_MOST: Final = 999_999
_HTML_TYPE: Final = {"Content-Type": "text/html"}
_HTML: Final = b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>elb</body>\r\n</html>\r\n"
_LEGACY: Final[dict[Operation, object]] = {
    # The list of an older page, and the answer of the older PUT /v1/tasks/{id}/stop.
    "list_check_tasks": {"result": [{"projectId": "p", "lastCheckTime": "2020-02-20", "projectStatus": "2"}]},
    "stop_check_task": {"httpStatus": "OK", "result": "", "status": "error"},
}
_SERVICE_ERRORS: Final[dict[Service, tuple[str, str]]] = {
    "check": ("CC.00050006", "Service inner error."),
    "iotda": ("IOTDA.000001", "Internal server error."),
    "sts": ("STS5.0001", "Internal server error."),  # *invented*
}
_CHECK_PARAMETERS: Final = ("CC.00050000", "Parameters not valid.")
_EXPIRED: Final[dict[Service, tuple[str, str]]] = {
    "check": ("CC.00000003", "Authentication information expired."),
    "iotda": ("IOTDA.000002", "Authentication failed."),
    "sts": ("STS5.0401", "Authentication failed."),  # *invented*
}


@dataclass(frozen=True, slots=True)
class Record:
    """One request as it was handled, in the order of handling.

    `at`: seconds since 1970. `targets`: as asked; empty for a stop of everything. `signing`: None if the request
    carried no signature that could be read. `status`: the HTTP status answered, 0 if the connection was cut
    instead. `effect`: the targets (for a check the task id) whose stop was taken by this request, whatever was
    answered. `violations`: what a client of these APIs must never do.
    """

    number: int
    at: float
    service: Service | None
    operation: Operation
    method: str
    path: str
    project_id: str | None
    instance_id: str | None
    task_id: str | None
    targets: tuple[str, ...]
    body: str
    ak: str | None
    signing: Signing | None
    status: int
    error_code: str | None
    fault: FaultKind | None
    effect: tuple[str, ...]
    violations: tuple[str, ...]
    request_id: str


@dataclass(frozen=True, slots=True)
class BatchTaskView:
    """A batch task from outside: its status and its subtasks counted in the words of `task_progress`."""

    status: BatchStatus
    progress: dict[str, int]


@dataclass(frozen=True, slots=True)
class State:
    """The status of every task, by task id."""

    check_tasks: dict[str, CheckStatus]
    batch_tasks: dict[str, BatchTaskView]


@dataclass(frozen=True, slots=True)
class Summary:
    """The whole run counted, also what the log no longer holds.

    `statuses` and `error_codes` are keyed `"<operation> <status>"` and `"<operation> <code>"`; `targets_stopped`
    counts accepted stops of targets and check tasks; `violations` counts each kind.
    """

    requests: int
    statuses: dict[str, int]
    error_codes: dict[str, int]
    targets_stopped: int
    authentication_failures: int
    violations: dict[str, int]


@dataclass(frozen=True, slots=True)
class Reply:
    """What to put on the wire: the answer itself (JSON unless `headers` say otherwise), and how badly.

    `delay`: seconds to hold it back. `drip`: seconds between two bytes of the body, with `drip_head` of the head
    too. `cut`: `all` sends nothing, `half` the first half of the answer; then the connection is closed.
    """

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    drip: float | None = None
    drip_head: bool = False
    cut: Literal["all", "half"] | None = None
    error_code: str | None = None


@dataclass(slots=True)
class _Call:
    """One request while it is handled."""

    request: Request
    request_id: str
    now: float
    service: Service | None = None
    operation: Operation = "unknown"
    project_id: str | None = None
    task_id: str | None = None
    query: dict[str, str] = field(default_factory=dict)
    targets: tuple[str, ...] = ()
    problem: str | None = None
    failing: dict[str, tuple[str, str]] = field(default_factory=dict)
    ak: str | None = None
    signing: Signing | None = None
    effect: tuple[str, ...] = ()
    violations: list[str] = field(default_factory=list)

    @property
    def instance_id(self) -> str | None:
        return self.request.headers.get("instance-id")


class Cloud:
    """Both services in one. `clock` gives seconds since 1970. Every method may be called from any thread."""

    def __init__(self, scenario: Scenario | None = None, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = RLock()
        self.reset(scenario)

    # What it is told.

    def reset(self, scenario: Scenario | None = None) -> None:
        """Forget tasks, keys, faults, quotas, settings and the log, and begin with `scenario`."""
        scenario = scenario or Scenario()
        with self._lock:
            self._settings = scenario.settings
            self._world = World()
            self._authenticator = Authenticator()
            self._security_tokens = SecurityTokens()
            self._buckets: dict[Service, TokenBucket] = {}
            self._log: deque[Record] = deque(maxlen=self._settings.log_limit)
            self._requests = 0
            self._stopped = 0
            self._statuses: Counter[str] = Counter()
            self._error_codes: Counter[str] = Counter()
            self._violations: Counter[str] = Counter()
            for quota in scenario.quotas:
                self.set_quota(quota)
            self.set_faults(*scenario.faults)
            self.add(*scenario.keys, *scenario.oidc_providers, *scenario.agencies)
            self.add(*scenario.check_tasks, *scenario.batch_tasks)

    def add(self, *things: AccessKey | OidcProvider | Agency | CheckTask | BatchTask) -> None:
        """Add keys and tasks, or who may be given keys; one of a known id replaces the one before."""
        with self._lock:
            for thing in things:
                match thing:
                    case AccessKey():
                        self._authenticator.add(thing)
                    case OidcProvider() | Agency():
                        self._security_tokens.add(thing)
                    case CheckTask():
                        self._world.add_check_task(thing)
                    case BatchTask():
                        self._world.add_batch_task(thing)

    def set_faults(self, *faults: Fault) -> None:
        """Replace all fault rules by these, and begin to count anew; without any, behave."""
        with self._lock:
            self._faults = Faults(faults, seed=self._settings.seed)

    def set_quota(self, quota: Quota) -> None:
        """Set the quota of one service; `per_second=0` takes it away."""
        with self._lock:
            if quota.per_second:
                self._buckets[quota.service] = TokenBucket(quota, now=self._clock())
            else:
                self._buckets.pop(quota.service, None)

    def change_settings(self, **changes: object) -> None:
        """Change these fields of `Settings` and leave the others."""
        with self._lock:
            self._settings = Settings.model_validate(self._settings.model_dump() | changes)
            self._log = deque(self._log, maxlen=self._settings.log_limit)

    def remove(self, task_id: str) -> None:
        """Delete a task, whatever it is doing. KeyError if there is none."""
        with self._lock:
            self._world.remove(task_id)

    def set_check_status(self, task_id: str, status: CheckStatus, *, running_since: str | None = None) -> None:
        """Let a check move by itself: end, or, with `checking`, begin a new run. KeyError if there is none.

        `running_since`: when the new run began, as in `CheckTask`. ValueError if it is no time.
        """
        if running_since is not None:
            instant(running_since)
        with self._lock:
            self._world.check_tasks[task_id].set_status(status, running_since=running_since, now=self._clock())

    def set_subtask(self, task_id: str, target: str, status: SubtaskStatus) -> None:
        """Let one subtask move by itself, as a device would. KeyError if there is none."""
        with self._lock:
            self._world.batch_tasks[task_id].set_subtask(target, status)

    # What it can be asked.

    def log(self, *, after: int = 0) -> tuple[Record, ...]:
        """Give the requests handled, the oldest first; only those with a `number` above `after`."""
        with self._lock:
            return tuple(record for record in self._log if record.number > after)

    def state(self) -> State:
        """Give the status of every task as it is now; no read in the sense of `stop_reads`."""
        with self._lock:
            now = self._clock()
            self._world.settle(now)
            return State(
                check_tasks={task_id: task.status for task_id, task in self._world.check_tasks.items()},
                batch_tasks={
                    task_id: BatchTaskView(status=task.status(), progress=task.progress())
                    for task_id, task in self._world.batch_tasks.items()
                },
            )

    def subtasks(self, task_id: str) -> dict[str, SubtaskStatus]:
        """Give the status of every target of one batch task. KeyError if there is no such task."""
        with self._lock:
            task = self._world.batch_tasks[task_id]
            task.settle(self._clock())
            return task.subtasks()

    def summary(self) -> Summary:
        """Count the whole run."""
        with self._lock:
            return Summary(
                requests=self._requests,
                statuses=dict(self._statuses),
                error_codes=dict(self._error_codes),
                targets_stopped=self._stopped,
                authentication_failures=self._authenticator.refusals,
                violations=dict(self._violations),
            )

    # What it does with a request.

    def handle(self, request: Request) -> Reply:
        """Handle one request and write it into the log."""
        with self._lock:
            self._requests += 1
            call = _Call(request, request_id=f"{self._requests:032x}", now=self._clock())
            _route(call)
            fault = None
            refusal = self._authenticate(call)
            if refusal is not None:
                reply = refusal
            else:
                fault = self._faults.take(
                    service=call.service, operation=call.operation, task_id=call.task_id, targets=call.targets
                )
                reply = self._answer(call, fault)
            self._write(call, reply, fault)
            return replace(
                reply,
                headers={"Date": formatdate(call.now, usegmt=True), "X-Request-Id": call.request_id, **reply.headers},
                delay=reply.delay + self._settings.latency_seconds,
            )

    def _answer(self, call: _Call, fault: Fault | None) -> Reply:
        if fault is None:
            return self._serve(call)
        if fault.kind == "target_failure":
            code, message = _SERVICE_ERRORS["iotda"]
            call.failing = {fault.target or call.targets[-1]: (fault.error_code or code, message)}
            return self._serve(call)
        if fault.kind in DELIVERY_FAULTS:
            return _delivered(self._serve(call), fault, call.targets)
        if takes_effect(fault):
            self._serve(call)
        return _instead(call, fault)

    def _authenticate(self, call: _Call) -> Reply | None:
        if call.service == "sts":
            return None  # unsigned: the token in its body says who asks
        demanded: Signing = self._settings.iotda_signing if call.service == "iotda" else "plain"
        outcome = self._authenticator.authenticate(
            call.request, demanded=demanded, region=self._settings.region, now=call.now
        )
        if isinstance(outcome, Refused):
            call.ak, call.signing = outcome.ak, outcome.signing
            if outcome.wrong_signing and demanded == "derived":
                code = self._settings.iotda_wrong_signing_code
                status = 401 if code == "IOTDA.000002" else 403
                return _error(status, code, "Operation not allowed. The request is not authenticated.")
            return _gateway_error(
                call, 401, "APIGW.0301", f"Incorrect IAM authentication information: {outcome.reason}"
            )
        call.ak, call.signing = outcome.key.ak, outcome.signing
        asked = {call.request.headers.get("x-project-id"), call.project_id if call.service == "iotda" else None}
        if not asked <= {None, *outcome.key.projects}:
            # UNVERIFIED: no text at hand says how the gateway words a foreign project.
            return _gateway_error(call, 403, "APIGW.0302", "The IAM user is not authorized to access this project")
        return None

    def _serve(self, call: _Call) -> Reply:
        if call.service is None or (call.operation == "list_check_jobs" and self._settings.check_jobs == "absent"):
            return _gateway_error(
                call, 404, "APIGW.0101", "The API does not exist or has not been published in the environment"
            )
        bucket = self._buckets.get(call.service)
        if bucket is not None and not bucket.take(call.now):
            quota = bucket.quota
            return _throttled(call, quota.answer, quota.retry_after, limit=quota.size)
        try:
            return _ok(_OPERATIONS[call.operation](self, call))
        except Rejected as rejected:
            return _error(rejected.status, rejected.code, rejected.message)

    def _stop_check_task(self, call: _Call) -> object:
        if call.request.body:
            call.violations.append("a stop of a check task has no body")
        task = self._world.check_tasks.get(call.task_id or "")
        if task is None:
            raise Rejected(400, self._settings.check_unknown_task_code, "The task does not exist.")
        if task.stop(lag=self._lag(task.told), now=call.now):
            call.effect = (task.told.task_id,)
        elif self._settings.check_not_running_code is not None:
            raise Rejected(400, self._settings.check_not_running_code, "The task is not running.")
        return None

    def _show_check_progress(self, call: _Call) -> object:
        task = self._world.check_task(call.task_id or "", now=call.now)
        status = task.read(call.now)
        ratio, info = {"checking": (task.told.ratio, "running"), "success": ("100%", "success")}.get(
            status, (None, None)
        )
        return {"task_status": _CHECK_STATUS[status], "progress": {"ratio": ratio, "info": info}}

    def _list_check_tasks(self, call: _Call) -> object:
        page = self._check_page(call.query, most=100)
        tasks = self._world.check_tasks_of(call.project_id or "")
        return {"tasks": [_check_task_json(task) for task in tasks[page]], "total": len(tasks)}

    def _list_check_records(self, call: _Call) -> object:
        """List the runs, the oldest first, so that the latest is on the last page; UNVERIFIED in what order."""
        page = self._check_page(call.query, most=1000)
        begin, end = (_time(call.query.get(name)) for name in ("start_time", "end_time"))
        task = self._world.check_task(call.task_id or "", project_id=call.project_id, now=call.now)
        runs = [
            run
            for run in task.runs()
            if (run.status != "checking" or self._settings.check_records_show_running)
            # The SDK says of both that they filter by the begin of the check.
            and _began_between(run, begin, end)
        ]
        return {"data": [_check_record_json(run) for run in runs[page]], "total": len(runs)}

    def _list_check_jobs(self, call: _Call) -> object:
        """List the runs, the oldest first. The shape of the answer is *invented*: no text at hand shows it."""
        number = _number(call.query.get("page", "1"), 1, _MOST)
        size = _number(call.query.get("page_size", "200"), 1, 200)
        statuses = _several(call, "statuses")
        if number is None or size is None or not statuses <= {"quering", *_JOB_STATUS.values()}:
            raise Rejected(400, *_CHECK_PARAMETERS)
        begin, end = (_time(call.query.get(name)) for name in ("begin_start_time", "end_start_time"))
        task = self._world.check_task(call.task_id or "", now=call.now)
        jobs = [
            {"job_id": f"{task.told.task_id}-{index}", "status": _JOB_STATUS[run.status], "start_time": run.check_time}
            for index, run in enumerate(task.runs(), 1)
            if self._settings.check_jobs == "all"
            or ((not statuses or _JOB_STATUS[run.status] in statuses) and _began_between(run, begin, end))
        ]
        return {"jobs": jobs[(number - 1) * size : number * size], "total": len(jobs)}

    def _check_page(self, query: Mapping[str, str], *, most: int) -> slice:
        """Read offset and limit of a list of CodeArts Check. Raises `Rejected`."""
        offset = _number(query.get("offset", "0"), 0, _MOST)
        limit = _number(query.get("limit", "10"), 1, most)
        if offset is None or limit is None:
            raise Rejected(400, *_CHECK_PARAMETERS)
        start = {"row": offset, "page": max(0, offset - 1) * limit, "ignored": 0}[self._settings.check_offset]
        return slice(start, start + limit)

    def _stop_batch_task(self, call: _Call) -> object:
        if call.problem is not None:
            raise Rejected(400, "IOTDA.000006", f"Invalid input. {call.problem}")
        task = self._batch_task(call)
        if call.targets:
            results = task.stop_targets(call.targets, failing=call.failing, lag=self._lag(task.told), now=call.now)
            call.effect = tuple(result.target for result in results if result.failure is None)
            return {"targets": [_target_json(result) for result in results]}
        call.effect = task.stop_all(lag=self._lag(task.told), now=call.now)
        listed = call.effect if self._settings.stop_all_lists_targets else ()
        return {"targets": [{"target": target, "status": "success"} for target in listed]}

    def _show_batch_task(self, call: _Call) -> object:
        limit, marker, offset = _paging(call.query)
        status = _subtask_status(call.query.get("task_detail_status"))
        task = self._batch_task(call)
        page = task.page(status=status, target=call.query.get("target"), limit=limit, marker=marker, offset=offset)
        shown = {
            "batchtask": _batch_task_json(task),
            "task_details": [{"target": target, "status": status} for target, status in page.subtasks],
            "page": {"count": page.count, "marker": page.marker},
        }
        task.count_read()
        return shown

    def _list_batch_tasks(self, call: _Call) -> object:
        limit, marker, offset = _paging(call.query)
        app_id, task_type, status = (call.query.get(name) for name in ("app_id", "task_type", "status"))
        if status is not None and status not in get_args(BatchStatus):
            raise Rejected(400, "IOTDA.000006", "Invalid input. Invalid status")
        if task_type not in _TASK_TYPES:
            raise Rejected(400, "IOTDA.000006", "Invalid input. Invalid task_type")
        matching = [
            (number, task)
            for number, task in self._world.batch_tasks_of(call.project_id or "", call.instance_id, now=call.now)
            if app_id in {None, task.told.app_id}
            and task_type == task.told.task_type
            and status in {None, task.status()}
        ]
        below = [(number, task) for number, task in matching if number < marker][offset : offset + limit]
        return {
            "batchtasks": [_batch_task_json(task) for _, task in below],
            "page": {"count": len(matching), "marker": f"{below[-1][0]:024x}" if below else None},
        }

    def _assume_agency(self, call: _Call) -> object:
        key, answer = self._security_tokens.assume(call.request.body, now=call.now)
        self._authenticator.add(key)
        return answer

    def _batch_task(self, call: _Call) -> BatchTaskState:
        task_id = call.task_id or ""
        if not _BATCH_TASK_ID.fullmatch(task_id):
            raise Rejected(400, "IOTDA.000006", "Invalid input. Invalid task_id")
        return self._world.batch_task(
            task_id, project_id=call.project_id or "", instance_id=call.instance_id, now=call.now
        )

    def _lag(self, told: CheckTask | BatchTask) -> Lag:
        return Lag(
            seconds=self._settings.stop_seconds if told.stop_seconds is None else told.stop_seconds,
            reads=self._settings.stop_reads if told.stop_reads is None else told.stop_reads,
        )

    def _write(self, call: _Call, reply: Reply, fault: Fault | None) -> None:
        status = 0 if reply.cut == "all" else reply.status
        self._stopped += len(call.effect)
        self._statuses[f"{call.operation} {status}"] += 1
        self._violations.update(call.violations)
        if reply.error_code is not None:
            self._error_codes[f"{call.operation} {reply.error_code}"] += 1
        self._log.append(
            Record(
                number=self._requests,
                at=call.now,
                service=call.service,
                operation=call.operation,
                method=call.request.method,
                path=call.request.target,
                project_id=call.project_id,
                instance_id=call.instance_id,
                task_id=call.task_id,
                targets=call.targets,
                # A token is not kept, not even here.
                body="" if call.service == "sts" else call.request.body.decode("utf-8", "replace"),
                ak=call.ak,
                signing=call.signing,
                status=status,
                error_code=reply.error_code,
                fault=None if fault is None else fault.kind,
                effect=call.effect,
                violations=tuple(call.violations),
                request_id=call.request_id,
            )
        )


_OPERATIONS: Final[dict[Operation, Callable[[Cloud, _Call], object]]] = {
    "stop_check_task": Cloud._stop_check_task,  # noqa: SLF001 - the table belongs to the class
    "show_check_progress": Cloud._show_check_progress,  # noqa: SLF001
    "list_check_tasks": Cloud._list_check_tasks,  # noqa: SLF001
    "list_check_records": Cloud._list_check_records,  # noqa: SLF001
    "list_check_jobs": Cloud._list_check_jobs,  # noqa: SLF001
    "stop_batch_task": Cloud._stop_batch_task,  # noqa: SLF001
    "show_batch_task": Cloud._show_batch_task,  # noqa: SLF001
    "list_batch_tasks": Cloud._list_batch_tasks,  # noqa: SLF001
    "assume_agency": Cloud._assume_agency,  # noqa: SLF001
}


def _route(call: _Call) -> None:
    path, _, query = call.request.target.partition("?")
    call.query = dict(parse_qsl(query, keep_blank_values=True))
    match call.request.method, [unquote(part) for part in path.split("/")[1:]]:
        case "POST", ["v2", "tasks", task_id, "stop"]:
            call.service, call.operation, call.task_id = "check", "stop_check_task", task_id
        case "GET", ["v2", "tasks", task_id, "progress"]:
            call.service, call.operation, call.task_id = "check", "show_check_progress", task_id
        case "GET", ["v2", project_id, "tasks"]:
            call.service, call.operation, call.project_id = "check", "list_check_tasks", project_id
        case "GET", ["v2", project_id, "tasks", task_id, "checkrecord"]:
            call.service, call.operation = "check", "list_check_records"
            call.project_id, call.task_id = project_id, task_id
        case "GET", ["v4", "tasks", task_id, "jobs"]:
            call.service, call.operation, call.task_id = "check", "list_check_jobs", task_id
        case "GET", ["v5", "iot", project_id, "batchtasks"]:
            call.service, call.operation, call.project_id = "iotda", "list_batch_tasks", project_id
        case "GET", ["v5", "iot", project_id, "batchtasks", task_id]:
            call.service, call.operation = "iotda", "show_batch_task"
            call.project_id, call.task_id = project_id, task_id
        case "POST", ["v5", "iot", project_id, "batchtasks", task_id, "stop"]:
            call.service, call.operation = "iotda", "stop_batch_task"
            call.project_id, call.task_id = project_id, task_id
            _read_targets(call)
        case "POST", ["v5", "agencies", "assume-with-oidc"]:
            call.service, call.operation = "sts", "assume_agency"
        case _:
            call.violations.append("no such API")


def _read_targets(call: _Call) -> None:
    """Read the body of a stop as the most dangerous server would: whatever names no target stops everything."""
    if not call.request.body:
        # UNVERIFIED: what an empty body does is not documented. The SDK sends one for `body=None`.
        call.violations.append("an empty body may stop everything")
        return
    try:
        body = json.loads(call.request.body)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        call.problem = "The body is no JSON object"
        call.violations.append("the body is no JSON object")
        return
    if body.keys() - {"targets"}:
        call.violations.append("unknown fields are ignored, and the rest may stop everything")
    targets = body.get("targets", [])
    if not targets:
        if "targets" in body:
            # UNVERIFIED: what an empty list does is not documented.
            call.violations.append("an empty list of targets may stop everything")
        return
    if not isinstance(targets, list) or not all(isinstance(target, str) for target in targets):
        call.problem = "targets is no list of strings"
        call.violations.append("targets is no list of strings")
        return
    call.targets = tuple(targets)
    if len(set(targets)) < len(targets):
        call.violations.append("a target is named twice")
    if len(targets) > MAX_TARGETS:
        call.problem = f"More than {MAX_TARGETS} targets"
        call.violations.append(f"more than {MAX_TARGETS} targets")


def _instead(call: _Call, fault: Fault) -> Reply:  # noqa: C901, PLR0911, PLR0912 - one flat table
    """Give the answer that `fault` puts in the place of the service's own."""
    # A request that no service knows gets its fault in IoTDA's words.
    service = call.service or "iotda"
    code, message = _SERVICE_ERRORS[service]
    match fault.kind:
        case "answer":
            body = fault.body.encode() if isinstance(fault.body, str) else _dump(fault.body)
            return Reply(fault.status or 200, body, headers=fault.headers)
        case "throttle_429":
            return _throttled(call, "429", fault.retry_after, limit=1)
        case "throttle_403":
            return _throttled(call, "403", None, limit=1)
        case "throttle_400":
            return _throttled(call, "400", None, limit=1)
        case "error_json":
            return _error(fault.status or 500, fault.error_code or code, message)
        case "error_html":
            return Reply(fault.status or 502, _HTML, headers=_HTML_TYPE)
        case "unauthorized":
            return _error(401, *_EXPIRED[service])
        case "redirect":
            # To a port where nobody listens: whoever follows finds no answer.
            return Reply(302, b"", headers={"Location": "http://127.0.0.1:1/", **_HTML_TYPE})
        case "error_in_200":
            return _error(200, fault.error_code or code, message)
        case "legacy_200":
            return _ok(_LEGACY.get(call.operation, {"result": "success"}))
        case "junk_200":
            return Reply(200, b"<html><body>OK</body></html>")
        case "null_200":
            return _ok(None)
        case _:
            return Reply(0, b"", cut="all")


def _delivered(reply: Reply, fault: Fault, targets: tuple[str, ...]) -> Reply:  # noqa: PLR0911 - one flat table
    """Deliver what the service said as badly as `fault` wants."""
    match fault.kind:
        case "slow":
            return replace(reply, delay=fault.seconds)
        case "drip":
            return replace(reply, drip=fault.seconds)
        case "drip_head":
            return replace(reply, drip=fault.seconds, drip_head=True)
        case "cut_after":
            return replace(reply, cut="all")
        case "cut_midway":
            return replace(reply, cut="half")
        case "target_missing":
            return _without(reply, fault.target or targets[-1])
        case _:
            return replace(reply, headers=_HTML_TYPE)


def _without(reply: Reply, missing: str) -> Reply:
    if reply.status != 200:  # noqa: PLR2004 - an error lists no targets
        return reply
    results = json.loads(reply.body)["targets"]
    return replace(reply, body=_dump({"targets": [result for result in results if result["target"] != missing]}))


def _ok(answer: object) -> Reply:
    return Reply(200, _dump(answer))


def _error(status: int, code: str, message: str) -> Reply:
    return Reply(status, _dump({"error_code": code, "error_msg": message}), error_code=code)


def _gateway_error(call: _Call, status: int, code: str, message: str) -> Reply:
    body = _dump({"error_msg": message, "error_code": code, "request_id": call.request_id})
    return Reply(status, body, error_code=code)


def _throttled(call: _Call, answer: Literal["429", "403", "400"], retry_after: int | None, *, limit: int) -> Reply:
    match answer:
        case "429":
            reply = _gateway_error(
                call,
                429,
                "APIGW.0308",
                f"The throttling threshold has been reached: policy user over ratelimit,limit:{limit},time:1 second",
            )
            return reply if retry_after is None else replace(reply, headers={"Retry-After": str(retry_after)})
        case "403":
            return _error(403, "IOTDA.021101", "The request reached the maximum rate.")
        case "400":
            return _error(400, "CC.00050012", "Retry later.")


def _paging(query: Mapping[str, str]) -> tuple[int, int, int]:
    """Read limit, marker and offset of an IoTDA list. Raises `Rejected`."""
    limit = _number(query.get("limit", "10"), 1, 50)
    offset = _number(query.get("offset", "0"), 0, 500)
    marker = query.get("marker", "f" * 24)
    if limit is None or offset is None or not _MARKER.fullmatch(marker):
        raise Rejected(400, "IOTDA.000006", "Invalid input. Invalid limit, marker or offset")
    return limit, int(marker, 16), offset


def _number(text: str, lowest: int, highest: int) -> int | None:
    number = int(text) if text.isascii() and text.isdigit() else -1
    return number if lowest <= number <= highest else None


def _several(call: _Call, name: str) -> set[str]:
    """Read a parameter that may be given several times, with one value or with several between commas."""
    query = call.request.target.partition("?")[2]
    return {value for key, values in parse_qsl(query) if key == name for value in values.split(",")}


def _time(text: str | None) -> datetime | None:
    """Read a time that CodeArts Check is asked for. Raises `Rejected`."""
    try:
        return None if text is None else instant(text)
    except ValueError:
        raise Rejected(400, *_CHECK_PARAMETERS) from None


def _began_between(run: CheckRun, begin: datetime | None, end: datetime | None) -> bool:
    began = instant(run.check_time)
    return (begin is None or begin <= began) and (end is None or began <= end)


def _subtask_status(text: str | None) -> SubtaskStatus | None:
    if text is None:
        return None
    for status in _SUBTASK_STATUSES:
        if status == text:
            return status
    raise Rejected(400, "IOTDA.000006", "Invalid input. Invalid task_detail_status")


def _target_json(result: TargetResult) -> dict[str, str]:
    if result.failure is None:
        return {"target": result.target, "status": "success"}
    code, message = result.failure
    return {"target": result.target, "status": "failure", "error_code": code, "error_msg": message}


def _check_task_json(told: CheckTask) -> dict[str, str | None]:
    return {
        "task_id": told.task_id,
        "task_name": told.task_name,
        "creator_id": "stand-in",
        "git_url": "https://codehub.example/stand-in.git",
        "git_branch": "master",
        "created_at": told.created_at,
        "last_check_time": told.last_check_time,
    }


def _check_record_json(run: CheckRun) -> dict[str, object]:
    """Show a run as CheckRecord does; one that is not over has no `check_end_time`."""
    end = {} if run.check_end_time is None else {"check_end_time": run.check_end_time}
    issues = {"critical": 0, "serious": 0, "normal": 0, "prompt": 0}
    return {"check_time": run.check_time, **end, "issue_counts": issues}


def _batch_task_json(task: BatchTaskState) -> dict[str, object]:
    """Show a task as ListBatchTasks and ShowBatchTask do. Left out: `targets`, up to 30 000 of them a page."""
    told = task.told
    policy = {} if told.schedule_time is None else {"task_policy": {"schedule_time": told.schedule_time}}
    return {
        "task_id": told.task_id,
        "task_name": told.task_name,
        "task_type": told.task_type,
        "status": task.status(),
        "task_progress": task.progress(),
        "create_time": told.create_time,
        **policy,
    }


def _dump(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()

"""The control API under `/_stand_in/`, unsigned: what `Cloud` can be told and asked, over HTTP; and its client.

| call | body or query | answers |
|---|---|---|
| `POST scenario` | `Scenario` | `null`; everything before is forgotten |
| `POST add` | `Additions` | `null`; on top of what is there |
| `POST faults` | a list of `Fault` | `null`; these replace all before |
| `POST quota` | `Quota` | `null` |
| `POST settings` | some fields of `Settings` | `null` |
| `POST remove` | `{"task_id"}` | `null` |
| `POST check` | `{"task_id", "status"}`, and `running_since` if a run begins | `null` |
| `POST subtask` | `{"task_id", "target", "status"}` | `null` |
| `GET log?after=n` | | a list of `Record` |
| `GET state` | | `State` |
| `GET subtasks?task_id=…` | | `{target: status}` |
| `GET summary` | | `Summary` |

What is not understood gets a 400, an unknown task or target a 404, each with a text that says why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, quote

import urllib3
from pydantic import BaseModel, ConfigDict, TypeAdapter

from local.huawei.cloud import Cloud, Record, Reply, State, Summary
from local.huawei.scenario import (
    AccessKey,
    Additions,
    Agency,
    BatchTask,
    CheckStatus,
    CheckTask,
    Fault,
    OidcProvider,
    Quota,
    Scenario,
    SubtaskStatus,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local.huawei.signatures import Request

PREFIX: Final = "/_stand_in/"

_FAULTS: Final = TypeAdapter(tuple[Fault, ...])
_LOG: Final = TypeAdapter(tuple[Record, ...])
_STATE: Final = TypeAdapter(State)
_SUBTASKS: Final = TypeAdapter(dict[str, SubtaskStatus])
_SUMMARY: Final = TypeAdapter(Summary)
_TEXT: Final = {"Content-Type": "text/plain; charset=utf-8"}
_OBJECT: Final = TypeAdapter(dict[str, Any])


class _Task(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    task_id: str


class _Check(_Task):
    status: CheckStatus
    running_since: str | None = None


class _Subtask(_Task):
    target: str
    status: SubtaskStatus


class StandInClient:
    """The same methods as `Cloud`, for a stand-in that runs as another process at `endpoint`.

    Raises ValueError if the stand-in does not understand, KeyError for an unknown task or target, urllib3's
    errors if it does not answer.
    """

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self._pool = urllib3.PoolManager(retries=False)

    def reset(self, scenario: Scenario | None = None) -> None:
        """Forget everything and begin with `scenario`."""
        self._post("scenario", (scenario or Scenario()).model_dump_json())

    def add(self, *things: AccessKey | OidcProvider | Agency | CheckTask | BatchTask) -> None:
        """Add keys and tasks, or who may be given keys; one of a known id replaces the one before."""
        additions = Additions(
            keys=tuple(thing for thing in things if isinstance(thing, AccessKey)),
            oidc_providers=tuple(thing for thing in things if isinstance(thing, OidcProvider)),
            agencies=tuple(thing for thing in things if isinstance(thing, Agency)),
            check_tasks=tuple(thing for thing in things if isinstance(thing, CheckTask)),
            batch_tasks=tuple(thing for thing in things if isinstance(thing, BatchTask)),
        )
        self._post("add", additions.model_dump_json())

    def set_faults(self, *faults: Fault) -> None:
        """Replace all fault rules by these; without any, behave."""
        self._post("faults", _FAULTS.dump_json(faults))

    def set_quota(self, quota: Quota) -> None:
        """Set the quota of one service; `per_second=0` takes it away."""
        self._post("quota", quota.model_dump_json())

    def change_settings(self, **changes: object) -> None:
        """Change these fields of `Settings` and leave the others."""
        self._post("settings", _OBJECT.dump_json(changes))

    def remove(self, task_id: str) -> None:
        """Delete a task, whatever it is doing."""
        self._post("remove", _Task(task_id=task_id).model_dump_json())

    def set_check_status(self, task_id: str, status: CheckStatus, *, running_since: str | None = None) -> None:
        """Let a check move by itself: end, or, with `checking`, begin a new run."""
        check = _Check(task_id=task_id, status=status, running_since=running_since)
        self._post("check", check.model_dump_json())

    def set_subtask(self, task_id: str, target: str, status: SubtaskStatus) -> None:
        """Let one subtask move by itself, as a device would."""
        self._post("subtask", _Subtask(task_id=task_id, target=target, status=status).model_dump_json())

    def log(self, *, after: int = 0) -> tuple[Record, ...]:
        """Give the requests handled, the oldest first; only those with a `number` above `after`."""
        return _LOG.validate_json(self._send("GET", f"log?after={after}"))

    def state(self) -> State:
        """Give the status of every task."""
        return _STATE.validate_json(self._send("GET", "state"))

    def subtasks(self, task_id: str) -> dict[str, SubtaskStatus]:
        """Give the status of every target of one batch task."""
        return _SUBTASKS.validate_json(self._send("GET", f"subtasks?task_id={quote(task_id)}"))

    def summary(self) -> Summary:
        """Count the whole run."""
        return _SUMMARY.validate_json(self._send("GET", "summary"))

    def close(self) -> None:
        """Close the connections that were kept."""
        self._pool.clear()

    def _post(self, what: str, body: str | bytes) -> None:
        self._send("POST", what, body)

    def _send(self, method: str, what: str, body: str | bytes | None = None) -> bytes:
        answer = self._pool.request(method, self.endpoint + PREFIX + what, body=body)
        match answer.status:
            case 200:
                return answer.data
            case 404:
                raise KeyError(answer.data.decode())
            case _:
                raise ValueError(answer.data.decode())


def control(cloud: Cloud, request: Request) -> Reply:
    """Answer one request of the control API; it is neither signed nor logged."""
    path, _, query = request.target.removeprefix(PREFIX).partition("?")
    asked = {name: values[-1] for name, values in parse_qs(query).items()}
    try:
        if request.method == "POST":
            _tell(cloud, path, request.body)
            return Reply(200, b"null")
        return Reply(200, _ask(cloud, path, asked))
    except KeyError as error:
        return Reply(404, f"unknown: {error}".encode(), headers=_TEXT)
    except ValueError as error:  # pydantic's ValidationError is one
        return Reply(400, str(error).encode(), headers=_TEXT)


def _tell(cloud: Cloud, path: str, body: bytes) -> None:
    match path:
        case "scenario":
            cloud.reset(Scenario.model_validate_json(body))
        case "add":
            additions = Additions.model_validate_json(body)
            cloud.add(*additions.keys, *additions.oidc_providers, *additions.agencies)
            cloud.add(*additions.check_tasks, *additions.batch_tasks)
        case "faults":
            cloud.set_faults(*_FAULTS.validate_json(body))
        case "quota":
            cloud.set_quota(Quota.model_validate_json(body))
        case "settings":
            cloud.change_settings(**_OBJECT.validate_json(body))
        case "remove":
            cloud.remove(_Task.model_validate_json(body).task_id)
        case "check":
            check = _Check.model_validate_json(body)
            cloud.set_check_status(check.task_id, check.status, running_since=check.running_since)
        case "subtask":
            moved = _Subtask.model_validate_json(body)
            cloud.set_subtask(moved.task_id, moved.target, moved.status)
        case _:
            raise KeyError(path)


def _ask(cloud: Cloud, path: str, asked: Mapping[str, str]) -> bytes:
    match path:
        case "log":
            return _LOG.dump_json(cloud.log(after=int(asked.get("after", "0"))))
        case "state":
            return _STATE.dump_json(cloud.state())
        case "subtasks":
            return _SUBTASKS.dump_json(cloud.subtasks(asked["task_id"]))
        case "summary":
            return _SUMMARY.dump_json(cloud.summary())
        case _:
            raise KeyError(path)

"""What the stand-in is told: keys, tasks, faults, quotas and settings, as one JSON document or piece by piece."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

PROJECT_ID: Final = "0605768a3300d5762f3dc0145e9e3f00"
"""The IAM project of the key that is there from the start."""

CHECK_PROJECT_ID: Final = "41a3bf0ba9b94a5da1a1a4b1c2d3e4f5"
"""A CodeArts project: another kind of id than the IAM project's (huaweicloudsdkcodeartscheck, project_id)."""

Service = Literal["check", "iotda", "sts"]
Operation = Literal[
    "stop_check_task",
    "show_check_progress",
    "list_check_tasks",
    "list_check_records",
    "list_check_jobs",
    "stop_batch_task",
    "show_batch_task",
    "list_batch_tasks",
    "assume_agency",
    "unknown",
]
Signing = Literal["plain", "derived"]
RunStatus = Literal["checking", "failed", "success", "stopped"]
CheckStatus = Literal["never_checked"] | RunStatus
SubtaskStatus = Literal["Processing", "Waitting", "FailWaitRetry", "Success", "Fail", "Stopped", "Removed"]
BatchStatus = Literal[
    "Initializing", "Waitting", "Processing", "Success", "Fail", "PartialSuccess", "Stopped", "Stopping"
]
FaultKind = Literal[
    "answer",
    "throttle_429",
    "throttle_403",
    "throttle_400",
    "error_json",
    "error_html",
    "unauthorized",
    "redirect",
    "slow",
    "drip",
    "drip_head",
    "cut_before",
    "cut_after",
    "cut_midway",
    "error_in_200",
    "legacy_200",
    "junk_200",
    "null_200",
    "target_failure",
    "target_missing",
    "wrong_content_type",
]


class _Told(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def instant(text: str) -> datetime:
    """Read a time of CodeArts Check, `2025-11-28T06:55:41Z` or `2020-02-20 11:21:11`. Raises ValueError.

    UNVERIFIED what zone one without a zone is in: here UTC, as the newer pages say of all times.
    """
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _told_time(text: str) -> str:
    instant(text)
    return text


CheckTime = Annotated[str, AfterValidator(_told_time)]
"""A time as `instant` reads it; it is shown as it was told."""


def _now() -> str:
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")


class AccessKey(_Told):
    """A key pair that may sign; with a `security_token` it is a temporary one, and the token must be sent too.

    `expires_at`: seconds since 1970.
    """

    ak: str = "AKSTANDIN0000000000"
    sk: str = "SKSTANDIN00000000000000000000000000000000"
    security_token: str | None = None
    projects: tuple[str, ...] = (PROJECT_ID,)
    expires_at: float | None = None


class OidcProvider(_Told):
    """An identity provider whose tokens are taken (CreateOIDCProvider): RS256 only.

    `url`: the issuer. `client_ids`: the audiences. `jwks`: the issuer's keys, as it serves them (RFC 7517); Huawei
    Cloud fetches them from the issuer.
    """

    urn: str
    url: Annotated[str, Field(pattern=r"^https://", max_length=255)]
    client_ids: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=255)], ...], Field(min_length=1)]
    jwks: dict[str, Any]


class Agency(_Told):
    """A trust agency: who may take it on, as its `trust_policy` says in the console's own JSON, and for how long."""

    urn: str
    trust_policy: dict[str, Any]
    max_session_seconds: Annotated[int, Field(ge=3600, le=43_200)] = 3600
    projects: tuple[str, ...] = (PROJECT_ID,)


class CheckRun(_Told):
    """One run of a check task that is over; one that was cut short may have no end."""

    check_time: CheckTime
    check_end_time: CheckTime | None = None
    status: RunStatus = "success"


class CheckTask(_Told):
    """A CodeArts Check task. Adding one of a known `task_id` replaces it, and with `checking` begins a new run.

    `running_since`: when the run began, of a task that is `checking`; without it the run is in no list of runs.
    `records`: the runs before it, the oldest first. `ratio`: its progress while it runs.
    `stop_seconds`, `stop_reads`: as in `Settings`, for this task alone.
    """

    task_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,32}$")]
    status: CheckStatus = "checking"
    project_id: str = CHECK_PROJECT_ID
    task_name: str = "check"
    created_at: str = "2026-11-01T06:55:41Z"
    last_check_time: str | None = None
    running_since: CheckTime | None = None
    records: tuple[CheckRun, ...] = ()
    ratio: str = "50%"
    stop_seconds: Annotated[float, Field(ge=0)] | None = None
    stop_reads: Annotated[int, Field(ge=0)] | None = None


class BatchTask(_Told):
    """An IoTDA batch task. Adding one of a known `task_id` replaces it.

    `targets` start as Processing, `subtasks` with the status given. The task's own status follows from its
    subtasks; `status` overrides it until the first stop (for Initializing and the like).
    `create_time` and `schedule_time` are `yyyyMMdd'T'HHmmss'Z'`, UTC.
    `stop_seconds`, `stop_reads`: as in `Settings`, for this task alone.
    """

    task_id: Annotated[str, Field(pattern=r"^[a-f0-9]{1,24}$")]
    targets: tuple[str, ...] = ()
    subtasks: dict[str, SubtaskStatus] = {}
    task_type: str = "firmwareUpgrade"
    task_name: str = "upgrade"
    status: BatchStatus | None = None
    project_id: str = PROJECT_ID
    instance_id: str | None = None
    app_id: str | None = None
    create_time: str = Field(default_factory=_now)
    schedule_time: str | None = None
    stop_seconds: Annotated[float, Field(ge=0)] | None = None
    stop_reads: Annotated[int, Field(ge=0)] | None = None


class Fault(_Told):
    """One rule of misbehaviour; the first rule of the list that fires decides.

    Which requests it matches: all of `service`, `operation`, `task_id` and `target` that are given.
    Which of these it hits: only the `nth` that matches (from 1), at most `times` of them, each with
    `probability`. Every rule counts what matches it, whether or not an earlier rule fires.

    The kinds, by what becomes of the request:
    never carried out: `cut_before`, and for one target of it `target_failure` (of a stop of targets: `target`,
    else the last one, fails with `error_code` and goes on running);
    carried out, and its answer spoilt: `slow` (held back `seconds`), `drip` (`seconds` between two bytes of the
    body), `drip_head` (of the head too), `cut_after`, `cut_midway`, `wrong_content_type` and, of a stop of
    targets, `target_missing` (`target`, else the last one, is left out);
    answered in another way, and carried out only if `handled`: `answer` (`status`, `headers` and `body`, a string
    as it is, anything else as JSON), `throttle_429` (`Retry-After` only if `retry_after` is given),
    `throttle_403`, `throttle_400`, `error_json` (`status`, else 500), `error_html` (`status`, else 502),
    `unauthorized` (401), `redirect` (302), `error_in_200`, `legacy_200`, `junk_200`, `null_200`; by default
    `handled` for the last three.
    """

    kind: FaultKind
    service: Service | None = None
    operation: Operation | None = None
    task_id: str | None = None
    target: str | None = None
    nth: Annotated[int, Field(ge=1)] | None = None
    times: Annotated[int, Field(ge=1)] | None = None
    probability: Annotated[float, Field(ge=0, le=1)] = 1.0
    handled: bool | None = None
    seconds: Annotated[float, Field(gt=0)] = 1.0
    status: Annotated[int, Field(ge=200, le=599)] | None = None
    body: Any = None
    headers: dict[str, str] = {}
    error_code: str | None = None
    retry_after: Annotated[int, Field(ge=0)] | None = None


class Quota(_Told):
    """A token bucket of `burst` requests (else one second's worth), filled at `per_second`; 0 takes it away.

    `answer`: `429` APIGW.0308 (with `Retry-After` only if `retry_after` is given), `403` IOTDA.021101 or
    `400` CC.00050012.
    """

    service: Service
    per_second: Annotated[float, Field(ge=0)]
    burst: Annotated[int, Field(ge=1)] | None = None
    answer: Literal["429", "403", "400"] = "429"
    retry_after: Annotated[int, Field(ge=0)] | None = None

    @property
    def size(self) -> int:
        """How many requests the bucket holds."""
        return self.burst or max(1, math.ceil(self.per_second))


class Settings(_Told):
    """How the services behave where there is a choice. Codes marked *invented* are nowhere documented.

    `iotda_signing`: `derived`, as an instance's own address demands; `plain`, as the region's address does.
    `iotda_wrong_signing_code`: IOTDA.000002 (401), or IOTDA.000021 (403) as seen on the region's address when
    only a dedicated instance exists.
    `stop_seconds`, `stop_reads`: an accepted stop shows only after both, so many seconds and so many reads of
    the task (a request for the progress of a check, or for one page of a batch task); 10**9 reads are never done.
    `stop_all_lists_targets`: whether the answer to `{}` names what it stopped; the documentation is silent.
    `check_not_running_code` (*invented*): `null` answers 200 `null`, as if the stop had been taken.
    `check_unknown_task_code` (*invented*): what a stop of an unknown task gets, HTTP 400.
    `check_offset`: the SDK calls the offset of the lists of CodeArts Check a row, the documentation a page (0 and
    1 being the first); `ignored` always answers the first page.
    `check_records_show_running`: whether the list of records shows a run that is not over; UNVERIFIED.
    `check_jobs`: the list of jobs is documented, but the SDK does not know it: `absent` answers as if it were not
    published; `listed` honours its filters; `all` ignores them, and lists the runs that are over before the one
    that is not.
    `latency_seconds`: how long every answer takes at least.
    `seed`: of the dice for `Fault.probability`, thrown anew from the next `set_faults` on.
    `log_limit`: how many requests the log keeps; the summary counts all of them.
    """

    region: str = "cn-north-4"
    iotda_signing: Signing = "derived"
    iotda_wrong_signing_code: Literal["IOTDA.000002", "IOTDA.000021"] = "IOTDA.000002"
    stop_seconds: Annotated[float, Field(ge=0)] = 0.0
    stop_reads: Annotated[int, Field(ge=0)] = 0
    stop_all_lists_targets: bool = True
    check_not_running_code: str | None = "CC.00059901.400"
    check_unknown_task_code: str = "CC.00059902.400"
    check_offset: Literal["page", "row", "ignored"] = "page"
    check_records_show_running: bool = False
    check_jobs: Literal["absent", "listed", "all"] = "absent"
    latency_seconds: Annotated[float, Field(ge=0)] = 0.0
    seed: int = 0
    log_limit: Annotated[int, Field(ge=1)] = 200_000


class Additions(_Told):
    """Keys, tasks and who may be given keys, to add to what is there."""

    keys: tuple[AccessKey, ...] = ()
    oidc_providers: tuple[OidcProvider, ...] = ()
    agencies: tuple[Agency, ...] = ()
    check_tasks: tuple[CheckTask, ...] = ()
    batch_tasks: tuple[BatchTask, ...] = ()


class Scenario(_Told):
    """All of it, as `--scenario file.json` or `reset()` takes it. Without `keys` one default key may sign."""

    keys: tuple[AccessKey, ...] = (AccessKey(),)
    oidc_providers: tuple[OidcProvider, ...] = ()
    agencies: tuple[Agency, ...] = ()
    check_tasks: tuple[CheckTask, ...] = ()
    batch_tasks: tuple[BatchTask, ...] = ()
    faults: tuple[Fault, ...] = ()
    quotas: tuple[Quota, ...] = ()
    settings: Settings = Settings()

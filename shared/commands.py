"""Commands: what may be asked of Stopline, and the reasons why a message is none.

Unknown fields are refused, types are not coerced, and an explicit `null` is no value: nothing may slide into
a default, and above all nothing into "stop everything".

The limits of the ids come from Huawei's pages "Stopping a Check Task" and "Stop a Batch Task".
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NamedTuple, Self, TypeIs

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    FailFast,
    Field,
    PlainSerializer,
    Strict,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from shared.field_errors import complaint, explain, field_error, joined, show
from shared.outcomes import MOST_COUNTED, FieldError, Tally, to_rfc3339
from shared.traces import NO_TRACE, TRACEPARENT, TRACESTATE, Trace, TraceParent, TraceState, valid_part

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_TARGETS: Final = 100_000
"""Most targets that one command may name."""

ALL_TARGETS: Final = "*"
"""The one target of a command with `all_targets`, in results and in `awaiting`."""

# RFC 3339 section 5.6; `datetime.fromisoformat` alone would also take week dates and times without a zone.
_RFC3339: Final = re.compile(r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d{1,9})?([Zz]|[+-]\d{2}:\d{2})", re.ASCII)
# So that no zone and no time to live can carry a moment out of datetime's own range.
_YEARS: Final = range(1970, 9000)
_LATEST: Final = datetime(8999, 12, 31, tzinfo=UTC)

MOST_AHEAD: Final = timedelta(minutes=5)
"""How far `requested_at` may lie after the sending: clocks differ, but a command must not make itself younger."""


def for_sqs(text: str) -> str:
    r"""Return JSON without the characters that SQS does not take, U+FFFE and U+FFFF, as in a sender's `reason`.

    JSON escapes control characters itself. To escape more could make a message too large that fitted before:
    `\u2602` has twice the bytes of ☂ (https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html).
    """
    return text.replace("\ufffe", r"\ufffe").replace("\uffff", r"\uffff")


def _not_null(value: Any) -> Any:
    if value is None:
        raise complaint("is not allowed here; leave the field out")
    return value


def read_instant(value: Any) -> datetime:
    """Read an RFC 3339 time; raises `ValueError` that says what it should be."""
    if isinstance(value, datetime):  # the default, which the service itself puts in
        return value
    if not isinstance(value, str) or not _RFC3339.fullmatch(value):
        raise complaint("should be an RFC 3339 time with its zone, e.g. 2026-11-23T08:49:05Z")
    try:
        instant = datetime.fromisoformat(value.upper()).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise complaint("should be a time that exists") from error
    if instant.year not in _YEARS:
        raise complaint("should lie in a year from 1970 to 8999")
    return instant


def _folded(targets: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(targets))


type CommandId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:-]{1,64}$")]
type CheckTaskId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,32}$")]
type BatchTaskId = Annotated[str, StringConstraints(pattern=r"^[a-f0-9]{1,24}$")]
type DeviceId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:-]{1,256}$")]
type ProjectId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
# Huawei gives only the length; visible ASCII is what can be sent as a header without being changed.
type InstanceId = Annotated[str, StringConstraints(pattern=r"^[!-~]{1,36}$")]
# Strictness is off for the list alone, since JSON has no tuples. The first bad id is enough to refuse the
# message: 100 000 complaints would help nobody.
type Targets = Annotated[
    tuple[DeviceId, ...],
    Strict(strict=False),
    FailFast(),
    Field(min_length=1, max_length=MAX_TARGETS),
    AfterValidator(_folded),
]
type Awaiting = Annotated[
    tuple[Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9_.:-]{1,256}|\*)$")], ...],
    Strict(strict=False),
    FailFast(),
    Field(max_length=MAX_TARGETS),
    AfterValidator(_folded),
]
type When = Annotated[
    datetime,
    BeforeValidator(
        read_instant, json_schema_input_type=Annotated[str, Field(json_schema_extra={"format": "date-time"})]
    ),
    PlainSerializer(to_rfc3339, return_type=str),
]
type Given[T] = Annotated[T | None, BeforeValidator(_not_null)]
"""An optional field that may be left out but, when it is there, is a `T`."""


class _Command(BaseModel, ABC):
    """What the two kinds have in common. `requested_at` and `expires_at` are UTC."""

    # Built when first used, by the one thread that reads commands: a queue function reads commands of one kind.
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", defer_build=True)

    command_id: CommandId
    requested_at: When
    expires_at: When
    requested_by: Given[Annotated[str, StringConstraints(max_length=128)]] = None
    reason: Given[Annotated[str, StringConstraints(max_length=512)]] = None
    traceparent: Given[TraceParent] = None
    tracestate: Given[TraceState] = None
    dry_run: bool = False
    # No defaults here, so that a remainder always names both: what a sender left out must not change on the way.
    confirm: bool
    attempt: int = Field(ge=1, le=1_000_000)
    tally: Tally = Tally()
    awaiting: Awaiting = ()

    @property
    @abstractmethod
    def asked(self) -> tuple[str, ...]:
        """The distinct targets asked for, in order."""

    @model_validator(mode="after")
    def _tracestate_has_its_traceparent(self) -> Self:
        if self.tracestate is not None and self.traceparent is None:
            raise complaint("is allowed only with traceparent", TRACESTATE)
        return self

    @model_validator(mode="after")
    def _awaiting_was_asked(self) -> Self:
        if self.awaiting and not self.confirm:
            raise complaint("is allowed only with confirm", "awaiting")
        asked = frozenset(self.asked if self.awaiting else ())
        if not asked.issuperset(self.awaiting):
            raise complaint("should name only targets of the command", "awaiting")
        return self

    @model_validator(mode="after")
    def _tally_has_room(self) -> Self:
        # Found out now, and not when a result cannot be counted and the stop is done. "*" stands for whatever Huawei
        # lists.
        asked = MAX_TARGETS if self.asked == (ALL_TARGETS,) else len(self.asked)
        if self.tally.total + asked > MOST_COUNTED:
            raise complaint("leaves no room to count the targets asked for; leave it out", "tally")
        return self

    @property
    def was_begun(self) -> bool:
        """Whether this is a remainder, of which something may have been sent."""
        return self.attempt > 1 or self.tally.total > 0 or bool(self.awaiting)

    def has_expired(self, now: datetime) -> bool:
        """Whether Huawei may no longer be told: ids outlive runs, so a late stop would hit new work."""
        return now >= self.expires_at

    def to_message(self) -> str:
        """Write the command as a message body: what was left out stays out.

        When all that was asked is awaited it is not written twice, or half of what fits into a message would not come
        back.
        """
        if len(self.awaiting) == len(self.asked) > 1:
            return self.model_copy(update={"awaiting": (ALL_TARGETS,)}).to_message()
        return for_sqs(self.model_dump_json(exclude_none=True, exclude_defaults=True))


class StopTask(_Command):
    """Stop the run of one CodeArts Check task. The task itself is the one target."""

    command: Literal["stop_task"]
    task_id: CheckTaskId

    @property
    def asked(self) -> tuple[str, ...]:
        """The distinct targets asked for."""
        return (self.task_id,)

    def left(self, *, to_stop: tuple[str, ...], awaiting: tuple[str, ...], attempt: int, tally: Tally) -> StopTask:
        """Give the command that asks for what is unfinished, which is the task itself."""
        if not to_stop and not awaiting:
            raise ValueError("nothing is left of this command")
        return self.model_copy(update={"awaiting": awaiting, "attempt": attempt, "tally": tally})


class StopTargets(_Command):
    """Stop the named targets, or all, of one IoTDA batch task (firmware or software upgrade).

    `targets`: 1 to 100 000 device ids, distinct, in the order asked; `None` with `all_targets`.
    """

    command: Literal["stop_targets"]
    task_id: BatchTaskId
    project_id: ProjectId
    instance_id: Given[InstanceId] = None
    targets: Given[Targets] = None
    all_targets: Given[bool] = None

    @property
    def asked(self) -> tuple[str, ...]:
        """The distinct targets asked for; `("*",)` for all."""
        return (ALL_TARGETS,) if self.targets is None else self.targets

    @model_validator(mode="after")
    def _exactly_one_of_targets_and_all_targets(self) -> Self:
        if self.all_targets is False:
            raise complaint("should be true, or left out", "all_targets")
        if (self.targets is None) == (self.all_targets is None):
            said = "exactly one of targets and all_targets should be given"
            raise complaint(said, "targets", shows_value=False)
        return self

    def left(self, *, to_stop: tuple[str, ...], awaiting: tuple[str, ...], attempt: int, tally: Tally) -> StopTargets:
        """Give the command that asks only for what is unfinished.

        Of `all_targets` that may be targets which Huawei listed: they are then asked for by name.
        """
        unfinished = {*to_stop, *awaiting}
        if not unfinished:
            raise ValueError("nothing is left of this command")
        targets = None if ALL_TARGETS in unfinished else (*to_stop, *awaiting)
        if self.targets is not None:
            targets = tuple(target for target in self.targets if target in unfinished)
            awaited = frozenset(awaiting)
            awaiting = tuple(target for target in targets if target in awaited)
        return self.model_copy(
            update={
                "targets": targets,
                "all_targets": True if targets is None else None,
                "awaiting": awaiting,
                "attempt": attempt,
                "tally": tally,
            }
        )


type Command = StopTask | StopTargets


class Defaults(NamedTuple):
    """What a command means by what it leaves out, by its envelope and the settings.

    `requested_at`: when its message was sent, or now for a direct call. `trace`: the one that its message came with.
    """

    command_id: str
    requested_at: datetime
    time_to_live: timedelta
    project_id: str
    instance_id: str | None
    confirm: bool
    trace: Trace = NO_TRACE


@dataclass(frozen=True, slots=True)
class Known:
    """What could be read of a message that is no valid command, for the outcome that says so.

    `tally`: what earlier attempts did, if it is a remainder.
    """

    command_id: str
    command: Literal["stop_task", "stop_targets"] | None = None
    task_id: str | None = None
    project_id: str | None = None
    instance_id: str | None = None
    requested_at: datetime | None = None
    requested_by: str | None = None
    reason: str | None = None
    attempt: int = 1
    confirm: bool = False
    tally: Tally = field(default_factory=Tally)
    traceparent: str | None = None
    tracestate: str | None = None


def unread(command_id: str, *, trace: Trace, tally: Tally | None = None) -> Known:
    """Return what is known of a message whose fields could not be read."""
    traceparent, tracestate = trace
    return Known(command_id=command_id, tally=tally or Tally(), traceparent=traceparent, tracestate=tracestate)


class InvalidCommand(Exception):
    """A message is no valid command: `errors` says which fields and why, `known` what could be read of it."""

    def __init__(self, errors: tuple[FieldError, ...], known: Known) -> None:
        super().__init__(joined(errors, whole="message"))
        self.errors = errors
        self.known = known


def read_command(payload: object, *, defaults: Defaults) -> Command:
    """Read one command out of parsed JSON, with `defaults` for what it leaves out.

    Raises `InvalidCommand`, which names every field that is wrong and the reason.
    """
    if not isinstance(payload, dict):
        raise InvalidCommand(
            (field_error("", "should be a JSON object", value=show(payload)),),
            unread(defaults.command_id, trace=defaults.trace),
        )
    filled: dict[str, Any] = {
        "command_id": defaults.command_id,
        "requested_at": defaults.requested_at,
        "confirm": defaults.confirm,
        "attempt": 1,
        **({} if payload.keys() & {TRACEPARENT, TRACESTATE} else defaults.trace.parts),
        **payload,
    }
    if "expires_at" not in payload:
        try:
            expires_at = read_instant(filled["requested_at"]) + defaults.time_to_live
            filled["expires_at"] = min(expires_at, _LATEST)  # or a remainder of it would be refused
        except PydanticCustomError:  # `requested_at` itself will be complained of
            filled["expires_at"] = defaults.requested_at
    model: type[Command]
    match payload.get("command"):
        case "stop_task":
            model = StopTask
        case "stop_targets":
            model = StopTargets
            filled.setdefault("project_id", defaults.project_id)
            # The service always writes both of these: without an instance it meant none.
            is_from_the_service = payload.keys() >= {"attempt", "project_id"}
            if defaults.instance_id is not None and not is_from_the_service:
                filled.setdefault("instance_id", defaults.instance_id)
            if filled.get("awaiting") == [ALL_TARGETS] and "targets" in filled:
                filled["awaiting"] = filled["targets"]
        case _:
            raise InvalidCommand(
                (_wrong_command(payload),),
                unread(_command_id(payload, defaults), trace=_trace(payload, defaults), tally=_tally(payload)),
            )
    try:
        command = model.model_validate(filled)
    except ValidationError as error:
        errors = explain(error, model=model, kind=payload["command"], payload=filled)
        raise InvalidCommand(errors, _known(model, filled, error, defaults)) from None
    if command.requested_at - defaults.requested_at > MOST_AHEAD:
        said, sent = to_rfc3339(command.requested_at), to_rfc3339(defaults.requested_at)
        # Both are times of our writing, so they are part of the reason, which the log shows.
        reason = f"{said} is more than 5 minutes after the command was sent, {sent}"
        raise InvalidCommand((field_error("requested_at", reason),), known_of(command))
    return command


def known_of(command: Command) -> Known:
    """Give what an outcome says of a command that was understood but is forbidden."""
    return Known(**{name: getattr(command, name) for name in _KNOWN if hasattr(command, name)})


_KNOWN: Final = tuple(each.name for each in fields(Known))


def _known(model: type[Command], filled: Mapping[str, Any], error: ValidationError, defaults: Defaults) -> Known:
    found = error.errors(include_input=False, include_url=False)
    bad = {each["loc"][0] for each in found if each["loc"]}
    if any(each["type"] == "string_unicode" and not each["loc"] for each in found):
        bad |= filled.keys()  # at such a name of a field pydantic stops, and has looked at none of the values
    good = {name: filled[name] for name in _KNOWN if name in model.model_fields and name in filled and name not in bad}
    if "requested_at" in good:
        good["requested_at"] = read_instant(good["requested_at"])
    known = {"command_id": defaults.command_id, **good, "tally": _tally(filled)}
    return Known(**known | _trace(filled, defaults)._asdict())


def _tally(payload: Mapping[str, Any]) -> Tally:
    try:
        return Tally.model_validate(payload.get("tally", {}))
    except ValidationError:
        return Tally()


def _trace(payload: Mapping[str, Any], defaults: Defaults) -> Trace:
    trace, _ = valid_part(payload)
    return trace if trace.traceparent else defaults.trace


def _command_id(payload: Mapping[str, Any], defaults: Defaults) -> str:
    command_id = payload.get("command_id")
    return command_id if is_command_id(command_id) else defaults.command_id


def is_command_id(value: object) -> TypeIs[str]:
    """Whether a command may have this id."""
    try:
        _COMMAND_ID.validate_python(value, strict=True)
    except ValidationError:
        return False
    return True


_COMMAND_ID: Final[TypeAdapter[str]] = TypeAdapter(CommandId)


def _wrong_command(payload: Mapping[str, Any]) -> FieldError:
    kinds = "stop_task or stop_targets"
    if "command" not in payload:
        return field_error("command", f"is missing; should be {kinds}{_what_to_pass(payload)}")
    return field_error("command", f"should be {kinds}", value=show(payload["command"]))


def _what_to_pass(payload: Mapping[str, Any]) -> str:
    """Return what holds the command, if this is a whole event of AWS."""
    match payload:
        case {"detail-type": _}:
            return "; this looks like an EventBridge event: pass its detail"
        case {"Records": [{"eventSource": "aws:sqs"}, *_]}:
            return "; this looks like an SQS event: pass the body of a record, as an object"
        case {"Records": [{"EventSource": "aws:sns"}, *_]}:
            return "; this looks like an SNS event: pass the Message of a record, as an object"
        case {"Type": "Notification", "Message": _}:
            return "; this looks like an SNS notification: pass its Message, as an object"
        case _:
            return ""

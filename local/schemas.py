"""`python -m local.schemas`: writes `events/schemas` and `events/asyncapi.json`, made of the models and the template.

The models say the types, the limits and what is unknown; this file adds what a reader needs (what each field means, an
order, examples out of `events/`) and the few rules that a model keeps in code. A test fails when what is committed is
not what is written here, and others hold the schemas against the code that reads commands and sweeps.

The schemas keep to the words that draft 2020-12 and draft 07 share, and put nothing but remarks beside a `$ref`, since
AsyncAPI 3.0 reads schemas as draft 07.
"""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic.json_schema import GenerateJsonSchema
from samtranslator.yaml_helper import yaml_parse

from local.asyncapi import asyncapi
from shared import sweeps
from shared.commands import StopTargets, StopTask
from shared.outcomes import DETAIL_TYPE, SOURCE, Outcome, Result, Status
from shared.sweeps import SweepBatchTasks, SweepCheckTasks, SweepReport
from shared.traces import TRACEPARENT_PATTERN, TRACESTATE_PATTERN

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import BaseModel

ROOT: Final = Path(__file__).resolve().parent.parent
EVENTS: Final = ROOT / "events"

type Schema = dict[str, Any]

# --- what the models keep in code

_RFC3339: Final = (
    "^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})$"
)
_IN_UTC: Final = "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z$"
_DURATION: Final = (
    "^P([0-9]{1,3}W|(?=[0-9]|T[0-9])([0-9]{1,4}D)?(T(?=[0-9])([0-9]{1,6}H)?([0-9]{1,6}M)?([0-9]{1,8}S)?)?)$"
)
_MOMENT: Final[Schema] = {"format": "date-time", "pattern": _RFC3339}
_MOMENT_IN_UTC: Final[Schema] = {"format": "date-time", "pattern": _IN_UTC}
_COUNT: Final[Schema] = {"minimum": 0}

_ONE_OF_BOTH: Final[Schema] = {"oneOf": [{"required": ["targets"]}, {"required": ["all_targets"]}]}
_AWAITING_NEEDS_CONFIRM: Final[Schema] = {
    "if": {"properties": {"awaiting": {"minItems": 1}}, "required": ["awaiting"]},
    "then": {"properties": {"confirm": {"const": True}}, "required": ["confirm"]},
}
_TRACESTATE_NEEDS_TRACEPARENT: Final[Schema] = {
    "anyOf": [{"required": ["traceparent"]}, {"not": {"required": ["tracestate"]}}]
}
_UNKNOWN_ONLY_IF_REJECTED: Final[Schema] = {
    "if": {"properties": {"status": {"const": Status.REJECTED}}, "required": ["status"]},
    "then": {"properties": {"results": {"maxItems": 0}, "errors": {"minItems": 1}}},
    "else": {
        "properties": {
            "command": {"type": "string"},
            "task_id": {"type": "string"},
            "requested_at": {"type": "string"},
            "errors": {"maxItems": 0},
        }
    },
}

# --- what each field means, in the order in which people think of them

type Remarks = Mapping[str, str | Schema]
"""By field: its description, or more words of a schema that come on top of the model's."""

_BY_THE_SERVICE: Final = "Written by Stopline on what it sends back to its own queue; leave it out."

_STOP_TASK: Final[Remarks] = {
    "command": "The kind of command.",
    "command_id": "Names the command in its outcomes. Left out: the id that the sender got: the id of its EventBridge "
    "event, the MessageId of its SNS notification or its SQS message id, or a new UUID for a direct call.",
    "task_id": "The task of CodeArts Check to stop.",
    "requested_at": {
        "description": "When it was asked for, RFC 3339 with its zone; at most 5 minutes after it was sent. "
        "Left out: when it was sent, by the earliest of the times of SQS and of the SNS or EventBridge envelope, or "
        "now for a direct call.",
        **_MOMENT,
    },
    "expires_at": {
        "description": "When it is no longer carried out, since ids outlive runs and a late stop would hit new work. "
        "Left out: requested_at and COMMAND_TTL_SECONDS, an hour unless set otherwise.",
        **_MOMENT,
    },
    "requested_by": "Who asks; carried into every outcome.",
    "reason": "Why; carried into every outcome.",
    "traceparent": {
        "description": "The trace that the command belongs to, of W3C Trace Context; carried unchanged into every "
        "outcome. Left out, with tracestate: the message attributes of these names.",
        "pattern": TRACEPARENT_PATTERN,
    },
    "tracestate": {"description": "More of that trace; only with traceparent.", "pattern": TRACESTATE_PATTERN},
    "dry_run": "Only read the state: what runs comes back as would_stop, and nothing is stopped.",
    "confirm": "Tell the end only when the state read back says that the work has ended. "
    "Left out: CONFIRM_BY_DEFAULT, false unless set otherwise.",
    "attempt": {
        "description": f"Which attempt this is. With it and a project_id, an instance_id that is left out is none. "
        f"{_BY_THE_SERVICE}",
        "readOnly": True,
    },
    "tally": {"description": f"What was told in earlier attempts. {_BY_THE_SERVICE}", "readOnly": True},
    "awaiting": {
        "description": "Those of the targets whose stop was taken and that are only read again; "
        f'["*"] for all of them. {_BY_THE_SERVICE}',
        "readOnly": True,
    },
}

_STOP_TARGETS: Final[Remarks] = {
    "command": _STOP_TASK["command"],
    "command_id": _STOP_TASK["command_id"],
    "task_id": "The batch task of IoTDA whose targets are stopped.",
    "targets": "Ids of the devices to stop. Duplicates are folded, the order is kept.",
    "all_targets": {
        "description": "Stop every target of the task that has not ended, without naming them; "
        "rejected unless the deployment has ALLOW_STOP_ALL.",
        "const": True,
    },
    "project_id": "IAM project of the task. Left out: the deployment's.",
    "instance_id": "IoTDA instance of the task, sent as Instance-Id. Left out: the deployment's, if it has one.",
    **{name: remark for name, remark in _STOP_TASK.items() if name not in {"command", "command_id", "task_id"}},
}

_TALLY: Final[Remarks] = {
    Result.STOPPED: "Huawei Cloud took the stop for it.",
    Result.ALREADY_ENDED: "It was not running: finished, stopped, stopping or never started before this call.",
    Result.NOT_FOUND: "Huawei Cloud does not know it.",
    Result.REFUSED: "Huawei Cloud knows it and says no.",
    Result.GAVE_UP: "Only passing faults, as often as is tried; what is left is in the dead-letter queue.",
    Result.STILL_RUNNING: "The stop was taken, and after all the reads it still runs; in the dead-letter queue too.",
    Result.WOULD_STOP: "It runs, and this is a dry run.",
}

_STATUS: Final[Mapping[Status, str]] = {
    Status.IN_PROGRESS: "more events of this command follow",
    Status.SUCCEEDED: "every target stopped or already_ended",
    Status.FAILED: "at least one target not_found, refused, gave_up or still_running",
    Status.REJECTED: "no valid command, or a guard forbids it; nothing was sent",
    Status.EXPIRED: "past expires_at; nothing was sent",
    Status.DRY_RUN: "nothing was sent, for none was to be",
}

_TARGET_RESULT: Final[Remarks] = {
    "target": 'The device; for stop_task the task itself; "*" for all_targets as a whole.',
    "result": "What became of it. " + " ".join(f"{result}: {meaning}" for result, meaning in _TALLY.items()),
    "error_code": "Huawei Cloud's code, if it said something against it.",
    "error_msg": "Huawei Cloud's message, cut to 300 characters.",
    "request_id": "Huawei Cloud's name of the request, for its support.",
}

_FIELD_ERROR: Final[Remarks] = {
    "loc": 'The field, such as task_id, tally.stopped or targets[0]; "" for the message itself.',
    "msg": "The value as JSON, cut to 80 characters, and the reason.",
}

_OUTCOME: Final[Remarks] = {
    "outcome_id": "The same whenever the same part of the same command is published again: drop repeats by it.",
    "command_id": "The command's; of a message that could not be read, the id that its sender got.",
    "command": "The kind of command, null if it could not be read.",
    "status": "All but in_progress are final, and a command has one final event. "
    + " ".join(f"{status}: {meaning}." for status, meaning in _STATUS.items()),
    "attempt": "Which attempt of the command this comes of.",
    "task_id": "The command's, null if it could not be read.",
    "project_id": "IAM project of a batch task, else null.",
    "instance_id": "IoTDA instance of a batch task, null for the region's or of a check.",
    "requested_at": {"description": "When it was asked for, null if that could not be read.", **_MOMENT_IN_UTC},
    "requested_by": "The command's, or null.",
    "reason": "The command's, or null.",
    "traceparent": "The command's, or that of its message, or null.",
    "tracestate": "Likewise.",
    "occurred_at": {"description": "When this was settled.", **_MOMENT_IN_UTC},
    "results": "What became of some of the targets. Each target has one result over all the events of its command.",
    "tally": "How many targets have which result, over all the events of the command so far; also of a remainder that "
    "was rejected.",
    "confirmed": "On the final event of a command with confirm, whether all of it was read to have ended; else null.",
    "errors": "Why it was rejected; else empty.",
}

_SWEEP_CHECK_TASKS: Final[Remarks] = {
    "sweep": "What is swept: check_tasks of CodeArts Check, or batch_tasks of IoTDA.",
    "project_id": "The CodeArts project; its id is another than that of the IAM project.",
    "older_than": {
        "description": "How long a task may run, PT1M to P3650D: an ISO 8601 duration of weeks, days or times.",
        "pattern": _DURATION,
    },
    "limit": "A sweep that finds more stale tasks than this stops none of them, and its report says so.",
    "dry_run": "Only report what would be stopped.",
    "protect": "Glob patterns on the name or the id of tasks that are never stopped. Case counts. Brackets also stand "
    "for themselves; composed and decomposed, full-width and other compatible characters are the same.",
}

_SWEEP_BATCH_TASKS: Final[Remarks] = {
    "sweep": _SWEEP_CHECK_TASKS["sweep"],
    "project_id": "The IAM project. Left out: the deployment's.",
    "instance_id": "The IoTDA instance, sent as Instance-Id. Left out: the deployment's, if it has one.",
    "task_types": "Types of batch task that are swept; IoTDA stops targets of these two and of no other.",
    **{name: remark for name, remark in _SWEEP_CHECK_TASKS.items() if name not in {"sweep", "project_id"}},
}

_REPORT: Final[Remarks] = {
    "sweep": _SWEEP_CHECK_TASKS["sweep"],
    "dry_run": "Whether nothing was to be stopped.",
    "scanned": {"description": "Tasks listed.", **_COUNT},
    "stale": {"description": "Tasks that have been running for older_than or longer and are not protected.", **_COUNT},
    "protected": {"description": "Tasks as old, or of unknown age, that a pattern saved.", **_COUNT},
    "unknown_age": {
        "description": "Tasks left alone because nothing says since when they run, or because they could not be read.",
        **_COUNT,
    },
    "missed": {
        "description": "Tasks that could not be looked into to the end: passing faults kept their state or start from "
        "being told (they are of unknown_age too), or failed the last look before they are stopped; or some of their "
        "targets could not be read.",
        **_COUNT,
    },
    "refused": "Whether there were more stale tasks than limit, so that none was stopped.",
    "sent": {"description": "Commands sent; their outcomes are events of their own.", **_COUNT},
    "targets": {
        "description": "Targets that the commands sent name, or would name in a dry run, of all stale tasks of which "
        "that is known; a check is one target. null if there are stale tasks and it is known of none, as when refused.",
        **_COUNT,
    },
    "tasks": "The first 100 of the stale tasks, the oldest first.",
}

_STALE_TASK: Final[Remarks] = {
    "task_id": "The task.",
    "task_name": "Its name, cut to 256 characters, or null.",
    "running_since": {"description": "It has been running since then, or longer.", **_MOMENT_IN_UTC},
    "evidence": "What says so: job or sighting of a check; create_time or schedule_time of a batch task.",
    "targets": {
        "description": "Its targets that the commands sent name, or would name in a dry run: 0 if nothing of it runs "
        "any more, null if that is not known.",
        **_COUNT,
    },
}


_WITHIN: Final[Mapping[str, Remarks]] = {
    "FieldError": _FIELD_ERROR,
    "StaleTask": _STALE_TASK,
    "Tally": _TALLY,
    "TargetResult": _TARGET_RESULT,
}
"""Of the models within what is published; what these describe themselves as is fit to print."""

# --- what they are as a whole

_NOT_SAID: Final = (
    "Refused besides, which a schema cannot say: times that do not exist or lie outside the years 1970 to 8999, a "
    "requested_at of the future, lone surrogates in texts, and of what Stopline writes itself numbers such as 2.0 and "
    "an awaiting that is no target."
)
_OUTCOME_EVENT: Final = "An outcome as it comes out of the bus."
_OUTCOME_DETAIL: Final = "What became of a command, or of a part of it: the results of at most 100 targets."
_REPORT_EVENT: Final = "The report of a sweep as it comes out of the bus; the function answers with its detail."
_REPORT_DETAIL: Final = "What a sweep found and did."
_RESOURCES: Final[Schema] = {
    "description": "The task as one name, for rules to match on; empty if it could not be read.",
    "items": {"type": "string", "pattern": "^huaweicloud:(codearts-check:task|iotda:batchtask)/"},
    "maxItems": 1,
}
_NONE: Final[Schema] = {"description": "Always empty.", "maxItems": 0}


def schemas() -> dict[str, Schema]:
    """Give every schema by the name of its file, which is its `$id` too."""
    written = {
        "command.json": {
            "title": "Command",
            "description": "A command of either kind, as the topic, the state machine and a direct call take it.",
            "oneOf": [{"$ref": "stop-task.json"}, {"$ref": "stop-targets.json"}],
        },
        "stop-task.json": {
            **_incoming(
                StopTask,
                f"Stop the run of one task of CodeArts Check. {_NOT_SAID}",
                _STOP_TASK,
                required=("command", "task_id"),
            ),
            **_AWAITING_NEEDS_CONFIRM,
            **_TRACESTATE_NEEDS_TRACEPARENT,
            "examples": _samples("commands/stop-task", "commands/stop-and-confirm"),
        },
        "stop-targets.json": {
            **_incoming(
                StopTargets,
                f"Stop the named targets, or all, of one batch task of IoTDA. {_NOT_SAID}",
                _STOP_TARGETS,
                required=("command", "task_id"),
            ),
            **_ONE_OF_BOTH,
            **_AWAITING_NEEDS_CONFIRM,
            **_TRACESTATE_NEEDS_TRACEPARENT,
            "examples": _samples("commands/stop-targets-by-topic", "commands/stop-all"),
        },
        "stop-outcome.json": {
            **_event("StopOutcome", DETAIL_TYPE, _OUTCOME_EVENT, resources=_RESOURCES, detail="Outcome"),
            "$defs": _outgoing(Outcome, _OUTCOME_DETAIL, _OUTCOME, **_UNKNOWN_ONLY_IF_REJECTED),
            "examples": _samples("outcomes/succeeded-in-an-event"),
        },
        "sweep.json": {
            "title": "Sweep",
            "description": "The event of the function that sweeps, as a schedule sends it.",
            "oneOf": [{"$ref": "#/$defs/SweepCheckTasks"}, {"$ref": "#/$defs/SweepBatchTasks"}],
            "$defs": {
                "SweepCheckTasks": _incoming(
                    SweepCheckTasks,
                    "Sweep the tasks of one project of CodeArts Check.",
                    _SWEEP_CHECK_TASKS,
                    required=("sweep", "project_id", "older_than"),
                ),
                "SweepBatchTasks": _incoming(
                    SweepBatchTasks,
                    "Sweep the batch tasks of one project and instance of IoTDA.",
                    _SWEEP_BATCH_TASKS,
                    required=("sweep", "older_than"),
                ),
            },
            "examples": _samples("sweeps/check-tasks", "sweeps/batch-tasks"),
        },
        "sweep-completed.json": {
            **_event("SweepCompleted", sweeps.DETAIL_TYPE, _REPORT_EVENT, resources=_NONE, detail="SweepReport"),
            "$defs": _outgoing(SweepReport, _REPORT_DETAIL, _REPORT),
            "examples": _samples("reports/check-tasks-in-an-event"),
        },
        "workflow-answer.json": {
            "title": "WorkflowAnswer",
            "description": "What the function for workflows answers.",
            "oneOf": [
                {
                    "title": "Final",
                    "description": "The final outcome; its results are what this call found other than stopped.",
                    "allOf": [
                        {"$ref": "stop-outcome.json#/$defs/Outcome"},
                        {"properties": {"status": {"not": {"const": Status.IN_PROGRESS}}}},
                    ],
                },
                {
                    "title": "Unfinished",
                    "description": "There was not time enough: call again with the remainder.",
                    "type": "object",
                    "properties": {"status": {"const": "unfinished"}, "remainder": {"$ref": "command.json"}},
                    "required": ["status", "remainder"],
                    "additionalProperties": False,
                },
            ],
            "examples": _samples("workflow/succeeded", "workflow/unfinished"),
        },
    }
    draft = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return {name: {**draft, "$id": name, **schema} for name, schema in written.items()}


def _event(title: str, detail_type: str, description: str, *, resources: Schema, detail: str) -> Schema:
    """Give the schema of an event on the bus, whose detail is that of `$defs`.

    https://docs.aws.amazon.com/eventbridge/latest/ref/overiew-event-structure.html. It is open, since AWS adds fields:
    an event that is replayed from an archive has a `replay-name`.
    """
    properties: Schema = {
        "version": {"const": "0"},
        "id": {"description": "Of this event; a repeat of it has another.", "type": "string"},
        "detail-type": {"const": detail_type},
        "source": {"const": SOURCE},
        "account": {"type": "string", "pattern": "^[0-9]{12}$"},
        "time": {"description": "When it was published.", "type": "string", **_MOMENT},
        "region": {"type": "string"},
        "resources": {"type": "array", **resources},
        "detail": {"$ref": f"#/$defs/{detail}"},
    }
    return {
        "title": title,
        "description": description,
        "type": "object",
        "properties": properties,
        "required": list(properties),
    }


# --- from a model to a schema


class _WithoutTitles(GenerateJsonSchema):
    """Pydantic's own, without titles that only repeat the names of fields."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        del schema
        return False


def _incoming(model: type[BaseModel], description: str, remarks: Remarks, *, required: tuple[str, ...]) -> Schema:
    """Give the schema of what may be sent. `required`: all else is filled in before the model sees it."""
    schema = model.model_json_schema(mode="validation", schema_generator=_WithoutTitles)
    schema["properties"].get("tally", {}).pop("default", None)  # seven times what its fields say
    written = _put_in_place(schema, schema.get("$defs", {}))
    return _object(written, description, remarks, required=required)


def _outgoing(model: type[BaseModel], description: str, remarks: Remarks, **more: Any) -> dict[str, Schema]:
    """Give the schemas of what is published, by title: the model with `more` of its own, and the models within it."""
    schema = model.model_json_schema(mode="serialization", schema_generator=_WithoutTitles)
    within = {name: each for name, each in schema["$defs"].items() if "properties" in each}
    in_place = {name: each for name, each in schema["$defs"].items() if name not in within}

    def written(each: Schema, description: str, remarks: Remarks) -> Schema:
        each = _put_in_place(each, in_place)
        # Nothing is left out but what is `None` by default.
        required = tuple(name for name, field in each["properties"].items() if field.get("default", "") is not None)
        for field in each["properties"].values():
            if field.get("default") is not None:
                del field["default"]
        return _object(each, description, remarks, required=required)

    return {
        schema["title"]: written(schema, description, remarks) | more,
        **{name: written(each, each["description"], _WITHIN[name]) for name, each in sorted(within.items())},
    }


def _object(schema: Schema, description: str, remarks: Remarks, *, required: tuple[str, ...]) -> Schema:
    """Put the fields in the order of their remarks, and add these. Raises `ValueError` unless each has one."""
    if remarks.keys() != schema["properties"].keys():
        raise ValueError(f"{schema['title']}: no remark, or no field: {remarks.keys() ^ schema['properties'].keys()}")
    return {
        "title": schema["title"],
        "description": description,
        "type": "object",
        "properties": {name: _field(schema["properties"][name], remark) for name, remark in remarks.items()},
        "required": [name for name in remarks if name in required],
        "additionalProperties": schema["additionalProperties"],
    }


def _field(schema: Schema, remark: str | Schema) -> Schema:
    more = {"description": remark} if isinstance(remark, str) else remark
    if "anyOf" in schema:
        value, null = schema["anyOf"]
        if null != {"type": "null"}:
            raise ValueError(f"neither a value nor null: {schema}")
        if "default" in schema:
            # It may be left out, but where it is there it is no null: commands refuse it and results never have it.
            schema = value
        elif "enum" in value:
            schema = {"enum": [*value["enum"], None]}
        else:
            schema = value | {"type": [value["type"], "null"]}
    return {"description": more["description"], **schema, **more}


def _put_in_place(schema: Any, named: Mapping[str, Schema]) -> Any:
    """Write what has a name where it is used."""
    match schema:
        case {"$ref": str(ref), **others} if (name := ref.removeprefix("#/$defs/")) in named:
            return {**_put_in_place(named[name], named), **others}
        case dict():
            return {name: _put_in_place(each, named) for name, each in schema.items()}
        case list():
            return [_put_in_place(each, named) for each in schema]
        case _:
            return schema


def _samples(*names: str) -> list[Any]:
    return [json.loads((EVENTS / f"{name}.json").read_text()) for name in names]


# --- files


def documents() -> dict[Path, str]:
    """Give the text of every file that is generated, by its path."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {
        **{EVENTS / "schemas" / name: _text(schema) for name, schema in schemas().items()},
        EVENTS / "asyncapi.json": _text(
            asyncapi(yaml_parse((ROOT / "template.yaml").read_text()), version=project["version"])
        ),
    }


def _text(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def main() -> int:
    """Write what differs, and remove schemas that are no more; prints what was changed."""
    texts = documents()
    (EVENTS / "schemas").mkdir(exist_ok=True)
    for path, text in texts.items():
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            print(path.relative_to(ROOT))
    for path in (EVENTS / "schemas").glob("*.json"):
        if path not in texts:
            path.unlink()
            print(f"{path.relative_to(ROOT)} (removed)")
    return 0


if __name__ == "__main__":
    sys.exit(main())

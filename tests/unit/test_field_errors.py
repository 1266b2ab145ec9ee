"""Errors of fields: every error that our models can produce has its place, its value and a reason in our own words."""

from __future__ import annotations

import json
import re
import time
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

import shared.field_errors
from shared.commands import InvalidCommand, StopTargets, StopTask, read_command
from shared.errors import DeploymentFault, SweepRejected
from shared.field_errors import (
    LONGEST_LOC,
    LONGEST_VALUE,
    MOST_ERRORS,
    REASONS,
    UNKNOWN_REASON,
    allowed_by,
    explain,
    place,
    show,
)
from shared.outcomes import FieldError, Tally
from shared.settings import (
    StopInWorkflowSettings,
    StopTargetsSettings,
    StopTaskSettings,
    SweepStaleTasksSettings,
    read_settings,
)
from shared.settlement import reject
from shared.sweeps import SweepBatchTasks, SweepCheckTasks, read_sweep
from tests.fakes import ENVIRONMENT, NOW, defaults

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FOREIGN: Final = re.compile(
    r"Tuple|tuple|[Dd]ict|Input|String should|Extra inputs|Field required|valid (integer|boolean|string|tuple|list)|"
    r"Value error|instance of|after validation|pydantic|Literal|unicode string|(None|True|False|int|str)\b|\^\[",
)
"""What no reason holds: the words of pydantic and of Python."""

TASK: Final = {"command": "stop_task", "task_id": "2b31"}
TARGETS: Final = {"command": "stop_targets", "task_id": "5f1a", "targets": ["d1", "d2"]}
ALL: Final = {"command": "stop_targets", "task_id": "5f1a", "all_targets": True}
CHECKS: Final = {"sweep": "check_tasks", "project_id": "c0de", "older_than": "PT2H"}
BATCHES: Final = {"sweep": "batch_tasks", "older_than": "PT2H"}

BAD: Final = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 2_000_000),
    st.sampled_from([10**4000, -1, 0, 1.0, 1.5, 10**12]),
    st.floats(allow_nan=False),
    st.text(st.characters(codec=None), max_size=5),
    st.sampled_from([
        "", " ", "d1\r", "d1\r\n", "\u2028", "\x00", "\x7f", "\ud800", "x" * 300, '"', "\\", "2026-11-23", "é" * 300,
        "🛑", "1970-01-01T00:00:00+14:00", "2026-02-30T00:00:00Z", "PT0S", "P1M", "createDevices", "stop_task",
    ]),
    st.lists(st.sampled_from(["d1", "d1\r", "", "\udfff", 1, None, ["d1"], "x" * 300, "firmwareUpgrade"]), max_size=3),
    st.dictionaries(st.sampled_from(["stopped", "killed", "", "\ud800", "x" * 300]), st.integers(-1, 1), max_size=2),
    st.sampled_from([["d1"] * 100_001, ["x"] * 101, {"stopped": 1_000_000, "refused": 1_000_000}]),
)  # fmt: skip
NAMES: Final = st.sampled_from(
    ["task", "Task_id", "target", "", "a.b", "x y", "é", "\x00", "\ud800", "x" * 9_000, "d1\r"]
)


def check(errors: tuple[FieldError, ...], payload: Mapping[str, Any], model: type[BaseModel]) -> None:
    """Hold errors against all that is promised of them."""
    assert errors
    assert len(errors) <= MOST_ERRORS + 1
    assert len({each.loc for each in errors if each.loc}) == len([each for each in errors if each.loc]), "one for one"
    for each in errors:
        assert each.reason is not None
        assert not FOREIGN.search(each.reason), each
        assert each.msg == f"{each.value} {each.reason}".lstrip() or each.msg == f"{each.reason} {each.value}"
        assert len(each.value) <= LONGEST_VALUE
        assert len(each.loc) <= LONGEST_LOC
        assert (each.loc + each.msg).isprintable()
        assert (each.loc + each.msg).encode()
        assert each.value or each.reason.startswith(("is missing", "exactly one of", "and ")), each
        if each.value and "no field of" not in each.reason:
            assert each.value == show(at(payload, each.loc)), each
        assert is_place(each.loc, payload, model), each


def at(payload: Any, loc: str) -> Any:
    """Return the value at a place of a known field."""
    for part in re.findall(r"\w+", loc):
        payload = payload[int(part) if isinstance(payload, list) else part]
    return payload


def is_place(loc: str, payload: Mapping[str, Any], model: type[BaseModel]) -> bool:
    """Whether a place is a field of the model, an item of it, or the unknown field itself."""
    names = {each.alias or name for name, each in model.model_fields.items()} | {
        f"tally.{n}" for n in Tally.model_fields
    }
    unknown = {place((name,)) for name in payload}
    inside = (
        {place(("tally", name)) for name in payload.get("tally", ())} if isinstance(payload.get("tally"), dict) else ()
    )
    return loc in {*names, *unknown, *inside, ""} or re.sub(r"\[\d+]$", "", loc) in {
        "targets",
        "awaiting",
        "protect",
        "task_types",
    }


MODELS: Final[Mapping[str, type[BaseModel]]] = {
    "stop_task": StopTask,
    "stop_targets": StopTargets,
    "check_tasks": SweepCheckTasks,
    "batch_tasks": SweepBatchTasks,
}


@st.composite
def messages(draw: st.DrawFn, *bases: dict[str, Any]) -> dict[str, Any]:
    """Draw a valid message of which some fields are wrong, unknown or missing."""
    base = draw(st.sampled_from(bases))
    fields = sorted(set(MODELS[str(base.get("command", base.get("sweep")))].model_fields) - {"command", "sweep"})
    wrong = draw(st.dictionaries(st.sampled_from(fields), BAD, max_size=2))
    unknown = draw(st.dictionaries(NAMES, BAD, max_size=1))
    missing = draw(st.sampled_from([(), (), ("task_id",), ("targets",), ("older_than",)]))
    return {name: value for name, value in {**base, **wrong, **unknown}.items() if name not in missing}


@given(messages(TASK, TARGETS, ALL, TARGETS | {"confirm": True, "awaiting": ["d1"]}))
@settings(max_examples=2_000, deadline=None)
def test_every_error_of_a_command_has_its_place_its_value_and_a_reason_of_ours(payload: dict[str, Any]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared.field_errors, "UNKNOWN_REASON", "pydantic has an error without a reason in REASONS")
        try:
            read_command(payload, defaults=defaults())
        except InvalidCommand as invalid:
            filled = {"requested_at": NOW, **payload}
            if payload.get("awaiting") == ["*"]:
                filled["awaiting"] = payload["targets"]
            check(invalid.errors, filled, MODELS[payload["command"]])


@given(messages(CHECKS, BATCHES))
@settings(max_examples=1_000, deadline=None)
def test_every_error_of_a_sweep_has_its_place_and_a_reason_of_ours(payload: dict[str, Any]) -> None:
    model = MODELS[payload["sweep"]]
    filled = {"project_id": "iam-project", **payload}
    with suppress(SweepRejected):
        read_sweep(payload, project_id="iam-project", instance_id=None)
        return
    try:
        model.model_validate(filled)
    except ValidationError as error:
        check(explain(error, model=model, kind=payload["sweep"], payload=filled), filled, model)


SETTINGS: Final = [StopTaskSettings, StopTargetsSettings, StopInWorkflowSettings, SweepStaleTasksSettings]
_TEXTS: Final = st.one_of(
    st.text(st.characters(codec=None), max_size=5),
    st.sampled_from(
        ["x" * 2_000, "9" * 5_000, "1.5", "-1", "0", "99999999999", "a b", "https://h/p", "u:p@h", "\ud800"]
    ),
)


@pytest.mark.parametrize("model", SETTINGS)
@given(st.data())
@settings(max_examples=300, deadline=None)
def test_every_error_of_the_settings_is_in_words_of_ours(model: type[BaseModel], data: st.DataObject) -> None:
    names = sorted(str(each.alias) for each in model.model_fields.values())
    changed = data.draw(st.dictionaries(st.sampled_from(names), _TEXTS, max_size=3))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared.field_errors, "UNKNOWN_REASON", "pydantic has an error without a reason in REASONS")
        said = fault_of(model, changed)
    if said:
        assert not FOREIGN.search(re.sub(r'"(\\.|[^"\\])*["…]', "", said)), said
        assert "REASONS" not in said
        assert said.isprintable()
        assert said.startswith((*names, "credentials: HUAWEICLOUD_", "credentials: no credentials"))


def fault_of(model: type[BaseModel], changed: dict[str, str]) -> str:
    """Return what is wrong with such settings; nothing if they are taken."""
    try:
        read_settings(model, ENVIRONMENT | changed)
    except DeploymentFault as fault:
        return str(fault).removeprefix("the settings are not right: ")
    return ""


# --- the given cases


def errors_of(payload: object) -> list[tuple[str, str]]:
    with pytest.raises(InvalidCommand) as invalid:
        read_command(json.loads(json.dumps(payload)), defaults=defaults())
    return [(each.loc, each.msg) for each in invalid.value.errors]


ALLOWED: Final = "is not allowed: allowed are 1 to 256 of A-Z a-z 0-9 _ . : -"


@pytest.mark.parametrize(
    ("targets", "loc", "msg"),
    [
        (["dev-2\r", "dev-3\r"], "targets[0]", rf'"dev-2\r" {ALLOWED}'),
        (["dev-1", "dev-2\r", "\r"], "targets[1]", rf'"dev-2\r" {ALLOWED}'),
        (["", "dev-1"], "targets[0]", f'"" {ALLOWED}'),
        (["dev-1", ""], "targets[1]", f'"" {ALLOWED}'),
        ([" "], "targets[0]", f'" " {ALLOWED}'),
        (["d" * 300], "targets[0]", f'"{"d" * 78}… {ALLOWED}'),
        ([], "targets", "[] should have 1 or more items"),
    ],
)
def test_a_list_of_ids_that_was_read_from_a_file_is_refused_with_one_error(
    targets: list[str], loc: str, msg: str
) -> None:
    assert errors_of(TARGETS | {"targets": targets}) == [(loc, msg)]


def test_a_sweep_of_a_wrong_type_is_refused_with_one_error() -> None:
    with pytest.raises(SweepRejected) as rejected:
        read_sweep(BATCHES | {"task_types": ["createDevices"]}, project_id="p", instance_id=None)
    assert str(rejected.value) == 'task_types[0]: "createDevices" should be firmwareUpgrade or softwareUpgrade'


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("task", "; did you mean task_id?"),
        ("taskId", "; did you mean task_id?"),
        ("TASK_ID", "; did you mean task_id?"),
        ("dryrun", "; did you mean dry_run?"),
        ("wholly unlike", ""),
    ],
)
def test_an_unknown_field_is_named_with_the_one_that_may_be_meant(name: str, hint: str) -> None:
    assert errors_of(TASK | {name: 1}) == [(name, f'"{name}" is no field of stop_task{hint}')]


def test_an_unknown_field_within_a_field_is_named_with_its_place() -> None:
    said = '"stoped" is no field of tally; did you mean stopped?'
    assert errors_of(TASK | {"tally": {"stoped": 1}}) == [("tally.stoped", said)]


@pytest.mark.parametrize("field", ["command", "task_id"])
def test_a_missing_field_is_missing(field: str) -> None:
    ((loc, msg),) = errors_of({name: value for name, value in TASK.items() if name != field})
    assert (loc, msg.partition(";")[0]) == (field, "is missing")


def test_a_wrong_command_is_shown() -> None:
    assert errors_of(TASK | {"command": "stop_tsak"}) == [
        ("command", '"stop_tsak" should be stop_task or stop_targets')
    ]


@pytest.mark.parametrize(
    "wrong", [{"requested_at": None}, {"attempt": "x"}, {"reason": 1}, {"project_id": {}}], ids=str
)
def test_of_a_message_with_a_name_that_is_no_unicode_nothing_is_taken_for_read(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidCommand) as invalid:
        read_command(TARGETS | wrong | {"\ud800": 1}, defaults=defaults())
    assert [each.loc for each in invalid.value.errors] == [r"\ud800"]
    outcome = reject(invalid.value.known, invalid.value.errors, body="", now=NOW)
    assert (outcome.command_id, outcome.task_id, outcome.reason, outcome.attempt) == ("m-0", None, None, 1)


# --- bounds


def test_a_message_of_nonsense_makes_a_small_outcome_quickly() -> None:
    many = TASK | {f"{n:06}{'\x00' * 40}": "\x00" * 40 for n in range(10_000)}
    large = (
        TARGETS
        | {name: {"\x00" * 1_000: ["\x00" * 1_000_000]} for name in StopTargets.model_fields}
        | {"command": "stop_targets"}
    )
    deep = json.loads("[" * 900 + "]" * 900)
    for payload in (many, large, TASK | {"task_id": deep}, deep, TASK | {"task_id": "\x00" * 1_000_000}):
        began = time.process_time()
        with pytest.raises(InvalidCommand) as invalid:
            read_command(payload, defaults=defaults())
        outcome = reject(invalid.value.known, invalid.value.errors, body="", now=NOW)
        assert len(outcome.to_json()) < 21 * (LONGEST_LOC + LONGEST_VALUE + 200) * 2
        assert time.process_time() - began < 2


def test_the_errors_are_twenty_and_the_rest_is_counted() -> None:
    said = errors_of(TASK | {f"field-{n}": n for n in range(100)})
    assert [loc for loc, _ in said[:3]] == ["field-0", "field-1", "field-2"]
    assert said[MOST_ERRORS:] == [("", "and 80 more errors")]
    assert errors_of(TASK | {f"field-{n}": n for n in range(MOST_ERRORS)})[-1][0] == "field-19"


def test_a_hundred_thousand_targets_are_read_as_quickly_as_the_first_bad_one_is_found() -> None:
    """The first bad id ends the reading."""
    targets: list[str] = [f"d{n}" for n in range(50_000)] + ["\r"] * 50_000
    assert errors_of(TARGETS | {"targets": targets}) == [("targets[50000]", rf'"\r" {ALLOWED}')]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (1.5, "1.5"),
        ("a\r\n\t", r'"a\r\n\t"'),
        ('"\\', r'"\"\\"'),
        ("é🛑", '"é🛑"'),
        ("\x7f\u2028\u202e\ufeff\xa0", r'"\u007f\u2028\u202e\ufeff\u00a0"'),
        ("\ud83d", r'"\ud83d"'),
        ("\U000e0001", r'"\udb40\udc01"'),
        ("x" * 78, f'"{"x" * 78}"'),
        ("x" * 79, f'"{"x" * 78}…'),
        ("\x7f" * 79, '"' + r"\u007f" * 13 + "…"),
        ([{"a": ["b"]}], '[{"a": ["b"]}]'),
        (NOW, f'"{NOW}"'),
    ],
)
def test_a_value_is_shown_as_json_in_one_short_line(value: object, text: str) -> None:
    assert show(value) == text
    assert len(text) <= LONGEST_VALUE


@pytest.mark.parametrize(
    ("loc", "text"),
    [
        ((), ""),
        (("targets", 17), "targets[17]"),
        (("tally", "stopped"), "tally.stopped"),
        (("a", 0, "b", 1, 2), "a[0].b[1][2]"),
        (("x" * 128,), "x" * 128),
        (("x" * 129,), "x" * 127 + "…"),
        (("a\r\ud800",), r"a\r\ud800"),
    ],
)
def test_a_place_is_written_as_programs_write_it(loc: tuple[str | int, ...], text: str) -> None:
    assert place(loc) == text


# --- the table


def patterns(schema: object) -> Iterator[str]:
    match schema:
        case {"pattern": str(pattern)}:
            yield pattern
        case dict():
            for each in schema.values():
                yield from patterns(each)
        case list():
            for each in schema:
                yield from patterns(each)


@pytest.mark.parametrize("model", [StopTask, StopTargets, SweepCheckTasks, SweepBatchTasks])
def test_every_pattern_of_a_message_is_said_in_words(model: type[BaseModel]) -> None:
    # pydantic's own patterns know no look-ahead: where there is one, a validator of ours has the reason.
    found = {each for each in patterns(TypeAdapter(model).json_schema()) if "(?!" not in each}
    assert found
    assert [each for each in found if not allowed_by(each).startswith("1 to ")] == []


@pytest.mark.parametrize("model", SETTINGS)
def test_every_pattern_of_a_setting_is_said_in_words(model: type[BaseModel]) -> None:
    wrong = {str(each.alias): "\r" for each in model.model_fields.values()}
    with pytest.raises(DeploymentFault, match="HUAWEICLOUD_REGION") as fault:
        read_settings(model, wrong)
    assert "other characters" not in str(fault.value)


@pytest.mark.parametrize("type_", REASONS)
def test_every_reason_can_be_made_of_the_context_that_its_error_has(type_: str) -> None:
    """By pydantic itself, which refuses a context that is not that of the type."""
    numbers = {"ge": 1, "le": 2, "max_length": 3, "min_length": 4, "actual_length": 5, "field_type": "List"}
    context: dict[str, Any] = {**numbers, "expected": "'a' or 'b'", "pattern": "^[a]{1,2}$", "class_name": "C"}
    context["error"] = ValueError("should be better")
    detail = InitErrorDetails(type=type_, ctx=context, loc=("limit",), input="x")
    error = ValidationError.from_exception_data("C", [detail])
    (said,) = explain(error, model=SweepCheckTasks, kind="check_tasks", payload={"limit": "x"})
    assert said.msg == f'"x" {said.reason}'
    assert not re.search(r"[{}']", said.msg)
    assert not FOREIGN.search(str(said.reason))


@pytest.mark.parametrize("type_", ["uuid_parsing", "frozen_set_type"])
def test_a_type_that_pydantic_may_bring_one_day_has_a_plain_reason(type_: str) -> None:
    detail = InitErrorDetails(type=type_, ctx={"error": "e"}, loc=("limit",), input="x")
    error = ValidationError.from_exception_data("C", [detail])
    (said,) = explain(error, model=SweepCheckTasks, kind="check_tasks", payload={"limit": "x"})
    assert said.msg == f'"x" {UNKNOWN_REASON}'


def test_a_custom_error_of_another_is_not_taken_for_ours() -> None:
    detail = InitErrorDetails(type=PydanticCustomError("other", "Input is bad"), loc=("limit",), input="x")
    error = ValidationError.from_exception_data("C", [detail])
    (said,) = explain(error, model=SweepCheckTasks, kind="check_tasks", payload={"limit": "x"})
    assert said.msg == f'"x" {UNKNOWN_REASON}'


def test_the_parts_of_an_error_are_not_published() -> None:
    error = FieldError(loc="task_id", msg='"x" is wrong', value='"x"', reason="is wrong")
    assert json.loads(error.model_dump_json()) == {"loc": "task_id", "msg": '"x" is wrong'}


def test_the_time_of_a_command_of_tomorrow_is_shown() -> None:
    ((loc, msg),) = errors_of(TASK | {"requested_at": (NOW + timedelta(days=1)).isoformat()})
    assert loc == "requested_at"
    assert msg.startswith("2026-11-24T")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("1e999", "1e999"),
        ("-1e999", "-1e999"),
        ("[1e999, 1]", "[1e999, 1]"),
        ('{"a": -1e999}', '{"a": -1e999}'),
        ('"Infinity"', '"Infinity"'),
        ('["Infinity", {"Infinity": 1e999}]', '["Infinity", {"Infinity": 1e999}]'),
    ],
)
def test_a_number_beyond_all_bounds_is_shown_as_json(value: str, shown: str) -> None:
    assert show(json.loads(value)) == shown
    (said,) = errors_of(TASK | {"attempt": json.loads(value)})
    assert said == ("attempt", f"{shown} should be a whole number")

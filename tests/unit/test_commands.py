"""What is a command and what is none: each rule of the contract, and the way there and back as a message."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.commands import (
    MAX_TARGETS,
    Command,
    Defaults,
    InvalidCommand,
    Known,
    StopTargets,
    StopTask,
    known_of,
    read_command,
)
from shared.outcomes import Tally, to_rfc3339
from tests.fakes import NOW, defaults
from tests.strategies import commands

if TYPE_CHECKING:
    from hypothesis.strategies import DataObject

TASK = {"command": "stop_task", "task_id": "2b31"}
TARGETS = {"command": "stop_targets", "task_id": "5f1a", "targets": ["d1", "d2"]}
ALL = {"command": "stop_targets", "task_id": "5f1a", "all_targets": True}


def read(payload: object, *, instance_id: str | None = None, hours: float = 1, sent_at: datetime = NOW) -> Command:
    """Read it as it would come: through JSON."""
    come = json.loads(json.dumps(payload))
    return read_command(
        come,
        defaults=Defaults(
            command_id="m-0",
            requested_at=sent_at,
            time_to_live=timedelta(hours=hours),
            project_id="project-1",
            instance_id=instance_id,
            confirm=False,
        ),
    )


def refusal(payload: object) -> InvalidCommand:
    with pytest.raises(InvalidCommand) as invalid:
        read(payload)
    # Whatever is said of it must be printable as UTF-8, or no outcome could tell of it.
    assert all((error.loc + error.msg).encode() for error in invalid.value.errors)
    return invalid.value


# --- what is taken


def test_what_is_left_out_means_the_defaults() -> None:
    command = read(TARGETS, instance_id="instance-1")
    assert isinstance(command, StopTargets)
    assert (command.command_id, command.project_id, command.instance_id) == ("m-0", "project-1", "instance-1")
    assert (command.requested_at, command.expires_at) == (NOW, NOW + timedelta(hours=1))
    assert (command.dry_run, command.confirm, command.attempt, command.awaiting) == (False, False, 1, ())
    assert (command.requested_by, command.reason, command.tally) == (None, None, Tally())


def test_what_is_given_wins_over_the_defaults() -> None:
    command = read({**TARGETS, "project_id": "p", "instance_id": "i", "command_id": "c"}, instance_id="instance-1")
    assert isinstance(command, StopTargets)
    assert (command.command_id, command.project_id, command.instance_id) == ("c", "p", "i")


def test_time_to_live_counts_from_when_it_was_requested() -> None:
    command = read({**TASK, "requested_at": "2026-11-23T00:00:00Z"}, hours=2)
    assert command.expires_at == datetime(2026, 11, 23, 2, tzinfo=UTC)


def test_targets_are_folded_and_keep_their_order() -> None:
    assert read({**TARGETS, "targets": ["d2", "d1", "d2", "d3", "d1"]}).asked == ("d2", "d1", "d3")


@pytest.mark.parametrize(
    ("base", "field", "value"),
    [
        (TASK, "command_id", "aZ09._:-"),
        (TASK, "command_id", "c" * 64),
        (TASK, "task_id", "aZ09_-"),
        (TASK, "task_id", "t" * 32),
        (TARGETS, "task_id", "0123456789abcdef01234567"),
        (TARGETS, "targets", ["aZ09_.:-", "d" * 256]),
        (TARGETS, "project_id", "aZ09_-" + "p" * 58),
        (TARGETS, "instance_id", "i" * 36),
        (TASK, "requested_by", "☂" * 128),
        (TASK, "reason", "\0☂" * 256),
        (TASK, "requested_by", ""),
        (TASK, "attempt", 15),
    ],
)
def test_the_widest_value_of_each_field_is_taken(base: dict[str, Any], field: str, value: Any) -> None:
    taken = getattr(read({**base, field: value}), field)
    assert (list(taken) if isinstance(value, list) else taken) == value


def test_a_hundred_thousand_targets_are_taken() -> None:
    assert len(read({**TARGETS, "targets": [f"d{n}" for n in range(MAX_TARGETS)]}).asked) == 100_000


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-11-23T08:49:05Z", datetime(2026, 11, 23, 8, 49, 5, tzinfo=UTC)),
        ("2026-11-23t08:49:05z", datetime(2026, 11, 23, 8, 49, 5, tzinfo=UTC)),
        ("2026-11-23T08:49:05.123456789+08:00", datetime(2026, 11, 23, 0, 49, 5, 123456, tzinfo=UTC)),
        ("2026-11-23T08:49:05-00:00", datetime(2026, 11, 23, 8, 49, 5, tzinfo=UTC)),
        ("2024-02-29T23:59:59+23:59", datetime(2024, 2, 29, 0, 0, 59, tzinfo=UTC)),
        ("1970-01-01T00:00:00Z", datetime(1970, 1, 1, tzinfo=UTC)),
        ("8999-12-31T23:59:59Z", datetime(8999, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_an_instant_is_rfc_3339_with_its_zone(text: str, instant: datetime) -> None:
    assert read({**TASK, "requested_at": text}, sent_at=instant).requested_at == instant
    assert read({**TASK, "expires_at": text}).expires_at == instant


# --- what is refused

CHECK_ID = "is not allowed: allowed are 1 to 32 of A-Z a-z 0-9 _ -"
BATCH_ID = "is not allowed: allowed are 1 to 24 of a-f 0-9"
COMMAND_ID = "is not allowed: allowed are 1 to 64 of A-Z a-z 0-9 . _ : -"
DEVICE_ID = "is not allowed: allowed are 1 to 256 of A-Z a-z 0-9 _ . : -"
PROJECT_ID = "is not allowed: allowed are 1 to 64 of A-Z a-z 0-9 _ -"
INSTANCE_ID = "is not allowed: allowed are 1 to 36 visible ASCII characters"
STRING = "should be a string"
BOOLEAN = "should be true or false"
LIST = "should be a list"
INTEGER = "should be a whole number"
NULL = "is not allowed here; leave the field out"
TIME = "should be an RFC 3339 time with its zone, e.g. 2026-11-23T08:49:05Z"
NO_TIME = "should be a time that exists"
NO_YEAR = "should lie in a year from 1970 to 8999"
ONE_OF = "exactly one of targets and all_targets should be given"
KIND = "should be stop_task or stop_targets"
NO_FIELD = "is no field of stop_task"
SURROGATE = "should be Unicode, without half of a surrogate pair"
CONFIRM = {**TARGETS, "confirm": True}
NO_BOOLEANS: list[object] = [None, 1, 0, "true", "", []]

BAD: list[tuple[object, str, str]] = [
    # The message itself.
    (None, "", "should be a JSON object"),
    ([TASK], "", "should be a JSON object"),
    ("stop_task", "", "should be a JSON object"),
    (1, "", "should be a JSON object"),
    (True, "", "should be a JSON object"),
    # command
    ({}, "command", f"is missing; {KIND}"),
    ({**TASK, "command": None}, "command", KIND),
    ({**TASK, "command": "stop"}, "command", KIND),
    ({**TASK, "command": "STOP_TASK"}, "command", KIND),
    ({**TASK, "command": ["stop_task"]}, "command", KIND),
    ({**TASK, "command": {"stop_task": 1}}, "command", KIND),
    # Nothing unknown, and nothing of the other kind.
    ({**TASK, "target": "d1"}, "target", NO_FIELD),
    ({**TASK, "targets": ["d1"]}, "targets", NO_FIELD),
    ({**TASK, "project_id": "p"}, "project_id", NO_FIELD),
    ({**TASK, "Task_id": "2b31"}, "Task_id", f"{NO_FIELD}; did you mean task_id?"),
    ({**TASK, "": 1}, "", NO_FIELD),
    ({**TASK, "\ud800": 1}, r"\ud800", NO_FIELD),
    ({**TASK, "x" * 9_000: 1}, "x" * 127 + "…", NO_FIELD),
    # command_id
    ({**TASK, "command_id": ""}, "command_id", COMMAND_ID),
    ({**TASK, "command_id": "c" * 65}, "command_id", COMMAND_ID),
    ({**TASK, "command_id": "c 1"}, "command_id", COMMAND_ID),
    ({**TASK, "command_id": "c-1\n"}, "command_id", COMMAND_ID),
    ({**TASK, "command_id": None}, "command_id", STRING),
    ({**TASK, "command_id": 1}, "command_id", STRING),
    # task_id
    ({"command": "stop_task"}, "task_id", "is missing"),
    ({**TASK, "task_id": None}, "task_id", STRING),
    ({**TASK, "task_id": 12}, "task_id", STRING),
    ({**TASK, "task_id": ["2b31"]}, "task_id", STRING),
    ({**TASK, "task_id": ""}, "task_id", CHECK_ID),
    ({**TASK, "task_id": "t" * 33}, "task_id", CHECK_ID),
    ({**TASK, "task_id": "2b31\n"}, "task_id", CHECK_ID),
    ({**TASK, "task_id": "\n2b31"}, "task_id", CHECK_ID),
    ({**TASK, "task_id": "../stop"}, "task_id", CHECK_ID),
    ({**TASK, "task_id": "a%2Fb"}, "task_id", CHECK_ID),
    ({**TASK, "task_id": "2b3\u0661"}, "task_id", CHECK_ID),
    ({**TASK, "task_id": "ä"}, "task_id", CHECK_ID),
    ({**TASK, "task_id": "\ud800"}, "task_id", SURROGATE),
    ({**TARGETS, "task_id": "5f1g"}, "task_id", BATCH_ID),
    ({**TARGETS, "task_id": "5F1A"}, "task_id", BATCH_ID),
    ({**TARGETS, "task_id": "5f1a\n"}, "task_id", BATCH_ID),
    ({**TARGETS, "task_id": "a" * 25}, "task_id", BATCH_ID),
    # Nothing may slide into "stop everything".
    ({"command": "stop_targets", "task_id": "5f1a"}, "targets", ONE_OF),
    ({**TARGETS, "all_targets": True}, "targets", ONE_OF),
    ({**TARGETS, "targets": None}, "targets", NULL),
    ({**ALL, "targets": None}, "targets", NULL),
    ({**TARGETS, "targets": []}, "targets", "should have 1 or more items"),
    ({**ALL, "targets": []}, "targets", "should have 1 or more items"),
    ({**ALL, "all_targets": False}, "all_targets", "should be true, or left out"),
    ({**TARGETS, "all_targets": False}, "all_targets", "should be true, or left out"),
    ({**ALL, "all_targets": None}, "all_targets", NULL),
    ({**TARGETS, "all_targets": None}, "all_targets", NULL),
    ({**ALL, "all_targets": 1}, "all_targets", BOOLEAN),
    ({**ALL, "all_targets": "true"}, "all_targets", BOOLEAN),
    # targets
    ({**TARGETS, "targets": "d1"}, "targets", LIST),
    ({**TARGETS, "targets": {"d1": True}}, "targets", LIST),
    ({**TARGETS, "targets": ["d1", 2]}, "targets[1]", STRING),
    ({**TARGETS, "targets": ["d1", None]}, "targets[1]", STRING),
    ({**TARGETS, "targets": [["d1"]]}, "targets[0]", STRING),
    ({**TARGETS, "targets": [""]}, "targets[0]", DEVICE_ID),
    ({**TARGETS, "targets": ["*"]}, "targets[0]", DEVICE_ID),
    ({**TARGETS, "targets": ["d1\n"]}, "targets[0]", DEVICE_ID),
    ({**TARGETS, "targets": ["d/1"]}, "targets[0]", DEVICE_ID),
    ({**TARGETS, "targets": ["d" * 257]}, "targets[0]", DEVICE_ID),
    ({**TARGETS, "targets": ["\udfff"]}, "targets[0]", SURROGATE),
    (
        {**TARGETS, "targets": ["d"] * 100_001},
        "targets",
        "has 100001 items, at most 100000 are allowed",
    ),
    # project_id, instance_id
    ({**TARGETS, "project_id": None}, "project_id", STRING),
    ({**TARGETS, "project_id": ""}, "project_id", PROJECT_ID),
    ({**TARGETS, "project_id": "a/b"}, "project_id", PROJECT_ID),
    ({**TARGETS, "project_id": "p\n"}, "project_id", PROJECT_ID),
    ({**TARGETS, "instance_id": None}, "instance_id", NULL),
    ({**TARGETS, "instance_id": ""}, "instance_id", INSTANCE_ID),
    ({**TARGETS, "instance_id": "a\r\nX-Evil: 1"}, "instance_id", INSTANCE_ID),
    ({**TARGETS, "instance_id": "i" * 37}, "instance_id", INSTANCE_ID),
    # requested_at, expires_at
    ({**TASK, "requested_at": None}, "requested_at", TIME),
    ({**TASK, "expires_at": None}, "expires_at", TIME),
    *(
        ({**TASK, field: value}, field, TIME)
        for field in ("requested_at", "expires_at")
        for value in (
            0,
            1763887745,
            "",
            "now",
            "2026-11-23",
            "2026-11-23T08:49:05",
            "2026-11-23 08:49:05Z",
            "2026-11-23T08:49Z",
            "2026-11-23T08:49:05Z\n",
            "2026-11-23T08:49:05.Z",
            "2026-11-23T08:49:05.1234567890Z",
            "2026-11-23T08:49:05+0800",
            "\u0662\u0660\u0662\u0666-11-23T08:49:05Z",
            "2026-W48-1T08:49:05Z",
            "+12026-11-23T08:49:05Z",
        )
    ),
    ({**TASK, "expires_at": "2026-02-30T00:00:00Z"}, "expires_at", NO_TIME),
    ({**TASK, "expires_at": "2026-11-23T25:00:00Z"}, "expires_at", NO_TIME),
    ({**TASK, "expires_at": "2016-12-31T23:59:60Z"}, "expires_at", NO_TIME),
    ({**TASK, "expires_at": "2026-11-23T08:49:05+24:00"}, "expires_at", NO_TIME),
    ({**TASK, "expires_at": "0000-01-01T00:00:00Z"}, "expires_at", NO_TIME),
    ({**TASK, "expires_at": "1969-12-31T23:59:59Z"}, "expires_at", NO_YEAR),
    ({**TASK, "expires_at": "0001-01-01T00:00:00+23:59"}, "expires_at", "should be a time that exists"),
    ({**TASK, "expires_at": "8999-12-31T23:59:59-10:00"}, "expires_at", NO_YEAR),
    ({**TASK, "requested_at": "1970-01-01T00:00:00+14:00"}, "requested_at", NO_YEAR),
    ({**TASK, "requested_at": "9999-12-31T23:59:59Z"}, "requested_at", NO_YEAR),
    # requested_by, reason
    ({**TASK, "requested_by": None}, "requested_by", NULL),
    ({**TASK, "requested_by": "a" * 129}, "requested_by", "should have at most 128 characters"),
    ({**TASK, "requested_by": "\ud800"}, "requested_by", SURROGATE),
    ({**TASK, "requested_by": {"name": "ci"}}, "requested_by", STRING),
    ({**TASK, "reason": None}, "reason", NULL),
    ({**TASK, "reason": "a" * 513}, "reason", "should have at most 512 characters"),
    ({**TASK, "reason": "\udc00"}, "reason", SURROGATE),
    # dry_run, confirm
    *(({**TASK, "dry_run": value}, "dry_run", BOOLEAN) for value in NO_BOOLEANS),
    *(({**TASK, "confirm": value}, "confirm", BOOLEAN) for value in NO_BOOLEANS),
    # attempt, tally, awaiting
    ({**TASK, "attempt": None}, "attempt", INTEGER),
    ({**TASK, "attempt": True}, "attempt", INTEGER),
    ({**TASK, "attempt": 1.0}, "attempt", INTEGER),
    ({**TASK, "attempt": "2"}, "attempt", INTEGER),
    ({**TASK, "attempt": 0}, "attempt", "should be at least 1"),
    ({**TASK, "attempt": 10**4000}, "attempt", "should be at most 1000000"),
    ({**TASK, "tally": None}, "tally", "should be an object"),
    ({**TASK, "tally": {"stopped": -1}}, "tally.stopped", "should be at least 0"),
    ({**TASK, "tally": {"stopped": None}}, "tally.stopped", INTEGER),
    ({**TASK, "tally": {"killed": 1}}, "tally.killed", "is no field of tally"),
    ({**TARGETS, "awaiting": ["d1"]}, "awaiting", "is allowed only with confirm"),
    ({**CONFIRM, "awaiting": ["d9"]}, "awaiting", "should name only targets of the command"),
    ({**CONFIRM, "awaiting": ["d1", "*"]}, "awaiting", "should name only targets of the command"),
    ({**CONFIRM, "awaiting": None}, "awaiting", LIST),
    ({**CONFIRM, "awaiting": "d1"}, "awaiting", LIST),
    ({**CONFIRM, "awaiting": [1]}, "awaiting[0]", STRING),
    ({**ALL, "confirm": True, "awaiting": ["d1"]}, "awaiting", "should name only targets of the command"),
    ({**TASK, "confirm": True, "awaiting": ["another"]}, "awaiting", "should name only targets of the command"),
]


def label(value: object) -> str:
    return ascii(value)[:60]


@pytest.mark.parametrize(("payload", "loc", "msg"), BAD, ids=label)
def test_a_bad_message_is_refused_with_the_field_and_the_reason(payload: object, loc: str, msg: str) -> None:
    (error,) = refusal(payload).errors
    assert (error.loc, error.reason) == (loc, msg)
    assert error.msg == f"{error.value} {msg}".lstrip()


@pytest.mark.parametrize("field", sorted(StopTargets.model_fields))
def test_null_is_no_value_of_any_field(field: str) -> None:
    assert field in {error.loc for error in refusal({**TARGETS, field: None}).errors}


def test_every_field_that_is_wrong_is_named_but_not_a_hundred_of_them() -> None:
    wrong = {**TARGETS, "task_id": "x", "project_id": "/", "dry_run": 1}
    assert {error.loc for error in refusal(wrong).errors} == {"task_id", "project_id", "dry_run"}
    many = refusal({**TASK, **{f"field-{n}": n for n in range(100)}})
    assert len(many.errors) == 21
    assert many.errors[-1].msg == "and 80 more errors"


def test_what_could_be_read_of_a_bad_message_is_told() -> None:
    known = refusal(
        {**TARGETS, "command_id": "c-1", "reason": "r", "requested_by": 1, "attempt": 3, "dry_run": 1}
    ).known
    assert known == Known("c-1", "stop_targets", "5f1a", "project-1", None, NOW, None, "r", 3)
    nothing = refusal({"command": "stop", "command_id": "c-1", "task_id": "5f1a"}).known
    assert nothing == Known(command_id="c-1")
    assert refusal({"command": "stop", "command_id": "c 1"}).known == Known(command_id="m-0")


def test_what_is_forbidden_but_understood_is_known_in_full() -> None:
    assert known_of(read(ALL)) == Known("m-0", "stop_targets", "5f1a", "project-1", None, NOW, None, None, 1)
    assert known_of(read(TASK)) == Known("m-0", "stop_task", "2b31", None, None, NOW, None, None, 1)
    begun = read({**CONFIRM, "attempt": 3, "tally": {"stopped": 2}})
    assert known_of(begun) == Known(
        "m-0", "stop_targets", "5f1a", "project-1", None, NOW, None, None, 3, confirm=True, tally=Tally(stopped=2)
    )


@pytest.mark.parametrize("wrong", [{"targets": []}, {"command": "stop_all"}, {"confirm": 1}, {"task_id": None}])
def test_the_tally_of_a_remainder_that_is_refused_is_kept_if_it_can_be_read(wrong: dict[str, Any]) -> None:
    remainder = {**TARGETS, "attempt": 2, "tally": {"stopped": 2, "not_found": 1}}
    assert refusal(remainder | wrong).known.tally == Tally(stopped=2, not_found=1)
    assert refusal(remainder | wrong | {"tally": {"stopped": "2"}}).known.tally == Tally()


# --- when it was requested


@pytest.mark.parametrize("ahead", [timedelta(minutes=5, milliseconds=1), timedelta(hours=4), timedelta(days=1500)])
@pytest.mark.parametrize("base", [TASK, TARGETS, ALL], ids=str)
def test_a_command_that_says_it_was_requested_after_it_was_sent_is_refused_with_both_times(
    base: dict[str, Any], ahead: timedelta
) -> None:
    said = to_rfc3339(NOW + ahead)
    invalid = refusal({**base, "requested_at": said, "expires_at": "8999-01-01T00:00:00Z", "tally": {"stopped": 1}})
    (error,) = invalid.errors
    assert error.loc == "requested_at"
    assert said in error.msg
    assert to_rfc3339(NOW) in error.msg
    assert (invalid.known.task_id, invalid.known.requested_at) == (base["task_id"], NOW + ahead)
    assert invalid.known.tally.stopped == 1


@pytest.mark.parametrize("ahead", [timedelta(minutes=5), timedelta(), -timedelta(days=365)])
def test_clocks_may_differ_by_five_minutes_and_a_command_may_be_old(ahead: timedelta) -> None:
    assert read({**TASK, "requested_at": to_rfc3339(NOW + ahead)}).requested_at == NOW + ahead


# --- where it is carried out


PLACES: list[str | None] = [None, "instance-1", "instance-2"]


@pytest.mark.parametrize("attempt", [1, 2])
@pytest.mark.parametrize("before", PLACES)
@pytest.mark.parametrize("after", PLACES)
def test_a_remainder_is_carried_out_where_its_command_was_whatever_is_configured_by_then(
    attempt: int, before: str | None, after: str | None
) -> None:
    command = read(TARGETS, instance_id=before)
    remainder = json.loads(command.left(to_stop=("d1",), awaiting=(), attempt=attempt, tally=Tally()).to_message())
    moved = defaults()._replace(project_id="project-2", instance_id=after)
    again = read_command(remainder, defaults=moved)
    assert isinstance(again, StopTargets)
    assert (again.project_id, again.instance_id) == ("project-1", before)
    with pytest.raises(InvalidCommand) as invalid:
        read_command(remainder | {"targets": []}, defaults=moved)
    assert (invalid.value.known.project_id, invalid.value.known.instance_id) == ("project-1", before)


@pytest.mark.parametrize("more", [{}, {"project_id": "project-1"}, {"attempt": 1}])
def test_the_configured_instance_is_that_of_every_command_which_the_service_did_not_write(more: dict[str, Any]) -> None:
    command = read(TARGETS | more, instance_id="instance-1")
    assert isinstance(command, StopTargets)
    assert command.instance_id == "instance-1"


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)


@given(st.sampled_from([TASK, TARGETS, ALL]), st.dictionaries(st.sampled_from(sorted(StopTargets.model_fields)), _JSON))
def test_no_message_raises_anything_else(base: dict[str, Any], changed: dict[str, Any]) -> None:
    with suppress(InvalidCommand):
        command = read_command({**base, **changed}, defaults=defaults())
        assert read(json.loads(command.to_message())).asked == command.asked


# --- there and back


@given(commands())
def test_a_command_comes_back_from_its_message_as_it_was(command: Command) -> None:
    assert read(json.loads(command.to_message())) == command


@given(commands(), st.data())
def test_a_remainder_comes_back_from_its_message_as_it_was(command: Command, data: DataObject) -> None:
    unfinished = data.draw(st.lists(st.sampled_from(command.asked), unique=True, min_size=1, max_size=20))
    awaiting = tuple(unfinished[: data.draw(st.integers(0, len(unfinished)))]) if command.confirm else ()
    to_stop = tuple(target for target in unfinished if target not in awaiting)
    left = command.left(to_stop=to_stop, awaiting=awaiting, attempt=command.attempt + 1, tally=Tally(stopped=3))
    assert read(json.loads(left.to_message())) == left
    assert set(left.asked) == set(unfinished)
    assert set(left.awaiting) == set(awaiting)
    assert (left.attempt, left.tally) == (command.attempt + 1, Tally(stopped=3))


@given(st.datetimes(datetime(1970, 1, 1), datetime(8999, 12, 31, 23, 59)), st.floats(0.001, 8760))  # noqa: DTZ001
def test_any_moment_survives_the_message(moment: datetime, hours: float) -> None:
    """Also one so late that its time to live would end in a year that is refused."""
    sent_at = moment.replace(tzinfo=UTC)
    command = read({**TASK, "requested_at": to_rfc3339(sent_at)}, hours=hours, sent_at=sent_at)
    again = read(json.loads(command.to_message()), sent_at=sent_at)
    assert again.requested_at == command.requested_at
    assert command.expires_at - again.expires_at < timedelta(milliseconds=1)


def test_of_listed_targets_a_remainder_of_all_asks_by_name() -> None:
    command = read(ALL)
    left = command.left(to_stop=("d1",), awaiting=(), attempt=2, tally=Tally())
    assert (left.asked, "all_targets" in left.to_message()) == (("d1",), False)
    assert command.left(to_stop=("*", "d1"), awaiting=(), attempt=2, tally=Tally()).asked == ("*",)


@pytest.mark.parametrize("payload", [TASK, TARGETS, ALL])
def test_nothing_left_is_no_remainder(payload: object) -> None:
    with pytest.raises(ValueError, match="nothing is left"):
        read(payload).left(to_stop=(), awaiting=(), attempt=2, tally=Tally())


def test_a_command_expires_at_the_moment_named_and_not_before() -> None:
    command = read({**TASK, "expires_at": "2026-11-23T09:00:00Z"})
    moment = datetime(2026, 11, 23, 9, tzinfo=UTC)
    assert not command.has_expired(moment - timedelta(microseconds=1))
    assert command.has_expired(moment)


def test_a_command_cannot_be_changed() -> None:
    command = read(TASK)
    assert isinstance(command, StopTask)
    with pytest.raises(ValueError, match="frozen"):
        command.task_id = "another"  # type: ignore[misc]


def test_a_message_is_written_in_characters_that_sqs_takes() -> None:
    reason = "\uffff \ufffe \\\uffff \x01 \x7f \n ☂ 🛑"
    command = read_command({**TASK, "reason": reason}, defaults=defaults())
    assert re.fullmatch("[\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]*", command.to_message())
    assert read_command(json.loads(command.to_message()), defaults=defaults()).reason == reason


@pytest.mark.parametrize("character", ["a", "ж", "任", "🔥", "\x7f"])
def test_a_message_is_as_long_as_what_a_sender_wrote(character: str) -> None:
    command = read_command({**TASK, "reason": character * 512}, defaults=defaults())
    bare = read_command({**TASK, "reason": ""}, defaults=defaults())
    assert len(command.to_message().encode()) == len(bare.to_message().encode()) + 512 * len(character.encode())


@pytest.mark.parametrize(("said", "taken"), [({}, True), ({"confirm": False}, False), ({"confirm": True}, True)])
def test_a_deployment_may_confirm_what_does_not_say_otherwise(said: dict[str, bool], taken: bool) -> None:  # noqa: FBT001 - a table
    command = read_command({"command": "stop_task", "task_id": "t"} | said, defaults=defaults()._replace(confirm=True))
    assert command.confirm is taken


@pytest.mark.parametrize("by_default", [False, True])
@pytest.mark.parametrize("said", [False, True])
def test_a_remainder_says_whether_to_confirm_so_that_no_default_can_change_it(said: bool, by_default: bool) -> None:  # noqa: FBT001 - a table
    command = read({"command": "stop_task", "task_id": "t", "confirm": said})
    remainder = command.left(to_stop=("t",), awaiting=(), attempt=2, tally=command.tally)
    again = read_command(json.loads(remainder.to_message()), defaults=defaults()._replace(confirm=by_default))
    assert again.confirm is said

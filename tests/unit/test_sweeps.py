"""What is a sweep and what is none: each field, each default, and what an error says."""

from __future__ import annotations

import unicodedata
from datetime import timedelta
from typing import Any

import pytest

from shared.errors import SweepRejected
from shared.sweeps import Sweep, SweepBatchTasks, SweepCheckTasks, read_sweep

CHECKS = {"sweep": "check_tasks", "project_id": "c0de", "older_than": "PT2H"}
BATCHES = {"sweep": "batch_tasks", "older_than": "P1D"}


def read(payload: object, *, instance_id: str | None = None) -> Sweep:
    return read_sweep(payload, project_id="iam-project", instance_id=instance_id)


def test_what_a_sweep_of_checks_leaves_out() -> None:
    sweep = read(CHECKS)
    assert isinstance(sweep, SweepCheckTasks)
    assert (sweep.project_id, sweep.older_than) == ("c0de", timedelta(hours=2))
    assert (sweep.dry_run, sweep.limit, sweep.protect) == (True, 50, ())


def test_what_a_sweep_of_batch_tasks_leaves_out() -> None:
    sweep = read(BATCHES, instance_id="i-1")
    assert isinstance(sweep, SweepBatchTasks)
    assert (sweep.project_id, sweep.instance_id) == ("iam-project", "i-1")
    assert sweep.task_types == ("firmwareUpgrade", "softwareUpgrade")
    assert (sweep.dry_run, sweep.limit, sweep.protect) == (True, 50, ())


def test_what_is_given_is_taken() -> None:
    given = {
        "project_id": "p",
        "instance_id": "i-2",
        "task_types": ["firmwareUpgrade"],
        "limit": 7,
        "dry_run": False,
        "protect": ["release-*"],
    }
    sweep = read(BATCHES | given, instance_id="i-1")
    assert isinstance(sweep, SweepBatchTasks)
    assert (sweep.project_id, sweep.instance_id, sweep.limit, sweep.dry_run) == ("p", "i-2", 7, False)
    assert (sweep.task_types, sweep.protect) == (("firmwareUpgrade",), ("release-*",))


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("PT1M", timedelta(minutes=1)),
        ("PT90S", timedelta(seconds=90)),
        ("PT2H", timedelta(hours=2)),
        ("P1D", timedelta(days=1)),
        ("P1DT2H30M15S", timedelta(days=1, hours=2, minutes=30, seconds=15)),
        ("P2W", timedelta(weeks=2)),
        ("P3650D", timedelta(days=3650)),
    ],
)
def test_durations_are_iso_8601(text: str, duration: timedelta) -> None:
    assert read(CHECKS | {"older_than": text}).older_than == duration


BLANKS = [each for each in map(chr, range(0x1_0000)) if each.isspace()] + ["\u200b", "\u2060", "\ufeff"]

UNSEEN = [
    *BLANKS,
    *"\x00\x7f\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200d\u202e\u2065\u2800\u3164\uffa0\ufff0",
]
"""What a pattern may not begin or end with, since nobody sees it."""

QUOTES = [each for each in map(chr, range(0x1_0000)) if unicodedata.category(each) in {"Pi", "Pf"} and each < "\u2e00"]
QUOTES += [each for each in map(chr, range(0x1_0000)) if "QUOTATION MARK" in unicodedata.name(each, "")]
QUOTES += [*"\"'`\xb4\u2032\u2033\u300c\u300d\u300e\u300f\uff07\uff40\uff62\uff63"]

BAD: list[tuple[dict[str, Any], str]] = [
    *(
        ({"older_than": text}, "older_than: .* should be an ISO 8601 duration")
        for text in ("", "P", "PT", "P1", "2H", "PT2h", "P1M", "P1Y", "P1DT", "PT1.5H", "-PT2H", "P1W2D", "PT٢H", 7200)
    ),
    *(
        ({"older_than": text}, 'older_than: ".*" should be from PT1M to P3650D$')
        for text in ("PT0S", "PT59S", "P3651D")
    ),
    ({"older_than": None}, "older_than: "),
    ({"project_id": ""}, "project_id: "),
    ({"project_id": "a/b"}, "project_id: "),
    ({"project_id": "c0de\n"}, "project_id: "),
    ({"project_id": None}, "project_id: "),
    ({"project_id": "iam-project"}, 'project_id: "iam-project" is the IAM project'),
    ({"limit": 0}, "limit: "),
    ({"limit": 1001}, "limit: "),
    ({"limit": "50"}, "limit: "),
    ({"limit": True}, "limit: "),
    ({"dry_run": "false"}, "dry_run: "),
    ({"dry_run": 0}, "dry_run: "),
    ({"dry_run": None}, "dry_run: "),
    ({"protect": "release-*"}, "protect: "),
    ({"protect": [""]}, r"protect\[0\]: "),
    ({"protect": ["x"] * 101}, "protect: "),
    ({"protect": ["x" * 257]}, r"protect\[0\]: "),
    *(
        ({"protect": ["x", pattern]}, r'protect\[1\]: ".+" should not begin or end with a blank')
        for blank in UNSEEN
        for pattern in (blank, f"release-*{blank}", f"{blank}release-*", f"a{blank}b{blank}")
    ),
    *(
        ({"protect": ["x", pattern]}, r"protect\[1\]: .+ should not begin or end with a quote; use \? for")
        for quote in QUOTES
        for pattern in (quote, f"release-*{quote}", f"{quote}release-*", f"{quote}b{quote}")
    ),
    *(
        ({"protect": ["x", pattern]}, r"protect\[1\]: .+ should not contain a backslash; use \? for")
        for pattern in ("\\", "a\\", "\\[prod] *", "release\\*", "a\n\\\nb")
    ),
    ({"sweep": "check_task"}, 'sweep: "check_task" should be check_tasks or batch_tasks$'),
    ({"sweep": None}, "sweep: null should be check_tasks or batch_tasks"),
    ({"task_types": ["firmwareUpgrade"]}, "task_types: "),
    ({"instance_id": "i-1"}, "instance_id: "),
    ({"older": "PT2H"}, "older: "),
]


@pytest.mark.parametrize(("changed", "reason"), BAD, ids=[str(changed) for changed, _ in BAD])
def test_what_is_no_sweep_is_rejected_and_the_field_named(changed: dict[str, Any], reason: str) -> None:
    with pytest.raises(SweepRejected, match=f"^{reason}"):
        read(CHECKS | changed)


@pytest.mark.parametrize(
    "changed",
    [{"task_types": []}, {"task_types": ["createDevices"]}, {"task_types": None}, {"instance_id": None}],
    ids=str,
)
def test_a_sweep_of_batch_tasks_takes_the_types_that_can_be_stopped(changed: dict[str, Any]) -> None:
    with pytest.raises(SweepRejected, match=next(iter(changed))):
        read(BATCHES | changed)


def test_a_pattern_that_is_refused_is_shown_with_what_nobody_sees() -> None:
    with pytest.raises(SweepRejected) as refused:
        read(CHECKS | {"protect": ["release-*\u200b"]})
    shown = r'protect[0]: "release-*\u200b" should not begin or end with a blank or an invisible character'
    assert str(refused.value) == shown
    with pytest.raises(SweepRejected) as refused:
        read(CHECKS | {"protect": ["'release-*'"]})
    assert str(refused.value).startswith(
        """protect[0]: "'release-*'" should not begin or end with a quote; use ? for"""
    )


@pytest.mark.parametrize(
    "pattern",
    [
        *("a b", "a\xa0b", "a\u200bb", "a\nb", "a\n\nb", "a\u200db", "[ ]", "-", "\U0001f600"),
        *("Bob's", 'the "new" one', "rock \u2018n\u2019 roll", "?new?", "\u26a0\ufe0f", "a,b;c", "\u845b\U000e0100"),
    ],
    ids=ascii,
)
def test_what_is_within_a_pattern_is_a_part_of_the_name(pattern: str) -> None:
    assert read(CHECKS | {"protect": [pattern]}).protect == (pattern,)


@pytest.mark.parametrize("payload", [None, [], "sweep", 1, [CHECKS]])
def test_a_sweep_is_a_json_object(payload: object) -> None:
    with pytest.raises(SweepRejected, match="should be a JSON object"):
        read(payload)


@pytest.mark.parametrize("name", ["older_than", "project_id"])
def test_a_sweep_of_checks_without_a_required_field_is_rejected(name: str) -> None:
    with pytest.raises(SweepRejected, match=f"{name}: is missing$"):
        read({key: value for key, value in CHECKS.items() if key != name})


def test_every_wrong_field_is_named_at_once() -> None:
    with pytest.raises(SweepRejected, match=r"older_than: .*; limit: .*; surprise: "):
        read(CHECKS | {"older_than": "1h", "limit": 0, "surprise": 1})

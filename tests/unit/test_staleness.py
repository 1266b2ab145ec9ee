"""Which tasks are stale: the edges of an age, patterns, and times that can be read in two ways."""

from __future__ import annotations

import time
import unicodedata
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from itertools import product
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.staleness import Age, RunningTask, choose_stale, read_huawei_time
from tests.fakes import NOW

HOUR = timedelta(hours=1)


# One of each kind: format, controls, joiner, fillers, vowels, variation selectors, and reserved places.
UNSEEN = (
    *"\xad\u200b\u2060\u202e\ufeff\x07\x7f\x9f\u034f\u115f\u1160\u3164\uffa0\u17b4\u17b5\u180b\u180f\u2065\ufff0",
    *"\ufe00\ufe0f\U000e0001\U000e0100\U000e01ef\U0001d173",
)
DASHES = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u207b\ufe58\ufe63\uff0d"


def task(
    name: str | None = "nightly", *, hours: float | None = 1.0, task_id: str = "t-1", evidence: str = "job"
) -> RunningTask:
    age = None if hours is None else Age(NOW - timedelta(hours=hours), evidence)
    return RunningTask(task_id, name, age)


def chosen(*tasks: RunningTask, protect: tuple[str, ...] = ()) -> tuple[list[str], list[str], list[str]]:
    choice = choose_stale(tasks, now=NOW, older_than=HOUR, protect=protect)
    assert all(age == each.age for each, age in choice.stale)
    return (
        [each.task_id for each, _ in choice.stale],
        [each.task_id for each in choice.protected],
        [each.task_id for each in choice.unknown_age],
    )


def test_a_task_is_stale_from_the_very_moment_that_it_is_old_enough() -> None:
    assert chosen(task(hours=1.0)) == (["t-1"], [], [])
    just_before = RunningTask("t-1", None, Age(NOW - HOUR + timedelta(microseconds=1), "job"))
    assert chosen(just_before) == ([], [], [])


def test_a_task_whose_run_lies_ahead_is_young() -> None:
    assert chosen(task(hours=-5)) == ([], [], [])


def test_a_task_without_an_age_is_left_alone_and_told() -> None:
    assert chosen(task(hours=None)) == ([], [], ["t-1"])


@pytest.mark.parametrize(
    ("pattern", "is_saved"),
    [
        ("nightly", True),
        ("night*", True),
        ("nightl?", True),
        ("[mn]ightly", True),
        ("t-1", True),
        ("t-*", True),
        ("Nightly", False),
        ("night", False),
        ("release-*", False),
    ],
)
def test_a_pattern_on_name_or_id_wins_over_everything(pattern: str, is_saved: bool) -> None:  # noqa: FBT001 - a table
    assert chosen(task(), protect=("x", pattern)) == (([], ["t-1"], []) if is_saved else (["t-1"], [], []))
    assert chosen(task(hours=None), protect=(pattern,)) == (([], ["t-1"], []) if is_saved else ([], [], ["t-1"]))


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        # Brackets are a part of the name.
        ("[prod] nightly", "[prod] nightly"),
        ("[prod] nightly", "[prod]*"),
        ("[prod] nightly", "*[prod]*"),
        ("p nightly", "[prod] nightly"),
        ("[!x]", "[!x]"),
        ("[z-a]", "[z-a]"),
        ("[a", "[a"),
        ("[[]", "[[]"),
        # One group is a class, and another is itself.
        ("[prod] nightly-3", "[prod] nightly-[0-9]*"),
        ("p nightly-[0-9]", "[prod] nightly-[0-9]"),
        ("[a] [b] c [d] e", "[a] [b] [bc] [d] [e]"),
        ("[ab", "[a[b]"),
        ("[x]3", "*[x]*[0-9]"),
        ("what?*", "what?*"),
        # Composed and decomposed.
        ("Caf\u00e9", "Cafe\u0301"),
        ("Cafe\u0301", "Caf\u00e9"),
        ("Cafe\u0301", "Cafe*"),
        ("Cafe\u0301 1", "Caf? ?"),
        ("Cafe\u0301 1", "Caf[\u00e9] *"),
        # What looks alike.
        ("release-1", "release-\uff0a"),
        ("\uff52elease-1", "release-*"),
        ("release\xa01", "release 1"),
        ("release\u30001", "release ?"),
        ("release-1", "rele\u200base-*"),
        ("\ufeffrelease-1", "release-*"),
        ("rel\xadease-1", "release-*"),
        ("\u26a0\ufe0f prod", "\u26a0 prod"),
        ("\u26a0 prod", "\u26a0\ufe0f*"),
        ("e\u200d\u0301", "\xe9"),
        # White space of the name.
        ("  release-1", "release-*"),
        ("nightly\n", "nightly"),
        ("night\nly", "night*y"),
        ("night\nly", "night?ly"),
        # What nobody sees, and what a question mark stands for all the same.
        ("\uff52elease\u034f1", "release?1"),
        ("\uff52elease  1", "release? 1"),
        *(("release-1", f"rel{each}ease-*") for each in UNSEEN),
        *((f"rel{each}ease-1", "release-*") for each in UNSEEN),
        *((f"{each}release-1", "release-*") for each in UNSEEN),
        ("\u845b\U000e0100\u98fe-1", "\u845b\u98fe-*"),
        # Dashes.
        *((f"release{dash}2", "release-2") for dash in DASHES),
        *(("release-2", f"release{dash}?") for dash in DASHES),
        ("release\u20132", "release\u20142"),
        # White space within.
        ("nightly  run", "nightly run"),
        ("nightly run", "nightly \t run"),
        ("nightly\u3000\n\xa0run", "nightly run"),
        ("nightly\u2800run", "nightly run"),
        ("nightly run", "nightly\u2800run\u2800"),
    ],
    ids=ascii,
)
def test_a_pattern_does_not_silently_protect_nothing(name: str, pattern: str) -> None:
    assert chosen(task(name), protect=(pattern,)) == ([], ["t-1"], [])


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("[prod] nightly", "[prod] nightl"),
        ("prod nightly", "[prod] nightly"),
        ("caf\u00e9", "Caf\u00e9"),
        ("Cafe", "Caf\u00e9"),
        ("nightly-1", "release-\uff0a"),
        ("release", "rele*ase-*"),
        ("[prod] nightly-x", "[prod] nightly-[0-9]*"),
        ("[prod] nightly-33", "[prod] nightly-[0-9]"),
        ("prod] nightly-3", "[prod] nightly-[0-9]"),
        ("nightlyrun", "nightly run"),
        ("release2", "release-2"),
        ("release_2", "release\u20132"),
        (None, "none"),
        ("", "?"),
    ],
    ids=ascii,
)
def test_a_pattern_protects_nothing_else(name: str | None, pattern: str) -> None:
    assert chosen(task(name), protect=(pattern,)) == (["t-1"], [], [])


NAMES = st.text(max_size=12) | st.text("ab[]!-*?e\u0301\xe9 \uff0a\u200d\ufe0f\n", max_size=8)


@given(name=NAMES.filter(bool), more=st.lists(NAMES, max_size=3), form=st.sampled_from(["", "NFC", "NFD"]))
def test_whatever_a_task_is_called_its_name_protects_it_and_no_other_pattern_takes_that_back(
    name: str, more: list[str], form: Literal["", "NFC", "NFD"]
) -> None:
    pattern = unicodedata.normalize(form, name) if form else name
    assert chosen(task(name), protect=(*more, pattern)) == ([], ["t-1"], [])


@given(name=NAMES.filter(bool))
def test_a_name_that_is_no_pattern_is_one_between_asterisks(name: str) -> None:
    assert chosen(task(name), protect=(f"*{name}*",)) == ([], ["t-1"], [])


@given(name=NAMES, patterns=st.lists(NAMES, max_size=3))
def test_what_a_plain_glob_matches_stays_protected(name: str, patterns: list[str]) -> None:
    if any(fnmatchcase(each, pattern) for each in (name, "t-1") for pattern in patterns):
        assert chosen(task(name), protect=tuple(patterns)) == ([], ["t-1"], [])


SPIKED = NAMES | st.text("a1-\u2013\u2212 \u3000\x07\u034f\u200b\U000e0100\uff41\u2800?*[]", max_size=8)


@given(name=SPIKED, pattern=SPIKED)
def test_what_was_protected_before_dashes_blanks_and_more_of_the_invisible_were_left_out_still_is(
    name: str, pattern: str
) -> None:
    def looks(text: str) -> set[str]:
        visible = "".join(c for c in text if unicodedata.category(c) != "Cf" and not "\ufe00" <= c <= "\ufe0f")
        return {text, unicodedata.normalize("NFKC", visible).strip()}

    globs = {glob for form in looks(pattern) for glob in (form, form.replace("[", "[[]"))}
    if any(fnmatchcase(form, glob) for form in looks(name) for glob in globs):
        assert chosen(task(name), protect=(pattern,)) == ([], ["t-1"], [])


PARTS = st.sampled_from(["[ab]", "[!a]", "[]x]", "[0-9]", "[a-]", "[z-a]", "a", "1", "-", "*", "?"])


@given(parts=st.lists(PARTS, max_size=6), name=st.text("ab1-[]!x09z", max_size=8))
def test_each_group_is_a_class_or_itself_whatever_the_others_are(parts: list[str], name: str) -> None:
    readings = product(*([part, part.replace("[", "[[]")] if part[0] == "[" else [part] for part in parts))
    if any(fnmatchcase(name, "".join(reading)) for reading in readings):
        assert chosen(task(name), protect=("".join(parts),)) == ([], ["t-1"], [])


@given(pattern=st.text("ab*?-", max_size=8), name=st.text("ab-", max_size=8))
def test_a_pattern_without_brackets_protects_what_it_matches_and_no_more(pattern: str, name: str) -> None:
    is_saved = any(fnmatchcase(each, pattern) for each in (name, "t-1"))
    assert chosen(task(name), protect=(pattern,)) == (([], ["t-1"], []) if is_saved else (["t-1"], [], []))


def test_one_pattern_does_not_run_into_the_next() -> None:
    for name in ("ab", "a", "b", "xab", "abx"):
        saved = name in ("a", "b")
        assert chosen(task(name), protect=("a", "b")) == (([], ["t-1"], []) if saved else (["t-1"], [], []))


def test_a_pattern_that_can_be_read_in_a_million_ways_takes_no_longer() -> None:
    begun = time.monotonic()
    assert chosen(task("[[a]" * 60), protect=("[[a]" * 60 + "b",)) == (["t-1"], [], [])
    assert chosen(task("a" * 250), protect=("*a" * 120 + "b", "*[a[]" * 50 + "b")) == (["t-1"], [], [])
    assert time.monotonic() - begun < 5


def test_a_young_task_needs_no_pattern_to_save_it() -> None:
    assert chosen(task(hours=0.5), protect=("*",)) == ([], [], [])


def test_a_task_without_a_name_is_known_by_its_id() -> None:
    assert chosen(task(None), protect=("t-1",)) == ([], ["t-1"], [])
    assert chosen(task(None), protect=("?*x",)) == (["t-1"], [], [])


def test_the_oldest_come_first() -> None:
    tasks = [task(hours=hours, task_id=f"t-{hours}") for hours in (2, 30, 4)]
    assert chosen(*tasks)[0] == ["t-30", "t-4", "t-2"]


@given(
    ages=st.lists(st.none() | st.floats(-10, 10), max_size=30),
    older_than=st.timedeltas(min_value=timedelta(minutes=1), max_value=timedelta(hours=12)),
    protect=st.lists(st.sampled_from(["t-1*", "t-?", "nothing"]), max_size=2),
)
def test_nothing_young_unknown_or_protected_is_ever_stale_and_nothing_else_is_missed(
    ages: list[float | None], older_than: timedelta, protect: list[str]
) -> None:
    tasks = [task(hours=hours, task_id=f"t-{number}") for number, hours in enumerate(ages)]
    choice = choose_stale(tasks, now=NOW, older_than=older_than, protect=protect)
    for each, age in choice.stale:
        assert NOW - age.running_since >= older_than
        assert not choose_stale([each], now=NOW, older_than=older_than, protect=protect).protected
    parted = [*(each for each, _ in choice.stale), *choice.protected, *choice.unknown_age]
    assert len({id(each) for each in parted}) == len(parted)
    for each in set(tasks) - set(parted):
        assert each.age is not None
        assert NOW - each.age.running_since < older_than


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("20151212T121212Z", "2015-12-12T12:12:12Z"),
        ("2025-11-28T06:55:41Z", "2025-11-28T06:55:41Z"),
        ("2025-11-28T06:55:41+08:00", "2025-11-27T22:55:41Z"),
        ("2025-11-28T06:55:41-0330", "2025-11-28T10:25:41Z"),
        ("2025-11-28T06:55:41.000Z", "2025-11-28T06:55:41Z"),
        ("2025-11-28T06:55:41.001Z", "2025-11-28T06:55:42Z"),
        ("2020-02-20 11:21:11", "2020-02-20T11:21:11Z"),
        ("2024-02-29 11:21:11", "2024-02-29T11:21:11Z"),
    ],
)
def test_both_formats_of_huawei_s_times_are_read(text: str, moment: str) -> None:
    assert read_huawei_time(text, region="cn-north-4") == datetime.fromisoformat(moment)


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "yesterday",
        "2023-02-29 11:21:11",
        "2023-13-01T00:00:00Z",
        "2023-02-20T25:00:00Z",
        "2023-02-20",
        "1970-01-01T00:00:00Z",
        "1764000000",
        "2025-11-28T06:55:41+99:00",
        " 2025-11-28T06:55:41Z",
        "٢٠٢٥-11-28T06:55:41Z",
    ],
)
def test_what_is_no_time_is_no_age(text: str | None) -> None:
    assert read_huawei_time(text, region="cn-north-4") is None


@pytest.mark.parametrize("region", ["cn-north-4", "ap-southeast-3", "la-north-2", "sa-brazil-1"])
@pytest.mark.parametrize("hours_east_of_greenwich", [8, 0, -3, -6])
def test_a_time_without_a_zone_is_never_read_as_earlier_than_it_may_mean(
    region: str, hours_east_of_greenwich: int
) -> None:
    is_possible = hours_east_of_greenwich >= 0 or region.startswith(("la-", "sa-"))
    meant = datetime(2026, 11, 23, 8, tzinfo=UTC) - timedelta(hours=hours_east_of_greenwich)
    read = read_huawei_time("2026-11-23 08:00:00", region=region)
    assert read is not None
    assert read >= meant or not is_possible


@given(st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(8000, 1, 1)))  # noqa: DTZ001 - zones come below
def test_reading_never_makes_a_run_older(moment: datetime) -> None:
    meant = moment.replace(tzinfo=UTC)
    for text in (meant.isoformat(), meant.isoformat().replace("+00:00", "Z"), f"{meant:%Y-%m-%d %H:%M:%S.%f}"):
        read = read_huawei_time(text, region="cn-north-4")
        assert read is not None
        assert timedelta() <= read - meant < timedelta(seconds=1)

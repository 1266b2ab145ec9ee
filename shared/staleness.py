"""Which running tasks are stale. Pure: time is an argument.

An age is only ever a lower bound: where the evidence can be read in two ways, the way that makes a task younger is
taken, and a task without evidence is left alone. What may have just begun must never be stopped.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from fnmatch import translate
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable


class Moment(NamedTuple):
    """When an answer came, by our clock and by its `Date`, which has full seconds and may be a little older.

    No clock is right for certain. A moment is taken by the clock that makes a run younger.
    """

    ours: datetime
    huaweis: datetime

    @property
    def behind(self) -> timedelta:
        """How far Huawei's clock is behind ours at most; zero if it is ahead."""
        return max(timedelta(), self.ours - self.huaweis)

    @property
    def earliest(self) -> datetime:
        """The moment by the clock that is behind."""
        return min(self.ours, self.huaweis)

    @property
    def latest(self) -> datetime:
        """The moment by the clock that is ahead, to the next full second."""
        return max(self.ours.replace(microsecond=0), self.huaweis) + timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Age:
    """The run began at `running_since` or earlier by the clock that told it, and `evidence` says so.

    `behind`: how far that clock is behind ours at most.
    """

    running_since: datetime
    evidence: str
    behind: timedelta = timedelta()

    @property
    def latest_start(self) -> datetime:
        """The latest moment by our clock at which the run may have begun."""
        return self.running_since + self.behind

    @property
    def shown(self) -> datetime:
        """The same in full seconds, for people."""
        return self.latest_start.replace(microsecond=0)


@dataclass(frozen=True, slots=True)
class RunningTask:
    """A task that runs. `age`: `None` if nothing tells it."""

    task_id: str
    task_name: str | None
    age: Age | None


@dataclass(frozen=True, slots=True)
class Found:
    """What there is: the tasks that run, out of so many listed.

    `unreadable`: how many more were listed in a way that lets nobody say which they are. `missed`: of how many of those
    without an age that is so because Huawei did not answer.
    """

    running: tuple[RunningTask, ...]
    listed: int
    unreadable: int
    missed: int


@dataclass(frozen=True, slots=True)
class Choice:
    """What a sweep makes of the running tasks; those that are young enough are in none of these.

    `stale`: with their ages, the oldest first. `protected`: what a pattern saved. `unknown_age`: left alone.
    """

    stale: tuple[tuple[RunningTask, Age], ...]
    protected: tuple[RunningTask, ...]
    unknown_age: tuple[RunningTask, ...]


def choose_stale(
    tasks: Iterable[RunningTask], *, now: datetime, older_than: timedelta, protect: Iterable[str]
) -> Choice:
    """Choose the tasks that have been running for `older_than` or longer.

    `protect`: glob patterns on the name or the id, which win over everything; see `Protection`.
    """
    protection = Protection(protect)
    stale: list[tuple[RunningTask, Age]] = []
    protected: list[RunningTask] = []
    unknown_age: list[RunningTask] = []
    for task in tasks:
        is_young = task.age is not None and now - task.age.latest_start < older_than
        if is_young:
            continue
        if protection.covers(task):
            protected.append(task)
        elif task.age is None:
            unknown_age.append(task)
        else:
            stale.append((task, task.age))
    stale.sort(key=lambda each: (each[1].running_since, each[0].task_id))
    return Choice(tuple(stale), tuple(protected), tuple(unknown_age))


class Protection:
    """Glob patterns (`*`, `?`, `[a-z]`; case counts) that protect tasks by their names or ids, in doubt one more.

    A pattern that silently matches nothing leaves a task to be stopped. So each `[` stands for itself, as in the name
    `[prod] nightly`, and together with the rest of its group for one character. And texts that look alike are equal,
    see `_forms`.

    All patterns are one automaton. Its states are places in the patterns, one bit each, and all that a text may have
    reached are followed at once: the time is that of the text, in however many ways a pattern can be read.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        self._begins = self._ends = self._stars = self._anything = 0
        self._literals: dict[str, int] = {}
        groups: dict[int, dict[re.Pattern[str], int]] = defaultdict(lambda: defaultdict(int))
        place = 1
        for glob in sorted({form for pattern in patterns for form in _forms(pattern)}):
            self._begins |= place
            for index, character in enumerate(glob):
                match character:
                    case "*":
                        self._stars |= place
                    case "?":
                        self._anything |= place
                    case _:
                        self._literals[character] = self._literals.get(character, 0) | place
                if character == "[" and (group := _GROUP.match(glob, index)):
                    groups[len(group[0])][re.compile(translate(group[0]))] |= place
                place <<= 1
            self._ends |= place
            place <<= 1
        self._groups = groups
        self._taken: dict[str, list[tuple[int, int]]] = {}

    def covers(self, task: RunningTask) -> bool:
        """Return whether a pattern matches the name or the id."""
        texts = (text for text in (task.task_id, task.task_name) if text is not None)
        return any(self._matches(form) for text in texts for form in _forms(text))

    def _matches(self, text: str) -> bool:
        reached = self._past_stars(self._begins)
        for character in text:
            here = reached & (self._literals.get(character, 0) | self._anything)
            beyond = here << 1 | reached & self._stars
            for length, places in self._groups_of(character):
                beyond |= (reached & places) << length
            reached = self._past_stars(beyond)
        return bool(reached & self._ends)

    def _groups_of(self, character: str) -> list[tuple[int, int]]:
        """Return the places of the groups that take a character, by the length of the group; looked up only once."""
        if character not in self._taken:
            self._taken[character] = [
                (length, reduce(or_, (places for group, places in alike.items() if group.match(character)), 0))
                for length, alike in self._groups.items()
            ]
        return self._taken[character]

    def _past_stars(self, reached: int) -> int:
        """Return these places, and those behind the asterisks that they are at."""
        while more := (reached & self._stars) << 1 & ~reached:
            reached |= more
        return reached


# The groups of `fnmatch`: a `]` right at the beginning is one of the characters.
_GROUP: Final = re.compile(r"\[!?\]?[^]]*\]")


def _forms(text: str) -> set[str]:
    """Return the forms in which a name or pattern is compared: as it is written, and as it looks.

    As it looks, it is composed, and has no compatibility characters (NFKC: a full-width letter or asterisk is the plain
    one, a no-break space a space), no invisible ones and no outer white space. It may look so in several ways: `?` may
    stand for what only some do not see, for one kind of dash, or for one of several blanks.
    """
    forms = {text}
    for is_hidden in (_is_format, _is_invisible):
        visible = "".join(each for each in text if not is_hidden(each))
        composed = unicodedata.normalize("NFKC", visible)
        plain = "".join("-" if _is_dash(each) else each for each in composed.replace(_BLANK_PATTERN, " "))
        forms |= {composed.strip(), " ".join(plain.split())}
    return forms


def _is_format(character: str) -> bool:
    return unicodedata.category(character) == "Cf" or "\ufe00" <= character <= "\ufe0f"


def _is_invisible(character: str) -> bool:
    is_control = unicodedata.category(character) == "Cc" and not character.isspace()
    return is_control or _is_format(character) or bool(_INVISIBLE.match(character))


def _is_dash(character: str) -> bool:
    return unicodedata.category(character) == "Pd" or character == _MINUS


# What has no look by the Unicode Character Database (Default_Ignorable_Code_Point in DerivedCoreProperties.txt), beside
# the format characters: joiners, Hangul fillers, Khmer inherent vowels, variation selectors and reserved places.
_INVISIBLE: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2060-\u206f\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8"
    "\U000e0000-\U000e0fff]"
)
_MINUS: Final = "\u2212"
_BLANK_PATTERN: Final = "\u2800"
"""Of Braille: a letter that looks like a space."""


# "20151212T121212Z" (IoTDA), "2025-11-28T06:55:41Z" and "2020-02-20 11:21:11" (CodeArts Check, newer and older pages).
_TIME: Final = re.compile(
    r"(\d{4})-?(\d{2})-?(\d{2})[T ](\d{2}):?(\d{2}):?(\d{2})(?:[.,](\d{1,9}))?(Z|[+-]\d{2}:?\d{2})?", re.ASCII
)
_YEARS: Final = range(2000, 9000)
# Regions of Huawei Cloud west of Greenwich: Mexico, Chile, Peru, Argentina, Brazil, North America.
_WESTERN: Final = ("la-", "na-", "sa-", "us-")
_WESTERNMOST: Final = timezone(timedelta(hours=-8))


def read_huawei_time(text: str | None, *, region: str) -> datetime | None:
    """Read a time of Huawei's as the latest moment that it may mean, UTC; `None` for what is no time.

    The zone of a time without one is nowhere documented. It may be UTC, China's or the region's: of these the
    westernmost gives the latest moment, and so the least age.
    """
    parts = _TIME.fullmatch(text or "")
    if parts is None:
        return None
    *numbers, fraction, zone = parts.groups()
    year, month, day, hour, minute, second = map(int, numbers)
    if year not in _YEARS:
        return None
    try:
        moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
        match zone:
            case None:
                moment = moment.replace(tzinfo=_WESTERNMOST if region.startswith(_WESTERN) else UTC)
            case "Z":
                pass
            case offset:
                moment = moment.replace(tzinfo=datetime.strptime(offset, "%z").tzinfo)
    except ValueError:
        return None
    # To the next full second: a command's id names the start of the run in seconds.
    return (moment + timedelta(seconds=bool(int(fraction or 0)))).astimezone(UTC)

"""Two sweeps at once, and whatever may happen between any two of their calls: none stops a run that is too young.

`SWEEP_WORLDS=20000` tries that many worlds.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, get_args

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from tests.two_sweeps import (
    EXACT,
    Begin,
    Break,
    Call,
    Carry,
    Clocks,
    Conditions,
    Damage,
    End,
    Go,
    Jobs,
    Kill,
    Reach,
    Restart,
    Start,
    Step,
    Sweep,
    Wait,
    Who,
    World,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

WORLDS: Final = int(os.environ.get("SWEEP_WORLDS", "300"))
MINUTES: Final = 60.0
HOURS: Final = 3600.0

_WHO: Final = st.sampled_from(["A", "B"])
_TASK: Final = st.integers(0, 2)
_PERCENT: Final = st.sampled_from([0, 10, 50, 80])
_ARMED: Final = st.sampled_from([True, True, True, False])
_COUNTED: Final = st.sampled_from([False, False, True])
_CALLS: Final[tuple[Call | None, ...]] = (None, "write", "list", "progress", "read", "sqs", "bus", "end")
_DAMAGES: Final[tuple[Damage, ...]] = get_args(Damage.__value__)
_PLACES: Final[tuple[tuple[Call, ...], ...]] = (
    (),
    ("read",),
    ("progress",),
    ("list",),
    # Before the last look, within it, and after it.
    ("list", "progress", "progress"),
    ("list", "list"),
    ("list", "list", "progress"),
    ("write",),
    ("sqs",),
    ("bus",),
)
_CLOCKS: Final = (
    *[EXACT] * 4,
    Clocks(3.0, -4.0, 2.0),
    *[Clocks(huawei=wrong, b=2.0) for wrong in (-600.0, 600.0)],
    *[Clocks(a=wrong) for wrong in (-600.0, 600.0)],
)
"""At most one is badly wrong: against two no reading of them helps."""

STALE: Final = (Sweep("A"), Wait(3 * HOURS))


def step_lists() -> st.SearchStrategy[list[Step]]:
    """Return lists of steps, most of which lead somewhere: a run is often seen, and often old when it is seen again."""
    sweep = st.builds(Sweep, _WHO, _ARMED)
    short = st.builds(Wait, st.sampled_from([1.0, 40.0, 20 * MINUTES]))
    # The second is less than two hours by less than a clock may be wrong.
    long = st.builds(Wait, st.sampled_from([3 * HOURS, 115 * MINUTES]))
    start = st.builds(Start, _WHO, _ARMED)
    go = st.builds(Go, _WHO, st.sampled_from(_CALLS))
    damage = st.builds(Break, _WHO, st.sampled_from(_DAMAGES))
    begin = st.builds(Begin, _TASK, _PERCENT, _COUNTED)
    again = st.tuples(begin, short, sweep)
    damaged = st.builds(
        lambda who, harm: (Start(who), Break(who, harm), Go(who, "end")), _WHO, st.sampled_from(_DAMAGES)
    )
    change = st.one_of(
        st.tuples(st.builds(Restart, _TASK, _PERCENT, _COUNTED)),
        st.tuples(st.builds(End, _TASK, _COUNTED)),
        st.tuples(begin),
        st.tuples(st.builds(Reach, _TASK, _PERCENT)),
        st.tuples(st.builds(Carry, _COUNTED)),
        st.tuples(st.builds(Jobs, st.booleans())),
        st.tuples(short),
        st.tuples(sweep),
        # It is seen to be stopped, or was, and is started again.
        st.tuples(sweep, st.builds(Carry, _COUNTED), begin),
        st.tuples(st.builds(End, _TASK, _COUNTED), sweep, begin),
        st.tuples(damage),
        st.tuples(st.builds(Kill, _WHO)),
    )
    during = st.builds(_during, _WHO, _ARMED, st.sampled_from(_PLACES), st.lists(change, min_size=1, max_size=2))
    block = st.one_of(
        st.tuples(sweep),
        change,
        st.tuples(go),
        st.tuples(sweep, long),
        st.tuples(start, go),
        during,
        during,
        during,
        again,
        again,
        damaged,
        st.tuples(st.just(Jobs(listed=True)), sweep, st.just(Jobs(listed=False))),
    )
    first = st.sampled_from([STALE, (*STALE, Reach(0, 50)), (), (Wait(115 * MINUTES),), (Restart(0), *STALE)])
    return st.builds(_joined, first, st.lists(block, min_size=1, max_size=10))


def _during(who: Who, armed: bool, place: Sequence[Call], changes: Sequence[Sequence[Step]]) -> list[Step]:  # noqa: FBT001 - drawn
    """Return a sweep during which something happens, at this place of it."""
    return _joined([Start(who, armed), *(Go(who, call) for call in place)], [*changes, [Go(who, "end")]])


def _joined(first: Sequence[Step], blocks: Sequence[Sequence[Step]]) -> list[Step]:
    return [*first, *(step for block in blocks for step in block)]


def any_conditions() -> st.SearchStrategy[Conditions]:
    return st.builds(
        Conditions,
        tasks=st.sampled_from([1, 1, 2, 3]),
        jobs=st.sampled_from([False, False, True]),
        records=st.sampled_from(["none", "ended", "running"]),
        last_check=st.sampled_from(["begin", "end"]),
        clocks=st.sampled_from(_CLOCKS),
        dated=st.sampled_from([True, True, True, False]),
    )


def run_world(conditions: Conditions, steps: Sequence[Step]) -> World:
    world = World(conditions)
    world.run(steps)
    return world


@settings(max_examples=WORLDS, deadline=None)
@given(conditions=any_conditions(), steps=step_lists())
def test_no_sweep_does_what_it_must_not(conditions: Conditions, steps: list[Step]) -> None:
    world = run_world(conditions, steps)
    for admitted in world.admitted:
        event(admitted)
    event(f"{min(len(world.commands), 3)} commands or more")
    assert world.violations == []


# One world for each way in which it once went wrong, as short as it could be made.

LOOK_AGAIN: Final = (Start("A"), Go("A", "list"), Go("A", "progress"), Go("A", "progress"))
"""Up to the last look of a sweep that found a task stale: the third time that it reads the progress."""

ONE: Final = Conditions()
THREE: Final = Conditions(tasks=3)

WORLDS_THAT_WENT_WRONG: Final[dict[str, tuple[Conditions, tuple[Step, ...]]]] = {
    "the last look finds a run ended, and the next is not taken for it": (
        ONE,
        (*STALE, *LOOK_AGAIN, End(0), Go("A", "end"), Begin(0, 10), Wait(5 * MINUTES), Sweep("A")),
    ),
    "what a last look reads is compared with what this sweep read, not the one before": (
        ONE,
        (*STALE, Reach(0, 80), Start("A"), Go("A", "write"), Go("A"), Restart(0, 10), Wait(1.0), Go("A", "end")),
    ),
    "what a sweep forgot does not come back by one that had read it before": (
        ONE,
        (
            *STALE,
            Reach(0, 50),
            Start("B", armed=False),
            Go("B", "write"),
            Sweep("A"),
            Carry(),
            Go("B", "end"),
            Begin(0, 50),
            Wait(63.0),
            Sweep("A"),
        ),
    ),
    "two sweeps send for one run, and the second after it was started again": (
        ONE,
        (*STALE, Start("A"), Go("A", "write"), Sweep("B"), Carry(), Begin(0, 10), Wait(6.0), Go("A", "end")),
    ),
    "a sighting that the jobs refute is gone when they are not listed any more": (
        ONE,
        (*STALE, Restart(0, 10), Jobs(listed=True), Sweep("A"), Jobs(listed=False), Wait(20 * MINUTES), Sweep("A")),
    ),
    "SQS denies the commands, and the next sweep sends them": (
        THREE,
        (*STALE, Start("A"), Break("A", "sqs denied"), Go("A", "end"), Sweep("A")),
    ),
    "SQS refuses the commands, and the next sweep sends them": (
        THREE,
        (*STALE, Start("A"), Break("A", "sqs refuses all"), Go("A", "end"), Sweep("A")),
    ),
    "SQS refuses one command, and the next sweep sends it": (
        THREE,
        (*STALE, Start("A"), Break("A", "sqs refuses the first"), Go("A", "end"), Sweep("A")),
    ),
    "the table refuses the third write, and the next sweep sends what this one could not": (
        THREE,
        (*STALE, Start("A"), *[Go("A", "write")] * 3, Break("A", "write not done"), Go("A", "end"), Sweep("A")),
    ),
    "a command may have been taken, so no second one is sent while it may act": (
        ONE,
        (*STALE, Start("A"), Break("A", "sqs answer lost"), Go("A", "end"), Carry(), Begin(0, 10), Sweep("A")),
    ),
    "a last look finds a run behind, and what comes as far later is not taken for the one before": (
        ONE,
        (*STALE, *LOOK_AGAIN, Restart(0, 0), Go("A", "end"), Reach(0, 50), Wait(5 * MINUTES), Sweep("A")),
    ),
    "no second command is sent while the first may act, whatever says how old the run is": (
        Conditions(jobs=True),
        (Wait(3 * HOURS), Sweep("A"), Wait(20 * MINUTES), Sweep("B")),
    ),
    "no sighting is made of a run that a command may still stop": (
        ONE,
        (*STALE, Sweep("A"), Sweep("B"), Wait(20 * MINUTES), Carry(), Begin(0, 10), Wait(115 * MINUTES), Sweep("A")),
    ),
    "a sweep that read the table before does not take away that a command was sent": (
        ONE,
        (
            *STALE,
            End(0),
            Start("B"),
            Go("B", "write"),
            Begin(0, 10),
            Sweep("A"),
            Go("B", "end"),
            Sweep("A"),
            Wait(20 * MINUTES),
            Carry(),
            Begin(0, 10),
            Wait(115 * MINUTES),
            Sweep("A"),
        ),
    ),
    "Huawei's clock is behind": (
        Conditions(jobs=True, clocks=Clocks(huawei=-10 * MINUTES)),
        (Wait(2 * HOURS - 578.0), Sweep("A")),
    ),
    "a sweep's clock is ahead, and so seems the age by a job": (
        Conditions(jobs=True, clocks=Clocks(a=10 * MINUTES)),
        (Wait(2 * HOURS - 578.0), Sweep("A")),
    ),
    "a sweep's clock is ahead, and so seems the age by a sighting": (
        Conditions(clocks=Clocks(b=10 * MINUTES)),
        (Restart(0), Sweep("A"), Wait(2 * HOURS - 578.0), Sweep("B")),
    ),
    "a sweep's clock is ahead, and Huawei dates nothing that could tell": (
        Conditions(jobs=True, clocks=Clocks(a=10 * MINUTES), dated=False),
        (Wait(2 * HOURS - 578.0), Sweep("A")),
    ),
    "a sweep's clock is behind when it makes a sighting": (
        Conditions(clocks=Clocks(a=-10 * MINUTES)),
        (Restart(0), Sweep("A"), Wait(2 * HOURS - 578.0), Sweep("B")),
    ),
}


@pytest.mark.parametrize("name", WORLDS_THAT_WENT_WRONG)
def test_what_once_went_wrong_goes_right(name: str) -> None:
    assert run_world(*WORLDS_THAT_WENT_WRONG[name]).violations == []


# The judge itself: what it must let pass, and what it must see.


@pytest.mark.parametrize("tasks", [1, 3])
def test_what_is_stale_is_sent_for(tasks: int) -> None:
    world = run_world(Conditions(tasks=tasks), [*STALE, Sweep("A")])
    assert [command.task for command in world.commands] == [f"t-{number}" for number in range(tasks)]
    assert (world.violations, world.admitted) == ([], {})


@pytest.mark.parametrize(
    ("steps", "admitted"),
    [
        ([*STALE, Restart(0, 10), Sweep("A")], "nothing gives it away"),
        # Between the third list, which is the last look's, and the last read of the progress.
        (
            [*STALE, Start("A"), Go("A", "list"), Go("A", "list"), Go("A"), Restart(0, 10), Go("A", "end")],
            "began after the last list",
        ),
        (
            [*STALE, End(0), Start("B"), Go("B", "write"), Kill("B"), Begin(0, 10), Sweep("A")],
            "seen in vain: its sweep was killed",
        ),
        (
            [*STALE, End(0), Start("B"), Break("B", "write not done"), Go("B", "end"), Begin(0, 10), Sweep("A")],
            "seen in vain: its write failed",
        ),
        (
            [*STALE, End(0), Start("B"), Go("B", "write"), Begin(0, 10), Sweep("A")],
            "seen in vain: not written yet",
        ),
    ],
)
def test_what_no_sweep_can_know_is_admitted_by_its_name(steps: list[Step], admitted: str) -> None:
    world = run_world(ONE, steps)
    assert [command.task for command in world.commands] == ["t-0"]
    assert (world.violations, dict(world.admitted)) == ([], {admitted: 1})

"""`Pace`: additive increase, multiplicative decrease, pauses that grow."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.pace import FIRST_PAUSE, LONGEST_GAP, LONGEST_PAUSE, Pace, Turn
from tests.fakes import Clock


def pace_of(clock: Clock, *, most: int = 8) -> Pace:
    return Pace(most=most, sleep=clock.sleep, uniform=lambda _, longest: longest)


def take(pace: Pace, clock: Clock) -> Turn:
    turn = pace.begin(clock.deadline(3600))
    assert turn is not None
    return turn


def call(pace: Pace, clock: Clock, *, throttled: bool, retry_after: float | None = None) -> None:
    pace.end(take(pace, clock), clock.deadline(), throttled=throttled, retry_after=retry_after)


def test_a_throttle_halves_the_calls_in_flight_and_never_below_one() -> None:
    clock = Clock()
    pace = pace_of(clock)
    seen = []
    for _ in range(5):
        call(pace, clock, throttled=True)
        seen.append(pace.allowed)
    assert seen == [4, 2, 1, 1, 1]


def test_a_round_of_successes_allows_one_more_up_to_the_most() -> None:
    clock = Clock()
    pace = pace_of(clock, most=3)
    for _ in range(3):
        call(pace, clock, throttled=True)
    seen = []
    for _ in range(8):
        call(pace, clock, throttled=False)
        seen.append(pace.allowed)
    assert seen == [2, 2, 2, 3, 3, 3, 3, 3]


def test_calls_that_are_throttled_together_are_one_sign() -> None:
    clock = Clock()
    pace = pace_of(clock)
    turns = [take(pace, clock) for _ in range(8)]
    for turn in turns:
        pace.end(turn, clock.deadline(), throttled=True, retry_after=None)
    assert pace.allowed == 4


def test_pauses_grow_with_throttles_in_a_row_and_start_anew_after_a_success() -> None:
    clock = Clock()
    pace = pace_of(clock)
    for _ in range(8):
        call(pace, clock, throttled=True)
    call(pace, clock, throttled=False)
    assert clock.slept == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0, 8.0]
    clock.seconds += 10
    clock.slept.clear()
    for _ in range(2):
        call(pace, clock, throttled=True)
    assert clock.slept == [pytest.approx(0.99)]  # the gap, which is now longer than the first pause


def test_starts_are_spaced_after_a_throttle_and_close_up_again_with_successes() -> None:
    clock = Clock()
    pace = pace_of(clock)
    gaps = []
    for number in range(400):
        before = clock.seconds
        call(pace, clock, throttled=number < 6)
        gaps.append(clock.seconds - before)
    assert max(gaps[8:]) <= LONGEST_GAP
    assert gaps[8:] == sorted(gaps[8:], reverse=True)
    assert gaps[-1] < 0.001


def test_a_pause_is_at_least_as_long_as_huawei_asked() -> None:
    clock = Clock()
    pace = pace_of(clock)
    call(pace, clock, throttled=True, retry_after=20.0)
    call(pace, clock, throttled=False)
    assert clock.slept == [20.0 + FIRST_PAUSE]


def test_a_turn_that_the_deadline_would_cut_off_is_not_given_and_not_waited_for() -> None:
    clock = Clock()
    pace = pace_of(clock, most=1)
    call(pace, clock, throttled=True, retry_after=20.0)
    assert pace.begin(clock.deadline(10)) is None
    assert clock.slept == []
    call(pace, clock, throttled=False)  # and the turn that was not given is free again


def test_turns_that_are_not_given_push_no_other_out() -> None:
    clock = Clock()
    pace = pace_of(clock)
    for _ in range(8):
        call(pace, clock, throttled=True)
    for _ in range(1000):
        assert pace.begin(clock.deadline(1.0)) is None
    before = clock.seconds
    call(pace, clock, throttled=False)
    assert clock.seconds - before <= LONGEST_PAUSE + LONGEST_GAP


def test_a_turn_is_waited_for_no_longer_than_the_deadline() -> None:
    clock = Clock()
    pace = pace_of(clock, most=1)
    take(pace, clock)
    assert pace.begin(clock.deadline(0.0)) is None


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 16))
def test_what_is_allowed_stays_between_one_and_the_most(throttles: list[bool], most: int) -> None:
    clock = Clock()
    pace = pace_of(clock, most=most)
    for throttled in throttles:
        call(pace, clock, throttled=throttled)
        assert 1 <= pace.allowed <= most
    assert all(0 < pause <= LONGEST_PAUSE + 60 * LONGEST_GAP for pause in clock.slept)


def test_no_more_than_allowed_are_in_flight_whoever_asks() -> None:
    clock = Clock()
    pace = pace_of(clock, most=3)
    lock = threading.Lock()
    in_flight, highest = 0, 0
    gate = threading.Barrier(3)

    def work() -> None:
        nonlocal in_flight, highest
        turn = take(pace, clock)
        with lock:
            in_flight += 1
            highest = max(highest, in_flight)
        gate.wait(timeout=10)  # three must be in at once, or this breaks
        with lock:
            in_flight -= 1
        pace.end(turn, clock.deadline(), throttled=False, retry_after=None)

    threads = [threading.Thread(target=work) for _ in range(9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)
    assert highest == 3

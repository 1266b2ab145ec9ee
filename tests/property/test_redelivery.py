"""How long a message stays hidden that is given back: never too long, never shorter than maxReceiveCount counts on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.redelivery import JITTER, seconds_until_redelivery

RECEIVES = st.integers(1, 2_000)
VISIBILITY_TIMEOUT = st.integers(1, 43_200)
JITTERS = st.floats(0.0, 1.0)


@given(RECEIVES, VISIBILITY_TIMEOUT, JITTERS)
def test_a_wait_is_whole_seconds_within_the_visibility_timeout(receives: int, timeout: int, jitter: float) -> None:
    seconds = seconds_until_redelivery(receives, visibility_timeout=timeout, jitter=jitter)
    assert isinstance(seconds, int)
    assert 1 <= seconds <= timeout


@given(RECEIVES, VISIBILITY_TIMEOUT, JITTERS)
def test_jitter_takes_away_a_fifth_at_most(receives: int, timeout: int, jitter: float) -> None:
    longest = seconds_until_redelivery(receives, visibility_timeout=timeout, jitter=0.0)
    assert longest * (1 - JITTER) <= seconds_until_redelivery(receives, visibility_timeout=timeout, jitter=jitter)


@given(RECEIVES, VISIBILITY_TIMEOUT)
def test_a_wait_is_twice_the_one_before_until_it_is_the_visibility_timeout(receives: int, timeout: int) -> None:
    before = seconds_until_redelivery(receives, visibility_timeout=timeout, jitter=0.0)
    after = seconds_until_redelivery(receives + 1, visibility_timeout=timeout, jitter=0.0)
    assert after == min(2 * before, timeout)


@given(RECEIVES, VISIBILITY_TIMEOUT, JITTERS, JITTERS)
def test_more_jitter_is_never_a_longer_wait(receives: int, timeout: int, one: float, other: float) -> None:
    less, more = sorted((one, other))
    assert seconds_until_redelivery(receives, visibility_timeout=timeout, jitter=more) <= seconds_until_redelivery(
        receives, visibility_timeout=timeout, jitter=less
    )


@pytest.mark.parametrize(
    ("timeout", "jitter", "waits"),
    [
        (360, 0.0, [60, 120, 240, 360, 360]),
        (1801, 0.0, [60, 120, 240, 480, 960, 1801, 1801]),
        (1801, 1.0, [48, 96, 192, 384, 768, 1441, 1441]),
        (30, 0.0, [30, 30]),
    ],
)
def test_the_waits_of_the_two_queues(timeout: int, jitter: float, waits: list[int]) -> None:
    receives = range(1, len(waits) + 1)
    assert [seconds_until_redelivery(n, visibility_timeout=timeout, jitter=jitter) for n in receives] == waits

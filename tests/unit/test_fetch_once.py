"""What one thread fetches for all: who waits and until when, what a failure means to the others, and for how long."""

from __future__ import annotations

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Event, Lock
from typing import TYPE_CHECKING

import pytest

from shared.deadline import Deadline
from shared.fetch_once import REFUSED_FOR, TRANSIENT_FOR, FetchOnce
from shared.redelivery import FIRST_WAIT, JITTER
from tests.fakes import Clock

if TYPE_CHECKING:
    from collections.abc import Callable


class Refused(Exception):
    """It stays as it is."""


class Unavailable(Exception):
    """It passes."""


class OutOfTime(Exception):
    """A thread that waited gave up."""


class Source:
    """A number that is fetched: 1, then 2, and so on; or `error` is raised. `waits_for`: before it answers."""

    def __init__(self, clock: Clock, *, transient_for: timedelta = TRANSIENT_FOR) -> None:
        self.error: Exception | None = None
        self.waits_for: Callable[[], object] = lambda: None
        self.value: int | None = None
        self.fetches = 0
        self.left: list[float] = []
        self.once = FetchOnce(
            "the number",
            now=clock.now,
            timed_out=OutOfTime,
            faults=(Refused, Unavailable),
            is_transient=lambda fault: isinstance(fault, Unavailable),
            transient_for=transient_for,
        )

    def fetch(self, deadline: Deadline) -> int:
        self.fetches += 1
        self.left.append(deadline.remaining())
        self.waits_for()
        if self.error is not None:
            raise self.error
        self.value = self.fetches
        return self.fetches

    def get(self, deadline: Deadline, *, spare: int | None = None) -> int:
        return self.once.get(lambda: self.value, self.fetch, deadline, spare=spare)

    def renew(self, refused: int, deadline: Deadline) -> int | None:
        return self.once.renew(lambda: None if self.value == refused else self.value, self.fetch, deadline)


class Arrivals:
    """Counts the threads that have read the clock to know how long they may wait; `all_there` once `most` have."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._come = 0
        self._lock = Lock()
        self.all_there = Event()

    def __call__(self) -> float:
        with self._lock:
            self._come += 1
            if self._come >= self._most:
                self.all_there.set()
        return 0.0


def outcome(source: Source, deadline: Deadline) -> int | str:
    try:
        return source.get(deadline)
    except (Refused, Unavailable) as fault:
        return str(fault)


@pytest.mark.parametrize(
    ("error", "outcomes"),
    [(None, {1}), (Refused("said no"), {"said no"}), (Unavailable("said later"), {"said later"})],
)
@pytest.mark.parametrize("transient_for", [TRANSIENT_FOR, timedelta(0)])
def test_sixteen_threads_share_one_fetch_and_what_becomes_of_it(
    error: Exception | None, outcomes: set[int | str], transient_for: timedelta
) -> None:
    # The thread that fetches reads the clock twice.
    source, arrivals = Source(Clock(), transient_for=transient_for), Arrivals(17)
    source.error, source.waits_for = error, lambda: arrivals.all_there.wait(10)
    deadline = Deadline(at=60.0, clock=arrivals)
    with ThreadPoolExecutor(16) as threads:
        assert set(threads.map(lambda _: outcome(source, deadline), range(16))) == outcomes
    assert source.fetches == 1


def test_a_thread_that_waits_gives_up_at_its_own_deadline_and_says_what_it_waited_for() -> None:
    source, is_fetching, may_end = Source(Clock()), Event(), Event()

    def hang() -> None:
        is_fetching.set()
        assert may_end.wait(10)

    source.waits_for = hang
    with ThreadPoolExecutor(1) as thread:
        fetching = thread.submit(source.get, Clock().deadline())
        assert is_fetching.wait(10)
        for wait in (source.get, lambda deadline: source.renew(9, deadline)):
            with pytest.raises(OutOfTime, match=r"^no time left to wait for the number, which another thread is fetch"):
                wait(Clock().deadline(0.05))
        assert not fetching.done()
        may_end.set()
        assert fetching.result(10) == 1
    assert source.get(Clock().deadline()) == source.fetches == 1


@pytest.mark.parametrize(
    ("error", "span"), [(Refused("said no"), REFUSED_FOR), (Unavailable("said later"), TRANSIENT_FOR)]
)
def test_a_failure_is_remembered_for_a_short_time_and_says_so(error: Exception, span: timedelta) -> None:
    clock = Clock()
    source = Source(clock)
    source.error = error
    with pytest.raises(type(error), match=f"^{error}$"):
        source.get(clock.deadline())
    source.error = None
    clock.seconds = span.total_seconds() - 0.001
    for _ in range(16):
        with pytest.raises(type(error), match=rf"^{error} \(from a try less than 30 seconds ago\)$"):
            source.get(clock.deadline())
    assert source.fetches == 1
    clock.seconds = span.total_seconds()
    assert source.get(clock.deadline()) == 2


def test_what_is_refused_is_asked_for_again_before_sqs_delivers_again() -> None:
    assert timedelta(seconds=FIRST_WAIT * (1 - JITTER)) > REFUSED_FOR


def test_a_caller_that_tries_again_itself_is_not_held_back_by_a_transient_failure() -> None:
    clock = Clock()
    source = Source(clock, transient_for=timedelta(0))
    source.error = Unavailable("said later")
    with pytest.raises(Unavailable):
        source.get(clock.deadline())
    source.error = None
    assert source.get(clock.deadline()) == 2


@pytest.mark.parametrize(("error", "fetches"), [(Refused("said no"), 1), (Unavailable("said later"), 2)])
def test_a_transient_failure_is_not_remembered_past_the_deadline_of_the_thread_that_met_it(
    error: Exception, fetches: int
) -> None:
    clock = Clock()
    source = Source(clock)
    source.error = error
    with pytest.raises(type(error)):
        source.get(clock.deadline(2.0))
    clock.seconds = 1.9
    with pytest.raises(type(error), match="from a try less than 30 seconds ago"):
        source.get(clock.deadline())
    assert source.fetches == 1
    clock.seconds = 2.0
    with pytest.raises(type(error)):
        source.get(clock.deadline())
    assert source.fetches == fetches


def test_a_thread_whose_time_is_over_leaves_the_fetch_to_the_next() -> None:
    clock, arrivals, is_fetching, may_end = Clock(), Arrivals(1), Event(), Event()
    source = Source(clock)

    def use_up_the_time() -> None:
        is_fetching.set()
        assert may_end.wait(10)
        clock.seconds = 1.0

    source.error, source.waits_for = Unavailable("no time"), use_up_the_time
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(outcome, source, clock.deadline(1.0))
        assert is_fetching.wait(10)
        second = threads.submit(outcome, source, Deadline(at=60.0, clock=arrivals))
        assert arrivals.all_there.wait(10)
        may_end.set()
        assert first.result(10) == second.result(10) == "no time"
    assert source.fetches == 2


def test_an_error_of_another_kind_is_not_remembered() -> None:
    source = Source(Clock())
    source.error = ZeroDivisionError()
    for fetches in (1, 2):
        with pytest.raises(ZeroDivisionError):
            source.get(Clock().deadline())
        assert source.fetches == fetches


def test_a_remembered_failure_keeps_nothing_alive() -> None:
    class Delivery:
        pass

    source, held = Source(Clock()), Delivery()
    gone = weakref.ref(held)

    def call(_: Delivery) -> None:
        source.error = Refused("said no")
        with pytest.raises(Refused):
            source.get(Clock().deadline())
        source.error = None

    call(held)
    del held
    gc.collect()
    assert gone() is None


# --- a spare value


def test_with_a_spare_value_nothing_is_waited_for() -> None:
    source, is_fetching, may_end = Source(Clock()), Event(), Event()

    def hang() -> None:
        is_fetching.set()
        assert may_end.wait(10)

    source.waits_for = hang
    with ThreadPoolExecutor(1) as thread:
        fetching = thread.submit(source.get, Clock().deadline(), spare=7)
        assert is_fetching.wait(10)
        assert source.get(Clock().deadline(), spare=8) == 8
        may_end.set()
        assert fetching.result(10) == 1


@pytest.mark.parametrize("error", [Refused("said no"), Unavailable("said later")])
@pytest.mark.parametrize("seconds", [0.0, 60.0], ids=["at once", "out of time"])
def test_a_spare_value_is_used_for_a_while_after_any_failure(error: Exception, seconds: float) -> None:
    clock = Clock()
    source = Source(clock)
    source.error = error
    source.waits_for = lambda: clock.sleep(seconds)
    assert source.get(clock.deadline(60.0), spare=7) == 7
    source.waits_for = lambda: None
    assert [source.get(clock.deadline(), spare=7) for _ in range(16)] == [7] * 16
    assert source.fetches == 1
    clock.seconds += REFUSED_FOR.total_seconds()
    source.error = None
    assert source.get(clock.deadline(), spare=7) == 2


def test_with_a_spare_value_half_of_the_time_is_left_to_use_it() -> None:
    source = Source(Clock())
    source.get(Clock().deadline(8.0))
    source.value = None
    source.get(Clock().deadline(8.0), spare=7)
    assert source.left == [8.0, 4.0]


# --- another value than one that was refused


def test_sixteen_threads_renew_once_and_not_again_for_a_while() -> None:
    clock = Clock()
    source = Source(clock)
    assert source.get(clock.deadline()) == 1
    with ThreadPoolExecutor(16) as threads:
        assert set(threads.map(lambda _: source.renew(1, clock.deadline()), range(16))) == {2}
    clock.seconds = REFUSED_FOR.total_seconds() - 0.001
    assert [source.renew(2, clock.deadline()) for _ in range(16)] == [None] * 16
    assert source.fetches == 2
    assert source.get(clock.deadline()) == 2, "it is refused to one, and may be good for another"
    clock.seconds = REFUSED_FOR.total_seconds()
    assert source.renew(2, clock.deadline()) == 3


def test_what_is_to_be_renewed_and_cannot_be_fetched_is_not_fetched_again_for_a_while() -> None:
    clock = Clock()
    source = Source(clock)
    source.get(clock.deadline())
    source.error = Refused("said no")
    for _ in range(16):
        with pytest.raises(Refused, match="said no"):
            source.renew(1, clock.deadline())
    assert source.fetches == 2
    source.error = None
    clock.seconds = REFUSED_FOR.total_seconds()
    assert source.renew(1, clock.deadline()) == 3


def test_what_has_expired_soon_after_it_was_renewed_is_fetched_all_the_same() -> None:
    clock = Clock()
    source = Source(clock)
    source.get(clock.deadline())
    source.renew(1, clock.deadline())
    source.value = None
    assert source.get(clock.deadline()) == 3

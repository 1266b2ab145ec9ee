"""What all threads need and one of them fetches for all, such as keys.

The others wait, each until its own deadline. A fetch that failed is not repeated at once: sixteen threads would repeat
it one after the other.
"""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from shared.deadline import Deadline

REFUSED_FOR: Final = timedelta(seconds=30)
"""How long a refusal is remembered: less than the 48 seconds after which SQS delivers again what went back to it."""

TRANSIENT_FOR: Final = timedelta(seconds=5)
"""How long a transient failure is remembered: for the calls of the same delivery, which come one after the other."""


class _Failure(NamedTuple):
    """`until`: when others may fetch again; `None` if the thread that fetched only ran out of its own time."""

    fault: Exception
    at: datetime
    until: datetime | None


class FetchOnce:
    """Lets one thread at a time fetch, and remembers for a short time that a fetch failed.

    `what` names in errors what is fetched. Of the `faults` that a fetch raises only type and text are kept; `timed_out`
    is raised at the deadline of a thread that waits. `transient_for`: `timedelta(0)` if the caller tries again itself;
    a transient failure is then shared only by the threads that waited for the fetch.
    """

    def __init__(
        self,
        what: str,
        *,
        now: Callable[[], datetime],
        timed_out: type[Exception],
        faults: tuple[type[Exception], ...],
        is_transient: Callable[[Exception], bool],
        transient_for: timedelta = TRANSIENT_FOR,
    ) -> None:
        self._what = what
        self._now = now
        self._timed_out = timed_out
        self._faults = faults
        self._is_transient = is_transient
        self._transient_for = transient_for
        self._lock = threading.Lock()
        self._ended = 0
        self._failure: _Failure | None = None
        self._renewed_at: datetime | None = None

    def get[T](
        self,
        known: Callable[[], T | None],
        fetch: Callable[[Deadline], T],
        deadline: Deadline,
        *,
        spare: T | None = None,
    ) -> T:
        """Return what is known, else fetch it; `fetch` stores it where `known` finds it. Both hold the lock.

        `spare` may still be used: it is returned if the fetch fails or another thread is fetching, and half of the time
        is left to use it.
        """
        ended = self._ended
        if not self._lock.acquire(timeout=deadline.remaining() if spare is None else 0):
            if spare is not None:
                return spare
            raise self._timed_out(f"no time left to wait for {self._what}, which another thread is fetching")
        try:
            if (value := known()) is not None:
                return value
            self._raise_remembered(ended, has_spare=spare is not None)
            return self._fetch(fetch, deadline if spare is None else deadline.less(deadline.remaining() / 2))
        except self._faults:
            if spare is None:
                raise
            return spare
        finally:
            self._lock.release()

    def renew[T](self, other: Callable[[], T | None], fetch: Callable[[Deadline], T], deadline: Deadline) -> T | None:
        """Return another value than one that was refused: one that another thread has fetched, else fetch it.

        `None` if a renewal ended a short time ago: what it brought is refused, and the next one would bring no better.
        """

        def fetch_unless_renewed(deadline: Deadline) -> T | None:
            if self._renewed_at is not None and self._now() < self._renewed_at + REFUSED_FOR:
                return None
            value = fetch(deadline)
            self._renewed_at = self._now()
            return value

        return self.get(other, fetch_unless_renewed, deadline)

    def _fetch[T](self, fetch: Callable[[Deadline], T], deadline: Deadline) -> T:
        self._failure = None
        try:
            return fetch(deadline)
        except self._faults as fault:
            now, span = self._now(), self._span(fault, deadline)
            # A copy: the error itself would keep the frames that it passed, and with them a whole delivery.
            self._failure = _Failure(type(fault)(*fault.args), at=now, until=now + span if span is not None else None)
            raise
        finally:
            self._ended += 1

    def _span(self, fault: Exception, deadline: Deadline) -> timedelta | None:
        """Return how long others do not fetch again: after a transient failure not past the deadline of this thread."""
        if not self._is_transient(fault):
            return REFUSED_FOR
        left = timedelta(seconds=deadline.remaining())
        return min(left, self._transient_for) if left else None

    def _raise_remembered(self, ended: int, *, has_spare: bool) -> None:
        """Raise what the last fetch failed for, if it ended while this thread waited, or a short time ago.

        `ended`: how many fetches had ended when the thread came.
        """
        if self._failure is None:
            return
        fault, at, until = self._failure
        now = self._now()
        if (has_spare and now < at + REFUSED_FOR) or (until is not None and self._ended != ended):
            raise type(fault)(*fault.args)
        if until is not None and now < until:
            raise type(fault)(f"{fault} (from a try less than {REFUSED_FOR.seconds} seconds ago)")

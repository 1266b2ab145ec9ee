"""Questions to Huawei that must be answered before anything can be decided: a list, a page of it, an age.

Unlike a stop or a read back (`shared.execution`), whose passing faults end in a remainder, a list is worth nothing if a
part of it is missing: the question is asked until it is answered, or `HuaweiUnavailable` says that it was not.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from shared.errors import HuaweiUnavailable
from shared.findings import Finding, Verdict
from shared.patience import pauses

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from shared.deadline import Deadline
    from shared.pace import Pace
    from shared.patience import Patience


class Inquiry:
    """Asks one service, at its pace, until `deadline`. May be used from several threads.

    `deadline` may be moved between the questions. `calls` and `throttles` count the questions asked, and those that met
    a throttle.
    """

    def __init__(self, *, pace: Pace, patience: Patience, deadline: Deadline) -> None:
        self._pace = pace
        self._patience = patience
        self.deadline = deadline
        self._counting = threading.Lock()
        self.calls = 0
        self.throttles = 0

    def ask[T](self, question: Callable[[Deadline], T | Finding]) -> T | Finding:
        """Ask until the answer is something else than `UNFINISHED`, and give it.

        A throttle uses up no try: the pace slows down until Huawei lets the question through. Raises
        `HuaweiUnavailable` when tries or time are used up, and what the question raises.
        """
        waits = pauses()
        said: str | None = None
        while True:
            answer = self._once(question)
            if not isinstance(answer, Finding) or answer.verdict is not Verdict.UNFINISHED:
                return answer
            before = f" (before that: {said})" if said and not answer.was_asked else ""
            said = f"{answer.error_code}: {answer.error_msg}" if answer.error_code else f"{answer.error_msg}{before}"
            if answer.throttled:
                if self.deadline.remaining():
                    continue
            elif (wait := next(waits)) is not None:
                seconds = (answer.retry_after or 0.0) + self._patience.uniform(0.0, wait)
                if seconds < self.deadline.remaining():
                    self._patience.sleep(seconds)
                    continue
            raise HuaweiUnavailable(f"Huawei Cloud could not be asked to the end: {said}")

    def each[X, Y](self, work: Callable[[X], Y], items: Sequence[X]) -> list[Y]:
        """Do `work`, which asks, for each item, as many at a time as the pace allows; raises what the first raises."""
        return self._pace.threads.each(work, items)

    def _once[T](self, question: Callable[[Deadline], T | Finding]) -> T | Finding:
        turn = self._pace.begin(self.deadline) if self.deadline.remaining() else None
        if turn is None:
            return Finding(Verdict.UNFINISHED, error_msg="no time left to ask", was_asked=False)
        throttled, retry_after = False, None
        try:
            answer = question(self.deadline)
            if isinstance(answer, Finding):
                throttled, retry_after = answer.throttled, answer.retry_after
            return answer
        finally:
            with self._counting:
                self.calls += 1
                self.throttles += throttled
            self._pace.end(turn, self.deadline, throttled=throttled, retry_after=retry_after if throttled else None)

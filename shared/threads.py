"""The same work for many items, side by side."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def each[X, Y](work: Callable[[X], Y], items: Sequence[X], *, at_once: int) -> list[Y]:
    """Give what `work` gives for each item, in their order, `at_once` of them at a time.

    Raises what the first item raises that does, in their order; what has not begun by then is not begun.
    """
    if min(at_once, len(items)) <= 1:
        return [work(item) for item in items]
    with ThreadPoolExecutor(max_workers=min(at_once, len(items))) as threads:
        futures = [threads.submit(work, item) for item in items]
        try:
            return [future.result() for future in futures]
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise

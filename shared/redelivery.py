"""When SQS delivers again what a function gives back: soon at first, later each time."""

from __future__ import annotations

from math import ceil
from typing import Final

FIRST_WAIT: Final = 60
"""Seconds, after the first receive. Each further receive doubles them, up to the queue's visibility time-out."""

JITTER: Final = 0.2
"""The part of a wait by which it may be shorter."""


def seconds_until_redelivery(receives: int, *, visibility_timeout: int, jitter: float) -> int:
    """Return how long a message stays hidden that is given back after so many receives.

    `jitter`: 0 is the longest wait, 1 the shortest. `maxReceiveCount` in template.yaml counts on the shortest.
    """
    longest: float = min(FIRST_WAIT * 2 ** (receives - 1), visibility_timeout)
    return ceil(longest * (1 - JITTER * jitter))

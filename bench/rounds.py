"""Rounds: everything that is compared is run in turn, again and again."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def interleaved[T](rounds: int, runs: Mapping[str, Callable[[], T]], *, warm_up: bool = True) -> dict[str, list[T]]:
    """Give what each run gave, a value a round; what else the machine does so falls on all alike.

    The round that warms up is not counted.
    """
    if warm_up:
        for run in runs.values():
            run()
    values: dict[str, list[T]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            values[name].append(run())
    return values

"""What a measurement gives: samples, and figures made of them."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pydantic import TypeAdapter

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class Sample:
    """Values measured one after the other, at least one, all in the figure's unit."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle value."""
        return statistics.median(self.values)

    @property
    def quartiles(self) -> tuple[float, float]:
        """The spread: a quarter of the values lies below the first, a quarter above the second."""
        low, _, high = statistics.quantiles(self.values, n=4, method="inclusive")
        return low, high


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured thing.

    `ours` and `peers` are in `unit`. `ratio` is what `target` speaks of (such as `naive / ours` of the medians) and
    `target` says its bound in words; `reached` is `None` where there is no bound. `note` says how it was measured.
    """

    name: str
    unit: str
    ours: Sample
    peers: dict[str, Sample]
    target: str
    ratio: float | None
    reached: bool | None
    note: str


@dataclass(frozen=True, slots=True)
class Machine:
    """What the figures were measured on; `date` is a day such as 2026-11-24."""

    cpu: str
    cores: int
    memory_gib: float
    system: str
    python: str
    date: str
    load: float


@dataclass(frozen=True, slots=True)
class Results:
    """One run of the bench. `quick` ones were measured on tiny sizes, to see that the bench runs."""

    machine: Machine
    quick: bool
    figures: tuple[Figure, ...]

    def __getitem__(self, name: str) -> Figure:
        """Give the figure of this name; raises `KeyError` if it was not measured."""
        try:
            return next(figure for figure in self.figures if figure.name == name)
        except StopIteration:
            raise KeyError(name) from None


_RESULTS: Final = TypeAdapter(Results)


def to_json(results: Results) -> str:
    """Write as `from_json` reads it."""
    return _RESULTS.dump_json(results, indent=1).decode() + "\n"


def from_json(text: str | bytes) -> Results:
    """Read what `to_json` wrote; raises pydantic's `ValidationError`, a `ValueError`."""
    return _RESULTS.validate_json(text)


def sample(values: Iterable[float]) -> Sample:
    """Make a sample of measured values."""
    return Sample(tuple(values))


def ratio(above: Sample, below: Sample) -> float:
    """Divide medians."""
    return above.median / below.median

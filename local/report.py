"""What the demo found out, as data and as people read it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console

    from local.messages import Expected

_LINES_SHOWN: Final = 10


@dataclass(frozen=True, slots=True)
class Seen:
    """What became of one command. `seconds`: from the send to its final event; None if that never came."""

    title: str
    command_id: str
    expected: Expected
    status: str | None
    tally: dict[str, int]
    events: int
    calls: int
    seconds: float | None


@dataclass(frozen=True, slots=True)
class HuaweiSaw:
    """What the stand-in for Huawei Cloud saw. `targets_a_call`: of each stop of targets, in order."""

    requests: dict[str, int]
    targets_a_call: list[int]
    signatures: dict[str, int]
    authentication_failures: int
    violations: dict[str, int]
    running: list[str]


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message in a dead-letter queue; `intact`: whether its body is, to the byte, one that was sent."""

    queue: str
    body: str
    failure_reason: str | None
    intact: bool


@dataclass(frozen=True, slots=True)
class Workflow:
    """A run of the state machine: how it ended, the states that it went through, and what it gave."""

    status: str
    states: list[str]
    output: Any


@dataclass(slots=True)
class Result:
    """All that the demo found out.

    `seconds`: of each step; `left`: messages still in the queues; `sweep`: the report of the sweep.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    commands: list[Seen] = field(default_factory=list)
    huawei: HuaweiSaw | None = None
    sweep: dict[str, Any] = field(default_factory=dict)
    workflow: Workflow | None = None
    dead_letters: list[DeadLetter] = field(default_factory=list)
    left: dict[str, int] = field(default_factory=dict)
    differences: list[str] = field(default_factory=list)
    log: dict[str, list[str]] = field(default_factory=dict)


def _table(result: Result) -> Table:
    table = Table(title="What became of each command")
    for heading in ("message", "outcome", "tally"):
        table.add_column(heading)
    for heading in ("events", "calls", "seconds"):
        table.add_column(heading, justify="right")
    table.add_column("as expected")
    by_title: dict[str, list[Seen]] = {}
    for seen in result.commands:
        by_title.setdefault(seen.title, []).append(seen)
    for title, group in by_title.items():
        tally: Counter[str] = Counter()
        for seen in group:
            tally.update(seen.tally)
        times = [seen.seconds for seen in group if seen.seconds is not None]
        expected = group[0].expected
        odd = sum(any(text.startswith(f"{seen.command_id}:") for text in result.differences) for seen in group)
        table.add_row(
            title,
            ", ".join(dict.fromkeys(str(seen.status) for seen in group)),
            _words(tally) or "-",
            str(sum(seen.events for seen in group)),
            str(sum(seen.calls for seen in group)) if len(group) == 1 else "folded",
            f"{max(times):.2f}" if times else "-",
            "yes" if not odd else f"no: {expected.status} {_words(expected.tally)}".rstrip(),
        )
    return table


def show(result: Result, console: Console) -> None:
    """Print the result for people."""
    console.print(_table(result))
    if saw := result.huawei:
        console.print(f"Huawei Cloud saw: {_words(saw.requests)}")
        console.print(f"  targets a stop call: {', '.join(map(str, saw.targets_a_call))}")
        console.print(f"  signatures: {_words(saw.signatures)}; {saw.authentication_failures} wrong")
        console.print(f"  violations: {_words(saw.violations) or 'none'}; still running: {len(saw.running)}")
    if sweep := result.sweep:
        counts = {name: sweep[name] for name in ("scanned", "stale", "protected", "unknown_age", "sent", "targets")}
        console.print(f"The sweep found: {_words(counts)}")
    if ran := result.workflow:
        console.print(f"The workflow went: {' → '.join(ran.states)}; {ran.status}")
    console.print("Dead-letter queues:")
    for letter in result.dead_letters:
        body = "body intact" if letter.intact else "BODY CHANGED"
        console.print(f"  {letter.queue}: {body}; {letter.failure_reason}", markup=False, soft_wrap=True)
    console.print(f"Left in the queues: {_words(result.left) or 'nothing'}")
    for difference in result.differences:
        console.print(f"NOT AS EXPECTED  {difference}", style="red", markup=False)
    for source, lines in result.log.items():
        for line in lines[-_LINES_SHOWN:]:
            console.print(f"{source}: {line}", markup=False, soft_wrap=True)
    total = sum(result.seconds.values())
    console.print(f"{'not all is' if result.differences else 'all'} as expected, after {total:.1f} s")


def _words(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())

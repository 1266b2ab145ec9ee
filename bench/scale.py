"""A model of a year at fleet scale, computed from the measured figures: `python -m bench.scale` prints it.

10 million devices, 1 % of which are to be stopped within five minutes. It knows what was measured (results.json), what
AWS and Huawei Cloud document, and says which of the two bounds.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench.figures import from_json

if TYPE_CHECKING:
    from bench.figures import Results

DEVICES: Final = 10_000_000
SHARE: Final = 0.01
WITHIN: Final = 300.0
"""Seconds."""
STOPS_A_YEAR: Final = 365

DEVICES_PER_TASK: Final = 30_000
"""Of one batch task (huaweicloudsdkiotda, CreateBatchTask)."""
TARGETS_PER_CALL: Final = 100
IN_FLIGHT: Final = 8
"""`CONCURRENT_CALLS`."""
MESSAGES: Final = 500
"""`BatchSize` of StopTargetsFunction."""
LARGEST_BATCH: Final = 10_000
"""Messages (https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-parameters.html)."""
LARGEST_EVENT: Final = 6 * 1024 * 1024
"""Bytes of one delivery (https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html)."""
ENVELOPE: Final = 700
"""Bytes that a message with one target and its record take in a delivery."""
WINDOW: Final = 1.0
"""Seconds: `MaximumBatchingWindowInSeconds`."""
COLD_START: Final = 1.0
"""Seconds, generously: bench/cold_start.py measures how long it is."""
FIRST_PROCESSES: Final = 5
"""Deliveries at a time with which Lambda begins on a queue
(https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html)."""
MORE_PROCESSES: Final = 300 / 60
"""More of them a second (same page)."""

QUOTAS: Final = (2, 5, 20, 50, 200, 400)
"""Calls a second: 200 and 400 are those of enterprise instances of 1 000 and 2 000 TPS; the lower ones stand for what
an instance leaves us, since the standard and basic editions publish none
(https://www.huaweicloud.com/guide/productsdesc-bms_82d40241a485fe471c1a7e50385ef2f4support2)."""
LATENCIES: Final = (0.1, 0.5)
"""Seconds of one call."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How the targets to stop arrive. `calls`: to Huawei Cloud; `processes`: at a time, as far as messages allow."""

    name: str
    messages: int
    deliveries: int
    calls: int

    def seconds(self, *, quota: float, latency: float, processes: int, used: float) -> tuple[float, str]:
        """Give the time until the last target is stopped, and what bounds it.

        `used`: the part of the quota that gets used, as measured.
        """
        at_once = min(processes, self.deliveries)
        by_quota = self.calls / (quota * used)
        by_waiting = math.ceil(self.calls / (at_once * IN_FLIGHT)) * latency
        # Lambda adds processes at its own rate; until then fewer take the deliveries.
        starting = max(0.0, (at_once - FIRST_PROCESSES) / MORE_PROCESSES)
        bound = "quota" if by_quota >= by_waiting + starting else "waiting" if by_waiting >= starting else "Lambda"
        return WINDOW + COLD_START + max(by_quota, by_waiting + starting), bound


def calls_of(messages: int, *, batch: int, tasks: int) -> int:
    """Count the calls for one-target messages of so many tasks, in deliveries of `batch`, when chance mixes them.

    A delivery needs a call for each 100 targets of each task that occurs in it.
    """
    occurring = tasks * (1 - (1 - 1 / tasks) ** batch)
    each = occurring * math.ceil(batch / occurring / TARGETS_PER_CALL)
    return math.ceil(messages / batch * each)


def shapes() -> tuple[Shape, ...]:
    """Give the ways in which one may ask for it."""
    targets = round(DEVICES * SHARE)
    tasks = math.ceil(DEVICES / DEVICES_PER_TASK)
    fullest = min(LARGEST_BATCH, LARGEST_EVENT // ENVELOPE)
    spread = tasks * math.ceil(targets / tasks / TARGETS_PER_CALL)
    return (
        Shape("a command a task", tasks, math.ceil(tasks / MESSAGES), spread),
        Shape(
            f"a command a device, `BatchSize` {MESSAGES}",
            targets,
            math.ceil(targets / MESSAGES),
            calls_of(targets, batch=MESSAGES, tasks=tasks),
        ),
        Shape(
            f"a command a device, `BatchSize` {LARGEST_BATCH} ({fullest} fit)",
            targets,
            math.ceil(targets / fullest),
            calls_of(targets, batch=fullest, tasks=tasks),
        ),
    )


def model(results: Results) -> str:
    """Write the tables of docs/scale.md."""
    shares = [each.ratio or 1.0 for each in results.figures if each.name.startswith("quota of ")]
    used = min([1.0, *shares])
    processes = 10
    heads = " | ".join(f"{each} s a call" for each in LATENCIES)
    told = (
        f"{round(DEVICES * SHARE):,} targets of {math.ceil(DEVICES / DEVICES_PER_TASK)} batch tasks, "
        f"`MaximumConcurrency` {processes}, `CONCURRENT_CALLS` {IN_FLIGHT}; {used:.0%} of a quota is used, as measured."
    )
    rows = [told, "", f"| asked for by | messages | calls | quota, calls/s | {heads} |"]
    rows.append("|---|---:|---:|---:|" + "---:|" * len(LATENCIES))
    for shape in shapes():
        for quota in QUOTAS:
            cells = []
            for latency in LATENCIES:
                seconds, bound = shape.seconds(quota=quota, latency=latency, processes=processes, used=used)
                late = "" if seconds <= WITHIN else ", **too late**"
                cells.append(f"{seconds:,.0f} s ({bound}{late})")
            rows.append(f"| {shape.name} | {shape.messages:,} | {shape.calls:,} | {quota} | {' | '.join(cells)} |")
    rows += ["", *_least(used), "", *_costs(results)]
    return "\n".join(rows)


def _least(used: float) -> list[str]:
    rows = ["| asked for by | least quota for five minutes, calls/s |", "|---|---:|"]
    for shape in shapes():
        least = shape.calls / used / (WITHIN - WINDOW - COLD_START)
        rows.append(f"| {shape.name} | {math.ceil(least)} |")
    return rows


def _costs(results: Results) -> list[str]:
    targets = round(DEVICES * SHARE) * STOPS_A_YEAR
    rows = [
        f"A year with such a stop every day, {targets / 1e6:.1f} million targets, USD:",
        "",
        "| asked for by | Stopline | naive |",
        "|---|---:|---:|",
    ]
    for name, figure in (
        ("commands of many targets", "cost, a million targets"),
        ("a command a device, delivered by 10", "cost, a million commands by 10"),
        ("a command a device, delivered by 500", "cost, a million commands by 500"),
    ):
        found = next((each for each in results.figures if each.name == figure), None)
        if found is not None:
            year = targets / 1_000_000
            naive = found.peers["naive"].median * year
            rows.append(f"| {name} | {found.ours.median * year:,.2f} | {naive:,.2f} |")
    return rows


if __name__ == "__main__":
    results_file = Path(__file__).parent / "results.json"
    sys.stdout.write(model(from_json(results_file.read_bytes())) + "\n")

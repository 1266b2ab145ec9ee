"""A model of a year at fleet scale, computed from the measured figures: `python -m bench.scale` prints it.

10 million devices, 1 % of which are to be stopped within five minutes. It knows what was measured (results.json), what
AWS and Huawei Cloud document (docs/scale.md has the pages), and says which of the two bounds.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench.costs import OUR_MEMORY
from bench.figures import from_json
from bench.prices import (
    ALARM_METRIC_MONTH,
    DASHBOARD_MONTH,
    LAMBDA_GB_SECOND,
    LOG_GB,
    METRIC_MONTH,
    SQS_REQUEST,
    TRANSITION,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.figures import Results

DEVICES: Final = 10_000_000
SHARE: Final = 0.01
WITHIN: Final = 300.0
"""Seconds."""
STOPS_A_YEAR: Final = 365

DEVICES_PER_TASK: Final = 30_000
"""Of one batch task (https://support.huaweicloud.com/intl/en-us/api-iothub/iot_06_v5_0045.html)."""
TARGETS_PER_CALL: Final = 100
IN_FLIGHT: Final = 8
"""`ConcurrentCalls` of template.yaml."""
MESSAGES: Final = 500
"""`BatchSize` of StopTargetsFunction."""
LARGEST_BATCH: Final = 10_000
"""Messages (https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-parameters.html)."""
LARGEST_EVENT: Final = 6 * 1024 * 1024
"""Bytes of one delivery (https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html)."""
ENVELOPE: Final = 700
"""Bytes that a message with one target and its record take in a delivery."""
TARGET: Final = 40
"""Bytes of each further target: an id of 36 characters, as JSON."""
WINDOW: Final = 1.0
"""Seconds: `MaximumBatchingWindowInSeconds`."""
COLD_START: Final = 1.0
"""Seconds, generously: bench/cold_start.py measures how long it is."""
FIRST_PROCESSES: Final = 5
"""Deliveries at a time with which Lambda begins on a queue
(https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html)."""
MORE_PROCESSES: Final = 300 / 60
"""More of them a second (same page)."""
FEWEST_PROCESSES: Final = 2
"""The least that `MaximumConcurrency` may be (same page)."""

QUOTAS: Final = {
    2: "what others leave",
    5: "what others leave",
    20: "what others leave",
    50: "what others leave",
    200: "enterprise, 1 000 TPS",
    400: "enterprise, 2 000 TPS",
}
"""Calls a second, and whose quota it is
(https://www.huaweicloud.com/guide/productsdesc-bms_82d40241a485fe471c1a7e50385ef2f4support2)."""
FAST, SLOW = 0.1, 0.5
"""Seconds of one call, between which Huawei Cloud is taken to be."""
PROCESSES: Final = (2, 5, 10, 25)
"""`MaximumConcurrency` to compare; 5 is the template's."""

ALARM_METRICS: Final = 43
"""Metrics that the alarms of template.yaml look at: each is billed, several to an alarm that adds them up."""
POLLED_QUEUES: Final = 2
POLLS: Final = 365 * 86_400 / 20
"""A year's receives of one of the `FIRST_PROCESSES`, none of which finds anything, each waiting 20 seconds."""
LOGGED_EVENT: Final = 820
LOGGED_RESULT: Final = 69
"""Bytes of an event in the log of outcomes, with the 26 that CloudWatch Logs counts for each
(https://aws.amazon.com/cloudwatch/pricing/), and of each result of a target whose id has 36 characters."""
METRICS: Final = 15
"""Own metrics of ordinary use."""
TRANSITIONS: Final = 5
"""Of a workflow that has nothing to wait for: four states and the start."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How the targets to stop arrive. `deliveries`: the fewest that the messages fit into; `calls`: to Huawei Cloud."""

    name: str
    messages: int
    deliveries: int
    calls: int

    def processes(self, most: int) -> int:
        """Give how many are at work, when as few deliveries as may be share the work and `most` are allowed."""
        return min(most, self.deliveries)

    def seconds(self, *, quota: float, latency: float, processes: int, used: float) -> tuple[float, str]:
        """Give the time until the last target is stopped, and what bounds it.

        `used`: the part of the quota that gets used, as measured.
        """
        at_once = self.processes(processes)
        by_quota = self.calls / (quota * used)
        by_waiting = math.ceil(self.calls / (at_once * IN_FLIGHT)) * latency
        # Lambda adds processes at its own rate; until then fewer take the deliveries.
        starting = max(0.0, (at_once - FIRST_PROCESSES) / MORE_PROCESSES)
        bound = "quota" if by_quota >= by_waiting + starting else "waiting" if by_waiting >= starting else "Lambda"
        return WINDOW + COLD_START + max(by_quota, by_waiting + starting), bound

    def told(self, *, quota: int, processes: int, used: float) -> str:
        """Write the time between fast and slow calls, and what bounds the slow ones; bold if it is too long."""
        fast, slow = (
            self.seconds(quota=quota, latency=latency, processes=processes, used=used) for latency in (FAST, SLOW)
        )
        first, last = duration(fast[0]), duration(slow[0])
        took = last if first == last else f"{first} to {last}"
        return f"{took} ({slow[1]})" if slow[0] <= WITHIN else f"**{took}** ({slow[1]})"


def duration(seconds: float) -> str:
    """Write it in the unit that suits it."""
    if seconds < 10 * 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 2 * 60 * 60 else f"{seconds / 3600:.1f} h"


def chosen(quota: int) -> int:
    """Choose a `MaximumConcurrency`: the fewest processes that use this quota up while calls are slow."""
    return max(FEWEST_PROCESSES, math.ceil(quota * SLOW / IN_FLIGHT))


def calls_of(messages: int, *, batch: int, tasks: int) -> int:
    """Count the calls for one-target messages of so many tasks, in deliveries of `batch`, when chance mixes them.

    A delivery needs a call for each 100 targets of each task that occurs in it.
    """
    occurring = tasks * (1 - (1 - 1 / tasks) ** batch)
    each = occurring * math.ceil(batch / occurring / TARGETS_PER_CALL)
    return math.ceil(messages / batch * each)


def shapes() -> tuple[Shape, Shape, Shape]:
    """Give the ways in which one may ask for it."""
    targets = round(DEVICES * SHARE)
    tasks = math.ceil(DEVICES / DEVICES_PER_TASK)
    per_task = math.ceil(targets / tasks)
    of_tasks = min(MESSAGES, LARGEST_EVENT // (ENVELOPE + TARGET * (per_task - 1)))
    fullest = min(LARGEST_BATCH, LARGEST_EVENT // ENVELOPE)
    return (
        Shape(
            "a command a task",
            tasks,
            math.ceil(tasks / of_tasks),
            tasks * math.ceil(per_task / TARGETS_PER_CALL),
        ),
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
    """Write the tables of docs/scale.md; raises `KeyError` if the results lack the costs."""
    used = min(1.0, *(each.ratio or 1.0 for each in results.figures if each.name.startswith("quota of ")), 1.0)
    parts = (_by_quota(used), _by_concurrency(used), _costs(results), _standing(used))
    return "\n\n".join("\n".join(part) for part in parts)


def _by_quota(used: float) -> Iterator[str]:
    ways = shapes()
    yield (
        f"Time until the last of {ways[1].messages:,} targets is stopped, at {FAST} to {SLOW} s a call, and what "
        "bounds it if they are slow; **bold** if that is more than five minutes. "
        f"{used:.0%} of a quota is used, as measured."
    )
    yield ""
    yield f"| calls/s for us | | set `MaximumConcurrency` | {' | '.join(each.name for each in ways)} |"
    yield "|---:|---|---:|" + "---|" * len(ways)
    yield f"| | messages; calls | | {' | '.join(f'{each.messages:,}; {each.calls:,}' for each in ways)} |"
    for quota, whose in QUOTAS.items():
        cells = [each.told(quota=quota, processes=chosen(quota), used=used) for each in ways]
        yield f"| {quota} | {whose} | {chosen(quota)} | {' | '.join(cells)} |"
    least = [f"{math.ceil(each.calls / used / (WITHIN - WINDOW - COLD_START))} calls/s" for each in ways]
    yield f"| | **least quota for five minutes** | | {' | '.join(least)} |"


def _by_concurrency(used: float) -> Iterator[str]:
    way = shapes()[1]
    yield (
        f"What other `MaximumConcurrency` does to {way.name}, with {IN_FLIGHT} calls in flight in each process; a "
        "command a task fits into one delivery and does not care:"
    )
    yield ""
    heads = " | ".join(f"{each} processes" for each in PROCESSES)
    yield f"| calls/s for us | {heads} |"
    yield "|---:|" + "---|" * len(PROCESSES)
    for quota in [each for each in QUOTAS if chosen(each) > FEWEST_PROCESSES]:
        cells = [way.told(quota=quota, processes=each, used=used) for each in PROCESSES]
        yield f"| {quota} | {' | '.join(cells)} |"


def _costs(results: Results) -> Iterator[str]:
    targets = round(DEVICES * SHARE) * STOPS_A_YEAR
    yield f"A year with such a stop every day, {targets / 1e6:.1f} million targets, in USD; what the work itself costs:"
    yield ""
    yield "| asked for by | Stopline | naive |"
    yield "|---|---:|---:|"
    for name, figure in (
        ("commands of many targets", "cost, a million targets"),
        ("a command a device, delivered by 10", "cost, a million commands by 10"),
        ("a command a device, delivered by 500 (naive: by 10)", "cost, a million commands by 500"),
    ):
        found = results[figure]
        year = targets / 1_000_000
        yield f"| {name} | {found.ours.median * year:,.2f} | {found.peers['naive'].median * year:,.2f} |"


def _standing(used: float) -> Iterator[str]:
    by_task, by_device, _ = shapes()
    polled = POLLED_QUEUES * FIRST_PROCESSES * POLLS * SQS_REQUEST
    workflows = by_task.messages * STOPS_A_YEAR * TRANSITIONS * TRANSITION
    yield "What comes on top, counted and not measured:"
    yield ""
    yield "| | USD a year |"
    yield "|---|---:|"
    for what, usd in (
        (f"{ALARM_METRICS} metrics that alarms watch", ALARM_METRICS * 12 * ALARM_METRIC_MONTH),
        ("the dashboard", 12 * DASHBOARD_MONTH),
        (f"{METRICS} own metrics, if each is written every hour", METRICS * 12 * METRIC_MONTH),
        (f"Lambda's polling of {POLLED_QUEUES} empty queues, {FIRST_PROCESSES} receives of 20 s at a time", polled),
        *(
            _logged(name, events)
            for name, events in ((by_task.name, by_task.calls), ("a command a device", by_device.messages))
        ),
        *(_waiting(way, quota, used) for way, quota in ((by_task, 5), (by_device, 200))),
        (f"a workflow of {TRANSITIONS} transitions for each task, instead of a message", workflows),
    ):
        yield f"| {what} | {usd:,.2f} |"


def _logged(name: str, events: int) -> tuple[str, float]:
    """Return what the log of outcomes costs, if a stop of all targets is so many events."""
    stored = events * LOGGED_EVENT + round(DEVICES * SHARE) * LOGGED_RESULT
    return f"the log of outcomes, {name}", stored * STOPS_A_YEAR / 1e9 * LOG_GB


def _waiting(way: Shape, quota: int, used: float) -> tuple[str, float]:
    """Give what Lambda takes while the processes wait for the quota, which it bills like work."""
    seconds, _ = way.seconds(quota=quota, latency=SLOW, processes=chosen(quota), used=used)
    gb_seconds = seconds * way.processes(chosen(quota)) * OUR_MEMORY / 1024
    return f"Lambda's wait for a quota of {quota} calls/s, {way.name}", gb_seconds * LAMBDA_GB_SECOND * STOPS_A_YEAR


if __name__ == "__main__":
    results_file = Path(__file__).parent / "results.json"
    sys.stdout.write(model(from_json(results_file.read_bytes())) + "\n")

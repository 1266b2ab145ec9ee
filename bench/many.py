"""Many small commands: folded into few calls where they are of one task, side by side where they are not."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from bench.figures import Figure, ratio, sample
from bench.large import LATENCY
from bench.rounds import interleaved
from bench.work import batch_task, check_tasks, deliveries, delivery, device_ids, stop_targets, stop_task
from bench.world import NAIVE, OURS

if TYPE_CHECKING:
    from bench.worker import Answer
    from bench.world import World

_TASKS: Final = 10
_OFTEN: Final = 3
"""Times by which we must be faster than naive."""


def folding(world: World, *, rounds: int, quick: bool) -> list[Figure]:
    """Measure a delivery of 1 000 messages that name one target each, all of one task."""
    number = 20 if quick else 1000
    modules = {"ours": OURS["stop_targets"], "naive": NAIVE["stop_targets"]}

    def run(module: str, latency: float) -> tuple[float, int]:
        ids = device_ids(number)
        world.begin([batch_task(ids)], latency=latency)
        answer = world.worker(module).handle(delivery(*[stop_targets([each]) for each in ids]))
        world.check(stopped=number)
        return sum(answer.wall), world.huawei_calls()

    at_once = interleaved(rounds, {name: partial(run, module, 0.0) for name, module in modules.items()})
    slow = interleaved(rounds, {"ours": partial(run, modules["ours"], LATENCY)}) | interleaved(
        1, {"naive": partial(run, modules["naive"], LATENCY)}, warm_up=False
    )
    figures = []
    for latency, answers in ((LATENCY, slow), (0.0, at_once)):
        wall = {name: sample(seconds for seconds, _ in some) for name, some in answers.items()}
        times = ratio(wall["naive"], wall["ours"])
        figures.append(
            Figure(
                f"folding, {latency * 1000:.0f} ms a call",
                "s",
                wall.pop("ours"),
                wall,
                "naive / ours ≥ 50" if latency else "",
                times,
                times >= 50 if latency else None,  # noqa: PLR2004 - the target
                f"{number} one-target messages of one batch task in one delivery, an outcome for each",
            )
        )
    calls = {name: sample(float(count) for _, count in some) for name, some in at_once.items()}
    ours = calls.pop("ours")
    least = math.ceil(number / 100)
    note = f"{number} one-target messages of one batch task in one delivery"
    target = "ours ≤ 1 for each 100"
    times = ratio(calls["naive"], ours)
    return [Figure("folding, calls", "calls", ours, calls, target, times, ours.median <= least, note), *figures]


def many_commands(world: World, *, rounds: int, quick: bool) -> list[Figure]:
    """Measure messages a second through one process, when Huawei answers at once."""
    number = 40 if quick else 1000

    def run(kind: str, modules: dict[str, str], size: int) -> Answer:
        if kind == "stop_task":
            checks = check_tasks(number)
            world.begin(checks)
            bodies: list[dict[str, Any]] = [stop_task(each) for each in checks]
        else:
            ids = device_ids(number)
            tasks = [batch_task(ids[first::_TASKS], f"{first:x}") for first in range(_TASKS)]
            world.begin(tasks)
            bodies = [stop_targets([each], f"{place % _TASKS:x}") for place, each in enumerate(ids)]
        answer = world.worker(modules[kind]).handle(*deliveries(bodies, size=size))
        world.check(stopped=number)
        return answer

    figures = []
    for kind, size in (("stop_task", 10), ("stop_task", 500), ("stop_targets", 10), ("stop_targets", 500)):
        answers = interleaved(
            rounds, {"ours": partial(run, kind, OURS, size), "naive": partial(run, kind, NAIVE, size)}
        )
        rates = {name: sample(number / sum(each.wall) for each in some) for name, some in answers.items()}
        times = ratio(rates["ours"], rates["naive"])
        what = "a check each" if kind == "stop_task" else f"a target each, of {_TASKS} batch tasks in turn"
        figures.append(
            Figure(
                f"many commands, {kind} by {size}",
                "messages/s",
                rates.pop("ours"),
                rates,
                f"ours / naive ≥ {_OFTEN}",
                times,
                times >= _OFTEN,
                f"{number} messages, {what}, in deliveries of {size}; the stand-in, one process, answers at once",
            )
        )
    return figures


def backlog(world: World, *, rounds: int, quick: bool) -> list[Figure]:
    """Measure one process that works off a backlog 10 and 100 times as large: cost and age at completion."""
    sizes = (10, 20, 40) if quick else (100, 1000, 10_000)
    latency = 0.02
    ages: dict[int, list[float]] = {size: [] for size in sizes}
    costs: dict[int, list[float]] = {size: [] for size in sizes}
    rates: dict[int, list[float]] = {size: [] for size in sizes}
    for number in range(min(rounds, 3) + 1):
        for size in sizes:
            checks = check_tasks(size)
            world.begin(checks, latency=latency)
            answer = world.worker(OURS["stop_task"]).handle(*deliveries(map(stop_task, checks), size=10))
            world.check(stopped=size)
            if number:
                ages[size].append(sum(answer.wall))
                costs[size].append(answer.cpu / size * 1000)
                rates[size].append(size / sum(answer.wall))
    least, most = sizes[0], sizes[-1]
    growth = ratio(sample(costs[most]), sample(costs[least]))
    told = "; ".join(
        f"{size} messages: {sample(rates[size]).median:.0f} messages/s, the last done after "
        f"{sample(ages[size]).median:.1f} s"
        for size in sizes
    )
    return [
        Figure(
            f"scale, a backlog of {most}",
            "ms of CPU a message",
            sample(costs[most]),
            {f"a backlog of {size}": sample(costs[size]) for size in sizes[:-1]},
            "largest / smallest ≤ 1.1: cost grows linearly",
            growth,
            growth <= 1.1,  # noqa: PLR2004 - the target
            f"one process, checks in deliveries of 10, {latency * 1000:.0f} ms a call. {told}",
        )
    ]

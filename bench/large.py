"""Long lists: how near to what eight calls in flight allow, how much memory, how many calls to AWS."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Final

from bench.figures import Figure, sample
from bench.rounds import interleaved
from bench.work import batch_task, delivery, device_ids, stop_targets
from bench.world import NAIVE, OURS

if TYPE_CHECKING:
    from bench.worker import Answer
    from bench.world import Worker, World

LATENCY: Final = 0.1
"""Seconds that a call takes: what Huawei's gateway may well need from another continent."""
IN_FLIGHT: Final = 8
FITTING: Final = 7
"""Characters of an id of which 100 000 fit into one message of 1 MiB; of 36 it is 26 000."""

_WARM_UP: Final = 10


def big_list(world: World, *, rounds: int, quick: bool) -> list[Figure]:
    """Measure one message of 10 000 targets, and one of 100 000, against the least that the calls in flight take."""
    few, many = (200, 1000) if quick else (10_000, 100_000)
    module = OURS["stop_targets"]
    interleaved(1, {"ours": partial(_stop, world, world.worker(module), _WARM_UP)})
    runs = {"ours": partial(_stop, world, world.worker(module), few)}
    naive = interleaved(1, {"naive": partial(_stop, world, world.worker(NAIVE["stop_targets"]), few)}, warm_up=False)
    answers = interleaved(rounds, runs) | naive
    figures = [_against_least(few, 36, {name: [sum(each.wall) for each in some] for name, some in answers.items()})]
    of_many = interleaved(
        min(rounds, 3), {"ours": partial(_stop, world, world.worker(module), many, FITTING)}, warm_up=False
    )
    calls = sample([float(world.aws_calls()["PutEvents"])])
    figures.append(_against_least(many, FITTING, {"ours": [sum(each.wall) for each in of_many["ours"]]}))
    allowed = math.ceil(many / 1000) * 1.1
    figures.append(
        Figure(
            f"outcome traffic, {many} targets",
            "PutEvents",
            calls,
            {},
            "≤ 110 for 100 000",
            calls.median / (many / 1000),
            calls.median <= allowed,
            "each target's result is told; naive tells a count a message, and what does not count as stopped",
        )
    )
    return figures


def _stop(world: World, worker: Worker, number: int, length: int = 36) -> Answer:
    ids = device_ids(number, length=length)
    world.begin([batch_task(ids)], latency=LATENCY)
    answer = worker.handle(delivery(stop_targets(ids)))
    world.check(stopped=number)
    return answer


def _against_least(number: int, length: int, seconds: dict[str, list[float]]) -> Figure:
    least = math.ceil(math.ceil(number / 100) / IN_FLIGHT) * LATENCY
    ours = sample(seconds["ours"])
    part = ours.median / least
    return Figure(
        f"big list, {number} targets",
        "s",
        ours,
        {"least": sample([least])} | {name: sample(some) for name, some in seconds.items() if name != "ours"},
        "ours / least ≤ 1.1",
        part,
        part <= 1.1,  # noqa: PLR2004 - the target
        f"one SQS message, ids of {length} characters; {LATENCY * 1000:.0f} ms a call, {IN_FLIGHT} in flight; "
        "from the delivery to the answer, all outcomes published",
    )


def memory(world: World, *, rounds: int, quick: bool) -> list[Figure]:
    """Measure the peak of a fresh process that is told to stop 100 000 targets, beside what it holds when idle."""
    number = 1000 if quick else 100_000
    idle, peak, naive = [], [], []
    for _ in range(min(rounds, 3)):
        worker = world.fresh_worker(OURS["stop_targets"])
        _at_once(world, worker, 1)
        answer = _at_once(world, worker, number)
        idle.append(answer.before_mib)
        peak.append(answer.peak_mib)
        other = world.fresh_worker(NAIVE["stop_targets"])
        _at_once(world, other, 1)
        naive.append(_at_once(world, other, number).peak_mib)
    ours = sample(peak)
    return [
        Figure(
            f"memory, {number} targets",
            "MiB",
            ours,
            {"idle": sample(idle), "naive": sample(naive)},
            "≤ 128 MiB",
            None,
            ours.median <= 128,  # noqa: PLR2004 - the target
            "peak resident memory of a process that has handled one small message before, and the bytes of the "
            f"event with it; one SQS message, ids of {FITTING} characters",
        )
    ]


def _at_once(world: World, worker: Worker, number: int) -> Answer:
    ids = device_ids(number, length=FITTING)
    world.begin([batch_task(ids)])
    return worker.handle(delivery(stop_targets(ids)))

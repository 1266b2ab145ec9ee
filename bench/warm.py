"""A message with one target, handled by a warm process."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from bench.figures import Figure, ratio, sample
from bench.rounds import interleaved
from bench.work import batch_task, delivery, device_ids, stop_targets
from bench.world import BARE, FLOOR, NAIVE, OURS

if TYPE_CHECKING:
    from bench.worker import Answer
    from bench.world import World


def warm_invocation(world: World, *, rounds: int, quick: bool) -> list[Figure]:
    """Measure CPU and wall time of an invocation with one message that names one target."""
    number = 10 if quick else 200

    def run(module: str) -> Answer:
        ids = device_ids(number)
        world.begin([batch_task(ids)])
        answer = world.worker(module).handle(*[delivery(stop_targets([each])) for each in ids])
        world.check(stopped=number)
        return answer

    modules = {"ours": OURS["stop_targets"], "naive": NAIVE["stop_targets"], "floor": FLOOR, "stand-ins": BARE}
    answers = interleaved(rounds, {name: partial(run, module) for name, module in modules.items()})
    cpu = {name: sample(each.cpu / number * 1000 for each in some) for name, some in answers.items()}
    wall = {name: sample(sample(each.wall).median * 1000 for each in some) for name, some in answers.items()}
    of_naive = ratio(cpu["ours"], cpu["naive"])
    how = f"one target in one message; each value stands for {number} invocations one after another"
    return [
        Figure(
            "warm invocation, CPU",
            "ms",
            cpu.pop("ours"),
            cpu,
            "ours / naive ≤ 0.65",
            of_naive,
            of_naive <= 0.65,  # noqa: PLR2004 - the target
            how,
        ),
        Figure(
            "warm invocation, wall",
            "ms",
            wall.pop("ours"),
            wall,
            "",
            None,
            None,
            f"{how}; the stand-ins' own time is that of the same calls over plain sockets, written beforehand",
        ),
    ]

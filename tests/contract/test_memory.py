"""A warm process serves thousands of invocations: what one leaves behind is not there after some more."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import functions
from tests.template.loading import written

ROOT = Path(functions.__path__[0]).parent
HANDLERS = [f"functions.{module.name}" for module in pkgutil.iter_modules(functions.__path__)]

KEPT_AFTER = """
import gc, importlib, sys, weakref

importlib.import_module(sys.argv[1])

class Call:
    def fail(self):
        delivery = Delivery()
        left.add(delivery)
        try:
            raise ValueError
        except ValueError as error:
            kept = error  # and the error keeps this frame: only the collector can tell that nobody wants either
            return

class Delivery:
    pass

left = weakref.WeakSet()
for _ in range(10_000):
    Call().fail()
print(len(left), gc.get_freeze_count())
"""


@pytest.mark.parametrize("handler", HANDLERS)
def test_what_failed_calls_leave_behind_is_collected_long_before_it_fills_the_memory(handler: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KEPT_AFTER, handler], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    left, imported = map(int, done.stdout.split())
    assert left < 5_000
    assert imported > 10_000, "what was imported stays anyway, and is not looked at each time"


SWEEP_OF_MANY_TARGETS = """
import pathlib, re, resource, uuid
from shared.huawei.task_lists import ListedBatchTask, Listing, RunningTargets
from shared.staleness import Moment
from tests.one_sweep import BATCHES, World

TASKS, TARGETS = 10, 50_000
world = World()
moment = Moment(world.clock.now(), world.clock.now())

class Lists:
    def tasks(self, project_id, instance_id, task_type, status, ask):
        is_there = (task_type, status) == ("firmwareUpgrade", "Processing")
        return Listing(tuple(map(listed, range(TASKS if is_there else 0))), 0)

    def running_targets(self, task, ask):
        first = int(task.task_id, 16) * TARGETS
        return RunningTargets(tuple(str(uuid.UUID(int=7919 * (first + each))) for each in range(TARGETS)), 0, "n")

class Queues:
    def send_messages(self, queue_url, messages, *, deadline):
        return {}

def listed(number):
    return ListedBatchTask(f"{number:x}", "n", "firmwareUpgrade", "Processing", "20261101T000000Z", None, moment)

def peak():
    # Linux hands the peak of ru_maxrss on to a new process, so that of a large parent would hide ours.
    status = pathlib.Path("/proc/self/status")
    if status.exists():
        return int(re.search(r"VmHWM:\\s+(\\d+)", status.read_text())[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

world.sweeper._batch_lists, world.sweeper._queues = Lists(), Queues()
before = peak()
report = world.sweep(BATCHES, dry_run=False)
assert report["targets"] == TASKS * TARGETS
print(before, (peak() - before) / (TASKS * TARGETS))
"""

MOST_TARGETS = 8_000_000
"""What a sweep can read in 900 s at 200 calls a second with 50 targets each, and some time for all else."""


def test_a_sweep_of_as_many_targets_as_it_has_time_for_fits_into_its_memory() -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", SWEEP_OF_MANY_TARGETS], cwd=root, capture_output=True, text=True, check=True, timeout=120
    )
    before, of_each = map(float, done.stdout.split())
    assert of_each > 36, "the ids alone take as much"
    function = written()["Resources"]["SweepStaleTasksFunction"]["Properties"]
    assert before + MOST_TARGETS * of_each < 0.9 * function["MemorySize"] * 2**20

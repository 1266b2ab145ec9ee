"""One function process, as Lambda would keep it warm: `python -m bench.worker MODULE`.

It imports the module and calls its `handler`. It reads one `Order` a line and answers each with one `Answer`. What the
handler logs goes into a file without a name: Lambda, too, takes it off its hands, and bills it by the byte.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import resource
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

_RAN_FOR: Final = 900_000


@dataclass(frozen=True, slots=True)
class Order:
    """Handle the events of a file, one JSON document a line, one after the other."""

    events: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What it took: seconds of wall time of each event, and of CPU for all; MiB of memory before and at the peak.

    `logged`: bytes written to the log. `not_done`: messages that were given back to SQS.
    """

    wall: tuple[float, ...]
    cpu: float
    before_mib: float
    peak_mib: float
    logged: int
    not_done: int


class Context:
    """What Lambda passes to a handler beside the event."""

    function_name = "bench"
    function_version = "$LATEST"
    memory_limit_in_mb = 1024
    invoked_function_arn = "arn:aws:lambda:eu-west-1:123456789012:function:bench"
    aws_request_id = "c6af9ac6-7b61-11e6-9a41-93e8deadbeef"

    def get_remaining_time_in_millis(self) -> int:
        """Say that there is all the time that Lambda gives at most."""
        return _RAN_FOR


def memory(field: str) -> float:
    """Read `VmRSS` or `VmHWM`, its peak, in MiB.

    Not `ru_maxrss`: Linux hands that down from the process that started this one, which may be larger.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"no {field} in /proc/self/status")


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def carry_out(order: Order, module: Any) -> Answer:
    """Handle the events; the clock runs only while the handler does, and not for `prepare` where a module has one."""
    before = memory("VmRSS")
    # As awslambdaric does it: the bytes of the event live as long as the invocation.
    with Path(order.events).open("rb") as file:
        written = list(file)
    events = [json.loads(line) for line in written]
    if prepare := getattr(module, "prepare", None):
        for event in events:
            prepare(event)
    context = Context()
    logged = os.fstat(1).st_size
    gc.collect()
    wall, not_done, cpu = [], 0, _cpu()
    for event in events:
        began = time.perf_counter()
        answer = module.handler(event, context)
        wall.append(time.perf_counter() - began)
        not_done += len(answer["batchItemFailures"])
    cpu = _cpu() - cpu
    sys.stdout.flush()
    return Answer(tuple(wall), cpu, before, memory("VmHWM"), os.fstat(1).st_size - logged, not_done)


def main() -> None:
    """Serve until the orders end."""
    answers = os.fdopen(os.dup(1), "w")
    with answers, tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        module = importlib.import_module(sys.argv[1])
        for line in sys.stdin:
            try:
                said: dict[str, Any] = asdict(carry_out(Order(**json.loads(line)), module))
            except Exception as error:  # noqa: BLE001 - whoever gave the order is to know
                said = {"error": f"{type(error).__name__}: {error}"}
            print(json.dumps(said), file=answers, flush=True)


if __name__ == "__main__":
    main()

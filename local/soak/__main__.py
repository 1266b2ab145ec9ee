"""The command line of the soak."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.table import Table

from local.build import BuildFailed
from local.soak.judge import RESULTS
from local.soak.plan import make_plan
from local.soak.run import QUICK, USUAL, Soak
from local.stack import StackFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from local.soak.run import Result

_INTERRUPTED: Final = 130
_VIOLATIONS_SHOWN: Final = 30


def show(result: Result, console: Console) -> None:
    """Print the result for people."""
    ledger = result.ledger
    table = Table(title=f"Soak of seed {result.seed}: {result.seconds:.0f} s")
    table.add_column("ledger")
    table.add_column("", justify="right")
    faults = sorted(name for name in ledger if name.startswith("fault: "))
    told = [*RESULTS, "lost targets"]
    for name in ("asked", *told, *sorted(ledger.keys() - {*faults, *told, "asked"}), *faults):
        table.add_row(name, str(ledger.get(name, 0)))
    console.print(table)
    for violation in result.violations[:_VIOLATIONS_SHOWN]:
        console.print(f"VIOLATION  {violation}", style="red", markup=False, soft_wrap=True)
    balance = f"{ledger.get('asked', 0)} asked, {sum(ledger.get(name, 0) for name in told)} accounted for"
    console.print(f"{balance}; {len(result.violations)} violations; repeat it with --seed {result.seed}")


def _terminated(number: int, frame: object) -> None:  # noqa: ARG001 — the signature is Python's
    sys.exit(128 + number)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the soak as the command line says; give the exit status."""
    parser = argparse.ArgumentParser(prog="python -m local.soak", description="A long run with faults, and its ledger.")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 100_000, help="repeat the plan of another run")
    parser.add_argument("--commands", type=int, default=2000)
    parser.add_argument("--targets", type=int, default=100_000, help="targets asked for, over all commands")
    parser.add_argument("--kills", type=int, default=40, help="function processes to kill")
    parser.add_argument("--stop-lag", type=float, default=1.0, help="seconds until a stop shows at Huawei Cloud")
    parser.add_argument("--quick", action="store_true", help="short time limits, for a run of some dozens of commands")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    asked = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _terminated)
    console = Console(stderr=asked.json, width=None if sys.stdout.isatty() else 140, highlight=False)
    console.print(f"seed {asked.seed}: {asked.commands} commands, {asked.targets} targets, {asked.kills} kills")
    plan = make_plan(
        asked.seed,
        commands=asked.commands,
        targets=asked.targets,
        stop_lag=asked.stop_lag,
        now=datetime.now(UTC),
    )
    tempo = QUICK if asked.quick else USUAL
    try:
        result = Soak(plan, seed=asked.seed, kills=asked.kills, tempo=tempo, say=console.print).run()
    except (BuildFailed, StackFailed) as failure:
        console.print(str(failure), style="red", markup=False)
        return 1
    except KeyboardInterrupt:
        console.print("interrupted; everything has been stopped")
        return _INTERRUPTED
    show(result, console)
    if asked.json:
        print(
            json.dumps(
                {
                    "seed": result.seed,
                    "seconds": result.seconds,
                    "ledger": result.ledger,
                    "violations": result.violations,
                },
                indent=2,
            )
        )
    return 1 if result.violations else 0


if __name__ == "__main__":
    sys.exit(main())

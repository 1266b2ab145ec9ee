"""`python -m local.huawei [--port 0] [--scenario file.json]`: prints the endpoint when ready; ends on SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import signal
from pathlib import Path

from local.huawei.cloud import Cloud
from local.huawei.scenario import Scenario
from local.huawei.server import serve


async def _serve(scenario: Scenario, port: int) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await serve(
        Cloud(scenario),
        port=port,
        ready=lambda chosen: print(f"http://127.0.0.1:{chosen}", flush=True),
        stop=stop,
    )


def main() -> None:
    """Read the command line and serve until told to end."""
    parser = argparse.ArgumentParser(prog="python -m local.huawei", description="Huawei Cloud stand-in")
    parser.add_argument("--port", type=int, default=0, help="of 127.0.0.1; 0 takes a free one")
    parser.add_argument("--scenario", type=Path, help="a JSON file as local.huawei.Scenario describes it")
    arguments = parser.parse_args()
    scenario = Scenario.model_validate_json(arguments.scenario.read_bytes()) if arguments.scenario else Scenario()
    asyncio.run(_serve(scenario, arguments.port))


if __name__ == "__main__":
    main()

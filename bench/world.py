"""The processes of a run: Huawei's stand-in, the bench's AWS, and one warm function process for each that is compared.

The stand-in verifies every signature. Each process is pointed at the same two.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import urllib3

from bench.worker import Answer, Order
from local.huawei import PROJECT_ID, AccessKey, Scenario, Settings, StandInClient

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from local.huawei import BatchTask, CheckTask, Quota

ROOT: Final = Path(__file__).resolve().parent.parent
REGION: Final = "cn-north-4"
_KEY: Final = AccessKey()

OURS: Final = {"stop_targets": "functions.stop_targets", "stop_task": "functions.stop_task"}
NAIVE: Final = {"stop_targets": "bench.peers.naive_stop_targets", "stop_task": "bench.peers.naive_stop_task"}
FLOOR: Final = "bench.peers.floor"
BARE: Final = "bench.peers.bare"


class Process:
    """A process that says its first word when it is ready; within a `with` block."""

    def __init__(self, arguments: Sequence[str], environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - our own modules
            [sys.executable, "-m", *arguments],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.communicate()

    def say(self, line: str) -> None:
        """Write a line to it."""
        assert self._process.stdin is not None  # noqa: S101 - it was asked for
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def hear(self) -> str:
        """Read a line of what it says; raises `RuntimeError` when it has ended instead."""
        assert self._process.stdout is not None  # noqa: S101 - it was asked for
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process ended with {self._process.wait()}")
        return line.strip()


class Worker:
    """One warm function process, as `bench.worker` says."""

    def __init__(self, process: Process, folder: Path) -> None:
        self._process = process
        self._events = folder / "events.jsonl"

    def handle(self, *events: dict[str, Any]) -> Answer:
        """Have the events handled, one after the other; raises `RuntimeError` if not all of it was done."""
        answer = self.try_to_handle(*events)
        if answer.not_done:
            raise RuntimeError(f"{answer.not_done} messages were not done")
        return answer

    def try_to_handle(self, *events: dict[str, Any]) -> Answer:
        """Have the events handled; raises `RuntimeError` for what the handler raised."""
        self._events.write_text("\n".join(map(json.dumps, events)))
        self._process.say(json.dumps(asdict(Order(str(self._events)))))
        said = json.loads(self._process.hear())
        if "error" in said:
            raise RuntimeError(said["error"])
        return Answer(**said)


class World:
    """The stand-ins and the function processes; within a `with` block."""

    def __enter__(self) -> Self:
        self._stack = ExitStack()
        self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="stopline-bench-")))
        self._huawei_url = self._start("local.huawei").hear()
        self.aws_url = self._start("bench.aws").hear()
        self.huawei = StandInClient(self._huawei_url)
        self._stack.callback(self.huawei.close)
        self._http = urllib3.PoolManager(retries=False)
        self._stack.callback(self._http.clear)
        self._workers: dict[str, Worker] = {}
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def environment(self) -> dict[str, str]:
        """What every function process is told."""
        return {
            "HOME": str(self._folder),
            "AWS_REGION": "eu-west-1",
            "AWS_DEFAULT_REGION": "eu-west-1",
            "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "secret",  # of the bench's own AWS, which does not look
            "AWS_ENDPOINT_URL": self.aws_url,
            "POWERTOOLS_SERVICE_NAME": "stopline",
            "HUAWEICLOUD_REGION": REGION,
            "HUAWEICLOUD_SDK_PROJECT_ID": PROJECT_ID,
            "HUAWEICLOUD_SDK_AK": _KEY.ak,
            "HUAWEICLOUD_SDK_SK": _KEY.sk,
            "CODEARTS_CHECK_ENDPOINT": self._huawei_url,
            "IOTDA_ENDPOINT": self._huawei_url,
            "OUTCOME_BUS_NAME": "outcomes",
            "COMMAND_QUEUE_URL": "https://sqs.eu-west-1.amazonaws.com/1/commands",
            "DEAD_LETTER_QUEUE_URL": "https://sqs.eu-west-1.amazonaws.com/1/dead",
        }

    def worker(self, module: str) -> Worker:
        """Give the warm process of a module, started when it is first asked for."""
        if module not in self._workers:
            self._workers[module] = self.fresh_worker(module)
        return self._workers[module]

    def fresh_worker(self, module: str) -> Worker:
        """Start another process of a module."""
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        return Worker(self._start("bench.worker", module), folder)

    def begin(
        self,
        tasks: Iterable[BatchTask | CheckTask],
        *,
        latency: float = 0.0,
        quota: Quota | None = None,
    ) -> None:
        """Forget what was, and begin with these tasks. `latency`: seconds that Huawei takes for each answer."""
        settings = Settings(latency_seconds=latency, log_limit=1)
        self.huawei.reset(Scenario(settings=settings, quotas=(quota,) if quota else ()))
        self.huawei.add(*tasks)
        self._ask("POST", "/reset")

    def huawei_calls(self) -> int:
        """Count what Huawei was asked since `begin`."""
        return self.huawei.summary().requests

    def aws_calls(self) -> dict[str, int]:
        """Count what AWS was asked since `begin`."""
        calls: dict[str, int] = self._ask("GET", "/calls")
        return calls

    def messages(self) -> list[tuple[str, int]]:
        """Take what was sent to queues: pairs of body and delay in seconds."""
        return [(body, delay) for body, delay in self._ask("GET", "/messages")]

    def check(self, *, stopped: int) -> None:
        """Raise `RuntimeError` unless exactly so many targets were stopped, and nothing was done that must not be."""
        summary = self.huawei.summary()
        if summary.targets_stopped != stopped or summary.violations or summary.authentication_failures:
            raise RuntimeError(f"{stopped} targets were to be stopped: {summary}")

    def _start(self, *arguments: str) -> Process:
        environment = {} if arguments[0] != "bench.worker" else self.environment
        return self._stack.enter_context(Process(arguments, environment))

    def _ask(self, method: str, path: str) -> Any:
        return self._http.request(method, self.aws_url + path).json()

"""Cold start: from the start of the process to its first question for work, beside what a user would otherwise write.

    .venv/bin/python -m bench.cold_start                  # the figures and who costs what
    .venv/bin/python -m bench.cold_start --instructions   # and the instructions executed, with valgrind; minutes long

Each contestant is a folder as it would be unpacked to `/var/task`. AWS's own runtime client imports its handler and
then asks a Runtime API for the first event: the time between is what Lambda reports as `Init Duration`, but for the
start of its sandbox. All run with the same interpreter, flags, variables and runtime client, one after the other.

No contestant can write bytecode, as on Lambda, whose `/var/task` is read-only. Permissions would not stop the user
`root`, so instead a plain file stands wherever a folder `__pycache__` would be made: Python finds no bytecode, compiles
the source, fails to write the result and goes on, as it does on a read-only file system. Beside a read-only mount it
made no difference that the spread would show (naive: 1.68 s, and 1.64 s on the mount).
https://github.com/python/cpython/blob/v3.13.0/Lib/importlib/_bootstrap_external.py#L1027
"""

from __future__ import annotations

import argparse
import compileall
import os
import py_compile
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench.figures import Figure, ratio, sample
from local.build import BUILDS, CODE, ROOT, build
from local.runtime import install_runtime

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

ROUNDS: Final = 21

FUNCTIONS: Final = ("stop_task", "stop_targets", "sweep_stale_tasks", "stop_in_workflow")

LEAST_SHOWN: Final = 0.2
"""Milliseconds below which a package is left out of what is printed."""

AT_LEAST_BESIDE_NAIVE: Final = 5.0
AT_LEAST_BESIDE_NAIVE_WITH_BYTECODE: Final = 2.2
AT_MOST_BESIDE_MINIMAL: Final = 1.25

NAIVE: Final = "naive"
NAIVE_WITH_BYTECODE: Final = "naive with bytecode"
MINIMAL: Final = "minimal"

_PEERS: Final = Path(__file__).parent / "peers"
_ARTIFACTS: Final = BUILDS / "bench" / "cold"
_NAIVE_PACKAGES: Final = (
    "aws-lambda-powertools[parser]",
    "boto3",
    "huaweicloudsdkcodeartscheck",
    "huaweicloudsdkiotda",
    "pydantic",
)

_VARIABLES: Final = {
    "AWS_LAMBDA_FUNCTION_NAME": "cold",
    "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13",
    "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
    "AWS_REGION": "eu-west-1",
    "AWS_DEFAULT_REGION": "eu-west-1",
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "HUAWEICLOUD_REGION": "cn-north-4",
    "HUAWEICLOUD_SDK_AK": "ak",
    "HUAWEICLOUD_SDK_SK": "sk",
    "HUAWEICLOUD_SDK_PROJECT_ID": "project",
    "CODEARTS_CHECK_ENDPOINT": "https://codearts-check.cn-north-4.myhuaweicloud.com",
    "IOTDA_ENDPOINT": "https://iotda.cn-north-4.myhuaweicloud.com",
    "OUTCOME_BUS_NAME": "outcomes",
    "COMMAND_QUEUE_URL": "https://sqs.eu-west-1.amazonaws.com/1/commands",
}

_FIRST_NEXT: Final = b"GET /2018-06-01/runtime/invocation/next "
_GIVE_UP: Final = 600.0
"""Seconds until a process that asks for nothing is given up; valgrind makes one some fifty times slower."""


class ColdStartFailed(Exception):
    """A contestant did not come up; the message says why."""


@dataclass(frozen=True, slots=True)
class Contestant:
    """One handler, in the folder that would be deployed."""

    name: str
    folder: Path
    handler: str


@dataclass(frozen=True, slots=True)
class Cost:
    """What importing one package costs a function that starts, in milliseconds.

    `brought`: for the modules of the standard library that nothing before it had imported.
    """

    package: str
    modules: int
    own: float
    brought: float


def measure(*, rounds: int = ROUNDS) -> tuple[Figure, ...]:
    """Start every contestant `rounds` times, in turn, and give three figures a function, in milliseconds."""
    with _runtime() as runtime:
        contestants = _contestants()
        taken = _taken(contestants, rounds, lambda contestant: _milliseconds(contestant, runtime))
    figures: list[Figure] = []
    for function in FUNCTIONS:
        ours = sample(taken[function])
        naive, with_bytecode = sample(taken[f"{NAIVE} {function}"]), sample(taken[f"{NAIVE_WITH_BYTECODE} {function}"])
        minimal = sample(taken[MINIMAL])
        beside_naive, beside_bytecode = ratio(naive, ours), ratio(with_bytecode, ours)
        beside_minimal = ratio(ours, minimal)
        how = f"from the start of the process to its first question for work; {rounds} interleaved rounds"
        figures += [
            Figure(
                f"cold start, {function}",
                "ms",
                ours,
                {NAIVE: naive},
                f"naive / ours ≥ {AT_LEAST_BESIDE_NAIVE:g}",
                beside_naive,
                beside_naive >= AT_LEAST_BESIDE_NAIVE,
                f"{how}; naive as sam build ships it, without bytecode",
            ),
            Figure(
                f"cold start, {function}, bytecode for all",
                "ms",
                ours,
                {NAIVE_WITH_BYTECODE: with_bytecode},
                f"naive with bytecode / ours ≥ {AT_LEAST_BESIDE_NAIVE_WITH_BYTECODE:g}",
                beside_bytecode,
                beside_bytecode >= AT_LEAST_BESIDE_NAIVE_WITH_BYTECODE,
                how,
            ),
            Figure(
                f"cold start, {function}, beside the least",
                "ms",
                ours,
                {MINIMAL: minimal},
                f"ours / minimal ≤ {AT_MOST_BESIDE_MINIMAL:g}",
                beside_minimal,
                beside_minimal <= AT_MOST_BESIDE_MINIMAL,
                f"{how}; minimal only imports a signer of the SDK, urllib3, pydantic with one model, and the Logger",
            ),
        ]
    return tuple(figures)


def measure_instructions() -> Figure | None:
    """Count what one cold start of `stop_targets` and its peers executes, in millions; None without valgrind.

    It hardly varies, so one start of each is enough. Native code is counted, the kernel's is not.
    """
    if shutil.which("valgrind") is None:
        return None
    function = "stop_targets"
    with _runtime() as runtime:
        counted = {
            contestant.name: sample([_millions_of_instructions(contestant, runtime)])
            for contestant in _contestants()
            if contestant.name.endswith((function, MINIMAL))
        }
    ours = counted.pop(function)
    peers = {name.removesuffix(f" {function}"): value for name, value in counted.items()}
    return Figure(
        name=f"cold start, {function}: instructions",
        unit="million instructions",
        ours=ours,
        peers=peers,
        target="none of its own",
        ratio=ratio(peers[NAIVE], ours),
        reached=None,
        note=f"One start of each under valgrind. Ours / minimal {ratio(ours, peers[MINIMAL]):.2f}.",
    )


def who_costs_what(handler: str = "functions.stop_targets", *, rounds: int = 7) -> tuple[Cost, ...]:
    """Tell what the imports of one of our handlers cost, by package, the dearest first; medians of `rounds` starts."""
    own: defaultdict[str, list[float]] = defaultdict(list)
    brought: defaultdict[str, list[float]] = defaultdict(list)
    modules: dict[str, int] = {}
    with _runtime() as runtime:
        for _ in range(rounds):
            for cost in _costs(_import_times(handler, build("host"), runtime)):
                own[cost.package].append(cost.own)
                brought[cost.package].append(cost.brought)
                modules[cost.package] = cost.modules
    costs = [
        Cost(package, modules[package], statistics.median(own[package]), statistics.median(brought[package]))
        for package in own
    ]
    return tuple(sorted(costs, key=lambda cost: -cost.own - cost.brought))


def _contestants() -> list[Contestant]:
    ours = build("host")
    naive, naive_with_bytecode, minimal = _naive(bytecode=False), _naive(bytecode=True), _minimal(ours)
    contestants = [Contestant(MINIMAL, minimal, "minimal.handler")]
    for function in FUNCTIONS:
        contestants += [
            Contestant(function, ours, f"functions.{function}.handler"),
            Contestant(f"{NAIVE} {function}", naive, f"naive_{function}.handler"),
            Contestant(f"{NAIVE_WITH_BYTECODE} {function}", naive_with_bytecode, f"naive_{function}.handler"),
        ]
    return contestants


def _naive(*, bytecode: bool) -> Path:
    """Make the folder of the naive functions: the packages as `sam build` installs them, and the handlers."""
    folder = _emptied("naive-with-bytecode" if bytecode else "naive")
    _install(*_NAIVE_PACKAGES, into=folder)
    for handler in _PEERS.rglob("naive_*.py"):
        shutil.copy(handler, folder)
    _compile(folder) if bytecode else _keep_bytecode_out(folder)
    return folder


def _minimal(ours: Path) -> Path:
    """Make the folder of the minimal handler: the packages of our own artifact, and that handler."""
    folder = _emptied("minimal")
    shutil.copytree(ours, folder, dirs_exist_ok=True)
    for name in CODE:
        shutil.rmtree(folder / name)
    shutil.copy(_PEERS / "cold" / "minimal.py", folder)
    _compile(folder)
    return folder


def _install(*packages: str, into: Path) -> None:
    """Install packages and what they need, in the versions that are locked."""
    asked = [*(f"--constraint={ROOT / 'requirements-dev.txt'}", "--only-binary=:all:"), *packages]
    command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", f"--target={into}", "--link-mode=copy"]
    subprocess.run([*command, f"--python={sys.executable}", "--system-certs", *asked], check=True)  # noqa: S603  # our own


def _emptied(name: str) -> Path:
    folder = _ARTIFACTS / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _compile(folder: Path) -> None:
    if not compileall.compile_dir(folder, quiet=2, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH):
        raise ColdStartFailed(f"a module in {folder.name} does not compile")


def _keep_bytecode_out(folder: Path) -> None:
    for package in {module.parent for module in folder.rglob("*.py")}:
        (package / "__pycache__").touch()


def _taken(
    contestants: Sequence[Contestant], rounds: int, start: Callable[[Contestant], float]
) -> Mapping[str, list[float]]:
    taken: dict[str, list[float]] = {contestant.name: [] for contestant in contestants}
    for contestant in contestants:
        start(contestant)  # not counted: it brings the files into the page cache
    for _ in range(rounds):
        for contestant in contestants:
            taken[contestant.name].append(start(contestant))
    return taken


def _milliseconds(contestant: Contestant, runtime: Path) -> float:
    with socket.create_server(("127.0.0.1", 0)) as api:
        command = _command(contestant)
        started = time.perf_counter()
        with _process(command, contestant, runtime, api) as process:
            _await_first_next(process, contestant, api)
            return (time.perf_counter() - started) * 1000


def _millions_of_instructions(contestant: Contestant, runtime: Path) -> float:
    command = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]
    with (
        socket.create_server(("127.0.0.1", 0)) as api,
        _process([*command, *_command(contestant)], contestant, runtime, api) as process,
    ):
        _await_first_next(process, contestant, api)
        process.terminate()  # upon which valgrind tells its count
        told = process.communicate(timeout=_GIVE_UP)[0].decode()
    counted = re.search(r"I +refs: +([\d,]+)", told)
    if counted is None:
        raise ColdStartFailed(f"valgrind told no count: {told[-500:]}")
    return int(counted[1].replace(",", "")) / 1e6


def _command(contestant: Contestant) -> list[str]:
    # -S, as in local.runtime: nothing of the virtual environment is to be seen.
    return [sys.executable, "-S", "-m", "awslambdaric", contestant.handler]


@contextmanager
def _process(
    command: Sequence[str], contestant: Contestant, runtime: Path, api: socket.socket
) -> Iterator[subprocess.Popen[bytes]]:
    host, port = api.getsockname()
    environment = {
        **_VARIABLES,
        "PATH": os.defpath,
        "HOME": str(runtime),  # huaweicloudsdkcore looks for files in it
        "PYTHONPATH": str(runtime),
        "LAMBDA_TASK_ROOT": str(contestant.folder),
        "AWS_LAMBDA_RUNTIME_API": f"{host}:{port}",
    }
    with subprocess.Popen(  # noqa: S603  # our own
        command, env=environment, cwd=contestant.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _await_first_next(process: subprocess.Popen[bytes], contestant: Contestant, api: socket.socket) -> None:
    api.settimeout(_GIVE_UP)
    connection, _ = api.accept()
    with connection:
        request = connection.recv(65_536)
        if not request.startswith(_FIRST_NEXT):  # it reports why it could not be initialised
            process.kill()
            raise ColdStartFailed(f"{contestant.name}: {process.communicate()[0].decode()[-2000:]}")


@contextmanager
def _runtime() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield install_runtime(Path(folder) / "runtime")


@dataclass(frozen=True, slots=True)
class _Import:
    """One line of `-X importtime`: a module, its own milliseconds, and the packages of those that imported it."""

    module: str
    own: float
    importers: tuple[str, ...]


def _import_times(handler: str, artifact: Path, runtime: Path) -> list[_Import]:
    # What the runtime itself imports is there already, on Lambda too, and is not to be charged to anyone.
    done = subprocess.run(  # noqa: S603  # our own
        [sys.executable, "-S", "-X", "importtime", "-c", f"import awslambdaric.__main__\nimport {handler}"],
        env={"PATH": os.defpath, "PYTHONPATH": str(runtime)},
        cwd=artifact,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = re.findall(r"^import time: +(\d+) \| +\d+ \| ( *)(\S+)$", done.stderr, flags=re.MULTILINE)
    imports: list[_Import] = []
    above: list[str] = []
    for microseconds, indentation, module in reversed(lines):  # an importer is told after all that it imports
        depth = len(indentation) // 2
        del above[depth:]
        imports.append(_Import(module, int(microseconds) / 1000, tuple(above)))
        above.append(module)
    return [each for each in imports if handler in (each.module, *each.importers)]


def _costs(imports: Iterable[_Import]) -> list[Cost]:
    own: defaultdict[str, float] = defaultdict(float)
    brought: defaultdict[str, float] = defaultdict(float)
    modules: defaultdict[str, int] = defaultdict(int)
    for each in imports:
        room = each.module.partition(".")[0]
        if not _is_standard(room):
            own[room] += each.own
            modules[room] += 1
            continue
        bringer = next(
            name for module in reversed(each.importers) if not _is_standard(name := module.partition(".")[0])
        )
        brought[bringer] += each.own
        modules[bringer] += 1
    return [Cost(package, modules[package], own[package], brought[package]) for package in modules]


def _is_standard(package: str) -> bool:
    # The settings that Python was built with are a module of the standard library whose name has the platform in it.
    return package in sys.stdlib_module_names or package.startswith("_sysconfigdata_")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 1 if a target is missed."""
    parser = argparse.ArgumentParser(prog="python -m bench.cold_start", description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--instructions", action="store_true", help="count instructions too, with valgrind")
    asked = parser.parse_args(arguments)
    figures = list(measure(rounds=asked.rounds))
    if asked.instructions and (counted := measure_instructions()):
        figures.append(counted)
    for figure in figures:
        print(f"{figure.name}: {figure.target}: {'missed' if figure.reached is False else 'reached'}")
        for name, values in {"ours": figure.ours, **figure.peers}.items():
            low, high = values.quartiles if len(values.values) > 1 else (values.median, values.median)
            print(f"  {name:<20} {values.median:8.1f} {figure.unit}, quartiles {low:.1f} to {high:.1f}")
        print(f"  {figure.note}")
    print("Imports of functions.stop_targets: modules, own ms, ms of the standard library that it is first to bring")
    for cost in who_costs_what():
        if cost.own + cost.brought < LEAST_SHOWN:  # packages that were looked for and are not there, above all
            continue
        print(f"  {cost.package:<24} {cost.modules:4} {cost.own:7.1f} {cost.brought:7.1f}")
    return int(any(figure.reached is False for figure in figures))


if __name__ == "__main__":
    sys.exit(main())

"""Imports follow the arrow `functions → wiring → shell → core` and never go back."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT: Final = Path(__file__).resolve().parent.parent.parent

LAYERS: Final = ("core", "shell", "wiring", "functions")
"""From the inside out: a module imports from its own layer and from those before it."""

LAYER_OF: Final = {
    # Pure: no clock, no network, no environment.
    "shared.aws_signing": "shell",
    "shared.commands": "core",
    "shared.deadline": "core",  # the clock that it reads is handed to it
    "shared.errors": "core",
    "shared.field_errors": "core",
    "shared.findings": "core",
    "shared.huawei.faults": "core",
    "shared.outcomes": "core",
    "shared.planning": "core",
    "shared.redaction": "core",
    "shared.redelivery": "core",
    "shared.settlement": "core",
    "shared.staleness": "core",
    "shared.sweeps": "core",
    "shared.traces": "core",
    # Whatever waits on the world outside, or reads it.
    "shared.aws": "shell",
    "shared.aws_credentials": "shell",
    "shared.aws_query": "shell",
    "shared.batch_sweep": "shell",
    "shared.check_sweep": "shell",
    "shared.deliveries": "shell",
    "shared.envelopes": "shell",
    "shared.execution": "shell",
    "shared.fetch_once": "shell",
    "shared.http": "shell",
    "shared.huawei.client": "shell",
    "shared.huawei.codearts_check": "shell",
    "shared.huawei.credentials": "shell",
    "shared.huawei.iotda": "shell",
    "shared.huawei.keyless": "shell",
    "shared.huawei.task_lists": "shell",
    "shared.inquiry": "shell",
    "shared.patience": "core",
    "shared.observability": "shell",
    "shared.pace": "shell",
    "shared.proxies": "shell",
    "shared.publishing": "shell",
    "shared.settings": "shell",
    "shared.sightings": "shell",
    "shared.sweeping": "shell",
    "shared.telemetry": "shell",
    "shared.threads": "shell",
    "shared.workflow": "shell",
    # The one place that puts the parts together.
    "shared.wiring.clouds": "wiring",
    "shared.wiring.queues": "wiring",
    "shared.wiring.stop_in_workflow": "wiring",
    "shared.wiring.stop_targets": "wiring",
    "shared.wiring.stop_task": "wiring",
    "shared.wiring.sweep_stale_tasks": "wiring",
    # Triggers.
    "functions.stop_in_workflow": "functions",
    "functions.stop_targets": "functions",
    "functions.stop_task": "functions",
    "functions.sweep_stale_tasks": "functions",
}

VOCABULARY: Final = {
    "shared.commands",
    "shared.errors",
    "shared.field_errors",
    "shared.outcomes",
    "shared.traces",
}
"""What is asked, what is answered and what goes wrong: readable without anything else of ours."""

NOT_DEPLOYED: Final = {
    "boto3": "shared.aws signs and sends",
    "botocore": "shared.aws signs and sends",
    "huaweicloudsdkcodeartscheck": "the generated SDKs take 549 model modules for two calls",
    "huaweicloudsdkiotda": "the generated SDKs take 549 model modules for two calls",
    "requests": "shared.http is the one HTTP stack",
}

NETWORK: Final = {"http.client", "select", "socket", "ssl", "urllib.request", "urllib3"}
"""Modules that `shared.http` alone may use."""

WORLD: Final = {"os", "pathlib", "random", "secrets", "socket", "subprocess", "threading", "time", "urllib", "uuid"}
"""Standard modules by which a clock, a file, a network or chance would come into the pure core."""


def test_imports_follow_the_arrow_and_never_go_back() -> None:
    assert list(complaints(sources())) == []


def test_no_two_modules_need_each_other() -> None:
    assert cycle(sources()) is None


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        ("shared.planning", "from shared.http import Http", "(core) imports shared.http (shell)"),
        ("shared.planning", "import shared.http", "(core) imports shared.http (shell)"),
        ("shared.planning", "from shared import http", "(core) imports shared.http (shell)"),
        ("shared.planning", "def f():\n import shared.http", "(core) imports shared.http (shell)"),
        ("shared.huawei.faults", "from . import iotda", "(core) imports shared.huawei.iotda (shell)"),
        ("shared.aws", "from shared.wiring import clouds", "(shell) imports shared.wiring.clouds (wiring)"),
        ("shared.wiring.clouds", "import functions.stop_task", "(wiring) imports functions.stop_task (functions)"),
        ("shared.outcomes", "from shared.planning import Plan", "is vocabulary and imports shared.planning"),
        ("shared.planning", "import time", "(core) imports time, the world outside"),
        ("shared.planning", "from urllib.parse import quote", "(core) imports urllib, the world outside"),
        ("shared.aws", "import botocore.auth", "imports botocore: shared.aws signs and sends"),
        ("shared.execution", "import local.build", "imports local, which is not deployed"),
        ("shared.execution", "import http.client", "imports http.client: only shared.http does"),
        ("shared.aws", "from urllib3.util import Retry", "imports urllib3.util: only shared.http does"),
        ("shared.aws", "from urllib.request import urlopen", "imports urllib.request: only shared.http does"),
        ("shared.helpers", "", "has no layer in LAYER_OF"),
        ("functions.stop_task", "from shared.nowhere import X", "imports shared.nowhere, which has no layer"),
        ("functions.stop_task", "from shared import aws, nowhere", "imports shared, which has no layer"),
    ],
)
def test_a_wrong_import_is_noticed(module: str, source: str, complaint: str) -> None:
    assert list(complaints({module: source})) == [f"{module} {complaint}"]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("shared.http", "import ssl\nimport time\nfrom socket import socket"),
        ("shared.wiring.clouds", "from shared.huawei.iotda import Iotda\nfrom shared import planning, http"),
        ("functions.stop_task", "from shared.wiring.stop_task import deliveries\nfrom shared.commands import StopTask"),
        ("shared.huawei.faults", "from http import HTTPStatus"),
        ("shared.huawei.client", "from huaweicloudsdkcore.signer.signer import Signer"),
    ],
)
def test_a_right_import_is_left_alone(module: str, source: str) -> None:
    assert list(complaints({module: source})) == []


def test_a_circle_is_noticed() -> None:
    circle = cycle({"shared.aws": "import shared.http", "shared.http": "def f():\n from shared import aws"})
    assert circle is not None
    assert set(circle) == {"shared.aws", "shared.http"}


def sources() -> dict[str, str]:
    """Give every module that is deployed, by its dotted name; packages only say what they hold."""
    found = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): path.read_text()
        for room in ("functions", "shared")
        for path in (ROOT / room).rglob("*.py")
    }
    packages = {name: source for name, source in found.items() if name.endswith("__init__")}
    assert not any(imports(name, source) - {"gc"} for name, source in packages.items()), "a package imports nothing"
    return {name: source for name, source in found.items() if name not in packages}


def imports(module: str, source: str) -> set[str]:
    """Give the dotted names of all that a module imports, wherever in the file, for type checking too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import():
                names |= {alias.name for alias in node.names}
            case ast.ImportFrom():
                # `from . import x` and `from .x import y` are written out; `from shared import x` may name a module.
                parents = module.split(".")[: -node.level] if node.level else []
                origin = ".".join([*parents, *([node.module] if node.module else [])])
                inside = [f"{origin}.{alias.name}" for alias in node.names]
                names |= {name if name in LAYER_OF else origin for name in inside}
            case _:
                pass
    return names


def complaints(modules: Mapping[str, str]) -> Iterator[str]:
    """Say what is wrong with the imports of these modules, a sentence each."""
    for module, source in sorted(modules.items()):
        layer = LAYER_OF.get(module)
        if layer is None:
            yield f"{module} has no layer in LAYER_OF"
            continue
        for name in sorted(imports(module, source)):
            yield from _complaints_about(module, layer, name)


def _complaints_about(module: str, layer: str, name: str) -> Iterator[str]:
    room = name.partition(".")[0]
    if room in {"local", "tests", "bench"}:
        yield f"{module} imports {room}, which is not deployed"
    elif room in NOT_DEPLOYED:
        yield f"{module} imports {room}: {NOT_DEPLOYED[room]}"
    elif NETWORK & {name, room} and module != "shared.http":
        yield f"{module} imports {name}: only shared.http does"
    elif room in WORLD and layer == "core":
        yield f"{module} ({layer}) imports {room}, the world outside"
    elif room in {"functions", "shared"}:
        if name not in LAYER_OF:
            yield f"{module} imports {name}, which has no layer"
        elif module in VOCABULARY and name not in VOCABULARY:
            yield f"{module} is vocabulary and imports {name}"
        elif LAYERS.index(LAYER_OF[name]) > LAYERS.index(layer):
            yield f"{module} ({layer}) imports {name} ({LAYER_OF[name]})"


def cycle(modules: Mapping[str, str]) -> list[str] | None:
    """Give modules that import each other in a circle, or None."""
    graph = {module: imports(module, source) & modules.keys() for module, source in modules.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        circle: list[str] = error.args[1]
        return circle
    return None

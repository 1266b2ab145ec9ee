"""What a handler imports is bounded: it is paid at every cold start, and nothing else about a function grows unseen.

Counted in a process of its own on the artifact, beside what an empty Python has. No time is asserted: modules are
counted, and those that must never be among them are named.
"""

from __future__ import annotations

import importlib.util
import json
import pkgutil
import subprocess
import sys
from functools import cache

import pytest

import functions
from local.build import build

HANDLERS = [f"functions.{module.name}" for module in pkgutil.iter_modules(functions.__path__)]

MOST_MODULES = 362
"""344 to 348 when this was written, some 30 of them urllib3.

The slack is for patch releases, which add a handful; a dependency adds dozens.
"""

NEVER = (
    # AWS's SDK, what urllib3 has for others, and a store of certificates that Lambda does not renew.
    "boto3",
    "botocore",
    "certifi",
    "requests",
    "urllib3.contrib.emscripten",
    "urllib3.contrib.pyopenssl",
    "urllib3.contrib.socks",
    "urllib3.http2.connection",
    "urllib.request",
    "http.cookiejar",
    # What huaweicloudsdkcore imports beside its signers, and the generated SDKs: 549 model modules for two calls.
    "bson",
    "simplejson",
    "yaml",
    "huaweicloudsdkcore.client",
    "huaweicloudsdkcore.http",
    "huaweicloudsdkcore.auth",
    "huaweicloudsdkcodeartscheck",
    "huaweicloudsdkiotda",
    # What of Powertools and pydantic is not used.
    "aws_lambda_powertools.utilities.batch",
    "aws_lambda_powertools.utilities.data_classes",
    "aws_lambda_powertools.utilities.parser",
    "pydantic.networks",
    "pydantic.v1",
    # What a library that only wants a name of it would bring.
    "asyncio",
    "concurrent.futures.process",
    "ctypes",
    "doctest",
    "http.server",
    "multiprocessing",
    "pdb",
    "unittest",
    "xml.etree",
)

LOADED = """
import importlib, json, sys
before = set(sys.modules)
sys.path.insert(0, sys.argv[1])
importlib.import_module(sys.argv[2])
print(json.dumps(sorted(set(sys.modules) - before)))
"""


@cache
def loaded(module: str) -> frozenset[str]:
    """Give what importing `module` from the artifact loads."""
    done = subprocess.run(  # without site-packages and variables, as nothing may be read at import
        [sys.executable, "-I", "-S", "-c", LOADED, build("host"), module],
        env={},
        capture_output=True,
        text=True,
        check=True,
    )
    return frozenset(json.loads(done.stdout))


@pytest.mark.parametrize("handler", HANDLERS)
def test_a_handler_loads_no_more_modules_than_it_may(handler: str) -> None:
    count = len(loaded(handler))
    assert count <= MOST_MODULES
    assert count > MOST_MODULES * 0.85, "a budget that is far from what it bounds bounds nothing: lower it"


@pytest.mark.parametrize("handler", HANDLERS)
def test_a_handler_never_loads_what_it_does_not_need(handler: str) -> None:
    assert loaded(handler).isdisjoint(NEVER)


@pytest.mark.parametrize("handler", ["functions.stop_targets", "functions.stop_task"])
def test_a_queue_function_does_not_load_what_only_the_others_use(handler: str) -> None:
    others = {"shared.huawei.task_lists", "shared.sightings", "shared.sweeping", "shared.sweeps", "shared.workflow"}
    assert loaded(handler).isdisjoint(others)
    assert others <= loaded("functions.sweep_stale_tasks") | loaded("functions.stop_in_workflow")


@pytest.mark.parametrize("name", NEVER)
def test_what_must_not_load_is_the_name_of_a_module(name: str) -> None:
    """Else a misspelt one would forbid nothing."""
    assert importlib.util.find_spec(name) is not None


def test_what_a_module_brings_along_is_counted() -> None:
    assert {"unittest", "unittest.mock", "asyncio"} <= loaded("unittest.mock")

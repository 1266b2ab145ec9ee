"""The Python runtime of Lambda without Lambda: AWS's own `awslambdaric` on the built artifact.

A handler sees the standard library, the artifact and `awslambdaric` with its two dependencies, and nothing of the
virtual environment that runs the demo or the tests: a module that was left out of the artifact is missing here
too. Stricter than AWS in one way: the runtime of AWS has boto3, this one has not.
"""

from __future__ import annotations

import compileall
import shlex
import shutil
import sys
from importlib.metadata import files
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_DISTRIBUTIONS: Final = ("awslambdaric", "simplejson", "snapshot-restore-py")


def install_runtime(folder: Path) -> Path:
    """Copy `awslambdaric` and its dependencies, as the lock file installed them, to the new `folder`; return it."""
    for distribution in _DISTRIBUTIONS:
        for file in files(distribution) or ():
            if ".." in file.parts:  # scripts
                continue
            target = folder / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(str(file.locate()), target)
    compileall.compile_dir(folder, quiet=1)
    return folder


def bootstrap(*, artifact: Path, runtime: Path, pids: Path) -> str:
    """Give the shell script that a `provided.al2023` function starts as.

    `runtime` comes from `install_runtime`. Each process leaves its id as the name of an empty file in `pids`.
    The Runtime API's address and the handler come in AWS's own variables.
    """
    return f"""\
#!/bin/sh
: > {shlex.quote(str(pids))}/$$
cd {shlex.quote(str(artifact))} || exit 1
unset BIND_HOST GATEWAY_PORT IOT_MTLS_PORT MINISTACK_REGION STATE_DIR
export LAMBDA_TASK_ROOT="$PWD" PYTHONPATH={shlex.quote(str(runtime))} PYTHONDONTWRITEBYTECODE=1
export AWS_EXECUTION_ENV=AWS_Lambda_python3.13 AWS_LAMBDA_INITIALIZATION_TYPE=on-demand
export AWS_LAMBDA_LOG_GROUP_NAME="/aws/lambda/$AWS_LAMBDA_FUNCTION_NAME"
exec {shlex.quote(sys.executable)} -S -m awslambdaric "$_HANDLER"
"""

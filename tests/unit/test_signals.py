"""A run that ignores signals, as one under `nohup` does, still tests what hears them."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent

REPORT = "import signal; print(*(signal.getsignal(each) == signal.SIG_IGN for each in ({}, {}, {})))".format(
    *(int(each) for each in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM))
)


def test_what_a_test_starts_hears_signals() -> None:
    done = subprocess.run([sys.executable, "-c", REPORT], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False", "False"]


@pytest.mark.parametrize("ignored", ["HUP INT TERM", "INT"])
def test_so_does_what_a_run_starts_that_ignores_them_and_the_run_itself_stays_deaf(ignored: str) -> None:
    this = f"{Path(__file__).relative_to(ROOT)}::{test_what_a_test_starts_hears_signals.__name__}"
    run = f'trap "" {ignored}; exec "$0" -m pytest -q -p no:cacheprovider "$1"'
    done = subprocess.run(
        ["/bin/sh", "-c", run, sys.executable, this], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, "1 passed" in done.stdout) == (0, True), done.stdout


@pytest.mark.parametrize("name", ["SIGHUP", "SIGINT", "SIGTERM"])
def test_a_run_that_ignores_a_signal_is_not_ended_by_it(name: str) -> None:
    code = f"import signal, tests.conftest; signal.raise_signal(signal.{name}); print('goes on')"
    run = f'trap "" {name.removeprefix("SIG")}; exec "$0" -c "$1"'
    done = subprocess.run(
        ["/bin/sh", "-c", run, sys.executable, code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "goes on\n")

"""`make redrive`: what it hears, and what it makes of it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from local.redrive import CALLER

ROOT = Path(__file__).parent.parent.parent
MAKE = shutil.which("make") or "make"
QUEUE = "QUEUE=dead"


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """What stands in for Python: it prints its arguments, one a line."""
    script = tmp_path / "python"
    script.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    script.chmod(0o755)
    return script


def make(python: Path, *arguments: str, **exported: str) -> tuple[int, list[str], str]:
    """The exit status, the arguments that redrive gets, and standard error."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(
        [MAKE, "-o", "install", "redrive", f"PY={python}", *arguments],
        cwd=ROOT,
        env=kept | exported,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout.splitlines(), done.stderr


LOOK = ["-m", "local.redrive", "--queue", "dead"]


@pytest.mark.parametrize(
    ("written", "heard"),
    [
        ((), []),
        (("APPLY=1", "RENEW=1", "REJECTED=1", "JSON=1"), ["--apply", "--renew", "--rejected", "--json"]),
        (("APPLY=", "RENEW=", "TO=", "LIMIT="), []),
        (
            ("TO=stop", "ONLY=rejected: a, b", "LIMIT=3", "TTL=60"),
            ["--to", "stop", "--only", "rejected: a, b", "--limit", "3", "--ttl", "60"],
        ),
    ],
    ids=str,
)
def test_what_is_written_is_heard(python: Path, written: tuple[str, ...], heard: list[str]) -> None:
    assert make(python, QUEUE, *written) == (0, LOOK + heard, "")


def test_redrive_is_told_that_make_called_it(tmp_path: Path) -> None:
    script = tmp_path / "python"
    script.write_text(f'#!/bin/sh\necho "${CALLER}"\n')
    script.chmod(0o755)
    assert make(script, QUEUE) == (0, ["make"], "")


@pytest.mark.parametrize("name", ["APPLY", "RENEW", "REJECTED", "JSON"])
@pytest.mark.parametrize("value", ["0", "no", "false", "true", "1 0", "11"])
def test_a_flag_that_is_not_1_is_refused(python: Path, name: str, value: str) -> None:
    status, arguments, err = make(python, QUEUE, f"{name}={value}")
    assert (status, arguments) == (2, [])
    assert f"{name}={value}: write {name}=1, or leave it out" in err


@pytest.mark.parametrize("override", [(), ("-e",)])
def test_what_is_exported_is_not_heard(python: Path, override: tuple[str, ...]) -> None:
    exported = {
        "APPLY": "1",
        "RENEW": "1",
        "REJECTED": "1",
        "JSON": "1",
        "TO": "x",
        "ONLY": "x",
        "LIMIT": "1",
        "TTL": "9",
    }
    assert make(python, *override, QUEUE, **exported)[:2] == (0, LOOK)


def test_without_a_queue_nothing_is_done(python: Path) -> None:
    for arguments, exported in (((), {}), (("QUEUE=",), {}), ((), {"QUEUE": "dead"})):
        status, heard, err = make(python, *arguments, **exported)
        assert (status, heard) == (2, [])
        assert "say which: QUEUE=" in err


@pytest.mark.parametrize("misspelt", ["APLY=1", "apply=1", "DRY_RUN=1"])
def test_a_name_that_it_does_not_know_is_refused(python: Path, misspelt: str) -> None:
    status, arguments, err = make(python, QUEUE, "APPLY=1", misspelt)
    assert (status, arguments) == (2, [])
    assert f"{misspelt.partition('=')[0]}: redrive knows QUEUE TO APPLY" in err

"""The demo as a person starts it: what it finds, and what it leaves behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parent.parent.parent
PROC = Path("/proc")
LONG_ENOUGH = 90.0


def start(folder: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "local.demo", "--json", *options],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def processes_of(folder: Path) -> list[str]:
    """Every process, zombies aside, that has the folder in its command line or its environment."""
    found = []
    for process in PROC.glob("[0-9]*"):
        try:
            known = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:
            continue  # it ended meanwhile, or is another user's
        if str(folder).encode() in known:
            found.append(known.decode(errors="replace"))
    return found


def wait_until(condition: Callable[[], object]) -> None:
    give_up_at = time.monotonic() + LONG_ENOUGH
    while not condition():
        assert time.monotonic() < give_up_at, "it never came true"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, dict[str, Any], str, Path]:
    folder = tmp_path_factory.mktemp("demo")
    with start(folder) as demo:
        out, err = demo.communicate(timeout=LONG_ENOUGH)
    return demo.returncode, json.loads(out or "{}"), err, folder


def test_all_is_as_the_contract_says(run: tuple[int, dict[str, Any], str, Path]) -> None:
    status, result, err, _ = run
    assert result["differences"] == [], err
    assert status == 0, err


def test_every_sort_of_message_came_to_its_end(run: tuple[int, dict[str, Any], str, Path]) -> None:
    statuses = [command["status"] for command in run[1]["commands"]]
    assert len(statuses) == 55
    assert set(statuses) == {"succeeded", "failed", "rejected", "expired", "dry_run"}


def test_huawei_cloud_saw_signed_calls_of_at_most_100_targets(run: tuple[int, dict[str, Any], str, Path]) -> None:
    huawei = run[1]["huawei"]
    assert huawei["violations"] == {}
    assert huawei["authentication_failures"] == 0
    assert huawei["signatures"].keys() == {"derived", "plain"}
    assert all(1 <= targets <= 100 for targets in huawei["targets_a_call"])


def test_what_was_not_understood_is_set_aside_intact(run: tuple[int, dict[str, Any], str, Path]) -> None:
    letters = run[1]["dead_letters"]
    assert [letter["intact"] for letter in letters] == [True, True, True]
    assert all(letter["failure_reason"] for letter in letters)
    assert run[1]["left"] == {}


def test_a_demo_that_has_ended_leaves_nothing_behind(run: tuple[int, dict[str, Any], str, Path]) -> None:
    wait_until(lambda: not processes_of(run[3]))
    assert list(run[3].iterdir()) == []


def test_the_sweep_finds_what_is_stale_and_the_workflow_ends_with_what_was_confirmed(
    run: tuple[int, dict[str, Any], str, Path],
) -> None:
    found = run[1]["sweep"]
    assert (found["stale"], found["protected"], found["sent"]) == (1, 1, 1)
    assert [task["task_id"] for task in found["tasks"]] == ["5f1ac5c3e4b2"]
    workflow = run[1]["workflow"]
    assert (workflow["status"], workflow["output"]["confirmed"]) == ("SUCCEEDED", True)


def test_outcomes_that_do_not_come_are_named_and_end_it_with_1(tmp_path: Path) -> None:
    with start(tmp_path, "--time-limit=0") as demo:
        out, err = demo.communicate(timeout=LONG_ENOUGH)
    assert demo.returncode == 1
    named = "check-confirmed: no final event came (a running check, confirmed)"
    assert named in json.loads(out)["differences"]
    assert "NOT AS EXPECTED" in err


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_a_demo_that_is_ended_in_the_middle_leaves_nothing_behind(
    tmp_path: Path, number: signal.Signals, status: int
) -> None:
    with start(tmp_path) as demo:
        wait_until(lambda: list(tmp_path.glob("stopline-*/pids/*")))  # the functions run
        assert processes_of(tmp_path)
        demo.send_signal(number)
        demo.communicate(timeout=LONG_ENOUGH)
    assert demo.returncode == status
    wait_until(lambda: not processes_of(tmp_path) and not list(tmp_path.iterdir()))

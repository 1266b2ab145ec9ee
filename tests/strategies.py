"""Commands as hypothesis makes them: few tasks and targets, so that they meet."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from shared.commands import Command, StopTargets, StopTask
from shared.outcomes import Tally
from tests.fakes import NOW

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn

# Enough distinct devices that chunks of 100 are passed now and then.
DEVICES = tuple(f"d{number}" for number in range(230))
BATCH_IDS = ("5f1a", "5f1b")
CHECK_IDS = ("check-1", "check-2")


@st.composite
def named_targets(draw: DrawFn) -> tuple[str, ...]:
    """A run of the devices, turned round at some place: long lists at little cost."""
    start = draw(st.integers(0, len(DEVICES) - 1))
    length = draw(st.sampled_from([1, 2, 3, 99, 100, 101, 200, 201, 230]))
    turned = DEVICES[start:] + DEVICES[:start]
    return turned[:length]


@st.composite
def stop_targets(draw: DrawFn) -> StopTargets:
    everything = draw(st.integers(0, 4)) == 0
    targets = None if everything else draw(named_targets())
    confirm = draw(st.booleans())
    asked = ("*",) if targets is None else targets
    awaiting = asked[: draw(st.integers(0, len(asked)))] if confirm and draw(st.booleans()) else ()
    given = {
        "command": "stop_targets",
        "command_id": draw(st.sampled_from(["c-1", "c-2", "c-3"])),
        "task_id": draw(st.sampled_from(BATCH_IDS)),
        "project_id": draw(st.sampled_from(["project-1", "project-2"])),
        "instance_id": draw(st.sampled_from([None, "instance-1"])),
        "targets": targets,
        "all_targets": True if everything else None,
        "requested_at": NOW,
        "expires_at": NOW + timedelta(minutes=draw(st.integers(1, 90))),
        "requested_by": draw(st.sampled_from([None, "ci", "Zoë ☂"])),
        "traceparent": draw(st.sampled_from([None, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"])),
        "dry_run": draw(st.integers(0, 4)) == 0,
        "confirm": confirm,
        "awaiting": awaiting,
        "attempt": draw(st.integers(1, 8)),
        "tally": Tally(stopped=draw(st.integers(0, 3)), not_found=draw(st.integers(0, 1))),
    }
    return StopTargets.model_validate({name: value for name, value in given.items() if value is not None})


@st.composite
def stop_task(draw: DrawFn) -> StopTask:
    task_id = draw(st.sampled_from(CHECK_IDS))
    confirm = draw(st.booleans())
    return StopTask(
        command="stop_task",
        command_id=draw(st.sampled_from(["c-1", "c-2", "c-3"])),
        task_id=task_id,
        requested_at=NOW,
        expires_at=NOW + timedelta(minutes=draw(st.integers(1, 90))),
        dry_run=draw(st.integers(0, 4)) == 0,
        confirm=confirm,
        awaiting=(task_id,) if confirm and draw(st.booleans()) else (),
        attempt=draw(st.integers(1, 8)),
    )


def commands() -> st.SearchStrategy[Command]:
    return st.one_of(stop_targets(), stop_task())

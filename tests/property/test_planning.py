"""`plan`: folding, chunks, order, and `{}` only for whoever asked for everything."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.commands import ALL_TARGETS, Command, StopTargets
from shared.planning import Stop, StopAll, Task, plan, task_of
from tests.fakes import BATCH, NOW, stop_of
from tests.strategies import commands

if TYPE_CHECKING:
    from collections.abc import Iterable


def wanted_by_task(deliveries: Iterable[Command]) -> dict[Task, list[str]]:
    """What is to be stopped, the slow and obvious way."""
    wanted: dict[Task, list[str]] = {}
    for command in deliveries:
        if command.dry_run:
            continue
        for target in command.asked:
            if target not in command.awaiting and target not in wanted.setdefault(task_of(command), []):
                wanted[task_of(command)].append(target)
    return wanted


@given(st.lists(commands(), max_size=12))
def test_each_target_asked_for_is_in_exactly_one_call_in_the_order_asked(delivery: list[Command]) -> None:
    planned: dict[Task, list[str]] = {}
    for call in plan(delivery).calls:
        planned.setdefault(call.task, []).extend(call.targets if isinstance(call, Stop) else [ALL_TARGETS])
    expected = {task: targets for task, targets in wanted_by_task(delivery).items() if targets}
    assert {task: [t for t in targets if t != ALL_TARGETS] for task, targets in planned.items()} == {
        task: [t for t in targets if t != ALL_TARGETS] for task, targets in expected.items()
    }
    assert {task for task, targets in planned.items() if ALL_TARGETS in targets} == {
        task for task, targets in expected.items() if ALL_TARGETS in targets
    }


@given(st.lists(commands(), max_size=12))
def test_a_call_names_one_to_a_hundred_targets(delivery: list[Command]) -> None:
    for call in plan(delivery).calls:
        if isinstance(call, Stop):
            assert 1 <= len(call.targets) <= 100
            assert len(set(call.targets)) == len(call.targets)


@given(st.lists(commands(), max_size=12))
def test_folding_costs_as_few_calls_as_possible(delivery: list[Command]) -> None:
    named = {
        task: [target for target in targets if target != ALL_TARGETS]
        for task, targets in wanted_by_task(delivery).items()
    }
    calls = plan(delivery).calls
    for task, targets in named.items():
        assert sum(isinstance(call, Stop) and call.task == task for call in calls) == math.ceil(len(targets) / 100)


@given(st.lists(commands(), max_size=12))
def test_everything_is_stopped_only_for_a_command_that_asked_for_it(delivery: list[Command]) -> None:
    asked_for_all = {
        task_of(command)
        for command in delivery
        if isinstance(command, StopTargets) and command.all_targets is True and not command.dry_run
    }
    assert {call.task for call in plan(delivery).calls if isinstance(call, StopAll)} <= asked_for_all


@given(st.lists(commands(), max_size=12))
def test_a_dry_run_and_what_awaits_confirmation_are_read_and_never_stopped(delivery: list[Command]) -> None:
    planned = plan(delivery)
    for command in delivery:
        only_read = command.asked if command.dry_run else command.awaiting
        assert set(only_read) <= set(planned.reads.get(task_of(command), ()))
    stopped = {(call.task, t) for call in planned.calls if isinstance(call, Stop) for t in call.targets}
    wished = {(task, target) for task, targets in wanted_by_task(delivery).items() for target in targets}
    assert stopped <= wished


@given(st.lists(commands(), min_size=1, max_size=12))
def test_a_call_expires_no_later_than_any_of_its_targets(delivery: list[Command]) -> None:
    for call in plan(delivery).calls:
        targets = call.targets if isinstance(call, Stop) else (ALL_TARGETS,)
        for target in targets:
            assert call.expires_at <= max(
                command.expires_at
                for command in delivery
                if task_of(command) == call.task and target in command.asked and not command.dry_run
            )


def test_a_thousand_one_target_messages_of_one_batch_are_ten_calls() -> None:
    delivery = [
        StopTargets(
            command="stop_targets",
            command_id=f"c-{number}",
            task_id=BATCH.task_id,
            project_id=BATCH.project_id,
            targets=(f"device-{number}",),
            requested_at=NOW,
            expires_at=NOW + timedelta(hours=1),
            confirm=False,
            attempt=1,
        )
        for number in range(1000)
    ]
    assert [len(call.targets) for call in plan(delivery).calls if isinstance(call, Stop)] == [100] * 10


@pytest.mark.parametrize("targets", [(), tuple(map(str, range(101))), (ALL_TARGETS,), ("d1", ALL_TARGETS)])
def test_a_call_that_huawei_might_read_as_everything_cannot_be_made(targets: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="names 1 to 100 targets"):
        stop_of(BATCH, targets)

"""The log of outcomes on the local stack: what was on the bus is found later by its command_id, with no listener."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import pytest
from botocore.exceptions import ClientError

from local.build import ROOT
from local.huawei import BatchTask, CheckTask, Scenario
from shared.outcomes import DETAIL_TYPE as OUTCOME
from shared.sweeps import DETAIL_TYPE as REPORT
from tests.end_to_end.world import deployed, wait_until
from tests.schemas import complaints

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.end_to_end.world import World

pytestmark = pytest.mark.enable_socket

DEVICES: Final = tuple(f"device-{number}" for number in range(250))
UNKNOWN: Final = ("nobody-1", "nobody-2")
COMMANDS: Final[dict[str, dict[str, Any]]] = {
    "many": {"command": "stop_targets", "task_id": "5", "targets": [*UNKNOWN, *DEVICES]},
    "few": {"command": "stop_targets", "task_id": "6", "targets": ["d1"]},
    "check": {"command": "stop_task", "task_id": "c1"},
}
EMULATOR: Final = str(ROOT / "local" / "emulator.py")
LISTENING: Final = ("StopTaskFunction", "StopTargetsFunction")


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """All is done, nobody took anything from the bus, and the functions take no more messages."""
    scenario = Scenario(
        batch_tasks=(BatchTask(task_id="5", targets=DEVICES), BatchTask(task_id="6", targets=("d1",))),
        check_tasks=(CheckTask(task_id="c1"),),
    )
    with deployed(scenario) as world:
        world.stack.invoke("SweepStaleTasksFunction", {"sweep": "batch_tasks", "older_than": "P1D"})
        for command_id, command in COMMANDS.items():
            queue = "StopTaskQueue" if command["command"] == "stop_task" else "StopTargetsQueue"
            world.stack.sqs.send_message(
                QueueUrl=world.stack.resources[queue], MessageBody=json.dumps(command | {"command_id": command_id})
            )
        wait_until(lambda: all(final_of(world, command_id) for command_id in COMMANDS))
        for function in LISTENING:
            world.stack.listen(function, enabled=False)
        world.stack.sqs.purge_queue(QueueUrl=world.stack.outcome_queue_url)
        yield world


def found(world: World, pattern: str) -> list[dict[str, Any]]:
    lines = world.stack.log_events(world.stack.resources["OutcomeLogGroup"], pattern)
    return [json.loads(line) for line in lines]


def of_command(world: World, command_id: str) -> list[dict[str, Any]]:
    return [event["detail"] for event in found(world, f'{{ $.detail.command_id = "{command_id}" }}')]


def final_of(world: World, command_id: str) -> list[dict[str, Any]]:
    return [each for each in of_command(world, command_id) if each["status"] != "in_progress"]


@pytest.mark.parametrize("command_id", COMMANDS)
def test_all_of_a_command_is_found_by_its_id_when_the_functions_are_off(world: World, command_id: str) -> None:
    outcomes = of_command(world, command_id)
    assert {each["command_id"] for each in outcomes} == {command_id}
    (final,) = final_of(world, command_id)
    results = Counter(result["result"] for each in outcomes for result in each["results"])
    assert results == Counter({word: count for word, count in final["tally"].items() if count})
    targets = [result["target"] for each in outcomes for result in each["results"]]
    assert sorted(targets) == sorted(COMMANDS[command_id].get("targets", ["c1"]))


def test_the_patterns_of_the_documents_find_what_they_should_here_too(world: World) -> None:
    documents = "".join((ROOT / name).read_text() for name in ("README.md", "docs/operations.md"))
    patterns = set(re.findall(r"--filter-pattern '([^']+)'", documents))
    assert len(patterns) == 2
    found_by_them = [found(world, pattern.replace("c-2", "many")) for pattern in patterns]
    assert sorted(map(len, found_by_them)) == [1, 3]


def test_the_log_has_whole_events_and_the_report_of_a_sweep(world: World) -> None:
    events = found(world, "")
    assert [complaint for event in events for complaint in complaints(event)] == []
    assert Counter(event["detail-type"] for event in events) == {OUTCOME: 5, REPORT: 1}
    (report,) = found(world, f'{{ $.detail-type = "{REPORT}" }}')
    assert (report["detail"]["sweep"], report["detail"]["scanned"]) == ("batch_tasks", 2)


def test_what_somebody_else_puts_on_the_bus_is_logged_too(world: World) -> None:
    entry = {"Source": "somebody", "DetailType": "Else", "Detail": '{"n": 1}', "EventBusName": "stopline-outcomes"}
    world.stack.events.put_events(Entries=[entry])  # type: ignore[list-item]
    (event,) = found(world, "{ $.source = somebody && $.detail.n = 1 }")
    assert event["detail"] == {"n": 1}
    assert found(world, "{ $.source = somebody && $.detail.n = 2 }") == []


@pytest.mark.parametrize("pattern", ["{ $.detail.n > 1 }", "{ $.a = 1 || $.b = 2 }", "{ $.a[0] = 1 }", "{ $.a = 1"])
def test_a_pattern_that_the_local_world_does_not_know_is_refused(world: World, pattern: str) -> None:
    with pytest.raises(ClientError, match="the local world knows only"):
        found(world, pattern)


def test_nothing_is_complained_of(world: World) -> None:
    assert world.stack.complaints() == []


def test_another_ministack_is_not_started() -> None:
    changed = "from ministack.services import eventbridge; eventbridge._invoke_target = lambda target, rule: None; "
    started = subprocess.run(
        [sys.executable, "-c", f"{changed}import runpy; runpy.run_path({EMULATOR!r}, run_name='__main__')"],
        env={"GATEWAY_PORT": "1", "BIND_HOST": "127.0.0.1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (started.returncode, "ministack has another" in started.stderr) == (1, True)


def test_without_a_log_all_else_works() -> None:
    with deployed(Scenario(check_tasks=(CheckTask(task_id="c1"),)), OutcomeLogRetentionDays="0") as world:
        body = json.dumps({"command": "stop_task", "task_id": "c1", "command_id": "c"})
        world.stack.sqs.send_message(QueueUrl=world.stack.resources["StopTaskQueue"], MessageBody=body)
        (outcome,) = wait_until(lambda: world.events(OUTCOME, command_id="c"))
        assert outcome["status"] == "succeeded"
        assert [name for name in world.stack.resources if name.startswith("OutcomeLog")] == []
        assert world.stack.complaints() == []

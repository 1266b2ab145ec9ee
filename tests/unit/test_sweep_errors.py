"""What a sweep that fails says, in its error and in the log: the cause, and never a target."""

from __future__ import annotations

import io
import json
import re
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aws_lambda_powertools import Logger

from local.huawei import CheckTask, Fault
from shared.aws import AwsUnavailable
from shared.errors import DeploymentFault, HuaweiUnavailable, PublishingFailed, SweepRejected
from shared.telemetry import Telemetry
from tests.one_sweep import BATCHES, CHECKS, STOP, TASK_QUEUE, World, batch

if TYPE_CHECKING:
    from collections.abc import Callable

DRY: dict[str, Any] = {}
BOTH_WAYS = pytest.mark.parametrize("more", [DRY, STOP], ids=["dry", "real"])
NAMES_ONE = "no permission on device dev-7"

_services = count()


def answer(operation: str, status: int, code: str, words: str = NAMES_ONE, **more: Any) -> Fault:
    body = {"error_code": code, "error_msg": words}
    return Fault.model_validate({"kind": "answer", "operation": operation, "status": status, "body": body} | more)


class Logged(World):
    """A world whose lines can be read, in which each sweep is an invocation."""

    def __init__(self, **more: Any) -> None:
        self.log = io.StringIO()
        telemetry = Telemetry(Logger(service=f"sweep-errors-{next(_services)}", stream=self.log))
        super().__init__(telemetry=telemetry, **more)
        self.telemetry = telemetry

    def failed(self, asked: dict[str, Any], error: type[Exception], **more: Any) -> str:
        """Carry out a sweep that fails so, and return what its error says."""
        with pytest.raises(error) as raised, self.telemetry.invocation("sweep_stale_tasks", "r-1"):
            self.sweep(asked, **more)
        assert type(raised.value) is error
        return str(raised.value)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.getvalue().splitlines()]


def of_batches() -> Logged:
    world = Logged()
    world.cloud.add(batch("a1", world, days=3, targets=tuple(f"dev-{each}" for each in range(80))))
    world.cloud.add(batch("a2", world, days=2))
    return world


def of_checks(**more: Any) -> Logged:
    world = Logged(check_jobs="listed", **more)
    world.cloud.add(*(CheckTask(task_id=f"t-{each:02}", running_since=world.ago(hours=3)) for each in range(20)))
    return world


# The cause.


@BOTH_WAYS
@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        (answer("show_batch_task", 500, "IOTDA.000001"), "IOTDA.000001: status 500"),
        (answer("show_batch_task", 403, "IOTDA.000022"), "running targets of task a1 (IOTDA.000022: status 403)"),
        (Fault(kind="error_html", operation="show_batch_task"), "could not be asked to the end: status 50"),
        (Fault(kind="error_json", operation="show_batch_task"), ": status 50"),
    ],
    ids=["500", "403", "html", "json"],
)
def test_what_of_a_batch_task_runs_could_not_be_read_for_a_cause(
    fault: Fault, cause: str, more: dict[str, Any]
) -> None:
    world = of_batches()
    world.cloud.set_faults(fault.model_copy(update={"task_id": "a1"}))
    said = world.failed(BATCHES, HuaweiUnavailable, **more)
    assert said.startswith("1 of 1 commands were sent; of 1 stale" if more else "dry run: of 1 stale")
    assert cause in said


def test_what_of_a_check_runs_could_not_be_read_for_a_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    for operation in ("show_check_progress", "list_check_jobs"):
        world = of_checks()
        fault = answer(operation, 500, "CC.00059999", task_id="t-01")
        world.meanwhile(monkeypatch, partial(world.cloud.set_faults, fault))
        said = world.failed(CHECKS, HuaweiUnavailable, **STOP)
        assert said.startswith(
            "19 of 19 commands were sent; of 1 stale tasks it could not be found out what still runs: "
        )
        assert "CC.00059999: " in said
        assert NAMES_ONE not in said


@BOTH_WAYS
def test_the_state_of_no_check_could_be_read_for_a_cause(more: dict[str, Any]) -> None:
    world = of_checks()
    world.cloud.set_faults(answer("show_check_progress", 500, "CC.00059999"))
    said = world.failed(CHECKS, HuaweiUnavailable, **more)
    assert said.startswith("the state of not one task could be read from CodeArts Check: ")
    assert "CC.00059999" in said


def test_a_throttle_that_takes_all_the_time_is_the_cause() -> None:
    world = of_batches()
    world.cloud.set_faults(Fault(kind="throttle_429", operation="show_batch_task", task_id="a1"))
    said = world.failed(BATCHES, HuaweiUnavailable, seconds=60)
    assert "no time left to ask (before that: APIGW.0308: status 429)" in said


@BOTH_WAYS
def test_what_comes_too_late_was_read_all_the_same(more: dict[str, Any]) -> None:
    world = Logged(latency_seconds=0.1, environment={"COMMAND_TTL_SECONDS": "60"})
    for task_id, number in (("a1", 15_000), ("a2", 15_000), ("a3", 50)):
        targets = tuple(f"{task_id}-d{each}" for each in range(number))
        world.cloud.add(batch(task_id, world, days=3 if number > 50 else 2, targets=targets))
    said = world.failed(BATCHES, HuaweiUnavailable, **more)
    assert "could not be found out" not in said
    assert said.endswith(
        "the commands, valid for 60 seconds from the last look, would have come too late: "
        "CommandTtlSeconds or older_than is too short"
    )


# No target.


@BOTH_WAYS
@pytest.mark.parametrize("nth", [None, 2])
@pytest.mark.parametrize("code", ["IOTDA.000022", "IOTDA.000001", "X.1"])
@pytest.mark.parametrize("status", [400, 403, 404, 409, 423, 500])
def test_huawei_s_words_about_a_target_are_in_no_error_and_in_no_line(
    status: int, code: str, nth: int | None, more: dict[str, Any]
) -> None:
    for operation in ("show_batch_task", "list_batch_tasks"):
        world = of_batches()
        world.cloud.set_faults(answer(operation, status, code, nth=nth))
        said = ""
        try:
            with world.telemetry.invocation("sweep_stale_tasks", "r-1"):
                world.sweep(BATCHES, **more)
        except (DeploymentFault, HuaweiUnavailable, SweepRejected) as error:
            said = str(error)
        assert "dev-7" not in said
        assert "permission on" not in said + world.log.getvalue()
        assert "dev-7" not in world.log.getvalue()


def test_a_marker_that_is_a_target_is_in_no_error() -> None:
    world = of_batches()
    row = {"target": "dev-1", "status": "Waitting"}
    body = {"batchtask": {"task_name": "n"}, "task_details": [row] * 50, "page": {"count": 99, "marker": "dev-7"}}
    world.cloud.set_faults(Fault.model_validate({"kind": "answer", "operation": "show_batch_task", "body": body}))
    said = world.failed(BATCHES, HuaweiUnavailable)
    assert "of 2 stale tasks it could not be found out what still runs: the running targets of task a1 cannot" in said
    assert "dev-7" not in said + world.log.getvalue()


# The log.


def rejected(world: Logged) -> None:
    world.cloud.set_faults(answer("list_batch_tasks", 404, "IOTDA.001006"))


def unavailable(world: Logged) -> None:
    world.cloud.set_faults(Fault(kind="error_json", operation="list_batch_tasks"))


def partly_unavailable(world: Logged) -> None:
    world.cloud.set_faults(Fault(kind="error_json", operation="show_batch_task", task_id="a1"))


def unpublished(world: Logged) -> None:
    world.aws.refuse = lambda _: "InternalFailure: no"


@pytest.mark.parametrize(
    ("happens", "error"),
    [
        (rejected, SweepRejected),
        (unavailable, HuaweiUnavailable),
        (partly_unavailable, HuaweiUnavailable),
        (unpublished, PublishingFailed),
    ],
)
@BOTH_WAYS
def test_a_sweep_that_fails_leaves_one_line_that_says_why(
    happens: Callable[[Logged], None], error: type[Exception], more: dict[str, Any]
) -> None:
    world = of_batches()
    happens(world)
    said = world.failed(BATCHES, error, **more)
    (line,) = (line for line in world.lines() if line["level"] in {"WARNING", "ERROR"})
    assert (line["message"], line["level"], line["function"]) == ("not carried out", "WARNING", "sweep_stale_tasks")
    assert (line["error"], line["why"]) == (error.__name__, said)


def test_a_table_that_is_down_leaves_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    world = of_checks()
    error = AwsUnavailable(service="DynamoDB", operation="Query", code="Throttling", message="slow")

    def down(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(world.memory, "of_project", down)
    said = world.failed(CHECKS, AwsUnavailable)
    (line,) = (line for line in world.lines() if line["level"] == "WARNING")
    assert (line["error"], line["why"]) == ("AwsUnavailable", said)


def test_what_is_no_sweep_leaves_a_line() -> None:
    world = of_batches()
    said = world.failed({"sweep": "batch_tasks"}, SweepRejected)
    (line,) = world.lines()
    assert (line["level"], line["error"], line["why"]) == ("WARNING", "SweepRejected", said)
    assert said == "older_than: is missing"


@BOTH_WAYS
def test_a_fault_of_the_deployment_leaves_its_own_line_and_no_other(more: dict[str, Any]) -> None:
    world = of_batches()
    world.cloud.set_faults(Fault(kind="unauthorized"))
    world.failed(BATCHES, DeploymentFault, **more)
    (line,) = world.lines()
    assert (line["level"], line["message"]) == ("ERROR", "deployment fault")


def test_a_sweep_that_succeeds_warns_of_nothing() -> None:
    world = of_batches()
    with world.telemetry.invocation("sweep_stale_tasks", "r-1"):
        world.sweep(BATCHES, **STOP)
    assert {line["level"] for line in world.lines()} == {"INFO"}


# The time of the others.


def test_a_check_whose_jobs_are_throttled_for_ever_leaves_the_last_look_its_time() -> None:
    world = of_checks(latency_seconds=0.1)
    world.cloud.set_faults(Fault(kind="throttle_429", operation="list_check_jobs", task_id="t-07"))
    dry, real = world.sweep(CHECKS), world.sweep(CHECKS, **STOP)
    assert dry["stale"] == real["stale"] == real["sent"] == len(world.sent(TASK_QUEUE)) == 7
    assert dry["missed"] == real["missed"] == 13


def test_the_runbook_s_query_finds_the_line_and_shows_why() -> None:
    text = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    (section,) = re.findall(r"### sweep-dead-letters\n.*?\n### ", text, re.DOTALL)
    (query,) = re.findall(r"^insights '(.*)'$", section, re.MULTILINE)
    world = of_batches()
    unavailable(world)
    world.failed(BATCHES, HuaweiUnavailable)
    (line,) = world.lines()
    levels, shown = re.findall(r"level in \[(.*?)\].* display (.*)$", query)[0]
    assert f'"{line["level"]}"' in levels
    assert {"message", "error", "why", "mend"} <= set(shown.split(", "))

"""What is told of the work: lines of the log, and metrics that CloudWatch can read."""

from __future__ import annotations

import cProfile
import io
import itertools
import json
import traceback
from collections import Counter, defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest
from aws_lambda_powertools import Logger
from pydantic import ValidationError

from shared.commands import StopTargets, StopTask
from shared.errors import CommandRejected, DeploymentFault, ForeignAnswer, HuaweiUnavailable
from shared.field_errors import field_error
from shared.huawei.client import NoSuchApi
from shared.outcomes import FieldError, Outcome, Result, Status, Tally, TargetResult
from shared.sweeps import SweepCommand, SweepReport
from shared.telemetry import LONGEST_TEXT, LONGEST_VALUE, Metric, Telemetry
from shared.wiring.clouds import telemetry as wired
from tests.fakes import NOW

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from shared.telemetry import Function

LIMIT: Final = 100
"""Of metrics in an object, and of values of a metric."""

_services = itertools.count()


class World:
    """A telemetry whose lines can be read: `lines` of the log, `metrics` by name, with all their values."""

    def __init__(self, output: pytest.CaptureFixture[str]) -> None:
        self._log = io.StringIO()
        self._output = output
        # Loggers of the same name share their handler, and so the stream of the first.
        self.telemetry = Telemetry(Logger(service=f"telemetry-{next(_services)}", stream=self._log))

    @contextmanager
    def invocation(self, function: Function = "stop_targets", request_id: str = "r-1") -> Iterator[Telemetry]:
        with self.telemetry.invocation(function, request_id):
            yield self.telemetry

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._log.getvalue().splitlines()]

    def written(self) -> list[str]:
        """Give what was written beside the log since the last time."""
        return self._output.readouterr().out.splitlines()

    def metrics(self) -> dict[str, list[float]]:
        found: dict[str, list[float]] = defaultdict(list)
        for line in self.written():
            for name, values in read_metrics(line).values.items():
                found[name] += values
        return dict(found)


@dataclass
class Written:
    """One object in the embedded metric format."""

    function: str
    request_id: str
    units: dict[str, str] = field(default_factory=dict)
    values: dict[str, list[float]] = field(default_factory=dict)


def read_metrics(line: str) -> Written:
    """Read a line as CloudWatch does, by the format's rules.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
    """
    assert len(line.encode()) <= 256 * 1024
    root = json.loads(line)
    meta = root["_aws"]
    assert meta.keys() == {"Timestamp", "CloudWatchMetrics"}
    assert isinstance(meta["Timestamp"], int)
    assert len(str(meta["Timestamp"])) == len("1763974800000"), "milliseconds"
    (directive,) = meta["CloudWatchMetrics"]
    assert directive.keys() == {"Namespace", "Dimensions", "Metrics"}
    assert directive["Namespace"] == "Stopline"
    assert directive["Dimensions"] == [["Function"]]
    assert isinstance(root["Function"], str)
    assert 1 <= len(directive["Metrics"]) <= LIMIT
    written = Written(root["Function"], root["function_request_id"])
    for definition in directive["Metrics"]:
        assert definition.keys() == {"Name", "Unit"}
        name = definition["Name"]
        assert name not in written.units
        values = root[name]
        assert 1 <= len(values) <= LIMIT
        assert all(type(value) in {int, float} for value in values)
        written.units[name] = definition["Unit"]
        written.values[name] = values
    assert root.keys() == {"_aws", "Function", "function_request_id", *written.values}, "nothing else is told"
    return written


@pytest.fixture
def world(capsys: pytest.CaptureFixture[str]) -> World:
    return World(capsys)


def outcome(status: Status = Status.SUCCEEDED, *results: Result, command_id: str = "c-1", **more: Any) -> Outcome:
    found = tuple(TargetResult(target=f"device-{n}", result=result) for n, result in enumerate(results))
    fields: dict[str, Any] = {
        "outcome_id": "o-1",
        "command_id": command_id,
        "command": "stop_targets",
        "status": status,
        "attempt": 1,
        "task_id": "5f1ac5c3e4b0",
        "project_id": "project-1",
        "instance_id": None,
        "requested_at": NOW,
        "requested_by": None,
        "reason": None,
        "traceparent": None,
        "tracestate": None,
        "occurred_at": NOW + timedelta(seconds=12.3456),
        "results": found,
        "tally": Tally().plus(Counter(results)),
        "confirmed": None,
        "errors": (),
    }
    return Outcome(**fields | more)


def remainder(**more: Any) -> StopTargets:
    fields: dict[str, Any] = {
        "command": "stop_targets",
        "command_id": "c-1",
        "requested_at": "2026-11-23T08:49:05Z",
        "expires_at": "2026-11-23T09:49:05Z",
        "task_id": "5f1ac5c3e4b0",
        "project_id": "project-1",
        "targets": ["device-0", "device-1", "device-2"],
        "confirm": True,
        "awaiting": ["device-2"],
        "attempt": 2,
    }
    return StopTargets.model_validate(fields | more, strict=False)


def sent(command_id: str, task_id: str) -> SweepCommand:
    body = '{"targets": ["device-9"]}'
    return SweepCommand(command_id, "stop_task", task_id, asked=("device-9",), expires_at=NOW, body=body)


def report(**more: Any) -> SweepReport:
    fields: dict[str, Any] = {
        "sweep": "batch_tasks",
        "dry_run": False,
        "scanned": 500,
        "stale": 12,
        "protected": 2,
        "unknown_age": 1,
        "missed": 2,
        "refused": False,
        "sent": 13,
        "targets": 60_001,
        "tasks": (),
    }
    return SweepReport(**fields | more)


def camel(word: str) -> str:
    return word.replace("_", " ").title().replace(" ", "")


# --- what is counted


@pytest.mark.parametrize("status", [each for each in Status if each is not Status.IN_PROGRESS])
def test_a_final_event_counts_by_its_status(world: World, status: Status) -> None:
    with world.invocation() as telemetry:
        telemetry.outcomes_published([outcome(status), outcome(status, command_id="c-2")])
    assert world.metrics() == {f"Commands{camel(status)}": [2], "AgeAtCompletion": [12.346, 12.346]}


@pytest.mark.parametrize("result", Result)
def test_a_target_counts_by_its_result(world: World, result: Result) -> None:
    with world.invocation() as telemetry:
        telemetry.outcomes_published([outcome(Status.IN_PROGRESS, *[result] * 100), outcome(Status.FAILED, result)])
    assert world.metrics()[f"Targets{camel(result)}"] == [101]


def test_an_event_that_is_not_final_ends_no_command(world: World) -> None:
    with world.invocation() as telemetry:
        telemetry.outcomes_published([outcome(Status.IN_PROGRESS, Result.STOPPED)])
    assert world.metrics() == {"TargetsStopped": [1]}


def test_what_is_told_of_earlier_attempts_in_a_tally_is_not_counted_again(world: World) -> None:
    with world.invocation() as telemetry:
        telemetry.outcomes_published([outcome(Status.SUCCEEDED, Result.STOPPED, tally=Tally(stopped=500))])
    assert world.metrics()["TargetsStopped"] == [1]


def test_what_cannot_say_when_it_was_asked_has_no_age(world: World) -> None:
    with world.invocation() as telemetry:
        telemetry.outcomes_published([outcome(Status.REJECTED, requested_at=None)])
    assert world.metrics() == {"CommandsRejected": [1]}


def test_what_says_that_it_was_asked_in_the_future_is_of_no_age(world: World) -> None:
    with world.invocation() as telemetry:
        telemetry.outcomes_published([outcome(requested_at=NOW + timedelta(days=1))])
    assert world.metrics()["AgeAtCompletion"] == [0]


def test_what_is_sent_on_is_counted(world: World) -> None:
    with world.invocation() as telemetry:
        telemetry.remainder_sent(remainder(), 5)
        telemetry.remainder_sent(remainder(), 7)
        telemetry.set_aside("c-3", "expired")
        telemetry.not_acknowledged({"m-4": "no time", "m-5": "no time", "m-6": "no time"}, {})
    assert world.metrics() == {"Remainders": [2], "DeadLetters": [1], "NotAcknowledged": [3]}


def test_each_reason_for_a_visibility_that_is_unchanged_is_one_warning(world: World) -> None:
    with world.invocation() as telemetry:
        telemetry.visibility_unchanged(["NoTimeLeft: not sent", "AccessDenied: no", "NoTimeLeft: not sent"])
    lines = [(line["level"], line["message"], line["why"], line["messages"]) for line in world.lines()]
    assert lines == [
        ("WARNING", "visibility unchanged", "NoTimeLeft: not sent", 2),
        ("WARNING", "visibility unchanged", "AccessDenied: no", 1),
    ]
    assert world.written() == []


def test_calls_and_throttles_add_up(world: World) -> None:
    with world.invocation() as telemetry:
        telemetry.asked(calls=3, throttles=0)
        telemetry.asked(calls=4, throttles=2)
    assert world.metrics() == {"Calls": [7], "Throttles": [2]}


def test_what_a_sweep_found_is_counted(world: World) -> None:
    with world.invocation("sweep_stale_tasks") as telemetry:
        telemetry.commands_sent([sent("sweep:t1:1", "t1"), sent("sweep:t2:1", "t2")])
        telemetry.sweep_completed(report(), is_published=True)
    assert world.metrics() == {
        "SweepScanned": [500],
        "SweepStale": [12],
        "SweepProtected": [2],
        "SweepUnknownAge": [1],
        "SweepMissed": [2],
        "SweepSent": [2],
    }


def test_of_a_report_that_is_not_published_only_the_commands_that_were_sent_are_counted(world: World) -> None:
    with world.invocation("sweep_stale_tasks") as telemetry:
        telemetry.commands_sent([sent("sweep:t1:1", "t1")])
        telemetry.sweep_completed(report(refused=True), is_published=False)
    assert world.metrics() == {"SweepSent": [1]}
    assert [(line["message"], line.get("published")) for line in world.lines()] == [
        ("command sent", None),
        ("sweep", False),
    ]


def test_a_sweep_that_found_too_much_counts_as_refused(world: World) -> None:
    with world.invocation("sweep_stale_tasks") as telemetry:
        telemetry.sweep_completed(report(refused=True, sent=0, protected=0, unknown_age=0, missed=0), is_published=True)
    assert world.metrics() == {"SweepScanned": [500], "SweepStale": [12], "SweepRefused": [1]}


# --- how it is written


def everything(telemetry: Telemetry) -> None:
    telemetry.outcomes_published(outcome(status) for status in Status)
    telemetry.outcomes_published([outcome(Status.FAILED, *Result)])
    telemetry.remainder_sent(remainder(), 5)
    telemetry.set_aside("c-1", "gave_up")
    telemetry.not_acknowledged({"m-1": "no time"}, {"m-1": "c-1"})
    telemetry.asked(calls=1, throttles=1)
    telemetry.deployment_fault(DeploymentFault("mend me"))
    telemetry.commands_sent([sent("sweep:t1:1", "t1")])
    telemetry.sweep_completed(report(refused=True), is_published=True)


def fail(world: World, error: Exception, request_id: str = "r-1") -> None:
    """Count something, tell of a fault where it is found, and let it end the invocation."""
    with world.invocation(request_id=request_id) as telemetry:
        telemetry.asked(calls=2, throttles=0)
        if isinstance(error, DeploymentFault):
            telemetry.deployment_fault(error)
        raise error


def test_an_invocation_writes_one_line_with_every_metric_in_its_unit(world: World) -> None:
    with world.invocation("stop_targets", "r-7") as telemetry:
        everything(telemetry)
    (line,) = world.written()
    written = read_metrics(line)
    assert (written.function, written.request_id) == ("stop_targets", "r-7")
    assert written.units == {name: "Seconds" if name == "AgeAtCompletion" else "Count" for name in Metric}


def test_an_invocation_that_counts_nothing_writes_nothing(world: World) -> None:
    with world.invocation() as telemetry:
        telemetry.outcomes_published([])
        telemetry.asked(calls=0, throttles=0)
        telemetry.not_acknowledged({}, {})
    assert world.written() == []


@pytest.mark.parametrize("commands", [1, 99, 100, 101, 200, 500])
def test_no_age_is_lost_however_many_commands_one_delivery_ends(world: World, commands: int) -> None:
    with world.invocation() as telemetry:
        telemetry.outcomes_published(
            outcome(command_id=f"c-{n}", occurred_at=NOW + timedelta(seconds=n)) for n in range(commands)
        )
        telemetry.asked(calls=5, throttles=0)
    metrics = world.metrics()
    assert metrics["AgeAtCompletion"] == list(range(commands))
    assert (metrics["CommandsSucceeded"], metrics["Calls"]) == ([commands], [5])


def test_nothing_goes_over_into_the_next_invocation(world: World) -> None:
    with world.invocation("stop_targets", "r-1") as telemetry:
        everything(telemetry)
    assert len(world.written()) == 1
    with world.invocation("stop_targets", "r-2") as telemetry:
        telemetry.asked(calls=2, throttles=0)
    (line,) = world.written()
    written = read_metrics(line)
    assert (written.request_id, written.values) == ("r-2", {"Calls": [2]})


@pytest.mark.parametrize("commands", [1, 250])
def test_nothing_goes_over_when_metrics_are_switched_off_for_a_while(
    world: World, commands: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as off, world.invocation("stop_targets", "r-1") as telemetry:
        off.setenv("POWERTOOLS_METRICS_DISABLED", "true")
        telemetry.outcomes_published(outcome(command_id=f"c-{n}") for n in range(commands))
        everything(telemetry)
    world.written()
    assert_the_next_is_clean(world)


@pytest.mark.parametrize("commands", [1, 99, 100, 250])
def test_nothing_goes_over_when_metrics_cannot_be_written(
    world: World, commands: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def invoke() -> None:
        with world.invocation() as telemetry:
            telemetry.outcomes_published(outcome(command_id=f"c-{n}") for n in range(commands))
            everything(telemetry)

    with monkeypatch.context() as broken:
        broken.setattr("builtins.print", raise_broken_pipe)
        with pytest.raises(BrokenPipeError):
            invoke()
    assert_the_next_is_clean(world)


def raise_broken_pipe(*_: object) -> None:
    raise BrokenPipeError


def assert_the_next_is_clean(world: World) -> None:
    with world.invocation("stop_task", "r-2") as telemetry:
        telemetry.asked(calls=2, throttles=0)
    (line,) = world.written()
    written = read_metrics(line)
    assert (written.function, written.request_id, written.values) == ("stop_task", "r-2", {"Calls": [2]})


def test_metrics_are_written_whatever_ends_the_invocation(world: World) -> None:
    with pytest.raises(ZeroDivisionError):
        fail(world, ZeroDivisionError())
    assert world.metrics() == {"Calls": [2]}
    with world.invocation():
        pass
    assert world.written() == []


@pytest.mark.parametrize("name", ["POWERTOOLS_SERVICE_NAME", "POWERTOOLS_METRICS_NAMESPACE"])
def test_no_setting_of_powertools_moves_the_metrics_away_from_their_alarms(
    world: World, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "other")
    with world.invocation() as telemetry:
        telemetry.asked(calls=2, throttles=0)
    assert world.metrics() == {"Calls": [2]}  # read_metrics checks the namespace and the dimension


@pytest.mark.parametrize(
    ("given", "namespace"), [("Stopline/stopline-prod", "Stopline/stopline-prod"), ("", "Stopline")]
)
def test_each_deployment_may_have_a_namespace_of_its_own(
    given: str, namespace: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("METRICS_NAMESPACE", given)
    wired.cache_clear()
    try:
        with wired().invocation("stop_task", "r-1"):
            wired().asked(calls=2, throttles=0)
    finally:
        wired.cache_clear()
    (written,) = capsys.readouterr().out.splitlines()
    assert json.loads(written)["_aws"]["CloudWatchMetrics"][0]["Namespace"] == namespace


# --- faults


def test_a_fault_that_ends_the_invocation_is_told_and_goes_on(world: World) -> None:
    with pytest.raises(DeploymentFault, match="OUTCOME_BUS_NAME is missing"), world.invocation():
        raise DeploymentFault("OUTCOME_BUS_NAME is missing")
    assert world.metrics() == {"DeploymentFaults": [1]}
    (line,) = world.lines()
    assert (line["level"], line["mend"]) == ("ERROR", "OUTCOME_BUS_NAME is missing")


def test_a_fault_that_is_told_on_its_way_out_is_told_once(world: World) -> None:
    fault = DeploymentFault("the key is wrong")
    for request_id in ("r-1", "r-2"):
        with pytest.raises(DeploymentFault):
            fail(world, fault, request_id)
        assert world.metrics() == {"Calls": [2], "DeploymentFaults": [1]}
    assert [line["function_request_id"] for line in world.lines()] == ["r-1", "r-2"]


def test_a_fault_that_ends_nothing_is_told_too(world: World) -> None:
    with world.invocation() as telemetry:
        telemetry.deployment_fault(DeploymentFault("the key is wrong"))
        telemetry.deployment_fault(DeploymentFault("the bus is gone"))
    assert world.metrics() == {"DeploymentFaults": [2]}


def test_of_an_error_of_our_own_type_and_stack_are_logged_and_not_its_text(world: World) -> None:
    with pytest.raises(KeyError) as key_error:
        _raise(KeyError("device-0"))
    with pytest.raises(ValueError, match="device-0") as value_error:
        _raise(ValueError("device-0 is no key"), key_error.value)
    with world.invocation() as telemetry:
        telemetry.defects([value_error.value, ZeroDivisionError("device-0")])
    first, second = world.lines()
    assert (first["level"], first["exception_name"]) == ("ERROR", "ValueError")
    stacks = first["exception"].split("\n")
    assert ("ValueError" in stacks, stacks[-1], "test_telemetry.py" in first["exception"]) == (True, "KeyError", True)
    assert (second["exception_name"], second["exception"]) == ("ZeroDivisionError", "ZeroDivisionError")


def test_what_an_error_was_raised_in_spite_of_is_logged_unless_it_says_from_none(world: World) -> None:
    for is_told in (True, False):
        error = ValueError()
        error.__context__, error.__suppress_context__ = KeyError("device-0"), not is_told
        world.telemetry.defects([error])
    assert [("KeyError" in line["exception"]) for line in world.lines()] == [True, False]


def _raise(error: Exception, cause: Exception | None = None) -> None:
    raise error from cause


# --- the log


def test_a_commands_id_finds_its_whole_story_across_functions_and_attempts(world: World) -> None:
    task = StopTask.model_validate(
        {
            "command": "stop_task",
            "command_id": "sweep:t1:1",
            "requested_at": "2026-11-23T08:49:05Z",
            "expires_at": "2026-11-23T09:49:05Z",
            "task_id": "t1",
            "confirm": True,
            "attempt": 1,
        }
    )
    again = task.left(to_stop=(), awaiting=("t1",), attempt=2, tally=Tally())
    final = outcome(
        Status.FAILED, Result.STILL_RUNNING, command_id="sweep:t1:1", command="stop_task", task_id="t1", confirmed=False
    )
    with world.invocation("sweep_stale_tasks", "r-1") as telemetry:
        telemetry.commands_sent([sent("sweep:t1:1", "t1"), sent("sweep:t2:1", "t2")])
    with world.invocation("stop_task", "r-2") as telemetry:
        telemetry.not_acknowledged({"m-1": "unexpected error", "m-2": "no time"}, {"m-1": "sweep:t1:1"})
    with world.invocation("stop_task", "r-3") as telemetry:
        telemetry.remainder_sent(again, 7)
    with world.invocation("stop_task", "r-4") as telemetry:
        telemetry.outcomes_published([final])
        telemetry.set_aside("sweep:t1:1", "gave_up")
    own = {"level", "location", "timestamp", "service", "command_id"}
    story = [line for line in world.lines() if line.get("command_id") == "sweep:t1:1"]
    assert [{key: value for key, value in line.items() if key not in own} for line in story] == [
        {
            "function": "sweep_stale_tasks",
            "function_request_id": "r-1",
            "message": "command sent",
            "command": "stop_task",
            "task_id": "t1",
            "targets": 1,
        },
        {
            "function": "stop_task",
            "function_request_id": "r-2",
            "message": "not acknowledged",
            "message_id": "m-1",
            "why": "unexpected error",
        },
        {
            "function": "stop_task",
            "function_request_id": "r-3",
            "message": "remainder sent",
            "command": "stop_task",
            "task_id": "t1",
            "attempt": 2,
            "to_stop": 0,
            "awaiting": 1,
            "delay_seconds": 7,
        },
        {
            "function": "stop_task",
            "function_request_id": "r-4",
            "message": "outcome",
            "command": "stop_task",
            "task_id": "t1",
            "status": "failed",
            "attempt": 1,
            "outcome_id": "o-1",
            "tally": {"still_running": 1},
            "confirmed": False,
            "age_seconds": 12.346,
            "errors": [],
        },
        {
            "function": "stop_task",
            "function_request_id": "r-4",
            "message": "set aside",
            "why": "gave_up",
        },
    ]
    (unknown,) = [line for line in world.lines() if line.get("message_id") == "m-2"]
    assert "command_id" not in unknown


def test_a_remainder_says_how_much_of_it_is_to_be_stopped_and_how_much_is_awaited(world: World) -> None:
    with world.invocation() as telemetry:
        telemetry.remainder_sent(remainder(), 5)
    (line,) = world.lines()
    assert (line["to_stop"], line["awaiting"], line["delay_seconds"]) == (2, 1, 5)


def test_lines_outside_of_an_invocation_do_not_name_the_last_one(world: World) -> None:
    with world.invocation() as telemetry:
        telemetry.set_aside("c-1", "expired")
    world.telemetry.set_aside("c-2", "expired")
    inside, outside = world.lines()
    assert (inside["function"], inside["function_request_id"]) == ("stop_targets", "r-1")
    assert not {"function", "function_request_id"} & outside.keys()


def test_a_report_is_told_without_its_tasks(world: World) -> None:
    task = {"task_id": "t1", "task_name": "nightly", "running_since": NOW, "evidence": "job", "targets": 1}
    with world.invocation("sweep_stale_tasks") as telemetry:
        telemetry.sweep_completed(report(tasks=(task,)), is_published=True)
    (line,) = world.lines()
    counts = {key: line[key] for key in report().model_dump(exclude={"tasks"})}
    assert counts == report().model_dump(exclude={"tasks"})
    assert "nightly" not in json.dumps(line)


def test_no_single_target_and_no_word_of_huawei_s_is_told(world: World) -> None:
    results = (TargetResult(target="device-0", result=Result.REFUSED, error_msg="said Huawei", request_id="said too"),)
    with world.invocation() as telemetry:
        everything(telemetry)
        telemetry.commands_sent([sent("c-1", "t1")])
        telemetry.outcomes_published([outcome(Status.FAILED, results=results)])
    told = json.dumps(world.lines()) + "".join(world.written())
    assert "c-1" in told
    assert not [word for word in ("device-", "said") if word in told]


def test_a_rejection_says_which_field_is_wrong(world: World) -> None:
    errors = (FieldError(loc="task_id", msg="is missing"),)
    with world.invocation() as telemetry:
        telemetry.outcomes_published([outcome(Status.REJECTED, command=None, task_id=None, errors=errors)])
    (line,) = world.lines()
    assert line["errors"] == [{"loc": "task_id", "msg": "is missing"}]


# --- no target is in a line

QUOTED: Final = "Device device-1 is offline: ['device-0', 'device-2']"
REJECTED: Final = outcome(
    Status.REJECTED,
    errors=(
        FieldError(loc="device-1", msg="is no field of stop_targets"),
        FieldError(loc="targets[17]", msg=QUOTED),
        FieldError(loc="tally.device-1", msg="is no field of stop_targets"),
        FieldError(loc="tally.stopped", msg="should be a whole number"),
        FieldError(loc="17", msg="is no field of stop_targets"),
        FieldError(loc="", msg="should be JSON"),
    ),
)
QUOTING: Final[dict[str, Callable[[Telemetry], object]]] = {
    "hide": lambda telemetry: telemetry.hide([remainder()]),
    "outcomes_published": lambda telemetry: telemetry.outcomes_published([REJECTED, outcome(Status.FAILED, *Result)]),
    "remainder_sent": lambda telemetry: telemetry.remainder_sent(remainder(), 5),
    "set_aside": lambda telemetry: telemetry.set_aside("c-1", f"rejected: {QUOTED}"),
    "not_acknowledged": lambda telemetry: telemetry.not_acknowledged({"m-1": QUOTED}, {}),
    "visibility_unchanged": lambda telemetry: telemetry.visibility_unchanged([QUOTED]),
    "hide_rejected": lambda telemetry: telemetry.hide_rejected({"targets": ["device-1"]}, ()),
    "not_carried_out": lambda telemetry: telemetry.not_carried_out("c-1", HuaweiUnavailable(QUOTED)),
    "attributes_left_out": lambda telemetry: telemetry.attributes_left_out("c-1", [("traceparent", QUOTED)]),
    "asked": lambda telemetry: telemetry.asked(calls=1, throttles=1),
    "commands_sent": lambda telemetry: telemetry.commands_sent([sent("c-1", "t1")]),
    "sweep_completed": lambda telemetry: telemetry.sweep_completed(report(), is_published=True),
    "deployment_fault": lambda telemetry: telemetry.deployment_fault(DeploymentFault(QUOTED)),
    "defects": lambda telemetry: telemetry.defects([KeyError(QUOTED)]),
    "said_of": lambda telemetry: telemetry.said_of(FieldError(loc="device-1", msg=QUOTED)),
}


def test_every_method_is_tried_with_words_that_quote_a_target() -> None:
    public = {name for name in vars(Telemetry) if not name.startswith("_")}
    assert QUOTING.keys() == public - {"invocation"}


@pytest.mark.parametrize("method", QUOTING)
def test_no_line_quotes_a_target_whoever_does(world: World, method: str) -> None:
    with world.invocation() as telemetry:
        telemetry.hide([remainder()])
        QUOTING[method](telemetry)
    lines = json.dumps(world.lines())
    assert "device-" not in lines
    assert ("is offline" in lines) is (method in {
        "outcomes_published", "not_acknowledged", "visibility_unchanged", "not_carried_out", "deployment_fault",
        "attributes_left_out",
    })  # fmt: skip


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (DeploymentFault(QUOTED), "Device *** is offline: ['***', '***']"),
        (HuaweiUnavailable(QUOTED), "Device *** is offline: ['***', '***']"),
        (HuaweiUnavailable("APIGW.0308"), "APIGW.0308"),
        (KeyError("of any text"), ""),
    ],
    ids=repr,
)
def test_what_ends_an_invocation_quotes_no_target_either_since_lambda_logs_it(
    world: World, error: Exception, text: str
) -> None:
    def invoke() -> None:
        with world.invocation() as telemetry:
            telemetry.hide([remainder()])
            raise error

    with pytest.raises(type(error)) as raised:
        invoke()
    assert raised.value is error
    assert str(error) == text
    assert "device-" not in json.dumps(world.lines())


@pytest.mark.parametrize("payload", [None, [], {}, {"targets": None}, {"targets": [0]}, {"targets": [" \r\n"]}])
def test_what_names_no_targets_hides_nothing(world: World, payload: object) -> None:
    with world.invocation() as telemetry:
        telemetry.hide_rejected(payload, ())
        telemetry.visibility_unchanged([QUOTED])
    assert world.lines()[0]["why"] == QUOTED


def test_the_targets_of_an_invalid_command_are_hidden_as_far_as_they_are_texts(world: World) -> None:
    with world.invocation() as telemetry:
        telemetry.hide_rejected({"targets": ["device-0", 17, None, "device-1", "device-2"], "surplus": 1}, ())
        telemetry.visibility_unchanged([QUOTED])
    assert world.lines()[0]["why"] == "Device *** is offline: ['***', '***']"


@pytest.mark.parametrize(
    "payload",
    [
        {"targets": "device-1"},
        {"targets": {"device-1": True}},
        {"targets": [["device-1"]]},
        {"target": "device-1"},
        {"device-1": 1, "other": {"list": ["device-1"]}},
        {"task_id": ["device-1"], "command": {"device-1": 1}},
        {"tally": {"stopped": "device-1"}},
        {"tally": {"device-1": 1}, "awaiting": ["device-1"]},
        ["device-1"],
        "[device-1",
    ],
    ids=str,
)
def test_whatever_may_be_a_target_of_an_invalid_command_is_hidden(world: World, payload: object) -> None:
    with world.invocation() as telemetry:
        telemetry.hide_rejected(payload, ())
        telemetry.visibility_unchanged(["Device device-1 is offline"])
    assert world.lines()[0]["why"] == "Device *** is offline"


@pytest.mark.parametrize("target", ["device-1\r", "\ndevice-1", "\xe9device-1 ", "a device-1", "device-1/" * 50])
@pytest.mark.parametrize(
    "quote", [str, repr, json.dumps, lambda text: json.dumps(json.dumps(text)), lambda text: text[:30]]
)
def test_a_target_is_hidden_in_whatever_form_it_is_quoted(
    world: World, target: str, quote: Callable[[str], str]
) -> None:
    with world.invocation() as telemetry:
        telemetry.hide_rejected({"targets": [target]}, ())
        telemetry.visibility_unchanged([f"no such thing: {quote(target)} or so"])
    assert "device-1" not in world.lines()[0]["why"]
    assert world.lines()[0]["why"].startswith("no such thing: ")


@pytest.mark.parametrize(
    ("loc", "value", "said"),
    [
        ("attempt", "0", "0 is wrong"),
        ("attempt", "-1.5e+300", "-1.5e+300 is wrong"),
        ("tally.stopped", "1e999", "1e999 is wrong"),
        ("confirm", "null", "null is wrong"),
        ("targets[0]", "true", "true is wrong"),
        ("", "false", "false is wrong"),
        # Any text may be a target in the wrong place, and so may a number where none belongs.
        ("task_id", '"5F1A"', "is wrong"),
        ("task_id", '"device-1"', "is wrong"),
        ("command", '"lamp"', "is wrong"),
        ("command_id", '"lamp"', "is wrong"),
        ("project_id", '"lamp"', "is wrong"),
        ("instance_id", '"lamp"', "is wrong"),
        ("all_targets", '"device-77"', "is wrong"),
        ("dry_run", '"true"', "is wrong"),
        ("confirm", '"device-7', "is wrong"),
        ("requested_at", '"yesterday"', "is wrong"),
        ("attempt", '"1"', "is wrong"),
        ("attempt", '"1', "is wrong"),
        ("attempt", "1111…", "is wrong"),
        ("attempt", "[1]", "is wrong"),
        ("targets[0]", "868543032123456", "is wrong"),
        ("task_id", "868543032123456", "is wrong"),
        ("all_targets", "868543032123456", "is wrong"),
        ("", "868543032123456", "is wrong"),
        ("task_id", '["x"]', "is wrong"),
        ("command", '{"x": 1}', "is wrong"),
        ("awaiting[0]", '"x"', "is wrong"),
        ("targets", '"x"', "is wrong"),
        ("tally.stopped", '"x"', "is wrong"),
        ("tally", "[17]", "is wrong"),
        ("reason", '"x"', "is wrong"),
        ("", '"x"', "is wrong"),
        ("task_id", "", "is wrong"),
    ],
)
def test_a_line_shows_no_text_of_a_value_and_a_number_only_where_one_belongs(
    world: World, loc: str, value: str, said: str
) -> None:
    with world.invocation() as telemetry:
        assert telemetry.said_of(field_error(loc, "is wrong", value=value)) == {"loc": loc, "msg": said}


@pytest.mark.parametrize(
    ("loc", "value", "is_hidden"),
    [
        ("targets[0]", '"device-7…', True),
        ("targets", '["x", "device-7…', True),
        ("device-7…", '"device-7…', True),
        ("tally.device-7…", '"device-7…', True),
        ("task_id", '"device-7…', True),
        ("task_id", '"device-7"', True),
        ("all_targets", '"device"', True),
        ("command", '"device"', True),
        ("", '"device"', True),
        ("device", '"device"', False),
        ("lamp", '"device-7…', True),
        ("reason", '"device"', False),
        ("requested_by", '"device"', False),
    ],
)
def test_what_an_error_shows_of_a_target_is_hidden_too(world: World, loc: str, value: str, is_hidden: bool) -> None:  # noqa: FBT001 - a table
    """As AWS may quote the outcome that says it."""
    with world.invocation() as telemetry:
        telemetry.hide_rejected({}, [field_error(loc, "is wrong", value=value)])
        telemetry.visibility_unchanged([f"ValidationException: {loc}: {value} is wrong"])
    assert ("device" not in world.lines()[0]["why"]) is is_hidden


def test_the_name_of_an_unknown_field_is_not_logged_and_hidden_if_it_looks_like_an_id(world: World) -> None:
    errors = [field_error(name, "is no field", value=f'"{name}"') for name in ("role", "lamp_a")]
    with world.invocation() as telemetry:
        telemetry.hide_rejected({"role": 1, "lamp_a": 2, "heater-3": {"pump.4": 3, "time": 1}}, errors)
        telemetry.visibility_unchanged(["role lamp_a heater-3 pump.4 time"])
        assert [telemetry.said_of(each)["loc"] for each in errors] == ["***", "***"]
    assert world.lines()[0]["why"] == "role *** *** *** time"


@pytest.mark.parametrize(
    "payload",
    [
        {"targets": ["lamp"]},
        {"targets": "lamp"},
        {"targets": ["lamp\r\n"]},
        {"awaiting": [[" lamp "]]},
        {"target": ["lamp"]},
        {"devices": {"list": ["lamp"]}},
        {"confirm": "lamp"},
        {"task_id": ["lamp"]},
        {"reason": ["lamp"]},
        ["lamp"],
        "lamp",
        '"lamp\\r"',
    ],
    ids=str,
)
def test_a_plain_word_is_hidden_if_it_is_the_whole_of_a_value(world: World, payload: object) -> None:
    with world.invocation() as telemetry:
        telemetry.hide_rejected(payload, ())
        telemetry.visibility_unchanged(["no such thing: lamp"])
    assert world.lines()[0]["why"] == "no such thing: ***"


@pytest.mark.parametrize(
    ("word", "is_hidden"),
    [
        ("d1", True), ("lamp-a", True), ("lamp_a", True), ("lamp.a", True), ("lamp:a", True), ("12345", True),
        ("868543032123456", True), ("1234-5", True),
        ("lamp", False), ("Lamp", False), ("lamp:", False), ("lamp.", False), ("403", False), ("2026", False),
        # Words of our own sentences.
        ("task_id", False), ("stop_targets", False), ("all_targets", False), ("still_running", False),
        ("HUAWEICLOUD_SECRET_ID", False), ("ALLOW_STOP_ALL", False), ("STOP_TASK_QUEUE_URL", False),
    ],
)  # fmt: skip
def test_of_a_text_that_cannot_be_read_only_what_looks_like_an_id_is_hidden(
    world: World,
    word: str,
    is_hidden: bool,  # noqa: FBT001 - a table
) -> None:
    with world.invocation() as telemetry:
        telemetry.hide_rejected(f"stop the {word} now", ())
        telemetry.visibility_unchanged([f"the role: {word}, is wrong"])
    assert world.lines()[0]["why"] == f"the role: {'***' if is_hidden else word}, is wrong"


@pytest.mark.parametrize(
    "payload",
    [
        "The secret is not readable: grant the function the role, so that it is right",
        {"reason": "the secret: is not readable, grant the role of 17:30"},
        {"requested_by": "secret"},
        {"note": "the secret is not readable: grant the role"},
        {"command": "secret", "task_id": "role", "project_id": "grant", "instance_id": "is", "command_id": "the"},
    ],
    ids=str,
)
def test_a_fault_of_the_deployment_says_how_to_fix_it_whatever_came_beside(world: World, payload: object) -> None:
    fault = (
        "HUAWEICLOUD_SECRET_ID: the secret is not readable: grant secretsmanager:GetSecretValue to the role by 17:30"
    )
    with world.invocation() as telemetry:
        telemetry.hide_rejected(payload, ())
        telemetry.deployment_fault(DeploymentFault(fault))
    assert world.lines()[0]["mend"] == fault


def test_the_names_of_our_own_fields_are_not_hidden(world: World) -> None:
    payload = {"command": "stop_targets", "task_id": "5f", "tally": {"stopped": 1, "device-1": 1}, "targets": 1}
    with world.invocation() as telemetry:
        telemetry.hide_rejected(payload, ())
        telemetry.visibility_unchanged([f"stop_targets 5f: {payload}"])
    assert world.lines()[0]["why"] == f"stop_targets 5f: {payload}".replace("device-1", "***")


def test_our_own_words_stay_readable_whatever_is_hidden(world: World) -> None:
    def invoke() -> None:
        with world.invocation() as telemetry:
            telemetry.hide_rejected({"targets": ["wrong"]}, ())
            said = telemetry.said_of(field_error("targets[0]", "is wrong", value='"wrong"'))
            raise CommandRejected(f"{said['loc']}: {said['msg']}")

    with pytest.raises(CommandRejected, match=r"^targets\[0\]: is wrong$"):
        invoke()


def test_only_a_whole_word_is_hidden_so_that_a_short_id_leaves_the_text_readable(world: World) -> None:
    with world.invocation() as telemetry:
        telemetry.hide([remainder(targets=["e", "1"], awaiting=[])])
        telemetry.deployment_fault(DeploymentFault("AccessDenied of 11: e, id=1."))
    assert world.lines()[0]["mend"] == "AccessDenied of 11: ***, id=***."


def test_targets_that_huawei_listed_are_hidden_and_the_whole_is_no_target(world: World) -> None:
    with world.invocation() as telemetry:
        telemetry.hide(
            [replace(sent("c-1", "t1"), command="stop_targets", asked=("*",))], listed=[{"*": 1, "device-7": 2}]
        )
        telemetry.deployment_fault(DeploymentFault("* of device-7"))
    assert world.lines()[0]["mend"] == "* of ***"


def test_a_target_that_is_a_part_of_another_hides_both(world: World) -> None:
    with world.invocation() as telemetry:
        telemetry.hide([remainder(targets=["d-1", "d-1-7"], awaiting=[])])
        telemetry.deployment_fault(DeploymentFault("d-1-7 and d-1"))
    assert world.lines()[0]["mend"] == "*** and ***"


def test_the_task_of_a_check_is_not_hidden(world: World) -> None:
    with world.invocation() as telemetry:
        telemetry.hide([sent("c-1", "t1")])
        telemetry.deployment_fault(DeploymentFault("device-9 is the check"))
    assert world.lines()[0]["mend"] == "device-9 is the check"


def test_what_is_hidden_later_is_hidden_in_a_text_that_was_logged_before(world: World) -> None:
    with world.invocation() as telemetry:
        telemetry.visibility_unchanged([QUOTED])
        telemetry.hide([remainder()])
        telemetry.visibility_unchanged([QUOTED])
    assert [("device-" in line["why"]) for line in world.lines()] == [True, False]


def test_nothing_is_hidden_beyond_its_invocation(world: World) -> None:
    for number in range(2):
        with world.invocation() as telemetry:
            if not number:
                telemetry.hide([remainder()])
            telemetry.visibility_unchanged([QUOTED])
    assert [("device-" in line["why"]) for line in world.lines()] == [False, True]


def test_a_rejection_names_the_fields_of_commands_and_no_other(world: World) -> None:
    world.telemetry.outcomes_published([REJECTED])
    (line,) = world.lines()
    assert [each["loc"] for each in line["errors"]] == ["***", "targets[17]", "***", "tally.stopped", "***", ""]
    known = [*StopTask.model_fields, *StopTargets.model_fields, *(f"tally.{name}" for name in Tally.model_fields)]
    for name in (*known, "Timestamp", "time", "", "targets[0]", "awaiting[99999]"):
        assert world.telemetry.said_of(field_error(name, "no"))["loc"] == name
    for name in (
        "e495cf17-d7fe",
        "d1",
        "Lamp",
        "lamp",
        "dry_rum",
        "pump_house",
        "xtime",
        "times",
        "tally.d1",
        "tally.lamp",
        "tally.",
        "targets.d1",
        "targets[0][1]",
        "targets[d]",
        "targets[]",
        "tally[0]",
        "targets.0",
        "task_id.lamp",
        "x" * 41,
    ):
        assert world.telemetry.said_of(field_error(name, "no"))["loc"] == "***"


def test_a_place_stays_readable_whatever_is_hidden(world: World) -> None:
    with world.invocation() as telemetry:
        telemetry.hide([remainder(targets=["command", "time", "stopped"], awaiting=[])])
        for name in ("command", "time", "tally.stopped"):
            assert telemetry.said_of(field_error(name, "is missing")) == {"loc": name, "msg": "is missing"}


# --- how much work it is


def work(do: Callable[[], object]) -> int:
    """Return how many functions are called, also those of C: what a regular expression costs, whatever the machine."""
    profile = cProfile.Profile()
    profile.runcall(do)
    return sum(each.callcount for each in profile.getstats())


@pytest.mark.parametrize(
    "say",
    [
        lambda telemetry, text: telemetry.attributes_left_out("c-1", [("traceparent", text)]),
        lambda telemetry, text: telemetry.not_acknowledged({"m-1": text}, {}),
        lambda telemetry, text: telemetry.visibility_unchanged([text]),
        lambda telemetry, text: telemetry.deployment_fault(DeploymentFault(text)),
        lambda telemetry, text: telemetry.not_carried_out("c-1", HuaweiUnavailable(text)),
        lambda telemetry, text: telemetry.said_of(FieldError(loc="task_id", msg=text)),
    ],
)
def test_a_text_that_quotes_thousands_of_targets_is_no_more_work_than_one_that_quotes_a_few(
    world: World, say: Callable[[Telemetry, str], object]
) -> None:
    def work_of(count: int) -> int:
        targets = [f"{number:08}-d7fe-44f2-a2cd-0a8d5b8fd2f0" for number in range(count)]
        with world.invocation() as telemetry:
            telemetry.hide([remainder(targets=targets, awaiting=[])])
            return work(lambda: say(telemetry, ",".join(targets)))

    work_of(1)  # what is done but once
    few = work_of(LONGEST_TEXT // 30)
    many = work_of(2_000)
    assert many < few + 100
    assert "d7fe" not in json.dumps(world.lines())


def test_a_large_attribute_beside_a_large_command_ends_in_a_short_line(world: World) -> None:
    targets = [f"{number:08}-d7fe-44f2-a2cd-0a8d5b8fd2f0" for number in range(13_000)]
    with world.invocation() as telemetry:
        telemetry.hide([remainder(targets=targets, awaiting=[])])
        telemetry.attributes_left_out("c-1", [("traceparent", ",".join(targets)), ("tracestate", "x" * 500_000)])
    assert [line["value"] for line in world.lines()] == ["***,***,***,…", "…"]


def test_of_a_long_text_both_ends_are_shown_and_no_part_of_a_target_that_was_cut(world: World) -> None:
    words = "EventBridge PutEvents: Bad: " + "device-1" * 2_000 + ", device-1; grant events:PutEvents"
    with world.invocation() as telemetry:
        telemetry.hide([remainder()])
        telemetry.deployment_fault(DeploymentFault(words))
    assert world.lines()[0]["mend"] == "EventBridge PutEvents: Bad: …, ***; grant events:PutEvents"


def test_a_text_of_the_most_characters_is_shown_whole(world: World) -> None:
    text = "ab " * (LONGEST_TEXT // 3) + "c"
    assert len(text) == LONGEST_TEXT
    with world.invocation() as telemetry:
        telemetry.visibility_unchanged([text, f"{text}d"])
    whole, cut = (line["why"] for line in world.lines())
    assert whole == text
    assert len(cut) <= LONGEST_TEXT
    assert "…" in cut


def test_an_attribute_is_one_line_a_name_however_many_envelopes_have_it(world: World) -> None:
    left_out = [(name, f"{name} of {number}") for number in range(3_000) for name in ("traceparent", "tracestate")]
    with world.invocation() as telemetry:
        telemetry.attributes_left_out("c-1", left_out)
    assert [(line["attribute"], line["value"]) for line in world.lines()] == [
        ("traceparent", "traceparent of 2999"), ("tracestate", "tracestate of 2999"),
    ]  # fmt: skip


@pytest.mark.parametrize("length", [125, 126, 127, 128, 129])
def test_no_target_is_cut_into_what_cannot_be_found(world: World, length: int) -> None:
    with world.invocation() as telemetry:
        telemetry.hide([remainder()])
        telemetry.attributes_left_out("c-1", [("traceparent", f"{'=' * (length - 8)}device-1")])
    (line,) = world.lines()
    assert "device" not in line["value"]
    assert len(line["value"]) <= LONGEST_VALUE


def test_targets_that_overlap_in_a_text_are_hidden_together(world: World) -> None:
    with world.invocation() as telemetry:
        telemetry.hide([remainder(targets=["d-1", "1-7-x", "7"], awaiting=[])])
        telemetry.deployment_fault(DeploymentFault("d-1-7-x, d-1, x-7"))
    assert world.lines()[0]["mend"] == "***, ***, x-***"


def ended_by(world: World, error: Exception) -> None:
    with world.invocation() as telemetry:
        telemetry.hide([remainder()])
        raise error


@pytest.mark.parametrize("error", [NoSuchApi(QUOTED), ForeignAnswer(QUOTED)], ids=repr)
def test_a_fault_of_the_deployment_leaves_by_the_name_that_callers_know(world: World, error: Exception) -> None:
    with pytest.raises(DeploymentFault) as raised:
        ended_by(world, error)
    assert type(raised.value) is DeploymentFault
    assert str(raised.value) == "Device *** is offline: ['***', '***']"
    assert [line["message"] for line in world.lines()] == ["deployment fault"]


def no_device() -> Exception:
    with pytest.raises(ValidationError) as raised:
        StopTask.model_validate({"device-1": "device-2"})
    return raised.value


@pytest.mark.parametrize(
    "error",
    [
        OSError(2, "no device-1"),
        FileNotFoundError(2, "none", "device-1"),
        UnicodeEncodeError("ascii", "device-1", 0, 1, "device-1"),
        ImportError("device-1", name="device-1"),
        ExceptionGroup("device-1", [KeyError("device-1")]),
        no_device(),
        KeyError("device-1"),
        json.JSONDecodeError("device-1", "device-1", 0),
    ],
    ids=lambda error: type(error).__name__,
)
def test_any_other_error_leaves_with_its_name_and_stack_alone(world: World, error: Exception) -> None:
    with pytest.raises(Exception, match=r"^$") as raised:
        ended_by(world, error)
    assert type(raised.value).__name__ == type(error).__name__
    shown = "".join(traceback.format_exception(raised.value))
    assert "in ended_by" in shown
    assert "device-1" not in shown.replace('"device-1"', "")  # but for this file's own lines


def test_what_is_logged_in_another_line_or_may_quote_anything_is_not_repeated(world: World) -> None:
    world.telemetry.set_aside("c-1", "rejected: targets: is missing")
    world.telemetry.set_aside("c-2", "gave_up")
    world.telemetry.not_carried_out("c-3", CommandRejected("targets: is missing"))
    world.telemetry.not_carried_out("c-4", KeyError("of any text"))
    world.telemetry.not_carried_out("c-5", HuaweiUnavailable("IOTDA.000001"))
    lines = [(line.get("error"), line.get("why")) for line in world.lines()]
    assert lines == [
        (None, "rejected"), (None, "gave_up"), ("CommandRejected", None), ("KeyError", None),
        ("HuaweiUnavailable", "IOTDA.000001"),
    ]  # fmt: skip


@pytest.mark.parametrize("cut", ["…", "\\u2026", "\\\\u2026"])
def test_a_word_that_was_cut_is_hidden_since_it_may_be_a_part_of_a_target(world: World, cut: str) -> None:
    with world.invocation() as telemetry:
        telemetry.visibility_unchanged([f"Device device-1{cut} is offline"])
    assert world.lines()[0]["why"] == f"Device ***{cut} is offline"

"""The bench runs: each measurement on tiny sizes, against the real stand-ins. No time is judged here."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import UUID
from xml.etree import ElementTree as ET

import pytest

from bench import costs, large, many, quota, scale, warm
from bench.__main__ import MEASUREMENTS, SCALE, this_machine, with_measured
from bench.__main__ import RESULTS as MEASURED
from bench.figures import Figure, Results, from_json, ratio, sample, to_json
from bench.prices import EVENT, LAMBDA_GB_SECOND, LAMBDA_REQUEST, SQS_REQUEST, Use
from bench.report import markdown, picture
from bench.rounds import interleaved
from bench.work import batch_task, check_tasks, delivery, device_ids, stop_targets, stop_task
from bench.world import BARE, FLOOR, NAIVE, OURS, World
from tests.template.loading import written

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.enable_socket  # loop-back only


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with World() as world:
        yield world


GIVES: dict[Callable[..., list[Figure]], int] = {
    warm.warm_invocation: 2,
    large.big_list: 3,
    large.memory: 1,
    many.folding: 3,
    many.many_commands: 4,
    many.backlog: 1,
    quota.quota_bound: 1,
    costs.costs: 3,
}


def test_every_measurement_is_tried_here() -> None:
    assert set(MEASUREMENTS.values()) == GIVES.keys()


@pytest.mark.parametrize("measurement", GIVES)
def test_a_measurement_gives_its_figures(world: World, measurement: Callable[..., list[Figure]]) -> None:
    figures = measurement(world, rounds=1, quick=True)
    assert len(figures) == GIVES[measurement]
    assert all(each.ours.median > 0 and each.note for each in figures)


@pytest.mark.parametrize("module", [OURS["stop_targets"], NAIVE["stop_targets"], FLOOR, BARE])
def test_all_that_is_compared_stops_the_same_targets(world: World, module: str) -> None:
    ids = device_ids(3)
    world.begin([batch_task(ids)])
    answer = world.worker(module).handle(*[delivery(stop_targets([each])) for each in ids])
    world.check(stopped=3)
    assert len(answer.wall) == 3
    assert world.huawei_calls() == 3
    assert world.aws_calls() == {"PutEvents": 3, "events": 3}


@pytest.mark.parametrize("module", [OURS["stop_task"], NAIVE["stop_task"], FLOOR])
def test_all_that_is_compared_stops_the_same_checks(world: World, module: str) -> None:
    checks = check_tasks(3)
    world.begin(checks)
    world.worker(module).handle(delivery(*map(stop_task, checks)))
    world.check(stopped=3)
    assert world.huawei_calls() == 3
    assert world.aws_calls()["events"] == 3


def test_work_that_was_not_done_is_no_measurement(world: World) -> None:
    world.begin([batch_task(["d1"])])
    with pytest.raises(RuntimeError, match="2 targets were to be stopped"):
        world.check(stopped=2)
    one_of_two = delivery(stop_targets(["d1"]), stop_targets(["d1"], "abc"))
    with pytest.raises(RuntimeError, match="1 messages were not done"):
        world.worker(NAIVE["stop_targets"]).handle(one_of_two)


def test_what_is_compared_is_run_in_turn() -> None:
    order: list[str] = []
    runs = {name: lambda name=name: order.append(name) for name in ("ours", "naive")}
    values = interleaved(2, runs)
    assert order == ["ours", "naive"] * 3  # the first of them to warm up
    assert {name: len(each) for name, each in values.items()} == {"ours": 2, "naive": 2}


def figure(name: str, *, reached: bool | None) -> Figure:
    return Figure(name, "s", sample([1.0, 2.0, 4.0]), {"naive": sample([8.0])}, "naive / ours ≥ 3", 4.0, reached, "how")


RESULTS = Results(this_machine(), True, (figure("a & b", reached=True), figure("c", reached=False)))  # noqa: FBT003


def test_results_come_back_from_json_as_they_were() -> None:
    assert from_json(to_json(RESULTS)) == RESULTS
    assert RESULTS["c"].reached is False
    with pytest.raises(KeyError):
        RESULTS["d"]


def test_a_sample_says_its_middle_and_its_spread() -> None:
    assert sample([3.0, 1.0, 2.0, 5.0, 4.0]).median == 3
    assert sample([3.0, 1.0, 2.0, 5.0, 4.0]).quartiles == (2, 4)
    assert ratio(sample([6.0]), sample([1.0, 2.0, 9.0])) == 3


def test_the_table_says_what_was_reached() -> None:
    table = markdown(RESULTS)
    assert "| a & b | s | 2 (1.5 to 3) | naive 8 | naive / ours ≥ 3 | 4 | yes |" in table
    assert "| c | s | 2 (1.5 to 3) | naive 8 | naive / ours ≥ 3 | 4 | NO |" in table
    assert "tiny sizes, which say nothing" in table


def test_the_picture_has_a_bar_for_each_sample() -> None:
    drawn = ET.fromstring(picture(RESULTS))  # noqa: S314 - our own
    bars = [each for each in drawn.iter("{http://www.w3.org/2000/svg}rect") if each.get("x")]
    assert len(bars) == 4
    assert float(bars[0].attrib["width"]) * 4 == pytest.approx(float(bars[1].attrib["width"]), abs=0.5)


def test_what_was_measured_goes_between_its_marks() -> None:
    document = "before\n<!-- measured: written by python -m bench -->\nold\n<!-- end -->\nafter"
    assert with_measured(document, "new") == document.replace("old", "new")
    with pytest.raises(ValueError, match="no place"):
        with_measured("no marks", "new")


def test_a_delivery_is_billed_by_what_it_uses() -> None:
    use = Use(wall=1.0, cpu=0.5, memory_mib=1769 // 2, messages=25, message_bytes=100, events=7, log_bytes=0)
    assert use.billed_seconds == pytest.approx(1.5, abs=0.01)  # half a CPU: what was computed takes twice as long
    gb_seconds = use.billed_seconds * use.memory_mib / 1024
    # Three times ten messages are received, and deleted.
    assert use.usd == pytest.approx(LAMBDA_REQUEST + gb_seconds * LAMBDA_GB_SECOND + 6 * SQS_REQUEST + 7 * EVENT)


def test_a_large_message_is_received_in_chunks_of_64_kb() -> None:
    small = Use(wall=0.0, cpu=0.0, memory_mib=1769, messages=1, message_bytes=65_536, events=0, log_bytes=0)
    large = Use(wall=0.0, cpu=0.0, memory_mib=1769, messages=1, message_bytes=65_537, events=0, log_bytes=0)
    assert large.usd - small.usd == pytest.approx(SQS_REQUEST)


def test_the_model_knows_what_folding_saves() -> None:
    assert scale.calls_of(1000, batch=1000, tasks=1) == 10
    assert scale.calls_of(1000, batch=1, tasks=334) == 1000
    by_task, by_device, by_device_folded = scale.shapes()
    assert by_task.calls < by_device_folded.calls < by_device.calls


@pytest.mark.parametrize(
    ("quota_per_second", "processes", "bound"), [(1.0, 10, "quota"), (1e6, 1, "waiting"), (1e6, 200, "Lambda")]
)
def test_the_model_says_what_bounds_it(quota_per_second: float, processes: int, bound: str) -> None:
    shape = scale.Shape("a command a device", messages=100_000, deliveries=200, calls=20_000)
    _, found = shape.seconds(quota=quota_per_second, latency=0.1, processes=processes, used=1.0)
    assert found == bound


def test_the_model_marks_what_comes_too_late() -> None:
    shape = scale.Shape("a command a task", messages=1, deliveries=1, calls=800)
    assert shape.told(quota=100, processes=1, used=0.5) == "18 s to 52 s (waiting)"
    assert shape.told(quota=2, processes=1, used=0.5) == "**13 min** (quota)"


@pytest.mark.parametrize("results", [1, 100])
def test_the_model_knows_how_long_an_event_is_in_the_log(results: int) -> None:
    event = json.loads((SCALE.parent.parent / "events" / "outcomes" / "succeeded-in-an-event.json").read_text())
    event["detail"]["results"] = [{"target": str(UUID(int=place)), "result": "stopped"} for place in range(results)]
    stored = len(json.dumps(event, separators=(",", ":"))) + 26
    assert scale.LOGGED_EVENT + results * scale.LOGGED_RESULT == pytest.approx(stored, rel=0.02)


def test_processes_without_a_delivery_of_their_own_do_not_help() -> None:
    shape = scale.Shape("a command a task", messages=334, deliveries=1, calls=1_002)
    alone, together = (shape.seconds(quota=1e6, latency=0.5, processes=each, used=1.0) for each in (1, 25))
    assert alone == together


@pytest.mark.parametrize(("quota_per_second", "processes"), [(2, 2), (32, 2), (33, 3), (400, 25)])
def test_as_many_processes_are_chosen_as_use_the_quota_up(quota_per_second: int, processes: int) -> None:
    assert scale.chosen(quota_per_second) == processes


@pytest.mark.parametrize(
    ("seconds", "told"), [(59.6, "60 s"), (599, "599 s"), (600, "10 min"), (7_199, "120 min"), (27_016, "7.5 h")]
)
def test_a_duration_is_told_in_the_unit_that_suits_it(seconds: float, told: str) -> None:
    assert scale.duration(seconds) == told


COSTS = tuple(
    figure(f"cost, a million {each}", reached=None) for each in ("targets", "commands by 10", "commands by 500")
)


def test_the_model_is_computed_from_the_results() -> None:
    quotas = (replace(figure("quota of 5 calls/s", reached=None), ratio=0.5),)
    told = scale.model(Results(RESULTS.machine, quick=False, figures=COSTS + quotas))
    assert "| commands of many targets | 73.00 | 292.00 |" in told
    assert "50% of a quota is used" in told
    assert "| 5 | what others leave | 2 | **403 s** (quota) |" in told


def test_results_without_the_costs_make_no_model() -> None:
    with pytest.raises(KeyError):
        scale.model(RESULTS)


def test_the_document_is_what_the_results_make_of_it() -> None:
    """If this fails: `python -m bench --again`."""
    results = from_json(MEASURED.read_bytes())
    assert not results.quick
    assert SCALE.read_text() == with_measured(SCALE.read_text(), scale.model(results))


def test_the_model_counts_and_sets_what_the_template_does() -> None:
    template = written()
    resources = template["Resources"]
    usual = {None, "LogsOutcomes"}  # no follow-up, no key of one's own
    alarms = [
        each["Properties"]
        for each in resources.values()
        if each["Type"] == "AWS::CloudWatch::Alarm" and each.get("Condition") in usual
    ]
    watched = [sum("MetricStat" in metric for metric in each.get("Metrics", [])) or 1 for each in alarms]
    assert sum(watched) == scale.ALARM_METRICS
    functions = [each["Properties"] for each in resources.values() if each["Type"] == "AWS::Serverless::Function"]
    polled = [event for each in functions for event in each.get("Events", {}).values() if event["Type"] == "SQS"]
    assert len(polled) == scale.POLLED_QUEUES
    stop_targets = resources["StopTargetsFunction"]["Properties"]
    source = stop_targets["Events"]["StopTargetsQueue"]["Properties"]
    assert stop_targets["MemorySize"] == costs.OUR_MEMORY
    assert source["BatchSize"] == scale.MESSAGES
    assert source["MaximumBatchingWindowInSeconds"] == scale.WINDOW
    parameters = template["Parameters"]
    assert parameters["OutcomeLogRetentionDays"]["Default"] > 0
    assert parameters["ConcurrentCalls"]["Default"] == scale.IN_FLIGHT
    assert parameters["MaximumConcurrency"]["MinValue"] == scale.FEWEST_PROCESSES

"""The fault matrix: hypothesis kills, loses, repeats and reorders at every boundary, and Huawei answers as it likes.

After every run the faults end, the queue is emptied, and what is true is read off the stand-in's own log and the bus:
no target lost, nothing stopped that nobody named, every command final, every rejected body kept.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from local.huawei import PROJECT_ID, AccessKey, BatchTask, CheckTask, Fault, Scenario, Settings
from shared.http import NoAnswer
from shared.outcomes import to_rfc3339
from tests.fakes import NOW
from tests.simulation import FINAL, Boundary, Simulation

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from local.huawei.scenario import CheckStatus
    from tests.simulation import Waiting

DEVICES: Final = tuple(f"d{number}" for number in range(240))
RUNNING: Final = DEVICES[:200]
ENDED: Final = DEVICES[200:220]  # the rest are in no task
TASK: Final = "5f1ac5c3e4b0"
CHECKS: Final[dict[str, CheckStatus]] = {
    "running-1": "checking",
    "running-2": "checking",
    "done": "success",
    "failed": "failed",
    "stopped": "stopped",
    "idle": "never_checked",
}

RUNS: Final = {"Processing", "checking"}

ODD: Final = DEVICES[-1]
"""Of no task, and so odd that Huawei may refuse each call that names it."""
ELSEWHERE: Final = tuple(f"e{number}" for number in range(30))
"""Devices of a project of its own, which may refuse the key."""
OTHER_TASK: Final = "abc"
OTHER_PROJECT: Final = "p-2"


def _answer(status: int, code: str) -> dict[str, Any]:
    return {"kind": "answer", "status": status, "body": {"error_code": code, "error_msg": "said"}}


REFUSED_ELSEWHERE: Final[dict[str, Any]] = {**_answer(401, "APIGW.0301"), "task_id": OTHER_TASK}

# Each time an error, or `None` for a request that gets there.
CONNECTION_ERRORS: Final = {
    "well": None,
    "a kept connection was dead": NoAnswer("connection reset"),
    "nobody listens": NoAnswer("connection refused", was_sent=False),
}

HUAWEI_FAULTS: Final[dict[str, dict[str, Any]]] = {
    "429": {"kind": "throttle_429"},
    "429 with Retry-After": {"kind": "throttle_429", "retry_after": 7},
    "403 throttle": {"kind": "throttle_403"},
    "5xx": {"kind": "error_json"},
    "5xx as HTML": {"kind": "error_html"},
    "slow": {"kind": "slow", "seconds": 30.0},
    "cut before": {"kind": "cut_before"},
    "cut after": {"kind": "cut_after"},
    "cut midway": {"kind": "cut_midway"},
    "taken, then 5xx": {"kind": "error_json", "handled": True},
    "error in a 200": {"kind": "error_in_200"},
    "taken, then an error in a 200": {"kind": "error_in_200", "handled": True},
    "junk in a 200": {"kind": "junk_200"},
    # To the stop of a check that is the answer of success, and no fault.
    "null in a 200": {"kind": "null_200", "service": "iotda"},
    "redirect": {"kind": "redirect"},
    "a target missing": {"kind": "target_missing", "operation": "stop_batch_task"},
    "a target failing": {"kind": "target_failure", "operation": "stop_batch_task"},
    "credentials refused": {"kind": "unauthorized"},
    "back end time-out": _answer(504, "APIGW.0201"),
    "taken, then a back end time-out": {**_answer(504, "APIGW.0201"), "handled": True},
    "changed by another request": _answer(409, "IOTDA.014299"),
    "account frozen": _answer(405, "APIGW.0502"),
    # The whole call, for one odd target, in the words of a malformed request and of a target that is not in the task.
    "call refused": {**_answer(400, "IOTDA.000006"), "operation": "stop_batch_task", "target": ODD},
    "call refused as one target": {**_answer(400, "IOTDA.014219"), "operation": "stop_batch_task", "target": ODD},
    "elsewhere refused": REFUSED_ELSEWHERE,
}


class FaultMatrix(RuleBasedStateMachine):
    """Commands that share their targets, against everything that can go wrong."""

    simulation: Simulation
    life = timedelta(days=7)
    """How long a command is valid: so long that none ends for want of time."""

    def new_simulation(self, lag: float) -> Simulation:  # noqa: ARG002 - the two machines below use it
        """Give a new world in which a stop that was taken shows only `lag` seconds later."""
        raise AssertionError("the two machines below say which function it is")

    def states(self) -> dict[str, str]:
        """The state of every target that Huawei knows."""
        raise AssertionError("the same")

    @initialize(lag=st.sampled_from([0.0, 3.0]))
    def start(self, lag: float) -> None:
        self.simulation = self.new_simulation(lag)
        self.sent: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {}
        self.rejected: dict[str, str] = {}

    def send(self, body: dict[str, Any], targets: tuple[str, ...]) -> None:
        command_id = f"c-{len(self.sent)}"
        body |= {"command_id": command_id, "expires_at": to_rfc3339(self.simulation.clock.now() + self.life)}
        self.simulation.send(body)
        self.sent[command_id] = (body, targets)

    @rule(body=st.sampled_from(["junk ☂", '{"command": "stop_all"}', '{"command": "stop_targets"}']))
    def send_what_is_no_command(self, body: str) -> None:
        self.rejected[self.simulation.send(body)] = body

    @rule(names=st.lists(st.sampled_from(sorted(HUAWEI_FAULTS)), max_size=3), times=st.sampled_from([1, 2, 3, 100]))
    def let_huawei_fail(self, names: list[str], times: int) -> None:
        self.simulation.cloud.set_faults(
            *(Fault.model_validate(HUAWEI_FAULTS[name] | {"times": times}) for name in names)
        )

    @rule(fates=st.lists(st.sampled_from([None, None, "lost", "taken, answer lost"]), max_size=30))
    def let_aws_fail(self, fates: list[str | None]) -> None:
        left = iter(fates)
        self.simulation.spoilt = lambda: next(left, None)

    @rule(names=st.lists(st.sampled_from(sorted(CONNECTION_ERRORS)), max_size=12))
    def let_connections_fail(self, names: list[str]) -> None:
        left = iter(names)
        self.simulation.connection_fails = lambda: CONNECTION_ERRORS[next(left, "well")]

    @rule(boundary=st.sampled_from(Boundary))
    def have_the_process_killed(self, boundary: Boundary) -> None:
        self.simulation.kill_at = boundary

    @precondition(lambda self: self.simulation.queue)
    @rule(data=st.data(), seconds=st.sampled_from([0, 1, 30, 900]))
    def deliver(self, data: st.DataObject, seconds: int) -> None:
        self.simulation.clock.seconds += seconds
        if not (visible := self.simulation.visible):
            return
        batch = data.draw(st.lists(st.sampled_from(visible), min_size=1, max_size=10, unique_by=id))
        again = data.draw(st.lists(st.sampled_from(batch), max_size=2, unique_by=id))
        self.simulation.deliver(batch, again=again)

    def let_all_be_well(self) -> None:
        """End all faults."""
        self.simulation.cloud.set_faults()
        self.simulation.spoilt = lambda: None
        self.simulation.connection_fails = lambda: None
        self.simulation.kill_at = None

    @invariant()
    def no_call_breaks_huaweis_rules(self) -> None:
        if hasattr(self, "simulation"):
            assert not self.simulation.cloud.summary().violations

    def teardown(self) -> None:
        if not hasattr(self, "simulation"):
            return
        simulation = self.simulation
        self.let_all_be_well()
        simulation.run_out()
        simulation.clock.seconds += 60
        self._check_huawei()
        for command_id, (body, targets) in self.sent.items():
            self._check_command(command_id, body, targets)
        letters = Counter(letter.body for letter in simulation.dead_letters)
        for message_id, rejected in self.rejected.items():
            assert letters[rejected] >= 1
            assert {event["status"] for event in simulation.events_of(message_id)} == {"rejected"}
        for letter in simulation.dead_letters:
            assert letter.attributes["failure_reason"]

    def _check_huawei(self) -> None:
        """Nothing was stopped that no command named, and nothing was stopped twice."""
        named = {target for body, targets in self.sent.values() if not body["dry_run"] for target in targets}
        effects = Counter(target for record in self.simulation.cloud.log() for target in record.effect)
        assert set(effects) <= named
        assert set(effects.values()) <= {1}

    def _check_command(self, command_id: str, body: dict[str, Any], targets: tuple[str, ...]) -> None:
        events = self.simulation.events_of(command_id)
        results = _results(events)
        assert set(results) == set(targets), "a target was lost, or invented"
        finals = [event for event in events if event["status"] in FINAL]
        # A delivery that was repeated may have left a remainder of its own; each ends once.
        repeats = self.simulation.repeats_of[command_id]
        assert 1 <= len(finals) <= 1 + repeats
        if not repeats:
            assert all(len(said) == 1 for said in results.values())
            assert sum(finals[0]["tally"].values()) == len(targets)
        self._check_results(results)
        left = {target for letter in self.simulation.dead_letters for target in _targets(letter.body)}
        for target, said in results.items():
            if said == {"gave_up"} and not body["dry_run"]:
                assert target in left
            if body["dry_run"]:
                assert said <= {"would_stop", "already_ended", "not_found", "gave_up"}

    def _check_results(self, results: Mapping[str, set[str]]) -> None:
        """Nothing is said of a target that is not so."""
        states = self.states()
        for target, said in results.items():
            if target not in states:
                assert said <= {"not_found", "gave_up"}
            elif "not_found" in said:
                raise AssertionError(f"{target} is in the task")
            if said & {"stopped", "already_ended"}:
                assert not said & {"refused", "not_found"}
                assert states[target] not in RUNS


def _results(events: Iterable[Mapping[str, Any]]) -> dict[str, set[str]]:
    results: defaultdict[str, set[str]] = defaultdict(set)
    for event in events:
        for each in event["results"]:
            results[each["target"]].add(each["result"])
    return results


def _targets(body: str) -> list[str]:
    try:
        parsed = json.loads(body)
    except ValueError:
        return []
    return list(parsed.get("targets", [parsed.get("task_id")]))


class StopTargetsFaultMatrix(FaultMatrix):
    """Targets of one batch task, running, ended and in no task."""

    def new_simulation(self, lag: float) -> Simulation:
        subtasks = dict.fromkeys(RUNNING, "Processing") | dict.fromkeys(ENDED, "Success")
        elsewhere = BatchTask(task_id=OTHER_TASK, project_id=OTHER_PROJECT, targets=ELSEWHERE)
        scenario = Scenario(
            keys=(AccessKey(projects=(PROJECT_ID, OTHER_PROJECT)),),
            batch_tasks=(BatchTask(task_id=TASK, subtasks=subtasks), elsewhere),
            settings=Settings(stop_seconds=lag),
        )
        return Simulation("stop_targets", scenario=scenario, MAX_ATTEMPTS="3")  # or hardly a run would give up

    def states(self) -> dict[str, str]:
        cloud = self.simulation.cloud
        return {**cloud.subtasks(TASK), **cloud.subtasks(OTHER_TASK)}

    @rule(start=st.integers(0, 20), length=st.integers(1, 10), confirm=st.booleans(), dry_run=st.booleans())
    def stop_elsewhere(self, *, start: int, length: int, confirm: bool, dry_run: bool) -> None:
        targets = ELSEWHERE[start : start + length]
        where = {"command": "stop_targets", "task_id": OTHER_TASK, "project_id": OTHER_PROJECT}
        self.send({**where, "targets": targets, "confirm": confirm, "dry_run": dry_run}, targets)

    @precondition(lambda self: self.simulation.queue)
    @rule()
    def deliver_while_the_other_project_refuses_the_key(self) -> None:
        """Its commands go back, whatever the process knew of the key; all others are carried out."""
        simulation = self.simulation
        self.let_all_be_well()
        simulation.cloud.set_faults(Fault.model_validate(REFUSED_ELSEWHERE))
        batch = simulation.visible[:10]
        refused = len([record for record in simulation.cloud.log() if record.status == 401])
        if batch:
            simulation.deliver(batch)
        kept = [message for message in batch if message in simulation.queue]
        assert all(OTHER_PROJECT in message.body for message in kept)
        assert len([record for record in simulation.cloud.log() if record.status == 401]) <= refused + 1
        simulation.cloud.set_faults()

    @rule(
        start=st.integers(0, len(DEVICES) - 1),
        length=st.sampled_from([1, 2, 99, 100, 101, 240]),
        confirm=st.booleans(),
        dry_run=st.integers(0, 4).map(lambda drawn: not drawn),
    )
    def stop_targets(self, *, start: int, length: int, confirm: bool, dry_run: bool) -> None:
        targets = (DEVICES[start:] + DEVICES[:start])[:length]
        body = {"command": "stop_targets", "task_id": TASK, "targets": targets, "confirm": confirm, "dry_run": dry_run}
        self.send(body, targets)


class StopTaskFaultMatrix(FaultMatrix):
    """Checks in every state, and one that is unknown."""

    def new_simulation(self, lag: float) -> Simulation:
        checks = tuple(CheckTask(task_id=task_id, status=status) for task_id, status in CHECKS.items())
        scenario = Scenario(keys=(AccessKey(),), check_tasks=checks, settings=Settings(stop_seconds=lag))
        return Simulation("stop_task", scenario=scenario, MAX_ATTEMPTS="3")

    def states(self) -> dict[str, str]:
        return dict(self.simulation.cloud.state().check_tasks)

    @rule(task_id=st.sampled_from([*CHECKS, "unknown"]), confirm=st.booleans(), dry_run=st.booleans())
    def stop_task(self, *, task_id: str, confirm: bool, dry_run: bool) -> None:
        body = {"command": "stop_task", "task_id": task_id, "confirm": confirm, "dry_run": dry_run}
        self.send(body, (task_id,))


class LateRepeats(FaultMatrix):
    """Commands as short-lived as a sweep's, whose messages come again when their time is over, at any attempt."""

    life = timedelta(minutes=30)

    @precondition(lambda self: self.simulation.queue)
    @rule()
    def deliver_the_next_whose_acknowledgement_is_lost(self) -> None:
        message = min(self.simulation.queue, key=lambda each: (each.receives, each.visible_at))
        self.simulation.clock.seconds = max(self.simulation.clock.seconds, message.visible_at)
        self.simulation.deliver([message], again=[message])

    @precondition(lambda self: self.repeats())
    @rule(data=st.data())
    def deliver_again_too_late(self, data: st.DataObject) -> None:
        """Huawei and AWS are well by then, so that all that is true can be found out."""
        message = data.draw(st.sampled_from(self.repeats()))
        body = json.loads(message.body)
        simulation = self.simulation
        self.let_all_be_well()
        simulation.clock.seconds = max(simulation.clock.seconds + 60, message.visible_at, _expires_at(message) + 1)
        told, calls = len(simulation.aws.events), self.stops()
        simulation.deliver([message])
        events = simulation.aws.events[told:]
        assert message not in simulation.queue
        assert self.stops() == calls, "an id outlives its run, so nothing is sent"
        assert [event["status"] in FINAL for event in events] == [False] * (len(events) - 1) + [True]
        targets = body.get("targets", [body["task_id"]])
        before = sum(body.get("tally", {}).values())
        assert sum(events[-1]["tally"].values()) == before + len(targets)
        states = self.states()
        runs = {"would_stop"} if body.get("dry_run") else {"gave_up", "still_running"}
        results = _results(events)
        assert set(results) == set(targets)
        for target, said in results.items():
            ended = {"not_found"} if target not in states else {"stopped", "already_ended"}
            assert said <= (runs if states.get(target) in RUNS else ended)
        if body["confirm"]:
            assert events[-1]["confirmed"] is (events[-1]["status"] == "succeeded")

    def repeats(self) -> list[Waiting]:
        """The messages that were delivered before, and may have been carried out."""
        if not hasattr(self, "simulation"):
            return []
        return [
            message
            for message in self.simulation.queue
            if message.receives and "expires_at" in message.body and message.sent_at < _expires_at(message)
        ]

    def stops(self) -> int:
        return sum(record.operation.startswith("stop") for record in self.simulation.cloud.log())

    def _check_command(self, command_id: str, body: dict[str, Any], targets: tuple[str, ...]) -> None:
        del body
        events = self.simulation.events_of(command_id)
        results = _results(events)
        statuses = {event["status"] for event in events}
        assert statuses & FINAL
        assert set(results) <= set(targets)
        assert set(results) == set(targets) or "expired" in statuses
        self._check_results(results)


def _expires_at(message: Waiting) -> float:
    expires_at = datetime.fromisoformat(json.loads(message.body)["expires_at"])
    return (expires_at - NOW).total_seconds()


class StopTargetsLateRepeats(LateRepeats, StopTargetsFaultMatrix):
    """Targets of a batch task."""


class StopTaskLateRepeats(LateRepeats, StopTaskFaultMatrix):
    """Checks."""


_SETTINGS: Final = settings(
    max_examples=200, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestStopTargetsFaultMatrix = StopTargetsFaultMatrix.TestCase
TestStopTargetsFaultMatrix.settings = _SETTINGS
TestStopTaskFaultMatrix = StopTaskFaultMatrix.TestCase
TestStopTaskFaultMatrix.settings = _SETTINGS
TestStopTargetsLateRepeats = StopTargetsLateRepeats.TestCase
TestStopTargetsLateRepeats.settings = settings(_SETTINGS, max_examples=100)
TestStopTaskLateRepeats = StopTaskLateRepeats.TestCase
TestStopTaskLateRepeats.settings = settings(_SETTINGS, max_examples=100)

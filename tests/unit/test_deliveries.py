"""One delivery end to end on fakes: what is answered, published, sent and acknowledged."""

from __future__ import annotations

import io
import json
from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from aws_lambda_powertools import Logger

from shared.aws import AwsRefused, BusEvent, Message
from shared.deliveries import Deliveries
from shared.errors import DeploymentFault
from shared.findings import Finding, Verdict
from shared.outcomes import to_rfc3339
from shared.planning import BatchTask, Stop
from shared.publishing import (
    FAILURE_REASON,
    LARGEST_MESSAGE,
    Publisher,
    attributes_size,
    dead_letter,
    remainder_message,
)
from shared.telemetry import Telemetry
from shared.traces import NO_TRACE, Trace
from tests.fakes import BATCH, CHECK, NOW, Clock, FakeAws, FakeHuawei, delivery, settings_of
from tests.quiet import quiet_logger
from tests.unit.test_envelopes import event as in_an_event
from tests.unit.test_envelopes import sns

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from shared.planning import Call, Task

PASSING = Finding(Verdict.UNFINISHED, "APIGW.0308", "throttled", retry_after=3.0)


class World:
    def __init__(
        self,
        *,
        kind: str = "stop_targets",
        targets: int = 0,
        telemetry: Telemetry | None = None,
        uniform: Callable[[float, float], float] = lambda _, longest: longest,
        **settings: str,
    ) -> None:
        self.clock = Clock()
        self.aws = FakeAws()
        running = {f"d{n}": Verdict.RUNS for n in range(targets)}
        self.huawei = FakeHuawei({BATCH: running, CHECK: {CHECK.task_id: Verdict.RUNS}})
        self.deliveries = Deliveries(
            settings=settings_of(kind, **settings),
            service=self.huawei,
            publisher=Publisher(bus=self.aws, queues=self.aws, bus_name="outcomes"),
            queues=self.aws,
            pace=self.clock.pace(),
            patience=self.clock.patience(uniform),
            telemetry=telemetry or Telemetry(quiet_logger()),
        )

    def deliver(
        self, *bodies: str | Mapping[str, Any], seconds: float = 60.0, sent_at: datetime = NOW, receives: int = 1
    ) -> list[str]:
        """Deliver, and return the messages that were not acknowledged."""
        event = delivery(*bodies, sent_at=sent_at, receives=receives)
        answer = self.deliveries.handle(event, deadline=self.clock.deadline(seconds))
        return [each["itemIdentifier"] for each in answer["batchItemFailures"]]

    def remainders(self) -> list[dict[str, Any]]:
        return [json.loads(message.body) for message in self.aws.remainders]


def stop(*targets: str, **more: Any) -> dict[str, Any]:
    return {"command": "stop_targets", "task_id": BATCH.task_id, "targets": list(targets)} | more


def always(finding: Finding) -> Any:
    def disturb(asked: Call | tuple[Task, tuple[str, ...]]) -> Mapping[str, Finding]:
        return dict.fromkeys(asked.targets if isinstance(asked, Stop) else ("*",), finding)

    return disturb


def test_a_running_check_is_stopped() -> None:
    world = World(kind="stop_task")
    assert (
        world.deliver({"command": "stop_task", "task_id": CHECK.task_id, "requested_by": "ci", "reason": "old"}) == []
    )
    (event,) = world.aws.events
    assert event["status"] == "succeeded"
    assert event["results"] == [{"target": CHECK.task_id, "result": "stopped"}]
    assert (event["command_id"], event["requested_by"], event["reason"]) == ("m-0", "ci", "old")
    assert event["occurred_at"] == "2026-11-23T08:49:05.123Z"
    (entry,) = world.aws.entries
    assert (entry.source, entry.detail_type) == ("stopline", "Stop Outcome")
    assert entry.resources == (f"huaweicloud:codearts-check:task/{CHECK.task_id}",)


def test_two_hundred_and_fifty_targets_are_three_calls_and_three_events_the_last_one_final() -> None:
    world = World(targets=250)
    assert world.deliver(stop(*(f"d{n}" for n in range(250)))) == []
    assert [len(call.targets) for call in world.huawei.calls if isinstance(call, Stop)] == [100, 100, 50]
    assert [event["status"] for event in world.aws.events] == ["in_progress", "in_progress", "succeeded"]
    assert [event["tally"]["stopped"] for event in world.aws.events] == [100, 200, 250]


def test_one_target_messages_share_calls_and_each_gets_its_own_outcome() -> None:
    world = World(targets=40)
    assert world.deliver(*(stop(f"d{n}") for n in range(40))) == []
    assert len(world.huawei.calls) == 1
    assert [(event["command_id"], event["status"]) for event in world.aws.events] == [
        (f"m-{n}", "succeeded") for n in range(40)
    ]


def test_a_target_that_two_commands_name_is_called_once_and_told_to_both() -> None:
    world = World(targets=1)
    world.deliver(stop("d0"), stop("d0"))
    assert world.huawei.taken["d0"] == 1
    assert [event["results"] for event in world.aws.events] == [[{"target": "d0", "result": "stopped"}]] * 2


def test_stop_all_is_rejected_unless_this_deployment_lets_it_through() -> None:
    everything = {"command": "stop_targets", "task_id": BATCH.task_id, "all_targets": True}
    guarded = World(targets=2)
    assert guarded.deliver(everything) == []
    assert guarded.aws.events[0]["errors"] == [
        {"loc": "all_targets", "msg": "ALLOW_STOP_ALL is not true in this deployment"}
    ]
    assert guarded.huawei.calls == []
    assert [letter.body for letter in guarded.aws.dead_letters] == [json.dumps(everything)]

    open_world = World(targets=2, ALLOW_STOP_ALL="true")
    assert open_world.deliver(everything) == []
    assert [result["target"] for result in open_world.aws.events[0]["results"]] == ["*", "d0", "d1"]
    assert open_world.aws.dead_letters == []


def test_a_message_that_is_no_command_names_what_it_can_and_goes_to_the_dead_letters_intact() -> None:
    world = World()
    bodies = [
        "\tnot json ☂",
        json.dumps({"command": "stop_targets", "command_id": "c-7", "task_id": "XYZ", "targets": ["d1"]}),
    ]
    assert world.deliver(*bodies) == []
    unread, half_read = world.aws.events
    assert (unread["status"], unread["command_id"], unread["command"], unread["task_id"]) == (
        "rejected",
        "m-0",
        None,
        None,
    )
    assert (half_read["command_id"], half_read["command"], half_read["task_id"]) == ("c-7", "stop_targets", None)
    assert half_read["errors"][0]["loc"] == "task_id"
    assert [entry.resources for entry in world.aws.entries] == [(), ()]
    assert [letter.body for letter in world.aws.dead_letters] == bodies
    assert "task_id" in world.aws.dead_letters[1].attributes["failure_reason"]


def test_a_command_of_the_other_kind_is_rejected() -> None:
    world = World(kind="stop_task", targets=1)
    assert world.deliver(stop("d0")) == []
    assert world.aws.events[0]["status"] == "rejected"
    assert world.aws.events[0]["task_id"] == BATCH.task_id
    assert world.huawei.calls == []


def test_an_expired_command_is_not_sent_and_not_dead_lettered() -> None:
    world = World(targets=1)
    assert world.deliver(stop("d0", requested_at="2026-11-23T07:00:00Z")) == []
    assert [event["status"] for event in world.aws.events] == ["expired"]
    assert world.huawei.calls == []
    assert world.aws.dead_letters == []


def test_a_dry_run_reads_and_says_what_it_would_stop() -> None:
    world = World(targets=1)
    assert world.deliver(stop("d0", "nobody", dry_run=True)) == []
    (event,) = world.aws.events
    assert event["status"] == "dry_run"
    assert [result["result"] for result in event["results"]] == ["would_stop", "not_found"]
    assert world.huawei.calls == []
    assert world.aws.dead_letters == []


def test_what_huawei_could_not_take_goes_on_as_one_remainder_with_only_that() -> None:
    world = World(targets=3)
    world.huawei.disturb = lambda asked: {"d1": PASSING} if isinstance(asked, Stop) else {}
    assert world.deliver(stop("d0", "d1", "d2", reason="r")) == []
    assert [event["status"] for event in world.aws.events] == ["in_progress"]
    (remainder,) = world.remainders()
    assert (remainder["targets"], remainder["attempt"], remainder["command_id"], remainder["reason"]) == (
        ["d1"],
        2,
        "m-0",
        "r",
    )
    assert remainder["tally"]["stopped"] == 2
    assert remainder["expires_at"] == "2026-11-23T09:49:05.123Z"
    assert world.aws.remainders[0].delay_seconds >= 3
    assert [call.targets for call in world.huawei.calls if isinstance(call, Stop)] == [("d0", "d1", "d2")] + [
        ("d1",)
    ] * 3


def test_after_the_last_attempt_the_remainder_is_given_up_and_kept_in_the_dead_letters() -> None:
    world = World(targets=2)
    world.huawei.disturb = lambda asked: {"d1": PASSING} if isinstance(asked, Stop) else {}
    assert world.deliver(stop("d0", "d1", attempt=8, tally={"stopped": 5})) == []
    (event,) = world.aws.events
    assert event["status"] == "failed"
    assert event["results"][1] == {
        "target": "d1",
        "result": "gave_up",
        "error_code": "APIGW.0308",
        "error_msg": "throttled",
    }
    assert (event["tally"]["stopped"], event["tally"]["gave_up"]) == (6, 1)
    (letter,) = world.aws.dead_letters
    assert letter.attributes == {"failure_reason": "gave_up", "sent_at": "2026-11-23T08:49:05.123Z"}
    assert json.loads(letter.body)["targets"] == ["d1"]


def test_a_confirmed_stop_is_final_only_when_the_state_says_so_and_stops_once() -> None:
    world = World(targets=1)
    asynchronous = True

    def disturb(asked: Call | tuple[Task, tuple[str, ...]]) -> Mapping[str, Finding]:
        return {} if isinstance(asked, Stop) or not asynchronous else {"d0": Finding(Verdict.RUNS)}

    world.huawei.disturb = disturb
    assert world.deliver(stop("d0", confirm=True)) == []
    assert world.aws.events == []
    (first,) = world.remainders()
    assert (first["awaiting"], first["attempt"]) == (["d0"], 2)
    assert world.deliver(first) == []
    assert world.aws.events == []
    second = world.remainders()[-1]
    asynchronous = False
    assert world.deliver(second) == []
    (event,) = world.aws.events
    assert (event["status"], event["confirmed"], event["results"]) == (
        "succeeded",
        True,
        [{"target": "d0", "result": "stopped"}],
    )
    assert len(world.huawei.calls) == 1


def test_a_confirmed_stop_that_never_ends_is_still_running() -> None:
    world = World(targets=1)
    world.huawei.disturb = lambda asked: {} if isinstance(asked, Stop) else {"d0": Finding(Verdict.STOPPING)}
    assert world.deliver(stop("d0", confirm=True, attempt=8, awaiting=["d0"])) == []
    (event,) = world.aws.events
    assert (event["status"], event["confirmed"]) == ("failed", False)
    assert event["results"] == [{"target": "d0", "result": "still_running"}]
    assert json.loads(world.aws.dead_letters[0].body)["awaiting"] == ["d0"]


class Broken(FakeHuawei):
    """A deployment whose credentials are refused at the call with this number."""

    def __init__(self, *, at: int, targets: int) -> None:
        super().__init__({BATCH: {f"d{n}": Verdict.RUNS for n in range(targets)}})
        self.at = at

    def _answer(self, call: Call) -> dict[str, Finding]:
        if len(self.calls) == self.at:
            raise DeploymentFault("the credentials were refused")
        return super()._answer(call)


def deployment(world: World, huawei: FakeHuawei, **settings: str) -> World:
    world.huawei = huawei
    world.deliveries = Deliveries(
        settings=settings_of("stop_targets", **settings),
        service=huawei,
        publisher=Publisher(bus=world.aws, queues=world.aws, bus_name="outcomes"),
        queues=world.aws,
        pace=world.clock.pace(),
        patience=world.clock.patience(),
        telemetry=Telemetry(quiet_logger()),
    )
    return world


def test_what_became_of_each_message_is_told_by_its_command(capsys: pytest.CaptureFixture[str]) -> None:
    log = io.StringIO()
    telemetry = Telemetry(Logger(service="told", stream=log))
    world = World(targets=4, telemetry=telemetry)
    world.huawei.disturb = lambda asked: {"d1": PASSING} if isinstance(asked, Stop) else {}
    world.aws.refuse = lambda each: "no" if isinstance(each, BusEvent) and "c-lost" in each.detail else None
    with telemetry.invocation("stop_targets", "r-1"):
        failed = world.deliver(
            stop("d0", "d1", command_id="c-part"),
            "junk",
            stop("d2", command_id="c-lost"),
            stop("d3", command_id="c-old", attempt=3, expires_at="2026-11-23T08:00:00Z"),
        )
    assert failed == ["m-2"]
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    told = [(line["command_id"], line["message"], line.get("status") or line.get("why")) for line in lines]
    assert told == [
        ("m-1", "outcome", "rejected"),
        ("m-1", "set aside", "rejected"),
        ("c-old", "outcome", "failed"),
        ("c-old", "set aside", "expired"),
        ("c-part", "outcome", "in_progress"),
        ("c-part", "remainder sent", None),
        ("c-lost", "not acknowledged", "no"),
    ]
    (remainder,) = [line for line in lines if line["message"] == "remainder sent"]
    assert (remainder["attempt"], remainder["to_stop"], remainder["awaiting"]) == (2, 1, 0)
    assert remainder["delay_seconds"] == world.aws.remainders[0].delay_seconds
    metrics = json.loads(capsys.readouterr().out)
    assert metrics["Calls"] == [len(world.huawei.calls) + len(world.huawei.reads)]
    assert {name: metrics[name] for name in ("Remainders", "DeadLetters", "NotAcknowledged")} == {
        "Remainders": [1],
        "DeadLetters": [2],
        "NotAcknowledged": [1],
    }


def test_a_fault_of_the_deployment_gives_the_whole_delivery_back_and_says_what_to_mend() -> None:
    world = deployment(World(), Broken(at=0, targets=2))
    with pytest.raises(DeploymentFault, match="credentials were refused"):
        world.deliver(stop("d0"), stop("d1"))
    assert world.aws.events == []
    assert world.aws.queues == {}


def test_a_fault_in_the_middle_tells_what_was_done_and_gives_back_only_what_was_not() -> None:
    world = deployment(World(), Broken(at=1, targets=150))
    failed = world.deliver(stop(*(f"d{n}" for n in range(150))), stop("d0"), "junk")
    assert failed == ["m-0"]
    assert [(event["command_id"], event["status"]) for event in world.aws.events] == [
        ("m-0", "in_progress"),
        ("m-2", "rejected"),
        ("m-1", "succeeded"),
    ]


def test_an_error_of_our_own_gives_back_the_messages_that_it_concerns() -> None:
    world = World(targets=150)

    def defect(asked: Call | tuple[Task, tuple[str, ...]]) -> Mapping[str, Finding]:
        if isinstance(asked, Stop) and "d149" in asked.targets:
            raise ZeroDivisionError
        return {}

    world.huawei.disturb = defect
    assert world.deliver(stop(*(f"d{n}" for n in range(150))), stop("d3")) == ["m-0"]
    assert [event["status"] for event in world.aws.events] == ["in_progress", "succeeded"]


def test_an_outcome_that_cannot_be_published_keeps_its_message_and_sends_no_remainder() -> None:
    world = World(targets=2)
    world.huawei.disturb = lambda asked: {"d1": PASSING} if isinstance(asked, Stop) else {}
    world.aws.refuse = lambda each: (
        "InternalFailure: no" if isinstance(each, BusEvent) and "m-0" in each.detail else None
    )
    assert world.deliver(stop("d0", "d1"), stop("d0")) == ["m-0"]
    assert world.aws.remainders == []
    assert [event["command_id"] for event in world.aws.events] == ["m-1"]


@pytest.mark.parametrize("body", ["junk", stop("d0", "d1")])
def test_what_cannot_be_put_on_its_queue_keeps_its_message(body: str | dict[str, Any]) -> None:
    world = World(targets=2)
    world.huawei.disturb = lambda asked: {"d1": PASSING} if isinstance(asked, Stop) else {}
    world.aws.refuse = lambda each: "InternalFailure: no" if isinstance(each, Message) else None
    assert world.deliver(body, stop("d0")) == ["m-0"]


def test_a_bus_that_refuses_us_is_the_deployments_fault() -> None:
    world = World(targets=1)
    world.aws.error = AwsRefused(
        service="events", operation="PutEvents", code="AccessDeniedException", message="not authorized", mend=""
    )
    with pytest.raises(DeploymentFault, match=r"OUTCOME_BUS_NAME.*AccessDenied"):
        world.deliver(stop("d0"))
    assert world.aws.queues == {}


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:never-shown@sqs.example/1/q", "https://***"),  # pragma: allowlist secret - it opens nothing
        ("https://sqs.example/123456789012/q.fifo?token=never-shown", "https://sqs.example/123456789012/q.fifo?***"),
        ("https://sqs.example:8443/123456789012/my_queue-1", "https://sqs.example:8443/123456789012/my_queue-1"),
    ],
)
def test_a_queue_that_refuses_us_is_the_deployments_fault_and_shown_without_a_login(url: str, shown: str) -> None:
    world = World(targets=1, DEAD_LETTER_QUEUE_URL=url)
    world.aws.queue_error = AwsRefused(
        service="SQS", operation="SendMessageBatch", code="AccessDenied", message="no", mend="allow it"
    )
    with pytest.raises(DeploymentFault) as fault:
        world.deliver("no JSON")
    assert str(fault.value).startswith(f"{shown}: SQS SendMessageBatch: AccessDenied")


def test_a_remainder_that_no_longer_fits_into_a_message_is_left_to_sqs_as_it_came() -> None:
    targets = [f"{n:0>250}" for n in range((LARGEST_MESSAGE - 400) // 253)]
    room = LARGEST_MESSAGE - len(json.dumps(stop(*targets), separators=(",", ":")))
    letters = room - 3 * len('"",')
    targets += ["x" * (letters // 3), "y" * (letters // 3), "z" * (letters - 2 * (letters // 3))]
    body = json.dumps(stop(*targets), separators=(",", ":"))
    assert len(body) == LARGEST_MESSAGE
    world = World()
    world.huawei.disturb = always(PASSING)
    assert world.deliver(body, seconds=900) == ["m-0"]
    assert world.aws.remainders == []
    assert world.aws.events == []


def test_a_remainder_that_goes_on_can_end_too() -> None:
    fitted = set()
    for size in range(LARGEST_MESSAGE - 160, LARGEST_MESSAGE + 2):
        body = "☂" * (size // 3) + "x" * (size % 3)
        goes_on = remainder_message(body, delay_seconds=0) is not None
        trace = Trace("x" * 55, "y" * 512)
        assert goes_on == (
            dead_letter(body, reason="rejected: no", sent_at=NOW, command_id="c-1", trace=trace) is not None
        )
        if goes_on:
            assert dead_letter(body, reason="gave_up", sent_at=NOW, command_id="c-1", trace=trace) is not None
        fitted.add(goes_on)
    assert fitted == {True, False}


@pytest.mark.parametrize("character", ["任", "🔥", "ж", "\x7f"])
def test_a_remainder_is_no_larger_than_its_command_whatever_it_is_written_in(character: str) -> None:
    more = {"reason": character * 512, "requested_by": character * 128, "attempt": 1, "command_id": "c-1"}
    named = {
        "project_id": "project-1",
        "confirm": False,
        "requested_at": to_rfc3339(NOW),
        "expires_at": to_rfc3339(hours(9)),
    }
    targets = [f"{n:0>250}" for n in range((LARGEST_MESSAGE - 5000) // 253)]
    bare = json.dumps(stop(*targets, **more, **named), separators=(",", ":"), ensure_ascii=False)
    assert LARGEST_MESSAGE - 5000 < len(bare.encode()) < LARGEST_MESSAGE - 2000
    fill = ["x" * 200 + str(n) for n in range((LARGEST_MESSAGE - 80 - len(bare.encode())) // 206)]
    body = json.dumps(stop(*targets, *fill, **more, **named), separators=(",", ":"), ensure_ascii=False)
    world = World()
    world.huawei.disturb = always(PASSING)
    assert world.deliver(body, seconds=900) == []
    (remainder,) = world.aws.remainders
    assert len(remainder.body.encode()) == len(body.encode())
    assert json.loads(remainder.body)["reason"] == character * 512


def test_what_the_readme_says_of_messages_near_the_limit() -> None:
    names = {"project_id": "p" * 64, "instance_id": "i" * 36, "requested_at": "2026-11-23T08:49:05Z"}
    names |= {"reason": "🔥" * 512, "requested_by": "🔥" * 128}
    bare = json.dumps(stop(**names), separators=(",", ":"), ensure_ascii=False)
    trace = {"traceparent": f"01-{'1' * 32}-{'1' * 16}-01-{'"' * 456}", "tracestate": '"' * 512}
    room = (
        LARGEST_MESSAGE - 1536 - len(bare.encode()) - sum(len(name) + 6 + len(value) for name, value in trace.items())
    )
    targets = [f"{n:0>250}" for n in range(room // 253 - 1)]
    letters = room + 1 - 253 * len(targets) - 2 * len('"",')
    targets += ["x" * (letters // 2), "y" * (letters - letters // 2)]
    world = World()
    world.huawei.disturb = always(PASSING)
    body = json.dumps(stop(*targets, **names), separators=(",", ":"), ensure_ascii=False)
    assert len(body.encode()) == len(bare.encode()) + room
    event = delivery(body, ids=["0" * 36])
    event["Records"][0]["messageAttributes"] = {
        name: {"dataType": "String", "stringValue": value} for name, value in trace.items()
    }
    answer = world.deliveries.handle(event, deadline=world.clock.deadline(900))
    assert (answer, len(world.aws.remainders)) == ({"batchItemFailures": []}, 1)
    for size, letters in [(LARGEST_MESSAGE - 64, 0), (LARGEST_MESSAGE - 65, 1)]:
        world = World()
        world.deliver("x" * size)
        assert len(world.aws.dead_letters) == letters


@pytest.mark.parametrize("reason", ['rejected: project_id: "x" is not allowed', "gave_up", "expired"])
@pytest.mark.parametrize(
    "trace",
    [NO_TRACE, Trace("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "k=" + "v" * 500)],
    ids=["no trace", "trace"],
)
def test_the_word_for_the_reason_is_never_cut(reason: str, trace: Trace) -> None:
    word = reason.partition(":")[0]
    bare = len(reason) + 600 + 2 * 80
    for below in range(40, bare):
        letter = dead_letter(
            "x" * (LARGEST_MESSAGE - below), reason=reason, sent_at=NOW, command_id="c" * 64, trace=trace
        )
        if letter is not None:
            assert letter.attributes[FAILURE_REASON].startswith(word), below
            assert len(letter.body) + attributes_size(letter.attributes) <= LARGEST_MESSAGE


def moved_back(letter: Message, *, seconds: float, message_id: str = "new") -> dict[str, Any]:
    """Return the delivery of a dead letter that SQS's own redrive moved back: with a new id and time."""
    moved = delivery(letter.body, ids=[message_id], sent_at=NOW + timedelta(seconds=seconds))
    moved["Records"][0]["messageAttributes"] = {
        name: {"dataType": "String", "stringValue": value} for name, value in letter.attributes.items()
    }
    return moved


REJECTED: dict[str, Any] = {
    "no JSON": ("{", "m-0"),
    "no command": ({"command": "stop"}, "m-0"),
    "an unknown field": (stop("d0", surplus=1), "m-0"),
    "a bad id": (stop("d0", surplus=1, command_id="a b"), "m-0"),
    "a good id": (stop("d0", surplus=1, command_id="c-1"), "c-1"),
    "a notification": (sns("{"), "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324"),
    "an event": (in_an_event(stop()), "6a7e8feb-b491-4cf7-a9f1-bf3703467718"),
    "guarded": ({"command": "stop_targets", "task_id": BATCH.task_id, "all_targets": True}, "m-0"),
    "of the other queue": ({"command": "stop_task", "task_id": CHECK.task_id}, "m-0"),
}


@pytest.mark.parametrize(("body", "command_id"), REJECTED.values(), ids=REJECTED)
def test_a_rejected_message_keeps_its_name_and_its_age_when_sqs_moves_it_back(body: Any, command_id: str) -> None:
    world = World(targets=1)
    assert world.deliver(body) == []
    for turn in (1, 2):
        (letter,) = world.aws.dead_letters
        assert {name: letter.attributes[name] for name in ("command_id", "sent_at")} == {
            "command_id": command_id,
            "sent_at": world.aws.events[0]["requested_at"] or to_rfc3339(NOW),
        }
        world.aws.queues.clear()
        world.clock.seconds = 600.0 * turn
        moved = moved_back(letter, seconds=world.clock.seconds, message_id=f"new-{turn}")
        assert world.deliveries.handle(moved, deadline=world.clock.deadline()) == {"batchItemFailures": []}
    assert {event["command_id"] for event in world.aws.events} == {command_id}
    assert len({event["outcome_id"] for event in world.aws.events}) == 1, "the same rejection, for a consumer to drop"


def test_what_was_forbidden_is_as_old_as_it_was_when_sqs_moves_it_back() -> None:
    world = World(targets=1)
    world.deliver(REJECTED["guarded"][0])
    (letter,) = world.aws.dead_letters
    allowed = World(targets=1, ALLOW_STOP_ALL="true")
    allowed.clock.seconds = 3601
    moved = moved_back(letter, seconds=3601)
    for receives in (1, 2):
        moved["Records"][0]["attributes"]["ApproximateReceiveCount"] = str(receives)
        assert allowed.deliveries.handle(moved, deadline=allowed.clock.deadline()) == {"batchItemFailures": []}
    assert [event["status"] for event in allowed.aws.events] == ["expired", "expired"], (
        "it never was valid in the queue"
    )
    assert allowed.huawei.calls == []


@pytest.mark.parametrize("outer", ["stop_targets", "stop_task", "x", None, ["stop_targets"]])
def test_of_a_command_that_is_an_envelope_too_neither_is_carried_out(outer: object) -> None:
    world = World(targets=2)
    body = in_an_event(stop("d1")) | stop("d0") | {"command": outer}
    assert (
        world.deliver(body, sns(json.dumps(stop("d1"))) | body, sns(json.dumps(stop("d1"))) | {"command": outer}) == []
    )
    assert [event["status"] for event in world.aws.events] == ["rejected"] * 3
    assert json.loads(world.aws.dead_letters[0].body) == body
    assert world.huawei.calls == []


@pytest.mark.parametrize(("size", "kept"), [(LARGEST_MESSAGE, []), (LARGEST_MESSAGE - 67, ["rejected: "])])
def test_a_rejected_body_at_the_limit_keeps_as_much_of_the_reason_as_fits_or_is_left_to_sqs(
    size: int, kept: list[str]
) -> None:
    world = World()
    body = "x" * size
    assert world.deliver(body) == ([] if kept else ["m-0"])
    assert [event["status"] for event in world.aws.events] == ["rejected"]
    assert [letter.attributes["failure_reason"] for letter in world.aws.dead_letters] == kept
    assert all(letter.body == body for letter in world.aws.dead_letters)


@pytest.mark.parametrize(
    "event",
    [
        {},
        None,
        [],
        {"Records": None},
        {"Records": [{"eventSource": "aws:sns"}]},
        {"command": "stop_task"},
        {"Records": [{}]},
    ],
)
def test_any_other_event_is_the_deployments_fault(event: Any) -> None:
    world = World()
    with pytest.raises(DeploymentFault, match="event source mapping"):
        world.deliveries.handle(event, deadline=world.clock.deadline())


def test_a_delivery_that_does_not_fit_its_time_leaves_a_remainder() -> None:
    world = World(targets=2)

    def slow(asked: Call | tuple[Task, tuple[str, ...]]) -> Mapping[str, Finding]:
        world.clock.seconds += min(30, 40 - world.clock.seconds)  # a call ends with the time given to it
        return always(PASSING)(asked)  # type: ignore[no-any-return]

    world.huawei.disturb = slow
    assert world.deliver(stop("d0", "d1"), seconds=50) == []
    assert [remainder["targets"] for remainder in world.remainders()] == [["d0", "d1"]]
    assert world.clock.seconds < 50


def test_a_message_that_comes_again_after_its_expiry_never_says_that_nothing_was_sent() -> None:
    world = World(targets=2)
    asked = stop("d0", "d1", expires_at="2026-11-23T08:50:05Z")
    world.aws.refuse = lambda each: "InternalFailure: no" if isinstance(each, BusEvent) else None
    assert world.deliver(asked) == ["m-0"]
    world.aws.refuse = lambda _: None
    world.clock.seconds += 3600
    world.deliver(asked, receives=2)
    assert [(event["status"], event["tally"]["already_ended"]) for event in world.aws.events] == [("succeeded", 2)]
    assert len(world.huawei.calls) == 1


def test_a_repeat_of_what_was_never_in_force_is_expired() -> None:
    world = World(targets=1)
    world.deliver(stop("d0", expires_at="2026-11-23T08:00:00Z"), receives=2)
    assert [event["status"] for event in world.aws.events] == ["expired"]


HALF_AN_HOUR: dict[str, Any] = {"expires_at": "2026-11-23T09:19:05Z"}
"""As a sweep's commands have it: a second less than the visibility time-out of the queue."""


@pytest.mark.parametrize("attempt", [1, 2, 8])
def test_a_repeat_of_any_attempt_that_comes_after_its_expiry_finds_what_was_stopped(attempt: int) -> None:
    world = World(targets=2)
    remainder = stop("d0", "d1", attempt=attempt, tally={"stopped": 3, "already_ended": 1}, **HALF_AN_HOUR)
    assert world.deliver(remainder) == []
    world.clock.seconds += 1801
    assert world.deliver(remainder, receives=2) == []
    first, again = world.aws.events
    assert (again["status"], again["tally"]["stopped"], again["tally"]["already_ended"]) == ("succeeded", 3, 3)
    assert again["outcome_id"] == first["outcome_id"], "a consumer drops it"
    assert {each["result"] for each in again["results"]} == {"already_ended"}
    assert world.aws.dead_letters == []
    assert len(world.huawei.calls) == 1


def test_a_late_repeat_gives_up_only_on_what_runs() -> None:
    world = World(targets=1)
    world.huawei.states[BATCH]["d1"] = Verdict.STOPPED
    world.clock.seconds += 1801
    assert world.deliver(stop("d0", "d1", attempt=2, tally={"stopped": 3}, **HALF_AN_HOUR), receives=2) == []
    (event,) = world.aws.events
    assert (event["status"], event["tally"]["stopped"]) == ("failed", 3)
    assert [each["result"] for each in event["results"]] == ["gave_up", "already_ended"]
    (letter,) = world.aws.dead_letters
    assert (json.loads(letter.body)["targets"], letter.attributes["failure_reason"]) == (["d0"], "expired")
    assert world.huawei.calls == []


@pytest.mark.parametrize("awaiting", [[], ["d0"]], ids=["never read before", "awaited"])
def test_a_late_repeat_confirms_nothing_that_is_still_stopping(awaiting: list[str]) -> None:
    world = World(targets=1)
    world.huawei.disturb = lambda asked: {} if isinstance(asked, Stop) else {"d0": Finding(Verdict.STOPPING)}
    world.clock.seconds += 1801
    asked = stop("d0", confirm=True, attempt=1 + len(awaiting), awaiting=awaiting, **HALF_AN_HOUR)
    assert world.deliver(asked, receives=2) == []
    (event,) = world.aws.events
    assert (event["status"], event["confirmed"]) == ("failed", False)
    assert event["results"] == [{"target": "d0", "result": "still_running"}]
    assert json.loads(world.aws.dead_letters[0].body)["awaiting"] == ["d0"]
    world.huawei.disturb = lambda _: {"d0": Finding(Verdict.STOPPED)}
    assert world.deliver(asked, receives=3) == []
    assert (world.aws.events[-1]["status"], world.aws.events[-1]["confirmed"]) == ("succeeded", True)
    assert world.huawei.calls == []


def test_a_late_repeat_of_a_dry_run_says_again_what_it_would_stop() -> None:
    world = World(targets=1)
    asked = stop("d0", dry_run=True, **HALF_AN_HOUR)
    world.deliver(asked)
    world.clock.seconds += 1801
    world.deliver(asked, receives=2)
    assert [event["results"] for event in world.aws.events] == [[{"target": "d0", "result": "would_stop"}]] * 2
    assert world.huawei.calls == []


EVERYTHING: dict[str, Any] = {"command": "stop_targets", "task_id": BATCH.task_id, "all_targets": True}


def test_no_guard_is_on_what_is_only_awaited() -> None:
    allowed = World(targets=2, ALLOW_STOP_ALL="true")
    assert allowed.deliver(EVERYTHING | {"confirm": True}) == []
    (remainder,) = allowed.remainders()
    guarded = World(ALLOW_STOP_ALL="false")
    guarded.huawei.states[BATCH] = allowed.huawei.states[BATCH]
    assert guarded.deliver(remainder) == []
    (event,) = guarded.aws.events
    assert (event["status"], event["confirmed"]) == ("succeeded", True)
    assert guarded.aws.dead_letters == []
    assert guarded.huawei.calls == []


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        ("stop_targets", EVERYTHING),  # which the deployment no longer allows
        ("stop_task", stop("d0")),
        ("stop_targets", stop("d0", surplus=1)),
        ("stop_targets", stop("d0", requested_at="2030-01-01T00:00:00Z")),
    ],
    ids=["guarded", "another queue's", "invalid", "of the future"],
)
def test_a_remainder_that_is_rejected_keeps_its_tally(kind: str, wrong: dict[str, Any]) -> None:
    world = World(kind=kind, targets=1)
    remainder = wrong | {"confirm": True, "attempt": 2, "tally": {"stopped": 4, "not_found": 1}}
    assert world.deliver(remainder) == []
    (event,) = world.aws.events
    assert (event["status"], event["confirmed"], event["results"]) == ("rejected", False, [])
    assert {name: count for name, count in event["tally"].items() if count} == {"stopped": 4, "not_found": 1}
    assert [letter.body for letter in world.aws.dead_letters] == [json.dumps(remainder)]
    assert world.huawei.calls == []


@pytest.mark.parametrize(
    ("asked", "awaiting"),
    [
        (stop("d0", "d1"), ["*"]),
        (stop("d0", "d1"), ["d1"]),
        (stop("d0"), ["d0"]),
        (EVERYTHING, ["*"]),
    ],
    ids=["all", "some", "the one", "all targets"],
)
def test_what_expires_while_it_is_awaited_is_set_aside_as_awaited(asked: dict[str, Any], awaiting: list[str]) -> None:
    world = World(targets=2)
    world.clock.seconds += 1801
    assert world.deliver(asked | {"confirm": True, "awaiting": awaiting, "attempt": 2} | HALF_AN_HOUR) == []
    (event,) = world.aws.events
    assert (event["status"], event["confirmed"]) == ("failed", False)
    assert {each["result"] for each in event["results"]} == {"gave_up"}
    letter = json.loads(world.aws.dead_letters[0].body)
    assert letter["awaiting"] == awaiting
    # Sent again with a new time it is read, and what runs by then is left alone.
    world.aws.events.clear()
    if awaiting != ["d1"]:
        assert world.deliver(letter | {"expires_at": "2026-11-24T00:00:00Z"}) == []
        assert world.huawei.calls == []


@pytest.mark.parametrize(
    ("before", "after"), [(None, "instance-1"), ("instance-1", None), ("instance-1", "instance-2")]
)
def test_a_remainder_stays_where_its_command_was_carried_out(before: str | None, after: str | None) -> None:
    def world(instance_id: str | None) -> World:
        there = World(IOTDA_INSTANCE_ID=instance_id or "", MAX_ATTEMPTS="2")
        there.huawei.disturb = always(PASSING)
        return there

    first = world(before)
    assert first.deliver(stop("d0")) == []
    second = world(after)
    assert second.deliver(first.remainders()[0]) == []
    letter = json.loads(second.aws.dead_letters[0].body)
    assert letter["attempt"] == 1
    assert second.deliver(letter) == []
    places = {call.task for each in (first, second) for call in each.huawei.calls}
    assert places == {BatchTask("project-1", before, BATCH.task_id)}


def hours(count: float) -> datetime:
    return NOW + timedelta(hours=count)


ENVELOPES: dict[str, Any] = {
    "raw": lambda body, _: body,
    "SNS": lambda body, at: sns(json.dumps(body)) | ({} if at is None else {"Timestamp": at}),
    "EventBridge": lambda body, at: in_an_event(body) | ({} if at is None else {"time": at}),
}
EACH = pytest.mark.parametrize("envelope", ENVELOPES.values(), ids=ENVELOPES)


@EACH
@pytest.mark.parametrize("requested_at", ["2026-11-23T12:49:05Z", "2026-11-23T04:54:06Z", "2030-01-01T00:00:00Z"])
def test_a_command_cannot_make_itself_younger_than_its_message(envelope: Any, requested_at: str) -> None:
    world = World(targets=1)
    asked = envelope(stop("d0", requested_at=requested_at), "2026-11-23T04:49:05.123Z")
    assert world.deliver(asked, sent_at=hours(-4)) == []
    (event,) = world.aws.events
    (error,) = event["errors"]
    assert (event["status"], error["loc"]) == ("rejected", "requested_at")
    assert requested_at[:-1] in error["msg"]
    assert "2026-11-23T04:49:05.123Z" in error["msg"]
    assert world.huawei.calls == []


@pytest.mark.parametrize(
    ("envelope", "at"), [("EventBridge", "2026-11-16T08:49:05Z"), ("SNS", "2026-11-23T03:49:05.123Z")]
)
def test_a_command_of_long_ago_that_was_replayed_or_came_late_is_expired(envelope: str, at: str) -> None:
    world = World(targets=1)
    body = ENVELOPES[envelope](stop("d0"), at) | {"replay-name": "replay-1"}
    for receives in (1, 2):
        assert world.deliver(body, receives=receives) == []
    assert [event["status"] for event in world.aws.events] == ["expired", "expired"], "it never was valid in the queue"
    assert world.aws.events[0]["requested_at"][:19] == at[:19]
    assert world.huawei.calls == []
    assert world.aws.dead_letters == []


@pytest.mark.parametrize(("envelope", "name"), [("EventBridge", "time"), ("SNS", "Timestamp")])
def test_a_command_whose_age_cannot_be_read_is_rejected(envelope: str, name: str) -> None:
    world = World(targets=1)
    assert world.deliver(ENVELOPES[envelope](stop("d0"), "last week")) == []
    assert [each["loc"] for each in world.aws.events[0]["errors"]] == [name]
    assert world.huawei.calls == []


def test_a_dead_letter_is_as_old_as_its_envelope_says() -> None:
    world = World()
    world.deliver(ENVELOPES["EventBridge"](stop(), "2026-11-16T08:49:05Z"))
    world.deliver(ENVELOPES["SNS"](stop(), "2026-11-23T03:49:05.123Z"))
    world.deliver(stop())
    assert [letter.attributes["sent_at"] for letter in world.aws.dead_letters] == [
        "2026-11-16T08:49:05.000Z",
        "2026-11-23T03:49:05.123Z",
        "2026-11-23T08:49:05.123Z",
    ]


def refuse_events_of(*message_ids: str) -> Any:
    """Refuse what goes out for these messages."""
    return lambda each: "no" if isinstance(each, BusEvent) and any(of in each.detail for of in message_ids) else None


def hidden(world: World) -> dict[str, int]:
    return {handle.removeprefix("receipt of "): seconds for handle, seconds in world.aws.visibility}


def test_what_is_given_back_is_hidden_for_less_than_the_queues_time_out_and_nothing_else_is() -> None:
    world = World(targets=3, VISIBILITY_TIMEOUT_SECONDS="360")
    world.aws.refuse = refuse_events_of("m-1")
    assert world.deliver(stop("d0"), stop("d1"), stop("d2")) == ["m-1"]
    assert hidden(world) == {"m-1": 48}


def test_the_wait_grows_with_each_receive() -> None:
    world = World(targets=3, VISIBILITY_TIMEOUT_SECONDS="360")
    world.aws.refuse = refuse_events_of("m-")
    event = delivery(*(stop(f"d{n}") for n in range(3)))
    for record, receives in zip(event["Records"], ["1", "3", "60"], strict=True):
        record["attributes"]["ApproximateReceiveCount"] = receives
    world.deliveries.handle(event, deadline=world.clock.deadline())
    assert hidden(world) == {"m-0": 48, "m-1": 192, "m-2": 288}


def test_one_random_number_serves_a_delivery_so_that_what_is_folded_comes_back_together() -> None:
    numbers = count(0.0, 0.125)
    world = World(targets=3, uniform=lambda _, __: next(numbers), VISIBILITY_TIMEOUT_SECONDS="360")
    world.aws.refuse = refuse_events_of("m-")
    world.deliver(*(stop(f"d{n}") for n in range(3)))
    assert len(hidden(world)) == 3
    assert len(set(hidden(world).values())) == 1


def test_a_fault_of_the_deployment_shortens_the_wait_of_the_whole_delivery() -> None:
    world = deployment(World(), Broken(at=0, targets=2), VISIBILITY_TIMEOUT_SECONDS="360")
    with pytest.raises(DeploymentFault):
        world.deliver(stop("d0"), stop("d1"))
    assert hidden(world) == {"m-0": 48, "m-1": 48}


def test_a_defect_and_a_message_that_is_too_large_are_hidden_for_less_too() -> None:
    world = World(targets=150, VISIBILITY_TIMEOUT_SECONDS="360")

    def defect(asked: Call | tuple[Task, tuple[str, ...]]) -> Mapping[str, Finding]:
        if isinstance(asked, Stop) and "d149" in asked.targets:
            raise ZeroDivisionError
        return {}

    world.huawei.disturb = defect
    too_large = "x" * LARGEST_MESSAGE
    assert sorted(world.deliver(stop(*(f"d{n}" for n in range(150))), too_large, stop("d3"))) == ["m-0", "m-1"]
    assert hidden(world) == {"m-0": 48, "m-1": 48}


def test_without_a_time_out_or_a_receipt_handle_the_queues_own_time_out_stands() -> None:
    world = World(targets=1)
    world.aws.refuse = refuse_events_of("m-0")
    assert world.deliver(stop("d0")) == ["m-0"]
    assert hidden(world) == {}

    nameless = World(targets=1, VISIBILITY_TIMEOUT_SECONDS="360")
    nameless.aws.refuse = refuse_events_of("m-0")
    event = delivery(stop("d0"))
    del event["Records"][0]["receiptHandle"]
    answer = nameless.deliveries.handle(event, deadline=nameless.clock.deadline())
    assert answer == {"batchItemFailures": [{"itemIdentifier": "m-0"}]}
    assert hidden(nameless) == {}


REFUSED = AwsRefused(
    service="SQS", operation="ChangeMessageVisibilityBatch", code="AccessDenied", message="no", mend="allow it"
)


@pytest.mark.parametrize("error", [REFUSED, ZeroDivisionError("a defect")])
def test_a_visibility_that_cannot_be_changed_fails_nothing_and_is_a_warning(error: Exception) -> None:
    log = io.StringIO()
    world = World(
        targets=2, telemetry=Telemetry(Logger(service=f"told {error}", stream=log)), VISIBILITY_TIMEOUT_SECONDS="360"
    )
    world.aws.refuse = refuse_events_of("m-1")
    world.aws.visibility_error = error
    assert world.deliver(stop("d0"), stop("d1")) == ["m-1"]
    assert [event["command_id"] for event in world.aws.events] == ["m-0"]
    (line,) = [
        line for line in map(json.loads, log.getvalue().splitlines()) if line["message"] == "visibility unchanged"
    ]
    assert (line["level"], line["why"], line["messages"]) == ("WARNING", f"{type(error).__name__}: {error}", 1)


def test_a_fault_of_the_deployment_is_raised_although_the_visibility_cannot_be_changed() -> None:
    world = deployment(World(), Broken(at=0, targets=1), VISIBILITY_TIMEOUT_SECONDS="360")
    world.aws.visibility_error = REFUSED
    with pytest.raises(DeploymentFault, match="credentials were refused"):
        world.deliver(stop("d0"))


def test_a_defect_beyond_one_record_gives_all_messages_back_as_soon_as_any_other() -> None:
    world = World(targets=1, VISIBILITY_TIMEOUT_SECONDS="360")
    world.aws.error = OverflowError("a defect of ours")
    with pytest.raises(OverflowError):
        world.deliver(stop("d0"), "junk")
    assert hidden(world) == {"m-0": 48, "m-1": 48}


def test_the_visibility_is_changed_last_and_takes_no_time_from_publishing() -> None:
    log = io.StringIO()
    world = World(
        targets=2, telemetry=Telemetry(Logger(service="told last", stream=log)), VISIBILITY_TIMEOUT_SECONDS="360"
    )

    def slow(each: BusEvent | Message) -> str | None:
        world.clock.seconds = 60.0  # all of the delivery's time
        return "no" if isinstance(each, BusEvent) and "m-1" in each.detail else None

    world.aws.refuse = slow
    assert world.deliver(stop("d0"), stop("d1"), seconds=60.0) == ["m-1"]
    assert [event["command_id"] for event in world.aws.events] == ["m-0"]
    assert hidden(world) == {}
    (line,) = [
        line for line in map(json.loads, log.getvalue().splitlines()) if line["message"] == "visibility unchanged"
    ]
    assert line["why"] == "NoTimeLeft: not sent"

"""The final event of a command is on the bus after all its others, in as few calls as may be."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import pytest

from shared.aws import Aws, AwsRefused
from shared.commands import read_command
from shared.deliveries import Deliveries
from shared.findings import Finding, Findings, Verdict
from shared.http import Http
from shared.planning import task_of
from shared.publishing import WRITTEN_AT_ONCE, Parcel, Publisher, remainder_message
from shared.settings import StopInWorkflowSettings, read_settings
from shared.settlement import settle
from shared.workflow import PacedService, Workflow
from tests.fakes import BATCH, ENVIRONMENT, NOW, Clock, FakeAws, FakeHuawei, defaults, delivery, settings_of
from tests.quiet import NoDefects
from tests.scripted_server import serving, whole

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping, Sequence

    from shared.aws import BusEvent
    from shared.deadline import Deadline
    from shared.outcomes import Outcome
    from tests.scripted_server import Server

KEYS = {"AWS_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "s3cr3t"}


class SlowBus:
    """EventBridge on a loop-back port: every call without a final event waits for one to overtake it."""

    def __init__(self) -> None:
        self.accepted: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        self._final_is_in = threading.Event()

    def talk(self, server: Server, connection: socket.socket) -> None:
        while server.hear(connection):
            _, _, body = server.asked_on(connection)[-1].split(" ", 2)
            events = [json.loads(entry["Detail"]) for entry in json.loads(body)["Entries"]]
            is_final = any(event["status"] != "in_progress" for event in events)
            if not is_final:
                self._final_is_in.wait(0.2)
            with self._lock:
                self.accepted += events
            if is_final:
                self._final_is_in.set()
            answer = {"FailedEntryCount": 0, "Entries": [{"EventId": "e"} for _ in events]}
            connection.sendall(whole(json.dumps(answer).encode()))


@pytest.mark.parametrize("way", ["queue", "workflow"])
def test_the_final_event_of_three_thousand_confirmed_targets_is_accepted_last(way: str) -> None:
    clock, queues, slow = Clock(), FakeAws(), SlowBus()
    targets = [f"d{number}" for number in range(3_000)]
    huawei = FakeHuawei({BATCH: dict.fromkeys(targets, Verdict.RUNS)})
    command = {"command": "stop_targets", "command_id": "c-1", "task_id": BATCH.task_id, "targets": targets}
    with serving(slow.talk) as server:
        aws = Aws(
            http=Http(connections=8),
            environment=KEYS | {"AWS_ENDPOINT_URL_EVENTBRIDGE": server.url},
            patience=clock.patience(),
            requests_at_once=8,
        )
        publisher = Publisher(bus=aws, queues=queues, bus_name="outcomes")
        if way == "queue":
            deliveries = Deliveries(
                settings=settings_of("stop_targets"),
                service=huawei,
                publisher=publisher,
                queues=queues,
                pace=clock.pace(),
                patience=clock.patience(),
                telemetry=NoDefects(),
            )
            body = json.dumps(command | {"confirm": True})
            assert deliveries.handle(delivery(body), deadline=clock.deadline()) == {"batchItemFailures": []}
            (remainder,) = queues.remainders
            answer = deliveries.handle(delivery(remainder.body), deadline=clock.deadline())
            assert answer == {"batchItemFailures": []}
        else:
            paced = PacedService(huawei, clock.pace())
            workflow = Workflow(
                settings=read_settings(StopInWorkflowSettings, ENVIRONMENT),
                check_tasks=paced,
                batch_tasks=paced,
                publisher=publisher,
                patience=clock.patience(),
                telemetry=NoDefects(),
                new_id=lambda: "new",
            )
            final = workflow.handle(command | {"confirm": True}, deadline=clock.deadline(900))
            assert (final["status"], final["tally"]["stopped"]) == ("succeeded", 3_000)
    assert [event["status"] for event in slow.accepted] == ["in_progress"] * 29 + ["succeeded"]
    assert slow.accepted[-1]["confirmed"] is True


class CountingBus(FakeAws):
    """Counts what each `put_events` was given."""

    def __init__(self, **fields: Any) -> None:
        super().__init__(**fields)
        self.puts: list[int] = []

    def put_events(self, bus: str, events: Sequence[BusEvent], *, deadline: Deadline) -> Mapping[int, str]:
        self.puts.append(len(events))
        return super().put_events(bus, events, deadline=deadline)


def outcomes(command_id: str, *, events: int, is_final: bool = True) -> Sequence[Outcome]:
    """Return what is published of a command with that many events; the last of them is final if the command is."""
    targets = [f"{command_id}-{number}" for number in range(100 * events + (not is_final))]
    command = read_command(
        {"command": "stop_targets", "command_id": command_id, "task_id": BATCH.task_id, "targets": targets},
        defaults=defaults(),
    )
    found = dict.fromkeys(targets, Finding(Verdict.TAKEN))
    if not is_final:
        found[targets[-1]] = Finding(Verdict.UNFINISHED)
    findings = Findings({task_of(command): found}, {}, {})
    return settle(command, findings, now=NOW, max_attempts=8, jitter=0.5).outcomes


def parcel(message_id: str, published: Sequence[Outcome], *, queue: str | None = None) -> Parcel:
    message = remainder_message("body", delay_seconds=1)
    assert message is not None
    return Parcel(message_id, published, (queue, message) if queue else None, withheld=None)


def seen(aws: FakeAws) -> list[tuple[str, str]]:
    return [(event["command_id"], event["status"]) for event in aws.events]


def publish(aws: FakeAws, *parcels: Parcel) -> Mapping[str, str]:
    publisher = Publisher(bus=aws, queues=aws, bus_name="outcomes")
    return publisher.publish(parcels, deadline=Clock().deadline()).failed


def test_commands_with_one_event_each_are_published_in_one_go() -> None:
    aws = CountingBus()
    assert publish(aws, *(parcel(f"m-{n}", outcomes(f"c-{n}", events=1)) for n in range(40))) == {}
    assert aws.puts == [40]


def test_of_many_commands_the_finals_go_out_together_after_everything_else() -> None:
    aws = CountingBus()
    going_on = parcel("m-1", outcomes("c-1", events=2, is_final=False))
    assert (
        publish(aws, parcel("m-0", outcomes("c-0", events=3)), going_on, parcel("m-2", outcomes("c-2", events=1))) == {}
    )
    assert aws.puts == [4, 2]
    assert seen(aws) == [
        ("c-0", "in_progress"),
        ("c-0", "in_progress"),
        ("c-1", "in_progress"),
        ("c-1", "in_progress"),
        ("c-0", "succeeded"),
        ("c-2", "succeeded"),
    ]


def refusing(*outcome_ids: str) -> CountingBus:
    return CountingBus(refuse=lambda each: "InternalFailure: no" if any(i in str(each) for i in outcome_ids) else None)


def test_of_a_command_with_an_event_that_is_not_on_the_bus_the_final_is_held_back_and_nothing_is_sent() -> None:
    broken, whole_one = outcomes("c-0", events=3), outcomes("c-1", events=2)
    aws = refusing(broken[1].outcome_id)
    failed = publish(aws, parcel("m-0", broken, queue="https://sqs/q"), parcel("m-1", whole_one, queue="https://sqs/q"))
    assert failed == {"m-0": "InternalFailure: no"}
    assert seen(aws) == [("c-0", "in_progress"), ("c-1", "in_progress"), ("c-1", "succeeded")]
    assert len(aws.queues["https://sqs/q"]) == 1


def test_two_messages_of_one_command_count_together() -> None:
    """A duplicate left a second remainder, say: a consumer knows a command by its id, and not by its messages."""
    goes_on, ends = outcomes("c-0", events=2, is_final=False), outcomes("c-0", events=1)
    aws = CountingBus()
    assert publish(aws, parcel("m-0", ends), parcel("m-1", goes_on)) == {}
    assert [status for _, status in seen(aws)] == ["in_progress", "in_progress", "succeeded"]
    aws = refusing(goes_on[0].outcome_id)
    failed = publish(aws, parcel("m-0", ends, queue="https://sqs/q"), parcel("m-1", goes_on))
    assert failed == {
        "m-0": "another event of the command is not on the bus: InternalFailure: no",
        "m-1": "InternalFailure: no",
    }
    assert [status for _, status in seen(aws)] == ["in_progress"]
    assert aws.queues == {}


def test_a_bus_that_refuses_the_events_before_is_not_asked_to_take_the_final() -> None:
    aws = CountingBus()
    aws.error = AwsRefused(service="EventBridge", operation="PutEvents", code="AccessDenied", message="no", mend="")
    publisher = Publisher(bus=aws, queues=aws, bus_name="outcomes")
    published = publisher.publish([parcel("m-0", outcomes("c-0", events=2))], deadline=Clock().deadline())
    assert published.failed.keys() == {"m-0"}
    assert "OUTCOME_BUS_NAME" in str(published.fault)
    assert aws.puts == [1]


def test_a_final_for_which_there_is_no_time_left_gives_its_message_back() -> None:
    clock = Clock()
    deadline = clock.deadline(60)

    class Last(CountingBus):
        def put_events(self, bus: str, events: Sequence[BusEvent], *, deadline: Deadline) -> Mapping[int, str]:
            if not deadline.remaining():
                return dict.fromkeys(range(len(events)), "NoTimeLeft: not sent")
            refused = super().put_events(bus, events, deadline=deadline)
            clock.seconds += 60
            return refused

    aws = Last()
    publisher = Publisher(bus=aws, queues=aws, bus_name="outcomes")
    published = publisher.publish([parcel("m-0", outcomes("c-0", events=3), queue="https://sqs/q")], deadline=deadline)
    assert published.failed == {"m-0": "NoTimeLeft: not sent"}
    assert [status for _, status in seen(aws)] == ["in_progress"] * 2
    assert aws.queues == {}


def test_each_event_of_a_long_command_is_made_once_and_no_more_are_held_than_are_written_at_once() -> None:
    """Of 100 000 targets: to make all events at once, or each twice, would take the memory or the time."""
    made: list[int] = []
    sent: list[int] = []
    long = outcomes("c-0", events=1_000)
    assert not isinstance(long, tuple), "its events are made when asked for"

    class Counted:
        def __len__(self) -> int:
            return len(long)

        def __getitem__(self, index: Any) -> Any:
            outcome = long[index]
            made.append(index)
            return outcome

        def __iter__(self) -> Any:
            return (self[index] for index in range(len(self)))

    class Watching(FakeAws):
        def put_events(self, bus: str, events: Sequence[BusEvent], *, deadline: Deadline) -> Mapping[int, str]:
            assert len(made) - sum(sent) <= WRITTEN_AT_ONCE + 1
            sent.append(len(events))
            return super().put_events(bus, events, deadline=deadline)

    aws = Watching()
    counted: Any = Counted()
    assert publish(aws, parcel("m-0", counted)) == {}
    assert made == list(range(1_000))
    assert [status for _, status in seen(aws)] == ["in_progress"] * 999 + ["succeeded"]
    assert max(sent) == WRITTEN_AT_ONCE

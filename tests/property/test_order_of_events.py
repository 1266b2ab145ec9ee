"""Whatever EventBridge does with each call and entry: no final event is taken before, or without, the others."""

from __future__ import annotations

import json
from itertools import count
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import publishing
from shared.aws import Aws
from shared.http import Http, NoAnswer, Response
from shared.outcomes import Outcome, Status, Tally
from shared.publishing import Parcel, Publisher, remainder_message
from tests.fakes import NOW, Clock, FakeAws

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

KEYS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "s3cr3t", "AWS_REGION": "eu-central-1"}
QUEUE = "https://sqs/commands"

ENTRY: Mapping[str, Mapping[str, str]] = {
    "taken": {"EventId": "e"},
    "passing": {"ErrorCode": "InternalFailure", "ErrorMessage": "try again"},
    "final": {"ErrorCode": "MalformedDetail", "ErrorMessage": "no"},
    "unsaid": {},
}
CALL = st.sampled_from(["answered"] * 8 + ["cut before", "cut after", "503", "denied"])


class FickleBus(Http):
    """An EventBridge that does with each call, and each entry of it, what is drawn; `taken`: in the order taken."""

    def __init__(self, draw: Callable[[st.SearchStrategy[Any]], Any], *, trouble: int) -> None:
        self._draw = draw
        self._entry = st.sampled_from(["taken"] * (12 - trouble) + [*ENTRY][1:] * trouble)
        self.taken: list[str] = []

    def send(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes | None, timeout: float
    ) -> Response:
        assert (method, url, timeout) == ("POST", "https://events.eu-central-1.amazonaws.com/", 10.0)
        assert headers["X-Amz-Target"] == "AWSEvents.PutEvents"
        names = [json.loads(entry["Detail"])["outcome_id"] for entry in json.loads(body or b"")["Entries"]]
        fate = self._draw(CALL)
        match fate:
            case "cut before":
                raise NoAnswer("cut")
            case "503":
                return Response(status=503, headers={}, body=b"busy")
            case "denied":
                return Response(status=400, headers={}, body=b'{"__type": "AccessDeniedException"}')
        fates = [self._draw(self._entry) for _ in names]
        self.taken += [name for name, each in zip(names, fates, strict=True) if each == "taken"]
        if fate == "cut after":
            raise NoAnswer("cut")
        return Response(status=200, headers={}, body=json.dumps({"Entries": [ENTRY[each] for each in fates]}).encode())


def outcome(command_id: str, name: str, *, is_final: bool) -> Outcome:
    return Outcome(
        outcome_id=name,
        command_id=command_id,
        command="stop_targets",
        status=Status.FAILED if is_final else Status.IN_PROGRESS,
        attempt=1,
        task_id="5f1ac5c3e4b0",
        project_id="project-1",
        instance_id=None,
        requested_at=NOW,
        requested_by=None,
        reason=None,
        traceparent=None,
        tracestate=None,
        occurred_at=NOW,
        results=(),
        tally=Tally(),
        confirmed=None,
        errors=(),
    )


@st.composite
def deliveries(draw: st.DrawFn) -> list[Parcel]:
    """Some messages of a few commands; several may be of one, and a final event may stand anywhere among the others."""
    names = (f"o-{number}" for number in count())
    parcels: list[Parcel] = []
    for number in range(draw(st.integers(1, 6))):
        command_id = draw(st.sampled_from(["c-1", "c-2", "c-3"]))
        events = [outcome(command_id, next(names), is_final=False) for _ in range(draw(st.integers(0, 15)))]
        if draw(st.booleans()):
            events.insert(draw(st.integers(0, len(events))), outcome(command_id, next(names), is_final=True))
        message = remainder_message("body", delay_seconds=1)
        assert message is not None
        parcels.append(Parcel(f"m-{number}", events, (QUEUE, message._replace(body=f"m-{number}")), withheld=None))
    return parcels


@given(deliveries(), st.sampled_from([3, 160]), st.sampled_from([0, 1, 4]), st.data())
def test_no_final_event_is_taken_before_or_without_another_of_its_command(
    parcels: list[Parcel], at_once: int, trouble: int, data: st.DataObject
) -> None:
    bus, queues, clock = FickleBus(data.draw, trouble=trouble), FakeAws(), Clock()
    aws = Aws(http=bus, environment=KEYS, patience=clock.patience(), requests_at_once=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(publishing, "WRITTEN_AT_ONCE", at_once)
        publisher = Publisher(bus=aws, queues=queues, bus_name="outcomes")
        failed = publisher.publish(parcels, deadline=clock.deadline(10_000)).failed
    first_taken = {name: place for place, name in reversed([*enumerate(bus.taken)])}
    by_command: dict[str, list[Outcome]] = {}
    for parcel in parcels:
        by_command.setdefault(parcel.outcomes[0].command_id if parcel.outcomes else "", []).extend(parcel.outcomes)
        if parcel.message_id not in failed:
            assert {each.outcome_id for each in parcel.outcomes} <= first_taken.keys()
    for events in by_command.values():
        others = [each.outcome_id for each in events if each.status is Status.IN_PROGRESS]
        for final in (each.outcome_id for each in events if each.status is not Status.IN_PROGRESS):
            if final in first_taken:
                assert {*others} <= first_taken.keys(), "a final event without another"
                assert all(first_taken[other] < first_taken[final] for other in others), "a final event before another"
    sent = [message.body for message in queues.queues.get(QUEUE, ())]
    assert sent == [parcel.message_id for parcel in parcels if parcel.message_id not in failed]


@given(deliveries(), st.sampled_from([3, 160]))
def test_with_a_bus_that_is_well_everything_is_taken_once_and_acknowledged(parcels: list[Parcel], at_once: int) -> None:
    aws = FakeAws()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(publishing, "WRITTEN_AT_ONCE", at_once)
        publisher = Publisher(bus=aws, queues=aws, bus_name="outcomes")
        assert publisher.publish(parcels, deadline=Clock().deadline()).failed == {}
    sent = [event["outcome_id"] for event in aws.events]
    assert sorted(sent) == sorted(each.outcome_id for parcel in parcels for each in parcel.outcomes)
    finals = [event["status"] != "in_progress" for event in aws.events]
    assert finals == sorted(finals)

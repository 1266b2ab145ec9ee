from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

from hypothesis import given
from hypothesis import strategies as st

from shared.aws import ENTRIES_PER_BATCH, Aws, BusEvent, Message, event_size, message_size, pack
from shared.deadline import Deadline
from shared.http import Http, NoAnswer, Response
from shared.patience import TRIES
from tests.fakes import Clock

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

KEYS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "s3cr3t", "AWS_REGION": "eu-central-1"}
DEADLINE = Deadline(at=1e6, clock=lambda: 0.0)

Verdict = Literal["taken", "passing", "final", "unsaid"]
VERDICT: st.SearchStrategy[Verdict] = st.sampled_from(["taken", "taken", "passing", "final", "unsaid"])
WHOLE_CALL = st.sampled_from(["answered", "answered", "answered", "cut", "503", "throttled"])


class Fickle(Http):
    """An AWS that does with each call, and each entry of it, what is drawn; it knows an entry by its text."""

    def __init__(self, draw: Callable[[st.SearchStrategy[Any]], Any]) -> None:
        self._draw = draw
        self.taken: list[str] = []
        self.refused: set[str] = set()
        self.seen: Counter[str] = Counter()

    def send(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes | None, timeout: float
    ) -> Response:
        assert (method, timeout) == ("POST", 10.0), url
        entries: list[dict[str, Any]] = json.loads(body or b"")["Entries"]
        texts = [entry.get("Detail") or entry["MessageBody"] for entry in entries]
        assert 1 <= len(texts) <= ENTRIES_PER_BATCH
        assert not set(texts) & (set(self.taken) | self.refused), "what is settled is not sent again"
        self.seen.update(texts)
        match self._draw(WHOLE_CALL):
            case "cut":
                raise NoAnswer("cut")
            case "503":
                return Response(status=503, headers={}, body=b"<html>busy</html>")
            case "throttled":
                return Response(status=400, headers={}, body=b'{"__type": "ThrottlingException"}')
        verdicts: list[Verdict] = [self._draw(VERDICT) for _ in texts]
        self.taken += [text for text, verdict in zip(texts, verdicts, strict=True) if verdict == "taken"]
        self.refused |= {text for text, verdict in zip(texts, verdicts, strict=True) if verdict == "final"}
        if headers["X-Amz-Target"].endswith("PutEvents"):
            answer: dict[str, Any] = {"Entries": [EVENT_RESULTS[verdict] for verdict in verdicts]}
        else:
            answer = {"Successful": [], "Failed": []}
            for entry, verdict in zip(entries, verdicts, strict=True):
                if verdict == "taken":
                    answer["Successful"].append({"Id": entry["Id"], "MessageId": "m"})
                elif verdict != "unsaid":
                    answer["Failed"].append({"Id": entry["Id"], "Code": "C", "SenderFault": verdict == "final"})
        return Response(status=200, headers={}, body=json.dumps(answer).encode())


EVENT_RESULTS: dict[Verdict, dict[str, str]] = {
    "taken": {"EventId": "e"},
    "passing": {"ErrorCode": "InternalFailure", "ErrorMessage": "try again"},
    "final": {"ErrorCode": "MalformedDetail", "ErrorMessage": "no"},
    "unsaid": {},
}


def aws(http: Http) -> Aws:
    return Aws(
        http=http,
        environment=KEYS,
        patience=Clock().patience(),
        requests_at_once=1,  # what is drawn must be drawn in one order
    )


def check(fickle: Fickle, reported: Mapping[int, object], sent: list[str]) -> None:
    assert Counter(fickle.taken).total() == len(set(fickle.taken)), "taken once"
    assert {sent[position] for position in reported} == set(sent) - set(fickle.taken), "taken or reported, never both"
    assert list(reported) == sorted(reported)
    assert max(fickle.seen.values(), default=0) <= TRIES
    given_up = set(sent) - set(fickle.taken) - fickle.refused
    assert all(fickle.seen[text] == TRIES for text in given_up), "nothing is given up before its tries are used"


@given(st.integers(0, 35), st.data())
def test_every_event_ends_on_the_bus_once_or_is_reported(count: int, data: st.DataObject) -> None:
    fickle = Fickle(data.draw)
    texts = [json.dumps({"n": number}) for number in range(count)]
    events = [BusEvent(source="s", detail_type="t", detail=text, resources=()) for text in texts]
    check(fickle, aws(fickle).put_events("bus", events, deadline=DEADLINE), texts)


@given(st.integers(0, 35), st.data())
def test_every_message_ends_on_the_queue_once_or_is_reported(count: int, data: st.DataObject) -> None:
    fickle = Fickle(data.draw)
    texts = [f"message {number}" for number in range(count)]
    messages = [Message(body=text, attributes={}, delay_seconds=0) for text in texts]
    check(fickle, aws(fickle).send_messages("https://sqs/q", messages, deadline=DEADLINE), texts)


@given(st.lists(st.integers(0, 100), max_size=60), st.integers(100, 400))
def test_batches_keep_to_count_and_bytes_and_order_and_lose_nothing(sizes: list[int], limit: int) -> None:
    positions = range(len(sizes))
    batches = list(pack(positions, sizes, limit))
    assert [position for batch in batches for position in batch] == list(positions)
    assert all(1 <= len(batch) <= ENTRIES_PER_BATCH for batch in batches)
    assert all(sum(sizes[position] for position in batch) <= limit for batch in batches)


@given(st.lists(st.integers(0, 100), max_size=60), st.integers(100, 400))
def test_no_batch_is_cut_earlier_than_it_must(sizes: list[int], limit: int) -> None:
    batches = list(pack(range(len(sizes)), sizes, limit))
    for batch, following in pairwise(batches):
        full = len(batch) == ENTRIES_PER_BATCH
        assert full or sum(sizes[position] for position in batch) + sizes[following[0]] > limit


TEXT = st.text(max_size=40)


@given(TEXT, TEXT, TEXT, st.lists(TEXT, max_size=4).map(tuple))
def test_an_event_is_measured_in_utf8(source: str, detail_type: str, detail: str, resources: tuple[str, ...]) -> None:
    event = BusEvent(source=source, detail_type=detail_type, detail=detail, resources=resources)
    assert event_size(event) == len((source + detail_type + detail + "".join(resources)).encode())


@given(TEXT, st.dictionaries(TEXT, TEXT, max_size=4))
def test_a_message_is_measured_with_its_attributes(body: str, attributes: dict[str, str]) -> None:
    message = Message(body=body, attributes=attributes, delay_seconds=0)
    parts = [body, *attributes, *attributes.values(), "String" * len(attributes)]
    assert message_size(message) == len("".join(parts).encode())

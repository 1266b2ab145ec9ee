"""SQS as redrive sees it: in memory, and on a loop-back port for the command as a process of its own."""

from __future__ import annotations

import json
import re
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from shared.publishing import LARGEST_MESSAGE
from tests.fakes import BATCH, NOW

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STOP: dict[str, Any] = {"command": "stop_targets", "task_id": BATCH.task_id, "targets": ["d1", "d2"]}
DEAD = "https://sqs/1/stop-dead-letter"
SOURCE = "https://sqs/1/stop"


def received(
    body: str | dict[str, Any] = STOP,
    *,
    message_id: str = "m-1",
    stamped: datetime | None = NOW,
    by_sqs: bool = False,
    **attributes: str,
) -> dict[str, Any]:
    """A message as SQS gives it."""
    system = {} if stamped is None else {"SentTimestamp": str(round(stamped.timestamp() * 1000))}
    return {
        "MessageId": message_id,
        "ReceiptHandle": f"handle of {message_id}",
        "Body": body if isinstance(body, str) else json.dumps(body),
        "Attributes": system | ({"DeadLetterQueueSourceArn": "arn:aws:sqs:eu-west-1:1:stop"} if by_sqs else {}),
        "MessageAttributes": {name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()},
    }


def entry_size(entry: dict[str, Any]) -> int:
    """The bytes of an entry as SQS counts them, its attributes included."""
    attributes = entry.get("MessageAttributes", {}).items()
    words = [word for name, each in attributes for word in (name, each["DataType"], each["StringValue"])]
    return sum(len(text.encode()) for text in (entry["MessageBody"], *words))


@dataclass
class FakeSqs:
    """Queues by URL, as boto3 would show them. `refuse_send`, `refuse_delete`: words in bodies, and why not.

    `raises`: the error of an operation; `interrupt`: the operation that a Ctrl-C comes in after it was carried out;
    `hook`: is called with the operation and `before` or `after`, when it is or was carried out, and may raise.
    """

    queues: dict[str, list[dict[str, Any]]]
    refuse_send: dict[str, str] = field(default_factory=dict)
    refuse_delete: dict[str, str] = field(default_factory=dict)
    raises: dict[str, Exception] = field(default_factory=dict)
    interrupt: str | None = None
    hook: Callable[[str, str], None] = lambda _operation, _moment: None
    sources: tuple[str, ...] = (SOURCE,)
    hidden: dict[str, dict[str, Any]] = field(default_factory=dict)
    repeats: list[list[dict[str, Any]]] = field(default_factory=list)
    comes_back: bool = False
    calls: list[str] = field(default_factory=list)
    meta: Any = field(default_factory=lambda: SimpleNamespace(endpoint_url="https://sqs"))

    def _called(self, operation: str) -> None:
        self.calls.append(operation)
        if operation in self.raises:
            raise self.raises[operation]
        self.hook(operation, "before")

    def _done(self, operation: str) -> None:
        self.hook(operation, "after")
        if operation == self.interrupt:
            raise KeyboardInterrupt

    def get_queue_url(self, QueueName: str) -> dict[str, str]:  # noqa: N803
        self._called("get_queue_url")
        self._done("get_queue_url")
        return {"QueueUrl": f"https://sqs/1/{QueueName}"}

    def get_paginator(self, _: str) -> FakeSqs:
        return self

    def paginate(self, **_: str) -> list[dict[str, list[str]]]:
        self._called("list_dead_letter_source_queues")
        return [{"queueUrls": [source]} for source in self.sources] or [{}]

    def receive_message(self, **asked: Any) -> dict[str, Any]:
        self._called("receive_message")
        assert asked["WaitTimeSeconds"] > 0, "short polling asks some of the servers only"
        lying = self.queues[asked["QueueUrl"]]
        some = [lying.pop(0) for _ in range(min(asked["MaxNumberOfMessages"], len(lying)))]
        some += self.repeats.pop(0) if self.repeats else []
        self.hidden |= {each["ReceiptHandle"]: each for each in some}
        self._done("receive_message")
        return {"Messages": some} if some else {}

    def change_message_visibility_batch(self, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803
        self._called("change_message_visibility_batch")
        assert len(Entries) <= 10
        answer: dict[str, Any] = {"Successful": [], "Failed": []}
        for each in Entries:
            assert each["VisibilityTimeout"] == 0
            if message := self.hidden.pop(each["ReceiptHandle"], None):
                self.queues[QueueUrl].append(message)
                answer["Successful"].append({"Id": each["Id"]})
            else:
                answer["Failed"].append({"Id": each["Id"], "Code": "InvalidParameterValue", "SenderFault": True})
        self._done("change_message_visibility_batch")
        return answer

    def send_message_batch(self, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803
        self._called("send_message_batch")
        assert 1 <= len(Entries) <= 10
        assert sum(map(entry_size, Entries)) <= LARGEST_MESSAGE
        answer: dict[str, Any] = {"Successful": [], "Failed": []}
        for each in Entries:
            why = next((why for word, why in self.refuse_send.items() if word in each["MessageBody"]), None)
            if why is None:
                attributes = {name: each[name] for name in ("MessageAttributes",) if name in each}
                self.queues[QueueUrl].append({"Body": each["MessageBody"], **attributes})
                answer["Successful"].append({"Id": each["Id"]})
                if self.comes_back:
                    again = received(
                        each["MessageBody"],
                        message_id=f"again-{each['Id']}-{len(self.calls)}",
                        failure_reason="rejected",
                    )
                    self.queues[DEAD].insert(0, again)
            elif why:
                answer["Failed"].append({"Id": each["Id"], "Code": why, "Message": "no", "SenderFault": True})
        self._done("send_message_batch")
        return answer

    def delete_message_batch(self, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803
        self._called("delete_message_batch")
        assert QueueUrl == DEAD
        answer: dict[str, Any] = {"Successful": [], "Failed": []}
        for each in Entries:
            # With the handle of an earlier receive SQS deletes nothing, and says that it did.
            body = self.hidden.get(each["ReceiptHandle"], {}).get("Body", "")
            why = next((why for word, why in self.refuse_delete.items() if word in body), None)
            if why is None:
                self.hidden.pop(each["ReceiptHandle"], None)
                answer["Successful"].append({"Id": each["Id"]})
            else:
                answer["Failed"].append({"Id": each["Id"], "Code": why, "Message": "no", "SenderFault": False})
        self._done("delete_message_batch")
        return answer

    @property
    def left(self) -> list[str]:
        """The ids of what lies in the dead-letter queue for all to see; nothing may be hidden any more."""
        assert not self.hidden
        return sorted(each["MessageId"] for each in self.queues[DEAD])

    @property
    def sent(self) -> list[dict[str, Any]]:
        return [json.loads(each["Body"]) for each in self.queues[SOURCE]]


def stop(number: int, **more: Any) -> dict[str, Any]:
    return STOP | {"targets": [f"device-{number}-"], "command_id": f"c-{number}"} | more


def fresh(count: int) -> list[dict[str, Any]]:
    """Messages m-1, m-2, … of just now."""
    return [
        received(stop(number), message_id=f"m-{number}", stamped=datetime.now(UTC)) for number in range(1, count + 1)
    ]


def expired(number: int, task_id: str = BATCH.task_id) -> dict[str, Any]:
    return received(stop(number, task_id=task_id), message_id=f"m-{number}", stamped=NOW - timedelta(days=400))


def world(*messages: dict[str, Any], **more: Any) -> FakeSqs:
    return FakeSqs({DEAD: list(messages), SOURCE: []}, **more)


def refused(operation: str, code: str, status: int = 400) -> ClientError:
    metadata: Any = {"HTTPStatusCode": status, "RetryAttempts": 0}
    return ClientError({"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": metadata}, operation)


HERE = {"would move", "would renew and move", "would ask: it has expired", "stays", "FAILED", "not reached"}
MOVED = {"moved", "renewed and moved"}
DOUBT = "IN DOUBT"
ALL = {f"m-{number}" for number in range(1, 15)}
"""Of them m-13 has expired and m-14 is no command; both stay."""


def letters() -> list[dict[str, Any]]:
    return [*fresh(12), expired(13), received("no JSON", message_id="m-14")]


@dataclass(frozen=True)
class Ended:
    """How a run ended: `said` is what it says became of each message."""

    status: int
    out: str
    err: str

    @property
    def said(self) -> dict[str, str]:
        if self.out.startswith("{"):
            return {each["message_id"]: each["done"] for each in json.loads(self.out)["messages"]}
        return dict(
            re.findall(
                r"^(m-\d+)  .*\n(?: {4}.*\n)*? {4}-> (would ask: it has expired|[^:\n]*)",
                self.out + self.err,
                re.MULTILINE,
            )
        )

    @property
    def counts(self) -> dict[str, int]:
        lines = re.findall(r"^\d+ messages: (.*)$", self.err, re.MULTILINE)
        if self.saw_nothing:
            assert not lines
            return {}
        [line] = lines
        counts = (
            {}
            if line.startswith("none")
            else {each.split(" ", 1)[1]: int(each.split(" ")[0]) for each in line.split(", ")}
        )
        assert sum(counts.values()) == int(re.findall(r"^(\d+) messages:", self.err, re.MULTILINE)[0])
        return counts

    @property
    def saw_nothing(self) -> bool:
        """Whether it failed before it saw a message: then it says why, and counts nothing."""
        return bool(re.search(r"^.+\nnothing was moved$", self.err, re.MULTILINE))

    @property
    def in_doubt(self) -> set[str]:
        found = re.findall(r"^in doubt, may be in both queues and so come twice: (.*)$", self.err, re.MULTILINE)
        return set(found[0].split(", ")) if found else set()


def check(sqs: FakeSqs, ended: Ended, *, applied: bool) -> None:
    """The report is the truth of the queues."""
    hidden = {each["MessageId"] for each in sqs.hidden.values()}
    here = {each["MessageId"] for each in sqs.queues[DEAD]} | hidden
    sent = Counter(json.loads(each["Body"])["command_id"].replace("c", "m") for each in sqs.queues[SOURCE])
    assert here | sent.keys() == ALL, "nothing is lost"
    assert set(sent.values()) <= {1}
    counts, said = ended.counts, ended.said
    for message_id, done in said.items():
        if done in MOVED:
            assert (message_id in here, sent[message_id]) == (False, 1)
        elif done in HERE:
            assert (message_id in here, sent[message_id]) == (True, 0), done
        else:
            assert done == DOUBT
    assert {each for each, done in said.items() if done in MOVED} | ended.in_doubt >= sent.keys()
    assert sum(done in MOVED for done in said.values()) == sum(counts.get(done, 0) for done in MOVED)
    assert {each for each, done in said.items() if done == DOUBT} == ended.in_doubt
    assert counts.get(DOUBT, 0) == len(ended.in_doubt)
    assert counts.keys() <= {*HERE, *MOVED, DOUBT}
    if applied and not ended.saw_nothing:
        moved, left, missed, doubted = map(
            int,
            re.findall(r"^moved (\d+), left (\d+), not reached (\d+), in doubt (\d+)$", ended.err, re.MULTILINE)[0],
        )
        assert (moved, doubted) == (sum(counts.get(done, 0) for done in MOVED), len(ended.in_doubt))
        assert missed == counts.get("not reached", 0)
        assert moved + left + missed + doubted == sum(counts.values())
    else:
        assert "nothing was moved" in ended.err
    found = re.findall(
        r"^(\d+) messages(, and up to 10 .*,)? may stay hidden in the dead-letter queue until ", ended.err, re.MULTILINE
    )
    number, more = found[0] if found else (0, "")
    assert len(hidden) <= int(number) + (10 if more else 0)


@contextmanager
def served(sqs: FakeSqs) -> Iterator[str]:
    """The same over HTTP, in the JSON protocol of SQS. What `sqs` raises that is no refusal closes the connection."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            operation = self.headers["X-Amz-Target"].partition(".")[2]
            status = 200
            try:
                answer = _answer(sqs, operation, asked)
            except ClientError as error:
                status = error.response["ResponseMetadata"]["HTTPStatusCode"]
                answer = {"__type": error.response["Error"]["Code"], "message": error.response["Error"]["Message"]}
            except Exception:  # noqa: BLE001 - whatever it is, the answer is lost
                self.close_connection = True
                return
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.0")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            pass  # the command has gone away, which is what is tested

    with Quiet(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def _answer(sqs: FakeSqs, operation: str, asked: dict[str, Any]) -> dict[str, Any]:
    if operation == "ListDeadLetterSourceQueues":
        return sqs.get_paginator("list_dead_letter_source_queues").paginate()[0]
    operations: dict[str, Callable[..., dict[str, Any]]] = {
        "GetQueueUrl": sqs.get_queue_url,
        "ReceiveMessage": sqs.receive_message,
        "ChangeMessageVisibilityBatch": sqs.change_message_visibility_batch,
        "SendMessageBatch": sqs.send_message_batch,
        "DeleteMessageBatch": sqs.delete_message_batch,
    }
    return operations[operation](**asked)

"""`python -m local.demo`: the whole of Stopline on this machine, from messages to outcomes, and whether it is right.

The artifact that is deployed, the template that is deployed, stand-ins for AWS and for Huawei Cloud, and the messages
of `events/`: commands through the queues and the topic, a sweep as a timer starts it, a command through the state
machine. The exit status is 0 only if every command came to what the contract says, Huawei Cloud saw only
what it may see, what could not be understood lies in the dead-letter queues with its body intact, and nothing is left
in the queues; else it is 1, and what differs is printed. Ctrl-C ends it with 130 and leaves nothing behind.

`--json` prints the result on standard output and everything else on standard error.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import signal
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import batched
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from local.build import BuildFailed, build
from local.huawei import PROJECT_ID, AccessKey, HuaweiStandIn
from local.messages import (
    SWEEP_FINDS,
    Message,
    folding_messages,
    other_messages,
    scenario,
    sweep_message,
    workflow_message,
)
from local.report import DeadLetter, HuaweiSaw, Result, Seen, Workflow, show
from local.stack import LocalStack, StackFailed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from local.huawei import Record

TIME_LIMIT: Final = 90.0
"""Seconds from the first message until every outcome must be there, unless the command line says otherwise."""

TARGETS_A_CALL: Final = 100
MESSAGES_A_DELIVERY: Final = 10  # of the stand-in; AWS would wait a second and hand over all of them

_QUEUES: Final = ("StopTaskQueue", "StopTargetsQueue")
_DEAD_LETTER_QUEUES: Final = ("StopTaskDeadLetterQueue", "StopTargetsDeadLetterQueue")
_FUNCTIONS: Final = ("StopTaskFunction", "StopTargetsFunction", "SweepStaleTasksFunction", "StopInWorkflowFunction")
_STOPS: Final = ("stop_check_task", "stop_batch_task")
_INTERRUPTED: Final = 130


class Demo:
    """One run. `console` is for people: a live bar if it is a terminal, else plain lines."""

    def __init__(self, console: Console, *, time_limit: float) -> None:
        self._console = console
        self._time_limit = time_limit
        self._result = Result()
        self._sent: dict[str, tuple[Message, float]] = {}
        self._events: dict[str, list[dict[str, Any]]] = {}
        self._final_at: dict[str, float] = {}
        self._reports: list[dict[str, Any]] = []

    def run(self) -> Result:
        """Build, deploy, send, watch and compare. Raises `BuildFailed` or `StackFailed`."""
        with self._step("build the artifact"):
            artifact = build("host")
        with HuaweiStandIn(scenario()) as huawei, self._started(LocalStack()) as stack:
            with self._step("deploy the template"):
                stack.deploy(
                    artifact,
                    parameters={
                        "HuaweiRegion": "cn-north-4",
                        "HuaweiProjectId": PROJECT_ID,
                        "CodeArtsCheckEndpoint": huawei.endpoint,
                        "IotdaEndpoint": huawei.endpoint,
                    },
                    environment={
                        "HUAWEICLOUD_SDK_AK": AccessKey().ak,
                        "HUAWEICLOUD_SDK_SK": AccessKey().sk,
                        "HUAWEICLOUD_KEYS_IN_ENVIRONMENT": "true",
                    },
                )
            with self._step("stop the work"), ThreadPoolExecutor(max_workers=1) as beside:
                self._send_all(stack)
                self._sweep(stack, sweep_message())
                workflow = beside.submit(self._run_workflow, stack, workflow_message())
                self._watch(stack)
                workflow.result()
            self._take_stock(stack, huawei)
        return self._result

    @contextmanager
    def _started(self, stack: LocalStack) -> Iterator[LocalStack]:
        with ExitStack() as ending:
            with self._step("start the services"):
                ending.enter_context(stack)
            yield stack

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self._result.seconds[name] = round(time.monotonic() - started, 2)
        self._console.print(f"{name}: {self._result.seconds[name]:.1f} s")

    def _send_all(self, stack: LocalStack) -> None:
        # A batching window would gather these on AWS; here the function is held back until all of them are there.
        stack.listen("StopTargetsFunction", enabled=False)
        self._send(stack, folding_messages())
        stack.listen("StopTargetsFunction", enabled=True)
        self._send(stack, other_messages())

    def _sweep(self, stack: LocalStack, message: Message) -> None:
        self._sent[message.command_id or ""] = (message, time.monotonic())
        self._result.sweep = stack.invoke(message.way, json.loads(message.body))

    def _run_workflow(self, stack: LocalStack, message: Message) -> None:
        self._sent[message.command_id or ""] = (message, time.monotonic())
        execution = stack.run_workflow(json.loads(message.body))
        self._result.workflow = Workflow(execution.status, execution.states, execution.output)

    def _send(self, stack: LocalStack, messages: Sequence[Message]) -> None:
        for way in dict.fromkeys(message.way for message in messages):
            of_this_way = [message for message in messages if message.way == way]
            for some in batched(of_this_way, 10, strict=False):
                entries = {str(number): message for number, message in enumerate(some)}
                at = time.monotonic()
                if way == "StopCommandsTopic":
                    published = stack.sns.publish_batch(
                        TopicArn=stack.resources[way],
                        PublishBatchRequestEntries=[{"Id": key, "Message": each.body} for key, each in entries.items()],
                    )
                    ids = {entry["Id"]: entry["MessageId"] for entry in published["Successful"]}
                else:
                    sent = stack.sqs.send_message_batch(
                        QueueUrl=stack.resources[way],
                        Entries=[{"Id": key, "MessageBody": each.body} for key, each in entries.items()],
                    )
                    ids = {entry["Id"]: entry["MessageId"] for entry in sent["Successful"]}
                for key, message in entries.items():
                    self._sent[message.command_id or ids[key]] = (message, at)

    def _watch(self, stack: LocalStack) -> None:
        give_up_at = time.monotonic() + self._time_limit
        with Progress(
            TextColumn("[progress.description]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
            transient=True,
        ) as bar:
            task = bar.add_task("commands that have ended", total=len(self._sent))
            while self._pending() and time.monotonic() < give_up_at:
                before = len(self._final_at)
                self._receive_events(stack, wait=1)
                bar.update(task, completed=len(self._final_at))
                if not self._console.is_terminal and len(self._final_at) > before:
                    self._console.print(f"  {len(self._final_at)} of {len(self._sent)} commands have ended")
        # An event comes before its message is acknowledged, so the queues may need a moment more.
        while (left := stack.left_in(*_QUEUES)) and time.monotonic() < give_up_at:
            self._result.left = left
            time.sleep(0.05)
        self._result.left = left
        while self._receive_events(stack, wait=0):
            pass

    def _pending(self) -> set[str]:
        return self._sent.keys() - self._final_at.keys()

    def _receive_events(self, stack: LocalStack, *, wait: int) -> int:
        received = stack.sqs.receive_message(
            QueueUrl=stack.outcome_queue_url, MaxNumberOfMessages=10, WaitTimeSeconds=wait
        ).get("Messages", [])
        for message in received:
            event = json.loads(message["Body"])
            outcome = event["detail"]
            if event["detail-type"] == "Sweep Completed":
                self._reports.append(outcome)
                continue
            command_id = outcome["command_id"]
            self._events.setdefault(command_id, []).append(outcome)
            if outcome["status"] != "in_progress":
                self._final_at.setdefault(command_id, time.monotonic())
        if received:
            stack.sqs.delete_message_batch(
                QueueUrl=stack.outcome_queue_url,
                Entries=[{"Id": each["MessageId"], "ReceiptHandle": each["ReceiptHandle"]} for each in received],
            )
        return len(received)

    def _take_stock(self, stack: LocalStack, huawei: HuaweiStandIn) -> None:
        result = self._result
        records = huawei.log()
        result.commands = [self._seen(command_id, records) for command_id in self._sent]
        result.huawei = _what_huawei_saw(huawei, records)
        sent_bodies = {message.body for message, _ in self._sent.values()}
        result.dead_letters = _dead_letters(stack, sent_bodies)
        result.differences = [
            *(text for seen in result.commands for text in self._differences_of(seen)),
            *(f"{command_id}: no such command was sent" for command_id in self._events.keys() - self._sent.keys()),
            *_differences_at_huawei(result.huawei, records, [message for message, _ in self._sent.values()]),
            *self._differences_set_aside(),
            *self._differences_of_the_sweep(),
            *self._differences_of_the_workflow(),
            *(f"{queue}: {count} messages are left" for queue, count in result.left.items()),
        ]
        if result.differences:
            result.log = {function: _complaints(stack.log_lines(function)) for function in _FUNCTIONS}
            result.log["the services"] = stack.complaints()

    def _seen(self, command_id: str, records: Sequence[Record]) -> Seen:
        message, sent_at = self._sent[command_id]
        events = self._events.get(command_id, [])
        final = next((event for event in events if event["status"] != "in_progress"), None)
        at = self._final_at.get(command_id)
        return Seen(
            title=message.title,
            command_id=command_id,
            expected=message.expected,
            status=None if final is None else final["status"],
            tally={} if final is None else {result: count for result, count in final["tally"].items() if count},
            events=len(events),
            calls=sum(_is_a_stop_of(message, record) for record in records),
            seconds=None if at is None else round(at - sent_at, 3),
        )

    def _differences_of(self, seen: Seen) -> Iterator[str]:
        message, _ = self._sent[seen.command_id]
        events = self._events.get(seen.command_id, [])
        if seen.status is None:
            yield f"{seen.command_id}: no final event came ({message.title})"
            return
        for what, expected, found in (
            ("status", seen.expected.status, seen.status),
            ("tally", dict(seen.expected.tally), seen.tally),
            ("events", seen.expected.events, seen.events),
            ("stop calls", seen.expected.calls, seen.calls),
            ("final events", 1, sum(event["status"] != "in_progress" for event in events)),
            ("confirmed", {seen.expected.confirmed}, {e["confirmed"] for e in events if e["status"] != "in_progress"}),
        ):
            if expected != found:
                yield f"{seen.command_id}: {what} {expected} expected, {found} found"
        results = Counter(result["target"] for event in events for result in event["results"])
        if seen.expected.tally and results != Counter(message.targets):
            yield f"{seen.command_id}: not every target has exactly one result"

    def _differences_set_aside(self) -> Iterator[str]:
        found = Counter(letter.body for letter in self._result.dead_letters)
        expected = Counter(message.body for message, _ in self._sent.values() if message.expected.set_aside)
        if found != expected:
            yield f"dead-letter queues: {expected.total()} messages expected, {found.total()} found, or not the same"
        for letter in self._result.dead_letters:
            if not letter.intact or not letter.failure_reason:
                yield f"{letter.queue}: a body that was changed, or no failure_reason: {letter.body[:60]!r}"

    def _differences_of_the_sweep(self) -> Iterator[str]:
        answer = self._result.sweep
        if self._reports != [answer]:
            yield f"the sweep: {len(self._reports)} reports on the bus, or not what it answered"
        for name, expected in SWEEP_FINDS.items():
            if answer[name] != expected:
                yield f"the sweep: {name} {expected} expected, {answer[name]} found"

    def _differences_of_the_workflow(self) -> Iterator[str]:
        ran = self._result.workflow
        if ran is None or ran.status != "SUCCEEDED" or ran.output["status"] != "succeeded":
            yield f"the workflow: success expected, {ran} found"


def _differences_at_huawei(saw: HuaweiSaw, records: Sequence[Record], messages: Sequence[Message]) -> Iterator[str]:
    for violation, count in saw.violations.items():
        yield f"Huawei Cloud: {violation} ({count} times)"
    if saw.authentication_failures:
        yield f"Huawei Cloud: {saw.authentication_failures} requests with a wrong signature"
    stopped = {target for message in messages if "stopped" in message.expected.tally for target in message.targets}
    if set(saw.running) != _running_at_first() - stopped:
        yield f"Huawei Cloud: {len(_running_at_first() - stopped)} were to run on, {len(saw.running)} do, or others"
    folding = folding_messages()
    calls = sum(record.operation == "stop_batch_task" and record.task_id == folding[0].task_id for record in records)
    if calls != _calls_for(folding):
        yield f"Huawei Cloud: {_calls_for(folding)} calls for the {len(folding)} messages together, {calls} found"


def _calls_for(messages: Sequence[Message]) -> int:
    """Count the calls that messages of one task fold into, delivered in the order in which they were sent."""
    deliveries = batched(messages, MESSAGES_A_DELIVERY, strict=False)
    return sum(
        math.ceil(len({target for each in delivery for target in each.targets}) / TARGETS_A_CALL)
        for delivery in deliveries
    )


def _running_at_first() -> set[str]:
    start = scenario()
    checks = {task.task_id for task in start.check_tasks}
    named = {target for task in start.batch_tasks for target in task.targets}
    return checks | named | {target for task in start.batch_tasks for target in _processing(task.subtasks)}


def _processing(subtasks: Mapping[str, str]) -> set[str]:
    return {target for target, status in subtasks.items() if status == "Processing"}


def _is_a_stop_of(message: Message, record: Record) -> bool:
    if record.operation not in _STOPS or record.task_id != message.task_id:
        return False
    return record.operation == "stop_check_task" or not record.targets or not message.targets.isdisjoint(record.targets)


def _what_huawei_saw(huawei: HuaweiStandIn, records: Sequence[Record]) -> HuaweiSaw:
    summary = huawei.summary()
    state = huawei.state()
    running = {task_id for task_id, status in state.check_tasks.items() if status == "checking"}
    running |= {target for task_id in state.batch_tasks for target in _processing(huawei.subtasks(task_id))}
    return HuaweiSaw(
        requests=dict(Counter(record.operation for record in records)),
        targets_a_call=[len(record.targets) for record in records if record.operation == "stop_batch_task"],
        signatures=dict(Counter(record.signing or "none" for record in records)),
        authentication_failures=summary.authentication_failures,
        violations=summary.violations,
        running=sorted(running),
    )


def _dead_letters(stack: LocalStack, sent_bodies: set[str]) -> list[DeadLetter]:
    letters = []
    for queue in _DEAD_LETTER_QUEUES:
        while messages := stack.sqs.receive_message(
            QueueUrl=stack.resources[queue], MaxNumberOfMessages=10, MessageAttributeNames=["All"]
        ).get("Messages"):
            for message in messages:
                reason = message.get("MessageAttributes", {}).get("failure_reason")
                letters.append(
                    DeadLetter(
                        queue=queue,
                        body=message["Body"],
                        failure_reason=None if reason is None else reason.get("StringValue"),
                        intact=message["Body"] in sent_bodies,
                    )
                )
    return letters


def _complaints(lines: Sequence[str]) -> list[str]:
    """Return the lines that may say what went wrong: not those of level INFO, metrics, or Lambda's own."""
    others = ("START", "END", "REPORT", '{"_aws"')
    return [line for line in lines if '"level":"INFO"' not in line and not line.startswith(others)]


def _terminated(number: int, frame: object) -> None:  # noqa: ARG001 — the signature is Python's
    sys.exit(128 + number)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo as the command line says; give the exit status."""
    parser = argparse.ArgumentParser(prog="python -m local.demo", description="Stopline on this machine, checked.")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--time-limit", type=float, default=TIME_LIMIT, help="seconds for all outcomes to come")
    asked = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _terminated)
    console = Console(stderr=asked.json, width=None if sys.stdout.isatty() else 140, highlight=False)
    try:
        result = Demo(console, time_limit=asked.time_limit).run()
    except (BuildFailed, StackFailed) as failure:
        console.print(str(failure), style="red", markup=False)
        return 1
    except KeyboardInterrupt:
        console.print("interrupted; everything has been stopped")
        return _INTERRUPTED
    show(result, console)
    if asked.json:
        print(json.dumps(dataclasses.asdict(result), indent=2))
    return 1 if result.differences else 0


if __name__ == "__main__":
    sys.exit(main())

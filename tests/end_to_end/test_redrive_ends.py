"""Redrive as a process of its own: signals, closed pipes and consoles as a shell has them."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pytest

from tests.dead_letters import Ended, FakeSqs, check, expired, letters, received, refused, served, stop, world

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.enable_socket  # loop-back only

ROOT = Path(__file__).parent.parent.parent
LONG_ENOUGH = 30
OPERATIONS = (
    "get_queue_url",
    "receive_message",
    "send_message_batch",
    "delete_message_batch",
    "change_message_visibility_batch",
)


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "local.redrive", "--queue", "stop-dead-letter", "--to", "stop", *arguments]


def environment(endpoint: str, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "COMMAND_", "PYTHON"))}
    return kept | {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "NO_PROXY": "127.0.0.1",
        **more,
    }


@dataclass
class At:
    """Does something once, when an operation was carried out for the `turn`th time and its answer is on the way."""

    operation: str
    do: Callable[[], None]
    turn: int = 1
    seen: int = field(default=0)

    def __call__(self, operation: str, moment: str) -> None:
        if (operation, moment) == (self.operation, "after"):
            self.seen += 1
            if self.seen == self.turn:
                self.do()


@contextmanager
def started(sqs: FakeSqs, *arguments: str, stdout: int | IO[bytes] = subprocess.PIPE, **more: str) -> Iterator[Any]:
    with (
        served(sqs) as endpoint,
        subprocess.Popen(
            command(*arguments),
            cwd=ROOT,
            env=environment(endpoint, **more),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def ended(process: subprocess.Popen[bytes]) -> Ended:
    out, err = process.communicate(timeout=LONG_ENOUGH)
    return Ended(process.returncode, (out or b"").decode(), err.decode())


def wait_until(condition: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + LONG_ENOUGH
    while not condition():
        assert time.monotonic() < give_up_at, "it never came true"
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("operation", "name", "status"),
    [
        *((operation, "SIGINT", 130) for operation in OPERATIONS),
        ("send_message_batch", "SIGTERM", 143),
        ("receive_message", "SIGHUP", 129),
    ],
)
def test_a_signal_lets_the_call_under_way_finish_and_leaves_nothing_in_doubt(
    operation: str, name: str, status: int
) -> None:
    sqs = world(*letters())
    turn = 2 if operation in {"receive_message", "change_message_visibility_batch"} else 1
    with started(sqs, "--apply") as process:

        def interrupt() -> None:
            process.send_signal(signal.Signals[name])
            time.sleep(0.2)

        sqs.hook = At(operation, interrupt, turn)
        end = ended(process)
    check(sqs, end, applied=True)
    assert (end.status, sqs.hidden, end.in_doubt) == (status, {}, set())
    assert "interrupted" in end.err
    assert "Traceback" not in end.err
    moved = {"send_message_batch": 10, "delete_message_batch": 10}.get(operation, 0)
    assert f"moved {moved}, left" in end.err


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_second_signal_ends_it_at_once_and_says_what_is_known(operation: str) -> None:
    sqs = world(*letters())
    with started(sqs, "--apply", "--json") as process:

        def interrupt_twice() -> None:
            process.send_signal(signal.SIGINT)
            time.sleep(0.5)
            process.send_signal(signal.SIGINT)
            process.wait(LONG_ENOUGH)

        sqs.hook = At(operation, interrupt_twice)
        end = ended(process)
    check(sqs, end, applied=True)
    assert end.status == 130
    assert json.loads(end.out)["error"] == "interrupted"
    doubted = {"send_message_batch": 10, "delete_message_batch": 10}.get(operation, 0)
    assert len(end.in_doubt) == doubted
    if operation == "receive_message":
        assert "0 messages, and up to 10 whose answer was lost, may stay hidden" in end.err
    elif operation != "get_queue_url":
        held = 14 if operation == "change_message_visibility_batch" else 10
        assert f"{held} messages may stay hidden in the dead-letter queue until" in end.err


@pytest.mark.parametrize("arguments", [(), ("--json",), ("--apply",), ("--apply", "--json")], ids=" ".join)
def test_a_closed_pipe_ends_it_with_141_and_a_summary_on_standard_error(arguments: tuple[str, ...]) -> None:
    sqs = world(*letters())
    reader, writer = os.pipe()
    os.close(reader)
    try:
        with started(sqs, *arguments, stdout=writer) as process:
            end = ended(process)
    finally:
        os.close(writer)
    check(sqs, end, applied="--apply" in arguments)
    assert (end.status, sqs.hidden, end.in_doubt) == (141, {}, set())
    assert "standard output could not be written: [Errno 32] Broken pipe" in end.err
    assert "Exception ignored" not in end.err


def test_head_ends_it_between_two_batches() -> None:
    sqs = world(*letters())
    sqs.hook = At("receive_message", lambda: time.sleep(0.5), 2)  # time for `head` to end
    with served(sqs) as endpoint:
        line = " ".join(command())
        script = f"{line} | head -1; exit ${{PIPESTATUS[0]}}"
        done = subprocess.run(
            ["/bin/bash", "-c", script],
            cwd=ROOT,
            env=environment(endpoint),
            capture_output=True,
            text=True,
            check=False,
            timeout=LONG_ENOUGH,
        )
    check(sqs, Ended(done.returncode, "", done.stderr), applied=False)
    assert (done.returncode, sqs.hidden) == (141, {})
    assert done.stdout.startswith("m-1  ")
    assert "14 messages: " in done.stderr


def test_both_outputs_closed_is_no_traceback_and_no_loss() -> None:
    sqs = world(*letters())
    reader, writer = os.pipe()
    os.close(reader)
    with served(sqs) as endpoint:
        done = subprocess.run(
            command("--apply"), cwd=ROOT, env=environment(endpoint), stdout=writer, stderr=writer, check=False
        )
    os.close(writer)
    assert (done.returncode, sqs.hidden) == (141, {})
    assert len(sqs.sent) in {0, 10}


def test_a_full_disk_ends_it_with_1() -> None:
    sqs = world(*letters())
    with Path("/dev/full").open("wb") as full, started(sqs, "--apply", stdout=full) as process:
        end = ended(process)
    check(sqs, end, applied=True)
    assert (end.status, sqs.hidden, end.in_doubt) == (1, {}, set())
    assert "standard output could not be written: [Errno 28]" in end.err


@pytest.mark.parametrize("closed", ["1>&-", "2>&-", "<&-", "1>&- 2>&- <&-"])
def test_outputs_that_were_closed_from_the_start_keep_nothing_from_being_moved(closed: str) -> None:
    sqs = world(*letters())
    with served(sqs) as endpoint:
        done = subprocess.run(
            ["/bin/bash", "-c", f"{' '.join(command('--apply'))} {closed}"],
            cwd=ROOT,
            env=environment(endpoint),
            capture_output=True,
            check=False,
            timeout=LONG_ENOUGH,
        )
    assert (done.returncode, sqs.left) == (1 if "1>" in closed else 0, ["m-13", "m-14"])
    assert done.stdout == b"" if "1>" in closed else b"m-12  " in done.stdout
    if "1>" in closed and "2>" not in closed:
        assert b"m-12  " in done.stderr


HOSTILE = "caf\u00e9 \U0001f680 \u202e \x1b]0;title\x07 \x9b2J \x7f \r\n\ud800 \uffff"


@pytest.mark.parametrize(
    ("encoding", "arguments"), [*((each, ()) for each in ("ascii:strict", "cp1252", "utf-8")), ("ascii", ("--json",))]
)
def test_whatever_is_in_a_message_a_console_shows_it_escaped(encoding: str, arguments: tuple[str, ...]) -> None:
    sqs = world(received(HOSTILE, failure_reason=f"rejected: {HOSTILE}"))
    with started(sqs, *arguments, PYTHONIOENCODING=encoding) as process:
        out, err = process.communicate(timeout=LONG_ENOUGH)
    assert process.returncode == 0, err
    assert "1 messages: 1 stays" in err.decode(encoding.removesuffix(":strict"), "replace")
    text = out.decode(encoding.removesuffix(":strict"))
    assert text.replace("\r\n", "").replace("\n", "").isprintable()
    if arguments:
        assert json.loads(text)["messages"][0]["body"] == HOSTILE
    else:
        assert "\\x1b]0;title\\x07 \\x9b2J \\x7f \\r\\n\\ud800 \\uffff" in text
        assert ("caf\u00e9" if encoding != "ascii:strict" else "caf\\xe9") in text
        assert ("\U0001f680" if encoding == "utf-8" else "\\U0001f680") in text


@contextmanager
def at_a_terminal(sqs: FakeSqs, **more: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The command with a terminal to ask at, once it has asked."""
    ours, theirs = pty.openpty()
    try:
        with (
            served(sqs) as endpoint,
            subprocess.Popen(
                command("--apply"),
                cwd=ROOT,
                env=environment(endpoint, **more),
                stdin=theirs,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            ) as process,
        ):
            os.close(theirs)
            assert process.stderr
            asked = b""
            while not asked.endswith(b"[y/N] "):
                some = os.read(process.stderr.fileno(), 1000)
                assert some, asked
                asked += some
            try:
                yield process, ours
            finally:
                process.kill()
    finally:
        os.close(ours)


def test_ctrl_c_at_the_question_ends_it_with_nothing_moved_and_nothing_hidden() -> None:
    sqs = world(expired(1), expired(2))
    with at_a_terminal(sqs) as (process, _):
        assert not sqs.hidden
        process.send_signal(signal.SIGINT)
        end = ended(process)
    assert (end.status, sqs.left, sqs.sent) == (130, ["m-1", "m-2"], [])
    assert "\n2 messages: 2 would ask: it has expired\n" in end.err
    assert "moved 0, left 2, not reached 0, in doubt 0" in end.err


@pytest.mark.parametrize("answer", [b"\x04", b"\n", b"\xff\xc3\n", b"no\n"], ids=repr)
def test_whatever_is_no_yes_at_the_question_leaves_what_has_expired(answer: bytes) -> None:
    sqs = world(expired(1))
    with at_a_terminal(sqs, PYTHONIOENCODING="ascii:strict") as (process, terminal):
        os.write(terminal, answer)
        end = ended(process)
    assert (end.status, sqs.left, sqs.sent) == (0, ["m-1"], [])
    assert end.err.endswith("1 messages: 1 stays\nmoved 0, left 1, not reached 0, in doubt 0\n")
    assert end.err.lstrip("\n").startswith("moving to")
    assert answer != b"\x04" or end.err.startswith("\n"), "Ctrl-D leaves the cursor behind the question"


def test_a_terminal_that_goes_away_is_no_yes() -> None:
    sqs = world(expired(1))
    with at_a_terminal(sqs) as (process, terminal):
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, terminal)  # closes it
        os.close(null)
        end = ended(process)
    assert (end.status, sqs.left, sqs.sent) == (0, ["m-1"], [])


def test_an_answer_that_is_lost_after_sqs_took_the_messages_leaves_them_in_doubt() -> None:
    def lose() -> None:
        raise ConnectionError

    sqs = world(*letters())
    sqs.hook = At("send_message_batch", lose)
    with started(sqs, "--apply") as process:
        end = ended(process)
    check(sqs, end, applied=True)
    assert (end.status, sqs.hidden) == (1, {})
    assert end.in_doubt == {f"m-{number}" for number in range(1, 11)}
    assert "Connection was closed" in end.err


@pytest.mark.parametrize("turn", [1, 2, 4])
def test_an_answer_that_is_lost_after_sqs_handed_out_messages_is_reported(turn: int) -> None:
    def lose() -> None:
        raise ConnectionError

    sqs = world(*letters())
    sqs.hook = At("receive_message", lose, turn)
    with started(sqs, "--apply", "--json") as process:
        end = ended(process)
    check(sqs, end, applied=True)
    assert (end.status, json.loads(end.out)["hidden"]["perhaps_more"]) == (1, True)
    assert 0 < len(sqs.hidden) <= 10


def test_a_service_that_is_unavailable_is_asked_once() -> None:
    sqs = world(*letters(), raises={"send_message_batch": refused("send_message_batch", "ServiceUnavailable", 503)})
    with started(sqs, "--apply") as process:
        end = ended(process)
    check(sqs, end, applied=True)
    assert (end.status, sqs.calls.count("send_message_batch"), len(end.in_doubt)) == (1, 1, 10)


@contextmanager
def stopped_reader() -> Iterator[int]:
    """A pipe that is full, and that nobody reads."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writer, bytes(4096))
    os.set_blocking(writer, True)
    try:
        yield writer
    finally:
        os.close(reader)
        os.close(writer)


def sleeps_in_a_write(process: subprocess.Popen[bytes]) -> bool:
    """Whether the process hangs in a `write` to its standard output."""
    return Path(f"/proc/{process.pid}/syscall").read_text().startswith("1 0x1 ")


@pytest.mark.parametrize(
    ("arguments", "signals"), [((), 1), (("--json",), 2), (("--apply", "--json"), 2)], ids=["look", "json", "move"]
)
def test_signals_end_it_with_a_summary_though_its_reader_has_stopped(arguments: tuple[str, ...], signals: int) -> None:
    sqs = world(*letters())
    with stopped_reader() as writer, started(sqs, *arguments, stdout=writer) as process:
        wait_until(lambda: sleeps_in_a_write(process))
        for number in range(signals):
            time.sleep(0.3 * number)
            process.send_signal(signal.SIGINT)
        end = ended(process)
    check(sqs, end, applied="--apply" in arguments)
    assert (end.status, sqs.hidden, end.in_doubt) == (130, {}, set())


def test_a_third_signal_ends_it_though_no_reader_takes_its_summary() -> None:
    sqs = world(*letters())
    with (
        stopped_reader() as writer,
        served(sqs) as endpoint,
        subprocess.Popen(
            command("--json"),
            cwd=ROOT,
            env=environment(endpoint),
            stdin=subprocess.DEVNULL,
            stdout=writer,
            stderr=writer,
        ) as process,
    ):
        try:
            wait_until(lambda: sleeps_in_a_write(process))
            for _ in range(3):
                assert process.poll() is None
                process.send_signal(signal.SIGINT)
                time.sleep(0.3)
            assert process.wait(LONG_ENOUGH) == -signal.SIGINT
        finally:
            process.kill()


def test_a_refusal_midway_leaves_nothing_in_doubt() -> None:
    def refuse(operation: str, moment: str) -> None:
        if (operation, moment) == ("send_message_batch", "before") and sqs.sent:
            raise refused(operation, "AccessDenied", 403)

    sqs = world(*letters())
    sqs.hook = refuse
    with started(sqs, "--apply") as process:
        end = ended(process)
    check(sqs, end, applied=True)
    assert (end.status, sqs.hidden, end.in_doubt) == (1, {}, set())
    assert "moved 10, left 4, not reached 0, in doubt 0" in end.err
    assert end.said["m-11"] == "FAILED"


def test_an_answer_that_is_none_is_reported_with_what_was_moved() -> None:
    class Odd(FakeSqs):
        def receive_message(self, **asked: Any) -> dict[str, Any]:
            answer = super().receive_message(**asked)
            return {"Messages": [{"Body": "x"}]} if self.sent else answer

    sqs = Odd(world(*letters()).queues)
    with started(sqs, "--apply") as process:
        end = ended(process)
    assert end.status == 1
    assert "moved 10, left 0, not reached 4, in doubt 0" in end.err
    assert "unexpected KeyError" in end.err
    assert "up to 10 whose answer was lost, may stay hidden" in end.err


@pytest.mark.parametrize("module", ["argparse", "boto3"])
def test_ctrl_c_while_it_starts_is_no_traceback(tmp_path: Path, module: str) -> None:
    """`argparse` is the first of the imports that take a while."""
    (tmp_path / f"{module}.py").write_text("import time\nprint('importing', flush=True)\ntime.sleep(60)\n")
    sqs = world()
    with started(sqs, PYTHONPATH=str(tmp_path)) as process:
        assert process.stdout
        assert process.stdout.readline() == b"importing\n"
        process.send_signal(signal.SIGINT)
        end = ended(process)
    assert (end.status, end.err) == (130, "interrupted; nothing was under way\n")


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    sqs = world(received(stop(1), stamped=datetime.now(UTC)))
    with served(sqs) as endpoint:
        process = subprocess.Popen(
            command("--apply"),
            cwd=ROOT,
            env=environment(endpoint),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),  # noqa: PLW1509 - as nohup does
        )
        sqs.hook = At("receive_message", lambda: process.send_signal(signal.SIGHUP))
        end = ended(process)
    assert (end.status, len(sqs.sent)) == (0, 1)
    assert re.search(r"^moved 1, left 0, not reached 0, in doubt 0$", end.err, re.MULTILINE)

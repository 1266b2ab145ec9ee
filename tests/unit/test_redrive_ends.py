"""Every end of redrive: what it reports is what lies in the queues, and nothing is lost."""

from __future__ import annotations

import io
import json
import signal
import sys
from collections import Counter
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ReadTimeoutError
from hypothesis import given, settings
from hypothesis import strategies as st

from local import redrive
from local.redrive import Signals, StopAtOnce, main
from tests.dead_letters import DEAD, Ended, FakeSqs, check, letters, refused, world

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType


@dataclass
class Faults:
    """What happens at each boundary: before and after a call to SQS is carried out, and before a write."""

    at: dict[int, str]
    passed: int = 0
    happened: list[str] = field(default_factory=list)
    reader_gone: bool = False

    def at_call(self, operation: str, moment: str) -> None:
        match self._next():
            case "refusal" if moment == "before":
                raise refused(operation, "AccessDenied")
            case "lost":
                raise ReadTimeoutError(endpoint_url="https://sqs")
            case "defect":
                raise RuntimeError("odd")
            case _:
                pass

    def at_write(self) -> None:
        self._next()
        if self.reader_gone:
            raise BrokenPipeError(32, "Broken pipe")

    def _next(self) -> str | None:
        kind = self.at.get(self.passed)
        self.passed += 1
        if kind is None:
            return None
        self.happened.append(kind)
        self.reader_gone |= kind == "pipe"
        for name in {"once": ["SIGINT"], "twice": ["SIGINT", "SIGINT"], "term": ["SIGTERM"]}.get(kind, []):
            if signal.getsignal(signal.SIGINT) != signal.SIG_DFL:  # it would end this process too
                signal.raise_signal(signal.Signals[name])
        return kind


class Output(io.StringIO):
    def __init__(self, faults: Faults) -> None:
        super().__init__()
        self._faults = faults

    def write(self, text: str) -> int:
        if text.strip():
            self._faults.at_write()
        return super().write(text)


def run(sqs: FakeSqs, at: dict[int, str], *arguments: str, answers: str = "") -> tuple[Ended, Faults]:
    faults = Faults(at)
    sqs.hook = faults.at_call
    out, err = Output(faults), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr("boto3.client", lambda *_, **__: sqs)
        patch.setattr("sys.stdin", io.StringIO(answers))
        patch.delenv("COMMAND_TTL_SECONDS", raising=False)
        try:
            status = main(["--queue", DEAD, *arguments])
        except KeyboardInterrupt:  # it would end pytest
            pytest.fail("a signal cut the report")
    assert "Traceback" not in err.getvalue() or "defect" in faults.happened
    return Ended(status, out.getvalue(), err.getvalue()), faults


STATUS = {"once": 130, "twice": 130, "term": 143, "pipe": 141, "refusal": 1, "lost": 1, "defect": 1}


@pytest.mark.parametrize("kind", STATUS)
@pytest.mark.parametrize("arguments", [(), ("--json",), ("--apply",), ("--apply", "--json")], ids=" ".join)
def test_at_every_boundary_an_end_is_reported_as_it_is(kind: str, arguments: tuple[str, ...]) -> None:
    applied = "--apply" in arguments
    boundary = 0
    ends: Counter[int] = Counter()
    while True:
        sqs = world(*letters())
        ended, faults = run(sqs, {boundary: kind}, *arguments)
        if faults.passed <= boundary:
            break
        check(sqs, ended, applied=applied)
        ends[ended.status] += 1
        if kind in {"once", "term", "pipe"}:
            assert not sqs.hidden, "the call under way was finished, and what it gave was made visible again"
            assert not ended.in_doubt
        if kind in {"once", "twice", "term"}:
            assert ended.status == STATUS[kind]
            assert "interrupted" in ended.err
        boundary += 1
    assert boundary > 10
    assert ends.keys() <= {0, STATUS[kind]}
    assert ends[STATUS[kind]] > 0


@settings(max_examples=150, deadline=None)
@given(
    at=st.dictionaries(st.integers(0, 40), st.sampled_from(list(STATUS)), max_size=3),
    unsent=st.sets(st.integers(1, 12), max_size=2),
    undeleted=st.sets(st.integers(1, 12), max_size=2),
    silent=st.booleans(),
    arguments=st.sets(st.sampled_from(["--json", "--apply"])),
)
def test_whatever_happens_together_is_reported_as_it_is(
    at: dict[int, str],
    unsent: set[int],
    undeleted: set[int],
    silent: bool,  # noqa: FBT001
    arguments: set[str],
) -> None:
    sqs = world(
        *letters(),
        refuse_send={f"device-{number}-": "" if silent else "InvalidMessageContents" for number in unsent},
        refuse_delete={f"device-{number}-": "InternalError" for number in undeleted},
    )
    check(sqs, run(sqs, at, *sorted(arguments))[0], applied="--apply" in arguments)


@contextmanager
def at_line(number: int, count: int) -> Iterator[list[int]]:
    """Let `count` signals come when line `number` of the command is reached, counted as they are carried out."""
    lines = [0]

    def trace(frame: FrameType, event: str, _: object) -> Any:
        if frame.f_code.co_filename != redrive.__file__ or frame.f_code.co_name == "_came":
            return None
        handler = getattr(signal.getsignal(signal.SIGINT), "__self__", None)
        if event == "line" and isinstance(handler, Signals):
            lines[0] += 1
            if lines[0] == number:
                for _each in range(count):
                    signal.raise_signal(signal.SIGINT)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield lines
    finally:
        sys.settrace(before)


@pytest.mark.parametrize("count", [1, 2])
def test_a_signal_at_any_line_is_reported_as_it_is(count: int) -> None:
    with at_line(0, 0) as lines:
        run(world(*letters()), {}, "--apply")
    every = lines[0]
    assert every > 1000
    for number in range(1, every, 1 + every // 120):
        sqs = world(*letters())
        with at_line(number, count):
            ended, _ = run(sqs, {}, "--apply")
        check(sqs, ended, applied=True)
        assert ended.status == (0 if number > every - 10 and ended.status == 0 else 130), "too late for the status"
        if count == 1:
            assert (sqs.hidden, ended.in_doubt) == ({}, set())


def test_a_third_signal_is_no_longer_caught_and_all_is_as_before_at_the_end() -> None:
    watched = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(each) for each in watched]
    with Signals() as signals:
        signal.raise_signal(signal.SIGTERM)
        assert signal.SIG_DFL not in {signal.getsignal(each) for each in watched}
        signal.raise_signal(signal.SIGINT)
        assert {signal.getsignal(each) for each in watched} == {signal.SIG_DFL}
        assert signals.first == signal.SIGTERM
    assert [signal.getsignal(each) for each in watched] == before


def test_what_a_signal_leaves_half_made_is_not_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    class HalfMade:
        def __del__(self) -> None:
            raise AttributeError

    reported: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", reported.append)
    with Signals() as signals:
        HalfMade()
        assert len(reported) == 1, "but before a signal all is"
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(StopAtOnce), signals.heard():
            signal.raise_signal(signal.SIGINT)
        HalfMade()
    assert len(reported) == 1
    HalfMade()
    assert len(reported) == 2


@pytest.mark.parametrize("count", [1, 2])
def test_signals_while_an_error_is_put_in_words_leave_the_json_whole(
    monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    def interrupted(error: Any) -> str:
        for _ in range(count):
            signal.raise_signal(signal.SIGINT)
        return str(error)

    monkeypatch.setattr(redrive, "_words_of", interrupted)
    ended, _ = run(
        world(*letters(), raises={"receive_message": refused("ReceiveMessage", "AccessDenied")}), {}, "--json"
    )
    assert ended.status == 130
    error: str = json.loads(ended.out)["error"]
    assert error.startswith("interrupted; ")
    assert "AccessDenied" in error

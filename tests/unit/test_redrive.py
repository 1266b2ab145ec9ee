"""Redrive: what is to be done with a dead letter, how it is done, and what is said of it."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError, NoCredentialsError
from hypothesis import given
from hypothesis import strategies as st
from moto import mock_aws

from local import redrive
from local.redrive import (
    CALLER,
    Ask,
    DeadLetterQueue,
    Entry,
    Letter,
    Move,
    Stay,
    Wishes,
    decide,
    letter_of,
    look,
    main,
    move,
)
from shared.commands import Command, Defaults, read_command
from shared.envelopes import open_envelope
from shared.findings import Finding, Findings, Verdict
from shared.outcomes import to_rfc3339
from shared.planning import to_stop
from shared.publishing import LARGEST_MESSAGE, dead_letter
from shared.settlement import Undone, expire, settle
from tests.dead_letters import DEAD, SOURCE, STOP, FakeSqs, expired, fresh, received, refused, stop, world
from tests.fakes import BATCH, NOW
from tests.strategies import commands

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from botocore.config import Config
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageTypeDef

HOUR = timedelta(hours=1)


def letter(*args: Any, ttl: timedelta = HOUR, **kwargs: Any) -> Letter:
    return letter_of(cast("MessageTypeDef", received(*args, **kwargs)), ttl=ttl)


def decided(
    *args: Any, now: datetime = NOW, rejected: bool = False, renew: bool | None = None, **kwargs: Any
) -> Move | Ask | Stay:
    return decide(letter(*args, **kwargs), now=now, rejected=rejected, renew=renew)


def moved(*args: Any, **kwargs: Any) -> dict[str, Any]:
    """The body that is sent."""
    decision = decided(*args, **kwargs)
    assert isinstance(decision, Move)
    body: dict[str, Any] = json.loads(decision.body)
    return body


def understood(body: str, *, message_id: str = "new", sent_at: datetime) -> Command:
    """What the function makes of a body that SQS delivers to it."""
    message = letter(body, message_id=message_id, stamped=sent_at).message
    return read_command(
        open_envelope(message).payload,
        defaults=Defaults(
            message.message_id, message.sent_at, HOUR, project_id="project-1", instance_id=None, confirm=False
        ),
    )


def by_topic(command: object) -> dict[str, Any]:
    return {"Type": "Notification", "TopicArn": "arn:aws:sns:eu-west-1:1:t", "Message": json.dumps(command)}


def in_an_event(command: dict[str, Any]) -> dict[str, Any]:
    return {"detail-type": "Rollout Failed", "source": "example.fleet", "detail": command}


def attributes_of(command_id: str, sent_at: datetime | None = NOW) -> dict[str, str]:
    time = {} if sent_at is None else {"sent_at": to_rfc3339(sent_at)}
    return time | {"command_id": command_id}


ENVELOPES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "raw": lambda command: command,
    "SNS": by_topic,
    "EventBridge": in_an_event,
}


# What is to be done


@pytest.mark.parametrize("envelope", ENVELOPES.values(), ids=ENVELOPES)
def test_a_command_without_a_time_is_moved_as_old_as_it_is(
    envelope: Callable[[dict[str, Any]], dict[str, Any]],
) -> None:
    asked_at = NOW - timedelta(minutes=50)
    assert moved(envelope(STOP), sent_at=to_rfc3339(asked_at)) == {
        **STOP,
        "command_id": "m-1",
        "requested_at": to_rfc3339(asked_at),
    }


@pytest.mark.parametrize("envelope", ENVELOPES.values(), ids=ENVELOPES)
def test_a_command_that_names_its_time_and_id_is_moved_to_the_byte(
    envelope: Callable[[dict[str, Any]], dict[str, Any]],
) -> None:
    body = json.dumps(envelope(STOP | {"command_id": "c-1", "requested_at": to_rfc3339(NOW)}), indent=1)
    assert decided(body) == Move(body, renewed=False, attributes=attributes_of("c-1"))


def test_a_command_that_sqs_moved_keeps_the_id_under_which_its_outcomes_are_known() -> None:
    assert moved(message_id="6f1c", by_sqs=True)["command_id"] == "6f1c"


def test_an_expiry_of_its_own_stays_what_it_was() -> None:
    expires_at = to_rfc3339(NOW + timedelta(days=2))
    assert moved(STOP | {"expires_at": expires_at})["expires_at"] == expires_at
    assert "expires_at" not in moved(STOP), "else the deployment could not add its own time to live"


@given(
    command=commands(),
    envelope=st.sampled_from(list(ENVELOPES)),
    left_out=st.sets(st.sampled_from(["command_id", "requested_at", "expires_at"])),
    age=st.integers(0, 3599),
)
def test_whatever_is_moved_means_the_same_and_is_no_younger(
    command: Command, envelope: str, left_out: set[str], age: int
) -> None:
    sent_at = NOW - timedelta(seconds=age)
    command = command.model_copy(update={"requested_at": sent_at})
    payload = {name: value for name, value in json.loads(command.to_message()).items() if name not in left_out}
    body = json.dumps(ENVELOPES[envelope](payload))
    meant = understood(body, message_id="m-1", sent_at=sent_at)
    decision = decided(body, stamped=sent_at, now=NOW)
    if meant.has_expired(NOW):
        assert decision == Ask()
    else:
        assert isinstance(decision, Move)
        assert understood(decision.body, sent_at=NOW + HOUR) == meant


@given(command=commands(), own_expiry=st.booleans(), late=st.integers(0, 10**6))
def test_whatever_is_renewed_asks_for_the_same_from_now_on(command: Command, own_expiry: bool, late: int) -> None:  # noqa: FBT001
    payload = json.loads(command.to_message())
    if not own_expiry:
        del payload["expires_at"]
    now = max(command.expires_at, NOW + HOUR) + timedelta(seconds=late)
    decision = decided(payload, renew=True, now=now)
    assert isinstance(decision, Move)
    assert decision.renewed
    life = command.expires_at - command.requested_at if own_expiry else HOUR
    assert understood(decision.body, sent_at=now + HOUR) == command.model_copy(
        update={"requested_at": now, "expires_at": now + life, "attempt": 1}
    )


@pytest.mark.parametrize("own_time", ["Timestamp", "time"])
def test_a_command_is_no_younger_than_its_envelope_says(own_time: str) -> None:
    envelope = by_topic(STOP) if own_time == "Timestamp" else in_an_event(STOP)
    old = envelope | {own_time: to_rfc3339(NOW - HOUR)}
    assert letter(old).message.sent_at == NOW - HOUR
    assert decided(old) == Ask()
    assert moved(envelope | {own_time: to_rfc3339(NOW - HOUR / 2)})["requested_at"] == to_rfc3339(NOW - HOUR / 2)


def test_what_says_that_it_was_requested_after_it_was_sent_stays_as_rejected() -> None:
    assert isinstance(decided(STOP | {"requested_at": to_rfc3339(NOW + HOUR)}, renew=True), Stay)


AWAITED = STOP | {
    "command_id": "c-1",
    "project_id": "p",
    "requested_at": to_rfc3339(NOW),
    "attempt": 2,
    "confirm": True,
}


@pytest.mark.parametrize("awaiting", [["*"], ["d2"], ["d1", "d2"]], ids=str)
def test_what_awaits_its_confirmation_is_only_read_after_it_was_renewed_too(awaiting: list[str]) -> None:
    command = understood(json.dumps(AWAITED | {"awaiting": awaiting}), sent_at=NOW)
    gave_up = expire(command, now=NOW + HOUR)
    assert isinstance(gave_up, Undone)
    renewed = moved(gave_up.left.to_message(), now=NOW + HOUR, renew=True, stamped=NOW + HOUR, sent_at=to_rfc3339(NOW))
    again = understood(json.dumps(renewed), sent_at=NOW + HOUR)
    assert again.awaiting == command.awaiting
    assert to_stop(again) == tuple(target for target in command.asked if target not in command.awaiting)


def test_a_renewed_remainder_stays_where_it_was_carried_out() -> None:
    renewed = moved(AWAITED, now=NOW + HOUR, renew=True)
    assert (renewed["attempt"], renewed["project_id"]) == (1, "p"), "by which the service knows that it wrote it"
    assert "attempt" not in moved(STOP, now=NOW + HOUR, renew=True), "and that it did not write this"


def test_an_expired_command_is_asked_about_and_without_a_yes_stays() -> None:
    old: dict[str, Any] = {"stamped": NOW - HOUR}
    assert decided(**old) == Ask()
    assert decided(**old, renew=False) == Stay("it has expired (--renew renews and moves it)")
    assert moved(**old, renew=True) == {**STOP, "command_id": "m-1", "requested_at": to_rfc3339(NOW)}


def test_the_time_to_live_of_the_deployment_decides_when_none_is_given() -> None:
    asked_at = NOW - timedelta(minutes=10)
    assert isinstance(decided(stamped=asked_at), Move)
    assert decided(stamped=asked_at, ttl=timedelta(minutes=10)) == Ask()


def test_an_expiry_before_the_sending_is_dropped_when_renewed() -> None:
    late = STOP | {"expires_at": to_rfc3339(NOW - HOUR)}
    assert "expires_at" not in moved(late, renew=True), "it would be over at once"


def test_a_remainder_that_gave_up_moves_as_the_service_wrote_it() -> None:
    command = understood(json.dumps(STOP), message_id="c-1", sent_at=NOW)
    passing = Finding(Verdict.UNFINISHED, "APIGW.0308", "throttled")
    findings = Findings(named={BATCH: {"d1": passing, "d2": passing}})
    undone = settle(command, findings, now=NOW, max_attempts=1, jitter=0.0)
    assert isinstance(undone, Undone)
    sent = dead_letter(undone.left.to_message(), reason=undone.failure_reason, sent_at=NOW)
    assert sent is not None
    attributes: dict[str, Any] = dict(sent.attributes)
    lying = letter(sent.body, stamped=NOW + timedelta(minutes=5), **attributes)
    assert (lying.reason, lying.message.sent_at) == ("gave_up", NOW)
    assert decide(lying, now=NOW + timedelta(minutes=59), rejected=False, renew=None) == Move(
        sent.body, renewed=False, attributes=attributes_of("c-1")
    )
    assert decide(lying, now=NOW + HOUR, rejected=False, renew=None) == Ask()


@pytest.mark.parametrize(
    "body",
    ["no JSON", '{"command": "stop_task"', json.dumps({"command": "stop_task"}), json.dumps(by_topic(["no object"]))],
)
def test_what_is_no_command_stays_and_if_asked_for_is_moved_to_the_byte(body: str) -> None:
    assert decided(body) == Stay("it is no command, or was rejected (--rejected moves it)")
    assert decided(body, rejected=True) == Move(body, renewed=False, attributes=attributes_of("m-1"))


def test_what_is_no_command_is_as_old_as_its_message() -> None:
    old: dict[str, Any] = {"sent_at": to_rfc3339(NOW - HOUR)}
    assert decided("no JSON", **old, rejected=True) == Ask()
    assert decided("no JSON", **old, rejected=True, renew=True) == Move(
        "no JSON", renewed=True, attributes=attributes_of("m-1", None)
    )


def test_a_command_that_a_guard_rejected_stays_too_and_never_becomes_young() -> None:
    everything = {"command": "stop_targets", "task_id": BATCH.task_id, "all_targets": True}
    guarded: dict[str, Any] = {"failure_reason": "rejected: all_targets: ALLOW_STOP_ALL is not true in this deployment"}
    assert isinstance(decided(everything, **guarded, renew=True), Stay)
    assert moved(everything, **guarded, rejected=True)["requested_at"] == to_rfc3339(NOW)
    assert decided(everything, **guarded, rejected=True, sent_at=to_rfc3339(NOW - HOUR)) == Ask()


def test_what_is_no_command_keeps_its_name_and_its_age_on_the_way() -> None:
    asked_at = to_rfc3339(NOW - HOUR / 2)
    rejected: dict[str, Any] = {"failure_reason": "rejected: no", "sent_at": asked_at, "command_id": "c-7"}
    decision = decided("no JSON", **rejected, rejected=True)
    assert decision == Move("no JSON", renewed=False, attributes={"sent_at": asked_at, "command_id": "c-7"})
    # It is rejected once more, half an hour later, and its second letter expires when the first would have.
    again: dict[str, Any] = {"stamped": NOW + HOUR / 2, "message_id": "m-2", **rejected}
    assert decided("no JSON", now=NOW + HOUR / 2, **again, rejected=True) == Ask()


@pytest.mark.parametrize(
    ("body", "command_id"),
    [
        (STOP, "c-7"),
        (STOP | {"command_id": "c-1"}, "c-1"),
        (in_an_event(STOP) | {"id": "e-1"}, "e-1"),
        ("no JSON", "c-7"),
    ],
)
def test_a_letter_is_known_by_the_id_of_its_outcome(body: Any, command_id: str) -> None:
    lying = letter(body, failure_reason="rejected: no", command_id="c-7")
    decision = decide(lying, now=NOW, rejected=True, renew=None)
    assert isinstance(decision, Move)
    shown = redrive.entry(lying, decision, now=NOW, applied=True)
    assert (shown.command_id, decision.attributes["command_id"]) == (command_id, command_id)
    assert any(f"command {command_id}" in line for line in redrive.lines_of(shown))
    if body != "no JSON":
        assert json.loads(decision.body).get("command_id") == command_id


def test_an_id_that_is_none_is_not_taken() -> None:
    assert moved(command_id="a b")["command_id"] == "m-1"
    assert decided("no JSON", command_id="a b", rejected=True) == Move(
        "no JSON", renewed=False, attributes=attributes_of("m-1")
    )


def test_what_is_renewed_does_not_say_that_it_is_old() -> None:
    for body in (STOP, "no JSON"):
        decision = decided(body, rejected=True, renew=True, now=NOW + HOUR)
        assert isinstance(decision, Move)
        assert decision.attributes == {"command_id": "m-1"}


@pytest.mark.parametrize("body", [in_an_event(STOP) | STOP, by_topic(STOP) | STOP, by_topic(STOP) | in_an_event(STOP)])
def test_a_command_that_is_an_envelope_too_is_moved_to_the_byte(body: dict[str, Any]) -> None:
    decision = decided(body, rejected=True)
    assert isinstance(decision, Move)
    assert decision.body == json.dumps(body)


@pytest.mark.parametrize(("room", "there"), [(37, ["sent_at"]), (64, ["sent_at"]), (65, ["sent_at", "command_id"])])
def test_what_is_no_command_does_not_leave_its_time_behind(room: int, there: list[str]) -> None:
    body = "x" * (LARGEST_MESSAGE - room)
    decision = decided(body, message_id="twelve-chars", rejected=True)
    assert isinstance(decision, Move)
    assert list(decision.attributes) == there
    too_large = "x" * (LARGEST_MESSAGE - 36)
    assert decided(too_large, rejected=True) == Stay("with its time written out it would not fit into a message")
    assert decided(too_large, rejected=True, renew=True, now=NOW + HOUR) == Move(
        too_large, renewed=True, attributes={"command_id": "m-1"}
    )


@pytest.mark.parametrize("character", ["任", "🔥", "ж"])
def test_what_is_taken_out_of_its_envelope_does_not_grow(character: str) -> None:
    targets = [f"{number:036}" for number in range(26_700)]
    command = STOP | {"targets": targets, "reason": character * 512, "requested_by": character * 128}
    body = json.dumps(in_an_event(command), ensure_ascii=False, separators=(",", ":"))
    assert LARGEST_MESSAGE - 6000 < len(body.encode()) < LARGEST_MESSAGE - 100
    assert moved(body)["reason"] == character * 512


def test_a_command_that_would_no_longer_fit_stays() -> None:
    targets = [f"{number:036}" for number in range(26_884)]
    full = json.dumps(STOP | {"targets": targets}, separators=(",", ":"))
    assert LARGEST_MESSAGE - 60 < len(full) <= LARGEST_MESSAGE
    assert decided(full) == Stay("with its time written out it would not fit into a message")


def test_what_sqs_does_not_take_raw_is_sent_escaped() -> None:
    decision = decided(STOP | {"reason": "\uffff"})
    assert isinstance(decision, Move)
    assert decision.body.isascii()


def test_a_lone_surrogate_is_no_reason_to_fail() -> None:
    assert decided("\ud800", rejected=True) == Move("\ud800", renewed=False, attributes=attributes_of("m-1"))


# When and why it came here


def test_the_first_sending_counts_not_the_arrival_in_the_dead_letter_queue() -> None:
    lying = letter(stamped=NOW, sent_at="2026-11-23T08:00:00.000Z", failure_reason="gave_up")
    assert lying.message.sent_at == datetime(2026, 11, 23, 8, tzinfo=UTC)
    assert lying.set_aside_at == NOW


@pytest.mark.parametrize("sent_at", ["yesterday", "", "9999-12-31T23:59:59Z", to_rfc3339(NOW + HOUR)])
def test_a_sent_at_that_cannot_be_is_none(sent_at: str) -> None:
    assert letter(sent_at=sent_at).message.sent_at == NOW


def test_a_message_without_any_time_is_old() -> None:
    assert decided(stamped=None) == Ask()


def test_what_sqs_moved_itself_says_so_and_not_when() -> None:
    lying = letter(by_sqs=True)
    assert (lying.reason, lying.set_aside_at) == ("moved by SQS", None)
    assert letter().reason == "no reason given"


# How it is done


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@dataclass
class Shell:
    """The command, on a fake SQS."""

    patch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]

    def run(self, sqs: FakeSqs, *arguments: str, answers: str | None = None) -> tuple[int, dict[str, Any], str]:
        """Give the exit status, the JSON and what was said on standard error."""
        self.patch.setattr("boto3.client", lambda *_, **__: sqs)
        self.patch.setattr("sys.stdin", io.StringIO() if answers is None else Terminal(answers))
        status = main(["--queue", DEAD, "--json", *arguments])
        out, err = self.capsys.readouterr()
        return status, json.loads(out), err


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    monkeypatch.delenv("COMMAND_TTL_SECONDS", raising=False)
    return Shell(monkeypatch, capsys)


def done(shown: dict[str, Any]) -> dict[str, str]:
    return {each["message_id"]: each["done"] for each in shown["messages"]}


def test_looking_moves_nothing_and_hides_nothing(shell: Shell) -> None:
    sqs = world(*fresh(23), expired(24), received("no JSON", message_id="m-25"))
    status, shown, err = shell.run(sqs)
    assert status == 0
    assert len(done(shown)) == 25
    assert done(shown)["m-1"] == "would move"
    assert done(shown)["m-24"] == "would ask: it has expired"
    assert done(shown)["m-25"] == "stays"
    assert len(sqs.left) == 25
    assert set(sqs.calls) == {"receive_message", "change_message_visibility_batch"}
    assert "nothing was moved" in err


def test_what_is_shown_says_what_and_why(shell: Shell) -> None:
    _, shown, _ = shell.run(
        world(
            received(stop(1, attempt=3), failure_reason="gave_up", sent_at="2026-11-23T08:00:00.000Z"),
            received("no JSON", message_id="m-2", failure_reason="rejected: message: should be JSON"),
            received({"command": "stop_targets", "task_id": "5f", "all_targets": True}, message_id="m-3", by_sqs=True),
        )
    )
    gave_up, rejected, by_sqs = shown["messages"]
    assert gave_up == {
        "message_id": "m-1",
        "reason": "gave_up",
        "task": "stop_targets 5f1ac5c3e4b0",
        "sent_at": "2026-11-23T08:00:00.000Z",
        "set_aside_at": to_rfc3339(NOW),
        "command": "stop_targets",
        "command_id": "c-1",
        "task_id": "5f1ac5c3e4b0",
        "targets": 1,
        "attempt": 3,
        "expires_at": "2026-11-23T09:00:00.000Z",
        "expired": gave_up["expired"],
        "errors": None,
        "body": None,
        "done": gave_up["done"],
        "why": None,
    }
    assert (rejected["body"], rejected["command_id"]) == ("no JSON", "m-2")
    assert "should be JSON" in rejected["errors"]
    assert (by_sqs["targets"], by_sqs["reason"], by_sqs["set_aside_at"]) == ("all", "moved by SQS", None)


def test_nothing_in_a_message_can_steer_the_terminal(shell: Shell) -> None:
    shell.patch.setattr("boto3.client", lambda *_, **__: world(received("\x1b[2J", failure_reason="\x1b]0;x\x07")))
    assert main(["--queue", DEAD]) == 0
    out, _ = shell.capsys.readouterr()
    assert out.replace("\n", "").isprintable()
    assert "\\x1b[2J" in out


def test_applying_moves_what_lives_and_leaves_what_has_expired_or_was_rejected(shell: Shell) -> None:
    sqs = world(*fresh(12), expired(13), received("no JSON", message_id="m-14"))
    status, shown, err = shell.run(sqs, "--apply")
    assert status == 0
    assert sqs.left == ["m-13", "m-14"]
    assert sorted(each["command_id"] for each in sqs.sent) == sorted(f"c-{number}" for number in range(1, 13))
    assert (done(shown)["m-1"], done(shown)["m-13"], done(shown)["m-14"]) == ("moved", "stays", "stays")
    assert "no terminal to ask at" in err


def test_each_task_is_asked_about_once_and_only_a_yes_renews_it(shell: Shell) -> None:
    sqs = world(expired(1, "a1"), expired(2, "a1"), expired(3, "a2"), expired(4, "a3"))
    status, shown, err = shell.run(sqs, "--apply", answers="y\n\n")  # yes; the default; the end of the input
    assert status == 0
    assert err.count("Renew? [y/N]") == 3
    assert "stop_targets a1: 2 expired" in err
    assert sqs.left == ["m-3", "m-4"]
    assert done(shown)["m-2"] == "renewed and moved"
    assert all(datetime.fromisoformat(each["requested_at"]) > NOW for each in sqs.sent)


def test_nothing_is_hidden_while_a_person_thinks(shell: Shell) -> None:
    sqs = world(expired(1))

    class Thinking(Terminal):
        def readline(self, *_: object) -> str:  # type: ignore[override]  # typeshed mixes bytes and str here
            assert sqs.left == ["m-1"]
            return "y\n"

    shell.patch.setattr("boto3.client", lambda *_, **__: sqs)
    shell.patch.setattr("sys.stdin", Thinking())
    assert main(["--queue", DEAD, "--apply"]) == 0
    assert sqs.left == []


def test_a_question_about_a_whole_task_says_so(shell: Shell) -> None:
    everything = {"command": "stop_targets", "task_id": "a1", "all_targets": True}
    sqs = world(expired(1, "a1"), received(everything, message_id="m-2", stamped=NOW - timedelta(days=400)))
    _, _, err = shell.run(sqs, "--apply", answers="")
    assert "ALL targets" in err


def test_renew_answers_yes_without_a_question(shell: Shell) -> None:
    sqs = world(expired(1))
    assert shell.run(sqs, "--renew")[1]["messages"][0]["done"] == "would renew and move"
    status, _, err = shell.run(sqs, "--apply", "--renew", answers="")
    assert (status, sqs.left) == (0, [])
    assert "Renew?" not in err


def test_rejected_messages_move_when_they_are_asked_for(shell: Shell) -> None:
    def letters() -> list[dict[str, Any]]:
        now = datetime.now(UTC)
        return [
            received("no JSON", stamped=now, failure_reason="rejected: message"),
            received(stop(2), message_id="m-2", stamped=now, failure_reason="gave_up"),
        ]

    for arguments, left in ((), ["m-1"]), (("--rejected",), []), (("--only", "rejected"), ["m-2"]):
        sqs = world(*letters())
        assert shell.run(sqs, "--apply", *arguments)[0] == 0
        assert sqs.left == left
        assert ("no JSON" in [each["Body"] for each in sqs.queues[SOURCE]]) == bool(arguments), "to the byte"


def test_only_a_reason_and_at_most_so_many(shell: Shell) -> None:
    sqs = world(*fresh(3), *(received(stop(n), message_id=f"m-{n}", failure_reason="gave_up") for n in range(4, 30)))
    _, shown, _ = shell.run(sqs, "--only", "gave", "--limit", "15")
    assert list(done(shown)) == [f"m-{number}" for number in range(4, 19)]
    assert len(sqs.left) == 29


def test_an_entry_that_is_not_sent_stays_and_harms_no_other(shell: Shell) -> None:
    sqs = world(*fresh(4), refuse_send={"device-2-": "InvalidMessageContents", "device-3-": ""})  # and one unmentioned
    status, shown, _ = shell.run(sqs, "--apply")
    assert status == 1
    assert sqs.left == ["m-2", "m-3"]
    assert [each["command_id"] for each in sqs.sent] == ["c-1", "c-4"]
    why = {each["message_id"]: each["why"] for each in shown["messages"]}
    assert why["m-2"] == "not sent: InvalidMessageContents: no"
    assert why["m-3"] == "it is not known whether it was sent; it is here as well", "the answer of SQS does not say"
    assert done(shown) == {"m-1": "moved", "m-2": "FAILED", "m-3": "IN DOUBT", "m-4": "moved"}


def test_an_entry_that_is_not_deleted_is_in_both_queues_and_says_so(shell: Shell) -> None:
    sqs = world(*fresh(3), refuse_delete={"device-2-": "InternalError"})
    status, shown, _ = shell.run(sqs, "--apply")
    assert status == 1
    assert sqs.left == ["m-2"]
    assert len(sqs.sent) == 3
    assert [each["why"] for each in shown["messages"]] == [
        None,
        "sent, but it is here as well: InternalError: no",
        None,
    ]


@pytest.mark.parametrize(
    ("operation", "code", "said"),
    [
        ("receive_message", "AWS.SimpleQueueService.NonExistentQueue", "there is no such queue"),
        ("receive_message", "AccessDenied", "sqs:receive_message was refused"),
        ("list_dead_letter_source_queues", "InvalidAction", "--to says which queue without asking"),
        ("list_dead_letter_source_queues", "AccessDenied", "sqs:list_dead_letter_source_queues was refused"),
        ("send_message_batch", "AccessDenied", "sqs:send_message_batch was refused"),
        ("delete_message_batch", "AccessDenied", "sqs:delete_message_batch was refused"),
    ],
)
def test_a_refusal_of_aws_ends_it_with_its_words_and_loses_nothing(
    shell: Shell, operation: str, code: str, said: str
) -> None:
    sqs = world(*fresh(25), raises={operation: refused(operation, code)})
    status, shown, err = shell.run(sqs, "--apply")
    assert status == 1
    assert said in shown["error"]
    assert said in err
    assert len(sqs.left) == 25
    assert len(sqs.sent) in {0, 10}, "not a second batch when the first could not be deleted"


def test_no_answer_from_aws_ends_it_too(shell: Shell) -> None:
    no_answer = EndpointConnectionError(endpoint_url="https://sqs")
    sqs = world(*fresh(2), raises={"send_message_batch": no_answer})
    status, shown, _ = shell.run(sqs, "--apply")
    assert (status, sqs.left) == (1, ["m-1", "m-2"])
    assert [each["why"] for each in shown["messages"]] == [
        "it is not known whether it was sent; it is here as well"
    ] * 2
    assert "Could not connect" in shown["error"]


def test_what_cannot_be_given_back_is_said_to_be_hidden_and_is_not_moved(shell: Shell) -> None:
    sqs = world(*fresh(2), raises={"change_message_visibility_batch": refused("ChangeVisibility", "AccessDenied")})
    before = datetime.now(UTC)
    status, shown, err = shell.run(sqs)
    assert status == 0
    until = datetime.fromisoformat(shown["hidden"].pop("until"))
    assert timedelta(seconds=299) < until - before < timedelta(seconds=330)
    assert shown["hidden"].pop("why").endswith("no")
    assert shown["hidden"] == {"message_ids": ["m-1", "m-2"], "perhaps_more": False}
    assert f"2 messages may stay hidden in the dead-letter queue until {to_rfc3339(until)} at the latest: " in err
    sqs.queues[DEAD] += fresh(2)
    status, shown, _ = shell.run(sqs, "--apply")
    assert (status, done(shown), sqs.sent) == (1, {"m-1": "not reached", "m-2": "not reached"}, [])


@pytest.mark.parametrize("operation", ["receive_message", "send_message_batch", "delete_message_batch"])
def test_an_interruption_at_any_moment_loses_nothing(shell: Shell, operation: str) -> None:
    sqs = world(*fresh(12), interrupt=operation)
    status, shown, _ = shell.run(sqs, "--apply")
    assert status == 130
    assert "interrupted" in shown["error"]
    if operation == "receive_message":  # what SQS had given, but nobody had taken, is hidden until its time is over
        sqs.queues[DEAD] += sqs.hidden.values()
    here = {each["MessageId"].replace("m", "c") for each in [*sqs.queues[DEAD], *sqs.hidden.values()]}
    assert here | {each["command_id"] for each in sqs.sent} == {f"c-{number}" for number in range(1, 13)}


def test_a_message_received_twice_is_moved_once_and_deleted_twice(shell: Shell) -> None:
    messages = fresh(13)
    again = {**messages[0], "ReceiptHandle": "another"}
    sqs = world(*messages, repeats=[[], [], [], [], [again]])  # the look receives thrice, the last time in vain
    status, shown, _ = shell.run(sqs, "--apply")
    assert status == 0
    assert len(sqs.sent) == len(shown["messages"]) == 13
    assert (sqs.left, sqs.repeats) == ([], [])


def test_a_message_that_comes_again_and_cannot_be_deleted_is_in_doubt(shell: Shell) -> None:
    messages = fresh(13)
    again = {**messages[0], "ReceiptHandle": "another"}
    sqs = world(*messages, repeats=[[], [], [], [], [again]])

    def refuse(operation: str, _: str) -> None:
        if operation == "delete_message_batch" and sqs.calls.count(operation) == 2:
            raise refused(operation, "AccessDenied")

    sqs.hook = refuse
    status, shown, err = shell.run(sqs, "--apply")
    assert (status, sqs.left) == (1, ["m-1", "m-11", "m-12", "m-13"])
    assert (done(shown)["m-1"], shown["messages"][0]["why"]) == ("IN DOUBT", "sent, and it came here again")
    assert "moved 9, left 0, not reached 3, in doubt 1" in err


def test_each_call_is_made_once_and_ends_soon(shell: Shell) -> None:
    given: dict[str, Any] = {}

    def client(service: str, *, config: Config) -> FakeSqs:
        given.update(vars(config), service=service)
        return world()

    shell.patch.setattr("boto3.client", client)
    assert main(["--queue", DEAD]) == 0
    assert (given["service"], given["retries"]) == ("sqs", {"total_max_attempts": 1})
    assert redrive.WAIT < given["read_timeout"] <= 10
    assert given["connect_timeout"] <= 5


def test_what_was_never_asked_for_is_not_said_to_be_hidden(shell: Shell) -> None:
    _, shown, _ = shell.run(world(*fresh(2), raises={"receive_message": NoCredentialsError()}))
    assert (shown["hidden"], shown["error"]) == (None, "Unable to locate credentials")


def test_deletes_of_which_sqs_says_nothing_leave_in_doubt_what_was_sent(shell: Shell) -> None:
    class Silent(FakeSqs):
        def delete_message_batch(self, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803
            super().delete_message_batch(QueueUrl, Entries)
            return {}

    status, shown, _ = shell.run(Silent(world(*fresh(2)).queues), "--apply")
    assert (status, done(shown)) == (1, {"m-1": "IN DOUBT", "m-2": "IN DOUBT"})
    assert {each["why"] for each in shown["messages"]} == {"sent, and it may be here as well"}


def test_what_is_rejected_again_at_once_does_not_go_round(shell: Shell) -> None:
    names = [f"m-{number}" for number in range(1, 13)]
    sqs = world(*(received("no JSON", message_id=name, stamped=datetime.now(UTC)) for name in names), comes_back=True)
    status, shown, _ = shell.run(sqs, "--apply", "--rejected")
    assert (status, list(done(shown))) == (0, names)
    assert len(sqs.queues[SOURCE]) == len(sqs.left) == 12


def test_what_others_took_in_the_meantime_is_missed_aloud(shell: Shell) -> None:
    sqs = world(expired(1))

    class Slow(Terminal):
        def readline(self, *_: object) -> str:  # type: ignore[override]  # typeshed mixes bytes and str here
            sqs.queues[DEAD].clear()
            return "y\n"

    shell.patch.setattr("boto3.client", lambda *_, **__: sqs)
    shell.patch.setattr("sys.stdin", Slow())
    assert main(["--queue", DEAD, "--apply"]) == 1
    assert "moved 0, left 0, not reached 1, in doubt 0\n1 messages were not reached" in shell.capsys.readouterr().err


@pytest.mark.parametrize("arguments", [(), ("--apply", "--rejected")])
def test_messages_that_come_round_end_a_look_that_may_have_missed_others(
    shell: Shell, arguments: tuple[str, ...]
) -> None:
    message = received("no JSON", stamped=datetime.now(UTC))
    sqs = world(message, repeats=[[], [message]])
    status, shown, err = shell.run(sqs, *arguments)
    assert (status, len(shown["messages"])) == (1, 1)
    assert shown["error"] == "messages came round again before the end of the queue: it may hold others too"
    assert shown["error"] in err
    assert len(sqs.queues[SOURCE]) == len(arguments) / 2, "what was seen is moved"


def test_a_look_that_finds_nothing_does_not_say_that_nothing_is_there(shell: Shell) -> None:
    status, _, err = shell.run(world())
    assert (status, err) == (
        0,
        "0 messages: none, but for those that others hold now\nnothing was moved (--apply moves)\n",
    )


# When messages are no longer hidden


@dataclass
class Suspended:
    """The command sleeps until its messages are visible again, at the `turn`th `operation`, `moment` it is done."""

    patch: pytest.MonkeyPatch
    operation: str
    moment: str
    turn: int = 1
    meanwhile: Callable[[], None] = lambda: None
    late: timedelta = timedelta()

    def __post_init__(self) -> None:
        self.patch.setattr(redrive, "_now", lambda: datetime.now(UTC) + self.late)

    def __call__(self, operation: str, moment: str) -> None:
        if (operation, moment) == (self.operation, self.moment):
            self.turn -= 1
            if self.turn == 0:
                self.late = timedelta(seconds=redrive.HIDDEN)
                self.meanwhile()


def test_what_may_be_of_others_again_is_not_sent(shell: Shell) -> None:
    sqs = world(*fresh(12))

    def others_move_them() -> None:
        sqs.queues[SOURCE] += sqs.hidden.values()
        sqs.hidden.clear()

    # The look receives twice, and in vain for a third time.
    sqs.hook = Suspended(shell.patch, "receive_message", "after", 4, others_move_them)
    status, shown, err = shell.run(sqs, "--apply")
    assert (status, sqs.calls.count("send_message_batch"), len(sqs.queues[SOURCE])) == (1, 1, 12)
    assert [*done(shown).values()] == ["not reached"] * 10 + ["moved"] * 2
    assert "moved 2, left 0, not reached 10, in doubt 0" in err
    assert "10 messages were not reached: others hold them or have moved them, or they were visible again" in err


def test_what_was_held_up_by_the_receive_itself_is_counted_from_before_it(shell: Shell) -> None:
    sqs = world(*fresh(1))
    sqs.hook = Suspended(shell.patch, "receive_message", "before", 3)
    status, shown, _ = shell.run(sqs, "--apply")
    assert (status, done(shown), sqs.sent) == (1, {"m-1": "not reached"}, [])


@pytest.mark.parametrize(
    ("operation", "moment"),
    [("send_message_batch", "after"), ("delete_message_batch", "before"), ("delete_message_batch", "after")],
)
def test_what_may_be_of_others_again_before_its_delete_returns_is_in_doubt(
    shell: Shell, operation: str, moment: str
) -> None:
    sqs = world(*fresh(12))

    def others_receive_them() -> None:
        sqs.hidden = {f"new {handle}": message for handle, message in sqs.hidden.items()}

    sqs.hook = Suspended(shell.patch, operation, moment, meanwhile=others_receive_them)
    status, shown, err = shell.run(sqs, "--apply")
    assert status == 1
    assert [*done(shown).values()] == ["IN DOUBT"] * 10 + ["moved"] * 2
    assert {each["why"] for each in shown["messages"]} == {"sent, and it may be here as well", None}
    assert "moved 2, left 0, not reached 0, in doubt 10" in err


def test_what_may_be_of_others_again_is_not_made_visible(shell: Shell) -> None:
    sqs = world(*fresh(1))
    sqs.hook = Suspended(shell.patch, "receive_message", "before", 2)
    status, shown, _ = shell.run(sqs)
    assert (status, shown["hidden"]) == (0, None)
    assert "change_message_visibility_batch" not in sqs.calls


def test_large_messages_are_sent_in_calls_that_hold_them() -> None:
    targets = [f"{number:036}" for number in range(13_000)]
    sqs = world(*(received(stop(n, targets=targets), message_id=f"m-{n}") for n in range(1, 6)))
    wishes = Wishes(ttl=HOUR, rejected=False, renew=False, only="", limit=9)
    client = cast("SQSClient", sqs)
    ledger: dict[str, Entry] = {}
    with DeadLetterQueue(client, DEAD, now=lambda: NOW) as queue:
        assert list(look(queue, wishes=wishes, ledger=ledger, now=lambda: NOW)) == [[f"m-{n}" for n in range(1, 6)]]
    with DeadLetterQueue(client, DEAD, now=lambda: NOW) as queue:
        moves = move(
            queue, sqs=client, to=SOURCE, wishes=wishes, ledger=ledger, renewed_tasks=frozenset(), now=lambda: NOW
        )
        assert [len(each) for each in moves] == [0, 2, 2, 1]
    assert [each.done for each in ledger.values()] == ["moved"] * 5
    assert sqs.left == []
    assert sqs.calls.count("send_message_batch") == 3


@pytest.mark.parametrize(("sources", "found"), [((), "none"), ((SOURCE, "https://sqs/1/other"), "other")])
def test_without_exactly_one_source_the_other_queue_must_be_named(
    shell: Shell, sources: tuple[str, ...], found: str
) -> None:
    sqs = world(*fresh(1), sources=sources)
    status, shown, _ = shell.run(sqs, "--apply")
    assert (status, sqs.left) == (1, ["m-1"])
    assert "--to must say which queue" in shown["error"]
    assert found in shown["error"]
    assert shell.run(sqs, "--apply", "--to", "stop")[0] == 0
    assert len(sqs.sent) == 1


def test_a_queue_is_never_moved_into_itself(shell: Shell) -> None:
    for itself in ("stop-dead-letter", "https://another.name/1/stop-dead-letter"):
        status, shown, _ = shell.run(world(*fresh(1)), "--apply", "--to", itself)
        assert (status, shown["error"]) == (1, "--to is the dead-letter queue itself")


NUMBER = "should be a whole number, 1 or more"
QUEUE = "should be the name or the URL of a queue"


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--limit", "0", NUMBER),
        ("--limit", "x", NUMBER),
        ("--ttl", "-1", NUMBER),
        ("--ttl", "9" * 5000, NUMBER),
        ("--queue", "http://[", QUEUE),
        ("--queue", "http:///1/x", QUEUE),
        ("--queue", "http://sqs:99999/1/x", QUEUE),
        ("--queue", "", QUEUE),
        ("--to", "http://[", QUEUE),
    ],
)
def test_a_wrong_command_line_ends_with_2(
    option: str, value: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--queue", DEAD, option, value])
    assert ended.value.code == 2
    assert f"{option}: {said}" in capsys.readouterr().err


@pytest.mark.parametrize("endpoint", ["localhost:1", "http://[", "http://127.0.0.1:99999", "http://127.0.0.1:port"])
def test_an_endpoint_that_is_none_is_said_to_be_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], endpoint: str
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    assert main(["--queue", "stop"]) == 1
    err = capsys.readouterr().err
    assert err.endswith(" (AWS_ENDPOINT_URL, AWS_DEFAULT_REGION)\nnothing was moved\n")
    assert "Traceback" not in err


def test_the_time_to_live_is_taken_from_the_environment_unless_it_is_given(shell: Shell) -> None:
    minutes_old = received(stamped=datetime.now(UTC) - timedelta(minutes=5))
    shell.patch.setenv("COMMAND_TTL_SECONDS", "60")
    assert shell.run(world(minutes_old))[1]["messages"][0]["expired"]
    assert not shell.run(world(minutes_old), "--ttl", "3600")[1]["messages"][0]["expired"]


@pytest.mark.parametrize("value", ["an hour", "0", "-1", "1.5"])
def test_a_time_to_live_in_the_environment_that_is_none_ends_with_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], value: str
) -> None:
    monkeypatch.setenv("COMMAND_TTL_SECONDS", value)
    with pytest.raises(SystemExit) as ended:
        main(["--queue", DEAD])
    assert ended.value.code == 2
    assert f"error: COMMAND_TTL_SECONDS is {value!r}: should be a whole number" in capsys.readouterr().err


def test_an_empty_time_to_live_in_the_environment_counts_as_absent(shell: Shell) -> None:
    shell.patch.setenv("COMMAND_TTL_SECONDS", "")
    minutes_old = received(stamped=datetime.now(UTC) - timedelta(minutes=5))
    assert not shell.run(world(minutes_old))[1]["messages"][0]["expired"]


@pytest.mark.parametrize("value", ["1", "an hour"])
def test_make_takes_no_time_to_live_out_of_the_environment(shell: Shell, value: str) -> None:
    shell.patch.setenv("COMMAND_TTL_SECONDS", value)
    shell.patch.setenv(CALLER, "make")
    status, shown, _ = shell.run(world(received(stamped=datetime.now(UTC) - timedelta(minutes=5))))
    assert (status, shown["messages"][0]["expired"]) == (0, False)


@pytest.mark.parametrize("arguments", [(), ("--json",), ("--apply",), ("--apply", "--json")], ids=" ".join)
def test_a_closed_standard_output_loses_nothing_but_ends_with_1(shell: Shell, arguments: tuple[str, ...]) -> None:
    sqs = world(*fresh(12))
    shell.patch.setattr("boto3.client", lambda *_, **__: sqs)
    shell.patch.setattr("sys.stdout", None)
    assert main(["--queue", DEAD, *arguments]) == 1
    err = shell.capsys.readouterr().err
    assert "standard output could not be written: it was closed from the start" in err
    if "--apply" in arguments:
        assert sqs.left == []
        assert all(f"m-{number}  " in err for number in range(1, 13))


def test_a_closed_standard_output_that_is_owed_nothing_is_no_failure(shell: Shell) -> None:
    shell.patch.setattr("boto3.client", lambda *_, **__: world())
    shell.patch.setattr("sys.stdout", None)
    assert main(["--queue", DEAD]) == 0


def test_a_closed_standard_input_is_no_terminal(shell: Shell) -> None:
    sqs = world(expired(1))
    shell.patch.setattr("boto3.client", lambda *_, **__: sqs)
    shell.patch.setattr("sys.stdin", None)
    assert main(["--queue", DEAD, "--apply"]) == 0
    assert sqs.left == ["m-1"]
    assert "no terminal to ask at" in shell.capsys.readouterr().err


# With boto3 itself


@pytest.fixture
def boto3_sqs(monkeypatch: pytest.MonkeyPatch) -> Iterator[SQSClient]:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "eu-west-1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(redrive, "WAIT", 0)  # moto would wait
    with mock_aws():
        yield boto3.client("sqs")


def test_the_source_queue_is_found_by_the_redrive_policy(
    boto3_sqs: SQSClient, capsys: pytest.CaptureFixture[str]
) -> None:
    dead = boto3_sqs.create_queue(QueueName="stop-dead-letter")["QueueUrl"]
    arn = boto3_sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 3})
    source = boto3_sqs.create_queue(QueueName="stop", Attributes={"RedrivePolicy": policy})["QueueUrl"]
    for number in range(12):
        boto3_sqs.send_message(QueueUrl=dead, MessageBody=json.dumps(stop(number)))
    assert main(["--queue", "stop-dead-letter", "--apply"]) == 0
    assert "12 messages: 12 moved" in capsys.readouterr().err
    counts = [
        boto3_sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])["Attributes"]
        for url in (dead, source)
    ]
    assert [each["ApproximateNumberOfMessages"] for each in counts] == ["0", "12"]


def test_a_queue_that_is_not_there_is_said_to_be_not_there(
    boto3_sqs: SQSClient, capsys: pytest.CaptureFixture[str]
) -> None:
    url = boto3_sqs.create_queue(QueueName="stop")["QueueUrl"]
    for queue in ("nowhere", f"{url}-dead"):
        for arguments in ([], ["--apply", "--to", "stop"]):
            assert main(["--queue", queue, *arguments]) == 1
            said = "there is no such queue in this account and region (AWS_PROFILE, AWS_DEFAULT_REGION)"
            first, *others = capsys.readouterr().err.splitlines()
            assert first == (said if "://" in queue else f"{queue}: {said}")
            assert [each for each in others if not each.startswith("moving to")] == ["nothing was moved"]
    assert main(["--queue", "stop", "--apply", "--to", "nowhere"]) == 1
    assert capsys.readouterr().err.startswith("nowhere: there is no such queue")


def test_no_region_is_said_to_be_missing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    assert main(["--queue", "stop"]) == 1
    assert "You must specify a region" in capsys.readouterr().err

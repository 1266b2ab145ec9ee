"""`settle` by example, where a property would only repeat the code."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from shared.commands import Command, Known, known_of, read_command
from shared.findings import Finding, Findings, Verdict
from shared.outcomes import FieldError, Outcome, Status
from shared.planning import task_of
from shared.settlement import Done, GoesOn, LeftOpen, Undone, expire, reject, settle, settle_late
from tests.fakes import BATCH, NOW, defaults

if TYPE_CHECKING:
    from collections.abc import Sequence


def command(*targets: str, **more: Any) -> Command:
    asked = {"targets": list(targets)} if targets else {"all_targets": True}
    return read_command({"command": "stop_targets", "task_id": BATCH.task_id, **asked, **more}, defaults=defaults())


def settled(asked: Command, **verdicts: Verdict) -> Sequence[Outcome]:
    found = {target: Finding(verdict) for target, verdict in verdicts.items()}
    return settle(asked, Findings({task_of(asked): found}), now=NOW, max_attempts=8, jitter=0.5).outcomes


def test_a_part_in_progress_and_the_final_event_of_the_same_targets_have_different_names() -> None:
    (part,) = settled(command("d1", "d2"), d1=Verdict.TAKEN, d2=Verdict.UNFINISHED)
    (final,) = settled(command("d1"), d1=Verdict.TAKEN)
    assert [result.target for result in part.results] == [result.target for result in final.results]
    assert part.outcome_id != final.outcome_id


def test_a_repeat_that_brings_other_news_has_another_name() -> None:
    asked = command("d1", attempt=8)
    names = {
        verdict: settled(asked, d1=verdict)[-1].outcome_id
        for verdict in (Verdict.TAKEN, Verdict.ENDED, Verdict.UNFINISHED, Verdict.REFUSED, Verdict.NOT_FOUND)
    }
    assert names[Verdict.TAKEN] == names[Verdict.ENDED]
    assert len(set(names.values())) == len(names) - 1


@pytest.mark.parametrize("other", [{"command_id": "c-9"}, {"task_id": "ff"}, {"project_id": "p"}, {"instance_id": "i"}])
def test_the_same_targets_of_another_command_have_another_name(other: dict[str, str]) -> None:
    (one,) = settled(command("d1"), d1=Verdict.TAKEN)
    (two,) = settled(command("d1", **other), d1=Verdict.TAKEN)
    assert one.outcome_id != two.outcome_id


def test_two_different_bodies_with_the_same_command_id_are_rejected_under_different_names() -> None:
    known, errors = Known(command_id="c-1"), (FieldError(loc="", msg="no"),)
    assert reject(known, errors, body="a", now=NOW).outcome_id != reject(known, errors, body="b", now=NOW).outcome_id


def whole(asked: Command, **verdicts: Verdict) -> Any:
    found = {target.replace("everything", "*"): Finding(verdict) for target, verdict in verdicts.items()}
    return settle(asked, Findings(whole={task_of(asked): found}), now=NOW, max_attempts=8, jitter=0.5)


def test_stop_all_with_a_passing_fault_on_one_device_goes_on_for_that_device_by_name() -> None:
    settlement = whole(command(), everything=Verdict.TAKEN, d1=Verdict.TAKEN, d2=Verdict.UNFINISHED)
    assert isinstance(settlement, GoesOn)
    assert [result.target for result in settlement.outcomes[0].results] == ["*", "d1"]
    remainder = json.loads(settlement.remainder.to_message())
    assert remainder["targets"] == ["d2"]
    assert "all_targets" not in remainder


def test_stop_all_that_was_not_taken_goes_on_as_stop_all() -> None:
    settlement = whole(command(), everything=Verdict.UNFINISHED)
    assert isinstance(settlement, GoesOn)
    assert json.loads(settlement.remainder.to_message())["all_targets"] is True


def test_a_confirmed_stop_all_awaits_the_task_as_a_whole() -> None:
    settlement = whole(command(confirm=True), everything=Verdict.TAKEN, d1=Verdict.TAKEN, d2=Verdict.REFUSED)
    assert isinstance(settlement, GoesOn)
    remainder = json.loads(settlement.remainder.to_message())
    assert (remainder["awaiting"], remainder["all_targets"]) == (["*"], True)
    assert [result.target for result in settlement.outcomes[0].results] == ["d2"]
    again = read_command(remainder, defaults=defaults())
    state = {task_of(again): {"*": Finding(Verdict.STOPPED)}}
    end = settle(again, Findings(read=state), now=NOW, max_attempts=8, jitter=0.5)
    assert isinstance(end, Done)
    assert [(result.target, result.result.value) for result in end.outcomes[-1].results] == [("*", "stopped")]
    assert (end.outcomes[-1].status.value, end.outcomes[-1].confirmed) == ("failed", False)


def test_a_confirmed_stop_all_with_a_passing_fault_asks_for_all_again() -> None:
    settlement = whole(command(confirm=True), everything=Verdict.TAKEN, d1=Verdict.TAKEN, d2=Verdict.UNFINISHED)
    assert isinstance(settlement, GoesOn)
    remainder = json.loads(settlement.remainder.to_message())
    assert remainder["all_targets"] is True
    assert "awaiting" not in remainder


def test_huaweis_words_go_with_what_is_against_a_target_and_not_with_success() -> None:
    asked = command("d1", "d2")
    words = {
        "d1": Finding(Verdict.ENDED, "IOTDA.014220", "not running", "request-1"),
        "d2": Finding(Verdict.REFUSED, "IOTDA.014222", "wrong type " * 100, "request-2"),
    }
    settlement = settle(asked, Findings({task_of(asked): words}), now=NOW, max_attempts=8, jitter=0.5)
    ended, refused = json.loads(settlement.outcomes[0].to_json())["results"]
    assert ended == {"target": "d1", "result": "already_ended"}
    cut = ("wrong type " * 100)[:298].rpartition(" ")[0] + " …"
    assert (refused["error_code"], refused["request_id"], refused["error_msg"]) == ("IOTDA.014222", "request-2", cut)
    assert len(cut) <= 300


def test_a_hundred_results_of_the_longest_kind_fit_into_one_event() -> None:
    targets = [f"{number:x>256}" for number in range(100)]
    asked = command(*targets, requested_by="\x01" * 128, reason="\x01" * 512)
    words = Finding(Verdict.REFUSED, "IOTDA.014222", "\x01" * 1000, "0" * 64)
    (outcome,) = settle(
        asked, Findings({task_of(asked): dict.fromkeys(targets, words)}), now=NOW, max_attempts=8, jitter=0.5
    ).outcomes
    assert len(outcome.to_json().encode()) < 262_144 - 1_000


@pytest.mark.parametrize(
    ("last", "told"),
    [(Verdict.RUNS, "still_running"), (Verdict.STOPPING, "still_running"), (Verdict.UNFINISHED, "gave_up")],
)
def test_still_running_is_said_only_of_what_was_read_to_run(last: Verdict, told: str) -> None:
    asked = command("d1", confirm=True, awaiting=["d1"], attempt=8)
    state = {task_of(asked): {"d1": Finding(last)}}
    (outcome,) = settle(asked, Findings(read=state), now=NOW, max_attempts=8, jitter=0.5).outcomes
    assert [result.result.value for result in outcome.results] == [told]


def test_a_stop_that_is_taken_at_the_last_attempt_is_read_before_it_is_given_up() -> None:
    asked = command("d1", confirm=True, attempt=8)
    first = settle(
        asked, Findings({task_of(asked): {"d1": Finding(Verdict.TAKEN)}}), now=NOW, max_attempts=8, jitter=0.5
    )
    assert isinstance(first, GoesOn)
    assert (first.remainder.attempt, first.remainder.awaiting) == (2, ("d1",))
    state = Findings(read={task_of(asked): {"d1": Finding(Verdict.STOPPED)}})
    end = settle(first.remainder, state, now=NOW, max_attempts=1, jitter=0.5)
    assert [outcome.status.value for outcome in end.outcomes] == ["succeeded"]


def test_when_all_is_awaited_the_ids_are_written_once() -> None:
    targets = [f"device-{number}" for number in range(1000)]
    asked = command(*targets, confirm=True, attempt=2, awaiting=targets)
    body = asked.to_message()
    assert body.count("device-7,") + body.count('"device-7"') == 1
    assert read_command(json.loads(body), defaults=defaults()) == asked


def test_an_unclear_answer_on_a_listed_target_that_cannot_be_read_leaves_the_message_to_sqs() -> None:
    asked = command()
    found = {task_of(asked): {"d1": Finding(Verdict.TAKEN)}}  # what the execution leaves of "*", d1 and an unread d2
    settlement = settle(asked, Findings(whole=found), now=NOW, max_attempts=8, jitter=0.5)
    assert isinstance(settlement, LeftOpen)
    assert [result.target for result in settlement.outcomes[0].results] == ["d1"]


@pytest.mark.parametrize(
    ("state", "status", "told", "is_kept"),
    [
        (Verdict.STOPPED, "succeeded", "already_ended", False),
        (Verdict.ENDED, "succeeded", "already_ended", False),
        (Verdict.RUNS, "failed", "gave_up", True),
        (Verdict.UNFINISHED, "failed", "gave_up", True),
        (Verdict.NOT_FOUND, "failed", "not_found", False),
    ],
)
def test_a_repeat_that_comes_too_late_tells_the_state_and_sends_nothing(
    state: Verdict, status: str, told: str, *, is_kept: bool
) -> None:
    asked = command("d1")
    settlement = settle_late(asked, Findings(read={task_of(asked): {"d1": Finding(state)}}), now=NOW)
    (outcome,) = settlement.outcomes
    assert (outcome.status.value, outcome.results[0].result.value) == (status, told)
    assert isinstance(settlement, Undone) is is_kept


NOT_ASKED = Finding(Verdict.UNFINISHED, was_asked=False)
THROTTLED = Finding(Verdict.UNFINISHED, throttled=True)


@pytest.mark.parametrize(
    ("d1", "d2", "attempt"),
    [
        (NOT_ASKED, NOT_ASKED, 8),
        (Finding(Verdict.TAKEN), NOT_ASKED, 8),
        (Finding(Verdict.TAKEN), THROTTLED, 8),
        (THROTTLED, NOT_ASKED, None),
        (THROTTLED, THROTTLED, None),
        (Finding(Verdict.TAKEN), Finding(Verdict.UNFINISHED), None),
    ],
)
def test_what_only_waits_for_its_turn_uses_up_no_attempt(d1: Finding, d2: Finding, attempt: int | None) -> None:
    asked = command("d1", "d2", attempt=8)
    settlement = settle(asked, Findings({task_of(asked): {"d1": d1, "d2": d2}}), now=NOW, max_attempts=8, jitter=0.5)
    assert (settlement.remainder.attempt if isinstance(settlement, GoesOn) else None) == attempt


@pytest.mark.parametrize(
    ("more", "state", "told", "kept_as"),
    [
        ({}, Verdict.STOPPING, "already_ended", None),
        ({}, Verdict.REFUSED, "gave_up", "to stop"),  # the read was refused, not the stop
        ({"confirm": True}, Verdict.STOPPED, "already_ended", None),
        ({"confirm": True}, Verdict.STOPPING, "still_running", "awaiting"),
        ({"confirm": True}, Verdict.RUNS, "gave_up", "to stop"),
        ({"confirm": True}, Verdict.UNFINISHED, "gave_up", "to stop"),
        ({"confirm": True, "awaiting": ["d1"]}, Verdict.STOPPED, "stopped", None),
        ({"confirm": True, "awaiting": ["d1"]}, Verdict.ENDED, "already_ended", None),
        ({"confirm": True, "awaiting": ["d1"]}, Verdict.STOPPING, "still_running", "awaiting"),
        ({"confirm": True, "awaiting": ["d1"]}, Verdict.RUNS, "still_running", "awaiting"),
        ({"confirm": True, "awaiting": ["d1"]}, Verdict.UNFINISHED, "gave_up", "awaiting"),
        ({"confirm": True, "awaiting": ["d1"]}, Verdict.REFUSED, "gave_up", "awaiting"),
        ({"dry_run": True}, Verdict.RUNS, "would_stop", None),
        ({"dry_run": True}, Verdict.UNFINISHED, "gave_up", None),
    ],
    ids=str,
)
def test_a_late_repeat_says_no_more_than_the_state_that_was_read(
    more: dict[str, Any], state: Verdict, told: str, kept_as: str | None
) -> None:
    asked = command("d1", attempt=3, tally={"stopped": 2}, **more)
    settlement = settle_late(asked, Findings(read={task_of(asked): {"d1": Finding(state)}}), now=NOW)
    (outcome,) = settlement.outcomes
    assert [each.result.value for each in outcome.results] == [told]
    assert (outcome.tally.stopped, outcome.tally.total) == (2 + (told == "stopped"), 3)
    ended = told in {"stopped", "already_ended"}
    assert outcome.confirmed is (ended if asked.confirm else None)
    left = settlement.left if isinstance(settlement, Undone) else None
    kept = None if left is None else "awaiting" if left.awaiting else "to stop"
    assert kept == kept_as


def test_the_end_of_a_command_to_confirm_that_nothing_was_read_of_is_unconfirmed() -> None:
    asked = command("d1", confirm=True)
    rejected = reject(known_of(asked), (FieldError(loc="", msg="no"),), body="{}", now=NOW)
    (expired,) = expire(asked, now=NOW).outcomes
    assert (rejected.confirmed, expired.confirmed) == (False, False)
    without = command("d1")
    assert reject(known_of(without), (), body="{}", now=NOW).confirmed is None
    assert expire(without, now=NOW).outcomes[0].confirmed is None


@pytest.mark.parametrize("begun", [{"attempt": 2}, {"tally": {"stopped": 1}}, {"confirm": True, "awaiting": ["d1"]}])
def test_a_command_that_was_begun_never_expires_as_if_nothing_had_been_sent(begun: dict[str, Any]) -> None:
    assert isinstance(expire(command("d1", "d2", **begun), now=NOW), Undone)


def test_the_events_of_a_long_command_are_the_same_whenever_they_are_asked_for() -> None:
    targets = tuple(f"d{number}" for number in range(1_950))
    verdicts = {target: (Verdict.TAKEN, Verdict.ENDED, Verdict.NOT_FOUND)[int(target[1:]) % 3] for target in targets}
    events = settled(command(*targets), **verdicts)
    at_once = list(events)
    assert [len(event.results) for event in at_once] == [100] * 19 + [50]
    assert list(events) == at_once
    assert [events[number] for number in range(len(events))] == at_once
    assert (events[-1], tuple(events[3:5]), tuple(events[-2:])) == (
        at_once[-1],
        tuple(at_once[3:5]),
        tuple(at_once[-2:]),
    )
    assert [event.status for event in at_once] == [Status.IN_PROGRESS] * 19 + [Status.FAILED]
    assert [event.tally.total for event in at_once] == [*range(100, 1_901, 100), 1_950]
    with pytest.raises(IndexError):
        events[20]


@pytest.mark.parametrize("ended", [range(250, 350), range(0, 1_000, 5), range(999, 1_000)])
def test_the_parts_of_a_long_command_are_cut_by_place_and_empty_ones_are_no_events(ended: range) -> None:
    targets = tuple(f"d{number}" for number in range(1_000))
    found = {t: Verdict.TAKEN if int(t[1:]) in ended else Verdict.UNFINISHED for t in targets}
    events = settled(command(*targets), **found)
    assert [int(each.target[1:]) for event in events for each in event.results] == list(ended)
    assert all(len({int(each.target[1:]) // 100 for each in event.results}) == 1 for event in events)
    assert all(event.status is Status.IN_PROGRESS for event in events)

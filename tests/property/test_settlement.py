"""`settle`: every target accounted for once, one final event, and names that a repeat would give again."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.commands import ALL_TARGETS, Command, read_command
from shared.findings import Finding, Findings, Verdict
from shared.outcomes import Outcome, Status
from shared.planning import task_of, to_read
from shared.settlement import Done, GoesOn, LeftOpen, Settlement, Undone, delay_before, expire, settle, settle_late
from tests.fakes import NOW, defaults
from tests.strategies import commands

if TYPE_CHECKING:
    from collections.abc import Sequence

# What an execution can find out about a target, by what the command wants of it.
OF_A_STOP: Final = (
    Verdict.TAKEN,
    Verdict.STOPPING,
    Verdict.STOPPED,
    Verdict.ENDED,
    Verdict.NOT_FOUND,
    Verdict.REFUSED,
    Verdict.UNFINISHED,
)
OF_A_READ: Final = (Verdict.RUNS, *(verdict for verdict in OF_A_STOP if verdict is not Verdict.TAKEN))


def finding(verdict: Verdict) -> Finding:
    return Finding(verdict, "IOTDA.000000", "words", "request-1")


@st.composite
def found(draw: st.DrawFn, command: Command) -> Findings:
    """Something found out about every target of the command."""
    task, reading = task_of(command), set(to_read(command))
    named: dict[str, Finding] = {}
    whole: dict[str, Finding] = {}
    read: dict[str, Finding] = {}
    of_stops = draw(st.lists(st.sampled_from(OF_A_STOP), min_size=1, max_size=3))
    of_reads = draw(st.lists(st.sampled_from(OF_A_READ), min_size=1, max_size=3))
    for place, target in enumerate(command.asked):
        if target in reading:
            read[target] = finding(of_reads[place % len(of_reads)])
        else:
            (whole if target == ALL_TARGETS else named)[target] = finding(of_stops[place % len(of_stops)])
    if whole.get(ALL_TARGETS, finding(Verdict.UNFINISHED)).verdict is Verdict.TAKEN:
        whole |= {
            f"listed-{n}": finding(v) for n, v in enumerate(draw(st.lists(st.sampled_from(OF_A_STOP), max_size=5)))
        }
    return Findings({task: named}, {task: whole}, {task: read})


@st.composite
def settled(draw: st.DrawFn) -> tuple[Command, Settlement]:
    command = draw(commands())
    findings = draw(found(command))
    return command, settle(command, findings, now=NOW, max_attempts=8, jitter=draw(st.floats(0, 1)))


def told(settlement: Settlement) -> Counter[str]:
    return Counter(result.target for outcome in settlement.outcomes for result in outcome.results)


@given(settled())
def test_each_target_is_told_once_or_goes_on_and_never_both(case: tuple[Command, Settlement]) -> None:
    command, settlement = case
    results = told(settlement)
    assert set(results.values()) <= {1}
    goes_on = set(settlement.remainder.asked) if isinstance(settlement, GoesOn) else set()
    assert not goes_on & set(results)
    assert set(command.asked) <= set(results) | goes_on


@given(settled())
def test_a_command_has_one_final_event_and_it_is_the_last(case: tuple[Command, Settlement]) -> None:
    _, settlement = case
    finals = [outcome.status is not Status.IN_PROGRESS for outcome in settlement.outcomes]
    if isinstance(settlement, Done | Undone):
        assert finals == [False] * (len(finals) - 1) + [True]
    else:
        assert not any(finals)


@given(settled())
def test_the_tally_counts_what_was_told_on_top_of_what_was_told_before(case: tuple[Command, Settlement]) -> None:
    command, settlement = case
    running = Counter(dict(command.tally))
    for outcome in settlement.outcomes:
        running += Counter(result.result.value for result in outcome.results)
        assert Counter(dict(outcome.tally)) == running
    if isinstance(settlement, GoesOn):
        assert Counter(dict(settlement.remainder.tally)) == running


@given(settled())
def test_success_is_said_only_if_everything_has_ended(case: tuple[Command, Settlement]) -> None:
    command, settlement = case
    for outcome in settlement.outcomes:
        if outcome.status is Status.SUCCEEDED:
            assert outcome.tally.total == outcome.tally.stopped + outcome.tally.already_ended
        if outcome.status is Status.FAILED:
            assert outcome.tally.total > outcome.tally.stopped + outcome.tally.already_ended
        if outcome.status is Status.DRY_RUN:
            assert command.dry_run
        assert (outcome.confirmed is not None) == (command.confirm and outcome.status is not Status.IN_PROGRESS)
        assert outcome.confirmed is not True or outcome.status is Status.SUCCEEDED


@given(settled())
def test_what_goes_on_is_a_valid_command_one_attempt_later(case: tuple[Command, Settlement]) -> None:
    command, settlement = case
    if isinstance(settlement, GoesOn):
        # What now only awaits confirmation begins a count of its own.
        assert settlement.remainder.attempt in {command.attempt + 1, 2 if command.confirm else command.attempt + 1}
        assert 0 < settlement.delay_seconds <= 900
        assert read_command(json.loads(settlement.remainder.to_message()), defaults=defaults()) == settlement.remainder
    if isinstance(settlement, Undone):
        assert settlement.left.attempt == 1


@given(settled())
def test_no_part_of_a_command_bears_the_name_of_another(case: tuple[Command, Settlement]) -> None:
    _, settlement = case
    names = [outcome.outcome_id for outcome in settlement.outcomes]
    assert len(set(names)) == len(names)


@given(commands(), st.sampled_from([Verdict.STOPPING, Verdict.STOPPED, Verdict.ENDED]))
def test_a_repeat_that_finds_all_stopped_gives_the_same_names(command: Command, verdict: Verdict) -> None:
    if command.dry_run or command.confirm:
        return

    def outcomes(each: Verdict) -> Sequence[Outcome]:
        task = task_of(command)
        states = dict.fromkeys(command.asked, finding(each))
        return settle(command, Findings({task: states}, {task: states}), now=NOW, max_attempts=8, jitter=0.5).outcomes

    assert [o.outcome_id for o in outcomes(Verdict.TAKEN)] == [o.outcome_id for o in outcomes(verdict)]


@given(commands())
def test_what_was_not_found_out_leaves_the_message_to_sqs(command: Command) -> None:
    settlement = settle(command, Findings(), now=NOW, max_attempts=8, jitter=0.5)
    assert settlement == LeftOpen(())


@given(commands())
def test_an_expired_command_says_that_nothing_was_sent_and_an_expired_remainder_that_it_gave_up(
    command: Command,
) -> None:
    settlement = expire(command, now=NOW)
    final = settlement.outcomes[-1]
    if command.attempt == 1 and not command.tally.total and not command.awaiting:
        assert isinstance(settlement, Done)
        assert (final.status, final.results, final.tally.total) == (Status.EXPIRED, (), 0)
    else:
        assert told(settlement) == Counter(command.asked)
        assert {r.result.value for outcome in settlement.outcomes for r in outcome.results} == {"gave_up"}
        assert final.status is (Status.DRY_RUN if command.dry_run else Status.FAILED)
        assert isinstance(settlement, Done if command.dry_run else Undone)
    assert final.confirmed is (False if command.confirm else None)


@st.composite
def left_over(draw: st.DrawFn) -> tuple[Command, Settlement]:
    """A command settled in each of the ways in which something of it may be requeued or dead-lettered."""
    command = draw(commands().filter(lambda each: not each.dry_run))
    match draw(st.sampled_from(["in time", "late", "expired"])):
        case "in time":
            settlement = settle(command, draw(found(command)), now=NOW, max_attempts=3, jitter=0.5)
        case "late":
            states = draw(st.lists(st.sampled_from(OF_A_READ), min_size=1, max_size=3))
            read = {target: finding(states[place % len(states)]) for place, target in enumerate(command.asked)}
            settlement = settle_late(command, Findings(read={task_of(command): read}), now=NOW)
        case _:
            settlement = expire(command, now=NOW)
    return command, settlement


@given(left_over())
def test_what_awaits_its_confirmation_awaits_it_in_every_message_that_leaves(case: tuple[Command, Settlement]) -> None:
    command, settlement = case
    match settlement:
        case GoesOn(remainder=left) | Undone(left=left):
            again = read_command(json.loads(left.to_message()), defaults=defaults())
            assert set(command.awaiting) & set(again.asked) <= set(again.awaiting)
            assert (again.attempt, again.tally) == (left.attempt, left.tally)
            assert json.loads(left.to_message())["attempt"] == left.attempt, "by which the service knows its own"
        case _:
            pass


@given(commands(), st.sampled_from(OF_A_READ))
def test_a_late_repeat_is_one_final_event_on_top_of_the_tally_and_never_gives_up_on_what_has_ended(
    command: Command, verdict: Verdict
) -> None:
    states = dict.fromkeys(command.asked, finding(verdict))
    settlement = settle_late(command, Findings(read={task_of(command): states}), now=NOW)
    assert told(settlement) == Counter(command.asked)
    final = settlement.outcomes[-1]
    assert final.tally.total == command.tally.total + len(command.asked)
    assert [each.status for each in settlement.outcomes[:-1]] == [Status.IN_PROGRESS] * (len(settlement.outcomes) - 1)
    results = {each.result.value for outcome in settlement.outcomes for each in outcome.results}
    if verdict in {Verdict.STOPPED, Verdict.ENDED}:
        assert results <= {"stopped", "already_ended"}
    elif command.confirm:
        assert final.confirmed is False


@given(commands(), st.sampled_from([Verdict.STOPPED, Verdict.ENDED]))
def test_a_late_repeat_that_finds_all_ended_gives_the_names_of_what_was_said_in_time(
    command: Command, verdict: Verdict
) -> None:
    if command.dry_run:
        return
    task = task_of(command)
    states = {task: dict.fromkeys(command.asked, finding(verdict))}
    in_time = settle(command, Findings(states, states, states), now=NOW, max_attempts=8, jitter=0.5)
    late = settle_late(command, Findings(read=states), now=NOW)
    assert [each.outcome_id for each in late.outcomes] == [each.outcome_id for each in in_time.outcomes]


@given(commands())
def test_an_unclear_answer_cannot_be_settled(command: Command) -> None:
    task = task_of(command)
    unclear = {task: dict.fromkeys(command.asked, finding(Verdict.UNCLEAR))}
    with pytest.raises(KeyError):
        settle(command, Findings(unclear, unclear, unclear), now=NOW, max_attempts=8, jitter=0.5)


@given(st.integers(2, 1000), st.floats(0, 3600), st.floats(0, 1))
def test_a_delay_grows_and_stays_within_what_sqs_takes(attempt: int, asked: float, jitter: float) -> None:
    delay = delay_before(attempt, asked_to_wait=asked, jitter=jitter)
    assert 0 < delay <= 900
    assert delay >= min(asked, 900)
    assert delay <= delay_before(attempt + 2, asked_to_wait=asked, jitter=jitter)

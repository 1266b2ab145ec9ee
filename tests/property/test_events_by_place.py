"""The events of a long command are made when asked for: the same, to the byte, as if all were made at once."""

from __future__ import annotations

from itertools import count, cycle
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import publishing, settlement
from shared.commands import ALL_TARGETS, Command, read_command
from shared.findings import Finding, Findings, Verdict
from shared.outcomes import RESULTS_PER_EVENT, Result, Status
from shared.planning import task_of, to_read
from shared.publishing import Parcel, Publisher
from shared.settlement import Done, GoesOn, Settlement, Undone, expire, settle, settle_late
from tests.fakes import NOW, Clock, FakeAws, defaults

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from shared.outcomes import Outcome

TERMINAL = (
    Verdict.STOPPED,
    Verdict.ENDED,
    Verdict.STOPPING,
    Verdict.NOT_FOUND,
    Verdict.REFUSED,
    Verdict.UNFINISHED,
    None,
)
OF_A_READ = (*TERMINAL, Verdict.RUNS)
OF_A_STOP = (*TERMINAL, Verdict.TAKEN)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Command, Findings, int]:
    """A command of some 1 to 500 targets, what was found out of each, and how many attempts there may be."""
    confirm, dry_run = draw(st.booleans()), draw(st.booleans())
    attempt = draw(st.integers(1, 3))
    fields: dict[str, object] = {
        "command": "stop_targets",
        "task_id": "5f1ac5c3e4b0",
        "confirm": confirm,
        "dry_run": dry_run,
        "attempt": attempt,
        "tally": {"stopped": draw(st.integers(0, 3)), "not_found": draw(st.integers(0, 3))},
    }
    if draw(st.integers(0, 4)):
        targets = [f"device-{n}" for n in range(draw(st.integers(1, 5 * RESULTS_PER_EVENT)))]
        fields["targets"] = targets
        if confirm and attempt > 1:
            fields["awaiting"] = targets[: draw(st.integers(0, len(targets)))]
    else:
        fields["all_targets"] = True
    command = read_command(fields, defaults=defaults())
    stops, reads = cycle(runs(draw, OF_A_STOP)), cycle(runs(draw, OF_A_READ))
    task, reading = task_of(command), frozenset(to_read(command))
    named: dict[str, Finding] = {}
    whole: dict[str, Finding] = {}
    read: dict[str, Finding] = {}
    for place, target in enumerate(command.asked):
        verdict = next(reads if target in reading else stops)
        if verdict is not None:
            found = Finding(verdict, "IOTDA.1", f"words {place % 3}", f"request-{place // 100}")
            (read if target in reading else whole if target == ALL_TARGETS else named)[target] = found
    if ALL_TARGETS in whole:
        whole |= {f"listed-{n}": Finding(next(stops) or Verdict.ENDED) for n in range(draw(st.integers(0, 250)))}
    return command, Findings({task: named}, {task: whole}, {task: read}), draw(st.integers(1, 3))


def runs(draw: st.DrawFn, verdicts: Sequence[Verdict | None]) -> list[Verdict | None]:
    """Verdicts that come in runs, as they do: whole parts without a result are among them."""
    some = st.lists(st.tuples(st.sampled_from(verdicts), st.integers(1, 120)), min_size=1, max_size=8)
    return [verdict for verdict, times in draw(some) for _ in range(times)]


def ways(
    make: Callable[[], Settlement],
) -> tuple[Settlement, Settlement]:
    """Settle twice: with all events made at once, and with none of them."""
    settled = []
    for kept in (1_000_000, 0):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(settlement, "EVENTS_KEPT", kept)
            settled.append(make())
    return settled[0], settled[1]


def assert_same(at_once: Settlement, by_place: Settlement) -> None:
    assert type(at_once) is type(by_place)
    assert isinstance(at_once.outcomes, tuple)
    assert not at_once.outcomes or not isinstance(by_place.outcomes, tuple)
    first, again = list(by_place.outcomes), list(by_place.outcomes)
    assert [each.to_json() for each in first] == [each.to_json() for each in at_once.outcomes]
    assert first == again, "told of as it was published"
    assert [by_place.outcomes[place - len(first)] for place in range(len(first))] == first
    assert tuple(by_place.outcomes[1:]) == at_once.outcomes[1:]
    match at_once, by_place:
        case GoesOn() as ours, GoesOn() as theirs:
            assert (ours.remainder, ours.delay_seconds) == (theirs.remainder, theirs.delay_seconds)
        case Undone() as ours, Undone() as theirs:
            assert (ours.left, ours.failure_reason) == (theirs.left, theirs.failure_reason)


def expected(command: Command, outcomes: Sequence[Outcome]) -> None:
    """Hold the events against the command, without a word of the code that made them."""
    place = {target: number for number, target in enumerate(command.asked)}
    tally = dict(command.tally)
    for outcome in outcomes:
        assert 1 <= len(outcome.results) <= RESULTS_PER_EVENT
        for each in outcome.results:
            tally[each.result.value] += 1
        assert dict(outcome.tally) == tally, "a tally counts up to its own event"
    if command.asked != (ALL_TARGETS,):
        places = [[place[each.target] for each in outcome.results] for outcome in outcomes]
        told = [number for some in places for number in some]
        assert told == sorted(set(told)), "in order, each once"
        parts = [{number // RESULTS_PER_EVENT for number in some} for some in places]
        assert all(len(part) == 1 for part in parts), "cut by the place in the command"
    assert len({outcome.outcome_id for outcome in outcomes}) == len(outcomes)


@given(cases())
def test_events_made_when_asked_for_are_those_made_at_once(case: tuple[Command, Findings, int]) -> None:
    command, findings, attempts = case
    at_once, by_place = ways(lambda: settle(command, findings, now=NOW, max_attempts=attempts, jitter=0.5))
    assert_same(at_once, by_place)
    expected(command, by_place.outcomes)
    finals = [outcome.status is not Status.IN_PROGRESS for outcome in by_place.outcomes]
    assert finals == [isinstance(by_place, Done | Undone) and n == len(finals) - 1 for n in range(len(finals))]


def all_found(command: Command, findings: Findings) -> dict[str, Finding]:
    task = task_of(command)
    return {
        target: finding
        for found in (findings.named, findings.whole, findings.read)
        for target, finding in found.get(task, {}).items()
    }


@given(cases())
def test_each_target_ends_by_its_own_finding(case: tuple[Command, Findings, int]) -> None:
    """Not by its neighbour's: the columns of targets and ends stay side by side."""
    command, findings, attempts = case
    found = all_found(command, findings)
    _, by_place = ways(lambda: settle(command, findings, now=NOW, max_attempts=attempts, jitter=0.5))
    for outcome in by_place.outcomes:
        for each in outcome.results:
            if each.request_id is not None:
                assert (each.error_msg, each.request_id) == (
                    found[each.target].error_msg,
                    found[each.target].request_id,
                )
            if each.result is Result.NOT_FOUND:
                assert found[each.target].verdict is Verdict.NOT_FOUND


@given(cases())
def test_what_expired_and_what_came_late_is_told_the_same_either_way(case: tuple[Command, Findings, int]) -> None:
    command, findings, _ = case
    read = Findings({}, {}, {task_of(command): read_only(command, findings)})
    at_once, by_place = ways(lambda: settle_late(command, read, now=NOW))
    assert_same(at_once, by_place)
    expected(command, by_place.outcomes)
    at_once, by_place = ways(lambda: expire(command, now=NOW))
    if at_once.outcomes[0].status is Status.EXPIRED:
        assert at_once == by_place
    else:
        assert_same(at_once, by_place)
        expected(command, by_place.outcomes)


def read_only(command: Command, findings: Findings) -> dict[str, Finding]:
    found = all_found(command, findings)
    states = {target: found.get(target, Finding(Verdict.RUNS)) for target in command.asked}
    return {t: f if f.verdict is not Verdict.TAKEN else Finding(Verdict.STOPPED) for t, f in states.items()}


@given(cases(), st.integers(0, 6), st.sets(st.integers(0, 6), max_size=3))
def test_however_it_is_cut_each_event_is_published_once_and_what_failed_is_not_acknowledged(
    case: tuple[Command, Findings, int], at_once: int, refused: set[int]
) -> None:
    command, findings, attempts = case
    _, by_place = ways(lambda: settle(command, findings, now=NOW, max_attempts=attempts, jitter=0.5))
    numbers = count()
    aws = FakeAws(refuse=lambda _: "no" if next(numbers) in refused else None)
    parcel = Parcel("m-1", by_place.outcomes, None, None)
    other = Parcel("m-2", by_place.outcomes[:1], None, None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(publishing, "WRITTEN_AT_ONCE", at_once + 1)
        publisher = Publisher(bus=aws, queues=aws, bus_name="outcomes")
        published = publisher.publish([parcel, other], deadline=Clock().deadline())
    told = [(each.message_id, outcome) for each in (parcel, other) for outcome in each.outcomes]
    before = [each for each in told if each[1].status is Status.IN_PROGRESS]
    finals = [each for each in told if each[1].status is not Status.IN_PROGRESS]
    are_held_back = bool(refused & set(range(len(before))))
    put = before if are_held_back else before + finals
    assert [event["outcome_id"] for event in aws.events] == [
        outcome.outcome_id for number, (_, outcome) in enumerate(put) if number not in refused
    ]
    failed = {message_id for number, (message_id, _) in enumerate(put) if number in refused}
    assert published.failed.keys() == failed | ({message_id for message_id, _ in finals} if are_held_back else set())

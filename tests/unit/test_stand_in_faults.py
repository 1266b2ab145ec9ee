from __future__ import annotations

from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from local.huawei.faults import DELIVERY_FAULTS, Faults, TokenBucket, takes_effect
from local.huawei.scenario import Fault, FaultKind, Quota

STOP: dict[str, Any] = {
    "service": "iotda",
    "operation": "stop_batch_task",
    "task_id": "b1",
    "targets": ("d1", "d2"),
}


def taken(faults: Faults, times: int, **request: Any) -> list[str | None]:
    return [None if fault is None else fault.kind for fault in (faults.take(**(STOP | request)) for _ in range(times))]


def test_without_rules_nothing_goes_wrong() -> None:
    assert taken(Faults(), 1) == [None]


@pytest.mark.parametrize(
    ("rule", "hits"),
    [
        ({}, True),
        ({"service": "iotda"}, True),
        ({"service": "check"}, False),
        ({"operation": "stop_batch_task"}, True),
        ({"operation": "show_batch_task"}, False),
        ({"task_id": "b1"}, True),
        ({"task_id": "b2"}, False),
        ({"target": "d2"}, True),
        ({"target": "d3"}, False),
        ({"service": "iotda", "task_id": "b2"}, False),
    ],
)
def test_a_rule_hits_what_matches_all_of_it(rule: dict[str, Any], hits: bool) -> None:  # noqa: FBT001 - an example
    assert taken(Faults([Fault(kind="null_200", **rule)]), 1) == ["null_200" if hits else None]


def test_the_nth_that_matches_is_hit_whatever_comes_between() -> None:
    faults = Faults([Fault(kind="null_200", task_id="b1", nth=2)])
    assert taken(faults, 1) == [None]
    assert taken(faults, 3, task_id="b2") == [None] * 3
    assert taken(faults, 2) == ["null_200", None]


def test_the_next_n_that_match_are_hit() -> None:
    assert taken(Faults([Fault(kind="null_200", times=2)]), 3) == ["null_200", "null_200", None]


def test_the_first_rule_that_fires_decides_and_the_others_count_on() -> None:
    faults = Faults([Fault(kind="slow", nth=1), Fault(kind="redirect", nth=2), Fault(kind="junk_200", times=1)])
    assert taken(faults, 4) == ["slow", "redirect", "junk_200", None]


def test_chance_is_the_same_for_the_same_seed() -> None:
    rules = [Fault(kind="null_200", probability=0.5)]
    first, again, other = (taken(Faults(rules, seed=seed), 200) for seed in (1, 1, 2))
    assert first == again != other
    assert 50 < first.count("null_200") < 150


def test_faults_of_targets_pass_over_a_stop_of_everything() -> None:
    for kind in ("target_missing", "target_failure"):
        assert taken(Faults([Fault(kind=kind)]), 1, targets=()) == [None]


@pytest.mark.parametrize("kind", sorted(set(get_args(FaultKind)) - DELIVERY_FAULTS - {"target_failure"}))
def test_a_replaced_answer_hides_an_effect_only_if_it_is_told_to(kind: FaultKind) -> None:
    assert takes_effect(Fault(kind=kind)) is (kind in {"legacy_200", "junk_200", "null_200"})
    assert takes_effect(Fault(kind=kind, handled=True)) is (kind != "cut_before")
    assert not takes_effect(Fault(kind=kind, handled=False))


def test_a_rule_with_an_unknown_word_is_refused() -> None:
    with pytest.raises(ValidationError):
        Fault.model_validate({"kind": "slow", "second": 3})


@given(
    per_second=st.integers(1, 50),
    burst=st.integers(1, 50),
    gaps=st.lists(st.sampled_from([0.0, 0.125, 1.0, 4.0]), min_size=1, max_size=60),
)
def test_a_quota_never_gives_more_than_its_burst_and_its_rate(per_second: int, burst: int, gaps: list[float]) -> None:
    bucket = TokenBucket(Quota(service="iotda", per_second=per_second, burst=burst), now=0)
    now = 0.0
    given_out = 0
    for gap in gaps:
        now += gap
        given_out += bucket.take(now)
        assert given_out <= burst + per_second * now


def test_a_quota_fills_again() -> None:
    bucket = TokenBucket(Quota(service="iotda", per_second=2), now=0)
    assert [bucket.take(now) for now in (0, 0, 0, 0.25, 0.5, 9, 9, 9)] == [
        True,
        True,
        False,
        False,
        True,
        True,
        True,
        False,
    ]

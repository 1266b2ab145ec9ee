"""The topic's two filters part what is published: each JSON object goes to exactly one queue."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared.commands import InvalidCommand, read_command
from shared.envelopes import Incoming, open_envelope
from tests.fakes import NOW, defaults
from tests.template.filters import matches
from tests.template.loading import translated

POLICIES: Final = {
    name: translated()["Resources"][f"{name}Subscription"]["Properties"]["FilterPolicy"]
    for name in ("StopTask", "StopTargets")
}
ABSENT: Final = object()

COMMAND_WORDS: Final = st.one_of(
    st.just(ABSENT), st.just("stop_targets"), st.sampled_from(["stop_task", "stop_tusk", "STOP_TARGETS", "", " "])
)
ANYTHING: Final = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["stop_targets", "stop_task", "", "x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["detail", "command", "source", "a"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@st.composite
def bodies(draw: st.DrawFn) -> dict[str, Any]:
    """JSON objects, whose `command`, here and in `detail`, is a text if it is there, as is their `detail-type`.

    Their `detail` is no list; what is in the other fields may be anything.
    """
    detail: Any = draw(st.just(ABSENT) | ANYTHING | st.dictionaries(st.sampled_from(["task_id", "detail"]), ANYTHING))
    if isinstance(detail, list):
        detail = {"list": detail}
    if isinstance(detail, dict):
        detail = detail | {"command": draw(COMMAND_WORDS)}
        detail = {name: value for name, value in detail.items() if value is not ABSENT}
    body = {
        "command": draw(COMMAND_WORDS),
        "detail-type": draw(st.sampled_from([ABSENT, "Stop Requested", "x"])),
        "source": draw(st.sampled_from([ABSENT, "my.deployments"])),
        "detail": detail,
        "task_id": draw(st.sampled_from([ABSENT, "5f1a"])),
        "list": draw(st.just(ABSENT) | st.lists(ANYTHING, max_size=3)),
    }
    return {name: value for name, value in body.items() if value is not ABSENT}


def queues_of(body: Any, *, needs_parents: bool = False) -> list[str]:
    return [name for name, policy in POLICIES.items() if matches(policy, body, needs_parents=needs_parents)]


def wanted(body: dict[str, Any]) -> str:
    """Return whose queue a body is for: a command's own word counts first."""
    detail = body.get("detail")
    in_an_event = detail.get("command") if "detail-type" in body and isinstance(detail, dict) else None
    return "StopTargets" if body.get("command", in_an_event) == "stop_targets" else "StopTask"


@given(bodies())
@settings(max_examples=500)
def test_each_object_goes_to_exactly_one_queue(body: dict[str, Any]) -> None:
    assert queues_of(body) == [wanted(body)]


@given(bodies())
@settings(max_examples=200)
def test_what_a_function_carries_out_comes_to_its_queue(body: dict[str, Any]) -> None:
    opened: Any = open_envelope(Incoming("m-0", json.dumps(body), NOW)).payload
    kind = opened.get("command") if isinstance(opened, dict) else None
    if kind in {"stop_task", "stop_targets"}:
        assert queues_of(body) == ["StopTargets" if kind == "stop_targets" else "StopTask"]


@given(bodies())
@settings(max_examples=500)
def test_each_command_and_each_event_goes_to_its_queue_whatever_exists_means_in_a_missing_object(
    body: dict[str, Any],
) -> None:
    if "command" not in body:
        body = body | {"detail-type": "x", "detail": {"task_id": "5f1a"} | _object(body.get("detail"))}
    assert queues_of(body, needs_parents=True) == [wanted(body)]


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


WORDS: Final = st.sampled_from(["stop_targets", "stop_task", "x"])
LISTS: Final = st.lists(WORDS, min_size=1, max_size=3)
OBJECTS: Final = st.lists(st.fixed_dictionaries({"command": WORDS}), min_size=1, max_size=3)


@given(
    st.fixed_dictionaries({"command": LISTS})
    | st.fixed_dictionaries({"detail": OBJECTS | st.fixed_dictionaries({"command": LISTS})})
)
@example({"detail": [{"command": "stop_targets"}, {"command": "stop_task"}]})
def test_a_list_may_go_to_both_queues_and_no_function_carries_it_out(odd: dict[str, Any]) -> None:
    valid = {"command": "stop_targets", "task_id": "5f1a", "targets": ["d0"]}
    body = {"detail-type": "x", "source": "my.deployments", "detail": valid} | odd
    assert queues_of(body)
    words = [each["command"] for each in odd["detail"]] if isinstance(odd.get("detail"), list) else None
    if words and {"stop_targets", "stop_task"} <= {*words}:
        assert queues_of(body) == ["StopTask", "StopTargets"]
    opened = open_envelope(Incoming("m-0", json.dumps(body), NOW))
    with pytest.raises(InvalidCommand):
        read_command(opened.payload, defaults=defaults())


@pytest.mark.parametrize("body", [None, 1, "stop_targets", ["stop_targets"], [{"command": "stop_targets"}]])
def test_what_is_no_object_goes_to_none(body: Any) -> None:
    assert queues_of(json.loads(json.dumps(body))) == []

"""A check's id outlives its runs, so a stop of which nobody knows whether it was taken is not sent again blindly.

Whatever happens to requests, answers and processes: between two stops of a check, the first of which may have been
taken, its state was read.
"""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given, settings

from local.huawei import AccessKey, CheckTask, Fault, Scenario
from tests.simulation import Boundary, Simulation

LOST = (
    Fault(kind="cut_after"),
    Fault(kind="cut_before"),
    Fault(kind="slow", seconds=30.0),
    Fault(kind="error_html", handled=True),
    Fault(kind="error_json", handled=True),
    Fault(kind="answer", status=504, body={"error_code": "APIGW.0201", "error_msg": "Backend timeout"}, handled=True),
    Fault(kind="answer", status=409, body={"error_code": "CC.00059903", "error_msg": "being changed"}),
)
KNOWN = (
    Fault(kind="throttle_429"),
    Fault(kind="answer", status=200, body=None),
)
OPERATIONS = ("stop_check_task", "show_check_progress", None)

faults = st.tuples(st.sampled_from((*LOST, *KNOWN)), st.sampled_from(OPERATIONS), st.integers(1, 6)).map(
    lambda drawn: drawn[0].model_copy(update={"operation": drawn[1], "times": drawn[2]})
)


@given(
    trouble=st.lists(faults, max_size=4),
    kills=st.lists(st.sampled_from([None, *Boundary]), max_size=4),
    restarts=st.sets(st.integers(0, 6)),
    confirm=st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_a_stop_in_doubt_is_never_sent_again_before_the_state_was_read(
    *, trouble: list[Fault], kills: list[Boundary | None], restarts: set[int], confirm: bool
) -> None:
    world = Simulation("stop_task", scenario=Scenario(keys=(AccessKey(),), check_tasks=(CheckTask(task_id="c1"),)))
    world.cloud.set_faults(*trouble)
    world.send({"command": "stop_task", "task_id": "c1", "confirm": confirm})
    for delivery in range(60):
        if not world.queue:
            break
        world.clock.seconds = max(world.clock.seconds, world.queue[0].visible_at)
        world.kill_at = kills.pop(0) if kills else None
        world.deliver(world.queue[:1])
        if delivery in restarts:
            world.cloud.set_check_status("c1", "checking")
        world.queue.sort(key=lambda message: message.visible_at)
    assert not world.queue
    in_doubt = False
    for record in world.cloud.log():
        if record.operation == "stop_check_task":
            assert not in_doubt, "sent again before the state was read"
            # A known answer: taken, not taken because of a throttle, or refused.
            in_doubt = record.status == 0 or record.status >= 500 or record.status == 409 or record.fault == "slow"
        elif record.status == 200 and record.fault is None:
            in_doubt = False

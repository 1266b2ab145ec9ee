"""No line of the log holds a target, whatever is asked, and whatever Huawei Cloud, AWS or an error says of it."""

from __future__ import annotations

import io
import itertools
import json
import re
from typing import TYPE_CHECKING, Any, Final

from aws_lambda_powertools import Logger
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.aws import AwsRefused, Message
from shared.deliveries import Deliveries
from shared.errors import DeploymentFault
from shared.findings import Finding, Trust, Verdict
from shared.planning import Stop, StopAll
from shared.publishing import Publisher
from shared.settings import StopInWorkflowSettings, read_settings
from shared.telemetry import Telemetry
from shared.workflow import PacedService, Workflow
from tests.fakes import BATCH, ENVIRONMENT, Clock, FakeAws, FakeHuawei, delivery, settings_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from shared.aws import BusEvent
    from shared.planning import Call, Task

_services = itertools.count()

# So that no word of ours is one by chance. A short one may be a part of a longer one.
TARGETS: Final = st.lists(st.from_regex(r"Z[A-Z0-9_.:-]{2,12}", fullmatch=True), min_size=2, max_size=5, unique=True)
# Of what cannot be read only what looks like an id is known to be one: it has a digit or a sign within.
IDS: Final = st.lists(
    st.from_regex(r"Z[A-Z0-9_.:-]{0,9}[0-9_.:-][A-Z0-9]{1,2}", fullmatch=True), min_size=2, max_size=5, unique=True
)
# What a list of ids becomes that was read from a file, or was put together by a faulty program.
ODD: Final = st.sampled_from([
    "{}\r", "{}\r\n", "\r\n{}", "{0}\r\n{0}", " {}", "{0} {0}", "\t{}", '"{}"', "\\{}", "é{}é", "\x00{}", "\u2028{}",
    "\ud800{}", "{}/1", "{}" + "Z9" * 150, "{}" + "/Z" * 150, "{0} " * 100,
])  # fmt: skip
WORDS: Final = st.sampled_from([
    "Device {} is offline", "{}", "canonicalRequest:GET|/batchtasks/1|limit=1&target={}|host", 'no such thing: "{}"',
])  # fmt: skip
VERDICTS: Final = st.sampled_from([
    Verdict.UNFINISHED, Verdict.REFUSED, Verdict.NOT_FOUND, Verdict.UNCLEAR, Verdict.IN_DOUBT, Verdict.RUNS,
    Verdict.STOPPED,
])  # fmt: skip
READ: Final = {Verdict.UNFINISHED, Verdict.REFUSED, Verdict.NOT_FOUND, Verdict.RUNS, Verdict.STOPPED}


class Chatty(FakeHuawei):
    """Answers each question by `data`, with words that quote one of its targets."""

    accepted = Trust.UNKNOWN  # so that calls are made in this thread: hypothesis cannot choose in another

    def __init__(self, targets: list[str], data: st.DataObject) -> None:
        super().__init__({BATCH: dict.fromkeys(targets, Verdict.RUNS)})
        self._targets = targets
        self._data = data
        self.disturb = self._disturb

    def _disturb(self, asked: Call | tuple[Task, tuple[str, ...]]) -> Mapping[str, Finding]:
        words = self._data.draw(WORDS)
        said = words.format(self._data.draw(st.sampled_from(self._targets)))
        asked_for = _targets(asked)
        match self._data.draw(st.integers(0, 9)):
            case 0:
                # It may quote the request, and so nothing that was not asked for.
                quoted = words.format(self._data.draw(st.sampled_from(asked_for)))
                raise DeploymentFault(f"the host answered 401 APIGW.0301: {quoted}; check the key")
            case 1:
                raise KeyError(said)
            case 2 | 3:
                return {}
            case _:
                verdict = self._data.draw(VERDICTS)
                if isinstance(asked, tuple) and verdict not in READ:
                    verdict = Verdict.UNFINISHED
                code = self._data.draw(st.sampled_from([None, "IOTDA.000001"]))
                return dict.fromkeys(asked_for, Finding(verdict, code, said))


def _targets(asked: Call | tuple[Task, tuple[str, ...]]) -> tuple[str, ...]:
    match asked:
        case Stop(targets=targets) | (_, targets):
            return targets
        case StopAll():
            return ("*",)


def refusal(data: st.DataObject) -> Callable[[BusEvent | Message], str | None]:
    """AWS quotes the targets of what it does not like."""

    def refuse(each: BusEvent | Message) -> str | None:
        text: object
        if isinstance(each, Message):
            text = data.draw(st.sampled_from([each.body, json.dumps(each.body)]))
        else:  # where there are results, the rest are Huawei Cloud's words, which may name what was never asked for
            text = [one["target"] for one in json.loads(each.detail)["results"]] or each.detail
        return f"ValidationException: {text} is too long" if not data.draw(st.integers(0, 3)) else None

    return refuse


def lines_of(data: st.DataObject, targets: list[str], events: list[Any], *, is_workflow: bool) -> str:
    """Return all that is logged of these events, with the text of what is raised, which Lambda logs."""
    log = io.StringIO()
    telemetry = Telemetry(Logger(service=f"lines-{next(_services)}", stream=log))
    clock, aws, huawei = Clock(), FakeAws(), Chatty(targets, data)
    aws.refuse = refusal(data)
    refuses_all = data.draw(st.integers(0, 5)) == 5
    publisher = Publisher(bus=aws, queues=aws, bus_name="outcomes")
    handler: Workflow | Deliveries
    if is_workflow:
        paced = PacedService(huawei, clock.pace())
        handler = Workflow(
            settings=read_settings(StopInWorkflowSettings, ENVIRONMENT | {"ALLOW_STOP_ALL": "true"}),
            check_tasks=paced,
            batch_tasks=paced,
            publisher=publisher,
            patience=clock.patience(),
            telemetry=telemetry,
            new_id=lambda: "new-1",
        )
    else:
        handler = Deliveries(
            settings=settings_of("stop_targets", ALLOW_STOP_ALL="true", VISIBILITY_TIMEOUT_SECONDS="100"),
            service=huawei,
            publisher=publisher,
            queues=aws,
            pace=clock.pace(),
            patience=clock.patience(),
            telemetry=telemetry,
        )
        events = [delivery(*events, receives=data.draw(st.integers(1, 2)))]
        for record in events[0]["Records"]:
            words = re.findall(r"[A-Za-z0-9_.:-]+", re.sub(r"\\(u....|.)", " ", record["body"]))
            named = [each for each in targets if each in words]  # others are not known to be targets
            quoted = data.draw(WORDS).format(data.draw(st.sampled_from(named or ["*"])))
            record["messageAttributes"] = {"traceparent": {"stringValue": quoted, "dataType": "String"}}
    raised = []
    for event in events:
        if refuses_all:
            said = f"Value {json.dumps(event)} at entries failed"
            aws.error = AwsRefused(
                service="EventBridge", operation="PutEvents", code="Bad", message=said, mend="fix it"
            )
        try:
            with telemetry.invocation("stop_targets", "r-1"):
                handler.handle(event, deadline=clock.deadline(data.draw(st.sampled_from([8.0, 60.0, 900.0]))))
        except Exception as error:  # noqa: BLE001 - whatever it is, Lambda logs its text
            raised.append(str(error))
    return log.getvalue() + "\n".join(raised)


@st.composite
def commands(draw: st.DrawFn, targets: list[str]) -> dict[str, Any]:
    named = st.lists(st.sampled_from(targets), min_size=1, max_size=4).map(lambda drawn: {"targets": drawn})
    odd = st.sampled_from(targets).map(lambda target: {"targets": [target], target: 1})
    return {
        "command": "stop_targets",
        "command_id": "c-1",
        "task_id": BATCH.task_id,
        "confirm": draw(st.booleans()),
        **draw(st.one_of(named, named, st.just({"all_targets": True}), odd)),
        **draw(st.sampled_from([{}, {}, {"expires_at": "2026-11-23T08:00:00Z"}, {"attempt": 8}])),
    }


@st.composite
def rejected(draw: st.DrawFn, targets: list[str]) -> dict[str, Any] | str:
    """Draw an invalid command, with targets that are no ids, or where no target belongs."""
    odd = st.one_of(st.sampled_from(targets), st.builds(str.format, ODD, st.sampled_from(targets)))
    first, second = draw(odd), draw(odd)
    command = draw(commands(targets))
    wrong: list[dict[str, Any]] = [
        {"targets": [first]},
        {"targets": [draw(st.sampled_from(targets)), first, "", second]},
        {"targets": first},
        {"targets": {first: second}},
        {"targets": [[first, second]]},
        {"targets": [first], "task_id": first},
        {"targets": [first], "task_id": f"{first},{second}", second: 1},
        {"targets": [first, second], "command": first},
        {"targets": ["Q"], "task_id": first},
        {"all_targets": first},
        {"confirm": first, "dry_run": second, "attempt": first},
        {"project_id": f"{first}/", "instance_id": f"{second} "},
        {"requested_at": first, "expires_at": second, "traceparent": first},
        {"targets": [first], "project_id": [second]},
        {"target": [first], "targets": []},
        {"devices": first},
        {first: 1},
        {first: {second: 1}},
        {"confirm": True, "awaiting": [first, second]},
        {"awaiting": draw(st.lists(odd, min_size=5, max_size=9))},
        {"tally": {first: 1, "stopped": second}},
        {"reason": [first]},
        {"requested_by": {first: second}},
    ]
    key, list_ = json.dumps(first), json.dumps([first, second])
    bodies = [f'{{"targets": {list_}, "targets": {list_}}}', f"{{{key}: 1, {key}: 2}}", list_, list_[:-1], key, first]
    return draw(st.one_of(st.sampled_from(wrong).map(lambda change: command | change), st.sampled_from(bodies)))


@given(st.data(), IDS, st.booleans())
@settings(deadline=None, max_examples=600)
def test_no_line_holds_a_target_of_an_invalid_command(
    data: st.DataObject,
    targets: list[str],
    is_workflow: bool,  # noqa: FBT001 - drawn
) -> None:
    events = data.draw(st.lists(st.one_of(rejected(targets), commands(targets)), min_size=1, max_size=3))
    lines = lines_of(data, targets, events, is_workflow=is_workflow)
    assert '"function":"stop_targets"' in lines
    assert [target for target in targets if target in lines] == []


@given(st.data(), TARGETS, st.booleans())
@settings(deadline=None, max_examples=300)
def test_no_line_holds_a_target(data: st.DataObject, targets: list[str], is_workflow: bool) -> None:  # noqa: FBT001 - drawn
    events = data.draw(st.lists(commands(targets), min_size=1, max_size=3))
    lines = lines_of(data, targets, events, is_workflow=is_workflow)
    assert "c-1" in lines
    assert [target for target in targets if target in lines] == []

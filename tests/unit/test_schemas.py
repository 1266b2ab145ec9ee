"""The schemas say what the code does, are committed as they are generated, and the AsyncAPI document holds together."""

from __future__ import annotations

import json
import re
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator, Draft202012Validator  # type: ignore[import-untyped]

from local.schemas import EVENTS, documents, schemas
from shared.commands import InvalidCommand, read_command
from shared.errors import SweepRejected
from shared.sweeps import read_sweep
from tests.fakes import defaults
from tests.property.test_settlement import settled
from tests.schemas import SCHEMAS, complaints, faults
from tests.strategies import commands
from tests.unit.test_commands import ALL, BAD, CONFIRM, TARGETS, TASK
from tests.unit.test_sweeps import BAD as BAD_SWEEPS
from tests.unit.test_sweeps import BATCHES, CHECKS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hypothesis.strategies import DrawFn

    from shared.commands import Command
    from shared.settlement import Settlement

NAMES = sorted(path.name for path in SCHEMAS.glob("*.json"))
ASYNCAPI = json.loads((EVENTS / "asyncapi.json").read_text())

# --- what is committed


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.name)
def test_what_is_committed_is_what_is_generated(path: Any) -> None:
    assert path.read_text() == documents()[path], "make schemas writes it anew"


def test_no_schema_is_left_over() -> None:
    assert set(NAMES) == set(schemas())


@pytest.mark.parametrize("name", NAMES)
def test_a_schema_is_one_in_the_draft_that_it_names_and_in_the_one_that_asyncapi_takes_it_for(name: str) -> None:
    schema = json.loads((SCHEMAS / name).read_text())
    assert schema["$schema"] == Draft202012Validator.META_SCHEMA["$id"]
    Draft202012Validator.check_schema(schema)
    Draft7Validator.check_schema(schema)


@pytest.mark.parametrize("name", NAMES)
def test_a_schema_uses_only_words_that_both_drafts_know(name: str) -> None:
    """Draft 07 knows `$defs` as a place to point to, and lets only remarks stand beside a `$ref`."""
    newer = {"dependentRequired", "dependentSchemas", "maxContains", "minContains", "prefixItems", "$anchor"}
    newer |= {"unevaluatedItems", "unevaluatedProperties"}
    for each in objects(json.loads((SCHEMAS / name).read_text())):
        assert not newer & each.keys()
        assert "$ref" not in each or each.keys() <= {"$ref", "description"}


@pytest.mark.parametrize("name", NAMES)
def test_every_field_says_what_it_means(name: str) -> None:
    schema = json.loads((SCHEMAS / name).read_text())
    for each in (schema, *schema.get("$defs", {}).values()):
        assert each["description"]
        silent = [field for field, words in each.get("properties", {}).items() if "description" not in words]
        assert set(silent) <= {"version", "detail-type", "source", "account", "region", "detail"}, (
            "but EventBridge's own"
        )


@pytest.mark.parametrize("name", NAMES)
def test_the_examples_of_a_schema_are_valid(name: str) -> None:
    examples = json.loads((SCHEMAS / name).read_text()).get("examples", [])
    assert examples or name == "command.json"
    assert [faults(example, name) for example in examples] == [[]] * len(examples)


# --- commands: the schema and the code

OF_COMMANDS = {"stop_task": "stop-task.json", "stop_targets": "stop-targets.json"}

NOT_SAID = (
    "should be a time that exists",  # the first and the last hours of all time, by their zone
    "should lie in a year from 1970 to 8999",
    "should be Unicode, without half of a surrogate pair",
    "should name only targets of the command",  # awaiting; a schema cannot compare two fields
    "is more than 5 minutes after the command was sent",
)
"""What the code refuses and a schema cannot say; besides, that 2.0 is no integer."""


def test_what_a_schema_cannot_say_is_said_in_it() -> None:
    for name in OF_COMMANDS.values():
        said = schemas()[name]["description"]
        assert all(word in said for word in ("do not exist", "1970 to 8999", "future", "surrogates", "awaiting", "2.0"))


def refusals(payload: object) -> list[str]:
    """What the code has against a command."""
    try:
        read_command(payload, defaults=defaults())
    except InvalidCommand as invalid:
        return [error.msg for error in invalid.errors]
    return []


def cannot_be_said(refused: list[str]) -> bool:
    return all(any(reason in message for reason in NOT_SAID) for message in refused)


_STRANGE: Any = st.sampled_from(
    [
        *(
            None,
            True,
            False,
            0,
            1,
            -1,
            10**6,
            10**6 + 1,
            1.5,
            "",
            " ",
            "*",
            "d0",
            "d0\n",
            "5f1a",
            "true",
            "ä",
            "\ud800",
            "x" * 65,
        ),
        *(
            [],
            [""],
            ["*"],
            ["d0"],
            ["d0", "d0"],
            ["d0", 1],
            [None],
            {},
            {"stopped": 1},
            {"stopped": -1},
            {"stopped": None},
        ),
        *({"killed": 1}, "stop_task", "stop_targets", "a" * 513, "-" * 24, "2026-11-23T08:49:05Z", "2026-11-23"),
        *("2026-11-23T08:49:05", "2026-02-30T00:00:00Z", "2016-12-31T23:59:60Z", "1969-12-31T23:59:59-10:00"),
        *(
            "9999-12-31T23:59:59Z",
            "2030-01-01T00:00:00Z",
            "2026-11-23T08:49:05+24:00",
            "2026-11-23t08:49:05.123456789z",
            "٢026-11-23T08:49:05Z",
        ),
        *(f"{version}-{'4b' * 16}-{'f0' * 8}-01{more}" for version in ("00", "01", "ff") for more in ("", "-a", "a")),
        *(f"00-{'0' * 32}-{'f0' * 8}-01", f"00-{'4b' * 16}-{'0' * 16}-01", f"00-{'4B' * 16}-{'f0' * 8}-01"),
    ]
)


@st.composite
def changed(draw: DrawFn, payloads: st.SearchStrategy[dict[str, Any]], fields: list[str]) -> dict[str, Any]:
    """What is valid, and then changed in up to three places: a field dropped, replaced or added."""
    payload = dict(draw(payloads))
    for _ in range(draw(st.integers(0, 3))):
        field = draw(st.sampled_from([*fields, "Task_id", ""]))
        if draw(st.booleans()):
            payload.pop(field, None)
        else:
            payload[field] = draw(_STRANGE)
    return payload


def _as_sent(command: Command) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(command.to_message())
    return message


@settings(max_examples=1_000, deadline=None)
@given(changed(commands().map(_as_sent), sorted(schemas()["stop-targets.json"]["properties"])))
def test_schema_and_code_take_the_same_commands(payload: dict[str, Any]) -> None:
    refused, found = refusals(payload), faults(payload, "command.json")
    assert bool(found) == bool(refused) or (not found and cannot_be_said(refused)), (refused, found)


@settings(max_examples=1_000, deadline=None)
@given(changed(commands().map(_as_sent), sorted(schemas()["stop-targets.json"]["properties"])))
def test_a_command_is_of_the_schema_of_its_kind_and_of_no_other(payload: dict[str, Any]) -> None:
    taken = [name for name in OF_COMMANDS.values() if not faults(payload, name)]
    assert taken == ([] if faults(payload, "command.json") else [OF_COMMANDS[payload["command"]]])


SAID = [
    payload
    for payload, _, reason in BAD
    if not any(each in reason for each in NOT_SAID) and str(payload) != str({**TASK, "attempt": 1.0})
]


@pytest.mark.parametrize("payload", SAID, ids=lambda payload: ascii(payload)[:60])
def test_what_the_code_refuses_the_schema_refuses(payload: object) -> None:
    assert faults(payload, "command.json")


@pytest.mark.parametrize("moment", ["2026-02-30T00:00:00Z", "2026-11-23T25:00:00Z", "2016-12-31T23:59:60Z"])
def test_a_moment_that_does_not_exist_is_refused_where_formats_are_checked(moment: str) -> None:
    assert faults({**TASK, "expires_at": moment}, "command.json")


@pytest.mark.parametrize(
    "payload",
    [
        {**TASK, "requested_at": "9999-12-31T23:59:59Z"},
        {**TASK, "requested_at": "0001-01-01T00:00:00+23:59"},
        {**TASK, "attempt": 2.0},
        {**TASK, "reason": "\ud800"},
        {**CONFIRM, "awaiting": ["d9"]},
        {**ALL, "confirm": True, "awaiting": ["d1"]},
    ],
    ids=ascii,
)
def test_what_a_schema_cannot_say_is_refused_by_the_code_alone(payload: dict[str, Any]) -> None:
    assert faults(payload, "command.json") == []
    assert refusals(payload)


@pytest.mark.parametrize("payload", [TASK, TARGETS, ALL], ids=str)
def test_what_an_expired_command_asks_is_a_command_all_the_same(payload: dict[str, Any]) -> None:
    """Whether it is past `expires_at` is no matter of its form: it comes back `expired`."""
    late = {**payload, "expires_at": "1970-01-01T00:00:00Z"}
    assert (faults(late, "command.json"), refusals(late)) == ([], [])


# --- sweeps: the schema and the code

_STRANGE_SWEEPS: Any = st.one_of(
    _STRANGE,
    st.from_regex(r"\AP[0-9WDTHMS]{1,8}\Z"),
    st.sampled_from(
        [
            50,
            1000,
            1001,
            ["release-*"],
            ["release-* "],
            ["\ufeffx"],
            ["x\n"],
            ["a b"],
            ["x" * 257],
            ["firmwareUpgrade"],
            ["createDevices"],
            "check_tasks",
        ]
    ),
)
_OF_SWEEPS = sorted({*BATCHES, *CHECKS, "limit", "dry_run", "protect", "task_types", "instance_id"})


def is_refused_sweep(payload: dict[str, Any]) -> str | None:
    try:
        read_sweep(payload, project_id="iam-project", instance_id=None)
    except SweepRejected as rejected:
        return str(rejected)
    return None


@settings(max_examples=1_000, deadline=None)
@given(st.sampled_from([CHECKS, BATCHES]), st.dictionaries(st.sampled_from(_OF_SWEEPS), _STRANGE_SWEEPS, max_size=2))
def test_schema_and_code_take_the_same_sweeps(base: dict[str, Any], replaced: dict[str, Any]) -> None:
    payload = base | replaced
    refused, found = is_refused_sweep(payload), faults(payload, "sweep.json")
    not_said = refused is not None and re.fullmatch(
        r'(older_than: "[^"]*" should be from PT1M to P3650D|protect\[\d+\]: [^;]* should be Unicode[^;]*|; )+', refused
    )
    assert bool(found) == bool(refused) or (not found and not_said), (refused, found)


@pytest.mark.parametrize(
    "replaced", [each for each, reason in BAD_SWEEPS if "IAM project" not in reason and "PT1M" not in reason], ids=str
)
def test_what_is_no_sweep_is_none_by_the_schema(replaced: dict[str, Any]) -> None:
    assert faults(CHECKS | replaced, "sweep.json")


@pytest.mark.parametrize("replaced", [{"older_than": "PT59S"}, {"older_than": "P3651D"}, {"project_id": "iam-project"}])
def test_what_a_schema_cannot_say_of_a_sweep_is_refused_by_the_code_alone(replaced: dict[str, Any]) -> None:
    assert faults(CHECKS | replaced, "sweep.json") == []
    assert is_refused_sweep(CHECKS | replaced)


@pytest.mark.parametrize("name", ["sweep", "project_id", "older_than"])
def test_a_sweep_of_checks_needs_its_fields(name: str) -> None:
    assert faults({field: value for field, value in CHECKS.items() if field != name}, "sweep.json")


# --- what comes out


def on_the_bus(detail: dict[str, Any], *, detail_type: str = "Stop Outcome", **more: Any) -> dict[str, Any]:
    return {
        "version": "0",
        "id": "6a7e8feb-b491-4cf7-a9f1-bf3703467718",
        "detail-type": detail_type,
        "source": "stopline",
        "account": "111122223333",
        "time": "2026-11-23T08:49:05Z",
        "region": "eu-west-1",
        "resources": [],
        "detail": detail,
        **more,
    }


@given(settled())
def test_whatever_is_settled_is_told_as_the_schema_says(case: tuple[Command, Settlement]) -> None:
    for outcome in case[1].outcomes:
        event = on_the_bus(json.loads(outcome.to_json()), resources=list(outcome.resources))
        assert complaints(event) == []


def sample(name: str) -> dict[str, Any]:
    event: dict[str, Any] = json.loads((EVENTS / f"{name}.json").read_text())
    return event


@pytest.mark.parametrize(
    ("replaced", "where"),
    [
        ({"status": "done"}, "detail.status"),
        ({"occurred_at": "2026-11-23T08:49:05Z"}, "detail.occurred_at"),
        ({"occurred_at": "2026-02-30T08:49:05.000Z"}, "detail.occurred_at"),
        ({"requested_at": None}, "detail.requested_at"),
        ({"confirmed": "yes"}, "detail.confirmed"),
        ({"results": [{"target": "d1", "result": "killed"}]}, "detail.results.0.result"),
        ({"results": [{"target": "d1", "result": "refused", "error_code": None}]}, "detail.results.0.error_code"),
        ({"results": [{"target": "d1", "result": "stopped"}] * 101}, "detail.results"),
        ({"tally": {"stopped": 1}}, "detail.tally"),
        ({"errors": [{"loc": "", "msg": "but it was taken"}]}, "detail.errors"),
        ({"status": "rejected"}, "detail.results"),
        ({"more": 1}, "detail"),
    ],
    ids=str,
)
def test_an_outcome_that_is_none_is_complained_of(replaced: dict[str, Any], where: str) -> None:
    event = sample("outcomes/succeeded-in-an-event")
    assert complaints(event) == []
    found = complaints(event | {"detail": event["detail"] | replaced})
    assert where in {complaint.partition(":")[0] for complaint in found}


@pytest.mark.parametrize("name", sorted(sample("outcomes/succeeded")))
def test_an_outcome_says_all_its_fields(name: str) -> None:
    detail = sample("outcomes/succeeded")
    del detail[name]
    assert complaints(on_the_bus(detail)) == [f"detail: '{name}' is a required property"]


def test_an_event_of_another_sort_is_complained_of() -> None:
    event = sample("reports/check-tasks-in-an-event")
    assert complaints(event) == []
    assert complaints(event | {"detail-type": "Stop Outcome"})
    assert complaints(event | {"source": "example.fleet"})
    assert complaints(event | {"resources": ["huaweicloud:codearts-check:task/2b31"]})
    assert complaints(event | {"detail-type": "Rollout Failed"}) == ["detail-type: no event of ours: 'Rollout Failed'"]
    assert complaints({}) == ["detail-type: no event of ours: None"]


def test_what_eventbridge_adds_is_left_to_it() -> None:
    assert complaints(sample("outcomes/succeeded-in-an-event") | {"replay-name": "after-the-fix"}) == []


# --- AsyncAPI: its own schema is in no package for Python, so what matters here is checked by hand


def objects(document: Any) -> Iterator[dict[str, Any]]:
    """Every object of a JSON document, from the outside in."""
    if isinstance(document, dict):
        yield document
        for each in document.values():
            yield from objects(each)
    elif isinstance(document, list):
        for each in document:
            yield from objects(each)


def resolved(document: Any, pointer: str) -> Any:
    return reduce(lambda at, name: at[name], filter(None, pointer.split("/")), document)


def references(document: dict[str, Any]) -> list[str]:
    return [each["$ref"] for each in objects(document) if "$ref" in each]


def test_every_reference_of_the_asyncapi_document_leads_somewhere() -> None:
    assert references(ASYNCAPI)
    for reference in references(ASYNCAPI):
        file, _, pointer = reference.partition("#")
        document = json.loads((EVENTS / file).read_text()) if file else ASYNCAPI
        assert resolved(document, pointer) is not None


@pytest.mark.parametrize("name", NAMES)
def test_every_reference_of_a_schema_leads_somewhere(name: str) -> None:
    for reference in references(json.loads((SCHEMAS / name).read_text())):
        file, _, pointer = reference.partition("#")
        assert resolved(json.loads((SCHEMAS / (file or name)).read_text()), pointer)


def faults_of_asyncapi(document: dict[str, Any]) -> list[str]:
    """Hold a document to AsyncAPI's own schema, which says in `$comment` where it comes from."""
    schema = json.loads((Path(__file__).parent.parent / "asyncapi-3.0.0.schema.json").read_text())
    return [fault.json_path for fault in Draft7Validator(schema).iter_errors(document)]


def test_the_asyncapi_document_is_one_by_asyncapi_s_own_schema() -> None:
    assert faults_of_asyncapi(ASYNCAPI) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("operations/receiveByTopic/action", "publish"),
        ("operations/receiveByTopic/bindings/sns/consumers/0/filterPolicy", {"command": [{"exists": False}]}),
        ("channels/StopTaskQueue/bindings/sqs/queue/fifoQueue", "no"),
        ("channels/StopTaskQueue/topic", "commands"),
        ("servers/sqs/protocol", None),
        ("info/title", None),
    ],
)
def test_what_asyncapi_does_not_know_is_found(path: str, value: Any) -> None:
    document = json.loads(json.dumps(ASYNCAPI))
    *places, last = path.split("/")
    reduce(lambda at, name: at[int(name) if isinstance(at, list) else name], places, document)[last] = value
    assert faults_of_asyncapi(document)


def test_the_asyncapi_document_has_the_parts_of_one() -> None:
    assert ASYNCAPI["asyncapi"] == "3.0.0"
    assert ASYNCAPI.keys() == {
        *("asyncapi", "info", "defaultContentType", "servers", "channels", "operations", "components")
    }
    assert {"title", "version"} <= ASYNCAPI["info"].keys()
    assert all({"host", "protocol"} <= server.keys() for server in ASYNCAPI["servers"].values())
    assert {operation["action"] for operation in ASYNCAPI["operations"].values()} == {"send", "receive"}


@pytest.mark.parametrize("name", ASYNCAPI["operations"])
def test_an_operation_names_messages_of_its_own_channel(name: str) -> None:
    operation = ASYNCAPI["operations"][name]
    channel = operation["channel"]["$ref"]
    assert channel.startswith("#/channels/")
    assert operation["messages"]
    assert all(message["$ref"].startswith(f"{channel}/messages/") for message in operation["messages"])


@pytest.mark.parametrize("name", ASYNCAPI["channels"])
def test_the_parameters_of_an_address_are_described(name: str) -> None:
    channel = ASYNCAPI["channels"][name]
    assert set(re.findall(r"{(\w+)}", channel["address"] or "")) == channel.get("parameters", {}).keys()


@pytest.mark.parametrize("name", ASYNCAPI["servers"])
def test_the_variables_of_a_host_are_described(name: str) -> None:
    server = ASYNCAPI["servers"][name]
    assert set(re.findall(r"{(\w+)}", server["host"])) == server["variables"].keys()


def test_every_channel_is_used_by_an_operation() -> None:
    used = {operation["channel"]["$ref"].removeprefix("#/channels/") for operation in ASYNCAPI["operations"].values()}
    assert used == ASYNCAPI["channels"].keys()

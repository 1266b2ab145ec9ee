"""docs/operations.md: each alarm has its section, and the commands there and in the README can be run."""

from __future__ import annotations

import re
import subprocess
from fnmatch import fnmatchcase
from functools import cache
from typing import Any, Final

import botocore.session
import jmespath
import pytest
from botocore import xform_name
from botocore.model import ListShape, MapShape, Shape, StructureShape

from shared.outcomes import Tally
from tests.template.loading import ROOT, translated, written
from tests.template.rules import Template
from tests.template.watching import alarms_of, name_in_the_runbook

TEXT: Final = (ROOT / "docs" / "operations.md").read_text()
BOTH: Final = f"{TEXT}\n{(ROOT / 'README.md').read_text()}"
SCRIPTS: Final = re.findall(r"^```sh\n(.*?)^```", BOTH, re.MULTILINE | re.DOTALL)
COMMANDS: Final = sorted(
    set(re.findall(r"\baws [a-z][a-z0-9-]+ [a-z].*?(?=`\s|`$|\"\)|$)", BOTH.replace("\\\n", " "), re.MULTILINE))
)

KEYLESS: Final = (ROOT / "docs" / "keyless.md").read_text()
QUERIES: Final = sorted(
    set(
        re.findall(
            r"\baws ([a-z]+) ([a-z-]+)[^\n]*? --query ('[^']*'|\"[^\"]*\"|[\w.]+)",
            f"{BOTH}{KEYLESS}".replace("\\\n", " "),
        )
    )
)

OF_THE_CLI_ITSELF: Final = {"query", "output", "cli-binary-format", "cli-read-timeout", "notification-endpoint"}
NOT_OF_AN_API: Final = {"aws cloudformation deploy", "aws cloudformation wait"}
"""What the AWS CLI adds to the services' own operations."""


def sections() -> dict[str, str]:
    (alarms,) = re.findall(r"^## Alarms\n(.*?)^## ", TEXT, re.MULTILINE | re.DOTALL)
    first, *rest = re.split(r"^### (.+)\n", alarms, flags=re.MULTILINE)
    assert "###" not in first
    return dict(zip(rest[::2], rest[1::2], strict=True))


def test_every_alarm_has_its_section_and_every_section_its_alarm() -> None:
    assert sorted(sections()) == sorted(map(name_in_the_runbook, alarms_of(Template(translated()))))


@pytest.mark.parametrize("name", sections())
def test_a_section_says_what_it_means_and_how_to_look_and_to_mend(name: str) -> None:
    parts = re.split(r"^\*\*(Means|Look|Mend)\*\*", sections()[name], flags=re.MULTILINE)
    assert parts[1::2] == ["Means", "Look", "Mend"]
    _, means, look, mend = (parts[0], *parts[2::2])
    assert means.strip(": \n")
    assert "```sh" in look
    assert "```sh" in mend


@cache
def operations_of(service: str) -> dict[str, set[str]]:
    """Give the operations of an AWS service, each with its options, in the words of the AWS CLI."""
    model = botocore.session.Session().get_service_model(service)
    found = {}
    for name in model.operation_names:
        shape = model.operation_model(name).input_shape
        found[xform_name(name, "-")] = {xform_name(member, "-") for member in shape.members} if shape else set()
    return found


def misspelt(command: str) -> list[str]:
    """Give what the AWS CLI would not know of a command."""
    _, service, operation, *_ = command.split()
    if f"aws {service} {operation}" in NOT_OF_AN_API:
        return []
    operations = operations_of(service)
    if operation not in operations:
        return [operation]
    given = {each.removeprefix("no-") for each in re.findall(r" --([a-z-]+)", command)}
    return sorted(given - operations[operation] - OF_THE_CLI_ITSELF)


def test_there_are_commands() -> None:
    assert len(COMMANDS) > len(sections())


@pytest.mark.parametrize("command", COMMANDS)
def test_the_aws_cli_knows_the_command(command: str) -> None:
    assert misspelt(command) == []


def answer(shape: Shape | None, name: str = "") -> Any:
    """Return an answer of this shape, with two items in each list and the name of a member as its text."""
    match shape:
        case StructureShape():
            return {member: answer(each, member) for member, each in shape.members.items()}
        case ListShape():
            return [answer(shape.member, name), answer(shape.member, name)]
        case MapShape():
            return {"key": answer(shape.value, name)}
        case Shape(type_name="integer" | "long" | "float" | "double"):
            return 1
        case Shape(type_name="boolean"):
            return True
        case _:
            return name


def picked(service: str, operation: str, query: str) -> Any:
    """Return what the AWS CLI picks from an answer by `--query`; raises what it would."""
    model = botocore.session.Session().get_service_model(service)
    (name,) = (each for each in model.operation_names if xform_name(each, "-") == operation)
    return jmespath.search(query, answer(model.operation_model(name).output_shape))


@pytest.mark.parametrize(("service", "operation", "query"), QUERIES)
def test_a_query_picks_something_from_an_answer(service: str, operation: str, query: str) -> None:
    unquoted = query[1:-1] if query[0] in "'\"" else query
    found = picked(service, operation, re.sub(r"(\w+)=='[^']*'", r"\1", unquoted))  # the name of a member is its text
    assert found not in (None, [], {})


def test_a_query_that_picks_nothing_is_found() -> None:
    with pytest.raises(jmespath.exceptions.JMESPathTypeError):
        picked("logs", "get-query-results", "results[].[join(' ', [].value)]")
    assert picked("sqs", "get-queue-url", "QueueURL") is None


def test_a_row_of_a_query_is_one_line_with_the_names_of_its_fields() -> None:
    ((_, _, query),) = (each for each in QUERIES if each[1] == "get-query-results" and "results" in each[2])
    rows = [
        [{"field": "message", "value": "outcome"}, {"field": "attempt", "value": "1"}, {"field": "@ptr", "value": "x"}],
        [{"field": "message", "value": "set aside"}, {"field": "@ptr", "value": "y"}],
    ]
    assert jmespath.search(query[1:-1], {"results": rows}) == [["message=outcome  attempt=1"], ["message=set aside"]]


def test_a_sweep_that_stops_something_is_never_written_by_hand_without_what_it_protects() -> None:
    sweeps = re.findall(r"\{\"sweep\":[^}]*\"dry_run\": false[^}]*\}", TEXT)
    assert [each for each in sweeps if "protect" not in each] == []


def test_a_command_that_the_aws_cli_does_not_know_is_found() -> None:
    assert misspelt("aws sqs purge-queues --queue-url u") == ["purge-queues"]
    assert misspelt("aws sqs purge-queue --queue-uri u --query q") == ["queue-uri"]


def test_the_shell_understands_the_scripts() -> None:
    checked = subprocess.run(
        ["bash", "-n"],  # noqa: S607 - whichever bash there is
        input="\n".join(SCRIPTS),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (checked.returncode, checked.stderr) == (0, "")


def test_outputs_and_parameters_are_those_of_the_template() -> None:
    template = written()
    assert set(re.findall(r"\$\(out (\w+)", BOTH)) <= template["Outputs"].keys()
    assert set(re.findall(r"for f in ([\w ]+);", TEXT)[0].split()) <= template["Outputs"].keys()
    assert set(re.findall(r"\bchange ([A-Z]\w+) ", TEXT)) <= template["Parameters"].keys()


def test_log_lines_are_those_that_are_written() -> None:
    telemetry = (ROOT / "shared" / "telemetry.py").read_text()
    messages = re.findall(r'message = "([^"]+)"', TEXT)
    for several in re.findall(r"message in \[([^]]+)\]", TEXT):
        messages += re.findall(r'"([^"]+)"', several)
    assert [each for each in messages if f'"{each}"' not in telemetry] == []
    assert set(re.findall(r"\btally\.(\w+)", TEXT)) <= set(Tally.model_fields)


def test_the_key_policy_covers_every_log_that_is_under_the_key() -> None:
    (pattern,) = re.findall(r'"kms:EncryptionContext:aws:logs:arn": "([^"]+)"', TEXT)
    groups = Template(translated()).of_type("AWS::Logs::LogGroup").values()
    names = [group["LogGroupName"]["Fn::Sub"].replace("${AWS::StackName}", "<stack>") for group in groups]
    arns = [f"arn:aws:logs:<region>:<account>:log-group:{name}" for name in names]
    assert "/aws/events/<stack>-outcomes" in names
    assert [arn for arn in arns if not fnmatchcase(arn, pattern)] == []


def test_redrive_takes_what_it_is_given() -> None:
    makefile = (ROOT / "Makefile").read_text()
    given = {name for line in re.findall(r"make redrive (.*)", BOTH) for name in re.findall(r"\b([A-Z]+)=", line)}
    assert given
    (known,) = re.findall(r"^REDRIVE := (.*)", makefile, re.MULTILINE)
    assert given <= set(known.split())
    for name in known.split():
        assert re.search(rf"\$\(call (option|text|flag),{name},--{name.lower()}\)", makefile), name
    queues = Template(translated()).queues.values()
    names = {queue["QueueName"]["Fn::Sub"].replace("${AWS::StackName}", "$STACK") for queue in queues}
    assert set(re.findall(r"QUEUE=(\S+)", TEXT)) <= names

"""The samples that people copy from are true."""

from __future__ import annotations

import json
import re
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from local.huawei import CHECK_PROJECT_ID
from shared.commands import InvalidCommand, read_command
from shared.envelopes import Incoming, open_envelope
from shared.outcomes import Outcome, Result, Status, Tally
from shared.sweeps import SweepReport, read_sweep
from tests.fakes import NOW, defaults
from tests.schemas import complaints, faults

ROOT: Final = Path(__file__).parent.parent.parent
EVENTS: Final = ROOT / "events"

NO_COMMANDS: Final = {"bad-field.json", "not-json.txt"}
"""Samples of what is rejected."""

IN_AN_EVENT: Final = "-in-an-event"


def samples(room: str, *, in_an_event: bool = False) -> list[Path]:
    """The samples of one kind, by themselves or as the detail of an event."""
    return [path for path in sorted((EVENTS / room).iterdir()) if path.stem.endswith(IN_AN_EVENT) is in_an_event]


COMMANDS: Final = [path for path in samples("commands") if path.name not in NO_COMMANDS]
COMMANDS_IN_AN_EVENT: Final = samples("commands", in_an_event=True)
OUTCOMES: Final = samples("outcomes")
SWEEPS: Final = samples("sweeps")
REPORTS: Final = samples("reports")
ON_THE_BUS: Final = samples("outcomes", in_an_event=True) + samples("reports", in_an_event=True)
UNFINISHED: Final = EVENTS / "workflow" / "unfinished.json"
SUCCEEDED: Final = EVENTS / "workflow" / "succeeded.json"
WORKFLOW_INPUTS: Final = [EVENTS / "workflow" / "stop-targets.json"]
RULES: Final = [EVENTS / "rules" / "what-went-wrong.json"]
GENERATED: Final = [EVENTS / "asyncapi.json", *(EVENTS / "schemas").iterdir()]


def name(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def readme_objects() -> list[dict[str, Any]]:
    """Every JSON object of the README's blocks, the ones that stand a line each too."""
    objects: list[dict[str, Any]] = []
    for block in re.findall(r"```json\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL):
        rest = block.strip()
        while rest:
            parsed, end = json.JSONDecoder().raw_decode(rest)
            objects.append(parsed)
            rest = rest[end:].strip()
    return objects


def test_every_file_of_the_samples_is_of_a_kind_that_is_tested() -> None:
    tested = {
        *(EVENTS / "commands" / each for each in NO_COMMANDS),
        *(*COMMANDS, *COMMANDS_IN_AN_EVENT, *OUTCOMES, *SWEEPS, *REPORTS, *ON_THE_BUS),
        *(UNFINISHED, SUCCEEDED, *WORKFLOW_INPUTS, *RULES, *GENERATED),
    }
    assert {path for path in EVENTS.rglob("*") if path.is_file()} == tested


# --- what goes in


@pytest.mark.parametrize("path", [*COMMANDS, *WORKFLOW_INPUTS], ids=name)
def test_a_sample_command_is_taken(path: Path) -> None:
    read_command(read(path), defaults=defaults())
    assert faults(read(path), "command.json") == []


@pytest.mark.parametrize("path", COMMANDS_IN_AN_EVENT, ids=name)
def test_a_sample_command_in_an_event_is_taken(path: Path) -> None:
    read_command(read(path)["detail"], defaults=defaults())
    assert faults(read(path)["detail"], "command.json") == []


@pytest.mark.parametrize("path", [*COMMANDS, *COMMANDS_IN_AN_EVENT, *WORKFLOW_INPUTS], ids=name)
def test_a_sample_command_is_valid_whenever_it_is_sent(path: Path) -> None:
    sent_at = NOW + timedelta(days=1000)
    message = Incoming(message_id="m-0", body=path.read_text(), sent_at=sent_at)
    opened = open_envelope(message)
    command = read_command(opened.payload, defaults=defaults()._replace(requested_at=opened.sent_at))
    assert command.has_expired(sent_at) is (path.stem == "expired")


def test_a_sample_of_a_bad_command_is_bad() -> None:
    bad = read(EVENTS / "commands" / "bad-field.json")
    with pytest.raises(InvalidCommand):
        read_command(bad, defaults=defaults())
    assert faults(bad, "command.json")


@pytest.mark.parametrize("path", SWEEPS, ids=name)
def test_a_sample_sweep_is_taken_and_stops_nothing(path: Path) -> None:
    assert read_sweep(read(path), project_id="iam-project", instance_id=None).dry_run
    assert faults(read(path), "sweep.json") == []


def test_the_sample_sweep_of_checks_is_of_the_project_that_the_stand_in_has() -> None:
    assert read(EVENTS / "sweeps" / "check-tasks.json")["project_id"] == CHECK_PROJECT_ID


@pytest.mark.parametrize("path", SWEEPS, ids=name)
def test_a_sample_sweep_has_the_fields_that_a_schedule_of_the_template_sends(path: Path) -> None:
    sent = re.findall(r'\{"sweep":.*?\]\}', (ROOT / "template.yaml").read_text(), re.DOTALL)
    fields = [re.findall(r'"(\w+)": ', each) for each in sent if f'"{read(path)["sweep"]}"' in each]
    assert fields == [list(read(path))]


# --- what comes out


@pytest.mark.parametrize("path", [*OUTCOMES, SUCCEEDED], ids=name)
def test_a_sample_outcome_is_one_to_the_letter(path: Path) -> None:
    sample = read(path)
    outcome = Outcome.model_validate(sample)
    assert json.loads(outcome.to_json()) == sample
    assert faults(sample, "stop-outcome.json#/$defs/Outcome") == []
    # The tally counts these results and those of the events before.
    told = Tally().plus(Counter(each.result for each in outcome.results))
    assert all(count <= getattr(outcome.tally, result) for result, count in told)


def test_there_is_a_sample_outcome_of_every_status() -> None:
    assert {read(path)["status"] for path in OUTCOMES} == set(Status)


def test_there_is_a_sample_of_a_stop_that_was_confirmed_and_of_one_that_could_not_be() -> None:
    assert {read(path)["confirmed"] for path in OUTCOMES} == {True, False, None}


@pytest.mark.parametrize("path", REPORTS, ids=name)
def test_a_sample_report_is_one_to_the_letter(path: Path) -> None:
    sample = read(path)
    report = SweepReport.model_validate(sample)
    assert report.model_dump(mode="json") == sample
    assert faults(sample, "sweep-completed.json#/$defs/SweepReport") == []
    assert len(report.tasks) == report.stale
    assert report.stale + report.protected + report.unknown_age <= report.scanned
    assert not (report.dry_run and report.sent)
    assert report.targets == sum(task.targets or 0 for task in report.tasks)


def test_every_sample_sweep_has_a_sample_report() -> None:
    assert [path.name for path in REPORTS] == [path.name for path in SWEEPS]


@pytest.mark.parametrize("path", ON_THE_BUS, ids=name)
def test_a_sample_event_is_the_sample_of_its_name_as_it_comes_out_of_the_bus(path: Path) -> None:
    event = read(path)
    detail = read(path.with_name(path.name.replace(IN_AN_EVENT, "")))
    assert complaints(event) == []
    assert event["detail"] == detail
    assert event["resources"] == (list(Outcome.model_validate(detail).resources) if "outcome_id" in detail else [])


@pytest.mark.parametrize("path", [UNFINISHED, SUCCEEDED], ids=name)
def test_a_sample_answer_of_the_workflow_function_is_one(path: Path) -> None:
    assert faults(read(path), "workflow-answer.json") == []


def test_the_remainder_of_the_sample_answer_comes_back_as_it_went() -> None:
    remainder = read(UNFINISHED)["remainder"]
    assert json.loads(read_command(remainder, defaults=defaults()).to_message()) == remainder


# --- rules


def test_the_rule_of_what_went_wrong_matches_every_word_for_it_of_an_event_and_of_a_target() -> None:
    went_well = {"in_progress", "succeeded", "dry_run"}
    by_status, by_result = read(RULES[0])["detail"]["$or"]
    assert set(by_status["status"]) == set(Status) - went_well
    assert set(by_result["results"]["result"]) == set(Result) - {"stopped", "already_ended", "would_stop"}


@pytest.mark.parametrize("document", ["README.md", "docs/contract.md"])
def test_the_documents_name_the_rule_and_do_not_repeat_it(document: str) -> None:
    text = (ROOT / document).read_text()
    assert "events/rules/what-went-wrong.json" in text
    assert '"status": ["failed"' not in text
    assert "**An `in_progress` event can hold failures" in text


def test_the_readme_makes_the_rule_out_of_the_sample() -> None:
    commands = re.findall(r"aws events put-rule (?:.*\\\n)*.*", (ROOT / "README.md").read_text())
    assert [re.findall(r"--event-pattern (\S+)", each) for each in commands] == [
        [f"file://{path.relative_to(ROOT)}"] for path in RULES
    ]


# --- the README


def test_the_commands_of_the_readme_are_taken() -> None:
    commands = [each for each in readme_objects() if set(each) >= {"command", "task_id"} and "status" not in each]
    assert len(commands) == 2
    for command in commands:
        read_command(command, defaults=defaults())


def test_the_outcome_of_the_readme_has_the_fields_of_an_outcome() -> None:
    (outcome,) = [each for each in readme_objects() if "outcome_id" in each]
    assert list(outcome) == list(Outcome.model_fields)

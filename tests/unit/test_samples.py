"""The samples that people copy from are true."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from shared.commands import read_command
from shared.outcomes import Outcome
from tests.fakes import defaults

ROOT = Path(__file__).parent.parent.parent
OUTCOMES = sorted((ROOT / "events" / "outcomes").glob("*.json"))


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


@pytest.mark.parametrize("path", OUTCOMES, ids=lambda path: path.stem)
def test_a_sample_outcome_is_one_to_the_letter(path: Path) -> None:
    sample = json.loads(path.read_text())
    assert json.loads(Outcome.model_validate(sample).to_json()) == sample


def test_the_commands_of_the_readme_are_taken() -> None:
    commands = [each for each in readme_objects() if set(each) >= {"command", "task_id"} and "status" not in each]
    assert len(commands) == 2
    for command in commands:
        read_command(command, defaults=defaults())


def test_the_outcome_of_the_readme_has_the_fields_of_an_outcome() -> None:
    (outcome,) = [each for each in readme_objects() if "outcome_id" in each]
    assert list(outcome) == list(Outcome.model_fields)

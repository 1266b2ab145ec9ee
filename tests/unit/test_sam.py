"""The check of what the README says of `sam`: what it types, what it compares, and that it can say no."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import pytest

from local import sam
from tests.template.loading import PARAMETERS, ROOT, translated, written

if TYPE_CHECKING:
    from pathlib import Path


def test_only_what_has_no_default_is_typed() -> None:
    without = {name for name, each in written()["Parameters"].items() if "Default" not in each}
    assert sam.WITHOUT_A_DEFAULT.keys() == without == PARAMETERS.keys()


def test_each_question_of_the_guide_has_its_answer_in_order() -> None:
    typed = sam.answers(["HuaweiRegion", "MaxAttempts"], {"HuaweiRegion": "cn-north-4"}).splitlines()
    assert typed == ["", "", "cn-north-4", "", "n", "y", "n", "n"]


def test_alarms_and_the_dashboard_are_left_out_and_nothing_else() -> None:
    template = translated()
    deployed = sam.without_alarms(template)
    left_out = [each for name, each in template["Resources"].items() if name not in deployed["Resources"]]
    assert {each["Type"] for each in left_out} == {"AWS::CloudWatch::Alarm", "AWS::CloudWatch::Dashboard"}
    assert {key: deployed[key] for key in deployed if key != "Resources"} == {
        key: template[key] for key in template if key != "Resources"
    }


SENTENCE: Final = re.compile(
    r"the AWS SAM CLI \((?P<least>[\d.]+) or newer, but not (?P<broken>[\d.]+(?: or [\d.]+)*): they cannot build"
)

FAILED: Final = ("1.115.0", "1.123.0", "1.127.0", "1.160.0", "1.160.1")
"""Versions with which `sam build` was seen to fail on the template, by messages that do not name the reason."""

WORKED: Final = ("1.131.0", "1.161.0", sam.SAM.partition("==")[2])
"""Versions that were seen to build it, and the one that `make sam` runs."""


def works_by_the_readme(version: str) -> bool:
    stated = SENTENCE.search((ROOT / "README.md").read_text())
    assert stated, "the README says which versions of the SAM CLI work"
    return numbers(version) >= numbers(stated["least"]) and version not in stated["broken"].split(" or ")


def numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def test_the_readme_names_the_versions_of_the_sam_cli_that_work() -> None:
    assert [each for each in WORKED if not works_by_the_readme(each)] == []
    assert [each for each in FAILED if works_by_the_readme(each)] == []


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("one", "other"):
        (tmp_path / name / "shared").mkdir(parents=True)
        (tmp_path / name / "shared" / "a.py").write_text("a = 1\n")
    return tmp_path / "one", tmp_path / "other"


def test_the_same_files_do_not_differ(folders: tuple[Path, Path]) -> None:
    assert sam.differences(*folders) == []


def test_a_file_that_is_missing_added_or_changed_is_found(folders: tuple[Path, Path]) -> None:
    one, other = folders
    (one / "only.py").touch()
    (other / "shared" / "more.py").touch()
    (other / "shared" / "a.py").write_text("a = 2\n")  # of the same size
    assert sam.differences(one, other) == ["only.py", "shared/a.py", "shared/more.py"]

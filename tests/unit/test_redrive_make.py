"""`make redrive`: what it hears, and what it makes of it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from local.redrive import CALLER

ROOT = Path(__file__).parent.parent.parent
MAKE = shutil.which("make") or "make"
QUEUE = "QUEUE=dead"


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """What stands in for Python: it prints its arguments, one a line."""
    script = tmp_path / "python"
    script.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    script.chmod(0o755)
    return script


def make(
    python: Path, *arguments: str, target: str = "redrive", skip: str = "install", **exported: str
) -> tuple[int, list[str], str]:
    """The exit status, the arguments that redrive gets, and standard error."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(
        [MAKE, "-o", skip, target, f"PY={python}", *arguments],
        cwd=ROOT,
        env=kept | exported,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout.split("\n")[:-1], done.stderr


LOOK = ["-m", "local.redrive", "--queue", "dead"]


@pytest.mark.parametrize(
    ("written", "heard"),
    [
        ((), []),
        (("APPLY=1", "RENEW=1", "REJECTED=1", "JSON=1"), ["--apply", "--renew", "--rejected", "--json"]),
        (("APPLY=", "RENEW="), []),
        (
            ("TO=stop", "ONLY=rejected: a, b", "LIMIT=3", "TTL=60"),
            ["--to", "stop", "--only", "rejected: a, b", "--limit", "3", "--ttl", "60"],
        ),
    ],
    ids=str,
)
def test_what_is_written_is_heard(python: Path, written: tuple[str, ...], heard: list[str]) -> None:
    assert make(python, QUEUE, *written) == (0, LOOK + heard, "")


def test_redrive_is_told_that_make_called_it(tmp_path: Path) -> None:
    script = tmp_path / "python"
    script.write_text(f'#!/bin/sh\necho "${CALLER}"\n')
    script.chmod(0o755)
    assert make(script, QUEUE) == (0, ["make"], "")


@pytest.mark.parametrize("name", ["APPLY", "RENEW", "REJECTED", "JSON"])
@pytest.mark.parametrize("value", ["0", "no", "false", "true", "1 0", "11"])
def test_a_flag_that_is_not_1_is_refused(python: Path, name: str, value: str) -> None:
    status, arguments, err = make(python, QUEUE, f"{name}={value}")
    assert (status, arguments) == (2, [])
    assert f"{name}={value}: write {name}=1, or leave it out" in err


@pytest.mark.parametrize("override", [(), ("-e",)])
def test_what_is_exported_is_not_heard(python: Path, override: tuple[str, ...]) -> None:
    exported = {
        "APPLY": "1",
        "RENEW": "1",
        "REJECTED": "1",
        "JSON": "1",
        "TO": "x",
        "ONLY": "x",
        "LIMIT": "1",
        "TTL": "9",
    }
    assert make(python, *override, QUEUE, **exported)[:2] == (0, LOOK)


def test_without_a_queue_nothing_is_done(python: Path) -> None:
    for arguments, exported in (((), {}), (("QUEUE=",), {}), ((), {"QUEUE": "dead"})):
        status, heard, err = make(python, *arguments, **exported)
        assert (status, heard) == (2, [])
        assert "say which: QUEUE=" in err


@pytest.mark.parametrize("misspelt", ["APLY=1", "apply=1", "DRY_RUN=1"])
def test_a_name_that_it_does_not_know_is_refused(python: Path, misspelt: str) -> None:
    status, arguments, err = make(python, QUEUE, "APPLY=1", misspelt)
    assert (status, arguments) == (2, [])
    assert f"{misspelt.partition('=')[0]}: redrive knows QUEUE TO APPLY" in err


class Trap:
    """A file that a text makes where it is run, and texts that would run it, or that a shell or make reads anew."""

    def __init__(self, folder: Path) -> None:
        self.sprung = folder / "sprung"
        touch = f"touch {self.sprung}"
        self.texts = (
            f'rejected: task_id: "`{touch}`" is not allowed',
            f'"; {touch}; "',
            f"'; {touch}; '",
            f"'\"; {touch} #",
            f"$({touch})",
            f"$$({touch})",
            f"$(shell {touch})",
            f"$$(shell {touch})",
            f"${{shell {touch}}}",
            f"$(eval X := $(shell {touch}))",
            "$(",
            f"a; {touch}",
            f"a && {touch} & {touch} | {touch}",
            "a # b",
            "$HOME $$HOME ${HOME} $(HOME) $(PY) $",
            "it's 'quoted' \"twice\"",
            "a\\",
            "a\\nb\\'\\\"\\$",
            "* ? [a-z] ~ {a,b} !! % , ( )",
            "a  b\tc ",
            "\xe4\u2028",
        )


@pytest.fixture
def trap(tmp_path: Path) -> Trap:
    """A trap of this test."""
    return Trap(tmp_path)


@pytest.fixture
def installed(tmp_path: Path) -> str:
    """A PATH on which an environment is always there: the recipe of `install` runs, and has nothing to do."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "python3").write_text("#!/bin/sh\nexit 0\n")
    (folder / "python3").chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


@pytest.mark.parametrize("name", ["TO", "ONLY", "LIMIT", "TTL"])
def test_a_text_arrives_as_it_was_typed_and_nothing_of_it_is_run(
    python: Path, trap: Trap, installed: str, name: str
) -> None:
    for text in trap.texts:
        arguments = make(python, QUEUE, f"{name}={text}", skip="none", PATH=installed)
        assert arguments == (0, [*LOOK, f"--{name.lower()}", text], ""), text
    assert not trap.sprung.exists()


def test_a_queue_arrives_as_it_was_typed_too(python: Path, trap: Trap, installed: str) -> None:
    for text in trap.texts:
        assert make(python, f"QUEUE={text}", skip="none", PATH=installed) == (0, [*LOOK[:-1], text], "")
    assert not trap.sprung.exists()


@pytest.mark.parametrize("name", ["APPLY", "RENEW", "REJECTED", "JSON"])
def test_a_flag_runs_nothing_either(python: Path, trap: Trap, installed: str, name: str) -> None:
    for text in trap.texts:
        status, arguments, err = make(python, QUEUE, f"{name}={text}", skip="none", PATH=installed)
        assert (status, arguments) == (2, [])
        assert f"{name}={text}: write {name}=1" in err
    assert not trap.sprung.exists()


def test_an_unknown_name_runs_nothing_either(python: Path, trap: Trap, installed: str) -> None:
    for text in trap.texts:
        assert make(python, QUEUE, f"APLY={text}", skip="none", PATH=installed)[:2] == (2, [])
    assert not trap.sprung.exists()


@pytest.mark.parametrize("name", ["QUEUE", "TO", "ONLY", "LIMIT", "TTL", "APPLY"])
@pytest.mark.parametrize("end", ["", "b", "touch {}"])
def test_a_line_break_is_refused(python: Path, trap: Trap, name: str, end: str) -> None:
    written = {"QUEUE": "dead", name: "a\n" + end.format(trap.sprung)}
    status, arguments, err = make(python, *(f"{each}={text}" for each, text in written.items()))
    assert (status, arguments) == (2, [])
    assert name in err
    assert not trap.sprung.exists()


@pytest.mark.parametrize("exported", [True, False])
@pytest.mark.parametrize(
    "called",
    [
        ("soak", "SEED", ["-m", "local.soak", "--seed"]),
        ("build", "ARCH", ["-m", "local.build"]),
        ("package", "ARCH", ["-m", "local.build", "--zip"]),
        ("build-StopTask", "ARTIFACTS_DIR", ["-m", "local.build", "arm64", "--into"]),
    ],
)
def test_no_other_target_runs_a_text(
    python: Path, trap: Trap, installed: str, called: tuple[str, str, list[str]], *, exported: bool
) -> None:
    target, name, expected = called
    for text in trap.texts:
        variables = {name: text} if exported else {}
        written = () if exported else (f"{name}={text}",)
        done = make(python, *written, target=target, skip="none", PATH=installed, **variables)
        assert done == (0, [*expected, text], ""), text
    assert not trap.sprung.exists()


def test_the_lock_gets_its_option_as_it_was_typed(python: Path, trap: Trap, installed: str) -> None:
    for text in trap.texts:
        status, arguments, err = make(python, f"UPGRADE={text}", target="lock", skip="none", PATH=installed)
        assert (status, arguments.count(text), err) == (0, 2, ""), text
    assert not trap.sprung.exists()


@pytest.mark.parametrize("exported", [{}, {"HTTPS_PROXY": "http://other"}], ids=["new", "exported before"])
def test_what_is_written_is_in_the_environment_of_the_recipe(tmp_path: Path, exported: dict[str, str]) -> None:
    script = tmp_path / "python"
    script.write_text('#!/bin/sh\necho "$HTTPS_PROXY"\n')
    script.chmod(0o755)
    written = "HTTPS_PROXY=http://$x@host"
    assert make(script, written, target="soak", **exported) == (0, ["http://$x@host"], "")

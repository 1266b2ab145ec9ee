"""Redrive's texts: they name options as the caller writes them, to make or to the module."""

from __future__ import annotations

import ast
import io
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from local import redrive
from local.redrive import main
from tests.dead_letters import DEAD, expired, received, world

OPTION = re.compile(r"--[a-z]+|\b[A-Z]+=1?")


@pytest.mark.parametrize(
    ("messages", "arguments", "named"),
    [
        ((), (), {"": {"--apply"}, "make": {"APPLY=1"}}),
        ((received("no JSON"),), (), {"": {"--apply", "--rejected"}, "make": {"APPLY=1", "REJECTED=1"}}),
        ((expired(1),), ("--apply",), {"": {"--renew"}, "make": {"RENEW=1"}}),
        ((), ("--apply", "--to", DEAD), {"": {"--to"}, "make": {"TO="}}),
        ((), ("--limit", "0"), {"": {"--limit"}, "make": {"LIMIT="}}),
        ((), ("--to", ""), {"": {"--to"}, "make": {"TO="}}),
        ((), ("--ttl", "x"), {"": {"--ttl"}, "make": {"TTL="}}),
        ((), ("--queue", ""), {"": {"--queue"}, "make": {"QUEUE="}}),
    ],
    ids=["look", "rejected", "expired", "itself", "limit", "to", "ttl", "queue"],
)
def test_a_text_names_what_the_caller_can_type(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    messages: tuple[Any, ...],
    arguments: tuple[str, ...],
    named: dict[str, set[str]],
) -> None:
    for caller, options in named.items():
        monkeypatch.setenv(redrive.CALLER, caller)
        sqs = world(*messages)
        monkeypatch.setattr("boto3.client", lambda *_, sqs=sqs, **__: sqs)
        monkeypatch.setattr("sys.stdin", io.StringIO())
        with suppress(SystemExit):
            main(["--queue", DEAD, *arguments])
        written = capsys.readouterr()
        text = re.sub(r"^(usage:| {7}).*\n", "", written.out + written.err, flags=re.MULTILINE)
        assert set(OPTION.findall(text)) == options


def test_no_other_text_names_an_option() -> None:
    """What is written down in one way would be wrong for the callers of the other."""
    tree = ast.parse(Path(redrive.__file__).read_text())
    functions = [each for each in ast.walk(tree) if isinstance(each, ast.FunctionDef)]
    named = {
        (function.name, text.value)
        for function in functions
        if function.name not in {"_arguments", "by_module", "by_make"}
        for text in ast.walk(function)
        if isinstance(text, ast.Constant) and isinstance(text.value, str) and text.value != ast.get_docstring(function)
        if re.search(r"--(apply|renew|rejected|to|json)\b|(APPLY|RENEW|REJECTED|TO|JSON)=", text.value)
    }
    assert named == set()

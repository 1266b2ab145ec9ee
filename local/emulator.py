"""ministack, with what the local world needs of it and it does not do; started by path, as `python -I emulator.py`.

* A rule's target may be a log group of CloudWatch Logs. ministack takes such a target and then logs "unsupported
  target type" for each event. Here the event is written to the log.
* `FilterLogEvents` understands the JSON patterns of the README: `{ $.detail.command_id = "c-2" }`, and several such
  comparisons with `&&` between them. To ministack every JSON pattern matches every line. Others are refused here.

Nothing of it is asked of AWS. It replaces functions of ministack, whose version is pinned; if one of them is gone or
takes other arguments, `main` or tests/end_to_end/test_outcome_log.py fails.
"""

# ruff: noqa: SLF001 - there is no other way in

from __future__ import annotations

import http
import inspect
import json
import re
from typing import Any, Final

from ministack.app import main as run_ministack
from ministack.core.responses import error_response_json
from ministack.services import cloudwatch_logs, eventbridge

_LOG_GROUP: Final = re.compile(r"arn:[\w-]+:logs:[\w-]+:\d{12}:log-group:([^:]+)")
_STREAM: Final = "events"
_COMPARISON: Final = re.compile(r'\s*\$\.([\w.-]+)\s*=\s*(?:"([^"]*)"|([^\s"&|(){}*]+))\s*')
"""Text in quotes or, as CloudWatch Logs allows, without."""

_TAKES: Final = {
    eventbridge._invoke_target: ["target", "event", "rule", "view"],
    cloudwatch_logs._filter_log_events: ["data"],
    cloudwatch_logs._compile_filter_pattern: ["raw"],
}
"""What is replaced, and the arguments with which ministack calls it."""

_invoke_target = eventbridge._invoke_target
_filter_log_events = cloudwatch_logs._filter_log_events
_compile_filter_pattern = cloudwatch_logs._compile_filter_pattern


def invoke_target(target: dict[str, Any], event: Any, rule: Any, view: Any = None) -> None:
    """Write the event to the log group if that is the target, else do what ministack does."""
    found = _LOG_GROUP.fullmatch(target.get("Arn", ""))
    if found is None:
        _invoke_target(target, event, rule, view)
        return
    view = view or eventbridge._pattern_event_view(event)
    stream = {"logGroupName": found[1], "logStreamName": _STREAM}
    cloudwatch_logs._create_log_stream(stream)  # refused if it is there
    message = json.dumps(view.event_with_detail())
    status, _, body = cloudwatch_logs._put_log_events(stream | {"logEvents": [{"message": message}]})
    if status != http.HTTPStatus.OK:
        eventbridge.logger.warning("EventBridge → Logs %s: %s", found[1], body)


def filter_log_events(data: dict[str, Any]) -> Any:
    """Refuse a JSON pattern that is not understood here, else do what ministack does."""
    pattern = str(data.get("filterPattern") or "").strip()
    if pattern.startswith("{") and comparisons(pattern) is None:
        return error_response_json(
            "InvalidParameterException", f'the local world knows only {{ $.a.b = "c" && … }}: {pattern}', 400
        )
    return _filter_log_events(data)


def compile_filter_pattern(raw: str) -> Any:
    """Return a function that says whether a line matches."""
    wanted = comparisons((raw or "").strip())
    return _compile_filter_pattern(raw) if wanted is None else lambda line: _matches(line, wanted)


def comparisons(pattern: str) -> list[tuple[list[str], str]] | None:
    """Return the path and the value of each comparison of a JSON pattern; None if it is none that is known here."""
    if not (pattern.startswith("{") and pattern.endswith("}")):
        return None
    found = [_COMPARISON.fullmatch(each) for each in pattern[1:-1].split("&&")]
    if None in found:
        return None
    return [(each[1].split("."), each[2] if each[2] is not None else each[3]) for each in found if each]


def _matches(line: str, wanted: list[tuple[list[str], str]]) -> bool:
    try:
        whole = json.loads(line)
    except ValueError:
        return False
    return all(_is_like(_at(whole, path), value) for path, value in wanted)


def _is_like(text: str | None, value: str) -> bool:
    """Whether a text equals a value in which `*` stands for anything."""
    return text is not None and re.fullmatch(".*".join(map(re.escape, value.split("*"))), text, re.DOTALL) is not None


def _at(value: Any, path: list[str]) -> str | None:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, str) else None if isinstance(value, dict | list | None) else json.dumps(value)


def main() -> None:
    """Put the functions into ministack and run it."""
    for function, arguments in _TAKES.items():
        if list(inspect.signature(function).parameters) != arguments:
            raise TypeError(f"ministack has another {function.__name__} than local/emulator.py replaces")
    eventbridge._invoke_target = invoke_target
    cloudwatch_logs._filter_log_events = filter_log_events
    cloudwatch_logs._compile_filter_pattern = compile_filter_pattern
    run_ministack()


if __name__ == "__main__":
    main()

"""Errors of fields: the place, the value and the reason, in the words of the contract and not in pydantic's.

A value is shown as JSON, cut, and with everything escaped that does not print: it is the sender's, and may be anything.
"""

from __future__ import annotations

import json
import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final

from pydantic_core import PydanticCustomError

from shared.outcomes import FieldError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from pydantic import BaseModel, ValidationError
    from pydantic_core import ErrorDetails

MOST_ERRORS: Final = 20
"""Most errors that are listed; one more says how many there are besides."""

LONGEST_VALUE: Final = 80
"""Characters of a value that are shown."""

LONGEST_LOC: Final = 128
"""Characters of a place that are shown: the name of an unknown field is the sender's."""

REASONS: Final[Mapping[str, str]] = {
    "bool_parsing": "should be true or false",
    "bool_type": "should be true or false",
    "dict_type": "should be an object",
    "greater_than_equal": "should be at least {ge}",
    "int_from_float": "should be a whole number",
    "int_parsing": "should be a whole number",
    "int_parsing_size": "should be a whole number of fewer digits",
    "int_type": "should be a whole number",
    "less_than_equal": "should be at most {le}",
    "list_type": "should be a list",
    "literal_error": "should be {expected}",
    "model_type": "should be an object",
    "string_pattern_mismatch": "is not allowed: allowed are {allowed}",
    "string_too_long": "should have at most {max_length} characters",
    "string_too_short": "should have {min_length} or more characters",
    "string_type": "should be a string",
    "string_unicode": "should be Unicode, without half of a surrogate pair",
    "too_long": "has {actual_length} items, at most {max_length} are allowed",
    "too_short": "should have {min_length} or more items",
    "tuple_type": "should be a list",
    "value_error": "{error}",
}
"""The reason by pydantic's type of error, with the numbers of its context. `_explained` has those of whole fields."""

UNKNOWN_REASON: Final = "is not allowed"
"""The reason of a type that a later pydantic may bring. A test fails for each that our models can produce."""

_OURS: Final = "stopline"

# What all ids have: one class of characters, and how many. `awaiting` takes "*", too.
_PATTERN: Final = re.compile(r"\^\(?\[(?P<characters>.+)]\{(?P<least>\d+),(?P<most>\d+)}(?P<all>\|\\\*\))?\$")
_VISIBLE: Final = "!-~"

# Not at once, since a value may be as large as a message.
_JSON: Final = json.JSONEncoder(ensure_ascii=False, default=str)


def complaint(reason: str, *at: str | int, shows_value: bool = True) -> PydanticCustomError:
    """Return what a validator raises to give a reason of our own.

    `at`: the place of the value, where the validator is one of the whole model.
    """
    return PydanticCustomError(_OURS, reason, {"at": at, "shows_value": shows_value})


def field_error(loc: str, reason: str, *, value: str = "") -> FieldError:
    """Return the error of a field; `value` as `show` returns it, `""` for none."""
    return FieldError(loc=loc, msg=f"{value} {reason}".lstrip(), value=value, reason=reason)


def show(value: object) -> str:
    """Return a value as JSON in one short line.

    A number beyond what a computer counts with was read as infinite, for which JSON has no name: it is `1e999`.
    """
    text = ""
    for part in _JSON.iterencode(value[:LONGEST_VALUE] if isinstance(value, str) else value):
        is_text = part.endswith('"')
        text += (part if is_text else part.replace("Infinity", "1e999"))[: LONGEST_VALUE + 1]
        if len(text) > LONGEST_VALUE:
            break
    return _printable(text, LONGEST_VALUE)


def place(loc: Iterable[str | int]) -> str:
    """Return a place in the notation `tally.stopped`, `targets[0]`."""
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return _printable(text, LONGEST_LOC)


def explain(
    error: ValidationError,
    *,
    model: type[BaseModel],
    kind: str,
    payload: Mapping[str, Any],
    allowed: Mapping[str, str] | None = None,
    shown: Callable[[str, Any], object] = lambda _, value: value,
) -> tuple[FieldError, ...]:
    """Return what pydantic found wrong with a payload, one error for each fault, `MOST_ERRORS` at most.

    `kind`: what it should be, by the name that users know. `allowed`: what the pattern of a field allows, where the
    pattern does not say it by itself. `shown`: returns what may be shown of the value of a field.
    """
    found = error.errors(include_url=False)
    # Of a list whose first item is bad pydantic also says that it is empty, since it took none.
    lists = {each["loc"][:-1] for each in found if each["loc"]}
    faults = [each for each in found if each["type"] != "too_short" or each["loc"] not in lists]
    errors = [
        _explained(each, model=model, kind=kind, payload=payload, allowed=allowed or {}, shown=shown)
        for each in faults[:MOST_ERRORS]
    ]
    if len(faults) > MOST_ERRORS:
        errors.append(field_error("", f"and {len(faults) - MOST_ERRORS} more errors"))
    return tuple(errors)


def joined(errors: Iterable[FieldError], *, whole: str) -> str:
    """Return errors as one line; `whole` stands for the place of those that concern no single field."""
    return "; ".join(f"{each.loc or whole}: {each.msg}" for each in errors)


def _explained(
    each: ErrorDetails,
    *,
    model: type[BaseModel],
    kind: str,
    payload: Mapping[str, Any],
    allowed: Mapping[str, str],
    shown: Callable[[str, Any], object],
) -> FieldError:
    loc, value, context = each["loc"], each["input"], each.get("ctx", {})
    match each["type"]:
        case "missing":
            return field_error(place(loc), "is missing")
        case "extra_forbidden" | "invalid_key":
            return _no_field(loc, model=model, kind=kind)
        case "string_unicode" if not isinstance(_at(payload, loc), str):  # then it is the name of a field in there
            return _no_field((*loc, value), model=model, kind=kind)
        case "value_error" if not loc:  # of several settings, which it names
            return field_error("", str(context["error"]))
        case type_ if type_ == _OURS:
            reason, at = each["msg"], context["at"]
            if not context["shows_value"]:
                return field_error(place(at), reason)
            loc, value = (at, _at(payload, at)) if at else (loc, value)
        case type_:
            said = {**context, "allowed": allowed.get(str(loc[0])) or allowed_by(context.get("pattern", ""))}
            if "expected" in said:
                said["expected"] = said["expected"].replace("'", "")  # as Python writes texts
            reason = REASONS.get(type_, UNKNOWN_REASON).format_map(said)
    return field_error(place(loc), reason, value=show(shown(str(loc[0]), value)))


def allowed_by(pattern: str) -> str:
    """Return what the pattern of an id allows, in words."""
    match = _PATTERN.fullmatch(pattern)
    if not match:
        return "other characters"
    characters = match["characters"]
    which = "visible ASCII characters" if characters == _VISIBLE else f"of {' '.join(re.findall('.-.|.', characters))}"
    return f"{match['least']} to {match['most']} {which}{', or *' if match['all'] else ''}"


def _no_field(loc: Sequence[str | int], *, model: type[BaseModel], kind: str) -> FieldError:
    *objects, last = loc
    for each in objects:
        model = model.model_fields[str(each)].annotation  # type: ignore[assignment]  # it has fields, or had no such error
    name = str(last)
    near = get_close_matches(name[:LONGEST_VALUE].lower(), model.model_fields, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return field_error(place(loc), f"is no field of {place(objects) or kind}{hint}", value=show(name))


def _at(payload: Any, loc: Iterable[str | int]) -> Any:
    for part in loc:
        payload = payload[part]
    return payload


def _printable(text: str, length: int) -> str:
    # A lone surrogate could not be written as UTF-8.
    clean = "".join(each if each.isprintable() else json.dumps(each)[1:-1] for each in text[: length + 1])
    return clean if len(clean) <= length else clean[: length - 1] + "…"

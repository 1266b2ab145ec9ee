"""The schemas in `events/schemas` as they are committed, and what they say against a message or an event."""

from __future__ import annotations

import json
import re
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from jsonschema import Draft202012Validator, FormatChecker  # type: ignore[import-untyped]
from jsonschema.exceptions import ValidationError, best_match  # type: ignore[import-untyped]
from jsonschema.validators import extend  # type: ignore[import-untyped]
from referencing import Registry
from referencing.jsonschema import DRAFT202012

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SCHEMAS: Final = Path(__file__).parent.parent / "events" / "schemas"

_OF_EVENTS: Final = {"Stop Outcome": "stop-outcome.json", "Sweep Completed": "sweep-completed.json"}


def complaints(event: Mapping[str, Any]) -> list[str]:
    """Say what is wrong with an event of the bus, as EventBridge hands it on; nothing if all is well."""
    schema = _OF_EVENTS.get(event.get("detail-type", ""))
    if schema is None:
        return [f"detail-type: no event of ours: {event.get('detail-type')!r}"]
    return faults(event, schema)


def faults(instance: object, schema: str) -> list[str]:
    """Say what a schema (`sweep.json`, `stop-outcome.json#/$defs/Outcome`) has against what JSON was parsed into."""
    validator = _Ecma({"$ref": schema}, registry=_registry(), format_checker=_FORMATS)
    found = [best_match([error]) for error in validator.iter_errors(instance)]
    return [f"{'.'.join(map(str, each.absolute_path))}: {each.message[:300]}" for each in found]


@cache
def _registry() -> Registry[Any]:
    read = [json.loads(path.read_text()) for path in SCHEMAS.glob("*.json")]
    for schema in read:
        # By this word jsonschema would go on with its own validator in place of the one below.
        assert schema.pop("$schema") == Draft202012Validator.META_SCHEMA["$id"]
    return Registry[Any]().with_resources((each["$id"], DRAFT202012.create_resource(each)) for each in read).crawl()


def _pattern(_: Any, pattern: str, instance: object, __: Any) -> Iterator[ValidationError]:
    # The expressions of JSON Schema are ECMAScript's, in which `$` is the very end of the text. Python's `$` also is
    # before a last newline.
    if isinstance(instance, str) and not re.search(re.sub(r"\$$", r"\\Z", pattern), instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


_Ecma: Final = extend(Draft202012Validator, {"pattern": _pattern})


def _exists(instance: object) -> bool:
    return not isinstance(instance, str) or datetime.fromisoformat(instance.upper()) is not None


# jsonschema checks moments only with a package that is not installed. The form is in the patterns of the schemas, so
# all that is left to see is whether there is such a moment.
_FORMATS: Final = FormatChecker(formats=())
_FORMATS.checks("date-time", raises=ValueError)(_exists)

"""Which bodies a filter policy of SNS lets through, as its developer guide says.

https://docs.aws.amazon.com/sns/latest/dg/attribute-key-matching.html, …/and-or-logic.html: a body is matched by its
leaves, so a leaf whose parent is missing does not exist. The guide does not say that last part in so many words, so a
test may ask for the other reading too: `exists` finds nothing where the parent is no object.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MOST_KEYS: Final = 5
"""Keys that one policy may have (…/subscription-filter-policy-constraints.html)."""


def matches(policy: Mapping[str, Any], body: Any, *, needs_parents: bool = False) -> bool:
    """Whether a policy on the message body lets a body through.

    `needs_parents`: whether a key within a missing object is never matched, not even by `{"exists": false}`.
    """
    return isinstance(body, dict) and _all_match(policy, body, needs_parents=needs_parents)


def keys_of(policy: Mapping[str, Any]) -> list[str]:
    """Return the keys of a policy that have conditions, each as often as it is there."""
    return [key for name, rule in policy.items() for key in _keys(name, rule)]


def _keys(name: str, rule: Any) -> Iterator[str]:
    if name == "$or":
        for each in rule:
            yield from keys_of(each)
    elif isinstance(rule, dict):
        yield from (f"{name}.{key}" for key in keys_of(rule))
    else:
        yield name


def _all_match(policy: Mapping[str, Any], body: Any, *, needs_parents: bool) -> bool:
    for name, rule in policy.items():
        inner = body.get(name) if isinstance(body, dict) else None
        if name == "$or":
            assert len(rule) > 1, "it would be an ordinary name"
            found = any(_all_match(each, body, needs_parents=needs_parents) for each in rule)
        elif isinstance(rule, dict):
            parents = [each for each in _listed(inner) if isinstance(each, dict)]
            if needs_parents and not parents:
                return False
            found = any(_all_match(rule, each, needs_parents=needs_parents) for each in parents or [{}])
        else:
            leaves = [each for each in _listed(inner) if not isinstance(each, dict)]
            found = any(_holds(condition, leaves) for condition in rule)
        if not found:
            return False
    return True


def _listed(value: Any) -> list[Any]:
    return [leaf for each in value for leaf in _listed(each)] if isinstance(value, list) else [value]


def _holds(condition: Any, leaves: list[Any]) -> bool:
    there = [leaf for leaf in leaves if leaf is not None]
    match condition:
        case {"exists": True}:
            return any(leaf != "" for leaf in there)
        case {"exists": False}:
            return not there
        case {"anything-but": [*others]}:
            return any(leaf not in others for leaf in there)
        case str():
            return condition in there
        case _:
            raise AssertionError(f"{condition}: not known here")

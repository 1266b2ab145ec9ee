"""A DynamoDB in a dict: one table with two keys, and as much of the expressions as sweeps may use.

An expression that it does not know raises ValueError, so that a test fails loudly. It is compared with moto's.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from shared.aws import DYNAMODB, AwsRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from shared.aws import Service
    from shared.deadline import Deadline

type Item = dict[str, Any]

CONDITION_FAILED: Final = "ConditionalCheckFailedException"

_TOKEN: Final = re.compile(r"\s*(<=|>=|<>|[=<>(),]|[:#]?[A-Za-z_][A-Za-z_0-9]*)")
_COMPARISONS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "=": lambda left, right: bool(left == right),
    "<": lambda left, right: bool(left < right),
    ">": lambda left, right: bool(left > right),
    "<=": lambda left, right: bool(left <= right),
    ">=": lambda left, right: bool(left >= right),
}


class FakeTables:
    """`shared.aws.Aws.call` for DynamoDB, keyed by `project_id` and `task_id`; `page_size` items a page of a Query."""

    def __init__(self, *, page_size: int = 2) -> None:
        self.items: dict[tuple[str, str], Item] = {}
        self._page_size = page_size

    def call(
        self, service: Service, operation: str, payload: Mapping[str, Any], *, deadline: Deadline
    ) -> dict[str, Any]:
        assert service == DYNAMODB
        assert deadline.remaining() > 0
        names = _Names(operation, payload)
        match operation:
            case "Query":
                answer = self._query(payload, names)
            case "GetItem":
                found = self.items.get(_key(payload["Key"]))
                answer = {} if found is None else {"Item": dict(found)}
            case "PutItem" | "DeleteItem" | "UpdateItem":
                answer = self._write(operation, payload, names)
            case _:
                raise ValueError(f"{operation} is not played")
        names.are_all_used()
        return answer

    def _query(self, payload: Mapping[str, Any], names: _Names) -> dict[str, Any]:
        condition = payload["KeyConditionExpression"]
        found = [(key, item) for key, item in sorted(self.items.items()) if names.holds(condition, item)]
        names.holds(condition, {})
        if (start := payload.get("ExclusiveStartKey")) is not None:
            found = [(key, item) for key, item in found if key > _key(start)]
        page, rest = found[: self._page_size], found[self._page_size :]
        answer: dict[str, Any] = {"Items": [dict(item) for _, item in page], "Count": len(page)}
        if rest:
            project_id, task_id = page[-1][0]
            answer["LastEvaluatedKey"] = {"project_id": {"S": project_id}, "task_id": {"S": task_id}}
        return answer

    def _write(self, operation: str, payload: Mapping[str, Any], names: _Names) -> dict[str, Any]:
        key = _key(payload["Item"] if operation == "PutItem" else payload["Key"])
        before = self.items.get(key)
        condition = payload.get("ConditionExpression")
        is_met = condition is None or names.holds(condition, before or {})
        match operation:
            case "PutItem":
                after: Item | None = dict(payload["Item"])
            case "DeleteItem":
                after = None
            case _:
                after = names.updated(payload["UpdateExpression"], dict(before or payload["Key"]))
        names.are_all_used()
        if not is_met:
            raise _refused(operation, CONDITION_FAILED, "The conditional request failed")
        if after is None:
            self.items.pop(key, None)
        else:
            self.items[key] = after
        match payload.get("ReturnValues", "NONE"):
            case "ALL_OLD":
                return {} if before is None else {"Attributes": dict(before)}
            case "ALL_NEW":
                return {"Attributes": dict(after or {})}
        return {}


class _Names:
    """Reads expressions with the `#names` and `:values` of one request, all of which must be used."""

    def __init__(self, operation: str, payload: Mapping[str, Any]) -> None:
        self._operation = operation
        self._names = payload.get("ExpressionAttributeNames", {})
        self._values = payload.get("ExpressionAttributeValues", {})
        self._used: set[str] = set()
        self._tokens: list[str] = []
        self._item: Item = {}

    def are_all_used(self) -> None:
        if unused := {*self._names, *self._values} - self._used:
            raise _refused(self._operation, "ValidationException", f"unused in expressions: {sorted(unused)}")

    def holds(self, condition: str, item: Item) -> bool:
        """Evaluate a condition; both sides of AND and OR are read, as a parser would."""
        self._tokens, self._item = _tokens(condition), item
        if _has_pair_in_pair(self._tokens):
            raise _refused(self._operation, "ValidationException", "The expression has redundant parentheses")
        result = self._or()
        if self._tokens:
            raise ValueError(f"left over of {condition!r}: {self._tokens}")
        return result

    def updated(self, expression: str, item: Item) -> Item:
        """Apply `SET a = :x, b = :y REMOVE c, d`."""
        clauses = re.split(r"\b(SET|REMOVE)\b", expression)
        for clause, text in zip(clauses[1::2], clauses[2::2], strict=True):
            for part in text.split(","):
                self._tokens, self._item = _tokens(part), item
                name = self._name(self._take())
                if clause == "REMOVE":
                    item.pop(name, None)
                    continue
                self._expect("=")
                value = self._operand()
                if value is None or self._tokens:
                    raise ValueError(f"not played: {expression!r}")
                item[name] = value
        return item

    def _or(self) -> bool:
        result = self._and()
        while self._next_is("OR"):
            right = self._and()
            result = result or right
        return result

    def _and(self) -> bool:
        result = self._not()
        while self._next_is("AND"):
            right = self._not()
            result = result and right
        return result

    def _not(self) -> bool:
        if self._next_is("NOT"):
            return not self._not()
        if self._next_is("("):
            result = self._or()
            self._expect(")")
            return result
        if self._tokens and self._tokens[0] in {"attribute_exists", "attribute_not_exists"}:
            function = self._take()
            self._expect("(")
            is_there = self._name(self._take()) in self._item
            self._expect(")")
            return is_there is (function == "attribute_exists")
        left, operator, right = self._operand(), self._take(), self._operand()
        if left is None or right is None:
            return False
        ((left_type, left_value),) = left.items()
        ((right_type, right_value),) = right.items()
        if left_type != right_type:
            return False
        if left_type == "N":
            left_value, right_value = Decimal(left_value), Decimal(right_value)
        elif left_type == "S":
            left_value, right_value = left_value.encode(), right_value.encode()
        elif operator != "=":
            raise ValueError(f"{left_type} {operator} {right_type} is not played")
        return _COMPARISONS[operator](left_value, right_value)

    def _operand(self) -> Mapping[str, Any] | None:
        token = self._take()
        if token.startswith(":"):
            self._used.add(token)
            value: Mapping[str, Any] = self._values[token]
            return value
        return self._item.get(self._name(token))

    def _name(self, token: str) -> str:
        if not token.startswith("#"):
            return token
        self._used.add(token)
        name: str = self._names[token]
        return name

    def _next_is(self, token: str) -> bool:
        if self._tokens and self._tokens[0] == token:
            self._tokens.pop(0)
            return True
        return False

    def _take(self) -> str:
        return self._tokens.pop(0)

    def _expect(self, token: str) -> None:
        if (found := self._take()) != token:
            raise ValueError(f"{found!r} where {token!r} is due")


def _tokens(expression: str) -> list[str]:
    found, place, end = [], 0, len(expression.rstrip())
    while place < end:
        if (token := _TOKEN.match(expression, place)) is None:
            raise ValueError(f"not played: {expression[place:]!r}")
        found.append(token[1])
        place = token.end()
    return found


def _has_pair_in_pair(tokens: list[str]) -> bool:
    """Return whether one pair of parentheses encloses nothing but another, which AWS refuses."""
    opened: list[int] = []
    pairs = set()
    for place, token in enumerate(tokens):
        if token == "(":
            opened.append(place)
        elif token == ")":
            pairs.add((opened.pop(), place))
    return any((begin + 1, end - 1) in pairs for begin, end in pairs)


def _key(item: Mapping[str, Any]) -> tuple[str, str]:
    return item["project_id"]["S"], item["task_id"]["S"]


def _refused(operation: str, code: str, message: str) -> AwsRefused:
    return AwsRefused(service="DynamoDB", operation=operation, code=code, message=message, mend="")

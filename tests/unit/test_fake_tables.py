"""The DynamoDB in a dict answers as moto's does, which reads the same expressions as AWS's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import boto3
import pytest
from botocore.exceptions import ClientError
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from moto import mock_aws

from shared.aws import DYNAMODB, AwsRefused
from tests.fake_tables import FakeTables
from tests.fakes import Clock

if TYPE_CHECKING:
    from collections.abc import Iterator

NUMBERS: Final = ({"N": "9"}, {"N": "10"}, {"N": "10.0"})
TEXTS: Final = ({"S": "9"}, {"S": "10"}, {"S": "é"})


def _names_in(expressions: tuple[str, ...]) -> dict[str, Any]:
    text = " ".join(expressions)
    values = {":a": NUMBERS[1], ":b": TEXTS[1]}
    found: dict[str, Any] = {}
    if used := {name: value for name, value in values.items() if name in text}:
        found["ExpressionAttributeValues"] = used
    if "#v" in text:
        found["ExpressionAttributeNames"] = {"#v": "version"}
    return found


def _compared() -> st.SearchStrategy[str]:
    # Of one type each: of two, AWS says no and moto raises TypeError.
    return st.one_of(
        st.builds(
            lambda operands, operator: f"{operands[0]} {operator} {operands[1]}",
            st.sampled_from([("version", ":a"), ("#v", ":a"), ("seen", ":b")]),
            st.sampled_from(["=", "<", ">", "<=", ">="]),
        ),
        st.builds(
            "{}({})".format,
            st.sampled_from(["attribute_exists", "attribute_not_exists"]),
            st.sampled_from(["task_id", "#v", "seen"]),
        ),
    )


def _conditions() -> st.SearchStrategy[str]:
    return st.recursive(
        _compared(),
        lambda inner: st.one_of(
            st.builds("{} AND {}".format, inner, inner),
            st.builds("{} OR {}".format, inner, inner),
            st.builds("({})".format, inner),
            st.builds("NOT ({})".format, inner),
        ),
        max_leaves=4,
    )


def _items() -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional={"version": st.sampled_from(NUMBERS), "seen": st.sampled_from(TEXTS)})


def _requests() -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    keys = st.sampled_from(["t-1", "t-2", "t-3"]).map(
        lambda task_id: {"project_id": {"S": "p-1"}, "task_id": {"S": task_id}}
    )

    def with_condition(payload: dict[str, Any], condition: str | None) -> dict[str, Any]:
        if condition is not None:
            payload = payload | {"ConditionExpression": condition}
        return payload | _names_in((payload.get("ConditionExpression", ""), payload.get("UpdateExpression", "")))

    conditions = st.none() | _conditions()
    updates = st.sampled_from(["SET #v = :a", "SET seen = :b, #v = :a REMOVE gone", "REMOVE seen"])
    return st.one_of(
        st.builds(
            lambda key, item, condition: ("PutItem", with_condition({"Item": key | item}, condition)),
            keys,
            _items(),
            conditions,
        ),
        st.builds(
            lambda key, condition: ("DeleteItem", with_condition({"Key": key, "ReturnValues": "ALL_OLD"}, condition)),
            keys,
            conditions,
        ),
        st.builds(
            lambda key, update, condition: (
                "UpdateItem",
                with_condition({"Key": key, "UpdateExpression": update, "ReturnValues": "ALL_NEW"}, condition),
            ),
            keys,
            updates,
            conditions,
        ),
        st.builds(lambda key: ("GetItem", {"Key": key, "ConsistentRead": True}), keys),
        st.sampled_from(["", " AND task_id = :t", " AND task_id > :t"]).map(
            lambda condition: (
                "Query",
                {
                    "KeyConditionExpression": f"project_id = :p{condition}",
                    "ConsistentRead": True,
                    "ExpressionAttributeValues": {":p": {"S": "p-1"}}
                    | ({":t": {"S": "t-2"}} if ":t" in condition else {}),
                },
            )
        ),
    )


@pytest.fixture(scope="module")
def moto() -> Iterator[Any]:
    with mock_aws():
        yield boto3.Session("test", "test", region_name="eu-west-1").client("dynamodb")


def _start(moto: Any) -> None:
    if "t" in moto.list_tables()["TableNames"]:
        moto.delete_table(TableName="t")
    moto.create_table(
        TableName="t",
        KeySchema=[
            {"AttributeName": "project_id", "KeyType": "HASH"},
            {"AttributeName": "task_id", "KeyType": "RANGE"},
        ],
        AttributeDefinitions=[
            {"AttributeName": "project_id", "AttributeType": "S"},
            {"AttributeName": "task_id", "AttributeType": "S"},
        ],
        BillingMode="PAY_PER_REQUEST",
    )


def _by_moto(moto: Any, operation: str, payload: dict[str, Any]) -> Any:
    try:
        answer = moto._make_api_call(operation, {"TableName": "t", **payload})  # noqa: SLF001 - by its name on the wire
    except ClientError as error:
        return error.response["Error"]["Code"]
    return {name: value for name, value in answer.items() if name in {"Items", "Item", "Attributes"} and value}


def _by_fake(fake: FakeTables, operation: str, payload: dict[str, Any]) -> Any:
    found: list[Any] = []
    while True:
        try:
            answer = fake.call(DYNAMODB, operation, {"TableName": "t", **payload}, deadline=Clock().deadline())
        except AwsRefused as refusal:
            return refusal.code
        found += answer.pop("Items", [])
        if not (last := answer.pop("LastEvaluatedKey", None)):
            break
        payload = payload | {"ExclusiveStartKey": last}
    answer.pop("Count", None)
    return answer | ({"Items": found} if found else {})


@settings(max_examples=100, deadline=None, phases=[Phase.generate])
@given(requests=st.lists(_requests(), min_size=3, max_size=12))
def test_it_answers_as_motos_does(moto: Any, requests: list[tuple[str, dict[str, Any]]]) -> None:
    _start(moto)
    fake = FakeTables(page_size=1)
    for operation, payload in requests:
        assert _by_fake(fake, operation, payload) == _by_moto(moto, operation, payload), (operation, payload)


def test_a_value_that_no_expression_uses_is_refused() -> None:
    payload = {
        "Key": {"project_id": {"S": "p-1"}, "task_id": {"S": "t-1"}},
        "ConditionExpression": "attribute_exists(task_id)",
        "ExpressionAttributeValues": {":a": {"S": "x"}},
    }
    with pytest.raises(AwsRefused, match="ValidationException"):
        FakeTables().call(DYNAMODB, "DeleteItem", payload, deadline=Clock().deadline())


@pytest.mark.parametrize("condition", ["size(seen) > :a", "seen <> :a", "seen = :a seen", "begins_with(seen, :a)"])
def test_what_is_not_played_fails_loudly(condition: str) -> None:
    payload = {
        "Key": {"project_id": {"S": "p-1"}, "task_id": {"S": "t-1"}},
        "ConditionExpression": condition,
        "ExpressionAttributeValues": {":a": {"S": "x"}},
    }
    tables = FakeTables()
    tables.items["p-1", "t-1"] = {"seen": {"S": "y"}}
    with pytest.raises((ValueError, KeyError)):
        tables.call(DYNAMODB, "DeleteItem", payload, deadline=Clock().deadline())

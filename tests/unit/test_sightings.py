"""The table of sightings: on moto's DynamoDB, which reads the same expressions as AWS's."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from shared.aws import DYNAMODB, AwsRefused, Service
from shared.errors import DeploymentFault
from shared.sightings import KEPT_FOR, Item, Sighting, Sightings
from tests.fakes import NOW, Clock

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from shared.deadline import Deadline

SEEN = NOW.replace(microsecond=0)
FIRST = Sighting("2026-11-23T08:00:00Z", SEEN, 40)
LATER = Sighting("2026-11-23T09:00:00Z", SEEN + timedelta(hours=1), 10)


class Tables:
    """`shared.aws.Aws.call` for DynamoDB: what it puts on the wire is what boto3's client takes."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.operations: list[str] = []

    def call(
        self, service: Service, operation: str, payload: Mapping[str, object], *, deadline: Deadline
    ) -> dict[str, Any]:
        assert service == DYNAMODB
        assert deadline.remaining() > 0
        self.operations.append(operation)
        try:
            answer: dict[str, Any] = self.client._make_api_call(operation, dict(payload))  # noqa: SLF001 - by its name on the wire
        except ClientError as error:
            said = error.response["Error"]
            raise AwsRefused(
                service="DynamoDB", operation=operation, code=said["Code"], message=said["Message"], mend=""
            ) from error
        return answer


@pytest.fixture
def tables() -> Iterator[Tables]:
    with mock_aws():
        session = boto3.Session("test", "test", region_name="eu-west-1")
        client = session.client("dynamodb")
        client.create_table(
            TableName="sightings",
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
        yield Tables(client)


@pytest.fixture
def sightings(tables: Tables) -> Sightings:
    return Sightings(tables=tables, table_name="sightings", now=Clock().now)


DEADLINE = Clock().deadline()
MARK = Item("v-1")
SIGHTED = Item("v-2", FIRST)
CLAIMED = Item("v-3", FIRST, claimed_until=SEEN + timedelta(minutes=31))
SPENT = Item("v-4", None, claimed_until=SEEN + timedelta(minutes=31))
ITEMS = (MARK, SIGHTED, CLAIMED, SPENT)


def put(sightings: Sightings, *items: Item | None, task_id: str = "t-1") -> list[bool]:
    """Swap each of these for the one before it."""
    before: Item | None = None
    answers = []
    for item in items:
        answers.append(sightings.swap("p-1", task_id, before, item, deadline=DEADLINE))
        before = item
    return answers


def test_what_was_written_is_found_again_project_by_project(sightings: Sightings) -> None:
    for number, item in enumerate(ITEMS):
        assert put(sightings, item, task_id=f"t-{number}") == [True]
    assert sightings.swap("p-2", "t-1", None, MARK, deadline=DEADLINE)
    assert sightings.of_project("p-1", deadline=DEADLINE) == {f"t-{n}": item for n, item in enumerate(ITEMS)}
    assert sightings.of_project("p-2", deadline=DEADLINE) == {"t-1": MARK}
    assert sightings.of_project("p-3", deadline=DEADLINE) == {}
    assert sightings.read("p-1", "t-2", deadline=DEADLINE) == CLAIMED
    assert sightings.read("p-1", "t-9", deadline=DEADLINE) is None


def test_an_item_changes_only_at_the_version_that_was_read(sightings: Sightings) -> None:
    assert put(sightings, MARK, SIGHTED, CLAIMED) == [True, True, True]
    for held in (None, MARK, SIGHTED, SPENT):
        for new in (Item("v-9", LATER), None):
            assert sightings.swap("p-1", "t-1", held, new, deadline=DEADLINE) is False
    assert sightings.read("p-1", "t-1", deadline=DEADLINE) == CLAIMED


@pytest.mark.parametrize("new", [Item("v-9", FIRST), Item("v-9")])
def test_nothing_is_written_in_the_place_of_an_item_that_is_gone(sightings: Sightings, new: Item) -> None:
    assert put(sightings, SIGHTED, None) == [True, True]
    assert sightings.swap("p-1", "t-1", SIGHTED, new, deadline=DEADLINE) is False
    assert sightings.of_project("p-1", deadline=DEADLINE) == {}


def test_what_was_removed_may_be_removed_again(sightings: Sightings) -> None:
    assert put(sightings, SIGHTED, None) == [True, True]
    assert sightings.swap("p-1", "t-1", SIGHTED, None, deadline=DEADLINE) is True


@pytest.mark.parametrize("item", ITEMS)
def test_a_write_whose_first_answer_was_lost_is_known_by_its_version(sightings: Sightings, item: Item) -> None:
    for _ in range(2):
        assert sightings.swap("p-1", "t-1", None, item, deadline=DEADLINE) is True


def test_only_a_sighting_without_a_claim_is_evidence() -> None:
    assert [item.evidence for item in ITEMS] == [None, FIRST, None, None]


def test_a_claim_ends_when_the_stop_has_expired() -> None:
    until = CLAIMED.claimed_until
    assert until is not None
    assert CLAIMED.is_claimed(until - timedelta(microseconds=1))
    assert not CLAIMED.is_claimed(until)
    assert not SIGHTED.is_claimed(SEEN)


def test_a_claimed_sighting_is_none_for_the_version_of_this_code_that_knew_no_claims(
    sightings: Sightings, tables: Tables
) -> None:
    put(sightings, CLAIMED)
    (written,) = tables.client.scan(TableName="sightings")["Items"]
    assert not {"last_check_time", "first_seen", "percent_done"} & written.keys()


@pytest.mark.parametrize("item", ITEMS)
def test_an_item_says_when_it_may_go(sightings: Sightings, tables: Tables, item: Item) -> None:
    put(sightings, item)
    (written,) = tables.client.scan(TableName="sightings")["Items"]
    assert written["expires"] == {"N": str(int((NOW + KEPT_FOR).timestamp()))}


def test_many_items_come_in_pages(sightings: Sightings, tables: Tables) -> None:
    # A page holds 1 MB.
    long = Item("v-1", Sighting("x" * 60_000, SEEN, 0))
    for number in range(40):
        put(sightings, long, task_id=f"t-{number}")
    tables.operations.clear()
    assert len(sightings.of_project("p-1", deadline=DEADLINE)) == 40
    assert len(tables.operations) > 1


WRITTEN: dict[str, Any] = {
    "project_id": {"S": "p-1"},
    "task_id": {"S": "t-1"},
    "item_version": {"S": "v-2"},
    "last_check_time": {"S": FIRST.run},
    "first_seen": {"S": SEEN.isoformat()},
    "percent_done": {"N": "40"},
}


@pytest.mark.parametrize(
    "spoilt",
    [
        {"first_seen": {"S": "yesterday"}},
        {"first_seen": {"S": "2026-11-23T08:00:00"}},
        {"first_seen": {"N": "1"}},
        {"last_check_time": {"NULL": True}},
        {"percent_done": {"N": "1.5"}},
        {"percent_done": {"S": "1"}},
    ],
    ids=str,
)
def test_a_sighting_that_cannot_be_read_is_none_and_is_written_anew(
    sightings: Sightings, tables: Tables, spoilt: dict[str, Any]
) -> None:
    tables.client.put_item(TableName="sightings", Item=WRITTEN)
    assert sightings.of_project("p-1", deadline=DEADLINE) == {"t-1": SIGHTED}
    tables.client.put_item(TableName="sightings", Item=WRITTEN | spoilt)
    assert sightings.of_project("p-1", deadline=DEADLINE) == {"t-1": Item("v-2")}
    assert sightings.swap("p-1", "t-1", Item("v-2"), CLAIMED, deadline=DEADLINE)


@pytest.mark.parametrize("spoilt", [{"claimed_until": {"S": "soon"}}, {"claimed_until": {"N": "1"}}], ids=str)
def test_an_item_whose_claim_cannot_be_read_is_left_alone(
    sightings: Sightings, tables: Tables, spoilt: dict[str, Any]
) -> None:
    tables.client.put_item(TableName="sightings", Item=WRITTEN | spoilt)
    assert sightings.of_project("p-1", deadline=DEADLINE) == {}
    assert sightings.swap("p-1", "t-1", None, MARK, deadline=DEADLINE) is False


def test_an_item_of_before_there_were_versions_is_none_and_is_written_anew(
    sightings: Sightings, tables: Tables
) -> None:
    old = {name: value for name, value in WRITTEN.items() if name != "item_version"}
    tables.client.put_item(TableName="sightings", Item=old)
    assert sightings.of_project("p-1", deadline=DEADLINE) == {}
    assert put(sightings, MARK) == [True]
    assert sightings.of_project("p-1", deadline=DEADLINE) == {"t-1": MARK}


def test_a_table_that_is_not_there_is_the_deployment_s_fault(tables: Tables) -> None:
    elsewhere = Sightings(tables=tables, table_name="elsewhere", now=Clock().now)
    for held, new in ((None, MARK), (MARK, None)):
        with pytest.raises(DeploymentFault, match=r"^SIGHTINGS_TABLE_NAME: DynamoDB"):
            elsewhere.swap("p-1", "t-1", held, new, deadline=DEADLINE)
    with pytest.raises(DeploymentFault, match=r"^SIGHTINGS_TABLE_NAME: DynamoDB Query: ResourceNotFoundException"):
        elsewhere.of_project("p-1", deadline=DEADLINE)

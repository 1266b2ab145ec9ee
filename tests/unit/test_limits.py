"""AWS's limits, as botocore's service models state them, are those that the code and the documents count on."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any, Final

import botocore
import botocore.session
import pytest

from shared.aws import ENTRIES_PER_BATCH, EVENTS_BYTES_PER_BATCH, MESSAGES_BYTES_PER_BATCH
from shared.publishing import LARGEST_MESSAGE
from shared.settlement import MAX_DELAY
from shared.workflow import LARGEST_RESPONSE, LARGEST_STATE

MEBIBYTE: Final = 1_048_576
SCALE: Final = Path(__file__).parents[2] / "docs" / "scale.md"


def model(service: str) -> Any:
    return botocore.session.get_session().get_service_model(service)


def text(service: str, operation: str, *members: str) -> str:
    """Return the documentation of an operation, or of a member of its input, without markup."""
    found = model(service).operation_model(operation)
    shape = found.input_shape
    for member in members:
        shape = shape.members[member]
    raw = shape.documentation if members else found.documentation
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", raw)).split())


@pytest.mark.parametrize(
    ("service", "operation", "members", "says"),
    [
        pytest.param("sqs", "SendMessage", ["MessageBody"], "maximum size is 1 MiB or 1,048,576 bytes", id="sqs"),
        pytest.param("sqs", "SendMessageBatch", [], "are both 1 MiB 1,048,576 bytes", id="sqs-batch"),
        pytest.param("sqs", "SendMessage", ["DelaySeconds"], "Valid values: 0 to 900", id="sqs-delay"),
        pytest.param("events", "PutEvents", [], "total entry size must be less than 1MB", id="put-events"),
        pytest.param("sns", "Publish", ["Message"], "at most 256 KiB in size (262,144 bytes", id="sns"),
        pytest.param("sns", "CreateTopic", ["Attributes"], "default is 262144 (256 KiB)", id="sns-default"),
        pytest.param("sns", "CreateTopic", ["Attributes"], "1024 to 1048576 (1 MiB)", id="sns-most"),
        pytest.param("lambda", "Invoke", ["Payload"], "6 MB for synchronous invocations", id="lambda-synchronous"),
        pytest.param("lambda", "Invoke", ["Payload"], "1 MB for asynchronous invocations", id="lambda-asynchronous"),
    ],
)
def test_aws_states_the_limit_that_is_documented(service: str, operation: str, members: list[str], says: str) -> None:
    assert says in text(service, operation, *members)


def test_a_state_of_step_functions_holds_what_the_workflow_counts_on() -> None:
    assert model("stepfunctions").shape_for("SensitiveData").metadata["max"] == LARGEST_STATE


def test_a_message_and_a_batch_hold_what_is_sent() -> None:
    assert LARGEST_MESSAGE == MESSAGES_BYTES_PER_BATCH == MEBIBYTE
    assert MAX_DELAY == 900


def test_a_call_of_put_events_is_below_the_smaller_limit_of_china() -> None:
    assert model("events").shape_for("PutEventsRequestEntryList").metadata["max"] == ENTRIES_PER_BATCH
    assert EVENTS_BYTES_PER_BATCH <= 256 * 1024


def test_an_answer_of_lambda_is_below_its_limit() -> None:
    assert LARGEST_RESPONSE <= 6 * MEBIBYTE + 100  # 6 291 556, as Lambda's own error says it


def test_the_table_of_limits_names_the_models_that_it_was_checked_with() -> None:
    assert f"botocore's service models too ({botocore.__version__};" in " ".join(SCALE.read_text().split())

"""What is shown of a setting, by itself: no login, no secret, and yet enough to find what is wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.redaction import redacted
from tests.leaks import LEAKS, SECRET, leaky


def test_no_form_of_a_login_is_shown() -> None:
    assert [leak for leak in LEAKS if SECRET in redacted(leak)] == []


@given(leaky())
def test_no_form_of_a_login_is_shown_whatever_is_around_it(leak: str) -> None:
    assert SECRET not in redacted(leak)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "8",
        "-1.5",
        "10%",
        "cn-north-4",
        " cn north 4\n",
        "cn-north-4/x",
        "höst",
        "cn\udcff",
        "/var/task/ca bundle.pem",
        "certs/ca.pem",
        "iam::domain:agency:stop line\n",
        "arn:aws:events:eu-central-1:123456789012:event-bus/outcomes",
        "https://",
        "https://host",
        "HTTPS://HOST:8443/",
        " https://host\n",
        "http://[::1]:8080",
        "http://127.1",
        "socks5://proxy.example:1080",
        "proxy.example:3128",
        "https://host:99999",
        "https://sqs.eu-central-1.amazonaws.com/123456789012/stop-task",
        "https://sqs.eu-central-1.amazonaws.com/123456789012/stop.fifo",
    ],
)
def test_what_is_harmless_is_shown_whole(value: str) -> None:
    assert redacted(value) == value


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("https://host/path", "https://host/***"),
        ("https://host//", "https://host/***"),
        ("https://host?a=b", "https://host?***"),
        ("https://host/?a=b#c ", "https://host/?*** "),
        ("host:443#c", "host:443#***"),
        ("https://sqs.example/123456789012/q?a=b", "https://sqs.example/123456789012/q?***"),
        ("https://sqs.example/123456789012/q/r", "https://sqs.example/***"),
        ("https://sqs.example/12/q", "https://sqs.example/***"),
        ("https://two words", "https://***"),
        ("https://höst", "https://***"),
        ("https://host:", "https://***"),
        ("https://host:123456", "https://***"),
        ("https://[x]", "https://***"),
        ("//host", "***"),
        ("a//b", "a/***"),
        ("gopher://host", "***"),
        ("%2Fvar", "***"),
        ("a\\b", "***"),
    ],
)
def test_of_an_address_is_shown_where_it_leads(value: str, shown: str) -> None:
    assert redacted(value) == shown


@given(st.text())
def test_any_text_can_be_redacted(value: str) -> None:
    shown = redacted(value)
    assert shown == value or shown.rstrip().endswith("***")
    assert "@" not in shown

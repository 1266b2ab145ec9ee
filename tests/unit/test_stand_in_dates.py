"""Every answer of the stand-in is dated by its own clock, as RFC 9110 section 6.6.1 says of an origin server."""

from __future__ import annotations

from http.client import HTTPConnection

import pytest

from local.huawei import CHECK_PROJECT_ID, Cloud, HuaweiStandIn
from local.huawei.signatures import Request
from tests.fakes import NOW, Clock
from tests.simulation import CloudHttp

TEN_MINUTES_LATER = "Mon, 23 Nov 2026 08:59:05 GMT"


def _ahead() -> float:
    return NOW.timestamp() + 600


@pytest.mark.parametrize("path", [f"/v2/{CHECK_PROJECT_ID}/tasks", "/no/such/api"])
def test_an_answer_over_http_is_dated_by_the_stand_ins_clock(path: str) -> None:
    with HuaweiStandIn(clock=_ahead) as huawei:
        connection = HTTPConnection(huawei.endpoint.removeprefix("http://"), timeout=10)
        connection.request("GET", path)
        answer = connection.getresponse()
        assert (answer.status // 100, answer.headers.get_all("Date")) == (4, [TEN_MINUTES_LATER])
        connection.close()


def test_an_answer_without_a_socket_is_dated_too() -> None:
    http = CloudHttp(Cloud(clock=_ahead), Clock(), lambda _: None)
    answer = http.send("GET", "https://huawei.example/x", headers={}, body=None, timeout=1.0)
    assert answer.headers["date"] == TEN_MINUTES_LATER


def test_the_date_is_that_of_the_moment_at_which_it_is_asked() -> None:
    clock = Clock()
    cloud = Cloud(clock=lambda: clock.now().timestamp())
    clock.seconds += 600
    assert cloud.handle(Request("GET", "/x", {}, b"")).headers["Date"] == TEN_MINUTES_LATER

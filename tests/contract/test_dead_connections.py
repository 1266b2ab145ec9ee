"""All kept connections die at once and nobody says so, as when a NAT gateway forgets them: each is reset when used.

Real sockets, through the clients of both clouds: one request may be lost, and the next arrives.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import pytest

from shared import http as our_http
from shared.aws import Aws, BusEvent
from shared.execution import execute
from shared.findings import Verdict
from shared.http import Http, NoAnswer, Response
from shared.huawei.codearts_check import CodeArtsCheck
from shared.planning import Plan, Stop
from tests.fakes import CHECK, NOW, Clock, client_over
from tests.scripted_server import Server, answering, serving, whole

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.enable_socket  # loop-back only

RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
"""For SO_LINGER: closing sends RST and no FIN."""

EVENT: Final = BusEvent("stopline", "Stop Outcome", "{}", ())
PUBLISHED: Final = whole(json.dumps({"FailedEntryCount": 0, "Entries": [{"EventId": "e"}]}).encode())


class Nat:
    """Keeps the connections of a burst and forgets all of them; new ones are served well.

    `state` answers requests for the progress of a check. `later`: so many requests over new connections must have come
    before one is answered.
    """

    def __init__(self, *, in_flight: int, answer: bytes, state: bytes = b"", later: int = 1) -> None:
        self._answer = answer
        self._state = state
        self._all_are_in_flight = threading.Barrier(in_flight)
        self._later_ones_are = threading.Barrier(later)
        self.has_forgotten = threading.Event()
        self.resets = 0

    def talk(self, server: Server, connection: socket.socket) -> None:
        is_of_the_burst = not self.has_forgotten.is_set()
        while connection.recv(1, socket.MSG_PEEK):
            if is_of_the_burst and self.has_forgotten.is_set():
                self.resets += 1
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
                return
            server.hear(connection)
            (self._all_are_in_flight if is_of_the_burst else self._later_ones_are).wait(30)
            is_read = server.asked_on(connection)[-1].endswith("/progress")
            connection.sendall(self._state if is_read else self._answer)


def side_by_side(number: int, send: Callable[[], object]) -> None:
    threads = [threading.Thread(target=send) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def asked_after(server: Server, burst: int) -> list[str]:
    return [asked for connection in server.asked[burst:] for asked in connection]


@pytest.mark.parametrize("in_flight", [8, 64])
def test_a_lone_stop_after_a_burst_whose_connections_died_reaches_huawei_at_the_second_try(in_flight: int) -> None:
    nat = Nat(in_flight=in_flight, answer=whole(b"null"), state=whole(b'{"task_status": 0}'))
    clock = Clock()
    with serving(nat.talk) as server:
        client = client_over(Http(connections=in_flight), endpoint=server.url)
        side_by_side(in_flight, lambda: client.request("GET", "/burst", deadline=clock.deadline()))
        assert len(server.asked) == in_flight
        nat.has_forgotten.set()
        found = execute(
            Plan((Stop(CHECK, (CHECK.task_id,), (NOW + timedelta(hours=1),)),), {}),
            service=CodeArtsCheck(client),
            pace=clock.pace(in_flight),
            deadline=clock.deadline(),
            patience=clock.patience(),
        )
        *read, stop = asked_after(server, in_flight)
        assert stop == f"POST /v2/tasks/{CHECK.task_id}/stop"
        assert set(read) == {f"GET /v2/tasks/{CHECK.task_id}/progress"}, "the lost stop may have arrived"
    assert found.named[CHECK][CHECK.task_id].verdict is Verdict.TAKEN
    assert nat.resets == 1


@pytest.mark.parametrize("in_flight", [8, 64])
def test_an_outcome_after_a_burst_whose_connections_died_is_published_at_the_second_try(in_flight: int) -> None:
    nat, clock = Nat(in_flight=in_flight, answer=PUBLISHED), Clock()
    with serving(nat.talk) as server:
        here = {"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "k", "AWS_REGION": "eu-west-1"}
        aws = Aws(
            http=Http(connections=in_flight),
            environment=here | {"AWS_ENDPOINT_URL": server.url},
            patience=clock.patience(),
            requests_at_once=in_flight,
        )
        side_by_side(in_flight, lambda: aws.put_events("outcomes", [EVENT], deadline=clock.deadline()))
        nat.has_forgotten.set()
        assert aws.put_events("outcomes", [EVENT], deadline=clock.deadline()) == {}
        assert len(asked_after(server, in_flight)) == 1
    assert nat.resets == 1


def get(http: Http, url: str, timeout: float = 5) -> Response:
    return http.send("GET", url, headers={}, body=None, timeout=timeout)


def test_a_request_that_is_lost_on_a_dead_connection_is_not_sent_again_down_here() -> None:
    nat = Nat(in_flight=2, answer=whole(b"null"))
    with serving(nat.talk) as server:
        http = Http(connections=2)
        side_by_side(2, lambda: get(http, server.url))
        nat.has_forgotten.set()
        with pytest.raises(NoAnswer) as caught:
            http.send("POST", server.url, headers={}, body=b"once", timeout=5)
        assert caught.value.was_sent, "it may have arrived: the caller decides"
        assert asked_after(server, 2) == []


def test_one_failure_is_enough_for_all_connections_that_were_kept() -> None:
    """urllib3 itself would take a new one for the next request, and the dead ones for those beside it."""
    nat = Nat(in_flight=3, answer=whole(b"null"), later=3)
    answers: list[bytes] = []
    with serving(nat.talk) as server:
        http = Http(connections=3)
        side_by_side(3, lambda: get(http, server.url))
        nat.has_forgotten.set()
        with pytest.raises(NoAnswer):
            get(http, server.url)
        side_by_side(3, lambda: answers.append(get(http, server.url).body))
    assert answers == [b"null"] * 3
    assert nat.resets == 1


def test_the_connections_to_another_host_are_kept_when_one_fails() -> None:
    nat = Nat(in_flight=1, answer=whole(b"null"))
    with serving(nat.talk) as dying, serving(answering(whole(b"1"), whole(b"2"))) as healthy:
        http = Http(connections=1)
        get(http, healthy.url)
        get(http, dying.url)
        nat.has_forgotten.set()
        with pytest.raises(NoAnswer):
            get(http, dying.url)
        assert get(http, healthy.url).body == b"2"
    assert healthy.asked == [["GET /", "GET /"]]


def test_a_failure_on_a_new_connection_says_nothing_of_the_kept_ones() -> None:
    kept_is_asked, new_has_failed = threading.Event(), threading.Event()

    def talk(server: Server, connection: socket.socket) -> None:
        is_new = len(server.asked) > 1
        server.hear(connection)
        if is_new:
            return  # and so hang up without an answer
        kept_is_asked.set()
        assert new_has_failed.wait(10)
        connection.sendall(whole(b"1"))
        answering(whole(b"2"))(server, connection)

    with serving(talk) as server:
        http = Http(connections=2)
        kept = threading.Thread(target=lambda: get(http, f"{server.url}/kept", timeout=10))
        kept.start()
        assert kept_is_asked.wait(10)
        with pytest.raises(NoAnswer):
            get(http, f"{server.url}/new")
        new_has_failed.set()
        kept.join()
        assert get(http, f"{server.url}/again").body == b"2"
    assert server.asked == [["GET /kept", "GET /again"], ["GET /new"]]


@pytest.mark.parametrize(
    ("passed", "connections"),
    [
        pytest.param(our_http.MOST_IDLE - 1, 1, id="young"),
        pytest.param(our_http.MOST_IDLE + 1, 2, id="old"),
        pytest.param(-10.0, 2, id="of a clock that was set back"),
    ],
)
def test_a_connection_that_idled_for_a_minute_is_not_used_again(
    passed: float, connections: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1_700_000_000.0]
    monkeypatch.setattr("shared.http.time.time", lambda: now[0])
    with serving(answering(whole(b"1"), whole(b"2"))) as server:
        http = Http(connections=1)
        get(http, server.url)
        now[0] += passed
        get(http, server.url)
    assert len(server.asked) == connections

"""What a server, or whoever sits before it, may do to us on purpose: `shared.http` under attack."""

from __future__ import annotations

import socket
import ssl
import threading
from typing import TYPE_CHECKING, Any

import pytest

from shared import http as our_http
from shared.http import Http, NoAnswer, NoSuchHost, Response
from tests.certificates import Tls
from tests.scripted_server import Server, answering, serving, whole

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.enable_socket  # loop-back only


def get(http: Http, url: str, timeout: float = 5) -> Response:
    return http.send("GET", url, headers={}, body=None, timeout=timeout)


def mute(server: Server, _: socket.socket) -> None:
    """Accept, and neither read nor say anything."""
    server.stopping.wait(30)


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
FORGED = whole(b"forged")


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(whole(b"true") + FORGED, id="beyond its length"),
        pytest.param(whole(b"true") + FORGED[:30], id="beyond its length, in part"),
        pytest.param(whole(b"") + FORGED, id="after an empty answer"),
        pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n" + FORGED, id="after an answer that has no body"),
        pytest.param(whole(b"", status="304 Not Modified").replace(b"0", b"6", 1) + FORGED, id="a body of a 304"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ntrue\r\n0\r\n\r\n" + FORGED,
            id="after the chunks",
        ),
        pytest.param(whole(bytes(70_000)) + FORGED, id="after more than a buffer"),
    ],
)
def test_what_is_said_beyond_an_answer_is_never_taken_for_the_next(answer: bytes) -> None:
    """The rest of it may still be under way when the connection is looked at again."""
    asked = threading.Event()

    def talk(server: Server, connection: socket.socket) -> None:
        while server.hear(connection):
            connection.sendall(answer)
            asked.set()

    with serving(talk) as server:
        http = Http(connections=1)
        first = get(http, f"{server.url}/1")
        second = get(http, f"{server.url}/2")
    assert b"forged" not in first.body + second.body
    assert server.asked == [["GET /1"], ["GET /2"]], "each on a connection of its own"


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param("Content-Length: 2\r\nContent-Length: 4", id="two lengths"),
        pytest.param("Content-Length: 4\r\nContent-Length: 2", id="two lengths, the longer first"),
        pytest.param("Content-Length: 4, 2", id="two lengths in one"),
    ],
)
def test_an_answer_of_two_lengths_is_no_answer(headers: str) -> None:
    """https://www.rfc-editor.org/rfc/rfc9112#section-6.3."""
    answer = f"HTTP/1.1 200 OK\r\n{headers}\r\n\r\ntrue".encode("latin-1")
    with serving(answering(answer)) as server, pytest.raises(NoAnswer):
        get(Http(connections=1), server.url)


def test_the_same_length_said_twice_is_that_length() -> None:
    with serving(answering(whole(b"true", headers="Content-Length: 4\r\n"))) as server:
        assert get(Http(connections=1), server.url).body == b"true"


@pytest.mark.parametrize(
    "chunks",
    [
        pytest.param(b"-4\r\ntrue\r\n0\r\n\r\n", id="a negative chunk"),
        pytest.param(b"-1\r\ntrue\r\n0\r\n\r\n", id="a chunk without end"),
        pytest.param(b"zz\r\ntrue\r\n0\r\n\r\n", id="no number"),
        pytest.param(b"\r\n", id="no size"),
        pytest.param(b"4" * 70_000, id="a size without end"),
        pytest.param(b"7fffffffffffffff\r\ntrue\r\n0\r\n\r\n", id="a chunk of an absurd size"),
    ],
)
def test_chunks_that_cannot_be_are_no_answer(chunks: bytes) -> None:
    with (
        serving(answering(CHUNKED + chunks)) as server,
        pytest.raises(NoAnswer),
    ):
        get(Http(connections=1), server.url)


@pytest.mark.parametrize("length", ["99999999999", "9223372036854775807", "1" + "0" * 5000])
def test_an_answer_of_an_absurd_length_is_no_answer(length: str) -> None:
    answer = f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\ntrue".encode()
    with serving(answering(answer)) as server, pytest.raises(NoAnswer, match="longer than"):
        get(Http(connections=1), server.url)


def test_chunks_may_have_extensions_and_trailers_and_none_of_them_is_in_the_body() -> None:
    chunked = b"4;name=value\r\ntrue\r\n0;last\r\nX-Trailer: 1\r\nContent-Length: 99\r\n\r\n"
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n" + chunked
    with serving(answering(answer, whole(b"next"))) as server:
        http = Http(connections=1)
        assert [get(http, f"{server.url}/{n}").body for n in (1, 2)] == [b"true", b"next"]
    assert server.asked == [["GET /1", "GET /2"]]


def test_chunks_may_be_empty() -> None:
    empty = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    with serving(answering(empty, whole(b"next"))) as server:
        http = Http(connections=1)
        assert [get(http, f"{server.url}/{n}").body for n in (1, 2)] == [b"", b"next"]


@pytest.mark.parametrize(
    ("begin", "go_on"),
    [
        pytest.param(CHUNKED + b"-1\r\n", b"x", id="a chunk"),
        pytest.param(b"", b"HTTP/1.1 100 Continue\r\n\r\n", id="words before the answer"),
        pytest.param(CHUNKED + b"0\r\n", b"X-Trailer: 1\r\n", id="trailers"),
    ],
)
def test_a_flood_is_cut_off_long_before_the_timeout(
    begin: bytes, go_on: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(our_http, "MAX_BODY_BYTES", 100_000)

    def talk(server: Server, connection: socket.socket) -> None:
        server.hear(connection)
        connection.sendall(begin)
        while not server.stopping.is_set():
            connection.sendall(go_on * 1000)

    with serving(talk) as server, pytest.raises(NoAnswer, match=r"longer than|more than 100 headers|no chunk"):
        get(Http(connections=1), server.url, timeout=60)


def test_continue_is_passed_over() -> None:
    with serving(answering(b"HTTP/1.1 100 Continue\r\nX: 1\r\n\r\n" * 2 + whole(b"true"), whole(b"next"))) as server:
        http = Http(connections=1)
        assert [get(http, f"{server.url}/{n}").body for n in (1, 2)] == [b"true", b"next"]
    assert server.asked == [["GET /1", "GET /2"]]


@pytest.mark.parametrize("status", ["101 Switching Protocols", "102 Processing", "103 Early Hints"])
@pytest.mark.parametrize("headers", ["", "Content-Length: 0\r\n"])
def test_words_before_the_answer_are_not_the_answer(status: str, headers: str) -> None:
    """Taken for the answer, they would leave the true one to the next request."""
    hint = f"HTTP/1.1 {status}\r\n{headers}\r\n".encode()
    with serving(answering(hint, whole(b"late"))) as server:
        http = Http(connections=1)
        with pytest.raises(NoAnswer):
            get(http, f"{server.url}/1")
        with pytest.raises(NoAnswer):
            get(http, f"{server.url}/2")
    assert server.asked == [["GET /1"], ["GET /2"]]


def test_a_hundred_and_one_headers_are_no_answer() -> None:
    many = "".join(f"X-{number}: 1\r\n" for number in range(101))
    with serving(answering(whole(b"true", headers=many))) as server, pytest.raises(NoAnswer):
        get(Http(connections=1), server.url)


def test_an_answer_by_http_1_0_that_keeps_the_connection_is_kept() -> None:
    answer = whole(b"true", headers="Connection: Keep-Alive\r\n").replace(b"HTTP/1.1", b"HTTP/1.0")
    with serving(answering(answer, answer)) as server:
        http = Http(connections=1)
        assert [get(http, f"{server.url}/{n}").body for n in (1, 2)] == [b"true", b"true"]
    assert server.asked == [["GET /1", "GET /2"]]


def test_of_several_addresses_each_is_tried_and_all_within_the_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """The timeout is for all of them, not for each."""
    given: list[float] = []
    clock = Told()

    def slow(_: object, timeout: float) -> socket.socket:
        given.append(timeout)
        clock.now += timeout
        raise TimeoutError("timed out")

    infos = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"127.0.0.{n}", 80)) for n in range(1, 9)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: infos)
    monkeypatch.setattr(socket, "create_connection", slow)
    monkeypatch.setattr("shared.http.time.monotonic", clock)
    with pytest.raises(NoAnswer):
        get(Http(connections=1), "http://many.example/", timeout=7)
    assert given == [3, 3, 1]


def test_what_a_slow_connection_took_is_not_given_to_tls_again(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, given = Told(), list[float | None]()
    connect = socket.create_connection

    def slow(address: tuple[str, int], timeout: float | None = None) -> socket.socket:
        clock.now += 1.5
        return connect(address, timeout=timeout)

    def wrap(_: ssl.SSLContext, sock: socket.socket, **__: object) -> ssl.SSLSocket:
        given.append(sock.gettimeout())
        raise TimeoutError("timed out")

    with serving(mute) as server:
        monkeypatch.setattr(socket, "create_connection", slow)
        monkeypatch.setattr(ssl.SSLContext, "wrap_socket", wrap)
        monkeypatch.setattr("shared.http.time.monotonic", clock)
        with pytest.raises(NoAnswer) as caught:
            get(Http(connections=1), f"https://127.0.0.1:{server.port}/", timeout=2)
    assert given == [pytest.approx(0.5)]
    assert not caught.value.was_sent


class Told:
    """A clock that stands still unless it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_the_second_address_is_taken_when_the_first_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(answering(whole(b"here"))) as server:
        infos = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.2", 1)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port)),
        ]
        true = socket.getaddrinfo
        monkeypatch.setattr(
            socket, "getaddrinfo", lambda host, *_, **__: infos if host == "two.example" else true(host, *_, **__)
        )
        assert get(Http(connections=1), f"http://two.example:{server.port}/").body == b"here"


def test_a_server_that_reads_nothing_does_not_hold_us_beyond_the_timeout(tls: Tls) -> None:
    for trust in (None, tls.server("127.0.0.1")):
        with serving(mute, trust=trust) as server, pytest.raises(NoAnswer):
            Http(connections=1).send("POST", server.url, headers={}, body=bytes(30_000_000), timeout=0.5)


@pytest.mark.parametrize("failing", ["refused", "cut", "broken", "foreign", "mute"])
def test_no_failure_uses_up_a_connection(failing: str, tls: Tls) -> None:
    """Each would else take one of eight for good, until nobody gets any."""
    talk: Callable[[Server, socket.socket], None]
    match failing:
        case "cut":
            talk = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
        case "mute":
            talk = mute
        case _:
            talk = answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-4\r\n")
    trust = tls.server("elsewhere.example") if failing == "foreign" else None
    with serving(talk, trust=trust) as server:
        url = server.url
        if failing == "refused":
            with socket.create_server(("127.0.0.1", 0)) as free:
                url = f"http://127.0.0.1:{free.getsockname()[1]}"
        http = Http(connections=2)
        said = set()
        for _ in range(5):
            with pytest.raises((NoAnswer, NoSuchHost)) as caught:
                get(http, url, timeout=0.3)
            said.add(str(caught.value))
        assert not any("became free" in word for word in said), said


class Interruption(BaseException):
    """As Ctrl-C, or the end of a thread: nothing that `except Exception` would catch."""


class Interrupted(socket.socket):
    """A connection amid whose use we are interrupted, if so."""

    where = ""

    def sendall(self, *given: Any) -> None:
        if self.where == "sending":
            raise Interruption
        super().sendall(*given)

    def recv_into(self, *given: Any) -> int:
        if self.where == "receiving":
            raise Interruption
        return super().recv_into(*given)


@pytest.mark.parametrize("where", ["sending", "receiving"])
def test_an_interruption_amid_a_request_closes_its_connection_and_gives_it_back(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    true = socket.create_connection
    monkeypatch.setattr(
        socket, "create_connection", lambda *args, **named: Interrupted(fileno=true(*args, **named).detach())
    )
    with serving(answering(whole(b"1"), whole(b"2"), whole(b"3"))) as server:
        http = Http(connections=1)
        get(http, f"{server.url}/1")
        monkeypatch.setattr(Interrupted, "where", where)
        with pytest.raises(Interruption):
            get(http, f"{server.url}/2")
        monkeypatch.setattr(Interrupted, "where", "")
        assert get(http, f"{server.url}/3").status == 200
    assert server.asked[1] == ["GET /3"]


def test_thirty_two_callers_share_eight_connections_and_each_gets_its_own_answer() -> None:
    def echo(server: Server, connection: socket.socket) -> None:
        while server.hear(connection):
            connection.sendall(whole(server.asked_on(connection)[-1].encode()))

    wrong: list[str] = []
    with serving(echo) as server:
        http = Http(connections=8)

        def call(caller: int) -> None:
            for number in range(50):
                path = f"/{caller}/{number}"
                body = get(http, server.url + path, timeout=30).body.decode()
                if body != f"GET {path}":
                    wrong.append(f"{path}: {body}")

        callers = [threading.Thread(target=call, args=(caller,)) for caller in range(32)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        assert len(server.asked) <= 8
    assert wrong == []
    assert sum(map(len, server.asked)) == 32 * 50


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tls:
    tls = Tls(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(tls.authority))
    return tls


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_connection_by_tls_is_kept(version: ssl.TLSVersion, tls: Tls) -> None:
    """The session tickets of TLS 1.3 come unasked, and must not be taken for words beyond the answer."""
    trust = tls.server("127.0.0.1")
    trust.minimum_version = trust.maximum_version = version
    with serving(answering(whole(b"1"), whole(bytes(100_000)), whole(b"3")), trust=trust) as server:
        http = Http(connections=1)
        assert [len(get(http, f"{server.url}/{n}").body) for n in (1, 2, 3)] == [1, 100_000, 1]
    assert server.asked == [["GET /1", "GET /2", "GET /3"]]


@pytest.mark.parametrize(("names", "days"), [(("elsewhere.example",), 1), (("127.0.0.2",), 1), (("127.0.0.1",), -1)])
def test_a_certificate_of_another_host_or_another_time_is_final(names: tuple[str, ...], days: int, tls: Tls) -> None:
    with serving(answering(whole(b"trust me")), trust=tls.server(*names, days=days)) as server:
        with pytest.raises(NoSuchHost, match="certificate"):
            get(Http(connections=1), server.url)
        assert server.asked == [[]], "nothing is said to a stranger"


def test_tls_that_is_too_old_is_no_answer(tls: Tls) -> None:
    trust = tls.server("127.0.0.1")
    with pytest.warns(DeprecationWarning, match="deprecated"):
        trust.minimum_version = ssl.TLSVersion.TLSv1_1
    with pytest.warns(DeprecationWarning, match="deprecated"):
        trust.maximum_version = ssl.TLSVersion.TLSv1_1
    with serving(answering(whole(b"1")), trust=trust) as server, pytest.raises(NoAnswer):
        get(Http(connections=1), server.url)


def test_plain_words_where_tls_should_be_are_no_answer() -> None:
    def talk(_: Server, connection: socket.socket) -> None:
        connection.recv(1)
        connection.sendall(whole(b"plain"))

    with serving(talk) as server, pytest.raises(NoAnswer):
        get(Http(connections=1), server.url.replace("http:", "https:"), timeout=1)


def test_a_handshake_that_never_ends_ends_with_the_timeout() -> None:
    with serving(mute) as server, pytest.raises(NoAnswer):
        get(Http(connections=1), server.url.replace("http:", "https:"), timeout=0.3)


@pytest.mark.parametrize("says_goodbye", [True, False])
def test_an_answer_that_ends_with_its_connection_is_whole_only_if_tls_says_so(says_goodbye: bool, tls: Tls) -> None:  # noqa: FBT001
    """Whoever sits on the line can cut it, but not say goodbye: https://www.rfc-editor.org/rfc/rfc9112#section-9.8."""

    def talk(server: Server, connection: socket.socket) -> None:
        server.hear(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\nall targets but one are sto")
        assert isinstance(connection, ssl.SSLSocket)
        if says_goodbye:
            connection.unwrap()
        else:
            connection.shutdown(socket.SHUT_RDWR)

    with serving(talk, trust=tls.server("127.0.0.1")) as server:
        if says_goodbye:
            assert get(Http(connections=1), server.url).body == b"all targets but one are sto"
        else:
            with pytest.raises(NoAnswer):
                get(Http(connections=1), server.url)


def test_a_kept_connection_that_says_goodbye_is_replaced(tls: Tls) -> None:
    with serving(answering(whole(b"only answer on this connection")), trust=tls.server("127.0.0.1")) as server:
        http = Http(connections=1)
        get(http, f"{server.url}/before")
        assert server.hung_up.wait(5)
        assert get(http, f"{server.url}/after").status == 200
    assert server.asked == [["GET /before"], ["GET /after"]]


def test_connections_are_closed_with_the_last_who_could_use_them() -> None:
    with serving(answering(whole(b"1"), whole(b"never asked for"))) as server:
        http = Http(connections=1)
        get(http, server.url)
        assert not server.hung_up.is_set()
        del http
        assert server.hung_up.wait(5), "the server would see it closed"

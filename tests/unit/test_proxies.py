"""Which requests go through a proxy, and what it gets to see of them, on real sockets."""

from __future__ import annotations

import base64
import select
import socket
import ssl
import time
from typing import TYPE_CHECKING

import pytest

from shared import http as our_http
from shared.errors import DeploymentFault
from shared.http import Http, NoAnswer, NoSuchHost, Response
from shared.proxies import DIRECT, Proxies, Proxy, read_proxies
from tests.certificates import Tls
from tests.scripted_server import Server, answering, serving, whole

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PROXY = Proxy("http://proxy.example:3128", None)
LOGIN = "squid:pass%40word%E2%82%AC"  # pragma: allowlist secret - opens nothing


# Reading the variables


@pytest.mark.parametrize(
    ("environment", "https", "http"),
    [
        ({}, None, None),
        ({"HTTPS_PROXY": "", "HTTP_PROXY": " "}, None, None),
        ({"HTTPS_PROXY": "http://proxy.example:3128"}, PROXY, None),
        ({"HTTP_PROXY": "http://proxy.example:3128"}, None, PROXY),
        ({"https_proxy": "http://proxy.example:3128", "HTTPS_PROXY": "http://other.example:1"}, PROXY, None),
        ({"ALL_PROXY": "http://proxy.example:3128"}, PROXY, PROXY),
        ({"all_proxy": "http://other.example:1", "http_proxy": "http://proxy.example:3128/"},
         Proxy("http://other.example:1", None), PROXY),
        ({"HTTPS_PROXY": "proxy.example:3128"}, PROXY, None),
        ({"HTTPS_PROXY": "HTTP://Proxy.Example:3128"}, PROXY, None),
        ({"HTTPS_PROXY": "http://proxy.example"}, Proxy("http://proxy.example", None), None),
        ({"HTTPS_PROXY": "https://[2001:db8::1]:443"}, Proxy("https://[2001:db8::1]:443", None), None),
        ({"HTTPS_PROXY": f"http://{LOGIN}@proxy.example:3128"}, Proxy(PROXY.url, "squid:pass@word€"), None),
    ],
)  # fmt: skip
def test_the_variables_are_read_as_curl_reads_them(
    environment: Mapping[str, str], https: Proxy | None, http: Proxy | None
) -> None:
    proxies = read_proxies(environment)
    assert (proxies.https, proxies.http) == (https, http)


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "ALL_PROXY"])
@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("foo", "foo"),
        ("http://", "http://"),
        ("socks5://proxy.example:1080", "socks5://proxy.example:1080"),
        ("http://proxy.example:0", "http://proxy.example:0"),
        ("http://proxy.example:65536", "http://proxy.example:65536"),
        ("http://proxy.example/path", "http://proxy.example/***"),
        ("http://[1:2]:80", "http://[1:2]:80"),
        ("user:never-shown", "***"),  # pragma: allowlist secret
        ("http://user:never-shown", "http://***"),  # pragma: allowlist secret
        ("http://user:never-shown%40proxy.example:80", "http://***"),  # pragma: allowlist secret
        ("http://user:never-shown@proxy example:1", "http://***"),  # pragma: allowlist secret
        ("socks5://user:never@shown@proxy.example:1", "socks5://***"),  # pragma: allowlist secret
    ],
)
def test_what_is_no_proxy_is_refused_by_the_name_of_its_variable_and_without_its_login(
    variable: str, value: str, shown: str
) -> None:
    with pytest.raises(DeploymentFault) as caught:
        read_proxies({variable: value})
    assert str(caught.value).startswith(f"{variable}: {shown!r} is not the URL of a proxy")
    assert "never" not in str(caught.value)


def test_a_login_is_not_printed() -> None:
    proxies = read_proxies({"HTTPS_PROXY": "http://user:never-shown@proxy.example:1"})  # pragma: allowlist secret
    assert proxies.https is not None
    assert proxies.https.login == "user:never-shown"  # pragma: allowlist secret
    assert "never-shown" not in f"{proxies} {proxies!r} {proxies.https} {proxies.https!r}"


@pytest.mark.parametrize(
    ("bypassed", "host", "port", "is_proxied"),
    [
        ("", "huawei.example", 443, True),
        ("*", "huawei.example", 443, False),
        ("huawei.example", "huawei.example", 443, False),
        ("Huawei.Example", "huawei.example", 443, False),
        ("huawei.example", "iotda.huawei.example", 443, False),
        (".huawei.example", "iotda.huawei.example", 443, False),
        (".huawei.example", "huawei.example", 443, False),
        ("*.huawei.example", "iotda.huawei.example", 443, False),
        ("huawei.example", "nothuawei.example", 443, True),
        ("huawei.example", "huawei.example.com", 443, True),
        ("aws.example, huawei.example", "huawei.example", 443, False),
        ("aws.example huawei.example", "huawei.example", 443, False),
        ("huawei.example:443", "huawei.example", 443, False),
        ("huawei.example:8443", "huawei.example", 443, True),
        ("10.0.0.0/8", "10.1.2.3", 443, False),
        ("10.0.0.0/8", "11.1.2.3", 443, True),
        ("10.1.2.3", "10.1.2.3", 443, False),
        ("[2001:db8::1]", "2001:db8::1", 443, False),
        ("2001:db8::/32", "2001:db8::1", 443, False),
        (".", "huawei.example", 443, True),
        # The machine itself and its link, of which Lambda and ECS hand out credentials: never, and for no NO_PROXY.
        ("", "localhost", 443, False),
        ("", "127.0.0.1", 443, False),
        ("", "127.8.9.10", 443, False),
        ("", "::1", 443, False),
        ("", "169.254.170.2", 80, False),
        ("", "fd00:ec2::23", 80, False),
    ],
)
def test_some_hosts_are_reached_without_a_proxy(bypassed: str, host: str, port: int, is_proxied: bool) -> None:  # noqa: FBT001
    proxies = read_proxies({"ALL_PROXY": PROXY.url, "NO_PROXY": bypassed})
    for scheme in ("https", "http"):
        assert proxies.of(scheme, host, port) == (PROXY if is_proxied else None)


def test_no_proxy_in_lower_case_goes_first() -> None:
    proxies = read_proxies({"ALL_PROXY": PROXY.url, "NO_PROXY": "*", "no_proxy": "aws.example"})
    assert proxies.of("https", "huawei.example", 443) == PROXY
    assert proxies.of("https", "aws.example", 443) is None


# On real sockets

pytestmark = pytest.mark.enable_socket  # loop-back only


def get(http: Http, url: str, timeout: float = 5, **headers: str) -> Response:
    return http.send("GET", url, headers=headers, body=None, timeout=timeout)


class ConnectProxy:
    """A proxy by CONNECT which reaches one server, whatever it is asked for, and keeps what it was asked."""

    def __init__(self, server: Server, *, says: bytes = b"HTTP/1.1 200 Connection established\r\n\r\n") -> None:
        self._server = server
        self._says = says
        self.heads: list[str] = []

    def talk(self, proxy: Server, connection: socket.socket) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += connection.recv(1)
        self.heads.append(head.decode())
        connection.sendall(self._says)
        if b" 200 " not in self._says:
            return
        with socket.create_connection(("127.0.0.1", self._server.port)) as beyond:
            ends = {connection: beyond, beyond: connection}
            while not proxy.stopping.is_set():
                pending = isinstance(connection, ssl.SSLSocket) and connection.pending()
                ready = [connection] if pending else select.select([*ends], [], [], 0.1)[0]
                for end in ready:
                    if not (data := end.recv(65_536)):
                        return
                    ends[end].sendall(data)


def proxies_of(proxy: Server, login: str = "", scheme: str = "http") -> Proxies:
    return read_proxies({"HTTPS_PROXY": f"{scheme}://{login}{'@' * bool(login)}127.0.0.1:{proxy.port}"})


@pytest.fixture
def tls(tmp_path: Path) -> Tls:
    return Tls(tmp_path)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_request_by_https_goes_through_a_tunnel_of_the_proxy_and_keeps_it(scheme: str, tls: Tls) -> None:
    with serving(answering(whole(b"1"), whole(bytes(200_000))), trust=tls.server("huawei.example")) as server:
        proxy = ConnectProxy(server)
        with serving(proxy.talk, trust=tls.server("127.0.0.1") if scheme == "https" else None) as between:
            http = Http(connections=1, proxies=proxies_of(between, LOGIN, scheme), ca_bundle=str(tls.authority))
            bodies = [get(http, f"https://huawei.example/{n}", Authorization="s3cr3t").body for n in (1, 2)]
    assert bodies == [b"1", bytes(200_000) if scheme == "http" else b"1"]
    # TLS within TLS is not kept: what came beyond an answer could lie between the two, and be taken for the next.
    is_kept = scheme == "http"
    assert server.asked == ([["GET /1", "GET /2"]] if is_kept else [["GET /1"], ["GET /2"]])
    head, *_ = proxy.heads
    assert len(proxy.heads) == (1 if is_kept else 2)
    assert head.startswith("CONNECT huawei.example:443 HTTP/1.1\r\n")
    login = base64.b64encode("squid:pass@word€".encode()).decode()
    assert f"proxy-authorization: basic {login}\r\n".lower() in head.lower()
    assert "s3cr3t" not in head, "the proxy sees nothing of a request but its host"


def test_the_server_behind_a_proxy_is_known_by_its_certificate_and_a_stranger_told_nothing(tls: Tls) -> None:
    with serving(answering(whole(b"trust me")), trust=tls.server("elsewhere.example")) as server:
        with serving(ConnectProxy(server).talk) as between:
            http = Http(connections=1, proxies=proxies_of(between), ca_bundle=str(tls.authority))
            with pytest.raises(NoSuchHost, match="certificate"):
                get(http, "https://huawei.example/")
        assert server.asked == [[]]


@pytest.mark.parametrize(
    ("status", "word"),
    [
        ("407 Proxy Authentication Required", NoSuchHost),
        ("403 Forbidden", NoSuchHost),
        ("408 Request Timeout", NoAnswer),
        ("429 Too Many Requests", NoAnswer),
        ("502 Bad Gateway", NoAnswer),
    ],
)
def test_a_tunnel_that_the_proxy_refuses_is_final_by_its_status_and_nothing_was_sent(
    status: str, word: type[NoAnswer | NoSuchHost]
) -> None:
    with serving(answering(whole(b"never asked"))) as server:
        proxy = ConnectProxy(server, says=f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
        with serving(proxy.talk) as between:
            http = Http(connections=1, proxies=proxies_of(between, LOGIN))
            with pytest.raises(word, match=status) as caught:
                get(http, "https://huawei.example/")
        assert not isinstance(caught.value, NoAnswer) or not caught.value.was_sent
        assert "proxy" in str(caught.value)
        assert "word" not in str(caught.value)
    assert server.asked == []


def test_a_proxy_that_is_not_there_is_no_answer_and_is_named_as_the_one_missing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    http = Http(connections=1, proxies=read_proxies({"HTTPS_PROXY": f"http://{LOGIN}@127.0.0.1:{port}"}))
    with pytest.raises(NoAnswer, match=r"^the proxy: .*[Rr]efused") as caught:
        get(http, "https://huawei.example/")
    assert not caught.value.was_sent
    assert "word" not in str(caught.value)


def test_an_unknown_name_of_a_proxy_is_final(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def fail(host: object, *_: object, **__: object) -> None:
        asked.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(NoSuchHost, match=r"^the proxy: "):
        get(Http(connections=1, proxies=Proxies(PROXY, None, ())), "https://huawei.example/")
    assert asked == ["proxy.example"], "names behind a proxy are the proxy's to find"


def test_a_proxy_that_says_nothing_is_no_answer_within_the_time_to_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(our_http, "CONNECT_TIMEOUT", 0.2)

    def mute(proxy: Server, _: socket.socket) -> None:
        proxy.stopping.wait(60)

    with serving(mute) as between:
        http = Http(connections=1, proxies=proxies_of(between))
        began = time.monotonic()
        with pytest.raises(NoAnswer) as caught:
            get(http, "https://huawei.example/", timeout=60)
        assert time.monotonic() - began < 30, "not the whole deadline"
    assert not caught.value.was_sent


def test_a_plain_request_is_forwarded_by_the_proxy_for_http() -> None:
    heads: list[str] = []

    def talk(proxy: Server, connection: socket.socket) -> None:
        for _ in range(2):
            heads.append(connection.recv(65_536, socket.MSG_PEEK).decode())
            answering(whole(b"forwarded"))(proxy, connection)

    with serving(talk) as between:
        proxies = read_proxies({"http_proxy": f"http://{LOGIN}@127.0.0.1:{between.port}"})
        http = Http(connections=1, proxies=proxies)
        assert [get(http, f"http://aws.example:4566/{n}").body for n in (1, 2)] == [b"forwarded"] * 2
    assert between.asked == [["GET http://aws.example:4566/1", "GET http://aws.example:4566/2"]]
    assert "\r\nHost: aws.example:4566\r\n" in heads[0]
    assert "proxy-authorization: basic " in heads[0].lower()


def test_loop_back_is_reached_without_the_proxy() -> None:
    with serving(answering(whole(b"proxied"))) as between, serving(answering(whole(b"direct"))) as server:
        proxies = read_proxies({"ALL_PROXY": f"http://127.0.0.1:{between.port}"})
        assert get(Http(connections=1, proxies=proxies), server.url).body == b"direct"
    assert between.asked == []


def test_no_variable_means_no_proxy() -> None:
    assert read_proxies({}) == DIRECT


def test_a_bundle_is_trusted_in_place_of_the_systems_store(tls: Tls) -> None:
    trust = tls.server("127.0.0.1")
    with serving(answering(), trust=trust) as server, pytest.raises(NoSuchHost, match="certificate"):
        get(Http(connections=1), server.url)
    with serving(answering(whole(b"1")), trust=tls.server("127.0.0.1")) as server:
        assert get(Http(connections=1, ca_bundle=str(tls.authority)), server.url).body == b"1"

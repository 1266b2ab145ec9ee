from __future__ import annotations

import gzip
import http.client
import inspect
import socket
import ssl
import threading
import zlib
from datetime import UTC, datetime, timedelta
from email.errors import MessageDefect
from typing import TYPE_CHECKING, Any

import pytest
import urllib3
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from urllib3 import exceptions

from shared import http as our_http
from shared.http import Http, NoAnswer, NoSuchHost, Response, translate
from tests.scripted_server import Server, answering, serving, whole

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.enable_socket  # loop-back only


def get(http: Http, url: str, timeout: float = 5) -> Response:
    return http.send("GET", url, headers={}, body=None, timeout=timeout)


def test_an_answer_comes_back_whole() -> None:
    with serving(answering(whole(b'{"a": 1}', headers="X-Request-Id: r-1\r\n"))) as server:
        answer = Http(connections=1).send("POST", f"{server.url}/path", headers={}, body=b"question", timeout=5)
    assert (answer.status, answer.body, answer.headers["x-request-id"]) == (200, b'{"a": 1}', "r-1")
    assert server.asked == [["POST /path question"]]


@pytest.mark.parametrize("status", ["404 Not Found", "429 Too Many Requests", "503 Service Unavailable"])
def test_an_error_status_is_an_answer_and_is_not_tried_again(status: str) -> None:
    with serving(answering(whole(b"no", status=status, headers="Retry-After: 0\r\n"))) as server:
        assert get(Http(connections=1), server.url).status == int(status[:3])
    assert server.asked == [["GET /"]]


def test_a_redirect_takes_no_signature_to_another_host() -> None:
    with serving(answering(whole(b"never asked"))) as other:
        moved = whole(b"", status="302 Found", headers=f"Location: {other.url}/\r\nRetry-After: 0\r\n")
        with serving(answering(moved)) as server:
            answer = Http(connections=1).send(
                "GET", server.url, headers={"Authorization": "signature"}, body=None, timeout=5
            )
        assert answer.status == 302
        assert other.asked == []


def test_a_redirect_is_not_followed() -> None:
    moved = whole(b"", status="307 Temporary Redirect", headers="Location: /elsewhere\r\n")
    with serving(answering(moved, whole(b"the signature went astray"))) as server:
        assert get(Http(connections=1), server.url).status == 307
    assert server.asked == [["GET /"]]


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [("gzip", gzip.compress(b"plain" * 100)), ("deflate", zlib.compress(b"plain" * 100))],
)
def test_a_compressed_body_is_decoded(encoding: str, packed: bytes) -> None:
    with serving(answering(whole(packed, headers=f"Content-Encoding: {encoding}\r\n"))) as server:
        assert get(Http(connections=1), server.url).body == b"plain" * 100


def test_a_chunked_body_is_put_together() -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    with serving(answering(chunked)) as server:
        assert get(Http(connections=1), server.url).body == b"abcde"


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-", id="half a header"),
        pytest.param(b"HTTP/1.1 200 OK\r\nDate: Mon\r\n", id="half of the headers"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nten bytes.", id="half a body"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", id="no last chunk"),
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", id="another protocol"),
        pytest.param(whole(b"no gzip", headers="Content-Encoding: gzip\r\n"), id="a false encoding"),
        pytest.param(whole(b"\x0b\x02\x80", headers="Content-Encoding: br\r\n"), id="an encoding nobody asked for"),
        pytest.param(b"HTTP/1.1 200 OK\r\n" + b"X-Long: " + b"x" * 70_000 + b"\r\n\r\n", id="an endless header"),
    ],
)
def test_a_cut_or_broken_answer_is_no_answer(answer: bytes) -> None:
    with serving(answering(answer)) as server, pytest.raises(NoAnswer):
        get(Http(connections=1), server.url)
    assert server.asked == [["GET /"]], "a request that may have arrived is not repeated down here"


@pytest.mark.parametrize("end", ["Connection: close\r\n", ""], ids=["by its word", "by HTTP/1.0"])
def test_a_connection_that_the_server_will_close_is_not_kept(end: str) -> None:
    answer = whole(b"1", headers=end).replace(b"HTTP/1.1", b"HTTP/1.1" if end else b"HTTP/1.0")
    with serving(answering(answer, whole(b"never heard"))) as server:
        http = Http(connections=1)
        assert [get(http, f"{server.url}/{n}").body for n in (1, 2)] == [b"1", b"1"]
    assert server.asked == [["GET /1"], ["GET /2"]]


def test_an_answer_without_a_length_ends_with_its_connection() -> None:
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nall of it"
    with serving(answering(answer)) as server:
        assert get(Http(connections=1), server.url).body == b"all of it"


def test_a_header_that_drips_past_the_timeout_is_no_answer() -> None:
    dripped: list[int] = []

    def drip(server: Server, connection: socket.socket) -> None:
        server.hear(connection)
        for drop, letter in enumerate(b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 1000):
            if server.stopping.wait(0.02):
                return
            connection.sendall(bytes((letter,)))
            dripped.append(drop)

    with serving(drip) as server:
        with pytest.raises(NoAnswer):
            get(Http(connections=1), server.url, timeout=0.3)
        assert len(dripped) < 1000


@pytest.mark.parametrize("answer", [whole(b""), b"HTTP/1.1 204 No Content\r\n\r\n"])
def test_an_empty_answer_that_says_so_is_an_answer(answer: bytes) -> None:
    with serving(answering(answer)) as server:
        assert get(Http(connections=1), server.url).body == b""


@pytest.mark.parametrize("pause", [pytest.param(0.02, id="steadily"), pytest.param(0.7, id="with long pauses")])
@pytest.mark.parametrize("kept", [pytest.param("keep-alive", id="kept"), pytest.param("close", id="not kept")])
def test_a_body_that_drips_past_the_timeout_is_no_answer(kept: str, pause: float) -> None:
    dripped: list[int] = []

    def drip(server: Server, connection: socket.socket) -> None:
        server.hear(connection)
        connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nConnection: {kept}\r\n\r\n".encode())
        for drop in range(1000):
            if server.stopping.wait(pause):
                return
            connection.sendall(b".")
            dripped.append(drop)

    with serving(drip) as server:
        with pytest.raises(NoAnswer):
            get(Http(connections=1), server.url, timeout=0.3)
        assert len(dripped) < 1000


def test_the_last_wait_for_a_byte_ends_with_the_timeout_too() -> None:
    dripped: list[int] = []

    def drip_twice(server: Server, connection: socket.socket) -> None:
        server.hear(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
        for drop in range(2):
            if server.stopping.wait(0.7):
                return
            dripped.append(drop)
            connection.sendall(b".")

    with serving(drip_twice) as server:
        with pytest.raises(NoAnswer):
            get(Http(connections=1), server.url, timeout=0.8)
        assert len(dripped) < 2


def test_a_silent_server_is_no_answer() -> None:
    def listen(server: Server, connection: socket.socket) -> None:
        server.hear(connection)
        server.stopping.wait(10)

    with serving(listen) as server, pytest.raises(NoAnswer) as caught:
        get(Http(connections=1), server.url, timeout=0.2)
    assert caught.value.was_sent


@pytest.mark.parametrize("headers", ["", "Content-Encoding: gzip\r\n"])
def test_a_body_without_end_is_no_answer(headers: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(our_http, "MAX_BODY_BYTES", 100_000)
    body = gzip.compress(bytes(10_000_000)) if headers else bytes(10_000_000)
    with serving(answering(whole(body, headers=headers))) as server, pytest.raises(NoAnswer, match="longer than"):
        get(Http(connections=1), server.url)


def test_a_refused_connection_is_no_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(NoAnswer) as caught:
        get(Http(connections=1), f"http://127.0.0.1:{port}")
    assert not caught.value.was_sent


@pytest.mark.parametrize(
    ("errno", "word"), [(socket.EAI_NONAME, NoSuchHost), (socket.EAI_AGAIN, NoAnswer), (socket.EAI_FAIL, NoAnswer)]
)
def test_an_unknown_name_is_final_and_a_sick_resolver_is_not(
    errno: int, word: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(errno, "told by the resolver")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(word):
        get(Http(connections=1), "http://sqs.nowhere-1.example.com/")


@pytest.mark.parametrize(
    ("url", "host", "target"),
    [
        ("{}", "127.0.0.1:{}", "GET /"),
        ("{}/a/b?c=d%20e&f", "127.0.0.1:{}", "GET /a/b?c=d%20e&f"),
        ("HTTP://LocalHost:{}/", "localhost:{}", "GET /"),
    ],
)
def test_a_request_names_its_host_and_what_is_wanted_there(url: str, host: str, target: str) -> None:
    heads: list[bytes] = []

    def talk(server: Server, connection: socket.socket) -> None:
        heads.append(connection.recv(65_536, socket.MSG_PEEK))
        answering(whole(b"ok"))(server, connection)

    with serving(talk) as server:
        get(Http(connections=1), url.format(server.url if url.startswith("{") else server.port))
    assert server.asked == [[target]]
    assert f"\r\nHost: {host.format(server.port)}\r\n".encode() in heads[0]


def test_the_port_of_the_scheme_is_not_named_and_a_given_host_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[object, bytes]] = []

    def refuse(address: object, timeout: float) -> socket.socket:
        ours, theirs = socket.socketpair()
        theirs.settimeout(timeout)
        sent.append((address, b""))
        threading.Thread(target=hear, args=(theirs,)).start()
        return ours

    def hear(theirs: socket.socket) -> None:
        with theirs:
            sent.append((None, theirs.recv(65_536)))

    monkeypatch.setattr(socket, "getaddrinfo", lambda host, port, **_: [(0, 0, 0, "", (host, port))])
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket.socket, "setsockopt", lambda *_: None)
    for url, headers in (("http://[::1]:80/x", {}), ("http://a.example/x", {"Host": "b.example"})):
        with pytest.raises(NoAnswer):
            Http(connections=1).send("GET", url, headers=headers, body=None, timeout=5)
    assert sent == [
        (("::1", 80), b""),
        (None, b"GET /x HTTP/1.1\r\nHost: [::1]\r\nAccept-Encoding: identity\r\n\r\n"),
        (("a.example", 80), b""),
        (None, b"GET /x HTTP/1.1\r\nAccept-Encoding: identity\r\nHost: b.example\r\n\r\n"),
    ]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1",
        "http://",
        "ftp://127.0.0.1/",
        "http://127.0.0.1:99999/",
        "http://[",
        "http://user:word@127.0.0.1/",  # pragma: allowlist secret
        "http://a..b/",
        "http://a b/",
        "http://127.0.0.1/ü",
        "http://127.0.0.1/\r\nX-Other: 1",
        "http://127.0.0.1/a HTTP/1.1\r\n",
    ],
)
def test_what_is_no_url_is_final(url: str) -> None:
    with pytest.raises(NoSuchHost):
        get(Http(connections=1), url)


def test_a_password_in_a_url_is_not_shown() -> None:
    with pytest.raises(NoSuchHost, match=r"^'https://[*]{3}' is not the URL") as raised:
        get(Http(connections=1), "https://user:never-shown@proxy.example/")  # pragma: allowlist secret - opens nothing
    assert "never-shown" not in str(raised.value)


def test_a_query_in_a_url_with_a_port_that_cannot_be_is_not_shown() -> None:
    with pytest.raises(NoSuchHost, match=r"^'https://proxy\.example:99999/\?[*]{3}' names a port that cannot be"):
        get(Http(connections=1), "https://proxy.example:99999/?token=never-shown")


def test_a_certificate_of_a_stranger_is_final(tmp_path: Path) -> None:
    with serving(answering(whole(b"trust me")), trust=stranger(tmp_path)) as server:
        with pytest.raises(NoSuchHost, match="certificate"):
            get(Http(connections=1), server.url)
        assert server.asked == [[]], "nothing is said to a stranger"


def stranger(folder: Path) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    start = datetime.now(UTC) - timedelta(hours=1)
    builder = x509.CertificateBuilder(subject_name=name, issuer_name=name, public_key=key.public_key())
    builder = builder.serial_number(1).not_valid_before(start).not_valid_after(start + timedelta(days=1))
    pem = folder / "stranger.pem"
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context


def test_a_connection_is_kept_for_the_next_request() -> None:
    with serving(answering(whole(b"1"), whole(b"2"))) as server:
        http = Http(connections=1)
        assert [get(http, f"{server.url}/{n}").body for n in (1, 2)] == [b"1", b"2"]
    assert server.asked == [["GET /1", "GET /2"]]


def test_a_kept_connection_that_the_server_closed_meanwhile_is_replaced_and_nothing_is_sent_twice() -> None:
    """What a Lambda process meets after a freeze: the server has long hung up."""
    with serving(answering(whole(b"only answer on this connection"))) as server:
        http = Http(connections=1)
        get(http, f"{server.url}/before")
        assert server.hung_up.wait(5)
        assert get(http, f"{server.url}/after").status == 200
    assert server.asked == [["GET /before"], ["GET /after"]]


def test_a_kept_connection_that_is_closed_while_the_request_is_on_its_way_is_no_answer_and_not_repeated() -> None:
    def hang_up_on_the_second(server: Server, connection: socket.socket) -> None:
        server.hear(connection)
        connection.sendall(whole(b"1"))
        server.hear(connection)

    with serving(hang_up_on_the_second) as server:
        http = Http(connections=1)
        get(http, f"{server.url}/1")
        with pytest.raises(NoAnswer):
            http.send("POST", f"{server.url}/2", headers={}, body=b"once", timeout=5)
    assert server.asked == [["GET /1", "POST /2 once"]]


def test_a_connection_left_half_read_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(our_http, "MAX_BODY_BYTES", 100_000)
    with serving(answering(whole(bytes(3_000_000)), whole(b"2"))) as server:
        http = Http(connections=1)
        with pytest.raises(NoAnswer):
            get(http, f"{server.url}/1")
        monkeypatch.undo()
        assert len(get(http, f"{server.url}/2").body) == 3_000_000
    assert server.asked == [["GET /1"], ["GET /2"]]


def test_a_caller_waits_for_a_free_connection_no_longer_than_its_timeout() -> None:
    heard, speak = threading.Event(), threading.Event()

    def wait_for_the_word(server: Server, connection: socket.socket) -> None:
        server.hear(connection)
        heard.set()
        speak.wait(10)
        connection.sendall(whole(b"at last"))

    first: list[bytes] = []
    with serving(wait_for_the_word) as server:
        http = Http(connections=1)
        caller = threading.Thread(target=lambda: first.append(get(http, server.url, timeout=10).body))
        caller.start()
        assert heard.wait(10)
        with pytest.raises(NoAnswer) as caught:
            get(http, server.url, timeout=0.1)
        assert not caught.value.was_sent
        assert first == [], "the first is still on its way"
        speak.set()
        caller.join()
    assert first == [b"at last"]


@pytest.mark.parametrize("value", ["s3cr3t\r\nX-Other: 1", "s3cr3t\n", "s3cr3t\0", "s3cr3tü", "s3cr3t钥"])
def test_an_impossible_header_value_is_refused_without_being_printed(value: str) -> None:
    with pytest.raises(ValueError, match="X-Auth-Token") as caught:
        Http(connections=1).send("GET", "http://127.0.0.1:1/", headers={"X-Auth-Token": value}, body=None, timeout=1)
    assert "s3cr3t" not in str(caught.value)


DISTRUST = ssl.SSLCertVerificationError(1, "certificate verify failed")
UNKNOWN = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
SICK = socket.gaierror(socket.EAI_AGAIN, "temporary failure")
POOL = urllib3.HTTPSConnectionPool("huawei.example")
CONNECTION = urllib3.connection.HTTPSConnection("huawei.example")


def resolution(reason: socket.gaierror) -> exceptions.HTTPError:
    error = exceptions.NameResolutionError("huawei.example", CONNECTION, reason)
    error.__cause__ = reason
    return error


FINAL: list[Exception] = [
    DISTRUST,
    UNKNOWN,
    exceptions.SSLError(DISTRUST),
    exceptions.ProtocolError("Connection aborted.", UNKNOWN),
    exceptions.ProxyError("Cannot connect to proxy.", UNKNOWN),
    exceptions.ProxyError("Cannot connect to proxy.", exceptions.SSLError(DISTRUST)),
    resolution(UNKNOWN),
    # What urllib3 cannot even begin with.
    exceptions.LocationParseError("huawei..example"),
    exceptions.LocationValueError("No host specified."),
    exceptions.URLSchemeUnknown("ftp"),
    exceptions.ProxySchemeUnknown("socks5"),
]
TRANSIENT: list[Exception] = [
    OSError(),
    TimeoutError(),
    ConnectionError(),
    BrokenPipeError(),
    ConnectionAbortedError(),
    ConnectionRefusedError(),
    ConnectionResetError(),
    SICK,
    socket.herror(),
    ssl.SSLError(),
    ssl.SSLEOFError(),
    ssl.SSLSyscallError(),
    ssl.SSLWantReadError(),
    ssl.SSLWantWriteError(),
    ssl.SSLZeroReturnError(),
    http.client.HTTPException(),
    http.client.NotConnected(),
    http.client.InvalidURL(),
    http.client.UnknownProtocol("HTTP/3"),
    http.client.UnknownTransferEncoding(),
    http.client.UnimplementedFileMode(),
    http.client.IncompleteRead(b""),
    http.client.ImproperConnectionState(),
    http.client.CannotSendRequest(),
    http.client.CannotSendHeader(),
    http.client.ResponseNotReady(),
    http.client.BadStatusLine(""),
    http.client.LineTooLong("header line"),
    http.client.RemoteDisconnected(""),
    exceptions.HTTPError(),
    exceptions.PoolError(POOL, "pool"),
    exceptions.RequestError(POOL, "/", "request"),
    exceptions.SSLError(ssl.SSLError(1, "wrong version number")),
    exceptions.ProxyError("Cannot connect to proxy.", ConnectionRefusedError()),
    exceptions.DecodeError("not gzip", OSError()),
    exceptions.ProtocolError("Connection aborted.", ConnectionResetError()),
    exceptions.MaxRetryError(POOL, "/", None),
    exceptions.HostChangedError(POOL, "/"),
    exceptions.TimeoutStateError(),
    exceptions.TimeoutError(),
    exceptions.ReadTimeoutError(POOL, "/", "Read timed out."),
    exceptions.ConnectTimeoutError(),
    exceptions.NewConnectionError(CONNECTION, "refused"),
    resolution(SICK),
    exceptions.EmptyPoolError(POOL, "empty"),
    exceptions.FullPoolError(POOL, "full"),
    exceptions.ClosedPoolError(POOL, "closed"),
    exceptions.ResponseError(),
    exceptions.ResponseNotChunked(),
    exceptions.BodyNotHttplibCompatible(),
    exceptions.IncompleteRead(1, 2),
    exceptions.InvalidChunkLength(urllib3.HTTPResponse(), b"zz"),
    exceptions.InvalidHeader(),
    exceptions.HeaderParsingError([], None),
    exceptions.UnrewindableBodyError(),
]
NOT_OF_THE_NETWORK = {
    BlockingIOError,
    ChildProcessError,
    FileExistsError,
    FileNotFoundError,
    InterruptedError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
    ProcessLookupError,
}


def kind(error: Exception) -> str:
    return f"{type(error).__module__}.{type(error).__name__}"


@pytest.mark.parametrize("error", FINAL, ids=kind)
def test_a_wrong_address_is_final(error: Exception) -> None:
    assert type(translate(error, was_sent=False)) is NoSuchHost


@pytest.mark.parametrize("was_sent", [True, False])
@pytest.mark.parametrize("error", TRANSIENT, ids=kind)
def test_a_failure_on_the_way_is_transient_and_says_whether_the_request_was_sent(
    error: Exception,
    was_sent: bool,  # noqa: FBT001
) -> None:
    translated = translate(error, was_sent=was_sent)
    assert isinstance(translated, NoAnswer)
    assert translated.was_sent is was_sent
    assert str(translated), "an error says something"


@pytest.mark.parametrize("error", [*FINAL, *TRANSIENT], ids=kind)
def test_whatever_urllib3_raises_comes_out_as_one_of_two_words(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(urllib3.connection.HTTPConnection, "request", fail)
    with pytest.raises((NoAnswer, NoSuchHost)):
        get(Http(connections=1), "https://huawei.example/")


@pytest.mark.parametrize("module", [exceptions, http.client, ssl, socket], ids=lambda module: module.__name__)
def test_every_exception_class_of_the_libraries_is_considered(module: Any) -> None:
    considered = {type(error) for error in (*FINAL, *TRANSIENT)} | NOT_OF_THE_NETWORK
    raised = {
        item
        for name, item in vars(module).items()
        if not name.startswith("_") and inspect.isclass(item) and issubclass(item, Exception)
    }
    raised -= {MessageDefect, exceptions.ProxySchemeUnsupported}  # not raised; of a TLS library other than Python's
    assert {each for each in raised if not issubclass(each, Warning)} - considered == set()


def subclasses(of: type[Exception]) -> Iterator[type[Exception]]:
    for each in of.__subclasses__():
        yield each
        yield from subclasses(each)


def test_every_subclass_of_urllib3s_own_exception_is_considered() -> None:
    considered = {type(error) for error in (*FINAL, *TRANSIENT)}
    of_urllib3 = {each for each in subclasses(exceptions.HTTPError) if each.__module__.startswith("urllib3.")}
    assert of_urllib3 - considered == set()


def test_every_kind_of_os_error_is_considered() -> None:
    builtin = {item for item in OSError.__subclasses__() if item.__module__ == "builtins"}
    assert builtin - {type(error) for error in TRANSIENT} - NOT_OF_THE_NETWORK == set()

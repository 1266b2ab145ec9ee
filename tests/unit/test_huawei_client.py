"""One signed request: which key signs, what is told of the answer, and what never gets out."""

from __future__ import annotations

import inspect
import json
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from huaweicloudsdkcore.exceptions import exceptions as sdk_exceptions
from huaweicloudsdkcore.signer.signer import DerivationAKSKSigner, Signer
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import DeploymentFault
from shared.findings import Trust, Verdict
from shared.http import NoAnswer, NoSuchHost, Response
from shared.huawei.client import LONGEST_RETRY_AFTER, MOST_SCOPES, SHORTEST_CALL, DerivedSigning, Reply, read_reply
from shared.huawei.credentials import Credentials, FixedCredentials, SecretCredentials
from shared.huawei.faults import Fault
from shared.planning import Scope
from tests.fakes import KEY, NOW, Clock, FakeAws, FakeHttp, client_over, response

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from shared.deadline import Deadline
    from shared.huawei.client import HuaweiClient
    from shared.huawei.credentials import CredentialSource

EXPIRED = response({"error_code": "APIGW.0301", "error_msg": "verify aksk signature fail"}, 401)
OK = response()
SECRETS = (KEY.sk, str(KEY.security_token), "SK-2-very-secret", "SK-3-very-secret")


def ask(
    client: HuaweiClient, *, scope: Scope | None = None, seconds: float = 60.0, deadline: Deadline | None = None
) -> Reply | NoAnswer:
    deadline = deadline or Clock().deadline(seconds)
    return client.request("POST", "/v2/tasks/t/stop", deadline=deadline, scope=scope)


def rotating(*keys: str, clock: Clock | None = None) -> SecretCredentials:
    """Return credentials whose secret says another of `keys` at each read, the last for ever."""
    secrets = [json.dumps({"ak": f"AK-{key}", "sk": f"SK-{key}-very-secret"}) for key in keys]
    return SecretCredentials(secrets=FakeAws(secrets={"s": secrets}), secret_id="s", now=(clock or Clock()).now)


class Gate:
    """An `HttpSender` that refuses all keys but `good`; `together` requests must have come before one is answered."""

    def __init__(self, *, together: int, good: str | None) -> None:
        self._good = good
        self._together = threading.Barrier(together)
        self.by_key: dict[str, int] = {}

    def send(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes | None, timeout: float
    ) -> Response:
        assert (method, url, body, timeout > 0) == ("POST", "https://huawei.example/v2/tasks/t/stop", b"", True)
        key = headers["Authorization"].partition("Access=")[2].partition(",")[0]
        self.by_key[key] = self.by_key.get(key, 0) + 1
        if key == "AK-1":
            self._together.wait(10)
        return OK if key == self._good else EXPIRED


class Secrets:
    """A secret that is read once `may_answer` is set."""

    def __init__(self, key: str) -> None:
        self._text = json.dumps({"ak": f"AK-{key}", "sk": f"SK-{key}-very-secret"})
        self.reads = 0
        self.reached, self.may_answer = threading.Event(), threading.Event()

    def secret_string(self, secret_id: str, *, deadline: Deadline) -> str:
        assert (secret_id, deadline.remaining() > 0) == ("s", True)
        self.reads += 1
        self.reached.set()
        assert self.may_answer.wait(10)
        return self._text

    def source(self) -> SecretCredentials:
        return SecretCredentials(secrets=self, secret_id="s", now=Clock().now)


class ByKey:
    """An `HttpSender` that answers each key in its own way, and takes a minute of the told time."""

    def __init__(self, clock: Clock, answers: Mapping[str, Callable[[], Response]]) -> None:
        self._clock = clock
        self._answers = answers
        self.asked: list[str] = []

    def send(
        self,
        method: str,  # noqa: ARG002 - as HttpSender has it
        url: str,  # noqa: ARG002
        *,
        headers: Mapping[str, str],
        body: bytes | None,  # noqa: ARG002
        timeout: float,
    ) -> Response:
        assert timeout > 0
        key = headers["Authorization"].partition("Access=")[2].partition(",")[0]
        self.asked.append(key)
        self._clock.seconds += 60.0
        return self._answers[key]()


class Stale:
    """Credentials as a thread sees them that read them before another had them renewed."""

    def __init__(self, source: CredentialSource, old: Credentials | None = None) -> None:
        self._source = source
        self._old = old or source.current(Clock().deadline())

    def current(self, deadline: Deadline) -> Credentials:  # noqa: ARG002 - needs no time
        return self._old

    def renewed(self, refused: Credentials, deadline: Deadline) -> Credentials | None:
        return self._source.renewed(refused, deadline)


# --- refused credentials


def test_a_refusal_is_tried_once_more_with_a_renewed_key() -> None:
    http = FakeHttp(EXPIRED, OK)
    assert isinstance(ask(client_over(http, credentials=rotating("1", "2"))), Reply)
    assert ["Access=AK-1," in http.sent[0].headers["Authorization"], len(http.sent)] == [True, 2]
    assert "Access=AK-2," in http.sent[1].headers["Authorization"]


def test_a_renewed_key_that_is_refused_too_is_the_deployment_s_fault_after_two_requests() -> None:
    http = FakeHttp(EXPIRED)
    with pytest.raises(DeploymentFault, match=r"refused the credentials .401 APIGW.0301: verify aksk"):
        ask(client_over(http, credentials=rotating("1", "2", "3")))
    assert len(http.sent) == 2


@pytest.mark.parametrize("credentials", [FixedCredentials(KEY), rotating("1")], ids=["fixed", "unchanged secret"])
def test_without_another_key_a_refusal_is_the_deployment_s_fault_after_one_request(credentials: Any) -> None:
    http = FakeHttp(EXPIRED)
    with pytest.raises(DeploymentFault, match=r"check that the key is active.*project project-1.*plain signing"):
        ask(client_over(http, credentials=credentials))
    assert len(http.sent) == 1


def test_the_fault_names_the_kind_of_signing_that_was_refused() -> None:
    client = client_over(FakeHttp(EXPIRED), derived=DerivedSigning("cn-north-4", "iotdm"))
    with pytest.raises(DeploymentFault, match="derived signing"):
        ask(client)


@pytest.mark.parametrize(("good", "tries"), [(None, 1), ("AK-2", 16)], ids=["bad", "good"])
def test_sixteen_threads_refused_at_once_try_a_bad_new_key_once_and_a_good_one_each(
    good: str | None, tries: int
) -> None:
    gate = Gate(together=16, good=good)
    client = client_over(gate, credentials=rotating("1", "2"))

    def outcome(_: int) -> str:
        try:
            return type(ask(client)).__name__
        except DeploymentFault:
            return "fault"

    with ThreadPoolExecutor(16) as threads:
        outcomes = set(threads.map(outcome, range(16)))
    assert gate.by_key == {"AK-1": 16, "AK-2": tries}
    assert outcomes == ({"Reply"} if good else {"fault"})


def test_a_new_key_that_one_project_refuses_is_tried_in_another() -> None:
    """A foreign project has the key renewed while a call elsewhere is under way with the old one."""
    client = client_over(FakeHttp(EXPIRED, EXPIRED, OK), credentials=rotating("1", "2"))
    old = client._credentials.current(Clock().deadline())  # noqa: SLF001 - as another thread has read it by then
    with pytest.raises(DeploymentFault):
        ask(client, scope=Scope("project-2", None))
    client._credentials = Stale(client._credentials, old)  # noqa: SLF001
    client._http = FakeHttp(EXPIRED, OK)  # noqa: SLF001
    assert isinstance(ask(client), Reply)


def test_a_key_fixed_after_it_was_refused_is_taken_up_by_the_same_process() -> None:
    http, clock = FakeHttp(EXPIRED, EXPIRED, EXPIRED, EXPIRED, OK), Clock()
    client = client_over(http, credentials=rotating("1", "2", "3", clock=clock))
    for seconds in (0.0, 29.9):  # the second time the secret is not read again
        clock.seconds = seconds
        with pytest.raises(DeploymentFault):
            ask(client)
    clock.seconds = 30.0
    assert isinstance(ask(client), Reply)
    assert [each.headers["Authorization"].split("Access=AK-")[1][0] for each in http.sent] == list("12223")


def test_sixteen_calls_with_a_key_that_stays_refused_read_the_secret_twice_and_send_one_request_each() -> None:
    http, secrets = FakeHttp(EXPIRED), Secrets("1")
    secrets.may_answer.set()
    client = client_over(http, credentials=secrets.source())
    for _ in range(16):
        with pytest.raises(DeploymentFault, match=r"refused the credentials .401"):
            ask(client)
    assert (secrets.reads, len(http.sent)) == (2, 16)


def test_a_refused_call_waits_for_a_read_of_the_secret_no_longer_than_its_deadline() -> None:
    secrets, clock = Secrets("2"), Clock()
    source = secrets.source()
    client = client_over(
        ByKey(clock, {"AK-1": lambda: EXPIRED}), credentials=Stale(source, Credentials("AK-1", "SK-1-very-secret"))
    )
    with ThreadPoolExecutor(1) as thread:
        hanging = thread.submit(source.current, Clock().deadline())
        assert secrets.reached.wait(10)
        with pytest.raises(DeploymentFault, match="no time left to wait for the secret with the keys") as fault:
            ask(client, deadline=clock.deadline(60.05))  # the first request takes 60 seconds
        secrets.may_answer.set()
        assert hanging.result(10).ak == "AK-2"
    assert [secret for secret in SECRETS if secret in str(fault.value)] == []


def test_a_refused_call_waits_for_the_try_of_a_fresh_key_no_longer_than_its_deadline() -> None:
    is_trying, may_answer, clock = threading.Event(), threading.Event(), Clock()

    def answer_late() -> Response:
        is_trying.set()
        assert may_answer.wait(10)
        return OK

    http = ByKey(clock, {"AK-1": lambda: EXPIRED, "AK-2": answer_late})
    client = client_over(http, credentials=Stale(rotating("1", "2")))
    with ThreadPoolExecutor(1) as thread:
        trying = thread.submit(ask, client)
        assert is_trying.wait(10)
        with pytest.raises(DeploymentFault, match=r"401 .*no time left to wait for the fresh ones .* trying") as fault:
            ask(client, deadline=clock.deadline(60.05))
        may_answer.set()
        assert isinstance(trying.result(10), Reply)
    assert http.asked.count("AK-2") == 1
    assert [secret for secret in SECRETS if secret in str(fault.value)] == []


def test_a_fresh_key_that_was_accepted_is_used_by_sixteen_threads_side_by_side() -> None:
    """One call that hangs does not keep away the others."""
    together = threading.Barrier(16)
    answers: dict[str, Callable[[], Response]] = {"AK-1": lambda: EXPIRED, "AK-2": lambda: OK}
    client = client_over(ByKey(Clock(), answers), credentials=Stale(rotating("1", "2")))
    assert isinstance(ask(client), Reply)

    def answer_all_together() -> Response:
        together.wait(10)
        return OK

    answers["AK-2"] = answer_all_together
    with ThreadPoolExecutor(16) as threads:
        assert {type(each) for each in threads.map(lambda _: ask(client), range(16))} == {Reply}


def test_a_fresh_key_that_was_accepted_and_is_refused_later_is_not_tried_by_the_others() -> None:
    answers: dict[str, Callable[[], Response]] = {"AK-1": lambda: EXPIRED, "AK-2": lambda: OK}
    http = ByKey(Clock(), answers)
    client = client_over(http, credentials=Stale(rotating("1", "2")))
    assert isinstance(ask(client), Reply)
    answers["AK-2"] = lambda: EXPIRED
    for _ in range(3):
        with pytest.raises(DeploymentFault, match="refused the credentials"):
            ask(client)
    assert http.asked.count("AK-2") == 2


@pytest.mark.parametrize(
    ("answers", "trust"),
    [
        ([], Trust.UNKNOWN),
        ([OK], Trust.ACCEPTED),
        ([OK, EXPIRED], Trust.REFUSED),
        ([response({"error_code": "CC.00050010"}, 403)], Trust.ACCEPTED),
        ([response({"error_code": "IOTDA.014223"}, 404)], Trust.ACCEPTED),
        ([response(b"<html>", 502)], Trust.ACCEPTED),
        ([response({"error_code": "APIGW.0308"}, 429)], Trust.ACCEPTED),
        ([response({"error_code": "APIGW.0101"}, 404)], Trust.REFUSED),
        ([response({"error_code": "APIGW.0310"}, 403)], Trust.REFUSED),
        ([NoAnswer("cut")], Trust.UNKNOWN),
        ([EXPIRED, NoAnswer("cut")], Trust.REFUSED),
        ([EXPIRED, OK], Trust.ACCEPTED),
    ],
)
def test_any_answer_that_is_no_refusal_verifies_the_key(answers: list[Response | Exception], trust: Trust) -> None:
    client = client_over(FakeHttp(*answers))
    for _ in answers:
        try:
            ask(client)
        except DeploymentFault:
            continue
    assert client.trust(None) is client.trust(Scope("project-1", None)) is trust


def test_a_key_is_verified_for_each_project_and_instance_on_its_own() -> None:
    client = client_over(FakeHttp(OK, EXPIRED, OK))
    ask(client)
    with pytest.raises(DeploymentFault, match="project project-2, instance i-1"):
        ask(client, scope=Scope("project-2", "i-1"))
    ask(client, scope=Scope("project-3", None))
    scopes = (None, Scope("project-2", "i-1"), Scope("project-2", None), Scope("project-3", None))
    assert [client.trust(scope) for scope in scopes] == [
        Trust.ACCEPTED,
        Trust.REFUSED,
        Trust.UNKNOWN,
        Trust.ACCEPTED,
    ]


def test_a_key_that_is_refused_where_it_was_accepted_is_verified_anew_everywhere() -> None:
    client = client_over(FakeHttp(OK, OK, EXPIRED))
    ask(client)
    ask(client, scope=Scope("project-2", None))
    with pytest.raises(DeploymentFault):
        ask(client)
    assert client.trust(None) is Trust.REFUSED
    assert client.trust(Scope("project-2", None)) is Trust.UNKNOWN


def test_what_is_remembered_of_projects_is_bounded() -> None:
    client = client_over(FakeHttp(OK))
    for number in range(MOST_SCOPES + 1):
        ask(client, scope=Scope(f"project-{number}", None))
    assert client.trust(Scope("project-0", None)) is Trust.UNKNOWN
    assert client.trust(Scope(f"project-{MOST_SCOPES}", None)) is Trust.ACCEPTED


# --- what is sent


def test_the_project_header_follows_the_project_of_the_path() -> None:
    http = FakeHttp(OK)
    client = client_over(http)
    ask(client)
    ask(client, scope=Scope("project-2", "i-2"))
    assert [each.headers["X-Project-Id"] for each in http.sent] == ["project-1", "project-2"]
    assert [each.headers.get("Instance-Id") for each in http.sent] == [None, "i-2"]


def test_a_call_takes_no_longer_than_is_left_and_does_not_begin_when_too_little_is() -> None:
    http = FakeHttp(OK)
    ask(client_over(http), seconds=7.5)
    assert [each.timeout for each in http.sent] == [7.5]
    late = ask(client_over(http), seconds=SHORTEST_CALL - 0.1)
    assert isinstance(late, NoAnswer)
    assert len(http.sent) == 1


def test_no_answer_is_given_back_and_a_wrong_host_is_the_deployment_s_fault() -> None:
    assert isinstance(ask(client_over(FakeHttp(NoAnswer("read timed out")))), NoAnswer)
    with pytest.raises(DeploymentFault, match=r"huawei.example cannot be reached; check the endpoint"):
        ask(client_over(FakeHttp(NoSuchHost("Name or service not known"))))


@pytest.mark.parametrize(
    ("status", "code", "fix"),
    [
        (404, "APIG.0101", "check the endpoint"),
        (403, "APIGW.0302", "allow this API to the IAM user"),
        (403, "APIGW.0304", "allow this API to the IAM user"),
        (403, "APIC.0306", "allow this API to the IAM user"),
        (403, "APIG.0310", "check that the project exists"),
        (403, "APIGW.0801", "check that the service is open to the account in this region"),
        (403, "APIGW.0802", "check that the service is open to the account in this region"),
        (405, "APIG.0502", "top up the account's balance"),
        (403, "IOTDA.000021", "check IOTDA_ENDPOINT"),
        (200, "CC.00050007", "check the key"),
    ],
)
def test_an_error_that_is_no_task_s_fault_is_the_deployment_s(status: int, code: str, fix: str) -> None:
    words = rf"huawei.example answered {status} {code}: no \(project project-1\); {fix}"
    with pytest.raises(DeploymentFault, match=words):
        ask(client_over(FakeHttp(response({"error_code": code, "error_msg": "no"}, status))))


# --- what is read


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("3", 3.0),
        (" 3 ", 3.0),
        ("0", 0.0),
        ("Mon, 23 Nov 2026 08:49:35 GMT", 30 - 0.123),
        ("Mon, 23 Nov 2026 08:48:00 GMT", 0.0),
        ("Mon, 23 Nov 2026 16:49:35 +0800", 30 - 0.123),
        # Longer than anybody waits, or nothing that can be read.
        ("9" * 400, LONGEST_RETRY_AFTER),
        ("Mon, 23 Nov 2126 08:49:35 GMT", LONGEST_RETRY_AFTER),
        ("-3", None),
        ("3.5", None),
        ("soon", None),
        ("", None),
        ("Mon, 23 Nov 2026 08:49:35", None),
        ("Mon, 23 Nov 2026 99999999999999999999:00:00 GMT", None),
        ("Mon, 23 Nov 2026 08:49:35 +99999999999999999999", None),
    ],
)
def test_retry_after_is_read_in_both_its_forms(value: str | None, seconds: float | None) -> None:
    answer = response({"error_code": "APIGW.0308"}, 429, **({} if value is None else {"retry_after": value}))
    read = read_reply(answer, now=NOW).retry_after
    assert read == (None if seconds is None else pytest.approx(seconds))


@given(st.text(alphabet=st.characters(max_codepoint=255), max_size=60))
def test_no_retry_after_raises_or_asks_for_more_than_the_longest(value: str) -> None:
    read = read_reply(response(retry_after=value), now=NOW).retry_after
    assert read is None or 0 <= read <= LONGEST_RETRY_AFTER


MALFORMED = {
    "html": b"<html><body>502 Bad Gateway</body></html>",
    "cut off": b'{"targets": [{"target": "d1", "status": "suc',
    "deep": b"[" * 100_000 + b"]" * 100_000,
    "deep message": b'{"error_code": "C", "error_msg": ' + b"[" * 9_000 + b"]" * 9_000 + b"}",
    "huge integer": b'{"error_code": ' + b"9" * 5_000 + b"}",
    "large integer": b'{"error_code": ' + b"9" * 4_000 + b"}",
    "NaN": b'{"error_code": NaN, "error_msg": Infinity}',
    "an array": b'[{"error_code": "C"}]',
    "a string": b'"error_code"',
    "a number": b"0",
    "invalid UTF-8": b'{"error_code": "\xff\xfe"}',
    "UTF-16": '{"error_code": "C"}'.encode("utf-16"),
    "a lone surrogate": b'{"error_code": "C\\ud800", "error_msg": "\\udfff"}',
    "control characters": b'{"error_code": "C\\u0000", "error_msg": "\\u001b[2J"}',
    "wrong types": b'{"error_code": {"a": 1}, "error_msg": ["a"], "code": true, "errorCode": null}',
    "nothing": b"",
    "blanks": b" \r\n",
    "null": b"null",
}


@pytest.mark.parametrize("status", [200, 204, 302, 400, 429, 500])
@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED.keys())
def test_no_body_raises_and_its_words_fit_into_an_event(body: bytes, status: int) -> None:
    reply = read_reply(response(body, status, x_request_id="r" * 9_000), now=NOW)
    finding = reply.finding(Verdict.UNCLEAR)
    assert len((finding.error_code or "").encode()) <= 64 * 4
    assert len((finding.error_msg or "").encode()) <= 300 * 4
    assert len(finding.request_id or "") == 64
    assert (finding.error_msg or "").isprintable()


_WORDS = st.sampled_from(["error_code", "error_msg", "errorCode", "code", "message"]) | st.text(max_size=3)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_WORDS, inner, max_size=4),
)


@given(st.integers(100, 599), st.binary(max_size=200) | _JSON)
def test_no_answer_at_all_raises(status: int, body: object) -> None:
    reply = read_reply(response(body, status), now=NOW)
    assert reply.fault is None or isinstance(reply.fault, Fault)


@pytest.mark.parametrize("body", [b"null", b"", b" "], ids=["null", "empty", "blank"])
def test_null_and_nothing_are_both_an_empty_answer(body: bytes) -> None:
    reply = read_reply(response(body), now=NOW)
    assert (reply.is_json, reply.json, reply.fault) == (True, None, None)


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ({"error_code": "C.1", "error_msg": "m"}, "C.1", "m"),
        ({"errorCode": "C.1", "errorMsg": "m"}, "C.1", "m"),
        ({"code": "C.1", "message": "m"}, "C.1", "m"),
        ({"code": 403, "message": "m"}, "403", "m"),
        ({"error": {"code": "C.1", "message": "m"}}, "C.1", "m"),
        ({"error": {"error_code": "C.1", "error_msg": "m"}, "other": 1}, "C.1", "m"),
        ({"error_code": "C.1"}, "C.1", None),
        ({"error_code": "", "error_msg": "m"}, None, None),
        ({"error_code": True, "error_msg": "m"}, None, None),
        ({"detail": "m"}, None, None),
    ],
)
def test_an_error_is_found_in_every_shape_that_the_sdk_knows(
    body: object, code: str | None, message: str | None
) -> None:
    reply = read_reply(response(body, 400), now=NOW)
    assert (reply.error_code, reply.error_msg) == (code, message)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"error_code": "CC.00050006", "error_msg": "m"}, "CC.00050006"),
        ({"errorCode": "CC.00050006"}, "CC.00050006"),
        ({"code": "200", "message": "ok"}, None),
        ({"batchtask": {"error_code": "IOTDA.1"}}, None),
        ({"error_code": None, "error_msg": None}, None),
        ({"error_code": ""}, None),
    ],
)
def test_in_a_200_only_huawei_s_own_words_at_the_top_are_an_error(body: object, code: str | None) -> None:
    assert read_reply(response(body), now=NOW).error_code == code


def test_what_is_no_json_is_quoted_for_the_operator() -> None:
    assert read_reply(response(MALFORMED["html"], 502), now=NOW).error_msg == MALFORMED["html"].decode()


def test_a_fault_of_the_deployment_is_no_finding() -> None:
    with pytest.raises(ValueError, match="says nothing about a target"):
        read_reply(EXPIRED, now=NOW).finding_by_table()


# --- the seam to the SDK


def sdk_errors() -> Iterator[Exception]:
    """One of each exception class of the SDK, with the secret key in its text."""
    kinds: list[Any] = [kind for _, kind in inspect.getmembers(sdk_exceptions, inspect.isclass)]
    for kind in kinds:
        if issubclass(kind, sdk_exceptions.ServiceResponseException):
            yield kind(500, sdk_exceptions.SdkError(error_msg=KEY.sk))
        elif issubclass(kind, Exception):
            yield kind(KEY.sk)


def test_the_sdk_s_exceptions_are_known() -> None:
    assert len({type(error) for error in sdk_errors()}) == 13


@pytest.mark.parametrize(
    "error", [*sdk_errors(), ValueError(KEY.sk), KeyError(KEY.sk)], ids=lambda error: type(error).__name__
)
@pytest.mark.parametrize("derived", [None, DerivedSigning("cn-north-4", "iotdm")], ids=["plain", "derived"])
def test_whatever_the_signer_raises_is_the_deployment_s_fault_without_the_key(
    error: Exception, derived: DerivedSigning | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sign(*_: object) -> None:
        raise error

    monkeypatch.setattr(Signer if derived is None else DerivationAKSKSigner, "sign", sign)
    http = FakeHttp(OK)
    with pytest.raises(DeploymentFault, match=f"could not be signed .{type(error).__name__}.; check the keys") as fault:
        ask(client_over(http, derived=derived))
    assert KEY.sk not in "".join(traceback.format_exception(fault.value))
    assert http.sent == []


# --- secrets


def test_no_repr_and_no_error_holds_a_secret() -> None:
    http = FakeHttp(EXPIRED)
    source = rotating("2", "3")
    client = client_over(http, credentials=source)
    fixed = client_over(FakeHttp(EXPIRED))
    shown = [repr(each) for each in (KEY, FixedCredentials(KEY), source, client, fixed, vars(client), vars(fixed))]
    for each in (client, fixed):
        with pytest.raises(DeploymentFault) as fault:
            ask(each)
        shown += [str(fault.value), "".join(traceback.format_exception(fault.value))]
    with pytest.raises(DeploymentFault) as fault:
        Credentials("AK-1", f"{KEY.sk}\n")
    shown += ["".join(traceback.format_exception(fault.value))]
    assert [secret for secret in SECRETS if any(secret in text for text in shown)] == []


@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 500])
@pytest.mark.parametrize("field", ["error_code", "error_msg"])
@pytest.mark.parametrize("secret", [KEY.sk, KEY.security_token])
def test_a_gateway_that_repeats_the_request_repeats_no_secret(status: int, field: str, secret: str) -> None:
    said = {"error_code": "APIGW.0301", "error_msg": "no", field: f"{secret}, and again {secret}"}
    try:
        reply = ask(client_over(FakeHttp(response(said, status))))
    except DeploymentFault as fault:
        shown = str(fault)
    else:
        assert isinstance(reply, Reply)
        shown = f"{reply.error_code} {reply.error_msg}"
    assert "***, and again ***" in shown


def test_a_page_that_repeats_the_request_repeats_no_secret() -> None:
    page = Response(502, {}, f"<p>x-security-token: {KEY.security_token}</p>".encode())
    reply = ask(client_over(FakeHttp(page)))
    assert isinstance(reply, Reply)
    assert reply.error_msg == "<p>x-security-token: ***</p>"

"""Keys for Huawei Cloud without a secret: the exchange, when it is made again, and that nobody sees what it gives."""

from __future__ import annotations

import json
import traceback
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from threading import Barrier, Event, Lock
from typing import TYPE_CHECKING, Any

import pytest

from shared.aws import AwsRefused, AwsUnavailable
from shared.errors import DeploymentFault
from shared.fetch_once import REFUSED_FOR
from shared.http import NoAnswer, NoSuchHost, Response
from shared.huawei.credentials import Credentials
from shared.huawei.keyless import KeylessCredentials, read_expiration
from shared.patience import Patience
from tests.fakes import NOW, Clock, FakeHttp, response

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from shared.deadline import Deadline
    from shared.huawei.client import HttpSender

PROVIDER = "iam::d78cbac186b744899480f25b:oidcProvider:aws"
AGENCY = "iam::d78cbac186b744899480f25b:agency:stopline"
STS = "https://sts.cn-north-4.myhuaweicloud.com"
TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJuZXZlci1zaG93biI6MX0.bmV2ZXItc2hvd24"  # pragma: allowlist secret
HOUR = timedelta(hours=1)


class Tokens:
    """Gives one token for ever, or fails; counts, and keeps what it was asked. `waits_for`: before it answers."""

    def __init__(self, *, error: Exception | None = None, waits_for: Callable[[], object] = lambda: None) -> None:
        self.error = error
        self.waits_for = waits_for
        self.asked: list[tuple[str, int]] = []
        self.left: list[float] = []

    def web_identity_token(self, *, audience: str, seconds: int, deadline: Deadline) -> str:
        self.asked.append((audience, seconds))
        self.left.append(deadline.remaining())
        self.waits_for()
        if self.error:
            raise self.error
        return TOKEN


class Huawei:
    """Gives numbered keys, good for `lasts` from now, unless told to answer something else."""

    def __init__(self, clock: Clock, *, lasts: timedelta = HOUR) -> None:
        self._clock = clock
        self._lasts = lasts
        self._lock = Lock()
        self.given = 0
        self.instead: Response | Exception | None = None

    def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],  # noqa: ARG002 - as HttpSender has it
        body: bytes | None,
        timeout: float,
    ) -> Response:
        assert (method, url) == ("POST", f"{STS}/v5/agencies/assume-with-oidc")
        assert json.loads(body or b"")["id_token"] == TOKEN
        assert 0 < timeout <= 10
        if isinstance(self.instead, Exception):
            raise self.instead
        if self.instead:
            return self.instead
        with self._lock:
            self.given += 1
            return given(self.given, expires_at=self._clock.now() + self._lasts)


def given(number: int = 1, *, expires_at: datetime = NOW + HOUR, **changed: Any) -> Response:
    key = keys(number)
    answer = {
        "access_key_id": key.ak,
        "secret_access_key": key.sk,
        "security_token": key.security_token,
        "expiration": expires_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
    }
    return response({"credentials": answer | changed, "provider": PROVIDER})


def keys(number: int) -> Credentials:
    return Credentials(f"HSTA-{number}", f"sk-{number}-never-shown", f"token-{number}-never-shown")


def keyless(
    http: HttpSender, clock: Clock, tokens: Tokens | None = None, *, now: Callable[[], datetime] | None = None
) -> KeylessCredentials:
    return KeylessCredentials(
        tokens=tokens or Tokens(),
        http=http,
        endpoint=STS,
        provider_urn=PROVIDER,
        agency_urn=AGENCY,
        session_name="stopline-stop-task",
        patience=Patience(now=now or clock.now, sleep=clock.sleep, uniform=lambda _, longest: longest),
    )


def no(status: int, code: str = "STS5.1001", message: str = "said Huawei") -> Response:
    return response({"error_code": code, "error_msg": message}, status=status)


def each_of_16(ask: Callable[[], Credentials | None]) -> list[Credentials | str | None]:
    """Let 16 threads ask at the same time; return what each got, or the words of its fault."""
    together = Barrier(16)

    def one(_: int) -> Credentials | str | None:
        together.wait(10)
        try:
            return ask()
        except DeploymentFault as fault:
            return str(fault)

    with ThreadPoolExecutor(16) as threads:
        return list(threads.map(one, range(16)))


def told(has_begun: Event, may_end: Event) -> Callable[[], None]:
    def wait() -> None:
        has_begun.set()
        assert may_end.wait(10)

    return wait


ODD: tuple[object, ...] = (None, "", "soon", True, [], {}, "9" * 400, float("nan"), float("inf"), -1e30)


# The exchange


def test_the_exchange_is_as_huawei_s_page_has_it() -> None:
    http, tokens, clock = FakeHttp(given()), Tokens(), Clock()
    assert keyless(http, clock, tokens).current(clock.deadline()) == keys(1)
    (sent,) = http.sent
    assert (sent.method, sent.url) == ("POST", f"{STS}/v5/agencies/assume-with-oidc")
    assert sent.headers["Content-Type"] == "application/json;charset=UTF-8"
    assert not {"Authorization", "X-Sdk-Date"} & sent.headers.keys()
    assert json.loads(sent.body or b"") == {
        "provider_urn": PROVIDER,
        "agency_urn": AGENCY,
        "agency_session_name": "stopline-stop-task",
        "id_token": TOKEN,
        "duration_seconds": 3600,
    }


def test_the_token_is_for_this_provider_alone_and_for_five_minutes() -> None:
    tokens, clock = Tokens(), Clock()
    keyless(FakeHttp(given()), clock, tokens).current(clock.deadline())
    assert tokens.asked == [(PROVIDER, 300)]


@pytest.mark.parametrize("passing", [NoAnswer("cut"), no(500), no(503), no(429), response(b"<html>", status=502)])
def test_a_passing_fault_is_tried_again_with_the_same_token(passing: Response | Exception) -> None:
    http, tokens, clock = FakeHttp(passing, passing, given()), Tokens(), Clock()
    assert keyless(http, clock, tokens).current(clock.deadline()) == keys(1)
    assert (len(http.sent), len(tokens.asked), len(clock.slept)) == (3, 1, 2)


@pytest.mark.parametrize("passing", [NoAnswer("cut"), no(500), no(429)])
def test_a_passing_fault_that_stays_gives_the_delivery_back(passing: Response | Exception) -> None:
    http, clock = FakeHttp(passing), Clock()
    with pytest.raises(DeploymentFault, match=r"gave no keys, and it passes: .*nothing to mend unless it stays"):
        keyless(http, clock).current(clock.deadline())
    assert len(http.sent) == 4


def test_it_is_not_tried_past_the_deadline() -> None:
    http, clock = FakeHttp(NoAnswer("cut")), Clock()
    with pytest.raises(DeploymentFault):
        keyless(http, clock).current(clock.deadline(0.000_001))
    assert (len(http.sent), clock.slept) == (1, [])


@pytest.mark.parametrize(
    ("answer", "mend"),
    [
        (no(400), "HUAWEICLOUD_OIDC_PROVIDER_URN and _AGENCY_URN are right"),
        (no(401), "the OIDC provider: its URL must be the IssuerIdentifier.*client ids must hold"),
        (no(403), "the agency's trust policy: action sts:agencies:assumeWithOIDC.*oidc:aud.*oidc:sub.*oidc:iss"),
        (no(404), "that HUAWEICLOUD_SDK_STS_ENDPOINT is an address"),
        (response(b"", status=302, Location="https://elsewhere"), "HUAWEICLOUD_SDK_STS_ENDPOINT is an address"),
        (NoSuchHost("Name or service not known"), "HUAWEICLOUD_REGION, or set HUAWEICLOUD_SDK_STS_ENDPOINT"),
    ],
)
def test_a_refusal_is_final_and_says_which_condition_to_check(answer: Response | Exception, mend: str) -> None:
    http, clock = FakeHttp(answer), Clock()
    with pytest.raises(DeploymentFault, match=f"{STS}/v5/agencies/assume-with-oidc .*check .*{mend}"):
        keyless(http, clock).current(clock.deadline())
    assert len(http.sent) == 1


AWS_SAYS: dict[str, Any] = {"service": "STS", "operation": "GetWebIdentityToken", "code": "Oops", "message": "said AWS"}


@pytest.mark.parametrize("error", [AwsRefused(**AWS_SAYS, mend="enable it"), AwsUnavailable(**AWS_SAYS)])
def test_without_a_token_of_aws_huawei_is_not_asked(error: Exception) -> None:
    http, clock = FakeHttp(given()), Clock()
    with pytest.raises(DeploymentFault, match=f"AWS gave no token.*{error}"):
        keyless(http, clock, Tokens(error=error)).current(clock.deadline())
    assert http.sent == []


# When it is made again


def test_keys_are_kept_until_a_sixth_of_their_time_is_left() -> None:
    clock = Clock()
    huawei = Huawei(clock)
    source = keyless(huawei, clock)
    for minute, number in ((0, 1), (1, 1), (49.9, 1), (50, 2), (99.9, 2), (100, 3)):
        clock.seconds = minute * 60
        assert source.current(clock.deadline()) == keys(number)
    assert huawei.given == 3


def test_the_margin_fits_a_shorter_session() -> None:
    clock = Clock()
    source = keyless(Huawei(clock, lasts=timedelta(minutes=15)), clock)
    for minute, number in ((0, 1), (12.4, 1), (12.5, 2)):
        clock.seconds = minute * 60
        assert source.current(clock.deadline()) == keys(number)


def test_keys_out_of_a_snapshot_of_last_week_are_not_used() -> None:
    clock = Clock()
    huawei = Huawei(clock)
    source = keyless(huawei, clock)
    source.current(clock.deadline())
    clock.seconds = 7 * 86_400.0
    assert source.current(clock.deadline()) == keys(2)
    huawei.instead = no(403)
    clock.seconds = 14 * 86_400.0
    with pytest.raises(DeploymentFault):
        source.current(clock.deadline())


@pytest.mark.parametrize("minutes", [0, 55, 61], ids=["first use", "soon to expire", "expired"])
def test_sixteen_threads_make_one_exchange(minutes: int) -> None:
    clock, tokens = Clock(), Tokens()
    huawei = Huawei(clock)
    source = keyless(huawei, clock, tokens)
    if minutes:
        source.current(clock.deadline())
    clock.seconds = minutes * 60.0
    before = huawei.given
    taken = each_of_16(lambda: source.current(clock.deadline()))
    assert (huawei.given, len(tokens.asked)) == (before + 1, before + 1)
    assert source.current(clock.deadline()) == keys(before + 1)
    # Those that are still good may be used while they are renewed; expired ones never.
    assert set(taken) <= ({keys(1), keys(2)} if minutes == 55 else {keys(before + 1)})


def test_while_one_thread_renews_the_others_go_on_with_what_is_still_good() -> None:
    clock, is_renewing, may_end = Clock(), Event(), Event()
    tokens = Tokens()
    source = keyless(Huawei(clock), clock, tokens)
    source.current(clock.deadline())
    clock.seconds = 55 * 60.0
    tokens.waits_for = told(is_renewing, may_end)
    with ThreadPoolExecutor(1) as thread:
        renewing = thread.submit(source.current, clock.deadline())
        assert is_renewing.wait(10)
        assert [source.current(clock.deadline()) for _ in range(3)] == [keys(1)] * 3
        may_end.set()
        assert renewing.result(10) == keys(2)
    assert len(tokens.asked) == 2


def test_an_early_renewal_that_fails_leaves_what_is_still_good_and_pauses() -> None:
    clock, tokens = Clock(), Tokens()
    source = keyless(huawei := Huawei(clock), clock, tokens)
    source.current(clock.deadline())
    huawei.instead = no(403)
    clock.seconds = 50 * 60.0
    assert [source.current(clock.deadline()) for _ in range(100)] == [keys(1)] * 100
    assert len(tokens.asked) == 2
    clock.seconds += REFUSED_FOR.total_seconds()
    assert source.current(clock.deadline()) == keys(1)
    assert len(tokens.asked) == 3
    clock.seconds = 3600.0
    with pytest.raises(DeploymentFault, match="trust policy"):
        source.current(clock.deadline())
    huawei.instead = None
    clock.seconds += REFUSED_FOR.total_seconds()
    assert source.current(clock.deadline()) == keys(2)


def test_an_early_renewal_leaves_half_of_the_time_for_the_work() -> None:
    clock, tokens = Clock(), Tokens()
    source = keyless(Huawei(clock), clock, tokens)
    for minutes in (0, 55, 200):
        clock.seconds = minutes * 60.0
        source.current(clock.deadline(8))
    assert tokens.left == [8, 4, 8]


def test_threads_that_wait_for_an_exchange_share_its_failure() -> None:
    clock, arrived, lock, all_there = Clock(), [0], Lock(), Event()

    def now() -> datetime:
        with lock:
            arrived[0] += 1
            if arrived[0] >= 16:
                all_there.set()
        return clock.now()

    tokens = Tokens(error=AwsUnavailable(**AWS_SAYS), waits_for=lambda: all_there.wait(10))
    source = keyless(Huawei(clock), clock, tokens, now=now)
    taken = each_of_16(lambda: source.current(clock.deadline()))
    assert len(tokens.asked) == 1
    assert len(taken) == 16
    assert {str(each).partition(":")[0] for each in taken} == {"AWS gave no token to show to Huawei Cloud"}


@pytest.mark.parametrize(
    ("of_aws", "of_huawei", "seconds"),
    [
        (AwsRefused(**AWS_SAYS, mend="enable it"), None, 30.0),
        (None, no(403), 30.0),
        (None, NoSuchHost("no such name"), 30.0),
        (None, given(security_token=None), 30.0),
        (AwsUnavailable(**AWS_SAYS), None, 5.0),
        (None, no(500), 5.0),
        (None, NoAnswer("cut"), 5.0),
    ],
)
@pytest.mark.parametrize("refused", [False, True], ids=["first use", "refused"])
def test_an_exchange_that_fails_is_not_repeated_at_once_by_those_who_come_later(
    of_aws: Exception | None, of_huawei: Response | Exception | None, seconds: float, *, refused: bool
) -> None:
    clock, tokens = Clock(), Tokens()
    source = keyless(huawei := Huawei(clock), clock, tokens)
    if refused:
        source.current(clock.deadline())
    before = len(tokens.asked)
    tokens.error, huawei.instead = of_aws, of_huawei

    def ask() -> Credentials | None:
        return source.renewed(keys(1), clock.deadline()) if refused else source.current(clock.deadline())

    with pytest.raises(DeploymentFault):
        ask()
    failed_at = clock.seconds  # some tries later
    tokens.error = huawei.instead = None
    clock.seconds = failed_at + seconds - 0.001
    for _ in range(16):
        with pytest.raises(DeploymentFault, match="from a try less than 30 seconds ago"):
            ask()
        with pytest.raises(DeploymentFault, match="from a try less than 30 seconds ago"):
            source.current(clock.deadline())
    assert len(tokens.asked) == before + 1
    clock.seconds = failed_at + seconds
    assert ask() == keys(before + 1)


def test_nobody_waits_for_another_thread_past_the_deadline() -> None:
    clock, is_asking, may_end = Clock(), Event(), Event()
    source = keyless(Huawei(clock), clock, Tokens(waits_for=told(is_asking, may_end)))
    with ThreadPoolExecutor(1) as thread:
        asking = thread.submit(source.current, clock.deadline())
        assert is_asking.wait(10)
        with pytest.raises(DeploymentFault, match="no time left to wait"):
            source.current(clock.deadline(0))
        with pytest.raises(DeploymentFault, match="no time left to wait"):
            source.renewed(keys(9), clock.deadline(0))
        may_end.set()
        assert asking.result(10) == keys(1)


# Keys that Huawei refuses


def test_refused_keys_are_exchanged_once_whoever_was_refused() -> None:
    clock, tokens = Clock(), Tokens()
    source = keyless(Huawei(clock), clock, tokens)
    refused = source.current(clock.deadline())
    taken = each_of_16(lambda: source.renewed(refused, clock.deadline()))
    assert taken == [keys(2)] * 16
    assert source.current(clock.deadline()) == keys(2)
    assert len(tokens.asked) == 2


def test_refused_keys_are_never_given_again_even_if_there_are_no_others() -> None:
    clock = Clock()
    source = keyless(huawei := Huawei(clock), clock)
    refused = source.current(clock.deadline())
    huawei.instead = no(403)
    for _ in range(2):
        with pytest.raises(DeploymentFault, match="trust policy"):
            source.renewed(refused, clock.deadline())
        with pytest.raises(DeploymentFault, match="trust policy"):
            source.current(clock.deadline())
    huawei.instead = None
    clock.seconds += REFUSED_FOR.total_seconds()
    assert source.renewed(refused, clock.deadline()) == keys(2)


def test_a_project_that_refuses_fresh_keys_does_not_have_them_exchanged_again_and_again() -> None:
    """It is the agency that it refuses, and the keys serve the other projects."""
    clock, tokens = Clock(), Tokens()
    source = keyless(Huawei(clock), clock, tokens)
    refused = source.current(clock.deadline())
    assert source.renewed(refused, clock.deadline()) == keys(2)
    assert each_of_16(lambda: source.renewed(keys(2), clock.deadline())) == [None] * 16
    assert source.current(clock.deadline()) == keys(2)
    assert len(tokens.asked) == 2
    clock.seconds = REFUSED_FOR.total_seconds()
    assert source.renewed(keys(2), clock.deadline()) == keys(3)


# How long keys are good


@pytest.mark.parametrize(
    ("value", "expires_at"),
    [
        ("2026-11-23T09:49:05.123456Z", datetime(2026, 11, 23, 9, 49, 5, 123456, UTC)),
        ("2026-11-23T09:49:05.123Z", datetime(2026, 11, 23, 9, 49, 5, 123000, UTC)),
        ("2026-11-23T09:49:05.123456789Z", datetime(2026, 11, 23, 9, 49, 5, 123456, UTC)),
        ("2026-11-23T09:49:05Z", datetime(2026, 11, 23, 9, 49, 5, 0, UTC)),
        (" 2026-11-23 09:49:05 ", datetime(2026, 11, 23, 9, 49, 5, 0, UTC)),
        ("20261123T094905Z", datetime(2026, 11, 23, 9, 49, 5, 0, UTC)),
        ("2026-11-23T17:49:05+08:00", datetime(2026, 11, 23, 17, 49, 5, 0, timezone(timedelta(hours=8)))),
        (1_795_427_345, datetime(2026, 11, 23, 9, 49, 5, 0, UTC)),
        ("1795427345", datetime(2026, 11, 23, 9, 49, 5, 0, UTC)),
        (1_795_427_345_123, datetime(2026, 11, 23, 9, 49, 5, 123000, UTC)),
        *((odd, None) for odd in ODD),
        ("9999-12-31T23:59:59-14:00", None),
    ],
)
def test_an_expiration_is_read_in_every_form_that_may_be_meant(value: object, expires_at: datetime | None) -> None:
    assert read_expiration(value) == expires_at


@pytest.mark.parametrize("expiration", [None, "soon", "2026-11-23T17:49:05", "2099-01-01T00:00:00.123Z"])
def test_keys_are_never_thought_good_for_longer_than_was_asked(expiration: str | None) -> None:
    clock = Clock()
    http = FakeHttp(given(1, expiration=expiration), given(2, expiration=expiration))
    source = keyless(http, clock)
    for minute, number in ((0, 1), (49.9, 1), (50, 2)):
        clock.seconds = minute * 60
        assert source.current(clock.deadline()) == keys(number)


def test_keys_that_have_expired_on_arrival_point_to_the_clock() -> None:
    http, clock = FakeHttp(given(expires_at=NOW)), Clock()
    with pytest.raises(DeploymentFault, match=r"had expired by 2026-11-23T08:49:05Z; check the clock"):
        keyless(http, clock).current(clock.deadline())


# What nobody may see


@pytest.mark.parametrize(
    "answer",
    [
        response(b"never-shown"),
        response("never-shown"),
        response({"credentials": "never-shown"}),
        response({"credential": {"access": "a", "secret": "never-shown"}}),
        given(access_key_id=""),
        given(secret_access_key=["never-shown"]),
        given(security_token=None),
        given(security_token="never-shown\r\nX-Evil: 1"),
        no(400, message=f"bad token {TOKEN}"),
        no(403, code=TOKEN, message="x" * 490 + TOKEN),
        no(500, message=f"bad token {TOKEN}"),
        response(f"<html>{TOKEN}".encode(), status=403),
        NoAnswer("cut"),
        NoSuchHost("no such name"),
    ],
)
def test_no_fault_shows_the_token_or_a_key(answer: Response | Exception) -> None:
    clock = Clock()
    source = keyless(FakeHttp(answer), clock)
    with pytest.raises(DeploymentFault) as fault:
        source.current(clock.deadline())
    shown = "".join(traceback.format_exception(fault.value))
    assert "never-shown" not in shown
    assert TOKEN[:10] not in shown


def test_no_repr_shows_a_key() -> None:
    clock = Clock()
    source = keyless(Huawei(clock), clock)
    shown = [repr(source.current(clock.deadline())), repr(source), repr(vars(source))]
    assert [text for text in shown if "never-shown" in text or TOKEN in text] == []

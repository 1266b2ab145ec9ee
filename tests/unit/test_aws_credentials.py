from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from botocore.credentials import RefreshableCredentials
from botocore.utils import ContainerMetadataFetcher

from shared.aws_credentials import (
    _PLAIN_HTTP_HOSTS,
    RENEW_BEFORE,
    Credentials,
    CredentialSource,
    CredentialsRefused,
    CredentialsUnavailable,
)
from shared.deadline import Deadline
from shared.fetch_once import REFUSED_FOR
from shared.http import Http, NoAnswer, NoSuchHost, Response

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
ENDPOINT = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:9001/credentials"}
DEADLINE = Deadline(at=100.0, clock=lambda: 0.0)


class Clock:
    def __init__(self) -> None:
        self.time = NOON

    def __call__(self) -> datetime:
        return self.time


class Endpoint(Http):
    """Hands out numbered keys that live an hour, or what was put into `next_answers` first."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.asked: list[tuple[str, str, Mapping[str, str], float]] = []
        self.next_answers: list[Response | Exception] = []

    def send(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes | None, timeout: float
    ) -> Response:
        assert body is None
        self.asked.append((method, url, headers, timeout))
        answer = self.next_answers.pop(0) if self.next_answers else self._keys(len(self.asked))
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _keys(self, number: int) -> Response:
        expiration = (self._clock() + timedelta(hours=1)).isoformat().replace("+00:00", "Z")
        keys = {"AccessKeyId": f"K{number}", "SecretAccessKey": "s3cr3t", "Token": "t0k3n", "Expiration": expiration}
        return answer(200, json.dumps({"RoleArn": "arn:aws:iam::123456789012:role/r", **keys}))


def answer(status: int, body: str) -> Response:
    return Response(status=status, headers={}, body=body.encode())


def source(environment: Mapping[str, str], clock: Clock | None = None) -> tuple[CredentialSource, Endpoint]:
    clock = clock or Clock()
    endpoint = Endpoint(clock)
    return CredentialSource(http=endpoint, environment=environment, now=clock), endpoint


def test_keys_of_the_environment_win_over_the_container_endpoint() -> None:
    keys = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "s3cr3t", "AWS_SESSION_TOKEN": "t0k3n"}
    credentials, endpoint = source(ENDPOINT | keys)
    assert credentials.current(deadline=DEADLINE) == Credentials("AKIDEXAMPLE", "s3cr3t", "t0k3n", None)
    assert endpoint.asked == []


def test_long_lived_keys_have_no_session_token() -> None:
    credentials, _ = source({"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": ""})
    assert credentials.current(deadline=DEADLINE).session_token is None


def test_half_a_key_pair_is_refused_by_name() -> None:
    credentials, _ = source({"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE"})
    with pytest.raises(CredentialsRefused, match="AWS_SECRET_ACCESS_KEY is not"):
        credentials.current(deadline=DEADLINE)


def test_no_credentials_at_all_names_the_variables() -> None:
    credentials, _ = source({})
    with pytest.raises(CredentialsRefused) as refusal:
        credentials.current(deadline=DEADLINE)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "_RELATIVE_URI"):
        assert name in str(refusal.value)


def test_the_environment_is_read_at_use_for_a_restored_snapshot_has_another_one() -> None:
    environment = {"AWS_ACCESS_KEY_ID": "AT-INIT", "AWS_SECRET_ACCESS_KEY": "s3cr3t"}
    credentials, _ = source(environment)
    assert credentials.current(deadline=DEADLINE).access_key_id == "AT-INIT"
    environment.clear()
    environment.update(ENDPOINT)
    assert credentials.current(deadline=DEADLINE).access_key_id == "K1"


@pytest.mark.parametrize("field", ["access_key_id", "secret_access_key", "session_token"])
@pytest.mark.parametrize("flaw", ["s3cr3t\n", "s3cr3t\r\nX-Other: 1", "s3 cr3t", "s3cr3tü", ""])
def test_a_key_with_a_stray_character_is_refused_without_being_printed(field: str, flaw: str) -> None:
    values: dict[str, str] = {"access_key_id": "A", "secret_access_key": "B", "session_token": "C", field: flaw}
    with pytest.raises(CredentialsRefused, match=field) as refusal:
        Credentials(**values, expires_at=None)
    assert "s3" not in str(refusal.value)


def test_a_printed_key_pair_shows_no_secret() -> None:
    printed = repr(Credentials("AKIDEXAMPLE", "s3cr3t", "t0k3n", NOON))
    assert "AKIDEXAMPLE" in printed
    assert "s3cr3t" not in printed
    assert "t0k3n" not in printed


def test_container_credentials_are_fetched_once_and_again_before_they_expire() -> None:
    clock = Clock()
    credentials, endpoint = source(ENDPOINT, clock)
    first = credentials.current(deadline=DEADLINE)
    assert first == Credentials("K1", "s3cr3t", "t0k3n", NOON + timedelta(hours=1))
    clock.time = NOON + timedelta(hours=1) - RENEW_BEFORE - timedelta(seconds=1)
    assert credentials.current(deadline=DEADLINE) is first
    clock.time += timedelta(seconds=1)
    assert credentials.current(deadline=DEADLINE).access_key_id == "K2"
    assert [url for _, url, _, _ in endpoint.asked] == ["http://127.0.0.1:9001/credentials"] * 2


def test_a_snapshot_restored_days_later_fetches_anew() -> None:
    clock = Clock()
    credentials, _ = source(ENDPOINT, clock)
    credentials.current(deadline=DEADLINE)
    clock.time += timedelta(days=14)
    assert credentials.current(deadline=DEADLINE).access_key_id == "K2"


@pytest.mark.parametrize(
    "failure", [NoAnswer("cut"), NoSuchHost("gone"), answer(500, ""), answer(403, ""), answer(200, "<html>")]
)
def test_a_failed_early_renewal_leaves_the_old_keys_in_use_until_they_expire(failure: Response | Exception) -> None:
    clock = Clock()
    credentials, endpoint = source(ENDPOINT, clock)
    first = credentials.current(deadline=DEADLINE)
    endpoint.next_answers += [failure, failure]
    clock.time = NOON + timedelta(hours=1) - timedelta(seconds=1)
    assert credentials.current(deadline=DEADLINE) is first
    clock.time = NOON + timedelta(hours=1)
    with pytest.raises((CredentialsUnavailable, CredentialsRefused)):
        credentials.current(deadline=DEADLINE)


class SlowEndpoint(Endpoint):
    """Answers once `speak` is set."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.reached, self.speak = threading.Event(), threading.Event()

    def send(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes | None, timeout: float
    ) -> Response:
        self.reached.set()
        assert self.speak.wait(10)
        return super().send(method, url, headers=headers, body=body, timeout=timeout)


def test_sixteen_threads_on_a_cold_cache_fetch_once() -> None:
    clock = Clock()
    endpoint = SlowEndpoint(clock)
    credentials = CredentialSource(http=endpoint, environment=ENDPOINT, now=clock)
    with ThreadPoolExecutor(16) as pool:
        asking = [pool.submit(credentials.current, deadline=DEADLINE) for _ in range(16)]
        assert endpoint.reached.wait(10)
        time.sleep(0.1)  # lets the other fifteen come as far as the lock
        endpoint.speak.set()
        found = {each.result(10).access_key_id for each in asking}
    assert found == {"K1"}
    assert len(endpoint.asked) == 1


class Arrivals:
    """A clock that stands still. `all_there`: once `most` threads have read it to know how long they may wait."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._come = 0
        self._lock = threading.Lock()
        self.all_there = threading.Event()

    def __call__(self) -> float:
        with self._lock:
            self._come += 1
            if self._come >= self._most:
                self.all_there.set()
        return 0.0


@pytest.mark.parametrize("failure", [NoAnswer("cut"), answer(500, ""), answer(403, "")])
def test_sixteen_threads_share_a_fetch_that_fails(failure: Response | Exception) -> None:
    clock, arrivals = Clock(), Arrivals(17)  # the thread that fetches reads the clock twice
    endpoint = SlowEndpoint(clock)
    endpoint.next_answers = [failure] * 16
    credentials = CredentialSource(http=endpoint, environment=ENDPOINT, now=clock)
    with ThreadPoolExecutor(16) as pool:
        asking = [pool.submit(credentials.current, deadline=Deadline(at=60.0, clock=arrivals)) for _ in range(16)]
        assert arrivals.all_there.wait(10)
        endpoint.speak.set()
        failed = {type(each.exception(10)) for each in asking}
    assert failed <= {CredentialsUnavailable, CredentialsRefused}
    assert (len(failed), len(endpoint.asked)) == (1, 1)


def test_while_one_thread_renews_early_the_others_go_on_and_a_failure_is_not_repeated_at_once() -> None:
    clock = Clock()
    endpoint = SlowEndpoint(clock)
    endpoint.speak.set()
    credentials = CredentialSource(http=endpoint, environment=ENDPOINT, now=clock)
    first = credentials.current(deadline=DEADLINE)
    clock.time += timedelta(minutes=55)
    endpoint.reached.clear()
    endpoint.speak.clear()
    endpoint.next_answers = [NoAnswer("cut")]
    with ThreadPoolExecutor(1) as pool:
        renewing = pool.submit(credentials.current, deadline=DEADLINE)
        assert endpoint.reached.wait(10)
        assert credentials.current(deadline=DEADLINE) is first
        endpoint.speak.set()
        assert renewing.result(10) is first
    assert [credentials.current(deadline=DEADLINE) for _ in range(16)] == [first] * 16
    assert len(endpoint.asked) == 2
    clock.time += REFUSED_FOR
    assert credentials.current(deadline=DEADLINE).access_key_id == "K3"


def test_credentials_are_forgotten_while_another_thread_fetches() -> None:
    clock = Clock()
    endpoint = SlowEndpoint(clock)
    endpoint.speak.set()
    credentials = CredentialSource(http=endpoint, environment=ENDPOINT, now=clock)
    first = credentials.current(deadline=DEADLINE)
    clock.time += timedelta(minutes=55)
    endpoint.reached.clear()
    endpoint.speak.clear()
    with ThreadPoolExecutor(2) as pool:
        renewing = pool.submit(credentials.current, deadline=DEADLINE)
        assert endpoint.reached.wait(10)
        assert pool.submit(credentials.forget, first).result(10), "it waits for nothing"
        with pytest.raises(CredentialsUnavailable, match="no time left to wait for the AWS credentials"):
            credentials.current(deadline=Deadline(at=0.05, clock=lambda: 0.0))
        endpoint.speak.set()
        assert renewing.result(10).access_key_id == "K2"


def test_a_refusal_is_remembered_for_a_short_time() -> None:
    clock = Clock()
    credentials, endpoint = source(ENDPOINT, clock)
    endpoint.next_answers = [answer(403, "")]
    for _ in range(16):
        with pytest.raises(CredentialsRefused, match="answered 403"):
            credentials.current(deadline=DEADLINE)
    assert len(endpoint.asked) == 1
    clock.time += REFUSED_FOR
    assert credentials.current(deadline=DEADLINE).access_key_id == "K2"


def test_a_thread_waits_for_another_ones_fetch_no_longer_than_its_deadline() -> None:
    clock = Clock()
    endpoint = SlowEndpoint(clock)
    credentials = CredentialSource(http=endpoint, environment=ENDPOINT, now=clock)
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(credentials.current, deadline=DEADLINE)
        assert endpoint.reached.wait(10)
        with pytest.raises(CredentialsUnavailable, match="no time left"):
            credentials.current(deadline=Deadline(at=0.05, clock=lambda: 0.0))
        endpoint.speak.set()
        assert other.result(10).access_key_id == "K1"


def test_nothing_is_fetched_past_the_deadline() -> None:
    credentials, endpoint = source(ENDPOINT)
    with pytest.raises(CredentialsUnavailable, match="no time left"):
        credentials.current(deadline=Deadline(at=0.0, clock=lambda: 0.0))
    assert endpoint.asked == []


@pytest.mark.parametrize(("left", "timeout"), [(100.0, ContainerMetadataFetcher.TIMEOUT_SECONDS), (0.5, 0.5)])
def test_a_fetch_is_given_two_seconds_or_what_is_left(left: float, timeout: float) -> None:
    credentials, endpoint = source(ENDPOINT)
    credentials.current(deadline=Deadline(at=left, clock=lambda: 0.0))
    assert endpoint.asked[0][3] == timeout


def test_expired_container_credentials_are_forgotten_once() -> None:
    credentials, endpoint = source(ENDPOINT)
    first = credentials.current(deadline=DEADLINE)
    assert credentials.forget(first)
    second = credentials.current(deadline=DEADLINE)
    assert credentials.forget(first), "a slower thread may try again too"
    assert credentials.current(deadline=DEADLINE) is second, "but does not throw the new ones away"
    assert len(endpoint.asked) == 2


def test_keys_of_the_environment_cannot_be_renewed() -> None:
    credentials, _ = source({"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "s3cr3t"})
    assert not credentials.forget(credentials.current(deadline=DEADLINE))


def test_the_relative_address_is_that_of_ecs_and_wins_as_in_botocore() -> None:
    credentials, endpoint = source(ENDPOINT | {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/credentials?id=1"})
    credentials.current(deadline=DEADLINE)
    assert endpoint.asked[0][1] == f"http://{ContainerMetadataFetcher.IP_ADDRESS}/v2/credentials?id=1"


def test_a_relative_address_cannot_name_another_host() -> None:
    credentials, endpoint = source({"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": ".example.com/"})
    with pytest.raises(CredentialsRefused, match="begin with /"):
        credentials.current(deadline=DEADLINE)
    assert endpoint.asked == []


@pytest.mark.parametrize(
    "url",
    [
        "https://credentials.example.com/",
        "http://127.0.0.1:9001/",
        "http://127.9.9.9/",
        "http://[::1]:9001/",
        "http://localhost/",
        "http://169.254.170.2/v2",
        "http://169.254.170.23/v1/credentials",
        "http://[fd00:ec2::23]/v1/credentials",
    ],
)
def test_the_token_goes_to_https_and_to_the_hosts_botocore_allows(url: str) -> None:
    vars(ContainerMetadataFetcher)["_validate_allowed_url"](ContainerMetadataFetcher(), url)
    credentials, endpoint = source({"AWS_CONTAINER_CREDENTIALS_FULL_URI": url})
    credentials.current(deadline=DEADLINE)
    assert endpoint.asked[0][1] == url


@pytest.mark.parametrize(
    "url",
    [
        "http://credentials.example.com/",
        "http://169.254.169.254/latest",
        "http://localhost.example.com/",
        "http://127.0.0.1@example.com/",
        "http://example.com\\@127.0.0.1/",
        "http://[::1",
        "http://",
        "ftp://127.0.0.1/",
        "127.0.0.1/credentials",
    ],
)
def test_the_token_goes_nowhere_else(url: str) -> None:
    environment = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": url, "AWS_CONTAINER_AUTHORIZATION_TOKEN": "t0k3n"}
    credentials, endpoint = source(environment)
    with pytest.raises(CredentialsRefused, match=r"169\.254\.170\.23"):
        credentials.current(deadline=DEADLINE)
    assert endpoint.asked == []


def test_the_plain_http_hosts_and_the_renewal_are_botocores() -> None:
    assert set(vars(ContainerMetadataFetcher)["_ALLOWED_HOSTS"]) == _PLAIN_HTTP_HOSTS
    assert vars(RefreshableCredentials)["_mandatory_refresh_timeout"] == RENEW_BEFORE.total_seconds()


def test_the_token_in_the_environment_is_sent_along() -> None:
    credentials, endpoint = source(ENDPOINT | {"AWS_CONTAINER_AUTHORIZATION_TOKEN": "Basic t0k3n"})
    credentials.current(deadline=DEADLINE)
    assert endpoint.asked[0][2]["Authorization"] == "Basic t0k3n"


def test_the_token_in_a_file_wins_and_is_read_every_time(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first", encoding="utf-8")
    environment = {
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(file),
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": "unused",
    }
    credentials, endpoint = source(ENDPOINT | environment)
    credentials.forget(credentials.current(deadline=DEADLINE))
    file.write_text("second", encoding="utf-8")
    credentials.current(deadline=DEADLINE)
    assert [headers["Authorization"] for _, _, headers, _ in endpoint.asked] == ["first", "second"]


def test_without_a_token_none_is_sent() -> None:
    credentials, endpoint = source(ENDPOINT)
    credentials.current(deadline=DEADLINE)
    assert endpoint.asked[0][2] == {"Accept": "application/json"}


@pytest.mark.parametrize("content", [b"t0k3n\n", b"t0k3n\r\nX-Other: 1", b"\xff\xfe"])
def test_a_token_file_that_is_no_header_is_refused_without_being_printed(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)
    credentials, endpoint = source(ENDPOINT | {"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(file)})
    with pytest.raises(CredentialsRefused) as refusal:
        credentials.current(deadline=DEADLINE)
    assert "t0k3n" not in str(refusal.value)
    assert endpoint.asked == []


def test_a_missing_token_file_is_refused_by_the_name_of_its_variable(tmp_path: Path) -> None:
    credentials, _ = source(ENDPOINT | {"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(tmp_path / "none")})
    with pytest.raises(CredentialsRefused, match="TOKEN_FILE cannot be read: FileNotFoundError"):
        credentials.current(deadline=DEADLINE)


@pytest.mark.parametrize("failure", [NoAnswer("cut"), answer(500, ""), answer(503, ""), answer(429, "")])
def test_a_sick_endpoint_is_unavailable_and_asked_anew_next_time(failure: Response | Exception) -> None:
    credentials, endpoint = source(ENDPOINT)
    endpoint.next_answers.append(failure)
    with pytest.raises(CredentialsUnavailable):
        credentials.current(deadline=DEADLINE)
    assert credentials.current(deadline=DEADLINE).access_key_id == "K2"


GOOD = {"AccessKeyId": "K", "SecretAccessKey": "s3cr3t", "Token": "t0k3n", "Expiration": "2026-11-23T13:00:00Z"}


@pytest.mark.parametrize(
    "failure",
    [
        NoSuchHost("unknown name"),
        answer(302, ""),
        answer(401, "s3cr3t"),
        answer(404, "s3cr3t"),
        answer(200, ""),
        answer(200, "s3cr3t"),
        answer(200, '["s3cr3t"]'),
        answer(200, json.dumps(GOOD | {"Expiration": "tomorrow"})),
        answer(200, json.dumps(GOOD | {"Expiration": "2026-11-23T13:00:00"})),
        answer(200, json.dumps(GOOD | {"Expiration": 1795438800})),
        answer(200, json.dumps(GOOD | {"SecretAccessKey": None})),
        answer(200, json.dumps(GOOD | {"Token": "t0k3n\n"})),
        *(answer(200, json.dumps({k: v for k, v in GOOD.items() if k != gone})) for gone in GOOD if gone != "Token"),
    ],
)
def test_an_endpoint_that_gives_no_credentials_is_refused_and_nothing_of_it_printed(
    failure: Response | Exception,
) -> None:
    credentials, endpoint = source(ENDPOINT)
    endpoint.next_answers.append(failure)
    with pytest.raises(CredentialsRefused) as refusal:
        credentials.current(deadline=DEADLINE)
    assert "s3cr3t" not in str(refusal.value)
    assert "t0k3n" not in str(refusal.value)

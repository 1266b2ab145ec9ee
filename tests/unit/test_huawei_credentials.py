"""Keys for Huawei Cloud: where they come from, when they are read again, and that nobody sees them."""

from __future__ import annotations

import json
import traceback
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event
from typing import TYPE_CHECKING, Any

import pytest

from shared.aws import AwsRefused, AwsUnavailable
from shared.errors import DeploymentFault
from shared.huawei.credentials import Credentials, FixedCredentials, SecretCredentials
from tests.fakes import KEY, Clock, FakeAws

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.deadline import Deadline
    from shared.huawei.credentials import SecretReader

DEADLINE = Clock().deadline()
OLD, NEW = Credentials("AK-1", "SK-1"), Credentials("AK-2", "SK-2")


def secret(credentials: Credentials) -> str:
    return json.dumps({"ak": credentials.ak, "sk": credentials.sk})


def source(*versions: str) -> SecretCredentials:
    """Return credentials of a secret that says another version at each read, the last for ever."""
    return of(FakeAws(secrets={"s": list(versions)}))


def of(secrets: SecretReader, clock: Clock | None = None) -> SecretCredentials:
    return SecretCredentials(secrets=secrets, secret_id="s", now=(clock or Clock()).now)


class CountingSecrets:
    """Counts reads: each says another of `versions`, the last for ever; an exception is raised.

    `waits_for`: before it answers.
    """

    def __init__(self, *versions: str | Exception, waits_for: Callable[[], object] = lambda: None) -> None:
        self.versions = versions
        self.waits_for = waits_for
        self.reads = 0

    def secret_string(self, secret_id: str, *, deadline: Deadline) -> str:
        assert (secret_id, deadline) == ("s", DEADLINE)
        self.reads += 1
        self.waits_for()
        version = self.versions[min(self.reads, len(self.versions)) - 1]
        if isinstance(version, Exception):
            raise version
        return version


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


AWS_SAYS: dict[str, Any] = {"service": "Secrets Manager", "operation": "GetSecretValue"}
DENIED = AwsRefused(**AWS_SAYS, code="AccessDeniedException", message="not you", mend="allow it")
THROTTLED = AwsUnavailable(**AWS_SAYS, code="ThrottlingException", message="slow down")
NO_JSON = "SK-very-secret"
FAILURES = pytest.mark.parametrize(
    ("failure", "seconds"), [(DENIED, 30.0), (NO_JSON, 30.0), (THROTTLED, 5.0)], ids=["denied", "no JSON", "throttled"]
)
"""Reads that fail, and for how many seconds that is remembered."""


def test_fixed_keys_are_what_they_are_and_nothing_renews_them() -> None:
    keys = FixedCredentials(KEY)
    assert keys.current(DEADLINE) is KEY
    assert keys.renewed(KEY, DEADLINE) is None


def test_a_secret_is_read_once_a_process() -> None:
    secrets = CountingSecrets(secret(OLD), secret(NEW))
    keys = of(secrets)
    assert [keys.current(DEADLINE) for _ in range(3)] == [OLD] * 3
    assert secrets.reads == 1


def test_a_rotation_is_followed_when_huawei_refuses_the_old_key() -> None:
    keys = source(secret(OLD), secret(NEW))
    assert keys.current(DEADLINE) == OLD
    assert keys.renewed(OLD, DEADLINE) == NEW
    assert keys.current(DEADLINE) == NEW


def test_a_secret_that_still_says_the_same_has_no_other_key() -> None:
    keys = source(secret(OLD))
    assert keys.renewed(keys.current(DEADLINE), DEADLINE) is None


@pytest.mark.parametrize("refused", [False, True], ids=["first use", "refused"])
def test_threads_that_come_together_read_the_secret_once(*, refused: bool) -> None:
    secrets = CountingSecrets(secret(OLD), secret(NEW))
    keys = of(secrets)
    if refused:
        keys.current(DEADLINE)
    taken = each_of_16(lambda: keys.renewed(OLD, DEADLINE) if refused else keys.current(DEADLINE))
    assert taken == [NEW if refused else OLD] * 16
    assert secrets.reads == (2 if refused else 1)


# A read that fails


@FAILURES
@pytest.mark.parametrize("refused", [False, True], ids=["first use", "refused"])
def test_a_read_that_fails_is_shared_by_sixteen_threads_and_not_repeated_at_once(
    failure: str | Exception, seconds: float, *, refused: bool
) -> None:
    clock = Clock()
    secrets = CountingSecrets(*([secret(OLD)] if refused else []), failure)
    keys = of(secrets, clock)
    if refused:
        keys.current(DEADLINE)
    before = secrets.reads

    def ask() -> Credentials | None:
        return keys.renewed(OLD, DEADLINE) if refused else keys.current(DEADLINE)

    taken = each_of_16(ask)
    clock.seconds = seconds - 0.001
    for _ in range(16):
        with pytest.raises(
            DeploymentFault, match=r"^HUAWEICLOUD_SECRET_ID: .*\(from a try less than 30 seconds ago\)$"
        ) as no:
            ask()
        taken.append(str(no.value))
    assert secrets.reads == before + 1
    assert {str(each).partition(":")[0] for each in taken} == {"HUAWEICLOUD_SECRET_ID"}
    assert [each for each in taken if "very-secret" in str(each)] == []
    secrets.versions = (secret(NEW),)
    clock.seconds = seconds
    assert ask() == keys.current(DEADLINE) == NEW
    assert secrets.reads == before + 2


@FAILURES
def test_keys_that_one_project_refuses_serve_the_others_though_the_secret_cannot_be_read(
    failure: str | Exception, seconds: float
) -> None:
    clock = Clock()
    keys = of(CountingSecrets(secret(OLD), failure), clock)
    keys.current(DEADLINE)
    for at in (0.0, seconds):
        clock.seconds = at
        with pytest.raises(DeploymentFault):
            keys.renewed(OLD, DEADLINE)
        assert keys.current(DEADLINE) == OLD


def test_keys_that_stay_refused_are_read_again_once_and_a_rotation_is_followed_soon() -> None:
    clock, secrets = Clock(), CountingSecrets(secret(OLD))
    keys = of(secrets, clock)
    keys.current(DEADLINE)
    assert each_of_16(lambda: keys.renewed(OLD, DEADLINE)) == [None] * 16
    secrets.versions = (secret(NEW),)
    clock.seconds = 29.999
    assert keys.renewed(OLD, DEADLINE) is None
    assert secrets.reads == 2
    clock.seconds = 30.0
    assert keys.renewed(OLD, DEADLINE) == keys.current(DEADLINE) == NEW
    assert secrets.reads == 3


@pytest.mark.parametrize("refused", [False, True], ids=["first use", "refused"])
def test_a_thread_waits_for_a_read_that_hangs_no_longer_than_its_deadline(*, refused: bool) -> None:
    is_reading, may_end = Event(), Event()
    secrets = CountingSecrets(secret(OLD))
    keys = of(secrets)
    if refused:
        keys.current(DEADLINE)

    def hang() -> None:
        is_reading.set()
        assert may_end.wait(10)

    secrets.waits_for = hang
    with ThreadPoolExecutor(1) as thread:
        reading = thread.submit(keys.renewed, OLD, DEADLINE) if refused else thread.submit(keys.current, DEADLINE)
        assert is_reading.wait(10)
        # What Huawei has just refused is sent by no thread before it is known whether there are other keys.
        with pytest.raises(DeploymentFault, match="no time left to wait for the secret with the keys"):
            keys.current(Clock().deadline(0.05))
        with pytest.raises(DeploymentFault, match="no time left to wait for the secret with the keys"):
            keys.renewed(OLD, Clock().deadline(0.05))
        assert not reading.done()
        may_end.set()
        assert reading.result(10) == (None if refused else OLD)


def test_a_pasted_line_break_around_a_key_of_a_secret_does_no_harm() -> None:
    assert source('{"ak": " AK-1\\n", "sk": "SK-1\\r\\n"}').current(DEADLINE) == OLD


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("SK-very-secret", "the JSON"),
        ('"SK-very-secret"', "the JSON"),
        ("[]", "the JSON"),
        ("", "the JSON"),
        ('{"ak": "AK-1"}', "sk"),
        ('{"sk": "SK-very-secret"}', "ak"),
        ('{"ak": "", "sk": "SK-very-secret"}', "ak"),
        ('{"ak": 1, "sk": ["SK-very-secret"]}', "ak, sk"),
        ('{"AK": "AK-1", "SK": "SK-very-secret"}', "ak, sk"),
    ],
)
def test_a_secret_of_another_shape_is_named_and_not_shown(text: str, wrong: str) -> None:
    with pytest.raises(DeploymentFault, match=rf"HUAWEICLOUD_SECRET_ID: .*; wrong: {wrong}$") as fault:
        source(text).current(DEADLINE)
    assert "very-secret" not in "".join(traceback.format_exception(fault.value))


@pytest.mark.parametrize(
    ("ak", "sk", "token", "name"),
    [
        ("", "SK", None, "access key"),
        ("AK 1", "SK", None, "access key"),
        ("AK-1\n", "SK", None, "access key"),
        ("AK-1", " ", None, "secret key"),
        ("AK-1", "SK\u200b", None, "secret key"),
        ("AK-1", "SK", "", "security token"),
        ("AK-1", "SK", "a\r\nX-Evil: 1", "security token"),
    ],
)
def test_what_cannot_be_a_key_is_refused_before_huawei_could_lock_it(
    ak: str, sk: str, token: str | None, name: str
) -> None:
    with pytest.raises(DeploymentFault, match=f"Huawei Cloud's {name} is empty or holds"):
        Credentials(ak, sk, token)


@pytest.mark.parametrize(("error", "words"), [(THROTTLED, "slow down"), (DENIED, "not you")])
def test_a_secret_that_cannot_be_read_is_the_deployment_s_fault(error: Exception, words: str) -> None:
    with pytest.raises(DeploymentFault, match=rf"HUAWEICLOUD_SECRET_ID: the secret could not be read: .*{words}"):
        of(FakeAws(error=error)).current(DEADLINE)


def test_no_repr_shows_a_key() -> None:
    shown = [repr(KEY), str(KEY), f"{KEY}", repr(FixedCredentials(KEY)), repr(source(secret(KEY)))]
    assert [text for text in shown if KEY.sk in text or str(KEY.security_token) in text] == []

"""Keys for Huawei Cloud: where they come from, when they are read again, and that nobody sees them."""

from __future__ import annotations

import json
import traceback
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING

import pytest

from shared.aws import AwsRefused, AwsUnavailable
from shared.errors import DeploymentFault
from shared.huawei.credentials import Credentials, FixedCredentials, SecretCredentials
from tests.fakes import KEY, Clock, FakeAws

if TYPE_CHECKING:
    from shared.deadline import Deadline

DEADLINE = Clock().deadline()
OLD, NEW = Credentials("AK-1", "SK-1"), Credentials("AK-2", "SK-2")


def secret(credentials: Credentials) -> str:
    return json.dumps({"ak": credentials.ak, "sk": credentials.sk})


def source(*versions: str) -> SecretCredentials:
    """Give credentials of a secret that says another version at each read, the last for ever."""
    return SecretCredentials(secrets=FakeAws(secrets={"s": list(versions)}), secret_id="s")


class CountingSecrets:
    """Every read takes its time, and is counted."""

    def __init__(self, *versions: str) -> None:
        self._versions = versions
        self.reads = 0

    def secret_string(self, secret_id: str, *, deadline: Deadline) -> str:
        assert (secret_id, deadline) == ("s", DEADLINE)
        self.reads += 1
        return self._versions[min(self.reads, len(self._versions)) - 1]


def test_fixed_keys_are_what_they_are_and_nothing_renews_them() -> None:
    keys = FixedCredentials(KEY)
    assert keys.current(DEADLINE) is KEY
    assert keys.renewed(KEY, DEADLINE) is None


def test_a_secret_is_read_once_a_process() -> None:
    secrets = CountingSecrets(secret(OLD), secret(NEW))
    keys = SecretCredentials(secrets=secrets, secret_id="s")
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
    keys = SecretCredentials(secrets=secrets, secret_id="s")
    together = Barrier(16)
    if refused:
        keys.current(DEADLINE)

    def take(_: int) -> Credentials | None:
        together.wait(10)
        return keys.renewed(OLD, DEADLINE) if refused else keys.current(DEADLINE)

    with ThreadPoolExecutor(16) as threads:
        taken = list(threads.map(take, range(16)))
    assert taken == [NEW if refused else OLD] * 16
    assert secrets.reads == (2 if refused else 1)


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


@pytest.mark.parametrize(
    "error",
    [
        AwsUnavailable(service="Secrets Manager", operation="GetSecretValue", code="Throttling", message="slow down"),
        AwsRefused(
            service="Secrets Manager", operation="GetSecretValue", code="AccessDenied", message="slow down", mend=""
        ),
    ],
)
def test_a_secret_that_cannot_be_read_is_the_deployment_s_fault(error: Exception) -> None:
    keys = SecretCredentials(secrets=FakeAws(error=error), secret_id="s")
    with pytest.raises(DeploymentFault, match=r"HUAWEICLOUD_SECRET_ID: the secret could not be read: .*slow down"):
        keys.current(DEADLINE)


def test_no_repr_shows_a_key() -> None:
    shown = [repr(KEY), str(KEY), f"{KEY}", repr(FixedCredentials(KEY)), repr(source(secret(KEY)))]
    assert [text for text in shown if KEY.sk in text or str(KEY.security_token) in text] == []

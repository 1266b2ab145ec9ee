"""Where the keys for Huawei Cloud come from: the environment (local use), or a secret in AWS Secrets Manager.

A source is shared by all threads of a warm process. Keys never appear in a repr, a log or an error.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.aws import AwsRefused, AwsUnavailable
from shared.errors import DeploymentFault
from shared.fetch_once import FetchOnce

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from shared.deadline import Deadline

_VISIBLE_ASCII: Final = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True)
class Credentials:
    """An access key as the SDK's signers take it (`ak`, `sk`), with the token of temporary ones.

    Raises `DeploymentFault` for what cannot be one, and does not show it.
    """

    ak: str
    sk: str = field(repr=False)
    security_token: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        values = {"access key": self.ak, "secret key": self.sk, "security token": self.security_token}
        for name, value in values.items():
            # A pasted line break would end in a signature that Huawei refuses, and refusals lock a key.
            if value is not None and not _VISIBLE_ASCII.fullmatch(value):
                raise DeploymentFault(f"Huawei Cloud's {name} is empty or holds a blank, a line break or the like")


class CredentialSource(Protocol):
    """Returns the credentials to sign with. Raises `DeploymentFault` when there are none."""

    def current(self, deadline: Deadline) -> Credentials:
        """Return the valid credentials."""

    def renewed(self, refused: Credentials, deadline: Deadline) -> Credentials | None:
        """Return others in place of some that Huawei refused, or `None` when there are no others."""


class FixedCredentials:
    """Keys out of the environment. Nothing can renew them."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def current(self, deadline: Deadline) -> Credentials:  # noqa: ARG002 - needs no time
        """Return the one pair there is."""
        return self._credentials

    def renewed(self, refused: Credentials, deadline: Deadline) -> Credentials | None:  # noqa: ARG002 - same
        """Return `None`: there is no other."""
        return None


class SecretReader(Protocol):
    """The part of AWS Secrets Manager that is used here."""

    def secret_string(self, secret_id: str, *, deadline: Deadline) -> str:
        """Return the text of the secret's current version."""


class _Secret(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    ak: str = Field(min_length=1)
    sk: str = Field(min_length=1)


class SecretCredentials:
    """Keys out of a secret `{"ak", "sk"}`: read once a process, and once more when Huawei refuses them.

    So a rotation is followed without a restart. A read that failed, or brought no keys that Huawei accepts, is not
    repeated at once (`shared.fetch_once`).
    """

    def __init__(self, *, secrets: SecretReader, secret_id: str, now: Callable[[], datetime]) -> None:
        self._secrets = secrets
        self._secret_id = secret_id
        self._current: Credentials | None = None
        self._once = FetchOnce(
            "the secret with the keys for Huawei Cloud",
            now=now,
            timed_out=DeploymentFault,
            faults=(DeploymentFault,),
            is_transient=lambda fault: isinstance(fault.__cause__, AwsUnavailable),
        )

    def current(self, deadline: Deadline) -> Credentials:
        """Return the keys, read on first use; threads that come meanwhile wait for the same read."""
        return self._once.get(lambda: self._current, self._read, deadline)

    def renewed(self, refused: Credentials, deadline: Deadline) -> Credentials | None:
        """Read the secret again, unless another thread has already; `None` if there are no others in it.

        If Huawei refuses what was read, or it was the same, the secret is not read again for a while.
        """

        def other() -> Credentials | None:
            return None if self._current == refused else self._current

        def read_again(deadline: Deadline) -> Credentials | None:
            self._read(deadline)
            return other()

        return self._once.renew(other, read_again, deadline)

    def _read(self, deadline: Deadline) -> Credentials:
        try:
            text = self._secrets.secret_string(self._secret_id, deadline=deadline)
        except (AwsRefused, AwsUnavailable) as error:
            raise DeploymentFault(f"HUAWEICLOUD_SECRET_ID: the secret could not be read: {error}") from error
        try:
            secret = _Secret.model_validate_json(text)
        except ValidationError as error:
            # `from None`: the error carries the secret's text.
            wrong = ", ".join(str(each["loc"][0]) if each["loc"] else "the JSON" for each in error.errors())
            raise DeploymentFault(
                f'HUAWEICLOUD_SECRET_ID: the secret should be JSON {{"ak": "…", "sk": "…"}}; wrong: {wrong}'
            ) from None
        self._current = Credentials(ak=secret.ak.strip(), sk=secret.sk.strip())
        return self._current

"""Where the keys for Huawei Cloud come from: the environment (local use), or a secret in AWS Secrets Manager.

A source is shared by all threads of a warm process. Keys never appear in a repr, a log or an error.
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.aws import AwsRefused, AwsUnavailable
from shared.errors import DeploymentFault

if TYPE_CHECKING:
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
    """Gives the credentials to sign with. Raises `DeploymentFault` when there are none."""

    def current(self, deadline: Deadline) -> Credentials:
        """Give the credentials in force."""

    def renewed(self, refused: Credentials, deadline: Deadline) -> Credentials | None:
        """Give others in place of some that Huawei refused, or `None` when there are no others."""


class FixedCredentials:
    """Keys out of the environment. Nothing can renew them."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def current(self, deadline: Deadline) -> Credentials:  # noqa: ARG002 - needs no time
        """Give the one pair there is."""
        return self._credentials

    def renewed(self, refused: Credentials, deadline: Deadline) -> Credentials | None:  # noqa: ARG002 - same
        """Say that there is no other."""
        return None


class SecretReader(Protocol):
    """The part of AWS Secrets Manager that is used here."""

    def secret_string(self, secret_id: str, *, deadline: Deadline) -> str:
        """Give the text of the secret's current version."""


class _Secret(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    ak: str = Field(min_length=1)
    sk: str = Field(min_length=1)


class SecretCredentials:
    """Keys out of a secret `{"ak", "sk"}`: read once a process, and once more when Huawei refuses them.

    So a rotation is followed without a restart, and a wrong secret is not asked for again and again.
    """

    def __init__(self, *, secrets: SecretReader, secret_id: str) -> None:
        self._secrets = secrets
        self._secret_id = secret_id
        self._lock = threading.Lock()
        self._current: Credentials | None = None

    def current(self, deadline: Deadline) -> Credentials:
        """Give the keys, read on first use; threads that come meanwhile wait for the same read."""
        with self._lock:
            if self._current is None:
                self._current = self._read(deadline)
            return self._current

    def renewed(self, refused: Credentials, deadline: Deadline) -> Credentials | None:
        """Read the secret again, unless another thread has already; `None` if it still says the same."""
        with self._lock:
            if self._current == refused:
                self._current = self._read(deadline)
            return None if self._current == refused else self._current

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
        return Credentials(ak=secret.ak.strip(), sk=secret.sk.strip())

"""Huawei's STS: temporary keys for the token of an OIDC provider, if the provider and the agency's trust policy say so.

https://support.huaweicloud.com/intl/en-us/api-iam5/AssumeAgencyWithOIDC.html. Codes marked *invented* are nowhere
documented; `STS5.1001` was seen in the field.
"""

from __future__ import annotations

import base64
import json
import re
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.hashes import SHA256
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from local.huawei.scenario import AccessKey, Agency, OidcProvider
from local.huawei.state import Rejected

if TYPE_CHECKING:
    from collections.abc import Mapping

ASSUME: Final = "sts:agencies:assumeWithOIDC"
MAX_SKEW_SECONDS: Final = 60
"""How far in the future a token may have been issued; UNVERIFIED."""

_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]*")

_Urn = Annotated[str, Field(min_length=1, max_length=1500)]


class _Asked(BaseModel):
    """The request, with the limits of the SDK's model (huaweicloudsdksts)."""

    model_config = ConfigDict(extra="forbid")

    provider_urn: _Urn
    agency_urn: _Urn
    agency_session_name: Annotated[str, Field(min_length=2, max_length=128)]
    id_token: Annotated[str, Field(min_length=4, max_length=20_000)]
    duration_seconds: Annotated[int, Field(ge=900, le=43_200)] = 3600


class SecurityTokens:
    """Who may be given keys, and the giving of them."""

    def __init__(self) -> None:
        self._providers: dict[str, OidcProvider] = {}
        self._agencies: dict[str, Agency] = {}
        self._given = 0

    def add(self, thing: OidcProvider | Agency) -> None:
        """Add a provider or an agency, or put one in the place of the same URN."""
        match thing:
            case OidcProvider():
                self._providers[thing.urn] = thing
            case Agency():
                self._agencies[thing.urn] = thing

    def assume(self, body: bytes, *, now: float) -> tuple[AccessKey, dict[str, Any]]:
        """Give a key that may sign until it expires, and the answer that tells of it. Raises `Rejected`."""
        try:
            asked = _Asked.model_validate_json(body)
        except ValidationError as error:
            fields = ", ".join(".".join(map(str, each["loc"])) or "body" for each in error.errors())
            raise Rejected(400, "STS5.0400", f"Invalid parameters: {fields}") from None  # *invented*
        provider = self._providers.get(asked.provider_urn)
        agency = self._agencies.get(asked.agency_urn)
        if provider is None or agency is None:
            raise Rejected(404, "STS5.0404", "The OIDC provider or the agency does not exist")  # *invented*
        claims = read_token(asked.id_token, provider, now=now)
        if not is_allowed(agency.trust_policy, provider=provider.urn, claims=claims):
            raise Rejected(403, "STS5.1001", f"no identity-based policy allows {ASSUME}")
        if asked.duration_seconds > agency.max_session_seconds:
            raise Rejected(400, "STS5.0400", "duration_seconds is longer than the agency's sessions")  # *invented*
        self._given += 1
        key = AccessKey(
            ak=f"HSTA{self._given:016d}",
            sk=f"SKTEMPORARY{self._given:029d}",
            security_token=f"TOKEN-{self._given}-" + "x" * 1000,  # Huawei's are about this long
            projects=agency.projects,
            expires_at=now + asked.duration_seconds,
        )
        expiration = datetime.fromtimestamp(now + asked.duration_seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return key, {
            "credentials": {
                "access_key_id": key.ak,
                "secret_access_key": key.sk,
                "security_token": key.security_token,
                "expiration": expiration,
            },
            "source_identity": None,
            "assumed_agency": {
                "urn": f"sts::assumed-agency:{asked.agency_session_name}",
                "id": f"{self._given}:{asked.agency_session_name}",
            },
            "audience": _audiences(claims)[0],
            "provider": provider.urn,
            "subject_from_id_token": claims["sub"],
        }


def read_token(token: str, provider: OidcProvider, *, now: float) -> Mapping[str, Any]:
    """Give what a token claims, once it is proved: by signature, issuer, audience and time. Raises `Rejected`."""
    try:
        head, payload, signature = token.split(".")
        header, claims = (json.loads(_base64url(part)) for part in (head, payload))
        key = next(key for key in provider.jwks["keys"] if key["kid"] == header["kid"])
        # The algorithm is ours to say, not the token's: else it could ask for none.
        if (header["alg"], key["kty"]) != ("RS256", "RSA"):
            raise _unproved("it is not signed with RS256")
        exponent, modulus = (int.from_bytes(_base64url(key[name])) for name in ("e", "n"))
        signed = f"{head}.{payload}".encode()
        RSAPublicNumbers(exponent, modulus).public_key().verify(_base64url(signature), signed, PKCS1v15(), SHA256())
        is_timely = claims["iat"] <= now + MAX_SKEW_SECONDS and now < claims["exp"]
        issuer, subject, audiences = claims["iss"], claims["sub"], _audiences(claims)
    except (ValueError, KeyError, TypeError, StopIteration, InvalidSignature):
        raise _unproved("its signature is not right, or it is no token") from None
    if issuer != provider.url:
        raise _unproved("its issuer is not the provider's")
    if not set(audiences) & set(provider.client_ids):
        raise _unproved("its audience is none of the provider's client ids")
    if not is_timely:
        raise _unproved("it has expired, or was not issued yet")
    if not isinstance(subject, str):
        raise _unproved("it has no subject")
    proved: Mapping[str, Any] = claims
    return proved


def is_allowed(policy: Mapping[str, Any], *, provider: str, claims: Mapping[str, Any]) -> bool:
    """Tell whether a trust policy (version 5.0) lets these claims in. What it does not know it does not allow."""
    values = {"oidc:aud": _audiences(claims), "oidc:sub": [claims["sub"]], "oidc:iss": [claims["iss"]]}
    allowed = False
    for statement in policy.get("Statement", []):
        applies = (
            ASSUME in statement.get("Action", [])
            and provider in statement.get("Principal", {}).get("Federated", [])
            and all(
                _holds(operator, wanted, values.get(name, []))
                for operator, conditions in statement.get("Condition", {}).items()
                for name, wanted in conditions.items()
            )
        )
        if applies and statement.get("Effect") == "Deny":
            return False
        allowed = allowed or (applies and statement.get("Effect") == "Allow")
    return allowed


def _holds(operator: str, wanted: str | list[str], values: list[str]) -> bool:
    patterns = [wanted] if isinstance(wanted, str) else wanted
    match operator:
        case "StringEquals":
            return any(value in patterns for value in values)
        case "StringMatch":
            return any(fnmatchcase(value, pattern) for value in values for pattern in patterns)
        case _:
            return False


def _audiences(claims: Mapping[str, Any]) -> list[str]:
    audience = claims["aud"]
    return [audience] if isinstance(audience, str) else list(audience)


def _base64url(text: str) -> bytes:
    if not _BASE64URL.fullmatch(text):
        raise ValueError("not base64url")
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _unproved(reason: str) -> Rejected:
    return Rejected(401, "STS5.0401", f"The id_token is not taken: {reason}")  # *invented*

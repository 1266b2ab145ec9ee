"""AWS STS on the loop-back address, as far as `GetWebIdentityToken`: tokens signed with a real RS256 key.

It finds out by the signature which role asks, lets the role's own policy decide, and serves the issuer's key as a set
(JWKS). ministack's STS knows the operation, but neither signs as AWS does nor refuses anybody.

    role = Role(name="stop-task", policy=[{"Effect": "Allow", "Action": "sts:GetWebIdentityToken", "Resource": "*"}])
    with AwsStsStandIn(roles=[role]) as sts:
        ...  # set AWS_ENDPOINT_URL_STS to sts.endpoint, and give the provider sts.issuer and sts.jwks()

https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_outbound.html
"""

from __future__ import annotations

import base64
import json
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from hmac import compare_digest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import parse_qsl
from uuid import uuid4
from xml.sax.saxutils import escape

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

ACCOUNT: Final = "123456789012"
REGION: Final = "eu-west-1"
ISSUER: Final = "https://1a2b3c4d-5e6f-4a1b-9c2d-3e4f5a6b7c8d.tokens.sts.global.api.aws"
KEY_ID: Final = "RSA_0"
ACTION: Final = "sts:GetWebIdentityToken"
_NAMESPACE: Final = "https://sts.amazonaws.com/doc/2011-06-15/"


@dataclass(frozen=True)
class Role:
    """A role and the keys of one session of it. `policy`: the statements of its policy, as CloudFormation has them."""

    name: str
    policy: Sequence[Mapping[str, Any]]
    access_key_id: str = "ASIASTANDIN000000001"  # pragma: allowlist secret
    secret_access_key: str = "aws-secret-of-the-stand-in"
    session_token: str = "aws-session-token-of-the-stand-in"

    @property
    def arn(self) -> str:
        """What a token of this role has as its subject."""
        return f"arn:aws:iam::{ACCOUNT}:role/{self.name}"


class _Refused(Exception):
    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.message = message


@dataclass
class AwsStsStandIn:
    """The stand-in, served by threads of this process while the `with` block runs.

    `clock`: seconds since 1970. `is_enabled`: whether the account lets tokens out at all. `answers`: what to answer
    instead, status and code, one request after the other. `seconds`: how long each answer takes. `tokens`: what was
    given, the oldest first.
    """

    roles: Sequence[Role]
    clock: Callable[[], float] = time.time
    issuer: str = ISSUER
    is_enabled: bool = True
    answers: list[tuple[int, str]] = field(default_factory=list)
    seconds: float = 0.0
    tokens: list[str] = field(default_factory=list)

    @property
    def endpoint(self) -> str:
        """The address, such as `http://127.0.0.1:40123`."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def jwks(self) -> dict[str, Any]:
        """Give the issuer's key set, as `/.well-known/jwks.json` has it."""
        numbers = _key().public_key().public_numbers()
        modulus, exponent = (
            _base64url(number.to_bytes((number.bit_length() + 7) // 8)) for number in (numbers.n, numbers.e)
        )
        return {"keys": [{"kty": "RSA", "use": "sig", "alg": "RS256", "kid": KEY_ID, "n": modulus, "e": exponent}]}

    def token(self, claims: Mapping[str, Any], *, algorithm: str = "RS256", key: RSAPrivateKey | None = None) -> str:
        """Sign these claims with the issuer's key, or another one."""
        header = {"alg": algorithm, "kid": KEY_ID, "typ": "JWT"}
        head, payload = (_base64url(json.dumps(part).encode()) for part in (header, claims))
        signature = (key or _key()).sign(f"{head}.{payload}".encode(), PKCS1v15(), SHA256())
        return f"{head}.{payload}.{_base64url(signature)}"

    def claims(self, role: Role, audiences: Sequence[str], seconds: int) -> dict[str, Any]:
        """Give what a token says: https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_outbound_token_claims.html."""
        now = int(self.clock())
        return {
            "iss": self.issuer,
            "aud": audiences[0] if len(audiences) == 1 else list(audiences),
            "sub": role.arn,
            "iat": now,
            "exp": now + seconds,
            "jti": str(uuid4()),
            "https://sts.amazonaws.com/": {"aws_account": ACCOUNT, "source_region": REGION},
        }

    def __enter__(self) -> Self:
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                try:
                    status, answer = 200, stand_in._answer(dict(self.headers.items()), body)
                except _Refused as refused:
                    status, answer = refused.status, _error(refused)
                content = answer.encode()
                self.send_response(status)
                self.send_header("Content-Type", "text/xml")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, headers: Mapping[str, str], body: bytes) -> str:
        time.sleep(self.seconds)
        if self.answers:
            raise _Refused(*self.answers.pop(0), "told to say so")
        role = self._who(headers, body)
        asked = dict(parse_qsl(body.decode(), strict_parsing=True))
        if (asked.get("Action"), asked.get("Version")) != ("GetWebIdentityToken", "2011-06-15"):
            raise _Refused(400, "InvalidAction", "Could not find the operation")
        audiences = [value for name, value in asked.items() if name.startswith("Audience.member.")]
        seconds = int(asked.get("DurationSeconds", "300"))
        known = {
            "sts:IdentityTokenAudience": audiences,
            "sts:SigningAlgorithm": [asked.get("SigningAlgorithm", "")],
            "sts:DurationSeconds": [str(seconds)],
        }
        if not audiences or not 60 <= seconds <= 3600 or asked.get("SigningAlgorithm") != "RS256":  # noqa: PLR2004
            raise _Refused(400, "ValidationError", "Audience, DurationSeconds or SigningAlgorithm")
        if not any(_allows(statement, known) for statement in role.policy):
            raise _Refused(403, "AccessDenied", f"User: {role.arn} is not authorized to perform: {ACTION}")
        if not self.is_enabled:
            raise _Refused(403, "OutboundWebIdentityFederationDisabledException", "Outbound federation is not enabled")
        token = self.token(self.claims(role, audiences, seconds))
        self.tokens.append(token)
        expiration = datetime.fromtimestamp(self.clock() + seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return (
            f'<GetWebIdentityTokenResponse xmlns="{_NAMESPACE}">\n  <GetWebIdentityTokenResult>\n'
            f"    <WebIdentityToken>{escape(token)}</WebIdentityToken>\n    <Expiration>{expiration}</Expiration>\n"
            f"  </GetWebIdentityTokenResult>\n  <ResponseMetadata><RequestId>{uuid4()}</RequestId></ResponseMetadata>\n"
            "</GetWebIdentityTokenResponse>\n"
        )

    def _who(self, headers: Mapping[str, str], body: bytes) -> Role:
        """Find the role by the signature, which botocore makes anew."""
        lower = {name.lower(): value for name, value in headers.items()}
        authorization = lower.get("authorization", "")
        for role in self.roles:
            if f"Credential={role.access_key_id}/" not in authorization:
                continue
            signed = authorization.partition("SignedHeaders=")[2].partition(",")[0].split(";")
            request = AWSRequest("POST", f"http://{lower['host']}/", {name: lower[name] for name in signed}, body)
            request.context["timestamp"] = lower["x-amz-date"]
            keys = Credentials(role.access_key_id, role.secret_access_key, role.session_token)
            signer = SigV4Auth(keys, "sts", REGION)
            text = signer.string_to_sign(request, signer.canonical_request(request))
            given = authorization.partition("Signature=")[2]
            if lower.get("x-amz-security-token") == role.session_token and compare_digest(
                signer.signature(text, request), given
            ):
                return role
        raise _Refused(403, "SignatureDoesNotMatch", "The request signature we calculated does not match")


def _allows(statement: Mapping[str, Any], known: Mapping[str, Sequence[str]]) -> bool:
    """Tell whether a statement of a policy lets a request with these values through; knows what Stopline's uses."""
    return (
        statement["Effect"] == "Allow"
        and statement["Action"] == ACTION
        and statement["Resource"] == "*"
        and all(
            _holds(operator, wanted, known.get(name, []))
            for operator, conditions in statement.get("Condition", {}).items()
            for name, wanted in conditions.items()
        )
    )


def _holds(operator: str, wanted: Any, values: Sequence[str]) -> bool:
    listed = [str(each) for each in wanted] if isinstance(wanted, list) else [str(wanted)]
    match operator:
        case "ForAllValues:StringEquals":
            return all(value in listed for value in values)
        case "StringEquals":
            return any(value in listed for value in values)
        case "NumericLessThanEquals":
            return any(float(value) <= float(listed[0]) for value in values)
        case "Null":
            return bool(values) == (listed[0] == "false")
        case _:
            return False


def _error(refused: _Refused) -> str:
    return (
        f'<ErrorResponse xmlns="{_NAMESPACE}">\n  <Error>\n    <Type>Sender</Type>\n    <Code>{refused.code}</Code>\n'
        f"    <Message>{escape(refused.message)}</Message>\n  </Error>\n  <RequestId>{uuid4()}</RequestId>\n"
        "</ErrorResponse>\n"
    )


@cache
def _key() -> RSAPrivateKey:
    return generate_private_key(public_exponent=65_537, key_size=2048)


def _base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()

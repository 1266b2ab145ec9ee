from __future__ import annotations

from typing import Any

import pytest
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcore.sdk_request import SdkRequest
from huaweicloudsdkcore.signer.signer import DerivationAKSKSigner, Signer

from local.huawei.scenario import AccessKey, Signing
from local.huawei.signatures import (
    BAD_TOKEN,
    LOCKED,
    NO_TOKEN,
    NOT_VERIFIED,
    UNKNOWN_KEY,
    Accepted,
    Authenticator,
    Refused,
    Request,
)

KEY = AccessKey()
SIGNED_AT = 1_700_000_000  # 20231114T221320Z


def signed(
    key: AccessKey = KEY,
    *,
    signing: Signing = "plain",
    path: str = "/v2/tasks/c1/stop",
    query: list[tuple[str, Any]] | None = None,
    body: bytes = b"",
    headers: dict[str, str] | None = None,
) -> Request:
    """Sign with the SDK, and give what would arrive."""
    request = SdkRequest(
        method="POST",
        schema="https",
        host="127.0.0.1:1",
        resource_path=path,
        query_params=query or [],
        header_params={"X-Sdk-Date": "20231114T221320Z", "Content-Type": "application/json"} | (headers or {}),
        body=body,
    )
    if key.security_token is not None:
        request.header_params["X-Security-Token"] = key.security_token
    credentials = BasicCredentials(key.ak, key.sk)
    if signing == "derived":
        DerivationAKSKSigner(credentials).sign(request, "iotdm", "cn-north-4")
    else:
        Signer(credentials).sign(request)
    return Request(
        method="POST",
        target=request.uri,
        headers={name.lower(): value for name, value in request.header_params.items()},
        body=body,
    )


def judge(
    request: Request,
    *,
    demanded: Signing = "plain",
    now: float = SIGNED_AT,
    authenticator: Authenticator | None = None,
) -> Accepted | Refused:
    if authenticator is None:
        authenticator = Authenticator()
        authenticator.add(KEY)
    return authenticator.authenticate(request, demanded=demanded, region="cn-north-4", now=now)


def changed(request: Request, **headers: str) -> Request:
    return Request(request.method, request.target, {**request.headers, **headers}, request.body)


@pytest.mark.parametrize("signing", ["plain", "derived"])
@pytest.mark.parametrize(
    "request_parts",
    [
        {},
        {"body": b'{"targets": ["d1"]}'},
        {"query": [("offset", 0), ("limit", 50), ("a b", "c/d=e&f~*"), ("limit", 10)]},
        {"path": "/v5/iot/p/batchtasks/with%20space%7E/stop/"},
        {"path": "/v2/tasks/%E4%BB%BB%E5%8A%A1/stop"},
        {"headers": {"X-Project-Id": "p", "Instance-Id": " padded "}},
    ],
    ids=["bare", "body", "query", "escaped path", "path beyond ASCII", "headers"],
)
def test_what_the_sdk_signs_is_accepted(signing: Signing, request_parts: dict[str, Any]) -> None:
    outcome = judge(signed(signing=signing, **request_parts), demanded=signing)
    assert outcome == Accepted(KEY, signing)


@pytest.mark.parametrize("signing", ["plain", "derived"])
def test_whatever_is_changed_on_the_way_breaks_the_signature(signing: Signing) -> None:
    request = signed(signing=signing, query=[("limit", 50)], body=b"{}", headers={"User-Agent": "stopline"})
    spoilt = [
        Request("GET", request.target, request.headers, request.body),
        Request("POST", request.target.replace("50", "49"), request.headers, request.body),
        Request("POST", request.target.replace("c1", "c2"), request.headers, request.body),
        Request("POST", request.target, request.headers, b'{"targets": []}'),
        Request("POST", request.target, request.headers, b""),
        changed(request, host="127.0.0.1:2"),
        changed(request, **{"user-agent": "a proxy"}),
        changed(request, **{"x-sdk-date": "20231114T221321Z"}),
    ]
    for changed_request in spoilt:
        assert judge(changed_request, demanded=signing) == Refused(NOT_VERIFIED, KEY.ak, signing)


def test_the_wrong_kind_of_signature_is_told_apart() -> None:
    assert judge(signed(), demanded="derived") == Refused(NOT_VERIFIED, KEY.ak, "plain", wrong_signing=True)
    assert judge(signed(signing="derived")) == Refused(NOT_VERIFIED, KEY.ak, "derived", wrong_signing=True)


@pytest.mark.parametrize(("seconds", "accepted"), [(-901, False), (-900, True), (0, True), (900, True), (901, False)])
def test_a_date_may_be_fifteen_minutes_off(seconds: int, accepted: bool) -> None:  # noqa: FBT001 - an example
    assert isinstance(judge(signed(), now=SIGNED_AT + seconds), Accepted) is accepted


@pytest.mark.parametrize("date", ["", "yesterday", "2023-11-14T22:13:20Z"])
def test_a_date_that_is_none_is_refused(date: str) -> None:
    assert judge(changed(signed(), **{"x-sdk-date": date})) == Refused(NOT_VERIFIED, KEY.ak, "plain")


def test_a_request_without_a_signature_is_told_what_is_missing() -> None:
    bare = Request("POST", "/v2/tasks/c1/stop", {"host": "127.0.0.1:1"}, b"")
    assert judge(bare) == Refused(NO_TOKEN, None, None)
    assert judge(changed(bare, authorization="Basic abc")) == Refused(NO_TOKEN, None, None)
    assert judge(changed(bare, **{"x-auth-token": "an IAM token"})) == Refused(BAD_TOKEN, None, None)


def test_a_signature_must_cover_host_and_date() -> None:
    request = signed()
    for name in ("host;", ";x-sdk-date"):
        weaker = request.headers["authorization"].replace(name, "")
        assert weaker != request.headers["authorization"]
        assert judge(changed(request, authorization=weaker)) == Refused(NOT_VERIFIED, KEY.ak, "plain")


def test_a_temporary_key_needs_its_token_under_the_signature() -> None:
    temporary = AccessKey(ak="AKTEMPORARY", sk="SK", security_token="token")
    authenticator = Authenticator()
    authenticator.add(temporary)
    request = signed(temporary)
    assert judge(request, authenticator=authenticator) == Accepted(temporary, "plain")
    unsigned_token = changed(
        signed(temporary.model_copy(update={"security_token": None})), **{"x-security-token": "token"}
    )
    assert judge(unsigned_token, authenticator=authenticator) == Refused(NOT_VERIFIED, "AKTEMPORARY", "plain")


def test_the_sixth_failure_in_a_row_locks_a_key_for_five_minutes() -> None:
    authenticator = Authenticator()
    authenticator.add(KEY)
    wrong = signed(AccessKey(sk="wrong"))
    for _ in range(5):
        assert judge(wrong, authenticator=authenticator) == Refused(NOT_VERIFIED, KEY.ak, "plain")
    assert isinstance(judge(signed(), authenticator=authenticator), Accepted)  # and the count begins anew
    for _ in range(6):
        assert judge(wrong, authenticator=authenticator) == Refused(NOT_VERIFIED, KEY.ak, "plain")
    assert judge(signed(), authenticator=authenticator) == Refused(LOCKED, KEY.ak, "plain")
    late = SIGNED_AT + 299.0
    assert judge(signed(), authenticator=authenticator, now=late) == Refused(LOCKED, KEY.ak, "plain")
    assert isinstance(judge(signed(), authenticator=authenticator, now=SIGNED_AT + 300.0), Accepted)
    assert authenticator.refusals == 13


def test_an_unknown_key_is_refused_and_locks_nobody_else() -> None:
    authenticator = Authenticator()
    authenticator.add(KEY)
    for _ in range(6):
        outcome = judge(signed(AccessKey(ak="NOBODY")), authenticator=authenticator)
        assert outcome == Refused(UNKNOWN_KEY, "NOBODY", "plain")
    assert isinstance(judge(signed(), authenticator=authenticator), Accepted)

"""The variables by which people say how AWS and Huawei Cloud are reached: honoured, or refused at the start."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from shared import http
from shared.errors import DeploymentFault
from shared.wiring.clouds import Clouds
from tests.certificates import Tls
from tests.fakes import ENVIRONMENT, Clock, settings_of
from tests.scripted_server import answering, serving, whole

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.enable_socket  # loop-back only
NAMES = (
    *("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"),
    *("AWS_CA_BUNDLE", "SSL_CERT_FILE", "AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT", "AWS_ENDPOINT_URL"),
)


@pytest.fixture(autouse=True)
def _a_plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    for name, value in (ENVIRONMENT | {"AWS_REGION": "eu-central-1"}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKID")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "k")


def clouds() -> Clouds:
    return Clouds(settings_of("stop_task"))


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("HTTPS_PROXY", "foo", "HTTPS_PROXY: 'foo' is not the URL of a proxy"),
        ("AWS_CA_BUNDLE", "/nowhere/ca.pem", "AWS_CA_BUNDLE is '/nowhere/ca.pem', which is no file of certificates"),
        ("AWS_CA_BUNDLE", __file__, f"AWS_CA_BUNDLE is {__file__!r}, which is no file of certificates"),
        ("SSL_CERT_FILE", "/nowhere/ca.pem", "SSL_CERT_FILE is '/nowhere/ca.pem', which is no file of certificates"),
        ("SSL_CERT_FILE", __file__, f"SSL_CERT_FILE is {__file__!r}, which is no file of certificates"),
        ("AWS_ENDPOINT_URL", "foo", "AWS_ENDPOINT_URL: 'foo' is not the URL of a host"),
        (
            "AWS_ENDPOINT_URL_SQS",
            "https://me:no@a b",
            "AWS_ENDPOINT_URL_SQS: 'https://***' is not the URL",
        ),  # pragma: allowlist secret
        ("AWS_USE_FIPS_ENDPOINT", "1", "AWS_USE_FIPS_ENDPOINT is '1', and should be true or false"),
        ("AWS_USE_DUALSTACK_ENDPOINT", "on", "AWS_USE_DUALSTACK_ENDPOINT is 'on', and should be true or false"),
    ],
)
def test_a_wrong_value_is_refused_at_the_start_and_named(
    name: str, value: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(DeploymentFault) as caught:
        clouds()
    assert says in str(caught.value)


def test_without_any_of_them_everything_is_reached_directly() -> None:
    clouds()


def test_the_bundle_of_aws_is_trusted_for_aws_and_not_for_huawei(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the AWS SDKs have it: https://docs.aws.amazon.com/sdkref/latest/guide/feature-gen-config.html."""
    tls, clock = Tls(tmp_path), Clock()
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tls.authority))
    with serving(answering(whole(b'{"SecretString": "open"}')), trust=tls.server("127.0.0.1")) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        assert clouds().aws.secret_string("s", deadline=clock.deadline()) == "open"
    with serving(answering(whole(b"null")), trust=tls.server("127.0.0.1")) as server:
        with pytest.raises(DeploymentFault, match="certificate"):
            clouds().client(server.url).request("GET", "/v2/tasks", deadline=clock.deadline())
        assert server.asked == [[]]


def test_both_clouds_are_reached_through_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "CONNECT_TIMEOUT", 1.0)
    refusal = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
    clock = Clock()
    with serving(answering(refusal)) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        both = clouds()
        with pytest.raises(DeploymentFault, match="the proxy: Tunnel connection failed: 403"):
            both.client("https://huawei.example").request("GET", "/v2/tasks", deadline=clock.deadline())
        reported = both.aws.send_messages("https://sqs/q", [], deadline=clock.deadline())
        assert reported == {}
        assert proxy.asked == [["CONNECT huawei.example:443"]]

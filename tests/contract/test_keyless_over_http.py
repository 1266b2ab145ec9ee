"""The keyless exchange from end to end: AWS's STS and Huawei's, both with real RS256 keys, over real sockets."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Barrier
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from huaweicloudsdkcore.auth.internal import OidcStsAccessor
from huaweicloudsdkcore.http.http_client import HttpClient
from huaweicloudsdkcore.http.http_config import HttpConfig

from local.aws_sts import ACCOUNT, ISSUER, AwsStsStandIn, Role
from local.huawei import PROJECT_ID, AccessKey, Agency, BatchTask, Fault, HuaweiStandIn, OidcProvider, Scenario
from shared.aws import Aws
from shared.deadline import Deadline
from shared.errors import DeploymentFault
from shared.fetch_once import TRANSIENT_FOR
from shared.http import Http
from shared.huawei.client import DerivedSigning, HuaweiClient, Reply
from shared.huawei.keyless import KeylessCredentials
from shared.patience import Patience
from shared.settings import StopTargetsSettings, read_settings
from shared.wiring.clouds import Clouds
from tests.fakes import FakeHttp, response
from tests.template.loading import parameters_of, resolved, translated

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shared.huawei.client import HttpSender

pytestmark = pytest.mark.enable_socket  # loop-back only

GUIDE = Path(__file__).resolve().parent.parent.parent / "docs" / "keyless.md"
PROVIDER = "iam::d78cbac186b744899480f25b:oidcProvider:aws"
AGENCY = "iam::d78cbac186b744899480f25b:agency:stopline"
ROLE_NAME = "stopline-StopTargetsRole-1A2B3C4D5E6F"
NAMES = {
    "<provider URN>": PROVIDER,
    "<issuer>": ISSUER,
    "<role ARN of StopTaskFunction>": f"arn:aws:iam::{ACCOUNT}:role/stopline-StopTaskRole-1A2B3C4D5E6F",
    "<role ARN of StopTargetsFunction>": f"arn:aws:iam::{ACCOUNT}:role/{ROLE_NAME}",
    "<role ARN of SweepStaleTasksFunction>": f"arn:aws:iam::{ACCOUNT}:role/stopline-SweepRole-1A2B3C4D5E6F",
    "<role ARN of StopInWorkflowFunction>": f"arn:aws:iam::{ACCOUNT}:role/stopline-StopInWorkflowRole-1A2B3C4D5E6F",
}


def document(title: str) -> Any:
    """Give the JSON that the guide shows under a title, with its names filled in."""
    found = re.search(rf"^{re.escape(title)}\n+```json\n(.+?)^```", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    assert found, f"the guide has no {title}"
    text = found[1]
    for name, value in NAMES.items():
        text = text.replace(name, value)
    assert "<" not in text
    return json.loads(text)


ROLE = Role(name=ROLE_NAME, policy=[document("The function's role on AWS:")])
TRUST = document("The agency's trust policy on Huawei Cloud:")


@dataclass
class World:
    """Both clouds, and a clock that they and we share; it goes on by itself, and jumps when told."""

    aws: AwsStsStandIn
    huawei: HuaweiStandIn
    environment: dict[str, str]
    seconds: list[float] = field(default_factory=lambda: [0.0])

    def now(self) -> datetime:
        return datetime.fromtimestamp(time.time() + self.seconds[0], UTC)

    def patience(self) -> Patience:
        return Patience(now=self.now, sleep=lambda _: None, uniform=lambda _, longest: longest)

    def credentials(self, *, http: HttpSender | None = None) -> KeylessCredentials:
        own = Http(connections=16)
        return KeylessCredentials(
            tokens=Aws(
                http=own,
                environment=self.environment,
                patience=self.patience(),
                requests_at_once=1,
            ),
            http=http or own,
            endpoint=self.huawei.endpoint,
            provider_urn=PROVIDER,
            agency_urn=AGENCY,
            session_name="stopline-test",
            patience=self.patience(),
        )

    def client(self, credentials: KeylessCredentials) -> HuaweiClient:
        return HuaweiClient(
            http=Http(connections=16),
            endpoint=self.huawei.endpoint,
            project_id=PROJECT_ID,
            credentials=credentials,
            derived=DerivedSigning("cn-north-4", "iotdm"),
            now=self.now,
        )

    def exchanges(self) -> Counter[int]:
        """Give how often Huawei's STS was asked, by the status that it answered."""
        return Counter(record.status for record in self.huawei.log() if record.operation == "assume_agency")


def deadline() -> Deadline:
    return Deadline.after(20, time.monotonic)


def show(client: HuaweiClient) -> int:
    reply = client.request("GET", f"/v5/iot/{PROJECT_ID}/batchtasks/b1", deadline=deadline())
    assert isinstance(reply, Reply)
    return reply.status


@contextmanager
def clouds(role: Role = ROLE, **changed: Any) -> Iterator[World]:
    jump = [0.0]
    with ExitStack() as stack:
        aws = stack.enter_context(AwsStsStandIn(roles=[role], clock=lambda: time.time() + jump[0]))
        provider = {"urn": PROVIDER, "url": ISSUER, "client_ids": (PROVIDER,), "jwks": aws.jwks()}
        agency = {"urn": AGENCY, "trust_policy": TRUST}
        scenario = Scenario(
            keys=(),
            oidc_providers=(OidcProvider.model_validate(provider | changed.get("provider", {})),),
            agencies=(Agency.model_validate(agency | changed.get("agency", {})),),
            batch_tasks=(BatchTask(task_id="b1", targets=("d1",)),),
        )
        huawei = stack.enter_context(HuaweiStandIn(scenario, clock=lambda: time.time() + jump[0]))
        environment = {
            "AWS_REGION": "eu-west-1",
            "AWS_ENDPOINT_URL_STS": aws.endpoint,
            "AWS_ACCESS_KEY_ID": role.access_key_id,
            "AWS_SECRET_ACCESS_KEY": role.secret_access_key,
            "AWS_SESSION_TOKEN": role.session_token,
        }
        yield World(aws, huawei, environment, jump)


@pytest.fixture
def world() -> Iterator[World]:
    with clouds() as both:
        yield both


def test_what_the_guide_says_lets_a_function_in_without_any_stored_key(world: World) -> None:
    client = world.client(world.credentials())
    assert [show(client) for _ in range(5)] == [200] * 5
    assert (world.exchanges(), len(world.aws.tokens)) == ({200: 1}, 1)
    assert {record.ak for record in world.huawei.log() if record.operation == "show_batch_task"} == {
        "HSTA0000000000000001"
    }


def test_sixteen_threads_make_one_exchange_a_refresh_through_hours_of_work(world: World) -> None:
    client = world.client(world.credentials())
    world.aws.seconds = 0.02  # long enough for all of them to come while it is asked
    with ThreadPoolExecutor(16) as threads:
        for refresh, hours in enumerate((0, 0.9, 2.5, 3.4, 100), 1):
            world.seconds[0] = hours * 3600
            together = Barrier(16)

            def work(_: int, together: Barrier = together) -> list[int]:
                together.wait(10)
                return [show(client) for _ in range(5)]

            assert list(threads.map(work, range(16))) == [[200] * 5] * 16
            assert (world.exchanges(), len(world.aws.tokens)) == ({200: refresh}, refresh)
    assert world.huawei.summary().authentication_failures == 0


def test_keys_that_expire_on_huawei_s_side_first_are_exchanged_once_by_sixteen_threads(world: World) -> None:
    credentials = world.credentials()
    client = world.client(credentials)
    assert show(client) == 200
    # As when an administrator ends the session: Huawei refuses what we think is good.
    held = credentials.current(deadline())
    world.huawei.add(AccessKey(ak=held.ak, sk=held.sk, security_token=held.security_token, expires_at=1.0))
    together = Barrier(16)

    def work(_: int) -> int:
        together.wait(10)
        return show(client)

    with ThreadPoolExecutor(16) as threads:
        assert list(threads.map(work, range(16))) == [200] * 16
    assert (world.exchanges(), len(world.aws.tokens)) == ({200: 2}, 2)


@pytest.mark.parametrize(
    "fault",
    [
        Fault(kind="error_json", operation="assume_agency", times=2),
        Fault(kind="cut_before", operation="assume_agency", times=2),
        Fault(kind="cut_after", operation="assume_agency", times=2),
        Fault(kind="cut_midway", operation="assume_agency", times=2),
        Fault(kind="throttle_429", operation="assume_agency", times=2),
    ],
    ids=lambda fault: fault.kind,
)
def test_a_passing_fault_of_huawei_s_sts_passes_unnoticed(world: World, fault: Fault) -> None:
    world.huawei.set_faults(fault)
    assert show(world.client(world.credentials())) == 200
    assert (world.exchanges().total(), len(world.aws.tokens)) == (3, 1)


def test_a_passing_fault_of_aws_s_sts_passes_unnoticed(world: World) -> None:
    world.aws.answers += [(500, "InternalFailure"), (400, "Throttling")]
    assert show(world.client(world.credentials())) == 200


def test_an_outage_of_huawei_s_sts_is_not_felt_while_keys_are_good(world: World) -> None:
    client = world.client(world.credentials())
    assert show(client) == 200
    world.huawei.set_faults(Fault(kind="error_json", status=503, operation="assume_agency"))
    world.seconds[0] = 59 * 60
    assert [show(client) for _ in range(20)] == [200] * 20
    assert len(world.aws.tokens) == 2
    world.seconds[0] = 61 * 60
    with pytest.raises(DeploymentFault, match="it passes: 503"):
        show(client)
    world.huawei.set_faults()
    world.seconds[0] += TRANSIENT_FOR.total_seconds()
    assert show(client) == 200


@pytest.mark.parametrize("role", ["StopTaskRole", "StopTargetsRole", "SweepStaleTasksRole", "StopInWorkflowRole"])
def test_a_role_of_the_template_gets_its_token_and_the_guide_shows_its_statement(role: str) -> None:
    template = translated()
    parameters = parameters_of(template, {"HuaweiOidcProviderUrn": PROVIDER, "HuaweiOidcAgencyUrn": AGENCY})
    policies = resolved(template["Resources"][role]["Properties"]["Policies"], template, parameters)
    statements = [each for policy in policies for each in policy["PolicyDocument"]["Statement"] if each]
    (of_the_template,) = [each for each in statements if each.pop("Sid") == "SayWhoItIsToHuaweiCloudOnly"]
    assert of_the_template == ROLE.policy[0]
    with clouds(Role(name=ROLE_NAME, policy=statements)) as world:
        assert show(world.client(world.credentials())) == 200


def test_the_settings_put_it_together(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in world.environment.items():
        monkeypatch.setenv(name, value)
    settings = {
        "HUAWEICLOUD_REGION": "cn-north-4",
        "HUAWEICLOUD_SDK_PROJECT_ID": PROJECT_ID,
        "HUAWEICLOUD_OIDC_PROVIDER_URN": PROVIDER,
        "HUAWEICLOUD_OIDC_AGENCY_URN": AGENCY,
        "HUAWEICLOUD_SDK_STS_ENDPOINT": world.huawei.endpoint,
        "AWS_LAMBDA_FUNCTION_NAME": "stopline-stop-targets",
        "OUTCOME_BUS_NAME": "outcomes",
        "COMMAND_QUEUE_URL": "https://sqs/commands",
        "DEAD_LETTER_QUEUE_URL": "https://sqs/dead-letters",
    }
    clouds_of_it = Clouds(read_settings(StopTargetsSettings, settings))
    clients = [clouds_of_it.iotda_client(world.huawei.endpoint) for _ in range(2)]
    assert [show(client) for client in clients] == [200, 200]
    assert world.exchanges() == {200: 1}


# What the two sides refuse


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"Action": "sts:AssumeRole"}, "AccessDenied"),
        ({"Condition": {"StringEquals": {"sts:SigningAlgorithm": "ES384"}}}, "AccessDenied"),
        ({"Condition": {"NumericLessThanEquals": {"sts:DurationSeconds": 299}}}, "AccessDenied"),
        ({"Condition": {"ForAllValues:StringEquals": {"sts:IdentityTokenAudience": "another"}}}, "AccessDenied"),
    ],
)
def test_a_role_that_may_not_have_this_token_is_told_what_to_allow(changed: dict[str, Any], said: str) -> None:
    statement = ROLE.policy[0] | changed  # type: ignore[operator]  # a dict, read from JSON
    with (
        clouds(Role(name=ROLE_NAME, policy=[statement])) as world,
        pytest.raises(DeploymentFault, match=f"{said}.*allow sts:GetWebIdentityToken in the function's role"),
    ):
        world.credentials().current(deadline())


def test_an_account_that_lets_no_token_out_is_told_to() -> None:
    with clouds() as world:
        world.aws.is_enabled = False
        with pytest.raises(DeploymentFault, match="enable outbound web identity federation in this account"):
            world.credentials().current(deadline())


def test_a_wrong_aws_key_gets_no_token(world: World) -> None:
    world.environment["AWS_SECRET_ACCESS_KEY"] = "another"
    with pytest.raises(DeploymentFault, match=r"SignatureDoesNotMatch.*check the AWS credentials"):
        world.credentials().current(deadline())
    assert world.aws.tokens == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"provider": {"url": f"{ISSUER}/"}}, "401 .*its issuer.*check the OIDC provider"),
        ({"provider": {"client_ids": ("sts.huaweicloud.com",)}}, "401 .*its audience.*client ids must hold"),
        ({"provider": {"jwks": {"keys": []}}}, "401 .*its signature.*check the OIDC provider"),
        ({"provider": {"urn": f"{PROVIDER}2"}}, "404 .*does not exist.*check HUAWEICLOUD_OIDC_PROVIDER_URN"),
        ({"agency": {"urn": f"{AGENCY}2"}}, "404 .*does not exist.*and _AGENCY_URN"),
        ({"agency": {"trust_policy": {}}}, "403 STS5.1001.*check the agency's trust policy"),
    ],
)
def test_a_provider_or_an_agency_that_is_set_up_wrongly_is_named(changed: dict[str, Any], said: str) -> None:
    with clouds(**changed) as world, pytest.raises(DeploymentFault, match=said):
        world.credentials().current(deadline())


def test_a_role_that_the_trust_policy_does_not_name_stays_outside() -> None:
    with clouds(Role(name="somebody-else", policy=ROLE.policy)) as world:
        with pytest.raises(DeploymentFault, match=r"403 STS5.1001.*oidc:sub = the ARN of this function's role"):
            world.credentials().current(deadline())
        assert len(world.aws.tokens) == 1


def test_a_service_that_refuses_keys_fresh_from_the_exchange_is_asked_twice_and_no_more(world: World) -> None:
    world.huawei.set_faults(Fault(kind="unauthorized", operation="show_batch_task"))
    with pytest.raises(DeploymentFault, match="refused the credentials"):
        show(world.client(world.credentials()))
    assert world.exchanges() == {200: 2}


FOREIGN = generate_private_key(public_exponent=65_537, key_size=2048)


@pytest.mark.parametrize(
    ("changed", "algorithm", "is_foreign", "reason"),
    [
        ({}, "RS256", False, None),
        ({"aud": ["another", PROVIDER]}, "RS256", False, None),
        ({}, "RS256", True, "its signature"),
        ({}, "none", False, "not signed with RS256"),
        ({}, "HS256", False, "not signed with RS256"),
        ({"iss": "https://another.tokens.sts.global.api.aws"}, "RS256", False, "its issuer"),
        ({"aud": "another"}, "RS256", False, "its audience"),
        ({"aud": []}, "RS256", False, "its audience"),
        ({"exp": time.time() - 1}, "RS256", False, "it has expired"),
        ({"iat": time.time() + 3600}, "RS256", False, "was not issued yet"),
        ({"sub": None}, "RS256", False, "no subject"),
        ({"exp": "tomorrow"}, "RS256", False, "no token"),
    ],
)
def test_the_stand_in_takes_only_what_is_proved(
    world: World,
    changed: dict[str, Any],
    algorithm: str,
    is_foreign: bool,  # noqa: FBT001 - a column of the table
    reason: str | None,
) -> None:
    claims = world.aws.claims(ROLE, [PROVIDER], 300) | changed
    token = world.aws.token(claims, algorithm=algorithm, key=FOREIGN if is_foreign else None)
    status, answer = assume(world, token)
    assert status == (401 if reason else 200)
    assert reason is None or reason in answer["error_msg"]


@pytest.mark.parametrize("spoil", [lambda token: token[:-8] + "AAAAAAAA", lambda _: "a.b.c", lambda _: "x" * 9])
def test_the_stand_in_takes_no_token_that_was_changed(world: World, spoil: Any) -> None:
    token = world.aws.token(world.aws.claims(ROLE, [PROVIDER], 300))
    assert assume(world, spoil(token))[0] == 401


def assume(world: World, token: str) -> tuple[int, dict[str, Any]]:
    asked = {
        "provider_urn": PROVIDER,
        "agency_urn": AGENCY,
        "agency_session_name": "by-hand",
        "id_token": token,
    }
    answer = Http(connections=1).send(
        "POST",
        f"{world.huawei.endpoint}/v5/agencies/assume-with-oidc",
        headers={"Content-Type": "application/json"},
        body=json.dumps(asked).encode(),
        timeout=10,
    )
    return answer.status, json.loads(answer.body)


class Overheard(HttpClient):  # type: ignore[misc]  # the SDK has no types
    """The SDK's own client, which keeps what it sent."""

    def __init__(self) -> None:
        super().__init__(HttpConfig.get_default_config(), None, None, None)
        self.sent: list[Any] = []

    def do_request_sync(self, request: Any) -> Any:
        self.sent.append(request)
        return super().do_request_sync(request)


def test_the_official_sdk_gets_the_same_from_the_stand_in_and_sends_what_we_send(world: World) -> None:
    token = world.aws.token(world.aws.claims(ROLE, [PROVIDER], 300))
    accessor = OidcStsAccessor(PROVIDER, AGENCY, token, agency_session_name="stopline-test")
    official = Overheard()
    credential = accessor.get_credential(sts_endpoint=world.huawei.endpoint, http_client=official)
    assert credential.access == "HSTA0000000000000001"
    assert credential.security_token.startswith("TOKEN-1-")
    assert 3590 < credential.expire_at - time.time() <= 3600

    ours = FakeHttp(response(status=403))
    with pytest.raises(DeploymentFault):
        world.credentials(http=ours).current(deadline())
    ((theirs,), (sent,)) = official.sent, ours.sent
    assert (sent.method, sent.url) == (theirs.method, f"{world.huawei.endpoint}{theirs.resource_path}")
    assert sent.headers["Content-Type"] == theirs.header_params["Content-Type"]
    named = ("provider_urn", "agency_urn", "agency_session_name", "duration_seconds", "id_token")
    bodies = [json.loads(body) | {"id_token": "…"} for body in (sent.body or b"", theirs.body)]
    assert bodies[0] == bodies[1]
    assert list(bodies[0].keys() ^ set(named)) == []

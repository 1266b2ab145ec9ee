"""The soak: its plan, its proxy, and a short run as a person starts it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections import Counter
from datetime import UTC, datetime
from http.client import HTTPConnection, RemoteDisconnected
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from local.soak.faulty_aws import FaultyAws
from local.soak.judge import RESULTS
from local.soak.plan import make_plan

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent.parent
LONG_ENOUGH = 120.0


def test_a_seed_gives_the_same_plan_and_another_seed_another() -> None:
    now = datetime(2026, 11, 23, tzinfo=UTC)
    plans = [make_plan(seed, commands=200, targets=5000, stop_lag=0.0, now=now) for seed in (7, 7, 8)]
    assert plans[0].orders == plans[1].orders
    assert plans[0].orders != plans[2].orders


def test_a_plan_holds_every_kind_of_command() -> None:
    plan = make_plan(1, commands=2000, targets=100_000, stop_lag=0.0, now=datetime.now(UTC))
    assert len(plan.orders) == 2000
    assert sum(len(each.allowed) for each in plan.orders) >= 100_000
    assert max(len(each.allowed) for each in plan.orders) > 2000
    assert {each.way for each in plan.orders} == {"StopTaskQueue", "StopTargetsQueue", "StopCommandsTopic"}
    assert {status for each in plan.orders for status in each.statuses} == {
        *("succeeded", "failed", "rejected", "expired", "dry_run")
    }
    said = {result for each in plan.orders for results in each.allowed.values() for result in results}
    assert said == set(RESULTS)
    assert any(each.copies == 2 for each in plan.orders)
    assert any(each.confirm for each in plan.orders)
    named = Counter(target for each in plan.orders if each.may_stop for target in each.allowed)
    assert max(named.values()) > 1


@pytest.fixture
def services() -> Iterator[str]:
    """What stands behind the proxy: it takes whatever comes, and says what came."""

    class Echo(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            came = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            body = json.dumps({"Entries": [{"EventId": "1"} for _ in came["Entries"]], "came": came}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class Fates(Random):
    """Dice that fall as told: every call is faulty, in this one way; or, without a way, none is."""

    def __init__(self, fate: str | None) -> None:
        super().__init__()
        self._fate = fate

    def random(self) -> float:
        return 0.0 if self._fate else 1.0

    def choice(self, seq: Any) -> Any:
        assert self._fate in seq
        return self._fate


def call(aws: FaultyAws, operation: str, *entries: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    connection = HTTPConnection(urlsplit(aws.endpoint).netloc, timeout=10)
    try:
        body = json.dumps({"Entries": entries})
        connection.request("POST", "/", body=body, headers={"X-Amz-Target": f"AWS.{operation}"})
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def outcome(command_id: str) -> dict[str, Any]:
    return {"Detail": json.dumps({"command_id": command_id})}


def test_the_proxy_passes_calls_on_and_shortens_delays(services: str) -> None:
    with FaultyAws(services, dice=Fates(None), delay_divisor=20, memory=0) as aws:
        entry = {"Id": "0", "MessageBody": '{"command_id": "c"}', "DelaySeconds": 100}
        assert call(aws, "SendMessageBatch", entry)[1]["came"]["Entries"] == [entry | {"DelaySeconds": 5}]
        assert call(aws, "PutEvents", outcome("c"))[1]["came"]["Entries"] == [outcome("c")]
        assert not aws.may_repeat()


def test_the_proxy_fails_single_entries(services: str) -> None:
    with FaultyAws(services, dice=Fates("entry"), delay_divisor=1, memory=0) as aws:
        _, answer = call(aws, "PutEvents", outcome("c"), outcome("d"))
        assert answer["came"]["Entries"] == [outcome("c")]
        assert [each.get("ErrorCode") for each in answer["Entries"]] == [None, "InternalFailure"]
        assert aws.may_repeat() == {"c", "d"}


@pytest.mark.parametrize(("fate", "status"), [("error", 503), ("throttle", 400)])
def test_the_proxy_fails_whole_calls(services: str, fate: str, status: int) -> None:
    with FaultyAws(services, dice=Fates(fate), delay_divisor=1, memory=0) as aws:
        assert call(aws, "PutEvents", outcome("c"))[0] == status
        assert aws.faults == {f"aws {fate}": 1}


@pytest.mark.parametrize("fate", ["cut_before", "cut_after"])
def test_the_proxy_cuts_calls(services: str, fate: str) -> None:
    with FaultyAws(services, dice=Fates(fate), delay_divisor=1, memory=0) as aws, pytest.raises(RemoteDisconnected):
        call(aws, "PutEvents", outcome("c"))


def test_what_went_through_a_connection_may_be_repeated_when_it_ends(services: str) -> None:
    with FaultyAws(services, dice=Fates(None), delay_divisor=1, memory=60) as aws:
        call(aws, "PutEvents", outcome("c"))
        ended = threading.Event()
        while aws.may_repeat() != {"c"}:
            ended.wait(0.01)


def test_a_short_run_balances(tmp_path: Path) -> None:
    with subprocess.Popen(
        [
            *(sys.executable, "-m", "local.soak", "--json", "--quick", "--stop-lag=0", "--seed=1"),
            *("--commands=40", "--targets=1000", "--kills=2"),
        ],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as soak:
        out, err = soak.communicate(timeout=LONG_ENOUGH)
    result = json.loads(out or "{}")
    assert result["violations"] == [], err
    assert soak.returncode == 0, err
    ledger = result["ledger"]
    assert ledger["asked"] == sum(ledger.get(name, 0) for name in RESULTS) >= 1000
    assert ledger["kills"] == 2
    assert list(tmp_path.iterdir()) == []

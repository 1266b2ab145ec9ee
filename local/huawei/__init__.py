"""Huawei Cloud on the loop-back address: CodeArts Check, IoTDA batch tasks, and temporary keys for an OIDC token.

It is as hostile as the documentation allows, checks every signature by itself, plays quotas and faults, and keeps
a log of all that it was asked.

    with HuaweiStandIn() as huawei:
        huawei.add(CheckTask(task_id="c1"), BatchTask(task_id="b1", targets=("d1", "d2")))
        huawei.set_faults(Fault(kind="cut_after", operation="stop_batch_task", times=1))
        huawei.set_quota(Quota(service="iotda", per_second=100, answer="403"))
        ...  # call huawei.endpoint, signed with AccessKey().ak and .sk for PROJECT_ID, region cn-north-4
        assert huawei.subtasks("b1") == {"d1": "Stopped", "d2": "Processing"}
        assert huawei.state().check_tasks == {"c1": "stopped"}
        assert [record.targets for record in huawei.log() if record.operation == "stop_batch_task"] == [("d1",)]
        assert not huawei.summary().violations

As a process: `python -m local.huawei --port 0 --scenario scenario.json` prints its endpoint when it is ready and
ends on SIGTERM or SIGINT; `StandInClient(endpoint)` has the same methods as `HuaweiStandIn`.

The world also moves by itself: `add` and `remove` tasks, `set_check_status` and `set_subtask` while a client pages.

What it is told (`scenario`): `Scenario` is all of it; `AccessKey`, `OidcProvider`, `Agency`, `CheckTask` with its
`CheckRun`s, `BatchTask`, `Fault`, `Quota` and `Settings` are its parts. What it answers (`cloud`): `Record` (one of
the log), `State`, `BatchTaskView`, `Summary`.
`Cloud` is the whole without a socket. IoTDA demands derived signatures (`Settings.iotda_signing`), because 127.0.0.1
is to a client what an instance's own address is; CodeArts Check demands plain ones.
"""

from local.huawei.cloud import BatchTaskView, Cloud, Record, State, Summary
from local.huawei.control import StandInClient
from local.huawei.scenario import (
    CHECK_PROJECT_ID,
    PROJECT_ID,
    AccessKey,
    Agency,
    BatchTask,
    CheckRun,
    CheckTask,
    Fault,
    OidcProvider,
    Quota,
    Scenario,
    Settings,
)
from local.huawei.server import HuaweiStandIn

__all__ = [
    "CHECK_PROJECT_ID",
    "PROJECT_ID",
    "AccessKey",
    "Agency",
    "BatchTask",
    "BatchTaskView",
    "CheckRun",
    "CheckTask",
    "Cloud",
    "Fault",
    "HuaweiStandIn",
    "OidcProvider",
    "Quota",
    "Record",
    "Scenario",
    "Settings",
    "StandInClient",
    "State",
    "Summary",
]

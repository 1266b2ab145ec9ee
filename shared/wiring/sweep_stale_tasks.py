"""What `functions.sweep_stale_tasks` is made of."""

from __future__ import annotations

import os
from functools import cache
from uuid import uuid4

from shared.huawei.task_lists import BatchTaskLists, CheckTaskLists
from shared.settings import SweepStaleTasksSettings, read_settings
from shared.sightings import NoMemory, Sightings
from shared.sweeping import Sweeper
from shared.wiring.clouds import Clouds, telemetry


@cache
def sweeper() -> Sweeper:
    """Make what carries out sweeps; raises `DeploymentFault` for settings that are not right."""
    settings = read_settings(SweepStaleTasksSettings, os.environ)
    clouds = Clouds(settings)
    check_client = clouds.client(settings.check_endpoint)
    table = settings.sightings_table_name
    return Sweeper(
        settings=settings,
        check_lists=CheckTaskLists(check_client),
        batch_lists=BatchTaskLists(clouds.iotda_client(settings.iotda_endpoint)),
        memory=NoMemory() if table is None else Sightings(tables=clouds.aws, table_name=table, now=clouds.patience.now),
        bus=clouds.aws,
        queues=clouds.aws,
        check_pace=clouds.pace(),
        batch_pace=clouds.pace(),
        patience=clouds.patience,
        telemetry=telemetry(),
        new_version=lambda: uuid4().hex,
    )

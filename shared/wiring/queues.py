"""What the wiring of both queue functions has in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.deliveries import Deliveries
from shared.wiring.clouds import telemetry

if TYPE_CHECKING:
    from shared.execution import Service
    from shared.settings import QueueFunctionSettings
    from shared.wiring.clouds import Clouds


def deliveries_of(settings: QueueFunctionSettings, clouds: Clouds, service: Service) -> Deliveries:
    """Make what handles the deliveries of one queue by one of Huawei's services."""
    return Deliveries(
        settings=settings,
        service=service,
        publisher=clouds.publisher,
        queues=clouds.aws,
        pace=clouds.pace(),
        patience=clouds.patience,
        telemetry=telemetry(),
    )

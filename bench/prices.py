"""What AWS takes for it: list prices of us-east-1, arm64, without free tiers, as of November 2026.

The page that says each stands beside it. The pages themselves could not be opened when this was written: look them up
before a figure in USD is relied on, and change here what differs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

AS_OF: Final = "November 2026"

# https://aws.amazon.com/lambda/pricing/ (Arm price, the first tier of 7.5 billion GB-seconds a month)
LAMBDA_GB_SECOND: Final = 0.0000133334
LAMBDA_REQUEST: Final = 0.20 / 1_000_000
# https://aws.amazon.com/sqs/pricing/ (standard queue, after the free million; each 64 KB of a message is a request)
SQS_REQUEST: Final = 0.40 / 1_000_000
# https://aws.amazon.com/eventbridge/pricing/ (custom events; each 64 KB of an event is an event)
EVENT: Final = 1.00 / 1_000_000
# https://aws.amazon.com/cloudwatch/pricing/ (logs of Lambda, standard class, the first tier)
LOG_GB: Final = 0.50

CHUNK: Final = 64 * 1024
FULL_CPU_MIB: Final = 1769
"""MiB of memory with which a function has one whole CPU
(https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html)."""


@dataclass(frozen=True, slots=True)
class Use:
    """What one delivery needs: seconds of wall and CPU time as measured, the rest counted.

    `message_bytes`: of one message. Sending the messages is the sender's bill and not among it.
    """

    wall: float
    cpu: float
    memory_mib: int
    messages: int
    message_bytes: int
    events: int
    log_bytes: int

    @property
    def billed_seconds(self) -> float:
        """The duration on Lambda: what was waited for stays, what was computed is slower by the share of a CPU."""
        return self.wall + self.cpu * max(0.0, FULL_CPU_MIB / self.memory_mib - 1)

    @property
    def usd(self) -> float:
        """Give what the delivery costs."""
        # Lambda receives and deletes up to ten messages a request.
        deletes = math.ceil(self.messages / 10)
        receives = max(deletes, math.ceil(self.messages * self.message_bytes / CHUNK))
        return (
            LAMBDA_REQUEST
            + self.billed_seconds * self.memory_mib / 1024 * LAMBDA_GB_SECOND
            + (receives + deletes) * SQS_REQUEST
            + self.events * EVENT
            + self.log_bytes / 1e9 * LOG_GB
        )

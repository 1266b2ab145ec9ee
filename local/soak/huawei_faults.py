"""What goes wrong at Huawei Cloud, and how often."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from local.huawei import Fault, Quota

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local.huawei.scenario import Operation

PASSING: Final = ("error_json", "error_html", "cut_before")
"""What may befall every call about one task; no throttle, which Huawei Cloud counts by key and not by task."""
STOPS: Final[tuple[Operation, ...]] = ("stop_batch_task", "stop_check_task")
_READS: Final[tuple[Operation, ...]] = ("show_batch_task", "show_check_progress")

# By how much rarer they befall a read than a stop: one page in trouble takes the pages behind it along.
_READS_SPARED: Final = 8

SMALL_QUOTAS: Final = (
    Quota(service="iotda", per_second=100, answer="403"),
    Quota(service="check", per_second=30, answer="429", retry_after=1),
)
NO_QUOTAS: Final = (Quota(service="iotda", per_second=0), Quota(service="check", per_second=0))


def usual_faults() -> Iterator[Fault]:
    """Give what befalls any call, by chance: 8 to 10 of 100 stops, and 1 of 100 reads."""
    for operation in STOPS:
        yield from _faults_of(operation, share=1.0)
        yield Fault(kind="legacy_200", operation=operation, probability=0.004)
        yield Fault(kind="redirect", operation=operation, probability=0.003)
    yield Fault(kind="target_missing", probability=0.01)
    yield Fault(kind="target_failure", probability=0.01)
    yield Fault(kind="target_failure", probability=0.005, error_code="IOTDA.014299")
    yield Fault(kind="null_200", operation="stop_batch_task", probability=0.003)  # of a check it would be a yes
    for operation in _READS:
        yield from _faults_of(operation, share=1 / _READS_SPARED)


def _faults_of(operation: Operation, *, share: float) -> Iterator[Fault]:
    """Give what may befall stops and reads alike; `share` of the probability that it has for a stop."""
    is_of_checks = operation in {"stop_check_task", "show_check_progress"}
    for probability, fault in (
        (0.005, {"kind": "throttle_400" if is_of_checks else "throttle_403"}),
        (0.003, {"kind": "throttle_429"}),
        (0.003, {"kind": "throttle_429", "retry_after": 1}),
        (0.005, {"kind": "error_json"}),
        (0.003, {"kind": "error_json", "handled": True}),
        (0.005, {"kind": "error_html"}),
        (0.005, {"kind": "slow", "seconds": 0.7}),
        (0.003, {"kind": "drip", "seconds": 0.002}),
        (0.005, {"kind": "cut_before"}),
        (0.01, {"kind": "cut_after"}),
        (0.005, {"kind": "cut_midway"}),
        (0.005, {"kind": "error_in_200"}),
        (0.005, {"kind": "error_in_200", "handled": True}),
        (0.003, {"kind": "wrong_content_type"}),
        (0.005, {"kind": "junk_200"}),
    ):
        told = {"operation": operation, "probability": probability * share, **fault}
        yield Fault.model_validate(told)

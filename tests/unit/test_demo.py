"""The demo's report of a failure."""

from __future__ import annotations

from local.demo import _complaints


def test_a_failed_demo_shows_the_lines_that_say_why() -> None:
    why = '{"level":"ERROR","message":"unexpected error"}'
    lines = [
        "START RequestId: 1",
        '{"level":"INFO","message":"outcome"}',
        '{"_aws":{"CloudWatchMetrics":[]},"Errors":1}',
        why,
        "END RequestId: 1",
        "REPORT RequestId: 1",
    ]
    assert _complaints(lines) == [why]

"""What all tests share: no test fails because a machine is slow."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("stopline", deadline=None)
settings.load_profile("stopline")

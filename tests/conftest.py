"""What all tests share: no test fails because a machine is slow, or because of how it was started."""

from __future__ import annotations

import signal

from hypothesis import settings

settings.register_profile("stopline", deadline=None)
settings.load_profile("stopline")

# `nohup` and a script's `&` start a run that ignores these signals, and its children would inherit that. A handler is
# not inherited: with one that does nothing the run is as deaf as before, and what the tests start hears.
for _each in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
    if signal.getsignal(_each) == signal.SIG_IGN:
        signal.signal(_each, lambda *_: None)

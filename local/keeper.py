"""Run one command, and leave nothing of it behind however its owner ends.

Started by path, as `python -I keeper.py FOLDER COMMAND...`, in a session of its own and with a pipe as standard
input that nobody writes to. When the pipe closes (the owner is done, was killed or crashed) or the command ends
by itself, the command's whole process group is ended and FOLDER is deleted. The command's process id, which is
also its group's, is the one line on standard output.

A pipe rather than PR_SET_PDEATHSIG: the signal is Linux only, it fires when the parent *thread* ends
(prctl(2)), and nobody would delete the folder.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

_LOOK_EVERY: Final = 0.2


def keep(command: list[str], folder: Path) -> int:
    """Run `command` until it ends or the owner is gone; return its exit status (negative: the signal)."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    child = None
    try:
        child = subprocess.Popen(  # noqa: S603 — the owner names the command
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            process_group=0,
        )
        print(child.pid, flush=True)
        while child.poll() is None and not _owner_is_gone():
            pass
        return child.poll() or 0
    finally:
        if child is not None:
            _end(child)
        shutil.rmtree(folder, ignore_errors=True)


def _owner_is_gone() -> bool:
    return bool(select.select([sys.stdin], [], [], _LOOK_EVERY)[0])


def _end(child: subprocess.Popen[bytes]) -> None:
    # The children of the command are in its group and may have outlived it. No SIGTERM first: it takes seconds, and
    # all there is to tidy up is in the folder.
    with contextlib.suppress(ProcessLookupError):  # the group is empty already
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


if __name__ == "__main__":
    sys.exit(keep(sys.argv[2:], Path(sys.argv[1])))

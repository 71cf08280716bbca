"""Child processes that never outlive the demo."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import psutil

#: Seconds that a process has to stop by itself before it is killed.
PATIENCE = 15
#: Of Linux's prctl: the signal that a process gets when its parent is gone.
PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


class Failed(Exception):
    """
    A process of the demo's did not do its part.

    :param log: the file that tells more
    """

    def __init__(self, sentence: str, log: Path) -> None:
        super().__init__(sentence)
        self.log = log


@contextmanager
def running(
    command: Sequence[str], *, env: dict[str, str], log: Path, ask: signal.Signals = signal.SIGTERM
) -> Iterator[subprocess.Popen[bytes]]:
    """
    Run a command, its output at the end of a file; on the way out stop it and all that it started.

    It gets a session of its own: Ctrl-C in the terminal reaches the demo alone, which stops its children in
    order, and those whose parent is gone are still found. If the demo is killed, Linux asks its children to stop.
    """

    def prepare() -> None:
        signal.signal(ask, signal.SIG_DFL)  # a job in the background passes on that it is deaf to Ctrl-C
        if _libc:
            _libc.prctl(PR_SET_PDEATHSIG, ask)

    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=prepare,
        )
        try:
            yield process
        finally:
            _stop(process, ask)


def leave_on_signals() -> None:
    """Let a closed terminal and a plain ``kill`` end the demo by the same clean way out as Ctrl-C."""

    def leave(number: int, _frame: FrameType | None) -> None:
        sys.exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)
    # A shell starts a background job deaf to Ctrl-C, and the job's children would be deaf too.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _stop(process: subprocess.Popen[bytes], ask: signal.Signals) -> None:
    # From here on the demo is leaving: an impatient second Ctrl-C must not leave half of it behind.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        if process.poll() is None:
            process.send_signal(ask)
            with suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE)
        for member in _session(process.pid):
            with suppress(psutil.NoSuchProcess):
                member.kill()
        process.wait()
    finally:
        signal.signal(signal.SIGINT, before)


def _session(leader: int) -> list[psutil.Process]:
    members = []
    for candidate in psutil.process_iter():
        with suppress(ProcessLookupError, PermissionError):
            if os.getsid(candidate.pid) == leader:
                members.append(candidate)
    return members

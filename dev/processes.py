"""Child processes that never outlive the program that started them, and free ports for them to listen on."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TypeVar

import psutil

T = TypeVar("T")

#: Seconds that a process may take to stop before it is killed.
STOP_TIMEOUT = 15
#: The lines of a log that are shown when something fails.
LAST_LINES = 40
#: The option of Linux's prctl that sets the signal which a process receives when its parent ends.
PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


class ProcessFailed(Exception):
    """
    A child process failed, or was not ready in time.

    :param sentence: what failed, for the user
    :param log: the file that holds the output of the process; None if it did not start
    """

    def __init__(self, sentence: str, log: Path | None = None) -> None:
        super().__init__(sentence)
        self.log = log
        #: The end of the output, read now because the file may be deleted soon.
        self.last_lines = log.read_text(errors="replace").splitlines()[-LAST_LINES:] if log and log.exists() else []
        if log:
            self.add_note("\n".join([f"The last lines of {log}:", *self.last_lines]))


class Process(subprocess.Popen[bytes]):
    """
    A child process that writes its output to a file.

    :param name: the process as error messages call it
    :param log: the file; new output is appended
    """

    def __init__(
        self, command: Sequence[str], *, name: str, log: Path, env: Mapping[str, str], stop_signal: signal.Signals
    ) -> None:
        self.name = name
        self.log = log
        self.stop_signal = stop_signal

        def prepare() -> None:
            if stop_signal != signal.SIGKILL:
                # A shell starts background jobs with SIGINT ignored, and child processes inherit that.
                signal.signal(stop_signal, signal.SIG_DFL)
            if _libc:
                _libc.prctl(PR_SET_PDEATHSIG, stop_signal)

        with log.open("ab") as output:
            super().__init__(
                command,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=prepare,
            )

    def stop(self) -> None:
        """Stop the process and everything that it has started."""
        # A second Ctrl-C must not interrupt this and leave a part of the processes behind.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            if self.poll() is None:
                self.send_signal(self.stop_signal)
                with suppress(subprocess.TimeoutExpired):
                    self.wait(STOP_TIMEOUT)
            for member in _members_of_session(self.pid):
                with suppress(psutil.NoSuchProcess):
                    member.kill()
            self.wait()
        finally:
            signal.signal(signal.SIGINT, before)


@contextmanager
def running(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    log: Path,
    name: str | None = None,
    stop_signal: signal.Signals = signal.SIGTERM,
) -> Iterator[Process]:
    """
    Run a command in the background; at the end of the ``with`` block stop it and everything that it has started.

    The process gets a session of its own. Ctrl-C in the terminal therefore reaches only the calling program, which
    stops its children in order, and descendants whose parent has ended can still be found. If the calling program is
    killed, Linux sends ``stop_signal`` to the process.

    :param name: the process as error messages call it; the name of the log file by default
    :param stop_signal: the signal that stops the process
    """
    process = Process(command, name=name or log.stem, log=log, env=env, stop_signal=stop_signal)
    try:
        yield process
    finally:
        process.stop()


def run(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    log: Path,
    name: str,
    timeout: float,
    while_running: Callable[[], object] = lambda: None,
) -> None:
    """
    Run a command and wait until it ends.

    :param timeout: the longest that it may run, in seconds
    :param while_running: called a few times a second
    :raises ProcessFailed: if its exit code is not 0, or it runs longer than ``timeout``
    """
    deadline = time.monotonic() + timeout
    with running(command, env=env, log=log, name=name) as process:
        while process.poll() is None:
            if time.monotonic() > deadline:
                raise ProcessFailed(f"{name} did not end within {timeout:.0f} seconds", log)
            while_running()
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.25)
    if process.returncode:
        raise ProcessFailed(f"{name} ended with exit code {process.returncode}", log)


def wait_for(look: Callable[[], T | None], what: str, *processes: Process, timeout: float) -> T:
    """
    Call a function until it returns a true value, and return that value.

    :param what: what is waited for, for the error message
    :param processes: the processes that must keep running meanwhile; if the time is over, the log of the first is shown
    :param timeout: in seconds
    :raises ProcessFailed: if a process ends, or the time is over
    """
    deadline = time.monotonic() + timeout
    while not (found := look()):
        for process in processes:
            if process.poll() is not None:
                raise ProcessFailed(f"{process.name} ended with exit code {process.returncode}", process.log)
        if time.monotonic() > deadline:
            raise ProcessFailed(f"{what} took longer than {timeout:.0f} seconds", processes[0].log)
        time.sleep(0.25)
    return found


def exit_on_signals() -> None:
    """Make a closed terminal and a plain ``kill`` end this program in the same orderly way as Ctrl-C does."""

    def leave(number: int, _frame: FrameType | None) -> None:
        sys.exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)
    # A shell starts background jobs with SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def free_port(wanted: int = 0) -> int:
    """Return the wanted port of the loopback address if it is free, and any free port otherwise."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _members_of_session(leader: int) -> list[psutil.Process]:
    members = []
    for candidate in psutil.process_iter():
        with suppress(ProcessLookupError, PermissionError):
            if os.getsid(candidate.pid) == leader:
                members.append(candidate)
    return members

"""A relay in front of a PostgreSQL server's socket that counts what the server sends: rows, and bytes."""

from __future__ import annotations

import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

#: The kind of the protocol's messages that hold a row.
DATA_ROW = ord("D")
NAME = ".s.PGSQL.5432"


class Wire:
    """
    What has crossed it so far.

    :param folder: of the relay's socket, which clients take as the host
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.rows = 0
        self.bytes = 0

    def relay(self, client: socket.socket, host: str) -> None:
        """Connect a client with the server, until either ends."""
        server = socket.socket(socket.AF_UNIX)
        server.connect(str(Path(host) / NAME))
        threading.Thread(target=self._pass_on, args=(client, server, False), daemon=True).start()
        threading.Thread(target=self._pass_on, args=(server, client, True), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, is_counted: bool) -> None:
        waiting = bytearray()
        with suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
                if is_counted:
                    self.bytes += len(data)
                    waiting += data
                    self._count(waiting)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def _count(self, waiting: bytearray) -> None:
        """Count the whole messages, of which each is a letter, its length, and its content."""
        at = 0
        while len(waiting) >= at + 5:
            end = at + 1 + int.from_bytes(waiting[at + 1 : at + 5], "big")
            if end > len(waiting):
                break
            self.rows += waiting[at] == DATA_ROW
            at = end
        del waiting[:at]


@contextmanager
def wire(host: str) -> Iterator[Wire]:
    """Relay to the server whose socket is in a folder."""
    with tempfile.TemporaryDirectory(prefix="fp-wire-") as folder, socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(Path(folder) / NAME))
        listening.listen()
        made = Wire(folder)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    made.relay(listening.accept()[0], host)

        threading.Thread(target=accept, daemon=True).start()
        yield made

"""Faults on demand: which request goes wrong, and how."""

from __future__ import annotations

import json
import random
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

Kind = Literal[
    "latency",
    "status",
    "reset_before",
    "reset_after",
    "truncated",
    "malformed",
    "html",
    "redirect",
    "bare_404",
    "huge",
    "bomb",
    "gzip",
    "drip",
]

#: Faults in which the API does its work first, and only its answer suffers.
AFTER_PROCESSING = frozenset({"reset_after", "truncated", "malformed", "huge", "bomb", "gzip", "drip"})


@dataclass(frozen=True)
class Fault:
    """
    One kind of trouble, and the requests that it meets.

    :param kind: what goes wrong
    :param times: how many matching requests it meets; None is for ever
    :param probability: the chance that a matching request meets it
    :param event_id: only requests whose body has this event_id
    :param path: only requests whose path ends so, such as ``/track/refund``
    :param status: the status of ``status``, ``html`` and ``redirect``; 0 takes 500, 502 and 307
    :param retry_after: the ``Retry-After`` header of ``status``, as it is to be sent
    :param message: the ``message`` in the JSON body of ``status``
    :param recorded: whether the API does its work before ``status``, ``html``, ``redirect`` or ``latency`` step in
    :param seconds: how long ``latency`` waits and ``drip`` takes for each byte
    :param max_seconds: if above ``seconds``, each wait of ``latency`` is drawn between the two
    :param location: where ``redirect`` points
    :param size: the size of the body of ``huge`` in bytes, and of ``bomb`` once it is unzipped
    :raises ValueError: there is no such kind, or a redirect leads nowhere
    """

    kind: Kind
    times: int | None = 1
    probability: float = 1.0
    event_id: str | None = None
    path: str | None = None
    status: int = 0
    retry_after: str | None = None
    message: str = "The sandbox was asked to fail."
    recorded: bool = False
    seconds: float = 0.0
    max_seconds: float = 0.0
    location: str = ""
    size: int = 10_000_000

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"there is no fault {self.kind!r}, only {', '.join(get_args(Kind))}")
        if self.kind == "redirect" and not self.location:
            raise ValueError("a redirect needs a location")

    @property
    def after_processing(self) -> bool:
        """Whether the API does its work before the fault steps in."""
        return self.recorded or self.kind in AFTER_PROCESSING

    def matches(self, path: str, event_id: str | None) -> bool:
        """:return: whether a request is one of those that the fault is for"""
        return (self.event_id is None or self.event_id == event_id) and path.endswith(self.path or "")


class Faults:
    """
    The faults in force, the earliest first.

    Chance is drawn from the seed, the request's path and event_id and how often it came: so a run with several
    threads meets the same faults again.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._seen: Counter[tuple[str, str | None]] = Counter()

    def add(self, fault: Fault) -> None:
        """Put a fault behind those already in force."""
        with self._lock:
            self._faults.append(fault)

    def clear(self) -> None:
        """Let everything go well again."""
        with self._lock:
            self._faults.clear()
            self._seen.clear()

    def active(self) -> list[dict[str, Any]]:
        """:return: the faults still in force, with the number of times that they have left"""
        with self._lock:
            return [asdict(fault) for fault in self._faults]

    def take(self, path: str, body: bytes) -> Fault | None:
        """
        :param path: of the request
        :param body: of the request, in which its event_id is looked for
        :return: the fault that this request meets, one time of which is then used up
        """
        if not self._faults:
            return None
        event_id = _event_id(body)
        with self._lock:
            self._seen[path, event_id] += 1
            rng = random.Random(f"{self.seed} {path} {event_id} {self._seen[path, event_id]}")
            for index, fault in enumerate(self._faults):
                if fault.matches(path, event_id) and rng.random() < fault.probability:
                    if fault.times is not None:
                        self._faults[index : index + 1] = (
                            [replace(fault, times=fault.times - 1)] if fault.times > 1 else []
                        )
                    return replace(fault, seconds=rng.uniform(fault.seconds, max(fault.seconds, fault.max_seconds)))
        return None


def _event_id(body: bytes) -> str | None:
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return None
    event_id = data.get("event_id") if isinstance(data, Mapping) else None
    return event_id if isinstance(event_id, str) else None

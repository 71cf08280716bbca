"""Faults on demand: which requests fail, and how."""

from __future__ import annotations

import json
import random
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Literal, get_args
from urllib.parse import parse_qs

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
    "stray_item",
    "changed_item",
    "missing_item",
    "repeated_item",
    "no_commissions",
    "empty_commissions",
    "batch_errors",
    "batch_failed",
    "batch_stopped",
]

#: The path of the list of commissions.
LISTING_PATH = "/company/commissions"
#: The paths of the calls that make commissions.
EVENT_PATHS = ("/track/refund", "/track/sale")
#: The kinds of fault that strike after the API has processed the request, so that only the response suffers.
AFTER_PROCESSING = frozenset(
    "reset_after truncated malformed huge bomb gzip drip stray_item changed_item missing_item repeated_item "
    "no_commissions empty_commissions".split()
)
#: The kinds of fault that the API itself applies to the batch that the request starts.
BATCH_KINDS = frozenset({"batch_errors", "batch_failed", "batch_stopped"})
#: The kinds of fault that match only requests with one of these paths.
PATHS_OF_KINDS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("stray_item", "missing_item", "repeated_item"), (LISTING_PATH,)),
    "changed_item": (LISTING_PATH, *EVENT_PATHS),
    **dict.fromkeys(("no_commissions", "empty_commissions"), EVENT_PATHS),
    **dict.fromkeys(BATCH_KINDS, (f"{LISTING_PATH}/deny",)),
}


@dataclass(frozen=True)
class Fault:
    """
    A kind of failure, and the requests to which it applies.

    :param kind: what happens to the request or its response
    :param times: the number of matching requests to which the fault applies; None is no limit
    :param probability: the probability that the fault applies to a matching request
    :param event_id: matches only requests whose body has this event_id, or whose query searches for it with ``q``; a
        list matches each of its event_ids
    :param path: matches only requests whose path ends with this text, such as ``/track/refund``; some kinds
        match only the calls that :data:`PATHS_OF_KINDS` names
    :param status: the HTTP status of ``status``, ``html`` and ``redirect``; 0 means 500, 502 and 307
    :param retry_after: the value of the ``Retry-After`` header of ``status``
    :param message: the ``message`` in the JSON body of ``status``; ``{event_id}`` in it becomes the request's event_id
    :param code: the ``code`` in the JSON body of ``status``; None omits it
    :param recorded: whether the API processes the request before ``status``, ``html``, ``redirect`` or ``latency``
        applies
    :param seconds: the delay of ``latency``, or the delay of ``drip`` for each byte
    :param max_seconds: if above ``seconds``, each delay of ``latency`` is a random number between the two
    :param location: the ``Location`` header of ``redirect``
    :param size: the size of the body in bytes: of ``huge`` as sent, of ``bomb`` once it is unzipped
    :param item: the JSON value that ``stray_item`` inserts before the first commission of the page, or the fields that
        ``changed_item`` replaces, such as ``{"is_paid": "true"}``
    :param ids: the commissions that ``changed_item``, ``missing_item`` and ``repeated_item`` affect (none: the first),
        or that ``batch_errors`` does not process, with ``message`` as the reason
    :param after: the number of commissions that ``batch_failed`` and ``batch_stopped`` process before the batch ends;
        they apply only to batches of more than five commissions
    :raises ValueError: if the kind is unknown, or a redirect has no location
    """

    kind: Kind
    times: int | None = 1
    probability: float = 1.0
    event_id: str | list[str] | None = None
    path: str | None = None
    status: int = 0
    retry_after: str | None = None
    message: str = "The sandbox was asked to fail."
    code: str | None = None
    recorded: bool = False
    seconds: float = 0.0
    max_seconds: float = 0.0
    location: str = ""
    size: int = 10_000_000
    item: Any = None
    ids: tuple[int, ...] = ()
    after: int = 0

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"there is no fault {self.kind!r}, only {', '.join(get_args(Kind))}")
        if self.kind == "redirect" and not self.location:
            raise ValueError("a redirect needs a location")

    @property
    def after_processing(self) -> bool:
        """Whether the API processes the request before the fault applies."""
        return self.recorded or self.kind in AFTER_PROCESSING

    def matches(self, path: str, event_id: str | None) -> bool:
        """Return whether the fault applies to requests with this path and event_id."""
        return (
            (self.event_id is None or event_id in self._event_ids)
            and path.endswith(self.path or "")
            and path.endswith(PATHS_OF_KINDS.get(self.kind, ("",)))
        )

    @cached_property
    def _event_ids(self) -> frozenset[str]:
        return frozenset([self.event_id] if isinstance(self.event_id, str) else self.event_id or [])


class Faults:
    """
    The active faults, in the order in which they were added.

    Random numbers depend on the seed, the request's path and event_id, and the number of such requests so far. They do
    not depend on the order of different requests, so that a run with several threads can be repeated.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._seen: Counter[tuple[str, str | None]] = Counter()

    def add(self, fault: Fault) -> None:
        """Add a fault; faults that were added earlier take precedence."""
        with self._lock:
            self._faults.append(fault)

    def clear(self) -> None:
        """Remove all faults."""
        with self._lock:
            self._faults.clear()
            self._seen.clear()

    def active(self) -> list[dict[str, Any]]:
        """Return the active faults; ``times`` is the number of requests to which each still applies."""
        with self._lock:
            return [asdict(fault) for fault in self._faults]

    def take(self, path: str, query: bytes, body: bytes) -> Fault | None:
        """
        Find the fault that applies to a request, and reduce its ``times`` by one.

        :param path: the path of the request
        :param query: the query of the request, which may search for an event_id with ``q``
        :param body: the body of the request, which may contain an event_id
        :return: the fault for this request, with its delay drawn and its message completed; None if no fault applies
        """
        if not self._faults:
            return None
        event_id = _event_id(body) if body else _searched_event_id(query)
        with self._lock:
            self._seen[path, event_id] += 1
            rng = random.Random(f"{self.seed} {path} {event_id} {self._seen[path, event_id]}")
            for index, fault in enumerate(self._faults):
                if fault.matches(path, event_id) and rng.random() < fault.probability:
                    if fault.times is not None:
                        self._faults[index : index + 1] = (
                            [replace(fault, times=fault.times - 1)] if fault.times > 1 else []
                        )
                    return replace(
                        fault,
                        seconds=rng.uniform(fault.seconds, max(fault.seconds, fault.max_seconds)),
                        message=fault.message.replace("{event_id}", event_id or ""),
                    )
        return None


def _event_id(body: bytes) -> str | None:
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return None
    event_id = data.get("event_id") if isinstance(data, Mapping) else None
    return event_id if isinstance(event_id, str) else None


def _searched_event_id(query: bytes) -> str | None:
    return parse_qs(query.decode("latin-1")).get("q", [None])[0]

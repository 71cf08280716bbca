"""What stands between the network and the API: it notes every request down, and makes the faults happen."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import struct
import time
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from airflow_provider_firstpromoter.sandbox.faults import Fault, Faults
from airflow_provider_firstpromoter.sandbox.store import Books, stamp

API = "/api/v2"
REFUND = f"{API}/track/refund"
#: Headers that the audit keeps; of the key itself it only keeps the length.
KEPT = ("account-id", "content-type", "user-agent", "accept", "accept-encoding")


@dataclass
class Answer:
    """A whole answer, before it goes out."""

    status: int = 500
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""

    @classmethod
    def of(cls, status: int, body: bytes, kind: str, **headers: str) -> Answer:
        """:param headers: further ones, with ``_`` for ``-`` in their names"""
        pairs = {"content-type": kind, "content-length": str(len(body))} if body else {"content-length": "0"}
        pairs |= {name.replace("_", "-"): value for name, value in headers.items()}
        return cls(status, [(name.encode(), value.encode()) for name, value in pairs.items()], body)

    def with_body(self, body: bytes, **headers: str) -> Answer:
        """:return: the same status with other contents; what had none becomes a 200"""
        return Answer.of(200 if self.status == 204 else self.status, body, "application/json; charset=utf-8", **headers)


class Front:
    """
    ASGI middleware for the paths of the API; control endpoints pass through untouched.

    :param app: the API
    :param books: where requests are noted down
    :param faults: what is to go wrong
    """

    def __init__(self, app: ASGIApp, books: Books, faults: Faults) -> None:
        self.app = app
        self.books = books
        self.faults = faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(API + "/"):
            await self.app(scope, receive, send)
            return
        body = await _whole(receive)
        number = self._note(scope, body)
        fault = self.faults.draw(scope["path"], body)
        if fault is None:
            answer = await self._ask(scope, body)
            self._answered(number, answer.status)
            await _send(send, answer)
        else:
            await self._fail(fault, number, scope, body, receive, send)

    async def _fail(self, fault: Fault, number: int, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        answer = await self._ask(scope, body) if fault.after else Answer()
        if fault.kind in ("reset_before", "reset_after"):
            _reset(scope)
            await _gone(receive)
            return
        if fault.kind == "latency":
            resets = self.books.resets
            await asyncio.sleep(fault.seconds)
            if self.books.resets != resets:  # the world that it was sent to is no more
                _reset(scope)
                await _gone(receive)
                return
            answer = answer if fault.after else await self._ask(scope, body)
        elif fault.kind not in ("truncated", "drip"):
            answer = _spoilt(fault, answer)
        self._answered(number, answer.status)
        if fault.kind == "truncated" and answer.body:
            await _send(send, answer, upto=len(answer.body) // 2)
            scope["state"]["transport"].close()
            await _gone(receive)
        elif fault.kind == "drip":
            await _drip(send, answer, fault.seconds)
        else:
            await _send(send, answer)

    async def _ask(self, scope: Scope, body: bytes) -> Answer:
        """:return: what the API answers to a request, as one piece"""
        answer = Answer()
        chunks: list[bytes] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer.status = message["status"]
                answer.headers = list(message["headers"])
            else:
                chunks.append(message.get("body", b""))

        await self.app(scope, receive, send)
        answer.body = b"".join(chunks)
        return answer

    def _note(self, scope: Scope, body: bytes) -> int:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        refund = scope["path"] == REFUND and scope["method"] == "POST"
        kept = {name: headers[name] for name in KEPT if name in headers}
        if "authorization" in headers:
            kept["authorization"] = f"[{len(headers['authorization'])} characters]"
        return self.books.insert(
            "requests",
            account=headers.get("account-id"),
            method=scope["method"],
            path=scope["path"],
            query=scope["query_string"].decode("latin-1"),
            at=time.monotonic(),
            received_at=stamp(),
            headers=json.dumps(kept) if refund else None,
            body=body if refund else None,
        )

    def _answered(self, number: int, status: int) -> None:
        self.books.all("UPDATE requests SET status = ? WHERE id = ?", (status, number))


def _spoilt(fault: Fault, answer: Answer) -> Answer:
    """:return: what goes out in the answer's place"""
    match fault.kind:
        case "status":
            extra = {} if fault.retry_after is None else {"retry_after": fault.retry_after}
            text = b"" if fault.status in (204, 304) else json.dumps({"message": fault.message}).encode()
            return Answer.of(fault.status or 500, text, "application/json", **extra)
        case "html":
            page = b"<!DOCTYPE html><html><head><title>Gateway</title></head><body><h1>Gateway</h1></body></html>"
            return Answer.of(fault.status or 502, page, "text/html; charset=utf-8")
        case "redirect":
            return Answer.of(fault.status or 307, b"", "text/plain", location=fault.location)
        case "bare_404":
            return Answer.of(404, b"Not Found", "text/plain; charset=utf-8")
        case "malformed":
            return answer.with_body(b'{"id": 1, "type": refund, ')
        case "huge":
            return answer.with_body(b'{"message": "' + b"x" * max(0, fault.size - 15) + b'"}')
        case "bomb":
            return answer.with_body(gzip.compress(bytes(fault.size)), content_encoding="gzip")
        case "gzip":
            return answer.with_body(gzip.compress(answer.body), content_encoding="gzip")
        case _:
            raise AssertionError(fault.kind)


async def _whole(receive: Receive) -> bytes:
    chunks: list[bytes] = []
    while True:
        message = await receive()
        chunks.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(chunks)


async def _send(send: Send, answer: Answer, upto: int | None = None) -> None:
    """:param upto: how many bytes of the body to send, leaving the answer unfinished; None sends all"""
    await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
    await send({"type": "http.response.body", "body": answer.body[:upto], "more_body": upto is not None})


async def _drip(send: Send, answer: Answer, seconds: float) -> None:
    await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
    for place in range(len(answer.body)):
        await send({"type": "http.response.body", "body": answer.body[place : place + 1], "more_body": True})
        await asyncio.sleep(seconds)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _reset(scope: Scope) -> None:
    transport: asyncio.Transport = scope["state"]["transport"]
    # Without lingering the peer is told RST, not the FIN that would end a connection in good order.
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


async def _gone(receive: Receive) -> None:
    """Wait until the server has seen that the connection is gone, lest it answers in the API's place."""
    while (await receive())["type"] != "http.disconnect":
        pass

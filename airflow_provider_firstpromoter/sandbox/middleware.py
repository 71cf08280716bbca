"""ASGI middleware that records every request to the API and applies the faults."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import socket
import struct
import time
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from airflow_provider_firstpromoter.sandbox.faults import BATCH_KINDS, LISTING_PATH, Fault, Faults
from airflow_provider_firstpromoter.sandbox.store import Store, timestamp

API_PATH = "/api/v2"
#: The start of the paths of the tracking calls.
TRACK_PATH = f"{API_PATH}/track/"
COMMISSIONS_PATH = f"{API_PATH}{LISTING_PATH}"
#: The headers that the audit stores unchanged; of the API key it stores only the length.
AUDITED_HEADERS = ("account-id", "content-type", "user-agent", "accept", "accept-encoding")


@dataclass
class BufferedResponse:
    """A complete response of the API that has not been sent yet."""

    status: int = 500
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""

    @classmethod
    def build(cls, status: int, body: bytes, content_type: str, **headers: str) -> BufferedResponse:
        """
        Create a response with a body.

        :param headers: further headers, with ``_`` for ``-`` in their names
        """
        pairs = {"content-type": content_type, "content-length": str(len(body))} if body else {"content-length": "0"}
        pairs |= {name.replace("_", "-"): value for name, value in headers.items()}
        return cls(status, [(name.encode(), value.encode()) for name, value in pairs.items()], body)

    def with_body(self, body: bytes, **headers: str) -> BufferedResponse:
        """Return a response with this body and the same status; a 204, which has no body, becomes a 200."""
        return BufferedResponse.build(
            200 if self.status == 204 else self.status, body, "application/json; charset=utf-8", **headers
        )


class FaultMiddleware:
    """
    Records requests to the API and applies faults to them; control endpoints are passed through unchanged.

    :param app: the API
    :param store: stores the requests
    :param faults: the active faults
    """

    def __init__(self, app: ASGIApp, store: Store, faults: Faults) -> None:
        self.app = app
        self.store = store
        self.faults = faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(API_PATH + "/"):
            await self.app(scope, receive, send)
            return
        body = await _read_body(receive)
        request_id = self._record_request(scope, body)
        fault = self.faults.take(scope["path"], scope["query_string"], body)
        if fault is not None and fault.kind in BATCH_KINDS:
            scope["state"]["batch_fault"] = fault
            fault = None
        if fault is None:
            response = await self._call_app(scope, body)
            self._record_status(request_id, response.status)
            await _send_response(send, response)
        else:
            await self._respond_with_fault(fault, request_id, scope, body, receive, send)

    async def _respond_with_fault(
        self, fault: Fault, request_id: int, scope: Scope, body: bytes, receive: Receive, send: Send
    ) -> None:
        response = await self._call_app(scope, body) if fault.after_processing else BufferedResponse()
        if fault.kind in ("reset_before", "reset_after"):
            _reset_connection(scope)
            await _wait_for_disconnect(receive)
            return
        if fault.kind == "latency":
            reset_count = self.store.reset_count
            await asyncio.sleep(fault.seconds)
            if self.store.reset_count != reset_count:  # else a request from before the reset would change the new data
                _reset_connection(scope)
                await _wait_for_disconnect(receive)
                return
            response = response if fault.after_processing else await self._call_app(scope, body)
        elif fault.kind == "stray_item" and re.search(rb"(?:^|&)page=(?!1(?:&|$))", scope["query_string"]):
            pass  # one item a listing: with one on each page, no page would be the last
        elif fault.kind not in ("truncated", "drip"):
            response = _replace_response(fault, response)
        self._record_status(request_id, response.status)
        if fault.kind == "truncated" and response.body:
            await _send_response(send, response, truncate_at=len(response.body) // 2)
            scope["state"]["transport"].close()
            await _wait_for_disconnect(receive)
        elif fault.kind == "drip":
            await _send_slowly(send, response, fault.seconds)
        else:
            await _send_response(send, response)

    async def _call_app(self, scope: Scope, body: bytes) -> BufferedResponse:
        """Return the API's complete response to a request."""
        response = BufferedResponse()
        chunks: list[bytes] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                response.status = message["status"]
                response.headers = list(message["headers"])
            else:
                chunks.append(message.get("body", b""))

        await self.app(scope, receive, send)
        response.body = b"".join(chunks)
        return response

    def _record_request(self, scope: Scope, body: bytes) -> int:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        is_tracking = scope["path"].startswith(TRACK_PATH)
        audited = {name: headers[name] for name in AUDITED_HEADERS if name in headers}
        if "authorization" in headers:
            audited["authorization"] = f"[{len(headers['authorization'])} characters]"
        return self.store.insert(
            "requests",
            account=headers.get("account-id"),
            method=scope["method"],
            path=scope["path"],
            query=scope["query_string"].decode("latin-1"),
            at=time.monotonic(),
            received_at=timestamp(),
            headers=json.dumps(audited) if is_tracking else None,
            body=body if is_tracking else None,
        )

    def _record_status(self, request_id: int, status: int) -> None:
        self.store.execute("UPDATE requests SET status = ? WHERE id = ?", (status, request_id))


def _replace_response(fault: Fault, response: BufferedResponse) -> BufferedResponse:
    """Return the response that the fault sends instead of the API's."""
    match fault.kind:
        case "status":
            extra = {} if fault.retry_after is None else {"retry_after": fault.retry_after}
            fields = {"message": fault.message} | ({} if fault.code is None else {"code": fault.code})
            text = b"" if fault.status in (204, 304) else json.dumps(fields).encode()
            return BufferedResponse.build(fault.status or 500, text, "application/json", **extra)
        case "html":
            page = b"<!DOCTYPE html><html><head><title>Gateway</title></head><body><h1>Gateway</h1></body></html>"
            return BufferedResponse.build(fault.status or 502, page, "text/html; charset=utf-8")
        case "redirect":
            return BufferedResponse.build(fault.status or 307, b"", "text/plain", location=fault.location)
        case "bare_404":
            return BufferedResponse.build(404, b"Not Found", "text/plain; charset=utf-8")
        case "malformed":
            return response.with_body(b'{"id": 1, "type": refund, ')
        case "huge":
            return response.with_body(b'{"message": "' + b"x" * max(0, fault.size - 15) + b'"}')
        case "bomb":
            return response.with_body(gzip.compress(bytes(fault.size)), content_encoding="gzip")
        case "gzip":
            return response.with_body(gzip.compress(response.body), content_encoding="gzip")
        case "stray_item" | "changed_item" | "missing_item" | "repeated_item" | "no_commissions" | "empty_commissions":
            return response.with_body(_damage(fault, response.body)) if response.status == 200 else response
        case _:
            raise AssertionError(fault.kind)


def _damage(fault: Fault, body: bytes) -> bytes:
    """Return a page of commissions, or the 200 of a sale or a refund in either shape, with other commissions."""
    content = json.loads(body)
    if fault.kind in ("no_commissions", "empty_commissions"):
        content = {name: value for name, value in content.items() if name not in ("reward", "commissions")}
        content |= {"commissions": []} if fault.kind == "empty_commissions" else {}
        return json.dumps(content).encode()
    page = content if isinstance(content, list) else content.get("commissions", [content.get("reward")])
    chosen = [each for each in page if each["id"] in fault.ids] if fault.ids else page[:1]
    if fault.kind == "stray_item":
        page.insert(0, fault.item)
    for each in chosen:
        if fault.kind == "changed_item":
            each.update(fault.item)
        elif fault.kind == "missing_item":
            page.remove(each)
        elif fault.kind == "repeated_item":
            page.append(each)
    return json.dumps(content).encode()


async def _read_body(receive: Receive) -> bytes:
    chunks: list[bytes] = []
    while True:
        message = await receive()
        chunks.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(chunks)


async def _send_response(send: Send, response: BufferedResponse, truncate_at: int | None = None) -> None:
    """
    Send a response.

    :param truncate_at: the number of bytes of the body after which the response stays unfinished; None sends all
    """
    await send({"type": "http.response.start", "status": response.status, "headers": response.headers})
    await send(
        {"type": "http.response.body", "body": response.body[:truncate_at], "more_body": truncate_at is not None}
    )


async def _send_slowly(send: Send, response: BufferedResponse, seconds: float) -> None:
    await send({"type": "http.response.start", "status": response.status, "headers": response.headers})
    for position in range(len(response.body)):
        await send({"type": "http.response.body", "body": response.body[position : position + 1], "more_body": True})
        await asyncio.sleep(seconds)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _reset_connection(scope: Scope) -> None:
    transport: asyncio.Transport = scope["state"]["transport"]
    # With a linger time of zero the peer receives RST instead of FIN, which would close the connection normally.
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


async def _wait_for_disconnect(receive: Receive) -> None:
    """Wait until the server notices the closed connection; otherwise it would send a response of its own."""
    while (await receive())["type"] != "http.disconnect":
        pass

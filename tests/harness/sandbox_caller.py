"""A client of a sandbox on a free port, which looks at what every response carries."""

from __future__ import annotations

import base64
import gzip
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import ClientSession, FormData, web

from passthrough.sandbox import Pace, app

Json = Any


@dataclass(slots=True)
class Clock:
    """Seconds since the epoch, as the test says."""

    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        """Return them."""
        return self.now


@dataclass(slots=True)
class Caller:
    """A client of one sandbox that neither decompresses nor follows anything."""

    session: ClientSession
    base: str
    clock: Clock = field(default_factory=Clock)

    async def call(self, method: str, path: str, **rest: Any) -> tuple[int, Json]:
        """Return status and JSON of a response, after a look at what every response carries."""
        async with self.session.request(method, path if "://" in path else self.base + path, **rest) as response:
            raw = await response.read()
            assert response.headers["x-passthrough-sandbox"] == "true"
            assert len(response.headers["mistral-correlation-id"]) == 36
            plain = gzip.decompress(raw) if response.headers.get("content-encoding") == "gzip" else raw
            return response.status, json.loads(plain)

    async def ocr(self, document: object, path: str = "/v1/ocr", **rest: object) -> tuple[int, Json]:
        """Return status and JSON of an OCR call for the latest model."""
        body = json.dumps({"model": "mistral-ocr-latest", "document": document, **rest}).encode()
        return await self.call("POST", path, data=io.BytesIO(body))  # aiohttp warns of megabytes sent as bytes

    async def upload(self, content: bytes, name: str = "a.pdf", **fields: str) -> tuple[int, Json]:
        """Return status and JSON of an upload."""
        form = FormData(fields, quote_fields=False)
        form.add_field("file", io.BytesIO(content), filename=name)
        return await self.call("POST", "/v1/files", data=form)


@asynccontextmanager
async def sandbox(**options: Any) -> AsyncIterator[Caller]:
    """A sandbox with these options on a free port, at full speed, and a caller of it."""
    clock = Clock()
    options = {"pace": Pace(0.0, 0.0), **options}
    runner = web.AppRunner(app(clock=clock, **options), access_log=None, handler_cancellation=True, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with ClientSession(auto_decompress=False) as session:
            yield Caller(session, f"http://127.0.0.1:{runner.addresses[0][1]}", clock)
    finally:
        await runner.cleanup()


def data_uri(content: bytes, mime: str = "application/pdf") -> str:
    """Return the data URI of some bytes."""
    return f"data:{mime};base64,{base64.b64encode(content).decode()}"


def document(content: bytes) -> dict[str, str]:
    """Return a document that carries its bytes."""
    return {"type": "document_url", "document_url": data_uri(content)}


def shaped(kind: str, message: str, code: str | None, status: int = 400) -> dict[str, object]:
    """Return the body of an error in Mistral's shape."""
    body = {"object": "error", "message": message, "type": kind, "param": None, "code": code}
    return {**body, "raw_status_code": status}

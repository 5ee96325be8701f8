"""A program with budgets, asked over raw sockets: what it lets through, and what it says of its budgets."""

from __future__ import annotations

import json
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

from tests.harness.client import asking, client
from tests.harness.process import Program
from tests.harness.upstream import RawUpstream, answering, ok, upstream

KEY = "pt-a-key-of-some-length"
OTHER = "pt-another-key-of-some-length"


def pages(count: int) -> bytes:
    """Return an OCR answer of so many pages."""
    body = {"pages": [], "model": "mistral-ocr-2512", "usage_info": {"pages_processed": count, "doc_size_bytes": 1}}
    return ok(json.dumps(body).encode(), b"Content-Type: application/json")


def configured(port: int, *, team: str = "", route: str = "", rest: str = "") -> str:
    """Return a configuration with two clients and two routes; what is given is added to the team's key, to /ocr, to the top."""
    return f"""
pass_through_endpoints:
  - path: /ocr
    target: http://127.0.0.1:{port}/v1/ocr
    headers: {{Authorization: Bearer upstream}}
    meter: {{shape: ocr}}
    {route}
  - path: /more
    target: http://127.0.0.1:{port}/v1/ocr
    headers: {{Authorization: Bearer upstream}}
    meter: {{shape: ocr}}
client_keys:
  - name: team
    key: {KEY}
    {team}
  - {{name: other, key: {OTHER}}}
{rest}
"""


def counting(answer: bytes) -> AbstractAsyncContextManager[RawUpstream]:
    """Run a target that answers every request with the same."""
    return upstream(answering(answer))


@dataclass(frozen=True, slots=True)
class Answered:
    """What came back."""

    status: int
    fields: dict[str, str]
    body: dict[str, Any]

    @property
    def error(self) -> str | None:
        """The code of our own answer, None for another's."""
        return self.fields.get("x-passthrough-error")


async def ask(port: int, path: str = "/ocr", key: str = KEY) -> Answered:
    """Send one request and return its answer."""
    line = f"POST {path} HTTP/1.1".encode()
    async with client(port) as raw:
        await raw.send(asking(line, f"Authorization: Bearer {key}".encode(), body=b"{}"))
        head, body = await raw.answer()
    lines = head.decode().split("\r\n")
    fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:-2])}
    return Answered(int(lines[0].split()[1]), fields, json.loads(body))


async def turn(running: Program, path: str = "/ocr", key: str = KEY) -> Answered:
    """Send one request, and return its answer when it is counted: it is logged then."""
    before = len(running.log)
    answered = await ask(running.port, path, key)
    await running.logs(before + 1)
    return answered


async def standing(running: Program) -> list[dict[str, Any]]:
    """Return what /budgets says."""
    async with client(running.admin_port) as raw:
        await raw.send(b"GET /budgets HTTP/1.1\r\nHost: localhost\r\n\r\n")
        _, body = await raw.answer()
    return list(json.loads(body)["budgets"])


async def degraded(running: Program) -> dict[str, str]:
    """Return what /readyz says is in trouble, and why."""
    async with client(running.admin_port) as raw:
        await raw.send(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        _, body = await raw.answer()
    return dict(json.loads(body)["degraded"])

"""Requests to `/v1/ocr` over raw sockets, and tables of the deployments that are to get them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from passthrough.proxy.deployments.deployment import Deployment, ModelGroup, Routing
from passthrough.proxy.deployments.model_table import ModelTable

DATA = "data:application/pdf;base64,JVBERi0xLjQK"


def request(body: bytes, path: str = "/v1/ocr", *fields: str, length: bool = True) -> bytes:
    """Return one POST."""
    head = [f"POST {path} HTTP/1.1", "Host: x", "Content-Type: application/json", *fields]
    if length:
        head.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*head, "", ""]).encode() + body


async def ask(port: int, data: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send bytes on a connection of their own; return the status, fields and body of the response."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        return await response(reader)
    finally:
        writer.close()


async def response(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """Read one response with a Content-Length; fields of one name are joined with commas (RFC 9110 §5.3)."""
    async with asyncio.timeout(20):
        line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
        fields: dict[str, str] = {}
        for name, _, value in (each.partition(": ") for each in lines):
            fields[name.lower()] = f"{fields[name.lower()]}, {value}" if name.lower() in fields else value
        return int(line.split()[1]), fields, await reader.readexactly(int(fields["content-length"]))


def table(*deployments: Deployment, routing: Routing = Routing()) -> ModelTable:
    """Return a table of these, in the groups that they name."""
    names = dict.fromkeys(each.group for each in deployments)
    return ModelTable([ModelGroup(name, tuple(d for d in deployments if d.group == name)) for name in names], routing)


def body_of(model: str = "mistral-ocr", url: str = DATA, **more: Any) -> bytes:
    """Return the body of a request."""
    return json.dumps({"model": model, "document": {"type": "document_url", "document_url": url}, **more}).encode()

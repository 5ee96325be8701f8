"""Clients of every kind: kept and pipelined connections, slow ones, refused ones, and ones that leave at any moment."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from tests.harness.client import RawClient
from tests.harness.upstream import chunk

KEYS = {"all": "soak-key-one", "few": "soak-key-two"}
"""Name of a client → its key; `few` may have few requests under way."""


@dataclass(slots=True)
class Seen:
    """What a client saw of one request.

    `whole` tells that the answer came to its end. `left` tells that the client did not stay for it, or cannot know whether the
    request was read. `late` tells that nothing came in time, which must never be.
    """

    kind: str
    method: str = "POST"
    status: int | None = None
    error: str | None = None
    whole: bool = False
    left: bool = False
    late: bool = False
    pages: int | None = None
    body_crc: int = 0
    strange: str = ""


@dataclass(slots=True)
class Request:
    """One request as bytes: a head, and the body's pieces with their framing."""

    ident: int
    method: str
    head: bytes
    pieces: list[bytes]

    @property
    def whole(self) -> bytes:
        """All of it."""
        return self.head + b"".join(self.pieces)


REFUSED = ("no key", "wrong key", "no route", "two lengths", "no HTTP", "bad chunks")
LEAVING = ("in the head", "in the body", "behind the body", "while it waits", "in the answer")
KINDS: tuple[tuple[int, str], ...] = (
    (500, "keeps"),
    (120, "pipelines"),
    *((30, kind) for kind in LEAVING),
    *((8, kind) for kind in REFUSED),
    (30, "uploads slowly"),
    (30, "reads slowly"),
    (30, "speaks 1.0"),
    (30, "expects"),
    (60, "gets"),
)
"""How often (of about a thousand connections) → what kind of client it is."""


@dataclass(slots=True)
class Crowd:
    """All clients, and what they saw, by the id of the request."""

    port: int
    chance: random.Random
    seen: dict[int, Seen] = field(default_factory=dict)
    made: int = 0

    def session(self) -> tuple[int, asyncio.Task[None]]:
        """Start one connection; return how many requests it makes, and its task."""
        kind = self.chance.choices([kind for _, kind in KINDS], [weight for weight, _ in KINDS])[0]
        count = self.chance.randrange(1, 7) if kind in {"keeps", "pipelines"} else 1
        requests = [self._request(kind) for _ in range(count)]
        return count, asyncio.create_task(self._run(kind, requests))

    # ── requests ──

    def _request(self, kind: str) -> Request:
        self.made += 1
        ident, chance = self.made, self.chance
        method = chance.choice(["GET", "HEAD"]) if kind == "gets" else "POST"
        self.seen[ident] = Seen(kind, method)
        body = b"" if method != "POST" else chance.randbytes(self._size(kind))
        path = "/again" if chance.random() < 0.1 else "/up"
        key = KEYS["few"] if chance.random() < 0.1 else KEYS["all"]
        key = {"no key": "", "wrong key": "soak-key-three"}.get(kind, key)
        path = "/nowhere" if kind == "no route" else path
        lines = [f"{method} {path}/v1/{'ocr' if method == 'POST' else 'models'} HTTP/1.{0 if kind == 'speaks 1.0' else 1}"]
        lines += ["Host: localhost", f"x-soak-id: {ident}", f"x-soak-crc: {zlib.crc32(body)}"]
        lines += [f"Authorization: Bearer {key}"] if key else []
        lines += ["Expect: 100-continue"] if kind == "expects" else []
        chunked = kind == "bad chunks" or (
            method == "POST" and kind not in {"speaks 1.0", "two lengths"} and chance.random() < 0.3
        )
        cut = [body[start : start + 8192] for start in range(0, len(body), 8192)]
        if chunked:
            lines.append("Transfer-Encoding: chunked")
            cut = [*map(chunk, cut), chunk(b"") if kind != "bad chunks" else b"zz\r\n"]
        elif method == "POST":
            lines += [f"Content-Length: {len(body)}"] * (2 if kind == "two lengths" else 1)
        if kind == "no HTTP":
            lines = ["HELO soak.test"]
        return Request(ident, method, "\r\n".join([*lines, "", ""]).encode(), cut)

    def _size(self, kind: str) -> int:
        if kind in {"uploads slowly", "in the body"}:  # Some of them so long that their rest goes past the parser.
            return self.chance.randrange(20_000, 1_000_000 if self.chance.random() < 0.4 else 100_000)
        large = self.chance.random()
        return 2_000_000 if large > 0.998 else self.chance.randrange(200_000 if large > 0.97 else 3_000)

    # ── clients ──

    async def _run(self, kind: str, requests: list[Request]) -> None:
        """Make the requests on one connection; what was not answered when it ended was `left`, or is late."""
        limit = 4096 if kind == "reads slowly" else 2**20  # beyond twice of it the kernel must hold the rest, then the proxy
        waiting = iter(requests)
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=limit)
        one = RawClient(reader, writer)
        try:
            async with asyncio.timeout(30):
                if kind == "pipelines":
                    await one.send(b"".join(request.whole for request in requests))
                for request in waiting:
                    if kind != "pipelines":
                        await self._send(one, kind, request)
                    if self.seen[request.ident].left or not await self._read(one, kind, request):
                        break
        except TimeoutError:
            self.seen[request.ident].late = True
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            self.seen[request.ident].strange = type(error).__name__
        finally:
            writer.close()
        for request in waiting:
            self.seen[request.ident].left = True

    async def _send(self, one: RawClient, kind: str, request: Request) -> None:
        """Send a request as this kind of client does; a connection that breaks meanwhile may have its answer in it."""
        seen, chance = self.seen[request.ident], self.chance
        pieces = [request.head, *request.pieces]
        if kind in LEAVING[:2]:
            whole, head = request.whole, len(request.head)
            end = chance.randrange(1, head) if kind == LEAVING[0] else chance.randrange(head, len(whole))
            pieces = [whole[:end]]
        with contextlib.suppress(ConnectionError):
            if kind == "uploads slowly":
                for piece in pieces:
                    await one.send(piece)
                    await asyncio.sleep(chance.random() / 30)
            elif kind == "expects":
                await one.send(request.head)
                await asyncio.sleep(chance.random() / 100)
                await one.send(*request.pieces)
            else:
                await one.send(b"".join(pieces))
        if kind in LEAVING[:4]:
            seen.left = True
            if kind == "while it waits" or chance.random() < 0.3:
                await asyncio.sleep(chance.random() / 20)
            if chance.random() < 0.5 and not one.writer.is_closing():
                one.reset()

    async def _read(self, one: RawClient, kind: str, request: Request) -> bool:
        """Read the answer and note what it was; tell whether another may come on the connection."""
        seen = self.seen[request.ident]
        head = await one.head()
        while head[9:10] == b"1":
            head = await one.head()
        seen.status = int(head[9:12])
        found = re.search(rb"\r\nX-Passthrough-Error: (\w+)\r\n", head)
        seen.error = found[1].decode() if found else None
        if kind == "in the answer":
            seen.left = True
            if not one.writer.is_closing():
                one.reset()
            return False
        body = b"".join([piece async for piece in self._body(one, kind, request.method, head)])
        seen.whole, seen.body_crc = True, zlib.crc32(body)
        if b"\r\nx-request-id: " in head and b"\r\nx-request-id: %d\r\n" % request.ident not in head:
            seen.strange = "the answer to another request"
        with contextlib.suppress(ValueError, TypeError, KeyError):
            answer = json.loads(body)
            if "soak" in answer and answer["soak"] != request.ident:
                seen.strange = "the document of another request"
            if seen.status == 200:
                seen.pages = answer["usage_info"]["pages_processed"]
        return b"\r\nconnection: close\r\n" not in head.lower() and kind != "speaks 1.0"

    async def _body(self, one: RawClient, kind: str, method: str, head: bytes) -> AsyncIterator[bytes]:
        """Yield the pieces of a body until it is whole; raise where it never will be."""
        lower = head.lower()
        length = re.search(rb"\r\ncontent-length: *(\d+)\r\n", lower)
        if method == "HEAD":
            return
        if b"\r\ntransfer-encoding: chunked\r\n" in lower:
            while size := int((await one.reader.readuntil(b"\r\n"))[:-2], 16):
                yield (await one.reader.readexactly(size + 2))[:-2]
            assert b"\r\n" == await one.reader.readexactly(2)
            return
        left = int(length[1]) if length else -1
        while left:
            piece = await one.reader.read(min(left, 65536) if length else 65536)
            if kind == "reads slowly":
                await asyncio.sleep(self.chance.random() / 100)
            if not piece and length:
                raise asyncio.IncompleteReadError(b"", left)
            if not piece:
                return
            left -= len(piece)
            yield piece

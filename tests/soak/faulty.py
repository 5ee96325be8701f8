"""A target that misbehaves at random, and remembers for each request what it did."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import random
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from passthrough.proxy.net import sockets
from tests.harness.upstream import Peer, chunk, ok

MODEL = "mistral-ocr-2512"
NOT_YOURS = b"not yours"


@dataclass(slots=True)
class Told:
    """What the target did with one request: `pages` and `body_crc` where it sent a whole answer, with a count or as it was.

    `maybe` is the count of an answer that was broken off behind it: whether that was read is open. `crossed`: it met an answer
    on the wire that nobody had asked for.
    """

    times: int = 0
    read: bool = False
    act: str = ""
    whole: bool = False
    pages: int | None = None
    maybe: int | None = None
    body_crc: int = 0
    crossed: bool = False


@dataclass(slots=True)
class Turn:
    """One request in the hands of an act."""

    peer: Peer
    told: Told
    ident: int
    method: bytes
    chance: random.Random

    @property
    def pages(self) -> int:
        """How many pages this request's document has."""
        return 1 + self.ident % 7

    def document(self, filler: int = 0) -> bytes:
        """Return an answer with a count, whose length grows with `filler`."""
        pages = [{"markdown": f"{self.ident} " * filler}] if filler else []
        usage = {"pages_processed": self.pages, "doc_size_bytes": 10}
        return json.dumps({"soak": self.ident, "pages": pages, "model": MODEL, "usage_info": usage}).encode()

    async def sent(self, body: bytes, *pieces: bytes, counted: bool = True) -> None:
        """Send a whole answer, whose body is `body`, in pieces."""
        if self.method == b"HEAD":
            pieces, body = (ok(body).partition(b"\r\n\r\n")[0] + b"\r\n\r\n",), b""
        await self.peer.send(*(self.named(piece) if index == 0 else piece for index, piece in enumerate(pieces)))
        self.gave(body, counted=counted)

    def gave(self, body: bytes, *, counted: bool = True) -> None:
        """Note that the answer, whose body is `body`, was sent whole."""
        self.told.whole = True
        self.told.pages = self.pages if counted and self.method == b"POST" else None
        self.told.body_crc = zlib.crc32(body)

    def named(self, piece: bytes) -> bytes:
        """Return the first piece of an answer with the request's id among its fields."""
        start, end, rest = piece.partition(b"\r\n")
        return start + end + b"x-request-id: %d\r\n" % self.ident + rest


def has_input(peer: Peer) -> bool:
    """Tell whether another request, or its beginning, has come already."""
    return bool(peer.reader._buffer) or sockets.input_probe(peer.writer.transport)()


Act = Callable[[Turn], Awaitable[bool]]
"""Answers a request, or does not; True where the connection may serve another."""

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


async def plain(turn: Turn) -> bool:
    """Answer with Content-Length."""
    body = turn.document()
    await turn.sent(body, ok(body))
    return True


async def chunks(turn: Turn) -> bool:
    """Answer in chunks, with pauses."""
    body = turn.document(turn.chance.randrange(200))
    pieces = [body[start : start + 97] for start in range(0, len(body), 97)]
    await turn.sent(body, CHUNKED, b"".join(map(chunk, pieces)), chunk(b""))
    return True


async def by_close(turn: Turn) -> bool:
    """Answer up to the end of the connection."""
    body = turn.document()
    await turn.sent(body, b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" + body)
    return False


async def zipped(turn: Turn) -> bool:
    """Answer with gzip."""
    body = gzip.compress(turn.document(50))
    await turn.sent(body, ok(body, b"Content-Encoding: gzip"))
    return True


async def large(turn: Turn) -> bool:
    """Answer with a megabyte or more."""
    body = turn.document(turn.chance.randrange(100_000, 300_000))
    await turn.sent(body, ok(body))
    return True


async def dripping(turn: Turn) -> bool:
    """Answer in small pieces, slowly."""
    body = turn.document(20)
    whole = turn.named(ok(body))
    for start in range(0, len(whole), 40):
        await turn.peer.send(whole[start : start + 40])
        await asyncio.sleep(0.005)
    turn.gave(body)
    return turn.method != b"HEAD"


async def interim(turn: Turn) -> bool:
    """Say 1xx first."""
    body = turn.document()
    await turn.peer.send(b"HTTP/1.1 102 Processing\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: </>\r\n\r\n")
    await turn.sent(body, ok(body))
    return True


async def surplus(turn: Turn) -> bool:
    """Send more than Content-Length says."""
    body = turn.document()
    await turn.sent(body, ok(body) + ok(NOT_YOURS))
    return True


async def unasked(turn: Turn) -> bool:
    """Send a second answer a little later, if the connection idles then; out of turn, it would pass for the next one's answer."""
    body = turn.document()
    await turn.sent(body, ok(body))
    await asyncio.sleep(turn.chance.random() / 50)
    if not has_input(turn.peer):
        await turn.peer.send(ok(NOT_YOURS))
    return False


async def leaving(turn: Turn) -> bool:
    """Answer, and end the kept connection a little later without a word."""
    body = turn.document()
    await turn.sent(body, ok(body))
    await asyncio.sleep(turn.chance.random() / 50)
    return False


async def uncounted(turn: Turn) -> bool:
    """Answer 200 without a count: no JSON, null, nothing at all."""
    body = turn.chance.choice([b"<html>busy</html>", b"null", b"", b'{"pages": ', b'{"usage_info": null}'])
    await turn.sent(body, ok(body), counted=False)
    return True


async def unhappy(turn: Turn) -> bool:
    """Answer with an error."""
    status = turn.chance.choice([b"400 Bad Request", b"401 Unauthorized", b"422 No", b"429 Slow", b"500 Oh", b"503 Busy"])
    body = turn.document()
    await turn.sent(body, ok(body, status=status), counted=False)
    return True


async def hanging(turn: Turn) -> bool:
    """Say nothing."""
    await turn.peer.ended()
    return False


async def half(turn: Turn) -> bool:
    """Send half an answer, then nothing, an end or a reset."""
    body = turn.document(100)
    whole = turn.chance.choice([ok(body), CHUNKED + chunk(body)])
    turn.told.maybe = turn.pages if whole.startswith(CHUNKED) and turn.method == b"POST" else None
    await turn.peer.send(turn.named(whole[:-1] if whole.startswith(CHUNKED) else whole[: len(whole) // 2]))
    ending = turn.chance.randrange(3)
    if ending == 0:
        await turn.peer.ended()
    elif ending == 1:
        turn.peer.reset()
    return False


async def cut_gzip(turn: Turn) -> bool:
    """Answer with gzip that breaks off, under a right Content-Length."""
    whole = gzip.compress(turn.document(200))
    body = whole[: len(whole) // 2]
    await turn.sent(body, ok(body, b"Content-Encoding: gzip"), counted=False)
    return True


async def garbage(turn: Turn) -> bool:
    """Send what is no HTTP, or may be read in two ways."""
    await turn.peer.send(
        turn.chance.choice(
            [
                b"SSH-2.0-OpenSSH_9\r\n\r\n",
                b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
                b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nokk",
                b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                CHUNKED + b"zz\r\nhello\r\n",
                CHUNKED + b"5\r\nhello!\r\n0\r\n\r\n",
                b"HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 2\r\n\r\nok",
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
            ]
        )
    )
    await asyncio.sleep(turn.chance.random() / 20)
    return False


async def endless(turn: Turn) -> bool:
    """Answer without an end."""
    await turn.peer.send(turn.named(CHUNKED))
    while True:
        await turn.peer.send(chunk(b"x" * 1000))
        await asyncio.sleep(0.02)


async def broken(turn: Turn) -> bool:
    """End the connection instead of an answer."""
    if turn.chance.random() < 0.5:
        turn.peer.reset()
    return False


AFTER: tuple[tuple[int, Act], ...] = (
    (500, plain),
    (80, chunks),
    (20, by_close),
    (40, zipped),
    (10, large),
    (20, dripping),
    (15, interim),
    (10, surplus),
    (10, unasked),
    (15, leaving),
    (30, uncounted),
    (40, unhappy),
    (8, hanging),
    (20, half),
    (8, cut_gzip),
    (15, garbage),
    (2, endless),
    (15, broken),
)
"""How often (of about a thousand) → what the target does when it has the whole request."""


async def early(turn: Turn) -> bool:
    """Answer 413 before the body has come, and end."""
    body = b'{"detail": "too much"}'
    await turn.sent(body, ok(body, status=b"413 Too Much"), counted=False)
    await asyncio.sleep(0.05)
    return False


BEFORE: tuple[tuple[int, Act], ...] = ((15, early), (8, broken), (3, hanging), (974, plain))
"""How often (of a thousand) → what it does when it has the head alone; `plain` stands for reading on."""


class Faulty:
    """The script of the target, and what it told, by the id that a request carries in x-soak-id."""

    def __init__(self, seed: int) -> None:
        self.told: dict[int, Told] = {}
        self._chance = random.Random(seed)

    async def __call__(self, peer: Peer) -> None:
        """Serve one connection."""
        with contextlib.suppress(RuntimeError):  # uvloop, about writing to a connection that was reset meanwhile
            while await self._serve(peer):
                pass

    async def _serve(self, peer: Peer) -> bool:
        line, fields, _ = await peer.head()
        lower = {name.lower(): value for name, value in fields}
        assert len(lower) == len(fields), fields
        ident = int(lower[b"x-soak-id"])
        before = self.told.get(ident)
        told = self.told[ident] = Told(times=1 if before is None else before.times + 1)
        turn = Turn(peer, told, ident, line.partition(b" ")[0], random.Random(self._chance.random()))
        act = self._pick(BEFORE)
        if act is not plain:
            told.act = f"{act.__name__} at once"
            return await act(turn)
        if b"transfer-encoding" in lower:
            assert b"content-length" not in lower
            body = await peer.chunks()
        else:
            body = await peer.reader.readexactly(int(lower.get(b"content-length", b"0")))
        assert int(lower[b"x-soak-crc"]) == zlib.crc32(body), f"request {ident} came as another"
        told.read = True
        act = self._pick(AFTER)
        told.act = act.__name__
        goes_on = await act(turn)
        if act is unasked:
            await self._crossed(peer)
        return goes_on

    async def _crossed(self, peer: Peer) -> None:
        """Note whose request was on the wire already when an answer was sent that nobody asked for: no proxy can tell."""
        _, fields, _ = await peer.head()
        ident = int({name.lower(): value for name, value in fields}[b"x-soak-id"])
        told = self.told.setdefault(ident, Told(times=0))
        told.times += 1
        told.crossed = True

    def _pick(self, acts: tuple[tuple[int, Act], ...]) -> Act:
        return self._chance.choices([act for _, act in acts], [weight for weight, _ in acts])[0]

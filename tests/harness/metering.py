"""What the tests of the meter share: responses fed as the proxy feeds them, whole, cut anywhere, and coded."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import brotli
import zstandard

from passthrough.meter.buffered import BufferedMeter
from passthrough.meter.meter import Meter, ResponseFacts, open_meter
from passthrough.meter.plan import MeterPlan
from passthrough.meter.request import RequestMeter
from passthrough.meter.usage import Unmetered, Usage

SIZES = (1, 2, 3, 7, 64, 1000)
"""How large the pieces are into which a body is cut; and it comes whole."""


def raw_deflate(plain: bytes) -> bytes:
    """Deflate without zlib's frame."""
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(plain) + compressor.flush()


CODINGS: tuple[tuple[bytes | None, Callable[[bytes], bytes]], ...] = (
    (None, bytes),
    (b"identity", bytes),
    (b"gzip", gzip.compress),
    (b"X-GZip", lambda plain: gzip.compress(plain[:9]) + gzip.compress(plain[9:])),
    (b"deflate", zlib.compress),
    (b"deflate", raw_deflate),
    (b"br", lambda plain: brotli.compress(plain, quality=3)),
    (b"zstd", lambda plain: zstandard.compress(plain[:9]) + zstandard.compress(plain[9:])),
    (b"br, identity , gzip", lambda plain: gzip.compress(brotli.compress(plain, quality=3))),
)


def pieces(body: bytes, size: int) -> list[bytes]:
    """Cut `body` into pieces of `size` bytes."""
    return [body[at : at + size] for at in range(0, len(body), size)]


def cuts(body: bytes) -> Iterable[list[bytes]]:
    """Yield `body` whole and in pieces of every size; byte by byte among them."""
    for size in (len(body) or 1, *SIZES):
        yield pieces(body, size)


@dataclass(slots=True)
class Read:
    """What one response's meter said: the usage of the whole, and the lines that passed before."""

    usage: Usage | None = None
    lines: list[Usage] = field(default_factory=list)
    groups: list[int] = field(default_factory=list)

    def passed(self, lines: tuple[Usage, ...]) -> None:
        """Take lines as accounting does."""
        self.lines.extend(lines)
        self.groups.append(len(lines))


async def read(meter: Meter | BufferedMeter, chunks: Iterable[bytes], cut: Unmetered | None = None) -> Usage:
    """Feed as the proxy does, and read."""
    for chunk in chunks:
        if not meter.feed(chunk):
            await meter.drained()
    meter.end(cut)
    return await meter.usage()


async def metered(
    facts: ResponseFacts,
    chunks: Iterable[bytes],
    decoders: ThreadPoolExecutor,
    plan: MeterPlan = MeterPlan(),
    *,
    cut: Unmetered | None = None,
    request_meter: RequestMeter | None = None,
    max_bytes: int | None = None,
) -> Read:
    """Return what the meter of this response says; `usage` is None where it has no meter."""
    found = Read()
    meter = open_meter(plan, facts, decoders, request_meter=request_meter, passed=found.passed, max_bytes=max_bytes)
    if meter is not None:
        found.usage = await read(meter, chunks, cut)
    return found

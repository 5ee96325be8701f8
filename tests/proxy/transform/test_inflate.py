"""Request bodies in content codings: decoded, bounded, refused where they are not what they say."""

from __future__ import annotations

import gzip
import os
import threading
import zlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import brotli  # type: ignore[import-untyped]  # as in meter.decode
import pytest
import zstandard

from passthrough.errors import Refusal
from passthrough.proxy.transform.inflate import open_inflater

BODY = b'{"model":"mistral-ocr","document":{"document_url":"data:,' + os.urandom(70_000).hex().encode() + b'"}}'
MAX_BYTES = len(BODY)
CODED = {
    b"gzip": gzip.compress(BODY),
    b"X-GZIP": gzip.compress(BODY[:100]) + gzip.compress(BODY[100:]),
    b"deflate": zlib.compress(BODY),
    b" Deflate ,": zlib.compress(BODY, wbits=-15),
    b"br": brotli.compress(BODY, quality=3),
    b"zstd": zstandard.compress(BODY),
    b"gzip, br": brotli.compress(gzip.compress(BODY), quality=3),
    b"identity, zstd, deflate, gzip, br": brotli.compress(gzip.compress(zlib.compress(zstandard.compress(BODY))), quality=3),
}


@pytest.fixture(name="decoders")
def _decoders() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as decoders:
        yield decoders


async def inflated(
    coding: bytes, coded: bytes, decoders: ThreadPoolExecutor, size: int = 65536, max_bytes: int = MAX_BYTES
) -> bytes:
    """What a body decodes to that comes in pieces of this size."""
    inflater = open_inflater(coding, decoders, max_bytes)
    assert inflater is not None
    decoded = []
    for at in range(0, len(coded), size):
        decoded += [piece async for piece in inflater.pieces(coded[at : at + size])]
    inflater.end()
    assert [] == [len(piece) for piece in decoded if not 0 < len(piece) <= 262144]
    return b"".join(decoded)


@pytest.mark.parametrize("coding", CODED)
async def test_each_coding_and_each_list_of_them_is_decoded(coding: bytes, decoders: ThreadPoolExecutor) -> None:
    """In large pieces and in small ones, up to exactly the bound."""
    for size in (len(CODED[coding]), 4096, 1000):
        # The inner codings of a list may yield a little more than the body.
        assert BODY == await inflated(coding, CODED[coding], decoders, size, MAX_BYTES + 100 * (b"," in coding))


@pytest.mark.parametrize("coding", CODED)
async def test_a_body_that_is_cut_or_false_is_refused(coding: bytes, decoders: ThreadPoolExecutor) -> None:
    """A missing end, another coding's bytes, and plain JSON: each is a bad request that says so, not a body that crosses."""
    coded = CODED[coding]
    cut, false = "The body ends before its Content-Encoding does.", "The body is not in its Content-Encoding."
    for body, expected in ((coded[:-5], cut), (coded[:1], cut), (BODY, false), (b"\xff" * 5000, false)):
        with pytest.raises(Refusal) as refused:
            await inflated(coding, body, decoders)
        assert ("bad_request", expected) == (refused.value.kind.code, refused.value.message)


@pytest.mark.parametrize("coding", [b"gzip", b"deflate", b"br", b"zstd", b"zstd, gzip"])
async def test_a_bomb_is_cut_off(coding: bytes, decoders: ThreadPoolExecutor) -> None:
    """A few bytes that stand for 300 MB are decoded up to the bound, and no further."""
    zeros = b"\0" * 1_000_000
    packers = {
        b"gzip": zlib.compressobj(9, wbits=31),
        b"deflate": zlib.compressobj(9),
        b"br": brotli.Compressor(quality=1),
        b"zstd": zstandard.ZstdCompressor().compressobj(),
    }
    packer = packers[coding.partition(b",")[0]]
    pack = packer.process if coding == b"br" else packer.compress
    coded = b"".join(pack(zeros) for _ in range(300)) + (packer.finish() if coding == b"br" else packer.flush())
    with pytest.raises(Refusal) as refused:
        await inflated(coding, gzip.compress(coded) if b"," in coding else coded, decoders)
    assert ("body_too_large", f"The body, decoded, is larger than {MAX_BYTES} bytes.") == (
        refused.value.kind.code,
        refused.value.message,
    )


@pytest.mark.parametrize("coding", [b"compress", b"gzip, aes128gcm", b"utf-8", b"gzip,gzip,gzip,gzip,gzip"])
def test_an_unknown_coding_is_refused(coding: bytes, decoders: ThreadPoolExecutor) -> None:
    """Upstream the body goes without a Content-Encoding, so what cannot be decoded cannot be sent."""
    with pytest.raises(Refusal) as refused:
        open_inflater(coding, decoders, MAX_BYTES)
    assert "bad_request" == refused.value.kind.code


@pytest.mark.parametrize("coding", [None, b"", b"identity", b" , Identity,"])
def test_a_body_without_a_coding_needs_no_decoder(coding: bytes | None, decoders: ThreadPoolExecutor) -> None:
    """`identity` is no coding (RFC 9110 §8.4.1)."""
    assert None is open_inflater(coding, decoders, MAX_BYTES)


class Recorder(ThreadPoolExecutor):
    """An executor that counts what it gets."""

    jobs = 0

    def submit(self, *args, **kwargs) -> Future:  # type: ignore[no-untyped-def, type-arg]
        """Count, and do it."""
        self.jobs += 1
        return super().submit(*args, **kwargs)


@pytest.mark.parametrize(
    ("coding", "coded", "expected"),
    [
        (b"gzip", gzip.compress(BODY[:2000]), 0),
        (b"br", brotli.compress(BODY[:2000]), 1),  # a step of brotli may take long
        (b"gzip", gzip.compress(b"x" * 1_000_000), 1),  # small, and yields much
        (b"gzip", CODED[b"gzip"], 1),
    ],
)
async def test_what_takes_long_is_decoded_on_a_thread(coding: bytes, coded: bytes, expected: int) -> None:
    """A few bytes are decoded here and now, which costs less than the hand-over."""
    assert threading.main_thread() is threading.current_thread()
    with Recorder(1) as decoders:
        await inflated(coding, coded, decoders, len(coded), 2_000_000)
        assert expected == decoders.jobs


async def test_a_server_that_stops_refuses(decoders: ThreadPoolExecutor) -> None:
    """The executor is shut down before the last client is gone."""
    decoders.shutdown()
    with pytest.raises(Refusal) as refused:
        await inflated(b"br", CODED[b"br"], decoders)
    assert "draining" == refused.value.kind.code

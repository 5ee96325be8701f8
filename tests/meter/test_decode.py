"""The content codings, whole, byte by byte, cut, spoilt, and as bombs."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import islice

import brotli
import pytest
import zstandard
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from passthrough.meter.decode import PIECE_BYTES, Chain, Oversized, chain
from passthrough.meter.false_coding import Undecodable

MANY = 10**9
LONGEST_PIECE = 2 * PIECE_BYTES  # a block of zstd; brotli passes its limit by up to a half
SKIPPED = b"\x53\x2a\x4d\x18\x05\x00\x00\x00\x28\xb5\x2f\xfd\x00" + b"\x50\x2a\x4d\x18\x00\x00\x00\x00"
Code = Callable[[bytes], bytes]

gzipped = partial(gzip.compress, mtime=0)  # else the time would be in the bytes: other examples and names in each process


def raw_deflate(plain: bytes) -> bytes:
    """Deflate without zlib's frame."""
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(plain) + compressor.flush()


def members(plain: bytes) -> bytes:
    """Several gzip members, an empty one too."""
    return gzipped(plain[:3]) + gzipped(b"") + gzipped(plain[3:])


def frames(plain: bytes) -> bytes:
    """Several zstd frames with all kinds of headers, skippable ones between them."""
    checked = zstandard.ZstdCompressor(write_checksum=True, write_content_size=False)
    streamed = zstandard.ZstdCompressor(level=1).compressobj()
    last = streamed.compress(plain[7:]) + streamed.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK) + streamed.flush()
    return SKIPPED + checked.compress(plain[:3]) + zstandard.compress(plain[3:7]) + SKIPPED + zstandard.compress(b"") + last


CODINGS: tuple[tuple[bytes, Code], ...] = (
    (b"gzip", gzipped),
    (b"x-gzip", members),
    (b"GZIP", lambda plain: gzipped(plain) + bytes(7)),
    (b"gzip", lambda plain: gzipped(plain) + b"\x1f<"),
    (b"deflate", zlib.compress),
    (b"deflate", raw_deflate),
    (b"br", lambda plain: brotli.compress(plain, quality=2)),
    (b"zstd", frames),
    (b" ,gzip ,identity,, deflate", lambda plain: zlib.compress(gzipped(plain))),
    (b"zstd,br,zstd", lambda plain: zstandard.compress(brotli.compress(zstandard.compress(plain), quality=1))),
)


def opened(coding: bytes, max_bytes: int = MANY) -> Chain:
    """The chain of a coding that is known."""
    codings = chain(coding, max_bytes)
    assert codings is not None
    return codings


def decoded(codings: Chain, coded: bytes, size: int) -> bytes:
    """What `coded` decodes to, fed in chunks of `size`; no piece is longer than the bound."""
    pieces = [piece for at in range(0, len(coded), size) for piece in codings.pieces(coded[at : at + size])]
    assert max(map(len, pieces), default=0) <= LONGEST_PIECE
    return b"".join(pieces)


PLAIN = b'{"pages":[' + b'{"index":0},' * 20_000 + b"]" + os.urandom(3000) + b"A" * 300_000 + b"end"


@pytest.mark.parametrize(("coding", "code"), CODINGS)
@pytest.mark.parametrize("plain", [b"", b"x", b'{"a":1}' * 3, PLAIN], ids=["nothing", "one byte", "short", "long"])
def test_every_coding_decodes_however_it_is_cut(coding: bytes, code: Code, plain: bytes) -> None:
    """The pieces are the plain bytes, and the end is known."""
    coded = code(plain)
    for size in (len(coded), 1, 2, 3, 1000, 65536):
        codings = opened(coding)
        assert codings.whole
        assert plain == decoded(codings, coded, size)
        assert codings.whole


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(CODINGS), st.binary(max_size=3000), st.integers(1, 500), st.booleans())
def test_random_bytes_come_back(coding: tuple[bytes, Code], plain: bytes, size: int, repeated: bool) -> None:
    """For every coding and content, cut in chunks of any size."""
    plain = plain * 200 if repeated else plain
    assume(coding[1] is not raw_deflate or coding[1](plain)[:1] not in (b"{", b"["))  # taken for JSON, see decode._Deflate
    assert plain == decoded(opened(coding[0]), coding[1](plain), size)


@pytest.mark.parametrize(("coding", "code"), CODINGS)
def test_a_body_that_is_cut_yields_its_begin_and_is_not_whole(coding: bytes, code: Code) -> None:
    """At every point: what comes out is a beginning of the plain bytes; between members and frames it may end."""
    plain = b'{"usage_info":{"pages_processed":1}}'
    coded = code(plain)
    ends = 0
    for length in range(1, len(coded)):
        codings = opened(coding)
        assert plain.startswith(decoded(codings, coded[:length], length))
        ends += codings.whole
    padding = 7 if coding == b"GZIP" else code(b"").endswith(b"<")
    between = {members: 2, frames: 7}.get(code, 0)
    assert padding + between == ends


def test_what_can_be_decoded_is_decoded_although_a_piece_is_full() -> None:
    """zlib takes all of its input before it has given all of its output: the rest does not wait for more input."""
    coded = raw_deflate(bytes(400_000))
    for length in range(2, len(coded)):
        expected = len(zlib.decompressobj(-15).decompress(coded[:length]))
        assert expected == len(decoded(opened(b"deflate"), coded[:length], length))


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(CODINGS), st.data())
def test_spoilt_bytes_fail_in_one_way(coding: tuple[bytes, Code], data: st.DataObject) -> None:
    """Whatever bytes come: pieces, or Undecodable, or Oversized."""
    coded = bytearray(coding[1](b'{"a":[1,2,3]}' * 50))
    for _ in range(data.draw(st.integers(1, 4))):
        coded[data.draw(st.integers(0, len(coded) - 1))] = data.draw(st.integers(0, 255))
    coded += data.draw(st.binary(max_size=8))
    codings = opened(coding[0], 10**6)
    with suppress(Undecodable, Oversized):
        decoded(codings, bytes(coded), data.draw(st.integers(1, 200)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("coding", "coded"),
    [
        (b"gzip", b"<html>"),
        (b"gzip", b"(1)"),
        (b"compress", b"\x1f\x9d\x90{}"),
        (b"secret", b"xx"),
        (b"gzip, compress", gzipped(b"\x1f\x9d\x90{}")),
        (b"compress, gzip", gzipped(b"no json")),
        (b"UTF-8", b"dating"),
        (b"none", b" " * 70_000),
        (b"gzip", zlib.compress(b"x")),
        (b"gzip", gzipped(b"x")[:-8] + bytes(8)),
        (b"gzip", gzipped(b"x") + gzipped(b"yyy")[:-8] + bytes(8)),
        (b"deflate", b"<html>"),
        (b"deflate", zlib.compress(b"x")[:-4] + bytes(4)),
        (b"br", b"<html><body>"),
        (b"br", brotli.compress(b"x") + b"more"),
        (b"zstd", b"<html><body>"),
        (b"zstd", zstandard.compress(b"x") + b"more of it"),
        (b"zstd", zstandard.compress(b"x", level=1)[:4] + b"\x04\xf8" + bytes(9)),  # a window beyond RFC 9659's
        (b"gzip", gzipped(b"x") + b"\x1f\x8b<html>....."),
        (b"gzip,zstd", zstandard.compress(b"not gzip")),
    ],
)
def test_bytes_that_are_not_of_their_coding_are_reported(coding: bytes, coded: bytes) -> None:
    """Undecodable comes from the bytes, however they are cut."""
    for size in (len(coded), 1):
        with pytest.raises(Undecodable):
            decoded(opened(coding), coded, size)


def test_more_codings_than_anybody_means_are_reported() -> None:
    """They are Undecodable at once."""
    with pytest.raises(Undecodable):
        chain(b"gzip,gzip,gzip,gzip,gzip", MANY)


TEXTS = (b'{"a":1}', b" \r\n[1]", b"\xef\xbb\xbf{}", b"data: {}\n\n", b": hello\n", b"id: 1\n", '{"a":1}'.encode("utf-16"))
UNKNOWN = (b"UTF-8", b"none", b"gz ip", b"*", b"br;q=1", b"compress", b"utf-8, base64")


@pytest.mark.parametrize(
    ("coding", "plain"),
    [
        *((coding, plain) for coding in (*UNKNOWN, b"gzip", b"zstd", b"gzip, none", b"x-gzip,zstd") for plain in TEXTS),
        *((coding, b"[") for coding in UNKNOWN),
        # The bytes of these may mean much: an object they begin with is none of it.
        *((coding, TEXTS[0]) for coding in (b"br", b"deflate", b"gzip, br", b"deflate, none, br")),
    ],
)
def test_a_coding_that_is_not_true_leaves_the_bytes(coding: bytes, plain: bytes) -> None:
    """What looks like JSON or events, and is not of its coding, or has none that is known, is read as it is."""
    for size in (len(plain), 1, 2, 3):
        codings = opened(coding)
        assert plain == decoded(codings, plain, size)
        assert codings.whole


@pytest.mark.parametrize("coding", [b"UTF-8, gzip", b"gzip, none", b"gzip"])
def test_a_true_coding_beside_an_untrue_one_is_decoded(coding: bytes) -> None:
    """Only what is not known counts as none."""
    plain = b'{"a":' + b"1" * 1000 + b"}"
    for size in (5000, 1, 7):
        assert plain == decoded(opened(coding), gzipped(plain), size)


@pytest.mark.parametrize("coding", [None, b"", b"identity", b" , IDENTITY"])
def test_a_body_that_is_not_coded_needs_no_chain(coding: bytes | None) -> None:
    """No coding, or identity only."""
    assert chain(coding, MANY) is None


def rle_blocks(count: int) -> bytes:
    """A zstd frame of blocks of 128 KiB each, four bytes long."""
    block = (131072 << 3 | 1 << 1).to_bytes(3, "little") + b"A"
    return b"\x28\xb5\x2f\xfd\x00\x68" + block * count


BOMBS = (
    (b"gzip", gzipped(bytes(50_000_000))),
    (b"deflate", raw_deflate(bytes(50_000_000))),
    (b"br", brotli.compress(bytes(50_000_000), quality=5)),
    (b"zstd", rle_blocks(20_000)),
    (b"zstd", zstandard.compress(bytes(50_000_000))),
    (b"gzip,br", brotli.compress(gzipped(bytes(50_000_000), compresslevel=0), quality=5)),
    (b"zstd,gzip", gzipped(SKIPPED * 2_000_000)),
)


@pytest.mark.parametrize(("coding", "bomb"), BOMBS)
def test_a_bomb_is_decoded_piece_by_piece_and_only_up_to_the_bound(coding: bytes, bomb: bytes) -> None:
    """A step yields a bounded piece, whatever comes in; at the bound of any coding in the list it ends."""
    bound = 3_000_000
    pieces = opened(coding, bound).pieces(bomb)
    seen: list[int] = []
    with pytest.raises(Oversized):
        seen.extend(map(len, pieces))
    assert max(seen) <= LONGEST_PIECE
    assert sum(seen) <= bound


def test_a_step_decodes_no_more_than_it_yields() -> None:
    """What was not asked for was not decoded: the first pieces of a bomb come without the others."""
    assert [131072] * 3 == [len(piece) for piece in islice(opened(b"zstd").pieces(rle_blocks(10**6)), 3)]
    assert [PIECE_BYTES] * 3 == [len(piece) for piece in islice(opened(b"gzip").pieces(BOMBS[0][1]), 3)]


@pytest.mark.parametrize("coding", [b"gzip", b"deflate", b"zstd", b"br", b"gzip, br"])
def test_what_may_take_long_in_one_step_is_said(coding: bytes) -> None:
    """brotli decodes a window of many megabytes before it yields anything; the others are done with a step in bounded time."""
    made = chain(coding, 10)
    assert made is not None
    assert (b"br" in coding) == made.long_steps

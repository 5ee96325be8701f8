"""Decodes the content codings of a body incrementally, in pieces of bounded size.

Codings: gzip with several members, deflate in both of its formats, br, zstd with several frames, and any list of them. A few
bytes can stand for gigabytes. So no step yields more than `PIECE_BYTES` (zstd: one block, 128 KiB), whatever comes in, and the
next piece is decoded only when the caller asks for it. Window sizes are those that RFC 9659 allows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Final, Protocol

import brotli  # type: ignore[import-untyped]  # 1.2 ships no types
import zstandard

from ..errors import PassthroughError
from .false_coding import HELD_BYTES, FalseCoding, Undecodable
from .inflate import BROKEN, GZIP_BITS, GZIP_MAGIC, RAW_BITS, ZLIB_BITS, Member, member

PIECE_BYTES: Final = 262144
"""The most bytes that one step yields, for gzip, deflate and br. With a quarter of it inflating costs a twentieth more."""

_MAX_CODINGS: Final = 4
_JSON_BEGINS: Final = re.compile(rb'[{\[][ \t\r\n"{}\[\]\-0-9tfn]').match
_READ_BYTES: Final = 4  # the longest header field that is read from a slice
_ZSTD_WINDOW_BYTES: Final = 8 * 1024 * 1024  # RFC 9659 §3


class Oversized(PassthroughError):
    """A body, decoded, is larger than the bound."""


class Decoder(Protocol):
    """Decodes one coding."""

    def pieces(self, coded: bytes) -> Iterator[bytes]:
        """Yield the decoded bytes piece by piece; exhaust it before the next call. Raises Undecodable while iterating."""
        ...

    @property
    def whole(self) -> bool:
        """Tell whether the coded bytes so far are complete; no bytes at all are."""
        ...


class _Inflate:
    """gzip or deflate; `bits` is zlib's wbits. Members may follow gzip's first one; anything else behind it is ignored."""

    def __init__(self, bits: int) -> None:
        self._bits = bits
        self._member: Member | None = None
        self._members = 0
        self._head = b""  # this member's first two bytes
        self._over = False

    @property
    def whole(self) -> bool:
        return self._over or not self._head

    def pieces(self, coded: bytes) -> Iterator[bytes]:
        full = False
        while (coded or full) and not self._over:
            self._head += coded[: len(GZIP_MAGIC) - len(self._head)]
            if self._members and not GZIP_MAGIC.startswith(self._head):
                # As curl and browsers do: padding behind a member does no harm.
                self._over = True
                return
            inflating = self._member = self._member or member(self._bits, coded)
            try:
                piece = inflating.decompress(coded, PIECE_BYTES)
            except BROKEN as error:
                raise Undecodable(f"inflate: {error}") from error
            # With a full output there may be more, although all of the input was taken.
            full = len(piece) == PIECE_BYTES
            coded = inflating.unconsumed_tail
            if inflating.eof:
                full, coded = False, inflating.unused_data
                self._next()
            if piece:
                yield piece

    def _next(self) -> None:
        self._members += 1
        self._head = b""
        self._over = self._bits != GZIP_BITS
        self._member = None


class _Deflate:
    """deflate: zlib's format as RFC 9110 §8.4.1.2 says, or the raw one, which some senders mean. Two bytes show which."""

    def __init__(self) -> None:
        self._head = b""
        self._inflate: _Inflate | None = None

    @property
    def whole(self) -> bool:
        return self._inflate.whole if self._inflate else not self._head

    def pieces(self, coded: bytes) -> Iterator[bytes]:
        if self._inflate is None:
            coded, self._head = self._head + coded, b""
            if len(coded) < 2:
                self._head = coded
                return
            if _JSON_BEGINS(coded):
                # As raw deflate, the text would begin with a byte from A0 to AF or E0 to EF and no byte order mark: no JSON.
                raise Undecodable("deflate: it begins as JSON does")
            is_zlib = coded[0] & 0x0F == 8 and int.from_bytes(coded[:2], "big") % 31 == 0
            self._inflate = _Inflate(ZLIB_BITS if is_zlib else RAW_BITS)
        yield from self._inflate.pieces(coded)


class _Brotli:
    """br, RFC 7932."""

    def __init__(self) -> None:
        self._decompressor = brotli.Decompressor()
        self._untouched = True

    @property
    def whole(self) -> bool:
        return self._untouched or bool(self._decompressor.is_finished())

    def pieces(self, coded: bytes) -> Iterator[bytes]:
        more = bool(coded)
        while more:
            self._untouched = False
            try:
                piece = self._decompressor.process(coded, output_buffer_limit=PIECE_BYTES)
            except brotli.error as error:
                raise Undecodable(f"br: {error}") from error
            coded = b""
            # A decompressor that accepts more input may still have output to give.
            more = bool(piece) or not self._decompressor.can_accept_more_data()
            if self._decompressor.is_finished():
                more = False
            if piece:
                yield piece


class _Zstd:
    """zstd, RFC 8878: frames, one after the other.

    The library decodes all of its input in one call, and four bytes can stand for 128 KiB. So it gets the bytes in slices, each
    of which completes at most one block.
    """

    def __init__(self) -> None:
        decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES)
        self._decompressor = decompressor.decompressobj(read_across_frames=True)
        self._slices = _zstd_slices()
        self._left, self._frame_ended = next(self._slices)
        self._slice = bytearray()

    @property
    def whole(self) -> bool:
        return self._frame_ended and not self._slice

    def pieces(self, coded: bytes) -> Iterator[bytes]:
        at = 0
        while at < len(coded):
            part = coded[at : at + self._left]
            at += len(part)
            self._left -= len(part)
            # Only the first bytes of a slice are looked at.
            self._slice += part[: _READ_BYTES - len(self._slice)]
            try:
                piece = self._decompressor.decompress(part)
            except zstandard.ZstdError as error:
                raise Undecodable(f"zstd: {error}") from error
            if not self._left:
                self._left, self._frame_ended = self._slices.send(bytes(self._slice))
                self._slice.clear()
            if piece:
                yield piece


def _zstd_slices() -> Generator[tuple[int, bool], bytes, None]:
    """Yield the next slice's length, and whether it begins a frame; receive its first four bytes (RFC 8878 §3.1)."""
    while True:
        magic = int.from_bytes((yield 4, True), "little")
        if magic & 0xFFFFFFF0 == 0x184D2A50:  # a skippable frame
            size = int.from_bytes((yield 4, False), "little")
            if size:
                yield size, False
            continue
        descriptor = (yield 1, False)[0]
        single = bool(descriptor & 0x20)
        content_size = (int(single), 2, 4, 8)[descriptor >> 6]
        yield (not single) + (0, 1, 2, 4)[descriptor & 3] + content_size, False
        last = False
        while not last:
            header = int.from_bytes((yield 3, False), "little")
            last, is_rle, size = bool(header & 1), header >> 1 & 3 == 1, header >> 3
            if is_rle or size:
                yield 1 if is_rle else size, False
        if descriptor & 4:
            yield 4, False  # the checksum


class _Declared:
    """A coding that Content-Encoding names. Where the first bytes do not decode, the body passes as it was sent (FalseCoding)."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self._held: bytes | None = b""  # None: the coding has shown itself to be true or false

    @property
    def whole(self) -> bool:
        return self._decoder.whole

    def pieces(self, coded: bytes) -> Iterator[bytes]:
        return self._decoder.pieces(coded) if self._held is None else self._first(coded, self._held)

    def _first(self, coded: bytes, held: bytes) -> Iterator[bytes]:
        self._held = held + coded if len(held) < HELD_BYTES else None
        try:
            for piece in self._decoder.pieces(coded):
                self._held = None
                yield piece
        except Undecodable:
            if self._held is None:
                raise
            sent, self._held, self._decoder = self._held, None, FalseCoding()
            yield from self._decoder.pieces(sent)


class Chain:
    """The decoders of all codings of a body, the first to decode first. None of them may yield more than `max_bytes`.

    `long_steps`: a step may take long, however little it yields. Brotli decodes as much as its window holds, 16 MB, before it
    yields the first byte; and of several codings, one may yield much of which the next makes nothing.
    """

    __slots__ = ("_decoders", "_max_bytes", "_yielded", "long_steps")

    def __init__(self, decoders: tuple[Decoder, ...], max_bytes: int, *, long_steps: bool) -> None:
        self._decoders = decoders
        self._max_bytes = max_bytes
        self._yielded = [0] * len(decoders)
        self.long_steps = long_steps

    @property
    def whole(self) -> bool:
        """Tell whether the coded bytes so far are complete; no bytes at all are."""
        return all(decoder.whole for decoder in self._decoders)

    def pieces(self, coded: bytes) -> Iterator[bytes]:
        """Yield the decoded bytes; exhaust it before the next call. Raises Undecodable or Oversized while iterating.

        A step that decodes something in a first coding and nothing in the last yields b"", so that the caller can stop there.
        """
        return self._through(coded, 0)

    def _through(self, coded: bytes, stage: int) -> Iterator[bytes]:
        is_last = stage + 1 == len(self._decoders)
        for piece in self._decoders[stage].pieces(coded):
            self._yielded[stage] += len(piece)
            if self._yielded[stage] > self._max_bytes:
                raise Oversized(f"more than {self._max_bytes} bytes, decoded")
            if is_last:
                yield piece
            else:
                yield from self._through(piece, stage + 1)
                yield b""


_DECODERS: Final[Mapping[bytes, Callable[[], Decoder]]] = {
    b"gzip": lambda: _Inflate(GZIP_BITS),
    b"x-gzip": lambda: _Inflate(GZIP_BITS),  # RFC 9110 §8.4.1.3
    b"deflate": _Deflate,
    b"br": _Brotli,
    b"zstd": _Zstd,
}


def chain(content_encoding: bytes | None, max_bytes: int) -> Chain | None:
    """Return the decoders for a Content-Encoding (its fields joined by commas), None if the body is not coded.

    An unknown coding counts as none if what the others leave looks like JSON or events (FalseCoding). Raises Undecodable for more
    codings than any sender means.
    """
    names = _codings(content_encoding)
    known = [name for name in names if name in _DECODERS]
    decoders: list[Decoder] = [_Declared(_DECODERS[name]()) for name in reversed(known)]
    if len(known) < len(names):
        decoders.append(FalseCoding())
    return _chain(decoders, known, max_bytes)


def exact_chain(content_encoding: bytes | None, max_bytes: int) -> Chain | None:
    """As `chain`, for a body that must be in its codings: nothing passes as it was sent. Unknown ones are Undecodable."""
    names = _codings(content_encoding)
    if not _DECODERS.keys() >= set(names):
        raise Undecodable("an unknown content coding")
    return _chain([_DECODERS[name]() for name in reversed(names)], names, max_bytes)


def _codings(content_encoding: bytes | None) -> list[bytes]:
    names = [name.strip().lower() for name in (content_encoding or b"").split(b",")]
    names = [name for name in names if name not in (b"", b"identity")]
    if len(names) > _MAX_CODINGS:
        raise Undecodable(f"content codings {names[:_MAX_CODINGS]!r}")
    return names


def _chain(decoders: list[Decoder], names: list[bytes], max_bytes: int) -> Chain | None:
    long_steps = len(names) > 1 or b"br" in names
    return Chain(tuple(decoders), max_bytes, long_steps=long_steps) if decoders else None

"""Decodes the content codings of a request's body: bounded, and off the event loop where that takes long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Executor
from typing import Final

from ...errors import Refusal
from ...meter.decode import Chain, Oversized, exact_chain
from ...meter.false_coding import Undecodable

_SMALL_BYTES: Final = 4096  # coded bytes that are decoded on the event loop, as meter.pipeline does
_SMALL_DECODED_BYTES: Final = 65536
_SLICE_DECODED_BYTES: Final = 1024 * 1024
_LEAST_WORK: Final = 1024  # of a step, however little it yields

_CODING_HINT: Final = "Send the body in gzip, deflate, br or zstd, as Content-Encoding says, or without a coding."
_SIZE_HINT: Final = "Send a smaller body, or raise 'ocr: {held_body: …}'."


class BodyInflater:
    """Decodes one body. Unlike the meter it takes no body whose coding is unknown or false."""

    __slots__ = ("_chain", "_decoders", "_max_bytes")

    def __init__(self, chain: Chain, decoders: Executor, max_bytes: int) -> None:
        self._chain = chain
        self._decoders = decoders
        self._max_bytes = max_bytes

    async def pieces(self, coded: bytes) -> AsyncIterator[bytes]:
        """Yield the decoded bytes in pieces of 256 KB at most; exhaust it before the next call.

        Raises Refusal: body_too_large, bad_request where the bytes are not in their coding, draining.
        """
        rest = self._chain.pieces(coded)
        is_done = False
        if len(coded) <= _SMALL_BYTES and not self._chain.long_steps:
            decoded, is_done = self._take(rest, _SMALL_DECODED_BYTES)
            for piece in decoded:
                yield piece
        while not is_done:
            try:
                job = asyncio.get_running_loop().run_in_executor(self._decoders, self._take, rest, _SLICE_DECODED_BYTES)
            except RuntimeError:  # the executor is shut down, and so is the server
                raise Refusal("draining", "This instance is stopping.") from None
            decoded, is_done = await job
            for piece in decoded:
                yield piece

    def _take(self, rest: Iterator[bytes], max_bytes: int) -> tuple[list[bytes], bool]:
        """Return about so many of the next decoded bytes, and whether they are all that these coded bytes yield."""
        decoded: list[bytes] = []
        try:
            for piece in rest:
                if piece:
                    decoded.append(piece)
                max_bytes -= max(len(piece), _LEAST_WORK)
                if max_bytes <= 0:
                    return decoded, False
        except Undecodable:
            raise Refusal("bad_request", "The body is not in its Content-Encoding.", hint=_CODING_HINT) from None
        except (Oversized, MemoryError):
            message = f"The body, decoded, is larger than {self._max_bytes} bytes."
            raise Refusal("body_too_large", message, hint=_SIZE_HINT) from None
        return decoded, True

    def end(self) -> None:
        """End the body. Raises Refusal (bad_request) where it is cut short."""
        if not self._chain.whole:
            raise Refusal("bad_request", "The body ends before its Content-Encoding does.", hint=_CODING_HINT)


def open_inflater(content_encoding: bytes | None, decoders: Executor, max_bytes: int) -> BodyInflater | None:
    """Return the decoder for a Content-Encoding (its fields joined by commas), None if the body is not coded.

    `max_bytes` bounds what each coding decodes to. Raises Refusal (bad_request) for a coding other than gzip, deflate, br and
    zstd, and for more than four.
    """
    try:
        chain = exact_chain(content_encoding, max_bytes)
    except Undecodable:
        raise Refusal("bad_request", "The Content-Encoding is not one that is known here.", hint=_CODING_HINT) from None
    return None if chain is None else BodyInflater(chain, decoders, max_bytes)

"""Decodes the content codings of a request's body: bounded, and off the event loop where that takes long."""

from __future__ import annotations

from collections.abc import AsyncIterator
from concurrent.futures import Executor


class BodyInflater:
    """Decodes one body. Unlike the meter it takes no body whose coding is unknown or false."""

    async def pieces(self, coded: bytes) -> AsyncIterator[bytes]:
        """Yield the decoded bytes in pieces of 256 KB at most; exhaust it before the next call.

        Raises Refusal: body_too_large, bad_request where the bytes are not in their coding, draining.
        """
        raise NotImplementedError
        yield b""

    def end(self) -> None:
        """End the body. Raises Refusal (bad_request) where it is cut short."""
        raise NotImplementedError


def open_inflater(content_encoding: bytes | None, decoders: Executor, max_bytes: int) -> BodyInflater | None:
    """Return the decoder for a Content-Encoding (its fields joined by commas), None if the body is not coded.

    `max_bytes` bounds what each coding decodes to. Raises Refusal (bad_request) for a coding other than gzip, deflate, br and
    zstd, and for more than four.
    """
    raise NotImplementedError

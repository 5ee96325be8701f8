"""The document of one request, downloaded once for all of its tries, and its base64 as it comes."""

from __future__ import annotations

from collections.abc import AsyncIterator

from ...errors import Refusal
from ..documents.document import Document
from ..transform.base64_stream import Base64Stream
from .held_bodies import HeldBodies, Room


class HeldDocument:
    """A document whose length is known: told by its host, or held whole. Close it."""

    __slots__ = ("_begun", "_document", "_kept", "_room", "length", "media_type")

    def __init__(self, document: Document, length: int, kept: list[bytes] | None, room: Room | None) -> None:
        """`kept` takes what comes, where there is `room` for it; None: it passes once."""
        self._document = document
        self._kept = kept
        self._room = room
        self._begun = False
        self.media_type = document.media_type
        self.length = length

    @classmethod
    async def of(cls, document: Document, held: HeldBodies, max_bytes: int, *, keeps: bool) -> HeldDocument:
        """Return a document that is held whole where its host did not tell its length; else, with `keeps`, where room is free.

        Closes it and raises Refusal (overloaded, document_unreachable, document_too_large) where that cannot be.
        """
        if document.length is not None:
            room = held.take_at_once(document.length) if keeps else None
            return cls(document, document.length, None if room is None else [], room)
        room = held.take_at_once(max_bytes)
        try:
            if room is None:
                raise Refusal("overloaded", "There is no room for a document of unknown length.", retry_after_s=1)
            kept = [piece async for piece in document.pieces()]
        except BaseException:
            document.close()
            if room is not None:
                room.release()
            raise
        length = sum(map(len, kept))
        room.shrink(length)
        return cls(document, length, kept, room)

    @property
    def repeatable(self) -> bool:
        """Whether all of it can be sent again: it is held, or nothing of it was sent."""
        return self._kept is not None or not self._begun

    async def base64(self) -> AsyncIterator[bytes]:
        """Yield the document in base64. Raises Refusal where the download breaks off."""
        stream = Base64Stream()
        async for piece in self._pieces():
            for coded in stream.steps(piece):
                yield coded
        yield stream.end()

    async def _pieces(self) -> AsyncIterator[bytes]:
        self._begun = True
        kept = self._kept
        for piece in list(kept or ()):
            yield piece
        while piece := await self._document.piece():
            if kept is not None:
                kept.append(piece)
            yield piece

    def close(self) -> None:
        """End the download, and give the room back. Idempotent."""
        self._document.close()
        self._kept = None
        if self._room is not None:
            self._room.release()
            self._room = None

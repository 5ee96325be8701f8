"""A page of an Office document before its pictures are unpacked, and the measures in which it is written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from ..pages import DPI, Box

_EMU_PER_INCH: Final = 914_400
_TWIPS_PER_INCH: Final = 1440
_MAX_INCHES: Final = 1000


@dataclass(frozen=True, slots=True)
class PlacedPicture:
    """A picture: the name of the part that holds it, and where it stands on the page."""

    part: str
    box: Box


@dataclass(frozen=True, slots=True)
class OfficePage:
    """One page: its text as Markdown, its width and height in pixels at DPI, its pictures."""

    text: str
    size: tuple[int, int]
    pictures: tuple[PlacedPicture, ...] = ()


class Reader(Protocol):
    """What reads a document of one kind."""

    @property
    def total(self) -> int:
        """The number of its pages."""

    def page(self, index: int) -> OfficePage:
        """Return a page by its number from 0."""


def pixels_of_emu(value: str | None) -> int:
    """Return a length in English Metric Units (ECMA-376 part 1, §20.1.2.1) as pixels; 0 if it is none."""
    return _pixels(value, _EMU_PER_INCH)


def pixels_of_twips(value: str | None) -> int:
    """Return a length in twentieths of a point as pixels; 0 if it is none."""
    return _pixels(value, _TWIPS_PER_INCH)


def _pixels(value: str | None, per_inch: int) -> int:
    try:
        length = int((value or "")[:20])
    except ValueError:
        return 0
    return round(max(-_MAX_INCHES, min(length / per_inch, _MAX_INCHES)) * DPI)

"""The pages of a document, with their text and pictures."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

DPI: Final = 200
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ufffe\uffff]")

Box = tuple[int, int, int, int]
"""Left, top, right, bottom: pixels at DPI from the upper left corner of the page."""


@dataclass(frozen=True, slots=True)
class Picture:
    """An image on a page; `content` is the bytes of a file of type `mime`, empty where they are not wanted."""

    id: str
    box: Box
    content: bytes = b""
    mime: str = "image/jpeg"


@dataclass(frozen=True, slots=True)
class Page:
    """One page: its number from 0, its text as Markdown, its size in pixels at DPI, its pictures."""

    index: int
    markdown: str
    width: int
    height: int
    pictures: tuple[Picture, ...]


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """What to read of a document: which of its pages, and which pictures.

    `choose` gets the number of pages, and returns the numbers of those to read. `picture_limit` holds for all pages together.
    A document of more than `max_pages` is refused.
    """

    choose: Callable[[int], Sequence[int]]
    with_content: bool = False
    picture_limit: int | None = None
    picture_min_px: int = 0
    max_pages: int = 1000


def clean(text: str) -> str:
    """Return text with line feeds only, without control characters and without blanks at line ends."""
    lines = _CONTROLS.sub("", text.replace("\r\n", "\n").replace("\r", "\n")).split("\n")
    return "\n".join(line.rstrip() for line in lines).strip()


def with_pictures(text: str, pictures: Sequence[Picture]) -> str:
    """Return a page's Markdown: its text, and below it a reference to each picture."""
    return "\n\n".join(filter(None, (text, *(f"![{picture.id}]({picture.id})" for picture in pictures))))

"""A page as values: headings, sentences, lists and tables, independent of the language that they are written in."""

from __future__ import annotations

from dataclasses import dataclass

from .table import Table


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading; `level` 1 is the page's own, 2 begins a part that may be printed by itself."""

    text: str
    level: int


@dataclass(frozen=True, slots=True)
class Bullets:
    """A list of sentences."""

    items: tuple[str, ...]


Block = Heading | Bullets | Table | str
"""A part of a page; a text is a sentence of its own."""

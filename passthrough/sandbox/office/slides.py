"""Reads the slides of a PPTX (PresentationML): their titles, text, tables and pictures, in the order in which they are shown."""

from __future__ import annotations

from typing import Final

from ..errors import corrupted
from .office_page import OfficePage, PlacedPicture, pixels_of_emu
from .text_blocks import TextBlocks
from .xml_events import Attributes
from .zip_package import Package

_WIDE: Final = (2667, 1500)
_TITLES: Final = {"title", "ctrTitle"}


class Slides:
    """A PPTX: each slide is a page, hidden ones too. A slide is read when it is asked for."""

    def __init__(self, package: Package, main: str) -> None:
        """Raises Rejection."""
        self._package = package
        self._size = _WIDE
        relations = package.relations(main)
        ids: list[str] = []

        def begin(name: str, attributes: Attributes) -> None:
            if name == "p:sldId":
                ids.append(attributes.get("r:id", ""))
            elif name == "p:sldSz":
                width, height = pixels_of_emu(attributes.get("cx")), pixels_of_emu(attributes.get("cy"))
                self._size = (width, height) if width > 0 and height > 0 else self._size

        package.read(main, begin)
        self._parts = [relations[each].part for each in ids if each in relations]
        if not self._parts:
            raise corrupted()

    @property
    def total(self) -> int:
        """The number of slides."""
        return len(self._parts)

    def page(self, index: int) -> OfficePage:
        """Return a slide by its number from 0. Raises Rejection."""
        slide = _Slide(self._package, self._parts[index])
        return OfficePage(slide.blocks.take_page(), self._size, tuple(slide.pictures))


class _Slide:
    def __init__(self, package: Package, part: str) -> None:
        self.blocks = TextBlocks()
        self.pictures: list[PlacedPicture] = []
        self._relations = package.relations(part)
        self._is_text = self._is_title = False
        self._skipped = 0
        self._picture: str | None = None
        self._offset = self._extent = (0, 0)
        package.read(part, self._begin, self._end, self._text)

    def _begin(self, name: str, attributes: Attributes) -> None:
        if self._skipped or name == "mc:Fallback":
            self._skipped += 1
        elif name == "a:t":
            self._is_text = True
        elif name == "a:p":
            self.blocks.begin_paragraph()
        elif name == "a:br":
            self.blocks.add("\n")
        elif name in {"a:tbl", "a:tr", "a:tc"}:
            {"a:tbl": self.blocks.begin_table, "a:tr": self.blocks.begin_row, "a:tc": self.blocks.begin_cell}[name]()
        elif name in {"p:sp", "p:pic"}:
            self._is_title, self._picture, self._offset, self._extent = False, None, (0, 0), (0, 0)
        elif name == "p:ph":
            self._is_title = attributes.get("type") in _TITLES
        elif name == "a:blip":
            relation = self._relations.get(attributes.get("r:embed", ""))
            self._picture = None if relation is None else relation.part
        elif name == "a:off":
            self._offset = (pixels_of_emu(attributes.get("x")), pixels_of_emu(attributes.get("y")))
        elif name == "a:ext" and "cx" in attributes:  # the other a:ext is an extension
            self._extent = (pixels_of_emu(attributes.get("cx")), pixels_of_emu(attributes.get("cy")))

    def _end(self, name: str) -> None:
        if self._skipped:
            self._skipped -= 1
        elif name == "a:t":
            self._is_text = False
        elif name == "a:p":
            self.blocks.end_paragraph("# " if self._is_title else "")
        elif name == "a:tc":
            self.blocks.end_cell()
        elif name == "a:tbl":
            self.blocks.end_table()
        elif name == "p:sp":
            self._is_title = False
        elif name == "p:pic" and self._picture is not None:
            (left, top), (width, height) = self._offset, self._extent
            self.pictures.append(PlacedPicture(self._picture, (left, top, left + width, top + height)))

    def _text(self, text: str) -> None:
        if self._is_text and not self._skipped:
            self.blocks.add(text)

"""Reads the text of a DOCX (WordprocessingML): paragraphs, headings, lists, tables, pictures, and where its pages broke."""

from __future__ import annotations

import re
from typing import Final

from .office_page import OfficePage, PlacedPicture, pixels_of_emu, pixels_of_twips
from .text_blocks import TextBlocks
from .xml_events import Attributes
from .zip_package import Package

_LETTER: Final = (1700, 2200)
_SKIPPED: Final = {"mc:Fallback", "w:moveFrom", "w:del"}  # said twice, moved away, deleted
_CHARACTERS: Final = {"w:tab": "\t", "w:br": "\n", "w:cr": "\n", "w:noBreakHyphen": "-"}
_HEADING: Final = re.compile(r"(?:heading|berschrift|titre)\s*([1-6])", re.I)  # Word translates the ids of its styles
_LIST: Final = re.compile(r"list(?!paragraph)", re.I)
_SAME_PAGE: Final = {"continuous", "nextColumn"}
_OFF: Final = {"0", "false", "off"}


class Word:
    """A DOCX, read whole: its page breaks are those that its author set, and those that Word found when it last saved it.

    A document that no program laid out, without breaks, is one page.
    """

    def __init__(self, package: Package, main: str) -> None:
        """Raises Rejection."""
        self._relations = package.relations(main)
        self._blocks = TextBlocks()
        self._pages: list[tuple[str, tuple[PlacedPicture, ...]]] = []
        self._pictures: list[PlacedPicture] = []
        self._size = _LETTER
        self._skipped = 0
        self._is_text = False
        self._mark = ""
        self._in_properties = self._in_section = self._ends_section = False
        self._section_kind = ""
        self._section_page = 0
        self._joined: set[int] = set()
        self._extent = (0, 0)
        package.read(main, self._begin, self._end, self._text)
        self._break()
        self._join()

    @property
    def total(self) -> int:
        """The number of pages: one at least."""
        return len(self._pages)

    def page(self, index: int) -> OfficePage:
        """Return a page by its number from 0."""
        text, pictures = self._pages[index]
        return OfficePage(text, self._size, pictures)

    def _begin(self, name: str, attributes: Attributes) -> None:
        if self._skipped or name in _SKIPPED:
            self._skipped += 1
            return
        if name in _CHARACTERS:
            self._add_character(name, attributes)
        elif name == "w:t":
            self._is_text = True
        elif name == "w:p":
            self._blocks.begin_paragraph()
            self._mark, self._ends_section = "", False
        elif name in {"w:tbl", "w:tr", "w:tc"}:
            {"w:tbl": self._blocks.begin_table, "w:tr": self._blocks.begin_row, "w:tc": self._blocks.begin_cell}[name]()
        elif name == "w:lastRenderedPageBreak":
            self._break()
        elif name in {"wp:extent", "a:extent"}:
            self._extent = (pixels_of_emu(attributes.get("cx")), pixels_of_emu(attributes.get("cy")))
        elif name == "a:blip":
            self._add_picture(attributes)
        else:
            self._begin_property(name, attributes)

    def _begin_property(self, name: str, attributes: Attributes) -> None:
        value = attributes.get("w:val", "")
        if name == "w:pPr":
            self._in_properties = True
        elif name == "w:pStyle":
            heading = _HEADING.match(value)
            if heading:
                self._mark = f"{'#' * int(heading[1])} "
            elif value.lower() == "title":
                self._mark = "# "
            elif _LIST.match(value):
                self._mark = "- "
        elif name == "w:numPr":
            self._mark = self._mark or "- "
        elif name == "w:pageBreakBefore" and value not in _OFF:
            self._break()
        elif name == "w:sectPr":
            self._in_section, self._ends_section, self._section_kind = True, self._in_properties, ""
        elif name == "w:type" and self._in_section:
            self._section_kind = value
        elif name == "w:pgSz":
            width, height = pixels_of_twips(attributes.get("w:w")), pixels_of_twips(attributes.get("w:h"))
            self._size = (width, height) if width > 0 and height > 0 else self._size

    def _end(self, name: str) -> None:
        if self._skipped:
            self._skipped -= 1
        elif name == "w:t":
            self._is_text = False
        elif name == "w:p":
            self._blocks.end_paragraph(self._mark)
            if self._ends_section:
                self._section_page = len(self._pages) if self._break() else 0
            self._mark, self._ends_section = "", False
        elif name == "w:tc":
            self._blocks.end_cell()
        elif name == "w:tbl":
            self._blocks.end_table()
        elif name == "w:pPr":
            self._in_properties = False
        elif name == "w:sectPr":  # it stands at the end of its section, and says how that began
            self._in_section = False
            if self._section_kind in _SAME_PAGE:
                self._joined.add(self._section_page)

    def _text(self, text: str) -> None:
        if self._is_text and not self._skipped:
            self._blocks.add(text)

    def _add_character(self, name: str, attributes: Attributes) -> None:
        if name == "w:br" and attributes.get("w:type") == "page":
            self._break()
        elif not self._in_properties:  # there w:tab is a tab stop
            self._blocks.add(_CHARACTERS[name])

    def _add_picture(self, attributes: Attributes) -> None:
        relation = self._relations.get(attributes.get("r:embed", ""))
        if relation is not None:  # where it stands is known only to the program that lays the document out
            self._pictures.append(PlacedPicture(relation.part, (0, 0, *self._extent)))

    def _break(self) -> bool:
        """Begin a page, unless nothing stands on this one: an author's break and the one that Word found for it are one."""
        if self._blocks.is_empty and not self._pictures:
            return False
        self._pages.append((self._blocks.take_page(), tuple(self._pictures)))
        self._pictures = []
        return True

    def _join(self) -> None:
        """Join the pages where a section goes on on the page of the one before."""
        pages: list[tuple[str, tuple[PlacedPicture, ...]]] = []
        for index, (text, pictures) in enumerate(self._pages):
            if pages and index in self._joined:
                before, others = pages.pop()
                pages.append(("\n\n".join(filter(None, (before, text))), (*others, *pictures)))
            else:
                pages.append((text, pictures))
        self._pages = pages or [("", ())]

"""A page's Markdown, with its pictures' files and its tables in the place of their placeholders."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Generic, TypeVar

from .placeholders import Placeholder, replaced
from .response import ResponsePage, ResponseTable

T = TypeVar("T")

_CONTROLS: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""What a terminal may obey, and what no text has: all controls but the newline and the tab."""
_SURROGATES: Final = re.compile("[\ud800-\udfff]")
_BLANK_LINES: Final = re.compile(r"\n[ \t]*(?=\n)")
_PLAIN_ALT: Final = re.compile(r"[^\[\]\\\n<>&`\x22]{0,200}\Z")


Link = Callable[[str], str]
"""Returns the link to a picture's file by its name, nothing where no pictures are wanted."""


@dataclass(frozen=True, slots=True)
class PagePictures:
    """The pictures of a page: for each id the names of its files, in the response's order, None where there is no file.

    The first placeholder of an id is its first picture, the second its second; what is beyond has the last.
    """

    names: Mapping[str, Sequence[str | None]] = field(default_factory=dict)


def page_markdown(page: ResponsePage, pictures: PagePictures, link: Link, table: Callable[[ResponseTable], str]) -> str:
    """Return a page's Markdown. `table` returns what stands in the place of a table, whose own pictures are in it already."""
    tables: dict[str, list[ResponseTable]] = {}
    for each in page.tables:
        if each.content.strip():  # else its placeholder stays, and shows that there was one
            tables.setdefault(each.id, []).append(each)
    names, contents = _Turns(pictures.names, True), _Turns(tables, False)

    def picture_at(place: Placeholder) -> str:
        name = names.next(place.id)
        target = link(name) if name else ""
        return f"![{_alt(place, str(name))}]({target})" if target else ""

    def tag_at(place: Placeholder) -> str:
        name = names.next(place.id)
        target = link(name) if name else ""
        return f'<img src="{target}" alt="{_alt(place, str(name))}">' if target else ""

    def table_at(place: Placeholder) -> str:
        found = contents.next(place.id)
        if found is None:
            return ""
        picture = tag_at if is_html(found) else picture_at
        return table(replace(found, content=replaced(found.content, pictures.names, (), picture, picture)))

    return clean(replaced(page.markdown, pictures.names, tables, picture_at, table_at))


class _Turns(Generic[T]):
    """What stands for an id, one after the other. `repeats`: the last one comes again where there is none.

    A table comes once: a response of a few MB whose table stands in thousands of places would be gigabytes.
    """

    def __init__(self, found: Mapping[str, Sequence[T | None]], repeats: bool) -> None:
        self._found = found
        self._repeats = repeats
        self._turn: dict[str, int] = {}

    def next(self, id: str) -> T | None:
        """Return the next one of an id."""
        found = self._found.get(id, ())
        turn = self._turn[id] = self._turn.get(id, -1) + 1
        if turn < len(found):
            return found[turn]
        return found[-1] if found and self._repeats else None


def table_content(table: ResponseTable) -> str:
    """Return a table as it stands in Markdown: as it came, but that a table in HTML has no blank line, which would end it."""
    return _BLANK_LINES.sub("", table.content.strip()) if is_html(table) else table.content


def is_html(table: ResponseTable) -> bool:
    """Tell whether a table is HTML, not Markdown."""
    return table.content.lstrip()[:1] == "<"


def clean(text: str) -> str:
    """Return a text without control characters, and without halves of surrogate pairs, which UTF-8 has no bytes for."""
    return _SURROGATES.sub("\ufffd", _CONTROLS.sub("", text))


def _alt(place: Placeholder, name: str) -> str:
    """Return what stands in brackets: as it came, or the file's name where that was the id or is no plain text."""
    return place.alt if place.alt != place.id and _PLAIN_ALT.match(place.alt) else name

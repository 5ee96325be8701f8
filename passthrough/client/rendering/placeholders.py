"""The placeholders in a page's Markdown: `![img-0.jpeg](img-0.jpeg)`, `[tbl-0.html](tbl-0.html)`. They are replaced in one pass.

The names in them come from the network: they may hold brackets, blanks or what a pattern would read as its own. So no pattern is
made of them. What stands for a name is looked up, at each `](` of the text.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Final

_MAX_ID: Final = 2000
"""A name that is longer has no placeholder: it would have to be compared at each `](` of the text."""
_MAX_ALT: Final = 300
_MAX_ENDS: Final = 8  # of a target: as many `)` as a name may have, and one


@dataclass(frozen=True, slots=True)
class Placeholder:
    """A placeholder, at text[start:end]. `id` is its target, `alt` what stands in brackets."""

    start: int
    end: int
    id: str
    alt: str
    is_picture: bool


def placeholders(text: str, pictures: Collection[str], tables: Collection[str]) -> Iterator[Placeholder]:
    """Yield the placeholders of pictures and tables with these ids, and those of unknown pictures, in order and apart.

    A picture is a placeholder by its form where its target is what stands in brackets, whether there is such an id or not.
    """
    ends = min(_MAX_ENDS, 1 + max((id.count(")") for id in (*pictures, *tables)), default=0))
    at, free = text.find("]("), 0
    while at >= 0:
        found = next((each for each in _candidates(text, at, ends) if _is_one(each, pictures, tables)), None)
        if found is not None and found.start >= free:
            yield found
            free = found.end
        at = text.find("](", max(at + 2, free))


def replaced(
    text: str,
    pictures: Collection[str],
    tables: Collection[str],
    picture: Callable[[Placeholder], str],
    table: Callable[[Placeholder], str],
) -> str:
    """Return a text with other text for its placeholders; what is put there is not looked at again.

    A picture's text goes into the line, a table's is a block of its own. Where one is empty, the placeholder goes, and the
    paragraph with it if there was nothing else in it.
    """
    made: list[str] = []
    copied = 0
    for each in placeholders(text, pictures, tables):
        made.append(text[copied : each.start])
        copied = each.end
        new = picture(each) if each.is_picture else table(each).strip("\n")
        if not new:
            copied = _after_paragraph(text, each)
        elif each.is_picture:
            made.append(new)
        else:
            made.append(_newlines_after("".join(made[-3:])) + new)
            copied = _skip(text, _skip(text, copied, " "), "\n")
            made.append("\n\n" if copied < len(text) else "")
    return "".join(made) + text[copied:]


def _candidates(text: str, at: int, ends: int) -> Iterator[Placeholder]:
    """Yield what may be a placeholder whose `](` is at `at`: one for each of the next `)`."""
    close = at + 1
    for _ in range(ends):
        close = text.find(")", close + 1, at + 3 + _MAX_ID)
        if close < 0:
            return
        id = text[at + 2 : close]
        start = at - len(id) - 1
        if start < 0 or text[start] != "[" or text[start + 1 : at] != id:
            start = text.rfind("[", max(0, at - _MAX_ALT), at)
            if start < 0 or text.find("]", start, at) >= 0 or text.find("\n\n", start, at) >= 0:
                continue
        is_picture = start > 0 and text[start - 1] == "!"
        yield Placeholder(start - is_picture, close + 1, id, text[start + 1 : at], is_picture)


def _is_one(each: Placeholder, pictures: Collection[str], tables: Collection[str]) -> bool:
    if each.is_picture:
        return each.id in pictures or (each.id == each.alt != "" and "://" not in each.id and "\n" not in each.id)
    return each.id in tables


def _after_paragraph(text: str, each: Placeholder) -> int:
    """Return where the text goes on when a placeholder goes: behind the blank lines, if it was a paragraph of its own."""
    is_alone = (each.start == 0 or text[each.start - 1] == "\n") and (each.end == len(text) or text[each.end] == "\n")
    return _skip(text, each.end, "\n") if is_alone else each.end


def _skip(text: str, at: int, characters: str) -> int:
    while at < len(text) and text[at] in characters:
        at += 1
    return at


def _newlines_after(before: str) -> str:
    """Return the newlines that are missing for a blank line after a text."""
    if before.endswith("\n\n") or not before.strip("\n"):
        return ""
    return "\n" if before.endswith("\n") else "\n\n"

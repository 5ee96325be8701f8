"""The reader of Markdown for HTML and text: CommonMark with tables, line breaks in HTML, and formulas, which stay as they are.

No other HTML is read, so that no script of a document becomes one of ours.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from ...extras import install_command
from ..errors import ClientError

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.rules_block import StateBlock
    from markdown_it.rules_inline import StateInline

_BREAK: Final = re.compile(r"<br[ \t]{0,8}/?>", re.IGNORECASE)
_SAFE_LINK: Final = re.compile(r"https?://|mailto:|#", re.IGNORECASE)
_MAX_NESTING: Final = 60
_MAX_FORMULA: Final = 5000  # characters
_MAX_FORMULA_LINES: Final = 100


def library() -> type[MarkdownIt]:
    """Return the class of parsers. Raises ClientError where the library is not installed, which is of an extra."""
    try:
        from markdown_it import MarkdownIt  # noqa: PLC0415 - of an extra
    except ImportError:
        raise ClientError(f"For HTML and text, markdown-it-py is needed.\n  Install it: {install_command('ocr')}") from None
    return MarkdownIt


def markdown_parser(is_picture: Callable[[str], bool]) -> MarkdownIt:
    """Return a parser. `is_picture` tells which relative links are those of our pictures: others that are relative are text."""
    parser = library()("commonmark", {"html": False, "maxNesting": _MAX_NESTING}).enable(["table", "strikethrough"])
    parser.validateLink = lambda url: bool(_SAFE_LINK.match(url)) or is_picture(url)  # type: ignore[method-assign]
    parser.inline.ruler.before("escape", "formula", _formula)
    parser.inline.ruler.before("html_inline", "break", _line_break)
    parser.block.ruler.before("fence", "formula", _formula_block, {"alt": ["paragraph"]})
    return parser


def _line_break(state: StateInline, silent: bool) -> bool:
    """Read `<br>`, which the API writes in tables."""
    found = _BREAK.match(state.src, state.pos)
    if found is None:
        return False
    if not silent:
        state.push("hardbreak", "br", 0)
    state.pos = found.end()
    return True


def _formula(state: StateInline, silent: bool) -> bool:
    """Read `$x_1$` and `$$x_1$$`, whose `_`, `*` and backslashes are not Markdown's. `$5 and $6` is none, as in pandoc."""
    at, text = state.pos, state.src
    if text[at] != "$":
        return False
    mark = "$$" if text.startswith("$$", at) else "$"
    start = at + len(mark)
    end = text.find(mark, start, start + _MAX_FORMULA)
    while end > 0 and text[end - 1] == "\\":
        end = text.find(mark, end + 1, start + _MAX_FORMULA)
    formula = text[start:end] if end > 0 else ""
    if not formula.strip() or (mark == "$" and (formula.strip() != formula or text[end + 1 : end + 2].isdigit())):
        return False
    if not silent:
        state.push("formula", "", 0).content = text[at : end + len(mark)]
    state.pos = end + len(mark)
    return True


def _formula_block(state: StateBlock, first: int, end: int, silent: bool) -> bool:
    """Read lines from one that begins with `$$` to one that ends so: `=` alone on a line would make a heading of them."""
    if state.is_code_block(first) or not state.src.startswith("$$", state.bMarks[first] + state.tShift[first]):
        return False
    last = next(
        (line for line in _lines(state, first, min(end, first + _MAX_FORMULA_LINES)) if _closes(state, line, first)), None
    )
    if last is None:
        return False
    if not silent:
        state.push("formula_block", "", 0).content = state.getLines(first, last + 1, state.blkIndent, False).strip()
        state.line = last + 1
    return True


def _lines(state: StateBlock, first: int, end: int) -> Iterator[int]:
    """Yield the lines up to `end` that belong to the same block: a list's item, a quotation."""
    yield first
    for line in range(first + 1, end):
        if state.sCount[line] < state.blkIndent and not state.isEmpty(line):
            return
        yield line


def _closes(state: StateBlock, line: int, first: int) -> bool:
    text = state.src[state.bMarks[line] + state.tShift[line] : state.eMarks[line]].rstrip()
    return text.endswith("$$") and (line > first or len(text) > 4) and "$$" not in text[2 if line == first else 0 : -2]

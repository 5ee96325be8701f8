"""Counts tokens as a language model's provider would, roughly: about four letters are one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

_TOKEN: Final = re.compile(r"\s*(?:\w{1,5}|[^\w\s])|\s+")
_PATCH_PX: Final = 28
_LONGEST_PX: Final = 1540


def tokens(text: str) -> Iterator[str]:
    """Yield the tokens of a text; together they are the text."""
    for found in _TOKEN.finditer(text):
        yield found[0]


def token_count(text: str) -> int:
    """Return the number of a text's tokens."""
    return sum(1 for _ in _TOKEN.finditer(text))


def image_token_count(width: int, height: int) -> int:
    """Return what an image of this size (pixels) costs: a token for each patch of 28 by 28, once it fits into 1540 by 1540."""
    scale = min(1.0, _LONGEST_PX / max(width, height, 1))
    return max(1, -(-round(width * scale) // _PATCH_PX)) * max(1, -(-round(height * scale) // _PATCH_PX))

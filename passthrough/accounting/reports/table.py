"""Tables as values: texts in columns, independent of how they are shown."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

_BAR: Final = 12  # cells of a whole bar
_EIGHTHS: Final = " ▏▎▍▌▋▊▉█"
_NUMBER: Final = re.compile(r"[-<]?[\d,]+(\.\d+)?")


@dataclass(frozen=True, slots=True)
class Column:
    """The texts of one column, from its head to its foot (empty: there is none).

    `whole`: its cells are never folded. `right`: they are aligned to the right, as figures are. `ornament`: it repeats what other
    columns say; it is shown on a terminal only, and left out where there is no space. `part`: where there is no space for all
    columns, those of one part stay together, and the parts stand below each other in their order.
    """

    head: str
    cells: tuple[str, ...]
    foot: str = ""
    whole: bool = False
    right: bool = False
    ornament: bool = False
    part: int = 0

    @property
    def texts(self) -> tuple[str, ...]:
        """All texts of the column."""
        return (self.head, *self.cells, self.foot)

    def aligned(self, space: str = " ") -> Column:
        """Return the column with spaces behind its figures, so that their decimal points stand below each other."""
        if not self.right:
            return self
        *cells, foot = _aligned((*self.cells, self.foot), space)
        return replace(self, cells=tuple(cells), foot=foot)


@dataclass(frozen=True, slots=True)
class Table:
    """Columns of equal length under a title, with a `note` on them.

    A column without any text in its cells is left out. `shorter` returns the same table with at most so many rows, the others
    summed up in one row more; None: it cannot be shorter.
    """

    title: str
    columns: tuple[Column, ...]
    note: str = ""
    shorter: Callable[[int], Table] | None = field(default=None, compare=False)


def bar(share: float) -> str:
    """Return a bar that is as long as a share (0 to 1) of the longest one."""
    eighths = round(min(max(share, 0.0), 1.0) * _BAR * 8)
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def _aligned(texts: Sequence[str], space: str) -> list[str]:
    matches = [_NUMBER.fullmatch(text) for text in texts]
    decimals = [len(match[1] or "") if match else None for match in matches]
    most = max((found for found in decimals if found is not None), default=0)
    return [text if found is None else text + space * (most - found) for text, found in zip(texts, decimals, strict=True)]

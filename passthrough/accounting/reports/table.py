"""Tables before they are drawn: texts in columns, whatever they are shown on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_BAR: Final = 12  # cells of a whole bar
_EIGHTHS: Final = " ▏▎▍▌▋▊▉█"


@dataclass(frozen=True, slots=True)
class Column:
    """The texts of one column, from its head to its foot (empty: there is none).

    `whole` tells that its cells are never folded; `right` that they end together, as figures do; `ornament` that it says nothing
    that other columns do not say: it is shown on a terminal only, and left out where there is no room.
    """

    head: str
    cells: tuple[str, ...]
    foot: str = ""
    whole: bool = False
    right: bool = False
    ornament: bool = False

    @property
    def texts(self) -> tuple[str, ...]:
        """All that stands in the column."""
        return (self.head, *self.cells, self.foot)


@dataclass(frozen=True, slots=True)
class Table:
    """Columns of equal length under a title; `note` is what must be said of them.

    A column without any text in its cells is left out.
    """

    title: str
    columns: tuple[Column, ...]
    note: str = ""


def bar(share: float) -> str:
    """Return a bar that is as long as a share (0 to 1) of the longest one."""
    eighths = round(min(max(share, 0.0), 1.0) * _BAR * 8)
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()

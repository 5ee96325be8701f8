"""Tables as values: texts in columns, independent of how they are shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_BAR: Final = 12  # cells of a whole bar
_EIGHTHS: Final = " ▏▎▍▌▋▊▉█"


@dataclass(frozen=True, slots=True)
class Column:
    """The texts of one column, from its head to its foot (empty: there is none).

    `whole`: its cells are never folded. `right`: they are aligned to the right, as figures are. `ornament`: it repeats what other
    columns say; it is shown on a terminal only, and left out where there is no space.
    """

    head: str
    cells: tuple[str, ...]
    foot: str = ""
    whole: bool = False
    right: bool = False
    ornament: bool = False

    @property
    def texts(self) -> tuple[str, ...]:
        """All texts of the column."""
        return (self.head, *self.cells, self.foot)


@dataclass(frozen=True, slots=True)
class Table:
    """Columns of equal length under a title, with a `note` on them.

    A column without any text in its cells is left out.
    """

    title: str
    columns: tuple[Column, ...]
    note: str = ""


def bar(share: float) -> str:
    """Return a bar that is as long as a share (0 to 1) of the longest one."""
    eighths = round(min(max(share, 0.0), 1.0) * _BAR * 8)
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()

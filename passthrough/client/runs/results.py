"""The results of a run's documents, and their sums."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..documents import Document
from ..errors import DocumentError

PageCost = Callable[[str | None, int, int, bool], int | None]
"""Returns 10⁻⁹ USD, None where no price is known: of a model's plain pages and annotated ones, and whether a batch bills them."""


@dataclass(frozen=True, slots=True)
class DocumentResult:
    """What came of one document.

    `outputs` are the files that were written, in their order; `text` is what goes to stdout instead. `notes` are flaws of a
    document that did not fail. `is_unsent`: another's failure had ended the run before. What it cost is said by
    `Listener.advance`, as soon as it is billed.
    """

    document: Document
    outputs: tuple[Path, ...] = ()
    text: bytes | None = None
    failure: DocumentError | None = None
    is_skipped: bool = False
    is_unsent: bool = False
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class Sums:
    """The sums of a run so far. `cost_nano` is in 10⁻⁹ USD, without the `unpriced` pages, for which no price is known."""

    done: int = 0
    skipped: int = 0
    failed: int = 0
    unsent: int = 0
    pages: int = 0
    cost_nano: int = 0
    unpriced: int = 0

    def advance(self, pages: int, cost_nano: int | None) -> None:
        """Add pages that were billed, and their price."""
        self.pages += pages
        self.cost_nano += cost_nano or 0
        self.unpriced += pages if cost_nano is None else 0

    def end(self, result: DocumentResult) -> None:
        """Add a document; its pages were added when they were billed."""
        self.skipped += result.is_skipped
        self.failed += result.failure is not None
        self.unsent += result.is_unsent
        self.done += result.failure is None and not result.is_skipped and not result.is_unsent

"""The events of a run, for a progress bar."""

from __future__ import annotations

from typing import Protocol

from .results import DocumentResult


class Listener(Protocol):
    """Hears of a run's progress, on the event loop; what it does must be quick, and never raise."""

    def expect(self, documents: int, pages: int | None) -> None:
        """Hear of work to come: that many documents more, with so many pages that will be billed, None where it is not known."""

    def wait(self, seconds: float, why: str) -> None:
        """Hear that the API is asked no more for a while, because of what it said."""

    def watch(self, status: str, done: int, total: int) -> None:
        """Hear how far a batch job is, in the API's word and in requests; `total` is 0 as long as it is not known.

        `PREPARING`: it is not ordered yet, and `done` of the documents are read or uploaded.
        """

    def advance(self, pages: int, cost_nano: int | None) -> None:
        """Hear that pages were billed, and their price by the list in 10⁻⁹ USD."""

    def end(self, result: DocumentResult) -> None:
        """Hear what came of a document."""

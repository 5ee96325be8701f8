"""What a response says of its bill: how many pages, and of which model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .response import billed, model_of
from .response_file import read_response


@dataclass(frozen=True, slots=True)
class Billed:
    """The plain and the annotated pages of a response, as the ledger counts them: their sum is what was billed."""

    pages_processed: int
    pages_annotated: int
    model: str | None


def billed_in(path: Path) -> Billed:
    """Return what the response in a file says. Blocks. Raises DocumentError where it is no OCR response, and OSError."""
    tree = read_response(path).tree
    return Billed(*billed(tree), model_of(tree))

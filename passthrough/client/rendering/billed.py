"""The pages that a response was billed for, and the model that read them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .response import billed, model_of
from .response_file import read_json


@dataclass(frozen=True, slots=True)
class Billed:
    """The plain and the annotated pages of a response, as the ledger counts them: their sum is what was billed.

    `has_pages`: it has a list of them; a response without one may be billed all the same.
    """

    pages_processed: int
    pages_annotated: int
    model: str | None
    has_pages: bool = True


def billed_in(path: Path) -> Billed:
    """Return what the response in a file says. Blocks. Raises DocumentError where it is no JSON object, and OSError."""
    tree = read_json(path).tree
    return Billed(*billed(tree), model_of(tree), isinstance(tree.get("pages"), list))

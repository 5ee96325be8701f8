"""The table of `passthrough ocr --dry-run`: pages and price of each document, and of all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size

from ...accounting.money import rounded_usd
from ...accounting.reports.table import Column, Table
from ...client.documents import Document
from ...client.errors import DocumentError
from ...client.runs.settings import RunSettings
from .progress import number


@dataclass(frozen=True, slots=True)
class Estimate:
    """A document before it is sent: its pages (None: only the API can count them), or why it would fail."""

    document: Document
    pages: int | None
    is_finished: bool = False
    failure: DocumentError | None = None


def estimate_table(
    estimates: Sequence[Estimate], settings: RunSettings, *, in_batch: bool, name_width: int | None = None
) -> Table:
    """Return the estimates as a table. Names of more than `name_width` cells are cut in the middle."""
    rows = [_row(each, settings, in_batch=in_batch) for each in estimates]
    todo = [each for each in estimates if each.failure is None and not each.is_finished]
    pages = sum(each.pages or 0 for each in todo)
    unknown = sum(each.pages is None for each in todo)
    cost = settings.cost_nano(None, pages, 0, in_batch=in_batch)
    at_least = "≥ " if unknown else ""
    notes = [f"By the price list of {settings.asked.model}{', as a batch' if in_batch else ''}; nothing was sent."]
    if unknown:
        notes.append(f"Of {number(unknown, 'document')} only the API can count the pages.")
    if cost is None:
        notes.append("No price of this model is known: name it in 'prices' of routes.yaml.")
    names, counts, costs, remarks = zip(*rows, strict=True)
    if name_width is not None:
        names = tuple(_cut(name, name_width) for name in names)
    columns = (
        Column("document", names, "all"),
        Column("pages", counts, f"{at_least}{pages:,}", right=True),
        Column("USD", costs, "?" if cost is None else f"{at_least}{rounded_usd(cost)}", right=True),
        Column("", remarks),
    )
    return Table(f"{number(len(todo), 'document')} to do", columns, " ".join(notes))


def _cut(name: str, width: int) -> str:
    """Return a name with `…` for its middle, where it is too wide; the end says more than what is before it."""
    if cell_len(name) <= width:
        return name
    before = set_cell_size(name, width // 3).rstrip()
    after = name
    while cell_len(after) > width - cell_len(before) - 1:
        after = after[1:]
    return f"{before}…{after}"


def _row(estimate: Estimate, settings: RunSettings, *, in_batch: bool) -> tuple[str, str, str, str]:
    name = estimate.document.name
    if estimate.failure is not None:
        return name, "", "", f"would fail: {estimate.failure.why}"
    if estimate.is_finished:
        return name, "", "", "finished"
    if estimate.pages is None:
        return name, "?", "?", ""
    cost = settings.cost_nano(None, estimate.pages, 0, in_batch=in_batch)
    return name, f"{estimate.pages:,}", "?" if cost is None else rounded_usd(cost), ""

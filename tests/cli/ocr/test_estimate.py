"""The table of `passthrough ocr --dry-run`."""

from __future__ import annotations

from pathlib import Path, PurePath

import pytest

from passthrough.cli.ocr.estimate import Estimate, estimate_table
from passthrough.cli.ocr.page_cost import page_cost
from passthrough.client.documents import Document
from passthrough.client.errors import DocumentError
from passthrough.client.options import OcrOptions, RenderOptions
from passthrough.client.runs.settings import RunSettings
from passthrough.config.builtin import NAME

pytestmark = pytest.mark.fast


def settings(model: str = "mistral-ocr-2512", **asked: object) -> RunSettings:
    """Return a run's settings with the shipped prices: 2 USD for 1000 pages, 3 for annotated ones."""
    return RunSettings(OcrOptions(model, **asked), RenderOptions(), page_cost(NAME, None))  # type: ignore[arg-type]


def document(name: str) -> Document:
    """Return a document of this name."""
    return Document(name, PurePath(name), Path(name))


ESTIMATES = (
    Estimate(document("a.pdf"), 10),
    Estimate(document("b.docx"), None),
    Estimate(document("c.pdf"), 0, is_finished=True),
    Estimate(document("d.pdf"), None, failure=DocumentError("It is empty.")),
)


def test_each_document_has_its_row() -> None:
    """What is finished, or would fail, costs nothing; what only the API can count makes the sum a least one."""
    table = estimate_table(ESTIMATES, settings(), in_batch=False)
    assert "2 documents to do" == table.title
    assert [
        ("document", ("a.pdf", "b.docx", "c.pdf", "d.pdf"), "all"),
        ("pages", ("10", "?", "", ""), "≥ 10"),
        ("USD", ("0.0200", "?", "", ""), "≥ 0.0200"),
        ("", ("", "", "finished", "would fail: It is empty."), ""),
    ] == [(column.head, column.cells, column.foot) for column in table.columns]
    assert "Of 1 document only the API can count the pages." in table.note


def test_long_names_are_cut_in_the_middle() -> None:
    """On a terminal, where a row would else be many lines; wide letters count twice."""
    names = ("short.pdf", "2026/" + "quarter " * 12 + "report.pdf", "日本語" * 20 + ".pdf")
    estimates = [Estimate(document(name), 1) for name in names]
    cut = estimate_table(estimates, settings(), in_batch=False, name_width=30).columns[0].cells
    assert ("short.pdf", "2026/quart… quarter report.pdf", "日本語日本…語日本語日本語.pdf") == cut
    assert names == estimate_table(estimates, settings(), in_batch=False).columns[0].cells


@pytest.mark.parametrize(
    ("chosen", "in_batch", "usd"),
    [
        (settings(), False, "0.0200"),
        (settings(), True, "0.0100"),
        (settings(annotation={"type": "json_schema"}), False, "0.0300"),
        (settings(more={"bbox_annotation_format": {}}), False, "0.0300"),
        (settings(more={"bbox_annotation_format": None}), False, "0.0200"),
        (settings("unheard-of"), False, "?"),
    ],
)
def test_the_price_is_the_lists(chosen: RunSettings, in_batch: bool, usd: str) -> None:
    """Half of it for a batch, the annotated one where an annotation is asked for, and none where it is not known."""
    table = estimate_table(ESTIMATES[:1], chosen, in_batch=in_batch)
    assert usd == table.columns[2].foot == table.columns[2].cells[0]
    assert ("No price of this model is known" in table.note) == (usd == "?")
    assert ("as a batch" in table.note) == in_batch


def test_prices_of_the_configuration_come_first(tmp_path: Path) -> None:
    """As they do where it is booked."""
    file = tmp_path / "routes.yaml"
    file.write_text("prices:\n  - {model: mistral-ocr-2512, usd_per_1000_pages: 7, effective_from: 2026-01-01}\n")
    assert 7_000_000 == page_cost(str(file), None)("mistral-ocr-2512", 1, 0, False)
    assert 2_000_000 == page_cost(str(tmp_path / "none.yaml"), None)("mistral-ocr-2512", 1, 0, False)
    assert 2_200_000 == page_cost(NAME, "api.eu.mistral.ai")("mistral-ocr-2512", 1, 0, False)

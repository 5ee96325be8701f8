"""What is kept of a job: it comes back from its JSON as it was, and what is none is refused."""

from __future__ import annotations

import json
from pathlib import Path, PurePath
from typing import Any

import pytest

from passthrough.client.batch.state import BatchOrder, BatchState, OrderedDocument, OrderedPart, Phase, Upload
from passthrough.client.documents import Document, FileType, Kind
from passthrough.client.options import Format, OcrOptions, RenderOptions
from passthrough.client.output.place import Place
from passthrough.client.page_ranges import PageRanges
from passthrough.client.pdf.parts import Limits

PDF = FileType("application/pdf", Kind.PDF, ".pdf")
ASKED = OcrOptions(
    model="m",
    pages=PageRanges.parse("0,2-4"),
    table_format="html",
    extract_header=True,
    has_images=False,
    image_limit=3,
    annotation={"type": "json_schema", "json_schema": {"ü": [1, None]}},
    more={"x": {"y": 1.5}},
)
FILE = OrderedDocument(
    Document("in/b\udcff \n.pdf", PurePath("in/b\udcff \n.pdf"), Path("/data/in/b\udcff \n.pdf"), None, PDF),
    Place(Path("/data/out/in"), "b", "../../in/b\udcff \n.pdf"),
    "ab" * 32,
    12,
    (OrderedPart("t-0-0", (0, 2)), OrderedPart(None, (3, 4))),
)
URL = OrderedDocument(
    Document("https://h/ü.png", PurePath("ü.png"), url="https://h/ü.png"),
    Place(Path("/data/out"), "ü", "https://h/ü.png"),
    None,
    None,
    (OrderedPart("t-1-0"),),
)
ORDERS = [
    BatchOrder("t", ASKED, RenderOptions((Format.HTML, Format.JSON), "\n{page}\n"), Limits(5, 6), Path("/o"), True, (FILE, URL)),
    BatchOrder("t", OcrOptions(), RenderOptions(), Limits(), None, False, ()),
]
STATES = [
    BatchState("http://h/mistral"),
    BatchState("http://h", Phase.STORED, (Upload("a.pdf"), Upload("b", "id-1")), ("l-1", "l-2"), "job", ("r-1",)),
]


@pytest.mark.parametrize("order", ORDERS)
def test_an_order_comes_back_as_it_was(order: BatchOrder) -> None:
    """With names that are no UTF-8, pages, and every option."""
    assert order == BatchOrder.from_json(json.dumps(order.to_value()))


@pytest.mark.parametrize("state", STATES)
def test_a_state_comes_back_as_it_was(state: BatchState) -> None:
    """With uploads whose ids are not known yet."""
    assert state == BatchState.from_json(json.dumps(state.to_value()))


def changed(value: dict[str, Any], name: str, to: object) -> str:
    """Return the JSON of a value in which one member is another."""
    return json.dumps({**value, name: to})


@pytest.mark.parametrize(
    "text",
    ["", "null", "[]", "7", "{}", '{"version": 2}', "{", *(changed(STATES[1].to_value(), *each) for each in (
        ("version", 2), ("phase", "later"), ("uploads", None), ("uploads", [{"name": "a"}]), ("lines", 7),
    ))],
)  # fmt: skip
def test_what_is_no_state_is_refused(text: str) -> None:
    """A file that another version wrote, or a hand."""
    with pytest.raises(ValueError, match=r".+"):
        BatchState.from_json(text)


@pytest.mark.parametrize(
    "text",
    ["", "null", "{}", *(changed(ORDERS[0].to_value(), *each) for each in (
        ("version", 2), ("asked", {"pages": "9-1"}), ("asked", {"pages": None, "unknown": 1}), ("documents", [{}]),
        ("rendered", {"formats": ["docx"], "separator": ""}), ("rendered", None), ("limits", [1, 2, 3]), ("out", 7),
    ))],
)  # fmt: skip
def test_what_is_no_order_is_refused(text: str) -> None:
    """The same for orders."""
    with pytest.raises(ValueError, match=r".+"):
        BatchOrder.from_json(text)

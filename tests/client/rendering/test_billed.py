"""What a response says of its bill is what the ledger books of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from passthrough.client.rendering.billed import Billed, billed_in


@pytest.mark.parametrize(
    ("usage", "more", "expected"),
    [
        ({"pages_processed": 3}, {}, (3, 0)),
        ({"pages_processed": 3.0}, {}, (3, 0)),
        ({"pages_processed": 3}, {"document_annotation": "{}"}, (0, 3)),
        ({"pages_processed": 1, "pages_processed_annotation": 2}, {"document_annotation": "{}"}, (1, 2)),
        ({"pages_processed": 1, "pages_processed_annotation": None}, {}, (1, 0)),
        ({"pages_processed": 3}, {"pages": [{"images": [{"image_annotation": "{}"}]}]}, (0, 3)),
        ({"pages_processed": -1}, {}, (0, 0)),
        ({"pages_processed": True}, {}, (0, 0)),
        ({"pages_processed": "3"}, {}, (0, 0)),
        ({"pages_processed": float("nan")}, {}, (0, 0)),
        (None, {}, (0, 0)),
    ],
)
def test_what_was_billed(tmp_path: Path, usage: object, more: dict[str, Any], expected: tuple[int, int]) -> None:
    """Plain and annotated pages, as the ledger counts them."""
    path = tmp_path / "response.json"
    path.write_text(json.dumps({"pages": [], "model": "m", "usage_info": usage, **more}), "utf-8")
    assert Billed(*expected, "m") == billed_in(path)

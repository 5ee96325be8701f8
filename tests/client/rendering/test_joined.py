"""The responses to parts become one: pages in the document's numbers, ids apart, counts summed, pictures where they were."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from passthrough.client.rendering.joined import Joined, Taken, joined_tree
from passthrough.client.rendering.response_file import read_response


def page(index: object, markdown: str, *images: str, tables: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return a page of a response."""
    found = [{"id": id, "image_base64": f"data:image/png;base64,{id}/"} for id in images]
    return {"index": index, "markdown": markdown, "images": found, "tables": [{"id": id, "content": id} for id in tables]}


def response(*pages: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return a response of one page that was billed."""
    return {"pages": list(pages), "model": "m", "usage_info": {"pages_processed": len(pages), "doc_size_bytes": 10}, **more}


def joined(folder: Path, *parts: tuple[dict[str, Any], Taken]) -> Joined:
    """Return the parts' responses, from files, as one."""
    files = []
    for number, (tree, taken) in enumerate(parts):
        path = folder / f"response-{number}.json"
        path.write_bytes(json.dumps(tree).encode())
        files.append((read_response(path), taken))
    return Joined(files)


def json_of(one: Joined) -> Any:
    """Return what is written of it."""
    stream = io.BytesIO()
    one.write_json(one.tree, stream)
    return json.loads(stream.getvalue())


def test_pages_have_the_numbers_of_the_document() -> None:
    """By what was taken into each part; a number that is missing follows the last one."""
    parts = [(response(page(1, "c"), page(0, "a")), (0, 4)), (response(page(None, "b"), page(None, "d"), page(7, "e")), (2, 9))]
    assert [(0, "a"), (2, "b"), (4, "c"), (7, "e"), (9, "d")] == [
        (p["index"], p["markdown"]) for p in joined_tree(parts)["pages"]
    ]


def test_ids_are_told_apart() -> None:
    """Those of a later part that an earlier one has too, in lists and in placeholders; what else stands there is left alone."""
    first = response(page(0, "![a.png](a.png)[t.md](t.md)", "a.png", "a-2.png", tables=("t.md",)))
    second = response(page(0, "![a.png](a.png) ![Alt](a.png)\n[t.md](t.md) `a.png`", "a.png", "b.png", tables=("t.md",)))
    pages = joined_tree([(first, (0,)), (second, (1,))])["pages"]
    assert first["pages"][0] == pages[0]
    assert "![a-3.png](a-3.png) ![Alt](a-3.png)\n[t-2.md](t-2.md) `a.png`" == pages[1]["markdown"]
    assert ["a-3.png", "b.png"] == [image["id"] for image in pages[1]["images"]]
    assert ["t-2.md"] == [table["id"] for table in pages[1]["tables"]]


def test_blocks_of_a_page_name_its_pictures_too() -> None:
    """Of newer models."""
    second = page(0, "", "a.png") | {"blocks": [{"type": "image", "content": "![a.png](a.png)"}, {"content": 7}, None]}
    found = joined_tree([(response(page(0, "", "a.png")), (0,)), (response(second), (1,))])["pages"][1]["blocks"]
    assert [{"type": "image", "content": "![a-2.png](a-2.png)"}, {"content": 7}, None] == found


def test_ids_of_many_parts() -> None:
    """Each part has its own."""
    parts = [(response(page(0, "![a](a)", "a", "a-2")), (number,)) for number in range(4)]
    ids = [image["id"] for found in joined_tree(parts)["pages"] for image in found["images"]]
    assert 8 == len(set(ids))


@pytest.mark.parametrize(
    "pages", [[], [None, 7, "x"], [{"images": None, "tables": 7, "markdown": None, "index": "x"}], [{"images": [None, {}]}]]
)
def test_odd_pages_are_joined(pages: list[Any]) -> None:
    """What is not what it should be stays as it is."""
    found = joined_tree([(response(page(0, "a", "a")), (0,)), ({"pages": pages}, (1,))])
    assert 1 + sum(isinstance(each, dict) for each in pages) == len(found["pages"])


def test_counts_are_summed_and_the_rest_is_the_first_part_s() -> None:
    """Of counters that a part lacks, the others are summed."""
    second = {"pages": [], "usage_info": {"pages_processed": 3, "pages_processed_annotation": 2}}
    third = {"pages": [], "usage_info": {"pages_processed": "x", "doc_size_bytes": None}}
    found = joined_tree([(response(page(0, ""), future=1), None), (second, None), (third, None)])
    assert {"pages_processed": 4, "pages_processed_annotation": 2, "doc_size_bytes": 10} == found["usage_info"]
    assert (1, "m") == (found["future"], found["model"])


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [
        ([None, None], None),
        (['{"a": 1}', None], '{"a": 1}'),
        (['{"a": 1}', "no JSON"], [{"a": 1}, "no JSON"]),
        (["1", {"b": 2}], [1, {"b": 2}]),
    ],
)
def test_annotations_become_a_list(annotations: list[Any], expected: Any) -> None:
    """Of several parts; a single one stays as it came."""
    found = joined_tree([(response(document_annotation=each), None) for each in annotations])["document_annotation"]
    assert expected == (json.loads(found) if isinstance(expected, list) else found)


def test_what_is_written_has_all_pictures(tmp_path: Path) -> None:
    """From whichever part's file; half a surrogate pair does not fail it."""
    first, second = response(page(0, "\ud800ü", "a", 'q"\\')), response(page(0, "![a](a)", "a", "b"))
    one = joined(tmp_path, (first, (3,)), (second, (1,)))
    images = [(image["id"], image["image_base64"]) for found in json_of(one)["pages"] for image in found["images"]]
    head = "data:image/png;base64,"
    assert [("a-2", f"{head}a/"), ("b", f"{head}b/"), ("a", f"{head}a/"), ('q"\\', f'{head}q"\\/')] == images
    assert "\ud800ü" == json_of(one)["pages"][1]["markdown"]
    assert [b"data:image/png;base64,b/"] == list(one.picture_text(one.tree["pages"][0]["images"][1]["image_base64"]))
    assert [b"plain"] == list(one.picture_text("plain"))


def test_a_single_response_is_as_it_came(tmp_path: Path) -> None:
    """Where its numbers are the document's; where only a cut file of it was sent, its pages are renumbered."""
    one, other = response(page(5, "a")), response(page(0, "a"))
    assert tmp_path / "response-0.json" == joined(tmp_path, (one, None)).as_it_came
    assert None is (cut := joined(tmp_path, (other, (8,)))).as_it_came
    assert 8 == json_of(cut)["pages"][0]["index"]


def test_each_part_is_counted_as_the_ledger_counts_it(tmp_path: Path) -> None:
    """A part's annotation makes its own pages dearer, not those of the others."""
    annotated = response(page(0, "a"), page(1, "b"), document_annotation="{}")
    assert (1, 2) == joined(tmp_path, (response(page(0, "a")), (0,)), (annotated, (1, 2))).billed

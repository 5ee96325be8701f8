"""The places of a run's documents: apart from each other, from inputs, from what others have written; and the same every time."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path, PurePath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passthrough.client.documents import Document
from passthrough.client.output.manifest import Finished, Manifest
from passthrough.client.output.names import folded
from passthrough.client.output.place import Place
from passthrough.client.output.places import places, stored_place
from passthrough.client.output.work_folder import claim


def named(path: Path, folder: Path | None = None) -> Document:
    """Return the document of a file that was named itself, or that was found in a folder."""
    return Document(str(path), PurePath(path.name) if folder is None else path.relative_to(folder), path)


def of_url(url: str, name: str) -> Document:
    """Return the document of a URL."""
    return Document(url, PurePath(name), url=url)


def manifests() -> Callable[[Path], Manifest]:
    """Return what a run reads manifests with."""
    return cache(Manifest.of)


def bases(found: tuple[Place, ...], root: Path) -> list[str]:
    """Return where documents are placed, from a folder."""
    return [os.path.relpath(place.folder / place.base, root) for place in found]


@pytest.mark.parametrize(
    ("names", "beside", "in_out"),
    [
        (["a.pdf"], ["a"], ["out/a"]),
        (["a.pdf", "b.docx"], ["a", "b"], ["out/a", "out/b"]),
        (["a.pdf", "a.docx"], ["a.pdf", "a.docx"], ["out/a.pdf", "out/a.docx"]),
        (["a.pdf", "A.docx", "b.pdf"], ["a.pdf", "A.docx", "b"], ["out/a.pdf", "out/A.docx", "out/b"]),
        (["x/a.pdf", "y/a.pdf"], ["x/a", "y/a"], ["out/x/a", "out/y/a"]),
        (["x/a.pdf", "y/a.pdf", "x/a.docx"], ["x/a.pdf", "y/a", "x/a.docx"], ["out/x/a", "out/y/a", "out/a.docx"]),
        (["x/s/a.pdf", "y/s/a.pdf"], ["x/s/a", "y/s/a"], ["out/x/s/a", "out/y/s/a"]),
        (["a.md", "a.pdf"], ["a.md", "a.pdf"], ["out/a.md", "out/a.pdf"]),
        (["a.html", "b.TXT"], ["a.html", "b.TXT"], ["out/a", "out/b"]),
        (["a.pdf", "a.annotation.pdf"], ["a", "a.annotation.pdf"], ["out/a", "out/a.annotation.pdf"]),
        (["März.pdf", "ma\u0308rz.docx"], ["März.pdf", "ma\u0308rz.docx"], ["out/März.pdf", "out/ma\u0308rz.docx"]),
        (["2201.04234", "a"], ["2201.04234", "a"], ["out/2201.04234", "out/a"]),
    ],
)
def test_each_document_has_a_place_of_its_own(tmp_path: Path, names: list[str], beside: list[str], in_out: list[str]) -> None:
    """The stem; where two share it, their full names; where they share those, with their folders. No output replaces an input."""
    documents = [named(tmp_path / name) for name in names]
    assert beside == bases(places(documents, None, manifests()), tmp_path)
    assert in_out == bases(places(documents, tmp_path / "out", manifests()), tmp_path)


def test_two_names_that_only_case_tells_apart_get_a_hash(tmp_path: Path) -> None:
    """Beside the inputs there are no folders that tell them apart; the places do not depend on the order."""
    documents = [named(tmp_path / name) for name in ("a.pdf", "A.pdf", "A.PDF")]
    found = places(documents, None, manifests())
    assert 3 == len({folded(place.base) for place in found})
    assert tuple(reversed(found)) == places(documents[::-1], None, manifests())


def test_a_folder_of_outputs_mirrors_the_tree(tmp_path: Path) -> None:
    """What was found below a folder is as deep below `out`; two folders with the same tree are kept apart by their names."""
    tree = [named(tmp_path / "scans" / name, tmp_path / "scans") for name in ("a.pdf", "2024/march/a.pdf")]
    other = [named(tmp_path / "more" / name, tmp_path / "more") for name in ("2024/march/a.pdf",)]
    out = tmp_path / "out"
    assert ["out/a", "out/2024/march/a"] == bases(places(tree, out, manifests()), tmp_path)
    expected = ["out/a", "out/scans/2024/march/a", "out/more/2024/march/a"]
    assert expected == bases(places(tree + other, out, manifests()), tmp_path)


def test_no_document_leaves_the_folder_of_outputs(tmp_path: Path) -> None:
    """A relative name with `..` or a root is placed below it."""
    odd = [Document("x", PurePath(name), tmp_path / "x.pdf") for name in ("../../x.pdf", "/etc/x.pdf", "a/../../x.pdf")]
    for document in odd:
        (found,) = places([document], tmp_path / "out", manifests())
        assert found.folder.is_relative_to(tmp_path / "out")
        assert ".." not in found.folder.parts


@pytest.mark.parametrize(
    ("url", "name", "base", "key"),
    [
        ("https://h/a/report.pdf", "report.pdf", "report", "https://h/a/report.pdf"),
        ("https://arxiv.org/pdf/2201.04234", "2201.04234", "2201.04234", "https://arxiv.org/pdf/2201.04234"),
        ("https://h", "h", "h", "https://h"),
        ("https://h/..%2F..%2Fetc", ".._.._etc", "_.._etc", "https://h/..%2F..%2Fetc"),
        ("https://h/.hidden.pdf", ".hidden.pdf", "hidden", "https://h/.hidden.pdf"),
        ("https://me:pass@h/a.pdf?sig=secret", "a.pdf", "a", "https://h/a.pdf?5c4a2f34"),
    ],
)
def test_a_url_is_placed_by_its_name(tmp_path: Path, url: str, name: str, base: str, key: str) -> None:
    """In the folder of outputs, else in the working directory. What the manifest calls it has no credential."""
    (found,) = places([of_url(url, name)], None, manifests())
    assert Path() == found.folder
    assert base == found.base
    assert key.partition("?")[0] == found.key.partition("?")[0]
    assert ("?" in key, False, False) == ("?" in found.key, "secret" in found.key, "pass" in found.key)
    assert tmp_path == places([of_url(url, name)], tmp_path, manifests())[0].folder


def test_urls_of_one_name_are_apart(tmp_path: Path) -> None:
    """Two hosts, or two queries: each has a hash in its name, and the same in every run."""
    documents = [of_url(url, "a.pdf") for url in ("https://g/a.pdf", "https://h/a.pdf", "https://h/a.pdf?v=2")]
    found = places(documents, tmp_path, manifests())
    assert 3 == len({place.base for place in found})
    assert found[::-1] == places(documents[::-1], tmp_path, manifests())
    assert ["https://g/a.pdf", "https://h/a.pdf"] == [place.key for place in found[:2]]


def test_what_comes_by_stdin_is_told_apart_by_its_bytes(tmp_path: Path) -> None:
    """The same bytes keep their place; others do not replace what was paid for."""
    path = tmp_path / "temporary"
    stdin = Document("-", PurePath("stdin.pdf"), path)
    found = []
    for content in (b"one", b"two", b"one"):
        path.write_bytes(content)
        (place,) = places([stdin], tmp_path / "out", manifests())
        place.folder.mkdir(exist_ok=True)
        Manifest.of(place.folder).add(Finished(place.key, place.base, None, "f", {}, "w"))
        found.append(place)
    assert "stdin" == found[0].base
    assert found[0] == found[2]
    assert found[1].base not in {"stdin", "-"}
    assert [Path()] == [place.folder for place in places([stdin], None, manifests())]


def test_a_document_keeps_the_place_that_it_had(tmp_path: Path) -> None:
    """A second document of its name goes elsewhere, beside it and in a folder of outputs."""
    first, second = named(tmp_path / "a.pdf"), named(tmp_path / "a.docx")
    for out in (None, tmp_path / "out"):
        (place,) = places([first], out, manifests())
        place.folder.mkdir(exist_ok=True)
        Manifest.of(place.folder).add(Finished(place.key, place.base, "1", "f", {}, "w"))
        found = places([second, first], out, manifests())
        assert ["a.docx", "a"] == [each.base for each in found]


def test_a_document_that_is_worked_on_keeps_its_place(tmp_path: Path) -> None:
    """A run that is at it, or that was killed, counts: what it paid for stays this document's."""
    first, second = named(tmp_path / "a.pdf"), named(tmp_path / "a.docx")
    (place,) = places([first], None, manifests())
    with claim(place) as work:
        work.prepare("1", "options")
        assert ["a.docx"] == [each.base for each in places([second], None, manifests())]
        assert ["a"] == [each.base for each in places([first], None, manifests())]


def test_a_tree_that_is_moved_as_a_whole_keeps_its_places(tmp_path: Path) -> None:
    """The manifest knows documents by their way from its folder; symbolic links on the way to them change nothing."""
    for folder in ("before", "before/in"):
        (tmp_path / folder).mkdir()
    (before,) = places([named(tmp_path / "before/in/a.pdf")], tmp_path / "before/out", manifests())
    (tmp_path / "before").rename(tmp_path / "after")
    (tmp_path / "link").symlink_to(tmp_path / "after")
    assert "../in/a.pdf" == before.key
    for root in ("after", "link"):
        (after,) = places([named(tmp_path / root / "in/a.pdf")], tmp_path / root / "out", manifests())
        assert before.key == after.key
    linked = named(tmp_path / "link/in/a.pdf")
    assert before.key == places([linked], tmp_path / "after/out", manifests())[0].key


def test_names_that_are_no_text_become_text(tmp_path: Path) -> None:
    """A byte that is no UTF-8, a control character, and a name of the greatest length are placed; the file names are valid."""
    files = [os.fsdecode(b"caf\xe9.pdf"), "two\nlines.pdf", "ü" * 125 + ".pdf"]
    found = places([named(tmp_path / name) for name in files], None, manifests())
    assert ["caf%E9", "two%0Alines"] == [place.base for place in found[:2]]
    for place in found:
        (place.folder / f"{place.base}.annotation.json").write_text("x")


def test_a_document_that_is_named_twice_has_one_place(tmp_path: Path) -> None:
    """Twice the same file is no clash of names."""
    document = named(tmp_path / "a.pdf")
    assert ["a", "a"] == [place.base for place in places([document, document], None, manifests())]


NAMES = st.sampled_from(
    ["a.pdf", "A.pdf", "a.docx", "a", "a.md", "a.pdf.md", "a.pdf.pdf", "A.annotation.pdf", "a.annotation", "b.pdf"]
)


@given(st.lists(st.tuples(st.sampled_from(["", "x", "y", "x/s", "X"]), NAMES), unique=True), st.booleans())
def test_no_two_documents_share_a_place(files: list[tuple[str, str]], is_beside: bool) -> None:
    """Whatever the names are: no two share a base, none replaces an input, and the order does not matter."""
    root = Path("/nowhere")
    documents = [named(root / folder / name) for folder, name in files]
    out = None if is_beside else root / "out"
    found = places(documents, out, manifests())
    spots = [(folded(str(place.folder)), folded(place.base)) for place in found]
    assert len(spots) == len(set(spots))
    assert not {(folder, base + ".md") for folder, base in spots} & {
        (folded(str(document.path.parent)), folded(document.path.name)) for document in documents if document.path
    }
    assert found == places(documents[::-1], out, manifests())[::-1]


def test_a_stored_response_belongs_to_its_document(tmp_path: Path) -> None:
    """What is made of `a.json` beside it is of the document that it was written for; elsewhere it is of itself."""
    Manifest.of(tmp_path).add(Finished("in/a.pdf", "a", "1", "f", {"a.json": "x"}, "w"))
    out = tmp_path / "out"
    found = [
        stored_place(tmp_path / name, folder, manifests())
        for name, folder in (("a.json", None), ("a.json", out), ("b.json", None))
    ]
    assert Place(tmp_path, "a", "in/a.pdf") == found[0]
    assert [Place(out, "a", "../a.json"), Place(tmp_path, "b", "b.json")] == found[1:]


def test_a_stored_response_of_a_name_that_is_taken_has_its_full_name(tmp_path: Path) -> None:
    """The outputs of `a.pdf` are not replaced by those of a response that has nothing to do with it."""
    Manifest.of(tmp_path).add(Finished("a.pdf", "a", "1", "f", {}, "w"))
    assert Place(tmp_path, "a.json", "a.json") == stored_place(tmp_path / "a.json", None, manifests())

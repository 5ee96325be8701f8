"""Documents that a command line names."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path, PurePath

import pytest

from passthrough.client.errors import ClientError, DocumentError
from passthrough.client.inputs.discovery import Found, find
from passthrough.client.shown import shown
from tests.harness.documents import pdf, png
from tests.harness.office import docx, paragraph
from tests.harness.ole import ole
from tests.harness.rights import let_all_in, ordinary_user

pytestmark = pytest.mark.fast

PDF = pdf(1)


def no_stdin() -> Path:
    """Return the file of a stdin that is not named."""
    raise AssertionError("stdin was read")


def no_output(_: Path) -> bool:
    """Tell that nothing is an output of ours."""
    return False


def write(folder: Path, **files: bytes | str) -> None:
    """Write PDFs and texts."""
    for name, content in files.items():
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)


def tree(folder: Path, *names: str) -> None:
    """Write a PDF under each name."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(PDF)


@pytest.fixture(autouse=True)
def _in_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def names(found: Found) -> list[str]:
    """Return the shown names of documents."""
    return [document.name for document in found.documents]


def reasons(found: Found) -> dict[str, str]:
    """Return what is said of what failed."""
    return {name: error.why for name, error in found.failed}


def find_all(*arguments: str, is_output: Callable[[Path], bool] = no_output) -> Found:
    """Find what arguments name, without stdin."""
    return find(arguments, no_stdin, is_output)


def test_files_come_as_they_are_named(tmp_path: Path) -> None:
    """A document's place in the tree is its name alone, wherever it is; its name is as it was given."""
    tree(tmp_path, "b.pdf", "x/a.pdf")
    found = find_all("x/a.pdf", "b.pdf", str(tmp_path / "x" / ".." / "b.pdf"), "./x/a.pdf")
    assert ["x/a.pdf", "b.pdf"] == names(found)
    assert [PurePath("a.pdf"), PurePath("b.pdf")] == [document.relative for document in found.documents]
    assert [Path("x/a.pdf"), Path("b.pdf")] == [document.path for document in found.documents]
    assert ([".pdf"] * 2, (), 0) == ([document.type.suffix for document in found.documents if document.type], found.failed, 0)


def test_the_same_file_is_one_document(tmp_path: Path) -> None:
    """A link to a file and a way around name the same file; a second name on the disk is another document."""
    tree(tmp_path, "a.pdf")
    (tmp_path / "link.pdf").symlink_to("a.pdf")
    os.link(tmp_path / "a.pdf", tmp_path / "second.pdf")
    assert ["link.pdf", "second.pdf"] == names(find_all("link.pdf", "a.pdf", ".", "second.pdf", "*.pdf"))


def test_a_folder_is_searched_in_order(tmp_path: Path) -> None:
    """First its files, then its folders, by name; each has its place below the folder that was named."""
    tree(tmp_path, "in/b.pdf", "in/a/z.pdf", "in/a/b/y", "in/c/x.pdf", "in/a.pdf", "in/Ä ö\n.pdf")
    found = find_all("in/")
    assert ["in/a.pdf", "in/b.pdf", "in/Ä ö\\n.pdf", "in/a/z.pdf", "in/a/b/y", "in/c/x.pdf"] == names(found)
    assert PurePath("Ä ö\n.pdf") == found.documents[2].relative
    assert PurePath("a/b/y") == found.documents[4].relative
    assert [PurePath("a.pdf"), PurePath("b.pdf")] == [document.relative for document in found.documents[:2]]


def test_the_folder_one_stands_in_is_searched(tmp_path: Path) -> None:
    """`.` has no part in the names."""
    tree(tmp_path, "a.pdf", "x/b.pdf")
    assert ["a.pdf", "x/b.pdf"] == names(find_all("."))


def test_hidden_entries_and_links_to_folders_are_skipped(tmp_path: Path) -> None:
    """They are not counted either: a circle of links has an end."""
    tree(tmp_path, "in/a.pdf", "in/.b.pdf", "in/.git/c.pdf", "elsewhere/d.pdf")
    (tmp_path / "in" / "circle").symlink_to(".")
    (tmp_path / "in" / "link").symlink_to("../elsewhere")
    found = find_all("in")
    assert (["in/a.pdf"], (), 0) == (names(found), found.failed, found.left_out)
    assert ["in/.b.pdf", "in/.git/c.pdf", "in/link/d.pdf"] == names(find_all("in/.b.pdf", "in/.git", "in/link"))


def test_outputs_are_no_inputs(tmp_path: Path) -> None:
    """In a folder they are skipped; where a shell's `*` has named them, they are counted as left out."""
    tree(tmp_path, "a.pdf", "a.md", "a_images/img-0.png", "b/c.pdf", "b/a.md")
    ours = {"a.md", "a_images"}
    found = find_all(".", is_output=lambda path: str(path) in ours)
    assert (["a.pdf", "b/a.md", "b/c.pdf"], 0) == (names(found), found.left_out)
    found = find_all("a.md", "a.pdf", "a_images", "a_images/img-0.png", "*/*.png", is_output=lambda path: str(path) in ours)
    assert (["a.pdf"], (), 3) == (names(found), found.failed, found.left_out)


def test_in_a_folder_the_content_tells(tmp_path: Path) -> None:
    """A document is found whatever its name; what is none is left out, but where its name says that it should be one."""
    write(
        tmp_path, scan=png(), text_csv=b"a,b", other=b"\x7fELF\0", **{"a.csv": b"a,b", "b.md": b"# b", "Thumbs.db": ole(["256"])}
    )
    write(tmp_path, **{"~$a.docx": b"x", "empty": b"", "empty.txt": b""})
    write(tmp_path, **{"empty.PDF": b"", "broken.docx": b"PK\3\4", "locked.docx": ole(["EncryptedPackage"])})
    found = find_all(".")
    assert (["scan"], 8) == (names(found), found.left_out)
    broken = "It is damaged, or no .docx file: its content is of no known type."
    assert {"broken.docx": broken, "empty.PDF": "It is empty.", "locked.docx": "It needs a password."} == reasons(found)


ENDS = "pdf png jpg jpeg webp gif bmp tif tiff avif heic heif docx pptx xlsx odt ods odp epub doc ppt xls rtf"


@pytest.mark.parametrize("end", ENDS.split())
def test_a_name_may_promise_a_document(end: str, tmp_path: Path) -> None:
    """In a folder, an empty file of such a name fails, and is not just left out."""
    write(tmp_path, **{f"a.{end}": b"", f"b.{end}_": b""})
    found = find_all(".")
    assert ([f"a.{end}"], 1) == (list(reasons(found)), found.left_out)


def test_text_is_a_document_where_it_is_named(tmp_path: Path) -> None:
    """It was left out of its folder before, and is not counted there any more; a pattern names it by the end of its name."""
    write(tmp_path, **{"a.csv": "a,b", "b.csv": "c", "c.md": "d"})
    found = find_all(".", "a.csv")
    assert (["a.csv"], 2) == (names(found), found.left_out)
    found = find_all("*", "[ab].csv")
    assert (["a.csv", "b.csv"], 1) == (names(found), found.left_out)
    assert ["a.csv", "b.csv"] == names(find_all("?.CS*", "?.csv"))


def test_a_pattern_that_the_shell_left_alone_is_followed(tmp_path: Path) -> None:
    """Places in the tree count from the pattern's first variable part; hidden entries fit only a dot of the pattern's own."""
    tree(tmp_path, "in/a.pdf", "in/b/a.pdf", "in/b/c/a.pdf", "in/.d/a.pdf", "in/.e.pdf", "in/b/f.png")
    (tmp_path / "in" / "link").symlink_to("b")
    for pattern, expected in (
        ("in/*.pdf", ["a.pdf"]),
        ("in/*/a.pdf", ["b/a.pdf"]),
        ("in/**/a.pdf", ["a.pdf", "b/a.pdf", "b/c/a.pdf"]),
        ("in/**.pdf", ["a.pdf"]),
        ("in/b/**", ["a.pdf", "f.png", "c/a.pdf"]),
        ("in/*", ["a.pdf", "b/a.pdf", "b/f.png", "b/c/a.pdf"]),
        ("in/.*/*.pdf", [".d/a.pdf"]),
        ("in/*/../*.pdf", ["b/../a.pdf"]),
        ("in/[ab]/?.p[dn][fg]", ["b/a.pdf", "b/f.png"]),
        (f"{tmp_path}/in/*.pdf", ["a.pdf"]),
        (f"../{tmp_path.name[:-1]}?/in/*.pdf", [f"{tmp_path.name}/in/a.pdf"]),
    ):
        assert expected == [str(document.relative) for document in find_all(pattern).documents], pattern


def test_a_file_wins_over_a_pattern(tmp_path: Path) -> None:
    """A name with brackets is a name where there is such a file."""
    tree(tmp_path, "scan [1].pdf", "scan 1.pdf", "*.pdf")
    assert ["scan [1].pdf", "*.pdf"] == names(find_all("scan [1].pdf", "*.pdf"))


def test_what_is_named_and_is_no_document_fails(tmp_path: Path) -> None:
    """Each with its reason; the others go on."""
    tree(tmp_path, "a.pdf", "secret.pdf", "locked/b.pdf")
    write(
        tmp_path,
        **{"empty.pdf": b"", "x.py": b"pass", "bad.csv": b"\0", "broken.PDF": b"hello", "locked.xlsx": ole(["EncryptedPackage"])},
    )
    os.mkfifo(tmp_path / "pipe.pdf")
    (tmp_path / "nowhere.pdf").symlink_to("missing.pdf")
    (tmp_path / "circle.pdf").symlink_to("circle.pdf")
    let_all_in(tmp_path)
    (tmp_path / "secret.pdf").chmod(0)
    (tmp_path / "locked").chmod(0)
    with ordinary_user():
        found = find_all(
            *("missing.pdf", "no*.png", "empty.pdf", "x.py", "bad.csv", "broken.PDF", "locked.xlsx", "pipe.pdf", "/dev/null"),
            *(
                "nowhere.pdf",
                "circle.pdf",
                "a.pdf/b",
                "n" * 300,
                "secret.pdf",
                "locked",
                "locked/b.pdf",
                "",
                "a.pdf",
                "ftp://a/b",
            ),
        )
    (tmp_path / "locked").chmod(0o755)
    assert ["a.pdf"] == names(found)
    assert {
        "missing.pdf": "It does not exist.",
        "no*.png": "It does not exist, and as a pattern it fits no file.",
        "empty.pdf": "It is empty.",
        "x.py": "It is no type of document that is known.",
        "bad.csv": "It is no text, as the end of its name says.",
        "broken.PDF": "It is damaged, or no .pdf file: its content is of no known type.",
        "locked.xlsx": "It needs a password.",
        "pipe.pdf": "It is a pipe, not a file.",
        "/dev/null": "It is a device, not a file.",
        "nowhere.pdf": "It does not exist.",
        "circle.pdf": "It cannot be read: Too many levels of symbolic links.",
        "a.pdf/b": "It cannot be read: Not a directory.",
        "n" * 300: "It cannot be read: File name too long.",
        "secret.pdf": "It cannot be read: Permission denied.",
        "locked": "It cannot be read: Permission denied.",
        "locked/b.pdf": "It cannot be read: Permission denied.",
        "": "It is an empty name.",
        "ftp://a/b": "The API fetches no ftp: URLs.",
    } == reasons(found)


def test_what_cannot_be_read_in_a_folder_fails_where_its_name_promises_a_document(tmp_path: Path) -> None:
    """A folder that cannot be searched fails always: there may be documents in it."""
    tree(tmp_path, "in/a.pdf", "in/secret.pdf", "in/secret", "in/locked/b.pdf")
    os.mkfifo(tmp_path / "in" / "pipe.pdf")
    os.mkfifo(tmp_path / "in" / "pipe")
    (tmp_path / "in" / "nowhere.pdf").symlink_to("missing.pdf")
    (tmp_path / "in" / "nowhere").symlink_to("missing.pdf")
    let_all_in(tmp_path)
    for name in ("secret.pdf", "secret", "locked"):
        (tmp_path / "in" / name).chmod(0)
    with ordinary_user():
        found = find_all("in")
    (tmp_path / "in" / "locked").chmod(0o755)
    assert (["in/a.pdf"], 3) == (names(found), found.left_out)
    assert {
        "in/locked": "It cannot be read: Permission denied.",
        "in/secret.pdf": "It cannot be read: Permission denied.",
        "in/nowhere.pdf": "It does not exist.",
        "in/pipe.pdf": "It is a pipe, not a file.",
    } == reasons(found)


def test_a_socket_is_no_document(tmp_path: Path) -> None:
    """It says what it is."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("s.pdf")
        assert {"s.pdf": "It is a socket, not a file."} == reasons(find_all("s.pdf"))


def test_a_pattern_that_fits_a_pipe_fails(tmp_path: Path) -> None:
    """A pattern with an end of names asks for documents."""
    os.mkfifo(tmp_path / "a.pdf")
    os.mkfifo(tmp_path / "b")
    found = find_all("*.pdf", "*")
    assert ({"a.pdf": "It is a pipe, not a file."}, 1) == (reasons(found), found.left_out)


def test_office_lock_files_do_not_fail(tmp_path: Path) -> None:
    """They stand beside an open document, and go with it."""
    write(tmp_path, **{"~$a.docx": b"x", "a.docx": docx(paragraph("a"))})
    for argument in (".", "*.docx"):
        found = find_all(argument)
        assert (["a.docx"], (), 1) == (names(found), found.failed, found.left_out)
    assert ["~$a.docx"] == list(reasons(find_all("~$a.docx")))


def test_names_of_any_bytes_are_shown_safely(tmp_path: Path) -> None:
    """The path keeps its bytes; what is shown stays on its line, and in its direction."""
    name = os.fsdecode(b"\xff\n\x1b[31m\xc3\xa4 \xe2\x80\xae.pdf")
    tree(tmp_path, name)
    for argument in (".", name, "*.pdf"):
        found = find_all(argument)
        assert ["\\xff\\n\\x1b[31mä \\u202e.pdf"] == names(found)
        assert (PurePath(name), Path(name)) == (found.documents[0].relative, found.documents[0].path)
    missing = find_all(name + "x", f"http://{name}")
    assert [f"{shown(name)}x", f"http://{shown(name)}"] == list(reasons(missing))


def test_urls_come_once(tmp_path: Path) -> None:
    """A URL is fetched by the API: what it is does not show here."""
    found = find_all("http://a.example/b.pdf", "http://u:p@a.example/b.pdf", "http://a.example/b.pdf", "http://u:p@/")
    assert ["http://a.example/b.pdf", "http://a.example/b.pdf"] == names(found)
    assert ["http://a.example/b.pdf", "http://u:p@a.example/b.pdf"] == [document.url for document in found.documents]
    assert {"http:///": "It is a URL without the name of a host."} == reasons(found)


def test_stdin_is_a_document(tmp_path: Path) -> None:
    """It is read once, and its content tells what it is."""
    tree(tmp_path, "piped")
    reads: list[str] = []

    def stdin() -> Path:
        reads.append("read")
        return tmp_path / "piped"

    found = find(["-", "-"], stdin, no_output)
    assert [("-", PurePath("stdin.pdf"), tmp_path / "piped")] == [(one.name, one.relative, one.path) for one in found.documents]
    assert ["read"] == reads


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "It is empty."),
        (b"a,b", "It is no type of document that is known."),
        (None, "It does not exist."),
    ],
)
def test_stdin_that_is_no_document_fails(content: bytes | None, why: str, tmp_path: Path) -> None:
    """The others go on."""
    tree(tmp_path, "a.pdf")
    if content is not None:
        (tmp_path / "piped").write_bytes(content)
    found = find(["-", "a.pdf"], lambda: tmp_path / "piped", no_output)
    assert (["a.pdf"], {"-": why}) == (names(found), reasons(found))


def test_a_terminal_as_stdin_ends_the_run() -> None:
    """What is no failure of a document is the caller's."""

    def terminal() -> Path:
        raise ClientError("stdin is the terminal")

    with pytest.raises(ClientError) as caught:
        find(["-"], terminal, no_output)
    assert not isinstance(caught.value, DocumentError)


def test_nothing_named_is_nothing_found() -> None:
    """No argument, no document."""
    assert Found((), (), 0) == find_all()

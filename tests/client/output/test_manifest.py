"""The manifest of an output folder: what is finished, whose the names are, and what a damaged or foreign file does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from passthrough.client.errors import DocumentError
from passthrough.client.output.manifest import Finished, Manifest
from passthrough.client.output.names import MANIFEST
from tests.harness.disks import filled, small_disk
from tests.harness.published import ROOT, sha256

DONE = Finished("report.pdf", "report", "5" * 64, "f", {"report.md": sha256(b"text"), "report_images/a.png": sha256(b"png")}, "w")


def line_of(finished: Finished) -> str:
    """Return the line of a document as it stands in the file."""
    return json.dumps(asdict(finished))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the outputs of DONE, and its line."""
    (tmp_path / "report.md").write_bytes(b"text")
    (tmp_path / "report_images").mkdir()
    (tmp_path / "report_images/a.png").write_bytes(b"png")
    Manifest.of(tmp_path).add(DONE)
    return tmp_path


def test_a_document_is_finished_as_long_as_it_is_the_same(folder: Path) -> None:
    """Other bytes, other options, or another document: it is not finished. A manifest that is read later says the same."""
    manifest = Manifest.of(folder)
    asked = [
        ("report.pdf", "5" * 64, "f"),
        ("report.pdf", "6" * 64, "f"),
        ("report.pdf", "5" * 64, "g"),
        ("b.pdf", "5" * 64, "f"),
    ]
    assert [True, False, False, False] == [manifest.finished(*each) for each in asked]


@pytest.mark.parametrize("name", ["report.md", "report_images/a.png"])
@pytest.mark.parametrize("instead", ["nothing", "a folder", "a link"])
def test_a_document_without_one_of_its_outputs_is_not_finished(folder: Path, name: str, instead: str) -> None:
    """An output that was deleted, or that is no file, is made again."""
    (folder / name).unlink()
    if instead == "a folder":
        (folder / name).mkdir()
    elif instead == "a link":
        (folder / name).symlink_to(folder / MANIFEST)
    assert not Manifest.of(folder).finished("report.pdf", "5" * 64, "f")


def test_an_output_that_a_person_edited_is_still_finished(folder: Path) -> None:
    """It is there: it is not made again."""
    (folder / "report.md").write_text("edited")
    assert Manifest.of(folder).finished("report.pdf", "5" * 64, "f")


def test_the_last_line_of_a_document_holds(folder: Path) -> None:
    """A document that was done again is finished as it is now; what it wrote before is still known as written."""
    again = replace(DONE, sha256="6" * 64, outputs={"report.html": sha256(b"html")}, work="v")
    (folder / "report.html").write_bytes(b"html")
    Manifest.of(folder).add(again)
    manifest = Manifest.of(folder)
    assert [False, True] == [manifest.finished("report.pdf", digest * 64, "f") for digest in "56"]
    assert ["report.html", "report.md", "report_images/a.png"] == sorted(manifest.names_of("report.pdf"))
    assert [True, True, False] == [manifest.has_published(work) for work in "wvu"]


def test_what_is_an_output(folder: Path) -> None:
    """Files, pictures, folders of pictures and what is kept for this command are outputs; what a person put there is none."""
    manifest = Manifest.of(folder)
    names = ["report.md", "report_images", "report_images/a.png", MANIFEST, ".passthrough-ocr-batch", "report.pdf"]
    names += ["report_images/mine.png", "b.md", "b_images"]
    assert [True] * 5 + [False] * 4 == [manifest.is_output(folder / name) for name in names]
    assert not manifest.is_output(folder.parent / "report.md")
    assert [DONE, DONE, None] == [manifest.owner(name) for name in ("report.md", "report_images/a.png", "b.md")]
    assert [DONE, None] == [manifest.line(key) for key in ("report.pdf", "b.pdf")]
    assert [sha256(b"text"), None, None] == [
        manifest.hash_of(*each) for each in (("report.md", "report.pdf"), ("report.md", "b.pdf"), ("b.md", "report.pdf"))
    ]


def test_claims_are_by_folded_names(folder: Path) -> None:
    """A base belongs to the document that was written under it, however it is spelled."""
    Manifest.of(folder).add(Finished("MÄRZ.pdf", "MÄRZ", None, "f", {}, "x"))
    assert {"report": "report.pdf", "märz": "MÄRZ.pdf"} == Manifest.of(folder).claims()


def test_a_document_without_bytes_of_its_own_is_finished_by_its_name(tmp_path: Path) -> None:
    """A URL's bytes are unknown: it is finished as long as the options are the same."""
    Manifest.of(tmp_path).add(Finished("https://h/a.pdf", "a", None, "f", {}, "w"))
    assert Manifest.of(tmp_path).finished("https://h/a.pdf", None, "f")


@pytest.mark.parametrize("torn", [b"{", line_of(DONE).encode()[:-9], b"\xff\xfe", b"\0" * 4096, line_of(DONE).encode()])
def test_a_torn_last_line_is_ignored_and_the_next_one_is_whole(folder: Path, torn: bytes) -> None:
    """What a killed process left of a line harms neither the lines before nor the one that is added after it."""
    with (folder / MANIFEST).open("ab") as file:
        file.write(torn)
    other = Finished("b.pdf", "b", None, "f", {}, "v")
    Manifest.of(folder).add(other)
    manifest = Manifest.of(folder)
    assert [True, True] == [manifest.finished("report.pdf", "5" * 64, "f"), manifest.finished("b.pdf", None, "f")]


@pytest.mark.parametrize(
    "change",
    [
        {"outputs": {"../../victim": sha256(b"x")}},
        {"outputs": {"/etc/passwd": sha256(b"x")}},
        {"outputs": {"report_images/../../x": sha256(b"x")}},
        {"outputs": {"other.md": sha256(b"x")}},
        {"base": "../up", "outputs": {"../up.md": sha256(b"x")}},
        {"outputs": {"report.md": 5}},
        {"outputs": ["report.md"]},
        {"outputs": None},
        {"key": 5},
        {"sha256": 5},
        {"fingerprint": None},
        {"work": []},
    ],
)
def test_a_line_that_is_not_as_it_is_written_is_ignored(tmp_path: Path, change: dict[str, object]) -> None:
    """A manifest may come with a folder of somebody else's: names outside the folder, and other shapes, say nothing."""
    (tmp_path / MANIFEST).write_text(json.dumps(asdict(DONE) | change) + "\n" + '[]\n5\nnull\n"x"\n{}\n' + "[" * 100_000 + "\n")
    manifest = Manifest.of(tmp_path)
    assert {} == manifest.claims()
    assert [] == manifest.names_of("report.pdf")


def test_names_that_no_system_has_say_nothing(tmp_path: Path) -> None:
    """A name that cannot be encoded is no file that is there."""
    (tmp_path / MANIFEST).write_text(line_of(replace(DONE, base="\ud800", outputs={"\ud800.md": "x"})) + "\n")
    assert not Manifest.of(tmp_path).finished("report.pdf", "5" * 64, "f")


def test_what_another_process_added_is_read(folder: Path) -> None:
    """A manifest that was read before is brought up to date, also where the file was replaced by a shorter one, or removed."""
    early = Manifest.of(folder)
    Manifest.of(folder).add(Finished("b.pdf", "b", None, "f", {}, "v"))
    assert not early.finished("b.pdf", None, "f")
    early.refresh()
    assert early.finished("b.pdf", None, "f")
    (folder / MANIFEST).write_text("")
    early.refresh()
    assert {} == early.claims()
    early.add(DONE)
    assert early.finished("report.pdf", "5" * 64, "f")
    (folder / MANIFEST).unlink()
    early.refresh()
    assert {} == early.claims()


@pytest.mark.parametrize("instead", ["a folder", "a link", "a pipe"])
def test_a_manifest_that_is_no_file_is_named(tmp_path: Path, instead: str) -> None:
    """It is not followed and not waited for, nothing is read of it, and nothing is written."""
    path, elsewhere = tmp_path / MANIFEST, tmp_path / "elsewhere"
    elsewhere.write_text(line_of(DONE) + "\n")
    if instead == "a folder":
        path.mkdir()
    elif instead == "a link":
        path.symlink_to(elsewhere)
    else:
        os.mkfifo(path)
    manifest = Manifest.of(tmp_path)
    assert {} == manifest.claims()
    with pytest.raises(DocumentError, match=MANIFEST.replace(".", r"\.")):
        manifest.add(DONE)
    assert line_of(DONE) + "\n" == elsewhere.read_text()


@pytest.mark.faults
def test_a_full_disk_leaves_no_part_of_a_line(tmp_path: Path) -> None:
    """A line that has no room is removed again, and said; the run ends, because the next document costs, too."""
    disk = tmp_path / "disk"
    with small_disk(disk):
        manifest = Manifest.of(disk)
        manifest.add(DONE)
        before = (disk / MANIFEST).read_bytes()
        filler = filled(disk)
        large = replace(DONE, key="b.pdf", outputs={f"report_images/{n}.png": "5" * 64 for n in range(1000)})
        with pytest.raises(DocumentError, match="No space left") as failed:
            manifest.add(large)
        assert failed.value.ends_run
        assert before == (disk / MANIFEST).read_bytes()
        filler.unlink()
        manifest.add(large)
        assert {"report.pdf", "b.pdf"} == {*Manifest.of(disk)._finished}
        shutil.rmtree(disk, ignore_errors=True)


@pytest.mark.process
def test_processes_that_write_at_once_lose_no_line(tmp_path: Path) -> None:
    """Each line is whole and there, whoever was first."""
    code = (
        "import sys, pathlib\n"
        "from passthrough.client.output.manifest import Finished, Manifest\n"
        "manifest = Manifest.of(pathlib.Path(sys.argv[1]))\n"
        "for n in range(50):\n"
        "    manifest.add(Finished(f'{sys.argv[2]}-{n}', f'{n}', None, 'x' * 5000, {}, 'w'))\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(n)], cwd=ROOT) for n in range(3)]
    assert [0, 0, 0] == [process.wait() for process in running]
    keys = [f"{process}-{n}" for process in range(3) for n in range(50)]
    assert [] == [key for key in keys if not Manifest.of(tmp_path).finished(key, None, "x" * 5000)]
    assert len(keys) == len((tmp_path / MANIFEST).read_bytes().splitlines())


def test_a_document_that_moved_leaves_its_name_to_others(folder: Path) -> None:
    """Its last line says where it is."""
    manifest = Manifest.of(folder)
    manifest.add(replace(DONE, base="other", outputs={}))
    assert {"other": "report.pdf"} == manifest.claims() == Manifest.of(folder).claims()
    assert [None, "report.pdf"] == [manifest.holder(base) for base in ("Report", "OTHER")]


def test_workers_share_a_manifest(tmp_path: Path) -> None:
    """What one of them adds does not disturb what another one reads at that moment."""
    manifest = Manifest.of(tmp_path)

    def work(worker: int) -> None:
        for number in range(30):
            key = f"{worker}-{number}"
            outputs = {f"{key}_images/{n}.png": "x" for n in range(100)}
            manifest.add(Finished(key, key, None, "f", outputs, key))
            assert [*outputs] == manifest.names_of(key)
            assert key == manifest.holder(key)
            assert key in manifest.claims().values()

    with ThreadPoolExecutor(4) as pool:
        assert [None] * 4 == list(pool.map(work, range(4)))
    assert 120 == len(manifest.claims())

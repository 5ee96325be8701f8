"""The folder in which a document is worked on: who holds it, what stays of a killed run, and who removes it."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from passthrough.client.errors import DocumentError
from passthrough.client.output.manifest import Finished, Manifest
from passthrough.client.output.names import MANIFEST, WORK_PREFIX, work_name
from passthrough.client.output.place import Place
from passthrough.client.output.upload_notes import LeftUpload, upload_name
from passthrough.client.output.work_folder import WorkFolder, abandoned, claim, claim_temporary, held_bases
from tests.harness.published import ROOT, done
from tests.harness.rights import let_all_in, ordinary_user

URL = "http://127.0.0.1:4000/mistral"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A place in an empty folder."""
    return Place(tmp_path / "out", "a", "a.pdf")


def hidden(place: Place) -> list[str]:
    """Return what is hidden in a place's folder."""
    return sorted(path.name for path in place.folder.iterdir() if path.name.startswith("."))


def killed(work: WorkFolder) -> None:
    """Leave a folder as a killed process does: all of it stays, and the lock goes."""
    work.leave()


@contextmanager
def held_elsewhere(place: Place) -> Iterator[subprocess.Popen[bytes]]:
    """Yield another process that holds a place."""
    code = (
        "import sys, pathlib\n"
        "from passthrough.client.output.place import Place\n"
        "from passthrough.client.output.work_folder import claim\n"
        "work = claim(Place(pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]))\n"
        "work.prepare('1', 'options')\n"
        "work.response_path(0).write_text('{}')\n"
        "print('held', flush=True)\n"
        "sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, str(place.folder), place.base, place.key]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert b"held\n" == process.stdout.readline()
        yield process
        process.kill()


def test_a_folder_of_work_is_hidden_and_its_users_alone_and_gone_at_the_end(place: Place) -> None:
    """It is beside the outputs; a document that failed leaves nothing."""
    with claim(place) as work:
        work.prepare("1", "options")
        (work.path / "parts").mkdir()
        (work.path / "parts/part-0.pdf").write_text("x")
        (work.outputs / "a.md").write_text("x")
        (work.path / "link").symlink_to(place.folder)
        assert [work_name("a")] == hidden(place)
        assert 0o700 == stat.S_IMODE(work.path.stat().st_mode)
        assert 0o600 == stat.S_IMODE((work.path / "lock").stat().st_mode)
    assert [] == hidden(place)
    work.release()


def test_one_run_at_a_time_is_at_work_on_a_place(place: Place) -> None:
    """A second claim is refused, under another spelling of the name too; another place is free; after the end it is free."""
    with claim(place):
        for base in ("a", "A"):
            with pytest.raises(DocumentError, match="another run is at work on it"):
                claim(Place(place.folder, base, place.key), patience_s=0)
        claim(Place(place.folder, "b", "b.pdf")).release()
    claim(place).release()


@pytest.mark.process
def test_a_killed_process_lets_its_place_go_and_what_it_paid_for_is_used(place: Place) -> None:
    """While it lives it holds the place; the response that it left is used by the next run of the same document."""
    with held_elsewhere(place) as other:
        with pytest.raises(DocumentError, match="another run"):
            claim(place, patience_s=0)
        assert [] == abandoned(place.folder)
        assert {"a": "a.pdf"} == held_bases(place.folder)
        os.kill(other.pid, signal.SIGKILL)
        other.wait()
        with claim(place) as work:
            work.prepare("1", "options")
            assert "{}" == work.response_path(0).read_text()


@pytest.mark.process
def test_processes_that_claim_and_release_at_once_never_hold_a_place_together(place: Place) -> None:
    """Each holds it alone, whether the folder is there, goes, or is made again meanwhile."""
    code = (
        "import sys, pathlib\n"
        "from passthrough.client.errors import DocumentError\n"
        "from passthrough.client.output.place import Place\n"
        "from passthrough.client.output.work_folder import claim\n"
        "place, held = Place(pathlib.Path(sys.argv[1]), 'a', 'a.pdf'), pathlib.Path(sys.argv[1], 'held')\n"
        "count = 0\n"
        "while count < 30:\n"
        "    try:\n"
        "        with claim(place, patience_s=60) as work:\n"
        "            held.mkdir()\n"  # fails where another one holds it
        "            work.prepare('1', 'options')\n"
        "            held.rmdir()\n"
        "            count += 1\n"
        "    except DocumentError as error:\n"
        "        assert 'another run' in error.why, error.why\n"
    )
    place.folder.mkdir()
    command = [sys.executable, "-c", code, str(place.folder)]
    running = [subprocess.Popen(command, cwd=ROOT) for _ in range(3)]
    assert [0, 0, 0] == [process.wait() for process in running]
    assert [] == hidden(place)


@pytest.mark.parametrize(
    ("sha256", "fingerprint", "asked", "is_kept"),
    [
        ("1", "options", "asked", True),
        ("1", "other formats", "asked", True),
        ("2", "options", "asked", False),
        (None, "options", "asked", False),
        ("1", "options", "others", False),
    ],
)
def test_what_was_paid_for_is_kept_for_the_same_document_and_request(
    place: Place, sha256: str | None, fingerprint: str, asked: str, is_kept: bool
) -> None:
    """Other bytes or another request: it is removed, as are the leftovers of a response that was cut, and what was rendered."""
    work = claim(place)
    work.prepare("1", "options", asked="asked")
    for part in (0, 1, 12):
        work.response_path(part).write_text("{}")
    work.response_path(2).with_name("response-2.json.part").write_text("{")
    (work.outputs / "a.md").write_text("x")
    work.release()
    with claim(place) as work:
        work.prepare(sha256, fingerprint, asked=asked)
        assert [is_kept] * 3 + [False] == [work.response_path(part).exists() for part in (0, 1, 12, 2)]
        assert [] == list(work.outputs.iterdir())
        assert fingerprint == work.fingerprint
        assert not work.response_path(2).with_name("response-2.json.part").exists()


def test_what_was_paid_for_outlives_a_state_that_cannot_be_written(place: Place) -> None:
    """The disk is full, or the process killed, in that moment: the run after it knows whose the responses are."""
    with claim(place) as work:
        work.prepare("1", "options")
        work.response_path(0).write_text("{}")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with claim(place) as work:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))  # Python ignores SIGXFSZ: the write fails with EFBIG
        try:
            with pytest.raises(DocumentError, match="cannot be written"):
                work.prepare("1", "options")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    with claim(place) as work:
        work.prepare("1", "options")
        assert work.response_path(0).exists()


def test_what_was_paid_for_stays_until_the_manifest_has_its_line(place: Place) -> None:
    """A document that failed after its call keeps its response; one whose line is there is not paid for again, nor used again."""
    with claim(place) as work:
        work.prepare("1", "options")
        work.response_path(0).write_text("{}")
        token = work.token
        assert work.is_paid
    assert [work_name("a")] == hidden(place)
    Manifest.of(place.folder).add(Finished("a.pdf", "a", "1", "options", {}, token))
    left = abandoned(place.folder)
    assert [False] == [work.keeps() for work in left]
    killed(left[0])
    with claim(place) as work:
        work.prepare("1", "options")
        assert not work.response_path(0).exists()
    assert [MANIFEST] == hidden(place)


def test_uploads_are_noted_until_they_are_deleted(place: Place) -> None:
    """Each is left from before it begins; its id is known once it came. The folder stays as long as one is left."""
    first, second, third = (upload_name(name) for name in ("a.pdf", "a.pdf", "ü\n"))
    with claim(place) as work:
        work.prepare("1", "options")
        for name in (first, second, third):
            work.note_upload(name, URL)
        work.note_uploaded(first, "file-1")
        work.note_uploaded(second, "file-2")
        work.note_deleted(second)
    with claim(place) as work:
        work.prepare("2", "others")
        assert [LeftUpload(first, "file-1", URL), LeftUpload(third, None, URL)] == work.left_uploads()
        work.note_deleted(first)
        work.note_deleted(third)
    assert [] == hidden(place)


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("report.pdf", r"report\.[0-9a-f]{12}\.pdf"),
        ("2201.04234", r"2201\.04234\.[0-9a-f]{12}"),
        ("ü" * 200 + ".PDF", "ü{60}" + r"\.[0-9a-f]{12}\.PDF"),
        ("a\nb\udce9", r"a%0Ab%E9\.[0-9a-f]{12}"),
        (".pdf", r"\.pdf\.[0-9a-f]{12}"),
    ],
)
def test_an_upload_has_a_name_that_no_other_has(place: Place, name: str, pattern: str) -> None:
    """It begins as the document's, keeps its end, and is known as this command's when it is left."""
    names = {upload_name(name) for _ in range(3)}
    assert 3 == len(names)
    assert [True] * 3 == [re.fullmatch(pattern, each) is not None for each in names]
    with claim(place) as work:
        for each in names:
            work.note_upload(each, URL)
        assert names == {left.name for left in work.left_uploads()}
        for each in names:
            work.note_deleted(each)


@pytest.mark.parametrize("name", ["report.pdf", "contract.0123456789ab.pdf.exe", "0123456789ab", "x.0123456789AB.pdf", ""])
def test_a_note_of_a_file_that_is_not_this_commands_is_ignored(place: Place, name: str) -> None:
    """A folder of somebody else's may name the user's own files at the provider: they are not deleted."""
    with claim(place) as work:
        work.note_upload(name, URL)
        assert [] == work.left_uploads()


@pytest.mark.parametrize("torn", ['{"name": "y"', "[]\n", '{"name": 5}\n', "\0\0"])
def test_a_torn_note_of_an_upload_harms_no_other(place: Place, torn: str) -> None:
    """What a killed process left of a line is ignored."""
    name = upload_name("a.pdf")
    work = claim(place)
    work.note_upload(name, URL)
    with (work.path / "uploads.jsonl").open("a") as file:
        file.write(torn)
    work.note_uploaded(name, "file-1")
    assert [LeftUpload(name, "file-1", URL)] == work.left_uploads()
    work.note_deleted(name)
    work.release()


@pytest.mark.parametrize("file_id", [5, None, {"a": 1}, ["file-1"]])
def test_a_note_whose_id_is_none_is_ignored(place: Place, file_id: object) -> None:
    """It would become a part of a URL: the file is looked for by its name."""
    name = upload_name("a.pdf")
    with claim(place) as work:
        work.note_upload(name, URL)
        with (work.path / "uploads.jsonl").open("a") as file:
            file.write(json.dumps({"name": name, "id": file_id}) + "\n")
        assert [LeftUpload(name, None, URL)] == work.left_uploads()
        work.note_deleted(name)


@pytest.mark.skipif(sys.platform == "win32", reason="named pipes")
@pytest.mark.parametrize("name", ["state.json", "uploads.jsonl", "publishing.json"])
def test_a_pipe_in_a_folder_of_work_is_not_waited_for(place: Place, name: str) -> None:
    """The folder may have come with an archive of somebody else's."""
    path = place.folder / work_name(place.base)
    path.mkdir(parents=True)
    os.mkfifo(path / name)
    assert {} == held_bases(place.folder)
    with claim(place) as work:
        assert ([], {}) == (work.left_uploads(), work.publishing())
    assert [] == hidden(place)


def test_what_killed_runs_left_is_found_beside_the_outputs(place: Place) -> None:
    """Those with uploads, and those with nothing for a later run, are claimed; paid responses wait for their document."""
    for base in ("uploads", "paid", "nothing"):
        work = claim(Place(place.folder, base, f"{base}.pdf"))
        work.prepare("1", "options")
        if base == "uploads":
            work.note_upload(upload_name("x"), URL)
        if base == "paid":
            work.response_path(0).write_text("{}")
        killed(work)
    assert {"uploads": "uploads.pdf", "paid": "paid.pdf", "nothing": "nothing.pdf"} == held_bases(place.folder)
    left = abandoned(place.folder)
    assert sorted([work_name("uploads"), work_name("nothing")]) == sorted(work.path.name for work in left)
    for work in left:
        for upload in work.left_uploads():
            work.note_deleted(upload.name)
        work.release()
    assert [work_name("paid")] == hidden(place)
    with claim(Place(place.folder, "paid", "paid.pdf"), patience_s=0) as work:
        assert work.is_paid


def test_a_run_that_was_killed_at_its_end_leaves_no_folder(place: Place) -> None:
    """Its document was finished, and all but the lock removed: no later run would claim that place."""
    work = claim(place)
    work.prepare("1", "options")
    work.published()
    (work.path / "state.json").unlink()
    killed(work)
    with claim(Place(place.folder, "b", "b.pdf")):
        for left in abandoned(place.folder):
            left.release()
        assert [work_name("b")] == hidden(place)
    assert [] == hidden(place)


def test_a_folder_without_work_has_none_that_is_abandoned(tmp_path: Path) -> None:
    """A folder that is not there, links, files, and folders that this user may not enter are no work."""
    assert [] == abandoned(tmp_path / "missing")
    (tmp_path / f"{WORK_PREFIX}file").write_text("x")
    (tmp_path / f"{WORK_PREFIX}link").symlink_to(tmp_path)
    (tmp_path / f"{WORK_PREFIX}folder").mkdir(mode=0o700)
    (tmp_path / f"{WORK_PREFIX}folder/lock").mkdir()
    let_all_in(tmp_path)
    assert [] == abandoned(tmp_path)
    with ordinary_user():
        assert [] == abandoned(tmp_path)


def test_a_name_that_another_document_has_by_now_is_refused(place: Place) -> None:
    """The other one is finished there, or was paid for: nothing of it is touched."""
    other = Place(place.folder, "A", "A.docx")
    with claim(other) as work:
        work.prepare("1", "options")
        work.response_path(0).write_text("{}")
    with pytest.raises(DocumentError, match=r"is the name of another document's output: A\.docx"):
        claim(place)
    with claim(other) as work:
        work.prepare("1", "options")
        assert work.response_path(0).exists()
        work.published()
    Manifest.of(place.folder).add(Finished("A.docx", "A", "1", "options", {}, "w"))
    with pytest.raises(DocumentError, match=r"is the name of another document's output: A\.docx") as refused:
        claim(place)
    assert "Run it once more: it takes another name." == refused.value.hint


def test_a_manifest_that_cannot_be_read_is_said_before_anything_is_paid_for(place: Place) -> None:
    """The claim is refused, and let go."""
    (place.folder / MANIFEST).mkdir(parents=True)
    for _ in range(2):
        with pytest.raises(DocumentError, match="cannot be read: Is a directory"):
            claim(place)


def test_a_place_of_work_that_is_no_folder_is_named(place: Place, tmp_path: Path) -> None:
    """A link is not followed, and a file not replaced."""
    place.folder.mkdir()
    path = place.folder / work_name("a")
    for make in (lambda: path.symlink_to(tmp_path), lambda: path.write_text("x")):
        make()
        with pytest.raises(DocumentError, match="Not a directory"):
            claim(place)
        path.unlink()


def test_a_state_that_is_damaged_counts_as_none(place: Place) -> None:
    """Its responses are not known to be this document's: they are removed."""
    for damage in ("", "{", "[]", '{"token": 5}', "[" * 100_000):
        work = claim(place)
        work.prepare("1", "options")
        work.response_path(0).write_text("{}")
        (work.path / "state.json").write_text(damage)
        (work.path / "publishing.json").write_text(damage)
        killed(work)
        with claim(place) as work:
            assert {} == work.publishing()
            work.prepare("1", "options")
            assert not work.response_path(0).exists()
        assert [] == hidden(place)


def test_a_temporary_one_keeps_nothing_but_uploads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What goes to stdout has no place: a killed run's response is lost, and its uploads are found by the next run."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    with claim_temporary() as work:
        work.prepare("1", "options")
        work.response_path(0).write_text("{}")
        assert tmp_path == work.path.parent
    assert [] == list(tmp_path.iterdir())
    name = upload_name("x")
    for is_uploaded in (True, False):
        work = claim_temporary()
        work.prepare("1", "options")
        work.response_path(0).write_text("{}")
        if is_uploaded:
            work.note_upload(name, URL)
        killed(work)
    left = abandoned(tmp_path)
    assert [[], [LeftUpload(name, None, URL)]] == sorted((each.left_uploads() for each in left), key=len)
    for each in left:
        for upload in each.left_uploads():
            each.note_deleted(upload.name)
        each.release()
    assert [] == list(tmp_path.iterdir())


def test_a_document_that_another_run_has_finished_meanwhile_is_known_as_such(place: Place) -> None:
    """Both runs had planned it; the second one gets the place once the first is done, and finds that nothing is to be sent."""
    planned_by_second = Manifest.of(place.folder)
    assert not planned_by_second.finished("a.pdf", "1", "options")
    done(place, {"a.md": "text"}, "1")
    with claim(place, planned_by_second) as work:
        assert [True, False] == [work.is_finished("1", fingerprint) for fingerprint in ("options", "others")]
    with claim_temporary() as work:
        assert not work.is_finished("1", "options")


def test_a_folder_that_was_just_made_is_not_taken_from_its_run(place: Place) -> None:
    """Between making it and locking it a run holds nothing; one that looks for what killed runs left does not touch it."""
    (place.folder / work_name("a")).mkdir(parents=True)
    assert [] == abandoned(place.folder)
    claim(place).release()
    assert [] == hidden(place)

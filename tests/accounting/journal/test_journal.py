"""The journal: what is in its files is read back, whichever process wrote it, however that ended."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from passthrough.accounting.entry import Entry
from passthrough.accounting.journal.codec import encode, line
from passthrough.accounting.journal.folder import journal_folder
from passthrough.accounting.journal.journal import Journal
from passthrough.accounting.journal.segment import ForeignSegmentError, Segment
from tests.harness.entries import booked


def read(journal: Journal, most: int = 500) -> list[Entry]:
    """Return all entries that a journal still has, and let them count as shipped."""
    found: list[Entry] = []
    while batch := journal.next_batch(most):
        assert len(batch.entries) <= most
        assert journal.next_batch(most) == batch, "what is not shipped is read again"
        found.extend(batch.entries)
        batch.segment.note(batch)
    return found


def numbered(count: int) -> list[Entry]:
    """Return entries that differ."""
    return [booked(at=float(number), exchange_id=f"{number:032x}") for number in range(count)]


def names(folder: Path) -> list[str]:
    """Return what is in a folder."""
    return sorted(file.name for file in folder.iterdir())


def left_behind(folder: Path, entries: list[Entry], segment_bytes: int = 10**9) -> list[Path]:
    """Make a journal that a process left behind when it died, and return its files."""
    journal = Journal(folder, print, segment_bytes=segment_bytes)
    before = set(folder.iterdir()) if folder.exists() else set()
    for entry in entries:
        journal.append([encode(entry)])
    journal.close()
    return sorted(set(folder.iterdir()) - before)


def test_what_is_appended_is_read_back_in_order(tmp_path: Path) -> None:
    """Any number of entries, in batches of any size, over several files; when they are shipped, the files are deleted."""
    entries = numbered(100)
    with closing(Journal(tmp_path / "j", print, segment_bytes=4000)) as journal:
        assert (None, 0) == (journal.next_batch(5), journal.left)
        for start in range(0, 100, 10):
            journal.append([encode(entry) for entry in entries[start : start + 10]])
        journal.sync()
        assert 2 < len(names(tmp_path / "j"))
        assert entries == read(journal, 7)
        assert 0 == journal.left
        journal.append([encode(entries[0])])
        assert [entries[0]] == read(journal)
        assert 1 >= len(names(tmp_path / "j"))
    assert [] == names(tmp_path / "j")


def test_many_charges_make_a_portion_short(tmp_path: Path) -> None:
    """A batch is bounded by its charges, but has one entry at least; a line may be longer than what is read at once."""
    (charge,) = booked().charges
    large = [replace(booked(), charges=tuple(replace(charge, line=f"{n}-{k}") for k in range(8000))) for n in range(3)]
    with closing(Journal(tmp_path, print)) as journal:
        journal.append([encode(entry) for entry in (*large, booked())])
        sizes = []
        while batch := journal.next_batch(500):
            sizes.append([len(entry.charges) for entry in batch.entries])
            batch.segment.note(batch)
        assert [[8000], [8000], [8000], [1]] == sizes


def test_what_a_dead_process_left_is_adopted(tmp_path: Path) -> None:
    """Its files are read in their order, said, and deleted when they are shipped; what is left of them is there for the next."""
    entries = numbered(30)
    files = left_behind(tmp_path, entries, 2000)
    assert 3 < len(files)
    said: list[str] = []
    journal = Journal(tmp_path, said.append)
    journal.adopt()
    assert len(files) == len(said) == journal.adopted
    batch = journal.next_batch(4)
    assert batch is not None
    batch.segment.note(batch)
    journal.close()
    with closing(Journal(tmp_path, print)) as again:
        again.adopt()
        assert entries == read(again)
        again.adopt()
        assert (0, [], 0) == (again.adopted, read(again), again.left)
    assert [] == names(tmp_path)


def test_what_a_living_process_has_is_its_own(tmp_path: Path) -> None:
    """Two journals in one folder each read what they wrote, and neither takes or deletes the other's."""
    one, other = Journal(tmp_path, print), Journal(tmp_path, print)
    mine, theirs = numbered(5)[:3], numbered(5)[3:]
    one.append([encode(entry) for entry in mine])
    other.append([encode(entry) for entry in theirs])
    for journal in (one, other):
        journal.adopt()
        assert 0 == journal.adopted
    assert (mine, theirs) == (read(one), read(other))
    one.close()
    assert 1 == len(names(tmp_path))
    other.close()


def test_a_dead_process_has_one_heir(tmp_path: Path) -> None:
    """Where another process has begun to adopt, all files of that owner are its: parts of an exchange stay in order."""
    left_behind(tmp_path, numbered(30), 2000)
    first, second = Journal(tmp_path, print), Journal(tmp_path, print)
    first.adopt()
    second.adopt()
    assert (True, 0) == (first.adopted > 3, second.adopted)
    first.close()
    second.adopt()
    assert numbered(30) == read(second)
    second.close()


def cut(text: bytes) -> bytes:
    """Leave the last line without its end, as a kill does."""
    return text[:-20]


def garbage(text: bytes) -> bytes:
    """Put noise over the second entry."""
    lines = text.splitlines(keepends=True)
    lines[2] = os.urandom(300).replace(b"\n", b"x") + b"\n"
    return b"".join(lines)


def noise_at_the_end(text: bytes) -> bytes:
    """Add bytes without any line end, more than are read at once."""
    return text + os.urandom(300_000).replace(b"\n", b"x")


@pytest.mark.parametrize(
    ("spoil", "read_back", "left"),
    [(cut, [0, 1, 2], None), (garbage, [0, 2, 3], ".spoilt"), (noise_at_the_end, [0, 1, 2, 3], None)],
)
def test_what_is_spoilt_is_left_out(
    tmp_path: Path, spoil: Callable[[bytes], bytes], read_back: list[int], left: str | None
) -> None:
    """A torn end is how a kill leaves a file; any other line that is not as written is said, and its file is kept aside."""
    (file,) = left_behind(tmp_path, numbered(4))
    file.write_bytes(spoil(file.read_bytes()))
    said: list[str] = []
    with closing(Journal(tmp_path, said.append)) as journal:
        journal.adopt()
        assert [numbered(4)[number] for number in read_back] == read(journal)
        assert (1 if left is None else 2) == len(said)
    if left is None:
        assert [] == names(tmp_path)
    else:
        assert [file.with_suffix(left).name] == names(tmp_path)
        assert f"1 lines of the journal could not be read: {file.with_suffix(left)} keeps them" in said[1]


@pytest.mark.parametrize("head", [line(["passthrough.journal", 999]), b"\n", b"not one of ours " * 1000, b"[1]\n"])
def test_an_unknown_format_is_left_alone(tmp_path: Path, head: bytes) -> None:
    """What a newer program, or another one, wrote is neither read nor deleted; it is said once, and others may take it."""
    (file,) = left_behind(tmp_path, numbered(2))
    file.write_bytes(head + file.read_bytes().partition(b"\n")[2])
    whole = file.read_bytes()
    said: list[str] = []
    with closing(Journal(tmp_path, said.append)) as journal:
        journal.adopt()
        journal.adopt()
        assert ([], 1) == (read(journal), len(said))
        assert f"{file} cannot be read: the file is in a format that this program does not know" in said[0]
        with pytest.raises(ForeignSegmentError):
            Segment.take(file)
    assert whole == file.read_bytes()


@pytest.mark.parametrize(("size", "age_s", "kept"), [(0, 0, True), (0, 3600, False), (10, 0, False)])
def test_a_file_that_was_hardly_begun_is_removed(tmp_path: Path, size: int, age_s: int, kept: bool) -> None:
    """A kill while a file is made leaves it without a whole head; one without a byte may be in the making, and stays a while."""
    (file,) = left_behind(tmp_path, numbered(1))
    file.write_bytes(file.read_bytes()[:size])
    os.utime(file, (time.time() - age_s, time.time() - age_s))
    with closing(Journal(tmp_path, print)) as journal:
        journal.adopt()
        assert [] == read(journal)
    assert kept == file.exists()


def test_other_files_are_not_touched(tmp_path: Path) -> None:
    """What is not named as a segment is none; a folder that is named so is said and left."""
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "1-a.jsonl").mkdir()
    said: list[str] = []
    with closing(Journal(tmp_path, said.append)) as journal:
        journal.adopt()
        assert ([], 1) == (read(journal), len(said))
    assert ["1-a.jsonl", "notes.txt"] == names(tmp_path)


def test_a_folder_that_is_taken_away_is_made_again(tmp_path: Path) -> None:
    """What was written before is still read, since the file is open; what comes after goes into a new one."""
    entries = numbered(3)
    with closing(Journal(tmp_path / "j", print)) as journal:
        journal.append([encode(entries[0])])
        (tmp_path / "j").rename(tmp_path / "away")
        for file in (tmp_path / "away").iterdir():
            file.unlink()
        journal.append([encode(entries[1])])
        assert 1 == len(names(tmp_path / "j"))
        assert entries[:2] == read(journal)


def test_a_folder_in_a_place_that_is_not_there(tmp_path: Path) -> None:
    """Only the journal's own folder is made: a misspelt path would be one; each try is a new one."""
    with closing(Journal(tmp_path / "no" / "j", print)) as journal:
        for _ in range(2):
            with pytest.raises(FileNotFoundError):
                journal.append([encode(booked())])
        (tmp_path / "no").mkdir()
        journal.append([encode(numbered(1)[0])])
        assert numbered(1) == read(journal)


def test_lines_that_do_not_fit_the_disk_leave_nothing(tmp_path: Path) -> None:
    """A write that ends in its middle is taken back: nothing is read of it, and the next one follows what was whole."""
    entries = numbered(30)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with closing(Journal(tmp_path, print)) as journal:
        journal.append([encode(entry) for entry in entries[:3]])
        (file,) = tmp_path.iterdir()
        before = file.read_bytes()
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 700, hard))
        try:
            with pytest.raises(OSError, match="File too large"):
                journal.append([encode(entry) for entry in entries[3:]])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert before == file.read_bytes()
        journal.append([encode(entry) for entry in entries[3:]])
        assert entries == read(journal)


def test_whether_it_can_be_written_is_tried_out(tmp_path: Path) -> None:
    """As long as there is no place, or no space, for a file, it cannot; what was tried leaves nothing behind."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    place = tmp_path / "no"
    with closing(Journal(place / "j", print)) as journal:
        with pytest.raises(FileNotFoundError):
            journal.try_out()
        place.mkdir()
        journal.try_out()
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        try:
            with pytest.raises(OSError, match="File too large"):
                journal.try_out()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        journal.append([encode(numbered(1)[0])])
        assert (numbered(1), 1) == (read(journal), len(list((place / "j").iterdir())))


def test_where_no_new_file_can_be_opened_the_old_one_grows(tmp_path: Path) -> None:
    """Out of descriptors, entries go on into the file that is open."""
    entries = numbered(30)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with closing(Journal(tmp_path, print, segment_bytes=500)) as journal:
        journal.append([encode(entry) for entry in entries[:3]])
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
        try:
            for entry in entries[3:]:
                journal.append([encode(entry)])
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert 1 == len(names(tmp_path))
        assert entries == read(journal)


def test_what_cannot_be_opened_for_now_is_adopted_later(tmp_path: Path) -> None:
    """Out of descriptors, what a dead process left is neither said to be unreadable nor forgotten."""
    for entry in numbered(2):
        left_behind(tmp_path, [entry])
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    said: list[str] = []
    with closing(Journal(tmp_path, said.append)) as journal:
        free = os.dup(0)
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free + 1, hard))  # one more file can be open
        try:
            journal.adopt()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert (1, 1) == (len(said), journal.adopted)
        journal.adopt()
        assert sorted(numbered(2), key=repr) == sorted(read(journal), key=repr)
        assert 2 == len(said)


def test_a_file_that_cannot_be_deleted_is_read_once(tmp_path: Path) -> None:
    """What stands in its place is left there, and what was read is not read again by this process."""
    (file,) = left_behind(tmp_path, numbered(3))
    with closing(Journal(tmp_path, print)) as journal:
        journal.adopt()
        file.unlink()
        file.mkdir()
        assert numbered(3) == read(journal)
        journal.adopt()
        assert ([], 0) == (read(journal), journal.adopted)
    assert file.is_dir()


def test_a_file_that_somebody_cut_off_ends_there(tmp_path: Path) -> None:
    """What is gone is gone; the rest is read."""
    with closing(Journal(tmp_path, print)) as journal:
        journal.append([encode(entry) for entry in numbered(3)])
        (file,) = tmp_path.iterdir()
        os.truncate(file, file.stat().st_size - 100)
        assert numbered(2) == read(journal)
        assert 0 == journal.left


@pytest.mark.parametrize("change", [lambda text: text[:10], lambda _: b"", lambda text: text + b"noise\n"])
def test_nothing_is_written_behind_what_somebody_changed(change: Callable[[bytes], bytes], tmp_path: Path) -> None:
    """A program that empties a file, or writes into it, spoils what was in it, and nothing that comes after."""
    entries = numbered(3)
    with closing(Journal(tmp_path, print)) as journal:
        journal.append([encode(entries[0])])
        assert entries[:1] == read(journal)
        (file,) = tmp_path.iterdir()
        file.write_bytes(change(file.read_bytes()))  # in place, as `>` and a log's rotation do
        journal.append([encode(entries[1])])
        assert entries[1:2] == read(journal)
        journal.append([encode(entries[2])])
        assert entries[2:] == read(journal)
        assert 0 == journal.left


@pytest.mark.parametrize(
    ("ledger", "configured", "folder"),
    [
        ("sqlite:///x/passthrough.db", None, "x/passthrough.journal"),
        ("sqlite:////data/books.sqlite", None, "/data/books.journal"),
        ("postgresql://u:p@h/books", None, "passthrough.journal"),
        ("postgresql://u:p@h/books", "spool", "spool"),
        ("sqlite:////data/books.sqlite", "/spool", "/spool"),
        ("", None, "passthrough.journal"),
    ],
)
def test_where_the_journal_lies(ledger: str, configured: str | None, folder: str) -> None:
    """Beside an SQLite file, else in the working directory, unless the configuration names a folder."""
    assert Path.cwd() / folder == journal_folder(ledger, configured)

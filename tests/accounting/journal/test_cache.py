"""Entries that are shipped without being read back: the same as those in the files, in the same order, and only some of them."""

from __future__ import annotations

from contextlib import closing
from itertools import accumulate
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st

from passthrough.accounting.entry import Entry
from passthrough.accounting.journal.cache import MAX_BYTES
from passthrough.accounting.journal.codec import encode
from passthrough.accounting.journal.journal import Journal
from tests.harness.entries import booked


def appended(journal: Journal, entries: list[Entry], *, kept: bool = True) -> None:
    """Append entries, and let the journal have them beside their lines or not."""
    journal.append([encode(entry) for entry in entries], entries if kept else ())


def shipped(journal: Journal, most: int) -> list[Entry]:
    """Ship one batch and return what was in it."""
    batch = journal.next_batch(most)
    if batch is None:
        return []
    assert batch == journal.next_batch(most)
    batch.segment.note(batch)
    return list(batch.entries)


def test_what_was_just_written_is_not_read_back(tmp_path: Path) -> None:
    """Entries that wait for a moment only are shipped as they came; what a process left behind is read, from the beginning."""
    entries = [booked() for _ in range(20)]
    with closing(Journal(tmp_path, print)) as journal:
        appended(journal, entries)
        found = shipped(journal, 10)
        assert [True] * 10 == [one is other for one, other in zip(entries[:10], found, strict=True)]
        shipped(journal, 5)
        assert sum(len(encode(entry)) for entry in entries[15:]) == journal.left
    with closing(Journal(tmp_path, print)) as journal:
        journal.adopt()
        assert entries == shipped(journal, 500)


def test_memory_does_not_grow_with_what_waits(tmp_path: Path) -> None:
    """Beyond a bound entries are read from their file again, all in their order; then they are kept again."""
    entries = [booked() for _ in range(2 * MAX_BYTES // len(encode(booked())))]
    with closing(Journal(tmp_path, print)) as journal:
        appended(journal, entries)
        found: list[Entry] = []
        while more := shipped(journal, 100):
            found.extend(more)
        assert entries == found
        kept = sum(one is other for one, other in zip(entries, found, strict=True))
        fit = sum(size <= MAX_BYTES for size in accumulate(len(encode(entry)) for entry in entries))
        assert abs(fit - kept) < 2
        appended(journal, entries[:5])
        assert [True] * 5 == [one is other for one, other in zip(entries[:5], shipped(journal, 100), strict=True)]


STEPS = st.lists(st.tuples(st.integers(0, 6), st.booleans(), st.integers(0, 4), st.integers(1, 9)), max_size=30)


@given(STEPS, st.integers(300, 5000))
def test_each_is_fed_once_and_in_order(steps: list[tuple[int, bool, int, int]], segment_bytes: int) -> None:
    """However appending and feeding alternate, over any number of files, kept or not: what comes out is what went in."""
    put: list[Entry] = []
    found: list[Entry] = []
    with TemporaryDirectory() as folder, closing(Journal(Path(folder), print, segment_bytes=segment_bytes)) as journal:
        for count, kept, batches, most in steps:
            made = [booked(exchange_id=f"{len(put) + number:032x}") for number in range(count)]
            put += made
            if made:
                appended(journal, made, kept=kept)
            for _ in range(batches):
                found += shipped(journal, most)
        while more := shipped(journal, 7):
            found += more
        assert put == found
        assert 0 == journal.left


def test_a_file_that_was_cut_off_is_not_believed_to_be_whole(tmp_path: Path) -> None:
    """What was written after it is shipped, whatever became of the file before it."""
    first, second = [booked() for _ in range(10)], [booked() for _ in range(10)]
    with closing(Journal(tmp_path, print)) as journal:
        appended(journal, first)
        (file,) = tmp_path.iterdir()
        file.write_bytes(file.read_bytes()[:500])
        appended(journal, second)
        found: list[Entry] = []
        while more := shipped(journal, 7):
            found += more
        assert [*first, *second] == found

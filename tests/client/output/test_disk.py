"""The disk that outputs are on: locks, lines that are appended, and what its errors mean."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from passthrough.client.errors import DocumentError
from passthrough.client.output.disk import (
    append_line,
    disk_failure,
    explained,
    is_file,
    lock,
    open_locked,
    read_object,
    remove,
    sync,
    write_whole,
)
from tests.harness.published import ROOT


@pytest.mark.parametrize(
    ("number", "hint", "ends_run"),
    [
        (errno.ENOSPC, "Free some space", True),
        (errno.EDQUOT, "Free some space", True),
        (errno.EACCES, "Let this user write there", False),
        (errno.EROFS, "Name a folder that can be written", False),
        (errno.ENAMETOOLONG, "Name a folder with a shorter path", False),
        (errno.EIO, "", False),
    ],
)
def test_an_error_is_said_with_its_file_and_cause(number: int, hint: str, ends_run: bool) -> None:
    """A disk that is full ends the run: the next document would be paid for, and lost."""
    with pytest.raises(DocumentError) as failed, explained(Path("out")):
        raise OSError(number, os.strerror(number), "out/a\n.md")
    assert f"out/a\\n.md cannot be written: {os.strerror(number)}" == failed.value.why
    assert failed.value.hint.startswith(hint)
    assert bool(hint) is bool(failed.value.hint)
    assert ends_run is failed.value.ends_run


@pytest.mark.parametrize("name", [None, 5, b"out"])
def test_an_error_without_a_name_is_said_of_the_path(name: object) -> None:
    """An open file's error has no name, or its number."""
    assert (
        "out cannot be written: Input/output error"
        == disk_failure(OSError(errno.EIO, "Input/output error", name), Path("out")).why
    )


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.EINVAL])
def test_where_there_are_no_locks_nobody_is_kept_out(number: int) -> None:
    """A network's file system may have none, and Windows has none of these."""

    def refusing(_descriptor: int, _operation: int) -> None:
        raise OSError(number, os.strerror(number))

    assert lock(0, wait=False, flock=refusing)
    assert lock(0, wait=False, flock=None)


def test_another_error_of_a_lock_is_raised(tmp_path: Path) -> None:
    """And the file is closed."""
    with pytest.raises(OSError, match="Bad file descriptor"):
        lock(10**6, wait=False)
    with pytest.raises(IsADirectoryError):
        open_locked(tmp_path, wait=False)


def test_a_file_is_locked_until_it_is_closed(tmp_path: Path) -> None:
    """Also against another descriptor of the same process: two workers are kept apart."""
    first = open_locked(tmp_path / "lock", wait=False)
    assert first is not None
    assert open_locked(tmp_path / "lock", wait=False) is None
    os.close(first)
    second = open_locked(tmp_path / "lock", wait=False)
    assert second is not None
    os.close(second)


@pytest.mark.process
@pytest.mark.parametrize("removes", [True, False])
def test_a_lock_that_is_waited_for_is_that_of_the_file_that_is_there(tmp_path: Path, removes: bool) -> None:
    """The holder may have removed the file: then the one that is waited for is worth nothing, and another is made."""
    code = (
        "import sys, pathlib, os\n"
        "from passthrough.client.output.disk import open_locked\n"
        "print('begun', flush=True)\n"
        "held = open_locked(pathlib.Path(sys.argv[1]), wait=True)\n"
        "print(os.path.samestat(os.fstat(held), os.stat(sys.argv[1])), flush=True)\n"
    )
    path = tmp_path / "lock"
    held = open_locked(path, wait=False)
    assert held is not None
    with subprocess.Popen([sys.executable, "-c", code, str(path)], cwd=ROOT, stdout=subprocess.PIPE) as waiting:
        assert waiting.stdout is not None
        assert b"begun\n" == waiting.stdout.readline()
        if removes:
            path.unlink()
        os.close(held)
        assert b"True\n" == waiting.stdout.readline()


def test_a_line_is_appended_after_what_is_torn(tmp_path: Path) -> None:
    """It stands on a line of its own."""
    path = tmp_path / "lines"
    for before, after in ((b"", b"new\n"), (b"whole\n", b"whole\nnew\n"), (b"torn", b"torn\nnew\n"), (b"\n", b"\nnew\n")):
        path.write_bytes(before)
        descriptor = open_locked(path, wait=False)
        assert descriptor is not None
        append_line(descriptor, b"new\n")
        os.close(descriptor)
        assert after == path.read_bytes()


def test_a_value_is_written_whole_and_what_is_no_object_reads_as_empty(tmp_path: Path) -> None:
    """Nothing is left beside it."""
    write_whole(tmp_path / "value", {"a": ["ü"]})
    assert {"a": ["ü"]} == read_object(tmp_path / "value")
    assert ["value"] == os.listdir(tmp_path)
    for content in (b"", b"[]", b"{", b"\xff", b"[" * 100_000):
        (tmp_path / "value").write_bytes(content)
        assert {} == read_object(tmp_path / "value")
    assert {} == read_object(tmp_path / "missing")


def test_what_is_a_file(tmp_path: Path) -> None:
    """A regular one, itself."""
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert [True, False, False, False] == [is_file(tmp_path / name) for name in ("file", "link", "missing", "a\0")]


def test_a_folder_that_cannot_be_synced_is_left_to_its_file_system(tmp_path: Path) -> None:
    """Some say that they cannot: a device does, too. All else is raised."""
    sync(tmp_path)
    sync(Path("/dev/null"))
    with pytest.raises(FileNotFoundError):
        sync(tmp_path / "missing")


def test_what_is_removed_is_gone_and_what_a_link_names_stays(tmp_path: Path) -> None:
    """A file, a folder with something in it, a link to a folder, a pipe, and nothing at all."""
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("x")
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe")
    for name in ("folder", "file", "link", "dangling", "pipe", "nothing"):
        remove(tmp_path / name)
    assert (["kept"], ["file"]) == (os.listdir(tmp_path), os.listdir(tmp_path / "kept"))

"""Who uses files, across workers and restarts, on disks and files that are not as they should be."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Callable
from mmap import mmap
from pathlib import Path

import pytest

from passthrough.proxy.deployments.file_users import FLAGS, NAME, FileUsers
from tests.harness.rights import ordinary_user
from tests.harness.waiting import until

pytestmark = pytest.mark.fast


async def test_it_is_known_at_the_next_start(tmp_path: Path) -> None:
    """Per endpoint and client; what was not noted is not there. Only its user may read the file."""
    file = tmp_path / "journal" / NAME
    users = FileUsers(file=file)
    assert not users.uses("/m", "alice")
    users.note("/m", "alice")
    users.note("/m", "")
    assert users.uses("/m", "alice")
    await until(lambda: file.exists() and FileUsers(file=file).uses("/m", ""))
    again = FileUsers(file=file)
    assert [True, True, False, False] == [
        again.uses(endpoint, client) for endpoint, client in (("/m", "alice"), ("/m", ""), ("/m", "bob"), ("/n", "alice"))
    ]
    assert [0o600, 0o700] == [stat.S_IMODE(each.stat().st_mode) for each in (file, file.parent)]


async def test_workers_share_it_at_once(tmp_path: Path) -> None:
    """By the memory, not by the file; what each saves, the others do not undo."""
    flags, file = mmap(-1, FLAGS), tmp_path / NAME
    one, other = (FileUsers(flags, file) for _ in range(2))
    names = [f"client-{number}" for number in range(40)]
    for number, name in enumerate(names):
        (one, other)[number % 2].note("/m", name)
        assert (other, one)[number % 2].uses("/m", name)
    await until(lambda: all(FileUsers(file=file).uses("/m", name) for name in names))


async def test_without_a_file_it_is_known_until_the_end() -> None:
    """Without a ledger there is no folder to keep anything in."""
    users = FileUsers()
    users.note("/m", "alice")
    users.note("/m", "alice")
    assert users.uses("/m", "alice")
    assert not FileUsers().uses("/m", "alice")


async def test_hardly_any_two_clients_share_a_byte() -> None:
    """Of a hundred clients that use files, few others are taken for one of them."""
    users = FileUsers()
    for number in range(100):
        users.note("/m", f"client-{number}")
    assert 20 > sum(users.uses("/m", f"other-{number}") for number in range(1000))


def cut(file: Path) -> None:
    """Leave nothing of the file."""
    file.write_bytes(b"")


def replace_by_nothing(file: Path) -> None:
    """Delete it."""
    file.unlink()


def replace_by_another(file: Path) -> None:
    """Put another file, that is longer, in its place."""
    other = file.with_name("other")
    other.write_bytes(bytes(2 * FLAGS))
    other.replace(file)


@pytest.mark.parametrize("spoil", [cut, replace_by_nothing, replace_by_another])
async def test_a_file_that_others_cut_or_replace_is_mended(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    """While it runs: nothing breaks, nothing is forgotten, and the next note brings all back."""
    file = tmp_path / NAME
    users = FileUsers(file=file)
    users.note("/m", "alice")
    await until(lambda: file.exists() and FileUsers(file=file).uses("/m", "alice"))
    spoil(file)
    assert users.uses("/m", "alice")
    users.note("/m", "bob")
    await until(lambda: all(FileUsers(file=file).uses("/m", name) for name in ("alice", "bob")))


def a_folder(file: Path) -> None:
    """Put a folder in its place."""
    file.mkdir()


def a_link(file: Path) -> None:
    """Put a link to another file in its place."""
    victim = file.with_name("victim")
    victim.write_bytes(b"precious")
    file.symlink_to(victim)


def a_pipe(file: Path) -> None:
    """Put a pipe in its place, which nothing reads."""
    os.mkfifo(file)


def a_full_disk(file: Path) -> None:
    """Put a device that is always full in its place; a link is not followed, so it is one more name."""
    os.mknod(file, 0o600 | stat.S_IFCHR, os.makedev(1, 7))


@pytest.mark.parametrize("spoil", [a_folder, a_link, a_pipe, a_full_disk])
async def test_what_cannot_be_kept_is_said_once(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    """In each case all goes on in memory, and what stands in the file's place is left as it is."""
    file, said = tmp_path / NAME, list[str]()
    try:
        spoil(file)
    except PermissionError:
        pytest.skip("only root makes devices")
    users = FileUsers(file=file, warn=said.append)
    for number in range(5):
        users.note("/m", f"client-{number}")
    await until(lambda: bool(said))
    await asyncio.get_running_loop().shutdown_default_executor()
    (message,) = said
    assert message.startswith(f"{file}: which clients use files cannot be kept for the next start: ")
    assert users.uses("/m", "client-4")
    assert not (tmp_path / "victim").exists() or b"precious" == (tmp_path / "victim").read_bytes()


async def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    """It is said; once it may, the next note writes all, and what fails after that is said again."""
    folder, said = tmp_path / "journal", list[str]()
    folder.mkdir(mode=0o755)
    file = folder / NAME
    users = FileUsers(file=file, warn=said.append)
    folder.chmod(0o555)
    with ordinary_user():
        users.note("/m", "alice")
        await until(lambda: bool(said))
    assert "Permission denied" in said[0]
    folder.chmod(0o755)
    users.note("/m", "bob")
    await until(lambda: file.exists() and FileUsers(file=file).uses("/m", "alice"))
    file.unlink()
    file.mkdir()
    users.note("/m", "carol")
    await until(lambda: len(said) == 2)


async def test_a_file_of_another_user_is_not_read(tmp_path: Path) -> None:
    """It may not be: that is said, and what is noted is known meanwhile."""
    file, said = tmp_path / NAME, list[str]()
    file.write_bytes(b"\1" * FLAGS)
    file.chmod(0)
    with ordinary_user():
        users = FileUsers(file=file, warn=said.append)
    assert not users.uses("/m", "alice")
    assert 1 == len(said)

"""Disks that are small, full or read-only, for tests that may mount them."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(place: Path) -> Iterator[None]:
    """Mount a disk of a few hundred kilobytes; skip the test where that is not allowed."""
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("a small disk can only be mounted by root")
    try:
        yield
    finally:
        subprocess.run(["umount", str(place)], check=True)


def filled(place: Path) -> Path:
    """Fill a disk to its last byte, and return the file that did it."""
    filler = place / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    return filler


@contextmanager
def read_only(place: Path) -> Iterator[None]:
    """Make a folder read-only, for root too where it can mount."""
    if os.geteuid():
        place.chmod(0o500)
        yield
        place.chmod(0o700)
        return
    subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
    yield
    subprocess.run(["mount", "-o", "remount,rw", str(place)], check=True)

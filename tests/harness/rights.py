"""Tests as an ordinary user, where they run as root, who may read and write everything."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NOBODY = 65534


def let_all_in(tmp_path: Path) -> None:
    """Let every user search a test's folder, and those above it that pytest has made for its user alone."""
    if os.geteuid() == 0:
        own = ("pytest-of-", "mutation-")  # the second of tests.mutation
        last = next((number for number, folder in enumerate(tmp_path.parents) if folder.name.startswith(own)), None)
        assert last is not None, f"{tmp_path} is none of pytest's folders"
        for folder in (tmp_path, *tmp_path.parents[: last + 1]):
            folder.chmod(0o755)


@contextmanager
def ordinary_user() -> Iterator[None]:
    """Do without the rights of root meanwhile."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(before)

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
        tmp_path.chmod(0o755)
        for folder in tmp_path.parents:
            folder.chmod(0o755)
            if folder.name.startswith(("pytest-of-", "mutation-")):  # of tests.mutation
                return
        raise AssertionError(f"{tmp_path} is none of pytest's folders")


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

"""Finds what fits a pattern that the shell has left alone: `*`, `?`, `[…]`, and `**` for folders below folders."""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

_STARS: Final = re.compile(r"\*{2,}")


def is_pattern(argument: str) -> bool:
    """Tell whether an argument has a character that patterns are made with."""
    return glob.has_magic(argument)


def matches(pattern: str) -> tuple[Path, list[Path]]:
    """Return the folder where a pattern's variable part begins, and in order what fits the pattern.

    As in a shell, hidden entries fit only where the pattern begins with a dot itself; links to folders are not followed by `**`.
    """
    parts = Path(pattern).parts
    first = next(at for at, part in enumerate(parts) if glob.has_magic(part))
    base = Path(*parts[:first])
    rest = [part if part == "**" else _STARS.sub("*", part) for part in parts[first:]]
    with_hidden = _has_hidden(rest)
    found = [path for path in base.glob("/".join(rest)) if with_hidden or not _has_hidden(path.relative_to(base).parts)]
    return base, sorted(set(found))


def names_suffix(pattern: str, suffix: str) -> bool:
    """Tell whether a pattern asks for files with this end of their names: `*.csv` does, `*` and `*.*` do not."""
    return bool(suffix) and pattern.lower().endswith(suffix.lower())


def _has_hidden(parts: Sequence[str]) -> bool:
    return any(part.startswith(".") and part != ".." for part in parts)

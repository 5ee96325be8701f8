"""The chain of exceptions behind an error of requests: those of urllib3, http.client and the system that led to it."""

from __future__ import annotations

from typing import Any


def causes(error: BaseException) -> list[BaseException]:
    """Return an error and what it was raised from, wherever the libraries keep that: the outermost first."""
    found: list[BaseException] = []
    open_ends: list[Any] = [error]
    while open_ends:
        each = open_ends.pop(0)
        if isinstance(each, BaseException) and each not in found:
            found.append(each)
            open_ends += [each.__cause__, each.__context__, getattr(each, "reason", None), *each.args]
    return found

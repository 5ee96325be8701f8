"""Expands references of the form os.environ/NAME into secrets, which never show their value."""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Final, NoReturn

from .errors import PassthroughError

PREFIX: Final = "os.environ/"
_REFERENCE: Final = re.compile(r"os\.environ/([A-Za-z0-9_]*)")


class Unset(PassthroughError):
    """A value refers to variables that are not set, or empty: `names`, in the order of their appearance."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        super().__init__(f"{', '.join(names)} not set")


class Secret:
    """A value that must not be shown: only `reveal()` returns it.

    `repr`, `str` and formatting show its origin instead (variable names); pickling raises. A comparison takes the same time for
    every wrong value.
    """

    __slots__ = ("_value", "shown")

    def __init__(self, value: str, shown: str = "***") -> None:
        self._value = value
        self.shown = shown

    def reveal(self) -> str:
        """Return the value itself; the caller keeps it out of logs, responses and messages."""
        return self._value

    def digest(self) -> bytes:
        """Return the SHA-256 of the value's UTF-8 bytes (32 bytes), by which client keys are looked up."""
        return sha256(self._value.encode("utf-8", "surrogateescape")).digest()

    def __repr__(self) -> str:
        return f"Secret({self.shown})"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self.digest(), other.digest())

    def __hash__(self) -> int:
        return hash(self.digest())

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not pickled")


def names_in(text: str) -> tuple[str, ...]:
    """Return the variables that `text` refers to, in order; a name ends at the first character outside [A-Za-z0-9_]."""
    return tuple(match[1] for match in _REFERENCE.finditer(text))


def expand(text: str, environ: Mapping[str, str]) -> Secret:
    """Replace every os.environ/NAME in `text` by its value; `shown` keeps the names, so that it can be printed.

    Raises Unset with every name that is missing or empty (an empty name, `os.environ/`, too), so no half-resolved text is
    returned. A text without references is returned as a Secret shown as `***`.
    """
    names = names_in(text)
    missing = tuple(dict.fromkeys(name or PREFIX for name in names if not environ.get(name)))
    if missing:
        raise Unset(missing)
    value = _REFERENCE.sub(lambda match: environ[match[1]], text)
    return Secret(value, ", ".join(dict.fromkeys(names)) or "***")

"""Problems and warnings of a configuration, each with its place and a hint."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import Final, Protocol

from ..errors import PassthroughError, Problem

At = tuple[str | int, ...]
"""A place in the file: keys of mappings and indexes of lists, from the top."""

KEEP_FOR_LITELLM: Final = "Leave it if LiteLLM reads this file too, else remove it."
"""The hint on what means something to LiteLLM only."""

_KEY_SHOWN: Final = 60


class InvalidValue(PassthroughError):
    """A value that cannot be used here: `what` is wrong, and a `hint`. Neither repeats the value: it may be a secret."""

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint


class Places(Protocol):
    """A file that knows the line of each place."""

    @property
    def file(self) -> str:
        """The file's name in problems."""
        ...

    def place(self, at: At) -> tuple[int, At]:
        """Return the line of `at`, and the part of it that exists in the file."""
        ...


class Problems:
    """Collects every problem and warning, so that all are reported at once.

    A place is *excused* once its own problem is known (a variable that is not set): problems that follow from it are left out.
    """

    __slots__ = ("_excused", "_places", "problems", "warnings")

    def __init__(self, places: Places, problems: Iterable[Problem] = ()) -> None:
        self._places = places
        self._excused: set[At] = set()
        self.problems: list[Problem] = list(problems)
        self.warnings: list[Problem] = []

    def wrong(self, at: At, what: str, hint: str, *, named: str = "", despite: bool = False) -> None:
        """Note a problem at a place, unless the place or one above it is excused; `named` is the file that is named there.

        `despite`: it is wrong whatever the value there is, also where that is excused.
        """
        if despite or not any(at[:depth] in self._excused for depth in range(1, len(at) + 1)):
            problem = self._problem(at, what, hint)
            self.problems.append(replace(problem, key=f"{problem.key} {named}") if named else problem)

    def warn(self, at: At, what: str, hint: str) -> None:
        """Note something that works, but not as its writer may think; once, where several targets share its place."""
        problem = self._problem(at, what, hint)
        if problem not in self.warnings:
            self.warnings.append(problem)

    def wrong_elsewhere(self, source: str, key: str, what: str, hint: str) -> None:
        """Note a problem that is not in the file but in `source`: the environment (`.env` too), the command line."""
        self.problems.append(Problem(source, 0, key, what, hint))

    def warn_elsewhere(self, source: str, key: str, what: str, hint: str) -> None:
        """Note something outside the file that works, but not as its writer may think."""
        self.warnings.append(Problem(source, 0, key, what, hint))

    def excuse(self, at: At) -> None:
        """Note no further problem at or below this place."""
        self._excused.add(at)

    def excused(self, at: At) -> bool:
        """Tell whether the place itself is excused."""
        return at in self._excused

    def line(self, at: At) -> int:
        """Return the line of a place, counted from 1."""
        return self._places.place(at)[0]

    def _problem(self, at: At, what: str, hint: str) -> Problem:
        line, there = self._places.place(at)
        return Problem(self._places.file, line, shown(there), what, hint)


def shown(at: At) -> str:
    """Return a place as people write it: `pass_through_endpoints[2].headers.Authorization`."""
    text = ""
    for step in at:
        text += f"[{step}]" if isinstance(step, int) else f".{printable(step)}" if text else printable(step)
    return text


def printable(key: str, limit: int = _KEY_SHOWN) -> str:
    """Return a key of the file as one printable line of about `limit` characters at most."""
    short = key if len(key) <= limit else key[:limit] + "…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "replace").decode("ascii") for c in short)


def listed(names: Sequence[str], most: int) -> str:
    """Return names with commas between; of more than `most` how many there are beyond these."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def nearest(word: str, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """Return the known word that `word` was probably meant to be; `cutoff` is how near it must be at least."""
    close = get_close_matches(word[:_KEY_SHOWN].lower(), sorted(known), n=1, cutoff=cutoff)
    return close[0] if close else None


def did_you_mean(word: str, known: Iterable[str], otherwise: str) -> str:
    """Return the hint for an unknown word: the nearest known one, else the sentence `otherwise`."""
    near = nearest(word, known)
    return f"Did you mean '{printable(near)}'?" if near else otherwise

"""Claims the lines of batches and jobs: each is booked once within its account, however many exchanges bring it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import groupby
from operator import itemgetter
from typing import Final

import sqlalchemy as sa

from .bulk_insert import BulkInsert
from .schema import LINES

_LINES: Final = BulkInsert(LINES)
_ASKED: Final = 500  # an old SQLite takes no more than 999 parameters
_DIGITS: Final = 24

Key = tuple[str, str]
"""An account, and the key of a line in it."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One charge with a line: `key` is schema.line_of, `custom_id` the client's own name, None where it has none."""

    key: Key
    custom_id: str | None


def claim(connection: sa.Connection, claims: Sequence[Claim]) -> list[Key | None]:
    """Claim lines in their order, and return under which key each is new; None where it was booked before, or by an earlier one.

    (1) A line is booked under its key, with its `custom_id` beside it. (2) Where the key was booked with another `custom_id`, it
    names another line: that is booked under a key made of both. (3) Where one of the two has none (as all in rows of schema 3),
    they are the same line.

    Rows are written in the order of their keys, those of (1) before those of (2), and no key of one is a key of the other: two
    processes that bring the same lines never deadlock, and the second reads what the first has written.
    """
    first: dict[Key, str | None] = {}
    for each in claims:
        first.setdefault(each.key, each.custom_id)
    new = {(account, line) for account, line in _LINES.write(connection, [(*key, name) for key, name in first.items()])}
    asked = {each.key for each in claims if each.custom_id is not None and each.key not in new}
    names = {key: first[key] for key in new} | dict(_names(connection, asked))
    keys = [_key(each, names.get(each.key)) for each in claims]
    others = {key: each.custom_id for key, each in zip(keys, claims, strict=True) if key != each.key}
    new.update((account, line) for account, line in _LINES.write(connection, [(*key, name) for key, name in others.items()]))
    found: list[Key | None] = []
    for key in keys:
        found.append(key if key in new else None)
        new.discard(key)
    return found


def _key(claimed: Claim, booked_as: str | None) -> Key:
    """Return the key of a line, where its own is booked with a `custom_id`, None without one."""
    account, line = claimed.key
    name = claimed.custom_id
    if booked_as is None or name is None or name == booked_as:
        return claimed.key
    digest = sha256(f"{len(line)} {line}{name}".encode("utf-8", "backslashreplace")).hexdigest()
    return account, f"{line}~{digest[:_DIGITS]}"


def _names(connection: sa.Connection, keys: Iterable[Key]) -> Iterator[tuple[Key, str | None]]:
    """Yield the `custom_id` with which each of some keys is booked."""
    columns = LINES.c["account", "line", "custom_id"]
    for account, group in groupby(sorted(keys), itemgetter(0)):
        lines = [line for _, line in group]
        for at in range(0, len(lines), _ASKED):
            query = sa.select(*columns).where(LINES.c.account == account, LINES.c.line.in_(lines[at : at + _ASKED]))
            for found_account, line, name in connection.execute(query):
                yield (found_account, line), name

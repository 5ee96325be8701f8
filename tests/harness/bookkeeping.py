"""A bookkeeper with its ledger, its log and its journal, as tests read them."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path

from passthrough.accounting.access_log import AccessLog
from passthrough.accounting.bookkeeper import Bookkeeper, Observer
from passthrough.accounting.ledger.ledger import Ledger
from passthrough.accounting.pricing.prices import Price, Prices

Line = dict[str, object]


@dataclass
class Books:
    """A bookkeeper with all that belongs to it."""

    keeper: Bookkeeper
    ledger: Ledger
    stream: io.StringIO
    warned: list[str] = field(default_factory=list)

    def lines(self) -> dict[object, Line]:
        """Return the log's lines by the exchange's id."""
        found = [json.loads(line) for line in self.stream.getvalue().splitlines()]
        assert len({line["id"] for line in found}) == len(found)
        return {line["id"]: line for line in found}

    def sums(self) -> tuple[int, int, int]:
        """Return requests, pages and nano-dollars of the ledger."""
        (found,) = self.ledger.sums(())
        return (found[0].requests, found[0].pages, found[0].cost_nano) if found else (0, 0, 0)


def keeping(
    path: Path,
    ledger: Ledger | None,
    lines: AccessLog,
    warn: Callable[[str], None] = print,
    prices: Prices | None = None,
    *,
    observers: Sequence[Observer] = (),
    housekeeping: Callable[[], None] = lambda: None,
) -> Bookkeeper:
    """Return a bookkeeper whose journal lies in `path`."""
    journal = path / "books.journal"
    return Bookkeeper(
        prices=prices or Prices(),
        ledger=ledger,
        journal=journal,
        access_log=lines,
        warn=warn,
        observers=observers,
        housekeeping=housekeeping,
    )


@asynccontextmanager
async def books(
    path: Path, *overrides: Price, close_s: float = 30, url: str | None = None, observers: Sequence[Observer] = ()
) -> AsyncIterator[Books]:
    """Yield open books; they are closed, with all that was done written, when this returns."""
    with closing(Ledger.open(url or f"sqlite:///{path}/books.db")) as ledger:
        stream, warned = io.StringIO(), list[str]()
        keeper = keeping(path, ledger, AccessLog(stream), warned.append, Prices(overrides), observers=observers)
        await keeper.start()
        yield Books(keeper, ledger, stream, warned)
        await keeper.close(close_s)

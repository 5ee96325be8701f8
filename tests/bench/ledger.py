"""Measures a ledger of a million entries, on both databases. By hand: `python -m tests.bench.ledger [entries]`."""

from __future__ import annotations

import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from passthrough.accounting.entry import Charge, Entry
from passthrough.accounting.ledger.ledger import Ledger
from passthrough.exchange import new_id
from tests.harness.entries import booked
from tests.harness.postgres import Postgres, programs

BATCH = 500
DAYS = 60
NOW = datetime(2026, 11, 20, 15, 30, tzinfo=UTC)
CLIENTS = tuple(f"client-{number}" for number in range(20))
MODELS = ("mistral-ocr-2512", "mistral-ocr-2505", "azure/mistral-document-ai-2512", "mistral-small-2506")


def batches(entries: int) -> Iterator[list[Entry]]:
    """Yield as many entries, evenly over some days up to now, in the order of time."""
    chance = random.Random(20261120)
    plain = booked()
    step_s = DAYS * 86_400 / entries
    for first in range(0, entries, BATCH):
        found = []
        for number in range(first, min(first + BATCH, entries)):
            began_utc = NOW.timestamp() - (entries - number) * step_s
            model = chance.choice(MODELS)
            charge = Charge(
                model, chance.randrange(40), 0, 100_000, cost_nano=chance.randrange(80_000_000), cost_source="prices.yaml"
            )
            usage = replace(plain.usage, model=model)
            labels = {"client": chance.choice(CLIENTS), "label": f"user-{chance.randrange(100)}@example.org"}
            found.append(replace(plain, id=new_id(began_utc), began_utc=began_utc, usage=usage, charges=(charge,), **labels))
        yield found


def timed(what: str, act: Callable[[], object]) -> None:
    """Say how long something takes, the fastest of three."""
    spans = []
    for _ in range(3):
        began = time.perf_counter()
        act()
        spans.append(time.perf_counter() - began)
    sys.stdout.write(f"  {what:<44} {min(spans) * 1000:9.1f} ms\n")


def measure(url: str, entries: int, size: Callable[[], int]) -> None:
    """Fill a ledger and ask it what is asked of one."""
    spent_s = 0.0
    with closing(Ledger.open(url)) as ledger:
        for batch in batches(entries):
            began = time.perf_counter()
            ledger.append(batch)
            spent_s += time.perf_counter() - began
        sys.stdout.write(f"{ledger.dialect}: {entries:,} entries in {spent_s:.1f} s: {entries / spent_s:,.0f} a second\n")
        timed("append of 500 that are there already", lambda: ledger.append(batch))
        since = NOW - timedelta(days=30)
        timed("usage --since 30d --by client", lambda: ledger.sums(("sandbox",), ("client", "sandbox"), since=since))
        timed("usage --since 30d --by label,model", lambda: ledger.sums(("sandbox",), ("label", "model", "sandbox"), since=since))
        timed("usage --by month", lambda: ledger.sums(("sandbox",), ("month", "sandbox")))
        timed("usage --since 1h", lambda: ledger.sums(("sandbox",), ("client", "sandbox"), since=NOW - timedelta(hours=1)))
        timed("the latest 50", lambda: ledger.latest(50))
        timed("the latest 50 of one client", lambda: ledger.latest(50, client=CLIENTS[3]))
        timed("the latest 50 of a client that there is not", lambda: ledger.latest(50, client="nobody"))
        before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = time.perf_counter()
        rows = sum(1 for _ in ledger.exported())
        grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb
        sys.stdout.write(f"  export of {rows:,}: {time.perf_counter() - began:.1f} s, memory grown by {grown_kb / 1024:.0f} MB\n")
        timed("prune a step of 1000", lambda: ledger.prune(date(2026, 10, 1), 1000))
    sys.stdout.write(f"  size: {size() / 1e6:.0f} MB\n")


def main() -> None:
    """Measure SQLite, then PostgreSQL where there is one."""
    entries = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "books.db"
        measure(f"sqlite:///{path}", entries, lambda: path.stat().st_size)
    found = programs()
    if found is None:
        sys.stdout.write("There is no PostgreSQL here.\n")
        return
    server = Postgres(found, fsync="on", synchronous_commit="on")
    try:
        server.start()
        url = server.create("books")
        measure(url, entries, lambda: int(server.do("SELECT pg_database_size('books')")[0][0]))
    finally:
        server.end()


if __name__ == "__main__":
    main()

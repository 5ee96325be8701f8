"""Measures a ledger of a million entries, on both databases. By hand: `python -m tests.bench.ledger [entries] [--labels]`."""

from __future__ import annotations

import json
import random
import resource
import subprocess
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
from passthrough.accounting.ledger.queries import Selection
from passthrough.exchange import new_id
from tests.harness.entries import booked
from tests.harness.postgres import Postgres, programs

BATCH = 500
DAYS = 60
NOW = datetime(2026, 11, 20, 15, 30, tzinfo=UTC)
CLIENTS = tuple(f"client-{number}" for number in range(20))
MODELS = ("mistral-ocr-2512", "mistral-ocr-2505", "azure/mistral-document-ai-2512", "mistral-small-2506")
LABEL_DAYS = 30
TEAMS, USERS, PROJECTS = 20, 2000, 5
LABEL_REPORTS = ("label.team", "label.user", "label.project", "label.team,client", "label.user,model")


def batches(entries: int, days: int = DAYS, labels: bool = False) -> Iterator[list[Entry]]:
    """Yield as many entries, evenly over some days up to now, in the order of time; with `labels`, with three named ones."""
    chance = random.Random(20261120)
    plain = booked()
    step_s = days * 86_400 / entries
    for first in range(0, entries, BATCH):
        found = []
        for number in range(first, min(first + BATCH, entries)):
            began_utc = NOW.timestamp() - (entries - number) * step_s
            model = chance.choice(MODELS)
            charge = Charge(
                model,
                chance.randrange(40),
                0,
                100_000,
                cost_nano=chance.randrange(80_000_000),
                cost_source="prices.yaml",
                priced_as=model,
            )
            usage = replace(plain.usage, model=model)
            made = replace(plain, id=new_id(began_utc), began_utc=began_utc, usage=usage, charges=(charge,), priced_as=model)
            client = chance.choice(CLIENTS)
            if labels:
                found.append(replace(made, client=client, labels=_labels(chance)))
            else:
                found.append(replace(made, client=client, label=f"user-{chance.randrange(100)}@example.org"))
        yield found


def _labels(chance: random.Random) -> str:
    """Return labels of an exchange: any user may have any client, model and project, which makes the most rows of sums."""
    user = chance.randrange(USERS)
    named = {"project": f"p-{chance.randrange(PROJECTS)}", "team": f"team-{user % TEAMS}", "user": f"user-{user}@example.org"}
    return json.dumps(named)


def timed(what: str, act: Callable[[], object]) -> None:
    """Say how long something takes, the fastest of three."""
    spans = []
    for _ in range(3):
        began = time.perf_counter()
        act()
        spans.append(time.perf_counter() - began)
    sys.stdout.write(f"  {what:<44} {min(spans) * 1000:9.1f} ms\n")
    sys.stdout.flush()


def filled(ledger: Ledger, found: Iterator[list[Entry]]) -> list[Entry]:
    """Append entries, say how fast that was, and return the last batch."""
    spent_s, entries = 0.0, 0
    for batch in found:
        began = time.perf_counter()
        ledger.append(batch)
        spent_s += time.perf_counter() - began
        entries += len(batch)
    sys.stdout.write(f"{ledger.dialect}: {entries:,} entries in {spent_s:.1f} s: {entries / spent_s:,.0f} a second\n")
    return batch


def measure(url: str, entries: int, size: Callable[[], int]) -> None:
    """Fill a ledger and ask it what is asked of one."""
    with closing(Ledger.open(url)) as ledger:
        batch = filled(ledger, batches(entries))
        timed("append of 500 that are there already", lambda: ledger.append(batch))
        since = NOW - timedelta(days=30)
        timed("usage --since 30d --by client", lambda: ledger.sums(("sandbox",), ("client", "sandbox"), since=since))
        timed("usage --since 30d --by label,model", lambda: ledger.sums(("sandbox",), ("label", "model", "sandbox"), since=since))
        timed("usage --by month", lambda: ledger.sums(("sandbox",), ("month", "sandbox")))
        timed("usage --since 1h", lambda: ledger.sums(("sandbox",), ("client", "sandbox"), since=NOW - timedelta(hours=1)))
        timed("the latest 50", lambda: ledger.latest(50))
        timed("the latest 50 of one client", lambda: ledger.latest(50, client=CLIENTS[3]))
        timed("the latest 50 of a client that there is not", lambda: ledger.latest(50, client="nobody"))
        timed("how the newest 10,000 ended", lambda: ledger.latest_ends(10_000))
        timed("the latest 50 errors of 7 days", lambda: ledger.latest(50, which=Selection(NOW - timedelta(days=7), errors=True)))
        timed("the latest 50 unpriced, of which there are none", lambda: ledger.latest(50, which=Selection(unpriced=True)))
        before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = time.perf_counter()
        rows = sum(1 for _ in ledger.exported())
        grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb
        sys.stdout.write(f"  export of {rows:,}: {time.perf_counter() - began:.1f} s, memory grown by {grown_kb / 1024:.0f} MB\n")
        timed("prune a step of 1000", lambda: ledger.prune(date(2026, 10, 1), 1000))
    sys.stdout.write(f"  size: {size() / 1e6:.0f} MB\n")


def measure_labels(url: str, entries: int, size: Callable[[], int]) -> None:
    """Fill a ledger with labelled entries, and run the command on it as its user does: whole processes."""
    with closing(Ledger.open(url)) as ledger:
        filled(ledger, batches(entries, LABEL_DAYS, labels=True))

    def usage(by: str, *more: str) -> None:
        command = (sys.executable, "-m", "passthrough", "usage", "--ledger", url, "--by", by, "--format", "csv", *more)
        subprocess.run(command, check=True, capture_output=True)

    for by in LABEL_REPORTS:
        timed(f"passthrough usage --by {by}", lambda by=by: usage(by))  # type: ignore[misc]
    timed("passthrough usage --by client", lambda: usage("client"))
    since = (NOW - timedelta(days=7)).isoformat()
    timed("passthrough usage --by label.user, 7 days", lambda: usage("label.user", "--since", since))
    timed("passthrough usage --by label.team,label.project", lambda: usage("label.team,label.project"))
    sys.stdout.write(f"  size: {size() / 1e6:.0f} MB\n")


def main() -> None:
    """Measure SQLite, then PostgreSQL where there is one."""
    numbers = [int(argument) for argument in sys.argv[1:] if argument.isdecimal()]
    entries = numbers[0] if numbers else 1_000_000
    measured = measure_labels if "--labels" in sys.argv else measure
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "books.db"
        measured(f"sqlite:///{path}", entries, lambda: path.stat().st_size)
    found = programs()
    if found is None:
        sys.stdout.write("There is no PostgreSQL here.\n")
        return
    server = Postgres(found, fsync="on", synchronous_commit="on")
    try:
        server.start()
        url = server.create("books")
        measured(url, entries, lambda: int(server.do("SELECT pg_database_size('books')")[0][0]))
    finally:
        server.end()


if __name__ == "__main__":
    main()

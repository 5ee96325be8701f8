"""Minutes of everything at once: faults, disconnects, reloads; then client, target and ledger are compared.

By hand: `python -m tests.soak --seconds 240 --rate 300`. Ends with 1 where anything disagrees, grows, or is held up.
What a process keeps of its own accord is filled once: it has grown only where it grew in each of three parts of the load.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import uvloop

from tests.harness.process import Program, program
from tests.harness.upstream import upstream

from .account import compared
from .faulty import Faulty
from .fickle import KEYS, Crowd
from .stalls import bare_server, watched

AT_ONCE = 400
"""How many clients may be connected at the same time; beyond it the crowd waits, and the rate falls."""

CONFIG = """\
label_headers: [x-soak-id]
client_keys:
  - {{name: all, key: {all}}}
  - {{name: few, key: {few}, max_parallel: 4}}
prices: [{{model: mistral-ocr-2512, usd_per_1000_pages: 1}}]
pass_through_endpoints:
  - {{path: /bare, target: "http://127.0.0.1:{bare}", auth: false}}
  - path: /up
    target: http://127.0.0.1:{port}
    include_subpath: true
    forward_headers: true
    timeouts: {{header: 1500ms, idle: 1s, total: 8s}}
  - path: /again
    target: http://127.0.0.1:{port}
    include_subpath: true
    forward_headers: true
    timeouts: {{header: 1500ms, idle: 1s, total: 8s}}
    retries: {{attempts: 1, statuses: [429, 503], max_wait: 1s}}
"""

GOOD = ("", "  - {path: /more, target: http://127.0.0.1:9}\n", "  - {path: /other, target: http://127.0.0.1:9, max_body: 1MB}\n")
BROKEN = (
    "  - {path: /up, target: http://127.0.0.1:9}\n",
    "  - {pat",
    "  - {path: /x, target: os.environ/NOT_SET}\n",
    "nonsense: 1\n",
)
"""What is put behind the configuration: other routes, and what makes it wrong."""

DEFECTS = ("Traceback", "Please report", "failed inside", "never retrieved")
"""What stderr must not say: none of it is anybody's fault but the program's."""

CENSUS = """\
import asyncio, collections, gc, json, os, signal

def census(*_):
    gc.collect()
    kinds = (type(each) for each in gc.get_objects())
    counted = collections.Counter(kind.__name__ for kind in kinds if str(kind.__module__).startswith("passthrough."))
    counted["Task"] = len(asyncio.all_tasks())
    with open("census.part", "w") as file:
        json.dump(counted, file)
    os.replace("census.part", "census.json")

signal.signal(signal.SIGUSR2, census)
"""
"""What is run inside the program at its start: no port of it tells how many tasks and values it has."""

MOST_THREADS = 14
"""The program's pools start their threads when they need them: two that decode, six for what blocks, and five of their own."""

PARTS = 3
"""In how many parts the load comes: what grows in each of them has no bound."""

SHOWN = ("Task", "_Protocol", "Connection", "Exchange", "RequestContext", "Call", "RequestBody", "Meter")
"""The values of the program that are worth a word."""


@dataclass(slots=True)
class Figures:
    """What the process holds at one moment."""

    rss: int
    descriptors: int
    connections: int
    threads: int
    objects: dict[str, int]

    def __str__(self) -> str:
        objects = ", ".join(f"{name} {self.objects.get(name, 0)}" for name in SHOWN)
        return (
            f"{self.rss / 1e6:.1f} MB resident, {self.descriptors} descriptors, {self.connections} connections, "
            f"{self.threads} threads; {objects}"
        )


async def figures(running: Program) -> Figures:
    """Return what the process holds now."""
    place = running.folder / "census.json"
    place.unlink(missing_ok=True)
    running.signal(signal.SIGUSR2)
    async with asyncio.timeout(20):
        while not place.exists():  # noqa: ASYNC110 - another process makes it
            await asyncio.sleep(0.02)
    process = psutil.Process(running.process.pid)
    connections = [each for each in process.net_connections() if each.status != psutil.CONN_LISTEN]
    return Figures(
        process.memory_info().rss,
        process.num_fds(),
        len(connections),
        process.num_threads(),
        json.loads(place.read_text()),
    )


async def at_rest(running: Program) -> Figures:
    """Wait until no connection is left (kept ones are let go after 15 s), for 40 s at most; return the least counts then."""
    deadline = time.monotonic() + 40
    while time.monotonic() < deadline:
        found = await figures(running)
        if not found.connections + found.objects.get("Connection", 0):
            break
        await asyncio.sleep(0.5)
    found = await figures(running)
    for _ in range(5):  # It looks at its files every second, in a task.
        await asyncio.sleep(0.15)
        found.objects = {name: min(count, found.objects.get(name, 0)) for name, count in (await figures(running)).objects.items()}
    return found


@dataclass(slots=True)
class Load:
    """The crowd at work, and the reloads meanwhile."""

    running: Program
    crowd: Crowd
    config: str
    reloads: Counter[str] = field(default_factory=Counter)
    troubles: set[str] = field(default_factory=set)
    most_open: int = 0

    async def run(self, seconds: float, rate: float) -> float:
        """Make requests for a time, then wait until all have ended; return how many there were in a second."""
        tasks: set[asyncio.Task[None]] = set()
        began, before = time.monotonic(), self.crowd.made
        reloading = asyncio.create_task(self._reload())
        while (spent := time.monotonic() - began) < seconds:
            due = before + int(spent * rate)
            while self.crowd.made < due and len(tasks) < AT_ONCE:
                _, task = self.crowd.session()
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            self.most_open = max(self.most_open, len(tasks))
            await asyncio.sleep(0.005)
        made = self.crowd.made - before
        reloading.cancel()
        await asyncio.gather(reloading, return_exceptions=True)
        await asyncio.gather(*tasks)
        await self._write(self.config, "mended")
        return made / seconds

    async def _write(self, text: str, kind: str) -> None:
        place = self.running.folder / "routes.yaml"
        if self.crowd.chance.random() < 0.5:
            place.write_text(text)
        else:
            place.with_suffix(".new").write_text(text)
            place.with_suffix(".new").replace(place)
        if self.crowd.chance.random() < 0.7:
            self.running.signal(signal.SIGHUP)
        self.reloads[kind] += 1

    async def _reload(self) -> None:
        """Rewrite the file every few seconds, right and wrong, at once and in place, with a signal and without."""
        chance = self.crowd.chance
        while True:
            await asyncio.sleep(1 + 3 * chance.random())
            if chance.random() < 0.4:
                await self._write(self.config + chance.choice(BROKEN), "broken")
                await asyncio.sleep(2)
                self.troubles |= set(await degraded(self.running))
            await self._write(self.config + chance.choice(GOOD), "good")


async def degraded(running: Program) -> dict[str, str]:
    """Return what /readyz says is degraded; it is 200 all the same."""
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{running.admin_port}/readyz") as answer:
        assert answer.status == 200
        return dict((await answer.json())["degraded"])


def rows_of(place: Path) -> list[dict[str, Any]]:
    """Return the ledger's exchanges with their charges."""
    with closing(sqlite3.connect(place)) as ledger:
        ledger.row_factory = sqlite3.Row
        assert [("ok",)] == [tuple(row) for row in ledger.execute("PRAGMA integrity_check")]
        query = "SELECT e.*, c.pages, c.cost_nano FROM exchanges e LEFT JOIN charges c ON c.exchange_id = e.id"
        return [dict(row) for row in ledger.execute(query)]


def grown(before: Figures, after: Figures, *, least: int = 8_000_000) -> list[str]:
    """Return what has grown between two moments at rest, in words; memory where it is a tenth and `least` bytes more."""
    counts = {name: (count, after.objects.get(name, 0)) for name, count in before.objects.items()}
    counts |= {name: (0, count) for name, count in after.objects.items() if name not in before.objects}
    counts |= {"descriptors": (before.descriptors, after.descriptors), "connections": (before.connections, after.connections)}
    counts |= {"threads": (max(before.threads, MOST_THREADS), after.threads)}
    found = [f"{name} {old} → {new}" for name, (old, new) in counts.items() if new > old]
    return found + ([f"memory {before.rss} → {after.rss}"] if after.rss > before.rss * (1.1 if least else 1) + least else [])


def leaked(moments: list[Figures]) -> list[str]:
    """Return what has grown over the whole and in each part of it, in words: a cache that fills once is none of it."""
    found = grown(moments[0], moments[-1])
    parts = [{each.partition(" ")[0] for each in grown(one, other, least=0)} for one, other in pairwise(moments)]
    return [each for each in found if all(each.partition(" ")[0] in part for part in parts)]


def say(text: str) -> None:
    """Say it now."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


@asynccontextmanager
async def at_work(folder: Path, seed: int) -> Any:
    """Run the target and the program with the census in it; yield both and the crowd's load."""
    (folder / "sitecustomize.py").write_text(CENSUS)
    faulty = Faulty(seed)
    async with upstream(faulty, backlog=1024) as raw, bare_server() as bare:
        config = CONFIG.format(port=raw.port, bare=bare, **KEYS)
        path = f"{folder}:{Path(__file__).parents[2]}"
        async with program(folder, config, env={"PYTHONPATH": path}) as running:
            yield faulty, Load(running, Crowd(running.port, random.Random(seed)), config), bare


async def soak(seconds: float, rate: float, seed: int, folder: Path) -> int:
    """Run it, say the figures and the findings, and return the exit code."""
    async with at_work(folder, seed) as (faulty, load, bare):
        running = load.running
        say(f"Seed {seed}, {folder}. At rest before: {await at_rest(running)}")
        warm_s = min(30.0, seconds / 4)
        say(f"Warm-up: {await load.run(warm_s, rate):.0f} requests a second")
        moments = [await at_rest(running)]
        say(f"At rest after the warm-up: {moments[0]}")
        findings: list[str] = []
        for part in range(1, PARTS + 1):
            async with watched(bare, running.port, "/bare") as pinged:
                made = await load.run((seconds - warm_s) / PARTS, rate)
            say(f"Load, part {part}: {made:.0f} requests a second, at most {load.most_open} clients at once. {pinged.figures}")
            findings += pinged.findings
            moments.append(await at_rest(running))
            say(f"At rest after part {part}: {moments[-1]}")
        findings += [f"has grown: {each}" for each in leaked(moments)]
        trouble = await degraded(running)
        findings += [f"still degraded: {trouble}"] if trouble else []
        code = await running.stop()
        findings += [f"exit code {code}"] if code else []
        rows = [row for row in rows_of(folder / "passthrough.db") if row["route"] != "/bare"]
        log = [line for line in running.log if line["route"] != "/bare"]
        said = "".join(running.said)
    findings += [f"on stderr: …{said[max(0, at - 500) : at + 4000]}" for at in map(said.find, DEFECTS) if at >= 0]
    found, totals = compared(load.crowd.seen, faulty.told, rows, log)
    reloads = f"{said.count('Reloaded')} done, {said.count('not reloaded')} refused"
    say(f"Rewritten: {dict(load.reloads)}; {reloads}; troubles seen: {sorted(load.troubles)}")
    for name, value in totals.items():
        say(f"{name}: {value}")
    findings += found
    for finding in findings[:60]:
        say(f"DISAGREES  {finding}")
    say(f"{len(findings)} disagreements")
    return 1 if findings else 0


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=240)
    parser.add_argument("--rate", type=float, default=300)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    asked = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        return runner.run(soak(asked.seconds, asked.rate, asked.seed, Path(folder)))


if __name__ == "__main__":
    sys.exit(main())

"""Cost as it grows: with connections, with bodies, with uploads at once, with routes and keys."""

from __future__ import annotations

import os
import sys
import timeit
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

from passthrough.config.environment import environment
from passthrough.config.load import load
from passthrough.proxy.auth import Authenticator
from passthrough.proxy.routes import RouteTable

from .bodies import KB, MB, TOKEN
from .peers import Peer, Place, passthrough
from .plot import Curve
from .rig import BenchError, Rig, Running
from .tables import number, table
from .workloads import W1, Workload

CONNECTIONS = (1, 2, 4, 8, 16, 32, 64, 128, 250, 500)
SIZES = (KB, 4 * KB, 16 * KB, 64 * KB, 256 * KB, MB, 4 * MB, 16 * MB, 64 * MB)
UPLOADS = (1, 10, 50, 100, 200, 350, 500)
ENTRIES = (1, 10, 100, 1000, 10_000)
LOOKUPS = 1000

Row = dict[str, Any]
Say = Callable[[str], None]


@asynccontextmanager
async def _up(rig: Rig, peer: Peer) -> AsyncIterator[Running]:
    running = await rig.start(peer)
    try:
        yield running
    finally:
        await running.stop()


async def connections(rig: Rig, peers: Iterable[Peer], seconds: float, at: Iterable[int] = CONNECTIONS) -> list[Row]:
    """Return requests per second and tail by the number of connections."""
    rows = []
    for peer in peers:
        async with _up(rig, peer) as running:
            for count in at:
                seen = await rig.measure(running, Workload(f"c{count}", "W1", W1, connections=count), seconds)
                per_core_s = seen["requests"] / seen["cpu_s"] if seen["cpu_s"] else 0.0
                row = {
                    "per_s": seen["requests"] / seen["seconds"],
                    "per_core_s": per_core_s,
                    "p99_us": seen["latencies_us"]["p99"],
                }
                rows.append({"target": peer.name, "connections": count, **row, "rss_mb": seen["rss_peak_mb"]})
    return rows


async def bodies(rig: Rig, peers: Iterable[Peer], seconds: float, at: Iterable[int] = SIZES) -> list[Row]:
    """Return CPU and memory by the size of answers and of uploads, over 8 connections; each size by a new process."""
    rows = []
    for peer in peers:
        for size in at:
            ways = {
                "answer": Workload("answer", "W3", f"/plain/length/{size}/ocr", KB, 8),
                "upload": Workload("upload", "W2", "/plain/length/2000/ocr", size, 8),
            }
            for way, workload in ways.items():
                async with _up(rig, peer) as running:
                    seen = await rig.measure(running, workload, seconds)
                gb = seen["requests"] * size / 1e9
                rows.append(
                    {
                        "target": peer.name,
                        "way": way,
                        "bytes": size,
                        "cpu_s_per_gb": seen["cpu_s"] / gb,
                        "rss_mb": seen["rss_peak_mb"],
                    }
                )
    return rows


async def uploads(rig: Rig, peers: Iterable[Peer], at: Iterable[int] = UPLOADS) -> list[Row]:
    """Return the peak of memory by the number of uploads of 4 MB at once, each by a new process."""
    rows = []
    for peer in peers:
        for count in at:
            async with _up(rig, peer) as running:
                workload = Workload("uploads", "W4", "/plain/length/2000/ocr", 4 * MB, count, once=True)
                seen = await rig.measure(running, workload, 0.0)
                rows.append({"target": peer.name, "uploads": count, "rss_mb": seen["rss_peak_mb"]})
    return rows


def _many(place: Place, count: int) -> str:
    keys = "\n".join(f"  - {{name: client-{each}, key: sk-bench-client-{each:012}}}" for each in range(count - 1))
    routes = "\n".join(
        f"  - {{path: /r{each}/v1, target: '{place.upstream('plain')}', include_subpath: true}}" for each in range(count)
    )
    return f"{routes}\nclient_keys:\n  - {{name: bench, key: {TOKEN}}}\n{keys}\n"


def lookup_us(place: Place, count: int) -> tuple[float, float]:
    """Return how long it takes to match the last route of a table, and to look up the last key, in µs."""
    file = str(place.folder / "routes.yaml")
    config = load(file, environment(file, os.environ, place.folder), cwd=place.folder)
    table_, gate = RouteTable(config.routes), Authenticator(config.clients, key_header=config.key_header)
    path = f"/r{count - 1}/v1/ocr".encode()
    fields = ((b"authorization", b"Authorization", f"Bearer {_last_key(count)}".encode()),)
    route = table_.match("POST", path).route
    found: list[float] = []
    for act in (lambda: table_.match("POST", path), lambda: gate.admit(route, fields)):
        found.append(min(timeit.repeat(act, number=LOOKUPS, repeat=5)) / LOOKUPS * 1e6)
    return found[0], found[1]


def _last_key(count: int) -> str:
    return TOKEN if count == 1 else f"sk-bench-client-{count - 2:012}"


async def entries(rig: Rig, peer: Peer, at: Iterable[int] = ENTRIES) -> list[Row]:
    """Return start, memory and look-ups by the number of routes and of keys."""
    rows = []
    for count in at:
        place = rig.place(f"{count}-routes")
        launch = passthrough(place)
        file = place.folder / "routes.yaml"
        head, _, routes = file.read_text().partition("pass_through_endpoints:\n")
        file.write_text("ledger: sqlite:///bench.db\npass_through_endpoints:\n" + routes + _many(place, count))
        assert head
        running = await rig.start(peer, launch, place)
        try:
            seen = await rig.measure(running, Workload("W6", "W6", W1, kind="start"), 0.0)
        finally:
            await running.stop()
        match_us, admit_us = lookup_us(place, count)
        rows.append(
            {
                "entries": count,
                "start_s": seen["start_s"],
                "start_cpu_s": seen["start_cpu_s"],
                "idle_rss_mb": seen["idle_rss_mb"],
                "match_us": match_us,
                "admit_us": admit_us,
            }
        )
    return rows


async def grown(rig: Rig, peers: dict[str, Peer], seconds: float, say: Say) -> dict[str, list[Row]]:
    """Measure all curves, for this proxy and, where it is there, for nginx; what fails is said and left out."""
    ours, both = peers["passthrough"], [peers[name] for name in ("passthrough", "nginx") if name in peers]
    parts: dict[str, Callable[[], Any]] = {
        "connections": lambda: connections(rig, both, seconds),
        "bodies": lambda: bodies(rig, both, seconds),
        "uploads": lambda: uploads(rig, both),
        "entries": lambda: entries(rig, ours),
    }
    found = {}
    for name, measured in parts.items():
        say(f"curve: {name}")
        try:
            found[name] = await measured()
        except BenchError as error:
            sys.stderr.write(f"{name}: {error}\n")
    return found


_TITLES = {
    "connections": "By connections, 1 KB requests and 2 KB answers",
    "bodies": "By size of the body, 8 connections, a new process for each",
    "uploads": "By uploads of 4 MB at once, a new process for each",
    "entries": "By routes and client keys, as many of each; the last is looked up",
}


def report(found: dict[str, list[Row]]) -> str:
    """Return the curves as tables of Markdown."""
    parts = ["## Cost as it grows\n"]
    for name, rows in found.items():
        cells = ([number(cell) if isinstance(cell, float) else str(cell) for cell in row.values()] for row in rows)
        parts += [f"### {_TITLES[name]}\n", table(rows[0], cells)]
    return "\n".join(parts)


def drawn(found: dict[str, list[Row]]) -> list[Curve]:
    """Return the curves for the plot."""
    wanted = (
        ("connections", "connections", "per_s", "Requests/s", ("target",)),
        ("connections", "connections", "p99_us", "p99 µs", ("target",)),
        ("bodies", "bytes", "cpu_s_per_gb", "CPU s/GB, from 256 KB", ("target", "way")),
        ("bodies", "bytes", "rss_mb", "Peak RSS MB", ("target", "way")),
        ("uploads", "uploads", "rss_mb", "Peak RSS MB", ("target",)),
        ("entries", "entries", "start_s", "Start s", ()),
        ("entries", "entries", "match_us", "Match µs", ()),
        ("entries", "entries", "admit_us", "Look-up of a key µs", ()),
    )
    made = []
    for name, x, y, title, keys in wanted:
        lines: dict[str, list[tuple[float, float]]] = {}
        for row in found.get(name, ()):
            if y != "cpu_s_per_gb" or row[x] >= 256 * KB:
                lines.setdefault(" ".join(row[key] for key in keys) or "passthrough", []).append((row[x], row[y]))
        if any(len({at for at, _ in line}) > 1 for line in lines.values()):
            made.append(Curve(title, x, lines))
    return made

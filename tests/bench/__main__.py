"""Measures this proxy beside its peers, interleaved. By hand: `python -m tests.bench`; `--help` names the options."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import uvloop

from . import curves, plot, tables
from .figures import Figures, Sample
from .goals import GOALS
from .peers import Launch, Peer, peers
from .processes import Cores
from .rig import BenchError, Rig, Running, rig
from .workloads import WORKLOADS, Workload, measured_by

SLOW = ("litellm",)
"""What needs ten times as long as all others together is measured in the first round only."""

METERS = 5
"""How many processes measure the meter alone."""


def say(text: str) -> None:
    """Tell on stderr how far it is."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stderr.flush()


async def _one(rig_: Rig, peer: Peer, running: Running | None, workload: Workload, seconds: float) -> Sample:
    """Measure once; what a target fails at is its result."""
    try:
        if not workload.fresh or peer.launch is None:
            assert running is not None
            return await rig_.measure(running, workload, seconds)
        fresh = await rig_.start(peer)
        try:
            return await rig_.measure(fresh, workload, seconds)
        finally:
            await fresh.stop()
    except BenchError as error:
        say(f"failed: {peer.name}, {workload.name}: {error}")
        return {"error": str(error)}


async def measured(rig_: Rig, targets: list[Peer], workloads: Iterable[Workload], args: argparse.Namespace) -> list[Sample]:
    """Measure each workload on each target in turn, round by round, so that what disturbs one disturbs all."""
    samples = []
    async with AsyncExitStack() as running:
        up = {}
        for peer in targets:
            up[peer.name] = await rig_.start(peer)
            running.push_async_callback(up[peer.name].stop)
        for number in range(args.rounds):
            for workload in workloads:
                say(f"round {number + 1} of {args.rounds}: {workload.name}")
                turn = number % len(targets)  # Nobody always comes first.
                for peer in (*targets[turn:], *targets[:turn]):
                    if measured_by(workload, peer.name) and not (number and peer.name in SLOW):
                        sample = await _one(rig_, peer, up[peer.name], workload, args.seconds)
                        samples.append({"round": number, "workload": workload.name, "target": peer.name, **sample})
    return samples


async def _meter_alone(rig_: Rig) -> dict[str, float]:
    """Return the median of some processes: by how its memory happens to lie, one in three takes a fifth longer."""
    launch = Launch((sys.executable, "-m", "tests.bench.meter"), {"PYTHONPATH": str(Path(__file__).parents[2])})
    said = []
    for _ in range(METERS):
        process = await rig_.spawn(launch, rig_.folder, rig_.cores.target, talking=True)
        out, _ = await process.communicate()
        if process.returncode:
            say("failed: the meter alone")
            return {}
        said.append(float(out))
    return {"meter_us_per_mb": median(said)}


def _chosen(args: argparse.Namespace) -> tuple[list[Peer], dict[str, str]]:
    """Return the targets, and why others are left out. Exits where a name is not known."""
    known = peers(args.litellm, args.before)
    names = args.targets.split(",") if args.targets else [peer.name for peer in known]
    if unknown := set(names) - {peer.name for peer in known}:
        sys.exit(f"There is no target {', '.join(sorted(unknown))}.\nThere are: {', '.join(peer.name for peer in known)}.")
    missing = {peer.name: peer.missing() for peer in known if peer.name in names}
    return [peer for peer in known if peer.name in names and not missing[peer.name]], {k: v for k, v in missing.items() if v}


def _workloads(only: str | None) -> list[Workload]:
    """Return the workloads whose name or group is named; all by default."""
    wanted = {name.strip().lower() for name in only.split(",")} if only else set()
    if unknown := wanted - {each.lower() for workload in WORKLOADS for each in (workload.group, workload.name)}:
        sys.exit(f"There is no workload {', '.join(sorted(unknown))}.\nThere are: {', '.join(one.name for one in WORKLOADS)}.")
    return [one for one in WORKLOADS if not wanted or wanted & {one.group.lower(), one.name.lower()}]


def machine(cores: Cores) -> dict[str, Any]:
    """Return where it was measured."""
    return {
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "target_on": sorted(cores.target),
        "two_workers_on": sorted(cores.of(2)),
        "upstream_and_load_on": sorted(cores.rest),
        "load_average_before": os.getloadavg()[0],
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _settings(args: argparse.Namespace, where: dict[str, Any]) -> str:
    placed = (
        f"targets on core {where['target_on']} (two workers: {where['two_workers_on']}), "
        f"upstream and load on {where['upstream_and_load_on']}"
    )
    in_turn = f"{args.rounds} rounds, interleaved, of {', '.join(SLOW)} the first only; for each figure"
    rounds = "For each figure" if args.curves else in_turn
    lines = (
        f"{where['when']}, {where['system']}, {where['cores']} cores, {placed if where['target_on'] else 'unpinned'};",
        f"load average before: {where['load_average_before']:.1f}. {rounds} {args.seconds:g} s.",
        "Medians of the rounds, ratios within a round. CPU is user and system time of all of a target's processes.",
    )
    return "\n".join(lines)


async def run(args: argparse.Namespace) -> None:
    """Measure what is asked for, and write the report, the figures and the plots."""
    workloads, cores = _workloads(args.only), Cores.found()
    where = machine(cores)
    targets, skipped = _chosen(args)
    for name, why in skipped.items():
        say(f"left out: {name}: {why}")
    with tempfile.TemporaryDirectory() as folder:
        async with rig(Path(folder), cores) as rig_:
            versions = {peer.name: peer.version() for peer in targets}
            if args.curves:
                found = await curves.grown(rig_, {peer.name: peer for peer in targets}, args.seconds, say)
                text = f"# Benchmark\n\n{_settings(args, where)}\n\n{curves.report(found)}"
                result: dict[str, Any] = {"curves": found}
                drawing = plot.curves(curves.drawn(found))
            else:
                samples = await measured(rig_, targets, workloads, args)
                figures = Figures(tuple(samples), await _meter_alone(rig_))
                text = tables.report(figures, versions, skipped, _settings(args, where))
                goals = [
                    {"goal": goal.text, "measured": (at := goal.figure(figures)), "verdict": goal.verdict(at)} for goal in GOALS
                ]
                result = {"goals": goals, "beside": figures.beside, "samples": samples}
                drawing = plot.bars(figures)
    whole = {"machine": where, "versions": versions, "skipped": skipped, **result}
    _write(Path(args.out), "curves" if args.curves else "bench", text, drawing, json.dumps(whole, indent=1))


def _write(folder: Path, name: str, text: str, drawing: str, figures: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for kind, content in (("json", figures + "\n"), ("md", text), ("svg", drawing)):
        (folder / f"{name}.{kind}").write_text(content)
    sys.stdout.write(text)
    say(f"written: {name}.md, {name}.json and {name}.svg in {folder.resolve()}")


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--only", help="workloads, by name or group: W1,W3 or 'W1 c64'; all by default")
    parser.add_argument("--targets", help=f"of {', '.join(peer.name for peer in peers(None))}; all that are installed by default")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each figure (default 2)")
    parser.add_argument("--rounds", type=int, default=5, help="(default 5)")
    parser.add_argument("--quick", action="store_true", help="one round of half a second: to see that it works")
    parser.add_argument("--curves", action="store_true", help="how cost grows with connections, bodies, uploads, routes and keys")
    parser.add_argument("--litellm", help="LiteLLM's program, where it is not on the PATH: it has an environment of its own")
    parser.add_argument("--before", type=Path, help="another checkout of this project, to be compared with within each round")
    parser.add_argument("--out", default="bench-results", help="the folder for report, figures and plots (default bench-results)")
    args = parser.parse_args(argv)
    if args.before is not None and not (args.before / "passthrough" / "__main__.py").is_file():
        parser.error(f"--before {args.before}: this is no checkout of the project.")
    if args.quick:
        args.rounds, args.seconds = 1, 0.5
    return args


if __name__ == "__main__":
    uvloop.run(run(arguments()))

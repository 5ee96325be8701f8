"""The benchmark runs, and its report has what it must; figures are not asserted here."""

from __future__ import annotations

import asyncio
import json
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from tests.bench import curves, plot
from tests.bench.bodies import answer_body, framed_answer, request_body
from tests.bench.figures import Figures
from tests.bench.goals import GOALS
from tests.bench.peers import peers
from tests.bench.processes import Cores
from tests.bench.rig import rig

ROOT = Path(__file__).parents[2]
W1 = ("W1 c1", "W1 c64")
W3 = tuple(f"W3{how} c{count}" for how in ("", " chunked", " gzip", " TLS") for count in (1, 8))


async def bench(*arguments: str) -> tuple[int | None, str, str]:
    """Run the benchmark as its user does; return its exit code, and what it says on stdout and on stderr."""
    argv = (sys.executable, "-m", "tests.bench", *arguments)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*argv, cwd=ROOT, stdout=pipe, stderr=pipe)
    try:
        async with asyncio.timeout(180):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode, out.decode(), err.decode()


def table(report: str, title: str) -> list[list[str]]:
    """Return the cells of the first table behind a title."""
    lines = report[report.index(title) :].splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("| "))
    rows = []
    for line in lines[first:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return [rows[0], *rows[2:]]


@pytest.mark.process
async def test_a_quick_run_reports_each_workload_on_each_target(tmp_path: Path) -> None:
    """Table, JSON and plot have all that was measured, and nothing failed on the way."""
    targets = ("direct", "passthrough")
    short = ("--rounds", "1", "--seconds", "0.2")  # `--quick` is tried below
    code, report, said = await bench(*short, "--only", "W1,W3", "--targets", ",".join(targets), "--out", str(tmp_path))
    assert 0 == code, said
    assert report == (tmp_path / "bench.md").read_text()
    assert "What failed" not in report
    assert [goal.text for goal in GOALS] == [row[0] for row in table(report, "## Where to be")[1:]]
    rows = [tuple(row[:2]) for title in ("### W1", "### W3") for row in table(report, title)[1:]]
    assert [(name, target) for name in (*W1, *W3) for target in targets] == rows
    whole: dict[str, Any] = json.loads((tmp_path / "bench.json").read_text())
    assert ["machine", "versions", "skipped", "goals", "beside", "samples"] == list(whole)
    assert ["meter_us_per_mb"] == list(whole["beside"])
    assert set(targets) == set(whole["versions"])
    assert {(name, target) for name in (*W1, *W3) for target in targets} == {
        (one["workload"], one["target"]) for one in whole["samples"]
    }
    for one in whole["samples"]:
        assert one["requests"] >= 1
        assert {"p50", "p90", "p99"} == set(one["latencies_us"])
        assert (one["target"] == "passthrough") == ("cpu_s" in one)
    assert "{http://www.w3.org/2000/svg}svg" == ET.fromstring((tmp_path / "bench.svg").read_text()).tag


@pytest.mark.process
async def test_another_checkout_is_measured_within_each_round(tmp_path: Path) -> None:
    """What has become dearer shows as a ratio; here it is the same checkout."""
    targets = ("--targets", "direct,passthrough,before", "--before", str(ROOT))
    code, report, said = await bench("--quick", "--only", "W1", *targets, "--out", str(tmp_path))
    assert 0 == code, said
    rows = table(report, "### To the other checkout")
    assert ["", "figure", "before", "passthrough", "median of the ratios"] == rows[0]
    assert [(name, figure) for name in W1 for figure in ("CPU ms per request", "p50 µs", "p99 µs")] == [
        tuple(row[:2]) for row in rows[1:]
    ]
    assert all(float(row[4]) > 0 for row in rows[1:])


@pytest.mark.process
async def test_what_is_no_checkout_is_said(tmp_path: Path) -> None:
    """Nothing is measured then."""
    code, _, said = await bench("--before", str(tmp_path), "--out", str(tmp_path))
    assert (2, True) == (code, said.endswith(f"--before {tmp_path}: this is no checkout of the project.\n"))


@pytest.mark.process
@pytest.mark.parametrize(("option", "name", "kind"), [("--targets", "apache", "target"), ("--only", "w9", "workload")])
async def test_a_name_that_is_not_known_is_said(option: str, name: str, kind: str, tmp_path: Path) -> None:
    """The names that there are stand beside it."""
    code, _, said = await bench(option, name, "--out", str(tmp_path))
    assert (1, f"There is no {kind} {name}.") == (code, said.splitlines()[0])
    assert said.splitlines()[1].startswith("There are: ")


@pytest.mark.process
async def test_curves_are_measured_and_drawn(tmp_path: Path) -> None:
    """Each point is there, as a row and in a plot."""
    async with rig(tmp_path, Cores.found()) as built:
        ours = next(peer for peer in peers(None) if peer.name == "passthrough")
        found = {
            "connections": await curves.connections(built, [ours], 0.1, (1, 3)),
            "bodies": await curves.bodies(built, [ours], 0.1, (300_000, 600_000)),
            "uploads": await curves.uploads(built, [ours], (1, 2)),
            "entries": await curves.entries(built, ours, (1, 12)),
        }
    assert [1, 3] == [row["connections"] for row in found["connections"]]
    assert [300_000, 300_000, 600_000, 600_000] == [row["bytes"] for row in found["bodies"]]
    assert [1, 2] == [row["uploads"] for row in found["uploads"]]
    assert [1, 12] == [row["entries"] for row in found["entries"]]
    drawn = curves.drawn(found)
    assert 8 == len(drawn)
    assert 10 == len(ET.fromstring(plot.curves(drawn)).findall(".//{*}polyline"))
    assert all(f"| {row['entries']} |" in curves.report(found) for row in found["entries"])


@pytest.mark.parametrize("size", [1000, 2000, 1_000_000])
def test_bodies_have_the_size_that_is_said(size: int) -> None:
    """A GB is counted by it; both are what an OCR API is sent and answers."""
    assert size == len(request_body(size))
    assert ["model", "document", "include_image_base64"] == list(json.loads(request_body(size)))
    assert size == len(answer_body(size))
    assert max(1, size // 200_000) == json.loads(answer_body(size))["usage_info"]["pages_processed"]
    assert framed_answer(size, "length").endswith(answer_body(size))
    assert framed_answer(size, "chunked").endswith(b"\r\n0\r\n\r\n")


def test_ratios_are_of_one_round_and_medians_of_all() -> None:
    """What disturbs a round disturbs both sides of its ratio."""

    def sample(number: int, target: str, cpu_s: float) -> dict[str, Any]:
        return {"round": number, "workload": "W1 c64", "target": target, "requests": 100, "seconds": 1.0, "cpu_s": cpu_s}

    seen = ((0, "passthrough", 1.0), (0, "nginx", 0.5), (1, "passthrough", 8.0), (1, "nginx", 4.0), (2, "passthrough", 2.0))
    broken = {"round": 2, "workload": "W1 c64", "target": "nginx", "error": "it ended"}
    figures = Figures((*(sample(*one) for one in seen), broken), {})
    assert 2.0 == figures.ratio("W1 c64", "cpu_ms", "passthrough", "nginx")
    assert 20.0 == figures.median("W1 c64", "passthrough", "cpu_ms")
    assert None is figures.median("W1 c64", "haproxy", "cpu_ms")
    assert ["nginx, W1 c64: it ended"] == list(figures.errors())


@pytest.mark.parametrize(("figure", "verdict"), [(None, "not measured"), (0.05, "missed"), (0.1, "at least"), (0.3, "aim")])
def test_a_goal_says_how_far_it_is_reached(figure: float | None, verdict: str) -> None:
    """The first goal is one where more is better."""
    assert verdict == GOALS[0].verdict(figure)

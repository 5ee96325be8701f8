"""What the samples of a run say: medians over the rounds, and ratios of targets within a round."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import median
from typing import Any

from .workloads import WORKLOADS

Sample = dict[str, Any]

MOVED = {workload.name: workload.moved for workload in WORKLOADS}

METRICS: dict[str, tuple[str, Callable[[Sample], float | None]]] = {
    "per_s": ("requests/s", lambda one: one["requests"] / one["seconds"]),
    "per_core_s": ("requests/s per core", lambda one: one["requests"] / one["cpu_s"] if one["cpu_s"] else None),
    "cpu_ms": ("CPU ms per request", lambda one: 1000 * one["cpu_s"] / one["requests"]),
    "cpu_s_per_gb": (
        "CPU s/GB",
        lambda one: one["cpu_s"] / (one["requests"] * MOVED[one["workload"]] / 1e9) if MOVED[one["workload"]] else None,
    ),
    "gb_per_s": ("GB/s", lambda one: one["requests"] * MOVED[one["workload"]] / 1e9 / one["seconds"]),
    "p50_us": ("p50 µs", lambda one: one["latencies_us"]["p50"]),
    "p99_us": ("p99 µs", lambda one: one["latencies_us"]["p99"]),
    "event_p50_us": ("per event p50 µs", lambda one: one["added_us"].get("p50")),
    "event_p99_us": ("per event p99 µs", lambda one: one["added_us"].get("p99")),
    "rss_peak_mb": ("peak RSS MB", lambda one: one["rss_peak_mb"]),
    "start_s": ("start s", lambda one: one["start_s"]),
    "start_cpu_s": ("start CPU s", lambda one: one["start_cpu_s"]),
    "idle_rss_mb": ("idle RSS MB", lambda one: one["idle_rss_mb"]),
    "busy": ("target's cores", lambda one: one["cpu_s"] / one["seconds"]),
    "upstream_busy": ("upstream's cores", lambda one: one["upstream_cpu_s"] / one["seconds"]),
    "load_busy": ("load's cores", lambda one: one["load_cpu_s"] / one["seconds"]),
}
"""Each with its head in the tables. GB are of bodies, of the plain ones where they are gzipped."""

ADDED = {"added_p50_us": "p50_us", "added_event_p50_us": "event_p50_us", "added_event_p99_us": "event_p99_us"}
"""What a target adds: its figure, less that of the upstream alone in the same round."""

HEADS = {name: head for name, (head, _) in METRICS.items()} | {
    "added_p50_us": "added p50 µs",
    "added_event_p50_us": "added per event p50 µs",
    "added_event_p99_us": "added per event p99 µs",
}


@dataclass(frozen=True, slots=True)
class Figures:
    """All samples of a run, and what was measured beside them, by name."""

    samples: tuple[Sample, ...]
    beside: dict[str, float]

    def rounds(self, workload: str, target: str, metric: str) -> dict[int, float]:
        """Return a figure for each round in which it was measured."""
        if metric in ADDED:
            own, direct = (self.rounds(workload, name, ADDED[metric]) for name in (target, "direct"))
            return {number: own[number] - direct[number] for number in own if number in direct}
        found = {}
        for one in self.samples:
            if (one["workload"], one["target"]) == (workload, target) and "error" not in one:
                try:
                    figure = METRICS[metric][1](one)
                except KeyError:
                    continue
                if figure is not None:
                    found[one["round"]] = figure
        return found

    def median(self, workload: str, target: str, metric: str) -> float | None:
        """Return the median over the rounds, None where nothing was measured."""
        found = self.rounds(workload, target, metric).values()
        return median(found) if found else None

    def ratio(self, workload: str, metric: str, target: str, other: str) -> float | None:
        """Return the median of the ratios within the rounds."""
        return _ratio(self.rounds(workload, target, metric), self.rounds(workload, other, metric))

    def between(self, workload: str, other: str, metric: str, target: str) -> float | None:
        """Return the median of one target's ratios of two workloads within the rounds."""
        return _ratio(self.rounds(workload, target, metric), self.rounds(other, target, metric))

    def targets(self) -> list[str]:
        """Return the names of what was measured, in the order of the tables."""
        return list(dict.fromkeys(one["target"] for one in self.samples))

    def workloads(self) -> list[str]:
        """Return the names of the workloads that were measured, in the order of the table."""
        names = {one["workload"] for one in self.samples}
        return [workload.name for workload in WORKLOADS if workload.name in names]

    def errors(self) -> Iterable[str]:
        """Yield what could not be measured, and why."""
        yield from (f"{one['target']}, {one['workload']}: {one['error']}" for one in self.samples if "error" in one)


def _ratio(ours: dict[int, float], theirs: dict[int, float]) -> float | None:
    found = [ours[number] / theirs[number] for number in ours if theirs.get(number, 0.0) > 0.0]
    return median(found) if found else None

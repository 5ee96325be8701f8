"""The results of a run in Markdown: where to be, a table for each group of workloads, and what limits the measuring itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .figures import HEADS, Figures
from .goals import GOALS, OURS
from .peers import BEFORE
from .workloads import WHAT

COLUMNS: dict[str, tuple[str, ...]] = {
    "W1": ("added_p50_us", "p50_us", "p99_us", "per_s", "per_core_s", "busy"),
    "W2": ("cpu_s_per_gb", "gb_per_s", "busy", "rss_peak_mb"),
    "W3": ("cpu_s_per_gb", "gb_per_s", "busy", "rss_peak_mb"),
    "W4": ("rss_peak_mb", "cpu_s_per_gb", "gb_per_s"),
    "W5": ("added_event_p50_us", "added_event_p99_us", "event_p50_us", "event_p99_us"),
    "W6": ("start_s", "start_cpu_s", "idle_rss_mb"),
    "W7": ("p50_us", "p99_us", "per_s"),
    "OCR": ("per_core_s", "cpu_ms", "cpu_s_per_gb", "p50_us", "rss_peak_mb"),
}

RATIO = {"W1": "per_core_s", "W2": "cpu_s_per_gb", "W3": "cpu_s_per_gb", "W4": "rss_peak_mb", "W7": "p99_us"}
"""Which figure of a group is compared with nginx's."""


TO_BEFORE = {
    "W1": ("cpu_ms", "p50_us", "p99_us"),
    "W2": ("cpu_s_per_gb",),
    "W3": ("cpu_s_per_gb",),
    "W4": ("rss_peak_mb", "cpu_s_per_gb"),
    "W5": ("event_p50_us",),
    "W6": ("start_s", "idle_rss_mb"),
    "W7": ("p50_us", "p99_us"),
    "OCR": ("cpu_ms", "cpu_s_per_gb"),
}
"""Which figures of a group are compared with another checkout's: less is better in each."""


def number(figure: float | None) -> str:
    """Return a figure with three digits that count."""
    if figure is None:
        return "–"
    if abs(figure) >= 1000:
        return f"{figure:,.0f}"
    return f"{figure:.0f}" if abs(figure) >= 100 else f"{figure:.1f}" if abs(figure) >= 10 else f"{figure:.3g}"


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table of Markdown."""
    heads = tuple(heads)
    lines = [heads, ("---",) * len(heads), *map(tuple, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def goals(figures: Figures) -> str:
    """Return where this proxy is, and where it is to be."""
    rows = []
    for goal in GOALS:
        found = goal.figure(figures)
        wanted = (
            f"{sign} {number(bound)} {goal.unit}"
            for bound in (goal.at_least, goal.aim)
            for sign in ("≥≤"[goal.better == "less"],)
        )
        rows.append((goal.text, *wanted, number(found), goal.verdict(found)))
    return table(("", "at least", "aim", "measured", ""), rows)


def _group(figures: Figures, group: str) -> Iterator[str]:
    names = [name for name in figures.workloads() if name.split()[0] == group]
    if not names:
        return
    columns, compared = COLUMNS[group], RATIO.get(group)
    rows = []
    for name in names:
        for target in figures.targets():
            found = [figures.median(name, target, column) for column in columns]
            if any(figure is not None for figure in found):
                ratio = figures.ratio(name, compared, target, "nginx") if compared else None
                rows.append((name, target, *map(number, found), number(ratio)))
    versus = f"{HEADS[compared]}, to nginx" if compared else ""
    yield f"### {group}: {WHAT[group]}\n"
    yield table(("", "target", *(HEADS[column] for column in columns), versus), rows)


def _to_before(figures: Figures) -> Iterator[str]:
    """Yield what each workload costs, as a multiple of what it cost the other checkout in the same round."""
    rows = []
    for name in figures.workloads():
        for metric in TO_BEFORE[name.split()[0]]:
            if (ratio := figures.ratio(name, metric, OURS, BEFORE)) is not None:
                measured = (figures.median(name, target, metric) for target in (BEFORE, OURS))
                rows.append((name, HEADS[metric], *map(number, measured), f"{ratio:.3f}"))
    if rows:
        yield "### To the other checkout\n"
        yield table(("", "figure", BEFORE, OURS, "median of the ratios"), rows)


def _limits(figures: Figures) -> Iterator[str]:
    """Yield what upstream and load can do without a target between them, and what they needed with this proxy."""
    rows = []
    for name in figures.workloads():
        for target in ("direct", OURS, "nginx"):
            columns = ("per_s", "gb_per_s", "busy", "upstream_busy", "load_busy")
            found = [figures.median(name, target, column) for column in columns]
            if found[0] is not None:
                rows.append((name, target, *map(number, found)))
    yield "### Upstream and load generator\n"
    yield "A target with an idle core was held up by what it was measured with: its CPU per request and GB hold, rates do not.\n"
    yield table(("", "target", "requests/s", "GB/s", "target's cores", "upstream's cores", "load's cores"), rows)


def report(figures: Figures, versions: dict[str, str], skipped: dict[str, str], settings: str) -> str:
    """Return the whole."""
    parts = ["# Benchmark\n", f"{settings}\n", "## Targets\n", table(("target", "version"), versions.items())]
    if skipped:
        parts += ["Left out:\n", *(f"* {name}: {why}" for name, why in skipped.items()), ""]
    parts += ["## Where to be\n", goals(figures), "## Figures\n"]
    for group in COLUMNS:
        parts.extend(_group(figures, group))
    parts.extend(_to_before(figures))
    parts.extend(_limits(figures))
    failed = list(figures.errors())
    if failed:
        parts += ["### What failed\n", *(f"* {error}" for error in failed), ""]
    return "\n".join(parts)

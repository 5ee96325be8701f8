"""The plots of a run as SVG, written by hand: bars for the targets, lines for what grows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from .figures import HEADS, Figures
from .goals import OURS
from .tables import number

BARS = (
    ("W1 c64", "per_core_s"),
    ("W1 c1", "added_p50_us"),
    ("W2 c8", "cpu_s_per_gb"),
    ("W3 c8", "cpu_s_per_gb"),
    ("W2 TLS c8", "cpu_s_per_gb"),
    ("W3 TLS c8", "cpu_s_per_gb"),
    ("W4", "rss_peak_mb"),
    ("W5", "added_event_p99_us"),
    ("W6", "start_s"),
    ("W6", "idle_rss_mb"),
    ("W7", "p99_us"),
)

_WIDE, _ROW, _LEFT, _GAP, _HIGH = 460, 20, 150, 44, 250
_COLOURS = ("#c2410c", "#475569", "#0369a1", "#4d7c0f", "#7e22ce")
_STYLE = "<style>text{font:12px sans-serif;fill:#1e293b}.h{font-weight:bold}.s{font-size:10px}</style>"


def _svg(width: float, height: float, parts: Iterable[str]) -> str:
    size = f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}"'
    ground = '<rect width="100%" height="100%" fill="#ffffff"/>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{_STYLE}{ground}\n' + "\n".join(parts) + "\n</svg>\n"


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(text)}</text>'


def _panel(x: float, y: float, title: str, bars: Mapping[str, float]) -> Iterator[str]:
    """Yield bars on a logarithmic scale from a third of the least."""
    least, most = min(bars.values()) / 3, max(bars.values())
    yield _text(x, y, title, "h")
    for place, (name, figure) in enumerate(bars.items()):
        top = y + 8 + place * _ROW
        long = 190 * math.log(figure / least) / math.log(most / least)
        colour = _COLOURS[0 if name.startswith(OURS) else 1]
        yield _text(x + _LEFT - 6, top + 14, name, "", "end")
        yield f'<rect x="{x + _LEFT:.1f}" y="{top + 3:.1f}" width="{long:.1f}" height="{_ROW - 6}" fill="{colour}"/>'
        yield _text(x + _LEFT + long + 5, top + 14, number(figure))


def bars(figures: Figures) -> str:
    """Return the targets side by side, in panels of two columns."""
    panels = []
    for workload, metric in BARS:
        found = {name: figures.median(workload, name, metric) for name in figures.targets()}
        shown = {name: figure for name, figure in found.items() if figure is not None and figure > 0}
        if shown:
            panels.append((f"{workload}: {HEADS[metric]} (log scale)", shown))
    parts: list[str] = []
    heights = [24.0, 24.0]
    for title, shown in panels:
        column = heights.index(min(heights))
        parts.extend(_panel(12 + column * _WIDE, heights[column], title, shown))
        heights[column] += len(shown) * _ROW + _GAP
    return _svg(2 * _WIDE, max(heights), parts)


@dataclass(frozen=True, slots=True)
class Curve:
    """One panel: lines by name, each of points (x, y)."""

    title: str
    x: str
    lines: Mapping[str, Sequence[tuple[float, float]]]


def _short(x: float) -> str:
    return f"{x / 1e6:g}M" if x >= 1e6 else f"{x / 1e3:g}k" if x >= 1e3 else f"{x:g}"


def _lines(left: float, top: float, curve: Curve) -> Iterator[str]:
    """Yield a panel with a logarithmic x; y begins at 0."""
    points = [point for line in curve.lines.values() for point in line]
    first, last = min(x for x, _ in points), max(x for x, _ in points)
    most = max(y for _, y in points) or 1.0
    wide, high = 330.0, 150.0

    def at(x: float, y: float) -> tuple[float, float]:
        return left + 60 + wide * math.log(x / first) / math.log(last / first), top + 12 + high * (1 - y / most)

    yield _text(left, top, curve.title, "h")
    yield f'<path d="M{left + 60:.1f} {top + 12:.1f}v{high}h{wide}" fill="none" stroke="#94a3b8"/>'
    yield _text(left + 54, top + 20, number(most), "s", "end") + _text(left + 54, top + high + 12, "0", "s", "end")
    for x in sorted({x for x, _ in points}):
        yield _text(at(x, 0)[0], top + high + 26, _short(x), "s", "middle")
    yield _text(left + 60 + wide / 2, top + high + 40, curve.x, "s", "middle")
    for place, (name, line) in enumerate(curve.lines.items()):
        colour = _COLOURS[place % len(_COLOURS)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(*point) for point in line))
        yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
        legend = f'x="{left + 20 + 108 * place:.1f}" y="{top + high + 56:.1f}"'
        yield f'<text {legend} class="s" style="fill:{colour}">{escape(name)}</text>'


def curves(found: Sequence[Curve]) -> str:
    """Return the curves in two columns."""
    parts: list[str] = []
    for place, curve in enumerate(found):
        parts.extend(_lines(12 + place % 2 * _WIDE, 24 + place // 2 * _HIGH, curve))
    return _svg(2 * _WIDE, 24 + (len(found) + 1) // 2 * _HIGH, parts)

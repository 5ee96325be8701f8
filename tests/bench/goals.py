"""Where this proxy is to be: ratios to its peers in one run, each with what is asked at least and what is aimed at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from .figures import Figures
from .workloads import UNMETERED

OURS = "passthrough"


@dataclass(frozen=True, slots=True)
class Goal:
    """One row; `better` says in which direction."""

    text: str
    at_least: float
    aim: float
    unit: str
    better: Literal["more", "less"]
    figure: Callable[[Figures], float | None]

    def verdict(self, figure: float | None) -> str:
        """Return what a figure means."""
        if figure is None:
            return "not measured"
        sign = 1 if self.better == "more" else -1
        if sign * figure >= sign * self.aim:
            return "aim"
        return "at least" if sign * figure >= sign * self.at_least else "missed"


def _ratio(workload: str, metric: str, other: str, target: str = OURS) -> Callable[[Figures], float | None]:
    return lambda figures: figures.ratio(workload, metric, target, other)


def _to_route(workload: str, metric: str) -> Callable[[Figures], float | None]:
    """Return the ratio of `/v1/ocr` to the pass-through route, with the same bodies."""
    return lambda figures: figures.between(f"OCR {workload}", workload, metric, OURS)


def _own(workload: str, metric: str, scale: float = 1.0) -> Callable[[Figures], float | None]:
    def figure(figures: Figures) -> float | None:
        found = figures.median(workload, OURS, metric)
        return None if found is None else found * scale

    return figure


GOALS = (
    Goal("W1 c64 requests per core, to nginx", 0.10, 0.3, "×", "more", _ratio("W1 c64", "per_core_s", "nginx")),
    Goal("W1 c1 added p50, to nginx's", 2.2, 1.3, "×", "less", _ratio("W1 c1", "added_p50_us", "nginx")),
    Goal("W2 c8 CPU per GB, to nginx", 0.65, 0.45, "×", "less", _ratio("W2 c8", "cpu_s_per_gb", "nginx")),
    Goal("W2 c8 CPU per GB, to HAProxy", 0.9, 0.6, "×", "less", _ratio("W2 c8", "cpu_s_per_gb", "haproxy")),
    Goal("W2 c8 TLS upstream, CPU per GB, to nginx", 1.0, 0.8, "×", "less", _ratio("W2 TLS c8", "cpu_s_per_gb", "nginx")),
    Goal("W3 c8 TLS upstream, CPU per GB, to nginx", 1.0, 0.8, "×", "less", _ratio("W3 TLS c8", "cpu_s_per_gb", "nginx")),
    Goal("W3 c8 CPU per GB, to nginx", 0.4, 0.2, "×", "less", _ratio("W3 c8", "cpu_s_per_gb", "nginx")),
    Goal("W3 c8 CPU per GB, to HAProxy", 0.8, 0.45, "×", "less", _ratio("W3 c8", "cpu_s_per_gb", "haproxy")),
    Goal("W3 gzip c8 CPU per GB, to the same unmetered", 7, 4.5, "×", "less", _ratio("W3 gzip c8", "cpu_s_per_gb", UNMETERED)),
    Goal("the meter on a 20 MB plain answer", 80, 35, "µs/MB", "less", lambda figures: figures.beside.get("meter_us_per_mb")),
    Goal("W4 peak RSS", 160, 96, "MB", "less", _own("W4", "rss_peak_mb")),
    Goal("W4 peak RSS, TLS upstream", 160, 96, "MB", "less", _own("W4 TLS", "rss_peak_mb")),
    Goal("W5 added p99 per event", 0.3, 0.12, "ms", "less", _own("W5", "added_event_p99_us", 1e-3)),
    Goal("W6 start to first answer", 0.8, 0.45, "s", "less", _own("W6", "start_s")),
    Goal("W6 idle RSS", 90, 64, "MB", "less", _own("W6", "idle_rss_mb")),
    Goal("W7 p99 of the small ones, to nginx's", 4, 2, "×", "less", _ratio("W7", "p99_us", "nginx")),
    Goal("W1 c64 requests per core, to LiteLLM", 30, 60, "×", "more", _ratio("W1 c64", "per_core_s", "litellm")),
    Goal("W2 c8 LiteLLM's CPU per GB, to ours", 15, 25, "×", "more", _ratio("W2 c8", "cpu_s_per_gb", OURS, "litellm")),
    Goal("W3 c8 LiteLLM's CPU per GB, to ours", 7, 15, "×", "more", _ratio("W3 c8", "cpu_s_per_gb", OURS, "litellm")),
    Goal("/v1/ocr W1 c64 requests per core, to the route's", 0.5, 0.8, "×", "more", _to_route("W1 c64", "per_core_s")),
    Goal("/v1/ocr W2 c8 CPU per GB, to the route's", 1.5, 1.25, "×", "less", _to_route("W2 c8", "cpu_s_per_gb")),
    Goal("/v1/ocr W3 c8 CPU per GB, to the route's", 1.25, 1.05, "×", "less", _to_route("W3 c8", "cpu_s_per_gb")),
    Goal("/v1/ocr W1 c64 requests per core, to LiteLLM", 50, 60, "×", "more", _ratio("OCR W1 c64", "per_core_s", "litellm")),
    Goal("/v1/ocr W2 c8 LiteLLM's CPU per GB, to ours", 9, 12, "×", "more", _ratio("OCR W2 c8", "cpu_s_per_gb", OURS, "litellm")),
    Goal("/v1/ocr W3 c8 LiteLLM's CPU per GB, to ours", 5, 8, "×", "more", _ratio("OCR W3 c8", "cpu_s_per_gb", OURS, "litellm")),
    Goal("/v1/ocr W4 peak RSS, model first", 500, 300, "MB", "less", _own("OCR W4", "rss_peak_mb")),
    Goal("/v1/ocr W4 peak RSS, model last", 500, 400, "MB", "less", _own("OCR W4 model last", "rss_peak_mb")),
    Goal(
        "two workers: CPU per request, to one worker's",
        *(1.15, 1.05, "×", "less"),
        _ratio("W1 c64", "cpu_ms", OURS, "passthrough-2-workers"),
    ),
)

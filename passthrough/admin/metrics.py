"""Counters and histograms of ended exchanges and booked charges, for Prometheus."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from threading import Lock
from typing import Final

from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.utils import floatToGoString

from ..accounting.entry import Charge, Entry
from ..accounting.money import NANO
from ..exchange import Outcome

MAX_MODELS: Final = 100
"""How many models have series of their own: names come from responses, so all beyond are counted as OTHER."""
OTHER: Final = "other"

_LATENCY_BOUNDS_S: Final = (0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300, 600)  # OCR takes seconds to minutes
_OVERHEAD_BOUNDS_S: Final = (2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.5)
_REFUSED: Final = str(Outcome.REFUSED)
_ROUTE: Final = ("route",)
_USES: Final = ("client", "route", "model", "sandbox")
_Use = tuple[str, str, str, str]


class _Histogram:
    """A histogram of durations: how many were within each bound, and their sum."""

    __slots__ = ("_bounds", "_counts", "_sum_s")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)  # the last is beyond all bounds
        self._sum_s = 0.0

    def add(self, span_s: float) -> None:
        """Count one; a bound is inclusive."""
        self._counts[bisect_left(self._bounds, span_s)] += 1
        self._sum_s += span_s

    def add_to(self, family: HistogramMetricFamily, labels: Sequence[str]) -> None:
        """Add what was counted to a family."""
        bounds = (*map(floatToGoString, self._bounds), "+Inf")
        family.add_metric(labels, tuple(zip(bounds, accumulate(list(self._counts)), strict=True)), self._sum_s)


class _RouteCounts:
    """What is counted for a route alone: bytes and durations."""

    __slots__ = ("down", "first_byte", "overhead", "total", "up")

    def __init__(self) -> None:
        self.up = self.down = 0
        self.first_byte, self.total, self.overhead = (
            _Histogram(_LATENCY_BOUNDS_S),
            _Histogram(_LATENCY_BOUNDS_S),
            _Histogram(_OVERHEAD_BOUNDS_S),
        )


@dataclass(slots=True)
class _Series:
    """One series of ended exchanges, with its route's counts: found by one look-up."""

    route: _RouteCounts
    labels: tuple[str, str, str, str, str]
    count: int = 0


@dataclass(slots=True)
class _Tally:
    """Sums of charges; whole numbers, so that they agree with the ledger to the last digit."""

    charges: int = 0
    pages: int = 0
    annotated: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    tokens_cached: int = 0
    cost_nano: int = 0

    def add(self, charge: Charge) -> None:
        """Add one charge; a field without a value adds nothing."""
        self.charges += 1
        self.pages += charge.pages or 0
        self.annotated += charge.pages_annotated or 0
        self.tokens_in += charge.tokens_in or 0
        self.tokens_out += charge.tokens_out or 0
        self.tokens_cached += charge.tokens_cached or 0
        self.cost_nano += charge.cost_nano or 0


class Metrics:
    """An observer of the bookkeeper. `ended` runs on the event loop and takes a few microseconds; the rest, on any thread.

    Labels are bounded: clients and routes are named in the configuration, models have series up to MAX_MODELS.
    """

    def __init__(self) -> None:
        self._ended: dict[tuple[str | None, str | None, int, str, bool], _Series] = {}
        self._routes: dict[str, _RouteCounts] = {}
        self._refusals: Counter[tuple[str, str, str]] = Counter()
        self._failures: Counter[tuple[str, str]] = Counter()
        self._deployments: Counter[tuple[str, str, str, str]] = Counter()
        self._unmetered: Counter[tuple[str, str, str, str]] = Counter()
        self._lock = Lock()
        self._tallies: dict[_Use, _Tally] = {}
        self._estimated: Counter[tuple[str, str, str, str]] = Counter()
        self._models: set[str] = set()

    def ended(self, entry: Entry) -> None:
        """Count an exchange that has ended, refused ones too; never blocks, never raises."""
        # The hundreds: one look-up for all statuses of a class; 0 where nothing was sent.
        kind = (entry.route, entry.client, (entry.status or 0) // 100, entry.outcome, entry.sandbox)
        series = self._ended.get(kind)
        if series is None:
            series = self._ended[kind] = self._series(*kind)
        series.count += 1
        route = series.route
        route.up += entry.bytes_up
        route.down += entry.bytes_down
        # A refusal takes no time, nor does a response of our own: they would make the targets look fast.
        if entry.outcome != _REFUSED and (entry.target is not None or entry.error is not None):
            if entry.first_byte_s is not None:
                route.first_byte.add(entry.first_byte_s)
            route.total.add(entry.total_s)
            if entry.overhead_s is not None:
                route.overhead.add(entry.overhead_s)
        if entry.error is not None or entry.unmetered is not None:
            self._count_faults(entry)
        if entry.deployment is not None:
            # A target of an endpoint has no model's name in the entry: its group is the endpoint's path, as in the gauges.
            self._deployments[entry.model_group or entry.route or "", entry.deployment, series.labels[2], entry.outcome] += 1

    def booked(self, entries: Sequence[Entry]) -> None:
        """Count the charges of entries that are in the ledger now; called from any thread."""
        with self._lock:
            for entry in entries:
                if entry.estimated_pages is not None or entry.estimated_nano is not None:
                    owner = (entry.client or "", entry.route or "", _bool_label(entry.sandbox))
                    self._estimated["pages", *owner] += entry.estimated_pages or 0
                    self._estimated["nano", *owner] += entry.estimated_nano or 0
                for charge in entry.charges:
                    use = (entry.client or "", entry.route or "", self._model(charge.model), _bool_label(entry.sandbox))
                    tally = self._tallies.get(use)
                    if tally is None:
                        tally = self._tallies[use] = _Tally()
                    tally.add(charge)

    def families(self) -> Iterable[Metric]:
        """Yield every family, each with its values at one moment."""
        yield from self._outcomes()
        yield from self._spans()
        yield from self._uses()

    def _series(self, route: str | None, client: str | None, hundreds: int, outcome: str, sandbox: bool) -> _Series:
        named = route or ""
        status = f"{hundreds}xx" if hundreds else "none"
        return _Series(
            self._routes.setdefault(named, _RouteCounts()), (named, client or "", status, outcome, _bool_label(sandbox))
        )

    def _count_faults(self, entry: Entry) -> None:
        if entry.error is not None and entry.outcome == _REFUSED:
            self._refusals[entry.error, entry.route or "", entry.client or ""] += 1
        elif entry.error is not None:
            self._failures[entry.error, entry.route or ""] += 1
        if entry.unmetered is not None:
            self._unmetered[entry.unmetered, entry.route or "", entry.client or "", _bool_label(entry.sandbox)] += 1

    def _outcomes(self) -> Iterable[Metric]:
        # The event loop goes on counting meanwhile: a list is made of a dict in one go.
        ended = Counter[tuple[str, ...]]()
        for series in list(self._ended.values()):
            ended[series.labels] += series.count
        yield _family(
            "passthrough_requests",
            "Requests that have ended.",
            ("route", "client", "status", "outcome", "sandbox"),
            ended.items(),
        )
        for name, help_, labels, counted in (
            ("passthrough_refusals", "Requests that were refused.", ("code", "route", "client"), self._refusals),
            ("passthrough_failures", "Requests that failed after they were let in.", ("code", "route"), self._failures),
            (
                "passthrough_deployment_requests",
                "Requests that have ended, by the deployment of their last try.",
                ("model_group", "deployment", "status", "outcome"),
                self._deployments,
            ),
            (
                "passthrough_unmetered",
                "Requests whose pages or price were expected and are not known.",
                ("reason", "route", "client", "sandbox"),
                self._unmetered,
            ),
        ):
            yield _family(name, help_, labels, list(counted.items()))

    def _spans(self) -> Iterable[Metric]:
        routes = list(self._routes.items())
        each_way = [((name, way), getattr(route, way)) for name, route in routes for way in ("up", "down")]
        yield _family("passthrough_body_bytes", "Bytes of bodies on the wire.", ("route", "direction"), each_way)
        first_byte = HistogramMetricFamily("passthrough_first_byte_seconds", "Time until the response began.", labels=_ROUTE)
        total = HistogramMetricFamily("passthrough_request_seconds", "Time in all.", labels=_ROUTE)
        what = "Time spent in here, not in waiting for the target or the client."
        overhead = HistogramMetricFamily("passthrough_overhead_seconds", what, labels=_ROUTE)
        for name, route in routes:
            route.first_byte.add_to(first_byte, (name,))
            route.total.add_to(total, (name,))
            route.overhead.add_to(overhead, (name,))
        yield from (first_byte, total, overhead)

    def _model(self, model: str | None) -> str:
        name = model or ""
        if name not in self._models:
            if len(self._models) >= MAX_MODELS:
                return OTHER
            self._models.add(name)
        return name

    def _uses(self) -> Iterable[Metric]:
        charges = CounterMetricFamily(
            "passthrough_charges", "Responses, and lines of batch files, that were booked.", labels=_USES
        )
        pages = CounterMetricFamily("passthrough_pages", "Pages at the plain price.", labels=_USES)
        annotated = CounterMetricFamily("passthrough_pages_annotated", "Pages at the annotated price.", labels=_USES)
        cost = CounterMetricFamily("passthrough_cost_usd", "What was booked, in US dollars.", labels=_USES)
        tokens = CounterMetricFamily("passthrough_tokens", "Tokens, in to the model and out of it.", labels=(*_USES, "direction"))
        cached = CounterMetricFamily(
            "passthrough_tokens_cached", "Tokens in to the model that the provider had cached.", labels=_USES
        )
        with self._lock:
            for use, tally in self._tallies.items():
                charges.add_metric(use, tally.charges)
                pages.add_metric(use, tally.pages)
                annotated.add_metric(use, tally.annotated)
                cost.add_metric(use, tally.cost_nano / NANO)
                if tally.tokens_in or tally.tokens_out:
                    tokens.add_metric((*use, "in"), tally.tokens_in)
                    tokens.add_metric((*use, "out"), tally.tokens_out)
                if tally.tokens_cached:
                    cached.add_metric(use, tally.tokens_cached)
            estimated = list(self._estimated.items())
        what = "of calls that were paid and are not known; in no other series."
        labels = ("client", "route", "sandbox")
        guessed = [(owner, count) for (unit, *owner), count in estimated if unit == "pages"]
        guessed_usd = [(owner, nano / NANO) for (unit, *owner), nano in estimated if unit == "nano"]
        return (
            charges,
            pages,
            annotated,
            cost,
            tokens,
            cached,
            _family("passthrough_estimated_pages", f"Estimated pages {what}", labels, guessed),
            _family("passthrough_estimated_cost_usd", f"Estimated US dollars {what}", labels, guessed_usd),
        )


def _family(name: str, help_: str, labels: Sequence[str], counted: Iterable[tuple[Sequence[str], float]]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, help_, labels=labels)
    for values, count in counted:
        family.add_metric(values, count)
    return family


def _bool_label(value: bool) -> str:
    return "true" if value else "false"

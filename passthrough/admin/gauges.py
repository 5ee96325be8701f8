"""Gauges of the instance's state: they are read whenever its metrics are requested."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from .. import __version__
from ..accounting.money import NANO
from ..credentials.token_source import TokenReading
from .budget_status import BudgetStatus
from .deployment_status import DeploymentStatus
from .health import Health

Reading = Callable[[], float | None]
"""Returns one figure of the instance at once, on the event loop; None: there is none."""


@dataclass(frozen=True, slots=True)
class _Row:
    """One figure: its metric's name and help. `counts`: it only grows. `shared`: every process sees the same value."""

    name: str
    help: str
    counts: bool = False
    shared: bool = False


READINGS: Final[Mapping[str, _Row]] = MappingProxyType(
    {
        "in_flight": _Row("passthrough_requests_in_flight", "Requests that are being served."),
        "settling": _Row("passthrough_calls_settling", "Calls read to their end after their client had left."),
        "connections": _Row("passthrough_connections", "Open connections of clients."),
        "ledger_waiting": _Row("passthrough_ledger_waiting_entries", "Entries that are not in the ledger yet."),
        "ledger_lag_s": _Row("passthrough_ledger_lag_seconds", "Age of the oldest entry that is not in the ledger.", shared=True),
        "ledger_lost": _Row("passthrough_ledger_lost_entries", "Entries that will not be in the ledger.", counts=True),
        "journal_bytes": _Row("passthrough_journal_bytes", "Size of the journal of this process."),
        "started_utc": _Row("passthrough_start_timestamp_seconds", "When it started; of workers, the newest.", shared=True),
        "log_dropped": _Row("passthrough_log_lines_dropped", "Lines of the log that were not written.", counts=True),
        "spans_exported": _Row("passthrough_spans_exported", "Spans that the collector took; missing without one.", counts=True),
        "spans_dropped": _Row("passthrough_spans_dropped", "Spans that the collector did not get or take.", counts=True),
    }
)
"""Every figure of an instance, by the name of its reading."""

_SCOPE: Final = ("scope", "name", "unit", "per")
_DEPLOYMENT: Final = ("model_group", "deployment")
SHARED: Final = frozenset(
    {
        *(row.name for row in READINGS.values() if row.shared),
        *("passthrough_build_info", "passthrough_degraded", "passthrough_config_timestamp_seconds", "passthrough_reloads"),
        "passthrough_deployment_up",
        "passthrough_credentials_end_timestamp_seconds",
        *(f"passthrough_budget_{name}" for name in ("spent", "limit", "used_ratio", "resets_timestamp_seconds")),
    }
)
"""Families of which several processes show the same thing: the largest value counts, not the sum."""


@dataclass(slots=True)
class Reloads:
    """How many reloads succeeded and failed, and when the configuration in force was read (UTC seconds)."""

    good: int = 0
    failed: int = 0
    good_utc: float = 0.0


@dataclass(frozen=True, slots=True)
class Gauges:
    """Makes metric families of figures, troubles and budgets. `readings` have names of READINGS; missing ones are left out.

    `downloads` counts by outcome. `tokens` has a reading for each identity.
    """

    readings: Mapping[str, Reading]
    health: Health
    reloads: Reloads
    budgets: Callable[[], Sequence[BudgetStatus]] = tuple
    deployments: Callable[[], Sequence[DeploymentStatus]] = tuple
    downloads: Callable[[], Mapping[str, int]] = dict
    tokens: Callable[[], Sequence[TokenReading]] = tuple

    def families(self) -> list[Metric]:
        """Return all figures as they are now; belongs to the event loop's thread."""
        found = [*self._figures(), self._build(), self._troubles(), *self._reloads()]
        found += [*_budget_families(self.budgets()), *_deployment_families(self.deployments())]
        return [*found, self._downloads(), *_token_families(self.tokens())]

    def _figures(self) -> Iterable[Metric]:
        for key, reading in self.readings.items():
            row, value = READINGS[key], reading()
            if value is not None:
                kind = CounterMetricFamily if row.counts else GaugeMetricFamily
                yield kind(row.name, row.help, value=value)

    def _build(self) -> Metric:
        family = GaugeMetricFamily("passthrough_build_info", "Always 1: which version this is.", labels=("version", "python"))
        family.add_metric((__version__, platform.python_version()), 1)
        return family

    def _troubles(self) -> Metric:
        help_ = "1 while a part of the instance is in trouble; /readyz says why."
        family = GaugeMetricFamily("passthrough_degraded", help_, labels=("part",))
        degraded = self.health.degraded()
        for part in self.health.troubles:
            family.add_metric((part,), part in degraded)
        return family

    def _downloads(self) -> Metric:
        help_ = "Documents that were fetched by their URLs, by outcome."
        family = CounterMetricFamily("passthrough_document_downloads", help_, labels=("outcome",))
        for outcome, count in self.downloads().items():
            family.add_metric((outcome,), count)
        return family

    def _reloads(self) -> Iterable[Metric]:
        help_ = "Readings of the configuration while the program ran, by their result."
        family = CounterMetricFamily("passthrough_reloads", help_, labels=("result",))
        family.add_metric(("good",), self.reloads.good)
        family.add_metric(("failed",), self.reloads.failed)
        read = GaugeMetricFamily("passthrough_config_timestamp_seconds", "When the configuration in force was read.")
        read.add_metric((), self.reloads.good_utc)
        return family, read


def _budget_families(statuses: Sequence[BudgetStatus]) -> Iterable[Metric]:
    spent = GaugeMetricFamily("passthrough_budget_spent", "Spent in the period: pages, USD or requests.", labels=_SCOPE)
    held = GaugeMetricFamily("passthrough_budget_reserved", "Reserved by this process for requests in flight.", labels=_SCOPE)
    limit = GaugeMetricFamily("passthrough_budget_limit", "What may be spent in the period.", labels=_SCOPE)
    ratio = GaugeMetricFamily("passthrough_budget_used_ratio", "Spent by limit: 1 is used up.", labels=_SCOPE)
    resets = GaugeMetricFamily("passthrough_budget_resets_timestamp_seconds", "When the period ends.", labels=_SCOPE)
    for status in statuses:
        budget = status.budget
        labels = (budget.scope.kind, budget.scope.name, str(budget.unit), str(budget.per))
        scale = NANO if status.is_money else 1
        spent.add_metric(labels, status.spent / scale)
        held.add_metric(labels, status.reserved / scale)
        limit.add_metric(labels, budget.limit / scale)
        ratio.add_metric(labels, status.used_ratio)
        resets.add_metric(labels, status.resets_utc)
    return spent, held, limit, ratio, resets


def _deployment_families(statuses: Sequence[DeploymentStatus]) -> Iterable[Metric]:
    up = GaugeMetricFamily("passthrough_deployment_up", "0 while it cools down, in every worker.", labels=_DEPLOYMENT)
    in_flight = GaugeMetricFamily("passthrough_deployment_calls_in_flight", "Its calls under way.", labels=_DEPLOYMENT)
    what = "Tries that have ended: answered, or why it failed."
    tries = CounterMetricFamily("passthrough_deployment_tries", what, labels=(*_DEPLOYMENT, "outcome"))
    cooldowns = CounterMetricFamily("passthrough_deployment_cooldowns", "Its cool-downs.", labels=(*_DEPLOYMENT, "reason"))
    for status in statuses:
        labels = (status.model_group, status.deployment)
        up.add_metric(labels, status.cooling is None)
        in_flight.add_metric(labels, status.in_flight)
        for outcome, count in sorted(status.tries.items()):
            tries.add_metric((*labels, outcome), count)
        for reason, count in sorted(status.cooldowns.items()):
            cooldowns.add_metric((*labels, reason), count)
    return up, in_flight, tries, cooldowns


def _token_families(readings: Sequence[TokenReading]) -> Iterable[Metric]:
    what = "When the fetched token in force ends; missing where there is none that is good."
    ends = GaugeMetricFamily("passthrough_credentials_end_timestamp_seconds", what, labels=("identity",))
    fetches = CounterMetricFamily("passthrough_credentials_fetches", "Fetches of tokens.", labels=("identity", "result"))
    for reading in readings:
        fetches.add_metric((reading.name, "good"), reading.fetched)
        fetches.add_metric((reading.name, "failed"), reading.failed)
        if reading.good_until_utc is not None:
            ends.add_metric((reading.name,), reading.good_until_utc)
    return ends, fetches

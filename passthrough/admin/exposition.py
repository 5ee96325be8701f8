"""Metrics in Prometheus' text format; those of several processes are summed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from .gauges import SHARED

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

Source = Iterable[Metric]
"""The metric families of one process, at one moment."""

_Labels = tuple[tuple[str, str], ...]


class _FamilyCollector(Collector):
    """A collector of families that are made already: the library's writer takes collectors only."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        """Return the families (the library calls this)."""
        return self._families


def sum_texts(texts: Iterable[bytes], dead: Iterable[bytes]) -> bytes:
    """Return one text for the texts of several processes; `dead` ones add their counters and histograms, not their gauges.

    Not for the event loop, like `exposition`.
    """
    living = [text_string_to_metric_families(text.decode()) for text in texts]
    ended = [_only_counts(text_string_to_metric_families(text.decode())) for text in dead]
    return exposition([*living, *ended])


def _only_counts(families: Iterable[Metric]) -> Source:
    return [family for family in families if family.type in {"counter", "histogram"}]


def exposition(sources: Iterable[Source]) -> bytes:
    """Return one text for all sources: values are summed; of a family in SHARED, the largest value is taken.

    Takes milliseconds for each ten thousand series: not for the event loop.
    """
    families: dict[str, Metric] = {}
    values: dict[str, dict[tuple[str, _Labels], float]] = {}
    for source in sources:
        for family in source:
            families.setdefault(family.name, family)
            found = values.setdefault(family.name, {})
            for sample in family.samples:
                # The time at which a series began: no other program shows it, and a sum of such times means nothing.
                if sample.name.endswith("_created"):
                    continue
                key = (sample.name, tuple(sorted(sample.labels.items())))
                before = found.get(key)
                value = sample.value
                if before is not None:
                    value = max(before, value) if family.name in SHARED else before + value
                found[key] = value
    return generate_latest(_FamilyCollector(_family_of(families[name], found) for name, found in values.items()))


def _family_of(family: Metric, found: dict[tuple[str, _Labels], float]) -> Metric:
    made = Metric(family.name, family.documentation, family.type)
    for (name, labels), value in found.items():
        made.add_sample(name, dict(labels), value)
    return made

"""What traffic must come to: summed up apart from the program, with prices that are written down anew."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Any, Final

from passthrough.exchange import Outcome
from passthrough.meter.plan import JsonCounts, MeterPlan
from passthrough.meter.usage import Usage

FLAT_NANO: Final = 12_345_678

_EXACT: Final = Context(prec=60, rounding=ROUND_HALF_EVEN)
_ALWAYS: Final = date.min
_DECEMBER, _FIRST, _SECOND = date(2025, 12, 1), date(2026, 6, 23), date(2026, 7, 16)

# From which day on, and USD: for 1000 plain pages, 1000 annotated ones, a million tokens in, out, one credit.
_PRICES: Final[dict[str, list[tuple[date, str, str, str, str, str]]]] = {
    "mistral-ocr-2512": [(_DECEMBER, "2", "3", "", "", "")],
    "mistral-ocr-4-0": [(_FIRST, "4", "5", "", "", "")],
    "mistral-ocr-4-1": [(_SECOND, "4", "5", "", "", "")],
    "mistral-ocr-latest": [(_DECEMBER, "2", "3", "", "", ""), (_FIRST, "4", "5", "", "", ""), (_SECOND, "4", "5", "", "", "")],
    "mistral/mistral-ocr-latest": [(_DECEMBER, "2", "3", "", "", ""), (_FIRST, "4", "5", "", "", "")],
    "azure/mistral-document-ai-2512": [(_DECEMBER, "3", "3", "", "", "")],
    "vertex/mistral-ocr-2505": [(_DECEMBER, "1", "", "", "", "")],
    "mistral-small-latest": [(_ALWAYS, "", "", "0.15", "0.60", "")],
    "house-ocr": [(_ALWAYS, "1.5", "1.7", "", "", ""), (date(2026, 7, 5), "0.0333333", "0.0777777", "", "", "")],
    "house-chat": [(_ALWAYS, "", "", "0.0125", "0.0375", ""), (date(2026, 7, 1), "", "", "0.0175", "0.0525", "")],
    "extractor": [(_ALWAYS, "", "", "", "", "0.0125")],
}
_TIERED: Final[dict[tuple[str, str], list[tuple[date, str, str, str, str, str]]]] = {
    ("house-chat", "priority"): [(date(2026, 7, 8), "", "", "0.0311", "0.0933", "")],
}
"""As _PRICES, for tokens in one service tier; those that were cached cost as much as the others."""
_CACHED: Final = {"mistral-small-latest": "0.015", "house-chat": "0.0007"}
"""USD for a million tokens that were cached."""
_RESELLER: Final = "api.aimlapi.com"  # it has prices of its own, in no list: what it does not tell is unpriced
_HOUSE: Final = ("house-ocr", "house-chat", "extractor")

HOUSE_PRICES: Final = """
prices:
  - {model: house-ocr, usd_per_1000_pages: 1.5, usd_per_1000_annotated_pages: 1.7, batch_factor: 0.4}
  - {model: house-ocr, usd_per_1000_pages: 0.0333333, usd_per_1000_annotated_pages: 0.0777777, batch_factor: 0.4,
     effective_from: 2026-07-05}
  - {model: house-chat, usd_per_million_input_tokens: 0.0125, usd_per_million_output_tokens: 0.0375,
     usd_per_million_cached_input_tokens: 0.0007}
  - {model: house-chat, usd_per_million_input_tokens: 0.0175, usd_per_million_output_tokens: 0.0525,
     usd_per_million_cached_input_tokens: 0.0007, effective_from: 2026-07-01}
  - {model: house-chat, service_tier: priority, usd_per_million_input_tokens: 0.0311, usd_per_million_output_tokens: 0.0933,
     effective_from: 2026-07-08}
  - {model: extractor, usd_per_credit: 0.0125}
"""
"""What the operator's own models cost, as routes.yaml has it."""


@dataclass(frozen=True, slots=True)
class Road:
    """A route: where it leads, and how its answers are counted (`plan`, and as routes.yaml says it)."""

    path: str
    host: str
    plan: MeterPlan = MeterPlan()
    stanza: str = ""
    factor: str = "1"
    flat: bool = False
    account: str | None = None


_COUNTED: Final = JsonCounts(pages=("usage.num_pages",), credits=("usage.credits",), when=(("status", ("done",)),))
_COST: Final = "x-aimlapi-usd-spent"
_AZURE, _VERTEX = "azure/mistral-document-ai-2512", "vertex/mistral-ocr-2505"
ROADS: Final = {
    "mistral": Road("/mistral", "api.mistral.ai"),
    "eu": Road("/eu", "api.eu.mistral.ai", factor="1.1"),
    "second": Road("/second", "api.mistral.ai", stanza="meter: {account: second}", account="second"),
    "azure": Road("/azure", "acme.services.ai.azure.com", MeterPlan(model=_AZURE), f"meter: {{model: {_AZURE}}}"),
    "vertex": Road("/vertex", "europe-west4-aiplatform.googleapis.com", MeterPlan(model=_VERTEX), f"meter: {{model: {_VERTEX}}}"),
    "aiml": Road("/aiml", "api.aimlapi.com", MeterPlan(cost_headers=(_COST.encode(),)), f"meter: {{cost_header: {_COST}}}"),
    "flat": Road("/flat", "ocr.example", stanza="cost_per_request: 0.012345678", flat=True),
    "extract": Road(
        "/extract",
        "extract.example",
        MeterPlan("json", "extractor", _COUNTED),
        "meter: {shape: json, model: extractor, pages: usage.num_pages, credits: usage.credits, when: {status: done}}",
    ),
    "hasty": Road("/hasty", "api.mistral.ai", stanza="client_gone: cancel"),
    "unreachable": Road("/unreachable", "down.example"),
}


@dataclass(frozen=True, slots=True)
class Deed:
    """One request and its answer: what goes over the wire, and what is to be found in it.

    `cut`: so many bytes of the answer come, then it breaks. `usage` is what the meter finds in the answer, `lines` what it finds
    in a batch's; `told` is the cost that a header tells. `client` None: nobody whose key is known.
    """

    number: int
    at: float
    road: Road
    client: str | None
    label: str | None
    method: str
    path: str
    request: bytes
    answer: bytes
    content_type: str
    status: int | None
    outcome: Outcome
    error: str | None
    usage: Usage
    lines: tuple[Usage, ...]
    told: str | None
    cut: int | None
    sandbox: bool
    team: str | None = None


FIGURES: Final = (
    "requests",
    "pages",
    "pages_annotated",
    "cost_nano",
    "unmetered",
    "unpriced",
    "tokens_in",
    "tokens_out",
    "errors",
    "tokens_cached",
)
KEYS: Final = ("client", "label", "route", "target", "model", "day", "status", "sandbox", "half", "label.team", "priced_as")
Key = tuple[Any, ...]


@dataclass(slots=True)
class Tally:
    """What all came to: figures for each combination of KEYS; `half` tells whether it was before noon. Lines of batches, once.

    `unpriced_again` is how many of the reasons "unpriced" are about lines that were booked before.
    """

    rows: dict[Key, dict[str, int]] = field(default_factory=lambda: defaultdict(lambda: dict.fromkeys(FIGURES, 0)))
    lines: set[tuple[str, str]] = field(default_factory=set)
    reasons: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    unpriced_again: int = 0
    refused: int = 0
    charges: int = 0

    def by(self, *names: str, figures: tuple[str, ...] = FIGURES, **only: Any) -> dict[Key, tuple[int, ...]]:
        """Return the figures for each combination of some keys, of what has the values of `only` (a set: one of them)."""
        places = [KEYS.index(name) for name in names]
        wanted = [(KEYS.index(name), value if isinstance(value, set) else {value}) for name, value in only.items()]
        found: dict[Key, list[int]] = defaultdict(lambda: [0] * len(figures))
        for key, row in self.rows.items():
            if all(key[place] in values for place, values in wanted):
                summed = found[tuple(key[place] for place in places)]
                for place, name in enumerate(figures):
                    summed[place] += row[name]
        return {key: tuple(summed) for key, summed in found.items()}


class Bill:
    """What one deed must come to."""

    def __init__(self, deed: Deed, tally: Tally, *, on_loopback: bool) -> None:
        self._deed = deed
        self._tally = tally
        self._factor = Decimal(1 if on_loopback else deed.road.factor)
        self._is_resold = deed.road.host == _RESELLER and not on_loopback

    def book(self) -> None:
        """Add it to the tally."""
        deed, tally = self._deed, self._tally
        if deed.client is None:
            tally.refused += 1
            return
        new_unpriced = False
        for line in deed.lines:
            named = (deed.road.account or deed.road.host, line.line)
            if named not in tally.lines:
                tally.lines.add(named)
                new_cost = self._price(line)
                new_unpriced = new_unpriced or new_cost is None
                self._charge(line, new_cost)
        cost = self._cost()
        if cost is not ...:
            self._charge(deed.usage, cost)
        unpriced = cost is None or any(self._price(line) is None for line in deed.lines)
        why = "no_usage" if deed.usage.pages == 0 and not deed.usage.pages_annotated else deed.usage.unmetered
        doubt = "unpriced" if unpriced else "unpriced_tier" if deed.usage.service_tier and not self._tiered(deed.usage) else None
        reason = doubt if why is None else why
        if reason is not None:
            tally.reasons[str(reason)] += 1
            tally.unpriced_again += reason == "unpriced" and not (cost is None or new_unpriced)
        failed = deed.outcome != Outcome.COMPLETED or (deed.status or 999) >= 400
        self._add(deed.usage.model, requests=1, unmetered=int(why is not None), errors=int(failed))

    def _cost(self) -> Any:
        """Return nano-dollars, None where no price is known, `...` where there is nothing to charge."""
        deed, usage = self._deed, self._deed.usage
        counted = usage.pages is not None or usage.tokens_in is not None
        if deed.told is not None and deed.told != "free":
            return _nano(Decimal(deed.told))
        if deed.road.flat and (counted or (deed.status or 0) // 100 == 2):
            return FLAT_NANO
        return self._price(usage) if counted else ...

    def _price(self, usage: Usage) -> int | None:
        rows = [] if self._is_resold and usage.model not in _HOUSE else _PRICES.get(usage.model or "", [])
        tiered = self._tiered(usage)
        rates = tiered or [row[1:] for row in rows if row[0] <= self._day]
        if not rates:
            return None
        plain, annotated, tokens_in, tokens_out, credit = rates[-1]
        factor = Decimal(1) if usage.model in _HOUSE else self._factor
        if usage.in_batch:
            factor *= Decimal("0.4" if usage.model == "house-ocr" else "0.5")
        if usage.credits_micro is not None:
            return _nano(Decimal(credit) * usage.credits_micro / 10**6)
        cached = usage.tokens_cached or 0
        cost = Decimal(tokens_in if tiered else _CACHED[usage.model or ""]) * cached / 10**6 if cached else Decimal(0)
        for count, rate, unit in (
            (usage.pages, plain, 10**3), (usage.pages_annotated, annotated, 10**3),
            ((usage.tokens_in or 0) - cached, tokens_in, 10**6), (usage.tokens_out, tokens_out, 10**6),
        ):  # fmt: skip
            if count and not rate:
                return None
            cost += Decimal(rate or 0) * (count or 0) / unit
        return _nano(cost * factor)

    def _tiered(self, usage: Usage) -> list[tuple[str, ...]]:
        """Return the rates for the service tier of a usage that hold on the day, the last of which counts."""
        rows = _TIERED.get((usage.model or "", usage.service_tier or ""), [])
        return [row[1:] for row in rows if row[0] <= self._day]

    def _charge(self, usage: Usage, cost: int | None) -> None:
        self._tally.charges += 1
        self._add(
            usage.model,
            pages=usage.pages or 0,
            pages_annotated=usage.pages_annotated or 0,
            tokens_in=usage.tokens_in or 0,
            tokens_out=usage.tokens_out or 0,
            tokens_cached=usage.tokens_cached or 0,
            cost_nano=cost or 0,
            unpriced=int(cost is None),
        )

    def _add(self, model: str | None, **figures: int) -> None:
        deed = self._deed
        half = "am" if deed.at % 86400 < 43200 else "pm"
        key = (
            deed.client,
            deed.label,
            deed.road.path,
            deed.road.host,
            model,
            self._day.isoformat(),
            deed.status,
            deed.sandbox,
            half,
            deed.team,
            model and self._name(model),
        )
        row = self._tally.rows[key]
        for name, value in figures.items():
            row[name] += value

    def _name(self, model: str) -> str:
        """Return what a model is on the day."""
        if model.endswith("-latest") and "ocr" in model:
            return "mistral-ocr-4-1" if self._day >= _SECOND else "mistral-ocr-4-0" if self._day >= _FIRST else "mistral-ocr-2512"
        return {"mistral-small-latest": "mistral-small-2603"}.get(model, model)

    @property
    def _day(self) -> date:
        return datetime.fromtimestamp(self._deed.at, UTC).date()


def _nano(usd: Decimal) -> int:
    return int((usd * 10**9).quantize(Decimal(1), context=_EXACT))

"""How the newest exchanges ended: what is counted, what is measured, and whom a provider refuses."""

from __future__ import annotations

import json
from typing import Any

import pytest

from passthrough.accounting.ledger.queries import ExchangeEnd
from passthrough.admin.recent import MAX_ERRORS, MAX_RECENT, recent_json

GOOD = ExchangeEnd(0, "api.mistral.ai", None, 200, "completed", None, 1.0, 1)


def recent(*newest: ExchangeEnd) -> dict[str, Any]:
    """Return what is said of exchanges, the newest first."""
    found: dict[str, Any] = json.loads(recent_json(newest))
    return found


@pytest.mark.parametrize(
    ("totals_s", "median_s", "p95_s"),
    [
        ((), None, None),
        ((2.5,), 2.5, 2.5),
        ((1.0, 2.0), 1.5, 1.95),
        (tuple(map(float, range(101))), 50.0, 95.0),
        ((0.1234567891,) * 3, 0.123457, 0.123457),
    ],
)
def test_latency(totals_s: tuple[float, ...], median_s: float | None, p95_s: float | None) -> None:
    """The median, and what nineteen of twenty stayed below; null where nothing was answered."""
    found = recent(*(GOOD._replace(total_s=total_s) for total_s in totals_s))
    assert {"median_s": median_s, "p95_s": p95_s} == found["latency"]


@pytest.mark.parametrize(
    "other",
    [
        GOOD._replace(status=400),
        GOOD._replace(status=None),
        GOOD._replace(outcome="client_gone"),
        GOOD._replace(target=None),
        GOOD._replace(outcome="refused", status=429, error="rate_limited"),
    ],
)
def test_what_is_no_answer_has_no_latency(other: ExchangeEnd) -> None:
    """A refusal or an error may come at once, and one that the client left was not answered whole."""
    assert 1.0 == recent(GOOD, other._replace(total_s=0.001), GOOD)["latency"]["median_s"]


def test_errors_are_of_kinds_the_most_frequent_first() -> None:
    """By status, code and outcome; a row may stand for many requests, and the newest of each kind says when."""
    slow = GOOD._replace(status=504, outcome="upstream_failed", error="upstream_timeout")
    gone = GOOD._replace(status=200, outcome="client_gone", began_ms=5)
    unsent = GOOD._replace(status=None, began_ms=4)
    many = GOOD._replace(status=429, outcome="refused", error="rate_limited", requests=9, began_ms=1)
    found = recent(slow._replace(began_ms=7), GOOD, gone, unsent, slow._replace(began_ms=2), many)["errors"]
    assert [
        (429, "rate_limited", "refused", 9, "1970-01-01T00:00:00.001Z"),
        (504, "upstream_timeout", "upstream_failed", 2, "1970-01-01T00:00:00.007Z"),
        (200, None, "client_gone", 1, "1970-01-01T00:00:00.005Z"),
        (None, None, "completed", 1, "1970-01-01T00:00:00.004Z"),
    ] == [tuple(each.values()) for each in found]
    assert ["status", "error", "outcome", "requests", "latest"] == list(found[0])


def test_a_list_of_errors_is_bounded() -> None:
    """Codes come from a few places, but a provider may send any status."""
    kinds = [GOOD._replace(status=400 + number, requests=number) for number in range(MAX_ERRORS + 9)]
    found = recent(*kinds)["errors"]
    assert (MAX_ERRORS, 400 + MAX_ERRORS + 8) == (len(found), found[0]["status"])


def test_a_target_that_refuses_its_credentials() -> None:
    """Its newest response counts, for each deployment apart; what is said without it does not."""
    denied, own = GOOD._replace(status=401, began_ms=3), GOOD._replace(status=401, outcome="refused", error="invalid_key")
    eu = GOOD._replace(deployment="eu")
    found = recent(own, denied, GOOD, eu, eu._replace(status=403), GOOD._replace(target="b", status=403))["rejected"]
    assert [
        {"target": "api.mistral.ai", "deployment": None, "status": 401, "latest": "1970-01-01T00:00:00.003Z"},
        {"target": "b", "deployment": None, "status": 403, "latest": "1970-01-01T00:00:00.000Z"},
    ] == found
    assert [] == recent(own, GOOD, denied)["rejected"]


@pytest.mark.parametrize(("more", "is_all"), [(0, True), (1, False)])
def test_the_newest_are_bounded(more: int, is_all: bool) -> None:
    """One beyond the bound tells that there are more; it counts for nothing else."""
    late = GOOD._replace(status=500)
    found = recent(*[GOOD] * MAX_RECENT, *[late] * more)
    assert (MAX_RECENT, is_all, []) == (found["of"], found["is_all"], found["errors"])

"""What `check` says of a configuration: its routes, without a secret, and who may call."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from passthrough.cli import check
from passthrough.cli.check import callers
from passthrough.config import announce
from passthrough.server import first_messages
from tests.harness.configs import ROUTE, loaded

KEYS = "client_keys:\n  - {name: invoices, key: 0123456789abcdef}\n"
OPEN = "  - {path: /open, target: 'http://h.example', auth: false, include_subpath: true}\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["No client keys: everybody who reaches port 4000 of 127.0.0.1 may call."]),
        ("port: 8000\nhost: '::1'\n", ["No client keys: everybody who reaches port 8000 of ::1 may call."]),
        (OPEN, ["No client keys: everybody who reaches port 4000 of 127.0.0.1 may call."]),
        (KEYS, ["1 client key: invoices."]),
        (KEYS + "  - {name: archive, key: fedcba9876543210}\n", ["2 client keys: invoices, archive."]),
        (KEYS + "master_key: fedcba9876543210\n", ["1 client key: invoices; the master key."]),
        ("master_key: fedcba9876543210\n", ["No client keys; the master key."]),
        (KEYS.replace("}", ", budget: {pages: 5000, per: month}, rpm: 1, max_parallel: 8}") + "budget: {usd: 2.50, per: day}\n",
         ["1 client key: invoices.",
          "invoices: at most 5000 pages per month, 1 request per minute, 8 requests at once.",
          "All together: at most $2.5 per day.",
          "Days begin at 00:00 (UTC), weeks on Monday, months on day 1.",
          "Budgets are warned of at 80 %."]),
        (KEYS + "budget: [{usd: 2, per: day, unpriced: refuse}, {usd: 9, per: month, unpriced: allow}]\n",
         ["1 client key: invoices.",
          "All together: at most $2 per day (unpriced: refuse), $9 per month.",
          "Days begin at 00:00 (UTC), weeks on Monday, months on day 1.",
          "Budgets are warned of at 80 %."]),
        (KEYS.replace("}", ", budget: [{usd: 9, per: day, warn_at: 0.125}, {pages: 5, per: day, warn_at: none}]}")
         + "budget: {usd: 2, per: day}\n",
         ["1 client key: invoices.",
          "invoices: at most $9 per day, 5 pages per day.",
          "All together: at most $2 per day.",
          "Days begin at 00:00 (UTC), weeks on Monday, months on day 1.",
          "Budgets are warned of at 12.5 %: invoices ($9 per day); not warned of: invoices (5 pages per day); "
          "warned of at 80 %: all together ($2 per day)."]),
        ("rpm: 9\nmax_parallel: 1\nledger: none\n",
         ["No client keys: everybody who reaches port 4000 of 127.0.0.1 may call.",
          "All together: at most 9 requests per minute, 1 request at once.",
          "Without a ledger budgets are kept in memory: a restart forgets what was spent."]),
        (OPEN + KEYS, ["1 client key: invoices.", "Without a key (auth: false) everybody may call /open/*."]),
    ],
)  # fmt: skip
def test_who_may_call(tmp_path: Path, text: str, expected: list[str]) -> None:
    """Clients are named; where no key is needed, a sentence says so."""
    assert expected == list(callers(loaded(tmp_path, ROUTE + text)))


def test_whose_list_prices_a_route(tmp_path: Path) -> None:
    """Routes are named with the list that prices them; a host that is not known, and one that bills otherwise, are named."""
    targets = {
        "/mistral": "https://api.mistral.ai', include_subpath: true",
        "/eu": "https://api.eu.mistral.ai'",
        "/gateway": "https://gateway.internal:8443'",
        "/azure": "https://r.services.ai.azure.com'",
        "/router": "https://openrouter.ai/api'",
        "/gemini": "https://generativelanguage.googleapis.com'",
        "/cloud": "https://egress.internal', meter: {price_list: vertex}",
        "/off": "https://api.mistral.ai', meter: {price_list: none}",
        "/flat": "https://flat.internal', cost_per_request: 1",
        "/unread": "https://unread.internal', meter: none",
    }
    text = "".join(f"  - {{path: {path}, target: '{target}}}\n" for path, target in targets.items())
    config = loaded(tmp_path, f"pass_through_endpoints:\n{text}")
    expected = (
        "Prices: Mistral's list for /mistral/*, /eu; Mistral's list for /gateway (not a known host: gateway.internal:8443); "
        "Azure's list for /azure; "
        "no list for /router, /gemini (bills otherwise: openrouter.ai, generativelanguage.googleapis.com); "
        "Vertex's list for /cloud; no list for /off."
    )
    assert expected == announce.price_lists(config)
    assert (logging.INFO, expected) in list(
        first_messages.started(config, "http://127.0.0.1:4000", "http://127.0.0.1:4001", sandbox=False)
    )
    assert (logging.INFO, expected) in list(announce.reloaded(config, replace(config, routes=())))
    assert (logging.INFO, expected) not in list(announce.reloaded(config, config))


def test_labels_and_the_price_map_are_said(tmp_path: Path) -> None:
    """A sentence names the price map with its rows, another the headers that label exchanges, and where not all routes do."""
    row = '"gpt-5": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 1e-6, "output_cost_per_token": 1e-6}'
    (tmp_path / "map.json").write_text(f"{{{row}}}", encoding="utf-8")
    text = """\
pass_through_endpoints:
  - {path: /a, target: 'http://h.example', label_headers: [X-Team]}
  - {path: /b, target: 'http://h.example', include_subpath: true}
label_headers: [{name: X-User, as: user}]
price_map: map.json
"""
    expected = (
        f"What no list has is priced by LiteLLM's price map: {tmp_path / 'map.json'}, 1 row.",
        "Labels: x-user fills label user; x-team fills the plain label on /a.",
    )
    assert expected == check.notes(loaded(tmp_path, text))
    assert () == check.notes(loaded(tmp_path, ROUTE))


def test_many_routes_are_counted_in_the_sentence(tmp_path: Path) -> None:
    """Of many routes the first five are named; where no route is priced by a list, there is no sentence."""
    many = "".join(f"  - {{path: /r{number}, target: 'https://api.mistral.ai'}}\n" for number in range(7))
    config = loaded(tmp_path, f"pass_through_endpoints:\n{many}")
    assert announce.price_lists(config) == "Prices: Mistral's list for /r0, /r1, /r2, /r3, /r4 and 2 more."
    assert announce.price_lists(replace(config, routes=())) is None


@pytest.mark.parametrize(
    ("more", "credentials"),
    [
        ("", "none"),
        ("headers: {Accept: a/b, X-Token: canary, api-key: os.environ/KEY}", "X-Token: ***, api-key: KEY"),
        ("auth: false, forward_credentials: true", "the client's own"),
        ("auth: false, forward_credentials: true, headers: {X-Team: os.environ/KEY}", "the client's own, X-Team: KEY"),
    ],
)
def test_credentials_are_named_and_never_shown(tmp_path: Path, more: str, credentials: str) -> None:
    """A variable is named, a key that stands in the file is ***, and what the client brings is its own."""
    text = f"pass_through_endpoints: [{{path: /a, target: 'http://h.example', {more}}}]\n"
    (row,) = check.rows(loaded(tmp_path, text, {"KEY": "canary"}))
    assert credentials == dict(zip(check.COLUMNS, row, strict=True))["credentials"]


@pytest.mark.parametrize(
    ("more", "price"),
    [
        ("path: /a/ocr", "per page"),
        ("path: /a, include_subpath: true", "page/token"),
        ("path: /a, include_subpath: true, meter: ocr", "per page"),
        ("path: /a, include_subpath: true, meter: chat", "per token"),
        ("path: /a, meter: ocr", "per page"),
        ("path: /a", "not metered"),
        ("path: /a/ocr, meter: none", "not metered"),
        ("path: /a, include_subpath: true, meter: none", "not metered"),
        ("path: /a/ocr, methods: [GET]", "not metered"),
        ("path: /a, meter: none, cost_per_request: 0.0500", "$0.05 per request"),
        ("path: /a/ocr, prices: [{model: m, usd_per_1000_pages: 1}]", "per page, of its own"),
        ("path: /a, meter: chat", "per token"),
        ("path: /v1/chat/completions", "per token"),
        ("path: /v1/batch/jobs, include_subpath: true, methods: [GET], meter: batch", "per page, as a batch"),
        ("path: /a, meter: batch", "per page, as a batch"),
        ("path: /a, meter: {shape: json, count: a}", "per page"),
        ("path: /a, meter: {shape: json, credits: a}", "per credit"),
        ("path: /a, meter: {shape: json, credits: a, constant: 1}", "per credit, else per page"),
        ("path: /a, meter: {shape: json, header: x-pages}", "per page"),
        ("path: /a, meter: {shape: json, credits_header: x-credits}", "per credit"),
        ("path: /a, meter: {shape: json, max: a, tokens_in: b}", "per page, else per token"),
        ("path: /a, meter: {shape: json, credits: a, tokens_out: b}", "per credit, else per token"),
        ("path: /a, meter: {cost_header: [X-Cost, x-b]}", "as x-cost or x-b says, else not metered"),
    ],
)
def test_the_price_is_per_page_only_where_pages_are_counted(tmp_path: Path, more: str, price: str) -> None:
    """A route on which no answer can carry a count has no price per page."""
    text = f"pass_through_endpoints: [{{target: 'http://h.example', {more}}}]\n"
    (row,) = check.rows(loaded(tmp_path, text))
    assert price == dict(zip(check.COLUMNS, row, strict=True))["price"]


def test_the_price_goes_by_the_targets_path_too(tmp_path: Path) -> None:
    """What a route of any path costs is decided where its requests go."""
    (row,) = check.rows(loaded(tmp_path, "pass_through_endpoints: [{path: /a, target: 'http://h.example/v1/ocr'}]\n"))
    assert "per page" == dict(zip(check.COLUMNS, row, strict=True))["price"]


@pytest.mark.parametrize(
    ("meter", "expected"),
    [
        ("ocr", "ocr"),
        ("{shape: ocr, model: m}", "ocr (m)"),
        ("{shape: json, pages: [usage.pages, 'a[].b'], credits: c}", "json: usage.pages, a[].b, c"),
        ("{shape: json, constant: 1, model: m}", "json (m): 1"),
        ("{shape: json, max: '[].p', once: [id, '/job/{}/']}", "json: max [].p; once by id or /job/{}/"),
        ("{shape: json, distinct: [p, q], methods: [POST, GET]}", "json: distinct p, distinct q; on GET, POST"),
        ("{shape: json, count: '[]', lines: true, when: {s: [A, B], t: C}}", "json: []; by lines; when s is A or B; when t is C"),
        ("{shape: json, header: X-Pages, credits_header: X-Credits}", "json: header x-pages, header x-credits"),
        ("{shape: json, pages: n, when: {s: A}, unless: more}", "json: n; when s is A; unless more"),
        ("{shape: json, credits: c, tokens_in: i, tokens_out: o, tokens_cached: h}", "json: c, i, o, h"),
        ("{shape: ocr, header: X-Pages}", "ocr, or header x-pages"),
    ],
)
def test_the_meter_is_shown_with_what_it_counts(tmp_path: Path, meter: str, expected: str) -> None:
    """A configured meter shows where its counts stand."""
    text = f"pass_through_endpoints: [{{path: /a, target: 'http://h.example', meter: {meter}}}]\n"
    (row,) = check.rows(loaded(tmp_path, text))
    assert expected == dict(zip(check.COLUMNS, row, strict=True))["meter"]

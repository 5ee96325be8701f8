"""What an entry is made of: counters that are believed, texts that may be written, the sums of its charges."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest

from passthrough.accounting.entry import MAX_COUNT, MAX_TEXT, Charge, Part, believable, charged, entry, printable
from passthrough.exchange import RouteTerms
from passthrough.meter.usage import NOTHING, Unmetered, Usage, has_counts
from tests.harness.entries import exchange

COUNTERS = ("pages", "pages_annotated", "tokens_in", "tokens_out", "credits_micro", "tokens_cached", "doc_bytes")


@pytest.mark.parametrize("counter", COUNTERS)
def test_a_counter_is_believed_up_to_its_bound(counter: str) -> None:
    """0 and a million million are counts, beside another one; one less and one more leave none at all."""
    one = Usage(pages=1, model="m", tokens_in=1, line="batch-1", in_batch=True, custom_id="c")
    for value in (0, 10**12):
        assert replace(one, **{counter: value}) == believable(replace(one, **{counter: value}))
    for value in (-1, 10**12 + 1):
        nothing = Usage(model="m", unmetered=Unmetered.NO_USAGE, line="batch-1", in_batch=True, custom_id="c")
        assert nothing == believable(replace(one, **{counter: value}))
    assert 10**12 == MAX_COUNT


def test_the_size_of_a_document_is_no_count() -> None:
    """0 pages of a document of some bytes are not believed in silence; 0 pages beside tokens are."""
    assert Unmetered.NO_USAGE is believable(Usage(0, model="m", doc_bytes=7)).unmetered
    assert [None, None, None] == [believable(replace(Usage(0), **{each: 1})).unmetered for each in COUNTERS[1:4]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, None),
        ("", ""),
        ("mistral-ocr-2512", "mistral-ocr-2512"),
        ("ü" * MAX_TEXT, "ü" * MAX_TEXT),
        ("ü" * (MAX_TEXT + 1), "ü" * (MAX_TEXT - 1) + "…"),
        ("a\x1b[2J\n", "a\\x1b[2J\\n"),
        ("\ud800\u202e", "\\ud800\\u202e"),
        ("\n" + "x" * MAX_TEXT, "\\n" + "x" * (MAX_TEXT - 2) + "…"),
    ],
)
def test_texts_are_printable_and_bounded(text: str | None, expected: str | None) -> None:
    """What could act on a terminal or forge a line is an escape; 2000 characters of a text are kept."""
    assert (expected, 2000) == (printable(text), MAX_TEXT)
    found = believable(Usage(1, model=text, line=text or "", custom_id=text or ""))
    assert (expected, expected or "", expected or "") == (found.model, found.line, found.custom_id)


@pytest.mark.parametrize(
    ("costs", "sources", "expected"),
    [
        ((), (), (None, None)),
        ((5,), ("prices.yaml",), (5, "prices.yaml")),
        ((0,), ("prices.yaml",), (0, "prices.yaml")),
        ((None,), (None,), (None, None)),
        ((5, 2, 0), ("prices.yaml", "routes.yaml", None), (7, "prices.yaml")),
        ((5, 2), ("prices.yaml", "routes.yaml"), (7, "prices.yaml")),
        ((0, 0), (None, "routes.yaml"), (0, "routes.yaml")),
        ((5, None), ("prices.yaml", None), (None, None)),
        ((None, 5, 2), (None, "prices.yaml", None), (None, None)),
        ((None, None), (None, None), (None, None)),
    ],
)
def test_the_cost_of_an_entry(
    costs: tuple[int | None, ...], sources: tuple[str | None, ...], expected: tuple[int | None, str | None]
) -> None:
    """An entry costs what its charges do together; one without a price leaves the sum unknown, and the entry unpriced."""
    charges = tuple(Charge("m", 1, cost_nano=cost, cost_source=source) for cost, source in zip(costs, sources, strict=True))
    made = entry(exchange(), Usage(1, model="m"), charges)
    assert expected == (made.cost_nano, made.cost_source)
    assert ("unpriced" if None in costs else None, 1) == (made.unmetered, made.requests)


ALL = Usage(
    pages=1,
    pages_annotated=2,
    model="m",
    doc_bytes=3,
    tokens_in=4,
    tokens_out=5,
    credits_micro=6,
    line="l",
    in_batch=True,
    tokens_cached=7,
    service_tier="priority",
    credits="0.000006",
    custom_id="c",
)


def test_a_charge_has_all_that_a_usage_counts() -> None:
    """Each field under its own name, and its cost; a source only where there is a cost."""
    of_usage = {name: value for name, value in asdict(ALL).items() if name != "unmetered"}
    price = {"cost_nano": 8, "cost_source": "prices.yaml", "priced_as": "p"}
    assert of_usage | price == asdict(charged(ALL, 8, "prices.yaml", "p"))
    assert of_usage | dict.fromkeys(price) == asdict(charged(ALL))
    assert (0, "x") == (charged(ALL, 0, "x").cost_nano, charged(ALL, 0, "x").cost_source)
    assert None is charged(ALL, None, "prices.yaml").cost_source


def test_an_entry_has_all_that_an_exchange_is() -> None:
    """Each field under its own name: no two are exchanged, and none is lost."""
    made = exchange("client")
    made.label, made.target, made.sandbox, made.status = "label", "target", True, 201
    made.error, made.attempts, made.upstream_request_id = "error", 3, "request"
    made.bytes_up, made.bytes_down, made.first_byte_s, made.total_s, made.overhead_s = 4, 5, 6.0, 7.0, 8.0
    made.deployment, made.model_group, made.why = "azure-1", "group", "vertex: 503"
    made.terms = RouteTerms("/route", account="account")
    found = asdict(entry(made, ALL, (charged(ALL, 8, "x"),)))
    same = [name for name in found.keys() & asdict(made).keys() if name not in {"outcome", "labels"}]
    assert {name: asdict(made)[name] for name in same} == {name: found[name] for name in same}
    assert ("/route", "account", "completed", Part.WHOLE) == tuple(
        found[name] for name in ("route", "account", "outcome", "part")
    )
    assert (None, None, 1, asdict(ALL)) == tuple(
        found[name] for name in ("estimated_pages", "estimated_nano", "requests", "usage")
    )
    made.terms = RouteTerms("/route")
    assert "target" == entry(made, ALL).account


@pytest.mark.parametrize("name", ["deployment", "model_group", "why"])
def test_what_names_a_deployment_is_printable_and_bounded(name: str) -> None:
    """A wildcard's group has the client's text as its name."""
    made = exchange("client")
    assert None is getattr(entry(made, ALL), name)
    setattr(made, name, "a\n" + "b" * 3000)
    found = getattr(entry(made, ALL), name)
    assert (r"a\nb", "…") == (found[:4], found[-1])
    assert 2001 == len(found)


def test_labels_are_one_object_of_ascii() -> None:
    """Each label's name with its value, made printable; without any there is none."""
    made = exchange()
    assert None is entry(made, NOTHING).labels
    made.labels = (("team", "a\nb"), ("user", "ü"))
    found = entry(made, NOTHING).labels
    assert ({"team": "a\\nb", "user": "ü"}, True) == (json.loads(found or ""), (found or "").isascii())


@pytest.mark.parametrize("name", ["model", "line", "custom_id"])
def test_each_text_of_a_usage_is_made_printable(name: str) -> None:
    """Also where the others are."""
    assert replace(ALL, **{name: "a\\nb"}) == believable(replace(ALL, **{name: "a\nb"}))
    assert ALL is believable(ALL)


@pytest.mark.parametrize("counter", COUNTERS[:5])
def test_each_counter_can_have_a_price(counter: str) -> None:
    """Pages, tokens and credits are counted, be they 0; a document's size and cached tokens are no count of their own."""
    assert has_counts(replace(NOTHING, **{counter: 0}))
    assert not has_counts(Usage(model="m", doc_bytes=7))

"""What an entry is made of: counters that are believed, texts that may be written, the sums of its charges."""

from __future__ import annotations

from dataclasses import replace

import pytest

from passthrough.accounting.entry import MAX_COUNT, MAX_TEXT, Charge, believable, counted, entry, printable
from passthrough.meter.usage import NOTHING, Unmetered, Usage
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
        ((5, None), ("prices.yaml", None), (None, "prices.yaml")),
        ((None, 5, 2), (None, "prices.yaml", None), (None, "prices.yaml")),
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


@pytest.mark.parametrize("counter", COUNTERS[:5])
def test_each_counter_can_have_a_price(counter: str) -> None:
    """Pages, tokens and credits are counted, be they 0; a document's size and cached tokens are no count of their own."""
    assert counted(replace(NOTHING, **{counter: 0}))
    assert not counted(Usage(model="m", doc_bytes=7))

"""Databases of every encoding: what they cannot store is stored escaped, and no text costs an entry."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from passthrough.accounting.budget import LeaseRequest, Period, Scope, Span, Unit
from passthrough.accounting.budgets.lease_client import LeaseClient
from passthrough.accounting.entry import Charge
from passthrough.accounting.ledger.ledger import Ledger
from passthrough.accounting.ledger.storable_text import storable, storable_text
from passthrough.accounting.named_labels import labels_text
from passthrough.errors import LastingLedgerError, LedgerError, UnservableLedgerError
from tests.harness.entries import booked, one
from tests.harness.postgres import Postgres
from tests.harness.process import command

TEXTS = {
    "UTF8": ("→ 日本 é", "→ 日本 é"),
    "SQL_ASCII": ("→ 日本 é", "→ 日本 é"),
    "LATIN1": ("→ é", r"\u2192 é"),
    "LATIN9": ("→ € é", r"\u2192 € é"),
    "WIN1252": ("→ €", r"\u2192 €"),
    "KOI8R": ("→ Привет", r"\u2192 Привет"),
    "EUC_JP": ("€ 日本", r"\u20ac 日本"),
    "EUC_TW": ("é 日", r"\xe9 \u65e5"),  # Python has no codec of that name
}
"""A label, and how each encoding keeps it."""


@pytest.fixture
def encoded_url(postgres: Postgres, request: pytest.FixtureRequest) -> Iterator[str]:
    """Yield the URL of a new database in an encoding."""
    name = f"books_{os.urandom(6).hex()}"
    yield postgres.create(name, request.param)
    postgres.drop(name)


@pytest.mark.parametrize(("encoded_url", "encoding"), [(name, name) for name in TEXTS], indirect=["encoded_url"])
def test_a_label_is_stored_as_the_database_can(encoded_url: str, encoding: str) -> None:
    """What the encoding holds is as it was, the rest is its escape; lines are still booked once, and the latest can be found."""
    text, kept = TEXTS[encoding]
    entry = replace(booked(), label=text, client=text, route=text, account=text, labels=labels_text({"team": text}))
    charges = (Charge(text, 1, 0, cost_nano=1, line=text), Charge(text, 1, 0, cost_nano=1, line=f"{text}2"))
    entries = [replace(entry, charges=charges), replace(booked(), label=text, account=text, charges=charges)]
    with closing(Ledger.open(encoded_url)) as ledger:
        assert 2 == len(ledger.append(entries))
        assert [] == ledger.append(entries)
        (found,) = ledger.sums(("label",))
        assert [((kept,), 2, 2)] == [(row.key, row.requests, row.pages) for row in found]
        assert [kept, kept] == [row.label for row in ledger.latest(9, label=text)]
        (teams,) = ledger.sums(("label.team",))
        assert [None, kept] == [row.key[0] for row in teams]
        assert 1 == len(ledger.latest(9, **{"label.team": text}))
        assert {kept, ""} == {row.charge.line[: len(kept)] for row in ledger.exported() if row.charge} | {""}


@pytest.mark.parametrize("encoded_url", ["LATIN1"], indirect=True)
def test_a_custom_id_is_stored_as_the_database_can(encoded_url: str) -> None:
    """Where it alone has other characters, it still tells two lines of one id apart, and each of them is booked once."""
    names = ("scan \u2192", "scan \u2190", "scan \u2192")
    charges = [Charge("m", 1, 0, cost_nano=1, line="0", custom_id=name) for name in names]
    with closing(Ledger.open(encoded_url)) as ledger:
        found = [ledger.append([replace(booked(), account="one", charges=(charge,))]) for charge in charges]
    assert [1, 1, 0] == [len(entry.charges) for (entry,) in found]


@pytest.mark.parametrize("encoded_url", ["LATIN1"], indirect=True)
def test_a_budget_of_a_client_that_cannot_be_spelt_holds(encoded_url: str) -> None:
    """What is spent is found under the name as it stands in the ledger, whatever the name is."""
    period = Period(0, 4_102_444_800_000)
    span = Span(Scope("client", "größe →"), Unit.PAGES, sandbox=False, period=period)
    with closing(Ledger.open(encoded_url)) as ledger:
        leasing = LeaseClient(ledger)
        asked = LeaseRequest(span, 10, 0, 2)
        ledger.append([booked("größe →", pages=3)])
        assert 3 == leasing.ask([asked])[asked].spent
        ledger.append([booked("größe →", pages=4)])
        assert (7, {span: 7}) == (leasing.ask([asked])[asked].spent, leasing.survey([span]))


@pytest.mark.parametrize("label", ["a\0b", "a\ud800b", "→\0", "\udfff\0\ud800"])
def test_what_no_database_stores_is_escaped(ledger_url: str, label: str) -> None:
    """A NUL, and half of a pair of surrogates, cost no entry, nor those beside it; they are found again by their text."""
    with closing(Ledger.open(ledger_url)) as ledger:
        accepted = ledger.append([booked(), replace(booked(), label=label), booked()])
        assert (3, 3) == (len(accepted), one(ledger)[0])
        (found,) = ledger.latest(9, label=label)
        assert found.label is not None
        assert found.label == storable_text(label, "utf-8")
        assert found.label.isprintable()


@pytest.mark.parametrize("encoded_url", ["MULE_INTERNAL"], indirect=True)
def test_an_encoding_that_can_never_serve_is_said_by_name(encoded_url: str) -> None:
    """That is known as soon as the server is asked, and said in the same words whenever it is used."""
    with closing(Ledger.at(encoded_url)) as ledger:
        for ask in (ledger.check_writable, lambda: ledger.append([booked()])):
            with pytest.raises(UnservableLedgerError, match=r"MULE_INTERNAL.*\n.*UTF8"):
                ask()


@pytest.mark.process
@pytest.mark.parametrize("encoded_url", ["MULE_INTERNAL"], indirect=True)
async def test_with_such_an_encoding_it_does_not_start(encoded_url: str, tmp_path: Path) -> None:
    """The server can be asked at the start: then it is a problem of the configuration, exit code 2."""
    (tmp_path / "routes.yaml").write_text(
        f"pass_through_endpoints: [{{path: /m, target: 'http://127.0.0.1:9'}}]\nledger: '{encoded_url}'\n"
    )
    code, _, said = await command(tmp_path, "serve", "--port", "0", "--admin-port", "0")
    assert (2, True) == (code, "routes.yaml ledger: " in said and "MULE_INTERNAL" in said), said


def test_a_server_that_is_not_there_is_not_waited_for() -> None:
    """That it is away is said, and it may come back: it is no error that lasts."""
    with closing(Ledger.at("postgresql://127.0.0.1:1/books")) as ledger:
        for ask in (ledger.check_writable, lambda: ledger.append([booked()])):
            with pytest.raises(LedgerError, match="cannot be reached") as caught:
                ask()
            assert not isinstance(caught.value, LastingLedgerError | UnservableLedgerError)


@settings(max_examples=200)
@given(
    text=st.text(st.characters(codec=None) | st.sampled_from("\0\ud800\udfff→é")),
    codec=st.sampled_from(["utf-8", "latin1", "ascii"]),
)
def test_whatever_a_text_is_its_codec_holds_it(text: str, codec: str) -> None:
    """What is held already stays as it is, what is escaped is held, and escaping twice changes nothing more."""
    held = storable_text(text, codec)
    assert "\0" not in held
    assert held.encode(codec).decode(codec) == held
    assert storable_text(held, codec) == held
    (entry,) = storable([replace(booked(), label=text)], codec)
    assert entry.label == held

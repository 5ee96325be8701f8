"""Nano-dollars as decimals, and JSON that has them: every digit, no float, no exponent."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passthrough.accounting.money import NANO, Number, json_object, json_text, members, rounded_usd, usd


@pytest.mark.parametrize(
    ("nano", "expected"),
    [
        (None, None),
        (0, "0"),
        (1, "0.000000001"),
        (-1, "-0.000000001"),
        (48_000_000, "0.048"),
        (NANO - 1, "0.999999999"),
        (NANO, "1"),
        (-NANO, "-1"),
        (10 * NANO, "10"),
        (100 * NANO + 500_000_000, "100.5"),
        (2**63 - 1, "9223372036.854775807"),
    ],
)
def test_dollars(nano: int | None, expected: str | None) -> None:
    """Nine decimals at most, none that is not needed; the zeros of whole dollars stay."""
    assert expected == usd(nano)


@pytest.mark.parametrize(
    ("nano", "expected"),
    [
        (0, "0.00"),
        (1, "<0.0001"),
        (49_999, "<0.0001"),
        (50_000, "0.0001"),
        (48_000_000, "0.0480"),
        (999_949_999, "0.9999"),
        (999_950_000, "1.00"),
        (NANO, "1.00"),
        (1_004_999_999, "1.00"),
        (1_005_000_000, "1.01"),
        (1234 * NANO + 500_000_000, "1,234.50"),
        (60_795_600 * NANO, "60,795,600.00"),
        (-1, "-0.0001"),
        (-48_000_000, "-0.0480"),
        (-1234 * NANO, "-1,234.00"),
    ],
)
def test_dollars_for_people(nano: int, expected: str) -> None:
    """Cents, below a dollar four digits, thousands separated; what is not nothing is never shown as nothing."""
    assert expected == rounded_usd(nano)


@given(st.integers(-(2**63), 2**63 - 1))
def test_dollars_for_people_are_near(nano: int) -> None:
    """Not more than half of their last digit away, or less than they say."""
    text = rounded_usd(nano).replace(",", "")
    if text not in {"<0.0001", "-0.0001"}:
        assert abs(Decimal(nano).scaleb(-9) - Decimal(text)) <= Decimal(5).scaleb(-len(text.partition(".")[2]) - 1)


@given(st.integers(-(2**63), 2**63 - 1))
def test_dollars_are_exact(nano: int) -> None:
    """The text is the amount."""
    assert nano == Decimal(usd(nano) or "").scaleb(9)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ((), "{}"),
        ((("a", 1),), '{"a": 1}'),
        ((("usd", usd(48_000_000)),), '{"usd": 0.048}'),
        ((("a", 1), ("usd", usd(1)), ("b", "0.1"), ("c", None)), '{"a": 1, "usd": 0.000000001, "b": "0.1", "c": null}'),
        ((("x", Number("1")), ("y", Number("[2, 3]")), ("z", True)), '{"x": 1, "y": [2, 3], "z": true}'),
        ((('Ä"', "ü\n"), ("ß", Number("7"))), '{"Ä\\"": "ü\\n", "ß": 7}'),
    ],
)
def test_an_object(fields: tuple[tuple[str, object], ...], expected: str) -> None:
    """The keys in their order, numbers as they are spelt, letters as themselves."""
    assert expected == json_object(fields)
    assert [name for name, _ in fields] == list(json.loads(expected))


def test_members_are_an_object_without_its_braces() -> None:
    """So that others can be put before or behind them."""
    assert ('"a": 1, "b": "ü"', '"ü"') == (members((("a", 1), ("b", "ü"))), json_text("ü"))

"""Which values of a response are counts, and which can name a model: at their very edges."""

from __future__ import annotations

from decimal import Decimal

import pytest

from passthrough.meter.jsonscan.paths import Mark, Value
from passthrough.meter.shapes.values import count, model_name


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, 0),
        (1, 1),
        (2**53, 2**53),
        (2**53 + 1, None),
        (-1, None),
        (Decimal("0.0"), 0),
        (Decimal("-0.0"), 0),
        (Decimal("0e9"), 0),
        (Decimal("12.0"), 12),
        (Decimal("1.2e1"), 12),
        (Decimal(f"{2**53}.0"), 2**53),
        (Decimal(f"{2**53}.5"), None),
        (Decimal(f"{2**53 + 1}.0"), None),
        (Decimal("0.5"), None),
        (Decimal("-1.0"), None),
        (Decimal("1e400"), None),
        (True, None),
        (False, None),
        ("12", None),
        (None, None),
        (Mark.LONG, None),
        (Mark.OBJECT, None),
    ],
)
def test_what_is_a_count(value: Value, expected: int | None) -> None:
    """A count is a whole number from 0 to 2⁵³, however it is spelt; true is none, nor is a text."""
    found = count(value)
    assert (expected, True) == (found, found is None or type(found) is int)


@pytest.mark.parametrize(
    ("value", "expected"),
    [("m", "m"), ("", None), ("m" * 200, "m" * 200), ("m" * 201, None), (None, None), (7, None), (Mark.LONG, None)],
)
def test_what_can_name_a_model(value: Value, expected: str | None) -> None:
    """A text of 1 to 200 characters."""
    assert expected == model_name(value)

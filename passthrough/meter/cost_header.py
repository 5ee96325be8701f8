"""Parses the cost of a request, in USD, from a response header of the provider."""

from __future__ import annotations

import re
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final

_MAX_LENGTH: Final = 40
_MAX_USD: Final = 9 * 10**9  # 64 bits of nano-dollars hold it
_NANO: Final = Decimal(10**9)
_NUMBER: Final = re.compile(r"[0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]{1,3})?").fullmatch


def reported_nano(value: bytes | None) -> int | None:
    """Return a field's value, decimal USD, as nano-USD, rounded half to even; None if it is no plausible amount.

    An amount is a number from 0 to 9·10⁹ of at most 40 characters: `0.00125`, `1.25e-03`. No sign, no currency.
    """
    if value is None or len(value) > _MAX_LENGTH:
        return None
    spelt = value.strip().decode("ascii", "replace")
    if not _NUMBER(spelt):
        return None
    usd = Decimal(spelt)
    return None if usd > _MAX_USD else int((usd * _NANO).to_integral_value(ROUND_HALF_EVEN))

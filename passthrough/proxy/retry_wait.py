"""How long to wait before a request is sent again: Retry-After, or a wait that doubles; pure."""

from __future__ import annotations

import re
from calendar import timegm
from collections.abc import Iterable
from datetime import MAXYEAR, MINYEAR
from email.utils import parsedate_tz
from math import inf
from typing import Final

_FIRST_DELAY_S: Final = 0.5
_MAX_DELAY_S: Final = 8.0
_SECONDS: Final = re.compile(rb"\+?[0-9]++(?:\.[0-9]*+)?(?:[ \t]*,[ \t]*\+?[0-9]++(?:\.[0-9]*+)?)*").fullmatch


def doubled_delay_s(tries: int, chance: float) -> float:
    """Return the wait after a try, the first is 1: it doubles from 0.5 s to 8 s, less up to a half by `chance`."""
    return min(_FIRST_DELAY_S * float(1 << tries - 1), _MAX_DELAY_S) * (1 - chance / 2)


def retry_after_s(fields: Iterable[bytes], now_utc: float) -> float | None:
    """Return the seconds that the fields Retry-After ask for, the longest of several; None where there is none to be read."""
    waits = [wait_s for field in fields if (wait_s := _wait_s(field, now_utc)) is not None]
    return max(waits, default=None)


def _wait_s(retry_after: bytes, now_utc: float) -> float | None:
    """Return the seconds that one Retry-After asks for, infinite for a date behind the last year; None where it is malformed.

    1. A number of seconds; a fraction too, and the longest of a list, for a gateway may have joined two fields (RFC 9110 §5.3).
    2. A date in one of the three forms, each in UTC (RFC 9110 §5.6.7). A day or an hour too many is counted on.
    """
    if _SECONDS(retry_after):
        return max(map(float, retry_after.split(b",")))
    parts = parsedate_tz(retry_after.decode("ascii", "replace"))
    if parts is None:
        return None
    if parts[0] > MAXYEAR:
        return inf
    if parts[0] < MINYEAR:
        return 0.0
    return max(0.0, timegm(parts[:6]) - (parts[9] or 0) - now_utc)

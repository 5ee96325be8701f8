"""When a request may be sent again, and how long to wait before; values in, values out (RFC 9110 §9.2.2, §10.2.3)."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import Final

from .routes import Retries
from .upstream.response_head import ResponseHead

_FIRST_S: Final = 0.5
_MAX_S: Final = 8.0


def retry_delay_s(retries: Retries, response: ResponseHead, tries: int, now_utc: float, chance: float) -> float | None:
    """Return the seconds to wait before another try after this answer, None where it is to be relayed.

    `tries` is how often it was sent so far, `chance` a random number from 0 to 1. Retry-After is honoured, and ends the matter
    where it asks for more than `max_wait_s`; without one the wait doubles from 0.5 s to 8 s, less up to a half, so that clients
    that failed together do not come back together.
    """
    if response.status not in retries.statuses or tries > retries.attempts:
        return None
    asked = _retry_after_s(response.first(b"retry-after"), now_utc)
    if asked is not None:
        return asked if asked <= retries.max_wait_s else None
    doubled = _FIRST_S * float(1 << tries - 1)
    return min(min(doubled, _MAX_S) * (1 - chance / 2), retries.max_wait_s)


def _retry_after_s(retry_after: bytes | None, now_utc: float) -> float | None:
    """Return what Retry-After asks for, in seconds or as a date; None where it says nothing that is understood."""
    if retry_after is None:
        return None
    if retry_after.isdigit() and len(retry_after) < 10:
        return float(retry_after)
    try:
        asked: float = parsedate_to_datetime(retry_after.decode("ascii", "replace")).timestamp() - now_utc
    except (ValueError, OverflowError):
        return None
    return max(0.0, asked)

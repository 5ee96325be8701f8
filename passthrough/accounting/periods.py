"""The calendar of budgets: when minutes, days, weeks and months begin and end in a time zone."""

from __future__ import annotations

from calendar import monthrange
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from .budget import Calendar, Per, Period

_MINUTE_MS = 60_000
_DAY = timedelta(days=1)
_SECOND = timedelta(seconds=1)


def period_of(calendar: Calendar, per: Per, at_ms: int) -> Period:
    """Return the period that contains a moment (milliseconds since the epoch); periods leave no gap and never overlap.

    A day begins when the zone's clocks first show its hour: (1) where that hour is skipped, at the moment of the change;
    (2) where it comes twice, the first time. So a day may have 23 or 25 hours, and a day that a country skipped has none.
    Minutes are the same everywhere: no zone's offset has seconds today.
    """
    if per == Per.MINUTE:
        starts_ms = at_ms - at_ms % _MINUTE_MS
        return Period(starts_ms, starts_ms + _MINUTE_MS)
    zone = ZoneInfo(calendar.zone)
    local = datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(zone).replace(tzinfo=None)
    first = _first_day(calendar, per, (local - timedelta(minutes=calendar.day_starts_minute)).date())
    # A change of the clocks may have moved the guess by one period, in either direction.
    while _begins_ms(calendar, zone, first) > at_ms:
        first = _first_day(calendar, per, first - _DAY)
    following = _next_first(calendar, per, first)
    while (ends_ms := _begins_ms(calendar, zone, following)) <= at_ms:
        first, following = following, _next_first(calendar, per, following)
    return Period(_begins_ms(calendar, zone, first), ends_ms)


def _first_day(calendar: Calendar, per: Per, day: date) -> date:
    """Return the first day of the period that a day belongs to."""
    if per == Per.DAY:
        return day
    if per == Per.WEEK:
        return day - timedelta(days=(day.weekday() - calendar.week_starts) % 7)
    first = _in_month(calendar, day.year, day.month)
    if first <= day:
        return first
    before = day.replace(day=1) - _DAY
    return _in_month(calendar, before.year, before.month)


def _next_first(calendar: Calendar, per: Per, first: date) -> date:
    if per == Per.DAY:
        return first + _DAY
    if per == Per.WEEK:
        return first + timedelta(days=7)
    year, month = (first.year + 1, 1) if first.month == 12 else (first.year, first.month + 1)
    return _in_month(calendar, year, month)


def _in_month(calendar: Calendar, year: int, month: int) -> date:
    return date(year, month, min(calendar.month_starts, monthrange(year, month)[1]))


def _begins_ms(calendar: Calendar, zone: ZoneInfo, day: date) -> int:
    """Return when the clocks of a zone first show the hour at which a day starts."""
    shown = datetime.combine(day, time()) + timedelta(minutes=calendar.day_starts_minute)
    # PEP 495: with fold 0 a doubled hour is the first one, and a skipped hour lies after the change; with fold 1, before it.
    begins = shown.replace(tzinfo=zone).astimezone(UTC)
    if begins.astimezone(zone).replace(tzinfo=None) != shown:
        before = shown.replace(tzinfo=zone, fold=1).astimezone(UTC)
        while begins - before > _SECOND:
            middle = before + (begins - before) // 2
            if middle.astimezone(zone).replace(tzinfo=None) < shown:
                before = middle
            else:
                begins = middle
    return int(begins.timestamp()) * 1000

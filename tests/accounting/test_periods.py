"""Periods: where days, weeks and months begin, also where clocks change and months are short."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passthrough.accounting.budget import Calendar, Per
from passthrough.accounting.periods import period_of


def ms(text: str) -> int:
    """Return a moment, written in UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def shown(calendar: Calendar, per: Per, at: str) -> tuple[str, str]:
    """Return the period of a moment as text, in UTC."""
    period = period_of(calendar, per, ms(at))
    starts, ends = (datetime.fromtimestamp(each / 1000, UTC) for each in (period.starts_ms, period.ends_ms))
    return f"{starts:%Y-%m-%dT%H:%M}", f"{ends:%Y-%m-%dT%H:%M}"


UTC_DAYS = Calendar()
BERLIN = Calendar("Europe/Berlin")
AT_SIX = Calendar("Europe/Berlin", day_starts_minute=6 * 60)
IN_THE_GAP = Calendar("Europe/Berlin", day_starts_minute=2 * 60 + 30)
APIA = Calendar("Pacific/Apia")


@pytest.mark.parametrize(
    ("calendar", "per", "at", "expected"),
    [
        (UTC_DAYS, Per.MINUTE, "2026-02-28T23:59:59.999", ("2026-02-28T23:59", "2026-03-01T00:00")),
        (Calendar("Asia/Kathmandu"), Per.MINUTE, "2026-02-28T12:00", ("2026-02-28T12:00", "2026-02-28T12:01")),
        (UTC_DAYS, Per.DAY, "2026-02-28T23:59:59.999", ("2026-02-28T00:00", "2026-03-01T00:00")),
        (UTC_DAYS, Per.DAY, "2026-03-01T00:00", ("2026-03-01T00:00", "2026-03-02T00:00")),
        (UTC_DAYS, Per.WEEK, "2026-11-22T23:59", ("2026-11-16T00:00", "2026-11-23T00:00")),
        (Calendar(week_starts=6), Per.WEEK, "2026-11-22T23:59", ("2026-11-22T00:00", "2026-11-29T00:00")),
        (UTC_DAYS, Per.MONTH, "2026-12-31T23:59", ("2026-12-01T00:00", "2027-01-01T00:00")),
        (UTC_DAYS, Per.MONTH, "2028-02-29T23:59", ("2028-02-01T00:00", "2028-03-01T00:00")),
        # The month begins on the 31st, or on the last day there is.
        (Calendar(month_starts=31), Per.MONTH, "2026-02-27T12:00", ("2026-01-31T00:00", "2026-02-28T00:00")),
        (Calendar(month_starts=31), Per.MONTH, "2026-02-28T00:00", ("2026-02-28T00:00", "2026-03-31T00:00")),
        (Calendar(month_starts=31), Per.MONTH, "2028-02-28T12:00", ("2028-01-31T00:00", "2028-02-29T00:00")),
        (Calendar(month_starts=15), Per.MONTH, "2026-01-14T12:00", ("2025-12-15T00:00", "2026-01-15T00:00")),
        # Another zone, another hour.
        (BERLIN, Per.DAY, "2026-06-30T22:30", ("2026-06-30T22:00", "2026-07-01T22:00")),
        (AT_SIX, Per.DAY, "2026-06-30T03:59", ("2026-06-29T04:00", "2026-06-30T04:00")),
        (AT_SIX, Per.MONTH, "2026-07-01T03:59", ("2026-06-01T04:00", "2026-07-01T04:00")),
        # Clocks go forward on 29 March and back on 25 October 2026: 23 and 25 hours.
        (BERLIN, Per.DAY, "2026-03-29T12:00", ("2026-03-28T23:00", "2026-03-29T22:00")),
        (BERLIN, Per.DAY, "2026-10-25T12:00", ("2026-10-24T22:00", "2026-10-25T23:00")),
        (BERLIN, Per.WEEK, "2026-03-29T12:00", ("2026-03-22T23:00", "2026-03-29T22:00")),
        (BERLIN, Per.MONTH, "2026-10-25T12:00", ("2026-09-30T22:00", "2026-10-31T23:00")),
        # 02:30 does not exist: the day begins when the clocks jump over it.
        (IN_THE_GAP, Per.DAY, "2026-03-29T00:59", ("2026-03-28T01:30", "2026-03-29T01:00")),
        (IN_THE_GAP, Per.DAY, "2026-03-29T01:00", ("2026-03-29T01:00", "2026-03-30T00:30")),
        # 02:30 comes twice: the first one counts.
        (IN_THE_GAP, Per.DAY, "2026-10-25T00:30", ("2026-10-25T00:30", "2026-10-26T01:30")),
        (IN_THE_GAP, Per.DAY, "2026-10-25T01:29", ("2026-10-25T00:30", "2026-10-26T01:30")),
        # Midnight itself is skipped, or comes twice.
        (Calendar("America/Havana"), Per.DAY, "2026-03-08T12:00", ("2026-03-08T05:00", "2026-03-09T04:00")),
        (Calendar("America/Havana"), Per.DAY, "2026-11-01T05:30", ("2026-11-01T04:00", "2026-11-02T05:00")),
        # Samoa had no 30 December 2011.
        (APIA, Per.DAY, "2011-12-30T09:59", ("2011-12-29T10:00", "2011-12-30T10:00")),
        (APIA, Per.DAY, "2011-12-30T10:00", ("2011-12-30T10:00", "2011-12-31T10:00")),
    ],
)
def test_a_moment_lies_in_the_period_that_the_calendar_says(
    calendar: Calendar, per: Per, at: str, expected: tuple[str, str]
) -> None:
    """Days begin at their hour in their zone, weeks and months on their day, whatever the clocks do."""
    assert expected == shown(calendar, per, at)


@pytest.mark.parametrize("minute", range(2 * 60, 3 * 60, 7))
def test_a_day_whose_hour_is_skipped_begins_with_the_change(minute: int) -> None:
    """To the millisecond, whichever minute of the hour that does not exist: not a second before or after."""
    calendar, change = Calendar("Europe/Berlin", day_starts_minute=minute), ms("2026-03-29T01:00")
    assert change == period_of(calendar, Per.DAY, change).starts_ms
    assert change == period_of(calendar, Per.DAY, change - 1).ends_ms


CALENDARS = st.builds(
    Calendar,
    zone=st.sampled_from(sorted(available_timezones() - {"localtime"})),
    day_starts_minute=st.integers(0, 24 * 60 - 1),
    week_starts=st.integers(0, 6),
    month_starts=st.integers(1, 31),
)


@given(CALENDARS, st.sampled_from(Per), st.integers(ms("2000-01-01"), ms("2037-12-31")))
def test_periods_tile_time(calendar: Calendar, per: Per, at_ms: int) -> None:
    """Every moment lies in exactly one period: the next begins where one ends, and both ends say the same."""
    period = period_of(calendar, per, at_ms)
    assert period.starts_ms <= at_ms < period.ends_ms
    assert period == period_of(calendar, per, period.starts_ms)
    assert period == period_of(calendar, per, period.ends_ms - 1)
    assert period.ends_ms == period_of(calendar, per, period.ends_ms).starts_ms
    assert period.starts_ms == period_of(calendar, per, period.starts_ms - 1).ends_ms


@given(CALENDARS, st.integers(ms("2000-01-01"), ms("2037-12-31")))
def test_longer_periods_begin_with_a_day(calendar: Calendar, at_ms: int) -> None:
    """A week and a month begin when one of their days does."""
    for per in (Per.WEEK, Per.MONTH):
        starts_ms = period_of(calendar, per, at_ms).starts_ms
        assert starts_ms == period_of(calendar, Per.DAY, starts_ms).starts_ms

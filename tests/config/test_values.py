"""Single values as numbers: each unit, and the edges of what may be written. Their messages are `test_problems`."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest

from passthrough.config import values
from passthrough.config.problems import InvalidValue

DAY_S = 86_400


def parsed(parse: Callable[[str], object], text: str) -> object:
    """Return the value of a text, or `wrong` where there is none."""
    try:
        return parse(text)
    except InvalidValue:
        return "wrong"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", 1),
        ("1b", 1),
        ("1B", 1),
        ("1kB", 1_000),
        ("1MB", 1_000_000),
        ("1GB", 1_000_000_000),
        ("1TB", 1_000_000_000_000),
        ("1KiB", 1_024),
        ("1MiB", 1_048_576),
        ("1GiB", 1_073_741_824),
        ("1TiB", 1_099_511_627_776),
        ("1.5GB", 1_500_000_000),
        (" 2 kb ", 2_000),
        ("0.5KiB", 512),
        (str(2**60 // 2**40) + "TiB", 2**60),
        ("1048576.5TiB", "wrong"),
        ("999999TiB", 999_999 * 2**40),
        ("0.5", "wrong"),
        ("0", "wrong"),
        ("0TiB", "wrong"),
        ("1PB", "wrong"),
        ("1 GB B", "wrong"),
    ],
)
def test_sizes(text: str, expected: object) -> None:
    """kB to TB are powers of ten, KiB to TiB of two; a size is a whole number of bytes, 1 to 2⁶⁰."""
    assert expected == parsed(values.size, text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", 1.0),
        ("1s", 1.0),
        ("1ms", 0.001),
        ("1m", 60.0),
        ("1h", 3_600.0),
        ("1d", 86_400.0),
        ("36500d", 36_500.0 * DAY_S),
        ("36500.000001d", "wrong"),
        ("0.000000001ms", 1e-12),
        ("0", "wrong"),
        ("0s", "wrong"),
        ("1w", "wrong"),
        ("1S", "wrong"),
    ],
)
def test_durations(text: str, expected: object) -> None:
    """Each unit in seconds; more than 0, a hundred years of 365 days at most."""
    assert expected == parsed(values.duration, text)
    assert expected == parsed(values.duration_or_none, text)
    assert (0.0 if text in {"0", "0s"} else expected) == parsed(values.delay, text)


@pytest.mark.parametrize(
    ("parse", "text", "expected"),
    [
        (values.rate_or_none, "none", None),
        (values.rate_or_none, "0", None),
        (values.rate_or_none, "1kB", 1_000),
        (values.duration_or_none, "None", None),
        (values.days_or_none, "forever", None),
        (values.days_or_none, "NONE", None),
        (values.days_or_none, "1d", 1),
        (values.days_or_none, "48h", 2),
        (values.days_or_none, "25h", "wrong"),
        (values.usd, "0", Decimal(0)),
        (values.usd, "1000000", Decimal(1_000_000)),
        (values.usd, "1000000.01", "wrong"),
        (values.usd, "-1", "wrong"),
        (values.nano_usd, "1", 1_000_000_000),
        (values.nano_usd, "0.000000001", 1),
        (values.nano_usd, "0.0000000001", "wrong"),
        (values.budget_usd, "1", 1_000_000_000),
        (values.budget_usd, "0.000000001", 1),
        (values.budget_usd, "0.0000000001", "wrong"),
        (values.budget_usd, "1000000000", 10**18),
        (values.budget_usd, "1000000000.1", "wrong"),
        (values.budget_usd, "0", "wrong"),
        (values.share, "none", None),
        (values.share, "80%", 0.8),
        (values.share, "0.8", 0.8),
        (values.share, "100%", 1.0),
        (values.share, "1", 1.0),
        (values.share, "100.1%", "wrong"),
        (values.share, "1.1", "wrong"),
        (values.share, "0%", "wrong"),
        (values.factor, "0", Decimal(0)),
        (values.factor, "1", Decimal(1)),
        (values.factor, "1.1", "wrong"),
        (values.factor, "-0.5", "wrong"),
        (values.factor, "half", "wrong"),
        (values.factor, "NaN", "wrong"),
        (values.usd, "NaN", "wrong"),
        (values.budget_usd, "Infinity", "wrong"),
        (values.count, "1.0", "wrong"),
        (values.count, "eight", "wrong"),
        (values.attempts, "-1", "wrong"),
        (values.port, "http", "wrong"),
        (values.count, "1", 1),
        (values.count, "0", "wrong"),
        (values.attempts, "0", 0),
        (values.attempts, "10", 10),
        (values.attempts, "11", "wrong"),
        (values.retried_status, "408", 408),
        (values.retried_status, "425", 425),
        (values.retried_status, "429", 429),
        (values.retried_status, "500", 500),
        (values.retried_status, "599", 599),
        (values.retried_status, "499", "wrong"),
        (values.retried_status, "600", "wrong"),
        (values.port, "0", 0),
        (values.port, "65535", 65_535),
        (values.port, "65536", "wrong"),
        (values.workers, "1", 1),
        (values.workers, "256", 256),
        (values.workers, "257", "wrong"),
        (values.workers, "0", "wrong"),
        (values.switch, "Yes", True),
        (values.switch, "off", False),
        (values.time_of_day, "00:00", 0),
        (values.time_of_day, "6:05", 365),
        (values.time_of_day, "23:59", 1_439),
        (values.time_of_day, "24:00", "wrong"),
        (values.week_day, "Monday", 0),
        (values.week_day, "sunday", 6),
        (values.month_day, "1", 1),
        (values.month_day, "31", 31),
        (values.month_day, "0", "wrong"),
        (values.month_day, "32", "wrong"),
        (values.name, "n" * 200, "n" * 200),
        (values.name, "n" * 201, "wrong"),
        (values.name, "", "wrong"),
        (values.name, " n", "wrong"),
        (values.name, "n\x07n", "wrong"),
        (values.file_name, "a\nb", "wrong"),
        (values.file_name, "a\0b", "wrong"),
        (values.file_name, "", "wrong"),
        (values.json_path, "a" * 500, "a" * 500),
        (values.json_path, "a" * 501, "wrong"),
    ],
)
def test_edges(parse: Callable[[str], object], text: str, expected: object) -> None:
    """What may be written, up to its edge, and what is just beyond."""
    assert expected == parsed(parse, text)

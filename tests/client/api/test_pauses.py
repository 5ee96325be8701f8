"""Waits: what Retry-After asks for, doubled delays, and the gate that all workers pass."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from passthrough.client.api.pauses import Pauses, doubled_delay_s, retry_after_s
from tests.harness.api_calls import FastClock

NOW = 1_800_000_000.0  # Fri, 15 Jan 2027 08:00:00 GMT


@pytest.mark.parametrize(
    ("values", "seconds"),
    [
        ([], 0.0),
        (["0"], 0.0),
        (["7"], 7.0),
        ([" 1.5 "], 1.5),
        (["3", "20", "x"], 20.0),
        (["Fri, 15 Jan 2027 08:00:30 GMT"], 30.0),
        (["Fri, 15 Jan 2027 07:00:00 GMT"], 0.0),
        (["Fri, 15 Jan 2027 10:00:30 +0200"], 30.0),
        *[
            ([malformed], 0.0)
            for malformed in (
                "",
                "-1",
                "soon",
                "1e9",
                "inf",
                "nan",
                "9" * 40,
                "Fri, 99 Foo 2027 99:99:99 GMT",
                "Fri, 15 Jan 20000 00:00:00 GMT",
            )
        ],
        (["Fri, 31 Dec 9999 00:00:00 GMT"], 251_602_214_400.0),
    ],
)
def test_retry_after_is_read(values: list[str], seconds: float) -> None:
    """A number or a date (RFC 9110 §10.2.3), the longest of several; what is neither asks for nothing."""
    assert seconds == retry_after_s(values, NOW)


def test_delays_double_up_to_a_minute() -> None:
    """Chance takes up to a quarter, so that clients do not come back in step."""
    assert [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0] == [doubled_delay_s(tries, 0.0) for tries in range(1, 9)]
    assert (3.0, 3.5) == (doubled_delay_s(3, 1.0), doubled_delay_s(3, 0.5))


async def test_the_gate_is_open_until_someone_closes_it() -> None:
    """It is passed without a wait."""
    clock = FastClock()
    await Pauses(clock.timing()).passed()
    assert [] == clock.waits


async def test_the_longest_pause_counts() -> None:
    """A shorter one changes nothing; one that is asked for during another is waited for, too."""
    clock = FastClock()
    pauses = Pauses(clock.timing())
    assert (True, False, True) == (pauses.extend(10.0), pauses.extend(5.0), pauses.extend(12.0))
    waiting = asyncio.ensure_future(pauses.passed())
    await asyncio.sleep(0)
    assert pauses.extend(3.0)
    await waiting
    assert ([12.0, 3.0], NOW + 15) == (clock.waits, clock.now_s)


async def test_workers_come_back_spread() -> None:
    """By up to a second, so that they do not all call in one moment."""
    clock = FastClock()
    pauses = Pauses(replace(clock.timing(), chance=lambda: 0.5))
    pauses.extend(10.0)
    await pauses.passed()
    assert [10.5] == clock.waits

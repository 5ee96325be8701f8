"""One timer for many waits."""

from __future__ import annotations

import asyncio

from passthrough.proxy.net.deadline import DeadlineTimer
from tests.harness.waiting import WAIT_S


async def test_it_rings_again_when_it_is_told() -> None:
    """Its owner says when; None: not again."""
    loop, rung = asyncio.get_running_loop(), asyncio.Event()
    again = [0.01, 0.01, None]
    said: list[float | None] = []

    def ring() -> float | None:
        said.append(again[len(said)])
        if said[-1] is not None:
            return loop.time() + said[-1]
        loop.call_later(0.02, rung.set)
        return None

    DeadlineTimer(loop).set(loop.time() + 0.01, ring)
    async with asyncio.timeout(WAIT_S):
        await rung.wait()
    assert again == said


async def test_an_earlier_time_counts() -> None:
    """One that is set for later leaves the earlier alone; one for earlier takes its place."""
    loop, rung = asyncio.get_running_loop(), asyncio.Event()
    calls: list[str] = []

    def ring(name: str) -> None:
        calls.append(name)
        rung.set()

    alarm = DeadlineTimer(loop)
    alarm.set(loop.time() + WAIT_S, lambda: ring("late"))
    alarm.set(loop.time() + 0.01, lambda: ring("early"))
    alarm.set(loop.time() + WAIT_S, lambda: ring("later"))
    async with asyncio.timeout(WAIT_S / 2):
        await rung.wait()
    assert ["early"] == calls


async def test_it_is_ended() -> None:
    """Then it does not fire, until it is set again."""
    loop, rung = asyncio.get_running_loop(), asyncio.Event()
    calls: list[str] = []
    alarm = DeadlineTimer(loop)
    alarm.set(loop.time() + 0.01, lambda: calls.append("ended"))
    alarm.cancel()
    alarm.cancel()
    alarm.set(loop.time() + 0.02, rung.set)
    async with asyncio.timeout(WAIT_S):
        await rung.wait()
    assert [] == calls

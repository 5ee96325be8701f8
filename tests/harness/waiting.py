"""Waiting for what another process does: it can set no event of ours, so it is asked again and again, up to a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

Found = TypeVar("Found")

WAIT_S = 30.0
"""How long a test waits for what must happen; only a failure ever takes so long."""


async def eventually(ask: Callable[[], Awaitable[Found]], holds: Callable[[Found], bool]) -> Found:
    """Ask until the answer is as wanted, and return it."""
    found = await ask()
    try:
        async with asyncio.timeout(WAIT_S):
            while not holds(found):
                await asyncio.sleep(0.02)
                found = await ask()
    except TimeoutError:
        raise AssertionError(f"Still: {found}") from None
    return found


async def until(claim: Callable[[], bool]) -> None:
    """Wait until something holds that nobody announces."""
    async with asyncio.timeout(WAIT_S):
        while not claim():  # noqa: ASYNC110  # what is asked about belongs to the program, which sets no event for tests
            await asyncio.sleep(0.001)

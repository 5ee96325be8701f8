"""What all tests share: the event loop that the program runs on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import uvloop


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run the tests on uvloop, as the program does: its transports differ from asyncio's in what they accept."""
    return {"uvloop": uvloop.new_event_loop}

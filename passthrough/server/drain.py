"""Stops an instance: it takes no more connections, lets requests in flight end, and cuts off the rest at the deadline."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Final

from ..admin.health import Health, Phase
from ..config.model import Listen
from ..proxy.listener import Listener
from ..proxy.relay import Relay
from .listeners import TrafficPort

ARRIVING_S: Final = 0.05
"""How long connections that were accepted before the stop have for the request that is on its way."""

_log: Final = logging.getLogger("passthrough")


class Drain:
    """The stop of one instance: who orders it sets an event, and `run` then goes through its steps."""

    def __init__(self, relay: Relay, health: Health, listen: Listen) -> None:
        """`listen` holds the delay and the time-out; a reload does not change them."""
        self._relay = relay
        self._health = health
        self._listen = listen
        self.ordered = asyncio.Event()
        self._forced = asyncio.Event()

    def begin(self) -> None:
        """Order the stop; a second order changes nothing."""
        self.ordered.set()

    def force(self) -> None:
        """Wait for nothing more: what is in flight is cut off."""
        self._forced.set()

    def begin_or_force(self) -> None:
        """Order the stop; a second order forces it."""
        if self.ordered.is_set():
            self.force()
        self.begin()

    async def run(self, listener: Listener, traffic: TrafficPort) -> None:
        """Take no more connections, let what is in flight end, and cut off what is left at the deadline."""
        self._health.phase = Phase.DRAINING
        # From here on each response closes its connection. One that a client kept until the port is closed could be closed
        # just when the next request is on it, and a POST cannot be sent twice.
        self._relay.draining = True
        await self._serve_on()
        await traffic.close_gently()
        await asyncio.sleep(ARRIVING_S)
        listener.close_idle()
        drain_s = self._listen.drain_timeout_s
        _log.info("Stopping: %d requests in flight, at most %g s for them.", len(self._relay.active), drain_s)
        ended = asyncio.ensure_future(self._all_ended())
        forced = asyncio.ensure_future(self._forced.wait())
        await asyncio.wait({ended, forced}, timeout=drain_s, return_when=asyncio.FIRST_COMPLETED)
        for waiting in (ended, forced):
            waiting.cancel()
        self._relay.cut_off = True
        cut = list(self._relay.active.values())
        for task in cut:
            task.cancel()
        if cut:
            _log.warning("%d requests were cut off.", len(cut))
            await asyncio.wait(cut, timeout=5)
        await self._relay.settling.cut_off()
        await listener.shutdown(1)

    async def _serve_on(self) -> None:
        """Serve on for `drain_delay`: load balancers send requests here until they see that this instance is not ready."""
        delay_s = self._listen.drain_delay_s
        if delay_s and not self._forced.is_set():
            _log.info("Not ready any more: serving on for %g s.", delay_s)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._forced.wait(), delay_s)

    async def _all_ended(self) -> None:
        """Return when no request is being served and no call settles."""
        while self._relay.active:
            await asyncio.wait(set(self._relay.active.values()), timeout=0.05)
        await self._relay.settling.drained()

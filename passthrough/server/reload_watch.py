"""Reloads the configuration while the program serves: on a signal, on the supervisor's order, and when its files change."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from ..admin.gauges import Reloads
from ..config import announce
from ..config.model import Config
from ..config.reload import LOOK_EVERY_S, SETTLED_S, Sources, WatchedFiles, check_guarded
from ..errors import ConfigError
from .gc_tuning import freeze_heap, without_gc
from .ports import ListenError


class ReloadWatch:
    """Reads the configuration again and has it adopted, one reload at a time. Belongs to the event loop.

    `trouble` says why the configuration in force is not the one that the file holds, None where it is. `counts` are for the
    metrics. `lock` is held while a configuration is adopted. `tasks` are the reloads under way.
    """

    def __init__(
        self,
        start: Config,
        sources: Sources,
        seen: bytes,
        adopt: Callable[[Config], Awaitable[None]],
        log_messages: Callable[[announce.Messages], None],
    ) -> None:
        """`start` is what the program started with, `seen` the snapshot of the files that was taken before `start` was read.

        `adopt` puts a configuration in force, or raises ListenError or OSError.
        """
        self._start = start
        self._sources = sources
        self._files = WatchedFiles(sources, seen, start)
        self._adopt = adopt
        self._log_messages = log_messages
        self.lock = asyncio.Lock()
        self.tasks: set[asyncio.Task[None]] = set()
        self.counts = Reloads()
        self.trouble: str | None = None

    def order(self) -> None:
        """Begin a reload; it waits for one that is under way."""
        task = asyncio.create_task(self._reload())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _reload(self) -> None:
        """Read the configuration again; a bad one changes nothing, is logged, and shows in /readyz."""
        async with self.lock:
            await asyncio.to_thread(self._files.note)
            try:
                config = await asyncio.to_thread(without_gc, self._sources.load)
                check_guarded(config, self._start.listen.host)
                await asyncio.to_thread(self._files.follow, config)
                await self._adopt(config)
            except (ConfigError, ListenError, OSError) as error:
                self.counts.failed += 1
                self.trouble = announce.not_reloaded(error)
                self._log_messages(iter([(logging.ERROR, self.trouble)]))
                return
            self.trouble = None
            self.counts.good += 1
            freeze_heap()
            self._log_messages(announce.reloaded(config, self._start))

    async def run(self) -> None:
        """Reload whenever the content of a file changes: an editor's rename and a ConfigMap's symlink look alike then."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            found = await asyncio.to_thread(self._files.look)
            if found == self._files.noted:
                continue
            await asyncio.sleep(SETTLED_S)
            if found == await asyncio.to_thread(self._files.look):
                self.order()

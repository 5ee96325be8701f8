"""Writes lines to a stream from a thread of its own, through a bounded queue: what puts them in never waits for the stream."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from threading import Thread
from typing import Generic

from .batch_queue import BatchQueue, Item
from .stream_writer import POLL_S, StreamWriter


class BackgroundWriter(Generic[Item]):
    """A thread that drains a queue into a stream, a line for each item.

    `queue` takes the items. `failed` counts the lines that the stream did not take.
    """

    def __init__(
        self,
        stream: StreamWriter,
        queue: BatchQueue[Item],
        render: Callable[[Item], str],
        *,
        name: str,
        last_lines: Callable[[], Iterable[str]] = tuple,
    ) -> None:
        """Start the thread `name`. `render` returns an item's line, `last_lines` what follows the last item; on that thread."""
        self.queue = queue
        self.failed = 0
        self._stream = stream
        self._render = render
        self._last_lines = last_lines
        self._thread = Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def close(self, timeout_s: float) -> None:
        """Write what waits, for at most `timeout_s` seconds and a little; what is left then is dropped. Idempotent."""
        self.queue.close()
        self._thread.join(timeout_s)
        self._stream.give_up()
        self._thread.join(2 * POLL_S)

    def _run(self) -> None:
        render = self._render
        while batch := self.queue.take():
            if self._stream.given_up:
                self.failed += len(batch)
                continue
            self.failed += self._stream.write([render(item).encode("utf-8", "replace") + b"\n" for item in batch])
        self._stream.write([text.encode("utf-8", "replace") + b"\n" for text in self._last_lines()])

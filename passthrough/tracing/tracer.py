"""Takes the entries of ended exchanges and exports them as spans, on a thread of its own: no exchange waits for the collector."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from threading import Thread
from typing import TYPE_CHECKING, Final

from ..accounting.bookkeeper import EntryLog
from ..accounting.entry import Entry
from ..background.batch_queue import BatchQueue
from .attributes import SpanConventions
from .settings import TracingSettings

if TYPE_CHECKING:
    from .exporter import Exporter

MAX_WAITING: Final = 10_000
"""How many entries wait for the export; what comes beyond is dropped and counted."""

_BATCH: Final = 512
_GATHER_S: Final = 1.0
_WARN_EVERY_S: Final = 60.0
_LAST_S: Final = 0.2  # for the end of a wait that was cut short


class Tracer:
    """A reader of entries beside the log: `put` never blocks. It belongs to the event loop, and `close` to any other thread.

    `exported` counts the spans that the collector took, `dropped` those that it never got or did not take.
    """

    def __init__(self, settings: TracingSettings, conventions: SpanConventions, warn: Callable[[str], None]) -> None:
        """Start the thread. `warn` takes messages for the operator: one a minute at most while spans are dropped."""
        self.exported = 0
        self._settings = settings
        self._conventions = conventions
        self._warn = warn
        self._queue: BatchQueue[Entry] = BatchQueue(MAX_WAITING, batch=_BATCH, gather_s=_GATHER_S)
        self._refused = 0  # each is written by one thread only
        self._failed = 0
        self._is_given_up = False
        self._in_hand = 0
        self._warned_at: float | None = None
        self._warned = 0
        self._exporter: Exporter | None = None
        self._thread = Thread(target=self._run, name="spans", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """How many spans were not exported."""
        # After a stop that could not wait the thread may still fail or export what it has in hand: that counts once.
        abandoned = len(self._queue) + self._in_hand if self._is_given_up else 0
        return self._refused + self._failed + abandoned

    def put(self, entry: Entry) -> None:
        """Let the entry's span be exported soon; never blocks, never raises."""
        if not self._queue.put(entry):
            self._refused += 1

    def close(self, timeout_s: float) -> None:
        """Export what waits, for at most `timeout_s` seconds and a little; what is left then is dropped and counted."""
        self._queue.close()
        self._thread.join(timeout_s)
        if self._thread.is_alive() and self._exporter is not None:
            self._exporter.shut_down()
            self._thread.join(_LAST_S)
        self._is_given_up = self._thread.is_alive()
        if self.dropped > self._warned:
            self._warn(f"{self.dropped} spans in all were not exported to the collector at {self._settings.collector}.")

    def _run(self) -> None:
        export = self._opened()
        while batch := self._queue.take():
            self._in_hand = len(batch)
            try:
                exported, failed = export(batch)
                trouble = self._exporter.trouble if self._exporter is not None else None
            except Exception as defect:  # noqa: BLE001 - the loop of the thread: a defect costs one batch, not tracing
                exported, failed, trouble = 0, len(batch), f"{type(defect).__name__}; please report this"
            self.exported += exported
            self._failed += failed
            self._in_hand = 0
            self._warn_of_drops(trouble)
        if self._exporter is not None:
            self._exporter.shut_down()

    def _opened(self) -> Callable[[Sequence[Entry]], tuple[int, int]]:
        """Return what exports a batch: where nothing can be exported, it drops all, and what is wrong is said now."""
        try:
            from .exporter import Exporter  # noqa: PLC0415 - the extra `otel`; it takes a third of a second

            self._exporter = Exporter(self._settings, self._conventions)
        except Exception as error:  # noqa: BLE001 - whatever the libraries raise: traffic goes on without spans
            why = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
            self._warn(f"No spans are exported: {why}. Check the OTEL_EXPORTER_OTLP_… variables and the extra 'otel'.")
            return lambda batch: (0, len(batch))
        return self._exporter.export

    def _warn_of_drops(self, trouble: str | None) -> None:
        dropped, now = self.dropped, time.monotonic()
        if self._exporter is None or dropped == self._warned:
            return
        if self._warned_at is not None and now - self._warned_at < _WARN_EVERY_S:
            return
        why = trouble or "it takes them too slowly"
        self._warn(f"Spans are dropped, {dropped} so far, by the collector at {self._settings.collector}: {why}.")
        self._warned_at, self._warned = now, dropped


class LogAndSpans:
    """Gives each entry to the log and, for its span, to the tracer."""

    def __init__(self, log: EntryLog, tracer: Tracer) -> None:
        self._log = log
        self._tracer = tracer

    def put(self, entry: Entry) -> None:
        """Let the entry's line be written and its span be exported; never blocks, never raises."""
        self._log.put(entry)
        self._tracer.put(entry)

    def close(self, timeout_s: float) -> None:
        """Close both, the log first: a line that is not written now is never written."""
        end = time.monotonic() + timeout_s
        self._log.close(timeout_s)
        self._tracer.close(max(_LAST_S, end - time.monotonic()))

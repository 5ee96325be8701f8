"""Logging handlers for the program's messages, on a stderr that may be slow, blocked or gone."""

from __future__ import annotations

import logging
import os
import re
import select
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, TextIO

from ..background.background_writer import BackgroundWriter
from ..background.batch_queue import BatchQueue
from ..background.stream_writer import StreamWriter
from ..background.terminal import Colour, Terminal

_FORMAT: Final = "%(asctime)s %(levelname)s %(message)s"
_COLOURS: Final[Mapping[int, Colour]] = MappingProxyType(
    {logging.DEBUG: "dim", logging.WARNING: "yellow", logging.ERROR: "red", logging.CRITICAL: "red"}
)
_LINE_WITHIN: Final = re.compile(r"\n(?=[^\s])")
"""The begin of a further line of a message that is not indented yet."""

_MAX_WAITING: Final = 1000
_BATCH: Final = 100
_GATHER_S: Final = 0.01


class MessageFormatter(logging.Formatter):
    """Formats messages: the time in UTC, the level, who speaks, the text.

    For a file or a pipe a message has its date and milliseconds (RFC 3339), as lines of the access log do. For a terminal it has
    the time of the day, its level if that is not INFO, and lines that fit.
    """

    def __init__(self, stream: TextIO, speaker: str = "") -> None:
        """`speaker` is named before each message, where several processes share the stream."""
        super().__init__(_FORMAT)
        self._speaker = f"{speaker}: " if speaker else ""
        self._terminal = Terminal.of(stream)

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 - logging's name
        """Return when the message was logged."""
        second = time.gmtime(record.created)
        if self._terminal is not None:
            return time.strftime("%H:%M:%SZ", second)
        return f"{time.strftime('%Y-%m-%dT%H:%M:%S', second)}.{int(record.created * 1000) % 1000:03d}Z"

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Return the message in one line or, as the terminal needs it, several."""
        if self._terminal is None:
            return f"{record.asctime} {record.levelname} {self._speaker}{record.message}"
        level = "" if record.levelno == logging.INFO else f"{record.levelname} "
        message = _LINE_WITHIN.sub(r"\n  ", record.message)
        text = self._terminal.wrapped(f"{record.asctime} {level}{self._speaker}{message}")
        begin = f"{record.asctime} {level}"
        shown = self._terminal.coloured(begin.rstrip(), _COLOURS.get(record.levelno, "dim"))
        return f"{shown} {text.removeprefix(begin)}" if text.startswith(begin) else text


class StderrHandler(logging.Handler):
    """Writes what is logged, in order, from a thread of its own.

    logging's handler writes where the message arises, on the event loop: a pipe without a reader would stop all traffic. Here
    nothing waits for the stream: where a thousand messages wait, further ones are dropped, and their number is written in their
    place.
    """

    def __init__(self, stream: TextIO, speaker: str = "") -> None:
        """`speaker` is named before each message, where several processes share the stream."""
        super().__init__()
        self.setFormatter(MessageFormatter(stream, speaker))
        self._refused = 0
        self._queue: BatchQueue[str] = BatchQueue(_MAX_WAITING, batch=_BATCH, gather_s=_GATHER_S)
        self._writer = BackgroundWriter(StreamWriter(stream), self._queue, str, name="messages", last_lines=self._last_lines)

    def emit(self, record: logging.LogRecord) -> None:
        """Let the message be written soon; never blocks (logging calls this)."""
        try:
            text = self.format(record)
        except (TypeError, ValueError):  # its arguments do not fit its text
            self.handleError(record)
            return
        if self._refused and self._queue.put(_dropped(self._refused)):
            self._refused = 0
        if self._refused or not self._queue.put(text):
            self._refused += 1

    def close(self, timeout_s: float = 1.0) -> None:
        """Write what waits, for at most `timeout_s` seconds and a little. Idempotent."""
        self._writer.close(timeout_s)
        super().close()

    def _last_lines(self) -> list[str]:
        return [_dropped(self._refused)] if self._refused else []


class DirectHandler(logging.Handler):
    """Writes what is logged at once, without a thread: for the supervisor, which forks and so may have none.

    What the stream does not take at once is dropped: a process that keeps workers alive cannot wait for a reader.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self.setFormatter(MessageFormatter(stream))
        self._descriptor = stream.fileno()

    def emit(self, record: logging.LogRecord) -> None:
        """Write the message, if that does not block (logging calls this)."""
        text = self.format(record).encode("utf-8", "replace") + b"\n"
        try:
            # A pipe that select() calls ready takes PIPE_BUF bytes without blocking.
            while text and select.select((), (self._descriptor,), (), 0)[1]:
                text = text[os.write(self._descriptor, text[: select.PIPE_BUF]) :]
        except (OSError, ValueError):  # it has no reader any more
            return


def _dropped(count: int) -> str:
    return f"{count} messages were dropped here: nobody read them in time."

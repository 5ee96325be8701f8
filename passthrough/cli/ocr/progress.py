"""The progress of `passthrough ocr`: a bar on stderr, the paths of what is written on stdout, and the sums at the end."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from ...accounting.money import rounded_usd
from ...client.documents import Document
from ...client.runs.results import DocumentResult, Sums
from .. import standard_streams
from ..standard_streams import OutputError


def number(count: int, noun: str) -> str:
    """Return a count with its noun: `1 page`, `2,000 pages`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


class Reporter:
    """A run's listener, which shows what it hears; the bar is there on a terminal only.

    `order` are the documents whose texts go to stdout, one after the other; None: the paths of outputs do. Where stdout takes no
    more, `on_gone` is called, once: nothing should be paid for any more. `is_sandbox`: nothing is billed.
    """

    def __init__(
        self, order: tuple[Document, ...] | None, on_gone: Callable[[], object] = lambda: None, *, is_sandbox: bool = False
    ) -> None:
        self.sums = Sums()
        self._is_sandbox = is_sandbox
        self.gone: OutputError | BrokenPipeError | None = None
        self._on_gone = on_gone
        self._order = [id(document) for document in order or ()]
        self._texts: dict[int, bytes] = {}
        self._to_stdout = order is not None
        self._pages: int | None = 0
        self._bar = Progress(
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[so_far]}", markup=False),  # it may have words of the API
            TimeRemainingColumn(),
            console=Console(stderr=True, highlight=False),
            redirect_stdout=False,  # it would break the lines of paths: see _print
            transient=True,
            disable=not sys.stderr.isatty(),
        )
        self._task = self._bar.add_task("", total=0, so_far="")

    def __enter__(self) -> Reporter:
        """Show the bar."""
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the bar, and say the sums on stderr, where anything came of the run."""
        with suppress(OSError):  # the terminal was closed
            self._bar.stop()
        if self.sums != Sums():
            standard_streams.say(self.summary())

    def expect(self, documents: int, pages: int | None) -> None:
        """Hear of work to come."""
        self._pages = None if pages is None or self._pages is None else self._pages + pages
        self._bar.update(self._task, total=(self._bar.tasks[0].total or 0) + documents)
        self._show_sums()

    def wait(self, seconds: float, why: str) -> None:
        """Hear of a pause."""
        self._bar.update(self._task, so_far=f"waits {seconds:.0f} s: {why}")

    def watch(self, status: str, done: int, total: int) -> None:
        """Hear how far a batch job is."""
        self._bar.update(self._task, so_far=f"{status.lower()}: {done:,}/{total:,}" if total else status.lower())

    def advance(self, pages: int, cost_nano: int | None) -> None:
        """Hear of pages that were billed."""
        self.sums.advance(pages, cost_nano)
        self._show_sums()

    def end(self, result: DocumentResult) -> None:
        """Hear what came of a document."""
        self.sums.end(result)
        for note in result.notes:
            standard_streams.say(f"note: {result.document.name}: {note}")
        if result.failure is not None:
            standard_streams.say(f"failed: {result.document.name}: {result.failure}")
        self._bar.advance(self._task)
        self._show_sums()
        if self._to_stdout:
            self._print_in_order(result)
        for path in result.outputs:
            self._print(os.fsencode(path) + b"\n")

    def summary(self) -> str:
        """Return the sums as a sentence."""
        sums = self.sums
        parts = [number(sums.done, "document")]
        parts += [f"{sums.skipped:,} finished before"] if sums.skipped else []
        parts += [f"{sums.failed:,} failed"] if sums.failed else []
        parts += [f"{sums.unsent:,} not sent because of that"] if sums.unsent else []
        cost = f", {cost_text(sums)}" if sums.pages else ""
        free = " The sandbox is free." if self._is_sandbox and sums.pages else ""
        return f"{', '.join(parts)}; {number(sums.pages, 'page')}{cost}.{free}"

    def _show_sums(self) -> None:
        pages = f"{self.sums.pages:,}" + (f"/{self._pages:,}" if self._pages else "")
        self._bar.update(self._task, so_far=f"{pages} pages ${rounded_usd(self.sums.cost_nano)}")

    def _print_in_order(self, result: DocumentResult) -> None:
        """Keep a text until those of all documents before it are printed."""
        self._texts[id(result.document)] = result.text or b""
        while self._order and self._order[0] in self._texts:
            text = self._texts.pop(self._order.pop(0))
            self._print(text if text.endswith(b"\n") or not text else text + b"\n")

    def _print(self, raw: bytes) -> None:
        if self.gone is not None or not raw:
            return
        try:
            with standard_streams.printing():
                if sys.stdout.isatty() and not self._bar.disable:  # above the bar; the terminal breaks lines, which can be copied
                    text = Text.from_ansi(raw.decode("utf-8", "backslashreplace").removesuffix("\n"))
                    self._bar.console.print(text, soft_wrap=True)
                else:
                    sys.stdout.buffer.write(raw)
        except (OutputError, BrokenPipeError) as error:
            self.gone = error
            self._on_gone()


def cost_text(sums: Sums) -> str:
    """Return what pages cost by the price list."""
    if sums.pages and sums.unpriced == sums.pages:
        return "at a price that is not known here"
    about = f"about {rounded_usd(sums.cost_nano)} USD by the price list"
    return f"{about}, without {number(sums.unpriced, 'page')} of unknown price" if sums.unpriced else about

"""The progress of `passthrough ocr`: a bar on stderr, the paths of what is written on stdout, and the sums at the end."""

from __future__ import annotations

import os
import sys

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ...accounting.money import rounded_usd
from ...client.documents import Document
from ...client.runs.results import DocumentResult, Sums
from .. import standard_streams


def shown(name: str) -> str:
    """Return a name as it can be printed: what a terminal would obey, and bytes that are no UTF-8, as escapes."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape", "surrogatepass").decode() for one in name)


def number(count: int, noun: str) -> str:
    """Return a count with its noun: `1 page`, `2,000 pages`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


class Reporter:
    """A run's listener, which shows what it hears. `order` are the documents whose texts go to stdout, one after the other."""

    def __init__(self, order: tuple[Document, ...] | None) -> None:
        self.sums = Sums()
        self._order = [*(order or ())]
        self._texts: dict[int, bytes] = {}
        self._to_stdout = order is not None
        self._pages: int | None = 0
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[so_far]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True, highlight=False),
            redirect_stdout=sys.stdout.isatty(),
            redirect_stderr=True,
            transient=True,
            disable=not sys.stderr.isatty(),
        )
        self._task = self._bar.add_task("documents", total=0, so_far="")

    def __enter__(self) -> Reporter:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def expect(self, documents: int, pages: int | None) -> None:
        """Hear of work to come."""
        total = (self._bar.tasks[0].total or 0) + documents
        self._pages = None if pages is None or self._pages is None else self._pages + pages
        self._bar.update(self._task, total=total)
        self._show_sums()

    def wait(self, seconds: float, why: str) -> None:
        """Hear of a pause."""
        self._bar.update(self._task, so_far=f"waits {seconds:.0f} s: {why}")

    def watch(self, status: str, done: int, total: int) -> None:
        """Hear how far a batch job is."""
        self._bar.update(self._task, so_far=f"job {shown(status.lower())} {done:,}/{total:,}")

    def advance(self, pages: int, cost_nano: int | None) -> None:
        """Hear of pages that were billed."""
        self.sums.advance(pages, cost_nano)
        self._show_sums()

    def end(self, result: DocumentResult) -> None:
        """Hear what came of a document."""
        self.sums.end(result)
        name = shown(result.document.name)
        for note in result.notes:
            self._say(f"note: {name}: {note}")
        if result.failure is not None:
            self._say(f"failed: {name}: {result.failure}")
        self._bar.advance(self._task)
        self._show_sums()
        if self._to_stdout:
            self._print_in_order(result)
        for path in result.outputs:
            _print(os.fsencode(path) + b"\n")

    def finish(self) -> None:
        """Say the sums on stderr."""
        self._bar.stop()
        self._say(self.summary())

    def summary(self) -> str:
        """Return the sums as a sentence."""
        sums = self.sums
        parts = [number(sums.done, "document")]
        parts += [f"{sums.skipped:,} finished before"] if sums.skipped else []
        parts += [f"{sums.failed:,} failed"] if sums.failed else []
        return f"{', '.join(parts)}; {number(sums.pages, 'page')}, {cost_text(sums)}."

    def _show_sums(self) -> None:
        pages = f"{self.sums.pages:,}" + (f"/{self._pages:,}" if self._pages else "")
        self._bar.update(self._task, so_far=f"{pages} pages ${rounded_usd(self.sums.cost_nano)}")

    def _say(self, text: str) -> None:
        standard_streams.say(text)

    def _print_in_order(self, result: DocumentResult) -> None:
        """Keep a text until those of all documents before it are printed."""
        self._texts[id(result.document)] = result.text or b""
        while self._order and id(self._order[0]) in self._texts:
            _print(self._texts.pop(id(self._order.pop(0))))


def cost_text(sums: Sums) -> str:
    """Return what pages cost by the price list."""
    if sums.pages and sums.unpriced == sums.pages:
        return "at a price that is not known here"
    about = f"about {rounded_usd(sums.cost_nano)} USD by the price list"
    return f"{about}, without {number(sums.unpriced, 'page')} of unknown price" if sums.unpriced else about


def _print(raw: bytes) -> None:
    sys.stdout.flush()
    sys.stdout.buffer.write(raw)
    sys.stdout.buffer.flush()

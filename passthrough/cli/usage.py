"""The reports of `passthrough usage`: sums, sums that are refreshed, an export of all rows, charges at today's prices."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, cast

from ..accounting.ledger.ledger import Ledger
from ..accounting.ledger.queries import LedgerRow
from ..accounting.pricing.prices import Prices
from ..accounting.reports import destination, export, report, reprice, usage_table
from ..accounting.reports.export import Form, Written
from ..accounting.reports.model_names import ModelNaming
from ..accounting.reports.reprice import Today
from ..accounting.reports.table import Table
from ..errors import LedgerError
from . import terminal

_Rows = Generator[LedgerRow, None, None]

STDOUT: Final = "-"
"""The file name that means stdout."""


@dataclass(frozen=True, slots=True)
class Question:
    """A query: of which ledger (a URL), for which period (texts that report.moment reads), in which form.

    `as_told`: models have the names that came. Else they have those that are priced, in older rows by `prices`, which is called
    where it is needed.
    """

    ledger: str
    by: tuple[str, ...] = ("client",)
    since: str | None = None
    until: str | None = None
    sandbox: report.Sandbox = "auto"
    form: str = "table"
    as_told: bool = False
    prices: Callable[[], Prices] = Prices

    def check(self) -> None:
        """Raise ValueError for a text that is no time, or a period that ends before it begins."""
        report.check_order(*self.period())

    def period(self) -> tuple[datetime | None, datetime | None]:
        """Return the period as it is now. Raises ValueError for a text that is no time."""
        now = datetime.now(UTC)
        since, until = (None if text is None else report.moment(text, now) for text in (self.since, self.until))
        return since, until


def sums(question: Question) -> Table | str:
    """Return the sums in the question's form. Raises LedgerError."""
    with _open_ledger(question) as ledger:
        _check_labels(ledger, question)
        naming = None if question.as_told else ModelNaming(question.prices)
        found = report.summarize(ledger, question.by, *question.period(), sandbox=question.sandbox, naming=naming)
    if question.form == "table":
        return usage_table.to_table(found)
    return report.to_json(found) if question.form == "json" else report.to_csv(found).rstrip("\r\n")


def watch(question: Question, every_s: float) -> None:
    """Show the sums until the user interrupts it. Raises LedgerError for the first read; later errors are shown."""
    sums(question)

    def sums_or_error() -> Table | str:
        # Opened again each time: a file that SQLite reads without locks, because no process writes it, may be written later.
        try:
            return sums(question)
        except LedgerError as error:
            return str(error)

    terminal.watch(sums_or_error, every_s)


def export_to(question: Question, name: str) -> str:
    """Write the ledger's rows into a file, and return a sentence for the user. Raises LedgerError, BrokenPipeError.

    `name` ends in .csv or .jsonl, or is a stream, which gets JSON lines where the question's form is JSON, else CSV; `-` is
    stdout.
    """
    place = Path("/dev/stdout" if name == STDOUT else name)
    with _open_ledger(question) as ledger:
        rows, left_out = _rows(ledger, question)
        # The encoding and line ends are the file's, not the terminal's.
        with closing(rows), destination.writing(place) as stream:
            written = export.write(rows, stream, form_of(name, question.form))
    return _written_sentence(written, name) + left_out


def form_of(name: str, chosen: str) -> Form:
    """Return the form that a file name ends in; a stream without such an end has the `chosen` one. Raises ValueError."""
    try:
        return export.SUFFIXES[Path(name).suffix.lower()]
    except KeyError:
        if name == STDOUT or destination.is_stream(Path(name)):
            return "jsonl" if chosen == "json" else "csv"
        raise ValueError(f"'{name}' tells no form: end it in {' or '.join(export.SUFFIXES)}, or write '-' for stdout.") from None


def repriced(question: Question, today: Today) -> Table | str:
    """Return what the charges of the period would cost today, in the question's form. Raises LedgerError."""
    with _open_ledger(question) as ledger:
        _check_labels(ledger, question)
        rows, left_out = _rows(ledger, question)
        with closing(rows):
            by = report.checked_keys(question.by)
            found = reprice.reprice(rows, today, by, *question.period(), as_told=question.as_told)
    if question.form == "table":
        return reprice.to_table(found, left_out.strip(" ()"))
    return reprice.to_json(found) if question.form == "json" else reprice.to_csv(found).rstrip("\r\n")


@contextmanager
def _open_ledger(question: Question) -> Iterator[Ledger]:
    ledger = Ledger.open(question.ledger, read_only=True)
    try:
        yield ledger
    finally:
        ledger.close()


def _check_labels(ledger: Ledger, question: Question) -> None:
    """Raise LedgerError for the name of a label that no exchange ever had, where there are others."""
    if (why := report.unknown_labels(ledger, question.by)) is not None:
        raise LedgerError(why)


def _rows(ledger: Ledger, question: Question) -> tuple[_Rows, str]:
    """Return the rows of the period, and a note on them: the sandbox's traffic is in them as it is in the sums."""
    since, until = question.period()
    summary = report.summarize(ledger, (), since, until, sandbox=question.sandbox)
    rows = cast(_Rows, ledger.exported(since, until))
    note = f" ({summary.note})" if summary.note else ""
    if question.sandbox == "include":
        return rows, note
    return _only(rows, lambda row: row.sandbox == summary.sandbox), note


def _only(rows: _Rows, is_wanted: Callable[[LedgerRow], bool]) -> _Rows:
    with closing(rows):
        yield from filter(is_wanted, rows)


def _written_sentence(written: Written, name: str) -> str:
    where = "stdout" if name == STDOUT else name
    return f"{written.rows} rows of {written.exchanges} exchanges written to {where}"

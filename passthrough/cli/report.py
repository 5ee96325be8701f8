"""The statement of `passthrough report`: a month's usage and cost as Markdown, HTML or CSV, on stdout or in a file."""

from __future__ import annotations

import sys
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from ..accounting.ledger.ledger import Ledger
from ..accounting.pricing.prices import Prices
from ..accounting.reports import destination, statement_csv, statement_page
from ..accounting.reports.html_page import to_html
from ..accounting.reports.markdown import to_markdown
from ..accounting.reports.report import Sandbox
from ..accounting.reports.statement import Month, Statement, is_key, month_before, month_of, statement, unknown_key
from . import standard_streams

STDOUT: Final = "-"
"""The file name that means stdout."""

FORMS: Final = ("md", "html", "csv")
"""The forms of a statement; a file's name may end in one of them."""


@dataclass(frozen=True, slots=True)
class Question:
    """Which month, by what, in which form and where to, as texts of the command line; None: not given."""

    month: str | None = None
    by: str = "client"
    form: str | None = None
    output: str = STDOUT
    sandbox: Sandbox = "auto"

    def chosen_month(self, now: datetime) -> Month:
        """Return the month, the last one that is over by default. Raises ValueError for a text that is none."""
        return month_before(now) if self.month is None else month_of(self.month, now)

    def chosen_form(self) -> str:
        """Return the form, by default that of the file's end; of a stream Markdown. Raises ValueError."""
        end = Path(self.output).suffix.lower().removeprefix(".")
        if self.form is not None or end in FORMS:
            return self.form or end
        if self.output == STDOUT or destination.is_stream(Path(self.output)):
            return FORMS[0]
        ends = " or ".join(f".{form}" for form in FORMS)
        raise ValueError(f"'{self.output}' tells no form: end it in {ends}, or say which with --format.")

    def check(self) -> None:
        """Raise ValueError for a month or a key that is none, and for a file whose name tells no form."""
        self.chosen_month(datetime.now(UTC))
        self.chosen_form()
        if not is_key(self.by):
            raise ValueError(unknown_key(self.by))


def report(ledger_url: str, question: Question, prices: Prices | None) -> str | None:
    """Write the statement, and return what to say to the user: where it went into a file, that another month may be meant.

    `prices` None: those of the list that ships. Raises LedgerError, OutputError, BrokenPipeError.
    """
    now = datetime.now(UTC)
    with closing(Ledger.open(ledger_url, read_only=True)) as ledger:
        made = statement(ledger, question.chosen_month(now), question.by, prices or Prices(), now, sandbox=question.sandbox)
    text = _text(made, question.chosen_form())
    said = []
    if question.output == STDOUT:
        with standard_streams.printing():
            sys.stdout.write(text)
    else:
        with destination.writing(Path(question.output)) as stream:
            stream.write(text)
        said.append(f"The statement of {made.month.name} was written to {question.output}")
    if question.month is None and not made.total.requests:
        said.append(f"{made.month.name} had no requests. What there is of this month so far: --month {now:%Y-%m}")
    return "\n".join(said) or None


def _text(made: Statement, form: str) -> str:
    if form == "csv":
        return statement_csv.to_csv(made)
    page = statement_page.blocks(made)
    return to_html(statement_page.title(made), page) if form == "html" else to_markdown(page)

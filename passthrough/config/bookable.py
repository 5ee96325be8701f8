"""Finds out, before anything is served, whether what is used can be booked: in the ledger, or at least in its journal.

1. A database that can never hold a ledger is refused.
2. Where a person must act before the ledger can be written, and the same is true of the journal, nothing would ever be booked:
   the provider would be paid, the entries lost at the stop, and budgets would begin at zero again. That is refused too.
3. One of the two is enough to start: entries wait in the journal, or go to the ledger without it. So is a ledger that is locked,
   full or away: it may come back, and traffic does not wait for it. Those are warnings.
"""

from __future__ import annotations

from ..accounting.journal.folder import journal_folder, journal_trouble
from ..accounting.ledger.ledger import Ledger
from ..errors import ConfigError, LastingLedgerError, LedgerError, Problem, UnservableLedgerError
from .model import Config


def ledger_problems(config: Config) -> tuple[Problem, ...]:
    """Return what is wrong with the ledger and the journal now, as warnings with the keys `ledger` and `journal`.

    Raises ConfigError where nothing could ever be booked. Creates and changes nothing; waits a few seconds at most for a server.
    """
    if config.ledger is None:
        return ()
    refused = _refused(config.ledger)
    what, _, hint = str(refused or "").partition("\n")
    if isinstance(refused, UnservableLedgerError):
        raise ConfigError([Problem(config.file, 0, "ledger", what, hint)])
    folder = journal_folder(config.ledger, config.journal)
    trouble = journal_trouble(folder)
    if trouble is not None and trouble.lasts and isinstance(refused, LastingLedgerError):
        is_same = trouble.what in what
        other = "The same is true of its journal" if is_same else f"Nor can its journal {folder} be written: {trouble.what}"
        what = f"{what} {other}. So nothing could be booked."
        hint += "" if is_same else f"\n  For the journal: {trouble.hint}, or change 'journal'."
        raise ConfigError([Problem(config.file, 0, "ledger", what, hint)])
    found = []
    if refused is not None:
        found.append(Problem(config.file, 0, "ledger", f"{what} Entries wait until it can be written.", hint))
    if trouble is not None:
        what = f"The journal {folder} cannot be written: {trouble.what}."
        what += " Entries go to the ledger without it: a kill costs those that wait."
        found.append(Problem(config.file, 0, "journal", what, f"{trouble.hint}, or change 'journal'."))
    return tuple(found)


def _refused(url: str) -> LedgerError | None:
    """Return why a ledger cannot be written now, None where it can."""
    ledger = Ledger.at(url)
    try:
        ledger.check_writable()
    except LedgerError as error:
        return error
    finally:
        ledger.close()
    return None

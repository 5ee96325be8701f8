"""The messages of `backup` and `restore`: what was copied, what is kept, and what the next start books."""

from __future__ import annotations

from datetime import UTC, datetime

from ..accounting.backups.backup import Backup
from ..accounting.backups.restore import Restored
from ..accounting.backups.sqlite_copy import Contents


def backed_up(done: Backup) -> str:
    """Return what was backed up, and what was not."""
    size = f"{done.size_bytes / 1e6:,.1f} MB"
    lines = [f"Backed up {done.ledger}", f"to {done.file}: {_of(done.contents)}, {size}."]
    if done.from_journal:
        waited = "1 of them was" if done.from_journal == 1 else f"{done.from_journal:,} of them were"
        lines.append(f"{waited} still in the journal.")
    for path in done.left_out:
        why = "the ledger has an older schema" if path.is_dir() else "it cannot be read"
        lines.append(f"Not in it: what waits in {path}, for {why}.")
    return "\n".join(lines)


def restored(done: Restored) -> str:
    """Return what was restored, where the ledger before is kept, and what the next start books."""
    lines = [f"Restored {done.ledger}:", f"{_of(done.contents)}."]
    if done.kept is not None:
        held = "" if done.replaced is None else f": {_of(done.replaced)}"
        lines.append(f"What was there is kept as {done.kept}{held}.")
        lines.append("What was booked there after the back-up is not in the restored ledger.")
    if done.in_journal:
        entries = "1 entry" if done.in_journal == 1 else f"{done.in_journal:,} entries"
        lines.append(f"The journal {done.journal} has {entries}:")
        lines.append("the next start books those that are not in the ledger, each once.")
    return "\n".join(lines)


def _of(contents: Contents) -> str:
    count = "1 exchange" if contents.exchanges == 1 else f"{contents.exchanges:,} exchanges"
    if contents.newest_ms is None:
        return count
    newest = datetime.fromtimestamp(contents.newest_ms / 1000, UTC)
    return f"{count}, the newest of {newest:%Y-%m-%dT%H:%M:%SZ}"

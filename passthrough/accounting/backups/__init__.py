"""Back-ups of an SQLite ledger: made while it serves, and put back in its place."""

"""The journal: entries on disk until the ledger has them, and the threads that take them there."""

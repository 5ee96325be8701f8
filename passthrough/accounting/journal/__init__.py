"""The journal: keeps entries on disk until the ledger has them, and ships them there from threads of its own."""

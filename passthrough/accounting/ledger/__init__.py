"""The ledger: exchanges and charges in SQLite or PostgreSQL, their sums, budgets' leases and retention."""

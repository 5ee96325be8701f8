"""The ledger: exchanges and charges in SQLite or PostgreSQL, with their sums, the budgets' leases and retention."""

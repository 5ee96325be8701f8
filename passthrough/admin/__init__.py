"""The admin port: health, metrics, budgets, the ledger's sums and the dashboard, apart from the traffic's routes."""

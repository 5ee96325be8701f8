"""Accounting: prices, charges, the journal, the ledger, budgets and reports. It runs beside the proxy, never in its way."""

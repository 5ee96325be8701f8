"""Budgets: admission of requests, leases from the ledger, and warnings."""

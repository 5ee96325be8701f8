"""Reports from the ledger: sums, exports, past usage at today's prices, and the price list."""

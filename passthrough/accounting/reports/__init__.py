"""What people and programs read out of the ledger: sums, exports, today's prices on past usage."""

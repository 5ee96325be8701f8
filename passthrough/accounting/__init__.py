"""The money, beside the road: prices, the ledger, and what carries an exchange there."""

"""The same by one batch job, at half the price."""

"""Runs documents as one batch job, at half the price."""

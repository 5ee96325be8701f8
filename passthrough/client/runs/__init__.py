"""Runs documents through the API, several at once, and sums up what came."""

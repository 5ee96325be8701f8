"""Prices of pages and tokens: the list that ships, the operator's own, and their arithmetic."""

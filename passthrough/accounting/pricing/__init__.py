"""Prices of pages, tokens and credits: the shipped list, the operator's prices, and their arithmetic."""

"""Counts the pages of PDFs, and splits them into parts that the API takes."""

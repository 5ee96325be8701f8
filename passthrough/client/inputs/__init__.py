"""Finds the documents that a command line names, and what type each is."""

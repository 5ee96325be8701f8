"""Batch jobs, and the files of their requests and results."""

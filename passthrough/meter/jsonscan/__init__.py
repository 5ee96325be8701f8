"""Scans passing JSON documents of any size for a few values."""

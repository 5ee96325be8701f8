"""Scans JSON documents of any size for a few values, as they pass."""

"""Threads beside the event loop: a bounded queue, writers of slow streams, and tasks that wait for a thread."""

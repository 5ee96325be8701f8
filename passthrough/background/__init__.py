"""Threads beside the event loop: bounded queues, slow streams, and tasks that wait for a thread."""

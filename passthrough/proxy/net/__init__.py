"""Sockets and the event loop, for both sides of the proxy: batched writes, deadlines, TLS, a fair queue."""

"""What both sides of the proxy need of sockets and of the event loop: batched writes, deadlines, TLS, fairness."""

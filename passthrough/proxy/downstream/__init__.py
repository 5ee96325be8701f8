"""The side of the client: its connection, the parser of its requests, and the bypass for long bodies."""

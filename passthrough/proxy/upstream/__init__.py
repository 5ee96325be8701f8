"""The side of the target: names, connections, the pool that keeps them, and the parser of responses."""

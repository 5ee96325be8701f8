"""What a count looks like in a response: a module for each provider's shape."""

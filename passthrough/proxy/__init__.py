"""The data plane: carries each request from its client to a target, and the response back."""

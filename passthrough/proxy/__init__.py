"""The road: the way of one request, from the client's bytes to the target's and back."""

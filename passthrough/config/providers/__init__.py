"""Knows the providers' APIs: their paths, credentials and prices; warns of routes that do not fit them."""

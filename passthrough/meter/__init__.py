"""The meter: usage, read off the passing bytes of an answer without holding them."""

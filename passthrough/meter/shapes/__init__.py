"""How a count stands in a response: a module for each shape."""

"""A transparent reverse proxy for OCR APIs: bytes go straight through; money is counted beside them."""

__version__ = "0.1.0"

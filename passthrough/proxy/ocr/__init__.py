"""The way of an OCR request whose body names its model."""

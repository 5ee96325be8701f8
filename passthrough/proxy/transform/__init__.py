"""What is changed in the body of an OCR request, and only that."""

"""Calls an API of Mistral's shape: OCR, files, batch jobs."""

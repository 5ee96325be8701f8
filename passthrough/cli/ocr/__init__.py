"""The command `passthrough ocr`: its flags, its progress bar, its tables."""

"""The client behind `passthrough ocr`, a package at a time; the whole of it is in tests/scenarios/test_ocr_command.py.

Several modules are tested through one face:

* `test_options`: options, documents.
"""

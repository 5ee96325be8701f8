"""The client behind `passthrough ocr`, a package at a time; the whole of it is in tests/scenarios/test_ocr_command.py.

Several modules are tested through one face:

* `test_options`: options, documents.
* `batch/test_run`: run, watch, claims.
* `inputs/test_discovery`: discovery, patterns, reasons.
* `inputs/test_file_type`: file_type, zip_type, ole_streams.
* `output/test_places`: places, place.
* `output/test_work_folder`: work_folder, upload_notes.
* `pdf/test_pages`: pages, pdfium, tiff.
* `pdf/test_parts`: parts, pdfium.
* `rendering/test_rendered`: rendered, response.
"""

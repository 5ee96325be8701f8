"""The meter: bytes as the proxy feeds them, whole and cut anywhere, and the usage that is read off them.

`bodies/`, `shapes/` and `jsonscan/` mirror the packages of these names. Several modules are tested through one face:

* `shapes/test_ocr`: ocr, values, meter, pipeline, plan, usage, document.
* `shapes/test_chat`: chat, either, sse.
* `shapes/test_configured`: configured, document_counts, lines, document, plan, encoding.
* `shapes/test_other_apis`: configured, with the rows of `docs/other-apis.md`.
* `bodies/test_bodies`: what all readers of bodies have in common.
* `jsonscan/test_scanner`: scanner, encoding, numbers, paths, patterns, skip, strings.
* `test_decode`: decode, false_coding.
"""

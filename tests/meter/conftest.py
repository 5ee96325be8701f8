"""The meter: bytes as the proxy feeds them, whole and cut anywhere, and the usage that is read off them.

`bodies/`, `shapes/` and `jsonscan/` mirror the packages of these names. Several modules are tested through one face:

* `shapes/test_ocr`: ocr and values, and with them meter, pipeline, plan, usage, bodies.document.
* `shapes/test_chat`: chat and either, and with them bodies.sse.
* `bodies/test_bodies`: what all readers of bodies have in common.
* `jsonscan/test_scanner`: scanner, and the modules that it is made of: encoding, numbers, paths, patterns, skip, strings.
* `test_decode`: decode, false_coding.
"""

"""Spans, against a collector on loopback: each file tests the module that it is named after.

* `test_tracer`: tracer, exporter, encoding, collector_session, with the real libraries.
"""

"""Fetched tokens, against servers on loopback: each file tests the module that it is named after.

* `test_token_source`: token_source, clock, by a clock that the test moves.
* `test_fetchers`: fetchers, google, entra, bounded_session, time_limit, with the real libraries.
* `test_token_sources`: token_sources, token, identity.
"""

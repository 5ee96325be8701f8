"""The data plane, over raw sockets in this process: each file tests the module that it is named after.

`net/`, `upstream/` and `downstream/` mirror the packages of these names. Several modules are tested through one face:

* `test_relay`: relay, attempts.
* `test_listener`: listener, downstream.connection.
* `test_prepared`: prepared, and the cache of heads that each connection has.
* `downstream/test_request_parser`: request_parser, malformed_head, repeated_fields.
* `downstream/test_response_writer`: the response as a slow or leaving client sees it; response_body as it is written.
* `upstream/test_connection`: connection, response_head.
* `upstream/test_pool`: pool, net.tls, the proxies and authorities of targets.
* `test_concurrency`: concurrency, and the deadline of a head; the limit of connections and TLS handshakes
  (downstream.handshake) is `scenarios/test_connection_limits`.
* `test_retry`: retry, replay_buffer.
"""

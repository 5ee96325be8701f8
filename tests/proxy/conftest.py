"""The data plane, over raw sockets in this process: each file tests the module that it is named after.

`net/`, `upstream/`, `downstream/`, `transform/`, `documents/`, `deployments/` and `ocr/` mirror the packages of these names.
Several modules are tested through one face:

* `test_relay`: relay, request_context, headers.
* `test_listener`: listener, connection.
* `test_prepared`: prepared, with the cache of heads that each connection has.
* `downstream/test_request_parser`: request_parser, malformed_head, repeated_fields.
* `downstream/test_response_writer`: response_writer, response_body.
* `upstream/test_connection`: connection, response_head.
* `upstream/test_pool`: pool, tls, with the proxies and authorities of targets.
* `test_concurrency`: concurrency, with the deadline of a head.
* the limit of connections and TLS handshakes are `scenarios/test_connection_limits`.
* `test_attempts`: attempts, replay_buffer.
* `test_upstream_auth`: attempts, prepared, rewrite, with tokens that are fetched.
* `ocr/test_upstream_auth`: sender, with tokens that are fetched.
* `documents/test_download`: download, document.
* `deployments/test_pool`: model_table, balancer, tries.
* `test_pool_sender`: pool_sender, deployment_calls.
* `deployments/test_affinity`: affinity, with what stays of `deployments/pool`.
* `ocr/test_hostile`: sender, with clients and providers that mean ill.
* `ocr/test_sender`: sender, ocr_request, heads, client_body, upload, held_document.
"""

"""A transport adapter of requests that verifies servers by a TLS context of ours. Its users come with extras, as it does."""

from __future__ import annotations

import ssl
from typing import Any

from requests.adapters import HTTPAdapter


class VerifyingAdapter(HTTPAdapter):
    """Verifies each server by `context`, whatever its caller says of `verify`, and sends nothing twice."""

    def __init__(self, context: ssl.SSLContext) -> None:
        """`context` knows the authorities that are trusted, and the client's own certificate where there is one."""
        self.context = context
        super().__init__(max_retries=0)

    def init_poolmanager(self, *args: Any, **named: Any) -> None:
        """Trust the context's authorities (requests calls this)."""
        super().init_poolmanager(*args, ssl_context=self.context, **named)

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Check certificates, but not by requests' own list of authorities (requests calls this)."""
        super().cert_verify(conn, "http://", verify=False, cert=cert)
        conn.cert_reqs = "CERT_REQUIRED"

"""The certificate that the traffic port shows, exchanged while it serves."""

from __future__ import annotations

import ssl


class ServerCertificate:
    """What a server speaks TLS with: `context` is the server's for good, and new connections get the latest certificate.

    A context's own certificate is not exchanged: OpenSSL keeps one for each kind of key (an RSA certificate stays in force for
    some clients when one with ECDSA comes), and a failure half-way would leave a certificate without its key.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context
        self._latest = context
        # OpenSSL calls it in each handshake, also where the client names no server. Connections that are there go on.
        context.sni_callback = self._choose

    def renew(self, context: ssl.SSLContext) -> None:
        """Show another certificate from now on."""
        self._latest = context

    def _choose(self, connection: ssl.SSLSocket | ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        connection.context = self._latest

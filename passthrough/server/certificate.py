"""The certificate that the traffic port shows; a reload replaces it while the port serves."""

from __future__ import annotations

import ssl


class ServerCertificate:
    """A server's TLS context whose certificate can be replaced: new connections get the latest one.

    `context` stays the server's. Its own certificate is not replaced: OpenSSL keeps one for each kind of key (an RSA certificate
    stays in force for some clients after an ECDSA one is loaded), and a failure half-way would leave a certificate without its
    key.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context
        self._latest = context
        # OpenSSL calls it in each handshake, also where the client names no server. Open connections go on.
        context.sni_callback = self._choose

    def renew(self, context: ssl.SSLContext) -> None:
        """Show another certificate from now on."""
        self._latest = context

    def _choose(self, connection: ssl.SSLSocket | ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        connection.context = self._latest

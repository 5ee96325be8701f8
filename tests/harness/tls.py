"""Servers' certificates of an authority that only one test knows."""

from __future__ import annotations

import ssl

import trustme


def served_by(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    """Return a server's context with a certificate for these names; it offers HTTP/2, too (ALPN)."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["h2", "http/1.1"])
    authority.issue_cert(*names).configure_cert(context)
    return context

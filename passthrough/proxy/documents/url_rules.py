"""What the operator allows of the URLs of documents that the proxy fetches."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class UrlRules:
    """The configuration's `max_document`, `user_url_validation` and `user_url_allowed_hosts`.

    `max_bytes` is the largest document. `validated`: every address that a URL leads to must be public; False: any address may be
    fetched. `allowed_hosts` (`host` or `host:port`, lower case) may have any address.
    """

    max_bytes: int = 50_000_000
    validated: bool = True
    allowed_hosts: frozenset[str] = frozenset()

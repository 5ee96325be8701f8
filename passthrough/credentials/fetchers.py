"""Chooses how the token of an identity is fetched: by google-auth or by azure-identity."""

from __future__ import annotations

from .identity import Identity
from .token_source import Fetch


def fetcher(identity: Identity) -> Fetch:
    """Return what fetches tokens of this identity. It is called on a thread, blocks for half a minute at most, raises FetchError.

    The libraries are imported with the first fetch.
    """
    raise NotImplementedError


def missing_extra(identity: Identity) -> str | None:
    """Return the extra (`google`, `azure`) that this identity needs and that is not installed, else None."""
    raise NotImplementedError

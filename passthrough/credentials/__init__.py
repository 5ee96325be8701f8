"""Fetched credentials: who asks Google or Entra for a token, and the token while it is good.

The configuration describes an `identity`; `token_sources` keeps one `TokenSource` for each, which fetches tokens on threads, by
google-auth (`google`) or azure-identity (`entra`); the proxy asks it for the token that is there.
"""

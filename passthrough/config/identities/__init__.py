"""Whose tokens are fetched: `upstream_auth`, and the keys of LiteLLM's that mean the same, become identities."""

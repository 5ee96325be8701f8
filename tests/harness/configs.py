"""Configurations for tests: a text becomes a file, and a file a Config or its problems."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from passthrough.config.load import load
from passthrough.config.model import Config
from passthrough.errors import ConfigError, Problem

KEYS: Mapping[str, str] = {"MISTRAL_API_KEY": "mistral-canary-0123456789"}
ROUTE = """\
pass_through_endpoints:
  - path: /mistral
    target: https://api.mistral.ai
    include_subpath: true
    headers: {Authorization: Bearer of-this-file-0123456789}
"""
"""A route of which nothing is warned."""
KEYED = ROUTE.replace("of-this-file-0123456789", "os.environ/MISTRAL_API_KEY")
"""The same, with the key in a variable: on line 5."""


def written(folder: Path, text: str | bytes, name: str = "routes.yaml") -> str:
    """Write a file and return its name."""
    file = folder / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    return str(file)


def loaded(
    folder: Path,
    text: str | bytes,
    environ: Mapping[str, str] = KEYS,
    *,
    sandbox: bool = False,
    listen: Mapping[str, object] | None = None,
) -> Config:
    """Load a configuration from its text; the folder is the working directory too."""
    return load(written(folder, text), environ, cwd=folder, sandbox=sandbox, listen=listen or {})


def problems(
    folder: Path, text: str | bytes, environ: Mapping[str, str] = KEYS, *, listen: Mapping[str, object] | None = None
) -> tuple[Problem, ...]:
    """Return what is wrong with a configuration, nothing where it loads."""
    try:
        loaded(folder, text, environ, listen=listen)
    except ConfigError as error:
        return error.problems
    return ()

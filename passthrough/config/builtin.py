"""The built-in configuration, and the rule that says which configuration a command reads."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from ..errors import ConfigError, Problem

DEFAULT: Final = "routes.yaml"
"""The file that is read where none is named, in the working directory."""

NAME: Final = "built-in routes.yaml"
"""What messages call the built-in configuration, and by which `location` knows it."""

NOTICE: Final = f"No {DEFAULT} here: the built-in one is used; 'passthrough init' writes one."
"""What a command says that goes by the built-in configuration."""

_FILE: Final = Path(__file__).with_name("builtin.yaml")


def chosen(named: str | None) -> str:
    """Return which configuration a command reads: the one that is named, else routes.yaml, else the built-in one.

    A routes.yaml that is there but cannot be read, even a link that leads nowhere, is chosen: its reader says what is wrong.
    """
    return named or (DEFAULT if os.path.lexists(DEFAULT) else NAME)


def location(config: str, cwd: Path) -> Path:
    """Return the file of a configuration that was chosen."""
    return _FILE if config == NAME else cwd / config


def check_own(config: str) -> None:
    """Raise ConfigError for the built-in configuration, where a key of its user's is needed."""
    if config == NAME:
        hint = (
            "Write one with 'passthrough init', or name it with --config.\n"
            "  To try it without a key: 'passthrough serve --sandbox'."
        )
        raise ConfigError([Problem(DEFAULT, 0, "", "There is no such file here.", hint)])

"""The completion of commands in a shell: its script, and the values that options are completed with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import click
from click.shell_completion import get_completion_class

SHELLS: Final = ("bash", "zsh", "fish")
"""The shells that there is a script for."""

USAGE_KEYS: Final = (
    "client", "label", "label.", "route", "model", "target", "deployment", "model_group", "day", "month", "status",
)  # fmt: skip
"""What `usage --by` sums by; several as a,b."""

REPORT_KEYS: Final = ("client", "route", "deployment", "model_group", "label", "label.")
"""What `report --by` divides a statement by."""

PERIODS: Final = ("1d", "7d", "30d", "24h")
"""Spans that --since and --until are often given."""

_VARIABLE: Final = "_PASSTHROUGH_COMPLETE"
"""The variable by which a shell asks: click makes its name of the program's."""


def script(program: click.Command, shell: str) -> str:
    """Return what a shell reads to complete the program's commands. `shell` is one of SHELLS."""
    made = get_completion_class(shell)
    assert made is not None
    return made(program, {}, "passthrough", _VARIABLE).source()


def several(known: Sequence[str], incomplete: str) -> list[str]:
    """Return how a list `a,b` can go on: each value that is not in it yet, behind what is there."""
    *before, begun = incomplete.split(",")
    return [",".join((*before, each)) for each in known if each.startswith(begun) and each not in before]


def one(known: Sequence[str], incomplete: str) -> list[str]:
    """Return the values that begin so."""
    return [each for each in known if each.startswith(incomplete)]

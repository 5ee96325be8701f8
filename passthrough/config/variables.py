"""The PASSTHROUGH_… variables: which exist, and warnings of those that are set but do not."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Final

from .listen import ENVIRONMENT, VARIABLES
from .problems import Problems, nearest, printable
from .schema import SECTIONS, File

_PREFIX: Final = "PASSTHROUGH_"
_KNOWN: Final = frozenset({*VARIABLES.values(), "PASSTHROUGH_CONFIG", "PASSTHROUGH_SANDBOX", "PASSTHROUGH_SANDBOX_KEY"})
_INJECTED: Final = re.compile(
    r"PASSTHROUGH_(?:\w+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT_[0-9]+_(?:TCP|UDP|SCTP)(?:_PROTO|_PORT|_ADDR)?)", re.ASCII
)
_INJECTED_URL: Final = re.compile(r"(?:tcp|udp|sctp)://.*", re.DOTALL)


def check_variables(environ: Mapping[str, str], referred: Collection[str], problems: Problems) -> None:
    """Warn of every PASSTHROUGH_… variable that is set and has no meaning; values are never shown.

    1. The program's own variables, and those that the file refers to, have one.
    2. Kubernetes injects variables for a Service called passthrough, or passthrough-anything: they are no mistake (kubernetes.io,
       "Accessing the Service", environment variables).
    """
    for name, value in sorted(environ.items()):
        if not name.startswith(_PREFIX) or name in _KNOWN or name in referred:
            continue
        if _INJECTED.fullmatch(name) or (name.endswith("_PORT") and _INJECTED_URL.fullmatch(value)):
            continue
        problems.warn_elsewhere(ENVIRONMENT, printable(name), "There is no such variable; it has no effect.", _hint(name))


def _hint(name: str) -> str:
    """Return a hint on what was probably meant: a flag's variable, a key of the file, or a variable with a similar name."""
    key = name.removeprefix(_PREFIX).lower()
    if key in VARIABLES:
        return f"Did you mean {VARIABLES[key]}?"
    if key in File.model_fields and key not in SECTIONS:
        return f"Write '{key}' into the file: no variable sets it."
    near = nearest(key, [known.removeprefix(_PREFIX).lower() for known in _KNOWN])
    return f"Did you mean {_PREFIX}{near.upper()}?" if near else "Remove it, or give it another beginning."

"""The command that installs an extra: libraries that only some users need."""

from __future__ import annotations

import shlex
import sys


def install_command(extra: str) -> str:
    """Return what a person types to install an extra: by the pip of the Python that runs this, whichever is on the PATH."""
    return f"{shlex.quote(sys.executable)} -m pip install 'passthrough-ocr[{extra}]'"

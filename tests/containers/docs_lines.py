"""The lines that the docs tell people to type, read from the pages."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]


def commands(page: str, beginning: str) -> list[str]:
    """Return the commands of a page's `sh` blocks that begin so, lines that go on joined as the shell would."""
    text = (ROOT / page).read_text("utf-8")
    found = []
    for block in re.findall(r"^```sh\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        lines = re.sub(r"\\\n\s*", "", block).splitlines()
        found += [line for line in lines if line.startswith(beginning)]
    return found


def command(page: str, beginning: str) -> str:
    """Return the one command of a page that begins so."""
    (found,) = commands(page, beginning)
    return found

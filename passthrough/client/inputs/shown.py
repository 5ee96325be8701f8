"""Makes names of files and URLs safe to show: on one line, whatever bytes they have."""

from __future__ import annotations

import os
import re
from pathlib import PurePath
from typing import Final

_USER: Final = re.compile(r"^([^/]*//)[^/?#]*@")


def shown(name: str | PurePath) -> str:
    """Return a name in printable characters; other ones, and bytes that are no UTF-8, are shown as escapes (`\\n`, `\\xff`)."""
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)


def shown_url(url: str) -> str:
    """Return a URL as it is shown: without the user and the password that it may hold."""
    return shown(_USER.sub(r"\1", url))

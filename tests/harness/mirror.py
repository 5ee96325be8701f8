"""Which tests are a module's: those that mirror it, and those that the conftest of its package names."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
TESTS, SOURCE = ROOT / "tests", ROOT / "passthrough"
PACKAGES = ("proxy", "meter", "accounting", "config", "admin", "server", "cli", "sandbox", "credentials", "client", "tracing")


def faces(package: str) -> dict[str, str]:
    """Return what the conftest of a package says: for each file of tests, the modules behind it."""
    text = (TESTS / package / "conftest.py").read_text("utf-8")
    return {
        name: said for name, said in re.findall(r"^\* `([\w/]+)`: ((?:.*\n)(?:  .*\n)*)", text, re.MULTILINE) if "test_" in name
    }


def named_modules(said: str) -> list[str]:
    """Return the names of modules at the beginning of what a conftest says about a file of tests."""
    listed = re.match(r"[a-z_]+(?:,\s+[a-z_]+)*(?=\.\n|, with|, and|:)", said)
    return re.split(r",\s+", listed[0]) if listed else []


@cache
def mirrors(module: str) -> tuple[str, ...]:
    """Return the files of tests of a module (`accounting/money.py`), from the root, its own first: none, one or several."""
    path = Path(module)
    own = TESTS / path.with_name(f"test_{path.name}")
    package = path.parts[0]
    faced = [
        TESTS / package / f"{face}.py"
        for face, said in (faces(package).items() if package in PACKAGES else ())
        if path.stem in named_modules(said)
    ]
    return tuple(str(each.relative_to(ROOT)) for each in dict.fromkeys([own, *faced]) if each.exists())

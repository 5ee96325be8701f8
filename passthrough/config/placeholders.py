"""Recognises placeholders that are not replaced here: `${NAME}`, `$NAME`, `%NAME%`, `os.environ.NAME`, `<your-key>`.

Taken literally, such a text would be a key that every reader of the example knows, or would go to the provider. The whole text
distinguishes it from a real key: a key may hold `$` and `%` anywhere, but is none of these from its first to its last character.
"""

from __future__ import annotations

import re
from typing import Final

_NAME: Final = r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)"
_CAPITALS: Final = r"(?P<name>[A-Z_][A-Z0-9_]+)"


def _spelt(name: str) -> tuple[str, ...]:
    """Return the patterns of spellings that mean a variable and nothing else."""
    quoted = rf"""\s*["']?{name}["']?\s*"""
    return (
        rf"\$\{{(?:env[:.])?{name}(?::?[-+?=][^}}]*)?\}}",  # shells, Compose; VS Code
        rf"\$\({name}\)",  # Kubernetes, make
        rf"\$\{{\{{\s*(?:\w+\.)?{name}\s*\}}\}}",  # GitHub's workflows
        rf"\{{\{{\s*[.$]?(?:\w+\.)*{name}\s*(?:\|[^}}]*)?\}}\}}",  # Jinja, Helm
        rf"%\({name}\)s",  # ConfigParser
        rf"#\{{{name}\}}#?",  # Azure's pipelines, Ruby
        rf"(?:os\.)?(?:environ|getenv)(?:\.get)?[\[(]{quoted}(?:,[^\])]*)?[\])]",  # Python
        rf"(?:process\.)?env\[{quoted}\]",  # JavaScript, Ruby
        rf"process\.env\.{name}",
        rf"os\.\w+[/.:\\]{name}",  # the reference itself, misspelt
        rf"\$env:{name}",  # PowerShell
    )


# Without brackets they are short: only where they are spelt as variables usually are can they be no real key.
_BARE: Final = (
    rf"\${_CAPITALS}",
    r"\$(?P<name>[a-z][a-z0-9_]*_(?:key|token|secret|password|url))",
    rf"%{_CAPITALS}%",
    rf"(?i:env|environ|environment)[:./]{_CAPITALS}",
)
_PATTERNS: Final = tuple(re.compile(each, re.ASCII | re.IGNORECASE) for each in _spelt(_NAME)) + tuple(
    re.compile(each, re.ASCII) for each in _BARE
)
_MAX_CHARS: Final = 2000
"""Longer texts are certificates and the like."""
_PERHAPS: Final = re.compile(r"[$%<{\[(]|env|os\.", re.IGNORECASE)
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*(?: +|=)", re.ASCII)
_EXAMPLE: Final = re.compile(r"<[^<>=/]*[A-Za-z][^<>=/]*>|\{\{[^{}]*\}\}|\$\{[^{}]*\}")
_BRACKETS: Final = re.compile(r"\$\{[^{}]*\}|\{\{[^{}]*\}\}|<[^<>]*>")
_SEPARATORS: Final = re.compile(r"[/:@?&=#,;]+")


def placeholder(text: str) -> str | None:
    """Return the variable that a text stands for, empty where it names none; None for a value, which is no placeholder.

    1. The whole text, with or without quotes around it; or all after the name of a scheme: `Bearer ${NAME}`.
    2. In a URL, each part by itself: `postgresql://me:${PASSWORD}@host/db`, `https://$HOST/v1`; and what is in brackets anywhere
       in one of HTTP, where no bracket may stand (RFC 3986 §2): `https://<resource>.services.ai.azure.com`.
    """
    if len(text) > _MAX_CHARS or _PERHAPS.search(text) is None:
        return None
    bare = text.strip()
    if len(bare) > 1 and bare[0] == bare[-1] and bare[0] in "\"'":
        bare = bare[1:-1].strip()
    scheme = _SCHEME.match(bare)
    found = _whole(bare) if scheme is None else _whole(bare) or _whole(bare[scheme.end() :])
    if found is None and "://" in bare:
        parts = _SEPARATORS.split(bare)
        if bare.lower().startswith("http"):
            parts += [match[0] for match in _BRACKETS.finditer(bare)]
        found = next((part for part in map(_whole, parts) if part is not None), None)
    return found


def _whole(text: str) -> str | None:
    for pattern in _PATTERNS:
        if (match := pattern.fullmatch(text)) is not None:
            return match["name"]
    return "" if _EXAMPLE.fullmatch(text) else None

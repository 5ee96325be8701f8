"""The examples at the end of each command's help."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

MAX_WIDTH: Final = 76
"""Characters of a line: click indents each by two more, and a terminal has 80."""

_KEPT: Final = "\b\n"  # click: the paragraph that follows keeps its line breaks
_SHOWN: Final[Mapping[str, tuple[tuple[str, str], ...]]] = {
    "": (
        ("passthrough serve --sandbox", "try it: no key, no account, no file"),
        ("passthrough init", "write routes.yaml, .env and a client key"),
        ("passthrough serve", "serve it"),
        ("passthrough usage", "who spent what"),
    ),
    "init": (
        ("passthrough init", "asks: provider, its key, the first client"),
        ("passthrough init --yes", "asks nothing: Mistral, the key later"),
        ("passthrough init --yes --provider azure --client invoices", ""),
        ("passthrough init --yes --key-file - < mistral.key", ""),
    ),
    "serve": (
        ("passthrough serve --sandbox", "try it: nothing is billed"),
        ("passthrough serve", "./routes.yaml, this machine only"),
        ("passthrough serve --host 0.0.0.0", "other machines too, with client keys"),
        ("passthrough serve --config /etc/passthrough/routes.yaml --workers 2", ""),
    ),
    "check": (
        ("passthrough check", "what is wrong, or what it means"),
        ("passthrough check --live", "also ask the provider if it takes the key"),
        ("passthrough check --sandbox", "without any key"),
    ),
    "usage": (
        ("passthrough usage --since 7d", "by client, the last seven days"),
        ("passthrough usage --by day,model", "by day and model"),
        ("passthrough usage --watch", "again every 2 seconds"),
        ("passthrough usage --since 2026-11-01 --format csv > november.csv", ""),
        ("passthrough usage --export rows.csv", "a row for each charge"),
    ),
    "report": (
        ("passthrough report", "last month, by client, as Markdown"),
        ("passthrough report --month 2026-10 --output october.html", ""),
        ("passthrough report --by label.team --format csv > teams.csv", ""),
    ),
    "prices": (
        ("passthrough prices", "all that apply today"),
        ("passthrough prices --model ocr", "those with 'ocr' in their name"),
    ),
    "backup": (
        ("passthrough backup /var/backups/ledger.db", "also while it serves"),
        ("passthrough backup --force latest.db", "replace the one before"),
        ('passthrough backup "ledger-$(date -u +%F).db"', "a file for each day"),
    ),
    "restore": (("passthrough restore /var/backups/ledger.db", "stop what serves it first"),),
    "keygen": (("passthrough keygen invoices", "a key, and its line for routes.yaml"),),
    "schema": (("passthrough schema > routes.schema.json", "for the editor"),),
    "ocr": (
        ("passthrough ocr invoice.pdf", "invoice.md, invoice_images/"),
        ("passthrough ocr scans/ -o texts/ --dry-run", "what it would cost"),
        ("passthrough ocr scans/ -o texts/ --batch", "at half the price"),
    ),
    "sandbox": (
        ("passthrough sandbox", "on http://127.0.0.1:4010"),
        ("passthrough sandbox --port 4011 --fail 0.3", "503 to three calls in ten"),
        ("passthrough sandbox --as azure --throttle 0.2", "429 to two in ten"),
    ),
    "health": (
        ("passthrough health", "exit code 0: ready"),
        ("passthrough health --admin-port 4101", "an instance on another port"),
    ),
    "completion": (
        ('eval "$(passthrough completion bash)"', "in ~/.bashrc"),
        ('eval "$(passthrough completion zsh)"', "in ~/.zshrc, behind compinit"),
        ("passthrough completion fish | source", "in ~/.config/fish/config.fish"),
    ),
}


def _text(shown: tuple[tuple[str, str], ...]) -> str:
    """Return examples as a paragraph for click: what each is for stands behind it, in one column."""
    width = max((len(command) for command, what in shown if what), default=0)
    lines = (f"  {command.ljust(width)}  {what}" if what else f"  {command}" for command, what in shown)
    return _KEPT + "\n".join(("Examples:", *lines))


EXAMPLES: Final[Mapping[str, str]] = MappingProxyType({name: _text(shown) for name, shown in _SHOWN.items()})
"""The end of the help of each command, by its name; that of the program by the empty one."""

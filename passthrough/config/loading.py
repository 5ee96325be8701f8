"""routes.yaml → Config, or every problem at once, each with its line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeVar, cast

from pydantic import BaseModel

from ..books.prices import Price
from ..errors import ConfigError
from . import syntax
from .clients import check_named_routes, keys
from .dialect import ENDPOINTS, ours
from .document import Document, read
from .endpoints import Surroundings, check_labels, routes
from .environment import read_environment
from .findings import At, Findings
from .listen import Listening, listening
from .model import Config
from .parts import items, optional_part, part
from .references import References
from .schema import SECTIONS, ClientKey, Endpoint, File, General, LabelItem, PricePart
from .variables import check_variables

DEFAULT_FILE: Final = "routes.yaml"
_NOTHING: Final[Mapping[str, object]] = MappingProxyType({})
_Part = TypeVar("_Part", bound=BaseModel)


def load(
    path: str,
    environ: Mapping[str, str],
    *,
    cwd: Path | None = None,
    sandbox: bool = False,
    listen: Mapping[str, object] = _NOTHING,
) -> Config:
    """Return the configuration in the file `path`, resolved and checked.

    `environ` is the real environment; the `.env` files are read beside it. `cwd` is what names of files are relative to (the
    process's own by default). `listen` holds flags by the names of their keys (host, port, …); None is not given. With
    `sandbox` every target is the sandbox, with port 0: the server fills it in.

    Raises ConfigError with all problems, and nothing else for whatever the file or the environment holds.
    """
    cwd = cwd or Path.cwd()
    opened = _opened(path, environ, cwd, sandbox)
    findings = opened.findings
    file = optional_part(File, {key: value for key, value in opened.tree.items() if key not in SECTIONS}, (), findings)
    general = _general(opened)
    labels = opened.parts(LabelItem, "label_headers")
    named = [(at, label.root) for at, label in labels]
    check_labels(named, findings)
    where = listening(file, opened.environ, listen, (opened.folder, cwd), findings)
    endpoints = [found for place in ENDPOINTS for found in opened.parts(Endpoint, *place)]
    around = Surroundings(opened.folder, where.listen, sandbox, named, general)
    built = routes(endpoints, around, findings)
    held = keys(opened.parts(ClientKey, "client_keys"), file, general, findings)
    check_named_routes(opened.tree, findings)
    allow_anonymous = file.allow_anonymous or general.allow_anonymous
    _check_open(where, opened.tree, allow_anonymous, findings)
    prices = _prices(opened)
    opened.refuse()
    return Config(
        file=path,
        routes=built,
        clients=held.clients,
        key_header=_lower(general.litellm_key_header_name),
        allow_anonymous=allow_anonymous,
        prices=prices,
        ledger=file.ledger,
        ledger_keep_days=file.ledger_keep,
        admin_digest=held.admin_digest,
        listen=where.listen,
        warnings=tuple(findings.warnings),
    )


def load_ledger_url(path: str, environ: Mapping[str, str], *, cwd: Path | None = None) -> str | None:
    """Return the URL of the ledger that the file names, None for none; nothing else of the file is looked at.

    Raises ConfigError where the file cannot be read or its `ledger` is wrong.
    """
    opened = _opened(path, environ, cwd or Path.cwd(), False, frozenset({"ledger"}))
    file = optional_part(File, opened.tree, (), opened.findings)
    opened.refuse()
    return file.ledger


def load_prices(path: str, environ: Mapping[str, str], *, cwd: Path | None = None) -> tuple[Price, ...]:
    """Return the file's own prices; nothing else of the file is looked at. Raises ConfigError where they are wrong."""
    opened = _opened(path, environ, cwd or Path.cwd(), False, frozenset({"prices"}))
    prices = _prices(opened)
    opened.refuse()
    return prices


@dataclass(frozen=True, slots=True)
class _Opened:
    """A file that was read, its references replaced, and what was found on the way."""

    tree: Mapping[str, Any]
    environ: Mapping[str, str]
    findings: Findings
    folder: Path

    def parts(self, model: type[_Part], *place: str) -> list[tuple[At, _Part]]:
        """The items of a list that are valid, with their places; the others are noted."""
        value: Any = self.tree
        for key in place:
            value = value.get(key, ()) if isinstance(value, dict) else ()
        if value == ():
            return []
        found = [(at, part(model, item, at, self.findings)) for at, item in items(value, place, self.findings)]
        return [(at, item) for at, item in found if item is not None]

    def refuse(self) -> None:
        """Raise ConfigError if anything is wrong."""
        if self.findings.problems:
            raise ConfigError(self.findings.problems)


def _opened(path: str, environ: Mapping[str, str], cwd: Path, sandbox: bool, only: frozenset[str] | None = None) -> _Opened:
    document: Document = read(path, cwd)
    findings = Findings(document, document.problems)
    seen = read_environment(path, environ, cwd, findings.problems, findings.warnings)
    tree = cast("dict[str, Any]", document.tree())
    found = ours(tree, findings) if only is None else {key: tree[key] for key in only if tree.get(key) is not None}
    references = References(seen, findings, sandbox=sandbox)
    resolved = references.resolved(found)
    if only is None:
        check_variables(seen, references.names, findings)
    return _Opened(cast("dict[str, Any]", resolved), seen, findings, (cwd / path).parent)


def _general(opened: _Opened) -> General:
    section = opened.tree.get("general_settings", {})
    if isinstance(section, dict):
        section = {key: value for key, value in section.items() if key not in SECTIONS}
    return optional_part(General, section, ("general_settings",), opened.findings)


def _prices(opened: _Opened) -> tuple[Price, ...]:
    found: dict[tuple[str, object], Price] = {}
    for at, row in opened.parts(PricePart, "prices"):
        figures = row.model_dump(exclude={"model", "batch_factor", "effective_from"}, exclude_none=True)
        if not figures:
            opened.findings.wrong(at, "This row has no price.", "Add usd_per_1000_pages.")
        if (row.model, row.effective_from) in found:
            what = "This model has another price from the same day on."
            opened.findings.wrong((*at, "model"), what, "Keep one, or give each its 'effective_from'.")
        price = Price(row.model, **figures, batch_factor=row.batch_factor, effective_from=row.effective_from)
        found[row.model, row.effective_from] = price
    return tuple(found.values())


def _check_open(where: Listening, tree: Mapping[str, Any], allow_anonymous: bool, findings: Findings) -> None:
    """Without a single key, only this machine may call: a proxy that is open by accident spends its owner's money."""
    general = tree.get("general_settings")
    guarded = tree.get("client_keys") or tree.get("master_key") or (isinstance(general, dict) and general.get("master_key"))
    if guarded or allow_anonymous or syntax.is_loopback(where.listen.host):
        return
    what = "Without client_keys or master_key everybody who reaches this host may call, on your account."
    mend = "Add client_keys, listen on 127.0.0.1, or write 'allow_anonymous: true'."
    where.wrong("host", findings, what, mend)


def _lower(name: str | None) -> bytes | None:
    return None if name is None else name.lower().encode("ascii")

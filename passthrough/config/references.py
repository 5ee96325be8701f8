"""Replaces os.environ/NAME in the file's values; a variable that is not set is a problem that names it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from ..secret import PREFIX, Secret, Unset, expand, names_in
from .models.schema import ConnectionPart
from .placeholders import placeholder
from .problems import At, Problems, printable
from .schema import IDLE_KEYS, SPECIAL_HEADER

_ENDPOINTS: Final = "pass_through_endpoints"
_TARGETS: Final = "targets"
_REPLACED_BY_SANDBOX: Final = frozenset({
    "target", "headers", "proxy", "upstream_tls", "default_query_params", "upstream_auth",
})  # fmt: skip
_MODELS: Final = frozenset({"model_list", "credential_list"})
_CONNECTION: Final = frozenset(ConnectionPart.model_fields) | {"extra_headers"}
"""What the sandbox replaces of a deployment."""
_REFERENCE: Final = re.compile(r"os\.environ/[A-Za-z0-9_]*")
_STAND_IN: Final = "unset"
_WITHOUT: Final = "\n  To try it without: 'passthrough serve --sandbox'."
_WHEN: Final = "when"
"""The key whose texts are compared with a provider's responses: they are no values of ours."""
_LEFT_OUT: Final = object()


class References:
    """The variables that a file refers to, looked up in one environment.

    With `sandbox`, a variable that is not set does no harm where the sandbox replaces the target: such headers are left out, and
    in a target a stand-in keeps the path readable.
    """

    __slots__ = ("_environ", "_problems", "_sandbox", "names")

    def __init__(self, environ: Mapping[str, str], problems: Problems, *, sandbox: bool = False) -> None:
        self._environ = environ
        self._problems = problems
        self._sandbox = sandbox
        self.names: set[str] = set()
        """The variables referred to so far."""

    def resolved(self, value: object, at: At = ()) -> object:
        """Return a value of the file with all references replaced; a text that holds one becomes a Secret. Null is a problem.

        Where a variable is not set, a stand-in replaces it, so that the rest of the file can be checked: the problem is noted,
        and the place is excused.
        """
        if isinstance(value, dict):
            inner = {key: self._inside(one, (*at, key)) for key, one in value.items()}
            kept = {key: one for key, one in inner.items() if one is not _LEFT_OUT}
            return _LEFT_OUT if inner and not kept and _field(at) == "upstream_tls" else kept
        if isinstance(value, list):
            return [self.resolved(one, (*at, index)) for index, one in enumerate(value)]
        if value is None:
            is_google = tuple(at[-2:]) == ("upstream_auth", "google")
            hint = "Write 'google: {}' for the machine's own identity." if is_google else "Give it one, or remove the key."
            self._problems.wrong(at, "There is no value here.", hint)
            self._problems.excuse(at)
            return _STAND_IN
        assert isinstance(value, str)  # The document has no other scalars.
        return self._replaced(value, at) if PREFIX in value else self._misspelt(value, at)

    def _inside(self, value: object, at: At) -> object:
        return value if _field(at) in IDLE_KEYS else self.resolved(value, at)

    def _replaced(self, text: str, at: At) -> object:
        field = _field(at)
        self.names.update(names_in(text))
        is_replaced = self._sandbox and (field in _REPLACED_BY_SANDBOX or _is_connection(at))
        if not is_replaced:
            self._check_values(text, at)
        try:
            return expand(text, self._joined(text) if field == "target" or at[-1] == "api_base" else self._environ)
        except Unset as unset:
            if not is_replaced:
                for name in unset.names:
                    self._missing(name, field, at)
                self._problems.excuse(at)
            elif field != "target":
                return _LEFT_OUT
            return Secret(self._stand_in(text), ", ".join(names_in(text)))

    def _misspelt(self, text: str, at: At) -> object:
        """Return the text, unless it is a placeholder meant as a reference: that is noted, and a stand-in replaces it."""
        found = None if _WHEN in at else placeholder(text)
        if found is None:
            return text
        if found:
            what = "This is no reference to a variable: it would be taken as it stands."
            self._problems.wrong(at, what, f"Write {PREFIX}{printable(found)}.")
        else:
            self._problems.wrong(at, "This is still an example's.", f"Write the real value, or {PREFIX}NAME for a variable's.")
        self._problems.excuse(at)
        return Secret(f"http://{_STAND_IN}" if _field(at) == "target" else _STAND_IN)

    def _check_values(self, text: str, at: At) -> None:
        """Note the variables that hold a placeholder themselves: references inside of a variable's value are not replaced."""
        names = [name for name in dict.fromkeys(names_in(text)) if placeholder(self._environ.get(name, "")) is not None]
        for name in names:
            hint = "Set it to the value itself: what a variable holds is taken as it stands."
            self._problems.wrong(at, f"What {name} holds is a placeholder, not a value.", hint)
        if names:
            self._problems.excuse(at)

    def _joined(self, text: str) -> Mapping[str, str]:
        """Return the environment in which `os.environ/ENDPOINT/v1`, with an endpoint that ends in `/`, does not become `//v1`."""
        doubled = [name for name in names_in(text) if f"{PREFIX}{name}/" in text and self._environ.get(name, "").endswith("/")]
        return {**self._environ, **{name: self._environ[name].rstrip("/") for name in doubled}} if doubled else self._environ

    def _stand_in(self, text: str) -> str:
        known = _REFERENCE.sub(lambda match: self._environ.get(match[0].removeprefix(PREFIX)) or _STAND_IN, text)
        return f"http://{known}" if known.startswith(_STAND_IN) else known

    def _missing(self, name: str, field: object, at: At) -> None:
        if name == PREFIX:
            self._problems.wrong(at, "os.environ/ is followed by no name.", "Write os.environ/NAME.")
            return
        what = f"{name} is set, but empty." if name in self._environ else f"{name} is not set."
        whole = "target" if _TARGETS in at[:-1] else "route"
        thing = "header" if field == "headers" and at[-1] != SPECIAL_HEADER else whole if field == "target" else "setting"
        thing = {"client_keys": "client key", "model_list": "entry", "credential_list": "credential"}.get(str(at[0]), thing)
        hint = f"Write {name}=… into .env, or set it in the environment, or remove this {thing}."
        is_upstream = _field(at) in _REPLACED_BY_SANDBOX or _is_connection(at)
        self._problems.wrong(at, what, f"{hint}{_WITHOUT}" if is_upstream else hint)


def _is_connection(at: At) -> bool:
    """Tell whether a place says where a deployment is, or holds its credential."""
    return at[0] in _MODELS and not _CONNECTION.isdisjoint(at)


def _field(at: At) -> object:
    """Return the key of an endpoint, or of one of its targets, that a place is below; None outside endpoints."""
    if _ENDPOINTS not in at[:2]:
        return None
    behind = at[at.index(_ENDPOINTS) + 1 :]
    if len(behind) > 3 and behind[1] == _TARGETS:  # an endpoint's own keys are one step above
        behind = behind[2:]
    return behind[1] if len(behind) > 1 else None

"""Selects what of a LiteLLM file is for OCR, before variables are looked up: those of other entries need not be set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Final

from ...proxy.deployments.deployment import Provider
from ...secret import PREFIX, Unset, expand
from ..problems import At, Problems, did_you_mean, listed, nearest, printable
from .credential_choice import Credential, credential, idle_keys, lacking_key
from .defaults import as_json
from .keys import LiteLLMKeys, renamed
from .urls import NAMED, provider_of

SECTIONS: Final = ("model_list", "router_settings", "litellm_settings", "credential_list")
"""LiteLLM's sections that mean something where model_list has an entry for OCR."""

_OCR: Final = "ocr"
_IN_NAMES: Final = ("ocr", "document-ai")
_MAX_NAMED: Final = 12
_VARIABLES: Final[Mapping[Provider, Mapping[str, tuple[str, ...]]]] = {
    Provider.MISTRAL: {"api_key": ("MISTRAL_API_KEY",), "api_base": ("MISTRAL_API_BASE",)},
    Provider.AZURE: {
        "api_key": ("AZURE_AI_API_KEY",), "api_base": ("AZURE_AI_API_BASE",), "azure_scope": ("AZURE_SCOPE",),
    },
    Provider.VERTEX: {
        "vertex_project": ("VERTEXAI_PROJECT",), "vertex_location": ("VERTEXAI_LOCATION", "VERTEX_LOCATION"),
        "vertex_credentials": ("VERTEXAI_CREDENTIALS",),
    },
}  # fmt: skip
"""The variables that LiteLLM reads where an entry lacks a key."""

_NOT_SERVED: Final = {
    Credential.OIDC: (
        "A token that is exchanged for another (oidc/…) is not served here.",
        "Write 'tenant_id' and 'client_id' with 'client_secret', or set AZURE_FEDERATED_TOKEN_FILE to the file with that token.",
    ),
    Credential.PERSON: (
        "A person's name and password are not served here.",
        "Write 'tenant_id', 'client_id' and 'client_secret' of an application, or 'api_key'.",
    ),
}
"""What is said of credentials that are not served, with the hint."""

_ON: Final = frozenset({"true", "yes", "on"})
_ELSEWHERE: Final = "For a model of OCR write 'model_info: {mode: ocr}'; for others add a route under pass_through_endpoints."
_OTHER_API: Final = "Add a route under pass_through_endpoints: mistral/, azure_ai/ and vertex_ai/ models of Mistral are served."


@dataclass(frozen=True, slots=True)
class _Candidate:
    """An entry for OCR whose API is spoken here; `lacks` is the key of its credential where that is not served."""

    index: int
    group: str
    choice: Credential
    lacks: str | None


@dataclass(slots=True)
class _Findings:
    """What is gathered while entries are looked at."""

    candidates: list[_Candidate] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    unserved: list[str] = field(default_factory=list)
    credentials: set[str] = field(default_factory=set)


def selected(tree: Mapping[str, Any], environ: Mapping[str, str], problems: Problems, *, sandbox: bool) -> dict[str, object]:
    """Return the sections of SECTIONS with what is for OCR; empty where no entry is.

    Places stay: of other entries only `model_name` is left.

    1. An entry is for OCR where its mode is `ocr`, or where it has no mode, and its model's name holds `ocr` or `document-ai`.
    2. The others, and those whose provider speaks another API, are named in one warning each.
    3. What LiteLLM takes from the environment becomes a reference to the variable.
    4. A deployment whose credential is of a kind that is not served is left out with a warning, where any other can be served;
       else it is a problem. In the sandbox it needs none.
    """
    entries = tree.get("model_list")
    if entries is None:
        return {}
    if not isinstance(entries, list):
        return {"model_list": entries}
    keys = LiteLLMKeys(problems)
    looked = _Selector(tree, environ, problems, keys, sandbox)
    kept: list[object] = [looked.entry(item, ("model_list", index)) for index, item in enumerate(entries)]
    found = looked.findings
    if all(map(is_left_out, kept)):
        _warn_others(_Findings(unserved=found.unserved), problems)  # that the section does nothing is said of it as a whole
        return {}
    _warn_others(found, problems)
    for at, replaced in _unserved(found, problems):
        kept[at] = replaced
    sections: dict[str, object] = {"model_list": kept}
    for name in ("router_settings", "litellm_settings"):
        if (section := tree.get(name)) is not None:
            sections[name] = keys.working(name, section, (name,)) if isinstance(section, dict) else section
    if (given := tree.get("credential_list")) is not None:
        sections["credential_list"] = _credentials(given, found.credentials, keys)
    keys.warn()
    return sections


class _Selector:
    """Looks at one entry after the other."""

    def __init__(
        self, tree: Mapping[str, Any], environ: Mapping[str, str], problems: Problems, keys: LiteLLMKeys, sandbox: bool
    ) -> None:
        self._environ = environ
        self._problems = problems
        self._keys = keys
        self._sandbox = sandbox
        self._shared = _by_name(tree.get("credential_list"))
        settings = tree.get("litellm_settings")
        refreshes = settings.get("enable_azure_ad_token_refresh") if isinstance(settings, dict) else None
        self._by_machine = self._known(refreshes).strip().lower() in _ON
        self.findings = _Findings()

    def entry(self, item: object, at: At) -> object:
        """Return the entry as far as it is for OCR; only its name where it is not."""
        if not isinstance(item, dict):
            return item
        params, info = item.get("litellm_params"), item.get("model_info")
        params, info = params if isinstance(params, dict) else {}, info if isinstance(info, dict) else {}
        model = self._known(params.get("model"))
        name = item.get("model_name")
        shown = printable(name) if isinstance(name, str) else "an entry without model_name"
        if not self._is_ocr(info.get("mode"), model, at):
            self.findings.others.append(shown)
            return _name_only(item)
        named = self._known(params.get("custom_llm_provider"))
        served = provider_of(model, named or None) if model else None
        if model and served is None and self._is_misspelt(model, named, at):
            return {**item, "litellm_params": params}
        if model and served is None:
            self.findings.unserved.append(f"{shown} ({printable(model)})")
            return _name_only(item)
        found = self._keys.working("entry", item, at)
        if isinstance(item.get("model_info"), dict):
            found["model_info"] = self._keys.working("model_info", info, (*at, "model_info"))
        if served is not None:
            found["litellm_params"] = self._params(params, served[0], at, shown)
        elif params:
            found["litellm_params"] = self._keys.working("litellm_params", params, (*at, "litellm_params"))
        return found

    def _params(self, given: Mapping[str, object], provider: Provider, at: At, group: str) -> dict[str, object]:
        """Return the parameters that work, with LiteLLM's variables for what is not there."""
        place, given = (*at, "litellm_params"), renamed(given)
        shared = self._credential(given.get("litellm_credential_name"), place)
        there = {**shared, **{key: value for key, value in given.items() if value is not None}}
        choice = self._choice(there, provider)
        lacks = None if self._sandbox else lacking_key(choice, there)
        idle = idle_keys(choice)
        spelt = {key: value for key, value in given.items() if key != lacks}  # of it more is said
        params = as_json(self._keys.working("litellm_params", spelt, place, idle), place, self._problems)
        for key, names in _VARIABLES[provider].items():
            name = next((name for name in names if self._environ.get(name)), None)
            if there.get(key) is None and name is not None and key not in idle and self._takes(key, provider, choice):
                params[key] = f"{PREFIX}{name}"
        self.findings.candidates.append(_Candidate(int(at[1]), group, choice, lacks))
        return params

    def _takes(self, key: str, provider: Provider, choice: Credential) -> bool:
        """Tell whether a variable serves for a key: that of Azure's key only where nothing in the file is preferred to it."""
        return key != "api_key" or provider is not Provider.AZURE or choice is Credential.VARIABLE

    def _choice(self, there: Mapping[str, object], provider: Provider) -> Credential:
        headers = there.get("extra_headers")
        sent = {str(name).lower() for name in headers} if isinstance(headers, dict) else set()
        token = there.get("azure_ad_token")
        known = {**there, "azure_ad_token": self._known(token) or token}
        return credential(provider, known, sent, self._environ, by_machine=self._by_machine)

    def _credential(self, name: object, at: At) -> Mapping[str, object]:
        if not isinstance(name, str):
            return {}
        if name not in self._shared:
            hint = did_you_mean(name, self._shared, "Add it to credential_list, or remove this.")
            self._problems.wrong((*at, "litellm_credential_name"), "There is no such credential in credential_list.", hint)
            self._problems.excuse((*at, "api_key"))
            return {}
        self.findings.credentials.add(name)
        return self._shared[name]

    def _is_misspelt(self, model: str, named: str, at: At) -> bool:
        """Note a model whose provider is missing or misspelt, and tell whether it was one."""
        prefix, slash, _ = model.partition("/")
        near = nearest(prefix, NAMED) if slash and prefix not in NAMED else None
        if named or (slash and near is None):
            return False
        place = (*at, "litellm_params", "model")
        if slash:
            self._problems.wrong(place, "There is no such provider for OCR.", f"Did you mean '{near}/'?")
        else:
            self._problems.wrong(
                place, "The provider is missing.", f"Write it before the model: {', '.join(f'{each}/' for each in NAMED)}."
            )
        return True

    def _known(self, value: object) -> str:
        """Return a text with its variables, as far as they are set."""
        if not isinstance(value, str):
            return ""
        try:
            return expand(value, self._environ).reveal() if PREFIX in value else value
        except Unset:
            return ""

    def _is_ocr(self, mode: object, model: str, at: At) -> bool:
        if isinstance(mode, str):
            word = mode.strip().lower()
            if word != _OCR and get_close_matches(word, [_OCR], cutoff=0.6):
                self._problems.wrong((*at, "model_info", "mode"), "There is no such mode.", "Did you mean 'ocr'?")
                return True
            return word == _OCR
        return any(part in model.lower() for part in _IN_NAMES)


def _name_only(item: Mapping[str, object]) -> dict[str, object]:
    name = item.get("model_name")
    return {"model_name": name} if isinstance(name, str) and PREFIX not in name else {}


def _by_name(given: object) -> dict[str, Mapping[str, object]]:
    """Return the values of credentials by their names."""
    found: dict[str, Mapping[str, object]] = {}
    for item in given if isinstance(given, list) else ():
        name, values = (item.get("credential_name"), item.get("credential_values")) if isinstance(item, dict) else (None, None)
        if isinstance(name, str):
            found.setdefault(name, renamed(values) if isinstance(values, dict) else {})
    return found


def _credentials(given: object, used: set[str], keys: LiteLLMKeys) -> object:
    """Return the list with those credentials only that entries for OCR name; the others become `{}`."""
    if not isinstance(given, list):
        return given
    found: list[object] = []
    for index, item in enumerate(given):
        if not isinstance(item, dict) or item.get("credential_name") not in used:
            found.append({} if isinstance(item, dict) else item)
            continue
        at = ("credential_list", index)
        kept = keys.working("credential", item, at)
        if isinstance(values := kept.get("credential_values"), dict):
            kept["credential_values"] = keys.working("credential_values", renamed(values), (*at, "credential_values"))
        found.append(kept)
    return found


def _unserved(found: _Findings, problems: Problems) -> list[tuple[int, object]]:
    """Note deployments whose credential is not served, and return what replaces them in the list."""
    able = {each.group for each in found.candidates if each.lacks is None}
    replaced: list[tuple[int, object]] = []
    for each in found.candidates:
        if each.lacks is None:
            continue
        at = ("model_list", each.index, "litellm_params", each.lacks)
        what, hint = _NOT_SERVED[each.choice]
        if not able:
            problems.wrong(at, what, hint)
        elif each.group in able:
            problems.warn(at, f"{what} The deployment is left out; the others of {each.group} are served.", hint)
        else:
            problems.warn(at, f"{what} So {each.group} is left out: clients that send this name get 400.", hint)
        replaced.append((each.index, {"model_name": each.group}))
    return replaced


def is_left_out(item: object) -> bool:
    """Tell whether an item of a list is one of which only the name was left."""
    return isinstance(item, dict) and set(item) <= {"model_name"}


def _warn_others(found: _Findings, problems: Problems) -> None:
    served = {each.group for each in found.candidates if each.lacks is None}
    for names, what, hint in (
        (found.others, "not for OCR, and not served here", _ELSEWHERE),
        (found.unserved, "of providers that are not served under /ocr", _OTHER_API),
    ):
        if names:
            unique = [f"an entry of {name}" if name in served else name for name in dict.fromkeys(names)]
            problems.warn(("model_list",), f"{listed(unique, _MAX_NAMED)}: {what}.", hint)

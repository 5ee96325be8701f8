"""A kustomization's objects, as `kubectl kustomize` prints them; what is used of kustomize in `deploy/` is all that it knows."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]
"""One object of the Kubernetes API."""

_KNOWN = {"apiVersion", "kind", "resources", "configMapGenerator", "generatorOptions"}
_LETTERS = str.maketrans("013ae", "ghkmt")
"""A name's suffix has no vowels and no look-alikes (kustomize, api/hasher/hasher.go)."""


def built(folder: Path) -> list[Object]:
    """Return the objects of the kustomization in `folder`; raise where it uses something else of kustomize."""
    wanted = yaml.safe_load((folder / "kustomization.yaml").read_text("utf-8"))
    assert set() == set(wanted) - _KNOWN
    options = wanted.get("generatorOptions", {})
    assert set() == set(options) - {"disableNameSuffixHash"}
    generated: dict[str, Object] = {}
    for each in wanted.get("configMapGenerator", ()):
        assert {"name", "files"} == each.keys()
        data = {name: (folder / name).read_text("utf-8") for name in each["files"]}
        name = each["name"] if options.get("disableNameSuffixHash") else f"{each['name']}-{_suffix(data)}"
        generated[each["name"]] = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}
    objects = [found for name in wanted["resources"] for found in yaml.safe_load_all((folder / name).read_text("utf-8"))]
    for each in objects:
        _rename(each, {name: made["metadata"]["name"] for name, made in generated.items()})
    return [*generated.values(), *objects]


def _suffix(data: dict[str, str]) -> str:
    """Return the first ten letters of the hash that kustomize makes of a ConfigMap without a name: its JSON as Go writes it."""
    text = json.dumps({"data": data, "kind": "ConfigMap", "name": ""}, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return hashlib.sha256(text.encode()).hexdigest()[:10].translate(_LETTERS)


def _rename(found: Any, names: dict[str, str]) -> None:
    """Have each volume of a generated ConfigMap name it as it is called."""
    if isinstance(found, dict):
        if isinstance(found.get("configMap"), dict) and "name" in found["configMap"]:
            found["configMap"]["name"] = names.get(found["configMap"]["name"], found["configMap"]["name"])
        for value in found.values():
            _rename(value, names)
    elif isinstance(found, list):
        for value in found:
            _rename(value, names)

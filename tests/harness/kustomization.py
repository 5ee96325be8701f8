"""A kustomization's objects, as `kubectl kustomize` prints them; what is used of kustomize in `deploy/` is all that it knows."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]
"""One object of the Kubernetes API."""

_KNOWN = {"apiVersion", "kind", "resources", "configMapGenerator", "generatorOptions", "patches"}
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
    objects = [found for name in wanted["resources"] for found in _resource(folder / name)]
    for patch in wanted.get("patches", ()):
        assert {"target", "patch"} == patch.keys() - {"options"}
        target = patch["target"]
        (found,) = [each for each in objects if (each["kind"], each["metadata"]["name"]) == (target["kind"], target["name"])]
        for step in yaml.safe_load(patch["patch"]):
            _apply(found, **step)
    for each in objects:
        _rename(each, {name: made["metadata"]["name"] for name, made in generated.items()})
    return [*generated.values(), *objects]


def _resource(path: Path) -> list[Object]:
    return built(path) if path.is_dir() else list(yaml.safe_load_all(path.read_text("utf-8")))


def _apply(found: Any, op: str, path: str, value: Any = None) -> None:
    """Apply one step of a JSON Patch (RFC 6902)."""
    *steps, last = (int(step) if step.isdecimal() else step for step in path.split("/")[1:])
    for step in steps:
        found = found[step]
    if op == "test":
        assert value == found[last]
    elif op == "remove":
        del found[last]
    else:
        assert (op == "replace") == (last in found)
        assert op in {"add", "replace"}
        found[last] = value


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

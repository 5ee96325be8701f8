"""Named labels: the keys that name them, and the JSON object in which an exchange has them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from .money import Number, json_text

PREFIX: Final = "label."
"""What a key for sums and filters begins with that names a label: `label.team`."""

_MAX_VALUE: Final = 200  # characters: values stand in an index
_NAME: Final = re.compile(r"[a-z0-9_-]{1,40}", re.ASCII)


def label_name(key: str) -> str | None:
    """Return the label that a key such as `label.team` names; None for another key."""
    name = key.removeprefix(PREFIX)
    return name if name != key and _NAME.fullmatch(name) else None


@lru_cache(4096)
def named_labels(text: str) -> Mapping[str, str]:
    """Return the labels of an exchange by name, without empty ones; none for a text that this program did not write."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    if not isinstance(found, dict):
        return {}
    return {name: value[:_MAX_VALUE] for name, value in found.items() if value and isinstance(value, str)}


def labels_text(labels: Mapping[str, str]) -> str:
    """Return labels as an entry has them: in ASCII, for a database's escape for another character would not be JSON."""
    return json.dumps(labels)


def labels_json(text: str | None) -> Number | None:
    """Return an entry's labels as they are shown: a JSON object, or None where there are none."""
    return None if text is None else Number(json_text(named_labels(text)))

"""What is wanted of a JSON document: paths, and what may stand there."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum


class Mark(Enum):
    """What stands for a value that is not kept: a container's begin, its end, or a scalar beyond `KEPT_BYTES`."""

    OBJECT = "{"
    ARRAY = "["
    END = "end"
    LONG = "long"


Value = None | bool | int | Decimal | str | Mark
"""A scalar, as `json.loads` gives it but with exact decimals, and lone surrogates replaced; or a mark."""


@dataclass(slots=True)
class Node:
    """One step of the wanted paths: what is wanted below it. `told` tells that the path itself is wanted."""

    path: str = ""
    told: bool = False
    members: dict[bytes, Node] = field(default_factory=dict)
    items: Node | None = None


def paths(wanted: Iterable[str]) -> Node:
    """Return the tree of the wanted paths: names joined by `.`, with `[]` for every item of an array.

    `usage_info.pages_processed`, `pages[].images[].image_annotation`. The tree is built once and shared by all scanners.
    """
    root = Node()
    for path in wanted:
        node = root
        for step in re.findall(r"\[\]|[^.\[\]]+", path):
            if step == "[]":
                node.items = node = node.items or Node(f"{node.path}[]")
            else:
                name = f"{node.path}.{step}" if node.path else step
                node = node.members.setdefault(step.encode(), Node(name))
        node.told = True
    return root

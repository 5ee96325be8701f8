"""The bounds of the configuration's section `ocr`."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..documents.url_rules import UrlRules


@dataclass(frozen=True, slots=True)
class OcrSettings:
    """`held_body_bytes`: the largest request body that is held; `held_bodies_bytes`: all that are held at the same time.

    A body is held while its model is not known, and for a further try. `urls` is about documents that the proxy fetches.
    """

    held_body_bytes: int = 80_000_000
    held_bodies_bytes: int = 256_000_000
    urls: UrlRules = field(default_factory=UrlRules)

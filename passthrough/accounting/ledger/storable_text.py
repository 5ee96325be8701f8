r"""Makes texts storable: a character that the database cannot store becomes its escape (`\u2192`), so that no entry is lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any, Final

from ..entry import Entry
from ..named_labels import labels_text, named_labels

UNICODE: Final = "utf-8"
ASCII: Final = "ascii"


def storable_text(text: str, codec: str) -> str:
    r"""Return a text that a codec can encode, without NUL; all else is escaped: `\x00`, `\u2192`, `\ud800`."""
    if text.isascii() and "\0" not in text:
        return text
    try:
        held = text.encode(codec, "backslashreplace").decode(codec)
    except UnicodeError:  # an incomplete multi-byte character
        held = text.encode(ASCII, "backslashreplace").decode(ASCII)
    return held.replace("\0", r"\x00")


def storable(entries: Sequence[Entry], codec: str) -> Sequence[Entry]:
    """Return entries whose texts a codec can encode, without NUL: the same sequence where all are so already."""
    if _are_storable(entries, codec):
        return entries
    return tuple(_stored_entry(entry, codec) for entry in entries)


def _are_storable(entries: Sequence[Entry], codec: str) -> bool:
    """Check all texts joined, for that is quick: a third of a microsecond for each of a thousand entries."""
    texts = [
        (entry.label, entry.client, entry.route, entry.target, entry.path, entry.usage.model, entry.priced_as)
        for entry in entries
    ]
    more = [(entry.account, entry.error, entry.upstream_request_id, entry.method) for entry in entries]
    charged = [
        (charge.model, charge.line, charge.cost_source, charge.priced_as, charge.service_tier, charge.custom_id, charge.credits)
        for entry in entries
        for charge in entry.charges
    ]
    labels = [named_labels(entry.labels).values() for entry in entries if entry.labels]
    whole = "".join([text for some in (texts, more, charged, labels) for each in some for text in each if text])
    try:
        return "\0" not in whole and (whole.isascii() or bool(whole.encode(codec)))
    except UnicodeError:
        return False


def _stored_entry(entry: Entry, codec: str) -> Entry:
    """Return an entry with all its texts storable; labels are JSON, in which the values are what is to be storable."""
    stored: Entry = _stored(entry, codec)
    if entry.labels is None:
        return stored
    return replace(
        stored, labels=labels_text({name: storable_text(value, codec) for name, value in named_labels(entry.labels).items()})
    )


def _stored(value: Any, codec: str) -> Any:
    """Return a value with all its texts storable, those of values and tuples in it too."""
    if type(value) is str:
        return storable_text(value, codec)
    if isinstance(value, tuple):
        return tuple(_stored(each, codec) for each in value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{field.name: _stored(getattr(value, field.name), codec) for field in fields(value)})
    return value

"""One response of the responses to a document's parts: pages numbered as in the document, ids told apart, counts summed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, BinaryIO, Final

from .placeholders import placeholders
from .response import billed, count, objects, text
from .response_file import ResponseFile

_KINDS: Final = ("images", "tables")
_SUMMED: Final = ("pages_processed", "pages_processed_annotation", "doc_size_bytes")
_END: Final = re.compile(r"\.[A-Za-z0-9]{1,5}\Z")

Taken = tuple[int, ...] | None
"""The document's page of each page of a part; None where their numbers are the document's."""


class Joined:
    """The responses to the parts of a document, as one. `tree` is the JSON object; its pictures stay in the parts' files."""

    def __init__(self, parts: Sequence[tuple[ResponseFile, Taken]]) -> None:
        self._files = {file.mark: file for file, _ in parts}
        self.as_it_came = parts[0][0].path if len(parts) == 1 and parts[0][1] is None else None
        """The file of a response that needs no joining: it is the JSON of the document as it is."""
        counts = [billed(file.tree) for file, _ in parts]
        self.billed = (sum(plain for plain, _ in counts), sum(annotated for _, annotated in counts))
        """The plain and the annotated pages of all parts: each is counted as the ledger counted its call."""
        self.tree = parts[0][0].tree if self.as_it_came else joined_tree([(file.tree, taken) for file, taken in parts])

    def picture_text(self, content: str) -> Iterable[bytes]:
        """Return the base64 of a picture, in blocks."""
        return next((file for mark, file in self._files.items() if content.startswith(mark)), self._any).text_of(content)

    @property
    def _any(self) -> ResponseFile:
        return next(iter(self._files.values()))

    def write_json(self, value: object, into: BinaryIO) -> None:
        """Write a value of `tree`, with its pictures. All is ASCII: half a surrogate pair has no UTF-8."""
        dumped = json.dumps(value, indent=2)
        at = 0
        for found in re.finditer(f'"((?:{"|".join(self._files)})[0-9]+:[0-9]+:)(\\\\\\\\)?"', dumped):
            into.write(dumped[at : found.start() + 1].encode())
            into.writelines(self._files[found[1][: found[1].index(":") + 1]].spelt(found[1]))
            at = found.end() - 1
        into.write(dumped[at:].encode())


def joined_tree(parts: Sequence[tuple[Mapping[str, Any], Taken]]) -> dict[str, Any]:
    """Return the JSON object of a document that was done in parts: the first part's fields, with all parts' pages and counts."""
    pages: list[dict[str, Any]] = []
    names: dict[str, set[str]] = {kind: set() for kind in _KINDS}
    for number, (tree, taken) in enumerate(parts, 1):
        found = objects(tree.get("pages"))
        new = {kind: _new_ids(_ids(found, kind), names[kind], number) for kind in _KINDS}
        following = 0
        for page in found:
            index = count(page.get("index"))
            index = following if index is None else index
            following = index + 1
            pages.append(_renamed(page, new) | {"index": index if taken is None or index >= len(taken) else taken[index]})
    tree = dict(parts[0][0])
    return tree | {
        "pages": sorted(pages, key=lambda page: int(page["index"])),
        "usage_info": _usage([tree.get("usage_info") for tree, _ in parts]),
        "document_annotation": _annotation([tree.get("document_annotation") for tree, _ in parts]),
    }


def _ids(pages: Iterable[Mapping[str, Any]], kind: str) -> list[str]:
    return list(dict.fromkeys(text(each.get("id")) for page in pages for each in objects(page.get(kind))))


def _new_ids(ids: Iterable[str], names: set[str], part: int) -> dict[str, str]:
    """Return new ids for those that an earlier part has too, and add all to `names`."""
    new: dict[str, str] = {}
    mine = list(ids)
    free = names | set(mine)
    for id in mine:
        if id in names:
            end = found[0] if (found := _END.search(id)) else ""
            stem, number = id.removesuffix(end), part
            while (name := f"{stem}-{number}{end}") in free:
                number += 1
            new[id] = name
            free.add(name)
    names.update(free)
    return new


def _renamed(page: Mapping[str, Any], new: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """Return a page with other ids, in its lists and in its placeholders; those stand in its blocks again, in newer models."""
    made = _with_new_placeholders(page, "markdown", new)
    for kind in _KINDS:
        if isinstance(page.get(kind), list):
            made[kind] = [_with_id(each, new[kind]) if isinstance(each, dict) else each for each in page[kind]]
    if isinstance(page.get("blocks"), list):
        made["blocks"] = [_with_new_placeholders(b, "content", new) if isinstance(b, dict) else b for b in page["blocks"]]
    return made


def _with_new_placeholders(each: Mapping[str, Any], field: str, new: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    content = each.get(field)
    return dict(each) | ({field: _with_placeholders(content, new["images"], new["tables"])} if isinstance(content, str) else {})


def _with_id(each: dict[str, Any], new: Mapping[str, str]) -> dict[str, Any]:
    id = text(each.get("id"))
    return each | {"id": new[id]} if id in new else each


def _with_placeholders(markdown: str, images: Mapping[str, str], tables: Mapping[str, str]) -> str:
    made: list[str] = []
    copied = 0
    for each in placeholders(markdown, images, tables):
        id = (images if each.is_picture else tables).get(each.id, each.id)
        alt = id if each.alt == each.id else each.alt
        made += [markdown[copied : each.start], "!" if each.is_picture else "", f"[{alt}]({id})"]
        copied = each.end
    return "".join(made) + markdown[copied:]


def _usage(usages: Sequence[object]) -> dict[str, Any]:
    """Return the sums of counters; one is null where no part has it."""
    counters = [usage for usage in usages if isinstance(usage, dict)]
    first = dict(counters[0]) if counters else {}
    for name in _SUMMED:
        counts = [found for each in counters if (found := count(each.get(name))) is not None]
        if counts:
            first[name] = sum(counts)
    return first


def _annotation(found: Sequence[Any]) -> Any:
    """Return the annotation of a document: of several parts that have one, a list in JSON."""
    some = [each for each in found if each is not None]
    if len(some) <= 1:
        return some[0] if some else None
    return json.dumps([_value(each) for each in some], indent=2)


def _value(annotation: object) -> object:
    try:
        return json.loads(annotation) if isinstance(annotation, str) else annotation
    except (ValueError, RecursionError):
        return annotation

"""Renders responses into a folder, and reads what was made there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from passthrough.client.options import Format, RenderOptions
from passthrough.client.rendering.rendered import Written, write_rendered

ALL: Final = tuple(Format)
"""The formats, in the order in which they are made."""


def render(
    folder: Path,
    *raws: bytes,
    base: str = "report",
    formats: Sequence[Format] = (Format.MARKDOWN,),
    separator: str = "\n\n---\n\n",
    with_pictures: bool = True,
    taken: Sequence[tuple[int, ...] | None] | None = None,
) -> Written:
    """Write the files of responses into `folder`/outputs, a folder that is there."""
    parts = []
    for number, raw in enumerate(raws):
        path = folder / f"response-{number}.json"
        path.write_bytes(raw)
        parts.append((path, None if taken is None else taken[number]))
    (folder / "outputs").mkdir(exist_ok=True)
    return write_rendered(parts, base, with_pictures, RenderOptions(tuple(formats), separator), folder / "outputs")


def text_of(folder: Path, name: str = "report.md") -> str:
    """Return what is in a file that was made."""
    return (folder / "outputs" / name).read_bytes().decode()


def files(folder: Path) -> list[str]:
    """Return the names of all files below a folder's outputs, and of all folders."""
    return sorted(str(path.relative_to(folder / "outputs")) for path in (folder / "outputs").rglob("*"))

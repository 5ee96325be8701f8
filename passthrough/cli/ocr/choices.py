"""The choices of a command line of `passthrough ocr`, checked: what to read, what to ask for, where to write."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ...client.options import LATEST, RULE, Format, OcrOptions, RenderOptions
from ...client.page_ranges import PageRanges

STDIO: Final = "-"
"""The name of stdin among the inputs, and of stdout as output."""

_ESCAPES: Final = {r"\n": "\n", r"\t": "\t", r"\\": "\\"}
_FLAGGED: Final = {
    "document": "The document is what the inputs name.",
    "model": "Name the model with --model: the price depends on it.",
    "pages": "Choose pages with --pages: price and parts depend on them.",
}
"""Fields that `--api-option` does not set, because the run itself goes by them."""
_NOT_A_NAME: Final = re.compile(r"[^A-Za-z0-9_-]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """The flags as click gives them; `stored` is --from."""

    output: str | None
    formats: tuple[str, ...]
    stored: str | None
    overwrite: bool
    dry_run: bool
    batch: bool
    resume: bool
    base_url: str | None
    api_key: str | None
    sandbox: bool
    workers: int
    pages: str | None
    model: str | None
    table_format: str | None
    extract_header: bool
    extract_footer: bool
    no_images: bool
    image_limit: int | None
    image_min_size: int | None
    annotate: str | None
    separator: str | None
    api_options: tuple[str, ...]
    max_pages: int | None


@dataclass(frozen=True, slots=True)
class Choices:
    """What a command line asks for. `out` None: beside the inputs, and on stdout where `to_stdout`."""

    inputs: tuple[str, ...]
    flags: Flags
    asked: OcrOptions
    rendered: RenderOptions
    out: Path | None
    to_stdout: bool


def choices(inputs: tuple[str, ...], flags: Flags) -> Choices:
    """Return the choices. Raises ValueError, whose message says what is wrong and how to fix it."""
    to_stdout = flags.output == STDIO or (flags.output is None and inputs == (STDIO,))
    formats = tuple(dict.fromkeys(Format(name) for name in flags.formats)) or (Format.MARKDOWN,)
    _check(inputs, flags, formats, to_stdout=to_stdout)
    asked = OcrOptions(
        model=flags.model or LATEST,
        pages=None if flags.pages is None else _option("--pages", flags.pages, PageRanges.parse),
        table_format=flags.table_format,
        extract_header=flags.extract_header,
        extract_footer=flags.extract_footer,
        has_images=not flags.no_images and not to_stdout,
        image_limit=flags.image_limit,
        image_min_size=flags.image_min_size,
        annotation=None if flags.annotate is None else _annotation(flags.annotate),
        more=dict(_option("--api-option", each, _field) for each in flags.api_options),
    )
    separator = RULE if flags.separator is None else _unescaped(flags.separator)
    out = Path(flags.output) if flags.output is not None and not to_stdout else None
    return Choices(inputs, flags, asked, RenderOptions(formats, separator), out, to_stdout)


def _check(inputs: tuple[str, ...], flags: Flags, formats: tuple[Format, ...], *, to_stdout: bool) -> None:
    """Raise ValueError for flags that do not go together."""
    wrong = [
        (flags.resume and not flags.batch, "--resume goes on with a batch job.\nAdd --batch."),
        (flags.batch and to_stdout, "A batch job's results come later: they are written into files.\nName a folder with -o."),
        (
            flags.batch and flags.sandbox,
            "The sandbox in this process would take the job with it.\nRun 'passthrough sandbox' beside it.",
        ),
        (flags.batch and flags.stored is not None, "--from makes no call.\nLeave --batch out."),
        (flags.dry_run and flags.stored is not None, "--from makes no call.\nLeave --dry-run out."),
        (flags.dry_run and flags.resume, "What was ordered has its price.\nLeave --dry-run out."),
        (to_stdout and len(formats) > 1, "stdout takes one format.\nName one with --format, or a folder with -o."),
        (flags.stored is not None and bool(inputs), "--from takes the place of the inputs.\nLeave one of them out."),
        (flags.stored is not None and Format.JSON in formats, "FILE is the JSON already.\nName another --format."),
        (not inputs and flags.stored is None and not flags.resume, "Name what to read: a file, a folder, a URL, or - for stdin."),
        (any(not name for name in inputs), "An input is an empty name.\nIs it a variable that is not set?"),
        (flags.output == "", "-o needs a folder's name, or - for stdout."),
    ]
    for is_wrong, message in wrong:
        if is_wrong:
            raise ValueError(message)


def _option(flag: str, text: str, parse: Any) -> Any:
    try:
        return parse(text)
    except ValueError as error:
        raise ValueError(f"{flag}: {error}") from None


def _field(text: str) -> tuple[str, Any]:
    """Return a field of the request: its value is JSON, and a string where it is none."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ValueError(f"'{text}' has no '='. Write name=value.")
    if name in _FLAGGED:
        raise ValueError(_FLAGGED[name])
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _annotation(file: str) -> Mapping[str, Any]:
    """Return the response format of a file: it is one, or the JSON Schema in one."""
    try:
        value = json.loads(Path(file).read_text("utf-8-sig"))
    except OSError as error:
        raise ValueError(f"--annotate: {file} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise ValueError(f"--annotate: {file} is not JSON: {error}.") from None
    if not isinstance(value, dict):
        raise ValueError(f"--annotate: {file} is no JSON Schema: it is not an object.")
    if value.get("type") in {"json_schema", "json_object", "text"}:
        return value
    title = value.get("title")
    name = _NOT_A_NAME.sub("_", title)[:60] if isinstance(title, str) and title else "document"
    return {"type": "json_schema", "json_schema": {"name": name, "schema": value, "strict": True}}


def _unescaped(text: str) -> str:
    r"""Return a separator with `\n`, `\t` and `\\` replaced: shells hardly write them otherwise."""
    return re.sub(r"\\[nt\\]", lambda match: _ESCAPES[match[0]], text)

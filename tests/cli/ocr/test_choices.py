"""The command line of `passthrough ocr`: what it means, and what is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from passthrough.cli.main import main
from passthrough.cli.ocr.choices import Choices, Flags, choices
from passthrough.client.options import Format

pytestmark = pytest.mark.fast

NONE: dict[str, Any] = {
    "output": None, "formats": (), "stored": None, "overwrite": False, "dry_run": False, "batch": False, "resume": False,
    "base_url": None, "api_key": None, "sandbox": False, "workers": 4, "pages": None, "model": None, "table_format": None,
    "extract_header": False, "extract_footer": False, "no_images": False, "image_limit": None, "image_min_size": None,
    "annotate": None, "separator": None, "api_options": (), "max_pages": None,
}  # fmt: skip


def chosen(*inputs: str, **flags: Any) -> Choices:
    """Return the choices of some inputs and flags."""
    return choices(inputs, Flags(**{**NONE, **flags}))


@pytest.mark.parametrize(
    ("inputs", "flags", "wrong"),
    [
        ((), {}, "Name what to read"),
        (("",), {}, "An input is an empty name"),
        (("a",), {"output": ""}, "-o needs"),
        (("a",), {"resume": True}, "Add --batch"),
        (("a",), {"batch": True, "output": "-"}, "Name a folder with -o"),
        (("-",), {"batch": True}, "Name a folder with -o"),
        (("a",), {"batch": True, "sandbox": True}, "passthrough sandbox"),
        ((), {"batch": True, "stored": "x"}, "Leave --batch out"),
        ((), {"dry_run": True, "stored": "x"}, "Leave --dry-run out"),
        (("a",), {"dry_run": True, "batch": True, "resume": True}, "Leave --dry-run out"),
        (("a",), {"output": "-", "formats": ("md", "txt")}, "stdout takes one format"),
        (("a",), {"stored": "x"}, "Leave one of them out"),
        ((), {"stored": "x", "formats": ("json",)}, "Name another --format"),
        (("a",), {"pages": "1-"}, "--pages: '1-'"),
        (("a",), {"api_options": ("x",)}, "--api-option: 'x' has no '='"),
        (("a",), {"api_options": ("=1",)}, "has no '='"),
        (("a",), {"api_options": ("document=x",)}, "The document is what the inputs name"),
        (("a",), {"api_options": ("model=x",)}, "Name the model with --model"),
        (("a",), {"api_options": ("pages=[0]",)}, "Choose pages with --pages"),
        (("a",), {"annotate": "/nowhere/x"}, "cannot be read: No such file"),
    ],
)
def test_what_does_not_go_together_says_what_to_do(inputs: tuple[str, ...], flags: dict[str, Any], wrong: str) -> None:
    """Each message ends with a way out."""
    with pytest.raises(ValueError, match=wrong):
        chosen(*inputs, **flags)


def test_the_command_line_is_refused_with_2() -> None:
    """As every wrong command line is."""
    for words in (["ocr"], ["ocr", "a", "--resume"], ["ocr", "a", "--workers", "0"], ["ocr", "a", "--pages", "x"]):
        result = CliRunner().invoke(main, words)
        assert 2 == result.exit_code


def test_stdin_alone_goes_to_stdout() -> None:
    """There is no place beside it; where a folder is named, or another input, it is a file like others."""
    assert chosen("-").to_stdout
    assert not chosen("-").asked.has_images  # stdout has no place for them
    assert chosen("a", output="-").to_stdout
    assert not chosen("-", "a").to_stdout
    assert (False, Path("texts")) == ((found := chosen("-", output="texts")).to_stdout, found.out)


def test_values_of_further_fields_are_json_or_text() -> None:
    """So that numbers and objects need no other flag."""
    given = ("a=1", "b=text", 'c={"d": [true]}', "e=", "f=x=y")
    assert {"a": 1, "b": "text", "c": {"d": [True]}, "e": "", "f": "x=y"} == chosen("a", api_options=given).asked.more


def test_a_schema_is_wrapped_once(tmp_path: Path) -> None:
    """A file may hold the schema, or the whole response format; what is neither is named."""
    file = tmp_path / "schema.json"
    schema = {"title": "An invoice (2026)", "type": "object", "properties": {}}
    wrapped = {"type": "json_schema", "json_schema": {"name": "An_invoice__2026_", "schema": schema, "strict": True}}
    for content in (schema, wrapped):
        file.write_text(json.dumps(content))
        assert wrapped == chosen("a", annotate=str(file)).asked.annotation
    file.write_text(json.dumps({"type": "object"}))
    annotation = chosen("a", annotate=str(file)).asked.annotation
    assert annotation is not None
    assert "document" == annotation["json_schema"]["name"]
    for wrong, message in (("[]", "no JSON Schema"), ("{", "not JSON"), ("\xff", "not JSON")):
        file.write_bytes(wrong.encode("latin-1"))
        with pytest.raises(ValueError, match=message):
            chosen("a", annotate=str(file))


def test_a_separator_has_escapes() -> None:
    """Shells hardly write a line feed otherwise; a backslash before another letter stays."""
    assert "\n\t\\n \\x {page}" == chosen("a", separator=r"\n\t\\n \x {page}").rendered.separator


def test_a_format_counts_once() -> None:
    """Markdown is what is made without one."""
    assert (Format.MARKDOWN,) == chosen("a").rendered.formats
    assert (Format.JSON, Format.MARKDOWN) == chosen("a", formats=("json", "md", "json")).rendered.formats

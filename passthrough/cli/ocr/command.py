"""The flags of `passthrough ocr`."""

from __future__ import annotations

import sys
from typing import Any

import click

from ...config import builtin
from ..exits import EXIT_INTERRUPTED, exit_on_error

_FILE = click.Path(readable=False)


class _Whole(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions of click
    """An integer within bounds; unlike click's, its bounds are not in the help, where each flag has one line."""

    name = "integer"

    def __init__(self, least: int, most: int | None = None) -> None:
        self._range = click.IntRange(least, most)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the integer. Raises BadParameter."""
        return int(self._range.convert(value, param, ctx))


@click.command(short_help="Make Markdown, images and JSON of documents.")
@click.argument("inputs", nargs=-1, type=_FILE, metavar="[INPUT]...")
@click.option("-o", "--output", type=_FILE, metavar="DIR", help="Where to; - is stdout.  [beside the input]")
@click.option("--format", "formats", multiple=True, type=click.Choice(["md", "html", "txt", "json"]), help="Once for each.  [md]")
@click.option("--from", "stored", type=_FILE, metavar="FILE", help="Render a stored response; no call.")
@click.option("--overwrite", is_flag=True, help="Also what is finished, or not ours.")
@click.option("--dry-run", is_flag=True, help="Say pages and price; send nothing.")
@click.option("--batch", is_flag=True, help="One batch job: half the price, later.")
@click.option("--resume", is_flag=True, help="With --batch: fetch what was ordered.")
@click.option("--base-url", envvar="PASSTHROUGH_BASE_URL", metavar="URL", help="The API.  [http://127.0.0.1:4000/mistral]")
@click.option("--api-key", envvar="PASSTHROUGH_API_KEY", metavar="KEY", help="Better by PASSTHROUGH_API_KEY.")
@click.option("--sandbox", is_flag=True, help="Ask an imitation; nothing is billed.")
@click.option("--workers", type=_Whole(1, 64), default=4, metavar="N", help="Documents at once.  [4]")
@click.option("--pages", metavar="0,2-4", help="Counted from 0.  [all]")
@click.option("--model", metavar="NAME", help="[mistral-ocr-latest]")
@click.option("--table-format", type=click.Choice(["markdown", "html"]), help="Tables apart, in this form.")
@click.option("--extract-header", is_flag=True, help="Keep page headers out of the text.")
@click.option("--extract-footer", is_flag=True, help="Keep page footers out of the text.")
@click.option("--no-images", is_flag=True, help="Write no pictures, and no links to them.")
@click.option("--image-limit", type=_Whole(0), metavar="N", help="At most so many pictures.")
@click.option("--image-min-size", type=_Whole(0), metavar="PX", help="Pictures at least so wide and high.")
@click.option("--annotate", type=_FILE, metavar="SCHEMA", help="JSON Schema to fill in (dearer pages).")
@click.option("--separator", metavar="TEXT", help=r"Between pages, as '\n\n{page}\n'.  [a rule]")
@click.option("--api-option", "api_options", multiple=True, metavar="K=V", help="A further field of the request.")
@click.option("--max-pages", type=_Whole(1), metavar="N", help="The API's bound; longer ones are split.")
@click.option("--config", type=_FILE, envvar="PASSTHROUGH_CONFIG", metavar="FILE", help="Whose prices apply.  [routes.yaml]")
def ocr(inputs: tuple[str, ...], config: str | None, **flags: Any) -> None:
    """Make Markdown of documents: files, folders, 'patterns', URLs, - for stdin.

    What is written is printed on stdout, all else on stderr.
    """
    try:
        from .choices import Flags, choices  # noqa: PLC0415
        from .execution import execute  # noqa: PLC0415

        with exit_on_error():
            try:
                chosen = choices(inputs, Flags(**flags))
            except ValueError as error:
                raise click.UsageError(str(error)) from None
            sys.exit(execute(chosen, builtin.chosen(config)))
    except KeyboardInterrupt:  # before anything began
        sys.exit(EXIT_INTERRUPTED)

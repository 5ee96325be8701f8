"""The command line.

init · serve · check · usage · report · prices · backup · restore · keygen · schema · ocr · sandbox · health · completion.

Each command imports only what it needs, so that no command waits for another's libraries.
"""

from __future__ import annotations

import io
import json
import os
import re
import signal
import sys
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from .. import __version__
from ..config import builtin
from ..errors import ConfigError, LedgerError, Problem
from . import completion as completions
from . import standard_streams
from .examples import EXAMPLES
from .exits import EXIT_OTHER, exit_on_error
from .fast_import import without_authorities
from .ocr.command import ocr

if TYPE_CHECKING:
    from ..accounting.pricing.prices import Prices
    from ..accounting.reports.reprice import Today
    from ..accounting.reports.table import Table
    from ..config.model import Config

_NOT_ASCII = re.compile(r"[^\x00-\x7f]+")


def _chosen(context: click.Context, _: click.Parameter, named: str) -> str:
    """Return the configuration that a command reads: what was named, else routes.yaml, else the built-in one."""
    return builtin.chosen(None if context.get_parameter_source("config") is ParameterSource.DEFAULT else named)


_FILE = click.Path(readable=False)
"""A file's name: shells complete it. Whether it is there, and may be read, is found out by its reader."""

_config = click.option(
    "--config",
    default=builtin.DEFAULT,
    type=_FILE,
    envvar="PASSTHROUGH_CONFIG",
    show_default=True,
    callback=_chosen,
    help="The configuration.",
)
_ledger = click.option("--ledger", metavar="URL", help="The ledger's URL, instead of the configuration's.")
_traffic = click.option(
    "--sandbox",
    type=click.Choice(["auto", "exclude", "include", "only"]),
    default="auto",
    show_default=True,
    help="Whether the sandbox's traffic is summed up; auto: only where there is no other.",
)


def _periods(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    return completions.one(completions.PERIODS, incomplete)


def _mention_builtin(config: str) -> None:
    """Say on stderr that the built-in configuration is used, where it is."""
    if config == builtin.NAME:
        standard_streams.say(builtin.NOTICE)


class _Program(click.Group):
    """The command group, which first makes the standard streams usable: open, and able to take every character.

    Each command's help ends with its examples.
    """

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        """Add a command, and its examples to its help."""
        cmd.epilog = cmd.epilog or EXAMPLES.get(name or cmd.name or "")
        super().add_command(cmd, name)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands in the order in which they are defined: that in which they are needed."""
        return list(self.commands)

    def main(self, *args: Any, **settings: Any) -> Any:
        """Run the command. This comes before anything that opens a file or a socket."""
        standard_streams.open_closed()
        standard_streams.replace_unencodable()
        try:
            sys.exit(super().main(*args, **{**settings, "standalone_mode": False}) or 0)
        except click.ClickException as error:
            shown = io.StringIO()
            error.show(shown)
            standard_streams.say(shown.getvalue().rstrip("\n"))
            sys.exit(error.exit_code)
        except (click.Abort, EOFError, KeyboardInterrupt):
            standard_streams.say("Aborted!")
            sys.exit(EXIT_OTHER)


def _print(text: str) -> None:
    """Print a text on stdout. Raises OutputError, and BrokenPipeError where the reader has gone."""
    with standard_streams.printing():
        sys.stdout.write(f"{text}\n")  # click.echo writes UTF-8 where the stream says ASCII


def _tell(text: str) -> None:
    """Print sentences on stdout, on a terminal in lines that fit. Raises as `_print` does."""
    _print(standard_streams.folded(text))


@click.group(
    cls=_Program, epilog=EXAMPLES[""], context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(__version__)
def main() -> None:
    """A transparent reverse proxy for OCR APIs: bytes go straight through, pages are counted and priced."""


@main.command(short_help="Write routes.yaml, .env and a client key.")
@click.option(
    "--config", default=builtin.DEFAULT, type=_FILE, envvar="PASSTHROUGH_CONFIG", show_default=True, help="The file to write."
)
@click.option("--provider", type=click.Choice(["mistral", "azure", "aimlapi"]), help="Whose OCR it is.  [default: mistral]")
@click.option("--endpoint", metavar="URL", help="Azure's: the address of your resource.")
@click.option("--key-file", type=_FILE, metavar="FILE", help="The provider's key; - is stdin.  [default: later]")
@click.option("--client", metavar="NAME", help="Who calls first.  [default: default]")
@click.option("--yes", is_flag=True, help="Ask nothing.")
def init(config: str, yes: bool, **options: str | None) -> None:
    """Write routes.yaml, .env and a client key, and say what to type next.

    It asks at most three questions. A file that is there stays as it is.
    """
    from . import init

    with exit_on_error():
        try:
            done = init.init(init.Given(config, **options, asks=not yes), os.environ, Path.cwd())
        except click.Abort:
            standard_streams.say("\nNothing was written.")
            sys.exit(EXIT_OTHER)
        # What is indented is to be typed, or copied.
        _print("\n".join(line if line.startswith(" ") else standard_streams.folded(line) for line in done.split("\n")))


@main.command(short_help="Serve the routes of the configuration.")
@_config
@click.option("--host", help="Where to listen.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="[default: 4000]")
@click.option("--admin-host", help="Where the admin port listens.  [default: 127.0.0.1]")
@click.option("--admin-port", type=click.IntRange(0, 65535), help="[default: 4001]")
@click.option("--workers", type=click.IntRange(1), help="Processes that serve.  [default: 1]")
@click.option(
    "--sandbox", is_flag=True, envvar="PASSTHROUGH_SANDBOX", help="Send every route to a local imitation of Mistral's API."
)
@click.option("--log-format", type=click.Choice(["auto", "json", "text"]), help="[default: auto: text on a terminal]")
@click.option("--log-file", metavar="FILE", help="Where the log goes; SIGHUP opens it once more.  [default: stdout]")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="[default: info]")
@click.option(
    "--drain-delay", help="Time that it serves on after the order to stop, while it is not ready any more.  [default: 0]"
)
@click.option(
    "--drain-timeout", help="Time (25s; a plain number is seconds) that requests in flight get when stopping.  [default: 25]"
)
@click.option("--tls-cert", type=_FILE, help="PEM file: listen with TLS.")
@click.option("--tls-key", type=_FILE, help="PEM file of its key.")
def serve(config: str, sandbox: bool, **flags: Any) -> None:
    """Serve the routes of the configuration."""
    # Process 1 of a container ignores a signal without a handler, and what comes next takes half a second.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with without_authorities(os.environ):
        from ..server import run

    with exit_on_error():
        if not sandbox:
            builtin.check_own(config)
        run.serve(config, {name: value for name, value in flags.items() if value is not None}, sandbox=sandbox)


def _loaded(config: str, *, sandbox: bool = False) -> Config:
    from ..config.environment import environment
    from ..config.load import load

    return load(config, environment(config, os.environ, Path.cwd()), cwd=Path.cwd(), sandbox=sandbox)


@main.command(short_help="Print what is wrong, or the routes and who may call.")
@_config
@click.option("--sandbox", is_flag=True, help="Check it as 'serve --sandbox' would read it.")
@click.option(
    "--live", is_flag=True, help="Also fetch the tokens of identities, and ask providers for their list of models (free)."
)
def check(config: str, sandbox: bool, live: bool) -> None:
    """Print what is wrong with the configuration, or its routes and who may call. Never a secret."""
    from ..accounting.reports.table import Column, Table
    from ..config.announce import number, price_lists
    from ..config.bookable import ledger_problems
    from .check import COLUMNS, callers, notes, rows
    from .pools import POOL_COLUMNS, TARGET_COLUMNS, pool_notes, pool_rows, target_rows
    from .route_examples import route_examples
    from .terminal import show, width_of

    with exit_on_error():
        if not sandbox:
            builtin.check_own(config)
        _mention_builtin(config)
        loaded = _loaded(config, sandbox=sandbox)
        warnings = (*loaded.warnings, *ledger_problems(loaded))
        _check_log_file(config, loaded)
        title = f"{loaded.file}: fine, {number(loaded.routes, 'route')}"
        tables: list[tuple[str, tuple[str, ...], tuple[tuple[str, ...], ...]]] = []
        if loaded.routes:
            tables.append((title, COLUMNS, rows(loaded)))
        if loaded.pools:
            targets = [target for pool in loaded.pools for target in pool.deployments]
            tables.append((f"{number(loaded.pools, 'pool')}, {number(targets, 'target')}", TARGET_COLUMNS, target_rows(loaded)))
        if loaded.models is not None:
            pools = number(loaded.models.names(), "model") + f", {number(loaded.models.deployments, 'deployment')}"
            tables.append((pools if tables else f"{loaded.file}: fine, {pools}", POOL_COLUMNS, pool_rows(loaded.models)))
        shown = [
            Table(head, tuple(Column(name, cells) for name, cells in zip(names, zip(*found, strict=True), strict=True)))
            for head, names, found in tables
        ]
        sentences = filter(None, (*pool_notes(loaded), price_lists(loaded), *notes(loaded), *callers(loaded)))
        with standard_streams.printing():
            show(*shown, "\n".join(route_examples(loaded, width_of(sys.stdout))), "\n".join(sentences))
        for problem in warnings:
            standard_streams.say(f"warning: {problem}")
        if live:
            _check_live(loaded)


def _check_log_file(config: str, loaded: Config) -> None:
    """Raise ConfigError where 'serve' could not write the log file. Makes nothing."""
    from ..config.environment import environment
    from ..server.log_file import check_apart, check_writable, problem

    path = loaded.listen.log_file
    try:
        if path is not None:
            check_apart(path, loaded)
            check_writable(path)
    except OSError as error:
        raise ConfigError([problem(path or "", error, config, {}, environment(config, os.environ, Path.cwd()))]) from None


def _check_live(config: Config) -> None:
    """Fetch a token for each identity, ask for lists of models, say what came, and exit with 1 where something failed."""
    from .live_models import asked_models
    from .live_tokens import fetched
    from .terminal import show

    found = list(fetched(config.identities))
    with standard_streams.printing():
        show("\n".join(("", *(each.text for each in found))))
    tokens = {identity: each.token for identity, each in zip(config.identities, found, strict=True) if each.token is not None}
    models = list(asked_models(config, tokens))
    with standard_streams.printing():
        show("\n".join(each.text for each in models))
    if not (all(each.is_good for each in found) and all(each.is_good for each in models)):
        sys.exit(EXIT_OTHER)


@main.command(short_help="Print the configuration's JSON Schema, for editors.")
def schema() -> None:
    """Print the JSON Schema of the configuration, for editors."""
    from ..config.schema import schema as made

    with exit_on_error():
        _print(json.dumps(made(), indent=2, ensure_ascii=False))


@main.command(short_help="Sum up pages and cost: who spent what.")
@_config
@_ledger
@click.option(
    "--by",
    multiple=True,
    default=["client"],
    show_default=True,
    shell_complete=lambda context, parameter, incomplete: completions.several(completions.USAGE_KEYS, incomplete),
    help="client, label, label.NAME, route, model, target, deployment, model_group, day, month, status; several as a,b.",
)
@click.option("--as-told", is_flag=True, help="Models by the names that came, not by those that are priced.")
@click.option(
    "--since", shell_complete=_periods, help="7d (whole days, today the last), 12h, a date, or 2026-08-01T09:30Z (UTC)."
)
@click.option("--until", shell_complete=_periods, help="Up to, not including: 7d, 12h, a date, or 2026-08-01T09:30Z (UTC).")
@click.option("--format", "form", type=click.Choice(["table", "json", "csv"]), default="table", show_default=True)
@_traffic
@click.option(
    "--watch", is_flag=False, flag_value=2.0, type=click.FloatRange(0.2), metavar="[SECONDS]", help="Until Ctrl-C.  [default: 2]"
)
@click.option("--export", type=_FILE, metavar="FILE", help="Write all that is booked to FILE.csv, FILE.jsonl, or - for stdout.")
@click.option("--reprice", is_flag=True, help="What it would cost at today's prices.")
def usage(config: str, ledger: str | None, watch: float | None, export: str | None, reprice: bool, **options: Any) -> None:
    """Sum up pages and cost from the ledger."""
    from . import usage

    with exit_on_error():
        keys = tuple(_keys(",".join(options.pop("by"))))
        try:
            usage.Question("", keys, **options).check()
            if export is not None:
                usage.form_of(export, options["form"])
        except ValueError as error:
            raise click.UsageError(str(error)) from None
        if (watch is not None) + (export is not None) + reprice > 1:
            raise click.UsageError("Choose one of --watch, --export and --reprice.")
        if watch is not None and options["form"] != "table":
            raise click.UsageError("--watch shows a table.\nLeave --format out.")
        if ledger is None or reprice:
            _mention_builtin(config)
        prices = partial(_prices_of, config, optional=ledger is not None)
        question = usage.Question(_ledger_url(config, ledger), keys, **options, prices=prices)
        if watch is not None:
            with standard_streams.printing():
                usage.watch(question, watch)
        elif export is not None:
            standard_streams.say(usage.export_to(question, export))
        else:
            found = usage.repriced(question, _today(config)) if reprice else usage.sums(question)
            _print_sums(found, question.form)


def _print_sums(found: Table | str, form: str) -> None:
    from .terminal import show

    if form == "json" and isinstance(found, str) and not standard_streams.encodable(found):
        found = _NOT_ASCII.sub(lambda match: json.dumps(match[0])[1:-1], found)
    with standard_streams.printing():
        show(found) if form == "table" else sys.stdout.write(f"{found}\n")


def _today(config: str) -> Today:
    from ..accounting.reports.reprice import Today
    from ..config.load import load_costs_per_request, load_price_lists

    costs, lists = load_costs_per_request(config, os.environ), load_price_lists(config, os.environ)
    return Today(_prices(config), costs, datetime.now(UTC).timestamp(), lists)


def _prices(config: str) -> Prices:
    from ..accounting.pricing.prices import Prices
    from ..config.load import load_price_map, load_prices

    return Prices(load_prices(config, os.environ), mapped=load_price_map(config, os.environ))


def _prices_of(config: str, *, optional: bool) -> Prices:
    """Return the prices of a configuration and those that ship; those alone where the file is optional and missing."""
    from ..accounting.pricing.prices import Prices
    from ..config.load import load_prices

    return Prices() if optional and not Path(config).exists() else Prices(load_prices(config, os.environ))


def _keys(by: str) -> list[str]:
    from ..accounting.reports.report import checked_keys

    try:
        return list(checked_keys(name.strip() for name in by.split(",") if name.strip()))
    except LedgerError as error:
        raise click.UsageError(str(error)) from None


def _ledger_url(config: str, option: str | None) -> str:
    """Return the ledger's URL from the option, else from the configuration, of which nothing else need be right.

    A URL that can never be a ledger is an error of the option or of the configuration. Whether there is a ledger shows when it
    is opened.
    """
    from ..accounting.ledger.ledger import Ledger
    from ..config.load import load_ledger_url

    url = load_ledger_url(config, os.environ) if option is None else option
    what, _, hint = "There is no ledger to sum up: it is 'none'.\nName one with --ledger.".partition("\n")
    if url is not None and url != "none":
        try:
            Ledger.at(url).close()
            return url
        except LedgerError as error:
            what, _, hint = str(error).partition("\n")
    if option is None:
        raise ConfigError([Problem(config, 0, "ledger", what, hint)])
    raise click.BadParameter(f"{what}\n{hint}", param_hint="--ledger")


@main.command(short_help="Write a month's statement of each client.")
@_config
@_ledger
@click.option("--month", metavar="YYYY-MM", help="The month (UTC).  [default: the last one that is over]")
@click.option(
    "--by",
    default="client",
    show_default=True,
    shell_complete=lambda context, parameter, incomplete: completions.one(completions.REPORT_KEYS, incomplete),
    help="client, route, deployment, model_group, label, or label.NAME.",
)
@click.option("--format", "form", type=click.Choice(["md", "html", "csv"]), help="[default: the end of FILE, else md]")
@click.option("--output", type=_FILE, default="-", show_default=True, metavar="FILE", help="Where to write it; - is stdout.")
@_traffic
def report(config: str, ledger: str | None, **options: Any) -> None:
    """Write a month's statement: pages, cost and doubts of each client."""
    from . import report

    with exit_on_error():
        question = report.Question(**options)
        try:
            question.check()
        except ValueError as error:
            raise click.UsageError(str(error)) from None
        if ledger is None:
            _mention_builtin(config)
        # With --ledger there need be no configuration: the ledger of another machine has none here.
        listed = _prices(config) if ledger is None or Path(config).exists() else None
        written = report.report(_ledger_url(config, ledger), question, listed)
        if written is not None:
            standard_streams.say(written)


@main.command(short_help="Print the prices of today, and their sources.")
@_config
@click.option("--model", help="Only rows whose name has this text, those of the price map too.")
def prices(config: str, model: str | None) -> None:
    """Print the prices that apply today, and where they come from."""
    from ..accounting.reports.price_table import to_tables
    from .terminal import show

    with exit_on_error():
        _mention_builtin(config)
        tables = to_tables(_prices(config).today(datetime.now(UTC).date()), model)
        with standard_streams.printing():
            show(*tables)


def _ledger_and_journal(config: str, ledger: str | None) -> tuple[str, Path]:
    """Return the ledger's URL and the journal's folder; with --ledger the one that is beside it by default."""
    from ..accounting.journal.folder import journal_folder
    from ..config.load import load_journal

    if ledger is None:
        _mention_builtin(config)
    url = _ledger_url(config, ledger)
    return url, journal_folder(url, load_journal(config, os.environ) if ledger is None else None)


@main.command(short_help="Copy the ledger into a file, also while it serves.")
@_config
@_ledger
@click.option("--force", is_flag=True, help="Replace FILE where it is there already.")
@click.argument("file", type=_FILE)
def backup(config: str, ledger: str | None, force: bool, file: str) -> None:
    """Copy the SQLite ledger into FILE, also while it serves; what waits in the journal is in the copy."""
    from ..accounting.backups.backup import back_up
    from .backup import backed_up

    with exit_on_error():
        url, journal = _ledger_and_journal(config, ledger)
        _tell(backed_up(back_up(url, journal, Path(file), force=force)))


@main.command(short_help="Put a back-up in the ledger's place.")
@_config
@_ledger
@click.argument("file", type=_FILE)
def restore(config: str, ledger: str | None, file: str) -> None:
    """Put the back-up FILE in the place of the SQLite ledger, while nothing serves it; what was there is kept beside it."""
    from ..accounting.backups import restore
    from .backup import restored

    with exit_on_error():
        url, journal = _ledger_and_journal(config, ledger)
        _tell(restored(restore.restore(url, journal, Path(file), datetime.now(UTC))))


@main.command(short_help="Make a client key, and its line for routes.yaml.")
@click.argument("name")
def keygen(name: str) -> None:
    """Make a client key: printed once, with the stanza for the configuration, which holds its hash only."""
    from hashlib import sha256

    from ..config.problems import InvalidValue
    from .starter import checked_name, client_key

    try:
        checked_name(name)
    except InvalidValue as invalid:
        raise click.BadParameter(invalid.what, param_hint="NAME") from None
    key = client_key()
    # Escapes mean the same in the file, a `?` would be another name.
    quoted = json.dumps(name, ensure_ascii=not standard_streams.encodable(name))
    with exit_on_error():
        said = f"The key of {name}; it is shown this once:\n\n  {key}\n\n"
        said += "Add to routes.yaml (or add the last line to the client_keys that are there):\n\nclient_keys:\n"
        _print(f'{standard_streams.folded(said)}  - {{name: {quoted}, key: "sha256:{sha256(key.encode()).hexdigest()}"}}')


main.add_command(ocr)


@main.command(short_help="Run an imitation of Mistral's API alone.")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(0, 65535), default=4010, show_default=True)
@click.option("--key", envvar="PASSTHROUGH_SANDBOX_KEY", help="Ask for this key as Mistral would.")
@click.option(
    "--as", "api", type=click.Choice(["mistral", "azure", "vertex"]), default="mistral", show_default=True,
    help="The provider that is played; Azure and Vertex take no documents by URL.",
)  # fmt: skip
@click.option("--fail", type=click.FloatRange(0, 1), default=0.0, help="The share of calls that get 503: 0.3.")
@click.option("--throttle", type=click.FloatRange(0, 1), default=0.0, help="The share of calls that get 429: 0.2.")
def sandbox(host: str, port: int, key: str | None, api: str, fail: float, throttle: float) -> None:
    """Run a local upstream in Mistral's shape that really reads documents."""
    if fail + throttle > 1:
        raise click.UsageError("--fail and --throttle are more than 1 together.")
    with without_authorities(os.environ):
        from ..sandbox import Api, Provider
        from ..server import run

    with exit_on_error():
        run.run_sandbox(host, port, key, Provider(Api(api), fail, throttle))


@main.command(short_help="Ask whether the instance is ready.")
@_config
@click.option("--admin-host", envvar="PASSTHROUGH_ADMIN_HOST", help="[default: the configuration's, or 127.0.0.1]")
@click.option(
    "--admin-port",
    type=click.IntRange(1, 65535),
    envvar="PASSTHROUGH_ADMIN_PORT",
    help="[default: the configuration's, or 4001]",
)
def health(config: str, admin_host: str | None, admin_port: int | None) -> None:
    """Ask the admin port whether the instance is ready; exit 0 if so."""
    from . import probe

    with exit_on_error():
        if admin_host is None or admin_port is None:
            host, port = probe.admin_address(config, os.environ, Path.cwd(), standard_streams.say)
            admin_host, admin_port = admin_host or host, admin_port or port
        found = probe.ask(admin_host, admin_port)
        _tell("\n".join(found.lines))
    sys.exit(0 if found.ready else EXIT_OTHER)


@main.command(short_help="Print the script of a shell that completes commands.")
@click.argument("shell", type=click.Choice(completions.SHELLS))
def completion(shell: str) -> None:
    """Print the script by which a shell completes commands, flags and values."""
    with exit_on_error():
        _print(completions.script(main, shell))

"""The command `passthrough init`: asks for a provider, its key and a client's name, and writes what `serve` needs."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import click

from ..client.api.connection import DEFAULT_BASE as OCR_BASE_URL
from ..config.builtin import DEFAULT
from ..config.environment import environment
from ..config.placeholders import placeholder
from ..config.problems import InvalidValue
from ..errors import ConfigError, Problem
from . import standard_streams
from .starter import PROVIDERS, Provider, checked_name, client_key, env, routes_yaml, write

STDIN: Final = "-"
"""The file name that means stdin."""

CLIENT: Final = "default"
"""The name of the first client where none is given."""

_MAX_KEY: Final = 10_000  # characters; no provider's is longer


@dataclass(frozen=True, slots=True)
class Given:
    """The options of the command line, None where one was not given. `config` is the file to write; `.env` is beside it."""

    config: str
    provider: str | None = None
    endpoint: str | None = None
    key_file: str | None = None
    client: str | None = None
    asks: bool = True

    @property
    def env(self) -> Path:
        """The `.env` that belongs to the configuration."""
        return Path(self.config).parent / ".env"


@dataclass(frozen=True, slots=True)
class _Answers:
    """What to write: the provider, the values of its variables that go into `.env`, the client's name."""

    provider: Provider
    written: Mapping[str, str]
    client: str


def init(given: Given, environ: Mapping[str, str], cwd: Path) -> str:
    """Write the files, and return what the user should know: where they are, the client's key, which commands come next.

    Raises ConfigError where there is a configuration already, a question cannot be asked or an option is wrong, StarterError.
    """
    _check_free(given)
    known = environment(given.config, environ, cwd)
    has_env = os.path.lexists(given.env)
    answers = _answers(given, known, has_env)
    key = client_key()
    files = [(Path(given.config), routes_yaml(answers.provider, answers.client, key), False)]
    if not has_env:
        files.append((given.env, env(answers.provider, answers.written), True))
    write(files)
    have = {**answers.written, **{name: value for name, value in known.items() if value}}
    hidden = [name for name in answers.provider.variables if environ.get(name) == ""]
    return "\n".join(_report(given, answers, key, have, hidden, has_env=has_env))


def _check_free(given: Given) -> None:
    if os.path.lexists(given.config):
        hint = (
            "It stays as it is. 'passthrough keygen NAME' makes a further client key; a provider's key goes into .env beside it."
        )
        raise ConfigError([Problem(given.config, 0, "", "There is such a file already.", hint)])
    folder = Path(given.config).parent
    if not os.path.isdir(folder):
        hint = f"Make it: mkdir -p {shlex.quote(str(folder))}"
        raise ConfigError([Problem(given.config, 0, "", f"There is no folder {folder}.", hint)])


def _answers(given: Given, known: Mapping[str, str], has_env: bool) -> _Answers:
    """Ask for what was not given: at most three questions."""
    name = given.provider or _asked(given, "Provider", "mistral", _provider, f"Provider ({', '.join(PROVIDERS)})", "--provider")
    provider = PROVIDERS[name]
    if given.endpoint is not None and not provider.endpoint:
        raise _wrong("--endpoint", f"{provider.title} has one address only.", "Leave it out.")
    if given.key_file is not None and has_env:
        hint = f"Write {provider.key}=… into it yourself, and leave --key-file out."
        raise ConfigError([Problem(str(given.env), 0, "", "There is such a file already; it stays as it is.", hint)])
    written: dict[str, str] = {}
    if provider.endpoint and given.endpoint is not None:
        written[provider.endpoint] = _option("--endpoint", given.endpoint, _endpoint)
    elif provider.endpoint and not has_env and not known.get(provider.endpoint):
        asked = "Address (https://….services.ai.azure.com; empty: later)"
        written[provider.endpoint] = _asked(given, "Address", "", _endpoint, asked, "--endpoint")
    if given.key_file is not None:
        written[provider.key] = _option("--key-file", _content(given.key_file), _key)
    elif not has_env and not known.get(provider.key):
        asked = f"Key of {provider.title} (not shown; empty: later)"
        written[provider.key] = _asked(given, "Key", "", _key, asked, "--key-file", is_hidden=True)
    if given.client is not None:
        return _Answers(provider, written, _option("--client", given.client, checked_name))
    if provider.endpoint:  # it would be a fourth question
        return _Answers(provider, written, CLIENT)
    return _Answers(provider, written, _asked(given, "Client", CLIENT, checked_name, "Name of the first client", "--client"))


def _asked(
    given: Given, what: str, default: str, check: Callable[[str], str], question: str, flag: str, *, is_hidden: bool = False
) -> str:
    """Return the answer to a question, asked again until it is right; the default where nothing is asked."""
    if not given.asks:
        return default
    if not sys.stdin.isatty():
        hint = "Give --yes, which asks nothing and takes what the options do not say by default, or start it on a terminal."
        raise _wrong("init", f"There is no terminal to ask for '{what}' ({flag}).", hint)
    while True:
        text = str(click.prompt(question, default=default, show_default=bool(default), hide_input=is_hidden, err=True))
        try:
            return check(text.strip())
        except InvalidValue as invalid:
            standard_streams.say(f"{invalid.what} {invalid.hint}")


def _option(flag: str, text: str, check: Callable[[str], str]) -> str:
    try:
        return check(text)
    except InvalidValue as invalid:
        raise _wrong(flag, invalid.what, invalid.hint) from None


def _wrong(flag: str, what: str, hint: str) -> ConfigError:
    return ConfigError([Problem("command line", 0, flag, what, hint)])


def _provider(text: str) -> str:
    if text.lower() not in PROVIDERS:
        raise InvalidValue("This provider is not known here.", f"There are: {', '.join(PROVIDERS)}.")
    return text.lower()


def _endpoint(text: str) -> str:
    """Return the scheme and host of an address: the path that a portal shows beside it is the client's to send."""
    if not text:
        return ""
    try:
        parts = urlsplit(text)
        is_url = parts.scheme in {"https", "http"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_url = False
    if not is_url or placeholder(text) is not None or not text.isascii() or " " in text or "@" in parts.netloc:
        raise InvalidValue("This is not an address.", "Write it as https://your-resource.services.ai.azure.com.")
    return f"{parts.scheme}://{parts.netloc}"


def _key(text: str) -> str:
    """Return a key without the scheme that is written before it in a header."""
    bare = text.strip()
    bare = bare[7:].strip() if bare[:7].lower() == "bearer " else bare
    if not bare:
        return ""
    if not (bare.isascii() and bare.isprintable()) or " " in bare or len(bare) > _MAX_KEY or placeholder(bare) is not None:
        raise InvalidValue("This is not a key.", "Give the key itself, in one line, without a blank in it.")
    return bare


def _content(file: str) -> str:
    try:
        if file == STDIN:
            return sys.stdin.read(_MAX_KEY + 2).removeprefix("\ufeff")  # a byte order mark
        with open(file, encoding="utf-8-sig") as stream:
            return stream.read(_MAX_KEY + 2)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise _wrong("--key-file", f"The file cannot be read: {why}.", "Check its name and permissions.") from None


def _report(
    given: Given, answers: _Answers, key: str, have: Mapping[str, str], hidden: Sequence[str], *, has_env: bool
) -> list[str]:
    """Return the lines; `have` are the variables with a value, `hidden` those that the environment sets to nothing."""
    provider = answers.provider
    port = have.get("PASSTHROUGH_LISTEN_PORT") or "4000"
    missing = [name for name in provider.variables if not have.get(name)]
    lines = [""] if given.asks else []  # between the questions and what follows
    lines.append(f"Wrote {given.config}: {provider.title} at {provider.path}, one client ({answers.client}).")
    if not has_env:
        lines.append(f"Wrote {given.env}, for {' and '.join(provider.variables)}: only you may read it.")
    lines += [
        "",
        "The client's key. It is shown this once; the file has its hash only:",
        "",
        f"  export CLIENT_KEY={key}",
        "",
    ]
    for name in hidden:
        lines += [f"{name} is set, but empty, in the environment: that hides the one in", f"{given.env}. First:"]
        lines += ["", f"  unset {name}", ""]
    if missing:
        lines += [f"Still to be written into {given.env}: {', '.join(missing)}. Until then:", ""]
    else:
        lines += ["Next:", ""]
    flags = (" --sandbox" if missing else "") + _named(given.config)
    lines += [f"  {program()} {name}{flags}" for name in ("check", "serve")]
    lines += [
        "",
        f"Programs then have the base URL http://127.0.0.1:{port}{provider.base_url}",
        f"and that key, instead of {provider.replaces} and the provider's key.",
    ]
    return lines + _first_document(provider, port)


def _first_document(provider: Provider, port: str) -> list[str]:
    """Return the lines that show the client of this program, where the provider's route is in Mistral's shape."""
    if provider.base_url == "/azure":  # its paths are its own, and its documents have 30 pages at most
        return []
    address = f"http://127.0.0.1:{port}{provider.base_url.removesuffix('/v1')}"
    elsewhere = "" if address == OCR_BASE_URL else f" --base-url {address}"
    return [
        "",
        "A document as Markdown, through it:",
        "",
        f"  PASSTHROUGH_API_KEY=$CLIENT_KEY {program()} ocr{elsewhere} invoice.pdf",
    ]


def _named(config: str) -> str:
    """Return the flag that names the configuration, empty where it is found without."""
    found = os.environ.get("PASSTHROUGH_CONFIG") or DEFAULT
    return "" if config == found else f" --config {shlex.quote(config)}"


def program() -> str:
    """Return how this program was started, as it can be typed again."""
    started = sys.argv[0]
    if Path(started).name == "__main__.py":
        return f"{shlex.quote(Path(sys.executable).name)} -m passthrough"
    found = shutil.which("passthrough")
    is_on_path = found is not None and os.path.realpath(found) == os.path.realpath(started)
    return "passthrough" if is_on_path else shlex.quote(started)

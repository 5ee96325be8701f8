"""README and docs/ say what is: all that there is stands in them, and every example, command and link in them holds."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import click
import pytest
import trustme
import yaml

from passthrough.accounting.access_log import AccessLog
from passthrough.accounting.entry import entry
from passthrough.cli.main import main
from passthrough.config.environment import environment
from passthrough.config.listen import VARIABLES
from passthrough.config.load import load
from passthrough.config.schema import File, schema
from passthrough.errors import KINDS, ConfigError
from passthrough.exchange import Outcome, new_exchange
from passthrough.meter.usage import NOTHING, Unmetered
from tests.harness.figures import exported
from tests.harness.google_files import service_account

ROOT = Path(__file__).parents[2]
PAGES = {str(path.relative_to(ROOT)): path.read_text("utf-8") for path in (ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")))}
COMMANDS = {name: command for name, command in main.commands.items() if isinstance(command, click.Command)}
SHELLS = {"sh", "console", "ini", "dockerfile"}
BARE_ROUTE = {
    "path": "/mistral",
    "target": "https://api.mistral.ai",
    "include_subpath": True,
    "headers": {"Authorization": "Bearer key-of-the-tests"},
}
"""The route that is added where an example shows no route."""
URLS = {
    "AZURE_ENDPOINT": "https://resource.services.ai.azure.com",
    "AZURE_SERVERLESS": "https://endpoint.eastus2.models.ai.azure.com",
    "DOCINTEL_ENDPOINT": "https://resource.cognitiveservices.azure.com",
    "BUDGET_WEBHOOK": "https://hooks.example/budgets",
    "AZURE_AI_API_BASE": "https://resource.services.ai.azure.com",
}
"""What variables of examples hold that are no keys."""


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of a page."""

    page: str
    line: int
    language: str
    text: str

    @property
    def at(self) -> str:
        """Where it begins."""
        return f"{self.page}:{self.line}"


def blocks(page: str, text: str) -> Iterator[Block]:
    """Yield the fenced blocks of a page, also those within lists."""
    for match in re.finditer(r"^( *)```(\w*)\n(.*?)^\1```$", text, re.DOTALL | re.MULTILINE):
        inner = re.sub(rf"^{match[1]}", "", match[3], flags=re.MULTILINE)
        yield Block(page, text.count("\n", 0, match.start()) + 1, match[2], inner)


BLOCKS = [block for page, text in PAGES.items() for block in blocks(page, text)]


def prose(text: str) -> str:
    """Return a page without its fenced blocks, line for line."""
    return re.sub(r"^( *)```.*?^\1```$", lambda match: "\n" * match[0].count("\n"), text, flags=re.DOTALL | re.MULTILINE)


def ticked(page: str, text: str) -> Iterator[tuple[str, int, str]]:
    """Yield what stands in backticks in a page's prose, with its place; one may go on in the next line."""
    for match in re.finditer(r"`((?:[^`\n]|\n(?!\s*\n))+)`", prose(text)):
        yield page, text.count("\n", 0, match.start()) + 1, " ".join(match[1].split())


TICKED = {found for page, text in PAGES.items() for found in ticked(page, text)}


@cache
def section(page: str, title: str) -> str:
    """Return the part of a page under a heading, up to the next one of its rank or above."""
    text = prose(PAGES[page])
    begin = re.search(rf"^(#+) {re.escape(title)}$", text, re.MULTILINE)
    assert begin is not None, f"{page} has no section '{title}'"
    end = re.search(rf"^#{{1,{len(begin[1])}}} ", text[begin.end() :], re.MULTILINE)
    return text[begin.end() :][: end.start() if end else None]


def table(text: str, head: str) -> list[list[str]]:
    """Return the rows of the tables in a text whose first column has this head, as cells."""
    found: list[list[str]] = []
    inside = False
    for line in text.splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip()[1:].removesuffix("|"))]
        if not line.startswith("|"):
            inside = False
        elif inside:
            found += [] if set("".join(cells)) <= set("-: ") else [cells]
        else:
            inside = cells[0] == head
    return found


def spans(cell: str) -> list[str]:
    """Return what stands in backticks in a cell."""
    return re.findall(r"`([^`]+)`", cell)


# ── all that there is ──


def properties(node: Any) -> set[str]:
    """Return every property's name in a JSON Schema but LiteLLM's, which do nothing here."""
    names: set[str] = set()
    if isinstance(node, dict):
        for name, what in node.get("properties", {}).items():
            if "LiteLLM's; does nothing here" not in str(what.get("description", "")):
                names.add(name)
        for value in node.values():
            names |= properties(value)
    elif isinstance(node, list):
        for value in node:
            names |= properties(value)
    return names


def options(command: click.Command) -> list[click.Option]:
    """Return the options of a command."""
    return [parameter for parameter in command.params if isinstance(parameter, click.Option)]


def variables() -> set[str]:
    """Return every variable that the program reads."""
    named = {name for command in COMMANDS.values() for option in options(command) for name in [option.envvar] if name}
    return {str(name) for name in named} | set(VARIABLES.values())


def test_everything_is_named() -> None:
    """A command, flag, variable, setting, code, outcome or reason that no page names is not there for its user."""
    flags = {name for command in COMMANDS.values() for option in options(command) for name in option.opts}
    names = {*COMMANDS, *flags, *variables(), *KINDS, *properties(schema()), *Outcome, *Unmetered}
    words = {word for _, _, span in TICKED for word in re.findall(r"(?<![\w-])(?:--?)?\w[\w-]*", span)}
    assert set() == names - words


def test_table_of_errors_is_the_programs() -> None:
    """The page on errors has a row for each status and code that the program responds with, and no other."""
    found = [(status, *spans(code)) for status, code, *_ in table(PAGES["docs/errors.md"], "status")]
    assert sorted((str(kind.status), code) for code, kind in KINDS.items()) == sorted(found)


def test_table_of_log_fields_is_the_logs() -> None:
    """The fields of the log are those of a line."""
    stdout = StringIO()
    lines = AccessLog(stdout)
    lines.put(entry(new_exchange("GET", "/"), NOTHING, ()))
    lines.close(5.0)
    found = [name for cells in table(PAGES["docs/monitoring.md"], "field") for name in spans(cells[0])]
    assert sorted(json.loads(stdout.getvalue())) == sorted(found)
    assert list(Outcome) == [name for cells in table(PAGES["docs/monitoring.md"], "outcome") for name in spans(cells[0])]


def test_table_of_metrics_is_those_exported() -> None:
    """The table of metrics has every metric, with its labels, and no other."""
    said: dict[str, set[str]] = {}
    before: set[str] = set()
    for names, labels, *_ in table(PAGES["docs/monitoring.md"], "metric"):
        before = {*spans(labels), *(before if labels.startswith("the same") else ())}
        said |= dict.fromkeys(spans(names), before)
    assert exported() == said


def test_table_of_settings_is_the_programs() -> None:
    """Each setting of `serve` stands in one row: its flag, its variable, its key."""
    flags = {option.opts[0]: option for option in options(COMMANDS["serve"])}
    expected = {(f"--{key.replace('_', '-')}", variable, key) for key, variable in VARIABLES.items()}
    expected = {(flag if flag in flags else "", variable, key) for flag, variable, key in expected}
    expected |= {(name, str(option.envvar), "") for name, option in flags.items() if name[2:].replace("-", "_") not in VARIABLES}
    settings = table(section("docs/cli.md", "Settings of serve"), "flag")
    found = [tuple((spans(cell) or [""])[0] for cell in cells[:3]) for cells in settings]
    assert sorted(expected) == sorted(found)


def test_flags_of_each_command_are_in_its_section() -> None:
    """The section of each command has a row for each of its flags, and no other; the table on top has every command."""
    expected = {name: sorted(flag for option in options(command) for flag in option.opts) for name, command in COMMANDS.items()}
    page = "docs/cli.md"
    found = {name: sorted(flag for cells in table(section(page, name), "flag") for flag in spans(cells[0])) for name in COMMANDS}
    assert expected == found
    assert sorted(COMMANDS) == sorted(name for cells in table(PAGES[page], "command") for name in spans(cells[0]))


def test_whole_configuration_has_every_key() -> None:
    """The complete file shows every key, each with its value, or commented out where it is another spelling or needs a file."""
    text = next(block.text for block in BLOCKS if block.page == "docs/configuration.md")
    without = [key for key in properties(schema()) if not re.search(rf"(?<![\w-]){key}:(?: |$)", text, re.MULTILINE)]
    assert [] == without


# ── what is said holds ──


def routes_of(tree: Mapping[str, Any]) -> list[Any]:
    """Return the routes of a file, wherever they stand."""
    return [
        *(tree.get("pass_through_endpoints") or ()),
        *((tree.get("general_settings") or {}).get("pass_through_endpoints") or ()),
    ]


def problems_of(text: str, folder: Path) -> list[str]:
    """Return what the program finds in a configuration: problems and warnings."""
    names = set(re.findall(r"os\.environ/(\w+)", text))
    environ = {name: URLS.get(name, f"canary-of-{name}-0123456789") for name in names}
    (folder / "routes.yaml").write_text(text, "utf-8")
    try:
        config = load("routes.yaml", environment("routes.yaml", environ, folder), cwd=folder)
    except ConfigError as error:
        return [str(problem) for problem in error.problems]
    return [str(problem) for problem in config.warnings]


@pytest.fixture(scope="module")
def with_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the files that examples name: a certificate, its key, an authority, a price map."""
    folder = tmp_path_factory.mktemp("configuration")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "corporate.pem"))
    price_map = {"openai/gpt-5": {"litellm_provider": "openai", "input_cost_per_token": 1e-06}}
    (folder / "model_prices_and_context_window.json").write_text(json.dumps(price_map))
    issued = authority.issue_cert("localhost")
    issued.private_key_pem.write_to_path(str(folder / "key.pem"))
    issued.cert_chain_pems[0].write_to_path(str(folder / "certificate.pem"))
    (folder / "service-account.json").write_text(service_account())
    (folder / "token.jwt").write_text("e30.e30.e30")
    return folder


def is_announced(problem: str, text: str) -> bool:
    """Tell whether an example says itself that there is a warning about a model that is not for OCR."""
    return "one warning names it" in text and "not served here" in problem


def test_yaml_loads(with_files: Path) -> None:
    """Every YAML block is YAML, and a configuration without problem or warning where it has a key of ours at its top."""
    wrong = []
    for block in (block for block in BLOCKS if block.language == "yaml"):
        try:
            trees = list(yaml.safe_load_all(block.text))
        except yaml.YAMLError as error:
            wrong.append(f"{block.at} {error}")
            continue
        if len(trees) == 1 and isinstance(trees[0], dict) and trees[0].keys() & File.model_fields.keys():
            route = "" if routes_of(trees[0]) else f"\npass_through_endpoints: {json.dumps([BARE_ROUTE])}\n"
            found = problems_of(block.text + route, with_files)
            wrong += [f"{block.at} {problem}" for problem in found if not is_announced(problem, block.text)]
    assert [] == wrong


def test_commented_lines_of_the_whole_configuration_load(with_files: Path) -> None:
    """Each commented key of the complete file is right as well, in the place of the line that it stands for."""
    text = next(block.text for block in BLOCKS if block.page == "docs/configuration.md")
    instead = {"timeout": "total", "listen_host": "host", "listen_port": "port"}
    instead |= dict.fromkeys(("count", "max", "distinct", "header", "constant"), "pages") | {"credits_header": "credits"}
    instead |= {"federated_token_file": "client_secret"}
    together = {"tls_cert": "tls_key", "tls_key": "tls_cert"}
    commented = re.findall(r"^ *# (\w+): ", text, re.MULTILINE)
    assert {*instead, *together} < set(commented)
    wrong = []
    for key in commented:
        changed = re.sub(rf"^( *)# ((?:{key}|{together.get(key, key)}): )", r"\1\2", text, flags=re.MULTILINE)
        if key in instead:
            changed = re.sub(rf"^ *(?:- )?{instead[key]}: (?!\{{)[^{{\n]*\n", "", changed, count=1, flags=re.MULTILINE)
        wrong += [f"{key}: {problem}" for problem in problems_of(changed, with_files)]
    assert [] == wrong


def test_other_blocks_can_be_read() -> None:
    """Python compiles, and JSON is JSON."""
    wrong = []
    for block in BLOCKS:
        try:
            if block.language == "python":
                compile(block.text, block.at, "exec")
            elif block.language == "json":
                json.loads(block.text)
        except (SyntaxError, ValueError) as error:
            wrong.append(f"{block.at} {error}")
    assert [] == wrong


def commands_in(line: str) -> Iterator[list[str]]:
    """Yield what is called of the program in one line for a shell, without the name: ['usage', '--by', 'day']."""
    line = re.sub(r"^(\$ |Exec\w+=|CMD |ENTRYPOINT )", "", line.strip())
    try:
        words = shlex.shlex(line, posix=True, punctuation_chars=";&|()<>")
        words.whitespace_split = True
        words.commenters = "#"
        tokens = [*words, ";"]
    except ValueError:  # a quotation that goes on in the next line
        return
    called: list[str] = []
    for token in tokens:
        if set(token) <= set(";&|()"):
            first = next((place for place, word in enumerate(called) if os.path.basename(word) == "passthrough"), None)
            before = called[:first]
            if first is not None and all("=" in word or word in {"sudo", "exec", "nohup", "env", "time"} for word in before):
                yield called[first + 1 :]
            called = []
        else:
            called.append(token)


def problem_of(arguments: list[str]) -> str | None:
    """Return what the command line says against some arguments, None where nothing."""
    rest = arguments[: next((place for place, word in enumerate(arguments) if set(word) <= set("<>")), None)]
    rest = rest[:-1] if rest != arguments and rest and rest[-1] in {"1", "2"} else rest
    if not rest or rest[0] in {"--help", "--version", "-h"}:
        return None
    if rest[0] not in COMMANDS:
        return f"there is no command '{rest[0]}'"
    try:
        with COMMANDS[rest[0]].make_context(rest[0], [word for word in rest[1:] if word not in {"--help", "-h"}]):
            return None
    except click.ClickException as error:
        return error.format_message()


def lines_to_run() -> Iterator[tuple[str, str]]:
    """Yield the lines for a shell, with their places: of blocks, and those that stand in backticks in a sentence."""
    for block in BLOCKS:
        if block.language in SHELLS:
            joined = block.text.replace("\\\n", " ")
            yield from ((block.at, line) for line in joined.splitlines())
    for page, number, span in sorted(TICKED):
        if re.match(r"(?:\.venv/bin/)?passthrough ", span):
            yield f"{page}:{number}", span
        elif re.match(rf"(?:{'|'.join(COMMANDS)}) --?\w", span):
            yield f"{page}:{number}", f"passthrough {span}"


def test_commands_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command that a page shows exists, with its flags and the values that they are given."""
    for name in variables():
        monkeypatch.delenv(name, raising=False)
    found = [(at, called) for at, line in lines_to_run() for called in commands_in(line)]
    assert set(COMMANDS) == {called[0] for _, called in found if called and called[0] in COMMANDS}
    shown = [(at, called, problem_of(called)) for at, called in found]
    assert [] == [f"{at} {shlex.join(called)}: {problem}" for at, called, problem in shown if problem is not None]


def test_modules_to_run_exist() -> None:
    """Every `python -m` of a page is of an installed tool, or of a module of the tests: from the root, or from their folder."""
    texts = [(at, line) for at, line in lines_to_run()] + [(f"{page}:{number}", span) for page, number, span in TICKED]
    found = {(at, name) for at, text in texts for name in re.findall(r"python3? -m ([\w.]+)", text)}
    places = [folder / name for folder in (ROOT, ROOT / "tests") for name in ("{}.py", "{}/__main__.py")]
    ours = {(at, name) for at, name in found if name not in {"venv", "pip", "pytest"}}
    assert ours
    assert [] == sorted(
        (at, name) for at, name in ours if not any(Path(str(each).format(name.replace(".", "/"))).is_file() for each in places)
    )


def test_flags_exist() -> None:
    """Every flag that stands alone in backticks is the program's; those of the tests and benchmarks are the contributors'."""
    ours = {name for command in COMMANDS.values() for option in options(command) for name in option.opts}
    known = {*ours, "--help", "--version", "--profile"}  # the last is Docker Compose's
    found = {(page, number, span.split()[0]) for page, number, span in TICKED if re.match(r"--[a-z][\w-]+\b", span)}
    assert [] == sorted(each for each in found if each[0] != "docs/CONTRIBUTING.md" and each[2] not in known)


# ── links ──


def slugs(text: str) -> set[str]:
    """Return the anchors of a page as GitHub makes them of its headings: the second of one name gets -1."""
    found: Counter[str] = Counter()
    anchors = set(re.findall(r'<a (?:id|name)="([^"]+)"', text))
    for title in re.findall(r"^#+ (.+?) *$", prose(text), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title)
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        anchors.add(f"{slug}-{found[slug]}" if found[slug] else slug)
        found[slug] += 1
    return anchors


def links(text: str) -> Iterator[tuple[int, str]]:
    """Yield the targets of a page's links and pictures, with their lines."""
    for number, line in enumerate(prose(text).splitlines(), 1):
        bare = re.sub(r"`[^`]*`", "", line)
        found = re.findall(r"\]\(\s*<?([^)\s>]+)>?[^)]*\)", bare) + re.findall(r"^\[[^\]]+\]:\s*(\S+)", bare)
        yield from ((number, target) for target in found + re.findall(r'(?:src|href)="([^"]+)"', bare))


def test_links_lead_somewhere() -> None:
    """Every link is to a file of this repository, and to a heading that is there, or to an address."""
    wrong = []
    for page, text in PAGES.items():
        for number, target in links(text):
            if re.match(r"https?://|mailto:", target):
                continue
            name, _, anchor = target.partition("#")
            path = (ROOT / page).parent / unquote(name) if name else ROOT / page
            if not path.resolve().is_relative_to(ROOT) or not path.exists():
                wrong.append(f"{page}:{number} {target}: there is no such file")
            elif anchor and (path.suffix != ".md" or anchor not in slugs(path.read_text("utf-8"))):
                wrong.append(f"{page}:{number} {target}: there is no such heading")
    assert [] == wrong


def test_every_page_is_linked_from_readme() -> None:
    """A page that README does not lead to is not found."""
    linked = {target.partition("#")[0] for _, target in links(PAGES["README.md"])}
    assert set() == set(PAGES) - {"README.md"} - linked


def test_files_that_pages_name_are_there() -> None:
    """A file or folder of this repository that stands in backticks is there: from the root, or below passthrough/ or tests/."""
    tops = {path.name for path in (*ROOT.iterdir(), *(ROOT / "passthrough").iterdir()) if path.is_dir()}
    found = {(page, number, span) for page, number, span in TICKED if re.fullmatch(rf"(?:{'|'.join(tops)})/[\w./-]*", span)}
    places = [folder / ending for folder in (ROOT, ROOT / "passthrough", ROOT / "tests") for ending in ("{}", "{}.py")]
    assert [] == sorted(each for each in found if not any(Path(str(place).format(each[2])).exists() for place in places))


# ── other files ──


def test_shipped_files_of_deploy_load(tmp_path: Path) -> None:
    """The configurations that are shipped for containers are without a problem."""
    for name in ("kubernetes/sidecar", "etc"):
        assert [] == problems_of((ROOT / "deploy" / name / "routes.yaml").read_text("utf-8"), tmp_path)


def test_schema_file_is_the_schema() -> None:
    """The schema that editors read is the one that the program checks by."""
    assert schema() == json.loads((ROOT / "routes.schema.json").read_text("utf-8"))

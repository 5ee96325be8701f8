"""The commands as their user runs them: what they print, and the code that they end with."""

from __future__ import annotations

import asyncio
import csv
import fcntl
import io
import json
import os
import pty
import re
import shutil
import signal
import sqlite3
import struct
import sys
import termios
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme
import yaml

from passthrough import __version__
from passthrough.accounting.ledger.ledger import Ledger
from tests.harness.configs import KEYED, ROUTE
from tests.harness.documents import pdf
from tests.harness.entries import booked
from tests.harness.process import Program, clean_environment, command, program
from tests.harness.upstream import answering, ok, upstream
from tests.harness.waiting import eventually

pytestmark = pytest.mark.process

EVERYWHERE = "Without client_keys or master_key everybody who reaches this host may call"


async def test_a_missing_key_is_said_where_it_is_missing(tmp_path: Path) -> None:
    """Without MISTRAL_API_KEY the program does not start: file, line, key and variable are named, and the cure."""
    (tmp_path / "routes.yaml").write_text(KEYED)
    for name in ("serve", "check"):
        code, out, err = await command(tmp_path, name)
        assert (2, "") == (code, out)
        assert "routes.yaml:5 pass_through_endpoints[0].headers.Authorization: MISTRAL_API_KEY is not set.\n" in err
        assert "Write MISTRAL_API_KEY=… into .env, or set it in the environment, or remove this header.\n" in err
        assert "  To try it without: 'passthrough serve --sandbox'.\n" in err


async def test_every_problem_is_said_at_once(tmp_path: Path) -> None:
    """A bad file is exit 2 with all its problems in the order of their lines, without a traceback."""
    text = KEYED + "  - {path: azure, targt: 'http://x'}\nclient_keys: [{name: one}]\nports: 5\n"
    (tmp_path / "routes.yaml").write_text(text)
    (tmp_path / "problems").mkdir()
    code, out, err = await command(tmp_path, "serve", "--port", "0")
    assert (2, "") == (code, out)
    lines = [int(line) for line in re.findall(r"^routes\.yaml:(\d+)", err, re.MULTILINE)]
    assert sorted(lines) == lines
    assert {5, 6, 7, 8} == set(lines)
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("serve", "--host", "0.0.0.0"), EVERYWHERE),
        (("serve", "--host", "::"), EVERYWHERE),
        (("serve", "--workers", "257"), "More than 256 workers are not served."),
        (("serve", "--drain-timeout", "soon"), "This is not a duration."),
        (("serve", "--drain-timeout", "0"), "more than 0"),
        (("serve", "--drain-timeout", "nan"), "This is not a duration."),
        (("serve", "--port", "4001"), "Traffic and admin cannot both listen on port 4001."),
        (("serve", "--port", "65536"), "65536 is not in the range"),
        (("serve", "--tls-cert", "cert.pem"), "tls_key"),
        (("serve", "--tls-cert", "no.pem", "--tls-key", "no.pem"), "There is no such file."),
        (("serve", "--config", "nowhere.yaml"), "nowhere.yaml"),
        (("serve", "--log-format", "xml"), "'xml' is not one of"),
        (
            (
                "serve",
                "--no-such-flag",
            ),
            "No such option",
        ),
        (
            ("check", "--config", "nowhere.yaml"),
            "There is no such file.\n  Check its name, or write it with 'passthrough init --config nowhere.yaml'.\n",
        ),
        (("usage", "--config", "nowhere.yaml"), "nowhere.yaml"),
        (("prices", "--config", "nowhere.yaml"), "nowhere.yaml"),
        (("usage", "--since", "soon"), "'soon' is no time"),
        (("usage", "--until", "tomorrow"), "'tomorrow' is no time"),
        (("usage", "--by", "colour,day"), "Nothing can be summed by colour.\nThere are: client, route, model, "),
        (("usage", "--ledger", "nope.db"), "Invalid value for --ledger: The ledger is not a URL."),
        (("usage", "--ledger", "none"), "Name one with --ledger."),
        (("usage", "--ledger", "mysql://x/y"), "is not served"),
        (("usage", "--ledger", "sqlite:///x.db?mode=ro"), "does not name a file, and nothing else"),
        (
            ("usage", "--config", "none.yaml"),
            "none.yaml ledger: There is no ledger to sum up: it is 'none'.\n  Name one with --ledger.",
        ),
        (("keygen", ""), "Invalid value for NAME: This is not a name"),
        (("keygen", " a"), "This is not a name"),
        (("keygen", "a\nb"), "This is not a name"),
        (("keygen", "a\x1b[31mb"), "This is not a name"),
        (("keygen", "master"), "'master' is what calls with the master key are booked as."),
        (("health", "--admin-port", "99999"), "99999 is not in the range"),
    ],
)
async def test_what_is_wrong_with_the_configuration_is_exit_2(tmp_path: Path, arguments: tuple[str, ...], expected: str) -> None:
    """Files and flags that cannot be meant are reported, with exit 2 and nothing on stdout."""
    (tmp_path / "routes.yaml").write_text(ROUTE)
    (tmp_path / "none.yaml").write_text("ledger: none\n")
    code, out, err = await command(tmp_path, *arguments)
    assert (2, "") == (code, out), err
    assert expected in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("usage",), "\nRun this in the folder in which 'serve' was started, or give --ledger sqlite:///<path>.\n"),
        (("usage", "--ledger", "sqlite:///text.db"), "is not an SQLite database"),
        (("usage", "--ledger", "sqlite:///other.db"), "is not a ledger of this program"),
        (("usage", "--ledger", "sqlite:///none.db"), "There is no ledger at "),
        (
            ("health", "--admin-port", "1"),
            "port 1: Connection refused.\n  Start it with 'passthrough serve', or name its port with --admin-port.\n",
        ),
        (("health", "--admin-host", "no-such-host.invalid"), "no answer from no-such-host.invalid"),
        (("health", "--admin-host", "x" * 70), "no answer from xxx"),
        (("serve", "--host", "no-such-host.invalid", "--port", "0"), "Cannot listen on no-such-host.invalid"),
        (("serve", "--host", "192.0.2.1", "--port", "0"), "Cannot listen on 192.0.2.1 port 0"),
    ],
)
async def test_what_else_is_wrong_is_exit_1(tmp_path: Path, arguments: tuple[str, ...], expected: str) -> None:
    """An error outside the configuration is exit 1, with one sentence and without a traceback."""
    (tmp_path / "routes.yaml").write_text(ROUTE + "allow_anonymous: true\n")
    (tmp_path / "text.db").write_text("This is a text of some length, and no database at all. " * 30)
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE something (else_ TEXT)")
    other.close()
    code, out, err = await command(tmp_path, *arguments)
    assert (1, "") == (code, out), err
    assert err.startswith("passthrough: ")
    assert expected in err
    assert "Traceback" not in err
    assert not (tmp_path / "none.db").exists()


async def test_check(tmp_path: Path) -> None:
    """A good file is shown as a table of its routes, which names variables and never holds what is in them."""
    (tmp_path / "routes.yaml").write_text(KEYED)
    code, out, err = await command(tmp_path, "check", MISTRAL_API_KEY="mistral-canary-0123456789")
    assert (0, "") == (code, err)
    assert "routes.yaml: fine, 1 route\n" in out
    assert "\nNo client keys: everybody who reaches port 4000 of 127.0.0.1 may call.\n" in out
    assert "/mistral" in out
    assert "api.mistral.ai" in out
    assert "mistral-canary" not in out
    assert 0 == (await command(tmp_path, "check", "--sandbox"))[0]


async def test_schema() -> None:
    """The schema is JSON Schema, and the one that is shipped beside routes.yaml."""
    root = Path(__file__).parents[2]
    code, out, err = await command(root, "schema")
    assert (0, "") == (code, err)
    assert json.loads(out)["$schema"].startswith("https://json-schema.org/")
    assert (root / "routes.schema.json").read_text("utf-8").strip() == out.strip()


@pytest.mark.parametrize("name", ["invoices", "Ein Name mit: Doppelpunkt, 'Strichen' und \"mehr\"", "no", "2026", "été"])
async def test_keygen(tmp_path: Path, name: str) -> None:
    """A key is printed once; the stanza holds its hash under the name as given, and lets the key in."""
    code, out, err = await command(tmp_path, "keygen", name)
    assert (0, "") == (code, err)
    (key,) = re.findall(r"pt-[\w-]{43}", out)
    assert 1 == out.count(key)
    assert "add the last line to the client_keys that are there" in out
    stanza = yaml.safe_load(out[out.index("client_keys:") :])
    assert {"client_keys": [{"name": name, "key": f"sha256:{sha256(key.encode()).hexdigest()}"}]} == stanza
    (tmp_path / "routes.yaml").write_text(ROUTE + out[out.index("client_keys:") :], "utf-8")
    assert 0 == (await command(tmp_path, "check"))[0]


@pytest.mark.wire
async def test_a_key_of_keygen_opens_the_door(tmp_path: Path) -> None:
    """With the stanza in the file the key calls, and nothing else does."""
    _, out, _ = await command(tmp_path, "keygen", "invoices")
    key, stanza = out.split("\n\n  ")[1].split("\n")[0], out[out.index("client_keys:") :]
    async with upstream(answering(ok())) as raw:
        config = f"pass_through_endpoints: [{{path: /m, target: 'http://127.0.0.1:{raw.port}'}}]\n{stanza}"
        async with program(tmp_path, config) as running, aiohttp.ClientSession() as session:
            for credential, status in ((f"Bearer {key}", 200), (key, 200), (f"Bearer {key}x", 401), ("Bearer", 401)):
                async with session.get(running.url + "/m", headers={"Authorization": credential}) as response:
                    assert status == response.status


async def test_version(tmp_path: Path) -> None:
    """`--version` and `--help` need no configuration."""
    assert (0, f"python -m passthrough, version {__version__}\n", "") == await command(tmp_path, "--version")
    code, out, err = await command(tmp_path, "-h")
    assert (0, "") == (code, err)
    for name in ("serve", "check", "schema", "usage", "prices", "keygen", "sandbox", "health"):
        assert re.search(rf"^  {name} ", out, re.MULTILINE)


@pytest.mark.parametrize(("api", "named", "path"), [("mistral", "Mistral's", "/v1/ocr"), ("azure", "Azure's", "/v1/ocr")])
async def test_a_sandbox_that_fails(tmp_path: Path, api: str, named: str, path: str) -> None:
    """`sandbox` plays a provider whose calls fail as often as its flags say, and says where it is."""
    flags = ("--port", "0", "--as", api, "--fail", "0", "--throttle", "1")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "passthrough", "sandbox", *flags),
        cwd=tmp_path,
        env=clean_environment(),
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        said = (await process.stderr.readline()).decode()
        found = re.fullmatch(rf"Sandbox of {named} API on (http://127\.0\.0\.1:\d+); nothing is billed\.\n", said)
        assert found is not None, said
        told = (await process.stderr.readline()).decode()
        assert f"In routes.yaml it is target: {found[1]}; a key is taken, or none.\n" == told
        async with aiohttp.ClientSession() as session, session.post(found[1] + path, data="{}") as response:
            assert (429, "1") == (response.status, response.headers["Retry-After"])
    finally:
        process.send_signal(signal.SIGTERM)
        assert 0 == await process.wait()


async def test_a_sandbox_cannot_fail_more_often_than_always(tmp_path: Path) -> None:
    """Two shares that are more than 1 together are a usage error."""
    code, _, err = await command(tmp_path, "sandbox", "--fail", "0.6", "--throttle", "0.5")
    assert (2, True) == (code, "--fail and --throttle are more than 1 together." in err)


async def test_prices(tmp_path: Path) -> None:
    """Prices that ship, and the file's own before them; a key that is not set where it is asked does not matter."""
    (tmp_path / "routes.yaml").write_text(KEYED + "prices: [{model: my-scanner, usd_per_1000_pages: 1.25}]\n")
    code, out, err = await command(tmp_path, "prices")
    assert (0, "") == (code, err)
    assert re.search(r"^my-scanner +1\.25 +1$", out, re.MULTILINE)
    assert re.search(r"^mistral-ocr-2512 +2 +3 +2025-12-01 +\d+$", out, re.MULTILINE)
    assert re.search(r"^mistral-small-2603 +0\.15 +0\.015 +0\.6 +\d+$", out, re.MULTILINE)
    assert re.search(r"^azure/mistral-large-3 +0\.5 +1\.5 +\d+$", out, re.MULTILINE)
    assert re.search(r"^mistral-small-latest +mistral-small-2603 *$", out, re.MULTILINE)
    assert re.search(r"^mistral-ocr-latest +mistral-ocr-4-1 *$", out, re.MULTILINE)
    assert re.search(r"^api\.eu\.mistral\.ai +mistral +1\.1$", out, re.MULTILINE)
    assert re.search(r"^openrouter\.ai +openrouter *$", out, re.MULTILINE)
    assert "tier" not in out
    assert re.search(r"^ +1  routes\.yaml *$", out, re.MULTILINE)


async def test_prices_of_batches(tmp_path: Path) -> None:
    """The factor of batches is shown once, and in a column where it differs."""
    (tmp_path / "routes.yaml").write_text(ROUTE)
    assert "USD per 1000 pages; in a batch × 0.5\n" in (await command(tmp_path, "prices"))[1]
    (tmp_path / "routes.yaml").write_text("prices: [{model: mine, usd_per_1000_pages: 0, batch_factor: 1}]\n")
    code, out, err = await command(tmp_path, "prices")
    assert (0, "") == (code, err)
    assert re.search(r"^mine +0 +× 1 +1$", out, re.MULTILINE)
    assert re.search(r"^mistral-ocr-2512 +2 +3 +× 0\.5 +2025-12-01 +\d+$", out, re.MULTILINE)


WIDE = """\
pass_through_endpoints:
  - {path: /mistral, target: 'https://api.mistral.ai', include_subpath: true, headers: {Authorization: Bearer os.environ/KEY}}
  - path: /azure/v1/ocr
    target: https://my-resource-name.services.ai.azure.com/providers/mistral/azure/ocr
    methods: [POST]
    headers: {Authorization: Bearer os.environ/KEY, api-key: os.environ/KEY}
    meter: {shape: ocr, model: azure/mistral-document-ai-2512}
"""


async def on_terminal(folder: Path, *arguments: str, columns: int = 80) -> list[str]:
    """Run a command on a terminal with this many columns; return the lines that it prints, without their colours."""
    control, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "passthrough", *arguments),
        cwd=folder,
        env=clean_environment(KEY="canary", TERM="xterm"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=terminal,
        stderr=asyncio.subprocess.STDOUT,
    )
    os.close(terminal)
    output = await asyncio.to_thread(_all_of, control)
    assert 0 == await process.wait()
    return re.sub(r"\x1b\[[0-9;]*m", "", output.decode()).splitlines()


TIERED = """\
prices:
  - {model: mistral-medium-3-5, service_tier: priority, usd_per_million_input_tokens: 3, usd_per_million_output_tokens: 15}
  - {model: mine, usd_per_million_input_tokens: 3, usd_per_million_cached_input_tokens: 0.3, effective_from: 2026-01-01}
price_map: map.json
"""


async def test_prices_of_tiers_and_of_a_price_map(tmp_path: Path) -> None:
    """In 80 columns each row is one line; rows of the price map are counted, and shown where their model is asked for."""
    (tmp_path / "routes.yaml").write_text(TIERED)
    mapped = {f"gpt-{number}": {"litellm_provider": "openai", "input_cost_per_token": 1e-06} for number in range(1000)}
    (tmp_path / "map.json").write_text(json.dumps(mapped))
    lines = [line.rstrip() for line in await on_terminal(tmp_path, "prices")]
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    assert re.search(r"^mistral-medium-3-5 +priority +3 +15 +1$", text, re.MULTILINE)
    assert re.search(r"^mine +3 +0\.3 +2026-01-01 +1$", text, re.MULTILINE)
    assert re.search(r"^labs-mistral-small-creative +0\.1 +0\.01 +0\.3 +\d+$", text, re.MULTILINE)
    assert "openai/gpt-7" not in text
    assert "The price map has prices of 1000 more models" in text
    code, out, err = await command(tmp_path, "prices", "--model", "GPT-77")
    assert (0, "") == (code, err)
    assert 11 == len(re.findall(r"^openai/gpt-77\d? +1 +1$", out, re.MULTILINE))
    assert re.search(r"^ +1  price_map: map\.json *$", out, re.MULTILINE)
    assert "mistral" not in out
    assert (0, "No price of today is for a model with 'nobody' in its name.\n", "") == await command(
        tmp_path, "prices", "--model", "nobody"
    )


def _all_of(control: int) -> bytes:
    output = bytearray()
    _read_into(control, output)
    return bytes(output)


@pytest.mark.parametrize("columns", [80, 50])
async def test_tables_fit_the_terminal(sandboxed: Path, columns: int) -> None:
    """No line is wider than the terminal, no empty line holds spaces, and names, figures and variables are whole."""
    (sandboxed / "wide.yaml").write_text(WIDE)
    commands = {
        ("check", "--config", "wide.yaml"): ["/azure/v1/ocr", "KEY", "Authorization:"],
        ("prices",): ["2025-12-01", "0.15", "mistral-ocr-2512"],
        ("usage",): ["0.0120", "ann"],
        ("usage", "--by", "route,model,day"): ["0.0120", f"{datetime.now(UTC):%Y-%m-%d}", "/mistral"],
    }
    for arguments, whole in commands.items():
        lines = await on_terminal(sandboxed, *arguments, columns=columns)
        assert columns >= max(map(len, lines)), "\n".join(lines)
        assert [] == [line for line in lines if line and not line.strip()]
        assert set(whole) <= {word.strip(",") for line in lines for word in line.split()}, "\n".join(lines)


@pytest.fixture(scope="module")
def three_documents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose ledger has three documents of two clients: 1, 2 and 3 pages."""
    folder = tmp_path_factory.mktemp("sandboxed")
    keys = "client_keys:\n  - {name: ann, key: a-key-of-16-letters}\n  - {name: ben, key: another-key-of-16}\n"

    async def fill() -> None:
        async with program(folder, KEYED + keys, "--sandbox") as running:
            for pages, key in ((1, "a-key-of-16-letters"), (2, "a-key-of-16-letters"), (3, "another-key-of-16")):
                await ocr(running, pages, key)
            assert 0 == await running.stop()

    asyncio.run(fill())
    return folder


@pytest.fixture
def sandboxed(three_documents: Path, tmp_path: Path) -> Path:
    """Return a folder with the three documents that the test may change."""
    return shutil.copytree(three_documents, tmp_path / "sandboxed")


async def ocr(running: Program, pages: int, key: str) -> dict[str, Any]:
    """Have a document read by file, and return the answer."""
    headers = {"Authorization": f"Bearer {key}"}
    form = aiohttp.FormData({"purpose": "ocr"})
    form.add_field("file", pdf(pages), filename="a.pdf")
    async with aiohttp.ClientSession(running.url, headers=headers) as session:
        async with session.post("/mistral/v1/files", data=form) as response:
            document = {"type": "file", "file_id": (await response.json())["id"]}
        asked = {"model": "mistral-ocr-2512", "document": document}
        async with session.post("/mistral/v1/ocr", json=asked) as response:
            assert 200 == response.status
            return dict(await response.json())


async def test_usage(sandboxed: Path) -> None:
    """The same sums as JSON, CSV and a table, by one key or two, since a day; the sandbox's are marked as such."""
    code, out, err = await command(sandboxed, "usage", "--format", "json")
    assert (0, "") == (code, err)
    output = json.loads(out)
    names = ("client", "requests", "pages", "cost_usd", "unmetered", "unpriced")
    groups = [tuple(group[name] for name in names) for group in output["groups"]]
    assert [("ann", 4, 3, 0.006, 0, 0), ("ben", 2, 3, 0.006, 0, 0)] == groups
    assert (True, 6, 6, 0.012) == (output["sandbox"], *(output["total"][name] for name in ("requests", "pages", "cost_usd")))

    code, out, err = await command(sandboxed, "usage", "--format", "csv", "--by", "model, client")
    assert (0, out, "") == await command(sandboxed, "usage", "--format", "csv", "--by", "model", "--by", "client")
    assert (0, "") == (code, err)
    rows = [(row["model"], row["client"], row["pages"]) for row in csv.DictReader(io.StringIO(out))]
    assert [("mistral-ocr-2512", "ann", "3"), ("mistral-ocr-2512", "ben", "3")] == [row for row in rows if row[0]]

    code, out, err = await command(sandboxed, "usage", "--by", "client")
    assert (0, "") == (code, err)
    assert re.search(r"^ann +4 +3 +0\.0060 +50\.0%$", out, re.MULTILINE)
    assert "sandbox: what it would have cost" in out


async def test_usage_of_a_period(sandboxed: Path) -> None:
    """Only what began in the period counts; a future one is empty, and that is no error."""
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).date().isoformat()
    periods = {("--since", "1h"): 6, ("--since", tomorrow): 0, ("--until", "30d"): 0, ("--until", tomorrow): 6}
    for flags, requests in periods.items():
        code, out, _ = await command(sandboxed, "usage", "--format", "json", *flags)
        assert (0, requests) == (code, json.loads(out)["total"]["requests"])
    assert "No requests since" in (await command(sandboxed, "usage", "--since", tomorrow))[1]


def files_of(folder: Path) -> dict[str, bytes]:
    """Return the ledger's files and what is in them."""
    return {file.name: file.read_bytes() for file in folder.glob("passthrough.db*")}


async def test_usage_reads_what_it_needs(sandboxed: Path) -> None:
    """It works where the keys are not set, by the ledger's URL alone, and in a folder that may not be written."""
    before = files_of(sandboxed)
    assert ["passthrough.db"] == list(before)
    (sandboxed / "elsewhere").mkdir()
    url = f"sqlite:///{sandboxed / 'passthrough.db'}"
    _, out, _ = await command(sandboxed / "elsewhere", "usage", "--ledger", url, "--format", "json")
    assert 6 == json.loads(out)["total"]["requests"]
    os.chmod(sandboxed, 0o555)
    code, out, _ = await command(sandboxed, "usage", "--format", "json")
    os.chmod(sandboxed, 0o755)
    assert (0, 6) == (code, json.loads(out)["total"]["requests"])
    assert before == files_of(sandboxed)


async def test_usage_by_models_and_labels(tmp_path: Path) -> None:
    """Models have one name by the configuration's aliases and those that ship, or those that came; labels are keys as others."""
    url = f"sqlite:///{tmp_path}/books.db"
    at = datetime(2026, 11, 20, tzinfo=UTC).timestamp()
    names = ("mistral-ocr-latest", "mistral-ocr-4-1", "mistral/mistral-ocr-4-1-completion")
    entries = [booked("ann", at=at, model=name) for name in names]
    with closing(Ledger.open(url)) as ledger:
        ledger.append([replace(entries[0], labels='{"team": "a"}'), *entries[1:]])

    async def rows(*flags: str) -> list[list[str]]:
        code, out, err = await command(tmp_path, "usage", "--ledger", url, "--format", "csv", *flags)
        assert (0, "") == (code, err)
        return [row[: flags[1].count(",") + 2] for row in list(csv.reader(io.StringIO(out)))[1:]]

    assert [["mistral-ocr-4-1", "3"]] == await rows("--by", "model")
    assert sorted([name, "1"] for name in names) == await rows("--by", "model", "--as-told")
    assert [["", "ann", "2"], ["a", "ann", "1"]] == await rows("--by", "label.team,client")
    code, out, err = await command(tmp_path, "usage", "--ledger", url, "--by", "label.teem")
    assert (1, "", "passthrough: No request has a label named teem.\nThere are: label.team.\n") == (code, out, err)


@asynccontextmanager
async def watched(folder: Path, *arguments: str, lines: int, columns: int) -> AsyncIterator[Callable[[], Awaitable[bytes]]]:
    """Run a command with `--watch` on a terminal; yield what it has shown so far. At the end it is interrupted: exit 0."""
    control, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "passthrough", *arguments, "--watch", "0.2"),
        cwd=folder,
        env=clean_environment(TERM="xterm"),
        stdin=terminal,
        stdout=terminal,
        stderr=asyncio.subprocess.STDOUT,
    )
    os.close(terminal)
    output = bytearray()
    reading = asyncio.create_task(asyncio.to_thread(_read_into, control, output))

    async def so_far() -> bytes:
        return bytes(output)

    try:
        yield so_far
    finally:
        process.send_signal(signal.SIGINT)
        assert 0 == await process.wait()
        await reading


async def test_usage_is_watched_on_a_terminal(tmp_path: Path) -> None:
    """`--watch` shows the sums again as they grow, until Ctrl-C, which is exit 0; the last ones stay on the terminal."""
    url = f"sqlite:///{tmp_path}/passthrough.db"
    with closing(Ledger.open(url)) as ledger:
        ledger.append([booked("ann", pages=111)])  # the clock beside it never has three digits
    async with watched(tmp_path, "usage", "--ledger", url, lines=40, columns=80) as so_far:
        await eventually(so_far, lambda found: b"111" in found)
        with closing(Ledger.open(url)) as ledger:
            ledger.append([booked("ben", pages=222)])
        await eventually(so_far, lambda found: b"333" in found)
    screens = (await so_far()).decode().split("\x1b[?1049")  # the second screen is entered with h, and left with l
    assert ["h", "l"] == [screen[0] for screen in screens[1:]]
    assert "total" in screens[-1]
    assert "333" in screens[-1]


MANY = [f"client-{number:02}" for number in range(50)]


@pytest.mark.parametrize(
    ("lines", "columns", "by", "seen", "rows"),
    [
        (24, 80, "client", "+ 33 more", 17),
        (60, 80, "client", "", 50),
        (24, 80, "day", "", 1),
        (24, 60, "client,model", "+ 42 more", 8),
        (12, 80, "client", "+ 45 more", 5),
    ],
)
async def test_a_watched_table_is_no_higher_than_the_screen(
    tmp_path: Path, lines: int, columns: int, by: str, seen: str, rows: int
) -> None:
    """Of 50 clients the largest are shown, the others are one row; the total is always seen, and afterwards all of it."""
    url = f"sqlite:///{tmp_path}/passthrough.db"
    with closing(Ledger.open(url)) as ledger:
        ledger.append([booked(name, pages=number + 1, cost_nano=(number + 1) * 10**9) for number, name in enumerate(MANY)])
    async with watched(tmp_path, "usage", "--ledger", url, "--by", by, lines=lines, columns=columns) as screen:
        found = await eventually(screen, lambda found: b"1,275.00" in found)
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", found.decode()).replace("\r", "").split("\n")
    assert lines >= len(shown)
    assert re.fullmatch(r"Usage so far, at \d\d:\d\d:\d\dZ", shown[0].strip())
    assert columns >= max(map(len, shown))
    assert rows == sum(line.startswith(("client-", "20")) for line in shown)
    assert seen in "\n".join(shown)
    assert by == "day" or shown[4].startswith("client-49") or shown[5].startswith("client-49")


def last_screen(output: bytes) -> list[str]:
    """Return the lines of what was shown last, without colours; its first line is the title."""
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", output.decode()).replace("\r", "")
    return [line.rstrip() for line in text[text.rindex("Usage so far") :].split("\n")]


async def test_a_watched_table_in_parts_shows_the_first(tmp_path: Path) -> None:
    """Where hardly a row of each part were left, only cost and pages are shown, and what is not is said; an error is, too."""
    url = f"sqlite:///{tmp_path}/passthrough.db"
    tokens = {"tokens_in": 10**12, "tokens_out": 10**12, "tokens_cached": 10**12}
    entries = [booked(name, pages=number + 1) for number, name in enumerate(MANY)]
    with closing(Ledger.open(url)) as ledger:
        ledger.append([replace(entry, charges=(replace(entry.charges[0], **tokens),)) for entry in entries])
    async with watched(tmp_path, "usage", "--ledger", url, lines=20, columns=70) as screen:
        shown = last_screen(await eventually(screen, lambda found: b"want of space" in found))
        assert ["total" in shown[-2], "not shown, for want of space: tokens in, cached, tokens out"] == [True, shown[-1]]
        assert any(line.startswith("+ 38 more") for line in shown)
        os.remove(tmp_path / "passthrough.db")
        await eventually(screen, lambda found: b"There is no ledger at" in found)
    with closing(Ledger.open(url)) as ledger:
        ledger.append([replace(entry, charges=(replace(entry.charges[0], **tokens),)) for entry in entries])
    async with watched(tmp_path, "usage", "--ledger", url, lines=26, columns=70) as screen:
        shown = last_screen(await eventually(screen, lambda found: b"tokens out" in found))
        assert 2 == sum(line.startswith("total") for line in shown)
        assert 26 >= len(shown)


async def test_usage_is_watched_in_a_pipe(tmp_path: Path) -> None:
    """Where stdout is no terminal, tables follow each other; a ledger that goes away is reported, and read again later."""
    url = f"sqlite:///{tmp_path}/passthrough.db"
    arguments = (sys.executable, "-m", "passthrough", "usage", "--ledger", url, "--watch", "0.2")
    assert 1 == (await command(tmp_path, *arguments[3:]))[0]
    with closing(Ledger.open(url)) as ledger:
        ledger.append([booked("ann", pages=11)])
    process = await asyncio.create_subprocess_exec(*arguments, env=clean_environment(), stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            for _ in range(2):
                assert b"11" in await process.stdout.readuntil(b"total") + await process.stdout.readuntil(b"\n\n")
            os.remove(tmp_path / "passthrough.db")
            await process.stdout.readuntil(b"There is no ledger at")
    finally:
        process.send_signal(signal.SIGINT)
        await process.communicate()
        assert 0 == process.returncode


def _read_into(control: int, output: bytearray) -> None:
    try:
        while piece := os.read(control, 65536):
            output += piece
    except OSError:  # Linux: the other end is closed
        pass
    finally:
        os.close(control)


async def test_usage_while_it_runs(tmp_path: Path) -> None:
    """The ledger can be summed while the program writes it."""
    async with program(tmp_path, KEYED, "--sandbox") as running:
        await ocr(running, 2, "none")

        async def pages() -> int:
            code, out, err = await running.command("usage", "--format", "json")
            assert (0, "") == (code, err)
            return int(json.loads(out)["total"]["pages"])

        assert 2 == await eventually(pages, lambda found: found == 2)


async def test_health(tmp_path: Path) -> None:
    """Exit 0 and what it says while it runs, with what is degraded; exit 1 and why when it does not run."""
    async with program(tmp_path, KEYED, "--sandbox") as running:
        port = str(running.admin_port)
        assert (0, "ok\n", "") == await command(tmp_path, "health", "--admin-port", port)
        for name in ("0.0.0.0", "localhost"):
            assert 0 == (await command(tmp_path, "health", PASSTHROUGH_ADMIN_PORT=port, PASSTHROUGH_ADMIN_HOST=name))[0]
        (tmp_path / "routes.yaml").write_text("ports: 5\n")
        await running.says("was not reloaded")
        code, out, err = await command(tmp_path, "health", "--admin-port", port)
        assert (0, "") == (code, err)
        assert out.startswith(
            "degraded\n  reload: The configuration was not reloaded; the last good one is in force.\n    routes.yaml"
        )
        assert all(line.startswith("    ") for line in out.splitlines()[2:])
        assert 0 == await running.stop()
    code, out, err = await command(tmp_path, "health", "--admin-port", port)
    assert (1, "") == (code, out)
    assert err.startswith(f"passthrough: no answer from 127.0.0.1 port {port}: ")


@pytest.mark.wire
@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b'{"status": "ok", "degraded": 5}', b"\xff"])
async def test_the_health_of_another_program_is_not_ours(tmp_path: Path, body: bytes) -> None:
    """What something else answers on that port is no health, whatever its status."""
    async with upstream(answering(ok(body))) as raw:
        code, out, err = await command(tmp_path, "health", "--admin-port", str(raw.port))
        assert (1, "") == (code, out)
        assert err == f"passthrough: what answers on 127.0.0.1 port {raw.port} is not this program's admin port.\n"


LIBRARIES = {"aiohttp", "sqlalchemy", "pydantic", "rich", "yaml", "prometheus_client", "brotli", "uvloop"}


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (("--version",), set()),
        (("--help",), set()),
        (("keygen", "invoices"), set()),
        (("health", "--admin-port", "1"), set()),
        (("schema",), {"pydantic"}),
        (("prices",), {"pydantic", "yaml", "rich"}),
        (("check",), {"pydantic", "yaml", "rich", "sqlalchemy"}),
        (("usage", "--ledger", "sqlite:///none.db"), {"pydantic", "yaml", "rich", "sqlalchemy"}),
        (("serve", "--config", "nowhere.yaml"), LIBRARIES - {"rich", "uvloop"}),
    ],
)
async def test_a_command_loads_only_the_libraries_that_it_needs(
    tmp_path: Path, arguments: tuple[str, ...], wanted: set[str]
) -> None:
    """None waits for another's libraries, nor for a dialect of a database that it does not speak."""
    (tmp_path / "routes.yaml").write_text(ROUTE)
    _, _, err = await command(tmp_path, *arguments, PYTHONPROFILEIMPORTTIME="1")
    loaded = set(re.findall(r"^import time:.*\| +(\S+)$", err, re.MULTILINE))
    assert wanted == loaded & LIBRARIES
    assert "passthrough.cli.main" in loaded
    assert "sqlalchemy.dialects.postgresql" not in loaded


async def test_the_environment_says_where_to_listen(tmp_path: Path) -> None:
    """Variables and .env do what flags do, flags before them; what Kubernetes injects for a Service of this name does no harm."""
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    (tmp_path / "routes.yaml").write_text("not: read\n")
    (tmp_path / "other.yaml").write_text(KEYED)
    (tmp_path / ".env").write_text("PASSTHROUGH_ADMIN_HOST=::1\nPASSTHROUGH_LISTEN_HOST=no-such-host\n")
    variables = {
        "PASSTHROUGH_CONFIG": "other.yaml",
        "PASSTHROUGH_SANDBOX": "1",
        "PASSTHROUGH_LISTEN_HOST": "::1",
        "PASSTHROUGH_LISTEN_PORT": "1",
        "PASSTHROUGH_ADMIN_PORT": "",
        "PASSTHROUGH_TLS_CERT": "cert.pem",
        "PASSTHROUGH_TLS_KEY": "key.pem",
        "PASSTHROUGH_PORT": "tcp://10.0.0.1:4000",
        "PASSTHROUGH_SERVICE_HOST": "10.0.0.1",
    }
    async with program(tmp_path, None, env=variables) as running:
        await running.says(rf"Listening on https://\[::1\]:{running.port}, admin on http://\[::1\]:{running.admin_port}\.")
        await running.says("Sandbox: every route goes to a local imitation")
        assert 0 == await running.stop()
    for name, wrong in (("LISTEN_PORT", "http"), ("ADMIN_PORT", "-1"), ("DRAIN_TIMEOUT", "soon"), ("LOG_LEVEL", "loud")):
        code, _, err = await command(tmp_path, "serve", "--config", "other.yaml", "--sandbox", **{f"PASSTHROUGH_{name}": wrong})
        assert (2, True) == (code, f"PASSTHROUGH_{name}" in err), err


async def test_the_sandbox_alone(tmp_path: Path) -> None:
    """It says where it is, asks for its key, and ends on SIGTERM with 0."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "passthrough", "sandbox", "--port", "0", "--key", "secret"),
        cwd=tmp_path,
        env=clean_environment(),
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    found = re.search(rb"http://127\.0\.0\.1:(\d+)", await process.stderr.readline())
    assert found is not None
    assert (await process.stderr.readline()).endswith(b"; it asks for the key of --key.\n")
    async with aiohttp.ClientSession(f"http://127.0.0.1:{int(found[1])}") as session:
        for key, status in (("secret", 200), ("other", 401)):
            async with session.get("/v1/models", headers={"Authorization": f"Bearer {key}"}) as response:
                assert status == response.status
    process.terminate()
    await process.communicate()
    assert 0 == process.returncode

"""`passthrough init`: three questions at most, two files or none, and what is typed next works."""

from __future__ import annotations

import asyncio
import re
import shlex
import stat
import sys
from pathlib import Path

import aiohttp
import pytest
import yaml

from passthrough.cli.starter import PROVIDERS, StarterError, write
from passthrough.config.environment import environment
from passthrough.config.load import load
from tests.harness.documents import pdf
from tests.harness.ports import free_port
from tests.harness.process import clean_environment, command, program
from tests.harness.terminal import dialog
from tests.harness.upstream import answering, ok, upstream

pytestmark = pytest.mark.process

KEY = "mistral-canary-0123456789"
ADDRESS = "https://resource.services.ai.azure.com"


def files(folder: Path) -> list[str]:
    """Return the names of what is in a folder."""
    return sorted(file.name for file in folder.iterdir())


def mode(file: Path) -> int:
    """Return who may read and write a file."""
    return stat.S_IMODE(file.stat().st_mode)


async def test_without_a_question(tmp_path: Path) -> None:
    """--yes: Mistral, the key later. The two commands that it prints work in that folder, and the client's key calls."""
    code, out, err = await command(tmp_path, "init", "--yes")
    assert (0, "") == (code, err)
    assert [".env", "routes.yaml"] == files(tmp_path)
    assert 0o600 == mode(tmp_path / ".env")
    assert "\nMISTRAL_API_KEY=\n" in (tmp_path / ".env").read_text()
    assert "Still to be written into .env: MISTRAL_API_KEY. Until then:\n" in out
    (key,) = re.findall(r"pt-[\w-]{43}", out)
    assert key not in (tmp_path / "routes.yaml").read_text()

    typed = [shlex.split(line)[3:] for line in re.findall(r"^  (\S+ -m passthrough .+)$", out, re.MULTILINE)]
    assert [["check", "--sandbox"], ["serve", "--sandbox"]] == typed
    code, shown, err = await command(tmp_path, *typed[0])
    assert (0, "") == (code, err)
    assert "1 client key: default." in shown
    async with program(tmp_path, None, *typed[1][1:]) as running:
        said = (await running.says(r"(?s)Try it, with a client's key in CLIENT_KEY:\n\n(.*?)\n\n"))[1]
        process = await asyncio.create_subprocess_exec(
            *("sh", "-c", said),
            env=clean_environment(CLIENT_KEY=key),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        response, _ = await process.communicate()
        assert (0, True) == (process.returncode, b'"pages_processed":1' in response)
        (line,) = await running.logs(1)
        assert ("default", 200, 1, True) == (line["client"], line["status"], line["pages"], line["sandbox"])
        assert 0 == await running.stop()


async def test_the_key_later_means_check_says_what_is_missing(tmp_path: Path) -> None:
    """Without the provider's key `check` and `serve` name the variable and .env; with it there, both are content."""
    await command(tmp_path, "init", "--yes")
    for name in ("check", "serve"):
        code, _, err = await command(tmp_path, name)
        assert 2 == code
        assert "MISTRAL_API_KEY is set, but empty.\n  Write MISTRAL_API_KEY=… into .env, " in err
    (tmp_path / ".env").write_text(f"MISTRAL_API_KEY={KEY}\n")
    assert (0, "") == (await command(tmp_path, "check"))[::2]


async def test_three_questions(tmp_path: Path) -> None:
    """On a terminal it asks for provider, key and name; the key is not shown, and what is wrong is asked for again."""
    answers = [
        ("Provider", "mistrl"),
        ("Provider", ""),
        ("Key of Mistral", f"Bearer {KEY}"),
        ("first client", "master"),
        ("first client", 'Ann\'s "team"'),
    ]
    code, shown = await dialog(tmp_path, "init", answers=answers)
    assert 0 == code, shown
    assert "This provider is not known here. There are: mistral, azure, aimlapi." in shown
    assert "'master' is what calls with the master key are booked as." in shown
    assert KEY not in shown
    assert f"MISTRAL_API_KEY={KEY}\n" in (tmp_path / ".env").read_text()
    (client,) = yaml.safe_load((tmp_path / "routes.yaml").read_text())["client_keys"]
    assert 'Ann\'s "team"' == client["name"]
    assert 80 >= max(map(len, shown.splitlines()))
    assert " check\n" in shown
    assert (0, "") == (await command(tmp_path, "check"))[::2]


async def test_azure_is_asked_for_its_address(tmp_path: Path) -> None:
    """The third question is then its address, of which the path that the portal shows is left out; the name has a default."""
    path = "/providers/mistral/azure/ocr?api-version=2024-05-01-preview"
    answers = [
        ("Provider", "azure"),
        ("Address", "https://<resource>.services.ai.azure.com"),
        ("Address", ADDRESS + path),
        ("Key", KEY),
    ]
    code, shown = await dialog(tmp_path, "init", answers=answers)
    assert (0, True) == (code, "This is not an address." in shown), shown
    assert {"AZURE_ENDPOINT": ADDRESS, "AZURE_API_KEY": KEY} == dict(
        line.split("=", 1) for line in (tmp_path / ".env").read_text().splitlines() if "=" in line
    )
    code, out, err = await command(tmp_path, "check")
    assert (0, "") == (code, err)
    assert "resource.services.ai.azure.com" in out


async def test_a_question_that_nobody_answers(tmp_path: Path) -> None:
    """Without a terminal it says what to give; the end of the input leaves nothing."""
    code, out, err = await command(tmp_path, "init")
    assert (2, "") == (code, out)
    assert "command line init: There is no terminal to ask for 'Provider' (--provider).\n  Give --yes, " in err
    code, shown = await dialog(tmp_path, "init", answers=[("Provider", "mistral"), ("Key", "\x04")])
    assert (1, True) == (code, shown.endswith("\nNothing was written.\n"))
    assert [] == files(tmp_path)


@pytest.mark.parametrize("provider", list(PROVIDERS))
async def test_what_is_written_is_right(tmp_path: Path, provider: str) -> None:
    """Each provider's file is without a problem and without a warning, once its variables are set."""
    flags = ("--endpoint", f"{ADDRESS}/") if PROVIDERS[provider].endpoint else ()
    (tmp_path / "key").write_text(f"{KEY}\n")
    code, _, err = await command(tmp_path, "init", "--yes", "--provider", provider, "--key-file", "key", *flags)
    assert (0, "") == (code, err)
    config = load("routes.yaml", environment("routes.yaml", {}, tmp_path), cwd=tmp_path)
    assert ((), ["default"]) == (config.warnings, [client.name for client in config.clients])
    assert [PROVIDERS[provider].path] == [route.path.decode() for route in config.routes]


@pytest.mark.parametrize("key", ["plain-Key_0", "it's'quoted'\\and\"more\"", "a#b$HOME=c", "=", "x" * 5000])
async def test_a_key_survives_its_file(tmp_path: Path, key: str) -> None:
    """What was given is what is read again, whatever characters are in it."""
    (tmp_path / "key").write_text(key)
    assert 0 == (await command(tmp_path, "init", "--yes", "--key-file", "key"))[0]
    assert key == environment("routes.yaml", {}, tmp_path)["MISTRAL_API_KEY"]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (("--key-file", "no.key"), "command line --key-file: The file cannot be read: No such file or directory."),
        (
            ("--key-file", "two.key"),
            "command line --key-file: This is not a key.\n  Give the key itself, in one line, without a blank in it.",
        ),
        (("--key-file", "blank.key"), "command line --key-file: This is not a key."),
        (("--key-file", "odd.key"), "command line --key-file: This is not a key."),
        (("--key-file", "raw.key"), "command line --key-file: The file cannot be read: it is not UTF-8 text."),
        (("--config", "sub/my.yaml"), "sub/my.yaml: There is no folder sub.\n  Make it: mkdir -p sub"),
        (("--client", "master"), "command line --client: 'master' is what calls with the master key are booked as."),
        (("--client", " a"), "command line --client: This is not a name"),
        (("--provider", "none"), "'none' is not one of"),
        (("--endpoint", ADDRESS), "command line --endpoint: Mistral has one address only.\n  Leave it out."),
        (("--provider", "azure", "--endpoint", "resource"), "command line --endpoint: This is not an address."),
        (("--provider", "azure", "--endpoint", "https://[1"), "command line --endpoint: This is not an address."),
        (("--provider", "azure", "--endpoint", "https://me:pw@h"), "command line --endpoint: This is not an address."),
    ],
)
async def test_an_option_that_is_wrong(tmp_path: Path, flags: tuple[str, ...], expected: str) -> None:
    """It is exit 2 with its name, and nothing is written."""
    (tmp_path / "two.key").write_text("one\ntwo\n")
    (tmp_path / "blank.key").write_text("a key of words")
    (tmp_path / "odd.key").write_text("<your-key>")
    (tmp_path / "raw.key").write_bytes(b"\xff")
    before = files(tmp_path)
    code, out, err = await command(tmp_path, "init", "--yes", *flags)
    assert (2, "", True, before) == (code, out, expected in err, files(tmp_path)), err
    assert "me:pw" not in err


async def test_an_empty_variable_hides_the_file(tmp_path: Path) -> None:
    """Of the environment: that is said, and what is to be typed first; after it the two commands work."""
    (tmp_path / "key").write_text(KEY)
    code, out, err = await command(tmp_path, "init", "--yes", "--key-file", "key", MISTRAL_API_KEY="")
    assert (0, "") == (code, err)
    assert (
        "MISTRAL_API_KEY is set, but empty, in the environment: that hides the one in\n.env. First:\n\n  unset MISTRAL_API_KEY\n"
        in out
    )
    assert [] == [line for line in out.splitlines() if len(line) > 80]
    assert (0, "") == (await command(tmp_path, "check"))[::2]


async def test_a_byte_order_mark_is_no_part_of_a_key(tmp_path: Path) -> None:
    """Some editors begin a file with one."""
    (tmp_path / "key").write_text(KEY, encoding="utf-8-sig")
    code, _, err = await command(tmp_path, "init", "--yes", "--key-file", "key")
    assert (0, "", KEY) == (code, err, environment("routes.yaml", {}, tmp_path)["MISTRAL_API_KEY"])


async def test_a_file_that_is_there_stays(tmp_path: Path) -> None:
    """routes.yaml, even a link that leads nowhere, is exit 2; .env is left as it is, and its keys count."""
    (tmp_path / "routes.yaml").symlink_to("nowhere")
    code, out, err = await command(tmp_path, "init", "--yes")
    assert (2, "", True) == (code, out, "routes.yaml: There is such a file already.\n  It stays as it is." in err)
    (tmp_path / "routes.yaml").unlink()

    (tmp_path / ".env").write_text("OTHER=1\n")
    code, out, err = await command(tmp_path, "init", "--yes", "--key-file", "-")
    assert (2, "", True) == (code, out, ".env: There is such a file already; it stays as it is." in err)
    assert [".env"] == files(tmp_path)
    code, out, _ = await command(tmp_path, "init", "--yes")
    assert (0, True) == (code, "Still to be written into .env: MISTRAL_API_KEY." in out)
    assert "OTHER=1\n" == (tmp_path / ".env").read_text()

    (tmp_path / "routes.yaml").unlink()
    (tmp_path / ".env").write_text(f"MISTRAL_API_KEY={KEY}\n")
    code, shown = await dialog(tmp_path, "init", answers=[("Provider", ""), ("first client", "")])
    assert (0, True) == (code, "Still to be" not in shown), shown


async def test_a_key_of_the_environment_is_not_asked_for(tmp_path: Path) -> None:
    """It would win over .env anyway. It is not written down."""
    code, shown = await dialog(tmp_path, "init", answers=[("Provider", ""), ("first client", "")], MISTRAL_API_KEY=KEY)
    assert (0, False) == (code, "Still to be" in shown), shown
    assert KEY not in (tmp_path / ".env").read_text()
    assert (0, "") == (await command(tmp_path, "check", MISTRAL_API_KEY=KEY))[::2]


async def test_elsewhere(tmp_path: Path) -> None:
    """--config, or PASSTHROUGH_CONFIG, names the file, and .env is beside it; the next commands name it as far as needed."""
    (tmp_path / "a b").mkdir()
    code, out, _ = await command(tmp_path, "init", "--yes", "--config", "a b/my.yaml")
    assert (0, [".env", "my.yaml"]) == (code, files(tmp_path / "a b"))
    assert " check --sandbox --config 'a b/my.yaml'\n" in out
    code, out, _ = await command(tmp_path, "init", "--yes", PASSTHROUGH_CONFIG="other.yaml")
    assert (0, True) == (code, " check --sandbox\n" in out)


async def test_all_or_nothing(tmp_path: Path) -> None:
    """Where the second file cannot be written the first does not stay."""
    long = "x" * 300
    code, out, err = await command(tmp_path, "init", "--yes", "--config", long)
    assert (1, "") == (code, out)
    assert f"passthrough: {long} cannot be written: File name too long.\n  Nothing was written.\n" == err
    first, there = tmp_path / "first", tmp_path / "there"
    there.write_text("kept")
    with pytest.raises(StarterError, match="there cannot be written: File exists"):
        write([(first, "text", False), (there, "text", True)])
    with pytest.raises(UnicodeEncodeError):
        write([(first, "text", False), (tmp_path / "second", "\ud800", True)])
    assert (["there"], "kept") == (files(tmp_path), there.read_text())


async def test_nobody_else_reads_the_keys(tmp_path: Path) -> None:
    """Whatever the umask, .env is its owner's alone; the configuration is as other files are."""
    process = await asyncio.create_subprocess_exec(
        *("sh", "-c", f"umask 0; {shlex.quote(sys.executable)} -m passthrough init --yes"),
        cwd=tmp_path,
        env=clean_environment(),
        stdout=asyncio.subprocess.DEVNULL,
    )
    assert 0 == await process.wait()
    assert (0o600, 0o666) == (mode(tmp_path / ".env"), mode(tmp_path / "routes.yaml"))


async def test_the_commands_are_named_as_they_can_be_typed(tmp_path: Path) -> None:
    """The program is called by its name where it is found by it, else by the path that it was started by."""
    script = Path(sys.executable).with_name("passthrough")
    (tmp_path / "bin").symlink_to(script.parent)
    for path, started, expected in (
        (str(script.parent), "passthrough", "passthrough"),
        ("/usr/bin:/bin", str(script), str(script)),
        ("/usr/bin:/bin", "./bin/passthrough", "./bin/passthrough"),
    ):
        process = await asyncio.create_subprocess_exec(
            *("/bin/sh", "-c", f"{started} init --yes"),
            cwd=tmp_path,
            env=clean_environment(PATH=path),
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await process.communicate()
        assert f"\n  {expected} serve --sandbox\n" in out.decode()
        for name in (".env", "routes.yaml"):
            (tmp_path / name).unlink()


@pytest.mark.wire
async def test_the_first_real_page(tmp_path: Path) -> None:
    """With a key the commands are those without the sandbox; the client's key goes in, the provider's goes out."""
    (tmp_path / "key").write_text(KEY)
    code, out, _ = await command(tmp_path, "init", "--yes", "--key-file", "key", "--client", "invoices")
    assert (0, True) == (code, " serve\n" in out)
    (key,) = re.findall(r"CLIENT_KEY=(pt-\S+)", out)
    async with upstream(answering(ok())) as raw:
        text = (
            (tmp_path / "routes.yaml")
            .read_text()
            .replace("target: https://api.mistral.ai", f"target: http://127.0.0.1:{raw.port}")
        )
        async with program(tmp_path, text) as running, aiohttp.ClientSession() as session:
            for sent, status in ((key, 200), (KEY, 401)):
                async with session.get(
                    f"{running.url}/mistral/v1/models", headers={"Authorization": f"Bearer {sent}"}
                ) as response:
                    assert status == response.status
            assert 0 == await running.stop()
        assert [[f"Bearer {KEY}".encode()]] == [each.values(b"authorization") for each in raw.received]


async def test_the_first_document(tmp_path: Path) -> None:
    """The command that it ends with makes Markdown, through the program that serves what it wrote."""
    port = str(free_port())
    code, out, _ = await command(tmp_path, "init", "--yes", PASSTHROUGH_LISTEN_PORT=port)
    shown = re.search(r"\n  PASSTHROUGH_API_KEY=\$CLIENT_KEY .*passthrough (ocr .*)\n$", out)
    key = re.search(r"CLIENT_KEY=(pt-\S+)", out)
    assert (0, True, True) == (code, shown is not None, key is not None), out
    assert shown is not None
    assert key is not None
    (tmp_path / "invoice.pdf").write_bytes(pdf(2))
    async with program(tmp_path, None, "--sandbox", "--port", port):
        arguments = shlex.split(shown[1])
        assert (0, "invoice.md\n") == (await command(tmp_path, *arguments, PASSTHROUGH_API_KEY=key[1]))[:2]
    assert "This is page 1" in (tmp_path / "invoice.md").read_text()


@pytest.mark.parametrize(
    ("provider", "port", "flag"),
    [
        ("mistral", "4000", [""]),
        ("mistral", "5000", [" --base-url http://127.0.0.1:5000/mistral"]),
        ("aimlapi", "4000", [" --base-url http://127.0.0.1:4000/aiml"]),
        ("azure", "4000", []),
    ],
)
async def test_a_document_is_shown_where_the_route_is_mistrals(tmp_path: Path, provider: str, port: str, flag: list[str]) -> None:
    """Its base URL is named where it is not the command's own; Azure's paths are another shape."""
    _, out, _ = await command(tmp_path, "init", "--yes", "--provider", provider, PASSTHROUGH_LISTEN_PORT=port)
    assert flag == re.findall(r"passthrough ocr(.*) invoice\.pdf", out)

"""`passthrough ocr` before a provider that throttles, cuts, refuses and lies: each document right, or named with its reason."""

from __future__ import annotations

import asyncio
import re
import signal
from pathlib import Path

import pytest

from tests.harness.documents import pdf
from tests.harness.documents_of_all_kinds import padded
from tests.harness.ocr_command import booked_pages, ended, ocr, start, tree
from tests.harness.ocr_results import HOSTILE_IDS, MODEL, good, hostile, odd, page, response, results
from tests.harness.ocr_upstreams import RESETS, Behaviour, throttled
from tests.harness.process import program
from tests.scenarios.test_ocr_command import KEY, MANIFEST, environ, routes

pytestmark = [pytest.mark.process, pytest.mark.faults]

FINE = response(page(0, "It is fine."))
REFUSED = b'{"object": "error", "message": "The \\u001b[31mdocument\\nis odd.", "type": "invalid_request_file", "code": "3310"}'

CASES = {
    "fine": ((good(FINE),), "It is fine.", 1),
    "throttled": ((throttled("0"), throttled("1"), good(FINE)), "It is fine.", 3),
    "unavailable": ((Behaviour(503, body=b"<html>busy</html>"), good(FINE)), "It is fine.", 2),
    "cut": ((Behaviour(200, body=FINE, cut=True), good(FINE)), None, 1),
    "reset": ((RESETS, good(FINE)), None, 1),
    "broken": ((Behaviour(500, body=b"{}"), good(FINE)), None, 1),
    "gateway": ((Behaviour(502, body=b"<html>bad gateway</html>"), good(FINE)), None, 1),
    "refused": ((Behaviour(400, body=REFUSED), good(FINE)), None, 1),
    "no response": ((good(b"null"), good(FINE)), None, 1),
    "a page": ((good(b"<html>log in</html>"), good(FINE)), None, 1),
    "null for pages": (
        (good(b'{"pages": null, "model": "mistral-ocr-2512", "usage_info": {"pages_processed": 4}}'), good(FINE)),
        None,
        1,
    ),
    "two responses": ((good(FINE + FINE.replace(b'"pages_processed"', b'"x"')), good(FINE)), None, 1),
    "long fields": ((Behaviour(200, body=FINE, fields=(b"X-Policy: " + b"y" * 20_000,)),), "It is fine.", 1),
    "hostile": ((good(hostile()),), "Page 1", 1),
    "odd": ((good(odd()),), "Five again", 1),
    "without pages": ((good(response()),), "", 1),
}
"""For each document: what is responded to it, one after the other; what its Markdown has, None where it fails; the requests."""


async def test_a_provider_that_misbehaves(tmp_path: Path) -> None:
    """Nothing is sent twice that may have been billed, nothing is outside its folder, and the pages are the ledger's."""
    desk = tmp_path / "desk"
    (desk / "in").mkdir(parents=True)
    (tmp_path / "server").mkdir()
    documents = {name: pdf(1, name) for name in CASES}
    for name, content in documents.items():
        (desk / "in" / f"{name}.pdf").write_bytes(content)
    async with (
        results({documents[name]: orders for name, (orders, _, _) in CASES.items()}) as above,
        program(tmp_path / "server", routes(above.url)) as running,
    ):
        ran = await ocr(desk, "in", "-o", "out", "--model", MODEL, "--workers", "3", env=environ(running))
        assert {name: tries for name, (_, _, tries) in CASES.items()} == {
            name: above.tries(content) for name, content in documents.items()
        }
        booked, _ = await booked_pages(running)
    assert 1 == ran.code, ran.err
    for name, (_, text, _) in CASES.items():
        made = desk / "out" / f"{name}.md"
        if text is None:
            assert not made.exists(), name
            said = re.search(rf"failed: \S*{name}\.pdf: (.*)", ran.err)
            assert said is not None, ran.err
            assert (name != "refused") == ("it may have been billed" in said[1]), said[1]
        else:
            assert text in made.read_text("utf-8"), name
    assert 4 + 1 + 1 + 1 + 1 + 2 + 3 == ran.pages == booked - 1  # of two responses the first is booked: it may have been billed
    assert not {"\x1b", "\0"} & set(ran.err + ran.out)
    folders = {path.split("/")[1] for path in tree(desk) if path.startswith("out/") and "_images/" in path}
    assert {"hostile_images", "odd_images"} == folders
    pictures = list((desk / "out/hostile_images").iterdir())
    assert 2 * len(HOSTILE_IDS) == len({path.name.casefold() for path in pictures})
    assert [] == [path.name for path in pictures if not path.is_file() or path.suffix.lower() not in {".jpg", ".jpeg"}]
    expected = {f"out/{MANIFEST}", *(f"out/{name}.md" for name, (_, text, _) in CASES.items() if text is not None)}
    assert expected == {path for path in tree(desk) if not path.startswith("in/") and "_images/" not in path}
    assert {"desk", "server"} == {path.partition("/")[0] for path in tree(tmp_path)}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_run_that_is_stopped_says_what_may_be_billed(tmp_path: Path, number: signal.Signals) -> None:
    """A call has left, and its response is not waited for: the provider bills it, and the next run sends it again."""
    contents = [pdf(1, name) for name in ("a", "b", "c")]
    for name, content in zip("abc", contents, strict=True):
        (tmp_path / f"{name}.pdf").write_bytes(content)
    never = asyncio.Event()
    async with results({contents[0]: (good(FINE),)} | dict.fromkeys(contents[1:], (good(FINE, until=never),))) as above:
        process = await start(tmp_path, ".", "--workers", "2", "--base-url", above.url)
        async with asyncio.timeout(60):
            while len(above.seen) < 3:  # noqa: ASYNC110  # it belongs to the program, which sets no event of ours
                await asyncio.sleep(0.01)
        process.send_signal(number)
        ran = await ended(process)
        never.set()
    assert 128 + number == ran.code, ran.err
    assert "2 calls were sent, and had no whole response yet: they may be billed. The next run sends them again." in ran.err
    assert {"a.md", "a.pdf", "b.pdf", "c.pdf", MANIFEST} == set(tree(tmp_path))


async def test_a_run_for_stdout_that_is_stopped_says_that_nothing_is_kept(tmp_path: Path) -> None:
    """There is no place where the next run would look for what was paid for."""
    content = pdf(1)
    (tmp_path / "a.pdf").write_bytes(content)
    never = asyncio.Event()
    async with results({content: (good(FINE, until=never),)}) as above:
        process = await start(tmp_path, "a.pdf", "-o", "-", "--base-url", above.url)
        async with asyncio.timeout(60):
            while not above.seen:  # noqa: ASYNC110  # it belongs to the program, which sets no event of ours
                await asyncio.sleep(0.01)
        process.send_signal(signal.SIGINT)
        ran = await ended(process)
        never.set()
    assert 130 == ran.code, ran.err
    assert "Interrupted. Documents for stdout are not kept: the next run sends them again, and is billed again." in ran.err


@pytest.mark.parametrize(("status", "said"), [(401, "PASSTHROUGH_API_KEY"), (403, "PASSTHROUGH_API_KEY")])
async def test_a_refused_key_ends_the_run(tmp_path: Path, status: int, said: str) -> None:
    """The second document is not sent, and the hint says where a key is given; a key is never shown."""
    contents = [pdf(1, name) for name in ("a", "b", "c")]
    for name, content in zip("abc", contents, strict=True):
        (tmp_path / f"{name}.pdf").write_bytes(content)
    async with results(dict.fromkeys(contents, (Behaviour(status, body=b'{"message": "Unauthorized"}'),))) as above:
        ran = await ocr(tmp_path, ".", "--workers", "1", "--base-url", above.url, env={"PASSTHROUGH_API_KEY": "canary-key-0123"})
        assert 1 == len(above.seen)
    assert 1 == ran.code
    assert said in ran.err
    assert 1 == ran.err.count("failed: ")
    assert "0 documents, 1 failed, 2 not sent because of that; 0 pages." == ran.err.splitlines()[-1]
    assert "canary-key-0123" not in ran.err + ran.out


@pytest.mark.parametrize("more", [[], ["--batch"]])
@pytest.mark.parametrize("size", [0, 11_000_000])
async def test_nobody_listens(more: list[str], size: int, tmp_path: Path) -> None:
    """The cure is said: `passthrough serve`. Nothing is left that stands in the way of another address, nor of an upload."""
    (tmp_path / "a.pdf").write_bytes(padded(pdf(1), size))
    ran = await ocr(tmp_path, "a.pdf", *more, "--base-url", "http://127.0.0.1:1/mistral")
    assert 1 == ran.code
    assert "passthrough serve" in ran.err
    assert {"a.pdf"} == set(tree(tmp_path))


async def test_a_budget_that_is_spent_ends_the_run(tmp_path: Path) -> None:
    """What was made stays, the pages are the budget's, no further document is sent, and the cure is said."""
    for name in ("server", "in"):
        (tmp_path / name).mkdir()
    for name in "abcdef":
        (tmp_path / f"in/{name}.pdf").write_bytes(pdf(3, name))
    limited = routes().replace(f"key: {KEY}}}", f"key: {KEY}, budget: {{pages: 6, per: month}}}}")
    async with program(tmp_path / "server", limited, "--sandbox") as running:
        ran = await ocr(tmp_path, "in", "-o", "out", "--model", MODEL, "--workers", "1", env=environ(running))
        assert (1, 2, 6) == (ran.code, len(ran.paths), ran.pages), ran.err
        assert "ask the operator" in ran.err
        refused = [line for line in running.log if line["status"] == 429]
        assert (1, 6) == (len(refused), (await booked_pages(running))[0])


async def test_a_pool_has_no_files(tmp_path: Path) -> None:
    """One model's name for several providers, which stores no files: a large document travels in the request."""
    (tmp_path / "server").mkdir()
    (tmp_path / "large.pdf").write_bytes(padded(pdf(2), 11_000_000))
    pool = routes() + (
        "model_list:\n  - model_name: mistral-ocr-2512\n"
        "    litellm_params: {model: mistral/mistral-ocr-2512, api_key: provider-key-0123456789}\n"
    )
    async with program(tmp_path / "server", pool, "--sandbox") as running:
        ran = await ocr(tmp_path, "large.pdf", "--model", MODEL, "--base-url", running.url, env={"PASSTHROUGH_API_KEY": KEY})
        assert (0, ["large.md"], 2) == (ran.code, ran.paths, ran.pages), ran.err
        assert 2 == (await booked_pages(running))[0]

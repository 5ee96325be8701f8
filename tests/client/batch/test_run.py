"""A batch job from its documents to their outputs, before a real sandbox: what is ordered, resumed, refused and left behind."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from passthrough.client.batch.folder import NAME
from passthrough.client.batch.results import read_results
from passthrough.client.errors import ClientError
from passthrough.client.options import OcrOptions
from passthrough.client.output.disk import sha256_of
from passthrough.client.output.manifest import Finished, Manifest
from passthrough.client.output.names import MANIFEST
from passthrough.client.output.place import Place
from passthrough.client.output.work_folder import claim
from passthrough.client.page_ranges import PageRanges
from passthrough.client.pdf.parts import Limits
from tests.harness.batch_desk import MODEL, Desk, Forward, Trouble, desk_at, front_of
from tests.harness.batch_killed import begun_and_killed
from tests.harness.disks import filled, small_disk
from tests.harness.documents import pdf
from tests.harness.sandbox_caller import Caller

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.wire


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    """A desk whose API is a sandbox at full speed."""
    async with desk_at(tmp_path) as made:
        yield made


def is_asked(request: web.Request) -> bool:
    """Tell whether a request asks how far a job is."""
    return request.method == "GET" and "/v1/batch/jobs/" in request.path


LARGE = pdf(2) + b"\n%" + b"x" * 200_000
"""It is uploaded by itself."""


async def test_a_job_makes_what_single_calls_make(tmp_path: Path, desk: Desk) -> None:
    """The same files by half the price; the listener hears the job and each document; nothing is left anywhere."""
    desk.write(a=pdf(1), b=pdf(3), large=LARGE)
    heard = await desk.begin()
    by_batch = {name: (desk.out / name).read_bytes() for name in desk.outputs() if name.endswith(".md")}
    assert (["a.md", "b.md", "large.md"], {}) == (sorted(by_batch), heard.failures)
    assert (3, 3, 6, 6, 6) == (heard.sums.done, heard.expected, heard.pages, heard.sums.pages, heard.sums.cost_nano)
    assert ["PREPARING", "SUCCESS"] == [each for each in dict.fromkeys(heard.statuses) if each not in {"QUEUED", "RUNNING"}]
    assert ([], 1) == (await desk.stored(), len(await desk.jobs()))
    assert [".passthrough-ocr.jsonl", *sorted(by_batch)] == desk.outputs()
    single = Desk(tmp_path / "single", desk.caller)
    single.folder.mkdir()
    single.write(a=pdf(1), b=pdf(3), large=LARGE)
    assert 12 == (await single.run()).sums.cost_nano
    assert by_batch == {name: (single.out / name).read_bytes() for name in by_batch}


async def test_what_is_finished_is_not_ordered(desk: Desk) -> None:
    """A second run orders what is new; one with nothing new orders nothing."""
    desk.write(a=pdf(1))
    await desk.begin()
    desk.write(b=pdf(2))
    heard = await desk.begin()
    assert (1, 1, 2) == (heard.sums.done, heard.sums.skipped, heard.sums.pages)
    heard = await desk.begin()
    assert (0, 2, 0) == (heard.sums.done, heard.sums.skipped, heard.sums.pages)
    assert ([1, 1], False) == ([each["total_requests"] for each in await desk.jobs()], (desk.out / NAME).exists())


async def test_chosen_pages_and_cut_documents_come_back_as_one(desk: Desk) -> None:
    """A document beyond the API's pages is several lines; its outputs are of all of them, in order."""
    desk.overrides = {"limits": Limits(max_pages=2), "asked": OcrOptions(MODEL, PageRanges.parse("0,2-6"))}
    desk.write(long=pdf(9))
    heard = await desk.begin()
    assert ({}, 6, 6) == (heard.failures, heard.sums.pages, heard.pages)
    text = (desk.out / "long.md").read_text()
    found = [int(each.split("This is page ")[1].split(" ")[0]) for each in text.split("---")]
    assert [0, 2, 3, 4, 5, 6] == found
    assert [3] == [each["total_requests"] for each in await desk.jobs()]


async def test_documents_that_fail_are_named_and_the_others_are_there(tmp_path: Path, desk: Desk) -> None:
    """One that the API refuses, one that is locked, one whose output another program made: each says why."""
    desk.write(good=pdf(1), broken=b"%PDF-1.4\n" + bytes(500), locked=pdf(1, password="secret"), theirs=pdf(1))
    desk.out.mkdir()
    (desk.out / "theirs.md").write_text("mine")
    heard = await desk.begin()
    assert {"broken.pdf", "locked.pdf", "theirs.pdf"} == set(heard.failures)
    assert heard.failures["broken.pdf"].startswith("The API refused it (")
    assert "exists, and is not of this command" in heard.failures["theirs.pdf"]
    assert ("mine", True) == ((desk.out / "theirs.md").read_text(), (desk.out / "good.md").exists())
    assert ([2], []) == ([each["total_requests"] for each in await desk.jobs()], await desk.stored())
    assert [".passthrough-ocr.jsonl", "good.md", "theirs.md"] == desk.outputs()


async def test_nothing_to_order_orders_nothing(desk: Desk) -> None:
    """Where every document fails before, or there is none."""
    assert 0 == (await desk.begin()).expected
    desk.write(locked=pdf(1, password="secret"))
    heard = await desk.begin()
    assert (["locked.pdf"], [], []) == (list(heard.failures), await desk.jobs(), await desk.stored())
    assert not (desk.out / NAME).exists()


async def cancelled_at(desk: Desk, step: str, count: int = 1) -> None:
    """Begin a job, and cancel it at the `count`th step of a name, as Ctrl-C does."""
    left = count

    def on_step(name: str) -> None:
        nonlocal left
        left -= name == step
        if name == step and not left:
            task.cancel()

    task = asyncio.ensure_future(desk.begin(on_step))
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(
    ("step", "count"), [("preparing", 1), ("preparing", 2), ("uploaded", 1), ("planned", 1), ("uploaded", 2)]
)
async def test_interrupted_before_the_order_it_leaves_nothing(desk: Desk, step: str, count: int) -> None:
    """Uploads are deleted, and the job is forgotten."""
    desk.write(a=pdf(1), large=LARGE)
    await cancelled_at(desk, step, count)
    assert ([], [], []) == (await desk.stored(), await desk.jobs(), desk.outputs())
    with pytest.raises(ClientError, match="no batch job is under way here"):
        await desk.resume()


@pytest.mark.parametrize("step", ["ordering", "taken", "ordered", "fetched", "written", "stored", "deleted"])
async def test_interrupted_after_the_order_it_goes_on(desk: Desk, step: str) -> None:
    """Resuming completes it, by the options with which it was ordered; it was ordered once."""
    desk.write(a=pdf(1), large=LARGE)
    await cancelled_at(desk, step)
    settings, desk.overrides = desk.overrides, {"asked": OcrOptions("another"), "overwrite": True, "out": Path("/nowhere")}
    await desk.resume()
    await assert_complete(desk, step, 0)
    desk.overrides = settings
    assert 2 == (await desk.begin()).sums.skipped


async def test_a_job_under_way_admits_no_other(desk: Desk) -> None:
    """The message says how to go on with it."""
    desk.write(a=pdf(1))
    await cancelled_at(desk, "ordered")
    with pytest.raises(
        ClientError, match=r"a batch job is under way\.\n  Fetch its results first: passthrough ocr --batch --resume /"
    ):
        await desk.begin()
    assert 1 == len(await desk.jobs())


async def test_a_job_is_resumed_where_it_was_ordered(tmp_path: Path, desk: Desk) -> None:
    """Another API does not know it; nothing is deleted there."""
    desk.write(a=pdf(1))
    await cancelled_at(desk, "ordered")
    async with desk_at(tmp_path) as other:
        for attempt in (other.resume, other.begin):
            with pytest.raises(ClientError, match=f"of another API.\n  Go on with it: add --base-url {desk.caller.base}"):
                await attempt()
    assert 1 == (await desk.resume()).sums.done


async def test_folders_that_a_killed_run_left_go_with_the_job(desk: Desk) -> None:
    """A run that is killed between a document's line in the manifest and its end leaves its folder of work."""
    desk.write(a=pdf(1))
    await cancelled_at(desk, "ordered")
    left = claim(Place(desk.out, "b", "../in/b.pdf"))
    left.prepare(None, "options")
    left.leave()
    assert 1 == (await desk.resume()).sums.done
    assert [MANIFEST] == [path.name for path in desk.out.glob(".*")]


async def test_inputs_may_change_and_go_while_the_job_runs(desk: Desk) -> None:
    """The results are those of what was ordered; what is there now is done by the next run."""
    desk.write(changed=pdf(1), gone=pdf(1))
    await cancelled_at(desk, "ordered")
    desk.write(changed=pdf(2))
    (desk.folder / "in/gone.pdf").unlink()
    assert 2 == (await desk.resume()).sums.done
    assert (1, 2) == ((heard := await desk.begin()).sums.done, heard.sums.pages)


@asynccontextmanager
async def troubled(desk: Desk, trouble: Trouble) -> AsyncIterator[None]:
    """Put a front before the API of a desk, which does to the calls what `trouble` says. Its job stays where it was ordered."""
    plain = desk.caller
    async with front_of(plain, trouble) as caller:
        desk.caller = caller
        yield
    desk.caller = plain


def on(method: str, end: str, make: Callable[[Forward], Any]) -> Trouble:
    """Return a trouble with calls of a method whose path has this end; the others pass."""

    async def trouble(request: web.Request, forward: Forward) -> web.Response | None:
        if request.method == method and request.path.endswith(end):
            made: web.Response | None = await make(forward)
            return made
        return await forward()

    return trouble


async def lost(forward: Forward) -> None:
    """Let a request arrive, and its response be lost."""
    await forward()


async def never(forward: Forward) -> None:
    """Cut the connection: the request has not arrived."""


def refused(status: int) -> Callable[[Forward], Any]:
    """Return what refuses a request."""

    async def make(forward: Forward) -> web.Response:
        return web.json_response({"message": f"said {status}"}, status=status)

    return make


async def test_what_was_paid_for_is_not_ordered_again(desk: Desk) -> None:
    """Responses that a run without a batch has left are used, for a document's parts that it got."""
    desk.overrides = {"limits": Limits(max_pages=2), "workers": 1}
    desk.write(long=pdf(6))
    calls = 0

    async def third_fails(forward: Forward) -> web.Response:
        nonlocal calls
        calls += 1
        return await (forward() if calls < 3 else refused(400)(forward))  # type: ignore[no-any-return]

    async with troubled(desk, on("POST", "/v1/ocr", third_fails)):
        failed = await desk.run()
    assert (["long.pdf"], 4) == (list(failed.failures), failed.sums.pages)
    heard = await desk.begin()
    assert ({}, 2, [1]) == (heard.failures, heard.sums.pages, [each["total_requests"] for each in await desk.jobs()])
    assert all(f"This is page {page} of" in (desk.out / "long.md").read_text() for page in range(6))


async def test_an_order_whose_response_is_lost_is_found(desk: Desk) -> None:
    """By its token: it is not ordered again."""
    desk.write(a=pdf(1), large=LARGE)
    async with troubled(desk, on("POST", "/v1/batch/jobs", lost)):
        assert 2 == (await desk.begin()).sums.done
    await assert_complete(desk, "lost", 0)


@pytest.mark.parametrize(("make", "is_cut_off"), [(lost, True), (never, True), (never, False)])
async def test_an_order_that_is_not_known_to_have_arrived_is_looked_for_first(desk: Desk, make: Any, is_cut_off: bool) -> None:
    """Maybe the API is gone in that moment: all is kept, and resuming orders it only where it had not arrived."""
    desk.write(a=pdf(1), large=LARGE)
    is_first, is_gone = True, False

    async def trouble(request: web.Request, forward: Forward) -> web.Response | None:
        nonlocal is_first, is_gone
        if is_first and (request.method, request.path) == ("POST", "/v1/batch/jobs"):
            is_first, is_gone = False, is_cut_off
            made: web.Response | None = await make(forward)
            return made
        return None if is_gone else await forward()

    async with troubled(desk, trouble):
        with pytest.raises(
            ClientError, match=r"Whether the job is ordered is not known\. To look for it: passthrough ocr --batch"
        ):
            await desk.begin()
        is_gone = False
        assert 2 == (await desk.resume()).sums.done
    await assert_complete(desk, "gone", 0)


@pytest.mark.parametrize(
    ("method", "end", "status"), [("POST", "/v1/batch/jobs", 422), ("POST", "/v1/batch/jobs", 401), ("POST", "/v1/files", 401)]
)
async def test_an_order_that_is_refused_leaves_nothing(desk: Desk, method: str, end: str, status: int) -> None:
    """The reason is the API's; what was uploaded is deleted, and the job is forgotten."""
    desk.write(a=pdf(1), large=LARGE)
    async with troubled(desk, on(method, end, refused(status))):
        with pytest.raises(ClientError, match=f"said {status}"):
            await desk.begin()
        with pytest.raises(ClientError, match="no batch job is under way here"):
            await desk.resume()
    assert ([], [], []) == (await desk.stored(), await desk.jobs(), desk.outputs())


async def test_a_document_whose_upload_is_refused_is_left_out(desk: Desk) -> None:
    """The others are ordered."""
    desk.write(a=pdf(1), large=LARGE)
    calls = 0

    async def first_fails(forward: Forward) -> Any:
        nonlocal calls
        calls += 1
        return await (refused(413)(forward) if calls == 1 else forward())

    async with troubled(desk, on("POST", "/v1/files", first_fails)):
        heard = await desk.begin()
    assert ({"large.pdf": "The API refused it (413): said 413."}, 1, 2) == (heard.failures, heard.sums.done, heard.expected)
    assert [1] == [each["total_requests"] for each in await desk.jobs()]


@pytest.mark.parametrize("part", ["/content", "/v1/batch/jobs/"])
async def test_results_that_cannot_be_fetched_stay_at_the_api(desk: Desk, part: str) -> None:
    """What is known of the job is kept, and the next try fetches them; the message says how to give up, too."""
    desk.write(a=pdf(1))
    is_gone = True

    async def trouble(request: web.Request, forward: Forward) -> Any:
        is_meant = is_gone and request.method == "GET" and part in request.path
        return await (refused(404)(forward) if is_meant else forward())

    async with troubled(desk, trouble):
        with pytest.raises(ClientError, match=rf"(?s)said 404.*To go on: passthrough ocr .*To give the job up, remove .*{NAME}"):
            await desk.begin()
        is_gone = False
        assert 1 == (await desk.resume()).sums.done


@pytest.mark.parametrize("status", ["FAILED", "CANCELLED", "TIMEOUT_EXCEEDED"])
async def test_a_job_that_fails_as_a_whole_fails_its_documents(desk: Desk, status: str) -> None:
    """Each says what the API says of the job; they can be ordered again."""
    desk.write(a=pdf(1), b=pdf(1))

    async def ended(forward: Forward) -> Any:
        value = json.loads((await forward()).body)
        errors = [{"message": "no room.", "count": 2}]
        return web.json_response({**value, "status": status, "output_file": None, "error_file": None, "errors": errors})

    async def trouble(request: web.Request, forward: Forward) -> Any:
        return await (ended(forward) if "/v1/batch/jobs/" in request.path else forward())

    async with troubled(desk, trouble):
        heard = await desk.begin()
    why = f"The batch job ended early, as {status}, and has no result for it. no room."
    assert ({"a.pdf": why, "b.pdf": why}, 0) == (heard.failures, heard.sums.pages)
    assert [] == desk.outputs()
    assert 2 == (await desk.begin()).sums.done


async def test_a_document_without_a_result_fails_alone(desk: Desk) -> None:
    """Its line is missing in the results of a job that succeeded, by whose count it was not done either."""
    desk.write(a=pdf(1), b=pdf(1))

    async def trouble(request: web.Request, forward: Forward) -> Any:
        made = await forward()
        if request.path.endswith("/content"):
            return web.Response(body=made.body.splitlines(keepends=True)[0])
        return web.json_response({**json.loads(made.body), "succeeded_requests": 1}) if is_asked(request) else made

    async with troubled(desk, trouble):
        heard = await desk.begin()
    assert ({"b.pdf": "The results of the batch job have no line for it."}, 1) == (heard.failures, heard.sums.done)
    assert [] == await desk.stored()


@pytest.mark.parametrize("is_named", [True, False])
async def test_results_that_come_short_stay_at_the_api(desk: Desk, is_named: bool) -> None:
    """The job did more than its file has, or names no file yet: nothing that was paid for is deleted, and resuming gets it."""
    desk.write(a=pdf(1), b=pdf(1))
    is_short = True

    async def trouble(request: web.Request, forward: Forward) -> Any:
        made = await forward()
        if is_short and request.path.endswith("/content"):
            return web.Response(body=made.body[: -len(made.body) // 4])
        is_hidden = is_short and not is_named and is_asked(request)
        return web.json_response({**json.loads(made.body), "output_file": None}) if is_hidden else made

    async with troubled(desk, trouble):
        with pytest.raises(ClientError, match=r"(?s)could not be kept here.*To go on: .*To give the job up, remove "):
            await desk.begin()
        assert [is_named, False] == [(desk.out / f"{name}.md").exists() for name in "ab"]
        is_short = False
        heard = await desk.resume()
    assert ({}, 2) == (heard.failures, heard.sums.done + heard.sums.skipped)
    assert ([".passthrough-ocr.jsonl", "a.md", "b.md"], []) == (desk.outputs(), await desk.stored())
    assert 1 == len(await desk.jobs())


async def test_what_was_written_meanwhile_needs_no_result(desk: Desk) -> None:
    """Another run has finished the documents: whatever their results are, they stay as they are."""
    desk.write(a=pdf(1), b=pdf(1))

    async def odd(forward: Forward) -> Any:
        first, second = (json.loads(line) for line in (await forward()).body.splitlines())
        first["response"]["body"], second["response"]["status_code"] = {}, 500
        return web.Response(body="".join(json.dumps(each) + "\n" for each in (first, second)))

    async with troubled(desk, on("GET", "/content", odd)):
        await cancelled_at(desk, "ordered")
        assert 2 == (await desk.run()).sums.done
        heard = await desk.resume()
    assert ({}, 2, 0) == (heard.failures, heard.sums.skipped, heard.sums.pages)
    assert ([".passthrough-ocr.jsonl", "a.md", "b.md"], []) == (desk.outputs(), await desk.stored())


async def test_files_that_cannot_be_deleted_are_named(desk: Desk) -> None:
    """All outputs are there; the job is done."""
    desk.write(a=pdf(1))

    async def trouble(request: web.Request, forward: Forward) -> Any:
        return await (refused(403)(forward) if request.method == "DELETE" else forward())

    async with troubled(desk, trouble):
        with pytest.raises(ClientError, match="Files of the batch could not be deleted at the provider: "):
            await desk.begin()
    assert ([".passthrough-ocr.jsonl", "a.md"], 2) == (desk.outputs(), len(await desk.stored()))


async def test_a_result_that_cannot_be_kept_stays_at_the_api(desk: Desk) -> None:
    """Another run is at work on the document: its result is fetched again afterwards, and the others are there already."""
    desk.write(a=pdf(1), b=pdf(1))
    await cancelled_at(desk, "ordered")
    with claim(Place(desk.out, "a", "../in/a.pdf"), Manifest.of(desk.out)):
        with pytest.raises(ClientError, match=r"1 result could not be kept here, and stays at the provider\."):
            await desk.resume()
        assert (True, False) == ((desk.out / "b.md").exists(), (desk.out / "a.md").exists())
    heard = await desk.resume()
    assert (1, 1, 2) == (heard.sums.done, heard.sums.skipped, heard.sums.pages)
    assert ([".passthrough-ocr.jsonl", "a.md", "b.md"], []) == (desk.outputs(), await desk.stored())


async def test_a_place_that_was_given_away_is_replaced(desk: Desk) -> None:
    """A run without a batch has written another document there meanwhile."""
    desk.write(a=pdf(1))
    await cancelled_at(desk, "ordered")
    (desk.folder / "in/a.pdf").rename(desk.folder / "a.pdf")
    manifest = Manifest.of(desk.out)
    (desk.out / "a.md").write_text("another")
    manifest.add(Finished("another.pdf", "a", "0" * 64, "f", {"a.md": sha256_of(desk.out / "a.md")}, "t"))
    heard = await desk.resume()
    assert ({}, 1) == (heard.failures, heard.sums.done)
    assert ("another", [".passthrough-ocr.jsonl", "a.md", "a.pdf.md"]) == ((desk.out / "a.md").read_text(), desk.outputs())


async def test_a_url_is_ordered_as_it_is(desk: Desk) -> None:
    """The API fetches it; the sandbox does not, and says so."""
    desk.urls = ["https://host.example/a/report.pdf"]
    heard = await desk.begin()
    assert (["report.pdf"], None) == (list(heard.failures), heard.pages)
    assert "could not be fetched" in heard.failures["report.pdf"]


async def test_a_document_that_is_paid_for_as_a_whole_is_only_written(desk: Desk) -> None:
    """An earlier run could not write its outputs: nothing is ordered."""
    desk.write(a=pdf(1))
    await cancelled_at(desk, "fetched")
    response = next(iter(read_results(desk.out / NAME / "results-0.jsonl").values()))
    with claim(Place(desk.out, "a", "../in/a.pdf"), Manifest.of(desk.out)) as work:
        work.prepare(sha256_of(desk.folder / "in/a.pdf"), desk.settings.fingerprint, asked=desk.settings.paid_fingerprint)
        response.store(work.response_path(0))
    desk.home = desk.folder / "another"
    heard = await desk.begin()
    assert (1, 0, 1) == (heard.sums.done, heard.sums.pages, len(await desk.jobs()))


def pipe(path: Path) -> None:
    """Make a pipe, which nobody writes."""
    os.mkfifo(path)


def folder(path: Path) -> None:
    """Make a folder with something in it."""
    path.mkdir()
    (path / "x").write_text("x")


def link(path: Path) -> None:
    """Make a link to a file of the system's."""
    path.symlink_to("/etc/passwd")


NO_RESPONSES = [*(partial(Path.write_bytes, data=data) for data in (b'{"pages": null}', b"null", b"")), pipe, folder, link]


@pytest.mark.parametrize("make", NO_RESPONSES)
async def test_what_is_no_response_is_sent_for_once(desk: Desk, make: Callable[[Path], object]) -> None:
    """A call pays for it, once: it is not in the way of its response."""
    desk.write(a=pdf(1))
    with claim(Place(desk.out, "a", "../in/a.pdf"), Manifest.of(desk.out)) as work:
        work.prepare(sha256_of(desk.folder / "in/a.pdf"), desk.settings.fingerprint, asked=desk.settings.paid_fingerprint)
        make(work.response_path(0))
    heard = await desk.run()
    assert ({}, 1, 1) == (heard.failures, heard.sums.done, heard.sums.pages)


@pytest.mark.parametrize("make", NO_RESPONSES)
async def test_a_stored_response_without_pages_is_ordered_again(desk: Desk, make: Callable[[Path], object]) -> None:
    """By the job, at half the price: it is not sent beside it, and does not fail its document for good."""
    desk.write(a=pdf(1))
    with claim(Place(desk.out, "a", "../in/a.pdf"), Manifest.of(desk.out)) as work:
        work.prepare(sha256_of(desk.folder / "in/a.pdf"), desk.settings.fingerprint, asked=desk.settings.paid_fingerprint)
        make(work.response_path(0))
    heard = await desk.begin()
    assert ({}, 1, 1) == (heard.failures, heard.sums.done, heard.sums.pages)
    assert [1] == [each["total_requests"] for each in await desk.jobs()]


async def test_a_full_disk_keeps_the_results_at_the_api(desk: Desk) -> None:
    """Those of which there is no room, and all of them where they cannot even be fetched; with room, all are written."""
    desk.write(a=pdf(1), long=pdf(600))
    with small_disk(desk.out):
        desk.home = desk.folder / "home"
        await cancelled_at(desk, "ordered")
        filler = filled(desk.out)
        os.truncate(filler, filler.stat().st_size - 60_000)
        with pytest.raises(ClientError, match=r"1 result could not be kept here, and stays at the provider\."):
            await desk.resume()
        assert (True, False) == ((desk.out / "a.md").exists(), (desk.out / "long.md").exists())
        shutil.copytree(desk.home / NAME, desk.out / NAME, ignore=shutil.ignore_patterns("results-*", "response*"))
        desk.home = None
        filled(desk.out)
        with pytest.raises(ClientError, match=r"No space left(?s:.)*To go on: passthrough ocr --batch --resume"):
            await desk.resume()
        filler.unlink()
        assert (1, 1) == ((heard := await desk.resume()).sums.done, heard.sums.skipped)
        assert [] == await desk.stored()


async def test_a_disk_without_room_for_the_lines_orders_nothing(desk: Desk) -> None:
    """What was uploaded until then is deleted; the message says what is missing."""
    desk.overrides = {"upload_above": 1_500_000}
    desk.write(a=pdf(1) + b"%" + b"x" * 2_000_000, b=pdf(1) + b"%" + b"x" * 1_200_000)
    with small_disk(desk.out):
        with pytest.raises(ClientError, match=r"the batch cannot be kept here: No space left on device\.(?s:.*)Make space"):
            await desk.begin()
        assert ([], [], []) == (await desk.stored(), await desk.jobs(), desk.outputs())


async def test_uploads_that_cannot_be_deleted_now_are_deleted_by_the_next_run(desk: Desk) -> None:
    """The order was refused, and then the API was gone."""
    desk.write(large=LARGE)
    is_gone = True

    async def trouble(request: web.Request, forward: Forward) -> Any:
        if request.path == "/v1/batch/jobs":
            return await refused(422)(forward)
        return None if is_gone and request.method == "DELETE" else await forward()

    async with troubled(desk, trouble):
        with pytest.raises(ClientError, match="said 422"):
            await desk.begin()
        assert 2 == len(await desk.stored())
        is_gone = False
        with pytest.raises(ClientError, match="was not ordered yet, and nothing was billed"):
            await desk.resume()
    assert ([], False) == (await desk.stored(), (desk.out / NAME).exists())


@pytest.mark.parametrize("status", [200, 400])
async def test_an_upload_that_cannot_be_deleted_is_said(desk: Desk, status: int) -> None:
    """By a run without a batch, whether the document fails or not: it lies at the provider, until the next run deletes it."""
    desk.write(large=LARGE)
    is_kept = True

    async def trouble(request: web.Request, forward: Forward) -> Any:
        if is_kept and request.method == "DELETE":
            return await refused(403)(forward)
        return await (refused(status)(forward) if status != 200 and request.path == "/v1/ocr" else forward())

    async with troubled(desk, trouble):
        (result,) = (await desk.run()).results
        assert 1 == len(await desk.stored())
        is_kept = False
        (again,) = (await desk.run()).results
    assert status == (400 if result.failure is not None else 200)
    assert 1 == len([each for each in result.notes if "could not be deleted at the provider" in each])
    assert ((), []) == (again.notes, await desk.stored())


async def test_a_folder_without_a_job_is_none(desk: Desk) -> None:
    """Whatever is in it."""
    (desk.out / NAME).mkdir(parents=True)
    with pytest.raises(ClientError, match="no batch job is under way here"):
        await desk.resume()


async def test_an_api_of_one_call_runs_no_batch(desk: Desk) -> None:
    """Its URL is that of the call: there are no files."""
    desk.write(a=pdf(1))
    desk.caller = Caller(desk.caller.session, f"{desk.caller.base}/v1/ocr")
    with pytest.raises(ClientError, match="takes no files, and so no batch jobs"):
        await desk.begin()


@pytest.mark.faults
@pytest.mark.slow
async def test_killed_at_any_step_it_is_ordered_once_and_finished(tmp_path: Path) -> None:
    """Between ordering and noting the job, too: what comes next, resumed or begun, completes it, and leaves nothing behind."""
    async with desk_at(tmp_path / "none") as first:
        steps = await killed_steps(tmp_path, first)
    assert {"preparing", "uploaded", "planned", "ordering", "taken", "ordered", "fetched", "written", "stored", "deleted"} == {
        *steps
    }


async def killed_steps(folder: Path, first: Desk) -> list[str]:
    """Kill a run at its first step, another at its second and so on, and see each finished; return the names of the steps."""
    steps: list[str] = []
    while True:
        desk = Desk(folder / str(len(steps)), first.caller)
        desk.folder.mkdir(parents=True)
        desk.write(a=pdf(1), large=LARGE)
        ordered_before = len(await desk.jobs())
        last = await begun_and_killed(desk.folder, desk.caller.base, len(steps))
        if last is None:
            return steps
        steps.append(last)
        if last in {"preparing", "uploaded", "planned"}:
            with pytest.raises(ClientError, match="was not ordered yet"):
                await desk.resume()
            heard = await desk.begin()
        else:
            heard = await desk.resume()
        await assert_complete(desk, last, ordered_before)
        assert last in {"stored", "deleted"} or (3, 3, 0) == (heard.sums.pages, heard.sums.cost_nano, heard.sums.failed), last


async def assert_complete(desk: Desk, last: str, ordered_before: int) -> None:
    """Assert that one job was ordered, all outputs are there, and nothing else is anywhere."""
    assert ordered_before + 1 == len(await desk.jobs()), last
    assert [".passthrough-ocr.jsonl", "a.md", "large.md"] == desk.outputs(), last
    assert [] == await desk.stored(), last

"""Carries out a command line of `passthrough ocr`, and returns its exit code."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path, PurePath
from typing import Final

from ...client.api.connection import DEFAULT_BASE, Connection, Endpoint
from ...client.batch.folder import ORDER_UNKNOWN, claim, home_of, resume_command
from ...client.batch.run import begin, resume
from ...client.batch.state import Phase
from ...client.documents import Document
from ...client.errors import ClientError, DocumentError
from ...client.inputs.discovery import Found, find
from ...client.output.disk import explained
from ...client.output.manifest import Manifest, Manifests
from ...client.output.places import Place, places
from ...client.output.work_folder import abandoned, claim_temporary
from ...client.pdf.pdfium import check_installed
from ...client.rendering.rendered import check_libraries
from ...client.runs.document_run import RunContext
from ...client.runs.plan import plan
from ...client.runs.results import DocumentResult
from ...client.runs.run import run
from ...client.runs.settings import RESELLERS, RunSettings
from ...client.runs.stored import stored_response, stored_result
from ...client.shown import shown
from .. import standard_streams
from ..exits import EXIT_INTERRUPTED, EXIT_OTHER
from ..terminal import show, width_of
from .choices import Choices
from .estimate import Estimate, estimate_table
from .page_cost import page_cost
from .progress import Reporter, number
from .stop_signals import Stopped, stop_signals, to_the_end

_MAX_NAMED: Final = 3  # inputs in a message
_GOES_ON: Final = {
    Phase.ORDERING: ORDER_UNKNOWN,
    Phase.ORDERED: "The job goes on at the provider. Fetch its results later:",
}


@dataclass(frozen=True, slots=True)
class _Order:
    """A command line with its documents, each with its place (None: stdout), and what could not be read."""

    choices: Choices
    settings: RunSettings
    endpoint: Endpoint
    manifests: Manifests
    documents: tuple[tuple[Document, Place | None], ...]
    failed: tuple[DocumentResult, ...]


def execute(choices: Choices, config: str) -> int:
    """Return the exit code: 0, 1 where a document failed, 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP.

    Raises ClientError, ConfigError.
    """
    with stop_signals():
        try:
            with ExitStack() as temporary:
                return _executed(choices, config, temporary)
        except KeyboardInterrupt:
            _say_stopped("Interrupted", choices)
            return EXIT_INTERRUPTED
        except Stopped as stopped:
            _say_stopped("Stopped", choices)
            return 128 + stopped.number


def _executed(choices: Choices, config: str, temporary: ExitStack) -> int:
    check_libraries(choices.rendered)
    endpoint = Endpoint.of(choices.flags.base_url or DEFAULT_BASE, choices.flags.api_key)
    settings = _settings(choices, config, endpoint)
    manifests = cache(Manifest.of)
    if choices.flags.stored is not None:
        return _rendered(stored_response(Path(choices.flags.stored)), manifests, settings)
    check_installed()
    if choices.flags.resume:
        return to_the_end(partial(_run, _Order(choices, settings, endpoint, manifests, (), ())))
    found = find(choices.inputs, partial(_stdin, temporary), lambda path: manifests(path.parent).is_output(path))
    order = _ordered(choices, settings, endpoint, manifests, found)
    if choices.flags.dry_run:
        return _estimated(order)
    return to_the_end(partial(_run, order))


def _rendered(document: Document, manifests: Manifests, settings: RunSettings) -> int:
    with Reporter((document,) if settings.to_stdout else None) as reporter:
        reporter.expect(1, 0)
        reporter.end(stored_result(document, manifests, settings))
    return _code(reporter)


def _code(reporter: Reporter) -> int:
    """Return the exit code of a run that came to its end. Raises what made stdout take no more."""
    if reporter.gone is not None:
        raise reporter.gone
    return EXIT_OTHER if reporter.sums.failed else 0


def _settings(choices: Choices, config: str, endpoint: Endpoint) -> RunSettings:
    flags = choices.flags
    settings = RunSettings(
        choices.asked,
        choices.rendered,
        page_cost(config, endpoint.authority),
        out=choices.out,
        to_stdout=choices.to_stdout,
        overwrite=flags.overwrite,
        workers=flags.workers,
        is_sandbox=flags.sandbox,
    )
    if endpoint.is_reseller:
        settings = replace(settings, limits=RESELLERS)
    if flags.max_pages is not None:
        settings = replace(settings, limits=replace(settings.limits, max_pages=flags.max_pages))
    return settings


def _stdin(temporary: ExitStack) -> Path:
    """Copy stdin into a file, in a folder that goes with `temporary`. Raises ClientError for a terminal, which has no document.

    What killed runs left of theirs is removed.
    """
    if sys.stdin.isatty():
        raise ClientError("stdin is the terminal: there is no document in it.\n  Send one: passthrough ocr - < invoice.pdf")
    work = temporary.enter_context(claim_temporary())
    for left in abandoned(work.path.parent):
        left.release()
    work.prepare(None, "")
    path = work.path / "stdin"
    with explained(path), path.open("wb") as file:
        shutil.copyfileobj(sys.stdin.buffer, file, 1 << 20)
    return path


def _ordered(choices: Choices, settings: RunSettings, endpoint: Endpoint, manifests: Manifests, found: Found) -> _Order:
    if found.left_out:
        standard_streams.say(f"{number(found.left_out, 'other file')} left out: no documents by their content.")
    if not found.documents and not found.failed:
        names = ", ".join(map(shown, choices.inputs[:_MAX_NAMED])) + ("…" if len(choices.inputs) > _MAX_NAMED else "")
        raise ClientError(
            f"There is no document in {names}.\n  Name a file, a folder with documents in it, or a URL; text by its end: '*.md'."
        )
    placed: Sequence[Place | None] = [None] * len(found.documents)
    if not choices.to_stdout:
        placed = places(found.documents, choices.out, manifests)
    failed = tuple(DocumentResult(Document(name, PurePath(name)), failure=why) for name, why in found.failed)
    return _Order(choices, settings, endpoint, manifests, tuple(zip(found.documents, placed, strict=True)), failed)


def _estimated(order: _Order) -> int:
    estimates = [Estimate(result.document, None, failure=result.failure) for result in order.failed]
    for document, place in order.documents:
        try:
            item = plan(document, place, order.manifests, order.settings)
            estimates.append(Estimate(document, item.pages, is_finished=item.is_finished))
        except DocumentError as error:
            estimates.append(Estimate(document, None, failure=error))
    with standard_streams.printing():
        width = width_of(sys.stdout)
        name_width = None if width is None else max(width // 2, 20)  # cells; the other half is for figures and remarks
        show(estimate_table(estimates, order.settings, in_batch=order.choices.flags.batch, name_width=name_width))
    return EXIT_OTHER if any(each.failure is not None for each in estimates) else 0


async def _run(order: _Order, stop: Callable[[], object]) -> int:
    texts = tuple(document for document, _ in order.documents) if order.choices.to_stdout else None
    reporter = Reporter(texts, on_gone=stop, is_sandbox=order.choices.flags.sandbox)
    try:
        async with _endpoint(order) as endpoint, Connection(endpoint) as connection:
            with reporter:
                reporter.expect(len(order.failed), 0)
                for result in order.failed:
                    reporter.end(result)
                try:
                    await _work(order, RunContext(order.settings, connection, reporter, order.manifests))
                finally:
                    _say_abandoned(connection.abandoned)
    except asyncio.CancelledError:
        if order.choices.flags.batch:
            _say_how_to_resume(_home(order.choices))
        if reporter.gone is None:
            raise
    return _code(reporter)


async def _work(order: _Order, context: RunContext) -> None:
    if order.choices.flags.resume:
        await resume(context, _home(order.choices))
    elif order.choices.flags.batch:
        await begin(
            [(document, place) for document, place in order.documents if place is not None], context, _home(order.choices)
        )
    else:
        await run(order.documents, context)


def _say_abandoned(count: int) -> None:
    """Say what the sums do not have: calls whose response was not waited for. The next run sends them again."""
    if count:
        calls, they, them = ("1 call was", "it", "it") if count == 1 else (f"{count:,} calls were", "they", "them")
        standard_streams.say(
            f"{calls} sent, and had no whole response yet: {they} may be billed. The next run sends {them} again."
        )


def _home(choices: Choices) -> Path:
    return home_of(choices.out, choices.inputs)


def _say_how_to_resume(home: Path) -> None:
    """Say what of a job goes on at the provider, and how its results are fetched."""
    with suppress(ClientError), claim(home) as folder:
        state = folder.state()
        if state is None:
            return
        command = resume_command(home, state.base_url)
        if state.phase in _GOES_ON:
            standard_streams.say(f"{_GOES_ON[state.phase]}\n  {command}")
        elif state.uploads or state.results:
            standard_streams.say(f"Files of the batch may still be at the provider. To delete them:\n  {command}")


@asynccontextmanager
async def _endpoint(order: _Order) -> AsyncIterator[Endpoint]:
    """Yield the API to ask: the one that is named, or a sandbox in this process."""
    if not order.choices.flags.sandbox:
        yield order.endpoint
        return
    from ...sandbox import start  # noqa: PLC0415 - an optional extra

    running = await start("127.0.0.1", 0)
    try:
        yield Endpoint.of(f"http://{running.host}:{running.port}", None)
    finally:
        await running.close()


def _say_stopped(how: str, choices: Choices) -> None:
    if choices.flags.batch:
        standard_streams.say(f"{how}.")
    elif choices.to_stdout:
        standard_streams.say(f"{how}. Documents for stdout are not kept: the next run sends them again, and is billed again.")
    else:
        standard_streams.say(f"{how}: nothing is half-written, and the next run goes on.")

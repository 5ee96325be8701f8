"""Runs documents as one batch job: orders it, watches it, finishes it, and goes on with one that an earlier run has ordered."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from ..errors import ClientError, DocumentError
from ..output.disk import Step, no_step
from ..runs.document_run import RunContext
from ..shown import shown
from ..threads import in_thread
from .finish import clear, finish
from .folder import NAME, BatchFolder, claim, read_order
from .job_state import JobState
from .order import Documents, order, place_order
from .state import BatchOrder, BatchState, Phase
from .watch import ended


async def begin(documents: Documents, context: RunContext, home: Path, step: Step = no_step) -> None:
    """Order documents as one job, watch it, and write its results; the listener hears what comes of each.

    The job is kept in `home` (`folder.home_of`). A cancellation before the order leaves nothing at the provider; after it the job
    goes on, for `resume`. `step` is called after each step. Raises ClientError, also where a job is under way in `home`.
    """
    with claim(home) as folder:
        state = await in_thread(folder.state)
        job = JobState(folder, state or BatchState(context.connection.endpoint.shown), step)
        _check_api(job.value, folder, context)
        if job.value.phase in {Phase.ORDERING, Phase.ORDERED}:
            raise ClientError(f"{shown(home)}: a batch job is under way.\n  Fetch its results first: {job.resume_command}")
        await clear(job, context)  # what a killed run left
        ordered = await order(documents, job, context)
        if ordered is not None:
            await _to_the_end(ordered, job, context)


async def resume(context: RunContext, home: Path) -> None:
    """Go on with the job that is kept in `home`, by the options with which it was ordered.

    Raises ClientError, also where there is none.
    """
    if not (home / NAME).is_dir():
        raise _nothing_in(home)
    with claim(home) as folder:
        state, ordered = await in_thread(folder.state), await in_thread(partial(read_order, home))
        if state is None:
            raise _nothing_in(home)
        _check_api(state, folder, context)
        job = JobState(folder, state)
        if ordered is not None and state.phase in {Phase.ORDERING, Phase.ORDERED}:
            await _resumed(ordered, job, _as_ordered(ordered, context))
            return
        await clear(job, context)
        if state.phase is not Phase.STORED:
            raise ClientError(
                f"{shown(home)}: the job was not ordered yet, and nothing was billed.\n  Order it: leave --resume out."
            )


async def _resumed(ordered: BatchOrder, job: JobState, context: RunContext) -> None:
    context.listener.expect(len(ordered.documents), 0)
    for each in ordered.documents:
        context.listener.expect(0, each.pages)
    if job.value.phase is Phase.ORDERING:
        await place_order(ordered, job, context, is_first=False)
    await _to_the_end(ordered, job, context)


async def _to_the_end(ordered: BatchOrder, job: JobState, context: RunContext) -> None:
    assert job.value.job is not None
    try:
        await finish(ordered, await ended(job.value.job, context.connection, context.listener), job, context)
    except DocumentError as error:
        hint = f"To go on: {job.resume_command}\n  To give the job up, remove {shown(job.folder.path)}"
        raise ClientError(f"{error}\n  {hint}") from None


def _as_ordered(ordered: BatchOrder, context: RunContext) -> RunContext:
    """Return the context with the options of the order."""
    given = {name: getattr(ordered, name) for name in ("asked", "rendered", "limits", "out", "overwrite")}
    return replace(context, settings=replace(context.settings, **given))


def _check_api(state: BatchState, folder: BatchFolder, context: RunContext) -> None:
    """Raise ClientError where something lies at another API."""
    is_empty = state.phase is Phase.PREPARING and not state.uploads
    if state.base_url != context.connection.endpoint.shown and not is_empty:
        hint = f"Go on with it: add --base-url {state.base_url}\n  To give it up, remove {shown(folder.path)}"
        raise ClientError(f"The batch job here is of another API.\n  {hint}")


def _nothing_in(home: Path) -> ClientError:
    return ClientError(
        f"{shown(home)}: no batch job is under way here.\n  Name the folder for which it was ordered, or leave --resume out."
    )

"""Blocking work on a thread: its result, its failure, and what a cancellation waits for."""

from __future__ import annotations

import asyncio
import threading

import pytest

from passthrough.client.threads import in_thread, to_its_end


async def test_work_returns_and_raises_as_if_it_were_called() -> None:
    """The loop goes on meanwhile."""
    started = threading.Event()
    loop_turned = threading.Event()

    def work() -> str:
        started.set()
        assert loop_turned.wait(10)
        return "done"

    running = asyncio.ensure_future(in_thread(work))
    while not started.is_set():  # noqa: ASYNC110  # a thread sets no event of the loop's
        await asyncio.sleep(0.001)
    loop_turned.set()
    assert "done" == await running
    with pytest.raises(ZeroDivisionError):
        await in_thread(lambda: 1 // 0)


@pytest.mark.parametrize("fails", [False, True])
async def test_a_cancelled_caller_waits_for_the_thread(fails: bool) -> None:
    """Otherwise the thread would still write where its caller cleans up; a failure of the work gives way to the cancellation."""
    started, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        started.set()
        assert may_end.wait(10)
        ended.set()
        if fails:
            raise OSError

    told: list[None] = []
    running = asyncio.ensure_future(in_thread(work, on_stopped=told.append))
    while not started.is_set():  # noqa: ASYNC110  # a thread sets no event of the loop's
        await asyncio.sleep(0.001)
    for _ in range(2):
        running.cancel()
        await asyncio.sleep(0)
        assert not running.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (True, [] if fails else [None]) == (ended.is_set(), told)


async def test_a_cancelled_caller_waits_for_work_on_the_loop() -> None:
    """However often it is cancelled; the work itself is not."""
    begun, may_end, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def work() -> str:
        begun.set()
        await may_end.wait()
        ended.set()
        return "done"

    running = asyncio.ensure_future(to_its_end(work()))
    await begun.wait()
    for _ in range(2):
        running.cancel()
        await asyncio.sleep(0)
        assert not running.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert ended.is_set()
    assert "done" == await to_its_end(work())

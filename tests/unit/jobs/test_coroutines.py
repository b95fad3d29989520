"""The one loop of a process."""

import asyncio
import contextvars
import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

from longwave.jobs import coroutines


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    coroutines.close()


async def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


def test_every_coroutine_runs_on_the_same_loop_from_any_thread() -> None:
    loops = [coroutines.run(_loop())]
    thread = threading.Thread(target=lambda: loops.append(coroutines.run(_loop())))
    thread.start()
    thread.join()
    assert loops[0] is loops[1]


def test_what_a_job_opened_goes_on_living_between_jobs() -> None:
    ticks: list[int] = []

    async def start() -> asyncio.Event:
        seen = asyncio.Event()

        async def live() -> None:
            await asyncio.sleep(0.01)
            ticks.append(1)
            seen.set()

        seen.task = asyncio.create_task(live())  # type: ignore[attr-defined]
        return seen

    seen = coroutines.run(start())
    coroutines.run(asyncio.wait_for(seen.wait(), 2))
    assert ticks == [1]


def test_errors_and_context_pass_through() -> None:
    variable = contextvars.ContextVar("variable", default=0)
    variable.set(5)

    async def fail() -> None:
        raise KeyError(variable.get())

    with pytest.raises(KeyError, match="5"):
        coroutines.run(fail())


async def _exit() -> None:
    sys.exit(3)


async def _exit_beside() -> None:
    await asyncio.gather(asyncio.create_task(_exit()), return_exceptions=True)


async def _interrupt() -> None:
    raise KeyboardInterrupt


async def _stop_the_loop() -> None:
    asyncio.get_running_loop().stop()


@pytest.mark.parametrize("end", [_exit, _exit_beside, _interrupt, _stop_the_loop])
def test_a_job_that_wants_to_end_the_process_ends_no_loop_under_the_others(
    end: Callable[[], Coroutine[Any, Any, None]],
) -> None:
    loop, may_end = coroutines.run(_loop()), asyncio.Event()
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(lambda: coroutines.run(asyncio.wait_for(may_end.wait(), 5)))
        with suppress(SystemExit, KeyboardInterrupt):
            coroutines.run(end())
        loop.call_soon_threadsafe(may_end.set)
        assert other.result() is True
    assert coroutines.run(_loop()) is loop


def test_whoever_waits_for_a_coroutine_that_exits_is_told() -> None:
    with pytest.raises(SystemExit, match="3"):
        coroutines.run(_exit())


def test_a_time_limit_cancels_the_coroutine_before_the_next_one_starts() -> None:
    events: list[str] = []

    class TimeIsUp(Exception):
        pass

    def alarm(*_: object) -> None:
        raise TimeIsUp

    async def slow() -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        try:
            await asyncio.sleep(30)
        finally:
            events.append("ended")

    before = signal.signal(signal.SIGALRM, alarm)
    try:
        with pytest.raises(TimeIsUp):
            coroutines.run(slow())
    finally:
        signal.signal(signal.SIGALRM, before)
    assert events == ["ended"]


def test_running_a_coroutine_from_the_loop_is_refused_instead_of_waiting_for_ever() -> None:
    async def outer() -> None:
        coroutines.run(_loop())

    with pytest.raises(RuntimeError, match="must be awaited"):
        coroutines.run(outer())


def test_closing_cancels_what_is_left_and_the_next_run_has_a_new_loop() -> None:
    ended = threading.Event()

    async def forever() -> None:
        try:
            await asyncio.sleep(30)
        finally:
            ended.set()

    async def start() -> asyncio.Task[None]:
        task = asyncio.create_task(forever())
        await asyncio.sleep(0)
        return task

    old = coroutines.run(_loop())
    task = coroutines.run(start())
    coroutines.close()
    assert ended.is_set()
    assert task.cancelled()
    assert coroutines.run(_loop()) is not old


def test_a_forked_child_has_a_loop_of_its_own() -> None:
    coroutines.run(_loop())
    child = os.fork()
    if child == 0:
        try:
            coroutines.run(_loop())
        except BaseException:
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

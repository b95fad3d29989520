"""How a worker ends, or begins anew: its jobs have a while to end by themselves, then they are cut off.

What is cut off goes to other workers, and must not run here any more by then. A child can be killed, a thread cannot:
so the whole process becomes another program, which no thread survives, and that one gives the jobs back.
"""

import math
import os
import select
import signal
import struct
import sys
import threading
import time
from dataclasses import dataclass
from typing import NoReturn, Protocol

import psutil
import structlog
from celery.worker import state

from longwave import logs
from longwave.celery import HARD_LIMIT
from longwave.jobs import ringer, runner, stop

log_name = "longwave.jobs"
log = structlog.get_logger(log_name)

ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)

KILL_WITHIN = 3.0
LOOK_EVERY = 0.02

OUTLIVES_TERMINAL = "_LONGWAVE_OUTLIVES_TERMINAL"
"""In the environment of a worker that was started with nohup: what it runs next could not see it any more."""

ASKED_TO = "asked_to"

PATIENCE = float(HARD_LIMIT)
"""Seconds that jobs have to end where the worker itself finds that it has to begin anew: as long as any may run."""

_ORDER = struct.Struct("d")
"""How many seconds are left, as the thread hears it that sees to the end."""


@dataclass(frozen=True, slots=True)
class Return:
    """A worker that began anew. left: how the owners begin of what it may have left behind. why: an event's name."""

    left: str
    why: str

    @property
    def had_patience(self) -> bool:
        """Whether what it cut off, if anything, had run for longer than any job may: its own fault."""
        return self.why != ASKED_TO


class HandOver(Protocol):
    """Frees what the owners that begin so have left, in whom nothing runs any more. is_crash: it counts as one."""

    def __call__(self, prefix: str, *, is_crash: bool) -> object: ...


def hand_over_safely(hand_over: HandOver, prefix: str, *, is_crash: bool) -> None:
    """Hand over, and raise nothing: what cannot be freed now is free when its lease runs out."""
    try:
        hand_over(prefix, is_crash=is_crash)
    except Exception as error:
        log.error("jobs_not_given_back", why=str(error), then="their leases run out")


class Leaving:
    """The end of one worker. Made in its main process before anything tells it to stop."""

    def __init__(self, grace: float) -> None:
        self._grace = grace
        self._main = os.getpid()
        self._ends_with_terminal = _ends_with_terminal()
        self._heard, self._tell = os.pipe()
        self._stops = 0
        self._exit_code = 0
        self._restarts_for = ""
        self._last_word = threading.Lock()
        threading.Thread(target=self._see_to_it, name="longwave-leaving", daemon=True).start()

    @property
    def is_ordered(self) -> bool:
        """Whether it has been told to stop or to begin anew."""
        return self._stops > 0 or self._restarts_for != ""

    @property
    def is_decided(self) -> bool:
        """Whether it ends now: what runs is cut off, or nothing does. Children that die from now on are no crash."""
        return self._last_word.locked()

    def obey_signals(self) -> None:
        """SIGTERM, SIGINT: end; a second one, or SIGQUIT: at once. SIGHUP: begin anew, but in a terminal: end."""

        def obey(number: int, _: object) -> None:
            if os.getpid() != self._main:
                return  # a child that was forked a moment ago: the main process is told too, and decides
            if number == signal.SIGHUP and not self._ends_with_terminal:
                self.restart(ASKED_TO, within=self._grace)
                return
            self.stop()
            if number == signal.SIGQUIT:
                self.stop()

        for number in ENDING:
            signal.signal(number, obey)

    def stop(self, exit_code: int = 0) -> None:
        """End; told twice, at once. For signal handlers and threads. Outweighs every restart."""
        self._stops += 1
        self._exit_code = self._exit_code or exit_code
        if self._stops == 1:
            self._give(self._grace)
        elif self._stops == 2:
            logs.say_at_once(log_name, "Cold shutdown: running jobs are cut off")
            os.write(self._tell, _ORDER.pack(0))

    def restart(self, why: str, *, within: float = PATIENCE) -> None:
        """End, and begin anew with the same options in the same process. Nothing when it ends already."""
        if self._stops == 0:
            self._restarts_for = why
            self._give(within)

    def _give(self, seconds: float) -> None:
        logs.say_at_once(
            log_name, f"Warm shutdown: running jobs have up to {seconds:g} s to end, unless told again"
        )
        stop.request()
        state.should_stop = 0
        os.write(self._tell, _ORDER.pack(seconds))

    def end(self) -> int:
        """The worker has stopped, and nothing runs: the process' exit code, unless it begins anew."""
        if not self._last_word.acquire(blocking=False):
            threading.Event().wait()  # it is being cut off
        self._begin_anew()
        return self._exit_code

    def _see_to_it(self) -> None:
        """Wait for the end of the shortest time that was given."""
        deadline = math.inf
        while (left := deadline - time.monotonic()) > 0:
            if select.select([self._heard], [], [], None if left == math.inf else left)[0]:
                (seconds,) = _ORDER.unpack(os.read(self._heard, _ORDER.size))
                deadline = min(deadline, time.monotonic() + seconds)
        if self._last_word.acquire(blocking=False):
            self._cut_off()

    def _cut_off(self) -> NoReturn:
        try:
            log.warning("jobs_cut_off", then="they are given back, and run again from their last checkpoint")
            ringer.flush()
            _kill_children()
            self._begin_anew()
            signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)  # it lasts: the next program is to end its work
            code = ["--exit-code", str(self._exit_code)]
            _become(
                [sys.executable, "-m", "longwave", "return-work", "--left-by", runner.own_prefix(), *code]
            )
        except BaseException as error:
            log.error("jobs_not_given_back", why=str(error), then="their leases run out")
            os._exit(1)

    def _begin_anew(self) -> None:
        """Where that was ordered. Told to stop as late as now, it does not."""
        if self._restarts_for:
            _settle()
            came_back = {stop.CAME_BACK: f"{self._restarts_for} {runner.own_prefix()}"}
            if not self._stops:
                _execute(sys.orig_argv, came_back)


def came_back() -> Return | None:
    """Whether this process was a worker already that began anew. Says so once."""
    why, _, left = os.environ.pop(stop.CAME_BACK, "").partition(" ")
    return Return(left, why) if why else None


def _ends_with_terminal() -> bool:
    """Whether SIGHUP means that the terminal was closed which this process belongs to, wherever its output goes."""
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        os.environ[OUTLIVES_TERMINAL] = "1"
    return OUTLIVES_TERMINAL not in os.environ and _has_terminal()


def _has_terminal() -> bool:
    try:
        os.close(os.open(os.ctermid(), os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _kill_children() -> None:
    """SIGKILL to all that this process has started, until nothing of it lives."""
    deadline = time.monotonic() + KILL_WITHIN
    while living := _living_children():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{len(living)} processes cannot be killed")
        for child in living:
            try:
                child.kill()
            except psutil.Error:
                pass  # it was faster
        time.sleep(LOOK_EVERY)


def _bury_children() -> None:
    """The next program of this process would not know them, and let them lie."""
    try:
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass
    except ChildProcessError:
        pass  # none is left


def _living_children() -> list[psutil.Process]:
    found = []
    for child in psutil.Process().children(recursive=True):
        try:
            if child.status() != psutil.STATUS_ZOMBIE:
                found.append(child)
        except psutil.Error:
            continue  # it has just ended
    return found


def _become(command: list[str]) -> NoReturn:
    """Run another program in this process: no thread of this one survives, and its pid stays."""
    _settle()
    _execute(command, {})


def _settle() -> None:
    """What the next program would not know is put in order: dead children, open files."""
    _bury_children()
    for name in os.listdir("/dev/fd"):  # noqa: PTH208 - they are numbers
        if int(name) > 2:
            try:
                os.set_inheritable(int(name), False)
            except OSError:
                continue  # the listing's own


def _execute(command: list[str], environ: dict[str, str]) -> NoReturn:
    os.execve(sys.executable, command, {**os.environ, **environ})  # noqa: S606 - there is no shell

"""Starts a set of processes, keeps them running, and leaves none behind.

It knows processes, not Longwave: no Django, no Celery, no database. What the children are, `cli/up.py` says.
"""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from longwave.core.alarm import Alarm
from longwave.core.errors import LongwaveError
from longwave.ops import processes
from longwave.ops.output import Output

LOOK_EVERY = 0.05
"""Seconds between looks at the children."""

BACKOFF = (0.2, 5.0)
"""Seconds before a dead child is started again: the first time, and at most."""

HEALTHY_AFTER = 10.0
"""A child that lived this many seconds starts with the first pause again when it dies."""

READY_WITHIN = 20.0
STOP_WITHIN = (7.0, 8.5, 9.3)
"""Seconds after the order to stop at which each rank's families are killed. All is over within 10."""


class ChildTrouble(LongwaveError):
    """A process that everything else needs did not come up."""


@dataclass(frozen=True)
class Child:
    """One process to keep running.

    rank: when it is told to stop: 0 first (those who must hand their work over), 2 last (what others need).
    before: called before each start; is_ready: until it says True, the children after this one wait.
    holds_work: what it held when it died has to be returned by the supervisor's `return_work`.
    """

    name: str
    command: Sequence[str]
    rank: int = 1
    before: Callable[[], None] | None = None
    is_ready: Callable[[], bool] | None = None
    holds_work: bool = False


@dataclass
class _Seat:
    """A child's place: the process that has it now, or when the next one gets it. is_leaving: there will be none."""

    child: Child
    is_leaving: bool = False
    process: subprocess.Popen[bytes] | None = None
    record: processes.Record | None = None
    started: float = 0.0
    start_at: float = 0.0
    failures: int = 0


@dataclass(frozen=True, slots=True)
class Member:
    """A child as it is now. pid is None while it waits to be started; is_leaving: it was told to end for good."""

    name: str
    pid: int | None
    is_leaving: bool


@dataclass
class Supervisor:
    """Runs `setup` to its end, one after another, then keeps `children` running until it is told to stop.

    Which ones those are may change meanwhile (`keep`).

    run_folder: where `children.json` says what to clean up after this process was killed.
    return_work: from the pids of dead children that held work, the command that returns it to the others.
    hurry_after: seconds after the order to stop at which it is given again to those that still run.
    """

    children: Sequence[Child]
    run_folder: Path
    output: Output
    setup: Sequence[Child] = ()
    return_work: Callable[[list[int]], list[str]] | None = None
    on_ready: Callable[[], None] | None = None
    stop_within: Sequence[float] = STOP_WITHIN
    hurry_after: float | None = None
    seats: list[_Seat] = field(init=False)
    _errands: list[_Seat] = field(init=False, default_factory=list)
    _owed: list[processes.Record] = field(init=False, default_factory=list)
    _owed_until: float = field(init=False, default=0.0)
    _wanted: Sequence[Child] | None = field(init=False, default=None)
    _stop_orders: int = field(init=False, default=0)
    _woken: Alarm = field(init=False, default_factory=Alarm)

    def __post_init__(self) -> None:
        self.seats = [_Seat(child) for child in self.children]

    def stop(self) -> None:
        """Stop everything in good order; asked twice, at once. May be called from a signal handler."""
        self._stop_orders += 1
        self._woken.set()

    def keep(self, children: Sequence[Child]) -> None:
        """From now on keep these running. Others are asked to end once they have finished what they do, in their time.

        May be called from any thread. A name that is still leaving is started again when it has left.
        """
        self._wanted = tuple(children)
        self._woken.set()

    def members(self) -> list[Member]:
        """Every child there is now. May be called from any thread."""
        return [
            Member(seat.child.name, record.pid if (record := seat.record) else None, seat.is_leaving)
            for seat in list(self.seats)
        ]

    def run(self) -> int:
        """Start, keep running, stop. The exit code: 0, or 130 when it was told to stop at once.

        The caller holds the data folder's lock. Raises ChildTrouble when a needed process does not come up.
        """
        with self._signals():
            try:
                self._clean_up()
                self._set_up()
                self._start_all()
                while not self._stop_orders:
                    self._look_after()
                    self._wait()
            finally:
                self._stop_all()
        return 130 if self._stop_orders > 1 else 0

    # Starting

    def _clean_up(self) -> None:
        """End what a killed supervisor left behind. What its workers held is returned when all is up."""
        self._owed = processes.load(self._file)
        for old in self._owed:
            if ended := processes.end_leftovers(old):
                self.output.say("leftovers ended", child=old.name, processes=ended)

    def _set_up(self) -> None:
        for child in self.setup:
            seat = _Seat(child)
            self._spawn(seat)
            while not self._stop_orders and not self._ended(seat):
                self._wait()
            if self._stop_orders:
                self._end(seat)
            elif code := self._bury(seat):
                raise ChildTrouble(f"`{child.name}` failed (exit code {code}); its own lines above say why.")

    def _start_all(self) -> None:
        for seat in self.seats:
            if self._stop_orders:
                return
            self._spawn(seat)
            self._wait_until_ready(seat)
        self._owed = [old for old in self._owed if old.holds_work]
        self._return_owed()
        self._write_down()
        if self.on_ready and not self._stop_orders:
            self.on_ready()

    def _wait_until_ready(self, seat: _Seat) -> None:
        deadline = time.monotonic() + READY_WITHIN
        while seat.child.is_ready and not self._stop_orders and not seat.child.is_ready():
            if self._ended(seat):
                raise ChildTrouble(
                    f"{seat.child.name} ended before it was ready (exit code {self._bury(seat)})."
                )
            if time.monotonic() > deadline:
                raise ChildTrouble(f"{seat.child.name} is not ready after {READY_WITHIN:g} s.")
            self._wait()

    def _spawn(self, seat: _Seat) -> None:
        if seat.child.before:
            seat.child.before()
        seat.process = subprocess.Popen(
            seat.child.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C in the terminal reaches us only, and the family has a number
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        child = seat.child
        seat.record = processes.record(
            child.name, seat.process.pid, list(child.command), holds_work=child.holds_work
        )
        seat.started = time.monotonic()
        self._write_down()
        assert seat.process.stdout is not None
        self.output.follow(child.name, seat.process.stdout)

    # Running

    def _look_after(self) -> None:
        for errand in [errand for errand in self._errands if self._ended(errand)]:
            self._bury(errand)
            self._errands.remove(errand)
        self._return_owed()
        self._rearrange()
        for seat in list(self.seats):
            if seat.is_leaving:
                if self._ended(seat):
                    self._see_off(seat)
            elif seat.process is None:
                if time.monotonic() >= seat.start_at:
                    self._try_again(seat)
            elif self._ended(seat):
                self._replace(seat)

    def _rearrange(self) -> None:
        """Seats for the children that are wanted and have none, and an end for those that are not wanted."""
        if self._wanted is None:
            return
        wanted = {child.name: child for child in self._wanted}
        for seat in self.seats:
            if seat.child.name not in wanted and not seat.is_leaving:
                self._let_go(seat)
        taken = {seat.child.name for seat in self.seats}
        self.seats += [_Seat(child) for name, child in wanted.items() if name not in taken]

    def _let_go(self, seat: _Seat) -> None:
        seat.is_leaving = True
        if seat.process:
            self.output.say("child leaves", child=seat.child.name)
            processes.ask_to_end(seat.process.pid)

    def _see_off(self, seat: _Seat) -> None:
        """It has ended for good. Where it did not end well, what it held is returned."""
        old, code = seat.record, self._bury(seat)
        self.seats.remove(seat)
        if old:
            self.output.say("child has left", child=seat.child.name, exit_code=code)
        if old and old.holds_work and code:
            self._send_errand([old])

    def _replace(self, seat: _Seat) -> None:
        """A child died: end its family, return what it held, and set the time for the next one."""
        if time.monotonic() - seat.started >= HEALTHY_AFTER:
            seat.failures = 0
        old, code = seat.record, self._bury(seat)
        self._postpone(seat, "child ended", exit_code=code)
        if old and old.holds_work:
            self._send_errand([old])

    def _try_again(self, seat: _Seat) -> None:
        try:
            self._spawn(seat)
        except (LongwaveError, OSError) as error:  # no memory, no file descriptors: it may pass
            self._postpone(seat, "child does not start", reason=error)

    def _postpone(self, seat: _Seat, event: str, **facts: object) -> None:
        pause = min(BACKOFF[0] * 2**seat.failures, BACKOFF[1])
        seat.failures = min(seat.failures + 1, 10)
        seat.start_at = time.monotonic() + pause
        self.output.say(event, child=seat.child.name, **facts, starting_again_in=pause)

    def _send_errand(self, dead: list[processes.Record]) -> None:
        """Run the command that returns what dead processes held."""
        if not dead or self.return_work is None:
            return
        errand = _Seat(Child("return", self.return_work([old.pid for old in dead])))
        try:
            self._spawn(errand)
        except OSError as error:  # no memory, no file descriptors: perhaps what its children died of
            self._owed += dead
            self._owed_until = time.monotonic() + BACKOFF[1]
            self.output.say("work is returned later", reason=error)
        else:
            self._errands.append(errand)

    def _return_owed(self) -> None:
        if self._owed and time.monotonic() >= self._owed_until:
            owed, self._owed = self._owed, []
            self._send_errand(owed)

    # Stopping

    def _stop_all(self) -> None:
        ordered = time.monotonic()
        hurry = {} if self.hurry_after is None else {"jobs_given_back_after": self.hurry_after}
        self.output.say("stopping", **hurry)
        for errand in self._errands:
            self._end(errand)
        for rank, seconds in enumerate(self.stop_within):
            seats = [seat for seat in self.seats if seat.child.rank == rank and seat.process]
            for seat in seats:
                self._ask_to_stop(seat)
            self._await_ends(seats, ordered, ordered + seconds)
            for seat in seats:
                self._stopped(seat)
        self._write_down()
        self.output.close()

    def _await_ends(self, seats: Sequence[_Seat], ordered: float, deadline: float) -> None:
        hurry_at = float("inf") if self.hurry_after is None else ordered + self.hurry_after
        while self._stop_orders < 2 and time.monotonic() < deadline:
            if all(self._ended(seat) for seat in seats):
                return
            if time.monotonic() >= hurry_at:
                hurry_at = float("inf")
                for seat in seats:
                    self._ask_to_stop(seat)
            self._wait()

    def _ask_to_stop(self, seat: _Seat) -> None:
        if self._stop_orders < 2 and seat.process:
            processes.ask_to_end(seat.process.pid)

    def _stopped(self, seat: _Seat) -> None:
        """Whoever did not stop by itself may hold work: it stays written down for the next start."""
        clean = self._ended(seat)
        old, code = seat.record, self._end(seat)
        if old and old.holds_work and not (clean and code == 0):
            self._owed.append(old)
        if not clean:
            self.output.say("child killed", child=seat.child.name)

    # One process

    def _ended(self, seat: _Seat) -> bool:
        return seat.process is None or processes.is_dead(seat.process.pid)

    def _end(self, seat: _Seat) -> int:
        if seat.process and not self._ended(seat):
            seat.process.kill()
        return self._bury(seat)

    def _bury(self, seat: _Seat) -> int:
        """Kill what is left of a dead child's family, then reap it. Its exit code."""
        process, seat.process, seat.record = seat.process, None, None
        if process is None:
            return 0
        if not processes.kill_family(process.pid):
            self.output.say("processes that cannot be killed", session=process.pid)
        code = process.wait()
        self._write_down()
        return code

    # Bookkeeping

    @property
    def _file(self) -> Path:
        return self.run_folder / "children.json"

    def _write_down(self) -> None:
        living = [seat.record for seat in (*self.seats, *self._errands) if seat.record]
        processes.save(self._file, [*self._owed, *living])

    def _wait(self) -> None:
        self._woken.wait(LOOK_EVERY)
        self._woken.clear()

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGINT, SIGTERM and a closed terminal mean stop. Left alone in a thread: it may not."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        names = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = {name: signal.signal(name, lambda *_: self.stop()) for name in names}
        try:
            yield
        finally:
            for name, handler in before.items():
                signal.signal(name, handler)

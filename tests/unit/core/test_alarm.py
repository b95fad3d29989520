"""An alarm may be set by a signal at any moment."""

import signal
import subprocess
import sys
import threading
import time

from longwave.core.alarm import Alarm

STORM = """
import random, signal
from longwave.core.alarm import Alarm

alarm = Alarm()
signal.signal(signal.SIGALRM, lambda *_: alarm.set())
for _ in range(5000):
    signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-6, 3e-4))
    alarm.wait(0.0002)
    alarm.clear()
signal.setitimer(signal.ITIMER_REAL, 0)
"""


def test_a_storm_of_signals_does_not_lock_the_waiting_thread() -> None:
    """With a threading.Event it does, after some hundreds."""
    subprocess.run([sys.executable, "-c", STORM], check=True, timeout=60)


def test_it_wakes_all_who_wait_and_keeps_nobody_after() -> None:
    alarm, woken = Alarm(), []
    waiting = [threading.Thread(target=lambda: woken.append(alarm.wait(20))) for _ in range(3)]
    for thread in waiting:
        thread.start()
    alarm.set()
    for thread in waiting:
        thread.join(10)
    assert woken == [True, True, True]
    assert alarm.wait(20)


def test_one_that_was_cleared_is_waited_for_again() -> None:
    alarm = Alarm()
    alarm.set()
    alarm.clear()
    assert not alarm.is_set()
    assert not alarm.wait(0.01)
    assert not alarm.wait(-1)


def test_a_signal_ends_a_wait_at_once() -> None:
    alarm, began = Alarm(), time.monotonic()
    before = signal.signal(signal.SIGALRM, lambda *_: alarm.set())
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        assert alarm.wait(20)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - began < 10

"""A child that ends when the process that started it is gone, however that died."""

import os
import signal
import threading
import time

LOOK_EVERY = 0.5
"""Seconds between looks. A look is one system call."""

GRACE = 8.0
"""Seconds that an orphan has to stop in good order."""


def end_with(pid: int) -> None:
    """Stop this process, in good order if it can, once its parent is no longer `pid`."""
    threading.Thread(target=_watch, args=(pid,), name="parent-watch", daemon=True).start()


def _watch(pid: int) -> None:
    while os.getppid() == pid:
        time.sleep(LOOK_EVERY)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    if os.getpgid(0) == os.getpid():  # the group is ours alone, made by the supervisor
        os.killpg(0, signal.SIGKILL)
    os._exit(1)

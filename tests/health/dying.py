"""A worker whose first child is killed as it starts."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import psutil
from celery import signals

FIRST = Path(os.environ["LONGWAVE_HOME"], "first")
"""A link to the number of the killed process."""


@signals.worker_process_init.connect(weak=False)
def die_first(**_: Any) -> None:
    try:
        FIRST.symlink_to(str(os.getpid()))
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


@signals.worker_ready.connect(weak=False)
def see_it_dead(**_: Any) -> None:
    while not FIRST.is_symlink() or _lives(int(FIRST.readlink().name)):
        time.sleep(0.01)


def _lives(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE

"""What a worker answers when it is asked who it is (`presence.workers`)."""

import os
import socket
from typing import Any

import psutil
from celery.worker.control import inspect_command

from longwave.jobs import declare, stop


@inspect_command(name="longwave_worker")  # type: ignore[untyped-decorator]
def describe(state: Any, **_: Any) -> dict[str, Any]:
    """Its process, its queues, the jobs that it has code for, and what it needs, all children included.

    Of one that is leaving: no queues, since it takes nothing new from them.
    """
    controller, is_leaving = state.consumer.controller, stop.stopping()
    consumer = None if is_leaving else state.consumer.task_consumer  # None also while the broker is away
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "queues": sorted(queue.name for queue in consumer.queues) if consumer else [],
        "concurrency": controller.max_concurrency or controller.concurrency,
        "memory_mb": _memory_mb(),
        "declares": sorted(job.name for job in declare.declared()),
        "is_leaving": is_leaving,
    }


def _memory_mb() -> float:
    me = psutil.Process()
    used = 0
    for process in [me, *me.children(recursive=True)]:
        try:
            used += process.memory_info().rss
        except psutil.Error:
            continue  # it has just ended
    return round(used / 1024**2, 1)

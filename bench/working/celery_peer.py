"""Plain Celery as people set it up for work that must not be lost: acknowledged late, one message ahead.

Knows nothing of Longwave. Its broker is all it has: nothing is written to a database.

celery -A working.celery_peer worker
"""

import os
from functools import cache

from celery import Celery
from redis import Redis

app = Celery("peer", broker=os.environ.get("PEER_BROKER", ""))
app.conf.update(
    task_acks_late=True,
    worker_prefetch_multiplier=1,
    task_ignore_result=True,
    task_default_queue="peer",
)


@app.task(name="peer.nothing")  # type: ignore[untyped-decorator]
def nothing(number: int) -> None:
    """Count that it ran."""
    _counter().incr("peer:done")


@cache
def _counter() -> Redis:
    return Redis(unix_socket_path=os.environ["PEER_SOCKET"])

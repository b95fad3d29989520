"""The queues, their priorities, and how each kind of broker counts priorities. The only place that knows.

Names are fixed: operators type them. `email.eu` is the queue `email` for workers of the region `eu`.
"""

import re
from collections.abc import Iterable, Mapping

from longwave.core.errors import InvalidInput, Problem

PRIORITIES: Mapping[str, int] = {
    "campaigns": 10,
    "broadcast": 10,
    "email": 10,
    "telegram-callbacks": 9,
    "telegram-commands": 8,
    "telegram": 7,
    "notifications": 7,
    "import": 5,
    "workflow-processing": 5,
    "file_processing": 4,
    "data_validation": 4,
    "llm_processing": 4,
    "sheets_writing": 4,
    "default": 0,
}
"""Queue → priority: 10 goes first, 0 last."""

HIGHEST = 9
"""The brokers count from 0 to 9, so 10 and 9 are the same to them."""

MAX_NAME = 64

REGIONAL = ("broadcast", "email")
"""The queues of sending: a sender's region decides which workers they are for."""

_REGION = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")


def base(queue: str) -> str:
    """The queue that `queue` is a region of: `email` for `email.eu`, and for `email` itself."""
    return queue.partition(".")[0]


def is_known(queue: str) -> bool:
    """Whether jobs may be put there: a queue of the table, or a region of one."""
    name, dot, region = queue.partition(".")
    return name in PRIORITIES and (not dot or is_region(region)) and len(queue) <= MAX_NAME


def check(queue: str) -> None:
    """Raises InvalidInput for a queue that jobs may not be put in."""
    if not is_known(queue):
        raise InvalidInput(refusal("queue", queue))


def refusal(field: str, queue: str) -> Problem:
    """That there is no such queue. field: where it was named."""
    return Problem(field, queue, f"must be one of {', '.join(PRIORITIES)}, or a region such as email.eu")


def is_region(name: str) -> bool:
    """Whether a region may be called so."""
    return bool(_REGION.fullmatch(name))


def of_regions(regions: Iterable[str]) -> list[str]:
    """The queues of sending in these regions: `broadcast.eu` and `email.eu` for `eu`."""
    return [f"{queue}.{region}" for region in regions for queue in REGIONAL]


def message_priority(queue: str, broker_url: str) -> int:
    """The priority of messages in `queue`, as this broker counts: Redis takes 0 first, RabbitMQ 9."""
    urgency = min(PRIORITIES.get(base(queue), 0), HIGHEST)
    return HIGHEST - urgency if is_redis(broker_url) else urgency


def redis_steps() -> list[int]:
    """The priorities in use, as Redis counts. Each is a list to look into: no more than needed."""
    return sorted({HIGHEST - min(priority, HIGHEST) for priority in PRIORITIES.values()})


def is_redis(broker_url: str) -> bool:
    """Whether the broker is Redis or Valkey (over TCP, TLS or a socket)."""
    return broker_url.startswith("redis")

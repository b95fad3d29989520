"""Groups of queues that one worker works on, with the pool and the concurrency that suit them."""

import os
from dataclasses import dataclass

from longwave.jobs import queues


@dataclass(frozen=True, slots=True)
class Profile:
    """Queues that go together. low, high: how many jobs at a time; between them, as many as there are cores."""

    queues: tuple[str, ...]
    pool: str
    low: int
    high: int

    @property
    def is_sending(self) -> bool:
        """Whether lanes of campaigns run there, which wait more than they work."""
        return not set(queues.REGIONAL).isdisjoint(self.queues)

    def concurrency_on(self, cores: int) -> int:
        """How many jobs a worker runs at a time on a machine of so many cores."""
        return min(max(cores, self.low), self.high)


PROFILES = {
    "all": Profile(tuple(queues.PRIORITIES), "threads", 8, 8),
    "import": Profile(("import",), "prefork", 2, 4),
    "send": Profile(("campaigns", "broadcast", "email"), "threads", 20, 20),
    "files": Profile(
        (
            "file_processing",
            "data_validation",
            "llm_processing",
            "sheets_writing",
            "workflow-processing",
            "default",
        ),
        "prefork",
        2,
        4,
    ),
    "bots": Profile(
        ("telegram-callbacks", "telegram-commands", "telegram", "notifications"), "prefork", 2, 4
    ),
}
"""What `--profile` knows. The four beside `all` have all queues between them."""


def cores() -> int:
    """The cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        return os.cpu_count() or 1

"""What a million finished and 100,000 queued jobs in the ledger cost what every job and every look asks of it.

    python bench/ledger_size.py [--quick] [--only NAME] [--json FILE]

Each scenario has a process and a database of its own, measures with few jobs and with many, and leaves nothing behind.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from statistics import median
from typing import Any

from broadcasting.stage import Database, has_postgres, stage
from harness import Harness, Scenario
from results import Result, missing, result

ROUNDS = 20
Act = Callable[[], Any]


def sqlite(quick: bool) -> list[Result]:
    """On SQLite."""
    return _measure("sqlite", quick)


def postgresql(quick: bool) -> list[Result]:
    """On PostgreSQL."""
    if not has_postgres():
        return [missing("postgresql", "no PostgreSQL server; set TEST_POSTGRES_URL")]
    return _measure("postgresql", quick)


def _measure(kind: Database, quick: bool) -> list[Result]:
    with stage(kind, workers=0, modules="working.tasks"):
        from longwave.testing import full_ledger

        ended, queued = (50_000, 5_000) if quick else (1_000_000, 100_000)
        full_ledger.fill(full_ledger.Use(ended=0, queued=100, running=10, waiting=10))
        before = _timed()
        full_ledger.fill(full_ledger.Use(ended=ended, queued=queued))
        after = _timed()
        forgotten = result(f"{kind}_prune", _forgotten(), "jobs/s", PRUNED)
    return [
        *(
            _judged(f"{kind}_{name}", before[name], found, HOT.get(name, LOOK))
            for name, found in after.items()
        ),
        forgotten,
    ]


PRUNED = 500.0
"""Jobs a second that end, all day long, and are to be forgotten as fast: what two worker processes are asked for."""


def _forgotten() -> float:
    """Jobs a second that the beat forgets beside its other chores, of those that have been kept for a day."""
    from longwave import config
    from longwave.jobs import chores, prune

    os.environ["LONGWAVE_KEEP_DONE"] = "1"
    config.current.cache_clear()
    every = next(chore.every for chore in chores.registered() if chore.function is prune.prune)
    began = time.perf_counter()
    count = prune.prune()
    assert isinstance(count, int)
    return count / (time.perf_counter() - began + every)


LOOK = 100.0
"""Milliseconds that a look may take: it does not keep anybody waiting."""

HOT = {"submit": 10.0, "submit_many_100": 50.0, "claim_many_50": 25.0, "finish_many_50": 25.0}
"""Milliseconds for what every job costs: that of many is the price of a quarter or half a millisecond each."""


def _judged(name: str, empty: float, full: float, target: float) -> Result:
    return result(name, full, "ms", target, lower=True, peers={"with few jobs": empty})


def _timed() -> dict[str, float]:
    """Name → the median of its milliseconds."""
    return {name: median(_milliseconds(act) for _ in range(ROUNDS)) for name, act in _acts()}


def _milliseconds(act: Act) -> float:
    began = time.perf_counter()
    act()
    return (time.perf_counter() - began) * 1000


def _acts() -> Iterator[tuple[str, Act]]:
    from longwave.jobs import doorbells, failed, ledger, stats
    from longwave.jobs.failed import Wanted
    from working.tasks import nothing

    def claimed() -> list[ledger.Claim]:
        ids = nothing.submit_many([{"number": 1} for _ in range(50)])
        return ledger.claim_many(nothing.name, [(job_id, 1) for job_id in ids], "bench", 60.0)

    held = [claimed() for _ in range(ROUNDS)]
    fresh = [nothing.submit_many([{"number": 1} for _ in range(50)]) for _ in range(ROUNDS)]
    yield "submit", lambda: nothing.submit(number=1)
    yield "submit_many_100", lambda: nothing.submit_many([{"number": 1} for _ in range(100)])
    yield (
        "claim_many_50",
        lambda: ledger.claim_many(nothing.name, [(pk, 1) for pk in fresh.pop()], "me", 60.0),
    )
    yield "finish_many_50", lambda: ledger.finish_many("bench", [(one, None) for one in held.pop()])
    yield "first_in_line", doorbells.first_in_line
    yield "queue_status", stats.queue_status
    yield "failed_list", lambda: failed.find(Wanted(), 50)
    yield "failed_list_grep", lambda: failed.find(Wanted(grep="nowhere"), 50)


SCENARIOS: Mapping[str, Scenario] = {"sqlite": sqlite, "postgresql": postgresql}

if __name__ == "__main__":
    Harness(__file__, SCENARIOS).main(__doc__)

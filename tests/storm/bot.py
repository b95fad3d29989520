"""Who submits the jobs of the storm, as a bot does: through `longwave.background`, and never waiting for the broker.

    python -m tests.storm.bot first|second SEED JOBS PACE

submits so many jobs, pausing PACE seconds after each submit until its input ends, and prints what was accepted: a line
of JSON for each submit. The second half goes on with the serial keys where the first has ended.
"""

import json
import random
import select
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from longwave import background
from longwave.jobs import declare, rooms

HALVES = ("first", "second")
KEYS = 20
SUBMITS_OF_DATED = 4
DATED_IN = timedelta(seconds=5)

Accepted = Sequence[tuple[str, int]]
"""What a submit gave: kind and id of each job."""


def streams(half: str, jobs: int) -> list[Iterator[Accepted]]:
    """Submits that follow one another in each stream; together so many hundreds of jobs."""
    many = jobs // 100
    return [
        *(_serial(f"key {number}", HALVES.index(half), 2 * many) for number in range(KEYS)),
        *(_chain(f"{half} {number}") for number in range(3 * many)),
        *(_bundle(5 * many) for _ in range(4)),
        _dated(half, many),
        _single("coroutine", 10 * many),
        _single("turns", 6 * many),
        _single("flaky", 6 * many),
        _single("slow", 5 * many),
        _single("doomed", 3 * many),
    ]


def _serial(key: str, part: int, count: int) -> Iterator[Accepted]:
    for number in range(part * count, (part + 1) * count):
        queue = "broadcast" if number % 2 else "default"
        args = {"key": key, "number": number}
        yield [("serial", background.submit("storm.serial", args, serial_key=key, queue=queue))]


def _chain(chain: str) -> Iterator[Accepted]:
    before: list[int] = []
    for place in range(3):
        before.append(background.submit("storm.stage", chain=chain, place=place, after=tuple(before)))
        yield [("stage", before[-1])]


def _bundle(count: int) -> Iterator[Accepted]:
    yield [("plain", job_id) for job_id in declare.find("storm.plain").submit_many([{}] * count)]


def _dated(half: str, count: int) -> Iterator[Accepted]:
    for number in range(count):
        moment, key = datetime.now(UTC) + DATED_IN, f"{half} {number}"
        submits = range(SUBMITS_OF_DATED)
        yield [("dated", background.submit("storm.dated", dedupe_key=key, run_at=moment)) for _ in submits]


def _single(kind: str, count: int) -> Iterator[Accepted]:
    for _ in range(count):
        yield [(kind, background.submit(f"storm.{kind}"))]


def submit_all(waiting: list[Iterator[Accepted]], dice: random.Random, pace: float) -> None:
    """All of them, mixed; the order within each stream is kept."""
    while waiting:
        stream, began = dice.choice(waiting), time.monotonic()
        accepted = next(stream, None)
        if accepted is None:
            waiting.remove(stream)
            continue
        _say(accepted=accepted, seconds=time.monotonic() - began)
        if pace and select.select([sys.stdin], [], [], pace)[0]:
            pace = 0.0


def _say(**facts: Any) -> None:
    print(json.dumps(facts), flush=True)


if __name__ == "__main__":
    half, seed, jobs, pace = sys.argv[1:]
    rooms.load()
    submit_all(streams(half, int(jobs)), random.Random(f"{seed} {half}"), float(pace))

"""What is measured, one function a scenario. Each runs in a process of its own."""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from broadcasting.stage import Stage, has_postgres, stage, stop, until
from harness import Scenario
from results import Broken, Result, missing, result

MOST = 8
"""Workers that there may be; there are never fewer than one."""

FASTER = 3
WAIT = 1_800.0
TARGET_WAIT, EVERY = 5, 1
"""Seconds that a job may wait, and between two looks. Shorter than one would have it, so that no run takes an hour."""


@dataclass(frozen=True, slots=True)
class Spike:
    """So many jobs of a second at once. places: what one worker runs at a time. cool_down: in seconds."""

    jobs: int
    places: int
    cool_down: float


FULL, QUICK = Spike(2_000, 4, 20), Spike(96, 2, 2)


def spike(quick: bool) -> list[Result]:
    """From the submit to the last job's end: with as many workers as it takes, and with the fewest."""
    if not has_postgres():
        return [missing("spike", "no PostgreSQL server; set TEST_POSTGRES_URL")]
    given = QUICK if quick else FULL
    with stage("postgresql", workers=0, modules="scaling.tasks") as here:
        # At best, what one worker with so many places can do: the quick run reckons instead of waiting for it.
        fewest = given.jobs / given.places if quick else _clear(here, given, most=1)[0]
        seconds, peak, calm = _clear(here, given, most=MOST)
    how = {"scaled_s": round(seconds, 1), "fewest_s": round(fewest, 1), "most_workers": peak}
    return [
        result("spike_faster", fewest / seconds, "×", FASTER, peers=how),
        result("spike_back_to_one", calm, "s", given.cool_down * 6 + 15, lower=True),
    ]


def _clear(here: Stage, given: Spike, *, most: int) -> tuple[float, int, float]:
    """Seconds until all had ended, the most workers there were to be, and seconds until there was one again."""
    from longwave.jobs.models import Job, Status
    from scaling.tasks import second

    Job.objects.all().delete()
    options = ("--max", str(most), "-c", str(given.places), "--cool-down", str(given.cool_down))
    with _autoscaling(here, "files", *options), _watching("files") as seen:
        _warm(given.places)
        began = time.perf_counter()
        second.submit_many({"number": number} for number in range(given.jobs))
        until(lambda: not Job.objects.exclude(status=Status.SUCCESS).exists(), WAIT, "they do not end", 0.1)
        ended = time.perf_counter()
        if Job.objects.filter(status=Status.SUCCESS, attempt=1).count() != given.jobs:
            raise Broken(f"not every one of {given.jobs} jobs ran exactly once")
        until(lambda: _workers(here) == _desired("files") == 1, WAIT, "there are too many workers", 0.1)
        return ended - began, max(seen), time.perf_counter() - ended


def _warm(places: int) -> None:
    """The first worker is there, and it is known how long a job takes."""
    from longwave.jobs.models import Job, Status
    from scaling.tasks import second

    second.submit_many({"number": number} for number in range(places))
    until(
        lambda: not Job.objects.exclude(status=Status.SUCCESS).exists(), 90, "the first worker does not start"
    )
    Job.objects.all().delete()


def throttled(quick: bool) -> list[Result]:
    """Broadcasts at their sender's rate, with more lanes than there are places."""
    if not has_postgres():
        return [missing("throttled", "no PostgreSQL server; set TEST_POSTGRES_URL")]
    seconds = 8 if quick else 60
    with stage("postgresql", workers=0, sender_rate=20, rate=20) as here:
        campaigns = _frozen(here, 3)
        with _autoscaling(here, "send", "--max", str(MOST), "-c", "2"), _watching("send") as seen:
            until(lambda: here.telegram.stats()["accepted"] > 20, 90, "nothing is sent")
            time.sleep(seconds)
            how = {"sent": here.telegram.stats()["accepted"], "lanes_waiting": _limited("send")}
            how |= _reasons("send")
            _cancel(campaigns)
    if not how["lanes_waiting"]:
        raise Broken("no lane had to wait, so nothing was tried")
    return [result("throttled_workers", max(seen), "workers", 1, lower=True, peers=how)]


def _frozen(here: Stage, count: int) -> list[int]:
    """Campaigns with four lanes each, which nobody sends yet. Freezing is work that more workers do speed up."""
    from longwave.jobs.models import Job, Status

    here.contacts(4_000)
    here.start("worker", "--queues", "campaigns", "--concurrency", "1", "--name", "freezes")
    campaigns = [here.launch(4_000) for _ in range(count)]
    lanes = Job.objects.filter(name="campaigns.lane", status=Status.QUEUED)
    until(lambda: lanes.count() == 4 * count, 90, "the campaigns do not get ready")
    return campaigns


def _cancel(campaigns: list[int]) -> None:
    from longwave.campaigns import lifecycle

    for campaign in campaigns:
        lifecycle.cancel(campaign)


# --- looking on -------------------------------------------------------------------------------------------------------


@contextmanager
def _autoscaling(here: Stage, group: str, *options: str) -> Iterator[None]:
    """Somebody decides, and starts and stops workers."""
    always = ("--group", group, "--target-wait", str(TARGET_WAIT), "--every", str(EVERY))
    process = here.start("autoscale", *always, *options)
    try:
        yield
    finally:
        stop(process)


@contextmanager
def _watching(group: str) -> Iterator[list[int]]:
    """How many workers there were to be, from the ledger, several times a second."""
    seen, is_over = [1], threading.Event()

    def look() -> None:
        while not is_over.wait(0.2):
            seen.append(_desired(group))

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield seen
    finally:
        is_over.set()
        watcher.join()


def _desired(group: str) -> int:
    from longwave.ops.models import Scaling

    return Scaling.objects.values_list("desired", flat=True).filter(group=group).first() or 0


def _limited(group: str) -> int:
    from longwave.ops.models import Scaling

    return Scaling.objects.values_list("limited", flat=True).get(group=group)


def _reasons(group: str) -> dict[str, str]:
    """Why there were to be more or fewer, if ever."""
    from longwave.ops.models import ScalingDecision

    changes = ScalingDecision.objects.filter(group=group).order_by("pk")
    return {f"{change.before} to {change.desired}": change.reason for change in changes}


def _workers(here: Stage) -> int:
    """Worker processes that run."""
    from longwave.ops import processes

    return len(processes.load(here.home / "run" / "autoscale" / "children.json"))


SCENARIOS: Mapping[str, Scenario] = {"spike": spike, "throttled": throttled}

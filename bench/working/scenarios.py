"""What is measured, one function a scenario. Each runs in a process of its own."""

import time
from collections.abc import Mapping
from typing import Any

from broadcasting.stage import Stage, has_postgres, has_rabbitmq, stage, until
from harness import Scenario
from results import Broken, Result, missing, percentile, result
from working import peers

WORKERS, CONCURRENCY = 2, 4
WAIT = 300.0


def submit(quick: bool) -> list[Result]:
    """Into the ledger, while nobody works."""
    if not has_postgres():
        return [missing("submit", "no PostgreSQL server; set TEST_POSTGRES_URL")]
    singles, many = (300, 5_000) if quick else (3_000, 50_000)
    with stage("postgresql", workers=0, modules="working.tasks"):
        from working.tasks import nothing

        nothing.submit(number=0)
        took = []
        for number in range(singles):
            began = time.perf_counter()
            nothing.submit(number=number)
            took.append((time.perf_counter() - began) * 1000)
        rate = many / _seconds(lambda: nothing.submit_many({"number": n} for n in range(many)))
    return [
        result(
            "submit_p99", percentile(took, 99), "ms", 10, lower=True, peers={"median": percentile(took, 50)}
        ),
        result("submit_many", rate, "jobs/s", 5_000),
    ]


def one_by_one(quick: bool) -> list[Result]:
    """From the first submit to the last job's end, each job submitted by itself."""
    count = 400 if quick else 5_000
    return _end_to_end("one_by_one", count, 500, bulk=False, beside=True)


def in_bulk(quick: bool) -> list[Result]:
    """The same for jobs submitted together."""
    count = 3_000 if quick else 30_000
    return _end_to_end("in_bulk", count, 1_500, bulk=True, beside=not quick)


def one_by_one_rabbitmq(quick: bool) -> list[Result]:
    """As `one_by_one`, with RabbitMQ in the place of Valkey."""
    return _on_rabbitmq("one_by_one_rabbitmq", 5_000, bulk=False)


def in_bulk_rabbitmq(quick: bool) -> list[Result]:
    """As `in_bulk`, with RabbitMQ in the place of Valkey."""
    return _on_rabbitmq("in_bulk_rabbitmq", 30_000, bulk=True)


def _on_rabbitmq(name: str, count: int, *, bulk: bool) -> list[Result]:
    if not (has_postgres() and has_rabbitmq()):
        return [missing(name, "no PostgreSQL or no RabbitMQ server on this machine")]
    with stage("postgresql", workers=0, modules="working.tasks", on_rabbitmq=True) as here:
        return [result(name, _longwave(here, count, bulk=bulk), "jobs/s")]


def _end_to_end(name: str, count: int, target: float, *, bulk: bool, beside: bool) -> list[Result]:
    """beside: whether the peers are measured too. They take most of the time."""
    if not has_postgres():
        return [missing(name, "no PostgreSQL server; set TEST_POSTGRES_URL")]
    with stage("postgresql", workers=0, modules="working.tasks") as here:
        rate = _longwave(here, count, bulk=bulk)
    found: dict[str, Any] = {}
    if beside:
        found = peers.measure(count, workers=WORKERS, concurrency=CONCURRENCY, bulk=bulk)
    procrastinate = found.get("procrastinate")
    results = [result(name, rate, "jobs/s", target, peers=found)]
    if isinstance(procrastinate, float):
        results.append(result(f"{name}_of_procrastinate", rate / procrastinate, "×", 1.0))
    return results


def _longwave(here: Stage, count: int, *, bulk: bool) -> float:
    from longwave.jobs.models import Job, Status
    from working.tasks import nothing

    options = ("--queues", "default", "--concurrency", str(CONCURRENCY), "--pool", "threads")
    for number in range(WORKERS):
        here.start("worker", *options, "--name", f"bench{number}")
    warm = nothing.submit_many({"number": number} for number in range(64))

    def done() -> bool:
        return not Job.objects.exclude(status=Status.SUCCESS).exists()

    until(done, 60, "the workers do not start")
    Job.objects.filter(pk__in=warm).delete()
    began = time.perf_counter()
    if bulk:
        nothing.submit_many({"number": number} for number in range(count))
    else:
        for number in range(count):
            nothing.submit(number=number)
    until(done, WAIT, "the jobs do not end")
    seconds = time.perf_counter() - began
    if Job.objects.filter(status=Status.SUCCESS, attempt=1).count() != count:
        raise Broken(f"not every one of {count} jobs ran exactly once")
    return count / seconds


def _seconds(work: Any) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


SCENARIOS: Mapping[str, Scenario] = {
    "submit": submit,
    "one_by_one": one_by_one,
    "in_bulk": in_bulk,
    "one_by_one_rabbitmq": one_by_one_rabbitmq,
    "in_bulk_rabbitmq": in_bulk_rabbitmq,
}

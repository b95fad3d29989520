"""What happens in this process, counted: how jobs and deliveries end, and how long they wait and take.

To add an event: declare its figure here, add it to `FIGURES`, and observe the value that is told where it happens
(`jobs.measures`). Its labels need bounds of their own: names that nobody declared are `other`.
"""

import os
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

from longwave import channels
from longwave.campaigns.models import Charted
from longwave.campaigns.settling import Answered, Held
from longwave.core.outcomes import Gone, Rejected, Retry, SenderBroken, Sent, Throttled, Unknown
from longwave.jobs import declare, measures, queues
from longwave.jobs.measures import Ended, Ending, Ran
from longwave.ops.metrics import folder as counts
from longwave.ops.metrics.figures import OTHER, Figure
from longwave.ops.metrics.labels import QueueNames
from longwave.senders.sending import SingleSent

_WAITS = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)
_RUNS = (0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 1800.0)

JOBS = Figure(
    "longwave_jobs_total",
    "Runs of jobs by what they came to: success; failure, given up for good; retry, will be tried again; cancelled,"
    " while a worker had it. A turn that goes on later is none of them",
    ("name", "queue", "outcome"),
    "counter",
)
WAIT = Figure(
    "longwave_job_wait_seconds",
    "For how long a job could have run before a worker took it: since it was submitted, was due, or was queued again",
    ("queue",),
    "histogram",
    _WAITS,
)
RUN = Figure(
    "longwave_job_run_seconds",
    "How long a run of a job, or one turn of it, took, however it ended",
    ("name",),
    "histogram",
    _RUNS,
)
DELIVERIES = Figure(
    "longwave_deliveries_total",
    "Answers to deliveries of campaigns. Final: sent, gone, rejected, failed, unknown; orphaned, unknown because our"
    " side died. Tried again: retried, moved, throttled",
    ("channel", "outcome"),
    "counter",
)
SINGLES = Figure(
    "longwave_single_messages_total",
    "Answers to messages that were sent by themselves: sent, gone, rejected, unknown, broken (the sender is refused);"
    " tried again: retried, throttled",
    ("channel", "outcome"),
    "counter",
)
HELD = Figure(
    "longwave_held_seconds_total",
    "Seconds for which providers made campaigns wait (flood limits)",
    ("channel",),
    "counter",
)
FIGURES = (JOBS, WAIT, RUN, DELIVERIES, SINGLES, HELD)

SINGLE_OUTCOMES: dict[type, str] = {
    Sent: "sent",
    Throttled: "throttled",
    Retry: "retried",
    Gone: "gone",
    Rejected: "rejected",
    SenderBroken: "broken",
    Unknown: "unknown",
}


def count_into(folder: Path) -> None:
    """Count what happens in this process, and in those it forks, in files in the folder. Once a process."""
    # Also for metrics of the user's own jobs, which are made when their modules are imported.
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    from prometheus_client import values

    values.ValueClass = values.MultiProcessValue(counts.identity_in(folder))  # type: ignore[no-untyped-call]
    _observe()


def begin_at_zero(listened: Iterable[str]) -> None:
    """Show, with 0, what jobs and deliveries of these queues can come to: a first failure is an increase only then."""
    here = {queues.base(queue) for queue in listened}
    jobs = _counter(JOBS)
    for declared in declare.declared():
        if declared.queue in here:
            for ending in Ending:
                jobs(declared.name, declared.queue, ending)
    if here & set(queues.REGIONAL):
        deliveries = _counter(DELIVERIES)
        for channel in channels.names():
            for outcome in Charted.values:
                deliveries(channel, outcome)


def _observe() -> None:
    jobs, deliveries, singles, held = (_counter(figure) for figure in (JOBS, DELIVERIES, SINGLES, HELD))
    wait, run, queue_names = _histogram(WAIT), _histogram(RUN), QueueNames()

    def ended(value: Ended) -> None:
        jobs(_job_name(value.name), queue_names.label(value.queue), value.ending)(1)

    def ran(value: Ran) -> None:
        wait(queue_names.label(value.queue))(value.waited)
        run(_job_name(value.name))(value.seconds)

    def answered(value: Answered) -> None:
        for outcome, count in value.counts.items():
            deliveries(value.channel, outcome)(count)

    measures.observe(Ended, ended)
    measures.observe(Ran, ran)
    measures.observe(Answered, answered)
    measures.observe(
        SingleSent, lambda value: singles(value.channel, SINGLE_OUTCOMES[type(value.outcome)])(1)
    )
    measures.observe(Held, lambda value: held(value.channel)(value.seconds))


def _job_name(name: str) -> str:
    return name if declare.get(name) is not None else OTHER


Add = Callable[[float], None]


@cache
def _counter(figure: Figure) -> Callable[..., Add]:
    """Values of the labels → what counts there. Remembered: looking labels up costs as much as counting."""
    from prometheus_client import Counter

    made = Counter(figure.name, figure.help, figure.labels, registry=None)
    return cache(lambda *labels: made.labels(*labels).inc)


@cache
def _histogram(figure: Figure) -> Callable[..., Add]:
    from prometheus_client import Histogram

    made = Histogram(figure.name, figure.help, figure.labels, registry=None, buckets=figure.buckets)
    return cache(lambda *labels: made.labels(*labels).observe)

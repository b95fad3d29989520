"""What /metrics reads from the ledger, on every database."""

import asyncio
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from prometheus_client import values as prometheus_values
from prometheus_client.parser import text_string_to_metric_families

from longwave.campaigns import lifecycle, preparing, recording, turn
from longwave.campaigns.lane import in_taking_thread
from longwave.campaigns.models import Batch, Bucket, Campaign, CampaignState
from longwave.channels.memory import channel as memory
from longwave.contacts.models import Contact
from longwave.core.outcomes import Gone, Outcome, Throttled, Unknown
from longwave.jobs import (
    beat_lease,
    broker,
    job,
    job_context,
    leases,
    ledger,
    measures,
    pausing,
    presence,
    runner,
)
from longwave.jobs.job_context import JobContext
from longwave.jobs.models import ChoreRun, Job, Schedule
from longwave.ops.metrics import events, page, sending, workers
from longwave.ops.metrics import folder as counts
from longwave.ops.metrics.figures import Part
from longwave.ops.metrics.state import PARTS
from longwave.ops.models import Scaling
from longwave.pacing import ledger as pacing
from longwave.senders import senders
from longwave.senders.models import Sender
from longwave.senders.tasks import send_notification
from tests.waiting import until


@job("metrics.work")
def work(number: int = 0) -> None:
    """Nothing."""


@pytest.fixture(autouse=True)
def _afresh(database: str, rung: list[tuple[int, int]]) -> None:
    page._errors.clear()
    page._failing.clear()
    page._beside.clear()


def values(*parts: Part) -> dict[tuple[str, ...], float]:
    """(name, labels' values …) → value of every sample on the page."""
    text, _ = page.render("", parts or [part for part in PARTS if not part.every])
    return {
        (sample.name.removeprefix("longwave_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_an_empty_ledger_is_all_zeros_and_no_errors() -> None:
    found = values()
    assert {name for name, *_ in found} >= {"queue_ready_jobs", "senders", "campaigns", "beat_running"}
    assert sum(found.values()) == found["info", page.__version__] == 1


def test_queues_say_what_waits_runs_and_for_how_long() -> None:
    ids = work.submit_many([{"number": number} for number in range(4)])
    work.submit(job_queue="email.eu")
    work.submit(job_run_at=timezone.now() + timedelta(hours=1))
    held = ledger.claim(Job.objects.get(pk=ids[0]), 1, "me", 30.0)
    failed = ledger.claim(Job.objects.get(pk=ids[1]), 1, "me", 30.0)
    assert held is not None
    assert failed is not None
    assert leases.retry(failed, 60, "no", "")
    Job.objects.filter(pk=ids[2]).update(ready_at=timezone.now() - timedelta(seconds=90))
    pausing.pause("import")
    found = values()
    assert [found[f"queue_{what}_jobs", "default"] for what in ("ready", "running", "scheduled", "retrying")] == [
        2, 1, 1, 1,
    ]  # fmt: skip
    assert 90 <= found["queue_oldest_wait_seconds", "default"] < 150
    assert found["queue_oldest_wait_seconds", "import"] == 0
    assert (found["queue_paused", "import"], found["queue_paused", "default"]) == (1, 0)
    assert found["queue_ready_jobs", "email.eu"] == 1


def test_queues_beyond_the_bound_and_without_a_proper_name_are_summed() -> None:
    for number in range(103):
        work.submit(job_queue=f"email.r{number:03}")
    Job.objects.filter(pk=work.submit().id).update(queue="broadcast.No Region")
    found = values()
    assert found["queue_ready_jobs", "email.r099"] == 1
    assert ("queue_ready_jobs", "email.r100") not in found
    assert found["queue_ready_jobs", "other"] == 4


def a_campaign(name: str, contacts: int = 10) -> Campaign:
    sender = senders.add("memory", name, f"secret of {name}", rate=25.0)
    if not Contact.objects.exists():
        Contact.objects.bulk_create(Contact(channel="memory", address=str(n)) for n in range(contacts))
    campaign = Campaign.objects.create(sender=sender, content={"text": "hi"}, name=name)
    lifecycle.start(campaign.pk)
    assert preparing.freeze(campaign.pk, until=lambda: False)
    return lifecycle.get(campaign.pk)


def test_senders_say_how_fast_they_may_be_and_are_and_what_holds_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    campaign = a_campaign("shop")
    free = senders.add("memory", "free", "another secret", rate=0)
    now = int(time.time()) // 10
    monkeypatch.setattr(sending.database, "now", lambda: datetime.fromtimestamp(now * 10 + 5, UTC))
    Bucket.objects.create(campaign=campaign, at=now, outcome="sent", count=60)
    Bucket.objects.create(campaign=campaign, at=now - 1, outcome="sent", count=60)
    Bucket.objects.create(campaign=campaign, at=now - 3, outcome="sent", count=1000)
    pacing.hold(senders.limit_key(campaign.sender_id), 40, "asked to wait")
    senders.mark_broken(free.pk, "revoked")
    found = values()
    assert (found["senders", "active"], found["senders", "broken"]) == (1, 1)
    assert found["sender_limit", "shop"] == 25
    assert ("sender_limit", "free") not in found
    assert found["sender_rate", "shop"] == 8  # 120 in 15 seconds
    assert 30 < found["sender_held_seconds", "shop"] <= 40
    assert found["sender_held_seconds", "free"] == 0
    assert (found["sender_broken", "shop"], found["sender_broken", "free"]) == (0, 1)


def test_only_so_many_senders_have_figures_of_their_own() -> None:
    Sender.objects.bulk_create(
        Sender(channel="memory", name=f"s{number}", credentials="") for number in range(sending.SHOWN + 5)
    )
    found = values()
    assert sum(name == "sender_rate" for name, *_ in found) == sending.SHOWN
    assert found["senders", "active"] == sending.SHOWN + 5
    assert ("sender_rate", f"s{sending.SHOWN - 1}") in found


@pytest.fixture
def counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], dict[tuple[str, ...], float]]]:
    """What this process counts from now on: (name, labels' values …) → value, without what is 0."""
    monkeypatch.setattr(prometheus_values, "ValueClass", prometheus_values.ValueClass)
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "")
    folder = tmp_path / "counts"
    counts.prepare(folder, is_shared=False)
    for made in (events._counter, events._histogram):
        made.cache_clear()
    events.count_into(folder)
    yield lambda: {
        (
            sample.name.removeprefix("longwave_"),
            *(value for _, value in sorted(sample.labels.items())),
        ): sample.value
        for family in counts.read(folder)
        for sample in family.samples
        if sample.value
    }
    measures.forget_observers()
    for made in (events._counter, events._histogram):
        made.cache_clear()


def is_over_after_a_turn(campaign: Campaign) -> bool:
    context = JobContext(1, 1, 1, 0, "host:1:1:aa", None, lambda *_: True)
    token = job_context.enter(context)
    try:
        asyncio.run(turn.take(campaign.pk, number=0, generation=campaign.generation))
    finally:
        job_context.leave(token)
    return lifecycle.get(campaign.pk).state == CampaignState.COMPLETED


@pytest.fixture
def _lanes_connect_anew() -> Iterator[None]:
    """Their threads keep connections, which are to an earlier test's database."""
    asyncio.run(forget_connections())
    yield
    asyncio.run(forget_connections())


async def forget_connections() -> None:
    for in_thread in (in_taking_thread, recording._in_recording_thread):
        await in_thread(forget_connection)


def forget_connection() -> None:
    connections.close_all()
    if hasattr(connections._connections, "default"):
        del connections["default"]


@pytest.mark.usefixtures("_lanes_connect_anew")
def test_answers_of_providers_are_counted_and_for_how_long_they_made_campaigns_wait(
    counted: Callable[[], dict[tuple[str, ...], float]],
) -> None:
    campaign = a_campaign("shop", contacts=6)
    outbox = memory.outbox("secret of shop")
    outbox.clear()
    outbox.script_for("1", Gone("blocked"))
    outbox.script_for("2", Unknown("no answer"))
    outbox.script(Throttled(0.3))
    until(lambda: is_over_after_a_turn(campaign), 20, lambda: str(counted()))
    found = counted()
    assert found.pop(("held_seconds_total", "memory")) == pytest.approx(0.3, abs=0.05)
    assert found == {
        ("deliveries_total", "memory", "sent"): 4,
        ("deliveries_total", "memory", "gone"): 1,
        ("deliveries_total", "memory", "unknown"): 1,
        ("deliveries_total", "memory", "throttled"): 1,
    }


@pytest.mark.parametrize(
    ("outcome", "label"), [(None, "sent"), (Gone("blocked"), "gone"), (Unknown("?"), "unknown")]
)
def test_single_messages_are_counted_by_what_they_came_to(
    counted: Callable[[], dict[tuple[str, ...], float]], outcome: Outcome | None, label: str
) -> None:
    sender = senders.add("memory", "one", f"secret of one {label}", rate=0)
    if outcome:
        memory.outbox(f"secret of one {label}").script(outcome)
    job_id = send_notification.submit(
        sender_id=sender.pk, address="ann", content={"text": "hi"}, fields={}
    ).id
    runner.perform("senders.send_notification", [(job_id, 1)])
    found = {key: value for key, value in counted().items() if key[0] == "single_messages_total"}
    assert found == {("single_messages_total", "memory", label): 1}


def test_deliveries_are_those_of_campaigns_that_are_on_their_way() -> None:
    over, alive = a_campaign("over"), a_campaign("alive")
    Batch.objects.filter(campaign=over).update(sent=10)
    Batch.objects.filter(campaign=alive).update(sent=5, gone=2)
    Campaign.objects.filter(pk=over.pk).update(state="completed")
    found = values()
    assert (found["campaigns", "running"], found["campaigns", "completed"]) == (1, 1)
    assert [found["live_deliveries", state] for state in ("sent", "gone", "failed", "pending")] == [
        5,
        2,
        0,
        3,
    ]


def test_the_beat_its_chores_and_the_schedules() -> None:
    assert beat_lease.hold("somebody", 5)
    now = timezone.now()
    ChoreRun.objects.create(
        name="longwave.jobs.sweep.queue_due", last_at=now - timedelta(seconds=7), duration_ms=20
    )
    ChoreRun.objects.create(name="bot.tidy", last_at=now, duration_ms=1, error="ValueError: no")
    ChoreRun.objects.create(name="bot.renamed", last_at=now - timedelta(days=2), duration_ms=1)
    for name, rest in (("kept", {}), ("paused", {"paused_at": now}), ("failing", {"problem": "no such job"})):
        Schedule.objects.create(name=name, job="x", every=60, next_at=now, planned_at=now, **rest)
    found = values()
    assert found["beat_running",] == 1
    assert 7 <= found["chore_age_seconds", "jobs.sweep.queue_due"] < 60
    assert found["chore_duration_seconds", "jobs.sweep.queue_due"] == pytest.approx(0.02)
    assert (found["chore_failed", "jobs.sweep.queue_due"], found["chore_failed", "bot.tidy"]) == (0, 1)
    assert ("chore_failed", "bot.renamed") not in found
    assert [found["schedules", state] for state in ("kept", "paused", "failing")] == [1, 1, 1]


def look_at_workers() -> dict[tuple[str, ...], float]:
    values(workers.PART)
    page._beside["workers"].wait()
    return values(workers.PART)


def test_workers_and_what_does_not_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = presence.Answer("w@h", "h", 1, ["default", "email.eu"], 4, 100.0)
    leaving = presence.Answer("old@h", "h", 2, [], 4, 50.0, is_leaving=True)
    monkeypatch.setattr(presence, "workers", lambda: {"w@h": answer, "old@h": leaving})
    monkeypatch.setattr(broker, "depth", lambda queue: 5 if queue == "default" else 0)
    work.submit_many([{}, {}, {}])
    work.submit(job_queue="import")
    lost = ledger.claim(Job.objects.get(pk=work.submit().id), 1, "me", 30.0)
    assert lost is not None
    Job.objects.filter(pk=lost.id).update(lease_until=timezone.now() - timedelta(seconds=9))
    found = look_at_workers()
    assert (found["broker_up",], found["workers",], found["worker_places",]) == (1, 2, 4)
    assert found["worker_memory_bytes",] == 150 * 1024 * 1024
    assert [found["queue_workers", queue] for queue in ("default", "email.eu", "import")] == [1, 1, 0]
    assert found["drift_jobs", "unserved"] == 1
    assert found["drift_jobs", "stale_message"] == 2
    assert found["drift_jobs", "lost_lease"] == 1
    assert found["drift_jobs", "dead_worker"] == 0
    assert found["scrape_errors_total", "workers"] == 0


def test_what_cannot_be_known_without_the_broker_is_not_shown_as_zero(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(presence, "workers", lambda: None)
    found = look_at_workers()
    assert found["broker_up",] == 0
    assert ("workers",) not in found
    assert [labels for name, *labels in found if name == "drift_jobs"] == [["lost_lease"]]


def test_every_figure_of_a_part_and_no_other_is_read_with_its_labels() -> None:
    a_campaign("shop")
    ChoreRun.objects.create(name="x", last_at=timezone.now(), duration_ms=1)
    Scaling.objects.create(group="files", at=timezone.now(), minimum=1, maximum=4, desired=2)
    for part in PARTS:
        if part.every:
            continue
        found = {reading.figure: len(reading.labels) for reading in part.read()}
        assert found == {figure: len(figure.labels) for figure in part.figures}


def test_a_scrape_is_a_few_statements_however_much_there_is() -> None:
    for number in range(3):
        a_campaign(f"sender {number}")
    with CaptureQueriesContext(
        connection,
    ) as few:
        values()
    for number in range(20):
        senders.add("memory", f"more {number}", f"secret {number}")
        work.submit(job_queue=f"email.r{number}")
    with CaptureQueriesContext(connection) as more:
        values()
    assert len(more) == len(few) < 20

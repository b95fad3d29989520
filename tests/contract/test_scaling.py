"""What a group of queues has to do, and what is decided of it, on every database."""

import io
import json
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import pytest
import structlog.testing
from django.db import OperationalError
from django.db.models.functions import Now
from django.test import Client
from django.utils import timezone
from rich.console import Console

from longwave.campaigns import lifecycle, preparing, tending
from longwave.campaigns import tasks as campaigns
from longwave.campaigns.models import Campaign
from longwave.cli import status as status_command
from longwave.contacts.models import Contact
from longwave.core.scaling import Limits, Load
from longwave.database import clock_us
from longwave.jobs import broker, failed, job, leases, ledger, pausing, presence, sweep
from longwave.jobs.failed import Wanted
from longwave.jobs.models import Job, Status
from longwave.ops import status as overview
from longwave.ops.models import Scaling, ScalingDecision
from longwave.ops.scaling import deciding, published
from longwave.ops.scaling.deciding import Decider
from longwave.ops.scaling.load import Group, Meter, run_times
from longwave.pacing import ledger as pacing
from longwave.pacing.models import Limit
from longwave.senders import senders, tasks
from longwave.senders.models import Sender

LIMITS = Limits(minimum=1, maximum=8, target_wait=30, calm=60)
FILES = Group("files", ("default", "file_processing"), 2, LIMITS)
SEND = Group("send", ("campaigns", "broadcast", "broadcast.eu"), 20, LIMITS)
BOTS = Group("bots", ("notifications",), 2, LIMITS)


@job("scaling.work")
def work(number: int) -> None:
    """Nothing."""


@pytest.fixture(autouse=True)
def _afresh(database: str, monkeypatch: pytest.MonkeyPatch, rung: list[tuple[int, int]]) -> None:
    monkeypatch.setattr(broker, "depth", lambda queue: 0)


def load(group: Group = FILES) -> Load:
    return Meter().measure([group])[group.name]


def submitted(count: int, **options: Any) -> list[int]:
    return [work.submit(number=number, **options).id for number in range(count)]


def aged(ids: list[int], seconds: float) -> None:
    """They were submitted that long ago."""
    long_ago = timezone.now() - timedelta(seconds=seconds)
    Job.objects.filter(pk__in=ids).update(created_at=long_ago, ready_at=long_ago)


def ended(seconds: float, *, name: str = "scaling.work", owner: str = "", together: int = 1) -> None:
    """Jobs that ran one after another under one claim, for `seconds` in all."""
    end = timezone.now()
    times = {"started_at": end - timedelta(seconds=seconds), "finished_at": end}
    for _ in range(together):
        Job.objects.create(name=name, queue="default", status=Status.SUCCESS, owner=owner, **times)


# --- what is ready ----------------------------------------------------------------------------------------------------


def test_what_may_run_now_is_ready_and_what_runs_takes_a_place() -> None:
    aged(submitted(3), 40)
    submitted(2, job_queue="file_processing")
    submitted(4, job_queue="import")  # of another group
    ledger.claim_many("scaling.work", [(Job.objects.order_by("pk")[0].pk, 1)], "host:1:1:a", 60)
    seen = load()
    assert (seen.ready, seen.running, seen.limited) == (4, 1, 0)
    assert 40 <= seen.oldest_wait < 60


def test_nothing_at_all_is_a_load_of_nothing() -> None:
    assert load() == Load(concurrency=2)


def test_a_paused_queue_and_what_is_before_its_time_are_not_ready() -> None:
    submitted(3)
    submitted(2, job_queue="file_processing")
    submitted(5, job_run_at=timezone.now() + timedelta(hours=1))
    Job.objects.filter(pk__in=submitted(1)).update(status=Status.RETRY, run_at=timezone.now())
    pausing.pause("default")
    assert load().ready == 2


def test_of_each_serial_key_only_the_first_is_ready_and_none_while_one_runs() -> None:
    for key in ("chat 1", "chat 2", "chat 3"):
        submitted(10, job_serial_key=key)
    assert load().ready == 3
    first = Job.objects.order_by("pk").first()
    assert first is not None
    assert ledger.claim(first, 1, "host:1:1:a", 60) is not None
    assert (load().ready, load().running) == (2, 1)


def test_what_is_queued_again_has_waited_since_then() -> None:
    ids = submitted(3)
    aged(ids, 3600)
    turn, crashed, once = (ledger.claim(Job.objects.get(pk=pk), 1, f"host:{pk}:1:a", 60) for pk in ids)
    assert turn is not None
    assert crashed is not None
    assert once is not None
    Job.objects.update(started_at=timezone.now() - timedelta(seconds=600))
    leases.requeue(turn)
    sweep.expire_owner(f"host:{crashed.id}:")
    leases.fail(once, "no luck", "")
    failed.rerun(Wanted(ids=(once.id,)))
    assert (load().ready, load().oldest_wait < 60) == (3, True)


@pytest.mark.parametrize("number", [None, "abc", 1.5, -1, 10**30, [], {"a": 1}])
def test_a_sender_or_campaign_that_cannot_be_is_one_job_like_any_other(number: Any) -> None:
    tasks.send_notification.submit(sender_id=number, address="1", content={}, fields={})
    assert load(BOTS).ready == 1
    lanes = [campaigns.lane.submit(campaign_id=one, number=1, generation=1).id for one in (7, number, number)]
    Job.objects.filter(pk=lanes[2]).update(status=Status.RUNNING, owner="host:1:1:a")
    assert (load(SEND).ready, load(SEND).running) == (2, 1)


def test_jobs_that_were_claimed_together_take_one_place_and_the_rest_of_them_waits() -> None:
    pairs = [(job_id, 1) for job_id in submitted(50)]
    ledger.claim_many("scaling.work", pairs, "host:1:1:a", 60)
    assert (load().running, load().ready) == (1, 49)


# --- how long they run ------------------------------------------------------------------------------------------------


def test_run_times_are_medians_by_name_and_weighed_by_what_waits() -> None:
    for seconds in (2, 2, 50):
        ended(seconds, owner=f"host:1:1:{seconds}{Job.objects.count()}")
    ended(10, name="scaling.slow", owner="host:1:1:b")
    assert run_times(100) == pytest.approx({"scaling.work": 2, "scaling.slow": 10}, rel=0.01)
    submitted(3)
    Job.objects.filter(pk__in=submitted(1)).update(name="scaling.slow")
    assert load().run_seconds == pytest.approx((3 * 2 + 10) / 4, rel=0.01)


def test_jobs_that_ran_under_one_claim_share_its_time() -> None:
    ended(1.0, owner="host:1:1:a", together=50)
    assert run_times(100)["scaling.work"] == pytest.approx(0.02, rel=0.05)


def test_a_run_time_is_remembered_when_others_have_ended_since(monkeypatch: pytest.MonkeyPatch) -> None:
    ended(7, owner="host:1:1:a")
    meter = Meter()
    meter.measure([FILES])
    Job.objects.all().delete()
    submitted(2)
    assert meter.measure([FILES])["files"].run_seconds == pytest.approx(7, rel=0.01)


def test_where_none_has_ended_a_second_is_assumed() -> None:
    submitted(2)
    assert load().run_seconds == 1.0


# --- senders' rates ---------------------------------------------------------------------------------------------------


def a_sender(rate: float | None, channel: str = "memory", region: str = "") -> Sender:
    number = Sender.objects.count()
    sender = senders.add("memory", f"shop {number}", f"secret {number}", region=region)
    Sender.objects.filter(pk=sender.pk).update(rate=rate, channel=channel)
    return Sender.objects.get(pk=sender.pk)


def lanes(sender: Sender, campaigns: int = 1, rate: float | None = None) -> list[Campaign]:
    """Running campaigns that have their four lanes each, none of them begun."""
    if not Contact.objects.exists():
        Contact.objects.bulk_create(Contact(channel="memory", address=str(n)) for n in range(1, 101))
    found = []
    for _ in range(campaigns):
        campaign = Campaign.objects.create(
            sender=sender, content={"text": "hi"}, name="Spring", batch_size=20, rate=rate
        )
        lifecycle.start(campaign.pk)
        assert preparing.freeze(campaign.pk, until=lambda: False)
        found.append(campaign)
    tending.tend()
    Job.objects.filter(name="campaigns.prepare").delete()
    return found


def use_up(key: str) -> None:
    """As lanes do that keep up with its rate: the next slot is ahead. Farther here, so that no test is too slow."""
    Limit.objects.update_or_create(key=key, defaults={"next_free": clock_us() + 20_000_000})


def test_lanes_count_while_their_sender_has_slots_left_and_no_more_than_drive_its_rate() -> None:
    sender = a_sender(30)
    lanes(sender, 3)
    seen = load(SEND)
    assert (seen.ready, seen.limited, seen.run_seconds) == (1, 11, 30)
    Sender.objects.update(rate=1000)
    assert (load(SEND).ready, load(SEND).limited) == (4, 8)
    use_up(f"sender:{sender.pk}")
    assert (load(SEND).ready, load(SEND).limited, load(SEND).oldest_wait) == (0, 12, 0)


def test_lanes_of_a_sender_that_is_at_work_already_are_counted_off() -> None:
    lanes(a_sender(1000), 2)
    running = Job.objects.filter(name="campaigns.lane").order_by("pk")[:3]
    ledger.claim_many("campaigns.lane", [(row.pk, row.seq) for row in running], "host:1:1:a", 60)
    Job.objects.filter(pk__in=[row.pk for row in running[1:]]).update(owner="host:1:1:b")
    assert (load(SEND).ready - 1, load(SEND).limited) == (1, 4)


@pytest.mark.parametrize("rate", [30.0, None])
def test_a_sender_that_is_held_brings_nobody(rate: float | None) -> None:
    sender = a_sender(rate, region="eu")
    lanes(sender)
    assert load(SEND).ready == (1 if rate else 4)
    pacing.hold(f"sender:{sender.pk}", 60, "asked to wait")
    assert (load(SEND).ready, load(SEND).limited) == (0, 4)


def test_a_sender_that_is_broken_brings_nobody() -> None:
    sender = a_sender(None)
    lanes(sender)
    Sender.objects.filter(pk=sender.pk).update(status="broken")
    assert (load(SEND).ready, load(SEND).limited) == (0, 4)


def test_a_lane_takes_its_turn_however_little_the_last_ones_had_to_send() -> None:
    ended(0.5, name="campaigns.lane", owner="host:1:1:a")
    lanes(a_sender(None))
    assert load(SEND).run_seconds == 30


def test_without_a_rate_every_lane_counts() -> None:
    lanes(a_sender(None), 3)
    assert (load(SEND).ready, load(SEND).limited) == (12, 0)


def test_a_campaign_at_its_own_rate_brings_nobody_and_another_of_its_sender_does() -> None:
    sender = a_sender(None)
    (slow,) = lanes(sender, rate=5)
    assert (load(SEND).ready, load(SEND).limited) == (1, 3)
    use_up(f"campaign:{slow.pk}")
    lanes(sender)
    assert (load(SEND).ready, load(SEND).limited) == (4, 4)


def test_single_messages_count_as_far_as_their_sender_and_chat_allow() -> None:
    sender = a_sender(2, channel="telegram")
    send = job_of("senders.send_notification")
    for chat in range(100):
        send.submit(sender_id=sender.pk, address=str(chat), content={}, fields={})
    assert (load(BOTS).ready, load(BOTS).limited) == (60, 40)  # 2/s for the 30 s that are accepted
    use_up(f"sender:{sender.pk}")
    assert (load(BOTS).ready, load(BOTS).limited) == (0, 100)

    flooded = a_sender(1000, channel="telegram")
    for _ in range(100):
        send.submit(sender_id=flooded.pk, address="7", content={}, fields={})
    assert (load(BOTS).ready, load(BOTS).limited) == (30, 170)  # 1/s for one chat


def job_of(name: str) -> Any:
    from longwave.jobs import declare, rooms

    rooms.load()
    return declare.find(name)


# --- deciding ---------------------------------------------------------------------------------------------------------


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_decision_is_written_down_with_its_reason_and_only_changes_are_kept() -> None:
    submitted(240)
    decider = Decider([FILES, BOTS], "host:1")
    with structlog.testing.capture_logs() as lines:
        for _ in range(4):
            decider.turn()
    row = Scaling.objects.get(group="files")
    assert (row.desired, row.minimum, row.maximum, row.ready, row.owner) == (4, 1, 8, 240, "host:1")
    assert "240 ready of 1 s each need 4 workers to begin within 30 s" in row.reason
    kept = list(ScalingDecision.objects.order_by("pk").values_list("group", "before", "desired"))
    assert kept == [("files", 1, 2), ("files", 2, 4)]
    said = [line for line in lines if line["event"] == "scaled"]
    assert [(line["before"], line["desired"]) for line in said] == [(1, 2), (2, 4)]
    assert Scaling.objects.get(group="bots").desired == 1


def test_one_process_decides_until_its_lease_runs_out_and_the_next_one_goes_on_from_there() -> None:
    submitted(240)
    first, second = Decider([FILES], "host:1"), Decider([FILES], "host:2")
    with structlog.testing.capture_logs() as lines:
        assert [look.decision.desired for look in first.turn()] == [2]
        assert second.turn() == second.turn() == []
    waits = [line for line in lines if line["event"] == "autoscaler_waits"]
    assert [(line["group"], line["decided_by"]) for line in waits] == [("files", "host:1")]

    Scaling.objects.update(lease_until=Now() - timedelta(seconds=1))  # it was killed
    assert [look.decision.desired for look in second.turn()] == [4]
    assert first.turn() == []
    second.leave()
    assert [look.before for look in first.turn()] == [4]


def test_a_lease_that_only_a_clock_set_back_can_have_dated_is_taken_over() -> None:
    first, second = Decider([FILES], "host:1"), Decider([FILES], "host:2")
    assert first.turn()
    Scaling.objects.update(lease_until=Now() + timedelta(seconds=deciding.LONGEST_LEASE))
    assert second.turn() == []  # its looks take long
    Scaling.objects.update(lease_until=Now() + timedelta(hours=1))
    assert second.turn()
    assert first.turn() == []


def test_where_looking_takes_long_it_is_done_less_often_and_the_lease_lasts_until_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, measure = Clock(), Meter.measure
    decider = Decider([FILES], "host:1", every=5, clock=clock)
    decider.turn()
    assert decider.pause == 5

    def slowly(self: Meter, groups: Any) -> Any:
        clock.now += 1.5
        return measure(self, groups)

    monkeypatch.setattr(Meter, "measure", slowly)
    decider.turn()
    assert decider.pause == 15
    row = Scaling.objects.annotate(now=Now()).get()
    assert 40 < (row.lease_until - row.now).total_seconds() <= 45


def test_what_was_decided_long_ago_is_not_gone_on_from() -> None:
    Decider([FILES], "host:1").turn()
    Scaling.objects.update(desired=7, owner="", at=Now() - timedelta(hours=1))
    assert [look.before for look in Decider([FILES], "host:2").turn()] == [1]


def test_a_group_that_was_lost_between_looking_and_writing_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    submitted(240)
    decider = Decider([FILES], "host:1")
    measure = Meter.measure

    def slowly(self: Meter, groups: Any) -> Any:
        Scaling.objects.update(owner="host:2")
        return measure(self, groups)

    monkeypatch.setattr(Meter, "measure", slowly)
    assert decider.turn() == []
    assert not ScalingDecision.objects.exists()


def test_looking_once_changes_nothing() -> None:
    submitted(240)
    (look,) = deciding.look_once([FILES])
    assert (look.before, look.decision.desired, look.is_change) == (1, 2, True)
    assert not Scaling.objects.exists()


def test_fewer_come_when_the_calm_is_over() -> None:
    clock = Clock()
    decider = Decider([FILES], "host:1", clock=clock)
    ids = submitted(240)
    for _ in range(2):
        decider.turn()
    Job.objects.filter(pk__in=ids).delete()
    desired = []
    for clock.now in range(0, 160, 5):
        desired += [look.decision.desired for look in decider.turn()]
    assert (desired[0], desired[-1], sorted(set(desired))) == (4, 1, [1, 2, 3, 4])


# --- what is published ------------------------------------------------------------------------------------------------


def test_a_number_that_nobody_looked_at_again_is_stale_and_that_is_said_once() -> None:
    Decider([FILES], "host:1").turn()
    assert not published.find("files").is_stale
    assert published.miss_silent() == []
    long_ago = Now() - timedelta(seconds=90)
    Scaling.objects.update(at=long_ago, lease_until=long_ago)
    assert published.find("files").is_stale
    with structlog.testing.capture_logs() as lines:
        assert (published.miss_silent(), published.miss_silent()) == (["files"], [])
    assert [line["decided_by"] for line in lines] == ["host:1"]


def test_who_has_left_in_order_is_not_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "workers", lambda: None)
    decider = Decider([FILES], "host:1")
    decider.turn()
    decider.leave()
    assert published.find("files").is_over
    assert overview.look().scaling == []
    Scaling.objects.update(at=Now() - timedelta(seconds=90))
    assert published.miss_silent() == []
    assert published.groups() == []
    assert 'longwave_desired_workers_stale{group="files"}' not in Client().get("/metrics").content.decode()
    assert Client().get("/scaling/files").status_code == 404


def test_who_has_taken_over_stays_when_the_one_before_leaves() -> None:
    first, second = Decider([FILES], "host:1"), Decider([FILES], "host:2")
    first.turn()
    Scaling.objects.update(lease_until=Now() - timedelta(seconds=1))
    second.turn()
    first.leave()
    Scaling.objects.update(at=Now() - timedelta(seconds=90), lease_until=Now() - timedelta(seconds=75))
    assert [(one.is_stale, one.is_over) for one in published.groups()] == [(True, False)]


def test_who_was_killed_is_still_told_of_when_that_was_said() -> None:
    Decider([FILES], "host:1").turn()
    long_ago = Now() - timedelta(seconds=90)
    Scaling.objects.update(at=long_ago, lease_until=long_ago)
    published.miss_silent()
    assert [(one.is_stale, one.is_over) for one in published.groups()] == [(True, False)]


def test_decisions_go_after_a_month_and_groups_without_anybody_after_a_day() -> None:
    submitted(240)
    Decider([FILES], "host:1").turn()
    Decider([BOTS], "host:1").turn()
    assert published.forget_old() == 0
    ScalingDecision.objects.update(at=Now() - timedelta(days=31))
    Scaling.objects.filter(group="bots").update(at=Now() - timedelta(days=2), owner="")
    assert published.forget_old() == 2
    assert [one.group for one in published.groups()] == ["files"]


def test_other_scalers_read_the_number_over_http() -> None:
    client = Client()
    assert client.get("/scaling").json() == {"groups": []}
    assert client.get("/scaling/files").status_code == 404
    assert "longwave autoscale --group files" in client.get("/scaling/files").json()["error"]

    submitted(240)
    decider = Decider([FILES, BOTS], "host:1")
    decider.turn()
    decider.turn()
    answer = client.get("/scaling/files?fresh=1")
    told = answer.json()
    assert answer.status_code == 200
    assert (told["group"], told["desired"], told["min"], told["max"]) == ("files", 4, 1, 8)
    assert (told["is_stale"], told["ready"]) == (False, 240)
    assert "240 ready" in told["reason"]
    assert [one["group"] for one in client.get("/scaling").json()["groups"]] == ["bots", "files"]

    Scaling.objects.update(at=Now() - timedelta(seconds=61))
    assert client.get("/scaling/files").json()["is_stale"]
    assert client.get("/scaling/files").status_code == 200
    assert client.get("/scaling/files?fresh=1").status_code == 503


def test_a_database_that_is_away_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OperationalError("connection refused")

    monkeypatch.setattr(published, "find", fail)
    monkeypatch.setattr(published, "groups", fail)
    for path in ("/scaling", "/scaling/files"):
        assert Client().get(path).status_code == 503
        assert Client().get(path).json() == {"error": "The database does not answer."}


def test_prometheus_reads_the_number_too() -> None:
    submitted(240)
    Decider([FILES], "host:1").turn()
    page = Client().get("/metrics").content.decode()
    assert 'longwave_desired_workers{group="files"} 2.0' in page
    assert 'longwave_desired_workers_min{group="files"} 1.0' in page
    assert 'longwave_desired_workers_max{group="files"} 8.0' in page
    assert 'longwave_desired_workers_stale{group="files"} 0.0' in page


def test_status_shows_the_number_and_why_or_that_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "workers", lambda: None)

    def shown() -> str:
        screen = Console(width=200, file=io.StringIO(), record=True)
        screen.print(status_command._drawn(overview.look(), everything=False))
        return screen.export_text()

    assert "because" not in shown()
    submitted(240)
    Decider([FILES], "host:1").turn()
    assert "240 ready of 1 s each need 4 workers" in shown()
    json.dumps(asdict(overview.look()))
    Scaling.objects.update(at=Now() - timedelta(seconds=61))
    assert "nobody has looked since" in shown()

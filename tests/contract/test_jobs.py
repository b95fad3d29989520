"""The job ledger, the same on every database: who may start what, what becomes of it, and what the sweeper returns."""

import math
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import structlog.testing
from django.db import OperationalError, connections, transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from longwave import config
from longwave import database as clocks
from longwave.core.errors import InvalidInput, NotFound
from longwave.jobs import (
    Again,
    Cancelled,
    beat_lease,
    broker,
    cancelling,
    chores,
    declare,
    deserted,
    endings,
    epoch,
    job,
    job_context,
    leases,
    ledger,
    pending,
    prune,
    runner,
    sweep,
)
from longwave.jobs.models import Epoch, Job, JobSpan, Status
from longwave.jobs.spans import trace_operation
from longwave.jobs.states import JOB

runs: list[Any] = []


@job("tests.note")
def note(value: object = None) -> object:
    """Remember that it ran."""
    runs.append(value)
    return {"noted": value}


@job("tests.scripted", retries=2, backoff=(10, 60), max_crashes=3)
def scripted(plan: str) -> object:
    """Do as told."""
    runs.append((plan, job_context.current().attempt))
    match plan:
        case "raise":
            raise RuntimeError("no luck \0 \ud800")
        case "give up":
            raise NotFound("There is no such thing.")
        case "again":
            return Again(why="more to do")
        case "later":
            return Again(after=30)
        case "much later":
            return Again(after=math.inf)
        case "take back":
            raise Cancelled("not needed")
        case "odd result":
            return object()
    return plan


class Speechless(Exception):
    """As some libraries have them: what they would say is not there."""

    def __str__(self) -> str:
        return str(self.args[0])


@job("tests.speechless", retries=0)
def speechless() -> None:
    """Fail without a word."""
    with trace_operation("asking"):
        raise Speechless


@job("tests.lane", max_crashes=None)
def lane() -> None:
    """Never poison."""


@job("tests.coroutine")
async def coroutine(value: int) -> int:
    """Run on the loop, with its context."""
    runs.append(job_context.current().id)
    return value + 1


class Broker:
    """Stands where the broker is: keeps what was published, can be away."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, str, list[tuple[int, int]]]] = []
        self.depths: dict[str, int] = {}
        self.is_away = False

    def publish(self, name: str, queue: str, messages: Sequence[Sequence[tuple[int, int]]]) -> None:
        self._answer()
        self.messages += [(name, queue, list(pairs)) for pairs in messages]

    def depth(self, queue: str) -> int:
        self._answer()
        return self.depths.get(queue, 0)

    def put(self, queue: str) -> None:
        self._answer()
        self.depths[queue] = self.depths.get(queue, 0) + 1

    def delete(self, queue: str) -> None:
        self._answer()
        self.depths.pop(queue, None)

    def heard(self) -> list[tuple[int, int]]:
        """All pairs published since the last question."""
        pairs = [pair for _, _, pairs in self.messages for pair in pairs]
        self.messages.clear()
        return pairs

    def _answer(self) -> None:
        if self.is_away:
            raise broker.BrokerAway("gone")


@pytest.fixture(autouse=True)
def bell(monkeypatch: pytest.MonkeyPatch) -> Iterator[Broker]:
    runs.clear()
    fake = Broker()
    for name in ("publish", "depth", "put", "delete"):
        monkeypatch.setattr(broker, name, getattr(fake, name))
    yield fake
    runner.coroutines.close()


def row(job_id: int) -> Job:
    return Job.objects.get(pk=job_id)


def start(job_id: int, owner: str = "host:1:2:x", seq: int | None = None) -> ledger.Claim | None:
    found = row(job_id)
    return ledger.claim(found, found.seq if seq is None else seq, owner, 30.0)


def started(job_id: int, owner: str = "host:1:2:x") -> ledger.Claim:
    held = start(job_id, owner)
    assert held is not None
    return held


def lease_runs_out(job_id: int) -> None:
    Job.objects.filter(pk=job_id).update(lease_until=Now() - timedelta(seconds=1))


def time_has_come(job_id: int) -> None:
    Job.objects.filter(pk=job_id).update(run_at=Now() - timedelta(seconds=1))


def rung_long_ago(seconds: float) -> None:
    Job.objects.update(rung_at=Now() - timedelta(seconds=seconds))


def in_threads(count: int, work: Any) -> list[Any]:
    """`work(number)` in so many threads at once, each with a connection of its own."""
    barrier = threading.Barrier(count)

    def one(number: int) -> Any:
        barrier.wait()
        try:
            return work(number)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


# Submitting


def test_a_job_is_rung_after_the_commit_and_not_at_all_after_a_rollback(database: str, bell: Broker) -> None:
    with transaction.atomic():
        kept = note.submit(value=1)
        assert bell.heard() == []
    assert bell.heard() == [(kept.id, 1)]
    with transaction.atomic():
        note.submit(value=2)
        transaction.set_rollback(True)
    assert bell.heard() == []
    assert Job.objects.count() == 1


def test_many_jobs_keep_their_order_and_share_messages(database: str, bell: Broker) -> None:
    ids = note.submit_many([{"value": number} for number in range(1500)])
    assert [row(job_id).args["value"] for job_id in (ids[0], ids[999], ids[1000], ids[-1])] == [
        0,
        999,
        1000,
        1499,
    ]
    assert len(set(ids)) == 1500
    assert {len(pairs) for _, _, pairs in bell.messages} == {50}
    assert bell.heard() == [(job_id, 1) for job_id in ids]


def test_many_jobs_are_all_or_none(database: str, bell: Broker) -> None:
    with pytest.raises(InvalidInput, match="nonsense"):
        note.submit_many([{"value": 1}, {"nonsense": 2}])
    assert Job.objects.count() == 0


def test_a_database_that_returns_no_ids_counts_them(database: str, bell: Broker) -> None:
    if "mysql" not in database:
        pytest.skip("only MySQL returns no ids, and MariaDB can stand in for it")
    note.submit(value="before")
    rows = [Job(name="tests.note", queue="default", args={"value": number}) for number in range(50)]
    ids = ledger._insert_counting(rows)
    assert [row(job_id).args["value"] for job_id in ids] == list(range(50))


def test_a_job_for_later_is_not_rung_before(database: str, bell: Broker) -> None:
    later = note.submit(job_run_at=timezone.now() + timedelta(hours=1))
    assert row(later.id).status == Status.SCHEDULED
    assert bell.heard() == []
    assert sweep.queue_due() == 0
    time_has_come(later.id)
    assert sweep.queue_due() == 1
    assert bell.heard() == [(later.id, 2)]
    assert runner.execute(later.id, 2)


@pytest.mark.parametrize("ahead", [timedelta(hours=1), timedelta(hours=-1)])
def test_a_bot_whose_clock_is_wrong_has_a_job_run_no_earlier_and_no_later(
    database: str, bell: Broker, monkeypatch: pytest.MonkeyPatch, ahead: timedelta
) -> None:
    monkeypatch.setattr(
        clocks, "now", lambda: timezone.now() - ahead
    )  # so much is this process' clock ahead of it
    now = timezone.now() - ahead
    soon, before = now + timedelta(minutes=30), now - timedelta(minutes=30)
    ids = [note.submit(job_run_at=moment).id for moment in (soon, before)]
    ids += note.submit_many([{"job_run_at": moment} for moment in (soon, before)])
    assert [row(job_id).status for job_id in ids] == [Status.SCHEDULED, Status.QUEUED] * 2
    assert bell.heard() == [(ids[1], 1), (ids[3], 1)]


def test_submitting_twice_with_one_dedupe_key_is_one_job(database: str, bell: Broker) -> None:
    first = note.submit(value=1, job_dedupe_key="one")
    assert note.submit(value=2, job_dedupe_key="one") == type(first)(first.id, False)
    assert note.submit_many([{"value": 3, "job_dedupe_key": "one"}]) == [first.id]
    assert bell.heard() == [(first.id, 1)]
    runner.execute(first.id, 1)
    assert note.submit(value=4, job_dedupe_key="one").created


def test_dedupe_keys_differ_in_case_accents_blanks_and_job(database: str, bell: Broker) -> None:
    keys = ["a", "A", "ä", "a ", " a", "a" * 5000]
    assert len({note.submit(job_dedupe_key=key).id for key in keys}) == len(keys)
    assert scripted.submit(plan="x", job_dedupe_key="a").created


def test_one_of_many_concurrent_submitters_creates_the_job(database: str, bell: Broker) -> None:
    handles = in_threads(6, lambda number: note.submit(value=number, job_dedupe_key="race"))
    assert [handle.created for handle in handles].count(True) == 1
    assert len({handle.id for handle in handles}) == 1


def test_whoever_meets_others_at_a_dedupe_key_is_not_told_of_their_deadlock(
    database: str, bell: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    victims = {"insert_unique": ledger, "cancel": pending, "ask_to_stop": leases}
    for verb, room in victims.items():
        monkeypatch.setattr(room, verb, given_up_once(getattr(room, verb)))
    queued = note.submit(job_dedupe_key="mine")
    started(running := note.submit(job_dedupe_key="another").id)
    assert queued.created
    assert cancelling.cancel(queued.id, "not needed")
    assert cancelling.cancel(running, "not needed")
    assert (row(queued.id).status, row(running).cancel_reason) == (Status.CANCELLED, "not needed")


def given_up_once(move: Any) -> Any:
    """As MySQL and MariaDB do it, mostly under load, to one of two who wait for each other."""
    given_up = []

    def deadlock(*given: Any) -> object:
        if not given_up:
            given_up.append(True)
            raise OperationalError(
                "(1213, 'Deadlock found when trying to get lock; try restarting transaction')"
            )
        return move(*given)

    return deadlock


def test_a_dedupe_key_in_a_callers_transaction_leaves_it_usable(database: str, bell: Broker) -> None:
    note.submit(job_dedupe_key="mine")
    with transaction.atomic():
        assert not note.submit(job_dedupe_key="mine").created
        other = note.submit(value=2)
    assert row(other.id).status == Status.QUEUED


# Starting


def test_one_of_many_concurrent_claims_wins(database: str, bell: Broker) -> None:
    ids = note.submit_many([{"value": number} for number in range(5)])
    for job_id in ids:
        wins = in_threads(6, lambda number, job_id=job_id: start(job_id, owner=f"host:1:{number}:x"))
        assert len([win for win in wins if win is not None]) == 1
        assert row(job_id).attempt == 1


def test_a_message_of_an_older_move_starts_nothing(database: str, bell: Broker) -> None:
    handle = note.submit()
    Job.objects.update(seq=F("seq") + 1)
    assert not runner.execute(handle.id, 1)
    assert runner.execute(handle.id, 2)
    assert not runner.execute(handle.id, 2)
    assert runs == [None]


def test_a_claim_whose_answer_was_lost_is_recognised(database: str, bell: Broker) -> None:
    handle = note.submit()
    first = start(handle.id, owner="host:1:2:nonce")
    assert start(handle.id, owner="host:1:2:nonce", seq=1) == first
    assert start(handle.id, owner="host:1:2:other", seq=1) is None


def test_jobs_of_one_serial_key_run_one_at_a_time_in_order(database: str, bell: Broker) -> None:
    first, second, third = note.submit_many([{"value": n, "job_serial_key": "chat:1"} for n in range(3)])
    other = note.submit(value="other", job_serial_key="chat:2")
    bell.heard()
    assert not runner.execute(second, 1)
    held = started(first)
    assert not runner.execute(second, 1)
    assert runner.execute(other.id, 1)
    assert bell.heard() == []
    assert ledger.finish(held, None)
    endings.ring_next("chat:1")
    assert bell.heard() == [(second, 1)]
    assert not runner.execute(third, 1)
    assert runner.execute(second, 1)
    assert bell.heard() == [(third, 1)]
    assert runner.execute(third, 1)
    assert runs == ["other", 1, 2]


def test_a_retrying_job_keeps_its_place_before_its_successors(database: str, bell: Broker) -> None:
    first, second = scripted.submit_many(
        [{"plan": plan, "job_serial_key": "k"} for plan in ("raise", "fine")]
    )
    runner.execute(first, 1)
    assert row(first).status == Status.RETRY
    assert not runner.execute(second, 1)


def test_a_serial_key_is_exclusive_even_when_the_order_was_not_seen(database: str, bell: Broker) -> None:
    first, second = note.submit_many([{"value": n, "job_serial_key": "k"} for n in range(2)])
    Job.objects.filter(pk=second).update(status=Status.RUNNING, serial_slot="k")  # it was first, unseen
    assert start(first) is None
    assert row(first).status == Status.QUEUED


# Ending


def test_a_finished_job_keeps_its_result_and_frees_its_slots(database: str, bell: Broker) -> None:
    handle = note.submit(value=["ä", 1, None], job_serial_key="k", job_dedupe_key="d")
    assert runner.execute(handle.id, 1)
    done = row(handle.id)
    assert (done.status, done.result) == (Status.SUCCESS, {"noted": ["ä", 1, None]})
    assert (done.serial_slot, done.dedupe_slot, done.lease_until) == (None, None, None)
    assert done.started_at is not None
    assert done.finished_at is not None
    assert done.created_at <= done.started_at <= done.finished_at


def test_a_job_that_raises_is_retried_as_declared_and_then_kept_as_failed(
    database: str, bell: Broker
) -> None:
    handle = scripted.submit(plan="raise")
    for pause in (10, 60):
        assert runner.execute(handle.id, row(handle.id).seq)
        waiting = row(handle.id)
        assert waiting.status == Status.RETRY
        assert waiting.run_at is not None
        assert pause * 0.8 < (waiting.run_at - timezone.now()).total_seconds() < pause * 1.11
        time_has_come(handle.id)
        assert sweep.queue_due() == 1
    assert runner.execute(handle.id, row(handle.id).seq)
    failed = row(handle.id)
    assert (failed.status, failed.failures, failed.attempt) == (Status.FAILURE, 3, 3)
    assert failed.error.startswith("RuntimeError: no luck")
    assert "def scripted" not in failed.error
    assert "Traceback" in failed.traceback
    assert "\0" not in failed.error + failed.traceback


def test_an_error_that_trying_again_cannot_mend_is_final(database: str, bell: Broker) -> None:
    handle = scripted.submit(plan="give up")
    runner.execute(handle.id, 1)
    assert (row(handle.id).status, row(handle.id).error) == (Status.FAILURE, "There is no such thing.")


def test_an_error_that_cannot_say_what_it_is_fails_the_job_as_any_other(database: str, bell: Broker) -> None:
    handle = speechless.submit()
    runner.execute(handle.id, 1)
    told = "Speechless: (its text cannot be read: IndexError)"
    assert (row(handle.id).status, row(handle.id).error) == (Status.FAILURE, told)
    assert JobSpan.objects.get(job_id=handle.id).error == told


def test_a_result_that_json_cannot_carry_fails_without_a_second_run(database: str, bell: Broker) -> None:
    handle = scripted.submit(plan="odd result")
    runner.execute(handle.id, 1)
    assert row(handle.id).status == Status.FAILURE
    assert "what it returned" in row(handle.id).error


def test_again_burns_no_attempt_and_is_rung_at_once(database: str, bell: Broker) -> None:
    handle = scripted.submit(plan="again")
    Job.objects.update(failures=1, crashes=2)
    bell.heard()
    for turn in range(1, 4):
        assert runner.execute(handle.id, turn)
        assert bell.heard() == [(handle.id, turn + 1)]
    now = row(handle.id)
    assert (now.status, now.attempt, now.failures, now.crashes) == (Status.QUEUED, 0, 0, 0)


def test_again_with_a_pause_waits_in_the_ledger(database: str, bell: Broker) -> None:
    handle = scripted.submit(plan="later")
    runner.execute(handle.id, 1)
    waiting = row(handle.id)
    assert (waiting.status, waiting.attempt, waiting.failures) == (Status.RETRY, 0, 0)
    assert waiting.run_at is not None
    assert 25 < (waiting.run_at - timezone.now()).total_seconds() < 31


def test_again_with_a_pause_that_no_ledger_can_hold_fails_the_job_at_once(
    database: str, bell: Broker
) -> None:
    handle = scripted.submit(plan="much later")
    runner.execute(handle.id, 1)
    assert row(handle.id).status == Status.FAILURE
    assert "after = inf: must be seconds" in row(handle.id).error


@pytest.mark.parametrize("after", [math.inf, -math.inf, math.nan, 1e12, "5", None])
def test_again_is_refused_where_it_is_made(after: Any) -> None:
    with pytest.raises(InvalidInput, match="after = "):
        Again(after=after)


def test_the_longest_pause_fits_into_every_ledger(database: str, bell: Broker) -> None:
    handle = scripted.submit(plan="x")
    assert leases.postpone(started(handle.id), Again(after=declare.LONGEST).after)
    later = row(handle.id).run_at
    assert later is not None
    assert later - timezone.now() > timedelta(days=3649)


def test_a_coroutine_runs_with_the_context_of_its_job(database: str, bell: Broker) -> None:
    handle = coroutine.submit(value=1)
    assert runner.execute(handle.id, 1)
    assert row(handle.id).result == 2
    assert runs == [handle.id]


def test_whoever_lost_the_lease_changes_nothing(database: str, bell: Broker) -> None:
    handle = scripted.submit(plan="x")
    late = started(handle.id)
    lease_runs_out(handle.id)
    assert sweep.return_expired() == 1
    again = started(handle.id, owner="host:2:3:y")
    assert not ledger.finish(late, "late")
    assert not leases.retry(late, 1, "late", "")
    assert not leases.fail(late, "late", "")
    assert not leases.requeue(late)
    assert not leases.postpone(late, 1)
    assert not leases.renew(late.id, late.seq, late.owner, 30)
    assert not leases.checkpoint(late.id, late.seq, late.owner, "late")
    assert ledger.finish(again, "right")
    assert row(handle.id).result == "right"


def answer_is_lost_once(monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    """The first such move is made, and nobody hears of it."""
    move, lost = getattr(leases, verb), []

    def lossy(*given: Any) -> object:
        answer = move(*given)
        if not lost:
            lost.append(verb)
            raise OperationalError("server closed the connection unexpectedly")
        return answer

    monkeypatch.setattr(leases, verb, lossy)


@pytest.mark.parametrize(
    ("plan", "verb", "status", "told"),
    [
        ("raise", "retry", Status.RETRY, "job_will_retry"),
        ("again", "requeue", Status.QUEUED, "job_requeued"),
        ("later", "postpone", Status.RETRY, "job_postponed"),
        ("give up", "fail", Status.FAILURE, "job_failed"),
        ("take back", "stop", Status.CANCELLED, "job_cancelled"),
    ],
)
def test_an_outcome_whose_answer_was_lost_is_followed_up_as_any_other(
    database: str, bell: Broker, monkeypatch: pytest.MonkeyPatch, plan: str, verb: str, status: str, told: str
) -> None:
    first, second = (scripted.submit(plan=plan, job_serial_key="chat 1") for _ in range(2))
    bell.heard()
    answer_is_lost_once(monkeypatch, verb)
    with structlog.testing.capture_logs() as lines:
        runner.execute(first.id, 1)
    assert row(first.id).status == status
    assert [line["event"] for line in lines] == [told]
    has_ended = status in (Status.FAILURE, Status.CANCELLED)
    assert bell.heard() == ([(second.id, 1)] if has_ended else [(first.id, 2)] if plan == "again" else [])


def test_a_job_that_was_given_up_as_poison_did_not_fail_by_its_own_word(database: str, bell: Broker) -> None:
    held = started(note.submit().id)
    assert deserted.poison(row(held.id), "too late", is_dead=True)
    assert not leases.fail(held, "its own", "")
    assert row(held.id).error == "too late"


def test_a_checkpoint_outlives_the_run(database: str, bell: Broker) -> None:
    handle = scripted.submit(plan="x")
    held = started(handle.id)
    assert leases.checkpoint(held.id, held.seq, held.owner, {"at": 5})
    lease_runs_out(handle.id)
    sweep.return_expired()
    assert started(handle.id).saved == {"at": 5}


# Sweeping


def test_a_job_whose_lease_ran_out_is_returned_without_a_failure(database: str, bell: Broker) -> None:
    handle = scripted.submit(plan="x")
    held = started(handle.id)
    bell.heard()
    assert sweep.return_expired() == 0
    assert leases.renew(held.id, held.seq, held.owner, 30)
    lease_runs_out(handle.id)
    assert sweep.return_expired() == 1
    returned = row(handle.id)
    assert (returned.status, returned.seq, returned.crashes, returned.failures) == (Status.QUEUED, 2, 1, 0)
    assert bell.heard() == [(handle.id, 2)]


def test_a_lease_renewed_at_the_last_moment_is_not_taken_away(database: str, bell: Broker) -> None:
    handle = scripted.submit(plan="x")
    held = started(handle.id)
    lease_runs_out(handle.id)
    (seen,) = deserted.expired(10)
    assert leases.renew(held.id, held.seq, held.owner, 30)
    assert not deserted.give_back(seen, is_dead=False)
    assert not deserted.poison(seen, "", is_dead=False)
    assert ledger.finish(held, None)


def test_a_job_that_kills_its_workers_is_failed_as_poison(database: str, bell: Broker) -> None:
    poison, behind = scripted.submit_many([{"plan": "x", "job_serial_key": "k"} for _ in range(2)])
    endless = lane.submit()
    for _ in range(3):
        started(poison)
        started(endless.id)
        Job.objects.filter(status=Status.RUNNING).update(lease_until=Now() - timedelta(seconds=1))
        bell.heard()
        assert sweep.return_expired() == 2
    assert row(poison).status == Status.FAILURE
    assert "died 3 times" in row(poison).error
    assert (behind, 1) in bell.heard()
    assert row(endless.id).status == Status.QUEUED


def test_the_jobs_of_a_dead_worker_are_returned_at_once_and_no_others(database: str, bell: Broker) -> None:
    ids = [lane.submit().id for _ in range(3)]
    for job_id, owner in zip(ids, ["vm:10:11:a", "vm:10:12:b", "vm:101:11:c"], strict=True):
        started(job_id, owner)
    assert sweep.expire_owner("vm:10:") == 2
    assert [row(job_id).status for job_id in ids] == [Status.QUEUED, Status.QUEUED, Status.RUNNING]


def test_a_lost_doorbell_is_rung_again_only_when_the_queue_is_empty(database: str, bell: Broker) -> None:
    handle = note.submit()
    bell.heard()
    assert sweep.ring_unheard() == 0
    rung_long_ago(6)
    bell.depths["default"] = 1
    assert sweep.ring_unheard() == 0
    bell.depths["default"] = 0
    assert sweep.ring_unheard() == 1
    assert bell.heard() == [(handle.id, 1)]
    assert sweep.ring_unheard() == 0
    rung_long_ago(601)
    bell.depths["default"] = 1
    assert sweep.ring_unheard() == 1


def test_what_could_not_be_rung_is_rung_when_the_broker_is_back(database: str, bell: Broker) -> None:
    bell.is_away = True
    ids = note.submit_many([{"value": number} for number in range(5)])
    assert not Job.objects.exclude(rung_at=None).exists()
    assert sweep.ring_unheard() == 0
    bell.is_away = False
    bell.depths["default"] = 7
    assert sweep.ring_unheard() == 5
    assert bell.heard() == [(job_id, 1) for job_id in ids]
    assert sweep.ring_unheard() == 0


def test_jobs_that_wait_for_their_serial_key_are_not_rung_in_vain(database: str, bell: Broker) -> None:
    first, *_ = note.submit_many([{"value": n, "job_serial_key": "k"} for n in range(5)])
    bell.heard()
    rung_long_ago(10)
    assert sweep.ring_unheard() == 1
    assert bell.heard() == [(first, 1)]


def test_a_broker_without_the_mark_is_rung_for_everything(database: str, bell: Broker) -> None:
    assert epoch.check()
    ids = note.submit_many([{"value": number} for number in range(7)])
    lane.submit(job_queue="email.eu")
    bell.heard()
    assert epoch.check()
    assert bell.heard() == []
    bell.depths.clear()
    assert epoch.check()
    assert sorted(bell.heard()) == sorted((job_id, 1) for job_id in [*ids, ids[-1] + 1])
    assert len(bell.depths) == 1
    assert epoch.check()
    assert bell.heard() == []


def test_a_broker_that_goes_away_while_it_is_rung_is_marked_later(database: str, bell: Broker) -> None:
    epoch.check()
    mark = Epoch.objects.get().mark
    bell.depths.clear()
    bell.is_away = True
    assert not epoch.check()
    assert Epoch.objects.get().mark == mark
    bell.is_away = False
    note.submit()
    bell.heard()
    assert epoch.check()
    assert len(bell.heard()) == 1


def test_pruning_forgets_by_age_and_status(database: str, bell: Broker) -> None:
    fresh, old, failed, forgotten = [note.submit(value=n).id for n in range(4)]
    for job_id in (fresh, old, failed, forgotten):
        runner.execute(job_id, 1)
    Job.objects.filter(pk__in=(failed, forgotten)).update(status=Status.FAILURE)
    Job.objects.filter(pk__in=(old, failed)).update(finished_at=Now() - timedelta(days=8))
    Job.objects.filter(pk=forgotten).update(finished_at=Now() - timedelta(days=31))
    waiting = note.submit()
    assert prune.prune() == 2
    assert set(Job.objects.values_list("pk", flat=True)) == {fresh, failed, waiting.id}


def test_pruning_goes_on_while_there_is_time_and_is_soon_back(
    database: str, bell: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prune, "CHUNK", 3)
    ids = note.submit_many([{} for _ in range(40)])
    Job.objects.filter(pk__in=ids).update(status=Status.SUCCESS, finished_at=Now() - timedelta(days=8))
    Job.objects.filter(pk__in=ids[:10]).update(status=Status.CANCELLED)
    monkeypatch.setattr(prune, "BUDGET", 0.0)
    assert prune.prune() == 3
    monkeypatch.setattr(prune, "BUDGET", 60.0)
    assert prune.prune() == 37
    (every,) = (chore.every for chore in chores.find("prune.prune"))
    assert every <= 3 * 1.0  # a third of the time, while there is much to delete


def test_how_long_finished_jobs_are_kept_can_be_chosen(
    database: str, bell: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    done, failed = [note.submit(value=n).id for n in range(2)]
    for job_id in (done, failed):
        runner.execute(job_id, 1)
    Job.objects.update(finished_at=Now() - timedelta(hours=13))
    Job.objects.filter(pk=failed).update(status=Status.FAILURE)
    kept = replace(config.current(), keep_done=0.5, keep_failed=1.0)
    monkeypatch.setattr(config, "current", lambda: kept)
    assert prune.prune() == 1
    assert [row.pk for row in Job.objects.all()] == [failed]


def test_one_of_two_beats_leads_until_its_lease_ends(database: str) -> None:
    assert beat_lease.hold("a", 60)
    assert not beat_lease.hold("b", 60)
    assert beat_lease.hold("a", -1)
    assert beat_lease.hold("b", 60)
    assert not beat_lease.hold("a", 60)
    beat_lease.release("a")
    assert not beat_lease.hold("a", 60)
    beat_lease.release("b")
    wins = in_threads(4, lambda number: beat_lease.hold(f"beat {number}", 60))
    assert wins.count(True) == 1


# The whole life

VERBS = (
    "claim",
    "claim stale",
    "finish",
    "retry",
    "fail",
    "requeue",
    "postpone",
    "due",
    "hand_back",
    "give_back",
    "poison",
)


ENDS = ("finish", "retry", "fail", "requeue", "postpone")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(VERBS), max_size=14))
def test_any_sequence_of_verbs_follows_the_state_table(database: str, verbs: list[str]) -> None:
    job_id = Job.objects.create(name="tests.scripted", queue="default", serial_key="k").pk
    held = ledger.Claim(job_id, 1, "nobody", "", "", {}, 0, 0, 0, None, None)
    for verb in verbs:
        before = row(job_id)
        if verb == "claim":
            won = start(job_id)
            held = won or held
            changed = won is not None
            # Repeating one's own claim is no second move.
            allowed = before.status in (Status.QUEUED, Status.RUNNING)
        elif verb in ENDS and before.status == JOB.target(verb, Status.RUNNING):
            # Asked again after a lost answer, it answers the same; nothing moves.
            answer = _act(verb, before, held)
            assert before.owner == held.owner or not answer
            assert verb != "finish" or answer == (before.owner == held.owner)
            changed = allowed = False
        else:
            changed = bool(_act(verb, before, held))
            allowed = verb in JOB.arrows and JOB.target(verb, Status(before.status)) is not None
        after = row(job_id)
        assert changed == allowed, (verb, before.status)
        _check_invariants(verb, before, after, changed)
    Job.objects.all().delete()


def _act(verb: str, before: Job, held: ledger.Claim) -> object:
    match verb:
        case "claim stale":
            return start(before.pk, owner="late", seq=before.seq - 1)
        case "finish":
            return ledger.finish(held, None)
        case "retry":
            return leases.retry(held, -1, "e", "t")
        case "fail":
            return leases.fail(held, "e", "t")
        case "requeue":
            return leases.requeue(held)
        case "postpone":
            return leases.postpone(held, -1)
        case "due":
            return pending.due(10)
        case "hand_back":
            return deserted.hand_back(before)
        case "give_back":
            return deserted.give_back(before, is_dead=True)
        case _:
            return deserted.poison(before, "e", is_dead=True)


def _check_invariants(verb: str, before: Job, after: Job, changed: bool) -> None:
    if changed and verb != "claim":
        assert after.status == JOB.target(verb, Status(before.status))
    if not changed:
        assert (after.status, after.seq, after.attempt) == (before.status, before.seq, before.attempt)
    assert (after.serial_slot is not None) == (after.status == Status.RUNNING)
    assert (after.lease_until is not None) == (after.status == Status.RUNNING)
    became_queued = after.status == Status.QUEUED and before.status != Status.QUEUED
    assert after.seq == before.seq + became_queued
    assert (after.finished_at is not None) == (after.status in (Status.SUCCESS, Status.FAILURE))

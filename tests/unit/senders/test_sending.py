import time
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from django.db import OperationalError

from longwave.channels.base import Message
from longwave.channels.memory import channel as memory
from longwave.core.errors import Conflict, InvalidInput, NotFound
from longwave.core.outcomes import (
    Gone,
    Outcome,
    Rejected,
    Retry,
    SenderBroken,
    Throttled,
    Unknown,
)
from longwave.core.slots import Rate
from longwave.jobs import Again, runner
from longwave.jobs.models import Job, Status
from longwave.pacing import ledger
from longwave.senders import notify, senders, sending
from longwave.senders.models import Sender, SenderStatus

names = count()


class Running:
    """A running job, as far as sending knows it."""

    def __init__(self, saved: Any = None, stops: bool = False) -> None:
        self.saved, self.stops = saved, stops
        self.written: list[Any] = []

    def checkpoint(self, value: Any) -> None:
        self.saved = value
        self.written.append(value)

    def stopping(self) -> bool:
        return self.stops


@pytest.fixture
def sender(sqlite: str) -> Iterator[Sender]:
    account = f"account {next(names)}"
    yield senders.add("memory", "shop", account, rate=1000, admin_chats=["ann", "bob"])
    memory.outbox(account).clear()


@pytest.fixture
def outbox(sender: Sender) -> memory.Outbox:
    return memory.outbox(senders.account(sender).secret)


def send(sender: Sender, job: Running | None = None, text: str = "hello", **fields: str) -> Any:
    return sending.send_one(sender.id, "ann", {"text": text}, fields, job or Running())


def test_a_message_is_sent_in_a_slot_of_its_sender(sender: Sender, outbox: memory.Outbox) -> None:
    before = ledger.state(f"sender:{sender.id}").next_free_us
    assert send(sender) == {"message_id": "1", "address": "ann"}
    assert [(m.address, m.text) for m in outbox.messages] == [("ann", "hello")]
    assert ledger.state(f"sender:{sender.id}").next_free_us > before


def test_the_intent_is_written_before_the_request_leaves(
    sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, seen = Running(), []
    deliver = memory.Outbox.deliver

    def watched(self: memory.Outbox, address: str, text: str) -> Outcome:
        seen.append(job.saved)
        return deliver(self, address, text)

    monkeypatch.setattr(memory.Outbox, "deliver", watched)
    send(sender, job)
    assert seen == [sending.SENDING]


def test_a_crash_while_sending_is_never_sent_again(sender: Sender, outbox: memory.Outbox) -> None:
    with pytest.raises(sending.NotDelivered, match="outcome unknown"):
        send(sender, Running(saved=sending.SENDING))
    assert not outbox.messages


def test_fields_fill_templates_and_never_become_one(sender: Sender, outbox: memory.Outbox) -> None:
    send(sender, text="{{ notice }}", notice="{{ 9**9 }}")
    assert outbox.messages[0].text == "{{ 9**9 }}"


def test_a_missing_field_is_a_final_failure(sender: Sender, outbox: memory.Outbox) -> None:
    with pytest.raises(sending.NotDelivered, match="first_name"):
        send(sender, text="Hi {{ first_name }}")


@pytest.mark.parametrize("outcome", [Gone("blocked"), Rejected("too long")])
def test_a_refusal_is_final_with_the_providers_words(
    sender: Sender, outbox: memory.Outbox, outcome: Gone | Rejected
) -> None:
    outbox.script(outcome)
    with pytest.raises(sending.NotDelivered, match=outcome.reason):
        send(sender)


def test_no_answer_is_final_too(sender: Sender, outbox: memory.Outbox) -> None:
    outbox.script(Unknown("timed out"))
    with pytest.raises(sending.NotDelivered, match="outcome unknown: timed out"):
        send(sender)


def test_a_passing_fault_is_worth_another_try_and_leaves_no_doubt(
    sender: Sender, outbox: memory.Outbox
) -> None:
    job = Running()
    outbox.script(Retry("bad gateway"))
    with pytest.raises(sending.PassingFault, match="bad gateway"):
        send(sender, job)
    assert job.saved == sending.WAITING
    assert send(sender, job) == {"message_id": "1", "address": "ann"}


def test_a_chat_that_moved_gets_it_at_its_new_address(sender: Sender, outbox: memory.Outbox) -> None:
    outbox.script(Retry("upgraded", address="bea"))
    assert send(sender) == {"message_id": "1", "address": "bea"}
    outbox.script(Retry("upgraded", address="bea"), Retry("upgraded", address="cy"))
    with pytest.raises(sending.PassingFault):
        send(sender)


def test_a_throttle_holds_the_sender_and_comes_back_in_time(sender: Sender, outbox: memory.Outbox) -> None:
    job = Running()
    outbox.script(Throttled(17.0))
    assert send(sender, job) == Again(after=17.0, why="memory asked to wait 17 s")
    assert job.saved == sending.WAITING
    assert 16 < ledger.state(f"sender:{sender.id}").held_seconds <= 17


def test_while_its_sender_is_held_a_job_gives_its_worker_back(sender: Sender, outbox: memory.Outbox) -> None:
    ledger.hold(f"sender:{sender.id}", 30, "flood")
    job = Running()
    waiting = send(sender, job)
    assert isinstance(waiting, Again)
    assert 25 < waiting.after <= 30
    assert waiting.why == "flood"
    assert not job.written
    assert not outbox.messages


def test_a_job_that_waits_for_a_rate_says_which(sender: Sender) -> None:
    Sender.objects.filter(pk=sender.pk).update(rate=0.1)
    send(sender)
    waiting = send(sender)
    assert isinstance(waiting, Again)
    assert waiting.why == f"the rate of {sender.name} is used up until then (0.1 a second)"


def test_a_short_wait_is_waited_for(sender: Sender, outbox: memory.Outbox) -> None:
    ledger.hold(f"sender:{sender.id}", 0.65, "breath")
    assert send(sender)["message_id"] == "1"
    assert outbox.messages[0].at >= ledger.state(f"sender:{sender.id}").held_until_us / 1e6 - 0.001


def test_a_stopping_worker_does_not_wait(sender: Sender) -> None:
    ledger.hold(f"sender:{sender.id}", 2.0, "flood")
    assert isinstance(send(sender, Running(stops=True)), Again)


def test_a_broken_sender_is_marked_and_refuses_the_next(sender: Sender, outbox: memory.Outbox) -> None:
    outbox.script(SenderBroken("Unauthorized"))
    with pytest.raises(sending.NotDelivered, match="Unauthorized"):
        send(sender)
    assert senders.by_name("shop").status == SenderStatus.BROKEN
    with pytest.raises(Conflict, match="sender enable shop"):
        send(sender)


def test_a_removed_sender_is_a_final_failure(sender: Sender) -> None:
    senders.remove("shop")
    with pytest.raises(NotFound):
        send(sender)


def test_a_slot_that_was_missed_is_given_up_for_a_new_one(
    sender: Sender, outbox: memory.Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Running()
    real = ledger.reserve
    missed: list[Any] = []

    def late(*args: Any, **options: Any) -> Any:
        grant = real(*args, **options)
        if not missed:
            missed.append(grant)
            return type(grant)(grant.start_us - 400_000, *[getattr(grant, f) for f in grant.__slots__[1:]])
        return grant

    monkeypatch.setattr(ledger, "reserve", late)
    assert send(sender, job)["message_id"] == "1"
    assert job.written == [sending.SENDING, sending.WAITING, sending.SENDING]
    assert len(outbox.messages) == 1


class SlowToOpen(memory.MemoryConnection):
    """Its first connections take 0.4 s to open, by the clock of whoever sends."""

    waits = 0

    async def send(self, message: Message, request: bytes) -> Outcome:
        clock.ahead = 0.4 if self.waits else 0.0
        self.waits -= bool(self.waits)
        try:
            return await super().send(message, request)
        finally:
            clock.ahead = 0.0


class Clock:
    ahead = 0.0
    sleep = staticmethod(time.sleep)

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead


clock = Clock()


@pytest.fixture
def slow(sender: Sender, outbox: memory.Outbox, monkeypatch: pytest.MonkeyPatch) -> SlowToOpen:
    opened = SlowToOpen(outbox)

    async def connection_for(*_: object) -> SlowToOpen:
        return opened

    monkeypatch.setattr(sending, "connection_for", connection_for)
    monkeypatch.setattr(sending, "time", clock)
    return opened


def test_what_waited_for_a_connection_beyond_its_slot_does_not_leave_in_it(
    sender: Sender, outbox: memory.Outbox, slow: SlowToOpen
) -> None:
    job, slow.waits = Running(), 1
    assert send(sender, job)["message_id"] == "1"
    assert job.written == [sending.SENDING, sending.WAITING, sending.SENDING]
    assert len(outbox.messages) == 1


def test_a_provider_whose_connections_never_open_in_time_is_tried_later(
    sender: Sender, outbox: memory.Outbox, slow: SlowToOpen
) -> None:
    job, slow.waits = Running(), 3
    with pytest.raises(sending.PassingFault, match="3 slots were missed"):
        send(sender, job)
    assert job.saved == sending.WAITING
    assert not outbox.messages


def test_without_a_rate_no_message_is_too_late(
    sender: Sender, outbox: memory.Outbox, slow: SlowToOpen
) -> None:
    senders.set_rate("shop", 0)
    slow.waits = 1
    assert send(sender)["message_id"] == "1"


def test_a_late_send_moves_the_slots_after_it(sender: Sender, monkeypatch: pytest.MonkeyPatch) -> None:
    real, granted = ledger.reserve, []

    def late(*args: Any, **options: Any) -> Any:
        grant = real(*args, **options)
        granted.append(grant)
        return type(grant)(grant.start_us - 100_000, *[getattr(grant, f) for f in grant.__slots__[1:]])

    monkeypatch.setattr(ledger, "reserve", late)
    send(sender)
    opened = ledger.state(f"sender:{sender.id}").next_free_us - granted[0].end_us
    assert 60_000 < opened < 200_000


def test_a_database_that_fails_after_the_send_does_not_unsend_it(
    sender: Sender, outbox: memory.Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*args: Any, **options: Any) -> None:
        raise OperationalError("server closed the connection")

    monkeypatch.setattr(senders, "mark_broken", away)
    outbox.script(SenderBroken("Unauthorized"))
    with pytest.raises(sending.NotDelivered, match="Unauthorized"):
        send(sender)


# As jobs


def test_a_notification_is_a_job_that_ends_with_its_message_id(sender: Sender, outbox: memory.Outbox) -> None:
    handle = notify.notify(sender, "ann", {"text": "hello"})
    job = Job.objects.get(id=handle.id)
    assert (job.queue, job.status) == ("notifications", Status.QUEUED)
    assert runner.execute(job.id, job.seq)
    job.refresh_from_db()
    assert (job.status, job.result) == (Status.SUCCESS, {"message_id": "1", "address": "ann"})


def test_notifications_to_one_address_are_sent_in_order_and_others_do_not_wait(
    sender: Sender, outbox: memory.Outbox
) -> None:
    first, second = (notify.notify(sender, "ann", {"text": text}).id for text in ("first", "second"))
    other = notify.notify(sender, "bea", {"text": "other"}).id
    assert not runner.execute(second, 1)
    for job_id in (other, first, second):
        assert runner.execute(job_id, 1)
    assert [message.address for message in outbox.messages] == ["bea", "ann", "ann"]


def test_a_refused_notification_fails_without_a_retry(sender: Sender, outbox: memory.Outbox) -> None:
    outbox.script(Gone("blocked by the user"))
    job = Job.objects.get(id=notify.notify(sender, "ann", {"text": "hello"}).id)
    runner.execute(job.id, job.seq)
    job.refresh_from_db()
    assert (job.status, job.error) == (Status.FAILURE, "blocked by the user")


def test_a_throttled_notification_burns_no_attempt(sender: Sender, outbox: memory.Outbox) -> None:
    outbox.script(Throttled(5.0))
    job = Job.objects.get(id=notify.notify(sender, "ann", {"text": "hello"}).id)
    runner.execute(job.id, job.seq)
    job.refresh_from_db()
    assert job.failures == 0
    assert job.status in (Status.RETRY, Status.SCHEDULED)


def test_what_the_provider_would_refuse_is_refused_at_once(sender: Sender) -> None:
    with pytest.raises(InvalidInput, match="text"):
        notify.notify(sender, "ann", {"text": ""})
    with pytest.raises(InvalidInput, match="first_name"):
        notify.notify(sender, "ann", {"text": "Hi {{ first_name }}"})
    assert not Job.objects.exists()


def test_admins_are_told_in_so_many_words(sender: Sender, outbox: memory.Outbox) -> None:
    assert notify.notify_admins(sender, "paused: {{ 30 % failed }}" + "!" * 5000) == 2
    for job in Job.objects.order_by("id"):
        runner.execute(job.id, job.seq)
    assert [message.address for message in outbox.messages] == ["ann", "bob"]
    assert outbox.messages[0].text.startswith("paused: {{ 30 % failed }}!!!")
    assert len(outbox.messages[0].text) == notify.ADMIN_TEXT


def test_an_admin_is_told_in_the_end_when_the_provider_is_away_for_long(
    sender: Sender, outbox: memory.Outbox
) -> None:
    notify.notify_admins(sender, "paused: the provider is away")
    Job.objects.update(failures=20)
    outbox.script(Retry("connection refused"))
    job = Job.objects.first()
    assert job is not None
    runner.execute(job.id, job.seq)
    job.refresh_from_db()
    assert (job.status, job.failures) == (Status.RETRY, 21)


def test_telling_admins_never_raises(sender: Sender) -> None:
    senders.mark_broken(sender.id, "Unauthorized")
    assert notify.notify_admins(senders.by_name("shop"), "news") == 0
    assert not Job.objects.exists()


def test_a_bulk_campaign_at_full_rate_leaves_room_for_one_message(
    sender: Sender, outbox: memory.Outbox
) -> None:
    senders.set_rate("shop", 30)
    slow = senders.by_name("shop")
    for _ in range(3):
        ledger.reserve([Rate(f"sender:{slow.id}", 30.0)], 100, burst_guard=0.006)
    asked = ledger.state(f"sender:{slow.id}").now_us / 1e6
    send(slow)
    assert outbox.messages[0].at - asked < 1.0


def test_an_admin_is_told_twice_rather_than_never(sender: Sender, outbox: memory.Outbox) -> None:
    notify.notify_admins(sender, "paused: no answer")
    outbox.script(Unknown("no answer in time"))
    job = Job.objects.first()
    assert job is not None
    runner.execute(job.id, job.seq)
    job.refresh_from_db()
    assert (job.status, job.failures) == (Status.RETRY, 1)
    Job.objects.filter(pk=job.id).update(status=Status.QUEUED, run_at=None)
    runner.execute(job.id, job.seq)
    job.refresh_from_db()
    assert job.status == Status.SUCCESS
    assert len(outbox.messages) == 2

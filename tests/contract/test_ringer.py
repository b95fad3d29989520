"""Ringing for what was just submitted: in a thread of its own, several with one message, nothing forgotten."""

import os
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from longwave.jobs import broker, job, ringer
from longwave.jobs.models import Job

Message = list[tuple[int, int]]
really_soon = ringer.soon


@job("ringer.work")
def work(number: int = 0) -> None:
    """Nobody runs it."""


class Bell:
    """In the place of the broker: notes each message, and makes whoever rings wait while it is held."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.is_away = False
        self.may_ring = threading.Event()
        self.may_ring.set()

    def publish(self, name: str, queue: str, messages: Sequence[Sequence[tuple[int, int]]]) -> None:
        assert self.may_ring.wait(20)
        if self.is_away:
            raise broker.BrokerAway("as told")
        self.messages += [list(message) for message in messages]

    def rung(self) -> Message:
        assert ringer.flush(20)
        return [pair for message in self.messages for pair in message]


@pytest.fixture
def bell(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bell]:
    monkeypatch.setattr(ringer, "soon", really_soon)
    bell = Bell()
    monkeypatch.setattr(broker, "publish", bell.publish)
    ringer._forget_after_fork()  # as in a process that has not rung yet
    yield bell
    bell.may_ring.set()
    assert ringer.flush(20)


def test_whoever_submits_does_not_wait_for_the_broker(database: str, bell: Bell) -> None:
    bell.may_ring.clear()
    ids = [work.submit(number=number).id for number in range(20)]
    assert bell.messages == []
    bell.may_ring.set()
    assert sorted(bell.rung()) == [(job_id, 1) for job_id in ids]


def test_those_that_follow_within_moments_share_messages(sqlite: str, bell: Bell) -> None:
    bell.may_ring.clear()
    ids = [work.submit(number=number).id for number in range(40)]
    bell.may_ring.set()
    assert sorted(bell.rung()) == [(job_id, 1) for job_id in ids]
    assert max(map(len, bell.messages)) == ringer.TOGETHER
    assert len(bell.messages) < 20


def test_what_is_not_claimed_together_shares_no_message(sqlite: str, bell: Bell) -> None:
    bell.may_ring.clear()
    ids = [work.submit(number=number, job_serial_key=f"chat:{number}").id for number in range(10)]
    bell.may_ring.set()
    assert sorted(bell.rung()) == [(job_id, 1) for job_id in ids]
    assert {len(message) for message in bell.messages} == {1}


def test_many_that_were_submitted_together_are_spread_over_messages(sqlite: str, bell: Bell) -> None:
    ids = work.submit_many([{"number": number} for number in range(8)])
    assert sorted(bell.rung()) == [(job_id, 1) for job_id in ids]
    assert {len(message) for message in bell.messages} == {1}


def test_what_could_not_be_rung_for_is_noted(database: str, bell: Bell) -> None:
    bell.is_away = True
    ids = [work.submit(number=number).id for number in range(5)]
    assert ringer.flush(20)
    assert set(Job.objects.filter(pk__in=ids).values_list("rung_at", flat=True)) == {None}


def test_the_thread_outlives_whatever_goes_wrong_in_it(
    sqlite: str, bell: Bell, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise ValueError("as told")

    monkeypatch.setattr(broker, "publish", fail)
    work.submit()
    assert ringer.flush(20)
    monkeypatch.setattr(broker, "publish", bell.publish)
    second = work.submit().id
    assert bell.rung() == [(second, 1)]


def test_a_forked_child_rings_for_its_own_jobs(sqlite: str, bell: Bell) -> None:
    work.submit()
    assert ringer.flush(20)
    reads, writes = os.pipe()
    if (child := os.fork()) == 0:
        job_id = work.submit().id
        os.write(writes, b"1" if (job_id, 1) in bell.rung() else b"0")
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reads, 1) == b"1"
    os.close(reads)
    os.close(writes)

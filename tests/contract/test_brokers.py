"""Ringing and the epoch mark, the same on Redis (a Valkey server of the test's own) and on RabbitMQ."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog.testing
from django.db.models.functions import Now

from longwave import celery, config
from longwave.jobs import broker, epoch, job, queues, ring, sweep
from longwave.jobs.models import Epoch, Job
from longwave.ops import broker as embedded
from tests import databases

RABBITMQ = os.environ.get("TEST_RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672")
QUEUE = "notifications." + uuid.uuid4().hex[:8]


@job("doorbell.single")
def single(value: int = 0) -> None:
    """Rung one by one."""


@dataclass(frozen=True)
class Service:
    """A broker for one test."""

    url: str
    wipe: Callable[[], None]
    pause: Callable[[], None] | None = None
    kill: Callable[[], None] | None = None


@pytest.fixture(params=["redis", "rabbitmq"])
def service(request: pytest.FixtureRequest, sqlite: str) -> Iterator[Service]:
    found: Service = request.getfixturevalue(request.param)
    with _used(found.url):
        broker.delete(QUEUE)
        yield found


@pytest.fixture
def redis() -> Iterator[Service]:
    with _redis() as found:
        yield found


@pytest.fixture(scope="module")
def rabbitmq() -> Iterator[Service]:
    """One for all tests: to make a virtual host takes seconds."""
    with _rabbitmq() as found:
        yield found


@pytest.fixture
def redis_only(redis: Service, sqlite: str) -> Iterator[Service]:
    with _used(redis.url):
        yield redis


@contextmanager
def _used(url: str) -> Iterator[None]:
    """The Celery app talks to the broker at `url`."""
    before = dict(celery.app.conf)
    settings = replace(config.current(), broker_url=url)
    celery.app.conf.update(celery.options(settings))
    celery.app.__dict__.pop("amqp", None)
    broker.hang_up()
    try:
        yield
    finally:
        broker.hang_up()
        celery.app.conf.update(celery.options(config.current()))
        celery.app.__dict__.pop("amqp", None)
        assert before.keys() <= dict(celery.app.conf).keys()


@contextmanager
def _redis() -> Iterator[Service]:
    with tempfile.TemporaryDirectory(prefix="lw-") as folder:
        path = Path(folder) / "b.sock"
        server = _start_valkey(path)
        try:
            yield Service(
                url=f"redis+socket://{path}",
                wipe=lambda: _ask(path, "FLUSHALL"),
                pause=lambda: server.send_signal(signal.SIGSTOP),
                kill=lambda: (server.kill(), server.wait())[0],
            )
        finally:
            server.kill()
            server.wait()


def _start_valkey(path: Path) -> subprocess.Popen[bytes]:
    server = subprocess.Popen(embedded.command(path), stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 10
    while not embedded.ping(path):
        assert time.monotonic() < deadline, "the Valkey server does not start"
        time.sleep(0.02)
    return server


def _ask(path: Path, *words: str) -> str:
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(str(path))
        line.sendall(" ".join(words).encode() + b"\r\n")
        return line.recv(65536).decode()


@contextmanager
def _rabbitmq() -> Iterator[Service]:
    vhost = "longwave-test-" + uuid.uuid4().hex[:8]
    if not _make_vhost(vhost):
        databases.missing("RabbitMQ cannot be used: no rabbitmqctl that makes a virtual host")
    try:
        yield Service(url=f"{RABBITMQ}/{vhost}", wipe=lambda: _remake_vhost(vhost))
    finally:
        _rabbitmqctl("delete_vhost", vhost)


def _remake_vhost(vhost: str) -> None:
    _rabbitmqctl("delete_vhost", vhost)
    assert _make_vhost(vhost)


def _make_vhost(vhost: str) -> bool:
    user = RABBITMQ.split("//")[1].split(":")[0]
    return _rabbitmqctl("add_vhost", vhost) and _rabbitmqctl(
        "set_permissions", "-p", vhost, user, ".*", ".*", ".*"
    )


def _rabbitmqctl(*words: str) -> bool:
    try:
        return subprocess.run(["rabbitmqctl", "-q", *words], capture_output=True, timeout=60).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def heard(queue: str) -> list[tuple[str, list[list[int]], int]]:
    """Take every message out of a queue: (task name, pairs, priority)."""
    messages = []
    with celery.app.connection_for_read() as connection:
        channel = connection.default_channel
        if broker.depth(queue) == 0:
            return []
        while (message := channel.basic_get(queue, no_ack=True)) is not None:
            pairs = json.loads(message.body)[0][0]
            messages.append((message.headers["task"], pairs, message.properties.get("priority")))
    return messages


def rung_long_ago() -> None:
    Job.objects.update(rung_at=Now() - timedelta(seconds=10))


def test_a_doorbell_carries_ids_only_and_the_priority_of_its_queue(service: Service) -> None:
    handle = single.submit(value=7, job_queue=QUEUE)
    ((name, pairs, priority),) = heard(QUEUE)
    assert (name, pairs) == ("doorbell.single", [[handle.id, 1]])
    assert priority == queues.message_priority("notifications", service.url)


def test_many_jobs_rung_for_at_once_share_messages(service: Service) -> None:
    ids = single.submit_many([{"value": number, "job_queue": QUEUE} for number in range(100)])
    assert broker.depth(QUEUE) == 17
    messages = heard(QUEUE)
    assert [len(pairs) for _, pairs, _ in messages] == [6] * 16 + [4]
    assert [pair for _, pairs, _ in messages for pair in pairs] == [[job_id, 1] for job_id in ids]


def test_a_process_that_ends_at_once_has_rung_for_what_it_submitted(service: Service, sqlite: str) -> None:
    code = (
        "import longwave; longwave.setup(); from tests.contract import test_brokers;"
        f"[test_brokers.single.submit(job_queue={QUEUE!r}) for _ in range(10)]"
    )
    urls = {"LONGWAVE_DATABASE_URL": sqlite, "LONGWAVE_BROKER_URL": service.url}
    subprocess.run([sys.executable, "-c", code], env=os.environ | urls, check=True, timeout=60)
    rung = [job_id for _, pairs, _ in heard(QUEUE) for job_id, _ in pairs]
    assert sorted(rung) == sorted(Job.objects.values_list("pk", flat=True))
    assert len(rung) == 10


def test_a_queue_that_does_not_exist_is_empty(service: Service) -> None:
    assert broker.depth("nobody.made.this") == 0
    single.submit(job_queue=QUEUE)
    assert broker.depth(QUEUE) == 1


def test_a_mark_stays_and_can_be_deleted(service: Service) -> None:
    broker.put("some.mark")
    assert [broker.depth("some.mark"), broker.depth("some.mark")] == [1, 1]
    broker.delete("some.mark")
    broker.delete("some.mark")
    assert broker.depth("some.mark") == 0


def test_a_wiped_broker_is_noticed_and_rung_for_all_queued_jobs(service: Service) -> None:
    assert epoch.check()
    ids = single.submit_many([{"value": number, "job_queue": QUEUE} for number in range(30)])
    assert epoch.check()
    assert broker.depth(QUEUE) == 30
    service.wipe()
    for _ in range(2):  # the first look may only find that the old connection is gone
        broker.hang_up()
        epoch.check()
    assert sorted(pairs[0][0] for _, pairs, _ in heard(QUEUE)) == ids
    first = Epoch.objects.get().mark
    assert epoch.check()
    assert Epoch.objects.get().mark == first


def test_a_mark_that_was_taken_out_is_a_lost_broker(service: Service) -> None:
    epoch.check()
    mark = Epoch.objects.get().mark
    handle = single.submit(job_queue=QUEUE)
    heard(QUEUE)
    with celery.app.connection_for_read() as connection:
        connection.default_channel.queue_purge(epoch.PREFIX + mark)
    assert epoch.check()
    assert Epoch.objects.get().mark != mark
    assert heard(QUEUE) == [("doorbell.single", [[handle.id, 1]], heard_priority(service))]


def heard_priority(service: Service) -> int:
    return queues.message_priority(QUEUE, service.url)


def test_a_purged_queue_is_rung_again_by_the_sweeper(service: Service) -> None:
    handle = single.submit(job_queue=QUEUE)
    rung_long_ago()
    assert sweep.ring_unheard() == 0
    assert broker.depth(QUEUE) == 1
    broker.delete(QUEUE)
    assert sweep.ring_unheard() == 1
    assert [pairs for _, pairs, _ in heard(QUEUE)] == [[[handle.id, 1]]]


def test_a_forked_child_rings_on_a_line_of_its_own(service: Service) -> None:
    assert ring.ring("doorbell.single", QUEUE, [(1, 1)])
    child = os.fork()
    if child == 0:
        rang = False
        with suppress(BaseException):
            rang = ring.ring("doorbell.single", QUEUE, [(2, 1)])
        os._exit(0 if rang else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert ring.ring("doorbell.single", QUEUE, [(3, 1)])
    assert sorted(pairs[0][0] for _, pairs, _ in heard(QUEUE)) == [1, 2, 3]


@pytest.mark.parametrize("scheme", ["redis://127.0.0.1:{port}/0", "amqp://guest:guest@127.0.0.1:{port}//"])
@pytest.mark.parametrize("is_silent", [False, True], ids=["refusing", "silent"])
def test_a_dead_broker_costs_one_submitter_less_than_a_second(
    sqlite: str, scheme: str, is_silent: bool
) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if is_silent:
            listener.listen(16)
        with _used(scheme.format(port=listener.getsockname()[1])), structlog.testing.capture_logs() as logs:
            costs = [_cost(lambda: single.submit(job_queue=QUEUE)) for _ in range(20)]
    assert costs[0] < 1.2
    assert sum(costs[1:]) < 1.0
    assert [line["event"] for line in logs].count("broker_away") == 1
    assert Job.objects.filter(rung_at=None).count() == 20


def _cost(work: Callable[[], Any]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def test_a_broker_that_hangs_in_the_middle_costs_little_too(redis_only: Service) -> None:
    single.submit(job_queue=QUEUE)
    assert redis_only.pause is not None
    redis_only.pause()
    assert _cost(lambda: single.submit(job_queue=QUEUE)) < 1.0
    assert _cost(lambda: single.submit(job_queue=QUEUE)) < 0.3


def test_a_broker_that_comes_back_is_rung_for_what_it_missed(
    redis_only: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker, "SILENCE", 0.0)
    path = Path(redis_only.url.removeprefix("redis+socket://"))
    epoch.check()
    assert redis_only.kill is not None
    redis_only.kill()
    with structlog.testing.capture_logs() as logs:
        ids = [single.submit(job_queue=QUEUE).id for _ in range(3)]
        assert not epoch.check()
        server = _start_valkey(path)
        try:
            assert epoch.check()
            assert sorted(pairs[0][0] for _, pairs, _ in heard(QUEUE)) == ids
        finally:
            broker.hang_up()
            server.kill()
            server.wait()
    assert [line["event"] for line in logs if line["event"].startswith("broker_")] == [
        "broker_away",
        "broker_back",
        "broker_was_emptied",
    ]


def test_installations_that_share_a_redis_do_not_hear_each_other(redis_only: Service) -> None:
    single.submit(job_queue=QUEUE)
    other = replace(config.current(), broker_url=redis_only.url, secret_key="another" * 10)
    celery.app.conf.update(celery.options(other))
    broker.hang_up()
    assert broker.depth(QUEUE) == 0

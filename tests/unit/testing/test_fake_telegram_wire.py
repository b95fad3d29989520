import asyncio
import os
import resource
import signal
import socket
import struct
import sys
import time
from itertools import pairwise
from typing import Any, cast
from urllib.parse import urlsplit

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from longwave.testing.fake_telegram import FakeTelegram, Options, Server, serve, wire
from longwave.testing.fake_telegram.http import Connection
from longwave.testing.fake_telegram.wire import SO_TIMESTAMPNS, Inbox, Timeline, Wire
from tests.unit.testing.bot import TOKEN

GAP = 0.02
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux stamps what arrives")


def post(chat: int, text: str = "hi") -> bytes:
    body = orjson.dumps({"chat_id": chat, "text": text})
    head = f"POST /bot{TOKEN}/sendMessage HTTP/1.1\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def connect(base_url: str) -> socket.socket:
    parts = urlsplit(base_url)
    return socket.create_connection((parts.hostname, parts.port), timeout=10)


async def open_to(server: Server) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    parts = urlsplit(server.base_url)
    return await asyncio.open_connection(parts.hostname, parts.port)


async def read(reader: asyncio.StreamReader) -> Any:
    async with asyncio.timeout(10):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = int(head.split("Content-Length: ")[1].split("\r\n")[0])
        return orjson.loads(await reader.readexactly(length))


def send_while_stopped(telegram: FakeTelegram, clients: list[socket.socket]) -> list[float]:
    """Send on each client in turn while the server cannot run; when each was sent."""
    sent = []
    assert telegram.pid is not None
    os.kill(telegram.pid, signal.SIGSTOP)
    try:
        for chat, client in enumerate(clients, 1):
            sent.append(time.time())
            client.sendall(post(chat))
            time.sleep(GAP)
    finally:
        os.kill(telegram.pid, signal.SIGCONT)
    for client in clients:
        client.recv(4096)
    return sent


@on_linux
def test_requests_that_come_while_the_server_cannot_run_arrive_when_they_were_sent() -> None:
    with FakeTelegram(rate=None, chat_burst=None) as telegram:
        clients = [connect(telegram.base_url) for _ in range(5)]
        for chat, client in enumerate(clients, 1):
            client.sendall(post(chat))
            client.recv(4096)
        sent = send_while_stopped(telegram, clients)
        arrived = list(telegram.arrivals())[5:]
        for client in clients:
            client.close()
    # Against when it was really sent: this process may be late too.
    assert [after - before for before, after in pairwise(arrived)] == pytest.approx(
        [after - before for before, after in pairwise(sent)], abs=0.005
    )
    assert arrived[-1] - arrived[0] >= 4 * GAP - 0.005


@pytest.mark.parametrize("stamping", [True, False])
async def test_a_client_that_reads_no_answers_is_not_read_from(
    stamping: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not stamping:
        monkeypatch.setattr(wire, "is_stamping", lambda _sock: False)
    server = await serve(Options(port=0, rate=None, chat_burst=None))
    client = connect(server.base_url)
    client.setblocking(False)
    request = post(1, "x" * 4000)
    rest = memoryview(request * 10_000)
    accepted, stuck = -1, 0
    while stuck < 20 and rest:
        try:
            rest = rest[client.send(rest) :]
        except BlockingIOError:
            pass
        await asyncio.sleep(0.002)
        stuck = stuck + 1 if len(server.world.journal.times) == accepted else 0
        accepted = len(server.world.journal.times)
    assert 0 < accepted < 10_000
    reader, writer = await asyncio.open_connection(sock=client)
    for _ in range(accepted + 5):
        assert (await read(reader))["ok"]
    assert len(server.world.journal.times) > accepted
    writer.transport.abort()
    await server.close()


async def test_large_files_go_up_and_come_down() -> None:
    server = await serve(Options(port=0))
    reader, writer = await open_to(server)
    content = os.urandom(1024) * 1024 * 49
    assert (await upload(reader, writer, content))["file_size"] == len(content)
    content = content[: 19 * 1024 * 1024 + 7]
    file_id = (await upload(reader, writer, content))["file_id"]
    writer.write(f"GET /bot{TOKEN}/getFile?file_id={file_id} HTTP/1.1\r\n\r\n".encode())
    path = (await read(reader))["result"]["file_path"]
    writer.write(f"GET /file/bot{TOKEN}/{path} HTTP/1.1\r\nConnection: close\r\n\r\n".encode())
    assert (await reader.read()).endswith(b"\r\n\r\n" + content)
    writer.close()
    await server.close()


async def upload(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, content: bytes) -> Any:
    parts = (
        b'--B\r\nContent-Disposition: form-data; name="chat_id"\r\n\r\n1',
        b'--B\r\nContent-Disposition: form-data; name="document"; filename="a.bin"\r\n\r\n' + content,
        b"--B--\r\n",
    )
    body = b"\r\n".join(parts)
    head = f"POST /bot{TOKEN}/sendDocument HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=B\r\n"
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    return (await read(reader))["result"]["document"]


async def test_a_half_sent_request_is_forgotten_with_its_client() -> None:
    server = await serve(Options(port=0))
    for end in (socket.socket.close, _reset):
        client = connect(server.base_url)
        client.sendall(post(1)[:50])
        async with asyncio.timeout(10):
            while not server._connections:
                await asyncio.sleep(0.001)
            end(client)
            while server._connections:
                await asyncio.sleep(0.001)
    assert not server.world.journal.times
    await server.close()


def _reset(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


async def test_what_breaks_one_connection_is_told_and_ends_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    read_bytes = Connection.receive

    def receive(connection: Connection, data: bytes, at: float) -> None:
        if data == b"BREAK":
            raise ZeroDivisionError
        read_bytes(connection, data, at)

    monkeypatch.setattr(Connection, "receive", receive)
    server = await serve(Options(port=0))
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(context))
    clients = [connect(server.base_url) for _ in range(2)]
    # Both are waiting when the server looks, so that one round reads both.
    clients[0].sendall(b"BREAK")
    clients[1].sendall(post(1))
    streams = [await asyncio.open_connection(sock=client) for client in clients]
    assert (await read(streams[1][0]))["ok"]
    assert await streams[0][0].read() == b""
    assert [type(context["exception"]) for context in told] == [ZeroDivisionError]
    for _, writer in streams:
        writer.close()
    await server.close()


async def test_a_closed_server_hangs_up_and_accepts_nobody() -> None:
    server = await serve(Options(port=0))
    reader, writer = await open_to(server)
    writer.write(post(1))
    assert (await read(reader))["ok"]
    await server.close()
    assert await reader.read() == b""
    writer.close()
    with pytest.raises(ConnectionRefusedError):
        await open_to(server)


@on_linux
async def test_who_comes_while_no_file_descriptor_is_left_is_accepted_when_there_is_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wire, "RETRY_SECONDS", 0.01)
    server = await serve(Options(port=0))
    client = connect(server.base_url)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (client.fileno() + 1, hard))
    try:
        taken = fill_descriptors()
        await asyncio.sleep(0.03)
        assert not server._connections
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    for descriptor in taken:
        os.close(descriptor)
    reader, writer = await asyncio.open_connection(sock=client)
    writer.write(post(1))
    assert (await read(reader))["ok"]
    writer.close()
    await server.close()


def fill_descriptors() -> list[int]:
    taken = []
    try:
        while True:
            taken.append(os.dup(0))
    except OSError:
        return taken


class Now:
    """A clock that only moves forward, and a wall clock that somebody sets."""

    def __init__(self) -> None:
        self.at = 1_800_000_000.0
        self.wall_is_ahead = 5.0

    def clock(self) -> float:
        return self.at

    def wall(self) -> float:
        return self.at + self.wall_is_ahead

    def stamp(self) -> list[tuple[int, int, bytes]]:
        nanoseconds = round(self.wall() * 1e9)
        return [(socket.SOL_SOCKET, SO_TIMESTAMPNS, struct.pack("@ll", *divmod(nanoseconds, 10**9)))]


def arrives(now: Now, timeline: Timeline, late: float) -> float:
    stamp = now.stamp()
    now.at += late
    return timeline.pass_on(timeline.place(stamp))


def test_a_stamp_is_put_on_the_line_of_the_clock_however_late_it_is_read() -> None:
    now = Now()
    timeline = Timeline(now.clock, now.wall)
    sent = now.at
    assert arrives(now, timeline, 0.1) == pytest.approx(sent, abs=1e-5)


def test_without_a_stamp_the_time_of_reading_counts() -> None:
    now = Now()
    assert Timeline(now.clock, now.wall).place([]) == now.at


@pytest.mark.parametrize("step", [-3600.0, 3600.0, -0.5, 0.5])
def test_arrivals_stay_apart_when_somebody_sets_the_wall_clock(step: float) -> None:
    now = Now()
    timeline = Timeline(now.clock, now.wall)
    arrives(now, timeline, 0.001)
    now.wall_is_ahead += step
    found = []
    for _ in range(5):
        now.at += GAP
        found.append(arrives(now, timeline, 0.001))
    assert [after - before for before, after in pairwise(found)] == pytest.approx([GAP + 0.001] * 4, abs=1e-5)


def test_a_time_before_the_latest_one_is_the_latest_one() -> None:
    timeline = Timeline(time.time)
    assert [timeline.pass_on(at) for at in (5.0, 4.0, 6.0)] == [5.0, 5.0, 6.0]


async def test_what_one_round_reads_is_taken_in_order_of_arrival() -> None:
    now = Now()
    inbox = Inbox(asyncio.get_running_loop(), Timeline(now.clock, now.wall))
    taken: list[tuple[bytes, float]] = []
    stamps = []
    for _ in range(3):
        now.at += GAP
        stamps.append(now.stamp())
    for nth in (2, 0, 1):
        inbox.put(cast(Wire, Taker(taken)), b"%d" % nth, stamps[nth])
    await asyncio.sleep(0)
    assert [data for data, _ in taken] == [b"0", b"1", b"2"]
    assert [at for _, at in taken] == pytest.approx([now.at - 2 * GAP, now.at - GAP, now.at], abs=1e-5)


class Taker:
    def __init__(self, taken: list[tuple[bytes, float]]) -> None:
        self._taken = taken

    def receive(self, data: bytes, at: float) -> None:
        self._taken.append((data, at))


moves = st.tuples(st.floats(0, 2), st.floats(0, 2), st.sampled_from([0.0, 0.0, -3600.0, -0.1, 0.1, 3600.0]))


@given(st.lists(moves, max_size=30))
def test_arrivals_never_go_back_and_are_never_in_the_future(given: list[tuple[float, float, float]]) -> None:
    now = Now()
    timeline = Timeline(now.clock, now.wall)
    last = 0.0
    for wait, late, step in given:
        now.at += wait
        now.wall_is_ahead += step
        at = arrives(now, timeline, late)
        assert last <= at <= now.at
        last = at

"""TCP on Linux with the kernel's own word for when bytes arrived; elsewhere asyncio's, with the loop's clock.

A loop that stamps what it reads stamps when the process got the CPU: on a busy machine 5 to 20 ms late, so that
requests look bunched that were not. The kernel stamps a packet within microseconds, whoever is running.
"""

import asyncio
import errno
import socket
import struct
import sys
import time
from collections.abc import Callable
from typing import Protocol

# Linux's asm-generic/socket.h: "also stamp in nanoseconds". Python has no name for it. The same number is the
# type of the ancillary message that carries the stamp.
SO_TIMESTAMPNS = 35
READ_BYTES = 64 * 1024
BUFFER_HIGH = 64 * 1024
BUFFER_LOW = 16 * 1024
BACKLOG = 1024
RETRY_SECONDS = 1.0
# Two C longs, for this is the old message of that name: on a 32-bit machine it ends with the year 2038.
_STAMP = struct.Struct("@ll")
_ANCILLARY_BYTES = socket.CMSG_SPACE(_STAMP.size)
_OUT_OF_SOMETHING = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_NOT_HERE = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}


class Client(asyncio.Protocol):
    """Who is told about one connection: asyncio's protocol, with the time of arrival."""

    def receive(self, data: bytes, at: float) -> None:
        """Bytes that arrived at `at`; asyncio's own transport calls `data_received` instead."""
        raise NotImplementedError


class Timeline:
    """Puts the kernel's stamps, which are wall clock, on the line of a clock that only moves forward."""

    def __init__(self, clock: Callable[[], float], wall: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._wall = wall
        self._last = 0.0
        self._shift = self._measure()

    def _measure(self) -> float:
        """What to add to the wall clock now. The quickest of several readings is the least disturbed one."""
        readings: list[tuple[float, float]] = []
        for _ in range(5):
            before = self._clock()
            wall = self._wall()
            after = self._clock()
            readings.append((after - before, (before + after) / 2 - wall))
        _, shift = min(readings)
        return shift

    def place(self, ancillary: list[tuple[int, int, bytes]]) -> float:
        """When the bytes that came with this arrived; now, if it does not say or cannot be true."""
        now = self._clock()
        if not ancillary:
            return now
        seconds, nanoseconds = _STAMP.unpack(ancillary[0][2])
        wall: float = seconds + nanoseconds * 1e-9
        at = wall + self._shift
        if not self._last <= at <= now:
            # Perhaps somebody has set the wall clock.
            self._shift = self._measure()
            at = wall + self._shift
        return min(at, now)

    def pass_on(self, at: float) -> float:
        """`at`, or the latest time passed on before if that is later."""
        self._last = max(self._last, at)
        return self._last


class Inbox:
    """What one round of reading found, handed on in order of arrival.

    The kernel reports ready sockets nearly in that order, but one it has just reported keeps its place in the
    queue when more arrives on it.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, timeline: Timeline) -> None:
        self._loop = loop
        self._timeline = timeline
        self._read: list[tuple[float, Wire, bytes]] = []

    def put(self, wire: "Wire", data: bytes, ancillary: list[tuple[int, int, bytes]]) -> None:
        """Keep `data` until every socket of this round has been read."""
        if not self._read:
            self._loop.call_soon(self._hand_on)
        self._read.append((self._timeline.place(ancillary), wire, data))

    def _hand_on(self) -> None:
        read, self._read = self._read, []
        if len(read) > 1:
            read.sort(key=_at)
        for at, wire, data in read:
            wire.receive(data, self._timeline.pass_on(at))


def _at(read: "tuple[float, Wire, bytes]") -> float:
    return read[0]


class Wire(asyncio.Transport):
    """One accepted connection. It behaves as asyncio's own transport does, at the client's end of file too."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, sock: socket.socket, client: Client, inbox: Inbox
    ) -> None:
        super().__init__()
        self._loop = loop
        self._sock = sock
        self._client = client
        self._inbox = inbox
        self._outgoing = bytearray()
        self._writing_paused = False
        self._closing = False
        self._lost = False
        client.connection_made(self)
        self.resume_reading()

    def receive(self, data: bytes, at: float) -> None:
        """Hand on what was read, unless the connection has ended since."""
        if self._closing:
            return
        try:
            self._client.receive(data, at)
        except Exception as error:
            # It ends this connection, and not the round that others are waiting in.
            self._loop.call_exception_handler(
                {"message": "a connection failed", "exception": error, "transport": self}
            )
            self._lose(error)

    def pause_reading(self) -> None:
        """Part of asyncio's transport."""
        self._loop.remove_reader(self._sock)

    def resume_reading(self) -> None:
        """Part of asyncio's transport."""
        if not self._closing:
            self._loop.add_reader(self._sock, self._read)

    def is_closing(self) -> bool:
        """Part of asyncio's transport."""
        return self._closing

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send what the socket takes now, and the rest when it takes more."""
        if self._lost:
            return
        if self._outgoing:
            self._outgoing += data
        else:
            sent = self._send(data)
            if sent == len(data) or self._lost:
                return
            self._outgoing += memoryview(data)[sent:]
            self._loop.add_writer(self._sock, self._write_rest)
        if len(self._outgoing) > BUFFER_HIGH and not self._writing_paused:
            self._writing_paused = True
            self._client.pause_writing()

    def close(self) -> None:
        """Hear no more, and hang up when everything written has left."""
        if self._closing:
            return
        self._closing = True
        self._loop.remove_reader(self._sock)
        if not self._outgoing:
            self._lose(None)

    def abort(self) -> None:
        """Hang up at once."""
        self._lose(None)

    def _read(self) -> None:
        try:
            data, ancillary, _flags, _address = self._sock.recvmsg(READ_BYTES, _ANCILLARY_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._lose(error)
            return
        if data:
            self._inbox.put(self, data, ancillary)
        else:
            self.close()

    def _send(self, data: bytes | bytearray | memoryview) -> int:
        try:
            return self._sock.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            self._lose(error)
            return 0

    def _write_rest(self) -> None:
        del self._outgoing[: self._send(self._outgoing)]
        if self._lost:
            return
        if self._writing_paused and len(self._outgoing) <= BUFFER_LOW:
            self._writing_paused = False
            self._client.resume_writing()
        if not self._outgoing:
            self._loop.remove_writer(self._sock)
            if self._closing:
                self._lose(None)

    def _lose(self, error: Exception | None) -> None:
        if self._lost:
            return
        self._lost = self._closing = True
        self._outgoing.clear()
        self._loop.remove_reader(self._sock)
        self._loop.remove_writer(self._sock)
        # Not at once: the client may be in the middle of something, such as the write that failed.
        self._loop.call_soon(self._end, error)

    def _end(self, error: Exception | None) -> None:
        self._client.connection_lost(error)
        self._sock.close()


class Listener:
    """Accepts connections on one socket and makes a Wire of each."""

    def __init__(self, sock: socket.socket, make_client: Callable[[], Client], inbox: Inbox) -> None:
        self._sock = sock
        self._make_client = make_client
        self._inbox = inbox
        self._loop = asyncio.get_running_loop()
        self._retry: asyncio.TimerHandle | None = None
        self._listen()

    def close(self) -> None:
        """Accept nobody any more."""
        if self._retry is not None:
            self._retry.cancel()
        self._loop.remove_reader(self._sock)
        self._sock.close()

    def _listen(self) -> None:
        self._loop.add_reader(self._sock, self._accept)

    def _accept(self) -> None:
        for _ in range(BACKLOG):
            try:
                sock, _address = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _OUT_OF_SOMETHING:
                    raise
                # The socket stays ready: asking again at once would turn in circles until one is closed.
                self._loop.remove_reader(self._sock)
                self._retry = self._loop.call_later(RETRY_SECONDS, self._listen)
                return
            sock.setblocking(False)
            Wire(self._loop, sock, self._make_client(), self._inbox)


class _Closes(Protocol):
    def close(self) -> None: ...


class Listeners:
    """Every socket that a host name stands for, listened on."""

    def __init__(self, make_client: Callable[[], Client], clock: Callable[[], float]) -> None:
        self._make_client = make_client
        self._loop = asyncio.get_running_loop()
        self._inbox = Inbox(self._loop, Timeline(clock))
        self._open: list[_Closes] = []
        self.addresses: list[tuple[str, int]] = []

    async def listen(self, host: str, port: int) -> None:
        """Begin to listen; port 0 takes a free one."""
        kind, flags = socket.SOCK_STREAM, socket.AI_PASSIVE
        found = await self._loop.getaddrinfo(host or None, port, type=kind, flags=flags)
        absent: OSError | None = None
        for family, address in dict.fromkeys((one[0], one[4][:2]) for one in found):
            try:
                await self._listen(family, (str(address[0]), int(address[1])))
            except OSError as error:
                # "localhost" may be an IPv6 address too, on a machine that has none.
                absent = error
                if error.errno not in _NOT_HERE:
                    self.close()
                    raise
        if absent is not None and not self._open:
            raise absent

    async def _listen(self, family: int, address: tuple[str, int]) -> None:
        sock = socket.create_server(address, family=family, backlog=BACKLOG)
        sock.setblocking(False)
        self.addresses.append(sock.getsockname()[:2])
        if is_stamping(sock):
            self._open.append(Listener(sock, self._make_client, self._inbox))
        else:
            self._open.append(await self._loop.create_server(self._make_client, sock=sock, backlog=BACKLOG))

    def close(self) -> None:
        """Accept nobody any more."""
        for one in self._open:
            one.close()


def is_stamping(sock: socket.socket) -> bool:
    """Whether the kernel stamps what arrives on this listening socket's connections, now that it was asked to."""
    if sys.platform != "linux":
        return False
    try:
        # Accepted sockets get both options from this one, so that even bytes that came before accept() have a stamp.
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError:
        return False
    return True

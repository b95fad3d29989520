"""HTTP/1.1 on a raw asyncio protocol: keep-alive, pipelining, chunked bodies.

Our own parser, for one reason: the request's few interesting bytes are found with a handful of searches in C,
where a callback parser calls back into Python for every header. Anything malformed is answered 400 and the
connection closed.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from typing import cast

MAX_HEAD = 64 * 1024
MAX_BODY = 60 * 1024 * 1024
"""Above Telegram's 50 MB for a file, so that the file can be refused in Telegram's words."""


class Malformed(Exception):
    """The bytes are no HTTP request this server takes."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Request:
    """One request. `end` is the offset of the first byte behind it."""

    __slots__ = ("_head", "body", "end", "keep_alive", "method", "raw_head", "target")

    def __init__(self, line: list[bytes], raw_head: bytes, head: bytes, body: bytes, end: int) -> None:
        self.method = line[0]
        self.target = line[1]
        self.raw_head = raw_head
        self._head = head
        self.body = body
        self.end = end
        self.keep_alive = _keep_alive(head, line[2])

    def header(self, name: bytes) -> bytes | None:
        """The value of header `name` (given in lower case), itself in lower case."""
        return _header(self._head, name)


class Incomplete:
    """More bytes are needed: `need` in all if that is known, or chunks up to the closing one."""

    __slots__ = ("chunked", "expects", "need")

    def __init__(self, need: int = 0, chunked: bool = False, expects: bool = False) -> None:
        self.need = need
        self.chunked = chunked
        self.expects = expects


def parse_request(data: bytes, start: int = 0) -> Request | Incomplete:
    """The request that begins at `start`, or what is missing to it."""
    line_end = data.find(b"\r\n", start)
    head_end = data.find(b"\r\n\r\n", line_end) if line_end >= 0 else -1
    if head_end < 0:
        if len(data) - start > MAX_HEAD:
            raise Malformed(431, "the request's header is longer than 64 KiB")
        return Incomplete()
    parts = data[start:line_end].split(b" ")
    if len(parts) != 3 or not parts[2].startswith(b"HTTP/1."):
        raise Malformed(400, "this is no HTTP/1.1 request")
    raw_head = data[line_end : head_end + 2]
    head = raw_head.lower()
    body_at = head_end + 4
    if b"\r\ntransfer-encoding:" in head:
        body = _chunks(data, head, body_at)
        return body if isinstance(body, Incomplete) else Request(parts, raw_head, head, *body)
    length = _length(head)
    end = body_at + length
    if end > len(data):
        return Incomplete(need=end - start, expects=_expects(head))
    return Request(parts, raw_head, head, data[body_at:end], end)


def _header(head: bytes, name: bytes) -> bytes | None:
    at = head.find(b"\r\n" + name + b":")
    if at < 0:
        return None
    at += len(name) + 3
    return head[at : head.find(b"\r\n", at)].strip()


def _length(head: bytes) -> int:
    value = _header(head, b"content-length")
    if value is None:
        return 0
    if not value.isdigit():
        raise Malformed(400, "Content-Length is not a number")
    if int(value) > MAX_BODY:
        raise Malformed(413, "Request Entity Too Large")
    return int(value)


def _keep_alive(head: bytes, version: bytes) -> bool:
    connection = _header(head, b"connection")
    if version == b"HTTP/1.0":
        return connection == b"keep-alive"
    return connection != b"close"


def _expects(head: bytes) -> bool:
    return b"\r\nexpect: 100-continue\r\n" in head


def _chunks(data: bytes, head: bytes, at: int) -> tuple[bytes, int] | Incomplete:
    """The body put together from its chunks, and the offset behind the last one."""
    if _header(head, b"transfer-encoding") != b"chunked":
        raise Malformed(501, "Transfer-Encoding may only be chunked")
    chunks: list[bytes] = []
    while True:
        line_end = data.find(b"\r\n", at)
        if line_end < 0:
            return Incomplete(chunked=True, expects=_expects(head))
        try:
            size = int(data[at:line_end].split(b";")[0], 16)
        except ValueError:
            raise Malformed(400, "a chunk's size is not a number") from None
        at = line_end + 2
        if at + size + 2 > len(data):
            return Incomplete(chunked=True, expects=_expects(head))
        if not size:
            return b"".join(chunks), _after_trailers(data, at)
        chunks.append(data[at : at + size])
        at += size + 2


def _after_trailers(data: bytes, at: int) -> int:
    """Trailers are read over; they end with an empty line, which usually comes at once."""
    if data.startswith(b"\r\n", at):
        return at + 2
    end = data.find(b"\r\n\r\n", at)
    return len(data) if end < 0 else end + 4


_OK = b"HTTP/1.1 200 OK\r\nServer: fake\r\nContent-Type: application/json\r\nContent-Length: "


def response(
    status: int, body: bytes, content_type: str = "application/json", extra: str = "", keep_alive: bool = True
) -> bytes:
    """A whole response."""
    if status == 200 and content_type == "application/json" and keep_alive:
        return b"%b%d\r\n\r\n%b" % (_OK, len(body), body)
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"
    connection = "" if keep_alive else "Connection: close\r\n"
    head = (
        f"HTTP/1.1 {status} {phrase}\r\nServer: fake\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\n{connection}{extra}\r\n"
    )
    return head.encode() + body


class Exchange:
    """One request's place in the order of answers on its connection."""

    __slots__ = ("_connection", "_done", "close_after", "data")

    def __init__(self, connection: "Connection", close_after: bool) -> None:
        self._connection = connection
        self.close_after = close_after
        self.data: bytes | None = None
        self._done = False

    @property
    def gone(self) -> bool:
        """Whether the client has hung up."""
        return self._connection.closed

    def answer(self, data: bytes) -> None:
        """Give the response; it leaves when every earlier one on this connection has left."""
        if not self._done:
            self._done = True
            self.data = data
            self._connection.flush()

    def drop(self) -> None:
        """Close the connection without an answer, at once."""
        self._done = True
        self._connection.abort()


Handler = Callable[[Request, Exchange, float], None]


class Connection(asyncio.Protocol):
    """One client. Calls `handle(request, exchange, arrived_at)` for every complete request, in order."""

    def __init__(self, handle: Handler, clock: Callable[[], float], connections: "set[Connection]") -> None:
        self._handle = handle
        self._clock = clock
        self._connections = connections
        self._transport: asyncio.Transport
        self._waiting: deque[Exchange] = deque()
        self._tail = bytearray()
        self._missing = Incomplete()
        self._continued = False
        self._in_batch = False
        self.closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Part of asyncio's protocol."""
        self._transport = cast(asyncio.Transport, transport)
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Part of asyncio's protocol."""
        self.closed = True
        self._waiting.clear()
        self._connections.discard(self)

    def pause_writing(self) -> None:
        """A client that does not read its answers is not read from either."""
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Part of asyncio's protocol."""
        if not self.closed:
            self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        """Part of asyncio's protocol. The arrival is stamped before anything else is done."""
        arrived = self._clock()
        if self._tail:
            seen = len(self._tail)
            self._tail += data
            if not self._worth_parsing(seen):
                return
            data = bytes(self._tail)
            self._tail = bytearray()
        self._in_batch = True
        try:
            self._take(data, arrived)
        except Malformed as error:
            self._in_batch = False
            self.flush()
            self._refuse(error)
        self._in_batch = False
        if self._waiting:
            self.flush()

    def _take(self, data: bytes, arrived: float) -> None:
        at = 0
        while at < len(data) and not self.closed:
            request = parse_request(data, at)
            if isinstance(request, Incomplete):
                self._keep(data[at:], request)
                return
            at = request.end
            self._continued = False
            exchange = Exchange(self, not request.keep_alive)
            self._waiting.append(exchange)
            self._handle(request, exchange, arrived)

    def _worth_parsing(self, seen: int) -> bool:
        """Whether a request may be complete now. Keeps a large upload from being parsed once a packet."""
        if len(self._tail) > MAX_BODY + MAX_HEAD:
            self._refuse(Malformed(413, "Request Entity Too Large"))
            return False
        if self._missing.chunked:
            return self._tail.find(b"0\r\n", max(0, seen - 3)) >= 0
        return len(self._tail) >= self._missing.need

    def _keep(self, tail: bytes, missing: Incomplete) -> None:
        self._tail = bytearray(tail)
        self._missing = missing
        if missing.expects and not self._continued:
            self._continued = True
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _refuse(self, error: Malformed) -> None:
        body = b'{"ok":false,"error_code":%d,"description":"%b"}' % (error.status, str(error).encode())
        self._transport.write(response(error.status, body, keep_alive=False))
        self._tail = bytearray()
        self._transport.close()

    def flush(self) -> None:
        """Write every answer that is ready and whose turn it is; one write for all of a batch."""
        if self._in_batch or self.closed:
            return
        ready: list[bytes] = []
        waiting = self._waiting
        close = False
        while waiting and waiting[0].data is not None and not close:
            exchange = waiting.popleft()
            ready.append(exchange.data or b"")
            close = exchange.close_after
        if ready:
            self._transport.write(ready[0] if len(ready) == 1 else b"".join(ready))
        if close:
            self._transport.close()

    def abort(self) -> None:
        """Hang up."""
        self.closed = True
        self._transport.abort()

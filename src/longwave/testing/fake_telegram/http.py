"""HTTP/1.1 on a bare connection: keep-alive, pipelining, chunked bodies. httptools parses."""

import asyncio
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from typing import cast

import httptools

from longwave.testing.fake_telegram.wire import Client

MAX_REQUEST = 60 * 1024 * 1024
"""Bytes. Above Telegram's 50 MB for a file, so that the file is refused where files are checked."""


class Request:
    """One complete request."""

    __slots__ = ("body", "content_type", "method", "target")

    def __init__(self, method: bytes, target: bytes, content_type: bytes, body: bytes) -> None:
        self.method = method
        self.target = target
        self.content_type = content_type
        self.body = body


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


class Connection(Client):
    """One client. Calls `handle(request, exchange, arrived_at)` for every complete request, in order."""

    def __init__(self, handle: Handler, clock: Callable[[], float], connections: "set[Connection]") -> None:
        self._handle = handle
        self._clock = clock
        self._connections = connections
        self._transport: asyncio.Transport
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[Exchange] = deque()
        self._arrived = 0.0
        self._size = 0
        self._in_batch = False
        self.closed = False
        self.on_message_begin()

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
        """Part of asyncio's protocol. Where the kernel stamps nothing, the arrival is now."""
        self.receive(data, self._clock())

    def receive(self, data: bytes, at: float) -> None:
        """Read bytes that arrived at `at`: when the last of a request did is when the request did."""
        self._arrived = at
        self._in_batch = True
        self._size += len(data)
        fault = None if self._size <= MAX_REQUEST else (413, b"Request Entity Too Large")
        if fault is None:
            try:
                self._parser.feed_data(data)
            except (httptools.HttpParserError, httptools.HttpParserUpgrade):
                fault = 400, b"Bad Request: this is no HTTP/1.1 request"
        self._in_batch = False
        if self._waiting:
            self.flush()
        if fault is not None and not self.closed:
            self._refuse(*fault)

    def on_message_begin(self) -> None:
        """Part of httptools' protocol."""
        self._target = b""
        self._content_type = b""
        self._expects = False
        self._body: list[bytes] = []

    def on_url(self, url: bytes) -> None:
        """Part of httptools' protocol."""
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Part of httptools' protocol."""
        # By length first: this is called for every header of every request, and few are of interest.
        if len(name) == 12 and name.lower() == b"content-type":
            self._content_type = value
        elif len(name) == 6 and name.lower() == b"expect":
            self._expects = value.lower() == b"100-continue"

    def on_headers_complete(self) -> None:
        """Part of httptools' protocol."""
        if self._expects:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """Part of httptools' protocol."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """Part of httptools' protocol."""
        self._size = 0
        if self.closed:
            return
        pieces = self._body
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        request = Request(self._parser.get_method(), self._target, self._content_type, body)
        exchange = Exchange(self, not self._parser.should_keep_alive())
        self._waiting.append(exchange)
        self._handle(request, exchange, self._arrived)

    def _refuse(self, status: int, reason: bytes) -> None:
        body = b'{"ok":false,"error_code":%d,"description":"%b"}' % (status, reason)
        self._transport.write(response(status, body, keep_alive=False))
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

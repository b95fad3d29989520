"""The server: which request goes where, and the life of the process."""

import asyncio
import gc
import os
import re
import signal
import sys
from collections.abc import Callable
from urllib.parse import parse_qsl, unquote

from longwave.testing.fake_telegram import account, acting, sending
from longwave.testing.fake_telegram.answers import Refusal
from longwave.testing.fake_telegram.bots import TOKEN, Bot, Method
from longwave.testing.fake_telegram.control import control
from longwave.testing.fake_telegram.http import Connection, Exchange, Request, response
from longwave.testing.fake_telegram.options import Options
from longwave.testing.fake_telegram.parameters import read_parameters
from longwave.testing.fake_telegram.wire import Listeners
from longwave.testing.fake_telegram.world import World

ROUTES_KEPT = 10_000
PARENT_POLL_SECONDS = 1.0
_BOT_PATH = re.compile(r"/bot([^/]+)/(?:test/)?([^/]*)/?")
_FILE_PATH = re.compile(r"/file/bot([^/]+)/(.+)")


def _all_methods() -> dict[str, Method]:
    methods = (*sending.METHODS, *acting.METHODS, *account.METHODS)
    for number, method in enumerate(methods):
        method.number = number
    return {method.name.lower(): method for method in methods}


METHODS = _all_methods()


class Server:
    """A running fake Bot API server."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.world = World(options, [method.name for method in METHODS.values()])
        self._routes: dict[bytes, tuple[int, Method]] = {}
        self._connections: set[Connection] = set()
        self._listeners: Listeners | None = None

    @property
    def base_url(self) -> str:
        """Where it listens, such as `http://127.0.0.1:8081`; give this to a client as its API server."""
        if self._listeners is None:
            raise RuntimeError("the server has not been started")
        host, port = self._listeners.addresses[0]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def start(self) -> None:
        """Begin to listen."""
        listeners = Listeners(self._connection, self.world.clock)
        await listeners.listen(self.options.host, self.options.port)
        self._listeners = listeners

    async def close(self) -> None:
        """Stop listening and hang up on everybody."""
        if self._listeners is not None:
            self._listeners.close()
        for connection in list(self._connections):
            connection.abort()
        await asyncio.sleep(0)

    def _connection(self) -> Connection:
        return Connection(self._handle, self.world.clock, self._connections)

    def _handle(self, request: Request, exchange: Exchange, at: float) -> None:
        path, _, query = request.target.partition(b"?")
        try:
            if path.startswith(b"/fake/"):
                self._control(request, exchange, path, query)
            elif path.startswith(b"/file/"):
                self._download(exchange, path)
            else:
                self._call(request, exchange, path, query, at)
        except Refusal as refusal:
            # No bot was found to count it for.
            self.world.journal.refused[0, refusal.status, refusal.description] += 1
            exchange.answer(response(refusal.status, refusal.body()))

    def _call(self, request: Request, exchange: Exchange, path: bytes, query: bytes, at: float) -> None:
        route = self._routes.get(path)
        if route is None:
            route = self._find_route(path)
        bot_id, method = route
        params = read_parameters(request, query)
        self.world.serve(self.world.bot(bot_id), method, params, exchange, at)

    def _find_route(self, path: bytes) -> tuple[int, Method]:
        match = _BOT_PATH.fullmatch(unquote(path.decode("latin-1")))
        if match is None:
            raise Refusal(404, "Not Found")
        bot_id = self._bot_id(match[1])
        method = METHODS.get(match[2].lower())
        if method is None:
            raise Refusal(404, "Not Found: method not found" if match[2] else "Not Found")
        if len(self._routes) >= ROUTES_KEPT:
            self._routes.clear()
        self._routes[path] = bot_id, method
        return bot_id, method

    def _bot_id(self, token: str) -> int:
        match = TOKEN.fullmatch(token)
        if match is None:
            raise Refusal(404, "Not Found")
        if self.options.tokens and token not in self.options.tokens:
            raise Refusal(401, "Unauthorized")
        return int(match[1])

    def _download(self, exchange: Exchange, path: bytes) -> None:
        match = _FILE_PATH.fullmatch(unquote(path.decode("latin-1")))
        bot = self._bot(match[1]) if match else None
        content = bot.files.content(match[2]) if bot and match else None
        if content is None:
            raise Refusal(404, "Not Found")
        exchange.answer(response(200, content, "application/octet-stream"))

    def _bot(self, token: str) -> Bot:
        return self.world.bot(self._bot_id(token))

    def _control(self, request: Request, exchange: Exchange, path: bytes, query: bytes) -> None:
        status, body, content_type = control(
            self.world,
            request.method.decode("latin-1"),
            path.decode("latin-1").removeprefix("/fake/"),
            dict(parse_qsl(query.decode("latin-1"))),
            request.body,
        )
        exchange.answer(response(status, body, content_type))


async def serve(options: Options) -> Server:
    """Start a server in the running loop and answer it; `close()` ends it."""
    server = Server(options)
    await server.start()
    return server


def main(
    options: Options, *, on_ready: Callable[[str], None] | None = None, follow_parent: bool = False
) -> None:
    """Run a server until it is told to stop (Ctrl-C, SIGTERM). `on_ready` is called with its base URL.

    With `follow_parent` it also ends with the process that started it: when its standard input is closed, or
    when it has a new parent (a fork of the starter may hold the other end of the pipe open).
    """
    # What lives long here is millions of small things without cycles: looking through them would delay arrivals.
    gc.freeze()
    gc.set_threshold(100_000, 50, 1000)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_run(options, on_ready or _announce, follow_parent))


def _announce(base_url: str) -> None:
    print(f"fake Telegram Bot API at {base_url} (what happened: {base_url}/fake/stats)", flush=True)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where there is one: the server is about a third faster with it."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _run(options: Options, on_ready: Callable[[str], None], follow_parent: bool) -> None:
    parent = os.getppid()  # before it is told that we are there: it may be gone right after
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    server = await serve(options)
    on_ready(server.base_url)
    watch = asyncio.create_task(_watch_parent(parent, stop)) if follow_parent else None
    await stop.wait()
    if watch is not None:
        watch.cancel()
    await server.close()


async def _watch_parent(parent: int, stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin.fileno(), _end_at_eof, stop)
    while os.getppid() == parent:
        await asyncio.sleep(PARENT_POLL_SECONDS)
    stop.set()


def _end_at_eof(stop: asyncio.Event) -> None:
    if not os.read(sys.stdin.fileno(), 1024):
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        stop.set()

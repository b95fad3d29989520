"""Everything the server knows, and what it does with one request to a method."""

import asyncio
import logging
from random import Random

from longwave.testing.fake_telegram.answers import Dropped, Refusal, Throttled
from longwave.testing.fake_telegram.bots import Bot, Call, Method
from longwave.testing.fake_telegram.faults import Faults, ServerError
from longwave.testing.fake_telegram.http import Exchange, response
from longwave.testing.fake_telegram.journal import Clock, Journal, Throttle
from longwave.testing.fake_telegram.options import Options
from longwave.testing.fake_telegram.parameters import Params, text_of
from longwave.testing.fake_telegram.population import Population

log = logging.getLogger(__name__)


class World:
    """Bots, chats, limits, faults and the journal of one server."""

    def __init__(self, options: Options, method_names: list[str]) -> None:
        self.options = options
        self.clock = Clock()
        self.method_names = method_names
        self.in_flight = 0
        self.latency = options.latency / 1000
        self.jitter = options.jitter / 1000
        self.reset()

    def reset(self) -> None:
        """As it was when the server started."""
        self.random = Random(self.options.seed)
        self.limits = self.options.limits()
        self.population = Population()
        self.faults = Faults(self.random)
        self.journal = Journal(self.options.keep_text)
        self.journal.method_names = self.method_names
        self.bots: dict[int, Bot] = {}
        self.stars_tenths = round(self.options.stars * 10)
        self.in_flight_peak = self.in_flight
        self.aged = 0.0

    def bot(self, bot_id: int) -> Bot:
        """The bot with this id."""
        bot = self.bots.get(bot_id)
        if bot is None:
            bot = self.bots[bot_id] = Bot(bot_id, self.stars_tenths, self.options.keep_messages)
        return bot

    def set_stars(self, stars: float) -> None:
        """Give every bot, present and future, this balance."""
        self.stars_tenths = round(stars * 10)
        for bot in self.bots.values():
            bot.stars_tenths = self.stars_tenths

    def serve(self, bot: Bot, method: Method, params: Params, exchange: Exchange, at: float) -> None:
        """Run one request and answer it, now or after the latency."""
        call = Call(self, bot, method, params, exchange, at)
        if method.paced:
            self.in_flight += 1
            self.in_flight_peak = max(self.in_flight_peak, self.in_flight)
        try:
            result = self._run(call)
        except Refusal as refusal:
            finish_refused(call, refusal)
        except Dropped:
            drop(call)
        else:
            if result is not None:
                finish(call, result)

    def _run(self, call: Call) -> bytes | None:
        try:
            if self.faults.active:
                self.faults.meet(call)
            if call.bot.is_logged_out:
                raise Refusal(400, "Logged out")
            return call.method.run(call)
        except (Refusal, Dropped):
            raise
        except Exception:
            # One odd request must not end the server; what is odd about it is for us to learn.
            log.exception("%s failed on %.300r", call.method.name, call.params)
            raise Refusal(500, "Internal Server Error") from None
        finally:
            if call.method.paced:
                self.journal.attempts.add(call.at, call.bot.id, call.weight)


def finish(call: Call, result: bytes) -> None:
    """Answer a request that succeeded."""
    if call.drops_after:
        drop(call)
        return
    _leave(call, response(200, b'{"ok":true,"result":%b}' % result))


def finish_refused(call: Call, refusal: Refusal) -> None:
    """Answer a request that was refused, and note it."""
    call.world.journal.refused[call.bot.id, refusal.status, refusal.description] += 1
    if isinstance(refusal, Throttled):
        _note_throttle(call, refusal)
    if call.drops_after:
        drop(call)
        return
    extra = ""
    if isinstance(refusal, Throttled):
        extra = f"Retry-After: {refusal.retry_after}\r\n"
    if isinstance(refusal, ServerError) and refusal.raw is not None:
        _leave(call, response(refusal.status, refusal.raw.encode(), "text/html"))
        return
    _leave(call, response(refusal.status, refusal.body(), extra=extra))


def drop(call: Call) -> None:
    """Hang up instead of answering."""
    _count_out(call)
    call.exchange.drop()


def _note_throttle(call: Call, refusal: Throttled) -> None:
    chat = text_of(call.params, "chat_id")
    chat_id = int(chat) if chat.lstrip("-").isdecimal() else 0
    noted = Throttle(call.at, call.bot.id, chat_id, refusal.cause, refusal.retry_after)
    call.world.journal.throttle(noted)


def _leave(call: Call, data: bytes) -> None:
    world = call.world
    delay = call.delay + world.latency
    if world.jitter:
        delay += world.random.random() * world.jitter
    if delay > 0:
        asyncio.get_running_loop().call_later(delay, _answer, call, data)
    else:
        _answer(call, data)


def _answer(call: Call, data: bytes) -> None:
    _count_out(call)
    call.exchange.answer(data)


def _count_out(call: Call) -> None:
    if call.method.paced:
        call.world.in_flight -= 1

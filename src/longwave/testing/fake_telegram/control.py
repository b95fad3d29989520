"""The server's own endpoints under /fake/: what happened, and what shall happen next."""

from array import array
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import orjson

from longwave.testing.fake_telegram.bots import Bot
from longwave.testing.fake_telegram.delivery import chat_object
from longwave.testing.fake_telegram.faults import Fault
from longwave.testing.fake_telegram.population import State, read_population
from longwave.testing.fake_telegram.world import World

Query = Mapping[str, str]
Data = dict[str, Any]
Answer = tuple[int, bytes, str]
JSON = "application/json"
BINARY = "application/octet-stream"
_WITH_SENDER = ("message", "edited_message", "callback_query", "my_chat_member")


def control(world: World, method: str, path: str, query: Query, body: bytes) -> Answer:
    """Answer one request under /fake/. A bad one is answered 400 with what to do about it."""
    run = _ENDPOINTS.get((method, path))
    if run is None:
        known = ", ".join(f"{verb} {name}" for verb, name in _ENDPOINTS)
        return 404, orjson.dumps({"error": f"{method} {path} is not known here; there are: {known}"}), JSON
    try:
        return run(world, query, _body(body))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return 400, orjson.dumps({"error": str(error)}), JSON


def _body(body: bytes) -> Data:
    data = orjson.loads(body) if body else {}
    if not isinstance(data, dict):
        raise ValueError("the body must be a JSON object")
    return data


def _json(value: Any) -> Answer:
    return 200, orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS), JSON


def _bot(query: Query) -> int | None:
    return int(query["bot"]) if "bot" in query else None


def _since(query: Query) -> float | None:
    return float(query["since"]) if "since" in query else None


def _stats(world: World, query: Query, _data: Data) -> Answer:
    bot = _bot(query)
    found = world.journal.stats(bot, _since(query))
    found["in_flight_peak"] = world.in_flight_peak
    bots = [world.bots[bot]] if bot in world.bots else [] if bot is not None else list(world.bots.values())
    found["stars_spent"] = sum(one.stars_spent_tenths for one in bots) / 10
    return _json(found)


def _log(world: World, query: Query, _data: Data) -> Answer:
    rows = world.journal.rows(
        offset=int(query.get("offset", 0)),
        limit=int(query.get("limit", 1000)),
        chat_id=int(query["chat_id"]) if "chat_id" in query else None,
        method=query.get("method"),
    )
    return _json(list(rows))


def _arrivals(world: World, query: Query, _data: Data) -> Answer:
    return 200, world.journal.arrivals(_bot(query), _since(query)).tobytes(), BINARY


def _chats(world: World, query: Query, _data: Data) -> Answer:
    counts = world.journal.chat_counts(_bot(query), _since(query))
    if query.get("format") != "binary":
        return _json(counts)
    pairs = array("q", counts.keys()) + array("q", counts.values())
    return 200, pairs.tobytes(), BINARY


def _twice(world: World, query: Query, _data: Data) -> Answer:
    counts = world.journal.chat_counts(_bot(query), _since(query))
    return _json([chat for chat, count in counts.items() if count > 1])


def _throttled(world: World, query: Query, _data: Data) -> Answer:
    offset, limit = int(query.get("offset", 0)), int(query.get("limit", 1000))
    kept = list(world.journal.throttles)[offset : offset + limit]
    return _json([asdict(throttle) for throttle in kept])


def _get_faults(world: World, _query: Query, _data: Data) -> Answer:
    return _json([_shown(fault) for fault in world.faults.active])


def _shown(fault: Fault) -> Data:
    found = asdict(fault)
    found["until"] = None if fault.seconds is None else fault.until
    return found


def _add_fault(world: World, _query: Query, data: Data) -> Answer:
    return _json(_shown(world.faults.add(data, world.clock())))


def _clear_faults(world: World, _query: Query, _data: Data) -> Answer:
    world.faults.clear()
    for bot in world.bots.values():
        bot.flood_until = 0.0
    return _json({"ok": True})


def _get_users(world: World, _query: Query, _data: Data) -> Answer:
    known = world.population
    named = {
        str(chat): state if isinstance(state, State) else {"upgraded_to": state}
        for chat, state in known.chats.items()
    }
    return _json({**known.shares, "chats": named})


def _set_users(world: World, query: Query, data: Data) -> Answer:
    world.population = read_population(data, world.population)
    return _get_users(world, query, data)


def _get_limits(world: World, _query: Query, _data: Data) -> Answer:
    return _json({**asdict(world.limits), "stars": world.stars_tenths / 10})


def _set_limits(world: World, query: Query, data: Data) -> Answer:
    changes = dict(data)
    stars = changes.pop("stars", None)
    world.limits = world.limits.changed(changes)
    if stars is not None:
        world.set_stars(float(stars))
    return _get_limits(world, query, data)


def _push_update(world: World, _query: Query, data: Data) -> Answer:
    bot = world.bot(int(data["bot"])) if "bot" in data else _only_bot(world)
    update = data.get("update")
    if not isinstance(update, dict) or not update:
        raise ValueError(
            'update is missing: give a Bot API Update, such as {"message": {"text": "/start", …}}'
        )
    _complete(bot, update, int(world.clock()))
    return _json({"update_id": bot.updates.push(update)})


def _only_bot(world: World) -> Bot:
    if len(world.bots) != 1:
        raise ValueError(f"bot is missing: give a bot's id, {len(world.bots)} bots are known")
    return next(iter(world.bots.values()))


def _complete(bot: Bot, update: Data, now: int) -> None:
    """Fill in what every update of its kind has, so that a test names only what it is about."""
    for kind in _WITH_SENDER:
        found = update.get(kind)
        if isinstance(found, dict):
            _complete_sender(found)
    for kind in ("message", "edited_message"):
        if isinstance(update.get(kind), dict):
            _complete_message(bot, update[kind], now)
    if isinstance(update.get("callback_query"), dict):
        _complete_callback(bot, update["callback_query"], now)


def _complete_sender(found: Data) -> None:
    chat = found.get("chat") or found.get("message", {}).get("chat") or {}
    sender = found.setdefault("from", {"id": abs(int(chat.get("id", 1)))})
    sender.setdefault("is_bot", False)
    sender.setdefault("first_name", f"User {sender['id']}")


def _complete_message(bot: Bot, message: Data, now: int) -> None:
    chat = message.setdefault("chat", {"id": message["from"]["id"]})
    message["chat"] = chat_object(int(chat["id"])) | chat
    if "message_id" not in message:
        message["message_id"] = bot.next_message_id()
    message.setdefault("date", now)
    text = message.get("text", "")
    if text.startswith("/") and "entities" not in message:
        length = len(text.split(maxsplit=1)[0])
        message["entities"] = [{"type": "bot_command", "offset": 0, "length": length}]
    bot.receive(message)


def _complete_callback(bot: Bot, query: Data, now: int) -> None:
    query.setdefault("id", str(4_000_000_000_000_000_000 + len(bot.callbacks)))
    query.setdefault("chat_instance", "1")
    bot.callbacks.add(str(query["id"]))
    under = query.get("message")
    if isinstance(under, dict) and "chat" in under:
        chat_id, message_id = int(under["chat"]["id"]), int(under.get("message_id", 0))
        inaccessible = {"chat": chat_object(chat_id), "message_id": message_id, "date": 0}
        query["message"] = (
            (bot.find(chat_id, message_id) or inaccessible) | under | {"chat": chat_object(chat_id)}
        )


def _age(world: World, _query: Query, data: Data) -> Answer:
    world.aged += float(data["seconds"])
    return _json({"aged": world.aged})


def _reset(world: World, _query: Query, _data: Data) -> Answer:
    world.reset()
    return _json({"ok": True})


_ENDPOINTS: dict[tuple[str, str], Callable[[World, Query, Data], Answer]] = {
    ("GET", "stats"): _stats,
    ("GET", "log"): _log,
    ("GET", "arrivals"): _arrivals,
    ("GET", "chats"): _chats,
    ("GET", "twice"): _twice,
    ("GET", "throttled"): _throttled,
    ("GET", "faults"): _get_faults,
    ("POST", "faults"): _add_fault,
    ("DELETE", "faults"): _clear_faults,
    ("GET", "users"): _get_users,
    ("POST", "users"): _set_users,
    ("GET", "limits"): _get_limits,
    ("POST", "limits"): _set_limits,
    ("POST", "updates"): _push_update,
    ("POST", "age"): _age,
    ("POST", "reset"): _reset,
}

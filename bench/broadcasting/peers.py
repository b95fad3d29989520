"""The libraries people use today for the same job, as their READMEs use them. Knows nothing of Longwave.

    python -m broadcasting.peers NAME BASE_URL TOKEN CHATS REDIS_SOCKET

Both send one message after another. Their pauses between two messages are switched off.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable

from aiogram import Bot
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import TelegramAPIServer

TEXT = "Good morning, this is a benchmark."


async def aiogram_broadcast(bot: Bot, chats: int, socket: str) -> None:
    """aiogram-broadcast: subscribers in Redis, `broadcast_text`."""
    from aiogram_broadcast import BroadcastService, RedisBroadcastStorage
    from aiogram_broadcast.models import Subscriber
    from redis.asyncio import Redis

    redis = Redis(unix_socket_path=socket, db=1)
    storage = RedisBroadcastStorage(redis)
    for chat in range(1, chats + 1):
        await storage.add_subscriber(Subscriber(id=chat, full_name=f"Person {chat}"))
    await BroadcastService(bot, storage, rate_limit=0).broadcast_text(TEXT)
    await redis.aclose()


async def aiogram_broadcaster(bot: Bot, chats: int, _socket: str) -> None:
    """aiogram-broadcaster: a mailer without a storage, its fastest way."""
    from aiogram_broadcaster import Broadcaster
    from aiogram_broadcaster.contents import TextContent

    mailer = await Broadcaster(bot).create_mailer(
        chats=range(1, chats + 1), content=TextContent(text=TEXT), interval=None
    )
    await mailer.start()


Peer = Callable[[Bot, int, str], Awaitable[None]]
PEERS: dict[str, Peer] = {
    "aiogram-broadcast": aiogram_broadcast,
    "aiogram-broadcaster": aiogram_broadcaster,
}


async def main(name: str, base_url: str, token: str, chats: str, socket: str) -> None:
    """Let one peer write to chats 1…`chats`."""
    session = AiohttpSession(api=TelegramAPIServer.from_base(base_url))
    async with Bot(token, session=session) as bot:
        await PEERS[name](bot, int(chats), socket)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:6]))

"""A bare aiohttp loop: as fast as messages can leave one process with nothing behind them.

python -m broadcasting.bare URL COUNT
"""

import asyncio
import sys
from collections.abc import Iterator

import aiohttp
import orjson
import uvloop
from yarl import URL

AT_ONCE = 100


async def post_all(url: URL, chats: Iterator[int], text: str) -> None:
    """Post until there are no chats left; run many of these at once."""
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar()
    ) as session:
        await asyncio.gather(*(_post(session, url, chats, text) for _ in range(AT_ONCE)))


async def _post(session: aiohttp.ClientSession, url: URL, chats: Iterator[int], text: str) -> None:
    headers = {"Content-Type": "application/json"}
    for chat in chats:
        async with session.post(
            url, data=orjson.dumps({"chat_id": chat, "text": text}), headers=headers
        ) as response:
            await response.read()
            response.raise_for_status()


if __name__ == "__main__":
    uvloop.run(post_all(URL(sys.argv[1]), iter(range(1, int(sys.argv[2]) + 1)), sys.argv[3]))

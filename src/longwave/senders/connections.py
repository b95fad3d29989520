"""Open connections, one an account in each process, shared by campaign lanes and single messages."""

import asyncio
from collections.abc import Iterable

from longwave import channels
from longwave.channels.base import Account, Connection

_Key = tuple[str, Account]
_open: dict[asyncio.AbstractEventLoop, dict[_Key, asyncio.Task[Connection]]] = {}


async def connection_for(channel: str, account: Account) -> Connection:
    """The connection of this account, opened at the first call. It lives as long as the process's event
    loop."""
    loop = asyncio.get_running_loop()
    for other in [other for other in _open if other.is_closed()]:
        del _open[other]
    connections, key = _open.setdefault(loop, {}), (channel, account)
    if key not in connections:
        connections[key] = loop.create_task(channels.get(channel).connect(account))
    opening = connections[key]
    try:
        # Shielded: one caller that is cancelled must not take the connection away from the others.
        return await asyncio.shield(opening)
    except BaseException:
        if _has_failed(opening) and connections.get(key) is opening:
            del connections[key]
        raise


async def close_all() -> None:
    """Close what this event loop has open. The next call opens anew."""
    await _close(_open.pop(asyncio.get_running_loop(), {}).values())


def _has_failed(opening: asyncio.Task[Connection]) -> bool:
    return opening.done() and (opening.cancelled() or opening.exception() is not None)


async def _close(openings: Iterable[asyncio.Task[Connection]]) -> None:
    for opening in openings:
        try:
            connection = await opening
        except Exception:  # noqa: S112 - it was never open
            continue
        await connection.close()

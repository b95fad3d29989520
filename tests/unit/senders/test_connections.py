import asyncio

import pytest

from longwave import channels
from longwave.channels.base import Account
from longwave.senders.connections import close_all, connection_for

ANN = Account("ann")


async def test_everybody_in_a_process_shares_one_connection_an_account() -> None:
    first, second = await asyncio.gather(connection_for("memory", ANN), connection_for("memory", ANN))
    assert first is second
    assert await connection_for("memory", Account("bob")) is not first


async def test_a_closed_connection_is_opened_anew() -> None:
    first = await connection_for("memory", ANN)
    await close_all()
    assert await connection_for("memory", ANN) is not first


def test_another_event_loop_opens_its_own() -> None:
    first = asyncio.run(connection_for("memory", ANN))
    assert asyncio.run(connection_for("memory", ANN)) is not first


async def test_what_could_not_be_opened_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    channel = channels.get("memory")
    connect, attempts = type(channel).connect, []

    async def once_refused(self: object, account: Account) -> object:
        attempts.append(account)
        if len(attempts) == 1:
            raise ConnectionError("no route")
        return await connect(channel, account)

    monkeypatch.setattr(type(channel), "connect", once_refused)
    account = Account("carol")
    with pytest.raises(ConnectionError):
        await connection_for("memory", account)
    assert await connection_for("memory", account) is await connection_for("memory", account)
    await close_all()


async def test_a_caller_that_gives_up_does_not_take_the_connection_from_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    channel, opened = channels.get("memory"), asyncio.Event()
    connect = type(channel).connect

    async def slow(self: object, account: Account) -> object:
        await opened.wait()
        return await connect(channel, account)

    monkeypatch.setattr(type(channel), "connect", slow)
    account = Account("dora")
    impatient = asyncio.create_task(connection_for("memory", account))
    patient = asyncio.create_task(connection_for("memory", account))
    await asyncio.sleep(0)
    impatient.cancel()
    opened.set()
    assert await patient is await connection_for("memory", account)
    await close_all()

"""A server that cannot be reached is told in plain words: which address, what happened, what to do."""

import asyncio
import errno
import os
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from longwave.channels.base import Account, ProviderAway, Recipient
from longwave.channels.telegram import connection as wire
from longwave.channels.telegram import unreachable
from longwave.channels.telegram.channel import CHANNEL, bot_api
from longwave.core.outcomes import Outcome, Retry, Unknown

TOKEN = "123456789:AAFabcdefghijklmnopqrstuvwxyz012345"
RAW = ("Errno", "Cannot connect", "ssl:", "Connect call", "to host", "aiohttp", "Client", "[", "0x")

Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(handle: Handle, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    tasks: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.append(task)
        try:
            await handle(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def refusal(base_url: str) -> str:
    """What `sender add` and `doctor` show."""
    with pytest.raises(ProviderAway) as caught:
        await bot_api(Account(TOKEN, base_url), "getMe", {})
    said = str(caught.value)
    assert not [word for word in RAW if word in said], said
    assert TOKEN not in said
    return said


async def outcome(base_url: str) -> Outcome:
    """What a delivery's receipt, and the reason of a pause, are made of."""
    message = CHANNEL.compile(CHANNEL.parse({"kind": "text", "text": "hi"}), paid=False, media={})
    connection = await CHANNEL.connect(Account(TOKEN, base_url))
    try:
        return await connection.send(message, message.render(Recipient("42", {})))
    finally:
        await connection.close()


async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)


async def speak_no_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await writer.drain()


async def test_a_closed_port_refuses_connections():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        assert await refusal(url) == f"{url} refuses connections; {unreachable.AT_HOME}"
        assert await outcome(url) == Retry(f"{url} refuses connections")


async def test_a_name_that_nobody_knows():
    said = await refusal("http://nowhere.invalid:8081")
    assert said.startswith(
        "http://nowhere.invalid:8081 cannot be found: its name is unknown; see that the host"
    )


async def test_https_where_only_http_is_spoken():
    async with listening(speak_no_tls) as port:
        said = await refusal(f"https://127.0.0.1:{port}")
    assert said == f"https://127.0.0.1:{port} does not speak TLS; {unreachable.SCHEME}"


async def test_http_where_only_https_is_spoken(certificate: ssl.SSLContext):
    async with listening(hang, certificate) as port:
        said = await refusal(f"http://127.0.0.1:{port}")
    assert said.endswith(unreachable.SCHEME)


async def test_a_certificate_that_is_not_trusted(certificate: ssl.SSLContext):
    async with listening(hang, certificate) as port:
        said = await refusal(f"https://127.0.0.1:{port}")
    assert "has a certificate that this machine does not trust; give it one" in said


async def test_a_connection_that_is_not_taken_in_time(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(wire, "CONNECT_TIMEOUT", 0.05)
    async with listening(hang) as port:  # a TLS handshake that is never answered
        url = f"https://127.0.0.1:{port}"
        assert (await refusal(url)).startswith(f"{url} does not take a connection in time; ")
        assert await outcome(url) == Retry(f"{url} does not take a connection in time")


async def test_an_answer_that_does_not_come_in_time(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(wire.TelegramConnection.__init__, "__kwdefaults__", {"timeout": 0.05})
    async with listening(hang) as port:
        assert "does not answer in time; " in await refusal(f"http://127.0.0.1:{port}")


async def test_a_connection_that_is_closed_on_the_request():
    async with listening(close) as port:
        url = f"http://127.0.0.1:{port}"
        assert await outcome(url) == Unknown(
            f"the request left, then {url} closed the connection without an answer"
        )


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (OSError(errno.ENETUNREACH, "x"), "cannot be reached from here"),
        (OSError(errno.EMFILE, "x"), "cannot be connected to: this machine has no file descriptors left"),
        (aiohttp.ClientError("x"), "lost the connection"),
        (RuntimeError("x"), "cannot be used (RuntimeError)"),
    ],
)
def test_the_rest_of_the_table(error: Exception, what: str):
    assert unreachable.explain(error).what == what


def test_the_system_s_number_is_found_behind_the_error_of_a_library():
    behind = aiohttp.ServerConnectionError()
    behind.__cause__ = ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
    assert unreachable.explain(behind).what == "refuses connections"


def test_telegram_cannot_be_started_by_whoever_reads_it():
    refused = unreachable.explain(ConnectionRefusedError(errno.ECONNREFUSED, "x"))
    assert "internet" in unreachable.remedy(refused, is_own_server=False)
    assert "runs there" in unreachable.remedy(refused, is_own_server=True)


def test_every_row_can_be_met():
    assert len({fault.what for fault in unreachable.TABLE}) == len(unreachable.TABLE)
    assert all(fault.errors or fault.numbers for fault in unreachable.TABLE)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """A server's context with a certificate that nobody has signed."""
    folder: Path = tmp_path_factory.mktemp("tls")
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    ]
    subprocess.run(
        [*command, "-keyout", folder / "key", "-out", folder / "cert"], check=True, capture_output=True
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert", folder / "key")
    return context

"""What a connection says became of a request, against servers that misbehave byte by byte."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import orjson
import pytest

from longwave.channels.base import LEAVING, Account, AccountRefused, Recipient, TooLate
from longwave.channels.telegram import connection as wire
from longwave.channels.telegram.channel import CHANNEL, bot_api
from longwave.channels.telegram.connection import MAX_ANSWER, TelegramConnection, scrub
from longwave.channels.telegram.message import TelegramMessage
from longwave.core.outcomes import Gone, Outcome, Rejected, Retry, SenderBroken, Sent, Throttled, Unknown

TOKEN = "123456789:AAFabcdefghijklmnopqrstuvwxyz012345"
ANN = Recipient("42", {})

Reader, Writer = asyncio.StreamReader, asyncio.StreamWriter
Behaviour = Callable[[Reader, Writer], Awaitable[None]]


class Server:
    """A raw socket server. `requests` are the heads and bodies it has read whole."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.requests: list[tuple[str, bytes]] = []
        self.connections = 0
        self.base_url = ""

    async def handle(self, reader: Reader, writer: Writer) -> None:
        self.connections += 1
        try:
            await self.behaviour(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def read(self, reader: Reader) -> bytes:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next(
            int(line[15:]) for line in head.split("\r\n") if line.lower().startswith("content-length")
        )
        body = await reader.readexactly(length)
        self.requests.append((head, body))
        return body


@asynccontextmanager
async def serving(behaviour: Callable[[Server], Behaviour]) -> AsyncIterator[Server]:
    server = Server(lambda reader, writer: behaviour(server)(reader, writer))
    listening = await asyncio.start_server(server.handle, "127.0.0.1", 0)
    server.base_url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        listening.close()


def answering(raw: bytes, *, keep: bool = False) -> Callable[[Server], Behaviour]:
    """Read a request, write these bytes; then close, or go on with the next request."""

    def behaviour(server: Server) -> Behaviour:
        async def handle(reader: Reader, writer: Writer) -> None:
            while True:
                await server.read(reader)
                writer.write(raw)
                await writer.drain()
                if not keep:
                    return

        return handle

    return behaviour


def hang(server: Server) -> Behaviour:
    """Read a request, and never answer."""

    async def handle(reader: Reader, writer: Writer) -> None:
        await server.read(reader)
        await reader.read()

    return handle


def http(status: int, body: bytes, kind: str = "application/json") -> bytes:
    head = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def said(status: int, **body: object) -> bytes:
    return http(status, orjson.dumps({"ok": status == 200, **body}))


def text(source: str = "hello", **more: object) -> TelegramMessage:
    content = CHANNEL.parse({"kind": "text", "text": source, **more})
    message = CHANNEL.compile(content, paid=False, media={})
    assert isinstance(message, TelegramMessage)
    return message


async def send(base_url: str, *, timeout: float = 5.0, message: TelegramMessage | None = None) -> Outcome:
    connection = TelegramConnection(Account(TOKEN, base_url), timeout=timeout)
    message = message or text()
    try:
        return await connection.send(message, message.render(ANN))
    finally:
        await connection.close()


async def outcome_of(raw: bytes) -> Outcome:
    async with serving(answering(raw)) as server:
        outcome = await send(server.base_url)
        assert len(server.requests) == 1
        return outcome


async def test_a_success_carries_the_message_id():
    assert await outcome_of(said(200, result={"message_id": 7})) == Sent("7")


async def test_an_album_carries_all_its_ids():
    assert await outcome_of(said(200, result=[{"message_id": 7}, {"message_id": 8}])) == Sent("7,8")


async def test_a_success_without_a_message_is_still_one():
    assert await outcome_of(said(200, result=True)) == Sent("")


async def test_the_request_is_what_the_bot_api_expects():
    async with serving(answering(said(200, result={"message_id": 7}))) as server:
        await send(server.base_url)
        head, body = server.requests[0]
    assert head.startswith(f"POST /bot{TOKEN}/sendMessage HTTP/1.1\r\n")
    assert "content-type: application/json\r\n" in head.lower()
    assert orjson.loads(body) == {"chat_id": 42, "text": "hello"}


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (said(429, parameters={"retry_after": 3}, description="Too Many Requests: retry after 3"), Throttled),
        (said(403, description="Forbidden: bot was blocked by the user"), Gone),
        (said(400, description="Bad Request: can't parse entities: x"), Rejected),
        (said(401, description="Unauthorized"), SenderBroken),
        (said(404, description="Not Found"), SenderBroken),
        (said(500, description="Internal Server Error: restart"), Retry),
        (http(502, b"<html>Bad Gateway</html>", "text/html"), Retry),
        (http(503, b""), Retry),
        (http(504, b"<html>Gateway Time-out</html>", "text/html"), Unknown),
        (http(200, b"<html>hello</html>", "text/html"), Unknown),
        (http(200, b'{"ok":true,"result":{"mess'), Unknown),
        (http(200, b"[]"), Unknown),
        (http(200, b"{}"), Unknown),
        (http(302, b""), Unknown),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n" + b'{"ok":true,"result":{', Unknown),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", Unknown),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd", Unknown),
        (b"garbage\r\n\r\n", Unknown),
        (b"\x00\xff" * 100, Unknown),
        (b"", Unknown),
    ],
    ids=lambda value: repr(value[:50]) if isinstance(value, bytes) else value.__name__,
)
async def test_an_answer_becomes_an_outcome(raw: bytes, expected: type):
    assert type(await outcome_of(raw)) is expected


@pytest.mark.parametrize("status", [400, 401, 404, 500])
async def test_a_token_in_a_providers_own_words_is_masked(status: int):
    outcome = await outcome_of(said(status, description=f"no route for POST /bot{TOKEN}/sendMessage"))
    assert isinstance(outcome, Rejected | SenderBroken | Retry)
    assert outcome.reason.startswith("no route for POST /bot<token>/sendMessage")


async def test_a_token_in_the_refusal_of_an_account_is_masked():
    async with serving(answering(said(404, description=f"no route /bot{TOKEN}/getMe"))) as server:
        with pytest.raises(AccountRefused, match=r"no route /bot<token>/getMe"):
            await CHANNEL.identify(Account(TOKEN, server.base_url))


async def test_an_endless_answer_is_cut_off():
    chunk = b"%x\r\n" % MAX_ANSWER + b" " * MAX_ANSWER + b"\r\n"
    raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk * 2
    outcome = await outcome_of(raw)
    assert type(outcome) is Unknown
    assert str(MAX_ANSWER) in outcome.reason


async def test_a_refused_connection_means_nothing_was_sent():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        outcome = await send(f"http://127.0.0.1:{unused.getsockname()[1]}")
    assert type(outcome) is Retry


async def test_a_name_that_does_not_exist_means_nothing_was_sent():
    assert type(await send("http://nowhere.invalid")) is Retry


async def test_a_base_url_that_is_none_means_nothing_was_sent():
    assert type(await send("http://")) is Retry


async def test_a_failed_handshake_means_nothing_was_sent():
    async def speak_no_tls(reader: Reader, writer: Writer) -> None:
        writer.write(b"no TLS here")

    async with serving(lambda server: speak_no_tls) as server:
        assert type(await send(server.base_url.replace("http:", "https:"))) is Retry


async def test_a_connection_that_hangs_means_nothing_was_sent(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(wire, "CONNECT_TIMEOUT", 0.05)

    async def hang(server: Server, reader: Reader, writer: Writer) -> None:
        await reader.read()  # a TLS handshake that is never answered

    async with serving(lambda server: lambda r, w: hang(server, r, w)) as server:
        assert type(await send(server.base_url.replace("http:", "https:"))) is Retry


async def test_a_server_that_closes_on_the_request_may_have_sent_it():
    async def close_on_the_first_byte(reader: Reader, writer: Writer) -> None:
        await reader.read(1)
        writer.close()

    async with serving(lambda server: close_on_the_first_byte) as server:
        assert type(await send(server.base_url)) is Unknown
        assert server.connections == 1  # and nothing was tried a second time behind our back


async def test_a_server_that_closes_at_once_is_not_tried_again_by_the_library():
    async def close_at_once(reader: Reader, writer: Writer) -> None:
        writer.close()

    async with serving(lambda server: close_at_once) as server:
        # Whether the request was written before the end was noticed depends on the event loop.
        assert type(await send(server.base_url)) in (Retry, Unknown)
        assert server.connections == 1


async def test_no_answer_in_time_may_have_been_sent():
    async with serving(hang) as server:
        assert await send(server.base_url, timeout=0.05) == Unknown("no answer in time")


async def test_an_answer_that_stops_half_way_is_not_waited_for():
    def stall(server: Server) -> Behaviour:
        async def handle(reader: Reader, writer: Writer) -> None:
            await server.read(reader)
            writer.write(said(200, result={"message_id": 7})[:-5])
            await writer.drain()
            await reader.read()

        return handle

    async with serving(stall) as server:
        assert await send(server.base_url, timeout=0.05) == Unknown("no answer in time")


async def test_a_task_whose_request_was_late_goes_on_with_the_next():
    def slow_at_first(server: Server) -> Behaviour:
        async def handle(reader: Reader, writer: Writer) -> None:
            await server.read(reader)
            if server.connections == 1:
                await reader.read()
            writer.write(said(200, result={"message_id": 7}))
            await writer.drain()

        return handle

    async with serving(slow_at_first) as server:
        connection = TelegramConnection(Account(TOKEN, server.base_url), timeout=0.5)
        message = text()
        outcomes = [await connection.send(message, message.render(ANN)) for _ in range(2)]
        await connection.close()
    assert outcomes == [Unknown("no answer in time"), Sent("7")]
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()


async def test_a_cancellation_from_outside_is_not_taken_for_lateness():
    async with serving(hang) as server:
        task = asyncio.create_task(send(server.base_url, timeout=30))
        async with asyncio.timeout(10):
            while not server.requests:
                await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_connection_closed_while_idle_is_not_written_to():
    sent = said(200, result={"message_id": 7})
    async with serving(answering(sent)) as server:  # closes after each answer, without saying so beforehand
        connection = TelegramConnection(Account(TOKEN, server.base_url))
        message = text()
        for _ in range(3):
            assert await connection.send(message, message.render(ANN)) == Sent("7")
            await asyncio.sleep(0.02)
        await connection.close()
        assert (server.connections, len(server.requests)) == (3, 3)


async def test_a_connection_is_used_again():
    async with serving(answering(said(200, result={"message_id": 7}), keep=True)) as server:
        connection = TelegramConnection(Account(TOKEN, server.base_url))
        message = text()
        for _ in range(3):
            await connection.send(message, message.render(ANN))
        await connection.close()
        assert (server.connections, len(server.requests)) == (1, 3)


async def test_what_is_too_late_when_its_connection_is_open_does_not_leave_and_the_next_one_has_it_at_once():
    async with serving(answering(said(200, result={"message_id": 7}), keep=True)) as server:
        connection = TelegramConnection(Account(TOKEN, server.base_url))
        message = text()

        def leaving() -> None:
            raise TooLate

        token = LEAVING.set(leaving)
        with pytest.raises(TooLate):
            await connection.send(message, message.render(ANN))
        with pytest.raises(TooLate):
            await connection.upload(message, ANN)
        LEAVING.reset(token)
        assert await connection.send(message, message.render(ANN)) == Sent("7")
        await connection.close()
        assert (server.connections, len(server.requests)) == (1, 1)


async def test_a_transport_that_was_closing_before_the_write_means_nothing_was_sent():
    error = aiohttp.ClientOSError(None, f"Can not write request body for http://x/bot{TOKEN}/sendMessage")
    error.__cause__ = aiohttp.ClientConnectionResetError("Cannot write to closing transport")
    connection = TelegramConnection(Account(TOKEN))
    try:
        outcome = connection._failed(error)
    finally:
        await connection.close()
    assert type(outcome) is Retry
    assert TOKEN not in outcome.reason


async def test_a_closed_connection_sends_nothing_and_does_not_raise():
    connection = TelegramConnection(Account(TOKEN))
    await connection.close()
    await connection.close()
    message = text()
    assert type(await connection.send(message, message.render(ANN))) is Retry


async def test_a_cancelled_send_is_cancelled():
    reached = asyncio.Event()

    def hang(server: Server) -> Behaviour:
        async def handle(reader: Reader, writer: Writer) -> None:
            await server.read(reader)
            reached.set()
            await reader.read()

        return handle

    async with serving(hang) as server:
        task = asyncio.create_task(send(server.base_url))
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_lost_source_costs_no_contact_until_it_has_been_read_once():
    lost = said(400, description="Bad Request: chat not found")
    answers = [lost, said(200, result={"message_id": 7}), lost]

    def scripted(server: Server) -> Behaviour:
        async def handle(reader: Reader, writer: Writer) -> None:
            for answer in answers:
                await server.read(reader)
                writer.write(answer)

        return handle

    content = CHANNEL.parse({"kind": "copy", "from_chat_id": -100, "message_id": 5})
    message = CHANNEL.compile(content, paid=False, media={})
    async with serving(scripted) as server:
        connection = TelegramConnection(Account(TOKEN, server.base_url))
        outcomes = [await connection.send(message, message.render(ANN)) for _ in answers]
        await connection.close()
    assert [type(outcome) for outcome in outcomes] == [Rejected, Sent, Gone]


async def test_an_upload_carries_the_file_and_brings_back_its_id(tmp_path: Path):
    (tmp_path / "a.jpg").write_bytes(b"jpeg bytes")
    data = {
        "kind": "photo",
        "photo": {"path": str(tmp_path / "a.jpg")},
        "caption": "Hello {{ name }}",
        "keyboard": [[{"text": "Go", "url": "https://example.org"}]],
    }
    message = CHANNEL.compile(CHANNEL.parse(data), paid=False, media={})
    assert message.needs_upload
    sizes = [{"file_id": "small", "width": 1, "height": 1}, {"file_id": "large", "width": 9, "height": 9}]
    reply = said(200, result={"message_id": 7, "photo": sizes})

    def chunked(server: Server) -> Behaviour:
        async def handle(reader: Reader, writer: Writer) -> None:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            body = await reader.readuntil(b"--\r\n")
            server.requests.append((head, body))
            writer.write(reply)

        return handle

    async with serving(chunked) as server:
        connection = await CHANNEL.connect(Account(TOKEN, server.base_url))
        outcome, media = await connection.upload(message, Recipient("@channel", {"name": "Ann"}))
        await connection.close()
        head, body = server.requests[0]
    assert (outcome, media) == (Sent("7"), {"photo": "large"})
    assert "sendPhoto" in head
    for part in (b"jpeg bytes", b"@channel", b"Hello Ann", b"attach://photo", b'"inline_keyboard"'):
        assert part in body
    assert not CHANNEL.compile(CHANNEL.parse(data), paid=False, media=media).needs_upload


async def test_a_file_that_cannot_be_read_is_the_contents_fault(tmp_path: Path):
    content = CHANNEL.parse({"kind": "photo", "photo": {"path": str(tmp_path / "gone.jpg")}})
    connection = await CHANNEL.connect(Account(TOKEN))
    outcome, media = await connection.upload(CHANNEL.compile(content, paid=False, media={}), ANN)
    await connection.close()
    assert type(outcome) is Rejected
    assert "gone.jpg" in outcome.reason
    assert media == {}


async def test_identify_says_who_the_bot_is():
    me = {"id": 123456789, "is_bot": True, "first_name": "Shop", "username": "shop_bot"}
    async with serving(answering(said(200, result=me))) as server:
        identity = await CHANNEL.identify(Account(TOKEN, server.base_url))
    assert (identity.id, identity.name, identity.details) == ("123456789", "@shop_bot", me)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (said(401, description="Unauthorized"), "revoked"),
        (said(404, description="Not Found"), "base URL"),
        (http(200, b"<html>", "text/html"), "does not answer like a Bot API server"),
        (said(429, description="Too Many Requests: retry after 3"), "retry after 3"),
        (b"", "closed the connection without an answer"),
        (b"garbage\r\n\r\n", "does not answer in HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n" + b'{"ok":', "broke off in the middle"),
    ],
)
async def test_a_refused_account_says_why_and_not_who(raw: bytes, words: str):
    async with serving(answering(raw)) as server:
        with pytest.raises(AccountRefused, match=words) as caught:
            await bot_api(Account(TOKEN, server.base_url), "getWebhookInfo", {})
    assert TOKEN not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    "token", ["", "abc", "123456:short", f"{TOKEN}\n", f" {TOKEN}", "12:" + "a" * 35, "../../x"]
)
async def test_a_malformed_token_is_refused_before_anything_is_asked(token: str):
    with pytest.raises(AccountRefused, match="malformed") as caught:
        await CHANNEL.identify(Account(token, "http://127.0.0.1:1"))
    assert not token.strip() or token.strip() not in str(caught.value)


async def test_the_token_is_in_no_reason_no_repr_and_no_log(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    account = Account(TOKEN, "http://127.0.0.1:1")
    connection = TelegramConnection(account)
    errors = [
        aiohttp.InvalidURL(f"http://x/bot{TOKEN}/sendMessage"),
        aiohttp.ClientPayloadError(f"http://x/bot{TOKEN.replace(':', '%3A')}/sendMessage"),
        aiohttp.ClientOSError(32, f"Can not write request body for http://x/bot{TOKEN}/sendMessage"),
        RuntimeError(f"http://x/bot{TOKEN}/sendMessage"),
    ]
    reasons = [connection._failed(error).reason for error in errors]
    message = text()
    reasons.append((await connection.send(message, message.render(ANN))).reason)
    await connection.close()
    for shown in [*reasons, repr(account), repr(connection), caplog.text]:
        assert "AAFabc" not in shown
    assert reasons[-1] == "http://127.0.0.1:1 refuses connections"


def test_scrubbing_finds_other_tokens_too():
    assert scrub("GET /bot987654321:ZZ" + "z" * 33 + "/getMe", TOKEN) == "GET /bot<token>/getMe"


async def test_a_request_whose_connection_we_closed_may_have_arrived():
    async with serving(hang) as server:
        connection = TelegramConnection(Account(TOKEN, server.base_url))
        message = text()
        sending = asyncio.create_task(connection.send(message, message.render(ANN)))
        async with asyncio.timeout(10):
            while not server.requests:
                await asyncio.sleep(0.01)
        await connection.close()
        assert type(await sending) is Unknown
        assert type(await connection.send(message, message.render(ANN))) is Retry

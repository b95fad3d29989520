import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longwave.testing.fake_telegram import Options, Server, serve
from longwave.testing.fake_telegram.http import Request
from longwave.testing.fake_telegram.parameters import Part, read_parameters
from tests.unit.testing.bot import TOKEN

PATH = f"/bot{TOKEN}/sendMessage"
JPEG = b"\xff\xd8\xff\xe0" + bytes(range(256)) + b"\r\n--not-the-boundary\r\n"


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = await serve(Options(port=0, rate=None, chat_burst=None))
    yield server
    await server.close()


async def connect(server: Server) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    parts = urlsplit(server.base_url)
    return await asyncio.open_connection(parts.hostname, parts.port)


async def read(reader: asyncio.StreamReader) -> tuple[int, Any]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    length = int(head.split("Content-Length: ")[1].split("\r\n")[0])
    body = await reader.readexactly(length)
    return int(head.split()[1]), json.loads(body) if body.startswith((b"{", b"[")) else body


def post(body: bytes, content_type: str = "application/json", path: str = PATH, extra: str = "") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {content_type}\r\n{extra}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def message(chat: int, text: str = "hi") -> bytes:
    return json.dumps({"chat_id": chat, "text": text}).encode()


def form(**fields: str | tuple[str, bytes]) -> tuple[bytes, str]:
    parts = []
    for name, value in fields.items():
        head = f'--BoUnDaRy\r\nContent-Disposition: form-data; name="{name}"'
        if isinstance(value, tuple):
            parts.append(
                f'{head}; filename="{value[0]}"\r\nContent-Type: image/jpeg\r\n\r\n'.encode() + value[1]
            )
        else:
            parts.append(f"{head}\r\n\r\n{value}".encode())
    return b"\r\n".join(parts) + b"\r\n--BoUnDaRy--\r\n", "multipart/form-data; boundary=BoUnDaRy"


async def test_json_forms_and_query_strings_say_the_same(server: Server) -> None:
    reader, writer = await connect(server)
    fields = {"chat_id": "5", "text": "a & b ж"}
    body, content_type = form(**fields)
    requests = [
        post(json.dumps(fields).encode()),
        post(urlencode(fields).encode(), "application/x-www-form-urlencoded"),
        post(body, content_type),
        f"GET {PATH}?{urlencode(fields)} HTTP/1.1\r\n\r\n".encode(),
        post(b"", path=f"{PATH}?{urlencode(fields)}"),
    ]
    for request in requests:
        writer.write(request)
        status, answer = await read(reader)
        assert (status, answer["result"]["text"], answer["result"]["chat"]["id"]) == (200, "a & b ж", 5)
    writer.close()


async def test_pipelined_requests_are_answered_in_order_whatever_takes_longer(server: Server) -> None:
    server.world.faults.add({"kind": "slow", "chat_id": 1, "delay": 0.05}, 0.0)
    reader, writer = await connect(server)
    writer.write(b"".join(post(message(chat)) for chat in (1, 2, 3)))
    assert [(await read(reader))[1]["result"]["chat"]["id"] for _ in range(3)] == [1, 2, 3]
    writer.close()


async def test_a_request_in_pieces_arrives_when_its_last_byte_does(server: Server) -> None:
    reader, writer = await connect(server)
    request = post(message(1, "ж" * 100))
    for byte in (request[nth : nth + 7] for nth in range(0, len(request) - 7, 7)):
        writer.write(byte)
        await asyncio.sleep(0)
    await asyncio.sleep(0.02)
    before = server.world.clock()
    writer.write(request[(len(request) - 1) // 7 * 7 :])
    assert (await read(reader))[0] == 200
    assert server.world.journal.times[0] >= before
    writer.close()


async def test_chunked_uploads_are_put_together(server: Server) -> None:
    reader, writer = await connect(server)
    body, content_type = form(chat_id="1", photo=("a.jpg", JPEG))
    path = f"/bot{TOKEN}/sendPhoto"
    writer.write(
        f"POST {path} HTTP/1.1\r\nContent-Type: {content_type}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    )
    for piece in (body[:50], body[50:]):
        writer.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        await writer.drain()
    writer.write(b"0\r\n\r\n" + post(message(2)))
    assert (await read(reader))[1]["result"]["photo"][-1]["file_size"] == len(JPEG)
    assert (await read(reader))[1]["result"]["chat"]["id"] == 2
    writer.close()


async def test_an_upload_can_be_downloaded_again(server: Server) -> None:
    reader, writer = await connect(server)
    body, content_type = form(chat_id="1", document=("a b.bin", JPEG))
    writer.write(post(body, content_type, f"/bot{TOKEN}/sendDocument"))
    document = (await read(reader))[1]["result"]["document"]
    assert (document["file_name"], document["mime_type"]) == ("a b.bin", "image/jpeg")
    writer.write(post(json.dumps({"file_id": document["file_id"]}).encode(), path=f"/bot{TOKEN}/getFile"))
    path = (await read(reader))[1]["result"]["file_path"]
    writer.write(f"GET /file/bot{TOKEN}/{path} HTTP/1.1\r\n\r\n".encode())
    assert await read(reader) == (200, JPEG)
    writer.close()


async def test_a_photo_must_be_one(server: Server) -> None:
    reader, writer = await connect(server)
    for content, reason in ((b"text", "IMAGE_PROCESS_FAILED"), (b"", "file must be non-empty")):
        body, content_type = form(chat_id="1", photo=("a.jpg", content))
        writer.write(post(body, content_type, f"/bot{TOKEN}/sendPhoto"))
        assert (await read(reader))[1]["description"] == f"Bad Request: {reason}"
    writer.close()


async def test_a_client_that_asks_first_is_told_to_go_on(server: Server) -> None:
    reader, writer = await connect(server)
    head, _, body = post(message(1), extra="Expect: 100-continue\r\n").partition(b"\r\n\r\n")
    writer.write(head + b"\r\n\r\n")
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(body)
    assert (await read(reader))[0] == 200
    writer.close()


async def test_a_connection_is_closed_when_the_client_wants_it(server: Server) -> None:
    reader, writer = await connect(server)
    writer.write(post(message(1), extra="Connection: close\r\n"))
    assert (await read(reader))[0] == 200
    assert await reader.read() == b""
    writer.close()


async def test_what_is_not_http_is_refused_and_hung_up_on(server: Server) -> None:
    reader, writer = await connect(server)
    writer.write(b"EHLO mail.example.com\r\n\r\n")
    assert (await read(reader))[0] == 400
    assert await reader.read() == b""
    writer.close()


async def test_a_body_that_is_no_json_object_is_refused(server: Server) -> None:
    reader, writer = await connect(server)
    for body in (b"{", b"[1]", b"\xff"):
        writer.write(post(body))
        assert (await read(reader))[1]["description"] == "Bad Request: can't parse JSON object"
    writer.close()


async def test_only_named_tokens_exist_when_some_are_named() -> None:
    server = await serve(Options(port=0, tokens=("1:" + "Z" * 35,)))
    reader, writer = await connect(server)
    writer.write(post(b"", path=f"/bot{TOKEN}/getMe"))
    assert await read(reader) == (401, {"ok": False, "error_code": 401, "description": "Unauthorized"})
    writer.write(post(b"", path=f"/bot1:{'Z' * 35}/getMe"))
    assert (await read(reader))[0] == 200
    writer.close()
    await server.close()


async def test_latency_delays_the_answer_and_not_the_arrival() -> None:
    server = await serve(Options(port=0, latency=50, jitter=10))
    reader, writer = await connect(server)
    began = time.monotonic()
    writer.write(post(message(1)) + post(message(2)))
    await read(reader)
    await read(reader)
    assert time.monotonic() - began >= 0.05
    first, second = server.world.journal.times
    assert second - first < 0.05
    assert server.world.in_flight_peak == 2
    assert server.world.in_flight == 0
    writer.close()
    await server.close()


async def test_hanging_up_leaves_nothing_behind(server: Server) -> None:
    _, writer = await connect(server)
    server.world.faults.add({"kind": "slow", "delay": 0.2}, 0.0)
    writer.write(post(message(1)))
    async with asyncio.timeout(10):
        while server.world.in_flight == 0:
            await asyncio.sleep(0.001)
        writer.close()
        while server.world.in_flight or server._connections:
            await asyncio.sleep(0.001)
    assert server.world.in_flight_peak == 1


values = st.dictionaries(st.from_regex(r"[a-z_]{1,12}", fullmatch=True), st.text(max_size=50), max_size=6)


@given(values, st.binary(max_size=200))
def test_a_multipart_form_gives_back_what_was_put_in(fields: dict[str, str], content: bytes) -> None:
    clean = {name: text.encode("utf-8", "ignore").decode() for name, text in fields.items()}
    if any("--BoUnDaRy" in text for text in clean.values()) or b"--BoUnDaRy" in content:
        return
    body, content_type = form(**clean, FILE=("f.bin", content))
    found = read_parameters(Request(b"POST", b"/", content_type.encode(), body), b"")
    assert found == {**clean, "FILE": Part("f.bin", content, "image/jpeg")}

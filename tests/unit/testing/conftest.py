"""One fake server for these tests, as it was when it started at the beginning of each."""

import json
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import pytest

from longwave.testing.fake_telegram import FakeTelegram
from tests.unit.testing.bot import TOKEN, Call


@pytest.fixture(scope="session")
def running() -> Iterator[FakeTelegram]:
    with FakeTelegram(rate=None, chat_burst=None, group_burst=None) as telegram:
        yield telegram


@pytest.fixture
def telegram(running: FakeTelegram) -> FakeTelegram:
    """A server without limits."""
    running.reset()
    return running


@pytest.fixture
def connection(telegram: FakeTelegram) -> Iterator[HTTPConnection]:
    parts = urlsplit(telegram.base_url)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    yield connection
    connection.close()


@pytest.fixture
def call(connection: HTTPConnection) -> Call:
    """`call("sendMessage", chat_id=1, text="…")` answers the whole JSON of the response."""

    def ask(method: str, token: str = TOKEN, **params: Any) -> Any:
        headers = {"Content-Type": "application/json"}
        connection.request("POST", f"/bot{token}/{method}", json.dumps(params), headers)
        response = connection.getresponse()
        answer = json.loads(response.read())
        assert response.status == answer.get("error_code", 200)
        return answer

    return ask

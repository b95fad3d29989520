"""What every channel promises, run over every channel. docs/adding-a-channel.md says how to add one."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from longwave import channels
from longwave.channels.base import Account, AccountRefused, Channel, Recipient, TemplateError
from longwave.channels.memory.channel import REFUSED, outbox
from longwave.core.errors import InvalidInput
from longwave.core.outcomes import Gone, Rejected, Retry, SenderBroken, Sent, Throttled, Unknown
from longwave.testing.fake_telegram import FakeTelegram

FAULTS = (Throttled, Retry, Gone, Rejected, SenderBroken, Unknown)


class Provider(ABC):
    """One channel with a provider behind it that can be made to misbehave."""

    channel: Channel
    account: Account
    refused: Account
    addresses = ("1001", "1002", "1003")

    @abstractmethod
    def text(self, source: str) -> dict[str, Any]:
        """Content that is this text."""

    @abstractmethod
    def file(self, path: Path) -> dict[str, Any]:
        """Content with a file that has to be uploaded once."""

    @abstractmethod
    def provoke(self, outcome: type, address: str) -> None:
        """The next send to this address shall end like that."""

    @abstractmethod
    def slow_down(self, seconds: float) -> None:
        """The next answer takes that long."""

    @abstractmethod
    def received(self) -> list[tuple[str, str]]:
        """(address, text) of every message that arrived."""


class Memory(Provider):
    channel = channels.get("memory")
    account = Account("contract-secret")
    refused = Account(REFUSED)

    def __init__(self) -> None:
        self._outbox = outbox(self.account.secret)
        self._outbox.clear()

    def text(self, source: str) -> dict[str, Any]:
        return {"text": source}

    def file(self, path: Path) -> dict[str, Any]:
        return {"text": "with a file", "file": str(path)}

    def provoke(self, outcome: type, address: str) -> None:
        self._outbox.script_for(address, Throttled(7.0) if outcome is Throttled else outcome("scripted"))

    def slow_down(self, seconds: float) -> None:
        self._outbox.latency = seconds

    def received(self) -> list[tuple[str, str]]:
        return [(message.address, message.text) for message in self._outbox.messages]


class Telegram(Provider):
    channel = channels.get("telegram")

    def __init__(self, server: FakeTelegram) -> None:
        server.reset()
        self._server = server
        self.account = Account("123456789:AAFabcdefghijklmnopqrstuvwxyz012345", server.base_url)
        self.refused = Account("987654321:AAFabcdefghijklmnopqrstuvwxyz012345", server.base_url)
        server.fault("revoke", bot=987654321)

    def text(self, source: str) -> dict[str, Any]:
        return {"kind": "text", "text": source}

    def file(self, path: Path) -> dict[str, Any]:
        return {"kind": "document", "document": {"path": str(path)}, "caption": "with a file"}

    def provoke(self, outcome: type, address: str) -> None:
        chat = {"chat_id": int(address)}
        faults: dict[type, tuple[str, dict[str, Any]]] = {
            Throttled: ("flood", {"retry_after": 7, "seconds": 7}),
            Retry: ("error", {"status": 502, **chat}),
            Rejected: ("reject", {"description": "can't parse entities: no", **chat}),
            SenderBroken: ("revoke", {}),
            Unknown: ("drop_after", chat),
        }
        if outcome is Gone:
            self._server.users(chats={int(address): "blocked"})
        else:
            kind, options = faults[outcome]
            self._server.fault(kind, **options)

    def slow_down(self, seconds: float) -> None:
        self._server.fault("slow", delay=seconds)

    def received(self) -> list[tuple[str, str]]:
        return [(str(row["chat_id"]), row["text"]) for row in self._server.log()]


@pytest.fixture(scope="module")
def fake_telegram() -> Iterator[FakeTelegram]:
    with FakeTelegram(rate=None, chat_burst=None) as server:
        yield server


@pytest.fixture(params=channels.names())
def provider(request: pytest.FixtureRequest) -> Provider:
    if request.param == "memory":
        return Memory()
    if request.param == "telegram":
        return Telegram(request.getfixturevalue("fake_telegram"))
    raise NotImplementedError(f"channel {request.param} has no Provider here: write one")


def ready(provider: Provider, data: Mapping[str, Any], media: Mapping[str, str] | None = None) -> Any:
    content = provider.channel.parse(data)
    assert provider.channel.check(content, paid=False) == []
    return provider.channel.compile(content, paid=False, media=media or {})


def test_a_channel_says_its_name_and_its_rates(provider: Provider):
    channel = provider.channel
    assert channels.get(channel.name) is channel
    assert channel.default_rate > 0
    assert all(rate > 0 for rate in channel.presets.values())


def test_content_survives_storage(provider: Provider, tmp_path: Path):
    for data in (provider.text("Hello {{ name }}"), provider.file(tmp_path / "a.txt")):
        content = provider.channel.parse(data)
        assert provider.channel.parse(provider.channel.to_json(content)) == content


@pytest.mark.parametrize("data", [{}, {"nonsense": 1}, {"text": 5}])
def test_content_that_is_none_is_refused_with_a_remedy(provider: Provider, data: dict[str, Any]):
    with pytest.raises(InvalidInput) as caught:
        provider.channel.parse(data)
    assert all(problem.remedy for problem in caught.value.problems)


def test_a_check_finds_texts_that_are_empty_too_long_or_no_template(provider: Provider):
    for source in ("", "x" * 10_000_000, "Hello {{ name", "{% set a = 1 %}"):
        content = provider.channel.parse(provider.text(source))
        assert provider.channel.check(content, paid=False), source[:20]


def test_a_text_with_fields_is_personal_and_others_are_not(provider: Provider):
    assert not ready(provider, provider.text("Hello")).is_personal
    assert ready(provider, provider.text("Hello {{ name }}")).is_personal
    assert provider.channel.templates(provider.channel.parse(provider.text("Hello"))) == {}
    templates = provider.channel.templates(provider.channel.parse(provider.text("Hello {{ name }}")))
    assert list(templates.values()) == ["Hello {{ name }}"]


def test_a_preview_shows_what_this_recipient_would_miss(provider: Provider):
    content = provider.channel.parse(provider.text("Hello {{ name }}"))
    address = provider.addresses[0]
    assert provider.channel.preview(content, Recipient(address, {"name": "Ann"}), paid=False) == []
    problems = provider.channel.preview(content, Recipient(address, {}), paid=False)
    assert "name" in str(problems[0])


async def test_everybody_gets_their_own_text_once(provider: Provider):
    message = ready(provider, provider.text("Hello {{ name|default('friend') }}"))
    assert message.weight == 1
    connection = await provider.channel.connect(provider.account)
    fields = [{"name": "Ann"}, {"name": 'Bob "<&'}, {}]
    ids = []
    for address, given in zip(provider.addresses, fields, strict=True):
        outcome = await connection.send(message, message.render(Recipient(address, given)))
        assert isinstance(outcome, Sent)
        ids.append(outcome.message_id)
    await connection.close()
    texts = ["Hello Ann", 'Hello Bob "<&', "Hello friend"]
    assert sorted(provider.received()) == sorted(zip(provider.addresses, texts, strict=True))
    assert all(ids)


async def test_many_sends_share_one_connection(provider: Provider):
    message = ready(provider, provider.text("Hello"))
    connection = await provider.channel.connect(provider.account)
    request = message.render(Recipient(provider.addresses[0], {}))
    outcomes = await asyncio.gather(*(connection.send(message, request) for _ in range(50)))
    await connection.close()
    assert len({outcome.message_id for outcome in outcomes if isinstance(outcome, Sent)}) == 50


def test_a_missing_field_is_an_error_of_one_recipient(provider: Provider):
    message = ready(provider, provider.text("Hello {{ name }}"))
    with pytest.raises(TemplateError, match="name"):
        message.render(Recipient(provider.addresses[0], {}))
    assert message.render(Recipient(provider.addresses[1], {"name": "Ann"}))


@pytest.mark.parametrize("expected", FAULTS, ids=lambda outcome: outcome.__name__)
async def test_whatever_the_provider_does_becomes_an_outcome(provider: Provider, expected: type):
    address = provider.addresses[0]
    provider.provoke(expected, address)
    message = ready(provider, provider.text("Hello"))
    connection = await provider.channel.connect(provider.account)
    outcome = await connection.send(message, message.render(Recipient(address, {})))
    await connection.close()
    assert type(outcome) is expected
    if isinstance(outcome, Throttled):
        assert outcome.retry_after == 7.0
    else:
        assert outcome.reason
    assert provider.account.secret not in repr(outcome)
    assert len(provider.received()) == (1 if expected is Unknown else 0)


async def test_one_recipients_fault_is_not_the_next_ones(provider: Provider):
    provider.provoke(Gone, provider.addresses[0])
    message = ready(provider, provider.text("Hello"))
    connection = await provider.channel.connect(provider.account)
    requests = [message.render(Recipient(address, {})) for address in provider.addresses]
    outcomes = [await connection.send(message, request) for request in requests]
    await connection.close()
    assert [type(outcome) for outcome in outcomes] == [Gone, Sent, Sent]


async def test_a_cancelled_send_is_cancelled(provider: Provider):
    provider.slow_down(0.5)
    message = ready(provider, provider.text("Hello"))
    connection = await provider.channel.connect(provider.account)
    request = message.render(Recipient(provider.addresses[0], {}))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(connection.send(message, request), 0.05)
    await connection.close()


async def test_a_file_is_uploaded_once(provider: Provider, tmp_path: Path):
    path = tmp_path / "a.txt"
    path.write_text("contents")
    first = ready(provider, provider.file(path))
    assert first.needs_upload
    connection = await provider.channel.connect(provider.account)
    outcome, media = await connection.upload(first, Recipient(provider.addresses[0], {}))
    assert isinstance(outcome, Sent)
    second = ready(provider, provider.file(path), media)
    assert not second.needs_upload
    sent = await connection.send(second, second.render(Recipient(provider.addresses[1], {})))
    await connection.close()
    assert isinstance(sent, Sent)
    assert sorted(address for address, _ in provider.received()) == list(provider.addresses[:2])


async def test_an_upload_that_fails_brings_no_ids(provider: Provider, tmp_path: Path):
    path = tmp_path / "a.txt"
    path.write_text("contents")
    provider.provoke(Gone, provider.addresses[0])
    connection = await provider.channel.connect(provider.account)
    message = ready(provider, provider.file(path))
    outcome, media = await connection.upload(message, Recipient(provider.addresses[0], {}))
    await connection.close()
    assert type(outcome) is Gone
    assert media == {}


async def test_an_account_is_identified(provider: Provider):
    identity = await provider.channel.identify(provider.account)
    assert identity.id
    assert identity.name


async def test_a_refused_account_is_told_why_without_its_secret(provider: Provider):
    with pytest.raises(AccountRefused) as caught:
        await provider.channel.identify(provider.refused)
    assert len(str(caught.value)) > 20
    assert provider.refused.secret == REFUSED or provider.refused.secret not in str(caught.value)


async def test_the_secret_is_in_no_repr(provider: Provider):
    connection = await provider.channel.connect(provider.account)
    for value in (provider.account, connection, ready(provider, provider.text("Hello"))):
        assert provider.account.secret not in repr(value)
    await connection.close()


async def test_closing_twice_is_harmless_and_leaves_the_others_open(provider: Provider):
    connection = await provider.channel.connect(provider.account)
    other = await provider.channel.connect(provider.account)
    await connection.close()
    await connection.close()
    message = ready(provider, provider.text("Hello"))
    outcome = await other.send(message, message.render(Recipient(provider.addresses[0], {})))
    await other.close()
    assert isinstance(outcome, Sent)


def test_a_channel_that_does_not_exist_is_refused_with_those_that_do():
    with pytest.raises(InvalidInput, match="telegram"):
        channels.get("pigeon")

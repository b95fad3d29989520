"""`longwave sender` and `longwave send`, against the fake Telegram; the token must not come out anywhere."""

import getpass
import io
import json
import logging
import os
import pty
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from django.db import connection

import longwave.cli
from longwave.cli import sender as command
from longwave.jobs import runner
from longwave.jobs.models import Job
from longwave.pacing import ledger
from longwave.senders import connections, senders
from longwave.testing.fake_telegram import FakeTelegram

TOKEN = "123456789:AAEhBOweik6ad9r_QXMENQjcrGbqCr4K-bc"
SECRET = TOKEN.partition(":")[2]


@pytest.fixture(scope="module")
def telegram() -> Iterator[FakeTelegram]:
    with FakeTelegram() as server:
        yield server
        runner.run(connections.close_all())


@dataclass
class CommandLine:
    """Runs `longwave …` in this process; `said` is everything it printed or logged."""

    capture: pytest.CaptureFixture[str]
    patch: pytest.MonkeyPatch
    said: list[str] = field(default_factory=list)
    out: str = ""
    err: str = ""

    def __call__(self, *args: str, stdin: str = "") -> int:
        self.patch.setattr(sys, "stdin", io.StringIO(stdin))
        with pytest.raises(SystemExit) as ended:
            longwave.cli.main(list(args))
        self.out, self.err = self.capture.readouterr()
        self.said += [self.out, self.err]
        return int(ended.value.code or 0)

    @property
    def json(self) -> dict[str, object]:
        return dict(json.loads(self.out))


@pytest.fixture
def run(
    sqlite: str,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[CommandLine]:
    caplog.set_level(logging.DEBUG)
    line = CommandLine(capsys, monkeypatch)
    yield line
    assert SECRET not in "".join(line.said) + caplog.text


@pytest.fixture
def bot(run: CommandLine, telegram: FakeTelegram) -> CommandLine:
    telegram.reset()
    telegram.users(chats={"42": "ok"})
    assert add(run, telegram) == 0
    return run


def add(run: CommandLine, telegram: FakeTelegram, *more: str, name: str = "bot", token: str = TOKEN) -> int:
    options = ["--name", name, "--token-stdin", "--base-url", telegram.base_url, *more]
    return run("sender", "add", "telegram", *options, stdin=token + "\n")


def test_a_bot_is_added_once_telegram_knows_it(run: CommandLine, telegram: FakeTelegram) -> None:
    telegram.reset()
    assert add(run, telegram, "--rate", "25", "--admin-chat", "42", "--admin-chat", "-7", "--json") == 0
    assert run.json["rate"] == 25
    assert run.json["admin_chats"] == ["42", "-7"]
    assert str(run.json["account"]).startswith("@")


def test_a_preset_sets_the_rate(run: CommandLine, telegram: FakeTelegram) -> None:
    assert add(run, telegram, "--preset", "cautious") == 0
    assert "10/s" in run.out
    assert senders.by_name("bot").rate == 10


def test_a_revoked_token_is_refused_without_being_shown(run: CommandLine, telegram: FakeTelegram) -> None:
    telegram.fault("revoke")
    try:
        assert add(run, telegram) == 1
    finally:
        telegram.reset()
        telegram.clear_faults()
    assert "Error: " in run.err


@pytest.mark.parametrize("token", ["", SECRET, "123:short", TOKEN + " x"])
def test_what_is_no_token_is_bad_input_and_not_repeated(
    run: CommandLine, telegram: FakeTelegram, token: str
) -> None:
    assert add(run, telegram, token=token) == 2
    assert "BotFather" in run.err


def test_without_a_terminal_the_token_must_be_announced(run: CommandLine) -> None:
    assert run("sender", "add", "telegram", "--name", "bot", stdin=TOKEN) == 2
    assert "--token-stdin" in run.err


def test_on_a_terminal_the_token_is_asked_for_without_echo(monkeypatch: pytest.MonkeyPatch) -> None:
    leader, follower = pty.openpty()
    asked: list[str] = []

    def answer(prompt: str, stream: object = None) -> str:
        asked.append(prompt)
        return TOKEN

    monkeypatch.setattr(getpass, "getpass", answer)
    with os.fdopen(follower) as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        assert command._token(True) == TOKEN
    os.close(leader)
    assert asked == ["Token (not shown): "]


def test_senders_are_listed_and_shown_without_their_credentials(bot: CommandLine) -> None:
    assert bot("sender", "list") == 0
    assert "bot" in bot.out
    assert "30/s" in bot.out
    ledger.hold(senders.limit_key(senders.by_name("bot").id), 90, "asked to wait")
    assert bot("sender", "show", "bot") == 0
    assert "asked to wait" in bot.out
    assert bot("sender", "show", "bot", "--json") == 0
    assert bot.json["held_reason"] == "asked to wait"
    assert bot("sender", "list", "--json") == 0
    assert json.loads(bot.out)[0]["name"] == "bot"
    stored = senders.by_name("bot").credentials
    assert stored not in "".join(bot.said)


def test_an_empty_list_says_how_to_begin(run: CommandLine) -> None:
    assert run("sender", "list") == 0
    assert "longwave sender add telegram" in run.out


def test_the_rate_is_changed(bot: CommandLine) -> None:
    assert bot("sender", "rate", "bot", "12.5") == 0
    assert "12.5/s" in bot.out
    assert bot("sender", "rate", "bot", "0", "--json") == 0
    assert bot.json["rate"] is None
    assert bot("sender", "rate", "bot", "--", "-3") == 2


def test_a_broken_bot_is_enabled_again_with_a_token_of_its_own(bot: CommandLine) -> None:
    senders.mark_broken(senders.by_name("bot").id, "Unauthorized")
    assert bot("send", "--sender", "bot", "--to", "42", "--text", "hi") == 1
    assert "sender enable bot" in bot.err
    assert bot("sender", "enable", "bot", "--token-stdin", stdin="987654321:" + SECRET) == 1
    assert bot("sender", "enable", "bot") == 0
    assert senders.by_name("bot").status == "active"


def test_a_bot_is_removed(bot: CommandLine) -> None:
    assert bot("sender", "remove", "bot") == 0
    assert bot("sender", "show", "bot") == 1
    assert "there are none yet" in bot.err


def test_a_message_arrives_at_its_chat(bot: CommandLine, telegram: FakeTelegram) -> None:
    assert bot("send", "--sender", "bot", "--to", "42", "--text", "Your order has left.", "--json") == 0
    job = Job.objects.get()
    runner.execute(job.id, job.seq)
    assert telegram.chats() == {42: 1}
    assert bot("send", "--sender", "bot", "--to", "42", "--text", "x", "--wait", "--timeout", "0") == 1
    assert "longwave up" in bot.err


def test_waiting_for_a_message_reports_what_became_of_it(
    bot: CommandLine, telegram: FakeTelegram, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(_: float) -> None:
        for job in Job.objects.filter(status="queued"):
            runner.execute(job.id, job.seq)

    monkeypatch.setattr(time, "sleep", work)
    telegram.users(chats={"42": "ok", "43": "blocked"})
    assert bot("send", "--sender", "bot", "--to", "42", "--text", "hi", "--wait") == 0
    assert "Sent: message" in bot.out
    assert bot("send", "--sender", "bot", "--to", "43", "--text", "hi", "--wait", "--json") == 1
    assert bot.json["status"] == "failure"
    assert "blocked" in str(bot.json["error"])


def test_any_content_can_be_sent_from_a_file(bot: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "dice.json"
    file.write_text('{"kind": "dice"}', encoding="utf-8")
    assert bot("send", "--sender", "bot", "--to", "42", "--content", str(file)) == 0
    assert Job.objects.get().args["content"]["kind"] == "dice"
    assert bot("send", "--sender", "bot", "--to", "42", "--content", "-", stdin='{"kind": "dice"}') == 0


@pytest.mark.parametrize("content", ["[]", "{", '{"kind": "teleport"}', '{"kind": "text"}'])
def test_content_that_is_none_is_bad_input(bot: CommandLine, content: str) -> None:
    assert bot("send", "--sender", "bot", "--to", "42", "--content", "-", stdin=content) == 2
    assert not Job.objects.exists()


def test_a_message_needs_either_text_or_content(bot: CommandLine) -> None:
    assert bot("send", "--sender", "bot", "--to", "42") == 2
    assert bot("send", "--sender", "bot", "--to", "42", "--text", "a", "--content", "-") == 2
    assert bot("send", "--sender", "bot", "--to", "42", "--content", "/nowhere.json") == 2


def test_the_token_is_nowhere_in_the_database(bot: CommandLine) -> None:
    assert bot("send", "--sender", "bot", "--to", "42", "--text", "hi") == 0
    assert connection.connection is not None
    assert SECRET not in "\n".join(connection.connection.iterdump())

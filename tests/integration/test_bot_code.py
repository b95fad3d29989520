"""A bot developer's first hour: the example of docs/jobs.md with real processes, and a notification that arrives."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from longwave import background
from longwave.testing.fake_telegram import FakeTelegram
from tests import databases
from tests.stacks import TOKEN

PAGE = Path(__file__).parents[2] / "docs" / "jobs.md"
SOURCE = Path(__file__).parents[2] / "src"


def example(number: int) -> str:
    """A Python block of the page's first chapter."""
    chapter = PAGE.read_text(encoding="utf-8").split("## From a bot")[1].split("\n## ")[0]
    return re.findall(r"```python\n(.*?)```", chapter, re.DOTALL)[number]


class Bot:
    """A folder with the bot's modules, and `longwave up` started in it."""

    def __init__(self, folder: Path, reports: str) -> None:
        self.folder = folder
        self.environ = {
            name: value for name, value in os.environ.items() if not name.startswith(("LONGWAVE_", "DJANGO_"))
        } | {"LONGWAVE_HOME": str(folder / "home"), "LONGWAVE_MODULES": "reports", "PYTHONPATH": str(SOURCE)}
        (folder / "reports.py").write_text(reports)
        with (folder / "up.log").open("wb") as log:
            command = [sys.executable, "-m", "longwave", "up", "--no-web", "--senders", "1", "--workers", "1"]
            self.up = subprocess.Popen(command, cwd=folder, env=self.environ, stdout=log, stderr=log)
        self.until(lambda: "beat_leads" in self.log())

    def log(self) -> str:
        return (self.folder / "up.log").read_text(errors="replace")

    def run(self, *words: str, stdin: str = "") -> str:
        done = subprocess.run(
            [sys.executable, *words],
            cwd=self.folder,
            env=self.environ,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def ask(self, code: str) -> str:
        """What `code`, a line of a bot, prints."""
        return self.run("-c", f"from longwave import background; {code}").strip()

    def until(self, what: Callable[[], object], within: float = 40.0) -> None:
        deadline = time.monotonic() + within
        while not what():
            assert time.monotonic() < deadline, self.log()[-4000:]
            time.sleep(0.05)

    def result(self, task_id: int) -> background.TaskResult:
        with databases.pointed_at(f"sqlite:///{self.folder / 'home' / 'longwave.db'}"):
            return background.get_task_result(task_id)

    def end(self) -> None:
        self.up.send_signal(signal.SIGINT)
        try:
            self.up.wait(15)
        finally:
            self.up.kill()


@pytest.fixture
def bot(tmp_path: Path) -> Iterator[Bot]:
    found = Bot(tmp_path, example(0))
    try:
        yield found
    finally:
        found.end()


def test_the_example_of_the_documentation_works_as_it_is_written(bot: Bot) -> None:
    (bot.folder / "bot.py").write_text(example(1))
    number, status = bot.run("bot.py").split()
    assert status in ("pending", "success")
    bot.until(lambda: bot.result(int(number)).status == "success")
    assert bot.result(int(number)).result == {"user": 5, "lines": 42}
    stats = bot.ask("print(background.get_worker_stats())")
    assert "successful_tasks=1" in stats
    assert "active_workers=2" in stats


def test_a_notification_arrives(bot: Bot) -> None:
    with FakeTelegram() as telegram:
        bot.run(
            *("-m", "longwave", "sender", "add", "telegram", "--name", "shop", "--token-stdin"),
            *("--base-url", telegram.base_url),
            stdin=TOKEN,
        )
        task_id = int(
            bot.ask("print(background.submit_telegram_notification(42, 'Done: {{ 100 }} <lines>'))")
        )
        bot.until(lambda: bot.result(task_id).status == "success")
        assert bot.result(task_id).result["address"] == "42"
        assert telegram.stats()["accepted"] == 1

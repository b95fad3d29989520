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


def environ_of(folder: Path) -> dict[str, str]:
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("LONGWAVE_", "DJANGO_"))
    }
    return kept | {
        "LONGWAVE_HOME": str(folder / "home"),
        "LONGWAVE_MODULES": "reports",
        "PYTHONPATH": str(SOURCE),
    }


class Bot:
    """A folder with the bot's modules, and `longwave up` started in it."""

    def __init__(self, folder: Path, reports: str) -> None:
        self.folder = folder
        self.environ = environ_of(folder)
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
        return self.run("-c", f"from longwave import background\n{code}").strip()

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


@pytest.fixture(scope="module")
def bot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bot]:
    found = Bot(tmp_path_factory.mktemp("bot"), example(0))
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


def test_up_does_not_start_with_a_module_that_cannot_be_imported(tmp_path: Path) -> None:
    (tmp_path / "reports.py").write_text("import lw_absent\n")
    done = subprocess.run(
        [sys.executable, "-m", "longwave", "up", "--no-web"],
        cwd=tmp_path,
        env=environ_of(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "LONGWAVE_MODULES = 'reports': cannot be imported" in done.stdout
    assert "reports.py:1" in done.stdout
    assert "general-1" not in done.stdout


STAGES = """
import os, time
from pathlib import Path
from longwave.jobs import JobEvent, job, job_context, trace_operation

HERE = Path(__file__).parent

@job("reports.collect")
def collect(count: int) -> int:
    context = job_context.current()
    with trace_operation("read", component="files"):
        for number in range(count):
            context.progress(number + 1, count, "reading")
    while not (HERE / "go").exists():
        context.progress(count, count, "waiting for the word")
        time.sleep(0.02)
    return count

@job("reports.fails", retries=0)
def fails() -> None:
    raise RuntimeError("no paper")

@job("reports.last")
def last() -> int | None:
    return job_context.current().id

@fails.on_failure
def tell(event: JobEvent) -> None:
    (HERE / "told").write_text(f"{event.id} {event.error}")
"""


def test_stages_progress_subscribers_and_cancelling_with_real_workers(tmp_path: Path) -> None:
    bot = Bot(tmp_path, STAGES)
    try:
        first, second, third, hopeless = map(int, bot.ask(CHAIN).split())
        bot.until(
            lambda: (bot.result(first).metadata["progress"] or {}).get("note") == "waiting for the word"
        )
        assert bot.result(first).metadata["progress"]["done"] == 1000
        assert bot.result(second).status == "pending"
        assert bot.result(second).metadata["waits_for"] == [first]
        bot.until(lambda: bot.result(hopeless).status == "failure")
        assert "failed: RuntimeError: no paper" in bot.result(hopeless).metadata["reason"]
        assert (tmp_path / "told").read_text() == f"{hopeless - 1} RuntimeError: no paper"
        (tmp_path / "go").touch()
        bot.until(lambda: bot.result(third).status == "success")
        moments = bot.ask(f"print([m.what for m in background.get_task_timeline({first})])")
        assert moments == "['submitted', 'started', 'read', 'success']"
        (tmp_path / "go").unlink()
        running = int(bot.ask("print(background.submit('reports.collect', count=1))"))
        bot.until(lambda: bot.result(running).metadata["progress"])
        assert bot.ask(f"print(background.cancel({running}, 'never mind'))") == "True"
        bot.until(lambda: bot.result(running).status == "failure", within=10)
        assert bot.result(running).metadata["reason"] == "never mind"
    finally:
        bot.end()


CHAIN = """
first = background.submit("reports.collect", count=1000)
second = background.submit("reports.last", after=[first])
third = background.submit("reports.last", after=[second])
hopeless = background.submit("reports.last", after=[background.submit("reports.fails")])
print(first, second, third, hopeless)
"""


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

"""What is measured, one function a scenario. Each runs in a process of its own."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

from broadcasting.stage import (
    PERSONAL,
    PLAIN,
    TOKEN,
    Database,
    Run,
    Stage,
    has_postgres,
    peak_mb,
    stage,
    until,
)
from results import Broken, Result, missing, percentile, result

Scenario = Callable[[bool], list[Result]]

LATENCY: dict[str, Any] = {"latency": 30, "jitter": 20}
"""Milliseconds, where the provider is to be as far away as Telegram is."""

WIDE_GUARD = 0.02
"""Burst guard at 1,000/s. Here the provider's clock shares a few cores with everything that it judges, and may have to
wait for one for longer than the default's 8 ms."""


# --- at a rate --------------------------------------------------------------------------------------------------------


def paced_30(workers: int, quick: bool) -> list[Result]:
    """Telegram's free limit, exactly, however many workers share it."""
    name, recipients = f"paced_30_{workers}_workers", 180 if quick else 3600
    kind: Database = "postgresql" if has_postgres() else "sqlite"
    with stage(kind, workers=workers, sender_rate=30, rate=30, **LATENCY) as here:
        run = here.broadcast(recipients)
    about = {"database": kind, "seconds": round(run.seconds, 2), **_cost(run)}
    return [
        result(f"{name}_mean", run.rate, "msg/s", 29.5, peers=about),
        result(f"{name}_peak", run.peak, "in 1 s", 30, lower=True),
        result(f"{name}_caused_429", run.caused_429, "", 0, lower=True),
    ]


def paced_1000(quick: bool) -> list[Result]:
    """The paid limit, by two workers."""
    recipients = 3_000 if quick else 100_000
    kind: Database = "postgresql" if has_postgres() else "sqlite"
    with stage(kind, workers=2, sender_rate=1000, burst_guard=WIDE_GUARD, rate=1000, **LATENCY) as here:
        run = here.broadcast(recipients)
    about = {"recipients": recipients, "database": kind, "mean": round(run.rate, 1), **_cost(run)}
    target = 1 + recipients / 1000 * 1.02  # 103 s for 100,000: a second to start, and the guard
    return [
        result("paced_1000_seconds", run.seconds, "s", target, lower=True, peers=about),
        result("paced_1000_peak", run.peak, "in 1 s", 1000, lower=True),
        result("paced_1000_caused_429", run.caused_429, "", 0, lower=True),
    ]


# --- as fast as it goes -----------------------------------------------------------------------------------------------


def unlimited_sqlite(quick: bool) -> list[Result]:
    """One worker process, every receipt durable, SQLite."""
    bare, plain, personal = _unlimited("sqlite", quick)
    of_bare = _rate(plain) / median(bare)
    return [
        result("unlimited_sqlite", _rate(plain), "msg/s", 8_000, peers=_cost(*plain)),
        result("unlimited_sqlite_of_bare", of_bare, "×", 0.45, peers={"bare aiohttp loop": median(bare)}),
        _personal_ratio("sqlite", plain, personal),
    ]


def unlimited_postgresql(quick: bool) -> list[Result]:
    """The same on PostgreSQL."""
    if not has_postgres():
        return [missing("unlimited_postgresql", "no PostgreSQL server; set TEST_POSTGRES_URL")]
    bare, plain, personal = _unlimited("postgresql", quick)
    peers = {"of bare aiohttp loop": _rate(plain) / median(bare), **_cost(*plain)}
    return [
        result("unlimited_postgresql", _rate(plain), "msg/s", 5_000, peers=peers),
        _personal_ratio("postgresql", plain, personal),
    ]


def _unlimited(kind: Database, quick: bool) -> tuple[list[float], list[Run], list[Run]]:
    """Rates of the bare loop, and runs with plain and personal text: in turn, so that all meet the same machine."""
    recipients, rounds = (10_000, 1) if quick else (60_000, 3)
    bare, plain, personal = [], [], []
    with stage(kind) as here:
        here.broadcast(1_000)  # whatever is only done once is done
        for _ in range(rounds):
            bare.append(_bare_rate(here, recipients))
            plain.append(here.broadcast(recipients, PLAIN))
            personal.append(here.broadcast(recipients, PERSONAL))
    return bare, plain, personal


def _bare_rate(here: Stage, count: int) -> float:
    since = time.time()
    url = f"{here.telegram.base_url}/bot{TOKEN}/sendMessage"
    _python("broadcasting.bare", url, str(count), PLAIN["text"])
    stats = here.telegram.stats(since=since)
    if stats["accepted"] != count:
        raise Broken(f"the bare loop sent {stats['accepted']} of {count}")
    return float(stats["mean_rate"])


def _personal_ratio(kind: str, plain: list[Run], personal: list[Run]) -> Result:
    ratio = _rate(personal) / _rate(plain)
    peers = {"personalised": _rate(personal), "plain": _rate(plain), **_cost(*personal)}
    return result(f"personal_ratio_{kind}", ratio, "×", 0.8, peers=peers)


def _rate(runs: list[Run]) -> float:
    return median(run.rate for run in runs)


def _cost(*runs: Run) -> dict[str, Any]:
    return {"worker cpu µs/msg": round(median(run.cpu_us for run in runs), 1)}


def _python(module: str, *words: str, python: str = sys.executable) -> str:
    """Run one of our modules in a process of its own; what it printed."""
    folder = str(Path(__file__).parents[1])
    path = os.pathsep.join(filter(None, [folder, os.environ.get("PYTHONPATH", "")]))
    done = subprocess.run(
        [python, "-m", module, *words], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    if done.returncode:
        raise Broken(f"{module}: {done.stderr[-2000:]}")
    return done.stdout


# --- far away ---------------------------------------------------------------------------------------------------------


def latency_50ms(quick: bool) -> list[Result]:
    """The provider answers after 50 ms. The peers wait for each answer."""
    recipients, peers_chats = (3_000, 20) if quick else (40_000, 200)
    with stage("sqlite", latency=50) as here:
        here.broadcast(1_000)
        run = here.broadcast(recipients)
        found = [result("latency_50ms", run.rate, "msg/s", peers=_cost(run))]
        with ThreadPoolExecutor() as together:  # each waits for its answers nearly all the time
            asked = [together.submit(_against, here, name, peers_chats, run) for name in PEERS]
            found += [answer.result() for answer in asked]
    return found


PEERS = {"aiogram-broadcast": ("0.2.0", 1001), "aiogram-broadcaster": ("0.6.8", 1002)}
"""Their versions, and the bots that they are."""


def _against(here: Stage, name: str, chats: int, run: Run) -> Result:
    title, (version, bot) = f"latency_50ms_vs_{name.replace('-', '_')}", PEERS[name]
    try:
        found = metadata.version(name)
    except metadata.PackageNotFoundError:
        return missing(title, f"pip install {name}=={version}")
    token = f"{bot}:{TOKEN.partition(':')[2]}"
    _python("broadcasting.peers", name, here.telegram.base_url, token, str(chats), str(here.broker))
    stats = here.telegram.stats(bot=bot)
    if stats["chats"] != chats:
        raise Broken(f"{name} reached {stats['chats']} of {chats}")
    return result(
        title, run.rate / stats["mean_rate"], "×", 50, peers={f"{name} {found}": stats["mean_rate"]}
    )


# --- very many --------------------------------------------------------------------------------------------------------


def million(quick: bool) -> list[Result]:
    """Memory and the freezing of the audience do not care how many there are."""
    few, many = (2_000, 10_000) if quick else (10_000, 1_000_000)
    with stage("sqlite", workers=0) as here:
        small, _ = _with_memory(here, few)
        large, run = _with_memory(here, many)
    speed = {"recipients": many, "rows/s": round(many / run.froze), "then msg/s": round(run.rate)}
    return [
        result("million_snapshot", run.froze, "s", 30, lower=True, peers=speed),
        result("million_worker_peak", large, "MB", 150, lower=True, peers=_cost(run)),
        result(
            "million_worker_growth", large - small, "MB", 15, lower=True, peers={f"{few:,} recipients": small}
        ),
    ]


def _with_memory(here: Stage, recipients: int) -> tuple[float, Run]:
    """A broadcast by a worker that has done nothing else, and the peak of its memory in MB."""
    here.contacts(recipients)
    worker = here.start_worker()
    run = here.broadcast(recipients)
    peak = peak_mb(worker.pid)
    here.stop_worker()
    return peak, run


# --- somebody is waiting ----------------------------------------------------------------------------------------------


def interactive(rate: int, guard: float | None, quick: bool) -> list[Result]:
    """Single messages in the middle of a broadcast that uses the whole rate."""
    seconds = 4 if quick else 60
    with stage("sqlite", workers=1, sender_rate=rate, burst_guard=guard, rate=rate, **LATENCY) as here:
        waited = _interrupt(here, rate, seconds)
        stats = here.telegram.stats()
    peers = {
        "median": percentile(waited, 50),
        "sends": len(waited),
        "broadcast and these": f"{stats['mean_rate']:.1f}/s",
        "peak": stats["peak_second"],
        "caused 429": stats["caused_429"],
    }
    return [result(f"interactive_at_{rate}", percentile(waited, 99), "s", 1.0, lower=True, peers=peers)]


STRANGER = 5_000_000
"""Chats from here on are in no list: what they get was sent singly, each one message, so no chat's limit matters."""


def _warm_up(here: Stage) -> None:
    """Start the worker of single messages, and let its processes load what they need: they do so once only."""
    from longwave.senders import notify

    here.start_single_worker()
    early = range(STRANGER - 8, STRANGER)
    for chat in early:
        notify.notify(here.sender, str(chat), PLAIN)
    until(lambda: len(here.telegram.chats()) == len(early), 60, "single messages do not arrive")


def _interrupt(here: Stage, rate: int, seconds: int) -> list[float]:
    """Seconds from asking for a single message to its arrival, for two a second."""
    from longwave.senders import notify

    _warm_up(here)
    campaign = here.launch(rate * (seconds + 10))
    here.wait(campaign, "running")
    until(lambda: here.telegram.stats()["accepted"] > rate + 8, 60, "the broadcast does not start")
    asked: dict[int, float] = {}
    began = time.monotonic()
    for number in range(seconds * 2):
        time.sleep(max(0.0, began + number / 2 - time.monotonic()))
        asked[STRANGER + number] = time.time()
        notify.notify(here.sender, str(STRANGER + number), PLAIN)
    last = STRANGER + seconds * 2 - 1
    until(lambda: here.telegram.chats().get(last), 30, "the last single message did not arrive")
    arrived = {chat: here.telegram.log(chat_id=chat)[0]["at"] for chat in asked}
    return [arrived[chat] - at for chat, at in asked.items()]


SCENARIOS: Mapping[str, Scenario] = {
    "paced_30_1_workers": lambda quick: paced_30(1, quick),
    "paced_30_2_workers": lambda quick: paced_30(2, quick),
    "paced_30_4_workers": lambda quick: paced_30(4, quick),
    "paced_1000": paced_1000,
    "unlimited_sqlite": unlimited_sqlite,
    "unlimited_postgresql": unlimited_postgresql,
    "latency_50ms": latency_50ms,
    "million": million,
    "interactive_at_30": lambda quick: interactive(30, None, quick),
    "interactive_at_1000": lambda quick: interactive(1000, WIDE_GUARD, quick),
}

NOT_IN_QUICK = frozenset({"paced_30_1_workers", "paced_30_4_workers", "interactive_at_1000"})
TOGETHER = (("paced_30_2_workers", "interactive_at_30", "million"),)
"""The first two wait more than they work; of the third, memory is what is judged."""

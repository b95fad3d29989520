"""What an operator would check by hand, each with what was found and what to do about it."""

import asyncio
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from django.core.exceptions import ImproperlyConfigured
from django.db import Error, connection

from longwave import database
from longwave.config import Config, broker_socket
from longwave.core.errors import LongwaveError
from longwave.jobs import beat, beat_lease
from longwave.logs import scrub
from longwave.ops import broker, lock, schema

LOW_DISK = 1_000_000_000
"""Bytes. A broadcast to a million leaves about 150 MB of receipts."""

CLOCK_TOLERANCE = 1.0
"""Seconds between the database's clock and ours. Slots are times of the database's clock."""

WEBHOOK_ERROR_AGE = 3600.0
"""Seconds after which an error of Telegram's at our webhook is history."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: what was looked at, the verdict, what was found, and a remedy unless all is well."""

    check: str
    verdict: Literal["ok", "warn", "fail"]
    found: str
    remedy: str = ""

    def as_dict(self) -> dict[str, str]:
        """For `--json`."""
        return asdict(self)


Check = Callable[[Config], Iterator[Finding]]


def examine(current: Config, *, up_lock: Path) -> list[Finding]:
    """Every finding. A check that breaks is a finding itself; the others go on."""
    pid = lock.holder(up_lock)
    checks: Sequence[tuple[str, Check]] = (
        ("data folder", _data_folder),
        ("free disk", _free_disk),
        ("secret key", _secret_key),
        ("database", _database),
        ("broker", lambda current: _broker(current, pid)),
        ("beat", lambda current: _beat(current, pid)),
        ("workers", lambda current: _workers(current, pid)),
        ("senders", _senders),
    )
    findings: list[Finding] = []
    for name, check in checks:
        try:
            findings.extend(check(current))
        except Exception as error:
            found = scrub(f"{type(error).__name__}: {error}")
            findings.append(Finding(name, "fail", found, "the check itself broke; please report it"))
    return findings


def _data_folder(current: Config) -> Iterator[Finding]:
    folder = _on_disk(current.home)
    found = str(current.home) if folder == current.home else f"{current.home}, made when it is needed"
    try:
        with tempfile.NamedTemporaryFile(dir=folder):
            yield Finding("data folder", "ok", found)
    except OSError as error:
        found = f"{current.home} cannot be written ({error.strerror})"
        yield Finding(
            "data folder", "fail", found, "give it to this user, or set LONGWAVE_HOME to another folder"
        )


def _on_disk(folder: Path) -> Path:
    """The folder, or the nearest above it that there is: with a database and a key of its own nobody has needed it."""
    return next(each for each in (folder, *folder.parents) if each.exists())


def _free_disk(current: Config) -> Iterator[Finding]:
    free = shutil.disk_usage(_on_disk(current.home)).free
    found = f"{free / 1e9:.1f} GB free on the data folder's disk"
    if free < LOW_DISK:
        yield Finding(
            "free disk", "warn", found, "make room: without disk nothing can be recorded, so nothing is sent"
        )
    else:
        yield Finding("free disk", "ok", found)


def _secret_key(current: Config) -> Iterator[Finding]:
    file = current.home / "secret.key"
    if not file.exists():
        yield Finding("secret key", "ok", "from LONGWAVE_SECRET_KEY")
        return
    mode = stat.S_IMODE(file.stat().st_mode)
    if mode & 0o077:
        found = f"{file} may be read by others (mode {mode:04o})"
        yield Finding("secret key", "fail", found, f"chmod 600 {file}")
    else:
        yield Finding("secret key", "ok", f"{file}, mode {mode:04o}")


def _database(current: Config) -> Iterator[Finding]:
    where = scrub(current.database_url)
    try:
        connection.ensure_connection()
        yield Finding("database", "ok", f"{_version()} at {where}")
        yield from _migrations()
        yield _write_ahead_log() if connection.vendor == "sqlite" else _clock()
    except ImproperlyConfigured as error:  # no driver for it is installed
        remedy = database.how_to_install_driver(error)
        yield Finding("database", "fail", scrub(f"{where}: {error}"), remedy)
    except Error as error:
        found = scrub(f"{where}: {' '.join(str(error).split())}")
        yield Finding("database", "fail", found, "start its server, or correct LONGWAVE_DATABASE_URL")


def _version() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT sqlite_version()" if connection.vendor == "sqlite" else "SELECT version()")
        version = str(cursor.fetchone()[0])
    return version if connection.vendor == "postgresql" else f"{connection.display_name} {version}"


def _migrations() -> Iterator[Finding]:
    if missing := schema.pending():
        yield Finding(
            "migrations", "fail", f"{len(missing)} missing, {missing[0]} first", "run `longwave migrate`"
        )
    else:
        yield Finding("migrations", "ok", "all applied")


def _write_ahead_log() -> Finding:
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA journal_mode")
        mode = str(cursor.fetchone()[0]).lower()
    if mode == "wal":
        return Finding("write-ahead log", "ok", "on")
    remedy = "put the data folder on a local disk: network file systems cannot do it"
    return Finding("write-ahead log", "fail", f"journal mode is {mode}", remedy)


def _clock() -> Finding:
    before = time.time()
    theirs = database.clock_us() / 1e6
    after = time.time()
    apart = max(theirs - after, before - theirs, 0.0)
    found = f"{apart:.3f} s apart from the database's"
    if apart > CLOCK_TOLERANCE:
        return Finding(
            "clock", "warn", found, "run a time service (chrony, systemd-timesyncd) on both machines"
        )
    return Finding("clock", "ok", found)


def _broker(current: Config, pid: int | None) -> Iterator[Finding]:
    if current.is_embedded:
        if pid is None:
            yield Finding(
                "broker", "warn", "embedded; `longwave up` does not run", "start it with `longwave up`"
            )
        elif broker.ping(broker_socket(current)):
            yield Finding("broker", "ok", f"embedded, run by `longwave up` (pid {pid})")
        else:
            remedy = "it is started again within seconds; if not, see the output of `longwave up`"
            yield Finding(
                "broker", "fail", f"embedded; pid {pid} runs but its broker does not answer", remedy
            )
        return
    from longwave.jobs import broker as line

    where = scrub(current.broker_url or "")
    try:
        line.depth("default")
        yield Finding("broker", "ok", where)
    except line.BrokerAway as error:
        remedy = f"{line.how_to_start()}; nothing is lost meanwhile"
        yield Finding("broker", "fail", f"{where}: {error}", remedy)


def _beat(current: Config, pid: int | None) -> Iterator[Finding]:
    if (current.is_embedded and pid is None) or not _has_tables():
        return  # another finding says it already
    if owner := beat_lease.holder(beat.LEASE):
        host, of = owner.split(":")[:2]
        yield Finding("beat", "ok", f"runs on {host} (pid {of})")
    else:
        remedy = (
            "start `longwave beat`: until then no retry and no schedule begins, and nothing is brought back"
        )
        yield Finding("beat", "warn", f"none has shown itself for {beat.LEASE:g} s", remedy)


def _workers(current: Config, pid: int | None) -> Iterator[Finding]:
    if current.is_embedded and pid is None:
        return  # the broker's finding says it already
    from longwave.jobs import presence  # brings Celery

    answers = presence.workers()
    if answers is None:
        yield Finding("workers", "fail", "cannot be asked: the broker does not answer", "see `broker`")
        return
    names = [f"{name} (leaving)" if answers[name].is_leaving else name for name in sorted(answers)]
    found = f"{len(names)} answer: {', '.join(names)}"
    if any(not answer.is_leaving for answer in answers.values()):
        yield Finding("workers", "ok", found)
    elif names:
        yield Finding("workers", "warn", found, "start one with `longwave worker`: these take nothing new")
    else:
        remedy = "start one with `longwave worker`; busy ones may need longer to answer"
        yield Finding("workers", "warn", f"none answers within {presence.PATIENCE:g} s", remedy)
    yield from _regions({queue for answer in answers.values() for queue in answer.queues})


def _regions(served: set[str]) -> Iterator[Finding]:
    """For each region that senders are in: whether a worker that answered listens for their campaigns."""
    from longwave.campaigns import lifecycle
    from longwave.campaigns.models import Campaign

    waiting: dict[str, list[str]] = {}
    for sender in (sender for sender in _known_senders() or [] if sender.region):
        is_served = lifecycle.queue_of(Campaign(sender=sender)) in served
        waiting.setdefault(sender.region, []).extend([] if is_served else [sender.name])
    for region, names in sorted(waiting.items()):
        if not names:
            yield Finding(f"region {region}", "ok", "served")
            continue
        found = f"no worker that answered serves it: campaigns of {', '.join(names)} wait"
        remedy = f"longwave worker --region {region}, or stop and start `longwave up`"
        yield Finding(f"region {region}", "warn", found, remedy)


def _known_senders() -> list[Any] | None:
    """Every sender by name; None where the database cannot say."""
    if not _has_tables():
        return None
    from longwave.senders import senders

    return list(senders.all_senders())


def _has_tables() -> bool:
    """Whether the database can be asked. If not, `database` or `migrations` said so."""
    try:
        return connection.connection is not None and not schema.pending()
    except ImproperlyConfigured:
        return False


def _senders(current: Config) -> Iterator[Finding]:
    senders = _known_senders()
    if senders is None:
        return
    if not senders:
        remedy = "longwave sender add telegram --name NAME --token-stdin"
        yield Finding("senders", "warn", "there is none", remedy)
    for sender in senders:
        yield from asyncio.run(_sender(sender))


async def _sender(sender: Any) -> list[Finding]:
    from longwave import channels
    from longwave.channels.base import ProviderAway
    from longwave.senders import senders

    name = f"sender {sender.name}"
    try:
        account = senders.account(sender)
        identity = await channels.get(sender.channel).identify(account)
    except ProviderAway as error:
        found, _, remedy = scrub(str(error)).partition("; ")
        return [Finding(name, "fail", found, remedy)]
    except LongwaveError as error:
        return [Finding(name, "fail", scrub(str(error)), _sender_remedy(sender))]
    if sender.status != "active":
        found = f"{identity.name} answers, but is marked broken: {sender.status_reason}"
        return [Finding(name, "warn", found, f"longwave sender enable {sender.name}")]
    findings = [Finding(name, "ok", f"{identity.name} ({identity.id})")]
    if sender.channel == "telegram":
        findings.append(await _webhook(sender, account))
    return findings


def _sender_remedy(sender: Any) -> str:
    if sender.base_url:
        return f"see that {sender.base_url} is a Bot API server, and knows this token"
    return f"if the token was revoked, give the new one: longwave sender enable {sender.name} --token-stdin"


async def _webhook(sender: Any, account: Any) -> Finding:
    from longwave.channels.telegram import channel

    name = f"webhook {sender.name}"
    try:
        info = await channel.bot_api(account, "getWebhookInfo", {})
    except LongwaveError as error:
        return Finding(name, "warn", scrub(str(error)), "sending does not need it; try again later")
    if not info.get("url"):
        return Finding(name, "ok", "none set")
    found = f"{info['url']}, {info.get('pending_update_count', 0)} updates waiting"
    if time.time() - float(info.get("last_error_date", 0)) < WEBHOOK_ERROR_AGE:
        error_said = info.get("last_error_message", "an error")
        remedy = "see that the address is reachable from the internet with a valid certificate"
        return Finding(name, "warn", f"{found}; Telegram says: {error_said}", remedy)
    return Finding(name, "ok", found)

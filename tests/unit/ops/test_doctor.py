"""Doctor finds what is wrong, names it, and has a remedy for it."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from longwave import database as databases_
from longwave.config import Config
from longwave.jobs import beat_lease, presence
from longwave.ops import doctor, lock
from longwave.ops.doctor import Finding
from longwave.senders import senders
from longwave.senders.models import Sender
from longwave.testing.fake_telegram import FakeTelegram

TOKEN = "123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"


@pytest.fixture
def current(home: Path, sqlite: str) -> Config:
    (home / "secret.key").write_text("k" * 40)
    (home / "secret.key").chmod(0o600)
    return Config(home, "127.0.0.1", 8080, sqlite, None, "k" * 40, "INFO", "console")


@pytest.fixture(scope="module")
def telegram() -> Iterator[FakeTelegram]:
    with FakeTelegram(tokens=(TOKEN,)) as server:
        yield server


@pytest.fixture
def sender(sqlite: str, telegram: FakeTelegram) -> Sender:
    return senders.add("telegram", "news", TOKEN, base_url=telegram.base_url)


def examine(current: Config) -> dict[str, Finding]:
    found = doctor.examine(current, up_lock=current.home / "run" / "up.lock")
    assert all(finding.remedy for finding in found if finding.verdict != "ok")
    return {finding.check: finding for finding in found}


def test_a_healthy_installation_has_no_failure(current: Config, sender: Sender) -> None:
    found = examine(current)
    assert {name for name, finding in found.items() if finding.verdict != "ok"} == {
        "broker"
    }  # `up` does not run
    assert found["sender news"].found.startswith("@")
    assert found["webhook news"].found == "none set"
    assert found["write-ahead log"].found == "on"


def test_every_database_tells_its_version_and_clock(home: Path, database: str) -> None:
    current = Config(home, "127.0.0.1", 8080, database, None, "k" * 40, "INFO", "console")
    found = examine(current)
    assert found["database"].verdict == "ok"
    assert found["migrations"].verdict == "ok"
    assert ("clock" in found) is not database.startswith("sqlite")


def test_a_key_that_others_may_read_fails(current: Config) -> None:
    (current.home / "secret.key").chmod(0o644)
    finding = examine(current)["secret key"]
    assert finding.verdict == "fail"
    assert finding.remedy == f"chmod 600 {current.home}/secret.key"


def test_a_data_folder_that_nobody_has_needed_yet_is_fine(current: Config) -> None:
    found = examine(replace(current, home=current.home / "not" / "yet"))
    assert {found[name].verdict for name in ("data folder", "free disk", "secret key")} == {"ok"}
    assert "made when it is needed" in found["data folder"].found


def test_a_data_folder_that_cannot_be_made_fails(current: Config) -> None:
    (current.home / "file").touch()
    bad = replace(current, home=current.home / "file" / "below")
    found = {one.check: one for one in doctor.examine(bad, up_lock=current.home / "up.lock")}
    assert found["data folder"].verdict == "fail"
    assert found["free disk"].verdict == "ok"


def test_little_disk_is_a_warning(current: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "LOW_DISK", 10**18)
    assert examine(current)["free disk"].verdict == "warn"


def test_missing_migrations_fail_and_senders_are_not_asked(
    current: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor.schema, "pending", lambda: ["longwave_jobs.0002_more"])
    found = examine(current)
    assert found["migrations"].verdict == "fail"
    assert "longwave migrate" in found["migrations"].remedy
    assert "senders" not in found


@pytest.mark.parametrize(
    ("staying", "verdict", "found"),
    [(True, "ok", "2 answer: new, old (leaving)"), (False, "warn", "1 answer: old (leaving)")],
)
def test_a_worker_that_is_leaving_is_not_enough(
    staying: bool, verdict: str, found: str, current: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = {"old": presence.Answer("old", "h", 1, [], 2, 80.0, is_leaving=True)}
    answers |= {"new": presence.Answer("new", "h", 2, ["default"], 2, 80.0)} if staying else {}
    monkeypatch.setattr(presence, "workers", lambda: answers)
    finding = examine(replace(current, broker_url="redis://127.0.0.1:6379/0"))["workers"]
    assert (finding.verdict, finding.found) == (verdict, found)


def test_a_clock_that_is_off_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    real = databases_.clock_us
    monkeypatch.setattr(doctor.database, "dialect", lambda: "sqlite")
    assert doctor._clock().verdict == "ok"
    for off in (-3, 3):
        monkeypatch.setattr(doctor.database, "clock_us", lambda off=off: real() + off * 1_000_000)
        finding = doctor._clock()
        assert finding.verdict == "warn"
        assert finding.found.startswith(("2.9", "3.0"))


def test_an_embedded_broker_without_up_is_a_warning_and_with_it_a_failure(current: Config) -> None:
    assert examine(current)["broker"].verdict == "warn"
    with lock.held(current.home / "run" / "up.lock"):
        assert examine(current)["broker"].verdict == "fail"


def test_a_beat_that_is_missing_is_a_warning_and_one_that_runs_is_named(current: Config) -> None:
    assert "beat" not in examine(current), "embedded, and `up` does not run: `broker` says it"
    elsewhere = replace(current, broker_url="redis://127.0.0.1:1/0")
    assert examine(elsewhere)["beat"].verdict == "warn"
    beat_lease.hold("host:7:abcd", 5.0)
    assert examine(elsewhere)["beat"].found == "runs on host (pid 7)"


def test_no_sender_is_a_warning(current: Config) -> None:
    assert examine(current)["senders"].verdict == "warn"


def test_a_revoked_token_fails_without_being_shown(current: Config, sender: Sender) -> None:
    revoked = TOKEN[:-3] + "xyz"
    sender.credentials = senders.credentials.encrypt(revoked)
    sender.save()
    finding = examine(current)["sender news"]
    assert finding.verdict == "fail"
    assert revoked.partition(":")[2] not in str(finding)


def test_a_server_that_is_away_fails(current: Config, sender: Sender) -> None:
    sender.base_url = "http://127.0.0.1:1"
    sender.save()
    finding = examine(current)["sender news"]
    assert finding.verdict == "fail"
    assert finding.found == "http://127.0.0.1:1 refuses connections"
    assert "see that the server runs" in finding.remedy


def test_a_region_that_no_worker_serves_is_a_warning(current: Config) -> None:
    for name, region in (("shop", "eu"), ("news", "eu"), ("club", "us"), ("home", "")):
        senders.add("memory", name, f"secret of {name}", region=region)
    examine(current)  # opens the database
    eu, us = doctor._regions({"broadcast", "broadcast.us", "email.us"})
    assert (eu.check, eu.verdict, us.check, us.verdict) == ("region eu", "warn", "region us", "ok")
    assert "campaigns of news, shop wait" in eu.found
    assert "longwave worker --region eu" in eu.remedy


def test_a_sender_marked_broken_that_answers_again_is_a_warning(current: Config, sender: Sender) -> None:
    senders.mark_broken(sender.pk, "Unauthorized")
    finding = examine(current)["sender news"]
    assert finding.verdict == "warn"
    assert finding.remedy == "longwave sender enable news"


def test_a_check_that_breaks_is_a_finding_and_the_others_go_on(
    current: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_free_disk", lambda current: 1 / 0)
    found = examine(replace(current))
    assert found["free disk"].verdict == "fail"
    assert "ZeroDivisionError" in found["free disk"].found
    assert "database" in found


def test_a_driver_that_is_not_installed_is_a_finding_with_its_remedy(
    current: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> None:
        raise ImproperlyConfigured("Error loading psycopg2 or psycopg module")

    monkeypatch.setattr(doctor.connection, "ensure_connection", missing)
    monkeypatch.setattr(doctor.schema, "pending", missing)
    findings = {finding.check: finding for finding in doctor.examine(current, up_lock=current.home / "lock")}
    assert findings["database"].remedy == 'pip install "psycopg[binary]>=3.2"'
    assert "senders" not in findings

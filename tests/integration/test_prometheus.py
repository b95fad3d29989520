"""A real Prometheus asks a working installation, with the rules and the queries of deploy/grafana."""

import json
import re
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from longwave.jobs.models import Status
from tests import databases, houses
from tests.brokers import free_port
from tests.houses import House
from tests.installations import EMBEDDED, ROOT
from tests.waiting import until

pytestmark = pytest.mark.chaos

RULES = ROOT / "deploy/grafana/alerts.yml"
DASHBOARD = json.loads((ROOT / "deploy/grafana/longwave.json").read_text(encoding="utf-8"))
SILENT = re.compile(r"> 0$|_deliveries_total|_single_messages|_held_seconds|_sender|_desired_workers")
"""Queries that find nothing where nothing is wrong, sent or scaled."""


class Prometheus:
    """A server on a free port that looks every second."""

    def __init__(self, folder: Path, target: str) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        self.log = folder / "prometheus.log"
        self._config = folder / "prometheus.yml"
        self._config.write_text(
            yaml.safe_dump(
                {
                    "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
                    "rule_files": [str(RULES)],
                    "scrape_configs": [{"job_name": "longwave", "static_configs": [{"targets": [target]}]}],
                }
            )
        )
        self._data = folder / "prometheus"

    @contextmanager
    def standing(self) -> Iterator["Prometheus"]:
        program = shutil.which("prometheus")
        if program is None:
            databases.missing("Prometheus is not installed")
        words = [
            str(program),
            f"--config.file={self._config}",
            f"--storage.tsdb.path={self._data}",
            f"--web.listen-address={self.url.removeprefix('http://')}",
        ]
        with self.log.open("wb") as log, subprocess.Popen(words, stdout=log, stderr=log) as process:
            try:
                yield self
            finally:
                process.kill()

    def ask(self, path: str, **values: str) -> Any:
        """The data of an answer of its API; None while it does not answer."""
        query = urllib.parse.urlencode(values)
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=5) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            if error.code == 503:
                return None  # it is starting
            raise AssertionError(f"{values}: {error.read().decode()}") from error
        except OSError:
            return None

    def query(self, query: str) -> list[dict[str, Any]]:
        """The samples that a query of the dashboard finds now."""
        filled = query.replace("$queue", ".*").replace("$__rate_interval", "30s")
        found = self.ask("query", query=filled)
        return list(found["result"]) if found else []


@pytest.fixture
def house(home: Path) -> Iterator[House]:
    with houses.house(EMBEDDED, home, is_up=True) as running:
        running.others.append(running.start("up", "--workers", "1"))
        running.until(running.is_healthy)
        yield running


def test_a_real_prometheus_finds_what_the_dashboard_and_the_rules_ask_for(house: House, home: Path) -> None:
    target = f"127.0.0.1:{house.environment['LONGWAVE_PORT']}"
    with Prometheus(home, target).standing() as prometheus:

        def found(query: str) -> Any:
            return until(
                lambda: prometheus.query(query), 20, lambda: f"{query}: {prometheus.log.read_text()}"
            )

        found("longwave_info")
        house.submit("room.work.submit_many([{'number': n} for n in range(50)])")
        house.until(lambda: houses.count(Status.SUCCESS) == 50)
        house.run("queue", "pause", "email")
        found('longwave_jobs_total{name="room.work",outcome="success"} == 50')
        found("sum(rate(longwave_jobs_total[30s])) > 0")

        queries = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]
        assert [one for one in queries if not prometheus.query(one) and not SILENT.search(one)] == []

        found('ALERTS{alertname="LongwaveQueuePaused",alertstate="pending",queue="email"}')
        rules = prometheus.ask("rules")["groups"][0]["rules"]
        assert {rule["name"]: rule.get("lastError") for rule in rules if rule["health"] != "ok"} == {}
        assert {rule["name"] for rule in rules if rule["state"] != "inactive"} == {"LongwaveQueuePaused"}

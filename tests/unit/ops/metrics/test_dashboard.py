"""Dashboard, alerts and docs ask for what the code measures, with the labels that it has, and for all of it."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from longwave.campaigns.models import CampaignState, Charted
from longwave.cli import COMMANDS, lazy
from longwave.jobs.measures import Ending
from longwave.ops.drift import Kind
from longwave.ops.metrics import every
from longwave.ops.metrics.figures import Figure

ROOT = Path(__file__).parents[4]
FIGURES = {figure.name: figure for figure in (*every.OWN, *every.STATE, *every.EVENTS)}
VALUES = {
    ("longwave_jobs_total", "outcome"): set(Ending),
    ("longwave_deliveries_total", "outcome"): set(Charted.values),
    ("longwave_drift_jobs", "kind"): set(Kind),
    ("longwave_campaigns", "state"): set(CampaignState.values),
    ("longwave_schedules", "state"): {"kept", "paused", "failing"},
}
"""What a query may compare a label with, where the code has a list of it."""

DASHBOARD: dict[str, Any] = json.loads((ROOT / "deploy/grafana/longwave.json").read_text(encoding="utf-8"))
RULES = ROOT / "deploy/grafana/alerts.yml"
ALERTS: list[dict[str, Any]] = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"][0]["rules"]
PAGE = (ROOT / "docs/monitoring.md").read_text(encoding="utf-8")

SELECTOR = re.compile(r"\b(longwave_\w+)(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"')
GROUPING = re.compile(r"\b(?:by|on)\s*\(([^)]*)\)")


def panels() -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def queries() -> Iterator[tuple[str, str]]:
    """(where it is, the query) of everything that is asked."""
    for panel in panels():
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], variable["definition"]
    for alert in ALERTS:
        yield alert["alert"], alert["expr"]


def asked(query: str) -> Iterator[tuple[Figure, set[str], dict[str, str]]]:
    """(the figure, the labels of this series, what it is compared with) for every series of a query."""
    for name, matchers in SELECTOR.findall(query):
        figure, labels = _figure_of(name)
        yield figure, labels, dict(MATCHER.findall(matchers))


def _figure_of(name: str) -> tuple[Figure, set[str]]:
    if name in FIGURES and FIGURES[name].kind != "histogram":
        return FIGURES[name], set(FIGURES[name].labels)
    base, _, part = name.rpartition("_")
    figure = FIGURES[base]
    assert figure.kind == "histogram"
    assert part in ("bucket", "sum", "count")
    return figure, {*figure.labels, *(["le"] if part == "bucket" else [])}


def grouped(query: str) -> set[str]:
    return {label.strip() for labels in GROUPING.findall(query) for label in labels.split(",")}


@pytest.mark.parametrize(("where", "query"), list(queries()))
def test_a_query_asks_for_what_there_is(where: str, query: str) -> None:
    series = list(asked(query))
    assert series
    assert query.count("longwave_") == len(series)
    for figure, labels, compared in series:
        assert set(compared) <= labels
        for label, wanted in compared.items():
            if wanted != "$queue":
                assert set(wanted.split("|")) <= VALUES[figure.name, label]
        assert grouped(query) <= labels
        if figure.kind == "counter":
            assert re.search(rf"(rate|increase)\({figure.name}", query), "a counter alone says nothing"


def test_every_figure_is_asked_for() -> None:
    used = {figure.name for _, query in queries() for figure, *_ in asked(query)}
    assert used == set(FIGURES)


def test_names_tell_the_kind_and_help_is_a_sentence() -> None:
    for figure in FIGURES.values():
        assert re.fullmatch(r"longwave_[a-z_]+", figure.name)
        assert figure.name.endswith("_total") == (figure.kind == "counter")
        assert bool(figure.buckets) == (figure.kind == "histogram")
        assert figure.help[0].isupper() or figure.help[0].isdigit()
        assert not figure.help.endswith(".")
        assert "|" not in figure.help


# --- the dashboard ----------------------------------------------------------------------------------------------------


def test_the_dashboard_can_be_imported() -> None:
    assert DASHBOARD["uid"] == "longwave"
    assert DASHBOARD["schemaVersion"] >= 36
    assert DASHBOARD["id"] is None
    assert [variable["name"] for variable in DASHBOARD["templating"]["list"]] == ["datasource", "queue"]
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in panels():
        assert panel["title"]
        assert panel["description"]
        for owner in (panel, *panel["targets"]):
            assert owner["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def test_no_two_panels_are_in_the_same_place() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken
        taken |= cells


def test_a_legend_names_labels_that_the_query_keeps() -> None:
    for panel in panels():
        for target in panel["targets"]:
            named = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            assert named <= grouped(target["expr"]) - {"le"}


# --- the alerts -------------------------------------------------------------------------------------------------------


def test_an_alert_says_what_is_wrong_and_what_to_do() -> None:
    for alert in ALERTS:
        assert re.fullmatch(r"Longwave[A-Za-z]+", alert["alert"])
        assert re.fullmatch(r"\d+[mh]", alert["for"])
        assert alert["labels"]["severity"] in ("critical", "warning", "info")
        assert set(alert["annotations"]) == {"summary", "remedy"}
        named = set(re.findall(r"\$labels\.(\w+)", " ".join(alert["annotations"].values())))
        assert named <= grouped(alert["expr"])
    assert len({alert["alert"] for alert in ALERTS}) == len(ALERTS)


def test_the_commands_of_the_remedies_exist() -> None:
    found = 0
    for alert in ALERTS:
        for line in re.findall(r"`longwave ([^`]+)`", alert["annotations"]["remedy"]):
            words = shlex.split(re.sub(r"\{\{.*?\}\}", "x", line))
            command = lazy.load(words[0], COMMANDS[words[0]])
            if getattr(command, "commands", None):
                command = command.commands[words[1]]
            known = {name for parameter in command.params for name in parameter.opts}
            assert {word for word in words if word.startswith("-")} <= known
            found += 1
    assert found > 10


# --- the page ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("figures", [every.STATE, every.EVENTS, every.OWN], ids=["state", "events", "own"])
def test_the_page_has_the_table_that_the_code_makes(figures: tuple[Figure, ...]) -> None:
    assert every.table(figures) in PAGE


def test_the_page_says_what_to_do_about_every_alert() -> None:
    assert re.findall(r"^\| `(Longwave\w+)` \|", PAGE, re.MULTILINE) == [alert["alert"] for alert in ALERTS]

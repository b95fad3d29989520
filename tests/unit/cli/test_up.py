"""`longwave up`: what it tells when everything runs."""

import io
import json
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from longwave.cli import up
from longwave.config import Config
from longwave.core.errors import InvalidInput
from longwave.ops.output import Output
from longwave.senders import senders


@pytest.fixture
def asked(home: Path, sqlite: str, monkeypatch: pytest.MonkeyPatch) -> Config:
    """An installation that a process of its own can be asked about."""
    monkeypatch.setenv("LONGWAVE_HOME", str(home))
    monkeypatch.setenv("LONGWAVE_DATABASE_URL", sqlite)
    return Config(home, "127.0.0.1", 8080, sqlite, None, "k" * 40, "INFO", "json")


def told(current: Config) -> dict[str, str]:
    stream = io.StringIO()
    up._tell(current, Output(stream, names=[], as_json=True), web=True)
    return dict(json.loads(stream.getvalue()))


def test_without_a_sender_the_next_step_is_to_add_one(asked: Config) -> None:
    assert told(asked)["next"] == "longwave sender add telegram --name NAME"
    assert "regions" not in told(asked)


def test_with_senders_the_next_step_is_to_look_and_their_regions_are_named(asked: Config) -> None:
    for name, region in (("a", "us"), ("b", ""), ("c", "eu")):
        senders.add("memory", name, f"secret of {name}", region=region)
    assert told(asked)["next"] == "longwave campaign list"
    assert told(asked)["regions"].startswith("eu, us;")


def test_a_taken_port_is_told_with_an_option_only_where_there_is_one(asked: Config) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        current = replace(asked, port=other.getsockname()[1])
        with pytest.raises(InvalidInput, match=r"set LONGWAVE_PORT to a free one$"):
            up.check_port(current)
        web = next(
            child for child in up._children(current, senders=1, workers=1, web=True) if child.name == "web"
        )
        with pytest.raises(InvalidInput, match=r"or use --no-web$"):
            web.before()


def test_a_question_that_takes_too_long_stops_nothing(asked: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(up, "ASK_WITHIN", 0.001)
    senders.add("memory", "a", "secret")
    assert told(asked)["next"].startswith("longwave sender add")

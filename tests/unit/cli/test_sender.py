"""`longwave sender …` and regions: what is kept, what is shown, what comes next."""

import json

import pytest
from typer.testing import CliRunner

from longwave.cli.sender import app
from longwave.core.errors import InvalidInput, NotFound
from longwave.senders import senders

pytestmark = pytest.mark.usefixtures("sqlite")


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments), input="secret\n")
    if result.exception is not None:
        raise result.exception
    return result.output


def test_a_region_is_kept_shown_and_the_next_step_said() -> None:
    said = run("add", "memory", "--name", "shop", "--token-stdin", "--region", "eu")
    assert "longwave worker --region eu" in said
    assert senders.by_name("shop").region == "eu"
    assert json.loads(run("show", "shop", "--json"))["region"] == "eu"
    shown = run("list").splitlines()
    assert shown[0].split() == ["Name", "Channel", "Account", "Rate", "Region", "Status"]
    assert "eu" in shown[1].split()


def test_without_regions_nothing_is_said_of_them() -> None:
    assert "region" not in run("add", "memory", "--name", "shop", "--token-stdin")
    assert "Region" not in run("list")


def test_a_region_that_cannot_be_a_queue_s_name_is_refused() -> None:
    with pytest.raises(InvalidInput, match="must be 1 to 32 small letters"):
        run("add", "memory", "--name", "shop", "--token-stdin", "--region", "West Europe")
    assert senders.all_senders() == []


def test_what_somebody_called_a_sender_is_shown_as_it_stands() -> None:
    run("add", "memory", "--name", "[red]shop", "--token-stdin")
    assert "[red]shop" in run("list")
    assert "[red]shop" in run("show", "[red]shop")


def test_a_name_like_no_other_is_answered_with_those_there_are() -> None:
    run("add", "memory", "--name", "shop", "--token-stdin")
    with pytest.raises(NotFound, match="there are shop"):
        run("show", "newsletter")
    with pytest.raises(NotFound, match="perhaps you mean shop"):
        run("show", "shpo")

"""`longwave worker`: which queues it works on."""

import pytest
import typer
from typer.testing import CliRunner

from longwave.campaigns import lifecycle
from longwave.campaigns.models import Campaign
from longwave.cli.worker import PROFILES, Plan, check_level, concurrency_of, planned, regional_queues, worker
from longwave.core.errors import InvalidInput
from longwave.jobs import queues as queue_table
from longwave.senders import senders

_app = typer.Typer()
_app.command()(worker)


def test_a_region_is_the_queues_of_sending_in_it() -> None:
    assert regional_queues([], all_regions=False) == []
    assert regional_queues(["eu", "us", "eu"], all_regions=False) == [
        "broadcast.eu", "email.eu", "broadcast.us", "email.us",
    ]  # fmt: skip


def test_all_regions_are_those_that_senders_are_in(sqlite: str) -> None:
    for number, region in enumerate(["us", "", "eu", "us"]):
        senders.add("memory", f"sender {number}", f"secret {number}", region=region)
    assert regional_queues(["asia"], all_regions=True) == [
        "broadcast.asia", "email.asia", "broadcast.eu", "email.eu", "broadcast.us", "email.us",
    ]  # fmt: skip


@pytest.mark.parametrize("channel", ["telegram", "email", "memory"])
def test_a_worker_of_a_region_listens_where_its_campaigns_are_rung(channel: str) -> None:
    campaign = Campaign(sender=senders.Sender(channel=channel, region="eu"))
    assert lifecycle.queue_of(campaign) in regional_queues(["eu"], all_regions=False)


@pytest.mark.parametrize("region", ["", "EU", "e u", "eu.west", "x" * 33, "-eu"])
def test_a_name_that_no_region_can_have_is_refused(region: str) -> None:
    with pytest.raises(InvalidInput, match="--region"):
        regional_queues([region], all_regions=False)


def test_a_level_of_logging_that_there_is_not_is_refused() -> None:
    check_level("")
    check_level("debug")
    with pytest.raises(InvalidInput, match="must be one of DEBUG, INFO"):
        check_level("loud")


def plan(cores: int = 2, concurrency: str = "", **given: str) -> Plan:
    wanted = concurrency_of(concurrency) if concurrency else None
    return planned(**{"profile": "", "queues": "", "pool": "", **given}, concurrency=wanted, cores=cores)


def test_without_options_a_worker_works_on_everything_two_at_a_time() -> None:
    assert plan() == Plan(list(queue_table.PRIORITIES), "prefork", 2)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"profile": "import"}, Plan(["import"], "prefork", 2)),
        ({"profile": "import", "cores": 3}, Plan(["import"], "prefork", 3)),
        ({"profile": "import", "cores": 64, "concurrency": "auto"}, Plan(["import"], "prefork", 4)),
        ({"profile": "import", "cores": 64, "concurrency": "9"}, Plan(["import"], "prefork", 9)),
        ({"profile": "send"}, Plan(["campaigns", "broadcast", "email"], "threads", 20)),
        ({"queues": "email,default", "pool": "threads"}, Plan(["email", "default"], "threads", 2)),
        ({"queues": "email", "concurrency": "auto", "cores": 6}, Plan(["email"], "prefork", 6)),
        ({"queues": "email", "concurrency": "1-8"}, Plan(["email"], "prefork", 8, 1)),
        ({"queues": "email", "concurrency": "2-auto", "cores": 6}, Plan(["email"], "prefork", 6, 2)),
        ({"queues": "email", "concurrency": "2-auto", "cores": 1}, Plan(["email"], "prefork", 1, 1)),
        (
            {"profile": "files", "concurrency": "1-auto", "cores": 3},
            Plan(list(PROFILES["files"].queues), "prefork", 3, 1),
        ),
    ],
)
def test_what_options_mean_together(given: dict[str, str | int], expected: Plan) -> None:
    assert plan(**given) == expected  # type: ignore[arg-type]


def test_the_profiles_have_every_queue_between_them() -> None:
    parts = [queue for name, one in PROFILES.items() if name != "all" for queue in one.queues]
    assert sorted(parts) == sorted(queue_table.PRIORITIES)
    assert set(PROFILES["all"].queues) == set(queue_table.PRIORITIES)


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"profile": "mail"}, "--profile = 'mail': must be one of all, import, send, files, bots"),
        ({"profile": "send", "queues": "email"}, "--queues = 'email': are chosen by --profile"),
        ({"profile": "send", "pool": "prefork"}, "--profile send takes threads"),
        ({"profile": "all", "pool": "prefork"}, "--profile all takes threads"),
        ({"pool": "green"}, "must be prefork or threads"),
        ({"concurrency": "0"}, "--concurrency = '0': must be a whole number from 1 on"),
        ({"concurrency": "many"}, "two such as 1-4, or auto"),
        ({"concurrency": "0-4"}, "--concurrency = '0-4': must be a whole number from 1 on"),
        ({"concurrency": "-4"}, "--concurrency = '-4': must be"),
        ({"concurrency": "auto-4"}, "--concurrency = 'auto-4': must be"),
        ({"concurrency": "8-2"}, "--concurrency = '8-2': the fewest come first: 2-8"),
        ({"concurrency": "1-8", "pool": "threads"}, "--concurrency = '1-8': is for processes"),
        ({"concurrency": "1-8", "profile": "send"}, "--concurrency = '1-8': is for processes"),
    ],
)
def test_options_that_do_not_go_together_are_refused(given: dict[str, str], complaint: str) -> None:
    with pytest.raises(InvalidInput, match=complaint):
        plan(**given)


def test_a_region_is_refused_for_a_profile_that_sends_nothing() -> None:
    result = CliRunner().invoke(_app, ["--profile", "import", "--region", "eu"])
    assert isinstance(result.exception, InvalidInput)
    assert "--region" in str(result.exception)

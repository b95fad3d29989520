"""`longwave worker`: which queues it works on."""

import pytest

from longwave.campaigns import lifecycle
from longwave.campaigns.models import Campaign
from longwave.cli.worker import check_level, regional_queues
from longwave.core.errors import InvalidInput
from longwave.senders import senders


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

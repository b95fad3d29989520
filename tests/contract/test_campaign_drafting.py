"""What is said of a campaign and no database can hold: refused with a sentence, the same on every database."""

from datetime import datetime, timedelta, timezone

import pytest

from longwave.campaigns import drafting, lifecycle
from longwave.campaigns.models import Campaign
from longwave.contacts import lists, saved_segments
from longwave.core.errors import InvalidInput, NotFound
from longwave.senders import senders
from longwave.senders.models import Sender

pytestmark = pytest.mark.usefixtures("database")

NO_TEXT = ["a\0b", "a\udcffb"]


def a_draft(**fields: object) -> drafting.Draft:
    sender = Sender.objects.create(channel="telegram", name="s", credentials="x", rate=30)
    people = lists.get_or_create("people", "telegram")
    content = {"kind": "text", "text": "hi"}
    return drafting.Draft(sender=sender, content=content, contact_list=people, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", NO_TEXT)
def test_a_name_that_cannot_be_stored_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match=r"name .* no database stores"):
        drafting.create(a_draft(name=name))


@pytest.mark.parametrize("budget", [2**31, 10**30])
def test_a_budget_beyond_its_column_is_refused(budget: int) -> None:
    with pytest.raises(InvalidInput, match="must be at most 2,147,483,647"):
        drafting.create(a_draft(paid=True, stars_budget=budget))


def test_the_largest_budget_is_kept() -> None:
    drafting.create(a_draft(paid=True, stars_budget=drafting.MOST_STARS))

    assert Campaign.objects.get().stars_budget == 2**31 - 1


@pytest.mark.parametrize(
    "at",
    [
        datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-2))),
        datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=2))),
    ],
)
def test_a_time_beyond_the_calendar_is_refused(at: datetime) -> None:
    campaign = drafting.create(a_draft())

    with pytest.raises(InvalidInput, match="is no time that UTC has"):
        lifecycle.schedule(campaign.pk, at)


@pytest.mark.parametrize("name", NO_TEXT)
def test_a_name_that_cannot_be_stored_is_nobodys(name: str) -> None:
    for by_name in (senders.by_name, lists.by_name, saved_segments.by_name):
        with pytest.raises(NotFound):
            by_name(name)


@pytest.mark.parametrize("address", NO_TEXT)
def test_a_test_message_to_what_is_no_text_is_refused(address: str) -> None:
    campaign = drafting.create(a_draft())

    with pytest.raises(InvalidInput, match="address"):
        drafting.test(campaign, [address])

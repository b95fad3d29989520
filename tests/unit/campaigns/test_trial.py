"""A campaign is tried on somebody first: what that uploads is not uploaded again, unless it is another file by then."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from longwave.campaigns import drafting, lifecycle, trial, uploads
from longwave.campaigns.models import Campaign
from longwave.channels.memory import channel as memory
from longwave.contacts.lists import get_or_create
from longwave.contacts.models import Contact
from longwave.core.errors import InvalidInput
from longwave.jobs.models import Job
from longwave.senders import senders

pytestmark = pytest.mark.usefixtures("sqlite")


class Running:
    """A running job, as far as sending knows it."""

    saved: Any = None

    def checkpoint(self, value: Any) -> None:
        self.saved = value

    def stopping(self) -> bool:
        return False


@pytest.fixture
def outbox() -> Iterator[memory.Outbox]:
    yield memory.outbox("trial")
    memory.outbox("trial").clear()


def a_draft(**content: Any) -> Campaign:
    draft = drafting.Draft(
        sender=senders.add("memory", "shop", "trial"),
        content={"text": "Hello {{ name }}", "file": "spring.jpg", **content},
        contact_list=get_or_create("people", "memory"),
    )
    Contact.objects.create(channel="memory", address="ann", attributes={"name": "Ann"})
    return drafting.create(draft)


def test_it_reads_as_its_recipients_would_read_it(outbox: memory.Outbox) -> None:
    campaign = a_draft()
    drafting.test(campaign, ["ann"])

    args = Job.objects.get(name="campaigns.test", queue="notifications").args
    trial.send(**args, progress=Running())

    assert [(m.address, m.text) for m in outbox.messages] == [("ann", "Hello Ann")]


def test_what_is_wrong_for_one_chat_is_named_with_it_and_sent_to_none() -> None:
    with pytest.raises(InvalidInput, match="text for stranger"):
        drafting.test(a_draft(), ["ann", "stranger"])

    assert not Job.objects.exists()


def test_a_file_that_a_test_uploaded_is_used_by_the_next_test_and_by_the_run(
    outbox: memory.Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = a_draft()
    trial.send(campaign.pk, "ann", {"name": "Ann"}, Running())
    monkeypatch.delattr(memory.MemoryConnection, "upload")  # from here on nothing is uploaded

    trial.send(campaign.pk, "ann", {"name": "Ann"}, Running())
    lifecycle.start(campaign.pk)

    assert len(outbox.messages) == 2
    assert lifecycle.get(campaign.pk).media == {"file": "file-1"}


def test_a_file_that_was_replaced_since_the_test_is_uploaded_again(tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"one")
    campaign = a_draft()
    Campaign.objects.update(content={"kind": "photo", "photo": {"path": str(photo)}})
    campaign.refresh_from_db()
    uploads.keep(campaign.pk, {"photo": "AgAC"}, uploads.files_of(campaign.content))
    campaign.refresh_from_db()
    assert uploads.usable(campaign) == {"photo": "AgAC"}

    photo.write_bytes(b"two")
    os.utime(photo, (1, 1))
    assert uploads.usable(campaign) == {}
    photo.unlink()
    assert uploads.usable(campaign) == {}


def test_a_start_forgets_what_was_uploaded_of_another_file() -> None:
    campaign = a_draft(text="Hello")
    uploads.keep(campaign.pk, {"file": "old"}, {"spring.jpg": [1, 1]})

    lifecycle.start(campaign.pk)

    assert lifecycle.get(campaign.pk).media == {}


def test_a_test_that_ends_after_the_start_changes_no_file_of_the_campaign() -> None:
    campaign = a_draft(text="Hello")
    lifecycle.start(campaign.pk)

    uploads.keep(campaign.pk, {"file": "old"}, {})

    assert lifecycle.get(campaign.pk).media == {}

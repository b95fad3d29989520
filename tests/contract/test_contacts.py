"""Lists, statuses, moves and audiences, on every database."""

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from longwave.contacts import lists, saved_segments, segments, status
from longwave.contacts.audience import audience
from longwave.contacts.models import Contact, ContactList, Membership
from longwave.contacts.states import CONTACT
from longwave.core.errors import InvalidInput, NotFound


def person(address: str, *on: ContactList, channel: str = "telegram", **fields: Any) -> Contact:
    contact = Contact.objects.create(channel=channel, address=address, **fields)
    for contact_list in on:
        lists.add(contact_list, [contact.pk])
    return contact


def status_of(contact: Contact) -> tuple[str, str]:
    contact.refresh_from_db()
    return contact.status, contact.status_reason


def test_a_list_is_made_once_and_found_by_name(database: str) -> None:
    made = lists.get_or_create(" vip ", "telegram")
    assert lists.get_or_create("vip", "telegram") == made == lists.by_name("vip")
    assert lists.get_or_create("VIP", "telegram") != made


def test_a_list_of_another_channel_is_refused(database: str) -> None:
    lists.get_or_create("vip", "telegram")
    with pytest.raises(InvalidInput, match="holds telegram contacts, not email"):
        lists.get_or_create("vip", "email")


@pytest.mark.parametrize(
    ("name", "channel"), [("", "telegram"), ("x" * 101, "telegram"), ("a\nb", "telegram"), ("a", "fax")]
)
def test_bad_names_and_channels_are_refused(sqlite: str, name: str, channel: str) -> None:
    with pytest.raises(InvalidInput):
        lists.get_or_create(name, channel)
    assert not ContactList.objects.exists()


def test_an_unknown_list_says_which_ones_look_alike(sqlite: str) -> None:
    with pytest.raises(NotFound, match="nor any other"):
        lists.by_name("vip")
    lists.get_or_create("Customers 2026", "telegram")
    with pytest.raises(NotFound, match="Did you mean 'Customers 2026'"):
        lists.by_name("customer 2026")
    with pytest.raises(NotFound, match="There are: 'Customers 2026'"):
        lists.by_name("zzz")


def test_adding_and_removing_count_what_they_change(database: str) -> None:
    vip = lists.get_or_create("vip", "telegram")
    people = [person(str(number)) for number in range(1, 6)]
    ids = [contact.pk for contact in people]
    assert lists.add(vip, ids[:3]) == 3
    assert lists.add(vip, ids) == 2
    assert lists.remove(vip, ids[:2]) == 2
    assert lists.remove(vip, ids[:2]) == 0
    assert lists.add(vip, []) == 0
    assert lists.summaries() == [lists.Summary("vip", "telegram", 3)]


def test_a_contact_of_another_channel_does_not_get_on_a_list(database: str) -> None:
    vip = lists.get_or_create("vip", "telegram")
    good, bad = person("1"), person("a@b.de", channel="email")
    for stranger in (bad.pk, bad.pk + 1000):
        with pytest.raises(InvalidInput, match="is not a telegram contact"):
            lists.add(vip, [good.pk, stranger])
    assert not Membership.objects.exists()


def test_counts_name_every_status(database: str) -> None:
    vip = lists.get_or_create("vip", "telegram")
    for number in range(2):
        person(str(number), vip)
    person("2", vip, status="gone")
    person("3")
    assert lists.counts(vip) == {"active": 2, "gone": 1, "unsubscribed": 0}


VERBS = {
    "mark_gone": lambda ids: status.mark_gone(ids, "why"),
    "reactivate": status.reactivate,
    "unsubscribe": lambda ids: status.unsubscribe(ids, "why"),
    "resubscribe": status.resubscribe,
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_moves_along_its_arrows_only(database: str, verb: str) -> None:
    people = {name: person(name, status=name) for name in ("active", "gone", "unsubscribed")}
    arrows = {str(source): str(target) for source, target in CONTACT.arrows[verb].items()}
    assert VERBS[verb]([contact.pk for contact in people.values()]) == len(arrows)
    for name, contact in people.items():
        assert status_of(contact)[0] == arrows.get(name, name)
        assert (contact.status_at is not None) == (name in arrows)
    assert VERBS[verb]([contact.pk for contact in people.values()]) == 0


def test_verbs_take_more_ids_than_one_statement(sqlite: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "CHUNK", 2)
    ids = [person(str(number)).pk for number in range(1, 6)]
    assert status.mark_gone(iter(ids * 2), "x" * 300) == 5
    assert status_of(Contact.objects.all()[0]) == ("gone", "x" * 255)


def test_a_moved_group_keeps_its_contact(database: str) -> None:
    vip = lists.get_or_create("vip", "telegram")
    group = person("-5", vip)
    assert status.move(group.pk, " -1005 ") == group.pk
    group.refresh_from_db()
    assert (group.address, group.status) == ("-1005", "active")
    assert status.move(group.pk, "-1005") == group.pk


def test_moving_onto_an_existing_contact_joins_their_lists(database: str) -> None:
    both, old, new = (lists.get_or_create(name, "telegram") for name in ("both", "old", "new"))
    group, heir = person("-5", both, old), person("-1005", both, new)
    for _ in range(2):
        assert status.move(group.pk, "-1005") == heir.pk
        assert {row.contact_list.name for row in Membership.objects.filter(contact=heir)} == {
            "both",
            "old",
            "new",
        }
        assert not Membership.objects.filter(contact=group).exists()
        assert status_of(group) == ("gone", "moved to -1005")
        assert status_of(heir) == ("active", "")


def test_a_move_does_not_forget_that_somebody_unsubscribed(database: str) -> None:
    group, heir = person("-5"), person("-1005")
    status.unsubscribe([group.pk], "asked")
    status.move(group.pk, "-1005")
    assert status_of(heir) == ("unsubscribed", "asked")


def test_moving_nobody_or_nowhere_is_told(sqlite: str) -> None:
    assert status.move(12345, "1") is None
    with pytest.raises(InvalidInput, match="not a whole number"):
        status.move(person("1").pk, "elsewhere")


def test_an_audience_is_the_active_members_in_the_segment(database: str) -> None:
    vip = lists.get_or_create("vip", "telegram")
    other = lists.get_or_create("other", "telegram")
    ann, bob = person("1", vip, other, language="de"), person("2", vip, language="en")
    cem = person("3", language="de")
    person("4", vip, status="gone", language="de")
    person("5", vip, status="unsubscribed", language="de")
    person("a", channel="memory", language="de")
    german = segments.parse({"field": "language", "is": "de"})
    assert list(audience(vip, None, "telegram")) == [ann, bob]
    assert list(audience(vip, german, "telegram")) == [ann]
    assert list(audience(None, german, "telegram")) == [ann, cem]
    assert list(audience(vip, None, "telegram", after=ann.pk)) == [bob]
    assert list(audience(vip, None, "telegram").filter(id__gt=ann.pk)) == [bob]
    assert list(audience(vip, german, "telegram", after=ann.pk)) == []
    assert list(audience(vip, None, "memory")) == []


def test_an_audience_is_one_plain_statement(database: str) -> None:
    vip = lists.get_or_create("vip", "telegram")
    with CaptureQueriesContext(
        connection,
    ) as queries:
        list(
            audience(
                vip, segments.parse({"field": "attributes.a", "is": 1}), "telegram", after=5
            ).values_list("id")
        )
    assert len(queries) == 1
    assert queries[0]["sql"].count("SELECT") == 1


def test_a_saved_segment_is_found_replaced_and_missed(database: str) -> None:
    german = segments.parse({"field": "language", "is": "de"})
    english = segments.parse({"field": "language", "is": "en"})
    saved_segments.save("germans", german)
    assert saved_segments.by_name("germans") == german
    saved_segments.save("germans", english)
    assert saved_segments.by_name("germans") == english
    assert saved_segments.names() == ["germans"]
    with pytest.raises(NotFound, match="Did you mean 'germans'"):
        saved_segments.by_name("german")

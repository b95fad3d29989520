"""Lists: named sets of contacts of one channel."""

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from django.db import transaction
from django.db.models import Count

from longwave.contacts import ledger, values
from longwave.contacts.models import Contact, ContactList, ContactStatus, Membership
from longwave.core.errors import InvalidInput, NotFound, Problem
from longwave.core.text import storable

NAME_LENGTH = 100
CHUNK = 1000


@dataclass(frozen=True, slots=True)
class Summary:
    """A list and how many contacts are on it, whatever their status."""

    name: str
    channel: str
    members: int


def get_or_create(name: str, channel: str) -> ContactList:
    """The list of this name, made when there is none. InvalidInput when it is a list of another channel."""
    name = checked_name(name, "list")
    if channel not in values.CHANNELS:
        raise InvalidInput(Problem("channel", channel, f"must be one of {', '.join(values.CHANNELS)}"))
    found, _ = ContactList.objects.get_or_create(name=name, defaults={"channel": channel})
    if found.channel != channel:
        raise InvalidInput(
            Problem("list", name, f"holds {found.channel} contacts, not {channel}; choose another name")
        )
    return found


def by_name(name: str) -> ContactList:
    """The list of this name. NotFound names the ones that look alike."""
    found = ContactList.objects.filter(name=storable(name.strip())).first()
    if found is None:
        names = ContactList.objects.order_by("name").values_list("name", flat=True)
        raise NotFound(missing("list", name, names))
    return found


def summaries() -> list[Summary]:
    """Every list with its size, by name."""
    rows = ContactList.objects.annotate(members=Count("membership")).order_by("name")
    return [Summary(row.name, row.channel, row.members) for row in rows]


def counts(contact_list: ContactList) -> dict[str, int]:
    """How many contacts of the list are in each status; statuses nobody is in count 0."""
    rows = (
        Contact.objects.filter(membership__contact_list=contact_list)
        .values_list("status")
        .annotate(count=Count("id"))
    )
    return dict.fromkeys(ContactStatus.values, 0) | dict(rows)


@transaction.atomic
def add(contact_list: ContactList, contact_ids: Iterable[int]) -> int:
    """Put contacts on the list. Returns how many were not on it.

    Raises InvalidInput when one is unknown or of another channel; nobody was added then.
    """
    ids = sorted(set(contact_ids))
    joined = 0
    for start in range(0, len(ids), CHUNK):
        chunk = ids[start : start + CHUNK]
        known = Contact.objects.filter(pk__in=chunk, channel=contact_list.channel).values_list(
            "pk", flat=True
        )
        if strangers := set(chunk).difference(known):
            remedy = f"is not a {contact_list.channel} contact; list {contact_list.name!r} holds only those"
            raise InvalidInput(Problem("contact", min(strangers), remedy))
        joined += ledger.join_list(contact_list.pk, chunk)
    return joined


def remove(contact_list: ContactList, contact_ids: Iterable[int]) -> int:
    """Take contacts off the list. Returns how many were on it."""
    ids = sorted(set(contact_ids))
    removed = 0
    for start in range(0, len(ids), CHUNK):
        chunk = ids[start : start + CHUNK]
        removed += Membership.objects.filter(contact_list=contact_list, contact_id__in=chunk).delete()[0]
    return removed


def checked_name(name: str, what: str) -> str:
    """The name without surrounding blanks. Raises InvalidInput when it cannot be one."""
    name = name.strip()
    if not 1 <= len(name) <= NAME_LENGTH or not name.isprintable():
        raise InvalidInput(Problem(what, name, f"must be a name of 1 to {NAME_LENGTH} printable characters"))
    return name


def missing(what: str, name: str, names: Iterable[str]) -> str:
    """The sentence for a name that does not exist: what was probably meant, or what there is."""
    known = list(names)
    folded = {candidate.casefold(): candidate for candidate in known}
    close = get_close_matches(name.strip().casefold(), folded, n=3, cutoff=0.6)
    if close:
        meant = " or ".join(repr(folded[match]) for match in close)
        return f"There is no {what} {name!r}. Did you mean {meant}?"
    if known:
        return f"There is no {what} {name!r}. There are: {', '.join(map(repr, known[:10]))}."
    return f"There is no {what} {name!r}, nor any other."

"""Verbs on contacts: gone, back, unsubscribed, moved. Asked again, each changes nothing."""

from collections.abc import Iterable

from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from longwave.contacts import ledger, values
from longwave.contacts.models import Contact, ContactStatus, Membership
from longwave.contacts.states import CONTACT
from longwave.core.errors import InvalidInput, Problem

CHUNK = 1000
REASON_LENGTH = 255


def mark_gone(contact_ids: Iterable[int], reason: str) -> int:
    """The provider cannot reach these contacts. Returns how many were active until now."""
    return _change("mark_gone", contact_ids, reason)


def reactivate(contact_ids: Iterable[int]) -> int:
    """The provider reaches these contacts again. Whoever unsubscribed stays unsubscribed."""
    return _change("reactivate", contact_ids, "")


def unsubscribe(contact_ids: Iterable[int], reason: str) -> int:
    """These contacts asked not to be written to."""
    return _change("unsubscribe", contact_ids, reason)


def resubscribe(contact_ids: Iterable[int]) -> int:
    """These contacts asked to be written to again."""
    return _change("resubscribe", contact_ids, "")


def move(contact_id: int, new_address: str) -> int | None:
    """Give a contact its new address (an upgraded group). Returns the id of the contact that has it now.

    None when there is no such contact any more. Raises InvalidInput when the channel knows no such address.

    When another contact has it already, the lists of this one pass to that one, as does its wish not to be
    written to; this one stays as gone, because receipts name it.
    """
    try:
        return _move(contact_id, new_address)
    except IntegrityError:
        # Another contact got that address between our look and our write: now there is an heir.
        return _move(contact_id, new_address)


@transaction.atomic
def _move(contact_id: int, new_address: str) -> int | None:
    contact = _locked(Contact.objects.filter(pk=contact_id))
    if contact is None:
        return None
    try:
        address = values.address(contact.channel, new_address)
    except ValueError as error:
        raise InvalidInput(Problem("new_address", new_address, str(error))) from None
    if contact.address == address:
        return contact_id
    heir = _locked(Contact.objects.filter(channel=contact.channel, address=address))
    if heir is None:
        Contact.objects.filter(pk=contact_id).update(address=address)
        return contact_id
    _merge(contact, heir)
    return heir.pk


def _locked(found: QuerySet[Contact]) -> Contact | None:
    return found.select_for_update().first()


def _merge(contact: Contact, heir: Contact) -> None:
    for list_id in Membership.objects.filter(contact=contact).values_list("contact_list_id", flat=True):
        ledger.join_list(list_id, [heir.pk])
    Membership.objects.filter(contact=contact).delete()
    if contact.status == ContactStatus.UNSUBSCRIBED:
        unsubscribe([heir.pk], contact.status_reason)
    mark_gone([contact.pk], f"moved to {heir.address}")


def _change(verb: str, contact_ids: Iterable[int], reason: str) -> int:
    ids = sorted(set(contact_ids))  # in order: two that lock the same rows wait, and never for each other
    changed = 0
    for start in range(0, len(ids), CHUNK):
        for source in CONTACT.sources(verb):
            changed += Contact.objects.filter(pk__in=ids[start : start + CHUNK], status=source).update(
                status=CONTACT.target(verb, source), status_reason=reason[:REASON_LENGTH], status_at=Now()
            )
    return changed

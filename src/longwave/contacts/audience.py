"""Who a campaign goes to."""

from django.db.models import QuerySet

from longwave.contacts import segments
from longwave.contacts.models import Contact, ContactList, ContactStatus


def audience(
    contact_list: ContactList | None, segment: segments.Segment | None, channel: str, *, after: int = 0
) -> QuerySet[Contact]:
    """Active contacts of `channel` with an id above `after`, by id: those on the list and in the segment.

    No list, or no segment, leaves nobody out. For walking in chunks, `after` also bounds the membership,
    which a filter on the contact's id added later would not: PostgreSQL would walk the list from its start
    every time.
    """
    contacts = Contact.objects.filter(channel=channel, status=ContactStatus.ACTIVE, id__gt=after).order_by(
        "id"
    )
    if contact_list is not None:
        contacts = contacts.filter(membership__contact_list=contact_list, membership__contact_id__gt=after)
        # The same order, but one in which the list's index is read: no sorting of all that is left of the list.
        contacts = contacts.order_by("membership__contact_id")
    return contacts if segment is None else contacts.filter(segments.compile(segment))

"""How a contact's status may change."""

from longwave.contacts.models import ContactStatus
from longwave.core.states import StateTable

ACTIVE, GONE, UNSUBSCRIBED = ContactStatus.ACTIVE, ContactStatus.GONE, ContactStatus.UNSUBSCRIBED

CONTACT = StateTable[ContactStatus](
    {
        "mark_gone": {ACTIVE: GONE},
        "reactivate": {GONE: ACTIVE},
        # Who asked not to be written to stays so when a provider reaches them again, or no longer does.
        "unsubscribe": {ACTIVE: UNSUBSCRIBED, GONE: UNSUBSCRIBED},
        "resubscribe": {UNSUBSCRIBED: ACTIVE},
    }
)

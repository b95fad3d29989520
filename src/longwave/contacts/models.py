"""Rows: who can be written to."""

from django.db import models

from longwave.contacts.fields import ExactCharField, ReadableJSON


class ContactStatus(models.TextChoices):
    """Whether a contact may be written to."""

    ACTIVE = "active", "may be written to"
    GONE = "gone", "the provider says it cannot be reached (blocked, deactivated, unknown)"
    UNSUBSCRIBED = "unsubscribed", "asked not to be written to"


class Contact(models.Model):
    """One address on one channel: a chat id, an e-mail address."""

    channel = ExactCharField(max_length=16)
    address = ExactCharField(max_length=190)
    status = ExactCharField(max_length=12, choices=ContactStatus.choices, default=ContactStatus.ACTIVE)
    status_reason = models.CharField(max_length=255, default="")
    status_at = models.DateTimeField(null=True)
    language = ExactCharField(max_length=16, default="")
    timezone = ExactCharField(max_length=64, default="")
    attributes = models.JSONField(default=dict, encoder=ReadableJSON)
    first_seen = models.DateTimeField(auto_now_add=True)
    last_seen = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "longwave_contact"
        constraints = [models.UniqueConstraint(fields=["channel", "address"], name="lw_contact_address")]

    def __str__(self) -> str:
        return f"{self.channel}:{self.address}"


class ContactList(models.Model):
    """A named set of contacts of one channel."""

    name = ExactCharField(max_length=100, unique=True)
    channel = ExactCharField(max_length=16)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "longwave_list"

    def __str__(self) -> str:
        return self.name


class Membership(models.Model):
    """A contact on a list. The unique index leads with the list: it is walked in order of contact."""

    contact_list = models.ForeignKey(ContactList, on_delete=models.CASCADE, db_index=False)
    contact = models.ForeignKey(Contact, on_delete=models.CASCADE)

    class Meta:
        db_table = "longwave_membership"
        constraints = [models.UniqueConstraint(fields=["contact_list", "contact"], name="lw_membership")]


class Segment(models.Model):
    """A named filter over contacts (`segments.py` has its language)."""

    name = ExactCharField(max_length=100, unique=True)
    filter = models.JSONField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "longwave_segment"

    def __str__(self) -> str:
        return self.name

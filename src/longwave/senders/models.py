"""Rows: the identities that send."""

from django.db import models


class SenderStatus(models.TextChoices):
    """Whether a sender may send."""

    ACTIVE = "active", "may send"
    BROKEN = "broken", "the provider refuses it; `status_reason` says why"


class Sender(models.Model):
    """An identity with a limit: a bot token or an SMTP account.

    rate: sends a second, over all workers; None is unlimited (a fake or a relay of your own).
    burst_guard: how much wider than 1/rate the spacing of slots is, as a fraction; absorbs timer jitter.
    bulk_share: the part of the rate that campaigns may use; the rest is kept for interactive sends.
    base_url: a local or fake Bot API server instead of Telegram's.
    """

    channel = models.CharField(max_length=16)
    name = models.CharField(max_length=100, unique=True)
    credentials = models.TextField(help_text="encrypted")
    account = models.JSONField(
        default=dict, help_text="what the provider said of this identity (bot id, username)"
    )
    rate = models.FloatField(null=True)
    burst_guard = models.FloatField(default=0.008)
    bulk_share = models.FloatField(default=1.0)
    region = models.CharField(max_length=32, default="")
    base_url = models.CharField(max_length=255, default="")
    admin_chats = models.JSONField(default=list)
    status = models.CharField(max_length=10, choices=SenderStatus.choices, default=SenderStatus.ACTIVE)
    status_reason = models.CharField(max_length=255, default="")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "longwave_sender"

    def __str__(self) -> str:
        return self.name

"""Rows of the pacing ledger."""

from django.db import models


class Limit(models.Model):
    """A limit shared by every process: where its next free slot is. Times are microseconds of the database's clock.

    key: `sender:7`, `sender:7/bulk`, `campaign:12`, `sender:7/chat:42`.
    held_until: nothing under this key starts before; `held_reason` says why.
    """

    key = models.CharField(max_length=190, primary_key=True)
    next_free = models.BigIntegerField(default=0)
    held_until = models.BigIntegerField(default=0)
    held_reason = models.CharField(max_length=255, default="")

    class Meta:
        db_table = "longwave_limit"

    def __str__(self) -> str:
        return self.key

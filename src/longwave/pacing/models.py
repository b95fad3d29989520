"""Rows of the pacing ledger."""

from django.db import models


class Limit(models.Model):
    """A limit shared by every process: where its next free slot is. Times are the database's microseconds.

    key: `sender:7`, `sender:7/bulk`, `campaign:12`, `sender:7/chat:42`.
    held_until: nothing under this key starts before; `held_reason` says why.
    weight, gap_at, gap_us: see `longwave.core.slots.Standing`.
    """

    key = models.CharField(max_length=190, primary_key=True)
    next_free = models.BigIntegerField(default=0)
    held_until = models.BigIntegerField(default=0)
    held_reason = models.CharField(max_length=255, default="")
    weight = models.PositiveSmallIntegerField(default=0)
    gap_at = models.BigIntegerField(default=0)
    gap_us = models.BigIntegerField(default=0)

    class Meta:
        db_table = "longwave_limit"

    def __str__(self) -> str:
        return self.key

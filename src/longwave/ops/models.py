"""Rows of operating: how many workers each group of queues should have, and how that came about."""

from django.db import models


class Scaling(models.Model):
    """A group of queues as it was looked at last. One row a group.

    minimum, maximum, target_wait: what was allowed then. at: when it was looked at; the number is stale a while later.
    owner, lease_until: who looks at it. Nobody else does, until the lease has run out. owner is empty where whoever
    it was has left, and then there is no lease_until either, or has not been heard of for a while.
    """

    group = models.CharField(max_length=32, primary_key=True, db_column="group_name")
    desired = models.PositiveIntegerField()
    reason = models.TextField(default="")
    at = models.DateTimeField(null=True)
    minimum = models.PositiveIntegerField()
    maximum = models.PositiveIntegerField()
    target_wait = models.FloatField(default=0.0)
    concurrency = models.PositiveIntegerField(default=1)
    ready = models.PositiveIntegerField(default=0)
    running = models.PositiveIntegerField(default=0)
    limited = models.PositiveIntegerField(default=0)
    oldest_wait = models.FloatField(default=0.0)
    run_seconds = models.FloatField(default=0.0)
    owner = models.CharField(max_length=120, default="")
    lease_until = models.DateTimeField(null=True)

    class Meta:
        db_table = "longwave_scaling"

    def __str__(self) -> str:
        return f"{self.group}: {self.desired}"


class ScalingDecision(models.Model):
    """A change of a group's number, with the reason. Looks that change nothing leave no row."""

    group = models.CharField(max_length=32, db_column="group_name")
    at = models.DateTimeField()
    before = models.PositiveIntegerField()
    desired = models.PositiveIntegerField()
    reason = models.TextField()

    class Meta:
        db_table = "longwave_scaling_decision"
        indexes = [
            models.Index(fields=["group", "at"], name="lw_scaling_group"),
            models.Index(fields=["at"], name="lw_scaling_at"),
        ]

"""Rows of campaigns: the message, its batches, its receipts."""

from django.db import models

from longwave.contacts.models import ContactList
from longwave.senders.models import Sender


class CampaignState(models.TextChoices):
    """Where a campaign stands. `states.py` holds the arrows between them."""

    DRAFT = "draft", "being written; nothing is frozen yet"
    SCHEDULED = "scheduled", "starts at scheduled_at"
    PREPARING = "preparing", "its audience is being frozen"
    RUNNING = "running", "is sending"
    PAUSED = "paused", "holds still; reason says who or what stopped it"
    COMPLETED = "completed", "every delivery has its outcome"
    CANCELLED = "cancelled", "stopped for good; what was not sent never will be"
    FAILED = "failed", "nothing of it could be sent; reason says why"


class DeliveryState(models.TextChoices):
    """What became of one campaign for one contact."""

    PENDING = "pending", "not sent yet"
    SENDING = "sending", "its request may have left"
    SENT = "sent", "accepted by the provider"
    GONE = "gone", "the contact cannot be reached"
    REJECTED = "rejected", "refused for its content"
    FAILED = "failed", "passing faults until the attempts were used up"
    UNKNOWN = "unknown", "the worker or the connection died while it was being sent"
    SKIPPED = "skipped", "was unknown, and was decided not to be sent again"
    CANCELLED = "cancelled", "the campaign was cancelled first"


class OnUnknown(models.TextChoices):
    """What happens to deliveries whose outcome a crash has hidden."""

    SKIP = "skip", "stay unknown until somebody decides: nobody gets it twice"
    RESEND = "resend", "sent again: everybody gets it, a few perhaps twice"


class MissedPolicy(models.TextChoices):
    """What a schedule does when its time passed while nothing was running."""

    RUN = "run", "start late"
    SKIP = "skip", "do not start; the campaign is cancelled"
    ASK = "ask", "do not start; the campaign waits, paused, for a decision"


class Campaign(models.Model):
    """One message to many.

    generation: counts starts and resumes; a lane of an older generation stops.
    snapshot_after: the last contact id frozen so far, so that a killed preparation goes on where it stopped.
    prepared: the audience is frozen whole.
    rate: messages a second for this campaign alone, under its sender's; None is the sender's.
    media: `{content field: file id}` of local files that were uploaded once. media_files: what they were then, where
    that was before the start (uploads.py).
    judged: when it was last resumed: `at` and the counts of that ten seconds' bucket, as they stood then. What came
    before has been judged by whoever resumed it.
    """

    name = models.CharField(max_length=200)
    kind = models.CharField(max_length=10, default="message")
    sender = models.ForeignKey(Sender, on_delete=models.PROTECT)
    contact_list = models.ForeignKey(ContactList, null=True, on_delete=models.PROTECT)
    segment = models.JSONField(null=True)
    content = models.JSONField()
    media = models.JSONField(default=dict)
    media_files = models.JSONField(default=dict)
    on_unknown = models.CharField(max_length=8, choices=OnUnknown.choices, default=OnUnknown.SKIP)
    rate = models.FloatField(null=True)
    paid = models.BooleanField(default=False)
    stars_budget = models.PositiveIntegerField(null=True)
    failure_limit = models.FloatField(default=0.10)
    state = models.CharField(max_length=10, choices=CampaignState.choices, default=CampaignState.DRAFT)
    reason = models.TextField(default="")
    generation = models.PositiveIntegerField(default=0)
    judged = models.JSONField(default=dict)
    batch_size = models.PositiveIntegerField(default=1000)
    snapshot_after = models.BigIntegerField(default=0)
    prepared = models.BooleanField(default=False)
    recipients = models.PositiveIntegerField(default=0)
    scheduled_at = models.DateTimeField(null=True)
    missed = models.CharField(max_length=4, choices=MissedPolicy.choices, default=MissedPolicy.ASK)
    created_at = models.DateTimeField(auto_now_add=True)
    state_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "longwave_campaign"
        indexes = [models.Index(fields=["state"], name="lw_campaign_state")]

    def __str__(self) -> str:
        return f"campaign {self.pk} ({self.name})"


class BatchState(models.TextChoices):
    """Whether a lane works on the batch."""

    OPEN = "open", "may be leased from due_at on"
    LEASED = "leased", "a lane works on it"
    DONE = "done", "every delivery has its outcome"


class Batch(models.Model):
    """A range of deliveries: the unit of claiming and of progress. Its counters are the campaign's progress."""

    campaign = models.ForeignKey(Campaign, on_delete=models.CASCADE, db_index=False)
    number = models.PositiveIntegerField()
    size = models.PositiveIntegerField()
    state = models.CharField(max_length=6, choices=BatchState.choices, default=BatchState.OPEN)
    due_at = models.DateTimeField(null=True)
    owner = models.CharField(max_length=120, default="")
    lease_until = models.DateTimeField(null=True)
    sent = models.PositiveIntegerField(default=0)
    gone = models.PositiveIntegerField(default=0)
    rejected = models.PositiveIntegerField(default=0)
    failed = models.PositiveIntegerField(default=0)
    unknown = models.PositiveIntegerField(default=0)
    skipped = models.PositiveIntegerField(default=0)
    cancelled = models.PositiveIntegerField(default=0)
    held_ms = models.PositiveBigIntegerField(default=0)

    class Meta:
        db_table = "longwave_batch"
        constraints = [models.UniqueConstraint(fields=["campaign", "number"], name="lw_batch_number")]
        indexes = [models.Index(fields=["campaign", "state", "number"], name="lw_batch_open")]


class Delivery(models.Model):
    """The receipt: one campaign to one contact.

    address: where it went, frozen with the audience. attempt: how often it was claimed; an outcome that comes back
    late is accepted only for the attempt it belongs to. tries: how many attempts ended in a passing fault.
    """

    campaign = models.ForeignKey(Campaign, on_delete=models.CASCADE, db_index=False, db_constraint=False)
    batch = models.ForeignKey(Batch, on_delete=models.CASCADE, db_constraint=False)
    contact_id = models.BigIntegerField()
    address = models.CharField(max_length=190)
    state = models.CharField(max_length=10, choices=DeliveryState.choices, default=DeliveryState.PENDING)
    attempt = models.PositiveSmallIntegerField(default=0)
    tries = models.PositiveSmallIntegerField(default=0)
    retry_at = models.DateTimeField(null=True)
    message_id = models.CharField(max_length=190, null=True)
    error = models.CharField(max_length=255, null=True)
    outcome_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "longwave_delivery"
        constraints = [models.UniqueConstraint(fields=["campaign", "contact_id"], name="lw_delivery_once")]


class Charted(models.TextChoices):
    """As what one answer is counted in buckets and error tallies. Not all of them end a delivery."""

    SENT = "sent", "accepted by the provider"
    GONE = "gone", "the contact cannot be reached"
    REJECTED = "rejected", "refused for its content"
    FAILED = "failed", "the last of its passing faults"
    RETRIED = "retried", "a passing fault; tried again later"
    UNKNOWN = "unknown", "the request left and was never answered"
    ORPHANED = "orphaned", "unknown as well, but our side died, not the provider's"
    MOVED = "moved", "the contact has another address; tried again there"
    THROTTLED = "throttled", "the provider asked to wait"


class Bucket(models.Model):
    """Answers to a campaign in ten seconds, by `Charted`: what the breaker and every chart read.

    `at` is unix time / 10. No constraint on the campaign: MariaDB would look it up at every writing, and wait for
    whoever has paused it in a transaction that is still open.
    """

    campaign = models.ForeignKey(Campaign, on_delete=models.CASCADE, db_index=False, db_constraint=False)
    at = models.BigIntegerField()
    outcome = models.CharField(max_length=10)
    count = models.PositiveIntegerField()

    class Meta:
        db_table = "longwave_bucket"
        constraints = [models.UniqueConstraint(fields=["campaign", "at", "outcome"], name="lw_bucket")]


class ErrorTally(models.Model):
    """How often a campaign met one error text, by `Charted`. It stays when the delivery is tried again and sent.

    No constraint on the campaign, as of buckets.
    """

    campaign = models.ForeignKey(Campaign, on_delete=models.CASCADE, db_index=False, db_constraint=False)
    outcome = models.CharField(max_length=10)
    text = models.CharField(max_length=160)
    count = models.PositiveIntegerField()

    class Meta:
        db_table = "longwave_error_tally"
        constraints = [models.UniqueConstraint(fields=["campaign", "outcome", "text"], name="lw_error_tally")]

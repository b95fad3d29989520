"""The arrows between campaign states, and between delivery states. docs/campaigns.md shows both as pictures."""

from longwave.campaigns.models import CampaignState as C
from longwave.campaigns.models import DeliveryState as D
from longwave.core.states import StateTable

CAMPAIGN: StateTable[C] = StateTable(
    {
        "schedule": {C.DRAFT: C.SCHEDULED, C.SCHEDULED: C.SCHEDULED},
        "unschedule": {C.SCHEDULED: C.DRAFT},
        "start": {C.DRAFT: C.PREPARING, C.SCHEDULED: C.PREPARING},
        "miss": {C.SCHEDULED: C.PAUSED},
        "run": {C.PREPARING: C.RUNNING},
        "fail": {C.PREPARING: C.FAILED, C.RUNNING: C.FAILED},
        "pause": {C.PREPARING: C.PAUSED, C.RUNNING: C.PAUSED},
        "prepare": {C.PAUSED: C.PREPARING},
        "resume": {C.PAUSED: C.RUNNING},
        "complete": {C.RUNNING: C.COMPLETED},
        "reopen": {C.COMPLETED: C.RUNNING, C.FAILED: C.RUNNING},
        "cancel": {
            C.DRAFT: C.CANCELLED,
            C.SCHEDULED: C.CANCELLED,
            C.PREPARING: C.CANCELLED,
            C.RUNNING: C.CANCELLED,
            C.PAUSED: C.CANCELLED,
        },
    }
)

DELIVERY: StateTable[D] = StateTable(
    {
        "claim": {D.PENDING: D.SENDING},
        "release": {D.SENDING: D.PENDING},
        "send": {D.SENDING: D.SENT, D.UNKNOWN: D.SENT},
        "lose": {D.SENDING: D.GONE, D.UNKNOWN: D.GONE},
        "reject": {D.SENDING: D.REJECTED, D.UNKNOWN: D.REJECTED},
        "exhaust": {D.SENDING: D.FAILED, D.UNKNOWN: D.FAILED},
        "retry": {D.SENDING: D.PENDING, D.REJECTED: D.PENDING, D.FAILED: D.PENDING},
        "orphan": {D.SENDING: D.UNKNOWN},
        "resend": {D.UNKNOWN: D.PENDING},
        "skip": {D.UNKNOWN: D.SKIPPED},
        "cancel": {D.PENDING: D.CANCELLED},
    }
)

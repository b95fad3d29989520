"""Every part of the state, in the order of the page."""

from longwave.ops.metrics import clockwork, queues, scaling, sending, workers
from longwave.ops.metrics.figures import Part

PARTS: list[Part] = [
    queues.PART,
    sending.SENDERS_PART,
    sending.CAMPAIGNS_PART,
    clockwork.PART,
    workers.PART,
    scaling.PART,
]

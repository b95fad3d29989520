"""A machine whose clock is an hour wrong, ahead or back, reads and writes in a server's ledger what all others do."""

import json
import re
from datetime import timedelta
from pathlib import Path

import pytest

from longwave import database
from longwave.campaigns.ledger import BUCKET_SECONDS
from longwave.campaigns.models import Bucket, Campaign
from longwave.senders import senders
from tests import houses
from tests.clocks import HOUR, OwnClock

pytestmark = pytest.mark.chaos

SUBMIT = """
from datetime import datetime
room.work.submit(number=1)
print(room.work.submit(number=2, job_run_at=datetime.fromisoformat("{at}")).id)
"""
LOOK = """
import json, time
from longwave.campaigns import ledger
from longwave.jobs import explaining, failed, stats
from longwave.jobs.models import Job
from longwave.ops import drift
ledger.add_buckets({campaign}, {{"sent": 1}})
print(json.dumps({{
    "now": time.time(),
    "waited": stats.queue_status()["default"].oldest_wait,
    "why": explaining.why(Job.objects.get(pk={planned}), {{"default": ["a worker"]}}),
    "drift": [found.kind for found in drift.compare({{}})],
}}))
"""


@pytest.mark.parametrize(("kind", "ahead"), [("postgresql+redis", HOUR), ("mariadb+redis", -HOUR)])
def test_what_it_says_and_writes_goes_by_the_database_s_clock(kind: str, ahead: int, home: Path) -> None:
    clock = OwnClock(home)
    with houses.house(kind, home, more=clock.environment) as running:
        began = database.now()
        planned = int(running.submit(SUBMIT.format(at=began + timedelta(minutes=10))))
        sender = senders.add("memory", "shop", "a secret", rate=25)
        campaign = Campaign.objects.create(sender=sender, content={"text": "hi"}, name="news")
        clock.set(ahead)
        seen = json.loads(running.submit(LOOK.format(campaign=campaign.pk, planned=planned)))
        took = (database.now() - began).total_seconds()
        assert abs(seen["now"] - began.timestamp() - ahead) < took + 1, "its clock is wrong"
        assert 0 < seen["waited"] < took
        assert 600 - took - 1 < float(re.search(r"in (\d+) s", seen["why"][0])[1]) <= 600
        assert "unheard" not in seen["drift"]
        assert abs(Bucket.objects.get().at * BUCKET_SECONDS - began.timestamp()) < took + BUCKET_SECONDS

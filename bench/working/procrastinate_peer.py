"""procrastinate, whose queue is PostgreSQL: the nearest to a durable job. Knows nothing of Longwave.

procrastinate --app=working.procrastinate_peer.app worker
"""

import os

import procrastinate

app = procrastinate.App(
    connector=procrastinate.PsycopgConnector(conninfo=os.environ.get("PEER_DATABASE", ""))
)


@app.task(name="peer.nothing", queue="peer")
async def nothing(number: int) -> None:
    """Do nothing."""

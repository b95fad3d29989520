"""Looking in a loop, and acting on each look, until told to stop."""

from collections.abc import Callable, Sequence

import structlog
from django.db import connections

from longwave import database
from longwave.core.alarm import Alarm
from longwave.ops.scaling import owner
from longwave.ops.scaling.deciding import Decider, Look
from longwave.ops.scaling.load import Group

log = structlog.get_logger("longwave.autoscale")


def publish(groups: Sequence[Group], stop: Alarm, *, every: float) -> None:
    """Say how many workers there should be, until `stop` is set. Others start them. every: seconds between looks."""
    decider = Decider(groups, owner.new(), every=every)
    steer(decider, stop, lambda _: None)
    leave(decider)


def steer(decider: Decider, stop: Alarm, act: Callable[[list[Look]], object]) -> None:
    """Look, and act on it, until `stop` is set. While the database is away everything stays as it is."""
    is_away = False
    while not stop.is_set():
        try:
            act(decider.turn())
            if is_away:
                log.info("database_back")
            is_away = False
        except Exception as error:
            connections.close_all()
            if not database.is_passing(error):
                log.exception("autoscaling_failed")
            elif not is_away:
                log.warning("database_away", why=str(error))
            is_away = is_away or database.is_passing(error)
        stop.wait(decider.pause)


def leave(decider: Decider) -> None:
    """Let another decide at once, where the database can be told so."""
    try:
        decider.leave()
    except Exception as error:
        log.warning("autoscaler_lease_not_released", why=str(error), then="it runs out by itself")
    connections.close_all()

"""Celery's task events, for Flower: sent only while somebody asks for them.

They are three more messages for each message of jobs, and the ledger knows it all. Flower asks every worker for
events every five seconds; one that was not asked for a while is silent again.
"""

from collections.abc import Mapping
from typing import Any

from celery.utils.sysinfo import load_average
from celery.worker import state as worker_state
from celery.worker.control import control_command

SILENT_AFTER = 30
"""Seconds after which nobody listens any more. A worker that was not heard of for twice as long is shown as offline."""


@control_command(name="enable_events")  # type: ignore[untyped-decorator]
def enable(state: Any) -> Mapping[str, str]:
    """Send events of tasks for a while, and a sign of life now. In place of Celery's own, which is for always."""
    consumer = state.consumer
    if consumer.event_dispatcher is not None and consumer.event_dispatcher._outbound_buffer:
        fall_silent(consumer)  # its connection was lost
    if consumer.event_dispatcher is None:
        consumer.event_dispatcher = _dispatcher(consumer)
        consumer.update_strategies()  # they keep whether events are sent
    _stay_awake(consumer)
    _send_sign_of_life(consumer.event_dispatcher)
    return {"ok": f"task events are sent for {SILENT_AFTER} s"}


@control_command(name="disable_events")  # type: ignore[untyped-decorator]
def disable(state: Any) -> Mapping[str, str]:
    """Send no more events of tasks."""
    fall_silent(state.consumer)
    return {"ok": "task events disabled"}


def fall_silent(consumer: Any) -> None:
    """Send no more until somebody asks again. Not to lose any would mean to keep them while the broker is away."""
    dispatcher, consumer.event_dispatcher = consumer.event_dispatcher, None
    if dispatcher is not None:
        consumer.update_strategies()
        dispatcher.disable()
        dispatcher.connection.collect(socket_timeout=0.1)


def _dispatcher(consumer: Any) -> Any:
    return consumer.app.events.Dispatcher(
        consumer.app.connection_for_write(heartbeat=0),
        hostname=consumer.hostname,
        groups=["worker", "task"],
        buffer_group=["task"],
        on_send_buffered=consumer.on_send_event_buffered,
    )


def _stay_awake(consumer: Any) -> None:
    timer = getattr(consumer, "longwave_events_timer", None)
    if timer is not None:
        timer.cancel()
    consumer.longwave_events_timer = consumer.timer.call_after(SILENT_AFTER, fall_silent, (consumer,))


def _send_sign_of_life(dispatcher: Any) -> None:
    dispatcher.send(
        "worker-heartbeat",
        freq=SILENT_AFTER,
        active=len(worker_state.active_requests),
        processed=worker_state.all_total_count[0],
        loadavg=load_average(),
        **worker_state.SOFTWARE_INFO,
    )

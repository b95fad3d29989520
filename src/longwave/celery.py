"""The Celery app: queues, priorities, and settings that leave all redelivery to the ledger."""

import hashlib
from typing import Any
from urllib.parse import quote

from celery import Celery
from celery.signals import import_modules

from longwave import config
from longwave.jobs import queues

SOFT_LIMIT = 25 * 60
HARD_LIMIT = 30 * 60


def broker_url(settings: config.Config) -> str:
    """Where the broker is: the configured one, or the embedded one's socket in the data folder."""
    if settings.broker_url is not None:
        return settings.broker_url
    return f"redis+socket://{quote(str(config.broker_socket(settings)))}"


def key_prefix(settings: config.Config) -> str:
    """What an installation's keys begin with. Made of the secret key, so that several can share a Redis."""
    return "longwave:" + hashlib.sha256(settings.secret_key.encode()).hexdigest()[:8] + ":"


def transport_options(settings: config.Config, url: str) -> dict[str, Any]:
    """What kombu needs to know about this kind of broker."""
    if not queues.is_redis(url):
        return {"confirm_publish": True}
    return {
        "global_keyprefix": key_prefix(settings),
        "priority_steps": queues.redis_steps(),
        "queue_order_strategy": "round_robin",
        # Longer than a task may take. The ledger brings jobs back before; a message that returns is stale.
        "visibility_timeout": HARD_LIMIT * 2,
        "socket_keepalive": True,
        "health_check_interval": 25,
    }


def _queue(name: str, url: str) -> dict[str, Any]:
    plain = {"exchange": "", "routing_key": name}
    if queues.is_redis(url):
        return plain
    # RabbitMQ closes the channel of a consumer that acknowledges later than this: 30 min, unless it is told otherwise.
    return plain | {"consumer_arguments": {"x-consumer-timeout": HARD_LIMIT * 2 * 1000}}


def options(settings: config.Config) -> dict[str, Any]:
    """Celery's settings. What is not here is Celery's default."""
    url = broker_url(settings)
    return {
        "broker_url": url,
        "broker_transport_options": transport_options(settings, url),
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_heartbeat": 20,
        "result_backend": None,
        "task_ignore_result": True,
        "task_serializer": "json",
        "accept_content": ["json"],
        # One authority over redelivery, the ledger: a message is acknowledged however its task ends.
        "task_acks_late": True,
        "task_acks_on_failure_or_timeout": True,
        "task_reject_on_worker_lost": False,
        "worker_prefetch_multiplier": 1,
        "worker_enable_prefetch_count_reduction": False,
        "worker_consumer": "longwave.jobs.consuming:Consumer",
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "task_soft_time_limit": SOFT_LIMIT,
        "task_time_limit": HARD_LIMIT,
        "worker_max_tasks_per_child": 1000,
        "task_publish_retry": False,
        "task_default_queue": "default",
        "task_default_exchange": "",
        "task_queues": {name: _queue(name, url) for name in queues.PRIORITIES},
        "task_queue_max_priority": None if queues.is_redis(url) else queues.HIGHEST,
        "task_create_missing_queues": True,
        "worker_send_task_events": False,
        "task_send_sent_event": False,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        "enable_utc": True,
    }


# No fixups: Celery's own for Django looks at each connection after each task; jobs.worker does enough.
app = Celery("longwave", fixups=[], set_as_current=True)
app.config_from_object(options(config.current()))


def _prepare_worker(**_: object) -> None:
    """A worker imports its tasks: however it was started, also with `celery -A longwave.celery worker`."""
    import longwave

    longwave.setup()
    # Not at the top: models may only be imported after setup, and whoever just submits needs none of it.
    from longwave.jobs import answering, task_events, worker  # noqa: F401 - importing teaches the worker to answer

    worker.prepare()


import_modules.connect(_prepare_worker, weak=False)

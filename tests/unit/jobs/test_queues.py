"""Queue names, and priorities in the way each broker counts."""

import pytest

from longwave import celery, config
from longwave.cli.worker import chosen_queues
from longwave.core.errors import InvalidInput
from longwave.jobs import queues


@pytest.mark.parametrize("name", ["email", "email.eu", "telegram-callbacks", "broadcast.us-east-1"])
def test_queues_of_the_table_and_their_regions_are_known(name: str) -> None:
    assert queues.is_known(name)


@pytest.mark.parametrize("name", ["", "e-mail", "email.", ".eu", "email." + "x" * 64])
def test_other_names_are_not(name: str) -> None:
    assert not queues.is_known(name)


def test_redis_takes_the_lowest_number_first_and_rabbitmq_the_highest() -> None:
    order = [
        "campaigns",
        "telegram-callbacks",
        "telegram-commands",
        "telegram",
        "import",
        "llm_processing",
        "default",
    ]
    redis = [queues.message_priority(name, "redis+socket:///x") for name in order]
    rabbitmq = [queues.message_priority(name, "amqp://x") for name in order]
    assert redis == sorted(redis)
    assert rabbitmq == sorted(rabbitmq, reverse=True)
    assert (redis[0], redis[-1], rabbitmq[0], rabbitmq[-1]) == (0, 9, 9, 0)
    assert set(redis) <= set(queues.redis_steps())


def test_a_region_has_its_queues_priority() -> None:
    assert queues.message_priority("email.eu", "amqp://x") == queues.message_priority("email", "amqp://x")


def test_a_worker_works_on_all_queues_or_on_those_it_is_given() -> None:
    assert chosen_queues("") == list(queues.PRIORITIES)
    assert chosen_queues(" email.eu, import ") == ["email.eu", "import"]
    with pytest.raises(InvalidInput, match="emial"):
        chosen_queues("email,emial")


def test_celery_leaves_all_redelivery_to_the_ledger() -> None:
    settings = celery.options(config.current())
    assert settings["task_acks_late"]
    assert not settings["task_reject_on_worker_lost"]
    assert settings["worker_prefetch_multiplier"] == 1
    assert settings["result_backend"] is None
    assert settings["broker_transport_options"]["visibility_timeout"] > settings["task_time_limit"]
    assert settings["task_soft_time_limit"] < settings["task_time_limit"]


def test_the_embedded_broker_is_a_socket_and_secrets_stay_out_of_keys() -> None:
    current = config.current()
    assert celery.broker_url(current) == f"redis+socket://{config.broker_socket(current)}"
    assert current.secret_key not in celery.key_prefix(current)

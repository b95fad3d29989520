"""What several suites of jobs share."""

from collections.abc import Iterator, Sequence

import pytest

from longwave.jobs import broker, coroutines, heartbeat


@pytest.fixture
def rung(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, int]]]:
    """Every `(id, seq)` that the broker was rung for. There is no broker."""
    heartbeat._forget_after_fork()  # its threads may still have a connection to an earlier test's database
    pairs: list[tuple[int, int]] = []

    def publish(name: str, queue: str, messages: Sequence[Sequence[tuple[int, int]]]) -> None:
        pairs.extend(pair for message in messages for pair in message)

    monkeypatch.setattr(broker, "publish", publish)
    yield pairs
    coroutines.close()

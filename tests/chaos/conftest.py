"""What several of the chaos suites share."""

from collections.abc import Iterator

import pytest

from tests import servers
from tests.servers import Server
from tests.stacks import Stack


@pytest.fixture
def server(kind: str) -> Iterator[Server]:
    """A database server of the test's own, of the sort that `kind`, a stack, has. It may be crashed."""
    with servers.standing(kind) as started:
        yield started


@pytest.fixture
def running(started: Stack) -> Iterator[Stack]:
    """The installation, with nothing left of what an earlier test did; each suite starts its own (`started`)."""
    started.telegram.reset()
    yield started
    started.cancel_all()

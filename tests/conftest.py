"""Every test runs in a data folder of its own. `database` runs a test once on each database there is."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import folders

for name in [name for name in os.environ if name.startswith("LONGWAVE_")]:
    del os.environ[name]
# Tables are as wide as it says, wherever they go, and a runner of tests may set it.
os.environ.pop("COLUMNS", None)
os.environ["LONGWAVE_HOME"] = str(folders.lasting())

import longwave  # noqa: E402

longwave.setup()

from longwave.jobs import ring, ringer  # noqa: E402
from tests import databases, turns  # noqa: E402


@pytest.fixture(autouse=True)
def _turn(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Those that are marked `alone` run while no other worker's do."""
    if "PYTEST_XDIST_WORKER_COUNT" not in os.environ:
        yield
        return
    shared = tmp_path_factory.getbasetemp().parent
    with turns.taken(shared, alone=request.node.get_closest_marker("alone") is not None):
        yield


@pytest.fixture(autouse=True)
def _rings_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A submit rings before it returns, so that what was rung for can be looked at."""

    def soon(name: str, queue: str, pairs: ringer.Pairs, *, is_alone: bool = False) -> None:
        ring.ring(name, queue, pairs)

    monkeypatch.setattr(ringer, "soon", soon)


@pytest.fixture(params=databases.NAMES)
def database(request: pytest.FixtureRequest) -> Iterator[str]:
    """The default connection points at an empty, migrated database of this kind; the value is its URL."""
    with databases.empty(request.param) as url:
        yield url


@pytest.fixture
def sqlite() -> Iterator[str]:
    """As `database`, on SQLite only: for tests of logic that no database changes."""
    with databases.empty("sqlite") as url:
        yield url


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A data folder of the test's own, for processes it starts."""
    folder = tmp_path / "home"
    folder.mkdir()
    return folder

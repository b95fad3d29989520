"""The embedded broker with its real server."""

import socket
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from longwave.ops import broker
from tests.unit.ops.families import until


@contextmanager
def server(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    broker.prepare(path)
    with subprocess.Popen(broker.command(path)) as process:
        try:
            until(lambda: broker.ping(path))
            yield process
        finally:
            process.kill()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "b.sock"


def test_it_answers_on_the_socket_only_and_only_to_its_owner(path: Path) -> None:
    with server(path) as process:
        kinds = {line.family for line in psutil.Process(process.pid).net_connections(kind="all")}
        assert kinds == {socket.AF_UNIX}
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_it_writes_nothing_to_disk(path: Path) -> None:
    with server(path) as process:
        process.terminate()
        process.wait(5)
    assert [file.name for file in path.parent.iterdir() if file != path] == []


def test_it_refuses_rather_than_forgets_when_it_is_full(path: Path) -> None:
    with server(path):
        assert broker._ask(path, b"CONFIG", b"GET", b"maxmemory-policy").endswith(b"noeviction\r\n")


def test_a_leftover_on_the_socket_is_ended_before_the_next_one(path: Path) -> None:
    with server(path) as leftover:
        broker.prepare(path)
        assert leftover.wait(5) == 0
        assert not path.exists()


def test_a_dead_one_s_socket_is_removed(path: Path) -> None:
    with server(path) as dead:
        dead.kill()
        dead.wait(5)
        assert path.exists()
    assert not broker.ping(path)
    broker.prepare(path)
    assert not path.exists()


def test_a_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(broker.BrokerTrouble, match="belongs to somebody else"):
        broker.prepare(tmp_path / "run" / "b.sock")


def test_a_folder_open_to_others_is_closed(path: Path) -> None:
    path.parent.mkdir()
    path.parent.chmod(0o777)
    broker.prepare(path)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700

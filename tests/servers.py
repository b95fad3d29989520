"""Database servers of a test's own, to be killed and started again."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests import databases
from tests.brokers import free_port
from tests.clocks import OwnClock
from tests.waiting import until


class Server:
    """A server on a free port, with its data in a folder that goes with it.

    is_clocked: it has a clock of its own, which `clock.set` sets for all its connections.
    """

    user: str
    url: str

    def __init__(self, *, is_clocked: bool = False) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="lw-"))
        self.port = free_port()
        self._environment = dict(os.environ)
        self._as = {"user": self.user} if os.getuid() == 0 else {}
        if self._as:
            shutil.chown(self.folder, self.user)
        self.prepare()
        if is_clocked:
            self.clock = OwnClock(self.folder)
            self._environment |= self.clock.environment
        self.start()

    def prepare(self) -> None: ...

    def command(self) -> list[str]: ...

    def accepts(self) -> bool: ...

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        self._process = self._run(self.command())
        until(self.accepts, 40, lambda: (self.folder / "log").read_text(errors="replace"))

    def crash(self) -> None:
        """kill -9, as when the machine goes down."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def remove(self) -> None:
        if self._process.poll() is None:
            self.crash()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, command: list[str]) -> "subprocess.Popen[bytes]":
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                command,
                env=self._environment,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
                **self._as,
            )

    def _do(self, command: list[str]) -> None:
        process = self._run(command)
        if process.wait(120):
            databases.missing(f"{command[0]}: {(self.folder / 'log').read_text(errors='replace')[-500:]}")


class Postgres(Server):
    user = "postgres"

    def prepare(self) -> None:
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin")) or [
            Path(shutil.which("initdb") or "/-").parent
        ]
        self._bin = found[-1]
        if not (self._bin / "initdb").exists():
            databases.missing("PostgreSQL's initdb is not installed")
        data = str(self.folder / "data")
        self._do([str(self._bin / "initdb"), "-D", data, "-A", "trust", "-U", "postgres", "--no-sync"])
        self.url = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def command(self) -> list[str]:
        settings = ["-h", "127.0.0.1", "-p", str(self.port), "-k", str(self.folder)]
        return [str(self._bin / "postgres"), "-D", str(self.folder / "data"), *settings]

    def accepts(self) -> bool:
        ready = [str(self._bin / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(ready).returncode == 0

    def crash(self) -> None:
        children = psutil.Process(self._process.pid).children(recursive=True)
        super().crash()
        # A killed postmaster's children end by themselves; the next one refuses to start beside them.
        psutil.wait_procs(children, timeout=10)


class MariaDB(Server):
    user = "mysql"

    def prepare(self) -> None:
        install = shutil.which("mariadb-install-db")
        server = shutil.which("mariadbd") or next(
            (path for path in ("/usr/sbin/mariadbd", "/usr/local/sbin/mariadbd") if Path(path).exists()), None
        )
        if install is None or server is None:
            databases.missing("MariaDB's server is not installed")
        self._server = str(server)
        data = f"--datadir={self.folder / 'data'}"
        self._do([str(install), "--no-defaults", data, "--auth-root-authentication-method=normal"])
        self.url = f"mysql://root@127.0.0.1:{self.port}/test"

    def command(self) -> list[str]:
        options = [
            f"--datadir={self.folder / 'data'}",
            f"--socket={self.folder / 's'}",
            f"--port={self.port}",
        ]
        return [self._server, "--no-defaults", "--bind-address=127.0.0.1", *options]

    def accepts(self) -> bool:
        ask = [
            "mariadb-admin",
            "--no-defaults",
            "-h",
            "127.0.0.1",
            "-P",
            str(self.port),
            "-u",
            "root",
            "ping",
        ]
        return subprocess.run(ask, capture_output=True).returncode == 0


@contextlib.contextmanager
def standing(kind: str, *, is_clocked: bool = False) -> Iterator[Server]:
    """A server of the sort that `kind`, a stack, has. It goes when the block ends."""
    server = (Postgres if kind.startswith("postgresql") else MariaDB)(is_clocked=is_clocked)
    try:
        yield server
    finally:
        server.remove()

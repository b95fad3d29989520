"""The name under which a process decides: unique among all, and the same again after a kill."""

import secrets
import socket
from pathlib import Path


def of(folder: Path) -> str:
    """The same after a kill, so that the lease need not run out: a lock says that nobody else uses this folder."""
    path = folder / "owner"
    known = path.read_text(encoding="utf-8") if path.exists() else ""
    if known.startswith(_host()):
        return known
    # There is none yet, or the folder was copied from another machine, where it goes on being used.
    draft, fresh = path.with_suffix(".new"), new()
    draft.write_text(fresh, encoding="utf-8")
    draft.replace(path)
    return fresh


def new() -> str:
    """One that nobody has had."""
    return _host() + secrets.token_hex(6)


def _host() -> str:
    return f"{socket.gethostname()[:60]}:"

"""Folders that last as long as the process that tests, and no longer."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path


def lasting() -> Path:
    """An empty folder, removed when this process ends. A process that was forked from it removes nothing."""
    folder, owner = Path(tempfile.mkdtemp(prefix="longwave-test-")), os.getpid()

    def remove() -> None:
        if os.getpid() == owner:
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    return folder

"""Finding the jobs and chores: in the module `tasks` of each installed app, and in modules of the user's own."""

import importlib
import importlib.util
import itertools
import os
import sys
import traceback
from pathlib import Path

from django.apps import apps

import longwave
from longwave import config
from longwave.core.errors import InvalidInput, Problem

OURS = str(Path(longwave.__file__).parent) + os.sep


def load() -> None:
    """Import `<room>.tasks` of every installed app that has one, the ledger's own chores, and LONGWAVE_MODULES.

    Raises InvalidInput for a module of the user's that cannot be imported.
    """
    for module in ("sweep", "waiting", "epoch", "prune", "ticking"):
        importlib.import_module(f"longwave.jobs.{module}")
    for room in apps.get_app_configs():
        name = f"{room.name}.tasks"
        if importlib.util.find_spec(name) is not None:
            importlib.import_module(name)
    load_modules(config.current().modules)


def load_modules(names: tuple[str, ...]) -> None:
    """Import modules of the user's own, also from the current folder. Raises InvalidInput for one that fails."""
    if names:
        _look_here_too()
    for name in names:
        try:
            importlib.import_module(name)
        except Exception as error:
            raise InvalidInput(Problem("LONGWAVE_MODULES", name, _remedy(name, error))) from error


def _look_here_too() -> None:
    """As `python -m` does: the command `longwave` itself would look only into its own folder."""
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)


def _remedy(name: str, error: Exception) -> str:
    what = f"{type(error).__name__}: {error}"
    if isinstance(error, ModuleNotFoundError) and error.name and (name + ".").startswith(error.name + "."):
        return (
            f"there is no such module ({what}); start in the folder that holds it, or put that on PYTHONPATH"
        )
    return f"cannot be imported ({what}, in {_place(error)}); mend it, or take it out"


def _place(error: Exception) -> str:
    """The file and line that is to be mended: of what goes wrong in Longwave, the line that called it."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    _, *frames = traceback.extract_tb(error.__traceback__)
    theirs = itertools.takewhile(lambda frame: not frame.filename.startswith(OURS), frames)
    *_, last = (frame for frame in theirs if not frame.filename.startswith("<frozen "))
    return f"{last.filename}:{last.lineno}"

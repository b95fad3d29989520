"""Finding the jobs and chores of every room: the module `tasks` of each installed app declares them."""

import importlib
import importlib.util

from django.apps import apps


def load() -> None:
    """Import `<room>.tasks` of every installed app that has one, and the ledger's own chores."""
    for module in ("sweep", "epoch", "prune"):
        importlib.import_module(f"longwave.jobs.{module}")
    for room in apps.get_app_configs():
        name = f"{room.name}.tasks"
        if importlib.util.find_spec(name) is not None:
            importlib.import_module(name)

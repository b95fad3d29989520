"""A command group that imports a subcommand's module only when that subcommand is used."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup


@dataclass(frozen=True, slots=True)
class Entry:
    """A subcommand before it is imported.

    target: `module:attribute`; the attribute is a Typer app (a noun) or a function (a verb).
    help: its line in `longwave --help`. panel: the heading it stands under.
    needs: what must be true before its module is imported; see `longwave.cli.prepare`.
    settings: context settings of the command (`manage` passes unknown options through).
    """

    target: str
    help: str
    panel: str
    needs: str = "database"
    settings: dict[str, Any] = field(default_factory=dict)
    hidden: bool = False


class LazyGroup(TyperGroup):
    """Lists `entries` without importing them: a module that does not import breaks its own command only."""

    entries: Mapping[str, Entry] = {}

    def list_commands(self, ctx: Any) -> list[str]:
        """Every name, in the order of the table."""
        return list(self.entries)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A stand-in with a name and a help line: all that `--help` and completion look at."""
        entry = self.entries.get(cmd_name)
        if entry is None:
            return None
        return TyperCommand(cmd_name, help=entry.help, rich_help_panel=entry.panel, hidden=entry.hidden)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The real command, imported now."""
        name, stand_in, rest = super().resolve_command(ctx, args)
        if name is None or stand_in is None:
            return name, stand_in, rest
        self.prepare(self.entries[name], rest)
        return name, load(name, self.entries[name]), rest

    def prepare(self, entry: Entry, args: list[str]) -> None:
        """What must happen before the module is imported. Nothing, unless a subclass knows better."""


def load(name: str, entry: Entry) -> Any:
    """The command behind `entry`. Imports its module."""
    module, _, attribute = entry.target.partition(":")
    target = getattr(import_module(module), attribute)
    if isinstance(target, typer.Typer):
        command: Any = typer.main.get_group(target)
        command.name = name
        return command
    alone = typer.Typer(add_completion=False)
    alone.command(name, context_settings=entry.settings)(target)
    return typer.main.get_command(alone)

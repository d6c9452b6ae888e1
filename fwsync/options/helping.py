"""How the help of a command is written: values by their words, and plainly for a script."""

from __future__ import annotations

import difflib
import os
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

#: The commands as a user meets them: a look, a run, what is left of it, and what is rarely needed.
IN_A_LIFE = (
    *("login", "ls", "plan", "push", "pull", "sync", "watch", "apply"),
    *("status", "conflicts", "explain", "history", "verify", "restore", "cleanup", "doctor"),
    *("sandbox", "demo"),
)


def set_help(*parts: typer.Typer, plainly: bool) -> None:
    """Have the help of all commands of these groups written so.

    Args:
        parts: the groups.
        plainly: nothing is drawn, whatever the environment says of colours: a script reads it.
    """
    for part in parts:
        own = part.info.cls
        if not (isinstance(own, type) and issubclass(own, Group)):
            part.info.cls = Group
        if plainly:
            part.rich_markup_mode = None
            part.info.short_help = part.info.help
        for command in part.registered_commands:
            command.cls = _Plain if plainly else _Command
            if plainly:
                # Said whole in the list of commands too; what is not given is cut to one line.
                command.short_help = (command.callback.__doc__ or "").partition("\n\n")[0]


class _Command(TyperCommand):
    """A command whose help names values, and not the types of the program behind them."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _without_types(super().get_params(ctx))

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """What must be given stands as it is; the rest is in brackets, as manuals have it."""
        pieces = super().collect_usage_pieces(ctx)
        return [_required(one) if one.startswith("{") else one for one in pieces]


def _required(piece: str) -> str:
    """``{PATH}...`` is ``PATH...``."""
    return piece.replace("{", "", 1)[::-1].replace("}", "", 1)[::-1]


class Group(TyperGroup):
    """Commands together, likewise."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Those of the group, without their types."""
        return _without_types(super().get_params(ctx))


class Program(Group):
    """All commands, in the order in which a user meets them."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Their names; one that has no place yet comes last."""
        return sorted(super().list_commands(ctx), key=_place_in_life)


def _place_in_life(name: str) -> int:
    return IN_A_LIFE.index(name) if name in IN_A_LIFE else len(IN_A_LIFE)


class ListingGroup(Group):
    """Commands of which ``list`` need not be said: ``conflicts DIR`` is ``conflicts list DIR``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """See to it that a command comes first."""
        first = args[0] if args else ""
        if first not in self.commands and first not in ctx.help_option_names:
            if _is_slip(args, list(self.commands)):
                ctx.fail(
                    f"there is no command {first!r}, and no such folder; "
                    f"the commands are {', '.join(self.commands)}"
                )
            args = ["list", *args]
        return super().parse_args(ctx, args)


def _is_slip(args: list[str], commands: list[str]) -> bool:
    """Is the first word a command that was mistyped, and no folder?

    A folder may be gone from the disk; but then no path follows it, but a project at most.
    """
    first = args[0] if args else ""
    if not first or first.startswith("-") or "/" in first or os.path.lexists(first):
        return False
    paths = [one for one in args[1:] if not one.startswith("-")]
    near = difflib.get_close_matches(first, commands, n=1)
    return bool(near or first.startswith("keep") or any(map(os.path.lexists, paths)))


class _Plain(_Command):
    """A command whose help is plain text, its options under the heads they have on a terminal."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        panels: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        for one in self.get_params(ctx):
            record = one.get_help_record(ctx)
            head = "Arguments" if one.param_type_name == "argument" else "Options"
            if record is not None:
                head = getattr(one, "rich_help_panel", None) or head
                panels.setdefault(head, []).append(record)
        for head, records in panels.items():
            if records:
                with formatter.section(head):
                    formatter.write_dl(records)


def _without_types(params: list[Any]) -> list[Any]:
    """The parameters; those without a word for their value say nothing of its type."""
    for one in params:
        if one.metavar is None or one.param_type_name == "argument":
            vars(one)["display_type_rich"] = lambda ctx: None
    return params

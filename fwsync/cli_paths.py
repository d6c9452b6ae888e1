"""The front door, second leaf: commands that ask about single paths, and settle what is found.

As in :mod:`fwsync.cli`, no machinery is imported before a command needs it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from fwsync.errors import Exit
from fwsync.flags import taking_flags
from fwsync.leaving import finish, given
from fwsync.model import Mode
from fwsync.options.arguments import Json, JsonLine
from fwsync.options.finding import Config, StateFile
from fwsync.options.helping import ListingGroup
from fwsync.options.words import one_of

conflicts_app = typer.Typer(
    help="Files that changed on both sides: which there are, and settling them.",
    cls=ListingGroup,
)

_Named = Annotated[
    str, typer.Argument(metavar="PATH", help="A file or folder, here or only on the server.")
]
_Conflicting = Annotated[
    list[str], typer.Argument(metavar="PATH", help="A file in conflict, or its copy.")
]
_All = Annotated[bool, typer.Option("--all", help="All that are below the folders named.")]
_Which = Annotated[
    str | None,
    typer.Argument(metavar="GROUP/PROJECT", help="Which one, where the folder has several."),
]
_Project = Annotated[
    str | None,
    typer.Option(
        "--project", metavar="GROUP/PROJECT", help="Which one, where the folder has several."
    ),
]


def register(app: typer.Typer) -> None:
    """Give the program these commands."""
    app.command()(history)
    app.command()(explain)
    app.add_typer(conflicts_app, name="conflicts")


def history(
    path: _Named,
    last: Annotated[
        int,
        typer.Option("--last", min=1, metavar="N", help="Only the latest N events, 1 or more."),
    ] = 50,
    state: StateFile = None,
    config: Config = None,
    json: JsonLine = False,
) -> None:
    """What happened to a file, under all the names that it had; or to all below a folder."""
    from fwsync import histories, show_paths

    def tell() -> Exit:
        story = histories.of(path, given(state=state), config, last=last)
        return show_paths.history(story, as_json=json)

    finish(tell, json)


@conflicts_app.command("list")
def list_conflicts(
    path: Annotated[
        str, typer.Argument(metavar="DIR", help="A folder that is kept in step, or one in it.")
    ] = ".",
    project: _Which = None,
    state: StateFile = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """List them: when, what is on each side, and where your bytes are."""
    from fwsync import resolving, show_paths

    def tell() -> Exit:
        found = resolving.listed(path, given(state=state), config, project)
        return show_paths.conflicts(found, as_json=json)

    finish(tell, json)


@conflicts_app.command("keep-local")
def keep_local(
    paths: _Conflicting,
    all_: _All = False,
    project: _Project = None,
    state: StateFile = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Yours takes its place again, and is sent by the next run; the server's goes to the trash."""
    _resolve(paths, "keep-local", all_, None, project, given(state=state), config, json)


@conflicts_app.command("keep-remote")
def keep_remote(
    paths: _Conflicting,
    all_: _All = False,
    project: _Project = None,
    state: StateFile = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """The server's stays in its place; yours goes to the trash."""
    _resolve(paths, "keep-remote", all_, None, project, given(state=state), config, json)


@conflicts_app.command("keep-both")
def keep_both(
    paths: _Conflicting,
    name: Annotated[
        str | None,
        typer.Option(
            "--as",
            metavar="NAME",
            help="What yours is called, beside the file; or a path, from where you are. "
            "As it is by default.",
        ),
    ] = None,
    all_: _All = False,
    project: _Project = None,
    state: StateFile = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """The server's stays in its place; yours is a file of its own, and is sent by the next run."""
    _resolve(paths, "keep-both", all_, name, project, given(state=state), config, json)


def _resolve(
    paths: list[str],
    how: str,
    all_: bool,
    name: str | None,
    project: str | None,
    flags: dict[str, Any],
    config: Path | None,
    as_json: bool,
) -> NoReturn:
    from fwsync import resolving, show_paths

    wanted = resolving.Wanted(tuple(paths), how, all_, name)
    finish(
        lambda: show_paths.settled(
            resolving.resolve(wanted, flags, config, project), as_json=as_json
        ),
        as_json,
    )


@taking_flags("explain")
def explain(
    path: _Named,
    mode: Annotated[
        Mode | None,
        typer.Option("--mode", help="Direction of the run; that of the last one.", **one_of(Mode)),
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Do not ask the server: take it as it was agreed on.")
    ] = False,
    project: _Project = None,
    config: Config = None,
    json: JsonLine = False,
    *,
    flags: Mapping[str, Any],
) -> None:
    """Why a path is where it is, and what the next run does about it; changes nothing."""
    from fwsync import explaining, show_explained

    def tell() -> Exit:
        question = explaining.Question(path, offline, mode, project)
        return show_explained.explained(explaining.of(question, flags, config), as_json=json)

    finish(tell, json)

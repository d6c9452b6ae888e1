"""What a command is about, and what it prints."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def folder_of(text: str | Path) -> Path:
    """The folder that was named; an empty word names none, and is not the current one.

    Raises:
        typer.BadParameter: it is empty, as that of a variable which is not set.
    """
    if text == "":
        raise typer.BadParameter("the name is empty; expected a folder (is a variable not set?)")
    return Path(text)


Json = Annotated[
    bool, typer.Option("--json", help="JSON lines on stdout; the last is the summary.")
]
JsonLine = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Print the plan and stop."),
]
PlanFile = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="FILE",
        help="Write the plan to a file, too; `fwsync apply FILE` carries it out.",
    ),
]
SavedPlan = Annotated[
    Path, typer.Argument(metavar="FILE", help="What `fwsync plan … --out FILE` has written.")
]
Project = Annotated[
    str | None,
    typer.Argument(
        metavar="GROUP/PROJECT",
        help="The project, or fw:// for all that the files name; remembered after the first run.",
    ),
]
Fetched = Annotated[
    str | None,
    typer.Argument(
        metavar="GROUP/PROJECT[/…]",
        help="The project to fetch, or a subject, session, acquisition or file of one.",
    ),
]
Destination = Annotated[
    Path | None,
    typer.Argument(
        metavar="DEST", help="The folder; ./PROJECT if it is not named.", parser=folder_of
    ),
]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The folder.", parser=folder_of)]
Source = Annotated[
    Path, typer.Argument(metavar="SRC", help="The folder to send.", parser=folder_of)
]
ToStdout = Annotated[
    bool,
    typer.Option(
        "--to-stdout",
        help="Write the one file that the path names to standard output, and nothing else.",
    ),
]
Member = Annotated[
    list[str] | None,
    typer.Option(
        "--member",
        metavar="NAME",
        help="Of the zip that the path names, fetch only this file; may be repeated.",
    ),
]
Members = Annotated[
    bool, typer.Option("--members", help="List what is in the zip that the path names.")
]

"""Deletions and conflicts."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from fwsync.model import ConflictPolicy
from fwsync.options.words import one_of

_PANEL = "Deletions and conflicts"


class Existing(StrEnum):
    """The words of other tools for what :class:`fwsync.model.ConflictPolicy` says."""

    SKIP = "skip"
    REPLACE = "replace"
    ERROR = "error"


DeleteUp = Annotated[
    bool,
    typer.Option(
        "--delete-up",
        help="Files deleted here are deleted on the server.",
        rich_help_panel=_PANEL,
    ),
]
DeleteDown = Annotated[
    bool,
    typer.Option(
        "--delete-down",
        help="Files deleted on the server go to the trash here.",
        rich_help_panel=_PANEL,
    ),
]
DeleteBoth = Annotated[
    bool,
    typer.Option("--delete", help="Both --delete-up and --delete-down.", rich_help_panel=_PANEL),
]
DeleteHere = Annotated[
    bool,
    typer.Option(
        "--delete",
        help="Files deleted on the server go to the trash here, as with --delete-down.",
        rich_help_panel=_PANEL,
    ),
]
MaxDelete = Annotated[
    str | None,
    typer.Option(
        "--max-delete",
        metavar="N|N%",
        help="Hold all deletions if there are more: 100 files or 50 % by default, whichever is"
        " reached first.",
        rich_help_panel=_PANEL,
    ),
]
MaxDeleteContainer = Annotated[
    str | None,
    typer.Option(
        "--max-delete-container",
        metavar="N|N%",
        help="Hold all deletions also if there are more in any one container, such as an"
        " acquisition; no such limit by default.",
        rich_help_panel=_PANEL,
    ),
]
NewRoot = Annotated[
    bool,
    typer.Option(
        "--new-root",
        help="Begin anew with a folder that was emptied or replaced on purpose, where one was kept"
        " in step before.",
        rich_help_panel=_PANEL,
    ),
]
Accept = Annotated[
    str | None,
    typer.Option(
        "--accept-deletes",
        metavar="PLAN-ID",
        help="Let through what a guard held; the run that was held prints the id.",
        rich_help_panel=_PANEL,
    ),
]
Conflict = Annotated[
    ConflictPolicy | None,
    typer.Option(
        "--conflict",
        help="What becomes of a file that changed on both sides; keep-both by default.",
        rich_help_panel=_PANEL,
        **one_of(ConflictPolicy),
    ),
]
ExistingOption = Annotated[
    Existing | None,
    typer.Option(
        "--existing",
        help="Another spelling of --conflict: skip, replace for local, error for fail.",
        rich_help_panel=_PANEL,
        **one_of(Existing),
    ),
]

"""The options that several commands share, each said once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fwsync.model import ConflictPolicy

_FIND = "Finding things"
_WHAT = "What takes part"
_HOW = "How it runs"
_DELETE = "Deletions and conflicts"

Json = Annotated[
    bool, typer.Option("--json", help="JSON lines on stdout; the last is the summary.")
]
JsonLine = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]
Config = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Settings file.", rich_help_panel=_FIND),
]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        "--api-key-file", metavar="FILE", help="File with the API key.", rich_help_panel=_FIND
    ),
]
StateFile = Annotated[
    Path | None,
    typer.Option(
        "--state",
        metavar="FILE",
        help="State file; .fwsync/state.db below the folder unless it cannot be there.",
        rich_help_panel=_FIND,
    ),
]
LayoutOption = Annotated[
    str | None,
    typer.Option(
        "--layout",
        metavar="TEMPLATE",
        help="Path ↔ labels; {subject}/{session}/{acquisition}/{file} by default.",
        rich_help_panel=_WHAT,
    ),
]
Include = Annotated[
    list[str] | None,
    typer.Option(
        "--include",
        metavar="PATTERN",
        help="Only what matches, in gitignore syntax; may be repeated.",
        rich_help_panel=_WHAT,
    ),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(
        "--exclude",
        metavar="PATTERN",
        help="Leave out what matches, in gitignore syntax; may be repeated.",
        rich_help_panel=_WHAT,
    ),
]
FilterFrom = Annotated[
    Path | None,
    typer.Option(
        "--filter-from",
        metavar="FILE",
        help="Leave out what matches a pattern in this file.",
        rich_help_panel=_WHAT,
    ),
]
CreateProject = Annotated[
    bool,
    typer.Option(
        "--create-project", help="Make the project if it is not there.", rich_help_panel=_WHAT
    ),
]
Patience = Annotated[
    str | None,
    typer.Option(
        "--patience",
        metavar="TIME",
        help="Give up after so long without any progress, like 90s or 5m; 60 s by default.",
        rich_help_panel=_HOW,
    ),
]
Transfers = Annotated[
    int | None,
    typer.Option(
        "--transfers",
        metavar="N",
        min=1,
        help="Transfers under way at once; 8 by default.",
        rich_help_panel=_HOW,
    ),
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Print the plan and stop.", rich_help_panel=_HOW),
]
DeleteUp = Annotated[
    bool,
    typer.Option(
        "--delete-up",
        help="Files deleted here are deleted on the server.",
        rich_help_panel=_DELETE,
    ),
]
DeleteDown = Annotated[
    bool,
    typer.Option(
        "--delete-down",
        help="Files deleted on the server go to the trash here.",
        rich_help_panel=_DELETE,
    ),
]
DeleteBoth = Annotated[
    bool,
    typer.Option("--delete", help="--delete-up and --delete-down.", rich_help_panel=_DELETE),
]
MaxDelete = Annotated[
    str | None,
    typer.Option(
        "--max-delete",
        metavar="N|N%",
        help="Most deletions of a run: 100 files or 50 % by default, whichever comes first.",
        rich_help_panel=_DELETE,
    ),
]
Accept = Annotated[
    str | None,
    typer.Option(
        "--accept-deletes",
        metavar="PLAN-ID",
        help="Consent to what a guard holds.",
        rich_help_panel=_DELETE,
    ),
]
Conflict = Annotated[
    ConflictPolicy | None,
    typer.Option(
        "--conflict", help="What a conflict becomes; keep-both by default.", rich_help_panel=_DELETE
    ),
]
Project = Annotated[
    str | None,
    typer.Argument(metavar="GROUP/PROJECT", help="The project; remembered after the first run."),
]

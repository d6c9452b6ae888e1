"""How a run goes about it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fwsync.options.words import one_of
from fwsync.ports import RouteName

_PANEL = "How it runs"

Patience = Annotated[
    str | None,
    typer.Option(
        "--patience",
        metavar="TIME",
        help="Give up after so long without any progress, like 90s or 5m; 60 s by default;"
        " with 0, nothing is tried again.",
        rich_help_panel=_PANEL,
    ),
]
Transfers = Annotated[
    str | None,
    typer.Option(
        "--transfers",
        metavar="N",
        help="Transfers at once; by default as many as make it faster.",
        rich_help_panel=_PANEL,
    ),
]
Fsync = Annotated[
    bool | None,
    typer.Option(
        "--fsync/--no-fsync",
        help="Wait until each file that comes down is on the disk before it is recorded: yes by"
        " default. Without, a power failure may damage files unnoticed.",
        rich_help_panel=_PANEL,
    ),
]
Route = Annotated[
    RouteName | None,
    typer.Option(
        "--route",
        help="The way files go up; auto takes the best that the site offers for each.",
        rich_help_panel=_PANEL,
        **one_of(RouteName),
    ),
]
Bwlimit = Annotated[
    str | None,
    typer.Option(
        "--bwlimit",
        metavar="RATE",
        help="At most so many bytes a second, up and down together: 10M, or by the clock,"
        " '08:00,1M 18:00,off'; 0 is off.",
        rich_help_panel=_PANEL,
    ),
]
MaxTransfer = Annotated[
    str | None,
    typer.Option(
        "--max-transfer",
        metavar="SIZE",
        help="Begin no file after so many bytes, like 10G; the rest is left for the next run,"
        " exit 1.",
        rich_help_panel=_PANEL,
    ),
]
MaxDuration = Annotated[
    str | None,
    typer.Option(
        "--max-duration",
        metavar="TIME",
        help="Begin no file after so long, like 90m; the rest is left for the next run, exit 1.",
        rich_help_panel=_PANEL,
    ),
]
Settle = Annotated[
    str | None,
    typer.Option(
        "--settle",
        metavar="TIME",
        help="A folder is sent after it was quiet for so long, like 90s or 5m; 30 s by default.",
        rich_help_panel=_PANEL,
    ),
]
Rescan = Annotated[
    str | None,
    typer.Option(
        "--rescan",
        metavar="TIME",
        help="Look at everything at least so often, like 90s or 5m; 600 s by default.",
        rich_help_panel=_PANEL,
    ),
]
AuditLogFile = Annotated[
    Path | None,
    typer.Option(
        "--audit-log",
        metavar="FILE",
        help="Add a line for each file to FILE.csv or FILE.jsonl: from where, to where, digests.",
        rich_help_panel=_PANEL,
    ),
]
DeidProfile = Annotated[
    Path | None,
    typer.Option(
        "--deid-profile",
        metavar="FILE",
        help="De-identify files by this profile of flywheel-migration before they are sent.",
        rich_help_panel=_PANEL,
    ),
]

"""Where things are: settings, key, state."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_PANEL = "Finding things"

Config = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Settings file.", rich_help_panel=_PANEL),
]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        "--api-key-file", metavar="FILE", help="File with the API key.", rich_help_panel=_PANEL
    ),
]
StateFile = Annotated[
    Path | None,
    typer.Option(
        "--state",
        metavar="FILE",
        help="State file; .fwsync/state.db below the folder unless it cannot be there.",
        rich_help_panel=_PANEL,
    ),
]

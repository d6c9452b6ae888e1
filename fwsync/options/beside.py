"""What comes down beside the files of containers."""

from __future__ import annotations

from typing import Annotated

import typer

_PANEL = "What comes down beside the files"

AnalysesOption = Annotated[
    bool,
    typer.Option(
        "--analyses",
        help="Analyses, too, with their inputs and outputs, each in a folder of its own.",
        rich_help_panel=_PANEL,
    ),
]
MetadataOption = Annotated[
    bool,
    typer.Option(
        "--metadata",
        help="What the server says of each file and container, in NAME.flywheel.json beside it.",
        rich_help_panel=_PANEL,
    ),
]

"""Which files take part."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fwsync.model import Duplicates, Empty, Links
from fwsync.options.words import one_of

_PANEL = "What takes part"

Include = Annotated[
    list[str] | None,
    typer.Option(
        "--include",
        metavar="PATTERN",
        help="Only what matches, in gitignore syntax; may be repeated.",
        rich_help_panel=_PANEL,
    ),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(
        "--exclude",
        metavar="PATTERN",
        help="Leave out what matches, in gitignore syntax; may be repeated.",
        rich_help_panel=_PANEL,
    ),
]
FilterFrom = Annotated[
    Path | None,
    typer.Option(
        "--filter-from",
        metavar="FILE",
        help="Leave out what matches a pattern in this file.",
        rich_help_panel=_PANEL,
    ),
]
Hidden = Annotated[
    bool | None,
    typer.Option(
        "--hidden/--no-hidden",
        help="Take along names that begin with a dot, or not: yes by default, but no for watch.",
        rich_help_panel=_PANEL,
    ),
]
LinksOption = Annotated[
    Links | None,
    typer.Option(
        "--links",
        help="What becomes of symbolic links: skip by default; follow sends what they lead to,"
        " if that lies below the folder.",
        rich_help_panel=_PANEL,
        **one_of(Links),
    ),
]
EmptyOption = Annotated[
    Empty | None,
    typer.Option(
        "--empty",
        help="What becomes of files of 0 bytes: send by default; report leaves them and says so.",
        rich_help_panel=_PANEL,
        **one_of(Empty),
    ),
]
MinSize = Annotated[
    str | None,
    typer.Option(
        "--min-size",
        metavar="SIZE",
        help="Leave out smaller files, like 1 or 10k.",
        rich_help_panel=_PANEL,
    ),
]
MaxSize = Annotated[
    str | None,
    typer.Option(
        "--max-size",
        metavar="SIZE",
        help="Leave out larger files, like 10M or 1.5GiB.",
        rich_help_panel=_PANEL,
    ),
]
MinAge = Annotated[
    str | None,
    typer.Option(
        "--min-age",
        metavar="TIME",
        help="Leave out files that changed within this time, like 90m.",
        rich_help_panel=_PANEL,
    ),
]
MaxAge = Annotated[
    str | None,
    typer.Option(
        "--max-age",
        metavar="TIME",
        help="Leave out files that have not changed for this long, like 30d or 2w.",
        rich_help_panel=_PANEL,
    ),
]
Type = Annotated[
    list[str] | None,
    typer.Option(
        "--type",
        metavar="TYPE",
        help="Only files of this type on the server, such as nifti; may be repeated.",
        rich_help_panel=_PANEL,
    ),
]
NotType = Annotated[
    list[str] | None,
    typer.Option(
        "--not-type",
        metavar="TYPE",
        help="No files of this type, such as dicom; may be repeated.",
        rich_help_panel=_PANEL,
    ),
]
Tag = Annotated[
    list[str] | None,
    typer.Option(
        "--tag",
        metavar="TAG",
        help="Only files with this tag; may be repeated: one will do.",
        rich_help_panel=_PANEL,
    ),
]
NotTag = Annotated[
    list[str] | None,
    typer.Option(
        "--not-tag",
        metavar="TAG",
        help="No files with this tag; may be repeated.",
        rich_help_panel=_PANEL,
    ),
]
NameRegex = Annotated[
    list[str] | None,
    typer.Option(
        "--name-regex",
        metavar="REGEX",
        help="Only files in whose name this is found; may be repeated.",
        rich_help_panel=_PANEL,
    ),
]
OnlySubject = Annotated[
    list[str] | None,
    typer.Option(
        "--subject",
        metavar="LABEL",
        help="Only subjects of this label, or of a pattern like 'sub-0*'; may be repeated.",
        rich_help_panel=_PANEL,
    ),
]
OnlySession = Annotated[
    list[str] | None,
    typer.Option(
        "--session",
        metavar="LABEL",
        help="Only sessions of this label or pattern; may be repeated.",
        rich_help_panel=_PANEL,
    ),
]
OnlyAcquisition = Annotated[
    list[str] | None,
    typer.Option(
        "--acquisition",
        metavar="LABEL",
        help="Only acquisitions of this label or pattern; may be repeated.",
        rich_help_panel=_PANEL,
    ),
]
ContainerTag = Annotated[
    list[str] | None,
    typer.Option(
        "--container-tag",
        metavar="LEVEL=TAG",
        help="Only what lies in containers with this tag, like session=baseline; may be repeated.",
        rich_help_panel=_PANEL,
    ),
]
NotContainerTag = Annotated[
    list[str] | None,
    typer.Option(
        "--not-container-tag",
        metavar="LEVEL=TAG",
        help="Nothing that lies in containers with this tag; may be repeated.",
        rich_help_panel=_PANEL,
    ),
]
MlSet = Annotated[
    list[str] | None,
    typer.Option(
        "--mlset",
        metavar="NAME",
        help="Only subjects of this set: Training, Testing or Validation; may be repeated.",
        rich_help_panel=_PANEL,
    ),
]
NotMlSet = Annotated[
    list[str] | None,
    typer.Option(
        "--not-mlset",
        metavar="NAME",
        help="No subjects of this set; may be repeated.",
        rich_help_panel=_PANEL,
    ),
]
ModifiedAfter = Annotated[
    str | None,
    typer.Option(
        "--modified-after",
        metavar="DATE",
        help="Only files that changed on the server on this day or later.",
        rich_help_panel=_PANEL,
    ),
]
ModifiedBefore = Annotated[
    str | None,
    typer.Option(
        "--modified-before",
        metavar="DATE",
        help="Only files that changed on the server before this day.",
        rich_help_panel=_PANEL,
    ),
]
Where = Annotated[
    str | None,
    typer.Option(
        "--where",
        metavar="FILTER",
        help="Only files that pass a filter in Flywheel's language: 'size>1000000,info.TE<0.05'.",
        rich_help_panel=_PANEL,
    ),
]
DetectDuplicates = Annotated[
    bool,
    typer.Option(
        "--detect-duplicates",
        help="Look for what would be there twice: names, images, uids, here and on the server.",
        rich_help_panel=_PANEL,
    ),
]
DuplicateCodes = Annotated[
    list[str] | None,
    typer.Option(
        "--duplicate-codes",
        metavar="CODE",
        help="With --detect-duplicates: look for this only, such as image-twice or DD11;"
        " may be repeated.",
        rich_help_panel=_PANEL,
    ),
]
DuplicateProjects = Annotated[
    list[str] | None,
    typer.Option(
        "--duplicate-projects",
        metavar="GROUP/PROJECT",
        help="With --detect-duplicates: look for uids in this project, too; may be repeated.",
        rich_help_panel=_PANEL,
    ),
]
DuplicatesOption = Annotated[
    Duplicates | None,
    typer.Option(
        "--duplicates",
        help="What becomes of duplicates: report sends them and says so; skip leaves them, exit 1.",
        rich_help_panel=_PANEL,
        **one_of(Duplicates),
    ),
]

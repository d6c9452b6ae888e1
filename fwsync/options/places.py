"""Where files go."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_PANEL = "Where files go"

LayoutOption = Annotated[
    str | None,
    typer.Option(
        "--layout",
        metavar="TEMPLATE",
        help="Which folders are which levels: a template, full or bids;"
        " {subject}/{session}/{acquisition}/{file} by default.",
        rich_help_panel=_PANEL,
    ),
]
Pack = Annotated[
    list[str] | None,
    typer.Option(
        "--pack",
        metavar="PATTERN=TYPE",
        help="Matching files of one container become one zip on the server, as '*.dcm=dicom';"
        " may be repeated.",
        rich_help_panel=_PANEL,
    ),
]
PackFolder = Annotated[
    list[str] | None,
    typer.Option(
        "--pack-folder",
        metavar="NAME[=TYPE]",
        help="A folder of this name in an acquisition becomes one zip on the server;"
        " TYPE is NAME if it is not given; may be repeated.",
        rich_help_panel=_PANEL,
    ),
]
PackAcquisitions = Annotated[
    str | None,
    typer.Option(
        "--pack-acquisitions",
        metavar="TYPE",
        help="Each acquisition becomes one zip on the server, of this type, such as dicom.",
        rich_help_panel=_PANEL,
    ),
]
PackCompress = Annotated[
    bool,
    typer.Option(
        "--pack-compress",
        help="Compress what goes into these zips: less to send and to keep, for more work here.",
        rich_help_panel=_PANEL,
    ),
]
Unpack = Annotated[
    bool,
    typer.Option(
        "--unpack",
        help="A zip of DICOM files, NAME.dicom.zip, is a folder NAME.dicom here.",
        rich_help_panel=_PANEL,
    ),
]
KeepZips = Annotated[
    bool,
    typer.Option(
        "--keep-zips",
        help="Zips come down as they are, whatever a settings file says of unpack.",
        rich_help_panel=_PANEL,
    ),
]
Regex = Annotated[
    str | None,
    typer.Option(
        "--regex",
        metavar="REGEX",
        help="Labels from the whole path, by groups such as (?P<subject>…).",
        rich_help_panel=_PANEL,
    ),
]
Scan = Annotated[
    str | None,
    typer.Option(
        "--scan",
        metavar="dicom",
        help="Labels from the headers of DICOM files; each series becomes one zip.",
        rich_help_panel=_PANEL,
    ),
]
Subject = Annotated[
    str | None,
    typer.Option(
        "--subject", metavar="LABEL", help="The subject of all files.", rich_help_panel=_PANEL
    ),
]
SessionLabel = Annotated[
    str | None,
    typer.Option(
        "--session", metavar="LABEL", help="The session of all files.", rich_help_panel=_PANEL
    ),
]
Acquisition = Annotated[
    str | None,
    typer.Option(
        "--acquisition",
        metavar="LABEL",
        help="The acquisition of all files.",
        rich_help_panel=_PANEL,
    ),
]
NoSubjects = Annotated[
    bool,
    typer.Option(
        "--no-subjects",
        help="No folder names the subject: it has the session's label.",
        rich_help_panel=_PANEL,
    ),
]
NoSessions = Annotated[
    bool,
    typer.Option(
        "--no-sessions",
        help="No folder names the session: it has the subject's label.",
        rich_help_panel=_PANEL,
    ),
]
RootDirs = Annotated[
    str | None,
    typer.Option(
        "--root-dirs",
        metavar="N",
        help="Skip so many folders before the layout begins.",
        rich_help_panel=_PANEL,
    ),
]
Rules = Annotated[
    Path | None,
    typer.Option(
        "--rules",
        "--rules-file",
        metavar="FILE",
        help="Rules in the syntax of fw-meta (YAML): the first that matches a file places it.",
        rich_help_panel=_PANEL,
    ),
]
IngestTemplate = Annotated[
    str | None,
    typer.Option(
        "--ingest-template",
        metavar="TEMPLATE",
        help="Folders as `fw ingest template` has them, {subject}:{session}:….",
        rich_help_panel=_PANEL,
    ),
]
SetVar = Annotated[
    list[str] | None,
    typer.Option(
        "--set-var",
        "--set-vars",
        metavar="FIELD=VALUE",
        help="A value for what the folders of --ingest-template do not say; may be repeated.",
        rich_help_panel=_PANEL,
    ),
]
Routing = Annotated[
    str | None,
    typer.Option(
        "--routing",
        metavar="KEYWORD",
        help="With --scan dicom: the element that names group/project, such as PatientComments.",
        rich_help_panel=_PANEL,
    ),
]
Unrouted = Annotated[
    str | None,
    typer.Option(
        "--unrouted",
        metavar="GROUP/PROJECT",
        help="With --routing: the project of files whose header names none; without it they stay.",
        rich_help_panel=_PANEL,
    ),
]
CreateProject = Annotated[
    bool,
    typer.Option(
        "--create-project", help="Make the project if it is not there.", rich_help_panel=_PANEL
    ),
]

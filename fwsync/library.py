"""The public functions: what the command line does, for programs."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TypedDict, Unpack

from fwsync import runs
from fwsync.config import Arguments
from fwsync.model import ConflictPolicy, Mode, Report

Folder = str | PathLike[str]


class Options(TypedDict, total=False):
    """Settings of one run; each overrides the environment and the settings file."""

    api_key_file: Folder
    layout: str  #: template, ``{subject}/{session}/{acquisition}/{file}`` by default
    include: list[str]  #: patterns in gitignore syntax
    exclude: list[str]
    filter_from: Folder  #: a file of such patterns
    conflict: ConflictPolicy
    create_project: bool
    delete_up: bool
    delete_down: bool
    max_delete: str  #: ``"100"``, ``"50%"`` or both
    accept_deletes: str  #: a plan's id
    transfers: int  #: batches under way at once
    patience_s: float  #: seconds without any progress before it gives up
    state: Folder  #: the state file


def push(source: Folder, project: str | None = None, **options: Unpack[Options]) -> Report:
    """Send a folder's files to a project, once.

    Args:
        source: the folder.
        project: ``group/project``; None: the one that the folder remembers.
        **options: see :class:`Options`.

    Raises:
        FwsyncError: it could not start or could not go on; what was done stays done.
    """
    return runs.run(Mode.UP, Path(source), project, Arguments(options))


def pull(
    project: str | None, destination: Folder | None = None, **options: Unpack[Options]
) -> Report:
    """Fetch a project's files into a folder, once.

    Args:
        project: ``group/project``; None: the one that the folder remembers.
        destination: the folder; None: one named like the project, in the working directory.
        **options: see :class:`Options`.

    Raises:
        FwsyncError: it could not start or could not go on; what was done stays done.
    """
    if destination is None:
        destination = (project or "").rstrip("/").rpartition("/")[2] or "."
    return runs.run(Mode.DOWN, Path(destination), project, Arguments(options))


def sync(folder: Folder, project: str | None = None, **options: Unpack[Options]) -> Report:
    """Bring a folder and a project in step, once, in both directions.

    Args:
        folder: the folder.
        project: ``group/project``; None: the one that the folder remembers.
        **options: see :class:`Options`.

    Raises:
        FwsyncError: it could not start or could not go on; what was done stays done.
    """
    return runs.run(Mode.BOTH, Path(folder), project, Arguments(options))


def verify(
    folder: Folder, project: str | None = None, *, deep: bool = False, **options: Unpack[Options]
) -> Report:
    """Compare disk, state and server; changes nothing.

    Args:
        folder: the folder.
        project: ``group/project``; None: the one that the folder remembers.
        deep: read every file again, and trust no recorded hash.
        **options: see :class:`Options`.

    Raises:
        FwsyncError: the comparison could not be made.
    """
    return runs.run_verify(Path(folder), project, Arguments(options), deep=deep)

"""The public functions: what the command line does, for programs."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TypedDict, Unpack

from fwsync import runs
from fwsync.config import Arguments
from fwsync.model import ConflictPolicy, Empty, Links, Mode, Report
from fwsync.remotes.naming import split_path

Folder = str | PathLike[str]


class Options(TypedDict, total=False):
    """Settings of one run; each overrides the environment and the settings file."""

    api_key_file: Folder
    layout: str  #: template, ``{subject}/{session}/{acquisition}/{file}`` by default
    unpack: bool  #: packs are folders here
    keep_zips: bool  #: they are not, whatever the settings file says
    include: list[str]  #: patterns in gitignore syntax
    exclude: list[str]
    filter_from: Folder  #: a file of such patterns
    hidden: bool  #: names that begin with a dot
    links: Links  #: to follow symbolic links is for what only goes up
    empty: Empty  #: files of 0 bytes
    min_size: int | str  #: bytes, or like ``"10k"``
    max_size: int | str
    min_age_s: float | str  #: seconds, or like ``"30d"``
    max_age_s: float | str
    only_types: list[str]  #: this and what follows, down to ``where``: for pull and verify
    not_types: list[str]
    only_tags: list[str]  #: of files
    not_tags: list[str]
    name_regex: list[str]  #: found in the name
    only_subjects: list[str]  #: labels, or patterns of the shell
    only_sessions: list[str]
    only_acquisitions: list[str]
    container_tags: list[str]  #: like ``"session=baseline"``
    not_container_tags: list[str]
    mlsets: list[str]
    not_mlsets: list[str]
    modified_after: str  #: like ``"2026-03-01"``
    modified_before: str
    where: str  #: a filter in Flywheel's language
    analyses: bool  #: for pull, sync and verify: files of analyses, too
    metadata_files: bool  #: likewise: what the server says of files and containers, as sidecars
    bwlimit: int | str  #: bytes a second, or like ``"08:00,1M 18:00,off"``
    max_transfer: int | str  #: bytes after which no file is begun
    max_duration_s: float | str  #: likewise
    conflict: ConflictPolicy
    create_project: bool
    delete_up: bool
    delete_down: bool
    max_delete: str  #: ``"100"``, ``"50%"`` or both
    max_delete_container: str  #: the same for any one container
    new_root: bool  #: the folder was emptied or replaced on purpose
    accept_deletes: str  #: a plan's id
    fsync: bool  #: what came down is made durable, which is the default
    transfers: int  #: batches under way at once
    patience_s: float  #: seconds without any progress before it gives up
    state: Folder  #: the state file
    audit_log: Folder  #: a .csv or .jsonl file that gets a line for each file


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
        project: ``group/project``, or a path to a part of one; None: the one that the folder
            remembers.
        destination: the folder; None: one named like the project, in the working directory.
        **options: see :class:`Options`.

    Raises:
        FwsyncError: it could not start or could not go on; what was done stays done.
    """
    if destination is None:
        whole = split_path(project or "")[0]
        destination = whole.rstrip("/").rpartition("/")[2] or "."
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

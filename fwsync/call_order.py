"""Which word of a call is the folder, and which the project: slips are told before they do harm.

The one rule: nothing is guessed. A call that can only be a slip is refused with the call that
was meant; what may be right runs, and its error says what else there is.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from fwsync import roots, whereabouts
from fwsync.errors import NothingThere, UsageError
from fwsync.model import Mode
from fwsync.spelling import near

#: How a path begins that is no project's: no id of a group begins so. Source: core18.
_OF_A_FOLDER = ("./", "../", "/", "~")

_MOST_LOOKED_AT = 1000  # entries of a folder


def check(mode: Mode, folder: Path | None, project: str | None) -> None:
    """Refuse what can only be a folder in the project's place, or a project in the folder's.

    Args:
        mode: the direction: what only comes down names the project first.
        folder: as it was given; None: it was not.
        project: likewise.

    Raises:
        UsageError: with the call that was meant.
    """
    if mode is not Mode.DOWN:
        if folder and project and _is_folder(project) and not os.path.lexists(folder):
            raise UsageError(
                f"{folder}: there is no such directory",
                hint=f"the folder comes first here, then the project: {project} {folder}",
            )
        return
    if project and _is_of_a_folder(project):
        other = "GROUP/PROJECT" if folder is None else str(folder)
        raise UsageError(
            f"{project}: is the path of a folder; expected a project, as GROUP/PROJECT",
            hint=f"the project comes first here, then the folder: {_call(other, project)}",
        )
    if folder is not None and str(folder).startswith("fw:/"):
        raise UsageError(
            f"{project} {folder}: the second is an address of Flywheel; expected a folder here",
            hint=f"name one project and one folder: {_call(project or '', 'DEST')}",
        )


def explained(error: UsageError, folder: Path, project: str | None) -> UsageError:
    """The same error; its hint says what the folders that are here make likely."""
    hint = ""
    if isinstance(error, NothingThere) and project and _is_folder(project):
        hint = f"{project} is a folder here: the project comes first, then the folder"
    elif project is None and (found := next(_roots_in(folder), None)):
        hint = f"did you mean {found[0]}, which is in step with {found[1]}?"
    if not hint:
        return error
    mark = "" if hint.endswith("?") else ";"
    return type(error)(error.message, hint=f"{hint}{mark} {error.hint}" if error.hint else hint)


def beside(folder: Path, project: str) -> str:
    """Of a folder that is yet to be made: the one beside it that may have been meant, or nothing.

    Returns:
        A sentence, where a folder that is spelled alike is in step with the same project.
    """
    if os.path.lexists(folder):
        return ""
    name = project.strip().removeprefix("fw://").strip("/")
    known = {path.name: path for path, whose in _roots_in(folder.parent) if whose == name}
    close = near(folder.name, known)
    if not close:
        return ""
    return f"{folder}: is not there yet; {known[close[0]]} is in step with {name} already"


def _is_of_a_folder(text: str) -> bool:
    return text in (".", "..") or text.startswith(_OF_A_FOLDER)


def _call(*words: str) -> str:
    return f"fwsync pull {' '.join(map(shlex.quote, words))}"


def _roots_in(folder: Path) -> Iterator[tuple[Path, str]]:
    """The folders in one that are in step with a project, with its name."""
    try:
        found = sorted(folder.iterdir())[:_MOST_LOOKED_AT]
    except OSError:
        return
    for path in found:
        for one in _remotes_of(path):
            if not one.gone:
                yield path, one.name


def _remotes_of(folder: Path) -> Sequence[whereabouts.KnownRemote]:
    """What a folder is in step with; nothing, where we may not look into it."""
    try:
        return whereabouts.known_remotes(folder / roots.RESERVED / "remotes")
    except (OSError, UnicodeDecodeError):
        return ()


def _is_folder(text: str) -> bool:
    try:
        return Path(text).is_dir()
    except OSError:  # it is where we may not look, or is too long for a name
        return False

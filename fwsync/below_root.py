"""Which root a path lies below, and what is known of that root: for questions about one path.

Its rule: a question changes nothing. The state is a copy, and who is at work is not disturbed.
"""

from __future__ import annotations

import os
import shlex
import tempfile
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fwsync import known_roots, roots, whereabouts
from fwsync.config import Settings, environment
from fwsync.errors import LocalError, UsageError
from fwsync.held_state import copy_state, root_of
from fwsync.localfs import valid_text
from fwsync.model import RelPath
from fwsync.sessions import settings_of
from fwsync.state import State, open_state


@dataclass(frozen=True, slots=True)
class Named:
    """A path that a person has named, and the root that it is below."""

    place: roots.Place
    path: RelPath  #: below the root; empty: the root itself
    settings: Settings
    target: str | None = None  #: the project, where it was named

    @property
    def root(self) -> Path:
        """The folder, its real path."""
        return self.place.root

    @property
    def state_file(self) -> Path:
        """The state as it was last saved."""
        return self.place.work_copy_of or self.place.state_file

    @property
    def options(self) -> tuple[str, ...]:
        """Words that tell a command about single paths which of several states is meant."""
        project = () if self.target is None else ("--project", self.target)
        return (*project, *self._state)

    @property
    def lists_conflicts(self) -> str:
        """The command that lists the conflicts of this root."""
        named = () if self.target is None else (self.target,)
        return shlex.join(["fwsync", "conflicts", str(self.root), *named, *self._state])

    @property
    def _state(self) -> tuple[str, ...]:
        file = self.settings.state
        return () if file is None else ("--state", str(file))


def named(
    path: str | Path,
    flags: Mapping[str, object] | None = None,
    config: Path | None = None,
    *,
    target: str | None = None,
) -> Named:
    """The root that a path is below, and the path in it; the path itself need not be there.

    Args:
        path: as it was typed.
        flags: settings that override file and environment.
        config: the settings file.
        target: the project's name, where the root has several.

    Raises:
        UsageError: no folder above it is kept in step, or several projects are.
        Halted: one was, and is gone, empty or another now.
    """
    settings = settings_of(flags or {}, config)
    typed = Path(os.path.normpath(Path.cwd() / path))
    if typed.is_dir() and not typed.is_symlink():
        full = typed.resolve()
    else:
        full = typed.parent.resolve() / typed.name
    root = _root_above(full, settings)
    if root is None:
        for folder in (full, *full.parents):
            known_roots.check(folder, environment())
        raise UsageError(
            f"{path}: neither it nor a folder above it is kept in step",
            hint="name a file as it lies on this disk, below the folder of a push, pull or sync; "
            "if that was given a --state, give it here, too",
        )
    place = whereabouts.locate(root, target, state_option=settings.state, env=environment())
    inside = valid_text(str(full.relative_to(root))) if full != root else ""
    return Named(place, RelPath(unicodedata.normalize("NFC", inside)), settings, target)


def _root_above(path: Path, settings: Settings) -> Path | None:
    """The nearest folder at or above a path that is known as a root; None: there is none."""
    above = [path, *path.parents]
    for folder in above:
        if (folder / roots.RESERVED).is_dir():
            return folder
    if settings.state is not None:
        root = root_of(settings.state) if settings.state.exists() else None
        return root if root in above else None
    for folder in above:  # nothing of ours is in it: its state lies elsewhere
        if folder.is_dir() and _has_state(folder):
            return folder
    return None


def _has_state(folder: Path) -> bool:
    try:
        place = whereabouts.locate(folder, None, env=environment())
    except UsageError:
        return True  # of several projects
    except LocalError:
        return False
    return (place.work_copy_of or place.state_file).exists()


@contextmanager
def state_of(one: Named) -> Iterator[State]:
    """A copy of the state to look at: whatever is written to it is thrown away.

    Raises:
        UsageError: nothing is known of the root. LocalError: its state cannot be read.
    """
    if not one.state_file.exists():
        raise UsageError(
            f"{one.root}: nothing is known about this folder",
            hint="run fwsync push, pull, sync or watch on it first",
        )
    with tempfile.TemporaryDirectory(prefix="fwsync-look-") as scratch:
        copy = Path(scratch) / "state.db"
        copy_state(one.state_file, copy)
        with open_state(copy) as state:
            yield state

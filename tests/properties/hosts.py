"""Hosts: a machine each, with a root, a user who works below it, and runs."""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fwsync import conflicts, localfs, resolutions, restoring
from fwsync.engine import Engine
from fwsync.errors import FwsyncError, UsageError
from fwsync.executor import Policy, View
from fwsync.filters import Bounds, Filters
from fwsync.model import (
    ConflictPolicy,
    Decision,
    Mode,
    Outcome,
    Report,
    Verb,
)
from fwsync.plan import DeleteLimits
from fwsync.progress import NoProgress
from fwsync.reconcile import Rules
from fwsync.state import State, StateThread, open_state
from tests.properties.cloud import CloudRemote
from tests.properties.loop import Inline, run
from tests.properties.steps import Act, StateOfSteps, Steps, heard

if TYPE_CHECKING:
    from tests.properties.world import World

#: Verbs that nothing is done for.
_IDLE = frozenset({Verb.NOTHING, Verb.REPORT})


@dataclass(slots=True)
class How:
    """What a host is told to do."""

    mode: Mode = Mode.BOTH
    conflict: ConflictPolicy = ConflictPolicy.KEEP_BOTH
    delete_up: bool = True
    delete_down: bool = True
    transfers: int = 1
    exclude: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    bounds: Bounds = field(default_factory=Bounds)
    limits: DeleteLimits = field(default_factory=lambda: DeleteLimits(None, None))
    read_only: bool = False  #: this user may not change the project


@dataclass(frozen=True, slots=True)
class Ran:
    """What came of a run."""

    report: Report | None  #: None: it was killed, or ended by an error
    error: FwsyncError | None
    steps: list[str]
    view: View | None = None
    outcomes: tuple[Outcome, ...] = ()


class _Told(NoProgress):
    """Remembers what has ended."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []

    def finished(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)


class Host:
    """A machine with a root of its own."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name
        self.root = world.folder / name / "root"
        self.db = world.folder / name / "state.db"
        (self.root / ".fwsync" / "parts").mkdir(parents=True)
        self.how = How()

    # -- what the user does

    def tree(self) -> dict[str, bytes]:
        """Every file but those of our own folder, and links."""
        found = {}
        for folder, folders, files in os.walk(self.root):
            folders[:] = [one for one in folders if one != ".fwsync"]
            for name in files:
                path = Path(folder, name)
                if path.is_symlink():
                    continue
                found[path.relative_to(self.root).as_posix()] = path.read_bytes()
        return dict(sorted(found.items()))

    def trash(self) -> list[bytes]:
        trash = self.root / ".fwsync" / "trash"
        files = [one for one in trash.rglob("*") if one.is_file() and not one.is_symlink()]
        return [one.read_bytes() for one in files]

    def user_tree(self) -> dict[str, bytes]:
        """Without what has the name of a conflict's copy."""
        return {p: c for p, c in self.tree().items() if "fwsync-conflict" not in p}

    def copies(self) -> list[str]:
        """What has the name of a conflict's copy."""
        return [path for path in self.tree() if "fwsync-conflict" in path]

    def own_names(self) -> set[str]:
        """The names of the copies that take no part, as the runs know them."""
        with self._state() as state, localfs.root_descriptor(self.root) as root_fd:
            found = {one.copy_path for one in state.conflicts()}
            found |= conflicts.noted_copies(root_fd)
        return {path.rpartition("/")[2] for path in found}

    def taking_part(self) -> dict[str, bytes]:
        """What the server is to have, by the paths that it knows."""
        own = self.own_names()
        return {
            unicodedata.normalize("NFC", path): content
            for path, content in self.tree().items()
            if path.rpartition("/")[2] not in own
        }

    def agreed_at(self) -> dict[str, str]:
        """Where files were agreed on, by their ids on the server."""
        with self._state() as state:
            return {one.file_id: one.path for one in state.base_entries() if one.file_id}

    @contextmanager
    def _state(self) -> Iterator[State]:
        with open_state(self.db) as state:
            yield state

    def write(self, path: str, content: bytes) -> bool:
        """Save a file; what was there is lost by the user's own doing. False: it cannot be."""
        file = self.root / path
        if file.is_dir() or any(one.is_file() for one in file.parents if one != self.root):
            return False
        self._spend(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_name(".fwsync-editor")
        part.write_bytes(content)
        at = self.world.tick()
        os.utime(part, ns=(at, at))
        part.replace(file)
        self.world.write(content, self)
        return True

    def append(self, path: str, more: bytes) -> None:
        """Write into a file, in place."""
        file = self.root / path
        self._spend(path)
        content = file.read_bytes() + more
        with file.open("ab") as opened:
            opened.write(more)
        at = self.world.tick()
        os.utime(file, ns=(at, at))
        self.world.write(content, self)

    def touch(self, path: str) -> None:
        at = self.world.tick()
        os.utime(self.root / path, ns=(at, at))

    def delete(self, path: str) -> None:
        self._spend(path)
        (self.root / path).unlink()

    def delete_folder(self, folder: str) -> None:
        for path in self.tree():
            if path.startswith(f"{folder}/"):
                self._spend(path)
        shutil.rmtree(self.root / folder)

    def move(self, old: str, new: str) -> bool:
        """Rename a file or a folder, over nothing."""
        source, target = self.root / old, self.root / new
        above = [one for one in target.parents if one != self.root]
        if target.exists() or source in above or any(one.is_file() for one in above):
            return False
        target.parent.mkdir(parents=True, exist_ok=True)
        source.rename(target)
        return True

    def delete_above(self, path: str) -> None:
        """Whatever is in the way of a file at this path goes."""
        file = self.root / path
        for one in (file, *file.parents):
            if one == self.root:
                break
            if one.is_file() or one.is_symlink():
                self.delete(one.relative_to(self.root).as_posix())
        if file.is_dir():
            self.delete_folder(path)

    def replace(self, old: str, new: str) -> None:
        """Rename a file over another, which is lost by that."""
        target = self.root / new
        if not target.is_dir() and target.parent.is_dir():
            self._spend(new)
            (self.root / old).replace(target)

    def truncate(self, path: str) -> None:
        """A disk loses what is in a file, and nothing tells that it was changed."""
        file = self.root / path
        self._spend(path)
        was = file.stat()
        with file.open("r+b") as opened:
            opened.truncate()
        os.utime(file, ns=(was.st_atime_ns, was.st_mtime_ns))

    def edit_unseen(self, path: str) -> None:
        """Other bytes, of as many and with the time that the file had."""
        file = self.root / path
        was, content = file.stat(), self.world.token(file.stat().st_size)
        if len(content) != was.st_size:
            return
        self._spend(path)
        with file.open("r+b") as opened:
            opened.write(content)
        os.utime(file, ns=(was.st_atime_ns, was.st_mtime_ns))
        self.world.write(content, self)

    def link(self, path: str, target: str) -> None:
        """A symbolic link takes the place of a file."""
        self.delete(path)
        (self.root / path).symlink_to(target)

    def hard_link(self, path: str, other: str) -> bool:
        """One more name for a file."""
        file = self.root / other
        if file.exists() or file.is_symlink() or not file.parent.is_dir():
            return False
        os.link(self.root / path, file)
        return True

    def resolve(self, how: str, number: int) -> None:
        """``fwsync conflicts --keep-…`` of one of the open conflicts."""
        if not self.db.exists():
            return
        with self._state() as state, localfs.root_descriptor(self.root) as root_fd:
            found = state.conflicts()
            if found:
                resolutions.settle(state, root_fd, found[number % len(found)], how)

    def choose(self, policy: ConflictPolicy, number: int) -> None:
        """The same of one that nothing was touched for: the next run carries it out."""
        if not self.db.exists():
            return
        with self._state() as state:
            found = list(state.standoffs.all())
            if found:
                one = found[number % len(found)]
                state.copies.choose(one.path, policy, one.stamp)

    def restore(self, path: str = "") -> None:
        """``fwsync restore`` of a path, or of all."""
        with suppress(UsageError):
            restoring.restore(self.root, restoring.Wanted((path or ".",)))

    def swap(self, one: str, other: str) -> None:
        """Two files change names."""
        aside = self.root / ".fwsync-swapped"
        (self.root / one).rename(aside)
        (self.root / other).rename(self.root / one)
        aside.rename(self.root / other)

    def lose_state(self) -> None:
        for file in self.db.parent.glob("state.db*"):
            file.unlink()

    def _spend(self, path: str) -> None:
        file = self.root / path
        if file.is_file() and not file.is_symlink():
            self.world.spend(file.read_bytes(), self)

    # -- runs

    def run(self, steps: Steps | None = None, *, accept: str | None = None) -> Ran:
        """One run, in a process of its own."""
        steps = steps or Steps()
        for host in self.world.hosts:
            seen = {*host.tree().values(), *host.trash()}
            if self.world.running:  # what the others had at its beginning counts on
                seen |= self.world.missing_here[host]
            self.world.missing_here[host] = seen
        self.world.running.append(self)
        try:
            with heard(steps):
                return run(self._run(steps, accept))
        except asyncio.CancelledError:  # it was given up after its last step
            return Ran(None, None, steps.names)
        finally:
            self.world.running.remove(self)

    def run_beside(self) -> None:
        """One whole run, while that of another host stands still at a step."""
        if self in self.world.running:
            return  # one at a time works on a root
        thread = threading.Thread(target=self.run)
        thread.start()
        thread.join()

    def look(self) -> View:
        """What a run would do now."""
        found = run(self._run(Steps(), None, only_look=True)).view
        assert found is not None
        return found

    def todo(self) -> list[Decision]:
        """The steps that a run would take now."""
        return [one for one in self.look().plan.decisions if one.verb not in _IDLE]

    async def _run(self, steps: Steps, accept: str | None, *, only_look: bool = False) -> Ran:
        inline = Inline()
        state = open_state(self.db)
        root_fd = localfs.open_root(self.root)
        told = _Told()
        try:
            thread = StateOfSteps(inline, state, steps)
            engine = self._engine(thread, root_fd, steps, accept, told)
            steps.stop, steps.cancel = engine.stop, _cancel_of(asyncio.current_task())
            view = await engine.look() if only_look else None
            report = None if only_look else await engine.cycle(goes_on=False)
        except FwsyncError as error:
            return Ran(None, error, steps.names)
        except BaseException as error:
            if not steps.dead and not isinstance(error, asyncio.CancelledError):
                raise
            return Ran(None, None, steps.names)
        else:
            return Ran(report, None, steps.names, view, tuple(told.outcomes))
        finally:
            state.close()
            os.close(root_fd)

    def _engine(
        self,
        state: StateThread,
        root_fd: int,
        steps: Steps,
        accept: str | None,
        progress: NoProgress,
    ) -> Engine:
        remote = CloudRemote(self.world.cloud, steps.point)
        remote.hidden, remote.read_only = self.world.hidden, self.how.read_only
        how = self.how
        filters = None
        if how.exclude or how.include:
            filters = Filters(how.exclude, how.include)
        return Engine(
            root=self.root,
            root_fd=root_fd,
            state=state,
            reader=remote,
            writer=None if how.mode is Mode.DOWN else remote,
            layout=self.world.cloud.layout,
            policy=Policy(
                Rules(how.mode, how.conflict, how.delete_up, how.delete_down),
                limits=how.limits,
                accept=accept,
                transfers=how.transfers,
                ignore=filters or Filters(),
                bounds=how.bounds,
                fsync=False,
            ),
            progress=progress,
            host=self.name,
        )


def _cancel_of(task: asyncio.Task[Any] | None) -> Act:
    assert task is not None

    def cancel() -> None:
        task.cancel()

    return cancel
